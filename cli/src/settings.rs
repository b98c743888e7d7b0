//! Everything that an operator can set by environment variables: read once, when a role starts.
//!
//! The sections are the crates' own; `settings_table` describes every variable for people, and `docs/settings.md` is made
//! of it.

use std::fmt;

use hyperfarm_backplane::config::{self, Config, ConfigError, Env};
use hyperfarm_backplane::fetch::FetchConfig;
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::LanguageModelConfig;
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_coordinator::retention::Retention;
use hyperfarm_coordinator::scheduler::SchedulePolicy;
use hyperfarm_coordinator::usage::Prices;
use hyperfarm_coordinator::webhooks::seal::SecretKeys;
use hyperfarm_coordinator::{LipsyncConfig, RecognitionConfig, TranslationConfig};
use hyperfarm_speech::SpeechConfig;
use hyperfarm_worker::settings::WorkerSettings;

use crate::exit::CliError;

/// The configuration of every role.
#[derive(Debug)]
pub(crate) struct Settings {
    /// Servers, storage, pool and slots.
    pub(crate) farm: Config,
    /// Times of workers and stitchers.
    pub(crate) runner: RunnerConfig,
    /// The fetcher.
    pub(crate) fetch: FetchConfig,
    /// Chrome, encoders and remote files.
    pub(crate) worker: WorkerSettings,
    /// The coordinator's loop.
    pub(crate) coordinator: CoordinatorConfig,
    /// The HTTP API.
    pub(crate) api: ApiSettings,
    /// Speech engines.
    pub(crate) speech: SpeechConfig,
    /// The language model of the video agent.
    pub(crate) language_model: Option<LanguageModelConfig>,
    /// The engine that moves the mouths of videos.
    pub(crate) lipsync: Option<LipsyncConfig>,
    pub(crate) recognition: Option<RecognitionConfig>,
    pub(crate) translation: Option<TranslationConfig>,
}

/// The HTTP API's section.
pub(crate) struct ApiSettings {
    /// Keys with every right, beside the stored ones (`HYPERFARM_API_KEYS`).
    pub(crate) keys: Vec<String>,
    /// Renders in flight of a key that has no number of its own (`HYPERFARM_CONCURRENT_RENDERS`).
    pub(crate) concurrent_renders: u32,
    /// US dollars for a minute of output (`HYPERFARM_PRICES`).
    pub(crate) prices: Prices,
    /// How long ended renders and their segments are kept (`HYPERFARM_KEEP_RENDERS`, `HYPERFARM_KEEP_SEGMENTS`).
    pub(crate) retention: Retention,
    /// Secret that signs requests to a `callback_url` (`HYPERFARM_CALLBACK_SECRET`).
    pub(crate) callback_secret: Option<String>,
    /// Keys that seal secrets of webhook endpoints in storage (`HYPERFARM_SECRET_KEYS`).
    pub(crate) secret_keys: SecretKeys,
    /// Whether receivers of callbacks and webhooks may be plain http (`HYPERFARM_HTTP_CALLBACKS`).
    pub(crate) http_callbacks: bool,
}

impl fmt::Debug for ApiSettings {
    /// Without keys and secret.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ApiSettings")
            .field("keys", &self.keys.len())
            .field("concurrent_renders", &self.concurrent_renders)
            .field("retention", &self.retention)
            .field("prices", &self.prices)
            .field("has_callback_secret", &self.callback_secret.is_some())
            .field("secret_keys", &self.secret_keys)
            .field("http_callbacks", &self.http_callbacks)
            .finish()
    }
}

/// The section of logs and traces.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct LogSettings {
    /// What is logged (`HYPERFARM_LOG`).
    pub(crate) filter: Option<String>,
    /// Whether a line is a JSON object (`HYPERFARM_LOG_FORMAT`).
    pub(crate) json: bool,
    /// URL of an OpenTelemetry collector (`HYPERFARM_OTLP_ENDPOINT`, else `OTEL_EXPORTER_OTLP_ENDPOINT`).
    pub(crate) collector: Option<String>,
    /// Name of the service in traces (`OTEL_SERVICE_NAME`).
    pub(crate) service: Option<String>,
}

