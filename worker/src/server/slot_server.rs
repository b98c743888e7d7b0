//! The server: it tells requests to the page's own origin from all others.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use axum::Router;
use axum::extract::{Request, State};
use axum::http::{Method, StatusCode, header};
use axum::response::Response;
use hyperfarm_isolation::NETWORK_PORT;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

use super::response::{REFUSED, plain};
use super::site::{RequestProblem, Site};
use crate::assets::OWN_PREFIX;
use crate::error::WorkerError;
use crate::urls::{self, HOST_SUFFIX, decode_path};

/// A server of a slot's pages. When it is dropped, it stops.
pub struct SlotServer {
    port: u16,
    served: Arc<RwLock<ServedSite>>,
    /// Serves on this machine's loopback interface; `None` where browsers have a network of their own.
    _loopback: Option<Serving>,
}

/// What serves on a listener, until it is dropped.
pub(crate) struct Serving(JoinHandle<()>);

impl Drop for Serving {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A site and its origin.
#[derive(Clone)]
struct ServedSite {
    /// The host of the origin: a name that only the render's pages know. Its port is that of http, because every
    /// request comes to this server as to a proxy; so what pages see of their address is the same in every process.
    authority: String,
    site: Arc<Site>,
}

impl ServedSite {
    /// An empty site with a new origin.
    fn empty() -> Result<Self, WorkerError> {
        let mut token = [0; 16];
        getrandom::fill(&mut token)
            .map_err(|error| WorkerError::Inconsistent(format!("there are no random numbers: {error}")))?;
        Ok(Self { authority: authority(&hex::encode(token)), site: Arc::default() })
    }
}

/// The authority of a name. Browsers treat a host below `localhost` as a secure origin.
fn authority(name: &str) -> String {
    format!("{name}{HOST_SUFFIX}")
}

impl SlotServer {
    /// Serves an empty site on a free port of this machine's loopback interface.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Listen`].
    pub async fn on_loopback() -> Result<Self, WorkerError> {
        let listener =
            TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(WorkerError::Listen)?;
        let port = listener.local_addr().map_err(WorkerError::Listen)?.port();
        let server = Self { port, _loopback: None, ..Self::in_network()? };
        Ok(Self { _loopback: Some(server.serve_listener(listener)), ..server })
    }

    /// Has an empty site, and serves it where a browser's network has a listener for it
    /// ([`SlotServer::serve_network`]).
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn in_network() -> Result<Self, WorkerError> {
        let served = Arc::new(RwLock::new(ServedSite::empty()?));
        Ok(Self { port: NETWORK_PORT, served, _loopback: None })
    }

    /// Serves in the network of a browser too.
    ///
    /// # Errors
    ///
    /// [`WorkerError::Listen`].
    pub(crate) fn serve_network(&self, listener: std::net::TcpListener) -> Result<Serving, WorkerError> {
        listener.set_nonblocking(true).map_err(WorkerError::Listen)?;
        Ok(self.serve_listener(TcpListener::from_std(listener).map_err(WorkerError::Listen)?))
    }

    fn serve_listener(&self, listener: TcpListener) -> Serving {
        let router = Router::new().fallback(answer).with_state(self.served.clone());
        Serving(tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the slot's server ended");
            }
        }))
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The page's origin.
    pub fn origin(&self) -> String {
        format!("http://{}", self.served.read().authority)
    }

    /// Serves an empty site under a new origin.
    ///
    /// # Errors
    ///
    /// Where the system has no random numbers.
    pub fn renew(&self) -> Result<(), WorkerError> {
        let empty = ServedSite::empty()?;
        *self.served.write() = empty;
        Ok(())
    }

    /// Gives the origin the name of `site`, where it has one.
    pub fn rename(&self, site: &Site) {
        if let Some(name) = site.name() {
            self.served.write().authority = authority(name);
        }
    }

    /// Serves `site` from now on.
    pub fn serve(&self, site: Arc<Site>) {
        self.served.write().site = site;
    }
}

/// The line before the script of a dedicated worker, from the query that `workers.js` gives its address.
fn worker_lead(query: &str) -> Option<String> {
    let value = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let kind = value("hyperfarm-worker")?;
    let config = decode_path(value("hyperfarm-config")?)?;
    serde_json::from_str::<serde_json::Value>(&config).ok()?;
    Some(match kind {
        "module" => {
            let set = urls::encode_path(&format!("self.__hyperfarmConfig={config};"));
            format!("import \"data:text/javascript,{set}\";import \"{OWN_PREFIX}worker.js\";")
        }
        _ => format!("self.__hyperfarmConfig={config};importScripts(\"{OWN_PREFIX}worker.js\");"),
    })
}

