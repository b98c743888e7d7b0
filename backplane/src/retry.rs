//! How often and how long failed operations are repeated: one policy type over the crate `backon`.
//!
//! A [`RetryPolicy`] is a `backon` backoff builder: any function that returns a future of a `Result` can be repeated by
//! it.
//!
//! ```
//! use std::time::Duration;
//!
//! use hyperfarm_backplane::retry::{RetryPolicy, Retryable};
//!
//! const RECONNECT: RetryPolicy = RetryPolicy::new(Duration::from_millis(1), Duration::from_millis(8)).attempts(4);
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() {
//! let mut calls = 0;
//! let connect = || {
//!     calls += 1;
//!     std::future::ready(if calls < 3 { Err("refused") } else { Ok("connected") })
//! };
//! let answer = connect.retry(RECONNECT).when(|error| *error == "refused").await;
//! assert_eq!((answer, calls), (Ok("connected"), 3));
//! # }
//! ```

use std::time::Duration;

use backon::{BackoffBuilder, ExponentialBackoff, ExponentialBuilder};
use tokio::time::Instant;

pub use backon::Retryable;

/// Waiting times between attempts: exponential with a bound and jitter, for ever or up to a number of attempts or a
/// time.
///
/// The step doubles from the first to the longest one. Each wait is drawn between half of the step and the whole of it,
/// so that nodes that lost a server at the same moment do not come back at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetryPolicy {
    first: Duration,
    longest: Duration,
    attempts: Option<u32>,
    within: Option<Duration>,
}

impl RetryPolicy {
    /// Repeats without end. The first wait is at most `first`, every later one at most `longest`.
    #[must_use]
    pub const fn new(first: Duration, longest: Duration) -> Self {
        Self { first, longest, attempts: None, within: None }
    }

    /// At most `attempts` attempts, the first one included.
    #[must_use]
    pub const fn attempts(self, attempts: u32) -> Self {
        Self { attempts: Some(attempts), ..self }
    }

    /// No attempt begins later than `within` after the policy was put to use, which is when [`Retryable::retry`] or
    /// [`RetryPolicy::delays`] is called. The time that the attempts take counts too.
    #[must_use]
    pub const fn within(self, within: Duration) -> Self {
        Self { within: Some(within), ..self }
    }

    /// The waiting times of one series of attempts, for loops that must wait in their own way.
    #[must_use]
    pub fn delays(self) -> Delays {
        self.build()
    }

    /// How long to wait after the given number of failures in a row, for state that is kept between attempts; zero for
    /// no failure. The bounds on attempts and time do not count here.
    #[must_use]
    pub fn delay_after(self, failures: u32) -> Duration {
        let Some(step) = failures.checked_sub(1) else { return Duration::ZERO };
        // Every step is at its bound by then.
        let step = step.min(64) as usize;
        self.exponential().without_max_times().build().nth(step).unwrap_or(self.longest)
    }

    fn exponential(self) -> ExponentialBuilder {
        // `backon` adds the jitter to the step and draws it up to the step itself.
        let builder = ExponentialBuilder::new().with_jitter();
        let builder = builder.with_min_delay(self.first.min(self.longest) / 2).with_max_delay(self.longest / 2);
        match self.attempts {
            Some(attempts) => builder.with_max_times(attempts.saturating_sub(1) as usize),
            None => builder.without_max_times(),
        }
    }
}

impl BackoffBuilder for RetryPolicy {
    type Backoff = Delays;

    fn build(self) -> Delays {
        Delays { steps: self.exponential().build(), deadline: self.within.map(|within| Instant::now() + within) }
    }
}

/// The waiting times of one series of attempts; it ends when no further attempt is allowed.
#[derive(Debug)]
pub struct Delays {
    steps: ExponentialBackoff,
    deadline: Option<Instant>,
}

impl Iterator for Delays {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        let delay = self.steps.next()?;
        let is_late = self.deadline.is_some_and(|deadline| Instant::now() + delay >= deadline);
        (!is_late).then_some(delay)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: RetryPolicy = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(2));

    #[test]
    fn delays_grow_to_the_bound_and_stay_there() {
        let delays: Vec<Duration> = POLICY.delays().take(50).collect();
        assert!(delays[0] >= Duration::from_millis(50) && delays[0] <= Duration::from_millis(100));
        assert!(delays[1] >= Duration::from_millis(100) && delays[1] <= Duration::from_millis(200));
        assert!(delays.iter().all(|delay| *delay <= Duration::from_secs(2)));
        assert!(delays[40..].iter().all(|delay| *delay >= Duration::from_secs(1)));
    }

    #[test]
    fn delays_after_failures_are_those_of_a_series() {
        assert_eq!(POLICY.delay_after(0), Duration::ZERO);
        for (failures, step_ms) in [(1, 100), (2, 200), (5, 1600), (6, 2000), (u32::MAX, 2000)] {
            let (delay, step) = (POLICY.attempts(1).delay_after(failures), Duration::from_millis(step_ms));
            assert!(delay >= step / 2 && delay <= step, "{failures}: {delay:?}");
        }
    }

    const QUICK: RetryPolicy = RetryPolicy::new(Duration::from_millis(2), Duration::from_millis(20));

    #[tokio::test]
    async fn attempts_are_counted_with_the_first_one() {
        for allowed in [1, 4] {
            let mut calls = 0;
            let failing = || {
                calls += 1;
                std::future::ready(Err::<(), _>("no"))
            };
            assert_eq!(failing.retry(QUICK.attempts(allowed)).await, Err("no"));
            assert_eq!(calls, allowed);
        }
    }

    #[tokio::test]
    async fn no_attempt_begins_after_the_deadline() {
        let within = Duration::from_millis(300);
        let (begun, mut last) = (Instant::now(), None);
        let slow = || {
            last = Some(Instant::now());
            async {
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err::<(), _>("no")
            }
        };
        assert_eq!(slow.retry(QUICK.within(within)).await, Err("no"));
        // Of waits alone there would be more than a dozen: the time that attempts take counts.
        let last = last.map(|last| last - begun);
        assert!(last > Some(Duration::ZERO) && last < Some(within * 2), "{last:?}");
    }

    #[tokio::test]
    async fn a_time_that_is_over_allows_no_wait() {
        let mut delays = QUICK.within(Duration::from_millis(40)).delays();
        assert!(delays.next().is_some());
        tokio::time::sleep(Duration::from_millis(45)).await;
        assert_eq!(delays.next(), None);
    }
}
