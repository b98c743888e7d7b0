//! Tasks whose worker ends without a word.

use std::sync::atomic::Ordering;
use std::time::Duration;

use crate::common::{Farm, Worker, chunks_of, comes, draft, patient, quick};
use hyperfarm_backplane::ledger::{Claim, Lease, NodeView, Renewal, slot_id};
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::{Outcome, TaskProgress};
use hyperfarm_proto::task::{Queue, Step, TaskId};

const LONG: Duration = Duration::from_secs(3600);

/// How long the leases of workers that end last: longer than the ledger has to answer before a node counts as lost.
const LEASE: Duration = Duration::from_millis(1500);

/// A farm whose coordinator takes a missing node for lost after a few ticks, and sends no task twice by itself.
fn watchful() -> Farm {
    let (schedule, node_lost_after) = (patient().schedule, quick().tick * 20);
    Farm::with(CoordinatorConfig { schedule, node_lost_after, ..quick() })
}

async fn reports(farm: &Farm, node: &str, ttl: Duration) {
    let node = NodeView::new(node.parse().unwrap(), "worker", "cpu", 1, "");
    farm.backplane.ledger.heartbeat(&node, ttl).await.unwrap();
}

/// Claims the next task as slot 0 of `node`, which was seen alive and ends at once.
async fn dies_with_a_task(farm: &Farm, worker: &mut Worker, node: &str) -> Lease {
    reports(farm, node, LONG).await;
    farm.ticks(2).await;
    let task = worker.take().await;
    let slot = slot_id(&node.parse::<WorkerId>().unwrap(), 0);
    let claim = farm.backplane.ledger.claim(&task, &slot, LEASE).await.unwrap();
    let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
    farm.ticks(2).await;
    reports(farm, node, Duration::ZERO).await;
    lease
}

/// Renews a lease for the last time: it ends soon.
async fn ends(farm: &Farm, lease: &Lease) {
    let renewal = farm.backplane.ledger.renew(lease, TaskProgress::default(), LEASE).await.unwrap();
    assert_eq!(renewal, Renewal::Renewed);
}

async fn failures(farm: &Farm, task: &TaskId) -> Vec<(u32, String, FailureCode)> {
    let view = farm.ledger_view(&task.render).await.unwrap_or_default();
    let failures = view.tasks.get(&task.step).map(|task| task.failures.clone()).unwrap_or_default();
    failures.into_iter().map(|failed| (failed.attempt, failed.worker, failed.failure.code)).collect()
}

#[tokio::test]
async fn a_task_that_takes_down_two_workers_ends_its_render_with_the_evidence() {
    let farm = watchful();
    reports(&farm, "alive", LONG).await;
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("alive-s0").await;
    worker.do_next(&draft(30, false)).await;
    let first = dies_with_a_task(&farm, &mut worker, "w1").await;
    // It comes again when its lease has ended.
    let second = dies_with_a_task(&farm, &mut worker, "w2").await;
    assert_eq!((&second.task, second.attempt), (&first.task, 2));
    let Outcome::Failed { failure, history } = farm.end(&render).await else { panic!("it completed") };
    assert_eq!((failure.code, history.len()), (FailureCode::WorkerLost, 2));
    for evidence in ["chunk-0", "2 workers", "w1-s0 (attempt 1)", "w2-s0 (attempt 2)"] {
        assert!(failure.message.contains(evidence), "{evidence} is not in: {failure}");
    }
    assert!(comes(async || farm.backplane.broker.depth(&Queue::Dead).await.unwrap() == 1).await, "no dead letter");
}

#[tokio::test]
async fn a_worker_that_is_lost_once_costs_no_more_than_an_attempt() {
    let farm = watchful();
    reports(&farm, "alive", LONG).await;
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("alive-s0").await;
    let draft = draft(60, false);
    worker.do_next(&draft).await;
    let lost = dies_with_a_task(&farm, &mut worker, "w1").await;
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    drop(lost);
}

