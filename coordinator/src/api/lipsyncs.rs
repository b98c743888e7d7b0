//! Lipsyncs: existing videos with a new sound, composed by the farm and rendered as any other project.
//!
//! In the mode `precision` an engine of the operator's makes the picture first. That takes minutes, in this process and not as a
//! task of the queue: it waits for the engine. A few run at once, each within [`RUN_WITHIN`]. A run that ends with its process
//! has failed once that time is over.

use std::io::Write;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::avatars::FileInput;
use hyperfarm_api::lipsyncs::{
    FpsMode, Lipsync, LipsyncChange, LipsyncCreated, LipsyncDeleted, LipsyncMode, LipsyncRequest, LipsyncStatus,
};
use hyperfarm_api::request::{self, ListQuery};
use hyperfarm_api::webhooks::LipsyncEventData;
use hyperfarm_api::{Data, Page};
use hyperfarm_media::{MediaInfo, VideoInfo};
use hyperfarm_proto::bounded::Bounded;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, RenderId, Space};
use hyperfarm_proto::record::{Outcome, Sidecar};
use hyperfarm_proto::spec::{Bitrate, RenderSpec, Size};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use url::Url;

use super::avatars::submit;
use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::media::{self, Wanted};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List, renders, sidecar_key};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::assets;
use crate::clock::now_ms;
use crate::coordinator::RenderError;
use crate::intake::{Purpose, Seed};
use crate::lipsync::composition::Dub;
use crate::lipsync::records::{self, JobRecord, JobStage};
use crate::lipsync::times::Times;
use crate::lipsync::{self, ANSWER_WITHIN, LipsyncEngine, LipsyncJob};
use crate::presenter::{MediaFile, SpokenWord};
use crate::status::Status;
use crate::webhooks::Event;

/// Items on a page, where the client does not say.
const PAGE: usize = 10;

/// Engines' runs at once: each has a video and a sound in memory.
const AT_ONCE: usize = 2;

/// How long a run may take: the answer of the engine, and storing the project.
const RUN_WITHIN: Duration = ANSWER_WITHIN.saturating_add(Duration::from_secs(300));

/// Seconds of a part with a new sound at least, and of the sound.
const LEAST: f64 = 0.1;

/// Seconds by which times of a request may lie beyond the video's end: containers round.
const TOLERANCE: f64 = 0.05;

/// Pixels a side of a video.
const SIDES: std::ops::RangeInclusive<u32> = 16..=8192;

/// Loudness of enhanced speech, in LUFS.
const LOUDNESS: i32 = -16;

/// The failure code of a lipsync whose engine made nothing.
const ENGINE_FAILED: &str = "engine_failed";

/// The turns of engines' runs.
pub(crate) struct LipsyncPermits(Arc<Semaphore>);

impl Default for LipsyncPermits {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(AT_ONCE)))
    }
}

impl LipsyncPermits {
    /// Waits for a turn.
    pub(super) async fn wait(&self) -> Option<OwnedSemaphorePermit> {
        self.0.clone().acquire_owned().await.ok()
    }

    fn turn(&self) -> Result<OwnedSemaphorePermit, ApiError> {
        self.0.clone().try_acquire_owned().map_err(|_| {
            let message = format!("the farm's lip-sync engine is at {AT_ONCE} videos already; try again");
            ApiError::new(Code::RateLimited, message).retry_after(30)
        })
    }
}

/// `POST /v3/lipsyncs`.
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
        let asked: LipsyncRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        let engine = check(&asked, &api)?;
        api.admission.check_spending(&caller).await?;
        // The turn comes first, so that no files are fetched for nothing.
        let engine = engine.map(|engine| Ok::<_, ApiError>((engine, api.lipsyncs.turn()?))).transpose()?;
        let made = make(&api, &caller, asked).await?;
        let created = LipsyncCreated { lipsync_id: seed.render().to_string() };
        match engine {
            None => {
                let purpose = Purpose::Lipsync(LipsyncMode::Speed);
                let bundle = made.dub.bundle().map_err(|error| ApiError::internal(&error))?;
                submit(&api, &caller, bundle, made.spec, purpose, origin, seed).await?;
            }
            Some((engine, turn)) => Run { api, caller, engine, made, origin, seed }.begin(turn).await?,
        }
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&key, "POST /v3/lipsyncs", &headers, &body, make).await)
}

