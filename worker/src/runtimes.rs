//! Runtimes: which version of the HyperFrames runtime a render gets, and its scripts.
//!
//! One version is built in. Others are packages in storage. The plan stage chooses the version and copies its package
//! to the render's blobs, so that every later task has it, also where the version is removed meanwhile.

use std::collections::VecDeque;
use std::sync::{Arc, LazyLock};

use bytes::Bytes;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runtimes::{RuntimeStore, RuntimeVersions};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{RuntimeVersion, Warning};
use hyperfarm_proto::runtime::RuntimePackage;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::assets::{self, RUNTIME_VERSION};
use crate::error::{ProjectError, WorkerError};

/// Most runtimes in memory beside the built-in one. Each has about 1 MB.
const MAX_CACHED: usize = 8;

/// What becomes of a project whose files name a version that is not there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum MissingRuntime {
    /// It gets the default version and a warning.
    #[default]
    Default,
    /// Its render fails.
    Error,
}

/// Where versions of the runtime are found.
#[derive(Debug, Clone, Default)]
pub struct RuntimeConfig {
    /// The versions; without one those in the farm's storage.
    pub store: Option<RuntimeStore>,
    /// What becomes of a project whose files name a version that is not there.
    pub missing: MissingRuntime,
}

/// The runtime runs scripts of this type once the page's fonts are loaded, so that they measure text correctly. Older
/// versions of it do not.
pub(crate) const AFTER_FONTS: &str = "text/hf-after-fonts";

/// A version or range that a file of the project names.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct NamedRuntime {
    /// As it is written there.
    pub(crate) version: String,
    /// The file and the field.
    pub(crate) place: String,
}

/// The runtime of a render.
#[derive(Debug, Clone)]
pub(crate) struct ChosenRuntime {
    pub(crate) runtime: RuntimeVersion,
    pub(crate) scripts: Arc<RuntimeScripts>,
    /// Says that the project names another version.
    pub(crate) warning: Option<Warning>,
}

impl Default for ChosenRuntime {
    /// The one that is built in.
    fn default() -> Self {
        Self { runtime: BUILT_IN.clone(), scripts: Arc::default(), warning: None }
    }
}

/// The scripts of a runtime, as a page loads them.
#[derive(Debug, Clone)]
pub struct RuntimeScripts {
    script: Bytes,
    effects: Bytes,
    runs_deferred_scripts: bool,
}

impl Default for RuntimeScripts {
    /// Those that are built in.
    fn default() -> Self {
        let script = LazyLock::force(&BUILT_IN_SCRIPT).as_bytes();
        let effects = Bytes::from_static(assets::EFFECTS.as_bytes());
        Self { script: Bytes::from_static(script), effects, runs_deferred_scripts: true }
    }
}

impl RuntimeScripts {
    /// Those of a stored package.
    fn of_package(package: &RuntimePackage) -> Self {
        let effects = package.effects.clone().map_or(Bytes::from_static(assets::EFFECTS.as_bytes()), Bytes::from);
        let runs_deferred_scripts = package.script.contains(AFTER_FONTS);
        Self { script: with_real_timers(&package.script).into(), effects, runs_deferred_scripts }
    }

    /// Whether the runtime runs the scripts whose type says that they wait for the page's fonts.
    pub(crate) fn runs_deferred_scripts(&self) -> bool {
        self.runs_deferred_scripts
    }

    /// The script at `path` below the farm's prefix.
    pub(crate) fn file(&self, path: &str) -> Option<Bytes> {
        match path {
            "runtime.js" => Some(self.script.clone()),
            "effects-chain.js" => Some(self.effects.clone()),
            _ => None,
        }
    }
}

static BUILT_IN_SCRIPT: LazyLock<String> = LazyLock::new(|| with_real_timers(assets::RUNTIME));

static BUILT_IN: LazyLock<RuntimeVersion> = LazyLock::new(|| RuntimeVersion {
    version: RUNTIME_VERSION.to_owned(),
    hash: ContentHash::of([assets::RUNTIME, assets::EFFECTS].concat().as_bytes()),
});

/// The runtime with the real timers: it waits with them for events outside of composition time.
fn with_real_timers(script: &str) -> String {
    format!(
        "(function (setTimeout, clearTimeout, setInterval, clearInterval) {{\n{script}\n}})(...((c) => \
         [c.originalSetTimeout, c.originalClearTimeout, c.originalSetInterval, \
         c.originalClearInterval])(window.__HF_VIRTUAL_TIME__));\n"
    )
}

/// The runtimes of a worker.
pub(crate) struct Runtimes {
    /// The versions; without one those beside the render.
    store: Option<RuntimeStore>,
    missing: MissingRuntime,
    /// Scripts that were fetched, the last used first.
    cached: Mutex<VecDeque<(ContentHash, Arc<RuntimeScripts>)>>,
}

impl Runtimes {
    /// The runtimes of a worker.
    pub(crate) fn new(config: RuntimeConfig) -> Self {
        Self { store: config.store, missing: config.missing, cached: Mutex::default() }
    }

