//! The coordinator as a whole, for the API and for a process that embeds it.

use std::collections::VecDeque;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::trace;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, Warning};
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::{RenderSpec, Timestamp};
use hyperfarm_proto::task::Step;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, error, info, info_span, warn};

use crate::clock::{age_of, now_ms};
use crate::config::CoordinatorConfig;
use crate::index::{Filter, Index, IndexedRender};
use crate::intake::{self, IntakeError, StoredBundle};
use crate::progress::RenderProgress;
use crate::reconciler::{Leadership, LeadershipChanges, Reconciler, Wake, forward, tell_leader};
use crate::registry::{Registry, RenderDetail, RenderEntry};
use crate::store::if_found;
use crate::submission::{Intake, Seed};
use crate::timeline::{self, Timeline};
use crate::{object_keys, store};

/// Why a render cannot be read or changed.
#[derive(Debug, thiserror::Error)]
pub enum RenderError {
    /// There is none with this id, or it was deleted.
    #[error("there is no render {0}")]
    NotFound(RenderId),
    /// It has ended already.
    #[error("render {0} has ended already")]
    Ended(RenderId),
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// A page of renders, newest first.
#[derive(Debug, Clone)]
pub struct RenderPage {
    /// The renders.
    pub renders: Vec<RenderDetail>,
    /// The render after which the next page begins. `None` on the last page.
    pub next: Option<RenderId>,
}

/// A running coordinator. Clones share it.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

/// Ended renders whose details are cached.
const MAX_CACHED_DETAILS: usize = 16;

/// Age of a render's id from which its submission is taken for a repeated one. Shorter than [`store::LOST_MARK_KEPT`].
const REPEATED_AFTER: Duration = Duration::from_secs(600);

/// The details of a render that only some requests need.
#[derive(Debug, Clone, Default)]
pub(crate) struct RenderInternals {
    /// Its plan, once there is one.
    pub(crate) plan: Option<Arc<Plan>>,
    /// Its timeline.
    pub(crate) timeline: Arc<Timeline>,
    /// Whether its sound is committed.
    pub(crate) has_sound: bool,
}

struct Inner {
    backplane: Backplane,
    config: CoordinatorConfig,
    registry: Arc<Registry>,
    index: Arc<Index>,
    leadership: Leadership,
    /// Details of ended renders, those asked for last.
    details: Mutex<VecDeque<(RenderId, RenderInternals)>>,
    wakes: mpsc::UnboundedSender<Wake>,
    loops: Mutex<Vec<JoinHandle<()>>>,
    drain: Drain,
}

impl Coordinator {
    /// Starts a coordinator. Its loops run until `drain` starts.
    pub fn start(backplane: Backplane, config: CoordinatorConfig, drain: Drain) -> Self {
        backplane.metrics.add_role("coordinator");
        let registry = Arc::new(Registry::default());
        let (wakes, woken) = mpsc::unbounded_channel();
        let leadership = Leadership::new();
        let reconciler =
            Reconciler::new(backplane.clone(), config.clone(), registry.clone(), leadership.clone(), wakes.clone());
        let loops = vec![
            tokio::spawn(forward(backplane.clone(), leadership.clone(), wakes.clone(), drain.clone())),
            tokio::spawn(reconciler.run(woken, drain.clone())),
        ];
        let (index, details) = Default::default();
        let inner =
            Inner { backplane, config, registry, index, leadership, details, wakes, loops: loops.into(), drain };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until the loops have stopped, which they do once the drain has started.
    pub async fn join(&self) {
        let loops = std::mem::take(&mut *self.inner.loops.lock());
        for handle in loops {
            if let Err(panic) = handle.await {
                error!(%panic, "a loop of the coordinator has panicked");
            }
        }
    }

    /// The broker, ledger, storage and metrics of the coordinator.
    pub fn backplane(&self) -> &Backplane {
        &self.inner.backplane
    }

    /// The settings.
    pub fn config(&self) -> &CoordinatorConfig {
        &self.inner.config
    }

    /// Submits a render of the project in `bundle_zip`. It is stored once this returns.
    ///
    /// # Errors
    ///
    /// The project or the spec is refused, or it could not be stored.
    pub async fn submit(&self, bundle_zip: Bytes, spec: RenderSpec) -> Result<RenderId, IntakeError> {
        intake::check(&spec)?;
        let bundle = self.store_bundle(bundle_zip, spec.composition.as_deref()).await?;
        self.submit_stored(bundle, spec, Intake::default(), Seed::new()?).await
    }

    /// The same with the project's archive in the file `bundle_zip`, which is read by the buffer.
    ///
    /// # Errors
    ///
    /// As for [`submit`](Self::submit), or the file cannot be read.
    pub async fn submit_file(&self, bundle_zip: &Path, spec: RenderSpec) -> Result<RenderId, IntakeError> {
        intake::check(&spec)?;
        let (objects, limits) = (&self.inner.backplane.objects, &self.inner.config.limits);
        let bundle = intake::store_bundle_file(objects, limits, bundle_zip, spec.composition.as_deref()).await?;
        self.submit_stored(bundle, spec, Intake::default(), Seed::new()?).await
    }

    /// Checks and stores the archive of a project. Its entry page is `entry`, or `index.html`.
    ///
    /// # Errors
    ///
    /// The project is refused, or it could not be stored.
    pub async fn store_bundle(&self, bundle_zip: Bytes, entry: Option<&str>) -> Result<StoredBundle, IntakeError> {
        intake::store_bundle(&self.inner.backplane.objects, &self.inner.config.limits, bundle_zip, entry).await
    }

    /// Submits a render of a stored project. It is stored once this returns. The same seed twice is one render.
    ///
    /// # Errors
    ///
    /// The spec is refused, or the render could not be stored.
    pub async fn submit_stored(
        &self,
        bundle: StoredBundle,
        spec: RenderSpec,
        intake: Intake,
        seed: Seed,
    ) -> Result<RenderId, IntakeError> {
        let render = seed.render();
        let span = info_span!("intake", %render);
        trace::set_parent(&span, &render);
        self.store_and_track(bundle, spec, intake, seed).instrument(span).await
    }

    async fn store_and_track(
        &self,
        bundle: StoredBundle,
        spec: RenderSpec,
        intake: Intake,
        seed: Seed,
    ) -> Result<RenderId, IntakeError> {
        let request = intake::store(&self.inner.backplane.objects, bundle, spec, &intake, seed).await?;
        info!(
            bundle = %request.bundle.short(), pool = %request.spec.pool, space = %intake.space,
            "a render was submitted"
        );
        let render = request.id.clone();
        let is_known = self.inner.registry.get(&render).is_some();
        if !is_known {
            self.inner.backplane.metrics.render_accepted();
        }
        if age_of(&render) < REPEATED_AFTER {
            let entry = self.inner.registry.add(RenderEntry::new(request, Arc::new(intake), RenderProgress::queued()));
            if entry.progress.borrow().end.is_none() {
                self.wake(Wake::Submitted(Box::new(entry)));
            }
            return Ok(render);
        }
        // The seed of a repeated submission is old. The render may have ended since, or its mark may be removed.
        match self.entry(&render).await {
            Ok(entry) if entry.progress.borrow().end.is_none() => {
                let mark = object_keys::open_mark(&render);
                self.inner.backplane.objects.put_json(&mark, &*entry.intake).await?;
                Ok(render)
            }
            Ok(_) | Err(RenderError::NotFound(_) | RenderError::Ended(_)) => Ok(render),
            Err(RenderError::Storage(error)) => Err(error.into()),
            // Reading a render asks no ledger.
            Err(RenderError::Ledger(_)) => Ok(render),
        }
    }

    /// The render, from memory or from storage. Neither broker nor ledger nor any worker is needed.
    ///
    /// # Errors
    ///
    /// There is no such render, or it is not in memory and storage did not answer.
    pub async fn detail(&self, render: &RenderId) -> Result<RenderDetail, RenderError> {
        Ok(self.entry(render).await?.detail())
    }

    /// The render, if it belongs to `space`.
    ///
    /// # Errors
    ///
    /// As for [`detail`](Self::detail). A render of another space is not found.
    pub async fn detail_in(&self, space: &Space, render: &RenderId) -> Result<RenderDetail, RenderError> {
        let detail = self.detail(render).await?;
        if detail.intake.space == *space { Ok(detail) } else { Err(RenderError::NotFound(render.clone())) }
    }

    /// The warnings that were found before the plan of a failed render failed.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub(crate) async fn found_warnings(&self, render: &RenderId) -> Result<Vec<Warning>, RenderError> {
        let found = self.inner.backplane.objects.get_json(&keys::found_warnings(render)).await;
        Ok(if_found(found)?.unwrap_or_default())
    }

