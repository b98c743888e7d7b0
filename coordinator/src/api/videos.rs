//! Presenter videos: a photo that speaks, composed by the farm and rendered as any other project.

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::avatars::Deleted;
use hyperfarm_api::request;
use hyperfarm_api::videos::{
    BackgroundKind, BackgroundSetting, PRESENTER_SPEEDS, PresenterKind, Video, VideoAspectRatio, VideoCreated,
    VideoFormat, VideoRequest, VideoResolution, VideoStatus, VideosQuery, VoiceSettings,
};
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::record::{Outcome, Sidecar};
use hyperfarm_proto::spec::{Format, RenderSpec, Size};
use hyperfarm_speech::{Script, SpeechRequest};
use url::Url;

use super::avatars::{ENGINE, find_look, size_of, submit};
use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::media::{self, Wanted};
use super::page::{self, PageRange, Query};
use super::{Answer, Api, List, renders, sidecar_key, voices};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::avatars::{self, FoundFace};
use crate::coordinator::RenderError;
use crate::intake::{Purpose, Seed};
use crate::object_keys;
use crate::presenter::{Background, Face, MediaFile, Presentation, SpokenSound, SpokenWord};
use crate::status::{Status, error_code};
use crate::store::newest_marks;

/// Items on a page, where the client does not say.
const PAGE: usize = 10;

/// `POST /v3/videos`.
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
        let asked: VideoRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        check(&asked, &api)?;
        api.admission.check_spending(&caller).await?;
        let presenter = presenter(&api, &caller, &asked).await?;
        let output_format = asked.output_format.unwrap_or_default();
        let background = background(&api, &caller, asked.background.as_ref()).await?;
        let removes_background = asked.remove_background.unwrap_or_default();
        let sound = sound(&api, &caller, &asked).await?;
        let size = size(asked.resolution, asked.aspect_ratio.unwrap_or(VideoAspectRatio::Auto), presenter.size);
        let presentation = Presentation {
            photo: presenter.file,
            face: presenter.face,
            sound: Some(sound),
            size,
            is_whole: asked.background.is_some() || removes_background,
            removes_background,
            background,
            expressiveness: asked.expressiveness.unwrap_or_default(),
            seed: motion_seed(&seed.render()),
            shows_captions: asked.captions.unwrap_or_default(),
        };
        if presentation.shows_captions && !presentation.has_captions() {
            let message =
                "captions need a script whose voice tells when its words are spoken, such as one of espeak-ng";
            return Err(ApiError::invalid("captions", message));
        }
        let spec = RenderSpec {
            title: asked.title,
            callback_url: asked.callback_url,
            callback_id: asked.callback_id,
            captions: presentation.has_captions(),
            format: match output_format {
                VideoFormat::Mp4 => Format::Mp4,
                VideoFormat::Webm => Format::Webm,
            },
            ..RenderSpec::default()
        };
        let render = seed.render();
        let purpose = Purpose::Video { shows_captions: presentation.shows_captions };
        let bundle = presentation.bundle().map_err(|error| ApiError::internal(&error))?;
        submit(&api, &caller, bundle, spec, purpose, origin, seed).await?;
        let created = VideoCreated { video_id: render.to_string(), status: VideoStatus::Pending, output_format };
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&key, "POST /v3/videos", &headers, &body, make).await)
}

