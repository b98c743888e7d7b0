//! Renders that this process knows: those under way, and the last ones that ended.
//!
//! **Invariant: a cache of what is in storage.** It answers polls while broker, ledger or storage are down; losing it loses nothing.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderRequest;
use tokio::sync::{broadcast, watch};

use crate::intake::Intake;
use crate::progress::RenderProgress;

/// Ended renders that are kept in memory.
const ENDED_KEPT: usize = 2048;

/// Ends that a slow listener may fall behind.
const ENDS: usize = 1024;

/// One render.
#[derive(Debug, Clone)]
pub struct Entry {
    /// What was asked.
    pub request: Arc<RenderRequest>,
    /// How it came in.
    pub intake: Arc<Intake>,
    /// How far it is.
    pub progress: watch::Sender<RenderProgress>,
    paused: Arc<AtomicBool>,
}

impl Entry {
    /// A render that has just been taken in or found.
    pub fn new(request: Arc<RenderRequest>, intake: Arc<Intake>, progress: RenderProgress) -> Self {
        Self { request, intake, progress: watch::Sender::new(progress), paused: Arc::default() }
    }

    /// Whether nothing more of it is sent out for now.
    pub fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Relaxed)
    }

    /// Sends nothing more of it out, or goes on.
    pub fn pause(&self, paused: bool) {
        self.paused.store(paused, Ordering::Relaxed);
    }
}

/// See the [module](self).
#[derive(Debug)]
pub struct Registry {
    entries: RwLock<BTreeMap<RenderId, Entry>>,
    ends: broadcast::Sender<RenderId>,
}

impl Default for Registry {
    fn default() -> Self {
        Self { entries: RwLock::default(), ends: broadcast::Sender::new(ENDS) }
    }
}

impl Registry {
    /// The render's entry.
    pub fn get(&self, render: &RenderId) -> Option<Entry> {
        self.entries.read().unwrap_or_else(PoisonError::into_inner).get(render).cloned()
    }

    /// Adds `entry` unless there is one, and answers the one that counts.
    pub fn add(&self, entry: Entry) -> Entry {
        let mut entries = self.entries.write().unwrap_or_else(PoisonError::into_inner);
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
        // Nobody may be listening, and who missed one finds it in storage.
        let _ = self.ends.send(render.clone());
    }

    /// Renders that end from now on.
    pub fn ends(&self) -> broadcast::Receiver<RenderId> {
        self.ends.subscribe()
    }

    /// Drops `render`.
    pub fn remove(&self, render: &RenderId) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(render);
    }
}
