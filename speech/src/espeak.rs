//! espeak-ng, as a program.
//!
//! It is never linked, because of its licence. Each call is a process of its own without a shell, with an empty
//! environment, the text on standard input, and bounds of time and of bytes. A process that is not waited for any more
//! is killed.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use async_trait::async_trait;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::Command;

use crate::engine::{Gender, SPEECH_TIMEOUT, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice};
use crate::error::MAX_DURATION;
use crate::wav::Sound;
use crate::words::{self, Frames};

const ENGINE: &str = "espeak";

/// Words in a minute at the usual speed.
const WORDS_PER_MINUTE: f64 = 175.0;

/// Bytes of an answer at most: [`MAX_DURATION`] of its 22,050 Hz, and a header.
const MAX_BYTES: u64 = MAX_DURATION.as_secs() * 22_050 * 2 + 1024;

/// A way to speak, in every language: espeak-ng's name for it, the name for people, and words for its pitch and sound.
struct Variant {
    name: &'static str,
    about: &'static str,
    gender: Gender,
    tags: &'static [&'static str],
}

const VARIANTS: [Variant; 6] = [
    Variant {
        name: "",
        about: "standard",
        gender: Gender::Male,
        tags: &["neutral", "measured", "clear", "confident", "narration", "calm"],
    },
    Variant {
        name: "m1",
        about: "senior",
        gender: Gender::Male,
        tags: &["mature", "old", "elderly", "senior", "rough", "warm", "storytelling"],
    },
    Variant {
        name: "m8",
        about: "deep",
        gender: Gender::Male,
        tags: &["deep", "low", "baritone", "bass", "mature", "authoritative", "serious"],
    },
    Variant {
        name: "f1",
        about: "senior",
        gender: Gender::Female,
        tags: &["mature", "old", "elderly", "senior", "rough", "warm", "storytelling"],
    },
    Variant {
        name: "f2",
        about: "standard",
        gender: Gender::Female,
        tags: &["neutral", "measured", "clear", "confident", "narration", "calm", "training"],
    },
    Variant {
        name: "f5",
        about: "bright",
        gender: Gender::Female,
        tags: &["young", "bright", "high", "energetic", "playful", "friendly"],
    },
];

/// The program.
#[derive(Debug)]
pub struct Espeak {
    program: PathBuf,
}

impl Espeak {
    /// The program at `program`.
    pub fn new(program: impl Into<PathBuf>) -> Self {
        Self { program: program.into() }
    }

    /// Where it is.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// What the program calls itself.
    ///
    /// # Errors
    ///
    /// It does not start.
    pub async fn version(&self) -> Result<String, SpeechError> {
        let text = self.run(&["--version"], "").await?;
        Ok(String::from_utf8_lossy(&text).trim().to_owned())
    }

    /// What it writes to standard output, given `input` on standard input.
    async fn run(&self, arguments: &[&str], input: &str) -> Result<Vec<u8>, SpeechError> {
        let failed = |error: std::io::Error| {
            SpeechError::engine(ENGINE, format!("{} cannot be run: {error}", self.program.display()))
        };
        let mut child = Command::new(&self.program)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let (stdin, stdout) = (child.stdin.take(), child.stdout.take());
        let write = async {
            // A program that does not read to the end has failed, and its status says so.
            if let Some(mut stdin) = stdin {
                drop(stdin.write_all(input.as_bytes()).await);
            }
        };
        let read = async {
            let mut output = Vec::new();
            if let Some(stdout) = stdout {
                stdout.take(MAX_BYTES + 1).read_to_end(&mut output).await?;
            }
            Ok::<_, std::io::Error>(output)
        };
        let work = async {
            let (read, ()) = tokio::join!(read, write);
            let output = read.map_err(failed)?;
            if output.len() as u64 > MAX_BYTES {
                return Err(SpeechError::TooLong);
            }
            match child.wait().await.map_err(failed)? {
                status if status.success() => Ok(output),
                status => Err(SpeechError::engine(ENGINE, format!("the program ended with {status}"))),
            }
        };
        let late = |_| SpeechError::engine(ENGINE, format!("it took more than {} s", SPEECH_TIMEOUT.as_secs()));
        tokio::time::timeout(SPEECH_TIMEOUT, work).await.map_err(late)?
    }

