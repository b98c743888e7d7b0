//! The plan of a render: everything that its segments depend on, and its chunk table.
//!
//! The plan stage writes a [`PlanDraft`] (everything a worker must know, and what a frame costs); the coordinator
//! adds the chunk table and stores the [`Plan`]. **Invariant: a segment is a pure function of
//! [`PlanContent`] and a frame range.** Nothing measured, no clock and no worker's name is part of the content, so
//! equal inputs have an equal [`PlanContent::hash`].

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

pub use crate::encoder::{DeviceEncoder, EncoderSettings, Loudness, Rate, VideoCodec};
use crate::frame::{FrameRange, FrameRate};
use crate::hdr::HdrTransfer;
use crate::id::{ContentHash, Pool, RenderId};
pub use crate::runtime::RuntimeVersion;
use crate::shutter::Shutter;
use crate::spec::{Size, Viewport};
use crate::wire::{self, Wire, WireError};

/// How the page of a chunk is brought to the chunk's first frame. The usual start visits earlier frames as far as the
/// page is known to need them, and draws the last ones ([`WARM_UP_FRAMES`](crate::seam::WARM_UP_FRAMES)).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkStart {
    /// Whether every earlier frame is visited, and scripts that draw videos find their pictures in all of them.
    pub visits_all: bool,
    /// The frame of the output from which on every frame is drawn, as a chunk that begins there draws them.
    pub draws_from: Option<u64>,
}

/// One file that the slot's server gives to the page. Its bytes are stored under `blobs/`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompiledFile {
    /// Path from the project's root, with `/`, never absolute, never climbing.
    pub path: String,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub bytes: u64,
}

/// Path, among the files of a plan, of what the page has prepared in the plan stage for its later pages: the JSON of
/// `window.__hyperfarmPrepared`.
pub const PREPARED_FILE: &str = "__hyperfarm/prepared.json";

/// A URL that the page requests, and the file that the plan stage found for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RemoteAsset {
    /// The URL as the page asks for it, without a fragment.
    pub url: String,
    /// Path among the plan's files, or below the farm's own prefix; `None` where no file was found.
    pub path: Option<String>,
    /// Why no file was found.
    pub reason: Option<String>,
}

/// When a medium plays: the mapping of composition time to source time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MediaTiming {
    /// Composition second at which it starts.
    pub start: f64,
    /// Composition second at which it ends.
    pub end: f64,
    /// Source second that sounds or shows at `start`.
    pub media_start: f64,
    /// Source seconds a composition second.
    pub rate: f64,
    /// Starts again at the source's beginning when it runs out.
    pub looped: bool,
}

/// One `<video>` whose pictures the worker decodes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoItem {
    /// The element's render id, unique in the page.
    pub id: String,
    /// Path of the source among the plan's files.
    pub path: String,
    /// When it plays.
    pub timing: MediaTiming,
    /// Whether scripts play it and draw its pictures; `timing` then is that of the whole source.
    pub scripted: bool,
    /// The source's headers.
    pub headers: VideoHeaders,
}

/// The headers of a video's file, as far as they say which picture shows when: a worker opens the file only when it
/// needs a picture.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoHeaders {
    /// Seconds a tick of its timestamps, as (numerator, denominator).
    pub time_base: (i32, i32),
    /// Timestamp at which the file's own timeline begins.
    pub origin: i64,
    /// Seconds from the start of the file's timeline to the end of the video, where known.
    pub duration: Option<f64>,
    /// Whether frames have different durations.
    pub has_variable_rate: bool,
    /// Size for display: in square pixels, rotated.
    pub display: Size,
    /// Whether pictures have transparency.
    pub has_alpha: bool,
    /// Transfer characteristic of pictures of high dynamic range.
    pub hdr: Option<HdrTransfer>,
}

/// A gain at a moment; between two points it moves in a straight line.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GainPoint {
    /// Composition second.
    pub time: f64,
    /// Linear gain; 1 leaves the sound as it is.
    pub gain: f64,
}

/// A chain of sound effects, as the HyperFrames runtime reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EffectChain {
    /// `{"version":1,"nodes":[…]}`, with known effects only.
    pub chain: String,
    /// Lanes of the effects' parameters, `{"version":1,"lanes":[…]}`; empty where nothing is automated.
    pub automation: String,
}

/// One element that sounds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioItem {
    /// The element's render id.
    pub id: String,
    /// Path of the source among the plan's files.
    pub path: String,
    /// When it plays.
    pub timing: MediaTiming,
    /// Where the rate changes: stretches of one rate each, one behind the other within `timing`; empty means `timing`
    /// alone.
    pub stretches: Vec<MediaTiming>,
    /// Effects between the tempo and the gain.
    pub effects: Option<EffectChain>,
    /// Gain over composition time, in order; held before the first and after the last point; empty means 1.
    pub gain: Vec<GainPoint>,
    /// Index of its group among the plan's; without one it goes to the sum.
    pub group: Option<u32>,
}

