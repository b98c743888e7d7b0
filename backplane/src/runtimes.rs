//! Versions of the HyperFrames runtime in storage, and which of them a render gets.
//!
//! A package is stored under the hash of its content, then the record of its version, which makes it available. Nothing
//! is cached here, so every process over the same storage sees the same versions.

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::record::unix_ms;
use hyperfarm_proto::runtime::RuntimePackage;
use nodejs_semver::{Range, Version};
use serde::{Deserialize, Serialize};

use crate::objects::{Created, Objects, ObjectsError, if_found};

/// Records that are read at once.
const READS: usize = 16;

/// Names under which HyperFrames is published with its runtime.
pub const PACKAGES: [&str; 2] = ["hyperframes", "@hyperframes/core"];

/// Whether `text` is a version or a range of npm, or `latest`.
pub fn is_version_or_range(text: &str) -> bool {
    text == "latest" || (!text.is_empty() && Range::parse(text).is_ok())
}

/// Why a version cannot be added, removed or made the default.
#[derive(Debug, thiserror::Error)]
pub enum RuntimeError {
    /// The package cannot be used.
    #[error("{0}")]
    Invalid(String),
    /// The version is used otherwise.
    #[error("{0}")]
    Conflict(String),
    /// There is no such version.
    #[error("there is no version {version} of the runtime; there are {present}")]
    Missing {
        /// The version.
        version: String,
        /// Those that are there.
        present: String,
    },
    /// Storage failed.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
}

/// A version in storage.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeRecord {
    /// The version.
    pub version: String,
    /// Hash of the package.
    pub hash: ContentHash,
    /// Name of the published package.
    pub name: String,
    /// Licence of the package, as its `package.json` names it.
    pub license: String,
    /// Bytes of the stored package.
    pub bytes: u64,
    /// Unix time in milliseconds at which it was added.
    pub added_at_ms: u64,
}

/// What is stored of the default.
#[derive(Debug, Serialize, Deserialize)]
struct DefaultRecord {
    version: String,
}

/// The versions in a storage.
#[derive(Debug, Clone)]
pub struct RuntimeStore {
    objects: Objects,
}

/// The versions that a render can have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RuntimeVersions {
    /// The version that is built in.
    pub built_in: String,
    /// Versions in storage, highest first, without the built-in one.
    pub added: Vec<String>,
    /// The version of a render for which none is asked.
    pub default: String,
}

impl RuntimeVersions {
    /// The version that `asked` means: the highest that satisfies a version or range of npm, or the default for
    /// `latest` and an empty text. `None` where there is none.
    pub fn choose(&self, asked: &str) -> Option<&str> {
        let asked = asked.trim();
        // `npm:hyperframes@^0.8.1` and `workspace:^0.8.1` are ranges with a prefix.
        let range = match asked.strip_prefix("npm:") {
            Some(alias) => alias.rsplit_once('@').map_or(alias, |(_, range)| range),
            None => asked.strip_prefix("workspace:").unwrap_or(asked),
        };
        if range.is_empty() || range == "latest" {
            return Some(&self.default);
        }
        let range = Range::parse(range).ok()?;
        let parsed = |text| Some((Version::parse(text).ok()?, text));
        let satisfying = self.all().filter_map(parsed).filter(|(version, _)| range.satisfies(version));
        satisfying.max_by(|one, other| one.0.cmp(&other.0)).map(|(_, text)| text)
    }

    fn all(&self) -> impl Iterator<Item = &str> {
        std::iter::once(self.built_in.as_str()).chain(self.added.iter().map(String::as_str))
    }

    /// The versions for people: `0.8.170 (built in), 0.8.60`.
    pub fn listed(&self) -> String {
        let added: String = self.added.iter().map(|version| format!(", {version}")).collect();
        format!("{} (built in){added}", self.built_in)
    }

    /// Says that there is nothing for `asked`, which stands in `place`, and what to do.
    pub fn missing(&self, place: &str, asked: &str) -> String {
        let asked = asked.trim();
        let add = match Version::parse(asked) {
            Ok(version) => format!("add it with `hyperfarm runtime add {version}`"),
            Err(_) => "add one with `hyperfarm runtime add VERSION`".to_owned(),
        };
        let asked: String = asked.escape_debug().take(100).collect();
        format!(
            "{place} asks for version `{asked}` of the HyperFrames runtime, which is not there; there are {}. Ask for \
             one of them, or {add}",
            self.listed()
        )
    }
}

