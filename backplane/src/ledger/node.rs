//! The report of a node, and the commands of operators to it.

use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::task::Step;
use serde::{Deserialize, Serialize};

/// The id by which a slot of a node claims tasks; the node's own id where that would be too long.
pub fn slot_id(node: &WorkerId, number: u32) -> WorkerId {
    WorkerId::try_from(format!("{node}-s{number}")).unwrap_or_else(|_| node.clone())
}

/// The id of the node that a slot belongs to, as text: what [`slot_id`] was given.
pub fn node_of_slot(worker: &str) -> &str {
    let is_number = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    worker.rsplit_once("-s").filter(|(_, number)| is_number(number)).map_or(worker, |(node, _)| node)
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum NodeState {
    /// It takes tasks.
    #[default]
    Active,
    /// It takes none, finishes its tasks and ends.
    Draining,
    /// It takes none and finishes its tasks, until the quarantine ends or an operator resumes it.
    Quarantined,
}

/// A task that runs on a node.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeTask {
    /// The render.
    pub render: RenderId,
    /// The render's step.
    pub step: Step,
    /// Number of the attempt.
    pub attempt: u32,
    /// Units done: frames of a chunk, thousandths of other tasks.
    pub done: u64,
    /// Units in all.
    pub total: u64,
    /// Unix milliseconds of the claim, by the node's clock.
    pub since_ms: u64,
}

/// The report of a node, sent with each heartbeat. Fields that an older node does not send are zero or empty.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct NodeView {
    /// Id of the process.
    pub id: WorkerId,
    /// `worker` or `stitcher`.
    pub role: String,
    /// Pool it serves.
    pub pool: String,
    /// Tasks it takes at once in its present state: 0 unless it is active.
    pub slots: u32,
    /// Version and capture class, as text for people.
    pub class: String,
    /// Id of the capture class, equal for nodes whose segments fit together. Empty for stitchers and for nodes of farm
    /// 0.1.
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
    /// Why it takes none.
    #[serde(default)]
    pub reason: Option<String>,
    /// Its running tasks, by slot.
    #[serde(default)]
    pub tasks: Vec<NodeTask>,
    /// Frames captured per second over the last ten seconds.
    #[serde(default)]
    pub frames_per_second: f64,
    /// Bytes of anonymous and shared memory of the process and its browsers.
    #[serde(default)]
    pub memory_bytes: u64,
    /// Memory limit of its control group in bytes, where there is one.
    #[serde(default)]
    pub memory_limit_bytes: Option<u64>,
    /// Failures of the last ten minutes that are not the users'.
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
    /// Finish the running tasks and end.
    Drain,
    /// Finish the running tasks and take no others.
    Quarantine {
        /// Why.
        reason: String,
    },
    /// Take tasks again.
    Resume,
}

/// An order with a number, by which a node applies it once, however often it reads it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeCommand {
    /// Number of the command; another one for each command.
    pub number: u64,
    /// The order.
    #[serde(flatten)]
    pub order: Order,
}

impl NodeCommand {
    /// A command with a new number.
    pub fn new(order: Order) -> Self {
        // Within what every reader of JSON holds exactly.
        Self { number: fastrand::u64(1..1 << 53), order }
    }
}
