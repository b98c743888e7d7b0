//! The one shape of every error: `{"error":{"code","message","param"?}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use hyperfarm_backplane::objects::ObjectsError;
use tracing::error;

use crate::admission::AdmissionError;
use crate::coordinator::RenderError;
use crate::intake::{IntakeError, ProjectError};

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
    /// There is no such render.
    RenderNotFound = "hyperframes_render_not_found", NOT_FOUND;
    /// There is no such asset.
    AssetNotFound = "asset_not_found", NOT_FOUND;
    /// There is no such webhook endpoint.
    WebhookNotFound = "webhook_not_found", NOT_FOUND;
    /// There is no such worker, or it has gone.
    WorkerNotFound = "worker_not_found", NOT_FOUND;
    /// There is no such thing or route.
    ResourceNotFound = "resource_not_found", NOT_FOUND;
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The bytes asked for lie outside the file.
    RangeInvalid = "invalid_parameter", RANGE_NOT_SATISFIABLE;
    /// The thing is not in a state for that.
    Conflict = "conflict", CONFLICT;
    /// What it needs is not there yet.
    NotReady = "resource_not_ready", CONFLICT;
    /// The first request with this idempotency key has not been answered yet.
    InProgress = "request_in_progress", CONFLICT;
    /// Too many at once, or too fast; `Retry-After` says when to try again.
    RateLimited = "rate_limit_exceeded", TOO_MANY_REQUESTS;
    /// More than the key's space may have in a day.
    QuotaExceeded = "quota_exceeded", TOO_MANY_REQUESTS;
    /// The farm did not answer in time.
    Timeout = "gateway_timeout", GATEWAY_TIMEOUT;
    /// A server that the farm needs does not answer.
    Unavailable = "internal_error", SERVICE_UNAVAILABLE;
    /// Ours.
    Internal = "internal_error", INTERNAL_SERVER_ERROR;
}

/// An error on its way to a client.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct ApiError {
    /// Which kind.
    pub code: Code,
    /// What is wrong and what to do.
    pub message: String,
    /// The field at fault, with its path.
    pub param: Option<String>,
    /// Seconds after which another try makes sense.
    pub retry_after: Option<u64>,
}

impl ApiError {
    /// An error of no field in particular.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None, retry_after: None }
    }

    /// A field that is not what it must be.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message).of(param)
    }

    /// The same error, of the field `param`.
    pub fn of(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// The same error, and when to try again.
    pub fn retry_after(self, seconds: u64) -> Self {
        Self { retry_after: Some(seconds.max(1)), ..self }
    }

    /// The error as it is sent.
    pub fn body(&self) -> serde_json::Value {
        let mut error = serde_json::json!({ "code": self.code.as_str(), "message": self.message });
        if let Some(param) = &self.param {
            error["param"] = param.as_str().into();
        }
        serde_json::json!({ "error": error })
    }

    /// An error of the farm's own: the client reads that it is ours, the log why.
    pub fn internal(reason: &dyn std::fmt::Display) -> Self {
        error!(%reason, "a request failed for our own reasons");
        Self::new(Code::Internal, "the farm could not do this; try again, and tell its operator if it stays so")
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut response = (self.code.status(), Json(self.body())).into_response();
        if let Some(seconds) = self.retry_after {
            response.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        response
    }
}

impl From<IntakeError> for ApiError {
    fn from(error: IntakeError) -> Self {
        match error {
            IntakeError::Project(ProjectError::Invalid(message)) => {
                Self::new(Code::ProjectInvalid, message).of("project")
            }
            IntakeError::Project(ProjectError::TooLarge(message)) => {
                Self::new(Code::ProjectTooLarge, message).of("project")
            }
            IntakeError::Invalid { param, message } => Self::invalid(param, message),
            IntakeError::Storage(_) | IntakeError::Random(_) => Self::internal(&error),
        }
    }
}

impl From<AdmissionError> for ApiError {
    fn from(error: AdmissionError) -> Self {
        let message = error.to_string();
        match error {
            AdmissionError::CapReached { .. } => Self::new(Code::InsufficientCredit, message),
            AdmissionError::DailyLimit { retry_after, .. } => {
                Self::new(Code::QuotaExceeded, message).retry_after(retry_after.as_secs())
            }
            AdmissionError::RateLimit { retry_after, .. } | AdmissionError::ConcurrencyLimit { retry_after, .. } => {
                Self::new(Code::RateLimited, message).retry_after(retry_after.as_secs())
            }
            AdmissionError::Storage(error) => Self::internal(&error),
        }
    }
}

impl From<getrandom::Error> for ApiError {
    fn from(error: getrandom::Error) -> Self {
        Self::internal(&error)
    }
}

impl From<RenderError> for ApiError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::NotFound(_) => Self::new(Code::RenderNotFound, error.to_string()),
            RenderError::Ended(_) => Self::new(Code::Conflict, error.to_string()),
            RenderError::Storage(_) => Self::internal(&error),
        }
    }
}

impl From<ObjectsError> for ApiError {
    fn from(error: ObjectsError) -> Self {
        Self::internal(&error)
    }
}
