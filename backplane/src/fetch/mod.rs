//! The farm's fetcher. Everything that pages, projects and people name by URL is fetched by it alone.
//!
//! **Invariant: a URL from outside reaches the public internet or what the operator exempts, never the farm's own
//! network.** The name is resolved once, every address of the answer is checked, and the connection goes to a checked
//! address: a second answer of the name server (rebinding) has no effect. Every redirect is checked like a first URL.
//! Bytes and time are bounded.

mod address;
mod resolve;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use hyperfarm_proto::id::ContentHash;
use reqwest::header::{CONTENT_TYPE, LOCATION};
use reqwest::{Client, Response, StatusCode};
use sha2::{Digest, Sha256};
use tokio::io::AsyncWriteExt;
use url::{Host, Url};

use address::local_name;
pub use address::{AllowList, restricted};
use resolve::{CheckedResolver, Lookup, Refusal};

use crate::config::Env;

/// `on` or `off`: whether anything is fetched.
pub const FETCH: &str = "HYPERFARM_FETCH";
/// `on` or `off`: whether plain http is allowed everywhere.
pub const FETCH_HTTP: &str = "HYPERFARM_FETCH_HTTP";
/// Hosts and networks exempt from the check of addresses.
pub const FETCH_ALLOW: &str = "HYPERFARM_FETCH_ALLOW";

/// Most redirects that are followed.
const MAX_REDIRECTS: usize = 5;
/// Longest time for a connection.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Sent with each request. Web font services answer old browsers with old formats.
const USER_AGENT: &str =
    "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/131.0.0.0 Safari/537.36 hyperfarm";

/// The fetcher's section of the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FetchConfig {
    /// Whether anything is fetched.
    pub enabled: bool,
    /// Whether plain http is allowed for hosts that are not exempt.
    pub http: bool,
    /// Exempt hosts and networks.
    pub allow: AllowList,
}

impl Default for FetchConfig {
    fn default() -> Self {
        Self { enabled: true, http: false, allow: AllowList::default() }
    }
}

impl FetchConfig {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let default = Self::default();
        Self {
            enabled: env.switch(FETCH, default.enabled),
            http: env.switch(FETCH_HTTP, default.http),
            allow: env.parsed(FETCH_ALLOW).unwrap_or(default.allow),
        }
    }
}

/// Why a fetch failed, without the URL.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FetchReason {
    /// The URL is one that the farm does not fetch.
    #[error("{0}")]
    Refused(String),
    /// The server answered with a status other than success.
    #[error("the server answered {0}")]
    Status(u16),
    /// The body is longer than the allowed number of bytes.
    #[error("it is larger than the {0} bytes allowed")]
    TooLarge(u64),
    /// The fetch took longer than allowed.
    #[error("it did not arrive within {} s", .0.as_secs())]
    TimedOut(Duration),
    /// An HTML page came where a file was expected.
    #[error("the server sent an HTML page instead of the file")]
    HtmlPage,
    /// The name was not resolved, or there was no connection, or it broke.
    #[error("{0}")]
    Network(String),
    /// The file cannot be written.
    #[error("it cannot be written: {0}")]
    Local(String),
}

/// A fetch that failed.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{url}: {reason}")]
pub struct FetchError {
    /// The requested URL without secrets.
    pub url: String,
    /// Why it failed.
    pub reason: FetchReason,
}

impl FetchError {
    /// Whether a later attempt may succeed without any change to the URL or the configuration.
    pub fn is_temporary(&self) -> bool {
        match self.reason {
            FetchReason::Network(_) | FetchReason::TimedOut(_) | FetchReason::Local(_) => true,
            FetchReason::Status(status) => status >= 500 || status == 429 || status == 408,
            _ => false,
        }
    }
}

/// Limits of one fetch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FetchLimits {
    /// Longest body, in bytes.
    pub bytes: u64,
    /// Longest time from the first look-up to the last byte, redirects included.
    pub time: Duration,
}

/// What kind of body is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// Any body.
    Anything,
    /// Any body but an HTML page, because some servers answer with a page and success where a file is missing.
    File,
}

/// A fetched file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fetched {
    /// The URL after redirects.
    pub url: Url,
    /// Media type that the server sent, without parameters, in lower case.
    pub media_type: Option<String>,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes.
    pub hash: ContentHash,
}

