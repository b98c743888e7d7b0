//! The broker as a process reaches it.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::broker::{Broker, BrokerError, Consumer, Delivery, MemoryBroker, Settle};
use hyperfarm_proto::task::{Queue, TaskMessage};
use hyperfarm_proto::wire;

use crate::plants;
use crate::process::Process;
use crate::world::Server;

pub(crate) struct FaultyBroker {
    pub(crate) process: Arc<Process>,
}

fn lost(reason: &'static str) -> BrokerError {
    BrokerError::Unreachable { url: "simulated".to_owned(), reason: reason.to_owned() }
}

/// What a message is about, for the history.
fn about(payload: &[u8]) -> String {
    wire::decode::<TaskMessage>(payload).map_or_else(|_| "a hint".to_owned(), |message| message.task.to_string())
}

#[async_trait]
impl Broker for FaultyBroker {
    async fn publish(&self, queue: &Queue, payload: Bytes) -> Result<(), BrokerError> {
        let what = format!("publish {queue} {}", about(&payload));
        let (process, operation, queue) = (self.process.clone(), what.clone(), queue.clone());
        let work = async move {
            process.note(&operation);
            if process.world.happens(process.world.weather().doubled) {
                process.world.broker.publish(&queue, payload.clone()).await?;
            }
            process.world.broker.publish(&queue, payload).await
        };
        self.process.call(Server::Broker, &what, work, lost).await
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BrokerError> {
        self.process.step("consume").await;
        Ok(Box::new(FaultyConsumer { process: self.process.clone(), queue: queue.clone(), open: None, arrived: None }))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError> {
        let (process, queue) = (self.process.clone(), queue.clone());
        let work = async move { process.world.broker.depth(&queue).await };
        self.process.call(Server::Broker, "depth", work, lost).await
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.process.call(Server::Broker, "check", async { Ok(()) }, lost).await
    }

    async fn close(&self) {
        self.process.disconnect();
    }
}

/// It outlives its connection, as the broker promises.
struct FaultyConsumer {
    process: Arc<Process>,
    queue: Queue,
    /// Its connection, and the consumer there.
    open: Option<(Arc<MemoryBroker>, Box<dyn Consumer>)>,
    arrived: Option<Delivery>,
}

#[async_trait]
impl Consumer for FaultyConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        let (process, pause) = (self.process.clone(), tokio::time::sleep);
        loop {
            process.step("consume").await;
            if process.world.is_cut(Server::Broker, &process.name) {
                pause(Duration::from_millis(250)).await;
                continue;
            }
            let Some((connection, consumer)) = &mut self.open else {
                pause(process.world.millis(0..5)).await;
                let connection = process.connection();
                self.open = connection.consume(&self.queue).await.ok().map(|consumer| (connection, consumer));
                continue;
            };
            if self.arrived.is_none() {
                self.arrived = consumer.next().await;
                pause(process.world.millis(0..3)).await;
                process.step("at a delivery").await;
            }
            if !Arc::ptr_eq(connection, &process.connection()) {
                // It has broken: the message is back.
                (self.open, self.arrived) = (None, None);
            }
            let Some(delivery) = self.arrived.take() else { continue };
            process.note(&format!(
                "is given {} of {}, returned {}",
                about(&delivery.payload),
                self.queue,
                delivery.returned
            ));
            let delivery = plants::delivered(&process.world, delivery).await;
            let (payload, returned) = (delivery.payload.clone(), delivery.returned);
            let number = process.holds();
            let settle = FaultySettle { process, inner: Some(delivery), number };
            return Some(Delivery::new(payload, returned, Box::new(settle)));
        }
    }
}

struct FaultySettle {
    process: Arc<Process>,
    inner: Option<Delivery>,
    number: u64,
}

impl FaultySettle {
    /// The delivery to settle; `None` where its connection breaks first, so that the message returns.
    async fn settle(&mut self, how: &str) -> Option<Delivery> {
        let about = self.inner.as_ref().map(|delivery| about(&delivery.payload)).unwrap_or_default();
        self.process.step(how).await;
        let is_lost = self.process.world.happens(self.process.world.weather().doubled)
            || self.process.world.is_cut(Server::Broker, &self.process.name);
        if is_lost {
            self.process.note(&format!("{how} {about}: lost with the connection"));
            self.process.disconnect();
            return None;
        }
        self.process.note(&format!("{how} {about}"));
        self.process.settled(self.number);
        self.inner.take()
    }
}

#[async_trait]
impl Settle for FaultySettle {
    async fn ack(mut self: Box<Self>) {
        if let Some(delivery) = self.settle("acks").await {
            delivery.ack().await;
        }
    }
    async fn put_back(mut self: Box<Self>) {
        if let Some(delivery) = self.settle("puts back").await {
            delivery.put_back().await;
        }
    }
    async fn dead_letter(mut self: Box<Self>) {
        if let Some(delivery) = self.settle("gives up").await {
            delivery.dead_letter().await;
        }
    }
}

impl Drop for FaultySettle {
    fn drop(&mut self) {
        self.process.settled(self.number);
    }
}
