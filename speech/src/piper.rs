//! Piper's HTTP server (`python3 -m piper.http_server`).

use std::collections::BTreeMap;

use async_trait::async_trait;
use reqwest::Client;
use serde::Deserialize;
use serde_json::json;
use url::Url;

use crate::client::{answer, client};
use crate::engine::{Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice};
use crate::wav::Sound;

const ENGINE: &str = "piper";

/// First names of Piper's published voices that are female; it does not say itself.
const FEMALE: [&str; 16] = [
    "alba",
    "amy",
    "cori",
    "eva_k",
    "gosia",
    "irina",
    "jenny_dioco",
    "kathleen",
    "kerstin",
    "kristin",
    "lessac",
    "ljspeech",
    "ramona",
    "rapunzelina",
    "siwis",
    "southern_english_female",
];

/// The server.
#[derive(Debug)]
pub struct Piper {
    url: Url,
    client: Client,
}

/// What the server says of a voice.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Listed {
    language: Language,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Language {
    code: String,
    name_english: String,
}

impl Piper {
    /// The server at `url`.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(url: Url) -> Result<Self, SpeechError> {
        Ok(Self { url, client: client().map_err(|error| SpeechError::engine(ENGINE, error))? })
    }

    fn path(&self, path: &str) -> Url {
        let mut url = self.url.clone();
        url.set_path(&format!("{}/{path}", self.url.path().trim_end_matches('/')));
        url
    }
}

/// The voice that the server calls `name`, such as `en_US-joe-medium`.
fn voice(name: &str, listed: &Listed) -> Voice {
    let mut parts = name.split('-');
    let code = parts.next().filter(|_| listed.language.code.is_empty()).unwrap_or(&listed.language.code);
    let locale = code.replace('_', "-").to_ascii_lowercase();
    let speaker = parts.next().unwrap_or(name);
    let language = Some(listed.language.name_english.as_str()).filter(|name| !name.is_empty());
    let language = language.or_else(|| crate::languages::language_name(&locale)).unwrap_or(code).to_owned();
    let is_female = FEMALE.contains(&speaker) || speaker.contains("female");
    Voice {
        id: format!("{ENGINE}_{name}"),
        name: speaker.to_owned(),
        language,
        locale,
        gender: if is_female { Gender::Female } else { Gender::Male },
        tags: vec!["natural".to_owned(), "warm".to_owned()],
        takes_ssml: false,
        takes_locale: false,
    }
}

#[async_trait]
impl SpeechEngine for Piper {
    fn name(&self) -> &'static str {
        ENGINE
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        let body = answer(ENGINE, self.client.get(self.path("voices"))).await?;
        let listed: BTreeMap<String, Listed> = serde_json::from_slice(&body)
            .map_err(|error| SpeechError::engine(ENGINE, format!("its list of voices is not understood: {error}")))?;
        let is_id = |name: &str| name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        Ok(listed.iter().filter(|(name, _)| is_id(name)).map(|(name, listed)| voice(name, listed)).collect())
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        if request.script.is_ssml() {
            return Err(SpeechError::NoSsml);
        }
        if request.pitch != 0 {
            return Err(SpeechError::NoPitch);
        }
        let name = request.voice.strip_prefix("piper_").unwrap_or_default();
        let body = json!({ "text": request.script.source(), "voice": name, "length_scale": 1.0 / request.speed });
        let call = self.client.post(self.path("")).json(&body);
        Ok(Speech { sound: Sound::parse(ENGINE, &answer(ENGINE, call).await?)?, words: None })
    }
}
