//! What a compile has from outside: the worker's cache, remote files, the operator's fonts, headers of media, versions
//! of the runtime. A compile in a process of its own has them through its worker (`crate::compiler`).

use std::io::Read;
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_media::{Decoders, MediaInfo, MediaLimits};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{RuntimeVersion, Warning};
use serde::{Deserialize, Serialize};

use super::html::AuthoredPage;
use super::unpack::ProjectFile;
use crate::cache::{Cache, InsertError};
use crate::error::{DiskError, WorkerError};
use crate::remote::{RENDER_TIME, Remote, RemoteFile, RemoteRequest};
use crate::runtimes::{ChosenRuntime, NamedRuntime};

/// Most remote references of a render.
pub(crate) const MAX_REFERENCES: usize = 2000;
/// Most bytes of a font of the operator.
const MAX_FONT: u64 = 64 * 1024 * 1024;

/// A face of the operator's font folder.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct FontFace {
    pub(crate) family: String,
    /// `font-weight` of CSS.
    pub(crate) weight: String,
    pub(crate) italic: bool,
    /// The extension of its file in lower case.
    pub(crate) extension: String,
}

/// Whether any of `faces` is of the family, whatever its case.
pub(super) fn has_family(faces: &[FontFace], family: &str) -> bool {
    faces.iter().any(|face| face.family.eq_ignore_ascii_case(family))
}

/// The runtime of a page, as far as the compiler needs it.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct RuntimeOfPage {
    pub(crate) runtime: RuntimeVersion,
    /// As in [`crate::runtimes::RuntimeScripts::runs_deferred_scripts`].
    pub(crate) runs_deferred_scripts: bool,
    /// Says that the project names another version.
    pub(crate) warning: Option<Warning>,
}

impl From<ChosenRuntime> for RuntimeOfPage {
    fn from(ChosenRuntime { runtime, scripts, warning }: ChosenRuntime) -> Self {
        Self { runtime, runs_deferred_scripts: scripts.runs_deferred_scripts(), warning }
    }
}

/// What a compile has from outside. The calls block.
pub(crate) trait CompileServices: Send + Sync {
    /// Adds the bytes of `reader` to the cache; `None` where they are more than `limit`.
    fn insert_from(&self, reader: &mut dyn Read, limit: u64) -> Result<Option<(ContentHash, u64)>, InsertError>;

    /// The bytes of a file of the cache.
    fn read(&self, hash: &ContentHash) -> Result<Vec<u8>, WorkerError>;

    /// Finds remote files. The results are in the order of `requests`.
    fn find(&self, requests: Vec<RemoteRequest>) -> Vec<Result<RemoteFile, String>>;

    /// The headers of the media file with this hash, which is `name` in its project; `None` where it cannot be read.
    fn probe(&self, hash: &ContentHash, name: &str) -> Option<MediaInfo>;

    /// The faces of the operator's font folder.
    fn fonts(&self) -> &[FontFace];

    /// Adds the file of the face of this number among [`CompileServices::fonts`] to the cache.
    fn add_font(&self, number: usize) -> Option<ProjectFile>;

    /// Whether a font of the machine has the family.
    fn is_on_machine(&self, family: &str) -> bool;

    /// Takes what the root says as soon as it is known, so that browsers can be started meanwhile.
    fn set_page(&self, page: AuthoredPage);

    /// The runtime of a project that names this version.
    fn choose_runtime(&self, named: Option<NamedRuntime>) -> Result<RuntimeOfPage, WorkerError>;
}

/// Adds `bytes` to the cache.
pub(super) fn insert(services: &dyn CompileServices, mut bytes: &[u8]) -> Result<ProjectFile, WorkerError> {
    match services.insert_from(&mut bytes, u64::MAX) {
        Ok(Some((hash, bytes))) => Ok(ProjectFile { hash, bytes }),
        Ok(None) => Err(WorkerError::Inconsistent("a file has more bytes than can be counted".to_owned())),
        Err(InsertError::Cache(error)) => Err(error.into()),
        Err(InsertError::Source(error)) => Err(WorkerError::Inconsistent(format!("memory cannot be read: {error}"))),
    }
}

type ChooseRuntime = dyn Fn(Option<NamedRuntime>) -> Result<ChosenRuntime, WorkerError> + Send + Sync;

