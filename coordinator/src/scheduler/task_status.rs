//! The status of one task.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{AttemptEnd, AttemptView, RenderView, TaskView};
use hyperfarm_proto::failure::{FailedAttempt, RetryRule, may_retry};
use hyperfarm_proto::task::Step;

use super::policy::SchedulePolicy;

/// A dispatch of a task, with what the ledger said about the task at that time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Dispatch {
    /// When the task was dispatched.
    pub at: Instant,
    /// The newest attempt.
    pub attempt: u32,
    /// Number of failed attempts.
    pub failures: usize,
    /// Number of dispatches since a worker claimed the task last, this one included.
    pub unclaimed: u32,
    /// When the first of these was made.
    pub first_at: Instant,
}

/// A second attempt at a running task that was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Speculation {
    /// When it was dispatched.
    at: Instant,
    /// The attempt that was running.
    beside: u32,
}

/// Which of two attempts at a task has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The step of the task.
    pub step: Step,
    /// Whether it was the second one.
    pub is_won: bool,
}

/// What this coordinator has dispatched of one render. It is lost with the process, and only costs time: a task that is not in the log
/// is dispatched again. Whether a second attempt was allowed, and who is at it, is in the ledger.
#[derive(Debug, Clone, Default)]
pub struct DispatchLog {
    last: BTreeMap<Step, Dispatch>,
    speculations: BTreeMap<Step, Speculation>,
}

impl DispatchLog {
    /// The last dispatch of `step`.
    pub fn last(&self, step: Step) -> Option<&Dispatch> {
        self.last.get(&step)
    }

    /// Records a dispatch of `step`, about which the ledger says `view`.
    pub fn record(&mut self, step: Step, view: Option<&TaskView>, now: Instant) {
        let (attempt, failures) = view.map_or((0, 0), |view| (view.attempt, view.failures.len()));
        let before = self.last.get(&step).filter(|dispatch| dispatch.attempt == attempt);
        let (unclaimed, first_at) = before.map_or((0, now), |dispatch| (dispatch.unclaimed, dispatch.first_at));
        self.last.insert(step, Dispatch { at: now, attempt, failures, unclaimed: unclaimed + 1, first_at });
    }

    /// The last dispatch of `step`, about which the ledger says `view`, if no worker has claimed the task since.
    pub fn unclaimed(&self, step: Step, view: Option<&TaskView>) -> Option<&Dispatch> {
        self.last.get(&step).filter(|dispatch| {
            view.is_none_or(|task| task.committed.is_none() && task.lease.is_none() && task.attempt == dispatch.attempt)
        })
    }

    /// Whether nothing was dispatched.
    pub fn is_empty(&self) -> bool {
        self.last.is_empty()
    }

    /// Removes every dispatch, so that every task that is neither leased nor committed is dispatched again.
    pub fn clear(&mut self) {
        self.last.clear();
        self.speculations.clear();
    }

    /// Records that a second attempt at `step` was dispatched beside the running attempt `beside`.
    pub fn record_speculation(&mut self, step: Step, beside: u32, now: Instant) {
        self.speculations.insert(step, Speculation { at: now, beside });
    }

    /// Whether a second attempt at `step` was dispatched, and no longer ago than an unclaimed task stays in its queue.
    pub fn is_speculated(&self, step: Step, now: Instant, policy: &SchedulePolicy) -> bool {
        self.speculations.get(&step).is_some_and(|speculation| now < speculation.at + policy.unclaimed_after)
    }

    /// Removes the second attempts of tasks that `view` shows to be committed, and says how they ended.
    pub fn take_decided(&mut self, view: &RenderView) -> Vec<Decided> {
        let mut decided = Vec::new();
        self.speculations.retain(|step, speculation| {
            let Some(task) = view.tasks.get(step).filter(|task| task.committed.is_some()) else { return true };
            let is_committed = |attempt: &&AttemptView| matches!(attempt.end, Some((AttemptEnd::Committed, _)));
            let committed = task.attempts.iter().find(is_committed).map_or(0, |attempt| attempt.attempt);
            decided.push(Decided { step: *step, is_won: committed > speculation.beside });
            false
        });
        decided
    }
}

/// The status of a task.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus<'a> {
    /// Its result is committed.
    Done,
    /// It is in a queue, or leased by a worker.
    InFlight,
    /// It is to be dispatched now.
    Due,
    /// It is to be dispatched after a pause.
    Waiting,
    /// It has failed for good, with these attempts.
    Failed(&'a [FailedAttempt]),
}

