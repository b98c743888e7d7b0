//! The loop: it waits for a wake, a tick, or the time at which a render is due for a check; then it checks the renders that are due
//! and dispatches tasks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{LedgerError, NodeView};
use hyperfarm_backplane::metrics::FarmGauges;
use hyperfarm_proto::id::{Pool, RenderId};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep_until};
use tracing::{info, warn};

use super::error::ReconcileError;
use super::restore::Known;
use super::state::Reconciler;
use super::tracked::Tracked;
use super::wake::{Lookup, Verification, Wake};
use super::{background_scan, gauges};
use crate::registry::Backlog;
use crate::scheduler::{Fleet, RenderTasks};
use crate::store::MAX_CONCURRENT_REQUESTS;

/// How often a standby lists the open renders at least.
const STANDBY_RESCAN: Duration = Duration::from_secs(5);

impl Reconciler {
    /// Runs until the drain starts. Open renders stay open in storage for the next process.
    pub(crate) async fn run(mut self, mut wakes: mpsc::UnboundedReceiver<Wake>, drain: Drain) {
        let mut tick = interval(self.config.tick);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut changes = self.leadership.changes();
        self.leadership.ask(&self.backplane).await;
        let renewal = tokio::spawn(self.leadership.clone().run(self.backplane.clone()));
        loop {
            let next_check = self.schedule.next_check_at();
            let check = sleep_until(next_check.unwrap_or_else(|| Instant::now() + self.config.tick * 2).into());
            tokio::select! {
                () = drain.started() => break,
                wake = wakes.recv() => {
                    let Some(wake) = wake else { break };
                    self.handle(wake);
                    while let Ok(wake) = wakes.try_recv() {
                        self.handle(wake);
                    }
                }
                _ = tick.tick() => self.tick().await,
                is_leading = changes.next() => self.leadership_changed(is_leading),
                () = check => {}
            }
            self.reconcile().await;
        }
        renewal.abort();
        // Its end is waited for: a renewal after the resignation would take the lease again.
        let _ = renewal.await;
        self.leadership.resign(&self.backplane).await;
        info!(open_renders = self.renders.len(), "the coordinator's loop has stopped");
    }

    fn leadership_changed(&mut self, is_leading: bool) {
        if is_leading {
            self.scanned_at = None;
        } else {
            self.backplane.metrics.set_farm(&FarmGauges::default());
            self.backplane.metrics.set_queue_depths(&[]);
        }
        self.schedule.request_all(Instant::now());
    }

    fn is_leading(&self) -> bool {
        self.leadership.term().is_some()
    }

    fn handle(&mut self, wake: Wake) {
        match wake {
            Wake::Submitted(entry) => self.track(*entry, true),
            Wake::Changed(render) if self.renders.contains_key(&render) => self.request_check(&render),
            Wake::ChangedInStorage(render) if self.renders.contains_key(&render) => {
                if let Some(tracked) = self.renders.get_mut(&render) {
                    tracked.is_verification_requested = true;
                }
                self.request_check(&render);
            }
            Wake::Changed(render) | Wake::ChangedInStorage(render) => self.look_up([render]),
            Wake::EndedByApi(render) => {
                self.untrack(&render);
                self.retain(render, false);
            }
            Wake::OpenRenders { open, is_complete } => {
                self.are_marks_complete |= is_complete;
                // A look-up that began before the render's end may still answer that it is open.
                self.finished.retain(|render| open.contains(render) || self.pending_lookups.contains(render));
                // The newest first: most of the old ones have ended.
                self.look_up(open.into_iter().rev());
            }
            Wake::LookedUp(render, lookup) => {
                self.pending_lookups.remove(&render);
                match lookup {
                    Lookup::Open(entry) => self.track(*entry, false),
                    Lookup::Ended if !self.renders.contains_key(&render) => drop(self.finished.insert(render)),
                    Lookup::Ended | Lookup::Missing => {}
                }
            }
            Wake::Verified(render, verification) => self.handle_verification(&render, *verification),
            Wake::Restored(render, restored) => {
                let Some(tracked) = self.renders.get_mut(&render) else { return };
                tracked.is_restoring = false;
                match restored {
                    Ok(plan) => {
                        tracked.is_restored = true;
                        if let Some(plan) = plan.filter(|_| !tracked.replanning.is_ending()) {
                            self.set_plan(&render, *plan);
                        }
                        // Tasks in flight may be lost: a worker drops the message of a render that the ledger does not
                        // know.
                        self.schedule.change(&render, Instant::now(), |tasks, at| {
                            tasks.forget_revision();
                            tasks.clear_dispatches(at);
                        });
                    }
                    Err(error) => tracked.restore_error = Some(error),
                }
                self.request_check(&render);
            }
        }
    }