/// What can be said of a request by itself: which fields go together, and what the farm has not.
fn check(asked: &VideoRequest, api: &Api) -> Result<(), ApiError> {
    let refused = |param: &str, message: &str| Err(ApiError::invalid(param, message));
    let missing = |param: &str, needs: &str| {
        let message = format!("{param} needs {needs}, and none can be configured on this farm");
        Err(ApiError::new(Code::EngineNotConfigured, message).of(param))
    };
    match asked.kind {
        PresenterKind::Avatar if asked.avatar_id.is_none() => {
            return refused(
                "avatar_id",
                "avatar_id is required with the type `avatar`: a look of GET /v3/avatars/looks",
            );
        }
        PresenterKind::Avatar if asked.image.is_some() => {
            return refused("image", "the type `avatar` takes no image; use the type `image`, or leave one out");
        }
        PresenterKind::Image if asked.image.is_none() => {
            return refused("image", "image is required with the type `image`: a PNG or a JPEG file");
        }
        PresenterKind::Image if asked.avatar_id.is_some() => {
            return refused(
                "avatar_id",
                "the type `image` takes no avatar_id; use the type `avatar`, or leave one out",
            );
        }
        PresenterKind::Image if asked.expressiveness.is_some() => {
            return refused(
                "expressiveness",
                "expressiveness is for the type `avatar`; make a look of the photo first",
            );
        }
        PresenterKind::Cinematic => {
            let message = "this farm makes no cinematic videos: that needs an engine that generates video, and none can be \
                           configured; use the type `avatar` or `image`";
            return Err(ApiError::new(Code::EngineNotConfigured, message).of("type"));
        }
        PresenterKind::Avatar | PresenterKind::Image => {}
    }
    if asked.motion_prompt.is_some() {
        return missing("motion_prompt", "an engine that moves bodies by a description");
    }
    if let Some(engine) = &asked.engine
        && &*engine.kind != ENGINE
    {
        return refused("engine.type", "engine.type must be `avatar_iv`, the one of supported_api_engines");
    }
    let sounds = [("audio_url", asked.audio_url.is_some()), ("audio_asset_id", asked.audio_asset_id.is_some())];
    match (&asked.script, sounds.map(|(_, is_given)| is_given)) {
        (None, [false, false]) => {
            return refused("script", "one of script, audio_url and audio_asset_id is required");
        }
        (Some(_), [false, false]) if asked.voice_id.is_none() => {
            return refused("voice_id", "voice_id is required with a script: a voice of GET /v3/voices");
        }
        (Some(_), [false, false]) | (None, [true, false] | [false, true]) => {}
        (Some(_), [true, _]) => return refused("audio_url", "a script excludes audio_url"),
        (Some(_), [_, true]) => return refused("audio_asset_id", "a script excludes audio_asset_id"),
        (None, [true, true]) => return refused("audio_asset_id", "audio_url excludes audio_asset_id"),
    }
    if asked.script.is_none() {
        for (param, is_given) in
            [("voice_id", asked.voice_id.is_some()), ("voice_settings", asked.voice_settings.is_some())]
        {
            if is_given {
                return refused(param, &format!("{param} is for a script, and there is none"));
            }
        }
    }
    let speed = asked.voice_settings.as_ref().and_then(|settings| settings.speed).unwrap_or(1.0);
    if !PRESENTER_SPEEDS.contains(&speed) {
        return refused("voice_settings.speed", "speed must be a number from 0.5 to 1.5");
    }
    let url = asked.callback_url.as_deref().map(|url| receiver_url("callback_url", url, &api.config));
    url.transpose().map(drop)
}

/// Who presents.
struct Presenter {
    file: MediaFile,
    size: Size,
    face: Option<Face>,
}

async fn presenter(api: &Api, caller: &Caller, asked: &VideoRequest) -> Result<Presenter, ApiError> {
    if let Some(input) = &asked.image {
        let file = media::file(api, caller, input, "image", Wanted::Image).await?;
        return Ok(Presenter { size: size_of(&file, "image")?, file, face: None });
    }
    let id = asked.avatar_id.as_deref().unwrap_or_default();
    let look = find_look(api, caller, id).await.map_err(|error| error.of("avatar_id"))?;
    let objects = &api.coordinator.backplane().objects;
    let face = match avatars::face(objects, &look.space, &look.id).await? {
        Some(FoundFace::Found(face)) => face,
        Some(FoundFace::Missing(reason)) => {
            let message = format!("the look {id} cannot present: {reason}");
            return Err(ApiError::invalid("avatar_id", message));
        }
        None => {
            let message =
                format!("the face of the look {id} is still looked for; try again when its status is `completed`");
            return Err(ApiError::new(Code::NotReady, message).of("avatar_id").retry_after(5));
        }
    };
    let extension = if look.photo.ends_with(".png") { ".png" } else { ".jpg" };
    let file = MediaFile { extension, bytes: objects.get(&look.photo).await? };
    Ok(Presenter { size: look.size, file, face: Some(face) })
}

