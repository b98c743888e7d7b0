//! Avatars: looks of photos, in groups.
//!
//! The face of a photo is found by a render of its own, in the page of its plan stage; the look is `processing` until then.

use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Redirect, Response};
use axum::routing::get;
use axum::{Json, Router};
use bytes::Bytes;
use hyperfarm_api::avatars::{
    AvatarChange, AvatarCreated, AvatarGroup, AvatarLook, AvatarRequest, AvatarSource, AvatarStatus, AvatarType,
    ConsentBegun, ConsentRequest, ConsentStatus, Deleted, GroupsQuery, LooksQuery, Ownership,
};
use hyperfarm_api::request;
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::Space;
use hyperfarm_proto::spec::{RenderSpec, Size};
use serde::Deserialize;
use url::Url;

use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::media::{self, Wanted};
use super::oauth::{document, fields, form, guarded};
use super::page::{self, PageRange, Query};
use super::{Answer, Api, List, assets, read_body, renders};
use crate::api_keys::Caller;
use crate::avatars::{self, Consent, FoundFace, GroupRecord, LookRecord};
use crate::clock::now_ms;
use crate::html::escaped;
use crate::intake::{Intake, Purpose, Seed};
use crate::oauth;
use crate::presenter::{Background, MediaFile, Presentation, photo_size};

/// Items on a page, where the client does not say.
const PAGE: usize = 20;

/// The engine of this farm, by the hosted service's name for the one that animates photos.
pub(super) const ENGINE: &str = "avatar_iv";

/// Pixels a side of a photo.
const SIDES: std::ops::RangeInclusive<u32> = 128..=8192;

/// Tags of a look at most.
const MAX_TAGS: usize = 20;

/// Pixels a side of the picture of a page that only finds a face.
const STILL: Size = Size { width: 512, height: 512 };

/// The pages of people who are asked for consent. They need no key: the address is the right.
pub(super) fn pages() -> Router<Api> {
    Router::new().route("/consent/{space}/{group_id}/{token}", get(consent_page).post(consent))
}

/// `POST /v3/avatars`.
pub(super) async fn create(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = renders::read_project_body(&api, &headers, body).await?;
    let base = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: AvatarRequest = request::parse(request::object(&raw)?)?;
        let name = checked_name(&asked.name)?;
        let refused = |kind: &str, advice: &str| {
            let message =
                format!("this farm makes no avatars of the type `{kind}`: it needs {advice}; use the type `photo`");
            ApiError::new(Code::EngineNotConfigured, message).of("type")
        };
        match asked.kind {
            AvatarSource::Photo => {}
            AvatarSource::DigitalTwin => {
                return Err(refused("digital_twin", "footage to be tracked, which it cannot do"));
            }
            AvatarSource::Prompt => {
                return Err(refused("prompt", "an engine that draws people, and none can be configured"));
            }
        }
        let input = asked.file.ok_or_else(|| ApiError::invalid("file", "file is required: the photo"))?;
        let group = match &asked.avatar_group_id {
            None => None,
            Some(id) => Some(find_group(&api, &caller, id).await.map_err(|error| error.of("avatar_group_id"))?),
        };
        let file = media::file(&api, &caller, &input, "file", Wanted::Image).await?;
        let size = size_of(&file, "file")?;
        let objects = &api.coordinator.backplane().objects;
        let space = &caller.rights.space;
        let id = seed.id("look");
        let group = group.unwrap_or_else(|| GroupRecord {
            id: seed.id("group"),
            space: space.clone(),
            name: name.clone(),
            gender: None,
            created_at_ms: seed.at_ms(),
            consent: None,
        });
        let look = LookRecord {
            group: group.id.clone(),
            space: space.clone(),
            name,
            gender: None,
            tags: Vec::new(),
            photo: LookRecord::photo_key(space, &id, file.extension),
            size,
            render: seed.render(),
            created_at_ms: seed.at_ms(),
            id,
        };
        objects.put(&look.photo, file.bytes.clone()).await?;
        avatars::put_group(objects, &group).await?;
        avatars::put_look(objects, &look).await?;
        let found = find_face(&api, &caller, &look, file, seed).await;
        if let Err(error) = found {
            // Nobody knows of it yet.
            avatars::delete_look(objects, &look).await?;
            if asked.avatar_group_id.is_none() {
                avatars::delete_group(objects, &group).await?;
            }
            return Err(error);
        }
        let created = AvatarCreated {
            avatar_item: look_view(&api, base.as_ref(), look).await?,
            avatar_group: read_group_view(&api, base.as_ref(), group).await?,
        };
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&key, "POST /v3/avatars", &headers, &body, make).await)
}

