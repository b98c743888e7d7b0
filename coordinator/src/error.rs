//! What can go wrong when a render is asked for, looked up or ended.

use hyperfarm_backplane::broker::BrokerError;
use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::wire::WireError;

use crate::intake::ProjectError;

/// A render was not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The project cannot be rendered.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A field of the request cannot be met.
    #[error("{message}")]
    Invalid {
        /// The field.
        param: &'static str,
        /// What is wrong with it and what to do.
        message: String,
    },
    /// It could not be made durable.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
}

/// A render was not found, or not ended.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There is none, or it was deleted.
    #[error("there is no render {0}")]
    NotFound(RenderId),
    /// It has ended already, otherwise than was asked.
    #[error("render {0} has ended already")]
    Ended(RenderId),
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
}

/// A step of the reconciling loop did not succeed. It is tried again.
#[derive(Debug, thiserror::Error)]
pub enum ReconcileError {
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The broker did not answer.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// A message cannot be written.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A record cannot be written or read.
    #[error("a record cannot be written or read: {0}")]
    Json(#[from] serde_json::Error),
    /// The render has just been planned anew, and has to be again.
    #[error("{0}; it was planned anew a moment ago, and will be again: upgrade the pool's workers")]
    Replanned(String),
}
