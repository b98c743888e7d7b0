//! Keys, spaces, limits, idempotency, uploads and what surrounds a render, through HTTP.

use std::time::Duration;

use crate::common::client::{Answer, RENDERS, ask, error, get, invalid, page, post};
use crate::common::{Farm, chunks_of, draft, patient, quick};
use axum::Router;
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyperfarm_backplane::fetch::{FetchConfig, Fetcher};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::api::{Access, ApiConfig, Code};
use hyperfarm_coordinator::api_keys::{KeyLimits, KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::intake::{Limits, from_html};
use serde_json::{Value, json};

const HOST: &str = "http://localhost:8080";

async fn with_key(router: &Router, method: Method, uri: &str, key: &str, body: &Value) -> Answer {
    ask(router, method, uri, &[("x-api-key", key)], &body.to_string()).await
}

/// A farm with keys, and the key that `change` makes of a usual one.
async fn keyed(farm: &Farm, change: impl FnOnce(&mut KeyRecord)) -> String {
    let mut record = KeyRecord::new("ci", "team-a".parse().unwrap());
    change(&mut record);
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

fn strict(farm: &Farm) -> Router {
    farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() })
}

async fn once(router: &Router, key: &str, body: &Value) -> Answer {
    ask(router, Method::POST, RENDERS, &[("idempotency-key", key)], &body.to_string()).await
}

#[tokio::test]
async fn a_hundred_equal_requests_are_one_render() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let answers = futures::future::join_all((0..100).map(|_| {
        let router = router.clone();
        async move { once(&router, "same", &page()).await }
    }))
    .await;
    let mut ids = std::collections::BTreeSet::new();
    for answer in &answers {
        match answer.status.as_u16() {
            202 => drop(ids.insert(answer.json()["data"]["render_id"].as_str().unwrap().to_owned())),
            409 => assert_eq!(answer.error(), error(409, "request_in_progress")),
            other => panic!("{other}"),
        }
    }
    assert_eq!(ids.len(), 1);
    assert_eq!(get(&router, RENDERS).await.json()["data"].as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn a_repeated_request_has_the_first_ones_answer_even_after_a_restart() {
    let mut farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let first = once(&router, "k:1", &page()).await.json();
    let other = json!({ "project": page()["project"], "title": "another" });
    assert_eq!(once(&router, "k:1", &other).await.json(), first);
    farm.restart().await;
    let router = farm.coordinator.router(ApiConfig::default());
    assert_eq!(once(&router, "k:1", &page()).await.json(), first);
    assert_ne!(once(&router, "k:2", &page()).await.json(), first);
    // A refusal is an answer too.
    let refused = once(&router, "k:3", &json!({})).await;
    assert_eq!(refused.error(), invalid("project"));
    assert_eq!(once(&router, "k:3", &page()).await.error(), invalid("project"));
    assert_eq!(once(&router, "a b", &page()).await.error(), invalid("Idempotency-Key"));
    assert_eq!(get(&router, RENDERS).await.json()["data"].as_array().unwrap().len(), 2);
    // The same key on another route is another request.
    let body = json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 });
    let body = body.to_string();
    let upload = ask(&router, Method::POST, "/v3/assets/direct-uploads", &[("idempotency-key", "k:1")], &body);
    assert!(upload.await.json()["data"]["asset_id"].is_string());
}

#[tokio::test]
async fn a_space_sees_its_own_only() {
    let farm = Farm::with(patient());
    let router = strict(&farm);
    let ours = keyed(&farm, |_| {}).await;
    let theirs = keyed(&farm, |record| record.rights.space = "team-b".parse().unwrap()).await;
    let created = with_key(&router, Method::POST, RENDERS, &ours, &page()).await.json();
    let uri = format!("{RENDERS}/{}", created["data"]["render_id"].as_str().unwrap());
    assert_eq!(with_key(&router, Method::GET, &uri, &ours, &json!({})).await.status, StatusCode::OK);
    let missing = error(404, "hyperframes_render_not_found");
    for (method, uri) in [
        (Method::GET, uri.clone()),
        (Method::DELETE, uri.clone()),
        (Method::POST, format!("{uri}/cancel")),
        (Method::POST, format!("{uri}/retry")),
        (Method::GET, format!("{uri}/chunks")),
        (Method::GET, format!("{uri}/events")),
    ] {
        assert_eq!(with_key(&router, method, &uri, &theirs, &json!({})).await.error(), missing, "{uri}");
    }
    let listed = with_key(&router, Method::GET, RENDERS, &theirs, &json!({})).await.json();
    assert_eq!(listed["data"], json!([]));
    let body = json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 });
    let begun = with_key(&router, Method::POST, "/v3/assets/direct-uploads", &ours, &body).await.json();
    let asset = format!("/v3/assets/{}", begun["data"]["asset_id"].as_str().unwrap());
    assert_eq!(with_key(&router, Method::GET, &asset, &ours, &json!({})).await.status, StatusCode::OK);
    assert_eq!(
        with_key(&router, Method::GET, &asset, &theirs, &json!({})).await.error(),
        error(404, "asset_not_found")
    );
}

