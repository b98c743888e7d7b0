//! Renders from intake to end, with the workers' side of the protocol played by the test.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use crate::common::{Farm, SOON, Worker, chunks_of, draft, patient, quick};
use hyperfarm_backplane::ledger::{Claim, Commit, Renewal};
use hyperfarm_coordinator::submission::{Intake, Seed};
use hyperfarm_coordinator::{CoordinatorConfig, RebuiltRender, RenderError, Stage, rebuild_ledger};
use hyperfarm_proto::failure::{FailureCode, MAX_ATTEMPTS};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::PlanDraft;
use hyperfarm_proto::record::{Outcome, SegmentRecord, TaskProgress, TerminalState};
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::{Queue, Step};

fn failed_with(outcome: &Outcome) -> (FailureCode, usize) {
    match outcome {
        Outcome::Failed { failure, history } => (failure.code, history.len()),
        Outcome::Completed { .. } => panic!("it completed"),
    }
}

#[tokio::test]
async fn a_render_goes_from_intake_to_output_by_events_alone() {
    let farm = Farm::with(patient());
    farm.slots(2).await;
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(80, true);

    assert_eq!(worker.do_next(&draft).await.task.step, Step::Plan);
    let mut steps = Vec::new();
    for _ in 0..4 {
        steps.push(worker.do_next(&draft).await.task.step);
    }
    assert_eq!(steps, [Step::Audio, Step::Chunk(0), Step::Chunk(1), Step::Chunk(2)], "sound first, then longest first");
    assert_eq!(worker.do_next(&draft).await.task.step, Step::Stitch);
    // No tick ever comes.
    let outcome = farm.end(&render).await;

    let Outcome::Completed { duration, output } = outcome else { panic!("{outcome:?}") };
    assert!((duration - 80.0 / 30.0).abs() < 1e-9);
    assert_eq!(output.frames, 80);
    let state: TerminalState = farm.backplane.objects.get_json(&keys::state(&render)).await.unwrap();
    assert!(matches!(state.outcome, Outcome::Completed { .. }));
    let detail = farm.coordinator.detail(&render).await.unwrap();
    assert_eq!((detail.progress.frames_done, detail.progress.chunks_total), (80, 3));
    assert_eq!(detail.progress.plan.unwrap().warnings[0].code, "ASSET_NOT_FOUND");
    let forgotten = async || farm.ledger_view(&render).await.is_none();
    assert!(crate::common::comes(forgotten).await, "the ledger forgets what is complete");
}

#[tokio::test]
async fn transitions_follow_an_event_without_a_rest() {
    let farm = Farm::with(patient());
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(120, false);
    let mut quickest = Duration::MAX;
    for _ in 0..6 {
        let before = Instant::now();
        let lease = worker.claim().await;
        quickest = quickest.min(before.elapsed());
        let result = worker.leave(&lease, &draft).await;
        worker.commit(&lease, &result).await;
    }
    farm.end(&render).await;
    // The quickest of them: a machine may be busy, a rest between looks would be in all of them.
    assert!(quickest < Duration::from_millis(100), "{quickest:?} from commit to the next task");
}

#[tokio::test]
async fn progress_counts_frames_at_work() {
    let farm = Farm::new();
    farm.slots(2).await;
    let render = farm.submit(chunks_of(30)).await;
    assert_eq!(farm.coordinator.detail(&render).await.unwrap().progress.stage, Stage::Queued);
    let mut worker = farm.worker("w1").await;
    let draft = draft(90, false);
    let lease = worker.claim().await;
    farm.until(&render, |progress| progress.stage == Stage::Plan).await;
    let result = worker.leave(&lease, &draft).await;
    worker.commit(&lease, &result).await;
    worker.do_next(&draft).await;
    let lease = worker.claim().await;
    let progress = TaskProgress { done: 10, total: 30 };
    farm.backplane.ledger.renew(&lease, progress, SOON).await.unwrap();
    let seen = farm.until(&render, |progress| progress.frames_done == 40).await;
    assert_eq!((seen.stage, seen.frames_total, seen.chunks_done, seen.chunks_total), (Stage::Capture, 90, 1, 3));
    assert!(seen.eta.is_some());
}

