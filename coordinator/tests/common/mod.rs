//! A coordinator over servers in memory. The tests play the workers: they take tasks from the broker, claim and commit them in the
//! ledger, and store the results.

pub(crate) mod client;
pub(crate) mod observed;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::broker::{Broker, Consumer, MemoryBroker};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Claim, Commit, Lease, MemoryLedger, NodeView, RenderView};
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::intake::from_html;
use hyperfarm_coordinator::scheduler::SchedulePolicy;
use hyperfarm_coordinator::submission::{Intake, Seed};
use hyperfarm_coordinator::{Coordinator, CoordinatorConfig, RenderProgress};
use hyperfarm_proto::bounded::Bounded;
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, RenderId, WorkerId};
use hyperfarm_proto::plan::{Plan, PlanContent, PlanDraft, Warning};
use hyperfarm_proto::record::{AudioRecord, Manifest, Outcome, OutputRecord, Sidecar};
use hyperfarm_proto::spec::{Format, RenderSpec, Size, Viewport};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::{keys, wire};
use hyperfarm_testing::segment_record;
use observed::ObservedLedger;

/// How long a test waits for anything before it fails.
pub(crate) const SOON: Duration = Duration::from_secs(10);

pub(crate) struct Farm {
    /// The servers, as the tests and their workers reach them.
    pub backplane: Backplane,
    pub ledger: Arc<MemoryLedger>,
    /// The same ledger, as the coordinator reaches it.
    pub observed: Arc<ObservedLedger>,
    pub coordinator: Coordinator,
    pub drain: Drain,
    pub config: CoordinatorConfig,
}

/// Short times, so that a test sees in milliseconds what takes seconds in a real farm.
pub(crate) fn quick() -> CoordinatorConfig {
    let schedule = SchedulePolicy {
        unclaimed_after: Duration::from_millis(200),
        free_retry_after: Duration::from_millis(20),
        speculate_after: None,
        ..SchedulePolicy::default()
    };
    let tick = Duration::from_millis(50);
    CoordinatorConfig { tick, verify_every: tick * 4, rescan_every: tick * 4, schedule, ..CoordinatorConfig::default() }
}