    pub(super) fn handle_verification(&mut self, render: &RenderId, verification: Verification) {
        let Some(tracked) = self.renders.get_mut(render) else { return };
        if verification.is_deleted || verification.end.is_some() {
            info!(%render, is_deleted = verification.is_deleted, "another process has ended the render");
            match verification.end.filter(|_| !verification.is_deleted) {
                Some(end) => self.registry.end(render, end),
                None => self.registry.remove(render),
            }
            return self.untrack(render);
        }
        if let Some(priority) = verification.priority {
            tracked.entry.set_priority(priority);
        }
        if let (None, Some(plan), false) = (&tracked.plan, verification.plan, tracked.replanning.is_ending()) {
            self.set_plan(render, plan);
        }
        self.update_standing(render);
        if verification.restored > 0 {
            warn!(%render, restored = verification.restored, "commits that only storage had were put back into the ledger");
            self.request_check(render);
        }
    }

    /// What is done on a timer, without any event.
    async fn tick(&mut self) {
        if self.backoff.is_pausing() {
            return;
        }
        match self.backplane.ledger.nodes().await {
            Ok(nodes) => {
                self.schedule.set_fleet(Fleet::from_nodes(&nodes));
                self.node_watch.saw(&nodes, Instant::now());
                if self.is_leading() {
                    self.update_gauges(&nodes);
                }
            }
            Err(error) => {
                self.node_watch.saw_nothing();
                return self.backoff.failed("the ledger did not list the live nodes", &error.into());
            }
        }
        for (render, tracked) in &mut self.renders {
            let Some(tasks) = self.schedule.tasks(render) else { continue };
            let is_class_missing = tracked.is_class_missing(tasks, self.schedule.fleet());
            tracked.replanning.set_class_missing(is_class_missing);
        }
        self.schedule.tick(Instant::now());
        self.is_backlog_due = true;
        self.forget_retained().await;
        self.start_background_scans();
    }

    fn update_gauges(&mut self, nodes: &[NodeView]) {
        self.backplane.metrics.set_farm(&gauges::measure(nodes, self.with_tasks()));
        let is_due = self.depths_measured_at.is_none_or(|at| at.elapsed() >= gauges::DEPTH_INTERVAL);
        if is_due && !self.depth_measurement.is_running() {
            self.depths_measured_at = Some(Instant::now());
            let workers =
                nodes.iter().filter(|node| node.role == "worker").filter_map(|node| node.pool.parse::<Pool>().ok());
            let pools = workers.chain(self.renders.values().map(|tracked| tracked.pool().clone())).collect();
            self.depth_measurement.start(gauges::measure_queue_depths(self.backplane.clone(), pools));
        }
    }

    /// Starts the scan for open renders and the comparison of ledger and storage, each if it is due and not running.
    fn start_background_scans(&mut self) {
        let every =
            if self.is_leading() { self.config.rescan_every } else { self.config.rescan_every.min(STANDBY_RESCAN) };
        let is_scan_due = self.scanned_at.is_none_or(|at| at.elapsed() >= every);
        if is_scan_due && !self.scan.is_running() {
            self.scanned_at = Some(Instant::now());
            let scan = background_scan::scan(self.backplane.clone(), self.are_marks_complete, self.wakes.clone());
            self.scan.start(scan);
        }
        if self.verification.is_running() || !self.is_leading() {
            return;
        }
        let every = self.config.verify_every;
        let is_due = |tracked: &&mut Tracked| {
            tracked.is_restored
                && !tracked.replanning.is_ending()
                && (tracked.is_verification_requested || tracked.verified_at.elapsed() >= every)
        };
        let due: Vec<_> = self
            .renders
            .values_mut()
            .filter(is_due)
            .map(|tracked| {
                tracked.verified_at = Instant::now();
                tracked.is_verification_requested = false;
                (tracked.id().clone(), Known::of(&tracked.entry.view.read(), tracked.plan.is_some()))
            })
            .collect();
        if !due.is_empty() {
            self.verification.start(background_scan::verify(self.backplane.clone(), due, self.wakes.clone()));
        }
    }

