//! The slot's loopback server: the page's one origin, and its only way out.
//!
//! **Invariant: a page reaches the files of its plan and nothing else.** Chrome sends every request here, as to a proxy, so a
//! request for any other host, port or scheme arrives as well, is refused, and is remembered for the render's warnings.

mod bmp;
mod range;
mod site;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, RwLock};

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
    site: Arc<RwLock<Arc<Site>>>,
    task: JoinHandle<()>,
}

#[derive(Clone)]
struct Shared {
    authority: String,
    site: Arc<RwLock<Arc<Site>>>,
}

impl SlotServer {
    /// Starts on a free port of the loopback interface, with nothing to serve.
    pub async fn start() -> Result<Self, Failure> {
        let failed = |error: std::io::Error| {
            Failure::new(FailureCode::Internal, format!("the slot's server cannot listen on 127.0.0.1: {error}"))
        };
        let listener = TcpListener::bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0))).await.map_err(failed)?;
        let port = listener.local_addr().map_err(failed)?.port();
        let site = Arc::new(RwLock::new(Arc::new(Site::default())));
        let shared = Shared { authority: format!("127.0.0.1:{port}"), site: site.clone() };
        let router = Router::new().fallback(answer).with_state(shared);
        let task = tokio::spawn(async move {
            if let Err(error) = axum::serve(listener, router).await {
                tracing::error!(%error, "the slot's server ended");
            }
        });
        Ok(Self { port, site, task })
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The page's origin.
    pub fn origin(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Serves `site` from now on.
    pub fn serve(&self, site: Arc<Site>) {
        if let Ok(mut current) = self.site.write() {
            *current = site;
        }
    }
}

impl Drop for SlotServer {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A URL without scheme and authority, for messages to people.
pub fn path_of(url: &str) -> &str {
    url.strip_prefix("http://127.0.0.1:").and_then(|rest| rest.find('/').map(|slash| &rest[slash + 1..])).unwrap_or(url)
}

async fn answer(State(shared): State<Shared>, request: Request) -> Response {
    let site = match shared.site.read() {
        Ok(site) => site.clone(),
        Err(_) => return plain(StatusCode::INTERNAL_SERVER_ERROR, "the slot's server is broken"),
    };
    let authority = request
        .uri()
        .authority()
        .map(|authority| authority.as_str().to_owned())
        .or_else(|| request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).map(str::to_owned));
    if request.method() == Method::CONNECT || authority.as_deref() != Some(shared.authority.as_str()) {
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
        assert_eq!(path_of("https://example.org/a.js"), "https://example.org/a.js");
    }
}
