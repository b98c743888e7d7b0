//! Voices and speech over HTTP.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use crate::common::client::{Answer, ask, error, get, invalid, post};
use crate::common::{Farm, patient};
use async_trait::async_trait;
use axum::Router;
use axum::http::Method;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::usage::Prices;
use hyperfarm_speech::wav::Sound;
use hyperfarm_speech::{Catalogue, Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice, WordTime};
use serde_json::{Value, json};

const VOICES: &str = "/v3/voices";
const SPEECH: &str = "/v3/voices/speech";

/// An engine that speaks a character in 0.1 s, and counts what it speaks.
#[derive(Debug, Default)]
struct Beeps {
    at_once: AtomicUsize,
    most: AtomicUsize,
    spoken: AtomicUsize,
}

fn voice(id: &str, language: &str, gender: Gender, takes_ssml: bool) -> Voice {
    Voice {
        id: format!("beeps_{id}"),
        name: format!("Beeper {id}"),
        language: language.to_owned(),
        locale: id.split('_').next().unwrap().to_owned(),
        gender,
        tags: vec!["deep".to_owned()],
        takes_ssml,
        takes_locale: takes_ssml,
    }
}

#[async_trait]
impl SpeechEngine for Beeps {
    fn name(&self) -> &'static str {
        "beeps"
    }

    async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
        Ok(vec![
            voice("en-us", "English", Gender::Male, true),
            voice("en-us_f", "English", Gender::Female, true),
            voice("en-gb", "English", Gender::Male, true),
            voice("de", "German", Gender::Male, false),
            voice("es_f", "Spanish", Gender::Female, true),
        ])
    }

    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        if request.script.is_ssml() && request.voice == "beeps_de" {
            return Err(SpeechError::NoSsml);
        }
        if let Some(locale) = request.locale.as_ref().filter(|locale| locale.starts_with("xx")) {
            return Err(SpeechError::NoLocale(locale.clone()));
        }
        let now = self.at_once.fetch_add(1, Ordering::SeqCst) + 1;
        self.most.fetch_max(now, Ordering::SeqCst);
        self.spoken.fetch_add(1, Ordering::SeqCst);
        tokio::time::sleep(Duration::from_millis(20)).await;
        self.at_once.fetch_sub(1, Ordering::SeqCst);
        let seconds = request.script.source().chars().count() as f64 * 0.1 / request.speed;
        let sound = Sound { rate: 8000, channels: 1, samples: vec![1000; (seconds * 8000.0) as usize] };
        let word = |word: &str| WordTime { word: word.to_owned(), start: 0.0, end: 0.5 };
        Ok(Speech { sound, words: Some(request.script.words().map(word).collect()) })
    }
}

fn speaking(farm: &Farm, config: ApiConfig) -> (Router, Arc<Beeps>) {
    let beeps = Arc::new(Beeps::default());
    let speech = Arc::new(Catalogue::of(vec![beeps.clone()]));
    (farm.coordinator.router(ApiConfig { speech, ..config }), beeps)
}

