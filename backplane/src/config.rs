//! Typed configuration from an environment.
//!
//! Every crate has a section, a plain structure, which it reads from an [`Env`]; the binary puts the sections together
//! and reads them once, at its start. A value that cannot be used is noted and its default is read in its place, so
//! that all of them are reported at once: see [`read`].
//!
//! ```
//! use hyperfarm_backplane::config::{self, Config};
//!
//! let variables = |name: &str| match name {
//!     "HYPERFARM_DATA_DIR" => Some("/srv/farm".to_owned()),
//!     "HYPERFARM_SLOTS" => Some("many".to_owned()),
//!     "HYPERFARM_POOL" => Some("a/b".to_owned()),
//!     _ => None,
//! };
//! let errors = config::read(&variables, Config::read).unwrap_err();
//! let bad: Vec<_> = errors.0.iter().map(|error| error.name()).collect();
//! assert_eq!(bad, ["HYPERFARM_POOL", "HYPERFARM_SLOTS"]);
//! ```
//!
//! No error carries a value that may be a secret.

use std::cell::RefCell;
use std::fmt;
use std::num::NonZeroU32;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use hyperfarm_proto::id::Pool;

use crate::broker::rabbit::link::node_urls;
use crate::ledger::redis::servers::Servers;
use crate::objects::COORDINATOR_SCHEME;
use crate::redact::redact;

/// URL of RabbitMQ.
pub const AMQP_URL: &str = "HYPERFARM_AMQP_URL";
/// URL of Redis.
pub const REDIS_URL: &str = "HYPERFARM_REDIS_URL";
/// URL of the object storage.
pub const STORAGE_URL: &str = "HYPERFARM_STORAGE_URL";
/// The secret by which workers and stitchers ask coordinators for their tasks' objects.
pub const WORKER_TOKEN: &str = "HYPERFARM_WORKER_TOKEN";
/// Folder of the local storage.
pub const DATA_DIR: &str = "HYPERFARM_DATA_DIR";
/// First part of queue names and Redis keys.
pub const NAMESPACE: &str = "HYPERFARM_NAMESPACE";
/// Pool that a worker serves.
pub const POOL: &str = "HYPERFARM_POOL";
/// Tasks that a worker does at once.
pub const SLOTS: &str = "HYPERFARM_SLOTS";

/// A variable that cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value is not of the variable's type.
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
    /// The folder of the local storage cannot be derived.
    #[error("{DATA_DIR}: there is no HOME to derive a folder from; set {DATA_DIR}")]
    NoDataDir,
}

impl ConfigError {
    /// The variable to look at.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Invalid { name, .. } => name,
            Self::Partial { given, .. } => given,
            Self::NoDataDir => DATA_DIR,
        }
    }
}

/// Every variable that cannot be used, in the order in which they were read. Never empty.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n"))]
pub struct ConfigErrors(pub Vec<ConfigError>);

/// Reads one section or several from the variables that `lookup` finds.
///
/// # Errors
///
/// Every variable of these sections that cannot be used.
pub fn read<T>(
    lookup: &dyn Fn(&str) -> Option<String>,
    section: impl FnOnce(&Env<'_>) -> T,
) -> Result<T, ConfigErrors> {
    let env = Env::new(lookup);
    let section = section(&env);
    let errors = env.into_errors();
    if errors.is_empty() { Ok(section) } else { Err(ConfigErrors(errors)) }
}

/// Typed look-ups in an environment, which notes what cannot be used. An empty value counts as unset, as in most charts
/// and compose files.
pub struct Env<'a> {
    lookup: &'a dyn Fn(&str) -> Option<String>,
    errors: RefCell<Vec<ConfigError>>,
}

impl<'a> Env<'a> {
    /// An environment behind a look-up.
    pub fn new(lookup: &'a dyn Fn(&str) -> Option<String>) -> Self {
        Self { lookup, errors: RefCell::default() }
    }

