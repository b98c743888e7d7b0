//! What a standby does: it follows the open renders, so that it answers for them as the leader does and can take over.
//!
//! **Invariant: it changes nothing**, in the ledger or in storage.

use std::sync::Arc;

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::task::Step;

use super::error::ReconcileError;
use super::state::Reconciler;
use super::tracked::LedgerRead;
use super::wake::Verification;
use crate::store;

impl Reconciler {
    /// Takes over what ledger and storage say of one render.
    pub(super) async fn observe(&mut self, render: &RenderId, read: Option<LedgerRead>) -> Result<(), ReconcileError> {
        let objects = self.backplane.objects.clone();
        let Some(read) = read.filter(|read| !read.view.cancelled) else {
            // The leader has ended it, or is about to open it.
            let (end, is_deleted) =
                futures::try_join!(store::state(&objects, render), store::is_deleted(&objects, render))?;
            if end.is_some() || is_deleted {
                let verification = Verification { end: end.map(Arc::new), is_deleted, ..Verification::default() };
                self.handle_verification(render, verification);
            }
            return Ok(());
        };
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        // Whoever leads next compares ledger and storage first.
        tracked.is_restored = false;
        let is_planned = read.view.tasks.get(&Step::Plan).is_some_and(|task| task.committed.is_some());
        if !is_planned && tracked.plan.is_some() {
            tracked.clear_plan();
        }
        if is_planned
            && tracked.plan.is_none()
            && let Some(plan) = store::readable_plan(&objects, render).await?
        {
            tracked.set_plan(plan);
        }
        tracked.set_view(read);
        tracked.decide(&self.config.schedule);
        tracked.publish_progress(&self.fleet);
        Ok(())
    }
}