#[tokio::test]
async fn a_task_of_a_missing_node_is_lost_when_its_lease_has_ended_and_not_before() {
    let farm = watchful();
    reports(&farm, "alive", LONG).await;
    reports(&farm, "w1", LONG).await;
    farm.submit(chunks_of(30)).await;
    farm.ticks(2).await;
    let lease = farm.worker("w1-s0").await.claim().await;
    reports(&farm, "w1", Duration::ZERO).await;
    tokio::time::sleep(farm.config.node_lost_after * 2).await;
    farm.ticks(2).await;
    assert_eq!(failures(&farm, &lease.task).await, [], "it may still be at work");
    ends(&farm, &lease).await;
    let lost = (1, "w1-s0".to_owned(), FailureCode::WorkerLost);
    assert!(comes(async || failures(&farm, &lease.task).await == [lost.clone()]).await);
}

#[tokio::test]
async fn a_lease_that_ends_in_an_outage_of_the_ledger_is_no_attempt() {
    let farm = watchful();
    reports(&farm, "w1", LONG).await;
    farm.ticks(2).await;
    farm.submit(chunks_of(30)).await;
    let worker = &mut farm.worker("w1-s0").await;
    let lease = worker.claim().await;
    ends(&farm, &lease).await;
    // The ledger is away for longer than a node may be missing, and has forgotten who is alive when it is back.
    let refused = farm.observed.refused.load(Ordering::SeqCst);
    farm.observed.is_down.store(true, Ordering::SeqCst);
    reports(&farm, "w1", Duration::ZERO).await;
    tokio::time::sleep(farm.config.node_lost_after * 2).await;
    assert!(farm.observed.refused.load(Ordering::SeqCst) > refused);
    farm.observed.is_down.store(false, Ordering::SeqCst);
    farm.ticks(1).await;
    reports(&farm, "w1", LONG).await;
    tokio::time::sleep(farm.config.node_lost_after * 2).await;
    farm.ticks(2).await;
    assert_eq!(failures(&farm, &lease.task).await, []);
}

#[tokio::test]
async fn a_restarted_coordinator_takes_nobody_for_lost_whom_it_has_not_seen() {
    let mut farm = watchful();
    let render = farm.submit(chunks_of(30)).await;
    let task = TaskId { render: render.clone(), step: Step::Plan };
    let lease = farm.worker("w1-s0").await.claim().await;
    assert_eq!(lease.task, task);
    ends(&farm, &lease).await;
    farm.restart().await;
    tokio::time::sleep(farm.config.node_lost_after * 2).await;
    farm.ticks(2).await;
    assert_eq!(failures(&farm, &task).await, []);
}

async fn in_flight(worker: &mut Worker) -> Vec<(RenderId, Step)> {
    let mut taken = Vec::new();
    while let Some(task) = worker.take_ready().await {
        taken.push((task.render, task.step));
    }
    taken
}

#[tokio::test]
async fn tasks_that_were_lost_together_are_tried_one_by_one() {
    let farm = watchful();
    reports(&farm, "alive", LONG).await;
    reports(&farm, "w1", LONG).await;
    let (one, other) = (farm.submit(chunks_of(30)).await, farm.submit(chunks_of(30)).await);
    let mut worker = farm.worker("w1-s0").await;
    farm.ticks(2).await;
    let (first, second) = (worker.claim().await, worker.claim().await);
    assert_ne!(first.task.render, second.task.render);
    ends(&farm, &first).await;
    ends(&farm, &second).await;
    farm.ticks(2).await;
    reports(&farm, "w1", Duration::ZERO).await;
    for lease in [&first, &second] {
        let lost = (1, "w1-s0".to_owned(), FailureCode::WorkerLost);
        assert!(comes(async || failures(&farm, &lease.task).await == [lost.clone()]).await, "{}", lease.task);
    }
    farm.settle(&one).await;
    farm.settle(&other).await;
    let again = in_flight(&mut worker).await;
    assert_eq!(again.len(), 1, "{again:?}");
}
