//! Bounded requests to an engine's HTTP server.

use std::time::Duration;

use bytes::BytesMut;
use reqwest::redirect::Policy;
use reqwest::{Client, RequestBuilder, Response};
use serde_json::Value;

use crate::engine::{SPEECH_TIMEOUT, SpeechError};
use crate::error::MAX_DURATION;

/// Bytes of an answer at most: [`MAX_DURATION`] of stereo at 48 kHz.
const MAX_BYTES: usize = MAX_DURATION.as_secs() as usize * 48_000 * 4;

/// Characters of an error's text that are reported.
const MAX_REASON: usize = 300;

/// A client for requests to the server of an engine.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    Client::builder()
        .connect_timeout(Duration::from_secs(5))
        .timeout(SPEECH_TIMEOUT)
        .redirect(Policy::none())
        .no_proxy()
        .build()
}

/// The body of a success.
///
/// # Errors
///
/// The server does not answer, answers with an error, or with too much.
pub(crate) async fn answer(engine: &'static str, request: RequestBuilder) -> Result<Vec<u8>, SpeechError> {
    let failed = |error: reqwest::Error| SpeechError::engine(engine, format!("its server does not answer: {error}"));
    let mut response = request.send().await.map_err(failed)?;
    let status = response.status();
    let most = if status.is_success() { MAX_BYTES } else { 64 * 1024 };
    let body = body(&mut response, most).await.map_err(failed)?.ok_or(SpeechError::TooLong)?;
    if status.is_success() {
        return Ok(body);
    }
    Err(SpeechError::engine(engine, format!("its server answers {status}: {}", reason(&body))))
}

/// The body, if it is not longer than `most` bytes.
async fn body(response: &mut Response, most: usize) -> Result<Option<Vec<u8>>, reqwest::Error> {
    let mut body = BytesMut::new();
    while let Some(part) = response.chunk().await? {
        if body.len() + part.len() > most {
            return Ok(None);
        }
        body.extend_from_slice(&part);
    }
    Ok(Some(body.into()))
}

/// The message of an error's JSON, else its text.
fn reason(body: &[u8]) -> String {
    let json: Value = serde_json::from_slice(body).unwrap_or_default();
    let message = json["error"]["message"].as_str().or(json["detail"].as_str()).map(str::to_owned);
    let text = message.unwrap_or_else(|| String::from_utf8_lossy(body).into_owned());
    text.chars().filter(|character| !character.is_control()).take(MAX_REASON).collect()
}
