//! The broker, which carries tasks to workers and stitchers and hints to the coordinator: RabbitMQ, or in process.
//!
//! # Semantics, the same for every implementation
//!
//! - **Durable publish.** [`Broker::publish`] returns once the message would survive a restart of the broker (publisher
//!   confirm), or fails. A failed publish may still have been delivered: receivers tolerate doubles.
//! - **At least once.** A delivery that is neither acknowledged nor dead-lettered goes back to its queue when its
//!   consumer, its connection or its process ends, and is then marked as redelivered.
//! - **One in flight.** A [`Consumer`] holds one unsettled delivery at a time (prefetch 1), so a crash harms no
//!   neighbour. Once that is settled a broker may already hand it the next: who wants no more work drops the consumer.
//! - **Bounded.** A delivery goes back [`DELIVERY_LIMIT`] times; the next time it goes to the dead-letter queue by
//!   itself. A dead letter stays in that queue until it is acknowledged.
//! - **Supervised.** A consumer outlives its connection: [`Consumer::next`] reconnects, with back-off, until it has a
//!   delivery or the broker is closed. Settling a delivery whose connection is gone is not an error: the message
//!   returns anyway.
//! - **Nothing of value.** Every message can be sent again: after the loss of all queues the coordinator's reconciling
//!   loop fills them.

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_proto::task::Queue;

mod memory;
pub(crate) mod rabbit;

pub use memory::MemoryBroker;
pub use rabbit::RabbitBroker;

/// Times a message may go back to its queue before it becomes a dead letter.
pub const DELIVERY_LIMIT: u32 = 20;

/// Why an operation of the broker failed.
#[derive(Debug, thiserror::Error)]
pub enum BrokerError {
    /// There is no connection.
    #[error("the broker at {url} cannot be reached: {reason}; check HYPERFARM_AMQP_URL and that RabbitMQ runs")]
    Unreachable {
        /// Its URL without credentials.
        url: String,
        /// What the client library reports.
        reason: String,
    },
    /// A message was refused or lost.
    #[error("queue {queue}: {reason}")]
    Publish {
        /// The queue.
        queue: String,
        /// What happened.
        reason: String,
    },
    /// The broker was closed by [`Broker::close`].
    #[error("the broker is closed")]
    Closed,
}

/// A connection to a broker. See the [module](self) for what every implementation promises.
#[async_trait]
pub trait Broker: Send + Sync + 'static {
    /// Appends `payload` to `queue`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// The message is not confirmed; it may have arrived nevertheless.
    async fn publish(&self, queue: &Queue, payload: Bytes) -> Result<(), BrokerError>;

    /// A new consumer of `queue`, which is made if it does not exist.
    ///
    /// # Errors
    ///
    /// [`BrokerError::Closed`]. A broker that cannot be reached is waited for by the consumer.
    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BrokerError>;

    /// Number of messages that wait in `queue`, without those in flight.
    ///
    /// # Errors
    ///
    /// The broker does not answer in time.
    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError>;

    /// Checks that the broker answers.
    ///
    /// # Errors
    ///
    /// The broker does not answer in time.
    async fn check(&self) -> Result<(), BrokerError>;

    /// Ends every consumer; unsettled deliveries go back to their queues.
    async fn close(&self);
}

/// A consumer of one queue.
#[async_trait]
pub trait Consumer: Send {
    /// The next delivery; `None` once the broker is closed. Cancel safe: a delivery is not lost when the future is
    /// dropped.
    async fn next(&mut self) -> Option<Delivery>;
}

/// A message that was delivered to a consumer. Dropped unsettled, it goes back to its queue.
pub struct Delivery {
    /// Bytes of the message.
    pub payload: Bytes,
    /// How often it went back to its queue before.
    pub returned: u32,
    settle: Box<dyn Settle>,
}

/// What a broker does with a delivered message. A value that is dropped without any of these puts the message back into
/// its queue.
#[async_trait]
pub trait Settle: Send + Sync {
    /// Removes the message.
    async fn ack(self: Box<Self>);
    /// Puts it back into its queue.
    async fn put_back(self: Box<Self>);
    /// Moves it to the dead-letter queue.
    async fn dead_letter(self: Box<Self>);
}

impl Delivery {
    /// A delivery of an implementation of [`Broker`], which `settle` settles.
    pub fn new(payload: Bytes, returned: u32, settle: Box<dyn Settle>) -> Self {
        Self { payload, returned, settle }
    }

    /// Acknowledges the message, which removes it.
    pub async fn ack(self) {
        self.settle.ack().await;
    }

    /// Puts the message back into its queue, for another consumer or later.
    pub async fn put_back(self) {
        self.settle.put_back().await;
    }

    /// Moves the message to the dead-letter queue.
    pub async fn dead_letter(self) {
        self.settle.dead_letter().await;
    }
}
