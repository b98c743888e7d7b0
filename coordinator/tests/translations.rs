//! Translations over HTTP, with engines behind real servers. The tests play the workers; `e2e/tests/translation.rs` has real ones.

use std::sync::Arc;

use async_trait::async_trait;
use axum::extract::{DefaultBodyLimit, Multipart, State};
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::post as route_post;
use axum::{Json, Router};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::{
    HttpRecognition, HttpTranslator, RecognitionConfig, SpeechRecognition, TranslationConfig, Translator,
};
use hyperfarm_media::{MixInput, MixPart, SegmentFile, decode_audio, join, mix};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{AudioItem, EncoderSettings, MediaTiming};
use hyperfarm_proto::spec::{AudioCodec, Format, Quality, RenderRequest};
use hyperfarm_speech::wav::Sound;
use hyperfarm_speech::{Catalogue, Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice, WordTime};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::client::{Answer, ask, error, get, invalid, post};
use crate::common::{Farm, comes, draft, quick};
use crate::lipsyncs::{self, Behaviour, SIZE, write_film};
use crate::videos::{project_file, upload};

const TRANSLATIONS: &str = "/v3/video-translations";
const PROOFREADS: &str = "/v3/video-translations/proofreads";

/// An engine that speaks a word in half a second at its own speed, in three languages.
#[derive(Debug)]
struct Polyglot;

#[async_trait]
impl SpeechEngine for Polyglot {
    fn name(&self) -> &'static str {
        "polyglot"
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        let voice = |id: &str, language: &str, locale: &str| Voice {
            id: format!("polyglot_{id}"),
            name: id.to_owned(),
            language: language.to_owned(),
            locale: locale.to_owned(),
            gender: Gender::Female,
            tags: Vec::new(),
            takes_ssml: false,
            takes_locale: false,
        };
        Ok(vec![
            voice("en", "English", "en-us"),
            voice("es", "Spanish", "es"),
            voice("mx", "Spanish", "es-419"),
            voice("de", "German", "de"),
        ])
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
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
        let samples = vec![1000; (words.len() as f64 * length * 8000.0).round() as usize];
        Ok(Speech { sound: Sound { rate: 8000, channels: 1, samples }, words: Some(words) })
    }
}

fn speech() -> Arc<Catalogue> {
    Arc::new(Catalogue::of(vec![Arc::new(Polyglot) as Arc<dyn SpeechEngine>]))
}

/// What the engines of a test were asked.
#[derive(Default)]
struct Asked {
    /// Fields of each form for the speech recognition, and the seconds of its sound.
    heard: Vec<(Value, f64)>,
    /// Bodies for the translator.
    translated: Vec<Value>,
}

/// The engines of a test.
struct Engines {
    asked: Arc<Mutex<Asked>>,
    recognition: Arc<dyn SpeechRecognition>,
    translator: Arc<dyn Translator>,
}

/// What is answered to the first requests, before the engines do their work.
type Failures = Arc<Mutex<Vec<StatusCode>>>;

#[derive(Clone)]
struct Served {
    asked: Arc<Mutex<Asked>>,
    failures: Failures,
    segments: Arc<Value>,
}

fn fails(served: &Served) -> Option<Response> {
    let failure = served.failures.lock().pop()?;
    Some((failure, Json(json!({ "error": { "message": "the model is loading" } }))).into_response())
}

