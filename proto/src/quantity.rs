//! Quantities of a request: lengths, moments, times of the calendar and bit rates.

use std::fmt;
use std::str::FromStr;
use std::time::{Duration, UNIX_EPOCH};

use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::frame::FrameRate;
use crate::text_form::{as_text, inline_schema};

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

inline_schema!(Seconds, { "type": "number", "minimum": 0 });

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

inline_schema!(Moment, { "anyOf": [{ "type": "number", "minimum": 0 }, { "type": "string", "pattern": "^[0-9]+(\\.[0-9]+)?[fs]?$" }] });

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
    /// The second in which this moment (Unix milliseconds) lies.
    pub fn of_unix_ms(unix_ms: u64) -> Self {
        Self(unix_ms / 1000)
    }

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

as_text!(Timestamp, TimestampError);
inline_schema!(Timestamp, { "type": "string", "format": "date-time" });

/// How long an ended render is kept: an hour to ten years, such as `12h` or `30d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct KeepFor(u64);

/// A text that is no such time.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no time from 1h to 3650d, such as 12h or 30d")]
pub struct KeepForError(String);

impl KeepFor {
    /// Seven days.
    pub const WEEK: Self = Self(7 * 24 * 3600);

    /// The time.
    pub fn duration(self) -> Duration {
        Duration::from_secs(self.0)
    }
}

impl fmt::Display for KeepFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.0 / 3600, self.0 % 3600) {
            (hours, 0) if hours % 24 == 0 => write!(f, "{}d", hours / 24),
            (hours, 0) => write!(f, "{hours}h"),
            _ => write!(f, "{}s", self.0),
        }
    }
}

impl FromStr for KeepFor {
    type Err = KeepForError;

    fn from_str(text: &str) -> Result<Self, KeepForError> {
        let time = humantime::parse_duration(text.trim()).ok().map(|time| time.as_secs());
        let time = time.filter(|seconds| (3600..=3650 * 24 * 3600).contains(seconds));
        time.map(Self).ok_or_else(|| KeepForError(text.chars().take(40).collect()))
    }
}

as_text!(KeepFor, KeepForError);
inline_schema!(KeepFor, { "type": "string" });

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

inline_schema!(Bitrate, { "type": ["integer", "string"] });

/// Loudness that the sound of a composition is brought to, by EBU R 128.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Loudness {
    /// Integrated loudness in LUFS.
    pub lufs: i32,
    /// Highest true peak in dBTP.
    pub true_peak_db: i32,
}

impl Loudness {
    /// Highest true peak in dBTP where none is asked for: that of EBU R 128.
    pub const TRUE_PEAK_DB: i32 = -1;
}

#[cfg(test)]
mod tests {
    use super::*;

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
