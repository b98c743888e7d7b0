//! Names to addresses, once, and only to those that may be connected to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{FetchConfig, restricted};

/// From a name to its addresses.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// A name server that does not answer for so long is not there.
const ANSWER_WITHIN: Duration = Duration::from_secs(3);
/// How long a name that did not resolve is not asked for again, so that a page with a hundred URLs waits once.
const REMEMBERED: Duration = Duration::from_secs(30);

/// Why a name leads nowhere.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refusal {
    /// It leads to an address that is not allowed.
    #[error("{0}")]
    Address(String),
    /// It leads to no address.
    #[error("{0}")]
    Unresolved(String),
}

impl Refusal {
    pub(super) fn message(host: &str, kind: &str) -> String {
        format!(
            "{host} is {kind}, and the farm fetches from the public internet only; an operator exempts hosts by {}",
            super::FETCH_ALLOW
        )
    }
}

/// The machine's own look-up.
pub(super) fn system() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    })
}

/// The look-up with the check behind it.
pub(super) struct Guard {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<FetchConfig>,
    lookup: Lookup,
    unresolved: Mutex<HashMap<String, (Instant, Refusal)>>,
}

impl Guard {
    pub(super) fn new(config: Arc<FetchConfig>, lookup: Lookup) -> Self {
        Self { shared: Arc::new(Shared { config, lookup, unresolved: Mutex::default() }) }
    }
}

impl Resolve for Guard {
    fn resolve(&self, name: Name) -> Resolving {
        let (shared, host) = (self.shared.clone(), name.as_str().to_owned());
        Box::pin(async move {
            let addresses = shared.addresses(&host).await?;
            let addresses: Addrs = Box::new(addresses.into_iter().map(|address| SocketAddr::new(address, 0)));
            Ok(addresses)
        })
    }
}

impl Shared {
    async fn addresses(&self, host: &str) -> Result<Vec<IpAddr>, Refusal> {
        if let Some(refusal) = self.remembered(host) {
            return Err(refusal);
        }
        let found = match tokio::time::timeout(ANSWER_WITHIN, (self.lookup)(host.to_owned())).await {
            Ok(Ok(found)) if !found.is_empty() => found,
            Ok(Ok(_)) => return Err(self.remember(host, format!("the name {host} has no address"))),
            Ok(Err(error)) => return Err(self.remember(host, format!("the name {host} cannot be resolved: {error}"))),
            Err(_) => return Err(self.remember(host, format!("no name server answered for {host}"))),
        };
        if self.config.allow.has_host(host) {
            return Ok(found);
        }
        // One bad address condemns the answer: a client would try them all.
        for address in &found {
            if let Some(kind) = restricted(*address).filter(|_| !self.config.allow.has_address(*address)) {
                return Err(Refusal::Address(Refusal::message(&format!("{host} ({address})"), kind)));
            }
        }
        Ok(found)
    }

    fn remembered(&self, host: &str) -> Option<Refusal> {
        let mut unresolved = self.unresolved.lock().ok()?;
        unresolved.retain(|_, (at, _)| at.elapsed() < REMEMBERED);
        unresolved.get(host).map(|(_, refusal)| refusal.clone())
    }

    fn remember(&self, host: &str, message: String) -> Refusal {
        let refusal = Refusal::Unresolved(message);
        if let Ok(mut unresolved) = self.unresolved.lock() {
            unresolved.insert(host.to_owned(), (Instant::now(), refusal.clone()));
        }
        refusal
    }
}
