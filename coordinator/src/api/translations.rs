//! Videos in other languages, and sessions in which a translation is read before it is spoken.
//!
//! What is asked for is stored, and then heard, translated and spoken by this process: it waits for engines, so it is no task of
//! the queue. A few run at once. A run whose process ends is taken over by the leading coordinator, behind the last step that was
//! stored.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::avatars::FileInput;
use hyperfarm_api::lipsyncs::{LipsyncMode, LipsyncStatus};
use hyperfarm_api::request::{self, ListQuery};
use hyperfarm_api::translations::{
    CaptionFormat, CaptionQuery, GenerateRequest, Proofread, ProofreadGenerated, ProofreadRequest, ProofreadSrt,
    ProofreadSrtRequest, ProofreadStatus, ProofreadsCreated, SrtRole, Translation, TranslationCaption,
    TranslationChange, TranslationDeleted, TranslationLanguages, TranslationRequest, TranslationsCreated,
};
use hyperfarm_api::webhooks::{ProofreadEventData, TranslationEventData};
use hyperfarm_api::{Data, Page};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_media::{MixInput, MixPart, mix};
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, RenderId, Space};
use hyperfarm_proto::plan::{AudioItem, MediaTiming};
use hyperfarm_proto::record::{Outcome, Sidecar};
use hyperfarm_proto::spec::{AudioCodec, RenderSpec};
use hyperfarm_speech::{Script, Speech, SpeechRequest};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use url::Url;

use super::avatars::submit;
use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::lipsyncs::{self, Clip, check_times, clip_of, engine_for, loudness, part, sound_of};
use super::media::{self, Wanted};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List, renders, voices};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::coordinator::RenderError;
use crate::intake::{Purpose, Seed};
use crate::lipsync::composition::{Dub, Piece};
use crate::lipsync::times::Times;
use crate::presenter::{MediaFile, SpokenWord};
use crate::status::Status;
use crate::translation::dubbing::{self, Dubbing};
use crate::translation::languages::{self, Target};
use crate::translation::records::{self, ClipRecord, Options, Stage, Step, TranslationRecord};
use crate::translation::subtitles::{self, Subtitle};
use crate::translation::{FAIL, ModelTranslator, PROOFREAD_FAIL, PROOFREAD_SUCCESS, RecognitionJob, Translator};
use crate::webhooks::Event;

/// Items on a page, where the client does not say.
const PAGE: usize = 10;

/// Runs at once: each has a video and a sound in memory.
const AT_ONCE: usize = 2;

/// Runs that wait for a turn, in this process.
const WAITING: usize = 200;

/// Languages of a request at most.
const LANGUAGES: usize = 20;

/// Seconds of a video at most.
const LONGEST: f64 = 3600.0;

/// Bytes of a SubRip file at most.
const SRT_BYTES: usize = 2 * 1024 * 1024;

/// Seconds of a sound that the speech recognition gets at once: services take files of some megabytes.
const HEARD_AT_ONCE: f64 = 600.0;

/// How long a run's lease is good, and when it is renewed.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(20);

/// Time between two looks for runs whose process has ended.
const TAKE_OVER: Duration = Duration::from_secs(30);

/// How often a run begins: one that ends its process each time is not begun for ever.
const ATTEMPTS: u32 = 3;

/// Pauses before an engine that failed is asked again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The failure codes of translations that came to no render.
const ENGINE_FAILED: &str = "engine_failed";
const NO_SPEECH: &str = "no_speech";
const REFUSED: &str = "refused";

/// The turns of runs.
pub(crate) struct TranslationPermits {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for TranslationPermits {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

/// Why a run came to nothing.
#[derive(Debug)]
enum RunError {
    /// For this reason, which the client is told of with its code.
    Failed(&'static str, String),
    /// Storage did not answer: another run goes on.
    Storage(ObjectsError),
}

impl From<ObjectsError> for RunError {
    fn from(error: ObjectsError) -> Self {
        Self::Storage(error)
    }
}

impl RunError {
    fn engine(error: impl ToString) -> Self {
        Self::Failed(ENGINE_FAILED, error.to_string())
    }

