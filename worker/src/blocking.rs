//! Work on a thread that may block.

use crate::error::WorkerError;

/// The result of `work`, which runs on a thread that may block.
///
/// # Errors
///
/// [`WorkerError::Panicked`] with the name of `part` where the work panics.
pub(crate) async fn blocking<T: Send + 'static>(
    part: &'static str,
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkerError> {
    tokio::task::spawn_blocking(work).await.map_err(|source| WorkerError::Panicked { part, source })
}