#[tokio::test]
async fn lost_events_cost_only_time() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    worker.tells = false;
    worker.finish(&draft(60, true)).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn lost_messages_are_sent_again() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(60, false);
    worker.take().await;
    worker.do_next(&draft).await;
    let (first, second) = (worker.take().await, worker.take().await);
    assert_ne!(first, second);
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn an_expired_lease_is_dispatched_again_and_its_late_commit_is_stale() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(60)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(60, false);
    worker.do_next(&draft).await;
    let task = worker.take().await;
    let short = Duration::from_millis(10);
    let Claim::Granted(dead) = farm.backplane.ledger.claim(&task, &"w0".parse().unwrap(), short).await.unwrap() else {
        panic!("not granted")
    };
    let lease = worker.claim().await;
    assert_eq!((lease.task.clone(), lease.attempt), (task, 2));
    let late = worker.leave(&dead, &draft).await;
    assert_eq!(worker.commit(&dead, &late).await, Commit::Stale);
    let result = worker.leave(&lease, &draft).await;
    assert_eq!(worker.commit(&lease, &result).await, Commit::Accepted);
    assert_eq!(worker.commit(&lease, &result).await, Commit::Duplicate, "a double is an answer and no error");
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn an_emptied_ledger_is_restored_from_storage() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(90, true);
    for _ in 0..3 {
        worker.do_next(&draft).await;
    }
    // Chunk 1 is finished in storage by two attempts, and its commit is what the ledger loses.
    farm.ledger.clear();
    let task = hyperfarm_proto::task::TaskId { render: render.clone(), step: Step::Chunk(1) };
    for attempt in [2, 5] {
        let lease =
            hyperfarm_backplane::ledger::Lease { task: task.clone(), attempt, worker: worker.id.clone(), grant: None };
        worker.leave(&lease, &draft).await;
    }
    farm.until(&render, |progress| progress.chunks_done == 2).await;
    let view = farm.ledger_view(&render).await.unwrap();
    assert_eq!(view.tasks[&Step::Chunk(1)].attempt, 5, "the fence does not sink");
    let record: serde_json::Value =
        serde_json::from_slice(view.tasks[&Step::Chunk(1)].committed.as_ref().unwrap()).unwrap();
    assert_eq!(record["attempt"], 2, "the lowest attempt counts");
    let mut steps = Vec::new();
    loop {
        let step = worker.do_next(&draft).await.task.step;
        steps.push(step);
        if step == Step::Stitch {
            break;
        }
    }
    assert_eq!(steps, [Step::Chunk(2), Step::Stitch], "what was done is not done again");
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_rebuilt_ledger_has_what_storage_has_and_the_farm_goes_on() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(90, true);
    for _ in 0..2 {
        worker.do_next(&draft).await;
    }
    // Their messages are taken, and nobody renews their leases any more.
    let lost = [worker.claim().await, worker.claim().await];
    let rebuilt = rebuild_ledger(&farm.backplane).await.unwrap();
    let [(id, Ok(rebuilt))] = &rebuilt[..] else { panic!("{rebuilt:?}") };
    assert_eq!((id, rebuilt), (&render, &RebuiltRender { commits: 2, is_planned: true }));
    let mut steps = Vec::new();
    while steps.last() != Some(&Step::Stitch) {
        steps.push(worker.do_next(&draft).await.task.step);
    }
    assert!(lost.iter().all(|lease| steps.contains(&lease.task.step)), "{steps:?}");
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    assert!(rebuild_ledger(&farm.backplane).await.unwrap().is_empty());
}

#[tokio::test]
async fn a_ledger_emptied_at_every_step_ends_in_the_same_output() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(60, true);
    loop {
        farm.ledger.clear();
        let lease = worker.claim().await;
        farm.ledger.clear();
        let result = worker.leave(&lease, &draft).await;
        worker.commit(&lease, &result).await;
        if lease.task.step == Step::Stitch {
            break;
        }
    }
    farm.ledger.clear();
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_restarted_coordinator_goes_on_where_the_last_one_was() {
    let mut farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(90, false);
    let mut done = 0;
    loop {
        let step = worker.do_next(&draft).await.task.step;
        done += 1;
        farm.restart().await;
        if step == Step::Stitch {
            break;
        }
    }
    assert_eq!(done, 5, "nothing was done twice");
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    assert_eq!(farm.plan(&render).await.chunks.len(), 3);
}

