//! Containers, codecs, and what of them goes together.

mod profile;

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use self::profile::Profile;
use crate::frame::FrameRate;
use crate::quantity::Bitrate;
use crate::size::Size;
use crate::timecode::Timecode;

/// Container of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    /// H.264, H.265 or AV1, and AAC.
    #[default]
    #[serde(rename = "mp4")]
    #[cfg_attr(feature = "cli", value(name = "mp4"))]
    Mp4,
    /// VP9 or VP8 with an alpha plane, or AV1; and Opus.
    #[serde(rename = "webm")]
    #[cfg_attr(feature = "cli", value(name = "webm"))]
    Webm,
    /// ProRes (4444 with alpha by default) or DNxHR; and AAC or, in masters, PCM.
    #[serde(rename = "mov")]
    #[cfg_attr(feature = "cli", value(name = "mov"))]
    Mov,
    /// One palette for the whole clip; no sound.
    #[serde(rename = "gif")]
    #[cfg_attr(feature = "cli", value(name = "gif"))]
    Gif,
    /// RGBA frames as PNG files, and the sound beside them, in a zip.
    #[serde(rename = "png-sequence")]
    #[cfg_attr(feature = "cli", value(name = "png-sequence"))]
    PngSequence,
    /// H.264 of several sizes and AAC as playlists and fragments for HTTP Live Streaming (CMAF), in a zip.
    #[serde(rename = "hls")]
    #[cfg_attr(feature = "cli", value(name = "hls"))]
    Hls,
}

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 6] = [Self::Mp4, Self::Webm, Self::Mov, Self::Gif, Self::PngSequence, Self::Hls];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Mov => "mov",
            Self::Gif => "gif",
            Self::PngSequence => "png-sequence",
            Self::Hls => "hls",
        }
    }

    /// File extension of the output, without the dot.
    pub fn extension(self) -> &'static str {
        if self.is_archive() { "zip" } else { self.name() }
    }

    /// Whether the output is many files in a zip.
    pub fn is_archive(self) -> bool {
        matches!(self, Self::PngSequence | Self::Hls)
    }

    /// File extension of a segment. Where the output is made of whole pictures, segments are lossless ones in a mov.
    pub fn segment_extension(self) -> &'static str {
        match self {
            Self::Gif | Self::PngSequence => "mov",
            Self::Hls => "mp4",
            other => other.name(),
        }
    }

    /// Media type for downloads.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Mov => "video/quicktime",
            Self::Gif => "image/gif",
            Self::PngSequence | Self::Hls => "application/zip",
        }
    }

    /// Whether the output has transparency unless the person says otherwise, and the page is therefore drawn on nothing.
    pub fn has_alpha(self) -> bool {
        !matches!(self, Self::Mp4 | Self::Hls)
    }

    /// Whether the output can sound.
    pub fn has_sound(self) -> bool {
        self != Self::Gif
    }

    /// The codec where only the format is asked for.
    pub fn codec(self) -> Codec {
        match self {
            Self::Mp4 | Self::Hls => Codec::H264,
            Self::Webm => Codec::Vp9,
            Self::Mov => Codec::ProRes,
            Self::Gif => Codec::Gif,
            Self::PngSequence => Codec::PngSequence,
        }
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Codec of the pictures, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Codec {
    /// H.264 in mp4 or hls.
    #[serde(rename = "h264")]
    #[cfg_attr(feature = "cli", value(name = "h264"))]
    H264,
    /// H.265 in mp4.
    #[serde(rename = "h265", alias = "hevc")]
    #[cfg_attr(feature = "cli", value(name = "h265"))]
    H265,
    /// VP8 in WebM.
    #[serde(rename = "vp8")]
    #[cfg_attr(feature = "cli", value(name = "vp8"))]
    Vp8,
    /// VP9 in WebM.
    #[serde(rename = "vp9")]
    #[cfg_attr(feature = "cli", value(name = "vp9"))]
    Vp9,
    /// AV1 in mp4 or WebM.
    #[serde(rename = "av1")]
    #[cfg_attr(feature = "cli", value(name = "av1"))]
    Av1,
    /// ProRes in mov.
    #[serde(rename = "prores")]
    #[cfg_attr(feature = "cli", value(name = "prores"))]
    ProRes,
    /// DNxHR in mov.
    #[serde(rename = "dnxhr")]
    #[cfg_attr(feature = "cli", value(name = "dnxhr"))]
    DnxHr,
    /// An animated GIF.
    #[serde(rename = "gif")]
    #[cfg_attr(feature = "cli", value(name = "gif"))]
    Gif,
    /// PNG files.
    #[serde(rename = "png-sequence")]
    #[cfg_attr(feature = "cli", value(name = "png-sequence"))]
    PngSequence,
}

impl Codec {
    /// Every codec, in the order of the documentation.
    pub const ALL: [Self; 9] = [
        Self::H264,
        Self::H265,
        Self::Vp8,
        Self::Vp9,
        Self::Av1,
        Self::ProRes,
        Self::DnxHr,
        Self::Gif,
        Self::PngSequence,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::Av1 => "av1",
            Self::ProRes => "prores",
            Self::DnxHr => "dnxhr",
            Self::Gif => "gif",
            Self::PngSequence => "png-sequence",
        }
    }

    /// The formats that hold it, the usual one first.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Self::H264 => &[Format::Mp4, Format::Hls],
            Self::H265 => &[Format::Mp4],
            Self::Vp8 | Self::Vp9 => &[Format::Webm],
            Self::Av1 => &[Format::Mp4, Format::Webm],
            Self::ProRes | Self::DnxHr => &[Format::Mov],
            Self::Gif => &[Format::Gif],
            Self::PngSequence => &[Format::PngSequence],
        }
    }

    /// The format where only the codec is asked for.
    pub fn format(self) -> Format {
        self.formats().first().copied().unwrap_or_default()
    }

    /// Whether a constant rate factor or a bit rate means anything to it.
    pub fn has_rate_control(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9 | Self::Av1)
    }

    /// The largest constant rate factor.
    pub fn max_crf(self) -> u32 {
        if matches!(self, Self::Vp8 | Self::Vp9 | Self::Av1) { 63 } else { 51 }
    }

    /// The profile where none is asked for.
    pub fn profile(self) -> Option<Profile> {
        match self {
            Self::ProRes => Some(Profile::ProRes4444),
            Self::DnxHr => Some(Profile::DnxHrHqx),
            _ => None,
        }
    }

    /// Whether it can have ten bits a sample by an option. ProRes and DNxHR have the bits of their profile.
    pub fn has_ten_bits(self) -> bool {
        matches!(self, Self::H265 | Self::Av1)
    }

    /// The smallest width and height that its encoder takes.
    pub fn min_size(self) -> Size {
        match self {
            Self::DnxHr => Size { width: 256, height: 120 },
            _ => Size { width: 16, height: 16 },
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
/// Codec of the sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum AudioCodec {
    /// AAC at 192 kb/s, in mp4, mov and hls, and beside a PNG sequence.
    Aac,
    /// Opus at 128 kb/s, in WebM.
    Opus,
    /// Plain samples of 24 bits, in mov.
    Pcm,
}

impl AudioCodec {
    /// Every codec of sound, in the order of the documentation.
    pub const ALL: [Self; 3] = [Self::Aac, Self::Opus, Self::Pcm];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Aac => "aac",
            Self::Opus => "opus",
            Self::Pcm => "pcm",
        }
    }

    /// The formats that hold it.
    pub fn formats(self) -> &'static [Format] {
        match self {
            Self::Aac => &[Format::Mp4, Format::Mov, Format::PngSequence, Format::Hls],
            Self::Opus => &[Format::Webm],
            Self::Pcm => &[Format::Mov],
        }
    }

    /// Extension of the file that the mixed sound has in storage.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Aac => "m4a",
            Self::Opus => "webm",
            Self::Pcm => "wav",
        }
    }
}

