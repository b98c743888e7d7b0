//! Renders: what is answered about them, their chunks, timelines and logs.

use std::collections::BTreeMap;

pub use hyperfarm_proto::log::LogLine;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::{AspectRatio, Format, Quality, Resolution};
use hyperfarm_proto::task::Step;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::error::ErrorDetail;
pub use crate::fps::Fps;
use crate::request::{Priority, Request};

/// A render that was taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderCreated {
    /// The render.
    pub render_id: String,
    /// Taken in.
    pub status: CreatedStatus,
    /// Fields that the farm does not know. An extension.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
    /// The render it repeats. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
}

/// The state of a render that was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CreatedStatus {
    /// It waits for a worker.
    Queued,
}

/// Something that did not stop the render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Warning {
    /// Which kind.
    pub code: String,
    /// What is not as it should be and what to do.
    pub message: String,
    /// The field it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
}

/// What a render waits for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Waiting {
    /// Which kind: `WAITING_FOR_STORAGE`, `WAITING_FOR_SERVERS`, `WAITING_FOR_WORKERS`, `WAITING_FOR_CLASS`,
    /// `WAITING_FOR_SLOTS` or `WAITING_FOR_STITCHERS`.
    pub code: String,
    /// What is missing and when the render goes on.
    pub message: String,
}

/// A new priority for a render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct PriorityRequest {
    /// Renders of a higher priority go first within their space; 0 is usual.
    pub priority: Priority,
}

impl Request for PriorityRequest {
    const EXAMPLE: &str = r#"{ "priority": 10 }"#;
}

impl From<hyperfarm_proto::plan::Warning> for Warning {
    fn from(warning: hyperfarm_proto::plan::Warning) -> Self {
        Self { code: warning.code, message: warning.message, param: None }
    }
}

/// A render. Fields that have no value are `null`, except the extensions that only exist at an end.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RenderDetail {
    /// The render.
    pub render_id: String,
    /// How far it is; a cancelled one has failed.
    pub status: RenderStatus,
    /// Container.
    pub format: Format,
    /// As asked.
    pub title: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// Frames a second; a fraction is text.
    pub fps: Fps,
    /// Effort of the encoder.
    pub quality: Quality,
    /// Height class, where the output is one; the documented default until the composition is planned.
    pub resolution: Option<Resolution>,
    /// Shape, where the output is one; the documented default until the composition is planned.
    pub aspect_ratio: Option<AspectRatio>,
    /// Entry page.
    pub composition: String,
    /// Version of the HyperFrames runtime, once the composition is planned. An extension.
    #[serde(default)]
    pub runtime: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// Unix seconds of the end, whatever it was.
    pub completed_at: Option<u64>,
    /// Signed, expiring; once completed.
    pub video_url: Option<String>,
    /// Signed, expiring; once completed.
    pub thumbnail_url: Option<String>,
    /// Files beside the video that were asked for; once completed. An extension.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub sidecars: Vec<Sidecar>,
    /// Signed, expiring: an HLS playlist of what is finished from the start on. `silent.m3u8` becomes `index.m3u8` once there is
    /// sound. An extension.
    pub preview_url: Option<String>,
    /// Seconds, once completed.
    pub duration: Option<f64>,
    /// What went wrong and what to do; once failed.
    pub failure_message: Option<String>,
    /// What went wrong, for programs; once failed. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
    /// How far it is, in frames and chunks.
    pub progress: Progress,
    /// Pixels across. An extension.
    pub width: Option<u32>,
    /// Pixels down. An extension.
    pub height: Option<u32>,
    /// Frames of the output. An extension.
    pub frame_count: Option<u64>,
    /// What did not stop the render. An extension.
    pub warnings: Vec<Warning>,
    /// What it used; once completed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub usage: Option<Usage>,
    /// Whether it is paused. An extension.
    #[serde(default, skip_serializing_if = "is_default")]
    pub paused: bool,
    /// Renders of a higher priority go first within their space; where not 0. An extension.
    #[serde(default, skip_serializing_if = "is_default")]
    pub priority: i32,
    /// The pool whose workers render it. An extension.
    #[serde(default)]
    pub pool: String,
    /// Name of the API key that submitted it, where the farm knows it. An extension.
    #[serde(default)]
    pub owner: Option<String>,
    /// What it waits for, while no worker works on it and it is not paused. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<Waiting>,
    /// The batch it is of. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub batch_id: Option<String>,
    /// The render it repeats. An extension.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry_of: Option<String>,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

/// What clients of the hosted service call the state of a render. They know no `cancelled`: it is a failure with that code.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RenderStatus {
    /// It waits for a worker.
    Queued,
    /// It is under way.
    Rendering,
    /// It has a video.
    Completed,
    /// It has ended without one.
    Failed,
}

impl RenderStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Rendering => "rendering",
            Self::Completed => "completed",
            Self::Failed => "failed",
        }
    }
}

/// Where a render is on its way.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Stage {
    /// It waits for a worker.
    Queued,
    /// Its composition is compiled and probed.
    Plan,
    /// Its chunks are captured and encoded.
    Capture,
    /// Its output is joined and verified.
    Stitch,
    /// It has ended.
    Done,
}

impl Stage {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Plan => "plan",
            Self::Capture => "capture",
            Self::Stitch => "stitch",
            Self::Done => "done",
        }
    }
}

