//! Server-sent events: what `data:` holds, by the event's name.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::farm::{Farm, Worker};
use crate::render::{RenderDeleted, RenderDetail, RenderStatus, Stage};

/// An event of one render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum RenderEvent {
    /// `chunk`.
    Chunk(ChunkEvent),
    /// `progress`.
    Progress(ProgressEvent),
    /// `status`.
    Status(StatusEvent),
}

impl RenderEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Chunk(_) => "chunk",
            Self::Progress(_) => "progress",
            Self::Status(_) => "status",
        }
    }
}

/// Chunks were completed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ChunkEvent {
    /// The render.
    pub render_id: String,
    /// Chunks that are done.
    pub chunks_done: u32,
    /// Chunks in all.
    pub chunks_total: u32,
}

/// Frames were captured.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProgressEvent {
    /// The render.
    pub render_id: String,
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
}

/// The state changed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct StatusEvent {
    /// The render.
    pub render_id: String,
    /// Its state.
    pub status: RenderStatus,
    /// What went wrong and what to do; once failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failure_message: Option<String>,
    /// What went wrong, for programs; once failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error_code: Option<String>,
}

/// An event of the farm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum FarmEvent {
    /// `farm`: its load, without the history.
    Farm(Box<Farm>),
    /// `workers`: all of them, for keys with the scope `admin`.
    Workers(Workers),
    /// `render`: one that is new or has changed.
    Render(Box<RenderDetail>),
    /// `deleted`: a render that is gone.
    Deleted(RenderDeleted),
}

impl FarmEvent {
    /// The event's name.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Farm(_) => "farm",
            Self::Workers(_) => "workers",
            Self::Render(_) => "render",
            Self::Deleted(_) => "deleted",
        }
    }
}

/// All workers and stitchers that are alive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Workers {
    /// The processes.
    pub data: Vec<Worker>,
}
