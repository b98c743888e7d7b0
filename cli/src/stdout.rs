//! Standard output, which is for results only.

use std::io::Write;

/// Prints one line.
pub(crate) fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has closed its end needs no more lines.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}
