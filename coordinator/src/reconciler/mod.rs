//! The loop that brings every open render to its end. It reads what ledger and storage say, asks the [scheduler](crate::scheduler)
//! for the next step, and takes it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`state`] | the state of the loop |
//! | [`run`] | the loop: wakes, ticks, checks of renders that are due |
//! | [`apply`] | takes the scheduler's next step for one render, and dispatches tasks |
//! | [`tracked`] | the state of one open render |
//! | [`restore`](mod@restore) | restores a render's ledger entry from object storage |
//! | [`reuse`] | a retry takes what the render that it repeats has left |
//! | [`seams`] | proves the seams between chunks, and has chunks drawn again whose seam differs |
//! | [`replan`], [`replanning`] | plans a render again whose plan no worker can work from |
//! | [`leadership`] | which coordinator schedules |
//! | [`observe`] | what a standby does: it follows the open renders |
//! | [`node_watch`] | which nodes are gone |
//! | [`wake`] | what the loop is told |
//! | [`events`] | turns workers' events into wakes |
//! | [`background_scan`] | storage reads that take long, in tasks beside the loop |
//! | [`backoff`] | the pause after a server did not answer |
//! | [`gauges`] | the farm's gauges |
//!
//! **Invariants**
//! - *Events are hints.* An event makes the loop check its render at once. Without any event, each tick checks all of them.
//! - *The ledger can be emptied at any moment.* A render that the ledger does not know is opened and restored from storage, and its
//!   tasks in flight are dispatched again. Ledger and storage are also compared on a timer.
//! - *The process can end at any moment.* The next process finds the open renders by their marks in storage.
//! - *No error ends the loop.* It is logged, and the call is made again after a pause that grows.

mod apply;
mod background_scan;
mod backoff;
mod error;
mod events;
mod gauges;
mod leadership;
mod node_watch;
mod observe;
mod replan;
mod replanning;
mod restore;
mod reuse;
mod run;
mod seams;
mod state;
mod tracked;
mod wake;

pub use error::ReconcileError;
pub(crate) use events::{forward, tell_leader};
pub(crate) use leadership::{Leadership, LeadershipChanges};
pub use restore::{RebuiltRender, rebuild_ledger};
pub(crate) use state::Reconciler;
pub(crate) use wake::Wake;
