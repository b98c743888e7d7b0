//! Several coordinators over the same servers: one schedules, the others serve the API and take over.

use std::sync::atomic::Ordering;

use std::time::Duration;

use crate::common::{Farm, Worker, chunks_of, comes, draft, quick};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_coordinator::intake::from_html;
use hyperfarm_coordinator::{Coordinator, Stage};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::Outcome;
use hyperfarm_proto::task::{Step, TaskId};

/// Longer than the pause in which a task that nobody has claimed is dispatched again, and than several ticks.
const QUIET: Duration = Duration::from_millis(500);

/// What the farm promises for a change that is made through another coordinator.
const SEEN_WITHIN: Duration = Duration::from_secs(2);

async fn standby_of(farm: &Farm) -> Coordinator {
    // The first one has the lease before the second one asks.
    farm.ticks(1).await;
    Coordinator::start(farm.backplane.clone(), quick(), Drain::new())
}

async fn submit_through(coordinator: &Coordinator) -> RenderId {
    coordinator.submit(from_html("<p>", None).unwrap(), chunks_of(30)).await.unwrap()
}

async fn take(worker: &mut Worker, render: &RenderId, step: Step) {
    let task = worker.take_within(SEEN_WITHIN).await;
    assert_eq!(task, Some(TaskId { render: render.clone(), step }));
}

#[tokio::test]
async fn a_render_that_is_submitted_through_a_standby_is_dispatched_at_once_and_once() {
    // The leader lists the open renders once, at its start.
    let config = hyperfarm_coordinator::CoordinatorConfig { rescan_every: Duration::from_secs(3600), ..quick() };
    let farm = Farm::with(config);
    let standby = standby_of(&farm).await;
    let mut worker = farm.worker("w1").await;
    let render = submit_through(&standby).await;
    let lease = worker.claim().await;
    assert_eq!((&lease.task.render, lease.task.step), (&render, Step::Plan));
    assert_eq!(worker.take_within(QUIET).await, None, "the standby dispatched it too");
    let result = worker.leave(&lease, &draft(90, false)).await;
    worker.commit(&lease, &result).await;
    worker.finish(&draft(90, false)).await;
    for coordinator in [&standby, &farm.coordinator] {
        let mut progress = coordinator.watch(&render).await.unwrap();
        let ended = tokio::time::timeout(SEEN_WITHIN, progress.wait_for(|progress| progress.end.is_some())).await;
        assert!(matches!(ended.unwrap().unwrap().end.as_ref().unwrap().outcome, Outcome::Completed { .. }));
    }
}

#[tokio::test]
async fn a_pause_through_a_standby_holds_and_is_lifted_through_either() {
    let farm = Farm::new();
    let standby = standby_of(&farm).await;
    let mut worker = farm.worker("w1").await;
    let render = farm.submit(chunks_of(30)).await;
    let lease = worker.claim().await;
    standby.detail(&render).await.unwrap();
    assert!(standby.set_paused(&render, true).await.unwrap().is_paused);
    let is_paused = |coordinator: &Coordinator| {
        let (coordinator, render) = (coordinator.clone(), render.clone());
        async move { coordinator.detail(&render).await.unwrap().is_paused }
    };
    assert!(comes(async || is_paused(&farm.coordinator).await).await);
    let result = worker.leave(&lease, &draft(90, false)).await;
    worker.commit(&lease, &result).await;
    assert_eq!(worker.take_within(QUIET).await, None, "a paused render was dispatched");
    farm.until(&render, |progress| progress.stage == Stage::Capture).await;
    farm.coordinator.set_paused(&render, false).await.unwrap();
    take(&mut worker, &render, Step::Chunk(0)).await;
    assert!(comes(async || !is_paused(&standby).await).await);
}

#[tokio::test]
async fn a_priority_that_a_standby_sets_reaches_the_leader_and_outlives_a_restart() {
    let mut farm = Farm::new();
    let standby = standby_of(&farm).await;
    let render = farm.submit(chunks_of(30)).await;
    farm.worker("w1").await.claim().await;
    assert_eq!(standby.set_priority(&render, 50).await.unwrap().priority, 50);
    let has_it = async || farm.coordinator.detail(&render).await.unwrap().priority == 50;
    assert!(comes(has_it).await, "the leader does not know the priority");
    farm.restart().await;
    assert_eq!(farm.coordinator.detail(&render).await.unwrap().priority, 50);
}

#[tokio::test]
async fn a_pause_outlives_an_emptied_ledger() {
    let farm = Farm::new();
    let mut worker = farm.worker("w1").await;
    let render = farm.submit(chunks_of(30)).await;
    take(&mut worker, &render, Step::Plan).await;
    farm.coordinator.set_paused(&render, true).await.unwrap();
    farm.ledger_forgets(&render).await;
    let restored = comes(async || farm.ledger_view(&render).await.is_some_and(|view| view.paused)).await;
    assert!(restored, "the mark in storage was not put back");
    assert!(farm.coordinator.detail(&render).await.unwrap().is_paused);
}

#[tokio::test]
async fn of_a_render_only_what_was_written_is_read() {
    let farm = Farm::new();
    let mut worker = farm.worker("w1").await;
    let render = farm.submit(chunks_of(30)).await;
    worker.do_next(&draft(60, false)).await;
    let first = worker.claim().await;
    let result = worker.leave(&first, &draft(60, false)).await;
    worker.commit(&first, &result).await;
    farm.ticks(2).await;
    let read = || [&farm.observed.read_whole, &farm.observed.tasks_read].map(|count| count.load(Ordering::SeqCst));
    let (views, [whole, tasks]) = (farm.observed.views_of(&render), read());
    farm.ticks(10).await;
    assert!(farm.observed.views_of(&render) >= views + 10, "it is looked at in each tick");
    assert_eq!(read(), [whole, tasks], "nothing was written to it");
    farm.backplane.ledger.set_paused(&render, true).await.unwrap();
    assert!(comes(async || farm.coordinator.detail(&render).await.unwrap().is_paused).await);
    assert_eq!(read(), [whole, tasks], "no task was written to");
    worker.claim().await;
    farm.ticks(3).await;
    assert_eq!(read(), [whole, tasks + 1], "of three tasks one was claimed");
}

#[tokio::test]
async fn a_standby_takes_over_when_the_leader_resigns() {
    let farm = Farm::new();
    let standby = standby_of(&farm).await;
    let mut worker = farm.worker("w1").await;
    let render = farm.submit(chunks_of(30)).await;
    let lease = worker.claim().await;
    farm.drain.start();
    farm.coordinator.join().await;
    let result = worker.leave(&lease, &draft(90, false)).await;
    worker.commit(&lease, &result).await;
    take(&mut worker, &render, Step::Chunk(0)).await;
    assert!(standby.detail(&render).await.unwrap().progress.end.is_none());
}

#[tokio::test]
async fn a_standby_takes_over_when_the_lease_of_a_dead_leader_runs_out_and_not_before() {
    let mut farm = Farm::new();
    farm.drain.start();
    farm.coordinator.join().await;
    let dead = farm.backplane.ledger.lead("dead", 0, SEEN_WITHIN).await.unwrap();
    farm.start(farm.backplane.broker.clone());
    let mut worker = farm.worker("w1").await;
    let render = farm.submit(chunks_of(30)).await;
    assert_eq!(worker.take_within(QUIET).await, None, "two coordinators lead");
    assert_eq!(worker.take().await.render, render);
    let view = farm.backplane.ledger.view_since(&render, Some(dead.term), None).await;
    assert!(view.is_err(), "the dead leader's term is over: {view:?}");
}
