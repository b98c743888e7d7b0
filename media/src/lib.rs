//! FFmpeg for the farm, in process: encode, join, mix, probe, decode.
//!
//! | what | where |
//! | --- | --- |
//! | pictures → a segment | [`SegmentEncoder`] |
//! | segments + sound → the output, by copying packets | [`join`] |
//! | segments and sound → pieces that players fetch one by one | [`picture_piece`], [`sound_pieces`] |
//! | lossless segments → a GIF | [`gif()`] |
//! | lossless segments → PNG files | [`stills`] |
//! | sounds → one track, exact to the sample | [`mix`] |
//! | pictures of a `<video>` at output frames | [`VideoSource`] |
//! | a still for people | [`thumbnail`], [`still`] |
//! | what a file holds | [`probe`], [`count_packets`] |
//! | everything decoded, for verification and tests | [`decode_video`], [`decode_audio`], [`compare`] |
//! | what this machine's FFmpeg is and can | [`versions`], [`encoders`], [`device_encoders`] |
//!
//! Invariants, each kept beside the code named:
//!
//! - **Equal pictures and settings give equal bytes** on every machine with the same libraries (`codec`, `mux`,
//!   `convert::yuv`): integer colour conversion, encoders with fixed threads and without processor-specific paths, containers
//!   without dates or version strings.
//! - **A segment starts with a key frame, holds no reference across its seams, and has the headers of every other
//!   segment of its settings** (`codec`, checked by `join`).
//! - **What is counted is checked**: packets against frames when a segment is finished and when segments are joined.
//! - **A source file is a stranger's**: only named demuxers and only the `file` protocol read it (`demux`), and whatever its
//!   bytes, the answer is an error with a sentence and never a panic.
//!
//! Nothing here starts threads of its own beyond what the encoder settings ask for: callers choose where the work runs.
//! FFmpeg's own log goes to `tracing`, target `ffmpeg`, never to standard error.

mod allocator;
mod alpha;
mod bitmap;
mod boxes;
mod codec;
pub mod compare;
mod convert;
mod count;
mod decode;
mod demux;
mod device;
mod encode;
mod error;
mod ffi;
mod ffmpeg_log;
mod fragment;
mod gif;
mod join;
mod mix;
mod mux;
mod probe;
mod source;
mod stills;
mod tags;
mod thumbnail;
mod timescale;
mod upload;
mod version;

pub use crate::gif::{GifSummary, count_gif, gif};
pub use allocator::{return_free_memory, return_large_blocks};
pub use bitmap::{Bitmap, Picture, PixelLayout};
pub use count::{PacketCount, count_packets};
pub use decode::{decode_audio, decode_video};
pub use device::{device_encoders, try_encoder};
pub use encode::{SegmentEncoder, SegmentSummary};
pub use error::{MediaError, Reason};
pub use fragment::{Place, SoundPieces, picture_header, picture_piece, sound_pieces};
pub use join::{JoinSummary, SegmentFile, join};
pub use mix::{MixInput, MixSummary, mix, mix_raw};
pub use probe::{AudioInfo, ColorTags, MediaInfo, VideoInfo, probe};
pub use source::{VideoSource, VideoTimeline};
pub use stills::stills;
pub use thumbnail::{still, thumbnail};
pub use timescale::SAMPLE_RATE;
pub use version::{encoders, versions};
