//! The worker: it renders projects with headless Chrome under begin-frame control, from a project's zip to committed
//! segments.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`worker`] | start and end of a worker, and which stage does which task |
//! | `context` | what the stages share: connections, caches, slots |
//! | `plan_stage` | compiles the project, probes its page, measures frames, stores the draft of the plan |
//! | `chunk_stage` | captures a range of frames, encodes it, checks it, stores the segment |
//! | `audio_stage` | mixes the sound of a render |
//! | `sound_track` | the sound that a request adds to the whole render |
//! | `compile` | from a project's zip to the files that its page loads; fonts and their substitutes |
//! | `compiler` | compiles in a process of its own, without rights |
//! | [`remote`] | remote files of compositions: the operator's map, packages, fonts, downloads |
//! | [`runtimes`] | which version of the HyperFrames runtime a render gets, and its scripts |
//! | `expected_page` | what a slot that opens its browser early expects of its first page |
//! | `slot`, `slots` | a slot: its server and its browser; the slots of a worker |
//! | [`host`] | the page host: clock, readiness, seek, videos |
//! | [`capture`] | reads frames and encodes them |
//! | [`framebuffer`] | the compositor's bitmap in Chrome's memory |
//! | [`chrome`] | the browser process and its page |
//! | [`server`] | the slot's loopback server, through which all requests of the page go |
//! | `screenshot`, `pixels` | Chrome's screenshots, decoded and compared |
//! | `verify` | the check whether a page draws the same frames each time |
//! | `media_list` | the media elements of a page, resolved to files |
//! | `sound`, `effects` | the sounds of a plan, and effect chains in a page |
//! | [`encoders`] | the encoders of a GPU |
//! | [`class`] | the capture class of a worker, to which a render is pinned |
//! | `assets` | what is embedded in the binary: runtime, host scripts, fonts |
//! | `cache` | files by their content, each downloaded once |
//! | `urls`, `blocking` | URLs of a slot's server; work on a thread that may block |
//! | [`settings`] | the worker's section of the configuration |
//! | [`error`] | every error, and the failure that it becomes |
//!
//! **Invariant: a segment is a pure function of the plan and the chunk.** A page is opened by a fresh navigation with
//! the start-up sequence of [`capture::FrameGrabber::start_up`], its clock, timers and random numbers depend on the
//! frame's number, its fonts are those of the plan, and it can load nothing but the plan's files.
//!
//! # Example
//!
//! An error knows its failure code, and so who has to act:
//!
//! ```
//! use hyperfarm_backplane::config;
//! use hyperfarm_proto::failure::{Failure, FailureCode, Owner};
//! use hyperfarm_worker::WorkerError;
//! use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings};
//!
//! // An environment in which HYPERFARM_CHROME names a file that does not exist.
//! let environment = |name: &str| (name == "HYPERFARM_CHROME").then(|| "/nonexistent/chrome".to_owned());
//! let settings = config::read(&environment, ChromeSettings::read).unwrap();
//! let error: WorkerError = ChromeConfig::find(&settings).unwrap_err();
//! assert_eq!(error.code(), FailureCode::ChromeMissing);
//! assert_eq!(error.code().owner(), Owner::System);
//!
//! let failure = Failure::from(error);
//! assert!(failure.message.contains("install Debian's chromium-headless-shell"));
//! ```

mod assets;
mod audio_stage;
mod blocking;
mod cache;
pub mod capture;
pub mod chrome;
mod chunk_stage;
pub mod class;
mod compile;
mod compiler;
mod context;
mod effects;
pub mod encoders;
pub mod error;
mod expected_page;
pub mod framebuffer;
pub mod host;
mod media_list;
mod pixels;
mod plan_stage;
pub mod remote;
pub mod runtimes;
mod screenshot;
pub mod server;
pub mod settings;
mod slot;
mod slots;
mod sound;
mod sound_track;
mod urls;
mod verify;
pub mod worker;

pub use assets::{GSAP_VERSION, RUNTIME_VERSION};
pub use compile::html::AuthoredPage;
pub use compiler::{COMPILER_COMMAND, CompileLimits, Compilers, PageFacts, serve_compiler};
pub use error::WorkerError;
pub use expected_page::{ExpectedPage, MAX_DURATION};
pub use slot::Slot;
pub use worker::{Worker, WorkerConfig};
