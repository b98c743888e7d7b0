//! Presenter videos as projects: a page, a photo and a sound, which are rendered as any other project is.
//!
//! | module | what it is |
//! | --- | --- |
//! | `photo` | the size of a photo, by its header |
//! | `captions` | the words of a speech as captions |
//! | `page/` | the scripts of the page: the mouth by the sound, the mesh of the face, the motion of the head, WebGL |
//!
//! The page finds the face and the motion of the mouth in the plan stage, and leaves them as
//! [`PREPARED_FILE`](hyperfarm_proto::plan::PREPARED_FILE) to the later pages of its render. So each is found once, on a
//! worker, in the sandbox in which strangers' files are decoded.

pub(crate) mod captions;
mod photo;

use bytes::Bytes;
use hyperfarm_api::videos::Expressiveness;
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::intake::ProjectError;
use crate::intake::project::from_files;
pub(crate) use photo::photo_size;

/// Frames a second of presenter videos.
pub(crate) const FRAME_RATE: u32 = 25;

/// More seconds than any video of a presenter has: a sound may have 600.
const LONGEST: u32 = 700;

/// Seconds that a presenter looks at the viewer after the last word.
const TAIL: f64 = 0.4;

/// The scripts of the page, by their names.
const SCRIPTS: [(&str, &str); 8] = [
    ("presenter/draw.js", include_str!("page/draw.js")),
    ("presenter/face.js", include_str!("page/face.js")),
    ("presenter/landmarks.js", include_str!("page/landmarks.js")),
    ("presenter/mediapipe.js", include_str!("page/mediapipe.js")),
    ("presenter/motion.js", include_str!("page/motion.js")),
    ("presenter/person.js", include_str!("page/person.js")),
    ("presenter/presenter.js", include_str!("page/presenter.js")),
    ("presenter/sound.js", include_str!("page/sound.js")),
];

const PAGE: &str = include_str!("page/index.html");

/// The face of a photo, as the page finds it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Face {
    /// Landmarks: x and y as shares of the photo's width and height, and z of its width.
    landmarks: Vec<[f64; 3]>,
    /// Triangles of landmarks.
    triangles: Vec<[u16; 3]>,
}

/// What the page of the plan stage has left.
#[derive(Debug, Deserialize)]
pub(crate) struct Prepared {
    /// The face of the photo.
    pub(crate) face: Face,
}

/// A file of a presenter video.
#[derive(Debug, Clone)]
pub(crate) struct MediaFile {
    /// Its name in the project ends so, with a dot.
    pub(crate) extension: &'static str,
    /// Its content.
    pub(crate) bytes: Bytes,
}

impl MediaFile {
    /// Whether it is a video.
    pub(crate) fn is_video(&self) -> bool {
        matches!(self.extension, ".mp4" | ".webm")
    }
}

/// What a presenter says.
#[derive(Debug, Clone)]
pub(crate) struct SpokenSound {
    /// A WAV or an MP3 file.
    pub(crate) file: MediaFile,
    /// Seconds, where they are known.
    pub(crate) seconds: Option<f64>,
    /// The words, where they are known.
    pub(crate) words: Vec<SpokenWord>,
}

/// A word of a speech.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SpokenWord {
    /// As it is written.
    pub(crate) word: String,
    /// Its start in seconds.
    pub(crate) start: f64,
    /// Its end in seconds.
    pub(crate) end: f64,
    /// In the International Phonetic Alphabet, where they are known.
    pub(crate) phonemes: Option<String>,
}

impl SpokenWord {
    /// A word of which only the times are known.
    pub(crate) fn of(word: &hyperfarm_speech::WordTime) -> Self {
        Self { word: word.word.clone(), start: word.start, end: word.end, phonemes: None }
    }

    /// The word by the seconds of an output in which its sound begins at `start` and is heard for `length` seconds; `None` where
    /// it is not heard.
    pub(crate) fn heard(self, (start, length): (f64, f64)) -> Option<Self> {
        let (from, to) = (start + self.start, start + self.end.min(length));
        (self.start < length).then_some(Self { start: from, end: to, ..self })
    }
}

/// What is behind a photo that does not fill the picture.
#[derive(Debug, Clone, Default)]
pub(crate) enum Background {
    /// Nothing: the photo fills the picture, or what is behind it is transparent.
    #[default]
    None,
    /// A colour, as CSS has it.
    Color(String),
    /// A picture.
    Image(MediaFile),
    /// A video, which begins again when it ends, without its sound.
    Video(MediaFile),
}

