//! Containers, codecs, and what of them goes together.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::FrameRate;
use crate::spec::Size;

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
    /// ProRes (4444 with alpha by default) or DNxHR, and AAC.
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
            Self::H264 | Self::H265 => &[Format::Mp4],
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

/// Profile of a ProRes or DNxHR codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Profile {
    /// ProRes 422 LT: 4:2:2 of 10 bits.
    #[serde(rename = "422-lt")]
    #[cfg_attr(feature = "cli", value(name = "422-lt"))]
    ProRes422Lt,
    /// ProRes 422: 4:2:2 of 10 bits.
    #[serde(rename = "422")]
    #[cfg_attr(feature = "cli", value(name = "422"))]
    ProRes422,
    /// ProRes 422 HQ: 4:2:2 of 10 bits.
    #[serde(rename = "422-hq")]
    #[cfg_attr(feature = "cli", value(name = "422-hq"))]
    ProRes422Hq,
    /// ProRes 4444: 4:4:4 of 10 bits, with alpha; the default of ProRes.
    #[serde(rename = "4444")]
    #[cfg_attr(feature = "cli", value(name = "4444"))]
    ProRes4444,
    /// ProRes 4444 XQ: 4:4:4 of 10 bits, with alpha.
    #[serde(rename = "4444-xq")]
    #[cfg_attr(feature = "cli", value(name = "4444-xq"))]
    ProRes4444Xq,
    /// DNxHR HQ: 4:2:2 of 8 bits.
    #[serde(rename = "dnxhr-hq")]
    #[cfg_attr(feature = "cli", value(name = "dnxhr-hq"))]
    DnxHrHq,
    /// DNxHR HQX: 4:2:2 of 10 bits; the default of DNxHR.
    #[serde(rename = "dnxhr-hqx")]
    #[cfg_attr(feature = "cli", value(name = "dnxhr-hqx"))]
    DnxHrHqx,
}

impl Profile {
    /// Every profile, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::ProRes422Lt,
        Self::ProRes422,
        Self::ProRes422Hq,
        Self::ProRes4444,
        Self::ProRes4444Xq,
        Self::DnxHrHq,
        Self::DnxHrHqx,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProRes422Lt => "422-lt",
            Self::ProRes422 => "422",
            Self::ProRes422Hq => "422-hq",
            Self::ProRes4444 => "4444",
            Self::ProRes4444Xq => "4444-xq",
            Self::DnxHrHq => "dnxhr-hq",
            Self::DnxHrHqx => "dnxhr-hqx",
        }
    }

    /// The codec that has it.
    pub fn codec(self) -> Codec {
        match self {
            Self::DnxHrHq | Self::DnxHrHqx => Codec::DnxHr,
            _ => Codec::ProRes,
        }
    }

    /// Whether it has an alpha plane.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::ProRes4444 | Self::ProRes4444Xq)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A SMPTE timecode, `HH:MM:SS:FF`; drop-frame with a semicolon before the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Timecode {
    hours: u8,
    minutes: u8,
    seconds: u8,
    frames: u8,
    drop_frame: bool,
}

/// A text that is no timecode.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error(
    "`{0}` is no timecode, expected hours, minutes, seconds and frames such as 01:00:00:00, or 01:00:00;00 with dropped frames"
)]
pub struct TimecodeError(String);

impl Timecode {
    /// 00:00:00:00.
    pub const ZERO: Self = Self { hours: 0, minutes: 0, seconds: 0, frames: 0, drop_frame: false };

    /// Frames that a timecode at `rate` counts in a second.
    fn per_second(rate: FrameRate) -> u64 {
        (rate.as_f64().round() as u64).max(1)
    }

