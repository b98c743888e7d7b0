//! Exit codes, by which a script can tell who has to act.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | the composition or the request is at fault; the message says what to change |
//! | 2 | the command line or a setting cannot be used: an argument, or what it names |
//! | 3 | the farm or the machine is at fault |
//! | 4 | it was not done in the time given; on a farm it goes on |
//! | 130 | interrupted |

use std::fmt::Display;
use std::process::ExitCode;

use hyperfarm_proto::failure::{Failure, Owner};
use hyperfarm_proto::legible::legible;
use hyperfarm_proto::plan::Warning;
use hyperfarm_worker::WorkerError;

use crate::render::summary::print_warnings;

/// Exit code where the time for waiting is over.
pub(crate) const TIMED_OUT: u8 = 4;
/// Exit code after Ctrl-C or SIGTERM.
pub(crate) const INTERRUPTED: u8 = 130;

/// Why a command failed.
#[derive(Debug)]
pub(crate) struct CliError {
    /// The process's exit code.
    pub(crate) code: u8,
    /// The message for the user; empty where everything was printed before.
    pub(crate) message: String,
    /// What was found before it failed.
    pub(crate) warnings: Vec<Warning>,
}

impl CliError {
    /// With an exit code, and without warnings.
    pub(crate) fn new(code: u8, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), warnings: Vec::new() }
    }

    /// The composition or the request is at fault.
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self::new(1, message)
    }

    /// An argument or a setting cannot be used, or names something that cannot be.
    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(2, message)
    }

    /// The farm or the machine is at fault.
    pub(crate) fn system(message: impl Display) -> Self {
        Self::new(3, message.to_string())
    }

    /// The time for waiting is over.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self::new(TIMED_OUT, message)
    }

    /// The user pressed Ctrl-C, or a supervisor sent SIGTERM.
    pub(crate) fn interrupted() -> Self {
        Self::new(INTERRUPTED, "interrupted; nothing was left behind")
    }

    /// The same error after these warnings.
    pub(crate) fn after(mut self, warnings: Vec<Warning>) -> Self {
        self.warnings.splice(..0, warnings);
        self
    }
}

impl From<Failure> for CliError {
    fn from(failure: Failure) -> Self {
        let message = format!("{failure} [{}]", failure.code);
        match failure.code.owner() {
            Owner::User => Self::user(message),
            Owner::System => Self::system(message),
        }
    }
}

impl From<WorkerError> for CliError {
    fn from(error: WorkerError) -> Self {
        Failure::from(error).into()
    }
}

/// Prints the error, after what was found before it, and returns its exit code.
pub(crate) fn report(error: &CliError) -> ExitCode {
    print_warnings(&error.warnings);
    if !error.message.is_empty() {
        eprintln!("hyperfarm: {}", legible(&error.message, usize::MAX));
    }
    ExitCode::from(error.code)
}
