//! The progress of a render.

use std::sync::Arc;
use std::time::{Duration, Instant};

pub use hyperfarm_api::render::Stage;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, Plan, VideoCodec, Warning};
use hyperfarm_proto::record::{Manifest, OutputRecord, TerminalState};
use hyperfarm_proto::spec::{Format, Size};

use crate::scheduler::Captured;
use crate::waiting::Waiting;

/// The parts of a plan that clients see.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanSummary {
    /// Size of a frame in pixels.
    pub size: Size,
    /// Frames per second.
    pub frame_rate: FrameRate,
    /// Number of frames in the output.
    pub frames: u64,
    /// Number of chunks.
    pub chunks: u32,
    /// Version of the HyperFrames runtime, where it is known.
    pub runtime: Option<String>,
    /// Warnings of the plan stage.
    pub warnings: Vec<Warning>,
    /// Whether it has sound.
    pub has_audio: bool,
    /// Whether browsers can play its segments.
    pub is_playable: bool,
}

/// Whether browsers play the video of this encoder in fragmented MP4.
pub(crate) fn is_playable(encoder: &EncoderSettings) -> bool {
    let has_no_mp4 = matches!(encoder.codec, VideoCodec::Vp8 { .. });
    !has_no_mp4 && matches!(encoder.format, Format::Mp4 | Format::Webm | Format::Hls)
}

impl From<&Plan> for PlanSummary {
    fn from(plan: &Plan) -> Self {
        Self {
            size: plan.content.encoder.codec.coded_size(plan.content.viewport.output()),
            frame_rate: plan.content.frame_rate,
            frames: plan.content.frames,
            chunks: plan.chunks.len() as u32,
            runtime: Some(plan.content.runtime.version.clone()),
            warnings: plan.warnings.clone(),
            has_audio: plan.has_audio(),
            is_playable: is_playable(&plan.content.encoder),
        }
    }
}

impl From<&Manifest> for PlanSummary {
    fn from(manifest: &Manifest) -> Self {
        let OutputRecord { size, frame_rate, frames, .. } = manifest.output;
        Self {
            size,
            frame_rate,
            frames,
            chunks: manifest.segments.len() as u32,
            runtime: manifest.runtime.as_ref().map(|runtime| runtime.version.clone()),
            warnings: manifest.warnings.clone(),
            has_audio: manifest.audio.is_some(),
            // The preview needs the plan's chunk table, which cannot be read.
            is_playable: false,
        }
    }
}

/// The progress of a render.
#[derive(Debug, Clone, PartialEq)]
pub struct RenderProgress {
    /// Its stage.
    pub stage: Stage,
    /// Number of captured frames, those of chunks that are being captured included.
    pub frames_done: u64,
    /// Number of frames in all; 0 before there is a plan.
    pub frames_total: u64,
    /// Number of committed chunks.
    pub chunks_done: u32,
    /// Number of chunks in all; 0 before there is a plan.
    pub chunks_total: u32,
    /// Number of committed chunks from the first one on, without a gap.
    pub chunks_leading: u32,
    /// Whether the sound is committed.
    pub has_sound: bool,
    /// Estimated time until the last frame is captured.
    pub eta: Option<Duration>,
    /// What it waits for, while no worker works on it.
    pub waiting: Option<Waiting>,
    /// The plan, once there is one.
    pub plan: Option<Arc<PlanSummary>>,
    /// How it ended, once it has.
    pub end: Option<Arc<TerminalState>>,
}

impl RenderProgress {
    /// The progress of a render that no worker has begun.
    pub fn queued() -> Self {
        Self {
            stage: Stage::Queued,
            frames_done: 0,
            frames_total: 0,
            chunks_done: 0,
            chunks_total: 0,
            chunks_leading: 0,
            has_sound: false,
            eta: None,
            waiting: None,
            plan: None,
            end: None,
        }
    }

    /// The progress at `stage` of `plan`, of which this much is captured.
    pub fn count(stage: Stage, plan: Option<&Plan>, summary: Option<&Arc<PlanSummary>>, captured: Captured) -> Self {
        let progress = Self { stage, plan: summary.cloned(), ..Self::queued() };
        let Some(plan) = plan else { return progress };
        Self {
            frames_done: captured.frames,
            frames_total: plan.content.frames,
            chunks_done: captured.chunks,
            chunks_total: plan.chunks.len() as u32,
            chunks_leading: captured.leading,
            has_sound: captured.has_sound,
            ..progress
        }
    }

    /// The progress of an ended render without a readable plan, from its manifest.
    pub fn of_manifest(manifest: &Manifest) -> Self {
        let summary = PlanSummary::from(manifest);
        Self {
            frames_total: summary.frames,
            chunks_total: summary.chunks,
            plan: Some(Arc::new(summary)),
            ..Self::queued()
        }
    }

    /// The progress after the render has ended so.
    pub fn ended(mut self, end: Arc<TerminalState>) -> Self {
        if matches!(end.outcome, hyperfarm_proto::record::Outcome::Completed { .. }) {
            self.frames_done = self.frames_total;
            self.chunks_done = self.chunks_total;
            self.chunks_leading = self.chunks_total;
            self.has_sound = self.plan.as_ref().is_some_and(|plan| plan.has_audio);
        }
        Self { stage: Stage::Done, eta: None, waiting: None, end: Some(end), ..self }
    }

    /// Captured frames, in percent of all.
    pub fn percent(&self) -> f64 {
        if self.frames_total == 0 {
            return 0.0;
        }
        (self.frames_done as f64 * 1000.0 / self.frames_total as f64).round() / 10.0
    }
}

/// The rate at which the farm captures frames of one render, since this process first saw it capture.
#[derive(Debug, Clone, Default)]
pub struct Pace(Option<(Instant, u64)>);

impl Pace {
    /// Estimated time until all of `total` frames are done, of which `done` are done now. `first_guess` is the time for a frame that is used
    /// before the first one was captured.
    pub fn eta(&mut self, now: Instant, done: u64, total: u64, first_guess: Duration) -> Option<Duration> {
        let (since, before) = *self.0.get_or_insert((now, done));
        let left = total.saturating_sub(done) as f64;
        let each = match done.saturating_sub(before) {
            0 => first_guess.as_secs_f64(),
            seen => now.saturating_duration_since(since).as_secs_f64() / seen as f64,
        };
        Duration::try_from_secs_f64(left * each).ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rate_is_that_of_the_frames_seen() {
        let (mut pace, start) = (Pace::default(), Instant::now());
        let guess = Duration::from_millis(100);
        assert_eq!(pace.eta(start, 50, 150, guess), Some(Duration::from_secs(10)));
        assert_eq!(pace.eta(start + Duration::from_secs(5), 100, 150, guess), Some(Duration::from_secs(5)));
    }
}
