//! Environment to typed configuration.
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `HYPERFARM_AMQP_URL` | RabbitMQ: `amqp://user:password@host:5672/%2f` or `amqps://…` | in process |
//! | `HYPERFARM_REDIS_URL` | Redis: `redis://:password@host:6379/0` or `rediss://…` | in process |
//! | `HYPERFARM_STORAGE_URL` | object storage: `s3://…`, `gs://…`, `az://…`, `file://…` | the data folder |
//! | `HYPERFARM_DATA_DIR` | the local storage folder | `$XDG_DATA_HOME/hyperfarm`, `~/.local/share/hyperfarm`; `/var/lib/hyperfarm` for root |
//! | `HYPERFARM_NAMESPACE` | first part of queue names and Redis keys | `hyperfarm` |
//! | `HYPERFARM_POOL` | the pool a worker serves | `cpu` |
//! | `HYPERFARM_SLOTS` | tasks a worker does at once | as many as cores and memory allow |
//! | `HYPERFARM_DRAIN_GRACE` | how long a worker or stitcher that is told to stop may go on with what it has | `60s` |
//! | `HYPERFARM_QUARANTINE_AFTER` | failures in a row after which a worker or stitcher puts itself aside, if another is there; `0` is never | `3` |
//! | `HYPERFARM_QUARANTINE_FOR` | how long it then takes nothing | `5m` |
//!
//! RabbitMQ, Redis and storage are given together: they make a cluster. Storage alone is fine: one machine that keeps its
//! videos in a bucket.
//!
//! No error carries a value that may be a secret.

use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyperfarm_proto::id::Pool;

use crate::redact::redact;

/// RabbitMQ.
pub const AMQP_URL: &str = "HYPERFARM_AMQP_URL";
/// Redis.
pub const REDIS_URL: &str = "HYPERFARM_REDIS_URL";
/// Object storage.
pub const STORAGE_URL: &str = "HYPERFARM_STORAGE_URL";
/// Local storage folder.
pub const DATA_DIR: &str = "HYPERFARM_DATA_DIR";
/// First part of queue names and Redis keys.
pub const NAMESPACE: &str = "HYPERFARM_NAMESPACE";
/// Pool of a worker.
pub const POOL: &str = "HYPERFARM_POOL";
/// Slots of a worker.
pub const SLOTS: &str = "HYPERFARM_SLOTS";
/// Grace of a drain.
pub const DRAIN_GRACE: &str = "HYPERFARM_DRAIN_GRACE";
/// Failures in a row after which a node puts itself aside.
pub const QUARANTINE_AFTER: &str = "HYPERFARM_QUARANTINE_AFTER";
/// How long it then rests.
pub const QUARANTINE_FOR: &str = "HYPERFARM_QUARANTINE_FOR";

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// Its value is not of its type.
    #[error("{name}: {reason}")]
    Invalid {
        /// The variable.
        name: &'static str,
        /// What is wrong and what to give.
        reason: String,
    },
    /// Some of a cluster's variables are set and some are not.
    #[error("{given} is set, so {} must be set too: a cluster needs {AMQP_URL}, {REDIS_URL} and {STORAGE_URL}", .missing.join(" and "))]
    Partial {
        /// One that is set.
        given: &'static str,
        /// Those that are not.
        missing: Vec<&'static str>,
    },
    /// No folder can be derived.
    #[error("{DATA_DIR}: there is no HOME to derive a folder from; set {DATA_DIR}")]
    NoDataDir,
}

/// Typed look-ups in an environment. An empty value counts as unset, as in most charts and compose files.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
}

impl<'a> Env<'a> {
    /// An environment behind a look-up.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup }
    }

    /// The text of a variable.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A variable of a type that says itself what is wrong with a text.
    pub fn parsed<T>(&self, name: &'static str) -> Result<Option<T>, ConfigError>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        let parse = |text: String| text.parse().map_err(|error: T::Err| invalid(name, error));
        self.text(name).map(parse).transpose()
    }

    /// A duration such as `90s`, `15m` or `1h30m`.
    pub fn duration(&self, name: &'static str) -> Result<Option<Duration>, ConfigError> {
        self.text(name).map(|text| parse_duration(&text).map_err(|error| invalid(name, error))).transpose()
    }
}

fn invalid(name: &'static str, reason: impl fmt::Display) -> ConfigError {
    ConfigError::Invalid { name, reason: reason.to_string() }
}

/// Where a cluster's servers are.
#[derive(Clone, PartialEq, Eq)]
pub struct ClusterConfig {
    /// RabbitMQ.
    pub amqp_url: String,
    /// Redis.
    pub redis_url: String,
}

impl fmt::Debug for ClusterConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClusterConfig")
            .field("amqp_url", &redact(&self.amqp_url))
            .field("redis_url", &redact(&self.redis_url))
            .finish()
    }
}

