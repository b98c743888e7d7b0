//! Patience with servers that do not answer.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::error::ReconcileError;

/// Counts failures in a row, and says how long to leave everything alone because of them: a quarter of a second, doubling up
/// to ten.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    failures: u32,
    until: Option<Instant>,
}

impl Backoff {
    /// Something did not answer. Logged once a rest, not once a render.
    pub(super) fn upset(&mut self, what: &'static str, error: &ReconcileError) {
        if self.is_resting() {
            return;
        }
        self.failures += 1;
        let rest =
            Duration::from_millis(250).saturating_mul(1 << (self.failures - 1).min(6)).min(Duration::from_secs(10));
        warn!(%error, failures = self.failures, rest_ms = rest.as_millis() as u64, "{what}, it is tried again");
        self.until = Some(Instant::now() + rest);
    }

    /// Something answered.
    pub(super) fn relax(&mut self) {
        if !self.is_resting() {
            self.failures = 0;
        }
    }

    pub(super) fn is_resting(&self) -> bool {
        self.until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_one_rest() {
        let mut calm = Backoff::default();
        let error = ReconcileError::Json(serde_json::from_str::<u8>("x").unwrap_err());
        calm.upset("it fails", &error);
        calm.upset("it fails", &error);
        calm.relax();
        assert!(calm.is_resting());
        assert_eq!(calm.failures, 1);
        calm.until = None;
        calm.relax();
        assert_eq!((calm.is_resting(), calm.failures), (false, 0));
    }
}
