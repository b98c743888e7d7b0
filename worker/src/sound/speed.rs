//! Playback rates that change over time.

use hyperfarm_proto::plan::MediaTiming;

use super::lane::{LanePoint, Scale, value_at};

/// Length in seconds of a stretch with one rate.
const STRETCH: f64 = 0.25;
/// Most stretches of a sound; in a longer sound they are longer.
const MAX_STRETCHES: f64 = 240.0;
/// Steps by which the segment between two points of a lane is integrated.
const STEPS: u32 = 48;

/// Seconds of the source over seconds of the composition, both from the element's start.
pub(crate) struct Speed {
    rate: f64,
    /// Seconds of the composition and of the source, in order; empty for a constant rate.
    table: Vec<(f64, f64)>,
    last_rate: f64,
}

impl Speed {
    /// The speed by `lane`, or the constant `rate` where the lane has no points.
    pub(crate) fn new(rate: f64, lane: &[LanePoint]) -> Self {
        let Some(last) = lane.last() else { return Self { rate, table: Vec::new(), last_rate: rate } };
        let mut table = vec![(0.0, 0.0)];
        let mut reach = |t: f64| {
            let (before, source) = table[table.len() - 1];
            if t > before {
                let mean = (value_at(lane, before, Scale::Log) + value_at(lane, t, Scale::Log)) / 2.0;
                table.push((t, source + mean * (t - before)));
            }
        };
        reach(lane[0].t);
        for pair in lane.windows(2) {
            let (from, to) = (pair[0].t, pair[1].t);
            (1..=STEPS).for_each(|step| reach(from + (to - from) * f64::from(step) / f64::from(STEPS)));
        }
        Self { rate, table, last_rate: last.v }
    }

    /// Seconds of the source that have been played after `t` seconds.
    pub(crate) fn source_at(&self, t: f64) -> f64 {
        let Some(&(end, reached)) = self.table.last() else { return t * self.rate };
        if t >= end || self.table.len() < 2 {
            return reached + (t - end) * self.last_rate;
        }
        let next = self.table.partition_point(|(at, _)| *at <= t).clamp(1, self.table.len() - 1);
        line(self.table[next - 1], self.table[next], t)
    }

    /// Seconds after which `source` seconds of the source have been played.
    pub(crate) fn time_at(&self, source: f64) -> f64 {
        let Some(&(end, reached)) = self.table.last() else { return source / self.rate };
        if source >= reached || self.table.len() < 2 {
            return end + (source - reached) / self.last_rate;
        }
        let next = self.table.partition_point(|(_, at)| *at <= source).clamp(1, self.table.len() - 1);
        let swap = |(a, b): (f64, f64)| (b, a);
        line(swap(self.table[next - 1]), swap(self.table[next]), source)
    }

    /// Cuts `timing` into stretches with one rate each; none where the rate is constant. Stretches that begin after the
    /// end of the source, `source` in seconds, are omitted.
    pub(crate) fn stretches(&self, timing: &MediaTiming, source: Option<f64>) -> Vec<MediaTiming> {
        if self.table.is_empty() {
            return Vec::new();
        }
        let length = timing.end - timing.start;
        let count = (length / STRETCH).ceil().clamp(1.0, MAX_STRETCHES);
        let step = length / count;
        (0..count as u32)
            .map(|number| {
                let (from, to) = (f64::from(number) * step, f64::from(number + 1) * step);
                let (first, last) = (self.source_at(from), self.source_at(to));
                MediaTiming {
                    start: timing.start + from,
                    end: timing.start + to,
                    media_start: timing.media_start + first,
                    rate: ((last - first) / step).clamp(0.1, 5.0),
                    looped: false,
                }
            })
            .take_while(|stretch| source.is_none_or(|source| stretch.media_start < source - 1e-3))
            .collect()
    }
}

fn line(from: (f64, f64), to: (f64, f64), at: f64) -> f64 {
    from.1 + (to.1 - from.1) * (at - from.0) / (to.0 - from.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn point(t: f64, v: f64) -> LanePoint {
        LanePoint { t, v, ..LanePoint::default() }
    }

    #[test]
    fn the_source_moves_with_the_lane() {
        let speed = Speed::new(1.0, &[point(1.0, 2.0), point(3.0, 2.0), point(4.0, 0.5)]);
        assert!((speed.source_at(2.0) - 4.0).abs() < 1e-9);
        // From 2 to 1/2 in a second on a logarithmic line: (2 - 1/2) / ln 4.
        assert!((speed.source_at(4.0) - (6.0 + 1.5 / 4.0_f64.ln())).abs() < 1e-3);
        for t in [0.3, 2.0, 3.7, 6.0] {
            assert!((speed.time_at(speed.source_at(t)) - t).abs() < 1e-9, "{t}");
        }
        let still = Speed::new(1.5, &[]);
        assert_eq!((still.source_at(2.0), still.time_at(3.0)), (3.0, 2.0));
        // A lane of one point at 0, before which a damaged source may end.
        assert_eq!(Speed::new(1.0, &[point(0.0, 2.0)]).time_at(-3.0), -1.5);
    }

    #[test]
    fn stretches_follow_each_other_in_both_times() {
        let speed = Speed::new(1.0, &[point(0.0, 0.5), point(2.0, 2.0)]);
        let timing = MediaTiming { start: 1.0, end: 3.1, media_start: 0.2, rate: 1.0, looped: false };
        let stretches = speed.stretches(&timing, Some(60.0));
        assert_eq!(stretches.len(), 9);
        assert_eq!((stretches[0].start, stretches[0].media_start), (1.0, 0.2));
        assert!((stretches[8].end - 3.1).abs() < 1e-9);
        for pair in stretches.windows(2) {
            assert!((pair[0].end - pair[1].start).abs() < 1e-9);
            let reached = pair[0].media_start + (pair[0].end - pair[0].start) * pair[0].rate;
            assert!((reached - pair[1].media_start).abs() < 1e-9);
        }
        assert!(speed.stretches(&timing, Some(1.0)).len() < 9);
    }
}