#[tokio::test]
async fn queued_renders_survive_the_loss_of_everything_but_storage() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    farm.drain.start();
    farm.coordinator.join().await;
    let later = Farm::over(farm.backplane.objects.clone(), quick());
    let mut worker = later.worker("w1").await;
    worker.finish(&draft(30, false)).await;
    assert!(matches!(later.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_users_failure_ends_the_render_at_once() {
    let farm = Farm::with(patient());
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(90, false);
    worker.do_next(&draft).await;
    let (first, second) = (worker.claim().await, worker.claim().await);
    worker.fail(&first, FailureCode::ScriptError).await;
    assert_eq!(failed_with(&farm.end(&render).await), (FailureCode::ScriptError, 1));
    let renewal = farm.backplane.ledger.renew(&second, TaskProgress::default(), SOON).await.unwrap();
    assert_eq!(renewal, Renewal::Lost, "the others stop");
    assert_eq!(farm.backplane.broker.depth(&Queue::Dead).await.unwrap(), 0, "a user's failure is no dead letter");
}

#[tokio::test]
async fn an_exhausted_system_failure_goes_to_the_dead_letters_with_its_history() {
    let farm = Farm::with(patient());
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(30, false)).await;
    for _ in 0..MAX_ATTEMPTS {
        let lease = worker.claim().await;
        worker.fail(&lease, FailureCode::ChromeCrashed).await;
    }
    assert_eq!(failed_with(&farm.end(&render).await), (FailureCode::ChromeCrashed, MAX_ATTEMPTS));
    let mut dead = farm.backplane.broker.consume(&Queue::Dead).await.unwrap();
    let letter = tokio::time::timeout(SOON, dead.next()).await.unwrap().unwrap();
    let letter: serde_json::Value = serde_json::from_slice(&letter.payload).unwrap();
    assert_eq!((&letter["render"], &letter["step"]), (&render.as_str().into(), &"chunk-0".into()));
    assert_eq!(letter["history"].as_array().unwrap().len(), MAX_ATTEMPTS);
}

#[tokio::test]
async fn refusals_of_another_class_do_not_end_the_render() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(30, false);
    worker.do_next(&draft).await;
    for _ in 0..MAX_ATTEMPTS + 1 {
        let lease = worker.claim().await;
        worker.fail(&lease, FailureCode::VersionMismatch).await;
    }
    worker.finish(&draft).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_short_window_is_in_the_queues() {
    // Ticks, but no second dispatch of what nobody has claimed.
    let farm = Farm::with(CoordinatorConfig { schedule: patient().schedule, ..quick() });
    farm.slots(3).await;
    let render = farm.submit(chunks_of(1)).await;
    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(100, false)).await;
    farm.until(&render, |progress| progress.stage == Stage::Capture).await;
    let queue = Queue::Chunk(Default::default());
    let depth = async || farm.backplane.broker.depth(&queue).await.unwrap();
    assert!(crate::common::comes(async || depth().await >= 6).await, "two for each slot, not {}", depth().await);
    farm.ticks(2).await;
    assert_eq!(depth().await, 6, "and no more");
}

#[tokio::test]
async fn a_large_window_of_a_long_render_is_dispatched_in_one_go() {
    let farm = Farm::with(patient());
    farm.slots(1_600).await;
    farm.submit(chunks_of(1)).await;
    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(20_000, false)).await;
    drop(worker);
    // A quarter more than the slots. Where each of these tasks costs a look at all chunks, this takes a minute.
    let depth = async || farm.backplane.broker.depth(&Queue::Chunk(Default::default())).await.unwrap();
    assert!(
        crate::common::comes(async || depth().await >= 2_000).await,
        "only {} tasks were dispatched",
        depth().await
    );
}

