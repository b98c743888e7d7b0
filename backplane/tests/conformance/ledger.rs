//! What every ledger promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use hyperfarm_backplane::ledger::{
    AttemptEnd, Claim, Commit, Held, Lease, Ledger, LedgerError, MemoryLedger, NodeCommand, NodeState, NodeTask,
    NodeView, Order, Quota, RedisLedger, RenderView, Renewal, Reserved, TaskView, ViewSince,
};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Step, TaskId};

use crate::servers::{REDIS, address, unique};

/// Longer than any test.
pub(crate) const LONG: Duration = Duration::from_secs(600);
/// Over at once.
pub(crate) const OVER: Duration = Duration::ZERO;
/// Over during a test, and not before the next few calls.
const SHORT: Duration = Duration::from_millis(600);

pub(crate) async fn memory() -> Option<Arc<dyn Ledger>> {
    Some(Arc::new(MemoryLedger::new()))
}

pub(crate) async fn redis() -> Option<Arc<dyn Ledger>> {
    let url = address(REDIS)?;
    Some(Arc::new(RedisLedger::connect(&url, &unique("ledger")).await.unwrap()))
}

pub(crate) fn render(name: &str) -> RenderId {
    name.parse().unwrap()
}

pub(crate) fn worker(name: &str) -> WorkerId {
    name.parse().unwrap()
}

pub(crate) fn task(step: Step) -> TaskId {
    TaskId { render: render("r1"), step }
}

fn chunk() -> TaskId {
    task(Step::Chunk(7))
}

fn lease(attempt: u32, name: &str) -> Lease {
    Lease { task: chunk(), attempt, worker: worker(name), grant: None }
}

fn failure() -> Failure {
    Failure::new(FailureCode::ChromeCrashed, "it died: \"ünlucky\"\nline two\t\\")
}

async fn granted(ledger: &Arc<dyn Ledger>, name: &str, ttl: Duration) -> Lease {
    match ledger.claim(&chunk(), &worker(name), ttl).await.unwrap() {
        Claim::Granted(lease) => lease,
        other => panic!("{other:?}"),
    }
}

async fn view(ledger: &Arc<dyn Ledger>) -> RenderView {
    ledger.view(&render("r1")).await.unwrap().expect("an open render")
}

async fn chunk_view(ledger: &Arc<dyn Ledger>) -> TaskView {
    view(ledger).await.tasks.remove(&Step::Chunk(7)).expect("a task that was claimed")
}

async fn open(ledger: &Arc<dyn Ledger>) {
    ledger.open(&render("r1")).await.unwrap();
}

async fn a_render_is_open_or_unknown(ledger: &Arc<dyn Ledger>) {
    async fn all_unknown(ledger: &Arc<dyn Ledger>) {
        let lease = lease(1, "w1");
        assert_eq!(ledger.claim(&chunk(), &worker("w1"), LONG).await.unwrap(), Claim::Unknown);
        assert_eq!(ledger.renew(&lease, TaskProgress::default(), LONG).await.unwrap(), Renewal::Unknown);
        assert_eq!(ledger.commit(&lease, b"x").await.unwrap(), Commit::Unknown);
        assert_eq!(ledger.fail(&lease, &failure()).await.unwrap(), Commit::Unknown);
        ledger.release(&lease).await.unwrap();
        ledger.restore(&chunk(), 1, b"x").await.unwrap();
        assert_eq!(ledger.view(&render("r1")).await.unwrap(), None);
    }
    all_unknown(ledger).await;
    open(ledger).await;
    assert_eq!(view(ledger).await, RenderView::default());
    let first = granted(ledger, "w1", LONG).await;
    // Opening again changes nothing.
    open(ledger).await;
    assert_eq!((first.attempt, chunk_view(ledger).await.attempt), (1, 1));
    ledger.forget(&render("r1")).await.unwrap();
    all_unknown(ledger).await;
    ledger.forget(&render("r1")).await.unwrap();
    open(ledger).await;
    assert_eq!(view(ledger).await, RenderView::default());
}

async fn a_claim_is_a_lease(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    assert_eq!(first, Lease { grant: first.grant, ..lease(1, "w1") });
    // Nobody claims it again, its holder neither.
    assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Held);
    assert_eq!(ledger.claim(&chunk(), &worker("w1"), LONG).await.unwrap(), Claim::Held);
    let seen = chunk_view(ledger).await;
    let (holder, remaining) = seen.lease.unwrap();
    assert_eq!((seen.attempt, holder, seen.progress), (1, worker("w1"), TaskProgress::default()));
    assert!(remaining <= LONG && remaining > LONG - Duration::from_secs(60), "{remaining:?}");
}

async fn who_holds_a_task_is_told(ledger: &Arc<dyn Ledger>) {
    let held = async |lease: &Lease| ledger.is_held(lease).await.unwrap();
    assert_eq!(held(&lease(1, "w1")).await, Held::Unknown);
    open(ledger).await;
    assert_eq!(held(&lease(1, "w1")).await, Held::No, "nobody has claimed it");
    let first = granted(ledger, "w1", SHORT).await;
    assert_eq!((held(&first).await, held(&lease(1, "w1")).await), (Held::Yes, Held::Yes));
    let revision = |answer| match answer {
        ViewSince::Changed { revision, .. } => revision,
        other => panic!("{other:?}"),
    };
    let before = revision(ledger.view_since(&render("r1"), None, None).await.unwrap());
    for other in [
        lease(1, "w2"),
        lease(2, "w1"),
        lease(0, "w1"),
        Lease { task: task(Step::Audio), ..first.clone() },
        Lease { grant: first.grant.map(|claim| claim.wrapping_add(1)), ..first.clone() },
    ] {
        assert_eq!(held(&other).await, Held::No, "{other:?}");
    }
    assert_eq!(
        revision(ledger.view_since(&render("r1"), None, None).await.unwrap()),
        before,
        "a question writes nothing"
    );
    tokio::time::sleep(SHORT + Duration::from_millis(50)).await;
    assert_eq!(held(&first).await, Held::No, "it has run out");
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
    assert_eq!(held(&first).await, Held::Yes);
    ledger.commit(&first, b"x").await.unwrap();
    assert_eq!(held(&first).await, Held::No, "it is committed");
    ledger.forget(&render("r1")).await.unwrap();
    let leases = <[Lease; 2]>::from(two_attempts(ledger).await);
    assert_eq!((held(&leases[0]).await, held(&leases[1]).await), (Held::Yes, Held::Yes));
    ledger.cancel(&render("r1")).await.unwrap();
    assert_eq!((held(&leases[0]).await, held(&leases[1]).await), (Held::No, Held::No));
}

