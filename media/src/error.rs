//! Why a media operation fails, and whether the input is at fault.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::Size;

use crate::ffmpeg_log;

/// FFmpeg's error, with the last line that it logged about it.
#[derive(Debug, Clone)]
pub struct Reason {
    error: ffmpeg::Error,
    detail: Option<String>,
}

impl Reason {
    /// `error` with the last line logged on this thread since the line before was taken.
    pub(crate) fn of(error: ffmpeg::Error) -> Self {
        Self { error, detail: ffmpeg_log::take_last() }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.detail, self.error) {
            (Some(detail), ffmpeg::Error::PatchWelcome) => write!(f, "{detail}"),
            (None, ffmpeg::Error::PatchWelcome) => write!(f, "it uses something that FFmpeg does not decode"),
            (Some(detail), error) => write!(f, "{error} ({detail})"),
            (None, error) => write!(f, "{error}"),
        }
    }
}

impl std::error::Error for Reason {}

/// Why a media operation failed. [`MediaError::is_input`] says whether a source file is at fault.
#[derive(Debug, thiserror::Error)]
pub enum MediaError {
    /// The file cannot be read.
    #[error("{} cannot be opened: check that it exists and may be read", path.display())]
    Open {
        /// The file.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// The source has no bytes.
    #[error("{} is empty: upload it again or remove the element that plays it", path.display())]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// The source is not media.
    #[error("{} is not a media file that can be read, it looks like {looks_like}: {reason}; replace it by the media itself", path.display())]
    NotMedia {
        /// The file.
        path: PathBuf,
        /// A guess from its first bytes.
        looks_like: &'static str,
        /// FFmpeg's error.
        reason: Reason,
    },
    /// The source's index points behind its end.
    #[error(
        "{} was cut off: its index names {needed} bytes and it has {found}; upload it again, completely",
        path.display()
    )]
    Truncated {
        /// The file.
        path: PathBuf,
        /// Bytes it has.
        found: u64,
        /// Bytes its index names.
        needed: u64,
    },
    /// The source has no video or no audio where it is needed.
    #[error("{} has no {kind} that can be decoded: remove the element that plays it, or convert the file", path.display())]
    NoStream {
        /// The file.
        path: PathBuf,
        /// `picture` or `sound`.
        kind: &'static str,
    },
    /// The source has pictures or sound beyond what may be decoded.
    #[error("{} cannot be decoded: {what}", path.display())]
    BeyondLimits {
        /// The file.
        path: PathBuf,
        /// What is beyond the limits, and the limits.
        what: String,
    },
    /// A source of the user, by its name in the project, could not be decoded.
    #[error("{message}")]
    Source {
        /// What happened, with the source's name in the project.
        message: String,
        /// Whether the source is at fault.
        is_input: bool,
        /// The system's error behind it.
        #[source]
        source: Option<io::Error>,
    },
    /// The stream cannot be decoded.
    #[error("{} cannot be decoded while {action}: {reason}; convert it to H.264, VP9, AAC or Opus", path.display())]
    Undecodable {
        /// The file.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// FFmpeg's error.
        reason: Reason,
    },
    /// The stream decodes to a format that FFmpeg's headers at build time did not have.
    #[error(
        "{} decodes to {kind} format number {number}, which this build does not know: build hyperfarm with the headers of the FFmpeg \
         that it runs with",
        path.display()
    )]
    UnknownFormat {
        /// The file.
        path: PathBuf,
        /// `pixel` or `sample`.
        kind: &'static str,
        /// FFmpeg's number of the format.
        number: i32,
    },
    /// Playback starts behind the source's end.
    #[error(
        "{} lasts {duration:.3} s and should play from {media_start:.3} s: lower data-media-start below its length",
        path.display()
    )]
    PastEnd {
        /// The file.
        path: PathBuf,
        /// Where playback should start, in source seconds.
        media_start: f64,
        /// How long the source is, in seconds.
        duration: f64,
    },
    /// A time or a rate is not finite, or out of range.
    #[error("{} has a timing that cannot be played ({what}): give finite times and a rate from 0.1 to 5", path.display())]
    Timing {
        /// The file.
        path: PathBuf,
        /// The value.
        what: String,
    },
    /// A picture does not have the encoder's size or has too few bytes.
    #[error("a picture of {found} with {bytes} bytes was given to an encoder of {expected}: {what}")]
    Bitmap {
        /// Size of the encoder.
        expected: Size,
        /// Size of the picture.
        found: Size,
        /// Bytes of the picture.
        bytes: usize,
        /// What is wrong with it.
        what: &'static str,
    },
    /// FFmpeg on this machine lacks an encoder, a decoder, a muxer or a filter.
    #[error(
        "FFmpeg on this machine has no {name}: install FFmpeg's libraries with it (hyperfarm doctor lists what is missing)"
    )]
    Missing {
        /// What it lacks.
        name: String,
    },
    /// An encoder, a filter or a muxer failed.
    #[error("{} could not be made, {action} failed: {reason}; check free space, then the encoder settings", path.display())]
    Make {
        /// The output.
        path: PathBuf,
        /// What was attempted.
        action: &'static str,
        /// FFmpeg's error.
        reason: Reason,
    },
    /// An encoder of a GPU does not open.
    #[error("{encoder} does not open: {reason}")]
    Device {
        /// FFmpeg's name of the encoder.
        encoder: &'static str,
        /// FFmpeg's error.
        reason: Reason,
    },
    /// The file cannot be written.
    #[error("{} could not be written: check free space and permissions", path.display())]
    Write {
        /// The output.
        path: PathBuf,
        /// The system's error.
        #[source]
        source: io::Error,
    },
    /// A segment or a mix made by the farm cannot be read.
    #[error("a part of the output cannot be read: render the chunk again")]
    Part(#[source] Box<MediaError>),
    /// A segment cannot be joined with the first one.
    #[error("segment {} does not fit the first one ({what}): render all chunks with one version and one plan", path.display())]
    Headers {
        /// The segment.
        path: PathBuf,
        /// The difference.
        what: String,
    },
    /// Frames are missing or doubled.
    #[error("{} holds {found} frames and must hold {expected} ({what}): render the chunk again", path.display())]
    Frames {
        /// The file.
        path: PathBuf,
        /// Frames it must hold.
        expected: u64,
        /// Frames it holds.
        found: u64,
        /// What was counted.
        what: &'static str,
    },
    /// There are no frames, or their rate is more than the format can show.
    #[error(
        "nothing to {action} at {rate} frames a second: the render has no frames, or the format cannot show so many"
    )]
    Nothing {
        /// What was attempted.
        action: &'static str,
        /// The frame rate.
        rate: FrameRate,
    },
    /// The caller asked to stop.
    #[error("stopped because the caller asked for it")]
    Stopped,
}

