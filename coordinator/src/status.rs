//! A render's state in the few words that clients filter by, and the code of its failure.

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::record::{Outcome, TerminalState};

use crate::progress::{RenderProgress, Stage};

/// The status of a render.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// No worker has begun.
    Queued,
    /// Workers are at it.
    Rendering,
    /// Its output is stored.
    Completed,
    /// It has failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl Status {
    /// All of them by name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("queued", Self::Queued),
        ("rendering", Self::Rendering),
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("cancelled", Self::Cancelled),
    ];

    /// The status of a render with this progress.
    pub(crate) fn of(progress: &RenderProgress) -> Self {
        match (&progress.end, progress.stage) {
            (Some(end), _) => Self::of_end(end),
            (None, Stage::Queued) => Self::Queued,
            (None, _) => Self::Rendering,
        }
    }

    /// The status of a render that has ended so.
    pub(crate) fn of_end(end: &TerminalState) -> Self {
        match &end.outcome {
            Outcome::Completed { .. } => Self::Completed,
            Outcome::Failed { failure, .. } if failure.code == FailureCode::Cancelled => Self::Cancelled,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

/// The code of a failure in answers and events.
pub(crate) fn error_code(failure: &Failure) -> String {
    match failure.code {
        FailureCode::Cancelled => "cancelled".to_owned(),
        code => code.to_string(),
    }
}
