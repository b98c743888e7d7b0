//! Webhook endpoints, events, and what is delivered.

use hyperfarm_proto::bounded::Text;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use crate::request::Request;

/// Types of events, each with when it happens.
pub const EVENT_TYPES: [(&str, &str); 13] = [
    ("hyperframes_video.success", "Fired when a HyperFrames render completes."),
    ("hyperframes_video.fail", "Fired when a HyperFrames render fails."),
    ("hyperframes_video.cancelled", "Fired when a HyperFrames render is cancelled or deleted before its end."),
    ("avatar_video.success", "Fired when an avatar video completes successfully."),
    ("avatar_video.fail", "Fired when an avatar video generation fails."),
    ("video_agent.success", "Fired when a Video Agent session completes successfully."),
    ("video_agent.fail", "Fired when a Video Agent session fails."),
    ("lipsync.success", "Fired when a lipsync completes."),
    ("lipsync.fail", "Fired when a lipsync fails."),
    ("video_translate.success", "Fired when a video translation completes."),
    ("video_translate.fail", "Fired when a video translation fails."),
    ("proofread_creation.success", "Fired when the translation of a proofread session can be read."),
    ("proofread_creation.fail", "Fired when a proofread session comes to no translation."),
];

/// Types of events that only the hosted service has. A client may subscribe to them beside the farm's own, and never
/// gets one.
pub const HOSTED_ONLY_EVENT_TYPES: [&str; 15] = [
    "avatar_video_gif.success",
    "avatar_video_gif.fail",
    "avatar_video_caption.success",
    "avatar_video_caption.fail",
    "personalized_video",
    "instant_avatar.success",
    "instant_avatar.fail",
    "photo_avatar_generation.success",
    "photo_avatar_generation.fail",
    "photo_avatar_train.success",
    "photo_avatar_train.fail",
    "photo_avatar_add_motion.success",
    "photo_avatar_add_motion.fail",
    "live_avatar.success",
    "live_avatar.fail",
];

/// Every type of event that can be subscribed to, the farm's own first.
pub fn event_types() -> impl Iterator<Item = EventType> {
    let own = EVENT_TYPES.into_iter().map(|(name, about)| (name, about.to_owned()));
    let hosted_only = "An event of the hosted service. This farm takes subscriptions to it and never fires it.";
    let hosted_only = HOSTED_ONLY_EVENT_TYPES.into_iter().map(move |name| (name, hosted_only.to_owned()));
    own.chain(hosted_only).map(|(name, description)| EventType { event_type: name.to_owned(), description })
}

fn own_event_type(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": EVENT_TYPES.map(|(name, _)| name) })
}

fn subscribed_types(_: &mut schemars::SchemaGenerator) -> Schema {
    let names = EVENT_TYPES.map(|(name, _)| name).join(", ");
    let description = format!("Types to hear of: {names}. All where `null`.");
    json_schema!({
        "type": ["array", "null"], "items": { "type": "string" }, "minItems": 1, "description": description,
    })
}

/// Registers a receiver of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EndpointRequest {
    /// An https URL that can be reached from the internet.
    pub url: Text<2048>,
    #[allow(missing_docs)]
    #[schemars(schema_with = "subscribed_types")]
    #[serde(default)]
    pub events: Option<Vec<String>>,
    /// The one render to hear of.
    #[serde(default)]
    pub entity_id: Option<Text<64>>,
}

impl Request for EndpointRequest {
    const EXAMPLE: &str = r#"{ "url": "https://example.com/hook", "events": ["hyperframes_video.success"] }"#;
}

/// Changes a receiver of events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct EndpointChange {
    /// An https URL that can be reached from the internet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub url: Option<Text<2048>>,
    #[allow(missing_docs)]
    #[schemars(schema_with = "subscribed_types")]
    #[serde(skip_serializing_if = "Option::is_none")]
    pub events: Option<Vec<String>>,
}

impl Request for EndpointChange {
    const EXAMPLE: &str = r#"{ "events": null }"#;
}

/// A receiver of events.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Endpoint {
    /// The endpoint.
    pub endpoint_id: String,
    /// An https URL that can be reached from the internet.
    pub url: String,
    #[allow(missing_docs)]
    #[schemars(schema_with = "subscribed_types")]
    pub events: Option<Vec<String>>,
    /// Disabled once the receiver answered 410.
    pub status: EndpointStatus,
    /// ISO 8601.
    pub created_at: String,
    /// Shown once.
    pub secret: Option<String>,
    /// The one render it hears of.
    pub entity_id: Option<String>,
}