async fn of_a_hundred_claims_one_is_granted(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let claims = (0..100).map(|number| {
        let ledger = Arc::clone(ledger);
        tokio::spawn(async move { ledger.claim(&chunk(), &worker(&format!("w{number}")), LONG).await.unwrap() })
    });
    let answers = futures::future::join_all(claims).await;
    let answers: Vec<Claim> = answers.into_iter().map(Result::unwrap).collect();
    assert_eq!(answers.iter().filter(|claim| matches!(claim, Claim::Granted(_))).count(), 1);
    assert_eq!(answers.iter().filter(|claim| **claim == Claim::Held).count(), 99);
}

async fn a_lease_that_ran_out_is_anybodys(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    granted(ledger, "w1", SHORT).await;
    assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Held);
    tokio::time::sleep(SHORT * 4 / 3).await;
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.lease), (1, None));
    assert_eq!(granted(ledger, "w2", LONG).await.attempt, 2);
}

async fn a_task_that_failed_on_a_node_is_claimed_elsewhere(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let elsewhere = async |slot: &str| ledger.claim_elsewhere(&chunk(), &worker(slot), LONG).await.unwrap();
    let Claim::Granted(first) = elsewhere("a-s1").await else { panic!("nobody has failed it") };
    // A message that looks like another slot's failure.
    let failure = Failure::new(FailureCode::ChromeCrashed, r#""worker":"b-s1""#);
    ledger.fail(&first, &failure).await.unwrap();
    let before = chunk_view(ledger).await;
    let failed_here = Claim::Elsewhere { workers: vec!["a-s1".to_owned()] };
    assert_eq!(elsewhere("a-s0").await, failed_here, "another slot of the same node");
    assert_eq!(chunk_view(ledger).await, before, "nothing has changed");
    let Claim::Granted(second) = elsewhere("b-s1").await else { panic!("b has not failed it") };
    assert_eq!(second.attempt, 2);
    assert_eq!(elsewhere("a-s0").await, Claim::Held);
    ledger.fail(&second, &failure).await.unwrap();
    let both = Claim::Elsewhere { workers: vec!["a-s1".to_owned(), "b-s1".to_owned()] };
    assert_eq!(elsewhere("b-s0").await, both);
    assert_eq!(granted(ledger, "a-s0", LONG).await.attempt, 3, "where there is nobody else");
}

async fn a_lease_that_ran_out_is_renewed_until_somebody_claims(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", OVER).await;
    let progress = TaskProgress { done: 3, total: u64::MAX };
    assert_eq!(ledger.renew(&first, progress, OVER).await.unwrap(), Renewal::Renewed);
    assert_eq!(chunk_view(ledger).await.progress, progress);
    let second = granted(ledger, "w2", LONG).await;
    assert_eq!(ledger.renew(&first, progress, LONG).await.unwrap(), Renewal::Lost);
    // The new attempt begins at nothing, and the old one's report changes nothing.
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.progress), (2, TaskProgress::default()));
    assert_eq!(seen.lease.unwrap().0, worker("w2"));
    assert_eq!(ledger.renew(&second, progress, LONG).await.unwrap(), Renewal::Renewed);
}

async fn a_renewal_extends_the_lease(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", SHORT).await;
    for done in 0..4 {
        tokio::time::sleep(SHORT / 3).await;
        assert_eq!(ledger.renew(&first, TaskProgress { done, total: 4 }, SHORT).await.unwrap(), Renewal::Renewed);
        assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Held);
    }
    // From now, not from its old end.
    assert!(chunk_view(ledger).await.lease.unwrap().1 <= SHORT);
}

async fn a_task_counts_once(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    assert_eq!(ledger.commit(&first, b"result").await.unwrap(), Commit::Accepted);
    assert_eq!(ledger.commit(&first, b"other").await.unwrap(), Commit::Duplicate);
    assert_eq!(ledger.commit(&lease(9, "w9"), b"other").await.unwrap(), Commit::Duplicate);
    assert_eq!(ledger.fail(&first, &failure()).await.unwrap(), Commit::Duplicate);
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Committed);
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.committed.as_deref(), seen.lease, seen.failures.len()), (Some(&b"result"[..]), None, 0));
}

async fn an_older_attempt_is_stale(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", OVER).await;
    let second = granted(ledger, "w2", LONG).await;
    assert_eq!(ledger.commit(&first, b"old").await.unwrap(), Commit::Stale);
    assert_eq!(ledger.fail(&first, &failure()).await.unwrap(), Commit::Stale);
    ledger.release(&first).await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.committed.clone(), seen.failures.len(), seen.lease.unwrap().0), (None, 0, worker("w2")));
    assert_eq!(ledger.commit(&second, b"new").await.unwrap(), Commit::Accepted);
    assert_eq!(ledger.commit(&first, b"old").await.unwrap(), Commit::Duplicate);
    assert_eq!(chunk_view(ledger).await.committed.as_deref(), Some(&b"new"[..]));
}

async fn the_newest_attempt_commits_after_its_lease_ran_out(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", OVER).await;
    assert_eq!(ledger.commit(&first, b"late").await.unwrap(), Commit::Accepted);
}

