//! Targets, verdicts and the table.

use std::io::Write;

use super::picture::PictureResult;
use super::sidecar::{Aspect, Sidecar};
use super::sound::SoundResult;

/// Mean PSNR of a composition, in decibels.
pub const MEAN_PSNR: f64 = 38.0;
/// PSNR of its worst frame.
pub const WORST_PSNR: f64 = 30.0;
/// Correlation of the sound's envelopes.
pub const CORRELATION: f64 = 0.98;
/// Difference in level, in decibels; not a target of the contract, but a wrong volume correlates as well as a right one.
pub const LEVEL: f64 = 1.5;

/// What came of one composition.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Its folder's name.
    pub name: String,
    /// Pictures, where both sides rendered.
    pub picture: Option<PictureResult>,
    /// Sound, where one of them has any.
    pub sound: Option<SoundResult>,
    /// Seconds of ours and of theirs, by the container.
    pub duration: Option<(f64, f64)>,
    /// Seconds that the renders took; 0 where theirs was there from before.
    pub took: (f64, f64),
    /// Why the published CLI is not the measure here.
    pub exception: Option<String>,
    /// What is not right; nothing means that it passed.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// An outcome with nothing in it yet.
    pub fn new(name: &str, sidecar: &Sidecar) -> Self {
        Self {
            name: name.to_owned(),
            picture: None,
            sound: None,
            duration: None,
            took: (0.0, 0.0),
            exception: sidecar.upstream.as_ref().map(|exception| exception.wrong.clone()),
            wrong: Vec::new(),
        }
    }

    /// Holds what was measured against the targets.
    pub fn judge(&mut self, sidecar: &Sidecar) {
        let mut wrong = Vec::new();
        let mut frame_ms = 1000.0 / 30.0;
        if let Some(picture) = &self.picture {
            let (ours, theirs) = picture.frames;
            if sidecar.compares(Aspect::Length) && ours != theirs {
                wrong.push(format!("{ours} frames, theirs {theirs}"));
            }
            if let Some((ours, theirs)) = self.duration {
                frame_ms = ours * 1000.0 / picture.frames.0.max(1) as f64;
                if sidecar.compares(Aspect::Length) && (ours - theirs).abs() > frame_ms / 1000.0 {
                    wrong.push(format!("{ours:.3} s, theirs {theirs:.3} s"));
                }
            }
            if sidecar.compares(Aspect::Picture) {
                let (frame, worst) = picture.worst();
                if picture.sizes.0 != picture.sizes.1 {
                    wrong.push(format!("{:?} pixels, theirs {:?}", picture.sizes.0, picture.sizes.1));
                } else if picture.mean() < MEAN_PSNR {
                    wrong.push(format!("mean {:.1} dB", picture.mean()));
                } else if worst < WORST_PSNR {
                    wrong.push(format!("frame {frame} has {worst:.1} dB"));
                }
            }
        }
        if let Some(sound) = self.sound.filter(|_| sidecar.compares(Aspect::Sound)) {
            if sound.correlation < CORRELATION {
                wrong.push(format!("sound correlates {:.3}", sound.correlation));
            } else if sound.lag_ms.abs() >= frame_ms {
                wrong.push(format!("sound {:+.0} ms", sound.lag_ms));
            }
            if sound.level_db.abs() > LEVEL {
                wrong.push(format!("sound {:+.1} dB", sound.level_db));
            }
        }
        self.wrong.extend(wrong);
    }

    /// Whether nothing is wrong.
    pub fn passed(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// The table's first line.
pub fn head(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<28} {:>9} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6}  verdict",
        "composition", "frames", "mean", "min", "worst", "sound", "lag ms", "dB"
    )
}

/// One line of the table.
pub fn line(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
    let mut cells: [String; 7] = std::array::from_fn(|_| "-".to_owned());
    if let Some(picture) = &outcome.picture {
        let (frame, worst) = picture.worst();
        cells[0] = format!("{}/{}", picture.frames.0, picture.frames.1);
        cells[1] = format!("{:.1}", picture.mean());
        cells[2] = format!("{worst:.1}");
        cells[3] = frame.to_string();
    }
    if let Some(sound) = &outcome.sound {
        cells[4] = format!("{:.3}", sound.correlation);
        cells[5] = format!("{:+.0}", sound.lag_ms);
        cells[6] = format!("{:+.1}", sound.level_db);
    }
    let verdict = match (outcome.passed(), &outcome.exception) {
        (true, None) => "ok".to_owned(),
        (true, Some(reason)) => format!("ok by what is known ({reason})"),
        (false, _) => format!("NOT: {}", outcome.wrong.join("; ")),
    };
    let [frames, mean, min, worst, sound, lag, level] = cells;
    writeln!(
        out,
        "{:<28} {frames:>9} {mean:>6} {min:>6} {worst:>5} {sound:>6} {lag:>6} {level:>6}  {verdict}",
        outcome.name
    )?;
    out.flush()
}
