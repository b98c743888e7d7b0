//! An OpenAI-compatible service: `POST /v1/audio/speech`.

use async_trait::async_trait;
use reqwest::Client;
use serde_json::json;
use url::Url;

use crate::client::{answer, client};
use crate::config::{OpenAiConfig, ServiceVoice};
use crate::engine::{Speech, SpeechEngine, SpeechError, SpeechRequest, Voice};
use crate::wav::Sound;

const ENGINE: &str = "openai";

/// The service.
#[derive(Debug)]
pub struct OpenAi {
    config: OpenAiConfig,
    url: Url,
    client: Client,
}

impl OpenAi {
    /// The service behind the URL of `config`, to which the path of the API is added.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(config: OpenAiConfig) -> Result<Self, SpeechError> {
        let client = client().map_err(|error| SpeechError::engine(ENGINE, error))?;
        let mut url = config.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1/audio/speech"));
        Ok(Self { config, url, client })
    }
}

#[async_trait]
impl SpeechEngine for OpenAi {
    fn name(&self) -> &'static str {
        ENGINE
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        let voice = |voice: &ServiceVoice| Voice {
            id: format!("{ENGINE}_{}", voice.name),
            name: voice.name.clone(),
            language: crate::languages::language_name(&voice.locale).unwrap_or_default().to_owned(),
            locale: voice.locale.clone(),
            gender: voice.gender,
            tags: vec!["natural".to_owned()],
            takes_ssml: false,
            takes_locale: false,
        };
        Ok(self.config.voices.iter().map(voice).collect())
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        if request.script.is_ssml() {
            return Err(SpeechError::NoSsml);
        }
        if request.pitch != 0 {
            return Err(SpeechError::NoPitch);
        }
        let voice = request.voice.strip_prefix("openai_").unwrap_or_default();
        if !self.config.voices.iter().any(|known| known.name == voice) {
            return Err(SpeechError::NoVoice(request.voice.clone()));
        }
        let body = json!({
            "model": self.config.model, "input": request.script.source(), "voice": voice, "speed": request.speed,
            "response_format": "wav",
        });
        let mut call = self.client.post(self.url.clone()).json(&body);
        if let Some(key) = &self.config.key {
            call = call.bearer_auth(key);
        }
        Ok(Speech { sound: Sound::parse(ENGINE, &answer(ENGINE, call).await?)?, words: None })
    }
}
