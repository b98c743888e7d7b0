//! What finished tasks leave behind.

use serde::{Deserialize, Serialize};

use crate::failure::{FailedAttempt, Failure};
use crate::frame::{FrameRange, FrameRate};
use crate::hdr::LightLevels;
use crate::id::{ContentHash, FrameHash, RenderId};
use crate::plan::{CaptureClass, ChunkStart, RuntimeVersion, Warning};
use crate::spec::{Format, Size};

/// How far a task is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct TaskProgress {
    /// Units done: frames for a chunk, thousandths for other tasks.
    pub done: u64,
    /// Units in all.
    pub total: u64,
}

/// How a chunk's frames were read out of Chrome.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CapturePath {
    /// Lossless PNG screenshots.
    Png,
    /// The compositor's own memory.
    Framebuffer,
}

/// The clock of every `begun_at_ms`: Unix time in milliseconds.
pub fn unix_ms() -> f64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0.0, |since| since.as_secs_f64() * 1000.0)
}

/// Milliseconds a chunk's stages took in all. Start, capture and commit follow one another; what is in the capture overlaps: the page's
/// side (seek, draw) and the encoder's (read, convert, encode) run at the same time.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ChunkTimings {
    /// When the attempt began, as [`unix_ms`]; 0 where it is not known.
    pub begun_at_ms: f64,
    /// From the claim to the first frame: browser, navigation, readiness, start-up sequence.
    pub start_ms: f64,
    /// From the first frame's seek to the end of the encoder.
    pub capture_ms: f64,
    /// Seeks.
    pub seek_ms: f64,
    /// Begin-frames; with screenshots their making too.
    pub draw_ms: f64,
    /// Copies out of the framebuffer, or decoding screenshots; and hashing.
    pub read_ms: f64,
    /// Turning pixels into the encoder's pictures.
    pub convert_ms: f64,
    /// The encoder's work.
    pub encode_ms: f64,
    /// The page's wait for the encoder, and for its end.
    pub wait_ms: f64,
    /// Storing the segment.
    pub commit_ms: f64,
    /// Earlier frames that were sought and not drawn, so that the page is in the state of a walk.
    pub visited_frames: u64,
}

impl ChunkTimings {
    /// How long the attempt held its slot. What overlaps counts once.
    pub fn total_ms(&self) -> f64 {
        self.start_ms + self.capture_ms + self.commit_ms
    }
}

/// A committed segment. Stored beside it as JSON before the segment itself, so that a segment that exists has its record.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentRecord {
    /// The chunk.
    pub chunk: u32,
    /// The attempt that made it.
    pub attempt: u32,
    /// Hash of the content of the plan it was made from; none in records of farm 0.1.
    #[serde(default)]
    pub plan: Option<ContentHash>,
    /// Its frames.
    pub frames: FrameRange,
    /// Object key of the segment.
    pub key: String,
    /// SHA-256 of the segment's bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub bytes: u64,
    /// How the page was brought to the first frame.
    #[serde(default)]
    pub start: ChunkStart,
    /// Hash of the frame after the last, which the chunk draws as the end of its walk: that of the first frame of the
    /// next chunk, where the seam between the two cannot be seen. None where the chunk ends the video, and in records
    /// of farm 0.2.
    #[serde(default)]
    pub after: Option<FrameHash>,
    /// Hash of each captured frame, in order.
    pub frame_hashes: Vec<FrameHash>,
    /// How they were read.
    pub path: CapturePath,
    /// Who made it.
    pub worker: String,
    /// How long it took.
    pub timings: ChunkTimings,
    /// Object key of a still of the first frame, for people.
    #[serde(default)]
    pub thumbnail: Option<String>,
    /// The light of its frames, where the output has high dynamic range.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub light: Option<LightLevels>,
    /// What its frames showed that the plan did not warn of.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// A file beside the output.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sidecar {
    /// Its file name, for example `sound.wav`.
    pub name: String,
    /// Object key.
    pub key: String,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub bytes: u64,
}

