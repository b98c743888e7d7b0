//! What can go wrong with a stitch. None of it is the person's: all files here are the farm's own.

use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_media::MediaError;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::wire::WireError;

/// Why an output was not made.
#[derive(Debug, thiserror::Error)]
pub enum StitchError {
    /// Storage did not answer, or lacks something.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A chunk has no committed segment that can be used.
    #[error(
        "chunk {chunk} has no segment that can be used: {reason}; its worker or the storage has lost it, render again"
    )]
    Segment {
        /// The chunk.
        chunk: u32,
        /// What was wrong with the last one that was tried.
        reason: String,
    },
    /// The sound cannot be used.
    #[error("the mixed sound cannot be used: {0}; render again")]
    Audio(String),
    /// Join or thumbnail failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The output is not what the plan says.
    #[error("the output is not what was planned: {0}; please report it")]
    Verify(String),
    /// The local disk failed.
    #[error("the stitcher's folder {path}: {source}; check that the disk has room")]
    Disk {
        /// The file or folder.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// The plan cannot be hashed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A record cannot be written.
    #[error("a record cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// A thread of this process ended by itself.
    #[error("a thread of the stitcher ended by itself: {0}; please report it")]
    Thread(#[from] tokio::task::JoinError),
    /// The lease is lost, or the node drains.
    #[error("the stitch was stopped")]
    Stopped,
}

impl From<StitchError> for Failure {
    fn from(error: StitchError) -> Self {
        let code = match &error {
            StitchError::Storage(ObjectsError::Version { .. }) => FailureCode::VersionMismatch,
            StitchError::Storage(_) | StitchError::Disk { .. } => FailureCode::Storage,
            StitchError::Ledger(_) => FailureCode::Backplane,
            StitchError::Segment { .. }
            | StitchError::Audio(_)
            | StitchError::Verify(_)
            | StitchError::Media(MediaError::Frames { .. }) => FailureCode::VerifyFailed,
            StitchError::Media(_) => FailureCode::EncodeFailed,
            StitchError::Stopped => FailureCode::Drained,
            StitchError::Wire(_) | StitchError::Json(_) | StitchError::Thread(_) => FailureCode::Internal,
        };
        Self::new(code, error.to_string())
    }
}
