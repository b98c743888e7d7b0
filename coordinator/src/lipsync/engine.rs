//! Engines that move the mouth of a video to a sound. `docs/lipsync.md` has their contract.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::config::Env;
use hyperfarm_backplane::engine_http::{self, EngineHttpError};
use reqwest::multipart::{Form, Part};
use reqwest::{Client, RequestBuilder};
use serde::Deserialize;
use url::Url;

/// How long an engine may take for a video.
pub(crate) const ANSWER_WITHIN: Duration = Duration::from_secs(1800);

/// How long it may take to say who it is.
const CHECK_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of a video that an engine makes at most.
pub(crate) const MAX_BYTES: usize = 100 * 1024 * 1024;

/// An engine that moves mouths.
#[async_trait]
pub trait LipsyncEngine: fmt::Debug + Send + Sync {
    /// The video that the job asks for: an MP4 or a WebM file, whose sound is not used.
    ///
    /// # Errors
    ///
    /// The engine does not answer, or answers with an error or with too much.
    async fn moved(&self, job: LipsyncJob) -> Result<Bytes, LipsyncError>;
}

/// What an engine is asked for.
#[derive(Debug, Clone, PartialEq)]
pub struct LipsyncJob {
    /// The video.
    pub video: Bytes,
    /// Media type of the video: `video/mp4` or `video/webm`.
    pub video_type: &'static str,
    /// The sound.
    pub audio: Bytes,
    /// Media type of the sound: `audio/wav` or `audio/mpeg`.
    pub audio_type: &'static str,
    /// Second of the video at which the sound begins, and with which the answer begins.
    pub start: f64,
    /// Second of the video after which nothing of it is shown.
    pub end: f64,
    /// Seconds that the answer lasts.
    pub duration: f64,
}

/// Why an engine made no video.
#[derive(Debug, thiserror::Error)]
#[error("the lip-sync engine failed: {0}")]
pub struct LipsyncError(String);

impl From<EngineHttpError> for LipsyncError {
    fn from(error: EngineHttpError) -> Self {
        Self(error.to_string())
    }
}

/// An engine behind HTTP.
#[derive(Clone)]
pub struct LipsyncConfig {
    /// Its base URL (`HYPERFARM_LIPSYNC_URL`).
    pub url: Url,
    /// Its API key (`HYPERFARM_LIPSYNC_KEY`).
    pub key: Option<String>,
}

impl fmt::Debug for LipsyncConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LipsyncConfig");
        shown.field("url", &self.url.as_str()).field("has_key", &self.key.is_some()).finish()
    }
}

impl LipsyncConfig {
    /// Reads the section; `None` where no engine is named.
    pub fn read(env: &Env<'_>) -> Option<Self> {
        let url = env.parsed_by("HYPERFARM_LIPSYNC_URL", engine_http::parse_url);
        let key = env.text("HYPERFARM_LIPSYNC_KEY");
        Some(Self { url: url?, key })
    }
}

/// An engine behind HTTP: `POST /v1/lipsync`.
#[derive(Debug)]
pub struct HttpLipsync {
    config: LipsyncConfig,
    url: Url,
    client: Client,
}

/// What an engine says of itself.
#[derive(Deserialize)]
struct About {
    name: String,
}

impl HttpLipsync {
    /// The engine of `config`, to whose URL the path is added.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(config: LipsyncConfig) -> Result<Self, LipsyncError> {
        let client = engine_http::client(ANSWER_WITHIN).map_err(|error| LipsyncError(error.to_string()))?;
        let mut url = config.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1/lipsync"));
        Ok(Self { config, url, client })
    }

    /// What the engine calls itself: `GET /v1/lipsync`.
    ///
    /// # Errors
    ///
    /// The engine does not answer, or not with its name.
    pub async fn name(&self) -> Result<String, LipsyncError> {
        let call = self.client.get(self.url.clone()).timeout(CHECK_WITHIN);
        let answer = engine_http::answer(self.with_key(call), 64 * 1024).await?;
        let about: About = serde_json::from_slice(&answer)
            .map_err(|error| LipsyncError(format!("its answer is not understood: {error}")))?;
        Ok(about.name)
    }

    fn with_key(&self, call: RequestBuilder) -> RequestBuilder {
        match &self.config.key {
            Some(key) => call.bearer_auth(key),
            None => call,
        }
    }
}

#[async_trait]
impl LipsyncEngine for HttpLipsync {
    async fn moved(&self, job: LipsyncJob) -> Result<Bytes, LipsyncError> {
        let file = |bytes: Bytes, name: &'static str, kind: &str| {
            let length = bytes.len() as u64;
            let part = Part::stream_with_length(bytes, length).file_name(name).mime_str(kind);
            part.map_err(|error| LipsyncError(error.to_string()))
        };
        let form = Form::new()
            .text("start_time", job.start.to_string())
            .text("end_time", job.end.to_string())
            .text("duration", job.duration.to_string())
            .part("video", file(job.video, "video", job.video_type)?)
            .part("audio", file(job.audio, "audio", job.audio_type)?);
        let call = self.with_key(self.client.post(self.url.clone())).multipart(form);
        Ok(engine_http::answer(call, MAX_BYTES).await?.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_name_the_engine_and_its_key_is_not_shown() {
        let read = |url: Option<&str>| {
            let variable = |name: &str| match name {
                "HYPERFARM_LIPSYNC_URL" => url.map(str::to_owned),
                "HYPERFARM_LIPSYNC_KEY" => Some("sk-secret".to_owned()),
                _ => None,
            };
            let env = Env::new(&variable);
            let config = LipsyncConfig::read(&env);
            (config, env.into_errors())
        };
        assert!(read(None).0.is_none());
        let (config, errors) = read(Some("http://localhost:7000/base"));
        let config = config.unwrap();
        assert!(errors.is_empty() && config.key.as_deref() == Some("sk-secret"));
        assert!(!format!("{config:?}").contains("secret"), "{config:?}");
        let (config, errors) = read(Some("localhost:7000"));
        assert!(config.is_none());
        assert!(errors.iter().any(|error| error.to_string().contains("HYPERFARM_LIPSYNC_URL")), "{errors:?}");
    }

    #[test]
    fn the_path_is_added_to_the_base() {
        for base in ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"] {
            let config = LipsyncConfig { url: base.parse().unwrap(), key: None };
            assert_eq!(HttpLipsync::new(config).unwrap().url.as_str(), "http://h:1/v1/lipsync", "{base}");
        }
    }
}
