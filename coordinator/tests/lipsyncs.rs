//! Lipsyncs over HTTP, with an engine behind a real server. The tests play the workers; `e2e/tests/lipsync.rs` has real ones.

use std::path::Path;
use std::sync::Arc;

use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get as route_get;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::{HttpLipsync, LipsyncConfig, LipsyncEngine, LipsyncJob};
use hyperfarm_media::{Bitmap, Picture, PixelLayout, SegmentEncoder, decode_video, probe};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Format, Quality, RenderRequest, Size};
use hyperfarm_speech::wav::Sound;
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::client::{Answer, ask, error, get, invalid, post};
use crate::common::{Farm, comes, draft, quick};
use crate::videos::{png, project_file, speech, upload};

const LIPSYNCS: &str = "/v3/lipsyncs";

pub(crate) const SIZE: Size = Size { width: 64, height: 48 };

/// Writes a video of 64 by 48 pixels at 25 frames a second, whose frames have these levels of grey.
pub(crate) fn write_film(path: &Path, levels: &[u8]) {
    let rate = FrameRate::new(25, 1).unwrap();
    let settings = EncoderSettings::of(Format::Mp4, Quality::Draft, rate);
    let mut encoder = SegmentEncoder::create(path, &settings, SIZE, rate).unwrap();
    for level in levels {
        let data = vec![*level; 64 * 48 * 4];
        encoder.push(&Bitmap { data: &data, stride: 64 * 4, size: SIZE, layout: PixelLayout::Bgra }).unwrap();
    }
    encoder.finish().unwrap();
}

fn film_of(levels: &[u8]) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("film.mp4");
    write_film(&path, levels);
    std::fs::read(&path).unwrap()
}

/// A video of two seconds without sound.
pub(crate) fn film() -> Vec<u8> {
    film_of(&(0..50).map(|frame| frame * 5).collect::<Vec<u8>>())
}

/// A WAV file of so many tenths of a second.
pub(crate) fn sound(tenths: usize) -> Vec<u8> {
    Sound { rate: 8000, channels: 1, samples: vec![1000; 800 * tenths] }.wav()
}

fn inline(bytes: &[u8]) -> Value {
    json!({ "type": "base64", "data": STANDARD.encode(bytes) })
}

