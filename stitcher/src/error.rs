//! Why a stitch fails, and the failure code of each cause. No cause is the user's fault: all files here are the farm's
//! own.

use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_backplane::local_disk::{exhausted_by_errno, exhausted_resource};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_media::MediaError;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::spec::Size;
use hyperfarm_proto::task::TaskId;
use hyperfarm_proto::wire::WireError;

/// Why an output was not made.
#[derive(Debug, thiserror::Error)]
pub enum StitchError {
    /// The task is not a stitch.
    #[error("a stitcher was given {0}")]
    WrongTask(TaskId),
    /// Storage does not answer, or an object is missing or damaged.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The ledger does not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A chunk has no committed segment that can be used.
    #[error(
        "chunk {chunk} has no segment that can be used: {reason}; its worker or the storage has lost it, render again"
    )]
    Segment {
        /// The chunk.
        chunk: u32,
        /// Why the last segment that was tried cannot be used.
        reason: SegmentError,
    },
    /// The mixed sound cannot be used.
    #[error("the mixed sound cannot be used: {0}; render again")]
    Audio(#[from] AudioError),
    /// Joining, counting packets or making the thumbnail failed.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// The output differs from the plan.
    #[error("the output is not what was planned: {0}; please report it")]
    Verify(#[from] VerifyError),
    /// The local disk failed.
    #[error("the stitcher's folder {path}: {source}; check that the disk has room")]
    Disk {
        /// The file or folder.
        path: String,
        /// The system's error.
        source: std::io::Error,
    },
    /// The plan cannot be hashed.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A record cannot be written as JSON.
    #[error("a record cannot be written: {0}")]
    Json(#[from] serde_json::Error),
    /// A thread of this process panicked.
    #[error("a thread of the stitcher ended by itself: {0}; please report it")]
    Thread(#[from] tokio::task::JoinError),
    /// The lease is lost, or the node drains.
    #[error("the stitch was stopped")]
    Stopped,
}

/// Why a chunk's segment cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum SegmentError {
    /// No attempt has left one.
    #[error("storage has none")]
    Missing,
    /// The record is of other frames than the plan's chunk.
    #[error("{key} holds frames {frames} of chunk {chunk}")]
    OtherFrames {
        /// Key of the segment.
        key: String,
        /// Frames by its record.
        frames: FrameRange,
        /// Chunk by its record.
        chunk: u32,
    },
    /// The render was planned anew after the segment was made.
    #[error("{key} was made from another plan of the render")]
    OtherPlan {
        /// Key of the segment.
        key: String,
    },
    /// The chunk has to be drawn again with another start.
    #[error("{key} was made with another start of its chunk")]
    OtherStart {
        /// Key of the segment.
        key: String,
    },
    /// The stored bytes are not those that were committed.
    #[error(
        "{key} has {bytes} bytes with hash {} and was committed with {committed_bytes} bytes and hash {}",
        hash.short(),
        committed_hash.short()
    )]
    OtherBytes {
        /// Key of the segment.
        key: String,
        /// Length of the stored object.
        bytes: u64,
        /// Hash of the stored object.
        hash: ContentHash,
        /// Length by the record.
        committed_bytes: u64,
        /// Hash by the record.
        committed_hash: ContentHash,
    },
    /// The segment or its record is missing or damaged.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
}

/// Why the mixed sound cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum AudioError {
    /// The stored bytes are not those that were committed.
    #[error("it has hash {} and was committed with {}", hash.short(), committed.short())]
    OtherBytes {
        /// Hash of the stored object.
        hash: ContentHash,
        /// Hash by the record.
        committed: ContentHash,
    },
    /// The render was planned anew after the sound was mixed.
    #[error("it was mixed for another plan of the render")]
    OtherPlan,
    /// The sound is not as long as the video.
    #[error("it has {samples} samples instead of {expected}")]
    Length {
        /// Samples by the record.
        samples: u64,
        /// Samples of the planned length.
        expected: u64,
    },
}