async fn transcribe(State(served): State<Served>, headers: HeaderMap, mut form: Multipart) -> Response {
    assert_eq!(headers["authorization"], "Bearer sk-ears");
    let (mut fields, mut sound) = (json!({}), Bytes::new());
    while let Some(field) = form.next_field().await.unwrap() {
        let (name, file) = (field.name().unwrap().to_owned(), field.file_name().map(str::to_owned));
        let bytes = field.bytes().await.unwrap();
        match name.as_str() {
            "file" => (fields["file"], sound) = (json!(file), bytes),
            other => fields[other] = json!(std::str::from_utf8(&bytes).unwrap()),
        }
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("speech.m4a");
    std::fs::write(&path, &sound).unwrap();
    let seconds = decode_audio(&path).unwrap().len() as f64 / 48_000.0;
    served.asked.lock().heard.push((fields, seconds));
    fails(&served).unwrap_or_else(|| {
        Json(json!({ "language": "english", "text": "…", "segments": *served.segments })).into_response()
    })
}

async fn translate(State(served): State<Served>, Json(body): Json<Value>) -> Response {
    served.asked.lock().translated.push(body.clone());
    fails(&served).unwrap_or_else(|| {
        let texts = body["q"].as_array().unwrap().iter();
        let texts: Vec<String> = texts.map(|text| text.as_str().unwrap().replace("Hello", "Hola")).collect();
        Json(json!({ "translatedText": texts })).into_response()
    })
}

/// Engines that hear these segments, and translate one word.
async fn engines(segments: Value, failures: &[StatusCode]) -> Engines {
    let served = Served {
        asked: Arc::default(),
        failures: Arc::new(Mutex::new(failures.to_vec())),
        segments: Arc::new(segments),
    };
    let asked = served.asked.clone();
    let routes = Router::new()
        .route("/v1/audio/transcriptions", route_post(transcribe))
        .route("/translate", route_post(translate))
        .layer(DefaultBodyLimit::disable())
        .with_state(served);
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: url::Url = format!("http://{}", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, routes).await.unwrap() });
    let (key, model) = (Some("sk-ears".to_owned()), "whisper-1".to_owned());
    let recognition = HttpRecognition::new(RecognitionConfig { url: url.clone(), key, model }).unwrap();
    let translator = HttpTranslator::new(TranslationConfig { url, key: Some("sk-words".to_owned()) }).unwrap();
    Engines { asked, recognition: Arc::new(recognition), translator: Arc::new(translator) }
}

/// What is said in [`film`].
fn said() -> Value {
    json!([
        { "start": 0.0, "end": 0.8, "text": " Hello there." },
        { "start": 1.0, "end": 1.8, "text": " Hello again, you two." },
    ])
}

fn with(engines: &Engines) -> ApiConfig {
    ApiConfig {
        speech: speech(),
        recognition: Some(engines.recognition.clone()),
        translator: Some(engines.translator.clone()),
        ..ApiConfig::default()
    }
}

/// A video of two seconds with a sound.
fn film() -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    write_film(&path("film.mp4"), &(0..50).map(|frame| frame * 5).collect::<Vec<u8>>());
    std::fs::write(path("sound.wav"), lipsyncs::sound(20)).unwrap();
    let timing = MediaTiming { start: 0.0, end: 2.0, media_start: 0.0, rate: 1.0, looped: false };
    let item = AudioItem::plain("sound", "sound.wav", timing, Vec::new());
    let (rate, sound) = (FrameRate::new(25, 1).unwrap(), path("sound.m4a"));
    let input = MixInput { item: &item, path: &path("sound.wav"), rendered: false };
    mix(None, &[input], &MixPart::whole(50, rate), AudioCodec::Aac, &sound, &mut |_| true).unwrap();
    let settings = EncoderSettings::of(Format::Mp4, Quality::Draft, rate);
    let segment = SegmentFile { path: path("film.mp4"), frames: 50 };
    join(&[segment], Some(sound.as_path()), &path("whole.mp4"), &settings, SIZE, rate, &|| true).unwrap();
    std::fs::read(path("whole.mp4")).unwrap()
}

fn inline(bytes: &[u8]) -> Value {
    json!({ "type": "base64", "data": STANDARD.encode(bytes) })
}

const SRT: &str = "1\n00:00:00,200 --> 00:00:00,900\nBuenos días.\n\n2\n00:00:01,000 --> 00:00:01,900\nAdiós.\n";

/// A request, with fields added or replaced.
fn asked(fields: &Value) -> Value {
    let mut body = json!({ "video": inline(&film()), "output_languages": ["Spanish"], "title": "Film" });
    for (name, value) in fields.as_object().unwrap() {
        body[name] = value.clone();
    }
    body
}

fn ids_of(answer: &Answer) -> Vec<String> {
    let answer = answer.json();
    let ids = answer["data"]["video_translation_ids"].as_array().unwrap_or_else(|| panic!("{answer}"));
    ids.iter().map(|id| id.as_str().unwrap().to_owned()).collect()
}

