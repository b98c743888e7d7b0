//! What only a broker behind a network has to promise: that it survives it.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use bytes::Bytes;
use hyperfarm_backplane::broker::{Broker, BrokerError, RabbitBroker};
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_proto::task::Queue;
use hyperfarm_testing::RabbitCluster;
use lapin::options::{QueueDeclareOptions, QueueDeleteOptions};
use lapin::types::FieldTable;

use crate::broker::{Brokers, next, nothing, queue};
use crate::servers::{AMQP, Proxy, address, unique};

async fn behind_a_proxy(brokers: &Brokers) -> (Proxy, RabbitBroker, Metrics) {
    let Brokers::Rabbit { url, prefix } = brokers else { panic!("RabbitMQ only") };
    let (proxy, url) = Proxy::before_url(url).await;
    let metrics = Metrics::new();
    let broker = RabbitBroker::connect(&url, prefix).await.unwrap().with_metrics(&metrics);
    (proxy, broker, metrics)
}

async fn channel(url: &str) -> (lapin::Connection, lapin::Channel) {
    let connection = lapin::Connection::connect(url, lapin::ConnectionProperties::default()).await.unwrap();
    let channel = connection.create_channel().await.unwrap();
    (connection, channel)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_made_again_and_what_was_held_comes_back() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let (proxy, broker, metrics) = behind_a_proxy(&brokers).await;
    broker.publish(&queue(), "held".into()).await.unwrap();
    let mut consumer = broker.consume(&queue()).await.unwrap();
    let held = next(&mut consumer).await;
    proxy.cut();
    // Nobody to tell, and no error.
    held.ack().await;
    let again = next(&mut consumer).await;
    assert_eq!((again.payload.as_ref(), again.returned), (&b"held"[..], 1));
    again.ack().await;
    broker.publish(&queue(), "after".into()).await.unwrap();
    let after = next(&mut consumer).await;
    assert_eq!((after.payload.as_ref(), after.returned), (&b"after"[..], 0));
    after.ack().await;
    let text = metrics.encode();
    assert!(text.contains("hyperfarm_reconnects_total{server=\"broker\"} 2"), "{text}");
    assert!(text.contains("hyperfarm_redeliveries_total{queue=\"chunk\"} 1"), "{text}");
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_consumer_that_waits_survives_an_outage() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let (proxy, broker, _) = behind_a_proxy(&brokers).await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    nothing(&mut consumer).await;
    let waits = tokio::spawn(async move { next(&mut consumer).await.payload.clone() });
    proxy.refuse(true);
    tokio::time::sleep(Duration::from_secs(1)).await;
    proxy.refuse(false);
    let other = brokers.node().await;
    other.publish(&queue(), "after".into()).await.unwrap();
    assert_eq!(waits.await.unwrap(), "after");
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn publishing_waits_out_a_short_outage() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let (proxy, broker, _) = behind_a_proxy(&brokers).await;
    broker.publish(&queue(), "before".into()).await.unwrap();
    proxy.refuse(true);
    let outage = async {
        tokio::time::sleep(Duration::from_secs(2)).await;
        proxy.refuse(false);
    };
    let chunks = queue();
    let (published, ()) = tokio::join!(broker.publish(&chunks, "during".into()), outage);
    published.unwrap();
    let mut consumer = broker.consume(&queue()).await.unwrap();
    for text in ["before", "during"] {
        let delivery = next(&mut consumer).await;
        assert_eq!(delivery.payload, text);
        delivery.ack().await;
    }
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_broker_that_is_closed_during_an_outage_ends_at_once() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let (proxy, broker, _) = behind_a_proxy(&brokers).await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    proxy.refuse(true);
    let begin = Instant::now();
    let closing = async {
        tokio::time::sleep(Duration::from_millis(500)).await;
        broker.close().await;
    };
    let chunks = queue();
    let (published, delivered, ()) = tokio::join!(broker.publish(&chunks, Bytes::new()), consumer.next(), closing);
    assert!(matches!(published, Err(BrokerError::Closed)), "{published:?}");
    assert!(delivered.is_none());
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_that_was_deleted_is_made_again() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let Brokers::Rabbit { url, prefix } = &brokers else { unreachable!() };
    let broker = brokers.node().await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    broker.publish(&queue(), "before".into()).await.unwrap();
    next(&mut consumer).await.ack().await;
    let (_connection, channel) = channel(url).await;
    for queue in [queue(), Queue::Dead] {
        let name = format!("{prefix}.{queue}").into();
        channel.queue_delete(name, QueueDeleteOptions::default()).await.unwrap();
    }
    // Returned as not routable, declared and published again.
    broker.publish(&queue(), "after".into()).await.unwrap();
    assert_eq!(next(&mut consumer).await.payload, "after");
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_queue_with_other_arguments_is_used_as_it_is() {
    let Some(brokers) = Brokers::rabbit() else { return };
    let Brokers::Rabbit { url, prefix } = &brokers else { unreachable!() };
    let (_connection, channel) = channel(url).await;
    let name = format!("{prefix}.{}", queue());
    channel.queue_declare(name.into(), QueueDeclareOptions::durable(), FieldTable::default()).await.unwrap();
    let broker = brokers.node().await;
    broker.publish(&queue(), "old".into()).await.unwrap();
    let delivery = next(&mut broker.consume(&queue()).await.unwrap()).await;
    assert_eq!(delivery.payload, "old");
    delivery.ack().await;
    brokers.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_apart() {
    let (Some(one), Some(other)) = (Brokers::rabbit(), Brokers::rabbit()) else { return };
    let (node, stranger) = (one.node().await, other.node().await);
    node.publish(&queue(), "ours".into()).await.unwrap();
    nothing(&mut stranger.consume(&queue()).await.unwrap()).await;
    one.clean_up().await;
    other.clean_up().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrong_credentials_are_told_at_once_and_not_repeated() {
    let Some(url) = address(AMQP) else { return };
    let mut url = url::Url::parse(&url).unwrap();
    url.set_password(Some("not-the-password")).unwrap();
    let begin = Instant::now();
    let error = RabbitBroker::connect(url.as_str(), &unique("refused")).await.err().unwrap();
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert!(matches!(error, BrokerError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("not-the-password"), "{error}");
    assert!(RabbitBroker::connect("http://127.0.0.1/", "x").await.is_err());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_that_loses_the_node_of_a_client_loses_no_message() {
    let Some(mut cluster) = RabbitCluster::start() else { return };
    let metrics = Metrics::new();
    let broker = RabbitBroker::connect(&cluster.urls(), "nodes").await.unwrap().with_metrics(&metrics);
    let publish = async |numbers: std::ops::Range<u32>| {
        for number in numbers {
            broker.publish(&queue(), number.to_string().into()).await.unwrap();
        }
    };
    publish(0..20).await;
    let mut consumer = broker.consume(&queue()).await.unwrap();
    let held = next(&mut consumer).await;
    // The first of the URLs, which both connections lead to.
    cluster.kill(0);
    let lost_at = Instant::now();
    publish(20..40).await;
    println!("published again {:.1} s after the loss", lost_at.elapsed().as_secs_f64());
    held.ack().await;
    let mut seen = BTreeSet::new();
    while seen.len() < 40 {
        let next = tokio::time::timeout(Duration::from_secs(60), consumer.next()).await;
        let delivery = next.expect("messages are there").unwrap();
        seen.insert(delivery.payload.clone());
        delivery.ack().await;
    }
    assert!(metrics.encode().contains("hyperfarm_reconnects_total{server=\"broker\"} 2"), "{}", metrics.encode());
    broker.close().await;
}