#[tokio::test]
async fn scopes_pools_caps_and_quotas_hold() {
    let farm = Farm::with(patient());
    let router = strict(&farm);
    let reader = keyed(&farm, |record| record.rights.scopes = vec![Scope::Read]).await;
    assert_eq!(with_key(&router, Method::POST, RENDERS, &reader, &page()).await.error(), error(403, "forbidden"));
    assert_eq!(with_key(&router, Method::GET, RENDERS, &reader, &json!({})).await.status, StatusCode::OK);
    assert_eq!(with_key(&router, Method::GET, "/metrics", &reader, &json!({})).await.error(), error(403, "forbidden"));

    let pooled = keyed(&farm, |record| record.rights.pools = Some(vec!["gpu".parse().unwrap()])).await;
    let denied = with_key(&router, Method::POST, RENDERS, &pooled, &page()).await.error();
    assert_eq!(denied, (403, "resource_access_denied".to_owned(), Some("pool".to_owned())));

    let broke = keyed(&farm, |record| record.rights.cap_usd = Some(0.0)).await;
    let refused = with_key(&router, Method::POST, RENDERS, &broke, &page()).await;
    assert_eq!(refused.error(), error(402, "insufficient_credit"));
    let me = with_key(&router, Method::GET, "/v3/users/me", &broke, &json!({})).await.json();
    assert_eq!((&me["data"]["username"], &me["data"]["billing_type"]), (&json!("ci"), &json!("usage_based")));
    assert_eq!(me["data"]["usage_based"]["spending_cap_usd"], 0.0);
    // A key without a cap and without renders, in the hosted service's envelope.
    let new = keyed(&farm, |_| {}).await;
    let me = with_key(&router, Method::GET, "/v3/users/me", &new, &json!({})).await;
    assert!(me.bytes.windows(4).all(|part| part != b"-0.0"), "{:?}", me.json());
    let me = me.json();
    assert_eq!(with_key(&router, Method::GET, "/v1/user/me", &new, &json!({})).await.json(), me, "the older path");
    assert_eq!((&me["code"], &me["message"]), (&json!(100), &Value::Null));
    assert_eq!(me["data"]["usage_based"], json!({ "spending_current_usd": 0.0, "included_credits": 0.0 }));
    for plan in ["wallet", "subscription"] {
        assert!(me["data"][plan].is_null() && me["data"].as_object().unwrap().contains_key(plan), "{plan}");
    }

    let daily = keyed(&farm, |record| {
        record.rights.space = "team-d".parse().unwrap();
        record.rights.limits.per_day = Some(1);
    })
    .await;
    assert_eq!(with_key(&router, Method::POST, RENDERS, &daily, &page()).await.status, StatusCode::ACCEPTED);
    assert_eq!(with_key(&router, Method::POST, RENDERS, &daily, &page()).await.error(), error(429, "quota_exceeded"));

    let fast = keyed(&farm, |record| record.rights.limits.per_minute = Some(1)).await;
    assert_eq!(with_key(&router, Method::POST, RENDERS, &fast, &page()).await.status, StatusCode::ACCEPTED);
    let limited = with_key(&router, Method::POST, RENDERS, &fast, &page()).await;
    assert_eq!(limited.error(), error(429, "rate_limit_exceeded"));
    assert!((50..=60).contains(&limited.header("retry-after").parse::<u32>().unwrap()));
}

