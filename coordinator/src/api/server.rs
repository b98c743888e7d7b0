//! Serves the API on a socket: bounds of connections, of the time for a request's head, and of idle connections.

use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyperfarm_backplane::drain::Drain;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tower::ServiceExt;
use tracing::{debug, warn};

/// How long to wait after a connection could not be accepted, because the process has too many open files for example.
const ACCEPT_AGAIN_AFTER: Duration = Duration::from_millis(100);

/// The bounds of connections.
#[derive(Debug, Clone, Copy)]
pub struct ConnectionLimits {
    /// Connections at once. Further ones wait in the system's queue.
    pub connections: usize,
    /// How long a connection may take to send the head of a request, the first one or the next. An idle connection is
    /// closed by it too.
    pub head_within: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self { connections: 4096, head_within: Duration::from_secs(30) }
    }
}

/// The address from which a request came: the client's, or that of a proxy before the farm. It is among the request's
/// extensions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PeerAddress(pub(crate) IpAddr);

/// Serves `router` until the drain starts, and then until every request that has begun is answered.
pub async fn serve(listener: TcpListener, router: Router, limits: ConnectionLimits, drain: Drain) {
    let places = Arc::new(Semaphore::new(limits.connections));
    let mut connections = JoinSet::new();
    loop {
        let accepting = async {
            let place = places.clone().acquire_owned().await;
            (place, listener.accept().await)
        };
        let (place, accepted) = tokio::select! {
            () = drain.started() => break,
            accepted = accepting => accepted,
        };
        match accepted {
            Ok((stream, peer)) => {
                let (router, drain) = (router.clone(), drain.clone());
                connections.spawn(async move {
                    let _place = place;
                    serve_connection(stream, peer, router, limits, drain).await;
                });
            }
            Err(error) => {
                warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(ACCEPT_AGAIN_AFTER).await;
            }
        }
        while connections.try_join_next().is_some() {}
    }
    drop(listener);
    while connections.join_next().await.is_some() {}
}

async fn serve_connection(stream: TcpStream, peer: SocketAddr, router: Router, limits: ConnectionLimits, drain: Drain) {
    // Events are small and must not wait for each other.
    if let Err(error) = stream.set_nodelay(true) {
        debug!(%peer, %error, "a connection has ended before it was served");
        return;
    }
    let service = service_fn(move |mut request: hyper::Request<Incoming>| {
        request.extensions_mut().insert(PeerAddress(peer.ip().to_canonical()));
        router.clone().oneshot(request.map(Body::new))
    });
    let mut server = http1::Builder::new();
    server.timer(TokioTimer::new()).header_read_timeout(limits.head_within);
    let connection = server.serve_connection(TokioIo::new(stream), service);
    tokio::pin!(connection);
    let ended = tokio::select! {
        ended = connection.as_mut() => ended,
        () = drain.started() => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        debug!(%peer, %error, "a connection broke");
    }
}
