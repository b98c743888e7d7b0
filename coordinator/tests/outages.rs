//! Broker and ledger that come and go.
#![allow(missing_docs, clippy::unwrap_used)]

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use common::{Farm, chunks_of, draft, quick};
use hyperfarm_backplane::broker::{Broker, BrokerError, Consumer};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{
    Claim, Commit, Lease, Ledger, LedgerError, NodeCommand, NodeView, RenderView, Renewal,
};
use hyperfarm_coordinator::{Coordinator, Stage};
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::{Outcome, TaskProgress};
use hyperfarm_proto::task::{Queue, TaskId};

/// What the coordinator sees of a server that can be switched off.
struct Switched<T: ?Sized> {
    inner: Arc<T>,
    is_down: Arc<AtomicBool>,
}

impl<T: ?Sized> Switched<T> {
    fn ledger(&self) -> Result<&T, LedgerError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(LedgerError::Unreachable { url: "test".to_owned(), reason: "switched off".to_owned() });
        }
        Ok(&self.inner)
    }

    fn broker(&self) -> Result<&T, BrokerError> {
        if self.is_down.load(Ordering::SeqCst) {
            return Err(BrokerError::Unreachable { url: "test".to_owned(), reason: "switched off".to_owned() });
        }
        Ok(&self.inner)
    }
}

#[async_trait]
impl Ledger for Switched<dyn Ledger> {
    async fn open(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.ledger()?.open(render).await
    }
    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        self.ledger()?.claim(task, worker, ttl).await
    }
    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Result<Renewal, LedgerError> {
        self.ledger()?.renew(lease, progress, ttl).await
    }
    async fn commit(&self, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError> {
        self.ledger()?.commit(lease, result).await
    }
    async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError> {
        self.ledger()?.fail(lease, failure).await
    }
    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        self.ledger()?.release(lease).await
    }
    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Result<(), LedgerError> {
        self.ledger()?.restore(task, attempt, result).await
    }
    async fn view(&self, render: &RenderId) -> Result<Option<RenderView>, LedgerError> {
        self.ledger()?.view(render).await
    }
    async fn cancel(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.ledger()?.cancel(render).await
    }
    async fn forget(&self, render: &RenderId) -> Result<(), LedgerError> {
        self.ledger()?.forget(render).await
    }
    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<Option<NodeCommand>, LedgerError> {
        self.ledger()?.heartbeat(node, ttl).await
    }
    async fn wish(&self, node: &WorkerId, wish: &NodeCommand) -> Result<bool, LedgerError> {
        self.ledger()?.wish(node, wish).await
    }
    async fn nodes(&self) -> Result<Vec<NodeView>, LedgerError> {
        self.ledger()?.nodes().await
    }
    async fn check(&self) -> Result<(), LedgerError> {
        self.ledger()?.check().await
    }
}

#[async_trait]
impl Broker for Switched<dyn Broker> {
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

/// A farm whose coordinator, and only it, loses its servers with the switches: (broker, ledger).
async fn switched() -> (Farm, Arc<AtomicBool>, Arc<AtomicBool>) {
    let mut farm = Farm::new();
    farm.drain.start();
    farm.coordinator.join().await;
    let (broker, ledger) = (Arc::new(AtomicBool::default()), Arc::new(AtomicBool::default()));
    let mut backplane = farm.backplane.clone();
    backplane.broker = Arc::new(Switched { inner: backplane.broker, is_down: broker.clone() });
    backplane.ledger = Arc::new(Switched { inner: backplane.ledger, is_down: ledger.clone() });
    farm.drain = Drain::new();
    farm.coordinator = Coordinator::start(backplane, quick(), farm.drain.clone());
    (farm, broker, ledger)
}

#[tokio::test]
async fn a_render_waits_out_an_outage_of_broker_and_ledger_and_answers_meanwhile() {
    let (farm, broker, ledger) = switched().await;
    let draft = draft(60, true);
    for (down, stage) in [(&broker, Stage::Queued), (&ledger, Stage::Queued)] {
        down.store(true, Ordering::SeqCst);
        let render = farm.submit(chunks_of(30)).await;
        tokio::time::sleep(Duration::from_millis(400)).await;
        assert_eq!(farm.coordinator.detail(&render).await.unwrap().progress.stage, stage, "polls are answered");
        down.store(false, Ordering::SeqCst);
        farm.worker("w1").await.finish(&draft).await;
        assert!(matches!(farm.end(&render).await, Outcome::Completed { .. }));
    }
}

#[tokio::test]
async fn servers_that_flap_at_every_step_do_not_change_the_end() {
    let (farm, broker, ledger) = switched().await;
    let render = farm.submit(chunks_of(10)).await;
    let flapping = tokio::spawn({
        let (broker, ledger) = (broker.clone(), ledger.clone());
        async move {
            for step in 0u64.. {
                broker.store(step % 3 == 0, Ordering::SeqCst);
                ledger.store(step % 4 == 1, Ordering::SeqCst);
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
    let (farm, _, ledger) = switched().await;
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let lease = worker.claim().await;
    ledger.store(true, Ordering::SeqCst);
    farm.coordinator.cancel(&render).await.unwrap();
    assert!(matches!(farm.end(&render).await, Outcome::Failed { .. }));
    ledger.store(false, Ordering::SeqCst);
    for _ in 0..200 {
        let renewal = farm.backplane.ledger.renew(&lease, TaskProgress::default(), common::SOON).await.unwrap();
        if renewal == Renewal::Lost {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("the worker was never told");
}
