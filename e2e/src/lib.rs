//! Tests of the whole farm: the built binary, real Chrome, real servers.
//!
//! | what | where |
//! | --- | --- |
//! | a temporary folder for one test, also its `TMPDIR`, so that files left by a render are found | [`Scene`] |
//! | `hyperfarm up`: every role in one process | [`Up`] |
//! | coordinator, workers and stitcher as processes over real servers | [`Cluster`], [`services`] |
//! | proxies in front of servers, which fail as they are told | [`proxy`] |
//! | servers that record webhooks and traces | [`receiver`], [`collector`] |
//! | videos whose frames carry their number, and comparison of videos | [`footage`], [`pictures`] |
//! | compositions rendered by the published HyperFrames CLI and by hyperfarm, and compared | [`parity`] |

// These are helpers of tests: a panic is how a test fails.
#![allow(clippy::missing_panics_doc)]

pub mod cluster;
pub mod collector;
pub mod footage;
pub mod parity;
pub mod pictures;
pub mod proxy;
pub mod receiver;
pub mod scene;
pub mod services;
pub mod up;

pub use cluster::Cluster;
pub use receiver::Receiver;
pub use scene::{Finished, Scene, binary, example, page, text};
pub use up::Up;
