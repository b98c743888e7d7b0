//! The loop that keeps every render moving: facts in, [scheduler](crate::scheduler) decisions out.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`tracked`] | what the loop remembers of one render |
//! | [`restore`](mod@restore) | the ledger from object storage |
//! | [`apply`] | the decisions, carried out |
//! | [`replan`] | a render whose plan nobody can work from any more |
//! | [`events`] | hints from workers |
//! | [`background_scan`] | what takes long, beside the loop |
//!
//! **Invariants**
//! - *Events are hints.* One makes its render be looked at now; without any, the tick looks at all of them.
//! - *The ledger can be emptied at any moment.* A render that it does not know is opened and restored from storage, and what
//!   was in flight is sent again. On a timer the two are compared even without a reason.
//! - *The process can end at any moment.* Everything here is found again in storage: the renders without a terminal state.
//! - *Nothing stops the loop.* A server that does not answer is logged, left alone for a growing while, and asked again.

mod apply;
mod background_scan;
mod backoff;
pub(crate) mod events;
mod gauges;
mod replan;
mod restore;
mod tracked;

use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::NodeView;
use hyperfarm_proto::id::{Pool, RenderId};
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use self::background_scan::{BackgroundScan, Comparison, Found};
use self::backoff::Backoff;
use self::tracked::Tracked;
use crate::config::CoordinatorConfig;
use crate::error::ReconcileError;
use crate::registry::{Entry, Registry, Waiting};
use crate::scheduler::Fleet;
use crate::store;

/// What wakes the loop.
#[derive(Debug)]
pub(crate) enum Wake {
    /// A render was taken in and is durable.
    New(Box<Entry>),
    /// Something happened to a render.
    Look(RenderId),
    /// A render was ended from outside; its workers have to lose their leases.
    Ended(RenderId),
    /// The renders that have a mark of an open render in storage.
    OpenRenders(BTreeSet<RenderId>),
    /// What storage says about a render that was not tracked.
    Found(RenderId, Found),
    /// What a comparison of ledger and storage showed.
    Comparison(RenderId, Box<Comparison>),
}

/// See the [module](self).
pub(crate) struct Reconciler {
    backplane: Backplane,
    config: CoordinatorConfig,
    registry: Arc<Registry>,
    renders: BTreeMap<RenderId, Tracked>,
    /// Renders that have ended, for as long as storage has their open mark: it need not be asked about them again.
    finished: BTreeSet<RenderId>,
    /// Renders that are being looked up in storage.
    pending_lookups: BTreeSet<RenderId>,
    lookups: JoinSet<()>,
    /// Whether every open render in storage is known to have its mark.
    are_marks_complete: bool,
    /// Renders that ended without completing: since when, and whether the ledger knows.
    retained: VecDeque<Retained>,
    fleet: Fleet,
    scanned_at: Option<Instant>,
    scan: BackgroundScan,
    verification: BackgroundScan,
    depths: BackgroundScan,
    depths_at: Option<Instant>,
    backoff: Backoff,
    wakes: mpsc::UnboundedSender<Wake>,
}

struct Retained {
    render: RenderId,
    since: Instant,
    is_cancelled: bool,
}

impl Reconciler {
    /// A loop that others wake through `wakes`, and its own surveys too.
    pub(crate) fn new(
        backplane: Backplane,
        config: CoordinatorConfig,
        registry: Arc<Registry>,
        wakes: mpsc::UnboundedSender<Wake>,
    ) -> Self {
        Self {
            backplane,
            config,
            registry,
            renders: BTreeMap::new(),
            finished: BTreeSet::new(),
            pending_lookups: BTreeSet::new(),
            lookups: JoinSet::new(),
            are_marks_complete: false,
            retained: VecDeque::new(),
            fleet: Fleet::default(),
            scanned_at: None,
            scan: BackgroundScan::default(),
            verification: BackgroundScan::default(),
            depths: BackgroundScan::default(),
            depths_at: None,
            backoff: Backoff::default(),
            wakes,
        }
    }

    /// Runs until the drain starts. What is under way stays as it is: in storage, for the next process.
    pub(crate) async fn run(mut self, mut wakes: mpsc::UnboundedReceiver<Wake>, drain: Drain) {
        let mut tick = interval(self.config.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let next_look = self.renders.values().filter_map(Tracked::look_at).min();
            let look = sleep_until(next_look.unwrap_or_else(|| Instant::now() + self.config.tick * 2).into());
            tokio::select! {
                () = drain.started() => break,
                wake = wakes.recv() => {
                    let Some(wake) = wake else { break };
                    self.wake(wake);
                    while let Ok(wake) = wakes.try_recv() {
                        self.wake(wake);
                    }
                }
                _ = tick.tick() => self.tick().await,
                () = look => {}
            }
            self.reconcile().await;
        }
        info!(renders = self.renders.len(), "the coordinator's loop has stopped");
    }

