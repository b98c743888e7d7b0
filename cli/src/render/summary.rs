//! What was made, and where the time went.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use hyperfarm_api::render::RenderStatus;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::record::Manifest;
use serde::Serialize;
use url::Url;

use super::timings::{self, StageTime, Walls};
use crate::args::RenderArgs;
use crate::exit::CliError;
use crate::stdout::print_line;

/// The result of a render, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct Summary {
    /// The file.
    pub output: String,
    /// Container.
    pub format: String,
    /// Frames in it.
    pub frames: u64,
    /// Seconds it lasts.
    pub duration: f64,
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
    /// Frames a second, as an integer or a fraction.
    pub fps: String,
    /// Whether it has sound.
    pub has_audio: bool,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the file.
    pub sha256: String,
    /// Wall-clock seconds of the whole render.
    pub seconds: f64,
    /// Frames of output a wall-clock second.
    pub frames_per_second: f64,
    /// Chunks.
    pub chunks: usize,
    /// Seconds by stage: wall-clock for plan, capture and stitch; summed over slots for what chunks did.
    pub stages: BTreeMap<String, f64>,
    /// The same in full, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timings: Option<Vec<StageTime>>,
    /// What the person should know.
    pub warnings: Vec<Warning>,
}

impl Summary {
    /// From a manifest and the wall-clock times of the stages.
    pub(super) fn new(
        output: &Path,
        manifest: &Manifest,
        walls: &Walls,
        total: Duration,
        mut warnings: Vec<Warning>,
    ) -> Self {
        warnings.extend(manifest.warnings.iter().cloned());
        let mut stages: BTreeMap<String, f64> = BTreeMap::new();
        for wall in &walls.done {
            *stages.entry(wall.stage.clone()).or_default() += wall.took.as_secs_f64();
        }
        for segment in &manifest.segments {
            let timings = &segment.timings;
            for (name, millis) in [
                ("chunk_start", timings.start_ms),
                ("chunk_seek", timings.seek_ms),
                ("chunk_draw", timings.draw_ms),
                ("chunk_read", timings.read_ms),
                ("chunk_encode_wait", timings.wait_ms),
                ("chunk_commit", timings.commit_ms),
            ] {
                *stages.entry(name.to_owned()).or_default() += millis / 1000.0;
            }
        }
        let made = &manifest.output;
        Self {
            output: output.display().to_string(),
            format: made.format.to_string(),
            frames: made.frames,
            duration: made.frame_rate.seconds_of(made.frames),
            width: made.size.width,
            height: made.size.height,
            fps: made.frame_rate.to_string(),
            has_audio: made.has_audio,
            bytes: made.bytes,
            sha256: made.hash.to_string(),
            seconds: total.as_secs_f64(),
            frames_per_second: made.frames as f64 / total.as_secs_f64().max(1e-9),
            chunks: manifest.segments.len(),
            stages,
            timings: None,
            warnings,
        }
    }

    /// For a person, on standard error. Warnings also where it is to be quiet.
    pub(super) fn print(&self, quiet: bool) {
        print_warnings(&self.warnings);
        if quiet {
            return;
        }
        let sound = if self.has_audio { "with sound" } else { "silent" };
        eprintln!("{}", self.output);
        eprintln!(
            "  {}x{}, {} frames at {} fps, {:.3} s, {sound}, {}",
            self.width,
            self.height,
            self.frames,
            self.fps,
            self.duration,
            size(self.bytes)
        );
        eprintln!(
            "  rendered in {:.1} s: {:.1} frames/s in {} chunks",
            self.seconds, self.frames_per_second, self.chunks
        );
        let stage = |name: &str| self.stages.get(name).copied().unwrap_or_default();
        eprintln!("  plan {:.1} s, capture {:.1} s, stitch {:.1} s", stage("plan"), stage("capture"), stage("stitch"));
        eprintln!(
            "  in chunks: start {:.1} s, seek {:.1} s, draw {:.1} s, decode {:.1} s, wait for encoder {:.1} s, store {:.1} s",
            stage("chunk_start"),
            stage("chunk_seek"),
            stage("chunk_draw"),
            stage("chunk_read"),
            stage("chunk_encode_wait"),
            stage("chunk_commit")
        );
        if let Some(stages) = &self.timings {
            timings::print(stages);
        }
    }
}

