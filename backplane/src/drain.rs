//! How a node stops: no new work, then finish or hand back.

use std::future::Future;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Exit status after a second signal: what a shell reports for a process that was interrupted.
pub const INTERRUPTED: i32 = 130;

/// A node's wish to stop. Clones share it; once started it does not end.
#[derive(Debug, Clone, Default)]
pub struct Drain {
    token: CancellationToken,
}

impl Drain {
    /// Not started.
    pub fn new() -> Self {
        Self::default()
    }

    /// No new work from now on.
    pub fn start(&self) {
        self.token.cancel();
    }

    /// Whether it was started.
    pub fn is_started(&self) -> bool {
        self.token.is_cancelled()
    }

    /// Resolves once it was started, at once if it was already.
    pub fn started(&self) -> impl Future<Output = ()> + Send + 'static {
        self.token.clone().cancelled_owned()
    }

    /// A drain that starts with this one, and can be started alone.
    pub fn child(&self) -> Self {
        Self { token: self.token.child_token() }
    }

    /// Starts on the first SIGTERM or SIGINT. On the second, `last_words` is called and the process exits with
    /// [`INTERRUPTED`]: whoever asks twice does not want to wait, but Chrome processes must still be ended.
    pub fn on_signals(&self, last_words: impl FnOnce() + Send + 'static) -> std::io::Result<()> {
        let mut terminate = signal(SignalKind::terminate())?;
        let mut interrupt = signal(SignalKind::interrupt())?;
        let drain = self.clone();
        tokio::spawn(async move {
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::info!(signal = name, "draining: no new work; a second signal ends the process at once");
            drain.start();
            let name = either(&mut terminate, &mut interrupt).await;
            tracing::warn!(signal = name, "second signal: ending at once");
            last_words();
            std::process::exit(INTERRUPTED);
        });
        Ok(())
    }
}

async fn either(terminate: &mut Signal, interrupt: &mut Signal) -> &'static str {
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
