//! Avatars and presenter videos over HTTP. The tests play the workers; `e2e/tests/presenter.rs` has real ones.

use std::sync::Arc;

use crate::common::client::{Answer, ask, error, get, invalid, post};
use crate::common::{Farm, Worker, comes, draft, quick};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Method, Request};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{CompiledFile, PREPARED_FILE, PlanDraft};
use hyperfarm_proto::spec::RenderRequest;
use hyperfarm_speech::wav::Sound;
use hyperfarm_speech::{Catalogue, Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice, WordTime};
use serde_json::{Value, json};
use tower::ServiceExt;

const AVATARS: &str = "/v3/avatars";
const LOOKS: &str = "/v3/avatars/looks";
const VIDEOS: &str = "/v3/videos";

/// An engine that speaks a word in half a second.
#[derive(Debug)]
struct Metronome;

#[async_trait]
impl SpeechEngine for Metronome {
    fn name(&self) -> &'static str {
        "metronome"
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        let voice = |id: &str| Voice {
            id: format!("metronome_{id}"),
            name: id.to_owned(),
            language: "English".to_owned(),
            locale: "en-us".to_owned(),
            gender: Gender::Male,
            tags: Vec::new(),
            takes_ssml: false,
            takes_locale: false,
        };
        Ok(vec![voice("timed"), voice("untimed")])
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        if request.pitch != 0 {
            return Err(SpeechError::NoPitch);
        }
        if let Some(locale) = &request.locale {
            return Err(SpeechError::NoLocale(locale.clone()));
        }
        let length = 0.5 / request.speed;
        let words: Vec<WordTime> = (0..)
            .zip(request.script.words())
            .map(|(index, word)| {
                let start = f64::from(index) * length;
                WordTime { word: word.to_owned(), start, end: start + length }
            })
            .collect();
        let samples = vec![1000; (words.len() as f64 * length * 8000.0) as usize];
        let words = (request.voice == "metronome_timed").then_some(words);
        Ok(Speech { sound: Sound { rate: 8000, channels: 1, samples }, words })
    }

    async fn phonemes(&self, _: &str, words: &[String]) -> Result<Option<Vec<String>>, SpeechError> {
        Ok(Some(words.iter().map(|_| "mɑː".to_owned()).collect()))
    }
}

/// The header of a PNG file of this size.
pub(crate) fn png(width: u32, height: u32, has_alpha: bool) -> Vec<u8> {
    let mut file = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR".to_vec();
    file.extend(width.to_be_bytes());
    file.extend(height.to_be_bytes());
    file.extend([8, if has_alpha { 6 } else { 2 }, 0, 0, 0, 0, 0, 0, 0]);
    file
}

/// A photo in a request, by its header.
pub(crate) fn photo(width: u32, height: u32, has_alpha: bool) -> Value {
    json!({ "type": "base64", "media_type": "image/png", "data": STANDARD.encode(png(width, height, has_alpha)) })
}

/// A WAV file of 0.1 s.
pub(crate) fn silence() -> Vec<u8> {
    Sound { rate: 8000, channels: 1, samples: vec![1; 800] }.wav()
}

/// The id of a new asset of these bytes.
pub(crate) async fn upload(router: &Router, key: &str, name: &str, bytes: &[u8]) -> String {
    let head = format!("--x\r\ncontent-disposition: form-data; name=\"file\"; filename=\"{name}\"\r\n\r\n");
    let body = [head.as_bytes(), bytes, b"\r\n--x--\r\n"].concat();
    let request = Request::post("/v3/assets")
        .header("x-api-key", key)
        .header("host", "localhost:8080")
        .header("content-type", "multipart/form-data; boundary=x");
    let answer = router.clone().oneshot(request.body(Body::from(body)).unwrap()).await.unwrap();
    let answer: Value = serde_json::from_slice(&to_bytes(answer.into_body(), 1 << 20).await.unwrap()).unwrap();
    answer["data"]["asset_id"].as_str().unwrap_or_else(|| panic!("{answer}")).to_owned()
}

/// The voices of [`Metronome`].
pub(crate) fn speech() -> Arc<Catalogue> {
    Arc::new(Catalogue::of(vec![Arc::new(Metronome) as Arc<dyn SpeechEngine>]))
}

