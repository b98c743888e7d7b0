//! Motion blur: the moments at which a frame is drawn, when its picture is the mean of several.

use serde::{Deserialize, Serialize};

use crate::frame::FrameRate;

/// Degrees of the shutter that are the time of one frame.
const FRAME_DEGREES: f64 = 360.0;

/// The shutter of a camera that films the page: how long it is open for each frame, and when.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Shutter {
    /// Pictures that are averaged into a frame, 2 to [`Shutter::MAX_SAMPLES`]; fewer are no motion blur.
    pub samples: u32,
    /// Degrees for which it is open, above 0 and up to 360, which is the time of a frame.
    pub angle: f64,
    /// Degrees from the moment of the frame to its opening, -360 to 0.
    pub phase: f64,
}

impl Shutter {
    /// Pictures of a frame at most.
    pub const MAX_SAMPLES: u32 = 64;
    /// The moments at which `frame` is drawn, in order: the middles of equal parts of the time in which it is open.
    pub fn moments(self, frame: u64) -> impl Iterator<Item = FrameMoment> {
        let part = self.angle / f64::from(self.samples);
        let offset = move |sample: u32| (self.phase + part * (f64::from(sample) + 0.5)) / FRAME_DEGREES;
        (0..self.samples).map(move |sample| FrameMoment { frame, offset: offset(sample) })
    }
}

/// No motion blur, with the angle and the phase of HyperFrames: the moment of a frame is the middle of half its time.
impl Default for Shutter {
    fn default() -> Self {
        Self { samples: 0, angle: 180.0, phase: -90.0 }
    }
}

/// A moment at which a frame is drawn.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct FrameMoment {
    /// Number of the frame.
    pub frame: u64,
    /// Time from the frame's own moment, in frames.
    pub offset: f64,
}

impl FrameMoment {
    /// Seconds from the start of the composition, never before it.
    pub fn seconds(self, rate: FrameRate) -> f64 {
        (rate.seconds_of(self.frame) + self.offset / rate.as_f64()).max(0.0)
    }
}

/// The frame's own moment.
impl From<u64> for FrameMoment {
    fn from(frame: u64) -> Self {
        Self { frame, offset: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_divide_the_time_in_which_the_shutter_is_open() {
        let seconds = |shutter: Shutter, frame: u64| -> Vec<f64> {
            let rate = FrameRate::new(10, 1).unwrap();
            shutter.moments(frame).map(|moment| (moment.seconds(rate) * 1e6).round() / 1e6).collect()
        };
        let usual = Shutter { samples: 2, ..Shutter::default() };
        assert_eq!(seconds(usual, 5), [0.4875, 0.5125]);
        // The composition has nothing before its start.
        assert_eq!(seconds(usual, 0), [0.0, 0.0125]);
        let whole = Shutter { samples: 4, angle: 360.0, phase: 0.0 };
        assert_eq!(seconds(whole, 1), [0.1125, 0.1375, 0.1625, 0.1875]);
        assert_eq!(FrameMoment::from(7).seconds(FrameRate::new(30, 1).unwrap()), FrameRate::DEFAULT.seconds_of(7));
    }
}
