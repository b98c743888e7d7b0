//! One connection to RabbitMQ, made again when it is lost.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio::time::timeout;

use crate::metrics::{Metrics, Server};

/// Seconds between heartbeats unless the URL says otherwise: a peer that is gone is noticed after about two.
const HEARTBEAT_S: u16 = 10;

/// Longest wait for a connection or a channel.
const OPEN_WITHIN: Duration = Duration::from_secs(8);

/// Longest wait for an orderly end; the connection is dropped then.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// A connection that is there when it is needed.
pub(super) struct Link {
    uri: AMQPUri,
    purpose: &'static str,
    connection: Mutex<Option<Arc<Connection>>>,
    was_connected: AtomicBool,
}

impl Link {
    pub(super) fn new(mut uri: AMQPUri, purpose: &'static str) -> Self {
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        uri.query.connection_timeout.get_or_insert(OPEN_WITHIN.as_millis() as u64);
        Self { uri, purpose, connection: Mutex::default(), was_connected: AtomicBool::new(false) }
    }

    /// A new channel, on a new connection if the last one was lost.
    pub(super) async fn channel(&self, metrics: Option<&Metrics>) -> Result<Channel, lapin::Error> {
        let connection = self.connection(metrics).await?;
        match timeout(OPEN_WITHIN, connection.create_channel()).await {
            Ok(Ok(channel)) => Ok(channel),
            Ok(Err(error)) => {
                self.discard(&connection).await;
                Err(error)
            }
            Err(_) => {
                self.discard(&connection).await;
                Err(late("no channel"))
            }
        }
    }

    async fn connection(&self, metrics: Option<&Metrics>) -> Result<Arc<Connection>, lapin::Error> {
        let mut slot = self.connection.lock().await;
        if let Some(connection) = slot.as_ref().filter(|connection| connection.status().connected()) {
            return Ok(Arc::clone(connection));
        }
        *slot = None;
        let name = format!("hyperfarm {} {}", self.purpose, std::process::id());
        let properties = ConnectionProperties::default().with_connection_name(name.into());
        let connecting = Connection::connect_uri(self.uri.clone(), properties);
        let connection = Arc::new(timeout(OPEN_WITHIN, connecting).await.map_err(|_| late("no connection"))??);
        if self.was_connected.swap(true, Ordering::Relaxed) {
            tracing::info!(purpose = self.purpose, "connected to RabbitMQ again");
            if let Some(metrics) = metrics {
                metrics.reconnected(Server::Broker);
            }
        }
        *slot = Some(Arc::clone(&connection));
        Ok(connection)
    }

    /// Not to be used again, unless somebody already put another in its place.
    async fn discard(&self, connection: &Arc<Connection>) {
        let mut slot = self.connection.lock().await;
        if slot.as_ref().is_some_and(|current| Arc::ptr_eq(current, connection)) {
            *slot = None;
        }
    }

    /// Ends the connection; what its consumers held goes back.
    pub(super) async fn close(&self) {
        let Some(connection) = self.connection.lock().await.take() else { return };
        match timeout(CLOSE_WITHIN, connection.close(200, "closed by the node".into())).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the connection had ended already"),
            Err(_) => tracing::debug!("the connection did not end in time"),
        }
    }
}

/// Whether another attempt would only be refused again.
pub(super) fn is_final(error: &lapin::Error) -> bool {
    const ACCESS_REFUSED: u16 = 403;
    const NOT_ALLOWED: u16 = 530;
    match error.kind() {
        ErrorKind::ProtocolError(error) => matches!(error.get_id(), ACCESS_REFUSED | NOT_ALLOWED),
        ErrorKind::AuthProviderError(_) | ErrorKind::InvalidProtocolVersion(_) => true,
        _ => false,
    }
}

fn late(what: &str) -> lapin::Error {
    let reason = format!("{what} within {OPEN_WITHIN:?}");
    ErrorKind::IOError(Arc::new(std::io::Error::new(std::io::ErrorKind::TimedOut, reason))).into()
}
