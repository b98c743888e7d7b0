//! Sessions in storage.
//!
//! **Invariant: one run of the agent at a time writes a session.** A message is taken only while none is at work: a
//! coordinator knows its own runs, and the stage tells of those of others. A client that stops a run leaves a mark of its
//! own.

use bytes::Bytes;
use hyperfarm_api::agents::{AgentMessageKind, AgentRole, Orientation};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::storyboard::Storyboard;
use crate::retention::Retention;
use crate::store::if_found;
use crate::submission::Seed;

/// The start of the id of a session.
pub(crate) const PREFIX: &str = "sess";

/// Messages of a session that are kept.
const MAX_MESSAGES: usize = 200;

/// A session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct SessionRecord {
    pub(crate) id: String,
    pub(crate) space: Space,
    /// Unix milliseconds of its creation.
    pub(crate) created_at_ms: u64,
    /// Whether the client approves a storyboard before it becomes a video.
    pub(crate) is_chat: bool,
    pub(crate) style: String,
    pub(crate) orientation: Orientation,
    pub(crate) voice: Option<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) callback_id: Option<String>,
    /// How the client reached the farm.
    pub(crate) origin: Option<Url>,
    /// Oldest first.
    pub(crate) messages: Vec<MessageRecord>,
    pub(crate) files: Vec<FileRecord>,
    /// Every storyboard, the newest last.
    pub(crate) storyboards: Vec<Storyboard>,
    /// Every video, the newest last.
    pub(crate) videos: Vec<RenderId>,
    pub(crate) stage: Stage,
}

/// A message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct MessageRecord {
    pub(crate) role: AgentRole,
    pub(crate) kind: AgentMessageKind,
    pub(crate) text: String,
    /// Unix milliseconds.
    pub(crate) at_ms: u64,
    /// The storyboard that it shows, by its number.
    pub(crate) storyboard: Option<usize>,
    /// The files that came with it, by their numbers.
    pub(crate) files: Vec<usize>,
}

/// A file of the client's.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileRecord {
    /// Object key.
    pub(crate) key: String,
    /// The ending of its name, with the dot.
    pub(crate) extension: String,
    /// Unix milliseconds.
    pub(crate) at_ms: u64,
}

/// What the agent does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// It is at work. After this time, in Unix milliseconds, it is no more: its process has ended.
    Thinking(u64),
    /// It waits for an answer.
    Waiting,
    /// It waits for approval.
    Reviewing,
    /// Its newest video is rendered.
    Rendering,
    /// It has failed.
    Failed,
}

impl SessionRecord {
    /// Object key of a file of a session.
    pub(crate) fn file_key(space: &Space, id: &str, number: usize, extension: &str) -> String {
        format!("{}/{number}{extension}", files_folder(space, id))
    }

    /// Unix milliseconds of its last message.
    fn changed_at_ms(&self) -> u64 {
        self.messages.last().map_or(self.created_at_ms, |message| message.at_ms)
    }

    /// Adds a message.
    pub(crate) fn say(&mut self, message: MessageRecord) {
        self.messages.push(message);
        let over = self.messages.len().saturating_sub(MAX_MESSAGES);
        self.messages.drain(..over);
    }
}

fn files_folder(space: &Space, id: &str) -> String {
    format!("agents/{space}/{id}")
}

fn folder(space: &Space) -> String {
    format!("spaces/{space}/agents")
}

fn session_key(space: &Space, id: &str) -> String {
    format!("{}/{id}.json", folder(space))
}

fn stop_mark(space: &Space, id: &str) -> String {
    format!("spaces/{space}/stopped-agents/{id}")
}

/// Stores a session.
pub(crate) async fn put(objects: &Objects, session: &SessionRecord) -> Result<(), ObjectsError> {
    objects.put_json(&session_key(&session.space, &session.id), session).await
}

/// The session of the space with this id.
pub(crate) async fn get(objects: &Objects, space: &Space, id: &str) -> Result<Option<SessionRecord>, ObjectsError> {
    let is_id = id.len() <= 64 && id.starts_with(PREFIX) && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
    if is_id { if_found(objects.get_json(&session_key(space, id)).await) } else { Ok(None) }
}

/// The ids of the sessions of the space, newest first.
pub(crate) async fn ids(objects: &Objects, space: &Space) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(&folder(space)).await?;
    let names = listed.iter().filter_map(|meta| meta.key.rsplit('/').next()?.strip_suffix(".json"));
    let mut ids: Vec<String> = names.map(str::to_owned).collect();
    ids.sort_by(|a, b| b.cmp(a));
    Ok(ids)
}