    /// The progress of the render from now on. The last value has `end`.
    ///
    /// # Errors
    ///
    /// As for [`detail`](Self::detail).
    pub async fn watch(&self, render: &RenderId) -> Result<watch::Receiver<RenderProgress>, RenderError> {
        Ok(self.entry(render).await?.progress.subscribe())
    }

    async fn entry(&self, render: &RenderId) -> Result<RenderEntry, RenderError> {
        if let Some(entry) = self.inner.registry.get(render) {
            return Ok(entry);
        }
        let stored = store::read(&self.inner.backplane.objects, render).await?;
        let entry = RenderEntry::from_stored(stored.ok_or_else(|| RenderError::NotFound(render.clone()))?);
        let is_open = entry.progress.borrow().end.is_none();
        let entry = self.inner.registry.add(entry);
        if is_open {
            // Another coordinator took it in, or this one has just started.
            self.wake(Wake::Changed(render.clone()));
        }
        Ok(entry)
    }

    /// At most `limit` renders of `space` that pass `filter`, in its order, from the one after `after` on.
    ///
    /// # Errors
    ///
    /// Storage did not answer. A single render that cannot be read is left out.
    pub async fn list(
        &self,
        space: &Space,
        limit: usize,
        after: Option<&RenderId>,
        filter: &Filter,
    ) -> Result<RenderPage, RenderError> {
        let Inner { backplane, registry, index, .. } = &*self.inner;
        let ids = index.find(&backplane.objects, registry, space, after, filter).await?;
        let reads = ids.into_iter().map(|id| {
            let coordinator = self.clone();
            async move { coordinator.detail(&id).await }
        });
        let details = futures::stream::iter(reads).buffered(store::MAX_CONCURRENT_REQUESTS);
        let mut details = std::pin::pin!(details);
        let mut renders: Vec<RenderDetail> = Vec::new();
        while let Some(detail) = details.next().await {
            match detail {
                // One more than asked for says whether there is another page.
                Ok(_) if renders.len() == limit => {
                    let next = renders.last().map(|last| last.request.id.clone());
                    return Ok(RenderPage { renders, next });
                }
                Ok(detail) => renders.push(detail),
                // It is deleted, or being taken in.
                Err(RenderError::NotFound(_)) => {}
                // One render that cannot be read must not hide the others.
                Err(RenderError::Storage(reason @ ObjectsError::Corrupt { .. })) => {
                    error!(%reason, "a render in storage could not be read and is left out of the list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RenderPage { renders, next: None })
    }

    /// Plan and timeline of the render: from memory while it is open, from storage after its end.
    ///
    /// # Errors
    ///
    /// As for [`detail`](Self::detail).
    pub(crate) async fn internals(&self, render: &RenderId) -> Result<RenderInternals, RenderError> {
        let entry = self.entry(render).await?;
        let objects = &self.inner.backplane.objects;
        let end = entry.progress.borrow().end.clone();
        let Some(state) = end else {
            let plan = match entry.plan() {
                Some(plan) => Some(plan),
                None => store::readable_plan(objects, render).await?.map(Arc::new),
            };
            let view = entry.view.read();
            let timeline = Timeline::from_ledger(plan.as_deref(), &view, &entry.chunk_results);
            let audio = view.tasks.get(&Step::Audio);
            let has_sound = audio.is_some_and(|audio| audio.committed.is_some());
            return Ok(RenderInternals { plan, timeline: Arc::new(timeline), has_sound });
        };
        if let Some((_, internals)) = self.inner.details.lock().iter().find(|(cached, _)| cached == render) {
            return Ok(internals.clone());
        }
        let audio = keys::audio_record(render);
        let (plan, timeline, has_sound) = futures::try_join!(
            store::readable_plan(objects, render),
            timeline::read(objects, render, &state),
            objects.exists(&audio),
        )?;
        let internals = RenderInternals { plan: plan.map(Arc::new), timeline: Arc::new(timeline), has_sound };
        let mut details = self.inner.details.lock();
        if details.len() == MAX_CACHED_DETAILS {
            details.pop_front();
        }
        details.push_back((render.clone(), internals.clone()));
        Ok(internals)
    }

    /// The ended renders of `space` that are read within `patience`, newest first.
    pub(crate) async fn ended(&self, space: &Space, patience: Duration) -> Vec<(RenderId, Arc<IndexedRender>)> {
        let Inner { backplane, registry, index, .. } = &*self.inner;
        index.ended(&backplane.objects, registry, space, patience).await
    }

    /// The renders in memory.
    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Cancels the render. A render that is cancelled already stays so.
    ///
    /// # Errors
    ///
    /// There is no such render, it has ended otherwise, or storage did not answer.
    pub async fn cancel(&self, render: &RenderId) -> Result<RenderDetail, RenderError> {
        self.entry(render).await?;
        let state = self.end_as_cancelled(render).await?;
        match &state.outcome {
            Outcome::Failed { failure, .. } if failure.code == FailureCode::Cancelled => self.detail(render).await,
            _ => Err(RenderError::Ended(render.clone())),
        }
    }

    /// Pauses or resumes the render. While it is paused none of its tasks are dispatched; tasks that workers have claimed finish.
    ///
    /// # Errors
    ///
    /// There is no such render, it has ended, or storage or ledger did not answer.
    pub async fn set_paused(&self, render: &RenderId, is_paused: bool) -> Result<RenderDetail, RenderError> {
        let entry = self.entry(render).await?;
        if entry.progress.borrow().end.is_some() {
            return Err(RenderError::Ended(render.clone()));
        }
        let (objects, mark) = (&self.inner.backplane.objects, object_keys::pause_mark(render));
        if is_paused {
            objects.put(&mark, Bytes::from_static(b"{}")).await?;
        } else {
            objects.delete(&mark).await?;
        }
        entry.set_paused(is_paused);
        // The scheduler reads it there. A render that the ledger does not know gets it from the mark.
        self.inner.backplane.ledger.set_paused(render, is_paused).await?;
        info!(%render, "the render was {}", if is_paused { "paused" } else { "resumed" });
        self.wake(Wake::Changed(render.clone()));
        Ok(RenderDetail { is_paused, ..self.detail(render).await? })
    }

    /// Changes the priority of an open render. Tasks that are in a queue already keep their places there.
    ///
    /// # Errors
    ///
    /// There is no such render, it has ended, or storage did not answer.
    pub async fn set_priority(&self, render: &RenderId, priority: i32) -> Result<RenderDetail, RenderError> {
        let entry = self.entry(render).await?;
        if entry.progress.borrow().end.is_some() {
            return Err(RenderError::Ended(render.clone()));
        }
        let intake = Intake { priority, ..Intake::clone(&entry.intake) };
        self.inner.backplane.objects.put_json(&object_keys::intake(render), &intake).await?;
        entry.set_priority(priority);
        info!(%render, priority, "the priority of the render was changed");
        // A comparison with storage that runs now may still have the old one.
        self.wake(Wake::ChangedInStorage(render.clone()));
        Ok(entry.detail())
    }

    /// Submits a new render with project, spec and moment of an earlier one. What a failed one has left of the same content
    /// is taken over.
    ///
    /// # Errors
    ///
    /// There is no such render, its project is no longer stored, or the new one could not be stored.
    pub async fn retry(&self, render: &RenderId, intake: Intake, seed: Seed) -> Result<RenderId, IntakeError> {
        let objects = &self.inner.backplane.objects;
        let entry = self.entry(render).await;
        let request = match entry {
            Ok(entry) => entry.request,
            Err(error) => return Err(IntakeError::Invalid { param: "render_id", message: error.to_string() }),
        };
        let Some(bundle) = intake::bundle_of(objects, &request).await? else {
            let message = "the render's project is no longer stored; submit it again".to_owned();
            return Err(IntakeError::Invalid { param: "render_id", message });
        };
        let intake = Intake { retry_of: Some(render.clone()), ..intake };
        let mut spec = request.spec.clone();
        // The page's clocks show what they showed, so that segments of the failed render are those of this one.
        spec.now.get_or_insert(Timestamp::of_unix_ms(request.created_at_ms));
        self.submit_stored(bundle, spec, intake, seed).await
    }

    /// Renders that end from now on.
    pub(crate) fn ends(&self) -> tokio::sync::broadcast::Receiver<RenderId> {
        self.inner.registry.ends()
    }

    /// The drain that ends the loops.
    pub(crate) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    /// Runs another loop, which has to end when the drain starts. [`join`](Self::join) waits for it.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.loops.lock().push(tokio::spawn(work));
    }

    /// Deletes the render: cancels it if it is open, hides it for good, and removes its objects.
    ///
    /// # Errors
    ///
    /// There is no such render, or storage did not answer.
    pub async fn delete(&self, render: &RenderId) -> Result<(), RenderError> {
        let entry = self.entry(render).await?;
        self.end_as_cancelled(render).await?;
        store::delete(&self.inner.backplane.objects, render).await?;
        self.inner.registry.delete(&entry.intake.space, render);
        self.inner.index.remove(&entry.intake.space, render).await;
        info!(%render, "the render was deleted");
        Ok(())
    }

    async fn end_as_cancelled(&self, render: &RenderId) -> Result<Arc<TerminalState>, RenderError> {
        if let Some(state) = store::state(&self.inner.backplane.objects, render).await? {
            return Ok(state.into());
        }
        if let Ok(internals) = self.internals(render).await {
            let timeline = Timeline::clone(&internals.timeline).ended(now_ms());
            timeline::write(&self.inner.backplane.objects, render, &timeline).await;
        }
        // The leases end before the state is stored. If the ledger does not answer, the loop cancels the render there later.
        if let Err(error) = self.inner.backplane.ledger.cancel(render).await {
            warn!(%render, %error, "the ledger did not cancel the render, the loop cancels it there later");
        }
        let failure =
            Failure::new(FailureCode::Cancelled, "The render was cancelled. Ask for it again if you need it.");
        let outcome = Outcome::Failed { failure, history: Vec::new() };
        let state = Arc::new(store::end(&self.inner.backplane.objects, render, outcome).await?);
        info!(%render, outcome = ?state.outcome, "the API has ended the render");
        self.inner.registry.end(render, state.clone());
        self.wake(Wake::EndedByApi(render.clone()));
        Ok(state)
    }

    /// Whether this coordinator leads: the leader alone schedules, and finalizes ended renders.
    pub(crate) fn is_leading(&self) -> bool {
        self.inner.leadership.term().is_some()
    }

    /// Whether the render is known to have ended.
    pub(crate) fn has_ended(&self, render: &RenderId) -> bool {
        self.inner.registry.get(render).is_some_and(|entry| entry.progress.borrow().end.is_some())
    }

    /// Whether the render is known, and not known to have ended.
    pub(crate) fn is_open(&self, render: &RenderId) -> bool {
        self.inner.registry.get(render).is_some_and(|entry| entry.progress.borrow().end.is_none())
    }

    /// Id of the coordinator that leads, once the ledger has said it.
    pub(crate) fn leader(&self) -> Option<String> {
        self.inner.leadership.leader()
    }

    /// The changes between leader and standby.
    pub(crate) fn leadership_changes(&self) -> LeadershipChanges {
        self.inner.leadership.changes()
    }

    /// Wakes the loop, and that of the leader. The receiver is dropped only while the process ends; the next process
    /// finds the same in storage.
    fn wake(&self, wake: Wake) {
        let changed = match &wake {
            Wake::Submitted(entry) => Some(entry.request.id.clone()),
            Wake::Changed(render) | Wake::ChangedInStorage(render) | Wake::EndedByApi(render) => Some(render.clone()),
            _ => None,
        };
        if let Some(render) = changed.filter(|_| !self.is_leading()) {
            let backplane = self.inner.backplane.clone();
            tokio::spawn(async move { tell_leader(&backplane, &render).await });
        }
        drop(self.inner.wakes.send(wake));
    }
}