async fn begun(router: &Router, fields: &Value) -> String {
    ids_of(&post(router, TRANSLATIONS, &asked(fields)).await).remove(0)
}

async fn read(router: &Router, id: &str) -> Value {
    get(router, &format!("{TRANSLATIONS}/{id}")).await.json()["data"].clone()
}

async fn is_rendered(router: &Router, id: &str) -> bool {
    comes(async || get(router, &format!("/v3/hyperframes/renders/{id}")).await.status.as_u16() == 200).await
}

async fn spec_of(farm: &Farm, id: &str) -> hyperfarm_proto::spec::RenderSpec {
    let render: RenderId = id.parse().unwrap();
    farm.backplane.objects.get_json::<RenderRequest>(&keys::request(&render)).await.unwrap().spec
}

fn has(page: &str, parts: &[&str]) {
    for part in parts {
        assert!(page.contains(part), "{part} is not in {page}");
    }
}

async fn events(router: &Router) -> Vec<Value> {
    get(router, "/v3/webhooks/events").await.json()["data"].as_array().unwrap().clone()
}

#[tokio::test]
async fn a_video_is_heard_translated_and_spoken() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let router = farm.coordinator.router(with(&engines));
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let fields = json!({
        "output_languages": ["Spanish (Mexico)"], "enable_caption": true, "enable_speech_enhancement": true, "speaker_num": 2,
        "keep_the_same_format": true, "callback_id": "c1", "folder_id": "f1",
    });
    let id = begun(&router, &fields).await;
    assert!(is_rendered(&router, &id).await, "{}", read(&router, &id).await);
    {
        let asked = engines.asked.lock();
        let (form, seconds) = &asked.heard[0];
        let expected = json!({
            "model": "whisper-1", "response_format": "verbose_json", "timestamp_granularities[]": "segment", "file": "speech.m4a",
        });
        assert_eq!((asked.heard.len(), form), (1, &expected));
        assert!((seconds - 2.0).abs() < 0.05, "{seconds} s are heard");
        let expected = json!({
            "q": ["Hello there.", "Hello again, you two."], "source": "en", "target": "es", "format": "text",
            "api_key": "sk-words",
        });
        assert_eq!(asked.translated, [expected]);
    }
    // Two words take a second, which is there; four take two, and the pictures of one second are played for so long.
    let page = project_file(&farm, &id, "index.html").await;
    has(
        &page,
        &[
            "data-start=\"0\" data-duration=\"3.000000\"",
            "src=\"video.mp4\" playsinline data-start=\"0.000000\" data-duration=\"1.000000\" data-track-index=\"0\" muted>",
            "data-start=\"1.000000\" data-duration=\"2.000000\" data-track-index=\"0\" muted data-media-start=\"1.000000\" \
             data-playback-rate=\"0.500000000\"",
            "src=\"audio.wav\" data-start=\"0.000000\" data-duration=\"3.000000\"",
            "data-caption=\"Hola there.\"",
            "data-caption=\"Hola again, you two.\"",
            "\"type\":\"highpass\"",
        ],
    );
    let spec = spec_of(&farm, &id).await;
    assert!(spec.captions && spec.wav && spec.video_bitrate.is_some());
    assert_eq!(spec.loudness.map(|loudness| loudness.get()), Some(-16));
    let running = read(&router, &id).await;
    let expected = json!({
        "id": id, "title": "Film", "status": "running", "input_language": "english", "output_language": "Spanish (Mexico)",
        "translate_audio_only": false, "duration": null, "video_url": null, "audio_url": null, "callback_id": "c1",
        "created_at": running["created_at"], "failure_message": null,
    });
    assert_eq!(running, expected);
    assert!(running["created_at"].as_u64().unwrap() > 1_700_000_000);
    let caption = format!("{TRANSLATIONS}/{id}/caption?format=srt");
    assert_eq!(get(&router, &caption).await.error(), error(409, "resource_not_ready"));
    worker.finish(&draft(75, false)).await;
    assert!(comes(async || read(&router, &id).await["status"] == "completed").await);
    let ended = read(&router, &id).await;
    assert!(ended["video_url"].as_str().unwrap().contains("output.mp4"), "{ended}");
    assert!(comes(async || events(&router).await.len() == 1).await);
    let event = events(&router).await.remove(0);
    assert_eq!(event["event_type"], "video_translate.success");
    let data = &event["event_data"];
    assert_eq!((&data["video_translate_id"], &data["title"]), (&json!(id), &json!("Film")));
    assert_eq!((&data["output_language"], &data["callback_id"]), (&json!("Spanish (Mexico)"), &json!("c1")));
    assert_eq!((&data["translate_audio_only"], &data["generate_caption"]), (&json!(false), &json!(true)));
    let left = farm.backplane.objects.list("farm/translating").await.unwrap();
    assert_eq!(left, [], "no lease is left");
    let files = farm.backplane.objects.list("translations").await.unwrap();
    assert!(
        files.iter().all(|file| !file.key.ends_with(".mp4")),
        "the video is removed once it is in a project: {files:?}"
    );
}