#[tokio::test]
async fn places_are_taken_at_once_survive_a_restart_and_are_given_back() {
    let mut farm = Farm::with(patient());
    let key =
        keyed(&farm, |record| record.rights.limits = KeyLimits { concurrent: Some(3), ..KeyLimits::default() }).await;
    let router = strict(&farm);
    let answers = futures::future::join_all((0..12).map(|_| {
        let (router, key) = (router.clone(), key.clone());
        async move { with_key(&router, Method::POST, RENDERS, &key, &page()).await }
    }))
    .await;
    let taken: Vec<&Answer> = answers.iter().filter(|answer| answer.status == StatusCode::ACCEPTED).collect();
    assert_eq!(taken.len(), 3);
    let render = taken[0].json()["data"]["render_id"].as_str().unwrap().to_owned();
    let limited = answers.iter().find(|answer| answer.status != StatusCode::ACCEPTED).unwrap();
    assert_eq!(limited.error(), error(429, "rate_limit_exceeded"));
    assert!(limited.header("retry-after").parse::<u32>().unwrap() > 0);
    farm.restart().await;
    let router = strict(&farm);
    let again = with_key(&router, Method::POST, RENDERS, &key, &page()).await;
    assert_eq!(again.status, StatusCode::TOO_MANY_REQUESTS, "after a restart the places are still taken");
    let poll = with_key(&router, Method::GET, &format!("{RENDERS}/{render}"), &key, &json!({})).await;
    assert_eq!(poll.status, StatusCode::OK, "polls are never limited");
    with_key(&router, Method::POST, &format!("{RENDERS}/{render}/cancel"), &key, &json!({})).await;
    soon(|| async { with_key(&router, Method::POST, RENDERS, &key, &page()).await.status == StatusCode::ACCEPTED })
        .await;
}

/// Waits until `test` holds.
async fn soon<F: Future<Output = bool>>(test: impl Fn() -> F) {
    for _ in 0..500 {
        if test().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it never came");
}

fn bundle() -> Vec<u8> {
    from_html("<p>", None).unwrap().to_vec()
}

async fn put_bytes(router: &Router, url: &str, headers: &Value, bytes: Vec<u8>) -> StatusCode {
    use tower::ServiceExt;
    let mut request = axum::http::Request::builder().method("PUT").uri(url.strip_prefix(HOST).unwrap());
    for (name, value) in headers.as_object().unwrap() {
        assert_eq!(name.to_ascii_lowercase(), *name);
        request = request.header(name, value.as_str().unwrap());
    }
    let request = request.body(axum::body::Body::from(bytes)).unwrap();
    router.clone().oneshot(request).await.unwrap().status()
}

#[tokio::test]
async fn a_direct_upload_becomes_a_project() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::over(Objects::local(dir.path()).unwrap(), patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let bytes = bundle();
    let hash = hyperfarm_proto::id::ContentHash::of(&bytes).to_string();
    let body = json!({
        "filename": "p.zip", "content_type": "application/zip", "size_bytes": bytes.len(), "checksum_sha256": hash,
    });
    let begun = post(&router, "/v3/assets/direct-uploads", &body).await.json()["data"].clone();
    assert_eq!((&begun["status"], &begun["max_bytes"]), (&json!("pending_upload"), &json!(209_715_200)));
    let (id, url) = (begun["asset_id"].as_str().unwrap(), begun["upload_url"].as_str().unwrap());
    let complete = format!("/v3/assets/{id}/complete");
    let early = post(&router, &complete, &json!({})).await;
    assert_eq!(early.error(), error(409, "resource_not_ready"));
    let render = json!({ "project": { "type": "asset_id", "asset_id": id } });
    let (status, code, _) = post(&router, RENDERS, &render).await.error();
    assert_eq!((status, code.as_str()), (409, "resource_not_ready"));
    assert_eq!(put_bytes(&router, url, &begun["upload_headers"], vec![0; 3]).await, StatusCode::BAD_REQUEST);
    assert_eq!(
        put_bytes(&router, &url.replace("signature=", "signature=9"), &json!({}), bytes.clone()).await,
        StatusCode::FORBIDDEN
    );
    assert_eq!(put_bytes(&router, url, &begun["upload_headers"], bytes.clone()).await, StatusCode::OK);
    let wrong = post(&router, &complete, &json!({ "checksum_sha256": "0".repeat(64) })).await;
    assert_eq!(wrong.error(), invalid("checksum_sha256"));
    for _ in 0..2 {
        let data = ask(&router, Method::POST, &complete, &[], "").await.json()["data"].clone();
        assert_eq!((&data["mime_type"], &data["status"]), (&json!("application/zip"), &json!("processing")));
        let url = data["url"].as_str().unwrap().strip_prefix(HOST).unwrap();
        let back = get(&router, url).await;
        assert_eq!((back.header("content-type"), &back.bytes), ("application/zip", &bytes));
        assert!(url.split('?').next().unwrap().ends_with(".zip"), "{url}");
    }
    assert_eq!(put_bytes(&router, url, &begun["upload_headers"], vec![7; bytes.len()]).await, StatusCode::OK);
    assert_eq!(post(&router, RENDERS, &render).await.status, StatusCode::ACCEPTED, "what is complete stays what it is");
    let listed = get(&router, "/v3/assets?limit=1").await.json();
    assert_eq!((&listed["data"][0]["id"], &listed["data"][0]["type"]), (&json!(id), &json!("document")));
    assert_eq!(
        ask(&router, Method::DELETE, &format!("/v3/assets/{id}"), &[], "").await.json(),
        json!({ "data": { "id": id } })
    );
    let (status, code, param) = post(&router, RENDERS, &render).await.error();
    assert_eq!((status, code.as_str(), param.as_deref()), (404, "asset_not_found", Some("project.asset_id.asset_id")));
    for (field, value) in [
        ("size_bytes", json!(0)),
        ("content_type", json!("text/html")),
        ("filename", json!("")),
        ("checksum_sha256", json!("x")),
    ] {
        let mut bad = body.clone();
        bad[field] = value;
        assert_eq!(post(&router, "/v3/assets/direct-uploads", &bad).await.error(), invalid(field));
    }
    let mut large = body.clone();
    large["size_bytes"] = json!(200 * 1024 * 1024 + 1);
    let (status, code, _) = post(&router, "/v3/assets/direct-uploads", &large).await.error();
    assert_eq!((status, code.as_str()), (413, "hyperframes_project_too_large"));
}

#[tokio::test]
async fn a_space_announces_so_many_uploads_and_then_completes_or_deletes_some() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let body = json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 });
    let begin = async || post(&router, "/v3/assets/direct-uploads", &body).await;
    let mut last = begin().await.json();
    for _ in 1..200 {
        last = begin().await.json();
    }
    let refused = begin().await;
    assert_eq!(refused.error(), error(429, "rate_limit_exceeded"));
    assert_eq!(refused.header("retry-after"), "60");
    let uri = format!("/v3/assets/{}", last["data"]["asset_id"].as_str().unwrap());
    assert_eq!(ask(&router, Method::DELETE, &uri, &[], "").await.status, StatusCode::OK);
    assert_eq!(begin().await.status, StatusCode::OK);
    assert_eq!(begin().await.error(), error(429, "rate_limit_exceeded"));
}

