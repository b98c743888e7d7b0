//! Decides what happens next, as pure functions. There is no clock, broker or storage in here: the reconciler passes the facts in and
//! takes the steps that come out.
//!
//! | module | question |
//! | --- | --- |
//! | [`task_status`](mod@task_status) | is a task done, in flight, due, waiting or failed? |
//! | [`next_step`](mod@next_step) | what is the next step of one render? |
//! | [`share`](mod@share) | which due tasks go into the queues now? |
//! | [`speculation`] | which running chunks does another node begin as well? |
//! | [`starts`] | which chunks are drawn again because of their seams, and how? |
//! | [`window`] | which workers are alive? |
//! | [`outline`] | what of a plan counts here? |
//! | [`policy`] | the settings |
//!
//! **Invariants**
//! - *Level triggered.* Every decision follows from the present facts alone, so a lost, late or repeated event changes only when it is
//!   made.
//! - *The coordinator decides, the broker only carries.* The queues hold a short window of tasks, so order, caps and cancellations take
//!   effect within seconds.
//! - *Dispatching twice is harmless.* A task may be dispatched again whenever that could help: only one worker can claim it.

pub mod next_step;
pub mod outline;
pub mod policy;
pub mod share;
pub mod speculation;
pub mod starts;
pub mod task_status;
pub mod window;

pub use next_step::{NextStep, RenderAction, RenderFacts, next_step};
pub use outline::PlanOutline;
pub use policy::SchedulePolicy;
pub use share::{Demand, share};
pub use speculation::{Straggler, Stragglers, speculate};
pub use starts::longer_starts;
pub use task_status::{Decided, Dispatch, DispatchLog, TaskStatus, task_status};
pub use window::Fleet;
