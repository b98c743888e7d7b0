//! The video agent: a conversation with a language model that ends in a video.

use hyperfarm_proto::bounded::{Bounded, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::avatars::FileInput;
use crate::request::{Request, number};

/// Characters of a message to the agent at most.
pub const MAX_MESSAGE: usize = 10_000;

/// Files of a message at most.
pub const MAX_FILES: usize = 20;

/// Begins a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentRequest {
    /// The subject of the video, its length, and whatever else the agent should know.
    #[schemars(length(min = 1))]
    pub prompt: Text<MAX_MESSAGE>,
    /// Whether the client approves the storyboard before the video is made; `generate`, without approval, by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mode: Option<AgentMode>,
    /// The hosted service puts an avatar into the video. This farm refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_id: Option<Text<64>>,
    /// The voice of the narration. Without one the farm chooses the English voice that suits explanations best.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_id: Option<Text<100>>,
    /// One of GET /v3/video-agents/styles. Without one the farm takes the first of them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub style_id: Option<Text<64>>,
    /// Shape of the video; `landscape` by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub orientation: Option<Orientation>,
    /// Pictures and videos that scenes may show: PNG, JPEG, MP4 or WebM files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub files: Vec<FileInput>,
    /// With the mode `chat`: the first storyboard becomes the video without approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_proceed: Option<bool>,
    /// An https URL to tell of the end of the video.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_url: Option<Text<2048>>,
    /// Echoed in events.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback_id: Option<Text<256>>,
}

impl Request for AgentRequest {
    const EXAMPLE: &str = r#"{
        "prompt": "A 30-second onboarding video for new engineers: culture, tools, first-week checklist.", "mode": "chat",
        "orientation": "landscape"
    }"#;
}

/// Whether the client approves a storyboard before it becomes a video.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AgentMode {
    /// The storyboard becomes a video without approval.
    #[default]
    Generate,
    /// The session stops at the storyboard, until the client has approved it.
    Chat,
}

/// The shape of an agent's video.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Orientation {
    /// 1920 by 1080.
    #[default]
    Landscape,
    /// 1080 by 1920.
    Portrait,
}

/// Says something to the agent of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentMessageRequest {
    /// A wish, an answer, or an approval.
    #[schemars(length(min = 1))]
    pub message: Text<MAX_MESSAGE>,
    /// As in the request of the session. This farm refuses it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_id: Option<Text<64>>,
    /// The voice of the narration from now on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub voice_id: Option<Text<100>>,
    /// More files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 20))]
    pub files: Vec<FileInput>,
    /// The storyboard that follows from this message becomes the video without approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_proceed: Option<bool>,
}

impl Request for AgentMessageRequest {
    const EXAMPLE: &str =
        r#"{ "message": "Add a scene about code review before the checklist.", "auto_proceed": true }"#;
}

/// A session that has begun.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentSessionCreated {
    /// The session.
    pub session_id: String,
    /// Always `thinking`.
    pub status: AgentStatus,
    /// `null`: the video is there once the session says so.
    pub video_id: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
}

/// What the agent of a session does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AgentStatus {
    /// The agent is at work.
    Thinking,
    /// The agent waits for an answer.
    WaitingForInput,
    /// The agent waits for approval of its storyboard.
    Reviewing,
    /// The video is rendered.
    Generating,
    /// The video is there.
    Completed,
    /// The agent or the video failed; the newest message says why.
    Failed,
}

/// A session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentSession {
    /// The session.
    pub session_id: String,
    /// What its agent does.
    pub status: AgentStatus,
    /// Per cent of the way to the video.
    pub progress: u32,
    /// The title that the agent has given.
    pub title: Option<String>,
    /// The newest video, once it is rendered.
    pub video_id: Option<String>,
    /// Unix seconds.
    pub created_at: u64,
    /// The newest 40 messages, newest first; none in lists.
    pub messages: Vec<AgentMessage>,
}

/// A message of a session.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentMessage {
    /// Who said it.
    pub role: AgentRole,
    /// What was said.
    pub content: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AgentMessageKind,
    /// Unix seconds.
    pub created_at: Option<u64>,
    /// Resources that it speaks of.
    pub resource_ids: Option<Vec<String>>,
}

/// Who said something.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AgentRole {
    /// The client.
    User,
    /// The agent.
    Model,
}

/// What a message is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AgentMessageKind {
    /// Words.
    Text,
    /// Words about a resource.
    Resource,
    /// Why it does not go on.
    Error,
}

/// The answer to a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentMessageSent {
    /// The session.
    pub session_id: String,
    /// The run of the agent that the message has begun.
    pub run_id: String,
    /// The title of the session so far.
    pub title: Option<String>,
}

/// A session whose agent was told to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStopped {
    /// The session.
    pub session_id: String,
}

/// Something that a message speaks of.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct AgentResource {
    /// The resource.
    pub resource_id: String,
    /// `image` or `video` for a file of the client's, `draft` for a storyboard.
    pub resource_type: String,
    /// `user_uploaded` or `generated`.
    pub source_type: Option<String>,
    /// Signed, expiring URL of the file.
    pub url: Option<String>,
    /// Always `null`.
    pub thumbnail_url: Option<String>,
    /// Always `null`.
    pub preview_url: Option<String>,
    /// Unix seconds.
    pub created_at: Option<u64>,
    /// Of a storyboard its scenes.
    pub metadata: Option<Value>,
}

/// A template that the agent composes videos by.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStyle {
    /// The style.
    pub style_id: String,
    /// Name to show to people.
    pub name: String,
    /// Always `null`.
    pub thumbnail_url: Option<String>,
    /// Always `null`.
    pub preview_video_url: Option<String>,
    /// Words to find it by.
    pub tags: Option<Vec<String>>,
    /// `null`: styles suit every shape.
    pub aspect_ratio: Option<String>,
}

/// A page of styles.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct StylesQuery {
    /// Only styles with this tag.
    pub tag: Option<Text<64>>,
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 100>>,
    /// The next_token of the page before.
    pub token: Option<String>,
}