impl AudioItem {
    /// A sound at one rate, without effects and group.
    pub fn plain(id: &str, path: &str, timing: MediaTiming, gain: Vec<GainPoint>) -> Self {
        Self {
            id: id.to_owned(),
            path: path.to_owned(),
            timing,
            stretches: Vec::new(),
            effects: None,
            gain,
            group: None,
        }
    }
}

/// Sounds that are summed, then go through effects and a gain together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AudioGroup {
    /// The group's authored id.
    pub id: String,
    /// Effects on the sum.
    pub effects: Option<EffectChain>,
    /// Gain over composition time, as of an item.
    pub gain: Vec<GainPoint>,
}

/// The groups and the master that sounds are mixed through.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Buses {
    /// Groups, in the order of their first members.
    pub groups: Vec<AudioGroup>,
    /// Effects on the sum of everything.
    pub master: Option<EffectChain>,
}

/// A text that the composition shows for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Caption {
    /// Millisecond of the output at which it appears.
    pub start_ms: u64,
    /// Millisecond of the output at which it is gone.
    pub end_ms: u64,
    /// Its lines, none of which is empty.
    pub text: String,
}

/// Whether frames are drawn by the processor or by a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CaptureKind {
    /// Software rendering.
    Cpu,
    /// Hardware rendering.
    Gpu,
}

/// Layout of plan and draft. Version 1 was farm 0.1's; version 3 knows GPU classes and the encoders of devices; version
/// 4 the page's clock, videos that scripts play, outputs that are a part of their composition, loudness, the runtime,
/// and high dynamic range.
const PLAN_VERSION: u8 = 4;

/// Everything about a worker that its pixels and its packets depend on. A render is pinned to one class.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct CaptureClass {
    /// Chrome's full version.
    pub chrome: String,
    /// Versions of FFmpeg's libraries.
    pub ffmpeg: String,
    /// Version of the HyperFrames runtime that is built in. That of a render is in [`PlanContent::runtime`].
    pub runtime: String,
    /// Version of the farm.
    pub farm: String,
    /// Processor or GPU.
    pub kind: CaptureKind,
    /// What draws where a GPU does: which part it draws, through which interface, the device and its driver. Empty with
    /// the processor.
    #[serde(default)]
    pub device: String,
    /// The encoders of the device that the worker offers, and the driver they come with; empty where the processor
    /// encodes.
    #[serde(default)]
    pub encoder: String,
    /// Hash over the fonts the machine offers beside the plan's own.
    pub fonts: ContentHash,
    /// The operator's own word for what the farm cannot see, such as a driver or a patched Chrome; usually empty.
    pub label: String,
}

impl fmt::Display for CaptureClass {
    /// The parts that differ most often, for people.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "hyperfarm {}, Chrome {}, runtime {}", self.farm, self.chrome, self.runtime)?;
        [&self.device, &self.encoder, &self.label]
            .into_iter()
            .filter(|part| !part.is_empty())
            .try_for_each(|part| write!(f, ", {part}"))
    }
}

impl CaptureClass {
    /// A short id, equal for equal classes only.
    pub fn id(&self) -> String {
        let Self { chrome, ffmpeg, runtime, farm, kind, device, encoder, fonts, label } = self;
        let text = format!("{chrome}\n{ffmpeg}\n{runtime}\n{farm}\n{kind:?}\n{device}\n{encoder}\n{fonts}\n{label}");
        ContentHash::of(text.as_bytes()).short()
    }

    /// The first part in which `other` differs, as (code of the refusal, ours, theirs).
    pub fn mismatch<'a>(&'a self, other: &'a Self) -> Option<(&'static str, String, String)> {
        let texts = [
            ("CHROME_VERSION_MISMATCH", &self.chrome, &other.chrome),
            ("FFMPEG_VERSION_MISMATCH", &self.ffmpeg, &other.ffmpeg),
            ("RUNTIME_VERSION_MISMATCH", &self.runtime, &other.runtime),
            ("FARM_VERSION_MISMATCH", &self.farm, &other.farm),
            ("CAPTURE_LABEL_MISMATCH", &self.label, &other.label),
            ("CAPTURE_DEVICE_MISMATCH", &self.device, &other.device),
            ("ENCODER_DEVICE_MISMATCH", &self.encoder, &other.encoder),
        ];
        if self.kind != other.kind {
            return Some(("CAPTURE_KIND_MISMATCH", format!("{:?}", self.kind), format!("{:?}", other.kind)));
        }
        for (code, ours, theirs) in texts {
            if ours != theirs {
                return Some((code, format!("`{ours}`"), format!("`{theirs}`")));
            }
        }
        if self.fonts != other.fonts {
            return Some(("FONTS_MISMATCH", self.fonts.short(), other.fonts.short()));
        }
        None
    }
}

