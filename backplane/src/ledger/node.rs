//! What a node says about itself, and what is wished of it.

use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::task::Step;
use serde::{Deserialize, Serialize};

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It does.
    #[default]
    Active,
    /// It finishes what it has and ends.
    Draining,
    /// It finishes what it has and then rests, until it is resumed.
    Quarantined,
}

/// A task that a node is at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTask {
    /// The render.
    pub render: RenderId,
    /// The step of it.
    pub step: Step,
    /// The attempt.
    pub attempt: u32,
    /// Units done.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// Unix milliseconds of the claim, by the node's clock.
    pub since_ms: u64,
}

/// What a node says about itself with each heartbeat. What an older node does not say is zero or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Id of the process.
    pub id: WorkerId,
    /// `worker` or `stitcher`.
    pub role: String,
    /// Pool it serves.
    pub pool: String,
    /// Tasks it would take at once now: none unless it is active.
    pub slots: u32,
    /// Version and capture class in words.
    pub class: String,
    /// Which class: equal for nodes whose segments fit together. Empty where that does not matter, and in nodes of farm 0.1.
    #[serde(default)]
    pub class_id: String,
    /// Tasks it can do at once, whatever its state.
    #[serde(default)]
    pub slots_total: u32,
    /// Version of the farm.
    #[serde(default)]
    pub version: String,
    /// Name of its machine.
    #[serde(default)]
    pub host: String,
    /// Whether it takes tasks.
    #[serde(default)]
    pub state: NodeState,
    /// Why it does not.
    #[serde(default)]
    pub reason: Option<String>,
    /// What it is at, by slot.
    #[serde(default)]
    pub tasks: Vec<NodeTask>,
    /// Frames captured a second, of late.
    #[serde(default)]
    pub frames_per_second: f64,
    /// Bytes of anonymous and shared memory of the process and its browsers.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Bytes it may take, where its control group says.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// Failures of the last ten minutes that are the farm's own.
    #[serde(default)]
    pub failures_recent: u32,
    /// Unix milliseconds of its start, by its clock.
    #[serde(default)]
    pub started_at_ms: u64,
    /// Unix milliseconds of this heartbeat, by its clock.
    #[serde(default)]
    pub said_at_ms: u64,
}

impl NodeView {
    /// A node that has just started and does nothing.
    pub fn new(id: WorkerId, role: &str, pool: &str, slots: u32, class: impl Into<String>) -> Self {
        Self {
            id,
            role: role.to_owned(),
            pool: pool.to_owned(),
            slots,
            class: class.into(),
            class_id: String::new(),
            slots_total: slots,
            version: String::new(),
            host: String::new(),
            state: NodeState::Active,
            reason: None,
            tasks: Vec::new(),
            frames_per_second: 0.0,
            memory_bytes: 0,
            memory_limit_bytes: None,
            failures_recent: 0,
            started_at_ms: 0,
            said_at_ms: 0,
        }
    }

    /// Tasks it can do at once, whatever its state and its age.
    pub fn all_slots(&self) -> u32 {
        self.slots_total.max(self.slots)
    }
}

/// What an operator can ask of a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "order", rename_all = "lowercase")]
pub enum Order {
    /// Finish what you have and end.
    Drain,
    /// Finish what you have and rest.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Take tasks again.
    Resume,
}

/// An order with a number of its own: a node follows each once, however often it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCommand {
    /// Told from every other.
    pub number: u64,
    /// What is wished.
    #[serde(flatten)]
    pub order: Order,
}

impl NodeCommand {
    /// A new wish.
    pub fn new(order: Order) -> Self {
        // Within what every reader of JSON holds exactly.
        Self { number: fastrand::u64(1..1 << 53), order }
    }
}
