//! The roles of the farm as processes.

use std::collections::HashSet;
use std::io::Write;
use std::num::NonZeroU32;
use std::path::Path;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::{Config, Env};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::{FetchConfig, Fetcher};
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::{Coordinator, CoordinatorConfig};
use hyperfarm_proto::id::Pool;
use hyperfarm_stitcher::{Stitcher, StitcherConfig};
use hyperfarm_worker::chrome::ChromeConfig;
use hyperfarm_worker::encoders::EncoderMode;
use hyperfarm_worker::remote::RemoteConfig;
use hyperfarm_worker::{Worker, WorkerConfig};
use tokio::net::TcpListener;

use crate::args::{ListenArgs, StitcherArgs, UpArgs, WorkerArgs};
use crate::exit::CliError;
use crate::machine;
use crate::probes::Probes;

/// One line on standard output, which is for results only.
pub fn print_line(text: &str) {
    let mut out = std::io::stdout().lock();
    // A reader that has gone away has seen enough.
    let _ = writeln!(out, "{text}");
    let _ = out.flush();
}

/// A worker and a stitcher in this process.
pub struct Node {
    worker: Worker,
    stitcher: Stitcher,
}

impl Node {
    /// Starts both over `backplane`, with everything they write below `work_dir`. Thumbnails are for those who can fetch them.
    pub async fn embedded(
        backplane: &Backplane,
        slots: NonZeroU32,
        work_dir: &Path,
        thumbnails: bool,
        drain: &Drain,
    ) -> Result<Self, CliError> {
        let worker = start_worker(backplane, slots, Pool::default(), work_dir, drain).await?;
        let stitcher = start_stitcher(backplane, NonZeroU32::MIN, work_dir, thumbnails, drain)?;
        Ok(Self { worker, stitcher })
    }

    /// Waits until both have stopped.
    pub async fn join(self) {
        self.worker.join().await;
        self.stitcher.join().await;
    }
}

async fn start_worker(
    backplane: &Backplane,
    slots: NonZeroU32,
    pool: Pool,
    work_dir: &Path,
    drain: &Drain,
) -> Result<Worker, CliError> {
    let config = WorkerConfig {
        id: machine::node_id("worker"),
        pool,
        slots: slots.get(),
        chrome: ChromeConfig::from_env(&|name| std::env::var(name).ok())?,
        encoder: EncoderMode::from_env(&|name| std::env::var(name).ok())?,
        remote: RemoteConfig::from_env(&|name| std::env::var(name).ok())?,
        label: Env::new(&|name| std::env::var(name).ok()).text("HYPERFARM_CAPTURE_LABEL").unwrap_or_default(),
        work_dir: work_dir.to_owned(),
        runner: runner_config()?,
    };
    Ok(Worker::start(backplane.clone(), config, drain.clone()).await?)
}

fn start_stitcher(
    backplane: &Backplane,
    slots: NonZeroU32,
    work_dir: &Path,
    thumbnails: bool,
    drain: &Drain,
) -> Result<Stitcher, CliError> {
    let usual = StitcherConfig::new(machine::node_id("stitcher"), work_dir);
    let thumbnail_width = usual.thumbnail_width.filter(|_| thumbnails);
    let config = StitcherConfig { slots: slots.get(), thumbnail_width, runner: runner_config()?, ..usual };
    Ok(Stitcher::start(backplane.clone(), config, drain.clone()))
}

fn config() -> Result<Config, CliError> {
    Config::from_env().map_err(|error| CliError::user(error.to_string()))
}

/// The runner's numbers, with those that the environment says.
fn runner_config() -> Result<RunnerConfig, CliError> {
    let (usual, said) = (RunnerConfig::default(), config()?);
    Ok(RunnerConfig {
        grace: said.drain_grace.unwrap_or(usual.grace),
        quarantine_after: said.quarantine_after.unwrap_or(usual.quarantine_after),
        cool_down: said.quarantine_for.unwrap_or(usual.cool_down),
        ..usual
    })
}

