//! The video agent: sessions with a language model of the operator's, which end in videos.
//!
//! The agent runs in this process and not as a task of the queue: it waits for the model, and speaks the narration. A few
//! run at once, each within [`RUN_WITHIN`]. A run that ends with its process has failed once that time is over.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use hyperfarm_api::agents::{
    AgentMessage, AgentMessageKind, AgentMessageRequest, AgentMessageSent, AgentMode, AgentRequest, AgentResource,
    AgentRole, AgentSession, AgentSessionCreated, AgentStatus, AgentStopped, AgentStyle, MAX_FILES, Orientation,
    StylesQuery,
};
use hyperfarm_api::avatars::FileInput;
use hyperfarm_api::request::{self, ListQuery};
use hyperfarm_api::videos::Video;
use hyperfarm_api::webhooks::VideoEventData;
use hyperfarm_api::{Data, Page};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::spec::{RenderSpec, Size};
use hyperfarm_speech::Script;
use hyperfarm_speech::catalogue::Filter;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use url::Url;

use super::avatars::submit;
use super::base_url::base_url;
use super::create::receiver_url;
use super::error::{ApiError, Code};
use super::media::{self, Wanted};
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::{Answer, Api, List, renders, videos, voices};
use crate::agent::film::{Film, Narration};
use crate::agent::sessions::{self, FileRecord, MessageRecord, SessionRecord, Stage};
use crate::agent::storyboard::{ModelAnswer, Storyboard, instructions};
use crate::agent::styles::{self, STYLES, Style};
use crate::agent::{ChatMessage, ChatRole, LanguageModel};
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::intake::{Purpose, Seed};
use crate::presenter::MediaFile;
use crate::status::Status;
use crate::webhooks::Event;

/// Items on a page, where the client does not say.
const PAGE: usize = 20;

/// Runs at once.
const AT_ONCE: usize = 4;

/// How long a run may take: two answers of the model, and the narration.
const RUN_WITHIN: Duration = Duration::from_secs(900);

/// Messages of a session that are shown.
const SHOWN_MESSAGES: usize = 40;

/// Answers that a model may give to a message before the run fails.
const ANSWERS: usize = 2;

/// The turns of runs: a few at once, and one of a session.
pub(crate) struct AgentPermits {
    turns: Arc<Semaphore>,
    /// The sessions in which the agent is at work, by their ids.
    at_work: Arc<Mutex<HashSet<String>>>,
}

impl Default for AgentPermits {
    fn default() -> Self {
        Self { turns: Arc::new(Semaphore::new(AT_ONCE)), at_work: Arc::default() }
    }
}

/// The turn of a run. Dropping it ends the turn.
struct Turn {
    session: String,
    at_work: Arc<Mutex<HashSet<String>>>,
    _turn: OwnedSemaphorePermit,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.at_work.lock().remove(&self.session);
    }
}

impl AgentPermits {
    fn turn(&self, session: &str) -> Result<Turn, ApiError> {
        let turn = self.turns.clone().try_acquire_owned().map_err(|_| {
            let message = format!("the farm's video agent is in {AT_ONCE} sessions already; try again");
            ApiError::new(Code::RateLimited, message).retry_after(30)
        })?;
        if !self.at_work.lock().insert(session.to_owned()) {
            return Err(busy());
        }
        Ok(Turn { session: session.to_owned(), at_work: self.at_work.clone(), _turn: turn })
    }
}

fn busy() -> ApiError {
    ApiError::new(Code::Conflict, "the agent of this session is at work; wait until it is not, or stop it first")
}

/// The operator's language model.
fn model(api: &Api) -> Result<Arc<dyn LanguageModel>, ApiError> {
    api.config.language_model.clone().ok_or_else(|| {
        let message = "this farm has no language model for the video agent; its operator names an OpenAI-compatible service \
                       by HYPERFARM_LANGUAGE_MODEL_URL";
        ApiError::new(Code::EngineNotConfigured, message)
    })
}

