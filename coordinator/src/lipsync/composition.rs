//! A video with a new sound as a project.

use bytes::Bytes;
use hyperfarm_proto::spec::Size;

use super::times::Times;
use crate::intake::ProjectError;
use crate::intake::project::from_files;
use crate::presenter::{MediaFile, SpokenSound, SpokenWord, captions};

/// Hertz below which nothing is speech.
const RUMBLE: u32 = 80;

/// A video with a new sound that is to be made.
#[derive(Debug)]
pub(crate) struct Dub {
    /// The video.
    pub(crate) clip: MediaFile,
    /// Whether the video has a sound of its own.
    pub(crate) has_sound: bool,
    /// What an engine has made of the part with the new sound: as long as the part is in the output.
    pub(crate) moved: Option<MediaFile>,
    /// The new sound, whose length is known.
    pub(crate) sound: SpokenSound,
    /// Size of the picture.
    pub(crate) size: Size,
    pub(crate) times: Times,
    /// Whether the new sound is cleared of what is no speech.
    pub(crate) is_enhanced: bool,
    pub(crate) has_watermark: bool,
}

impl Dub {
    /// The archive of its project. Equal ones give equal archives.
    ///
    /// # Errors
    ///
    /// It cannot be packed.
    pub(crate) fn bundle(&self) -> Result<Bytes, ProjectError> {
        let page = self.page();
        let (clip, sound) = (self.clip_name(), self.sound_name());
        let moved = self.moved.as_ref().map(|file| (moved_name(file), &file.bytes));
        let mut files: Vec<(&str, &[u8])> = vec![("index.html", page.as_bytes()), (&sound, &self.sound.file.bytes)];
        // The engine may have made all of the picture.
        if self.moved.is_none() || self.times.start > 0.0 || self.times.after() > 0.0 {
            files.push((&clip, &self.clip.bytes));
        }
        files.extend(moved.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        from_files(&files)
    }

    /// The words of the new sound that are heard, by the seconds of the output.
    pub(crate) fn words(&self) -> Vec<SpokenWord> {
        let Times { start, length, .. } = self.times;
        let heard = self.sound.words.iter().filter(|word| word.start < length);
        let moved = heard.map(|word| SpokenWord {
            start: start + word.start,
            end: start + word.end.min(length),
            ..word.clone()
        });
        moved.collect()
    }

    fn clip_name(&self) -> String {
        format!("video{}", self.clip.extension)
    }

    fn sound_name(&self) -> String {
        format!("audio{}", self.sound.file.extension)
    }

    fn page(&self) -> String {
        let Size { width, height } = self.size;
        let Times { start, end, length, rate, .. } = self.times;
        let (clip, total, unit) = (self.clip_name(), self.times.total(), width.min(height));
        let muted = if self.has_sound { "" } else { " muted" };
        let mut elements = String::new();
        let mut film = |id: &str, name: &str, at: f64, lasts: f64, more: &str| {
            elements.push_str(&format!(
                "<video id=\"{id}\" class=\"clip film\" src=\"{name}\" playsinline data-start=\"{at:.6}\" \
                 data-duration=\"{lasts:.6}\" data-track-index=\"0\"{more}></video>\n"
            ));
        };
        if start > 0.0 {
            film("before", &clip, 0.0, start, muted);
        }
        match &self.moved {
            Some(file) => film("part", &moved_name(file), start, length, " muted"),
            None => {
                let times = format!(" muted data-media-start=\"{start:.6}\" data-playback-rate=\"{rate:.9}\"");
                film("part", &clip, start, length, &times);
            }
        }
        if self.times.after() > 0.0 {
            let times = format!("{muted} data-media-start=\"{end:.6}\"");
            film("after", &clip, start + length, self.times.after(), &times);
        }
        let heard = self.sound.seconds.map_or(length, |seconds| seconds.min(length));
        let effects = if self.is_enhanced {
            format!(
                " data-fx-chain='{{\"version\":1,\"nodes\":[{{\"type\":\"highpass\",\"params\":{{\"frequency\":{RUMBLE}}}}}]}}'"
            )
        } else {
            String::new()
        };
        elements.push_str(&format!(
            "<audio id=\"sound\" src=\"{}\" data-start=\"{start:.6}\" data-duration=\"{heard:.6}\" \
             data-track-index=\"1\"{effects}></audio>\n",
            self.sound_name()
        ));
        elements.push_str(&captions::elements(&self.words(), false));
        if self.has_watermark {
            elements.push_str("<p class=\"watermark\">hyperfarm</p>\n");
        }
        format!(
            r#"<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8" />
<title>Lipsync</title>
<style>
* {{ margin: 0; padding: 0; box-sizing: border-box; }}
html, body, #root {{ width: {width}px; height: {height}px; overflow: hidden; background: #000; }}
#root {{ position: relative; }}
.film {{ position: absolute; left: 0; top: 0; width: 100%; height: 100%; object-fit: cover; }}
.watermark {{
  position: absolute; right: 3%; bottom: 3%; color: rgba(255, 255, 255, 0.7); text-shadow: 0 0 0.3em rgba(0, 0, 0, 0.8);
  font: 600 calc({unit}px * 0.04) / 1 Inter, sans-serif;
}}
</style>
</head>
<body>
<div id="root" data-composition-id="main" data-width="{width}" data-height="{height}" data-start="0" data-duration="{total:.6}" data-no-timeline data-stateless>
{elements}</div>
</body>
</html>
"#
        )
    }
}

fn moved_name(file: &MediaFile) -> String {
    format!("moved{}", file.extension)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(extension: &'static str, bytes: &'static [u8]) -> MediaFile {
        MediaFile { extension, bytes: Bytes::from_static(bytes) }
    }

    fn dub(times: Times) -> Dub {
        let word =
            |word: &str, start: f64| SpokenWord { word: word.to_owned(), start, end: start + 1.0, phonemes: None };
        let words = vec![word("Hello", 0.0), word("there.", 1.5), word("Late.", 9.0)];
        Dub {
            clip: file(".mp4", b"clip"),
            has_sound: true,
            moved: None,
            sound: SpokenSound { file: file(".wav", b"sound"), seconds: Some(5.0), words },
            size: Size { width: 640, height: 360 },
            times,
            is_enhanced: false,
            has_watermark: false,
        }
    }

    fn files(dub: &Dub) -> (Vec<String>, String) {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(dub.bundle().unwrap())).unwrap();
        let names = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        (names, std::io::read_to_string(archive.by_name("index.html").unwrap()).unwrap())
    }

