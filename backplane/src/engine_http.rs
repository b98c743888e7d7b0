//! Requests to the engines of an operator: speech, language models. They are bounded in time and in bytes, and their
//! errors do not name the engine's address, because clients of the farm read them.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, StatusCode};
use serde_json::Value;
use url::Url;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// Bytes of an error's body after which no more are read.
const MAX_ERROR_BYTES: usize = 64 * 1024;

/// Characters of an error's text that are reported.
const MAX_REASON: usize = 300;

/// Why an engine gave no answer.
#[derive(Debug, thiserror::Error)]
pub enum EngineHttpError {
    /// The server cannot be reached, or its connection ends before its answer does.
    #[error("its server does not answer: {0}")]
    Silent(reqwest::Error),
    /// The answer has more than so many bytes.
    #[error("its answer has more than {0} bytes")]
    TooLong(usize),
    /// The server answers with an error: its status, and the reason that it gives.
    #[error("its server answers {0}: {1}")]
    Refused(StatusCode, String),
}

impl From<reqwest::Error> for EngineHttpError {
    fn from(error: reqwest::Error) -> Self {
        Self::Silent(error.without_url())
    }
}

/// Reads the setting of an engine's URL.
///
/// # Errors
///
/// `text` is not the URL of an HTTP server.
pub fn parse_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).map_err(|error| error.to_string())?;
    match url.scheme() {
        "http" | "https" => Ok(url),
        scheme => Err(format!("`{scheme}` is no scheme of an HTTP server")),
    }
}

/// A client for requests that take no longer than `timeout`.
///
/// # Errors
///
/// TLS cannot be set up.
pub fn client(timeout: Duration) -> Result<Client, reqwest::Error> {
    Client::builder().connect_timeout(CONNECT_TIMEOUT).timeout(timeout).redirect(Policy::none()).no_proxy().build()
}

/// The body of a success, of at most `most` bytes.
///
/// # Errors
///
/// The server does not answer, answers with an error, or with too much.
pub async fn answer(request: RequestBuilder, most: usize) -> Result<Vec<u8>, EngineHttpError> {
    let mut response = request.send().await?;
    let status = response.status();
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await? {
        match status.is_success() {
            true if body.len() + part.len() > most => return Err(EngineHttpError::TooLong(most)),
            false if body.len() > MAX_ERROR_BYTES => break,
            _ => body.extend_from_slice(&part),
        }
    }
    if status.is_success() { Ok(body.into()) } else { Err(EngineHttpError::Refused(status, reason(&body))) }
}

/// The message of an error's JSON, else its text.
fn reason(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = json["error"]["message"].as_str().or(json["detail"].as_str()).map(str::to_owned);
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect()
}
