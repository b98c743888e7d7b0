//! Cuts a render into chunks: frame ranges, from the number of frames and the measured cost. `README.md` beside this file states the
//! problem.
//!
//! **Invariant: the table covers every frame exactly once, in order, without an empty range**, whatever the arguments.

use std::num::NonZeroU32;

use hyperfarm_proto::frame::{FrameRange, FrameRate};

/// The settings for chunk tables.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardPolicy {
    /// Work in a chunk, in milliseconds of one slot, where there are [`MANY_SLOTS`] slots or more.
    pub chunk_work_ms: f64,
    /// Fewest seconds of video in a chunk, unless the render has fewer.
    pub min_seconds: f64,
    /// A wave is one chunk on every slot. Up to this number of waves the last one is full too, where the render is long enough.
    pub even_waves: u64,
    /// Most chunks of a render.
    pub max_chunks: u64,
    /// Frames in each chunk. It replaces all of the above but [`max_chunks`](Self::max_chunks).
    pub chunk_frames: Option<NonZeroU32>,
}

/// The measured cost of a page, in milliseconds of one slot.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Cost {
    /// Capturing one frame.
    pub frame_ms: f64,
    /// Starting a chunk, for each frame before the chunk.
    pub earlier_ms: f64,
}

/// Chunk starts may cost this share of what the frames cost.
const START_SHARE: f64 = 0.25;
/// Chunk starts may cost this share where slots would be idle otherwise.
const START_SHARE_FOR_IDLE_SLOTS: f64 = 1.0;
/// From this number of slots on a chunk has [`ShardPolicy::chunk_work_ms`] of work. Fewer slots get longer chunks: what many share
/// evenly by short chunks, few share as well by long ones, with fewer starts.
const MANY_SLOTS: u32 = 16;
/// The work of a chunk is at most this multiple of [`ShardPolicy::chunk_work_ms`], because a chunk that fails starts again.
const MAX_WORK_FACTOR: f64 = 4.0;
/// The [growth](growth()) of chunk starts below which it counts as 0.
const MIN_GROWTH: f64 = 1.0 / 4096.0;

impl Default for ShardPolicy {
    fn default() -> Self {
        Self { chunk_work_ms: 15_000.0, min_seconds: 1.0, even_waves: 4, max_chunks: 20_000, chunk_frames: None }
    }
}

/// The chunk table of a render with `frames` frames that cost `cost`, for `slots` live slots. It is empty only if `frames` is 0.
pub fn shard(frames: u64, rate: FrameRate, cost: Cost, slots: u32, policy: &ShardPolicy) -> Vec<FrameRange> {
    if let Some(asked) = policy.chunk_frames {
        let least = frames.div_ceil(policy.max_chunks.max(1));
        return fixed_length_chunks(frames, u64::from(asked.get()).max(least));
    }
    let growth = growth(cost);
    let least = (rate.as_f64() * policy.min_seconds).floor();
    let count = chunk_count(frames, rate, cost.frame_ms, growth, slots, policy);
    // Chunks of equal work get shorter towards the end. Where the last one would be too short, they get more equal in length.
    let mut growth = growth;
    while growth > 0.0 && last_length(frames, count, growth) < least {
        growth = if growth > MIN_GROWTH { growth / 2.0 } else { 0.0 };
    }
    equal_work_chunks(frames, count, growth)
}

/// The number of chunks.
fn chunk_count(frames: u64, rate: FrameRate, frame_ms: f64, growth: f64, slots: u32, policy: &ShardPolicy) -> u64 {
    let by_video = (rate.seconds_of(frames) / policy.min_seconds).floor() as u64;
    let work_factor = (f64::from(MANY_SLOTS) / f64::from(slots.max(1))).clamp(1.0, MAX_WORK_FACTOR);
    let slots = u64::from(slots.max(1));
    let worth_starting = max_count(growth, START_SHARE).max(max_count(growth, START_SHARE_FOR_IDLE_SLOTS).min(slots));
    let most = by_video.clamp(1, policy.max_chunks.max(1)).min(worth_starting);
    let by_work = (frames as f64 * rounded_cost(frame_ms) / (policy.chunk_work_ms * work_factor)).ceil() as u64;
    let wanted = by_work.max(slots).min(most);
    if wanted <= slots || wanted > slots * policy.even_waves {
        return wanted;
    }
    let waves = wanted.next_multiple_of(slots);
    // Rounded down where the video is too short: a wave that is not full takes as long as a full one, and its chunks have starts too.
    if waves <= most { waves } else { wanted - wanted % slots }
}

