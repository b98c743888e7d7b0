//! SMPTE timecodes.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::frame::FrameRate;
use crate::text_form::{as_text, inline_schema};

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
    pub(crate) fn check(self, rate: FrameRate) -> Result<(), String> {
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

as_text!(Timecode, TimecodeError);
inline_schema!(Timecode, { "type": "string", "pattern": "^[0-9]{1,2}:[0-9]{1,2}:[0-9]{1,2}[:;][0-9]{1,3}$" });

#[cfg(test)]
mod tests {
    use super::*;

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
}
