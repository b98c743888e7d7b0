//! The renders that this process keeps in memory: the open ones, and the last ones that ended.
//!
//! **Invariant: a cache of what is in storage.** It answers polls while broker, ledger or storage are down. Nothing is lost with it.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};

use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderRequest;
use parking_lot::RwLock;
use tokio::sync::{broadcast, watch};

use crate::progress::{PlanSummary, RenderProgress, Stage};
use crate::scheduler::{Captured, SharedView};
use crate::store::StoredRender;
use crate::submission::{Intake, Purpose};
use crate::timeline::ChunkResults;

/// Number of entries from which the oldest ended render is dropped for each new one.
const MAX_ENTRIES: usize = 2048;

/// Number of ends and deletions that a slow receiver may fall behind before it misses some.
const BROADCAST_CAPACITY: usize = 1024;

/// The tasks that wait for the slots of a pool.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Backlog {
    /// Number of tasks.
    pub(crate) tasks: u64,
    /// Unix milliseconds since which the oldest one has been waiting.
    pub(crate) since_ms: Option<u64>,
}

impl Backlog {
    /// Adds the tasks of `other`.
    pub(crate) fn add(&mut self, other: Self) {
        self.tasks += other.tasks;
        self.since_ms = self.since_ms.into_iter().chain(other.since_ms).min();
    }
}

/// A render, with its progress.
#[derive(Debug, Clone)]
pub struct RenderDetail {
    /// The request: project and options.
    pub request: Arc<RenderRequest>,
    /// The space, key and priority of its submission, and where its client was.
    pub intake: Arc<Intake>,
    /// Its progress, and its outcome once it has ended.
    pub progress: RenderProgress,
    /// Whether it is paused: none of its waiting tasks is dispatched.
    pub is_paused: bool,
    /// Its priority now.
    pub priority: i32,
}

/// One render in memory. Clones share its state.
#[derive(Debug, Clone)]
pub(crate) struct RenderEntry {
    /// The request: project and options.
    pub(crate) request: Arc<RenderRequest>,
    /// The space, key and priority of its submission, and where its client was.
    pub(crate) intake: Arc<Intake>,
    /// How far it is, for those who watch it.
    pub(crate) progress: watch::Sender<RenderProgress>,
    is_paused: Arc<AtomicBool>,
    priority: Arc<AtomicI32>,
    plan: Arc<RwLock<Option<Arc<Plan>>>>,
    /// The ledger's view of it, as the reconciling loop knows it. Empty before its first check.
    pub(crate) view: SharedView,
    /// The decoded results of its chunks.
    pub(crate) chunk_results: Arc<ChunkResults>,
}

impl RenderEntry {
    /// An entry for a render with this progress, which is not paused.
    pub(crate) fn new(request: Arc<RenderRequest>, intake: Arc<Intake>, progress: RenderProgress) -> Self {
        let progress = watch::Sender::new(progress);
        let priority = Arc::new(AtomicI32::new(intake.priority));
        let (is_paused, plan, view, chunk_results) = Default::default();
        Self { request, intake, progress, is_paused, priority, plan, view, chunk_results }
    }

    /// An entry for a render as storage has it.
    pub(crate) fn from_stored(stored: StoredRender) -> Self {
        let StoredRender { request, intake, is_paused, plan, manifest, state } = stored;
        let mut progress = match (&plan, &manifest) {
            (Some(plan), _) => {
                let summary = Arc::new(PlanSummary::from(plan));
                RenderProgress::count(Stage::Capture, Some(plan), Some(&summary), Captured::default())
            }
            (None, Some(manifest)) => RenderProgress::of_manifest(manifest),
            (None, None) => RenderProgress::queued(),
        };
        if let Some(state) = state {
            progress = progress.ended(Arc::new(state));
        }
        let entry = Self::new(Arc::new(request), Arc::new(intake), progress);
        entry.set_paused(is_paused);
        entry
    }

    /// The plan, if the reconciling loop knew it at its last check.
    pub(crate) fn plan(&self) -> Option<Arc<Plan>> {
        self.plan.read().clone()
    }

    /// Replaces the plan.
    pub(crate) fn set_plan(&self, plan: Option<Arc<Plan>>) {
        *self.plan.write() = plan;
    }

