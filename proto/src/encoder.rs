//! How segments and outputs are encoded.
//!
//! **Invariant: everything about encoding that varies between plans is here**, because a segment is a function of the
//! plan. What is the same in all plans is in `media::codec`, and changes with the farm's version.

use serde::{Deserialize, Serialize};

use crate::bounded::Bounded;
use crate::frame::FrameRate;
use crate::hdr::HdrTransfer;
pub use crate::quantity::Loudness;
use crate::spec::{AudioCodec, Codec, Format, Profile, Quality, RenderSpec, Size, Timecode};

/// What an encoder aims at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Rate {
    /// A constant rate factor.
    Crf(u32),
    /// Bits a second.
    Bits(u64),
}

/// Video codec with all that decides its bytes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum VideoCodec {
    /// libx264, 4:2:0, BT.709 limited range.
    H264 {
        /// Preset name.
        preset: String,
        /// Quality or size.
        rate: Rate,
        /// What differs from the preset, as `name=value:name=value` in the encoder's own words.
        options: String,
    },
    /// libvpx-vp9, 4:2:0, with an alpha plane where the output is transparent.
    Vp9 {
        /// Quality (0 to 63) or size.
        rate: Rate,
        /// Speed, -8 to 8.
        cpu_used: i32,
    },
    /// prores_ks, 10 bits: 4:2:2, or in the profiles 4444 and 4444 XQ 4:4:4 with a 16-bit alpha plane.
    ProRes {
        /// Which of ProRes' profiles.
        profile: Profile,
        /// Bits a macroblock; 0 for the profile's own.
        bits_per_mb: u32,
    },
    /// libx265, 4:2:0, BT.709 limited range.
    H265 {
        /// Preset name.
        preset: String,
        /// Quality or size.
        rate: Rate,
        /// What differs from the preset, as `name=value:name=value` in the encoder's own words.
        options: String,
        /// Bits a sample, 8 or 10.
        bit_depth: u32,
    },
    /// libvpx, 4:2:0, with an alpha plane where the output is transparent.
    Vp8 {
        /// Quality (4 to 63) or size.
        rate: Rate,
        /// Speed, -16 to 16.
        cpu_used: i32,
    },
    /// Lossless RGBA pictures: the frames of a PNG sequence, and what a GIF is made from.
    Png {
        /// zlib's level, 1 to 9.
        level: u32,
    },
    /// A circuit of the machine's GPU, 4:2:0 of 8 bits, BT.709 limited range. Its bytes are the device's and the driver's, which the
    /// capture class names.
    Device {
        /// Which one.
        encoder: DeviceEncoder,
        /// How much work it gives itself: 1 (quick) to 7.
        effort: u32,
        /// Quality (0 to 51) or size.
        rate: Rate,
    },
    /// libaom's AV1, 4:2:0, BT.709 limited range. SVT-AV1 is no choice: with a bit rate its bytes differed with the
    /// number of threads, and a process with several of its encoders crashed.
    Av1 {
        /// Speed, 0 (slow) to 8.
        cpu_used: u32,
        /// Quality (0 to 63) or size.
        rate: Rate,
        /// Bits a sample, 8 or 10.
        bit_depth: u32,
    },
    /// DNxHR, 4:2:2 of 8 bits (HQ) or 10 (HQX). Its profile decides its size.
    DnxHr {
        /// Which of DNxHR's profiles.
        profile: Profile,
    },
}

/// An encoder of a GPU.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum DeviceEncoder {
    /// NVIDIA's, H.264.
    H264Nvenc,
    /// NVIDIA's, H.265.
    H265Nvenc,
    /// VA-API (Intel, AMD), H.264.
    H264Vaapi,
    /// VA-API, H.265.
    H265Vaapi,
}

impl DeviceEncoder {
    /// All, the ones that are preferred first.
    pub const ALL: [Self; 4] = [Self::H264Nvenc, Self::H265Nvenc, Self::H264Vaapi, Self::H265Vaapi];

    /// FFmpeg's name of it.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264Nvenc => "h264_nvenc",
            Self::H265Nvenc => "hevc_nvenc",
            Self::H264Vaapi => "h264_vaapi",
            Self::H265Vaapi => "hevc_vaapi",
        }
    }

    /// Whether it is reached through VA-API.
    pub fn is_vaapi(self) -> bool {
        matches!(self, Self::H264Vaapi | Self::H265Vaapi)
    }

    /// What it makes.
    pub fn codec(self) -> Codec {
        match self {
            Self::H264Nvenc | Self::H264Vaapi => Codec::H264,
            Self::H265Nvenc | Self::H265Vaapi => Codec::H265,
        }
    }
}