fn ids(answer: &Answer) -> Vec<String> {
    let body = answer.json();
    let voices = body["data"].as_array().or(body["data"]["voices"].as_array()).unwrap().clone();
    voices.iter().map(|voice| voice["voice_id"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn voices_are_listed_by_filters_and_pages() {
    let farm = Farm::with(patient());
    let (router, _) = speaking(&farm, ApiConfig::default());
    let list = async |query: &str| get(&router, &format!("{VOICES}{query}")).await;
    let all = list("").await;
    assert_eq!(ids(&all), ["beeps_en-us", "beeps_en-us_f", "beeps_en-gb", "beeps_de", "beeps_es_f"]);
    let mut first = all.json()["data"][0].clone();
    let preview = first["preview_audio_url"].take();
    assert!(preview.as_str().unwrap().starts_with("http://localhost:8080/previews/voices/beeps_en-us.wav?signature="));
    let expected = json!({
        "voice_id": "beeps_en-us", "name": "Beeper en-us", "language": "English", "gender": "male",
        "preview_audio_url": null, "support_pause": true, "support_locale": true, "type": "public",
        "engine": "beeps", "locale": "en-us",
    });
    assert_eq!(first, expected);
    assert_eq!((all.json()["has_more"].clone(), all.json()["next_token"].clone()), (json!(false), Value::Null));
    for (query, expected) in [
        ("?language=English&gender=female", &["beeps_en-us_f"][..]),
        ("?language=en-gb", &["beeps_en-gb"]),
        ("?language=spanish&type=public&engine=starfish", &["beeps_es_f"]),
        ("?engine=beeps&gender=male&limit=1", &["beeps_en-us"]),
        ("?engine=espeak", &[]),
        ("?type=private", &[]),
    ] {
        assert_eq!(ids(&list(query).await), expected, "{query}");
    }
    let (mut found, mut token) = (Vec::new(), String::new());
    loop {
        let page = list(&format!("?gender=male&limit=2&token={token}")).await;
        found.extend(ids(&page));
        match page.json()["next_token"].as_str() {
            Some(next) => token = next.to_owned(),
            None => break,
        }
    }
    assert_eq!(found, ["beeps_en-us", "beeps_en-gb", "beeps_de"]);
    for (query, param) in [
        ("?gender=other", "gender"),
        ("?type=mine", "type"),
        ("?limit=0", "limit"),
        ("?limit=101", "limit"),
        ("?token=%2e", "token"),
        ("?token=bm9ib2R5", "token"),
    ] {
        assert_eq!(list(query).await.error(), invalid(param), "{query}");
    }
    let one = get(&router, "/v3/voices/beeps_de").await.json();
    assert_eq!((&one["data"]["language"], &one["data"]["support_pause"]), (&json!("German"), &json!(false)));
    assert_eq!(get(&router, "/v3/voices/nobody").await.error(), error(404, "voice_not_found"));
}

#[tokio::test]
async fn a_description_finds_three_voices_and_the_next_three() {
    let farm = Farm::with(patient());
    let (router, _) = speaking(&farm, ApiConfig::default());
    let design = async |body: Value| post(&router, VOICES, &body).await;
    let prompt = "A deep male voice with a slight British accent";
    let best = design(json!({ "prompt": prompt })).await;
    assert_eq!(ids(&best), ["beeps_en-gb", "beeps_en-us", "beeps_en-us_f"]);
    assert_eq!(best.json()["data"]["seed"], 0);
    let again = design(json!({ "prompt": prompt, "seed": null })).await;
    assert_eq!(ids(&again), ids(&best));
    let next = design(json!({ "prompt": prompt, "seed": 1 })).await;
    assert_eq!(
        (ids(&next), next.json()["data"]["seed"].clone()),
        (vec!["beeps_de".into(), "beeps_es_f".into()], json!(1))
    );
    assert_eq!(ids(&design(json!({ "prompt": "x", "gender": "female", "locale": "en-US" })).await), ["beeps_en-us_f"]);
    for (body, param) in [
        (json!({}), "prompt"),
        (json!({ "prompt": " " }), "prompt"),
        (json!({ "prompt": "a".repeat(1001) }), "prompt"),
        (json!({ "prompt": "a", "gender": "robot" }), "gender"),
        (json!({ "prompt": "a", "seed": -1 }), "seed"),
    ] {
        assert_eq!(design(body.clone()).await.error(), invalid(param), "{body}");
    }
}

#[tokio::test]
async fn a_text_is_spoken_and_is_an_asset() {
    let farm = Farm::with(patient());
    let (router, _) = speaking(&farm, ApiConfig::default());
    let speak = async |body: Value| post(&router, SPEECH, &body).await;
    let answer = speak(json!({ "text": "Hello from", "voice_id": "beeps_en-us", "speed": 0.5 })).await;
    assert_eq!(answer.status.as_u16(), 200);
    let data = answer.json()["data"].clone();
    assert_eq!(data["duration"], 2.0);
    let words = json!([{ "word": "Hello", "start": 0.0, "end": 0.5 }, { "word": "from", "start": 0.0, "end": 0.5 }]);
    assert_eq!(data["word_timestamps"], words);
    assert!(data["request_id"].as_str().is_some_and(|id| id.len() > 10));
    let url = data["audio_url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    assert!(url.split('?').next().unwrap().ends_with(".wav"), "{url}");
    let sound = get(&router, url).await;
    assert_eq!(sound.header("content-type"), "audio/wav");
    assert_eq!(Sound::parse("test", &sound.bytes).unwrap().duration(), Duration::from_secs(2));
    let asset = get(&router, &format!("/v3/assets/{}", data["asset_id"].as_str().unwrap())).await.json();
    assert_eq!((&asset["data"]["type"], &asset["data"]["name"]), (&json!("audio"), &json!("beeps_en-us.wav")));
    let ssml =
        json!({ "text": "<speak>a<break time=\"1s\"/></speak>", "voice_id": "beeps_en-us", "input_type": "ssml" });
    assert_eq!(speak(ssml).await.status.as_u16(), 200);
    let long = json!({ "text": "a".repeat(5000), "voice_id": "beeps_en-us", "locale": "en-GB" });
    assert_eq!(speak(long).await.status.as_u16(), 200);
    let with = |field: &str, value: Value| {
        let mut body = json!({ "text": "Hello", "voice_id": "beeps_en-us" });
        body[field] = value;
        body
    };
    for (body, param) in [
        (json!({ "voice_id": "beeps_de" }), "text"),
        (json!({ "text": "a" }), "voice_id"),
        (with("text", json!("")), "text"),
        (with("text", json!(" …\n")), "text"),
        (with("text", json!("a".repeat(5001))), "text"),
        (with("speed", json!(0.49)), "speed"),
        (with("speed", json!(2.01)), "speed"),
        (with("speed", json!("fast")), "speed"),
        (with("input_type", json!("markdown")), "input_type"),
        (with("locale", json!("xx")), "locale"),
        (with("language", json!("xx")), "language"),
        (json!({ "text": "<audio src='/etc/passwd'/>", "voice_id": "beeps_en-us", "input_type": "ssml" }), "text"),
        (json!({ "text": "<p>a</p>", "voice_id": "beeps_de", "input_type": "ssml" }), "input_type"),
    ] {
        assert_eq!(speak(body.clone()).await.error(), invalid(param), "{body}");
    }
    assert_eq!(speak(with("voice_id", json!("nobody"))).await.error(), error(404, "voice_not_found"));
}

#[tokio::test]
async fn a_voice_is_listened_to_without_a_key_and_spoken_once() {
    let farm = Farm::with(patient());
    let (router, beeps) = speaking(&farm, ApiConfig::default());
    let voice = get(&router, "/v3/voices/beeps_en-us").await.json();
    let local = |url: &str| url.strip_prefix("http://localhost:8080").unwrap().to_owned();
    let url = local(voice["data"]["preview_audio_url"].as_str().unwrap());
    for _ in 0..2 {
        let preview = get(&router, &url).await;
        assert_eq!(preview.status.as_u16(), 307);
        let sound = get(&router, &local(preview.header("location"))).await;
        assert_eq!(sound.header("content-type"), "audio/wav");
        assert!(Sound::parse("test", &sound.bytes).unwrap().duration() > Duration::from_secs(1));
    }
    assert_eq!(beeps.spoken.load(Ordering::SeqCst), 1);
    for other in [url.replace("en-us", "de"), url.replace("/previews/", "/files/").replace("en-us", "de")] {
        assert_eq!(get(&router, &other).await.error(), error(403, "forbidden"), "{other}");
    }
}

#[tokio::test]
async fn speech_is_paid_for_and_bounded() {
    let farm = Farm::with(patient());
    let prices: Prices = "speech=6".parse().unwrap();
    let (router, beeps) = speaking(&farm, ApiConfig { access: Access::keys([]), prices, ..ApiConfig::default() });
    let key = async |cap: f64, scope: Scope| {
        let mut record = KeyRecord::new("speaker", "team".parse().unwrap());
        (record.rights.cap_usd, record.rights.scopes) = (Some(cap), vec![scope]);
        KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
    };
    let (rich, poor, reader) =
        (key(100.0, Scope::Render).await, key(0.05, Scope::Render).await, key(1.0, Scope::Read).await);
    let speak = async |key: &str, once: &str| {
        let headers = [("x-api-key", key), ("content-type", "application/json"), ("idempotency-key", once)];
        let body = json!({ "text": "0123456789", "voice_id": "beeps_en-us" }).to_string();
        ask(&router, Method::POST, SPEECH, &headers, &body).await
    };
    let spent = async |key: &str| {
        let me = ask(&router, Method::GET, "/v3/users/me", &[("x-api-key", key)], "").await.json();
        me["data"]["usage_based"]["spending_current_usd"].as_f64().unwrap()
    };
    // A second costs 0.1 USD.
    let first = speak(&poor, "a").await;
    assert_eq!(first.status.as_u16(), 200);
    assert_eq!(speak(&poor, "a").await.json()["data"]["asset_id"], first.json()["data"]["asset_id"]);
    assert!((spent(&poor).await - 0.1).abs() < 1e-9);
    assert_eq!(speak(&poor, "b").await.error(), error(402, "insufficient_credit"));
    assert_eq!(speak(&reader, "c").await.error(), error(403, "forbidden"));
    let many = (0..8).map(|number| speak(&rich, ["d", "e", "f", "g", "h", "i", "j", "k"][number]));
    let answers = futures::future::join_all(many).await;
    assert!(answers.iter().all(|answer| answer.status.as_u16() == 200));
    assert_eq!(beeps.most.load(Ordering::SeqCst), 2, "two are made at once");
    assert!((spent(&rich).await - 0.8).abs() < 1e-9);
}

#[tokio::test]
async fn without_an_engine_the_settings_are_named() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let speech = json!({ "text": "a", "voice_id": "b" });
    for answer in [
        get(&router, VOICES).await,
        get(&router, "/v3/voices/x").await,
        post(&router, VOICES, &json!({ "prompt": "x" })).await,
        post(&router, SPEECH, &speech).await,
    ] {
        assert_eq!(answer.error(), error(409, "engine_not_configured"));
        let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
        for setting in ["HYPERFARM_ESPEAK", "HYPERFARM_SPEECH_URL", "HYPERFARM_PIPER_URL"] {
            assert!(message.contains(setting), "{message}");
        }
    }
}
