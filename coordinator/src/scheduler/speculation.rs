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

use std::collections::BTreeSet;
use std::time::Duration;

use hyperfarm_backplane::ledger::{TaskView, node_of_slot};
use hyperfarm_proto::failure::{MAX_ATTEMPTS, RetryRule};
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::task::Step;

use super::outline::PlanOutline;
use super::policy::SchedulePolicy;
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

impl Straggler {
    /// The chunk `step` of a plan, about which the ledger says `task`, if one attempt at it runs.
    pub(super) fn of(step: Step, task: &TaskView, plan: &PlanOutline) -> Option<Self> {
        let [only] = &task.running[..] else { return None };
        let failed = task.failures.iter().map(|failed| failed.worker.as_str());
        let except = failed.chain([only.worker.as_str()]).map(|slot| node_of_slot(slot).to_owned()).collect();
        Some(Self { step, attempt: only.attempt, class_id: plan.class_id.clone(), except })
    }
}

pub(super) fn may_speculate(task: &TaskView) -> bool {
    task.attempts.len() < MAX_ATTEMPTS
        && task.failures.iter().all(|failed| failed.failure.code.retry() == RetryRule::Freely)
}

/// The time after which one of `chunks` chunks is a straggler, of which `done` are committed that took a median of
/// `median_ms`; `None` before enough are.
pub(super) fn straggles_after(chunks: usize, done: usize, median_ms: u64, policy: &SchedulePolicy) -> Option<Duration> {
    let floor = policy.speculate_after?;
    let left = chunks.saturating_sub(done);
    if left == 0 || left > 1 && left * 4 > chunks {
        return None;
    }
    Some(floor.max(Duration::from_millis(median_ms) * STRAGGLER_FACTOR_TENTHS / 10))
}

/// The idle slots of one pool that may begin stragglers.
pub(super) struct IdleSlots<'a> {
    /// Nodes with their capture class and the number of their free slots.
    nodes: Vec<(&'a str, &'a str, u32)>,
    /// Slots of the pool that no task is in flight for.
    free: u32,
}

impl<'a> IdleSlots<'a> {
    /// Those of `pool`, which has `in_flight` tasks in flight.
    pub(super) fn of(pool: &Pool, in_flight: u32, fleet: &'a Fleet) -> Self {
        let free = fleet.slots(pool).saturating_sub(in_flight);
        let nodes = if free > 0 { fleet.idle(pool).collect() } else { Vec::new() };
        Self { nodes, free }
    }

    /// Whether there is an idle slot.
    pub(super) fn is_any(&self) -> bool {
        self.free > 0 && !self.nodes.is_empty()
    }

    /// Takes a slot for the straggler. Returns whether there is one.
    pub(super) fn take(&mut self, straggler: &Straggler) -> bool {
        let suits = |(node, class, free): &&mut (&str, &str, u32)| {
            *free > 0 && (class.is_empty() || *class == straggler.class_id) && !straggler.except.contains(*node)
        };
        let found = if self.free > 0 { self.nodes.iter_mut().find(suits) } else { None };
        let Some((_, _, free)) = found else { return false };
        *free -= 1;
        self.free -= 1;
        true
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use hyperfarm_backplane::ledger::{AttemptEnd, AttemptView, NodeTask, NodeView, RenderView, RunningAttempt};
    use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode};

    use super::*;
    use crate::scheduler::task_status::Moment;
    use crate::scheduler::tasks::RenderTasks;
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
        let running = vec![RunningAttempt { attempt: 1, worker: worker.clone(), age, left: SECOND }];
        let lease = Some((worker, SECOND));
        TaskView { attempt: 1, lease, running, attempts: vec![attempt(1, None)], ..TaskView::default() }
    }

    /// The stragglers, and the time until the next chunk is one.
    fn found(chunks: &[TaskView], policy: &SchedulePolicy) -> (Vec<Straggler>, Option<Duration>) {
        let plan = testing::plan(&vec![5; chunks.len()], false);
        let tasks = chunks.iter().enumerate().map(|(chunk, task)| (Step::Chunk(chunk as u32), task.clone()));
        let view = RenderView { tasks: tasks.collect(), ..RenderView::default() };
        // A clock that has run for long.
        let at = Moment { now: Instant::now() + SECOND * 1_000, policy };
        let mut tasks = RenderTasks::new(Default::default(), None, at);
        tasks.set_plan(Some(PlanOutline::from(&plan)), at);
        tasks.take_over(view.into(), at);
        (tasks.stragglers(at), tasks.next_straggles_at(at).map(|next| next - at.now))
    }

    fn stragglers_of(chunks: &[TaskView]) -> Vec<Step> {
        found(chunks, &SchedulePolicy::default()).0.iter().map(|straggler| straggler.step).collect()
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
        let (now, next_in) = found(&all(runs_for(SECOND * 3)), &policy);
        assert_eq!(now.len(), 0);
        assert!(next_in.is_some_and(|next| (SECOND..SECOND * 2).contains(&next)), "{next_in:?}");
        assert_eq!(found(&all(runs_for(SECOND * 5)), &policy).0.len(), 1);
        let off = SchedulePolicy { speculate_after: None, ..policy };
        assert_eq!(found(&all(runs_for(SECOND * 500)), &off), (Vec::new(), None));
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
        let except = found(&[done(1), failed(FailureCode::Storage)], &SchedulePolicy::default()).0.remove(0).except;
        assert_eq!(except.into_iter().collect::<Vec<_>>(), ["other", "slow"]);
    }

    fn node(id: &str, class: &str, busy: usize) -> NodeView {
        let task =
            NodeTask { render: "r".parse().unwrap(), step: Step::Plan, attempt: 1, done: 0, total: 0, since_ms: 0 };
        let view = NodeView::new(id.parse().unwrap(), "worker", "cpu", 2, "");
        NodeView { tasks: vec![task; busy], class_id: class.to_owned(), ..view }
    }

    fn begun(nodes: &[NodeView], in_flight: u32, stragglers: u32) -> usize {
        let straggler = |chunk| Straggler {
            step: Step::Chunk(chunk),
            attempt: 1,
            class_id: "ours".to_owned(),
            except: ["slow".to_owned()].into(),
        };
        let fleet = Fleet::from_nodes(nodes);
        let mut idle = IdleSlots::of(&Pool::default(), in_flight, &fleet);
        (0..stragglers).filter(|chunk| idle.take(&straggler(*chunk))).count()
    }

    #[test]
    fn only_idle_slots_of_other_nodes_of_the_class_are_used() {
        let slow = node("slow", "ours", 1);
        let with = |other: NodeView, in_flight| begun(&[slow.clone(), other], in_flight, 3);
        assert_eq!(with(node("idle", "ours", 0), 1), 2, "as many as are idle");
        assert_eq!(with(node("idle", "ours", 0), 3), 1, "one slot of four is not in use");
        assert_eq!(with(node("idle", "ours", 0), 4), 0, "tasks that nobody has claimed yet take the slots");
        assert_eq!(with(node("busy", "ours", 2), 1), 0);
        assert_eq!(with(node("idle", "theirs", 0), 1), 0, "another capture class");
        assert_eq!(begun(&[slow], 1, 1), 0, "never on the same node");
    }
}
