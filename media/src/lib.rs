//! FFmpeg for the farm, in process: encode, join, mix, probe, decode.
//!
//! | what | where |
//! | --- | --- |
//! | frames → a segment | [`SegmentEncoder`]; in several sizes (`renditions`) [`RenditionsEncoder`] |
//! | segments + sound → the output, by copying packets | [`join()`] |
//! | segments and sound → fragmented mp4, for players that stream | [`video_header`], [`video_fragments`], [`audio_fragments`]; their playlists (`playlist`) [`media_playlist`] |
//! | pages with videos of high dynamic range → BT.2020 (`hdr`) | [`SegmentEncoder::push_layers`] |
//! | lossless segments → a GIF | [`gif()`] |
//! | lossless segments → PNG files | [`png_frames()`] |
//! | sounds → one track, exact to the sample | [`mix()`] |
//! | samples of one sound file (`sound_source`) | [`sound_level`] and [`mix()`] read them |
//! | pictures of a `<video>` at output frames | [`VideoSource`] |
//! | the same of users' sources, in confined processes | [`Decoders`] |
//! | captions as files | [`srt`], [`webvtt`] |
//! | small JPEG pictures | [`thumbnail()`], [`still`], [`poster`], [`storyboard()`] |
//! | streams, packets and durations of a file | [`probe()`], [`count_packets`], [`count_packets_while`] |
//! | whole files decoded, for verification and tests | [`decode_video`], [`decode_audio`], [`compare`] |
//! | FFmpeg on this machine: versions and encoders | [`versions`], [`encoders`], [`device_encoders`] |
//!
//! What these share: `bitmap` (pictures in memory), `boxes` and `fragment` (boxes of mp4 that FFmpeg does not write),
//! `count`, `packet_file` (packets on disk), `timescale` (exact times), `limits` and `isolation` (what a source may do),
//! `device` and `upload` (encoders of a GPU), `capabilities`, `ffmpeg_log`, `allocator` (memory goes back to the system).
//!
//! # Invariants
//!
//! Each is kept in the modules named.
//!
//! - **Equal frames and settings give equal bytes** on every machine with the same libraries (`codec`, `mux`,
//!   `convert::to_yuv`, `hdr`): integer colour conversion, for HDR single precision in a fixed order and from tables,
//!   encoders with fixed threads and without processor-specific paths, containers without dates or version strings.
//! - **A segment starts with a key frame, has no reference across its seams, and has the headers of every other segment
//!   of its settings** (`codec`, checked by `join`).
//! - **What is counted is checked**: packets against frames when a segment is finished and when segments are joined.
//! - **A source file is not trusted**: only named demuxers and decoders of common codecs read it, through a file that
//!   is open already (`demux`), its pictures and sounds are limited ([`MediaLimits`]), ids that it leads to become
//!   enums only after a range check (`ffi::ids`, `tags`), and no content makes a function panic.
//! - **Memory does not grow with the length of a render**: packets, alpha planes and samples that wait are on disk.
//!
//! Nothing here starts threads beyond those that the encoder settings ask for: callers choose where the work runs.
//! FFmpeg's own log goes to `tracing`, target `ffmpeg`, never to standard error.
//!
//! # Example
//!
//! ```
//! use hyperfarm_media::{Bitmap, PixelLayout, SegmentEncoder, probe};
//! use hyperfarm_proto::frame::FrameRate;
//! use hyperfarm_proto::plan::EncoderSettings;
//! use hyperfarm_proto::spec::{Format, Quality, Size};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = tempfile::tempdir()?;
//! let path = folder.path().join("segment.mp4");
//! let (size, rate) = (Size { width: 64, height: 48 }, FrameRate::DEFAULT);
//! let settings = EncoderSettings::of(Format::Mp4, Quality::Draft, rate);
//! let mut encoder = SegmentEncoder::create(&path, &settings, size, rate)?;
//! for level in [0, 128, 255] {
//!     let data = vec![level; 64 * 48 * 4];
//!     encoder.push(&Bitmap { data: &data, stride: 64 * 4, size, layout: PixelLayout::Bgra })?;
//! }
//! assert_eq!(encoder.finish()?.frames, 3);
//! assert_eq!(probe(&path)?.video.map(|video| video.codec), Some("h264".to_owned()));
//! # Ok(())
//! # }
//! ```

mod allocator;
mod alpha;
mod bitmap;
mod boxes;
mod capabilities;
mod captions;
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
mod hdr;
mod isolation;
mod join;
mod limits;
mod mix;
mod mux;
mod packet_file;
mod playlist;
mod png_frames;
mod probe;
mod renditions;
mod sound_source;
mod source;
mod storyboard;
mod tags;
mod thumbnail;
mod timescale;
mod upload;

pub use crate::gif::{GifOptions, GifSummary, count_gif, gif};
pub use allocator::{return_free_memory, return_large_blocks};
pub use bitmap::{Bitmap, Picture, PixelLayout};
pub use capabilities::{encoders, versions};
pub use captions::{srt, webvtt};
pub use count::{PacketCount, count_packets, count_packets_while};
pub use decode::{decode_audio, decode_video};
pub use device::{device_encoders, try_encoder};
pub use encode::{SegmentEncoder, SegmentSummary};
pub use error::{MediaError, Reason};
pub use fragment::{
    AudioFragments, SegmentPosition, VideoFragment, audio_fragments, codec_name, video_fragment, video_fragments,
    video_header,
};
pub use hdr::curves::{srgb_light, srgb_signal};
pub use hdr::{HdrLayer, HdrPicture, Placement, sdr_preview};
pub use isolation::{DECODER_COMMAND, Decoders, VideoDecoder, serve_decoder};
pub use join::{JoinSummary, SegmentFile, SideTracks, join};
pub use limits::MediaLimits;
pub use mix::{
    Levelling, MixInput, MixOutput, MixPart, MixSummary, SoundLevel, mix, mix_raw, mix_to_loudness, sound_level,
};
pub use playlist::{PlaylistKind, media_playlist};
pub use png_frames::png_frames;
pub use probe::{AudioInfo, ColorTags, MediaInfo, VideoInfo, probe};
pub use renditions::RenditionsEncoder;
pub use source::{VideoSource, VideoTimeline};
pub use storyboard::storyboard;
pub use thumbnail::{poster, still, thumbnail};
pub use timescale::SAMPLE_RATE;
