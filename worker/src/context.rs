//! What the stages of a worker share: connections, caches, slots.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_media::{Decoders, MediaLimits};
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{CaptureClass, Plan, RuntimeVersion};
use parking_lot::Mutex;
use tempfile::TempDir;

use crate::cache::Cache;
use crate::capture::EncoderPermits;
use crate::class;
use crate::compiler::Compilers;
use crate::encoders::DeviceEncoders;
use crate::error::{DiskError, WorkerError};
use crate::remote::Remote;
use crate::runtimes::{RuntimeConfig, RuntimeScripts, Runtimes};
use crate::slots::Slots;

/// Most plans that are cached; a slot works on one render at a time, and a few more have tasks in the queue.
const MAX_PLANS: usize = 16;

/// Time without use after which a cached plan is read again. A render is planned anew when its class is gone from the
/// farm for longer than this, so a node that was cut off does not come back with the old plan.
const PLAN_LIFETIME: Duration = Duration::from_secs(30);

/// What the stages of a worker share.
pub(crate) struct WorkerContext {
    pub(crate) backplane: Backplane,
    pub(crate) cache: Arc<Cache>,
    pub(crate) class: CaptureClass,
    pub(crate) encoders: DeviceEncoders,
    /// What decodes the sources of projects.
    pub(crate) decoders: Decoders,
    /// Where projects are compiled.
    pub(crate) compilers: Compilers,
    pub(crate) remote: Arc<Remote>,
    pub(crate) runtimes: Runtimes,
    /// Limits of a project's archive.
    pub(crate) archive: ArchiveLimits,
    pub(crate) encoder_permits: EncoderPermits,
    pub(crate) slots: Arc<Slots>,
    plans: Mutex<Vec<CachedPlan>>,
    folder: TempDir,
}

/// A plan in memory.
#[derive(Clone)]
struct CachedPlan {
    plan: Arc<Plan>,
    hash: ContentHash,
    used_at: Instant,
}

impl WorkerContext {
    /// A context whose files are in `folder`, which is removed with it.
    pub(crate) fn new(
        backplane: Backplane,
        cache: Arc<Cache>,
        class: CaptureClass,
        encoders: DeviceEncoders,
        remote: Arc<Remote>,
        slots: Arc<Slots>,
        folder: TempDir,
    ) -> Self {
        let runtimes = Runtimes::new(RuntimeConfig::default());
        Self {
            backplane,
            cache,
            class,
            encoders,
            decoders: Decoders::in_process(MediaLimits::default()),
            compilers: Compilers::in_process(),
            remote,
            runtimes,
            archive: ArchiveLimits::DEFAULT,
            encoder_permits: EncoderPermits::for_slots(slots.count()),
            slots,
            plans: Mutex::default(),
            folder,
        }
    }

    /// The context with these limits of a project's archive.
    pub(crate) fn with_archive(self, archive: ArchiveLimits) -> Self {
        Self { archive, ..self }
    }

    /// The context with `decoders` for the sources of projects.
    pub(crate) fn with_decoders(self, decoders: Decoders) -> Self {
        Self { decoders, ..self }
    }

    /// The context that compiles projects with `compilers`.
    pub(crate) fn with_compilers(self, compilers: Compilers) -> Self {
        Self { compilers, ..self }
    }

    /// The context with the runtimes of `config`.
    pub(crate) fn with_runtimes(self, config: RuntimeConfig) -> Self {
        Self { runtimes: Runtimes::new(config), ..self }
    }

    /// The scripts of the runtime of a plan in `objects`.
    pub(crate) async fn runtime(
        &self,
        objects: &Objects,
        runtime: &RuntimeVersion,
    ) -> Result<Arc<RuntimeScripts>, WorkerError> {
        self.runtimes.scripts(objects, runtime).await
    }

    /// A new folder for the files of one task, removed when it is dropped. Its name begins with `prefix`.
    pub(crate) fn task_folder(&self, prefix: &str) -> Result<TempDir, DiskError> {
        let folder = tempfile::Builder::new().prefix(prefix).tempdir_in(self.folder.path());
        folder.map_err(no_folder_in(self.folder.path()))
    }

    /// The plan of a render in `objects`, for attempt `attempt` at one of its tasks, and the hash of its content. It is an
    /// error where the plan is of another capture class. The start of a chunk may have changed since an earlier attempt,
    /// so a later one reads the plan anew.
    pub(crate) async fn plan(
        &self,
        objects: &Objects,
        render: &RenderId,
        attempt: u32,
    ) -> Result<(Arc<Plan>, ContentHash), WorkerError> {
        {
            let mut plans = self.plans.lock();
            let is_outdated = |cached: &CachedPlan| attempt > 1 && &cached.plan.render == render;
            plans.retain(|cached| cached.used_at.elapsed() < PLAN_LIFETIME && !is_outdated(cached));
            if let Some(cached) = plans.iter_mut().find(|cached| &cached.plan.render == render) {
                cached.used_at = Instant::now();
                return Ok((cached.plan.clone(), cached.hash));
            }
        }
        let key = keys::plan(render);
        // Who has no plan has hardly any of its files.
        objects.expect_inputs(vec![Want::Get { key: key.clone() }]).await?;
        let plan: Arc<Plan> = Arc::new(objects.get_wire(&key).await?);
        class::check(&plan.content.class, &self.class)?;
        let hash = plan.content.hash().map_err(|error| WorkerError::Inconsistent(error.to_string()))?;
        let mut plans = self.plans.lock();
        if plans.len() == MAX_PLANS {
            plans.remove(0);
        }
        plans.push(CachedPlan { plan: plan.clone(), hash, used_at: Instant::now() });
        Ok((plan, hash))
    }
}

/// For `map_err`: no folder could be created in `parent`.
pub(crate) fn no_folder_in(parent: &Path) -> impl Fn(std::io::Error) -> DiskError {
    DiskError::at(parent, "is no place for a new folder (TMPDIR sets another)")
}

/// A record as the bytes that a task returns.
pub(crate) fn to_json(record: &impl serde::Serialize) -> Result<Vec<u8>, WorkerError> {
    serde_json::to_vec(record)
        .map_err(|error| WorkerError::Inconsistent(format!("a record cannot be written: {error}")))
}
