//! The broker over RabbitMQ, 3.10 and later.
//!
//! # Queues and exchanges
//!
//! These are declared at the broker. Every name begins with the prefix and a dot, unless the prefix is empty.
//!
//! - A durable quorum queue for each [`Queue`], with a delivery limit of [`DELIVERY_LIMIT`](super::DELIVERY_LIMIT) and
//!   a dead-letter exchange: without one RabbitMQ would drop what passes the limit.
//! - `dead-letters`, a durable fanout exchange, and the queue `dead` behind it. That queue has no limit that could be
//!   reached by looking at it (4.x would else set one of 20, and drop), but keeps only the newest 100,000 letters.
//!
//! # The consumer time-out
//!
//! RabbitMQ closes the channel of a consumer that does not acknowledge for too long; the message goes back and somebody
//! else does the task a second time. It must be longer than any task takes. From 3.12 on a queue carries its own
//! (`x-consumer-timeout`, [four hours](topology::CONSUMER_TIMEOUT)), which is set where the broker accepts it. RabbitMQ
//! before 3.12 ignores the argument and knows only the node's `consumer_timeout`, thirty minutes unless set: give it
//! `consumer_timeout = 14400000` in `rabbitmq.conf`. That a task hangs is found by its lease long before.
//!
//! # Supervision
//!
//! Publishing and consuming have a connection each, because RabbitMQ stops reading from connections that publish when
//! it is short of memory, and consumers must go on then. The client library's own recovery is off: a lost connection
//! ends its channels, and whoever next needs one connects again, after the waiting times of [`RECONNECT`]. Of a cluster's
//! nodes the one that answered last is tried first, then those after it in the URL.

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_proto::task::Queue;
use lapin::options::{BasicPublishOptions, ConfirmSelectOptions};
use lapin::uri::AMQPUri;
use lapin::{BasicProperties, Channel, Confirmation};
use tokio::time::{Instant, timeout, timeout_at};
use tokio_util::sync::CancellationToken;

use super::{Broker, BrokerError, Consumer};
use crate::metrics::Metrics;
use crate::redact::redact;
use crate::retry::{RetryPolicy, Retryable};

mod consumer;
pub(crate) mod link;
mod topology;

use consumer::RabbitConsumer;
use link::Link;
use topology::Topology;

/// Longest time for publishing or connecting, retries included. A restart of RabbitMQ takes less.
const PUBLISH_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest time for one attempt to publish. A quorum queue confirms late while it elects a leader.
const CONFIRM_TIMEOUT: Duration = Duration::from_secs(10);

/// Longest time for a question without a side effect, retries included.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);

/// How a connection that was lost, and what was asked over it, is tried again.
const RECONNECT: RetryPolicy = RetryPolicy::new(Duration::from_millis(100), Duration::from_secs(3));

/// The broker over RabbitMQ. See the [broker module](super) for the promises.
pub struct RabbitBroker {
    shared: Arc<Shared>,
    publisher: tokio::sync::Mutex<Option<Arc<Channel>>>,
}

struct Shared {
    url: String,
    topology: Topology,
    publishing: Link,
    consuming: Link,
    metrics: OnceLock<Metrics>,
    closed: CancellationToken,
}

impl Shared {
    fn unreachable(&self, reason: impl ToString) -> BrokerError {
        BrokerError::Unreachable { url: self.url.clone(), reason: reason.to_string() }
    }
}

/// Why one attempt to publish failed.
enum PublishFailure {
    /// The connection or the channel was lost; another one may do.
    Lost(String),
    /// RabbitMQ answered, and did not take the message.
    Nacked,
    /// RabbitMQ answered, and gave the message back.
    Returned(String),
}

impl PublishFailure {
    fn reason(&self) -> &str {
        match self {
            Self::Lost(reason) | Self::Returned(reason) => reason,
            Self::Nacked => "RabbitMQ did not accept the message",
        }
    }
}