    fn refused(error: ApiError) -> Self {
        Self::Failed(REFUSED, error.message)
    }
}

/// What a client gives beside the video.
#[derive(Default)]
struct Given {
    heard: Option<Vec<Subtitle>>,
    translated: Option<Vec<Subtitle>>,
    audio: Option<(MediaFile, f64)>,
}

/// `GET /v3/video-translations/languages`.
pub(super) async fn languages(State(api): State<Api>) -> Answer<TranslationLanguages> {
    let voices = voices::catalogue(&api)?.voices().await.map_err(voices::refusal)?;
    Ok(Json(Data { data: TranslationLanguages { languages: languages::listed(&voices) } }))
}

/// `POST /v3/video-translations`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = renders::read_project_body(&api, &headers, body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: TranslationRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        check_times(asked.start_time, asked.end_time)?;
        asked.callback_url.as_deref().map(|url| receiver_url("callback_url", url, &api.config)).transpose()?;
        let is_audio_only = asked.translate_audio_only.unwrap_or_default();
        let mode = asked.mode.unwrap_or_default();
        engine_for(&api, asked.mode.filter(|_| !is_audio_only))?;
        let targets = match asked.audio {
            Some(_) if asked.output_languages.len() != 1 => {
                let message = "output_languages must have one language where audio is given";
                return Err(ApiError::invalid("output_languages", message));
            }
            Some(_) => vec![spoken_by_client(&asked.output_languages[0])],
            None => targets(&api, &asked.output_languages, asked.brand_voice_id.as_deref()).await?,
        };
        let is_output = asked.srt_role.unwrap_or_default() == SrtRole::Output;
        if asked.audio.is_none() {
            check_engines(&api, asked.srt.is_none(), asked.srt.is_none() || !is_output)?;
        } else if asked.enable_caption.unwrap_or_default() && !(asked.srt.is_some() && is_output) {
            let message = "enable_caption needs to know the words of audio: give them as srt, with srt_role `output`, or leave \
                           enable_caption out";
            return Err(ApiError::invalid("enable_caption", message));
        }
        let turns = turns(&api, targets.len())?;
        api.admission.check_spending(&caller).await?;
        let clip = clip_of(&api, &caller, &asked.video, asked.fps_mode).await?;
        let options = Options {
            mode: if is_audio_only { LipsyncMode::Speed } else { mode },
            is_audio_only,
            is_dynamic: asked.enable_dynamic_duration.unwrap_or(true) && !is_audio_only,
            keeps_sound: !asked.disable_music_track.unwrap_or_default(),
            is_enhanced: asked.enable_speech_enhancement.unwrap_or_default(),
            has_captions: asked.enable_caption.unwrap_or_default(),
            has_watermark: asked.enable_watermark.unwrap_or_default(),
            keeps_bit_rate: asked.keep_the_same_format.unwrap_or_default(),
            part: part((asked.start_time, asked.end_time), clip.seconds)?,
        };
        let mut given = Given::default();
        if let Some(file) = &asked.srt {
            let words = Some(srt(&api, &caller, file).await?);
            if is_output { given.translated = words } else { given.heard = words }
        }
        if let Some(file) = &asked.audio {
            let file = media::file(&api, &caller, file, "audio", Wanted::Sound).await?;
            given.audio = Some(sound_of(&api, file).await?);
        }
        check_clip(&clip, given.audio.is_none() && asked.srt.is_none())?;
        let form = Form {
            origin,
            title: asked.title.map(String::from),
            callback_url: asked.callback_url.map(String::from),
            callback_id: asked.callback_id.map(String::from),
            input_language: asked.input_language.map(String::from),
            is_proofread: false,
            options,
        };
        let ids = begin_all(&api, &caller, form, (targets, turns), &clip, given, seed).await?;
        Ok((StatusCode::OK, TranslationsCreated { video_translation_ids: ids }))
    };
    Ok(idempotency.answer(&key, "POST /v3/video-translations", &headers, &body, make).await)
}

/// `POST /v3/video-translations/proofreads`.
pub(super) async fn create_proofreads(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = renders::read_project_body(&api, &headers, body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: ProofreadRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        if asked.title.trim().is_empty() {
            return Err(ApiError::invalid("title", "title must be a text of 1 to 500 characters"));
        }
        engine_for(&api, asked.mode)?;
        let targets = targets(&api, &asked.output_languages, asked.brand_voice_id.as_deref()).await?;
        check_engines(&api, asked.srt.is_none(), true)?;
        let turns = turns(&api, targets.len())?;
        api.admission.check_spending(&caller).await?;
        let clip = clip_of(&api, &caller, &asked.video, None).await?;
        check_clip(&clip, asked.srt.is_none())?;
        let mut given = Given::default();
        if let Some(file) = &asked.srt {
            given.heard = Some(srt(&api, &caller, file).await?);
        }
        let options = Options {
            mode: asked.mode.unwrap_or_default(),
            is_audio_only: false,
            is_dynamic: asked.enable_video_stretching.unwrap_or_default(),
            keeps_sound: !asked.disable_music_track.unwrap_or_default(),
            is_enhanced: asked.enable_speech_enhancement.unwrap_or_default(),
            has_captions: false,
            has_watermark: false,
            keeps_bit_rate: asked.keep_the_same_format.unwrap_or_default(),
            part: (0.0, clip.seconds),
        };
        let form = Form {
            origin,
            title: Some(asked.title.into()),
            callback_url: None,
            callback_id: None,
            input_language: None,
            is_proofread: true,
            options,
        };
        let ids = begin_all(&api, &caller, form, (targets, turns), &clip, given, seed).await?;
        Ok((StatusCode::OK, ProofreadsCreated { proofread_ids: ids, status: ProofreadStatus::Processing }))
    };
    Ok(idempotency.answer(&key, "POST /v3/video-translations/proofreads", &headers, &body, make).await)
}

/// `POST /v3/video-translations/proofreads/{proofread_id}/generate`.
pub(super) async fn generate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = super::read_body(body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let route = format!("POST /v3/video-translations/proofreads/{id}/generate");
    let make = move |seed: Seed| async move {
        let asked: GenerateRequest =
            if raw.is_empty() { GenerateRequest::default() } else { request::parse(request::object(&raw)?)? };
        asked.callback_url.as_deref().map(|url| receiver_url("callback_url", url, &api.config)).transpose()?;
        let (session, record) = proofread(&api, &caller, &id).await?;
        let translated = read_step(&api, &caller, &session, &record).await?;
        let is_audio_only = asked.translate_audio_only.unwrap_or_default();
        let mode = if is_audio_only { LipsyncMode::Speed } else { record.options.mode };
        engine_for(&api, Some(mode))?;
        voices::catalogue(&api)?;
        let mut turns = turns(&api, 1)?;
        api.admission.check_spending(&caller).await?;
        let (objects, space) = (api.coordinator.backplane().objects.clone(), caller.rights.space.clone());
        let made = TranslationRecord {
            seed,
            key: key_of(&caller),
            origin,
            callback_url: asked.callback_url.map(String::from),
            callback_id: asked.callback_id.map(String::from),
            is_proofread: false,
            options: Options {
                mode,
                is_audio_only,
                is_dynamic: record.options.is_dynamic && !is_audio_only,
                has_captions: asked.captions.unwrap_or_default(),
                ..record.options.clone()
            },
            attempts: 0,
            stage: Stage::Waiting,
            ..record.clone()
        };
        let new = seed.render();
        let file = |id: &RenderId| records::file_key(&space, id, "video", &record.clip.extension);
        objects.copy(&file(&session), &file(&new)).await?;
        records::put_step(&objects, &space, &new, Step::Translated, &translated).await?;
        records::create(&objects, &space, &made, lease_until()).await?;
        begin(&api, space, made, turns.pop());
        let created = ProofreadGenerated { video_translation_id: new.to_string(), status: ProofreadStatus::Processing };
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&key, &route, &headers, &body, make).await)
}

/// What a request says of all its languages.
struct Form {
    origin: Option<Url>,
    title: Option<String>,
    callback_url: Option<String>,
    callback_id: Option<String>,
    input_language: Option<String>,
    is_proofread: bool,
    options: Options,
}

