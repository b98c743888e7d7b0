//! Webhooks: who wants to know of what, and telling them until they have heard.
//!
//! | module | what it is |
//! | --- | --- |
//! | here | endpoints, events and deliveries in storage |
//! | [`sign`] | the headers that prove where a delivery comes from |
//! | [`deliver`] | the loop that sends, and sends again |
//!
//! **Invariant: at least once, never lost.** An event and its deliveries are in storage before the render's end counts as dealt with; a
//! delivery leaves storage when the receiver has taken it, is gone for good (410), or a day has passed.

pub mod deliver;
pub mod sign;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, RenderId, Space};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use crate::error::IntakeError;
use crate::store::{PARALLEL, if_found};

/// What there is to hear of, with a description.
pub const EVENT_TYPES: [(&str, &str); 3] = [
    ("hyperframes_video.success", "Fired when a HyperFrames render completes."),
    ("hyperframes_video.fail", "Fired when a HyperFrames render fails."),
    ("hyperframes_video.cancelled", "Fired when a HyperFrames render is cancelled or deleted before its end."),
];

/// Types of the hosted service that never happen here. A client that names them beside ours is not refused for it.
pub const ELSEWHERE: [&str; 23] = [
    "avatar_video.success",
    "avatar_video.fail",
    "avatar_video_gif.success",
    "avatar_video_gif.fail",
    "avatar_video_caption.success",
    "avatar_video_caption.fail",
    "video_translate.success",
    "video_translate.fail",
    "video_agent.success",
    "video_agent.fail",
    "personalized_video",
    "instant_avatar.success",
    "instant_avatar.fail",
    "photo_avatar_generation.success",
    "photo_avatar_generation.fail",
    "photo_avatar_train.success",
    "photo_avatar_train.fail",
    "photo_avatar_add_motion.success",
    "photo_avatar_add_motion.fail",
    "proofread_creation.success",
    "proofread_creation.fail",
    "live_avatar.success",
    "live_avatar.fail",
];

/// Where events are sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// Its id.
    pub id: String,
    /// The tenant whose events it gets.
    pub space: Space,
    /// The receiver.
    pub url: Url,
    /// Types it gets; all where absent.
    pub events: Option<Vec<String>>,
    /// The one thing it wants to hear of; all where absent.
    pub entity_id: Option<String>,
    /// `whsec_` and base64.
    pub secret: String,
    /// Whether the receiver has said that it is gone.
    pub is_disabled: bool,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

impl Endpoint {
    /// Whether it wants to hear of this.
    pub fn wants(&self, event: &Event) -> bool {
        !self.is_disabled
            && self.events.as_ref().is_none_or(|events| events.contains(&event.event_type))
            && self.entity_id.as_ref().is_none_or(|entity| *entity == event.entity_id)
    }
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// Stable over every delivery.
    pub event_id: String,
    /// One of [`EVENT_TYPES`].
    pub event_type: String,
    /// What clients read.
    pub event_data: Value,
    /// The render.
    pub entity_id: String,
    /// The tenant.
    pub space: Space,
    /// Unix milliseconds.
    pub created_at_ms: u64,
}

impl Event {
    /// The id of this end of the render: the same one however often it is dealt with.
    pub fn id_of(render: &RenderId, event_type: &str, at_ms: u64) -> String {
        let hash = ContentHash::of(format!("{render}\n{event_type}").as_bytes()).to_string();
        format!("evt_{at_ms:012x}{}", &hash[..16])
    }
}

/// To whom one delivery goes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Target {
    /// A registered endpoint.
    Endpoint(String),
    /// The `callback_url` of one render.
    Callback(Url),
}

/// An event on its way to one receiver.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Delivery {
    /// Its id, made of the event's and the receiver's.
    pub id: String,
    /// The tenant.
    pub space: Space,
    /// The event.
    pub event_id: String,
    /// The receiver.
    pub target: Target,
    /// Attempts so far.
    pub attempts: u32,
    /// Unix milliseconds of its making.
    pub begun_at_ms: u64,
    /// Unix milliseconds of the next attempt.
    pub next_at_ms: u64,
    /// What went wrong last.
    pub last: Option<String>,
}

