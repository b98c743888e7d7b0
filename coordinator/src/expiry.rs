//! Removes what storage does not keep for ever: stored answers of idempotency keys, webhook events,
//! unfinished uploads, and what killed processes have left half-written.

use std::time::{Duration, UNIX_EPOCH};

use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use tracing::{info, warn};

use crate::assets;
use crate::clock::now_ms;
use crate::webhooks::Webhooks;

/// Time between two removals.
const INTERVAL: Duration = Duration::from_secs(3600);

/// How long a webhook event can be listed.
const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long an unfinished upload is kept after its URL has expired.
const UPLOADS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// How long a half-written file of a local store is kept after the last write to it.
const HALF_WRITTEN_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Calls `remove` with the Unix time in milliseconds now and every hour, until the drain starts. It answers the number of removed objects.
pub(crate) async fn run<F>(drain: Drain, remove: impl Fn(u64) -> F)
where
    F: Future<Output = Result<u64, ObjectsError>>,
{
    loop {
        tokio::select! {
            () = drain.started() => return,
            removed = remove(now_ms()) => match removed {
                Ok(0) => {}
                Ok(removed) => info!(removed, "expired objects were removed from storage"),
                Err(error) => warn!(%error, "expired objects could not be removed, they are removed later"),
            },
        }
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(INTERVAL) => {}
        }
    }
}

/// Removes the webhook events, unfinished uploads and half-written files that have expired at `now_ms`. Answers the
/// number of removed objects.
pub(crate) async fn remove_expired(
    objects: &Objects,
    webhooks: &Webhooks,
    upload_urls_valid: Duration,
    now_ms: u64,
) -> Result<u64, ObjectsError> {
    let before = |kept: Duration| now_ms.saturating_sub(kept.as_millis() as u64);
    let events = webhooks.remove_events(before(EVENTS_KEPT)).await?;
    let uploads = assets::remove_unfinished(objects, before(UPLOADS_KEPT + upload_urls_valid)).await?;
    let half_written =
        objects.remove_half_written(UNIX_EPOCH + Duration::from_millis(before(HALF_WRITTEN_KEPT))).await?;
    Ok(events + uploads + half_written)
}
