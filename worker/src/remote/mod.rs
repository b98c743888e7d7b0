//! Remote files of compositions. They are found before a page is drawn: by the operator's map, among the farm's
//! packages, among files that were downloaded before, on the network.
//!
//! GSAP with all its plugins is embedded.

pub(crate) mod library;
mod map;
mod package;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::StreamExt;
use hyperfarm_backplane::config::Env;
use hyperfarm_backplane::fetch::{Expected, FetchConfig, FetchLimits, Fetcher};
use hyperfarm_proto::id::ContentHash;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::error::WorkerError;
use library::FontLibrary;
pub use map::UrlMap;
use map::{Location, MapEntry};

/// Most bytes of a remote file.
const MAX_BYTES: u64 = 2 * 1024 * 1024 * 1024;
/// Downloads at once.
const PARALLEL: usize = 16;
/// Longest download of a file. Videos and sounds have the rest of [`RENDER_TIME`].
const FILE_TIME: Duration = Duration::from_secs(15);
/// Time for all downloads of a render.
pub(crate) const RENDER_TIME: Duration = Duration::from_secs(60);
/// How long a downloaded file is used for its URL before the URL is requested again.
const FILE_LIFETIME: Duration = Duration::from_secs(3600);
/// How long a failed download is cached before the URL is tried again.
const FAILURE_LIFETIME: Duration = Duration::from_secs(60);
/// Most URLs in the cache.
const MAX_CACHED: usize = 10_000;

/// The settings of remote files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RemoteSettings {
    /// Which URLs are local files (`HYPERFARM_URL_MAP`): pairs, or the name of a JSON file.
    pub url_map: Option<String>,
    /// A `node_modules` folder that answers for the public package networks (`HYPERFARM_PACKAGES_DIR`).
    pub packages: Option<PathBuf>,
    /// A folder of font files (`HYPERFARM_FONTS_DIR`).
    pub fonts: Option<PathBuf>,
}

impl RemoteSettings {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        Self {
            url_map: env.text("HYPERFARM_URL_MAP"),
            packages: env.text("HYPERFARM_PACKAGES_DIR").map(PathBuf::from),
            fonts: env.text("HYPERFARM_FONTS_DIR").map(PathBuf::from),
        }
    }
}

/// The configuration of remote files.
#[derive(Debug, Clone, Default)]
pub struct RemoteConfig {
    /// The fetcher.
    pub fetch: FetchConfig,
    /// The operator's map, with packages.
    pub map: UrlMap,
    /// The operator's folder of fonts.
    pub fonts: Option<PathBuf>,
}

impl RemoteConfig {
    /// Opens what the settings name.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Setting`] for a folder that does not exist, or a map that cannot be read.
    pub fn open(settings: RemoteSettings, fetch: FetchConfig) -> Result<Self, WorkerError> {
        if let Some(folder) = settings.fonts.as_ref().filter(|folder| !folder.is_dir()) {
            return Err(WorkerError::Setting(format!("HYPERFARM_FONTS_DIR: {} is no folder", folder.display())));
        }
        let map = UrlMap::parse(settings.url_map.as_deref(), settings.packages)
            .map_err(|reason| WorkerError::Setting(format!("HYPERFARM_URL_MAP, HYPERFARM_PACKAGES_DIR: {reason}")))?;
        Ok(Self { fetch, map, fonts: settings.fonts })
    }
}

/// A remote file that was found.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum RemoteFile {
    /// An asset of the farm, at this URL path of the slot's server.
    Asset { path: String, replaced_by: Option<String> },
    /// A file in the worker's cache.
    Cached(CachedFile),
}

/// A remote file in the worker's cache.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct CachedFile {
    pub(crate) hash: ContentHash,
    pub(crate) bytes: u64,
    pub(crate) media_type: Option<String>,
    /// Its URL after redirects, to which its own relative URLs refer.
    pub(crate) base: Url,
    /// What replaces the requested file, where it is another one.
    pub(crate) replaced_by: Option<String>,
}

/// A URL to find a file for.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RemoteRequest {
    pub(crate) url: Url,
    /// Whether an HTML page is expected.
    pub(crate) is_page: bool,
    /// Whether it is a video or a sound, whose download may take longer.
    pub(crate) is_media: bool,
}

/// Downloads by URL, with their time; the error is a text.
type Downloads = HashMap<String, (Instant, Result<CachedFile, String>)>;

