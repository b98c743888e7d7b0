//! The farm as a whole under test: the built binary, real Chrome, real servers.
//!
//! [`Scene`] gives a test a folder of its own, as `TMPDIR` too, so that whatever a render leaves behind is seen.
//! [`Cluster`] runs a coordinator, workers and a stitcher as processes over the servers that `scripts/services.sh` started.

pub mod cluster;
pub mod footage;
pub mod pictures;
pub mod scene;
pub mod services;

pub use cluster::Cluster;
pub use scene::{Finished, Scene, example, page};
