//! The routes of inference.sh's clients: renders as tasks of one app, and uploads that nobody completes.

use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{Extension, Path, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_TYPE};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Json};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt, stream};
use hyperfarm_api::Data;
use hyperfarm_api::account::Nothing;
use hyperfarm_api::request::{self, HtmlProject, Project, RenderRequest};
use hyperfarm_api::tasks::{
    APP, FUNCTION, File, FileRequest, FilesRequest, Task, TaskCreated, TaskLog, TaskOutput, TaskRequest, TaskResult,
    TaskStatus,
};
use hyperfarm_backplane::drain::Drain;
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::record::Outcome;
use serde_json::{Value, json};
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};
use url::Url;

use super::assets::{self, UNTYPED, Upload};
use super::base_url::base_url;
use super::create::{self, Source, Submission};
use super::error::{ApiError, Code};
use super::renders::{find, read_project_body, shown_from, submit};
use super::{Answer, Api, read_body};
use crate::RenderDetail;
use crate::api_keys::Caller;
use crate::assets::{ACCEPTED_TYPES, canonical};
use crate::clock::{iso8601, now_ms};
use crate::intake::Seed;
use crate::intake::project::{DEFAULT_ENTRY, from_files};
use crate::progress::{RenderProgress, Stage};
use crate::submission::CallbackForm;

/// Silence after which a heartbeat is sent. The Python SDK takes a connection that is silent for 60 s for dead.
const HEARTBEAT: Duration = Duration::from_secs(10);

/// Heartbeats after which the task is sent again, changed or not. The Python SDK gives up a stream that has nothing but
/// heartbeats for 30 s.
const HEARTBEATS_BETWEEN_TASKS: u32 = 1;
const _: () = assert!((HEARTBEATS_BETWEEN_TASKS as u64 + 1) * HEARTBEAT.as_secs() < 30);

/// Files of one request at most.
const FILES_MAX: usize = 20;

/// Name in the project, without its extension, of an uploaded sound.
const SOUND_NAME: &str = "hyperfarm-sound";

/// `POST /apps/run`.
pub(super) async fn run(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_project_body(&api, &headers, body).await?;
    let base = base_url(&api.config, &headers);
    let (idempotency, key, raw) = (api.idempotency.clone(), caller.clone(), body.clone());
    let make = move |seed: Seed| async move {
        let asked: TaskRequest = request::parse(request::object(&raw)?)?;
        drop(raw);
        let submission = submission(&api, &caller, asked, base.as_ref()).await?;
        let (render, warnings) = submit(&api, &caller, submission, base.clone(), CallbackForm::Task, seed).await?;
        let detail = find(&api, &caller, render.as_str()).await?;
        let messages = warnings.into_iter().map(Into::into).collect();
        let created = TaskCreated { data: task(&api, base, &detail).await?, messages };
        Ok((StatusCode::OK, serde_json::to_value(created).map_err(|error| ApiError::internal(&error))?))
    };
    Ok(idempotency.answer_with(&key, "POST /apps/run", &headers, &body, make).await)
}

/// The render that is asked for, with its project found.
async fn submission(
    api: &Api,
    caller: &Caller,
    asked: TaskRequest,
    base: Option<&Url>,
) -> Result<Submission, ApiError> {
    check_app(&asked)?;
    let mut input = asked.input;
    if let Some(url) = asked.webhook {
        create::receiver_url("webhook", &url, &api.config)?;
        if input.get("callback_url").is_some_and(|url| !url.is_null()) {
            return Err(ApiError::invalid("webhook", "give either webhook or input.callback_url"));
        }
        input.insert("callback_url".to_owned(), String::from(url).into());
    }
    let limits = &api.coordinator.config().limits;
    let upload = |field: &str| input.get(field).and_then(|value| asset_id(value.as_str()?, base)).map(str::to_owned);
    let (page, project, sound) = (upload("html"), upload("project"), upload("audio_url"));
    if let Some(id) = page {
        let text = assets::uploaded_text(api, caller, &id, limits.inline_bytes).await;
        input.insert("html".to_owned(), text.map_err(|error| error.of("input.html"))?.into());
    } else if input.get("html").and_then(Value::as_str).is_some_and(is_url) {
        return Err(ApiError::invalid("input.html", "html must be a page, or the uri of an uploaded file"));
    }
    if let Some(id) = project {
        assets::complete_upload(api, caller, &id).await.map_err(|error| error.of("input.project"))?;
        input.insert("project".to_owned(), json!({ "type": "asset_id", "asset_id": id }));
    } else if let Some(url) = input.get("project").and_then(Value::as_str).map(str::to_owned) {
        input.insert("project".to_owned(), json!({ "type": "url", "url": url }));
    }
    if sound.is_some() {
        input.remove("audio_url");
    }
    let unknown = create::unknown(&input);
    let request = RenderRequest::parse(input).map_err(|error| error.under("input"))?;
    let html = sound.as_ref().and_then(|_| page_of(&request)).map(str::to_owned);
    let of_input = |error: ApiError| match error.param.clone() {
        Some(param) => error.of(format!("input.{param}")),
        None => error,
    };
    let mut submission = create::submission(request, unknown, &api.config, limits).map_err(of_input)?;
    if let Some(id) = sound {
        let Some(html) = html else {
            let message = "an uploaded sound goes with html; put it into the project and give its path";
            return Err(ApiError::invalid("input.audio_url", message));
        };
        let file = assets::uploaded_file(api, caller, &id).await;
        let (record, bytes) = file.map_err(|error| error.of("input.audio_url"))?;
        let name = format!("{SOUND_NAME}{}", record.extension);
        let entry = submission.spec.composition.as_deref().unwrap_or(DEFAULT_ENTRY);
        let files = [(entry, html.as_bytes()), (name.as_str(), &*bytes)];
        let bundle = from_files(&files).map_err(crate::intake::IntakeError::Project)?;
        submission.source = Source::Bundle(bundle);
        submission.spec.audio_url = Text::new(name);
    }
    Ok(submission)
}