#[tokio::test]
async fn each_language_is_a_video_of_its_own() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[StatusCode::SERVICE_UNAVAILABLE]).await;
    let router = farm.coordinator.router(with(&engines));
    let listed = get(&router, &format!("{TRANSLATIONS}/languages")).await.json();
    assert_eq!(listed["data"]["languages"], json!(["English", "German", "Spanish", "de", "en-us", "es", "es-419"]));
    let fields = json!({ "output_languages": ["de", "English", "es"] });
    let made = ids_of(&post(&router, TRANSLATIONS, &asked(&fields)).await);
    assert_eq!(made.len(), 3);
    for (id, language) in made.iter().zip(["de", "English", "es"]) {
        assert!(is_rendered(&router, id).await, "{language}: {}", read(&router, id).await);
        assert_eq!(read(&router, id).await["output_language"], language);
    }
    let asked = engines.asked.lock();
    let targets: Vec<&Value> = asked.translated.iter().map(|body| &body["target"]).collect();
    // English is heard, and so is not translated.
    assert!(targets.contains(&&json!("de")) && targets.contains(&&json!("es")) && targets.len() == 2, "{targets:?}");
    // One answer was an error, and the engine was asked again.
    assert_eq!(asked.heard.len(), 4);
}

#[tokio::test]
async fn words_of_the_clients_take_the_place_of_engines() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig { speech: speech(), ..ApiConfig::default() });
    let file = upload(&router, "", "a.srt", SRT.as_bytes()).await;
    let srt = json!({ "type": "asset_id", "asset_id": file });
    let spoken = begun(
        &router,
        &json!({ "srt": srt, "srt_role": "output", "enable_dynamic_duration": false, "disable_music_track": true }),
    )
    .await;
    assert!(is_rendered(&router, &spoken).await, "{}", read(&router, &spoken).await);
    let page = project_file(&farm, &spoken, "index.html").await;
    has(
        &page,
        &[
            "data-start=\"0\" data-duration=\"2.000000\"",
            "data-start=\"0.000000\" data-duration=\"0.200000\" data-track-index=\"0\">",
            "data-start=\"0.200000\" data-duration=\"1.800000\" data-track-index=\"0\" muted data-media-start=\"0.200000\">",
        ],
    );
    assert!(!page.contains("data-caption"), "{page}");
    let only = begun(&router, &json!({ "srt": srt, "srt_role": "output", "translate_audio_only": true })).await;
    assert!(is_rendered(&router, &only).await);
    assert_eq!(read(&router, &only).await["translate_audio_only"], true);
    let sound = json!({ "audio": inline(&lipsyncs::sound(25)), "output_languages": ["Klingon"] });
    let given = begun(&router, &sound).await;
    assert!(is_rendered(&router, &given).await, "{}", read(&router, &given).await);
    has(
        &project_file(&farm, &given, "index.html").await,
        &["data-duration=\"2.500000\"", "data-playback-rate=\"0.800000000\"", "src=\"audio.wav\""],
    );
    // The words of the video need a translator still.
    let refused = post(&router, TRANSLATIONS, &asked(&json!({ "srt": srt }))).await;
    let expected = (409, "engine_not_configured".to_owned(), Some("output_languages".to_owned()));
    assert_eq!(refused.error(), expected);
}

