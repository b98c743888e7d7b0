//! The ledgers against each other, and against what must always hold, over random sequences of calls.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use hyperfarm_backplane::ledger::{
    Claim, Commit, Lease, Ledger, MemoryLedger, RenderView, Renewal, ViewSince, node_of_slot,
};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::WorkerId;
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Step, TaskId};
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use crate::ledger::{LONG, OVER, redis, render, task, worker};

/// A call with everything in it decided, so that two ledgers can be asked the same.
#[derive(Debug, Clone)]
enum Call {
    Open,
    Claim(Step, u8, bool),
    ClaimElsewhere(Step, u8, bool),
    Renew(Step, u32, u8, u64, bool, bool),
    Commit(Step, u32, u8, u8),
    Fail(Step, u32, u8, FailureCode, bool),
    Release(Step, u32, u8, bool),
    Speculate(Step, u32),
    Restore(Step, u32, u8),
    Reopen(Step),
    Cancel,
    Forget,
}

/// What a call answered, in one type.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Answer {
    Done,
    Claim(Claim),
    Speculated(bool),
    Renewal(Renewal),
    Commit(Commit),
}

fn steps() -> impl Strategy<Value = Step> {
    prop_oneof![Just(Step::Plan), Just(Step::Chunk(0)), Just(Step::Chunk(1))]
}

fn calls() -> impl Strategy<Value = Call> {
    let (attempt, name) = (1..5_u32, 0..3_u8);
    let codes = prop_oneof![Just(FailureCode::ChromeCrashed), Just(FailureCode::Drained)];
    let is_late = prop::bool::weighted(0.2);
    prop_oneof![
        2 => Just(Call::Open),
        8 => (steps(), name.clone(), any::<bool>()).prop_map(|(s, w, live)| Call::Claim(s, w, live)),
        4 => (steps(), name.clone(), any::<bool>()).prop_map(|(s, w, live)| Call::ClaimElsewhere(s, w, live)),
        6 => (steps(), attempt.clone(), name.clone(), any::<u64>(), any::<bool>(), is_late)
            .prop_map(|(s, a, w, done, live, late)| Call::Renew(s, a, w, done, live, late)),
        4 => (steps(), attempt.clone(), name.clone(), any::<u8>()).prop_map(|(s, a, w, r)| Call::Commit(s, a, w, r)),
        4 => (steps(), attempt.clone(), name.clone(), codes, is_late)
            .prop_map(|(s, a, w, code, late)| Call::Fail(s, a, w, code, late)),
        3 => (steps(), attempt.clone(), name, is_late).prop_map(|(s, a, w, late)| Call::Release(s, a, w, late)),
        6 => (steps(), attempt.clone()).prop_map(|(s, a)| Call::Speculate(s, a)),
        1 => (steps(), attempt, any::<u8>()).prop_map(|(s, a, r)| Call::Restore(s, a, r)),
        2 => steps().prop_map(Call::Reopen),
        1 => Just(Call::Cancel),
        1 => Just(Call::Forget),
    ]
}

fn name(number: u8) -> WorkerId {
    worker(&format!("w{}-s{number}", number / 2))
}

fn lease(step: Step, attempt: u32, by: u8) -> Lease {
    Lease { task: task(step), attempt, worker: name(by), grant: None }
}

/// The same; `is_late` of a claim that neither ledger knows.
fn lease_of(step: Step, attempt: u32, by: u8, is_late: bool) -> Lease {
    Lease { grant: is_late.then_some(7), ..lease(step, attempt, by) }
}

/// Each ledger draws numbers of its own.
fn without_number(claim: Claim) -> Claim {
    match claim {
        Claim::Granted(lease) => Claim::Granted(Lease { grant: None, ..lease }),
        other => other,
    }
}

fn ttl(is_live: bool) -> Duration {
    if is_live { LONG } else { OVER }
}