/// A request, with fields added or replaced.
fn asked(fields: &Value) -> Value {
    let mut body = json!({ "video": inline(&film()), "audio": inline(&sound(25)) });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn id_of(answer: &Answer) -> String {
    let answer = answer.json();
    assert_eq!(answer["data"].as_object().map(serde_json::Map::len), Some(1), "{answer}");
    answer["data"]["lipsync_id"].as_str().unwrap().to_owned()
}

async fn request_of(farm: &Farm, id: &str) -> RenderRequest {
    let render: RenderId = id.parse().unwrap();
    farm.backplane.objects.get_json(&keys::request(&render)).await.unwrap()
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

async fn read(router: &Router, id: &str) -> Value {
    get(router, &format!("{LIPSYNCS}/{id}")).await.json()["data"].clone()
}

async fn change(router: &Router, id: &str, body: &Value) -> Answer {
    let headers = [("content-type", "application/json")];
    ask(router, Method::PATCH, &format!("{LIPSYNCS}/{id}"), &headers, &body.to_string()).await
}

#[tokio::test]
async fn a_video_gets_a_new_sound() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let fields = json!({
        "mode": "speed", "title": "Dub", "callback_id": "c1", "folder_id": "f1", "disable_music_track": true,
        "enable_speech_enhancement": true, "enable_watermark": true, "keep_the_same_format": true, "fps_mode": "passthrough",
    });
    let made = post(&router, LIPSYNCS, &asked(&fields)).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.json());
    let id = id_of(&made);
    let page = project_file(&farm, &id, "index.html").await;
    for part in [
        "data-width=\"64\" data-height=\"48\" data-start=\"0\" data-duration=\"2.500000\"",
        "src=\"video.mp4\" playsinline data-start=\"0.000000\" data-duration=\"2.500000\" data-track-index=\"0\" muted \
         data-media-start=\"0.000000\" data-playback-rate=\"0.800000000\"",
        "src=\"audio.wav\" data-start=\"0.000000\" data-duration=\"2.500000\"",
        "\"type\":\"highpass\"",
        "<p class=\"watermark\">",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let spec = request_of(&farm, &id).await.spec;
    assert_eq!((spec.fps, spec.loudness.map(|loudness| loudness.get())), (FrameRate::new(25, 1).ok(), Some(-16)));
    let bits = film().len() as u64 * 8 / 2;
    assert!(spec.video_bitrate.is_some_and(|rate| rate.get().abs_diff(bits) <= 1), "{:?} {bits}", spec.video_bitrate);

    let created = read(&router, &id).await;
    let expected = json!({
        "id": id, "title": "Dub", "status": "pending", "duration": null, "video_url": null, "caption_url": null,
        "callback_id": "c1", "created_at": created["created_at"], "failure_message": null,
    });
    assert_eq!(created, expected);
    assert!(created["created_at"].as_u64().unwrap() > 1_700_000_000);
    worker.do_next(&draft(75, false)).await;
    assert!(comes(async || read(&router, &id).await["status"] == "running").await);
    let renamed = change(&router, &id, &json!({ "title": " New name " })).await;
    assert_eq!((renamed.status.as_u16(), &renamed.json()["data"]["title"]), (200, &json!("New name")));
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || read(&router, &id).await["status"] == "completed").await);
    let ended = read(&router, &id).await;
    assert!(ended["video_url"].as_str().unwrap().contains("output.mp4"), "{ended}");
    assert_eq!((&ended["duration"], &ended["title"]), (&json!(2.5), &json!("New name")));

    let happened = async || get(&router, "/v3/webhooks/events").await.json()["data"].clone();
    assert!(comes(async || happened().await.as_array().unwrap().len() == 1).await);
    let event = happened().await[0].clone();
    assert_eq!(event["event_type"], "lipsync.success");
    let data = &event["event_data"];
    assert_eq!(
        (&data["lipsync_id"], &data["title"], &data["callback_id"], &data["duration"]),
        (&json!(id), &json!("New name"), &json!("c1"), &json!(2.5))
    );
    assert!(data["url"].as_str().unwrap().contains("output.mp4"), "{event}");
    let detail = get(&router, &format!("/v3/hyperframes/renders/{id}")).await.json();
    assert_eq!(detail["data"]["title"], "Dub", "a lipsync is a render too");
    assert_eq!(get(&router, &format!("/v3/videos/{id}")).await.error(), error(404, "video_not_found"));
}

#[tokio::test]
async fn lengths_parts_and_files_are_as_asked() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let clip = upload(&router, "", "a.mp4", &film()).await;
    let new = upload(&router, "", "a.wav", &sound(5)).await;
    let asset = |id: &str| json!({ "type": "asset_id", "asset_id": id });
    let files = || json!({ "video": asset(&clip), "audio": asset(&new) });
    for (fields, parts) in [
        (json!({}), vec!["data-duration=\"0.500000\" data-no-timeline", "data-playback-rate=\"2.000000000\""]),
        (
            json!({ "enable_dynamic_duration": false }),
            vec![
                "data-duration=\"2.000000\" data-no-timeline",
                "data-start=\"0.000000\" data-duration=\"2.000000\" data-track-index=\"0\" muted></video>",
                "src=\"audio.wav\" data-start=\"0.000000\" data-duration=\"0.500000\"",
            ],
        ),
        (
            json!({ "start_time": 0.4, "end_time": 1.4 }),
            vec![
                "data-duration=\"1.500000\" data-no-timeline",
                "id=\"piece-1\" class=\"clip film\" src=\"video.mp4\" playsinline data-start=\"0.000000\" \
                 data-duration=\"0.400000\" data-track-index=\"0\" muted>",
                "data-start=\"0.400000\" data-duration=\"0.500000\" data-track-index=\"0\" muted data-media-start=\"0.400000\" \
                 data-playback-rate=\"2.000000000\"",
                "data-start=\"0.900000\" data-duration=\"0.600000\" data-track-index=\"0\" muted data-media-start=\"1.400000\"",
                "src=\"audio.wav\" data-start=\"0.400000\" data-duration=\"0.500000\"",
            ],
        ),
    ] {
        let mut body = files();
        body.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        let id = id_of(&post(&router, LIPSYNCS, &body).await);
        let page = project_file(&farm, &id, "index.html").await;
        for part in parts {
            assert!(page.contains(part), "{fields}: {part} is not in {page}");
        }
        let spec = request_of(&farm, &id).await.spec;
        assert_eq!((spec.loudness, spec.video_bitrate, spec.captions), (None, None, false), "{fields}");
    }
}

