//! Outages of broker and ledger.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{Farm, chunks_of, comes, draft};
use async_trait::async_trait;
use bytes::Bytes;
use hyperfarm_backplane::broker::{Broker, BrokerError, Consumer};
use hyperfarm_backplane::ledger::Renewal;
use hyperfarm_coordinator::Stage;
use hyperfarm_proto::record::{Outcome, TaskProgress};
use hyperfarm_proto::task::Queue;

/// A broker that can be switched off.
struct SwitchedBroker {
    inner: Arc<dyn Broker>,
    is_down: Arc<AtomicBool>,
    /// Calls that failed because of it.
    refused: Arc<AtomicU64>,
}

impl SwitchedBroker {
    fn broker(&self) -> Result<&dyn Broker, BrokerError> {
        if self.is_down.load(Ordering::SeqCst) {
            self.refused.fetch_add(1, Ordering::SeqCst);
            return Err(BrokerError::Unreachable { url: "test".to_owned(), reason: "switched off".to_owned() });
        }
        Ok(&*self.inner)
    }
}

#[async_trait]
impl Broker for SwitchedBroker {
    async fn publish(&self, queue: &Queue, payload: Bytes) -> Result<(), BrokerError> {
        self.broker()?.publish(queue, payload).await
    }
    async fn consume(&self, queue: &Queue) -> Result<Box<dyn Consumer>, BrokerError> {
        self.broker()?.consume(queue).await
    }
    async fn depth(&self, queue: &Queue) -> Result<u64, BrokerError> {
        self.broker()?.depth(queue).await
    }
    async fn check(&self) -> Result<(), BrokerError> {
        self.broker()?.check().await
    }
    async fn close(&self) {}
}

/// A farm whose coordinator can lose its servers, while the workers keep theirs: the broker with this switch, the ledger with the
/// switch of [`ObservedLedger`](crate::common::observed::ObservedLedger).
struct Switched {
    farm: Farm,
    is_broker_down: Arc<AtomicBool>,
    refused_by_broker: Arc<AtomicU64>,
}

impl Switched {
    async fn new() -> Self {
        let mut farm = Farm::new();
        farm.drain.start();
        farm.coordinator.join().await;
        let (is_broker_down, refused_by_broker) = (Arc::new(AtomicBool::default()), Arc::new(AtomicU64::default()));
        farm.start(Arc::new(SwitchedBroker {
            inner: farm.backplane.broker.clone(),
            is_down: is_broker_down.clone(),
            refused: refused_by_broker.clone(),
        }));
        Self { farm, is_broker_down, refused_by_broker }
    }
}

#[tokio::test]
async fn a_render_waits_out_an_outage_of_broker_and_ledger_and_answers_meanwhile() {
    let Switched { farm, is_broker_down, refused_by_broker } = Switched::new().await;
    let draft = draft(60, true);
    let observed = &farm.observed;
    for (is_down, refused) in [(&*is_broker_down, &*refused_by_broker), (&observed.is_down, &observed.refused)] {
        is_down.store(true, Ordering::SeqCst);
        let render = farm.submit(chunks_of(30)).await;
        let before = refused.load(Ordering::SeqCst);
        assert!(comes(async || refused.load(Ordering::SeqCst) > before + 1).await, "the outage was never noticed");
        let progress = farm.coordinator.detail(&render).await.unwrap().progress;
        assert_eq!(progress.stage, Stage::Queued, "polls are answered");
        is_down.store(false, Ordering::SeqCst);
        farm.worker("w1").await.finish(&draft).await;
        assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    }
}

#[tokio::test]
async fn servers_that_flap_at_every_step_do_not_change_the_end() {
    let Switched { farm, is_broker_down, .. } = Switched::new().await;
    let render = farm.submit(chunks_of(10)).await;
    let flapping = tokio::spawn({
        let ledger = farm.observed.clone();
        async move {
            for step in 0u64.. {
                is_broker_down.store(step % 3 == 0, Ordering::SeqCst);
                ledger.is_down.store(step % 4 == 1, Ordering::SeqCst);
                tokio::time::sleep(Duration::from_millis(7 + step % 5)).await;
            }
        }
    });
    farm.worker("w1").await.finish(&draft(60, true)).await;
    assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    flapping.abort();
}

#[tokio::test]
async fn a_cancellation_while_the_ledger_is_down_reaches_the_workers_later() {
    let farm = Farm::new();
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let lease = worker.claim().await;
    farm.observed.is_down.store(true, Ordering::SeqCst);
    farm.coordinator.cancel(&render).await.unwrap();
    assert!(matches!(farm.end(&render).await, Outcome::Failed { .. }));
    farm.observed.is_down.store(false, Ordering::SeqCst);
    for _ in 0..200 {
        let renewal = farm.backplane.ledger.renew(&lease, TaskProgress::default(), crate::common::SOON).await.unwrap();
        if renewal == Renewal::Lost {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the worker has never lost its lease");
}