async fn ask(ledger: &Arc<dyn Ledger>, call: &Call) -> Answer {
    let render = render("r1");
    match call.clone() {
        Call::Open => ledger.open(&render).await.map(|()| Answer::Done),
        Call::Claim(step, by, live) => {
            let claim = ledger.claim(&task(step), &name(by), ttl(live)).await;
            claim.map(|claim| Answer::Claim(without_number(claim)))
        }
        Call::ClaimElsewhere(step, by, live) => {
            let claim = ledger.claim_elsewhere(&task(step), &name(by), ttl(live)).await;
            claim.map(|claim| Answer::Claim(without_number(claim)))
        }
        Call::Renew(step, attempt, by, done, live, late) => {
            let progress = TaskProgress { done, total: done / 2 };
            ledger.renew(&lease_of(step, attempt, by, late), progress, ttl(live)).await.map(Answer::Renewal)
        }
        Call::Commit(step, attempt, by, result) => {
            ledger.commit(&lease(step, attempt, by), &[result]).await.map(Answer::Commit)
        }
        Call::Fail(step, attempt, by, code, late) => {
            ledger.fail(&lease_of(step, attempt, by, late), &Failure::new(code, "x")).await.map(Answer::Commit)
        }
        Call::Release(step, attempt, by, late) => {
            ledger.release(&lease_of(step, attempt, by, late)).await.map(|()| Answer::Done)
        }
        Call::Speculate(step, attempt) => ledger.speculate(&task(step), attempt).await.map(Answer::Speculated),
        Call::Restore(step, attempt, result) => {
            ledger.restore(&task(step), attempt, &[result]).await.map(|()| Answer::Done)
        }
        Call::Reopen(step) => ledger.reopen(&task(step)).await.map(|()| Answer::Done),
        Call::Cancel => ledger.cancel(&render).await.map(|()| Answer::Done),
        Call::Forget => ledger.forget(&render).await.map(|()| Answer::Done),
    }
    .unwrap()
}

/// The render without the clock in it.
async fn state(ledger: &Arc<dyn Ledger>) -> Option<RenderView> {
    ledger.view(&render("r1")).await.unwrap().map(without_clock)
}

fn without_clock(mut view: RenderView) -> RenderView {
    for task in view.tasks.values_mut() {
        task.lease = task.lease.take().map(|(holder, _)| (holder, Duration::ZERO));
        for running in &mut task.running {
            (running.age, running.left) = (Duration::ZERO, Duration::ZERO);
        }
        for attempt in &mut task.attempts {
            attempt.claimed_at_ms = 0;
            attempt.end = attempt.end.map(|(how, _)| (how, 0));
        }
    }
    view
}

/// A reader of differences.
#[derive(Default)]
struct Reader {
    revision: Option<u64>,
    /// What it knows of the render.
    known: Option<RenderView>,
}

impl Reader {
    /// Reads what was written since its last read.
    async fn read(&mut self, ledger: &Arc<dyn Ledger>) {
        match ledger.view_since(&render("r1"), None, self.revision).await.unwrap() {
            ViewSince::Unknown => *self = Self::default(),
            ViewSince::Unchanged => {}
            ViewSince::Changed { revision, is_whole, view } => {
                let mut known = self.known.take().filter(|_| !is_whole).unwrap_or_default();
                (known.cancelled, known.paused) = (view.cancelled, view.paused);
                known.tasks.extend(view.tasks);
                (self.revision, self.known) = (revision, Some(known));
            }
        }
    }
}

/// Whether this call may end the living lease of `attempt` by `holder`.
fn ends(call: &Call, answer: &Answer, of: Step, attempt: u32, holder: &WorkerId) -> bool {
    match call {
        Call::Forget => true,
        Call::Restore(step, ..) => *step == of,
        Call::Commit(step, ..) => *step == of && *answer == Answer::Commit(Commit::Accepted),
        Call::Renew(step, number, by, ..) | Call::Fail(step, number, by, ..) | Call::Release(step, number, by, _) => {
            (*step, *number, &name(*by)) == (of, attempt, holder)
        }
        _ => false,
    }
}

