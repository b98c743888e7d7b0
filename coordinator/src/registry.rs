//! Renders that this process knows: those under way, and the last ones that ended.
//!
//! **Invariant: a cache of what is in storage.** It answers polls while broker, ledger or storage are down; losing it loses nothing.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderRequest;
use tokio::sync::watch;

use crate::progress::RenderProgress;

/// Ended renders that are kept in memory.
const ENDED_KEPT: usize = 2048;

/// One render.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was asked.
    pub request: Arc<RenderRequest>,
    /// How far it is.
    pub progress: watch::Sender<RenderProgress>,
}

impl Entry {
    /// A render that has just been taken in or found.
    pub fn new(request: Arc<RenderRequest>, progress: RenderProgress) -> Self {
        Self { request, progress: watch::Sender::new(progress) }
    }
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Registry(RwLock<BTreeMap<RenderId, Entry>>);

impl Registry {
    /// The render's entry.
    pub fn get(&self, render: &RenderId) -> Option<Entry> {
        self.0.read().unwrap_or_else(PoisonError::into_inner).get(render).cloned()
    }

    /// Adds `entry` unless there is one, and answers the one that counts.
    pub fn add(&self, entry: Entry) -> Entry {
        let mut entries = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if entries.len() >= ENDED_KEPT {
            // Ids sort by age.
            let ended = entries.iter().filter(|(_, entry)| entry.progress.borrow().end.is_some());
            let oldest = ended.map(|(id, _)| id.clone()).next();
            oldest.and_then(|id| entries.remove(&id));
        }
        entries.entry(entry.request.id.clone()).or_insert(entry).clone()
    }

    /// Notes how `render` ended, and tells everyone who watches it.
    pub fn end(&self, render: &RenderId, state: Arc<TerminalState>) {
        let Some(entry) = self.get(render) else { return };
        entry.progress.send_if_modified(|progress| {
            let fresh = progress.end.is_none();
            if fresh {
                *progress = progress.clone().ended(state);
            }
            fresh
        });
    }

    /// Drops `render`.
    pub fn remove(&self, render: &RenderId) {
        self.0.write().unwrap_or_else(PoisonError::into_inner).remove(render);
    }
}
