//! The messages between the farm and a decoder's process.

use std::io;
use std::path::PathBuf;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::HdrTransfer;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

use crate::error::MediaError;
use crate::limits::MediaLimits;
use crate::probe::MediaInfo;

/// Most bytes of a message: metadata of a file is not part of any.
pub(super) const MAX_BYTES: u32 = 1 << 20;

/// The first message to a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Order {
    /// The source.
    pub(super) path: PathBuf,
    /// Its name in the project, for errors.
    pub(super) name: String,
    pub(super) limits: MediaLimits,
    pub(super) job: Job,
}

/// What a process is for.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Job {
    Probe,
    Video { timing: MediaTiming, rate: FrameRate },
    Sound { timing: MediaTiming },
}

/// A request to a process after its first answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Request {
    /// The picture of this number.
    Picture(u64),
    /// The same picture at its own depth.
    HdrPicture(u64),
    /// The next samples, this many or fewer at the end.
    Samples(usize),
}

/// The answer to the order or to a request.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Answer {
    Info(Box<MediaInfo>),
    /// The source is open, and pictures or samples can be requested.
    Open,
    /// A picture of this size is in the shared memory, as BGRA.
    Picture(Size),
    /// A picture at its own depth, whose pixels are in the shared memory: three 16-bit numbers each, little endian.
    HdrPicture {
        size: Size,
        transfer: Option<HdrTransfer>,
        wide: bool,
    },
    /// This many samples are in the shared memory, as in [`crate::mix_raw`].
    Samples(usize),
    Failed(DecodeFailure),
}

/// An error of a process.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct DecodeFailure {
    message: String,
    is_input: bool,
    errno: Option<i32>,
}

impl DecodeFailure {
    /// `error` with the source's name in place of its path.
    pub(super) fn new(error: MediaError, order: &Order) -> Self {
        if error.is_memory() {
            let (name, mebibytes) = (&order.name, order.limits.memory >> 20);
            let message = match order.job {
                // No true index is so long.
                Job::Probe => format!(
                    "{name} takes more than {mebibytes} MiB of memory to be read: its index (of an mp4 the boxes stts, \
                     stsz, stsc) is damaged; export or convert it again"
                ),
                _ => format!("{name} takes more than {mebibytes} MiB of memory to be decoded: scale it down"),
            };
            return Self { message, is_input: true, errno: None };
        }
        match error.named(&order.path, &order.name) {
            MediaError::Source { message, is_input, source } => {
                Self { message, is_input, errno: source.and_then(|error| error.raw_os_error()) }
            }
            other => Self { message: other.to_string(), is_input: other.is_input(), errno: None },
        }
    }

    pub(super) fn into_error(self) -> MediaError {
        MediaError::Source {
            message: self.message,
            is_input: self.is_input,
            source: self.errno.map(io::Error::from_raw_os_error),
        }
    }
}
