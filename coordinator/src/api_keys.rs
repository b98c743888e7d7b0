//! API keys: created by the operator, stored as hashes in object storage.
//!
//! A key is `hf_` and 40 hexadecimal digits. Its record, which says what the key may do, is stored under the key's SHA-256. Whoever reads
//! storage learns no key, and the time of a look-up tells nothing about one.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
pub use hyperfarm_api::account::Scope;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, Pool, Space};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use url::Url;

use crate::audit::{self, Act};
use crate::clock::now_ms;
use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::Intake;

const FOLDER: &str = "farm/keys";

/// How long a record is cached, which is how long a revoked key may still work.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// Number of keys in the cache, unknown ones included, at which it is emptied.
const MAX_CACHED: usize = 10_000;

/// Limits of a key. Where one is absent the farm's default applies, if there is one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Renders in flight at once.
    pub concurrent: Option<u32>,
    /// Submissions per minute.
    pub per_minute: Option<u32>,
    /// Renders per day, counted over the key's space.
    pub per_day: Option<u32>,
}

/// What a key may do, and for which tenant.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rights {
    /// The tenant.
    pub space: Space,
    /// Its scopes.
    pub scopes: Vec<Scope>,
    /// Its limits.
    pub limits: KeyLimits,
    /// US dollars of usage from which it may submit no more renders.
    pub cap_usd: Option<f64>,
    /// Pools that it may ask for; all where absent.
    pub pools: Option<Vec<Pool>>,
}

impl Rights {
    /// The rights of these scopes in a space, without limits of their own.
    pub fn new(space: Space, scopes: Vec<Scope>) -> Self {
        Self { space, scopes, limits: KeyLimits::default(), cap_usd: None, pools: None }
    }
}

/// The stored record of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Public id of the key.
    pub id: String,
    /// Name of the key, for people.
    pub name: String,
    /// What the key may do.
    #[serde(flatten)]
    pub rights: Rights,
    /// Unix milliseconds of its creation.
    pub created_at_ms: u64,
    /// Unix milliseconds of its revocation. A revoked key is refused.
    pub revoked_at_ms: Option<u64>,
}

impl KeyRecord {
    /// The record of a new key that may read and render in a space, without limits of its own.
    pub fn new(name: impl Into<String>, space: Space) -> Self {
        Self {
            id: String::new(),
            name: name.into(),
            rights: Rights::new(space, vec![Scope::Read, Scope::Render]),
            created_at_ms: 0,
            revoked_at_ms: None,
        }
    }
}

/// The sender of a request, by its key.
#[derive(Debug, Clone, PartialEq)]
pub struct Caller {
    /// Id of the key.
    pub id: String,
    /// Name of the key.
    pub name: String,
    /// What the key may do.
    pub rights: Rights,
    /// Whether it is the user of a process that asks for no keys, to whom the farm's default limits do not apply.
    pub is_local: bool,
}

impl Caller {
    /// The name under which the caller's renders are listed; `None` for the user of a farm without keys.
    pub(crate) fn owner(&self) -> Option<String> {
        (!self.is_local).then(|| self.name.clone())
    }

    /// A submission of the caller, who reaches the farm at `origin`.
    pub(crate) fn intake(&self, origin: Option<Url>) -> Intake {
        Intake {
            space: self.rights.space.clone(),
            key: Some(self.id.clone()),
            owner: self.owner(),
            origin,
            ..Intake::default()
        }
    }
}

impl From<&KeyRecord> for Caller {
    fn from(record: &KeyRecord) -> Self {
        Self { id: record.id.clone(), name: record.name.clone(), rights: record.rights.clone(), is_local: false }
    }
}

/// Why a key is not created.
#[derive(Debug, thiserror::Error)]
pub enum CreateKeyError {
    /// The record cannot be stored.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The key cannot be made.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The farm's API keys.
pub struct KeyStore {
    objects: Objects,
    cache: Mutex<HashMap<ContentHash, CachedKey>>,
    /// When it was last looked whether there is any key, and what was found.
    any: Mutex<Option<(Instant, bool)>>,
}

#[derive(Clone)]
struct CachedKey {
    read_at: Instant,
    record: Option<Arc<KeyRecord>>,
}

impl KeyStore {
    /// The keys stored in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self { objects, cache: Mutex::default(), any: Mutex::default() }
    }

