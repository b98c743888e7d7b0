//! Containers, codecs, and what of them goes together.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::FrameRate;

/// Container of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
pub enum Format {
    /// H.264 or H.265, and AAC.
    #[default]
    #[serde(rename = "mp4")]
    Mp4,
    /// VP9 or VP8, with an alpha plane, and Opus.
    #[serde(rename = "webm")]
    Webm,
    /// ProRes 4444 with alpha, and AAC.
    #[serde(rename = "mov")]
    Mov,
    /// One palette for the whole clip; no sound.
    #[serde(rename = "gif")]
    Gif,
    /// RGBA frames as PNG files, and the sound beside them, in a zip.
    #[serde(rename = "png-sequence")]
    PngSequence,
}

impl Format {
    /// Every format, in the order of the documentation.
    pub const ALL: [Self; 5] = [Self::Mp4, Self::Webm, Self::Mov, Self::Gif, Self::PngSequence];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Mov => "mov",
            Self::Gif => "gif",
            Self::PngSequence => "png-sequence",
        }
    }

    /// File extension of the output, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::PngSequence => "zip",
            other => other.name(),
        }
    }

    /// File extension of a segment. Where the output is made of whole pictures, segments are lossless ones in a mov.
    pub fn segment_extension(self) -> &'static str {
        match self {
            Self::Gif | Self::PngSequence => "mov",
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
            Self::PngSequence => "application/zip",
        }
    }

    /// Whether the output has transparency unless the person says otherwise, and the page is therefore drawn on nothing.
    pub fn has_alpha(self) -> bool {
        self != Self::Mp4
    }

    /// Whether the output can sound.
    pub fn has_sound(self) -> bool {
        self != Self::Gif
    }

    /// The codec where only the format is asked for.
    pub fn codec(self) -> Codec {
        match self {
            Self::Mp4 => Codec::H264,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Codec {
    /// H.264 in mp4.
    #[serde(rename = "h264")]
    H264,
    /// H.265 in mp4.
    #[serde(rename = "h265", alias = "hevc")]
    H265,
    /// VP8 in WebM.
    #[serde(rename = "vp8")]
    Vp8,
    /// VP9 in WebM.
    #[serde(rename = "vp9")]
    Vp9,
    /// ProRes 4444 in mov.
    #[serde(rename = "prores")]
    ProRes,
    /// An animated GIF.
    #[serde(rename = "gif")]
    Gif,
    /// PNG files.
    #[serde(rename = "png-sequence")]
    PngSequence,
}

impl Codec {
    /// Every codec, in the order of the documentation.
    pub const ALL: [Self; 7] =
        [Self::H264, Self::H265, Self::Vp8, Self::Vp9, Self::ProRes, Self::Gif, Self::PngSequence];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::H264 => "h264",
            Self::H265 => "h265",
            Self::Vp8 => "vp8",
            Self::Vp9 => "vp9",
            Self::ProRes => "prores",
            Self::Gif => "gif",
            Self::PngSequence => "png-sequence",
        }
    }

    /// The format that holds it.
    pub fn format(self) -> Format {
        match self {
            Self::H264 | Self::H265 => Format::Mp4,
            Self::Vp8 | Self::Vp9 => Format::Webm,
            Self::ProRes => Format::Mov,
            Self::Gif => Format::Gif,
            Self::PngSequence => Format::PngSequence,
        }
    }

    /// Whether a constant rate factor or a bit rate means anything to it.
    pub fn has_rate_control(self) -> bool {
        matches!(self, Self::H264 | Self::H265 | Self::Vp8 | Self::Vp9)
    }

    /// The largest constant rate factor.
    pub fn max_crf(self) -> u32 {
        if matches!(self, Self::Vp8 | Self::Vp9) { 63 } else { 51 }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A length in seconds, kept to the microsecond. In JSON it is the number of seconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "f64", into = "f64")]
pub struct Seconds(u64);

/// A number that is no length.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no length: give seconds, 0 or more")]
pub struct SecondsError(String);

impl Seconds {
    /// As a double.
    pub fn as_f64(self) -> f64 {
        self.0 as f64 / 1e6
    }

    /// Whether it is no time at all, which people write for "find out".
    pub fn is_zero(self) -> bool {
        self.0 == 0
    }
}

impl TryFrom<f64> for Seconds {
    type Error = SecondsError;

    fn try_from(seconds: f64) -> Result<Self, SecondsError> {
        if seconds.is_finite() && (0.0..=1e9).contains(&seconds) {
            Ok(Self((seconds * 1e6).round() as u64))
        } else {
            Err(SecondsError(seconds.to_string()))
        }
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.as_f64()
    }
}

impl std::str::FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        let number = text.trim().trim_end_matches('s').parse::<f64>().map_err(|_| SecondsError(text.to_owned()))?;
        Self::try_from(number).map_err(|_| SecondsError(text.to_owned()))
    }
}