impl Settings {
    /// The settings of this process.
    ///
    /// # Errors
    ///
    /// Every variable that cannot be used.
    pub(crate) fn from_env() -> Result<Self, CliError> {
        read(Self::read)
    }

    /// Reads every section.
    pub(crate) fn read(env: &Env<'_>) -> Self {
        let coordinator = CoordinatorConfig::default();
        Self {
            farm: Config::read(env),
            runner: RunnerConfig::read(env),
            fetch: FetchConfig::read(env),
            worker: WorkerSettings::read(env),
            coordinator: CoordinatorConfig {
                replan_after: env.duration("HYPERFARM_REPLAN_AFTER").unwrap_or(coordinator.replan_after),
                heals_seams: env
                    .choice("HYPERFARM_SEAMS", &[("heal", true), ("warn", false)])
                    .unwrap_or(coordinator.heals_seams),
                schedule: SchedulePolicy::read(env),
                ..coordinator
            },
            api: ApiSettings::read(env),
            speech: SpeechConfig::read(env),
            language_model: LanguageModelConfig::read(env),
            lipsync: LipsyncConfig::read(env),
            recognition: RecognitionConfig::read(env),
            translation: TranslationConfig::read(env),
        }
    }
}

impl ApiSettings {
    fn read(env: &Env<'_>) -> Self {
        let keys = env.text("HYPERFARM_API_KEYS").unwrap_or_default();
        let default = ApiConfig::default();
        Self {
            keys: keys.split(',').map(str::trim).filter(|key| !key.is_empty()).map(str::to_owned).collect(),
            concurrent_renders: env.parsed("HYPERFARM_CONCURRENT_RENDERS").unwrap_or(default.concurrent_renders),
            retention: Retention {
                renders: env.parsed("HYPERFARM_KEEP_RENDERS").unwrap_or(default.retention.renders),
                segments: env.parsed("HYPERFARM_KEEP_SEGMENTS").unwrap_or(default.retention.segments),
            },
            prices: env.parsed("HYPERFARM_PRICES").unwrap_or(default.prices),
            callback_secret: env.text("HYPERFARM_CALLBACK_SECRET"),
            secret_keys: env.parsed("HYPERFARM_SECRET_KEYS").unwrap_or_default(),
            http_callbacks: env.switch("HYPERFARM_HTTP_CALLBACKS", default.allow_http_callbacks),
        }
    }
}

impl LogSettings {
    /// Reads the section.
    pub(crate) fn read(env: &Env<'_>) -> Self {
        let json = env.choice("HYPERFARM_LOG_FORMAT", &[("text", false), ("json", true)]);
        Self {
            filter: env.text("HYPERFARM_LOG"),
            json: json.unwrap_or(false),
            collector: env.text("HYPERFARM_OTLP_ENDPOINT").or_else(|| env.text("OTEL_EXPORTER_OTLP_ENDPOINT")),
            service: env.text("OTEL_SERVICE_NAME"),
        }
    }
}

/// Reads sections from the environment of this process.
///
/// # Errors
///
/// Every variable of these sections that cannot be used.
pub(crate) fn read<T>(section: impl FnOnce(&Env<'_>) -> T) -> Result<T, CliError> {
    config::read(&variable, section).map_err(|errors| CliError::usage(errors.to_string()))
}

/// The settings of this process with the default for every variable that cannot be used, and these variables.
pub(crate) fn with_errors() -> (Settings, Vec<ConfigError>) {
    let env = Env::new(&variable);
    let settings = Settings::read(&env);
    (settings, env.into_errors())
}

fn variable(name: &str) -> Option<String> {
    std::env::var(name).ok()
}
