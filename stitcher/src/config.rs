//! Settings of a stitcher.

use std::path::PathBuf;

use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_proto::id::WorkerId;

/// Settings of a stitcher.
#[derive(Debug, Clone)]
pub struct StitcherConfig {
    /// Id of the process, unique for its life.
    pub id: WorkerId,
    /// Folder for segments and outputs while they are worked on. Needs room for twice the largest output, a slot.
    pub work_dir: PathBuf,
    /// Renders stitched at once.
    pub slots: u32,
    /// Segments downloaded at once, a slot.
    pub downloads: usize,
    /// Width of the thumbnail in pixels at most; `None` makes no thumbnail. To reach its frame, up to a quarter of a
    /// minute of video is decoded.
    pub thumbnail_width: Option<u32>,
    /// Lease, heartbeat and drain.
    pub runner: RunnerConfig,
}

impl StitcherConfig {
    /// Default settings of the stitcher `id` that works in `work_dir`: one slot, eight downloads, a thumbnail of 640
    /// pixels.
    pub fn new(id: WorkerId, work_dir: impl Into<PathBuf>) -> Self {
        let work_dir = work_dir.into();
        Self { id, work_dir, slots: 1, downloads: 8, thumbnail_width: Some(640), runner: RunnerConfig::default() }
    }
}
