//! Takes the scheduler's next step for one render, and dispatches the tasks of all of them.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use hyperfarm_backplane::broker::Broker;
use hyperfarm_backplane::ledger::{Commit, Lease, TaskView, ViewSince, worker_lost};
use hyperfarm_backplane::metrics::SpeculationOutcome;
use hyperfarm_backplane::objects::Created;
use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode, Owner, may_retry};
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft, Warning};
use hyperfarm_proto::record::{Manifest, Outcome};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire;
use serde::Serialize;
use tracing::{error, info, warn};

use super::background_scan;
use super::error::ReconcileError;
use super::replan::is_of_older_farm;
use super::restore::Known;
use super::reuse;
use super::state::Reconciler;
use super::wake::Verification;
use crate::clock::now_ms;
use crate::scheduler::{Decided, Dispatched, Fleet, RenderAction, Straggler};
use crate::sharding::{Cost, ShardPolicy, shard};
use crate::store::{self, if_found};
use crate::timeline::{self, Timeline};

/// Attempts to publish a dead letter before the render ends without one. Its content is in the terminal state too.
const MAX_DEAD_LETTER_ATTEMPTS: u32 = 5;

/// How long after a render was cancelled in the ledger its end is waited for in storage.
const END_STORED_WITHIN: Duration = Duration::from_secs(5);

/// Publishes in flight at once.
const MAX_CONCURRENT_PUBLISHES: usize = 32;

/// A message in the dead-letter queue about a task that has failed for good. It is JSON, because people read it.
#[derive(Serialize)]
struct DeadLetter<'a> {
    render: &'a RenderId,
    step: String,
    history: &'a [FailedAttempt],
}

