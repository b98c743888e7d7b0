//! The commands that run the farm's roles: `up`, `coordinator`, `worker`, `stitcher`.

use std::collections::HashSet;
use std::num::NonZeroU32;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::config::{Config, STORAGE_URL, WORKER_TOKEN};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::Fetcher;
use hyperfarm_backplane::objects::COORDINATOR_SCHEME;
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_coordinator::api::server::{self, ConnectionLimits};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::KeyStore;
use hyperfarm_coordinator::{
    Coordinator, HttpLipsync, HttpRecognition, HttpTranslator, LanguageModel, LipsyncEngine, OpenAiChat,
    SpeechRecognition, Translator,
};
use hyperfarm_media::{Decoders, MediaLimits};
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::id::Pool;
use hyperfarm_speech::Catalogue;
use hyperfarm_stitcher::{Stitcher, StitcherConfig};
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings};
use hyperfarm_worker::remote::RemoteConfig;
use hyperfarm_worker::runtimes::RuntimeConfig;
use hyperfarm_worker::settings::WorkerSettings;
use hyperfarm_worker::{CompileLimits, Compilers, ExpectedPage, RUNTIME_VERSION, Worker, WorkerConfig, WorkerError};
use tokio::net::TcpListener;

use crate::args::{ListenArgs, StitcherArgs, UpArgs, WorkerArgs};
use crate::data_lock::DataLock;
use crate::exit::CliError;
use crate::machine;
use crate::probes::Probes;
use crate::runtime;
use crate::settings::{ApiSettings, Settings};
use crate::stdout::print_line;

/// Whose renders a node makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Whose {
    /// Those of a farm's clients: projects are bounded in size, and each video has a thumbnail.
    Farm,
    /// Those of the person at this machine.
    Person,
}

/// A worker and a stitcher in this process.
pub(crate) struct Node {
    worker: Worker,
    stitcher: Stitcher,
}

impl Node {
    /// Starts both over `backplane` for the renders of one person, the first of which has the page `first_page`, with all
    /// their files below `work_dir`.
    ///
    /// # Errors
    ///
    /// A setting that cannot be used, or a Chrome that does not start.
    pub(crate) async fn embedded(
        backplane: &Backplane,
        slots: NonZeroU32,
        first_page: Option<ExpectedPage>,
        work_dir: &Path,
        drain: &Drain,
    ) -> Result<Self, CliError> {
        let mut settings = Settings::from_env()?;
        let mut config = worker_config(&settings, slots, Pool::default(), work_dir)?;
        config.first_page = first_page;
        config.runtimes.store = Some(runtime::store_in(&settings.farm.data_dir)?);
        config.archive = ArchiveLimits::LOCAL;
        // Nobody waits for what an interrupted render has begun.
        config.runner.grace = Duration::ZERO;
        settings.runner.grace = Duration::ZERO;
        Self::start(&settings, backplane, config, Whose::Person, drain).await
    }

    async fn start(
        settings: &Settings,
        backplane: &Backplane,
        config: WorkerConfig,
        whose: Whose,
        drain: &Drain,
    ) -> Result<Self, CliError> {
        let work_dir = config.work_dir.clone();
        let worker = Worker::start(backplane.clone(), config, drain.clone()).await?;
        let thumbnails = whose == Whose::Farm;
        let stitcher = start_stitcher(settings, backplane, NonZeroU32::MIN, &work_dir, thumbnails, drain);
        Ok(Self { worker, stitcher })
    }

    /// As [`Worker::close_idle_browsers`].
    pub(crate) fn close_idle_browsers(&self) {
        self.worker.close_idle_browsers();
    }

    /// Waits until both have stopped.
    pub(crate) async fn join(self) {
        self.worker.join().await;
        self.stitcher.join().await;
    }
}

/// This program, also where its file was replaced since it was started.
const OWN_PROGRAM: &str = "/proc/self/exe";

/// Compiles projects in processes of this program.
pub(crate) fn compilers(limits: CompileLimits) -> Compilers {
    Compilers::isolated(OWN_PROGRAM, limits)
}

/// Reads media of projects in child processes.
pub(crate) fn decoders(limits: MediaLimits) -> Decoders {
    Decoders::isolated(OWN_PROGRAM, limits)
}

