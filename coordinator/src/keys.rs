//! API keys: made by the operator, kept as hashes in object storage.
//!
//! A key is `hf_` and 40 hexadecimal digits; what is stored is its SHA-256 with what the key may do. A record is looked up by that
//! hash, so nobody who reads storage learns a key, and a look-up's time says nothing about one.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, Pool, Space};
use serde::{Deserialize, Serialize};

use crate::error::IntakeError;
use crate::store::{PARALLEL, if_found, now_ms};

const FOLDER: &str = "farm/keys";

/// How long a record is believed without another look: a revoked key works no longer than this.
const FRESH: Duration = Duration::from_secs(5);

/// Looked-up keys that are remembered; strangers' keys count too.
const REMEMBERED: usize = 10_000;

/// What a key may be used for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Look at renders, assets and webhooks.
    Read,
    /// Make, change and remove them.
    Render,
    /// Everything, the farm's metrics included.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Read, Self::Render, Self::Admin];

    /// Its name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Render => "render",
            Self::Admin => "admin",
        }
    }

    /// Whether a key with this scope may do what `needed` asks for: each scope includes those before it.
    pub fn covers(self, needed: Self) -> bool {
        self as u8 >= needed as u8
    }
}

impl std::str::FromStr for Scope {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let found = Self::ALL.into_iter().find(|scope| scope.as_str() == text);
        found.ok_or_else(|| format!("`{text}` is no scope: give read, render or admin"))
    }
}

/// Bounds of a key; where one is absent the farm's own applies, if it has one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct KeyLimits {
    /// Renders in flight.
    pub concurrent: Option<u32>,
    /// Submissions a minute.
    pub per_minute: Option<u32>,
    /// Renders a day, counted over the key's space.
    pub per_day: Option<u32>,
}

/// Whom a key acts for, and what it may do.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Rights {
    /// The tenant it acts for.
    pub space: Space,
    /// What it may be used for.
    pub scopes: Vec<Scope>,
    /// Its bounds.
    pub limits: KeyLimits,
    /// US dollars after which it renders no more.
    pub cap_usd: Option<f64>,
    /// Pools it may ask for; all where absent.
    pub pools: Option<Vec<Pool>>,
}

impl Rights {
    /// Those of these scopes in a space, without bounds of their own.
    pub fn new(space: Space, scopes: Vec<Scope>) -> Self {
        Self { space, scopes, limits: KeyLimits::default(), cap_usd: None, pools: None }
    }
}

/// What is stored of a key.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct KeyRecord {
    /// Names the key without giving it away.
    pub id: String,
    /// For people.
    pub name: String,
    /// What it may do.
    #[serde(flatten)]
    pub rights: Rights,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Unix milliseconds; a key with this opens nothing.
    pub revoked_at_ms: Option<u64>,
}

impl KeyRecord {
    /// A key of a name in a space that may render and read, without bounds of its own.
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

/// The farm's keys.
pub struct KeyStore {
    objects: Objects,
    known: Mutex<HashMap<ContentHash, Known>>,
}

#[derive(Clone)]
struct Known {
    at: Instant,
    record: Option<Arc<KeyRecord>>,
}

impl KeyStore {
    /// The keys in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self { objects, known: Mutex::default() }
    }

    /// Stores a new key and answers it: nobody can read it again. Its `id` and times are set here.
    pub async fn create(&self, record: KeyRecord) -> Result<(String, KeyRecord), IntakeError> {
        let mut secret = [0; 20];
        getrandom::fill(&mut secret).map_err(IntakeError::Random)?;
        let key = format!("hf_{}", hex::encode(secret));
        let hash = ContentHash::of(key.as_bytes());
        let record =
            KeyRecord { id: format!("key_{}", hash.short()), created_at_ms: now_ms(), revoked_at_ms: None, ..record };
        self.objects.put_json(&path(&hash), &record).await?;
        Ok((key, record))
    }

    /// All keys, oldest first, revoked ones included.
    pub async fn list(&self) -> Result<Vec<KeyRecord>, ObjectsError> {
        Ok(self.all().await?.into_iter().map(|(_, record)| record).collect())
    }

    /// Revokes the key with this id, or the only one with this name. `None` where there is none, or where several have the name.
    pub async fn revoke(&self, id_or_name: &str) -> Result<Option<KeyRecord>, ObjectsError> {
        let all = self.all().await?;
        let by_id = all.iter().find(|(_, record)| record.id == id_or_name);
        let mut by_name = all.iter().filter(|(_, record)| record.name == id_or_name && record.revoked_at_ms.is_none());
        let found = by_id.or_else(|| by_name.next().filter(|_| by_name.next().is_none()));
        let Some((path, record)) = found else { return Ok(None) };
        let revoked = KeyRecord { revoked_at_ms: record.revoked_at_ms.or(Some(now_ms())), ..record.clone() };
        self.objects.put_json(path, &revoked).await?;
        Ok(Some(revoked))
    }

    /// The record of `key`, unless there is none or it is revoked. A storage that does not answer leaves what was known.
    pub async fn find(&self, key: &str) -> Result<Option<Arc<KeyRecord>>, ObjectsError> {
        let hash = ContentHash::of(key.as_bytes());
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner).get(&hash).cloned();
        if let Some(known) = known.as_ref().filter(|known| known.at.elapsed() < FRESH) {
            return Ok(known.record.clone());
        }
        let record = match if_found(self.objects.get_json::<KeyRecord>(&path(&hash)).await) {
            Ok(found) => found.filter(|record| record.revoked_at_ms.is_none()).map(Arc::new),
            Err(error) => return known.and_then(|known| known.record).map(Some).ok_or(error),
        };
        let mut all = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if all.len() >= REMEMBERED {
            all.clear();
        }
        all.insert(hash, Known { at: Instant::now(), record: record.clone() });
        Ok(record)
    }

    async fn all(&self) -> Result<Vec<(String, KeyRecord)>, ObjectsError> {
        let listed = self.objects.list(FOLDER).await?;
        let reads = listed.into_iter().map(|meta| async move {
            let record = if_found(self.objects.get_json::<KeyRecord>(&meta.key).await)?;
            Ok::<_, ObjectsError>(record.map(|record| (meta.key, record)))
        });
        let read: Vec<_> = stream::iter(reads).buffer_unordered(PARALLEL).try_collect().await?;
        let mut all: Vec<_> = read.into_iter().flatten().collect();
        all.sort_by(|(_, a), (_, b)| (a.created_at_ms, &a.id).cmp(&(b.created_at_ms, &b.id)));
        Ok(all)
    }
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
