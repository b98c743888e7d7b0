//! The mapping from output frames to the pictures of a source: arithmetic only.
//!
//! The source is resampled at the output rate from its media start, as HyperFrames does with FFmpeg's
//! `settb=intb/2,setpts=PTS-lte(TB,0.001),fps=RATE:start_time=0:round=up`: picture `k` of the resampled source is the
//! last one that has begun by `k` output frames after media start. Containers round times to a tick, so in ticks of at
//! most 2 ms a picture may begin half a tick late. At composition time t shows picture `floor((t - start) · rate · fps
//! + 1e-9)`.

use ffmpeg_next::Rational;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;

/// Tolerance for rounding errors of doubles, in frames.
const TOLERANCE: f64 = 1e-9;

/// Length of a source.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct SourceLength {
    /// Seconds to the end of the video, where the file says.
    pub(crate) seconds: Option<f64>,
    /// Whether frames have different durations. The length of the resampled source is then rounded up to a whole frame,
    /// otherwise to the nearest one.
    pub(crate) has_variable_rate: bool,
}

/// Position and rate of a source in the composition.
#[derive(Debug, Clone)]
pub struct VideoTimeline {
    timing: MediaTiming,
    rate: FrameRate,
    time_base: Rational,
    /// Ticks at which the file's own timeline starts.
    origin: i64,
    /// Ticks of the file's own timeline at media start.
    media_start: i64,
    /// Half ticks by which a picture may start late: 0 or 1.
    late: i64,
    /// Source seconds from media start to the end of the video, where the file says.
    playable: Option<f64>,
    /// The last picture of the resampled source, where the file says.
    last: Option<i64>,
}

impl VideoTimeline {
    pub(crate) fn new(
        timing: &MediaTiming,
        rate: FrameRate,
        time_base: Rational,
        origin: i64,
        source: SourceLength,
    ) -> Self {
        let playable = source.seconds.map(|seconds| seconds - timing.media_start).filter(|playable| *playable > 0.0);
        let last = playable.map(|playable| {
            // Rounded to a microsecond, as FFmpeg's tools print and read it.
            let frames = (playable * 1e6).round() / 1e6 * rate.as_f64();
            let count = if source.has_variable_rate { (frames - TOLERANCE).ceil() } else { (frames + 0.5).floor() };
            (count as i64).max(1) - 1
        });
        let tick = f64::from(time_base.numerator()) / f64::from(time_base.denominator().max(1));
        let mut timeline = Self {
            timing: timing.clone(),
            rate,
            time_base,
            origin,
            media_start: 0,
            late: i64::from(tick <= 0.002),
            playable,
            last,
        };
        timeline.media_start = timeline.nearest_tick(timing.media_start);
        timeline
    }

    /// Number of the resampled source's picture at output frame `frame`. Equal numbers are equal pictures.
    pub fn picture_at(&self, frame: u64) -> u64 {
        let fps = self.rate.as_f64();
        // Calculated in frames, not in seconds, for fewer roundings of large numbers.
        let mut position = (frame as f64 - self.timing.start * fps) * self.timing.rate;
        if let (true, Some(playable)) = (self.timing.looped, self.playable) {
            let length = playable * fps;
            if position + TOLERANCE >= length {
                position = (position + TOLERANCE) % length;
            }
        }
        let index = (position + TOLERANCE).floor().max(0.0) as i64;
        // Behind the end the last picture is held.
        self.last.map_or(index, |last| index.min(last)).unsigned_abs()
    }

    /// Index in the resampled source from which the picture at `pts` is shown.
    pub(crate) fn index_of(&self, pts: i64) -> i64 {
        let half_ticks = i128::from(pts.saturating_sub(self.origin).saturating_sub(self.media_start)) * 2;
        let frames = (half_ticks - i128::from(self.late)) * self.frame_scale().0;
        let (per, rest) = (frames.div_euclid(self.frame_scale().1), frames.rem_euclid(self.frame_scale().1));
        i64::try_from(per + i128::from(rest > 0)).unwrap_or(i64::MAX)
    }

    /// The latest tick whose picture can have `index`.
    pub(crate) fn ticks_of(&self, index: i64) -> i64 {
        let (num, den) = self.frame_scale();
        let half_ticks = (i128::from(index) * den).div_euclid(num) + i128::from(self.late);
        let ticks = i64::try_from(half_ticks.div_euclid(2)).unwrap_or(i64::MAX / 2);
        ticks.saturating_add(self.origin).saturating_add(self.media_start)
    }

