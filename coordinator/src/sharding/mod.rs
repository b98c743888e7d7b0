//! Frame ranges from frames and measured cost. The problem is stated in `README.md` beside this file.
//!
//! **Invariant: the table covers every frame exactly once, in order, without an empty range**, whatever the arguments.

use std::num::NonZeroU32;

use hyperfarm_proto::frame::{FrameRange, FrameRate};

/// What the farm wants of a chunk table.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardPolicy {
    /// Milliseconds of one slot's work that a chunk is worth.
    pub chunk_work_ms: f64,
    /// Video seconds that a chunk has at least, unless the render has less.
    pub min_seconds: f64,
    /// Chunks a slot up to which their number is a whole number of waves, where the render is long enough for one.
    pub even_waves: u64,
    /// Chunks at most.
    pub max_chunks: u64,
    /// Frames a chunk, instead of all of the above but [`max_chunks`](Self::max_chunks).
    pub chunk_frames: Option<NonZeroU32>,
}

impl Default for ShardPolicy {
    fn default() -> Self {
        Self { chunk_work_ms: 15_000.0, min_seconds: 1.0, even_waves: 4, max_chunks: 20_000, chunk_frames: None }
    }
}

/// The chunk table of a render of `frames` frames, each costing one slot `frame_cost_ms`, for `slots` live slots.
/// Empty only where `frames` is 0.
pub fn shard(frames: u64, rate: FrameRate, frame_cost_ms: f64, slots: u32, policy: &ShardPolicy) -> Vec<FrameRange> {
    if let Some(asked) = policy.chunk_frames {
        let least = frames.div_ceil(policy.max_chunks.max(1));
        return every(frames, u64::from(asked.get()).max(least));
    }
    even(frames, count(frames, rate, frame_cost_ms, slots, policy))
}

fn count(frames: u64, rate: FrameRate, frame_cost_ms: f64, slots: u32, policy: &ShardPolicy) -> u64 {
    let by_video = (rate.seconds_of(frames) / policy.min_seconds).floor() as u64;
    let most = by_video.clamp(1, policy.max_chunks.max(1));
    let by_work = (frames as f64 * coarse(frame_cost_ms) / policy.chunk_work_ms).ceil() as u64;
    let slots = u64::from(slots.max(1));
    let wanted = by_work.max(slots).min(most);
    if wanted <= slots || wanted > slots * policy.even_waves {
        return wanted;
    }
    let waves = wanted.next_multiple_of(slots);
    // Down where the video is too short for one more: part of a wave takes as long as a whole one, and has starts of its own.
    if waves <= most { waves } else { wanted - wanted % slots }
}

/// The nearest power of two, between a quarter of a millisecond and a minute; 16 ms for what is no cost at all.
fn coarse(cost_ms: f64) -> f64 {
    if !cost_ms.is_finite() || cost_ms <= 0.0 {
        return 16.0;
    }
    cost_ms.clamp(0.25, 65_536.0).log2().round().exp2()
}

/// `count` ranges that differ by one frame at most.
fn even(frames: u64, count: u64) -> Vec<FrameRange> {
    let boundary = |index: u64| (u128::from(frames) * u128::from(index) / u128::from(count.max(1))) as u64;
    (0..count).filter_map(|index| FrameRange::new(boundary(index), boundary(index + 1)).ok()).collect()
}