/// Id of the caller's key.
fn key_of(caller: &Caller) -> Option<String> {
    (!caller.is_local).then(|| caller.id.clone())
}

fn lease_until() -> u64 {
    now_ms() + LEASE.as_millis() as u64
}

/// A language with its name as asked.
type AskedTarget = (String, Target);

/// Stores a translation for each language, and begins them.
async fn begin_all(
    api: &Api,
    caller: &Caller,
    form: Form,
    (targets, turns): (Vec<AskedTarget>, Vec<OwnedSemaphorePermit>),
    clip: &Clip,
    given: Given,
    seed: Seed,
) -> Result<Vec<String>, ApiError> {
    let (objects, space) = (&api.coordinator.backplane().objects, &caller.rights.space);
    let mut ids = Vec::new();
    for (((output_language, target), turn), index) in targets.into_iter().zip(turns).zip(0..) {
        let seed = seed.nth(index);
        let id = seed.render();
        let record = TranslationRecord {
            seed,
            key: key_of(caller),
            origin: form.origin.clone(),
            title: form.title.clone(),
            callback_url: form.callback_url.clone(),
            callback_id: form.callback_id.clone(),
            is_proofread: form.is_proofread,
            input_language: form.input_language.clone(),
            output_language,
            target,
            options: form.options.clone(),
            clip: ClipRecord {
                extension: clip.file.extension.to_owned(),
                has_sound: clip.has_sound,
                size: clip.size,
                seconds: clip.seconds,
                frame_rate: clip.frame_rate,
            },
            audio: given.audio.as_ref().map(|(file, seconds)| (file.extension.to_owned(), *seconds)),
            attempts: 0,
            stage: Stage::Waiting,
        };
        objects.put(&records::file_key(space, &id, "video", clip.file.extension), clip.file.bytes.clone()).await?;
        if let Some((file, _)) = &given.audio {
            objects.put(&records::file_key(space, &id, "audio", file.extension), file.bytes.clone()).await?;
        }
        for (step, said) in [(Step::Heard, &given.heard), (Step::Translated, &given.translated)] {
            if let Some(said) = said {
                records::put_step(objects, space, &id, step, said).await?;
            }
        }
        records::create(objects, space, &record, lease_until()).await?;
        begin(api, space.clone(), record, Some(turn));
        ids.push(id.to_string());
    }
    Ok(ids)
}

/// The languages of a request, each with its voice.
async fn targets(api: &Api, asked: &[Text<100>], voice: Option<&str>) -> Result<Vec<AskedTarget>, ApiError> {
    if !(1..=LANGUAGES).contains(&asked.len()) {
        let message = format!("output_languages must have 1 to {LANGUAGES} languages");
        return Err(ApiError::invalid("output_languages", message));
    }
    let catalogue = voices::catalogue(api)?;
    let listed = catalogue.voices().await.map_err(voices::refusal)?;
    let voice = match voice {
        Some(id) => {
            let found = catalogue.find(id).await;
            Some(found.map_err(|error| voices::refusal(error).of("brand_voice_id"))?.voice)
        }
        None => None,
    };
    let target = |(index, language): (usize, &Text<100>)| {
        let found = languages::find(&listed, language, voice.as_ref()).ok_or_else(|| {
            let who = voice
                .as_ref()
                .map_or("no voice of this farm".to_owned(), |voice| format!("the voice {} does not", voice.id));
            let verb = if voice.is_some() { "speak" } else { "speaks" };
            let message = format!(
                "{who} {verb} `{}`; GET /v3/video-translations/languages lists the languages",
                language.escape_debug()
            );
            ApiError::invalid(format!("output_languages[{index}]"), message)
        });
        found.map(|target| (language.to_string(), target))
    };
    asked.iter().enumerate().map(target).collect()
}

/// The language of a sound that the client gives.
fn spoken_by_client(asked: &Text<100>) -> AskedTarget {
    let name = asked.to_string();
    (name.clone(), Target { locale: name.clone(), name, voice: String::new() })
}

fn check_engines(api: &Api, needs_recognition: bool, needs_translator: bool) -> Result<(), ApiError> {
    let missing = |message: &str| ApiError::new(Code::EngineNotConfigured, message);
    if needs_recognition && api.config.recognition.is_none() {
        return Err(missing(
            "this farm has no speech recognition; its operator names an OpenAI-compatible service by \
             HYPERFARM_RECOGNITION_URL. Without one, give the words of the video as srt",
        )
        .of("video"));
    }
    if needs_translator && translator(api).is_none() {
        return Err(missing(
            "this farm has no translator; its operator names a LibreTranslate-compatible service by HYPERFARM_TRANSLATION_URL, \
             or a language model by HYPERFARM_LANGUAGE_MODEL_URL. Without one, give the translation as srt, with srt_role `output`",
        )
        .of("output_languages"));
    }
    Ok(())
}

fn translator(api: &Api) -> Option<Arc<dyn Translator>> {
    let model =
        || api.config.language_model.clone().map(|model| Arc::new(ModelTranslator(model)) as Arc<dyn Translator>);
    api.config.translator.clone().or_else(model)
}

fn check_clip(clip: &Clip, needs_sound: bool) -> Result<(), ApiError> {
    if clip.seconds > LONGEST {
        return Err(ApiError::invalid("video", format!("the video may last {LONGEST} s")));
    }
    if needs_sound && !clip.has_sound {
        let message = "the video has no sound, so nobody is heard in it; give its words as srt";
        return Err(ApiError::invalid("video", message));
    }
    Ok(())
}

/// A place among those that wait for each run.
fn turns(api: &Api, count: usize) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
    let turn = || api.translations.waiting.clone().try_acquire_owned();
    (0..count).map(|_| turn()).collect::<Result<_, _>>().map_err(|_| {
        let message = format!("{WAITING} translations wait at this coordinator already; try again");
        ApiError::new(Code::RateLimited, message).retry_after(30)
    })
}

