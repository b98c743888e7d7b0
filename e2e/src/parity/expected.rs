//! Checks a render against the frames, colours and levels that its page is known to have, without any other renderer.

use std::path::Path;

use anyhow::Context;
use hyperfarm_media::{SAMPLE_RATE, decode_video};

use super::sidecar::Expected;
use super::sound::{rms, samples};

/// Largest difference of red, green and blue: 4:2:0 and a lossy encoder lie between the page and the video.
const TOLERANCE: u8 = 10;
/// Largest difference of a level: a share of it, plus an absolute value.
const LEVEL_TOLERANCE: (f64, f64) = (0.08, 0.004);

impl Expected {
    /// Whether nothing is expected.
    pub fn is_empty(&self) -> bool {
        self.frames.is_none() && self.colours.is_empty() && self.levels.is_empty()
    }

    /// Checks `video`. Returns a sentence for every expectation that it does not meet.
    ///
    /// # Errors
    /// The video cannot be decoded.
    pub fn check(&self, video: &Path) -> anyhow::Result<Vec<String>> {
        let mut wrong = Vec::new();
        let tolerance = self.tolerance.unwrap_or(TOLERANCE);
        let mut checked = 0;
        let count = decode_video(video, &mut |frame, picture| {
            for (x, y, text) in self.colours.get(&frame).map(Vec::as_slice).unwrap_or_default() {
                checked += 1;
                let found = picture.pixel(*x, *y).map(|pixel| [pixel[2], pixel[1], pixel[0]]);
                let near = |found: [u8; 3], wanted: [u8; 3]| {
                    found.iter().zip(wanted).all(|(found, wanted)| found.abs_diff(wanted) <= tolerance)
                };
                match (found, colour(text)) {
                    (_, None) => wrong.push(format!("{text:?} is no colour")),
                    (None, _) => wrong.push(format!("frame {frame} has no point {x},{y}")),
                    (Some(found), Some(wanted)) if !near(found, wanted) => {
                        let [r, g, b] = found;
                        wrong.push(format!("frame {frame} at {x},{y} is #{r:02x}{g:02x}{b:02x} and not {text}"));
                    }
                    _ => {}
                }
            }
            true
        })
        .with_context(|| format!("decoding {}", video.display()))?;
        if let Some(frames) = self.frames.filter(|frames| *frames != count) {
            wrong.push(format!("{count} frames and not {frames}"));
        }
        let expected: usize = self.colours.values().map(Vec::len).sum();
        if checked < expected {
            wrong.push(format!("{} of {expected} points are in frames that are missing", expected - checked));
        }
        if !self.levels.is_empty() {
            self.check_levels(&samples(video)?, &mut wrong);
        }
        Ok(wrong)
    }

    fn check_levels(&self, sound: &[[f32; 2]], wrong: &mut Vec<String>) {
        for (from, to, wanted) in &self.levels {
            let at = |seconds: &f64| ((seconds * f64::from(SAMPLE_RATE)) as usize).min(sound.len());
            let found = rms(&sound[at(from)..at(to)]);
            if (found - wanted).abs() > wanted * LEVEL_TOLERANCE.0 + LEVEL_TOLERANCE.1 {
                wrong.push(format!("the sound from {from} s to {to} s is at {found:.4} and not at {wanted}"));
            }
        }
    }
}

/// `#rrggbb`.
fn colour(text: &str) -> Option<[u8; 3]> {
    let digits = text.strip_prefix('#').filter(|digits| digits.len() == 6)?;
    hex::decode(digits).ok()?.try_into().ok()
}