    /// The languages that the program lists: tag and name.
    async fn languages(&self) -> Result<Vec<(String, String)>, SpeechError> {
        let listed = self.run(&["--voices"], "").await?;
        Ok(languages(&String::from_utf8_lossy(&listed)))
    }

    async fn rendition(&self, manner: &Manner, is_ssml: bool, source: &str) -> Result<Sound, SpeechError> {
        let Manner { voice, speed, pitch } = manner;
        // `-b 1` is UTF-8, whatever the locale.
        let mut arguments = vec!["-v", voice, "-s", speed, "-p", pitch, "-b", "1", "--stdin", "--stdout"];
        if is_ssml {
            arguments.push("-m");
        }
        Sound::parse(ENGINE, &self.run(&arguments, source).await?)
    }
}

/// How the program speaks, as its options say it.
struct Manner {
    voice: String,
    speed: String,
    pitch: String,
}

/// Tags and names in the lines of `--voices`.
fn languages(listed: &str) -> Vec<(String, String)> {
    let mut languages: Vec<(String, String)> = Vec::new();
    for line in listed.lines().skip(1) {
        let columns: Vec<&str> = line.split_whitespace().collect();
        let [_, tag, _, name, file, ..] = columns[..] else { continue };
        let tag = tag.to_ascii_lowercase();
        let is_id = tag.chars().all(|c| c.is_ascii_alphanumeric() || c == '-');
        // Voices of other synthesisers need data of their own. Of two ways to write a language the first is the usual
        // one.
        if is_id && !file.starts_with("mb/") && !languages.iter().any(|(known, _)| *known == tag) {
            languages.push((tag, name.replace('_', " ")));
        }
    }
    languages
}

/// The language's own name, of one such as `English (America)`.
fn base_name(name: &str) -> &str {
    name.split(" (").next().unwrap_or(name)
}

#[async_trait]
impl SpeechEngine for Espeak {
    fn name(&self) -> &'static str {
        ENGINE
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        let of_language = |(tag, name): (String, String)| {
            VARIANTS.iter().map(move |variant| {
                let suffix = if variant.name.is_empty() { String::new() } else { format!("_{}", variant.name) };
                Voice {
                    id: format!("{ENGINE}_{tag}{suffix}"),
                    name: format!("{name}, {} {}", variant.gender.as_str(), variant.about),
                    language: base_name(&name).to_owned(),
                    locale: tag.clone(),
                    gender: variant.gender,
                    tags: variant.tags.iter().map(|tag| (*tag).to_owned()).collect(),
                    takes_ssml: true,
                    takes_locale: true,
                }
            })
        };
        Ok(self.languages().await?.into_iter().flat_map(of_language).collect())
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        let unknown = || SpeechError::NoVoice(request.voice.clone());
        let id = request.voice.strip_prefix("espeak_").ok_or_else(unknown)?;
        let (language, variant) = id.split_once('_').unwrap_or((id, ""));
        let languages = self.languages().await?;
        if !languages.iter().any(|(tag, _)| tag == language) || !VARIANTS.iter().any(|known| known.name == variant) {
            return Err(unknown());
        }
        let language = match &request.locale {
            None => language,
            Some(locale) => {
                spoken(&languages, language, locale).ok_or_else(|| SpeechError::NoLocale(locale.clone()))?
            }
        };
        let voice = if variant.is_empty() { language.to_owned() } else { format!("{language}+{variant}") };
        let speed = ((WORDS_PER_MINUTE * request.speed).round() as u32).to_string();
        // The program's own pitch is 50, of 0 to 99.
        let manner = Manner { voice, speed, pitch: (50 + request.pitch).clamp(0, 99).to_string() };
        let script = &request.script;
        let speak = async |source: String| self.rendition(&manner, script.is_ssml(), &source).await;
        let sound = speak(script.source()).await?;
        let even = Frames::of(&speak(script.marked(|_| mark(100))).await?);
        let uneven = Frames::of(&speak(script.marked(|index| mark(words::volume(index)))).await?);
        let (sound, words) = {
            let script = script.clone();
            let work = move || {
                let times = words::times(script.words(), &Frames::of(&sound), &even, &uneven);
                (sound, times)
            };
            tokio::task::spawn_blocking(work).await.map_err(|error| SpeechError::engine(ENGINE, error))?
        };
        Ok(Speech { sound, words })
    }

    async fn phonemes(&self, locale: &str, words: &[String]) -> Result<Option<Vec<String>>, SpeechError> {
        let languages = self.languages().await?;
        let Some(language) = spoken(&languages, "", locale) else { return Ok(None) };
        let input: String =
            words.iter().map(|word| format!("{}\n", word.split_whitespace().collect::<Vec<_>>().join(" "))).collect();
        // Without `--stdin` each line is spoken by itself.
        let written = self.run(&["-q", "-v", language, "--ipa", "-b", "1"], &input).await?;
        let written = String::from_utf8_lossy(&written);
        let lines: Vec<String> =
            written.lines().map(|line| line.trim().to_owned()).filter(|line| !line.is_empty()).collect();
        // A word in which the program sees several clauses has several lines, and then no line is known to be of its word.
        Ok((lines.len() == words.len()).then_some(lines))
    }
}