#[tokio::test]
async fn a_multipart_upload_is_sniffed() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let form = |name: &str, content: &str| {
        format!(
            "--b\r\ncontent-disposition: form-data; name=\"{name}\"; filename=\"x.bin\"\r\ncontent-type: application/octet-stream\r\n\r\n{content}\r\n--b--\r\n"
        )
    };
    let kind = [("content-type", "multipart/form-data; boundary=b"), ("idempotency-key", "u1")];
    let data =
        ask(&router, Method::POST, "/v3/assets", &kind, &form("file", "%PDF-1.7 etc")).await.json()["data"].clone();
    assert_eq!((&data["mime_type"], &data["size_bytes"]), (&json!("application/pdf"), &json!(12)));
    let again = ask(&router, Method::POST, "/v3/assets", &kind, &form("file", "%PDF-1.7 etc")).await.json();
    assert_eq!(again["data"]["asset_id"], data["asset_id"]);
    for (name, content) in [("file", "MZ not one of them"), ("other", "%PDF-1.7")] {
        let refused = ask(&router, Method::POST, "/v3/assets", &kind[..1], &form(name, content)).await;
        assert_eq!(refused.error(), invalid("file"));
    }
    assert_eq!(post(&router, "/v3/assets", &json!({})).await.error(), invalid("file"));
    let render = json!({ "project": { "type": "asset_id", "asset_id": data["asset_id"] } });
    let (status, code, _) = post(&router, RENDERS, &render).await.error();
    assert_eq!((status, code.as_str()), (400, "hyperframes_project_invalid"));
}

/// A server of this machine that answers every request with `answer`.
async fn server(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });
    format!("http://{address}")
}

fn fetcher() -> Option<Fetcher> {
    let config = FetchConfig { http: true, allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() };
    Some(Fetcher::new(config).unwrap())
}

#[tokio::test]
async fn a_project_comes_from_an_url() {
    let zip = bundle();
    let base = server(Router::new().route("/p.zip", axum::routing::get(move || async move { zip.clone() }))).await;
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig { fetcher: fetcher(), ..ApiConfig::default() });
    let of = |url: String| json!({ "project": { "type": "url", "url": url } });
    assert_eq!(post(&router, RENDERS, &of(format!("{base}/p.zip"))).await.status, StatusCode::ACCEPTED);
    let failed = (400, "download_failed".to_owned(), Some("project.url.url".to_owned()));
    assert_eq!(post(&router, RENDERS, &of(format!("{base}/none.zip"))).await.error(), failed);
    assert_eq!(post(&router, RENDERS, &of("http://10.0.0.1/p.zip".to_owned())).await.error(), failed);
}

