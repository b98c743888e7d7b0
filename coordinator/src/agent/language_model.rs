//! Language models.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_backplane::config::Env;
use hyperfarm_backplane::engine_http;
use reqwest::Client;
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

/// How long a model may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Bytes of an answer at most.
const MAX_BYTES: usize = 1 << 20;

/// A language model.
#[async_trait]
pub trait LanguageModel: fmt::Debug + Send + Sync {
    /// The model's answer to a conversation: a JSON object, which it is told to write.
    ///
    /// # Errors
    ///
    /// The model does not answer, or answers with an error or with too much.
    async fn answer(&self, conversation: &[ChatMessage]) -> Result<String, LanguageModelError>;
}

/// A message of a conversation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ChatMessage {
    /// Who said it.
    pub role: ChatRole,
    /// What was said.
    pub content: String,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum ChatRole {
    /// The farm: what the model is for.
    System,
    /// The client.
    User,
    /// The model.
    Assistant,
}

/// Why a model gave no answer.
#[derive(Debug, thiserror::Error)]
#[error("the language model failed: {0}")]
pub struct LanguageModelError(String);

/// An OpenAI-compatible service.
#[derive(Clone)]
pub struct LanguageModelConfig {
    /// Its base URL (`HYPERFARM_LANGUAGE_MODEL_URL`).
    pub url: Url,
    /// Its API key (`HYPERFARM_LANGUAGE_MODEL_KEY`).
    pub key: Option<String>,
    /// Name of the model (`HYPERFARM_LANGUAGE_MODEL`).
    pub model: String,
}

impl fmt::Debug for LanguageModelConfig {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("LanguageModelConfig");
        shown
            .field("url", &self.url.as_str())
            .field("has_key", &self.key.is_some())
            .field("model", &self.model)
            .finish()
    }
}

impl LanguageModelConfig {
    /// Reads the section; `None` where no service is named.
    pub fn read(env: &Env<'_>) -> Option<Self> {
        let url = env.parsed_by("HYPERFARM_LANGUAGE_MODEL_URL", engine_http::parse_url);
        let (key, model) = (env.text("HYPERFARM_LANGUAGE_MODEL_KEY"), env.text("HYPERFARM_LANGUAGE_MODEL"));
        Some(Self { url: url?, key, model: model.unwrap_or_else(|| "gpt-4o-mini".to_owned()) })
    }
}

/// An OpenAI-compatible service: `POST /v1/chat/completions`.
#[derive(Debug)]
pub struct OpenAiChat {
    config: LanguageModelConfig,
    url: Url,
    client: Client,
}

#[derive(Deserialize)]
struct Completion {
    choices: Vec<Choice>,
}

#[derive(Deserialize)]
struct Choice {
    message: Answer,
}

#[derive(Deserialize)]
struct Answer {
    content: Option<String>,
}

impl OpenAiChat {
    /// The service of `config`, to whose URL the path of the API is added.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(config: LanguageModelConfig) -> Result<Self, LanguageModelError> {
        let client = engine_http::client(ANSWER_WITHIN).map_err(|error| LanguageModelError(error.to_string()))?;
        let mut url = config.url.clone();
        let base = url.path().trim_end_matches('/').trim_end_matches("/v1").to_owned();
        url.set_path(&format!("{base}/v1/chat/completions"));
        Ok(Self { config, url, client })
    }
}

#[async_trait]
impl LanguageModel for OpenAiChat {
    async fn answer(&self, conversation: &[ChatMessage]) -> Result<String, LanguageModelError> {
        let failed = |reason: String| LanguageModelError(reason);
        let body = json!({
            "model": self.config.model, "messages": conversation, "response_format": { "type": "json_object" },
        });
        let mut call = self.client.post(self.url.clone()).json(&body);
        if let Some(key) = &self.config.key {
            call = call.bearer_auth(key);
        }
        let answered = engine_http::answer(call, MAX_BYTES).await;
        let bytes = answered.map_err(|error| failed(error.to_string()))?;
        let completion: Completion =
            serde_json::from_slice(&bytes).map_err(|error| failed(format!("its answer is not understood: {error}")))?;
        let answer = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
        answer.ok_or_else(|| failed("its answer is empty".to_owned()))
    }
}