    /// Output frames in half a tick, as a fraction.
    fn frame_scale(&self) -> (i128, i128) {
        let num = i128::from(self.time_base.numerator().max(1)) * i128::from(self.rate.num());
        let den = i128::from(self.time_base.denominator().max(1)) * i128::from(self.rate.den()) * 2;
        (num, den)
    }

    /// Ticks in `seconds`.
    pub(crate) fn ticks_in(&self, seconds: f64) -> i64 {
        (seconds * f64::from(self.time_base.denominator()) / f64::from(self.time_base.numerator().max(1))) as i64
    }

    /// The tick nearest to `seconds`, rounded to microseconds first, as FFmpeg's options are.
    fn nearest_tick(&self, seconds: f64) -> i64 {
        let microseconds = (seconds * 1e6).round() / 1e6;
        (microseconds * f64::from(self.time_base.denominator()) / f64::from(self.time_base.numerator().max(1))).round()
            as i64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn timing(start: f64, media_start: f64, rate: f64, looped: bool) -> MediaTiming {
        MediaTiming { start, end: 100.0, media_start, rate, looped }
    }

    fn timeline(timing: &MediaTiming, fps: u32, duration: f64) -> VideoTimeline {
        VideoTimeline::new(
            timing,
            FrameRate::new(fps, 1).unwrap(),
            Rational::new(1, 90_000),
            0,
            SourceLength { seconds: Some(duration), has_variable_rate: false },
        )
    }

    #[test]
    fn positions_follow_the_formula() {
        let plain = timeline(&timing(0.1, 0.0, 1.0, false), 30, 10.0);
        assert_eq!([0, 2, 3, 4, 33].map(|frame| plain.picture_at(frame)), [0, 0, 0, 1, 30]);
        let slow = timeline(&timing(0.0, 0.0, 0.5, false), 30, 10.0);
        assert_eq!([0, 1, 2, 3, 4].map(|frame| slow.picture_at(frame)), [0, 0, 1, 1, 2]);
        let odd = timeline(&timing(0.0, 0.0, 1.37, false), 30, 10.0);
        assert_eq!([1, 2, 100].map(|frame| odd.picture_at(frame)), [1, 2, 137]);
    }

    #[test]
    fn a_loop_wraps_at_its_playable_length_and_anything_else_holds() {
        // 2 s from media start 1 of 3 s: 60 pictures.
        let looped = timeline(&timing(0.0, 1.0, 1.0, true), 30, 3.0);
        assert_eq!([59, 60, 61, 119, 120].map(|frame| looped.picture_at(frame)), [59, 0, 1, 59, 0]);
        let held = timeline(&timing(0.0, 1.0, 1.0, false), 30, 3.0);
        assert_eq!([59, 60, 9999].map(|frame| held.picture_at(frame)), [59, 59, 59]);
        // 2.002 s are 60 pictures, or 61 where they last differently long.
        let once = timing(0.0, 0.0, 1.0, false);
        let last = |has_variable_rate| {
            let length = SourceLength { seconds: Some(2.002), has_variable_rate };
            VideoTimeline::new(&once, FrameRate::new(30, 1).unwrap(), Rational::new(1, 600), 0, length).picture_at(999)
        };
        assert_eq!((last(false), last(true)), (59, 60));
    }

    #[test]
    fn a_picture_shows_from_the_first_frame_at_or_after_its_time() {
        let line = timeline(&timing(0.0, 0.0, 1.0, false), 30, 10.0);
        // At 60 pictures a second every second one begins between two frames; half a tick late is on time.
        assert_eq!([0, 1500, 3000, 3001, 4500].map(|pts| line.index_of(pts)), [0, 1, 1, 2, 2]);
        // Milliseconds: 33 ms is a thirtieth, and 34 ms is later.
        let coarse = VideoTimeline { time_base: Rational::new(1, 1000), ..line.clone() };
        assert_eq!([33, 34, 67, 100].map(|pts| coarse.index_of(pts)), [1, 2, 2, 3]);
        // In ticks longer than 2 ms nothing is rounded away.
        let frames = VideoTimeline { time_base: Rational::new(1, 25), late: 0, ..line.clone() };
        assert_eq!([0, 1, 2, 5].map(|pts| frames.index_of(pts)), [0, 2, 3, 6]);
        for line in [line, coarse, frames] {
            for index in 0..100 {
                assert!(line.index_of(line.ticks_of(index)) <= index, "{index}");
                assert!(line.index_of(line.ticks_of(index) + 1) > index, "{index}");
            }
        }
    }
}
