//! The coordinator as a whole: what the API and the embedded mode call.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::StreamExt;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::trace;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use hyperfarm_proto::task::Step;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{Instrument, error, info, info_span, warn};

use crate::config::CoordinatorConfig;
use crate::error::{IntakeError, RenderError};
use crate::index::{Filter, Index, Row};
use crate::intake::{self, Intake, Seed, StoredBundle};
use crate::progress::RenderProgress;
use crate::reconciler::{Reconciler, Wake, events};
use crate::registry::{Entry, Registry};
use crate::store;
use crate::timeline::{self, Timeline};

/// One render, as asked and as far as it is.
#[derive(Debug, Clone)]
pub struct RenderDetail {
    /// What was asked.
    pub request: Arc<RenderRequest>,
    /// How it came in.
    pub intake: Arc<Intake>,
    /// How far it is, and how it ended.
    pub progress: RenderProgress,
    /// Whether nothing more of it is sent out for now.
    pub is_paused: bool,
}

/// A page of renders, newest first.
#[derive(Debug, Clone)]
pub struct RenderPage {
    /// The renders.
    pub renders: Vec<RenderDetail>,
    /// Where the next page begins: after this one. `None` on the last page.
    pub next: Option<RenderId>,
}

/// A running coordinator. Clones are the same one.
#[derive(Clone)]
pub struct Coordinator {
    inner: Arc<Inner>,
}

/// Courses that are remembered.
const COURSES: usize = 16;

/// Age of a render's id from which its submission may be a repeated one. Shorter than an open mark without a request is kept.
const REPEATED_AFTER: Duration = Duration::from_secs(600);

/// A render from within.
#[derive(Debug, Clone, Default)]
pub(crate) struct Inside {
    /// Its plan, once there is one.
    pub(crate) plan: Option<Arc<Plan>>,
    /// What happened to it.
    pub(crate) course: Arc<Timeline>,
    /// Whether its sound is there, if it has any.
    pub(crate) has_sound: bool,
}

struct Inner {
    backplane: Backplane,
    config: CoordinatorConfig,
    registry: Arc<Registry>,
    index: Arc<Index>,
    /// Courses of renders that have ended, the last ones asked for.
    courses: Mutex<VecDeque<(RenderId, Inside)>>,
    wakes: mpsc::UnboundedSender<Wake>,
    loops: Mutex<Vec<JoinHandle<()>>>,
    drain: Drain,
}

impl Coordinator {
    /// Starts the reconciling loop. It runs until `drain` starts.
    pub fn start(backplane: Backplane, config: CoordinatorConfig, drain: Drain) -> Self {
        backplane.metrics.plays("coordinator");
        let registry = Arc::new(Registry::default());
        let (wakes, woken) = mpsc::unbounded_channel();
        let reconciler = Reconciler::new(backplane.clone(), config.clone(), registry.clone(), wakes.clone());
        let loops = vec![
            tokio::spawn(events::forward(backplane.clone(), wakes.clone(), drain.clone())),
            tokio::spawn(reconciler.run(woken, drain.clone())),
        ];
        let (index, courses) = Default::default();
        let inner = Inner { backplane, config, registry, index, courses, wakes, loops: loops.into(), drain };
        Self { inner: Arc::new(inner) }
    }

    /// Waits until the loops have stopped, which they do after the drain has started.
    pub async fn join(&self) {
        let loops = std::mem::take(&mut *self.inner.loops.lock().unwrap_or_else(PoisonError::into_inner));
        for handle in loops {
            if let Err(panic) = handle.await {
                error!(%panic, "a loop of the coordinator ended by itself");
            }
        }
    }

    /// What the coordinator is plugged into.
    pub fn backplane(&self) -> &Backplane {
        &self.inner.backplane
    }

    /// The coordinator's numbers.
    pub fn config(&self) -> &CoordinatorConfig {
        &self.inner.config
    }

    /// Takes a render in. It is durable once this returns.
    pub async fn submit(&self, bundle_zip: Bytes, spec: RenderSpec) -> Result<RenderId, IntakeError> {
        intake::check(&spec)?;
        let bundle = self.take_bundle(bundle_zip, spec.composition.as_deref()).await?;
        self.submit_as(bundle, spec, Intake::default(), Seed::new()?).await
    }

    /// Checks a project's archive for an entry page and stores it, for renders to be made of.
    pub async fn take_bundle(&self, bundle_zip: Bytes, entry: Option<&str>) -> Result<StoredBundle, IntakeError> {
        intake::store_bundle(&self.inner.backplane.objects, &self.inner.config.limits, bundle_zip, entry).await
    }

    /// Takes a render of a stored bundle in. It is durable once this returns; the same seed twice is one render.
    pub async fn submit_as(
        &self,
        bundle: StoredBundle,
        spec: RenderSpec,
        intake: Intake,
        seed: Seed,
    ) -> Result<RenderId, IntakeError> {
        let render = seed.render();
        let span = info_span!("intake", %render);
        trace::follow(&span, &render);
        self.take_in(bundle, spec, intake, seed).instrument(span).await
    }

