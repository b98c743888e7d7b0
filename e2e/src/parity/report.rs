//! Targets, verdicts and the table of the parity suite.

use std::io::Write;

use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::record::Manifest;

use super::picture::PictureResult;
use super::sidecar::{Aspect, Sidecar};
use super::sound::SoundResult;

/// Target: mean PSNR of a composition, in decibels.
pub const MEAN_PSNR: f64 = 38.0;
/// Target: PSNR of the worst frame, in decibels.
pub const WORST_PSNR: f64 = 30.0;
/// Target: correlation of the sound's envelopes.
pub const CORRELATION: f64 = 0.98;
/// Largest difference in level, in decibels. It is no target of the specification, but a wrong volume correlates as
/// well as a right one.
pub const LEVEL: f64 = 1.5;

/// Result of one composition.
#[derive(Debug, serde::Serialize)]
pub struct Outcome {
    /// Name of its folder.
    pub name: String,
    /// Comparison of frames, where both sides rendered.
    pub picture: Option<PictureResult>,
    /// Comparison of sound, where one side has any.
    pub sound: Option<SoundResult>,
    /// Seconds of ours and of theirs, by the container.
    pub duration: Option<(f64, f64)>,
    /// Duration of both renders in seconds; 0 for a cached one.
    pub took: (f64, f64),
    /// Number of chunks, and of those that were drawn again because of their seams, where renders in one chunk and in
    /// several were compared.
    pub chunks: Option<(usize, usize)>,
    /// Why the published CLI is not compared.
    pub exception: Option<String>,
    /// Errors; none if it passed.
    pub wrong: Vec<String>,
}

impl Outcome {
    /// An empty outcome.
    pub fn new(name: &str, sidecar: &Sidecar) -> Self {
        Self {
            name: name.to_owned(),
            picture: None,
            sound: None,
            duration: None,
            took: (0.0, 0.0),
            chunks: None,
            exception: sidecar.upstream.as_ref().map(|exception| exception.wrong.clone()),
            wrong: Vec::new(),
        }
    }

    /// Compares the results with the targets and adds an error for each that is missed.
    pub fn check_targets(&mut self, sidecar: &Sidecar) {
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

    /// Compares the captured frames of a render in one chunk with those of one in several, and adds an error if any
    /// differs.
    pub fn compare_chunks(&mut self, whole: &Manifest, cut: &Manifest) {
        let pairs = whole.frame_hashes().zip(cut.frame_hashes()).enumerate();
        let different: Vec<usize> = pairs.filter(|(_, (a, b))| a != b).map(|(frame, _)| frame).collect();
        let drawn_again = cut.segments.iter().filter(|segment| segment.start != ChunkStart::default()).count();
        self.chunks = Some((cut.segments.len(), drawn_again));
        if whole.segments.len() != 1 || whole.output.frames != cut.output.frames {
            self.wrong.push(format!("{} frames, in chunks {}", whole.output.frames, cut.output.frames));
        }
        if !different.is_empty() {
            let named = cut.warnings.iter().any(|warning| warning.code == "SEAM_DIFFERS");
            let told = if named { "with a warning" } else { "in silence" };
            self.wrong.push(format!("frames {different:?} differ {told}"));
        }
    }

    /// Whether there are no errors.
    pub fn passed(&self) -> bool {
        self.wrong.is_empty()
    }
}

/// Prints the header of the table.
///
/// # Errors
/// `out` cannot be written.
pub fn print_header(out: &mut impl Write) -> std::io::Result<()> {
    writeln!(
        out,
        "{:<28} {:>9} {:>6} {:>6} {:>5} {:>6} {:>6} {:>6}  verdict",
        "composition", "frames", "mean", "min", "worst", "sound", "lag ms", "dB"
    )
}

/// Prints one row of the table.
///
/// # Errors
/// `out` cannot be written.
pub fn print_row(out: &mut impl Write, outcome: &Outcome) -> std::io::Result<()> {
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
        (true, _) if outcome.chunks.is_some() => {
            let (chunks, again) = outcome.chunks.unwrap_or_default();
            format!("ok, {again} of {chunks} chunks drawn again")
        }
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
