//! Resolves host names to the addresses that may be connected to.

use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use parking_lot::Mutex;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

use super::{FetchConfig, restricted};

/// Looks up the addresses of a host name.
pub(super) type Lookup = Arc<dyn Fn(String) -> BoxFuture<'static, std::io::Result<Vec<IpAddr>>> + Send + Sync>;

/// Longest wait for a name server.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a failed look-up is cached before the name is looked up again, so that a page with a hundred URLs waits
/// once.
const FAILURE_LIFETIME: Duration = Duration::from_secs(30);

/// Why a name is not connected to.
#[derive(Debug, Clone, thiserror::Error)]
pub(super) enum Refusal {
    /// It has an address that is not allowed.
    #[error("{0}")]
    Address(String),
    /// It has no address, or none was found.
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

/// The look-up of the operating system.
pub(super) fn system() -> Lookup {
    Arc::new(|host| {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|address| address.ip()).collect()) })
    })
}

/// A resolver that checks every address. Clones share what they have cached.
#[derive(Clone)]
pub(super) struct CheckedResolver {
    shared: Arc<Shared>,
}

struct Shared {
    config: Arc<FetchConfig>,
    lookup: Lookup,
    /// Failed look-ups by host name, with their times.
    unresolved: Mutex<HashMap<String, (Instant, Refusal)>>,
}

impl CheckedResolver {
    pub(super) fn new(config: Arc<FetchConfig>, lookup: Lookup) -> Self {
        Self { shared: Arc::new(Shared { config, lookup, unresolved: Mutex::default() }) }
    }

    /// Checks the addresses that a host name has now.
    pub(super) async fn check(&self, host: &str) -> Result<(), Refusal> {
        self.shared.addresses(host).await.map(drop)
    }
}

impl Resolve for CheckedResolver {
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
        if let Some(refusal) = self.cached_failure(host) {
            return Err(refusal);
        }
        let found = match tokio::time::timeout(LOOKUP_TIMEOUT, (self.lookup)(host.to_owned())).await {
            Ok(Ok(found)) if !found.is_empty() => found,
            Ok(Ok(_)) => return Err(self.cache_failure(host, format!("the name {host} has no address"))),
            Ok(Err(error)) => {
                return Err(self.cache_failure(host, format!("the name {host} cannot be resolved: {error}")));
            }
            Err(_) => return Err(self.cache_failure(host, format!("no name server answered for {host}"))),
        };
        if self.config.allow.has_host(host) {
            return Ok(found);
        }
        // One bad address refuses the whole answer, because a client would try them all.
        for address in &found {
            if let Some(kind) = restricted(*address).filter(|_| !self.config.allow.has_address(*address)) {
                // The address itself is of the farm's own network: it is not told.
                return Err(Refusal::Address(Refusal::message(host, kind)));
            }
        }
        Ok(found)
    }

    fn cached_failure(&self, host: &str) -> Option<Refusal> {
        let mut unresolved = self.unresolved.lock();
        unresolved.retain(|_, (at, _)| at.elapsed() < FAILURE_LIFETIME);
        unresolved.get(host).map(|(_, refusal)| refusal.clone())
    }

    fn cache_failure(&self, host: &str, message: String) -> Refusal {
        let refusal = Refusal::Unresolved(message);
        self.unresolved.lock().insert(host.to_owned(), (Instant::now(), refusal.clone()));
        refusal
    }
}