/// The result of a render on a farm, as `--json` prints it.
#[derive(Debug, Serialize)]
pub(super) struct FarmSummary {
    /// The render.
    pub render_id: String,
    /// The farm, for people.
    #[serde(skip)]
    pub farm: Url,
    /// The file.
    pub output: String,
    /// Frames in it.
    pub frames: u64,
    /// Seconds it lasts.
    pub duration: Option<f64>,
    /// Length in bytes.
    pub bytes: u64,
    /// Wall-clock seconds, the upload and the download included.
    pub seconds: f64,
    /// Frames of output a wall-clock second.
    pub frames_per_second: f64,
    /// What the person should know.
    pub warnings: Vec<Warning>,
}

/// A render that a farm has taken and that is not waited for.
#[derive(Debug, Serialize)]
pub(super) struct Submitted {
    /// The render.
    pub render_id: String,
    /// How far it is.
    pub status: RenderStatus,
    /// What the person should know of the project.
    pub warnings: Vec<Warning>,
}

/// How a render ended well.
#[derive(Debug, Serialize)]
#[serde(untagged)]
pub(super) enum Report {
    /// On this machine.
    Local(Summary),
    /// On a farm.
    Farm(FarmSummary),
    /// On a farm, where it goes on.
    Submitted(Submitted),
}

impl Report {
    /// Prints it as the arguments ask for.
    pub(super) fn print(&self, args: &RenderArgs) -> Result<(), CliError> {
        let json = |pretty: bool| match pretty {
            true => serde_json::to_string_pretty(self),
            false => serde_json::to_string(self),
        };
        match self {
            Self::Local(summary) if !args.json => summary.print(args.quiet),
            Self::Farm(summary) if !args.json => summary.print(args.quiet),
            Self::Local(_) => print_line(&json(true).map_err(CliError::system)?),
            Self::Submitted(submitted) => {
                if !args.json {
                    print_warnings(&submitted.warnings);
                }
                print_line(&json(false).map_err(CliError::system)?);
            }
            Self::Farm(_) => print_line(&json(false).map_err(CliError::system)?),
        }
        Ok(())
    }

    /// What the person should know.
    pub(super) fn warnings(&self) -> &[Warning] {
        match self {
            Self::Local(summary) => &summary.warnings,
            Self::Farm(summary) => &summary.warnings,
            Self::Submitted(submitted) => &submitted.warnings,
        }
    }

    /// Seconds that the output lasts, where that is known.
    pub(super) fn duration(&self) -> Option<f64> {
        match self {
            Self::Local(summary) => Some(summary.duration),
            Self::Farm(summary) => summary.duration,
            Self::Submitted(_) => None,
        }
    }
}

impl FarmSummary {
    fn print(&self, quiet: bool) {
        print_warnings(&self.warnings);
        if !quiet {
            let Self { render_id, farm, output, frames, bytes, seconds, .. } = self;
            eprintln!("{output}\n  render {render_id} on {farm}: {frames} frames, {bytes} bytes, {seconds:.1} s");
        }
    }
}

/// The warnings, without repetitions.
pub(crate) fn distinct(warnings: &[Warning]) -> impl Iterator<Item = &Warning> {
    warnings.iter().enumerate().filter(|(at, warning)| !warnings[..*at].contains(warning)).map(|(_, warning)| warning)
}

/// Prints each warning once.
pub(crate) fn print_warnings(warnings: &[Warning]) {
    for warning in distinct(warnings) {
        eprintln!("warning: {} [{}]", warning.message, warning.code);
    }
}

/// Bytes as people say them.
fn size(bytes: u64) -> String {
    match bytes {
        0..=999_999 => format!("{:.0} kB", bytes as f64 / 1e3),
        1_000_000..=999_999_999 => format!("{:.1} MB", bytes as f64 / 1e6),
        _ => format!("{:.2} GB", bytes as f64 / 1e9),
    }
}