#[tokio::test]
async fn the_words_of_a_speech_of_the_farm_are_captions() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig { speech: speech(), ..ApiConfig::default() });
    let spoken = async |voice: &str| {
        let asked = json!({ "text": "Hello there. Bye!", "voice_id": voice });
        let answer = post(&router, "/v3/voices/speech", &asked).await.json();
        let id = answer["data"]["asset_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned();
        json!({ "audio": { "type": "asset_id", "asset_id": id }, "enable_caption": true, "start_time": 1.0 })
    };
    let timed = spoken("metronome_timed").await;
    let id = id_of(&post(&router, LIPSYNCS, &asked(&timed)).await);
    let page = project_file(&farm, &id, "index.html").await;
    for part in [
        "data-start=\"1.000\" data-duration=\"1.000\" data-track-index=\"2\" data-caption=\"Hello there.\"></div>",
        "data-start=\"2.000\" data-duration=\"0.800\" data-track-index=\"2\" data-caption=\"Bye!\"></div>",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert!(request_of(&farm, &id).await.spec.captions);
    for unknown in [spoken("metronome_untimed").await, json!({ "enable_caption": true })] {
        let refused = post(&router, LIPSYNCS, &asked(&unknown)).await;
        assert_eq!(refused.error(), (409, "engine_not_configured".to_owned(), Some("enable_caption".to_owned())));
        assert!(message(&refused).contains("word_timestamps"), "{}", message(&refused));
    }
    // The words go with their sound.
    let asset = timed["audio"]["asset_id"].as_str().unwrap();
    assert_eq!(farm.backplane.objects.list("words").await.unwrap().len(), 1);
    ask(&router, Method::DELETE, &format!("/v3/assets/{asset}"), &[], "").await;
    assert_eq!(farm.backplane.objects.list("words").await.unwrap(), []);
}

#[tokio::test]
async fn lipsyncs_are_refused_by_field() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let broken = [&film()[..200], &[0; 100]].concat();
    for (fields, param) in [
        (json!({ "video": null }), "video"),
        (json!({ "audio": null }), "audio"),
        (json!({ "video": { "type": "file" } }), "video.type"),
        (json!({ "video": { "type": "url" } }), "video.url"),
        (json!({ "video": { "type": "url", "url": "ftp://x.example/a.mp4" } }), "video.url"),
        (json!({ "audio": { "type": "url", "url": "ftp://x.example/a.mp3" } }), "audio.url"),
        (json!({ "video": { "type": "base64", "data": "%" } }), "video.data"),
        (json!({ "video": inline(&png(64, 64, false)) }), "video"),
        (json!({ "video": inline(&sound(5)) }), "video"),
        (json!({ "video": inline(&broken) }), "video"),
        (json!({ "audio": inline(&film()) }), "audio"),
        (json!({ "audio": inline(&Sound { rate: 8000, channels: 1, samples: vec![1; 400] }.wav()) }), "audio"),
        (json!({ "mode": "fast" }), "mode"),
        (json!({ "title": "x".repeat(501) }), "title"),
        (json!({ "enable_caption": "yes" }), "enable_caption"),
        (json!({ "enable_dynamic_duration": 1 }), "enable_dynamic_duration"),
        (json!({ "disable_music_track": 1 }), "disable_music_track"),
        (json!({ "enable_speech_enhancement": 1 }), "enable_speech_enhancement"),
        (json!({ "enable_watermark": 1 }), "enable_watermark"),
        (json!({ "keep_the_same_format": 1 }), "keep_the_same_format"),
        (json!({ "fps_mode": "auto" }), "fps_mode"),
        (json!({ "start_time": -1 }), "start_time"),
        (json!({ "start_time": "1" }), "start_time"),
        (json!({ "start_time": 1.95 }), "start_time"),
        (json!({ "end_time": 0 }), "end_time"),
        (json!({ "start_time": 1, "end_time": 1.05 }), "end_time"),
        (json!({ "end_time": 2.2 }), "end_time"),
        (json!({ "callback_url": "http://x.example/" }), "callback_url"),
        (json!({ "callback_id": "x".repeat(257) }), "callback_id"),
        (json!({ "folder_id": "x".repeat(65) }), "folder_id"),
    ] {
        assert_eq!(post(&router, LIPSYNCS, &asked(&fields)).await.error(), invalid(param), "{fields}");
    }
    for (name, param) in [("video", "video.asset_id"), ("audio", "audio.asset_id")] {
        let fields = json!({ name: { "type": "asset_id", "asset_id": "asset_0" } });
        let refused = post(&router, LIPSYNCS, &asked(&fields)).await;
        assert_eq!(refused.error(), (404, "asset_not_found".to_owned(), Some(param.to_owned())));
    }
    let refused = post(&router, LIPSYNCS, &asked(&json!({ "mode": "precision" }))).await;
    assert_eq!(refused.error(), (409, "engine_not_configured".to_owned(), Some("mode".to_owned())));
    assert!(message(&refused).contains("HYPERFARM_LIPSYNC_URL"), "{}", message(&refused));
    let listed = get(&router, LIPSYNCS).await.json();
    assert_eq!(
        listed,
        json!({ "data": [], "has_more": false, "next_token": null }),
        "nothing is left of what was refused"
    );
}