/// Something that the user should know and that did not stop the render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Warning {
    /// Stable code, for example `ASSET_NOT_FOUND`.
    pub code: String,
    /// One sentence that names the element or file.
    pub message: String,
}

/// Everything that a segment's bytes depend on, besides its frame range.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanContent {
    /// Files the page may load.
    pub files: Vec<CompiledFile>,
    /// Every URL that the page requests, sorted. Those with a path are served under their URLs too.
    pub remote: Vec<RemoteAsset>,
    /// Path of the compiled entry page among them.
    pub entry: String,
    /// Page size and device scale.
    pub viewport: Viewport,
    /// Frames a second.
    pub frame_rate: FrameRate,
    /// The shutter of the motion blur; `None` where each frame is one picture.
    pub shutter: Option<Shutter>,
    /// Frame of the composition that is the output's first. Frame numbers of the output, as in chunks, count from it.
    pub first_frame: u64,
    /// Frames in the output.
    pub frames: u64,
    /// Frames in the composition, of which the output may be a part.
    pub composition_frames: u64,
    /// Variables as the text of one JSON object.
    pub variables: String,
    /// Unix time in milliseconds that the page's clocks show at its start.
    pub epoch_ms: u64,
    /// Steps of the load time that the page needs until it is ready.
    pub load_steps: u32,
    /// Compositions of the page that the probe saw without a timeline; a chunk does not wait for theirs.
    pub unregistered_timelines: Vec<String>,
    /// Videos whose pictures the worker puts in place.
    pub videos: Vec<VideoItem>,
    /// Sounds.
    pub audio: Vec<AudioItem>,
    /// Groups of sounds and what the sum goes through.
    pub buses: Buses,
    /// Captions of the output, in order; none where they were not asked for.
    pub captions: Vec<Caption>,
    /// Encoder settings.
    pub encoder: EncoderSettings,
    /// The runtime that seeks the page. Every worker of the class can fetch it.
    pub runtime: RuntimeVersion,
    /// Versions that must agree.
    pub class: CaptureClass,
}

impl PlanContent {
    /// Content hash of the plan.
    ///
    /// # Errors
    ///
    /// The content is too long to be encoded.
    pub fn hash(&self) -> Result<ContentHash, WireError> {
        Ok(ContentHash::of(&wire::encode(self)?))
    }

    /// The composition's frames that are frames `range` of the output.
    pub fn in_composition(&self, range: FrameRange) -> FrameRange {
        range.shifted_by(self.first_frame)
    }

    /// Seconds the output lasts.
    pub fn duration(&self) -> f64 {
        self.frame_rate.seconds_of(self.frames)
    }
}

impl Wire for PlanContent {
    const VERSION: u8 = PLAN_VERSION;
}

/// The result of the plan stage.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanDraft {
    /// The render.
    pub render: RenderId,
    /// Everything that the segments' bytes depend on.
    pub content: PlanContent,
    /// Milliseconds one slot needs for a frame, capture and encode together, as sampled.
    pub frame_cost_ms: f64,
    /// Milliseconds that the start of a chunk needs for each frame before it, as sampled; about 0 for pages that can
    /// start anywhere.
    pub earlier_cost_ms: f64,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl Wire for PlanDraft {
    const VERSION: u8 = PLAN_VERSION;
}

/// The whole plan (`plan.bin`).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// The render.
    pub render: RenderId,
    /// The pool whose workers render it.
    pub pool: Pool,
    /// Everything that the segments' bytes depend on.
    pub content: PlanContent,
    /// Milliseconds one slot needs for a frame.
    pub frame_cost_ms: f64,
    /// The chunk table: ranges in order that cover every frame once.
    pub chunks: Vec<FrameRange>,
    /// How chunks start that do not start as usual.
    pub starts: BTreeMap<u32, ChunkStart>,
    /// Warnings for the user.
    pub warnings: Vec<Warning>,
}

impl Wire for Plan {
    const VERSION: u8 = PLAN_VERSION;
}

impl Plan {
    /// The plan of `draft`, cut into `chunks`, for the workers of `pool`.
    pub fn of_draft(draft: PlanDraft, pool: Pool, chunks: Vec<FrameRange>) -> Self {
        let PlanDraft { render, content, frame_cost_ms, warnings, earlier_cost_ms: _ } = draft;
        Self { render, pool, content, frame_cost_ms, chunks, starts: BTreeMap::new(), warnings }
    }

    /// The range of `chunk`, if the plan has it.
    pub fn chunk(&self, chunk: u32) -> Option<FrameRange> {
        self.chunks.get(chunk as usize).copied()
    }

    /// How the page of `chunk` is brought to its first frame.
    pub fn start(&self, chunk: u32) -> ChunkStart {
        self.starts.get(&chunk).copied().unwrap_or_default()
    }

    /// Whether the output has sound.
    pub fn has_audio(&self) -> bool {
        !self.content.audio.is_empty()
    }
}
