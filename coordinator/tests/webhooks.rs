//! Webhooks, with real HTTP receivers on this machine.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::common::client::{RENDERS, ask, error, get, invalid, page, post};
use crate::common::{Farm, draft, quick};
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use hyperfarm_backplane::fetch::{FetchConfig, Fetcher};
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_coordinator::webhooks::deliver::DeliveryPolicy;
use hyperfarm_coordinator::webhooks::{Endpoint, Webhooks};
use serde_json::{Value, json};

const ENDPOINTS: &str = "/v3/webhooks/endpoints";

/// The deliveries that a receiver has got.
type Received = Arc<Mutex<Vec<(HeaderMap, Bytes)>>>;
type Behaviour = Arc<dyn Fn(usize) -> (u16, Duration) + Send + Sync>;

/// Starts a receiver. `behaviour` gives status and delay of the answer to delivery number `n`, from 1. Returns its URL.
async fn receiver(behaviour: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static) -> (String, Received) {
    receiver_at("127.0.0.1:0", "http://10.0.0.1/".to_owned(), behaviour).await
}

/// Starts a receiver at `address`, whose redirections lead to `location`.
async fn receiver_at(
    address: &str,
    location: String,
    behaviour: impl Fn(usize) -> (u16, Duration) + Send + Sync + 'static,
) -> (String, Received) {
    let got = Received::default();
    let state: (Received, Behaviour) = (got.clone(), Arc::new(behaviour));
    let take = move |State((got, behaviour)): State<(Received, Behaviour)>, headers: HeaderMap, body: Bytes| {
        let location = location.clone();
        async move {
            let number = {
                let mut got = got.lock().unwrap();
                got.push((headers, body));
                got.len()
            };
            let (status, pause) = behaviour(number);
            tokio::time::sleep(pause).await;
            let mut response: Response = StatusCode::from_u16(status).unwrap().into_response();
            response.headers_mut().insert("location", location.parse().unwrap());
            response
        }
    };
    let router = Router::new().fallback(take).with_state(state);
    let listener = tokio::net::TcpListener::bind(address).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    (format!("http://{address}/hook"), got)
}

/// Short times: an hour of the default is half a second here.
fn compressed() -> DeliveryPolicy {
    DeliveryPolicy {
        within: Duration::from_millis(400),
        first_delay: Duration::from_millis(30),
        longest_delay: Duration::from_millis(200),
        give_up_after: Duration::from_secs(12),
        tick: Duration::from_millis(10),
        rescan_every: Duration::from_millis(200),
    }
}

fn config(allow: &str) -> ApiConfig {
    let fetch = FetchConfig { http: true, allow: allow.parse().unwrap(), ..FetchConfig::default() };
    ApiConfig {
        fetcher: Some(Fetcher::new(fetch).unwrap()),
        allow_http_callbacks: true,
        callback_secret: Some("farm-secret".to_owned()),
        deliveries: compressed(),
        ..ApiConfig::default()
    }
}

async fn register(router: &Router, url: &str) -> Value {
    let answer = post(router, ENDPOINTS, &json!({ "url": url })).await;
    assert_eq!(answer.status, StatusCode::OK, "{}", answer.json());
    answer.json()["data"].clone()
}

async fn soon<F: Future<Output = bool>>(what: &str, test: impl Fn() -> F) {
    for _ in 0..1000 {
        if test().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never became true: {what}");
}

async fn deliveries(farm: &Farm) -> usize {
    farm.backplane.objects.list("deliveries").await.unwrap().len()
}

/// Waits until every delivery in storage has failed `attempts` times.
async fn all_failed(farm: &Farm, attempts: u64) {
    soon("enough attempts of each delivery", || async {
        let listed = farm.backplane.objects.list("deliveries").await.unwrap();
        for meta in &listed {
            let delivery: Value = farm.backplane.objects.get_json(&meta.key).await.unwrap();
            if delivery["attempts"].as_u64().unwrap() < attempts {
                return false;
            }
        }
        !listed.is_empty()
    })
    .await;
}

/// Submits a render and completes it.
async fn complete(farm: &Farm, router: &Router, body: Value) -> String {
    let created = post(router, RENDERS, &body).await.json();
    let render = created["data"]["render_id"].as_str().unwrap().to_owned();
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&render.parse().unwrap()).await;
    render
}

