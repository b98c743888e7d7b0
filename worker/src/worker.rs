//! A worker node: its start, its end, and which stage does which task.

use std::path::PathBuf;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Lease, NodeView};
use hyperfarm_backplane::local_disk::{self, FolderKind};
use hyperfarm_backplane::machine;
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_media::Decoders;
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::id::{Pool, WorkerId};
use hyperfarm_proto::task::{Queue, Step};
use tokio::task::JoinHandle;

use crate::blocking::blocking;
use crate::cache::Cache;
use crate::chrome::{ChromeConfig, Confinement, PidNamespace};
use crate::compiler::Compilers;
use crate::context::{WorkerContext, no_folder_in};
use crate::encoders::{DeviceEncoders, EncoderMode};
use crate::error::WorkerError;
use crate::expected_page::ExpectedPage;
use crate::remote::{Remote, RemoteConfig};
use crate::runtimes::RuntimeConfig;
use crate::slots::Slots;
use crate::{audio_stage, chunk_stage, class, plan_stage};

/// Time between two reports of the browsers' memory and confinement.
const MEMORY_INTERVAL: Duration = Duration::from_secs(10);

/// The configuration of a worker.
#[derive(Debug, Clone)]
pub struct WorkerConfig {
    /// Id of the node.
    pub id: WorkerId,
    /// Pool whose tasks it takes.
    pub pool: Pool,
    /// Number of tasks at a time; each has a browser of its own.
    pub slots: u32,
    /// Which Chrome it runs.
    pub chrome: ChromeConfig,
    /// The page of its first render, where its compilers have read it: its browsers are started while the worker itself
    /// starts. That the compilers are confined was proved when the page was read.
    pub first_page: Option<ExpectedPage>,
    /// Whether a GPU encodes.
    pub encoder: EncoderMode,
    /// What decodes the sources of projects.
    pub decoders: Decoders,
    /// Where projects are compiled.
    pub compilers: Compilers,
    /// How remote files are found.
    pub remote: RemoteConfig,
    /// Where versions of the HyperFrames runtime are found.
    pub runtimes: RuntimeConfig,
    /// Limits of a project's archive.
    pub archive: ArchiveLimits,
    /// The operator's label for what the farm cannot see of this machine; part of the capture class, usually empty.
    pub label: String,
    /// Folder for caches and unfinished segments. The worker creates a folder in it, and removes that at its end.
    pub work_dir: PathBuf,
    /// Times of leases, drain and quarantine.
    pub runner: RunnerConfig,
}

/// A running worker.
pub struct Worker {
    runner: JoinHandle<()>,
    memory_watch: JoinHandle<()>,
    context: Arc<WorkerContext>,
}

/// Runs tasks. The stages pass the context on to blocking threads, hence the [`Arc`].
struct Stages(Arc<WorkerContext>);

/// Clears a slot after its task, however that ends.
struct ClearWhenIdle<'a>(&'a Arc<WorkerContext>, u32);

impl Drop for ClearWhenIdle<'_> {
    fn drop(&mut self) {
        self.0.slots.clone().clear_when_idle(self.1);
    }
}

#[async_trait]
impl TaskHandler for Stages {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let _clear = ClearWhenIdle(&self.0, context.slot());
        let page_log = self.0.slots.page_log(context.slot());
        if let Some(page_log) = page_log {
            page_log.set_target(Some(context.log().clone()));
        }
        let outcome = match lease.task.step {
            Step::Plan => plan_stage::run(&self.0, &lease.task.render, context).await,
            Step::Audio => audio_stage::run(&self.0, lease, context).await,
            Step::Chunk(number) => chunk_stage::run(&self.0, lease, number, context).await,
            Step::Stitch => Err(WorkerError::Inconsistent("a worker was given a stitch".to_owned())),
        };
        if let Some(page_log) = page_log {
            page_log.set_target(None);
        }
        outcome.map_err(Failure::from)
    }
}

