//! Chunks that run for long on one node and are begun on another one as well.

use std::time::Duration;

use crate::common::{Farm, Worker, chunks_of, comes, draft, quick};
use bytes::Bytes;
use hyperfarm_backplane::ledger::{Claim, Commit, Lease, NodeView, Renewal, TaskView};
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::scheduler::SchedulePolicy;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::record::{Outcome, TaskProgress};
use hyperfarm_proto::spec::Format;
use hyperfarm_proto::task::{Step, TaskId};
use serde_json::Value;

const LONG: Duration = Duration::from_secs(3600);

/// A farm of the nodes `slow` and `idle` with one slot each.
struct TwoNodes {
    farm: Farm,
    render: RenderId,
    slow: Worker,
    idle: Worker,
}

impl TwoNodes {
    /// Does all of a render of four chunks but the first one, which `slow` has claimed. Also returns its lease.
    async fn with_a_straggler(speculate_after: Option<Duration>) -> (Self, Lease) {
        let schedule =
            SchedulePolicy { speculate_after, unclaimed_after: Duration::from_secs(5), ..SchedulePolicy::default() };
        let farm = Farm::with(CoordinatorConfig { schedule, ..quick() });
        for node in ["slow", "idle"] {
            let node = NodeView::new(node.parse().unwrap(), "worker", "cpu", 1, "");
            farm.backplane.ledger.heartbeat(&node, LONG).await.unwrap();
        }
        let render = farm.submit(chunks_of(10)).await;
        let (mut slow, mut idle) = (farm.worker("slow-s0").await, farm.worker("idle-s0").await);
        idle.do_next(&draft(40, false)).await;
        let lease = slow.claim().await;
        for _ in 0..3 {
            idle.do_next(&draft(40, false)).await;
        }
        (Self { farm, render, slow, idle }, lease)
    }

    /// The same, and `idle` has claimed the chunk as well. Returns both leases.
    async fn with_two_attempts() -> (Self, Lease, Lease) {
        let (mut nodes, first) = Self::with_a_straggler(Some(Duration::from_millis(100))).await;
        let task = nodes.idle.take().await;
        assert_eq!(task, first.task);
        let ledger = &nodes.farm.backplane.ledger;
        let here = ledger.claim_elsewhere(&task, &"slow-s1".parse().unwrap(), LONG).await.unwrap();
        assert_eq!(here, Claim::Elsewhere { workers: vec!["slow-s0".to_owned()] });
        let claim = ledger.claim_elsewhere(&task, &nodes.idle.id, LONG).await.unwrap();
        let Claim::Granted(second) = claim else { panic!("{claim:?}") };
        assert_eq!(second.attempt, 2);
        (nodes, first, second)
    }

    async fn task(&self, task: &TaskId) -> TaskView {
        self.farm.ledger_view(&task.render).await.unwrap().tasks[&task.step].clone()
    }

    /// Stitches, and returns the stored timeline of the completed render.
    async fn complete(&mut self) -> Value {
        self.idle.finish(&draft(40, false)).await;
        let Outcome::Completed { output, .. } = self.farm.end(&self.render).await else { panic!("it has failed") };
        assert_eq!(output.frames, 40);
        let key = format!("{}/timeline.json", keys::render_prefix(&self.render));
        self.farm.backplane.objects.get_json(&key).await.unwrap()
    }

    fn counted(&self, outcome: &str) -> bool {
        let sample = format!("hyperfarm_speculative_attempts_total{{outcome=\"{outcome}\"}} 1\n");
        self.farm.backplane.metrics.encode().contains(&sample)
    }
}

/// The outcomes of the attempts at a chunk, as the timeline has them.
fn outcomes(timeline: &Value, task: &TaskId) -> Vec<String> {
    let step = serde_json::to_value(task.step).unwrap();
    let attempts = timeline["attempts"].as_array().unwrap().iter().filter(|attempt| attempt["step"] == step);
    attempts.map(|attempt| attempt["outcome"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn of_two_commits_at_once_one_counts() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    let results =
        [nodes.slow.leave(&first, &draft(40, false)).await, nodes.idle.leave(&second, &draft(40, false)).await];
    let (one, other) = tokio::join!(nodes.slow.commit(&first, &results[0]), nodes.idle.commit(&second, &results[1]));
    let won = usize::from(other == Commit::Accepted);
    assert_eq!([one, other][1 - won], Commit::Duplicate);
    let task = nodes.task(&first.task).await;
    assert_eq!((task.committed.as_ref(), task.failures.len()), (Some(&results[won]), 0));
    let timeline = nodes.complete().await;
    assert_eq!(timeline["warnings"], serde_json::json!([]), "both have stored the same bytes");
    let mut expected = ["committed", "superseded"];
    expected.rotate_left(won);
    assert_eq!(outcomes(&timeline, &first.task), expected);
    assert!(nodes.counted("started") && nodes.counted(["lost", "won"][won]));
}

#[tokio::test]
async fn the_slower_attempt_is_stopped_though_the_render_has_ended() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    let result = nodes.idle.leave(&second, &draft(40, false)).await;
    assert_eq!(nodes.idle.commit(&second, &result).await, Commit::Accepted);
    nodes.complete().await;
    let is_settled = || async { nodes.farm.ledger_view(&nodes.render).await.is_none_or(|view| view.cancelled) };
    assert!(comes(is_settled).await);
    let renewal = nodes.farm.backplane.ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap();
    assert_eq!(renewal, Renewal::Lost);
}

#[tokio::test]
async fn different_bytes_of_two_attempts_are_reported() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    let result = nodes.slow.leave(&first, &draft(40, false)).await;
    let other = Bytes::from_static(b"other bytes");
    let chunk = first.task.step.chunk().unwrap();
    let key = keys::segment(&nodes.render, chunk, second.attempt, &ContentHash::of(&other), Format::Mp4);
    nodes.farm.backplane.objects.put(&key, other).await.unwrap();
    assert_eq!(nodes.slow.commit(&first, &result).await, Commit::Accepted);
    assert_eq!(nodes.idle.commit(&second, b"{}").await, Commit::Duplicate);
    let timeline = nodes.complete().await;
    assert_eq!(timeline["warnings"][0]["code"], "NON_DETERMINISTIC");
    let message = timeline["warnings"][0]["message"].as_str().unwrap();
    assert!(message.contains(&format!("chunk {chunk}")), "{message}");
    assert!(nodes.farm.backplane.metrics.encode().contains("hyperfarm_segments_different_total 1\n"));
}

