//! `bench load`: the API under load, as submissions and polls a second while renders run, compared with a handler that
//! does nothing.
//!
//! The farm is one process of `hyperfarm up` with renders in flight. The plain handler is a process of its own with the
//! same HTTP server, measured by the same client while the same renders run, so that the ratio is the farm's work for
//! an answer.

use std::io::{BufRead, BufReader, Write as _};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use axum::Router;
use axum::routing::get;
use reqwest::Client;
use serde::Serialize;
use serde_json::{Value, json};

use crate::compare;

pub(crate) const RENDERS: &str = "/v3/hyperframes/renders";

/// `bench load`.
#[derive(Debug, clap::Args)]
pub(crate) struct LoadArgs {
    /// Renders in flight while it is measured.
    #[arg(long, default_value_t = 50)]
    renders: u32,
    /// Seconds of each measurement.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Requests at once.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Worker slots [default: the farm's own].
    #[arg(long)]
    slots: Option<u32>,
    /// hyperfarm's binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    hyperfarm: Option<PathBuf>,
    /// Only the figures, as JSON.
    #[arg(long)]
    json: bool,
}

/// Figures of one measurement.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct Measured {
    pub(crate) requests: usize,
    pub(crate) failed: usize,
    per_second: f64,
    pub(crate) p50_ms: f64,
    pub(crate) p99_ms: f64,
    max_ms: f64,
}

/// States of the run's renders at one moment.
#[derive(Debug, Clone, Copy, Serialize)]
struct InFlight {
    rendering: usize,
    queued: usize,
    ended: usize,
    frames_done: u64,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    load_average: String,
    connections: usize,
    before: InFlight,
    after: InFlight,
    nothing: Measured,
    get_detail: Measured,
    submissions: Measured,
    nothing_per_detail: f64,
    nothing_per_submission: f64,
    p99_of_detail_to_nothing: f64,
}

/// A server process that prints its URL on its first line. Dropping it kills it.
pub(crate) struct ServerProcess(Child, String);

impl ServerProcess {
    pub(crate) fn start(mut command: Command) -> anyhow::Result<Self> {
        let mut child = command.stdout(Stdio::piped()).stdin(Stdio::null()).spawn()?;
        let out = child.stdout.take().context("standard output is piped")?;
        let line = BufReader::new(out).lines().next().context("it ended before it listened")??;
        let url = line.rsplit(' ').next().unwrap_or_default().to_owned();
        Ok(Self(child, url))
    }

    /// Its URL.
    pub(crate) fn url(&self) -> &str {
        &self.1
    }

    /// Ends it by SIGTERM, as an operator does.
    pub(crate) fn terminate(mut self) -> anyhow::Result<()> {
        Command::new("kill").arg(self.0.id().to_string()).status()?;
        self.0.wait()?;
        Ok(())
    }

    /// Processor time that it has used, in seconds.
    pub(crate) fn processor_seconds(&self) -> anyhow::Result<f64> {
        // Fields 14 and 15 in hundredths; the second one, a name, may have spaces.
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.0.id()))?;
        let fields = stat.rsplit(") ").next().unwrap_or_default().split(' ');
        let ticks: Vec<f64> = fields.skip(11).take(2).filter_map(|field| field.parse().ok()).collect();
        Ok(ticks.iter().sum::<f64>() / 100.0)
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        // Renders in flight are not needed.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// `bench nothing`: serves a handler that does nothing, until it is killed.
///
/// # Errors
/// The server cannot listen.
pub(crate) fn nothing() -> anyhow::Result<()> {
    runtime()?.block_on(async {
        let router = Router::new().route("/", get(|| async {}));
        let listener = tokio::net::TcpListener::bind(SocketAddr::from(([127, 0, 0, 1], 0))).await?;
        let mut out = std::io::stdout().lock();
        writeln!(out, "listening on http://{}", listener.local_addr()?)?;
        out.flush()?;
        drop(out);
        axum::serve(listener, router).await?;
        Ok(())
    })
}

