//! What takes long, beside the loop: finding renders in storage, and comparing the ledger with storage.
//!
//! **Invariant: a survey changes nothing that the loop owns.** It reads, restores commits (which any number of coordinators may do
//! at once) and tells the loop by [`Wake`].

use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::TerminalState;
use tokio::sync::mpsc::UnboundedSender;
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::Wake;
use super::restore::restore;
use crate::error::ReconcileError;
use crate::registry::Entry;
use crate::store;

/// A survey of which only one runs at a time.
#[derive(Default)]
pub(super) struct BackgroundScan(Option<JoinHandle<()>>);

impl BackgroundScan {
    pub(super) fn is_running(&self) -> bool {
        self.0.as_ref().is_some_and(|handle| !handle.is_finished())
    }

    pub(super) fn start(&mut self, work: impl Future<Output = ()> + Send + 'static) {
        self.0 = Some(tokio::spawn(work));
    }
}

impl Drop for BackgroundScan {
    fn drop(&mut self) {
        if let Some(handle) = &self.0 {
            handle.abort();
        }
    }
}

/// What storage says about a render that the loop does not know.
#[derive(Debug)]
pub(crate) enum Found {
    /// It is under way.
    Open(Box<Entry>),
    /// It has ended, was deleted, or can never be read.
    Over,
    /// There is no such render, or it is on its way in at this moment.
    Nothing,
}

/// What a comparison showed.
#[derive(Debug)]
pub(crate) struct Comparison {
    /// How it ended, if somebody else ended it.
    pub(super) end: Option<Arc<TerminalState>>,
    /// Whether it was deleted.
    pub(super) is_deleted: bool,
    /// The plan in storage.
    pub(super) plan: Option<Plan>,
    /// Commits that the ledger lacked.
    pub(super) restored: usize,
}

/// Lists the open renders in storage for the loop. `are_marks_complete` says that a scan of this process has made sure of the marks.
pub(super) async fn scan(backplane: Backplane, are_marks_complete: bool, wakes: UnboundedSender<Wake>) {
    let objects = &backplane.objects;
    let listed = async {
        if !are_marks_complete {
            store::complete_open_marks(objects).await?;
        }
        store::open_renders(objects).await
    };
    match listed.await {
        Ok(open) => drop(wakes.send(Wake::OpenRenders(open))),
        Err(error) => warn!(%error, "the open renders cannot be listed, the next scan lists them again"),
    }
}

/// Looks `renders` up in storage.
pub(super) async fn find(backplane: Backplane, renders: Vec<RenderId>, wakes: UnboundedSender<Wake>) {
    let objects = &backplane.objects;
    let looks = renders.into_iter().map(|render| async move {
        let mut rest = Duration::from_millis(250);
        loop {
            match look_up(objects, &render).await {
                Ok(found) => return (render, found),
                Err(reason @ ObjectsError::Corrupt { .. }) => {
                    // One render that cannot be read must not keep the others from being found.
                    error!(%render, %reason, "a render in storage cannot be read and is left alone");
                    return (render, Found::Over);
                }
                Err(error) => warn!(%render, %error, "a render cannot be looked up, it is tried again"),
            }
            tokio::time::sleep(rest).await;
            rest = (rest * 2).min(Duration::from_secs(10));
        }
    });
    let mut looks = std::pin::pin!(stream::iter(looks).buffer_unordered(store::PARALLEL));
    while let Some((render, found)) = looks.next().await {
        if let Found::Open(_) = &found {
            info!(%render, "an open render was found in storage");
        }
        if wakes.send(Wake::Found(render, found)).is_err() {
            return;
        }
    }
}

async fn look_up(objects: &hyperfarm_backplane::objects::Objects, render: &RenderId) -> Result<Found, ObjectsError> {
    // Cheaper than the whole entry, and true for nearly all of them.
    if objects.exists(&keys::state(render)).await? {
        return Ok(Found::Over);
    }
    match store::entry(objects, render).await? {
        Some(entry) if entry.progress.borrow().end.is_none() => Ok(Found::Open(Box::new(entry))),
        Some(_) => Ok(Found::Over),
        None => Ok(Found::Nothing),
    }
}

/// Compares ledger and storage for renders of which the ledger last said these views.
pub(super) async fn verify(
    backplane: Backplane,
    renders: Vec<(RenderId, Arc<RenderView>)>,
    wakes: UnboundedSender<Wake>,
) {
    let backplane = &backplane;
    let looks = renders.into_iter().map(|(render, view)| async move {
        let verified = verify_one(backplane, &render, &view).await;
        (render, verified)
    });
    let mut looks = std::pin::pin!(stream::iter(looks).buffer_unordered(store::PARALLEL));
    while let Some((render, verified)) = looks.next().await {
        match verified {
            Ok(verified) => drop(wakes.send(Wake::Comparison(render, Box::new(verified)))),
            Err(error) => warn!(%render, %error, "a render cannot be compared with storage, the next survey will"),
        }
    }
}

async fn verify_one(backplane: &Backplane, render: &RenderId, view: &RenderView) -> Result<Comparison, ReconcileError> {
    let (end, is_deleted) =
        futures::try_join!(store::state(&backplane.objects, render), store::is_deleted(&backplane.objects, render))?;
    if end.is_some() || is_deleted {
        return Ok(Comparison { end: end.map(Arc::new), is_deleted, plan: None, restored: 0 });
    }
    let (plan, restored) = restore(backplane, render, view).await?;
    Ok(Comparison { end: None, is_deleted, plan, restored })
}
