//! Two tenants apart on every route of the table, and who did what in the audit log.

use std::sync::Arc;
use std::time::Duration;

use crate::common::client::{Answer, RENDERS, ask, error, invalid};
use crate::common::{Farm, chunks_of, draft, quick};
use crate::lipsyncs;
use crate::videos::{self, photo, silence};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use futures::StreamExt;
use hyperfarm_coordinator::api::routes::ROUTES;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::intake::from_html;
use hyperfarm_coordinator::{TranslationError, Translator};
use serde_json::{Value, json};
use tower::ServiceExt;

/// A word in everything that tenant A names.
const MARK: &str = "alpha-secret";

async fn key(farm: &Farm, space: &str, scope: Scope) -> String {
    let mut record = KeyRecord::new(format!("{space} {scope:?}"), space.parse().unwrap());
    record.rights.scopes = vec![scope];
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

async fn call(router: &Router, key: &str, method: &str, uri: &str, body: &Value) -> Answer {
    let headers = [("x-api-key", key), ("content-type", "application/json")];
    ask(router, method.to_uppercase().parse().unwrap(), uri, &headers, &body.to_string()).await
}

/// What a stream of events sends in a while.
async fn events(router: &Router, key: &str, uri: &str) -> (u16, String) {
    let request = Request::builder().uri(uri).header("x-api-key", key).body(Body::empty()).unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status().as_u16();
    let mut stream = response.into_body().into_data_stream();
    let mut text = String::new();
    let reading = async {
        while let Some(Ok(part)) = stream.next().await {
            text.push_str(&String::from_utf8_lossy(&part));
        }
    };
    drop(tokio::time::timeout(Duration::from_millis(2500), reading).await);
    (status, text)
}

/// Translates nothing.
#[derive(Debug)]
struct Echo;

#[async_trait::async_trait]
impl Translator for Echo {
    async fn translate(
        &self,
        texts: &[String],
        _: Option<&str>,
        _: (&str, &str),
    ) -> Result<Vec<String>, TranslationError> {
        Ok(texts.to_vec())
    }
}

/// The things of a tenant, by the parameters of paths.
struct Things {
    render: String,
    open_render: String,
    asset: String,
    endpoint: String,
    group: String,
    look: String,
    video: String,
    session: String,
    lipsync: String,
    translation: String,
    proofread: String,
}

async fn things(farm: &Farm, router: &Router, key: &str) -> Things {
    let page = json!({
        "html": format!("<p>{MARK}</p>"), "title": MARK, "callback_id": MARK, "variables": { "secret": MARK },
    });
    let id = |answer: &Answer, name: &str| answer.json()["data"][name].as_str().unwrap().to_owned();
    let render = id(&call(router, key, "post", RENDERS, &page).await, "render_id");
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&render.parse().unwrap()).await;
    // In a pool that only A has heard of.
    let mut waiting = page.clone();
    waiting["pool"] = MARK.into();
    let open_render = id(&call(router, key, "post", RENDERS, &waiting).await, "render_id");
    let bundle = from_html("<p>", None).unwrap();
    let upload =
        json!({ "filename": format!("{MARK}.zip"), "content_type": "application/zip", "size_bytes": bundle.len() });
    let asset = id(&call(router, key, "post", "/v3/assets/direct-uploads", &upload).await, "asset_id");
    let endpoint = json!({ "url": format!("https://{MARK}.example/h") });
    let endpoint = id(&call(router, key, "post", "/v3/webhooks/endpoints", &endpoint).await, "endpoint_id");
    let photo = photo(600, 400, false);
    let avatar = json!({ "type": "photo", "name": MARK, "file": photo });
    let avatar = call(router, key, "post", "/v3/avatars", &avatar).await.json()["data"].clone();
    let [group, look] = ["avatar_group", "avatar_item"].map(|name| avatar[name]["id"].as_str().unwrap().to_owned());
    let sound = videos::upload(router, key, "speech.wav", &silence()).await;
    let video = json!({ "type": "image", "image": photo, "audio_asset_id": sound, "title": MARK });
    let video = id(&call(router, key, "post", "/v3/videos", &video).await, "video_id");
    let session = json!({ "prompt": MARK, "mode": "chat" });
    let session = id(&call(router, key, "post", "/v3/video-agents", &session).await, "session_id");
    let uri = format!("/v3/video-agents/{session}");
    let reviews = async || call(router, key, "get", &uri, &Value::Null).await.json()["data"]["status"] == "reviewing";
    assert!(crate::common::comes(reviews).await, "no storyboard");
    let film = videos::upload(router, key, "film.mp4", &lipsyncs::film()).await;
    let [film, speech] = [film, sound].map(|id| json!({ "type": "asset_id", "asset_id": id }));
    let lipsync = json!({ "video": film, "audio": speech, "title": MARK });
    let lipsync = id(&call(router, key, "post", "/v3/lipsyncs", &lipsync).await, "lipsync_id");
    let srt = videos::upload(router, key, "a.srt", format!("00:00 --> 00:01\n{MARK}").as_bytes()).await;
    let srt = json!({ "type": "asset_id", "asset_id": srt });
    let words = json!({ "video": film, "srt": srt, "title": MARK, "output_languages": ["English"] });
    let first = |answer: &Answer, name: &str| answer.json()["data"][name][0].as_str().unwrap().to_owned();
    let translation = call(router, key, "post", "/v3/video-translations", &words).await;
    let translation = first(&translation, "video_translation_ids");
    let proofread = call(router, key, "post", "/v3/video-translations/proofreads", &words).await;
    let proofread = first(&proofread, "proofread_ids");
    let uri = format!("/v3/video-translations/proofreads/{proofread}");
    let is_ready = async || call(router, key, "get", &uri, &Value::Null).await.json()["data"]["status"] == "completed";
    assert!(crate::common::comes(is_ready).await, "no translation");
    Things { render, open_render, asset, endpoint, group, look, video, session, lipsync, translation, proofread }
}

