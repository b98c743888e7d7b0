//! A consumer that outlives its connection.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use futures::StreamExt;
use hyperfarm_proto::task::Queue;
use lapin::{Acker, Channel};

use lapin::message::Delivery as RawDelivery;
use lapin::options::{BasicAckOptions, BasicConsumeOptions, BasicQosOptions, BasicRejectOptions};
use lapin::types::{AMQPValue, FieldTable};
use tokio::runtime::Handle;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use super::{RECONNECT, Shared};
use crate::broker::{Consumer, Delivery, Settle};

/// A consumer of one queue. It subscribes only while its `next` is awaited: a consumer whose connection is lost while a
/// delivery is unsettled must not hold a second one.
pub(super) struct RabbitConsumer {
    shared: Arc<Shared>,
    queue: Queue,
    /// Subscriptions that ended in a row without a delivery.
    failures: u32,
    state: State,
    /// Cancelled when the consumer is dropped.
    dropped: CancellationToken,
}

enum State {
    Idle,
    /// In a task of its own, so that `next` can be dropped and called again.
    Subscribing(JoinHandle<Option<Subscription>>),
    Subscribed(Box<Subscription>),
}

/// Dropping it closes the channel, and what it delivered goes back.
struct Subscription {
    deliveries: lapin::Consumer,
    _channel: Channel,
    ended: CancellationToken,
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.ended.cancel();
    }
}

impl RabbitConsumer {
    pub(super) fn new(shared: Arc<Shared>, queue: Queue) -> Self {
        Self { shared, queue, failures: 0, state: State::Idle, dropped: CancellationToken::new() }
    }

    fn delivery(&self, raw: RawDelivery, ended: CancellationToken) -> Delivery {
        let returned = times_returned(&raw);
        if returned > 0
            && let Some(metrics) = self.shared.metrics.get()
        {
            metrics.redelivered(&self.queue);
        }
        let settle = RabbitSettle {
            acker: Some(raw.acker),
            ended,
            is_dead_letter: self.queue == Queue::Dead,
            runtime: Handle::current(),
        };
        Delivery::new(Bytes::from(raw.data), returned, Box::new(settle))
    }
}

impl Drop for RabbitConsumer {
    fn drop(&mut self) {
        // A task that subscribes is not aborted: the client library does not close a channel whose `basic.consume` is
        // not awaited, and RabbitMQ would go on sending to a consumer that nothing reads. The task ends by itself and
        // drops its subscription.
        self.dropped.cancel();
    }
}

#[async_trait]
impl Consumer for RabbitConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let closed = self.shared.closed.clone();
        loop {
            if closed.is_cancelled() {
                self.state = State::Idle;
                return None;
            }
            match &mut self.state {
                State::Idle => {
                    let task =
                        subscribe_until_dropped(Arc::clone(&self.shared), self.queue.clone(), self.dropped.clone());
                    self.state = State::Subscribing(tokio::spawn(task));
                }
                State::Subscribing(task) => {
                    let subscribed = tokio::select! {
                        () = closed.cancelled() => continue,
                        subscribed = task => subscribed,
                    };
                    self.state = match subscribed {
                        Ok(Some(subscription)) => State::Subscribed(Box::new(subscription)),
                        // The broker was closed, or the runtime is going down.
                        Ok(None) | Err(_) => return None,
                    };
                }
                State::Subscribed(subscription) => {
                    let item = tokio::select! {
                        () = closed.cancelled() => continue,
                        item = subscription.deliveries.next() => item,
                    };
                    let reason = match item {
                        Some(Ok(raw)) => {
                            let ended = subscription.ended.clone();
                            self.failures = 0;
                            return Some(self.delivery(raw, ended));
                        }
                        Some(Err(error)) => error.to_string(),
                        None => "RabbitMQ cancelled the consumer".to_owned(),
                    };
                    tracing::warn!(queue = %self.queue, reason, "the subscription has ended, subscribing again");
                    // The queue may have been deleted.
                    self.shared.topology.forget(&self.queue);
                    self.state = State::Idle;
                    self.failures = self.failures.saturating_add(1);
                    tokio::select! {
                        () = closed.cancelled() => {}
                        () = tokio::time::sleep(RECONNECT.delay_after(self.failures)) => {}
                    }
                }
            }
        }
    }
}

