//! Videos in other languages.
//!
//! | module | what it is |
//! | --- | --- |
//! | `request` | what requests for translations and for proofread sessions have in common |
//! | `run` | from a stored request over what is heard and its translation to a render |
//! | `proofreads` | sessions in which a translation is read before it is spoken |

pub(super) mod proofreads;
mod request;
mod run;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::lipsyncs::{LipsyncMode, LipsyncStatus};
use hyperfarm_api::request::{ListQuery, object, parse, parse_query};
use hyperfarm_api::translations::{
    CaptionFormat, CaptionQuery, SrtRole, Translation, TranslationCaption, TranslationChange, TranslationDeleted,
    TranslationLanguages, TranslationRequest, TranslationsCreated,
};
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::{Outcome, Sidecar};
use url::Url;

use self::request::{Form, Given, begin_all, check_clip, check_engines, spoken_by_client, srt, targets};
use self::run::turns;
pub(crate) use self::run::{TranslationPermits, take_over};
use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::lipsyncs::{check_times, clip_of, engine_for, part, sound_of};
use super::media::{self, Wanted};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List, assets, renders, sidecar_key, voices};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::clock::created_at_ms;
use crate::coordinator::RenderError;
use crate::intake::{Purpose, Seed};
use crate::status::Status;
use crate::translation::languages;
use crate::translation::records::{self, Options, Stage, TranslationRecord};

/// Items on a page, where the client does not say.
const PAGE: usize = 10;

/// `GET /v3/video-translations/languages`.
pub(super) async fn list_languages(State(api): State<Api>) -> Answer<TranslationLanguages> {
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
        let asked: TranslationRequest = parse(object(&raw)?)?;
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

/// A translation, with its render once there is one.
type Found = (RenderId, TranslationRecord, Option<RenderDetail>);

/// The caller's translation.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<Found, ApiError> {
    const WHAT: &str = "video translation";
    let render: RenderId = id.parse().map_err(|_| missing(WHAT, id))?;
    let detail = match api.coordinator.detail_in(&caller.rights.space, &render).await {
        Ok(detail) if matches!(detail.intake.purpose, Purpose::Translation(_)) => Some(detail),
        Ok(_) => return Err(missing(WHAT, id)),
        Err(RenderError::NotFound(_)) => None,
        Err(error) => return Err(error.into()),
    };
    // A retry is a render of its own, and says what the first one does.
    let first = detail.as_ref().and_then(|detail| detail.intake.retry_of.as_ref());
    let (_, record) = match record(api, caller, WHAT, id, false).await {
        Err(error) if error.code == Code::ResourceNotFound => {
            let first = first.ok_or(error)?;
            Box::pin(find(api, caller, first.as_str())).await.map(|(id, record, _)| (id, record))?
        }
        found => found?,
    };
    match detail {
        None if record.stage == Stage::Rendered => Err(missing(WHAT, id)),
        detail => Ok((render, record, detail)),
    }
}

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
    let sound = output.and_then(|output| sidecar_key(output, Sidecar::SOUND));
    Ok(Translation {
        id: id.to_string(),
        title: title.or_else(|| record.title.clone()),
        status,
        input_language: record.input_language.clone(),
        output_language: Some(record.output_language.clone()),
        translate_audio_only: Some(record.options.is_audio_only),
        duration: completed.map(|(duration, _)| duration),
        video_url: api.signed_url(output.map(|output| output.key.as_str()), base).await?,
        audio_url: api.signed_url(sound, base).await?,
        callback_id: record.callback_id.clone(),
        created_at: created_at_ms(id).map(|at_ms| at_ms / 1000),
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
    let asked: TranslationChange = parse(object(&super::read_body(body).await?)?)?;
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
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Answer<TranslationCaption> {
    // Whose it is comes first: a stranger is told nothing else.
    let (_, record, detail) = find(&api, &caller, &id).await?;
    let query: CaptionQuery = parse_query(query.as_deref())?;
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
        Some(Outcome::Completed { output, .. }) => sidecar_key(output, name),
        _ => None,
    };
    let key = key.ok_or_else(|| ApiError::new(Code::NotReady, "the translation is not completed"))?;
    let url = api.signed_url(Some(key), base_url(&api.config, &headers).as_ref()).await?;
    let caption_url = url.ok_or_else(assets::no_base)?;
    Ok(Json(Data { data: TranslationCaption { caption_url } }))
}
