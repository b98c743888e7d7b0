//! Upgrades: plans and drafts of other versions in storage, and capture classes that leave the farm.

use std::time::Duration;

use crate::common::{Farm, chunks_of, draft, quick};
use hyperfarm_backplane::ledger::{Claim, Commit, NodeState, NodeView, Renewal};
use hyperfarm_coordinator::{CoordinatorConfig, Stage};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{Outcome, TaskProgress};
use hyperfarm_proto::task::Step;
use hyperfarm_proto::wire::Wire;

/// Replaces the version byte of the object `key`.
async fn set_version(farm: &Farm, key: &str, version: u8) {
    let mut bytes = farm.backplane.objects.get(key).await.unwrap().to_vec();
    bytes[0] = version;
    farm.backplane.objects.put(key, bytes.into()).await.unwrap();
}

async fn has_plan(farm: &Farm, render: &RenderId) -> bool {
    farm.backplane.objects.exists(&keys::plan(render)).await.unwrap()
}

fn has_replanned_warning(plan: &Plan) -> bool {
    plan.warnings.iter().any(|warning| warning.code == "REPLANNED")
}

#[tokio::test]
async fn the_draft_of_an_older_worker_is_made_again_by_a_newer_one() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(10)).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(20, false));
    let lease = worker.claim().await;
    worker.leave(&lease, &draft).await;
    set_version(&farm, &keys::draft(&render), Plan::VERSION - 1).await;
    assert_eq!(worker.commit(&lease, &[]).await, Commit::Accepted);
    assert_eq!(worker.do_next(&draft).await.task.step, Step::Plan, "the same step again");
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    assert!(has_replanned_warning(&farm.plan(&render).await));
}

#[tokio::test]
async fn a_render_in_flight_over_a_change_of_the_plans_layout_begins_again() {
    let mut farm = Farm::new();
    let render = farm.submit(chunks_of(10)).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(30, true));
    assert_eq!(worker.do_next(&draft).await.task.step, Step::Plan);
    let (old_audio, old_chunk) = (worker.do_next(&draft).await, worker.claim().await);
    assert_eq!(old_audio.task.step, Step::Audio);
    set_version(&farm, &keys::plan(&render), Plan::VERSION - 1).await;
    farm.restart().await;

    // A worker that is still at the old plan loses its lease, and its commit is refused.
    tokio::time::timeout(crate::common::SOON, async {
        let ledger = &farm.backplane.ledger;
        while ledger.renew(&old_chunk, TaskProgress::default(), Duration::from_secs(60)).await.unwrap() != Renewal::Lost
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    })
    .await
    .expect("the lease was never lost");
    assert_ne!(worker.commit(&old_chunk, b"{}").await, Commit::Accepted);
    farm.backplane.ledger.release(&old_chunk).await.unwrap();
    while worker.do_next(&draft).await.task.step != Step::Plan {}
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn the_plan_of_a_newer_farm_is_left_for_a_newer_coordinator() {
    let mut farm = Farm::new();
    let render = farm.submit(chunks_of(10)).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(20, false));
    assert_eq!(worker.do_next(&draft).await.task.step, Step::Plan);
    farm.until(&render, |progress| progress.chunks_total == 2).await;
    set_version(&farm, &keys::plan(&render), Plan::VERSION + 1).await;
    farm.restart().await;
    farm.settle(&render).await;
    assert!(has_plan(&farm, &render).await);
    let progress = farm.coordinator.detail(&render).await.unwrap().progress;
    assert!(progress.end.is_none() && progress.stage != Stage::Done, "{progress:?}");

    // The newer coordinator starts.
    set_version(&farm, &keys::plan(&render), Plan::VERSION).await;
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    assert!(!has_replanned_warning(&farm.plan(&render).await));
}

#[tokio::test]
async fn a_class_that_has_left_the_farm_is_waited_for_and_then_given_up() {
    let farm = Farm::with(CoordinatorConfig { replan_after: Duration::from_millis(300), ..quick() });
    let (mut worker, draft) = (farm.worker("w1").await, draft(20, false));
    let id = draft.content.class.id();
    let node = |class: &str, slots| NodeView {
        class_id: class.to_owned(),
        ..NodeView::new(format!("n-{class}").parse().unwrap(), "worker", "cpu", slots, "")
    };
    let alive = async |node: NodeView| {
        farm.backplane.ledger.heartbeat(&node, Duration::from_secs(3600)).await.unwrap();
    };
    alive(node(&id, 2)).await;
    alive(node("other", 2)).await;
    let render = farm.submit(chunks_of(10)).await;
    assert_eq!(worker.do_next(&draft).await.task.step, Step::Plan);
    assert!(matches!(worker.do_next(&draft).await.task.step, Step::Chunk(_)));
    // Twice as long as a class that is gone is waited for.
    let ticks = (farm.config.replan_after.as_millis() * 2).div_ceil(farm.config.tick.as_millis()) as u64;
    farm.ticks(ticks).await;
    assert!(has_plan(&farm, &render).await, "its class is alive");
    alive(NodeView { state: NodeState::Quarantined, ..node(&id, 0) }).await;
    farm.ticks(ticks).await;
    assert!(has_plan(&farm, &render).await, "a node in quarantine comes back");

    alive(node(&id, 0)).await;
    tokio::time::timeout(crate::common::SOON, async {
        while has_plan(&farm, &render).await {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .expect("it was never planned again");
    alive(node(&id, 2)).await;
    // The queues still have messages about chunks of the old plan.
    let plan = loop {
        let task = worker.take().await;
        if task.step == Step::Plan {
            break task;
        }
    };
    let Claim::Granted(lease) = worker.claim_task(&plan).await else { panic!("the plan task was not granted") };
    let result = worker.leave(&lease, &draft).await;
    assert_eq!(worker.commit(&lease, &result).await, Commit::Accepted);
    farm.until(&render, |progress| progress.chunks_total == 2).await;
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    assert!(has_replanned_warning(&farm.plan(&render).await));
    let claim = worker.claim_task(&hyperfarm_proto::task::TaskId { render, step: Step::Plan }).await;
    assert!(matches!(claim, Claim::Unknown | Claim::Committed), "{claim:?}");
}

#[tokio::test]
async fn what_an_older_farm_has_completed_is_still_told_whole() {
    let mut farm = Farm::new();
    let render = farm.submit(chunks_of(10)).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(30, false));
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    set_version(&farm, &keys::plan(&render), Plan::VERSION - 1).await;
    farm.restart().await;
    let progress = farm.coordinator.detail(&render).await.unwrap().progress;
    assert_eq!((progress.frames_done, progress.frames_total), (30, 30));
    assert_eq!(progress.plan.unwrap().warnings[0].code, "ASSET_NOT_FOUND");
}