impl Worker {
    /// Checks Chrome, creates the slots, and starts to take tasks of the pool.
    ///
    /// # Errors
    ///
    /// Those of a Chrome, a GPU, an encoder or a setting that cannot be used, and of the local disk.
    pub async fn start(backplane: Backplane, mut config: WorkerConfig, drain: Drain) -> Result<Self, WorkerError> {
        config.chrome = config.chrome.with_gpu().await?;
        let slots = Arc::new(Slots::new(&config.chrome, config.slots.max(1)).await?);
        if let Some(page) = config.first_page {
            slots.prepare(None, page);
        }
        tokio::spawn(local_disk::remove_abandoned(vec![config.work_dir.clone(), std::env::temp_dir()]));
        let folder = std::fs::create_dir_all(&config.work_dir)
            .and_then(|()| FolderKind::Worker.create_in(&config.work_dir, ""))
            .map_err(no_folder_in(&config.work_dir))?;
        let encoders = DeviceEncoders::find(config.encoder, folder.path()).await?;
        let (compilers, decoders) = (config.compilers.clone(), config.decoders.clone());
        let is_compiler_proved = config.first_page.is_some();
        let confinement = blocking("the check of child processes", move || {
            if !is_compiler_proved {
                compilers.check_confinement()?;
            }
            decoders.check_confinement().map_err(WorkerError::from)
        });
        let (class, confinement) =
            tokio::join!(class::detect(&config.chrome, encoders.name(), config.label), confinement);
        let class = class?;
        confinement??;
        if !config.chrome.sandbox {
            tracing::warn!(
                "Chrome's sandbox is off by HYPERFARM_CHROME_SANDBOX; render only compositions that you trust"
            );
        }
        if config.chrome.pid_namespace == PidNamespace::None {
            tracing::warn!("the kernel gives Chrome no PID namespace: Chrome may outlive a worker that is killed");
        }
        let confinements = slots.confinements();
        backplane.metrics.watch_disk("work", &config.work_dir);
        let node = NodeView {
            class_id: class.id(),
            ..NodeView::new(config.id, "worker", config.pool.as_str(), config.slots.max(1), class.to_string())
        };
        tracing::info!(worker = %node.id, slots = node.slots, pool = %node.pool, class = %node.class, "worker started");
        let cache = Arc::new(Cache::open(&folder.path().join("cache"))?);
        let remote = Arc::new(Remote::new(config.remote)?);
        let context = WorkerContext::new(backplane.clone(), cache, class, encoders, remote, slots, folder);
        let context =
            context.with_archive(config.archive).with_decoders(config.decoders).with_compilers(config.compilers);
        let context = Arc::new(context.with_runtimes(config.runtimes));
        let queues = vec![Queue::Plan(config.pool.clone()), Queue::Chunk(config.pool)];
        let memory_watch = tokio::spawn(watch_browsers(backplane.metrics.clone(), confinements));
        let runner = Runner::new(backplane, node, config.runner);
        let runner = tokio::spawn(runner.run(queues, Arc::new(Stages(context.clone())), drain));
        Ok(Self { runner, memory_watch, context })
    }

    /// Starts a browser in a slot that has none, in the background, so that its confinement is measured and logged.
    pub fn measure_confinement(&self) {
        let context = self.context.clone();
        tokio::spawn(async move { context.slots.measure_confinement().await });
    }

    /// Ends the browsers of slots without a task, in the background. A task that comes later starts one again.
    pub fn close_idle_browsers(&self) {
        self.context.slots.close_idle();
    }

    /// Waits until the drain is complete, then ends every browser.
    pub async fn join(self) {
        if let Err(panic) = self.runner.await {
            tracing::error!(%panic, "the worker's runner panicked");
        }
        self.memory_watch.abort();
        self.context.slots.close().await;
    }
}

/// Reports the browsers' memory and confinement until it is aborted: all descendants of this process are browsers.
async fn watch_browsers(metrics: Metrics, confinements: Vec<Arc<OnceLock<Confinement>>>) {
    loop {
        for (kind, layer, holds) in confinements.iter().filter_map(|cell| cell.get()).flat_map(Confinement::layers) {
            metrics.set_confined(kind.name(), layer.name(), holds);
        }
        if let Ok(memory) = tokio::task::spawn_blocking(machine::memory).await {
            metrics.set_browsers(memory.children, memory.descendants);
        }
        tokio::time::sleep(MEMORY_INTERVAL).await;
    }
}
