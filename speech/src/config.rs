//! The settings.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use hyperfarm_backplane::config::Env;
use hyperfarm_backplane::engine_http::parse_url;
use url::Url;

use crate::engine::Gender;
use crate::languages::language_name;

/// The voices of OpenAI's service.
const USUAL_VOICES: &str = "alloy:female:en,ash:male:en,coral:female:en,echo:male:en,fable:male:en,onyx:male:en,\
                            nova:female:en,sage:female:en,shimmer:female:en";

/// Which engines there are.
#[derive(Debug, Clone, Default)]
pub struct SpeechConfig {
    /// The program espeak-ng (`HYPERFARM_ESPEAK`, else on the `PATH`).
    pub espeak: Option<PathBuf>,
    /// An OpenAI-compatible service (`HYPERFARM_SPEECH_URL`).
    pub openai: Option<OpenAiConfig>,
    /// Piper's HTTP server (`HYPERFARM_PIPER_URL`).
    pub piper: Option<Url>,
}

/// An OpenAI-compatible service.
#[derive(Clone)]
pub struct OpenAiConfig {
    /// Its base URL (`HYPERFARM_SPEECH_URL`).
    pub url: Url,
    /// Its API key (`HYPERFARM_SPEECH_KEY`).
    pub key: Option<String>,
    /// Its model (`HYPERFARM_SPEECH_MODEL`).
    pub model: String,
    /// Its voices (`HYPERFARM_SPEECH_VOICES`).
    pub voices: Vec<ServiceVoice>,
}

/// A voice of the service, as the setting names it: `name:gender:language`, such as `alloy:female:en`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ServiceVoice {
    pub(crate) name: String,
    pub(crate) gender: Gender,
    pub(crate) locale: String,
}

impl FromStr for ServiceVoice {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let refused = || format!("`{text}` is no voice: give for example alloy:female:en");
        let mut parts = text.trim().split(':');
        let name = parts.next().unwrap_or_default();
        let is_name = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        let gender = match parts.next() {
            Some("male") => Gender::Male,
            Some("female") => Gender::Female,
            _ => return Err(refused()),
        };
        let locale = parts.next().unwrap_or("en").to_ascii_lowercase();
        if !is_name || language_name(&locale).is_none() || parts.next().is_some() {
            return Err(refused());
        }
        Ok(Self { name: name.to_owned(), gender, locale })
    }
}

impl fmt::Debug for OpenAiConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OpenAiConfig")
            .field("url", &self.url.as_str())
            .field("has_key", &self.key.is_some())
            .field("model", &self.model)
            .field("voices", &self.voices)
            .finish()
    }
}

impl SpeechConfig {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let path = env.text("PATH").unwrap_or_default();
        let espeak = match env.text("HYPERFARM_ESPEAK") {
            Some(setting) if setting == "off" => None,
            Some(setting) => Some(PathBuf::from(setting)),
            None => std::env::split_paths(&path).map(|folder| folder.join("espeak-ng")).find(|file| file.is_file()),
        };
        let voices = env.parsed_by("HYPERFARM_SPEECH_VOICES", voices);
        let (url, key) = (env.parsed_by("HYPERFARM_SPEECH_URL", parse_url), env.text("HYPERFARM_SPEECH_KEY"));
        let model = env.text("HYPERFARM_SPEECH_MODEL").unwrap_or_else(|| "tts-1".to_owned());
        let voices = voices.unwrap_or_else(usual_voices);
        Self {
            espeak,
            openai: url.map(|url| OpenAiConfig { url, key, model, voices }),
            piper: env.parsed_by("HYPERFARM_PIPER_URL", parse_url),
        }
    }
}

fn usual_voices() -> Vec<ServiceVoice> {
    voices(USUAL_VOICES).unwrap_or_default()
}

fn voices(text: &str) -> Result<Vec<ServiceVoice>, String> {
    text.split(',').filter(|voice| !voice.trim().is_empty()).map(str::parse).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(set: &[(&str, &str)]) -> Result<SpeechConfig, String> {
        let lookup = |name: &str| set.iter().find(|(known, _)| *known == name).map(|(_, value)| (*value).to_owned());
        hyperfarm_backplane::config::read(&lookup, SpeechConfig::read).map_err(|errors| errors.to_string())
    }

    #[test]
    fn engines_are_found_by_settings() {
        let none = read(&[("PATH", "/nonexistent")]).unwrap();
        assert!(none.espeak.is_none() && none.openai.is_none() && none.piper.is_none());
        let set = read(&[
            ("HYPERFARM_ESPEAK", "/opt/espeak-ng"),
            ("HYPERFARM_SPEECH_URL", "http://tts:8000"),
            ("HYPERFARM_SPEECH_KEY", "sk-secret"),
            ("HYPERFARM_PIPER_URL", "http://piper:5000/"),
        ])
        .unwrap();
        assert_eq!(set.espeak, Some(PathBuf::from("/opt/espeak-ng")));
        assert_eq!(set.openai.as_ref().unwrap().voices.len(), 9);
        assert!(!format!("{set:?}").contains("sk-secret"));
        assert!(read(&[("HYPERFARM_ESPEAK", "off"), ("PATH", "/usr/bin")]).unwrap().espeak.is_none());
    }

    #[test]
    fn what_is_no_voice_or_url_is_refused() {
        for (name, value) in [
            ("HYPERFARM_SPEECH_VOICES", "alloy"),
            ("HYPERFARM_SPEECH_VOICES", "a/b:male:en"),
            ("HYPERFARM_SPEECH_VOICES", "alloy:male:xx"),
            ("HYPERFARM_SPEECH_URL", "tts:8000"),
            ("HYPERFARM_PIPER_URL", "file:///x"),
        ] {
            assert!(read(&[(name, value)]).unwrap_err().contains(name), "{name}={value}");
        }
    }
}