impl VideoCodec {
    /// The size that is encoded for pictures of `size`. Most codecs with subsampled chroma need even sides: where one is
    /// odd, its last pair of columns or rows is black, as HyperFrames' own renderer makes it.
    pub fn coded_size(&self, size: Size) -> Size {
        let is_even = match self {
            Self::ProRes { profile, .. } => !profile.has_alpha(),
            Self::Av1 { .. } | Self::DnxHr { .. } => true,
            Self::Vp8 { .. } | Self::Vp9 { .. } | Self::Png { .. } => false,
            Self::H264 { .. } | Self::H265 { .. } | Self::Device { .. } => true,
        };
        if is_even {
            Size { width: size.width.next_multiple_of(2), height: size.height.next_multiple_of(2) }
        } else {
            size
        }
    }
}

/// How segments and audio are encoded.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EncoderSettings {
    /// Container of the output.
    pub format: Format,
    /// Video codec.
    pub codec: VideoCodec,
    /// Whether the page is drawn on nothing and its transparency kept.
    pub alpha: bool,
    /// Transfer characteristic of an output of high dynamic range (BT.2020); none for BT.709.
    pub hdr: Option<HdrTransfer>,
    /// Encoder threads. Part of the plan because x264's and libvpx's bytes depend on it.
    pub threads: u32,
    /// Frames between key frames at most.
    pub keyframe_interval: u32,
    /// Loop count of a GIF, 0 for ever.
    pub gif_loop: u16,
    /// Codec of the sound.
    pub audio_codec: AudioCodec,
    /// Loudness of the sound; none leaves it as it is mixed.
    pub loudness: Option<Loudness>,
    /// Timecode of the composition's first frame; none leaves the timecode track out.
    pub timecode: Option<Timecode>,
    /// Whether the sound is written as a WAV file as well.
    pub wav: bool,
    /// Frame of the composition that is written as a JPEG file.
    pub poster: Option<u64>,
    /// Frames between the pictures of the storyboard; none leaves it out.
    pub storyboard: Option<u64>,
    /// Whether the captions are written as files.
    pub captions: bool,
    /// Whether the captions are a track of the output.
    pub caption_track: bool,
    /// Sizes in which the pictures are encoded beside the output's own, the largest first. A segment has a track for each,
    /// after its own.
    pub renditions: Vec<Size>,
}

/// Longest time between two key frames, in seconds. HyperFrames' own renderer sets one in 250 frames: where little moves, key
/// frames are most of a file. A segment starts with one whatever this says.
const KEYFRAME_SECONDS: f64 = 8.0;

/// Time between two key frames of an hls package, in seconds. A player changes to another rendition at a key frame.
const HLS_KEYFRAME_SECONDS: f64 = 2.0;

impl EncoderSettings {
    /// The farm's settings for a format and a quality.
    pub fn of(format: Format, quality: Quality, frame_rate: FrameRate) -> Self {
        Self::for_spec(&RenderSpec { format, quality, ..RenderSpec::default() }, frame_rate)
    }