    /// The runtime of a render in `objects` that asks for `asked`, of a project that names `named`. It is among the
    /// render's blobs when this returns.
    pub(crate) async fn choose(
        &self,
        objects: &Objects,
        asked: Option<&str>,
        named: Option<&NamedRuntime>,
    ) -> Result<ChosenRuntime, WorkerError> {
        let store = self.store.clone().unwrap_or_else(|| RuntimeStore::new(objects.clone()));
        let versions = store.versions(RUNTIME_VERSION).await?;
        let (version, warning) = select(&versions, asked, named, self.missing)?;
        if version == RUNTIME_VERSION {
            return Ok(ChosenRuntime { warning, ..ChosenRuntime::default() });
        }
        // Another process may remove it at this moment.
        let Some(record) = store.record(&version).await? else {
            return Err(ProjectError::RuntimeMissing(versions.missing("the render", &version)).into());
        };
        let runtime = RuntimeVersion { version, hash: record.hash };
        let bytes = store.package(&runtime.hash).await?;
        let key = keys::blob(&runtime.hash);
        let scripts = self.insert(&runtime, &key, &bytes)?;
        if !objects.exists(&key).await? {
            objects.put(&key, bytes).await?;
        }
        Ok(ChosenRuntime { runtime, scripts, warning })
    }

    /// The scripts of the runtime of a plan in `objects`.
    pub(crate) async fn scripts(
        &self,
        objects: &Objects,
        runtime: &RuntimeVersion,
    ) -> Result<Arc<RuntimeScripts>, WorkerError> {
        if *runtime == *BUILT_IN {
            return Ok(Arc::default());
        }
        if let Some(scripts) = self.cached(&runtime.hash) {
            return Ok(scripts);
        }
        let key = keys::blob(&runtime.hash);
        let bytes = objects.get(&key).await?;
        self.insert(runtime, &key, &bytes)
    }

    fn cached(&self, hash: &ContentHash) -> Option<Arc<RuntimeScripts>> {
        let mut cached = self.cached.lock();
        let position = cached.iter().position(|(other, _)| other == hash)?;
        let entry = cached.remove(position)?;
        cached.push_front(entry.clone());
        Some(entry.1)
    }

    /// Caches the scripts of a package, whose hash is checked.
    fn insert(&self, runtime: &RuntimeVersion, key: &str, bytes: &[u8]) -> Result<Arc<RuntimeScripts>, WorkerError> {
        if let Some(scripts) = self.cached(&runtime.hash) {
            return Ok(scripts);
        }
        let package = serde_json::from_slice(bytes).ok().filter(|_| ContentHash::of(bytes) == runtime.hash);
        let package: RuntimePackage = package.ok_or_else(|| WorkerError::DamagedObject { key: key.to_owned() })?;
        let scripts = Arc::new(RuntimeScripts::of_package(&package));
        let mut cached = self.cached.lock();
        cached.truncate(MAX_CACHED - 1);
        cached.push_front((runtime.hash, scripts.clone()));
        Ok(scripts)
    }
}