/// `POST /v3/video-agents`.
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
        let asked: AgentRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        let model = model(&api)?;
        checked_text(&asked.prompt, "prompt")?;
        check_avatar(asked.avatar_id.is_some())?;
        let style = match asked.style_id.as_deref() {
            None => STYLES.first(),
            Some(id) => styles::find(id),
        };
        let style = style
            .ok_or_else(|| ApiError::invalid("style_id", "style_id must be one of GET /v3/video-agents/styles"))?;
        check_voice(&api, asked.voice_id.as_deref()).await?;
        asked.callback_url.as_deref().map(|url| receiver_url("callback_url", url, &api.config)).transpose()?;
        api.admission.check_spending(&caller).await?;
        let id = seed.id(sessions::PREFIX);
        let turn = api.agents.turn(&id)?;
        let mut session = SessionRecord {
            id,
            space: caller.rights.space.clone(),
            created_at_ms: seed.at_ms(),
            is_chat: asked.mode == Some(AgentMode::Chat),
            style: style.id.to_owned(),
            orientation: asked.orientation.unwrap_or_default(),
            voice: asked.voice_id.map(String::from),
            callback_url: asked.callback_url.map(String::from),
            callback_id: asked.callback_id.map(String::from),
            origin,
            messages: Vec::new(),
            files: Vec::new(),
            storyboards: Vec::new(),
            videos: Vec::new(),
            stage: Stage::Waiting,
        };
        let proceeds = !session.is_chat || asked.auto_proceed == Some(true);
        take(&api, &caller, &mut session, asked.prompt.into(), &asked.files).await?;
        let created = AgentSessionCreated {
            session_id: session.id.clone(),
            status: AgentStatus::Thinking,
            video_id: None,
            created_at: session.created_at_ms / 1000,
        };
        Run { api, caller, model, session, proceeds }.spawn(turn);
        Ok((StatusCode::OK, created))
    };
    Ok(idempotency.answer(&key, "POST /v3/video-agents", &headers, &body, make).await)
}

/// `POST /v3/video-agents/{session_id}`.
pub(super) async fn send(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
    body: Body,
) -> Answer<AgentMessageSent> {
    let body = renders::read_project_body(&api, &headers, body).await?;
    find(&api, &caller, &id).await?;
    let asked: AgentMessageRequest = request::parse(request::object(&body)?)?;
    let model = model(&api)?;
    checked_text(&asked.message, "message")?;
    check_avatar(asked.avatar_id.is_some())?;
    check_voice(&api, asked.voice_id.as_deref()).await?;
    api.admission.check_spending(&caller).await?;
    let turn = api.agents.turn(&id)?;
    // Read in its turn, so that no other run writes it.
    let mut session = find(&api, &caller, &id).await?;
    if matches!(status(&api, &session).await?.0, AgentStatus::Thinking | AgentStatus::Generating) {
        return Err(busy());
    }
    let seed = Seed::new().map_err(|error| ApiError::internal(&error))?;
    session.voice = asked.voice_id.map(String::from).or(session.voice);
    let proceeds = !session.is_chat || asked.auto_proceed == Some(true);
    take(&api, &caller, &mut session, asked.message.into(), &asked.files).await?;
    let title = title(&session).map(str::to_owned);
    let sent = AgentMessageSent { session_id: session.id.clone(), run_id: seed.id("run"), title };
    Run { api, caller, model, session, proceeds }.spawn(turn);
    Ok(Json(Data { data: sent }))
}

fn checked_text(text: &str, param: &str) -> Result<(), ApiError> {
    let refused = || ApiError::invalid(param, format!("{param} must be a text of 1 to 10000 characters"));
    if text.trim().is_empty() { Err(refused()) } else { Ok(()) }
}

