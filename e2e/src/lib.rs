//! The farm as a whole under test: the built binary, real Chrome, real servers.
//!
//! [`Scene`] gives a test a folder of its own, as `TMPDIR` too, so that whatever a render leaves behind is seen.
//! [`Up`] runs every role in one process.
//! [`Cluster`] runs a coordinator, workers and a stitcher as processes over the servers that `scripts/services.sh` started.
//! [`parity`] renders the compositions of `e2e/parity` by the published HyperFrames CLI and by hyperfarm, and compares them.

pub mod cluster;
pub mod collector;
pub mod footage;
pub mod parity;
pub mod pictures;
pub mod receiver;
pub mod scene;
pub mod services;
pub mod up;

pub use cluster::Cluster;
pub use receiver::Receiver;
pub use scene::{Finished, Scene, binary, example, page, text};
pub use up::Up;