impl MediaError {
    /// Whether a source file of the user is at fault, so that a retry fails in the same way.
    ///
    /// A missing file does not count: sources were downloaded before, so the machine has lost it.
    pub fn is_input(&self) -> bool {
        matches!(
            self,
            Self::Empty { .. }
                | Self::NotMedia { .. }
                | Self::Truncated { .. }
                | Self::NoStream { .. }
                | Self::BeyondLimits { .. }
                | Self::Source { is_input: true, .. }
                | Self::Undecodable { .. }
                | Self::PastEnd { .. }
                | Self::Timing { .. }
        )
    }

    /// Number of the system error that FFmpeg passed on, where it did.
    pub fn os_error(&self) -> Option<i32> {
        let (Self::NotMedia { reason, .. }
        | Self::Undecodable { reason, .. }
        | Self::Make { reason, .. }
        | Self::Device { reason, .. }) = self
        else {
            return None;
        };
        match reason.error {
            ffmpeg::Error::Other { errno } => Some(errno),
            _ => None,
        }
    }

    /// Whether the process got no memory.
    pub(crate) fn is_memory(&self) -> bool {
        const NO_MEMORY: i32 = 12;
        let (Self::NotMedia { reason, .. } | Self::Undecodable { reason, .. }) = self else { return false };
        self.os_error() == Some(NO_MEMORY) || reason.detail.as_deref() == Some(ffmpeg_log::NO_PICTURE_MEMORY)
    }

    /// For `map_err`: decoding `path` failed during `action`.
    pub(crate) fn undecodable(path: &Path, action: &'static str) -> impl Fn(ffmpeg::Error) -> Self {
        move |error| Self::Undecodable { path: path.to_owned(), action, reason: Reason::of(error) }
    }

    /// For `map_err`: writing `path` failed during `action`.
    pub(crate) fn make(path: &Path, action: &'static str) -> impl Fn(ffmpeg::Error) -> Self {
        move |error| Self::Make { path: path.to_owned(), action, reason: Reason::of(error) }
    }

    /// This error with `name`, the source's name in the project, in place of its path on this machine.
    pub(crate) fn named(self, path: &Path, name: &str) -> Self {
        if matches!(self, Self::Stopped | Self::Source { .. }) {
            return self;
        }
        let message = self.to_string().replace(&path.display().to_string(), name);
        let is_input = self.is_input();
        let errno = match &self {
            Self::Open { source, .. } => source.raw_os_error(),
            _ => self.os_error(),
        };
        Self::Source { message, is_input, source: errno.map(io::Error::from_raw_os_error) }
    }

    /// For `map_err`: a file made by the farm is at fault, not a source of the user.
    pub(crate) fn part(error: Self) -> Self {
        Self::Part(Box::new(error))
    }
}