pub(crate) fn runtime() -> anyhow::Result<tokio::runtime::Runtime> {
    Ok(tokio::runtime::Builder::new_multi_thread().enable_all().build()?)
}

/// Measures and prints the figures.
///
/// # Errors
/// A server does not start, or a request fails.
pub(crate) fn run(args: &LoadArgs) -> anyhow::Result<()> {
    let report = runtime()?.block_on(measure(args))?;
    let mut out = std::io::stdout().lock();
    if !args.json {
        writeln!(
            out,
            "{} renders in flight ({} at work, {} frames captured meanwhile), {} connections, {} cores, load {}",
            report.before.rendering + report.before.queued,
            report.before.rendering,
            report.after.frames_done - report.before.frames_done,
            report.connections,
            report.cores,
            report.load_average,
        )?;
        for (name, found) in
            [("nothing", report.nothing), ("GET detail", report.get_detail), ("POST render", report.submissions)]
        {
            writeln!(
                out,
                "{name:<12} {:>8.0} a second   p50 {:>7.2} ms   p99 {:>7.2} ms   max {:>7.1} ms   failed {}",
                found.per_second, found.p50_ms, found.p99_ms, found.max_ms, found.failed
            )?;
        }
        writeln!(
            out,
            "a handler that does nothing answers {:.2} times as often as GET detail, {:.1} times as often as POST render",
            report.nothing_per_detail, report.nothing_per_submission
        )?;
    }
    writeln!(out, "{}", serde_json::to_string_pretty(&report)?)?;
    Ok(())
}