/// Fetches URLs. Clones share connections.
#[derive(Clone)]
pub struct Fetcher {
    client: Client,
    config: Arc<FetchConfig>,
    resolver: CheckedResolver,
}

impl std::fmt::Debug for Fetcher {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Fetcher").field("config", &self.config).finish_non_exhaustive()
    }
}

impl Fetcher {
    /// A fetcher that resolves names by the machine's name servers. A proxy in the environment is not used: it would
    /// resolve names again.
    ///
    /// # Errors
    ///
    /// The HTTP client cannot be set up.
    pub fn new(config: FetchConfig) -> Result<Self, FetchError> {
        Self::with_lookup(config, resolve::system())
    }

    fn with_lookup(config: FetchConfig, lookup: Lookup) -> Result<Self, FetchError> {
        let config = Arc::new(config);
        let resolver = CheckedResolver::new(config.clone(), lookup);
        let client = Client::builder()
            .user_agent(USER_AGENT)
            .redirect(reqwest::redirect::Policy::none())
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT)
            .dns_resolver(resolver.clone())
            .build()
            .map_err(|error| FetchError {
                url: String::new(),
                reason: FetchReason::Network(format!("the fetcher cannot be set up: {}", root_cause(&error))),
            })?;
        Ok(Self { client, config, resolver })
    }

    /// Writes the body behind `url` to the file `target`.
    ///
    /// # Errors
    ///
    /// The reason, see [`FetchReason`]. The file may then hold a part.
    pub async fn to_file(
        &self,
        url: &Url,
        target: &Path,
        limits: FetchLimits,
        expected: Expected,
    ) -> Result<Fetched, FetchError> {
        let fetching = async {
            let (url, response) = self.follow(url).await?;
            receive(url, response, target, limits.bytes, expected).await
        };
        let outcome = match tokio::time::timeout(limits.time, fetching).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchReason::TimedOut(limits.time)),
        };
        outcome.map_err(|reason| FetchError { url: redacted(url), reason })
    }

    /// Posts `body` as JSON to `url` and returns the status. Redirects are not followed.
    ///
    /// # Errors
    ///
    /// There was no answer, or the URL is one that the farm does not fetch.
    pub async fn post_json(
        &self,
        url: &Url,
        headers: &[(String, String)],
        body: Vec<u8>,
        time: Duration,
    ) -> Result<u16, FetchError> {
        let sending = async {
            self.check(url)?;
            let mut request = self.client.post(url.clone()).header(CONTENT_TYPE, "application/json").body(body);
            for (name, value) in headers {
                request = request.header(name, value);
            }
            Ok(request.send().await.map_err(reason_of)?.status().as_u16())
        };
        let outcome = match tokio::time::timeout(time, sending).await {
            Ok(outcome) => outcome,
            Err(_) => Err(FetchReason::TimedOut(time)),
        };
        outcome.map_err(|reason| FetchError { url: redacted(url), reason })
    }

    /// Checks that `url` may be fetched from, its addresses included, without any request to it.
    ///
    /// # Errors
    ///
    /// The URL is one that the farm does not fetch, or its name has no address now.
    pub async fn check_target(&self, url: &Url) -> Result<(), FetchError> {
        let checking = async {
            self.check(url)?;
            match url.host() {
                Some(Host::Domain(name)) => self.resolver.check(name).await.map_err(FetchReason::from),
                _ => Ok(()),
            }
        };
        checking.await.map_err(|reason| FetchError { url: redacted(url), reason })
    }

    async fn follow(&self, url: &Url) -> Result<(Url, Response), FetchReason> {
        let mut url = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            self.check(&url)?;
            let response = self.client.get(url.clone()).send().await.map_err(reason_of)?;
            let status = response.status();
            if status.is_redirection() && status != StatusCode::NOT_MODIFIED {
                let target = response.headers().get(LOCATION).and_then(|location| location.to_str().ok());
                let target = target.and_then(|target| url.join(target).ok());
                url = target.ok_or_else(|| FetchReason::Network("the server redirects to no URL".to_owned()))?;
                continue;
            }
            if !status.is_success() {
                return Err(FetchReason::Status(status.as_u16()));
            }
            return Ok((url, response));
        }
        Err(FetchReason::Refused(format!("the server redirects more than {MAX_REDIRECTS} times")))
    }

    /// Checks what is known before the name is resolved. An address in the URL itself is never resolved, so it is
    /// checked here.
    fn check(&self, url: &Url) -> Result<(), FetchReason> {
        let refused = |reason: String| Err(FetchReason::Refused(reason));
        if !self.config.enabled {
            return refused(format!("this farm fetches nothing ({FETCH}=off)"));
        }
        if !matches!(url.scheme(), "http" | "https") {
            return refused(format!("{} URLs are not fetched", url.scheme()));
        }
        let Some(host) = url.host() else { return refused("the URL has no host".to_owned()) };
        if url.scheme() == "http" && !self.config.http && !self.is_exempt(&host) {
            return refused(format!(
                "plain http is not allowed for this host; use https, or let the operator set {FETCH_HTTP} or {FETCH_ALLOW}"
            ));
        }
        self.check_host(url)
    }

    /// Whether the operator has the farm reach `host`, whatever it is.
    fn is_exempt(&self, host: &Host<&str>) -> bool {
        let allow = &self.config.allow;
        match *host {
            Host::Domain(host) => allow.has_host(host),
            Host::Ipv4(address) => allow.has_address(address.into()),
            Host::Ipv6(address) => allow.has_address(address.into()),
        }
    }

    /// Checks the host of `url` without any look-up: its address, or a name that is never one of the public internet.
    ///
    /// # Errors
    ///
    /// [`FetchReason::Refused`] for a host that the farm does not reach.
    pub fn check_host(&self, url: &Url) -> Result<(), FetchReason> {
        let kind = url.host().filter(|host| !self.is_exempt(host)).and_then(|host| match host {
            Host::Domain(host) => local_name(host),
            Host::Ipv4(address) => restricted(address.into()),
            Host::Ipv6(address) => restricted(address.into()),
        });
        match kind {
            Some(kind) => Err(FetchReason::Refused(Refusal::message(url.host_str().unwrap_or_default(), kind))),
            None => Ok(()),
        }
    }
}

