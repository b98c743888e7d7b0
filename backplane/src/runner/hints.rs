//! A node's hints to the coordinator.
//!
//! While hints are on their way to the broker, newer ones wait, one for each render: the coordinator looks at the whole of a
//! render, so one hint after the last change says as much as one for each. A busy node publishes few of them.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use hyperfarm_proto::event::Event;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::task::Queue;
use hyperfarm_proto::wire;
use parking_lot::Mutex;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use crate::broker::Broker;

/// The hints that are not published yet.
#[derive(Debug, Default)]
pub(super) struct Hints {
    waiting: Mutex<BTreeMap<RenderId, Event>>,
    added: Notify,
}

impl Hints {
    /// Has the coordinator look at the render of `event`. It would find the change by itself a little later.
    pub(super) fn add(&self, event: Event) {
        self.waiting.lock().insert(event.task.render.clone(), event);
        self.added.notify_one();
    }

    /// Publishes hints until `ended` fires and none waits.
    pub(super) async fn publish(&self, broker: &dyn Broker, ended: &CancellationToken) {
        loop {
            let waiting = std::mem::take(&mut *self.waiting.lock());
            if !waiting.is_empty() {
                join_all(waiting.into_values().map(|event| publish(broker, event))).await;
            } else if ended.is_cancelled() {
                return;
            } else {
                tokio::select! { () = self.added.notified() => {} () = ended.cancelled() => {} }
            }
        }
    }
}

async fn publish(broker: &dyn Broker, event: Event) {
    let payload = match wire::encode(&event) {
        Ok(payload) => Bytes::from(payload),
        Err(error) => return error!(%error, "the event cannot be encoded"),
    };
    if let Err(error) = broker.publish(&Queue::Events, payload).await {
        warn!(%error, "the event cannot be published");
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use hyperfarm_proto::event::EventKind;
    use hyperfarm_proto::task::{Step, TaskId};

    use super::*;
    use crate::broker::MemoryBroker;

    fn event(render: &str, chunk: u32) -> Event {
        let task = TaskId { render: render.parse().unwrap(), step: Step::Chunk(chunk) };
        Event { task, kind: EventKind::Committed }
    }

    #[tokio::test]
    async fn the_last_hint_of_each_render_is_published() {
        let (hints, broker) = (Arc::new(Hints::default()), Arc::new(MemoryBroker::new()));
        let ended = CancellationToken::new();
        for hint in [event("a", 0), event("b", 0), event("a", 1), event("a", 2)] {
            hints.add(hint);
        }
        let publishing = tokio::spawn({
            let (hints, broker, ended) = (hints.clone(), broker.clone(), ended.clone());
            async move { hints.publish(&*broker, &ended).await }
        });
        let mut published = Vec::new();
        let mut consumer = broker.consume(&Queue::Events).await.unwrap();
        let mut take = async || {
            let delivery = tokio::time::timeout(Duration::from_secs(10), consumer.next()).await.unwrap().unwrap();
            published.push(wire::decode::<Event>(&delivery.payload).unwrap());
            delivery.ack().await;
            published.clone()
        };
        take().await;
        assert_eq!(take().await, [event("a", 2), event("b", 0)]);
        hints.add(event("a", 3));
        assert_eq!(take().await[2..], [event("a", 3)]);
        hints.add(event("b", 1));
        ended.cancel();
        publishing.await.unwrap();
        assert_eq!(take().await[3..], [event("b", 1)], "what waits at the end is published");
        assert_eq!(broker.depth(&Queue::Events).await.unwrap(), 0);
    }
}