    /// The text of a variable.
    pub fn text(&self, name: &str) -> Option<String> {
        (self.lookup)(name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
    }

    /// A variable of a type that says itself what is wrong with a text; none where it is unset or wrong.
    pub fn parsed<T>(&self, name: &'static str) -> Option<T>
    where
        T: FromStr,
        T::Err: fmt::Display,
    {
        self.parsed_by(name, |text| text.parse::<T>().map_err(|error| error.to_string()))
    }

    /// A variable that `parse` understands, which answers what is wrong with a text; none where it is unset or wrong.
    pub fn parsed_by<T>(&self, name: &'static str, parse: impl FnOnce(&str) -> Result<T, String>) -> Option<T> {
        let text = self.text(name)?;
        parse(&text).map_err(|reason| self.refuse(invalid(name, reason))).ok()
    }

    /// A variable that is one of a few words; none where it is unset or another word.
    pub fn choice<T: Copy>(&self, name: &'static str, choices: &[(&str, T)]) -> Option<T> {
        self.parsed_by(name, |text| {
            choices.iter().find(|(word, _)| *word == text).map(|(_, value)| *value).ok_or_else(|| {
                let (last, others) = choices.split_last().map_or(("", choices), |((last, _), others)| (*last, others));
                let others: Vec<&str> = others.iter().map(|(word, _)| *word).collect();
                format!("`{text}` is not understood; set it to {} or {last}", others.join(", "))
            })
        })
    }

    /// A variable that is `on` or `off`, and what it is when unset.
    pub fn switch(&self, name: &'static str, default: bool) -> bool {
        self.choice(name, &[("on", true), ("off", false)]).unwrap_or(default)
    }

    /// A duration such as `90s`, `15m` or `1h30m`.
    pub fn duration(&self, name: &'static str) -> Option<Duration> {
        self.parsed_by(name, |text| parse_duration(text).map_err(|error| error.to_string()))
    }

    /// Notes an error of a section.
    pub fn refuse(&self, error: ConfigError) {
        self.errors.borrow_mut().push(error);
    }

    /// Every variable so far that cannot be used.
    pub fn into_errors(self) -> Vec<ConfigError> {
        self.errors.into_inner()
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

/// The section of every role.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Config {
    /// RabbitMQ and Redis; in process if there are none. With them there is always a `storage_url`.
    pub cluster: Option<ClusterConfig>,
    /// URL of the object storage; the data folder if there is none.
    pub storage_url: Option<String>,
    /// What workers and stitchers without a storage credential send to coordinators.
    pub worker_tokens: WorkerTokens,
    /// Folder of the local storage.
    pub data_dir: PathBuf,
    /// First part of queue names and Redis keys.
    pub namespace: String,
    /// The pool that a worker serves.
    pub pool: Pool,
    /// Tasks that a worker does at once; decided by the machine if there is none.
    pub slots: Option<NonZeroU32>,
}

impl Config {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let storage_url =
            env.parsed_by(STORAGE_URL, |text| check_url(text, &STORAGE_SCHEMES).map(|()| text.to_owned()));
        let worker_tokens = env.parsed::<WorkerTokens>(WORKER_TOKEN).unwrap_or_default();
        let asks_coordinators = storage_url.as_ref().is_some_and(|url| url.starts_with(COORDINATOR_SCHEME));
        if asks_coordinators && env.text(WORKER_TOKEN).is_none() {
            let reason = format!("{STORAGE_URL} names a coordinator, so set the token that it accepts");
            env.refuse(invalid(WORKER_TOKEN, reason));
        }
        Self {
            cluster: cluster(env),
            storage_url,
            worker_tokens,
            data_dir: data_dir(env, is_root()).unwrap_or_else(|error| {
                env.refuse(error);
                PathBuf::new()
            }),
            namespace: env.parsed_by(NAMESPACE, namespace).unwrap_or_else(|| "hyperfarm".to_owned()),
            pool: env.parsed(POOL).unwrap_or_default(),
            slots: env.parsed_by(SLOTS, |text| text.parse().map_err(|_| "give a whole number of 1 or more".to_owned())),
        }
    }
}

/// Schemes of storage URLs.
const STORAGE_SCHEMES: [&str; 10] =
    ["s3", "s3a", "gs", "az", "azure", "abfs", "abfss", "file", "farm+http", "farm+https"];

/// Fewest characters of a worker token: it opens what tasks may touch.
const WORKER_TOKEN_MIN: usize = 32;

/// The secrets by which coordinators know workers and stitchers that hold no storage credential. Several are accepted
/// while one takes the place of another.
#[derive(Clone, PartialEq, Eq, Default)]
pub struct WorkerTokens(Vec<String>);

impl WorkerTokens {
    /// All that a coordinator accepts; none where it grants nothing.
    pub fn accepted(&self) -> &[String] {
        &self.0
    }

    /// The one that a worker or stitcher sends.
    pub fn own(&self) -> Option<&str> {
        self.0.first().map(String::as_str)
    }
}

impl fmt::Debug for WorkerTokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "WorkerTokens({})", self.0.len())
    }
}

impl FromStr for WorkerTokens {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let tokens: Vec<&str> = text.split(',').map(str::trim).filter(|token| !token.is_empty()).collect();
        let is_good =
            |token: &&str| token.len() >= WORKER_TOKEN_MIN && token.bytes().all(|byte| byte.is_ascii_graphic());
        if tokens.is_empty() || !tokens.iter().all(is_good) {
            return Err(format!(
                "give {WORKER_TOKEN_MIN} letters and digits or more, such as `openssl rand -hex 32` makes; several with commas between them"
            ));
        }
        Ok(Self(tokens.into_iter().map(str::to_owned).collect()))
    }
}