async fn of_many_commits_one_is_accepted(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    let commits = (0..50_u8).map(|number| {
        let (ledger, first) = (Arc::clone(ledger), first.clone());
        tokio::spawn(async move { (number, ledger.commit(&first, &[number]).await.unwrap()) })
    });
    let answers = futures::future::join_all(commits).await;
    let accepted: Vec<u8> = answers
        .into_iter()
        .map(Result::unwrap)
        .filter_map(|(number, answer)| (answer == Commit::Accepted).then_some(number))
        .collect();
    assert_eq!(accepted.len(), 1);
    assert_eq!(chunk_view(ledger).await.committed, Some(accepted));
}

async fn failures_are_kept_in_order(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    for number in 1..=3 {
        let lease = granted(ledger, &format!("w{number}"), LONG).await;
        assert_eq!(ledger.fail(&lease, &failure()).await.unwrap(), Commit::Accepted);
        // An attempt fails once, however often it says so, and its lease is over.
        assert_eq!(ledger.fail(&lease, &failure()).await.unwrap(), Commit::Accepted);
        assert_eq!(ledger.renew(&lease, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    }
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.lease), (3, None));
    let history: Vec<(u32, &str)> = seen.failures.iter().map(|f| (f.attempt, f.worker.as_str())).collect();
    assert_eq!(history, [(1, "w1"), (2, "w2"), (3, "w3")]);
    assert!(seen.failures.iter().all(|attempt| attempt.failure == failure()));
}

async fn a_released_task_is_free_at_once(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    ledger.release(&first).await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.lease, seen.failures.len()), (1, None, 0));
    // A report that was under way does not take it back.
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    let second = granted(ledger, "w2", LONG).await;
    assert_eq!(second.attempt, 2);
    ledger.release(&first).await.unwrap();
    assert_eq!(ledger.claim(&chunk(), &worker("w3"), LONG).await.unwrap(), Claim::Held);
}

async fn a_lease_is_its_holders_alone(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    granted(ledger, "w1", LONG).await;
    // The same number from before the ledger was emptied, by somebody else.
    let other = lease(1, "w2");
    assert_eq!(ledger.renew(&other, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.commit(&other, b"x").await.unwrap(), Commit::Stale);
    assert_eq!(ledger.fail(&other, &failure()).await.unwrap(), Commit::Stale);
    ledger.release(&other).await.unwrap();
    assert_eq!(chunk_view(ledger).await.lease.unwrap().0, worker("w1"));
}

async fn a_cancelled_render_takes_nothing(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    ledger.cancel(&render("r1")).await.unwrap();
    assert!(view(ledger).await.cancelled);
    assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Cancelled);
    assert_eq!(ledger.claim(&task(Step::Stitch), &worker("w2"), LONG).await.unwrap(), Claim::Cancelled);
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.commit(&first, b"x").await.unwrap(), Commit::Stale);
    assert_eq!(ledger.fail(&first, &failure()).await.unwrap(), Commit::Stale);
    ledger.release(&first).await.unwrap();
    open(ledger).await;
    assert!(view(ledger).await.cancelled, "opening again does not undo it");
    // A render the ledger does not know can be cancelled too.
    let other = render("r2");
    ledger.cancel(&other).await.unwrap();
    assert!(ledger.view(&other).await.unwrap().unwrap().cancelled);
    ledger.forget(&other).await.unwrap();
    assert_eq!(ledger.view(&other).await.unwrap(), None);
}

async fn what_storage_shows_is_restored(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    ledger.restore(&chunk(), 5, b"stored").await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.committed.as_deref(), seen.lease), (5, Some(&b"stored"[..]), None));
    assert_eq!(ledger.claim(&chunk(), &worker("w1"), LONG).await.unwrap(), Claim::Committed);
    assert_eq!(ledger.commit(&lease(9, "w1"), b"x").await.unwrap(), Commit::Duplicate);
    // A committed task stays as it is.
    ledger.restore(&chunk(), 8, b"other").await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.committed.as_deref()), (5, Some(&b"stored"[..])));
}

async fn a_result_that_is_taken_back_is_made_again(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    ledger.reopen(&chunk()).await.unwrap();
    let first = granted(ledger, "w1", LONG).await;
    // A task without a result stays as it is.
    ledger.reopen(&chunk()).await.unwrap();
    assert_eq!(ledger.commit(&first, b"first").await.unwrap(), Commit::Accepted);
    ledger.reopen(&chunk()).await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.committed, seen.lease, seen.failures.len()), (2, None, None, 0));
    // Nobody who was at it before commits it or goes on.
    assert_eq!(ledger.commit(&first, b"first").await.unwrap(), Commit::Stale);
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    let second = granted(ledger, "w2", LONG).await;
    assert_eq!(second.attempt, 3);
    assert_eq!(ledger.commit(&second, b"second").await.unwrap(), Commit::Accepted);
    assert_eq!(chunk_view(ledger).await.committed.as_deref(), Some(&b"second"[..]));
}

async fn restoring_never_lowers_the_fence(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    for _ in 0..3 {
        granted(ledger, "w1", OVER).await;
    }
    ledger.restore(&chunk(), 1, b"stored").await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.committed.as_deref()), (3, Some(&b"stored"[..])));
}