impl RuntimeStore {
    /// The versions in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// The versions that a render can have where `built_in` is built in. Without versions in storage this is one call.
    ///
    /// # Errors
    ///
    /// Storage failed.
    pub async fn versions(&self, built_in: &str) -> Result<RuntimeVersions, ObjectsError> {
        let listed = self.objects.list(keys::RUNTIME_VERSIONS).await?;
        let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
        let names = listed.iter().filter_map(|meta| name(&meta.key)).filter(|version| version != built_in);
        let mut added: Vec<(Version, String)> =
            names.filter_map(|name| Some((Version::parse(&name).ok()?, name))).collect();
        added.sort_by(|one, other| other.0.cmp(&one.0));
        let added: Vec<String> = added.into_iter().map(|(_, name)| name).collect();
        let mut default = built_in.to_owned();
        if !added.is_empty()
            && let Some(record) = self.read::<DefaultRecord>(keys::RUNTIME_DEFAULT).await?
            // A default that another process has removed at the same moment is none.
            && added.contains(&record.version)
        {
            default = record.version;
        }
        Ok(RuntimeVersions { built_in: built_in.to_owned(), added, default })
    }

    /// The record of a version, if it is in storage.
    ///
    /// # Errors
    ///
    /// Storage failed.
    pub async fn record(&self, version: &str) -> Result<Option<RuntimeRecord>, ObjectsError> {
        self.read(&keys::runtime_version(version)).await
    }

    /// The records of these versions, in the same order, without those that have been removed meanwhile.
    ///
    /// # Errors
    ///
    /// Storage failed.
    pub async fn records(&self, versions: &[String]) -> Result<Vec<RuntimeRecord>, ObjectsError> {
        let reads = versions.iter().cloned().map(|version| {
            let store = self.clone();
            async move { store.record(&version).await }
        });
        let found: Vec<_> = futures::stream::iter(reads).buffered(READS).try_collect().await?;
        Ok(found.into_iter().flatten().collect())
    }

    /// The stored package with this hash.
    ///
    /// # Errors
    ///
    /// Storage failed.
    pub async fn package(&self, hash: &ContentHash) -> Result<Bytes, ObjectsError> {
        self.objects.get(&keys::runtime_package(hash)).await
    }

    /// Stores a package. The same package again is no error.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Invalid`] for a package that cannot be used, [`RuntimeError::Conflict`] for a version that is
    /// there with another content.
    pub async fn add(&self, package: &RuntimePackage, built_in: &str) -> Result<RuntimeRecord, RuntimeError> {
        let bytes = checked(package)?;
        if *package.version == *built_in {
            return Err(RuntimeError::Conflict(format!("version {built_in} is built in; it need not be added")));
        }
        let hash = ContentHash::of(&bytes);
        let record = RuntimeRecord {
            version: package.version.to_string(),
            hash,
            name: package.name.to_string(),
            license: package.license.to_string(),
            bytes: bytes.len() as u64,
            added_at_ms: unix_ms() as u64,
        };
        self.objects.put(&keys::runtime_package(&hash), bytes.into()).await?;
        let text = serde_json::to_vec(&record)
            .map_err(|error| RuntimeError::Invalid(format!("the record cannot be written: {error}")))?;
        match self.objects.create(&keys::runtime_version(&record.version), text.into()).await? {
            Created::Yes => Ok(record),
            Created::Existed => match self.record(&record.version).await? {
                Some(there) if there.hash == hash => Ok(there),
                _ => Err(RuntimeError::Conflict(format!(
                    "version {} is there with another content; remove it first",
                    record.version
                ))),
            },
        }
    }

    /// Makes a version the one of renders for which none is asked.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Missing`] for a version that is not there.
    pub async fn set_default(&self, version: &str, built_in: &str) -> Result<(), RuntimeError> {
        if version == built_in {
            return Ok(self.objects.delete(keys::RUNTIME_DEFAULT).await?);
        }
        let versions = self.versions(built_in).await?;
        if !versions.added.iter().any(|other| other == version) {
            return Err(RuntimeError::Missing { version: shown(version), present: versions.listed() });
        }
        Ok(self.objects.put_json(keys::RUNTIME_DEFAULT, &DefaultRecord { version: version.to_owned() }).await?)
    }

