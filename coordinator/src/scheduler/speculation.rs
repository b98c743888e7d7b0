//! Which running chunks another node begins as well: a speculative attempt.
//!
//! # The problem
//!
//! A render is done when its last chunk is. A node that is slow (a busy neighbour, a failing disk, a hot processor) and
//! still renews its leases holds up the render, while other nodes are idle.
//!
//! # The rules
//!
//! - **A straggler** is a chunk with one attempt that has run for longer than [`STRAGGLER_FACTOR_TENTHS`] times the median time of
//!   the committed chunks, and longer than [`SchedulePolicy::speculate_after`], once three quarters of the render's
//!   chunks are committed, or all but one.
//! - **Only an idle slot is used**: no task of the pool waits, the pool has fewer tasks in flight than slots, and a node
//!   of the plan's capture class says that it has a free slot. The straggler's node and nodes that have failed the chunk
//!   do not count.
//! - **A chunk that fails by itself is left alone**: neither one that has lost a worker nor one whose failures count as
//!   attempts is begun twice.
//!
//! The ledger has at most two leases of a task, and the first commit counts
//! ([`Ledger::speculate`](hyperfarm_backplane::ledger::Ledger::speculate)).

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use hyperfarm_backplane::ledger::{AttemptEnd, RenderView, TaskView, node_of_slot};
use hyperfarm_proto::failure::{MAX_ATTEMPTS, RetryRule};
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::task::Step;

use super::outline::PlanOutline;
use super::policy::SchedulePolicy;
use super::share::Demand;
use super::window::Fleet;

/// How many times the median time of the committed chunks a straggler has run for, in tenths.
const STRAGGLER_FACTOR_TENTHS: u32 = 15;

/// A running chunk that another node may begin as well.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Straggler {
    /// The chunk.
    pub step: Step,
    /// The attempt that runs.
    pub attempt: u32,
    /// Id of the capture class of the plan.
    pub class_id: String,
    /// Nodes that may not begin it: its own, and those that have failed it.
    pub except: BTreeSet<String>,
}

/// Chunks of one render that run for long.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stragglers {
    /// Those that are stragglers now, the one that has run longest first.
    pub now: Vec<Straggler>,
    /// Time until the next running chunk is one.
    pub next_in: Option<Duration>,
}

/// The stragglers of a render.
pub fn stragglers(plan: &PlanOutline, view: &RenderView, policy: &SchedulePolicy) -> Stragglers {
    let mut found = Stragglers::default();
    let Some(limit) = longest_time(plan, view, policy) else { return found };
    let mut running = Vec::new();
    for (step, task) in &view.tasks {
        let [only] = &task.running[..] else { continue };
        if !matches!(step, Step::Chunk(_)) || task.committed.is_some() || !may_speculate(task) {
            continue;
        }
        if only.age <= limit {
            let left = limit - only.age;
            found.next_in = Some(found.next_in.map_or(left, |next| next.min(left)));
            continue;
        }
        let failed = task.failures.iter().map(|failed| failed.worker.as_str());
        let except = failed.chain([only.worker.as_str()]).map(|slot| node_of_slot(slot).to_owned()).collect();
        let class_id = plan.class_id.clone();
        running.push((only.age, Straggler { step: *step, attempt: only.attempt, class_id, except }));
    }
    running.sort_by_key(|(age, _)| std::cmp::Reverse(*age));
    found.now = running.into_iter().map(|(_, straggler)| straggler).collect();
    found
}

fn may_speculate(task: &TaskView) -> bool {
    task.attempts.len() < MAX_ATTEMPTS
        && task.failures.iter().all(|failed| failed.failure.code.retry() == RetryRule::Freely)
}

/// The time after which a chunk is a straggler; `None` before enough chunks are committed.
fn longest_time(plan: &PlanOutline, view: &RenderView, policy: &SchedulePolicy) -> Option<Duration> {
    let floor = policy.speculate_after?;
    let chunks = view.tasks.iter().filter(|(step, _)| matches!(step, Step::Chunk(_))).map(|(_, task)| task);
    let committed = chunks.filter(|task| task.committed.is_some());
    let left = plan.chunk_frames.len().saturating_sub(committed.clone().count());
    if left == 0 || left > 1 && left * 4 > plan.chunk_frames.len() {
        return None;
    }
    // A commit that was restored from storage has no attempt.
    let mut times: Vec<u64> = committed.filter_map(committed_ms).collect();
    times.sort_unstable();
    let median = Duration::from_millis(*times.get(times.len() / 2)?);
    Some(floor.max(median * STRAGGLER_FACTOR_TENTHS / 10))
}