impl From<lapin::Error> for PublishFailure {
    fn from(error: lapin::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl RabbitBroker {
    /// Connects to the server at `url`, which may name several nodes of a cluster, with commas between their URLs. One
    /// that is still starting is waited for, up to half a minute.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Unreachable`], at once where the server refuses the credentials or the virtual host.
    pub async fn connect(url: &str, prefix: &str) -> Result<Self, BrokerError> {
        let nodes: Result<Vec<AMQPUri>, String> = link::node_urls(url).into_iter().map(str::parse).collect();
        let nodes = nodes.map_err(|reason| BrokerError::Unreachable { url: redact(url), reason })?;
        let shared = Shared {
            url: redact(url),
            topology: Topology::new(prefix),
            publishing: Link::new(nodes.clone(), "publish"),
            consuming: Link::new(nodes, "consume"),
            metrics: OnceLock::new(),
            closed: CancellationToken::new(),
        };
        let connecting = (|| shared.publishing.channel(None))
            .retry(RECONNECT.within(PUBLISH_TIMEOUT))
            .when(|error| !link::is_final(error))
            .notify(|error, _| tracing::info!(url = shared.url, %error, "RabbitMQ does not answer yet"));
        connecting.await.map_err(|error| shared.unreachable(error))?;
        Ok(Self { shared: Arc::new(shared), publisher: tokio::sync::Mutex::default() })
    }

    /// Makes it count reconnects and redeliveries.
    #[must_use]
    pub fn with_metrics(self, metrics: &Metrics) -> Self {
        // Set once; a second call changes nothing.
        let _ = self.shared.metrics.set(metrics.clone());
        self
    }

    fn ensure_open(&self) -> Result<(), BrokerError> {
        if self.shared.closed.is_cancelled() { Err(BrokerError::Closed) } else { Ok(()) }
    }

    /// One attempt to publish.
    async fn publish_once(&self, queue: &Queue, payload: &[u8]) -> Result<(), PublishFailure> {
        match timeout(CONFIRM_TIMEOUT, self.publish_confirmed(queue, payload)).await {
            Ok(Err(failure @ PublishFailure::Nacked)) => {
                // The channel does not find the queue's leader again that was lost while it published.
                self.publisher.lock().await.take();
                Err(failure)
            }
            Ok(published) => published,
            Err(_) => {
                // A channel that owes a confirmation is not used again: it may be the channel that is broken.
                self.publisher.lock().await.take();
                Err(PublishFailure::Lost(format!("no confirmation within {CONFIRM_TIMEOUT:?}")))
            }
        }
    }

    async fn publish_confirmed(&self, queue: &Queue, payload: &[u8]) -> Result<(), PublishFailure> {
        let shared = &self.shared;
        let channel = self.confirming_channel().await?;
        shared.topology.ensure(&shared.publishing, shared.metrics.get(), queue).await?;
        let options = BasicPublishOptions { mandatory: true, ..BasicPublishOptions::default() };
        let persistent = BasicProperties::default().with_delivery_mode(2);
        let name = shared.topology.name(queue).into();
        let confirm = channel.basic_publish("".into(), name, options, payload, persistent).await?;
        match confirm.await? {
            Confirmation::Ack(None) => Ok(()),
            // The queue was deleted after it was declared.
            Confirmation::Ack(Some(returned)) | Confirmation::Nack(Some(returned)) => {
                shared.topology.forget(queue);
                Err(PublishFailure::Returned(format!("RabbitMQ returned the message: {}", returned.reply_text)))
            }
            Confirmation::Nack(None) => Err(PublishFailure::Nacked),
            Confirmation::NotRequested => Err(PublishFailure::Lost("the channel confirms nothing".to_owned())),
        }
    }

    /// The channel on which everything is published; a new one where the last was lost.
    async fn confirming_channel(&self) -> Result<Arc<Channel>, PublishFailure> {
        let mut publisher = self.publisher.lock().await;
        if let Some(channel) = publisher.as_ref().filter(|channel| channel.status().connected()) {
            return Ok(Arc::clone(channel));
        }
        let channel = self.shared.publishing.channel(self.shared.metrics.get()).await?;
        channel.confirm_select(ConfirmSelectOptions::default()).await?;
        let channel = Arc::new(channel);
        *publisher = Some(Arc::clone(&channel));
        Ok(channel)
    }
}

#[async_trait]
impl Broker for RabbitBroker {
    async fn publish(&self, queue: &Queue, payload: Bytes) -> Result<(), BrokerError> {
        self.ensure_open()?;
        let publishing = (|| self.publish_once(queue, &payload))
            .retry(RECONNECT.within(PUBLISH_TIMEOUT))
            .notify(|failure, _| tracing::warn!(%queue, reason = failure.reason(), "the message was not published, trying again"));
        let published = tokio::select! {
            () = self.shared.closed.cancelled() => return Err(BrokerError::Closed),
            published = publishing => published,
        };
        published.map_err(|failure| match failure {
            PublishFailure::Lost(reason) => self.shared.unreachable(reason),
            refused => BrokerError::Publish { queue: queue.to_string(), reason: refused.reason().to_owned() },
        })
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BrokerError> {
        self.ensure_open()?;
        Ok(Box::new(RabbitConsumer::new(Arc::clone(&self.shared), queue.clone())))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError> {
        self.ensure_open()?;
        let shared = &self.shared;
        let deadline = Instant::now() + ANSWER_TIMEOUT;
        let declare = || async {
            let declaring = shared.topology.declare(&shared.publishing, shared.metrics.get(), queue);
            match timeout_at(deadline, declaring).await {
                Ok(declared) => declared.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {ANSWER_TIMEOUT:?}")),
            }
        };
        declare.retry(RECONNECT.within(ANSWER_TIMEOUT)).await.map_err(|reason| shared.unreachable(reason))
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.ensure_open()?;
        // Opening a channel is answered by the broker itself.
        match timeout(ANSWER_TIMEOUT, self.shared.publishing.channel(self.shared.metrics.get())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(self.shared.unreachable(error)),
            Err(_) => Err(self.shared.unreachable(format!("no answer within {ANSWER_TIMEOUT:?}"))),
        }
    }

    async fn close(&self) {
        self.shared.closed.cancel();
        self.publisher.lock().await.take();
        tokio::join!(self.shared.consuming.close(), self.shared.publishing.close());
    }
}