    /// Removes a version. Renders that are planned with it have a copy of their own.
    ///
    /// # Errors
    ///
    /// [`RuntimeError::Missing`] for a version that is not there, [`RuntimeError::Conflict`] for the built-in one and
    /// for the default.
    pub async fn remove(&self, version: &str, built_in: &str) -> Result<RuntimeRecord, RuntimeError> {
        if version == built_in {
            return Err(RuntimeError::Conflict(format!("version {version} is built in and cannot be removed")));
        }
        let versions = self.versions(built_in).await?;
        let missing = || RuntimeError::Missing { version: shown(version), present: versions.listed() };
        if !versions.added.iter().any(|other| other == version) {
            return Err(missing());
        }
        if versions.default == version {
            let text = format!("version {version} is the default; make another one the default first");
            return Err(RuntimeError::Conflict(text));
        }
        let record = self.record(version).await?.ok_or_else(missing)?;
        // First the record: without it nobody looks for the package.
        self.objects.delete(&keys::runtime_version(version)).await?;
        self.objects.delete(&keys::runtime_package(&record.hash)).await?;
        Ok(record)
    }

    async fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Result<Option<T>, ObjectsError> {
        if_found(self.objects.get_json(key).await)
    }
}

/// A version as a client wrote it, for an error.
fn shown(version: &str) -> String {
    version.escape_debug().take(64).collect()
}