#[tokio::test]
async fn a_tenant_reaches_nothing_of_another_on_any_route() {
    let farm = Farm::with(quick());
    farm.slots(1).await;
    let scene = json!({ "layout": "title", "heading": MARK });
    let answer = json!({ "reply": MARK, "storyboard": { "title": MARK, "scenes": [scene] } });
    let language_model = Some(crate::agents::model(&[answer]).await.0);
    let (speech, translator) = (videos::speech(), Some(Arc::new(Echo) as Arc<dyn Translator>));
    let config = ApiConfig { access: Access::keys([]), language_model, speech, translator, ..ApiConfig::default() };
    let router = farm.coordinator.router(config);
    let (alpha, beta) = (key(&farm, "alpha", Scope::Render).await, key(&farm, "beta", Scope::Render).await);
    let things = things(&farm, &router, &alpha).await;
    // The end of the first render is an event of A's.
    let heard = async || {
        let events = call(&router, &alpha, "get", "/v3/webhooks/events", &Value::Null).await;
        events.json()["data"][0].is_object()
    };
    assert!(crate::common::comes(heard).await, "no event of the render's end");
    let own = async |uri: String| (uri.clone(), call(&router, &alpha, "get", &uri, &Value::Null).await.json());
    let before = [
        own(format!("{RENDERS}/{}", things.render)).await,
        own(format!("/v3/assets/{}", things.asset)).await,
        own("/v3/webhooks/endpoints".to_owned()).await,
        own(format!("/v3/avatars/{}", things.group)).await,
        own(format!("/v3/avatars/looks/{}", things.look)).await,
        own(format!("/v3/videos/{}", things.video)).await,
        own(format!("/v3/video-agents/{}", things.session)).await,
        own(format!("/v3/lipsyncs/{}", things.lipsync)).await,
        own(format!("/v3/video-translations/proofreads/{}", things.proofread)).await,
    ];
    let pools = async |key: &str| {
        let farm = call(&router, key, "get", "/v3/hyperframes/farm", &Value::Null).await.json();
        farm["data"]["pools"].to_string()
    };
    let waits = async || pools(&alpha).await.contains(MARK);
    assert!(crate::common::comes(waits).await, "A is not told of the pool that its render waits for");
    let operator = key(&farm, "default", Scope::Admin).await;
    assert!(pools(&operator).await.contains(MARK));
    let Things { render, open_render, asset, endpoint, group, look, video, session, lipsync, translation, proofread } =
        &things;
    let marks =
        [MARK, render, open_render, asset, endpoint, group, look, video, session, lipsync, translation, proofread];
    let mut asked = 0;
    for route in ROUTES {
        let mut uris = Vec::new();
        for render in [&things.render, &things.open_render] {
            let mut uri = route.path.to_owned();
            for (parameter, value) in [
                ("{render_id}", render.as_str()),
                ("{task_id}", render),
                ("{asset_id}", &things.asset),
                ("{endpoint_id}", &things.endpoint),
                ("{group_id}", &things.group),
                ("{look_id}", &things.look),
                ("{video_id}", &things.video),
                ("{session_id}", &things.session),
                ("{lipsync_id}", &things.lipsync),
                ("{video_translation_id}", &things.translation),
                ("{proofread_id}", &things.proofread),
                ("{resource_id}", "storyboard_0"),
                ("{worker_id}", "n1"),
                ("{voice_id}", "espeak_en-us"),
                ("{version}", "0.8.60"),
                ("{*key}", &format!("renders/{render}/output.mp4")),
                ("{expires}", "99999999999"),
                ("{signature}", "00"),
                ("{file}", "index.m3u8"),
            ] {
                uri = uri.replace(parameter, value);
            }
            assert!(!uri.contains('{'), "the test knows no value for a parameter of {}", route.path);
            if !uris.contains(&uri) {
                uris.push(uri);
            }
        }
        for uri in uris {
            let place = format!("{} {uri}", route.method);
            asked += 1;
            let (status, text) = if uri.ends_with("/events") && route.method == "get" && !uri.contains("webhooks") {
                events(&router, &beta, &uri).await
            } else {
                let answer = call(&router, &beta, route.method, &uri, &json!({})).await;
                (answer.status.as_u16(), String::from_utf8_lossy(&answer.bytes).into_owned())
            };
            let names_a_thing = [
                "{render_id}",
                "{task_id}",
                "{asset_id}",
                "{endpoint_id}",
                "{group_id}",
                "{look_id}",
                "{video_id}",
                "{session_id}",
                "{lipsync_id}",
                "{video_translation_id}",
                "{proofread_id}",
                "{*key}",
            ];
            let is_of_alpha = names_a_thing.iter().any(|parameter| route.path.contains(parameter));
            match route.needs {
                Some(Scope::Admin) => assert_eq!(status, 403, "{place}: {text}"),
                Some(_) if is_of_alpha => assert_eq!(status, 404, "{place}: {text}"),
                None if is_of_alpha => assert_eq!(status, 403, "{place}: {text}"),
                _ => assert!(status < 500, "{place}: {status} {text}"),
            }
            for mark in marks {
                // A refusal may repeat what was asked for.
                let repeated = text.replace(&uri, "");
                assert!(is_of_alpha || !repeated.contains(mark), "{place} tells of another tenant: {text}");
                assert!(mark != MARK || !text.contains(MARK), "{place} tells of another tenant: {text}");
            }
        }
    }
    assert!(asked > 30, "{asked}");
    for (uri, answer) in &before {
        assert_eq!(call(&router, &alpha, "get", uri, &Value::Null).await.json(), *answer, "{uri} has changed");
    }
    // An asset of another tenant is no project either.
    let theft = json!({ "project": { "type": "asset_id", "asset_id": things.asset } });
    assert_eq!(call(&router, &beta, "post", RENDERS, &theft).await.status.as_u16(), 404);
}

