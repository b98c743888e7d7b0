//! Sessions in which a translation is read before it is spoken.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::Data;
use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_api::request::{object, parse};
use hyperfarm_api::translations::{
    GenerateRequest, Proofread, ProofreadGenerated, ProofreadRequest, ProofreadSrt, ProofreadSrtRequest,
    ProofreadStatus, ProofreadsCreated,
};
use hyperfarm_proto::id::RenderId;

use super::record;
use super::request::{Form, Given, begin_all, check_clip, check_engines, key_of, srt, targets};
use super::run::{begin, lease_until, turns};
use crate::api::base_url::base_url;
use crate::api::create::receiver_url;
use crate::api::error::{ApiError, Code};
use crate::api::lipsyncs::{clip_of, engine_for};
use crate::api::{Answer, Api, assets, renders, voices};
use crate::api_keys::Caller;
use crate::intake::Seed;
use crate::translation::records::{self, Options, Stage, Step, TranslationRecord};
use crate::translation::subtitles::Subtitle;

/// `POST /v3/video-translations/proofreads`.
pub(in crate::api) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = renders::read_project_body(&api, &headers, body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: ProofreadRequest = parse(object(&raw)?)?;
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
pub(in crate::api) async fn generate(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = crate::api::read_body(body).await?;
    let origin = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let route = format!("POST /v3/video-translations/proofreads/{id}/generate");
    let make = move |seed: Seed| async move {
        let asked: GenerateRequest = if raw.is_empty() { GenerateRequest::default() } else { parse(object(&raw)?)? };
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

async fn proofread(api: &Api, caller: &Caller, id: &str) -> Result<(RenderId, TranslationRecord), ApiError> {
    record(api, caller, "proofread", id, true).await
}

fn view(id: &RenderId, record: &TranslationRecord) -> Proofread {
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
pub(in crate::api) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Proofread> {
    let (id, record) = proofread(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&id, &record) }))
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
pub(in crate::api) async fn read_srt(
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
            srt_url: srt_url.ok_or_else(assets::no_base)?,
            original_srt_url: api.signed_url(Some(&key(Step::Heard)), base.as_ref()).await?,
        },
    }))
}

/// `PUT /v3/video-translations/proofreads/{proofread_id}/srt`.
pub(in crate::api) async fn change_srt(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Proofread> {
    let (id, record) = proofread(&api, &caller, &id).await?;
    let body = renders::read_project_body(&api, &headers, body).await?;
    let asked: ProofreadSrtRequest = parse(object(&body)?)?;
    read_step(&api, &caller, &id, &record).await?;
    let said = srt(&api, &caller, &asked.srt).await?;
    let objects = &api.coordinator.backplane().objects;
    records::put_step(objects, &caller.rights.space, &id, Step::Translated, &said).await?;
    Ok(Json(Data { data: view(&id, &record) }))
}