/// The bytes of a package that can be used.
fn checked(package: &RuntimePackage) -> Result<Vec<u8>, RuntimeError> {
    let invalid = |text: String| Err(RuntimeError::Invalid(text));
    if !PACKAGES.contains(&&*package.name) {
        return invalid(format!(
            "the package is named `{}`; a package of HyperFrames is named {}",
            package.name.escape_debug(),
            PACKAGES.join(" or ")
        ));
    }
    let is_plain = package.version.chars().all(|c| c.is_ascii_alphanumeric() || c == '.' || c == '-');
    let is_version = Version::parse(&*package.version).is_ok_and(|version| version.to_string() == *package.version);
    if !is_plain || !is_version {
        let version = package.version.escape_debug();
        return invalid(format!("the package has the version `{version}`; give one such as 0.8.170"));
    }
    if !package.script.contains("__player") {
        return invalid("the package's script is no HyperFrames runtime: it defines no `__player`".to_owned());
    }
    let bytes = serde_json::to_vec(package);
    let bytes = bytes.map_err(|error| RuntimeError::Invalid(format!("the package cannot be written: {error}")))?;
    if bytes.len() > RuntimePackage::MAX_BYTES {
        return invalid(format!("the package has {} bytes; {} are allowed", bytes.len(), RuntimePackage::MAX_BYTES));
    }
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::bounded::Text;

    use super::*;

    const BUILT_IN: &str = "0.8.170";

    fn package(version: &str, script: &str) -> RuntimePackage {
        RuntimePackage {
            name: Text::new("hyperframes").unwrap(),
            version: Text::new(version).unwrap(),
            license: Text::new("Apache-2.0").unwrap(),
            license_text: String::new(),
            script: format!("window.__player = {script};"),
            effects: None,
        }
    }

    #[test]
    fn the_highest_version_that_satisfies_a_range_is_chosen() {
        let of = |asked: &str| {
            let versions = RuntimeVersions {
                built_in: BUILT_IN.to_owned(),
                added: ["0.9.0-beta.2", "0.8.60", "0.7.111"].map(str::to_owned).into(),
                default: "0.8.60".to_owned(),
            };
            versions.choose(asked).map(str::to_owned)
        };
        for (asked, chosen) in [
            ("0.8.60", Some("0.8.60")),
            ("=0.8.60", Some("0.8.60")),
            ("v0.8.60", Some("0.8.60")),
            ("^0.8.1", Some("0.8.170")),
            ("^0.7.1", Some("0.7.111")),
            ("~0.8.60", Some("0.8.170")),
            ("0.8.x", Some("0.8.170")),
            (">=0.7.0 <0.8.100", Some("0.8.60")),
            ("0.7.1 - 0.8.61", Some("0.8.60")),
            ("^0.7.200 || 0.8.60", Some("0.8.60")),
            ("*", Some("0.8.170")),
            ("", Some("0.8.60")),
            ("latest", Some("0.8.60")),
            ("npm:hyperframes@~0.7.1", Some("0.7.111")),
            ("workspace:^0.8.0", Some("0.8.170")),
            ("0.9.0-beta.2", Some("0.9.0-beta.2")),
            (">=0.9.0", None),
            ("^0.8.171", None),
            ("0.8.61", None),
            ("next", None),
            ("file:../hyperframes", None),
            ("github:heygen-com/hyperframes", None),
        ] {
            assert_eq!(of(asked).as_deref(), chosen, "{asked}");
        }
    }

    #[tokio::test]
    async fn versions_are_added_once_chosen_and_removed() {
        let objects = Objects::memory();
        let store = RuntimeStore::new(objects.clone());
        assert_eq!(store.versions(BUILT_IN).await.unwrap().default, BUILT_IN);
        let old = store.add(&package("0.8.60", "1"), BUILT_IN).await.unwrap();
        assert_eq!(store.add(&package("0.8.60", "1"), BUILT_IN).await.unwrap(), old, "the same again");
        let conflict = store.add(&package("0.8.60", "2"), BUILT_IN).await.unwrap_err();
        assert!(matches!(&conflict, RuntimeError::Conflict(text) if text.contains("remove it first")), "{conflict}");
        assert!(matches!(store.add(&package(BUILT_IN, "1"), BUILT_IN).await, Err(RuntimeError::Conflict(_))));
        store.add(&package("0.8.9", "9"), BUILT_IN).await.unwrap();
        store.set_default("0.8.60", BUILT_IN).await.unwrap();
        // Another process over the same storage.
        let other = RuntimeStore::new(objects);
        let versions = other.versions(BUILT_IN).await.unwrap();
        assert_eq!((versions.added.join(" "), versions.default.as_str()), ("0.8.60 0.8.9".to_owned(), "0.8.60"));
        let stored = other.package(&old.hash).await.unwrap();
        assert_eq!((ContentHash::of(&stored), stored.len() as u64), (old.hash, old.bytes));
        assert!(matches!(other.remove("0.8.60", BUILT_IN).await, Err(RuntimeError::Conflict(_))), "the default");
        assert!(matches!(other.remove(BUILT_IN, BUILT_IN).await, Err(RuntimeError::Conflict(_))));
        assert!(matches!(other.remove("../x", BUILT_IN).await, Err(RuntimeError::Missing { .. })));
        assert!(matches!(other.set_default("0.8.61", BUILT_IN).await, Err(RuntimeError::Missing { .. })));
        other.set_default(BUILT_IN, BUILT_IN).await.unwrap();
        other.remove("0.8.60", BUILT_IN).await.unwrap();
        assert_eq!(store.versions(BUILT_IN).await.unwrap().listed(), "0.8.170 (built in), 0.8.9");
        assert!(store.package(&old.hash).await.unwrap_err().is_not_found());
        // A farm whose new release has a version built in that was added before has it once.
        assert_eq!(store.versions("0.8.9").await.unwrap().listed(), "0.8.9 (built in)");
    }

    #[tokio::test]
    async fn a_package_that_is_no_runtime_is_refused() {
        let store = RuntimeStore::new(Objects::memory());
        let name = RuntimePackage { name: Text::new("left-pad").unwrap(), ..package("1.0.0", "1") };
        let script = RuntimePackage { script: "1".to_owned(), ..package("1.0.0", "1") };
        let large = package("1.0.0", &" ".repeat(RuntimePackage::MAX_BYTES));
        for (package, reason) in [
            (name, "left-pad"),
            (script, "__player"),
            (large, "bytes"),
            (package("../../x", "1"), "version"),
            (package("1.0", "1"), "version"),
            (package("1.0.0+build", "1"), "version"),
        ] {
            let error = store.add(&package, BUILT_IN).await.unwrap_err();
            assert!(matches!(error, RuntimeError::Invalid(_)) && error.to_string().contains(reason), "{error}");
        }
        assert!(store.versions(BUILT_IN).await.unwrap().added.is_empty());
    }

    #[test]
    fn a_missing_version_is_named_with_those_that_are_there() {
        let (built_in, default) = (BUILT_IN.to_owned(), BUILT_IN.to_owned());
        let versions = RuntimeVersions { built_in, added: vec!["0.8.60".to_owned()], default };
        let text = versions.missing("package.json (dependencies.hyperframes)", "0.8.99");
        for part in ["package.json (dep", "`0.8.99`", "0.8.170 (built in), 0.8.60", "hyperfarm runtime add 0.8.99"] {
            assert!(text.contains(part), "{text}");
        }
        assert!(versions.missing("runtime", "^1").contains("runtime add VERSION"));
    }
}