/// The Chrome of the settings, whose browsers have a network of their own where the kernel gives them one.
///
/// # Errors
///
/// Those of [`ChromeConfig::find`].
pub(crate) fn chrome(settings: &ChromeSettings) -> Result<ChromeConfig, WorkerError> {
    Ok(ChromeConfig::find(settings)?.with_own_network(OWN_PROGRAM))
}

/// The worker of a farm by its settings.
///
/// # Errors
///
/// A setting that cannot be used, or no Chrome.
pub(crate) fn worker_config(
    settings: &Settings,
    slots: NonZeroU32,
    pool: Pool,
    work_dir: &Path,
) -> Result<WorkerConfig, CliError> {
    let WorkerSettings { chrome, encoder, label, media, compile, remote, missing_runtime } = settings.worker.clone();
    Ok(WorkerConfig {
        id: machine::node_id("worker"),
        pool,
        slots: slots.get(),
        chrome: self::chrome(&chrome)?,
        first_page: None,
        encoder,
        decoders: decoders(media),
        compilers: compilers(compile),
        remote: RemoteConfig::open(remote, settings.fetch.clone())?,
        runtimes: RuntimeConfig { store: None, missing: missing_runtime },
        archive: ArchiveLimits::DEFAULT,
        label,
        work_dir: work_dir.to_owned(),
        runner: settings.runner.clone(),
    })
}

fn start_stitcher(
    settings: &Settings,
    backplane: &Backplane,
    slots: NonZeroU32,
    work_dir: &Path,
    thumbnails: bool,
    drain: &Drain,
) -> Stitcher {
    let default = StitcherConfig::new(machine::node_id("stitcher"), work_dir);
    let thumbnail_width = default.thumbnail_width.filter(|_| thumbnails);
    let config = StitcherConfig { slots: slots.get(), thumbnail_width, runner: settings.runner.clone(), ..default };
    Stitcher::start(backplane.clone(), config, drain.clone())
}

async fn connect(config: &Config) -> Result<Backplane, CliError> {
    Backplane::connect(config).await.map_err(CliError::system)
}

/// The settings of a role that runs alone, and its connections to the cluster.
async fn cluster() -> Result<(Settings, Backplane), CliError> {
    let settings = Settings::from_env()?;
    if settings.farm.cluster.is_none() {
        return Err(CliError::usage(
            "a role of its own needs a cluster: set HYPERFARM_AMQP_URL, HYPERFARM_REDIS_URL and HYPERFARM_STORAGE_URL, or run \
             every role in one process with `hyperfarm up`",
        ));
    }
    let backplane = connect(&settings.farm).await?;
    Ok((settings, backplane))
}

/// Whether the person was told of an interruption.
static INTERRUPTION_TOLD: AtomicBool = AtomicBool::new(false);

/// The drain of a command. The first signal starts it and says what is waited for, the second ends the process.
pub(crate) fn drain(waits_for: &'static str) -> Result<Drain, CliError> {
    let drain = caught()?;
    let started = drain.started();
    tokio::spawn(async move {
        started.await;
        // Each row of a batch has a drain.
        if !INTERRUPTION_TOLD.swap(true, Ordering::Relaxed) {
            eprintln!("hyperfarm: interrupted; waiting for {waits_for}; a second Ctrl-C ends at once");
        }
    });
    Ok(drain)
}

/// The drain of a role, which logs what is waited for.
fn role_drain(runner: &RunnerConfig) -> Result<Drain, CliError> {
    let drain = caught()?;
    let (started, grace) = (drain.started(), runner.grace.as_secs());
    tokio::spawn(async move {
        started.await;
        tracing::info!(
            "waiting for tasks that run here, for {grace} s at most (HYPERFARM_DRAIN_GRACE); what is not done by then goes on \
             at the next start or elsewhere"
        );
    });
    Ok(drain)
}

/// A drain that the first signal starts, while the second ends the process.
fn caught() -> Result<Drain, CliError> {
    let drain = Drain::new();
    drain.on_signals(|| {}).map_err(|error| CliError::system(format!("signals cannot be caught: {error}")))?;
    Ok(drain)
}

