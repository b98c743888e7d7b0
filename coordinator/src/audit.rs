//! The audit log: who did which administrative act, on what, when, and from where.
//!
//! **Invariant: an entry is never changed.** Each act is an object of its own, whose id begins with its time. Entries
//! are removed after a year.

use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_api::farm::AuditEntry;
use hyperfarm_api::seconds;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use tracing::{error, info};

use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::Seed;

const FOLDER: &str = "farm/audit";

/// How long an entry is kept.
const KEPT: Duration = Duration::from_secs(365 * 24 * 3600);

/// An act that is to be recorded.
#[derive(Debug, Clone, Default)]
pub(crate) struct Act {
    /// What was done, such as `worker.drain`.
    pub(crate) action: &'static str,
    /// What it was done to: the id of a worker, a render, an endpoint or a key.
    pub(crate) target: Option<String>,
    /// Id of the API key; `None` for an operator at the farm's storage.
    pub(crate) key_id: Option<String>,
    /// Name of the API key.
    pub(crate) key_name: Option<String>,
    /// The key's tenant.
    pub(crate) space: Option<String>,
    /// Address of the client, or of the proxy before the farm.
    pub(crate) address: Option<String>,
    /// Id of the request.
    pub(crate) request_id: Option<String>,
}

/// Stores an entry about the act.
///
/// # Errors
///
/// Storage did not answer, or the system gave no random numbers.
pub(crate) async fn record(objects: &Objects, act: Act) -> Result<(), RecordError> {
    let seed = Seed::new()?;
    let Act { action, target, key_id, key_name, space, address, request_id } = act;
    info!(action, target, key_id, address, "an administrative act");
    let entry = AuditEntry {
        id: seed.id("audit"),
        at: seconds(seed.at_ms()),
        action: action.to_owned(),
        target,
        key_id,
        key_name,
        space,
        address,
        request_id,
    };
    Ok(objects.put_json(&format!("{FOLDER}/{}.json", entry.id), &entry).await?)
}

/// As [`record`], for an act that is done already: where it cannot be recorded, the log says so.
pub(crate) async fn record_done(objects: &Objects, act: Act) {
    let action = act.action;
    if let Err(reason) = record(objects, act).await {
        error!(action, %reason, "an administrative act could not be recorded in the audit log");
    }
}

/// Why an act cannot be recorded.
#[derive(Debug, thiserror::Error)]
pub(crate) enum RecordError {
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The entry has no id.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// At most `limit` entries, newest first, from the one after the id `after` on, and whether there are more.
///
/// # Errors
///
/// Storage did not answer, or an entry cannot be read.
pub(crate) async fn page(
    objects: &Objects,
    limit: usize,
    after: Option<&str>,
) -> Result<(Vec<AuditEntry>, bool), ObjectsError> {
    let mut ids = ids(objects).await?;
    ids.retain(|id| after.is_none_or(|after| id.as_str() < after));
    let has_more = ids.len() > limit;
    ids.truncate(limit);
    let reads = ids
        .into_iter()
        .map(|id| async move { if_found(objects.get_json::<AuditEntry>(&format!("{FOLDER}/{id}.json")).await) });
    let read: Vec<Option<AuditEntry>> = stream::iter(reads).buffered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
    Ok((read.into_iter().flatten().collect(), has_more))
}

/// Removes the entries that have expired at `now_ms` (Unix milliseconds), and returns their number.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn remove_expired(objects: &Objects, now_ms: u64) -> Result<u64, ObjectsError> {
    let before = now_ms.saturating_sub(KEPT.as_millis() as u64);
    let mut removed = 0;
    for id in ids(objects).await? {
        let at = id.strip_prefix("audit_").and_then(|rest| u64::from_str_radix(rest.get(..12)?, 16).ok());
        if at.is_some_and(|at| at < before) {
            objects.delete(&format!("{FOLDER}/{id}.json")).await?;
            removed += 1;
        }
    }
    Ok(removed)
}

/// Ids of all entries, newest first.
async fn ids(objects: &Objects) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(FOLDER).await?;
    let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
    let mut ids: Vec<String> = listed.iter().filter_map(|meta| name(&meta.key)).collect();
    ids.sort();
    ids.reverse();
    Ok(ids)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::now_ms;

    #[tokio::test]
    async fn entries_are_listed_newest_first_and_kept_for_a_year() {
        let objects = Objects::memory();
        for action in ["worker.drain", "render.pause", "key.create"] {
            record(&objects, Act { action, target: Some("x".to_owned()), ..Act::default() }).await.unwrap();
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        let (first, has_more) = page(&objects, 2, None).await.unwrap();
        assert!(has_more);
        assert_eq!(first.iter().map(|entry| entry.action.as_str()).collect::<Vec<_>>(), ["key.create", "render.pause"]);
        let (rest, has_more) = page(&objects, 2, Some(&first[1].id)).await.unwrap();
        assert_eq!((rest.len(), rest[0].action.as_str(), has_more), (1, "worker.drain", false));
        assert_eq!(remove_expired(&objects, now_ms() + KEPT.as_millis() as u64 - 60_000).await.unwrap(), 0);
        assert_eq!(remove_expired(&objects, now_ms() + KEPT.as_millis() as u64 + 60_000).await.unwrap(), 3);
    }
}
