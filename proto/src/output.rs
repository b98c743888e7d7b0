//! Containers, codecs, and what of them goes together.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::FrameRate;

/// Container of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Format {
    /// H.264 or H.265, and AAC.
    #[default]
    #[serde(rename = "mp4")]
    #[cfg_attr(feature = "cli", value(name = "mp4"))]
    Mp4,
    /// VP9 or VP8, with an alpha plane, and Opus.
    #[serde(rename = "webm")]
    #[cfg_attr(feature = "cli", value(name = "webm"))]
    Webm,
    /// ProRes 4444 with alpha, and AAC.
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Codec {
    /// H.264 in mp4.
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
    /// ProRes 4444 in mov.
    #[serde(rename = "prores")]
    #[cfg_attr(feature = "cli", value(name = "prores"))]
    ProRes,
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
#[error("`{0}` is no length, expected seconds, 0 or more")]
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

impl JsonSchema for Seconds {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Seconds".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "number", "minimum": 0 })
    }
}

impl From<Seconds> for f64 {
    fn from(seconds: Seconds) -> f64 {
        seconds.as_f64()
    }
}

impl FromStr for Seconds {
    type Err = SecondsError;

    fn from_str(text: &str) -> Result<Self, SecondsError> {
        let number = text.trim().trim_end_matches('s').parse::<f64>().map_err(|_| SecondsError(text.to_owned()))?;
        Self::try_from(number).map_err(|_| SecondsError(text.to_owned()))
    }
}

/// A moment of a composition. In JSON it is the number of seconds, or text that counts frames, such as `75f`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Moment {
    /// Seconds from the start.
    Seconds(Seconds),
    /// Frames from the start, at the output's frame rate.
    Frame(u64),
}

/// A text or number that is no moment.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no moment of a composition, expected seconds such as 2.5, or a frame such as 75f")]
pub struct MomentError(String);

impl Moment {
    /// The frame at `rate` that begins at this moment: the nearest one.
    pub fn frame(self, rate: FrameRate) -> u64 {
        match self {
            Self::Seconds(seconds) => (seconds.as_f64() * rate.as_f64()).round() as u64,
            Self::Frame(frame) => frame,
        }
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Seconds(seconds) => write!(f, "{}", seconds.as_f64()),
            Self::Frame(frame) => write!(f, "{frame}f"),
        }
    }
}

impl FromStr for Moment {
    type Err = MomentError;

    fn from_str(text: &str) -> Result<Self, MomentError> {
        let refused = || MomentError(text.to_owned());
        match text.trim().strip_suffix('f') {
            Some(frame) => frame.parse().map(Self::Frame).map_err(|_| refused()),
            None => text.parse().map(Self::Seconds).map_err(|_| refused()),
        }
    }
}

impl Serialize for Moment {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Seconds(seconds) => seconds.serialize(serializer),
            Self::Frame(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for Moment {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(f64),
            Text(String),
        }
        match Form::deserialize(deserializer) {
            Ok(Form::Number(seconds)) => {
                Seconds::try_from(seconds).map(Self::Seconds).map_err(|_| MomentError(seconds.to_string()))
            }
            Ok(Form::Text(text)) => text.parse(),
            Err(_) => Err(MomentError("the value".to_owned())),
        }
        .map_err(D::Error::custom)
    }
}

impl JsonSchema for Moment {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Moment".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?[fs]?$" }] })
    }
}

/// A moment of the calendar, in whole seconds since 1970. In JSON it is text by RFC 3339, such as
/// `2026-11-28T20:00:00Z`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timestamp(u64);

/// A text that is no timestamp.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no moment of the calendar, expected one in UTC such as 2026-11-28T20:00:00Z")]
pub struct TimestampError(String);

impl Timestamp {
    /// Milliseconds since 1970.
    pub fn unix_ms(self) -> u64 {
        self.0 * 1000
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        humantime::format_rfc3339_seconds(UNIX_EPOCH + Duration::from_secs(self.0)).fmt(f)
    }
}

impl FromStr for Timestamp {
    type Err = TimestampError;

    fn from_str(text: &str) -> Result<Self, TimestampError> {
        let refused = || TimestampError(text.chars().take(40).collect());
        let time = humantime::parse_rfc3339(text.trim()).map_err(|_| refused())?;
        time.duration_since(UNIX_EPOCH).map(|since| Self(since.as_secs())).map_err(|_| refused())
    }
}

impl TryFrom<String> for Timestamp {
    type Error = TimestampError;

    fn try_from(text: String) -> Result<Self, TimestampError> {
        text.parse()
    }
}

impl From<Timestamp> for String {
    fn from(time: Timestamp) -> Self {
        time.to_string()
    }
}

impl JsonSchema for Timestamp {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timestamp".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "format": "date-time" })
    }
}

/// Bits a second that an encoder aims at, from a thousand to two thousand million. In JSON it is the number, or text such as `10M`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Bitrate(u64);

/// A text or number that is no bit rate.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("give bits a second from 1000 to 2000000000, or text such as \"10M\" or \"800k\"")]
pub struct BitrateError;

impl Bitrate {
    /// Bits a second below which no picture survives.
    pub const MIN: u64 = 1_000;
    /// Bits a second above which no encoder goes.
    pub const MAX: u64 = 2_000_000_000;