#[tokio::test]
async fn administrative_acts_are_in_the_audit_log_and_only_an_admin_reads_it() {
    let farm = Farm::with(quick());
    farm.slots(1).await;
    let router = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() });
    let (tenant, admin) = (key(&farm, "team", Scope::Render).await, key(&farm, "default", Scope::Admin).await);
    let page = json!({ "html": "<p>" });
    let render = call(&router, &tenant, "post", RENDERS, &page).await.json()["data"]["render_id"].clone();
    let render = render.as_str().unwrap();
    let endpoint = json!({ "url": "https://x.example/h" });
    let endpoint = call(&router, &tenant, "post", "/v3/webhooks/endpoints", &endpoint).await.json()["data"].clone();
    let endpoint = endpoint["endpoint_id"].as_str().unwrap();
    let worker = "/v3/hyperframes/workers/n1/drain";
    assert_eq!(call(&router, &tenant, "post", worker, &json!({})).await.error(), error(403, "forbidden"));
    for (key, method, uri) in [
        (&tenant, "post", format!("{RENDERS}/{render}/pause")),
        (&tenant, "post", format!("/v3/webhooks/endpoints/{endpoint}/rotate-secret")),
        (&tenant, "delete", format!("/v3/webhooks/endpoints/{endpoint}")),
        (&admin, "post", worker.to_owned()),
    ] {
        // Ids of one millisecond have no order.
        tokio::time::sleep(Duration::from_millis(2)).await;
        assert_eq!(call(&router, key, method, &uri, &json!({})).await.status.as_u16(), 200, "{uri}");
    }
    let log = "/v3/hyperframes/audit";
    assert_eq!(call(&router, &tenant, "get", log, &Value::Null).await.error(), error(403, "forbidden"));
    let entries = call(&router, &admin, "get", log, &Value::Null).await.json()["data"].clone();
    let acts: Vec<(&str, &str)> = entries
        .as_array()
        .unwrap()
        .iter()
        .rev()
        .map(|entry| {
            assert!(entry["at"].as_f64().unwrap() > 1.7e9 && entry["id"].is_string());
            (entry["action"].as_str().unwrap(), entry["target"].as_str().unwrap())
        })
        .collect();
    let key_ids: Vec<&str> = acts[..2].iter().map(|(_, id)| *id).collect();
    assert!(acts[..2].iter().all(|(action, _)| *action == "key.create"), "{acts:?}");
    let expected = [
        ("webhook.create", endpoint),
        ("render.pause", render),
        ("webhook.rotate-secret", endpoint),
        ("webhook.delete", endpoint),
        ("worker.drain", "n1"),
    ];
    assert_eq!(acts[2..], expected);
    assert_eq!(
        (entries[0]["key_name"].as_str(), entries[0]["space"].as_str()),
        (Some("default Admin"), Some("default"))
    );
    assert!(key_ids.contains(&entries[0]["key_id"].as_str().unwrap()));
    assert!(entries[0]["request_id"].as_str().unwrap().starts_with("req_"));
    let page = call(&router, &admin, "get", &format!("{log}?limit=3"), &Value::Null).await.json();
    let rest = format!("{log}?token={}", page["next_token"].as_str().unwrap());
    let rest = call(&router, &admin, "get", &rest, &Value::Null).await.json();
    assert_eq!(rest["data"].as_array().unwrap().len(), 4);
}