/// Removes the sessions whose last message is older than the renders that `retention` keeps in their space, with their
/// files. Answers the number of sessions.
pub(crate) async fn remove_expired(objects: &Objects, retention: &Retention, now_ms: u64) -> Result<u64, ObjectsError> {
    let mut removed = 0;
    for space in objects.list_dirs("spaces").await? {
        let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
        let Some(kept) = retention.renders.of(&space) else { continue };
        let before = now_ms.saturating_sub(kept.duration().as_millis() as u64);
        // Ids sort by the time of their creation, so what is newer needs no read.
        let newest = Seed::id_at(PREFIX, before);
        for id in ids(objects, &space).await?.iter().filter(|id| **id < newest) {
            let session = match get(objects, &space, id).await {
                Ok(Some(session)) => session,
                Ok(None) => continue,
                Err(error @ ObjectsError::Corrupt { .. }) => {
                    warn!(session = id, %error, "a session cannot be read, and is kept");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if session.changed_at_ms() < before {
                objects.delete_prefix(&files_folder(&space, id)).await?;
                objects.delete(&stop_mark(&space, id)).await?;
                objects.delete(&session_key(&space, id)).await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

/// Tells the run of a session to stop.
pub(crate) async fn stop(objects: &Objects, session: &SessionRecord) -> Result<(), ObjectsError> {
    objects.put(&stop_mark(&session.space, &session.id), Bytes::from_static(b"{}")).await
}

/// Whether the run of a session was told to stop.
pub(crate) async fn is_stopped(objects: &Objects, session: &SessionRecord) -> Result<bool, ObjectsError> {
    objects.exists(&stop_mark(&session.space, &session.id)).await
}

/// Lets a session go on.
pub(crate) async fn clear_stop(objects: &Objects, session: &SessionRecord) -> Result<(), ObjectsError> {
    objects.delete(&stop_mark(&session.space, &session.id)).await
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    async fn stored(objects: &Objects, space: &str, created_at_ms: u64, said_at_ms: u64) -> String {
        let space: Space = space.parse().unwrap();
        let id = format!("{}0000000000000001", Seed::id_at(PREFIX, created_at_ms));
        let message = MessageRecord {
            role: AgentRole::User,
            kind: AgentMessageKind::Text,
            text: "hello".to_owned(),
            at_ms: said_at_ms,
            storyboard: None,
            files: Vec::new(),
        };
        let session = SessionRecord {
            id: id.clone(),
            space: space.clone(),
            created_at_ms,
            is_chat: false,
            style: "clean".to_owned(),
            orientation: Orientation::Landscape,
            voice: None,
            callback_url: None,
            callback_id: None,
            origin: None,
            messages: vec![message],
            files: Vec::new(),
            storyboards: Vec::new(),
            videos: Vec::new(),
            stage: Stage::Waiting,
        };
        put(objects, &session).await.unwrap();
        stop(objects, &session).await.unwrap();
        objects.put(&SessionRecord::file_key(&space, &id, 0, ".png"), Bytes::from_static(b"x")).await.unwrap();
        id
    }

    #[tokio::test]
    async fn a_session_goes_with_its_files_once_its_last_message_is_old() {
        let objects = Objects::memory();
        let old = stored(&objects, "alpha", DAY, DAY).await;
        let talking = stored(&objects, "alpha", 2 * DAY, 9 * DAY).await;
        let new = stored(&objects, "alpha", 9 * DAY, 9 * DAY).await;
        let kept = stored(&objects, "beta", DAY, DAY).await;
        let retention = Retention { renders: "7d,beta=forever".parse().unwrap(), ..Retention::default() };
        assert_eq!(remove_expired(&objects, &retention, 8 * DAY).await.unwrap(), 0);
        assert_eq!(remove_expired(&objects, &retention, 10 * DAY).await.unwrap(), 1);
        let (alpha, beta) = ("alpha".parse().unwrap(), "beta".parse().unwrap());
        assert_eq!(ids(&objects, &alpha).await.unwrap(), [new, talking]);
        assert_eq!(ids(&objects, &beta).await.unwrap(), [kept]);
        let left = objects.list("").await.unwrap();
        let is_of_old = |key: &str| key.contains("alpha") && key.contains(&old);
        assert!(left.iter().all(|meta| !is_of_old(&meta.key)), "{left:?}");
        assert_eq!(left.len(), 9);
    }
}