/// The version of a render, and a warning where it is another one than the project names. Who asks for a version gets
/// it or an error. A version that only the project's files name may be missing, because projects were rendered before a
/// farm had more than one.
fn select(
    versions: &RuntimeVersions,
    asked: Option<&str>,
    named: Option<&NamedRuntime>,
    missing: MissingRuntime,
) -> Result<(String, Option<Warning>), ProjectError> {
    if let Some(asked) = asked {
        let chosen = versions.choose(asked).map(|version| (version.to_owned(), None));
        return chosen.ok_or_else(|| ProjectError::RuntimeMissing(versions.missing("`runtime` of the request", asked)));
    }
    let Some(NamedRuntime { version, place }) = named else { return Ok((versions.default.clone(), None)) };
    match versions.choose(version) {
        Some(version) => Ok((version.to_owned(), None)),
        None if missing == MissingRuntime::Error => Err(ProjectError::RuntimeMissing(versions.missing(place, version))),
        None => {
            let message = format!(
                "{}. The render has the default version, {}",
                versions.missing(place, version),
                versions.default
            );
            let warning = Warning { code: "RUNTIME_SUBSTITUTED".to_owned(), message };
            Ok((versions.default.clone(), Some(warning)))
        }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::bounded::Text;
    use hyperfarm_proto::failure::FailureCode;

    use super::*;

    fn package(version: &str) -> RuntimePackage {
        RuntimePackage {
            name: Text::new("hyperframes").unwrap(),
            version: Text::new(version).unwrap(),
            license: Text::new("Apache-2.0").unwrap(),
            license_text: String::new(),
            script: format!("window.__player = \"{version}\";"),
            effects: None,
        }
    }

    fn named(version: &str) -> NamedRuntime {
        NamedRuntime { version: version.to_owned(), place: "package.json (dependencies.hyperframes)".to_owned() }
    }

    #[tokio::test]
    async fn a_request_comes_before_the_project_and_the_project_before_the_default() {
        let objects = Objects::memory();
        let store = RuntimeStore::new(objects.clone());
        for version in ["0.1.1", "0.1.2", "0.1.3"] {
            store.add(&package(version), RUNTIME_VERSION).await.unwrap();
        }
        store.set_default("0.1.3", RUNTIME_VERSION).await.unwrap();
        let runtimes = Runtimes::new(RuntimeConfig::default());
        let strict = RuntimeConfig { missing: MissingRuntime::Error, ..RuntimeConfig::default() };
        let strict = Runtimes::new(strict);
        let of = async |asked: Option<&str>, names: Option<&str>| {
            let chosen = runtimes.choose(&objects, asked, names.map(named).as_ref()).await;
            chosen.map(|chosen| (chosen.runtime.version, chosen.warning.is_some()))
        };
        for (asked, names, expected) in [
            (Some("0.1.1"), Some("0.1.2"), ("0.1.1", false)),
            (None, Some("0.1.2"), ("0.1.2", false)),
            (None, Some("~0.1.1 <0.1.3"), ("0.1.2", false)),
            (None, None, ("0.1.3", false)),
            (Some(RUNTIME_VERSION), None, (RUNTIME_VERSION, false)),
            (None, Some("99.0.0"), ("0.1.3", true)),
            (None, Some("file:../x"), ("0.1.3", true)),
        ] {
            let (version, warned) = of(asked, names).await.unwrap();
            assert_eq!((version.as_str(), warned), expected, "{asked:?} {names:?}");
        }
        let error = of(Some("99.0.0"), Some("0.1.2")).await.unwrap_err();
        assert_eq!(error.code(), FailureCode::RuntimeMissing);
        let error = strict.choose(&objects, None, Some(&named("99.0.0"))).await.unwrap_err().to_string();
        for part in ["package.json (dependencies.hyperframes)", "99.0.0", "0.1.3, 0.1.2, 0.1.1", "runtime add 99.0.0"] {
            assert!(error.contains(part), "{error}");
        }
    }

    #[tokio::test]
    async fn without_versions_in_storage_every_project_has_the_built_in_one() {
        let objects = Objects::memory();
        let runtimes = Runtimes::new(RuntimeConfig::default());
        for (names, warned) in [(None, false), (Some("^0.8.1"), false), (Some("0.7.48"), true), (Some("next"), true)] {
            let chosen = runtimes.choose(&objects, None, names.map(named).as_ref()).await.unwrap();
            assert_eq!((&chosen.runtime, chosen.warning.is_some()), (&*BUILT_IN, warned), "{names:?}");
        }
        let scripts = runtimes.scripts(&objects, &BUILT_IN).await.unwrap();
        assert!(scripts.file("runtime.js").is_some_and(|script| script.len() > 100_000));
        assert!(scripts.file("effects-chain.js").is_some_and(|script| script.len() > 30_000));
        assert!(scripts.file("gsap.js").is_none());
        assert!(assets::RUNTIME.contains(AFTER_FONTS) && scripts.runs_deferred_scripts());
    }

    #[tokio::test]
    async fn a_planned_render_keeps_its_runtime_when_the_version_is_removed() {
        let objects = Objects::memory();
        let store = RuntimeStore::new(objects.clone());
        store.add(&package("0.1.1"), RUNTIME_VERSION).await.unwrap();
        let planner = Runtimes::new(RuntimeConfig::default());
        let runtime = planner.choose(&objects, Some("0.1.1"), None).await.unwrap().runtime;
        store.remove("0.1.1", RUNTIME_VERSION).await.unwrap();
        assert!(planner.choose(&objects, Some("0.1.1"), None).await.is_err());
        let other_worker = Runtimes::new(RuntimeConfig::default());
        let script = other_worker.scripts(&objects, &runtime).await.unwrap().file("runtime.js").unwrap();
        assert!(String::from_utf8_lossy(&script).contains("window.__player = \"0.1.1\""));
        objects.put(&keys::blob(&runtime.hash), Bytes::from_static(b"{}")).await.unwrap();
        let damaged = Runtimes::new(RuntimeConfig::default()).scripts(&objects, &runtime).await;
        assert!(matches!(damaged, Err(WorkerError::DamagedObject { .. })));
        assert!(other_worker.scripts(&objects, &runtime).await.is_ok(), "it is cached");
    }

    #[test]
    fn the_cache_is_bounded() {
        let runtimes = Runtimes::new(RuntimeConfig::default());
        let versions: Vec<RuntimeVersion> = (0..MAX_CACHED + 2)
            .map(|number| {
                let bytes = serde_json::to_vec(&package(&format!("0.1.{number}"))).unwrap();
                let runtime = RuntimeVersion { version: number.to_string(), hash: ContentHash::of(&bytes) };
                runtimes.insert(&runtime, "k", &bytes).unwrap();
                runtime
            })
            .collect();
        assert_eq!(runtimes.cached.lock().len(), MAX_CACHED);
        assert!(runtimes.cached(&versions[1].hash).is_none() && runtimes.cached(&versions[2].hash).is_some());
    }
}
