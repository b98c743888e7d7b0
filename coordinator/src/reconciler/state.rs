//! The state of the reconciling loop.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::ViewSince;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::plan::Plan;
use tokio::sync::{Semaphore, mpsc};
use tokio::task::JoinSet;

use super::background_scan::{self, BackgroundTask};
use super::backoff::Backoff;
use super::error::ReconcileError;
use super::leadership::Leadership;
use super::node_watch::NodeWatch;
use super::tracked::Tracked;
use super::wake::Wake;
use crate::config::CoordinatorConfig;
use crate::registry::{Registry, RenderEntry};
use crate::scheduler::{LedgerRead, PlanOutline, RenderTasks, Schedule, Submitter};

/// Restores that run at a time. Each lists one render's objects and reads the records of several chunks at once.
const MAX_CONCURRENT_RESTORES: usize = 8;

/// The loop of one coordinator. Everything in here can be found again in storage and in the ledger.
pub(crate) struct Reconciler {
    pub(super) backplane: Backplane,
    pub(super) config: CoordinatorConfig,
    pub(super) registry: Arc<Registry>,
    pub(super) leadership: Leadership,
    /// The open renders.
    pub(super) renders: BTreeMap<RenderId, Tracked>,
    /// Renders that have ended, for as long as their open mark is in storage: storage need not be asked about them again.
    pub(super) finished: BTreeSet<RenderId>,
    /// Renders that are being looked up in storage.
    pub(super) pending_lookups: BTreeSet<RenderId>,
    lookups: JoinSet<()>,
    pub(super) restores: JoinSet<()>,
    /// Bounds the restores that run at a time.
    pub(super) restore_permits: Arc<Semaphore>,
    /// Whether every open render in storage is known to have its mark.
    pub(super) are_marks_complete: bool,
    /// Renders that ended without completing. The ledger keeps their entries for [`CoordinatorConfig::retain_ended_for`].
    pub(super) retained: VecDeque<Retained>,
    /// The tasks of the open renders, with the live workers as of the last tick.
    pub(super) schedule: Schedule,
    pub(super) node_watch: NodeWatch,
    /// Whether the backlog is counted after the next checks.
    pub(super) is_backlog_due: bool,
    pub(super) scanned_at: Option<Instant>,
    pub(super) scan: BackgroundTask,
    pub(super) verification: BackgroundTask,
    pub(super) depths_measured_at: Option<Instant>,
    pub(super) depth_measurement: BackgroundTask,
    pub(super) backoff: Backoff,
    pub(super) wakes: mpsc::UnboundedSender<Wake>,
}

/// An ended render whose ledger entry is kept for a while, so that workers still at it learn that they have lost their leases.
pub(super) struct Retained {
    pub(super) render: RenderId,
    /// When it ended, or was cancelled in the ledger after that.
    pub(super) since: Instant,
    /// Whether the ledger has been told that it is cancelled.
    pub(super) is_cancelled: bool,
}

impl Reconciler {
    /// A loop that is woken through `wakes`. Its background tasks use the same channel.
    pub(crate) fn new(
        backplane: Backplane,
        config: CoordinatorConfig,
        registry: Arc<Registry>,
        leadership: Leadership,
        wakes: mpsc::UnboundedSender<Wake>,
    ) -> Self {
        let (node_watch, schedule) = (NodeWatch::new(config.node_lost_after), config.schedule.clone());
        Self {
            backplane,
            config,
            registry,
            leadership,
            renders: BTreeMap::new(),
            finished: BTreeSet::new(),
            pending_lookups: BTreeSet::new(),
            lookups: JoinSet::new(),
            restores: JoinSet::new(),
            restore_permits: Arc::new(Semaphore::new(MAX_CONCURRENT_RESTORES)),
            are_marks_complete: false,
            retained: VecDeque::new(),
            schedule: Schedule::new(schedule),
            node_watch,
            is_backlog_due: true,
            scanned_at: None,
            scan: BackgroundTask::default(),
            verification: BackgroundTask::default(),
            depths_measured_at: None,
            depth_measurement: BackgroundTask::default(),
            backoff: Backoff::default(),
            wakes,
        }
    }