/// The growth: the cost of a chunk's start for each frame before it, as a share of the cost of capturing a frame. It is 0, or a power of
/// two up to 1.
fn growth(cost: Cost) -> f64 {
    let share = cost.earlier_ms / cost.frame_ms;
    if !share.is_finite() || share < MIN_GROWTH { 0.0 } else { share.min(1.0).log2().round().exp2() }
}

/// The cost of all chunk starts as a share of the cost of all frames, with `count` chunks of equal work.
fn start_share(growth: f64, count: u64) -> f64 {
    let count = count as f64;
    count * growth / (1.0 - (1.0 - growth).powf(count)) - 1.0
}

/// The largest number of chunks whose starts cost less than `share`. Where a start costs as much as the frames before it, it is 1: a
/// second chunk would end no earlier.
fn max_count(growth: f64, share: f64) -> u64 {
    if growth == 0.0 {
        return u64::MAX;
    }
    // The share is above `growth * (count - 1) / 2`.
    let most = 1 + (2.0 * share / growth).floor() as u64;
    (1..=most).rev().find(|count| start_share(growth, *count) < share).unwrap_or(1)
}

/// The cost rounded to a power of two between a quarter of a millisecond and about a minute. NaN, infinity, zero and
/// negative numbers become 16 ms.
fn rounded_cost(cost_ms: f64) -> f64 {
    if !cost_ms.is_finite() || cost_ms <= 0.0 {
        return 16.0;
    }
    cost_ms.clamp(0.25, 65_536.0).log2().round().exp2()
}

/// Number of frames in the last of `count` ranges of equal work.
fn last_length(frames: u64, count: u64, growth: f64) -> f64 {
    frames as f64 * (1.0 - boundary_share(count.saturating_sub(1), count, growth))
}

/// The share of all frames in the first `index` of `count` chunks, where each chunk with its start is the same work.
///
/// A chunk of `l` frames that starts at frame `b` is `growth * b + l` work. Where that is the same `work` for all chunks, the
/// boundaries follow `next = (1 - growth) * b + work`, whose sum is the closed form below.
fn boundary_share(index: u64, count: u64, growth: f64) -> f64 {
    let (index, count) = (index as f64, count.max(1) as f64);
    if growth == 0.0 {
        return index / count;
    }
    let factor = 1.0 - growth;
    (1.0 - factor.powf(index)) / (1.0 - factor.powf(count))
}

/// `count` ranges of equal work. Without growth their lengths differ by one frame at most.
fn equal_work_chunks(frames: u64, count: u64, growth: f64) -> Vec<FrameRange> {
    let boundary = |index: u64| match index {
        0 => 0,
        last if last >= count => frames,
        index if growth == 0.0 => (u128::from(frames) * u128::from(index) / u128::from(count)) as u64,
        index => (frames as f64 * boundary_share(index, count, growth)).floor() as u64,
    };
    (0..count).filter_map(|index| FrameRange::new(boundary(index), boundary(index + 1)).ok()).collect()
}