#[tokio::test]
async fn a_translation_is_read_and_changed_before_it_is_spoken() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let router = farm.coordinator.router(with(&engines));
    let body = asked(&json!({ "output_languages": ["Spanish", "German"] }));
    let made = post(&router, PROOFREADS, &body).await.json();
    assert_eq!(made["data"]["status"], "processing");
    let id = made["data"]["proofread_ids"][0].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let uri = format!("{PROOFREADS}/{id}");
    let session = async || get(&router, &uri).await.json()["data"].clone();
    assert!(comes(async || session().await["status"] == "completed").await, "{}", session().await);
    let seen = session().await;
    let expected = json!({
        "id": id, "title": "Film", "status": "completed", "input_language": "english", "output_language": "Spanish",
        "submitted_for_review": false, "created_at": seen["created_at"], "failure_message": null,
    });
    assert_eq!(seen, expected);
    let links = get(&router, &format!("{uri}/srt")).await.json()["data"].clone();
    let text = async |link: &Value| {
        let path = link.as_str().unwrap().split_once(":8080").unwrap().1.to_owned();
        String::from_utf8(get(&router, &path).await.bytes.to_vec()).unwrap()
    };
    let original =
        "1\n00:00:00,000 --> 00:00:00,800\nHello there.\n\n2\n00:00:01,000 --> 00:00:01,800\nHello again, you two.\n\n";
    assert_eq!(text(&links["original_srt_url"]).await, original);
    assert_eq!(text(&links["srt_url"]).await, original.replace("Hello", "Hola"));
    let change = async |srt: &str| {
        let body = json!({ "srt": inline(srt.as_bytes()) }).to_string();
        ask(&router, Method::PUT, &format!("{uri}/srt"), &[("content-type", "application/json")], &body).await
    };
    assert_eq!(change("Hello").await.error(), invalid("srt"));
    assert_eq!(change("1\n00:00:02 -> 3\n-->").await.error(), invalid("srt"));
    assert_eq!(change(SRT).await.json()["data"]["id"], json!(id));
    assert!(text(&links["srt_url"]).await.contains("Buenos días."));
    let generate = format!("{uri}/generate");
    let made = post(&router, &generate, &json!({ "captions": true, "callback_id": "c7" })).await.json();
    let video = made["data"]["video_translation_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    assert_eq!(made["data"]["status"], "processing");
    assert!(is_rendered(&router, &video).await, "{}", read(&router, &video).await);
    let page = project_file(&farm, &video, "index.html").await;
    has(&page, &["data-caption=\"Buenos días.\"", "data-duration=\"2.000000\""]);
    let seen = read(&router, &video).await;
    assert_eq!((&seen["callback_id"], &seen["output_language"]), (&json!("c7"), &json!("Spanish")));
    let heard = async |kind: &str| events(&router).await.iter().filter(|event| event["event_type"] == kind).count();
    assert!(comes(async || heard("proofread_creation.success").await == 2).await);
    assert_eq!(engines.asked.lock().heard.len(), 2, "once for each session");
    // A session is no translation, and a translation no session.
    assert_eq!(get(&router, &format!("{TRANSLATIONS}/{id}")).await.error(), error(404, "resource_not_found"));
    assert_eq!(get(&router, &format!("{PROOFREADS}/{video}")).await.error(), error(404, "resource_not_found"));
    let listed = get(&router, TRANSLATIONS).await.json();
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "{listed}");
}