/// Refuses a storage URL that names a coordinator, for a role that needs the store itself.
fn need_store(config: &Config) -> Result<(), CliError> {
    if config.storage_url.as_ref().is_some_and(|url| url.starts_with(COORDINATOR_SCHEME)) {
        return Err(CliError::usage(format!(
            "{STORAGE_URL} names a coordinator, which grants storage to workers and stitchers only: give a coordinator the URL \
             of the store itself"
        )));
    }
    Ok(())
}

/// Logs whether a worker or stitcher holds a credential of the storage.
fn log_credential(settings: &Settings, backplane: &Backplane) {
    if backplane.objects.has_credential() {
        tracing::info!(
            "this process holds the credential of the whole object storage; {STORAGE_URL}=farm+https://COORDINATOR and {WORKER_TOKEN} \
             give it its tasks' objects only"
        );
    } else {
        let url = settings.farm.storage_url.as_deref().unwrap_or_default();
        let coordinator = url.strip_prefix(COORDINATOR_SCHEME).unwrap_or(url);
        tracing::info!(
            coordinator,
            "this process holds no storage credential, the coordinator grants its tasks' objects"
        );
    }
}

/// `hyperfarm up`: every role in one process.
///
/// # Errors
///
/// A setting that cannot be used, a server that cannot be reached, or an address that cannot be listened on.
pub(crate) async fn up(args: UpArgs) -> Result<(), CliError> {
    let settings = Settings::from_env()?;
    need_store(&settings.farm)?;
    let _lock = settings.farm.cluster.is_none().then(|| DataLock::take(&settings.farm)).transpose()?;
    let probes = Probes::listen(args.listen.metrics_listen).await?;
    let backplane = connect(&settings.farm).await?;
    let drain = role_drain(&settings.runner)?;
    let slots = args.slots.or(settings.farm.slots).unwrap_or_else(machine::default_slots);
    let config = worker_config(&settings, slots, Pool::default(), &std::env::temp_dir())?;
    let node = Node::start(&settings, &backplane, config, Whose::Farm, &drain).await?;
    node.worker.measure_confinement();
    serve(settings, &backplane, &args.listen, &drain, &probes).await?;
    node.join().await;
    Ok(())
}

/// `hyperfarm coordinator`.
///
/// # Errors
///
/// As of [`up`].
pub(crate) async fn coordinator(args: ListenArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (settings, backplane) = cluster().await?;
    need_store(&settings.farm)?;
    let drain = role_drain(&settings.runner)?;
    serve(settings, &backplane, &args, &drain, &probes).await
}

/// `hyperfarm worker`.
///
/// # Errors
///
/// As of [`up`], or a Chrome that does not start.
pub(crate) async fn worker(args: WorkerArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (settings, backplane) = cluster().await?;
    let drain = role_drain(&settings.runner)?;
    log_credential(&settings, &backplane);
    let slots = args.slots.or(settings.farm.slots).unwrap_or_else(machine::default_slots);
    let pool = args.pool.unwrap_or_else(|| settings.farm.pool.clone());
    let config = worker_config(&settings, slots, pool, &std::env::temp_dir())?;
    let worker = Worker::start(backplane.clone(), config, drain.clone()).await?;
    worker.measure_confinement();
    probes.serving(&backplane, &drain);
    worker.join().await;
    backplane.broker.close().await;
    Ok(())
}

/// `hyperfarm stitcher`.
///
/// # Errors
///
/// As of [`up`].
pub(crate) async fn stitcher(args: StitcherArgs) -> Result<(), CliError> {
    let probes = Probes::listen(args.metrics_listen).await?;
    let (settings, backplane) = cluster().await?;
    let drain = role_drain(&settings.runner)?;
    log_credential(&settings, &backplane);
    let stitcher = start_stitcher(&settings, &backplane, args.slots, &std::env::temp_dir(), true, &drain);
    probes.serving(&backplane, &drain);
    stitcher.join().await;
    backplane.broker.close().await;
    Ok(())
}

