//! What every broker promises.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyperfarm_backplane::broker::{
    Broker, BrokerError, Consumer, DELIVERY_LIMIT, Delivery, MemoryBroker, RabbitBroker,
};
use hyperfarm_proto::task::Queue;
use tokio::time::timeout;

use crate::servers::{AMQP, address, eventually, unique};

/// One broker, and any number of nodes on it.
pub(crate) enum Brokers {
    Memory(MemoryBroker),
    Rabbit { url: String, prefix: String },
}

impl Brokers {
    pub(crate) fn memory() -> Option<Self> {
        Some(Self::Memory(MemoryBroker::new()))
    }

    pub(crate) fn rabbit() -> Option<Self> {
        address(AMQP).map(|url| Self::Rabbit { url, prefix: unique("broker") })
    }

    /// A connection of its own.
    pub(crate) async fn node(&self) -> Arc<dyn Broker> {
        match self {
            Self::Memory(broker) => Arc::new(broker.connection()),
            Self::Rabbit { url, prefix } => Arc::new(RabbitBroker::connect(url, prefix).await.unwrap()),
        }
    }

    /// Removes what a test left at a server that others use too.
    pub(crate) async fn clean_up(&self) {
        let Self::Rabbit { url, prefix } = self else { return };
        let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
        let channel = connection.create_channel().await.unwrap();
        for queue in [queue(), other_queue(), Queue::Stitch, Queue::Events, Queue::Dead] {
            let name = format!("{prefix}.{queue}").into();
            channel.queue_delete(name, lapin::options::QueueDeleteOptions::default()).await.unwrap();
        }
        let exchange = format!("{prefix}.dead-letters").into();
        channel.exchange_delete(exchange, lapin::options::ExchangeDeleteOptions::default()).await.unwrap();
        connection.close(200, "done".into()).await.unwrap();
    }
}

pub(crate) fn queue() -> Queue {
    Queue::Chunk("cpu".parse().unwrap())
}

fn other_queue() -> Queue {
    Queue::Plan("gpu".parse().unwrap())
}

/// The next delivery, which must come.
pub(crate) async fn next(consumer: &mut Box<dyn Consumer>) -> Delivery {
    timeout(Duration::from_secs(20), consumer.next()).await.expect("a delivery within 20 s").expect("an open broker")
}

/// Nothing comes. Long enough for a message that was sent back to arrive.
pub(crate) async fn nothing(consumer: &mut Box<dyn Consumer>) {
    let came = timeout(Duration::from_millis(400), consumer.next()).await;
    assert!(came.is_err(), "unexpected delivery {:?}", came.unwrap().map(|delivery| delivery.payload));
}

async fn publish(broker: &Arc<dyn Broker>, text: &str) {
    broker.publish(&queue(), Bytes::copy_from_slice(text.as_bytes())).await.unwrap();
}

async fn payloads_come_as_they_were_sent(brokers: &Brokers) {
    let broker = brokers.node().await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    for payload in [Bytes::new(), Bytes::from_static(b"\0\xff\n"), Bytes::from(vec![7; 3_000_000])] {
        broker.publish(&queue(), payload.clone()).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.payload.len(), delivery.returned), (payload.len(), 0));
        assert_eq!(delivery.payload, payload);
        delivery.ack().await;
    }
}

async fn messages_come_in_order(brokers: &Brokers) {
    let broker = brokers.node().await;
    for number in 0..20 {
        publish(&broker, &number.to_string()).await;
    }
    let mut consumer = broker.consume(&queue()).await.unwrap();
    for number in 0..20 {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.payload, number.to_string());
        delivery.ack().await;
    }
}

async fn a_consumer_waits_for_the_first_message(brokers: &Brokers) {
    let broker = brokers.node().await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    nothing(&mut consumer).await;
    publish(&broker, "late").await;
    assert_eq!(next(&mut consumer).await.payload, "late");
}

async fn an_acknowledged_message_is_gone(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "once").await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    next(&mut consumer).await.ack().await;
    drop(consumer);
    nothing(&mut broker.consume(&queue()).await.unwrap()).await;
    assert_eq!(broker.depth(&queue()).await.unwrap(), 0);
}

async fn a_message_put_back_comes_again_and_says_so(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "again").await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    for returned in 0..3 {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.payload.as_ref(), delivery.returned), (&b"again"[..], returned));
        delivery.put_back().await;
    }
}

async fn a_dropped_delivery_goes_back(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "dropped").await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    drop(next(&mut consumer).await);
    let delivery = next(&mut consumer).await;
    assert_eq!((delivery.payload.as_ref(), delivery.returned), (&b"dropped"[..], 1));
}