#[tokio::test]
async fn lipsyncs_are_listed_changed_and_deleted() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let mut made = Vec::new();
    for title in ["One", "Two", "Three"] {
        made.push(id_of(&post(&router, LIPSYNCS, &asked(&json!({ "title": title }))).await));
        // Ids of one millisecond have no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    let [first, second, third] = &made[..] else { panic!("{made:?}") };
    let ids = |page: &Value| -> Vec<String> {
        page["data"].as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap().to_owned()).collect()
    };
    let page = get(&router, &format!("{LIPSYNCS}?limit=2")).await.json();
    assert_eq!((ids(&page), &page["has_more"]), (vec![third.clone(), second.clone()], &json!(true)));
    let next = page["next_token"].as_str().unwrap();
    let rest = get(&router, &format!("{LIPSYNCS}?limit=2&token={next}")).await.json();
    assert_eq!(
        (ids(&rest), &rest["has_more"], &rest["next_token"]),
        (vec![first.clone()], &json!(false), &Value::Null)
    );
    for (query, param) in [("limit=0", "limit"), ("limit=101", "limit"), ("token=%00", "token")] {
        assert_eq!(get(&router, &format!("{LIPSYNCS}?{query}")).await.error(), invalid(param), "{query}");
    }
    for (body, param) in [
        (json!({}), "title"),
        (json!({ "title": " " }), "title"),
        (json!({ "title": 1 }), "title"),
        (json!({ "title": "x".repeat(501) }), "title"),
    ] {
        assert_eq!(change(&router, first, &body).await.error(), invalid(param), "{body}");
    }
    assert_eq!(change(&router, first, &json!({ "title": "Uno" })).await.json()["data"]["title"], "Uno");
    let titles: Vec<Value> = get(&router, LIPSYNCS).await.json()["data"]
        .as_array()
        .unwrap()
        .iter()
        .map(|item| item["title"].clone())
        .collect();
    assert_eq!(titles, [json!("Three"), json!("Two"), json!("Uno")]);

    // The first fails, and a retry of its render is a lipsync too.
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    assert!(comes(async || read(&router, first).await["status"] == "failed").await);
    let failed = read(&router, first).await;
    assert!(failed["failure_message"].as_str().unwrap().contains("happened"), "{failed}");
    let fail = async || get(&router, "/v3/webhooks/events?event_type=lipsync.fail").await.json()["data"].clone();
    assert!(comes(async || fail().await.as_array().unwrap().len() == 1).await);
    let event = fail().await[0]["event_data"].clone();
    assert_eq!((&event["lipsync_id"], &event["title"], &event["url"]), (&json!(first), &json!("Uno"), &Value::Null));
    assert!(event["msg"].as_str().unwrap().contains("happened") && event["failure_code"].is_string(), "{event}");
    let retry = ask(&router, Method::POST, &format!("/v3/hyperframes/renders/{first}/retry"), &[], "").await.json();
    let fourth = retry["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{retry}"));
    assert_eq!(read(&router, fourth).await["title"], "One");

    let delete = async |id: &str| ask(&router, Method::DELETE, &format!("{LIPSYNCS}/{id}"), &[], "").await;
    for id in [first.as_str(), second, third, fourth] {
        assert_eq!(delete(id).await.json(), json!({ "data": { "id": id } }));
    }
    assert_eq!(get(&router, LIPSYNCS).await.json()["data"], json!([]));
    for prefix in ["spaces/default/lipsyncs", "lipsyncs"] {
        assert_eq!(farm.backplane.objects.list(prefix).await.unwrap(), [], "{prefix}");
    }
    for id in [first.as_str(), "nothing", "%2e%2e"] {
        assert_eq!(get(&router, &format!("{LIPSYNCS}/{id}")).await.error(), error(404, "resource_not_found"), "{id}");
        assert_eq!(delete(id).await.error(), error(404, "resource_not_found"), "{id}");
        let changed = change(&router, id, &json!({ "title": "A" })).await;
        assert_eq!(changed.error(), error(404, "resource_not_found"), "{id}");
    }
    let render = post(&router, "/v3/hyperframes/renders", &json!({ "html": "<p>" })).await.json();
    let render = render["data"]["render_id"].as_str().unwrap();
    let stranger = get(&router, &format!("{LIPSYNCS}/{render}")).await;
    assert_eq!(stranger.error(), error(404, "resource_not_found"), "a render of a project is no lipsync");
}

