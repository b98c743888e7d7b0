//! Exit codes, by which a script can tell who has to act.
//!
//! | code | meaning |
//! | --- | --- |
//! | 0 | done |
//! | 1 | the composition or the request is at fault; the message says what to change |
//! | 2 | the command line is not understood |
//! | 3 | the farm or the machine is at fault |
//! | 4 | it was not done in the time given; on a farm it goes on |
//! | 130 | interrupted |

use std::fmt::Display;
use std::process::ExitCode;

use hyperfarm_proto::failure::{Failure, Owner};
use hyperfarm_proto::legible::legible;
use hyperfarm_worker::WorkerError;

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
}

impl CliError {
    /// The composition or the request is at fault.
    pub(crate) fn user(message: impl Into<String>) -> Self {
        Self { code: 1, message: message.into() }
    }

    /// The farm or the machine is at fault.
    pub(crate) fn system(message: impl Display) -> Self {
        Self { code: 3, message: message.to_string() }
    }

    /// The time for waiting is over.
    pub(crate) fn timed_out(message: impl Into<String>) -> Self {
        Self { code: TIMED_OUT, message: message.into() }
    }

    /// The user pressed Ctrl-C, or a supervisor sent SIGTERM.
    pub(crate) fn interrupted() -> Self {
        Self { code: INTERRUPTED, message: "interrupted; nothing was left behind".to_owned() }
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

/// Prints the error and returns its exit code.
pub(crate) fn report(error: &CliError) -> ExitCode {
    if !error.message.is_empty() {
        eprintln!("hyperfarm: {}", legible(&error.message, usize::MAX));
    }
    ExitCode::from(error.code)
}