/// The status of a task about which the ledger says `view`, and of which `dispatch` is the last dispatch.
pub fn task_status<'a>(
    view: Option<&'a TaskView>,
    dispatch: Option<&Dispatch>,
    now: Instant,
    policy: &SchedulePolicy,
) -> TaskStatus<'a> {
    let empty = TaskView::default();
    let task = view.unwrap_or(&empty);
    if task.committed.is_some() {
        return TaskStatus::Done;
    }
    // An attempt that still runs may commit, unless every attempt fails in the same way.
    let is_final = task.failures.last().is_some_and(|last| last.failure.code.retry() == RetryRule::Never);
    if let Some(view) = view
        && !may_retry(&view.failures)
        && (is_final || task.lease.is_none())
    {
        return TaskStatus::Failed(&view.failures);
    }
    if task.lease.is_some() {
        return TaskStatus::InFlight;
    }
    let Some(dispatch) = dispatch else { return TaskStatus::Due };
    let due_at = if task.failures.len() > dispatch.failures {
        dispatch.at + free_retry_pause(&task.failures, policy)
    } else if task.attempt > dispatch.attempt {
        // It was claimed, and the lease ended without a result: the worker is gone, or a drain handed the task back.
        dispatch.at
    } else {
        dispatch.at + policy.unclaimed_after * 2u32.pow(dispatch.unclaimed.saturating_sub(1).min(4))
    };
    if now >= due_at {
        TaskStatus::Due
    } else if task.failures.len() > dispatch.failures {
        TaskStatus::Waiting
    } else {
        TaskStatus::InFlight
    }
}