/// What every role is told by its environment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// RabbitMQ and Redis; in process if there are none. With them there is always a `storage_url`.
    pub cluster: Option<ClusterConfig>,
    /// Object storage; the data folder if there is none.
    pub storage_url: Option<String>,
    /// The local storage folder.
    pub data_dir: PathBuf,
    /// First part of queue names and Redis keys.
    pub namespace: String,
    /// The pool a worker serves.
    pub pool: Pool,
    /// Tasks a worker does at once; decided from the machine if not given.
    pub slots: Option<NonZeroU32>,
    /// How long a worker or stitcher that drains may go on with what it has; the runner's default if not given.
    pub drain_grace: Option<Duration>,
    /// Failures in a row after which a worker or stitcher puts itself aside, 0 for never; the runner's default if not given.
    pub quarantine_after: Option<u32>,
    /// How long it then takes nothing; the runner's default if not given.
    pub quarantine_for: Option<Duration>,
}

impl Config {
    /// From the environment of the process.
    pub fn from_env() -> Result<Self, ConfigError> {
        Self::from_lookup(&|name| std::env::var(name).ok())
    }

    /// From any look-up of variables.
    pub fn from_lookup(lookup: &dyn Fn(&str) -> Option<String>) -> Result<Self, ConfigError> {
        let env = Env::new(lookup);
        let storage_url = url(&env, STORAGE_URL, &["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "file"])?;
        Ok(Self {
            cluster: cluster(&env, storage_url.is_some())?,
            storage_url,
            data_dir: data_dir(&env, is_root())?,
            namespace: namespace(&env)?,
            pool: env.parsed(POOL)?.unwrap_or_default(),
            slots: env.parsed::<NonZeroU32>(SLOTS).map_err(|_| invalid(SLOTS, "give a whole number of 1 or more"))?,
            drain_grace: env.duration(DRAIN_GRACE)?,
            quarantine_after: env
                .parsed(QUARANTINE_AFTER)
                .map_err(|_| invalid(QUARANTINE_AFTER, "give a whole number; 0 is never"))?,
            quarantine_for: env.duration(QUARANTINE_FOR)?,
        })
    }
}

fn cluster(env: &Env<'_>, has_storage: bool) -> Result<Option<ClusterConfig>, ConfigError> {
    let amqp = url(env, AMQP_URL, &["amqp", "amqps"])?;
    let redis = url(env, REDIS_URL, &["redis", "rediss", "unix", "redis+unix"])?;
    let given = match (&amqp, &redis) {
        (None, None) => return Ok(None),
        (Some(_), _) => AMQP_URL,
        (None, Some(_)) => REDIS_URL,
    };
    let mut missing = Vec::new();
    if amqp.is_none() {
        missing.push(AMQP_URL);
    }
    if redis.is_none() {
        missing.push(REDIS_URL);
    }
    if !has_storage {
        missing.push(STORAGE_URL);
    }
    match (amqp, redis) {
        (Some(amqp_url), Some(redis_url)) if missing.is_empty() => Ok(Some(ClusterConfig { amqp_url, redis_url })),
        _ => Err(ConfigError::Partial { given, missing }),
    }
}

fn url(env: &Env<'_>, name: &'static str, schemes: &[&str]) -> Result<Option<String>, ConfigError> {
    let Some(text) = env.text(name) else { return Ok(None) };
    // The text may hold a password, so no error repeats it.
    let parsed = url::Url::parse(&text).map_err(|error| invalid(name, format!("it is no URL ({error})")))?;
    if !schemes.contains(&parsed.scheme()) {
        return Err(invalid(name, format!("`{}://` is not one of {}", parsed.scheme(), schemes.join(", "))));
    }
    Ok(Some(text))
}

fn data_dir(env: &Env<'_>, is_root: bool) -> Result<PathBuf, ConfigError> {
    if let Some(dir) = env.text(DATA_DIR) {
        let dir = PathBuf::from(dir);
        return if dir.is_absolute() { Ok(dir) } else { std::path::absolute(dir).map_err(|e| invalid(DATA_DIR, e)) };
    }
    // The specification of these folders says that a relative one is to be ignored.
    if let Some(data) = env.text("XDG_DATA_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute()) {
        return Ok(data.join("hyperfarm"));
    }
    if is_root {
        return Ok(PathBuf::from("/var/lib/hyperfarm"));
    }
    let home = env.text("HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    Ok(home.ok_or(ConfigError::NoDataDir)?.join(".local/share/hyperfarm"))
}

/// The owner of `/proc/self` is the process's effective user, read without a call that needs `unsafe`.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

fn namespace(env: &Env<'_>) -> Result<String, ConfigError> {
    let text = env.text(NAMESPACE).unwrap_or_else(|| "hyperfarm".to_owned());
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 64 || !text.chars().all(is_allowed) {
        return Err(invalid(NAMESPACE, "give 1 to 64 letters, digits, '-', '_' or '.'"));
    }
    Ok(text)
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: give for example 500ms, 90s, 15m or 1h30m")]
pub struct DurationError(String);

/// A duration as people write it: numbers with the units `ms`, `s`, `m`, `h` or `d`, one after another.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let refused = || DurationError(text.to_owned());
    let mut rest = text.trim();
    if rest.is_empty() {
        return Err(refused());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit()).ok_or_else(refused)?;
        let number: u64 = rest[..digits].parse().map_err(|_| refused())?;
        rest = &rest[digits..];
        let letters = rest.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len());
        let unit_ms: u64 = match &rest[..letters] {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err(refused()),
        };
        rest = &rest[letters..];
        let part = number.checked_mul(unit_ms).map(Duration::from_millis).ok_or_else(refused)?;
        total = total.checked_add(part).ok_or_else(refused)?;
    }
    Ok(total)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            found.or_else(|| (name == DATA_DIR).then(|| "/data".to_owned()))
        };
        Config::from_lookup(&lookup)
    }

    const AMQP: (&str, &str) = (AMQP_URL, "amqp://farm:hidden@rabbit:5672/%2f");
    const REDIS: (&str, &str) = (REDIS_URL, "redis://:hidden@cache:6379/0");
    const STORAGE: (&str, &str) = (STORAGE_URL, "s3://videos/farm");

    #[test]
    fn nothing_set_is_one_machine() {
        let config = config(&[(AMQP_URL, ""), (POOL, " ")]).unwrap();
        assert_eq!((config.cluster, config.storage_url, config.slots), (None, None, None));
        assert_eq!((config.namespace.as_str(), config.pool.as_str()), ("hyperfarm", "cpu"));
    }

    #[test]
    fn a_cluster_is_all_three() {
        let config = config(&[AMQP, REDIS, STORAGE, (NAMESPACE, "team-a.v2"), (POOL, "gpu"), (SLOTS, "4")]).unwrap();
        assert_eq!(config.cluster.as_ref().unwrap().redis_url, REDIS.1);
        assert_eq!(config.slots.map(NonZeroU32::get), Some(4));
        assert_eq!((config.drain_grace, config.quarantine_after, config.quarantine_for), (None, None, None));
        assert!(!format!("{config:?}").contains("hidden"), "{config:?}");
    }

    #[test]
    fn a_part_of_a_cluster_names_what_is_missing() {
        for (given, missing) in [
            (vec![AMQP], vec![REDIS_URL, STORAGE_URL]),
            (vec![REDIS], vec![AMQP_URL, STORAGE_URL]),
            (vec![AMQP, STORAGE], vec![REDIS_URL]),
            (vec![REDIS, STORAGE], vec![AMQP_URL]),
            (vec![AMQP, REDIS], vec![STORAGE_URL]),
        ] {
            let error = config(&given).unwrap_err();
            let ConfigError::Partial { missing: found, .. } = &error else { panic!("{error}") };
            assert_eq!(*found, missing);
            assert!(missing.iter().all(|name| error.to_string().contains(name)), "{error}");
        }
        assert!(config(&[STORAGE]).unwrap().cluster.is_none());
    }

    #[test]
    fn a_bad_value_names_its_variable_and_no_secret() {
        for (name, value) in [
            (AMQP_URL, "hidden:hidden"),
            (AMQP_URL, "http://hidden@host"),
            (REDIS_URL, "hidden"),
            (STORAGE_URL, "ftp://hidden"),
            (NAMESPACE, "a:b"),
            (NAMESPACE, "ä"),
            (POOL, "a/b"),
            (SLOTS, "0"),
            (SLOTS, "-1"),
            (SLOTS, "many"),
            (DRAIN_GRACE, "180"),
            (QUARANTINE_AFTER, "-1"),
            (QUARANTINE_FOR, "5"),
        ] {
            let error = config(&[(name, value)]).unwrap_err();
            assert!(matches!(&error, ConfigError::Invalid { name: found, .. } if *found == name), "{error}");
            assert!(error.to_string().starts_with(name), "{error}");
        }
        assert!(!config(&[(AMQP_URL, "http://user:hidden@host")]).unwrap_err().to_string().contains("hidden"));
    }

    #[test]
    fn the_data_folder_follows_the_user() {
        let dir = |variables: &[(&str, &str)], is_root| {
            let lookup =
                |name: &str| variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            data_dir(&Env::new(&lookup), is_root)
        };
        let home = ("HOME", "/home/ada");
        assert_eq!(dir(&[home], false).unwrap(), PathBuf::from("/home/ada/.local/share/hyperfarm"));
        assert_eq!(dir(&[home, ("XDG_DATA_HOME", "/x")], false).unwrap(), PathBuf::from("/x/hyperfarm"));
        assert_eq!(dir(&[home, ("XDG_DATA_HOME", "x")], true).unwrap(), PathBuf::from("/var/lib/hyperfarm"));
        assert_eq!(dir(&[(DATA_DIR, "/srv/farm"), home], true).unwrap(), PathBuf::from("/srv/farm"));
        assert!(dir(&[(DATA_DIR, "farm")], false).unwrap().is_absolute());
        assert_eq!(dir(&[], false), Err(ConfigError::NoDataDir));
    }

    #[test]
    fn durations_are_written_as_people_write_them() {
        for (text, seconds) in [("90s", 90.0), ("1h30m", 5400.0), ("500ms", 0.5), ("2d", 172_800.0), (" 0s ", 0.0)] {
            assert_eq!(parse_duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "5", "s", "1x", "-1s", "1.5s", "99999999999999999d", "1h 30m", "5µs"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