    async fn take_in(
        &self,
        bundle: StoredBundle,
        spec: RenderSpec,
        intake: Intake,
        seed: Seed,
    ) -> Result<RenderId, IntakeError> {
        let request = intake::store(&self.inner.backplane.objects, bundle, spec, &intake, seed).await?;
        info!(
            bundle = %request.bundle.short(), pool = %request.spec.pool, space = %intake.space,
            "taken in"
        );
        let render = request.id.clone();
        let is_known = self.inner.registry.get(&render).is_some();
        if !is_known {
            self.inner.backplane.metrics.render_accepted();
        }
        if store::age_of(&render) < REPEATED_AFTER {
            let entry = self.inner.registry.add(Entry::new(request, Arc::new(intake), RenderProgress::queued()));
            if entry.progress.borrow().end.is_none() {
                self.wake(Wake::New(Box::new(entry)));
            }
            return Ok(render);
        }
        // An old seed is of a repeated submission: the render may have ended since, or the sweep may have removed its mark.
        match self.entry(&render).await {
            Ok(entry) if entry.progress.borrow().end.is_none() => {
                let mark = store::open_mark(&render);
                self.inner.backplane.objects.put_json(&mark, &*entry.intake).await?;
                Ok(render)
            }
            Ok(_) | Err(RenderError::NotFound(_) | RenderError::Ended(_)) => Ok(render),
            Err(RenderError::Storage(error)) => Err(error.into()),
        }
    }

    /// The render. Answered from memory where it is known, else from storage: neither broker nor ledger nor any worker is needed.
    pub async fn detail(&self, render: &RenderId) -> Result<RenderDetail, RenderError> {
        let entry = self.entry(render).await?;
        let progress = entry.progress.borrow().clone();
        let is_paused = entry.is_paused();
        Ok(RenderDetail { request: entry.request, intake: entry.intake, progress, is_paused })
    }

    /// The render, if it belongs to `space`; to every other space there is none.
    pub async fn detail_in(&self, space: &Space, render: &RenderId) -> Result<RenderDetail, RenderError> {
        let detail = self.detail(render).await?;
        if detail.intake.space == *space { Ok(detail) } else { Err(RenderError::NotFound(render.clone())) }
    }

    /// The render's progress from now on. The last value has `end`.
    pub async fn watch(&self, render: &RenderId) -> Result<watch::Receiver<RenderProgress>, RenderError> {
        Ok(self.entry(render).await?.progress.subscribe())
    }

    async fn entry(&self, render: &RenderId) -> Result<Entry, RenderError> {
        if let Some(entry) = self.inner.registry.get(render) {
            return Ok(entry);
        }
        let stored = store::entry(&self.inner.backplane.objects, render).await?;
        let entry = stored.ok_or_else(|| RenderError::NotFound(render.clone()))?;
        let is_open = entry.progress.borrow().end.is_none();
        let entry = self.inner.registry.add(entry);
        if is_open {
            // Another coordinator's, or this one has only just started.
            self.wake(Wake::Look(render.clone()));
        }
        Ok(entry)
    }

