//! Asks coordinators for grants.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use object_store::Error;
use reqwest::redirect::Policy;
use reqwest::{Client, StatusCode};
use serde_json::Value;
use url::Url;

use super::{RETRIES, STORE, generic, unanswered};
use crate::metrics::Metrics;
use crate::objects::grants::{self, GrantAnswer, GrantRequest, Want};

/// How long an answer may take.
const TIMEOUT: Duration = Duration::from_secs(20);

/// How long an answer may take for which the store joins the parts of a file.
const JOIN_TIMEOUT: Duration = Duration::from_secs(600);

/// How long a coordinator is asked again that does not find the lease: after an emptied ledger, the next renewal, within
/// a second, brings it back.
const LEASE_RETURNS_WITHIN: Duration = Duration::from_secs(3);

/// The coordinators, which have one URL.
pub(super) struct Coordinator {
    http: Client,
    uploader: Client,
    url: Url,
    token: String,
    metrics: Arc<OnceLock<Metrics>>,
}

/// A request that was not answered with grants.
pub(super) struct Refused {
    pub(super) error: Error,
    /// Until when it is asked again, counted from the first request; `None` for never.
    within: Option<Duration>,
}

impl Coordinator {
    pub(super) fn new(url: Url, token: &str, metrics: Arc<OnceLock<Metrics>>) -> Result<Self, String> {
        let client = || Client::builder().connect_timeout(Duration::from_secs(5)).redirect(Policy::none()).no_proxy();
        let failed = |error| format!("no HTTP client can be made: {error}");
        let http = client().read_timeout(Duration::from_secs(30)).build().map_err(failed)?;
        let uploader = client().build().map_err(failed)?;
        Ok(Self { http, uploader, url, token: token.to_owned(), metrics })
    }

    /// The client for every request but those that send a file.
    pub(super) fn http(&self) -> &Client {
        &self.http
    }

    /// The client for requests that send a file. The limit of the other one counts from the begin of a request to its
    /// answer, and a large file takes longer.
    pub(super) fn uploader(&self) -> &Client {
        &self.uploader
    }

    pub(super) fn url(&self) -> &Url {
        &self.url
    }

    /// Asks until there is an answer, or for as long as stores are asked.
    pub(super) async fn ask(&self, request: &GrantRequest) -> object_store::Result<GrantAnswer> {
        let started = Instant::now();
        let mut delays = RETRIES.delays();
        loop {
            let refused = match self.ask_once(request).await {
                Ok(answer) => return Ok(answer),
                Err(refused) => refused,
            };
            let delay =
                delays.next().filter(|delay| refused.within.is_some_and(|within| started.elapsed() + *delay < within));
            let Some(delay) = delay else { return Err(refused.error) };
            tracing::debug!(error = %refused.error, "a coordinator gives no grants, it is asked again");
            tokio::time::sleep(delay).await;
        }
    }

    /// Asks once.
    pub(super) async fn ask_once(&self, request: &GrantRequest) -> Result<GrantAnswer, Refused> {
        let answer = self.post(request).await;
        if let Some(metrics) = self.metrics.get() {
            metrics.grants_asked(if answer.is_ok() { "granted" } else { "refused" });
        }
        answer
    }

    async fn post(&self, request: &GrantRequest) -> Result<GrantAnswer, Refused> {
        let last = |error| Refused { error, within: None };
        let url = self.url.join(grants::PATH).map_err(|error| last(generic(error)))?;
        let joins = request.wants.iter().any(|want| matches!(want, Want::Complete { .. }));
        let (client, timeout) = if joins { (&self.uploader, JOIN_TIMEOUT) } else { (&self.http, TIMEOUT) };
        let made = client.post(url).bearer_auth(&self.token).timeout(timeout).json(request);
        let again = |error| Refused { error, within: Some(Duration::MAX) };
        let unanswered = |error| {
            let Error::Generic { source, .. } = unanswered(error) else {
                return again(Error::Generic { store: STORE, source: "no answer".into() });
            };
            let source = format!("the coordinator at {} does not answer: {source}", self.url).into();
            again(Error::Generic { store: STORE, source })
        };
        let response = made.send().await.map_err(unanswered)?;
        let status = response.status();
        let body = response.bytes().await.map_err(unanswered)?;
        if status.is_success() {
            return serde_json::from_slice(&body).map_err(|error| last(generic(error)));
        }
        let json: Value = serde_json::from_slice(&body).unwrap_or_default();
        let reason = json["error"]["message"].as_str().unwrap_or("no reason").to_owned();
        let path = request.wants.first().map(|want| want.key().to_owned()).unwrap_or_default();
        let source = format!("the coordinator at {} answers {}: {reason}", self.url, status.as_u16()).into();
        Err(match status {
            StatusCode::UNAUTHORIZED => last(Error::Unauthenticated { path, source }),
            StatusCode::CONFLICT => {
                Refused { error: Error::Precondition { path, source }, within: Some(LEASE_RETURNS_WITHIN) }
            }
            StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
                again(Error::Generic { store: STORE, source })
            }
            status if status.is_server_error() => again(Error::Generic { store: STORE, source }),
            // It stays so, however often it is asked.
            _ => last(Error::NotSupported { source }),
        })
    }
}