/// The servers of a cluster. Whether a variable is set counts here, not whether its value can be used.
fn cluster(env: &Env<'_>) -> Option<ClusterConfig> {
    let amqp_url = env.parsed_by(AMQP_URL, |text| {
        node_urls(text).into_iter().try_for_each(|url| check_url(url, &["amqp", "amqps"]))?;
        Ok(text.to_owned())
    });
    let redis_url = env.parsed_by(REDIS_URL, |text| Servers::parse(text).map(|_| text.to_owned()));
    let is_set = |name: &&'static str| env.text(name).is_some();
    let given = [AMQP_URL, REDIS_URL].into_iter().find(is_set)?;
    let missing: Vec<&str> = [AMQP_URL, REDIS_URL, STORAGE_URL].into_iter().filter(|name| !is_set(name)).collect();
    if !missing.is_empty() {
        env.refuse(ConfigError::Partial { given, missing });
    }
    Some(ClusterConfig { amqp_url: amqp_url?, redis_url: redis_url? })
}

/// Whether `text` is a URL with one of these schemes. It may hold a password, so no error repeats it.
fn check_url(text: &str, schemes: &[&str]) -> Result<(), String> {
    let parsed = url::Url::parse(text).map_err(|error| format!("it is no URL ({error})"))?;
    if schemes.contains(&parsed.scheme()) {
        Ok(())
    } else {
        Err(format!("its scheme is none of {}", schemes.join(", ")))
    }
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

fn namespace(text: &str) -> Result<String, String> {
    let is_allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if text.len() > 64 || !text.chars().all(is_allowed) {
        return Err("give 1 to 64 letters, digits, '-', '_' or '.'".to_owned());
    }
    Ok(text.to_owned())
}

/// Text that is no duration.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is no duration: give for example 500ms, 90s, 15m or 1h30m")]
pub struct DurationError(String);

/// A duration as people write it: numbers with units such as `ms`, `s`, `m`, `h` or `d`, one after another.
///
/// # Errors
///
/// The text, where it is no duration.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    humantime::parse_duration(text.trim()).map_err(|_| DurationError(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(variables: &[(&str, &str)]) -> Result<Config, ConfigErrors> {
        let lookup = |name: &str| {
            let found = variables.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
            found.or_else(|| (name == DATA_DIR).then(|| "/data".to_owned()))
        };
        read(&lookup, Config::read)
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
            let errors = config(&given).unwrap_err();
            let [error] = &errors.0[..] else { panic!("{errors}") };
            let ConfigError::Partial { missing: found, .. } = error else { panic!("{error}") };
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
            (WORKER_TOKEN, "hidden"),
            (WORKER_TOKEN, "hidden hidden hidden hidden hidden hidden"),
            (NAMESPACE, "a:b"),
            (NAMESPACE, "ä"),
            (POOL, "a/b"),
            (SLOTS, "0"),
            (SLOTS, "-1"),
            (SLOTS, "many"),
        ] {
            let errors = config(&[(name, value)]).unwrap_err();
            assert!(matches!(&errors.0[0], ConfigError::Invalid { name: found, .. } if *found == name), "{errors}");
            assert!(errors.to_string().starts_with(name), "{errors}");
            assert!(!errors.to_string().contains("hidden"), "{errors}");
        }
        assert!(!config(&[(AMQP_URL, "http://user:hidden@host")]).unwrap_err().to_string().contains("hidden"));
    }

    #[test]
    fn a_coordinators_url_needs_a_token() {
        let storage = (STORAGE_URL, "farm+https://coordinator:8080");
        let token = "0123456789abcdef0123456789abcdef";
        let errors = config(&[AMQP, REDIS, storage]).unwrap_err();
        assert!(errors.to_string().starts_with(WORKER_TOKEN), "{errors}");
        let both = format!("{token}, {token}2");
        let config = config(&[AMQP, REDIS, storage, (WORKER_TOKEN, &both)]).unwrap();
        assert_eq!((config.worker_tokens.own(), config.worker_tokens.accepted().len()), (Some(token), 2));
        assert!(!format!("{config:?}").contains(token));
    }

    #[test]
    fn every_bad_variable_is_reported_at_once() {
        let errors = config(&[(SLOTS, "0"), (POOL, "a/b"), AMQP, (NAMESPACE, "ä")]).unwrap_err();
        let names: Vec<&str> = errors.0.iter().map(ConfigError::name).collect();
        assert_eq!(names, [AMQP_URL, NAMESPACE, POOL, SLOTS]);
        assert_eq!(errors.to_string().lines().count(), 4, "{errors}");
    }

    #[test]
    fn a_choice_names_every_word() {
        let lookup = |_: &str| Some("maybe".to_owned());
        let errors = read(&lookup, |env| env.choice("X", &[("a", 1), ("b", 2), ("c", 3)])).unwrap_err();
        assert_eq!(errors.to_string(), "X: `maybe` is not understood; set it to a, b or c");
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
        for (text, seconds) in
            [("90s", 90.0), ("1h30m", 5400.0), ("500ms", 0.5), ("2d", 172_800.0), (" 0s ", 0.0), ("1h 30m", 5400.0)]
        {
            assert_eq!(parse_duration(text).unwrap().as_secs_f64(), seconds, "{text}");
        }
        for bad in ["", "5", "s", "1x", "-1s", "99999999999999999d"] {
            assert!(parse_duration(bad).is_err(), "{bad:?} must be refused");
        }
    }
}