    /// At most `limit` renders of `space` that pass `filter` and are older than `after`, newest first.
    pub async fn list(
        &self,
        space: &Space,
        limit: usize,
        after: Option<&RenderId>,
        filter: &Filter,
    ) -> Result<RenderPage, RenderError> {
        let Inner { backplane, registry, index, .. } = &*self.inner;
        let ids = index.find(&backplane.objects, registry, space, after, filter).await?;
        let looks = ids.into_iter().map(|id| {
            let coordinator = self.clone();
            async move { coordinator.detail(&id).await }
        });
        let details = futures::stream::iter(looks).buffered(store::PARALLEL);
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
                // Deleted, or on its way in.
                Err(RenderError::NotFound(_)) => {}
                // One render that cannot be read must not hide the others.
                Err(RenderError::Storage(reason @ ObjectsError::Corrupt { .. })) => {
                    error!(%reason, "a render in storage cannot be read and is left out of the list");
                }
                Err(error) => return Err(error),
            }
        }
        Ok(RenderPage { renders, next: None })
    }

    /// What happened to the render so far: from memory while it is under way, from storage after its end.
    pub(crate) async fn told(&self, render: &RenderId) -> Result<Inside, RenderError> {
        let entry = self.entry(render).await?;
        let objects = &self.inner.backplane.objects;
        let end = entry.progress.borrow().end.clone();
        let Some(state) = end else {
            let latest = entry.latest();
            let plan = match latest.plan {
                Some(plan) => Some(plan),
                None => store::readable_plan(objects, render).await?.map(Arc::new),
            };
            let course = Timeline::of(plan.as_deref(), &latest.view, &entry.records);
            let audio = latest.view.tasks.get(&Step::Audio);
            let has_sound = audio.is_some_and(|audio| audio.committed.is_some());
            return Ok(Inside { plan, course: Arc::new(course), has_sound });
        };
        let courses = || self.inner.courses.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, told)) = courses().iter().find(|(known, _)| known == render) {
            return Ok(told.clone());
        }
        let audio = keys::audio_record(render);
        let (plan, course, has_sound) = futures::try_join!(
            store::readable_plan(objects, render),
            timeline::read(objects, render, &state),
            objects.exists(&audio),
        )?;
        let told = Inside { plan: plan.map(Arc::new), course: Arc::new(course), has_sound };
        let mut courses = courses();
        if courses.len() == COURSES {
            courses.pop_front();
        }
        courses.push_back((render.clone(), told.clone()));
        Ok(told)
    }

    /// Ended renders of `space`, newest first, as far as they are known within `patience`.
    pub(crate) async fn ended(&self, space: &Space, patience: Duration) -> Vec<(RenderId, Arc<Row>)> {
        let Inner { backplane, registry, index, .. } = &*self.inner;
        index.ended(&backplane.objects, registry, space, patience).await
    }

    /// Renders that this process knows.
    pub(crate) fn registry(&self) -> &Registry {
        &self.inner.registry
    }

    /// Ends the render. Done already, if it was cancelled before; an error, if it ended otherwise.
    pub async fn cancel(&self, render: &RenderId) -> Result<RenderDetail, RenderError> {
        self.entry(render).await?;
        let state = self.end_as_cancelled(render).await?;
        match &state.outcome {
            Outcome::Failed { failure, .. } if failure.code == FailureCode::Cancelled => self.detail(render).await,
            _ => Err(RenderError::Ended(render.clone())),
        }
    }

    /// Sends no more of the render's tasks out, or goes on. What is at work already finishes.
    pub async fn pause(&self, render: &RenderId, paused: bool) -> Result<RenderDetail, RenderError> {
        let entry = self.entry(render).await?;
        if entry.progress.borrow().end.is_some() {
            return Err(RenderError::Ended(render.clone()));
        }
        let (objects, mark) = (&self.inner.backplane.objects, store::pause_mark(render));
        if paused {
            objects.put(&mark, Bytes::from_static(b"{}")).await?;
        } else {
            objects.delete(&mark).await?;
        }
        entry.pause(paused);
        info!(%render, paused, "paused or resumed");
        self.wake(Wake::Look(render.clone()));
        self.detail(render).await
    }

    /// Takes the render in once more, as it was asked for the first time.
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
        self.submit_as(bundle, request.spec.clone(), intake, seed).await
    }

    /// Renders that end from now on.
    pub(crate) fn ends(&self) -> tokio::sync::broadcast::Receiver<RenderId> {
        self.inner.registry.ends()
    }

    /// The drain of the process.
    pub(crate) fn drain(&self) -> &Drain {
        &self.inner.drain
    }

    /// A loop that ends with the drain, and that [`join`](Self::join) waits for.
    pub(crate) fn run(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.inner.loops.lock().unwrap_or_else(PoisonError::into_inner).push(tokio::spawn(work));
    }

    /// Hides the render for good, cancels it if it is under way, and removes what it made.
    pub async fn delete(&self, render: &RenderId) -> Result<(), RenderError> {
        let entry = self.entry(render).await?;
        self.end_as_cancelled(render).await?;
        store::delete(&self.inner.backplane.objects, render).await?;
        self.inner.registry.delete(&entry.intake.space, render);
        self.inner.index.remove(&entry.intake.space, render).await;
        info!(%render, "deleted");
        Ok(())
    }

    async fn end_as_cancelled(&self, render: &RenderId) -> Result<Arc<TerminalState>, RenderError> {
        if let Some(state) = store::state(&self.inner.backplane.objects, render).await? {
            return Ok(state.into());
        }
        if let Ok(told) = self.told(render).await {
            let course = Timeline::clone(&told.course).ended(store::now_ms());
            timeline::write(&self.inner.backplane.objects, render, &course).await;
        }
        // First the leases, so that nobody works, then the words. If the ledger is down the loop says it again later.
        if let Err(error) = self.inner.backplane.ledger.cancel(render).await {
            warn!(%render, %error, "the ledger does not know of the cancellation yet");
        }
        let failure =
            Failure::new(FailureCode::Cancelled, "The render was cancelled. Ask for it again if you need it.");
        let outcome = Outcome::Failed { failure, history: Vec::new() };
        let state = Arc::new(store::end(&self.inner.backplane.objects, render, outcome).await?);
        info!(%render, outcome = ?state.outcome, "ended from outside");
        self.inner.registry.end(render, state.clone());
        self.wake(Wake::Ended(render.clone()));
        Ok(state)
    }

    /// Tells the loop. It is gone only while the process ends; then the next one finds the same in storage.
    fn wake(&self, wake: Wake) {
        drop(self.inner.wakes.send(wake));
    }
}
