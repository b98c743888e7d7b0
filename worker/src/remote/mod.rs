//! What compositions name on the network, found before the page is drawn: the operator's map, the farm's packages, files fetched
//! before, the network.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `HYPERFARM_URL_MAP` | a JSON file `{"https://cdn.example/lib/": "/srv/lib"}`, or `prefix=folder` pairs with commas between them; the folder may be `npm:NAME` | none |
//! | `HYPERFARM_PACKAGES_DIR` | a `node_modules` folder that answers for jsDelivr, unpkg, esm.sh and cdnjs | none |
//! | `HYPERFARM_FONTS_DIR` | font files, by the family that each one names | none |
//!
//! and the variables of the fetcher ([`hyperfarm_backplane::fetch`]). GSAP with all its plugins is embedded.

pub(crate) mod library;
mod map;
mod package;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use futures::StreamExt;
use hyperfarm_backplane::fetch::{Expected, FetchConfig, FetchLimits, Fetcher};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;
use url::Url;

use crate::cache::{Cache, InsertError};
use library::FontLibrary;
pub use map::UrlMap;
use map::{Mapped, Place};

/// Bytes of one remote file.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Fetches at once.
const PARALLEL: usize = 16;
/// Time for one file; videos and sounds get what is left of the render's.
const FILE_WITHIN: Duration = Duration::from_secs(15);
/// Time that one render spends on the network.
pub(crate) const RENDER_WITHIN: Duration = Duration::from_secs(60);
/// How long a fetched file stands for its URL.
const FRESH: Duration = Duration::from_secs(3600);
/// How long a failure does.
const FAILED: Duration = Duration::from_secs(60);
/// URLs remembered.
const KEPT: usize = 10_000;

/// How a worker finds remote files.
#[derive(Debug, Clone, Default)]
pub struct RemoteConfig {
    /// The fetcher.
    pub fetch: FetchConfig,
    /// Map and packages.
    pub map: UrlMap,
    /// Folder of fonts.
    pub fonts: Option<PathBuf>,
}

impl RemoteConfig {
    /// From an environment.
    pub fn from_env(env: &dyn Fn(&str) -> Option<String>) -> Result<Self, Failure> {
        let text = |name: &str| env(name).filter(|value| !value.trim().is_empty());
        let invalid = |reason: String| Failure::new(FailureCode::Internal, reason);
        let fonts = text("HYPERFARM_FONTS_DIR").map(PathBuf::from);
        if let Some(folder) = fonts.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(invalid(format!("HYPERFARM_FONTS_DIR: {} is no folder", folder.display())));
        }
        let packages = text("HYPERFARM_PACKAGES_DIR").map(PathBuf::from);
        Ok(Self {
            fetch: FetchConfig::from_env(env).map_err(|error| invalid(error.to_string()))?,
            map: UrlMap::parse(text("HYPERFARM_URL_MAP").as_deref(), packages)
                .map_err(|reason| invalid(format!("HYPERFARM_URL_MAP, HYPERFARM_PACKAGES_DIR: {reason}")))?,
            fonts,
        })
    }
}

/// A remote file that is here.
#[derive(Debug, Clone)]
pub(crate) enum Found {
    /// Embedded, under this URL path of the slot's server.
    Own { path: String, replaced_by: Option<String> },
    /// In the worker's cache.
    Kept(Kept),
}

/// A remote file in the worker's cache.
#[derive(Debug, Clone)]
pub(crate) struct Kept {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    pub(crate) media_type: Option<String>,
    /// Where it came from after redirects: what its own relative URLs are relative to.
    pub(crate) base: Url,
    pub(crate) replaced_by: Option<String>,
}

/// A URL to be found.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) url: Url,
    /// Whether an HTML page is what is wanted.
    pub(crate) page: bool,
    /// Whether it is a video or a sound, which may take longer.
    pub(crate) media: bool,
}

type Known = HashMap<String, (Instant, Result<Kept, String>)>;

