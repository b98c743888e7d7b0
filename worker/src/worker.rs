//! A worker node: its slots, its cache, and which stage does which task.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Lease, NodeView};
use hyperfarm_backplane::machine;
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{ContentHash, Pool, RenderId, WorkerId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{CaptureClass, Plan};
use hyperfarm_proto::spec::Viewport;
use hyperfarm_proto::task::{Queue, Step};
use tempfile::TempDir;
use tokio::task::JoinHandle;

use crate::cache::Cache;
use crate::capture::EncoderPermits;
use crate::chrome::{ChromeConfig, PageLog};
use crate::encoders::{DeviceEncoders, EncoderMode};
use crate::remote::{Remote, RemoteConfig};
use crate::slot::Slot;
use crate::{audio_stage, chunk_stage, class, plan_stage, sweep};

/// How a worker is set up.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Id of the process.
    pub id: WorkerId,
    /// Pool it serves.
    pub pool: Pool,
    /// Tasks at once; each has a browser of its own.
    pub slots: u32,
    /// Which Chrome.
    pub chrome: ChromeConfig,
    /// Whether a GPU encodes.
    pub encoder: EncoderMode,
    /// How what is remote is found.
    pub remote: RemoteConfig,
    /// The operator's word for what the farm cannot see of this machine; part of the capture class, usually empty.
    pub label: String,
    /// Folder for caches and half-made segments; a folder inside it is made and removed again.
    pub work_dir: PathBuf,
    /// Lease times and the like.
    pub runner: RunnerConfig,
}

/// A running worker.
pub struct Worker {
    task: JoinHandle<()>,
    memory: JoinHandle<()>,
    shop: Arc<WorkerContext>,
}

/// What the stages share.
pub(crate) struct WorkerContext {
    pub(crate) backplane: Backplane,
    pub(crate) cache: Arc<Cache>,
    pub(crate) class: CaptureClass,
    pub(crate) encoders: DeviceEncoders,
    pub(crate) remote: Arc<Remote>,
    pub(crate) turns: EncoderPermits,
    slots: Vec<tokio::sync::Mutex<Slot>>,
    /// Where the slots' pages talk to, by slot.
    page_logs: Vec<PageLog>,
    plans: Mutex<Vec<KnownPlan>>,
    folder: TempDir,
}

/// Plans kept; a slot works on one render at a time, and a few are on their way.
const KEPT_PLANS: usize = 16;

/// How long a slot's browser waits for another task of the render whose pages it has shown.
const KEPT_FOR_THE_RENDER: Duration = Duration::from_secs(1);

/// Time without use after which a plan is read again. A render is planned anew when its class is gone from the farm for longer
/// than this, so a node that was cut off does not come back with the plan of before.
const PLAN_KEPT: Duration = Duration::from_secs(30);

/// A plan that this worker can work from.
#[derive(Clone)]
struct KnownPlan {
    plan: Arc<Plan>,
    hash: ContentHash,
    used_at: Instant,
}

pub(crate) fn storage(error: ObjectsError) -> Failure {
    let code = match &error {
        ObjectsError::Version { .. } => FailureCode::VersionMismatch,
        _ => FailureCode::Storage,
    };
    Failure::new(code, error.to_string())
}

impl WorkerContext {
    pub(crate) fn objects(&self) -> &Objects {
        &self.backplane.objects
    }

    /// The slot of this number for a task of `render`, to oneself.
    pub(crate) async fn slot(
        &self,
        number: u32,
        render: &RenderId,
    ) -> Result<tokio::sync::MutexGuard<'_, Slot>, Failure> {
        let slot = self.slots.get(number as usize);
        let slot =
            slot.ok_or_else(|| Failure::new(FailureCode::Internal, format!("the worker has no slot {number}")))?;
        let mut slot = slot.lock().await;
        slot.assign(render).await?;
        Ok(slot)
    }

    /// After a task: if the slot has no other one soon, its browser ends with all that the render's pages left. A fresh one takes
    /// its place where no slot is at work, so that the next render need not wait for it.
    fn clear_when_idle(self: Arc<Self>, number: u32) {
        tokio::spawn(async move {
            let Some(mutex) = self.slots.get(number as usize) else { return };
            // One that is taken has its next task already.
            let Some(tasks) = mutex.try_lock().ok().map(|slot| slot.tasks()) else { return };
            tokio::time::sleep(KEPT_FOR_THE_RENDER).await;
            let Ok(mut slot) = mutex.try_lock() else { return };
            if slot.tasks() != tasks {
                return;
            }
            let viewport = slot.clear().await;
            let others = || self.slots.iter().enumerate().filter(|(other, _)| *other != number as usize);
            if let Some(viewport) = viewport
                && others().all(|(_, other)| other.try_lock().is_ok())
                && let Err(failure) = slot.prepare(viewport, false).await
            {
                tracing::debug!(%failure, "no browser was started ahead");
                slot.close().await;
            }
        });
    }

    /// Starts browsers for `viewport` in the slots that have none, beside the plan that one of them is making: its probe is what comes
    /// next, and then the chunks of that render.
    pub(crate) fn prepare_slots(self: &Arc<Self>, viewport: Viewport, transparent: bool) {
        for number in 0..self.slots.len() {
            let shop = self.clone();
            tokio::spawn(async move {
                // A slot that has a task starts what that needs by itself.
                let Some(Ok(mut slot)) = shop.slots.get(number).map(tokio::sync::Mutex::try_lock) else { return };
                if let Err(failure) = slot.prepare(viewport, transparent).await {
                    tracing::debug!(%failure, "no browser was started ahead");
                    slot.close().await;
                }
            });
        }
    }

    /// A folder for the files of one task, removed with it.
    pub(crate) fn scratch(&self, kind: &str) -> Result<TempDir, Failure> {
        let made = tempfile::Builder::new().prefix(kind).tempdir_in(self.folder.path());
        made.map_err(|error| {
            Failure::new(
                FailureCode::Internal,
                format!("no folder can be made in {}: {error}", self.folder.path().display()),
            )
        })
    }

    /// The plan of a render and the hash of its content, where it is of this worker's class.
    pub(crate) async fn plan(&self, render: &RenderId) -> Result<(Arc<Plan>, ContentHash), Failure> {
        let broken = || Failure::new(FailureCode::Internal, "the cache of plans broke");
        {
            let mut plans = self.plans.lock().map_err(|_| broken())?;
            plans.retain(|known| known.used_at.elapsed() < PLAN_KEPT);
            if let Some(known) = plans.iter_mut().find(|known| &known.plan.render == render) {
                known.used_at = Instant::now();
                return Ok((known.plan.clone(), known.hash));
            }
        }
        let plan: Arc<Plan> = Arc::new(self.objects().get_wire(&keys::plan(render)).await.map_err(storage)?);
        class::check(&plan.content.class, &self.class)?;
        let hash = plan.content.hash().map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))?;
        let mut plans = self.plans.lock().map_err(|_| broken())?;
        if plans.len() == KEPT_PLANS {
            plans.remove(0);
        }
        plans.push(KnownPlan { plan: plan.clone(), hash, used_at: Instant::now() });
        Ok((plan, hash))
    }
}

