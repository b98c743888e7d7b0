//! The decisions, carried out.

use std::cmp::Reverse;
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, stream};
use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_backplane::objects::Created;
use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode, Owner, may_retry};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::{Manifest, Outcome};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire;
use serde::Serialize;
use tracing::{error, info, warn};

use super::replan::is_of_older_farm;
use super::restore::restore;
use super::{Reconciler, spacing};
use crate::error::ReconcileError;
use crate::scheduler::order::Rank;
use crate::scheduler::{Fleet, RenderAction, fill, order};
use crate::sharding::{Cost, ShardPolicy, shard};
use crate::store::{self, if_found};
use crate::timeline::{self, Timeline};

/// Times a history is offered to the dead-letter queue before the render ends without; it is in the terminal state too.
const DEAD_TRIES: u32 = 5;

/// Publishes in flight.
const PUBLISHES: usize = 32;

/// What the dead-letter queue gets of a task that failed for good: JSON, because people read it.
#[derive(Serialize)]
struct DeadTask<'a> {
    render: &'a RenderId,
    step: String,
    history: &'a [FailedAttempt],
}

impl Reconciler {
    /// Looks at one render, and does what follows.
    pub(super) async fn look(
        &mut self,
        render: &RenderId,
        view: Result<Option<RenderView>, ReconcileError>,
        took: Duration,
    ) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        tracked.looked(spacing(took));
        if tracked.replanning.is_ending() {
            if self.end_old_plan(render).await? {
                return Ok(());
            }
            let view = self.backplane.ledger.view(render).await.map_err(ReconcileError::from);
            return self.move_on(render, view?).await;
        }
        if let Some(reason) = self.orphaned(render) {
            return self.replan(render, reason).await;
        }
        match self.move_on(render, view?).await {
            Err(error) if is_of_older_farm(&error) => self.replan(render, error.to_string()).await,
            done => done,
        }
    }

    /// Moves one render on as far as it goes now.
    async fn move_on(&mut self, render: &RenderId, view: Option<RenderView>) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        match view {
            // Neither ended nor failing: a process ended while it planned the render anew.
            Some(view) if view.cancelled && view.tasks.values().all(|task| may_retry(&task.failures)) => {
                self.backplane.ledger.forget(render).await?;
                self.reopen(render, None).await?;
            }
            Some(view) if tracked.is_restored => tracked.view = Arc::new(view),
            known => self.reopen(render, known).await?,
        }
        // Each verdict changes the facts, so this ends; the bound is for what nobody thought of.
        for _ in 0..4 {
            let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
            match tracked.next_step(&self.config.schedule).action.clone() {
                RenderAction::GoOn => break,
                RenderAction::WritePlan => self.write_plan(render).await?,
                RenderAction::Finish => self.finish(render).await?,
                RenderAction::Fail { step, history } => self.fail(render, step, history).await?,
            }
        }
        if let Some(tracked) = self.renders.get_mut(render) {
            let slots = self.fleet.slots(tracked.pool());
            tracked.publish(slots);
        }
        Ok(())
    }

    /// Makes a render known to the ledger that has forgotten it, or never heard of it.
    async fn reopen(&mut self, render: &RenderId, known: Option<RenderView>) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        let is_fresh = tracked.is_restored && tracked.book.is_empty() && tracked.plan.is_none();
        if is_fresh {
            return Ok(self.backplane.ledger.open(render).await?);
        }
        let (plan, restored) = restore(&self.backplane, render, &known.unwrap_or_default()).await?;
        info!(%render, restored, "the ledger was brought in line with storage");
        if let Some(plan) = plan {
            tracked.set_plan(plan);
        }
        // What was in flight may be lost: deliveries of a render that the ledger does not know are dropped.
        tracked.book.clear();
        tracked.is_restored = true;
        tracked.view = Arc::new(self.backplane.ledger.view(render).await?.unwrap_or_default());
        Ok(())
    }

    /// Cuts the render into chunks and stores the plan. If there is one already, that one counts.
    async fn write_plan(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        // The newest count: the table is made once.
        self.fleet = Fleet::of(&self.backplane.ledger.nodes().await?);
        let Some(tracked) = self.renders.get_mut(render) else { return Ok(()) };
        let objects = &self.backplane.objects;
        let Some(draft) = if_found(objects.get_wire::<PlanDraft>(&keys::draft(render)).await)? else {
            let lost = "the plan stage has committed, but its draft is not in storage; render again";
            return self.fail_with(render, Failure::new(FailureCode::Storage, lost)).await;
        };
        let spec = &tracked.entry.request.spec;
        let policy =
            ShardPolicy { chunk_frames: spec.chunk_frames.and_then(NonZeroU32::new), ..self.config.shard.clone() };
        let slots = self.fleet.slots(&spec.pool);
        let content = draft.content;
        let cost = Cost { frame_ms: draft.frame_cost_ms, earlier_ms: draft.earlier_cost_ms };
        let chunks = shard(content.frames, content.frame_rate, cost, slots, &policy);
        if chunks.is_empty() {
            let empty = "the composition lasts no frame; give its root a data-duration above zero";
            return self.fail_with(render, Failure::new(FailureCode::DurationInvalid, empty)).await;
        }
        let plan = Plan {
            render: render.clone(),
            pool: spec.pool.clone(),
            content,
            frame_cost_ms: draft.frame_cost_ms,
            chunks,
            warnings: draft.warnings.into_iter().chain(tracked.replanning.warning()).collect(),
        };
        let key = keys::plan(render);
        let plan = match objects.create(&key, Bytes::from(wire::encode(&plan)?)).await? {
            Created::Yes => plan,
            Created::Existed => objects.get_wire(&key).await?,
        };
        info!(
            %render, frames = plan.content.frames, chunks = plan.chunks.len(), frame_cost_ms = plan.frame_cost_ms,
            earlier_cost_ms = cost.earlier_ms, slots, "planned"
        );
        tracked.set_plan(plan);
        Ok(())
    }

    async fn finish(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let objects = &self.backplane.objects.clone();
        let Some(manifest) = if_found(objects.get_json::<Manifest>(&keys::manifest(render)).await)? else {
            let lost = "the output was committed, but its manifest is not in storage; render again";
            return self.fail_with(render, Failure::new(FailureCode::Storage, lost)).await;
        };
        let output = manifest.output;
        let duration = output.frame_rate.seconds_of(output.frames);
        self.write_timeline(render).await;
        let state = store::end(objects, render, Outcome::Completed { duration, output }).await?;
        info!(%render, "completed");
        self.registry.end(render, state.into());
        self.untrack(render);
        if let Err(error) = self.backplane.ledger.forget(render).await {
            warn!(%render, %error, "the ledger does not forget the render yet");
            self.retain(render.clone(), false);
        }
        Ok(())
    }

    /// Stores what happened to the render, while the ledger still knows: before its end, so that whoever sees the end finds it.
    async fn write_timeline(&self, render: &RenderId) {
        let Some(tracked) = self.renders.get(render) else { return };
        let course =
            Timeline::of(tracked.plan.as_deref(), &tracked.view, &tracked.entry.records).ended(store::now_ms());
        timeline::write(&self.backplane.objects, render, &course).await;
    }

    async fn fail_with(&mut self, render: &RenderId, failure: Failure) -> Result<(), ReconcileError> {
        let attempt = FailedAttempt { attempt: 0, worker: "coordinator".to_owned(), failure };
        self.fail(render, Step::Plan, vec![attempt]).await
    }

    async fn fail(&mut self, render: &RenderId, step: Step, history: Vec<FailedAttempt>) -> Result<(), ReconcileError> {
        let Some(failure) = history.last().map(|last| last.failure.clone()) else { return Ok(()) };
        // First the leases, so that nobody works, then the words.
        self.backplane.ledger.cancel(render).await?;
        if failure.code.owner() == Owner::System {
            self.dead_letter(render, step, &history).await?;
        }
        self.write_timeline(render).await;
        warn!(%render, step = step.kind(), chunk = step.chunk(), code = %failure.code, reason = %failure.message, attempts = history.len(), "failed");
        let state = store::end(&self.backplane.objects, render, Outcome::Failed { failure, history }).await?;
        self.registry.end(render, state.into());
        self.untrack(render);
        self.retain(render.clone(), true);
        Ok(())
    }

    /// Publishes a task's history to the dead letters.
    async fn dead_letter(
        &mut self,
        render: &RenderId,
        step: Step,
        history: &[FailedAttempt],
    ) -> Result<(), ReconcileError> {
        let dead = DeadTask { render, step: step.to_string(), history };
        let payload = Bytes::from(serde_json::to_vec(&dead)?);
        let Err(failed) = self.backplane.broker.publish(&Queue::Dead, payload).await else { return Ok(()) };
        if let Some(tracked) = self.renders.get_mut(render) {
            tracked.dead_letter_attempts += 1;
            if tracked.dead_letter_attempts < DEAD_TRIES {
                return Err(failed.into());
            }
        }
        let (step, chunk) = (step.kind(), step.chunk());
        error!(%render, step, chunk, error = %failed, "the history could not be sent to the dead letters, it is in state.json");
        Ok(())
    }

    /// Sends what fits into the windows.
    pub(super) async fn dispatch(&mut self) -> Result<(), ReconcileError> {
        let ranks = self.renders.values().filter(|tracked| !tracked.entry.is_paused()).map(|tracked| Rank {
            priority: Reverse(tracked.entry.intake.priority),
            created_at_ms: tracked.entry.request.created_at_ms,
            render: tracked.id().clone(),
        });
        let ordered = order(ranks.collect());
        let wishes = ordered.iter().filter_map(|render| {
            let tracked = self.renders.get(render)?;
            Some((render, tracked.pool(), tracked.assessment()?))
        });
        let tasks = fill(wishes, &self.fleet, &self.config.schedule);
        if tasks.is_empty() {
            return Ok(());
        }
        let broker = &self.backplane.broker;
        let publishes = tasks.into_iter().map(|(task, pool)| async move {
            let queue = Queue::of(task.step, &pool);
            let message = TaskMessage { task, pool };
            let sent = match wire::encode(&message) {
                Ok(payload) => broker.publish(&queue, Bytes::from(payload)).await.map_err(ReconcileError::from),
                Err(error) => Err(error.into()),
            };
            (message.task, queue, sent)
        });
        // In order: the first published is the first taken.
        let results: Vec<_> = stream::iter(publishes).buffered(PUBLISHES).collect().await;
        let mut failed = None;
        for (task, queue, sent) in results {
            match sent {
                Ok(()) => self.note(&task, &queue),
                Err(error) => failed = Some(error),
            }
        }
        failed.map_or(Ok(()), Err)
    }

    fn note(&mut self, task: &TaskId, queue: &Queue) {
        let Some(tracked) = self.renders.get_mut(&task.render) else { return };
        info!(render = %task.render, step = task.step.kind(), chunk = task.step.chunk(), %queue, "dispatched");
        tracked.book.note(task.step, tracked.view.tasks.get(&task.step), Instant::now());
        tracked.next_step(&self.config.schedule);
    }
}
