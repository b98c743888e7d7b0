//! Errors as clients read them: `{"error":{"code","message","param"?,"doc_url"}}`, or as RFC 9457 has them; and the table of codes.

use http::StatusCode;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The page of the farm that explains every code.
pub const DOCS_PATH: &str = "/docs/errors";

macro_rules! codes {
    ($($(#[doc = $doc:literal])* $name:ident = $text:literal, $status:ident;)*) => {
        /// Every code a client can see.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[doc = $doc])* $name,)*
        }

        impl Code {
            /// All of them.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// What it means.
            pub fn meaning(self) -> &'static str {
                match self { $(Self::$name => concat!($($doc,)*).trim_ascii(),)* }
            }

            /// The stable text of the code.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$name => $text,)* }
            }

            /// The path on the farm at which the code is explained.
            pub fn doc_path(self) -> String {
                format!("{DOCS_PATH}#{}", self.as_str().replace('_', "-"))
            }

            /// The HTTP status that goes with it.
            pub fn status(self) -> StatusCode {
                match self { $(Self::$name => StatusCode::$status,)* }
            }
        }
    };
}

codes! {
    /// No key, or not one of the farm's.
    Unauthorized = "unauthorized", UNAUTHORIZED;
    /// The key has reached its spending cap.
    InsufficientCredit = "insufficient_credit", PAYMENT_REQUIRED;
    /// The key has not the scope for this, or a signed URL is not the farm's or no longer good.
    Forbidden = "forbidden", FORBIDDEN;
    /// The key may not use this resource.
    AccessDenied = "resource_access_denied", FORBIDDEN;
    /// A field is not what it must be.
    InvalidParameter = "invalid_parameter", BAD_REQUEST;
    /// The project's URL gave nothing.
    DownloadFailed = "download_failed", BAD_REQUEST;
    /// The project cannot be rendered.
    ProjectInvalid = "hyperframes_project_invalid", BAD_REQUEST;
    /// The project is over a limit.
    ProjectTooLarge = "hyperframes_project_too_large", PAYLOAD_TOO_LARGE;
    /// A file or a body is over a limit.
    TooLarge = "invalid_parameter", PAYLOAD_TOO_LARGE;
    /// There is no such render.
    RenderNotFound = "hyperframes_render_not_found", NOT_FOUND;
    /// There is no such asset.
    AssetNotFound = "asset_not_found", NOT_FOUND;
    /// There is no such webhook endpoint.
    WebhookNotFound = "webhook_not_found", NOT_FOUND;
    /// There is no such worker, or it has gone.
    WorkerNotFound = "worker_not_found", NOT_FOUND;
    /// There is no such look or group.
    AvatarNotFound = "avatar_not_found", NOT_FOUND;
    /// There is no such presenter video.
    VideoNotFound = "video_not_found", NOT_FOUND;
    /// There is no such voice.
    VoiceNotFound = "voice_not_found", NOT_FOUND;
    /// There is no such thing or route.
    ResourceNotFound = "resource_not_found", NOT_FOUND;
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The body is of a media type that the route does not take.
    MediaTypeInvalid = "invalid_parameter", UNSUPPORTED_MEDIA_TYPE;
    /// The bytes asked for lie outside the file.
    RangeInvalid = "invalid_parameter", RANGE_NOT_SATISFIABLE;
    /// The thing is not in a state for that.
    Conflict = "conflict", CONFLICT;
    /// What it needs is not there yet.
    NotReady = "resource_not_ready", CONFLICT;
    /// The farm's operator has configured no engine for this; the message names the settings.
    EngineNotConfigured = "engine_not_configured", CONFLICT;
    /// The first request with this idempotency key has not been answered yet.
    InProgress = "request_in_progress", CONFLICT;
    /// Too many renders at once, or too many requests in a minute; `Retry-After` says when to try again.
    RateLimited = "rate_limit_exceeded", TOO_MANY_REQUESTS;
    /// More than the key's space may have in a day.
    QuotaExceeded = "quota_exceeded", TOO_MANY_REQUESTS;
    /// The engine beside the farm that does this failed; the message says why.
    EngineFailed = "engine_failed", BAD_GATEWAY;
    /// The farm did not answer in time.
    Timeout = "gateway_timeout", GATEWAY_TIMEOUT;
    /// A server that the farm needs does not answer.
    Unavailable = "internal_error", SERVICE_UNAVAILABLE;
    /// Ours.
    Internal = "internal_error", INTERNAL_SERVER_ERROR;
}

/// The body of every response that is not a success.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(rename = "Error")]
pub struct ErrorBody {
    /// What went wrong.
    pub error: ErrorDetail,
}

/// What went wrong with a request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ErrorDetail {
    /// One of the codes below.
    pub code: String,
    /// What is wrong and what to do.
    pub message: String,
    /// The field at fault, with its path.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// URL of the page that explains the code. Errors inside a successful answer have only its path on the farm.
    #[serde(default)]
    pub doc_url: String,
}

impl ErrorDetail {
    /// An error of this code.
    pub fn new(code: Code, message: impl Into<String>, param: Option<String>) -> Self {
        Self { code: code.as_str().to_owned(), message: message.into(), param, doc_url: code.doc_path() }
    }
}

/// An error as RFC 9457 has it, with the farm's own form inside.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Problem {
    /// URL of the page that explains the code.
    pub r#type: String,
    /// The HTTP status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// The same as every other route says it.
    pub error: ErrorDetail,
}

impl Problem {
    /// The media type of its JSON.
    pub const MEDIA_TYPE: &str = "application/problem+json";

    /// The problem that an error of this status is.
    pub fn new(status: StatusCode, error: ErrorDetail) -> Self {
        Self {
            r#type: error.doc_url.clone(),
            title: status.canonical_reason().unwrap_or_default().to_owned(),
            status: status.as_u16(),
            detail: error.message.clone(),
            error,
        }
    }
}

/// A field of a request that is not what it must be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct FieldError {
    /// The field, with its path; none where it is the whole body.
    pub param: Option<String>,
    /// What it must be.
    pub message: String,
}

impl FieldError {
    /// `param` is not what it must be.
    pub fn new(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self { param: Some(param.into()), message: message.into() }
    }

    /// The same error of an object that stands in the field `path`.
    pub fn under(self, path: &str) -> Self {
        let param = self.param.map_or_else(|| path.to_owned(), |param| format!("{path}.{param}"));
        Self { param: Some(param), ..self }
    }
}
