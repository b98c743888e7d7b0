//! Errors on their way to clients.

use axum::Json;
use axum::http::header::RETRY_AFTER;
use axum::response::{IntoResponse, Response};
use hyperfarm_api::{ErrorBody, ErrorDetail, FieldError};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::legible::legible;
use tracing::{error, warn};

pub use hyperfarm_api::Code;

use crate::admission::AdmissionError;
use crate::coordinator::RenderError;
use crate::intake::{IntakeError, ProjectError};

/// Characters of a message at most: it may name what a client has sent.
const MESSAGE_MAX: usize = 1000;

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
        let message = legible(&message.into(), MESSAGE_MAX).into_owned();
        Self { code, message, param: None, retry_after: None }
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
    pub fn body(&self) -> ErrorBody {
        ErrorBody { error: ErrorDetail::new(self.code, self.message.clone(), self.param.clone()) }
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
        response.extensions_mut().insert(self);
        response
    }
}

impl From<FieldError> for ApiError {
    fn from(error: FieldError) -> Self {
        Self { param: error.param, ..Self::new(Code::InvalidParameter, error.message) }
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
            AdmissionError::Ledger(error) => Self::internal(&error),
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
            RenderError::Ledger(_) => {
                warn!(%error, "the ledger did not answer a request");
                Self::new(Code::Unavailable, "no answer from the ledger; ask again".to_owned())
            }
        }
    }
}

impl From<ObjectsError> for ApiError {
    fn from(error: ObjectsError) -> Self {
        Self::internal(&error)
    }
}