    /// Creates a key from `record`, of which id and times are set here. Returns the key itself, which cannot be read again, and its record.
    ///
    /// # Errors
    ///
    /// See [`CreateKeyError`].
    pub async fn create(&self, record: KeyRecord) -> Result<(String, KeyRecord), CreateKeyError> {
        let mut secret = [0; 20];
        getrandom::fill(&mut secret)?;
        let key = format!("hf_{}", hex::encode(secret));
        let hash = ContentHash::of(key.as_bytes());
        let record =
            KeyRecord { id: format!("key_{}", hash.short()), created_at_ms: now_ms(), revoked_at_ms: None, ..record };
        self.objects.put_json(&path(&hash), &record).await?;
        *self.any.lock() = Some((Instant::now(), true));
        audit::record_done(&self.objects, act("key.create", &record)).await;
        Ok((key, record))
    }

    /// All keys, oldest first, revoked ones included.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or a record cannot be read.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, ObjectsError> {
        Ok(self.all().await?.into_iter().map(|(_, record)| record).collect())
    }

    /// Whether a key was ever created; a revoked one counts. Storage is asked every five seconds at most, and no more once
    /// there is one. While storage does not answer, the last answer counts.
    ///
    /// # Errors
    ///
    /// Storage did not answer, and never has.
    pub async fn has_any(&self) -> Result<bool, ObjectsError> {
        let known = *self.any.lock();
        match known {
            Some((_, true)) => return Ok(true),
            Some((read_at, false)) if read_at.elapsed() < CACHED_FOR => return Ok(false),
            _ => {}
        }
        let found = match self.objects.list(FOLDER).await {
            Ok(listed) => !listed.is_empty(),
            Err(error) => return known.map(|(_, found)| found).ok_or(error),
        };
        if found {
            tracing::info!("a key was made for this farm, which asks for keys from now on");
        }
        *self.any.lock() = Some((Instant::now(), found));
        Ok(found)
    }

    /// What [`has_any`](Self::has_any) answered last.
    pub(crate) fn has_known_keys(&self) -> bool {
        self.any.lock().is_some_and(|(_, found)| found)
    }

    /// Revokes the key with this id, or the only one with this name. `None` where there is none, or several have the name.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or a record cannot be read.
    pub async fn revoke(&self, id_or_name: &str) -> Result<Option<KeyRecord>, ObjectsError> {
        let all = self.all().await?;
        let by_id = all.iter().find(|(_, record)| record.id == id_or_name);
        let mut by_name = all.iter().filter(|(_, record)| record.name == id_or_name && record.revoked_at_ms.is_none());
        let found = by_id.or_else(|| by_name.next().filter(|_| by_name.next().is_none()));
        let Some((path, record)) = found else { return Ok(None) };
        let revoked = KeyRecord { revoked_at_ms: record.revoked_at_ms.or(Some(now_ms())), ..record.clone() };
        self.objects.put_json(path, &revoked).await?;
        audit::record_done(&self.objects, act("key.revoke", &revoked)).await;
        Ok(Some(revoked))
    }

    /// The record of `key`; `None` if there is none or it is revoked. While storage does not answer, a cached record is used.
    ///
    /// # Errors
    ///
    /// Storage did not answer, and the key is not in the cache.
    pub async fn find(&self, key: &str) -> Result<Option<Arc<KeyRecord>>, ObjectsError> {
        self.find_by_hash(ContentHash::of(key.as_bytes())).await
    }

    /// The same for a key of which only the SHA-256 is known.
    ///
    /// # Errors
    ///
    /// As for [`find`](Self::find).
    pub(crate) async fn find_by_hash(&self, hash: ContentHash) -> Result<Option<Arc<KeyRecord>>, ObjectsError> {
        let cached = self.cache.lock().get(&hash).cloned();
        if let Some(cached) = cached.as_ref().filter(|cached| cached.read_at.elapsed() < CACHED_FOR) {
            return Ok(cached.record.clone());
        }
        let record = match if_found(self.objects.get_json::<KeyRecord>(&path(&hash)).await) {
            Ok(found) => found.filter(|record| record.revoked_at_ms.is_none()).map(Arc::new),
            Err(error) => return cached.and_then(|cached| cached.record).map(Some).ok_or(error),
        };
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        cache.insert(hash, CachedKey { read_at: Instant::now(), record: record.clone() });
        Ok(record)
    }

    /// Whether the key with this SHA-256 was found before, so that its next look-up costs at most one read of storage.
    pub(crate) fn is_cached(&self, hash: &ContentHash) -> bool {
        self.cache.lock().get(hash).is_some_and(|cached| cached.record.is_some())
    }

    async fn all(&self) -> Result<Vec<(String, KeyRecord)>, ObjectsError> {
        let listed = self.objects.list(FOLDER).await?;
        let reads = listed.into_iter().map(|meta| async move {
            let record = if_found(self.objects.get_json::<KeyRecord>(&meta.key).await)?;
            Ok::<_, ObjectsError>(record.map(|record| (meta.key, record)))
        });
        let read: Vec<_> = stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        let mut all: Vec<_> = read.into_iter().flatten().collect();
        all.sort_by(|(_, a), (_, b)| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        Ok(all)
    }
}

