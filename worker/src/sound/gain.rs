//! The gain of a sound over time: volume, automation, scripts, fades.

use hyperfarm_proto::plan::{GainPoint, MediaTiming};

use super::lane::{Automation, LanePoint, MAX_GAIN, Scale, value_at};
use crate::host::ProbedMedia;

/// Points per second by which a curve is approximated.
const CURVE_POINTS: f64 = 30.0;
/// Most points of a curve, however long it is.
const MAX_CURVE_POINTS: f64 = 4096.0;

/// The gain of an element: its volume lane, else the volume that scripts set, else its volume; with its fades.
pub(crate) fn of_element(
    element: &ProbedMedia,
    timing: &MediaTiming,
    automation: &Automation,
    scripted: Option<&[GainPoint]>,
) -> Vec<GainPoint> {
    let volume = element.volume.unwrap_or(1.0).clamp(0.0, MAX_GAIN);
    let points = match scripted {
        _ if !automation.volume.is_empty() => lane_points(&automation.volume, timing.start),
        Some(scripted) if !scripted.is_empty() => scripted.to_vec(),
        _ => vec![GainPoint { time: timing.start, gain: volume }],
    };
    fade(points, element, timing)
}

/// The gain of a group. Its lane is in seconds of the composition.
pub(crate) fn of_group(volume: f64, automation: &Automation) -> Vec<GainPoint> {
    if automation.volume.is_empty() {
        return vec![GainPoint { time: 0.0, gain: volume.clamp(0.0, MAX_GAIN) }];
    }
    lane_points(&automation.volume, 0.0)
}

/// The lane as lines. A segment that is bent only by a `via` point stays a line, as in HyperFrames' own renderer.
fn lane_points(lane: &[LanePoint], start: f64) -> Vec<GainPoint> {
    let mut points = Vec::new();
    for (number, point) in lane.iter().enumerate() {
        points.push(GainPoint { time: start + point.t, gain: point.v });
        let Some(next) = lane.get(number + 1).filter(|_| point.curve != 0.0) else { continue };
        let steps = ((next.t - point.t) * CURVE_POINTS).ceil().clamp(2.0, MAX_CURVE_POINTS) as u32;
        points.extend((1..steps).map(|step| {
            let t = point.t + (next.t - point.t) * f64::from(step) / f64::from(steps);
            GainPoint { time: start + t, gain: value_at(lane, t, Scale::Linear) }
        }));
    }
    points
}

/// Multiplies a piecewise-linear gain by the fades. A product of two lines is not a line, so fades are sampled finely.
/// Fades that together are longer than the sound are shortened in proportion.
fn fade(points: Vec<GainPoint>, element: &ProbedMedia, timing: &MediaTiming) -> Vec<GainPoint> {
    let length = timing.end - timing.start;
    let (fade_in, fade_out) = (element.fade_in.max(0.0), element.fade_out.max(0.0));
    if fade_in + fade_out == 0.0 {
        return points;
    }
    let share = (length / (fade_in + fade_out)).min(1.0);
    let (fade_in, fade_out) = (fade_in * share, fade_out * share);
    let factor = |time: f64| {
        let rise = if fade_in > 0.0 { ((time - timing.start) / fade_in).clamp(0.0, 1.0) } else { 1.0 };
        let fall = if fade_out > 0.0 { ((timing.end - time) / fade_out).clamp(0.0, 1.0) } else { 1.0 };
        rise * fall
    };
    let steps = |from: f64, length: f64| (0..=32).map(move |step| from + length * f64::from(step) / 32.0);
    let mut times: Vec<f64> = points.iter().map(|point| point.time).collect();
    times.extend(steps(timing.start, fade_in));
    times.extend(steps(timing.end - fade_out, fade_out));
    times.retain(|time| (timing.start..=timing.end).contains(time));
    times.sort_by(f64::total_cmp);
    times.dedup();
    times.into_iter().map(|time| GainPoint { time, gain: gain_at(&points, time) * factor(time) }).collect()
}

fn gain_at(points: &[GainPoint], time: f64) -> f64 {
    let after = points.partition_point(|point| point.time <= time);
    match (after.checked_sub(1).and_then(|before| points.get(before)), points.get(after)) {
        (Some(before), Some(after)) => {
            let share = (time - before.time) / (after.time - before.time);
            before.gain + (after.gain - before.gain) * share
        }
        (Some(only), None) | (None, Some(only)) => only.gain,
        (None, None) => 1.0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::media_list::testing::element;

    const SPAN: MediaTiming = MediaTiming { start: 1.0, end: 5.0, media_start: 0.0, rate: 1.0, looped: false };

    fn lane(points: &str) -> Automation {
        Automation::parse(&format!(r#"{{"version":1,"lanes":[{{"target":"volume","points":{points}}}]}}"#)).unwrap()
    }

    #[test]
    fn a_lane_wins_over_scripts_and_scripts_over_the_volume() {
        let ducked = lane(r#"[{"t":0,"v":0.8},{"t":2,"v":0.2}]"#);
        let scripted = [GainPoint { time: 1.0, gain: 0.3 }];
        let points = of_element(&element(), &SPAN, &ducked, Some(&scripted));
        assert_eq!(points, [GainPoint { time: 1.0, gain: 0.8 }, GainPoint { time: 3.0, gain: 0.2 }]);
        assert_eq!(of_element(&element(), &SPAN, &Automation::default(), Some(&scripted)), scripted);
        assert_eq!(of_element(&element(), &SPAN, &Automation::default(), None)[0].gain, 0.5);
    }

    #[test]
    fn curves_are_followed() {
        let points = of_element(&element(), &SPAN, &lane(r#"[{"t":0,"v":0,"curve":0.5},{"t":2,"v":1}]"#), None);
        assert_eq!(points.len(), 61);
        assert!((gain_at(&points, 2.0) - 0.25).abs() < 1e-3);
        // Years long, it has no more points.
        let long = of_element(&element(), &SPAN, &lane(r#"[{"t":0,"v":0,"curve":0.5},{"t":1e308,"v":1}]"#), None);
        assert_eq!(long.len() as f64, MAX_CURVE_POINTS + 1.0);
    }

    #[test]
    fn fades_multiply_and_are_shortened_in_a_short_sound() {
        let faded = ProbedMedia { fade_in: 1.0, fade_out: 1.0, ..element() };
        let points = of_element(&faded, &SPAN, &Automation::default(), None);
        for (time, expected) in [(1.0, 0.0), (1.5, 0.25), (3.0, 0.5), (4.5, 0.25), (5.0, 0.0)] {
            assert!((gain_at(&points, time) - expected).abs() < 1e-3, "{time}");
        }
        let long = ProbedMedia { fade_in: 6.0, fade_out: 2.0, ..element() };
        let points = of_element(&long, &SPAN, &Automation::default(), None);
        for (time, expected) in [(2.5, 0.25), (4.0, 0.5), (4.5, 0.25)] {
            assert!((gain_at(&points, time) - expected).abs() < 1e-3, "{time}");
        }
    }
}
