//! `bench restart`: how soon a coordinator that starts anew dispatches, over an S3 store that answers late and holds ended
//! and open renders, and how many requests to the store that takes.
//!
//! The coordinator is a process of its own, and reaches the store through a proxy that delays and counts its requests. The
//! open renders are planned and half done by workers in this process. Then the coordinator is started twice: with the
//! ledger as it was, and with an empty one.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_trait::async_trait;
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::{self, Config};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Lease, NodeView};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_e2e::proxy::{HttpFault, HttpProxy};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{Plan, PlanDraft};
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::{Format, RenderRequest, RenderSpec};
use hyperfarm_proto::task::{Queue, Step, TaskMessage};
use hyperfarm_proto::wire;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};
use tokio::sync::mpsc;

use crate::compare;
use crate::dispatch::{CHUNK_FRAMES, KEY, keyed_client, server, storage};
use crate::load::{self, RENDERS, ServerProcess};

/// Requests at once while the store is filled.
const AT_ONCE: usize = 32;

/// How long the preparation, and a restart, may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How long requests are counted once every render is dispatched: one whole comparison of ledger and storage.
const IDLE: Duration = Duration::from_secs(60);

/// `bench restart`.
#[derive(Debug, clap::Args)]
pub(crate) struct RestartArgs {
    /// Renders that have ended.
    #[arg(long, default_value_t = 10_000)]
    ended: u32,
    /// Renders that are open.
    #[arg(long, default_value_t = 400)]
    open: u32,
    /// Chunks of each open render.
    #[arg(long, default_value_t = 20)]
    chunks: u32,
    /// Milliseconds that the store takes longer for each request.
    #[arg(long, default_value_t = 50)]
    latency_ms: u64,
    /// hyperfarm's binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    hyperfarm: Option<PathBuf>,
    /// Only the figures, as JSON.
    #[arg(long)]
    json: bool,
}

/// A restart. Seconds are from the start of the process.
#[derive(Debug, Serialize)]
struct Restart {
    ledger: &'static str,
    first_dispatch_s: f64,
    /// A task of each open render is in a queue.
    every_render_s: f64,
    /// Requests to the store until then.
    requests: u64,
    /// Those of a minute after that, in which only unclaimed tasks are published again.
    idle_requests_a_minute: f64,
}

/// Measures and prints the figures.
///
/// # Errors
/// A server does not answer, or a render is not dispatched in time.
pub(crate) fn run(args: &RestartArgs) -> anyhow::Result<()> {
    let runtime = load::runtime()?;
    let endpoint =
        std::env::var("AWS_ENDPOINT").context("set AWS_ENDPOINT and a key, as `scripts/services.sh` does")?;
    let address = endpoint.trim_start_matches("http://").parse().context("AWS_ENDPOINT is no address of HTTP")?;
    let proxy = HttpProxy::start(&runtime, address, 0);
    proxy.fail(HttpFault::Slow(Duration::from_millis(args.latency_ms)));
    let restarts = runtime.block_on(measure(args, &proxy))?;
    let mut out = std::io::stdout().lock();
    if !args.json {
        let RestartArgs { ended, open, latency_ms, .. } = args;
        for Restart { ledger, first_dispatch_s, every_render_s, requests, idle_requests_a_minute } in &restarts {
            writeln!(
                out,
                "{ended} ended and {open} open renders, {latency_ms} ms a request, {ledger}: first dispatch after \
                 {first_dispatch_s:.2} s, each render after {every_render_s:.2} s and {requests} requests; then \
                 {idle_requests_a_minute:.0} requests a minute"
            )?;
        }
    }
    writeln!(out, "{}", serde_json::to_string_pretty(&restarts)?)?;
    Ok(())
}

/// The farm's settings.
struct Settings {
    variables: BTreeMap<&'static str, String>,
    binary: PathBuf,
    log: PathBuf,
}

impl Settings {
    fn with(&self, name: &'static str, value: String) -> Self {
        let mut variables = self.variables.clone();
        variables.insert(name, value);
        Self { variables, binary: self.binary.clone(), log: self.log.clone() }
    }

    fn coordinator(&self) -> anyhow::Result<ServerProcess> {
        let mut command = Command::new(&self.binary);
        command.args(["coordinator", "--listen", "127.0.0.1:0"]).envs(&self.variables);
        command.stderr(std::fs::File::create(&self.log)?);
        ServerProcess::start(command).with_context(|| std::fs::read_to_string(&self.log).unwrap_or_default())
    }

    async fn backplane(&self) -> anyhow::Result<Backplane> {
        let lookup = |name: &str| self.variables.get(name).cloned();
        Ok(Backplane::connect(&config::read(&lookup, Config::read)?).await?)
    }
}

