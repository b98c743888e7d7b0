//! The status of one task.

use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{AttemptEnd, AttemptView, TaskView};
use hyperfarm_proto::failure::{FailedAttempt, RetryRule, may_retry};
use hyperfarm_proto::task::Step;

use super::policy::SchedulePolicy;

/// A moment, and the settings that decide what is due at it.
#[derive(Debug, Clone, Copy)]
pub struct Moment<'a> {
    /// The time.
    pub now: Instant,
    /// The settings.
    pub policy: &'a SchedulePolicy,
}

/// A dispatch of a task, with what the ledger said about the task at that time. It is lost with the process, and only
/// costs time: a task without one is dispatched again.
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

impl Dispatch {
    /// A dispatch at `now` of a task about which the ledger says `task`, and of which `before` is the last dispatch.
    pub fn new(task: Option<&TaskView>, before: Option<&Self>, now: Instant) -> Self {
        let (attempt, failures) = task.map_or((0, 0), |task| (task.attempt, task.failures.len()));
        let before = before.filter(|dispatch| dispatch.attempt == attempt);
        let (unclaimed, first_at) = before.map_or((0, now), |dispatch| (dispatch.unclaimed, dispatch.first_at));
        Self { at: now, attempt, failures, unclaimed: unclaimed + 1, first_at }
    }

    /// Whether no worker has claimed the task since, about which the ledger says `task`.
    pub fn is_unclaimed(&self, task: Option<&TaskView>) -> bool {
        task.is_none_or(|task| task.committed.is_none() && task.lease.is_none() && task.attempt == self.attempt)
    }

    /// When the task is due again, if it is neither leased nor committed.
    fn due_at(&self, task: &TaskView, policy: &SchedulePolicy) -> Instant {
        if task.failures.len() > self.failures {
            self.at + free_retry_pause(&task.failures, policy)
        } else if task.attempt > self.attempt {
            // It was claimed, and the lease ended without a result: the worker is gone, or a drain handed the task back.
            self.at
        } else {
            self.at + policy.unclaimed_after * 2u32.pow(self.unclaimed.saturating_sub(1).min(4))
        }
    }
}

/// A second attempt at a running task that was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Speculation {
    /// When it was dispatched.
    pub at: Instant,
    /// The attempt that was running.
    pub beside: u32,
}

/// Which of two attempts at a task has committed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Decided {
    /// The step of the task.
    pub step: Step,
    /// Whether it was the second one.
    pub is_won: bool,
}

impl Speculation {
    /// Until when it counts as in flight: for as long as an unclaimed task stays in its queue.
    pub fn ends_at(&self, policy: &SchedulePolicy) -> Instant {
        self.at + policy.unclaimed_after
    }

    /// Which attempt has committed, if the ledger says of its task that one has.
    pub fn decided(&self, step: Step, task: &TaskView) -> Option<Decided> {
        task.committed.as_ref()?;
        let is_committed = |attempt: &&AttemptView| matches!(attempt.end, Some((AttemptEnd::Committed, _)));
        let committed = task.attempts.iter().find(is_committed).map_or(0, |attempt| attempt.attempt);
        Some(Decided { step, is_won: committed > self.beside })
    }
}

/// The status of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum TaskStatus {
    /// Its result is committed.
    Done,
    /// It is in a queue, or leased by a worker.
    InFlight,
    /// It is to be dispatched now.
    #[default]
    Due,
    /// It is to be dispatched after a pause.
    Waiting,
    /// It has failed for good.
    Failed,
}

