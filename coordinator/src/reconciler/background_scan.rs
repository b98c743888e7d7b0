//! Storage reads that take long, in tasks beside the loop: listing the open renders, looking renders up, restoring
//! their ledger entries, and comparing those with storage.
//!
//! **Invariant: a background task changes nothing that the loop owns.** It reads, puts commits back into the ledger (which any number
//! of coordinators may do at once), and answers the loop with a [`Wake`].

use std::sync::Arc;

use futures::{StreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_backplane::retry::Retryable;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use tokio::sync::Semaphore;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::error::ReconcileError;
use super::restore::{Known, Listed, restore, restore_from};
use super::reuse;
use super::wake::{Lookup, Verification, Wake};
use crate::config::SERVER_RETRY;
use crate::object_keys;
use crate::registry::RenderEntry;
use crate::store::{self, MAX_CONCURRENT_REQUESTS};

/// A kind of background task of which one runs at a time. It is aborted when this is dropped.
#[derive(Default)]
pub(super) struct BackgroundTask(Option<JoinHandle<()>>);

impl BackgroundTask {
    pub(super) fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    pub(super) fn start(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0 = Some(tokio::spawn(work));
    }
}

impl Drop for BackgroundTask {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// Lists the open renders in storage, and sends them as [`Wake::OpenRenders`]. Unless `are_marks_complete`, open renders without a mark
/// get theirs, which looks at every render in storage, and the list is sent before that and after it.
pub(super) async fn scan(backplane: Backplane, are_marks_complete: bool, wakes: UnboundedSender<Wake>) {
    let objects = &backplane.objects;
    let listed = async {
        if !are_marks_complete && !store::are_open_marks_complete(objects).await? {
            let open = store::open_renders(objects).await?;
            drop(wakes.send(Wake::OpenRenders { open, is_complete: false }));
            store::complete_open_marks(objects).await?;
        }
        store::open_renders(objects).await
    };
    match listed.await {
        Ok(open) => drop(wakes.send(Wake::OpenRenders { open, is_complete: true })),
        Err(error) => warn!(%error, "the open renders could not be listed, the next scan lists them again"),
    }
}

/// Looks `renders` up in storage, for as long as it takes, and sends a [`Wake::LookedUp`] for each.
pub(super) async fn look_up(backplane: Backplane, renders: Vec<RenderId>, wakes: UnboundedSender<Wake>) {
    let objects = &backplane.objects;
    let lookups = renders.into_iter().map(|render| async move {
        let attempt = || look_up_one(objects, &render);
        let retried = attempt.retry(SERVER_RETRY).when(|error| !matches!(error, ObjectsError::Corrupt { .. }));
        let lookup = retried.notify(|error, _| {
            warn!(%render, %error, "a render could not be looked up in storage, it is tried again");
        });
        let lookup = lookup.await.unwrap_or_else(|reason| {
            // A render that cannot be read must not keep the others from being found.
            error!(%render, %reason, "a render in storage cannot be read and is ignored");
            Lookup::Ended
        });
        (render, lookup)
    });
    let mut lookups = std::pin::pin!(stream::iter(lookups).buffer_unordered(MAX_CONCURRENT_REQUESTS));
    while let Some((render, lookup)) = lookups.next().await {
        if let Lookup::Open(_) = &lookup {
            info!(%render, "an open render was found in storage");
        }
        if wakes.send(Wake::LookedUp(render, lookup)).is_err() {
            return;
        }
    }
}

async fn look_up_one(objects: &Objects, render: &RenderId) -> Result<Lookup, ObjectsError> {
    // One request instead of seven. Right after a start most marks are of renders that have ended.
    if objects.exists(&keys::state(render)).await? {
        return Ok(Lookup::Ended);
    }
    Ok(match store::read(objects, render).await? {
        Some(stored) if stored.state.is_some() => Lookup::Ended,
        Some(stored) => Lookup::Open(Box::new(RenderEntry::from_stored(stored))),
        None => Lookup::Missing,
    })
}

/// Restores the ledger entry of `render`, of which the ledger knows so much, once one of the `permits` is free, and sends
/// a [`Wake::Restored`].
pub(super) async fn restore_entry(
    backplane: Backplane,
    render: RenderId,
    known: Known,
    permits: Arc<Semaphore>,
    wakes: UnboundedSender<Wake>,
) {
    // The semaphore is never closed.
    let _permit = permits.acquire().await;
    let restored = restore(&backplane, &render, &known).await;
    let plan = restored.map(|(plan, restored)| {
        info!(%render, restored, "the render was opened in the ledger, with the commits that storage shows");
        plan.map(Box::new)
    });
    // The loop has ended where nobody receives it.
    let _ = wakes.send(Wake::Restored(render, plan));
}

/// Copies into the render of `plan` what `earlier`, of the same content, has left, and restores its ledger entry.
pub(super) async fn reuse_and_restore(
    backplane: Backplane,
    earlier: Plan,
    plan: Plan,
    permits: Arc<Semaphore>,
    wakes: UnboundedSender<Wake>,
) {
    if let Err(error) = reuse::copy(&backplane.objects, &earlier, &plan).await {
        warn!(render = %plan.render, earlier = %earlier.render, %error, "what an earlier render has left could not be taken over whole, the rest is made again");
    }
    restore_entry(backplane, plan.render, Known::default(), permits, wakes).await;
}

/// Compares `renders` with storage, each with what the ledger knows of it, and sends a [`Wake::Verified`] for each.
pub(super) async fn verify(backplane: Backplane, renders: Vec<(RenderId, Known)>, wakes: UnboundedSender<Wake>) {
    let backplane = &backplane;
    let verifications = renders.into_iter().map(|(render, known)| async move {
        let verification = verify_one(backplane, &render, &known).await;
        (render, verification)
    });
    let mut verifications = std::pin::pin!(stream::iter(verifications).buffer_unordered(MAX_CONCURRENT_REQUESTS));
    while let Some((render, verification)) = verifications.next().await {
        match verification {
            Ok(verification) => drop(wakes.send(Wake::Verified(render, Box::new(verification)))),
            Err(error) => {
                warn!(%render, %error, "a render could not be compared with storage, it is compared again later")
            }
        }
    }
}

async fn verify_one(backplane: &Backplane, render: &RenderId, known: &Known) -> Result<Verification, ReconcileError> {
    let objects = &backplane.objects;
    let listed = Listed::read(objects, render).await?;
    let is_deleted = listed.has(&object_keys::tombstone(render));
    let end = if listed.has(&keys::state(render)) { store::state(objects, render).await? } else { None };
    if end.is_some() || is_deleted {
        return Ok(Verification { end: end.map(Arc::new), is_deleted, ..Verification::default() });
    }
    backplane.ledger.open(render).await?;
    let (plan, restored) = restore_from(backplane, render, known, &listed).await?;
    let intake = store::intake(objects, render).await?;
    Ok(Verification { plan, restored, priority: intake.map(|intake| intake.priority), ..Verification::default() })
}
