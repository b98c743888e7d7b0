//! One simulation: a farm, its clients, a schedule of faults, and what must be true at the end.

use std::collections::BTreeMap;
use std::panic;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::FutureExt;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::Ledger;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_coordinator::intake::{StoredBundle, from_html};
use hyperfarm_coordinator::submission::{Intake, Seed};
use hyperfarm_coordinator::webhooks::deliver::DeliveryPolicy;
use hyperfarm_coordinator::webhooks::{Target, Webhooks};
use hyperfarm_coordinator::{Coordinator, CoordinatorConfig, RenderError};
use hyperfarm_proto::bounded::{Bounded, Text};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{Manifest, Outcome, TerminalState};
use hyperfarm_proto::spec::RenderSpec;
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, sleep, sleep_until, timeout};

use crate::node::{self, MADE_UP, Shape, segment};
use crate::plants::Plant;
use crate::process::Process;
use crate::system;
use crate::world::{Server, Weather, World, queues};

/// When faults end.
const CALM_AFTER: Duration = Duration::from_secs(75);

/// How long after that the last late request has arrived.
const QUIET_AFTER: Duration = Duration::from_secs(21);

/// How long after that every render must have ended.
const ENDS_WITHIN: Duration = Duration::from_secs(600);

/// How long after that nothing of the renders may be left.
const CLEARS_WITHIN: Duration = Duration::from_secs(300);

/// How a simulation went.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(crate) struct Report {
    /// What must not be, and was.
    pub(crate) violations: Vec<String>,
    /// What happened, in order.
    pub(crate) history: Vec<String>,
    /// Hash of the history.
    pub(crate) hash: String,
    /// Lines of the history.
    pub(crate) events: usize,
    pub(crate) claims: u64,
    pub(crate) commits: u64,
    pub(crate) renders: usize,
    pub(crate) completed: usize,
    /// Processes that died or were cut off.
    pub(crate) met: usize,
    /// Seconds on the simulation's clock.
    pub(crate) seconds: u64,
}

/// Runs the simulation of `seed` on this thread, which must have run nothing before.
pub(crate) fn run(seed: u64, plant: Option<Plant>, with_history: bool) -> Report {
    let panics: Arc<Mutex<Vec<String>>> = Arc::default();
    let hooked = panics.clone();
    panic::set_hook(Box::new(move |panic| hooked.lock().unwrap().push(format!("panic: {panic}"))));
    system::simulate(seed);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let world = Arc::new(World::new(seed, plant));
    if with_history {
        note_logs(&world);
    }
    let farm = Farm { world: world.clone(), nodes: Vec::new(), renders: Vec::new(), bundle: bundle() };
    let (renders, completed, met) = runtime.block_on(farm.run());
    drop(runtime);
    let history = world.take_history();
    let judge = world.judge.lock();
    let mut violations = judge.violations.clone();
    violations.append(&mut panics.lock().unwrap());
    Report {
        violations,
        hash: ContentHash::of(history.join("\n").as_bytes()).to_string(),
        events: history.len(),
        claims: judge.claims,
        commits: judge.commits,
        renders,
        completed,
        met,
        seconds: system::elapsed() / 1_000_000_000,
        history: if with_history { history } else { Vec::new() },
    }
}

/// Writes what the farm logs into the history.
fn note_logs(world: &Arc<World>) {
    struct Noted(Arc<World>);

    impl std::io::Write for Noted {
        fn write(&mut self, line: &[u8]) -> std::io::Result<usize> {
            self.0.note(format!("log: {}", String::from_utf8_lossy(line).trim()));
            Ok(line.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    let world = world.clone();
    let log = tracing_subscriber::fmt().with_env_filter("warn,hyperfarm=debug").with_ansi(false).without_time();
    log.with_target(false).with_writer(move || Noted(world.clone())).init();
}

/// A project, as its coordinator knows it. Its check runs on a thread of Tokio's, so it is done by the real clock and in a
/// store of its own.
fn bundle() -> StoredBundle {
    let store = || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let backplane = Backplane::ephemeral(Objects::memory());
            let coordinator = Coordinator::start(backplane, CoordinatorConfig::default(), Drain::new());
            coordinator.store_bundle(from_html("<p>", None).unwrap(), None).await.unwrap()
        })
    };
    std::thread::spawn(store).join().unwrap()
}

struct Node {
    role: &'static str,
    number: usize,
    starts: u32,
    process: Arc<Process>,
    drain: Drain,
    coordinator: Option<Coordinator>,
}