/// Ranges of `length` frames. The last one is shorter where `length` does not divide `frames`.
fn fixed_length_chunks(frames: u64, length: u64) -> Vec<FrameRange> {
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
        grown(frames, fps, Cost { frame_ms: cost, earlier_ms: 0.0 }, slots)
    }

    fn grown(frames: u64, fps: u32, cost: Cost, slots: u32) -> Vec<u64> {
        shard(frames, rate(fps), cost, slots, &ShardPolicy::default()).iter().map(FrameRange::count).collect()
    }

    /// What each chunk costs with its start, and all of them together, as shares of what the frames cost.
    fn worth(lengths: &[u64], growth: f64) -> (Vec<f64>, f64) {
        let frames = lengths.iter().sum::<u64>() as f64;
        let mut start = 0;
        let mut each = Vec::new();
        for length in lengths {
            each.push((growth * start as f64 + *length as f64) / frames);
            start += length;
        }
        let all = each.iter().sum();
        (each, all)
    }

    #[test]
    fn starts_that_grow_with_the_length_stay_a_quarter_of_the_work() {
        let cost = Cost { frame_ms: 16.0, earlier_ms: 1.0 };
        for minutes in [10, 60, 240] {
            let chunks = grown(minutes * 60 * 30, 30, cost, 2);
            let (each, all) = worth(&chunks, 1.0 / 16.0);
            assert!(all <= 1.25, "{minutes} min: {all}");
            let (least, most) =
                (each.iter().copied().fold(f64::MAX, f64::min), each.iter().copied().fold(0.0, f64::max));
            assert!(most / least < 1.01, "every chunk is worth the same: {each:?}");
            assert!(chunks.is_sorted_by(|a, b| a >= b), "later ones are shorter: {chunks:?}");
        }
    }

    #[test]
    fn many_slots_share_a_long_page_until_starts_cost_as_much_as_frames() {
        let cost = Cost { frame_ms: 16.0, earlier_ms: 1.0 };
        let chunks = grown(60 * 60 * 30, 30, cost, 12);
        assert_eq!(chunks.len(), 12);
        let many = grown(60 * 60 * 30, 30, cost, 1000);
        assert!((12..60).contains(&many.len()), "{}", many.len());
        assert!(worth(&many, 1.0 / 16.0).1 <= 2.0);
    }

    #[test]
    fn starts_that_hardly_grow_change_nothing() {
        let cost = Cost { frame_ms: 30.0, earlier_ms: 0.003 };
        assert_eq!(grown(60 * 60 * 30, 30, cost, 8), lengths(60 * 60 * 30, 30, 30.0, 8));
    }

    #[test]
    fn a_long_render_gets_chunks_of_about_15_seconds_of_work() {
        for slots in [16, 40] {
            let chunks = lengths(60 * 60 * 30, 30, 30.0, slots);
            assert_eq!(chunks.len(), 231);
            assert!(chunks.iter().all(|&count| (467..=468).contains(&count)), "32 ms x 468 = 15 s");
        }
    }

    #[test]
    fn few_slots_get_long_chunks() {
        assert_eq!(lengths(60 * 60 * 30, 30, 30.0, 8).len(), 116, "30 s of work each");
        assert_eq!(lengths(60 * 60 * 30, 30, 30.0, 2).len(), 58, "a minute of work each");
        assert_eq!(lengths(150, 30, 256.0, 2), [75, 75], "38 s of work on two slots are two chunks");
    }

    #[test]
    fn a_short_page_that_walks_uses_every_slot_and_has_no_crumbs() {
        let cost = Cost { frame_ms: 64.0, earlier_ms: 32.0 };
        assert_eq!(grown(150, 30, cost, 2), [100, 50], "the second chunk walks through the first one's frames");
        let chunks = grown(90, 30, cost, 3);
        assert_eq!(chunks.len(), 3);
        assert!(chunks.iter().all(|&count| count >= 30), "{chunks:?}");
    }

    #[test]
    fn a_page_whose_starts_cost_as_much_as_its_frames_is_one_chunk() {
        for earlier_ms in [50.0, 64.0, 90.0] {
            assert_eq!(grown(150, 30, Cost { frame_ms: 64.0, earlier_ms }, 8), [150], "{earlier_ms} ms");
        }
        assert_eq!(grown(150, 30, Cost { frame_ms: 64.0, earlier_ms: 40.0 }, 2), [100, 50]);
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
        assert_eq!(lengths(600 * 20, 30, 32.0, 4).len(), 8, "seven chunks of work on four slots are two full waves");
        assert_eq!(lengths(150, 30, 1024.0, 2).len(), 4, "five seconds on two slots are two waves, not one and a half");
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
        let counts: Vec<_> = shard(20, rate(30), Cost { frame_ms: 10.0, earlier_ms: 0.0 }, 4, &policy)
            .iter()
            .map(FrameRange::count)
            .collect();
        assert_eq!(counts, [7, 7, 6]);
    }

    proptest! {
        #[test]
        fn every_frame_once_in_order_and_no_empty_chunk(
            frames in 0u64..3_000_000, fps in 1u32..=240, den in prop::sample::select(vec![1u32, 1001]),
            frame_ms in prop_oneof![Just(f64::NAN), Just(f64::INFINITY), -1.0f64..100_000.0], slots in 0u32..5000,
            earlier_ms in prop_oneof![Just(0.0), Just(f64::NAN), Just(f64::INFINITY), -1.0f64..100.0],
            chunk_frames in proptest::option::of(1u32..5000),
        ) {
            let rate = FrameRate::new(if den == 1 { fps } else { fps.clamp(2, 239) * 1000 }, den).unwrap();
            let chunk_frames = chunk_frames.and_then(NonZeroU32::new);
            let policy = ShardPolicy { chunk_frames, ..ShardPolicy::default() };
            let cost = Cost { frame_ms, earlier_ms };
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
                None if growth(cost) > 0.0 => {
                    prop_assert!(chunks.len() == 1 || shortest as f64 + 1.0 >= rate.as_f64().floor());
                }
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
