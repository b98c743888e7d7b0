//! The coordinator takes renders in, decides which tasks workers get next, and answers how far each render is.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`Coordinator`] | the coordinator as a whole, for the API and for a process that embeds it |
//! | [`api`] | the HTTP API, compatible with the hosted service |
//! | [`api_keys`] | API keys, stored as hashes |
//! | [`admission`] | the limits of a key: renders in flight, per minute, per day, spending |
//! | `oauth` | sign-ins: tokens that stand for an API key |
//! | `rate_limit` | rates of requests, by key or by address |
//! | [`intake`] | checks and stores projects and requests |
//! | [`submission`] | who submitted a render, and the seed of its id |
//! | [`runtimes`] | the versions of the HyperFrames runtime, as people read them |
//! | [`sharding`] | cuts a render into chunks, a pure function |
//! | [`scheduler`] | decides the next step of each render and the order of tasks, by differences |
//! | [`simulate`](mod@simulate) | simulates a farm on a clock of its own, with the real scheduler |
//! | `reconciler` | the loop that reads ledger and storage and takes the scheduler's steps |
//! | [`progress`], [`status`], `timeline` | how far a render is, its status, and every attempt at its tasks |
//! | `finalize` | what follows the end of a render |
//! | [`webhooks`], [`usage`] | events to subscribers, usage and its price |
//! | `waiting` | what an open render waits for while nobody works on it |
//! | `assets` | uploaded files |
//! | `avatars` | people who can present, and their looks |
//! | `presenter` | presenter videos as projects |
//! | `translation` | existing videos in other languages: what is said, its translation, and the engines of both |
//! | `lipsync` | existing videos with a new sound as projects, and the engine that moves mouths |
//! | `agent` | the video agent: a language model's storyboards as projects |
//! | `html` | text in HTML |
//! | `audit` | who did which administrative act |
//! | `signed_urls` | URLs that need no key |
//! | `storage_grants` | storage for workers and stitchers that hold no credential of it |
//! | `expiry` | removes what storage does not keep for ever |
//! | `retention` | how long ended renders and their segments are kept, and their removal |
//! | `registry`, `index` | renders in memory, and an index of all of them |
//! | `store`, `object_keys` | the coordinator's records in storage, and their keys |
//! | `config` | the settings of loop, chunks and projects |
//! | [`clock`] | Unix time and its text |
//!
//! # Invariants
//!
//! - **Object storage is the truth.** Every decision can be made again from it. Ledger, broker and this process can be lost at any moment.
//!   (`reconciler`)
//! - **Nothing is answered before it is stored.** ([`intake`])
//! - **The coordinator decides, the broker only carries.** The queues hold a short window of tasks. ([`scheduler`])
//! - **A chunk counts once, and the stitch starts when all chunks are committed.** No event is needed for it.
//!   ([`scheduler::tasks`])
//! - **A render ends once.** The first `state.json` that is stored counts, whoever stores it. (`store::end`)
//! - **A failure is the user's or the farm's.** The user's ends a render at once. The farm's is retried, then published as a dead letter.
//!   ([`scheduler::task_status`](mod@scheduler::task_status))
//! - **Modules outside [`api`] import nothing from it.**
//!
//! # Example
//!
//! A coordinator in one process. Without workers the render stays queued:
//!
//! ```
//! use hyperfarm_backplane::{Backplane, drain::Drain, objects::Objects};
//! use hyperfarm_coordinator::{Coordinator, CoordinatorConfig, Stage, intake};
//! use hyperfarm_proto::spec::RenderSpec;
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let drain = Drain::new();
//! let backplane = Backplane::ephemeral(Objects::memory());
//! let coordinator = Coordinator::start(backplane, CoordinatorConfig::default(), drain.clone());
//!
//! let project = intake::from_html("<h1>Hello</h1>", None)?;
//! let render = coordinator.submit(project, RenderSpec::default()).await?;
//! assert_eq!(coordinator.detail(&render).await?.progress.stage, Stage::Queued);
//!
//! drain.start();
//! coordinator.join().await;
//! # Ok(())
//! # }
//! ```

pub mod admission;
mod agent;
pub mod api;
pub mod api_keys;
mod assets;
mod audit;
mod avatars;
pub mod clock;
mod config;
mod coordinator;
mod expiry;
mod finalize;
mod html;
mod index;
pub mod intake;
mod lipsync;
mod oauth;
mod object_keys;
mod presenter;
pub mod progress;
mod rate_limit;
mod reconciler;
mod registry;
pub mod retention;
pub mod runtimes;
pub mod scheduler;
pub mod sharding;
mod signed_urls;
pub mod simulate;
pub mod status;
mod storage_grants;
mod store;
pub mod submission;
#[cfg(test)]
mod testing;
mod timeline;
mod translation;
pub mod usage;
pub mod waiting;
pub mod webhooks;

pub use agent::{ChatMessage, ChatRole, LanguageModel, LanguageModelConfig, LanguageModelError, OpenAiChat};
pub use config::CoordinatorConfig;
pub use coordinator::{Coordinator, RenderError, RenderPage};
pub use intake::IntakeError;
pub use lipsync::{HttpLipsync, LipsyncConfig, LipsyncEngine, LipsyncError, LipsyncJob};
pub use progress::{PlanSummary, RenderProgress, Stage};
pub use reconciler::{RebuiltRender, ReconcileError, rebuild_ledger};
pub use registry::RenderDetail;
pub use translation::{
    HttpRecognition, HttpTranslator, RecognitionConfig, RecognitionError, RecognitionJob, Recognized,
    SpeechRecognition, Subtitle, TranslationConfig, TranslationError, Translator,
};