/// How far a render is.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Progress {
    /// Where it is.
    pub stage: Stage,
    /// Captured frames.
    pub frames_done: u64,
    /// Frames in all.
    pub frames_total: u64,
    /// Captured frames of a hundred.
    pub percent: f64,
    /// Seconds until the last frame.
    pub eta_seconds: Option<u64>,
    /// Chunks that are done.
    pub chunks_done: u32,
    /// Chunks in all.
    pub chunks_total: u32,
}

/// What a render used.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Usage {
    /// Seconds of slots, by pool.
    pub worker_seconds: BTreeMap<String, f64>,
    /// Minutes of video.
    pub output_minutes: f64,
    /// US dollars, by the operator's table.
    pub usd: f64,
}

/// A render that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderDeleted {
    /// The render.
    pub render_id: String,
}

/// What became of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchCreated {
    /// The batch.
    pub batch_id: String,
    /// One for each entry of the list.
    pub renders: Vec<BatchRender>,
    /// Renders taken in.
    pub accepted: usize,
    /// Renders refused.
    pub refused: usize,
    /// Fields that the farm does not know.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<Warning>,
}

/// What became of one entry of a batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BatchRender {
    /// Place in the list.
    pub index: u64,
    /// What became of it.
    pub status: BatchStatus,
    /// The render, if it was taken in.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub render_id: Option<String>,
    /// Why it was refused.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorDetail>,
}

/// Whether an entry of a batch was taken in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum BatchStatus {
    /// The entry was taken in.
    Queued,
    /// The entry was refused.
    Refused,
}

/// A file beside the video of a render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sidecar {
    /// Its file name, for example `sound.wav` or `poster.jpg`.
    pub name: String,
    /// Length in bytes.
    pub bytes: u64,
    /// Signed, expiring.
    pub url: String,
}

/// A chunk of a render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Chunk {
    /// Its place.
    pub index: u32,
    /// From 0.
    pub first_frame: u64,
    /// Frames.
    pub frame_count: u64,
    /// Captured frames.
    pub frames_done: u64,
    /// How far it is.
    pub status: ChunkStatus,
    /// The attempt that counts.
    pub attempt: Option<u32>,
    /// The slot that is at it, or that completed it.
    pub worker: Option<String>,
    /// Attempts so far.
    pub attempts: u32,
    /// Milliseconds a frame took, once completed.
    pub ms_per_frame: Option<f64>,
    /// Seconds that the attempt that counts took in all.
    pub seconds: Option<f64>,
    /// How its frames were read out of Chrome.
    pub capture_path: Option<CapturePath>,
    /// Signed, expiring: its first frame as a JPEG of at most 320 pixels across.
    pub thumbnail_url: Option<String>,
}

/// How far a chunk is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ChunkStatus {
    /// No attempt is under way.
    Queued,
    /// An attempt is under way.
    Rendering,
    /// An attempt counts.
    Completed,
}

/// Every attempt at every task of a render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Timeline {
    /// Unix seconds.
    pub created_at: f64,
    /// Unix seconds.
    pub ended_at: Option<f64>,
    /// Unix seconds, by the farm's clock.
    pub now: f64,
    /// Version of the HyperFrames runtime, once the composition is planned.
    #[serde(default)]
    pub runtime: Option<String>,
    /// Every attempt, in the order in which they began.
    pub spans: Vec<Span>,
    /// What the farm noticed about the attempts when the render ended, such as two attempts at the same chunk with
    /// different bytes (`NON_DETERMINISTIC`).
    #[serde(default)]
    pub warnings: Vec<Warning>,
}

/// One attempt at a task.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Span {
    /// The task.
    pub kind: StepKind,
    /// Number of the chunk.
    pub chunk: Option<u32>,
    /// From 1.
    pub attempt: u32,
    /// Who tried it; empty where nobody knows any more.
    pub worker_id: String,
    /// The worker's slot.
    pub slot: Option<u32>,
    /// Unix seconds.
    pub started_at: f64,
    /// Unix seconds.
    pub ended_at: Option<f64>,
    /// How it ended: another attempt counts (superseded), or the worker vanished or handed it back (lost).
    pub outcome: AttemptOutcome,
    /// Why it failed, for programs.
    pub error_code: Option<String>,
    /// Why it failed.
    pub message: Option<String>,
    /// Captured frames.
    pub frames: u64,
    /// Milliseconds a frame took.
    pub ms_per_frame: Option<f64>,
}

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AttemptOutcome {
    /// It is under way.
    Running,
    /// Its result counts.
    Committed,
    /// It failed.
    Failed,
    /// Another attempt's result counts, or the render ended before it did.
    Superseded,
    /// Its worker vanished, or handed it back.
    Lost,
}

/// A kind of task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum StepKind {
    /// Compiles the composition and says what is to be rendered.
    Plan,
    /// Captures and encodes some of the frames.
    Chunk,
    /// Mixes the sound.
    Audio,
    /// Joins the segments and the sound.
    Stitch,
}

impl From<Step> for StepKind {
    fn from(step: Step) -> Self {
        match step {
            Step::Plan => Self::Plan,
            Step::Audio => Self::Audio,
            Step::Chunk(_) => Self::Chunk,
            Step::Stitch => Self::Stitch,
        }
    }
}
