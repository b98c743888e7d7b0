//! Endpoints, events and deliveries in object storage.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
pub use hyperfarm_api::webhooks::{EVENT_TYPES, HOSTED_ONLY_EVENT_TYPES};
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, RenderId, Space};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tracing::warn;
use url::Url;

use super::seal::{SealError, SecretKeys};
use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::CallbackForm;

/// A registered receiver of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Id of the endpoint.
    pub id: String,
    /// The tenant whose events it receives.
    pub space: Space,
    /// URL that events are sent to.
    pub url: Url,
    /// Types of events that it receives; all where absent.
    pub events: Option<Vec<String>>,
    /// Id of the one render whose events it receives; all where absent.
    pub entity_id: Option<String>,
    /// The secret that signs its deliveries: `whsec_` and base64.
    pub secret: String,
    /// Whether deliveries have stopped, because the receiver answered that it is gone for good.
    pub is_disabled: bool,
    /// Unix milliseconds of its creation.
    pub created_at_ms: u64,
}

impl Endpoint {
    /// Whether it receives this event.
    pub fn subscribes_to(&self, event: &Event) -> bool {
        !self.is_disabled
            && self.events.as_ref().is_none_or(|events| events.contains(&event.event_type))
            && self.entity_id.as_ref().is_none_or(|entity| *entity == event.entity_id)
    }
}

/// An event about a render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Id, the same in every delivery.
    pub event_id: String,
    /// One of [`EVENT_TYPES`].
    pub event_type: String,
    /// The data for clients.
    pub event_data: Value,
    /// Id of the render.
    pub entity_id: String,
    /// The tenant that the render belongs to.
    pub space: Space,
    /// Unix milliseconds of the event.
    pub created_at_ms: u64,
}

impl Event {
    /// The id of the event about a render's end, the same however often the render is finalized.
    pub fn id_of(render: &RenderId, event_type: &str, at_ms: u64) -> String {
        let hash = ContentHash::of(format!("{render}\n{event_type}").as_bytes()).to_string();
        format!("evt_{at_ms:012x}{}", &hash[..16])
    }
}

/// The receiver of a delivery.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A registered endpoint.
    Endpoint(String),
    /// The `callback_url` of one render.
    Callback(Url),
}

/// An event that one receiver has not taken yet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Id, made of the ids of event and receiver.
    pub id: String,
    /// The tenant that the event belongs to.
    pub space: Space,
    /// Id of the event.
    pub event_id: String,
    /// The receiver.
    pub target: Target,
    /// What it gets. Earlier farms did not store it.
    #[serde(default)]
    pub form: CallbackForm,
    /// Number of attempts so far.
    pub attempts: u32,
    /// Unix milliseconds of its creation.
    pub begun_at_ms: u64,
    /// Unix milliseconds of the next attempt.
    pub next_at_ms: u64,
    /// Why the last attempt failed.
    pub last: Option<String>,
}

/// Folder of pending deliveries.
const DELIVERIES: &str = "deliveries";