/// A render as its client knows it.
#[derive(Clone)]
struct Wanted {
    seed: Seed,
    spec: RenderSpec,
    at: Duration,
    shape: Shape,
    chunks: u64,
    /// When, and for how long, it is paused.
    paused: Option<(Duration, Duration)>,
    cancelled: Option<Duration>,
}

impl Wanted {
    fn id(&self) -> RenderId {
        self.seed.render()
    }

    fn callback(&self) -> String {
        format!("https://example.org/{}", self.id())
    }
}

struct Farm {
    world: Arc<World>,
    nodes: Vec<Node>,
    renders: Vec<Wanted>,
    bundle: StoredBundle,
}

/// What a schedule of faults has.
#[derive(Debug, Clone, Copy)]
enum Fault {
    Kill,
    Drain,
    CutOff(Server),
    Disconnect,
    Outage(Server),
    EmptyLedger,
    Purge,
}

impl Farm {
    /// Answers how many renders there were, how many have completed, and how many processes faults have met.
    async fn run(mut self) -> (usize, usize, usize) {
        let start = Instant::now();
        self.draw_renders();
        let world = self.world.clone();
        let counts =
            [("coordinator", 1 + world.below(2)), ("worker", 2 + world.below(2)), ("stitcher", 1 + world.below(2))];
        for (role, count) in counts {
            for number in 0..count as usize {
                let node = self.start(role, number, 0);
                self.nodes.push(node);
            }
        }
        world.set_weather(self.draw_weather());
        let clients = self.renders.clone();
        let (asks, mut asked) = mpsc::unbounded_channel();
        for wanted in clients {
            let client = Client { world: world.clone(), bundle: self.bundle, wanted, asks: asks.clone() };
            tokio::spawn(client.run());
        }
        let faults = self.draw_faults();
        let mut events: Vec<(Duration, Option<Fault>)> =
            faults.into_iter().map(|(at, fault)| (at, Some(fault))).collect();
        events.push((CALM_AFTER, None));
        for (at, fault) in events {
            self.serve_until(start + at, &mut asked).await;
            match fault {
                Some(fault) => self.inflict(fault),
                None => self.calm(),
            }
        }
        let met = self.world.judge.lock().met.len();
        // Requests that are late still arrive.
        self.serve_until(start + CALM_AFTER + QUIET_AFTER, &mut asked).await;
        let end = start + CALM_AFTER + ENDS_WITHIN;
        while Instant::now() < end && !self.have_all_ended() {
            self.serve_until(Instant::now() + Duration::from_secs(1), &mut asked).await;
        }
        let completed = self.check_ends().await;
        let end = Instant::now() + CLEARS_WITHIN;
        let mut left = self.left().await;
        while Instant::now() < end && !left.is_empty() {
            self.serve_until(Instant::now() + Duration::from_secs(5), &mut asked).await;
            left = self.left().await;
        }
        self.world.judge.lock().violations.extend(left);
        self.stop().await;
        (self.renders.len(), completed, met)
    }

    fn draw_renders(&mut self) {
        let world = self.world.clone();
        let count = 2 + world.below(4);
        for number in 0..count {
            let (chunk_frames, chunks) = (30, 1 + world.below(6));
            let spec = RenderSpec { chunk_frames: Bounded::new(chunk_frames), ..RenderSpec::default() };
            let at = world.millis(0..25_000);
            let seed = serde_json::json!({ "at_ms": 1_800_000_000_000_u64 + number, "random": world.below(u64::MAX) });
            let mut wanted = Wanted {
                seed: serde_json::from_value(seed).unwrap(),
                spec,
                at,
                shape: Shape { frames: chunks * u64::from(chunk_frames), has_sound: world.happens(400) },
                chunks,
                paused: world.happens(200).then(|| (world.millis(0..20_000), world.millis(1..15_000))),
                cancelled: world.happens(120).then(|| world.millis(0..30_000)),
            };
            wanted.spec.callback_url = Text::new(wanted.callback());
            self.renders.push(wanted);
        }
    }

    fn draw_weather(&self) -> Weather {
        let draw = |share: u32, most: u64| if self.world.happens(share) { self.world.below(most) as u32 } else { 0 };
        Weather {
            refused: draw(500, 40),
            unanswered: draw(500, 40),
            late: draw(500, 30),
            slow: draw(500, 50),
            doubled: draw(500, 60),
            failures: draw(300, 150),
        }
    }