/// The subtitles of a SubRip file of a request.
async fn srt(api: &Api, caller: &Caller, input: &FileInput) -> Result<Vec<Subtitle>, ApiError> {
    let file = media::file(api, caller, input, "srt", Wanted::Subtitles).await?;
    let refused = |message: String| ApiError::invalid("srt", message);
    if file.bytes.len() > SRT_BYTES {
        return Err(refused(format!("the file may have {SRT_BYTES} bytes")));
    }
    let text = std::str::from_utf8(&file.bytes).map_err(|_| refused("the file must be text in UTF-8".to_owned()))?;
    subtitles::parse(text).map_err(|error| refused(error.to_string()))
}

/// Begins a run in this process, once it is its turn.
fn begin(api: &Api, space: Space, record: TranslationRecord, turn: Option<OwnedSemaphorePermit>) {
    let api = api.clone();
    tokio::spawn(async move {
        let id = record.seed.render();
        let lease = tokio::spawn(keep_lease(api.clone(), space.clone(), id.clone()));
        let running = api.translations.running.clone().acquire_owned().await;
        drop(turn);
        let ended = Run { api: &api, space: &space, record }.go().await;
        drop(running);
        lease.abort();
        let objects = &api.coordinator.backplane().objects;
        match ended {
            Ok(()) => {}
            // The lease ends by itself, and another run goes on.
            Err(error) => return warn!(%id, %error, "a translation waits for storage"),
        }
        if let Err(error) = records::end_lease(objects, &space, &id).await {
            warn!(%id, %error, "the lease of a translation could not be ended");
        }
    });
}

/// Renews the lease of a run until it is aborted.
async fn keep_lease(api: Api, space: Space, id: RenderId) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        if let Err(error) = records::renew(&api.coordinator.backplane().objects, &space, &id, lease_until()).await {
            warn!(%id, %error, "the lease of a translation could not be renewed");
        }
    }
}

/// Takes over runs whose process has ended, while this coordinator leads.
pub(crate) async fn take_over(api: Api) {
    let drain = api.coordinator.drain().clone();
    loop {
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(TAKE_OVER) => {}
        }
        if !api.coordinator.is_leading() {
            continue;
        }
        if let Err(error) = take_over_now(&api).await {
            warn!(%error, "translations that nobody is at could not be found");
        }
    }
}

async fn take_over_now(api: &Api) -> Result<(), ObjectsError> {
    let objects = &api.coordinator.backplane().objects;
    for (space, id) in records::abandoned(objects, now_ms()).await? {
        let Ok(turns) = turns(api, 1) else { return Ok(()) };
        match records::get(objects, &space, &id).await? {
            Some(record) if matches!(record.stage, Stage::Waiting | Stage::Running) => {
                info!(%id, "a translation that nobody is at is taken over");
                records::renew(objects, &space, &id, lease_until()).await?;
                begin(api, space, record, turns.into_iter().next());
            }
            _ => records::end_lease(objects, &space, &id).await?,
        }
    }
    Ok(())
}

/// A run: from a stored request to a render, or to a translation that can be read.
struct Run<'a> {
    api: &'a Api,
    space: &'a Space,
    record: TranslationRecord,
}