/// Folder of the deliveries that are on their way.
const DELIVERIES: &str = "deliveries";

/// The webhooks' part of object storage.
#[derive(Clone)]
pub struct Webhooks {
    objects: Objects,
}

fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
}

impl Webhooks {
    /// The webhooks in `objects`.
    pub fn new(objects: Objects) -> Self {
        Self { objects }
    }

    /// A new secret.
    pub fn secret() -> Result<String, IntakeError> {
        let mut bytes = [0; 32];
        getrandom::fill(&mut bytes).map_err(IntakeError::Random)?;
        Ok(format!("whsec_{}", STANDARD.encode(bytes)))
    }

    /// Takes the URL for the endpoint. `false` if another endpoint of the space has it.
    pub async fn take_url(&self, space: &Space, url: &Url, endpoint: &str) -> Result<bool, ObjectsError> {
        let place = url_mark(space, url);
        if self.objects.create(&place, Bytes::from(endpoint.to_owned())).await? == Created::Yes {
            return Ok(true);
        }
        let Some(owner) = if_found(self.objects.get(&place).await)? else { return Ok(false) };
        let owner = String::from_utf8_lossy(&owner).into_owned();
        // A mark that was left behind by an endpoint that is not, or no longer, there.
        let is_held = self.endpoint(space, &owner).await?.is_some_and(|other| other.url == *url);
        if is_held && owner != endpoint {
            return Ok(false);
        }
        self.objects.put(&place, Bytes::from(endpoint.to_owned())).await?;
        Ok(true)
    }

    /// Gives the URL back.
    pub async fn free_url(&self, space: &Space, url: &Url) -> Result<(), ObjectsError> {
        self.objects.delete(&url_mark(space, url)).await
    }

    /// Stores an endpoint.
    pub async fn put_endpoint(&self, endpoint: &Endpoint) -> Result<(), ObjectsError> {
        self.objects.put_json(&endpoint_key(&endpoint.space, &endpoint.id), endpoint).await
    }

    /// The space's endpoint.
    pub async fn endpoint(&self, space: &Space, id: &str) -> Result<Option<Endpoint>, ObjectsError> {
        if !is_id(id) {
            return Ok(None);
        }
        if_found(self.objects.get_json(&endpoint_key(space, id)).await)
    }

    /// The space's endpoints, newest first.
    pub async fn endpoints(&self, space: &Space) -> Result<Vec<Endpoint>, ObjectsError> {
        let mut all: Vec<Endpoint> = self.read_all(&format!("spaces/{space}/webhooks")).await?;
        all.sort_by(|a, b| b.id.cmp(&a.id));
        Ok(all)
    }

    /// Removes an endpoint; what is on its way to it goes nowhere.
    pub async fn delete_endpoint(&self, endpoint: &Endpoint) -> Result<(), ObjectsError> {
        self.objects.delete(&endpoint_key(&endpoint.space, &endpoint.id)).await?;
        self.free_url(&endpoint.space, &endpoint.url).await
    }

