//! Takes the scheduler's next step for one render, and dispatches the tasks of all of them.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use hyperfarm_backplane::broker::Broker;
use hyperfarm_backplane::ledger::{Commit, Lease, RenderView, TaskView, worker_lost};
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
use super::state::Reconciler;
use super::tracked::LedgerRead;
use super::wake::Verification;
use crate::clock::now_ms;
use crate::scheduler::{Decided, Demand, Fleet, RenderAction, Straggler, share, speculate};
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
    /// Checks one render, of which the ledger has just given `read`, and takes its next step. The next check begins
    /// after `pause` at the earliest.
    pub(super) async fn check(
        &mut self,
        render: &RenderId,
        read: Result<Option<LedgerRead>, ReconcileError>,
        pause: Duration,
    ) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        tracked.check_begins(pause);
        if self.leadership.term().is_none() {
            return self.observe(render, read?).await;
        }
        if tracked.is_restoring && !tracked.replanning.is_ending() {
            return Ok(());
        }
        if tracked.replanning.is_ending() {
            if self.remove_old_plan(render).await? {
                return Ok(());
            }
            let view = self.backplane.ledger.view(render).await.map_err(ReconcileError::from);
            return self.advance(render, view?.map(LedgerRead::from)).await;
        }
        if let Some(reason) = self.reason_to_replan(render) {
            return self.replan(render, reason).await;
        }
        match self.advance(render, read?).await {
            Err(error) if is_of_older_farm(&error) => self.replan(render, error.to_string()).await,
            done => done,
        }
    }

    /// Takes a render's next steps for as long as they need no worker.
    async fn advance(&mut self, render: &RenderId, read: Option<LedgerRead>) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        match read {
            // Cancelled, but not failing: another coordinator has ended it, or a process ended while it planned the
            // render again.
            Some(LedgerRead { view, .. })
                if view.cancelled && view.tasks.values().all(|task| may_retry(&task.failures)) =>
            {
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
                return self.restore_ledger(render, None).await;
            }
            Some(read) if tracked.is_restored => {
                tracked.cancelled_since = None;
                tracked.set_view(read);
            }
            read => self.restore_ledger(render, read.map(|read| read.view)).await?,
        }
        if self.renders.get(render).is_some_and(|tracked| tracked.is_restoring) {
            return Ok(());
        }
        self.count_speculations(render);
        self.record_lost_workers(render).await?;
        // Each step changes the facts, so this ends. The bound guards against an error in that.
        for _ in 0..4 {
            let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
            match tracked.decide(&self.config.schedule).action.clone() {
                RenderAction::Dispatch => break,
                RenderAction::WritePlan => self.write_plan(render).await?,
                RenderAction::ProveSeams => self.prove_seams(render).await?,
                RenderAction::Finish => self.finish(render).await?,
                RenderAction::Fail { step, history } => self.fail(render, step, history).await?,
            }
        }
        if let Some(tracked) = self.renders.get_mut(render) {
            tracked.publish_progress(&self.fleet);
        }
        Ok(())
    }

    /// Counts the second attempts that are decided.
    fn count_speculations(&mut self, render: &RenderId) {
        let Some(tracked) = self.renders.get_mut(render) else { return };
        for Decided { step, is_won } in tracked.dispatch_log.take_decided(&tracked.view) {
            info!(%render, step = step.kind(), chunk = step.chunk(), is_won, "of two attempts at a chunk one has committed");
            let outcome = if is_won { SpeculationOutcome::Won } else { SpeculationOutcome::Lost };
            self.backplane.metrics.speculated(outcome);
        }
    }

    /// Records a failed attempt for every task whose lease has run out and whose worker is lost.
    async fn record_lost_workers(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        let (watch, ledger, now) = (&self.node_watch, &self.backplane.ledger, Instant::now());
        let mut is_changed = false;
        let ran_out = |task: &TaskView| task.committed.is_none() && task.lease.is_none();
        for (step, task) in tracked.view.tasks.iter().filter(|(_, task)| ran_out(task)) {
            let Some(last) = task.attempts.last() else { continue };
            if last.attempt != task.attempt || last.end.is_some() || !watch.is_lost(last.worker.as_str(), now) {
                continue;
            }
            let failure = worker_lost(*step, last.worker.as_str(), last.attempt, &task.failures);
            let task = TaskId { render: render.clone(), step: *step };
            let lease = Lease { task, attempt: last.attempt, worker: last.worker.clone() };
            if ledger.fail(&lease, &failure).await? == Commit::Accepted {
                warn!(%render, step = step.kind(), chunk = step.chunk(), worker = %lease.worker, attempt = lease.attempt, "a task's worker is lost");
            }
            is_changed = true;
        }
        if is_changed {
            tracked.set_view(ledger.view(render).await?.unwrap_or_default().into());
        }
        Ok(())
    }

    /// Opens a render in the ledger, and starts to put back the commits that storage shows and `view`, the ledger's own
    /// view, lacks. That goes on beside the loop until [`Wake::Restored`](super::Wake::Restored).
    async fn restore_ledger(&mut self, render: &RenderId, view: Option<Arc<RenderView>>) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        let has_nothing_to_restore = tracked.is_restored && tracked.dispatch_log.is_empty() && tracked.plan.is_none();
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
        let view = view.unwrap_or_default();
        while self.restores.try_join_next().is_some() {}
        self.restores.spawn(background_scan::restore_entry(backplane, render.clone(), view, permits, wakes));
        Ok(())
    }

    /// Cuts the render into chunks and stores the plan. A plan that is stored already counts instead.
    async fn write_plan(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        // Slots are counted anew, because the chunk table is made once.
        self.fleet = Fleet::from_nodes(&self.backplane.ledger.nodes().await?);
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
        let slots = self.fleet.slots(&spec.pool);
        let content = draft.content;
        let cost = Cost { frame_ms: draft.frame_cost_ms, earlier_ms: draft.earlier_cost_ms };
        let chunks = shard(content.frames, content.frame_rate, cost, slots, &policy);
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
            starts: BTreeMap::new(),
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
        tracked.set_plan(plan);
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
        let is_attempt_open = self.renders.get(render).is_some_and(|tracked| tracked.view.tasks.values().any(is_open));
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
        let mut timeline = Timeline::from_ledger(tracked.plan.as_deref(), &tracked.view, &tracked.entry.chunk_results);
        timeline.warnings.extend(warning);
        timeline::write(&self.backplane.objects, render, &timeline.ended(now_ms())).await;
    }

    /// Compares the segments of chunks that were attempted more than once. The warning names those that differ.
    async fn segments_that_differ(&self, render: &RenderId) -> Option<Warning> {
        let tracked = self.renders.get(render)?;
        let plan = tracked.plan.as_deref()?;
        let is_attempted_again = |(step, task): (&Step, &TaskView)| step.chunk().is_some() && task.attempts.len() > 1;
        if !tracked.view.tasks.iter().any(is_attempted_again) {
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

    /// What the open renders want.
    fn demands(&self) -> impl Iterator<Item = Demand<'_>> {
        self.renders.values().filter(|tracked| !tracked.entry.is_paused()).filter_map(|tracked| {
            Some(Demand {
                render: tracked.id(),
                space: &tracked.entry.intake.space,
                pool: tracked.pool(),
                priority: tracked.entry.priority(),
                created_at_ms: tracked.entry.request.created_at_ms,
                last_served: self.served.get(&tracked.entry.intake.space).copied().unwrap_or(0),
                next: tracked.next_step()?,
            })
        })
    }

    /// Publishes the tasks that fit into the windows of their pools, and second attempts at stragglers where slots are
    /// idle.
    pub(super) async fn dispatch(&mut self) -> Result<(), ReconcileError> {
        let tasks = share(self.demands(), &self.fleet, &self.config.schedule);
        let broker = &self.backplane.broker;
        let publishes = tasks.into_iter().map(|(task, pool)| async move {
            let published = publish(broker.as_ref(), &task, &pool).await;
            (task, pool, published)
        });
        // In order: workers take the messages of a queue in the order in which they were published.
        let results: Vec<_> = stream::iter(publishes).buffered(MAX_CONCURRENT_PUBLISHES).collect().await;
        let (mut failed, mut dispatched) = (None, BTreeSet::new());
        for (task, pool, published) in results {
            match published {
                Ok(()) => {
                    self.record_dispatch(&task, &pool);
                    dispatched.insert(task.render);
                }
                Err(error) => failed = Some(error),
            }
        }
        // Once for each render and not for each task: it looks at every chunk.
        for render in dispatched {
            if let Some(tracked) = self.renders.get_mut(&render) {
                tracked.decide(&self.config.schedule);
            }
        }
        failed.map_or(Ok(()), Err)?;
        self.speculate().await
    }

    /// Has idle nodes begin stragglers as well.
    async fn speculate(&mut self) -> Result<(), ReconcileError> {
        let begun = speculate(self.demands(), &self.fleet).into_iter();
        let begun: Vec<_> = begun.map(|(render, straggler)| (render.clone(), straggler.clone())).collect();
        for (render, Straggler { step, attempt, .. }) in begun {
            let task = TaskId { render: render.clone(), step };
            if !self.backplane.ledger.speculate(&task, attempt).await? {
                // It has ended since its render was read.
                continue;
            }
            let Some(tracked) = self.renders.get_mut(&render) else { continue };
            publish(self.backplane.broker.as_ref(), &task, tracked.pool()).await?;
            info!(%render, step = step.kind(), chunk = step.chunk(), attempt, "a chunk runs for long, it is begun on another node as well");
            tracked.dispatch_log.record_speculation(step, attempt, Instant::now());
            tracked.decide(&self.config.schedule);
            self.backplane.metrics.speculated(SpeculationOutcome::Started);
        }
        Ok(())
    }

    fn record_dispatch(&mut self, task: &TaskId, pool: &Pool) {
        let queue = Queue::of(task.step, pool);
        let Some(tracked) = self.renders.get_mut(&task.render) else { return };
        info!(render = %task.render, step = task.step.kind(), chunk = task.step.chunk(), %queue, "a task was dispatched");
        tracked.dispatch_log.record(task.step, tracked.view.tasks.get(&task.step), Instant::now());
        self.dispatched += 1;
        self.served.insert(tracked.entry.intake.space.clone(), self.dispatched);
    }
}

/// Publishes the message of a task to the queue of its pool.
async fn publish(broker: &dyn Broker, task: &TaskId, pool: &Pool) -> Result<(), ReconcileError> {
    let message = TaskMessage { task: task.clone(), pool: pool.clone() };
    Ok(broker.publish(&Queue::of(task.step, pool), Bytes::from(wire::encode(&message)?)).await?)
}
