//! Queues and exchanges, as the [module above](super) describes them.

use std::collections::HashSet;
use std::time::Duration;

use hyperfarm_proto::task::Queue;
use lapin::options::{ExchangeDeclareOptions, QueueBindOptions, QueueDeclareOptions};
use lapin::types::{AMQPValue, FieldTable, ShortString};
use lapin::{Channel, ErrorKind, ExchangeKind};
use parking_lot::{Mutex, MutexGuard};

use super::link::Link;
use crate::broker::DELIVERY_LIMIT;
use crate::metrics::Metrics;

/// Longest time between a delivery and its acknowledgement, for RabbitMQ to enforce.
pub(super) const CONSUMER_TIMEOUT: Duration = Duration::from_secs(4 * 3600);

/// Number of letters that the queue `dead` keeps, so that it does not fill a disk.
const MAX_DEAD_LETTERS: i32 = 100_000;

/// A delivery limit that is never reached. RabbitMQ 3.10 does not know -1, and 4.x takes a missing limit for 20.
const NO_LIMIT: i32 = 1_000_000_000;

/// The names of queues and exchanges, and the queues that this process has declared.
pub(super) struct Topology {
    prefix: String,
    declared: Mutex<HashSet<Queue>>,
}

impl Topology {
    pub(super) fn new(prefix: &str) -> Self {
        let prefix = if prefix.is_empty() { String::new() } else { format!("{prefix}.") };
        Self { prefix, declared: Mutex::default() }
    }

    /// The queue's name at the broker.
    pub(super) fn name(&self, queue: &Queue) -> String {
        format!("{}{queue}", self.prefix)
    }

    fn dead_letters(&self) -> ShortString {
        format!("{}dead-letters", self.prefix).into()
    }

    /// Declares the queue unless this process has done so before. A caller that finds it deleted
    /// [forgets](Self::forget) it.
    pub(super) async fn ensure(
        &self,
        link: &Link,
        metrics: Option<&Metrics>,
        queue: &Queue,
    ) -> Result<(), lapin::Error> {
        if self.declared().contains(queue) {
            return Ok(());
        }
        self.declare(link, metrics, queue).await.map(drop)
    }

    /// Makes the next [`ensure`](Self::ensure) declare the queue again.
    pub(super) fn forget(&self, queue: &Queue) {
        let mut declared = self.declared();
        declared.remove(queue);
        declared.remove(&Queue::Dead);
    }

    /// Declares the queue and the dead-letter queue, and returns how many messages wait in it.
    pub(super) async fn declare(
        &self,
        link: &Link,
        metrics: Option<&Metrics>,
        queue: &Queue,
    ) -> Result<u64, lapin::Error> {
        if !self.declared().contains(&Queue::Dead) {
            self.declare_dead(link, metrics).await?;
            self.declared().insert(Queue::Dead);
        }
        let arguments = if *queue == Queue::Dead { dead_arguments() } else { self.arguments() };
        let messages = self.declare_queue(link, metrics, queue, arguments).await?;
        self.declared().insert(queue.clone());
        Ok(u64::from(messages))
    }

    async fn declare_dead(&self, link: &Link, metrics: Option<&Metrics>) -> Result<(), lapin::Error> {
        self.declare_queue(link, metrics, &Queue::Dead, dead_arguments()).await?;
        let channel = link.channel(metrics).await?;
        let durable = ExchangeDeclareOptions { durable: true, ..ExchangeDeclareOptions::default() };
        let exchange = self.dead_letters();
        channel.exchange_declare(exchange.clone(), ExchangeKind::Fanout, durable, FieldTable::default()).await?;
        let name = self.name(&Queue::Dead).into();
        channel.queue_bind(name, exchange, "".into(), QueueBindOptions::default(), FieldTable::default()).await
    }

    /// Declares a queue on a channel of its own, because a refused declaration closes its channel.
    async fn declare_queue(
        &self,
        link: &Link,
        metrics: Option<&Metrics>,
        queue: &Queue,
        mut arguments: FieldTable,
    ) -> Result<u32, lapin::Error> {
        let name = self.name(queue);
        let error = match declare(&link.channel(metrics).await?, &name, arguments.clone()).await {
            Ok(messages) => return Ok(messages),
            Err(error) if is_precondition_failed(&error) => error,
            Err(error) => return Err(error),
        };
        // The queue exists with other arguments, made by another version or by an operator: it is used as it is.
        let passive = QueueDeclareOptions { passive: true, ..QueueDeclareOptions::durable() };
        let found =
            link.channel(metrics).await?.queue_declare(name.clone().into(), passive, FieldTable::default()).await;
        if let Ok(found) = found {
            tracing::warn!(queue = name, %error, "the queue has other arguments than this version gives it");
            return Ok(found.message_count());
        }
        // There is no such queue, so an argument was refused: the only one that some versions do not know.
        arguments = arguments
            .inner()
            .iter()
            .filter(|(argument, _)| argument.as_str() != "x-consumer-timeout")
            .map(|(argument, value)| (argument.clone(), value.clone()))
            .collect::<std::collections::BTreeMap<_, _>>()
            .into();
        declare(&link.channel(metrics).await?, &name, arguments).await
    }

    fn arguments(&self) -> FieldTable {
        let mut arguments = FieldTable::default();
        arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
        arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(DELIVERY_LIMIT as i32));
        let exchange = self.dead_letters();
        arguments.insert("x-dead-letter-exchange".into(), AMQPValue::LongString(exchange.as_str().into()));
        let timeout_ms = CONSUMER_TIMEOUT.as_millis() as i64;
        arguments.insert("x-consumer-timeout".into(), AMQPValue::LongLongInt(timeout_ms));
        arguments
    }

    fn declared(&self) -> MutexGuard<'_, HashSet<Queue>> {
        self.declared.lock()
    }
}

fn dead_arguments() -> FieldTable {
    let mut arguments = FieldTable::default();
    arguments.insert("x-queue-type".into(), AMQPValue::LongString("quorum".into()));
    arguments.insert("x-delivery-limit".into(), AMQPValue::LongInt(NO_LIMIT));
    arguments.insert("x-max-length".into(), AMQPValue::LongInt(MAX_DEAD_LETTERS));
    arguments.insert("x-overflow".into(), AMQPValue::LongString("drop-head".into()));
    arguments
}

async fn declare(channel: &Channel, name: &str, arguments: FieldTable) -> Result<u32, lapin::Error> {
    let declared = channel.queue_declare(name.into(), QueueDeclareOptions::durable(), arguments).await?;
    Ok(declared.message_count())
}

fn is_precondition_failed(error: &lapin::Error) -> bool {
    const PRECONDITION_FAILED: u16 = 406;
    matches!(error.kind(), ErrorKind::ProtocolError(error) if error.get_id() == PRECONDITION_FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_operators_scale_on() {
        let queue = Queue::Chunk("cpu".parse().unwrap());
        assert_eq!(Topology::new("").name(&queue), "chunk.cpu");
        assert_eq!(Topology::new("hyperfarm").name(&queue), "hyperfarm.chunk.cpu");
        assert_eq!(Topology::new("hyperfarm").dead_letters().as_str(), "hyperfarm.dead-letters");
    }
}