/// Bits a second from text such as `10M`, `800k` or `2500000`. `None` for anything else and for nothing.
pub fn parse_bitrate(text: &str) -> Option<u64> {
    let text = text.trim();
    let (number, factor) = match text.as_bytes().last()? {
        b'k' | b'K' => (&text[..text.len() - 1], 1e3),
        b'm' | b'M' => (&text[..text.len() - 1], 1e6),
        b'g' | b'G' => (&text[..text.len() - 1], 1e9),
        _ => (text, 1.0),
    };
    let digits = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    let bits = number.parse::<f64>().ok().filter(|_| digits)? * factor;
    (MIN_BITRATE as f64..=MAX_BITRATE as f64).contains(&bits).then_some(bits.round() as u64)
}

/// Bits a second below which no picture survives.
pub const MIN_BITRATE: u64 = 1_000;
/// Bits a second above which no encoder goes.
pub const MAX_BITRATE: u64 = 2_000_000_000;

/// Frames a second that a GIF can have at most: its delays count whole hundredths of a second.
const GIF_MAX_RATE: u32 = 100;

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
    pub transparent: Option<bool>,
    pub crf: Option<u32>,
    pub bitrate: Option<u64>,
    pub rate: Option<FrameRate>,
}

/// Refuses what does not go together.
pub(crate) fn check(asked: &Asked) -> Result<(), OutputError> {
    let refused = |param, message: String| Err(OutputError { param, message });
    let codec = asked.codec.unwrap_or_else(|| asked.format.codec());
    if codec.format() != asked.format {
        let (format, right) = (asked.format, codec.format());
        return refused("codec", format!("{codec} has no place in {format}; ask for format {right}, or leave one out"));
    }
    if asked.transparent == Some(true) && !asked.format.has_alpha() {
        let message = format!("{codec} has no transparency; ask for vp9, vp8, prores, gif or png-sequence");
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
    if asked.bitrate.is_some_and(|bits| !(MIN_BITRATE..=MAX_BITRATE).contains(&bits)) {
        return refused(
            "video_bitrate",
            format!("video_bitrate goes from {MIN_BITRATE} to {MAX_BITRATE} bits a second"),
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
        Asked { format, codec: None, transparent: None, crf: None, bitrate: None, rate: None }
    }

    #[test]
    fn codecs_and_formats_agree() {
        for codec in Codec::ALL {
            assert!(check(&Asked { codec: Some(codec), ..asked(codec.format()) }).is_ok());
            assert_eq!(serde_json::to_string(&codec).unwrap(), format!("\"{codec}\""));
        }
        for format in Format::ALL {
            assert_eq!(format.codec().format(), format);
            assert_eq!(serde_json::to_string(&format).unwrap(), format!("\"{format}\""));
        }
    }

    #[test]
    fn what_does_not_go_together_is_named() {
        let param = |asked: Asked| check(&asked).unwrap_err().param;
        assert_eq!(param(Asked { codec: Some(Codec::Vp9), ..asked(Format::Mp4) }), "codec");
        assert_eq!(param(Asked { transparent: Some(true), ..asked(Format::Mp4) }), "transparent");
        assert_eq!(param(Asked { crf: Some(1), bitrate: Some(1_000_000), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { crf: Some(1), ..asked(Format::Mov) }), "crf");
        assert_eq!(param(Asked { crf: Some(52), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { bitrate: Some(1), ..asked(Format::Mp4) }), "video_bitrate");
        assert_eq!(param(Asked { rate: FrameRate::new(101, 1).ok(), ..asked(Format::Gif) }), "fps");
        assert!(check(&Asked { rate: FrameRate::new(100, 1).ok(), ..asked(Format::Gif) }).is_ok());
        assert!(check(&Asked { crf: Some(63), ..asked(Format::Webm) }).is_ok());
    }

    #[test]
    fn bit_rates_and_lengths_are_read() {
        assert_eq!(parse_bitrate("10M"), Some(10_000_000));
        assert_eq!(parse_bitrate("1.5m"), Some(1_500_000));
        assert_eq!(parse_bitrate("800k"), Some(800_000));
        assert_eq!(parse_bitrate("2500000"), Some(2_500_000));
        for bad in ["", "M", "-1M", "1e6", "x", "1", "10MB", "inf"] {
            assert_eq!(parse_bitrate(bad), None, "{bad}");
        }
        let seconds: Seconds = "2.5".parse().unwrap();
        assert_eq!((seconds.as_f64(), serde_json::to_string(&seconds).unwrap().as_str()), (2.5, "2.5"));
        assert!("0".parse::<Seconds>().unwrap().is_zero());
        assert!(
            "-1".parse::<Seconds>().is_err() && "x".parse::<Seconds>().is_err() && "nan".parse::<Seconds>().is_err()
        );
    }
}