/// The command within a text that sets the volume to so many per cent.
fn mark(volume: u8) -> String {
    format!("\u{1}{volume}A")
}

/// The language of the program for a BCP-47 tag: the same, else one of the same base language, the voice's own first.
fn spoken<'a>(languages: &'a [(String, String)], own: &'a str, locale: &str) -> Option<&'a str> {
    let locale = locale.to_ascii_lowercase();
    let base = |tag: &str| tag.split('-').next().unwrap_or_default().to_owned();
    // Chinese is listed by the tags of its languages.
    let wanted = match base(&locale).as_str() {
        "zh" => "cmn".to_owned(),
        "no" => "nb".to_owned(),
        other => other.to_owned(),
    };
    if languages.iter().any(|(tag, _)| *tag == locale) {
        return languages.iter().map(|(tag, _)| tag.as_str()).find(|tag| *tag == locale);
    }
    if base(own) == wanted {
        return Some(own);
    }
    languages.iter().map(|(tag, _)| tag.as_str()).find(|tag| base(tag) == wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTED: &str = "\
Pty Language       Age/Gender VoiceName          File                 Other Languages
 5  cmn             --/M      Chinese_(Mandarin,_latin_as_English) sit/cmn   (zh-cmn 5)(zh 5)
 5  en-gb           --/M      English_(Great_Britain) gmw/en            (en 2)
 2  en-us           --/M      English_(America)  gmw/en-US            (en 3)
 5  en-us           --/M      us-mbrola-1        mb/mb-us1
 5  yue             --/M      Chinese_(Cantonese) sit/yue             (zh-yue 5)(zh 8)
 5  yue             --/M      Chinese_(Cantonese,_latin_as_Jyutping) sit/yue-Latn-jyutping (zh-yue 5)
";

    #[test]
    fn languages_are_listed_once() {
        let found = languages(LISTED);
        let tags: Vec<&str> = found.iter().map(|(tag, _)| tag.as_str()).collect();
        assert_eq!(tags, ["cmn", "en-gb", "en-us", "yue"]);
        assert_eq!(base_name(&found[1].1), "English");
    }

    #[test]
    fn a_locale_is_the_nearest_language() {
        let languages = languages(LISTED);
        for (own, locale, expected) in [
            ("en-gb", "en-US", Some("en-us")),
            ("en-us", "en", Some("en-us")),
            ("en-gb", "en-AU", Some("en-gb")),
            ("en-gb", "zh-CN", Some("cmn")),
            ("en-gb", "tlh", None),
        ] {
            assert_eq!(spoken(&languages, own, locale), expected, "{own} {locale}");
        }
    }

    #[tokio::test]
    async fn a_program_that_is_none_is_an_error() {
        let error = Espeak::new("/nonexistent/espeak-ng").voices().await.unwrap_err();
        assert!(error.to_string().contains("/nonexistent/espeak-ng cannot be run"), "{error}");
        let error = Espeak::new("/bin/false").voices().await.unwrap_err();
        assert!(error.to_string().contains("exit status: 1"), "{error}");
    }
}