impl From<Format> for AudioCodec {
    /// The codec of the sound where only the format is asked for.
    fn from(format: Format) -> Self {
        if format == Format::Webm { Self::Opus } else { Self::Aac }
    }
}

impl fmt::Display for AudioCodec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// Frames a second that a GIF can have at most: its delays count whole hundredths of a second.
const GIF_MAX_RATE: u32 = 100;

/// Renditions of an hls package beside the output's own size, at most.
const MAX_RENDITIONS: usize = 8;

/// Why an output is none that the farm makes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{message}")]
pub struct OutputError {
    /// The field at fault.
    pub param: &'static str,
    /// What is wrong and what to do.
    pub message: String,
}

/// What a person asks of the encoding.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Asked {
    pub format: Format,
    pub codec: Option<Codec>,
    pub profile: Option<Profile>,
    pub bit_depth: Option<u32>,
    pub hdr: bool,
    pub timecode: Option<Timecode>,
    pub transparent: Option<bool>,
    pub crf: Option<u32>,
    pub bitrate: Option<Bitrate>,
    pub rate: Option<FrameRate>,
    pub audio_codec: Option<AudioCodec>,
    pub wav: bool,
    pub caption_track: bool,
    pub loudness: bool,
    pub true_peak: bool,
    /// Number of renditions that are named.
    pub renditions: Option<usize>,
}

