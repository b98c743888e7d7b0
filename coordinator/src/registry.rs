//! Renders that this process knows: those under way, and the last ones that ended.
//!
//! **Invariant: a cache of what is in storage.** It answers polls while broker, ledger or storage are down; losing it loses nothing.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, PoisonError, RwLock};

use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderRequest;
use tokio::sync::{broadcast, watch};

use crate::intake::Intake;
use crate::progress::RenderProgress;
use crate::timeline::Records;

/// Ended renders that are kept in memory.
const ENDED_KEPT: usize = 2048;

/// Ends that a slow listener may fall behind.
const ENDS: usize = 1024;

/// What the loop saw last of a render.
#[derive(Debug, Clone, Default)]
pub struct Latest {
    /// The plan, once it is stored.
    pub plan: Option<Arc<Plan>>,
    /// What the ledger said.
    pub view: Arc<RenderView>,
}

/// Tasks that wait for a slot of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Waiting {
    /// How many.
    pub tasks: u64,
    /// Unix milliseconds since which the oldest of them waits.
    pub since_ms: Option<u64>,
}

impl Waiting {
    /// Those of both.
    pub fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.since_ms = self.since_ms.into_iter().chain(other.since_ms).min();
    }
}

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
    latest: Arc<RwLock<Latest>>,
    /// Results of its chunks, read once.
    pub records: Arc<Records>,
}

impl Entry {
    /// A render that has just been taken in or found.
    pub fn new(request: Arc<RenderRequest>, intake: Arc<Intake>, progress: RenderProgress) -> Self {
        let progress = watch::Sender::new(progress);
        Self { request, intake, progress, paused: Arc::default(), latest: Arc::default(), records: Arc::default() }
    }

    /// What the loop saw last of it. Empty until the first look.
    pub fn latest(&self) -> Latest {
        self.latest.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what the loop sees.
    pub fn saw(&self, plan: Option<Arc<Plan>>, view: Arc<RenderView>) {
        *self.latest.write().unwrap_or_else(PoisonError::into_inner) = Latest { plan, view };
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
    deletions: broadcast::Sender<(Space, RenderId)>,
    backlog: RwLock<HashMap<Pool, Waiting>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            ends: broadcast::Sender::new(ENDS),
            deletions: broadcast::Sender::new(ENDS),
            backlog: RwLock::default(),
        }
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

    /// Renders that are deleted from now on.
    pub fn deletions(&self) -> broadcast::Receiver<(Space, RenderId)> {
        self.deletions.subscribe()
    }

    /// The renders of `space`, oldest first.
    pub fn of_space(&self, space: &Space) -> Vec<Entry> {
        let entries = self.entries.read().unwrap_or_else(PoisonError::into_inner);
        entries.values().filter(|entry| entry.intake.space == *space).cloned().collect()
    }

    /// What waits for the slots of each pool.
    pub fn backlog(&self) -> HashMap<Pool, Waiting> {
        self.backlog.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes what waits.
    pub fn set_backlog(&self, backlog: HashMap<Pool, Waiting>) {
        *self.backlog.write().unwrap_or_else(PoisonError::into_inner) = backlog;
    }

    /// Drops `render`, which was deleted, and tells everyone who follows its space.
    pub fn delete(&self, space: &Space, render: &RenderId) {
        self.remove(render);
        // Nobody may be listening.
        let _ = self.deletions.send((space.clone(), render.clone()));
    }

    /// Drops `render`.
    pub fn remove(&self, render: &RenderId) {
        self.entries.write().unwrap_or_else(PoisonError::into_inner).remove(render);
    }
}