fn hmac(key: &[u8], body: &[u8]) -> String {
    use hmac::{Hmac, Mac};
    let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
    mac.update(body);
    hex::encode(mac.finalize().into_bytes())
}

#[tokio::test]
async fn an_end_is_told_to_endpoint_and_callback_and_can_be_verified() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(config("127.0.0.1"));
    let (url, got) = receiver(|_| (200, Duration::ZERO)).await;
    let (callback, called) = receiver(|_| (204, Duration::ZERO)).await;
    let endpoint = register(&router, &url).await;
    let secret = endpoint["secret"].as_str().unwrap();
    assert!(secret.starts_with("whsec_") && endpoint["status"] == "enabled");
    let mut body = page();
    (body["callback_url"], body["callback_id"], body["title"]) = (json!(callback), json!("c-1"), json!("T"));
    let render = complete(&farm, &router, body).await;
    soon("both", || async { !got.lock().unwrap().is_empty() && !called.lock().unwrap().is_empty() }).await;
    let (headers, body) = got.lock().unwrap()[0].clone();
    assert_eq!(headers["heygen-signature"].to_str().unwrap(), hmac(secret.as_bytes(), &body));
    assert_eq!(headers["signature"], headers["heygen-signature"]);
    assert_eq!(headers["content-type"], "application/json");
    let event: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(event.as_object().unwrap().keys().collect::<Vec<_>>(), ["event_data", "event_id", "event_type"]);
    assert_eq!(headers["heygen-event-id"].to_str().unwrap(), event["event_id"]);
    let data = &event["event_data"];
    assert_eq!((&event["event_type"], &data["status"]), (&json!("hyperframes_video.success"), &json!("completed")));
    assert_eq!(
        (&data["render_id"], &data["video_id"], &data["callback_id"]),
        (&json!(render), &json!(render), &json!("c-1"))
    );
    let video = data["video_url"].as_str().unwrap();
    assert_eq!(data["url"], video);
    assert_eq!(get(&router, video.strip_prefix("http://localhost:8080").unwrap()).await.bytes, b"0123456789");
    let (headers, told) = called.lock().unwrap()[0].clone();
    assert_eq!(told, body);
    assert_eq!(headers["heygen-signature"].to_str().unwrap(), hmac(b"farm-secret", &told));
    soon("nothing is left", || async { deliveries(&farm).await == 0 }).await;
    assert!(farm.backplane.objects.list("open").await.unwrap().is_empty());
    let events = get(&router, "/v3/webhooks/events?event_type=hyperframes_video.success").await.json();
    assert_eq!(events["data"][0]["event_id"], event["event_id"]);
    assert_eq!(get(&router, "/v3/webhooks/events?entity_id=other").await.json()["data"], json!([]));
}