/// What can be said of a request by itself. Answers the engine, where one is asked for.
fn check(asked: &LipsyncRequest, api: &Api) -> Result<Option<Arc<dyn LipsyncEngine>>, ApiError> {
    check_times(asked.start_time, asked.end_time)?;
    asked.callback_url.as_deref().map(|url| receiver_url("callback_url", url, &api.config)).transpose()?;
    engine_for(api, asked.mode)
}

/// Checks what can be said of the times of a part by themselves.
pub(super) fn check_times(start: Option<f64>, end: Option<f64>) -> Result<(), ApiError> {
    for (param, seconds) in [("start_time", start), ("end_time", end)] {
        if seconds.is_some_and(|seconds| !seconds.is_finite() || seconds < 0.0) {
            return Err(ApiError::invalid(param, format!("{param} must be a number of seconds, 0 or more")));
        }
    }
    match end {
        Some(end) if end - start.unwrap_or(0.0) < LEAST => {
            Err(ApiError::invalid("end_time", format!("end_time must be {LEAST} s or more after start_time")))
        }
        _ => Ok(()),
    }
}

/// The engine that a mode needs.
pub(super) fn engine_for(api: &Api, mode: Option<LipsyncMode>) -> Result<Option<Arc<dyn LipsyncEngine>>, ApiError> {
    if mode.unwrap_or_default() == LipsyncMode::Speed {
        return Ok(None);
    }
    let engine = api.config.lipsync.clone().ok_or_else(|| {
        let message = "this farm has no engine that moves mouths; its operator names one by HYPERFARM_LIPSYNC_URL. The mode \
                       `speed` needs none";
        ApiError::new(Code::EngineNotConfigured, message).of("mode")
    })?;
    Ok(Some(engine))
}

/// A video of a request.
pub(super) struct Clip {
    pub(super) file: MediaFile,
    pub(super) has_sound: bool,
    /// Size of its picture in square pixels, with even sides.
    pub(super) size: Size,
    pub(super) seconds: f64,
    /// `None` where its frames have no rate.
    pub(super) frame_rate: Option<FrameRate>,
}

impl Clip {
    /// Its bit rate on average.
    pub(super) fn bit_rate(&self) -> Option<Bitrate> {
        bit_rate(self.file.bytes.len() as f64 * 8.0 / self.seconds)
    }
}

/// Fetches and reads the video of a request.
pub(super) async fn clip_of(
    api: &Api,
    caller: &Caller,
    input: &FileInput,
    fps_mode: Option<FpsMode>,
) -> Result<Clip, ApiError> {
    let file = media::file(api, caller, input, "video", Wanted::Video).await?;
    let info = headers_of(api, &file, "video").await?;
    let video = info.video.as_ref().ok_or_else(|| ApiError::invalid("video", "the video has no pictures"))?;
    let size = size_of(video)?;
    let seconds = video.duration.or(info.duration).filter(|seconds| *seconds >= LEAST).ok_or_else(|| {
        ApiError::invalid(
            "video",
            format!("the video has no length in its header, or less than {LEAST} s; save it again"),
        )
    })?;
    if matches!(fps_mode, Some(FpsMode::Vfr | FpsMode::Passthrough)) && video.has_variable_rate {
        let message = "the video has a variable frame rate, and outputs of this farm have a constant one; use `cfr`";
        return Err(ApiError::invalid("fps_mode", message));
    }
    Ok(Clip { file, has_sound: info.audio.is_some(), size, seconds, frame_rate: video.frame_rate })
}

/// The loudness that enhanced speech is brought to.
pub(super) fn loudness(is_enhanced: bool) -> Option<Bounded<i32, -31, -9>> {
    is_enhanced.then(|| Bounded::new(LOUDNESS)).flatten()
}

/// A lipsync that is to be rendered.
struct Made {
    dub: Dub,
    spec: RenderSpec,
    times: Times,
}