async fn connect(config: &Config) -> Result<Backplane, CliError> {
    Backplane::connect(config).await.map_err(|error| CliError::system(error.to_string()))
}

async fn cluster() -> Result<(Config, Backplane), CliError> {
    let config = config()?;
    if config.cluster.is_none() {
        return Err(CliError::user(
            "a role of its own needs a cluster: set HYPERFARM_AMQP_URL, HYPERFARM_REDIS_URL and HYPERFARM_STORAGE_URL, or run \
             every role in one process with `hyperfarm up`",
        ));
    }
    let backplane = connect(&config).await?;
    Ok((config, backplane))
}

/// The drain of a process: the first signal starts it, the second ends the process.
fn drain() -> Result<Drain, CliError> {
    let drain = Drain::new();
    drain.on_signals(|| {}).map_err(|error| CliError::system(format!("signals cannot be caught: {error}")))?;
    Ok(drain)
}

/// `hyperfarm up`.
pub async fn up(args: UpArgs) -> Result<(), CliError> {
    let config = config()?;
    let probes = Probes::listen(args.listen.metrics_listen).await?;
    let backplane = connect(&config).await?;
    let drain = drain()?;
    let slots = args.slots.or(config.slots).unwrap_or_else(machine::default_slots);
    let node = Node::embedded(&backplane, slots, &std::env::temp_dir(), true, &drain).await?;
    let in_process = config.cluster.is_none();
    serve(&backplane, &args.listen, in_process, &drain, &probes).await?;
    node.join().await;
    Ok(())
}

/// `hyperfarm coordinator`.
pub async fn coordinator(args: ListenArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (_, backplane) = cluster().await?;
    let drain = drain()?;
    serve(&backplane, &args, false, &drain, &probes).await
}

/// `hyperfarm worker`.
pub async fn worker(args: WorkerArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (config, backplane) = cluster().await?;
    let drain = drain()?;
    let slots = args.slots.or(config.slots).unwrap_or_else(machine::default_slots);
    let pool = args.pool.unwrap_or(config.pool);
    let worker = start_worker(&backplane, slots, pool, &std::env::temp_dir(), &drain).await?;
    probes.serving(&backplane, &drain);
    worker.join().await;
    backplane.broker.close().await;
    Ok(())
}

/// `hyperfarm stitcher`.
pub async fn stitcher(args: StitcherArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (_, backplane) = cluster().await?;
    let drain = drain()?;
    let stitcher = start_stitcher(&backplane, args.slots, &std::env::temp_dir(), true, &drain)?;
    probes.serving(&backplane, &drain);
    stitcher.join().await;
    backplane.broker.close().await;
    Ok(())
}

/// Runs a coordinator and its API until the drain starts.
async fn serve(
    backplane: &Backplane,
    args: &ListenArgs,
    in_process: bool,
    drain: &Drain,
    probes: &Probes,
) -> Result<(), CliError> {
    let access = access(args, in_process, std::env::var("HYPERFARM_API_KEYS").ok().as_deref());
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        CliError::system(format!("{} cannot be listened on: {error}; choose another with --listen", args.listen))
    })?;
    let address = listener.local_addr().map_err(|error| CliError::system(error.to_string()))?;
    let coordinator = Coordinator::start(backplane.clone(), coordinator_config()?, drain.clone());
    let router = coordinator.router(api_config(access, args)?);
    probes.serving(backplane, drain);
    tracing::info!(%address, "the API listens");
    // Scripts that asked for port 0 read the port here.
    print_line(&format!("hyperfarm listens on http://{address}"));
    let serving = axum::serve(listener, router).with_graceful_shutdown(drain.started());
    serving.await.map_err(|error| CliError::system(format!("the API ended: {error}")))?;
    coordinator.join().await;
    Ok(())
}

