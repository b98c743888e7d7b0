//! Which source picture shows at an output frame: arithmetic only.
//!
//! The source is resampled at the output rate from its media start, as `-ss media_start -vf fps=RATE` does: picture `k` of
//! the resampled source is the last one whose time since media start, in output frames and rounded to the nearest, is at
//! most `k`. At composition time t shows picture `floor((t - start) · rate · fps + 1e-9)`.

use ffmpeg_next::Rational;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;

/// What rounding errors of doubles may not decide.
const TOLERANCE: f64 = 1e-9;

/// The same for times of source pictures, which containers round to a tick already.
const TICK_TOLERANCE: f64 = 1e-6;

/// A source's place in the composition.
#[derive(Debug, Clone)]
pub(crate) struct Timeline {
    timing: MediaTiming,
    rate: FrameRate,
    time_base: Rational,
    /// Ticks at which the file's own timeline starts.
    origin: i64,
    /// Source seconds from media start to the end, where the file says.
    playable: Option<f64>,
}

impl Timeline {
    pub(crate) fn new(
        timing: &MediaTiming,
        rate: FrameRate,
        time_base: Rational,
        origin: i64,
        duration: Option<f64>,
    ) -> Self {
        let playable = duration.map(|duration| duration - timing.media_start).filter(|playable| *playable > 0.0);
        Self { timing: timing.clone(), rate, time_base, origin, playable }
    }

    /// The picture of the resampled source at output frame `frame`.
    pub(crate) fn index_at(&self, frame: u64) -> i64 {
        let fps = self.rate.as_f64();
        // In frames and not in seconds: fewer roundings of large numbers.
        let mut position = (frame as f64 - self.timing.start * fps) * self.timing.rate;
        if let (true, Some(playable)) = (self.timing.looped, self.playable) {
            let length = playable * fps;
            if position + TOLERANCE >= length {
                position = (position + TOLERANCE) % length;
            }
        }
        (position + TOLERANCE).floor().max(0.0) as i64
    }

    /// The resampled index from which the picture at `pts` shows.
    pub(crate) fn index_of(&self, pts: i64) -> i64 {
        let seconds = (pts - self.origin) as f64 * f64::from(self.time_base.numerator())
            / f64::from(self.time_base.denominator().max(1));
        let position = (seconds - self.timing.media_start) * self.rate.as_f64();
        // Halves go up.
        (position + 0.5 + TICK_TOLERANCE).floor() as i64
    }

    /// The latest tick whose picture can have `index`.
    pub(crate) fn ticks_of(&self, index: i64) -> i64 {
        let seconds = self.timing.media_start + (index as f64 + 0.5) / self.rate.as_f64();
        let ticks = seconds * f64::from(self.time_base.denominator()) / f64::from(self.time_base.numerator().max(1));
        self.origin.saturating_add(ticks.floor() as i64)
    }

    /// Ticks in `seconds`.
    pub(crate) fn ticks_in(&self, seconds: f64) -> i64 {
        (seconds * f64::from(self.time_base.denominator()) / f64::from(self.time_base.numerator().max(1))) as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(start: f64, media_start: f64, rate: f64, looped: bool) -> MediaTiming {
        MediaTiming { start, end: 100.0, media_start, rate, looped }
    }

    fn timeline(timing: &MediaTiming, fps: u32, duration: f64) -> Timeline {
        Timeline::new(timing, FrameRate::new(fps, 1).unwrap(), Rational::new(1, 90_000), 0, Some(duration))
    }

    #[test]
    fn positions_follow_the_formula() {
        let plain = timeline(&timing(0.1, 0.0, 1.0, false), 30, 10.0);
        assert_eq!([0, 2, 3, 4, 33].map(|frame| plain.index_at(frame)), [0, 0, 0, 1, 30]);
        let slow = timeline(&timing(0.0, 0.0, 0.5, false), 30, 10.0);
        assert_eq!([0, 1, 2, 3, 4].map(|frame| slow.index_at(frame)), [0, 0, 1, 1, 2]);
        let odd = timeline(&timing(0.0, 0.0, 1.37, false), 30, 10.0);
        assert_eq!([1, 2, 100].map(|frame| odd.index_at(frame)), [1, 2, 137]);
    }

    #[test]
    fn a_loop_wraps_at_its_playable_length() {
        // 2 s from media start 1 of 3 s: 60 pictures.
        let looped = timeline(&timing(0.0, 1.0, 1.0, true), 30, 3.0);
        assert_eq!([59, 60, 61, 119, 120].map(|frame| looped.index_at(frame)), [59, 0, 1, 59, 0]);
        let held = timeline(&timing(0.0, 1.0, 1.0, false), 30, 3.0);
        assert_eq!(held.index_at(60), 60);
    }

    #[test]
    fn pictures_go_to_the_nearest_frame_and_halves_go_up() {
        let line = timeline(&timing(0.0, 0.0, 1.0, false), 30, 10.0);
        // At 60 pictures a second every second one is half way.
        assert_eq!([0, 1500, 3000, 4500].map(|pts| line.index_of(pts)), [0, 1, 1, 2]);
        for index in 0..100 {
            assert!(line.index_of(line.ticks_of(index) - 1) <= index);
            assert!(line.index_of(line.ticks_of(index) + 2) > index);
        }
    }
}
