//! The stitcher: joins a render's segments, adds the sound, verifies what came out, and commits it.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`Stitcher`] | serves the stitch queue with the farm's [runner](hyperfarm_backplane::runner) |
//! | `stitch` | one stitch from plan to manifest |
//! | `gather` | the committed segments and the sound, on local disk and checked |
//! | `folder` | where it works, and that nothing stays there |
//! | `make` | the output of each format |
//! | `sequence` | PNG files and their sound in a zip |
//! | `verify` | the joined output against the plan |
//! | `error` | what can go wrong, and whose failure that is |
//!
//! # Invariants
//!
//! - **Packets are copied.** No picture is decoded or encoded here, so a join costs what reading and writing cost. A GIF is the
//!   exception: its palette is the whole clip's. (`make`)
//! - **What is counted is checked, before the commit**: every segment's length and hash, packets in the output, their
//!   order, its duration, its samples of sound, a key frame at every seam. (`verify`)
//! - **The manifest comes last.** Output and thumbnail are stored before it, so that its existence means they are complete.
//!   (`stitch`)
//! - **It can be killed at any moment.** Equal segments give equal bytes under the same keys, so the next attempt writes what this
//!   one would have written.
//! - **Nothing is left on disk.** A stitch works in a folder that goes with it; folders of killed processes are
//!   swept. (`folder`)

mod error;
mod folder;
mod gather;
mod make;
mod sequence;
mod stitch;
mod verify;

use std::path::PathBuf;
use std::sync::Arc;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::NodeView;
use hyperfarm_backplane::runner::{Runner, RunnerConfig};
use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::id::WorkerId;
use hyperfarm_proto::task::Queue;
use tokio::task::JoinHandle;
use tracing::{error, info};

pub use error::StitchError;
pub use stitch::StitchHandler;

/// What a stitcher needs to know.
#[derive(Debug, Clone)]
pub struct StitcherConfig {
    /// Id of the process, unique for its life.
    pub id: WorkerId,
    /// Where segments and outputs lie while they are worked on. Needs room for twice the largest output, a slot.
    pub work_dir: PathBuf,
    /// Renders stitched at once.
    pub slots: u32,
    /// Segments downloaded at once, a slot.
    pub downloads: usize,
    /// Pixels across the thumbnail at most; none where nobody could fetch it. To get to its picture a quarter of a minute of video may
    /// have to be decoded.
    pub thumbnail_width: Option<u32>,
    /// Lease, heartbeat and drain.
    pub runner: RunnerConfig,
}

impl StitcherConfig {
    /// The usual numbers for the stitcher `id` that works in `work_dir`.
    pub fn new(id: WorkerId, work_dir: impl Into<PathBuf>) -> Self {
        let work_dir = work_dir.into();
        Self { id, work_dir, slots: 1, downloads: 8, thumbnail_width: Some(640), runner: RunnerConfig::default() }
    }
}

/// A running stitcher.
#[derive(Debug)]
pub struct Stitcher {
    running: JoinHandle<()>,
}

impl Stitcher {
    /// Starts to serve the stitch queue, until `drain` starts.
    pub fn start(backplane: Backplane, config: StitcherConfig, drain: Drain) -> Self {
        let class = format!("hyperfarm {FARM_VERSION}, {}", hyperfarm_media::versions());
        let node = NodeView::new(config.id.clone(), "stitcher", "stitch", config.slots, class);
        backplane.metrics.watch_disk("work", &config.work_dir);
        let runner = Runner::new(backplane.clone(), node, config.runner.clone());
        info!(worker = %config.id, slots = config.slots, work_dir = %config.work_dir.display(), "the stitcher starts");
        let running = tokio::spawn(async move {
            folder::sweep(config.work_dir.clone()).await;
            let handler = Arc::new(StitchHandler::new(backplane, config));
            runner.run(vec![Queue::Stitch], handler, drain).await;
        });
        Self { running }
    }

    /// Waits until it has stopped, which it does after the drain has started.
    pub async fn join(self) {
        if let Err(panic) = self.running.await {
            error!(%panic, "the stitcher ended by itself");
        }
    }
}