async fn background(api: &Api, caller: &Caller, asked: Option<&BackgroundSetting>) -> Result<Background, ApiError> {
    let Some(BackgroundSetting { kind, value, url, asset_id }) = asked else { return Ok(Background::None) };
    let is_video = *kind == BackgroundKind::Video;
    let wanted = if is_video { Wanted::Video } else { Wanted::Image };
    let made_of = |file: MediaFile| Ok(if is_video { Background::Video(file) } else { Background::Image(file) });
    match (kind, value, url, asset_id) {
        (BackgroundKind::Color, Some(value), None, None) => {
            let digits = value.strip_prefix('#').unwrap_or_default();
            let is_hex = [3, 6, 8].contains(&digits.len()) && digits.chars().all(|c| c.is_ascii_hexdigit());
            if !is_hex {
                return Err(ApiError::invalid("background.value", "value must be a colour such as `#1a2b3c`"));
            }
            Ok(Background::Color(value.to_string()))
        }
        (BackgroundKind::Color, None, ..) => {
            Err(ApiError::invalid("background.value", "value is required with the type `color`"))
        }
        (BackgroundKind::Color, ..) => {
            Err(ApiError::invalid("background.type", "a background of the type `color` has neither url nor asset_id"))
        }
        (_, Some(_), ..) => {
            Err(ApiError::invalid("background.value", "only a background of the type `color` has a value"))
        }
        (_, None, Some(url), None) => made_of(media::behind(api, url, "background.url", wanted).await?),
        (_, None, None, Some(id)) => made_of(media::asset(api, caller, id, "background.asset_id", wanted).await?),
        (_, None, ..) => {
            let message = "a background of the type `image` or `video` has one of url and asset_id";
            Err(ApiError::invalid("background.url", message))
        }
    }
}

/// What the presenter says: the script, spoken now, or a sound.
async fn sound(api: &Api, caller: &Caller, asked: &VideoRequest) -> Result<SpokenSound, ApiError> {
    if let Some(script) = &asked.script {
        return spoken(api, script, asked.voice_id.as_deref().unwrap_or_default(), asked.voice_settings.as_ref()).await;
    }
    let file = match (&asked.audio_url, &asked.audio_asset_id) {
        (Some(url), _) => media::behind(api, url, "audio_url", Wanted::Sound).await?,
        (None, Some(id)) => media::asset(api, caller, id, "audio_asset_id", Wanted::Sound).await?,
        (None, None) => return Err(ApiError::invalid("script", "there is nothing to say")),
    };
    Ok(SpokenSound { file, seconds: None, words: Vec::new() })
}

async fn spoken(api: &Api, text: &str, voice: &str, settings: Option<&VoiceSettings>) -> Result<SpokenSound, ApiError> {
    let script = Script::text(text);
    if script.is_silent() {
        return Err(ApiError::invalid("script", "script must have 1 to 5000 characters, and a word among them"));
    }
    let settings = settings.cloned().unwrap_or_default();
    let locale = settings.locale.map(String::from);
    let request = SpeechRequest {
        script,
        voice: voice.to_owned(),
        speed: settings.speed.unwrap_or(1.0),
        pitch: settings.pitch.map_or(0, |pitch| pitch.get()),
        locale: locale.clone(),
    };
    let speech = voices::made(api, &request).await.map_err(|error| match error.param.as_deref() {
        Some("locale" | "pitch") => {
            let param = format!("voice_settings.{}", error.param.as_deref().unwrap_or_default());
            error.of(param)
        }
        Some("text") => error.of("script"),
        _ => error,
    })?;
    let catalogue = voices::catalogue(api)?;
    let locale = match locale {
        Some(locale) => locale,
        None => catalogue.find(voice).await.map_err(voices::refusal)?.voice.locale,
    };
    let words = speech.words.unwrap_or_default();
    let written: Vec<String> = words.iter().map(|word| word.word.clone()).collect();
    let phonemes = if written.is_empty() { None } else { catalogue.phonemes(&locale, &written).await };
    let mut phonemes = phonemes.unwrap_or_default().into_iter();
    let words = words
        .into_iter()
        .map(|word| SpokenWord { word: word.word, start: word.start, end: word.end, phonemes: phonemes.next() })
        .collect();
    let seconds = Some(speech.sound.duration().as_secs_f64());
    Ok(SpokenSound { file: MediaFile { extension: ".wav", bytes: speech.sound.wav().into() }, seconds, words })
}