#[tokio::test]
async fn what_comes_to_nothing_is_told_of() {
    let farm = Farm::with(quick());
    for (segments, failures, reason, code) in [
        (json!([]), vec![], "nobody is heard to speak", "no_speech"),
        (said(), vec![StatusCode::BAD_GATEWAY; 3], "the model is loading", "engine_failed"),
        (json!("none"), vec![], "its answer is not understood", "engine_failed"),
    ] {
        let engines = engines(segments, &failures).await;
        let router = farm.coordinator.router(with(&engines));
        let before = events(&router).await.len();
        let id = begun(&router, &json!({})).await;
        assert!(comes(async || read(&router, &id).await["status"] == "failed").await, "{reason}");
        let failed = read(&router, &id).await;
        assert!(failed["failure_message"].as_str().unwrap().contains(reason), "{failed}");
        assert!(comes(async || events(&router).await.len() == before + 1).await);
        let event = events(&router).await.remove(0);
        assert_eq!(event["event_type"], "video_translate.fail");
        let data = &event["event_data"];
        assert_eq!((&data["video_translate_id"], &data["failure_code"]), (&json!(id), &json!(code)));
        assert!(data["msg"].as_str().unwrap().contains(reason), "{event}");
        let deleted = ask(&router, Method::DELETE, &format!("{TRANSLATIONS}/{id}"), &[], "").await;
        assert_eq!(deleted.json(), json!({ "data": { "id": id } }));
    }
    assert_eq!(farm.backplane.objects.list("translations").await.unwrap(), []);
    assert_eq!(farm.backplane.objects.list("farm/translating").await.unwrap(), []);
}

#[tokio::test]
async fn a_run_whose_process_has_ended_goes_on_behind_its_last_step() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let router = farm.coordinator.router(with(&engines));
    let objects = &farm.backplane.objects;
    let id = begun(&router, &json!({})).await;
    assert!(is_rendered(&router, &id).await);
    assert!(comes(async || objects.list("farm/translating").await.unwrap().is_empty()).await);
    // What a process leaves that ends between the translation and the render: no render, the video, an expired lease.
    let render: RenderId = id.parse().unwrap();
    farm.coordinator.delete(&render).await.unwrap();
    let key = format!("translations/default/{id}/translation.json");
    let mut record: Value = objects.get_json(&key).await.unwrap();
    (record["stage"], record["seed"]["random"]) = (json!("running"), json!(77));
    let other = RenderId::from_parts(record["seed"]["at_ms"].as_u64().unwrap(), 77);
    for file in ["translated.json", "heard.json"] {
        let from = format!("translations/default/{id}/{file}");
        objects.copy(&from, &format!("translations/default/{other}/{file}")).await.unwrap();
    }
    objects.put(&format!("translations/default/{other}/video.mp4"), film().into()).await.unwrap();
    objects.put_json(&format!("translations/default/{other}/translation.json"), &record).await.unwrap();
    objects.put_json(&format!("farm/translating/default/{other}"), &1000u64).await.unwrap();
    let taken = async || get(&router, &format!("/v3/hyperframes/renders/{other}")).await.status.as_u16() == 200;
    let mut waited = 0;
    while !taken().await {
        waited += 1;
        assert!(waited < 600, "nobody takes it over: {}", read(&router, other.as_str()).await);
        tokio::time::sleep(std::time::Duration::from_millis(200)).await;
    }
    let asked = engines.asked.lock();
    assert_eq!((asked.heard.len(), asked.translated.len()), (1, 1), "what was done is not done again");
}

