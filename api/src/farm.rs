//! The farm and its workers.

use hyperfarm_proto::bounded::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::render::StepKind;
use crate::request::Request;

/// The farm at a glance. Pools, slots and frames are the whole farm's; renders, cost and failures are those of the key's space.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Farm {
    /// The farm's version.
    pub version: String,
    /// Unix seconds of the coordinator's start.
    pub started_at: f64,
    /// Unix seconds, by the farm's clock.
    pub now: f64,
    /// Id of the coordinator that schedules; none before the first was elected.
    #[serde(default)]
    pub active_coordinator: Option<String>,
    /// Slots and queues by pool.
    pub pools: Vec<PoolLoad>,
    /// Frames captured a second, of late.
    pub frames_per_second: f64,
    /// Slots of workers that take tasks.
    pub slots: u32,
    /// Slots at work.
    pub slots_busy: u64,
    /// Tasks that wait for a slot.
    pub queue_depth: u64,
    /// Renders by state.
    pub renders: RenderCounts,
    /// What was done since midnight UTC.
    pub today: Today,
    /// The last quarter of an hour, one entry every 10 seconds; not in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history: Option<Vec<LoadSample>>,
    /// The last ones of the key's space.
    pub recent_failures: Vec<RecentFailure>,
}

/// Slots and queue of a pool.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct PoolLoad {
    /// Its name; `stitch` is that of the stitchers.
    pub pool: String,
    /// Nodes that are alive.
    pub workers: usize,
    /// Slots that take tasks.
    pub slots: u32,
    /// Slots at work.
    pub slots_busy: usize,
    /// Tasks that wait for a slot.
    pub queue_depth: u64,
    /// Seconds that the oldest of them has waited.
    pub queue_oldest_seconds: Option<f64>,
}

/// Renders of the space by state.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RenderCounts {
    /// Not begun.
    pub queued: usize,
    /// Under way.
    pub rendering: usize,
    /// Since midnight UTC.
    pub completed_today: u64,
    /// Since midnight UTC.
    pub failed_today: u64,
    /// Completed and not deleted.
    #[serde(default)]
    pub completed: u64,
    /// Failed and not deleted, cancelled ones excluded.
    #[serde(default)]
    pub failed: u64,
    /// Cancelled and not deleted.
    #[serde(default)]
    pub cancelled: u64,
}

/// What was done since midnight UTC.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Today {
    /// Minutes of video.
    pub output_minutes: f64,
    /// Seconds of slots.
    pub worker_seconds: f64,
    /// US dollars, by the operator's table.
    pub cost_usd: f64,
}

/// The farm's load at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LoadSample {
    /// Unix seconds.
    pub at: f64,
    /// Frames captured a second.
    pub frames_per_second: f64,
    /// Slots at work.
    pub slots_busy: u64,
    /// Slots that take tasks.
    pub slots: u32,
    /// Tasks that wait for a slot.
    pub queue_depth: u64,
}

/// A render that failed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct RecentFailure {
    /// The render.
    pub render_id: String,
    /// As asked.
    pub title: Option<String>,
    /// What went wrong, for programs.
    pub error_code: String,
    /// What went wrong and what to do.
    pub failure_message: String,
    /// Unix seconds.
    pub at: f64,
}

/// A worker or stitcher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Worker {
    /// The process.
    pub worker_id: String,
    /// What it does.
    pub role: WorkerRole,
    /// The pool it serves.
    pub pool: String,
    /// The versions that its pictures depend on.
    pub class: String,
    /// The farm's version.
    pub version: String,
    /// Its machine.
    pub host: String,
    /// Tasks it can do at once.
    pub slots: u32,
    /// Slots at work.
    pub slots_busy: usize,
    /// Memory of the process and its browsers.
    pub memory_bytes: u64,
    /// What its control group allows.
    pub memory_limit_bytes: Option<u64>,
    /// Whether it takes tasks.
    pub state: WorkerState,
    /// Why it takes none.
    pub state_reason: Option<String>,
    /// The tasks it is doing.
    pub tasks: Vec<WorkerTask>,
    /// Frames captured a second, of late.
    pub frames_per_second: f64,
    /// Unix seconds, by its own clock.
    pub started_at: f64,
    /// Unix seconds of its last heartbeat, by its own clock.
    pub last_seen_at: f64,
    /// Failures of the last ten minutes that are the farm's own.
    pub failures_recent: u32,
}

/// What a process does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WorkerRole {
    /// The process plans, captures, encodes and mixes.
    Worker,
    /// The process joins and verifies.
    Stitcher,
}

/// Whether a process takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum WorkerState {
    /// The process takes tasks.
    Active,
    /// The process finishes its tasks and ends.
    Draining,
    /// The process finishes its tasks and takes no others until it is resumed.
    Quarantined,
}

/// A task that a process is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WorkerTask {
    /// The render.
    pub render_id: String,
    /// The task.
    pub step: StepKind,
    /// Number of the chunk.
    pub chunk: Option<u32>,
    /// From 1.
    pub attempt: u32,
    /// Captured frames of a chunk; thousandths of another task.
    pub frames_done: u64,
    /// Frames of the chunk; 1000 for another task.
    pub frames_total: u64,
    /// Unix seconds of the claim.
    pub since: f64,
}

/// Takes a worker out of service.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct QuarantineRequest {
    /// Why, for people who look at the worker.
    pub reason: Option<Text<500>>,
}

impl Request for QuarantineRequest {
    const EXAMPLE: &str = r#"{ "reason": "its disk is full" }"#;
    const IS_REQUIRED: bool = false;
}

/// An administrative act.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AuditEntry {
    /// The entry.
    pub id: String,
    /// Unix seconds.
    pub at: f64,
    /// Name of the act, such as `worker.drain`.
    pub action: String,
    /// Id of the worker, render, endpoint or key that the act changed.
    pub target: Option<String>,
    /// The API key that asked for it; `null` for an operator at the farm's storage.
    pub key_id: Option<String>,
    /// The key's name.
    pub key_name: Option<String>,
    /// The key's tenant.
    pub space: Option<String>,
    /// Address of the client, or of the proxy before the farm.
    pub address: Option<String>,
    /// The request, as its answer's `X-Request-Id` names it.
    pub request_id: Option<String>,
}
