//! What a node of the farm plugs into.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`broker`] | carries tasks and hints: RabbitMQ, or in process |
//! | [`ledger`] | leases, commits, progress: Redis, or in process |
//! | [`local_disk`] | temporary folders: names, removal of abandoned ones, full disks |
//! | [`objects`] | object storage, which is the truth: a local folder, S3, GCS, Azure, memory |
//! | [`config`] | environment to typed configuration, with errors that name the variable |
//! | [`fetch`] | the fetcher of everything that somebody names by URL |
//! | [`http`] | what HTTP servers share: ranges of bytes, media types |
//! | [`metrics`] | the registry and what every role counts |
//! | [`private`] | files and folders that only this user may open |
//! | [`drain`] | how a node stops: no new work, then finish or hand back |
//! | [`retry`] | how often and how long failed operations are repeated |
//! | [`task_log`] | what an attempt has to say in its render's own log |
//! | [`trace`] | one trace a render, over all roles |
//! | [`runner`] | the loop of a node: consume, claim, renew, work, commit, acknowledge |
//!
//! A trait here states its semantics once; one conformance suite (`tests/conformance/`) runs over every
//! implementation of it, the in-process one and the real server alike.

use std::path::Path;
use std::sync::Arc;

pub mod broker;
pub mod config;
pub mod drain;
pub mod fetch;
pub mod http;
pub mod ledger;
pub mod local_disk;
pub mod machine;
pub mod metrics;
pub mod objects;
pub mod private;
mod redact;
pub mod retry;
pub mod runner;
pub mod task_log;
pub mod trace;

use broker::{BrokerError, MemoryBroker, RabbitBroker};
use config::Config;
use ledger::{LedgerError, MemoryLedger, RedisLedger};
use metrics::Metrics;
use objects::{Objects, ObjectsError};

/// Everything a role needs from outside itself. Clones share the connections.
#[derive(Clone)]
pub struct Backplane {
    /// Carries tasks and hints.
    pub broker: Arc<dyn broker::Broker>,
    /// Leases, commits, progress.
    pub ledger: Arc<dyn ledger::Ledger>,
    /// The truth.
    pub objects: Objects,
    /// What the node counts; connections count into it themselves.
    pub metrics: Metrics,
}

/// A node could not plug in.
#[derive(Debug, thiserror::Error)]
pub enum BackplaneError {
    /// No broker.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// No ledger.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// No storage.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

impl Backplane {
    /// One process over a local folder.
    pub fn in_process(data_dir: &Path) -> Result<Self, ObjectsError> {
        Ok(Self::ephemeral(Objects::local(data_dir)?))
    }

    /// Broker and ledger of this process over any storage.
    pub fn ephemeral(objects: Objects) -> Self {
        let metrics = Metrics::new();
        let objects = objects.with_metrics(&metrics);
        Self { broker: Arc::new(MemoryBroker::new()), ledger: Arc::new(MemoryLedger::new()), objects, metrics }
    }

    /// What the configuration says: a cluster's servers, or one process.
    ///
    /// Servers that are still starting are waited for, for half a minute or so: a node usually starts together with them.
    pub async fn connect(config: &Config) -> Result<Self, BackplaneError> {
        let objects = match &config.storage_url {
            Some(url) => Objects::open(url)?,
            None => Objects::local(&config.data_dir)?,
        };
        let Some(cluster) = &config.cluster else { return Ok(Self::ephemeral(objects)) };
        let metrics = Metrics::new();
        let objects = objects.with_metrics(&metrics);
        let broker = RabbitBroker::connect(&cluster.amqp_url, &config.namespace);
        let ledger = RedisLedger::connect(&cluster.redis_url, &config.namespace);
        let (broker, ledger) = tokio::join!(broker, ledger);
        let (broker, ledger) = (broker?.with_metrics(&metrics), ledger?.with_metrics(&metrics));
        Ok(Self { broker: Arc::new(broker), ledger: Arc::new(ledger), objects, metrics })
    }
}
