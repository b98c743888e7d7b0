//! Each documented error code, provoked through HTTP.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use crate::common::client::{Answer, RENDERS, ask, get, page, post};
use crate::common::{Farm, patient};
use axum::Router;
use axum::http::Method;
use hyperfarm_backplane::config;
use hyperfarm_backplane::fetch::{FetchConfig, Fetcher};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::api::{Access, ApiConfig, Code};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::intake::Limits;
use hyperfarm_speech::{Catalogue, SpeechConfig};
use serde_json::{Value, json};

async fn keyed(farm: &Farm, space: &str, change: impl FnOnce(&mut KeyRecord)) -> String {
    let mut record = KeyRecord::new("codes", space.parse().unwrap());
    change(&mut record);
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

async fn with_key(router: &Router, method: Method, uri: &str, key: &str, body: &Value) -> Answer {
    ask(router, method, uri, &[("x-api-key", key)], &body.to_string()).await
}

async fn submit(router: &Router, key: &str) -> Answer {
    with_key(router, Method::POST, RENDERS, key, &page()).await
}

/// Every code that was provoked, with its status.
#[derive(Default)]
struct Provoked(BTreeSet<(u16, String)>);

impl Provoked {
    fn note(&mut self, answer: &Answer, code: Code) {
        let (status, text, _) = answer.error();
        assert_eq!((status, text.as_str()), (code.status().as_u16(), code.as_str()));
        self.0.insert((status, text));
    }
}

#[tokio::test]
async fn every_documented_code_can_be_provoked() {
    let mut provoked = Provoked::default();
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("storage");
    std::fs::create_dir(&root).unwrap();
    let limits = Limits { inline_bytes: 3000, ..Limits::default() };
    let farm = Farm::over(Objects::local(&root).unwrap(), CoordinatorConfig { limits, ..patient() });
    let silent = Router::new().fallback(|| tokio::time::sleep(Duration::from_secs(30)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let elsewhere = format!("http://{}/p.zip", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, silent).await });
    let fetch = FetchConfig { http: true, allow: "127.0.0.1".parse().unwrap(), ..FetchConfig::default() };
    let config = ApiConfig {
        access: Access::keys([]),
        fetcher: Some(Fetcher::new(fetch).unwrap()),
        answer_within: Duration::from_secs(2),
        ..ApiConfig::default()
    };
    let router = farm.coordinator.router(config);
    let key = keyed(&farm, "team", |_| {}).await;
    let ask_with = |method: Method, uri: String, body: Value| {
        let (router, key) = (router.clone(), key.clone());
        async move { with_key(&router, method, &uri, &key, &body).await }
    };
    let send = |body: Value| ask_with(Method::POST, RENDERS.to_owned(), body);

    // Who asks.
    provoked.note(&get(&router, RENDERS).await, Code::Unauthorized);
    provoked.note(&ask_with(Method::GET, "/metrics".to_owned(), json!({})).await, Code::Forbidden);
    let pooled = keyed(&farm, "team", |record| record.rights.pools = Some(vec!["gpu".parse().unwrap()])).await;
    provoked.note(&submit(&router, &pooled).await, Code::AccessDenied);
    let broke = keyed(&farm, "team", |record| record.rights.cap_usd = Some(0.0)).await;
    provoked.note(&submit(&router, &broke).await, Code::InsufficientCredit);
    let narrow = keyed(&farm, "narrow", |record| record.rights.limits.concurrent = Some(0)).await;
    let limited = submit(&router, &narrow).await;
    provoked.note(&limited, Code::RateLimited);
    assert!(limited.header("retry-after").parse::<u64>().unwrap() > 0);
    let daily = keyed(&farm, "daily", |record| record.rights.limits.per_day = Some(0)).await;
    let over = submit(&router, &daily).await;
    provoked.note(&over, Code::QuotaExceeded);
    assert!(over.header("retry-after").parse::<u64>().unwrap() > 0);

    // What is asked.
    provoked.note(&send(json!({})).await, Code::InvalidParameter);
    let url = json!({ "project": { "type": "url", "url": "http://10.0.0.1/p.zip" } });
    provoked.note(&send(url).await, Code::DownloadFailed);
    let slow = json!({ "project": { "type": "url", "url": elsewhere } });
    provoked.note(&send(slow).await, Code::Timeout);
    let garbage = json!({ "project": { "type": "base64", "data": "bm90IGEgemlw" } });
    provoked.note(&send(garbage).await, Code::ProjectInvalid);
    let large = json!({ "project": { "type": "base64", "data": "A".repeat(9000) } });
    provoked.note(&send(large).await, Code::ProjectTooLarge);
    let picture = json!({ "filename": "a.png", "content_type": "image/png", "size_bytes": 1_000_000_000 });
    let picture = ask_with(Method::POST, "/v3/assets/direct-uploads".to_owned(), picture).await;
    provoked.note(&picture, Code::TooLarge);
    let begin = json!({ "filename": "a.zip", "content_type": "application/zip", "size_bytes": 3 });
    let begun = ask_with(Method::POST, "/v3/assets/direct-uploads".to_owned(), begin).await.json();
    let pending = json!({ "project": { "type": "asset_id", "asset_id": begun["data"]["asset_id"] } });
    provoked.note(&send(pending).await, Code::NotReady);

    let text = [("x-api-key", key.as_str()), ("content-type", "text/plain")];
    provoked.note(&ask(&router, Method::POST, RENDERS, &text, &page().to_string()).await, Code::MediaTypeInvalid);

    // What an engine beside the farm does.
    let speech = json!({ "text": "Hello", "voice_id": "openai_alloy" });
    let speak = |body: Value| ask_with(Method::POST, "/v3/voices/speech".to_owned(), body);
    provoked.note(&speak(speech.clone()).await, Code::EngineNotConfigured);
    let variables = |name: &str| (name == "HYPERFARM_SPEECH_URL").then(|| "http://127.0.0.1:1".to_owned());
    let engines = config::read(&variables, SpeechConfig::read).unwrap();
    let speaking = farm
        .coordinator
        .router(ApiConfig { speech: Arc::new(Catalogue::new(&engines).unwrap()), ..ApiConfig::default() });
    let spoken = with_key(&speaking, Method::POST, "/v3/voices/speech", &key, &speech).await;
    provoked.note(&spoken, Code::EngineFailed);
    let unknown = with_key(&speaking, Method::GET, "/v3/voices/none", &key, &Value::Null).await;
    provoked.note(&unknown, Code::VoiceNotFound);

    // What it is asked of.
    for (uri, code) in [
        (format!("{RENDERS}/none"), Code::RenderNotFound),
        ("/v3/assets/none".to_owned(), Code::AssetNotFound),
        ("/v3/avatars/none".to_owned(), Code::AvatarNotFound),
        ("/v3/videos/none".to_owned(), Code::VideoNotFound),
        ("/v1/hyperframes/renders".to_owned(), Code::ResourceNotFound),
    ] {
        provoked.note(&ask_with(Method::GET, uri, json!({})).await, code);
    }
    let gone = ask_with(Method::DELETE, "/v3/webhooks/endpoints/none".to_owned(), json!({})).await;
    provoked.note(&gone, Code::WebhookNotFound);
    let admin = keyed(&farm, "team", |record| record.rights.scopes = vec![Scope::Admin]).await;
    let none = with_key(&router, Method::POST, "/v3/hyperframes/workers/none/drain", &admin, &json!({})).await;
    provoked.note(&none, Code::WorkerNotFound);
    provoked.note(&ask_with(Method::PUT, RENDERS.to_owned(), json!({})).await, Code::MethodNotAllowed);
    let render = send(page()).await.json()["data"]["render_id"].as_str().unwrap().to_owned();
    let retry = ask_with(Method::POST, format!("{RENDERS}/{render}/retry"), json!({})).await;
    provoked.note(&retry, Code::Conflict);

    // The same request while its first one is being answered: one of the two waits for a download that never comes.
    let headers = [("x-api-key", key.as_str()), ("idempotency-key", "twice")];
    let slow = json!({ "project": { "type": "url", "url": elsewhere } }).to_string();
    let twice = || ask(&router, Method::POST, RENDERS, &headers, &slow);
    let both = futures::join!(twice(), twice());
    let (first, second) = if both.0.status.as_u16() == 409 { (both.1, both.0) } else { both };
    provoked.note(&first, Code::Timeout);
    provoked.note(&second, Code::InProgress);

    // A range outside of a file.
    let form =
        "--b\r\ncontent-disposition: form-data; name=\"file\"; filename=\"x.pdf\"\r\n\r\n%PDF-1.7 etc\r\n--b--\r\n";
    let kind = [("x-api-key", key.as_str()), ("content-type", "multipart/form-data; boundary=b")];
    let stored = ask(&router, Method::POST, "/v3/assets", &kind, form).await.json();
    let file = stored["data"]["url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap().to_owned();
    let outside = ask(&router, Method::GET, &file, &[("range", "bytes=900-")], "").await;
    provoked.note(&outside, Code::RangeInvalid);

    // Storage that goes away under the running farm, and then a file is where its folder was. The key was read before.
    let open = farm.coordinator.router(ApiConfig::default());
    let post = |uri: String, body: Value| {
        let (open, key) = (open.clone(), key.clone());
        async move { with_key(&open, Method::POST, &uri, &key, &body).await }
    };
    let render = post(RENDERS.to_owned(), page()).await.json()["data"]["render_id"].as_str().unwrap().to_owned();
    std::fs::rename(&root, dir.path().join("away")).unwrap();
    provoked.note(&get(&open, "/readyz").await, Code::Unavailable);
    std::fs::write(&root, b"").unwrap();
    assert_eq!(get(&open, "/readyz").await.status.as_u16(), 503, "a file is no storage");
    provoked.note(&post(RENDERS.to_owned(), page()).await, Code::Internal);
    let read = with_key(&open, Method::GET, &format!("{RENDERS}/{render}"), &key, &Value::Null).await;
    assert_eq!(read.status.as_u16(), 200, "what is in memory is still answered");
    // And whole again.
    std::fs::remove_file(&root).unwrap();
    std::fs::rename(dir.path().join("away"), &root).unwrap();
    assert_eq!(post(RENDERS.to_owned(), page()).await.status.as_u16(), 202);

    let all: BTreeSet<(u16, String)> =
        Code::ALL.iter().map(|code| (code.status().as_u16(), code.as_str().to_owned())).collect();
    assert_eq!(provoked.0, all);
    let quick = keyed(&farm, "quick", |record| record.rights.scopes = vec![Scope::Read]).await;
    assert_eq!(submit(&router, &quick).await.error().0, 403);
}

#[tokio::test]
async fn a_days_last_renders_are_given_out_once() {
    let mut farm = Farm::with(patient());
    let key = keyed(&farm, "daily", |record| {
        record.rights.limits.per_day = Some(5);
        record.rights.limits.concurrent = Some(100);
    })
    .await;
    let strict = || ApiConfig { access: Access::keys([]), ..ApiConfig::default() };
    let router = farm.coordinator.router(strict());
    let other = keyed(&farm, "daily", |record| record.rights.limits.concurrent = Some(100)).await;
    // Another key of the space, which has no bound of its own, counts as well.
    assert_eq!(submit(&router, &other).await.status.as_u16(), 202);
    // A refused one does not.
    let garbage = json!({ "project": { "type": "base64", "data": "bm90IGEgemlw" } });
    assert_eq!(with_key(&router, Method::POST, RENDERS, &key, &garbage).await.status.as_u16(), 400);
    let answers = futures::future::join_all((0..20).map(|_| {
        let (router, key) = (router.clone(), key.clone());
        async move { submit(&router, &key).await.status.as_u16() }
    }))
    .await;
    assert_eq!(answers.iter().filter(|status| **status == 202).count(), 4);
    assert!(answers.iter().all(|status| [202, 429].contains(status)));
    farm.restart().await;
    let router = farm.coordinator.router(strict());
    assert_eq!(submit(&router, &key).await.error().1, "quota_exceeded");
}

#[tokio::test]
async fn what_is_written_to_an_upload_after_its_completion_changes_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::over(Objects::local(dir.path()).unwrap(), patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let bytes = hyperfarm_coordinator::intake::from_html("<p>", None).unwrap();
    let body = json!({ "filename": "p.zip", "content_type": "application/zip", "size_bytes": bytes.len() });
    let begun = post(&router, "/v3/assets/direct-uploads", &body).await.json()["data"].clone();
    let id = begun["asset_id"].as_str().unwrap();
    // As a store with signed URLs of its own takes it: nobody of the farm is asked.
    let incoming = format!("incoming/default/{id}");
    farm.backplane.objects.put(&incoming, bytes.clone()).await.unwrap();
    let done = post(&router, &format!("/v3/assets/{id}/complete"), &json!({})).await.json()["data"].clone();
    farm.backplane.objects.put(&incoming, bytes::Bytes::from(vec![7; bytes.len()])).await.unwrap();
    let url = done["url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    assert_eq!(get(&router, url).await.bytes, bytes);
    let render = json!({ "project": { "type": "asset_id", "asset_id": id } });
    assert_eq!(post(&router, RENDERS, &render).await.status.as_u16(), 202);
    let again = post(&router, &format!("/v3/assets/{id}/complete"), &json!({})).await.json()["data"].clone();
    assert_eq!(again["asset_id"], done["asset_id"]);
    assert_eq!(get(&router, url).await.bytes, bytes);
    let wrong = json!({ "checksum_sha256": "0".repeat(64) });
    assert_eq!(post(&router, &format!("/v3/assets/{id}/complete"), &wrong).await.status.as_u16(), 400);
}