    fn draw_faults(&self) -> Vec<(Duration, Fault)> {
        let count = self.world.below(8);
        let mut faults: Vec<(Duration, Fault)> = (0..count)
            .map(|_| {
                let server = Server::ALL[self.world.below(3) as usize];
                let fault = match self.world.below(12) {
                    0..=4 => Fault::Kill,
                    5 => Fault::Drain,
                    6 | 7 => Fault::CutOff(server),
                    8 => Fault::Disconnect,
                    9 => Fault::Outage(server),
                    10 => Fault::EmptyLedger,
                    _ => Fault::Purge,
                };
                (self.world.millis(500..70_000), fault)
            })
            .collect();
        faults.sort_by_key(|(at, _)| *at);
        faults
    }

    fn start(&self, role: &'static str, number: usize, starts: u32) -> Node {
        let process = Process::new(format!("{role}-{number}-{starts}"), self.world.clone());
        let mut coordinator = None;
        let drain = if role == "coordinator" {
            let config = CoordinatorConfig {
                verify_every: Duration::from_secs(15),
                rescan_every: Duration::from_secs(10),
                retain_ended_for: Duration::from_secs(20),
                ..CoordinatorConfig::default()
            };
            let drain = Drain::new();
            let started = Coordinator::start(process.backplane(), config, drain.clone());
            let deliveries = DeliveryPolicy { tick: Duration::from_secs(5), ..DeliveryPolicy::default() };
            // The router's loops finalize ended renders.
            drop(started.router(ApiConfig { deliveries, ..ApiConfig::default() }));
            coordinator = Some(started);
            drain
        } else {
            let shapes: BTreeMap<RenderId, Shape> =
                self.renders.iter().map(|wanted| (wanted.id(), wanted.shape)).collect();
            let slots = if role == "worker" { 1 + self.world.below(2) as u32 } else { 1 };
            node::start(&process, role, slots, move |render| shapes[render])
        };
        Node { role, number, starts, process, drain, coordinator }
    }

    /// Starts what has died again, and answers clients, until `end`.
    async fn serve_until(&mut self, end: Instant, asked: &mut Asked) {
        loop {
            let dead = self.nodes.iter().map(|node| node.process.clone());
            let deaths = dead.map(|process| async move { process.dies().await }.boxed());
            tokio::select! {
                biased;
                ((), index, _) = futures::future::select_all(deaths) => self.replace(index).await,
                Some(answer) = asked.recv() => {
                    let alive: Vec<&Node> = self.nodes.iter().filter(|node| node.coordinator.is_some()).collect();
                    let node = alive[self.world.below(alive.len() as u64) as usize];
                    let _ = answer.send(node.coordinator.clone().unwrap());
                }
                () = sleep_until(end) => return,
            }
        }
    }

    async fn replace(&mut self, index: usize) {
        // Others wait for a dead process for no longer than this.
        let Node { role, number, starts, .. } = self.nodes[index];
        sleep(self.world.millis(50..3000)).await;
        self.nodes[index] = self.start(role, number, starts + 1);
    }

    fn inflict(&self, fault: Fault) {
        let world = &self.world;
        let node = &self.nodes[world.below(self.nodes.len() as u64) as usize];
        let lasts = world.millis(500..25_000);
        world.note(format!("fault: {fault:?}"));
        match fault {
            // At one of the next awaits of a call, before or after the server has done it.
            Fault::Kill => node.process.dies_within(world.below(60)),
            Fault::Drain if node.coordinator.is_none() => {
                node.process.note("is drained");
                world.judge.lock().met.insert(node.process.name.clone());
                node.drain.start();
            }
            Fault::Drain => {
                node.process.note("is drained");
                let (coordinator, drain, process) =
                    (node.coordinator.clone(), node.drain.clone(), node.process.clone());
                tokio::spawn(async move {
                    drain.start();
                    if let Some(coordinator) = coordinator {
                        // It ends without its last words where a server does not answer.
                        let _ = timeout(Duration::from_secs(10), coordinator.join()).await;
                    }
                    process.kill();
                });
            }
            Fault::CutOff(server) => {
                world.judge.lock().met.insert(node.process.name.clone());
                world.cut(server, Some(node.process.name.clone()), lasts);
                if server == Server::Broker {
                    node.process.disconnect();
                }
            }
            Fault::Disconnect => node.process.disconnect(),
            Fault::Outage(server) => {
                world.judge.lock().met.extend(self.nodes.iter().map(|node| node.process.name.clone()));
                world.cut(server, None, lasts);
                if server == Server::Broker {
                    self.nodes.iter().for_each(|node| node.process.disconnect());
                }
            }
            Fault::EmptyLedger => world.empty_ledger(),
            Fault::Purge => world.purge(),
        }
    }