/// Between two measurements of the browsers' memory.
const MEMORY_EVERY: Duration = Duration::from_secs(10);

/// Measures the browsers until it is aborted: everything that descends from this process is theirs.
async fn watch_memory(metrics: Metrics) {
    loop {
        if let Ok(memory) = tokio::task::spawn_blocking(machine::memory).await {
            metrics.set_browsers(memory.children, memory.descendants);
        }
        tokio::time::sleep(MEMORY_EVERY).await;
    }
}

/// The shop behind an [`Arc`], which the stages hand to blocking threads.
struct Stages(Arc<WorkerContext>);

/// Clears the slot after its task, however that ends.
struct ClearWhenIdle<'a>(&'a Arc<WorkerContext>, u32);

impl Drop for ClearWhenIdle<'_> {
    fn drop(&mut self) {
        self.0.clone().clear_when_idle(self.1);
    }
}

#[async_trait]
impl TaskHandler for Stages {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let _cleared = ClearWhenIdle(&self.0, context.slot());
        let page_log = self.0.page_logs.get(context.slot() as usize);
        if let Some(page_log) = page_log {
            page_log.follow(Some(context.log().clone()));
        }
        let outcome = match lease.task.step {
            Step::Plan => plan_stage::run(&self.0, &lease.task.render, context).await,
            Step::Audio => audio_stage::run(&self.0, lease, context).await,
            Step::Chunk(number) => chunk_stage::run(&self.0, lease, number, context).await,
            Step::Stitch => Err(Failure::new(FailureCode::Internal, "a stitch came to a worker")),
        };
        if let Some(page_log) = page_log {
            page_log.follow(None);
        }
        outcome
    }
}

impl Worker {
    /// Checks Chrome, makes the slots and starts to serve the queues of the pool.
    pub async fn start(backplane: Backplane, mut config: WorkerConfig, drain: Drain) -> Result<Self, Failure> {
        config.chrome = config.chrome.with_gpu().await?;
        sweep::start(&config.work_dir);
        let made = std::fs::create_dir_all(&config.work_dir)
            .and_then(|()| tempfile::Builder::new().prefix(&sweep::prefix("worker")).tempdir_in(&config.work_dir));
        let folder = made.map_err(|error| {
            Failure::new(
                FailureCode::Internal,
                format!("no folder can be made in {}: {error}; set TMPDIR", config.work_dir.display()),
            )
        })?;
        let encoders = DeviceEncoders::find(config.encoder, folder.path()).await?;
        let class = class::detect(&config.chrome, encoders.name(), config.label).await?;
        let mut slots = Vec::new();
        for _ in 0..config.slots.max(1) {
            slots.push(tokio::sync::Mutex::new(Slot::new(config.chrome.clone()).await?));
        }
        let page_logs = slots.iter_mut().map(|slot| slot.get_mut().log()).collect();
        backplane.metrics.watch_disk("work", &config.work_dir);
        let node = NodeView {
            class_id: class.id(),
            ..NodeView::new(config.id, "worker", config.pool.as_str(), config.slots.max(1), class.to_string())
        };
        tracing::info!(worker = %node.id, slots = node.slots, pool = %node.pool, class = %node.class, "worker started");
        let cache = Arc::new(Cache::open(&folder.path().join("cache"))?);
        let remote = Arc::new(Remote::new(config.remote)?);
        let shop = Arc::new(WorkerContext {
            backplane: backplane.clone(),
            cache,
            class,
            encoders,
            remote,
            turns: EncoderPermits::for_slots(slots.len()),
            slots,
            page_logs,
            plans: Mutex::default(),
            folder,
        });
        let queues = vec![Queue::Plan(config.pool.clone()), Queue::Chunk(config.pool)];
        let memory = tokio::spawn(watch_memory(backplane.metrics.clone()));
        let runner = Runner::new(backplane, node, config.runner);
        let task = tokio::spawn(runner.run(queues, Arc::new(Stages(shop.clone())), drain));
        Ok(Self { task, memory, shop })
    }

    /// Waits until the drain is complete, then ends every browser.
    pub async fn join(self) {
        if let Err(panic) = self.task.await {
            tracing::error!(%panic, "the worker's loop broke");
        }
        self.memory.abort();
        futures::future::join_all(self.shop.slots.iter().map(async |slot| slot.lock().await.close().await)).await;
    }
}
