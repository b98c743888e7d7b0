//! The page host: everything around a HyperFrames page that makes it ready, seekable and the same on every machine.
//!
//! These scripts run before those of a document: `limits.js` (length and number of messages), `early.js` (clock,
//! timers, randomness, `__hf`, variables) and `animations.js` (who moves animations) in every frame, and `driver.js` (readiness, seek, videos, probe) in the top
//! one, with `load_events.js` (events of the load, for scripts that run after the fonts) and `images.js` (animated
//! images). [`PageHost`] is the Rust side of the driver.

mod captions;
mod options;
mod page_host;
mod pictures;
mod ready;
mod sound;

pub use captions::{ProbedCaption, ProbedCaptions};
pub use options::{ExpectedTimelines, OpenOptions, Probe, ProbedMedia, ServedVideo, VideoLayer, VideoPicture};
pub(crate) use page_host::VisitedPictures;
pub use page_host::{HalfSeek, PageHost, Walk};
pub use ready::PageReport;
pub use sound::{ProbedSound, ScriptedVolume, SoundElement, SoundGroup};
