//! `bench dispatch`: tasks a second through a real coordinator, Redis and RabbitMQ, and how long the API takes to answer
//! meanwhile.
//!
//! The coordinator is a process of its own. The workers are in this process: the real task loop, each node with its own
//! connections, and a handler that does nothing, so that the farm's own work for a chunk is all there is.

use std::io::Write as _;
use std::path::PathBuf;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use async_trait::async_trait;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::{self, Config};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Lease, NodeView};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_backplane::runner::{Runner, RunnerConfig, TaskContext, TaskHandler};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{Pool, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::PlanDraft;
use hyperfarm_proto::spec::Format;
use hyperfarm_proto::task::{Queue, Step};
use reqwest::Client;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde::Serialize;
use serde_json::{Value, json};

use crate::compare;
use crate::load::{self, Measured, RENDERS, ServerProcess};

/// Frames of a chunk: a second of video, which no chunk is shorter than.
pub(crate) const CHUNK_FRAMES: u32 = 30;

/// API key of the farm, which nobody but this process reaches.
pub(crate) const KEY: &str = "key-of-bench-dispatch";

/// Pause of a connection between two requests.
const PAUSE: Duration = Duration::from_millis(20);

/// How long the first chunk may take.
const BEGINS_WITHIN: Duration = Duration::from_secs(60);

/// `bench dispatch`.
#[derive(Debug, clap::Args)]
pub(crate) struct DispatchArgs {
    /// Renders at once.
    #[arg(long, default_value_t = 4)]
    renders: u32,
    /// Chunks of each.
    #[arg(long, default_value_t = 10_000)]
    chunks: u32,
    /// Workers.
    #[arg(long, default_value_t = 8)]
    nodes: u32,
    /// Slots of each.
    #[arg(long, default_value_t = 16)]
    slots: u32,
    /// Seconds of the measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests at once meanwhile, each with a pause of 20 ms after it.
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// hyperfarm's binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    hyperfarm: Option<PathBuf>,
    /// Only the figures, as JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Serialize)]
struct Report {
    slots: u32,
    chunks: u64,
    chunks_per_second: f64,
    get_detail: Measured,
    /// Processor time of the coordinator for a chunk, the answers included.
    coordinator_us_per_chunk: f64,
}

/// Stores drafts, and commits chunks at once.
struct Handler {
    objects: Objects,
    frames: u64,
    done: Arc<AtomicU64>,
}

/// The failure of a task whose storage does not answer.
pub(crate) fn storage(error: ObjectsError) -> Failure {
    Failure::new(FailureCode::Storage, error.to_string())
}

#[async_trait]
impl TaskHandler for Handler {
    async fn handle(&self, lease: &Lease, _: &TaskContext) -> Result<Vec<u8>, Failure> {
        match lease.task.step {
            Step::Plan => {
                let content = hyperfarm_testing::content(Format::Mp4, FrameRate::DEFAULT, self.frames, false);
                let (render, warnings) = (lease.task.render.clone(), Vec::new());
                let draft = PlanDraft { render, content, frame_cost_ms: 500.0, earlier_cost_ms: 0.0, warnings };
                self.objects.put_wire(&keys::draft(&draft.render), &draft).await.map_err(storage)?;
            }
            Step::Chunk(_) => drop(self.done.fetch_add(1, Ordering::Relaxed)),
            Step::Audio | Step::Stitch => return Err(Failure::new(FailureCode::Internal, "this is not measured")),
        }
        // As long as the record of a segment.
        Ok(vec![b' '; 600])
    }
}

/// A variable of the farm, or of `scripts/services.sh`.
pub(crate) fn server(name: &str) -> anyhow::Result<String> {
    let of_services = name.replacen("HYPERFARM", "HYPERFARM_TEST", 1);
    let found = std::env::var(name).or_else(|_| std::env::var(of_services));
    found.with_context(|| format!("set {name}, or run it by `scripts/services.sh run -- COMMAND`"))
}

/// A client that sends [`KEY`].
pub(crate) fn keyed_client() -> reqwest::Result<Client> {
    let key = HeaderMap::from_iter([(HeaderName::from_static("x-api-key"), HeaderValue::from_static(KEY))]);
    Client::builder().default_headers(key).build()
}

/// Measures and prints the figures.
///
/// # Errors
/// A server does not answer, or the work ends too soon.
pub(crate) fn run(args: &DispatchArgs) -> anyhow::Result<()> {
    let report = load::runtime()?.block_on(measure(args))?;
    let mut out = std::io::stdout().lock();
    if !args.json {
        let Report { slots, chunks, chunks_per_second, get_detail, coordinator_us_per_chunk } = &report;
        writeln!(
            out,
            "{slots} slots: {chunks} chunks, {chunks_per_second:.0} a second, {coordinator_us_per_chunk:.0} us of the \
             coordinator's processor time each; GET detail meanwhile p50 {:.2} ms, p99 {:.2} ms, {} answers, failed {}",
            get_detail.p50_ms, get_detail.p99_ms, get_detail.requests, get_detail.failed
        )?;
    }
    writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

async fn measure(args: &DispatchArgs) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new().prefix("hyperfarm-dispatch-").tempdir()?;
    let (data, log) = (folder.path().join("data"), folder.path().join("coordinator.log"));
    let variables = [
        ("HYPERFARM_AMQP_URL", server("HYPERFARM_AMQP_URL")?),
        ("HYPERFARM_REDIS_URL", server("HYPERFARM_REDIS_URL")?),
        ("HYPERFARM_STORAGE_URL", format!("file://{}", data.display())),
        ("HYPERFARM_DATA_DIR", data.display().to_string()),
        ("HYPERFARM_NAMESPACE", format!("dispatch-{}", std::process::id())),
        ("HYPERFARM_API_KEYS", KEY.to_owned()),
    ];
    std::fs::create_dir(&data)?;
    let coordinator = {
        let mut command = Command::new(compare::binary(args.hyperfarm.as_deref())?);
        command.args(["coordinator", "--listen", "127.0.0.1:0"]).envs(variables.clone());
        command.stderr(std::fs::File::create(&log)?);
        ServerProcess::start(command).with_context(|| std::fs::read_to_string(&log).unwrap_or_default())?
    };
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    let config = config::read(&lookup, Config::read)?;
    let (done, drain) = (Arc::new(AtomicU64::new(0)), Drain::new());
    for number in 0..args.nodes {
        let backplane = Backplane::connect(&config).await?;
        let objects = backplane.objects.clone();
        let frames = u64::from(args.chunks) * u64::from(CHUNK_FRAMES);
        let handler = Arc::new(Handler { objects, frames, done: done.clone() });
        let node = NodeView::new(format!("node-{number}").parse()?, "worker", "cpu", args.slots, "");
        let queues = vec![Queue::Chunk(Pool::default()), Queue::Plan(Pool::default())];
        let runner = Runner::new(backplane, node, RunnerConfig::default());
        tokio::spawn(runner.run(queues, handler, drain.clone()));
    }
    let client = keyed_client()?;
    let renders = format!("{}{RENDERS}", coordinator.url());
    let mut polls = Vec::new();
    for number in 0..args.renders {
        let wanted = json!({ "html": format!("<p>{number}"), "chunk_frames": CHUNK_FRAMES });
        let made: Value = client.post(&renders).json(&wanted).send().await?.json().await?;
        let id: RenderId = made["data"]["render_id"].as_str().with_context(|| made.to_string())?.parse()?;
        polls.push(format!("{renders}/{id}"));
    }
    let begun = Instant::now();
    while done.load(Ordering::Relaxed) < u64::from(args.nodes * args.slots) {
        if begun.elapsed() > BEGINS_WITHIN {
            bail!("no chunks were done within {BEGINS_WITHIN:?}\n{}", std::fs::read_to_string(&log)?);
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let (before, cpu_before, begun) = (done.load(Ordering::Relaxed), coordinator.processor_seconds()?, Instant::now());
    let time = Duration::from_secs(args.seconds);
    let get = |client: &Client, number: usize| client.get(&polls[number % polls.len()]);
    let answers = load::load(&client, args.connections, time, PAUSE, get).await;
    let (chunks, seconds) = (done.load(Ordering::Relaxed) - before, begun.elapsed().as_secs_f64());
    let cpu = coordinator.processor_seconds()? - cpu_before;
    if before + chunks >= u64::from(args.renders) * u64::from(args.chunks) {
        bail!("the chunks were done before {} s were over; give more --chunks", args.seconds);
    }
    drain.start();
    Ok(Report {
        slots: args.nodes * args.slots,
        chunks,
        chunks_per_second: chunks as f64 / seconds,
        get_detail: answers.measured(),
        coordinator_us_per_chunk: cpu * 1e6 / chunks.max(1) as f64,
    })
}