async fn measure(args: &RestartArgs, proxy: &HttpProxy) -> anyhow::Result<Vec<Restart>> {
    let folder = tempfile::Builder::new().prefix("hyperfarm-restart-").tempdir()?;
    let name = format!("restart-{}", std::process::id());
    let settings = settings(args, folder.path(), &name)?;
    let objects = Objects::open(&settings.variables["HYPERFARM_STORAGE_URL"])?;
    let ended = stream::iter(0..args.ended).map(|number| store_ended(&objects, number));
    ended.buffer_unordered(AT_ONCE).try_collect::<()>().await?;
    let open = half_do(args, &settings).await?;
    let proxied = settings.with("AWS_ENDPOINT", format!("http://127.0.0.1:{}", proxy.port()));
    let kept = restart("the ledger is kept", args, &proxied, proxy, &open).await?;
    let emptied = proxied.with("HYPERFARM_NAMESPACE", format!("{name}-emptied"));
    let emptied = restart("the ledger is empty", args, &emptied, proxy, &open).await?;
    Ok(vec![kept, emptied])
}

fn settings(args: &RestartArgs, folder: &Path, name: &str) -> anyhow::Result<Settings> {
    let bucket = server("HYPERFARM_S3_BUCKET")?;
    let variables = BTreeMap::from([
        ("HYPERFARM_AMQP_URL", server("HYPERFARM_AMQP_URL")?),
        ("HYPERFARM_REDIS_URL", server("HYPERFARM_REDIS_URL")?),
        ("HYPERFARM_STORAGE_URL", format!("s3://{bucket}/{name}")),
        ("HYPERFARM_DATA_DIR", folder.join("data").display().to_string()),
        ("HYPERFARM_NAMESPACE", name.to_owned()),
        ("HYPERFARM_API_KEYS", KEY.to_owned()),
        ("HYPERFARM_CONCURRENT_RENDERS", args.open.to_string()),
    ]);
    let binary = compare::binary(args.hyperfarm.as_deref())?;
    Ok(Settings { variables, binary, log: folder.join("coordinator.log") })
}

/// Stores a render as its submission and its end leave it.
async fn store_ended(objects: &Objects, number: u32) -> anyhow::Result<()> {
    let created_at_ms = 1_700_000_000_000;
    let id = RenderId::from_parts(created_at_ms, number.into());
    let request =
        RenderRequest { id: id.clone(), created_at_ms, bundle: ContentHash::of(b"x"), spec: RenderSpec::default() };
    let failure = Failure::new(FailureCode::ScriptError, "x is not defined");
    let outcome = Outcome::Failed { failure, history: Vec::new() };
    objects.put_json(&keys::request(&id), &request).await?;
    objects.put_json(&keys::state(&id), &TerminalState { ended_at_ms: created_at_ms + 1000, outcome }).await?;
    Ok(())
}

/// Stores drafts and segments until half of the chunks are done.
struct Handler {
    objects: Objects,
    frames: u64,
    done: Arc<AtomicU64>,
    wanted: u64,
}

#[async_trait]
impl TaskHandler for Handler {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        let render = &lease.task.render;
        match lease.task.step {
            Step::Plan => {
                let content = hyperfarm_testing::content(Format::Mp4, FrameRate::DEFAULT, self.frames, false);
                let (render, warnings) = (render.clone(), Vec::new());
                let draft = PlanDraft { render, content, frame_cost_ms: 500.0, earlier_cost_ms: 0.0, warnings };
                self.objects.put_wire(&keys::draft(&draft.render), &draft).await.map_err(storage)?;
                Ok(Vec::new())
            }
            Step::Chunk(chunk) if self.done.fetch_add(1, Ordering::Relaxed) < self.wanted => {
                let plan: Plan = self.objects.get_wire(&keys::plan(render)).await.map_err(storage)?;
                let bytes = Bytes::from(format!("segment {chunk} of {render}"));
                let record =
                    hyperfarm_testing::segment_record(&plan, chunk, lease.attempt, lease.worker.as_str(), &bytes);
                self.objects.put_json(&keys::segment_record(&record.key), &record).await.map_err(storage)?;
                self.objects.put(&record.key, bytes).await.map_err(storage)?;
                serde_json::to_vec(&record).map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))
            }
            // The rest is left to the coordinator that starts anew.
            _ => {
                context.cancelled().cancelled().await;
                Err(Failure::new(FailureCode::Drained, "half of the chunks are done"))
            }
        }
    }
}