    fn wake(&mut self, wake: Wake) {
        match wake {
            Wake::New(entry) => self.track(*entry, true),
            Wake::Look(render) => match self.renders.get_mut(&render) {
                Some(tracked) => tracked.wants_a_look(),
                None => self.look_up([render]),
            },
            Wake::OpenRenders(open) => {
                self.are_marks_complete = true;
                // A look-up that began before the end may still answer that the render is open.
                self.finished.retain(|render| open.contains(render) || self.pending_lookups.contains(render));
                // The newest first: old ones have mostly ended.
                self.look_up(open.into_iter().rev());
            }
            Wake::Ended(render) => {
                self.untrack(&render);
                self.retain(render, false);
            }
            Wake::Found(render, found) => {
                self.pending_lookups.remove(&render);
                match found {
                    Found::Open(entry) => self.track(*entry, false),
                    Found::Over if !self.renders.contains_key(&render) => drop(self.finished.insert(render)),
                    Found::Over | Found::Nothing => {}
                }
            }
            Wake::Comparison(render, verified) => self.verified(&render, *verified),
        }
    }

    /// Looks those of `renders` up in storage about which nothing is known.
    fn look_up(&mut self, renders: impl IntoIterator<Item = RenderId>) {
        let unknown: Vec<RenderId> = renders
            .into_iter()
            .filter(|render| !self.renders.contains_key(render) && !self.finished.contains(render))
            .filter(|render| self.pending_lookups.insert(render.clone()))
            .collect();
        while self.lookups.try_join_next().is_some() {}
        if !unknown.is_empty() {
            self.lookups.spawn(background_scan::find(self.backplane.clone(), unknown, self.wakes.clone()));
        }
    }

    /// Begins to look after a render. `is_new` says that nothing of it but its request can be in storage.
    fn track(&mut self, entry: Entry, is_new: bool) {
        let render = entry.request.id.clone();
        if self.finished.contains(&render) {
            return;
        }
        let entry = self.registry.add(entry);
        self.renders.entry(render).or_insert_with(|| Tracked::new(entry, is_new));
    }

    fn untrack(&mut self, render: &RenderId) {
        self.renders.remove(render);
        self.finished.insert(render.clone());
    }

    fn retain(&mut self, render: RenderId, is_cancelled: bool) {
        self.retained.push_back(Retained { render, since: Instant::now(), is_cancelled });
    }

    /// What happens without any event.
    async fn tick(&mut self) {
        if self.backoff.is_resting() {
            return;
        }
        match self.backplane.ledger.nodes().await {
            Ok(nodes) => {
                self.fleet = Fleet::of(&nodes);
                self.gauge(&nodes);
            }
            Err(error) => return self.backoff.upset("the live nodes cannot be read", &error.into()),
        }
        for tracked in self.renders.values_mut() {
            let lacks = replan::lacks_its_class(tracked, &self.fleet);
            tracked.replanning.note(lacks);
            tracked.wants_a_look();
        }
        self.forget_retained().await;
        self.survey();
    }

    /// Shows the farm as it is now.
    fn gauge(&mut self, nodes: &[NodeView]) {
        self.backplane.metrics.set_farm(&gauges::measure(nodes, self.renders.values()));
        let is_due = self.depths_at.is_none_or(|at| at.elapsed() >= gauges::DEPTHS_EVERY);
        if is_due && !self.depths.is_running() {
            self.depths_at = Some(Instant::now());
            let workers =
                nodes.iter().filter(|node| node.role == "worker").filter_map(|node| node.pool.parse::<Pool>().ok());
            let pools = workers.chain(self.renders.values().map(|tracked| tracked.pool().clone())).collect();
            self.depths.start(gauges::depths(self.backplane.clone(), pools));
        }
    }

