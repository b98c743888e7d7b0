//! What to do next, as pure functions over views. No clock, no broker, no storage: the reconciler
//! brings the facts and carries out the answers.
//!
//! | module | question |
//! | --- | --- |
//! | [`task_status`](mod@task_status) | how is one task: done, in flight, due, waiting, broken? |
//! | [`next_step`](mod@next_step) | what does one render want next? |
//! | [`order`](mod@order) | which render comes first? |
//! | [`window`] | which wishes fit into the queues now? |
//!
//! **Invariants**
//! - *Level triggered.* Every answer follows from the present facts alone, so a lost, late or doubled event changes nothing
//!   but the time of the answer.
//! - *The broker carries, the coordinator decides.* Only a short window of tasks is in the queues; order, caps and
//!   cancellations therefore take effect in seconds.
//! - *Doubles are harmless.* A task may be dispatched again whenever that could help: the claim lets one of them work.

pub mod next_step;
pub mod order;
pub mod task_status;
pub mod window;

pub use next_step::{Assessment, Facts, RenderAction, next_step};
pub use order::order;
pub use task_status::{DispatchLog, Sent, TaskStatus, task_status};
pub use window::{Fleet, fill};

use std::time::Duration;

/// The scheduler's numbers.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePolicy {
    /// How long a dispatched task may stay unclaimed before it is sent again; doubles with each time, up to sixteenfold.
    pub unclaimed_after: Duration,
    /// First rest after a failure that does not count; doubles with each one in a row, up to thirty-twofold.
    pub free_retry_after: Duration,
    /// Tasks in the queues for each live slot.
    pub window_per_slot: u32,
    /// Tasks in the queues at least.
    pub window_min: u32,
}

impl Default for SchedulePolicy {
    fn default() -> Self {
        Self {
            unclaimed_after: Duration::from_secs(20),
            free_retry_after: Duration::from_secs(1),
            window_per_slot: 2,
            window_min: 4,
        }
    }
}
