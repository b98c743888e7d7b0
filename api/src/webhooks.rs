//! Webhook endpoints, events, and what is delivered.

use hyperfarm_proto::bounded::Text;
use schemars::{JsonSchema, Schema, json_schema};
use serde::{Deserialize, Serialize};

use crate::request::Request;

/// Types of events, each with when it happens.
pub const EVENT_TYPES: [(&str, &str); 3] = [
    ("hyperframes_video.success", "Fired when a HyperFrames render completes."),
    ("hyperframes_video.fail", "Fired when a HyperFrames render fails."),
    ("hyperframes_video.cancelled", "Fired when a HyperFrames render is cancelled or deleted before its end."),
];

fn event_type(_: &mut schemars::SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "enum": EVENT_TYPES.map(|(name, _)| name) })
}

fn event_types(_: &mut schemars::SchemaGenerator) -> Schema {
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
    #[schemars(schema_with = "event_types")]
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
    #[schemars(schema_with = "event_types")]
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
    #[schemars(schema_with = "event_types")]
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
    /// They are.
    Enabled,
    /// They are not: the receiver answered 410.
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
    #[schemars(schema_with = "event_type")]
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
    #[schemars(schema_with = "event_type")]
    pub event_type: String,
    /// What was delivered.
    #[schemars(with = "serde_json::Map<String, serde_json::Value>")]
    pub event_data: serde_json::Value,
    /// ISO 8601.
    pub created_at: String,
}
