//! The one shape of every error: `{"error":{"code","message","param"?}}`.

use axum::Json;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use tracing::error;

use crate::error::{IntakeError, RenderError};
use crate::intake::ProjectError;

macro_rules! codes {
    ($($(#[$doc:meta])* $name:ident = $text:literal, $status:ident;)*) => {
        /// Every code a client can see.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum Code {
            $($(#[$doc])* $name,)*
        }

        impl Code {
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
    /// A download URL that is not the farm's, or no longer good.
    Forbidden = "forbidden", FORBIDDEN;
    /// A field is not what it must be.
    InvalidParameter = "invalid_parameter", BAD_REQUEST;
    /// The project cannot be rendered.
    ProjectInvalid = "hyperframes_project_invalid", BAD_REQUEST;
    /// The project is over a limit.
    ProjectTooLarge = "hyperframes_project_too_large", PAYLOAD_TOO_LARGE;
    /// There is no such render.
    RenderNotFound = "hyperframes_render_not_found", NOT_FOUND;
    /// There is no such thing or route.
    ResourceNotFound = "resource_not_found", NOT_FOUND;
    /// The route does not take this method.
    MethodNotAllowed = "method_not_allowed", METHOD_NOT_ALLOWED;
    /// The bytes asked for lie outside the file.
    RangeInvalid = "invalid_parameter", RANGE_NOT_SATISFIABLE;
    /// The thing is not in a state for that.
    Conflict = "conflict", CONFLICT;
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
}

impl ApiError {
    /// An error of no field in particular.
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), param: None }
    }

    /// A field that is not what it must be.
    pub fn invalid(param: impl Into<String>, message: impl Into<String>) -> Self {
        Self::new(Code::InvalidParameter, message).of(param)
    }

    /// The same error, of the field `param`.
    pub fn of(self, param: impl Into<String>) -> Self {
        Self { param: Some(param.into()), ..self }
    }

    /// An error of the farm's own: the client reads that it is ours, the log why.
    pub fn internal(reason: &dyn std::fmt::Display) -> Self {
        error!(%reason, "a request failed for our own reasons");
        Self::new(Code::Internal, "the farm could not do this; try again, and tell its operator if it stays so")
    }
}

#[derive(Serialize)]
struct Body<'a> {
    error: Inner<'a>,
}

#[derive(Serialize)]
struct Inner<'a> {
    code: &'a str,
    message: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    param: Option<&'a str>,
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let error = Inner { code: self.code.as_str(), message: &self.message, param: self.param.as_deref() };
        (self.code.status(), Json(Body { error })).into_response()
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

impl From<RenderError> for ApiError {
    fn from(error: RenderError) -> Self {
        match error {
            RenderError::NotFound(_) => Self::new(Code::RenderNotFound, error.to_string()),
            RenderError::Ended(_) => Self::new(Code::Conflict, error.to_string()),
            RenderError::Storage(_) => Self::internal(&error),
        }
    }
}