/// Finds remote files for every render of a worker.
#[derive(Debug)]
pub struct Remote {
    fetcher: Fetcher,
    map: UrlMap,
    known: Mutex<Known>,
    pub(crate) fonts: FontLibrary,
}

impl Remote {
    /// With this configuration.
    pub fn new(config: RemoteConfig) -> Result<Self, Failure> {
        let fetcher = Fetcher::new(config.fetch)
            .map_err(|error| Failure::new(FailureCode::Internal, error.reason.to_string()))?;
        let fonts = FontLibrary::new(config.fonts);
        Ok(Self { fetcher, map: config.map, known: Mutex::default(), fonts })
    }

    /// Finds every URL, several at once, by `deadline`; the answers are in the order of `asked`.
    pub(crate) async fn find(
        self: &Arc<Self>,
        cache: &Arc<Cache>,
        asked: Vec<Ask>,
        deadline: Instant,
    ) -> Vec<Result<Found, String>> {
        futures::stream::iter(asked)
            .map(|ask| {
                let (remote, cache) = (self.clone(), cache.clone());
                async move { remote.find_one(&cache, ask, deadline).await }
            })
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn find_one(&self, cache: &Arc<Cache>, ask: Ask, deadline: Instant) -> Result<Found, String> {
        if let Some(Mapped { place, base, replaced_by }) = self.map.find(&ask.url) {
            return match place {
                Place::Own(path) => Ok(Found::Own { path, replaced_by }),
                Place::File(file) => {
                    let (hash, bytes) = keep(cache, file).await?;
                    Ok(Found::Kept(Kept { hash, bytes, media_type: None, base: base.unwrap_or(ask.url), replaced_by }))
                }
            };
        }
        let key = ask.url.as_str().to_owned();
        if let Some(known) = self.remembered(&key) {
            return known.map(Found::Kept);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the render's time for fetching is over".to_owned());
        }
        let outcome = self.fetch(cache, &ask, if ask.media { left } else { left.min(FILE_WITHIN) }).await;
        if let Ok(mut known) = self.known.lock() {
            if known.len() >= KEPT {
                known.clear();
            }
            known.insert(key, (Instant::now(), outcome.clone()));
        }
        outcome.map(Found::Kept)
    }

    fn remembered(&self, key: &str) -> Option<Result<Kept, String>> {
        let known = self.known.lock().ok()?;
        let (at, outcome) = known.get(key)?;
        let lasts = if outcome.is_ok() { FRESH } else { FAILED };
        (at.elapsed() < lasts).then(|| outcome.clone())
    }

    async fn fetch(&self, cache: &Arc<Cache>, ask: &Ask, time: Duration) -> Result<Kept, String> {
        let target = tempfile::NamedTempFile::new().map_err(|error| format!("no file can be made: {error}"))?;
        let target = target.into_temp_path();
        let expected = if ask.page { Expected::Anything } else { Expected::File };
        let limits = FetchLimits { bytes: MAX_BYTES, time };
        let fetched = self.fetcher.to_file(&ask.url, &target, limits, expected).await;
        let fetched = fetched.map_err(|error| error.reason.to_string())?;
        let (hash, bytes) = keep(cache, target.to_path_buf()).await?;
        Ok(Kept { hash, bytes, media_type: fetched.media_type, base: fetched.url, replaced_by: None })
    }
}

/// Puts a file into the worker's cache.
async fn keep(cache: &Arc<Cache>, file: PathBuf) -> Result<(ContentHash, u64), String> {
    let cache = cache.clone();
    let keeping = tokio::task::spawn_blocking(move || {
        let mut opened = std::fs::File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        match cache.insert_from(&mut opened, MAX_BYTES) {
            Ok(Some(kept)) => Ok(kept),
            Ok(None) => Err(format!("it is larger than the {MAX_BYTES} bytes allowed")),
            Err(InsertError::Source(error)) => Err(error.to_string()),
            Err(InsertError::Cache(failure)) => Err(failure.message),
        }
    });
    keeping.await.map_err(|panic| format!("the worker's cache broke: {panic}"))?
}
