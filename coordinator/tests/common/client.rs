//! Requests to the real router, without a socket.

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Method, Request, StatusCode};
use serde_json::{Value, json};
use tower::ServiceExt;

pub(crate) const RENDERS: &str = "/v3/hyperframes/renders";

pub(crate) struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub bytes: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.bytes).unwrap_or_else(|_| panic!("no JSON: {:?}", self.bytes))
    }

    /// Status, code and param of an error in the one shape.
    pub(crate) fn error(&self) -> (u16, String, Option<String>) {
        let body = self.json();
        let error = &body["error"];
        assert!(error["message"].as_str().is_some_and(|message| message.len() > 5), "{body}");
        assert_eq!(body.as_object().unwrap().len(), 1, "{body}");
        let param = error["param"].as_str().map(str::to_owned);
        (self.status.as_u16(), error["code"].as_str().unwrap().to_owned(), param)
    }
}

impl Answer {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

pub(crate) async fn ask(router: &Router, method: Method, uri: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = Request::builder().method(method).uri(uri).header("host", "localhost:8080");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().oneshot(request.body(Body::from(body.to_owned())).unwrap()).await.unwrap();
    let (parts, body) = response.into_parts();
    assert!(parts.headers.contains_key("x-request-id"), "every response has an id");
    let bytes = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    Answer { status: parts.status, headers: parts.headers, bytes }
}

pub(crate) async fn get(router: &Router, uri: &str) -> Answer {
    ask(router, Method::GET, uri, &[], "").await
}

pub(crate) async fn post(router: &Router, uri: &str, body: &Value) -> Answer {
    ask(router, Method::POST, uri, &[("content-type", "application/json")], &body.to_string()).await
}

pub(crate) fn page() -> Value {
    json!({ "project": { "type": "html", "html": "<p>" } })
}

pub(crate) fn invalid(param: &str) -> (u16, String, Option<String>) {
    (400, "invalid_parameter".to_owned(), Some(param.to_owned()))
}

pub(crate) fn error(status: u16, code: &str) -> (u16, String, Option<String>) {
    (status, code.to_owned(), None)
}
