//! A storyboard with its narration and files as a project.

use bytes::Bytes;
use hyperfarm_proto::spec::Size;

use super::storyboard::{Layout, Scene, Storyboard};
use super::styles::{BASE, Style};
use crate::html::escaped;
use crate::intake::ProjectError;
use crate::intake::project::from_files;
use crate::presenter::MediaFile;

/// Frames a second of the agent's videos.
const FRAME_RATE: u32 = 30;

/// Seconds of a scene at least.
const LEAST: f64 = 3.0;

/// Seconds before and after what is said.
const PAUSE: f64 = 0.5;

/// Words a second, where nobody speaks them.
const READING: f64 = 2.5;

/// What is said in a scene.
#[derive(Debug, Clone)]
pub(crate) struct Narration {
    /// A WAV file.
    pub(crate) file: Bytes,
    /// Seconds.
    pub(crate) seconds: f64,
}

/// A film that is to be rendered.
#[derive(Debug)]
pub(crate) struct Film<'a> {
    pub(crate) storyboard: &'a Storyboard,
    pub(crate) style: &'a Style,
    pub(crate) size: Size,
    /// For each scene what is said.
    pub(crate) narrations: Vec<Option<Narration>>,
    /// The client's files, by their numbers.
    pub(crate) files: Vec<MediaFile>,
}

impl Film<'_> {
    /// The archive of its project. Equal films give equal archives.
    ///
    /// # Errors
    ///
    /// It cannot be packed.
    pub(crate) fn bundle(&self) -> Result<Bytes, ProjectError> {
        let page = self.page();
        let sounds = self.narrations.iter().enumerate();
        let sounds = sounds.filter_map(|(number, said)| Some((sound_name(number), &said.as_ref()?.file)));
        let shown = self.storyboard.scenes.iter().filter_map(|scene| scene.file);
        let shown: std::collections::BTreeSet<usize> = shown.collect();
        let media = shown.iter().filter_map(|number| {
            let file = self.files.get(*number)?;
            Some((media_name(*number, file), &file.bytes))
        });
        let others: Vec<(String, &Bytes)> = sounds.chain(media).collect();
        let mut files: Vec<(&str, &[u8])> = vec![("index.html", page.as_bytes())];
        files.extend(others.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        from_files(&files)
    }

    /// Seconds of a scene.
    fn seconds(&self, number: usize) -> f64 {
        let said = self.narrations.get(number).and_then(Option::as_ref).map(|said| said.seconds + 2.0 * PAUSE);
        let read = || {
            let scene = self.storyboard.scenes.get(number);
            let words = scene.map_or(0, |Scene { heading, lines, narration, .. }| {
                lines.iter().chain([heading, narration]).map(|text| text.split_whitespace().count()).sum()
            });
            words as f64 / READING
        };
        said.unwrap_or_else(read).max(LEAST)
    }

    fn page(&self) -> String {
        let Size { width, height } = self.size;
        let (mut scenes, mut tweens, mut at) = (String::new(), String::new(), 0.0);
        for (number, scene) in self.storyboard.scenes.iter().enumerate() {
            let seconds = self.seconds(number);
            scenes.push_str(&self.scene(number, scene, at, seconds));
            tweens.push_str(&format!("enter(\"#scene-{number}\", {at:.3});\n"));
            at += seconds;
        }
        let (shape, title) = (if width < height { "portrait" } else { "landscape" }, line(&self.storyboard.title));
        let (unit, css) = (width.min(height), self.style.css);
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<title>{title}</title>
<script src="https://cdn.jsdelivr.net/npm/gsap@3/dist/gsap.min.js"></script>
<style>
{BASE}
#root {{ width: {width}px; height: {height}px; --unit: {unit}; }}
{css}</style>
</head>
<body>
<div id="root" class="{shape}" data-composition-id="main" data-width="{width}" data-height="{height}" data-start="0" data-duration="{at:.3}" data-fps="{FRAME_RATE}">
{scenes}</div>
<script>
const timeline = gsap.timeline({{ paused: true }});
const enter = (scene, at) => {{
  const rule = document.querySelector(`${{scene}} .rule`);
  if (rule) timeline.from(rule, {{ scaleX: 0, duration: 0.5, ease: "power2.out" }}, at + 0.1);
  timeline.from(`${{scene}} .in`, {{ opacity: 0, y: {rise}, duration: 0.6, stagger: 0.18, ease: "power3.out" }}, at + 0.2);
}};
{tweens}window.__timelines = {{ main: timeline }};
</script>
</body>
</html>
"#,
            rise = unit / 22,
        )
    }

    fn scene(&self, number: usize, scene: &Scene, at: f64, seconds: f64) -> String {
        // The fewer the words, the larger they are.
        let letters = scene.heading.chars().count().max(1) as f64;
        let across = f64::from(self.size.width) / f64::from(self.size.width.min(self.size.height));
        let fading = |largest: f64| largest * (24.0 / letters.max(24.0)).sqrt();
        let (class, scale) = match scene.layout {
            Layout::Title => ("title", fading(0.15)),
            Layout::Points => ("points", fading(0.11)),
            // On one line: a letter is about three quarters as wide as it is high.
            Layout::Number => ("number", (0.82 * across / (0.75 * letters)).min(0.36)),
            Layout::Quote => ("quote", fading(0.105)),
            Layout::Media => ("media", fading(0.09)),
        };
        let heading = line(&scene.heading);
        let rule = if scene.layout == Layout::Number { "" } else { "<div class=\"rule\"></div>\n" };
        let lines: Vec<String> = scene.lines.iter().map(|text| line(text)).collect();
        let words = match scene.layout {
            _ if lines.is_empty() => String::new(),
            Layout::Points => {
                format!(
                    "<ul>{}</ul>\n",
                    lines.iter().map(|line| format!("<li class=\"in\">{line}</li>")).collect::<String>()
                )
            }
            _ => lines.iter().map(|line| format!("<p class=\"in\">{line}</p>\n")).collect(),
        };
        let times = format!("data-start=\"{at:.3}\" data-duration=\"{seconds:.3}\"");
        let picture = scene.file.and_then(|file| Some((file, self.files.get(file)?))).map(|(file, media)| {
            let name = media_name(file, media);
            if media.is_video() {
                format!("<video class=\"picture\" id=\"media-{number}\" src=\"{name}\" muted loop {times}></video>\n")
            } else {
                format!("<img class=\"picture in\" src=\"{name}\" alt=\"\" />\n")
            }
        });
        let sound = self.narrations.get(number).and_then(Option::as_ref).map(|said| {
            format!(
                "<audio id=\"said-{number}\" src=\"{}\" data-start=\"{:.3}\" data-duration=\"{:.3}\" data-track-index=\"1\"></audio>\n",
                sound_name(number),
                at + PAUSE,
                said.seconds
            )
        });
        format!(
            "<section class=\"clip scene {class}\" id=\"scene-{number}\" {times} data-track-index=\"0\" style=\"--scale: {scale:.4}\">\n\
             {rule}<h1 class=\"in\">{heading}</h1>\n{words}{}</section>\n{}",
            picture.unwrap_or_default(),
            sound.unwrap_or_default()
        )
    }
}

fn sound_name(number: usize) -> String {
    format!("said-{number}.wav")
}

fn media_name(number: usize, file: &MediaFile) -> String {
    format!("media-{number}{}", file.extension)
}

/// A line of text in HTML.
fn line(text: &str) -> String {
    escaped(&text.split_whitespace().collect::<Vec<_>>().join(" "))
}
