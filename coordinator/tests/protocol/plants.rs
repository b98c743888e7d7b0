//! Bugs that are put between the farm's code and the real ledger and broker, to show that the simulation finds them.

use async_trait::async_trait;
use hyperfarm_backplane::broker::{Delivery, Settle};
use hyperfarm_backplane::ledger::{Commit, Lease, Ledger, LedgerError, ViewSince};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::task::Step;

use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plant {
    /// Commits of chunks are counted, where they should be members of a set.
    Counter,
    /// The attempt of a commit is not compared with the newest one.
    NoFence,
    /// A message is acknowledged when it arrives.
    AckFirst,
}

/// [`Ledger::commit`].
pub(crate) async fn commit(world: &World, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError> {
    let ledger = world.ledger();
    let commit = ledger.commit(lease, result).await?;
    if world.plant == Some(Plant::Counter) && matches!(commit, Commit::Accepted | Commit::Duplicate) {
        world.judge.lock().count(&lease.task);
    }
    if world.plant != Some(Plant::NoFence) || commit != Commit::Stale {
        return Ok(commit);
    }
    let Some(view) = ledger.view(&lease.task.render).await? else { return Ok(commit) };
    let Some(newest) = view.tasks.get(&lease.task.step).and_then(|task| task.attempts.last()) else {
        return Ok(commit);
    };
    let newest =
        Lease { task: lease.task.clone(), attempt: newest.attempt, worker: newest.worker.clone(), grant: None };
    ledger.commit(&newest, result).await
}

/// [`Ledger::view_since`].
pub(crate) async fn view_since(
    world: &World,
    render: &RenderId,
    term: Option<u64>,
    revision: Option<u64>,
) -> Result<ViewSince, LedgerError> {
    let ledger = world.ledger();
    let mut read = ledger.view_since(render, term, revision).await?;
    if let (Some(Plant::Counter), ViewSince::Changed { view, .. }) = (world.plant, &mut read) {
        let mut whole = ledger.view(render).await?.unwrap_or_default();
        let chunks = || whole.tasks.iter().filter(|(step, _)| step.chunk().is_some());
        let committed = chunks().filter(|(_, task)| task.committed.is_some()).count();
        let counted = world.judge.lock().counted(render).saturating_sub(committed);
        let open: Vec<Step> = chunks().filter(|(_, task)| task.committed.is_none()).map(|(step, _)| *step).collect();
        for step in open.into_iter().take(counted) {
            let mut task = whole.tasks.remove(&step).unwrap_or_default();
            task.committed = Some(Vec::new());
            view.tasks.insert(step, task);
        }
    }
    Ok(read)
}

/// A message that the broker delivers.
pub(crate) async fn delivered(world: &World, delivery: Delivery) -> Delivery {
    if world.plant != Some(Plant::AckFirst) {
        return delivery;
    }
    let (payload, returned) = (delivery.payload.clone(), delivery.returned);
    delivery.ack().await;
    Delivery::new(payload, returned, Box::new(Settled))
}

struct Settled;

#[async_trait]
impl Settle for Settled {
    async fn ack(self: Box<Self>) {}
    async fn put_back(self: Box<Self>) {}
    async fn dead_letter(self: Box<Self>) {}
}
