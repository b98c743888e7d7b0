//! How many streams of events a key may have open: each holds a connection of the API for as long as its client listens.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::error::{ApiError, Code};
use crate::api_keys::Caller;

/// Streams that a key may have open at once: a twentieth of the API's connections.
pub(super) const STREAMS_PER_KEY: usize = 200;

/// Seconds after which a client that has too many may ask again.
const RETRY_AFTER: u64 = 10;

/// The streams that are open, by id of the key.
#[derive(Debug, Default)]
pub(crate) struct OpenStreams(Mutex<HashMap<String, Arc<Semaphore>>>);

impl OpenStreams {
    /// A place for one more stream of the caller's, which is free again when it is dropped.
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`] for a key that has [`STREAMS_PER_KEY`].
    pub(super) fn open(&self, caller: &Caller) -> Result<OwnedSemaphorePermit, ApiError> {
        let mut streams = self.0.lock();
        // Most keys have none open.
        streams.retain(|_, places| places.available_permits() < STREAMS_PER_KEY);
        let places = streams.entry(caller.id.clone()).or_insert_with(|| Arc::new(Semaphore::new(STREAMS_PER_KEY)));
        places.clone().try_acquire_owned().map_err(|_| {
            let message = format!("this key has {STREAMS_PER_KEY} streams of events open; close some");
            ApiError::new(Code::RateLimited, message).retry_after(RETRY_AFTER)
        })
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::id::Space;

    use super::*;
    use crate::api_keys::Rights;

    fn caller(id: &str) -> Caller {
        let rights = Rights::new(Space::default(), Vec::new());
        Caller { id: id.to_owned(), name: "key".to_owned(), rights, is_local: false }
    }

    #[test]
    fn each_key_has_its_own_places() {
        let streams = OpenStreams::default();
        let mut open: Vec<_> = (0..STREAMS_PER_KEY).map(|_| streams.open(&caller("k1")).unwrap()).collect();
        assert!(streams.open(&caller("k1")).is_err());
        let other = streams.open(&caller("k2")).unwrap();
        open.pop();
        open.push(streams.open(&caller("k1")).unwrap());
        assert!(streams.open(&caller("k1")).is_err());
        drop((open, other));
        let _last = streams.open(&caller("k3")).unwrap();
        assert_eq!(streams.0.lock().len(), 1, "keys without streams are forgotten");
    }
}
