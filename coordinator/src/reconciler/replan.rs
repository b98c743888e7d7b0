//! Plans a render again whose plan no worker can work from.
//!
//! This happens in an upgrade: an older farm wrote the plan in a layout that this one does not read, or no worker of the plan's capture
//! class is left (another Chrome, other fonts). Frames of two classes are never joined into one video, so the segments are removed, and
//! the render begins again under its id. A worker in quarantine counts as present, because it comes back. The plan of a *newer* farm is
//! left as it is, for the newer coordinator that is about to start.
//!
//! **Invariants**
//! - *Leases end first.* The ledger entry is cancelled, so that workers lose their leases. It is removed only when no lease is alive, or
//!   [`LEASES_END_WITHIN`] has passed.
//! - *Nothing of the old plan counts.* The records of segments and sound name the plan that they were made from.
//! - *It can be interrupted.* The plan is removed last, so the same facts lead here again. A cancelled ledger entry of a render without
//!   a plan is removed.

use std::time::{Duration, Instant};

use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::wire::WireError;
use tracing::warn;

use super::error::ReconcileError;
use super::replanning::Replanning;
use super::state::Reconciler;

/// Longest wait for the leases of a cancelled render to end.
const LEASES_END_WITHIN: Duration = Duration::from_secs(60);

/// Whether the error says that an older farm wrote what was read.
pub(super) fn is_of_older_farm(error: &ReconcileError) -> bool {
    match error {
        ReconcileError::Storage(ObjectsError::Version { source: WireError::Version { found, reads }, .. }) => {
            found < reads
        }
        _ => false,
    }
}

impl Reconciler {
    /// The reason to plan the render again because its class has been missing for too long, if so.
    pub(super) fn reason_to_replan(&self, render: &RenderId) -> Option<String> {
        let tracked = self.renders.get(render)?;
        let since = tracked.replanning.class_missing_since?;
        let class = &tracked.plan.as_ref()?.content.class;
        (since.elapsed() >= self.config.replan_after)
            .then(|| format!("no worker of its class ({class}) has been alive for {} s", since.elapsed().as_secs()))
    }

    /// Starts to plan the render again: cancels it in the ledger, which ends its leases.
    pub(super) async fn replan(&mut self, render: &RenderId, reason: String) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        if tracked.replanning.is_ending() {
            return Ok(());
        }
        if tracked.replanning.is_pausing() {
            return Err(ReconcileError::Replanned(reason));
        }
        warn!(%render, reason, "the render is planned again");
        self.backplane.ledger.cancel(render).await?;
        tracked.replanning.ending_since = Some(Instant::now());
        self.clear_plan(render);
        Ok(())
    }

    /// Removes the old plan and its segments once the leases have ended. Answers whether it still has to wait for that.
    pub(super) async fn remove_old_plan(&mut self, render: &RenderId) -> Result<bool, ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(false) };
        let Some(since) = tracked.replanning.ending_since else { return Ok(false) };
        let (ledger, objects) = (&self.backplane.ledger, &self.backplane.objects);
        let view = ledger.view(render).await?.unwrap_or_default();
        let is_leased = view.tasks.values().any(|task| task.lease.is_some());
        // A running verification or restore may be about to put back commits that it has read before.
        if (is_leased && since.elapsed() < LEASES_END_WITHIN) || self.verification.is_running() || tracked.is_restoring
        {
            return Ok(true);
        }
        objects.delete_prefix(&keys::segments_prefix(render)).await?;
        objects.delete(&keys::audio_record(render)).await?;
        objects.delete(&keys::draft(render)).await?;
        objects.delete(&keys::plan(render)).await?;
        ledger.forget(render).await?;
        ledger.open(render).await?;
        let count = tracked.replanning.count + 1;
        tracked.replanning = Replanning { count, last_at: Some(Instant::now()), ..Replanning::default() };
        tracked.is_restored = true;
        Ok(false)
    }
}