#[tokio::test]
async fn unknown_fields_are_named_and_change_nothing() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let mut body = page();
    body["shiny"] = json!(true);
    let data = post(&router, RENDERS, &body).await.json()["data"].clone();
    assert_eq!(
        (&data["warnings"][0]["param"], &data["warnings"][0]["code"]),
        (&json!("shiny"), &json!("unknown_field"))
    );
}

#[tokio::test]
async fn a_batch_answers_for_each_item() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let uri = format!("{RENDERS}/batch");
    let body = json!({ "project": page()["project"], "quality": "draft", "items": [
        { "variables": { "a": 1 }, "title": "one" }, { "variables": [1] }, { "variables": { "a": 3 } },
    ] });
    let data = post(&router, &uri, &body).await.json()["data"].clone();
    assert_eq!((&data["accepted"], &data["refused"]), (&json!(2), &json!(1)));
    assert_eq!(data["renders"][1]["error"]["param"], "variables");
    let first = get(&router, &format!("{RENDERS}/{}", data["renders"][0]["render_id"].as_str().unwrap())).await.json();
    assert_eq!((&first["data"]["title"], &first["data"]["quality"]), (&json!("one"), &json!("draft")));
    assert_eq!(first["data"]["batch_id"], data["batch_id"]);
    let short = json!({ "project": page()["project"], "variables": [{}, {}] });
    assert_eq!(post(&router, &uri, &short).await.json()["data"]["accepted"], 2);
    let mixed = json!({
        "project": page()["project"], "variables": { "a": 1 }, "title": "all", "composition": "./index.html",
        "items": [{}, { "title": "own" }], "shiny": true,
    });
    let data = post(&router, &uri, &mixed).await.json()["data"].clone();
    assert_eq!((&data["accepted"], &data["warnings"][0]["param"]), (&json!(2), &json!("shiny")));
    for (index, title) in [(0, "all"), (1, "own")] {
        let render = data["renders"][index]["render_id"].as_str().unwrap();
        assert_eq!(get(&router, &format!("{RENDERS}/{render}")).await.json()["data"]["title"], title);
    }
    for (body, param) in [
        (json!({ "project": page()["project"] }), "variables"),
        (json!({ "project": page()["project"], "items": [1] }), "items[0]"),
        (json!({ "project": page()["project"], "items": [] }), "items"),
        (json!({ "project": page()["project"], "items": [{ "fps": 3 }] }), "items[0].fps"),
        (json!({ "variables": [{}] }), "project"),
    ] {
        assert_eq!(post(&router, &uri, &body).await.error(), invalid(param));
    }
}

#[tokio::test]
async fn a_waiting_render_says_what_for_and_a_higher_priority_goes_first() {
    let farm = Farm::with(CoordinatorConfig { tick: Duration::from_millis(200), ..patient() });
    let router = farm.coordinator.router(ApiConfig::default());
    let submit = async |title: &str, pool: &str| {
        let fields = json!({ "project": page()["project"], "title": title, "pool": pool, "priority": 3 });
        // Renders of one millisecond are in no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
        post(&router, RENDERS, &fields).await.json()["data"]["render_id"].as_str().unwrap().to_owned()
    };
    let (first, second, other) = (submit("b", "cpu").await, submit("A", "cpu").await, submit("c", "gpu").await);
    let uri = |render: &str| format!("{RENDERS}/{render}");
    let waiting = async |render: &str| get(&router, &uri(render)).await.json()["data"]["waiting"]["code"].clone();
    assert!(crate::common::comes(async || waiting(&other).await == "WAITING_FOR_WORKERS").await, "it has no worker");

    let raised = post(&router, &format!("{}/priority", uri(&second)), &json!({ "priority": 9 })).await.json();
    assert_eq!((&raised["data"]["priority"], &raised["data"]["pool"]), (&json!(9), &json!("cpu")));
    let high = post(&router, &format!("{}/priority", uri(&second)), &json!({ "priority": 101 })).await;
    assert_eq!(high.error(), invalid("priority"));
    let listed = async |query: &str| {
        let list = get(&router, &format!("{RENDERS}?{query}")).await.json();
        let ids =
            list["data"].as_array().unwrap().iter().map(|render| render["render_id"].as_str().unwrap().to_owned());
        (ids.collect::<Vec<_>>(), list["next_token"].as_str().map(str::to_owned))
    };
    assert_eq!(listed("sort=priority").await.0, [&*second, &*other, &*first]);
    assert_eq!(listed("sort=oldest").await.0, [&*first, &*second, &*other]);
    assert_eq!(listed("pool=gpu").await.0, [&*other]);
    let (page, token) = listed("sort=title&limit=2").await;
    assert_eq!(page, [&*second, &*first]);
    assert_eq!(listed(&format!("sort=title&limit=2&token={}", token.unwrap())).await.0, [&*other]);

    post(&router, &format!("{}/cancel", uri(&first)), &json!({})).await;
    let late = post(&router, &format!("{}/priority", uri(&first)), &json!({ "priority": 1 })).await;
    assert_eq!(late.error(), error(409, "conflict"));
    let counts = get(&router, "/v3/hyperframes/farm").await.json()["data"]["renders"].clone();
    assert_eq!((&counts["queued"], &counts["cancelled"], &counts["failed"]), (&json!(2), &json!(1), &json!(0)));
}