    #[test]
    fn the_whole_video_is_played_as_long_as_the_sound() {
        let dub = dub(Times::new(4.0, (0.0, 4.0), 5.0, true));
        assert_eq!(dub.bundle().unwrap(), dub.bundle().unwrap());
        let (names, page) = files(&dub);
        assert_eq!(names, ["index.html", "audio.wav", "video.mp4"]);
        for part in [
            "data-width=\"640\" data-height=\"360\" data-start=\"0\" data-duration=\"5.000000\"",
            "<video id=\"part\" class=\"clip film\" src=\"video.mp4\" playsinline data-start=\"0.000000\" data-duration=\"5.000000\" \
             data-track-index=\"0\" muted data-media-start=\"0.000000\" data-playback-rate=\"0.800000000\">",
            "src=\"audio.wav\" data-start=\"0.000000\" data-duration=\"5.000000\"",
            "data-caption=\"Hello there.\"",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("before") && !page.contains("after") && !page.contains("Late."), "{page}");
        assert!(!page.contains("data-fx-chain") && !page.contains("<p"), "{page}");
    }

    #[test]
    fn what_is_around_a_part_keeps_its_sound() {
        let part = Dub { is_enhanced: true, has_watermark: true, ..dub(Times::new(10.0, (2.0, 4.0), 5.0, false)) };
        let (_, page) = files(&part);
        for part in [
            "data-duration=\"10.000000\" data-no-timeline",
            "<video id=\"before\" class=\"clip film\" src=\"video.mp4\" playsinline data-start=\"0.000000\" \
             data-duration=\"2.000000\" data-track-index=\"0\">",
            "data-start=\"2.000000\" data-duration=\"2.000000\" data-track-index=\"0\" muted data-media-start=\"2.000000\"",
            "data-start=\"4.000000\" data-duration=\"6.000000\" data-track-index=\"0\" data-media-start=\"4.000000\">",
            "src=\"audio.wav\" data-start=\"2.000000\" data-duration=\"2.000000\"",
            "\"frequency\":80",
            "<p class=\"watermark\">",
            "data-caption=\"Hello there.\"",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let words = part.words();
        assert_eq!((words.len(), words[1].start, words[1].end), (2, 3.5, 4.0));
        let (_, page) = files(&Dub { has_sound: false, ..part });
        assert_eq!(page.matches(" muted").count(), 3, "{page}");
    }

    #[test]
    fn what_an_engine_has_made_is_shown_at_its_own_speed() {
        let whole = Dub { moved: Some(file(".webm", b"moved")), ..dub(Times::new(4.0, (0.0, 4.0), 5.0, true)) };
        let (names, page) = files(&whole);
        assert_eq!(names, ["index.html", "audio.wav", "moved.webm"]);
        assert!(page.contains("src=\"moved.webm\"") && !page.contains("data-playback-rate"), "{page}");
        let part = Dub { times: Times::new(4.0, (1.0, 4.0), 5.0, true), ..whole };
        assert_eq!(files(&part).0, ["index.html", "audio.wav", "video.mp4", "moved.webm"]);
    }
}
