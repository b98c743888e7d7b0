//! The pictures of a `<video>` element, by output frame.
//!
//! **Invariant: the picture of an output frame depends on the frame alone**, not on frames requested before: a chunk
//! that starts in the middle shows the same pictures as a render from the start. Seeks go to key frames, and frames of
//! an open group that cannot be decoded are skipped. Memory is bounded: two decoded frames and one converted picture.

pub(crate) mod reader;
mod timeline;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use ffmpeg_next::{Rational, frame};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{MediaTiming, VideoHeaders};
use hyperfarm_proto::spec::Size;

use self::reader::FrameReader;
use self::timeline::SourceLength;
pub use self::timeline::VideoTimeline;
use crate::bitmap::Picture;
use crate::convert::ToBgra;
use crate::error::MediaError;
use crate::hdr::HdrPicture;
use crate::limits::{MediaLimits, check_pixels};

/// Seconds ahead up to which a picture is reached by decoding, never by seeking.
const NEAR_SECONDS: f64 = 1.0;

/// Seconds ahead from which a seek is tried even if the index has no key frame between.
const FAR_SECONDS: f64 = 5.0;

/// Seconds by which a seek is repeated earlier when it landed behind its picture. After the last one the file is opened
/// again.
const SEEK_BACK_SECONDS: [f64; 4] = [0.0, 1.0, 4.0, 16.0];

/// A decoded frame with its index in the resampled source.
struct Decoded {
    frame: frame::Video,
    index: i64,
    pts: i64,
}

/// Decodes the pictures of one video element. `Send`, not `Sync`.
pub struct VideoSource {
    path: PathBuf,
    /// Most pixels of a picture.
    pixels: u64,
    reader: FrameReader,
    timeline: VideoTimeline,
    converter: ToBgra,
    /// Whether `current` is the file's first picture, which is shown before its time as well.
    is_at_first: bool,
    current: Option<Decoded>,
    next: Option<Decoded>,
    shown: Option<Arc<Picture>>,
}

impl VideoSource {
    /// Opens `path`, played with `timing` in an output of `rate`.
    ///
    /// # Errors
    /// The file cannot be decoded, a time or rate is out of range, or `media_start` is not before the source's end. The
    /// user is at fault in each case ([`MediaError::is_input`]).
    pub fn open(path: &Path, timing: &MediaTiming, rate: FrameRate) -> Result<Self, MediaError> {
        Self::open_within(path, timing, rate, MediaLimits::default().pixels)
    }

    /// Like [`VideoSource::open`], for pictures of at most `pixels` pixels.
    ///
    /// # Errors
    /// Also a picture that is larger.
    pub fn open_within(path: &Path, timing: &MediaTiming, rate: FrameRate, pixels: u64) -> Result<Self, MediaError> {
        check_timing(path, timing)?;
        let reader = FrameReader::open(path, pixels)?;
        check_pixels(path, reader.display_size(), pixels)?;
        let duration = reader.duration();
        check_start(path, timing, duration)?;
        let origin = reader.source.origin(reader.time_base);
        let timeline = VideoTimeline::new(
            timing,
            rate,
            reader.time_base,
            origin,
            SourceLength { seconds: duration, has_variable_rate: reader.has_variable_rate() },
        );
        let converter = reader.converter();
        let mut source = Self {
            path: path.to_owned(),
            pixels,
            reader,
            timeline,
            converter,
            is_at_first: true,
            current: None,
            next: None,
            shown: None,
        };
        source.restart(false)?;
        Ok(source)
    }

    /// The mapping from output frames to pictures.
    pub fn timeline(&self) -> &VideoTimeline {
        &self.timeline
    }

    /// Display size of the pictures by the file's headers: in square pixels, rotated.
    pub fn display_size(&self) -> Size {
        self.reader.display_size()
    }

    /// Whether pictures have transparency.
    pub fn has_alpha(&self) -> bool {
        self.reader.has_alpha()
    }

    /// The picture at output frame `frame`, rotated and in square pixels; behind the source's end its last one. The
    /// same frame again and the next frame are cheap; any other order returns the same pictures.
    ///
    /// # Errors
    /// The file cannot be decoded.
    pub fn picture(&mut self, frame: u64) -> Result<Arc<Picture>, MediaError> {
        self.numbered(self.timeline.picture_at(frame))
    }

    /// Picture `number` of the resampled source, as counted by [`VideoTimeline::picture_at`].
    ///
    /// # Errors
    /// The file cannot be decoded.
    pub fn numbered(&mut self, number: u64) -> Result<Arc<Picture>, MediaError> {
        self.go_to(i64::try_from(number).unwrap_or(i64::MAX))?;
        if let Some(shown) = &self.shown {
            return Ok(Arc::clone(shown));
        }
        let failed = MediaError::undecodable(&self.path, "converting a picture");
        let Some(current) = &self.current else {
            return Err(failed(ffmpeg_next::Error::InvalidData));
        };
        check_pixels(&self.path, self.converter.size_of(&current.frame), self.pixels)?;
        let picture = Arc::new(self.converter.convert(&current.frame).map_err(failed)?);
        self.shown = Some(Arc::clone(&picture));
        Ok(picture)
    }