    /// Whether a timecode at `rate` can be this one.
    fn check(self, rate: FrameRate) -> Result<(), String> {
        let per_second = Self::per_second(rate);
        if u64::from(self.frames) >= per_second {
            return Err(format!(
                "{self} has a frame that {rate} frames a second do not have; frames go from 0 to {}",
                per_second - 1
            ));
        }
        if self.drop_frame && !(rate.den() == 1001 && per_second.is_multiple_of(30)) {
            return Err(format!(
                "{self} drops frames, which exists at 30000/1001 and 60000/1001 frames a second, not at {rate}; \
                 write a colon before the frames"
            ));
        }
        let dropped = per_second / 15;
        if self.drop_frame && self.seconds == 0 && !self.minutes.is_multiple_of(10) && u64::from(self.frames) < dropped
        {
            return Err(format!(
                "{self} is one of the numbers that are dropped; the minute begins with frame {dropped}"
            ));
        }
        Ok(())
    }

    /// The timecode of the frame that is `frames` frames after this one, at `rate`. It begins again after 24 hours.
    #[must_use]
    pub fn after(self, frames: u64, rate: FrameRate) -> Self {
        let per_second = Self::per_second(rate);
        let minutes = u64::from(self.hours) * 60 + u64::from(self.minutes);
        let mut number = (minutes * 60 + u64::from(self.seconds)) * per_second + u64::from(self.frames);
        // Drop-frame leaves out the first numbers of each minute but every tenth.
        let dropped = if self.drop_frame { per_second / 15 } else { 0 };
        number -= dropped * (minutes - minutes / 10);
        let (ten_minutes, minute) = (per_second * 600 - dropped * 9, per_second * 60 - dropped);
        number = (number + frames) % (ten_minutes * 6 * 24);
        let (tens, rest) = (number / ten_minutes, number % ten_minutes);
        number += dropped * (tens * 9 + rest.saturating_sub(dropped) / minute);
        let seconds = number / per_second;
        Self {
            hours: (seconds / 3600 % 24) as u8,
            minutes: (seconds / 60 % 60) as u8,
            seconds: (seconds % 60) as u8,
            frames: (number % per_second) as u8,
            drop_frame: self.drop_frame,
        }
    }
}

impl fmt::Display for Timecode {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { hours, minutes, seconds, frames, drop_frame } = self;
        let separator = if *drop_frame { ';' } else { ':' };
        write!(f, "{hours:02}:{minutes:02}:{seconds:02}{separator}{frames:02}")
    }
}

impl FromStr for Timecode {
    type Err = TimecodeError;

    fn from_str(text: &str) -> Result<Self, TimecodeError> {
        let refused = || TimecodeError(text.chars().take(40).collect());
        let trimmed = text.trim();
        let drop_frame = trimmed.contains(';');
        let colons = trimmed.replace(';', ":");
        let is_plain = colons.bytes().all(|byte| byte.is_ascii_digit() || byte == b':');
        let numbers: Option<Vec<u8>> = colons.split(':').map(|number| number.parse().ok()).collect();
        match (is_plain && trimmed.rfind(';') == trimmed.find(';'), numbers.as_deref()) {
            (true, Some(&[hours @ 0..24, minutes @ 0..60, seconds @ 0..60, frames]))
                if !drop_frame || trimmed.rfind(':') < trimmed.find(';') =>
            {
                Ok(Self { hours, minutes, seconds, frames, drop_frame })
            }
            _ => Err(refused()),
        }
    }
}

impl TryFrom<String> for Timecode {
    type Error = TimecodeError;

    fn try_from(text: String) -> Result<Self, TimecodeError> {
        text.parse()
    }
}

impl From<Timecode> for String {
    fn from(timecode: Timecode) -> Self {
        timecode.to_string()
    }
}

impl JsonSchema for Timecode {
    fn inline_schema() -> bool {
        true
    }