/// Runs a coordinator and its API until the drain starts.
async fn serve(
    settings: Settings,
    backplane: &Backplane,
    args: &ListenArgs,
    drain: &Drain,
    probes: &Probes,
) -> Result<(), CliError> {
    let in_process = settings.farm.cluster.is_none();
    let has_stored =
        in_process && !KeyStore::new(backplane.objects.clone()).list().await.map_err(CliError::system)?.is_empty();
    let access = access(args, in_process, &settings.api.keys, has_stored);
    let fetcher = Fetcher::new(settings.fetch).map_err(CliError::system)?;
    let listener = TcpListener::bind(args.listen).await.map_err(|error| {
        CliError::system(format!("{} cannot be listened on: {error}; choose another with --listen", args.listen))
    })?;
    let address = listener.local_addr().map_err(CliError::system)?;
    let speech = Catalogue::new(&settings.speech).map_err(CliError::system)?;
    let language_model = settings.language_model.map(OpenAiChat::new).transpose().map_err(CliError::system)?;
    let language_model = language_model.map(|model| Arc::new(model) as Arc<dyn LanguageModel>);
    let lipsync = settings.lipsync.map(HttpLipsync::new).transpose().map_err(CliError::system)?;
    let lipsync = lipsync.map(|engine| Arc::new(engine) as Arc<dyn LipsyncEngine>);
    let recognition = settings.recognition.map(HttpRecognition::new).transpose().map_err(CliError::system)?;
    let recognition = recognition.map(|engine| Arc::new(engine) as Arc<dyn SpeechRecognition>);
    let translator = settings.translation.map(HttpTranslator::new).transpose().map_err(CliError::system)?;
    let translator = translator.map(|engine| Arc::new(engine) as Arc<dyn Translator>);
    let decoders = decoders(settings.worker.media);
    let coordinator = Coordinator::start(backplane.clone(), settings.coordinator, drain.clone());
    let worker_tokens = settings.farm.worker_tokens;
    let api = ApiConfig { worker_tokens, ..api_config(settings.api, access, args, fetcher) };
    let speech = Arc::new(speech);
    let router =
        coordinator.router(ApiConfig { speech, language_model, lipsync, recognition, translator, decoders, ..api });
    probes.serving(backplane, drain);
    tracing::info!(%address, "the API listens");
    // Scripts that listen on port 0 read the port here.
    print_line(&format!("hyperfarm listens on http://{address}"));
    server::serve(listener, router, ConnectionLimits::default(), drain.clone()).await;
    coordinator.join().await;
    Ok(())
}

fn api_config(settings: ApiSettings, access: Access, args: &ListenArgs, fetcher: Fetcher) -> ApiConfig {
    ApiConfig {
        access,
        public_url: args.public_url.clone(),
        fetcher: Some(fetcher),
        callback_secret: settings.callback_secret,
        secret_keys: settings.secret_keys,
        allow_http_callbacks: settings.http_callbacks,
        concurrent_renders: settings.concurrent_renders,
        retention: settings.retention,
        built_in_runtime: RUNTIME_VERSION.to_owned(),
        prices: settings.prices,
        ..ApiConfig::default()
    }
}

/// Who may use the API: everyone on loopback in one process, as long as no key was ever made for it; else whoever has a key
/// of the settings or a stored one.
fn access(args: &ListenArgs, in_process: bool, keys: &[String], has_stored: bool) -> Access {
    let keys: HashSet<&str> = keys.iter().map(String::as_str).collect();
    if keys.is_empty() && !has_stored && in_process && args.listen.ip().is_loopback() {
        return Access::Open;
    }
    if keys.is_empty() {
        tracing::info!("the API accepts stored keys only: make one with `hyperfarm keys create NAME`");
    }
    Access::keys(keys)
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::config::Env;

    use super::*;

    fn listen(address: &str) -> ListenArgs {
        ListenArgs { listen: address.parse().unwrap(), public_url: None, metrics_listen: None }
    }

    #[test]
    fn only_loopback_in_one_process_is_open() {
        let of = |address, in_process, keys: Option<&str>| {
            let variables = |name: &str| keys.filter(|_| name == "HYPERFARM_API_KEYS").map(str::to_owned);
            let settings = Settings::read(&Env::new(&variables));
            access(&listen(address), in_process, &settings.api.keys, false)
        };
        let with_stored_keys = access(&listen("127.0.0.1:0"), true, &[], true);
        assert!(matches!(with_stored_keys, Access::Keys(keys) if keys.is_empty()), "a revoked key is stored too");
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
