//! The broker in process: it keeps the promises of RabbitMQ's for as long as the process lives.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_proto::task::Queue;
use parking_lot::Mutex;
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
    /// The queues and ids of its consumers, so that closing puts their deliveries back before it returns.
    consumers: Mutex<Vec<(Arc<QueueCell>, u64)>>,
}

#[derive(Default)]
struct Queues {
    cells: Mutex<HashMap<Queue, Arc<QueueCell>>>,
}

struct QueueCell {
    is_dead: bool,
    state: Mutex<QueueState>,
    /// Notified when a message arrives or is settled.
    changed: Notify,
}

#[derive(Default)]
struct QueueState {
    ready: VecDeque<Message>,
    /// By delivery: the consumer that holds it, and the message. A delivery that is not here is settled.
    unsettled: HashMap<u64, (u64, Message)>,
    last_id: u64,
}

#[derive(Clone)]
struct Message {
    payload: Bytes,
    returned: u32,
}

enum Settlement {
    Ack,
    Back,
    Dead,
}

impl Queues {
    fn cell(&self, queue: &Queue) -> Arc<QueueCell> {
        let mut cells = self.cells.lock();
        let cell = cells.entry(queue.clone()).or_insert_with(|| {
            Arc::new(QueueCell { is_dead: *queue == Queue::Dead, state: Mutex::default(), changed: Notify::new() })
        });
        Arc::clone(cell)
    }

    fn settle(&self, cell: &QueueCell, delivery: u64, how: Settlement) {
        let removed = cell.state.lock().unsettled.remove(&delivery);
        let Some((_, message)) = removed else { return };
        self.move_message(cell, message, how);
        cell.changed.notify_waiters();
    }

    fn move_message(&self, cell: &QueueCell, message: Message, how: Settlement) {
        let is_spent = message.returned >= DELIVERY_LIMIT;
        match how {
            Settlement::Ack => {}
            // A dead letter stays in its queue, however often it is put back.
            Settlement::Back | Settlement::Dead if cell.is_dead => cell.put_front(message),
            Settlement::Back if !is_spent => cell.put_front(message),
            Settlement::Back | Settlement::Dead => self.cell(&Queue::Dead).put_last(message.payload),
        }
    }

    /// Puts back the deliveries that a consumer holds.
    fn put_back_held(&self, cell: &QueueCell, consumer: u64) {
        let held: Vec<u64> = cell
            .state
            .lock()
            .unsettled
            .iter()
            .filter(|(_, (owner, _))| *owner == consumer)
            .map(|(id, _)| *id)
            .collect();
        for delivery in held {
            self.settle(cell, delivery, Settlement::Back);
        }
    }
}

impl QueueCell {
    fn put_last(&self, payload: Bytes) {
        self.state.lock().ready.push_back(Message { payload, returned: 0 });
        self.changed.notify_waiters();
    }

    fn put_front(&self, message: Message) {
        self.state.lock().ready.push_front(Message { returned: message.returned.saturating_add(1), ..message });
    }

    /// The first message for a consumer, unless that holds one already.
    fn deliver(&self, consumer: u64) -> Option<(u64, Message)> {
        let mut state = self.state.lock();
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
            let mut state = cell.state.lock();
            state.last_id += 1;
            state.last_id
        };
        self.connection.consumers.lock().push((Arc::clone(&cell), id));
        let (queues, connection) = (Arc::clone(&self.queues), Arc::clone(&self.connection));
        Ok(Box::new(MemoryConsumer { queues, connection, cell, id }))
    }

    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError> {
        Ok(self.open()?.cell(queue).state.lock().ready.len() as u64)
    }

    async fn check(&self) -> Result<(), BrokerError> {
        self.open().map(drop)
    }

    async fn close(&self) {
        self.connection.closed.cancel();
        let consumers = std::mem::take(&mut *self.connection.consumers.lock());
        for (cell, id) in consumers {
            self.queues.put_back_held(&cell, id);
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
            // Registered before the queue is read, so that a message that arrives in between wakes it.
            let changed = self.cell.changed.notified();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.connection.closed.is_cancelled() {
                return None;
            }
            if let Some((delivery, message)) = self.cell.deliver(self.id) {
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
        self.connection.consumers.lock().retain(|(cell, id)| *id != self.id || !Arc::ptr_eq(cell, &self.cell));
        self.queues.put_back_held(&self.cell, self.id);
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
        self.queues.settle(&self.cell, self.delivery, Settlement::Ack);
    }

    async fn put_back(self: Box<Self>) {
        self.queues.settle(&self.cell, self.delivery, Settlement::Back);
    }

    async fn dead_letter(self: Box<Self>) {
        self.queues.settle(&self.cell, self.delivery, Settlement::Dead);
    }
}

impl Drop for MemorySettle {
    /// After a settlement the delivery is unknown, and this does nothing.
    fn drop(&mut self) {
        self.queues.settle(&self.cell, self.delivery, Settlement::Back);
    }
}