/// Fetches and reads the files of a request, and composes them.
async fn make(api: &Api, caller: &Caller, asked: LipsyncRequest) -> Result<Made, ApiError> {
    let clip = clip_of(api, caller, &asked.video, asked.fps_mode).await?;
    let sound = media::file(api, caller, &asked.audio, "audio", Wanted::Sound).await?;
    let (start, end) = part((asked.start_time, asked.end_time), clip.seconds)?;
    let (sound, lasts) = sound_of(api, sound).await?;
    let is_dynamic = asked.enable_dynamic_duration.unwrap_or(true);
    let times = Times::new(clip.seconds, (start, end), lasts, is_dynamic);
    let is_enhanced = asked.enable_speech_enhancement.unwrap_or_default();
    let spec = RenderSpec {
        fps: clip.frame_rate,
        title: asked.title,
        callback_url: asked.callback_url,
        callback_id: asked.callback_id,
        captions: asked.enable_caption.unwrap_or_default(),
        loudness: loudness(is_enhanced),
        video_bitrate: asked.keep_the_same_format.unwrap_or_default().then(|| clip.bit_rate()).flatten(),
        ..RenderSpec::default()
    };
    let words = words_of(api, caller, &asked.audio).await?;
    let dub = Dub {
        pieces: times.pieces(false),
        has_sound: clip.has_sound,
        moved: None,
        sound,
        heard: (start, lasts.min(times.length)),
        words: words.into_iter().filter_map(|word| word.heard((start, times.length))).collect(),
        size: clip.size,
        is_enhanced,
        has_watermark: asked.enable_watermark.unwrap_or_default(),
        clip: clip.file,
    };
    if spec.captions && dub.words.is_empty() {
        let message = "enable_caption needs to know the words of the sound, and the farm has no engine that hears them: give the \
                       asset of a POST /v3/voices/speech whose answer has word_timestamps, or leave enable_caption out";
        return Err(ApiError::new(Code::EngineNotConfigured, message).of("enable_caption"));
    }
    Ok(Made { dub, spec, times })
}

/// The bit rate nearest to `bits` a second that an encoder can aim at.
pub(super) fn bit_rate(bits: f64) -> Option<Bitrate> {
    Bitrate::new((bits as u64).clamp(Bitrate::MIN, Bitrate::MAX))
}

/// The size of the picture: that of the video in square pixels, with even sides.
fn size_of(video: &VideoInfo) -> Result<Size, ApiError> {
    let Size { width, height } = video.display;
    if !SIDES.contains(&width) || !SIDES.contains(&height) {
        let message = format!(
            "the video has {width} by {height} pixels, and may have {} to {} a side",
            SIDES.start(),
            SIDES.end()
        );
        return Err(ApiError::invalid("video", message));
    }
    Ok(Size { width: width.next_multiple_of(2), height: height.next_multiple_of(2) })
}

/// The part of a video of `seconds` that gets the new sound.
pub(super) fn part((start, end): (Option<f64>, Option<f64>), seconds: f64) -> Result<(f64, f64), ApiError> {
    let start = start.unwrap_or(0.0);
    if start > seconds - LEAST {
        let message =
            format!("start_time must be {LEAST} s or more before the end of the video, which lasts {seconds:.3} s");
        return Err(ApiError::invalid("start_time", message));
    }
    match end {
        None => Ok((start, seconds)),
        Some(end) if end > seconds + TOLERANCE => {
            let message = format!("end_time must not be after the end of the video, which lasts {seconds:.3} s");
            Err(ApiError::invalid("end_time", message))
        }
        Some(end) => Ok((start, end.min(seconds))),
    }
}

/// A sound of a request with its seconds.
pub(super) async fn sound_of(api: &Api, file: MediaFile) -> Result<(MediaFile, f64), ApiError> {
    let info = headers_of(api, &file, "audio").await?;
    let audio = info.audio.ok_or_else(|| ApiError::invalid("audio", "the file has no sound"))?;
    let counted = audio.samples.map(|samples| samples as f64 / f64::from(audio.sample_rate.max(1)));
    let seconds = counted.or(info.duration).filter(|seconds| *seconds >= LEAST);
    let short = || ApiError::invalid("audio", format!("the sound must last {LEAST} s or more"));
    Ok((file, seconds.ok_or_else(short)?))
}

/// The words of a sound, where the farm has spoken it.
pub(super) async fn words_of(api: &Api, caller: &Caller, input: &FileInput) -> Result<Vec<SpokenWord>, ApiError> {
    let FileInput::AssetId { asset_id } = input else { return Ok(Vec::new()) };
    let objects = &api.coordinator.backplane().objects;
    Ok(assets::words(objects, &caller.rights.space, asset_id).await?.unwrap_or_default())
}