/// The pause after failures that do not count as attempts. Without one, workers that cannot do the task would fail it in a tight loop.
fn free_retry_pause(failures: &[FailedAttempt], policy: &SchedulePolicy) -> Duration {
    let in_a_row =
        failures.iter().rev().take_while(|attempt| attempt.failure.code.retry() == RetryRule::Freely).count() as u32;
    match in_a_row {
        0 => Duration::ZERO,
        count => policy.free_retry_after * 2u32.pow((count - 1).min(5)),
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::{Failure, FailureCode, MAX_ATTEMPTS};
    use hyperfarm_proto::record::TaskProgress;

    use super::*;

    fn failed(code: FailureCode, count: usize) -> TaskView {
        let failures = (1..=count as u32)
            .map(|attempt| FailedAttempt { attempt, worker: "w".to_owned(), failure: Failure::new(code, "x") })
            .collect();
        TaskView { attempt: count as u32, failures, ..TaskView::default() }
    }

    fn check(view: Option<&TaskView>, dispatch: Option<Dispatch>, after: Duration) -> TaskStatus<'_> {
        let start = dispatch.map_or_else(Instant::now, |dispatch| dispatch.at);
        task_status(view, dispatch.as_ref(), start + after, &SchedulePolicy::default())
    }

    fn sent(attempt: u32, failures: usize, unclaimed: u32) -> Option<Dispatch> {
        let now = Instant::now();
        Some(Dispatch { at: now, attempt, failures, unclaimed, first_at: now })
    }

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn what_was_never_sent_is_due_and_what_was_sent_is_in_flight() {
        assert_eq!(check(None, None, SECOND), TaskStatus::Due);
        assert_eq!(check(None, sent(0, 0, 1), SECOND * 19), TaskStatus::InFlight);
    }

    #[test]
    fn a_lost_message_is_sent_again_with_growing_patience() {
        assert_eq!(check(None, sent(0, 0, 1), SECOND * 20), TaskStatus::Due);
        assert_eq!(check(None, sent(0, 0, 2), SECOND * 20), TaskStatus::InFlight);
        assert_eq!(check(None, sent(0, 0, 2), SECOND * 40), TaskStatus::Due);
        assert_eq!(check(None, sent(0, 0, 90), SECOND * 320), TaskStatus::Due);
    }

    #[test]
    fn an_expired_lease_is_due_at_once_and_a_live_one_is_not() {
        let expired = TaskView { attempt: 1, ..TaskView::default() };
        assert_eq!(check(Some(&expired), sent(0, 0, 1), Duration::ZERO), TaskStatus::Due);
        let lease = Some(("w".parse().unwrap(), SECOND));
        let alive = TaskView { attempt: 1, lease, progress: TaskProgress::default(), ..TaskView::default() };
        assert_eq!(check(Some(&alive), sent(0, 0, 1), SECOND * 1000), TaskStatus::InFlight);
    }

    #[test]
    fn system_failures_are_due_until_they_are_exhausted() {
        let once = failed(FailureCode::ChromeCrashed, 1);
        assert_eq!(check(Some(&once), sent(0, 0, 1), Duration::ZERO), TaskStatus::Due);
        assert_eq!(check(Some(&once), sent(1, 1, 1), Duration::ZERO), TaskStatus::InFlight);
        let often = failed(FailureCode::ChromeCrashed, MAX_ATTEMPTS);
        assert_eq!(check(Some(&often), sent(0, 0, 1), Duration::ZERO), TaskStatus::Failed(&often.failures));
    }

    #[test]
    fn a_users_failure_is_final_even_while_a_double_runs_but_not_once_committed() {
        let mut view = failed(FailureCode::ScriptError, 1);
        view.lease = Some(("w".parse().unwrap(), SECOND));
        assert!(matches!(check(Some(&view), None, SECOND), TaskStatus::Failed(_)));
        view.committed = Some(Vec::new());
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Done);
    }

    #[test]
    fn the_last_failure_of_the_farm_is_not_final_while_another_attempt_runs() {
        let mut view = failed(FailureCode::ChromeCrashed, MAX_ATTEMPTS);
        view.lease = Some(("w".parse().unwrap(), SECOND));
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::InFlight);
        view.lease = None;
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Failed(&view.failures));
    }

    #[test]
    fn a_second_attempt_is_in_flight_until_it_is_claimed_and_decided_by_the_commit() {
        let (mut log, now, policy) = (DispatchLog::default(), Instant::now(), SchedulePolicy::default());
        let chunk = Step::Chunk(1);
        log.record_speculation(chunk, 1, now);
        assert!(log.is_speculated(chunk, now, &policy) && !log.is_speculated(chunk, now + SECOND * 20, &policy));
        let of = |committed: u32| {
            let attempt = |attempt, end| AttemptView {
                attempt,
                worker: "w".parse().unwrap(),
                claimed_at_ms: 0,
                end: (attempt == committed).then_some((end, 9)),
            };
            let attempts = [1, 2].map(|number| attempt(number, AttemptEnd::Committed)).to_vec();
            let committed = (committed > 0).then(Vec::new);
            let task = TaskView { attempt: 2, committed, attempts, ..TaskView::default() };
            RenderView { tasks: [(chunk, task)].into(), ..RenderView::default() }
        };
        assert_eq!(log.clone().take_decided(&of(0)), []);
        assert_eq!(log.clone().take_decided(&of(1)), [Decided { step: chunk, is_won: false }]);
        assert_eq!(log.take_decided(&of(2)), [Decided { step: chunk, is_won: true }]);
        assert_eq!(log.take_decided(&of(2)), [], "it is counted once");
    }

    #[test]
    fn refusals_of_other_classes_are_spaced_out() {
        let refused = failed(FailureCode::VersionMismatch, 3);
        assert_eq!(check(Some(&refused), sent(2, 2, 1), SECOND * 3), TaskStatus::Waiting);
        assert_eq!(check(Some(&refused), sent(2, 2, 1), SECOND * 4), TaskStatus::Due);
        let endless = failed(FailureCode::VersionMismatch, 300);
        assert_eq!(check(Some(&endless), sent(2, 2, 1), SECOND * 32), TaskStatus::Due);
    }

    #[test]
    fn the_log_counts_dispatches_without_a_claim() {
        let (mut log, now) = (DispatchLog::default(), Instant::now());
        log.record(Step::Plan, None, now);
        log.record(Step::Plan, None, now);
        assert_eq!(log.last(Step::Plan).unwrap().unclaimed, 2);
        assert!(log.unclaimed(Step::Plan, None).is_some());
        log.record(Step::Plan, Some(&TaskView { attempt: 1, ..TaskView::default() }), now);
        assert_eq!(log.last(Step::Plan).unwrap().unclaimed, 1);
        let claimed = |attempt| TaskView { attempt, ..TaskView::default() };
        assert!(log.unclaimed(Step::Plan, Some(&claimed(1))).is_some());
        assert!(log.unclaimed(Step::Plan, Some(&claimed(2))).is_none(), "a worker has claimed it since");
    }
}