/// A new key of the space, with a spending cap in US dollars.
async fn key(farm: &Farm, space: &str, cap: f64) -> String {
    let mut record = KeyRecord::new("dubber", space.parse().unwrap());
    (record.rights.cap_usd, record.rights.scopes) = (Some(cap), vec![Scope::Render, Scope::Read]);
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

/// A request with a key and, for changes, an idempotency key.
async fn call(router: &Router, key: &str, method: Method, uri: &str, body: &str) -> Answer {
    let once = hyperfarm_proto::id::ContentHash::of(body.as_bytes()).to_string();
    let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", once.as_str())];
    ask(router, method, uri, &headers, body).await
}

#[tokio::test]
async fn lipsyncs_are_paid_for_and_belong_to_a_space() {
    let farm = Farm::with(quick());
    let (engine, _) = engine(Behaviour::Moves).await;
    let config = ApiConfig { access: Access::keys([]), lipsync: Some(engine), ..ApiConfig::default() };
    let router = farm.coordinator.router(config);
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let (owner, stranger) = (key(&farm, "a", 0.2).await, key(&farm, "b", 0.2).await);
    let spent = async || {
        let me = call(&router, &owner, Method::GET, "/v3/users/me", "").await.json();
        me["data"]["usage_based"]["spending_current_usd"].as_f64().unwrap()
    };
    let made = async |fields: Value| call(&router, &owner, Method::POST, LIPSYNCS, &asked(&fields).to_string()).await;
    let id = id_of(&made(json!({})).await);
    assert_eq!(id_of(&made(json!({})).await), id, "a repeated request makes nothing twice");
    worker.finish(&draft(75, false)).await;
    // 2.5 s of 2 USD a minute.
    assert!(comes(async || (spent().await - 2.5 * 2.0 / 60.0).abs() < 1e-9).await);
    let precise = id_of(&made(json!({ "mode": "precision" })).await);
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || (spent().await - 2.5 * 6.0 / 60.0).abs() < 1e-9).await);
    let poor = made(json!({ "title": "More" })).await;
    assert_eq!(poor.error(), error(402, "insufficient_credit"));
    for id in [&id, &precise] {
        let uri = format!("{LIPSYNCS}/{id}");
        assert_eq!(call(&router, &owner, Method::GET, &uri, "").await.status.as_u16(), 200);
        for (method, body) in [(Method::GET, ""), (Method::PATCH, r#"{ "title": "Mine" }"#), (Method::DELETE, "")] {
            let refused = call(&router, &stranger, method.clone(), &uri, body).await;
            assert_eq!(refused.error(), error(404, "resource_not_found"), "{method}");
        }
    }
    assert_eq!(call(&router, &stranger, Method::GET, LIPSYNCS, "").await.json()["data"], json!([]));
}

