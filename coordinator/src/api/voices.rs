//! Voices, and text to speech.
//!
//! A speech is made in this process and not as a task of the queue: it takes a fraction of a second for a minute of
//! sound, its client waits for the answer, and an engine is beside the coordinator. It is bounded instead: a few at
//! once, each in time and length.

use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use bytes::Bytes;
use hyperfarm_api::request;
use hyperfarm_api::voices::{
    DesignRequest, Gender, InputType, SPEEDS, SpeechCreated, SpeechRequest, Voice, VoiceKind, VoicesDesigned,
    VoicesQuery, WordTimestamp,
};
use hyperfarm_api::{Data, Page};
use hyperfarm_speech::catalogue::{Filter, Listed};
use hyperfarm_speech::{Catalogue, Script, Speech, SpeechError};
use tokio::sync::{Semaphore, SemaphorePermit};
use tracing::warn;
use url::Url;

use super::base_url::base_url;
use super::error::{ApiError, Code};
use super::page::{self, PageRange, Query};
use super::{Answer, Api, List, assets};
use crate::api_keys::Caller;
use crate::assets as stored_assets;
use crate::presenter::SpokenWord;
use crate::submission::Seed;

/// Items on a page, where the client does not say.
const PAGE: usize = 20;

/// Speeches that are made at once.
const AT_ONCE: usize = 2;

/// How long a speech waits for its turn.
const WAIT: Duration = Duration::from_secs(30);

/// The hosted service's name for the engine of `POST /v3/voices/speech`. Every voice here speaks there.
const HOSTED_ENGINE: &str = "starfish";

/// The turns of speeches.
pub(crate) struct SpeechPermits(Semaphore);

impl Default for SpeechPermits {
    fn default() -> Self {
        Self(Semaphore::new(AT_ONCE))
    }
}

impl SpeechPermits {
    async fn turn(&self) -> Result<SemaphorePermit<'_>, ApiError> {
        let busy = || {
            let message = format!("the farm makes {AT_ONCE} speeches at once, and others wait already; try again");
            ApiError::new(Code::RateLimited, message).retry_after(WAIT.as_secs())
        };
        let permit = tokio::time::timeout(WAIT, self.0.acquire()).await.map_err(|_| busy())?;
        permit.map_err(|error| ApiError::internal(&error))
    }
}