/// A presenter video that is to be made.
#[derive(Debug)]
pub(crate) struct Presentation {
    pub(crate) photo: MediaFile,
    /// The face of the photo, where it is known already.
    pub(crate) face: Option<Face>,
    /// Without one, the page only finds the face.
    pub(crate) sound: Option<SpokenSound>,
    /// Size of the picture.
    pub(crate) size: Size,
    pub(crate) background: Background,
    /// Whether the photo is shown as a whole before the background, and does not fill the picture.
    pub(crate) is_whole: bool,
    /// Whether what is behind the person is left out.
    pub(crate) removes_background: bool,
    pub(crate) expressiveness: Expressiveness,
    /// Equal seeds give equal motions.
    pub(crate) seed: u32,
    /// Whether words are shown in the picture.
    pub(crate) shows_captions: bool,
}

impl Presentation {
    /// Whether captions can be written beside the video.
    pub(crate) fn has_captions(&self) -> bool {
        self.sound.as_ref().is_some_and(|sound| !sound.words.is_empty())
    }

    /// The archive of its project. Equal presentations give equal archives.
    ///
    /// # Errors
    ///
    /// It cannot be packed.
    pub(crate) fn bundle(&self) -> Result<Bytes, ProjectError> {
        let photo = format!("photo{}", self.photo.extension);
        let sound = self.sound.as_ref().map(|sound| (format!("speech{}", sound.file.extension), sound));
        let settings = json!({
            "photo": photo, "face": self.face, "sound": sound.as_ref().map(|(name, _)| name),
            "words": sound.as_ref().map(|(_, sound)| &sound.words), "fit": if self.is_whole { "contain" } else { "cover" },
            "tail": TAIL, "cutout": self.removes_background, "seed": self.seed, "expressiveness": self.expressiveness,
        })
        .to_string();
        let backdrop = match &self.background {
            Background::Image(file) | Background::Video(file) => {
                Some((format!("background{}", file.extension), &file.bytes))
            }
            Background::None | Background::Color(_) => None,
        };
        let page = self.page(
            sound.as_ref().map(|(name, sound)| (name.as_str(), *sound)),
            backdrop.as_ref().map(|(name, _)| name.as_str()),
        );
        let mut files: Vec<(&str, &[u8])> =
            vec![("index.html", page.as_bytes()), ("presenter.json", settings.as_bytes())];
        files.extend(SCRIPTS.iter().map(|(name, text)| (*name, text.as_bytes())));
        files.push((&photo, &self.photo.bytes));
        files.extend(sound.iter().map(|(name, sound)| (name.as_str(), &sound.file.bytes[..])));
        files.extend(backdrop.iter().map(|(name, bytes)| (name.as_str(), &bytes[..])));
        from_files(&files)
    }