/// The codec that is asked for, by name, by its profile or by the format.
pub(crate) fn codec_of(format: Format, codec: Option<Codec>, profile: Option<Profile>) -> Codec {
    codec.or(profile.map(Profile::codec)).unwrap_or_else(|| format.codec())
}

/// Whether the output has transparency unless the person says otherwise.
pub(crate) fn has_alpha(format: Format, codec: Codec, profile: Option<Profile>) -> bool {
    let profile = profile.or(codec.profile());
    format.has_alpha() && codec != Codec::Av1 && profile.is_none_or(Profile::has_alpha)
}

/// Refuses a timecode that does not exist at a rate.
pub(crate) fn check_timecode(timecode: Timecode, rate: FrameRate) -> Result<(), OutputError> {
    timecode.check(rate).map_err(|message| OutputError { param: "timecode", message })
}

/// Refuses what does not go together.
pub(crate) fn check(asked: &Asked) -> Result<(), OutputError> {
    let refused = |param, message: String| Err(OutputError { param, message });
    let codec = codec_of(asked.format, asked.codec, asked.profile);
    if asked.hdr && (codec != Codec::H265 || !codec.formats().contains(&asked.format)) {
        let message = format!(
            "high dynamic range is H.265 in mp4, and not {codec} in {}; ask for format mp4 and codec h265, or leave hdr out",
            asked.format
        );
        return refused("hdr", message);
    }
    if asked.hdr && asked.bit_depth == Some(8) {
        return refused("bit_depth", "high dynamic range needs 10 bits; leave bit_depth or hdr out".to_owned());
    }
    if !codec.formats().contains(&asked.format) {
        let (format, right) = (asked.format, codec.format());
        return refused("codec", format!("{codec} has no place in {format}; ask for format {right}, or leave one out"));
    }
    if let Some(profile) = asked.profile.filter(|profile| profile.codec() != codec) {
        let right = profile.codec();
        return refused(
            "profile",
            format!("{profile} is no profile of {codec}; ask for codec {right}, or leave it out"),
        );
    }
    if asked.bit_depth == Some(10) && !codec.has_ten_bits() {
        let message = match codec.profile() {
            Some(_) => format!("the bits of {codec} are those of its profile; leave bit_depth out"),
            None => format!("{codec} has 8 bits here; ask for h265 or av1, or leave bit_depth out"),
        };
        return refused("bit_depth", message);
    }
    if asked.timecode.is_some() && asked.format != Format::Mov {
        return refused("timecode", format!("a {} has no timecode track; ask for format mov", asked.format));
    }
    if let (Some(timecode), Some(rate)) = (asked.timecode, asked.rate) {
        check_timecode(timecode, rate)?;
    }
    if asked.transparent == Some(true) && !has_alpha(asked.format, codec, asked.profile) {
        let what = asked.profile.map_or_else(|| codec.to_string(), |profile| format!("{codec} {profile}"));
        let message =
            format!("{what} has no transparency; ask for vp9, vp8, prores (4444, 4444-xq), gif or png-sequence");
        return refused("transparent", message);
    }
    if asked.crf.is_some() && asked.bitrate.is_some() {
        return refused("crf", "crf and video_bitrate exclude one another; give one of them".to_owned());
    }
    let control = [("crf", asked.crf.is_some()), ("video_bitrate", asked.bitrate.is_some())];
    if let Some((param, _)) = control.iter().find(|(_, given)| *given && !codec.has_rate_control()) {
        return refused(param, format!("{param} means nothing to {codec}; leave it out"));
    }
    if asked.crf.is_some_and(|crf| crf > codec.max_crf()) {
        return refused("crf", format!("crf of {codec} goes from 0 to {}", codec.max_crf()));
    }
    if let Some(audio) = asked.audio_codec.filter(|audio| !audio.formats().contains(&asked.format)) {
        let formats = audio.formats().iter().map(ToString::to_string).collect::<Vec<_>>().join(" or ");
        let message = format!("a {} has no {audio} sound; ask for {formats}, or leave audio_codec out", asked.format);
        return refused("audio_codec", message);
    }
    if asked.wav && !asked.format.has_sound() {
        return refused("wav", format!("a {} has no sound; leave wav out", asked.format));
    }
    if asked.caption_track && !matches!(asked.format, Format::Mp4 | Format::Mov) {
        let message = format!("a {} has no caption track; ask for mp4 or mov, or for captions beside it", asked.format);
        return refused("caption_track", message);
    }
    if asked.renditions.is_some() && asked.format != Format::Hls {
        let message = format!("a {} has one size; ask for format hls, or leave renditions out", asked.format);
        return refused("renditions", message);
    }
    if asked.renditions.is_some_and(|count| count > MAX_RENDITIONS) {
        return refused("renditions", format!("give at most {MAX_RENDITIONS} sizes"));
    }
    if asked.loudness && !asked.format.has_sound() {
        return refused("loudness", format!("a {} has no sound; leave loudness out", asked.format));
    }
    if asked.true_peak && !asked.loudness {
        return refused(
            "true_peak",
            "true_peak is the limit of a loudness; give loudness too, or leave it out".to_owned(),
        );
    }
    match asked.rate {
        Some(rate) if codec == Codec::Gif => check_gif_rate(rate),
        _ => Ok(()),
    }
}

