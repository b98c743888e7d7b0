//! What every engine does: one suite, run over espeak-ng, an OpenAI-compatible server, and a server with Piper's
//! interface.
#![allow(missing_docs, clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use hyperfarm_backplane::config;
use hyperfarm_speech::espeak::Espeak;
use hyperfarm_speech::wav::Sound;
use hyperfarm_speech::{Catalogue, Script, SpeechConfig, SpeechEngine, SpeechError, SpeechRequest};
use hyperfarm_testing::Requirement;
use parking_lot::Mutex;
use serde_json::{Value, json};

fn request(voice: &str, script: Script) -> SpeechRequest {
    SpeechRequest { script, voice: voice.to_owned(), speed: 1.0, pitch: 0, locale: None }
}

const TEXT: &str = "Hello from the farm, this is a test of words.";

/// Everything that an engine promises.
async fn conforms(engine: &dyn SpeechEngine) {
    let name = engine.name();
    let voices = engine.voices().await.unwrap();
    assert!(!voices.is_empty(), "{name} has no voice");
    assert_eq!(voices, engine.voices().await.unwrap(), "{name} lists its voices in another order");
    let ids: BTreeSet<&str> = voices.iter().map(|voice| voice.id.as_str()).collect();
    assert_eq!(ids.len(), voices.len(), "{name} has two voices of one id");
    for voice in &voices {
        let id = &voice.id;
        assert!(id.starts_with(&format!("{name}_")) && id.len() <= 64, "{id}");
        assert!(id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'), "{id}");
        assert!(!voice.name.is_empty() && !voice.language.is_empty() && !voice.locale.is_empty(), "{voice:?}");
        assert_eq!(voice.locale, voice.locale.to_lowercase());
        assert!(voice.tags.iter().all(|tag| *tag == tag.to_lowercase()), "{voice:?}");
    }
    let voice = voices.iter().find(|voice| voice.language == "English").unwrap();
    let spoken = engine.speak(&request(&voice.id, Script::text(TEXT))).await.unwrap();
    let usual = spoken.sound.duration().as_secs_f64();
    assert!((1.0..8.0).contains(&usual), "{name} speaks for {usual} s");
    let again = engine.speak(&request(&voice.id, Script::text(TEXT))).await.unwrap();
    assert_eq!(spoken.words, again.words);
    let fast = SpeechRequest { speed: 2.0, ..request(&voice.id, Script::text(TEXT)) };
    let fast = engine.speak(&fast).await.unwrap().sound.duration().as_secs_f64();
    let slow = SpeechRequest { speed: 0.5, ..request(&voice.id, Script::text(TEXT)) };
    let slow = engine.speak(&slow).await.unwrap().sound.duration().as_secs_f64();
    assert!(fast < 0.8 * usual && slow > 1.5 * usual, "{name}: {fast} s, {usual} s, {slow} s");
    if let Some(words) = &spoken.words {
        let written: Vec<&str> = words.iter().map(|word| word.word.as_str()).collect();
        assert_eq!(written, TEXT.split(' ').collect::<Vec<_>>());
        assert!(words.iter().all(|word| word.start <= word.end && word.end <= usual + 0.02), "{words:?}");
        assert!(words.windows(2).all(|pair| pair[0].end <= pair[1].start), "{words:?}");
    }
    let pause = Script::ssml("<speak>Hello <break time=\"2s\"/> world</speak>").unwrap();
    let plain = engine.speak(&request(&voice.id, Script::text("Hello world"))).await.unwrap();
    match engine.speak(&request(&voice.id, pause)).await {
        Ok(paused) => {
            assert!(voice.takes_ssml, "{name}");
            let longer = (paused.sound.duration() - plain.sound.duration()).as_secs_f64();
            assert!((1.7..2.5).contains(&longer), "{name} pauses for {longer} s");
        }
        Err(SpeechError::NoSsml) => assert!(!voice.takes_ssml, "{name}"),
        Err(error) => panic!("{name}: {error}"),
    }
    let missing = engine.speak(&request(&format!("{name}_nobody"), Script::text(TEXT))).await;
    assert!(missing.is_err(), "{name} speaks by a voice that it does not have");
}

fn configured(variables: &[(&str, String)]) -> Catalogue {
    let lookup = |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
    Catalogue::new(&config::read(&lookup, SpeechConfig::read).unwrap()).unwrap()
}

/// This machine's espeak-ng.
fn espeak() -> Option<Espeak> {
    let path = std::env::var("PATH").unwrap_or_default();
    let found: Option<PathBuf> =
        std::env::split_paths(&path).map(|folder| folder.join("espeak-ng")).find(|file| file.is_file());
    if found.is_none() {
        Requirement::Servers.skip("espeak-ng is not installed");
    }
    found.map(Espeak::new)
}

#[tokio::test]
async fn espeak_conforms() {
    let Some(espeak) = espeak() else { return };
    conforms(&espeak).await;
    assert!(espeak.version().await.unwrap().contains("eSpeak NG"));
}

/// The times of words are those that espeak-ng's library tells, which `espeak-words.py` has written down.
#[tokio::test]
async fn words_are_within_80_ms_of_espeaks_own() {
    let Some(espeak) = espeak() else { return };
    let sentences: Vec<Value> = serde_json::from_str(include_str!("espeak-words.json")).unwrap();
    assert_eq!(sentences.len(), 10);
    let mut worst = (0.0, String::new());
    for sentence in &sentences {
        let text = sentence["text"].as_str().unwrap();
        let voice = format!("espeak_{}", sentence["voice"].as_str().unwrap());
        let words = espeak.speak(&request(&voice, Script::text(text))).await.unwrap().words;
        let words = words.unwrap_or_else(|| panic!("no times of {text}"));
        let expected = sentence["words"].as_array().unwrap();
        assert_eq!(words.len(), expected.len());
        for (word, expected) in words.iter().zip(expected) {
            assert_eq!(word.word, expected[0].as_str().unwrap());
            let Some(start) = expected[1].as_f64() else { continue };
            let far = (word.start - start).abs();
            println!("{far:.3} {word:?} {start}");
            if far > worst.0 {
                worst = (far, format!("{text}: {word:?}, and espeak says {start}"));
            }
        }
    }
    assert!(worst.0 <= 0.08, "{worst:?}");
}

#[tokio::test]
async fn espeak_tells_the_phonemes_of_words() {
    let Some(espeak) = espeak() else { return };
    let words: Vec<String> = ["Please", "pick", "1,000", "moons."].map(str::to_owned).to_vec();
    let found = espeak.phonemes("en-US", &words).await.unwrap().unwrap();
    assert_eq!(found.len(), 4);
    for (phonemes, expected) in found.iter().zip(["pl", "pˈɪk", "θˈaʊz", "mˈuːn"]) {
        assert!(phonemes.contains(expected), "{found:?}");
    }
    assert_eq!(espeak.phonemes("tlh", &words).await.unwrap(), None);
    // Two clauses are two lines, of which nobody knows which word they are of.
    let clauses = ["one. Two.".to_owned()];
    assert_eq!(espeak.phonemes("en", &clauses).await.unwrap(), None);
}

#[tokio::test]
async fn espeak_speaks_higher_and_lower() {
    let Some(espeak) = espeak() else { return };
    let at = |pitch: i32| SpeechRequest { pitch, ..request("espeak_en-us", Script::text(TEXT)) };
    let (low, high) = (espeak.speak(&at(-50)).await.unwrap().sound, espeak.speak(&at(50)).await.unwrap().sound);
    // What is left below the harmonics crosses zero twice in a period of the voice.
    let smooth = |samples: &[f64]| -> Vec<f64> { samples.windows(100).map(|part| part.iter().sum()).collect() };
    let crossings = |sound: &Sound| {
        let samples: Vec<f64> = sound.samples.iter().map(|sample| f64::from(*sample)).collect();
        smooth(&smooth(&samples)).windows(2).filter(|pair| (pair[0] < 0.0) != (pair[1] < 0.0)).count()
    };
    let (low, high) = (crossings(&low), crossings(&high));
    assert!(high > 2 * low, "{low} and {high}");
}

#[tokio::test]
async fn espeak_speaks_ssml_other_languages_and_bounds() {
    let Some(espeak) = espeak() else { return };
    let voice = "espeak_en-us_f2";
    let ssml =
        "<speak>Tom &amp; <sub alias=\"World Wide Web\">WWW</sub>, <prosody rate=\"slow\">go home</prosody></speak>";
    let words = espeak.speak(&request(voice, Script::ssml(ssml).unwrap())).await.unwrap().words.unwrap();
    assert_eq!(words.iter().map(|word| word.word.as_str()).collect::<Vec<_>>(), ["Tom", "WWW", "go", "home"]);
    let with = |locale: &str| SpeechRequest {
        locale: Some(locale.to_owned()),
        ..request(voice, Script::text("Guten Tag, wie geht es?"))
    };
    let (german, english) = (espeak.speak(&with("de-DE")).await.unwrap(), espeak.speak(&with("en")).await.unwrap());
    assert_ne!(german.sound, english.sound);
    assert!(matches!(espeak.speak(&with("xx")).await, Err(SpeechError::NoLocale(locale)) if locale == "xx"));
    // A pause of a day is longer than a speech may be.
    let endless = Script::ssml("a <break time=\"86400s\"/><break time=\"86400s\"/> b").unwrap();
    if let Ok(speech) = espeak.speak(&request(voice, endless)).await {
        assert!(speech.sound.duration().as_secs() <= 900);
    }
    // Shells, options and commands in a text are words.
    let odd = "--help; $(touch /tmp/x) `id` \u{1}0A [[h@lo]]";
    assert!(espeak.speak(&request(voice, Script::text(odd))).await.unwrap().sound.duration().as_secs_f64() > 1.0);
    let long = Script::text(&"The quick brown fox jumps over the lazy dog. ".repeat(112)[..5000]);
    let begun = std::time::Instant::now();
    let speech = espeak.speak(&request(voice, long)).await.unwrap();
    assert_eq!(speech.words.unwrap().len(), 1001);
    println!("5000 characters, {:?} of sound, took {:?}", speech.sound.duration(), begun.elapsed());
}

/// What a server was sent.
type Seen = Arc<Mutex<Vec<(HeaderMap, Value)>>>;

async fn serve(router: Router) -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

/// A tone as long as a text would take to read.
fn tone(text: &str, speed: f64) -> Response {
    let count = (text.chars().count() as f64 * 0.06 / speed * 16_000.0) as usize;
    let samples = (0..count).map(|sample| (sample % 64) as i16 * 100).collect();
    let sound = Sound { rate: 16_000, channels: 1, samples };
    ([(header::CONTENT_TYPE, "audio/wav")], sound.wav()).into_response()
}

async fn openai_speech(State(seen): State<Seen>, headers: HeaderMap, Json(body): Json<Value>) -> Response {
    seen.lock().push((headers, body.clone()));
    if body["input"] == "refuse" {
        let error = json!({ "error": { "message": "this input is not spoken", "type": "invalid_request_error" } });
        return (StatusCode::BAD_REQUEST, Json(error)).into_response();
    }
    tone(body["input"].as_str().unwrap(), body["speed"].as_f64().unwrap())
}

#[tokio::test]
async fn an_openai_compatible_service_conforms() {
    let seen = Seen::default();
    let router = Router::new().route("/base/v1/audio/speech", post(openai_speech)).with_state(seen.clone());
    let url = serve(router).await;
    for suffix in ["/base", "/base/v1/"] {
        let config = [
            ("HYPERFARM_SPEECH_URL", format!("{url}{suffix}")),
            ("HYPERFARM_SPEECH_KEY", "sk-test".to_owned()),
            ("HYPERFARM_SPEECH_MODEL", "kokoro".to_owned()),
            ("HYPERFARM_SPEECH_VOICES", "af_bella:female:en,claire:female:fr".to_owned()),
        ];
        let variables =
            move |name: &str| config.iter().find(|(known, _)| *known == name).map(|(_, value)| value.clone());
        let config = config::read(&variables, SpeechConfig::read).unwrap();
        let engine = hyperfarm_speech::openai::OpenAi::new(config.openai.unwrap()).unwrap();
        conforms(&engine).await;
        let refused = engine.speak(&request("openai_claire", Script::text("refuse"))).await.unwrap_err();
        assert!(refused.to_string().ends_with("400 Bad Request: this input is not spoken"), "{refused}");
    }
    let (headers, body) = seen.lock()[0].clone();
    assert_eq!(headers["authorization"], "Bearer sk-test");
    let expected = json!({
        "model": "kokoro", "input": TEXT, "voice": "af_bella", "speed": 1.0, "response_format": "wav",
    });
    assert_eq!(body, expected);
}

async fn piper_speech(Json(body): Json<Value>) -> Response {
    if body["voice"] != "en_US-joe-medium" {
        return (StatusCode::INTERNAL_SERVER_ERROR, "no such voice").into_response();
    }
    tone(body["text"].as_str().unwrap(), 1.0 / body["length_scale"].as_f64().unwrap())
}

async fn piper_voices() -> Json<Value> {
    let language = json!({ "code": "en_US", "name_english": "English" });
    Json(json!({ "en_US-joe-medium": { "audio": { "sample_rate": 22050 }, "language": language }, "../etc": {} }))
}

#[tokio::test]
async fn a_server_with_pipers_interface_conforms() {
    let url = serve(Router::new().route("/", post(piper_speech)).route("/voices", get(piper_voices))).await;
    conforms(&hyperfarm_speech::piper::Piper::new(url.parse().unwrap()).unwrap()).await;
    let catalogue = configured(&[("HYPERFARM_PIPER_URL", url)]);
    let voices = catalogue.voices().await.unwrap();
    assert_eq!(voices.iter().map(|listed| listed.voice.id.as_str()).collect::<Vec<_>>(), ["piper_en_US-joe-medium"]);
}

#[tokio::test]
async fn a_server_that_is_away_or_answers_nonsense_is_an_error_with_its_name() {
    let text = async || "no sound";
    let url = serve(Router::new().route("/", post(text)).route("/voices", get(text))).await;
    let piper = hyperfarm_speech::piper::Piper::new(url.parse().unwrap()).unwrap();
    let error = piper.speak(&request("piper_x", Script::text("a"))).await.unwrap_err();
    assert_eq!(error.to_string(), "the speech engine piper failed: the answer is no WAV file of 16-bit PCM");
    assert!(piper.voices().await.is_err());
    let away = hyperfarm_speech::piper::Piper::new("http://127.0.0.1:1".parse().unwrap()).unwrap();
    let error = away.voices().await.unwrap_err().to_string();
    assert!(error.contains("its server does not answer") && !error.contains("127.0.0.1"), "{error}");
}
