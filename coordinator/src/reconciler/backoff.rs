//! The pause after a server that the loop needs did not answer.

use std::time::Instant;

use tracing::warn;

use super::error::ReconcileError;
use crate::config::SERVER_RETRY;

/// Counts failures in a row. After each one the loop leaves broker and ledger alone for a delay of [`SERVER_RETRY`].
#[derive(Default)]
pub(super) struct Backoff {
    failures: u32,
    paused_until: Option<Instant>,
}

impl Backoff {
    /// Notes that a server did not answer. Failures during a pause are not logged and do not extend it.
    pub(super) fn failed(&mut self, what: &'static str, error: &ReconcileError) {
        if self.is_pausing() {
            return;
        }
        self.failures += 1;
        let pause = SERVER_RETRY.delay_after(self.failures);
        warn!(%error, failures = self.failures, pause_ms = pause.as_millis() as u64, "{what}, it is tried again");
        self.paused_until = Some(Instant::now() + pause);
    }

    /// Notes that the servers answered.
    pub(super) fn succeeded(&mut self) {
        if !self.is_pausing() {
            self.failures = 0;
        }
    }

    pub(super) fn is_pausing(&self) -> bool {
        self.paused_until.is_some_and(|until| Instant::now() < until)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_failure_is_one_pause() {
        let mut backoff = Backoff::default();
        let error = ReconcileError::Json(serde_json::from_str::<u8>("x").unwrap_err());
        backoff.failed("it fails", &error);
        backoff.failed("it fails", &error);
        backoff.succeeded();
        assert!(backoff.is_pausing());
        assert_eq!(backoff.failures, 1);
        backoff.paused_until = None;
        backoff.succeeded();
        assert_eq!((backoff.is_pausing(), backoff.failures), (false, 0));
    }
}
