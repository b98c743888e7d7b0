//! Turns workers' events into wakes of the loop.

use bytes::Bytes;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::broker::BrokerError;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::retry::Retryable;
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::task::{Queue, Step, TaskId};
use hyperfarm_proto::wire;
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::leadership::Leadership;
use super::wake::Wake;
use crate::config::SERVER_RETRY;

/// Forwards events while this coordinator leads, until the drain starts or the broker is closed. An event is
/// acknowledged before the loop has acted on it; a lost event delays its render until a tick looks at it.
pub(crate) async fn forward(
    backplane: Backplane,
    leadership: Leadership,
    wakes: mpsc::UnboundedSender<Wake>,
    drain: Drain,
) {
    let mut changes = leadership.changes();
    let mut is_leading = leadership.term().is_some();
    loop {
        tokio::select! {
            () = drain.started() => return,
            now = changes.next() => is_leading = now,
            () = consume(&backplane, &wakes), if is_leading => return,
        }
    }
}

/// Tells the leader that something about `render` may have changed. If the broker does not take it, the leader finds
/// out at its next tick or scan.
pub(crate) async fn tell_leader(backplane: &Backplane, render: &RenderId) {
    let task = TaskId { render: render.clone(), step: Step::Plan };
    let event = Event { task, kind: EventKind::Requested };
    let published = match wire::encode(&event) {
        Ok(payload) => backplane.broker.publish(&Queue::Events, Bytes::from(payload)).await,
        Err(error) => return warn!(%render, %error, "an event could not be encoded"),
    };
    if let Err(error) = published {
        warn!(%render, %error, "the leader could not be told of a change, it finds it by its next scan");
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
                let wake = match event.kind {
                    EventKind::Requested => Wake::ChangedInStorage(event.task.render),
                    _ => Wake::Changed(event.task.render),
                };
                if wakes.send(wake).is_err() {
                    return;
                }
            }
            Err(error) => warn!(%error, "an event could not be read and was dropped"),
        }
        delivery.ack().await;
    }
}
