//! The language of the farm: what its roles say to each other and what they leave in object storage.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`id`] | newtype ids: renders, workers, content hashes, frame hashes |
//! | [`frame`] | [`frame::FrameRate`] (an exact rational) and [`frame::FrameRange`] (half open) |
//! | [`spec`] | [`spec::RenderSpec`]: what a person asked for |
//! | [`output`] | containers, codecs, and what of them goes together |
//! | [`encoder`] | [`encoder::EncoderSettings`]: everything that an encoder's bytes depend on |
//! | [`plan`] | [`plan::Plan`]: what the farm will do, down to the chunk table |
//! | [`task`] | [`task::TaskId`] and the queues that carry tasks |
//! | [`event`] | hints from workers and stitchers to the coordinator |
//! | [`record`] | what a finished task leaves: segments, audio, output; manifest and terminal state |
//! | [`log`] | lines of a render's own log |
//! | [`bounded`] | integers and texts with bounds |
//! | [`failure`] | failure codes, each with an owner, a retry rule and a sentence |
//! | [`archive`] | what a project's zip archive may be |
//! | [`keys`] | the names of objects in storage |
//! | [`wire`] | the wire codec: bincode behind a version byte and a size limit |
//!
//! Nothing here does input or output, and nothing here depends on another crate of the farm.

pub mod archive;
pub mod bounded;
pub mod encoder;
pub mod event;
pub mod failure;
pub mod frame;
pub mod id;
pub mod keys;
pub mod log;
pub mod output;
pub mod plan;
pub mod record;
pub mod spec;
pub mod task;
pub mod wire;

/// The version of the farm, part of every capture class.
pub const FARM_VERSION: &str = env!("CARGO_PKG_VERSION");
