//! Which chunks are drawn again because of their seams, and how they start then.
//!
//! A chunk whose start drew another picture than the chunk before it ends with did not begin in the state of a walk from
//! the first frame. It is drawn again: at first after a visit to every earlier frame, in which scripts find the pictures of all
//! videos that they draw, and drawing the last ones of them; then after drawing the frames of the chunk before, from that chunk's own start on, which gives the same last picture for any
//! page that depends on nothing but its frames. If the chunk before changes by that, the same goes for this one, so that a chunk may end up
//! drawing from the first frame.
//!
//! **Invariants**
//! - *It ends.* Each new start of a chunk visits or draws more than the one before, and chunk 0 keeps its start.
//! - *It is bounded.* All starts together draw no more frames than the output has. What is left then is a warning.

use std::collections::BTreeMap;

use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::seam::Seams;

/// Frames before its first one that a chunk draws when it is drawn again for the first time.
const RECENT_FRAMES: u64 = 24;

/// New starts of chunks, by number: of those that have to be drawn again, given the committed `segments` of all chunks
/// in order.
pub fn longer_starts(plan: &Plan, segments: &[SegmentRecord]) -> BTreeMap<u32, ChunkStart> {
    let mut starts: BTreeMap<u32, ChunkStart> = BTreeMap::new();
    let mut drawn: u64 = plan.starts.keys().map(|chunk| drawn_frames(plan, *chunk, plan.start(*chunk))).sum();
    for segment in Seams::compare(segments).different.into_iter().filter_map(|position| segments.get(position)) {
        let chunk = segment.chunk;
        // A chunk behind one that is drawn again is looked at afterwards: its seam may be equal then.
        if chunk.checked_sub(1).is_none_or(|before| starts.contains_key(&before)) {
            continue;
        }
        let Some(start) = longer_start(plan, segment) else { continue };
        let more = drawn_frames(plan, chunk, start).saturating_sub(drawn_frames(plan, chunk, plan.start(chunk)));
        if drawn + more <= plan.content.frames {
            drawn += more;
            starts.insert(chunk, start);
        }
    }
    starts
}

/// The next longer start of a chunk; `None` where it has the longest already.
fn longer_start(plan: &Plan, segment: &SegmentRecord) -> Option<ChunkStart> {
    let now = plan.start(segment.chunk);
    let before = segment.chunk.checked_sub(1)?;
    let as_before = plan.start(before);
    let start_before = plan.chunk(before)?.start();
    if now == ChunkStart::default() {
        let recent = segment.frames.start().saturating_sub(RECENT_FRAMES);
        return Some(ChunkStart { visits_all: true, draws_from: Some(recent.max(start_before)) });
    }
    let from = as_before.draws_from.unwrap_or(start_before);
    let longer = ChunkStart { draws_from: Some(from), visits_all: now.visits_all || as_before.visits_all };
    (longer != now).then_some(longer)
}

/// Number of frames that a start of `chunk` draws.
fn drawn_frames(plan: &Plan, chunk: u32, start: ChunkStart) -> u64 {
    let range = plan.chunk(chunk).zip(start.draws_from);
    range.map_or(0, |(range, from)| range.start().saturating_sub(from))
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::id::{ContentHash, FrameHash};
    use hyperfarm_proto::record::{CapturePath, ChunkTimings};

    use super::*;
    use crate::testing;

    /// Segments of a page whose pictures depend on the frames that were drawn or visited before: `picture` gives that of
    /// a frame, from the first frame that the chunk drew and whether it visited all before.
    fn render(plan: &Plan, picture: impl Fn(u64, u64, bool) -> u64) -> Vec<SegmentRecord> {
        let segment = |(chunk, range): (usize, &hyperfarm_proto::frame::FrameRange)| {
            let start = plan.start(chunk as u32);
            let from = start.draws_from.unwrap_or(range.start());
            let hash = |frame| FrameHash::from_u128(picture(frame, from, start.visits_all).into());
            SegmentRecord {
                chunk: chunk as u32,
                attempt: 1,
                plan: None,
                frames: *range,
                key: String::new(),
                hash: ContentHash::of(b""),
                bytes: 0,
                start,
                after: Some(hash(range.end())),
                frame_hashes: range.frames().map(hash).collect(),
                path: CapturePath::Png,
                worker: "w1".to_owned(),
                timings: ChunkTimings::default(),
                thumbnail: None,
                light: None,
                warnings: Vec::new(),
            }
        };
        plan.chunks.iter().enumerate().map(segment).collect()
    }

    /// Draws chunks again until no start changes. Returns the number of times and the seams that still differ.
    fn heal(plan: &mut Plan, picture: impl Fn(u64, u64, bool) -> u64) -> (usize, usize) {
        for round in 0..50 {
            let segments = render(plan, &picture);
            let starts = longer_starts(plan, &segments);
            if starts.is_empty() {
                return (round, Seams::compare(&segments).different.len());
            }
            plan.starts.extend(starts);
        }
        panic!("it does not end: {:?}", plan.starts);
    }

    #[test]
    fn equal_seams_ask_for_nothing() {
        let mut plan = testing::plan(&[10, 10, 10], false);
        assert_eq!(heal(&mut plan, |frame, _, _| frame), (0, 0));
        assert!(plan.starts.is_empty());
    }

    #[test]
    fn a_page_that_needs_every_visit_gets_it() {
        let mut plan = testing::plan(&[100, 100, 100], false);
        let needs_visits = |frame, from, visits_all| if visits_all || from == 0 { frame } else { frame + 100 };
        assert_eq!(heal(&mut plan, needs_visits), (2, 0));
        assert_eq!(plan.start(1), ChunkStart { visits_all: true, draws_from: Some(76) });
        assert_eq!(plan.start(2), ChunkStart { visits_all: true, draws_from: Some(176) });
    }

    #[test]
    fn every_chunk_of_a_page_that_keeps_what_it_drew_gets_every_visit() {
        let mut plan = testing::plan(&[7; 9], false);
        let keeps = |frame, from, visits_all| if visits_all || from == 0 { frame } else { frame + 100 * (1 + from) };
        assert_eq!(heal(&mut plan, keeps).1, 0);
    }

    #[test]
    fn a_picture_that_an_earlier_drawing_leaves_is_drawn_from_there() {
        // What frame 14 draws stays until frame 24.
        let remains = |frame, from, _| if from <= 14 && (14..25).contains(&frame) { frame + 100 } else { frame };
        let mut plan = testing::plan(&[10, 10, 10, 10], false);
        assert_eq!(heal(&mut plan, remains), (1, 0));
        assert_eq!(
            plan.starts.into_iter().collect::<Vec<_>>(),
            [(2, ChunkStart { visits_all: true, draws_from: Some(10) })]
        );
    }

    #[test]
    fn a_page_that_is_never_the_same_is_drawn_a_bounded_number_of_times() {
        let count = std::cell::Cell::new(0);
        let mut plan = testing::plan(&[10; 8], false);
        let (rounds, different) = heal(&mut plan, |_, _, _| {
            count.set(count.get() + 1);
            count.get()
        });
        assert_eq!(different, 7);
        let drawn: u64 = (0..8).map(|chunk| drawn_frames(&plan, chunk, plan.start(chunk))).sum();
        assert!(drawn <= 80 && rounds < 20, "{drawn} frames in {rounds} rounds");
    }
}