impl Run<'_> {
    /// Goes as far as it can, and stores and tells how it ended.
    async fn go(mut self) -> Result<(), ObjectsError> {
        let id = self.record.seed.render();
        let objects = self.api.coordinator.backplane().objects.clone();
        // It was deleted in the meantime.
        if records::get(&objects, self.space, &id).await?.is_none() {
            return Ok(());
        }
        self.record.attempts += 1;
        self.record.stage = Stage::Running;
        records::put(&objects, self.space, &self.record).await?;
        let ended = if self.record.attempts > ATTEMPTS {
            let message =
                "the farm's process ended each time that it was at work on this; ask its operator to look at the log";
            Err(RunError::Failed(ENGINE_FAILED, message.to_owned()))
        } else {
            self.work(&id).await
        };
        let (event_type, failure) = match ended {
            Ok(None) => return Ok(()),
            Ok(Some(event_type)) => (event_type, None),
            Err(RunError::Storage(error)) => return Err(error),
            Err(RunError::Failed(code, reason)) => {
                info!(%id, reason, "a translation failed before its render");
                (if self.record.is_proofread { PROOFREAD_FAIL } else { FAIL }, Some((code, reason)))
            }
        };
        if records::get(&objects, self.space, &id).await?.is_none() {
            return Ok(());
        }
        self.tell(&id, event_type, failure.clone()).await?;
        self.record.stage = failure.map_or(Stage::Ready, |(_, reason)| Stage::Failed(reason));
        if matches!(self.record.stage, Stage::Failed(_)) {
            records::remove_files(&objects, self.space, &self.record).await?;
        }
        records::put(&objects, self.space, &self.record).await
    }

    /// The steps. Answers the event that there is to tell of; a render tells of its own end.
    async fn work(&mut self, id: &RenderId) -> Result<Option<&'static str>, RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        let caller = self.caller().await?;
        let extension = Wanted::Video.extension(&self.record.clip.extension).unwrap_or(".mp4");
        let bytes = objects.get(&records::file_key(self.space, id, "video", extension)).await?;
        let clip = MediaFile { extension, bytes };
        if self.record.audio.is_none() {
            let said = match records::step(&objects, self.space, id, Step::Translated).await? {
                Some(said) => said,
                None => self.translated(id, &clip).await?,
            };
            if self.record.is_proofread {
                let length = self.record.clip.seconds;
                let (key, at_ms) = (&caller.id, self.record.seed.at_ms());
                self.api.usages.record_proofread(key, self.space, id.clone(), at_ms, length).await?;
                return Ok(Some(PROOFREAD_SUCCESS));
            }
            let dub = self.dubbed(id, clip, said).await?;
            self.submit(id, &caller, dub).await?;
        } else {
            let dub = self.with_given_sound(id, clip).await?;
            self.submit(id, &caller, dub).await?;
        }
        Ok(None)
    }

    /// Who asked for it.
    async fn caller(&self) -> Result<Caller, RunError> {
        let Some(key) = &self.record.key else {
            let mut caller = Caller { is_local: true, ..Caller::everything("local".to_owned(), "local") };
            caller.rights.space = self.space.clone();
            return Ok(caller);
        };
        let keys = self.api.keys.list().await?;
        let found = keys.iter().find(|known| known.id == *key && known.revoked_at_ms.is_none());
        let revoked = || RunError::Failed(REFUSED, "the API key of the request was revoked".to_owned());
        found.map(Caller::from).ok_or_else(revoked)
    }

    /// What is said in the video, in the other language.
    async fn translated(&mut self, id: &RenderId, clip: &MediaFile) -> Result<Vec<Subtitle>, RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        let heard = match records::step(&objects, self.space, id, Step::Heard).await? {
            Some(heard) => heard,
            None => {
                let heard = self.heard(clip).await?;
                records::put_step(&objects, self.space, id, Step::Heard, &heard).await?;
                records::put(&objects, self.space, &self.record).await?;
                heard
            }
        };
        let Target { name, locale, .. } = &self.record.target;
        let from = self.record.input_language.as_deref().map(tag_of);
        let texts: Vec<String> = heard.iter().map(|said| said.text.clone()).collect();
        let is_same = from.as_deref().is_some_and(|from| from == locale || from == name.to_lowercase());
        let translated = if is_same {
            texts
        } else {
            let translator =
                translator(self.api).ok_or_else(|| RunError::engine("the farm has no translator any more"))?;
            tried(|| translator.translate(&texts, from.as_deref(), (name, locale))).await?
        };
        let say = |(said, text): (Subtitle, String)| Subtitle { text: subtitles::plain(&text), ..said };
        let said: Vec<Subtitle> = heard.into_iter().zip(translated).map(say).collect();
        if let Some(long) = said.iter().find(|said| said.text.chars().count() > subtitles::CHARACTERS) {
            let message = format!("the translation at {:.3} s is longer than any speech", long.start);
            return Err(RunError::engine(message));
        }
        records::put_step(&objects, self.space, id, Step::Translated, &said).await?;
        Ok(said)
    }

    /// What the speech recognition hears in the video.
    async fn heard(&mut self, clip: &MediaFile) -> Result<Vec<Subtitle>, RunError> {
        let engine = self.api.config.recognition.clone();
        let engine = engine.ok_or_else(|| RunError::engine("the farm has no speech recognition any more"))?;
        let (mut from, end) = self.record.options.part;
        let mut heard = Vec::new();
        loop {
            let to = (from + HEARD_AT_ONCE).min(end);
            let audio = sound_of_clip(self.api, clip, (from, to)).await?;
            let language = self.record.input_language.as_deref().map(tag_of);
            let job = RecognitionJob { audio, language };
            let mut answer = tried(|| engine.recognize(job.clone())).await?;
            if self.record.input_language.is_none() {
                self.record.input_language = answer.language.take().filter(|language| language.len() <= 100);
            }
            let mut next = to;
            // The last words of a part may be cut in their middle.
            if to < end
                && answer.subtitles.len() > 1
                && let Some(cut) = answer.subtitles.pop()
            {
                next = (from + cut.start).max(from + 1.0);
            }
            heard.extend(answer.subtitles.into_iter().map(|said| Subtitle {
                start: from + said.start,
                end: from + said.end,
                ..said
            }));
            if to >= end {
                break;
            }
            from = next;
        }
        if heard.is_empty() {
            let message =
                "nobody is heard to speak in the video; give its words as srt, or its language as input_language";
            return Err(RunError::Failed(NO_SPEECH, message.to_owned()));
        }
        Ok(heard)
    }

    /// The video with the translation spoken.
    async fn dubbed(&self, id: &RenderId, clip: MediaFile, said: Vec<Subtitle>) -> Result<Dub, RunError> {
        let Options { mode, is_dynamic, keeps_sound, part, .. } = self.record.options;
        let is_moved = mode == LipsyncMode::Precision;
        let is_dynamic = is_dynamic && !is_moved;
        let length = self.record.clip.seconds;
        let said: Vec<Subtitle> =
            dubbing::within(said, part).into_iter().filter(|said| !Script::text(&said.text).is_silent()).collect();
        if said.is_empty() {
            let message = "nothing is said in the part of the video that is to be translated";
            return Err(RunError::Failed(NO_SPEECH, message.to_owned()));
        }
        let mut speeches = Vec::with_capacity(said.len());
        for (said, slot) in said.iter().zip(dubbing::slots(&said, part.1)) {
            let mut speech = self.spoken(&said.text, 1.0).await?;
            if let Some(speed) = dubbing::speed(speech.sound.duration().as_secs_f64(), slot, is_dynamic) {
                speech = self.spoken(&said.text, speed).await?;
            }
            speeches.push(speech);
        }
        let lengths = speeches.iter().map(|speech| speech.sound.duration().as_secs_f64());
        let timed: Vec<(Subtitle, f64)> = said.into_iter().zip(lengths).collect();
        let Dubbing { pieces, speeches: places } = Dubbing::new(length, part.1, &timed, keeps_sound, is_dynamic);
        let total: f64 = pieces.iter().map(|piece| piece.length).sum();
        let sound = dubbing::sound(&speeches, &places, total).map_err(RunError::engine)?;
        let sound = MediaFile { extension: ".wav", bytes: sound.wav().into() };
        let words: Vec<SpokenWord> = timed
            .iter()
            .zip(&speeches)
            .zip(&places)
            .flat_map(|(((said, _), speech), place)| dubbing::words(&said.text, speech, *place))
            .collect();
        let dub = self.dub(clip, sound, pieces, (0.0, total), words);
        if is_moved { self.moved(id, dub, Times::new(length, (0.0, length), length, false)).await } else { Ok(dub) }
    }

    /// The video with the sound that the client gave.
    async fn with_given_sound(&self, id: &RenderId, clip: MediaFile) -> Result<Dub, RunError> {
        let objects = &self.api.coordinator.backplane().objects;
        let (extension, lasts) = self.record.audio.clone().unwrap_or_default();
        let extension = Wanted::Sound.extension(&extension).unwrap_or(".wav");
        let bytes = objects.get(&records::file_key(self.space, id, "audio", extension)).await?;
        let Options { mode, is_dynamic, part, .. } = self.record.options;
        let times = Times::new(self.record.clip.seconds, part, lasts, is_dynamic);
        let words = match records::step(objects, self.space, id, Step::Translated).await? {
            Some(said) => words_of(&said),
            None => Vec::new(),
        };
        let sound = MediaFile { extension, bytes };
        let dub = self.dub(clip, sound, times.pieces(false), (part.0, lasts.min(times.length)), words);
        if mode == LipsyncMode::Precision { self.moved(id, dub, times).await } else { Ok(dub) }
    }

    fn dub(
        &self,
        clip: MediaFile,
        sound: MediaFile,
        pieces: Vec<Piece>,
        heard: (f64, f64),
        words: Vec<SpokenWord>,
    ) -> Dub {
        let TranslationRecord { clip: ClipRecord { has_sound, size, .. }, options, .. } = &self.record;
        Dub {
            clip,
            has_sound: *has_sound,
            moved: None,
            pieces,
            sound,
            heard,
            words: if options.has_captions { words } else { Vec::new() },
            size: *size,
            is_enhanced: options.is_enhanced,
            has_watermark: options.has_watermark,
        }
    }

    /// The same with the mouth moved by the engine.
    async fn moved(&self, id: &RenderId, dub: Dub, times: Times) -> Result<Dub, RunError> {
        let engine = self.api.config.lipsync.clone();
        let engine = engine.ok_or_else(|| RunError::engine("the farm has no lip-sync engine any more"))?;
        let _turn = self.api.lipsyncs.wait().await;
        info!(%id, "the lip-sync engine moves the mouth of a translation");
        let part = (times.start, times.end);
        let moved = lipsyncs::moved(self.api, &*engine, &dub.clip, &dub.sound, part, times.length).await;
        let moved = Some(moved.map_err(RunError::engine)?);
        Ok(Dub { moved, pieces: times.pieces(true), ..dub })
    }

    /// A text as the voice speaks it.
    async fn spoken(&self, text: &str, speed: f64) -> Result<Speech, RunError> {
        let Target { voice, locale, .. } = &self.record.target;
        let found = voices::catalogue(self.api).map_err(RunError::refused)?.find(voice).await;
        let takes_locale = found.map_err(RunError::engine)?.voice.takes_locale;
        let request = SpeechRequest {
            script: Script::text(text),
            voice: voice.clone(),
            speed,
            pitch: 0,
            locale: takes_locale.then(|| locale.clone()),
        };
        tried(|| voices::spoken(self.api, &request)).await
    }

    /// Submits the render.
    async fn submit(&mut self, id: &RenderId, caller: &Caller, dub: Dub) -> Result<(), RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        // It was deleted in the meantime.
        if records::get(&objects, self.space, id).await?.is_none() {
            return Ok(());
        }
        let TranslationRecord { options, clip, .. } = &self.record;
        let bits = lipsyncs::bit_rate(dub.clip.bytes.len() as f64 * 8.0 / clip.seconds);
        let spec = RenderSpec {
            fps: clip.frame_rate,
            title: self.record.title.clone().and_then(|title| Text::new(title)),
            callback_url: self.record.callback_url.clone().and_then(|url| Text::new(url)),
            callback_id: self.record.callback_id.clone().and_then(|id| Text::new(id)),
            captions: options.has_captions && !dub.words.is_empty(),
            loudness: loudness(options.is_enhanced),
            video_bitrate: options.keeps_bit_rate.then_some(bits).flatten(),
            wav: true,
            ..RenderSpec::default()
        };
        let bundle = dub.bundle().map_err(RunError::engine)?;
        let purpose = Purpose::Translation(options.mode);
        let origin = self.record.origin.clone();
        submit(self.api, caller, bundle, spec, purpose, origin, self.record.seed).await.map_err(RunError::refused)?;
        self.record.stage = Stage::Rendered;
        records::put(&objects, self.space, &self.record).await?;
        Ok(records::remove_files(&objects, self.space, &self.record).await?)
    }

    /// Tells of the end of what has no render.
    async fn tell(
        &self,
        id: &RenderId,
        event_type: &str,
        failure: Option<(&'static str, String)>,
    ) -> Result<(), ObjectsError> {
        let objects = &self.api.coordinator.backplane().objects;
        let title = records::title(objects, self.space, id).await?.or_else(|| self.record.title.clone());
        let (failure_code, msg) = failure.map(|(code, reason)| (code.to_owned(), reason)).unzip();
        let output_language = self.record.output_language.clone();
        let data = if self.record.is_proofread {
            json(ProofreadEventData { proofread_id: id.to_string(), title, output_language, msg, failure_code })
        } else {
            json(TranslationEventData {
                video_translate_id: id.to_string(),
                title,
                output_language,
                translate_audio_only: self.record.options.is_audio_only,
                generate_caption: self.record.options.has_captions,
                url: None,
                callback_id: self.record.callback_id.clone(),
                msg,
                failure_code,
            })
        };
        let at_ms = now_ms();
        // A run that is taken over tells of the same event.
        let hash = ContentHash::of(format!("{id}\n{event_type}").as_bytes()).to_string();
        let event = Event {
            event_id: format!("evt_{:012x}{}", self.record.seed.at_ms(), &hash[..16]),
            event_type: event_type.to_owned(),
            event_data: data,
            entity_id: id.to_string(),
            space: self.space.clone(),
            created_at_ms: at_ms,
        };
        let callback = self.record.callback_url.as_deref().and_then(|url| Url::parse(url).ok());
        // The deliverer finds in storage what is to be sent.
        self.api.webhooks.publish(&event, callback.map(|url| (url, Default::default())), at_ms).await.map(drop)
    }
}