/// Submits renders, and has half of their chunks done. Answers the renders.
async fn half_do(args: &RestartArgs, settings: &Settings) -> anyhow::Result<BTreeSet<RenderId>> {
    let coordinator = settings.coordinator()?;
    let (done, drain, mut nodes) = (Arc::new(AtomicU64::new(0)), Drain::new(), Vec::new());
    let wanted = u64::from(args.open) * u64::from(args.chunks) / 2;
    for number in 0..8 {
        let backplane = settings.backplane().await?;
        let frames = u64::from(args.chunks) * u64::from(CHUNK_FRAMES);
        let handler = Handler { objects: backplane.objects.clone(), frames, done: done.clone(), wanted };
        let node = NodeView::new(format!("node-{number}").parse()?, "worker", "cpu", 16, "");
        let queues = vec![Queue::Plan(Pool::default()), Queue::Chunk(Pool::default())];
        let runner = Runner::new(backplane, node, RunnerConfig { grace: Duration::ZERO, ..RunnerConfig::default() });
        nodes.push(tokio::spawn(runner.run(queues, Arc::new(handler), drain.clone())));
    }
    let client = keyed_client()?;
    let url = format!("{}{RENDERS}", coordinator.url());
    let submissions = stream::iter(0..args.open).map(|number| submit(&client, &url, number));
    let open: BTreeSet<RenderId> = submissions.buffer_unordered(AT_ONCE).try_collect().await?;
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < wanted {
        if begun.elapsed() > PATIENCE {
            bail!("the chunks were not done in time\n{}", std::fs::read_to_string(&settings.log)?);
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    drain.start();
    for node in nodes {
        node.await?;
    }
    coordinator.terminate()?;
    Ok(open)
}

async fn submit(client: &Client, url: &str, number: u32) -> anyhow::Result<RenderId> {
    let wanted = json!({ "html": format!("<p>{number}"), "chunk_frames": CHUNK_FRAMES });
    let made: Value = client.post(url).json(&wanted).send().await?.json().await?;
    Ok(made["data"]["render_id"].as_str().with_context(|| made.to_string())?.parse()?)
}

/// Starts a coordinator beside idle slots until a task of each of `open` is in a queue.
async fn restart(
    ledger: &'static str,
    args: &RestartArgs,
    settings: &Settings,
    proxy: &HttpProxy,
    open: &BTreeSet<RenderId>,
) -> anyhow::Result<Restart> {
    let backplane = settings.backplane().await?;
    // Slots for all that is left: nobody takes the tasks, so those of one render would fill a smaller window.
    let slots = args.open * args.chunks;
    for role in ["worker", "stitcher"] {
        let node = NodeView::new(format!("idle-{role}").parse()?, role, "cpu", slots, "");
        backplane.ledger.heartbeat(&node, PATIENCE * 2).await?;
    }
    let (dispatches, mut dispatched) = mpsc::unbounded_channel();
    for queue in [Queue::Plan(Pool::default()), Queue::Chunk(Pool::default()), Queue::Stitch] {
        let (mut consumer, dispatches) = (backplane.broker.consume(&queue).await?, dispatches.clone());
        tokio::spawn(async move {
            while let Some(delivery) = consumer.next().await {
                if let Ok(message) = wire::decode::<TaskMessage>(&delivery.payload) {
                    drop(dispatches.send((Instant::now(), message.task.render)));
                }
                delivery.ack().await;
            }
        });
    }
    // What the coordinator before has dispatched.
    tokio::time::sleep(Duration::from_secs(3)).await;
    while dispatched.try_recv().is_ok() {}
    let (began, requests_before) = (Instant::now(), proxy.requests());
    let coordinator = settings.coordinator()?;
    let (mut first, mut last, mut missing) = (None, began, open.clone());
    while !missing.is_empty() {
        let next = tokio::time::timeout(PATIENCE.saturating_sub(began.elapsed()), dispatched.recv()).await;
        let Ok(Some((at, render))) = next else {
            bail!("{} renders are not dispatched\n{}", missing.len(), std::fs::read_to_string(&settings.log)?)
        };
        first.get_or_insert(at);
        if missing.remove(&render) {
            last = at;
        }
    }
    let requests = proxy.requests() - requests_before;
    let requests_before = proxy.requests();
    tokio::time::sleep(IDLE).await;
    let idle = proxy.requests() - requests_before;
    coordinator.terminate()?;
    backplane.broker.close().await;
    Ok(Restart {
        ledger,
        first_dispatch_s: (first.unwrap_or(last) - began).as_secs_f64(),
        every_render_s: (last - began).as_secs_f64(),
        requests,
        idle_requests_a_minute: idle as f64 * 60.0 / IDLE.as_secs_f64(),
    })
}