impl Sidecar {
    /// Name of the sound as a WAV file.
    pub const SOUND: &'static str = "sound.wav";
    /// Name of the poster.
    pub const POSTER: &'static str = "poster.jpg";
    /// Name of the captions as a SubRip file.
    pub const SUBRIP: &'static str = "captions.srt";
    /// Name of the captions as a WebVTT file.
    pub const WEBVTT: &'static str = "captions.vtt";
}

/// The committed sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioRecord {
    /// Hash of the content of the plan it was made from; none in records of farm 0.1.
    #[serde(default)]
    pub plan: Option<ContentHash>,
    /// Object key.
    pub key: String,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
    /// The same sound as a WAV file, where it was asked for.
    #[serde(default)]
    pub wav: Option<Sidecar>,
    /// Samples a channel.
    pub samples: u64,
    /// Samples a second.
    pub sample_rate: u32,
    /// When the mix began, as [`unix_ms`]; 0 where it is not known.
    #[serde(default)]
    pub begun_at_ms: f64,
    /// Milliseconds it took.
    pub mix_ms: f64,
}

/// The stitched output, as the stitcher verified it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutputRecord {
    /// Object key of the output.
    pub key: String,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub bytes: u64,
    /// Video packets counted in it.
    pub frames: u64,
    /// Pixels of a frame.
    pub size: Size,
    /// Frames a second.
    pub frame_rate: FrameRate,
    /// Container.
    pub format: Format,
    /// Whether it has sound.
    pub has_audio: bool,
    /// Object key of the thumbnail.
    pub thumbnail: String,
    /// Files beside it.
    #[serde(default)]
    pub sidecars: Vec<Sidecar>,
    /// When the stitch began, as [`unix_ms`]; 0 where it is not known.
    #[serde(default)]
    pub begun_at_ms: f64,
    /// Milliseconds the stitch took.
    pub stitch_ms: f64,
}

/// What a render was made from and how (`manifest.json`). Its existence means that the output is complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The render.
    pub render: RenderId,
    /// Content hash of the plan.
    pub plan: ContentHash,
    /// Versions it was made with.
    pub class: CaptureClass,
    /// The runtime that sought the page; `None` in manifests of farms with one runtime.
    #[serde(default)]
    pub runtime: Option<RuntimeVersion>,
    /// The output.
    pub output: OutputRecord,
    /// Segments used, by chunk.
    pub segments: Vec<SegmentRecord>,
    /// The sound, if any.
    pub audio: Option<AudioRecord>,
    /// For the person.
    pub warnings: Vec<Warning>,
}

impl Manifest {
    /// Hashes of all captured frames, in order.
    pub fn frame_hashes(&self) -> impl Iterator<Item = FrameHash> + '_ {
        self.segments.iter().flat_map(|segment| segment.frame_hashes.iter().copied())
    }
}

/// How a render ended (`state.json`). Written once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TerminalState {
    /// Unix time in milliseconds.
    pub ended_at_ms: u64,
    /// How.
    pub outcome: Outcome,
}

/// The two ends of a render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Outcome {
    /// The output is there.
    Completed {
        /// Seconds of video.
        duration: f64,
        /// What was made.
        output: OutputRecord,
    },
    /// It is not, and will not be.
    Failed {
        /// Why.
        failure: Failure,
        /// Every attempt at the task that failed last.
        history: Vec<FailedAttempt>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_overlaps_in_a_chunk_counts_once() {
        let timings = ChunkTimings {
            start_ms: 100.0,
            capture_ms: 1000.0,
            seek_ms: 400.0,
            draw_ms: 500.0,
            read_ms: 300.0,
            convert_ms: 100.0,
            encode_ms: 500.0,
            wait_ms: 100.0,
            commit_ms: 50.0,
            ..ChunkTimings::default()
        };
        assert_eq!(timings.total_ms(), 1150.0);
    }
}