fn json(data: impl Serialize) -> serde_json::Value {
    serde_json::to_value(data).unwrap_or_default()
}

/// The tag of a language that a request or an engine names: `en` of `English` and of `en-US`.
fn tag_of(language: &str) -> String {
    let language = language.trim().to_lowercase();
    let name = language.split('(').next().unwrap_or_default().trim();
    let tag = hyperfarm_speech::language_tag(name).unwrap_or(name);
    languages::base(tag).to_owned()
}

/// Subtitles as words.
fn words_of(said: &[Subtitle]) -> Vec<SpokenWord> {
    let words = said.iter().flat_map(|said| {
        let count = said.text.split_whitespace().count().max(1) as f64;
        let at = move |index: f64| said.start + (said.end - said.start) * index / count;
        said.text.split_whitespace().enumerate().map(move |(index, word)| SpokenWord {
            word: word.to_owned(),
            start: at(index as f64),
            end: at(index as f64 + 1.0),
            phonemes: None,
        })
    });
    words.collect()
}

/// What an engine answers, which may fail for a moment.
async fn tried<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(ask: impl Fn() -> F) -> Result<T, RunError> {
    for pause in PAUSES {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => warn!(%error, "an engine failed, and is asked again"),
        }
        tokio::time::sleep(pause).await;
    }
    ask().await.map_err(RunError::engine)
}

