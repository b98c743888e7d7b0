//! What every role of the farm runs on: broker, ledger, object storage, configuration, metrics, and the loop of a node.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`broker`] | the broker, which carries tasks and hints: RabbitMQ, or in process |
//! | [`ledger`] | leases, attempts, progress and results of tasks: Redis, or in process |
//! | [`local_disk`] | temporary folders: names, removal of abandoned ones, full disks |
//! | [`objects`] | object storage, which is the truth: a local folder, S3, GCS, Azure, memory; or what coordinators grant of it |
//! | [`config`] | typed configuration from environment variables, with errors that name them |
//! | [`fetch`] | the fetcher of everything that is named by a URL from outside |
//! | [`engine_http`] | requests to the engines of an operator: speech, language models |
//! | [`http`] | what the HTTP servers share: byte ranges, media types |
//! | [`metrics`] | the Prometheus metrics of every role |
//! | `redact` | URLs without their secrets |
//! | [`private`] | files and folders that only this user may open |
//! | [`drain`] | how a process stops: no new work, then finish or hand back |
//! | [`retry`] | how often and how long failed operations are repeated |
//! | [`task_log`] | the log of an attempt, for the person whose render it is |
//! | [`trace`] | one OpenTelemetry trace for each render, over all roles |
//! | [`runtimes`] | versions of the HyperFrames runtime in storage |
//! | [`runner`] | the loop of a node: consume, claim, run, renew, commit, acknowledge |
//! | [`machine`] | host name and memory of the machine |
//!
//! The documentation of each trait states its semantics; one conformance suite (`tests/conformance/`) tests every
//! implementation, in process and real server alike.
//!
//! A task goes from the coordinator's side to a worker's over a [`Backplane`] in process:
//!
//! ```
//! use std::time::Duration;
//!
//! use hyperfarm_backplane::Backplane;
//! use hyperfarm_backplane::ledger::{Claim, Commit};
//! use hyperfarm_backplane::objects::Objects;
//! use hyperfarm_proto::id::{Pool, RenderId, WorkerId};
//! use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
//! use hyperfarm_proto::wire;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let Backplane { broker, ledger, .. } = Backplane::ephemeral(Objects::memory());
//! let (render, pool): (RenderId, Pool) = ("r1".parse()?, Pool::default());
//! let task = TaskId { render: render.clone(), step: Step::Plan };
//! let queue = Queue::of(task.step, &pool);
//!
//! // The coordinator opens the render and queues its first task.
//! ledger.open(&render).await?;
//! broker.publish(&queue, wire::encode(&TaskMessage { task, pool })?.into()).await?;
//!
//! // A worker takes the message, claims the task, and commits its result.
//! let worker: WorkerId = "w1".parse()?;
//! let delivery = broker.consume(&queue).await?.next().await.ok_or("the broker is closed")?;
//! let message: TaskMessage = wire::decode(&delivery.payload)?;
//! let Claim::Granted(lease) = ledger.claim(&message.task, &worker, Duration::from_secs(30)).await? else {
//!     return Err("the task is taken".into());
//! };
//! assert_eq!(ledger.commit(&lease, b"the result").await?, Commit::Accepted);
//! delivery.ack().await;
//! # Ok(())
//! # }
//! ```

use std::path::Path;
use std::sync::Arc;

pub mod broker;
pub mod config;
pub mod drain;
pub mod engine_http;
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
pub mod runtimes;
pub mod task_log;
pub mod trace;

use broker::{BrokerError, MemoryBroker, RabbitBroker};
use config::Config;
use ledger::{LedgerError, MemoryLedger, RedisLedger};
use metrics::Metrics;
use objects::{COORDINATOR_SCHEME, Objects, ObjectsError};

/// The connections and metrics of a process. Clones share them.
#[derive(Clone)]
pub struct Backplane {
    /// The broker.
    pub broker: Arc<dyn broker::Broker>,
    /// The ledger.
    pub ledger: Arc<dyn ledger::Ledger>,
    /// Object storage.
    pub objects: Objects,
    /// The metrics; the connections count in them too.
    pub metrics: Metrics,
}

/// Why the connections of a process could not be made.
#[derive(Debug, thiserror::Error)]
pub enum BackplaneError {
    /// The broker cannot be reached.
    #[error(transparent)]
    Broker(#[from] BrokerError),
    /// The ledger cannot be reached.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The storage cannot be opened.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}

/// Name of the journal of the ledger in process, in the data folder.
const JOURNAL: &str = "ledger.jsonl";

impl Backplane {
    /// Broker and ledger in process, storage in a local folder.
    ///
    /// # Errors
    ///
    /// The folder cannot be made.
    pub fn in_process(data_dir: &Path) -> Result<Self, ObjectsError> {
        Ok(Self::ephemeral(Objects::local(data_dir)?))
    }

    /// Broker and ledger in process, over any storage.
    pub fn ephemeral(objects: Objects) -> Self {
        let metrics = Metrics::new();
        let objects = objects.with_metrics(&metrics);
        Self { broker: Arc::new(MemoryBroker::new()), ledger: Arc::new(MemoryLedger::new()), objects, metrics }
    }

    /// Connects to the servers of the configuration's cluster, or makes broker and ledger in process where there is
    /// none.
    ///
    /// Servers that are still starting are waited for, up to half a minute: a node usually starts together with them.
    ///
    /// # Errors
    ///
    /// A server cannot be reached, or the storage cannot be opened.
    pub async fn connect(config: &Config) -> Result<Self, BackplaneError> {
        let objects = match &config.storage_url {
            Some(url) if url.starts_with(COORDINATOR_SCHEME) => {
                Objects::of_coordinator(url, config.worker_tokens.own().unwrap_or_default())?
            }
            Some(url) => Objects::open(url)?,
            None => Objects::local(&config.data_dir)?,
        };
        let Some(cluster) = &config.cluster else {
            let ledger = Arc::new(MemoryLedger::with_journal(&config.data_dir.join(JOURNAL)));
            return Ok(Self { ledger, ..Self::ephemeral(objects) });
        };
        let metrics = Metrics::new();
        let objects = objects.with_metrics(&metrics);
        let broker = RabbitBroker::connect(&cluster.amqp_url, &config.namespace);
        let ledger = RedisLedger::connect(&cluster.redis_url, &config.namespace);
        let (broker, ledger) = tokio::join!(broker, ledger);
        let (broker, ledger) = (broker?.with_metrics(&metrics), ledger?.with_metrics(&metrics));
        Ok(Self { broker: Arc::new(broker), ledger: Arc::new(ledger), objects, metrics })
    }
}