fn check_avatar(is_asked: bool) -> Result<(), ApiError> {
    let message = "the agent of this farm puts no avatar into its videos; leave avatar_id out, or use POST /v3/videos";
    if is_asked { Err(ApiError::new(Code::EngineNotConfigured, message).of("avatar_id")) } else { Ok(()) }
}

async fn check_voice(api: &Api, id: Option<&str>) -> Result<(), ApiError> {
    let Some(id) = id else { return Ok(()) };
    voices::catalogue(api)?.find(id).await.map_err(voices::refusal).map(drop).map_err(|error| error.of("voice_id"))
}

/// Adds a message of the client's with its files, and stores the session as one whose agent is at work.
async fn take(
    api: &Api,
    caller: &Caller,
    session: &mut SessionRecord,
    text: String,
    files: &[FileInput],
) -> Result<(), ApiError> {
    if files.len() > MAX_FILES {
        return Err(ApiError::invalid("files", format!("a message may have {MAX_FILES} files")));
    }
    let objects = &api.coordinator.backplane().objects;
    let (first, at_ms) = (session.files.len(), now_ms());
    for (index, input) in files.iter().enumerate() {
        let file = media::file(api, caller, input, &format!("files[{index}]"), Wanted::Picture).await?;
        let key = SessionRecord::file_key(&session.space, &session.id, session.files.len(), file.extension);
        objects.put(&key, file.bytes).await?;
        session.files.push(FileRecord { key, extension: file.extension.to_owned(), at_ms });
    }
    session.say(MessageRecord {
        role: AgentRole::User,
        kind: AgentMessageKind::Text,
        text,
        at_ms,
        storyboard: None,
        files: (first..session.files.len()).collect(),
    });
    session.stage = Stage::Thinking(at_ms + RUN_WITHIN.as_millis() as u64);
    sessions::clear_stop(objects, session).await?;
    sessions::put(objects, session).await?;
    Ok(())
}

/// A run of the agent: from a message to a question, a storyboard or a video.
struct Run {
    api: Api,
    caller: Caller,
    model: Arc<dyn LanguageModel>,
    session: SessionRecord,
    /// Whether a storyboard needs no approval.
    proceeds: bool,
}

impl Run {
    fn spawn(mut self, turn: Turn) {
        tokio::spawn(async move {
            let ended = tokio::time::timeout(RUN_WITHIN, self.go())
                .await
                .unwrap_or_else(|_| Err(format!("the agent did not come to an end within {} s", RUN_WITHIN.as_secs())));
            match ended {
                Ok(stage) => self.session.stage = stage,
                Err(reason) => {
                    info!(session = self.session.id, reason, "a run of the video agent failed");
                    self.say(AgentMessageKind::Error, reason.clone(), None);
                    self.session.stage = Stage::Failed;
                    self.announce_failure(reason).await;
                }
            }
            if let Err(error) = sessions::put(&self.api.coordinator.backplane().objects, &self.session).await {
                warn!(session = self.session.id, %error, "a session of the video agent could not be stored");
            }
            drop(turn);
        });
    }

    /// The stage that it ends in, or why it failed.
    async fn go(&mut self) -> Result<Stage, String> {
        let answer = self.ask().await?;
        let has_new = answer.storyboard.is_some();
        self.session.storyboards.extend(answer.storyboard);
        let newest = self.session.storyboards.len().checked_sub(1);
        let shown = newest.filter(|_| has_new);
        let text = match shown.and_then(|number| self.session.storyboards.get(number)) {
            Some(storyboard) => format!("{}\n\n{}", answer.reply, storyboard.text()),
            None => answer.reply,
        };
        self.say(if has_new { AgentMessageKind::Resource } else { AgentMessageKind::Text }, text, shown);
        if sessions::is_stopped(self.objects(), &self.session).await.map_err(|error| error.to_string())? {
            return Ok(if newest.is_some() { Stage::Reviewing } else { Stage::Waiting });
        }
        let is_approved = self.proceeds || (answer.approved && !has_new);
        let Some(number) = newest else { return Ok(Stage::Waiting) };
        if !is_approved {
            return Ok(if has_new { Stage::Reviewing } else { Stage::Waiting });
        }
        let storyboard = self.session.storyboards[number].clone();
        self.film(&storyboard).await
    }