fn speaking(farm: &Farm, config: ApiConfig) -> Router {
    farm.coordinator.router(ApiConfig { speech: speech(), ..config })
}

/// What a page leaves that has found a face.
async fn with_face(farm: &Farm) -> PlanDraft {
    let left =
        Bytes::from_static(br#"{"face":{"landmarks":[[0.5,0.5,0.0]],"triangles":[[0,1,2]],"width":600,"height":400}}"#);
    let hash = ContentHash::of(&left);
    let bytes = left.len() as u64;
    farm.backplane.objects.put(&keys::blob(&hash), left).await.unwrap();
    let mut draft = draft(1, false);
    draft.content.files.push(CompiledFile { path: PREPARED_FILE.to_owned(), hash, bytes });
    draft
}

/// A look whose face is found.
async fn look(farm: &Farm, router: &Router, worker: &mut Worker, file: Value) -> String {
    let made = post(router, AVATARS, &json!({ "type": "photo", "name": "Ann", "file": file })).await.json();
    let id = made["data"]["avatar_item"]["id"].as_str().unwrap().to_owned();
    worker.finish(&with_face(farm).await).await;
    assert!(comes(async || status(router, &format!("{LOOKS}/{id}")).await == "completed").await);
    id
}

async fn status(router: &Router, uri: &str) -> String {
    get(router, uri).await.json()["data"]["status"].as_str().unwrap().to_owned()
}

/// A file of the project of a render.
pub(crate) async fn project_file(farm: &Farm, render: &str, name: &str) -> String {
    let render: RenderId = render.parse().unwrap();
    let request: RenderRequest = farm.backplane.objects.get_json(&keys::request(&render)).await.unwrap();
    let bundle = farm.backplane.objects.get(&keys::bundle(&request.bundle)).await.unwrap();
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bundle)).unwrap();
    std::io::read_to_string(archive.by_name(name).unwrap()).unwrap()
}

fn message(answer: &Answer) -> String {
    answer.json()["error"]["message"].as_str().unwrap().to_owned()
}