#[tokio::test]
async fn a_coordinator_that_restarts_knows_both_attempts() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    nodes.farm.restart().await;
    nodes.farm.ticks(4).await;
    for lease in [&first, &second] {
        let renewal = nodes.farm.backplane.ledger.renew(lease, TaskProgress::default(), LONG).await.unwrap();
        assert_eq!(renewal, Renewal::Renewed);
    }
    assert_eq!(nodes.idle.take_ready().await, None, "nobody begins it a third time");
    let result = nodes.idle.leave(&second, &draft(40, false)).await;
    assert_eq!(nodes.idle.commit(&second, &result).await, Commit::Accepted);
    let renewal = nodes.farm.backplane.ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap();
    assert_eq!(renewal, Renewal::Lost, "the slower one is told to stop");
    nodes.farm.backplane.ledger.release(&first).await.unwrap();
    let timeline = nodes.complete().await;
    assert_eq!(outcomes(&timeline, &first.task), ["superseded", "committed"]);
}

#[tokio::test]
async fn the_failure_of_the_slower_attempt_is_in_no_history() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    let result = nodes.idle.leave(&second, &draft(40, false)).await;
    assert_eq!(nodes.idle.commit(&second, &result).await, Commit::Accepted);
    let failure = Failure::new(FailureCode::ChromeCrashed, "it was stopped");
    assert_eq!(nodes.farm.backplane.ledger.fail(&first, &failure).await.unwrap(), Commit::Duplicate);
    assert_eq!(nodes.task(&first.task).await.failures, []);
    nodes.complete().await;
    assert!(nodes.counted("won"));
}

#[tokio::test]
async fn a_straggler_goes_on_when_the_second_attempt_fails_and_is_not_begun_a_third_time() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    nodes.idle.fail(&second, FailureCode::ChromeCrashed).await;
    nodes.farm.ticks(4).await;
    assert_eq!(nodes.idle.take_ready().await, None);
    let result = nodes.slow.leave(&first, &draft(40, false)).await;
    assert_eq!(nodes.slow.commit(&first, &result).await, Commit::Accepted);
    let timeline = nodes.complete().await;
    assert_eq!(outcomes(&timeline, &first.task), ["committed", "failed"]);
    assert!(nodes.counted("lost"));
}

#[tokio::test]
async fn a_task_is_dispatched_again_when_both_attempts_have_ended() {
    let (mut nodes, first, second) = TwoNodes::with_two_attempts().await;
    nodes.farm.backplane.ledger.release(&first).await.unwrap();
    nodes.farm.ticks(4).await;
    assert_eq!(nodes.idle.take_ready().await, None, "one goes on");
    nodes.idle.fail(&second, FailureCode::ChromeCrashed).await;
    let third = nodes.slow.claim().await;
    assert_eq!((&third.task, third.attempt), (&first.task, 3));
    let result = nodes.slow.leave(&third, &draft(40, false)).await;
    assert_eq!(nodes.slow.commit(&third, &result).await, Commit::Accepted);
    nodes.complete().await;
}

#[tokio::test]
async fn no_chunk_is_begun_twice_where_that_is_turned_off_or_no_other_node_is_idle() {
    let (mut nodes, first) = TwoNodes::with_a_straggler(None).await;
    tokio::time::sleep(Duration::from_millis(200)).await;
    nodes.farm.ticks(4).await;
    assert_eq!(nodes.idle.take_ready().await, None);
    drop(first);

    let (mut nodes, first) = TwoNodes::with_a_straggler(Some(Duration::from_millis(500))).await;
    nodes
        .farm
        .backplane
        .ledger
        .heartbeat(&NodeView::new("idle".parse().unwrap(), "worker", "cpu", 0, ""), LONG)
        .await
        .unwrap();
    let aged = comes(async || nodes.task(&first.task).await.running[0].age > Duration::from_millis(600)).await;
    assert!(aged);
    nodes.farm.ticks(4).await;
    assert_eq!(nodes.idle.take_ready().await, None);
    assert!(matches!(first.task.step, Step::Chunk(_)));
}