#[tokio::test]
async fn every_change_takes_an_idempotency_key() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let change = async |method: &str, uri: &str, key: &str, body: &str| {
        let headers = [("idempotency-key", key), ("content-type", "application/json")];
        ask(&router, method.parse::<Method>().unwrap(), uri, &headers, body).await
    };
    let endpoint = change("POST", "/v3/webhooks/endpoints", "a", r#"{ "url": "https://x.example/h" }"#).await.json();
    let uri = format!("/v3/webhooks/endpoints/{}", endpoint["data"]["endpoint_id"].as_str().unwrap());
    let rotate = format!("{uri}/rotate-secret");
    let first = change("POST", &rotate, "b", "").await;
    assert_eq!(first.status.as_u16(), 200);
    assert_eq!(change("POST", &rotate, "b", "").await.json(), first.json(), "the secret was rotated twice");
    assert_ne!(change("POST", &rotate, "c", "").await.json(), first.json());
    for _ in 0..2 {
        assert_eq!(change("DELETE", &uri, "d", "").await.json(), json!({ "data": {} }));
    }
    let again = change("POST", "/v3/webhooks/endpoints", "a", r#"{ "url": "https://x.example/h" }"#).await.json();
    assert_eq!(again, endpoint);
    let log = call(&router, "", "get", "/v3/hyperframes/audit", &Value::Null).await.json();
    let acts = log["data"].as_array().unwrap().iter().map(|entry| entry["action"].as_str().unwrap());
    let created = acts.filter(|action| *action == "webhook.create").count();
    assert_eq!(created, 1, "an act that was repeated is in the log once: {log}");
    assert_eq!(change("DELETE", &uri, "e", "").await.error(), error(404, "webhook_not_found"));
    assert_eq!(change("DELETE", &uri, "e e", "").await.error(), invalid("Idempotency-Key"));
    // An answer that another try may change is not kept.
    let render = farm.submit(chunks_of(30)).await;
    let cancel = format!("{RENDERS}/{render}/cancel");
    assert_eq!(change("POST", &cancel, "f", "").await.json()["data"]["status"], "failed");
    assert_eq!(change("POST", &cancel, "f", "").await.json()["data"]["status"], "failed");
}

#[tokio::test]
async fn a_key_makes_so_many_changes_in_a_minute_and_polls_as_it_likes() {
    let farm = Farm::with(quick());
    let changes_per_minute = std::num::NonZeroU32::new(3).unwrap();
    let config = ApiConfig { access: Access::keys([]), changes_per_minute, ..ApiConfig::default() };
    let router = farm.coordinator.router(config);
    let (key, other) = (key(&farm, "team", Scope::Render).await, key(&farm, "team", Scope::Render).await);
    let delete = async |key: &str| call(&router, key, "delete", "/v3/assets/none", &Value::Null).await;
    for _ in 0..3 {
        assert_eq!(delete(&key).await.error(), error(404, "asset_not_found"));
    }
    let limited = delete(&key).await;
    assert_eq!(limited.error(), error(429, "rate_limit_exceeded"));
    assert!((15..=21).contains(&limited.header("retry-after").parse::<u32>().unwrap()));
    assert_eq!(delete(&other).await.error(), error(404, "asset_not_found"));
    for _ in 0..50 {
        assert_eq!(call(&router, &key, "get", RENDERS, &Value::Null).await.status.as_u16(), 200);
    }
}

#[tokio::test]
async fn only_json_is_taken_and_a_browser_on_another_site_gets_nowhere() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let page = r#"{ "html": "<p>" }"#;
    let send = async |headers: &[(&str, &str)]| ask(&router, Method::POST, RENDERS, headers, page).await;
    for kind in ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b"] {
        let refused = send(&[("content-type", kind)]).await;
        assert_eq!(refused.error(), (415, "invalid_parameter".to_owned(), Some("Content-Type".to_owned())), "{kind}");
    }
    for kind in ["application/json", "application/json; charset=utf-8", "Application/JSON", "application/ld+json"] {
        assert_eq!(send(&[("content-type", kind)]).await.status.as_u16(), 202, "{kind}");
    }
    let foreign = send(&[("origin", "https://evil.example")]).await;
    assert_eq!(foreign.error(), (403, "forbidden".to_owned(), Some("origin".to_owned())));
    let request = Request::builder().uri(RENDERS).header("host", "evil.example:8080").body(Body::empty()).unwrap();
    let rebound = router.clone().oneshot(request).await.unwrap();
    assert_eq!(rebound.status().as_u16(), 403);
    let text = to_bytes(rebound.into_body(), 10_000).await.unwrap();
    let message: Value = serde_json::from_slice(&text).unwrap();
    assert!(message["error"]["message"].as_str().unwrap().contains("HYPERFARM_PUBLIC_URL"), "{message}");
}

#[tokio::test]
async fn every_error_leads_to_its_explanation_and_nothing_is_sniffed() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let get = async |uri: &str| ask(&router, Method::GET, uri, &[], "").await;
    for (uri, anchor) in [
        (format!("{RENDERS}/none"), "hyperframes-render-not-found"),
        ("/nothing".to_owned(), "resource-not-found"),
        (format!("{RENDERS}?limit=0"), "invalid-parameter"),
        (format!("{RENDERS}/%ff"), "invalid-parameter"),
        ("/files/renders/x".to_owned(), "forbidden"),
    ] {
        let refused = get(&uri).await;
        assert_eq!(refused.json()["error"]["doc_url"], format!("http://localhost:8080/docs/errors#{anchor}"), "{uri}");
        assert_eq!(refused.header("x-content-type-options"), "nosniff");
        let page = get("/docs/errors").await;
        assert!(String::from_utf8_lossy(&page.bytes).contains(&format!("id=\"{anchor}\"")), "{anchor}");
    }
    for uri in [RENDERS, "/healthz", "/", "/openapi.json", "/docs/errors", "/metrics"] {
        assert_eq!(get(uri).await.header("x-content-type-options"), "nosniff", "{uri}");
    }
}