#[tokio::test]
async fn slow_failing_and_absent_receivers_are_tried_again() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(config("127.0.0.1"));
    // Longer than allowed, twice; then in time.
    let (slow, slow_got) = receiver(|n| (200, Duration::from_millis(if n < 3 { 900 } else { 0 }))).await;
    let (failing, failing_got) = receiver(|n| (if n < 4 { 500 } else { 200 }, Duration::ZERO)).await;
    // An address of this machine that is not allowed. It would answer a request.
    let (private, private_got) = receiver_at("127.0.0.2:0", String::new(), |_| (200, Duration::ZERO)).await;
    let (redirecting, redirecting_got) =
        receiver_at("127.0.0.1:0", private, |n| (if n < 3 { 307 } else { 200 }, Duration::ZERO)).await;
    // A port at which a receiver listens later.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let down = listener.local_addr().unwrap();
    drop(listener);
    for url in [&slow, &failing, &redirecting, &format!("http://{down}/hook")] {
        register(&router, url).await;
    }
    complete(&farm, &router, page()).await;
    soon("all but the one that is down", || async { deliveries(&farm).await == 1 }).await;
    all_failed(&farm, 3).await;
    let up = Received::default();
    let state = up.clone();
    let listener = tokio::net::TcpListener::bind(down).await.unwrap();
    let router_up = Router::new().fallback(move |body: Bytes| async move {
        state.lock().unwrap().push((HeaderMap::new(), body));
    });
    tokio::spawn(async move { axum::serve(listener, router_up).await });
    soon("the one that was down", || async { deliveries(&farm).await == 0 }).await;
    assert_eq!(up.lock().unwrap().len(), 1);
    assert!(private_got.lock().unwrap().is_empty(), "a redirection was followed");
    for (got, times) in [(slow_got, 3), (failing_got, 4), (redirecting_got, 3)] {
        let got = got.lock().unwrap();
        assert_eq!(got.len(), times);
        assert!(
            got.iter().all(|(headers, body)| {
                headers["heygen-event-id"] == got[0].0["heygen-event-id"] && *body == got[0].1
            })
        );
    }
}

#[tokio::test]
async fn a_receiver_that_is_gone_is_left_alone() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(config("127.0.0.1"));
    let (url, got) = receiver(|_| (410, Duration::ZERO)).await;
    register(&router, &url).await;
    complete(&farm, &router, page()).await;
    soon("it is disabled", || async { get(&router, ENDPOINTS).await.json()["data"][0]["status"] == "disabled" }).await;
    complete(&farm, &router, page()).await;
    soon("the second end is dealt with", || async { farm.backplane.objects.list("open").await.unwrap().is_empty() })
        .await;
    assert_eq!(deliveries(&farm).await, 0);
    assert_eq!(got.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn private_addresses_hear_nothing() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(config(""));
    let (url, got) = receiver(|_| (200, Duration::ZERO)).await;
    let webhooks = Webhooks::new(farm.backplane.objects.clone());
    for (number, url) in [url.as_str(), "https://169.254.169.254/latest"].into_iter().enumerate() {
        let refused = post(&router, ENDPOINTS, &json!({ "url": url })).await;
        assert_eq!(refused.error(), invalid("url"), "{url}");
        let render = json!({ "html": "<p>", "callback_url": url });
        assert_eq!(post(&router, RENDERS, &render).await.error(), invalid("callback_url"), "{url}");
        // As an older farm, or a name that led elsewhere then, has left it.
        let endpoint = Endpoint {
            id: format!("ep_{number}"),
            space: Default::default(),
            url: url.parse().unwrap(),
            events: None,
            entity_id: None,
            secret: Webhooks::secret().unwrap(),
            is_disabled: false,
            created_at_ms: 0,
        };
        webhooks.put_endpoint(&endpoint).await.unwrap();
    }
    complete(&farm, &router, page()).await;
    soon("they are on their way", || async { deliveries(&farm).await == 2 }).await;
    all_failed(&farm, 2).await;
    assert!(got.lock().unwrap().is_empty());
}

#[tokio::test]
async fn a_coordinator_that_dies_between_attempts_loses_nothing() {
    let mut farm = Farm::with(quick());
    let router = farm.coordinator.router(config("127.0.0.1"));
    let alive = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let is_alive = alive.clone();
    let (url, got) =
        receiver(move |_| (if is_alive.load(std::sync::atomic::Ordering::SeqCst) { 200 } else { 503 }, Duration::ZERO))
            .await;
    register(&router, &url).await;
    complete(&farm, &router, page()).await;
    soon("a first attempt", || async { !got.lock().unwrap().is_empty() }).await;
    drop(router);
    farm.restart().await;
    let before = got.lock().unwrap().len();
    alive.store(true, std::sync::atomic::Ordering::SeqCst);
    let router = farm.coordinator.router(config("127.0.0.1"));
    soon("it is delivered", || async { deliveries(&farm).await == 0 }).await;
    assert!(got.lock().unwrap().len() > before);
    // A render that was not finalized before the process ended: its open mark is in storage.
    let created = post(&router, RENDERS, &page()).await.json();
    let render = created["data"]["render_id"].as_str().unwrap().to_owned();
    farm.restart().await;
    farm.coordinator.cancel(&render.parse().unwrap()).await.unwrap();
    let told = got.lock().unwrap().len();
    let _router = farm.coordinator.router(config("127.0.0.1"));
    soon("the end is told", || async { got.lock().unwrap().len() > told }).await;
    let event: Value = serde_json::from_slice(&got.lock().unwrap().last().unwrap().1).unwrap();
    assert_eq!(
        (&event["event_type"], &event["event_data"]["error_code"]),
        (&json!("hyperframes_video.cancelled"), &json!("cancelled"))
    );
}

