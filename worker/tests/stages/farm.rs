//! A farm of one worker, whose coordinator the test plays.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::FetchConfig;
use hyperfarm_backplane::ledger::TaskView;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_media::{Decoders, MediaLimits};
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::id::{ContentHash, Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::spec::{RenderRequest, RenderSpec};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::wire;
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings};
use hyperfarm_worker::remote::RemoteConfig;
use hyperfarm_worker::runtimes::RuntimeConfig;
use hyperfarm_worker::{Compilers, Worker, WorkerConfig};
use zip::write::SimpleFileOptions;

pub(crate) struct Farm {
    pub(crate) backplane: Backplane,
    worker: Worker,
    drain: Drain,
    _folder: tempfile::TempDir,
}

impl Farm {
    pub(crate) async fn start(slots: u32) -> Self {
        let backplane = Backplane::ephemeral(Objects::memory());
        let folder = tempfile::tempdir().unwrap();
        let drain = Drain::new();
        let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
        let config = WorkerConfig {
            id: "w1".parse().unwrap(),
            pool: Pool::default(),
            slots,
            chrome: ChromeConfig::find(&settings).unwrap(),
            first_page: None,
            encoder: hyperfarm_worker::encoders::EncoderMode::Software,
            decoders: Decoders::in_process(MediaLimits::default()),
            compilers: Compilers::in_process(),
            remote: RemoteConfig {
                fetch: FetchConfig { allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() },
                ..RemoteConfig::default()
            },
            runtimes: RuntimeConfig::default(),
            archive: ArchiveLimits::DEFAULT,
            label: String::new(),
            work_dir: folder.path().to_owned(),
            runner: RunnerConfig::default(),
        };
        let worker = Worker::start(backplane.clone(), config, drain.clone()).await.unwrap();
        Self { backplane, worker, drain, _folder: folder }
    }

    pub(crate) async fn submit(&self, id: &str, bundle: Vec<u8>, spec: RenderSpec) -> RenderId {
        self.submit_at(id, bundle, spec, 0).await
    }

    pub(crate) async fn submit_at(&self, id: &str, bundle: Vec<u8>, spec: RenderSpec, created_at_ms: u64) -> RenderId {
        let render: RenderId = id.parse().unwrap();
        let hash = ContentHash::of(&bundle);
        let objects = &self.backplane.objects;
        objects.put(&keys::bundle(&hash), bundle.into()).await.unwrap();
        let request = RenderRequest { id: render.clone(), created_at_ms, bundle: hash, spec };
        objects.put_json(&keys::request(&render), &request).await.unwrap();
        self.backplane.ledger.open(&render).await.unwrap();
        render
    }

    pub(crate) async fn run(&self, render: &RenderId, step: Step) -> TaskView {
        let task = TaskId { render: render.clone(), step };
        let message = TaskMessage { task, pool: Pool::default() };
        let queue = Queue::of(step, &Pool::default());
        self.backplane.broker.publish(&queue, wire::encode(&message).unwrap().into()).await.unwrap();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let view = self.backplane.ledger.view(render).await.unwrap().unwrap();
            if let Some(task) = view.tasks.get(&step)
                && (task.committed.is_some() || !task.failures.is_empty())
            {
                return task.clone();
            }
            assert!(Instant::now() < deadline, "{step} did not end");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub(crate) async fn draft(&self, render: &RenderId) -> PlanDraft {
        let task = self.run(render, Step::Plan).await;
        assert!(task.failures.is_empty(), "{:?}", task.failures);
        self.backplane.objects.get_wire(&keys::draft(render)).await.unwrap()
    }

    pub(crate) async fn shard(&self, draft: PlanDraft, chunks: Vec<FrameRange>) -> Plan {
        let plan = Plan::of_draft(draft, Pool::default(), chunks);
        self.backplane.objects.put_wire(&keys::plan(&plan.render), &plan).await.unwrap();
        plan
    }

    pub(crate) async fn chunk(&self, render: &RenderId, number: u32) -> SegmentRecord {
        let task = self.run(render, Step::Chunk(number)).await;
        assert!(task.failures.is_empty(), "{:?}", task.failures);
        serde_json::from_slice(&task.committed.unwrap()).unwrap()
    }

    pub(crate) async fn stop(self) {
        self.drain.start();
        self.worker.join().await;
    }
}

pub(crate) fn example(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples").join(name)
}

pub(crate) fn zip_folder(folder: &Path) -> Vec<u8> {
    fn add(writer: &mut zip::ZipWriter<std::io::Cursor<Vec<u8>>>, root: &Path, folder: &Path) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                add(writer, root, &path);
            } else {
                let name = path.strip_prefix(root).unwrap().to_str().unwrap().to_owned();
                writer.start_file(name, SimpleFileOptions::default()).unwrap();
                writer.write_all(&std::fs::read(&path).unwrap()).unwrap();
            }
        }
    }
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    add(&mut writer, folder, folder);
    writer.finish().unwrap().into_inner()
}

pub(crate) fn zip_page(html: &str) -> Vec<u8> {
    zip_files(&[("index.html", html)])
}

pub(crate) fn zip_files(files: &[(&str, &str)]) -> Vec<u8> {
    let mut writer = zip::ZipWriter::new(std::io::Cursor::default());
    for (name, text) in files {
        writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        writer.write_all(text.as_bytes()).unwrap();
    }
    writer.finish().unwrap().into_inner()
}

pub(crate) fn ranges(bounds: &[u64]) -> Vec<FrameRange> {
    bounds.windows(2).map(|pair| FrameRange::new(pair[0], pair[1]).unwrap()).collect()
}