/// An act of the operator on a key.
fn act(action: &'static str, record: &KeyRecord) -> Act {
    Act { action, target: Some(record.id.clone()), space: Some(record.rights.space.to_string()), ..Act::default() }
}

fn path(hash: &ContentHash) -> String {
    format!("{FOLDER}/{hash}.json")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[tokio::test]
    async fn a_key_is_found_by_itself_only_and_is_nowhere_in_storage() {
        let objects = Objects::memory();
        let keys = KeyStore::new(objects.clone());
        let (key, record) = keys.create(KeyRecord::new("ci", "team-a".parse().unwrap())).await.unwrap();
        assert_eq!(keys.find(&key).await.unwrap().as_deref(), Some(&record));
        assert_eq!(keys.find("hf_other").await.unwrap(), None);
        for meta in objects.list("").await.unwrap() {
            let stored = objects.get(&meta.key).await.unwrap();
            assert!(!meta.key.contains(&key) && !String::from_utf8_lossy(&stored).contains(&key));
        }
    }

    #[tokio::test]
    async fn a_revoked_key_opens_nothing_and_stays_listed() {
        let objects = Objects::memory();
        let keys = KeyStore::new(objects.clone());
        let (key, record) = keys.create(KeyRecord::new("ci", Space::default())).await.unwrap();
        assert!(keys.revoke("ci").await.unwrap().unwrap().revoked_at_ms.is_some());
        assert_eq!(KeyStore::new(objects).find(&key).await.unwrap(), None);
        assert_eq!(keys.list().await.unwrap()[0].id, record.id);
        assert_eq!(keys.revoke("nobody").await.unwrap(), None);
    }

    #[test]
    fn a_record_is_one_flat_object() {
        let stored = json!({
            "id": "key_1", "name": "ci", "space": "team-a", "scopes": ["read", "admin"],
            "limits": { "concurrent": 3, "per_minute": null, "per_day": null }, "cap_usd": 5, "pools": ["gpu"],
            "created_at_ms": 1, "revoked_at_ms": null,
        });
        let read: KeyRecord = serde_json::from_value(stored.clone()).unwrap();
        assert_eq!((read.rights.cap_usd, read.rights.limits.concurrent), (Some(5.0), Some(3)));
        let mut written = serde_json::to_value(&read).unwrap();
        written["cap_usd"] = json!(5);
        assert_eq!(written, stored);
    }

    #[test]
    fn a_scope_includes_those_before_it() {
        assert!(Scope::Admin.covers(Scope::Render) && Scope::Render.covers(Scope::Read));
        assert!(!Scope::Read.covers(Scope::Render));
    }
}
