//! The stitcher: joins a render's segments, adds the sound, verifies the output, and commits it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`Stitcher`] | serves the stitch queue with the farm's [runner](hyperfarm_backplane::runner) |
//! | `config` | settings |
//! | `stitch` | one stitch from plan to manifest |
//! | `fetch` | downloads segments and sound, and checks them |
//! | `folder` | the temporary folder of a stitch |
//! | `output` | the output file of each format |
//! | `archive` | the zip of an output that is many files |
//! | `png_sequence` | PNG files and their sound in a zip |
//! | `hls` | playlists and fragments of each rendition in a zip |
//! | `seams` | the warning of seams whose pictures differ |
//! | `verify` | the joined output against the plan |
//! | `error` | why a stitch fails, and with which failure code |
//!
//! # Example
//!
//! ```
//! use hyperfarm_backplane::{Backplane, drain::Drain, objects::Objects};
//! use hyperfarm_stitcher::{Stitcher, StitcherConfig};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! // Broker, ledger and storage of this process alone; a cluster has RabbitMQ, Redis and S3 in their place.
//! let backplane = Backplane::ephemeral(Objects::memory());
//! let work_dir = std::env::temp_dir().join("hyperfarm-stitcher");
//! let drain = Drain::new();
//! let stitcher = Stitcher::start(backplane, StitcherConfig::new("stitcher-1".parse()?, work_dir), drain.clone());
//! drain.start();
//! stitcher.join().await;
//! # Ok(())
//! # }
//! ```
//!
//! # Invariants
//!
//! - **Packets are copied.** No picture is decoded or encoded here, so a join costs what reading and writing cost. A
//!   GIF is the exception: its palette is the whole clip's. (`output`)
//! - **What is counted is checked, before the commit**: every segment's length and hash, packets in the output, their
//!   order, its duration, its samples of sound, a key frame at every seam. (`verify`)
//! - **The manifest comes last.** Output and thumbnail are stored before it, so that its existence means they are
//!   complete. (`stitch`)
//! - **It can be killed at any moment.** Equal segments give equal bytes under the same keys, so the next attempt
//!   writes the same objects.
//! - **Nothing is left on disk.** A stitch works in a folder that goes with it; folders of killed processes are
//!   removed by a later one. (`folder`)

mod archive;
mod config;
mod error;
mod fetch;
mod folder;
mod hls;
mod output;
mod png_sequence;
mod seams;
mod stitch;
mod verify;

use std::sync::Arc;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::NodeView;
use hyperfarm_backplane::local_disk;
use hyperfarm_backplane::runner::Runner;
use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::task::Queue;
use tokio::task::JoinHandle;
use tracing::{error, info};

pub use config::StitcherConfig;
pub use error::{AudioError, SegmentError, StitchError, VerifyError};
pub use stitch::StitchHandler;

/// A running stitcher.
#[derive(Debug)]
pub struct Stitcher {
    running: JoinHandle<()>,
}

impl Stitcher {
    /// Starts to serve the stitch queue until `drain` starts.
    ///
    /// # Panics
    /// Panics outside a Tokio runtime.
    pub fn start(backplane: Backplane, config: StitcherConfig, drain: Drain) -> Self {
        let class = format!("hyperfarm {FARM_VERSION}, {}", hyperfarm_media::versions());
        let node = NodeView::new(config.id.clone(), "stitcher", "stitch", config.slots, class);
        backplane.metrics.watch_disk("work", &config.work_dir);
        let runner = Runner::new(backplane.clone(), node, config.runner.clone());
        info!(worker = %config.id, slots = config.slots, work_dir = %config.work_dir.display(), "the stitcher starts");
        let running = tokio::spawn(async move {
            local_disk::remove_abandoned(vec![config.work_dir.clone()]).await;
            let handler = Arc::new(StitchHandler::new(backplane, config));
            runner.run(vec![Queue::Stitch], handler, drain).await;
        });
        Self { running }
    }

    /// Waits until the stitcher has stopped, which it does after the drain has started.
    pub async fn join(self) {
        if let Err(panic) = self.running.await {
            error!(%panic, "the stitcher ended by itself");
        }
    }
}