/// What the environment says about the coordinator's loop.
///
/// | variable | meaning | default |
/// | --- | --- | --- |
/// | `HYPERFARM_REPLAN_AFTER` | how long a render waits for a worker of its capture class before it is planned anew | `60s` |
fn coordinator_config() -> Result<CoordinatorConfig, CliError> {
    let lookup = |name: &str| std::env::var(name).ok();
    let replan_after = Env::new(&lookup).duration("HYPERFARM_REPLAN_AFTER");
    let replan_after = replan_after.map_err(|error| CliError::user(error.to_string()))?;
    let usual = CoordinatorConfig::default();
    Ok(CoordinatorConfig { replan_after: replan_after.unwrap_or(usual.replan_after), ..usual })
}

/// What the environment says about the API.
///
/// | variable | meaning | default |
/// | --- | --- | --- |
/// | `HYPERFARM_CONCURRENT_RENDERS` | renders in flight of a key that has no number of its own | 10 |
/// | `HYPERFARM_PRICES` | US dollars a minute: `1080p30=0.10,1080p60=0.20,4k30=0.15,4k60=0.30` | those |
/// | `HYPERFARM_CALLBACK_SECRET` | signs what goes to a `callback_url` | not signed |
/// | `HYPERFARM_HTTP_CALLBACKS` | `on`: receivers may be plain http | `off` |
fn api_config(access: Access, args: &ListenArgs) -> Result<ApiConfig, CliError> {
    let lookup = |name: &str| std::env::var(name).ok();
    let env = Env::new(&lookup);
    let bad = |error: &dyn std::fmt::Display| CliError::user(error.to_string());
    let fetch = FetchConfig::from_env(&lookup).map_err(|error| bad(&error))?;
    let default = ApiConfig::default();
    Ok(ApiConfig {
        access,
        public_url: args.public_url.clone(),
        fetcher: Some(Fetcher::new(fetch).map_err(|error| CliError::system(error.to_string()))?),
        callback_secret: env.text("HYPERFARM_CALLBACK_SECRET"),
        allow_http_callbacks: env.text("HYPERFARM_HTTP_CALLBACKS").as_deref() == Some("on"),
        concurrent_renders: env
            .parsed::<u32>("HYPERFARM_CONCURRENT_RENDERS")
            .map_err(|error| bad(&error))?
            .unwrap_or(default.concurrent_renders),
        prices: env.parsed("HYPERFARM_PRICES").map_err(|error| bad(&error))?.unwrap_or_default(),
        ..default
    })
}

/// Who may call: on loopback and in one process everybody, elsewhere who has a key of the environment or a stored one.
fn access(args: &ListenArgs, in_process: bool, keys: Option<&str>) -> Access {
    let keys: HashSet<&str> =
        keys.unwrap_or_default().split(',').map(str::trim).filter(|key| !key.is_empty()).collect();
    if keys.is_empty() && in_process && args.listen.ip().is_loopback() {
        return Access::Open;
    }
    if keys.is_empty() {
        tracing::info!("the API takes stored keys only: make one with `hyperfarm keys create NAME`");
    }
    Access::keys(keys)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listen(address: &str) -> ListenArgs {
        ListenArgs { listen: address.parse().unwrap(), public_url: None, metrics_listen: None }
    }

    #[test]
    fn only_loopback_in_one_process_is_open() {
        let of = |address, in_process, keys| access(&listen(address), in_process, keys);
        assert!(matches!(of("127.0.0.1:0", true, None), Access::Open));
        for (address, in_process, given, count) in [
            ("0.0.0.0:0", true, None, 0),
            ("127.0.0.1:0", false, Some(" ,"), 0),
            ("127.0.0.1:0", true, Some("hf_a"), 1),
            ("0.0.0.0:0", false, Some("hf_a,hf_b"), 2),
        ] {
            assert!(matches!(of(address, in_process, given), Access::Keys(keys) if keys.len() == count));
        }
    }
}