/// Subscribes, however long it takes, until the consumer is dropped or the broker closed.
async fn subscribe_until_dropped(
    shared: Arc<Shared>,
    queue: Queue,
    dropped: CancellationToken,
) -> Option<Subscription> {
    for delay in RECONNECT.delays() {
        if dropped.is_cancelled() || shared.closed.is_cancelled() {
            break;
        }
        match subscribe(&shared, &queue).await {
            Ok(subscription) => return Some(subscription),
            Err(error) => tracing::warn!(%queue, %error, "RabbitMQ does not accept a subscription, trying again"),
        }
        shared.topology.forget(&queue);
        tokio::select! {
            () = dropped.cancelled() => {}
            () = shared.closed.cancelled() => {}
            () = tokio::time::sleep(delay) => {}
        }
    }
    None
}

async fn subscribe(shared: &Shared, queue: &Queue) -> Result<Subscription, lapin::Error> {
    let metrics = shared.metrics.get();
    shared.topology.ensure(&shared.consuming, metrics, queue).await?;
    let channel = shared.consuming.channel(metrics).await?;
    // For each consumer, not for the channel: RabbitMQ 4 knows no other.
    channel.basic_qos(1, BasicQosOptions { global: false }).await?;
    let name = shared.topology.name(queue).into();
    let deliveries =
        channel.basic_consume(name, "".into(), BasicConsumeOptions::default(), FieldTable::default()).await?;
    Ok(Subscription { deliveries, _channel: channel, ended: CancellationToken::new() })
}

/// How often the message went back to its queue. Quorum queues count it in a header; the flag says only that it was at
/// least once.
fn times_returned(raw: &RawDelivery) -> u32 {
    let headers = raw.properties.headers().as_ref();
    let count = headers.and_then(|headers| headers.inner().get("x-delivery-count")).and_then(whole_number);
    count.unwrap_or(u32::from(raw.redelivered))
}

fn whole_number(value: &AMQPValue) -> Option<u32> {
    match value {
        AMQPValue::ShortShortInt(number) => u32::try_from(*number).ok(),
        AMQPValue::ShortShortUInt(number) => Some(u32::from(*number)),
        AMQPValue::ShortInt(number) => u32::try_from(*number).ok(),
        AMQPValue::ShortUInt(number) => Some(u32::from(*number)),
        AMQPValue::LongInt(number) => u32::try_from(*number).ok(),
        AMQPValue::LongUInt(number) => Some(*number),
        AMQPValue::LongLongInt(number) => u32::try_from(*number).ok(),
        _ => None,
    }
}

struct RabbitSettle {
    /// `None` once settled.
    acker: Option<Acker>,
    /// Cancelled when the subscription has ended: the delivery goes back with its channel, and a `reject` at the same
    /// time would put it back a second time.
    ended: CancellationToken,
    is_dead_letter: bool,
    runtime: Handle,
}

#[async_trait]
impl Settle for RabbitSettle {
    async fn ack(mut self: Box<Self>) {
        let Some(acker) = self.take_acker() else { return };
        log_settlement(acker.ack(BasicAckOptions::default()).await);
    }

    async fn put_back(mut self: Box<Self>) {
        let Some(acker) = self.take_acker() else { return };
        reject(acker, true).await;
    }

    async fn dead_letter(mut self: Box<Self>) {
        let Some(acker) = self.take_acker() else { return };
        // Behind the dead-letter queue there is no other: a letter refused there would be lost.
        reject(acker, self.is_dead_letter).await;
    }
}

impl RabbitSettle {
    /// What settles the delivery, once, while its subscription lasts.
    fn take_acker(&mut self) -> Option<Acker> {
        self.acker.take().filter(|_| !self.ended.is_cancelled())
    }
}

impl Drop for RabbitSettle {
    fn drop(&mut self) {
        if let Some(acker) = self.take_acker() {
            self.runtime.spawn(reject(acker, true));
        }
    }
}

/// `reject`, because a `nack` is not counted against the delivery limit by every version.
async fn reject(acker: Acker, requeue: bool) {
    log_settlement(acker.reject(BasicRejectOptions { requeue }).await);
}

/// Logs a settlement that failed. No caller has to know: the message of a lost connection returns to its queue.
fn log_settlement(result: Result<bool, lapin::Error>) {
    match result {
        Ok(true) => {}
        Ok(false) => tracing::debug!("the delivery was already settled or lost"),
        Err(error) => tracing::debug!(%error, "the delivery was lost with its connection"),
    }
}