/// How an output differs from its plan.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    /// Frames are missing or doubled.
    #[error("it has {found} pictures instead of {expected}")]
    Frames {
        /// Frames in the output.
        found: u64,
        /// Frames of the plan.
        expected: u64,
    },
    /// A packet is to be decoded before or with the packet ahead of it.
    #[error("its decode times do not always grow")]
    DecodeTimes,
    /// There is a gap or an overlap between two frames.
    #[error("its pictures do not start one frame after another")]
    FrameTimes,
    /// The first frame is not shown at 0 s.
    #[error("its pictures start at {seconds} s")]
    Start {
        /// Time of the first frame.
        seconds: f64,
    },
    /// The video is too long or too short.
    #[error("its pictures last {seconds} s instead of {expected} s")]
    Length {
        /// From the start of the first frame to the end of the last.
        seconds: f64,
        /// Length by the plan.
        expected: f64,
    },
    /// A chunk does not start with a key frame.
    #[error("frame {frame}, where chunk {chunk} starts, is no key frame")]
    KeyFrame {
        /// First frame of the chunk.
        frame: u64,
        /// The chunk.
        chunk: usize,
    },
    /// The sound is too long or too short.
    #[error("it plays {found} samples of sound instead of {expected}")]
    Samples {
        /// Samples that play.
        found: u64,
        /// Samples of the mixed sound.
        expected: u64,
    },
    /// The zip cannot be read.
    #[error("{0}")]
    Zip(zip::result::ZipError),
    /// Files of the zip are missing, or there are too many.
    #[error("it has {found} files instead of {expected}")]
    Files {
        /// Files in the zip.
        found: u64,
        /// Frames, and the sound if there is any.
        expected: u64,
    },
    /// The zip has no sound.
    #[error("it has no {name}")]
    NoAudio {
        /// Name of the sound.
        name: &'static str,
    },
    /// A frame's file is missing or cannot be read.
    #[error("{name}: {reason}")]
    Entry {
        /// Name of the file.
        name: String,
        /// Why.
        reason: String,
    },
    /// A frame has another size than the plan's.
    #[error("{name} is {found} instead of {expected}")]
    FrameSize {
        /// Name of the frame's file.
        name: String,
        /// Size of the frame.
        found: Size,
        /// Size of the plan.
        expected: Size,
    },
    /// The segments end before the frame of the thumbnail or the poster.
    #[error("no segment has the frame of its {what}")]
    NoStillFrame {
        /// `thumbnail` or `poster`.
        what: &'static str,
    },
}

/// The one place where a stitch's error becomes a failure of its task.
impl From<StitchError> for Failure {
    fn from(error: StitchError) -> Self {
        let exhausted = match &error {
            StitchError::Media(media) => media.os_error().and_then(exhausted_by_errno),
            _ => None,
        };
        let by_kind = match &error {
            StitchError::Storage(ObjectsError::Version { .. }) => FailureCode::VersionMismatch,
            // What storage refuses for good is no outage, which would use up no attempt.
            StitchError::Storage(error) if error.is_unsupported() => FailureCode::Internal,
            StitchError::Storage(ObjectsError::Store { .. } | ObjectsError::File { .. }) => FailureCode::Storage,
            StitchError::Storage(_) => FailureCode::ObjectMissing,
            StitchError::Ledger(_) => FailureCode::Backplane,
            StitchError::Segment { .. }
            | StitchError::Audio(_)
            | StitchError::Verify(_)
            | StitchError::Media(MediaError::Frames { .. }) => FailureCode::VerifyFailed,
            StitchError::Media(_) => FailureCode::EncodeFailed,
            StitchError::Stopped => FailureCode::Drained,
            StitchError::Disk { .. }
            | StitchError::WrongTask(_)
            | StitchError::Wire(_)
            | StitchError::Json(_)
            | StitchError::Thread(_) => FailureCode::Internal,
        };
        Self::new(exhausted.or_else(|| exhausted_resource(&error)).unwrap_or(by_kind), error.to_string())
    }
}