async fn restoring_ends_a_lease(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    ledger.restore(&chunk(), 1, b"stored").await.unwrap();
    assert_eq!(ledger.renew(&first, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(chunk_view(ledger).await.lease, None);
}

async fn an_emptied_ledger_is_rebuilt_under_its_workers(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    granted(ledger, "w1", OVER).await;
    granted(ledger, "w2", OVER).await;
    let third = granted(ledger, "w3", LONG).await;
    let done = TaskId { step: Step::Chunk(1), ..chunk() };
    ledger.forget(&render("r1")).await.unwrap();
    assert_eq!(ledger.renew(&third, TaskProgress::default(), LONG).await.unwrap(), Renewal::Unknown);
    open(ledger).await;
    ledger.restore(&done, 2, b"stored").await.unwrap();
    // The worker that never stopped is taken as it is: its attempt is the newest there is.
    let progress = TaskProgress { done: 10, total: 20 };
    assert_eq!(ledger.renew(&third, progress, LONG).await.unwrap(), Renewal::Renewed);
    assert_eq!(ledger.renew(&lease(2, "w2"), progress, LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.claim(&chunk(), &worker("w4"), LONG).await.unwrap(), Claim::Held);
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.progress, seen.lease.unwrap().0), (3, progress, worker("w3")));
    assert_eq!(ledger.commit(&third, b"result").await.unwrap(), Commit::Accepted);
    let committed: Vec<Step> = view(ledger).await.tasks.keys().copied().collect();
    assert_eq!(committed, [Step::Chunk(1), Step::Chunk(7)]);
}

async fn an_old_attempt_raises_the_fence_over_a_new_claim(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    // Claimed after the ledger was emptied, while a worker of before still runs with attempt 4.
    let new = granted(ledger, "w2", LONG).await;
    assert_eq!(ledger.commit(&lease(4, "w1"), b"old").await.unwrap(), Commit::Accepted);
    assert_eq!(ledger.renew(&new, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.commit(&new, b"new").await.unwrap(), Commit::Duplicate);
    assert_eq!(chunk_view(ledger).await.attempt, 4);
}

async fn an_old_attempt_ends_no_living_lease_but_by_a_result(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let (new, old) = (granted(ledger, "w2", LONG).await, lease(4, "w1"));
    assert_eq!(ledger.renew(&old, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.fail(&old, &failure()).await.unwrap(), Commit::Stale);
    ledger.release(&old).await.unwrap();
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.failures.len(), seen.attempts.len()), (1, 0, 1));
    assert_eq!(ledger.claim(&chunk(), &worker("w3"), LONG).await.unwrap(), Claim::Held);
    assert_eq!(ledger.renew(&new, TaskProgress::default(), OVER).await.unwrap(), Renewal::Renewed);
    // The lease has run out: the attempt of before is the newest now.
    assert_eq!(ledger.fail(&old, &failure()).await.unwrap(), Commit::Accepted);
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.attempt, seen.failures.len()), (4, 1));
    assert_eq!(granted(ledger, "w3", LONG).await.attempt, 5);
}