    /// Starts the surveys whose time has come.
    fn survey(&mut self) {
        let is_scan_due = self.scanned_at.is_none_or(|at| at.elapsed() >= self.config.rescan_every);
        if is_scan_due && !self.scan.is_running() {
            self.scanned_at = Some(Instant::now());
            let scan = background_scan::scan(self.backplane.clone(), self.are_marks_complete, self.wakes.clone());
            self.scan.start(scan);
        }
        if self.verification.is_running() {
            return;
        }
        let every = self.config.verify_every;
        let is_due = |tracked: &&mut Tracked| {
            tracked.is_restored && !tracked.replanning.is_ending() && tracked.verified_at.elapsed() >= every
        };
        let due: Vec<_> = self
            .renders
            .values_mut()
            .filter(is_due)
            .map(|tracked| {
                tracked.verified_at = Instant::now();
                (tracked.id().clone(), tracked.view.clone())
            })
            .collect();
        if !due.is_empty() {
            self.verification.start(background_scan::verify(self.backplane.clone(), due, self.wakes.clone()));
        }
    }

    /// Takes in what a comparison showed.
    fn verified(&mut self, render: &RenderId, verified: Comparison) {
        let Some(tracked) = self.renders.get_mut(render) else { return };
        if verified.is_deleted || verified.end.is_some() {
            info!(%render, is_deleted = verified.is_deleted, "the render was ended elsewhere");
            match verified.end.filter(|_| !verified.is_deleted) {
                Some(end) => self.registry.end(render, end),
                None => self.registry.remove(render),
            }
            return self.untrack(render);
        }
        if verified.restored > 0 {
            warn!(%render, restored = verified.restored, "storage had commits that the ledger lacked");
            tracked.wants_a_look();
        }
        if let (None, Some(plan), false) = (&tracked.plan, verified.plan, tracked.replanning.is_ending()) {
            tracked.set_plan(plan);
        }
    }

    async fn forget_retained(&mut self) {
        let (ledger, linger) = (&self.backplane.ledger, self.config.linger);
        for retained in self.retained.iter_mut().filter(|retained| !retained.is_cancelled) {
            if let Err(error) = ledger.cancel(&retained.render).await {
                return self.backoff.upset("an ended render cannot be cancelled in the ledger", &error.into());
            }
            retained.is_cancelled = true;
        }
        while let Some(oldest) = self.retained.front().filter(|oldest| oldest.since.elapsed() >= linger) {
            if let Err(error) = ledger.forget(&oldest.render).await {
                return self.backoff.upset("an ended render cannot be forgotten", &error.into());
            }
            self.retained.pop_front();
        }
    }

    /// Looks at every render that wants it, and does what follows.
    async fn reconcile(&mut self) {
        let now = Instant::now();
        let is_due = |tracked: &&Tracked| tracked.look_at().is_some_and(|at| at <= now);
        let due: Vec<RenderId> = self.renders.values().filter(is_due).map(|tracked| tracked.id().clone()).collect();
        let ledger = &self.backplane.ledger;
        let looks = due.into_iter().map(|render| async move {
            let started = Instant::now();
            let view = ledger.view(&render).await;
            (render, view, started.elapsed())
        });
        let looks: Vec<_> = stream::iter(looks).buffer_unordered(store::PARALLEL).collect().await;
        let mut failed = Vec::new();
        for (render, view, took) in looks {
            match self.look(&render, view.map_err(ReconcileError::from), took).await {
                Ok(()) => self.looked(&render, |tracked| tracked.answered()),
                Err(error) => {
                    self.looked(&render, |tracked| tracked.failed());
                    failed.push((render, error));
                }
            }
        }
        // One line, however many there are: usually they all have the same reason.
        if let Some((render, error)) = failed.first() {
            warn!(%render, %error, renders = failed.len(), "renders could not be moved on, they are looked at again");
        }
        self.tell_backlog();
        if self.backoff.is_resting() {
            return;
        }
        match self.dispatch().await {
            Ok(()) => self.backoff.relax(),
            Err(error) => self.backoff.upset("tasks cannot be dispatched", &error),
        }
    }

    /// Tells what waits for slots.
    fn tell_backlog(&self) {
        let mut backlog: HashMap<_, Waiting> = HashMap::new();
        for tracked in self.renders.values().filter(|tracked| !tracked.entry.is_paused()) {
            let (pool, waiting) = tracked.backlog();
            backlog.entry(pool).or_default().add(waiting);
        }
        self.registry.set_backlog(backlog);
    }

    fn looked(&mut self, render: &RenderId, note: impl FnOnce(&mut Tracked)) {
        if let Some(tracked) = self.renders.get_mut(render) {
            note(tracked);
        }
    }
}

/// How long to leave a render alone after a look that took `look`: large ones must not keep the loop busy.
fn spacing(look: Duration) -> Duration {
    (look * 4).min(Duration::from_secs(2))
}