/// Checks that the app is the farm's, and that nothing is asked of it that only inference.sh does.
fn check_app(asked: &TaskRequest) -> Result<(), ApiError> {
    let (reference, function) = match asked.app.split_once(':') {
        Some((reference, function)) => (reference, Some(function)),
        None => (asked.app.as_str(), asked.function.as_deref()),
    };
    let name = reference.split('@').next().unwrap_or_default();
    if name != APP {
        let message = format!("there is no app `{}`; this farm has {APP}", name.escape_debug());
        return Err(ApiError::new(Code::ResourceNotFound, message).of("app"));
    }
    if let Some(function) = function.filter(|function| *function != FUNCTION) {
        let message = format!("the app has no function `{}`; it has {FUNCTION}", function.escape_debug());
        return Err(ApiError::new(Code::ResourceNotFound, message).of("function"));
    }
    if asked.session.is_some() {
        return Err(ApiError::invalid("session", "this farm has no sessions; leave session out"));
    }
    if asked.run_at.is_some() {
        return Err(ApiError::invalid("run_at", "this farm starts tasks at once; leave run_at out"));
    }
    Ok(())
}

/// The page of a request whose project is one page.
fn page_of(request: &RenderRequest) -> Option<&str> {
    match &request.project {
        Some(Project::Html(HtmlProject { html })) => Some(html),
        Some(_) => None,
        None => request.html.as_deref(),
    }
}

fn is_url(text: &str) -> bool {
    text.starts_with("http://") || text.starts_with("https://")
}

/// The `uri` of an asset.
fn uri(base: &Url, id: &str) -> String {
    format!("{}/v3/assets/{id}", base.as_str().trim_end_matches('/'))
}

/// The asset that a `uri` of this farm's names.
fn asset_id<'a>(uri: &'a str, base: Option<&Url>) -> Option<&'a str> {
    let path = uri.strip_prefix(base?.as_str().trim_end_matches('/'))?;
    path.strip_prefix("/v3/assets/").filter(|id| !id.is_empty() && !id.contains('/'))
}

/// `POST /files`.
pub(super) async fn upload(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let body = read_body(body).await?;
    let fields = request::object(&body)?;
    // Serde takes an array for an object too.
    let files = fields.get("files").and_then(Value::as_array);
    if files.is_some_and(|files| !files.iter().all(Value::is_object)) {
        return Err(ApiError::invalid("files", "files must be an array of objects"));
    }
    let asked: FilesRequest = request::parse(fields)?;
    if asked.files.is_empty() || asked.files.len() > FILES_MAX {
        return Err(ApiError::invalid("files", format!("files must be an array of 1 to {FILES_MAX} files")));
    }
    let most = api.coordinator.config().limits.bundle_bytes;
    for (index, file) in asked.files.iter().enumerate() {
        if let Some(bytes) = file.size.filter(|bytes| *bytes > most) {
            let message = format!("a file may have {most} bytes, and {bytes} were announced");
            return Err(ApiError::new(Code::TooLarge, message).of(format!("files[{index}].size")));
        }
    }
    let base = base_url(&api.config, &headers).ok_or_else(assets::no_base)?;
    let (idempotency, key) = (api.idempotency.clone(), caller.clone());
    let make = move |seed: Seed| async move {
        let mut files = Vec::with_capacity(asked.files.len());
        for (seed, file) in (0..).map(|index| seed.nth(index)).zip(asked.files) {
            files.push(announce(&api, &caller, file, &base, seed).await?);
        }
        Ok((StatusCode::OK, files))
    };
    Ok(idempotency.answer(&key, "POST /files", &headers, &body, make).await)
}