async fn a_late_request_of_a_lease_of_before_meets_no_other(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let before = granted(ledger, "w1", LONG).await;
    // As if it were emptied: the same slot claims the task again, and it counts from 1.
    ledger.forget(&before.task.render).await.unwrap();
    open(ledger).await;
    let new = granted(ledger, "w1", LONG).await;
    assert_eq!((new.attempt, &new.worker), (before.attempt, &before.worker));
    ledger.release(&before).await.unwrap();
    assert_eq!(ledger.renew(&before, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    assert_eq!(ledger.fail(&before, &failure()).await.unwrap(), Commit::Stale);
    assert_eq!(ledger.claim(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Held);
    // The same beside a second attempt.
    assert!(ledger.speculate(&chunk(), 1).await.unwrap());
    assert!(matches!(ledger.claim_elsewhere(&chunk(), &worker("w2"), LONG).await.unwrap(), Claim::Granted(_)));
    ledger.release(&before).await.unwrap();
    assert_eq!(chunk_view(ledger).await.running.len(), 2);
    assert_eq!(ledger.renew(&new, TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
    assert_eq!(ledger.commit(&before, b"result").await.unwrap(), Commit::Accepted, "a result is as good as another");
}

async fn results_are_any_bytes(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let every: Vec<u8> = (0..=255).collect();
    for (number, result) in [Vec::new(), every, vec![b'\n'; 100_000]].into_iter().enumerate() {
        let task = task(Step::Chunk(number as u32));
        let Claim::Granted(lease) = ledger.claim(&task, &worker("w1"), LONG).await.unwrap() else { panic!() };
        assert_eq!(ledger.commit(&lease, &result).await.unwrap(), Commit::Accepted);
        assert_eq!(view(ledger).await.tasks[&task.step].committed.as_ref(), Some(&result));
    }
}

async fn tasks_and_renders_are_apart(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let other = render("r2");
    ledger.open(&other).await.unwrap();
    let steps = [Step::Plan, Step::Audio, Step::Chunk(0), Step::Chunk(u32::MAX), Step::Stitch];
    for step in steps {
        let claim = ledger.claim(&task(step), &worker("w1"), LONG).await.unwrap();
        assert!(matches!(claim, Claim::Granted(Lease { attempt: 1, .. })), "{claim:?}");
    }
    assert_eq!(view(ledger).await.tasks.keys().copied().collect::<BTreeSet<_>>(), BTreeSet::from(steps));
    assert_eq!(ledger.view(&other).await.unwrap().unwrap(), RenderView::default());
    ledger.cancel(&other).await.unwrap();
    assert!(!view(ledger).await.cancelled);
}

async fn a_long_render_is_seen_whole(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    for number in 0..1_500 {
        ledger.restore(&task(Step::Chunk(number)), number + 1, &number.to_le_bytes()).await.unwrap();
    }
    let seen = view(ledger).await;
    assert_eq!(seen.tasks.len(), 1_500);
    for (step, task) in seen.tasks {
        let Step::Chunk(number) = step else { panic!("{step}") };
        assert_eq!((task.attempt, task.committed), (number + 1, Some(number.to_le_bytes().to_vec())));
    }
}

async fn nodes_are_alive_as_long_as_they_said(ledger: &Arc<dyn Ledger>) {
    let node = |name: &str, slots| {
        let task = NodeTask { render: render("r1"), step: Step::Chunk(3), attempt: 2, done: 1, total: 9, since_ms: 5 };
        NodeView {
            tasks: vec![task],
            state: NodeState::Quarantined,
            reason: Some("why \"not\"".to_owned()),
            ..NodeView::new(worker(name), "worker", "cpu", slots, "Chrome 156, \"ünstable\"")
        }
    };
    assert_eq!(ledger.nodes().await.unwrap(), []);
    ledger.heartbeat(&node("w2", 4), LONG).await.unwrap();
    ledger.heartbeat(&node("w1", 1), LONG).await.unwrap();
    ledger.heartbeat(&node("w3", 1), SHORT).await.unwrap();
    assert_eq!(ledger.nodes().await.unwrap().len(), 3);
    tokio::time::sleep(SHORT * 4 / 3).await;
    assert_eq!(ledger.nodes().await.unwrap(), [node("w1", 1), node("w2", 4)]);
    ledger.heartbeat(&node("w2", 2), LONG).await.unwrap();
    ledger.heartbeat(&node("w1", 1), OVER).await.unwrap();
    assert_eq!(ledger.nodes().await.unwrap(), [node("w2", 2)]);
}

async fn a_wish_waits_for_its_node(ledger: &Arc<dyn Ledger>) {
    let node = |name: &str| NodeView::new(worker(name), "worker", "cpu", 1, "");
    let wish = |reason: &str| NodeCommand::new(Order::Quarantine { reason: reason.to_owned() });
    assert!(!ledger.send_command(&worker("w1"), &wish("nobody hears it")).await.unwrap());
    assert_eq!(ledger.heartbeat(&node("w1"), LONG).await.unwrap(), None);
    assert_eq!(ledger.heartbeat(&node("w2"), SHORT).await.unwrap(), None);
    let (first, second) = (wish("it is \"ill\""), NodeCommand::new(Order::Resume));
    assert!(
        ledger.send_command(&worker("w1"), &first).await.unwrap()
            && ledger.send_command(&worker("w2"), &first).await.unwrap()
    );
    // An answer may be lost: it is given again.
    for _ in 0..2 {
        assert_eq!(ledger.heartbeat(&node("w1"), LONG).await.unwrap().as_ref(), Some(&first));
    }
    assert!(ledger.send_command(&worker("w1"), &second).await.unwrap());
    assert_eq!(ledger.heartbeat(&node("w1"), LONG).await.unwrap(), Some(second));
    tokio::time::sleep(SHORT * 4 / 3).await;
    assert_eq!(ledger.heartbeat(&node("w2"), LONG).await.unwrap(), None, "a wish goes with its node");
}

async fn attempts_are_written_down(ledger: &Arc<dyn Ledger>) {
    open(ledger).await;
    let first = granted(ledger, "w1", LONG).await;
    ledger.fail(&first, &failure()).await.unwrap();
    let second = granted(ledger, "w2", LONG).await;
    ledger.release(&second).await.unwrap();
    let lost = granted(ledger, "w3", OVER).await;
    let last = granted(ledger, "w1", LONG).await;
    assert_eq!(ledger.commit(&lost, b"late").await.unwrap(), Commit::Stale);
    ledger.commit(&last, b"x").await.unwrap();
    let attempts = chunk_view(ledger).await.attempts;
    let ends: Vec<_> = attempts.iter().map(|attempt| (attempt.attempt, attempt.end.map(|(how, _)| how))).collect();
    let (failed, released, committed) = (AttemptEnd::Failed, AttemptEnd::Released, AttemptEnd::Committed);
    assert_eq!(ends, [(1, Some(failed)), (2, Some(released)), (3, None), (4, Some(committed))]);
    assert_eq!(attempts[2].worker, worker("w3"));
    let times: Vec<u64> = attempts
        .iter()
        .flat_map(|attempt| [Some(attempt.claimed_at_ms), attempt.end.map(|(_, at)| at)])
        .flatten()
        .collect();
    assert!(times.is_sorted() && times[0] > 1_600_000_000_000, "{times:?}");
}

async fn one_candidate_leads_and_each_change_is_a_new_term(ledger: &Arc<dyn Ledger>) {
    let first = ledger.lead("a", 0, SHORT).await.unwrap();
    assert_eq!((first.id.as_str(), first.term), ("a", 1));
    assert_eq!(ledger.lead("b", 0, LONG).await.unwrap(), first, "the lease is alive");
    assert_eq!(ledger.lead("a", 1, SHORT).await.unwrap(), first, "a renewal is no change");
    tokio::time::sleep(SHORT * 2).await;
    let second = ledger.lead("b", 1, LONG).await.unwrap();
    assert_eq!((second.id.as_str(), second.term), ("b", 2));
    assert_eq!(ledger.lead("a", 1, LONG).await.unwrap(), second);
    ledger.resign("a").await.unwrap();
    assert_eq!(ledger.lead("a", 2, LONG).await.unwrap(), second, "it was not the leader's to end");
    ledger.resign("b").await.unwrap();
    let third = ledger.lead("c", 40, LONG).await.unwrap();
    assert_eq!((third.id.as_str(), third.term), ("c", 41), "above every term that is known to anybody");
    let fourth = ledger.lead("c", 50, LONG).await.unwrap();
    assert_eq!((fourth.id.as_str(), fourth.term), ("c", 51), "a leader that has seen a newer term");
    assert_eq!(ledger.lead("d", 90, LONG).await.unwrap(), fourth, "the lease is alive");
}

async fn a_newer_term_fences_an_older_one(ledger: &Arc<dyn Ledger>) {
    let in_term = async |term| ledger.view_since(&render("r1"), Some(term), None).await;
    assert_eq!(in_term(5).await.unwrap(), ViewSince::Unknown);
    open(ledger).await;
    for term in [3, 4, 4] {
        let view = in_term(term).await.unwrap();
        assert!(matches!(view, ViewSince::Changed { .. }), "an unknown render remembers no term: {view:?}");
    }
    let old = in_term(3).await;
    assert!(matches!(old, Err(LedgerError::Superseded { term: 3, newest: 4 })), "{old:?}");
    assert_eq!(view(ledger).await, RenderView::default(), "everybody may look");
}

async fn each_write_is_a_new_revision_and_a_read_is_none(ledger: &Arc<dyn Ledger>) {
    async fn revision(ledger: &Arc<dyn Ledger>, known: Option<u64>) -> Option<u64> {
        match ledger.view_since(&render("r1"), None, known).await.unwrap() {
            ViewSince::Changed { revision, view: changed, .. } => {
                assert_eq!(changed.cancelled, view(ledger).await.cancelled);
                Some(revision.expect("this build wrote it"))
            }
            ViewSince::Unchanged => None,
            ViewSince::Unknown => panic!("it is open"),
        }
    }
    open(ledger).await;
    let mut known = revision(ledger, None).await;
    for write in 0..8 {
        assert_eq!(revision(ledger, known).await, None, "nothing was written before write {write}");
        match write {
            0 => ledger.set_paused(&render("r1"), true).await.map(drop).unwrap(),
            1 => ledger.set_paused(&render("r1"), false).await.map(drop).unwrap(),
            2 => drop(granted(ledger, "w1", LONG).await),
            3 => drop(ledger.renew(&lease(1, "w1"), TaskProgress { done: 1, total: 2 }, LONG).await.unwrap()),
            4 => drop(ledger.fail(&lease(1, "w1"), &failure()).await.unwrap()),
            5 => ledger.restore(&task(Step::Plan), 1, b"x").await.unwrap(),
            6 => ledger.cancel(&render("r1")).await.unwrap(),
            _ => {
                ledger.forget(&render("r1")).await.unwrap();
                open(ledger).await;
            }
        }
        let next = revision(ledger, known).await;
        assert!(next > known, "write {write}: {known:?} {next:?}");
        known = next;
    }
}

async fn a_read_by_differences_has_what_was_written_since(ledger: &Arc<dyn Ledger>) {
    async fn read(ledger: &Arc<dyn Ledger>, known: Option<u64>) -> (Option<u64>, bool, RenderView) {
        match ledger.view_since(&render("r1"), None, known).await.unwrap() {
            ViewSince::Changed { revision, is_whole, view } => (revision, is_whole, view),
            other => panic!("{other:?}"),
        }
    }
    fn steps(view: &RenderView) -> Vec<Step> {
        view.tasks.keys().copied().collect()
    }
    open(ledger).await;
    for number in 0..3 {
        ledger.restore(&task(Step::Chunk(number)), 1, b"x").await.unwrap();
    }
    let (first, is_whole, seen) = read(ledger, None).await;
    assert!(is_whole && seen.tasks.len() == 3);
    let lease = granted(ledger, "w1", LONG).await;
    let (second, is_whole, seen) = read(ledger, first).await;
    assert_eq!((is_whole, steps(&seen)), (false, vec![Step::Chunk(7)]));
    assert_eq!(seen.tasks[&Step::Chunk(7)], TaskView { attempt: 1, ..seen.tasks[&Step::Chunk(7)].clone() });
    assert!(seen.tasks[&Step::Chunk(7)].running[0].left > SHORT);
    ledger.set_paused(&render("r1"), true).await.unwrap();
    let (third, _, seen) = read(ledger, second).await;
    assert_eq!((seen.paused, steps(&seen)), (true, vec![]), "no task was written to");
    ledger.renew(&lease, TaskProgress { done: 3, total: 9 }, LONG).await.unwrap();
    ledger.reopen(&task(Step::Chunk(1))).await.unwrap();
    ledger.renew(&lease, TaskProgress { done: 4, total: 9 }, LONG).await.unwrap();
    let (_, _, seen) = read(ledger, third).await;
    assert_eq!(steps(&seen), [Step::Chunk(1), Step::Chunk(7)]);
    assert_eq!((seen.tasks[&Step::Chunk(7)].progress.done, &seen.tasks[&Step::Chunk(1)].committed), (4, &None));
    let (_, _, seen) = read(ledger, second).await;
    assert_eq!(steps(&seen), [Step::Chunk(1), Step::Chunk(7)], "an older reader has the same");

    // Where very many were written to, the whole is read.
    for number in 0..1_200 {
        ledger.restore(&task(Step::Chunk(100 + number)), 1, b"x").await.unwrap();
    }
    assert_eq!(read(ledger, third).await.2.tasks.keys().filter(|step| **step >= Step::Chunk(100)).count(), 1_200);

    ledger.forget(&render("r1")).await.unwrap();
    open(ledger).await;
    let (_, is_whole, seen) = read(ledger, third).await;
    assert!(is_whole && seen == RenderView::default(), "what is known is of another entry");
}

async fn a_pause_is_seen_by_everybody(ledger: &Arc<dyn Ledger>) {
    assert!(!ledger.set_paused(&render("r1"), true).await.unwrap(), "the render is unknown");
    assert_eq!(ledger.view(&render("r1")).await.unwrap(), None);
    open(ledger).await;
    assert!(ledger.set_paused(&render("r1"), true).await.unwrap());
    assert!(view(ledger).await.paused);
    assert!(ledger.set_paused(&render("r1"), false).await.unwrap());
    assert!(!view(ledger).await.paused);
}

async fn places_of_a_quota_are_taken_whole_and_within_the_limit(ledger: &Arc<dyn Ledger>) {
    let quota = Quota { group: "g".to_owned(), name: "g:k".to_owned(), limit: 3, window: None };
    let r = |number: u64| RenderId::from_parts(number, 0);
    assert_eq!(ledger.reserve(&quota, &[r(1)]).await.unwrap(), Reserved::Uncounted);
    ledger.fill("g", &[("g:k".to_owned(), vec![r(1)]), ("g:other".to_owned(), vec![r(7), r(8)])]).await.unwrap();
    assert_eq!(ledger.reserve(&quota, &[r(2), r(1)]).await.unwrap(), Reserved::Granted);
    let full = Reserved::Full { taken: 2, oldest: Some(r(1)) };
    assert_eq!(ledger.reserve(&quota, &[r(3), r(4)]).await.unwrap(), full, "none of them is taken");
    assert_eq!(ledger.reserve(&quota, &[r(3)]).await.unwrap(), Reserved::Granted);
    assert_eq!(ledger.reserve(&quota, &[r(1), r(2), r(3)]).await.unwrap(), Reserved::Granted, "they have places");
    ledger.free("g:k", &[r(1), r(9)]).await.unwrap();
    assert_eq!(ledger.reserve(&quota, &[r(4)]).await.unwrap(), Reserved::Granted);
    let full = Reserved::Full { taken: 3, oldest: Some(r(2)) };
    assert_eq!(ledger.reserve(&quota, &[r(5)]).await.unwrap(), full);
    let recent = Quota { window: Some(Duration::from_secs(60)), ..quota };
    assert_eq!(ledger.reserve(&recent, &[r(5)]).await.unwrap(), Reserved::Granted, "the others are of 1970");
}

async fn of_a_hundred_renders_the_limit_is_admitted(ledger: &Arc<dyn Ledger>) {
    ledger.fill("g", &[]).await.unwrap();
    let quota = Quota { group: "g".to_owned(), name: "g:k".to_owned(), limit: 10, window: None };
    let asked = (0..100).map(|number| {
        let (ledger, quota) = (ledger.clone(), quota.clone());
        tokio::spawn(async move { ledger.reserve(&quota, &[RenderId::from_parts(number, 0)]).await.unwrap() })
    });
    let mut granted = 0;
    for reserved in asked.collect::<Vec<_>>() {
        granted += usize::from(reserved.await.unwrap() == Reserved::Granted);
    }
    assert_eq!(granted, 10);
}

/// A task with an attempt on node `a` and a second one beside it on node `b`.
async fn two_attempts(ledger: &Arc<dyn Ledger>) -> (Lease, Lease) {
    open(ledger).await;
    let first = granted(ledger, "a-s0", LONG).await;
    assert!(ledger.speculate(&chunk(), 1).await.unwrap());
    let claim = ledger.claim_elsewhere(&chunk(), &worker("b-s0"), LONG).await.unwrap();
    let Claim::Granted(second) = claim else { panic!("{claim:?}") };
    assert_eq!(second.attempt, 2);
    (first, second)
}

async fn a_second_attempt_is_claimed_on_another_node_and_once(ledger: &Arc<dyn Ledger>) {
    assert!(!ledger.speculate(&chunk(), 1).await.unwrap(), "the render is unknown");
    open(ledger).await;
    assert!(!ledger.speculate(&chunk(), 0).await.unwrap(), "nobody is at it");
    let elsewhere = async |slot: &str| ledger.claim_elsewhere(&chunk(), &worker(slot), LONG).await.unwrap();
    granted(ledger, "a-s0", LONG).await;
    assert_eq!(elsewhere("b-s0").await, Claim::Held, "it is not allowed");
    assert!(!ledger.speculate(&chunk(), 2).await.unwrap(), "another attempt is at it");
    assert!(ledger.speculate(&chunk(), 1).await.unwrap());
    assert_eq!(elsewhere("a-s1").await, Claim::Elsewhere { workers: vec!["a-s0".to_owned()] });
    assert_eq!(ledger.claim(&chunk(), &worker("b-s0"), LONG).await.unwrap(), Claim::Held);
    assert!(matches!(elsewhere("b-s0").await, Claim::Granted(Lease { attempt: 2, .. })));
    let seen = chunk_view(ledger).await;
    let running: Vec<_> = seen.running.iter().map(|running| (running.attempt, running.worker.as_str())).collect();
    assert_eq!((running, seen.attempt), (vec![(2, "b-s0"), (1, "a-s0")], 2));
    assert_eq!(seen.lease.unwrap().0, worker("b-s0"));
    assert_eq!(elsewhere("c-s0").await, Claim::Held);
    for attempt in [1, 2] {
        assert!(!ledger.speculate(&chunk(), attempt).await.unwrap(), "it has two leases");
    }
}

async fn of_two_attempts_the_first_commit_counts_whichever_it_is(ledger: &Arc<dyn Ledger>) {
    for winner in [0, 1] {
        let leases = <[Lease; 2]>::from(two_attempts(ledger).await);
        let progress = TaskProgress { done: 5, total: 9 };
        assert_eq!(ledger.renew(&leases[0], progress, LONG).await.unwrap(), Renewal::Renewed);
        assert_eq!(ledger.renew(&leases[1], TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
        assert_eq!(chunk_view(ledger).await.progress, progress, "the task is as far as the attempt that is further");
        let loser = &leases[1 - winner];
        assert_eq!(ledger.commit(&leases[winner], &[winner as u8]).await.unwrap(), Commit::Accepted);
        assert_eq!(ledger.renew(loser, progress, LONG).await.unwrap(), Renewal::Lost);
        assert_eq!(ledger.commit(loser, b"late").await.unwrap(), Commit::Duplicate);
        assert_eq!(ledger.fail(loser, &failure()).await.unwrap(), Commit::Duplicate);
        ledger.release(loser).await.unwrap();
        let seen = chunk_view(ledger).await;
        assert_eq!((seen.committed, seen.failures.len(), seen.running.len()), (Some(vec![winner as u8]), 0, 0));
        let (won, lost) = (AttemptEnd::Committed, AttemptEnd::Released);
        let ends: Vec<_> = seen.attempts.iter().map(|attempt| attempt.end.map(|(how, _)| how)).collect();
        assert_eq!(ends, if winner == 0 { [Some(won), Some(lost)] } else { [Some(lost), Some(won)] });
        ledger.forget(&render("r1")).await.unwrap();
    }
}

async fn of_two_commits_at_once_one_is_accepted(ledger: &Arc<dyn Ledger>) {
    for _ in 0..20 {
        let (first, second) = two_attempts(ledger).await;
        let (one, other) = tokio::join!(ledger.commit(&first, b"1"), ledger.commit(&second, b"2"));
        let mut answers = [one.unwrap(), other.unwrap()];
        answers.sort_by_key(|answer| *answer == Commit::Duplicate);
        assert_eq!(answers, [Commit::Accepted, Commit::Duplicate]);
        ledger.forget(&render("r1")).await.unwrap();
    }
}

async fn while_one_of_two_attempts_goes_on_nobody_claims(ledger: &Arc<dyn Ledger>) {
    // The older one goes on.
    let (first, second) = two_attempts(ledger).await;
    assert_eq!(ledger.fail(&second, &failure()).await.unwrap(), Commit::Accepted);
    assert_eq!(ledger.fail(&second, &failure()).await.unwrap(), Commit::Accepted, "said twice");
    assert_eq!(ledger.renew(&second, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
    let seen = chunk_view(ledger).await;
    assert_eq!((seen.lease.unwrap().0, seen.attempt, seen.failures.len()), (worker("a-s0"), 2, 1));
    assert_eq!(ledger.claim(&chunk(), &worker("c-s0"), LONG).await.unwrap(), Claim::Held);
    // It fails later, although its number is lower.
    assert_eq!(ledger.fail(&first, &failure()).await.unwrap(), Commit::Accepted);
    let failed: Vec<u32> = chunk_view(ledger).await.failures.iter().map(|failed| failed.attempt).collect();
    assert_eq!(failed, [2, 1]);
    assert_eq!(granted(ledger, "c-s0", LONG).await.attempt, 3);
    for old in [&first, &second] {
        assert_eq!(ledger.commit(old, b"old").await.unwrap(), Commit::Stale);
    }
    ledger.forget(&render("r1")).await.unwrap();
    // The newest one goes on.
    let (first, second) = two_attempts(ledger).await;
    ledger.release(&first).await.unwrap();
    assert_eq!(ledger.claim(&chunk(), &worker("c-s0"), LONG).await.unwrap(), Claim::Held);
    assert!(ledger.speculate(&chunk(), 2).await.unwrap(), "it is alone now");
    assert_eq!(ledger.commit(&second, b"x").await.unwrap(), Commit::Accepted);
}

async fn of_two_attempts_an_emptied_ledger_keeps_the_first_that_reports(ledger: &Arc<dyn Ledger>) {
    for kept in [0, 1] {
        let leases = <[Lease; 2]>::from(two_attempts(ledger).await);
        ledger.forget(&render("r1")).await.unwrap();
        open(ledger).await;
        let (kept, other) = (&leases[kept], &leases[1 - kept]);
        assert_eq!(ledger.renew(kept, TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
        assert_eq!(ledger.renew(other, TaskProgress::default(), LONG).await.unwrap(), Renewal::Lost);
        assert_eq!(ledger.renew(kept, TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
        assert_eq!(ledger.commit(kept, b"kept").await.unwrap(), Commit::Accepted);
        assert_eq!(ledger.commit(other, b"other").await.unwrap(), Commit::Duplicate);
        ledger.forget(&render("r1")).await.unwrap();
    }
}

async fn it_answers(ledger: &Arc<dyn Ledger>) {
    ledger.check().await.unwrap();
}

macro_rules! over_every_ledger {
    ($($test:ident,)*) => {
        over_every_ledger!(@over memory, $($test,)*);
        over_every_ledger!(@over redis, $($test,)*);

        /// Holds ledgers against every promise, a new one against each.
        pub(crate) async fn keeps_every_promise(connect: impl AsyncFn() -> Arc<dyn Ledger>) {
            $($test(&connect().await).await;)*
        }
    };
    (@over $implementation:ident, $($test:ident,)*) => {
        mod $implementation {
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                if let Some(ledger) = super::$implementation().await {
                    super::$test(&ledger).await;
                }
            })*
        }
    };
}

over_every_ledger! {
    a_render_is_open_or_unknown,
    a_claim_is_a_lease,
    who_holds_a_task_is_told,
    of_a_hundred_claims_one_is_granted,
    a_lease_that_ran_out_is_anybodys,
    a_task_that_failed_on_a_node_is_claimed_elsewhere,
    a_lease_that_ran_out_is_renewed_until_somebody_claims,
    a_renewal_extends_the_lease,
    a_task_counts_once,
    an_older_attempt_is_stale,
    the_newest_attempt_commits_after_its_lease_ran_out,
    of_many_commits_one_is_accepted,
    failures_are_kept_in_order,
    a_released_task_is_free_at_once,
    a_lease_is_its_holders_alone,
    a_cancelled_render_takes_nothing,
    what_storage_shows_is_restored,
    a_result_that_is_taken_back_is_made_again,
    restoring_never_lowers_the_fence,
    restoring_ends_a_lease,
    an_emptied_ledger_is_rebuilt_under_its_workers,
    an_old_attempt_raises_the_fence_over_a_new_claim,
    an_old_attempt_ends_no_living_lease_but_by_a_result,
    a_late_request_of_a_lease_of_before_meets_no_other,
    results_are_any_bytes,
    tasks_and_renders_are_apart,
    a_long_render_is_seen_whole,
    nodes_are_alive_as_long_as_they_said,
    a_wish_waits_for_its_node,
    attempts_are_written_down,
    one_candidate_leads_and_each_change_is_a_new_term,
    a_newer_term_fences_an_older_one,
    each_write_is_a_new_revision_and_a_read_is_none,
    a_read_by_differences_has_what_was_written_since,
    a_pause_is_seen_by_everybody,
    places_of_a_quota_are_taken_whole_and_within_the_limit,
    of_a_hundred_renders_the_limit_is_admitted,
    a_second_attempt_is_claimed_on_another_node_and_once,
    of_two_attempts_the_first_commit_counts_whichever_it_is,
    of_two_commits_at_once_one_is_accepted,
    while_one_of_two_attempts_goes_on_nobody_claims,
    of_two_attempts_an_emptied_ledger_keeps_the_first_that_reports,
    it_answers,
}
