//! Media elements: their ids, starts and ends, with lengths from the files.

use std::collections::{BTreeMap, BTreeSet};

use dom_query::{Document, NodeRef};
use hyperfarm_media::MediaInfo;
use hyperfarm_proto::plan::Warning;
use serde_json::{Map, Value};

use super::dom::{all, trimmed, within};
use super::project::Project;
use super::{paths, variables};

/// Seconds by which the declared duration of a sound may exceed its length.
const TOLERANCE: f64 = 0.05;

/// Adds ids and times to the page's media elements, and removes attributes that delay their loading.
pub(super) fn complete(
    document: &Document,
    project: &Project<'_>,
    mounts: &BTreeMap<String, Map<String, Value>>,
    overrides: &Map<String, Value>,
    warnings: &mut Vec<Warning>,
) {
    for element in all(document, "video, audio, img, iframe") {
        element.remove_attr("crossorigin");
        if trimmed(element, "preload").is_some_and(|preload| preload.eq_ignore_ascii_case("none")) {
            element.remove_attr("preload");
        }
        if trimmed(element, "loading").is_some_and(|loading| loading.eq_ignore_ascii_case("lazy")) {
            element.remove_attr("loading");
        }
    }
    let mut sources = MediaFiles { project, probed: BTreeMap::new() };
    let mut ids: BTreeSet<String> =
        all(document, "[id]").into_iter().filter_map(|element| trimmed(element, "id")).collect();
    for kind in ["video", "audio"] {
        let mut number = 0;
        for element in all(document, kind) {
            if trimmed(element, "id").is_none() {
                let mut id = format!("hf-{kind}-{number}");
                while !ids.insert(id.clone()) {
                    number += 1;
                    id = format!("hf-{kind}-{number}");
                }
                number += 1;
                element.set_attr("id", &id);
            }
            let source = variables::bound_source(element, mounts, overrides).or_else(|| source_of(element));
            add_times(element, kind, source.as_deref(), &mut sources, warnings);
        }
    }
    add_render_ids(document);
}

/// Adds an id for the render to each media element, which is unique also where a file is mounted twice.
fn add_render_ids(document: &Document) {
    let mut taken = BTreeSet::new();
    // By the id of an element, the number of the last one that has it.
    let mut numbers: BTreeMap<String, u32> = BTreeMap::new();
    for element in all(document, "video, audio, img[src]") {
        let base = trimmed(element, "id").unwrap_or_else(|| format!("hf-media-{}", taken.len()));
        let mut name = base.clone();
        let number = numbers.entry(base.clone()).or_insert(1);
        while !taken.insert(name.clone()) {
            *number += 1;
            name = format!("{base}__hf{number}");
        }
        element.set_attr("data-hf-render-id", &name);
    }
}

/// The source of a media element.
fn source_of(element: NodeRef<'_>) -> Option<String> {
    trimmed(element, "src")
        .or_else(|| within(element, "source[src]").into_iter().next().and_then(|source| trimmed(source, "src")))
}

/// Adds start, duration and end to a media element.
fn add_times(
    element: NodeRef<'_>,
    kind: &str,
    source: Option<&str>,
    sources: &mut MediaFiles<'_, '_>,
    warnings: &mut Vec<Warning>,
) {
    if !element.has_attr("data-start") {
        element.set_attr("data-start", "0");
        element.set_attr("data-hf-auto-start", "");
    }
    if kind == "video" && !element.has_attr("data-has-audio") {
        element.set_attr("data-has-audio", if element.has_attr("muted") { "false" } else { "true" });
    }
    let start = seconds(element, "data-start");
    let declared = seconds(element, "data-duration");
    let mut natural = || natural_duration(element, sources.info(source?)?);
    if let Some(declared) = declared {
        let longest = (kind == "audio" && !element.has_attr("loop")).then(&mut natural).flatten();
        let length = match longest {
            Some(longest) if declared > longest + TOLERANCE => {
                warnings.push(Warning {
                    code: "AUDIO_SHORTER".to_owned(),
                    message: format!(
                        "audio \"{}\" ({}) is {longest:.2} s long and its data-duration is {declared} s; it ends with its source",
                        trimmed(element, "id").unwrap_or_default(),
                        source.unwrap_or_default()
                    ),
                });
                element.set_attr("data-duration", &longest.to_string());
                set_end(element, start, longest, true);
                return;
            }
            _ => declared,
        };
        set_end(element, start, length, false);
    } else if let (Some(end), Some(start)) = (seconds(element, "data-end"), start) {
        if end > start {
            element.set_attr("data-duration", &(end - start).to_string());
        }
    } else if let Some(length) = natural() {
        element.set_attr("data-duration", &length.to_string());
        set_end(element, start, length, false);
        if element.has_attr("data-var-src") {
            element.set_attr("data-hf-inferred-duration", "");
        }
    }
}

