//! One event is one line of text: what a page or a request put into a message must neither move a terminal's cursor nor
//! begin a line that looks like the farm's own.

use std::fmt::Write as _;
use std::io::{self, Write};

use tracing_subscriber::fmt::MakeWriter;

/// A writer whose every write is one event.
pub(super) struct Lines<W>(pub(super) W);

impl<'a, W: MakeWriter<'a>> MakeWriter<'a> for Lines<W> {
    type Writer = Lines<W::Writer>;

    fn make_writer(&'a self) -> Self::Writer {
        Lines(self.0.make_writer())
    }
}

impl<W: Write> Write for Lines<W> {
    fn write(&mut self, event: &[u8]) -> io::Result<usize> {
        let text = String::from_utf8_lossy(event);
        let (text, end) = text.strip_suffix('\n').map_or((&*text, ""), |text| (text, "\n"));
        self.0.write_all(escaped(text).as_bytes())?;
        self.0.write_all(end.as_bytes())?;
        Ok(event.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()
    }
}

/// `text` with escapes for control characters, line separators and changes of direction. Colours stay.
fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        if let Some(colour) = colour(rest) {
            out.push_str(&rest[..colour]);
            rest = &rest[colour..];
            continue;
        }
        rest = &rest[c.len_utf8()..];
        let direction = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        match c {
            '\t' => out.push(c),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            c if c.is_control() || direction || matches!(c, '\u{2028}' | '\u{2029}') => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Length of the sequence for a colour or a weight that `text` begins with.
fn colour(text: &str) -> Option<usize> {
    let digits = text.strip_prefix("\x1b[")?;
    let end = digits.find(|c: char| !c.is_ascii_digit())?;
    (end <= 2 && digits[end..].starts_with('m')).then_some(end + 3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_one_line_without_control_characters() {
        let mut out = Vec::new();
        let event = "\x1b[2mtime\x1b[0m INFO a\x1b[2Jb\u{7}\r2026 INFO fake\nnext\u{2028}x\u{202e}y\u{85}z ä\n";
        Lines(&mut out).write_all(event.as_bytes()).unwrap();
        let written = String::from_utf8(out).unwrap();
        assert_eq!(
            written,
            "\x1b[2mtime\x1b[0m INFO a\\u{1b}[2Jb\\u{7}\\r2026 INFO fake\\nnext\\u{2028}x\\u{202e}y\\u{85}z ä\n"
        );
    }
}