async fn receive(
    url: Url,
    mut response: Response,
    target: &Path,
    limit: u64,
    expected: Expected,
) -> Result<Fetched, FetchReason> {
    if response.content_length().is_some_and(|length| length > limit) {
        return Err(FetchReason::TooLarge(limit));
    }
    let media_type = response
        .headers()
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok())
        .map(|value| value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase());
    let html = |first: &[u8]| {
        let start = String::from_utf8_lossy(&first[..first.len().min(64)]).trim_start().to_ascii_lowercase();
        start.starts_with("<!doctype html") || start.starts_with("<html")
    };
    if expected == Expected::File && media_type.as_deref() == Some("text/html") {
        return Err(FetchReason::HtmlPage);
    }
    let local = |error: std::io::Error| FetchReason::Local(error.to_string());
    let mut file = tokio::fs::File::create(target).await.map_err(local)?;
    let mut digest = Sha256::new();
    let mut bytes = 0u64;
    while let Some(part) = response.chunk().await.map_err(reason_of)? {
        if bytes == 0 && expected == Expected::File && html(&part) {
            return Err(FetchReason::HtmlPage);
        }
        bytes += part.len() as u64;
        if bytes > limit {
            return Err(FetchReason::TooLarge(limit));
        }
        digest.update(&part);
        file.write_all(&part).await.map_err(local)?;
    }
    file.flush().await.map_err(local)?;
    Ok(Fetched { url, media_type, bytes, hash: ContentHash::from_digest(digest.finalize().into()) })
}

/// The URL without user, password and query.
fn redacted(url: &Url) -> String {
    crate::redact::redact(url.as_str())
}

impl From<Refusal> for FetchReason {
    fn from(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Address(message) => Self::Refused(message),
            Refusal::Unresolved(message) => Self::Network(message),
        }
    }
}

fn reason_of(error: reqwest::Error) -> FetchReason {
    let mut source: Option<&(dyn std::error::Error + 'static)> = Some(&error);
    while let Some(current) = source {
        if let Some(refusal) = current.downcast_ref::<Refusal>() {
            return refusal.clone().into();
        }
        source = current.source();
    }
    let cause = root_cause(&error);
    FetchReason::Network(if error.is_connect() { format!("no connection: {cause}") } else { cause })
}

fn root_cause(error: &dyn std::error::Error) -> String {
    let mut current = error;
    while let Some(source) = current.source() {
        current = source;
    }
    current.to_string()
}