async fn measure(args: &LoadArgs) -> anyhow::Result<Report> {
    let folder = tempfile::Builder::new().prefix("hyperfarm-load-").tempdir()?;
    let plain = {
        let mut command = Command::new(std::env::current_exe()?);
        command.arg("nothing");
        ServerProcess::start(command)?
    };
    let farm = {
        let mut command = Command::new(compare::binary(args.hyperfarm.as_deref())?);
        command
            .args(["up", "--listen", "127.0.0.1:0"])
            .args(args.slots.map(|slots| format!("--slots={slots}")))
            .env("HYPERFARM_DATA_DIR", folder.path().join("data"))
            .stderr(std::fs::File::create(folder.path().join("up.log"))?);
        ServerProcess::start(command)?
    };
    let client = Client::new();
    let renders = format!("{}{RENDERS}", farm.1);
    let mut ids = Vec::new();
    for number in 0..args.renders {
        let made: Value = client.post(&renders).json(&submission(&number.to_string())).send().await?.json().await?;
        ids.push(made["data"]["render_id"].as_str().with_context(|| made.to_string())?.to_owned());
    }
    let begun = Instant::now();
    while in_flight(&client, &renders, args.renders).await?.frames_done == 0 {
        if begun.elapsed() > Duration::from_secs(180) {
            let log = std::fs::read_to_string(folder.path().join("up.log")).unwrap_or_default();
            bail!("nothing was captured within three minutes\n{log}");
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    let before = in_flight(&client, &renders, args.renders).await?;
    let polls: Vec<String> = ids.iter().map(|id| format!("{renders}/{id}")).collect();
    // The plain handler is measured half before and half after the farm, so that other load on the machine counts for
    // both.
    let half = Duration::from_secs_f64(args.seconds as f64 / 2.0);
    let mut times = load(&client, args.connections, half, Duration::ZERO, |client, _| client.get(&plain.1)).await;
    let detail = load(&client, args.connections, half * 2, Duration::ZERO, |client, number| {
        client.get(&polls[number % polls.len()])
    })
    .await;
    let rest = load(&client, args.connections, half, Duration::ZERO, |client, _| client.get(&plain.1)).await;
    times.absorb(rest);
    let after = in_flight(&client, &renders, args.renders).await?;
    let submitted = load(&client, args.connections, half * 2, Duration::ZERO, |client, number| {
        client.post(&renders).json(&submission(&format!("load {number}")))
    })
    .await;
    let (nothing, get_detail, submissions) = (times.measured(), detail.measured(), submitted.measured());
    Ok(Report {
        cores: std::thread::available_parallelism()?.get(),
        load_average: std::fs::read_to_string("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
        connections: args.connections,
        before,
        after,
        nothing,
        get_detail,
        submissions,
        nothing_per_detail: nothing.per_second / get_detail.per_second,
        nothing_per_submission: nothing.per_second / submissions.per_second,
        p99_of_detail_to_nothing: get_detail.p99_ms / nothing.p99_ms,
    })
}

/// A submission of a minute's render, with another project for each `name`.
fn submission(name: &str) -> Value {
    let html = format!("{}<!-- {name} -->", hyperfarm_e2e::page(60.0));
    json!({ "html": html, "title": name, "quality": "draft" })
}

async fn in_flight(client: &Client, renders: &str, count: u32) -> anyhow::Result<InFlight> {
    let mut found = InFlight { rendering: 0, queued: 0, ended: 0, frames_done: 0 };
    let mut url = format!("{renders}?limit=100");
    let mut seen = 0;
    loop {
        let page: Value = client.get(&url).send().await?.json().await?;
        for detail in page["data"].as_array().into_iter().flatten() {
            seen += 1;
            found.frames_done += detail["progress"]["frames_done"].as_u64().unwrap_or(0);
            match detail["status"].as_str() {
                Some("rendering") => found.rendering += 1,
                Some("queued") => found.queued += 1,
                _ => found.ended += 1,
            }
        }
        match page["next_token"].as_str() {
            Some(token) if seen < count => url = format!("{renders}?limit=100&token={token}"),
            _ => return Ok(found),
        }
    }
}

/// Response times of one measurement in milliseconds, and its duration.
pub(crate) struct Times {
    answers: Vec<f64>,
    failed: usize,
    seconds: f64,
}

impl Times {
    fn absorb(&mut self, other: Self) {
        self.answers.extend(other.answers);
        self.failed += other.failed;
        self.seconds += other.seconds;
    }

    pub(crate) fn measured(mut self) -> Measured {
        self.answers.sort_by(f64::total_cmp);
        let at = |part: f64| {
            let index = (self.answers.len() as f64 * part) as usize;
            self.answers.get(index.min(self.answers.len().saturating_sub(1))).copied().unwrap_or(f64::NAN)
        };
        Measured {
            requests: self.answers.len(),
            failed: self.failed,
            per_second: self.answers.len() as f64 / self.seconds,
            p50_ms: at(0.5),
            p99_ms: at(0.99),
            max_ms: at(1.0),
        }
    }
}

/// Sends `make`'s requests for `time`, `connections` at once, each when the one before is answered and `pause` is over.
pub(crate) async fn load(
    client: &Client,
    connections: usize,
    time: Duration,
    pause: Duration,
    make: impl Fn(&Client, usize) -> reqwest::RequestBuilder,
) -> Times {
    let begun = Instant::now();
    let next = std::cell::Cell::new(0);
    let one = || async {
        let (mut answers, mut failed) = (Vec::new(), 0);
        while begun.elapsed() < time {
            let request = make(client, next.replace(next.get() + 1));
            let sent = Instant::now();
            let answer = match request.send().await {
                Ok(answer) if answer.status().is_success() => answer.bytes().await.is_ok(),
                _ => false,
            };
            if answer {
                answers.push(sent.elapsed().as_secs_f64() * 1000.0);
            } else {
                failed += 1;
            }
            if !pause.is_zero() {
                tokio::time::sleep(pause).await;
            }
        }
        (answers, failed)
    };
    let all = futures::future::join_all((0..connections).map(|_| one())).await;
    let seconds = begun.elapsed().as_secs_f64();
    let mut times = Times { answers: Vec::new(), failed: 0, seconds };
    for (answers, failed) in all {
        times.answers.extend(answers);
        times.failed += failed;
    }
    times
}