    /// This many bits a second, where an encoder can aim at that.
    pub fn new(bits: u64) -> Option<Self> {
        (Self::MIN..=Self::MAX).contains(&bits).then_some(Self(bits))
    }

    /// Bits a second.
    pub fn get(self) -> u64 {
        self.0
    }
}

impl FromStr for Bitrate {
    type Err = BitrateError;

    fn from_str(text: &str) -> Result<Self, BitrateError> {
        let text = text.trim();
        let (number, factor) = match text.as_bytes().last() {
            Some(b'k' | b'K') => (&text[..text.len() - 1], 1e3),
            Some(b'm' | b'M') => (&text[..text.len() - 1], 1e6),
            Some(b'g' | b'G') => (&text[..text.len() - 1], 1e9),
            _ => (text, 1.0),
        };
        let is_plain = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
        let bits = number.parse::<f64>().ok().filter(|_| is_plain).map(|number| (number * factor).round() as u64);
        bits.and_then(Self::new).ok_or(BitrateError)
    }
}

impl<'de> Deserialize<'de> for Bitrate {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Form {
            Number(u64),
            Text(String),
        }

        let bitrate = match Form::deserialize(deserializer) {
            Ok(Form::Number(bits)) => Self::new(bits).ok_or(BitrateError),
            Ok(Form::Text(text)) => text.parse(),
            Err(_) => Err(BitrateError),
        };
        bitrate.map_err(D::Error::custom)
    }
}

impl JsonSchema for Bitrate {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Bitrate".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": ["integer", "string"] })
    }
}

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
    pub bitrate: Option<Bitrate>,
    pub rate: Option<FrameRate>,
    pub loudness: bool,
    pub true_peak: bool,
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
            transparent: None,
            crf: None,
            bitrate: None,
            rate: None,
            loudness: false,
            true_peak: false,
        }
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
        assert_eq!(param(Asked { crf: Some(1), bitrate: Bitrate::new(1_000_000), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { crf: Some(1), ..asked(Format::Mov) }), "crf");
        assert_eq!(param(Asked { crf: Some(52), ..asked(Format::Mp4) }), "crf");
        assert_eq!(param(Asked { bitrate: Bitrate::new(1000), ..asked(Format::Mov) }), "video_bitrate");
        assert_eq!(Bitrate::new(1), None);
        assert_eq!(param(Asked { rate: FrameRate::new(101, 1).ok(), ..asked(Format::Gif) }), "fps");
        assert!(check(&Asked { rate: FrameRate::new(100, 1).ok(), ..asked(Format::Gif) }).is_ok());
        assert_eq!(param(Asked { loudness: true, ..asked(Format::Gif) }), "loudness");
        assert_eq!(param(Asked { true_peak: true, ..asked(Format::Mp4) }), "true_peak");
        assert!(check(&Asked { loudness: true, true_peak: true, ..asked(Format::PngSequence) }).is_ok());
        assert!(check(&Asked { crf: Some(63), ..asked(Format::Webm) }).is_ok());
    }

    #[test]
    fn bit_rates_and_lengths_are_read() {
        for (text, bits) in [("10M", 10_000_000), ("1.5m", 1_500_000), ("800k", 800_000), ("2500000", 2_500_000)] {
            assert_eq!(text.parse::<Bitrate>().map(Bitrate::get), Ok(bits));
            assert_eq!(serde_json::from_str::<Bitrate>(&format!("\"{text}\"")).unwrap().get(), bits);
        }
        for bad in ["", "M", "-1M", "1e6", "x", "1", "10MB", "inf"] {
            assert_eq!(bad.parse::<Bitrate>(), Err(BitrateError), "{bad}");
        }
        assert_eq!(serde_json::from_str::<Bitrate>("2000000").unwrap().get(), 2_000_000);
        assert!(serde_json::from_str::<Bitrate>("1").is_err() && serde_json::from_str::<Bitrate>("true").is_err());
        let moment = |text: &str| serde_json::from_str::<Moment>(text).map(|moment| moment.frame(FrameRate::DEFAULT));
        assert_eq!([moment("2.5").unwrap(), moment("\"2.5\"").unwrap(), moment("\"75f\"").unwrap()], [75, 75, 75]);
        assert_eq!(serde_json::to_string(&Moment::Frame(75)).unwrap(), "\"75f\"");
        for text in ["-1", "true", "null", "\"1.5f\"", "\"\"", "\"f\"", "{}"] {
            assert!(moment(text).unwrap_err().to_string().contains("is no moment"), "{text}");
        }
        let now: Timestamp = serde_json::from_str("\"2026-11-28T20:00:01Z\"").unwrap();
        assert_eq!((now.unix_ms(), now.to_string().as_str()), (1_795_896_001_000, "2026-11-28T20:00:01Z"));
        for text in ["", "now", "2026-11-28", "1960-01-01T00:00:00Z", "2026-13-28T20:00:01Z"] {
            assert!(text.parse::<Timestamp>().unwrap_err().to_string().contains("moment of the calendar"), "{text}");
        }
        let seconds: Seconds = "2.5".parse().unwrap();
        assert_eq!((seconds.as_f64(), serde_json::to_string(&seconds).unwrap().as_str()), (2.5, "2.5"));
        assert!("0".parse::<Seconds>().unwrap().is_zero());
        assert!(
            "-1".parse::<Seconds>().is_err() && "x".parse::<Seconds>().is_err() && "nan".parse::<Seconds>().is_err()
        );
    }
}