    fn calm(&self) {
        self.world.mend();
        self.world.set_weather(Weather::default());
    }

    fn state(&self, render: &RenderId) -> Option<TerminalState> {
        self.world.objects.get_json(&keys::state(render)).now_or_never().and_then(Result::ok)
    }

    fn have_all_ended(&self) -> bool {
        self.renders.iter().all(|wanted| self.state(&wanted.id()).is_some())
    }

    fn violated(&self, violation: String) {
        self.world.judge.lock().violated(violation);
    }

    /// Checks how the renders have ended. Answers how many have completed.
    async fn check_ends(&self) -> usize {
        let mut completed = 0;
        for wanted in &self.renders {
            let render = wanted.id();
            match self.state(&render).map(|state| state.outcome) {
                None => self.violated(format!("{render} has not ended {ENDS_WITHIN:?} after the last fault")),
                Some(Outcome::Completed { .. }) => {
                    completed += 1;
                    if let Err(violation) = self.check_output(wanted).await {
                        self.violated(format!("{render} has completed: {violation}"));
                    }
                }
                Some(Outcome::Failed { failure, .. }) if failure.code == FailureCode::Cancelled => {
                    if wanted.cancelled.is_none() {
                        self.violated(format!("{render} was cancelled by nobody"));
                    }
                }
                Some(Outcome::Failed { failure, history }) => {
                    if history.is_empty() {
                        self.violated(format!("{render} has failed without a history: {failure}"));
                    }
                    for attempt in history {
                        let process = attempt.worker.rsplit_once("-s").map_or("", |(process, _)| process);
                        let is_made_up = attempt.failure.message.starts_with(MADE_UP);
                        let is_outage = attempt.failure.code.is_outage();
                        let is_lost = attempt.failure.code == FailureCode::WorkerLost
                            && self.world.judge.lock().met.contains(process);
                        if !is_made_up && !is_outage && !is_lost {
                            let attempt = (&attempt.worker, attempt.attempt, attempt.failure.to_string());
                            self.violated(format!("{render} has failed for no reason: {attempt:?}"));
                        }
                    }
                }
            }
        }
        completed
    }

    async fn check_output(&self, wanted: &Wanted) -> Result<(), String> {
        let (objects, render) = (&self.world.objects, wanted.id());
        let plan: Plan = objects.get_wire(&keys::plan(&render)).await.map_err(|error| error.to_string())?;
        let manifest: Manifest = objects.get_json(&keys::manifest(&render)).await.map_err(|error| error.to_string())?;
        if plan.chunks.len() as u64 != wanted.chunks || plan.content.frames != wanted.shape.frames {
            return Err(format!("its plan has {} chunks of {} frames", plan.chunks.len(), plan.content.frames));
        }
        let chunks: Vec<u32> = manifest.segments.iter().map(|segment| segment.chunk).collect();
        if chunks != (0..plan.chunks.len() as u32).collect::<Vec<_>>() {
            return Err(format!("it is made of the chunks {chunks:?}"));
        }
        let mut expected = Vec::new();
        for record in &manifest.segments {
            let bytes = objects.get(&record.key).await.map_err(|error| error.to_string())?;
            if bytes != segment(&plan, record.chunk) || record.hash != ContentHash::of(&bytes) {
                return Err(format!("the segment {} has other bytes", record.key));
            }
            expected.extend_from_slice(&bytes);
        }
        let output = objects.get(&manifest.output.key).await.map_err(|error| error.to_string())?;
        if output != expected || manifest.output.hash != ContentHash::of(&output) {
            return Err("the output is not what its segments are".to_owned());
        }
        if manifest.audio.is_some() != wanted.shape.has_sound {
            return Err("its sound is missing, or it should have none".to_owned());
        }
        Ok(())
    }

