//! How one task stands.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::TaskView;
use hyperfarm_proto::failure::{FailedAttempt, RetryRule, may_retry};
use hyperfarm_proto::task::Step;

use super::SchedulePolicy;

/// What the ledger said about a task when it was dispatched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sent {
    /// When.
    pub at: Instant,
    /// Newest attempt then.
    pub attempt: u32,
    /// Failed attempts then.
    pub failures: usize,
    /// Times it was dispatched while nobody had claimed it, this one included.
    pub unclaimed: u32,
    /// When it was first dispatched of those times.
    pub since: Instant,
}

/// What this coordinator has dispatched of one render. Lost with the process, and nothing depends on it but time: a task
/// that is not in the book is simply dispatched.
#[derive(Debug, Clone, Default)]
pub struct DispatchLog(BTreeMap<Step, Sent>);

impl DispatchLog {
    /// The last dispatch of `step`.
    pub fn sent(&self, step: Step) -> Option<&Sent> {
        self.0.get(&step)
    }

    /// Notes a dispatch of `step`, about which the ledger said `view`.
    pub fn note(&mut self, step: Step, view: Option<&TaskView>, now: Instant) {
        let (attempt, failures) = view.map_or((0, 0), |view| (view.attempt, view.failures.len()));
        let before = self.0.get(&step).filter(|sent| sent.attempt == attempt);
        let (unclaimed, since) = before.map_or((0, now), |sent| (sent.unclaimed, sent.since));
        self.0.insert(step, Sent { at: now, attempt, failures, unclaimed: unclaimed + 1, since });
    }

    /// The last dispatch of `step`, about which the ledger says `view`, if nobody has claimed it.
    pub fn unclaimed(&self, step: Step, view: Option<&TaskView>) -> Option<&Sent> {
        self.0.get(&step).filter(|sent| {
            view.is_none_or(|task| task.committed.is_none() && task.lease.is_none() && task.attempt == sent.attempt)
        })
    }

    /// Whether nothing was dispatched.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Forgets every dispatch, so that what is not held or done is sent again.
    pub fn clear(&mut self) {
        self.0.clear();
    }
}

/// How a task stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TaskStatus<'a> {
    /// Its result counts.
    Done,
    /// In a queue, or under a lease.
    InFlight,
    /// To be dispatched now.
    Due,
    /// To be dispatched later.
    Waiting,
    /// It has failed and is not tried again.
    Broken(&'a [FailedAttempt]),
}

/// How the task stands about which the ledger says `view` and the book `sent`.
pub fn task_status<'a>(
    view: Option<&'a TaskView>,
    sent: Option<&Sent>,
    now: Instant,
    policy: &SchedulePolicy,
) -> TaskStatus<'a> {
    let empty = TaskView::default();
    let task = view.unwrap_or(&empty);
    if task.committed.is_some() {
        return TaskStatus::Done;
    }
    if let Some(view) = view
        && !may_retry(&view.failures)
    {
        return TaskStatus::Broken(&view.failures);
    }
    if task.lease.is_some() {
        return TaskStatus::InFlight;
    }
    let Some(sent) = sent else { return TaskStatus::Due };
    let due_at = if task.failures.len() > sent.failures {
        sent.at + free_rest(&task.failures, policy)
    } else if task.attempt > sent.attempt {
        // It was claimed, and the lease ended without a word: expired with its worker, or handed back by a drain.
        sent.at
    } else {
        sent.at + policy.unclaimed_after * 2u32.pow(sent.unclaimed.saturating_sub(1).min(4))
    };
    if now >= due_at {
        TaskStatus::Due
    } else if task.failures.len() > sent.failures {
        TaskStatus::Waiting
    } else {
        TaskStatus::InFlight
    }
}

/// Failures that do not count come back at once, from every worker that cannot do the task: they are spaced out.
fn free_rest(failures: &[FailedAttempt], policy: &SchedulePolicy) -> Duration {
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

    fn check(view: Option<&TaskView>, sent: Option<Sent>, after: Duration) -> TaskStatus<'_> {
        let start = sent.map_or_else(Instant::now, |sent| sent.at);
        task_status(view, sent.as_ref(), start + after, &SchedulePolicy::default())
    }

    fn sent(attempt: u32, failures: usize, unclaimed: u32) -> Option<Sent> {
        let now = Instant::now();
        Some(Sent { at: now, attempt, failures, unclaimed, since: now })
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
        assert_eq!(check(Some(&often), sent(0, 0, 1), Duration::ZERO), TaskStatus::Broken(&often.failures));
    }

    #[test]
    fn a_users_failure_is_broken_even_while_a_double_runs_but_not_once_committed() {
        let mut view = failed(FailureCode::ScriptError, 1);
        view.lease = Some(("w".parse().unwrap(), SECOND));
        assert!(matches!(check(Some(&view), None, SECOND), TaskStatus::Broken(_)));
        view.committed = Some(Vec::new());
        assert_eq!(check(Some(&view), None, SECOND), TaskStatus::Done);
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
    fn the_book_counts_sends_without_a_claim() {
        let (mut book, now) = (DispatchLog::default(), Instant::now());
        book.note(Step::Plan, None, now);
        book.note(Step::Plan, None, now);
        assert_eq!(book.sent(Step::Plan).unwrap().unclaimed, 2);
        assert!(book.unclaimed(Step::Plan, None).is_some());
        book.note(Step::Plan, Some(&TaskView { attempt: 1, ..TaskView::default() }), now);
        assert_eq!(book.sent(Step::Plan).unwrap().unclaimed, 1);
        let claimed = |attempt| TaskView { attempt, ..TaskView::default() };
        assert!(book.unclaimed(Step::Plan, Some(&claimed(1))).is_some());
        assert!(book.unclaimed(Step::Plan, Some(&claimed(2))).is_none(), "somebody had it since");
    }
}
