//! Real servers, names of one's own on them, and a proxy that can lose things.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use hyperfarm_testing::Requirement;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;

pub(crate) const AMQP: &str = "HYPERFARM_TEST_AMQP_URL";
pub(crate) const REDIS: &str = "HYPERFARM_TEST_REDIS_URL";
pub(crate) const S3: &str = "HYPERFARM_TEST_S3_ENDPOINT";

/// The value of a server's variable; `None` where the test is skipped.
pub(crate) fn address(variable: &str) -> Option<String> {
    let value = std::env::var(variable).ok().filter(|value| !value.is_empty());
    if value.is_none() {
        Requirement::Servers.skip(format!("{variable} is not set"));
    }
    value
}

/// A name that nobody else on the server has.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let nanos = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_nanos();
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    format!("test-{name}-{:x}-{:x}-{next}", nanos, std::process::id())
}

/// A TCP proxy before a server.
pub(crate) struct Proxy {
    port: u16,
    state: Arc<ProxyState>,
}

#[derive(Default)]
struct ProxyState {
    cut: Notify,
    refuses: AtomicBool,
    loses_answer: AtomicBool,
}

impl Proxy {
    /// Before `host:port`.
    pub(crate) async fn before(target: String) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let state = Arc::<ProxyState>::default();
        let accepting = Arc::clone(&state);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if accepting.refuses.load(Ordering::SeqCst) {
                    continue;
                }
                tokio::spawn(forward(client, target.clone(), Arc::clone(&accepting)));
            }
        });
        Self { port, state }
    }

    /// `url` with the proxy's address in place of the server's.
    pub(crate) async fn before_url(url: &str) -> (Self, String) {
        let mut url = url::Url::parse(url).unwrap();
        let proxy = Self::before(format!("{}:{}", url.host_str().unwrap(), url.port().unwrap())).await;
        url.set_host(Some("127.0.0.1")).unwrap();
        url.set_port(Some(proxy.port)).unwrap();
        (proxy, url.to_string())
    }

    /// Ends every connection.
    pub(crate) fn cut(&self) {
        self.state.cut.notify_waiters();
    }

    /// Ends every connection and takes no new one, or takes them again.
    pub(crate) fn refuse(&self, refuses: bool) {
        self.state.refuses.store(refuses, Ordering::SeqCst);
        if refuses {
            self.cut();
        }
    }

    /// The server does what it is asked next, and its answer does not arrive.
    pub(crate) fn lose_next_answer(&self) {
        self.state.loses_answer.store(true, Ordering::SeqCst);
    }
}

async fn forward(mut client: TcpStream, target: String, state: Arc<ProxyState>) {
    let Ok(mut server) = TcpStream::connect(&target).await else { return };
    let cut = state.cut.notified();
    tokio::pin!(cut);
    cut.as_mut().enable();
    let (mut up, mut down) = (vec![0; 65_536], vec![0; 65_536]);
    loop {
        tokio::select! {
            () = &mut cut => return,
            read = client.read(&mut up) => match read {
                Ok(length) if length > 0 => if server.write_all(&up[..length]).await.is_err() { return },
                _ => return,
            },
            read = server.read(&mut down) => match read {
                Ok(length) if length > 0 => {
                    if state.loses_answer.swap(false, Ordering::SeqCst) {
                        return;
                    }
                    if client.write_all(&down[..length]).await.is_err() { return }
                }
                _ => return,
            },
        }
    }
}

/// Waits until `condition` holds, at most ten seconds.
pub(crate) async fn eventually<F, Fut>(what: &str, mut condition: F)
where
    F: FnMut() -> Fut,
    Fut: Future<Output = bool>,
{
    for _ in 0..500 {
        if condition().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("{what}: not within ten seconds");
}
