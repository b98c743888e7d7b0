//! What storage does not keep for ever: answers of idempotency keys, events, uploads that nobody completed.

use std::time::Duration;

use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use tracing::{info, warn};

use crate::api::idempotency::Idempotency;
use crate::assets;
use crate::store::now_ms;
use crate::webhooks::Webhooks;

/// How often storage is looked through.
const EVERY: Duration = Duration::from_secs(3600);

/// How long an event can be listed.
pub const EVENTS_KEPT: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long an upload that was begun is waited for, from the moment at which its URL runs out.
pub const UPLOADS_KEPT: Duration = Duration::from_secs(24 * 3600);

/// Clears away what is no longer kept.
pub(crate) struct Expiry {
    pub(crate) objects: Objects,
    pub(crate) once: Idempotency,
    pub(crate) webhooks: Webhooks,
    /// How long an upload URL is good for.
    pub(crate) uploads_valid: Duration,
}

impl Expiry {
    /// Looks through storage now and every hour, until the drain starts.
    pub(crate) async fn run(self, drain: Drain) {
        loop {
            tokio::select! {
                () = drain.started() => return,
                cleared = self.clear(now_ms()) => match cleared {
                    Ok(0) => {}
                    Ok(cleared) => info!(cleared, "what is no longer kept is cleared away"),
                    Err(error) => warn!(%error, "what is no longer kept is cleared away later"),
                },
            }
            tokio::select! {
                () = drain.started() => return,
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Clears away what is not kept at `now_ms`. Answers how many things.
    pub(crate) async fn clear(&self, now_ms: u64) -> Result<u64, ObjectsError> {
        let before = |kept: Duration| now_ms.saturating_sub(kept.as_millis() as u64);
        let answers = self.once.clear(now_ms).await?;
        let events = self.webhooks.clear_events(before(EVENTS_KEPT)).await?;
        let uploads = assets::clear_unfinished(&self.objects, before(UPLOADS_KEPT + self.uploads_valid)).await?;
        Ok(answers + events + uploads)
    }
}