/// A new key of the space, with a spending cap in US dollars.
async fn key(farm: &Farm, space: &str, cap: f64) -> String {
    let mut record = KeyRecord::new("presenter", space.parse().unwrap());
    (record.rights.cap_usd, record.rights.scopes) = (Some(cap), vec![Scope::Render, Scope::Read]);
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

/// A request with a key, which is answered once.
async fn call(router: &Router, key: &str, method: Method, uri: &str, body: &str) -> Answer {
    let once = ContentHash::of(body.as_bytes()).to_string();
    let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", once.as_str())];
    ask(router, method, uri, &headers, body).await
}

/// US dollars that the key has spent.
async fn spent(router: &Router, key: &str) -> f64 {
    let me = call(router, key, Method::GET, "/v3/users/me", "").await.json();
    me["data"]["usage_based"]["spending_current_usd"].as_f64().unwrap()
}

#[tokio::test]
async fn a_look_is_made_of_a_photo_once_its_face_is_found() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig::default());
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let asked = json!({ "type": "photo", "name": " Ann ", "file": photo(600, 400, false) });
    let made = post(&router, AVATARS, &asked).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.json());
    let made = made.json()["data"].clone();
    let (look, group) = (made["avatar_item"].clone(), made["avatar_group"].clone());
    let (id, group_id) = (look["id"].as_str().unwrap(), group["id"].as_str().unwrap());
    assert!(look["preview_image_url"].as_str().unwrap().contains(&format!("/{id}.png?")), "{look}");
    let mut shown = look.clone();
    shown["preview_image_url"].take();
    let expected = json!({
        "id": id, "name": "Ann", "avatar_type": "photo_avatar", "group_id": group_id, "gender": null, "preview_image_url": null,
        "preview_video_url": null, "default_voice_id": null, "tags": [], "supported_api_engines": ["avatar_iv"],
        "status": "processing", "failure_message": null,
    });
    assert_eq!(shown, expected);
    assert_eq!(
        (&group["name"], &group["looks_count"], &group["consent_status"]),
        (&json!("Ann"), &json!(1), &Value::Null)
    );
    let video = json!({ "type": "avatar", "avatar_id": id, "script": "Hi", "voice_id": "metronome_timed" });
    let early = post(&router, VIDEOS, &video).await;
    assert_eq!(early.error(), (409, "resource_not_ready".to_owned(), Some("avatar_id".to_owned())));

    worker.finish(&with_face(&farm).await).await;
    assert!(comes(async || status(&router, &format!("{LOOKS}/{id}")).await == "completed").await);
    assert_eq!(status(&router, &format!("{AVATARS}/{group_id}")).await, "completed");

    // A second look of the same person, whose photo shows none.
    let again = json!({ "type": "photo", "name": "Hill", "file": photo(600, 400, false), "avatar_group_id": group_id });
    let second = post(&router, AVATARS, &again).await.json()["data"].clone();
    assert_eq!((&second["avatar_group"]["id"], &second["avatar_group"]["looks_count"]), (&json!(group_id), &json!(2)));
    let second = second["avatar_item"]["id"].as_str().unwrap().to_owned();
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    assert!(comes(async || status(&router, &format!("{LOOKS}/{second}")).await == "failed").await);
    let failed = get(&router, &format!("{LOOKS}/{second}")).await.json()["data"]["failure_message"].clone();
    assert!(failed.as_str().is_some_and(|reason| reason.contains("happened")), "{failed}");
    let refused = post(
        &router,
        VIDEOS,
        &json!({ "type": "avatar", "avatar_id": second, "script": "Hi", "voice_id": "metronome_timed" }),
    )
    .await;
    assert_eq!(refused.error(), invalid("avatar_id"));

    let ids = async |uri: &str| {
        let listed = get(&router, uri).await.json();
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids(LOOKS).await, [second.clone(), id.to_owned()]);
    assert_eq!(ids(&format!("{LOOKS}?group_id={group_id}&limit=1")).await, [second.as_str()]);
    let next = get(&router, &format!("{LOOKS}?limit=1")).await.json()["next_token"].as_str().unwrap().to_owned();
    assert_eq!(ids(&format!("{LOOKS}?limit=1&token={next}")).await, [id]);
    assert_eq!(ids(&format!("{LOOKS}?avatar_type=digital_twin")).await, [""; 0]);
    assert_eq!(
        (ids(AVATARS).await, ids(&format!("{AVATARS}?ownership=public")).await),
        (vec![group_id.to_owned()], vec![])
    );
    for (uri, param) in [(format!("{LOOKS}?limit=51"), "limit"), (format!("{AVATARS}?ownership=mine"), "ownership")] {
        assert_eq!(get(&router, &uri).await.error(), invalid(param), "{uri}");
    }

    let change = async |uri: &str, body: Value| {
        ask(&router, Method::PATCH, uri, &[("content-type", "application/json")], &body.to_string()).await
    };
    let changed =
        change(&format!("{LOOKS}/{id}"), json!({ "name": "Suit", "gender": "female", "tags": ["work"] })).await.json();
    assert_eq!((&changed["data"]["name"], &changed["data"]["tags"]), (&json!("Suit"), &json!(["work"])));
    assert_eq!(changed["data"]["status"], "completed");
    assert_eq!(change(&format!("{LOOKS}/{id}"), json!({ "name": " " })).await.error(), invalid("name"));
    assert_eq!(change(&format!("{AVATARS}/{group_id}"), json!({ "tags": [] })).await.error(), invalid("tags"));
    let renamed = change(&format!("{AVATARS}/{group_id}"), json!({ "name": "Ann B." })).await.json();
    assert_eq!(renamed["data"]["name"], "Ann B.");

    let delete = async |uri: &str| ask(&router, Method::DELETE, uri, &[], "").await;
    assert_eq!(delete(&format!("{LOOKS}/{second}")).await.json(), json!({ "data": { "id": second, "deleted": true } }));
    assert_eq!(get(&router, &format!("{LOOKS}/{second}")).await.error(), error(404, "avatar_not_found"));
    assert_eq!(delete(&format!("{AVATARS}/{group_id}")).await.status.as_u16(), 200);
    assert_eq!((ids(LOOKS).await, ids(AVATARS).await), (vec![], vec![]));
    assert_eq!(delete(&format!("{AVATARS}/{group_id}")).await.error(), error(404, "avatar_not_found"));
}