    fn schema_name() -> Cow<'static, str> {
        "Timecode".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "string", "pattern": "^[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}[:;][0-9]{1,3}$" })
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
    pub profile: Option<Profile>,
    pub bit_depth: Option<u32>,
    pub timecode: Option<Timecode>,
    pub transparent: Option<bool>,
    pub crf: Option<u32>,
    pub bitrate: Option<Bitrate>,
    pub rate: Option<FrameRate>,
    pub wav: bool,
    pub caption_track: bool,
    pub loudness: bool,
    pub true_peak: bool,
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
    if asked.wav && !asked.format.has_sound() {
        return refused("wav", format!("a {} has no sound; leave wav out", asked.format));
    }
    if asked.caption_track && !matches!(asked.format, Format::Mp4 | Format::Mov) {
        let message = format!("a {} has no caption track; ask for mp4 or mov, or for captions beside it", asked.format);
        return refused("caption_track", message);
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
            timecode: None,
            transparent: None,
            crf: None,
            bitrate: None,
            rate: None,
            wav: false,
            caption_track: false,
            loudness: false,
            true_peak: false,
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
        for profile in Profile::ALL {
            let of_mov = Asked { profile: Some(profile), ..asked(Format::Mov) };
            assert!(check(&of_mov).is_ok());
            assert_eq!(check(&Asked { transparent: Some(true), ..of_mov }).is_ok(), profile.has_alpha());
            assert_eq!(serde_json::to_string(&profile).unwrap(), format!("\"{profile}\""));
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
        assert_eq!(Bitrate::new(1), None);
        assert_eq!(param(Asked { rate: FrameRate::new(101, 1).ok(), ..asked(Format::Gif) }), "fps");
        assert!(check(&Asked { rate: FrameRate::new(100, 1).ok(), ..asked(Format::Gif) }).is_ok());
        assert_eq!(param(Asked { loudness: true, ..asked(Format::Gif) }), "loudness");
        assert_eq!(param(Asked { wav: true, ..asked(Format::Gif) }), "wav");
        for (format, takes) in [(Format::Mp4, true), (Format::Mov, true), (Format::Webm, false), (Format::Gif, false)] {
            assert_eq!(check(&Asked { caption_track: true, ..asked(format) }).is_ok(), takes, "{format}");
        }
        assert_eq!(param(Asked { true_peak: true, ..asked(Format::Mp4) }), "true_peak");
        assert!(check(&Asked { loudness: true, true_peak: true, ..asked(Format::PngSequence) }).is_ok());
        assert!(check(&Asked { crf: Some(63), ..asked(Format::Webm) }).is_ok());
    }

    #[test]
    fn timecodes_count_frames_and_drop_numbers() {
        let at = |text: &str| text.parse::<Timecode>().unwrap();
        let rate = |num, den| FrameRate::new(num, den).unwrap();
        let (pal, ntsc, double) = (rate(25, 1), rate(30_000, 1001), rate(60_000, 1001));
        for (start, frames, rate, expected) in [
            ("00:00:00:00", 24, pal, "00:00:00:24"),
            ("01:00:00:00", 25 * 61 + 3, pal, "01:01:01:03"),
            ("23:59:59:24", 1, pal, "00:00:00:00"),
            ("00:00:59:29", 1, ntsc, "00:01:00:00"),
            ("00:00:59;29", 1, ntsc, "00:01:00;02"),
            ("00:09:59;29", 1, ntsc, "00:10:00;00"),
            ("00:00:00;00", 17_982, ntsc, "00:10:00;00"),
            ("00:00:00;00", 107_892, ntsc, "01:00:00;00"),
            ("00:01:00;02", 0, ntsc, "00:01:00;02"),
            ("23:59:59;29", 1, ntsc, "00:00:00;00"),
            ("00:00:59;59", 1, double, "00:01:00;04"),
        ] {
            assert_eq!(at(start).after(frames, rate), at(expected), "{start} + {frames}");
            assert_eq!(at(start).to_string(), start);
        }
        assert!(at("00:01:00;01").check(ntsc).unwrap_err().contains("frame 2"));
        assert!(at("00:10:00;01").check(ntsc).is_ok() && at("00:10:00;01").check(pal).is_err());
        for text in
            ["", "1:2:3", "24:00:00:00", "00:60:00:00", "00;00:00:00", "00:00;00;00", "00:00:00:-1", "00:00:00:300"]
        {
            assert!(text.parse::<Timecode>().is_err(), "{text}");
        }
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
