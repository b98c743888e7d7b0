//! Logs go to standard error: text on a terminal, JSON where `HYPERFARM_LOG_FORMAT=json` asks for it.

use std::io::IsTerminal;

use tracing_subscriber::EnvFilter;

use crate::args::{Args, Command};

/// Starts logging. A service says what it does; a command only what went wrong. `HYPERFARM_LOG` decides otherwise.
pub fn start(args: &Args) {
    let default = match (&args.command, args.verbose) {
        (_, true) => {
            "info,hyperfarm_worker=debug,hyperfarm_coordinator=debug,hyperfarm_backplane=debug,hyperfarm_stitcher=debug"
        }
        (Command::Render(_) | Command::Doctor, false) => "error",
        _ => "info",
    };
    // The client library logs every message of a newer Chrome that it does not know.
    let default = format!("{default},chromiumoxide=off");
    let filter = EnvFilter::try_from_env("HYPERFARM_LOG").unwrap_or_else(|_| EnvFilter::new(default));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if std::env::var("HYPERFARM_LOG_FORMAT").as_deref() == Ok("json") {
        log.json().init();
    } else {
        log.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
