//! Every error of the worker, and the one place where an error becomes a [`Failure`] with an owner and a retry rule.
//!
//! An error of a project or a page carries the sentence that its author reads. An error of the machine carries its
//! source, so that a full disk or too many open files are recognised wherever they happen.

use std::io;
use std::path::{Path, PathBuf};

use hyperfarm_backplane::local_disk::{exhausted_by_errno, exhausted_resource};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_media::MediaError;
use hyperfarm_proto::failure::{Failure, FailureCode, Owner};
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};
use tokio::task::JoinError;

/// Most characters of the message of a failure, without advice.
const MESSAGE_CHARACTERS: usize = 2000;

/// Why a task of a worker, or its start, did not succeed.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// The project or the request is at fault.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// The page is at fault.
    #[error(transparent)]
    Page(#[from] PageError),
    /// The browser is at fault.
    #[error(transparent)]
    Chrome(#[from] ChromeError),
    /// A frame, a segment or a sound is not what it must be.
    #[error(transparent)]
    Capture(#[from] CaptureError),
    /// A source cannot be decoded, or an output cannot be encoded.
    #[error(transparent)]
    Media(#[from] MediaError),
    /// An encoder of a GPU is demanded and none opens.
    #[error("{0}")]
    Encoder(String),
    /// Object storage failed.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// An object in storage does not have the hash that names it.
    #[error("{key} in storage is damaged: its hash differs")]
    DamagedObject {
        /// Key of the object.
        key: String,
    },
    /// The local disk failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A setting has a value that cannot be used.
    #[error("{0}")]
    Setting(String),
    /// The render is pinned to another capture class.
    #[error("{code}: the render is pinned to {planned}, this worker has {own}")]
    ClassMismatch {
        /// Which part of the class differs, as an upper-case code.
        code: &'static str,
        /// That part in the plan.
        planned: String,
        /// That part on this worker.
        own: String,
    },
    /// The worker drains, or the task was cancelled.
    #[error("the {0} was given up")]
    Cancelled(&'static str),
    /// The slot's server cannot listen.
    #[error("the slot's server cannot listen on 127.0.0.1: {0}")]
    Listen(#[source] io::Error),
    /// A thread of the worker panicked.
    #[error("{part} broke: {source}")]
    Panicked {
        /// What ran in the thread, with its article.
        part: &'static str,
        /// The panic.
        source: JoinError,
    },
    /// The plan, the worker or the page contradicts itself.
    #[error("{0}")]
    Inconsistent(String),
    /// An error with the name of what it is about before it.
    #[error("{about}: {source}")]
    About {
        /// What it is about.
        about: String,
        /// The error.
        source: Box<WorkerError>,
    },
    /// An error of the system with what Chrome printed last.
    #[error("{source} (Chrome: {output})")]
    WithOutput {
        /// The error.
        source: Box<WorkerError>,
        /// Chrome's last lines.
        output: String,
    },
}

/// What is wrong with a project or with a request. Each text names the file or option and says what to change.
#[derive(Debug, thiserror::Error, Serialize, Deserialize)]
pub enum ProjectError {
    /// The project is deeper, larger or slower to compile than the limits.
    #[error("{0}")]
    TooComplex(String),
    /// The archive cannot be read, or exceeds a limit.
    #[error("{0}")]
    Archive(String),
    /// The version of the HyperFrames runtime is not there.
    #[error("{0}")]
    RuntimeMissing(String),
    /// There is no entry page.
    #[error("{0}")]
    EntryMissing(String),
    /// A nested composition is missing, empty or nested in itself.
    #[error("{0}")]
    CompositionMissing(String),
    /// The size cannot be drawn.
    #[error("{0}")]
    Size(String),
    /// The frame rate cannot be used.
    #[error("{0}")]
    FrameRate(String),
    /// The root's attributes of motion blur are out of their range.
    #[error("{0}")]
    MotionBlur(String),
    /// The duration is not a positive number of seconds, or beyond the farm's limit.
    #[error("{0}")]
    Duration(String),
    /// The variables are not a JSON object, or are refused in strict mode.
    #[error("{0}")]
    Variables(String),
    /// A media source of the project cannot be used.
    #[error("{0}")]
    Media(String),
}

/// What is wrong with a page that runs. Each text says what was waited for.
#[derive(Debug, thiserror::Error)]
pub enum PageError {
    /// The page did not become ready.
    #[error("{0}")]
    NotReady(String),
    /// A script threw.
    #[error("{0}")]
    Script(String),
    /// A composition registered no timeline.
    #[error("{0}")]
    TimelineMissing(String),
    /// The composition does not say how long it lasts.
    #[error("{0}")]
    DurationMissing(String),
    /// The page does not answer, and its browser does.
    #[error(
        "the page does not answer: a {call} took longer than {seconds} s{begun}. A script loops, or waits for what never comes"
    )]
    Unresponsive {
        /// What was called.
        call: &'static str,
        /// Seconds since the call.
        seconds: u64,
        /// At which moment of the composition a script began that does not end, in words; empty where it is not known.
        begun: String,
    },
    /// The page's process ended.
    #[error("the page crashed; it may need more memory than a slot has")]
    Crashed,
    /// The page's browser was ended, because it exceeded a limit.
    #[error("the page was ended: its processes had {used} and may have {limit} {unit}{setting}")]
    LimitExceeded {
        /// What they had.
        used: u64,
        /// What they may have.
        limit: u64,
        /// The unit of both.
        unit: &'static str,
        /// The setting of the limit, in parentheses after a space; empty where there is none.
        setting: &'static str,
    },
}

/// What is wrong with a browser.
#[derive(Debug, thiserror::Error)]
pub enum ChromeError {
    /// No usable Chrome at the configured place.
    #[error("{0}; install Debian's chromium-headless-shell, or set HYPERFARM_CHROME to a headless shell")]
    Missing(String),
    /// There is no user to run Chrome as.
    #[error(
        "the worker is root and there is neither a user `hyperfarm` nor a user `nobody` to run Chrome as; make one with: useradd \
         --system hyperfarm"
    )]
    NoUser,
    /// The folder of the browser cannot be created.
    #[error("no folder for Chrome can be created in {}: {source}; set TMPDIR to a folder that is yours and that other users may enter", folder.display())]
    Profile {
        /// The folder around it.
        folder: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process cannot be started.
    #[error("{} cannot be started: {source}", executable.display())]
    Spawn {
        /// The executable.
        executable: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The process was started and does not answer.
    #[error("{reason}: {output}{advice}")]
    Launch {
        /// What did not happen.
        reason: String,
        /// Chrome's last lines.
        output: String,
        /// What to do, with its separator; empty where nothing is known.
        advice: &'static str,
    },
    /// No page within the time limit.
    #[error("Chrome does not open a page")]
    NoPage,
    /// Chrome refuses to open a page.
    #[error("Chrome does not open a page: {0}")]
    OpenPage(String),
    /// The demanded GPU does not draw.
    #[error("{0}")]
    NoGpu(String),
    /// The GPU that drew does not draw any more.
    #[error("{0}")]
    GpuLost(String),
    /// A call of the DevTools protocol failed.
    #[error("Chrome's protocol: {0}")]
    Protocol(String),
    /// The parameters of a call of the DevTools protocol are incomplete.
    #[error("{0}")]
    Call(String),
    /// Neither the page nor its browser answers.
    #[error("no answer to a {call} within {seconds} s, and none of the browser either")]
    Stalled {
        /// What was called.
        call: &'static str,
        /// Seconds since the call.
        seconds: u64,
    },
    /// Chrome refuses frame after frame.
    #[error("Chrome says that another frame is pending, again and again: the machine is overloaded; use fewer slots")]
    FramePending,
    /// The page's answer has another type than expected.
    #[error("the page answered something else: {0}")]
    Answer(serde_json::Error),
    /// A screenshot is not a PNG file that can be used.
    #[error("a screenshot cannot be decoded: {0}")]
    Screenshot(String),
    /// The browser ended in the middle of a task.
    #[error("Chrome's process ended")]
    Ended,
    /// There is no browser in the slot.
    #[error("the browser is gone")]
    Gone,
}

/// What is wrong with what was captured or mixed.
#[derive(Debug, thiserror::Error)]
pub enum CaptureError {
    /// The framebuffer is not what it was. Nothing read from it since the last check may be used; screenshots still
    /// work.
    #[error("{0}")]
    FramebufferLost(String),
    /// A page that goes on for one that has crashed does not show what that one showed.
    #[error("frame {frame} of the page that goes on is not that of the page that has crashed")]
    ResumedElsewhere {
        /// The frame.
        frame: u64,
    },
    /// Scripts have drawn videos in frames that were only visited, and have found old pictures, which stay.
    #[error("old pictures of videos stay in canvases of the page, drawn in {} visited frames", visits.len())]
    PicturesMissed {
        /// Numbers of the visits.
        visits: Vec<usize>,
    },
    /// A new page has no picture.
    #[error("Chrome shows the page, and gives no picture of it")]
    NoFirstPicture,
    /// A frame has no picture.
    #[error("Chrome draws, and gives no picture of what it drew")]
    NoPicture,
    /// A picture has another size than planned.
    #[error("Chrome drew {found} pixels instead of {expected}")]
    WrongSize {
        /// Its size.
        found: Size,
        /// The planned size.
        expected: Size,
    },
    /// Two pictures of one page differ in size.
    #[error("Chrome drew the same page in two sizes")]
    TwoSizes,
    /// The encoder's thread ended before the last frame; its own error says why.
    #[error("the encoder ended before its frames")]
    EncoderEnded,
    /// The number of frames in a segment is wrong.
    #[error("the segment has {frames} frames and {hashes} hashes, and its chunk {expected}")]
    FrameCount {
        /// Frames in the segment.
        frames: u64,
        /// Hashes of frames.
        hashes: u64,
        /// Frames of the chunk.
        expected: u64,
    },
    /// The number of samples in the sound is wrong.
    #[error("the sound has {samples} samples a channel and the video lasts {expected}")]
    SampleCount {
        /// Samples a channel in the sound.
        samples: u64,
        /// Samples a channel of the video's duration.
        expected: u64,
    },
}

/// The local disk failed.
#[derive(Debug, thiserror::Error)]
#[error("{} {action}: {source}", path.display())]
pub struct DiskError {
    /// What could not be done, as the rest of a sentence that begins with the path.
    pub action: &'static str,
    /// The file or folder.
    pub path: PathBuf,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    /// For `map_err`: `path` could not be used, as `action` says.
    pub(crate) fn at(path: &Path, action: &'static str) -> impl Fn(io::Error) -> Self {
        move |source| Self { action, path: path.to_owned(), source }
    }
}

impl WorkerError {
    /// This error with the name of what it is about before it.
    pub(crate) fn about(self, about: impl Into<String>) -> Self {
        Self::About { about: about.into(), source: Box::new(self) }
    }

    /// The code of the failure: it decides who has to act, and whether the task is retried.
    pub fn code(&self) -> FailureCode {
        exhausted_resource(self).unwrap_or_else(|| self.code_by_kind())
    }

    /// Whether the page or its browser has crashed, as far as their answers tell, so that another browser may go on.
    pub(crate) fn is_crash(&self) -> bool {
        match self {
            Self::Page(error) => matches!(error, PageError::Crashed),
            Self::About { source, .. } | Self::WithOutput { source, .. } => source.is_crash(),
            error => error.code() == FailureCode::ChromeCrashed,
        }
    }

    fn code_by_kind(&self) -> FailureCode {
        match self {
            Self::Project(error) => match error {
                ProjectError::TooComplex(_) => FailureCode::ProjectTooComplex,
                ProjectError::Archive(_) | ProjectError::MotionBlur(_) => FailureCode::ProjectInvalid,
                ProjectError::RuntimeMissing(_) => FailureCode::RuntimeMissing,
                ProjectError::EntryMissing(_) => FailureCode::EntryNotFound,
                ProjectError::CompositionMissing(_) => FailureCode::CompositionNotFound,
                ProjectError::Size(_) => FailureCode::SizeInvalid,
                ProjectError::FrameRate(_) => FailureCode::FrameRateInvalid,
                ProjectError::Duration(_) => FailureCode::DurationInvalid,
                ProjectError::Variables(_) => FailureCode::VariablesInvalid,
                ProjectError::Media(_) => FailureCode::MediaInvalid,
            },
            Self::Page(error) => match error {
                PageError::NotReady(_) => FailureCode::PageNotReady,
                PageError::Script(_) => FailureCode::ScriptError,
                PageError::TimelineMissing(_) => FailureCode::TimelineMissing,
                PageError::DurationMissing(_) => FailureCode::DurationMissing,
                PageError::Unresponsive { .. } => FailureCode::PageUnresponsive,
                PageError::Crashed | PageError::LimitExceeded { .. } => FailureCode::PageCrashed,
            },
            Self::Chrome(error) => match error {
                ChromeError::Missing(_) => FailureCode::ChromeMissing,
                ChromeError::NoUser
                | ChromeError::Profile { .. }
                | ChromeError::Spawn { .. }
                | ChromeError::Launch { .. }
                | ChromeError::NoPage
                | ChromeError::OpenPage(_)
                | ChromeError::NoGpu(_) => FailureCode::ChromeLaunch,
                ChromeError::GpuLost(_)
                | ChromeError::Protocol(_)
                | ChromeError::Screenshot(_)
                | ChromeError::Ended => FailureCode::ChromeCrashed,
                ChromeError::Stalled { .. } | ChromeError::FramePending => FailureCode::CaptureStalled,
                ChromeError::Call(_) | ChromeError::Answer(_) | ChromeError::Gone => FailureCode::Internal,
            },
            Self::Capture(error) => match error {
                CaptureError::FramebufferLost(_)
                | CaptureError::NoFirstPicture
                | CaptureError::NoPicture
                | CaptureError::ResumedElsewhere { .. }
                | CaptureError::PicturesMissed { .. }
                | CaptureError::WrongSize { .. }
                | CaptureError::TwoSizes => FailureCode::CaptureStalled,
                CaptureError::EncoderEnded => FailureCode::EncodeFailed,
                CaptureError::FrameCount { .. } | CaptureError::SampleCount { .. } => FailureCode::VerifyFailed,
            },
            Self::Media(error) if error.is_input() => FailureCode::MediaInvalid,
            Self::Media(error) => error.os_error().and_then(exhausted_by_errno).unwrap_or(FailureCode::EncodeFailed),
            Self::Encoder(_) => FailureCode::EncodeFailed,
            Self::Storage(ObjectsError::Version { .. }) | Self::ClassMismatch { .. } => FailureCode::VersionMismatch,
            // What storage refuses for good is no outage, which would use up no attempt.
            Self::Storage(error) if error.is_unsupported() => FailureCode::Internal,
            Self::Storage(ObjectsError::Store { .. } | ObjectsError::File { .. }) => FailureCode::Storage,
            Self::Storage(_) | Self::DamagedObject { .. } => FailureCode::ObjectMissing,
            Self::Cancelled(_) => FailureCode::Drained,
            Self::Disk(_) | Self::Setting(_) | Self::Listen(_) | Self::Panicked { .. } | Self::Inconsistent(_) => {
                FailureCode::Internal
            }
            Self::About { source, .. } | Self::WithOutput { source, .. } => source.code(),
        }
    }
}

/// `message` without paths of files in the worker's cache, which have the hash of their content as their name and say
/// nothing to the author of a project.
fn without_cached_paths(message: &str) -> String {
    let without = |word: &str| {
        let path = word.trim_end_matches(|end: char| !end.is_ascii_alphanumeric());
        let name = path.rsplit_once('/').map_or("", |(_, name)| name);
        let is_cached = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        if is_cached { format!("the file{}", &word[path.len()..]) } else { word.to_owned() }
    };
    message.split(' ').map(without).collect::<Vec<_>>().join(" ")
}

impl From<WorkerError> for Failure {
    fn from(error: WorkerError) -> Self {
        let code = error.code();
        let advice = match code {
            FailureCode::DiskFull => "; free space there, or set TMPDIR to a folder on a larger disk",
            FailureCode::TooManyOpenFiles => {
                "; raise the limit of open files of the worker (`ulimit -n`), or use fewer slots"
            }
            _ => "",
        };
        let mut message = error.to_string();
        if code.owner() == Owner::User {
            message = without_cached_paths(&message);
        }
        // A page can make a message as long as it likes.
        if let Some((end, _)) = message.char_indices().nth(MESSAGE_CHARACTERS) {
            message.truncate(end);
            message.push('…');
        }
        Self::new(code, message + advice)
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::RetryRule;

    use super::*;

    fn disk(errno: i32) -> WorkerError {
        DiskError::at(Path::new("/scratch/x"), "cannot be written")(io::Error::from_raw_os_error(errno)).into()
    }

    #[test]
    fn authors_read_no_paths_of_the_cache() {
        let path = format!("/tmp/work/cache/{}", "ab".repeat(32));
        let failure = Failure::from(
            WorkerError::from(MediaError::Empty { path: path.clone().into() }).about("video \"v\" (trunc.mp4)"),
        );
        assert!(failure.message.starts_with("video \"v\" (trunc.mp4): the file "), "{}", failure.message);
        assert!(!failure.message.contains("cache"), "{}", failure.message);
        assert_eq!(without_cached_paths("see https://x/y and a/b"), "see https://x/y and a/b");
        assert_eq!(without_cached_paths(&format!("{path}: no")), "the file: no");
    }

    #[test]
    fn errors_of_projects_and_pages_are_their_authors() {
        let errors: [WorkerError; 3] = [
            ProjectError::Archive("a".to_owned()).into(),
            WorkerError::from(PageError::Script("b".to_owned())).about("the effects"),
            MediaError::Empty { path: "c".into() }.into(),
        ];
        for error in errors {
            assert_eq!((error.code().owner(), error.code().retry()), (Owner::User, RetryRule::Never), "{error}");
        }
        assert_eq!(disk(5).code().owner(), Owner::System);
    }

    #[test]
    fn a_full_disk_and_too_many_open_files_say_what_to_do() {
        let (no_space, too_many, quota) = (28, 24, 122);
        for (errno, code, advice) in [
            (no_space, FailureCode::DiskFull, "free space"),
            (quota, FailureCode::DiskFull, "free space"),
            (too_many, FailureCode::TooManyOpenFiles, "ulimit -n"),
        ] {
            let sources: [WorkerError; 3] = [
                disk(errno),
                ObjectsError::File { path: "y".to_owned(), source: io::Error::from_raw_os_error(errno) }.into(),
                ChromeError::Spawn { executable: "chrome".into(), source: io::Error::from_raw_os_error(errno) }.into(),
            ];
            for error in sources {
                let failure = Failure::from(error.about("a chunk"));
                assert_eq!(failure.code, code, "{failure}");
                assert!(failure.message.contains(advice) && failure.message.starts_with("a chunk: "), "{failure}");
            }
        }
        let failure = Failure::from(disk(5));
        assert_eq!((failure.code, failure.message.contains("free")), (FailureCode::Internal, false));
    }
}