    /// The page, with a sound and the file of a background by their names.
    fn page(&self, sound: Option<(&str, &SpokenSound)>, backdrop: Option<&str>) -> String {
        let Size { width, height } = self.size;
        let background = match (&self.background, backdrop) {
            (Background::Color(color), _) => color.clone(),
            (Background::Image(_), Some(name)) => format!("url({name}) center / cover"),
            _ => "transparent".to_owned(),
        };
        // A page that only finds a face shows it for a frame.
        let still = 1.0 / f64::from(FRAME_RATE);
        let seconds = sound.map_or(Some(still), |(_, sound)| sound.seconds.map(|seconds| seconds + TAIL));
        let duration = seconds.map(|seconds| format!(" data-duration=\"{seconds:.3}\"")).unwrap_or_default();
        let mut elements = String::new();
        if let Some((name, sound)) = sound {
            let length = sound.seconds.map(|seconds| format!(" data-duration=\"{seconds:.3}\"")).unwrap_or_default();
            elements.push_str(&format!(
                "<audio id=\"speech\" src=\"{name}\" data-start=\"0\"{length} data-track-index=\"1\"></audio>\n"
            ));
            elements.push_str(&captions::elements(&sound.words, self.shows_captions));
        }
        let backdrop = match (&self.background, backdrop) {
            (Background::Video(_), Some(name)) => {
                // It lasts as long as the composition, which may be known by the page only.
                let duration =
                    if duration.is_empty() { format!(" data-duration=\"{LONGEST}\"") } else { duration.clone() };
                format!("<video id=\"backdrop\" src=\"{name}\" muted loop data-start=\"0\"{duration}></video>")
            }
            _ => String::new(),
        };
        let values = [
            ("BACKDROP", backdrop),
            ("WIDTH", width.to_string()),
            ("HEIGHT", height.to_string()),
            ("UNIT", width.min(height).to_string()),
            ("BACKGROUND", background),
            ("RATE", FRAME_RATE.to_string()),
            ("DURATION", duration),
            ("ELEMENTS", elements),
        ];
        values.iter().fold(PAGE.to_owned(), |page, (name, value)| page.replace(&format!("{{{{{name}}}}}"), value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn presentation() -> Presentation {
        let word =
            |word: &str, start: f64| SpokenWord { word: word.to_owned(), start, end: start + 0.3, phonemes: None };
        let file = |extension, bytes: &'static [u8]| MediaFile { extension, bytes: Bytes::from_static(bytes) };
        let words = vec![word("<b>Hello,", 0.0), word("world.", 0.4), word("Again.", 1.4)];
        Presentation {
            photo: file(".png", b"photo"),
            face: None,
            sound: Some(SpokenSound { file: file(".wav", b"sound"), seconds: Some(2.0), words }),
            size: Size { width: 720, height: 1280 },
            background: Background::Image(file(".jpg", b"hills")),
            is_whole: true,
            removes_background: true,
            expressiveness: Expressiveness::High,
            seed: 7,
            shows_captions: false,
        }
    }

    fn page_of(presentation: &Presentation) -> String {
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(presentation.bundle().unwrap())).unwrap();
        std::io::read_to_string(archive.by_name("index.html").unwrap()).unwrap()
    }

    #[test]
    fn a_project_has_all_that_its_page_loads() {
        let bundle = presentation().bundle().unwrap();
        assert_eq!(bundle, presentation().bundle().unwrap());
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bundle)).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        for name in ["photo.png", "speech.wav", "background.jpg", "presenter.json", "presenter/presenter.js"] {
            assert!(names.iter().any(|known| known == name), "{name} is not in {names:?}");
        }
        for (_, script) in SCRIPTS {
            for import in script.lines().filter(|line| line.starts_with("import ")) {
                let name = import.split("\"./").nth(1).unwrap().trim_end_matches("\";");
                assert!(names.contains(&format!("presenter/{name}")), "{import}");
            }
        }
        let settings: serde_json::Value = serde_json::from_reader(archive.by_name("presenter.json").unwrap()).unwrap();
        assert_eq!((&settings["fit"], &settings["seed"]), (&json!("contain"), &json!(7)));
        assert_eq!(settings["cutout"], true);
        assert_eq!(settings["words"][1]["word"], "world.");
    }

    #[test]
    fn a_page_has_its_size_sound_and_captions() {
        let page = page_of(&presentation());
        for part in [
            "data-width=\"720\" data-height=\"1280\"",
            "data-duration=\"2.400\"",
            "url(background.jpg) center / cover",
            "src=\"speech.wav\" data-start=\"0\" data-duration=\"2.000\"",
            "data-caption=\"&lt;b&gt;Hello, world.\"",
            "data-caption=\"Again.\"",
        ] {
            assert!(page.contains(part), "{part} is not in {page}");
        }
        assert!(!page.contains("{{") && !page.contains("<p>"), "{page}");
        let shown = page_of(&Presentation { shows_captions: true, background: Background::None, ..presentation() });
        assert!(shown.contains("<p>Again.</p>") && shown.contains("background: transparent"), "{shown}");
        let film = MediaFile { extension: ".webm", bytes: Bytes::from_static(b"film") };
        let moving = page_of(&Presentation { background: Background::Video(film), ..presentation() });
        let backdrop =
            "<video id=\"backdrop\" src=\"background.webm\" muted loop data-start=\"0\" data-duration=\"2.400\">";
        assert!(moving.contains(backdrop) && moving.contains("background: transparent"), "{moving}");
        let still = page_of(&Presentation { sound: None, ..presentation() });
        assert!(still.contains("data-duration=\"0.040\"") && !still.contains("<audio"), "{still}");
    }
}
