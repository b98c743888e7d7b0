//! A video with a new sound as a project.

use bytes::Bytes;
use hyperfarm_proto::spec::Size;

use crate::intake::ProjectError;
use crate::intake::project::from_files;
use crate::presenter::{MediaFile, SpokenWord, captions};

/// Hertz below which nothing is speech.
const RUMBLE: u32 = 80;

/// A part of a video, as it is shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Piece {
    /// Second of the output at which it begins.
    pub(crate) start: f64,
    /// Seconds of the output.
    pub(crate) length: f64,
    /// Second of the video with which it begins; `None` where it is what the engine has made.
    pub(crate) from: Option<f64>,
    /// Seconds of the video in a second of the output.
    pub(crate) rate: f64,
    /// Whether its own sound is heard.
    pub(crate) is_heard: bool,
}

/// A video with a new sound that is to be made.
#[derive(Debug)]
pub(crate) struct Dub {
    /// The video.
    pub(crate) clip: MediaFile,
    /// Whether the video has a sound of its own.
    pub(crate) has_sound: bool,
    /// What an engine has made of the part with the new sound.
    pub(crate) moved: Option<MediaFile>,
    /// The pieces of the output, one after the other.
    pub(crate) pieces: Vec<Piece>,
    /// A WAV or an MP3 file: the new sound.
    pub(crate) sound: MediaFile,
    /// Second of the output at which the new sound begins, and seconds that are heard of it.
    pub(crate) heard: (f64, f64),
    /// The words of the new sound that are heard, by the seconds of the output.
    pub(crate) words: Vec<SpokenWord>,
    /// Size of the picture.
    pub(crate) size: Size,
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
        let mut files: Vec<(&str, &[u8])> = vec![("index.html", page.as_bytes()), (&sound, &self.sound.bytes)];
        // The engine may have made all of the picture.
        if self.pieces.iter().any(|piece| piece.from.is_some()) {
            files.push((&clip, &self.clip.bytes));
        }
        files.extend(moved.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        from_files(&files)
    }

    fn clip_name(&self) -> String {
        format!("video{}", self.clip.extension)
    }

    fn sound_name(&self) -> String {
        format!("audio{}", self.sound.extension)
    }

    fn page(&self) -> String {
        let Size { width, height } = self.size;
        let (clip, unit) = (self.clip_name(), width.min(height));
        let total: f64 = self.pieces.iter().map(|piece| piece.length).sum();
        let mut elements = String::new();
        for (index, Piece { start, length, from, rate, is_heard }) in self.pieces.iter().enumerate() {
            let moved = self.moved.as_ref().filter(|_| from.is_none()).map(moved_name);
            let name = moved.as_ref().unwrap_or(&clip);
            let muted = if *is_heard && self.has_sound { "" } else { " muted" };
            let from = from.filter(|from| *from > 0.0 || *rate != 1.0);
            let from = from.map(|from| format!(" data-media-start=\"{from:.6}\"")).unwrap_or_default();
            let rate = if *rate == 1.0 { String::new() } else { format!(" data-playback-rate=\"{rate:.9}\"") };
            elements.push_str(&format!(
                "<video id=\"piece-{}\" class=\"clip film\" src=\"{name}\" playsinline data-start=\"{start:.6}\" \
                 data-duration=\"{length:.6}\" data-track-index=\"0\"{muted}{from}{rate}></video>\n",
                index + 1
            ));
        }
        let (start, heard) = self.heard;
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
        elements.push_str(&captions::elements(&self.words, false));
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

    fn piece(start: f64, length: f64, from: Option<f64>, rate: f64, is_heard: bool) -> Piece {
        Piece { start, length, from, rate, is_heard }
    }

    fn dub(pieces: Vec<Piece>, heard: (f64, f64)) -> Dub {
        let word =
            |word: &str, start: f64| SpokenWord { word: word.to_owned(), start, end: start + 1.0, phonemes: None };
        Dub {
            clip: file(".mp4", b"clip"),
            has_sound: true,
            moved: None,
            pieces,
            sound: file(".wav", b"sound"),
            heard,
            words: vec![word("Hello", 0.0), word("there.", 1.5)],
            size: Size { width: 640, height: 360 },
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
        let dub = dub(vec![piece(0.0, 5.0, Some(0.0), 0.8, false)], (0.0, 5.0));
        assert_eq!(dub.bundle().unwrap(), dub.bundle().unwrap());
        let (names, page) = files(&dub);
        assert_eq!(names, ["index.html", "audio.wav", "video.mp4"]);
        for part in [
            "data-width=\"640\" data-height=\"360\" data-start=\"0\" data-duration=\"5.000000\"",
            "<video id=\"piece-1\" class=\"clip film\" src=\"video.mp4\" playsinline data-start=\"0.000000\" \
             data-duration=\"5.000000\" data-track-index=\"0\" muted data-media-start=\"0.000000\" \
             data-playback-rate=\"0.800000000\">",
            "src=\"audio.wav\" data-start=\"0.000000\" data-duration=\"5.000000\"",
            "data-caption=\"Hello there.\"",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("piece-2"), "{page}");
        assert!(!page.contains("data-fx-chain") && !page.contains("<p"), "{page}");
    }

    #[test]
    fn what_is_around_a_part_keeps_its_sound() {
        let pieces = || {
            vec![
                piece(0.0, 2.0, Some(0.0), 1.0, true),
                piece(2.0, 2.0, Some(2.0), 1.0, false),
                piece(4.0, 6.0, Some(4.0), 1.0, true),
            ]
        };
        let part = Dub { is_enhanced: true, has_watermark: true, ..dub(pieces(), (2.0, 2.0)) };
        let (_, page) = files(&part);
        for part in [
            "data-duration=\"10.000000\" data-no-timeline",
            "<video id=\"piece-1\" class=\"clip film\" src=\"video.mp4\" playsinline data-start=\"0.000000\" \
             data-duration=\"2.000000\" data-track-index=\"0\">",
            "data-start=\"2.000000\" data-duration=\"2.000000\" data-track-index=\"0\" muted data-media-start=\"2.000000\">",
            "data-start=\"4.000000\" data-duration=\"6.000000\" data-track-index=\"0\" data-media-start=\"4.000000\">",
            "src=\"audio.wav\" data-start=\"2.000000\" data-duration=\"2.000000\"",
            "\"frequency\":80",
            "<p class=\"watermark\">",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        let (_, page) = files(&Dub { has_sound: false, ..part });
        assert_eq!(page.matches(" muted").count(), 3, "{page}");
    }

    #[test]
    fn what_an_engine_has_made_is_shown_at_its_own_speed() {
        let moved = || Some(file(".webm", b"moved"));
        let whole = Dub { moved: moved(), ..dub(vec![piece(0.0, 5.0, None, 1.0, false)], (0.0, 5.0)) };
        let (names, page) = files(&whole);
        assert_eq!(names, ["index.html", "audio.wav", "moved.webm"]);
        assert!(page.contains("src=\"moved.webm\"") && !page.contains("data-playback-rate"), "{page}");
        let pieces = vec![piece(0.0, 1.0, Some(0.0), 1.0, true), piece(1.0, 5.0, None, 1.0, false)];
        let part = Dub { moved: moved(), ..dub(pieces, (1.0, 5.0)) };
        assert_eq!(files(&part).0, ["index.html", "audio.wav", "video.mp4", "moved.webm"]);
    }
}
