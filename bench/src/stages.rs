//! Runs the worker's stages without a farm: this process is the coordinator, and storage is in memory.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::TaskView;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_media::{Decoders, MediaLimits};
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::{ContentHash, Pool, RenderId};
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::{keys, wire};
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings};
use hyperfarm_worker::remote::RemoteConfig;
use hyperfarm_worker::runtimes::RuntimeConfig;
use hyperfarm_worker::server::{Site, SiteFile};
use hyperfarm_worker::{Compilers, Worker, WorkerConfig};
use zip::write::SimpleFileOptions;

/// A worker with one slot, its storage and its broker.
pub(crate) struct Stages {
    backplane: Backplane,
    worker: Worker,
    drain: Drain,
    folder: tempfile::TempDir,
    limit: Duration,
}

/// Chrome by the environment's settings.
pub(crate) fn chrome() -> anyhow::Result<ChromeConfig> {
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read)?;
    Ok(ChromeConfig::find(&settings)?)
}

impl Stages {
    /// Starts the worker. No task may take longer than `limit`.
    pub(crate) async fn start(limit: Duration) -> anyhow::Result<Self> {
        let backplane = Backplane::ephemeral(Objects::memory());
        let folder = tempfile::Builder::new().prefix("hyperfarm-bench-").tempdir()?;
        // Chrome runs as another user where this is root, and its folder lies in here.
        std::fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
        let drain = Drain::new();
        let config = WorkerConfig {
            id: "bench".parse().context("an id")?,
            pool: Pool::default(),
            slots: 1,
            chrome: chrome()?,
            first_page: None,
            encoder: hyperfarm_worker::encoders::EncoderMode::Software,
            decoders: Decoders::in_process(MediaLimits::default()),
            compilers: Compilers::in_process(),
            remote: RemoteConfig::default(),
            runtimes: RuntimeConfig::default(),
            archive: ArchiveLimits::DEFAULT,
            label: String::new(),
            work_dir: folder.path().to_owned(),
            runner: RunnerConfig::default(),
        };
        let worker = Worker::start(backplane.clone(), config, drain.clone()).await?;
        Ok(Self { backplane, worker, drain, folder, limit })
    }

    /// Plans the project in `folder` as render `name`.
    pub(crate) async fn plan(&self, name: &str, folder: &Path, spec: RenderSpec) -> anyhow::Result<PlanDraft> {
        let render: RenderId = name.parse().context("a render's id")?;
        let bundle = zip(folder)?;
        let hash = ContentHash::of(&bundle);
        let objects = &self.backplane.objects;
        objects.put(&keys::bundle(&hash), bundle.into()).await?;
        let request = RenderRequest { id: render.clone(), created_at_ms: 0, bundle: hash, spec };
        objects.put_json(&keys::request(&render), &request).await?;
        self.backplane.ledger.open(&render).await?;
        self.task(&render, Step::Plan).await?;
        Ok(objects.get_wire(&keys::draft(&render)).await?)
    }

    /// Stores the plan of `draft` with these chunks.
    pub(crate) async fn store_plan(&self, draft: PlanDraft, chunks: Vec<FrameRange>) -> anyhow::Result<Plan> {
        let plan = Plan::of_draft(draft, Pool::default(), chunks);
        self.backplane.objects.put_wire(&keys::plan(&plan.render), &plan).await?;
        Ok(plan)
    }

    /// Renders a chunk of a stored plan.
    pub(crate) async fn chunk(&self, render: &RenderId, number: u32) -> anyhow::Result<SegmentRecord> {
        let task = self.task(render, Step::Chunk(number)).await?;
        Ok(serde_json::from_slice(&task.committed.context("a chunk without a record")?)?)
    }

    /// The files of a plan as a page loads them.
    pub(crate) async fn site(&self, draft: &PlanDraft) -> anyhow::Result<Arc<Site>> {
        let folder = self.folder.path().join(draft.render.as_str());
        std::fs::create_dir_all(&folder)?;
        let mut files = HashMap::new();
        for file in &draft.content.files {
            let path = folder.join(file.hash.to_string());
            std::fs::write(&path, self.backplane.objects.get(&keys::blob(&file.hash)).await?)?;
            files.insert(file.path.clone(), SiteFile { path, bytes: file.bytes });
        }
        Ok(Arc::new(Site::new(files, Vec::new()).with_remote(&draft.content.remote)))
    }

    async fn task(&self, render: &RenderId, step: Step) -> anyhow::Result<TaskView> {
        let message = TaskMessage { task: TaskId { render: render.clone(), step }, pool: Pool::default() };
        let queue = Queue::of(step, &Pool::default());
        self.backplane.broker.publish(&queue, wire::encode(&message)?.into()).await?;
        let deadline = Instant::now() + self.limit;
        loop {
            let view = self.backplane.ledger.view(render).await?.unwrap_or_default();
            if let Some(task) = view.tasks.get(&step) {
                if let Some(attempt) = task.failures.last() {
                    bail!("{step}: {}", attempt.failure);
                }
                if task.committed.is_some() {
                    return Ok(task.clone());
                }
            }
            if Instant::now() > deadline {
                bail!("{step} did not end within {} s", self.limit.as_secs());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Ends the worker and its browser.
    pub(crate) async fn stop(self) {
        self.drain.start();
        self.worker.join().await;
    }
}

fn zip(folder: &Path) -> anyhow::Result<Vec<u8>> {
    fn add(writer: &mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>, root: &Path, folder: &Path) -> anyhow::Result<()> {
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.is_dir() {
                add(writer, root, &path)?;
            } else {
                let name = path.strip_prefix(root)?.to_str().context("a name that is no text")?;
                writer.start_file(name, SimpleFileOptions::default())?;
                writer.write_all(&std::fs::read(&path)?)?;
            }
        }
        Ok(())
    }
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    add(&mut writer, folder, folder)?;
    Ok(writer.finish()?.into_inner())
}