#[tokio::test]
async fn a_space_with_one_render_does_not_wait_for_one_with_many() {
    let farm = Farm::with(patient());
    farm.slots(2).await;
    let of = |space: &str, priority| Intake { space: space.parse().unwrap(), priority, ..Intake::default() };
    let mut worker = farm.worker("w1").await;
    let draft = draft(40, false);
    let alpha = farm.submit_as(chunks_of(1), of("alpha", 50)).await;
    worker.do_next(&draft).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(worker.claim().await);
    }
    farm.settle(&alpha).await;
    assert_eq!(worker.take_ready().await, None, "alpha has the whole window");
    let beta = farm.submit_as(chunks_of(1), of("beta", 0)).await;
    assert_eq!(worker.do_next(&draft).await.task.render, beta);
    farm.until(&beta, |progress| progress.stage == Stage::Capture).await;
    farm.settle(&beta).await;
    assert_eq!(worker.take_ready().await, None, "no place is free");
    for (number, lease) in held.iter().enumerate() {
        let result = worker.leave(lease, &draft).await;
        worker.commit(lease, &result).await;
        let next = worker.take().await.render;
        // Alpha and beta have two each then, of which one has ended.
        assert!(number >= 2 || next == beta, "place {number} went to {next}");
    }
}

#[tokio::test]
async fn a_render_whose_priority_is_raised_goes_before_an_older_one() {
    let farm = Farm::with(patient());
    farm.slots(2).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(40, false));
    let first = farm.submit(chunks_of(1)).await;
    worker.do_next(&draft).await;
    let mut held = Vec::new();
    for _ in 0..4 {
        held.push(worker.claim().await);
    }
    farm.settle(&first).await;
    let second = farm.submit(chunks_of(1)).await;
    assert_eq!(worker.do_next(&draft).await.task.render, second);
    farm.until(&second, |progress| progress.stage == Stage::Capture).await;
    farm.settle(&second).await;
    assert_eq!(worker.take_ready().await, None, "the first one has the whole window");
    assert_eq!(farm.coordinator.set_priority(&second, 9).await.unwrap().priority, 9);
    for lease in &held {
        let result = worker.leave(lease, &draft).await;
        worker.commit(lease, &result).await;
        assert_eq!(worker.take().await.render, second);
    }
}

#[tokio::test]
async fn a_render_keeps_to_its_own_cap() {
    let farm = Farm::with(patient());
    farm.slots(8).await;
    let render = farm
        .submit(RenderSpec { max_parallel_chunks: hyperfarm_proto::bounded::Bounded::new(1), ..chunks_of(10) })
        .await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(30, false);
    worker.do_next(&draft).await;
    let lease = worker.claim().await;
    farm.settle(&render).await;
    assert_eq!(worker.take_ready().await, None, "a second chunk beside the one at work");
    let result = worker.leave(&lease, &draft).await;
    worker.commit(&lease, &result).await;
    assert_eq!(worker.take().await.step, Step::Chunk(1));
}

#[tokio::test]
async fn the_older_render_comes_first() {
    let farm = Farm::with(patient());
    let older = farm.submit(chunks_of(10)).await;
    let mut worker = farm.worker("w1").await;
    let draft = draft(100, false);
    worker.do_next(&draft).await;
    let first = worker.take().await;
    // Of two renders of the same millisecond neither is the older one.
    tokio::time::sleep(Duration::from_millis(2)).await;
    let newer = farm.submit(chunks_of(10)).await;
    let lease = loop {
        let lease = worker.claim().await;
        if lease.task.render == newer {
            break lease;
        }
    };
    let result = worker.leave(&lease, &draft).await;
    worker.commit(&lease, &result).await;
    farm.until(&newer, |progress| progress.stage == Stage::Capture).await;
    farm.settle(&newer).await;
    while let Some(task) = worker.take_ready().await {
        assert_eq!(task.render, older, "the window belongs to the older one");
    }
    let Claim::Granted(lease) = worker.claim_task(&first).await else { panic!("not granted") };
    let result = worker.leave(&lease, &draft).await;
    worker.commit(&lease, &result).await;
    assert_eq!(worker.take().await.render, older, "so does the room that one of its chunks leaves");
}