    /// Picture `number` as [`VideoSource::numbered`], at its own depth.
    ///
    /// # Errors
    /// The file cannot be decoded.
    pub fn numbered_hdr(&mut self, number: u64) -> Result<HdrPicture, MediaError> {
        self.go_to(i64::try_from(number).unwrap_or(i64::MAX))?;
        let failed = MediaError::undecodable(&self.path, "converting a picture");
        let Some(current) = &self.current else {
            return Err(failed(ffmpeg_next::Error::InvalidData));
        };
        check_pixels(&self.path, self.converter.size_of(&current.frame), self.pixels)?;
        self.converter.convert_hdr(&current.frame).map_err(failed)
    }

    /// Makes `current` the last picture whose index is at most `index`, or the file's first.
    fn go_to(&mut self, index: i64) -> Result<(), MediaError> {
        match &self.current {
            Some(current) if current.index <= index || self.is_at_first => {
                if self.should_seek(index) {
                    self.seek(index)?;
                }
            }
            _ => self.seek(index)?,
        }
        while self.next.as_ref().is_some_and(|next| next.index <= index) {
            self.step()?;
        }
        Ok(())
    }

    fn step(&mut self) -> Result<(), MediaError> {
        self.current = self.next.take();
        self.is_at_first = false;
        self.shown = None;
        self.next = self.read()?;
        Ok(())
    }

    fn read(&mut self) -> Result<Option<Decoded>, MediaError> {
        let read = self.reader.next()?;
        Ok(read.map(|(frame, pts)| Decoded { frame, index: self.timeline.index_of(pts), pts }))
    }

    /// Whether a key frame lies between the current frame and a picture far ahead.
    fn should_seek(&mut self, index: i64) -> bool {
        let Some(next) = &self.next else { return false };
        let (here, target) = (next.pts, self.timeline.ticks_of(index));
        let ahead = target.saturating_sub(here);
        if ahead < self.timeline.ticks_in(NEAR_SECONDS) {
            return false;
        }
        match self.reader.key_frame_before(target) {
            Some(key) if key > here => true,
            _ => ahead > self.timeline.ticks_in(FAR_SECONDS),
        }
    }

    fn seek(&mut self, index: i64) -> Result<(), MediaError> {
        let target = self.timeline.ticks_of(index);
        for seconds in SEEK_BACK_SECONDS {
            let earlier = target.saturating_sub(self.timeline.ticks_in(seconds));
            if self.timeline.index_of(earlier) < 0 && seconds > 0.0 || self.reader.seek(earlier).is_err() {
                break;
            }
            let Some(first) = self.read()? else { continue };
            // Containers seek by decode time, which may lie before the presentation time.
            if first.index <= index {
                let next = self.read()?;
                // FFmpeg's H.264 decoder loses a file's last frame after a seek to the frame before it, but not from
                // further back. That also shows whether this frame is the last.
                if next.is_none() {
                    continue;
                }
                self.current = Some(first);
                self.is_at_first = false;
                self.shown = None;
                self.next = next;
                return Ok(());
            }
        }
        self.restart(true)
    }

    /// Reads the file's first two frames, after opening it again if `reopen`.
    fn restart(&mut self, reopen: bool) -> Result<(), MediaError> {
        if reopen {
            self.reader = FrameReader::open(&self.path, self.pixels)?;
        }
        self.current = self.read()?;
        self.is_at_first = true;
        self.shown = None;
        self.next = self.read()?;
        Ok(())
    }
}

impl std::fmt::Debug for VideoSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("VideoSource")
            .field("path", &self.path)
            .field("timeline", &self.timeline)
            .finish_non_exhaustive()
    }
}

/// The mapping of a source with `headers` that is played with `timing` in an output of `rate`.
pub(crate) fn timeline_of(headers: &VideoHeaders, timing: &MediaTiming, rate: FrameRate) -> VideoTimeline {
    let time_base = Rational::new(headers.time_base.0.max(1), headers.time_base.1.max(1));
    let length = SourceLength { seconds: headers.duration, has_variable_rate: headers.has_variable_rate };
    VideoTimeline::new(timing, rate, time_base, headers.origin, length)
}

/// Fails for times that are not finite and rates outside 0.1 to 5.
pub(crate) fn check_timing(path: &Path, timing: &MediaTiming) -> Result<(), MediaError> {
    let refused = |what: String| MediaError::Timing { path: path.to_owned(), what };
    for (name, value) in [("start", timing.start), ("end", timing.end), ("media start", timing.media_start)] {
        if !value.is_finite() {
            return Err(refused(format!("{name} {value}")));
        }
    }
    if timing.media_start < 0.0 {
        return Err(refused(format!("media start {}", timing.media_start)));
    }
    if !(0.1 - 1e-9..=5.0 + 1e-9).contains(&timing.rate) {
        return Err(refused(format!("rate {}", timing.rate)));
    }
    Ok(())
}

/// Fails for a media start at or behind the source's end.
pub(crate) fn check_start(path: &Path, timing: &MediaTiming, duration: Option<f64>) -> Result<(), MediaError> {
    match duration {
        Some(duration) if timing.media_start >= duration => {
            Err(MediaError::PastEnd { path: path.to_owned(), media_start: timing.media_start, duration })
        }
        _ => Ok(()),
    }
}