    /// Stores an event and a delivery for everyone who wants it. Once more makes no second event.
    pub async fn announce(
        &self,
        event: &Event,
        callback: Option<Url>,
        now_ms: u64,
    ) -> Result<Vec<Delivery>, ObjectsError> {
        self.objects.put_json(&event_key(&event.space, &event.event_id), event).await?;
        let endpoints = self.endpoints(&event.space).await?;
        let wanting = endpoints.iter().filter(|endpoint| endpoint.wants(event));
        let mut targets: Vec<(String, Target)> =
            wanting.map(|endpoint| (endpoint.id.clone(), Target::Endpoint(endpoint.id.clone()))).collect();
        targets.extend(callback.map(|url| ("callback".to_owned(), Target::Callback(url))));
        let mut deliveries = Vec::with_capacity(targets.len());
        for (name, target) in targets {
            let delivery = Delivery {
                id: format!("{}-{name}", event.event_id),
                space: event.space.clone(),
                event_id: event.event_id.clone(),
                target,
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

    /// The space's event.
    pub async fn event(&self, space: &Space, id: &str) -> Result<Option<Event>, ObjectsError> {
        if_found(self.objects.get_json(&event_key(space, id)).await)
    }

    /// Ids of the space's events, newest first.
    pub async fn event_ids(&self, space: &Space) -> Result<Vec<String>, ObjectsError> {
        let listed = self.objects.list(&format!("spaces/{space}/events")).await?;
        let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
        let mut ids: Vec<String> = listed.iter().filter_map(|meta| name(&meta.key)).collect();
        ids.sort();
        ids.reverse();
        Ok(ids)
    }

    /// Clears away every space's events from before this moment (Unix milliseconds). Answers how many.
    pub async fn clear_events(&self, before_ms: u64) -> Result<u64, ObjectsError> {
        let mut cleared = 0;
        for space in self.objects.list_dirs("spaces").await? {
            let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
            for id in self.event_ids(&space).await? {
                // The moment is in the id.
                let at = id.strip_prefix("evt_").and_then(|rest| u64::from_str_radix(rest.get(..12)?, 16).ok());
                if at.is_some_and(|at| at < before_ms) {
                    self.objects.delete(&event_key(&space, &id)).await?;
                    cleared += 1;
                }
            }
        }
        Ok(cleared)
    }

    /// Deliveries on their way.
    pub async fn deliveries(&self) -> Result<Vec<Delivery>, ObjectsError> {
        self.read_all(DELIVERIES).await
    }

    /// The delivery, if it is on its way still.
    pub async fn delivery(&self, id: &str) -> Result<Option<Delivery>, ObjectsError> {
        if_found(self.objects.get_json(&format!("{DELIVERIES}/{id}.json")).await)
    }

    async fn put_delivery(&self, delivery: &Delivery) -> Result<(), ObjectsError> {
        self.objects.put_json(&format!("{DELIVERIES}/{}.json", delivery.id), delivery).await
    }

    async fn delete_delivery(&self, delivery: &Delivery) -> Result<(), ObjectsError> {
        self.objects.delete(&format!("{DELIVERIES}/{}.json", delivery.id)).await
    }

    async fn read_all<T: serde::de::DeserializeOwned>(&self, folder: &str) -> Result<Vec<T>, ObjectsError> {
        let listed = self.objects.list(folder).await?;
        let reads = listed.into_iter().map(|meta| async move { if_found(self.objects.get_json::<T>(&meta.key).await) });
        let read: Vec<Option<T>> = stream::iter(reads).buffer_unordered(PARALLEL).try_collect().await?;
        Ok(read.into_iter().flatten().collect())
    }
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

/// A moment as ISO 8601 in UTC, to the second.
pub fn iso8601(at_ms: u64) -> String {
    let seconds = at_ms / 1000;
    let (days, of_day) = ((seconds / 86_400) as i64, seconds % 86_400);
    // Civil date from days since 1970, in eras of 400 years that begin in March.
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let of_era = shifted.rem_euclid(146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 { march_month + 3 } else { march_month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", of_day / 3600, of_day / 60 % 60, of_day % 60)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_are_dates() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(951_827_696_000), "2000-02-29T12:34:56Z");
        assert_eq!(iso8601(1_774_440_000_999), "2026-03-25T12:00:00Z");
    }

    #[tokio::test]
    async fn old_events_are_cleared_away() {
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
            webhooks.announce(&event, None, at_ms).await.unwrap();
        }
        assert_eq!(webhooks.clear_events(1_500_000).await.unwrap(), 1);
        let left = webhooks.event_ids(&space).await.unwrap();
        assert_eq!(webhooks.event(&space, &left[0]).await.unwrap().unwrap().created_at_ms, 2_000_000);
        assert_eq!((left.len(), webhooks.clear_events(1_500_000).await.unwrap()), (1, 0));
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
        assert!(webhooks.take_url(&space, &url, "ep_1").await.unwrap());
        webhooks.put_endpoint(&endpoint).await.unwrap();
        assert!(!webhooks.take_url(&space, &url, "ep_2").await.unwrap());
        assert!(webhooks.take_url(&space, &url, "ep_1").await.unwrap());
        webhooks.delete_endpoint(&endpoint).await.unwrap();
        assert!(webhooks.take_url(&space, &url, "ep_2").await.unwrap());
    }
}