#[tokio::test]
async fn a_cancelled_render_stops_its_workers() {
    let farm = Farm::with(patient());
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(90, false)).await;
    let lease = worker.claim().await;
    farm.coordinator.cancel(&render).await.unwrap();
    assert_eq!(failed_with(&farm.end(&render).await), (FailureCode::Cancelled, 0));
    let renewal = farm.backplane.ledger.renew(&lease, TaskProgress::default(), SOON).await.unwrap();
    assert_eq!(renewal, Renewal::Lost);
    assert_eq!(worker.claim_task(&lease.task).await, Claim::Cancelled);
    farm.coordinator.cancel(&render).await.unwrap();
}

#[tokio::test]
async fn what_is_complete_is_not_cancelled() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&render).await;
    assert!(matches!(farm.coordinator.cancel(&render).await, Err(RenderError::Ended(_))));
}

#[tokio::test]
async fn a_deleted_render_is_gone_also_after_a_restart() {
    let mut farm = Farm::new();
    let done = farm.submit(chunks_of(30)).await;
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&done).await;
    let running = farm.submit(chunks_of(30)).await;
    for render in [&done, &running] {
        farm.coordinator.delete(render).await.unwrap();
        assert!(matches!(farm.coordinator.detail(render).await, Err(RenderError::NotFound(_))));
        assert!(matches!(farm.coordinator.delete(render).await, Err(RenderError::NotFound(_))));
    }
    let output = keys::output(&done, Default::default());
    assert!(!farm.backplane.objects.exists(&output).await.unwrap(), "what it made is removed");
    let before = farm.observed.views_of(&running);
    farm.restart().await;
    // Two scans of storage, each four ticks after the one before.
    farm.ticks(9).await;
    assert_eq!(farm.observed.views_of(&running), before, "the loop has taken it up again");
    assert!(matches!(farm.coordinator.detail(&running).await, Err(RenderError::NotFound(_))));
    assert!(
        farm.coordinator.list(&Default::default(), 10, None, &Default::default()).await.unwrap().renders.is_empty()
    );
}

#[tokio::test]
async fn two_coordinators_do_not_disturb_each_other() {
    let farm = Farm::new();
    let drain = hyperfarm_backplane::drain::Drain::new();
    let other = hyperfarm_coordinator::Coordinator::start(farm.backplane.clone(), quick(), drain);
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    worker.finish(&draft(90, true)).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    let mut progress = other.watch(&render).await.unwrap();
    let ended = tokio::time::timeout(SOON, progress.wait_for(|progress| progress.end.is_some())).await;
    assert!(ended.is_ok());
}

#[tokio::test]
async fn a_cancellation_through_one_coordinator_is_seen_by_the_other_at_its_next_tick() {
    // Neither compares ledger and storage on a timer.
    let config = CoordinatorConfig { verify_every: patient().verify_every, ..quick() };
    let farm = Farm::with(config.clone());
    let render = farm.submit(chunks_of(30)).await;
    let lease = farm.worker("w1").await.claim().await;
    farm.until(&render, |progress| progress.stage == Stage::Plan).await;
    let drain = hyperfarm_backplane::drain::Drain::new();
    let other = hyperfarm_coordinator::Coordinator::start(farm.backplane.clone(), config, drain);
    other.cancel(&render).await.unwrap();
    assert_eq!(failed_with(&farm.end(&render).await), (FailureCode::Cancelled, 0));
    farm.ticks(3).await;
    let renewal = farm.backplane.ledger.renew(&lease, TaskProgress::default(), SOON).await.unwrap();
    assert_eq!(renewal, Renewal::Lost, "nobody has opened it again");
}