/// `GET /v3/voices?type&engine&language&gender&limit&token`.
pub(super) async fn list(State(api): State<Api>, Query(query): Query<VoicesQuery>, headers: HeaderMap) -> List<Voice> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    let catalogue = catalogue(&api)?;
    if query.kind == Some(VoiceKind::Private) {
        return Ok(Json(Page::new(Vec::new(), None)));
    }
    let filter = Filter {
        engine: query.engine.as_deref().filter(|engine| *engine != HOSTED_ENGINE),
        language: query.language.as_deref(),
        gender: query.gender.map(gender),
    };
    let voices = catalogue.voices().await.map_err(refusal)?;
    let first = match &page.after {
        None => 0,
        Some(after) => {
            let last = voices.iter().position(|listed| listed.voice.id == *after);
            last.ok_or_else(|| ApiError::invalid("token", "token must be the next_token of an earlier page"))? + 1
        }
    };
    let base = base_url(&api.config, &headers);
    let wanted: Vec<&Listed> =
        voices[first..].iter().filter(|listed| filter.takes(listed)).take(page.limit + 1).collect();
    let mut data: Vec<Voice> = Vec::new();
    for listed in wanted.iter().take(page.limit) {
        data.push(view(&api, base.as_ref(), listed).await?);
    }
    let next = data.last().filter(|_| wanted.len() > page.limit).map(|last| page::token(&last.voice_id));
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/voices/{id}`.
pub(super) async fn read(State(api): State<Api>, Path(id): Path<String>, headers: HeaderMap) -> Answer<Voice> {
    let listed = catalogue(&api)?.find(&id).await.map_err(refusal)?;
    Ok(Json(Data { data: view(&api, base_url(&api.config, &headers).as_ref(), &listed).await? }))
}

/// `POST /v3/voices`.
pub(super) async fn design(State(api): State<Api>, headers: HeaderMap, body: Body) -> Answer<VoicesDesigned> {
    let asked: DesignRequest = request::parse(request::object(&super::read_body(body).await?)?)?;
    if asked.prompt.trim().is_empty() {
        return Err(ApiError::invalid("prompt", "prompt must be a text of 1 to 1000 characters"));
    }
    let seed = asked.seed.map_or(0, |seed| seed.get());
    let filter = Filter { engine: None, language: asked.locale.as_deref(), gender: asked.gender.map(gender) };
    let matches = catalogue(&api)?.matches(&asked.prompt, filter, seed).await.map_err(refusal)?;
    let base = base_url(&api.config, &headers);
    let mut voices = Vec::new();
    for listed in &matches {
        voices.push(view(&api, base.as_ref(), listed).await?);
    }
    Ok(Json(Data { data: VoicesDesigned { voices, seed } }))
}

/// `POST /v3/voices/speech`.
pub(super) async fn speak(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let asked: SpeechRequest = request::parse(request::object(&body)?)?;
    let has_locale = asked.locale.is_some();
    let speech = to_speak(asked)?;
    catalogue(&api)?;
    let base = base_url(&api.config, &headers).ok_or_else(assets::no_base)?;
    let idempotency = api.idempotency.clone();
    let caller_ = caller.clone();
    let make = move |seed: Seed| async move {
        api.admission.check_spending(&caller_).await?;
        let Speech { sound, words } = made(&api, &speech).await.map_err(|error| match error.param.as_deref() {
            Some("locale") if !has_locale => error.of("language"),
            _ => error,
        })?;
        let (id, duration) = (seed.render(), sound.duration().as_secs_f64());
        let name = format!("{}.wav", speech.voice);
        let record = assets::store(&api, &caller_, seed, &name, sound.wav().into()).await?;
        if let Some(words) = &words {
            let spoken: Vec<SpokenWord> = words.iter().map(SpokenWord::of).collect();
            stored_assets::put_words(&api.coordinator.backplane().objects, &record, &spoken).await?;
        }
        let space = &caller_.rights.space;
        api.usages.record_speech(&caller_.id, space, id.clone(), seed.at_ms(), duration).await?;
        let url = assets::url_of(&api, Some(&base), &record).await?;
        let word =
            |word: hyperfarm_speech::WordTime| WordTimestamp { word: word.word, start: word.start, end: word.end };
        let created = SpeechCreated {
            audio_url: url.unwrap_or_default(),
            duration,
            request_id: Some(id.to_string()),
            word_timestamps: words.map(|words| words.into_iter().map(word).collect()),
            asset_id: record.id,
        };
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&caller, "POST /v3/voices/speech", &headers, &body, make).await)
}

/// `GET /previews/voices/{id}.wav?signature`: made when it is first asked for, and stored.
pub(super) async fn preview(
    State(api): State<Api>,
    Path(key): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    super::files::check(&api, "GET", &key, query.as_deref().unwrap_or_default()).await?;
    let voice = key.strip_prefix("voices/").and_then(|file| file.strip_suffix(".wav")).unwrap_or_default();
    let base = base_url(&api.config, &headers).ok_or_else(assets::no_base)?;
    let objects = &api.coordinator.backplane().objects;
    match objects.head(&key).await {
        Ok(_) => {}
        Err(error) if error.is_not_found() => {
            let listed = catalogue(&api)?.find(voice).await.map_err(refusal)?;
            let speech = hyperfarm_speech::SpeechRequest {
                script: Script::text(sample(&listed.voice.locale)),
                voice: listed.voice.id,
                speed: 1.0,
                pitch: 0,
                locale: None,
            };
            objects.put(&key, Bytes::from(made(&api, &speech).await?.sound.wav())).await?;
        }
        Err(error) => return Err(error.into()),
    }
    let url = api.signed_urls.sign(&key, &base).await.map_err(|error| ApiError::internal(&error))?;
    Ok(Redirect::temporary(url.as_str()).into_response())
}

/// What a voice of this language says of itself: a sentence, or numbers, which every engine reads in its language.
fn sample(locale: &str) -> &'static str {
    match locale.split('-').next().unwrap_or_default() {
        "de" => "Guten Tag. So klingt diese Stimme.",
        "en" => "Hello. This is how this voice sounds.",
        "es" => "Hola. Así suena esta voz.",
        "fr" => "Bonjour. Voici comment sonne cette voix.",
        "it" => "Ciao. Questa voce suona così.",
        "nl" => "Hallo. Zo klinkt deze stem.",
        "pt" => "Olá. É assim que esta voz soa.",
        _ => "1, 2, 3, 4, 5.",
    }
}

/// Speaks when it is its turn.
pub(super) async fn made(api: &Api, speech: &hyperfarm_speech::SpeechRequest) -> Result<Speech, ApiError> {
    let catalogue = catalogue(api)?;
    let _turn = api.speeches.turn().await?;
    catalogue.speak(speech).await.map_err(refusal)
}

/// Speaks when it is its turn, however long that takes.
pub(super) async fn spoken(api: &Api, speech: &hyperfarm_speech::SpeechRequest) -> Result<Speech, SpeechError> {
    // Nobody closes the semaphore.
    let _turn = api.speeches.0.acquire().await;
    api.config.speech.speak(speech).await
}

/// The catalogue, if there is an engine.
pub(super) fn catalogue(api: &Api) -> Result<&Catalogue, ApiError> {
    if api.config.speech.is_empty() {
        let message = "this farm has no speech engine; its operator installs espeak-ng (HYPERFARM_ESPEAK), or names an \
                       OpenAI-compatible service by HYPERFARM_SPEECH_URL, or Piper's HTTP server by HYPERFARM_PIPER_URL";
        return Err(ApiError::new(Code::EngineNotConfigured, message));
    }
    Ok(&api.config.speech)
}

/// What a request asks the engine for.
fn to_speak(asked: SpeechRequest) -> Result<hyperfarm_speech::SpeechRequest, ApiError> {
    let speed = asked.speed.unwrap_or(1.0);
    if !SPEEDS.contains(&speed) {
        return Err(ApiError::invalid("speed", "speed must be a number from 0.5 to 2"));
    }
    let script = match asked.input_type.unwrap_or_default() {
        InputType::Text => Script::text(&asked.text),
        InputType::Ssml => Script::ssml(&asked.text).map_err(|error| ApiError::invalid("text", error.to_string()))?,
    };
    if script.is_silent() {
        return Err(ApiError::invalid("text", "text must have 1 to 5000 characters, and a word among them"));
    }
    let locale = asked.locale.or(asked.language).map(String::from);
    Ok(hyperfarm_speech::SpeechRequest { script, voice: asked.voice_id.into(), speed, pitch: 0, locale })
}

fn gender(gender: Gender) -> hyperfarm_speech::Gender {
    match gender {
        Gender::Male => hyperfarm_speech::Gender::Male,
        Gender::Female => hyperfarm_speech::Gender::Female,
    }
}

async fn view(api: &Api, base: Option<&Url>, listed: &Listed) -> Result<Voice, ApiError> {
    let voice = listed.voice.clone();
    let preview = match base {
        Some(base) => Some(api.signed_urls.sign_voice_preview(&voice.id, base).await),
        None => None,
    };
    let preview = preview.transpose().map_err(|error| ApiError::internal(&error))?;
    Ok(Voice {
        voice_id: voice.id,
        name: voice.name,
        language: voice.language,
        gender: match voice.gender {
            hyperfarm_speech::Gender::Male => Gender::Male,
            hyperfarm_speech::Gender::Female => Gender::Female,
        },
        preview_audio_url: preview.map(String::from),
        support_pause: voice.takes_ssml,
        support_locale: voice.takes_locale,
        kind: VoiceKind::Public,
        engine: listed.engine.to_owned(),
        locale: voice.locale,
    })
}

/// What a client is told of a failed speech.
pub(super) fn refusal(error: SpeechError) -> ApiError {
    let message = error.to_string();
    match error {
        SpeechError::NoVoice(_) => ApiError::new(Code::VoiceNotFound, message),
        SpeechError::NoLocale(_) => ApiError::invalid("locale", message),
        SpeechError::NoSsml => ApiError::invalid("input_type", message),
        SpeechError::NoPitch => ApiError::invalid("pitch", message),
        SpeechError::TooLong | SpeechError::Silent => ApiError::invalid("text", message),
        SpeechError::Engine { engine, .. } => {
            warn!(engine, %error, "a speech engine failed");
            ApiError::new(Code::EngineFailed, message)
        }
    }
}
