//! The broker in process: the same promises as RabbitMQ's, for as long as the process lives.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_proto::task::Queue;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::{Broker, BrokerError, Consumer, DELIVERY_LIMIT, Delivery, Settle};

/// A broker in this process.
pub struct MemoryBroker {
    queues: Arc<Queues>,
    connection: Arc<Connection>,
}

impl Default for MemoryBroker {
    fn default() -> Self {
        Self::new()
    }
}

impl MemoryBroker {
    /// An empty broker.
    pub fn new() -> Self {
        Self { queues: Arc::default(), connection: Arc::default() }
    }

    /// Another connection to the same queues, closed for itself: a second node in one process.
    pub fn connection(&self) -> Self {
        Self { queues: Arc::clone(&self.queues), connection: Arc::default() }
    }
}

#[derive(Default)]
struct Connection {
    closed: CancellationToken,
    /// What its consumers consume from, so that closing gives their deliveries back before it returns.
    consumers: Mutex<Vec<(Arc<QueueCell>, u64)>>,
}

#[derive(Default)]
struct Queues {
    cells: Mutex<HashMap<Queue, Arc<QueueCell>>>,
}

struct QueueCell {
    is_dead: bool,
    state: Mutex<QueueState>,
    /// A message came, or one was settled.
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Message>,
    /// By delivery: whose it is, and what it carries. A delivery that is not here is settled.
    unsettled: HashMap<u64, (u64, Message)>,
    last_id: u64,
}

#[derive(Clone)]
struct Message {
    payload: Bytes,
    returned: u32,
}

enum Settled {
    Ack,
    Back,
    Dead,
}

/// A panic under one of these locks cannot leave the state half changed: nothing in there panics between two writes.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Queues {
    fn cell(&self, queue: &Queue) -> Arc<QueueCell> {
        let mut cells = lock(&self.cells);
        let cell = cells.entry(queue.clone()).or_insert_with(|| {
            Arc::new(QueueCell { is_dead: *queue == Queue::Dead, state: Mutex::default(), changed: Notify::new() })
        });
        Arc::clone(cell)
    }

    fn settle(&self, cell: &QueueCell, delivery: u64, how: Settled) {
        let removed = lock(&cell.state).unsettled.remove(&delivery);
        let Some((_, message)) = removed else { return };
        self.place(cell, message, how);
        cell.changed.notify_waiters();
    }

    fn place(&self, cell: &QueueCell, message: Message, how: Settled) {
        let is_spent = message.returned >= DELIVERY_LIMIT;
        match how {
            Settled::Ack => {}
            // A dead letter stays one, however often it is looked at.
            Settled::Back | Settled::Dead if cell.is_dead => cell.put_front(message),
            Settled::Back if !is_spent => cell.put_front(message),
            Settled::Back | Settled::Dead => self.cell(&Queue::Dead).put_last(message.payload),
        }
    }

    /// Gives back what a consumer holds.
    fn give_back(&self, cell: &QueueCell, consumer: u64) {
        let held: Vec<u64> = lock(&cell.state)
            .unsettled
            .iter()
            .filter(|(_, (owner, _))| *owner == consumer)
            .map(|(id, _)| *id)
            .collect();
        for delivery in held {
            self.settle(cell, delivery, Settled::Back);
        }
    }
}

impl QueueCell {
    fn put_last(&self, payload: Bytes) {
        lock(&self.state).ready.push_back(Message { payload, returned: 0 });
        self.changed.notify_waiters();
    }

    fn put_front(&self, message: Message) {
        lock(&self.state).ready.push_front(Message { returned: message.returned.saturating_add(1), ..message });
    }

    /// The first message, unless the consumer holds one already.
    fn take(&self, consumer: u64) -> Option<(u64, Message)> {
        let mut state = lock(&self.state);
        if state.unsettled.values().any(|(owner, _)| *owner == consumer) {
            return None;
        }
        let message = state.ready.pop_front()?;
        state.last_id += 1;
        let id = state.last_id;
        state.unsettled.insert(id, (consumer, message.clone()));
        Some((id, message))
    }
}

#[async_trait]
impl Broker for MemoryBroker {
    async fn publish(&self, queue: &Queue, payload: Bytes) -> Result<(), BrokerError> {
        self.open()?.cell(queue).put_last(payload);
        Ok(())
    }

    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BrokerError> {
        let cell = self.open()?.cell(queue);
        let id = {
            let mut state = lock(&cell.state);
            state.last_id += 1;
            state.last_id
        };
        lock(&self.connection.consumers).push((Arc::clone(&cell), id));
        let (queues, connection) = (Arc::clone(&self.queues), Arc::clone(&self.connection));
        Ok(Box::new(MemoryConsumer { queues, connection, cell, id }))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError> {
        Ok(lock(&self.open()?.cell(queue).state).ready.len() as u64)
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.open().map(drop)
    }

    async fn close(&self) {
        self.connection.closed.cancel();
        let consumers = std::mem::take(&mut *lock(&self.connection.consumers));
        for (cell, id) in consumers {
            self.queues.give_back(&cell, id);
        }
    }
}

impl MemoryBroker {
    fn open(&self) -> Result<&Queues, BrokerError> {
        if self.connection.closed.is_cancelled() { Err(BrokerError::Closed) } else { Ok(&self.queues) }
    }
}

struct MemoryConsumer {
    queues: Arc<Queues>,
    connection: Arc<Connection>,
    cell: Arc<QueueCell>,
    id: u64,
}

#[async_trait]
impl Consumer for MemoryConsumer {
    async fn next(&mut self) -> Option<Delivery> {
        loop {
            // Registered before the look: a message that comes between the two wakes it.
            let changed = self.cell.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.connection.closed.is_cancelled() {
                return None;
            }
            if let Some((delivery, message)) = self.cell.take(self.id) {
                let settle = MemorySettle { queues: Arc::clone(&self.queues), cell: Arc::clone(&self.cell), delivery };
                return Some(Delivery::new(message.payload, message.returned, Box::new(settle)));
            }
            tokio::select! {
                () = self.connection.closed.cancelled() => return None,
                () = changed => {}
            }
        }
    }
}

impl Drop for MemoryConsumer {
    fn drop(&mut self) {
        lock(&self.connection.consumers).retain(|(cell, id)| *id != self.id || !Arc::ptr_eq(cell, &self.cell));
        self.queues.give_back(&self.cell, self.id);
    }
}

struct MemorySettle {
    queues: Arc<Queues>,
    cell: Arc<QueueCell>,
    delivery: u64,
}

#[async_trait]
impl Settle for MemorySettle {
    async fn ack(self: Box<Self>) {
        self.queues.settle(&self.cell, self.delivery, Settled::Ack);
    }

    async fn put_back(self: Box<Self>) {
        self.queues.settle(&self.cell, self.delivery, Settled::Back);
    }

    async fn dead_letter(self: Box<Self>) {
        self.queues.settle(&self.cell, self.delivery, Settled::Dead);
    }
}

impl Drop for MemorySettle {
    /// After a settlement the delivery is unknown, and this does nothing.
    fn drop(&mut self) {
        self.queues.settle(&self.cell, self.delivery, Settled::Back);
    }
}
