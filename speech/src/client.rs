//! Requests to an engine's HTTP server.

use hyperfarm_backplane::engine_http::{self, EngineHttpError};
use reqwest::{Client, RequestBuilder};

use crate::engine::{SPEECH_TIMEOUT, SpeechError};
use crate::error::MAX_DURATION;

/// Bytes of an answer at most: [`MAX_DURATION`] of stereo at 48 kHz.
const MAX_BYTES: usize = MAX_DURATION.as_secs() as usize * 48_000 * 4;

/// A client for requests to the server of an engine.
pub(crate) fn client() -> Result<Client, reqwest::Error> {
    engine_http::client(SPEECH_TIMEOUT)
}

/// The body of a success.
///
/// # Errors
///
/// The server does not answer, answers with an error, or with too much.
pub(crate) async fn answer(engine: &'static str, request: RequestBuilder) -> Result<Vec<u8>, SpeechError> {
    engine_http::answer(request, MAX_BYTES).await.map_err(|error| match error {
        EngineHttpError::TooLong(_) => SpeechError::TooLong,
        error => SpeechError::engine(engine, error),
    })
}
