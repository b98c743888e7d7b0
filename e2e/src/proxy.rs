//! Proxies between a process and its servers, which fail as they are told.

use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};
use hyper::client::conn::http1 as client;
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// How a server of HTTP fails. A share is that of the requests, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum HttpFault {
    /// It does not.
    None,
    /// It answers each request this much later.
    Slow(Duration),
    /// It answers this share with status 500.
    Fail(f64),
    /// It closes the connection of this share without an answer.
    Close(f64),
    /// It closes the connection of this share in the middle of the body, of the request or of the response.
    Cut(f64),
    /// It closes every connection.
    Away,
}

/// A proxy in front of a server of HTTP. It runs as long as its runtime does.
pub struct HttpProxy {
    port: u16,
    state: Arc<State>,
}

struct State {
    server: SocketAddr,
    fault: Mutex<(HttpFault, fastrand::Rng)>,
    requests: AtomicU64,
}

impl State {
    /// The fault of the next request, or of the next connection.
    fn next_fault(&self) -> HttpFault {
        let mut guard = self.fault.lock().unwrap_or_else(PoisonError::into_inner);
        let (fault, random) = &mut *guard;
        match *fault {
            HttpFault::Fail(share) | HttpFault::Close(share) | HttpFault::Cut(share) if random.f64() >= share => {
                HttpFault::None
            }
            fault => fault,
        }
    }
}

impl HttpProxy {
    /// Starts a proxy in front of `server` on the runtime. The seed decides which requests fail.
    pub fn start(runtime: &tokio::runtime::Runtime, server: SocketAddr, seed: u64) -> Self {
        let fault = Mutex::new((HttpFault::None, fastrand::Rng::with_seed(seed)));
        let state = Arc::new(State { server, fault, requests: AtomicU64::new(0) });
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        let shared = state.clone();
        runtime.spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                if shared.next_fault() == HttpFault::Away {
                    continue;
                }
                let state = shared.clone();
                tokio::spawn(async move {
                    let service = service_fn(|request| forward(&state, request));
                    // A connection that ends with an error ends as its fault wants, or as its client does.
                    let _ = server::Builder::new().serve_connection(TokioIo::new(socket), service).await;
                });
            }
        });
        Self { port, state }
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Number of requests so far.
    pub fn requests(&self) -> u64 {
        self.state.requests.load(Ordering::Relaxed)
    }

    /// Makes the server fail in this way from now on.
    pub fn fail(&self, fault: HttpFault) {
        self.state.fault.lock().unwrap_or_else(PoisonError::into_inner).0 = fault;
    }
}

type Answer = Response<Either<Cut, Full<Bytes>>>;

async fn forward(state: &State, request: Request<Incoming>) -> Result<Answer, BoxError> {
    state.requests.fetch_add(1, Ordering::Relaxed);
    let fault = state.next_fault();
    match fault {
        HttpFault::Slow(time) => tokio::time::sleep(time).await,
        HttpFault::Fail(_) => {
            let body = "<?xml version=\"1.0\"?><Error><Code>InternalError</Code></Error>";
            let mut answer = Response::new(Either::Right(Full::from(body)));
            *answer.status_mut() = StatusCode::INTERNAL_SERVER_ERROR;
            return Ok(answer);
        }
        HttpFault::Close(_) | HttpFault::Away => return Err("closed".into()),
        HttpFault::None | HttpFault::Cut(_) => {}
    }
    let half = |body: &Incoming| {
        let length = body.size_hint().exact().filter(|length| *length > 0 && matches!(fault, HttpFault::Cut(_)))?;
        Some(usize::try_from(length / 2).unwrap_or(usize::MAX))
    };
    let stream = TcpStream::connect(state.server).await?;
    let (mut sender, connection) = client::handshake(TokioIo::new(stream)).await?;
    let connection = tokio::spawn(connection);
    let request = request.map(|body| Cut { left: half(&body), body });
    let answer = sender.send_request(request).await?;
    drop(connection);
    Ok(answer.map(|body| Either::Left(Cut { left: half(&body), body })))
}

/// A body that fails after some bytes.
struct Cut {
    body: Incoming,
    /// Bytes until it fails; `None` if it does not.
    left: Option<usize>,
}

impl Body for Cut {
    type Data = Bytes;
    type Error = BoxError;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BoxError>>> {
        if self.left == Some(0) {
            return Poll::Ready(Some(Err("cut".into())));
        }
        let next = ready!(Pin::new(&mut self.body).poll_frame(context));
        let cut = |frame: Frame<Bytes>| match (frame.into_data(), &mut self.left) {
            (Ok(mut data), Some(left)) => {
                data.truncate(*left);
                *left -= data.len();
                Frame::data(data)
            }
            (Ok(data), None) => Frame::data(data),
            (Err(frame), _) => frame,
        };
        Poll::Ready(next.map(|frame| frame.map(cut).map_err(BoxError::from)))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_none() && self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// A proxy of a TCP connection that can be cut: nothing passes then, and no connection ends. It runs as long as its
/// runtime does.
pub struct TcpProxy {
    port: u16,
    is_cut: watch::Sender<bool>,
    server: watch::Sender<SocketAddr>,
}

impl TcpProxy {
    /// Starts a proxy in front of `server` on the runtime.
    pub fn start(runtime: &tokio::runtime::Runtime, server: SocketAddr) -> Self {
        let (is_cut, cut) = watch::channel(false);
        let (server, servers) = watch::channel(server);
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("a port is free");
        let port = listener.local_addr().expect("it has an address").port();
        runtime.spawn(async move {
            loop {
                let Ok((socket, _)) = listener.accept().await else { continue };
                let (mut cut, servers) = (cut.clone(), servers.clone());
                tokio::spawn(async move {
                    if cut.wait_for(|is_cut| !is_cut).await.is_err() {
                        return;
                    }
                    // A server that is away refuses, and the client's connection is closed.
                    let server = *servers.borrow();
                    let Ok(upstream) = TcpStream::connect(server).await else { return };
                    let (from_client, to_client) = socket.into_split();
                    let (from_server, to_server) = upstream.into_split();
                    tokio::spawn(copy(from_client, to_server, cut.clone()));
                    copy(from_server, to_client, cut).await;
                });
            }
        });
        Self { port, is_cut, server }
    }

    /// Port on loopback.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Takes connections to another server from now on. Those that are there end with the server that they lead to.
    pub fn lead_to(&self, server: SocketAddr) {
        self.server.send_replace(server);
    }

    /// Cuts the connections, or lets what was sent meanwhile pass.
    pub fn cut(&self, is_cut: bool) {
        self.is_cut.send_replace(is_cut);
    }
}

/// Copies until one side ends, and waits while the connection is cut.
async fn copy(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut cut: watch::Receiver<bool>) {
    let mut buffer = vec![0; 1 << 16];
    loop {
        let length = from.read(&mut buffer).await.unwrap_or(0);
        if cut.wait_for(|is_cut| !is_cut).await.is_err() || length == 0 {
            return;
        }
        if to.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}
