//! Lanes of `data-automation`: values at points in time, and the curves between them.

use serde::Deserialize;
use serde_json::Value;

/// Most points of a lane that are read, as by the HyperFrames runtime.
const MAX_POINTS: usize = 512;

/// A point of a lane. The segment to the next point is a line unless it is bent.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct LanePoint {
    /// Seconds from the element's start.
    pub(crate) t: f64,
    /// Value.
    pub(crate) v: f64,
    /// Bend of the segment from -1 to 1; 0 is a line.
    pub(crate) curve: f64,
    /// Point through which the segment passes, as shares of its time and its value.
    pub(crate) via: Option<(f64, f64)>,
}

/// How values between two points are interpolated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scale {
    Linear,
    Log,
}

/// The content of `data-automation`.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Automation {
    /// The lane of the volume, a linear gain.
    pub(crate) volume: Vec<LanePoint>,
    /// The lane of the playback rate.
    pub(crate) rate: Vec<LanePoint>,
    /// Lanes of effect parameters as JSON for the code of the effects; empty without any.
    pub(crate) effects: String,
}

#[derive(Deserialize)]
struct Text {
    version: Value,
    lanes: Vec<Lane>,
}

#[derive(Deserialize)]
struct Lane {
    target: String,
    points: Vec<Value>,
}

/// Largest gain that an author can set: 12 dB.
pub(crate) const MAX_GAIN: f64 = 3.981_071_705_534_972;

/// Most bytes of an attribute with lanes or effects.
pub(super) const MAX_TEXT: usize = 1024 * 1024;

impl Automation {
    /// Reads the attribute. The error is a text for its author.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        if text.len() > MAX_TEXT {
            return Err(format!("it has {} bytes, and may have {MAX_TEXT}", text.len()));
        }
        let text: Text = serde_json::from_str(text).map_err(|error| error.to_string())?;
        if text.version != 1 {
            return Err(format!("version {} is unknown, version 1 is", text.version));
        }
        let mut automation = Self::default();
        let mut effects = Vec::new();
        for lane in text.lanes {
            match lane.target.as_str() {
                "volume" => automation.volume = points(&lane.points, 0.0, MAX_GAIN),
                "rate" => automation.rate = points(&lane.points, 0.1, 10.0),
                target if target.split('.').count() == 3 && target.starts_with("fx.") => {
                    effects.push(serde_json::json!({ "target": target, "points": lane.points }));
                }
                target => {
                    return Err(format!("it has a lane of {target:?}; volume, rate and fx.<node>.<parameter> are"));
                }
            }
        }
        if !effects.is_empty() {
            automation.effects = serde_json::json!({ "version": 1, "lanes": effects }).to_string();
        }
        Ok(automation)
    }
}

/// The readable points in order of time. Of two at one time the later one is taken.
fn points(values: &[Value], least: f64, most: f64) -> Vec<LanePoint> {
    let mut points: Vec<LanePoint> = values
        .iter()
        .filter_map(|value| {
            let number = |name| number_of(value.get(name));
            let via = number("viaX").zip(number("viaY")).map(|(x, y)| (x.clamp(0.001, 0.999), y.clamp(0.001, 0.999)));
            Some(LanePoint {
                t: number("t")?.max(0.0),
                v: number("v")?.clamp(least, most),
                curve: number("curve").unwrap_or(0.0).clamp(-1.0, 1.0),
                // A point on the diagonal gives a line.
                via: via.filter(|(x, y)| (x - y).abs() >= 1e-6),
            })
        })
        .collect();
    points.sort_by(|a, b| a.t.total_cmp(&b.t));
    let mut single: Vec<LanePoint> = Vec::new();
    for point in points {
        match single.last_mut() {
            Some(last) if last.t == point.t => *last = point,
            _ => single.push(point),
        }
    }
    single.truncate(MAX_POINTS);
    single
}

fn number_of(value: Option<&Value>) -> Option<f64> {
    let number = match value? {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    };
    number.filter(|number| number.is_finite())
}