/// What a test's engine does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Behaviour {
    /// It turns the picture over, as long as it is asked for.
    Moves,
    /// It has no face.
    Refuses,
    /// It answers with a page.
    Talks,
    /// It waits until the test ends.
    Waits,
}

/// What the engine was asked.
pub(crate) type Asked = Arc<Mutex<Vec<(Value, Bytes, Bytes)>>>;

/// An engine of the contract in `docs/lipsync.md`, behind a server.
pub(crate) async fn engine(behaviour: Behaviour) -> (Arc<dyn LipsyncEngine>, Asked) {
    let (url, asked) = engine_server(behaviour).await;
    let config = LipsyncConfig { url, key: Some("sk-mouth".to_owned()) };
    (Arc::new(HttpLipsync::new(config).unwrap()), asked)
}

async fn engine_server(behaviour: Behaviour) -> (url::Url, Asked) {
    let asked = Asked::default();
    let routes = Router::new()
        .route("/base/v1/lipsync", route_get(about).post(moved))
        .layer(DefaultBodyLimit::disable())
        .with_state((behaviour, asked.clone()));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/base", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    (url, asked)
}

fn check_key(headers: &HeaderMap) {
    assert_eq!(headers["authorization"], "Bearer sk-mouth");
}

async fn about(headers: HeaderMap) -> Json<Value> {
    check_key(&headers);
    Json(json!({ "name": "mirror 1.0" }))
}

async fn moved(
    State((behaviour, asked)): State<(Behaviour, Asked)>,
    headers: HeaderMap,
    mut form: Multipart,
) -> Response {
    check_key(&headers);
    let (mut fields, mut video, mut audio) = (json!({}), Bytes::new(), Bytes::new());
    while let Some(field) = form.next_field().await.unwrap() {
        let (name, kind) = (field.name().unwrap().to_owned(), field.content_type().map(str::to_owned));
        let bytes = field.bytes().await.unwrap();
        match name.as_str() {
            "video" => (fields["video_type"], video) = (json!(kind), bytes),
            "audio" => (fields["audio_type"], audio) = (json!(kind), bytes),
            other => fields[other] = json!(std::str::from_utf8(&bytes).unwrap().parse::<f64>().unwrap()),
        }
    }
    asked.lock().push((fields.clone(), video.clone(), audio));
    match behaviour {
        Behaviour::Moves => {}
        Behaviour::Refuses => {
            let reason = json!({ "error": { "message": "the video shows no face" } });
            return (StatusCode::UNPROCESSABLE_ENTITY, Json(reason)).into_response();
        }
        Behaviour::Talks => return "<html>".into_response(),
        Behaviour::Waits => std::future::pending::<()>().await,
    }
    let [start, end, duration] = ["start_time", "end_time", "duration"].map(|name| fields[name].as_f64().unwrap());
    let turned = tokio::task::spawn_blocking(move || turned(&video, start, end, duration));
    (StatusCode::OK, turned.await.unwrap()).into_response()
}

