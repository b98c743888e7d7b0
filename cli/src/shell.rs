//! What a shell needs of the command line: completions and manual pages.

use clap::CommandFactory;

use crate::args::{Args, CompletionsArgs, ManArgs};
use crate::exit::CliError;

/// Prints the completions of a shell.
///
/// # Errors
///
/// Standard output cannot be written.
pub(crate) fn completions(args: &CompletionsArgs) -> Result<(), CliError> {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Args::command(), "hyperfarm", &mut script);
    std::io::Write::write_all(&mut std::io::stdout(), &script).map_err(CliError::system)
}

/// Writes the manual pages to a folder.
///
/// # Errors
///
/// A page cannot be written.
pub(crate) fn man(args: &ManArgs) -> Result<(), CliError> {
    std::fs::create_dir_all(&args.folder)
        .and_then(|()| clap_mangen::generate_to(Args::command(), &args.folder))
        .map_err(|error| CliError::usage(format!("{}: {error}", args.folder.display())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_command_has_a_manual_page() {
        let folder = tempfile::tempdir().unwrap();
        man(&ManArgs { folder: folder.path().to_owned() }).unwrap();
        for page in ["hyperfarm.1", "hyperfarm-render.1", "hyperfarm-renders-list.1"] {
            let text = std::fs::read_to_string(folder.path().join(page)).unwrap();
            assert!(text.contains(".SH SYNOPSIS"), "{page}");
        }
    }
}