    /// Cancels ended renders in the ledger where that is not done, and removes those whose time is over. The time begins
    /// with the cancellation: before it the ledger renews the leases of a render that has ended.
    async fn forget_retained(&mut self) {
        if !self.is_leading() {
            // A render that was ended through this coordinator is the leader's to forget.
            self.retained.clear();
            return;
        }
        let (ledger, retain_for) = (&self.backplane.ledger, self.config.retain_ended_for);
        for retained in self.retained.iter_mut().filter(|retained| !retained.is_cancelled) {
            if let Err(error) = ledger.cancel(&retained.render).await {
                return self.backoff.failed("the ledger did not cancel an ended render", &error.into());
            }
            (retained.is_cancelled, retained.since) = (true, Instant::now());
        }
        while let Some(oldest) = self.retained.front().filter(|oldest| oldest.since.elapsed() >= retain_for) {
            if let Err(error) = ledger.forget(&oldest.render).await {
                return self.backoff.failed("the ledger did not remove an ended render", &error.into());
            }
            self.retained.pop_front();
        }
    }

    /// The open renders with their tasks.
    fn with_tasks(&self) -> impl Iterator<Item = (&Tracked, &RenderTasks)> {
        self.renders.iter().filter_map(|(render, tracked)| Some((tracked, self.schedule.tasks(render)?)))
    }

    /// Checks every render that is due, then dispatches tasks.
    async fn reconcile(&mut self) {
        let due = self.schedule.take_due(Instant::now());
        let known = |render: RenderId| {
            let revision = self.schedule.tasks(&render).and_then(RenderTasks::revision);
            (render, revision)
        };
        let due: Vec<_> = due.into_iter().map(known).collect();
        let (ledger, term) = (&self.backplane.ledger, self.leadership.term());
        let reads = due.into_iter().map(|(render, known)| async move {
            let began = Instant::now();
            let read = ledger.view_since(&render, term, known).await;
            (render, read, began, began.elapsed())
        });
        let reads: Vec<_> = stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).collect().await;
        let mut failed = Vec::new();
        for (render, read, began, took) in reads {
            if let Err(LedgerError::Superseded { newest, .. }) = &read {
                self.leadership.superseded(*newest);
            }
            let now = Instant::now();
            self.schedule.pause_checks(&render, now + pause_between_checks(took), now);
            let checked = self.check(&render, read.map_err(ReconcileError::from), began).await;
            self.update_standing(&render);
            // A render that has ended in this check is tracked no longer.
            let tracked = self.renders.get_mut(&render);
            match (checked, tracked) {
                (Ok(()), Some(tracked)) => tracked.check_succeeded(),
                (Ok(()), None) => {}
                (Err(error), tracked) => {
                    if let Some(tracked) = tracked {
                        let now = Instant::now();
                        self.schedule.pause_checks(&render, now + tracked.check_failed(), now);
                        self.schedule.request_check(&render, now);
                    }
                    failed.push((render, error));
                }
            }
        }
        // One line for all of them: they usually have the same cause.
        if let Some((render, error)) = failed.first() {
            warn!(%render, %error, renders = failed.len(), "checks of renders failed, they are repeated after a pause");
        }
        if std::mem::take(&mut self.is_backlog_due) {
            self.publish_backlog();
        }
        if self.backoff.is_pausing() || !self.is_leading() {
            return;
        }
        match self.dispatch().await {
            Ok(()) => self.backoff.succeeded(),
            Err(error) => self.backoff.failed("tasks could not be dispatched", &error),
        }
    }

    /// Writes the number of waiting tasks of each pool into the registry.
    fn publish_backlog(&self) {
        let mut backlog: HashMap<_, Backlog> = HashMap::new();
        for (tracked, tasks) in self.with_tasks().filter(|(tracked, _)| !tracked.entry.is_paused()) {
            let (pool, waiting) = tracked.backlog(tasks);
            backlog.entry(pool).or_default().add(waiting);
        }
        self.registry.set_backlog(backlog);
    }
}

/// Shortest time between two checks of a render whose ledger view took `read` to read: large renders must not keep the loop busy.
fn pause_between_checks(read: Duration) -> Duration {
    (read * 4).min(Duration::from_secs(2))
}