/// Whether `test` becomes true before [`SOON`] has passed.
pub(crate) async fn comes(test: impl AsyncFn() -> bool) -> bool {
    let polls = async {
        while !test().await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(SOON, polls).await.is_ok()
}

/// Long times, so that nothing happens on a timer while a test runs.
pub(crate) fn patient() -> CoordinatorConfig {
    let never = Duration::from_secs(3600);
    let schedule = SchedulePolicy { unclaimed_after: never, speculate_after: None, ..SchedulePolicy::default() };
    CoordinatorConfig {
        tick: never,
        verify_every: never,
        rescan_every: never,
        schedule,
        ..CoordinatorConfig::default()
    }
}

impl Farm {
    pub(crate) fn new() -> Self {
        Self::with(quick())
    }

    pub(crate) fn with(config: CoordinatorConfig) -> Self {
        Self::over(Objects::memory(), config)
    }

    pub(crate) fn over(objects: Objects, config: CoordinatorConfig) -> Self {
        let ledger = Arc::new(MemoryLedger::new());
        let backplane = Backplane {
            broker: Arc::new(MemoryBroker::new()),
            ledger: ledger.clone(),
            objects,
            metrics: Metrics::new(),
        };
        let observed = Arc::new(ObservedLedger::new(ledger.clone()));
        let drain = Drain::new();
        let seen = Backplane { ledger: observed.clone(), ..backplane.clone() };
        let coordinator = Coordinator::start(seen, config.clone(), drain.clone());
        Self { backplane, ledger, observed, coordinator, drain, config }
    }

    /// Stops the coordinator and starts another one over the same servers.
    pub(crate) async fn restart(&mut self) {
        self.drain.start();
        self.coordinator.join().await;
        self.start(self.backplane.broker.clone());
    }

    /// Starts a coordinator that reaches the broker through `broker`.
    pub(crate) fn start(&mut self, broker: Arc<dyn Broker>) {
        self.drain = Drain::new();
        let seen = Backplane { ledger: self.observed.clone(), broker, ..self.backplane.clone() };
        self.coordinator = Coordinator::start(seen, self.config.clone(), self.drain.clone());
    }

    /// Waits until the coordinator's loop has gone through `count` whole ticks: looks, decisions and dispatches.
    pub(crate) async fn ticks(&self, count: u64) {
        // The first one may have begun before, and the last one has only begun.
        let end = self.observed.ticks() + count + 2;
        let went = comes(async || self.observed.ticks() >= end).await;
        assert!(went, "the coordinator's loop stands still");
    }

    /// Waits until the coordinator's loop has looked at `render` and has dispatched what follows, tick or not.
    pub(crate) async fn settle(&self, render: &RenderId) {
        // The first look may have begun before, and the third has only begun: between them is a whole one.
        for _ in 0..3 {
            let before = self.observed.views_of(render);
            let task = TaskId { render: render.clone(), step: Step::Plan };
            let event = wire::encode(&Event { task, kind: EventKind::Committed }).unwrap();
            self.backplane.broker.publish(&Queue::Events, event.into()).await.unwrap();
            let looked = comes(async || self.observed.views_of(render) > before).await;
            assert!(looked, "the coordinator does not look at {render}");
        }
    }

    pub(crate) async fn submit(&self, spec: RenderSpec) -> RenderId {
        let bundle = from_html("<p>", spec.composition.as_deref()).unwrap();
        self.coordinator.submit(bundle, spec).await.unwrap()
    }

    /// Submits a render as `intake` says.
    pub(crate) async fn submit_as(&self, spec: RenderSpec, intake: Intake) -> RenderId {
        let bundle = self.coordinator.store_bundle(from_html("<p>", None).unwrap(), None).await.unwrap();
        self.coordinator.submit_stored(bundle, spec, intake, Seed::new().unwrap()).await.unwrap()
    }

    /// Reports a live worker node with `slots` slots.
    pub(crate) async fn slots(&self, slots: u32) {
        let node = NodeView::new("n1".parse().unwrap(), "worker", "cpu", slots, "");
        self.backplane.ledger.heartbeat(&node, Duration::from_secs(3600)).await.unwrap();
    }

    pub(crate) async fn worker(&self, name: &str) -> Worker {
        let broker = &self.backplane.broker;
        Worker {
            id: name.parse().unwrap(),
            backplane: self.backplane.clone(),
            plan: broker.consume(&Queue::Plan(Default::default())).await.unwrap(),
            chunk: broker.consume(&Queue::Chunk(Default::default())).await.unwrap(),
            stitch: broker.consume(&Queue::Stitch).await.unwrap(),
            tells: true,
        }
    }

    /// The first progress of the render that satisfies `test`.
    pub(crate) async fn until(&self, render: &RenderId, test: impl FnMut(&RenderProgress) -> bool) -> RenderProgress {
        let mut progress = self.coordinator.watch(render).await.unwrap();
        tokio::time::timeout(SOON, progress.wait_for(test)).await.expect("it never came").unwrap().clone()
    }

    pub(crate) async fn end(&self, render: &RenderId) -> Outcome {
        self.until(render, |progress| progress.end.is_some()).await.end.unwrap().outcome.clone()
    }

    pub(crate) async fn ledger_view(&self, render: &RenderId) -> Option<RenderView> {
        self.backplane.ledger.view(render).await.unwrap()
    }

    /// Empties the ledger of what it has of the render.
    pub(crate) async fn ledger_forgets(&self, render: &RenderId) {
        self.backplane.ledger.forget(render).await.unwrap();
    }

    pub(crate) async fn plan(&self, render: &RenderId) -> Plan {
        self.backplane.objects.get_wire(&keys::plan(render)).await.unwrap()
    }
}

/// Plays a worker and the stitcher.
pub(crate) struct Worker {
    pub id: WorkerId,
    pub backplane: Backplane,
    plan: Box<dyn Consumer>,
    chunk: Box<dyn Consumer>,
    stitch: Box<dyn Consumer>,
    /// Whether it publishes events.
    pub tells: bool,
}

impl Worker {
    /// The next message of any queue. Fails if none comes before [`SOON`] has passed.
    pub(crate) async fn take(&mut self) -> TaskId {
        self.take_within(SOON).await.expect("no task was dispatched")
    }

    /// A message of any queue, if one is there now.
    pub(crate) async fn take_ready(&mut self) -> Option<TaskId> {
        self.take_within(Duration::ZERO).await
    }

    pub(crate) async fn take_within(&mut self, patience: Duration) -> Option<TaskId> {
        let delivery = tokio::select! {
            biased;
            delivery = self.plan.next() => delivery,
            delivery = self.chunk.next() => delivery,
            delivery = self.stitch.next() => delivery,
            () = tokio::time::sleep(patience) => return None,
        };
        let delivery = delivery.unwrap();
        let message: TaskMessage = wire::decode(&delivery.payload).unwrap();
        delivery.ack().await;
        Some(message.task)
    }

    /// Claims the next task that can be claimed.
    pub(crate) async fn claim(&mut self) -> Lease {
        loop {
            let task = self.take().await;
            if let Claim::Granted(lease) = self.claim_task(&task).await {
                return lease;
            }
        }
    }

    pub(crate) async fn claim_task(&self, task: &TaskId) -> Claim {
        self.backplane.ledger.claim(task, &self.id, Duration::from_secs(60)).await.unwrap()
    }

    pub(crate) async fn tell(&self, task: &TaskId, kind: EventKind) {
        if self.tells {
            let event = wire::encode(&Event { task: task.clone(), kind }).unwrap();
            self.backplane.broker.publish(&Queue::Events, event.into()).await.unwrap();
        }
    }

    pub(crate) async fn commit(&self, lease: &Lease, result: &[u8]) -> Commit {
        let answer = self.backplane.ledger.commit(lease, result).await.unwrap();
        self.tell(&lease.task, EventKind::Committed).await;
        answer
    }

    pub(crate) async fn fail(&self, lease: &Lease, code: FailureCode) {
        self.backplane.ledger.fail(lease, &Failure::new(code, format!("{code} happened"))).await.unwrap();
        self.tell(&lease.task, EventKind::Failed).await;
    }

    /// Stores the outputs of the task, and returns the result to commit.
    pub(crate) async fn leave(&self, lease: &Lease, draft: &PlanDraft) -> Vec<u8> {
        let (objects, render) = (&self.backplane.objects, &lease.task.render);
        match lease.task.step {
            Step::Plan => {
                let draft = PlanDraft { render: render.clone(), ..draft.clone() };
                objects.put_wire(&keys::draft(render), &draft).await.unwrap();
                Vec::new()
            }
            Step::Chunk(chunk) => {
                let plan: Plan = objects.get_wire(&keys::plan(render)).await.unwrap();
                let bytes = Bytes::from(format!("segment {chunk}"));
                let record = segment_record(&plan, chunk, lease.attempt, self.id.as_str(), &bytes);
                objects.put_json(&keys::segment_record(&record.key), &record).await.unwrap();
                objects.put(&record.key, bytes).await.unwrap();
                serde_json::to_vec(&record).unwrap()
            }
            Step::Audio => {
                let key = keys::audio(render, Format::Mp4);
                objects.put(&key, Bytes::from_static(b"sound")).await.unwrap();
                let hash = ContentHash::of(b"sound");
                let plan: Plan = objects.get_wire(&keys::plan(render)).await.unwrap();
                let plan = Some(plan.content.hash().unwrap());
                let record = AudioRecord {
                    plan,
                    key,
                    hash,
                    wav: None,
                    samples: 48_000,
                    sample_rate: 48_000,
                    begun_at_ms: 0.0,
                    mix_ms: 1.0,
                };
                objects.put_json(&keys::audio_record(render), &record).await.unwrap();
                serde_json::to_vec(&record).unwrap()
            }
            Step::Stitch => {
                let plan: Plan = objects.get_wire(&keys::plan(render)).await.unwrap();
                let output = OutputRecord {
                    key: keys::output(render, Format::Mp4),
                    hash: ContentHash::of(b"0123456789"),
                    bytes: 10,
                    frames: plan.content.frames,
                    size: plan.content.viewport.output(),
                    frame_rate: plan.content.frame_rate,
                    format: Format::Mp4,
                    has_audio: plan.has_audio(),
                    sidecars: vec![Sidecar {
                        name: Sidecar::SOUND.to_owned(),
                        key: keys::sidecar(render, Sidecar::SOUND),
                        hash: ContentHash::of(b"samples"),
                        bytes: 7,
                    }],
                    thumbnail: keys::thumbnail(render),
                    begun_at_ms: 0.0,
                    stitch_ms: 1.0,
                };
                objects.put(&output.key, Bytes::from_static(b"0123456789")).await.unwrap();
                objects.put(&output.sidecars[0].key, Bytes::from_static(b"samples")).await.unwrap();
                objects.put(&output.thumbnail, Bytes::from_static(b"jpeg")).await.unwrap();
                let manifest = Manifest {
                    render: render.clone(),
                    plan: plan.content.hash().unwrap(),
                    class: plan.content.class.clone(),
                    runtime: Some(plan.content.runtime.clone()),
                    output: output.clone(),
                    segments: Vec::new(),
                    audio: None,
                    warnings: plan.warnings.clone(),
                };
                objects.put_json(&keys::manifest(render), &manifest).await.unwrap();
                serde_json::to_vec(&output).unwrap()
            }
        }
    }

    /// Claims the next task, stores its outputs and commits it.
    pub(crate) async fn do_next(&mut self, draft: &PlanDraft) -> Lease {
        let lease = self.claim().await;
        let result = self.leave(&lease, draft).await;
        assert_eq!(self.commit(&lease, &result).await, Commit::Accepted);
        lease
    }

    /// Does tasks until a stitch is committed.
    pub(crate) async fn finish(&mut self, draft: &PlanDraft) {
        while self.do_next(draft).await.task.step != Step::Stitch {}
    }
}

/// A draft of `frames` frames at 30 frames per second.
pub(crate) fn draft(frames: u64, audio: bool) -> PlanDraft {
    let viewport = Viewport { page: Size { width: 1280, height: 720 }, scale: 1 };
    let content = hyperfarm_testing::content(Format::Mp4, FrameRate::DEFAULT, frames, audio);
    let content = PlanContent { viewport, ..content };
    let warning = Warning { code: "ASSET_NOT_FOUND".to_owned(), message: "x.png is missing".to_owned() };
    PlanDraft {
        render: "r0".parse().unwrap(),
        content,
        frame_cost_ms: 10.0,
        earlier_cost_ms: 0.0,
        warnings: vec![warning],
    }
}

/// A spec with chunks of `frames` frames.
pub(crate) fn chunks_of(frames: u32) -> RenderSpec {
    RenderSpec { chunk_frames: Bounded::new(frames), ..RenderSpec::default() }
}