#[tokio::test]
async fn translations_are_refused_by_field() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let router = farm.coordinator.router(with(&engines));
    for (fields, param) in [
        (json!({ "video": null }), "video"),
        (json!({ "video": inline(&lipsyncs::film()) }), "video"),
        (json!({ "output_languages": null }), "output_languages"),
        (json!({ "output_languages": [] }), "output_languages"),
        (json!({ "output_languages": vec!["es"; 21] }), "output_languages"),
        (json!({ "output_languages": ["es", "Klingon"] }), "output_languages[1]"),
        (json!({ "output_languages": ["German"], "brand_voice_id": "polyglot_es" }), "output_languages[0]"),
        (json!({ "output_languages": ["de", "es"], "audio": inline(&lipsyncs::sound(5)) }), "output_languages"),
        (json!({ "audio": inline(&film()) }), "audio"),
        (json!({ "audio": inline(&lipsyncs::sound(5)), "enable_caption": true }), "enable_caption"),
        (json!({ "srt": inline(b"Hello") }), "srt"),
        (json!({ "srt": inline(b"1\n00:00:02,000 --> 00:00:01,000\nA") }), "srt"),
        (json!({ "srt_role": "both" }), "srt_role"),
        (json!({ "mode": "fast" }), "mode"),
        (json!({ "title": "x".repeat(501) }), "title"),
        (json!({ "speaker_num": 0 }), "speaker_num"),
        (json!({ "translate_audio_only": 1 }), "translate_audio_only"),
        (json!({ "enable_dynamic_duration": "no" }), "enable_dynamic_duration"),
        (json!({ "start_time": -1 }), "start_time"),
        (json!({ "start_time": 1.95 }), "start_time"),
        (json!({ "end_time": 2.2 }), "end_time"),
        (json!({ "fps_mode": "auto" }), "fps_mode"),
        (json!({ "callback_url": "http://x.example/" }), "callback_url"),
    ] {
        assert_eq!(post(&router, TRANSLATIONS, &asked(&fields)).await.error(), invalid(param), "{fields}");
    }
    let voice = post(&router, TRANSLATIONS, &asked(&json!({ "brand_voice_id": "polyglot_x" }))).await;
    assert_eq!(voice.error(), (404, "voice_not_found".to_owned(), Some("brand_voice_id".to_owned())));
    for fields in [json!({ "title": " " }), json!({ "title": null })] {
        assert_eq!(post(&router, PROOFREADS, &asked(&fields)).await.error(), invalid("title"), "{fields}");
    }
    let missing = |param: &str| (409, "engine_not_configured".to_owned(), Some(param.to_owned()));
    let precise = post(&router, TRANSLATIONS, &asked(&json!({ "mode": "precision" }))).await;
    assert_eq!(precise.error(), missing("mode"));
    for (config, uri, setting, param) in [
        (ApiConfig { recognition: None, ..with(&engines) }, TRANSLATIONS, "HYPERFARM_RECOGNITION_URL", Some("video")),
        (
            ApiConfig { translator: None, ..with(&engines) },
            PROOFREADS,
            "HYPERFARM_TRANSLATION_URL",
            Some("output_languages"),
        ),
        (ApiConfig { speech: ApiConfig::default().speech, ..with(&engines) }, TRANSLATIONS, "HYPERFARM_ESPEAK", None),
    ] {
        let router = farm.coordinator.router(config);
        let refused = post(&router, uri, &asked(&json!({}))).await;
        assert_eq!(refused.error(), (409, "engine_not_configured".to_owned(), param.map(str::to_owned)), "{setting}");
        let message = refused.json()["error"]["message"].to_string();
        assert!(message.contains(setting), "{message}");
    }
    assert_eq!(get(&router, TRANSLATIONS).await.json()["data"], json!([]), "nothing is left of what was refused");
    for uri in ["nothing", "%2e%2e", "nothing/caption?format=srt"] {
        let uri = format!("{TRANSLATIONS}/{uri}");
        assert_eq!(get(&router, &uri).await.error(), error(404, "resource_not_found"), "{uri}");
    }
    let id = begun(&router, &json!({})).await;
    assert_eq!(get(&router, &format!("{TRANSLATIONS}/{id}/caption?format=ass")).await.error(), invalid("format"));
    let none = get(&router, &format!("{TRANSLATIONS}/{id}/caption?format=vtt")).await;
    assert_eq!(none.error(), error(404, "resource_not_found"));
}

#[tokio::test]
async fn the_mouth_is_moved_by_an_engine_in_precision() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let (mouth, moved) = lipsyncs::engine(Behaviour::Moves).await;
    let router = farm.coordinator.router(ApiConfig { lipsync: Some(mouth), ..with(&engines) });
    let id = begun(&router, &json!({ "mode": "precision" })).await;
    assert!(is_rendered(&router, &id).await, "{}", read(&router, &id).await);
    let (fields, _, sound) = moved.lock()[0].clone();
    assert_eq!(
        (&fields["start_time"], &fields["end_time"], &fields["duration"]),
        (&json!(0.0), &json!(2.0), &json!(2.0))
    );
    // The voice speaks faster, for the length is that of the video.
    assert_eq!(sound.len(), 44 + 2 * 2 * 8000);
    has(&project_file(&farm, &id, "index.html").await, &["src=\"moved.mp4\"", "data-duration=\"2.000000\""]);
}

