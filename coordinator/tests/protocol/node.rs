//! Workers and stitchers without Chrome and FFmpeg: the real task loop, and handlers that take their time and store
//! what real ones store.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Lease, NodeView};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::{AudioRecord, Manifest, OutputRecord, SegmentRecord};
use hyperfarm_proto::spec::Format;
use hyperfarm_proto::task::{Queue, Step};
use hyperfarm_testing::segment_record;

use crate::process::Process;

/// What the failures that a handler makes up begin with.
pub(crate) const MADE_UP: &str = "made up: ";

/// What a render's page is, by the text of its title.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) frames: u64,
    pub(crate) has_sound: bool,
}

/// Runs a node until it is drained. `shape` says what the plan of a render finds.
pub(crate) fn start(
    process: &Arc<Process>,
    role: &str,
    slots: u32,
    shape: impl Fn(&RenderId) -> Shape + Send + Sync + 'static,
) -> Drain {
    let (backplane, drain) = (process.backplane(), Drain::new());
    let node = NodeView::new(process.name.parse().unwrap(), role, "cpu", slots, "");
    let handler = Arc::new(Handler { process: process.clone(), backplane: backplane.clone(), shape: Box::new(shape) });
    let queues = match role {
        "stitcher" => vec![Queue::Stitch],
        _ => vec![Queue::Chunk(Pool::default()), Queue::Plan(Pool::default())],
    };
    let config =
        RunnerConfig { grace: Duration::from_secs(4), cool_down: Duration::from_secs(20), ..RunnerConfig::default() };
    let (runner, ended) = (Runner::new(backplane, node, config), process.clone());
    let running = runner.run(queues, handler, drain.clone());
    tokio::spawn(async move {
        running.await;
        ended.note("has stopped");
        ended.kill();
    });
    drain
}

struct Handler {
    process: Arc<Process>,
    backplane: Backplane,
    shape: Box<dyn Fn(&RenderId) -> Shape + Send + Sync>,
}

/// Tells the judge that a handler has ended, also if it was dropped.
struct AtWork<'a>(&'a Process, u64);

impl Drop for AtWork<'_> {
    fn drop(&mut self) {
        self.0.world.judge.lock().ends(self.1);
    }
}

fn outage(error: ObjectsError) -> Failure {
    let code = if error.is_not_found() { FailureCode::ObjectMissing } else { FailureCode::Storage };
    Failure::new(code, error.to_string())
}

fn made_up(code: FailureCode) -> Failure {
    Failure::new(code, format!("{MADE_UP}{code}"))
}

/// The bytes of a segment: equal in each attempt.
pub(crate) fn segment(plan: &Plan, chunk: u32) -> Bytes {
    Bytes::from(format!("{} {:?};", plan.content.hash().unwrap(), plan.chunk(chunk)))
}

#[async_trait]
impl TaskHandler for Handler {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let number = self.process.world.judge.lock().begins(&self.process.name, lease);
        let _at_work = AtWork(&self.process, number);
        // Chrome takes a moment to end. A handler that does not end in time is dropped.
        let stops_within = self.process.world.millis(0..1400);
        let stopped = async {
            context.cancelled().cancelled().await;
            tokio::time::sleep(stops_within).await;
        };
        tokio::select! {
            biased;
            done = self.work(lease, context) => done,
            () = stopped => Err(Failure::new(FailureCode::Drained, "the task was stopped")),
        }
    }
}

impl Handler {
    async fn work(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let (world, render) = (&self.process.world, &lease.task.render);
        if world.happens(world.weather().failures) {
            tokio::time::sleep(world.millis(0..4000)).await;
            self.process.step("as an attempt fails").await;
            let codes = [
                FailureCode::Internal,
                FailureCode::ChromeCrashed,
                FailureCode::CaptureStalled,
                FailureCode::PageCrashed,
                FailureCode::Storage,
                FailureCode::ScriptError,
            ];
            return Err(made_up(codes[world.below(codes.len() as u64) as usize]));
        }
        match lease.task.step {
            Step::Plan => self.plan(render, context).await,
            Step::Chunk(chunk) => self.chunk(lease, chunk, context).await,
            Step::Audio => self.audio(render, context).await,
            Step::Stitch => self.stitch(render, context).await,
        }
    }

    /// Takes `steps` steps of up to `each` milliseconds.
    async fn take_time(&self, steps: u64, each: u64, context: &TaskContext) {
        let pause = self.process.world.millis(1..each);
        for step in 0..steps {
            tokio::time::sleep(pause).await;
            self.process.step("at work").await;
            context.set_progress(step + 1, steps);
        }
    }

    async fn read_plan(&self, render: &RenderId) -> Result<Plan, Failure> {
        self.backplane.objects.get_wire(&keys::plan(render)).await.map_err(outage)
    }

