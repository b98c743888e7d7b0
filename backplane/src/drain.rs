//! How a node stops: no new work, then finish or hand back.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal: what a shell reports for a process that was interrupted.
pub const INTERRUPTED: i32 = 130;

/// Whether a node stops: it takes no new work once the drain is started. Clones share it; a drain that was started
/// stays so.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
}

impl Drain {
    /// A drain that is not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// Starts the drain: no new work from now on.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// Whether it was started.
    pub fn is_started(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves when the drain is started, at once if it was before.
    pub fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// A drain that starts with this one, and can be started alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Starts the drain on the first SIGTERM or SIGINT. On the second, `before_exit` is called, so that Chrome
    /// processes can be ended, and the process exits with [`INTERRUPTED`].
    ///
    /// # Errors
    ///
    /// The system's error where the signals cannot be caught.
    pub fn on_signals(&self, before_exit: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let drain = self.clone();
        tokio::spawn(async move {
            let name = first_of(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "draining: no new work; a second signal ends the process at once");
            drain.start();
            let name = first_of(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal: ending at once");
            before_exit();
            std::process::exit(INTERRUPTED);
        });
        Ok(())
    }
}

async fn first_of(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
    tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn every_clone_and_child_hears_of_it() {
        let drain = Drain::new();
        let (clone, child, waiting) = (drain.clone(), drain.child(), drain.started());
        assert!(!clone.is_started());
        drain.start();
        waiting.await;
        clone.started().await;
        child.started().await;
        assert!(clone.is_started() && child.is_started());
    }

    #[tokio::test]
    async fn a_child_does_not_stop_its_parent() {
        let drain = Drain::new();
        drain.child().start();
        assert!(!drain.is_started());
    }
}