/// The part of a video, turned over, in so many seconds.
fn turned(video: &[u8], start: f64, end: f64, duration: f64) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let (source, output) = (folder.path().join("in.mp4"), folder.path().join("out.mp4"));
    std::fs::write(&source, video).unwrap();
    let mut pictures: Vec<Picture> = Vec::new();
    decode_video(&source, &mut |_, picture| {
        pictures.push(Picture { size: picture.size, bgra: picture.bgra.clone() });
        true
    })
    .unwrap();
    let (rate, size) = (FrameRate::new(25, 1).unwrap(), pictures[0].size);
    let settings = EncoderSettings::of(Format::Mp4, Quality::Draft, rate);
    let mut encoder = SegmentEncoder::create(&output, &settings, size, rate).unwrap();
    let frames = (duration * 25.0).round() as usize;
    for frame in 0..frames {
        let at = start + (end - start) * frame as f64 / frames as f64;
        let picture = &pictures[((at * 25.0) as usize).min(pictures.len() - 1)];
        let data: Vec<u8> = picture.bgra.iter().map(|value| 255 - value).collect();
        let stride = size.width as usize * 4;
        encoder.push(&Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra }).unwrap();
    }
    encoder.finish().unwrap();
    std::fs::read(output).unwrap()
}

#[tokio::test]
async fn an_engine_keeps_the_contract() {
    // An operator's own engine takes the place of the test's.
    let own = std::env::var("HYPERFARM_TEST_LIPSYNC_URL").ok();
    let config = match &own {
        Some(url) => LipsyncConfig { url: url.parse().unwrap(), key: std::env::var("HYPERFARM_TEST_LIPSYNC_KEY").ok() },
        None => LipsyncConfig { url: engine_server(Behaviour::Moves).await.0, key: Some("sk-mouth".to_owned()) },
    };
    let clip = |name: &str, bytes: Vec<u8>| match std::env::var(name) {
        Ok(path) => std::fs::read(path).unwrap(),
        Err(_) => bytes,
    };
    let (video, audio) = (clip("HYPERFARM_TEST_LIPSYNC_VIDEO", film()), clip("HYPERFARM_TEST_LIPSYNC_AUDIO", sound(8)));
    let engine = HttpLipsync::new(config).unwrap();
    let name = engine.name().await.unwrap();
    assert!(!name.is_empty());
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("source.mp4");
    std::fs::write(&source, &video).unwrap();
    let size = probe(&source).unwrap().video.unwrap().display;
    for (start, end, duration) in [(0.0, 2.0, 2.0), (0.0, 2.0, 0.8), (0.4, 1.4, 1.6)] {
        let job = LipsyncJob {
            video: video.clone().into(),
            video_type: "video/mp4",
            audio: audio.clone().into(),
            audio_type: "audio/wav",
            start,
            end,
            duration,
        };
        let answer = engine.moved(job).await.unwrap();
        let path = folder.path().join("answer.mp4");
        std::fs::write(&path, answer).unwrap();
        let info = probe(&path).unwrap().video.unwrap();
        assert_eq!(info.display, size, "the size is that of the video");
        let lasts = info.duration.unwrap();
        assert!((lasts - duration).abs() < 0.1, "{lasts} s instead of {duration} s");
    }
}