fn runner(cases: u32) -> TestRunner {
    TestRunner::new(Config { cases, failure_persistence: None, ..Config::default() })
}

#[test]
fn redis_answers_as_memory_does() {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let Some(redis) = runtime.block_on(redis()) else { return };
    runner(200)
        .run(&prop::collection::vec(calls(), 1..40), |calls| {
            runtime.block_on(async {
                let memory: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
                redis.forget(&render("r1")).await.unwrap();
                let mut readers = [(&memory, Reader::default()), (&redis, Reader::default())];
                for (number, call) in calls.iter().enumerate() {
                    let (expected, found) = (ask(&memory, call).await, ask(&redis, call).await);
                    prop_assert_eq!(expected, found, "call {}: {:?}", number, call);
                    let state = state(&memory).await;
                    prop_assert_eq!(&state, &self::state(&redis).await, "after call {}: {:?}", number, call);
                    // Leases are either over at once or last.
                    for (ledger, reader) in readers.iter_mut().filter(|_| number % 3 != 1) {
                        reader.read(ledger).await;
                        prop_assert_eq!(&reader.known.clone().map(without_clock), &state, "differences add up");
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}

#[test]
fn the_fence_never_sinks_a_task_is_accepted_once_and_a_lease_lasts() {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runner(2_000)
        .run(&prop::collection::vec(calls(), 1..60), |calls| {
            runtime.block_on(async {
                let ledger: Arc<dyn Ledger> = Arc::new(MemoryLedger::new());
                let mut fences: BTreeMap<TaskId, u32> = BTreeMap::new();
                let mut accepted: BTreeMap<Step, u32> = BTreeMap::new();
                for call in &calls {
                    let before = state(&ledger).await.unwrap_or_default();
                    let answer = ask(&ledger, call).await;
                    let after = state(&ledger).await.unwrap_or_default();
                    for (step, running) in
                        before.tasks.iter().flat_map(|(step, task)| task.running.iter().map(move |r| (*step, r)))
                    {
                        let goes_on = after.tasks.get(&step).is_some_and(|task| task.running.contains(running));
                        let may_end = ends(call, &answer, step, running.attempt, &running.worker);
                        prop_assert!(goes_on || may_end, "{call:?} ended the lease of {step} {running:?}");
                    }
                    if matches!(call, Call::Forget) {
                        fences.clear();
                        accepted.clear();
                    }
                    if let Call::Reopen(step) = call {
                        accepted.remove(step);
                    }
                    if let (Call::Commit(step, ..), Answer::Commit(Commit::Accepted)) = (call, &answer) {
                        *accepted.entry(*step).or_default() += 1;
                        prop_assert_eq!(accepted[step], 1);
                    }
                    if let Answer::Claim(Claim::Granted(lease)) = &answer {
                        let fence = fences.get(&lease.task).copied().unwrap_or_default();
                        prop_assert!(lease.attempt > fence, "attempt {} after {fence}", lease.attempt);
                    }
                    for (step, seen) in state(&ledger).await.unwrap_or_default().tasks {
                        let fence = fences.entry(task(step)).or_default();
                        prop_assert!(seen.attempt >= *fence, "the fence sank from {fence} to {}", seen.attempt);
                        *fence = seen.attempt;
                        prop_assert!(seen.committed.is_none() || seen.lease.is_none());
                        prop_assert!(seen.running.len() <= 2 && seen.lease.is_some() != seen.running.is_empty());
                        if let [newest, older] = &seen.running[..] {
                            let node = |slot: &WorkerId| node_of_slot(slot.as_str()).to_owned();
                            prop_assert!(older.attempt < newest.attempt && newest.attempt == seen.attempt);
                            prop_assert!(node(&older.worker) != node(&newest.worker), "two attempts on one node");
                        }
                    }
                }
                Ok(())
            })
        })
        .unwrap();
}