    fn objects(&self) -> &hyperfarm_backplane::objects::Objects {
        &self.api.coordinator.backplane().objects
    }

    fn say(&mut self, kind: AgentMessageKind, text: String, storyboard: Option<usize>) {
        let (role, files) = (AgentRole::Model, Vec::new());
        self.session.say(MessageRecord { role, kind, text, at_ms: now_ms(), storyboard, files });
    }

    /// The model's answer to the conversation. One that cannot be used is answered with what is wrong with it.
    async fn ask(&self) -> Result<ModelAnswer, String> {
        let session = &self.session;
        let mut conversation = conversation(session, self.proceeds);
        let mut reason = String::new();
        for _ in 0..ANSWERS {
            let text = self.model.answer(&conversation).await.map_err(|error| error.to_string())?;
            let refused = match ModelAnswer::parse(&text, session.files.len()) {
                Ok(answer) if self.proceeds && answer.storyboard.is_none() && session.storyboards.is_empty() => {
                    "there is no storyboard, and the client cannot be asked: decide yourself".to_owned()
                }
                Ok(answer) => return Ok(answer),
                Err(error) => error.to_string(),
            };
            conversation.push(ChatMessage { role: ChatRole::Assistant, content: text });
            conversation.push(ChatMessage { role: ChatRole::System, content: format!("{refused}. Answer again.") });
            reason = refused;
        }
        Err(format!("the language model gave no storyboard that can be filmed: {reason}"))
    }

    /// Speaks, composes and submits.
    async fn film(&mut self, storyboard: &Storyboard) -> Result<Stage, String> {
        let told = |error: ApiError| error.message;
        let mut narrations = Vec::new();
        let voice = self.voice().await.map_err(told)?;
        for scene in &storyboard.scenes {
            narrations.push(match &voice {
                Some(voice) => self.spoken(voice, &scene.narration).await.map_err(told)?,
                None => None,
            });
        }
        let mut files = Vec::new();
        for file in &self.session.files {
            let extension = Wanted::Picture.extension(&file.extension).unwrap_or_default();
            let bytes = self.objects().get(&file.key).await.map_err(|error| error.to_string())?;
            files.push(MediaFile { extension, bytes });
        }
        let style = styles::find(&self.session.style).or(STYLES.first()).ok_or("the farm has no style")?;
        let (long, short) = (1920, 1080);
        let size = match self.session.orientation {
            Orientation::Landscape => Size { width: long, height: short },
            Orientation::Portrait => Size { width: short, height: long },
        };
        let bundle = Film { storyboard, style, size, narrations, files }.bundle().map_err(|error| error.to_string())?;
        if sessions::is_stopped(self.objects(), &self.session).await.map_err(|error| error.to_string())? {
            return Ok(Stage::Reviewing);
        }
        let spec = RenderSpec {
            title: storyboard.title.parse().ok(),
            callback_url: self.session.callback_url.as_deref().and_then(|url| url.parse().ok()),
            callback_id: self.session.callback_id.as_deref().and_then(|id| id.parse().ok()),
            ..RenderSpec::default()
        };
        let seed = Seed::new().map_err(|error| error.to_string())?;
        let purpose = Purpose::Agent(self.session.id.clone());
        let origin = self.session.origin.clone();
        submit(&self.api, &self.caller, bundle, spec, purpose, origin, seed).await.map_err(told)?;
        self.session.videos.push(seed.render());
        Ok(Stage::Rendering)
    }