#[tokio::test]
async fn looks_are_refused_by_field() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig::default());
    let refused = async |body: Value| post(&router, AVATARS, &body).await.error();
    let photo_of = |file: Value| json!({ "type": "photo", "name": "Ann", "file": file });
    for (body, param) in [
        (json!({ "name": "Ann" }), "type"),
        (json!({ "type": "clip", "name": "Ann" }), "type"),
        (json!({ "type": "photo", "file": photo(600, 400, false) }), "name"),
        (json!({ "type": "photo", "name": "  ", "file": photo(600, 400, false) }), "name"),
        (json!({ "type": "photo", "name": "x".repeat(201), "file": photo(600, 400, false) }), "name"),
        (json!({ "type": "photo", "name": "Ann" }), "file"),
        (photo_of(json!({ "type": "base64", "data": "%" })), "file.data"),
        (photo_of(json!({ "type": "base64", "data": STANDARD.encode(b"GIF89a") })), "file"),
        (photo_of(json!({ "type": "base64", "data": STANDARD.encode(b"\x89PNG\r\n\x1a\n") })), "file"),
        (photo_of(json!({ "type": "url", "url": "ftp://x.example/a.png" })), "file.url"),
        (photo_of(photo(64, 400, false)), "file"),
        (photo_of(photo(600, 9000, false)), "file"),
    ] {
        assert_eq!(refused(body.clone()).await, invalid(param), "{body}");
    }
    assert_eq!(
        refused(photo_of(json!({ "type": "asset_id", "asset_id": "asset_0" }))).await,
        (404, "asset_not_found".to_owned(), Some("file.asset_id".to_owned()))
    );
    let stranger =
        json!({ "type": "photo", "name": "Ann", "file": photo(600, 400, false), "avatar_group_id": "group_0" });
    assert_eq!(refused(stranger).await, (404, "avatar_not_found".to_owned(), Some("avatar_group_id".to_owned())));
    for kind in ["digital_twin", "prompt"] {
        let answer =
            post(&router, AVATARS, &json!({ "type": kind, "name": "Ann", "file": photo(600, 400, false) })).await;
        assert_eq!(answer.error(), (409, "engine_not_configured".to_owned(), Some("type".to_owned())));
        assert!(message(&answer).contains(kind) && message(&answer).contains("`photo`"), "{}", message(&answer));
    }
    assert_eq!(get(&router, LOOKS).await.json()["data"], json!([]), "nothing is left of what was refused");
}

#[tokio::test]
async fn a_person_consents_on_a_page_without_a_key() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig { allow_http_callbacks: true, ..ApiConfig::default() });
    let made = post(&router, AVATARS, &json!({ "type": "photo", "name": "<Ann>", "file": photo(600, 400, false) }))
        .await
        .json();
    let group = format!("{AVATARS}/{}", made["data"]["avatar_group"]["id"].as_str().unwrap());
    let consent = async |body: Value| post(&router, &format!("{group}/consent"), &body).await;
    assert_eq!(consent(json!({ "reroute_url": "javascript:x" })).await.error(), invalid("reroute_url"));
    let begun = consent(json!({ "reroute_url": "https://x.example/done" })).await.json()["data"].clone();
    assert_eq!(begun["avatar_group"]["consent_status"], "pending");
    let page = begun["url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap().to_owned();
    let shown = get(&router, &page).await;
    let text = String::from_utf8(shown.bytes.clone()).unwrap();
    assert!(text.contains("&lt;Ann&gt;") && text.contains("I agree"), "{text}");
    let form = [("content-type", "application/x-www-form-urlencoded")];
    let other = format!("{}0", page);
    assert_eq!(
        ask(&router, Method::POST, &other, &form, "decision=approve").await.error(),
        error(404, "resource_not_found")
    );
    assert_eq!(ask(&router, Method::POST, &page, &form, "decision=no").await.error(), invalid("decision"));
    assert_eq!(get(&router, &group).await.json()["data"]["consent_status"], "pending");
    let done = ask(&router, Method::POST, &page, &form, "decision=approve").await;
    assert_eq!((done.status.as_u16(), done.header("location")), (303, "https://x.example/done"));
    assert_eq!(get(&router, &group).await.json()["data"]["consent_status"], "approved");
    let text = String::from_utf8(get(&router, &page).await.bytes).unwrap();
    assert!(text.contains("Thank you"), "{text}");
}

