//! Language models.

use std::fmt;
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_backplane::config::Env;
use reqwest::Client;
use reqwest::redirect::Policy;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

/// How long a model may take for an answer.
const ANSWER_WITHIN: Duration = Duration::from_secs(180);

/// Bytes of an answer at most.
const MAX_BYTES: usize = 1 << 20;

/// Characters of an error's text that are reported.
const MAX_REASON: usize = 300;

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
        let url = env.parsed_by("HYPERFARM_LANGUAGE_MODEL_URL", |text| {
            let url = Url::parse(text).map_err(|error| error.to_string())?;
            let is_http = matches!(url.scheme(), "http" | "https");
            if is_http { Ok(url) } else { Err(format!("`{}` is no scheme of an HTTP server", url.scheme())) }
        });
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
        let builder = Client::builder().connect_timeout(Duration::from_secs(5)).timeout(ANSWER_WITHIN);
        let client = builder.redirect(Policy::none()).no_proxy().build();
        let client = client.map_err(|error| LanguageModelError(error.to_string()))?;
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
        let silent = |error: reqwest::Error| failed(format!("its server does not answer: {}", error.without_url()));
        let body = json!({
            "model": self.config.model, "messages": conversation, "response_format": { "type": "json_object" },
        });
        let mut call = self.client.post(self.url.clone()).json(&body);
        if let Some(key) = &self.config.key {
            call = call.bearer_auth(key);
        }
        let mut response = call.send().await.map_err(silent)?;
        let mut bytes = Vec::new();
        while let Some(part) = response.chunk().await.map_err(silent)? {
            if bytes.len() + part.len() > MAX_BYTES {
                return Err(failed(format!("its answer has more than {MAX_BYTES} bytes")));
            }
            bytes.extend_from_slice(&part);
        }
        let status = response.status();
        if !status.is_success() {
            let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
            let text = json["error"]["message"].as_str().unwrap_or("no reason given");
            let reason: String = text.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect();
            return Err(failed(format!("its server answers {status}: {reason}")));
        }
        let completion: Completion =
            serde_json::from_slice(&bytes).map_err(|error| failed(format!("its answer is not understood: {error}")))?;
        let answer = completion.choices.into_iter().next().and_then(|choice| choice.message.content);
        answer.ok_or_else(|| failed("its answer is empty".to_owned()))
    }
}