    /// The settings that a request asks for, without renditions, and for a composition without videos of high dynamic
    /// range.
    pub fn for_spec(spec: &RenderSpec, frame_rate: FrameRate) -> Self {
        let hdr = spec.hdr.map(|hdr| hdr.transfer(std::iter::empty()));
        let bit_depth = spec.bit_depth.unwrap_or(if hdr.is_some() { 10 } else { 8 });
        let codec = match spec.codec() {
            Codec::H264 => {
                let (preset, crf, options) = x264(spec.quality);
                // Key frames are where all renditions have one, and not where a picture happens to change.
                let fixed = if spec.format == Format::Hls { ":scenecut=0" } else { "" };
                let options = format!("{options}{fixed}");
                VideoCodec::H264 { preset: preset.to_owned(), rate: rate(spec, crf), options }
            }
            Codec::H265 => {
                let (preset, crf) = x265(spec.quality);
                VideoCodec::H265 { preset: preset.to_owned(), rate: rate(spec, crf), options: String::new(), bit_depth }
            }
            Codec::Vp9 => {
                let (crf, cpu_used) = by_quality(spec.quality, [(40, 8), (28, 6), (16, 3)]);
                VideoCodec::Vp9 { rate: rate(spec, crf), cpu_used: spec.vp9_cpu_used.map_or(cpu_used, Bounded::get) }
            }
            Codec::Vp8 => {
                let (crf, cpu_used) = by_quality(spec.quality, [(30, 8), (12, 4), (6, 2)]);
                VideoCodec::Vp8 { rate: rate(spec, crf), cpu_used }
            }
            Codec::Av1 => {
                let (crf, cpu_used) = by_quality(spec.quality, [(40, 8), (28, 6), (18, 4)]);
                VideoCodec::Av1 { cpu_used, rate: rate(spec, crf), bit_depth }
            }
            Codec::ProRes => {
                let profile = spec.profile().unwrap_or(Profile::ProRes4444);
                let bits_per_mb = match profile {
                    Profile::ProRes4444 => by_quality(spec.quality, [2000, 4000, 8000]),
                    Profile::ProRes4444Xq => by_quality(spec.quality, [3000, 6000, 8192]),
                    // Editors and broadcasters expect the data rate by which the profile is known.
                    _ => 0,
                };
                VideoCodec::ProRes { profile, bits_per_mb }
            }
            Codec::DnxHr => VideoCodec::DnxHr { profile: spec.profile().unwrap_or(Profile::DnxHrHqx) },
            Codec::Gif => VideoCodec::Png { level: 1 },
            Codec::PngSequence => VideoCodec::Png { level: by_quality(spec.quality, [1, 6, 9]) },
        };
        let keyframe_seconds = if spec.format == Format::Hls { HLS_KEYFRAME_SECONDS } else { KEYFRAME_SECONDS };
        let keyframe_interval = (frame_rate.as_f64() * keyframe_seconds).round().max(1.0) as u32;
        let (alpha, gif_loop) = (spec.is_transparent(), spec.gif_loop.map_or(0, Bounded::get));
        let (loudness, timecode) = (spec.loudness(), spec.timecode());
        let poster = spec.poster.map(|poster| poster.frame(frame_rate));
        Self {
            format: spec.format,
            codec,
            alpha,
            hdr,
            threads: 1,
            keyframe_interval,
            gif_loop,
            audio_codec: spec.audio_codec(),
            loudness,
            timecode,
            wav: spec.wav,
            poster,
            storyboard: spec.storyboard_interval(frame_rate),
            captions: spec.captions,
            caption_track: spec.caption_track,
            renditions: Vec::new(),
        }
    }

    /// The same pictures through the first of `offered` that makes this codec; nothing where none does.
    ///
    /// The quality's number stays: constant quality of 0 to 51 means about the same to all encoders of a codec. Which effort and number
    /// give the size of the software's encoder is not measured, because no such device was there.
    pub fn by_device(&self, offered: &[DeviceEncoder], quality: Quality) -> Option<Self> {
        // A card has few encoders, and a package needs one for each of its sizes.
        if self.format == Format::Hls {
            return None;
        }
        let (codec, rate) = match self.codec {
            VideoCodec::H264 { rate, .. } => (Codec::H264, rate),
            VideoCodec::H265 { rate, bit_depth: 8, .. } => (Codec::H265, rate),
            _ => return None,
        };
        let encoder = *offered.iter().find(|encoder| encoder.codec() == codec)?;
        let codec = VideoCodec::Device { encoder, effort: by_quality(quality, [1, 4, 6]), rate };
        Some(Self { codec, ..self.clone() })
    }
}

fn by_quality<T: Copy>(quality: Quality, [draft, standard, high]: [T; 3]) -> T {
    match quality {
        Quality::Draft => draft,
        Quality::Standard => standard,
        Quality::High => high,
    }
}

/// Preset, constant rate factor and other options of x264.
///
/// Found with `media/examples/encoder_curve.rs`; the figures are in `docs/performance.md`. HyperFrames' own renderer takes `ultrafast` 28,
/// `medium` 18 and `slow` 15, all without B-frames. A look ahead of ten frames is what the quickest presets lack most. Chroma is given
/// two or three steps more because only the slower presets give it that by themselves; and adaptive quantisation has less than
/// half its strength because it spends most on gradients and blurs, which need it least at these rates.
fn x264(quality: Quality) -> (&'static str, u32, &'static str) {
    let draft = "cabac=1:rc-lookahead=5:mbtree=1:chroma-qp-offset=-2";
    let standard = "rc-lookahead=10:mbtree=1:aq-mode=1:aq-strength=0.4:chroma-qp-offset=-3";
    let high = "aq-mode=1:aq-strength=0.4:chroma-qp-offset=-3";
    by_quality(quality, [("ultrafast", 26, draft), ("superfast", 18, standard), ("veryfast", 15, high)])
}

