//! The versions of the HyperFrames runtime, as people read them.

use hyperfarm_api::runtimes::Runtime;
use hyperfarm_api::seconds;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::runtimes::{RuntimeRecord, RuntimeStore, RuntimeVersions};

/// All versions in `store`: `built_in`, then the others, highest first.
///
/// # Errors
///
/// Storage failed.
pub async fn list(store: &RuntimeStore, built_in: &str) -> Result<Vec<Runtime>, ObjectsError> {
    let versions = store.versions(built_in).await?;
    let records = store.records(&versions.added).await?;
    let added = records.iter().map(|record| shown(record, &versions));
    Ok(std::iter::once(shown_built_in(&versions)).chain(added).collect())
}

/// The version `version` in `store`, if it is there.
///
/// # Errors
///
/// Storage failed.
pub async fn find(store: &RuntimeStore, built_in: &str, version: &str) -> Result<Option<Runtime>, ObjectsError> {
    Ok(list(store, built_in).await?.into_iter().find(|runtime| runtime.version == version))
}

fn shown_built_in(versions: &RuntimeVersions) -> Runtime {
    Runtime {
        version: versions.built_in.clone(),
        is_default: versions.default == versions.built_in,
        is_built_in: true,
        name: None,
        license: None,
        sha256: None,
        size_bytes: None,
        added_at: None,
    }
}

/// A version in storage.
pub fn shown(record: &RuntimeRecord, versions: &RuntimeVersions) -> Runtime {
    Runtime {
        version: record.version.clone(),
        is_default: versions.default == record.version,
        is_built_in: false,
        name: Some(record.name.clone()),
        license: Some(record.license.clone()),
        sha256: Some(record.hash.to_string()),
        size_bytes: Some(record.bytes),
        added_at: Some(seconds(record.added_at_ms)),
    }
}
