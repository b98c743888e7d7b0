//! Hints from workers, as wakes of the loop.

use std::time::Duration;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::broker::BrokerError;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_proto::event::Event;
use hyperfarm_proto::task::Queue;
use hyperfarm_proto::wire;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::Wake;

/// Passes events on until the drain starts or the broker is closed. An event is acknowledged before it has any effect: losing
/// one costs a tick.
pub(crate) async fn forward(backplane: Backplane, wakes: mpsc::UnboundedSender<Wake>, drain: Drain) {
    tokio::select! {
        () = drain.started() => {}
        () = consume(&backplane, &wakes) => {}
    }
}

async fn consume(backplane: &Backplane, wakes: &mpsc::UnboundedSender<Wake>) {
    let mut rest = Duration::from_millis(250);
    loop {
        let mut consumer = match backplane.broker.consume(&Queue::Events).await {
            Ok(consumer) => consumer,
            Err(BrokerError::Closed) => return,
            Err(error) => {
                warn!(%error, "events cannot be consumed, it is tried again");
                tokio::time::sleep(rest).await;
                rest = (rest * 2).min(Duration::from_secs(10));
                continue;
            }
        };
        while let Some(delivery) = consumer.next().await {
            match wire::decode::<Event>(&delivery.payload) {
                Ok(event) => {
                    let (step, chunk) = (event.task.step.kind(), event.task.step.chunk());
                    debug!(render = %event.task.render, step, chunk, kind = ?event.kind, "event");
                    if wakes.send(Wake::Look(event.task.render)).is_err() {
                        return;
                    }
                }
                Err(error) => warn!(%error, "an event that cannot be read is dropped"),
            }
            delivery.ack().await;
        }
        return;
    }
}
