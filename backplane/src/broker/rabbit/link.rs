//! A connection to RabbitMQ that is made again when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::metrics::{Metrics, Server};

/// Seconds between heartbeats, unless the URL says otherwise. A lost peer is noticed after about two of them.
const HEARTBEAT_S: u16 = 10;

/// Longest wait for a connection or a channel.
const OPEN_TIMEOUT: Duration = Duration::from_secs(8);

/// Longest wait for the server's answer to a close; the connection is dropped then.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The URLs in a text with one for each node of a cluster, with commas between them.
pub(crate) fn node_urls(text: &str) -> Vec<&str> {
    // A password may have commas.
    let is_next = |comma: &usize| text[comma + 1..].trim_start().starts_with("amqp");
    let commas: Vec<usize> = text.match_indices(',').map(|(comma, _)| comma).filter(is_next).collect();
    let starts = std::iter::once(0).chain(commas.iter().map(|comma| comma + 1));
    let ends = commas.iter().copied().chain([text.len()]);
    starts.zip(ends).map(|(start, end)| text[start..end].trim()).collect()
}

/// A connection to one of some nodes, which is opened when it is needed, and opened again when it was lost.
pub(super) struct Link {
    nodes: Vec<AMQPUri>,
    /// Number of the node that answered last.
    node: AtomicUsize,
    purpose: &'static str,
    connection: Mutex<Option<Arc<Connection>>>,
    was_connected: AtomicBool,
}

impl Link {
    pub(super) fn new(mut nodes: Vec<AMQPUri>, purpose: &'static str) -> Self {
        for uri in &mut nodes {
            uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
            uri.query.connection_timeout.get_or_insert(OPEN_TIMEOUT.as_millis() as u64);
        }
        let (node, was_connected) = (AtomicUsize::new(0), AtomicBool::new(false));
        Self { nodes, node, purpose, connection: Mutex::default(), was_connected }
    }

    /// A new channel, on a new connection if the last one was lost.
    pub(super) async fn channel(&self, metrics: Option<&Metrics>) -> Result<Channel, lapin::Error> {
        let connection = self.connection(metrics).await?;
        match timeout(OPEN_TIMEOUT, connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => {
                self.discard(&connection).await;
                Err(error)
            }
            Err(_) => {
                self.discard(&connection).await;
                Err(timed_out("no channel"))
            }
        }
    }

    async fn connection(&self, metrics: Option<&Metrics>) -> Result<Arc<Connection>, lapin::Error> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let connection = Arc::new(self.connect().await?);
        if self.was_connected.swap(true, Ordering::Relaxed) {
            tracing::info!(purpose = self.purpose, "connected to RabbitMQ again");
            if let Some(metrics) = metrics {
                metrics.reconnected(Server::Broker);
            }
        }
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Connects to the node that answered last, or else to the next one that does.
    async fn connect(&self) -> Result<Connection, lapin::Error> {
        let (first, mut failed) = (self.node.load(Ordering::Relaxed), timed_out("no connection"));
        for (number, uri) in self.nodes.iter().enumerate().cycle().skip(first).take(self.nodes.len()) {
            let name = format!("hyperfarm {} {}", self.purpose, std::process::id());
            let properties = ConnectionProperties::default().with_connection_name(name.into());
            // Whoever asks may give up before a silent node has cost its time: then the next one is tried first.
            self.node.store((number + 1) % self.nodes.len(), Ordering::Relaxed);
            match timeout(OPEN_TIMEOUT, Connection::connect_uri(uri.clone(), properties)).await {
                Ok(Ok(connection)) => {
                    self.node.store(number, Ordering::Relaxed);
                    return Ok(connection);
                }
                Ok(Err(error)) => failed = error,
                Err(_) => failed = timed_out("no connection"),
            }
        }
        Err(failed)
    }

    /// Drops `connection`, unless another one has already replaced it.
    async fn discard(&self, connection: &Arc<Connection>) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *slot = None;
        }
    }

    /// Closes the connection; unsettled deliveries of its consumers go back.
    pub(super) async fn close(&self) {
        let Some(connection) = self.connection.lock().await.take() else { return };
        match timeout(CLOSE_TIMEOUT, connection.close(200, "closed by the node".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection was already closed"),
            Err(_) => tracing::debug!("the connection did not end in time"),
        }
    }
}

/// Whether another attempt would be refused as well.
pub(super) fn is_final(error: &lapin::Error) -> bool {
    const ACCESS_REFUSED: u16 = 403;
    const NOT_ALLOWED: u16 = 530;
    match error.kind() {
        ErrorKind::ProtocolError(error) => matches!(error.get_id(), ACCESS_REFUSED | NOT_ALLOWED),
        ErrorKind::AuthProviderError(_) | ErrorKind::InvalidProtocolVersion(_) => true,
        _ => false,
    }
}

fn timed_out(what: &str) -> lapin::Error {
    let reason = format!("{what} within {OPEN_TIMEOUT:?}");
    ErrorKind::IOError(Arc::new(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))).into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_node_has_its_url() {
        for (text, expected) in [
            ("amqp://a:5672/%2f", vec!["amqp://a:5672/%2f"]),
            ("amqp://u:x,y@a, amqps://b/v ,amqp://c", vec!["amqp://u:x,y@a", "amqps://b/v", "amqp://c"]),
            ("", vec![""]),
        ] {
            assert_eq!(node_urls(text), expected, "{text}");
        }
    }
}