/// Ranges of `length` frames, the last one shorter where it does not divide.
fn every(frames: u64, length: u64) -> Vec<FrameRange> {
    (0..frames.div_ceil(length))
        .filter_map(|index| FrameRange::new(index * length, frames.min((index + 1) * length)).ok())
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn rate(fps: u32) -> FrameRate {
        FrameRate::new(fps, 1).unwrap()
    }

    fn lengths(frames: u64, fps: u32, cost: f64, slots: u32) -> Vec<u64> {
        shard(frames, rate(fps), cost, slots, &ShardPolicy::default()).iter().map(FrameRange::count).collect()
    }

    #[test]
    fn a_long_render_gets_chunks_of_about_15_seconds_of_work() {
        let chunks = lengths(60 * 60 * 30, 30, 30.0, 8);
        assert_eq!(chunks.len(), 231);
        assert!(chunks.iter().all(|&count| (467..=468).contains(&count)), "32 ms x 468 = 15 s");
    }

    #[test]
    fn a_short_render_uses_every_slot_but_not_below_a_second() {
        assert_eq!(lengths(300, 30, 10.0, 4), [75, 75, 75, 75]);
        assert_eq!(lengths(90, 30, 10.0, 8), [30, 30, 30]);
        assert_eq!(lengths(45, 30, 10.0, 8), [45]);
        assert_eq!(lengths(1, 30, 10.0, 8), [1]);
        assert_eq!(lengths(300, 30, 10.0, 0), [300], "without a live slot it waits as one chunk");
    }

    #[test]
    fn few_chunks_come_in_whole_waves() {
        assert_eq!(lengths(600 * 5, 30, 32.0, 4).len(), 8, "seven chunks of work on four slots are two full waves");
        assert_eq!(lengths(150, 30, 512.0, 2).len(), 4, "five seconds on two slots are two waves, not two and a half");
        assert_eq!(lengths(150, 30, 4096.0, 2).len(), 4, "and so where there is more work than that");
        assert_eq!(lengths(150, 30, 512.0, 8).len(), 5, "fewer seconds than slots are a chunk each");
    }

    #[test]
    fn noise_in_the_cost_seldom_moves_the_table() {
        assert_eq!(lengths(9000, 30, 28.0, 4), lengths(9000, 30, 36.0, 4));
    }

    #[test]
    fn an_override_is_followed_to_the_frame() {
        let policy = ShardPolicy { chunk_frames: NonZeroU32::new(7), ..ShardPolicy::default() };
        let counts: Vec<_> = shard(20, rate(30), 10.0, 4, &policy).iter().map(FrameRange::count).collect();
        assert_eq!(counts, [7, 7, 6]);
    }

    proptest! {
        #[test]
        fn every_frame_once_in_order_and_no_empty_chunk(
            frames in 0u64..3_000_000, fps in 1u32..=240, den in prop::sample::select(vec![1u32, 1001]),
            cost in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1.0f64..100_000.0], slots in 0u32..5000,
            chunk_frames in proptest::option::of(1u32..5000),
        ) {
            let rate = FrameRate::new(if den == 1 { fps } else { fps.clamp(2, 239) * 1000 }, den).unwrap();
            let chunk_frames = chunk_frames.and_then(NonZeroU32::new);
            let policy = ShardPolicy { chunk_frames, ..ShardPolicy::default() };
            let chunks = shard(frames, rate, cost, slots, &policy);
            let mut next = 0;
            for chunk in &chunks {
                prop_assert_eq!(chunk.start(), next);
                next = chunk.end();
            }
            prop_assert_eq!(next, frames);
            prop_assert!(chunks.len() as u64 <= policy.max_chunks);
            let (Some(longest), Some(shortest)) =
                (chunks.iter().map(FrameRange::count).max(), chunks.iter().map(FrameRange::count).min())
            else { return Ok(()) };
            match chunk_frames {
                Some(asked) if frames.div_ceil(policy.max_chunks) <= u64::from(asked.get()) => {
                    let (last, others) = chunks.split_last().unwrap();
                    prop_assert!(others.iter().all(|chunk| chunk.count() == u64::from(asked.get())));
                    prop_assert!(last.count() <= u64::from(asked.get()));
                }
                Some(_) => {}
                None => {
                    prop_assert!(longest - shortest <= 1);
                    prop_assert!(chunks.len() == 1 || shortest as f64 >= rate.as_f64().floor());
                    let seconds = rate.seconds_of(frames).floor() as u64;
                    prop_assert!(chunks.len() as u64 >= u64::from(slots).min(seconds).min(policy.max_chunks));
                }
            }
        }
    }
}