    /// The voice of the narration; `None` where the farm has no speech engine.
    async fn voice(&self) -> Result<Option<String>, ApiError> {
        if let Some(voice) = &self.session.voice {
            return Ok(Some(voice.clone()));
        }
        let Ok(catalogue) = voices::catalogue(&self.api) else { return Ok(None) };
        let filter = Filter { engine: None, language: Some("en"), gender: None };
        let found = catalogue.matches("a clear voice for explanations", filter, 0).await.map_err(voices::refusal)?;
        Ok(found.into_iter().next().map(|listed| listed.voice.id))
    }

    async fn spoken(&self, voice: &str, text: &str) -> Result<Option<Narration>, ApiError> {
        let script = Script::text(text);
        if script.is_silent() {
            return Ok(None);
        }
        let request =
            hyperfarm_speech::SpeechRequest { script, voice: voice.to_owned(), speed: 1.0, pitch: 0, locale: None };
        let speech = voices::made(&self.api, &request).await?;
        let seconds = speech.sound.duration().as_secs_f64();
        Ok(Some(Narration { file: speech.sound.wav().into(), seconds }))
    }

    /// Tells of a run that came to no video.
    async fn announce_failure(&self, reason: String) {
        let SessionRecord { id, space, callback_url, callback_id, .. } = &self.session;
        let at_ms = now_ms();
        let hash = ContentHash::of(format!("{id}\n{at_ms}").as_bytes()).to_string();
        let data = VideoEventData {
            video_id: String::new(),
            session_id: Some(id.clone()),
            url: None,
            gif_download_url: None,
            video_page_url: None,
            video_share_page_url: None,
            folder_id: None,
            callback_id: callback_id.clone(),
            msg: Some(reason),
            failure_code: Some("agent_failed".to_owned()),
        };
        let event = Event {
            event_id: format!("evt_{at_ms:012x}{}", &hash[..16]),
            event_type: "video_agent.fail".to_owned(),
            event_data: serde_json::to_value(data).unwrap_or_default(),
            entity_id: id.clone(),
            space: space.clone(),
            created_at_ms: at_ms,
        };
        let callback = callback_url.as_deref().and_then(|url| Url::parse(url).ok());
        let callback = callback.map(|url| (url, Default::default()));
        // The deliverer finds in storage what is to be sent.
        if let Err(error) = self.api.webhooks.publish(&event, callback, at_ms).await {
            warn!(session = id, %error, "the event of a failed run could not be stored");
        }
    }
}

/// What the model is told: what it is for, and what was said.
fn conversation(session: &SessionRecord, proceeds: bool) -> Vec<ChatMessage> {
    let kinds = session.files.iter().enumerate().map(|(number, file)| {
        format!("{number}: a {}", if Wanted::Video.extension(&file.extension).is_some() { "video" } else { "picture" })
    });
    let files = match kinds.collect::<Vec<_>>().join(", ") {
        none if none.is_empty() => "The client has given no files.".to_owned(),
        kinds => format!("Files of the client's: {kinds}."),
    };
    let mut system = instructions(&files, session.orientation == Orientation::Portrait);
    if proceeds {
        system.push_str(" The client waits for the video: give a storyboard, and ask nothing.");
    }
    let said = session.messages.iter().filter(|message| message.kind != AgentMessageKind::Error).map(|message| {
        let storyboard = message.storyboard.and_then(|number| session.storyboards.get(number));
        let content = match storyboard.and_then(|storyboard| serde_json::to_string(storyboard).ok()) {
            Some(storyboard) => format!("{}\n{storyboard}", message.text),
            None => message.text.clone(),
        };
        let role = if message.role == AgentRole::User { ChatRole::User } else { ChatRole::Assistant };
        ChatMessage { role, content }
    });
    std::iter::once(ChatMessage { role: ChatRole::System, content: system }).chain(said).collect()
}

/// The caller's session.
async fn find(api: &Api, caller: &Caller, id: &str) -> Result<SessionRecord, ApiError> {
    let found = sessions::get(&api.coordinator.backplane().objects, &caller.rights.space, id).await?;
    found.ok_or_else(|| ApiError::new(Code::ResourceNotFound, format!("there is no session {}", id.escape_debug())))
}

