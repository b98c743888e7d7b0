//! The types that the farm's roles send to each other and keep in object storage.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`id`] | newtype ids: renders, workers, content hashes, frame hashes |
//! | [`frame`] | [`frame::FrameRate`] (an exact rational) and [`frame::FrameRange`] (half open) |
//! | [`spec`] | [`spec::RenderSpec`]: the options of a render |
//! | [`output`] | containers, codecs and their profiles, and which of them go together |
//! | [`quantity`], [`timecode`] | lengths, moments, bit rates and timecodes, as a request writes them |
//! | [`encoder`] | [`encoder::EncoderSettings`]: everything that an encoder's bytes depend on |
//! | [`plan`] | [`plan::Plan`]: everything that a render's segments depend on, and its chunk table |
//! | [`runtime`] | versions of the HyperFrames runtime |
//! | [`task`] | [`task::TaskId`] and the queues that carry tasks |
//! | [`event`] | hints from workers and stitchers to the coordinator |
//! | [`record`] | records of finished tasks: segments, audio, output; manifest and terminal state |
//! | [`seam`] | how chunks start, and the comparison of the pictures at their seams |
//! | [`hdr`] | high dynamic range: transfer characteristics and light levels |
//! | [`shutter`] | motion blur: the moments at which a frame is drawn |
//! | [`log`] | lines of a render's own log |
//! | [`bounded`] | integers and texts with bounds |
//! | `text_form` | how types are written in JSON and in the API's document |
//! | [`failure`] | failure codes, each with an owner and a retry rule |
//! | [`archive`] | what a project's zip archive may be |
//! | [`legible`](mod@legible) | texts of strangers, as people see them |
//! | [`keys`] | the names of objects in storage |
//! | [`wire`] | the wire codec: bincode behind a version byte and a size limit |
//!
//! Nothing here does input or output, and nothing here depends on another crate of the farm.
//!
//! A task is named by its render and its step. The message that a queue carries for it is written in the wire format:
//!
//! ```
//! use hyperfarm_proto::id::{ContentHash, Pool};
//! use hyperfarm_proto::output::Format;
//! use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
//! use hyperfarm_proto::{keys, wire};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let task = TaskId { render: "r1".parse()?, step: Step::Chunk(7) };
//! let message = TaskMessage { task, pool: Pool::default() };
//! assert_eq!(wire::decode::<TaskMessage>(&wire::encode(&message)?)?, message);
//! assert_eq!(Queue::of(message.task.step, &message.pool).to_string(), "chunk.cpu");
//!
//! // Its result is a segment, whose key names the chunk and the attempt.
//! let key = keys::segment(&message.task.render, 7, 1, &ContentHash::of(b"a segment"), Format::Mp4);
//! assert_eq!(keys::parse_segment(&key), Some((7, 1)));
//! # Ok(())
//! # }
//! ```

pub mod archive;
pub mod bounded;
pub mod encoder;
pub mod event;
pub mod failure;
pub mod frame;
pub mod hdr;
pub mod id;
pub mod keys;
pub mod legible;
pub mod log;
pub mod output;
pub mod plan;
pub mod quantity;
pub mod record;
pub mod runtime;
pub mod seam;
pub mod shutter;
pub mod size;
pub mod spec;
pub mod task;
mod text_form;
pub mod timecode;
pub mod wire;

/// The version of the farm, part of every capture class.
pub const FARM_VERSION: &str = env!("CARGO_PKG_VERSION");