#[tokio::test]
async fn an_engine_moves_the_mouth_before_the_render() {
    let farm = Farm::with(quick());
    let (engine, asked_of) = engine(Behaviour::Moves).await;
    let router = farm.coordinator.router(ApiConfig { lipsync: Some(engine), ..ApiConfig::default() });
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let fields =
        json!({ "mode": "precision", "title": "Close", "start_time": 0.4, "end_time": 1.4, "callback_id": "c2" });
    let id = id_of(&post(&router, LIPSYNCS, &asked(&fields)).await);
    let first = read(&router, &id).await;
    assert!(["pending", "running"].contains(&first["status"].as_str().unwrap()), "{first}");
    assert_eq!((&first["title"], &first["callback_id"]), (&json!("Close"), &json!("c2")));
    assert!(first["created_at"].is_u64(), "{first}");
    let rendered = async || get(&router, &format!("/v3/hyperframes/renders/{id}")).await.status.as_u16() == 200;
    assert!(comes(rendered).await, "the engine's video is not rendered");
    let (fields, video, audio) = asked_of.lock()[0].clone();
    assert_eq!(
        fields,
        json!({
            "start_time": 0.4, "end_time": 1.4, "duration": 2.5, "video_type": "video/mp4", "audio_type": "audio/wav",
        })
    );
    assert!(video == film() && audio == sound(25), "the files are those of the client");
    let page = project_file(&farm, &id, "index.html").await;
    for part in [
        "data-duration=\"3.500000\" data-no-timeline",
        "src=\"moved.mp4\" playsinline data-start=\"0.400000\" data-duration=\"2.500000\" data-track-index=\"0\" muted>",
        "data-start=\"2.900000\" data-duration=\"0.600000\" data-track-index=\"0\" muted data-media-start=\"1.400000\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || read(&router, &id).await["status"] == "completed").await);
    let left = farm.backplane.objects.list("lipsyncs").await.unwrap();
    assert_eq!(left, [], "the job is removed once there is a render");
    assert_eq!(get(&router, LIPSYNCS).await.json()["data"][0]["id"], json!(id));
}

#[tokio::test]
async fn an_engine_that_fails_is_told_of() {
    for (behaviour, reason) in
        [(Behaviour::Refuses, "the video shows no face"), (Behaviour::Talks, "neither an MP4 nor a WebM file")]
    {
        let farm = Farm::with(quick());
        let (engine, _) = engine(behaviour).await;
        let router = farm.coordinator.router(ApiConfig { lipsync: Some(engine), ..ApiConfig::default() });
        let id = id_of(&post(&router, LIPSYNCS, &asked(&json!({ "mode": "precision", "title": "Close" }))).await);
        assert!(comes(async || read(&router, &id).await["status"] == "failed").await);
        let failed = read(&router, &id).await;
        assert!(failed["failure_message"].as_str().unwrap().contains(reason), "{failed}");
        let events = async || get(&router, "/v3/webhooks/events").await.json()["data"].clone();
        assert!(comes(async || events().await.as_array().unwrap().len() == 1).await);
        let event = events().await[0].clone();
        assert_eq!(
            (&event["event_type"], &event["event_data"]["lipsync_id"], &event["event_data"]["failure_code"]),
            (&json!("lipsync.fail"), &json!(id), &json!("engine_failed"))
        );
        assert!(event["event_data"]["msg"].as_str().unwrap().contains(reason), "{event}");
        assert_eq!(change(&router, &id, &json!({ "title": "Far" })).await.json()["data"]["title"], "Far");
        let deleted = ask(&router, Method::DELETE, &format!("{LIPSYNCS}/{id}"), &[], "").await;
        assert_eq!(deleted.json(), json!({ "data": { "id": id } }));
        assert_eq!(get(&router, &format!("{LIPSYNCS}/{id}")).await.error(), error(404, "resource_not_found"));
        assert_eq!(farm.backplane.objects.list("lipsyncs").await.unwrap(), []);
    }
}

#[tokio::test]
async fn an_engine_is_at_two_videos_at_once() {
    let farm = Farm::with(quick());
    let (engine, asked_of) = engine(Behaviour::Waits).await;
    let router = farm.coordinator.router(ApiConfig { lipsync: Some(engine), ..ApiConfig::default() });
    let precise = |title: &str| asked(&json!({ "mode": "precision", "title": title }));
    let first = id_of(&post(&router, LIPSYNCS, &precise("One")).await);
    let second = id_of(&post(&router, LIPSYNCS, &precise("Two")).await);
    assert!(comes(async || asked_of.lock().len() == 2).await);
    for id in [&first, &second] {
        assert_eq!(read(&router, id).await["status"], "running");
    }
    let refused = post(&router, LIPSYNCS, &precise("Three")).await;
    assert_eq!(refused.error(), error(429, "rate_limit_exceeded"));
    assert_eq!(refused.header("retry-after"), "30");
    id_of(&post(&router, LIPSYNCS, &asked(&json!({}))).await);
}