    /// Whether it is paused: none of its waiting tasks is dispatched.
    pub(crate) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed)
    }

    /// Its priority now. That of its intake is the one that it was submitted with.
    pub(crate) fn priority(&self) -> i32 {
        self.priority.load(Ordering::Relaxed)
    }

    /// Changes its priority.
    pub(crate) fn set_priority(&self, priority: i32) {
        self.priority.store(priority, Ordering::Relaxed);
    }

    /// It and its progress, as they are now.
    pub(crate) fn detail(&self) -> RenderDetail {
        RenderDetail {
            request: self.request.clone(),
            intake: self.intake.clone(),
            progress: self.progress.borrow().clone(),
            is_paused: self.is_paused(),
            priority: self.priority(),
        }
    }

    /// Pauses or resumes it.
    pub(crate) fn set_paused(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }
}

/// The renders in memory. See the [module](self).
#[derive(Debug)]
pub(crate) struct Registry {
    entries: RwLock<BTreeMap<RenderId, RenderEntry>>,
    ends: broadcast::Sender<RenderId>,
    deletions: broadcast::Sender<(Space, RenderId)>,
    backlog: RwLock<HashMap<Pool, Backlog>>,
}

impl Default for Registry {
    fn default() -> Self {
        Self {
            entries: RwLock::default(),
            ends: broadcast::Sender::new(BROADCAST_CAPACITY),
            deletions: broadcast::Sender::new(BROADCAST_CAPACITY),
            backlog: RwLock::default(),
        }
    }
}

impl Registry {
    /// The entry of `render`.
    pub(crate) fn get(&self, render: &RenderId) -> Option<RenderEntry> {
        self.entries.read().get(render).cloned()
    }

    /// Adds `entry` unless its render has one already, and answers the one that the registry has then.
    pub(crate) fn add(&self, entry: RenderEntry) -> RenderEntry {
        let mut entries = self.entries.write();
        if entries.len() >= MAX_ENTRIES {
            // Ids sort by age.
            let oldest =
                entries.iter().find(|(_, entry)| entry.progress.borrow().end.is_some()).map(|(id, _)| id.clone());
            oldest.and_then(|id| entries.remove(&id));
        }
        entries.entry(entry.request.id.clone()).or_insert(entry).clone()
    }

    /// Records how `render` ended, and tells everyone who watches it or subscribed to ends.
    pub(crate) fn end(&self, render: &RenderId, state: Arc<TerminalState>) {
        let Some(entry) = self.get(render) else { return };
        entry.progress.send_if_modified(|progress| {
            let is_first = progress.end.is_none();
            if is_first {
                *progress = progress.clone().ended(state);
            }
            is_first
        });
        // An error says that nobody has subscribed. A subscriber that misses an end finds it in storage.
        let _ = self.ends.send(render.clone());
    }

    /// Renders that end from now on.
    pub(crate) fn ends(&self) -> broadcast::Receiver<RenderId> {
        self.ends.subscribe()
    }

    /// Renders that are deleted from now on.
    pub(crate) fn deletions(&self) -> broadcast::Receiver<(Space, RenderId)> {
        self.deletions.subscribe()
    }

    /// The renders of `space`, oldest first, without those that find the faces of looks.
    pub(crate) fn of_space(&self, space: &Space) -> Vec<RenderEntry> {
        let entries = self.entries.read();
        let is_shown = |intake: &Intake| intake.space == *space && !matches!(intake.purpose, Purpose::Look(_));
        entries.values().filter(|entry| is_shown(&entry.intake)).cloned().collect()
    }

    /// The waiting tasks of each pool.
    pub(crate) fn backlog(&self) -> HashMap<Pool, Backlog> {
        self.backlog.read().clone()
    }

    /// Replaces the waiting tasks of each pool.
    pub(crate) fn set_backlog(&self, backlog: HashMap<Pool, Backlog>) {
        *self.backlog.write() = backlog;
    }

    /// Removes the entry of `render`, which was deleted, and tells everyone who subscribed to deletions.
    pub(crate) fn delete(&self, space: &Space, render: &RenderId) {
        self.remove(render);
        // An error says that nobody has subscribed.
        let _ = self.deletions.send((space.clone(), render.clone()));
    }

    /// Removes the entry of `render`.
    pub(crate) fn remove(&self, render: &RenderId) {
        self.entries.write().remove(render);
    }
}