#[tokio::test]
async fn one_render_that_cannot_be_read_does_not_hide_the_others() {
    let mut farm = Farm::new();
    let broken = farm.submit(chunks_of(30)).await;
    let render = farm.submit(chunks_of(30)).await;
    let garbage = bytes::Bytes::from_static(b"{");
    farm.backplane.objects.put(&keys::request(&broken), garbage.clone()).await.unwrap();
    farm.restart().await;
    farm.backplane.objects.put(&keys::plan(&broken), garbage).await.unwrap();
    assert_eq!(
        farm.coordinator.list(&Default::default(), 10, None, &Default::default()).await.unwrap().renders.len(),
        1
    );
    let mut worker = farm.worker("w1").await;
    loop {
        let lease = worker.claim().await;
        let result = worker.leave(&lease, &draft(30, false)).await;
        worker.commit(&lease, &result).await;
        if lease.task.render == render && lease.task.step == Step::Stitch {
            break;
        }
    }
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
}

#[tokio::test]
async fn a_retry_of_a_failed_render_makes_only_what_is_missing() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let (mut worker, draft) = (farm.worker("w1").await, draft(90, true));
    worker.do_next(&draft).await;
    let mut made = BTreeSet::new();
    for _ in 0..3 {
        made.insert(worker.do_next(&draft).await.task.step);
    }
    let failed = worker.claim().await;
    worker.fail(&failed, FailureCode::ScriptError).await;
    assert!(matches!(farm.end(&render).await, Outcome::Failed { .. }));

    let retry = async |of: &RenderId| {
        let (intake, seed) = (Intake::default(), Seed::new().unwrap());
        farm.coordinator.retry(of, intake, seed).await.unwrap()
    };
    let second = retry(&render).await;
    let steps = steps_until_the_stitch(&mut worker, &second, &draft).await;
    assert_eq!(steps, [Step::Plan, failed.task.step, Step::Stitch], "{made:?} were there");
    assert!(matches!(farm.end(&second).await, Outcome::Completed { .. }));
    let objects = &farm.backplane.objects;
    let (earlier, plan) = (farm.plan(&render).await, farm.plan(&second).await);
    assert_eq!((&earlier.chunks, &earlier.content), (&plan.chunks, &plan.content));
    // The copies are the new render's own.
    farm.coordinator.delete(&render).await.unwrap();
    let mut chunks = BTreeSet::new();
    for meta in objects.list(&keys::segments_prefix(&second)).await.unwrap() {
        let Some((chunk, _)) = keys::parse_segment(&meta.key) else { continue };
        let record: SegmentRecord = objects.get_json(&keys::segment_record(&meta.key)).await.unwrap();
        let bytes = objects.get(&meta.key).await.unwrap();
        assert_eq!((record.key, record.hash), (meta.key, ContentHash::of(&bytes)));
        chunks.insert(chunk);
    }
    assert_eq!(chunks, BTreeSet::from([0, 1, 2]));

    // One that has completed is made again as a whole, and so is one that had all of its segments when it failed.
    let third = retry(&second).await;
    assert_eq!(steps_until_the_stitch(&mut worker, &third, &draft).await.len(), 6);
    assert!(matches!(farm.end(&third).await, Outcome::Completed { .. }));
    let fourth = farm.submit(chunks_of(30)).await;
    for _ in 0..5 {
        worker.do_next(&draft).await;
    }
    let stitch = worker.claim().await;
    assert_eq!(stitch.task.step, Step::Stitch);
    worker.fail(&stitch, FailureCode::ScriptError).await;
    assert!(matches!(farm.end(&fourth).await, Outcome::Failed { .. }));
    let fifth = retry(&fourth).await;
    assert_eq!(steps_until_the_stitch(&mut worker, &fifth, &draft).await.len(), 6);
    assert!(matches!(farm.end(&fifth).await, Outcome::Completed { .. }));
}

/// Does the tasks of a render, of which there are no others, and answers which ones.
async fn steps_until_the_stitch(worker: &mut Worker, render: &RenderId, draft: &PlanDraft) -> Vec<Step> {
    let mut steps = Vec::new();
    while steps.last() != Some(&Step::Stitch) {
        let lease = worker.do_next(draft).await;
        assert_eq!(lease.task.render, *render);
        steps.push(lease.task.step);
    }
    steps
}