/// The lane's value at second `t`. It is constant before the first and after the last point. `points` is not empty.
pub(crate) fn value_at(points: &[LanePoint], t: f64, scale: Scale) -> f64 {
    let next = points.partition_point(|point| point.t <= t);
    let (from, to) = match (next.checked_sub(1).and_then(|at| points.get(at)), points.get(next)) {
        (Some(from), Some(to)) => (from, to),
        (Some(only), None) | (None, Some(only)) => return only.v,
        (None, None) => return 1.0,
    };
    let share = bend((t - from.t) / (to.t - from.t), from);
    match scale {
        Scale::Log if from.v > 0.0 && to.v > 0.0 => from.v * (to.v / from.v).powf(share),
        _ => from.v + (to.v - from.v) * share,
    }
}

/// The share of the value's change at `share` of the segment's time.
fn bend(share: f64, point: &LanePoint) -> f64 {
    match point.via {
        Some((x, y)) => conic(share, x, y),
        None if point.curve != 0.0 => share.powf(4.0_f64.powf(point.curve)),
        None => share,
    }
}

/// The conic from (0, 0) to (1, 1) that passes (x, y) in its middle: a rational quadratic Bézier curve with one control
/// point and a weight just large enough to keep that point inside the square.
fn conic(share: f64, x: f64, y: f64) -> f64 {
    let weight_for = |at: f64| {
        let off = at - 0.5;
        if off > 0.0 {
            off / (0.999 - at)
        } else if off < 0.0 {
            off / (0.001 - at)
        } else {
            0.0
        }
    };
    let weight = weight_for(x).max(weight_for(y)).clamp(1.0, 1e6);
    let control = |at: f64| at + (at - 0.5) / weight;
    let along = |u: f64, control: f64| {
        let middle = 2.0 * weight * u * (1.0 - u);
        (middle * control + u * u) / ((1.0 - u) * (1.0 - u) + middle + u * u)
    };
    // Time increases along the curve, so bisection finds the position.
    let (mut low, mut high) = (0.0, 1.0);
    for _ in 0..60 {
        let half = (low + high) / 2.0;
        if along(half, control(x)) < share {
            low = half;
        } else {
            high = half;
        }
    }
    along((low + high) / 2.0, control(y))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lane(text: &str) -> Vec<LanePoint> {
        Automation::parse(&format!(r#"{{"version":1,"lanes":[{{"target":"volume","points":{text}}}]}}"#))
            .unwrap()
            .volume
    }

    #[test]
    fn values_between_points() {
        let points = lane(r#"[{"t":2,"v":1},{"t":1,"v":0},{"t":1,"v":"0.5"},{"v":3}]"#);
        assert_eq!(points.len(), 2);
        assert_eq!([0.0, 1.5, 9.0].map(|t| value_at(&points, t, Scale::Linear)), [0.5, 0.75, 1.0]);
        assert!((value_at(&points, 1.5, Scale::Log) - 0.5_f64.sqrt()).abs() < 1e-9);
        let bent = lane(r#"[{"t":0,"v":0,"curve":0.5},{"t":1,"v":1}]"#);
        assert!((value_at(&bent, 0.5, Scale::Linear) - 0.25).abs() < 1e-9);
    }

    #[test]
    fn a_bent_segment_passes_its_via_point() {
        for (x, y) in [(0.2, 0.8), (0.7, 0.1), (0.5, 0.95)] {
            let points = lane(&format!(r#"[{{"t":0,"v":0,"viaX":{x},"viaY":{y}}},{{"t":1,"v":1}}]"#));
            assert!((value_at(&points, x, Scale::Linear) - y).abs() < 1e-3, "{x} {y}");
            assert!(
                value_at(&points, 1e-6, Scale::Linear) < 0.05 && value_at(&points, 0.999_999, Scale::Linear) > 0.95
            );
        }
    }

    #[test]
    fn what_cannot_be_read_is_refused() {
        for text in ["", "[]", r#"{"version":2,"lanes":[]}"#, r#"{"version":1,"lanes":[{"target":"x","points":[]}]}"#] {
            assert!(Automation::parse(text).is_err(), "{text}");
        }
        let effects = r#"{"version":1,"lanes":[{"target":"fx.a.gain","points":[{"t":0,"v":1}]}]}"#;
        assert!(Automation::parse(effects).unwrap().effects.contains("fx.a.gain"));
    }
}