#[tokio::test]
async fn a_video_is_made_of_a_look_and_a_script() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig::default());
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let look = look(&farm, &router, &mut worker, photo(600, 400, false)).await;
    let asked = json!({
        "type": "avatar", "avatar_id": look, "title": "Welcome", "resolution": "720p", "aspect_ratio": "9:16",
        "background": { "type": "color", "value": "#1a2b3c" }, "callback_id": "c1", "script": "Hello there. Bye!",
        "voice_id": "metronome_timed", "voice_settings": { "speed": 0.5 }, "expressiveness": "high", "engine": { "type": "avatar_iv" },
    });
    let made = post(&router, VIDEOS, &asked).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.json());
    let id = made.json()["data"]["video_id"].as_str().unwrap().to_owned();
    assert_eq!(made.json()["data"], json!({ "video_id": id, "status": "pending", "output_format": "mp4" }));
    let page = project_file(&farm, &id, "index.html").await;
    for part in
        ["data-width=\"720\" data-height=\"1280\"", "background: #1a2b3c", "data-fps=\"25\"", "data-duration=\"3.400\""]
    {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let settings: Value = serde_json::from_str(&project_file(&farm, &id, "presenter.json").await).unwrap();
    assert_eq!(settings["face"]["triangles"], json!([[0, 1, 2]]));
    assert_eq!(settings["words"][2], json!({ "word": "Bye!", "start": 2.0, "end": 3.0, "phonemes": "mɑː" }));
    assert_eq!((&settings["expressiveness"], &settings["fit"]), (&json!("high"), &json!("contain")));

    let read = async || get(&router, &format!("{VIDEOS}/{id}")).await.json()["data"].clone();
    assert_eq!((read().await["status"].clone(), read().await["video_url"].clone()), (json!("pending"), Value::Null));
    worker.do_next(&draft(75, false)).await;
    assert!(comes(async || read().await["status"] == "processing").await);
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || read().await["status"] == "completed").await);
    let video = read().await;
    assert!(video["video_url"].as_str().unwrap().contains("output.mp4"), "{video}");
    assert_eq!(
        (&video["title"], &video["duration"], &video["callback_id"]),
        (&json!("Welcome"), &json!(2.5), &json!("c1"))
    );
    assert_eq!((&video["failure_code"], &video["captioned_video_url"]), (&Value::Null, &Value::Null));

    let happened =
        async || get(&router, "/v3/webhooks/events?event_type=avatar_video.success").await.json()["data"].clone();
    assert!(comes(async || happened().await.as_array().unwrap().len() == 1).await, "one event, and none of the look");
    let event = happened().await[0]["event_data"].clone();
    assert_eq!(
        (&event["video_id"], &event["callback_id"], &event["folder_id"]),
        (&json!(id), &json!("c1"), &Value::Null)
    );
    assert!(event["url"].as_str().unwrap().contains("output.mp4"), "{event}");
    let others = get(&router, "/v3/webhooks/events").await.json()["data"].as_array().unwrap().len();
    assert_eq!(others, 1);

    // One that fails.
    let second = post(
        &router,
        VIDEOS,
        &json!({ "type": "avatar", "avatar_id": look, "script": "Hi", "voice_id": "metronome_untimed" }),
    )
    .await
    .json();
    let second = second["data"]["video_id"].as_str().unwrap().to_owned();
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    assert!(comes(async || status(&router, &format!("{VIDEOS}/{second}")).await == "failed").await);
    let failed = get(&router, &format!("{VIDEOS}/{second}")).await.json()["data"].clone();
    assert!(
        failed["failure_code"].is_string() && failed["failure_message"].as_str().unwrap().contains("happened"),
        "{failed}"
    );
    let fail = async || get(&router, "/v3/webhooks/events?event_type=avatar_video.fail").await.json()["data"].clone();
    assert!(comes(async || fail().await.as_array().unwrap().len() == 1).await);
    assert_eq!(fail().await[0]["event_data"]["failure_code"], failed["failure_code"]);

    let ids = async |query: &str| {
        let listed = get(&router, &format!("{VIDEOS}{query}")).await.json();
        listed["data"]
            .as_array()
            .unwrap()
            .iter()
            .map(|item| item["id"].as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(ids("").await, [second.clone(), id.clone()]);
    assert_eq!((ids("?title=WELC").await, ids("?folder_id=x").await), (vec![id.clone()], vec![]));
    let next = get(&router, &format!("{VIDEOS}?limit=1")).await.json()["next_token"].as_str().unwrap().to_owned();
    assert_eq!(ids(&format!("?limit=1&token={next}")).await, [id.as_str()]);
    let deleted = ask(&router, Method::DELETE, &format!("{VIDEOS}/{id}"), &[], "").await.json();
    assert_eq!(deleted, json!({ "data": { "id": id, "deleted": true } }));
    assert_eq!(get(&router, &format!("{VIDEOS}/{id}")).await.error(), error(404, "video_not_found"));
    assert_eq!(ids("").await, [second]);
}

#[tokio::test]
async fn a_photo_and_a_sound_are_used_once() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig::default());
    let sound = upload(&router, "", "a.wav", &silence()).await;
    let hills = upload(&router, "", "b.png", &png(640, 360, false)).await;
    let asked = json!({
        "type": "image", "image": photo(600, 400, true), "audio_asset_id": sound, "remove_background": true,
        "background": { "type": "image", "asset_id": hills }, "output_format": "webm",
    });
    let made = post(&router, VIDEOS, &asked).await.json();
    let id = made["data"]["video_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let page = project_file(&farm, &id, "index.html").await;
    for part in [
        "data-width=\"1620\" data-height=\"1080\"",
        "url(background.png)",
        "src=\"speech.wav\" data-start=\"0\" data-track",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    let settings: Value = serde_json::from_str(&project_file(&farm, &id, "presenter.json").await).unwrap();
    assert_eq!(
        (&settings["face"], &settings["words"], &settings["fit"]),
        (&Value::Null, &json!([]), &json!("contain"))
    );
    assert_eq!(settings["cutout"], true);
    let detail = get(&router, &format!("/v3/hyperframes/renders/{id}")).await.json();
    assert_eq!(detail["data"]["format"], "webm", "a video is a render too");
    let film = upload(&router, "", "c.mp4", b"\0\0\0\x18ftypmp42\0\0\0\0mp42isom").await;
    let asked = json!({
        "type": "image", "image": photo(600, 400, false), "script": "Hi", "voice_id": "metronome_timed",
        "background": { "type": "video", "asset_id": film },
    });
    let made = post(&router, VIDEOS, &asked).await.json();
    let id = made["data"]["video_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let page = project_file(&farm, &id, "index.html").await;
    assert!(page.contains("src=\"background.mp4\" muted loop data-start=\"0\" data-duration="), "{page}");
    let refused = json!({ "background": { "type": "video", "asset_id": hills }, "image": photo(600, 400, false) });
    let asked = [asked, refused].iter().fold(json!({}), |mut all, part| {
        all.as_object_mut().unwrap().extend(part.as_object().unwrap().clone());
        all
    });
    assert_eq!(post(&router, VIDEOS, &asked).await.json()["error"]["param"], "background.asset_id");
}

#[tokio::test]
async fn videos_are_refused_by_field() {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig::default());
    let image = || photo(600, 400, false);
    let with = |fields: Value| {
        let mut body = json!({ "type": "image", "image": image(), "script": "Hi", "voice_id": "metronome_timed" });
        for (name, value) in fields.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    };
    for (fields, param) in [
        (json!({ "type": null }), "type"),
        (json!({ "type": "film" }), "type"),
        (json!({ "type": "avatar", "image": null }), "avatar_id"),
        (json!({ "type": "avatar", "avatar_id": "look_0" }), "image"),
        (json!({ "image": null }), "image"),
        (json!({ "avatar_id": "look_0" }), "avatar_id"),
        (json!({ "expressiveness": "low" }), "expressiveness"),
        (json!({ "script": null, "voice_id": null }), "script"),
        (json!({ "script": "" }), "script"),
        (json!({ "script": "x".repeat(5001) }), "script"),
        (json!({ "voice_id": null }), "voice_id"),
        (json!({ "audio_url": "https://x.example/a.mp3" }), "audio_url"),
        (json!({ "audio_asset_id": "asset_0" }), "audio_asset_id"),
        (
            json!({ "script": null, "voice_id": null, "audio_url": "https://x.example/a.mp3", "audio_asset_id": "asset_0" }),
            "audio_asset_id",
        ),
        (json!({ "script": null, "audio_url": "https://x.example/a.mp3" }), "voice_id"),
        (json!({ "voice_settings": { "speed": 1.6 } }), "voice_settings.speed"),
        (json!({ "voice_settings": { "pitch": 51 } }), "voice_settings.pitch"),
        (json!({ "voice_settings": { "pitch": 5 } }), "voice_settings.pitch"),
        (json!({ "voice_settings": { "locale": "de-DE" } }), "voice_settings.locale"),
        (json!({ "resolution": "480p" }), "resolution"),
        (json!({ "aspect_ratio": "2:1" }), "aspect_ratio"),
        (json!({ "background": { "type": "film" } }), "background.type"),
        (json!({ "background": { "type": "video" } }), "background.url"),
        (json!({ "background": { "type": "color" } }), "background.value"),
        (json!({ "background": { "type": "color", "value": "red;}" } }), "background.value"),
        (
            json!({ "background": { "type": "color", "value": "#fff", "url": "https://x.example/a.png" } }),
            "background.type",
        ),
        (json!({ "background": { "type": "image" } }), "background.url"),
        (json!({ "background": { "type": "image", "value": "#fff", "asset_id": "a" } }), "background.value"),
        (json!({ "captions": true, "voice_id": "metronome_untimed" }), "captions"),
        (json!({ "engine": { "type": "avatar_v" } }), "engine.type"),
        (json!({ "output_format": "gif" }), "output_format"),
        (json!({ "callback_url": "http://x.example/" }), "callback_url"),
        (json!({ "callback_id": "x".repeat(257) }), "callback_id"),
        (json!({ "title": "x".repeat(501) }), "title"),
    ] {
        assert_eq!(post(&router, VIDEOS, &with(fields.clone())).await.error(), invalid(param), "{fields}");
    }
    let nobody = post(&router, VIDEOS, &with(json!({ "type": "avatar", "image": null, "avatar_id": "look_0" }))).await;
    assert_eq!(nobody.error(), (404, "avatar_not_found".to_owned(), Some("avatar_id".to_owned())));
    assert_eq!(
        post(&router, VIDEOS, &with(json!({ "voice_id": "metronome_x" }))).await.error(),
        error(404, "voice_not_found")
    );
    for (fields, param) in
        [(json!({ "type": "cinematic" }), "type"), (json!({ "motion_prompt": "wave" }), "motion_prompt")]
    {
        let refused = post(&router, VIDEOS, &with(fields)).await;
        assert_eq!(refused.error(), (409, "engine_not_configured".to_owned(), Some(param.to_owned())));
        assert!(message(&refused).contains("engine"), "{}", message(&refused));
    }
    let mute = farm.coordinator.router(ApiConfig::default());
    assert!(message(&post(&mute, VIDEOS, &with(json!({}))).await).contains("HYPERFARM_ESPEAK"));
    assert_eq!(get(&router, VIDEOS).await.json()["data"], json!([]), "nothing is left of what was refused");
}

#[tokio::test]
async fn videos_are_paid_for_and_belong_to_a_space() {
    let (farm, router, mut worker) = farm_with_keys().await;
    let (owner, stranger) = (key(&farm, "a", 0.1).await, key(&farm, "b", 0.1).await);
    let call = async |key: &str, method: Method, uri: &str, body: &str| call(&router, key, method, uri, body).await;
    let body =
        json!({ "type": "image", "image": photo(600, 400, false), "script": "Hi", "voice_id": "metronome_timed" })
            .to_string();
    let made = call(&owner, Method::POST, VIDEOS, &body).await.json();
    let id = made["data"]["video_id"].as_str().unwrap().to_owned();
    let again = call(&owner, Method::POST, VIDEOS, &body).await.json();
    assert_eq!(again["data"]["video_id"], json!(id), "a repeated request makes nothing twice");
    worker.finish(&draft(75, false)).await;
    // 2.5 s of 0.05 USD.
    assert!(comes(async || (spent(&router, &owner).await - 0.125).abs() < 1e-9).await);
    let uri = format!("{VIDEOS}/{id}");
    assert_eq!(call(&stranger, Method::GET, &uri, "").await.error(), error(404, "video_not_found"));
    assert_eq!(call(&stranger, Method::GET, VIDEOS, "").await.json()["data"], json!([]));
    let poor = call(&owner, Method::POST, VIDEOS, &body.replace("Hi", "Ho")).await;
    assert_eq!(poor.error(), error(402, "insufficient_credit"));
}

/// A farm that asks for keys, with one worker.
async fn farm_with_keys() -> (Farm, Router, Worker) {
    let farm = Farm::with(quick());
    let router = speaking(&farm, ApiConfig { access: Access::keys([]), ..ApiConfig::default() });
    farm.slots(1).await;
    let worker = farm.worker("w1").await;
    (farm, router, worker)
}

#[tokio::test]
async fn the_render_that_finds_a_face_is_neither_listed_nor_billed() {
    let (farm, router, mut worker) = farm_with_keys().await;
    let owner = key(&farm, "a", 1.0).await;
    let read = async |uri: &str| call(&router, &owner, Method::GET, uri, "").await.json()["data"].clone();
    let is_hidden = async || {
        for query in ["", "?search=face", "?sort=title", "?status=queued,rendering,completed"] {
            assert_eq!(read(&format!("/v3/hyperframes/renders{query}")).await, json!([]), "{query}");
        }
        let counts = read("/v3/hyperframes/farm").await["renders"].clone();
        assert!(counts.as_object().unwrap().values().all(|count| *count == json!(0)), "{counts}");
    };
    let body = json!({ "type": "photo", "name": "Ann", "file": photo(600, 400, false) }).to_string();
    let made = call(&router, &owner, Method::POST, AVATARS, &body).await.json();
    let look = format!("{LOOKS}/{}", made["data"]["avatar_item"]["id"].as_str().unwrap_or_else(|| panic!("{made}")));
    is_hidden().await;
    worker.finish(&with_face(&farm).await).await;
    assert!(comes(async || read(&look).await["status"] == "completed").await);
    is_hidden().await;
    assert_eq!(spent(&router, &owner).await, 0.0);
    assert!(farm.backplane.objects.list("usage").await.unwrap().is_empty(), "no usage is recorded");
}

#[tokio::test]
async fn a_video_that_is_retried_is_a_video_and_is_billed_once() {
    let (farm, router, mut worker) = farm_with_keys().await;
    let owner = key(&farm, "a", 1.0).await;
    let body = json!({
        "type": "image", "image": photo(600, 400, false), "script": "Hi", "voice_id": "metronome_timed", "captions": true,
    });
    let made = call(&router, &owner, Method::POST, VIDEOS, &body.to_string()).await.json();
    let first = made["data"]["video_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let read =
        async |id: &str| call(&router, &owner, Method::GET, &format!("{VIDEOS}/{id}"), "").await.json()["data"].clone();
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    assert!(comes(async || read(&first).await["status"] == "failed").await);

    let retry = format!("/v3/hyperframes/renders/{first}/retry");
    let again = call(&router, &owner, Method::POST, &retry, "").await.json();
    let second = again["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{again}")).to_owned();
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || read(&second).await["status"] == "completed").await);
    assert!(read(&second).await["captioned_video_url"].is_string());
    let listed = call(&router, &owner, Method::GET, VIDEOS, "").await.json();
    let ids: Vec<&str> = listed["data"].as_array().unwrap().iter().filter_map(|video| video["id"].as_str()).collect();
    assert_eq!(ids, [&second, &first]);
    // 2.5 s of 0.05 USD, for the one that has a video.
    assert!(comes(async || spent(&router, &owner).await > 0.0).await);
    assert!((spent(&router, &owner).await - 0.125).abs() < 1e-9);
    assert_eq!(farm.backplane.objects.list("usage").await.unwrap().len(), 1);
}