/// Refuses a rate at which frames of a GIF would have no time at all.
pub(crate) fn check_gif_rate(rate: FrameRate) -> Result<(), OutputError> {
    if u64::from(rate.num()) <= u64::from(GIF_MAX_RATE) * u64::from(rate.den()) {
        return Ok(());
    }
    let message = format!(
        "a gif shows each frame for whole hundredths of a second, so {rate} frames a second cannot be one; \
         ask for {GIF_MAX_RATE} or fewer, better 50 or fewer"
    );
    Err(OutputError { param: "fps", message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(format: Format) -> Asked {
        Asked {
            format,
            codec: None,
            profile: None,
            bit_depth: None,
            hdr: false,
            timecode: None,
            transparent: None,
            crf: None,
            bitrate: None,
            rate: None,
            audio_codec: None,
            wav: false,
            caption_track: false,
            loudness: false,
            true_peak: false,
            renditions: None,
        }
    }

    #[test]
    fn codecs_and_formats_agree() {
        for codec in Codec::ALL {
            for format in codec.formats() {
                assert!(check(&Asked { codec: Some(codec), ..asked(*format) }).is_ok());
            }
            assert_eq!(serde_json::to_string(&codec).unwrap(), format!("\"{codec}\""));
        }
        for audio in AudioCodec::ALL {
            for format in Format::ALL {
                let takes = check(&Asked { audio_codec: Some(audio), ..asked(format) }).is_ok();
                assert_eq!(takes, audio.formats().contains(&format), "{audio} in {format}");
            }
            assert_eq!(serde_json::to_string(&audio).unwrap(), format!("\"{audio}\""));
        }
        for profile in Profile::ALL {
            let of_mov = Asked { profile: Some(profile), ..asked(Format::Mov) };
            assert!(check(&of_mov).is_ok());
            assert_eq!(check(&Asked { transparent: Some(true), ..of_mov }).is_ok(), profile.has_alpha());
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("\"{profile}\""));
        }
        for format in Format::ALL {
            assert!(format.codec().formats().contains(&format));
            assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{format}\""));
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let param = |asked: Asked| check(&asked).unwrap_err().param;
        assert_eq!(param(Asked { codec: Some(Codec::Vp9), ..asked(Format::Mp4) }), "codec");
        assert_eq!(param(Asked { transparent: Some(true), ..asked(Format::Mp4) }), "transparent");
        assert_eq!(param(Asked { crf: Some(1), bitrate: Bitrate::new(1_000_000), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { crf: Some(1), ..asked(Format::Mov) }), "crf");
        assert_eq!(param(Asked { crf: Some(52), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { bitrate: Bitrate::new(1000), ..asked(Format::Mov) }), "video_bitrate");
        assert_eq!(param(Asked { profile: Some(Profile::DnxHrHq), ..asked(Format::Mp4) }), "codec");
        let prores = Asked { codec: Some(Codec::ProRes), ..asked(Format::Mov) };
        assert_eq!(param(Asked { profile: Some(Profile::DnxHrHq), ..prores }), "profile");
        for codec in [Codec::H264, Codec::Vp9, Codec::DnxHr] {
            assert_eq!(param(Asked { codec: Some(codec), bit_depth: Some(10), ..asked(codec.format()) }), "bit_depth");
            assert!(check(&Asked { codec: Some(codec), bit_depth: Some(8), ..asked(codec.format()) }).is_ok());
        }
        let av1 = Asked { codec: Some(Codec::Av1), transparent: Some(true), ..asked(Format::Webm) };
        assert_eq!(param(av1), "transparent");
        assert_eq!(param(Asked { timecode: Some(Timecode::ZERO), ..asked(Format::Mp4) }), "timecode");
        let late = Asked { timecode: "01:00:00:25".parse().ok(), ..asked(Format::Mov) };
        assert_eq!(param(Asked { rate: FrameRate::new(25, 1).ok(), ..late }), "timecode");
        assert!(check(&Asked { rate: FrameRate::new(30, 1).ok(), ..late }).is_ok());
        let hdr = |codec, format| Asked { hdr: true, codec, ..asked(format) };
        for (codec, format) in [(Codec::H265, Format::Mov), (Codec::H264, Format::Mp4), (Codec::Av1, Format::Webm)] {
            assert_eq!(param(hdr(Some(codec), format)), "hdr");
        }
        assert_eq!(param(hdr(None, Format::Gif)), "hdr");
        assert_eq!(param(Asked { bit_depth: Some(8), ..hdr(Some(Codec::H265), Format::Mp4) }), "bit_depth");
        assert_eq!(param(Asked { transparent: Some(true), ..hdr(Some(Codec::H265), Format::Mp4) }), "transparent");
        assert!(check(&hdr(Some(Codec::H265), Format::Mp4)).is_ok());
        assert_eq!(Bitrate::new(1), None);
        assert_eq!(param(Asked { rate: FrameRate::new(101, 1).ok(), ..asked(Format::Gif) }), "fps");
        assert!(check(&Asked { rate: FrameRate::new(100, 1).ok(), ..asked(Format::Gif) }).is_ok());
        assert_eq!(param(Asked { loudness: true, ..asked(Format::Gif) }), "loudness");
        assert_eq!(param(Asked { wav: true, ..asked(Format::Gif) }), "wav");
        for (format, takes) in [(Format::Mp4, true), (Format::Mov, true), (Format::Webm, false), (Format::Gif, false)] {
            assert_eq!(check(&Asked { caption_track: true, ..asked(format) }).is_ok(), takes, "{format}");
        }
        assert_eq!(param(Asked { true_peak: true, ..asked(Format::Mp4) }), "true_peak");
        assert_eq!(param(Asked { renditions: Some(1), ..asked(Format::Mp4) }), "renditions");
        assert_eq!(param(Asked { renditions: Some(MAX_RENDITIONS + 1), ..asked(Format::Hls) }), "renditions");
        assert!(check(&Asked { renditions: Some(MAX_RENDITIONS), ..asked(Format::Hls) }).is_ok());
        assert!(check(&Asked { loudness: true, true_peak: true, ..asked(Format::PngSequence) }).is_ok());
        assert!(check(&Asked { crf: Some(63), ..asked(Format::Webm) }).is_ok());
    }
}
