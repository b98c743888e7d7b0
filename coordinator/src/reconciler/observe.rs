//! What a standby does: it follows the open renders, so that it answers for them as the leader does and can take over.
//!
//! **Invariant: it changes nothing**, in the ledger or in storage.

use std::sync::Arc;
use std::time::Instant;

use hyperfarm_backplane::ledger::ViewSince;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::task::Step;

use super::error::ReconcileError;
use super::state::Reconciler;
use super::wake::Verification;
use crate::store;

impl Reconciler {
    /// Takes over what ledger and storage say of one render.
    pub(super) async fn observe(
        &mut self,
        render: &RenderId,
        read: ViewSince,
        began: Instant,
    ) -> Result<(), ReconcileError> {
        let objects = self.backplane.objects.clone();
        let is_known = self.take_over(render, read, began);
        let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) else {
            return Ok(());
        };
        let (is_cancelled, is_paused) = {
            let view = tasks.view().read();
            (view.cancelled, view.paused)
        };
        if !is_known || is_cancelled {
            // The leader has ended it, or is about to open it.
            let (end, is_deleted) =
                futures::try_join!(store::state(&objects, render), store::is_deleted(&objects, render))?;
            if end.is_some() || is_deleted {
                let verification = Verification { end: end.map(Arc::new), is_deleted, ..Verification::default() };
                self.handle_verification(render, verification);
            }
            return Ok(());
        }
        tracked.entry.set_paused(is_paused);
        // Whoever leads next compares ledger and storage first.
        tracked.is_restored = false;
        let is_planned = tasks.view().read().tasks.get(&Step::Plan).is_some_and(|task| task.committed.is_some());
        if !is_planned && tracked.plan.is_some() {
            self.clear_plan(render);
            self.read_again(render).await?;
        } else if is_planned
            && tracked.plan.is_none()
            && let Some(plan) = store::readable_plan(&objects, render).await?
        {
            self.set_plan(render, plan);
        }
        if let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) {
            tracked.is_decided = true;
            tracked.publish_progress(tasks, self.schedule.fleet());
        }
        self.update_standing(render);
        Ok(())
    }
}