#[tokio::test]
async fn translations_are_paid_for_changed_and_belong_to_a_space() {
    let farm = Farm::with(quick());
    let engines = engines(said(), &[]).await;
    let router = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..with(&engines) });
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let key = async |space: &str| {
        let mut record = KeyRecord::new("dubber", space.parse().unwrap());
        (record.rights.cap_usd, record.rights.scopes) = (Some(0.15), vec![Scope::Render, Scope::Read]);
        KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
    };
    let (owner, stranger) = (key("a").await, key("b").await);
    let call = async |key: &str, method: Method, uri: &str, body: &str| {
        let once = hyperfarm_proto::id::ContentHash::of(body.as_bytes()).to_string();
        let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", once.as_str())];
        ask(&router, method, uri, &headers, body).await
    };
    let spent = async || {
        let me = call(&owner, Method::GET, "/v3/users/me", "").await.json();
        me["data"]["usage_based"]["spending_current_usd"].as_f64().unwrap()
    };
    let body = asked(&json!({})).to_string();
    let id = ids_of(&call(&owner, Method::POST, TRANSLATIONS, &body).await).remove(0);
    let again = ids_of(&call(&owner, Method::POST, TRANSLATIONS, &body).await).remove(0);
    assert_eq!(again, id, "a repeated request makes nothing twice");
    let uri = format!("{TRANSLATIONS}/{id}");
    let status = async || call(&owner, Method::GET, &uri, "").await.json()["data"]["status"].clone();
    assert!(comes(async || status().await == "running").await);
    worker.finish(&draft(75, false)).await;
    // 2.5 s of 3 USD a minute.
    assert!(comes(async || (spent().await - 2.5 * 3.0 / 60.0).abs() < 1e-9).await, "{}", spent().await);
    let session = call(&owner, Method::POST, PROOFREADS, &body).await.json();
    assert!(session["data"]["proofread_ids"][0].is_string(), "{session}");
    // Two seconds of 0.5 USD a minute.
    assert!(comes(async || (spent().await - 8.5 / 60.0).abs() < 1e-9).await, "{}", spent().await);
    let renamed = call(&owner, Method::PATCH, &uri, r#"{ "title": " Mine " }"#).await;
    assert_eq!(renamed.json()["data"]["title"], "Mine");
    assert_eq!(call(&owner, Method::PATCH, &uri, r#"{ "title": " " }"#).await.error(), invalid("title"));
    for (method, body) in [(Method::GET, ""), (Method::PATCH, r#"{ "title": "Mine" }"#), (Method::DELETE, "")] {
        let refused = call(&stranger, method.clone(), &uri, body).await;
        assert_eq!(refused.error(), error(404, "resource_not_found"), "{method}");
    }
    assert_eq!(call(&stranger, Method::GET, TRANSLATIONS, "").await.json()["data"], json!([]));
    // A retry of its render is a translation too.
    let second =
        ids_of(&call(&owner, Method::POST, TRANSLATIONS, &asked(&json!({ "title": "Two" })).to_string()).await);
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    let second_uri = format!("{TRANSLATIONS}/{}", second[0]);
    let seen = async || call(&owner, Method::GET, &second_uri, "").await.json()["data"].clone();
    assert!(comes(async || seen().await["status"] == "failed").await);
    assert!(seen().await["failure_message"].as_str().unwrap().contains("happened"));
    let retry = format!("/v3/hyperframes/renders/{}/retry", second[0]);
    let retry = call(&owner, Method::POST, &retry, "").await.json();
    let third = retry["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{retry}"));
    let third = call(&owner, Method::GET, &format!("{TRANSLATIONS}/{third}"), "").await.json();
    assert_eq!((&third["data"]["title"], &third["data"]["output_language"]), (&json!("Two"), &json!("Spanish")));
    assert_eq!(call(&owner, Method::DELETE, &uri, "").await.json(), json!({ "data": { "id": id } }));
    assert_eq!(call(&owner, Method::GET, &uri, "").await.error(), error(404, "resource_not_found"));
}