async fn announce(api: &Api, caller: &Caller, file: FileRequest, base: &Url, seed: Seed) -> Result<File, ApiError> {
    let FileRequest { filename, content_type, size } = file;
    let filename = filename.map(String::from).filter(|name| !name.trim().is_empty());
    let filename = filename.unwrap_or_else(|| "file".to_owned());
    let content_type = content_type.map(String::from).unwrap_or_else(|| UNTYPED.to_owned());
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let is_accepted = ACCEPTED_TYPES.iter().any(|(known, _)| *known == canonical(&essence));
    let size = size.unwrap_or(0);
    let upload = Upload {
        name: filename.clone(),
        // What it is of any other type shows when it is used.
        mime_type: if is_accepted { essence } else { UNTYPED.to_owned() },
        bytes: size,
        checksum: None,
    };
    let (record, upload_url) = assets::announce(api, caller, upload, base, seed).await?;
    let uri = uri(base, &record.id);
    Ok(File { uri, id: record.id, upload_url: upload_url.into(), filename, content_type, size })
}

/// `GET /tasks/{task_id}`, and `GET /tasks/{task_id}/status`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Task> {
    let detail = find(&api, &caller, &id).await?;
    Ok(Json(Data { data: task(&api, base_url(&api.config, &headers), &detail).await? }))
}

/// `POST /tasks/{task_id}/cancel`.
pub(super) async fn cancel(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Answer<Task> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let detail = api.coordinator.cancel(&render).await?;
    Ok(Json(Data { data: task(&api, base_url(&api.config, &headers), &detail).await? }))
}

/// `DELETE /tasks/{task_id}`.
pub(super) async fn delete(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Nothing> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    api.coordinator.delete(&render).await?;
    Ok(Json(Data { data: Nothing {} }))
}

/// A render as a task, for a client that reaches the farm at `base`.
async fn task(api: &Api, base: Option<Url>, detail: &RenderDetail) -> Result<Task, ApiError> {
    let (progress, shown) = (&detail.progress, shown_from(api, base, detail).await?);
    let ended_at_ms = progress.end.as_ref().map(|end| end.ended_at_ms);
    let (created_at, updated_at) = (iso8601(detail.request.created_at_ms), iso8601(ended_at_ms.unwrap_or_else(now_ms)));
    let output =
        shown.duration.map(|duration| TaskOutput { video: shown.video_url, thumbnail: shown.thumbnail_url, duration });
    let result = TaskResult {
        output,
        error: shown.failure_message.unwrap_or_default(),
        ..TaskResult::new(&shown.render_id, status(progress), created_at, updated_at)
    };
    let text = format!("{}: {} of {} frames", progress.stage.as_str(), progress.frames_done, progress.frames_total);
    let log = TaskLog { task_id: shown.render_id, log_type: 4, content: STANDARD.encode(text) };
    Ok(Task { result, app: APP.to_owned(), progress: progress.percent(), logs: vec![log] })
}

fn status(progress: &RenderProgress) -> TaskStatus {
    match (progress.end.as_ref().map(|end| &end.outcome), progress.stage) {
        (Some(Outcome::Completed { .. }), _) => TaskStatus::Completed,
        (Some(Outcome::Failed { failure, .. }), _) if failure.code == FailureCode::Cancelled => TaskStatus::Cancelled,
        (Some(Outcome::Failed { .. }), _) => TaskStatus::Failed,
        (None, Stage::Queued) => TaskStatus::Queued,
        (None, Stage::Plan) => TaskStatus::Preparing,
        (None, _) => TaskStatus::Running,
    }
}

/// `GET /tasks/{task_id}/stream`: the task as a line of JSON whenever it has changed, until it has ended.
pub(super) async fn stream(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let place = api.streams.open(&caller)?;
    let progress = api.coordinator.watch(&render).await?;
    let base = base_url(&api.config, &headers);
    let follower = Follower::new(progress, api.coordinator.drain().clone());
    let lines = stream::try_unfold(follower, move |mut follower| {
        let (api, caller, base, render) = (api.clone(), caller.clone(), base.clone(), render.clone());
        async move {
            let text = match follower.next().await? {
                None => return Ok::<_, BoxError>(None),
                Some(Line::Heartbeat) => json!({ "type": "heartbeat" }).to_string(),
                Some(Line::Task) => {
                    let detail = find(&api, &caller, render.as_str()).await?;
                    serde_json::to_string(&task(&api, base, &detail).await?)?
                }
            };
            Ok(Some((Bytes::from(text + "\n"), follower)))
        }
    });
    let lines = lines.inspect(move |_| {
        let _held = &place;
    });
    let headers = [(CONTENT_TYPE, "application/x-ndjson"), (CACHE_CONTROL, "no-cache, no-transform")];
    Ok((headers, Body::from_stream(lines)).into_response())
}