/// What the agent does, and how far it is.
async fn status(api: &Api, session: &SessionRecord) -> Result<(AgentStatus, u32), ApiError> {
    Ok(match session.stage {
        Stage::Thinking(until_ms) if now_ms() < until_ms => (AgentStatus::Thinking, 10),
        Stage::Thinking(_) | Stage::Failed => (AgentStatus::Failed, 100),
        Stage::Waiting => (AgentStatus::WaitingForInput, 20),
        Stage::Reviewing => (AgentStatus::Reviewing, 45),
        Stage::Rendering => {
            let Some(video) = session.videos.last() else { return Ok((AgentStatus::Failed, 100)) };
            let Ok(detail) = api.coordinator.detail_in(&session.space, video).await else {
                // It was deleted.
                return Ok((AgentStatus::WaitingForInput, 20));
            };
            match Status::of(&detail.progress) {
                Status::Queued => (AgentStatus::Generating, 50),
                Status::Rendering => (AgentStatus::Generating, 75),
                Status::Completed => (AgentStatus::Completed, 100),
                Status::Failed | Status::Cancelled => (AgentStatus::Failed, 100),
            }
        }
    })
}

fn title(session: &SessionRecord) -> Option<&str> {
    session.storyboards.last().map(|storyboard| storyboard.title.as_str())
}

async fn view(api: &Api, session: &SessionRecord, shown: usize) -> Result<AgentSession, ApiError> {
    let (status, progress) = status(api, session).await?;
    let message = |message: &MessageRecord| {
        let files = message.files.iter().map(|number| format!("file_{number}"));
        let ids: Vec<String> = files.chain(message.storyboard.map(|number| format!("storyboard_{number}"))).collect();
        AgentMessage {
            role: message.role,
            content: message.text.clone(),
            kind: message.kind,
            created_at: Some(message.at_ms / 1000),
            resource_ids: Some(ids).filter(|ids| !ids.is_empty()),
        }
    };
    Ok(AgentSession {
        session_id: session.id.clone(),
        status,
        progress,
        title: title(session).map(str::to_owned),
        video_id: session.videos.last().map(ToString::to_string),
        created_at: session.created_at_ms / 1000,
        messages: session.messages.iter().rev().take(shown).map(message).collect(),
    })
}

/// `GET /v3/video-agents?limit&token`.
pub(super) async fn list(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
) -> List<AgentSession> {
    let page = PageRange::of(&query, PAGE)?;
    let objects = &api.coordinator.backplane().objects;
    let ids = sessions::ids(objects, &caller.rights.space).await?;
    let wanted = ids.into_iter().filter(|id| page.after.as_deref().is_none_or(|after| id.as_str() < after));
    let mut wanted: Vec<String> = wanted.take(page.limit + 1).collect();
    let has_more = wanted.len() > page.limit;
    wanted.truncate(page.limit);
    let mut data = Vec::new();
    for id in &wanted {
        if let Some(session) = sessions::get(objects, &caller.rights.space, id).await? {
            data.push(view(&api, &session, 0).await?);
        }
    }
    Ok(Json(Page::new(data, wanted.last().filter(|_| has_more).map(|last| page::token(last)))))
}

/// `GET /v3/video-agents/{session_id}`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<AgentSession> {
    let session = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: view(&api, &session, SHOWN_MESSAGES).await? }))
}