/// The size of a photo, if a face may be found in it.
pub(super) fn size_of(file: &MediaFile, param: &str) -> Result<Size, ApiError> {
    let missing = || ApiError::invalid(param, "the photo has no size in its header; save it again");
    let size @ Size { width, height } = photo_size(&file.bytes).ok_or_else(missing)?;
    if !SIDES.contains(&width) || !SIDES.contains(&height) {
        let message = format!(
            "the photo has {width} by {height} pixels, and may have {} to {} a side",
            SIDES.start(),
            SIDES.end()
        );
        return Err(ApiError::invalid(param, message));
    }
    Ok(size)
}

/// Submits the render that finds the face of a look.
async fn find_face(
    api: &Api,
    caller: &Caller,
    look: &LookRecord,
    photo: MediaFile,
    seed: Seed,
) -> Result<(), ApiError> {
    let presentation = Presentation {
        photo,
        face: None,
        sound: None,
        size: STILL,
        background: Background::None,
        is_whole: false,
        removes_background: false,
        expressiveness: Default::default(),
        seed: 0,
        shows_captions: false,
    };
    let title = format!("Face of {}", look.name);
    let spec = RenderSpec { title: title.parse().ok(), ..RenderSpec::default() };
    let bundle = presentation.bundle().map_err(|error| ApiError::internal(&error))?;
    submit(api, caller, bundle, spec, Purpose::Look(look.id.clone()), None, seed).await
}

/// Takes a project of the farm's own in as a render.
pub(super) async fn submit(
    api: &Api,
    caller: &Caller,
    bundle: Bytes,
    spec: RenderSpec,
    purpose: Purpose,
    origin: Option<Url>,
    seed: Seed,
) -> Result<(), ApiError> {
    caller.check_pool(&spec.pool)?;
    let mut taken = api.admission.reserve(caller, vec![seed.render()]).await?;
    let bundle = api.coordinator.store_bundle(bundle, None).await?;
    let intake = Intake { purpose, ..caller.intake(origin) };
    let render = api.coordinator.submit_stored(bundle, spec, intake, seed).await?;
    taken.keep(&render);
    Ok(())
}

fn checked_name(name: &str) -> Result<String, ApiError> {
    let name = name.trim();
    if name.is_empty() {
        return Err(ApiError::invalid("name", "name must be a text of 1 to 200 characters"));
    }
    Ok(name.to_owned())
}