/// Sets the end of an element with a known start.
fn set_end(element: NodeRef<'_>, start: Option<f64>, length: f64, replace: bool) {
    if let Some(start) = start
        && (replace || !element.has_attr("data-end"))
    {
        element.set_attr("data-end", &(start + length).to_string());
    }
}

/// Seconds of the composition that the source lasts from its offset, at its rate; `None` where the rate changes.
fn natural_duration(element: NodeRef<'_>, info: &MediaInfo) -> Option<f64> {
    if trimmed(element, "data-automation").is_some_and(|lanes| lanes.to_ascii_lowercase().contains("rate")) {
        return None;
    }
    let length = info.duration.filter(|length| length.is_finite() && *length > 0.0)?;
    let offset = ["data-playback-start", "data-media-start"]
        .iter()
        .find_map(|name| seconds(element, name).filter(|offset| *offset >= 0.0))
        .unwrap_or(0.0);
    let rate = seconds(element, "data-playback-rate").filter(|rate| *rate > 0.0).unwrap_or(1.0).clamp(0.1, 10.0);
    let left = (length - offset).max(0.0) / rate;
    (left > 0.0).then_some(left)
}

fn seconds(element: NodeRef<'_>, name: &str) -> Option<f64> {
    trimmed(element, name)?.parse().ok().filter(|seconds: &f64| seconds.is_finite())
}

/// Media files of the project, each probed once.
struct MediaFiles<'s, 'p> {
    project: &'s Project<'p>,
    probed: BTreeMap<String, Option<MediaInfo>>,
}

impl MediaFiles<'_, '_> {
    fn info(&mut self, source: &str) -> Option<&MediaInfo> {
        if paths::is_remote(source) {
            return None;
        }
        let path = paths::file_of(source);
        let file = self.project.files.get(&path)?;
        let probe = || self.project.services.probe(&file.hash, &path);
        self.probed
            .entry(path.clone())
            // A file that cannot be read is an error of the media list, which names the element.
            .or_insert_with(probe)
            .as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::bounds::Bounds;
    use crate::compile::services::LocalServices;

    fn completed(page: &str) -> String {
        let folder = tempfile::tempdir().unwrap();
        let services = LocalServices::in_folder(folder.path());
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        let project = Project { files: BTreeMap::new(), services: &services, bounds: &bounds };
        let document = Document::from(page);
        complete(&document, &project, &BTreeMap::new(), &Map::new(), &mut Vec::new());
        super::super::dom::body(&document).unwrap().inner_html().to_string()
    }

    #[test]
    fn media_get_ids_starts_and_ends() {
        let html = completed(
            "<video src=a.mp4 muted crossorigin preload=none></video><video id=v data-start=1.5 data-duration=2></video>",
        );
        assert!(
            html.contains("id=\"hf-video-0\" data-start=\"0\" data-hf-auto-start=\"\" data-has-audio=\"false\""),
            "{html}"
        );
        assert!(!html.contains("crossorigin") && !html.contains("preload"), "{html}");
        assert!(html.contains("data-has-audio=\"true\" data-end=\"3.5\" data-hf-render-id=\"v\""), "{html}");
        let html = completed(
            "<audio id=s data-start=1 data-end=4></audio><template><audio id=s data-start=2></audio></template>",
        );
        assert!(html.contains("data-duration=\"3\" data-hf-render-id=\"s\""), "{html}");
        assert!(html.contains("data-start=\"2\" data-hf-render-id=\"s__hf2\""), "{html}");
    }

    #[test]
    fn natural_lengths_follow_offset_and_rate() {
        let info = MediaInfo { duration: Some(10.0), video: None, audio: None, container: String::new() };
        let length = |attributes: &str| {
            let document = Document::from(format!("<audio {attributes}></audio>"));
            natural_duration(all(&document, "audio")[0], &info)
        };
        assert_eq!(length(""), Some(10.0));
        assert_eq!(length("data-media-start=4 data-playback-rate=2"), Some(3.0));
        assert_eq!(length("data-media-start=11"), None);
        assert_eq!(length("data-automation='{\"lanes\":[{\"target\":\"rate\"}]}'"), None);
    }
}
