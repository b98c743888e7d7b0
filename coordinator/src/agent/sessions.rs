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
use url::Url;

use super::storyboard::Storyboard;
use crate::store::if_found;

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
        format!("agents/{space}/{id}/{number}{extension}")
    }

    /// Adds a message.
    pub(crate) fn say(&mut self, message: MessageRecord) {
        self.messages.push(message);
        let over = self.messages.len().saturating_sub(MAX_MESSAGES);
        self.messages.drain(..over);
    }
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
    let is_id = id.len() <= 64 && id.starts_with("sess_") && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
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