/// The headers of a file, read as those of projects are.
pub(super) async fn headers_of(api: &Api, file: &MediaFile, param: &'static str) -> Result<MediaInfo, ApiError> {
    let (decoders, bytes) = (api.config.decoders.clone(), file.bytes.clone());
    let name = format!("{param}{}", file.extension);
    let read = tokio::task::spawn_blocking(move || {
        let local = |error: std::io::Error| ApiError::internal(&error);
        let mut copy = tempfile::NamedTempFile::new().map_err(local)?;
        copy.write_all(&bytes).map_err(local)?;
        decoders.probe(copy.path(), &name).map_err(|error| {
            if error.is_input() { ApiError::invalid(param, error.to_string()) } else { ApiError::internal(&error) }
        })
    });
    read.await.map_err(|error| ApiError::internal(&error))?
}

/// A run of the engine: from a composed request to a render.
struct Run {
    api: Api,
    caller: Caller,
    engine: Arc<dyn LipsyncEngine>,
    made: Made,
    origin: Option<Url>,
    seed: Seed,
}

impl Run {
    /// Stores the job and begins. The lipsync exists once this returns.
    async fn begin(self, turn: OwnedSemaphorePermit) -> Result<(), ApiError> {
        let (render, space) = (self.seed.render(), self.caller.rights.space.clone());
        // A limit that is reached now would refuse the render once the engine has worked for it.
        drop(self.api.admission.reserve(&self.caller, vec![render.clone()]).await?);
        let objects = self.api.coordinator.backplane().objects.clone();
        let spec = &self.made.spec;
        let job = JobRecord {
            title: spec.title.clone().map(String::from),
            callback_id: spec.callback_id.clone().map(String::from),
            created_at_ms: self.seed.at_ms(),
            stage: JobStage::Running(now_ms() + RUN_WITHIN.as_millis() as u64),
        };
        records::put_job(&objects, &space, &render, &job).await?;
        let (api, callback) = (self.api.clone(), spec.callback_url.clone().map(String::from));
        tokio::spawn(async move {
            let ended = tokio::time::timeout(RUN_WITHIN, self.go());
            let ended = ended.await.unwrap_or_else(|_| {
                Err(format!("the lip-sync engine did not come to an end within {} s", RUN_WITHIN.as_secs()))
            });
            if let Err(reason) = ended {
                info!(%render, reason, "a run of the lip-sync engine failed");
                fail(&api, &space, &render, job, callback, reason).await;
            }
            drop(turn);
        });
        Ok(())
    }

    /// Has the engine make the picture, and submits the render.
    async fn go(self) -> Result<(), String> {
        let Self { api, caller, engine, made: Made { mut dub, spec, times }, origin, seed } = self;
        let (render, space) = (seed.render(), caller.rights.space.clone());
        let objects = api.coordinator.backplane().objects.clone();
        let moved = moved(&api, &*engine, &dub.clip, &dub.sound, (times.start, times.end), times.length).await?;
        (dub.moved, dub.pieces) = (Some(moved), times.pieces(true));
        // It was deleted in the meantime.
        let is_wanted = records::job(&objects, &space, &render).await.map_err(|error| error.to_string())?.is_some();
        if !is_wanted {
            return Ok(());
        }
        let bundle = dub.bundle().map_err(|error| error.to_string())?;
        let purpose = Purpose::Lipsync(LipsyncMode::Precision);
        submit(&api, &caller, bundle, spec, purpose, origin, seed).await.map_err(|error| error.message)?;
        if let Err(error) = records::end_job(&objects, &space, &render).await {
            // The render counts, whatever the job says.
            warn!(%render, %error, "the job of a lipsync could not be removed");
        }
        Ok(())
    }
}

