//! The slot's loopback server: the page's one origin, and its only way out.
//!
//! **Invariant: a page reaches the files of its plan and nothing else.** Chrome sends every request here, as to a proxy, so a
//! request for any other host, port or scheme arrives as well, is refused, and is remembered for the render's warnings.

mod bmp;
mod range;
mod site;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, PoisonError, RwLock};

use axum::Router;
use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::{HeaderValue, Method, StatusCode, header};
use axum::response::Response;
use hyperfarm_proto::failure::{Failure, FailureCode};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;

pub(crate) use site::decode_path;
pub use site::{RequestProblem, Site, SiteFile};

/// Paths below this one are the farm's, never the project's.
pub const OWN_PREFIX: &str = "/__hyperfarm/";

/// A running server. Dropped, it stops.
pub struct SlotServer {
    port: u16,
    served: Arc<RwLock<Served>>,
    task: JoinHandle<()>,
}

/// One page's files under one origin.
#[derive(Clone)]
struct Served {
    /// Host and port of the origin. The host is a random name of this render, so that nobody else can ask for its files.
    authority: String,
    site: Arc<Site>,
}

impl Served {
    fn nothing(port: u16) -> Result<Self, Failure> {
        let mut token = [0; 16];
        getrandom::fill(&mut token)
            .map_err(|error| Failure::new(FailureCode::Internal, format!("there are no random numbers: {error}")))?;
        // A name below `localhost` counts as a secure origin, as the address itself would.
        Ok(Self { authority: format!("{}{HOST_SUFFIX}:{port}", hex::encode(token)), site: Arc::default() })
    }
}

/// Ending of the host in every origin.
const HOST_SUFFIX: &str = ".localhost";

impl SlotServer {
    /// Starts on a free port of the loopback interface, with nothing to serve.
    pub async fn start() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(FailureCode::Internal, format!("the slot's server cannot listen on 127.0.0.1: {error}"))
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let served = Arc::new(RwLock::new(Served::nothing(port)?));
        let router = Router::new().fallback(answer).with_state(served.clone());
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the slot's server ended");
            }
        });
        Ok(Self { port, served, task })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The page's origin.
    pub fn origin(&self) -> String {
        let served = self.served.read().unwrap_or_else(PoisonError::into_inner);
        format!("http://{}", served.authority)
    }

    /// Serves nothing any more, and from now on under another origin.
    pub fn renew(&self) -> Result<(), Failure> {
        let fresh = Served::nothing(self.port)?;
        *self.served.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    /// Serves `site` from now on.
    pub fn serve(&self, site: Arc<Site>) {
        self.served.write().unwrap_or_else(PoisonError::into_inner).site = site;
    }
}

impl Drop for SlotServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A URL without scheme and authority, for messages to people.
pub fn path_of(url: &str) -> &str {
    let own = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host == "127.0.0.1" || host.ends_with(HOST_SUFFIX)
    };
    let parts = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    parts.filter(|(authority, _)| own(authority)).map_or(url, |(_, path)| path)
}

async fn answer(State(served): State<Arc<RwLock<Served>>>, request: Request) -> Response {
    let Served { authority: own, site } = served.read().unwrap_or_else(PoisonError::into_inner).clone();
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if request.method() == Method::CONNECT || authority.as_deref() != Some(own.as_str()) {
        if let Some(authority) = authority.filter(|_| request.method() == Method::CONNECT) {
            site.remember(RequestProblem::Blocked(format!("https://{authority}")));
            return plain(StatusCode::FORBIDDEN, "pages of this farm load nothing from outside");
        }
        let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok());
        return site.respond_remote(&request.uri().to_string(), range).await;
    }
    if request.method() != Method::GET && request.method() != Method::HEAD {
        return plain(StatusCode::METHOD_NOT_ALLOWED, "GET and HEAD only");
    }
    let range = request.headers().get(header::RANGE).and_then(|value| value.to_str().ok()).map(str::to_owned);
    site.respond(request.uri().path(), range.as_deref()).await
}

fn plain(status: StatusCode, text: &'static str) -> Response {
    let mut response = Response::new(Body::from(text));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_name_files_without_the_slots_address() {
        assert_eq!(path_of("http://127.0.0.1:4711/lib/a.js"), "lib/a.js");
        assert_eq!(path_of("http://0f3a.localhost:4711/lib/a.js"), "lib/a.js");
        assert_eq!(path_of("https://example.org/a.js"), "https://example.org/a.js");
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
        let server = SlotServer::start().await.unwrap();
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
}
