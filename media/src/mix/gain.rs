//! Gain over time: straight lines between points.

use std::sync::Arc;

use hyperfarm_proto::plan::GainPoint;

use crate::timescale::SAMPLE_RATE;

/// A gain curve that is read forward. Its clones share the points.
#[derive(Clone)]
pub(crate) struct GainCurve {
    points: Arc<[GainPoint]>,
    /// The first point after the current time.
    next: usize,
}

impl GainCurve {
    /// A curve through `points`. Points with times or gains that are not finite are left out; the rest is sorted.
    pub(crate) fn new(points: &[GainPoint]) -> Self {
        let mut points: Vec<GainPoint> =
            points.iter().copied().filter(|point| point.time.is_finite() && point.gain.is_finite()).collect();
        // A stable sort: two points at one time are a step, in the order of the list.
        points.sort_by(|a, b| a.time.total_cmp(&b.time));
        Self { points: points.into(), next: 0 }
    }

    /// The gain at composition sample `sample`; samples are asked in order.
    pub(crate) fn at(&mut self, sample: u64) -> f32 {
        let time = sample as f64 / f64::from(SAMPLE_RATE);
        while self.points.get(self.next).is_some_and(|point| point.time <= time) {
            self.next += 1;
        }
        let before = self.next.checked_sub(1).and_then(|last| self.points.get(last));
        let gain = match (before, self.points.get(self.next)) {
            (None, None) => 1.0,
            (Some(point), None) | (None, Some(point)) => point.gain,
            (Some(from), Some(to)) => from.gain + (to.gain - from.gain) * (time - from.time) / (to.time - from.time),
        };
        gain as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(points: &[(f64, f64)]) -> GainCurve {
        GainCurve::new(&points.iter().map(|(time, gain)| GainPoint { time: *time, gain: *gain }).collect::<Vec<_>>())
    }

    #[test]
    fn lines_are_straight_and_ends_are_held() {
        let mut fade = curve(&[(1.0, 0.0), (2.0, 1.0)]);
        assert_eq!([0, 48_000, 72_000, 96_000, 500_000].map(|sample| fade.at(sample)), [0.0, 0.0, 0.5, 1.0, 1.0]);
        assert_eq!(curve(&[]).at(7), 1.0);
    }

    #[test]
    fn two_points_at_one_time_are_a_step() {
        let mut step = curve(&[(0.0, 1.0), (1.0, 1.0), (1.0, 0.25), (2.0, 0.25)]);
        assert_eq!([47_999, 48_000, 90_000].map(|sample| step.at(sample)), [1.0, 0.25, 0.25]);
    }
}