#[tokio::test]
async fn endpoints_are_made_changed_rotated_and_removed() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let body = json!({ "url": "https://x.example/h", "events": ["hyperframes_video.fail", "avatar_video.success"] });
    let first = ask(&router, Method::POST, ENDPOINTS, &[("idempotency-key", "e1")], &body.to_string()).await.json();
    let again = ask(&router, Method::POST, ENDPOINTS, &[("idempotency-key", "e1")], &body.to_string()).await.json();
    assert_eq!(first, again);
    let id = first["data"]["endpoint_id"].as_str().unwrap();
    let uri = format!("{ENDPOINTS}/{id}");
    let (status, code, _) = post(&router, ENDPOINTS, &body).await.error();
    assert_eq!((status, code.as_str()), (409, "conflict"));
    let listed = get(&router, ENDPOINTS).await.json();
    assert_eq!((&listed["data"][0]["secret"], &listed["has_more"]), (&Value::Null, &json!(false)));
    assert!(listed["data"][0]["created_at"].as_str().unwrap().ends_with('Z'));
    let change = json!({ "url": "https://y.example/h", "events": null }).to_string();
    let changed = ask(&router, Method::PATCH, &uri, &[], &change).await.json()["data"].clone();
    assert_eq!(
        (&changed["url"], &changed["events"], &changed["secret"]),
        (&json!("https://y.example/h"), &Value::Null, &Value::Null)
    );
    assert_eq!(post(&router, ENDPOINTS, &body).await.status, StatusCode::OK, "the old URL is free again");
    let rotated = post(&router, &format!("{uri}/rotate-secret"), &json!({})).await.json()["data"].clone();
    assert_ne!(rotated["secret"], first["data"]["secret"]);
    assert_eq!(ask(&router, Method::DELETE, &uri, &[], "").await.json(), json!({ "data": {} }));
    assert_eq!(ask(&router, Method::DELETE, &uri, &[], "").await.error(), error(404, "webhook_not_found"));
    assert_eq!(ask(&router, Method::PATCH, &uri, &[], "{}").await.error(), error(404, "webhook_not_found"));
    assert_eq!(get(&router, "/v3/webhooks/event-types").await.json()["data"].as_array().unwrap().len(), 28);
    for (body, param) in [
        (json!({}), "url"),
        (json!({ "url": "http://x.example/" }), "url"),
        (json!({ "url": "nonsense" }), "url"),
        (json!({ "url": "https://z.example/", "events": ["nothing"] }), "events[0]"),
        (json!({ "url": "https://z.example/", "events": [] }), "events"),
    ] {
        assert_eq!(post(&router, ENDPOINTS, &body).await.error(), invalid(param), "{body}");
    }
    for number in 0..5 {
        register(&router, &format!("https://n{number}.example/")).await;
    }
    let page = get(&router, &format!("{ENDPOINTS}?limit=4")).await.json();
    assert_eq!(page["has_more"], true);
    let next =
        get(&router, &format!("{ENDPOINTS}?limit=4&token={}", page["next_token"].as_str().unwrap())).await.json();
    assert_eq!((next["data"].as_array().unwrap().len(), &next["has_more"]), (2, &json!(false)));
}
