//! Planning a render anew: its plan cannot be worked from any more.
//!
//! That happens in an upgrade. The plan was written by an older farm whose layout this one does not read; or its capture class has left
//! the farm (another Chrome, other fonts), so that nobody may make the chunks that are missing. Frames of two classes never meet in one
//! video, so what was made is thrown away, and the render begins again under its id. A worker in quarantine has not left: it comes back
//! after its rest. A plan of a *newer* farm is left alone: the coordinator that understands it is on its way.
//!
//! **Invariants**
//! - *Kill before release.* The ledger's entry is cancelled first, which ends the work of everyone who reports; it is forgotten only
//!   when no lease is alive, or nobody has renewed one for [`LEASES_END`].
//! - *Nothing of the old plan counts.* Records of segments and of the sound name the plan that they were made from.
//! - *It can be interrupted.* The plan goes last: until then the same facts lead here again. A cancelled entry of a render without a plan
//!   is forgotten.

use std::time::{Duration, Instant};

use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::task::Step;
use hyperfarm_proto::wire::WireError;
use tracing::warn;

use super::Reconciler;
use super::tracked::Tracked;
use crate::error::ReconcileError;
use crate::scheduler::Fleet;

/// Longest time that a lease of a cancelled render is waited for.
const LEASES_END: Duration = Duration::from_secs(60);

/// Rest between two new plans of a render, doubled each time up to sixteen times: a farm of old workers only makes the same plan again.
const REST: Duration = Duration::from_secs(4);

/// Where a render is in being planned anew.
#[derive(Debug, Default)]
pub(super) struct Replanning {
    /// Since when the pool has workers, but none of the plan's class.
    lacking_since: Option<Instant>,
    /// Since when its leases are being ended, and why it is planned anew.
    ending: Option<(Instant, String)>,
    /// Times it was done, and the last time.
    done: u32,
    done_at: Option<Instant>,
}

impl Replanning {
    /// Notes whether the pool lacks the plan's class now.
    pub(super) fn note(&mut self, lacks: bool) {
        self.lacking_since = lacks.then(|| self.lacking_since.unwrap_or_else(Instant::now));
    }

    /// Whether the render is about to begin again.
    pub(super) fn is_ending(&self) -> bool {
        self.ending.is_some()
    }

    /// What the person is told of it.
    pub(super) fn warning(&self) -> Option<Warning> {
        (self.done > 0).then(|| Warning {
            code: "REPLANNED".to_owned(),
            message: "the farm was upgraded while it rendered: it began again with the new version".to_owned(),
        })
    }

    fn is_resting(&self) -> bool {
        let rest = REST * 2u32.pow(self.done.saturating_sub(1).min(4));
        self.done_at.is_some_and(|at| at.elapsed() < rest)
    }
}

/// Whether chunks are missing that nobody in `fleet` may make.
pub(super) fn lacks_its_class(tracked: &Tracked, fleet: &Fleet) -> bool {
    let Some(plan) = &tracked.plan else { return false };
    let is_missing =
        |chunk: u32| tracked.view.tasks.get(&Step::Chunk(chunk)).is_none_or(|task| task.committed.is_none());
    let is_at_work = tracked.view.tasks.values().any(|task| task.lease.is_some());
    !is_at_work
        && fleet.lacks(tracked.pool(), &plan.content.class.id())
        && (0..plan.chunks.len() as u32).any(is_missing)
}

/// Whether storage holds what an older farm has written.
pub(super) fn is_of_older_farm(error: &ReconcileError) -> bool {
    match error {
        ReconcileError::Storage(ObjectsError::Version { source: WireError::Version { found, reads }, .. }) => {
            found < reads
        }
        _ => false,
    }
}

impl Reconciler {
    /// Why the render has to be planned anew, if its class is gone.
    pub(super) fn orphaned(&self, render: &RenderId) -> Option<String> {
        let tracked = self.renders.get(render)?;
        let since = tracked.replanning.lacking_since?;
        let class = &tracked.plan.as_ref()?.content.class;
        (since.elapsed() >= self.config.replan_after)
            .then(|| format!("no worker of its class ({class}) has been alive for {} s", since.elapsed().as_secs()))
    }

    /// Begins to plan the render anew: nobody works on it from now on.
    pub(super) async fn replan(&mut self, render: &RenderId, reason: String) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        if tracked.replanning.is_ending() {
            return Ok(());
        }
        if tracked.replanning.is_resting() {
            return Err(ReconcileError::Replanned(reason));
        }
        warn!(%render, reason, "the render is planned anew");
        self.backplane.ledger.cancel(render).await?;
        tracked.unplan();
        tracked.replanning.ending = Some((Instant::now(), reason));
        Ok(())
    }

    /// Goes on with a render that is planned anew. Answers whether it still has to wait.
    pub(super) async fn end_old_plan(&mut self, render: &RenderId) -> Result<bool, ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(false) };
        let Some((since, _)) = &tracked.replanning.ending else { return Ok(false) };
        let is_late = since.elapsed() >= LEASES_END;
        let (ledger, objects) = (&self.backplane.ledger, &self.backplane.objects);
        let view = ledger.view(render).await?.unwrap_or_default();
        let is_held = view.tasks.values().any(|task| task.lease.is_some());
        // A survey may be about to put back commits that it read before.
        if (is_held && !is_late) || self.verification.is_running() {
            return Ok(true);
        }
        objects.delete_prefix(&keys::segments_prefix(render)).await?;
        objects.delete(&keys::audio_record(render)).await?;
        objects.delete(&keys::draft(render)).await?;
        objects.delete(&keys::plan(render)).await?;
        ledger.forget(render).await?;
        ledger.open(render).await?;
        let done = tracked.replanning.done + 1;
        tracked.replanning = Replanning { done, done_at: Some(Instant::now()), ..Replanning::default() };
        tracked.is_restored = true;
        Ok(false)
    }
}