/// The sound of a part of a video, as AAC in MP4.
async fn sound_of_clip(api: &Api, clip: &MediaFile, (from, to): (f64, f64)) -> Result<bytes::Bytes, RunError> {
    /// Parts are cut to a hundredth of a second.
    const PARTS: u32 = 100;
    let (decoders, bytes, extension) = (api.config.decoders.clone(), clip.bytes.clone(), clip.extension);
    let made = tokio::task::spawn_blocking(move || {
        let local =
            |error: std::io::Error| RunError::engine(format!("the sound of the video could not be written: {error}"));
        let folder = tempfile::tempdir().map_err(local)?;
        let (source, output) = (folder.path().join(format!("video{extension}")), folder.path().join("speech.m4a"));
        std::fs::write(&source, &bytes).map_err(local)?;
        let length = to - from;
        let timing = MediaTiming { start: 0.0, end: length, media_start: from, rate: 1.0, looped: false };
        let item = AudioItem::plain("sound", "video", timing, Vec::new());
        let input = MixInput { item: &item, path: &source, rendered: false };
        let rate = FrameRate::new(PARTS, 1).map_err(RunError::engine)?;
        let frames = (length * f64::from(PARTS)).ceil() as u64;
        let codec = AudioCodec::Aac;
        mix(Some(&decoders), &[input], &MixPart::whole(frames.max(1), rate), codec, &output, &mut |_| true)
            .map_err(|error| RunError::Failed(REFUSED, format!("the sound of the video cannot be read: {error}")))?;
        std::fs::read(&output).map(bytes::Bytes::from).map_err(local)
    });
    made.await.map_err(RunError::engine)?
}

fn missing(what: &str, id: &str) -> ApiError {
    ApiError::new(Code::ResourceNotFound, format!("there is no {what} {}", id.escape_debug()))
}

async fn record(
    api: &Api,
    caller: &Caller,
    what: &str,
    id: &str,
    is_proofread: bool,
) -> Result<(RenderId, TranslationRecord), ApiError> {
    let missing = || missing(what, id);
    let parsed: RenderId = id.parse().map_err(|_| missing())?;
    let found = records::get(&api.coordinator.backplane().objects, &caller.rights.space, &parsed).await?;
    let found = found.filter(|record| record.is_proofread == is_proofread).ok_or_else(missing)?;
    Ok((parsed, found))
}

/// The caller's translation, with its render once there is one.
async fn find(
    api: &Api,
    caller: &Caller,
    id: &str,
) -> Result<(RenderId, TranslationRecord, Option<RenderDetail>), ApiError> {
    const WHAT: &str = "video translation";
    let (render, record) = record(api, caller, WHAT, id, false).await?;
    match api.coordinator.detail_in(&caller.rights.space, &render).await {
        Ok(detail) => Ok((render, record, Some(detail))),
        Err(RenderError::NotFound(_)) if record.stage == Stage::Rendered => Err(missing(WHAT, id)),
        Err(RenderError::NotFound(_)) => Ok((render, record, None)),
        Err(error) => Err(error.into()),
    }
}

type Found = (RenderId, TranslationRecord, Option<RenderDetail>);

async fn view(api: &Api, caller: &Caller, base: Option<&Url>, found: &Found) -> Result<Translation, ApiError> {
    let (id, record, detail) = found;
    let objects = &api.coordinator.backplane().objects;
    let title = records::title(objects, &caller.rights.space, id).await?;
    let (mut completed, mut failure) = (None, None);
    let status = match detail {
        Some(detail) => {
            match detail.progress.end.as_ref().map(|end| &end.outcome) {
                Some(Outcome::Completed { duration, output }) => completed = Some((*duration, output)),
                Some(Outcome::Failed { failure: reason, .. }) => failure = Some(reason.message.clone()),
                None => {}
            }
            match Status::of(&detail.progress) {
                Status::Queued | Status::Rendering => LipsyncStatus::Running,
                Status::Completed => LipsyncStatus::Completed,
                Status::Failed | Status::Cancelled => LipsyncStatus::Failed,
            }
        }
        None => match &record.stage {
            Stage::Waiting => LipsyncStatus::Pending,
            Stage::Running | Stage::Ready | Stage::Rendered => LipsyncStatus::Running,
            Stage::Failed(reason) => {
                failure = Some(reason.clone());
                LipsyncStatus::Failed
            }
        },
    };
    let output = completed.map(|(_, output)| output);
    let sound = output.and_then(|output| output.sidecars.iter().find(|sidecar| sidecar.name == Sidecar::SOUND));
    Ok(Translation {
        id: id.to_string(),
        title: title.or_else(|| record.title.clone()),
        status,
        input_language: record.input_language.clone(),
        output_language: Some(record.output_language.clone()),
        translate_audio_only: Some(record.options.is_audio_only),
        duration: completed.map(|(duration, _)| duration),
        video_url: api.signed_url(output.map(|output| output.key.as_str()), base).await?,
        audio_url: api.signed_url(sound.map(|sound| sound.key.as_str()), base).await?,
        callback_id: record.callback_id.clone(),
        created_at: Some(record.seed.at_ms() / 1000),
        failure_message: failure,
    })
}