async fn a_consumer_that_ends_gives_its_delivery_back(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "held").await;
    let mut first = broker.consume(&queue()).await.unwrap();
    let held = next(&mut first).await;
    drop(first);
    let mut second = broker.consume(&queue()).await.unwrap();
    let again = next(&mut second).await;
    assert_eq!((again.payload.as_ref(), again.returned), (&b"held"[..], 1));
    // No longer the first one's to settle, and no error either.
    held.ack().await;
    again.put_back().await;
    assert_eq!(next(&mut second).await.returned, 2);
}

async fn a_node_that_closes_gives_its_deliveries_back(brokers: &Brokers) {
    let (first, second) = (brokers.node().await, brokers.node().await);
    publish(&first, "held").await;
    let mut consumer = first.consume(&queue()).await.unwrap();
    let held = next(&mut consumer).await;
    first.close().await;
    assert!(consumer.next().await.is_none());
    let again = next(&mut second.consume(&queue()).await.unwrap()).await;
    assert_eq!((again.payload.as_ref(), again.returned), (&b"held"[..], 1));
    held.dead_letter().await;
    assert_eq!(second.depth(&Queue::Dead).await.unwrap(), 0);
}

async fn a_closed_broker_says_so(brokers: &Brokers) {
    let broker = brokers.node().await;
    broker.check().await.unwrap();
    let mut waiting = broker.consume(&queue()).await.unwrap();
    let waits = tokio::spawn(async move { waiting.next().await.is_none() });
    tokio::time::sleep(Duration::from_millis(200)).await;
    broker.close().await;
    assert!(timeout(Duration::from_secs(5), waits).await.expect("next ends").unwrap());
    assert!(matches!(broker.publish(&queue(), Bytes::new()).await, Err(BrokerError::Closed)));
    assert!(matches!(broker.consume(&queue()).await.err(), Some(BrokerError::Closed)));
    assert!(matches!(broker.depth(&queue()).await, Err(BrokerError::Closed)));
    assert!(matches!(broker.check().await, Err(BrokerError::Closed)));
    broker.close().await;
}

async fn a_consumer_holds_one_delivery_at_a_time(brokers: &Brokers) {
    let broker = brokers.node().await;
    for text in ["first", "second", "third"] {
        publish(&broker, text).await;
    }
    let mut one = broker.consume(&queue()).await.unwrap();
    let first = next(&mut one).await;
    nothing(&mut one).await;
    let mut other = broker.consume(&queue()).await.unwrap();
    let second = next(&mut other).await;
    assert_eq!(second.payload, "second");
    nothing(&mut other).await;
    first.ack().await;
    assert_eq!(next(&mut one).await.payload, "third");
}

async fn depth_counts_what_waits(brokers: &Brokers) {
    let broker = brokers.node().await;
    assert_eq!(broker.depth(&queue()).await.unwrap(), 0);
    for number in 0..5 {
        publish(&broker, &number.to_string()).await;
    }
    let depth_is = async |expected: u64| {
        eventually("the depth", async || broker.depth(&queue()).await.unwrap() == expected).await;
    };
    depth_is(5).await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    let held = next(&mut consumer).await;
    depth_is(4).await;
    held.put_back().await;
    drop(consumer);
    depth_is(5).await;
}

async fn what_goes_back_too_often_becomes_a_dead_letter(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "poison").await;
    publish(&broker, "good").await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    for returned in 0..=DELIVERY_LIMIT {
        let delivery = next(&mut consumer).await;
        assert_eq!((delivery.payload.as_ref(), delivery.returned), (&b"poison"[..], returned));
        delivery.put_back().await;
    }
    let delivery = next(&mut consumer).await;
    assert_eq!(delivery.payload, "good");
    delivery.ack().await;
    let letter = next(&mut broker.consume(&Queue::Dead).await.unwrap()).await;
    assert_eq!(letter.payload, "poison");
}

async fn crashes_count_against_the_limit(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "poison").await;
    for returned in 0..=DELIVERY_LIMIT {
        let mut consumer = broker.consume(&queue()).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.returned, returned);
        drop(consumer);
    }
    let letter = next(&mut broker.consume(&Queue::Dead).await.unwrap()).await;
    assert_eq!(letter.payload, "poison");
}

async fn a_dead_letter_stays_one(brokers: &Brokers) {
    let broker = brokers.node().await;
    publish(&broker, "hopeless").await;
    next(&mut broker.consume(&queue()).await.unwrap()).await.dead_letter().await;
    let mut dead = broker.consume(&Queue::Dead).await.unwrap();
    for look in 0..DELIVERY_LIMIT + 5 {
        let letter = next(&mut dead).await;
        assert_eq!(letter.payload, "hopeless");
        if look % 2 == 0 { letter.put_back().await } else { letter.dead_letter().await }
    }
    next(&mut dead).await.ack().await;
    nothing(&mut dead).await;
    assert_eq!(broker.depth(&queue()).await.unwrap(), 0);
}