/// What an engine makes of the part of a video with a sound, in `length` seconds.
pub(super) async fn moved(
    api: &Api,
    engine: &dyn LipsyncEngine,
    clip: &MediaFile,
    sound: &MediaFile,
    (start, end): (f64, f64),
    length: f64,
) -> Result<MediaFile, String> {
    let job = LipsyncJob {
        video: clip.bytes.clone(),
        video_type: if clip.extension == ".webm" { "video/webm" } else { "video/mp4" },
        audio: sound.bytes.clone(),
        audio_type: if sound.extension == ".wav" { "audio/wav" } else { "audio/mpeg" },
        start,
        end,
        duration: length,
    };
    let answer = engine.moved(job).await.map_err(|error| error.to_string())?;
    let moved = media::checked_answer(answer, Wanted::Video)
        .ok_or("the lip-sync engine answered with something that is neither an MP4 nor a WebM file")?;
    let info = headers_of(api, &moved, "moved").await;
    let info = info.map_err(|error| format!("the lip-sync engine's video cannot be used: {}", error.message))?;
    if info.video.is_none() {
        return Err("the lip-sync engine's video has no pictures".to_owned());
    }
    Ok(moved)
}

/// Stores that a run came to nothing, and tells of it.
async fn fail(api: &Api, space: &Space, render: &RenderId, job: JobRecord, callback: Option<String>, reason: String) {
    let objects = &api.coordinator.backplane().objects;
    match records::job(objects, space, render).await {
        // It was deleted.
        Ok(None) => return,
        Ok(Some(_)) => {}
        Err(error) => warn!(%render, %error, "the job of a lipsync could not be read"),
    }
    let at_ms = now_ms();
    let hash = ContentHash::of(format!("{render}\n{at_ms}").as_bytes()).to_string();
    let title = records::title(objects, space, render).await.unwrap_or_default();
    let data = LipsyncEventData {
        lipsync_id: render.to_string(),
        title: title.or_else(|| job.title.clone()),
        url: None,
        duration: None,
        callback_id: job.callback_id.clone(),
        msg: Some(reason.clone()),
        failure_code: Some(ENGINE_FAILED.to_owned()),
    };
    let event = Event {
        event_id: format!("evt_{at_ms:012x}{}", &hash[..16]),
        event_type: lipsync::FAIL.to_owned(),
        event_data: serde_json::to_value(data).unwrap_or_default(),
        entity_id: render.to_string(),
        space: space.clone(),
        created_at_ms: at_ms,
    };
    let callback = callback.and_then(|url| Url::parse(&url).ok()).map(|url| (url, Default::default()));
    // The deliverer finds in storage what is to be sent.
    if let Err(error) = api.webhooks.publish(&event, callback, at_ms).await {
        warn!(%render, %error, "the event of a failed lipsync could not be stored");
    }
    let failed = JobRecord { stage: JobStage::Failed(reason), ..job };
    if let Err(error) = records::put_job(objects, space, render, &failed).await {
        warn!(%render, %error, "the end of a lipsync could not be stored");
    }
}

/// The caller's lipsync: its render, or what the engine does before there is one.
enum Found {
    Rendered(Box<RenderDetail>),
    Job(JobRecord),
}

async fn find(api: &Api, caller: &Caller, id: &str) -> Result<(RenderId, Found), ApiError> {
    let missing = || ApiError::new(Code::ResourceNotFound, format!("there is no lipsync {}", id.escape_debug()));
    let render: RenderId = id.parse().map_err(|_| missing())?;
    let space = &caller.rights.space;
    match api.coordinator.detail_in(space, &render).await {
        Ok(detail) if matches!(detail.intake.purpose, Purpose::Lipsync(_)) => {
            Ok((render, Found::Rendered(Box::new(detail))))
        }
        Ok(_) => Err(missing()),
        Err(RenderError::NotFound(_)) => {
            let job = records::job(&api.coordinator.backplane().objects, space, &render).await?;
            Ok((render, Found::Job(job.ok_or_else(missing)?)))
        }
        Err(error) => Err(error.into()),
    }
}

