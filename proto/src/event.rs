//! Hints from workers and stitchers to the coordinator.
//!
//! An event only asks the coordinator to check a render now. The coordinator decides from the ledger and from object
//! storage, so a lost, late or repeated event costs time and never correctness.

use serde::{Deserialize, Serialize};

use crate::task::TaskId;
use crate::wire::Wire;

/// What happened to a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EventKind {
    /// Its result was committed.
    Committed,
    /// An attempt failed; the failure is in the ledger.
    Failed,
    /// A client submitted, changed or ended the render through a coordinator that does not lead.
    Requested,
}

/// One hint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Event {
    /// The task.
    pub task: TaskId,
    /// What happened.
    pub kind: EventKind,
}

impl Wire for Event {
    const VERSION: u8 = 1;
}