/// `POST /v3/video-agents/{session_id}/stop`.
pub(super) async fn stop(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<AgentStopped> {
    let session = find(&api, &caller, &id).await?;
    match status(&api, &session).await?.0 {
        AgentStatus::Thinking => sessions::stop(&api.coordinator.backplane().objects, &session).await?,
        AgentStatus::Generating => {
            if let Some(video) = session.videos.last() {
                api.coordinator.cancel(video).await?;
            }
        }
        _ => {}
    }
    Ok(Json(Data { data: AgentStopped { session_id: session.id } }))
}

/// `GET /v3/video-agents/{session_id}/videos`.
pub(super) async fn list_videos(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
    headers: HeaderMap,
) -> List<Video> {
    let page = PageRange::of(&query, PAGE)?;
    let (session, base) = (find(&api, &caller, &id).await?, base_url(&api.config, &headers));
    let (mut data, mut next) = (Vec::<Video>::new(), None);
    let wanted = session.videos.iter().rev().map(ToString::to_string);
    for id in wanted.filter(|id| page.after.as_deref().is_none_or(|after| id.as_str() < after)) {
        let Some(video) = videos::find_view(&api, &caller, &id, base.as_ref()).await? else { continue };
        if data.len() == page.limit {
            next = data.last().map(|last| page::token(&last.id));
            break;
        }
        data.push(video);
    }
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/video-agents/{session_id}/resources/{resource_id}`.
pub(super) async fn resource(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((id, resource)): Path<(String, String)>,
    headers: HeaderMap,
) -> Answer<AgentResource> {
    let (session, base) = (find(&api, &caller, &id).await?, base_url(&api.config, &headers));
    let missing = || {
        let message = format!("the session has no resource {}", resource.escape_debug());
        ApiError::new(Code::ResourceNotFound, message)
    };
    let (kind, number) = resource.rsplit_once('_').ok_or_else(missing)?;
    let number: usize = number.parse().map_err(|_| missing())?;
    let mut found = AgentResource {
        resource_id: resource.clone(),
        resource_type: "draft".to_owned(),
        source_type: Some("generated".to_owned()),
        url: None,
        thumbnail_url: None,
        preview_url: None,
        created_at: None,
        metadata: None,
    };
    match kind {
        "file" => {
            let file = session.files.get(number).ok_or_else(missing)?;
            found.resource_type =
                if Wanted::Video.extension(&file.extension).is_some() { "video" } else { "image" }.to_owned();
            found.source_type = Some("user_uploaded".to_owned());
            found.url = api.signed_url(Some(&file.key), base.as_ref()).await?;
            found.created_at = Some(file.at_ms / 1000);
        }
        "storyboard" => {
            let storyboard = session.storyboards.get(number).ok_or_else(missing)?;
            let shown = session.messages.iter().find(|message| message.storyboard == Some(number));
            found.created_at = shown.map(|message| message.at_ms / 1000);
            found.metadata = Some(serde_json::to_value(storyboard).map_err(|error| ApiError::internal(&error))?);
        }
        _ => return Err(missing()),
    }
    Ok(Json(Data { data: found }))
}

/// `GET /v3/video-agents/styles?tag&limit&token`.
pub(super) async fn list_styles(Query(query): Query<StylesQuery>) -> List<AgentStyle> {
    let page = PageRange::new(query.limit, PAGE, query.token.as_deref())?;
    let is_wanted = |style: &&Style| query.tag.as_deref().is_none_or(|tag| style.tags.contains(&tag));
    let after = page.after.as_deref().and_then(|after| STYLES.iter().position(|style| style.id == after));
    let first = after.map_or(0, |after| after + 1);
    let mut wanted: Vec<&Style> = STYLES[first..].iter().filter(is_wanted).take(page.limit + 1).collect();
    let has_more = wanted.len() > page.limit;
    wanted.truncate(page.limit);
    let next = wanted.last().filter(|_| has_more).map(|last| page::token(last.id));
    let view = |style: &Style| AgentStyle {
        style_id: style.id.to_owned(),
        name: style.name.to_owned(),
        thumbnail_url: None,
        preview_video_url: None,
        tags: Some(style.tags.iter().map(|tag| (*tag).to_owned()).collect()),
        aspect_ratio: None,
    };
    Ok(Json(Page::new(wanted.into_iter().map(view).collect(), next)))
}