async fn answer(State(served): State<Arc<RwLock<ServedSite>>>, request: Request) -> Response {
    let ServedSite { authority: own, site } = served.read().clone();
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if request.method() == Method::CONNECT || authority.as_deref() != Some(own.as_str()) {
        if let Some(authority) = authority.as_ref().filter(|_| request.method() == Method::CONNECT) {
            site.add_problem(RequestProblem::Blocked(format!("https://{authority}")));
            return plain(StatusCode::FORBIDDEN, REFUSED);
        }
        let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        let authority = authority.unwrap_or_default();
        return site.respond_foreign(&request.uri().to_string(), &authority, range).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
    }
    if let Some(lead) = request.uri().query().and_then(worker_lead) {
        return site.respond_worker(request.uri().path(), &lead).await;
    }
    let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    site.respond(request.uri().path(), range.as_deref()).await
}

#[cfg(test)]
mod tests {
    use axum::body::Body;

    use super::*;
    use crate::server::SiteFile;

    #[tokio::test]
    async fn only_the_page_itself_can_ask_for_files_to_be_fetched() {
        let server = SlotServer::on_loopback().await.unwrap();
        let site = Arc::new(Site::default());
        server.serve(site.clone());
        let stranger = "http://stranger.test/secret?x=1";
        assert_eq!(status(&server, stranger).await, StatusCode::FORBIDDEN);
        // Whoever reached the port: without the random name of the origin the URL itself is not kept.
        let by_address = format!("http://127.0.0.1:{}/__hyperfarm/remote/http%3A%2F%2Fstranger.test%2F", server.port());
        assert_eq!(status(&server, &by_address).await, StatusCode::FORBIDDEN);
        let own = format!("{}/__hyperfarm/remote/http%3A%2F%2Fpage.test%2Fa.js", server.origin());
        assert_eq!(status(&server, &own).await, StatusCode::FORBIDDEN);
        let blocked = |url: &str| RequestProblem::Blocked(url.to_owned());
        let expected = [
            blocked(&format!("http://127.0.0.1:{}", server.port())),
            blocked("http://page.test/a.js"),
            blocked("http://stranger.test"),
        ];
        assert_eq!(site.problems(), expected);
    }

    async fn status(server: &SlotServer, url: &str) -> StatusCode {
        let request = Request::builder().uri(url).body(Body::empty()).unwrap();
        answer(State(server.served.clone()), request).await.status()
    }

    #[tokio::test]
    async fn files_are_served_under_the_origin_of_their_render_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.txt");
        std::fs::write(&path, "A").unwrap();
        let files = std::collections::HashMap::from([("a.txt".to_owned(), SiteFile { path, bytes: 1 })]);
        let server = SlotServer::on_loopback().await.unwrap();
        server.serve(Arc::new(Site::new(files.clone(), Vec::new())));
        let before = server.origin();
        assert_eq!(status(&server, &format!("{before}/a.txt")).await, StatusCode::OK);
        let by_address = format!("http://127.0.0.1:{}/a.txt", server.port());
        assert_eq!(status(&server, &by_address).await, StatusCode::FORBIDDEN);
        server.renew().unwrap();
        assert_ne!(server.origin(), before);
        assert_ne!(status(&server, &format!("{}/a.txt", server.origin())).await, StatusCode::OK);
        server.serve(Arc::new(Site::new(files, Vec::new())));
        assert_eq!(status(&server, &format!("{}/a.txt", server.origin())).await, StatusCode::OK);
        assert_eq!(status(&server, &format!("{before}/a.txt")).await, StatusCode::FORBIDDEN);
    }

    #[tokio::test]
    async fn a_site_with_a_name_has_the_same_origin_in_every_server() {
        let named = Site::default().with_name(&hyperfarm_proto::id::ContentHash::of(b"a plan"));
        let (one, other) = (SlotServer::on_loopback().await.unwrap(), SlotServer::on_loopback().await.unwrap());
        assert_ne!(one.origin(), other.origin());
        for server in [&one, &other] {
            server.rename(&Site::default());
            server.rename(&named);
        }
        assert_eq!(one.origin(), other.origin());
        assert!(one.origin().starts_with("http://") && one.origin().ends_with(HOST_SUFFIX), "{}", one.origin());
        one.renew().unwrap();
        assert_ne!(one.origin(), other.origin());
    }
}
