//! The worker: headless Chrome under begin-frame control, from a project's zip to committed segments.
//!
//! | module | what it does |
//! | --- | --- |
//! | [`worker`] | a node: slots, cache, which stage does which task |
//! | `plan_stage` | compile, probe in a page, measure, write the draft |
//! | `chunk_stage` | capture a range from a fresh navigation, encode, check, store |
//! | `audio_stage` | mix the whole sound once |
//! | `sound_track` | the sound that a request puts under the whole render |
//! | [`compile`] | from a zip to the files that the page loads |
//! | [`remote`] | what compositions name on the network: the operator's map, packages, fonts, the fetcher |
//! | [`host`] | what stands around a page: clock, readiness, seek, videos |
//! | [`capture`] | reading frames, and the encoder's thread |
//! | [`framebuffer`] | the compositor's bitmap in Chrome's memory |
//! | [`chrome`] | the browser process and its one page |
//! | [`server`] | the slot's loopback server, the page's only way out |
//! | [`encoders`] | the encoders of a GPU, where the operator asks for them |
//! | [`class`] | the capture class that a render is pinned to |
//!
//! **Invariant: a segment is a pure function of the plan and the chunk.** A page starts from a fresh navigation by the start-up sequence
//! of [`capture::FrameGrabber::start_up`], with its clock, timers and randomness taken from the frame's number, its fonts from
//! the plan, and nothing to load but the plan's files.

mod assets;
mod audio_stage;
mod blocking;
mod cache;
pub mod capture;
pub mod chrome;
mod chunk_stage;
pub mod class;
mod compile;
mod context;
mod effects;
pub mod encoders;
pub mod error;
pub mod framebuffer;
pub mod host;
mod media_list;
mod pixels;
mod plan_stage;
pub mod remote;
mod screenshot;
pub mod server;
mod slot;
mod sound;
mod sound_track;
mod urls;
mod verify;
pub mod worker;

pub use assets::{GSAP_VERSION, RUNTIME_VERSION};
pub use error::WorkerError;
pub use plan_stage::MAX_DURATION;
pub use slot::Slot;
pub use worker::{Worker, WorkerConfig};