/// The size of the picture: its shorter side is that of the resolution.
fn size(resolution: Option<VideoResolution>, ratio: VideoAspectRatio, photo: Size) -> Size {
    let short = match resolution.unwrap_or(VideoResolution::FullHd) {
        VideoResolution::Hd => 720,
        VideoResolution::FullHd => 1080,
        VideoResolution::Uhd => 2160,
    };
    let (across, down) = match ratio {
        VideoAspectRatio::Landscape => (16, 9),
        VideoAspectRatio::Portrait => (9, 16),
        VideoAspectRatio::Vertical => (4, 5),
        VideoAspectRatio::Horizontal => (5, 4),
        VideoAspectRatio::Square => (1, 1),
        VideoAspectRatio::Auto => (photo.width, photo.height),
    };
    // Encoders take even sides. A strip of a photo is cut to 16:9.
    let long = |more: u32, less: u32| {
        let side = u64::from(short) * u64::from(more) / u64::from(less.max(1));
        (side.min(u64::from(short) * 16 / 9) as u32).next_multiple_of(2)
    };
    if across >= down {
        Size { width: long(across, down), height: short }
    } else {
        Size { width: short, height: long(down, across) }
    }
}

/// The seed of a video's motion: a hash of its id, so that a repeated request makes the same video.
fn motion_seed(render: &RenderId) -> u32 {
    let hash = ContentHash::of(render.as_str().as_bytes()).to_string();
    u32::from_str_radix(&hash[..8], 16).unwrap_or_default()
}

/// `GET /v3/videos?limit&token&title&folder_id`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<VideosQuery>,
    headers: HeaderMap,
) -> List<Video> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    if query.folder_id.is_some() {
        return Ok(Json(Page::new(Vec::new(), None)));
    }
    let wanted = query.title.as_deref().map(str::to_lowercase);
    let base = base_url(&api.config, &headers);
    let folder = object_keys::space_videos(&caller.rights.space);
    let ids = newest_marks(&api.coordinator.backplane().objects, &folder).await?;
    let (mut data, mut next) = (Vec::<Video>::new(), None);
    for id in ids.iter().filter(|id| page.after.as_deref().is_none_or(|after| id.as_str() < after)) {
        let detail = match find(&api, &caller, id).await {
            Ok(detail) => detail,
            // It was deleted as a render.
            Err(error) if error.code == Code::VideoNotFound => continue,
            Err(error) => return Err(error),
        };
        let title = detail.request.spec.title.as_deref().unwrap_or_default().to_lowercase();
        if wanted.as_ref().is_some_and(|wanted| !title.contains(wanted)) {
            continue;
        }
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.id));
            break;
        }
        data.push(view(&api, base.as_ref(), &detail).await?);
    }
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/videos/{video_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Video> {
    let detail = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&api, base_url(&api.config, &headers).as_ref(), &detail).await? }))
}

/// `DELETE /v3/videos/{video_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Deleted> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    api.coordinator.delete(&render).await?;
    api.coordinator.backplane().objects.delete(&object_keys::space_video(&caller.rights.space, &render)).await?;
    Ok(Json(Data { data: Deleted { id: render.into(), deleted: true } }))
}