impl Reconciler {
    /// Checks one render, about which the ledger has just answered `read` to a question that was asked at `began`, and
    /// takes its next step.
    pub(super) async fn check(
        &mut self,
        render: &RenderId,
        read: Result<ViewSince, ReconcileError>,
        began: Instant,
    ) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get(render) else { return Ok(()) };
        if self.leadership.term().is_none() {
            return self.observe(render, read?, began).await;
        }
        if tracked.is_restoring && !tracked.replanning.is_ending() {
            return Ok(());
        }
        if tracked.replanning.is_ending() {
            if self.remove_old_plan(render).await? {
                return Ok(());
            }
            let began = Instant::now();
            let read = self.backplane.ledger.view_since(render, self.leadership.term(), None).await?;
            return self.advance(render, read, began).await;
        }
        if let Some(reason) = self.reason_to_replan(render) {
            return self.replan(render, reason).await;
        }
        match self.advance(render, read?, began).await {
            Err(error) if is_of_older_farm(&error) => self.replan(render, error.to_string()).await,
            done => done,
        }
    }

    /// Takes a render's next steps for as long as they need no worker.
    async fn advance(&mut self, render: &RenderId, read: ViewSince, began: Instant) -> Result<(), ReconcileError> {
        let is_known = self.take_over(render, read, began);
        let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) else {
            return Ok(());
        };
        let (is_cancelled, is_paused) = {
            let view = tasks.view().read();
            let may_all_retry = || view.tasks.values().all(|task| may_retry(&task.failures));
            (is_known && view.cancelled && may_all_retry(), view.paused)
        };
        if is_cancelled {
            // Cancelled, but not failing: another coordinator has ended it, or a process ended while it planned the
            // render again.
            let objects = &self.backplane.objects;
            let (end, is_deleted) =
                futures::try_join!(store::state(objects, render), store::is_deleted(objects, render))?;
            if end.is_some() || is_deleted {
                let verification = Verification { end: end.map(Arc::new), is_deleted, ..Verification::default() };
                self.handle_verification(render, verification);
                return Ok(());
            }
            // Another coordinator may be about to store how it ended.
            let since = *tracked.cancelled_since.get_or_insert_with(Instant::now);
            if since.elapsed() < END_STORED_WITHIN {
                return Ok(());
            }
            tracked.cancelled_since = None;
            self.backplane.ledger.forget(render).await?;
            return self.restore_ledger(render, false).await;
        }
        if is_known && tracked.is_restored {
            tracked.cancelled_since = None;
            tracked.entry.set_paused(is_paused);
        } else {
            self.restore_ledger(render, is_known).await?;
        }
        if self.renders.get(render).is_some_and(|tracked| tracked.is_restoring) {
            return Ok(());
        }
        self.count_speculations(render);
        self.record_lost_workers(render).await?;
        // Each step changes the facts, so this ends. The bound guards against an error in that.
        for _ in 0..4 {
            let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) else {
                return Ok(());
            };
            tracked.is_decided = true;
            match tasks.action() {
                RenderAction::Dispatch => break,
                RenderAction::WritePlan => self.write_plan(render).await?,
                RenderAction::ProveSeams => self.prove_seams(render).await?,
                RenderAction::Finish => self.finish(render).await?,
                RenderAction::Fail { step, history } => self.fail(render, step, history).await?,
            }
        }
        if let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) {
            tracked.publish_progress(tasks, self.schedule.fleet());
        }
        Ok(())
    }

    /// Counts the second attempts that are decided.
    fn count_speculations(&mut self, render: &RenderId) {
        let decided = self.schedule.change(render, Instant::now(), |tasks, _| tasks.take_decided());
        for Decided { step, is_won } in decided.unwrap_or_default() {
            info!(%render, step = step.kind(), chunk = step.chunk(), is_won, "of two attempts at a chunk one has committed");
            let outcome = if is_won { SpeculationOutcome::Won } else { SpeculationOutcome::Lost };
            self.backplane.metrics.speculated(outcome);
        }
    }

    /// Records a failed attempt for every task whose lease has run out and whose worker is lost.
    async fn record_lost_workers(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let Some(tasks) = self.schedule.tasks(render) else { return Ok(()) };
        let (watch, ledger, now) = (&self.node_watch, &self.backplane.ledger, Instant::now());
        let mut is_changed = false;
        for step in tasks.run_out() {
            let Some(task) = tasks.task(step) else { continue };
            let Some(last) = task.attempts.last().filter(|last| watch.is_lost(last.worker.as_str(), now)) else {
                continue;
            };
            let failure = worker_lost(step, last.worker.as_str(), last.attempt, &task.failures);
            let task = TaskId { render: render.clone(), step };
            let lease = Lease { task, attempt: last.attempt, worker: last.worker.clone(), grant: None };
            if ledger.fail(&lease, &failure).await? == Commit::Accepted {
                warn!(%render, step = step.kind(), chunk = step.chunk(), worker = %lease.worker, attempt = lease.attempt, "a task's worker is lost");
            }
            is_changed = true;
        }
        if is_changed {
            self.read_again(render).await?;
        }
        Ok(())
    }

    /// Opens a render in the ledger, and starts to put back the commits that storage shows and the ledger, which knows
    /// the render or not, lacks. That goes on beside the loop until [`Wake::Restored`](super::Wake::Restored).
    async fn restore_ledger(&mut self, render: &RenderId, is_known: bool) -> Result<(), ReconcileError> {
        let (Some(tracked), Some(tasks)) = (self.renders.get_mut(render), self.schedule.tasks(render)) else {
            return Ok(());
        };
        let has_nothing_to_restore = tracked.is_restored && tracked.plan.is_none() && tasks.is_undispatched();
        if has_nothing_to_restore {
            self.backplane.ledger.open(render).await?;
            if tracked.entry.is_paused() {
                self.backplane.ledger.set_paused(render, true).await?;
            }
            return Ok(());
        }
        if let Some(error) = tracked.restore_error.take() {
            return Err(error);
        }
        tracked.restore_begins();
        let (backplane, permits, wakes) = (self.backplane.clone(), self.restore_permits.clone(), self.wakes.clone());
        // A plan that a standby has read may be another than the one in storage by now.
        let known = if is_known { Known::of(&tasks.view().read(), false) } else { Known::default() };
        while self.restores.try_join_next().is_some() {}
        self.restores.spawn(background_scan::restore_entry(backplane, render.clone(), known, permits, wakes));
        Ok(())
    }

    /// Cuts the render into chunks and stores the plan. A plan that is stored already counts instead.
    async fn write_plan(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        // Slots are counted anew, because the chunk table is made once.
        self.schedule.set_fleet(Fleet::from_nodes(&self.backplane.ledger.nodes().await?));
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        let objects = &self.backplane.objects;
        let Some(draft) = if_found(objects.get_wire::<PlanDraft>(&keys::draft(render)).await)? else {
            let reason = "the plan stage has committed, but its draft is not in storage; render again";
            return self.fail_with(render, Failure::new(FailureCode::ObjectMissing, reason)).await;
        };
        let spec = &tracked.entry.request.spec;
        let policy = ShardPolicy {
            chunk_frames: spec.chunk_frames.and_then(|frames| NonZeroU32::new(frames.get())),
            ..self.config.shard.clone()
        };
        let slots = self.schedule.fleet().slots(&spec.pool);
        let content = draft.content;
        let earlier = match &tracked.entry.intake.retry_of {
            Some(earlier) => reuse::plan_of_failed(objects, earlier, &content).await?,
            None => None,
        };
        let cost = Cost { frame_ms: draft.frame_cost_ms, earlier_ms: draft.earlier_cost_ms };
        let (chunks, starts) = match &earlier {
            Some(earlier) => (earlier.chunks.clone(), earlier.starts.clone()),
            None => (shard(content.frames, content.frame_rate, cost, slots, &policy), BTreeMap::new()),
        };
        if chunks.is_empty() {
            let reason = "the composition lasts no frame; give its root a data-duration above zero";
            return self.fail_with(render, Failure::new(FailureCode::DurationInvalid, reason)).await;
        }
        let plan = Plan {
            render: render.clone(),
            pool: spec.pool.clone(),
            content,
            frame_cost_ms: draft.frame_cost_ms,
            chunks,
            starts,
            warnings: draft.warnings.into_iter().chain(tracked.replanning.warning()).collect(),
        };
        let key = keys::plan(render);
        let plan = match objects.create(&key, Bytes::from(wire::encode(&plan)?)).await? {
            Created::Yes => plan,
            Created::Existed => objects.get_wire(&key).await?,
        };
        info!(
            %render, frames = plan.content.frames, chunks = plan.chunks.len(), frame_cost_ms = plan.frame_cost_ms,
            earlier_cost_ms = cost.earlier_ms, slots, "the render was cut into chunks"
        );
        let reused = earlier.filter(|earlier| earlier.chunks == plan.chunks && earlier.starts == plan.starts);
        self.set_plan(render, plan.clone());
        if let (Some(earlier), Some(tracked)) = (reused, self.renders.get_mut(render)) {
            tracked.restore_begins();
            let (backplane, permits, wakes) =
                (self.backplane.clone(), self.restore_permits.clone(), self.wakes.clone());
            self.restores.spawn(background_scan::reuse_and_restore(backplane, earlier, plan, permits, wakes));
        }
        Ok(())
    }

    /// Ends a render whose output is committed.
    async fn finish(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let objects = &self.backplane.objects.clone();
        let Some(manifest) = if_found(objects.get_json::<Manifest>(&keys::manifest(render)).await)? else {
            let reason = "the output was committed, but its manifest is not in storage; render again";
            return self.fail_with(render, Failure::new(FailureCode::ObjectMissing, reason)).await;
        };
        let output = manifest.output;
        let duration = output.frame_rate.seconds_of(output.frames);
        let different = self.segments_that_differ(render).await;
        self.write_timeline(render, different).await;
        let state = store::end(objects, render, Outcome::Completed { duration, output }).await?;
        info!(%render, "the render has completed");
        self.registry.end(render, state.into());
        // The slower one of two attempts goes on until a renewal says that its lease is lost, which a forgotten render
        // does not say.
        let is_open = |task: &TaskView| task.attempts.iter().any(|attempt| attempt.end.is_none());
        let is_attempt_open =
            self.schedule.tasks(render).is_some_and(|tasks| tasks.view().read().tasks.values().any(is_open));
        self.untrack(render);
        if is_attempt_open {
            self.retain(render.clone(), false);
        } else if let Err(error) = self.backplane.ledger.forget(render).await {
            warn!(%render, %error, "the ledger entry of a completed render could not be removed, it is removed later");
            self.retain(render.clone(), false);
        }
        Ok(())
    }

    /// Stores the timeline before the render's end, so that it is there for everyone who sees the end, and while the ledger still has
    /// the attempts.
    async fn write_timeline(&self, render: &RenderId, warning: Option<Warning>) {
        let Some(tracked) = self.renders.get(render) else { return };
        let entry = &tracked.entry;
        let mut timeline = Timeline::from_ledger(tracked.plan.as_deref(), &entry.view.read(), &entry.chunk_results);
        timeline.warnings.extend(warning);
        timeline::write(&self.backplane.objects, render, &timeline.ended(now_ms())).await;
    }

    /// Compares the segments of chunks that were attempted more than once. The warning names those that differ.
    async fn segments_that_differ(&self, render: &RenderId) -> Option<Warning> {
        let tracked = self.renders.get(render)?;
        let plan = tracked.plan.as_deref()?;
        let is_attempted_again = |(step, task): (&Step, &TaskView)| step.chunk().is_some() && task.attempts.len() > 1;
        if !tracked.entry.view.read().tasks.iter().any(is_attempted_again) {
            return None;
        }
        let different = match store::chunks_that_differ(&self.backplane.objects, plan).await {
            Ok(different) => different,
            Err(error) => {
                warn!(%render, %error, "the segments of a render could not be listed, they are not compared");
                return None;
            }
        };
        if different.is_empty() {
            return None;
        }
        self.backplane.metrics.segments_differ(different.len());
        let chunks = different.iter().map(u32::to_string).collect::<Vec<_>>().join(", ");
        warn!(%render, chunks, "attempts at the same chunk have stored different bytes");
        let message = format!(
            "two attempts at the same chunk have stored different bytes (chunk {chunks}); the composition does not draw \
             the same each time, `hyperfarm render --verify` names the elements"
        );
        Some(Warning { code: "NON_DETERMINISTIC".to_owned(), message })
    }

    /// Ends a render with a failure that the coordinator found itself.
    async fn fail_with(&mut self, render: &RenderId, failure: Failure) -> Result<(), ReconcileError> {
        let attempt = FailedAttempt { attempt: 0, worker: "coordinator".to_owned(), failure };
        self.fail(render, Step::Plan, vec![attempt]).await
    }

    /// Ends a render whose step has failed for good.
    async fn fail(&mut self, render: &RenderId, step: Step, history: Vec<FailedAttempt>) -> Result<(), ReconcileError> {
        let Some(failure) = history.last().map(|last| last.failure.clone()) else { return Ok(()) };
        // The leases end before the state is stored: after a render's end no worker is at it.
        self.backplane.ledger.cancel(render).await?;
        if failure.code.owner() == Owner::System {
            self.dead_letter(render, step, &history).await?;
        }
        self.write_timeline(render, None).await;
        warn!(%render, step = step.kind(), chunk = step.chunk(), code = %failure.code, reason = %failure.message, attempts = history.len(), "the render has failed");
        let state = store::end(&self.backplane.objects, render, Outcome::Failed { failure, history }).await?;
        self.registry.end(render, state.into());
        self.untrack(render);
        self.retain(render.clone(), true);
        Ok(())
    }

    /// Publishes a task's attempts to the dead-letter queue.
    ///
    /// # Errors
    ///
    /// The broker did not take it, and it is worth another attempt.
    async fn dead_letter(
        &mut self,
        render: &RenderId,
        step: Step,
        history: &[FailedAttempt],
    ) -> Result<(), ReconcileError> {
        let letter = DeadLetter { render, step: step.to_string(), history };
        let payload = Bytes::from(serde_json::to_vec(&letter)?);
        let Err(error) = self.backplane.broker.publish(&Queue::Dead, payload).await else { return Ok(()) };
        if let Some(tracked) = self.renders.get_mut(render) {
            tracked.dead_letter_attempts += 1;
            if tracked.dead_letter_attempts < MAX_DEAD_LETTER_ATTEMPTS {
                return Err(error.into());
            }
        }
        let (step, chunk) = (step.kind(), step.chunk());
        error!(%render, step, chunk, %error, "a dead letter could not be published, its content is in state.json only");
        Ok(())
    }

    /// Publishes the tasks that fit into the windows of their pools, and second attempts at stragglers where slots are
    /// idle.
    pub(super) async fn dispatch(&mut self) -> Result<(), ReconcileError> {
        let dispatched = self.schedule.dispatch(Instant::now());
        let broker = &self.backplane.broker;
        let publishes = dispatched.into_iter().map(|dispatched| async move {
            let published = publish(broker.as_ref(), &dispatched.task, &dispatched.pool).await;
            (dispatched, published)
        });
        // In order: workers take the messages of a queue in the order in which they were published.
        let results: Vec<_> = stream::iter(publishes).buffered(MAX_CONCURRENT_PUBLISHES).collect().await;
        let mut failed = None;
        for (dispatched, published) in results {
            let Dispatched { task: TaskId { render, step }, pool, .. } = &dispatched;
            match published {
                Ok(()) => {
                    let queue = Queue::of(*step, pool);
                    info!(%render, step = step.kind(), chunk = step.chunk(), %queue, "a task was dispatched");
                }
                Err(error) => {
                    self.schedule.undo_dispatch(&dispatched, Instant::now());
                    failed = Some(error);
                }
            }
        }
        failed.map_or(Ok(()), Err)?;
        self.speculate().await
    }

    /// Has idle nodes begin stragglers as well.
    async fn speculate(&mut self) -> Result<(), ReconcileError> {
        for (render, Straggler { step, attempt, .. }) in self.schedule.speculate(Instant::now()) {
            let task = TaskId { render: render.clone(), step };
            if !self.backplane.ledger.speculate(&task, attempt).await? {
                // It has ended since its render was read.
                continue;
            }
            let Some(tracked) = self.renders.get(&render) else { continue };
            publish(self.backplane.broker.as_ref(), &task, tracked.pool()).await?;
            info!(%render, step = step.kind(), chunk = step.chunk(), attempt, "a chunk runs for long, it is begun on another node as well");
            self.schedule.change(&render, Instant::now(), |tasks, at| tasks.speculated(step, attempt, at));
            self.backplane.metrics.speculated(SpeculationOutcome::Started);
        }
        Ok(())
    }
}

/// Publishes the message of a task to the queue of its pool.
async fn publish(broker: &dyn Broker, task: &TaskId, pool: &Pool) -> Result<(), ReconcileError> {
    let message = TaskMessage { task: task.clone(), pool: pool.clone() };
    Ok(broker.publish(&Queue::of(task.step, pool), Bytes::from(wire::encode(&message)?)).await?)
}
