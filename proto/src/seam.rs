//! Seams between chunks: how a chunk starts, and the proof that its start is that of a walk from the first frame.
//!
//! A chunk draws the frame before its first one when it starts. That picture must be the last one of the chunk before;
//! where it is not, the chunk began in another state than a walk has there.

use serde::{Deserialize, Serialize};

use crate::record::SegmentRecord;

/// Number of frames before its first one that a chunk draws with the usual start. The last of them proves the seam; what
/// Chrome draws of it may depend on the frame that was drawn before it.
pub const WARM_UP_FRAMES: u64 = 2;

/// How the page of a chunk is brought to the chunk's first frame. The usual start visits earlier frames as far as the
/// page is known to need them, and draws the last ones ([`WARM_UP_FRAMES`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ChunkStart {
    /// Whether every earlier frame is visited.
    pub visits_all: bool,
    /// The frame of the output from which on every frame is drawn, as a chunk that begins there draws them.
    pub draws_from: Option<u64>,
}

/// The seams between the segments of a render.
#[derive(Debug, PartialEq, Eq)]
pub struct Seams {
    /// Number of seams whose two pictures were compared.
    pub compared: usize,
    /// Positions of the segments behind seams that differ.
    pub different: Vec<usize>,
}

impl Seams {
    /// Compares the pictures at the seams between `segments`, which are in order.
    pub fn compare<'a>(segments: impl IntoIterator<Item = &'a SegmentRecord>) -> Self {
        let mut seams = Self { compared: 0, different: Vec::new() };
        let mut earlier: Option<&SegmentRecord> = None;
        for (position, later) in segments.into_iter().enumerate() {
            let last = earlier.replace(later).and_then(|earlier| earlier.frame_hashes.last());
            let (Some(last), Some(before)) = (last, later.before) else { continue };
            seams.compared += 1;
            if *last != before {
                seams.different.push(position);
            }
        }
        seams
    }
}