    async fn plan(&self, render: &RenderId, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        self.take_time(4, 1000, context).await;
        let Shape { frames, has_sound } = (self.shape)(render);
        let content = hyperfarm_testing::content(Format::Mp4, FrameRate::DEFAULT, frames, has_sound);
        let (render, warnings) = (render.clone(), Vec::new());
        let draft = PlanDraft { render, content, frame_cost_ms: 10.0, earlier_cost_ms: 0.0, warnings };
        self.backplane.objects.put_wire(&keys::draft(&draft.render), &draft).await.map_err(outage)?;
        Ok(Vec::new())
    }

    async fn chunk(&self, lease: &Lease, chunk: u32, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let (objects, render) = (&self.backplane.objects, &lease.task.render);
        let plan = self.read_plan(render).await?;
        // Some are stragglers.
        let each = if self.process.world.happens(50) { 6000 } else { 1200 };
        self.take_time(8, each, context).await;
        plan.chunk(chunk).ok_or_else(|| Failure::new(FailureCode::Internal, "there is no such chunk"))?;
        let bytes = segment(&plan, chunk);
        let record = segment_record(&plan, chunk, lease.attempt, lease.worker.as_str(), &bytes);
        objects.put_json(&keys::segment_record(&record.key), &record).await.map_err(outage)?;
        objects.put(&record.key, bytes).await.map_err(outage)?;
        Ok(serde_json::to_vec(&record).unwrap())
    }

    async fn audio(&self, render: &RenderId, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let objects = &self.backplane.objects;
        let plan = self.read_plan(render).await?;
        self.take_time(3, 800, context).await;
        let key = keys::audio(render, Format::Mp4);
        objects.put(&key, Bytes::from_static(b"sound")).await.map_err(outage)?;
        let record = AudioRecord {
            plan: Some(plan.content.hash().unwrap()),
            key,
            hash: ContentHash::of(b"sound"),
            wav: None,
            samples: 48_000,
            sample_rate: 48_000,
            begun_at_ms: 0.0,
            mix_ms: 1.0,
        };
        objects.put_json(&keys::audio_record(render), &record).await.map_err(outage)?;
        Ok(serde_json::to_vec(&record).unwrap())
    }

    /// The committed segment of each chunk, or that of another attempt where the ledger has no commit.
    async fn stitch(&self, render: &RenderId, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let objects = &self.backplane.objects;
        let plan = self.read_plan(render).await?;
        let view = self.backplane.ledger.view(render).await;
        let view = view.map_err(|error| Failure::new(FailureCode::Backplane, error.to_string()))?.unwrap_or_default();
        let listed = objects.list(&keys::segments_prefix(render)).await.map_err(outage)?;
        let (mut segments, mut output) = (Vec::new(), Vec::new());
        for chunk in 0..plan.chunks.len() as u32 {
            let committed = view.tasks.get(&Step::Chunk(chunk)).and_then(|task| task.committed.as_deref());
            let record = match committed.and_then(|record| serde_json::from_slice::<SegmentRecord>(record).ok()) {
                Some(record) => record,
                None => {
                    let is_of_chunk = |key: &&str| keys::parse_segment(key).is_some_and(|(of, _)| of == chunk);
                    let key = listed.iter().map(|meta| meta.key.as_str()).find(is_of_chunk);
                    let key =
                        key.ok_or_else(|| Failure::new(FailureCode::ObjectMissing, format!("no segment {chunk}")))?;
                    objects.get_json(&keys::segment_record(key)).await.map_err(outage)?
                }
            };
            let bytes = objects.get(&record.key).await.map_err(outage)?;
            if ContentHash::of(&bytes) != record.hash {
                return Err(Failure::new(FailureCode::VerifyFailed, format!("segment {chunk} has other bytes")));
            }
            output.extend_from_slice(&bytes);
            segments.push(record);
        }
        let audio = match plan.has_audio() {
            true => Some(objects.get_json::<AudioRecord>(&keys::audio_record(render)).await.map_err(outage)?),
            false => None,
        };
        self.take_time(4, 800, context).await;
        let record = OutputRecord {
            key: keys::output(render, Format::Mp4),
            hash: ContentHash::of(&output),
            bytes: output.len() as u64,
            frames: plan.content.frames,
            size: plan.content.viewport.output(),
            frame_rate: plan.content.frame_rate,
            format: Format::Mp4,
            has_audio: plan.has_audio(),
            sidecars: Vec::new(),
            thumbnail: keys::thumbnail(render),
            begun_at_ms: 0.0,
            stitch_ms: 1.0,
        };
        objects.put(&record.key, output.into()).await.map_err(outage)?;
        let manifest = Manifest {
            render: render.clone(),
            plan: plan.content.hash().unwrap(),
            class: plan.content.class.clone(),
            runtime: Some(plan.content.runtime.clone()),
            output: record.clone(),
            segments,
            audio,
            warnings: Vec::new(),
        };
        objects.put_json(&keys::manifest(render), &manifest).await.map_err(outage)?;
        Ok(serde_json::to_vec(&record).unwrap())
    }
}
