//! Webhooks: events about renders, sent to the endpoints that subscribe to them until they are taken.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`storage`] | endpoints, events and deliveries in object storage |
//! | [`seal`] | secrets are encrypted in storage |
//! | `task` | an event as the result of a task |
//! | [`sign`] | the headers that prove where a delivery comes from |
//! | [`deliver`] | the loop that sends deliveries, and repeats those that failed |
//!
//! **Invariant: no event is lost.** It is stored with its deliveries before its render counts as finalized. It is sent
//! until the receiver has taken it, has answered that it is gone for good (410), or a day has passed. A receiver may get
//! it more than once.

pub mod deliver;
pub mod seal;
pub mod sign;
pub mod storage;
mod task;

pub use storage::{Delivery, EVENT_TYPES, Endpoint, Event, HOSTED_ONLY_EVENT_TYPES, Target, Webhooks};