/// `GET /v3/avatars`.
pub(super) async fn groups(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<GroupsQuery>,
    headers: HeaderMap,
) -> List<AvatarGroup> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    if query.ownership == Some(Ownership::Public) {
        return Ok(Json(Page::new(Vec::new(), None)));
    }
    let objects = &api.coordinator.backplane().objects;
    let base = base_url(&api.config, &headers);
    let listed = avatars::groups(objects, &caller.rights.space).await?;
    let (mut data, mut next) = (Vec::<AvatarGroup>::new(), None);
    for (id, looks) in listed.iter().rev().filter(|(id, _)| page.after.as_ref().is_none_or(|after| *id < after)) {
        let Some(group) = avatars::group(objects, &caller.rights.space, id).await? else { continue };
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.id));
            break;
        }
        data.push(group_view(&api, base.as_ref(), group, looks).await?);
    }
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/avatars/{group_id}`.
pub(super) async fn read_group(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<AvatarGroup> {
    let group = find_group(&api, &caller, &id).await?;
    Ok(Json(Data { data: read_group_view(&api, base_url(&api.config, &headers).as_ref(), group).await? }))
}

/// `PATCH /v3/avatars/{group_id}`.
pub(super) async fn change_group(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<AvatarGroup> {
    let asked: AvatarChange = request::parse(request::object(&read_body(body).await?)?)?;
    if asked.tags.is_some() {
        return Err(ApiError::invalid("tags", "a group has no tags; give them to its looks"));
    }
    let mut group = find_group(&api, &caller, &id).await?;
    if let Some(name) = &asked.name {
        group.name = checked_name(name)?;
    }
    group.gender = asked.gender.or(group.gender);
    avatars::put_group(&api.coordinator.backplane().objects, &group).await?;
    Ok(Json(Data { data: read_group_view(&api, base_url(&api.config, &headers).as_ref(), group).await? }))
}

/// `DELETE /v3/avatars/{group_id}`.
pub(super) async fn delete_group(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Deleted> {
    let group = find_group(&api, &caller, &id).await?;
    avatars::delete_group(&api.coordinator.backplane().objects, &group).await?;
    Ok(Json(Data { data: Deleted { id: group.id, deleted: true } }))
}

/// `GET /v3/avatars/looks`.
pub(super) async fn looks(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<LooksQuery>,
    headers: HeaderMap,
) -> List<AvatarLook> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    let is_other_type = query.avatar_type.is_some_and(|kind| kind != AvatarType::PhotoAvatar);
    if query.ownership == Some(Ownership::Public) || is_other_type {
        return Ok(Json(Page::new(Vec::new(), None)));
    }
    let objects = &api.coordinator.backplane().objects;
    let base = base_url(&api.config, &headers);
    let all = avatars::looks(objects, &caller.rights.space).await?;
    let group = query.group_id.as_deref();
    let wanted: Vec<LookRecord> = all
        .into_iter()
        .filter(|look| group.is_none_or(|group| look.group == group))
        .filter(|look| page.after.as_ref().is_none_or(|after| look.id < *after))
        .take(page.limit + 1)
        .collect();
    let has_more = wanted.len() > page.limit;
    let mut data = Vec::new();
    for look in wanted.into_iter().take(page.limit) {
        data.push(look_view(&api, base.as_ref(), look).await?);
    }
    let next = data.last().filter(|_| has_more).map(|last| page::token(&last.id));
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/avatars/looks/{look_id}`.
pub(super) async fn read_look(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<AvatarLook> {
    let look = find_look(&api, &caller, &id).await?;
    Ok(Json(Data { data: look_view(&api, base_url(&api.config, &headers).as_ref(), look).await? }))
}

/// `PATCH /v3/avatars/looks/{look_id}`.
pub(super) async fn change_look(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<AvatarLook> {
    let asked: AvatarChange = request::parse(request::object(&read_body(body).await?)?)?;
    if asked.tags.as_ref().is_some_and(|tags| tags.len() > MAX_TAGS) {
        return Err(ApiError::invalid("tags", format!("tags must be at most {MAX_TAGS} texts")));
    }
    let mut look = find_look(&api, &caller, &id).await?;
    if let Some(name) = &asked.name {
        look.name = checked_name(name)?;
    }
    look.gender = asked.gender.or(look.gender);
    if let Some(tags) = asked.tags {
        look.tags = tags.into_iter().map(String::from).collect();
    }
    avatars::put_look(&api.coordinator.backplane().objects, &look).await?;
    Ok(Json(Data { data: look_view(&api, base_url(&api.config, &headers).as_ref(), look).await? }))
}

/// `DELETE /v3/avatars/looks/{look_id}`.
pub(super) async fn delete_look(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Deleted> {
    let look = find_look(&api, &caller, &id).await?;
    avatars::delete_look(&api.coordinator.backplane().objects, &look).await?;
    Ok(Json(Data { data: Deleted { id: look.id, deleted: true } }))
}

/// `POST /v3/avatars/{group_id}/consent`.
pub(super) async fn ask_consent(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<ConsentBegun> {
    let body = read_body(body).await?;
    let asked: ConsentRequest =
        if body.is_empty() { ConsentRequest::default() } else { request::parse(request::object(&body)?)? };
    let reroute = asked.reroute_url.as_deref().map(|url| receiver_url("reroute_url", url, &api.config)).transpose()?;
    let base = base_url(&api.config, &headers).ok_or_else(assets::no_base)?;
    let mut group = find_group(&api, &caller, &id).await?;
    let token = oauth::secret()?;
    group.consent = Some(Consent {
        token: token.clone(),
        reroute_url: reroute.map(String::from),
        asked_at_ms: now_ms(),
        approved_at_ms: None,
    });
    avatars::put_group(&api.coordinator.backplane().objects, &group).await?;
    let mut url = base.clone();
    url.path_segments_mut().map_err(|()| assets::no_base())?.pop_if_empty().extend([
        "consent",
        &group.space.to_string(),
        &group.id,
        &token,
    ]);
    let avatar_group = read_group_view(&api, Some(&base), group).await?;
    Ok(Json(Data { data: ConsentBegun { avatar_group, url: url.into() } }))
}

/// The group whose person was asked at this address.
async fn asked_group(api: &Api, space: &str, id: &str, token: &str) -> Result<(GroupRecord, Consent), ApiError> {
    let missing = || ApiError::new(Code::ResourceNotFound, "nobody is asked for consent here any more");
    let space: Space = space.parse().map_err(|_| missing())?;
    let group = avatars::group(&api.coordinator.backplane().objects, &space, id).await?.ok_or_else(missing)?;
    let consent = group.consent.clone().filter(|consent| consent.token == token).ok_or_else(missing)?;
    Ok((group, consent))
}

/// `GET /consent/{space}/{group_id}/{token}`: the page of the person.
pub(super) async fn consent_page(
    State(api): State<Api>,
    Path((space, id, token)): Path<(String, String, String)>,
) -> Result<Response, ApiError> {
    let (group, consent) = asked_group(&api, &space, &id, &token).await?;
    let name = escaped(&group.name);
    let body = match consent.approved_at_ms {
        Some(_) => format!("<h1>Thank you</h1><p>You have consented to videos of <b>{name}</b>.</p>"),
        None => format!(
            "<h1>Your consent</h1><p>Somebody who uses this farm wants to make videos in which <b>{name}</b> speaks words that are \
             written for them. Consent only if you are this person and agree.</p>\
             <form method=\"post\"><p><button name=\"decision\" value=\"approve\">I am this person, and I agree</button></p></form>"
        ),
    };
    Ok(guarded(document(&body)))
}

/// The form of the page.
#[derive(Deserialize)]
pub(super) struct Decision {
    decision: String,
}

/// `POST /consent/{space}/{group_id}/{token}`: the person consents.
pub(super) async fn consent(
    State(api): State<Api>,
    Path((space, id, token)): Path<(String, String, String)>,
    body: Body,
) -> Result<Response, ApiError> {
    let form: Decision = fields(&form(body).await?)?;
    let (mut group, consent) = asked_group(&api, &space, &id, &token).await?;
    if form.decision != "approve" {
        return Err(ApiError::invalid("decision", "decision must be `approve`"));
    }
    let reroute = consent.reroute_url.clone();
    let approved_at_ms = consent.approved_at_ms.or_else(|| Some(now_ms()));
    group.consent = Some(Consent { approved_at_ms, ..consent });
    avatars::put_group(&api.coordinator.backplane().objects, &group).await?;
    Ok(match reroute {
        Some(url) => Redirect::to(&url).into_response(),
        None => guarded(document("<h1>Thank you</h1><p>Your consent is recorded.</p>")),
    })
}

/// The caller's group.
async fn find_group(api: &Api, caller: &Caller, id: &str) -> Result<GroupRecord, ApiError> {
    let found = avatars::group(&api.coordinator.backplane().objects, &caller.rights.space, id).await?;
    found.ok_or_else(|| ApiError::new(Code::AvatarNotFound, format!("there is no avatar group {}", id.escape_debug())))
}

/// The caller's look.
pub(super) async fn find_look(api: &Api, caller: &Caller, id: &str) -> Result<LookRecord, ApiError> {
    let found = avatars::look(&api.coordinator.backplane().objects, &caller.rights.space, id).await?;
    found.ok_or_else(|| ApiError::new(Code::AvatarNotFound, format!("there is no avatar look {}", id.escape_debug())))
}

/// Whether a look can present, and why it cannot.
async fn status_of(api: &Api, look: &LookRecord) -> Result<(AvatarStatus, Option<String>), ApiError> {
    Ok(match avatars::face(&api.coordinator.backplane().objects, &look.space, &look.id).await? {
        None => (AvatarStatus::Processing, None),
        Some(FoundFace::Found(_)) => (AvatarStatus::Completed, None),
        Some(FoundFace::Missing(reason)) => (AvatarStatus::Failed, Some(reason)),
    })
}

async fn look_view(api: &Api, base: Option<&Url>, look: LookRecord) -> Result<AvatarLook, ApiError> {
    let (status, failure_message) = status_of(api, &look).await?;
    Ok(AvatarLook {
        preview_image_url: api.signed_url(Some(&look.photo), base).await?,
        id: look.id,
        name: look.name,
        avatar_type: AvatarType::PhotoAvatar,
        group_id: Some(look.group),
        gender: look.gender,
        preview_video_url: None,
        default_voice_id: None,
        tags: look.tags,
        supported_api_engines: vec![ENGINE.to_owned()],
        status: Some(status),
        failure_message,
    })
}

/// A group whose looks are not known yet.
async fn read_group_view(api: &Api, base: Option<&Url>, group: GroupRecord) -> Result<AvatarGroup, ApiError> {
    let looks = avatars::looks_of(&api.coordinator.backplane().objects, &group).await?;
    group_view(api, base, group, &looks).await
}

/// A group with these looks, oldest first.
async fn group_view(
    api: &Api,
    base: Option<&Url>,
    group: GroupRecord,
    looks: &[String],
) -> Result<AvatarGroup, ApiError> {
    let objects = &api.coordinator.backplane().objects;
    let (mut preview_image_url, mut status) = (None, None);
    if let Some(first) = looks.first()
        && let Some(look) = avatars::look(objects, &group.space, first).await?
    {
        preview_image_url = api.signed_url(Some(&look.photo), base).await?;
    }
    if let Some(newest) = looks.last()
        && let Some(look) = avatars::look(objects, &group.space, newest).await?
    {
        status = Some(status_of(api, &look).await?.0);
    }
    let consent_status = group.consent.as_ref().map(|consent| match consent.approved_at_ms {
        Some(_) => ConsentStatus::Approved,
        None => ConsentStatus::Pending,
    });
    Ok(AvatarGroup {
        id: group.id,
        name: group.name,
        gender: group.gender,
        preview_image_url,
        preview_video_url: None,
        looks_count: looks.len() as u32,
        default_voice_id: None,
        consent_status,
        status,
        created_at: group.created_at_ms / 1000,
    })
}
