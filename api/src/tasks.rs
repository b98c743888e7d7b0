//! Renders as the clients of inference.sh know them: tasks of the app that renders, and files.

use hyperfarm_proto::bounded::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::render::Warning;
use crate::request::Request;

/// The one app of the farm. Clients may name a version and a function behind it.
pub const APP: &str = "infsh/hyperframes-render";

/// The app's one function.
pub const FUNCTION: &str = "run";

/// Runs the app that renders.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskRequest {
    /// `infsh/hyperframes-render`. A version behind `@` changes nothing.
    pub app: String,
    /// The app's function: `run`.
    #[serde(default)]
    pub function: Option<String>,
    /// The fields of a [RenderRequest](#renderrequest). Uploaded files stand for `html`, `project` and `audio_url` by
    /// their `uri`; `project` may also be the URL of a zip.
    #[serde(default)]
    pub input: Map<String, Value>,
    /// Receives the [Task](#task) once it has ended, without `app`, `progress` and `logs`: an https URL that can be
    /// reached from the internet.
    #[serde(default)]
    pub webhook: Option<Text<2048>>,
    /// Refused: the farm keeps no state between tasks.
    #[serde(default)]
    pub session: Option<String>,
    /// Refused: tasks start as soon as there is a worker.
    #[serde(default)]
    pub run_at: Option<String>,
}

impl Request for TaskRequest {
    const EXAMPLE: &str = r#"{
        "app": "infsh/hyperframes-render",
        "input": { "html": "<div data-composition-id=\"main\" data-duration=\"2\">Hi</div>", "fps": 30 }
    }"#;
}

/// The state of a task, with the numbers of SDK 0.36.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskStatus {
    /// No worker has begun the task.
    Queued = 2,
    /// Its composition is compiled and probed.
    Preparing = 4,
    /// Its frames are captured, encoded and joined.
    Running = 7,
    /// Its video is there.
    Completed = 10,
    /// It failed.
    Failed = 11,
    /// It was cancelled.
    Cancelled = 12,
}

impl TaskStatus {
    /// The word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Preparing => "preparing",
            Self::Running => "running",
            Self::Completed => "completed",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }
}

/// A task: a render. `GET /tasks/{task_id}/stream` sends one as a line of JSON whenever it has changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Task {
    /// What it is, and how it ended.
    #[serde(flatten)]
    pub result: TaskResult,
    /// The app.
    pub app: String,
    /// Captured frames of a hundred.
    pub progress: f64,
    /// How far it is, as one line of text: the Python SDK passes on no `progress`.
    pub logs: Vec<TaskLog>,
}

/// How a task ended; what a webhook gets.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskResult {
    /// The task: the id of the render.
    pub id: String,
    /// 2 queued, 4 preparing, 7 running, 10 completed, 11 failed, 12 cancelled.
    pub status: u8,
    /// The state as a word.
    pub status_text: String,
    /// Once completed.
    pub output: Option<TaskOutput>,
    /// What went wrong and what to do; empty unless it failed.
    pub error: String,
    /// Always `null`: the farm keeps no state between tasks.
    pub session_id: Option<String>,
    /// ISO 8601.
    pub created_at: String,
    /// ISO 8601: the end, or now.
    pub updated_at: String,
}

impl TaskResult {
    /// A task in this state.
    pub fn new(id: impl Into<String>, status: TaskStatus, created_at: String, updated_at: String) -> Self {
        let (number, status_text) = (status as u8, status.as_str().to_owned());
        let id = id.into();
        Self {
            id,
            status: number,
            status_text,
            output: None,
            error: String::new(),
            session_id: None,
            created_at,
            updated_at,
        }
    }
}

/// What a task made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TaskOutput {
    /// The video: a signed URL that expires; `null` where the farm does not know how it is reached.
    pub video: Option<String>,
    /// A picture of it, likewise.
    pub thumbnail: Option<String>,
    /// Seconds.
    pub duration: f64,
}

/// A line of a task's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskLog {
    /// The task.
    pub task_id: String,
    /// 4: of the task.
    pub log_type: u8,
    /// The text, in base64.
    pub content: String,
}

/// A task that was taken in.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct TaskCreated {
    /// The task.
    pub data: Task,
    /// What the client should know: inputs that the farm does not know.
    pub messages: Vec<TaskMessage>,
}

/// A remark about a request that succeeded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TaskMessage {
    /// `warning`.
    pub level: String,
    /// Which kind.
    pub code: String,
    /// What is not as it should be and what to do.
    pub message: String,
}

impl From<Warning> for TaskMessage {
    fn from(warning: Warning) -> Self {
        Self { level: "warning".to_owned(), code: warning.code, message: warning.message }
    }
}

/// Announces files that are to be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FilesRequest {
    /// The files, 20 at most.
    #[schemars(length(min = 1, max = 20))]
    pub files: Vec<FileRequest>,
}

impl Request for FilesRequest {
    const EXAMPLE: &str = r#"{ "files": [{ "filename": "sound.wav", "content_type": "audio/wav", "size": 1234 }] }"#;
}

/// Announces a file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct FileRequest {
    /// The file's name.
    #[serde(default)]
    pub filename: Option<Text<255>>,
    /// Its media type.
    #[serde(default)]
    pub content_type: Option<Text<200>>,
    /// Its exact length in bytes, if it is known.
    #[serde(default)]
    #[schemars(range(max = 209_715_200))]
    pub size: Option<u64>,
}

/// A file that can be uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct File {
    /// The asset.
    pub id: String,
    /// What the input of a task names it by.
    pub uri: String,
    /// PUT the bytes here, without a key.
    pub upload_url: String,
    /// The file's name.
    pub filename: String,
    /// Its media type, as announced.
    pub content_type: String,
    /// Its length in bytes; 0 where it is not known.
    pub size: u64,
}
