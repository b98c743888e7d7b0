//! Records as workers make them.

use hyperfarm_proto::id::{ContentHash, FrameHash};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{ChunkStart, Plan};
use hyperfarm_proto::record::{CapturePath, ChunkTimings, SegmentRecord};

/// The record of the segment `bytes` that an attempt of `worker` at `chunk` of `plan` has made. Frame `i` has the hash `i`.
///
/// # Panics
///
/// The plan has no such chunk, or cannot be hashed.
pub fn segment_record(plan: &Plan, chunk: u32, attempt: u32, worker: &str, bytes: &[u8]) -> SegmentRecord {
    let frames = plan.chunk(chunk).expect("the plan has the chunk");
    let hash = ContentHash::of(bytes);
    SegmentRecord {
        chunk,
        attempt,
        plan: Some(plan.content.hash().expect("the plan can be hashed")),
        frames,
        key: keys::segment(&plan.render, chunk, attempt, &hash, plan.content.encoder.format),
        hash,
        bytes: bytes.len() as u64,
        start: ChunkStart::default(),
        after: None,
        frame_hashes: frames.frames().map(|frame| FrameHash::from_u128(frame.into())).collect(),
        path: CapturePath::Png,
        worker: worker.to_owned(),
        timings: ChunkTimings::default(),
        thumbnail: None,
        light: None,
        warnings: Vec::new(),
    }
}
