//! The coordinator: takes renders in, decides what happens next, and tells how it went.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`Coordinator`] | the whole, for the API and for the embedded mode |
//! | [`api`] | HTTP: the contract of the hosted service |
//! | [`keys`] | API keys, stored as hashes |
//! | [`intake`] | projects and requests, checked and made durable |
//! | [`sharding`] | frame ranges from frames and measured cost, a pure function |
//! | [`scheduler`] | what to do next, as pure functions over views |
//! | `reconciler` | the loop that brings the facts and carries out the decisions |
//! | [`progress`] | how far a render is |
//! | [`webhooks`], [`usage`] | who is told of an end, and what it cost |
//! | `finalize` | what follows the end of a render |
//! | `assets` | uploaded files |
//! | `expiry` | what storage does not keep for ever |
//! | `registry`, `store` | renders in memory, renders in storage |
//! | `index` | the renders of a space, to look for some of them |
//! | `timeline` | every attempt at every task of a render |
//!
//! # Invariants
//!
//! - **Object storage is the truth.** Every decision can be made again from it; ledger, broker and this process can be lost at
//!   any moment. (`reconciler`)
//! - **Nothing is answered before it is durable.** ([`intake`])
//! - **The broker carries, the coordinator decides.** A short window of tasks is in the queues. ([`scheduler`])
//! - **A chunk counts once, and the stitch starts when the set is complete**, from a loop that needs no event.
//!   ([`scheduler::next_step`](mod@scheduler::next_step))
//! - **A render ends once.** The first `state.json` that is stored counts, whoever stores it. (`store::end`)
//! - **User's fault or ours.** A user's failure ends a render at once; ours is retried, then goes to the dead letters with its
//!   history. ([`scheduler::task_status`](mod@scheduler::task_status))

pub mod api;
mod assets;
mod config;
mod coordinator;
mod error;
mod expiry;
mod finalize;
mod index;
pub mod intake;
pub mod keys;
pub mod progress;
mod reconciler;
mod registry;
pub mod scheduler;
pub mod sharding;
mod signed_urls;
mod store;
#[cfg(test)]
mod testing;
mod timeline;
pub mod usage;
pub mod webhooks;

pub use config::CoordinatorConfig;
pub use coordinator::{Coordinator, RenderDetail, RenderPage};
pub use error::{IntakeError, ReconcileError, RenderError};
pub use progress::{PlanSummary, RenderProgress, Stage};