/// Milliseconds from the claim to the commit of the attempt that counts.
fn committed_ms(task: &TaskView) -> Option<u64> {
    task.attempts.iter().find_map(|attempt| match attempt.end {
        Some((AttemptEnd::Committed, at_ms)) => Some(at_ms.saturating_sub(attempt.claimed_at_ms)),
        _ => None,
    })
}

/// The stragglers that are begun a second time now.
pub fn speculate<'a>(demands: impl Iterator<Item = Demand<'a>>, fleet: &Fleet) -> Vec<(&'a RenderId, &'a Straggler)> {
    let mut demands: Vec<Demand<'a>> = demands.collect();
    if demands.iter().all(|demand| demand.next.stragglers.now.is_empty()) {
        return Vec::new();
    }
    demands.sort_by_key(Demand::rank);
    // Tasks in flight by pool; `None` where tasks wait.
    let mut in_flight: BTreeMap<&Pool, Option<u32>> = BTreeMap::new();
    for Demand { pool, next, .. } in &demands {
        let tasks = next.plans_in_flight + next.chunks_in_flight;
        let is_waiting = next.due.iter().any(|step| *step != Step::Stitch);
        let known = in_flight.entry(pool).or_insert(Some(0));
        *known = known.filter(|_| !is_waiting).map(|known| known + tasks);
    }
    let mut idle: BTreeMap<&Pool, Vec<(&str, &str, u32)>> = BTreeMap::new();
    let mut begun = Vec::new();
    for Demand { render, pool, next, .. } in &demands {
        for straggler in &next.stragglers.now {
            let Some(Some(tasks)) = in_flight.get_mut(pool) else { break };
            if *tasks >= fleet.slots(pool) {
                break;
            }
            let idle = idle.entry(pool).or_insert_with(|| fleet.idle(pool).collect());
            let suits = |(node, class, free): &&mut (&str, &str, u32)| {
                *free > 0 && (class.is_empty() || *class == straggler.class_id) && !straggler.except.contains(*node)
            };
            let Some((_, _, free)) = idle.iter_mut().find(suits) else { continue };
            *free -= 1;
            *tasks += 1;
            begun.push((*render, straggler));
        }
    }
    begun
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::{AttemptView, NodeTask, NodeView, RunningAttempt};
    use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode};
    use hyperfarm_proto::id::Space;

    use super::*;
    use crate::progress::Stage;
    use crate::scheduler::{NextStep, RenderAction};
    use crate::testing;

    const SECOND: Duration = Duration::from_secs(1);

    fn attempt(number: u32, end: Option<(AttemptEnd, u64)>) -> AttemptView {
        AttemptView { attempt: number, worker: "w-s0".parse().unwrap(), claimed_at_ms: 1_000, end }
    }

    /// A chunk that took `seconds`.
    fn done(seconds: u64) -> TaskView {
        let attempts = vec![attempt(1, Some((AttemptEnd::Committed, 1_000 + seconds * 1_000)))];
        TaskView { attempt: 1, committed: Some(Vec::new()), attempts, ..TaskView::default() }
    }

    /// A chunk that has been running for `age` on the node `slow`.
    fn runs_for(age: Duration) -> TaskView {
        let worker: hyperfarm_proto::id::WorkerId = "slow-s0".parse().unwrap();
        let running = vec![RunningAttempt { attempt: 1, worker: worker.clone(), age }];
        let lease = Some((worker, SECOND));
        TaskView { attempt: 1, lease, running, attempts: vec![attempt(1, None)], ..TaskView::default() }
    }

    fn found(chunks: &[TaskView], policy: &SchedulePolicy) -> Stragglers {
        let plan = testing::plan(&vec![5; chunks.len()], false);
        let tasks = chunks.iter().enumerate().map(|(chunk, task)| (Step::Chunk(chunk as u32), task.clone()));
        stragglers(&PlanOutline::from(&plan), &RenderView { tasks: tasks.collect(), ..RenderView::default() }, policy)
    }

    fn stragglers_of(chunks: &[TaskView]) -> Vec<Step> {
        found(chunks, &SchedulePolicy::default()).now.iter().map(|straggler| straggler.step).collect()
    }

    #[test]
    fn a_chunk_is_a_straggler_after_one_and_a_half_medians_of_three_quarters_of_the_chunks() {
        let quick = [done(10), done(12), done(10), done(2), done(10), done(10)];
        let with = |more: &[TaskView]| stragglers_of(&[&quick[..], more].concat());
        assert_eq!(with(&[runs_for(SECOND * 14)]), []);
        assert_eq!(with(&[runs_for(SECOND * 16)]), [Step::Chunk(6)]);
        let two = [runs_for(SECOND * 16), runs_for(SECOND * 20)];
        assert_eq!(with(&two), [Step::Chunk(7), Step::Chunk(6)], "6 of 8 are committed");
        let three = [&two[..], &[runs_for(SECOND)]].concat();
        assert_eq!(with(&three), [], "6 of 9");
        assert_eq!(stragglers_of(&[done(10), runs_for(SECOND * 16)]), [Step::Chunk(1)], "all but one");
        assert_eq!(stragglers_of(&[runs_for(SECOND * 16)]), [], "there is nothing to compare it with");
    }

    #[test]
    fn short_chunks_are_no_stragglers_and_the_time_of_the_next_one_is_known() {
        let policy = SchedulePolicy { speculate_after: Some(SECOND * 4), ..SchedulePolicy::default() };
        let quick = [done(1), done(1), done(1)];
        let all = |last: TaskView| [&quick[..], &[last]].concat();
        let next = found(&all(runs_for(SECOND * 3)), &policy);
        assert_eq!((next.now.len(), next.next_in), (0, Some(SECOND)));
        assert_eq!(found(&all(runs_for(SECOND * 5)), &policy).now.len(), 1);
        let off = SchedulePolicy { speculate_after: None, ..policy };
        assert_eq!(found(&all(runs_for(SECOND * 500)), &off), Stragglers::default());
    }

    #[test]
    fn what_runs_twice_or_fails_by_itself_is_left_alone() {
        let with = |last: TaskView| stragglers_of(&[done(1), done(1), done(1), last]);
        let slow = runs_for(SECOND * 60);
        let twice = TaskView { running: [&slow.running[..], &slow.running[..]].concat(), ..slow.clone() };
        assert_eq!(with(twice), []);
        let failed = |code| {
            let failure = Failure::new(code, "x");
            let failures = vec![FailedAttempt { attempt: 1, worker: "other-s3".to_owned(), failure }];
            TaskView { failures, ..slow.clone() }
        };
        assert_eq!(with(failed(FailureCode::WorkerLost)), []);
        assert_eq!(with(failed(FailureCode::ChromeCrashed)), []);
        assert_eq!(with(failed(FailureCode::Storage)), [Step::Chunk(3)]);
        let except = found(&[done(1), failed(FailureCode::Storage)], &SchedulePolicy::default()).now.remove(0).except;
        assert_eq!(except.into_iter().collect::<Vec<_>>(), ["other", "slow"]);
    }

    fn node(id: &str, class: &str, busy: usize) -> NodeView {
        let task =
            NodeTask { render: "r".parse().unwrap(), step: Step::Plan, attempt: 1, done: 0, total: 0, since_ms: 0 };
        let view = NodeView::new(id.parse().unwrap(), "worker", "cpu", 2, "");
        NodeView { tasks: vec![task; busy], class_id: class.to_owned(), ..view }
    }

    fn begun(nodes: &[NodeView], in_flight: u32, due: Vec<Step>, stragglers: usize) -> usize {
        let straggler = |chunk: usize| Straggler {
            step: Step::Chunk(chunk as u32),
            attempt: 1,
            class_id: "ours".to_owned(),
            except: ["slow".to_owned()].into(),
        };
        let (render, space, pool): (RenderId, Space, Pool) =
            ("r1".parse().unwrap(), "s".parse().unwrap(), Pool::default());
        let next = NextStep {
            chunks_in_flight: in_flight,
            due,
            stragglers: Stragglers { now: (0..stragglers).map(straggler).collect(), next_in: None },
            ..NextStep::new(RenderAction::Dispatch, Stage::Capture)
        };
        let demand = Demand {
            render: &render,
            space: &space,
            pool: &pool,
            priority: 0,
            created_at_ms: 0,
            last_served: 0,
            next: &next,
        };
        speculate(std::iter::once(demand), &Fleet::from_nodes(nodes)).len()
    }

    #[test]
    fn only_idle_slots_of_other_nodes_of_the_class_are_used() {
        let slow = node("slow", "ours", 1);
        let with = |other: NodeView, in_flight, due| begun(&[slow.clone(), other], in_flight, due, 3);
        assert_eq!(with(node("idle", "ours", 0), 1, vec![]), 2, "as many as are idle");
        assert_eq!(with(node("idle", "ours", 0), 3, vec![]), 1, "one slot of four is not in use");
        assert_eq!(with(node("idle", "ours", 0), 1, vec![Step::Chunk(9)]), 0, "a task waits");
        assert_eq!(with(node("idle", "ours", 0), 4, vec![]), 0, "tasks that nobody has claimed yet take the slots");
        assert_eq!(with(node("busy", "ours", 2), 1, vec![]), 0);
        assert_eq!(with(node("idle", "theirs", 0), 1, vec![]), 0, "another capture class");
        assert_eq!(begun(&[slow], 1, vec![], 1), 0, "never on the same node");
    }
}