    /// What should not be left of ended renders.
    async fn left(&self) -> Vec<String> {
        let mut left = Vec::new();
        for mark in self.world.objects.list("open").await.unwrap_or_default() {
            left.push(format!("the mark {} is left", mark.key));
        }
        let deliveries = Webhooks::new(self.world.objects.clone()).deliveries().await.unwrap_or_default();
        for wanted in &self.renders {
            let (render, callback) = (wanted.id(), wanted.callback());
            // What the ledger still has of an ended render expires by itself, a week later.
            let view = self.world.ledger().view(&render).await.ok().flatten().unwrap_or_default();
            for (step, _) in view.tasks.iter().filter(|(_, task)| task.lease.is_some()) {
                left.push(format!("{render}/{step} is still leased"));
            }
            let is_queued = deliveries.iter().any(|delivery| match &delivery.target {
                Target::Callback(url) => url.as_str() == callback,
                Target::Endpoint(_) => false,
            });
            if !is_queued {
                left.push(format!("no webhook of {render} is queued"));
            }
        }
        for queue in queues() {
            let depth = self.world.depth(&queue);
            if depth > 0 {
                left.push(format!("{depth} messages are left in {queue}"));
            }
        }
        left
    }

    /// Stops every process as an operator does, workers first, and checks that none holds a message.
    async fn stop(&self) {
        for node in self.nodes.iter().filter(|node| node.coordinator.is_none()) {
            node.drain.start();
        }
        sleep(Duration::from_secs(10)).await;
        for node in &self.nodes {
            node.drain.start();
            let has_stopped = match &node.coordinator {
                Some(coordinator) => timeout(Duration::from_secs(30), coordinator.join()).await.is_ok(),
                None => node.process.is_dead(),
            };
            if !has_stopped {
                self.violated(format!("{} does not stop", node.process.name));
            }
            node.process.kill();
        }
        for queue in queues() {
            let depth = self.world.depth(&queue);
            if depth > 0 {
                self.violated(format!("{depth} messages of {queue} were held at the end"));
            }
        }
    }
}

/// Clients that want a coordinator.
type Asked = mpsc::UnboundedReceiver<oneshot::Sender<Coordinator>>;
type Asks = mpsc::UnboundedSender<oneshot::Sender<Coordinator>>;

/// What a client asks a coordinator for.
#[derive(Debug, Clone, Copy)]
enum Wish {
    Submit,
    Pause(bool),
    Cancel,
}

/// A client of one render: it submits it, and repeats what is not answered through any coordinator.
struct Client {
    world: Arc<World>,
    bundle: StoredBundle,
    wanted: Wanted,
    asks: Asks,
}

impl Client {
    async fn run(self) {
        let start = Instant::now();
        sleep(self.wanted.at).await;
        self.gets(Wish::Submit).await;
        let submitted = Instant::now();
        let cancels = async {
            if let Some(at) = self.wanted.cancelled {
                sleep_until(submitted + at).await;
                self.gets(Wish::Cancel).await;
            }
        };
        let pauses = async {
            let Some((at, lasts)) = self.wanted.paused else { return };
            sleep(at).await;
            self.gets(Wish::Pause(true)).await;
            sleep(lasts).await;
            self.gets(Wish::Pause(false)).await;
            // A late request of the first wish may have paused it again, which people see.
            sleep_until(start + CALM_AFTER + QUIET_AFTER).await;
            self.gets(Wish::Pause(false)).await;
        };
        futures::join!(cancels, pauses);
    }

    async fn gets(&self, wish: Wish) {
        let note = |what: &str| self.world.note(format!("a client of {}: {wish:?} {what}", self.wanted.id()));
        loop {
            let (answer, coordinator) = oneshot::channel();
            let _ = self.asks.send(answer);
            let Ok(coordinator) = coordinator.await else { return };
            match timeout(Duration::from_secs(20), self.ask(coordinator, wish)).await {
                Ok(Ok(())) => return note("is done"),
                Ok(Err(error)) => note(&format!("is refused: {error}")),
                Err(_) => note("is not answered"),
            }
            sleep(Duration::from_millis(500)).await;
        }
    }

    async fn ask(&self, coordinator: Coordinator, wish: Wish) -> Result<(), String> {
        let Wanted { seed, spec, .. } = &self.wanted;
        let render = self.wanted.id();
        let changed = match wish {
            Wish::Submit => {
                let submitted = coordinator.submit_stored(self.bundle, spec.clone(), Intake::default(), *seed).await;
                return submitted.map(drop).map_err(|error| error.to_string());
            }
            Wish::Pause(is_paused) => coordinator.set_paused(&render, is_paused).await,
            Wish::Cancel => coordinator.cancel(&render).await,
        };
        match changed {
            Ok(_) | Err(RenderError::Ended(_)) => Ok(()),
            Err(error) => Err(error.to_string()),
        }
    }
}