#[tokio::test]
async fn a_paused_render_waits_and_a_retried_one_is_new() {
    let mut farm = Farm::with(quick());
    farm.slots(1).await;
    let router = farm.coordinator.router(ApiConfig::default());
    let render = farm.submit(chunks_of(30)).await;
    let uri = format!("{RENDERS}/{render}");
    let mut worker = farm.worker("w1").await;
    let draft = draft(60, false);
    worker.do_next(&draft).await;
    let paused = post(&router, &format!("{uri}/pause"), &json!({})).await.json();
    assert_eq!(paused["data"]["paused"], true);
    while let Some(task) = worker.take_within(Duration::from_millis(500)).await {
        // What was sent out before the pause.
        drop(task);
    }
    farm.restart().await;
    let router = farm.coordinator.router(ApiConfig::default());
    assert!(worker.take_within(Duration::from_millis(500)).await.is_none(), "paused over a restart");
    let early = post(&router, &format!("{uri}/retry"), &json!({})).await;
    assert_eq!(early.error(), error(409, "conflict"));
    let resumed = post(&router, &format!("{uri}/resume"), &json!({})).await.json();
    assert!(resumed["data"].get("paused").is_none());
    worker.finish(&draft).await;
    farm.end(&render).await;
    let chunks = get(&router, &format!("{uri}/chunks")).await.json();
    assert_eq!(chunks["data"].as_array().unwrap().len(), 2);
    assert_eq!((&chunks["data"][1]["status"], &chunks["data"][1]["first_frame"]), (&json!("completed"), &json!(30)));
    assert_eq!(post(&router, &format!("{uri}/pause"), &json!({})).await.error(), error(409, "conflict"));
    let events = get(&router, &format!("{uri}/events")).await;
    assert_eq!(events.header("content-type"), "text/event-stream");
    let text = String::from_utf8(events.bytes).unwrap();
    assert!(text.contains("event: status\n") && text.contains("\"status\":\"completed\""), "{text}");
    let retried = post(&router, &format!("{uri}/retry"), &json!({})).await;
    assert_eq!(retried.status, StatusCode::ACCEPTED);
    let new = retried.json()["data"]["render_id"].as_str().unwrap().to_owned();
    assert_ne!(new, render.to_string());
    let detail = get(&router, &format!("{RENDERS}/{new}")).await.json();
    assert_eq!(detail["data"]["retry_of"], render.as_str());
}

#[tokio::test]
async fn usage_is_noted_and_priced() {
    let farm = Farm::new();
    let router = strict(&farm);
    let key = keyed(&farm, |record| record.rights.cap_usd = Some(0.004)).await;
    let created = with_key(&router, Method::POST, RENDERS, &key, &page()).await.json();
    let render: hyperfarm_proto::id::RenderId = created["data"]["render_id"].as_str().unwrap().parse().unwrap();
    farm.worker("w1").await.finish(&draft(90, false)).await;
    farm.end(&render).await;
    let uri = format!("{RENDERS}/{render}");
    soon(|| async { with_key(&router, Method::GET, &uri, &key, &json!({})).await.json()["data"]["usage"].is_object() })
        .await;
    let usage = with_key(&router, Method::GET, &uri, &key, &json!({})).await.json()["data"]["usage"].clone();
    // Three seconds of 720p at 30 frames a second.
    assert!(
        (usage["usd"].as_f64().unwrap() - 0.005).abs() < 1e-9 && usage["worker_seconds"]["stitch"].is_number(),
        "{usage}"
    );
    let me =
        with_key(&router, Method::GET, "/v3/users/me", &key, &json!({})).await.json()["data"]["usage_based"].clone();
    assert!((me["spending_current_usd"].as_f64().unwrap() - 0.005).abs() < 1e-9);
    let refused = with_key(&router, Method::POST, RENDERS, &key, &page()).await;
    assert_eq!(refused.error(), error(402, "insufficient_credit"));
}

