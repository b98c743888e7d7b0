//! What the reconciling loop is told: by the API, by workers' events, and by its own background tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::TerminalState;

use super::error::ReconcileError;
use crate::registry::RenderEntry;

/// A message to the loop.
#[derive(Debug)]
pub(crate) enum Wake {
    /// A render was submitted, and its request is stored.
    Submitted(Box<RenderEntry>),
    /// Something about a render may have changed.
    Changed(RenderId),
    /// The API, of this or of another coordinator, has changed a render in storage.
    ChangedInStorage(RenderId),
    /// The API has ended a render. Its workers have to lose their leases.
    EndedByApi(RenderId),
    /// The renders that have a mark of an open render in storage.
    OpenRenders {
        /// The renders.
        open: BTreeSet<RenderId>,
        /// Whether every open render has its mark.
        is_complete: bool,
    },
    /// What storage has of a render that the loop did not track.
    LookedUp(RenderId, Lookup),
    /// The result of comparing a render's ledger entry with storage.
    Verified(RenderId, Box<Verification>),
    /// A render's ledger entry was restored from storage, with the plan that storage has if it was needed, or it could not be.
    Restored(RenderId, Result<Option<Box<Plan>>, ReconcileError>),
}

/// What storage has of a render.
#[derive(Debug)]
pub(crate) enum Lookup {
    /// It is open.
    Open(Box<RenderEntry>),
    /// It has ended, or its record cannot be read.
    Ended,
    /// There is no such render: it is being taken in at this moment, was never taken in, or was deleted.
    Missing,
}

/// The result of comparing a render's ledger entry with storage.
#[derive(Debug, Default)]
pub(crate) struct Verification {
    /// How the render ended, if another process ended it.
    pub(super) end: Option<Arc<TerminalState>>,
    /// Whether it was deleted.
    pub(super) is_deleted: bool,
    /// The plan in storage, where the coordinator did not have it or a commit was missing.
    pub(super) plan: Option<Plan>,
    /// The priority in storage.
    pub(super) priority: Option<i32>,
    /// Number of commits that storage had, the ledger lacked, and were put back.
    pub(super) restored: usize,
}
