//! Turns workers' events into wakes of the loop.

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::broker::BrokerError;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::retry::Retryable;
use hyperfarm_proto::event::Event;
use hyperfarm_proto::task::Queue;
use hyperfarm_proto::wire;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::wake::Wake;
use crate::config::SERVER_RETRY;

/// Forwards events until the drain starts or the broker is closed. An event is acknowledged before the loop has acted on it; a lost
/// event delays its render by one tick at most.
pub(crate) async fn forward(backplane: Backplane, wakes: mpsc::UnboundedSender<Wake>, drain: Drain) {
    tokio::select! {
        () = drain.started() => {}
        () = consume(&backplane, &wakes) => {}
    }
}

async fn consume(backplane: &Backplane, wakes: &mpsc::UnboundedSender<Wake>) {
    let consume = || backplane.broker.consume(&Queue::Events);
    let retried = consume.retry(SERVER_RETRY).when(|error| !matches!(error, BrokerError::Closed));
    let consumer =
        retried.notify(|error, _| warn!(%error, "the events queue could not be consumed, it is tried again"));
    let Ok(mut consumer) = consumer.await else { return };
    while let Some(delivery) = consumer.next().await {
        match wire::decode::<Event>(&delivery.payload) {
            Ok(event) => {
                let (step, chunk) = (event.task.step.kind(), event.task.step.chunk());
                debug!(render = %event.task.render, step, chunk, kind = ?event.kind, "received an event");
                if wakes.send(Wake::Changed(event.task.render)).is_err() {
                    return;
                }
            }
            Err(error) => warn!(%error, "an event could not be read and was dropped"),
        }
        delivery.ack().await;
    }
}
