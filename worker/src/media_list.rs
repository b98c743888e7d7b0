//! From what the page says about its media to what the plan needs.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyperfarm_media::MediaInfo;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::plan::{AudioItem, GainPoint, MediaTiming, VideoItem, Warning};
use serde::Deserialize;

use crate::host::ProbedMedia;
use crate::server::{decode_path, path_of};

/// The media of a plan.
#[derive(Debug, Default)]
pub(crate) struct MediaList {
    pub(crate) videos: Vec<VideoItem>,
    pub(crate) audio: Vec<AudioItem>,
}

/// Playback rates outside are clamped, as the page's own player does.
const RATES: std::ops::RangeInclusive<f64> = 0.1..=5.0;

/// Resolves every element against the project's files. `locate` answers where a path's bytes lie on this machine. Blocking:
/// opens each source.
pub(crate) fn resolve(
    media: &[ProbedMedia],
    duration: f64,
    locate: &dyn Fn(&str) -> Option<PathBuf>,
    warnings: &mut Vec<Warning>,
) -> Result<MediaList, Failure> {
    let mut list = MediaList::default();
    let mut probed: BTreeMap<String, MediaInfo> = BTreeMap::new();
    for element in media {
        let encoded = path_of(&element.src).split(['?', '#']).next().unwrap_or_default();
        let path = decode_path(encoded).unwrap_or_else(|| encoded.to_owned());
        let Some(file) = locate(&path) else {
            if !element.src.is_empty() {
                warnings.push(warning(
                    "MEDIA_NOT_FOUND",
                    format!("{} \"{}\": the project has no {path}", element.kind, element.id),
                ));
            }
            continue;
        };
        if !probed.contains_key(&path) {
            let info = hyperfarm_media::probe(&file).map_err(|error| invalid(element, &path, &error.to_string()))?;
            probed.insert(path.clone(), info);
        }
        let Some(info) = probed.get(&path) else { continue };
        let Some(timing) = timing(element, info, duration, &path)? else { continue };
        let sounds = !element.muted && element.has_audio.as_deref() != Some("false") && info.audio.is_some();
        if element.kind == "video" {
            if info.video.is_none() {
                return Err(invalid(element, &path, "the file has no video stream"));
            }
            list.videos.push(VideoItem { id: element.id.clone(), path: path.clone(), timing: timing.clone() });
        } else if info.audio.is_none() {
            return Err(invalid(element, &path, "the file has no audio stream"));
        }
        if sounds {
            let gain = gain(element, &timing, warnings);
            list.audio.push(AudioItem { id: element.id.clone(), path, timing: clamp_to_source(timing, info), gain });
        }
    }
    Ok(list)
}

fn warning(code: &str, message: String) -> Warning {
    Warning { code: code.to_owned(), message }
}

fn invalid(element: &ProbedMedia, path: &str, reason: &str) -> Failure {
    Failure::new(FailureCode::MediaInvalid, format!("{} \"{}\" ({path}): {reason}", element.kind, element.id))
}

/// When the element plays within the composition; `None` where it never does.
fn timing(element: &ProbedMedia, info: &MediaInfo, duration: f64, path: &str) -> Result<Option<MediaTiming>, Failure> {
    // A video without a start is not on the timeline; the page shows it as it is.
    let Some(start) = element.start.filter(|_| element.timed || element.kind == "audio") else { return Ok(None) };
    let rate = element.rate.clamp(*RATES.start(), *RATES.end());
    // Sound may last longer than the pictures.
    let pictures = info.video.as_ref().filter(|_| element.kind == "video").and_then(|video| video.duration);
    let source = pictures.or(info.duration).unwrap_or(f64::INFINITY);
    if element.media_start >= source {
        return Err(invalid(
            element,
            path,
            &format!("it starts at second {} of a source that is {source:.3} s long", element.media_start),
        ));
    }
    let natural = if element.looped { f64::INFINITY } else { start + (source - element.media_start) / rate };
    // A video without times of its own plays while the timeline shows it.
    let (start, seen) = element.visible.map_or((start, None), |(from, to)| (from, Some(to)));
    let end = seen
        .or(element.end)
        .or(element.duration.filter(|seconds| *seconds > 0.0).map(|seconds| start + seconds))
        .unwrap_or(natural);
    let end = end.min(duration);
    if end <= start || start >= duration {
        return Ok(None);
    }
    Ok(Some(MediaTiming { start, end, media_start: element.media_start, rate, looped: element.looped }))
}

/// Sound ends with its source; a picture is held.
fn clamp_to_source(mut timing: MediaTiming, info: &MediaInfo) -> MediaTiming {
    if let (false, Some(source)) = (timing.looped, info.duration) {
        timing.end = timing.end.min(timing.start + (source - timing.media_start) / timing.rate);
    }
    timing
}

#[derive(Deserialize)]
struct Automation {
    #[serde(default)]
    lanes: Vec<Lane>,
}

#[derive(Deserialize)]
struct Lane {
    target: String,
    #[serde(default)]
    points: Vec<LanePoint>,
}

#[derive(Deserialize)]
struct LanePoint {
    /// Seconds from the element's start.
    t: f64,
    /// Linear gain.
    v: f64,
}