#[tokio::test]
async fn what_takes_too_long_is_504_and_no_refusal_is_out_of_shape() {
    let farm = Farm::with(patient());
    let silent = Router::new().fallback(|| tokio::time::sleep(Duration::from_secs(30)));
    let url = format!("{}/p.zip", server(silent).await);
    let answer_within = Duration::from_millis(200);
    let config = ApiConfig { answer_within, fetcher: fetcher(), ..ApiConfig::default() };
    let router = farm.coordinator.router(config);
    let slow = post(&router, RENDERS, &json!({ "project": { "type": "url", "url": url } })).await;
    assert_eq!(slow.error(), error(504, "gateway_timeout"));
    let router = farm.coordinator.router(ApiConfig::default());
    assert_eq!(get(&router, &format!("{RENDERS}/%ff")).await.error(), error(400, "invalid_parameter"));
}

/// Whether `value` is what `schema` says, as far as these schemas say anything.
fn fits(value: &Value, schema: &Value, document: &Value, path: &str) {
    if let Some(name) = schema["$ref"].as_str() {
        let name = name.rsplit('/').next().unwrap();
        return fits(value, &document["components"]["schemas"][name], document, path);
    }
    let kinds: Vec<&str> = match &schema["type"] {
        Value::String(kind) => vec![kind],
        Value::Array(kinds) => kinds.iter().filter_map(Value::as_str).collect(),
        _ => return,
    };
    let is = |kind: &&str| match *kind {
        "string" => value.is_string(),
        "integer" => value.is_u64() || value.is_i64(),
        "number" => value.is_number(),
        "boolean" => value.is_boolean(),
        "array" => value.is_array(),
        "object" => value.is_object(),
        _ => value.is_null(),
    };
    assert!(kinds.iter().any(is), "{path}: {value} is none of {kinds:?}");
    if let Some(choices) = schema["enum"].as_array() {
        assert!(choices.contains(value), "{path}: {value} is none of {choices:?}");
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        fits(item, &schema["items"], document, &format!("{path}[{index}]"));
    }
    let (Some(fields), Some(properties)) = (value.as_object(), schema["properties"].as_object()) else { return };
    for required in schema["required"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        assert!(fields.contains_key(required), "{path}: {required} is missing in {value}");
    }
    for (name, field) in fields.iter().filter(|_| !properties.is_empty()) {
        let property = properties.get(name).unwrap_or_else(|| panic!("{path}.{name} is not documented"));
        fits(field, property, document, &format!("{path}.{name}"));
    }
}

#[tokio::test]
async fn answers_are_what_the_document_says() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig { allow_http_callbacks: true, ..ApiConfig::default() });
    let document = get(&router, "/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let created = post(&router, RENDERS, &page()).await.json();
    let render: hyperfarm_proto::id::RenderId = created["data"]["render_id"].as_str().unwrap().parse().unwrap();
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&render).await;
    let body = json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 });
    post(&router, "/v3/assets/direct-uploads", &body).await;
    let endpoint = post(&router, "/v3/webhooks/endpoints", &json!({ "url": "https://x.example/h" })).await.json();
    let endpoint = endpoint["data"]["endpoint_id"].as_str().unwrap().to_owned();
    soon(|| async { get(&router, "/v3/webhooks/events").await.json()["data"][0].is_object() }).await;
    let bodies = |schema: &str| match schema {
        "RenderRequest" => page(),
        "BatchRequest" => json!({ "project": page()["project"], "variables": [{}] }),
        "UploadRequest" => json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 }),
        "EndpointRequest" => json!({ "url": "https://y.example/h" }),
        _ => json!({}),
    };
    let mut checked = 0;
    for (path, methods) in document["paths"].as_object().unwrap() {
        let uri = path.replace("{render_id}", render.as_str()).replace("{endpoint_id}", &endpoint);
        for (method, operation) in methods.as_object().unwrap() {
            let schema =
                operation["requestBody"]["content"]["application/json"]["schema"]["$ref"].as_str().unwrap_or_default();
            let is_endless = uri.ends_with("/farm/events");
            if uri.contains('{') || is_endless || method == "delete" || uri == "/v3/assets" && method == "post" {
                continue;
            }
            let body = bodies(schema.rsplit('/').next().unwrap()).to_string();
            let answer = ask(&router, method.to_uppercase().parse().unwrap(), &uri, &[], &body).await;
            let status = answer.status.as_u16().to_string();
            let documented = operation["responses"]
                .get(&status)
                .unwrap_or_else(|| panic!("{method} {uri}: {status} is not documented"));
            let schema = &documented["content"]["application/json"]["schema"];
            if !schema.is_null() {
                fits(&answer.json(), schema, &document, &format!("{method} {uri}"));
                checked += 1;
            }
        }
    }
    assert!(checked > 15, "{checked}");
    assert_eq!(Code::Conflict.meaning(), "The thing is not in a state for that.");
}