/// The endpoints, events and deliveries in object storage.
#[derive(Clone)]
pub struct Webhooks {
    objects: Objects,
    keys: SecretKeys,
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Webhooks {
    /// Those stored in `objects`, with secrets as they are.
    pub fn new(objects: Objects) -> Self {
        Self { objects, keys: SecretKeys::default() }
    }

    /// The same, with secrets sealed under these keys.
    pub fn with_keys(self, keys: SecretKeys) -> Self {
        Self { keys, ..self }
    }

    /// A new secret for an endpoint.
    ///
    /// # Errors
    ///
    /// The operating system gave no random numbers.
    pub fn secret() -> Result<String, getrandom::Error> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes)?;
        Ok(format!("whsec_{}", STANDARD.encode(bytes)))
    }

    /// Reserves the URL for the endpoint. `false` if another endpoint of the space has it.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn reserve_url(&self, space: &Space, url: &Url, endpoint: &str) -> Result<bool, ObjectsError> {
        let place = url_mark(space, url);
        if self.objects.create(&place, Bytes::from(endpoint.to_owned())).await? == Created::Yes {
            return Ok(true);
        }
        let Some(owner) = if_found(self.objects.get(&place).await)? else { return Ok(false) };
        let owner = String::from_utf8_lossy(&owner).into_owned();
        // The mark may be left over from an endpoint that was never stored, or is deleted.
        let is_taken = self.stored_endpoint(space, &owner).await?.is_some_and(|other| other.url == *url);
        if is_taken && owner != endpoint {
            return Ok(false);
        }
        self.objects.put(&place, Bytes::from(endpoint.to_owned())).await?;
        Ok(true)
    }

    /// Frees a URL that was reserved.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn free_url(&self, space: &Space, url: &Url) -> Result<(), ObjectsError> {
        self.objects.delete(&url_mark(space, url)).await
    }

    /// Stores an endpoint.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn put_endpoint(&self, endpoint: &Endpoint) -> Result<(), ObjectsError> {
        let key = endpoint_key(&endpoint.space, &endpoint.id);
        let secret = self.keys.seal(&endpoint.secret, &key).map_err(|error| unsealed(&key, &error))?;
        self.objects.put_json(&key, &Endpoint { secret, ..endpoint.clone() }).await
    }

    /// An endpoint of the space, if there is one with this id.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or the endpoint cannot be read, or its secret cannot be opened.
    pub async fn endpoint(&self, space: &Space, id: &str) -> Result<Option<Endpoint>, ObjectsError> {
        let Some(stored) = self.stored_endpoint(space, id).await? else { return Ok(None) };
        let key = endpoint_key(space, id);
        let secret = self.keys.open(&stored.secret, &key).map_err(|error| unsealed(&key, &error))?;
        Ok(Some(Endpoint { secret, ..stored }))
    }

    async fn stored_endpoint(&self, space: &Space, id: &str) -> Result<Option<Endpoint>, ObjectsError> {
        if !is_id(id) {
            return Ok(None);
        }
        if_found(self.objects.get_json(&endpoint_key(space, id)).await)
    }

    /// Seals under the first key every secret that is not, and returns their number.
    ///
    /// # Errors
    ///
    /// Storage did not answer. A secret that cannot be opened stays as it is, and the log says so.
    pub async fn seal_secrets(&self) -> Result<u64, ObjectsError> {
        let mut sealed = 0;
        for space in self.objects.list_dirs("spaces").await? {
            let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
            for stored in self.endpoints(&space).await?.iter().filter(|one| self.keys.is_outdated(&one.secret)) {
                match self.endpoint(&space, &stored.id).await {
                    Ok(Some(endpoint)) => {
                        self.put_endpoint(&endpoint).await?;
                        sealed += 1;
                    }
                    Ok(None) => {}
                    Err(error) => {
                        warn!(endpoint = stored.id, %error, "the secret of a webhook endpoint stays as it is")
                    }
                }
            }
        }
        Ok(sealed)
    }

    /// The endpoints of the space, newest first. Their secrets are as they are stored.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or an endpoint cannot be read.
    pub async fn endpoints(&self, space: &Space) -> Result<Vec<Endpoint>, ObjectsError> {
        let mut all: Vec<Endpoint> = self.read_all(&format!("spaces/{space}/webhooks")).await?;
        all.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(all)
    }

    /// Removes an endpoint. Its pending deliveries are dropped.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn delete_endpoint(&self, endpoint: &Endpoint) -> Result<(), ObjectsError> {
        self.objects.delete(&endpoint_key(&endpoint.space, &endpoint.id)).await?;
        self.free_url(&endpoint.space, &endpoint.url).await
    }

    /// Stores an event, and a delivery for each endpoint that subscribes to it and for the render's callback URL, which
    /// gets it in a form of its own. Returns the deliveries. Publishing it again stores the same event again.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or an endpoint cannot be read.
    pub async fn publish(
        &self,
        event: &Event,
        callback: Option<(Url, CallbackForm)>,
        now_ms: u64,
    ) -> Result<Vec<Delivery>, ObjectsError> {
        self.objects.put_json(&event_key(&event.space, &event.event_id), event).await?;
        let endpoints = self.endpoints(&event.space).await?;
        let subscribed = endpoints.iter().filter(|endpoint| endpoint.subscribes_to(event));
        let mut targets: Vec<(String, Target, CallbackForm)> = subscribed
            .map(|endpoint| (endpoint.id.clone(), Target::Endpoint(endpoint.id.clone()), CallbackForm::Event))
            .collect();
        targets.extend(callback.map(|(url, form)| ("callback".to_owned(), Target::Callback(url), form)));
        let mut deliveries = Vec::with_capacity(targets.len());
        for (name, target, form) in targets {
            let delivery = Delivery {
                id: format!("{}-{name}", event.event_id),
                space: event.space.clone(),
                event_id: event.event_id.clone(),
                target,
                form,
                attempts: 0,
                begun_at_ms: now_ms,
                next_at_ms: now_ms,
                last: None,
            };
            self.put_delivery(&delivery).await?;
            deliveries.push(delivery);
        }
        Ok(deliveries)
    }

    /// An event of the space, if there is one with this id.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or the event cannot be read.
    pub async fn event(&self, space: &Space, id: &str) -> Result<Option<Event>, ObjectsError> {
        if_found(self.objects.get_json(&event_key(space, id)).await)
    }

    /// Ids of the events of the space, newest first.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn event_ids(&self, space: &Space) -> Result<Vec<String>, ObjectsError> {
        let listed = self.objects.list(&format!("spaces/{space}/events")).await?;
        let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
        let mut ids: Vec<String> = listed.iter().filter_map(|meta| name(&meta.key)).collect();
        ids.sort();
        ids.reverse();
        Ok(ids)
    }

    /// Removes the events of all spaces from before `before_ms` (Unix milliseconds). Answers their number.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn remove_events(&self, before_ms: u64) -> Result<u64, ObjectsError> {
        let mut removed = 0;
        for space in self.objects.list_dirs("spaces").await? {
            let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
            for id in self.event_ids(&space).await? {
                // The time is part of the id.
                let at = id.strip_prefix("evt_").and_then(|rest| u64::from_str_radix(rest.get(..12)?, 16).ok());
                if at.is_some_and(|at| at < before_ms) {
                    self.objects.delete(&event_key(&space, &id)).await?;
                    removed += 1;
                }
            }
        }
        Ok(removed)
    }

    /// All pending deliveries.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or a delivery cannot be read.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>, ObjectsError> {
        self.read_all(DELIVERIES).await
    }

    /// The delivery with this id, while it is pending.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or the delivery cannot be read.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, ObjectsError> {
        if_found(self.objects.get_json(&format!("{DELIVERIES}/{id}.json")).await)
    }

    pub(super) async fn put_delivery(&self, delivery: &Delivery) -> Result<(), ObjectsError> {
        self.objects.put_json(&format!("{DELIVERIES}/{}.json", delivery.id), delivery).await
    }

    pub(super) async fn delete_delivery(&self, delivery: &Delivery) -> Result<(), ObjectsError> {
        self.objects.delete(&format!("{DELIVERIES}/{}.json", delivery.id)).await
    }

    async fn read_all<T: serde::de::DeserializeOwned>(&self, folder: &str) -> Result<Vec<T>, ObjectsError> {
        let listed = self.objects.list(folder).await?;
        let reads = listed.into_iter().map(|meta| async move { if_found(self.objects.get_json::<T>(&meta.key).await) });
        let read: Vec<Option<T>> = stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }
}

