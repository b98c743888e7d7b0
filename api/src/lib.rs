//! The HTTP API as types: one for each request, answer, event and error. The coordinator answers with them, the command line asks with
//! them, and the OpenAPI document, `docs/api.md` and the dashboard's types are derived from them.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`request`] | bodies of requests, and how a body is read: refusals name the field with its path |
//! | [`render`] | renders, their chunks, timelines and logs |
//! | [`farm`] | the farm and its workers |
//! | [`assets`] | uploads |
//! | [`voices`] | voices, and text to speech |
//! | [`avatars`] | people who can present |
//! | [`videos`] | presenter videos |
//! | [`lipsyncs`] | new sound for existing videos |
//! | [`translations`] | existing videos in other languages |
//! | [`agents`] | the video agent: sessions, messages, resources, styles |
//! | [`webhooks`] | endpoints, events and what is delivered |
//! | [`tasks`] | renders and uploads as clients of inference.sh know them |
//! | [`oauth`] | sign-in by OAuth |
//! | [`account`] | the key's own account, and the process's health |
//! | [`events`] | server-sent events |
//! | [`error`] | the table of error codes, and the shape of every error |
//! | [`runtimes`] | versions of the HyperFrames runtime |
//! | [`schema`] | the types as JSON Schema |
//!
//! A field that can be asked of a render stands in [`hyperfarm_proto::spec::RenderSpec`], with its bounds: what the API takes, what is
//! stored and what the command line offers is that one type.
//!
//! ```
//! use hyperfarm_api::request::{self, RenderRequest};
//!
//! let body = br#"{ "html": "<h1>Hi</h1>", "fps": "30000/1001", "crf": 18 }"#;
//! let request = RenderRequest::parse(request::object(body)?)?;
//! assert_eq!(request.spec.crf.map(|crf| crf.get()), Some(18));
//!
//! let refused = RenderRequest::parse(request::object(br#"{ "html": "", "crf": 64 }"#)?).unwrap_err();
//! assert_eq!(refused.param.as_deref(), Some("crf"));
//! assert_eq!(refused.message, "crf must be an integer from 0 to 63");
//! # Ok::<(), hyperfarm_api::FieldError>(())
//! ```

pub mod account;
pub mod agents;
pub mod assets;
pub mod avatars;
pub mod error;
pub mod events;
pub mod farm;
mod fps;
pub mod lipsyncs;
pub mod oauth;
pub mod render;
pub mod request;
pub mod runtimes;
pub mod schema;
pub mod tasks;
pub mod translations;
pub mod videos;
pub mod voices;
pub mod webhooks;

pub use error::{Code, ErrorBody, ErrorDetail, FieldError, Problem};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// An answer about one thing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Data<T> {
    /// The thing.
    pub data: T,
}

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Page<T> {
    /// The items.
    pub data: Vec<T>,
    /// Whether more come after them.
    pub has_more: bool,
    /// What the next page is asked with as `token`; `null` on the last one.
    pub next_token: Option<String>,
}

impl<T> Page<T> {
    /// A page with the token of the one after it.
    pub fn new(data: Vec<T>, next_token: Option<String>) -> Self {
        Self { data, has_more: next_token.is_some(), next_token }
    }
}

/// Unix seconds, with fractions, of Unix milliseconds.
pub fn seconds(unix_ms: u64) -> f64 {
    unix_ms as f64 / 1000.0
}