/// Preset and constant rate factor of x265.
fn x265(quality: Quality) -> (&'static str, u32) {
    by_quality(quality, [("ultrafast", 28), ("medium", 18), ("slow", 15)])
}

fn rate(spec: &RenderSpec, crf: u32) -> Rate {
    match spec.video_bitrate {
        Some(bits) => Rate::Bits(bits.get()),
        None => Rate::Crf(spec.crf.map_or(crf, Bounded::get)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::spec::Bitrate;

    #[test]
    fn a_request_decides_codec_rate_and_alpha() {
        let spec =
            RenderSpec { codec: Some(Codec::H265), video_bitrate: Bitrate::new(4_000_000), ..RenderSpec::default() };
        let settings = EncoderSettings::for_spec(&spec, FrameRate::DEFAULT);
        assert!(
            matches!(&settings.codec, VideoCodec::H265 { preset, rate: Rate::Bits(4_000_000), .. } if preset == "medium")
        );
        assert!(!settings.alpha);
        let spec = RenderSpec {
            format: Format::Webm,
            transparent: Some(false),
            crf: Bounded::new(9),
            ..RenderSpec::default()
        };
        let settings = EncoderSettings::for_spec(&spec, FrameRate::DEFAULT);
        assert_eq!(settings.codec, VideoCodec::Vp9 { rate: Rate::Crf(9), cpu_used: 6 });
        assert!(!settings.alpha && EncoderSettings::of(Format::Webm, Quality::High, FrameRate::DEFAULT).alpha);
    }

    #[test]
    fn masters_have_plain_samples_unless_another_codec_is_asked_for() {
        let sound = |format, profile, audio_codec| {
            let spec = RenderSpec { format, profile, audio_codec, ..RenderSpec::default() };
            EncoderSettings::for_spec(&spec, FrameRate::DEFAULT).audio_codec
        };
        for (format, profile, audio_codec, expected) in [
            (Format::Mov, Some(Profile::ProRes422Hq), None, AudioCodec::Pcm),
            (Format::Mov, Some(Profile::DnxHrHq), None, AudioCodec::Pcm),
            (Format::Mov, Some(Profile::ProRes422), Some(AudioCodec::Aac), AudioCodec::Aac),
            (Format::Mov, None, None, AudioCodec::Aac),
            (Format::Mov, Some(Profile::ProRes4444), Some(AudioCodec::Pcm), AudioCodec::Pcm),
            (Format::Mp4, None, None, AudioCodec::Aac),
            (Format::Webm, None, None, AudioCodec::Opus),
        ] {
            assert_eq!(sound(format, profile, audio_codec), expected, "{format} {profile:?} {audio_codec:?}");
        }
    }

    #[test]
    fn a_device_takes_over_what_it_can() {
        let offered = [DeviceEncoder::H264Nvenc, DeviceEncoder::H265Nvenc];
        let of = |format| EncoderSettings::of(format, Quality::High, FrameRate::DEFAULT);
        let taken = of(Format::Mp4).by_device(&offered, Quality::High).unwrap();
        let encoder = DeviceEncoder::H264Nvenc;
        assert_eq!(taken.codec, VideoCodec::Device { encoder, effort: 6, rate: Rate::Crf(15) });
        assert_eq!(EncoderSettings { codec: of(Format::Mp4).codec, ..taken }, of(Format::Mp4));
        assert_eq!(of(Format::Webm).by_device(&offered, Quality::High), None);
        assert_eq!(of(Format::Mp4).by_device(&offered[1..], Quality::High), None);
        let ten = RenderSpec { codec: Some(Codec::H265), bit_depth: Some(10), ..RenderSpec::default() };
        assert_eq!(EncoderSettings::for_spec(&ten, FrameRate::DEFAULT).by_device(&offered, Quality::High), None);
    }

    #[test]
    fn only_h264_and_h265_grow_to_even_sides() {
        let odd = Size { width: 101, height: 64 };
        let of = |format| EncoderSettings::of(format, Quality::Draft, FrameRate::DEFAULT).codec;
        assert_eq!(of(Format::Mp4).coded_size(odd), Size { width: 102, height: 64 });
        assert_eq!(of(Format::Webm).coded_size(odd), odd);
    }
}
