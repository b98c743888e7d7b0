//! Single stages of a render on this machine, without a coordinator: for `check` and `snapshot`.

use std::num::NonZeroU32;
use std::path::PathBuf;
use std::time::Duration;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::TaskView;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::plan::{Plan, PlanDraft, Warning};
use hyperfarm_proto::record::{SegmentRecord, unix_ms};
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::{keys, wire};
use hyperfarm_worker::{ExpectedPage, Worker};
use tempfile::TempDir;

use crate::exit::CliError;
use crate::render::project::Bundle;
use crate::roles::{drain, worker_config};
use crate::runtime;
use crate::settings::Settings;
use crate::temporary::render_folder;

/// Pause between two looks at a task.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The storage and queues of a worker of this process, and the render whose stages it does.
pub(crate) struct Stages {
    backplane: Backplane,
    render: RenderId,
    folder: TempDir,
}

/// Runs `work` with a worker of this process, which expects `first_page` and ends with it. SIGINT and SIGTERM end both.
pub(crate) async fn run<T>(
    slots: NonZeroU32,
    first_page: Option<ExpectedPage>,
    work: impl AsyncFnOnce(&Stages) -> Result<T, CliError>,
) -> Result<T, CliError> {
    let folder = render_folder()?;
    let backplane = Backplane::in_process(&folder.path().join("storage")).map_err(CliError::system)?;
    let interrupted = drain("the browsers to end and the temporary files to be removed")?;
    let settings = Settings::from_env()?;
    let mut config = worker_config(&settings, slots, Pool::default(), folder.path())?;
    config.first_page = first_page;
    config.runtimes.store = Some(runtime::store_in(&settings.farm.data_dir)?);
    config.archive = ArchiveLimits::LOCAL;
    // Nobody waits for what an interrupted command has begun.
    config.runner.grace = Duration::ZERO;
    let worker_drain = Drain::new();
    let worker = Worker::start(backplane.clone(), config, worker_drain.clone()).await?;
    let render = RenderId::try_from("stages".to_owned()).map_err(CliError::system)?;
    let stages = Stages { backplane, render, folder };
    let result = tokio::select! {
        result = work(&stages) => result,
        () = interrupted.started() => Err(CliError::interrupted()),
    };
    worker_drain.start();
    if tokio::time::timeout(Duration::from_secs(30), worker.join()).await.is_err() {
        tracing::warn!("the worker did not stop within 30 s");
    }
    result
}

impl Stages {
    /// Compiles and probes a project.
    pub(crate) async fn plan(&self, project: &Bundle, spec: RenderSpec) -> Result<PlanDraft, CliError> {
        let store = &self.backplane.objects;
        let (bundle, _) = hash_file(&project.path()).await.map_err(CliError::system)?;
        store.put_file(&keys::bundle(&bundle), &project.path()).await.map_err(CliError::system)?;
        let request = RenderRequest { id: self.render.clone(), created_at_ms: unix_ms() as u64, bundle, spec };
        store.put_json(&keys::request(&self.render), &request).await.map_err(CliError::system)?;
        self.backplane.ledger.open(&self.render).await.map_err(CliError::system)?;
        self.publish(Step::Plan).await?;
        if let Err(error) = self.ended(Step::Plan).await {
            let found: Vec<Warning> = store.get_json(&keys::found_warnings(&self.render)).await.unwrap_or_default();
            return Err(error.after(found));
        }
        store.get_wire(&keys::draft(&self.render)).await.map_err(CliError::system)
    }

    /// Captures single frames of a plan. Returns the file of each one's segment, in the order of `frames`.
    pub(crate) async fn capture(&self, draft: PlanDraft, frames: &[u64]) -> Result<Vec<PathBuf>, CliError> {
        let store = &self.backplane.objects;
        let ranges = frames.iter().filter_map(|frame| FrameRange::new(*frame, frame + 1).ok()).collect();
        let plan = Plan::of_draft(draft, Pool::default(), ranges);
        store.put_wire(&keys::plan(&self.render), &plan).await.map_err(CliError::system)?;
        let steps: Vec<Step> = (0..frames.len() as u32).map(Step::Chunk).collect();
        for step in &steps {
            self.publish(*step).await?;
        }
        let mut files = Vec::new();
        for step in steps {
            let committed = self.ended(step).await?.committed.unwrap_or_default();
            let record: SegmentRecord =
                serde_json::from_slice(&committed).map_err(|error| CliError::system(format!("{step}: {error}")))?;
            let file = self.folder.path().join(format!("segment-{}", record.chunk));
            store.get_file(&record.key, &file).await.map_err(CliError::system)?;
            files.push(file);
        }
        Ok(files)
    }

    async fn publish(&self, step: Step) -> Result<(), CliError> {
        let message = TaskMessage { task: TaskId { render: self.render.clone(), step }, pool: Pool::default() };
        let message = wire::encode(&message).map_err(CliError::system)?;
        let queue = Queue::of(step, &Pool::default());
        self.backplane.broker.publish(&queue, message.into()).await.map_err(CliError::system)
    }

    /// The task once it is committed. Its first failure is an error.
    async fn ended(&self, step: Step) -> Result<TaskView, CliError> {
        loop {
            let mut view =
                self.backplane.ledger.view(&self.render).await.map_err(CliError::system)?.unwrap_or_default();
            if let Some(mut task) = view.tasks.remove(&step) {
                if let Some(attempt) = task.failures.pop() {
                    return Err(attempt.failure.into());
                }
                if task.committed.is_some() {
                    return Ok(task);
                }
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