/// The status of a task about which the ledger says `task`, and of which `dispatch` is the last dispatch; and when it is
/// due by the time alone. The end of a lease is not in that.
pub fn task_status(
    task: Option<&TaskView>,
    dispatch: Option<&Dispatch>,
    at: Moment<'_>,
) -> (TaskStatus, Option<Instant>) {
    if let Some(task) = task {
        if task.committed.is_some() {
            return (TaskStatus::Done, None);
        }
        // An attempt that still runs may commit, unless every attempt fails in the same way.
        let is_final = task.failures.last().is_some_and(|last| last.failure.code.retry() == RetryRule::Never);
        if !may_retry(&task.failures) && (is_final || task.lease.is_none()) {
            return (TaskStatus::Failed, None);
        }
        if task.lease.is_some() {
            return (TaskStatus::InFlight, None);
        }
    }
    let Some(dispatch) = dispatch else { return (TaskStatus::Due, None) };
    let empty = TaskView::default();
    let task = task.unwrap_or(&empty);
    let due_at = dispatch.due_at(task, at.policy);
    if at.now >= due_at {
        (TaskStatus::Due, None)
    } else if task.failures.len() > dispatch.failures {
        (TaskStatus::Waiting, Some(due_at))
    } else {
        (TaskStatus::InFlight, Some(due_at))
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

    fn check(view: Option<&TaskView>, dispatch: Option<Dispatch>, after: Duration) -> TaskStatus {
        let start = dispatch.map_or_else(Instant::now, |dispatch| dispatch.at);
        let (policy, now) = (SchedulePolicy::default(), start + after);
        let (status, due_at) = task_status(view, dispatch.as_ref(), Moment { now, policy: &policy });
        if let Some(due_at) = due_at {
            let at = |now| task_status(view, dispatch.as_ref(), Moment { now, policy: &policy }).0;
            assert_eq!((at(due_at), at(due_at - Duration::from_millis(1))), (TaskStatus::Due, status));
        }
        status
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
        assert_eq!(check(Some(&often), sent(0, 0, 1), Duration::ZERO), TaskStatus::Failed);
    }

    #[test]
    fn a_users_failure_is_final_even_while_a_double_runs_but_not_once_committed() {
        let mut view = failed(FailureCode::ScriptError, 1);
        view.lease = Some(("w".parse().unwrap(), SECOND));
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Failed);
        view.committed = Some(Vec::new());
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Done);
    }

    #[test]
    fn the_last_failure_of_the_farm_is_not_final_while_another_attempt_runs() {
        let mut view = failed(FailureCode::ChromeCrashed, MAX_ATTEMPTS);
        view.lease = Some(("w".parse().unwrap(), SECOND));
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::InFlight);
        view.lease = None;
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Failed);
    }

    #[test]
    fn a_second_attempt_is_decided_by_the_commit() {
        let speculation = Speculation { at: Instant::now(), beside: 1 };
        let of = |committed: u32| {
            let attempt = |attempt, end| AttemptView {
                attempt,
                worker: "w".parse().unwrap(),
                claimed_at_ms: 0,
                end: (attempt == committed).then_some((end, 9)),
            };
            let attempts = [1, 2].map(|number| attempt(number, AttemptEnd::Committed)).to_vec();
            let committed = (committed > 0).then(Vec::new);
            TaskView { attempt: 2, committed, attempts, ..TaskView::default() }
        };
        let step = Step::Chunk(1);
        assert_eq!(speculation.decided(step, &of(0)), None);
        assert_eq!(speculation.decided(step, &of(1)), Some(Decided { step, is_won: false }));
        assert_eq!(speculation.decided(step, &of(2)), Some(Decided { step, is_won: true }));
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
    fn dispatches_without_a_claim_are_counted() {
        let now = Instant::now();
        let first = Dispatch::new(None, None, now);
        let second = Dispatch::new(None, Some(&first), now + SECOND);
        assert_eq!((second.unclaimed, second.first_at), (2, now));
        assert!(second.is_unclaimed(None));
        let claimed = |attempt| TaskView { attempt, ..TaskView::default() };
        let third = Dispatch::new(Some(&claimed(1)), Some(&second), now + SECOND);
        assert_eq!((third.unclaimed, third.first_at), (1, now + SECOND));
        assert!(third.is_unclaimed(Some(&claimed(1))));
        assert!(!third.is_unclaimed(Some(&claimed(2))), "a worker has claimed it since");
    }
}
