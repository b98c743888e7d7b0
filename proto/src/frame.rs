//! Frame rates and frame ranges.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Frames a second as an exact rational in lowest terms, between 1 and [`FrameRate::MAX`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawFrameRate", into = "RawFrameRate")]
pub struct FrameRate {
    num: u32,
    den: u32,
}

#[derive(Serialize, Deserialize)]
struct RawFrameRate {
    num: u32,
    den: u32,
}

/// A frame rate that the farm does not render.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is not a frame rate: give 1 to {max} frames a second as an integer or a fraction such as 30000/1001", max = FrameRate::MAX)]
pub struct FrameRateError(String);

impl FrameRate {
    /// Highest rate, in frames a second.
    pub const MAX: u32 = 240;

    /// 30 frames a second, where neither the request nor the composition names a rate.
    pub const DEFAULT: Self = Self { num: 30, den: 1 };

    /// `num / den` frames a second.
    ///
    /// # Errors
    ///
    /// The rate is not between 1 and [`FrameRate::MAX`] frames a second, or its denominator is above 1,000,000.
    pub fn new(num: u32, den: u32) -> Result<Self, FrameRateError> {
        let refused = || FrameRateError(format!("{num}/{den}"));
        if num == 0 || den == 0 {
            return Err(refused());
        }
        let divisor = gcd(num, den);
        let (num, den) = (num / divisor, den / divisor);
        // Bounds keep every product below in 64 bits; real rates use denominators of 1, 1000 and 1001.
        if u64::from(num) < u64::from(den) || u64::from(num) > u64::from(Self::MAX) * u64::from(den) || den > 1_000_000
        {
            return Err(refused());
        }
        Ok(Self { num, den })
    }

    /// Numerator: frames in `den` seconds.
    pub fn num(&self) -> u32 {
        self.num
    }

    /// Denominator: seconds in which `num` frames pass.
    pub fn den(&self) -> u32 {
        self.den
    }

    /// Frames a second, rounded to a double.
    pub fn as_f64(&self) -> f64 {
        f64::from(self.num) / f64::from(self.den)
    }

    /// Start of `frame`, in seconds.
    pub fn seconds_of(&self, frame: u64) -> f64 {
        (frame as f64 * f64::from(self.den)) / f64::from(self.num)
    }

    /// Frames needed to show `seconds`: the count of frame starts in `[0, seconds)`, to a millionth of a
    /// frame, so that 3.0000000001 s at 30 frames a second is 90 frames and not 91.
    pub fn frames_in(&self, seconds: f64) -> u64 {
        let exact = seconds * self.as_f64();
        if !exact.is_finite() || exact <= 0.0 {
            return 0;
        }
        (exact - 1e-6).ceil().max(1.0) as u64
    }

    /// Audio samples that last exactly as long as `frames`, rounded down to whole samples.
    pub fn samples_of(&self, frames: u64, sample_rate: u32) -> u64 {
        let samples = u128::from(frames) * u128::from(self.den) * u128::from(sample_rate) / u128::from(self.num);
        u64::try_from(samples).unwrap_or(u64::MAX)
    }
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}

impl TryFrom<RawFrameRate> for FrameRate {
    type Error = FrameRateError;

    fn try_from(raw: RawFrameRate) -> Result<Self, FrameRateError> {
        Self::new(raw.num, raw.den)
    }
}

impl From<FrameRate> for RawFrameRate {
    fn from(rate: FrameRate) -> Self {
        Self { num: rate.num, den: rate.den }
    }
}

impl fmt::Display for FrameRate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.den == 1 { write!(f, "{}", self.num) } else { write!(f, "{}/{}", self.num, self.den) }
    }
}

impl FromStr for FrameRate {
    type Err = FrameRateError;

    fn from_str(text: &str) -> Result<Self, FrameRateError> {
        let refused = || FrameRateError(text.to_owned());
        let (num, den) = text.split_once('/').unwrap_or((text, "1"));
        let num = num.trim().parse().map_err(|_| refused())?;
        let den = den.trim().parse().map_err(|_| refused())?;
        Self::new(num, den).map_err(|_| refused())
    }
}

/// Frames `[start, end)` of a render, never empty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "RawFrameRange", into = "RawFrameRange")]
pub struct FrameRange {
    start: u64,
    end: u64,
}

#[derive(Serialize, Deserialize)]
struct RawFrameRange {
    start: u64,
    end: u64,
}

/// A range without frames.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("the range {0}..{1} has no frames")]
pub struct EmptyRange(u64, u64);

impl FrameRange {
    /// The range that begins `frames` later and has as many frames.
    #[must_use]
    pub fn shifted_by(self, frames: u64) -> Self {
        let start = self.start.saturating_add(frames);
        Self { start, end: start.saturating_add(self.count()) }
    }

    /// Frames from `start` up to and without `end`.
    ///
    /// # Errors
    ///
    /// `start` is not below `end`.
    pub fn new(start: u64, end: u64) -> Result<Self, EmptyRange> {
        if start < end { Ok(Self { start, end }) } else { Err(EmptyRange(start, end)) }
    }

    /// First frame.
    pub fn start(&self) -> u64 {
        self.start
    }

    /// One past the last frame.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// How many frames, at least one.
    pub fn count(&self) -> u64 {
        self.end - self.start
    }

    /// Every frame in order.
    pub fn frames(&self) -> std::ops::Range<u64> {
        self.start..self.end
    }
}

impl fmt::Display for FrameRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}..{}", self.start, self.end)
    }
}

impl TryFrom<RawFrameRange> for FrameRange {
    type Error = EmptyRange;

    fn try_from(raw: RawFrameRange) -> Result<Self, EmptyRange> {
        Self::new(raw.start, raw.end)
    }
}

impl From<FrameRange> for RawFrameRange {
    fn from(range: FrameRange) -> Self {
        Self { start: range.start, end: range.end }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn rates_parse_and_print_in_lowest_terms() {
        assert_eq!("30".parse::<FrameRate>().unwrap().to_string(), "30");
        assert_eq!("60000/1001".parse::<FrameRate>().unwrap().to_string(), "60000/1001");
        assert_eq!("50/2".parse::<FrameRate>().unwrap().to_string(), "25");
        for bad in ["0", "-1", "241", "1/2", "30/0", "x", "", "29.97", "1/0/1"] {
            assert!(bad.parse::<FrameRate>().is_err(), "{bad:?} must be refused");
        }
    }

    #[test]
    fn frames_in_tolerates_the_noise_of_doubles() {
        let rate = FrameRate::new(30, 1).unwrap();
        assert_eq!(rate.frames_in(3.0), 90);
        assert_eq!(rate.frames_in(3.000_000_000_1), 90);
        assert_eq!(rate.frames_in(3.01), 91);
        assert_eq!(rate.frames_in(0.001), 1);
        assert_eq!(rate.frames_in(0.0), 0);
        assert_eq!(rate.frames_in(-1.0), 0);
        assert_eq!(rate.frames_in(f64::NAN), 0);
    }

    #[test]
    fn samples_are_exact_for_ntsc() {
        let rate = FrameRate::new(30_000, 1001).unwrap();
        assert_eq!(rate.samples_of(30_000, 48_000), 1001 * 48_000);
        assert_eq!(rate.samples_of(1, 48_000), 1601);
    }

    proptest! {
        #[test]
        fn frame_starts_invert(num in 1u32..120_000, den in 1u32..2000, frame in 1u64..10_000_000) {
            if let Ok(rate) = FrameRate::new(num, den) {
                prop_assert_eq!(rate.frames_in(rate.seconds_of(frame)), frame);
            }
        }
    }
}
