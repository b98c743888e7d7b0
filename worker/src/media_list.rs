//! The media of a plan, resolved from the media elements of the page.

use std::collections::BTreeMap;
use std::path::PathBuf;

use hyperfarm_backplane::local_disk::exhausted_resource;
use hyperfarm_media::{Decoders, MediaError, MediaInfo};
use hyperfarm_proto::plan::{AudioItem, Buses, MediaTiming, VideoItem, Warning};
use tokio_util::sync::CancellationToken;

use crate::error::{ProjectError, WorkerError};
use crate::host::{ProbedMedia, ProbedSound};
use crate::sound::SoundCollector;
use crate::urls::{decode_path, without_origin};

/// The media of a plan.
#[derive(Debug, Default)]
pub(crate) struct MediaList {
    pub(crate) videos: Vec<VideoItem>,
    pub(crate) audio: Vec<AudioItem>,
    pub(crate) buses: Buses,
}

/// Playback rates are clamped to this range, as the page's player does.
const RATES: std::ops::RangeInclusive<f64> = 0.1..=5.0;

/// Resolves every element against the project's files. `locate` returns the local file of a path of the project. It
/// blocks, because it opens each source; it ends soon after `cancelled`.
pub(crate) fn resolve(
    media: &[ProbedMedia],
    sound: &ProbedSound,
    duration: f64,
    decoders: &Decoders,
    locate: &dyn Fn(&str) -> Option<PathBuf>,
    cancelled: &CancellationToken,
    warnings: &mut Vec<Warning>,
) -> Result<MediaList, WorkerError> {
    let mut list = MediaList::default();
    let mut sounds = SoundCollector::new(sound, duration);
    let mut probed: BTreeMap<String, MediaInfo> = BTreeMap::new();
    for element in media {
        if cancelled.is_cancelled() {
            return Err(WorkerError::Cancelled("plan"));
        }
        let encoded = without_origin(&element.src).split(['?', '#']).next().unwrap_or_default();
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
            let info = decoders.probe(&file, &path).map_err(|error| probe_error(element, &path, error))?;
            probed.insert(path.clone(), info);
        }
        let Some(info) = probed.get(&path) else { continue };
        let is_audible = sounds.is_audible(element);
        if element.kind == "video" {
            if let Some(timing) = timing(element, info, duration, &path)? {
                let Some(video) = &info.video else {
                    return Err(invalid(element, &path, "the file has no video stream").into());
                };
                list.videos.push(VideoItem {
                    id: element.id.clone(),
                    path: path.clone(),
                    timing,
                    scripted: element.scripted,
                    headers: video.headers(),
                });
            }
        } else if is_audible && info.audio.is_none() {
            return Err(invalid(element, &path, "the file has no audio stream").into());
        }
        // A video without a start is not on the timeline, nor is its sound.
        let is_placed = element.kind == "audio" || (element.timed && element.start.is_some());
        if is_audible && is_placed && info.audio.is_some() {
            check_media_start(element, info, &path)?;
            let rate = element.rate.clamp(*RATES.start(), *RATES.end());
            sounds.add(element, info, &path, rate, warnings)?;
        }
    }
    (list.audio, list.buses) = sounds.finish(warnings)?;
    Ok(list)
}

fn warning(code: &str, message: String) -> Warning {
    Warning { code: code.to_owned(), message }
}

/// The error of a source that cannot be probed: the source is at fault, unless the machine has no resources left.
fn probe_error(element: &ProbedMedia, path: &str, error: MediaError) -> WorkerError {
    match exhausted_resource(&error) {
        None => invalid(element, path, &error.to_string()).into(),
        Some(_) => WorkerError::from(error).about(format!("{} \"{}\" ({path})", element.kind, element.id)),
    }
}

fn invalid(element: &ProbedMedia, path: &str, reason: &str) -> ProjectError {
    ProjectError::Media(format!("{} \"{}\" ({path}): {reason}", element.kind, element.id))
}

/// When the element plays in the composition; `None` where it never does.
fn timing(
    element: &ProbedMedia,
    info: &MediaInfo,
    duration: f64,
    path: &str,
) -> Result<Option<MediaTiming>, ProjectError> {
    // A video without a start is not on the timeline.
    let Some(start) = element.start.filter(|_| element.timed || element.kind == "audio") else { return Ok(None) };
    let rate = element.rate.clamp(*RATES.start(), *RATES.end());
    let source = playable(element, info);
    if element.scripted {
        // Its pictures are numbered from the source's beginning, because scripts say which one shows.
        let end = if source.is_finite() { source } else { duration };
        return Ok(Some(MediaTiming { start: 0.0, end, media_start: 0.0, rate: 1.0, looped: false }));
    }
    check_media_start(element, info, path)?;
    let natural = if element.looped { f64::INFINITY } else { start + (source - element.media_start) / rate };
    // A video without times of its own plays while the timeline shows it.
    let (start, hidden_at) = element.visible.map_or((start, None), |(from, to)| (from, Some(to)));
    let end = hidden_at
        .or(element.end)
        .or(element.duration.filter(|seconds| *seconds > 0.0).map(|seconds| start + seconds))
        .unwrap_or(natural);
    let end = end.min(duration);
    if end <= start || start >= duration {
        return Ok(None);
    }
    Ok(Some(MediaTiming { start, end, media_start: element.media_start, rate, looped: element.looped }))
}

/// Seconds of the source that the element plays: of a video the length of its pictures, which may be shorter than that
/// of its sound.
fn playable(element: &ProbedMedia, info: &MediaInfo) -> f64 {
    let pictures = info.video.as_ref().filter(|_| element.kind == "video").and_then(|video| video.duration);
    pictures.or(info.duration).unwrap_or(f64::INFINITY)
}

fn check_media_start(element: &ProbedMedia, info: &MediaInfo, path: &str) -> Result<(), ProjectError> {
    let source = playable(element, info);
    if element.media_start >= source {
        return Err(invalid(
            element,
            path,
            &format!("it starts at second {} of a source that is {source:.3} s long", element.media_start),
        ));
    }
    Ok(())
}

/// Elements and sources for tests.
#[cfg(test)]
pub(crate) mod testing {
    use super::*;

    pub(crate) fn element() -> ProbedMedia {
        ProbedMedia {
            id: "a".to_owned(),
            kind: "audio".to_owned(),
            src: String::new(),
            start: Some(1.0),
            timed: true,
            scripted: false,
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

    pub(crate) fn info(duration: f64) -> MediaInfo {
        MediaInfo { duration: Some(duration), video: None, audio: None, container: String::new() }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::FailureCode;

    use super::testing::{element, info};
    use super::*;

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
    fn a_source_that_cannot_be_opened_for_want_of_files_is_not_the_authors_fault() {
        let open = |errno| MediaError::Open { path: "a.mp3".into(), source: std::io::Error::from_raw_os_error(errno) };
        let (missing, too_many_open_files) = (2, 24);
        assert_eq!(probe_error(&element(), "a.mp3", open(missing)).code(), FailureCode::MediaInvalid);
        let error = probe_error(&element(), "a.mp3", open(too_many_open_files));
        assert_eq!(error.code(), FailureCode::TooManyOpenFiles);
        assert!(error.to_string().contains("a.mp3"), "{error}");
    }

    #[test]
    fn an_offset_beyond_the_source_is_refused() {
        let beyond = ProbedMedia { media_start: 5.0, ..element() };
        let error = timing(&beyond, &info(2.0), 10.0, "m/a.mp3").unwrap_err();
        let text = error.to_string();
        assert!(text.contains("m/a.mp3") && text.contains("second 5"), "{text}");
    }
}
