//! Speech recognition: who says what when in a sound.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::config::Env;
use hyperfarm_backplane::engine_http::{self, EngineHttpError};
use reqwest::Client;
use reqwest::multipart::{Form, Part};
use serde::Deserialize;
use url::Url;

use super::subtitles::{self, Subtitle};

/// How long an engine may take for a sound.
const ANSWER_WITHIN: Duration = Duration::from_secs(1800);

/// Bytes of an answer at most.
const MAX_BYTES: usize = 16 * 1024 * 1024;

/// What hears speech.
#[async_trait]
pub trait SpeechRecognition: fmt::Debug + Send + Sync {
    /// What is said in a sound, in the order of its times.
    ///
    /// # Errors
    ///
    /// The engine does not answer, or answers with an error or with something else.
    async fn recognize(&self, job: RecognitionJob) -> Result<Recognized, RecognitionError>;
}

/// A sound with speech.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RecognitionJob {
    /// The sound: AAC in MP4.
    pub audio: Bytes,
    /// Tag of the language that is spoken, such as `en`; `None` where it is not known.
    pub language: Option<String>,
}

/// What is said in a sound.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Recognized {
    /// The language, as the engine calls it.
    pub language: Option<String>,
    /// What is said, by the seconds of the sound.
    pub subtitles: Vec<Subtitle>,
}

/// Why an engine heard nothing.
#[derive(Debug, thiserror::Error)]
#[error("the speech recognition failed: {0}")]
pub struct RecognitionError(String);

impl From<EngineHttpError> for RecognitionError {
    fn from(error: EngineHttpError) -> Self {
        Self(error.to_string())
    }
}

/// An OpenAI-compatible service.
#[derive(Clone)]
pub struct RecognitionConfig {
    /// Its base URL (`HYPERFARM_RECOGNITION_URL`).
    pub url: Url,
    /// Its API key (`HYPERFARM_RECOGNITION_KEY`).
    pub key: Option<String>,
    /// Name of the model (`HYPERFARM_RECOGNITION_MODEL`).
    pub model: String,
}

impl fmt::Debug for RecognitionConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("RecognitionConfig");
        shown.field("url", &self.url.as_str()).field("has_key", &self.key.is_some());
        shown.field("model", &self.model).finish()
    }
}

impl RecognitionConfig {
    /// Reads the section; `None` where no service is named.
    pub fn read(env: &Env<'_>) -> Option<Self> {
        let url = env.parsed_by("HYPERFARM_RECOGNITION_URL", engine_http::parse_url);
        let (key, model) = (env.text("HYPERFARM_RECOGNITION_KEY"), env.text("HYPERFARM_RECOGNITION_MODEL"));
        Some(Self { url: url?, key, model: model.unwrap_or_else(|| "whisper-1".to_owned()) })
    }
}

/// An OpenAI-compatible service: `POST /v1/audio/transcriptions`.
#[derive(Debug)]
pub struct HttpRecognition {
    config: RecognitionConfig,
    url: Url,
    client: Client,
}

#[derive(Deserialize)]
struct Transcription {
    language: Option<String>,
    segments: Option<Vec<Segment>>,
}

#[derive(Deserialize)]
struct Segment {
    start: f64,
    end: f64,
    text: String,
}

impl HttpRecognition {
    /// The service of `config`, to whose URL the path of the API is added.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(config: RecognitionConfig) -> Result<Self, RecognitionError> {
        let client = engine_http::client(ANSWER_WITHIN).map_err(|error| RecognitionError(error.to_string()))?;
        let mut url = config.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1/audio/transcriptions"));
        Ok(Self { config, url, client })
    }
}

#[async_trait]
impl SpeechRecognition for HttpRecognition {
    async fn recognize(&self, job: RecognitionJob) -> Result<Recognized, RecognitionError> {
        let failed = |reason: String| RecognitionError(reason);
        let length = job.audio.len() as u64;
        let sound = Part::stream_with_length(job.audio, length).file_name("speech.m4a").mime_str("audio/mp4");
        let mut form = Form::new()
            .text("model", self.config.model.clone())
            .text("response_format", "verbose_json")
            .text("timestamp_granularities[]", "segment")
            .part("file", sound.map_err(|error| failed(error.to_string()))?);
        if let Some(language) = job.language {
            form = form.text("language", language);
        }
        let mut call = self.client.post(self.url.clone()).multipart(form);
        if let Some(key) = &self.config.key {
            call = call.bearer_auth(key);
        }
        let answer = engine_http::answer(call, MAX_BYTES).await?;
        let answer: Transcription = serde_json::from_slice(&answer)
            .map_err(|error| failed(format!("its answer is not understood: {error}")))?;
        let segments = answer.segments.ok_or_else(|| failed("its answer has no times of what is said".to_owned()))?;
        let mut heard: Vec<Subtitle> = segments
            .into_iter()
            .map(|Segment { start, end, text }| Subtitle { start, end, text: subtitles::plain(&text) })
            .filter(|said| !said.text.is_empty() && said.start >= 0.0 && said.end > said.start && said.end.is_finite())
            .collect();
        if heard.len() > subtitles::MOST || heard.iter().any(|said| said.text.chars().count() > subtitles::CHARACTERS) {
            return Err(failed("its answer is longer than any speech".to_owned()));
        }
        heard.sort_by(|a, b| a.start.total_cmp(&b.start));
        Ok(Recognized { language: answer.language, subtitles: heard })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_service_and_its_key_is_not_shown() {
        let variable = |name: &str| match name {
            "HYPERFARM_RECOGNITION_URL" => Some("http://ears:8000".to_owned()),
            "HYPERFARM_RECOGNITION_KEY" => Some("sk-secret".to_owned()),
            _ => None,
        };
        let read = hyperfarm_backplane::config::read(&variable, RecognitionConfig::read).unwrap().unwrap();
        assert_eq!((read.model.as_str(), read.url.as_str()), ("whisper-1", "http://ears:8000/"));
        assert!(!format!("{read:?}").contains("sk-secret"));
        let engine = HttpRecognition::new(read).unwrap();
        assert_eq!(engine.url.as_str(), "http://ears:8000/v1/audio/transcriptions");
        assert!(hyperfarm_backplane::config::read(&|_: &str| None, RecognitionConfig::read).unwrap().is_none());
    }
}