    /// Starts to look up in storage those of `renders` that are neither tracked nor known to have ended.
    pub(super) fn look_up(&mut self, renders: impl IntoIterator<Item = RenderId>) {
        let unknown: Vec<RenderId> = renders
            .into_iter()
            .filter(|render| !self.renders.contains_key(render) && !self.finished.contains(render))
            .filter(|render| self.pending_lookups.insert(render.clone()))
            .collect();
        while self.lookups.try_join_next().is_some() {}
        if !unknown.is_empty() {
            self.lookups.spawn(background_scan::look_up(self.backplane.clone(), unknown, self.wakes.clone()));
        }
    }

    /// Starts to track an open render. `is_new` says that storage has nothing of it but its request.
    pub(super) fn track(&mut self, entry: RenderEntry, is_new: bool) {
        let render = entry.request.id.clone();
        if self.finished.contains(&render) {
            return;
        }
        let entry = self.registry.add(entry);
        if self.renders.contains_key(&render) {
            return;
        }
        let (request, intake) = (&entry.request, &entry.intake);
        let submitter = Submitter {
            space: intake.space.clone(),
            pool: request.spec.pool.clone(),
            created_at_ms: request.created_at_ms,
            max_parallel_chunks: request.spec.max_parallel_chunks.map(|cap| cap.get()),
        };
        let view = entry.view.clone();
        let tracked = Tracked::new(entry, is_new);
        self.schedule.open(&render, submitter, tracked.standing(), view, Instant::now());
        self.renders.insert(render, tracked);
    }

    /// Asks for a check of a render as soon as the pause after the last one is over. It is dispatched by what the API has
    /// changed at once.
    pub(super) fn request_check(&mut self, render: &RenderId) {
        self.update_standing(render);
        self.schedule.request_check(render, Instant::now());
    }

    /// Tells the schedule how a render stands.
    pub(super) fn update_standing(&mut self, render: &RenderId) {
        if let Some(tracked) = self.renders.get(render) {
            self.schedule.set_standing(render, tracked.standing(), Instant::now());
        }
    }

    /// Takes over the plan of a render.
    pub(super) fn set_plan(&mut self, render: &RenderId, plan: Plan) {
        let Some(tracked) = self.renders.get_mut(render) else { return };
        let outline = PlanOutline::from(&plan);
        tracked.set_plan(plan);
        self.schedule.change(render, Instant::now(), |tasks, at| tasks.set_plan(Some(outline), at));
    }

    /// Drops the plan of a render and everything that follows from it.
    pub(super) fn clear_plan(&mut self, render: &RenderId) {
        let Some(tracked) = self.renders.get_mut(render) else { return };
        tracked.clear_plan();
        self.schedule.change(render, Instant::now(), RenderTasks::clear);
        self.update_standing(render);
    }

    /// Takes over what the ledger has answered to a read that began at `began`, and lets the time pass until then.
    /// Returns whether the ledger knows the render.
    pub(super) fn take_over(&mut self, render: &RenderId, read: ViewSince, began: Instant) -> bool {
        let is_known = read != ViewSince::Unknown;
        if let ViewSince::Changed { revision, is_whole, view } = read {
            let read = LedgerRead { revision, is_whole, view };
            self.schedule.change(render, Instant::now(), |tasks, at| tasks.take_over(read, at));
        }
        self.schedule.change(render, began, RenderTasks::advance);
        is_known
    }

    /// Reads a render again, after something was written to it.
    pub(super) async fn read_again(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let known = self.schedule.tasks(render).and_then(RenderTasks::revision);
        let began = Instant::now();
        let read = self.backplane.ledger.view_since(render, self.leadership.term(), known).await?;
        self.take_over(render, read, began);
        Ok(())
    }

    /// Stops tracking a render that has ended.
    pub(super) fn untrack(&mut self, render: &RenderId) {
        self.renders.remove(render);
        self.schedule.close(render);
        self.finished.insert(render.clone());
    }

    /// Keeps the ledger entry of a render that ended for a while, cancelled, so that workers still at it learn that their
    /// leases are lost.
    pub(super) fn retain(&mut self, render: RenderId, is_cancelled: bool) {
        self.retained.push_back(Retained { render, since: Instant::now(), is_cancelled });
    }
}
