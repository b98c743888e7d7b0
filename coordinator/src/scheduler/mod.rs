//! Decides what happens next. There is no clock, broker or storage in here: the reconciler passes the facts in and takes the steps that
//! come out.
//!
//! | module | question |
//! | --- | --- |
//! | [`schedule`] | all of it: which renders are looked at now, and which tasks are dispatched? |
//! | [`tasks`] | what is known of one render's tasks, and what is its next step? |
//! | [`task_status`](mod@task_status) | is a task done, in flight, due, waiting or failed? |
//! | [`share`](mod@share) | whose task goes into the queues next? |
//! | [`speculation`] | which running chunks does another node begin as well? |
//! | [`starts`] | which chunks are drawn again because of their seams, and how? |
//! | [`window`] | which workers are alive? |
//! | [`outline`] | what of a plan counts here? |
//! | `median` | what is the median of the times that chunks took? |
//! | [`policy`] | the settings |
//!
//! **Invariants**
//! - *Level triggered.* Every decision follows from the present facts alone, so a lost, late or repeated event changes only when it is
//!   made.
//! - *By differences.* The facts are kept in memory and changed by what is new: a read of the ledger has the tasks that were
//!   written to since the last one. A task costs O(log n), and a render that nothing happens to costs nothing. A slow
//!   sweep looks at every render, and reads each one whole once a minute, very long ones less often.
//! - *The coordinator decides, the broker only carries.* The queues hold a short window of tasks, so order, caps and cancellations take
//!   effect within seconds.
//! - *Dispatching twice is harmless.* A task may be dispatched again whenever that could help: only one worker can claim it.

mod median;
pub mod outline;
pub mod policy;
pub mod schedule;
pub mod share;
pub mod speculation;
pub mod starts;
pub mod task_status;
pub mod tasks;
pub mod window;

pub use outline::PlanOutline;
pub use policy::SchedulePolicy;
pub use schedule::{Dispatched, Schedule, Standing, Submitter};
pub use speculation::Straggler;
pub use starts::longer_starts;
pub use task_status::Decided;
pub use tasks::{Captured, LedgerRead, RenderAction, RenderTasks, SharedView};
pub use window::Fleet;