/// `GET /v3/video-translations?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
    headers: HeaderMap,
) -> List<Translation> {
    let page = PageRange::of(&query, PAGE)?;
    let base = base_url(&api.config, &headers);
    let ids = records::ids(&api.coordinator.backplane().objects, &caller.rights.space).await?;
    let (mut data, mut next) = (Vec::<Translation>::new(), None);
    for id in ids.iter().filter(|id| page.after.as_deref().is_none_or(|after| id.as_str() < after)) {
        let found = match find(&api, &caller, id).await {
            Ok(found) => found,
            // It was deleted as a render.
            Err(error) if error.code == Code::ResourceNotFound => continue,
            Err(error) => return Err(error),
        };
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.id));
            break;
        }
        data.push(view(&api, &caller, base.as_ref(), &found).await?);
    }
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/video-translations/{video_translation_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Translation> {
    let found = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&api, &caller, base_url(&api.config, &headers).as_ref(), &found).await? }))
}

/// `PATCH /v3/video-translations/{video_translation_id}`.
pub(super) async fn change(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Translation> {
    let found = find(&api, &caller, &id).await?;
    let asked: TranslationChange = request::parse(request::object(&super::read_body(body).await?)?)?;
    let title = asked.title.trim();
    if title.is_empty() {
        return Err(ApiError::invalid("title", "title must be a text of 1 to 500 characters"));
    }
    records::put_title(&api.coordinator.backplane().objects, &caller.rights.space, &found.0, title).await?;
    Ok(Json(Data { data: view(&api, &caller, base_url(&api.config, &headers).as_ref(), &found).await? }))
}

/// `DELETE /v3/video-translations/{video_translation_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<TranslationDeleted> {
    let (render, _, detail) = find(&api, &caller, &id).await?;
    records::delete(&api.coordinator.backplane().objects, &caller.rights.space, &render).await?;
    if detail.is_some() {
        api.coordinator.delete(&render).await?;
    }
    Ok(Json(Data { data: TranslationDeleted { id: render.into() } }))
}

/// `GET /v3/video-translations/{video_translation_id}/caption?format`.
pub(super) async fn caption(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<CaptionQuery>,
    headers: HeaderMap,
) -> Answer<TranslationCaption> {
    let (_, record, detail) = find(&api, &caller, &id).await?;
    if !record.options.has_captions {
        let message = "the translation has no captions, for it was asked for without enable_caption";
        return Err(ApiError::new(Code::ResourceNotFound, message));
    }
    let name = match query.format {
        CaptionFormat::Srt => Sidecar::SUBRIP,
        CaptionFormat::Vtt => Sidecar::WEBVTT,
    };
    let end = detail.as_ref().and_then(|detail| detail.progress.end.as_ref());
    let key = match end.map(|end| &end.outcome) {
        Some(Outcome::Completed { output, .. }) => {
            output.sidecars.iter().find(|sidecar| sidecar.name == name).map(|sidecar| &sidecar.key)
        }
        _ => None,
    };
    let key = key.ok_or_else(|| ApiError::new(Code::NotReady, "the translation is not completed"))?;
    let url = api.signed_url(Some(key), base_url(&api.config, &headers).as_ref()).await?;
    let caption_url = url.ok_or_else(super::assets::no_base)?;
    Ok(Json(Data { data: TranslationCaption { caption_url } }))
}

async fn proofread(api: &Api, caller: &Caller, id: &str) -> Result<(RenderId, TranslationRecord), ApiError> {
    record(api, caller, "proofread", id, true).await
}

fn proofread_view(id: &RenderId, record: &TranslationRecord) -> Proofread {
    let (status, failure) = match &record.stage {
        Stage::Waiting | Stage::Running => (ProofreadStatus::Processing, None),
        Stage::Ready | Stage::Rendered => (ProofreadStatus::Completed, None),
        Stage::Failed(reason) => (ProofreadStatus::Failed, Some(reason.clone())),
    };
    Proofread {
        id: id.to_string(),
        title: record.title.clone(),
        status,
        input_language: record.input_language.clone(),
        output_language: Some(record.output_language.clone()),
        submitted_for_review: Some(false),
        created_at: Some(record.seed.at_ms() / 1000),
        failure_message: failure,
    }
}

/// `GET /v3/video-translations/proofreads/{proofread_id}`.
pub(super) async fn read_proofread(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Proofread> {
    let (id, record) = proofread(&api, &caller, &id).await?;
    Ok(Json(Data { data: proofread_view(&id, &record) }))
}

/// The translation of a session, which must be there.
async fn read_step(
    api: &Api,
    caller: &Caller,
    id: &RenderId,
    record: &TranslationRecord,
) -> Result<Vec<Subtitle>, ApiError> {
    let said = match record.stage {
        Stage::Ready => {
            let objects = &api.coordinator.backplane().objects;
            records::step(objects, &caller.rights.space, id, Step::Translated).await?
        }
        _ => None,
    };
    said.ok_or_else(|| ApiError::new(Code::NotReady, "the session has no translation; its status must be completed"))
}

/// `GET /v3/video-translations/proofreads/{proofread_id}/srt`.
pub(super) async fn read_srt(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<ProofreadSrt> {
    let (id, record) = proofread(&api, &caller, &id).await?;
    read_step(&api, &caller, &id, &record).await?;
    let base = base_url(&api.config, &headers);
    let key = |step: Step| records::srt_key(&caller.rights.space, &id, step);
    let srt_url = api.signed_url(Some(&key(Step::Translated)), base.as_ref()).await?;
    Ok(Json(Data {
        data: ProofreadSrt {
            srt_url: srt_url.ok_or_else(super::assets::no_base)?,
            original_srt_url: api.signed_url(Some(&key(Step::Heard)), base.as_ref()).await?,
        },
    }))
}

/// `PUT /v3/video-translations/proofreads/{proofread_id}/srt`.
pub(super) async fn change_srt(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Proofread> {
    let (id, record) = proofread(&api, &caller, &id).await?;
    let body = renders::read_project_body(&api, &headers, body).await?;
    let asked: ProofreadSrtRequest = request::parse(request::object(&body)?)?;
    read_step(&api, &caller, &id, &record).await?;
    let said = srt(&api, &caller, &asked.srt).await?;
    let objects = &api.coordinator.backplane().objects;
    records::put_step(objects, &caller.rights.space, &id, Step::Translated, &said).await?;
    Ok(Json(Data { data: proofread_view(&id, &record) }))
}