async fn view(
    api: &Api,
    caller: &Caller,
    base: Option<&Url>,
    (render, found): &(RenderId, Found),
) -> Result<Lipsync, ApiError> {
    let objects = &api.coordinator.backplane().objects;
    let title = records::title(objects, &caller.rights.space, render).await?;
    let detail = match found {
        Found::Rendered(detail) => detail,
        Found::Job(job) => {
            let failure = match &job.stage {
                JobStage::Running(until_ms) if now_ms() < *until_ms => None,
                JobStage::Running(_) => {
                    Some("the farm's process ended while the engine was at work; ask again".to_owned())
                }
                JobStage::Failed(reason) => Some(reason.clone()),
            };
            return Ok(Lipsync {
                id: render.to_string(),
                title: title.or_else(|| job.title.clone()),
                status: if failure.is_some() { LipsyncStatus::Failed } else { LipsyncStatus::Running },
                duration: None,
                video_url: None,
                caption_url: None,
                callback_id: job.callback_id.clone(),
                created_at: Some(job.created_at_ms / 1000),
                failure_message: failure,
            });
        }
    };
    let (request, progress) = (&detail.request, &detail.progress);
    let (mut completed, mut failure) = (None, None);
    match progress.end.as_ref().map(|end| &end.outcome) {
        Some(Outcome::Completed { duration, output }) => completed = Some((*duration, output)),
        Some(Outcome::Failed { failure: reason, .. }) => failure = Some(reason),
        None => {}
    }
    let output = completed.map(|(_, output)| output);
    let captions = output.and_then(|output| sidecar_key(output, Sidecar::SUBRIP));
    Ok(Lipsync {
        id: request.id.to_string(),
        title: title.or_else(|| request.spec.title.clone().map(String::from)),
        status: match Status::of(progress) {
            Status::Queued => LipsyncStatus::Pending,
            Status::Rendering => LipsyncStatus::Running,
            Status::Completed => LipsyncStatus::Completed,
            Status::Failed | Status::Cancelled => LipsyncStatus::Failed,
        },
        duration: completed.map(|(duration, _)| duration),
        video_url: api.signed_url(output.map(|output| output.key.as_str()), base).await?,
        caption_url: api.signed_url(captions, base).await?,
        callback_id: request.spec.callback_id.clone().map(String::from),
        created_at: Some(request.created_at_ms / 1000),
        failure_message: failure.map(|failure| failure.message.clone()),
    })
}

/// `GET /v3/lipsyncs?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
    headers: HeaderMap,
) -> List<Lipsync> {
    let page = PageRange::of(&query, PAGE)?;
    let base = base_url(&api.config, &headers);
    let ids = records::ids(&api.coordinator.backplane().objects, &caller.rights.space).await?;
    let (mut data, mut next) = (Vec::<Lipsync>::new(), None);
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

/// `GET /v3/lipsyncs/{lipsync_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Lipsync> {
    let found = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&api, &caller, base_url(&api.config, &headers).as_ref(), &found).await? }))
}

/// `PATCH /v3/lipsyncs/{lipsync_id}`.
pub(super) async fn change(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<Lipsync> {
    let found = find(&api, &caller, &id).await?;
    let asked: LipsyncChange = request::parse(request::object(&super::read_body(body).await?)?)?;
    let title = asked.title.trim();
    if title.is_empty() {
        return Err(ApiError::invalid("title", "title must be a text of 1 to 500 characters"));
    }
    records::put_title(&api.coordinator.backplane().objects, &caller.rights.space, &found.0, title).await?;
    Ok(Json(Data { data: view(&api, &caller, base_url(&api.config, &headers).as_ref(), &found).await? }))
}

/// `DELETE /v3/lipsyncs/{lipsync_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<LipsyncDeleted> {
    let (render, found) = find(&api, &caller, &id).await?;
    if matches!(found, Found::Rendered(_)) {
        api.coordinator.delete(&render).await?;
    }
    records::delete(&api.coordinator.backplane().objects, &caller.rights.space, &render).await?;
    Ok(Json(Data { data: LipsyncDeleted { id: render.into() } }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_lies_in_the_video() {
        let of = |start, end| part((start, end), 10.0).map_err(|error| error.param.unwrap());
        assert_eq!(of(None, None), Ok((0.0, 10.0)));
        assert_eq!(of(Some(2.0), Some(4.0)), Ok((2.0, 4.0)));
        assert_eq!(of(Some(2.0), Some(10.03)), Ok((2.0, 10.0)), "containers round");
        assert_eq!(of(Some(9.95), None), Err("start_time".to_owned()));
        assert_eq!(of(None, Some(10.1)), Err("end_time".to_owned()));
    }

    #[test]
    fn bit_rates_are_those_of_encoders() {
        assert_eq!(bit_rate(5e6).map(Bitrate::get), Some(5_000_000));
        assert_eq!(bit_rate(10.0).map(Bitrate::get), Some(Bitrate::MIN));
        assert_eq!(bit_rate(9e12).map(Bitrate::get), Some(Bitrate::MAX));
    }
}