fn unsealed(key: &str, error: &SealError) -> ObjectsError {
    ObjectsError::Corrupt { key: key.to_owned(), reason: format!("its secret cannot be used: {error}") }
}

fn endpoint_key(space: &Space, id: &str) -> String {
    format!("spaces/{space}/webhooks/{id}.json")
}

fn event_key(space: &Space, id: &str) -> String {
    format!("spaces/{space}/events/{id}.json")
}

fn url_mark(space: &Space, url: &Url) -> String {
    format!("spaces/{space}/webhook-urls/{}", ContentHash::of(url.as_str().as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn old_events_are_removed() {
        let webhooks = Webhooks::new(Objects::memory());
        let space: Space = "team-a".parse().unwrap();
        for at_ms in [1_000_000, 2_000_000] {
            let event = Event {
                event_id: Event::id_of(&"r1".parse().unwrap(), EVENT_TYPES[0].0, at_ms),
                event_type: EVENT_TYPES[0].0.to_owned(),
                event_data: Value::Null,
                entity_id: "r1".to_owned(),
                space: space.clone(),
                created_at_ms: at_ms,
            };
            webhooks.publish(&event, None, at_ms).await.unwrap();
        }
        assert_eq!(webhooks.remove_events(1_500_000).await.unwrap(), 1);
        let left = webhooks.event_ids(&space).await.unwrap();
        assert_eq!(webhooks.event(&space, &left[0]).await.unwrap().unwrap().created_at_ms, 2_000_000);
        assert_eq!((left.len(), webhooks.remove_events(1_500_000).await.unwrap()), (1, 0));
    }

    #[tokio::test]
    async fn secrets_are_sealed_in_storage_and_keys_are_rotated() {
        let (objects, space) = (Objects::memory(), Space::default());
        let (old, new) = ("a1".repeat(32), "b2".repeat(32));
        let with = |keys: &str| Webhooks::new(objects.clone()).with_keys(keys.parse().unwrap());
        let endpoint = Endpoint {
            id: "ep_1".to_owned(),
            space: space.clone(),
            url: Url::parse("https://x.example/h").unwrap(),
            events: None,
            entity_id: None,
            secret: Webhooks::secret().unwrap(),
            is_disabled: false,
            created_at_ms: 0,
        };
        // Stored before there were keys.
        with("").put_endpoint(&endpoint).await.unwrap();
        for (keys, count) in [(old.clone(), 1), (old.clone(), 0), (format!("{new},{old}"), 1), (new.clone(), 0)] {
            assert_eq!(with(&keys).seal_secrets().await.unwrap(), count);
            assert_eq!(with(&keys).endpoint(&space, "ep_1").await.unwrap().as_ref(), Some(&endpoint));
            let stored = objects.get("spaces/default/webhooks/ep_1.json").await.unwrap();
            assert!(!String::from_utf8_lossy(&stored).contains(&endpoint.secret));
        }
        // Without its key an endpoint has no secret, but it is listed, and its URL is still its own.
        assert!(with(&old).endpoint(&space, "ep_1").await.is_err());
        assert_eq!(with(&old).seal_secrets().await.unwrap(), 0);
        assert_eq!(with("").endpoints(&space).await.unwrap().len(), 1);
    }

    #[tokio::test]
    async fn an_url_is_one_endpoints_until_it_is_gone() {
        let webhooks = Webhooks::new(Objects::memory());
        let (space, url) = (Space::default(), Url::parse("https://x.example/h").unwrap());
        let endpoint = Endpoint {
            id: "ep_1".to_owned(),
            space: space.clone(),
            url: url.clone(),
            events: None,
            entity_id: None,
            secret: Webhooks::secret().unwrap(),
            is_disabled: false,
            created_at_ms: 0,
        };
        assert!(webhooks.reserve_url(&space, &url, "ep_1").await.unwrap());
        webhooks.put_endpoint(&endpoint).await.unwrap();
        assert!(!webhooks.reserve_url(&space, &url, "ep_2").await.unwrap());
        assert!(webhooks.reserve_url(&space, &url, "ep_1").await.unwrap());
        webhooks.delete_endpoint(&endpoint).await.unwrap();
        assert!(webhooks.reserve_url(&space, &url, "ep_2").await.unwrap());
    }
}