/// The caller's video.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<RenderDetail, ApiError> {
    let missing = || ApiError::new(Code::VideoNotFound, format!("there is no video {}", id.escape_debug()));
    let render: RenderId = id.parse().map_err(|_| missing())?;
    match api.coordinator.detail_in(&caller.rights.space, &render).await {
        Ok(detail) if matches!(detail.intake.purpose, Purpose::Video { .. } | Purpose::Agent(_)) => Ok(detail),
        Ok(_) | Err(RenderError::NotFound(_)) => Err(missing()),
        Err(error) => Err(error.into()),
    }
}

/// The caller's video as clients see it; `None` where there is none.
pub(super) async fn find_view(
    api: &Api,
    caller: &Caller,
    id: &str,
    base: Option<&Url>,
) -> Result<Option<Video>, ApiError> {
    match find(api, caller, id).await {
        Ok(detail) => view(api, base, &detail).await.map(Some),
        // It was deleted as a render.
        Err(error) if error.code == Code::VideoNotFound => Ok(None),
        Err(error) => Err(error),
    }
}

async fn view(api: &Api, base: Option<&Url>, detail: &RenderDetail) -> Result<Video, ApiError> {
    let (request, progress) = (&detail.request, &detail.progress);
    let shows_captions = detail.intake.purpose == Purpose::Video { shows_captions: true };
    let (mut completed, mut failure) = (None, None);
    match progress.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Completed { duration, output }) => completed = Some((*duration, output)),
        Some(Outcome::Failed { failure: reason, .. }) => failure = Some(reason),
        None => {}
    }
    let output = completed.map(|(_, output)| output);
    let subtitles = output.and_then(|output| sidecar_key(output, Sidecar::SUBRIP));
    let video_url = api.signed_url(output.map(|output| output.key.as_str()), base).await?;
    Ok(Video {
        id: request.id.to_string(),
        title: request.spec.title.clone().map(String::from),
        status: match Status::of(progress) {
            Status::Queued => VideoStatus::Pending,
            Status::Rendering => VideoStatus::Processing,
            Status::Completed => VideoStatus::Completed,
            Status::Failed | Status::Cancelled => VideoStatus::Failed,
        },
        captioned_video_url: video_url.clone().filter(|_| shows_captions),
        video_url,
        thumbnail_url: api.signed_url(output.map(|output| output.thumbnail.as_str()), base).await?,
        gif_url: None,
        subtitle_url: api.signed_url(subtitles, base).await?,
        duration: completed.map(|(duration, _)| duration),
        created_at: request.created_at_ms / 1000,
        completed_at: progress.end.as_ref().map(|end| end.ended_at_ms / 1000),
        failure_code: failure.map(error_code),
        failure_message: failure.map(|failure| failure.message.clone()),
        video_page_url: None,
        callback_id: request.spec.callback_id.clone().map(String::from),
        output_format: if request.spec.format == Format::Webm { VideoFormat::Webm } else { VideoFormat::Mp4 },
        folder_id: None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_resolution_and_shape() {
        let photo = |width, height| Size { width, height };
        for (resolution, ratio, source, expected) in [
            (Some(VideoResolution::Hd), VideoAspectRatio::Landscape, photo(10, 10), (1280, 720)),
            (None, VideoAspectRatio::Portrait, photo(10, 10), (1080, 1920)),
            (Some(VideoResolution::Uhd), VideoAspectRatio::Square, photo(10, 10), (2160, 2160)),
            (Some(VideoResolution::Hd), VideoAspectRatio::Vertical, photo(10, 10), (720, 900)),
            (Some(VideoResolution::Hd), VideoAspectRatio::Horizontal, photo(10, 10), (900, 720)),
            (None, VideoAspectRatio::Auto, photo(600, 400), (1620, 1080)),
            (None, VideoAspectRatio::Auto, photo(500, 333), (1622, 1080)),
            (Some(VideoResolution::Hd), VideoAspectRatio::Auto, photo(8192, 128), (1280, 720)),
        ] {
            let found = size(resolution, ratio, source);
            assert_eq!((found.width, found.height), expected, "{resolution:?} {ratio:?} {source:?}");
        }
    }
}