/// The services of this worker.
pub(crate) struct LocalServices {
    cache: Arc<Cache>,
    remote: Arc<Remote>,
    decoders: Decoders,
    fonts: Vec<FontFace>,
    on_page: Box<dyn Fn(AuthoredPage) + Send + Sync>,
    choose_runtime: Box<ChooseRuntime>,
    /// Where downloads run; without one there are none.
    handle: Option<tokio::runtime::Handle>,
    /// End of the time for downloads.
    deadline: Instant,
}

impl LocalServices {
    /// Services for a render whose time for downloads begins now, with the runtime that is built in.
    pub(crate) fn new(remote: Arc<Remote>, cache: Arc<Cache>) -> Self {
        let face = |face: &crate::remote::library::FontFile| {
            let extension = face.file.extension().and_then(|extension| extension.to_str()).unwrap_or("bin");
            FontFace {
                family: face.family.clone(),
                weight: face.weight.clone(),
                italic: face.italic,
                extension: extension.to_ascii_lowercase(),
            }
        };
        let fonts = remote.fonts.faces().iter().map(face).collect();
        Self {
            cache,
            remote,
            decoders: Decoders::in_process(MediaLimits::default()),
            fonts,
            on_page: Box::new(|_| ()),
            choose_runtime: Box::new(|_| Ok(ChosenRuntime::default())),
            handle: tokio::runtime::Handle::try_current().ok(),
            deadline: Instant::now() + RENDER_TIME,
        }
    }

    /// Services of a cache in `folder`, without a network.
    #[cfg(test)]
    pub(crate) fn in_folder(folder: &std::path::Path) -> Self {
        let fetch = hyperfarm_backplane::fetch::FetchConfig { enabled: false, ..Default::default() };
        let remote = Remote::new(crate::remote::RemoteConfig { fetch, ..Default::default() }).unwrap();
        Self::new(Arc::new(remote), Arc::new(Cache::open(folder).unwrap()))
    }

    /// The services with `decoders` for media.
    pub(crate) fn with_decoders(self, decoders: Decoders) -> Self {
        Self { decoders, ..self }
    }

    /// The services that call `on_page` with what the root says.
    pub(crate) fn with_on_page(self, on_page: impl Fn(AuthoredPage) + Send + Sync + 'static) -> Self {
        Self { on_page: Box::new(on_page), ..self }
    }

    /// The services that choose a runtime by `choose`.
    pub(crate) fn with_runtimes(
        self,
        choose: impl Fn(Option<NamedRuntime>) -> Result<ChosenRuntime, WorkerError> + Send + Sync + 'static,
    ) -> Self {
        Self { choose_runtime: Box::new(choose), ..self }
    }

    /// A file of the cache, opened.
    pub(crate) fn open(&self, hash: &ContentHash) -> Result<std::fs::File, DiskError> {
        let path = self.cache.path(hash);
        std::fs::File::open(&path).map_err(DiskError::at(&path, "cannot be read"))
    }
}

impl CompileServices for LocalServices {
    fn insert_from(&self, reader: &mut dyn Read, limit: u64) -> Result<Option<(ContentHash, u64)>, InsertError> {
        self.cache.insert_from(reader, limit)
    }

    fn read(&self, hash: &ContentHash) -> Result<Vec<u8>, WorkerError> {
        let path = self.cache.path(hash);
        Ok(std::fs::read(&path).map_err(DiskError::at(&path, "cannot be read"))?)
    }

    fn find(&self, requests: Vec<RemoteRequest>) -> Vec<Result<RemoteFile, String>> {
        match &self.handle {
            Some(handle) => handle.block_on(self.remote.find(&self.cache, requests, self.deadline)),
            None => Vec::new(),
        }
    }

    fn probe(&self, hash: &ContentHash, name: &str) -> Option<MediaInfo> {
        self.decoders.probe(&self.cache.path(hash), name).ok()
    }

    fn fonts(&self) -> &[FontFace] {
        &self.fonts
    }

    fn add_font(&self, number: usize) -> Option<ProjectFile> {
        let face = self.remote.fonts.faces().get(number)?;
        let mut opened = std::fs::File::open(&face.file).ok()?;
        let (hash, bytes) = self.cache.insert_from(&mut opened, MAX_FONT).ok()??;
        Some(ProjectFile { hash, bytes })
    }

    fn is_on_machine(&self, family: &str) -> bool {
        self.remote.fonts.is_on_machine(family)
    }

    fn set_page(&self, page: AuthoredPage) {
        (self.on_page)(page);
    }

    fn choose_runtime(&self, named: Option<NamedRuntime>) -> Result<RuntimeOfPage, WorkerError> {
        Ok((self.choose_runtime)(named)?.into())
    }
}
