//! Exact times: frame numbers to ticks of a container, and back.

use hyperfarm_proto::frame::FrameRate;

/// Samples a second of all sound that the farm makes.
pub const SAMPLE_RATE: u32 = 48_000;

/// The usual timescale of video: ticks a second of a track wherever that is exact.
const USUAL: u32 = 90_000;

/// Ticks a second at which every frame lasts a whole number of ticks.
pub(crate) fn exact(rate: FrameRate) -> u32 {
    if (u64::from(USUAL) * u64::from(rate.den())).is_multiple_of(u64::from(rate.num())) {
        return USUAL;
    }
    rate.num() * USUAL.div_ceil(rate.num())
}

/// Ticks a second of a track of `frames` frames.
///
/// 90000 if the whole track lasts a whole number of those ticks: single frames may then be half a tick (6 µs) off, and
/// the average that players compute is still the exact rate. For the rest (some counts at 24000/1001 and 60000/1001,
/// odd rates) the exact one, because an average of 59.9401 is a defect that people see.
pub(crate) fn of_track(rate: FrameRate, frames: u64) -> u32 {
    let total = u128::from(frames) * u128::from(USUAL) * u128::from(rate.den());
    if total.is_multiple_of(u128::from(rate.num())) { USUAL } else { exact(rate) }
}

/// The tick at which `frame` starts, to the nearest.
pub(crate) fn ticks(frame: i64, rate: FrameRate, timescale: u32) -> i64 {
    let numerator = i128::from(frame) * i128::from(timescale) * i128::from(rate.den());
    let denominator = i128::from(rate.num());
    // Half up, so that the result never decreases with the frame.
    let nearest = (2 * numerator + denominator).div_euclid(2 * denominator);
    i64::try_from(nearest).unwrap_or(i64::MAX)
}

/// Ticks that `frames` last, rounded up: with times rounded to the nearest, `ticks(a + b) <= ticks(a) + ticks_up(b)`.
pub(crate) fn ticks_up(frames: u32, rate: FrameRate, timescale: u32) -> i64 {
    let numerator = u128::from(frames) * u128::from(timescale) * u128::from(rate.den());
    i64::try_from(numerator.div_ceil(u128::from(rate.num()))).unwrap_or(i64::MAX)
}

/// The frame that starts nearest to `timestamp`, in units of `time_base` (numerator, denominator) seconds.
pub(crate) fn frame_at(timestamp: i64, time_base: (i32, i32), rate: FrameRate) -> i64 {
    let numerator = i128::from(timestamp) * i128::from(time_base.0) * i128::from(rate.num());
    let denominator = i128::from(time_base.1.max(1)) * i128::from(rate.den());
    let nearest = (2 * numerator + denominator).div_euclid(2 * denominator);
    i64::try_from(nearest).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rate(num: u32, den: u32) -> FrameRate {
        FrameRate::new(num, den).unwrap()
    }

    #[test]
    fn usual_rates_use_the_usual_timescale() {
        for (num, den) in [(24, 1), (25, 1), (30, 1), (50, 1), (60, 1), (30000, 1001), (15, 1)] {
            assert_eq!(exact(rate(num, den)), 90_000, "{num}/{den}");
        }
        assert_eq!(exact(rate(24000, 1001)), 96_000);
        assert_eq!(of_track(rate(24000, 1001), 240), 90_000);
        assert_eq!(of_track(rate(24000, 1001), 241), 96_000);
        assert_eq!(of_track(rate(60000, 1001), 601), 120_000);
    }

    #[test]
    fn ticks_and_frames_are_inverse() {
        for rate in [rate(24, 1), rate(24000, 1001), rate(60000, 1001), rate(1199, 50), rate(240, 1)] {
            for frame in [-3_i64, -1, 0, 1, 2, 7, 1000, 123_456_789] {
                for timescale in [exact(rate), 90_000, 1000] {
                    let tick = ticks(frame, rate, timescale);
                    assert_eq!(frame_at(tick, (1, timescale as i32), rate), frame);
                }
            }
            for (a, b) in (0..50).flat_map(|a| (0..4).map(move |b| (a, b))) {
                assert!(ticks(a + i64::from(b), rate, 90_000) <= ticks(a, rate, 90_000) + ticks_up(b, rate, 90_000));
            }
            assert_eq!(ticks(rate.num().into(), rate, exact(rate)), i64::from(exact(rate)) * i64::from(rate.den()));
        }
    }
}