async fn waiting_can_be_given_up_at_any_moment(brokers: &Brokers) {
    let broker = brokers.node().await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    let sender = Arc::clone(&broker);
    let sends = tokio::spawn(async move {
        for number in 0..50_u32 {
            sender.publish(&queue(), number.to_string().into()).await.unwrap();
        }
    });
    let mut came = Vec::new();
    for _ in 0..20_000 {
        if let Ok(delivery) = timeout(Duration::from_micros(300), consumer.next()).await {
            let delivery = delivery.unwrap();
            assert_eq!(delivery.returned, 0, "given up waiting, and a message went back");
            came.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
            delivery.ack().await;
        }
        if came.len() == 50 {
            break;
        }
    }
    sends.await.unwrap();
    assert_eq!(came, (0..50).map(|number| number.to_string()).collect::<Vec<_>>());
}

async fn a_consumer_given_up_while_it_begins_holds_nothing(brokers: &Brokers) {
    let broker = brokers.node().await;
    // Given up at every stage of the conversation by which a consumer begins.
    for step in 0..120 {
        let mut consumer = broker.consume(&queue()).await.unwrap();
        let _ = timeout(Duration::from_micros(250 * step), consumer.next()).await;
    }
    let sent: BTreeSet<String> = (0..30).map(|number| number.to_string()).collect();
    for text in &sent {
        publish(&broker, text).await;
    }
    let mut consumer = broker.consume(&queue()).await.unwrap();
    let mut came = BTreeSet::new();
    while came.len() < sent.len() {
        let delivery = next(&mut consumer).await;
        came.insert(String::from_utf8(delivery.payload.to_vec()).unwrap());
        delivery.ack().await;
    }
    assert_eq!(came, sent);
}

async fn consumers_share_a_queue(brokers: &Brokers) {
    let (one, other) = (brokers.node().await, brokers.node().await);
    let publishes = (0..100).map(|number: u32| {
        let broker = if number.is_multiple_of(2) { Arc::clone(&one) } else { Arc::clone(&other) };
        async move { broker.publish(&queue(), number.to_string().into()).await.unwrap() }
    });
    futures::future::join_all(publishes).await;
    let mut workers = Vec::new();
    for broker in [&one, &other, &one, &other] {
        let mut consumer = broker.consume(&queue()).await.unwrap();
        workers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            while let Ok(Some(delivery)) = timeout(Duration::from_millis(800), consumer.next()).await {
                done.push(String::from_utf8(delivery.payload.to_vec()).unwrap());
                delivery.ack().await;
            }
            done
        }));
    }
    let mut done = Vec::new();
    for worker in workers {
        done.extend(worker.await.unwrap());
    }
    assert_eq!(done.len(), 100, "a message came twice, or not at all");
    assert_eq!(done.into_iter().collect::<BTreeSet<_>>().len(), 100);
}

async fn queues_are_apart(brokers: &Brokers) {
    let broker = brokers.node().await;
    let queues = [queue(), other_queue(), Queue::Stitch, Queue::Events];
    for queue in &queues {
        broker.publish(queue, queue.to_string().into()).await.unwrap();
    }
    for queue in &queues {
        let mut consumer = broker.consume(queue).await.unwrap();
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.payload, queue.to_string());
        delivery.ack().await;
        nothing(&mut consumer).await;
    }
}

macro_rules! over_every_broker {
    ($($test:ident,)*) => {
        mod memory {
            use super::Brokers;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                super::$test(&Brokers::memory().unwrap()).await;
            })*
        }

        mod rabbit {
            use super::Brokers;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $test() {
                let Some(brokers) = Brokers::rabbit() else { return };
                super::$test(&brokers).await;
                brokers.clean_up().await;
            })*
        }
    };
}

over_every_broker! {
    payloads_come_as_they_were_sent,
    messages_come_in_order,
    a_consumer_waits_for_the_first_message,
    an_acknowledged_message_is_gone,
    a_message_put_back_comes_again_and_says_so,
    a_dropped_delivery_goes_back,
    a_consumer_that_ends_gives_its_delivery_back,
    a_node_that_closes_gives_its_deliveries_back,
    a_closed_broker_says_so,
    a_consumer_holds_one_delivery_at_a_time,
    depth_counts_what_waits,
    what_goes_back_too_often_becomes_a_dead_letter,
    crashes_count_against_the_limit,
    a_dead_letter_stays_one,
    waiting_can_be_given_up_at_any_moment,
    a_consumer_given_up_while_it_begins_holds_nothing,
    consumers_share_a_queue,
    queues_are_apart,
}
