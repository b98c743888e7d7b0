//! Seams between chunks, and the proof that a chunk starts as a walk from the first frame gets there.
//!
//! A chunk draws the frame after its last one, too. That picture must be the first one of the next chunk; where it is not,
//! that chunk began in another state than a walk has there.

use crate::record::SegmentRecord;

/// Number of frames before its first one that a chunk draws with the usual start: what Chrome draws of a frame may depend
/// on those that were drawn before it.
pub const WARM_UP_FRAMES: u64 = 2;

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
            let after = earlier.replace(later).and_then(|earlier| earlier.after);
            let (Some(after), Some(first)) = (after, later.frame_hashes.first()) else { continue };
            seams.compared += 1;
            if after != *first {
                seams.different.push(position);
            }
        }
        seams
    }
}