/// Finds remote files for every render of a worker.
#[derive(Debug)]
pub struct Remote {
    fetcher: Fetcher,
    map: UrlMap,
    downloads: Mutex<Downloads>,
    pub(crate) fonts: FontLibrary,
}

impl Remote {
    /// A finder with this configuration.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Setting`] where the fetcher cannot be set up.
    pub fn new(config: RemoteConfig) -> Result<Self, WorkerError> {
        let fetcher = Fetcher::new(config.fetch).map_err(|error| WorkerError::Setting(error.reason.to_string()))?;
        let fonts = FontLibrary::new(config.fonts);
        Ok(Self { fetcher, map: config.map, downloads: Mutex::default(), fonts })
    }

    /// Finds the files of `requests`, several at once, until `deadline`. The results are in the order of `requests`.
    pub(crate) async fn find(
        self: &Arc<Self>,
        cache: &Arc<Cache>,
        requests: Vec<RemoteRequest>,
        deadline: Instant,
    ) -> Vec<Result<RemoteFile, String>> {
        futures::stream::iter(requests)
            .map(|request| {
                let (remote, cache) = (self.clone(), cache.clone());
                async move { remote.find_one(&cache, request, deadline).await }
            })
            .buffered(PARALLEL)
            .collect()
            .await
    }

    async fn find_one(
        &self,
        cache: &Arc<Cache>,
        request: RemoteRequest,
        deadline: Instant,
    ) -> Result<RemoteFile, String> {
        if let Some(MapEntry { location, base, replaced_by }) = self.map.find(&request.url) {
            return match location {
                Location::Asset(path) => Ok(RemoteFile::Asset { path, replaced_by }),
                Location::File(file) => {
                    let (hash, bytes) = insert(cache, file).await?;
                    let base = base.unwrap_or(request.url);
                    Ok(RemoteFile::Cached(CachedFile { hash, bytes, media_type: None, base, replaced_by }))
                }
            };
        }
        let key = request.url.as_str().to_owned();
        if let Some(download) = self.cached_download(&key) {
            return download.map(RemoteFile::Cached);
        }
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err("the render's time for fetching is over".to_owned());
        }
        let outcome = self.download(cache, &request, if request.is_media { left } else { left.min(FILE_TIME) }).await;
        let mut downloads = self.downloads.lock();
        if downloads.len() >= MAX_CACHED {
            downloads.clear();
        }
        downloads.insert(key, (Instant::now(), outcome.clone()));
        outcome.map(RemoteFile::Cached)
    }

    fn cached_download(&self, url: &str) -> Option<Result<CachedFile, String>> {
        let downloads = self.downloads.lock();
        let (at, outcome) = downloads.get(url)?;
        let lifetime = if outcome.is_ok() { FILE_LIFETIME } else { FAILURE_LIFETIME };
        (at.elapsed() < lifetime).then(|| outcome.clone())
    }

    async fn download(
        &self,
        cache: &Arc<Cache>,
        request: &RemoteRequest,
        time: Duration,
    ) -> Result<CachedFile, String> {
        let target =
            tempfile::NamedTempFile::new().map_err(|error| format!("no temporary file can be created: {error}"))?;
        let target = target.into_temp_path();
        let expected = if request.is_page { Expected::Anything } else { Expected::File };
        let limits = FetchLimits { bytes: MAX_BYTES, time };
        let fetched = self.fetcher.to_file(&request.url, &target, limits, expected).await;
        let fetched = fetched.map_err(|error| error.reason.to_string())?;
        let (hash, bytes) = insert(cache, target.to_path_buf()).await?;
        Ok(CachedFile { hash, bytes, media_type: fetched.media_type, base: fetched.url, replaced_by: None })
    }
}

/// Adds a local file to the worker's cache.
async fn insert(cache: &Arc<Cache>, file: PathBuf) -> Result<(ContentHash, u64), String> {
    let cache = cache.clone();
    let inserted = blocking("the worker's cache", move || {
        let mut opened = std::fs::File::open(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        match cache.insert_from(&mut opened, MAX_BYTES) {
            Ok(Some(inserted)) => Ok(inserted),
            Ok(None) => Err(format!("it is larger than the {MAX_BYTES} bytes allowed")),
            Err(error) => Err(error.to_string()),
        }
    });
    inserted.await.map_err(|error| error.to_string())?
}