/// The element's gain: its volume lane, else its volume, with its fades.
fn gain(element: &ProbedMedia, timing: &MediaTiming, warnings: &mut Vec<Warning>) -> Vec<GainPoint> {
    let lane = element.automation.as_deref().and_then(|text| match serde_json::from_str::<Automation>(text) {
        Ok(automation) => automation.lanes.into_iter().find(|lane| lane.target == "volume"),
        Err(error) => {
            let message = format!("data-automation of \"{}\" cannot be read and was ignored: {error}", element.id);
            warnings.push(warning("AUTOMATION_INVALID", message));
            None
        }
    });
    let volume = element.volume.unwrap_or(1.0).clamp(0.0, 4.0);
    let mut points: Vec<GainPoint> = match lane {
        Some(lane) if !lane.points.is_empty() => lane
            .points
            .iter()
            .filter(|point| point.t.is_finite() && point.v.is_finite())
            .map(|point| GainPoint { time: timing.start + point.t, gain: point.v.clamp(0.0, 4.0) })
            .collect(),
        _ => vec![GainPoint { time: timing.start, gain: volume }],
    };
    points.sort_by(|a, b| a.time.total_cmp(&b.time));
    fade(points, element, timing)
}

/// Multiplies fades into a piecewise-linear gain. A product of two lines is no line, so fades are sampled finely.
fn fade(points: Vec<GainPoint>, element: &ProbedMedia, timing: &MediaTiming) -> Vec<GainPoint> {
    let (fade_in, fade_out) = (element.fade_in.max(0.0), element.fade_out.max(0.0));
    if fade_in == 0.0 && fade_out == 0.0 {
        return points;
    }
    let factor = |time: f64| {
        let rise = if fade_in > 0.0 { ((time - timing.start) / fade_in).clamp(0.0, 1.0) } else { 1.0 };
        let fall = if fade_out > 0.0 { ((timing.end - time) / fade_out).clamp(0.0, 1.0) } else { 1.0 };
        rise * fall
    };
    let steps = |from: f64, length: f64| (0..=32).map(move |step| from + length * f64::from(step) / 32.0);
    let mut times: Vec<f64> = points.iter().map(|point| point.time).collect();
    times.extend(steps(timing.start, fade_in.min(timing.end - timing.start)));
    times.extend(steps(timing.end - fade_out.min(timing.end - timing.start), fade_out));
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

    fn element() -> ProbedMedia {
        ProbedMedia {
            id: "a".to_owned(),
            kind: "audio".to_owned(),
            src: String::new(),
            start: Some(1.0),
            timed: true,
            duration: None,
            end: None,
            media_start: 0.0,
            rate: 1.0,
            volume: Some(0.5),
            fade_in: 0.0,
            fade_out: 0.0,
            automation: None,
            muted: false,
            has_audio: None,
            looped: false,
            visible: None,
        }
    }

    fn info(duration: f64) -> MediaInfo {
        MediaInfo { duration: Some(duration), video: None, audio: None, container: String::new() }
    }

    #[test]
    fn an_element_ends_with_its_source_or_with_the_composition() {
        let natural = timing(&element(), &info(2.0), 10.0, "a").unwrap().unwrap();
        assert_eq!((natural.start, natural.end), (1.0, 3.0));
        let cut = timing(&element(), &info(60.0), 10.0, "a").unwrap().unwrap();
        assert_eq!(cut.end, 10.0);
        let looped = ProbedMedia { looped: true, ..element() };
        assert_eq!(timing(&looped, &info(2.0), 10.0, "a").unwrap().unwrap().end, 10.0);
        let late = ProbedMedia { start: Some(11.0), ..element() };
        assert!(timing(&late, &info(2.0), 10.0, "a").unwrap().is_none());
    }

    #[test]
    fn an_offset_beyond_the_source_is_the_users_failure() {
        let beyond = ProbedMedia { media_start: 5.0, ..element() };
        let failure = timing(&beyond, &info(2.0), 10.0, "m/a.mp3").unwrap_err();
        assert_eq!(failure.code, FailureCode::MediaInvalid);
        assert!(failure.message.contains("m/a.mp3") && failure.message.contains("second 5"), "{failure}");
    }

    #[test]
    fn lanes_replace_the_volume_and_fades_multiply() {
        let ducked = ProbedMedia {
            automation: Some(
                r#"{"version":1,"lanes":[{"target":"volume","points":[{"t":0,"v":0.8},{"t":2,"v":0.2}]}]}"#.to_owned(),
            ),
            ..element()
        };
        let span = MediaTiming { start: 1.0, end: 5.0, media_start: 0.0, rate: 1.0, looped: false };
        let points = gain(&ducked, &span, &mut Vec::new());
        assert_eq!(points, [GainPoint { time: 1.0, gain: 0.8 }, GainPoint { time: 3.0, gain: 0.2 }]);
        let faded = ProbedMedia { fade_in: 1.0, fade_out: 1.0, ..element() };
        let points = gain(&faded, &span, &mut Vec::new());
        for (time, expected) in [(1.0, 0.0), (1.5, 0.25), (3.0, 0.5), (4.5, 0.25), (5.0, 0.0)] {
            assert!((gain_at(&points, time) - expected).abs() < 1e-3, "{time}");
        }
    }
}