#[tokio::test]
async fn base64_and_both_headers_work_with_a_stored_key() {
    let farm = Farm::with(patient());
    let router = strict(&farm);
    let key = keyed(&farm, |_| {}).await;
    let body =
        json!({ "project": { "type": "base64", "media_type": "application/zip", "data": STANDARD.encode(bundle()) } });
    let bearer = format!("Bearer {key}");
    let answer = ask(&router, Method::POST, RENDERS, &[("authorization", &bearer)], &body.to_string()).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}

#[tokio::test]
async fn what_an_upload_was_announced_as_it_must_be() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let bytes = bundle();
    for (announced, is_taken) in [
        ("application/octet-stream", true),
        ("application/x-zip-compressed", true),
        ("application/zip", true),
        ("video/mp4", false),
    ] {
        let body = json!({ "filename": "a.mp4", "content_type": announced, "size_bytes": bytes.len() });
        let begun = post(&router, "/v3/assets/direct-uploads", &body).await.json()["data"].clone();
        let (id, url) = (begun["asset_id"].as_str().unwrap(), begun["upload_url"].as_str().unwrap());
        assert_eq!(put_bytes(&router, url, &begun["upload_headers"], bytes.clone()).await, StatusCode::OK);
        let done = post(&router, &format!("/v3/assets/{id}/complete"), &json!({})).await;
        if is_taken {
            assert_eq!(done.json()["data"]["mime_type"], "application/zip", "{announced}");
        } else {
            assert_eq!(done.error(), invalid("content_type"), "{announced}");
        }
    }
}

#[tokio::test]
async fn a_file_over_a_limit_is_no_project_and_is_told_what_to_do() {
    let limits = Limits { upload_bytes: 64, bundle_bytes: 128, ..Limits::default() };
    let farm = Farm::with(CoordinatorConfig { limits, ..patient() });
    let router = farm.coordinator.router(ApiConfig::default());
    for (name, code) in [("a.png", "invalid_parameter"), ("a.zip", "hyperframes_project_too_large")] {
        let form = format!(
            "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n{}\r\n--b--\r\n",
            "x".repeat(100)
        );
        let kind = [("content-type", "multipart/form-data; boundary=b")];
        let refused = ask(&router, Method::POST, "/v3/assets", &kind, &form).await;
        assert_eq!(refused.error(), (413, code.to_owned(), Some("file".to_owned())));
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains("/v3/assets/direct-uploads"));
        let kind = if name == "a.png" { "image/png" } else { "application/zip" };
        let body = json!({ "filename": name, "content_type": kind, "size_bytes": 129 });
        let refused = post(&router, "/v3/assets/direct-uploads", &body).await;
        assert_eq!(refused.error(), (413, code.to_owned(), Some("size_bytes".to_owned())));
        let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(!message.contains("direct-uploads"), "it is what the client uses: {message}");
    }
}

#[tokio::test]
async fn every_documented_type_of_event_is_listed() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let types = get(&router, "/v3/webhooks/event-types").await.json()["data"].clone();
    let names: Vec<&str> = types.as_array().unwrap().iter().map(|one| one["event_type"].as_str().unwrap()).collect();
    for name in ["hyperframes_video.success", "hyperframes_video.fail", "avatar_video.success", "video_agent.fail"] {
        assert!(names.contains(&name), "{name}: {names:?}");
    }
    let all = json!({ "url": "https://x.example/h", "events": names });
    assert_eq!(post(&router, "/v3/webhooks/endpoints", &all).await.status, StatusCode::OK);
}