/// A line of the stream of a task.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Line {
    Task,
    Heartbeat,
}

/// Says which lines a stream gets, and when.
struct Follower {
    progress: watch::Receiver<RenderProgress>,
    drain: Drain,
    /// State, captured frames and frames in all, as they were sent last.
    sent: Option<(TaskStatus, u64, u64)>,
    sent_at: Instant,
    heartbeat: Duration,
    /// Heartbeats since the last task.
    heartbeats: u32,
    is_over: bool,
}

impl Follower {
    fn new(progress: watch::Receiver<RenderProgress>, drain: Drain) -> Self {
        let (sent_at, heartbeat) = (Instant::now(), HEARTBEAT);
        Self { progress, drain, sent: None, sent_at, heartbeat, heartbeats: 0, is_over: false }
    }

    /// Waits for the next line; `None` after that of the end.
    ///
    /// # Errors
    ///
    /// The task was deleted, or the farm stops. The connection has to break off: the JavaScript SDK waits for ever
    /// after a stream that ends well before its task.
    async fn next(&mut self) -> Result<Option<Line>, BoxError> {
        if self.is_over {
            return Ok(None);
        }
        let line = loop {
            let (now, has_ended) = {
                let now = self.progress.borrow_and_update();
                ((status(&now), now.frames_done, now.frames_total), now.end.is_some())
            };
            if self.sent != Some(now) {
                (self.sent, self.is_over) = (Some(now), has_ended);
                break Line::Task;
            }
            tokio::select! {
                changed = self.progress.changed() => changed?,
                () = self.drain.started() => return Err("the farm stops".into()),
                () = sleep_until(self.sent_at + self.heartbeat) => {
                    if self.heartbeats == HEARTBEATS_BETWEEN_TASKS {
                        break Line::Task;
                    }
                    break Line::Heartbeat;
                }
            }
        };
        self.heartbeats = if line == Line::Heartbeat { self.heartbeats + 1 } else { 0 };
        self.sent_at = Instant::now();
        Ok(Some(line))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(app: &str) -> TaskRequest {
        request::parse(request::object(json!({ "app": app }).to_string().as_bytes()).unwrap()).unwrap()
    }

    #[test]
    fn the_app_is_known_with_any_version() {
        for app in [APP.to_owned(), format!("{APP}@abc1"), format!("{APP}@abc1:run"), format!("{APP}:run")] {
            assert_eq!(check_app(&request(&app)), Ok(()), "{app}");
        }
        for (app, param) in [("okaris/flux@abc1", "app"), ("", "app"), ("infsh/hyperframes-render:tts", "function")] {
            let error = check_app(&request(app)).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Code::ResourceNotFound, Some(param)), "{app}");
        }
    }

    #[test]
    fn a_uri_leads_back_to_its_asset_on_this_farm_only() {
        for base in ["http://127.0.0.1:8080/", "https://farm.example/below"] {
            let base = Url::parse(base).unwrap();
            assert_eq!(asset_id(&uri(&base, "asset_1"), Some(&base)), Some("asset_1"));
            assert_eq!(asset_id(&(uri(&base, "asset_1") + "/complete"), Some(&base)), None);
            assert_eq!(asset_id("https://other.example/v3/assets/asset_1", Some(&base)), None);
        }
    }

    #[tokio::test]
    async fn a_stream_is_never_silent_and_never_of_heartbeats_alone() {
        let (sender, progress) = watch::channel(RenderProgress::queued());
        let mut follower = Follower::new(progress, Drain::default());
        follower.heartbeat = Duration::from_millis(20);
        use Line::{Heartbeat, Task};
        for expected in [Task, Heartbeat, Task, Heartbeat, Task] {
            assert_eq!(follower.next().await.unwrap(), Some(expected));
        }
        // What changes nothing that is sent does not put the next line off.
        let changes = async {
            loop {
                sender.send_modify(|progress| progress.eta = Some(Duration::from_secs(9)));
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::select! {
            () = changes => {}
            line = follower.next() => assert_eq!(line.unwrap(), Some(Heartbeat)),
            () = tokio::time::sleep(Duration::from_secs(60)) => panic!("changes put the next line off"),
        }
        sender.send_modify(|progress| progress.frames_done = 1);
        assert_eq!(follower.next().await.unwrap(), Some(Task));
        drop(sender);
        assert!(follower.next().await.is_err(), "a stream that breaks off has ended well");
    }
}