/// Whether events are sent to an endpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum EndpointStatus {
    /// Events are sent.
    Enabled,
    /// No events are sent: the receiver answered 410.
    Disabled,
}

/// The new secret of an endpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Secret {
    /// The endpoint.
    pub endpoint_id: String,
    /// Shown once.
    pub secret: String,
}

/// A type of event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EventType {
    /// The type.
    pub event_type: String,
    /// When it happens.
    pub description: String,
}

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Event {
    /// The same over all deliveries.
    pub event_id: String,
    /// The type.
    #[schemars(schema_with = "own_event_type")]
    pub event_type: String,
    /// What was delivered.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub event_data: serde_json::Value,
    /// ISO 8601.
    pub created_at: String,
}

/// The body of a delivery to a receiver of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DeliveryBody {
    /// The same over all deliveries.
    pub event_id: String,
    /// The type.
    pub event_type: String,
    /// [`RenderEventData`], as it was stored with the event.
    pub event_data: serde_json::Value,
}

/// `event_data` of an event about a render.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RenderEventData {
    /// The render.
    pub render_id: String,
    /// The render, by the hosted service's older name.
    pub video_id: String,
    /// As asked.
    pub callback_id: Option<String>,
    /// As asked.
    pub title: Option<String>,
    /// How the render ended.
    #[serde(flatten)]
    pub end: RenderEnd,
}

/// `event_data` of an event about a presenter video, or a video of the agent's.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VideoEventData {
    /// The video; empty where the agent came to none.
    pub video_id: String,
    /// The session, of a video of the agent's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub session_id: Option<String>,
    /// Signed, expiring; `null` where the video failed, or the farm does not know how it is reached.
    pub url: Option<String>,
    /// Always `null`.
    pub gif_download_url: Option<String>,
    /// Always `null`.
    pub video_page_url: Option<String>,
    /// Always `null`.
    pub video_share_page_url: Option<String>,
    /// Always `null`.
    pub folder_id: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// What went wrong and what to do, of a video that failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
}

/// `event_data` of an event about a lipsync.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LipsyncEventData {
    /// The lipsync.
    pub lipsync_id: String,
    /// As asked, or as it was changed.
    pub title: Option<String>,
    /// Signed, expiring; `null` where it failed, or the farm does not know how it is reached.
    pub url: Option<String>,
    /// Seconds, where it completed.
    pub duration: Option<f64>,
    /// As asked.
    pub callback_id: Option<String>,
    /// What went wrong and what to do, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
}

/// `event_data` of an event about a video in another language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TranslationEventData {
    /// The translation.
    pub video_translate_id: String,
    /// As asked, or as it was changed.
    pub title: Option<String>,
    /// Language that it is translated into, as asked.
    pub output_language: String,
    /// As asked.
    pub translate_audio_only: bool,
    /// Whether captions were asked for.
    pub generate_caption: bool,
    /// Signed, expiring; `null` where it failed, or the farm does not know how it is reached.
    pub url: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// What went wrong and what to do, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
}

/// `event_data` of an event about a session in which a translation is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProofreadEventData {
    /// The session.
    pub proofread_id: String,
    /// As asked.
    pub title: Option<String>,
    /// Language that it is translated into, as asked.
    pub output_language: String,
    /// What went wrong and what to do, where it failed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub msg: Option<String>,
    /// What went wrong, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure_code: Option<String>,
}

/// How a render ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum RenderEnd {
    /// It has a video.
    Completed {
        /// Signed, expiring; `null` where the farm does not know how it is reached.
        video_url: Option<String>,
        /// The same as `video_url`.
        url: Option<String>,
        /// Signed, expiring; `null` where the farm does not know how it is reached.
        thumbnail_url: Option<String>,
        /// Seconds of video.
        duration: f64,
    },
    /// It has none: it failed, or it was cancelled or deleted.
    Failed {
        /// What went wrong and what to do.
        failure_message: String,
        /// The same as `failure_message`.
        msg: String,
        /// What went wrong, for programs.
        error_code: String,
    },
}
