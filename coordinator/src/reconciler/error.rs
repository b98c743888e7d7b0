//! Why the check of a render failed.

use hyperfarm_backplane::broker::BrokerError;
use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::wire::WireError;

/// Why the check of a render failed. The check is repeated.
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
    /// A message cannot be encoded.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A record cannot be written or read.
    #[error("a record cannot be written or read: {0}")]
    Json(#[from] serde_json::Error),
    /// The render was planned again a moment ago, and has to be once more.
    #[error("{0}; it was planned again a moment ago, and will be once more: upgrade the pool's workers")]
    Replanned(String),
}
