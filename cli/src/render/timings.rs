//! Where one render's time went: what `--timings` prints and `--trace` writes.

use std::time::{Duration, Instant};

use hyperfarm_proto::record::{ChunkTimings, Manifest, unix_ms};
use serde::Serialize;

/// Wall-clock time of the stages, as the progress tells them.
pub(super) struct Walls {
    began: Instant,
    /// When the render was asked for, as [`unix_ms`].
    pub began_at_ms: f64,
    /// Stages that have ended, in order.
    pub done: Vec<Wall>,
    current: Option<(String, Instant)>,
}

/// A stage on the wall clock.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Wall {
    /// Its name.
    pub stage: String,
    /// From the render's start to the stage's.
    pub since: Duration,
    /// How long it lasted.
    pub took: Duration,
}

impl Walls {
    /// The clock of a render that starts now, in its first stage.
    pub(super) fn start(stage: &str) -> Self {
        let began = Instant::now();
        Self { began, began_at_ms: unix_ms(), done: Vec::new(), current: Some((stage.to_owned(), began)) }
    }

    /// The stage that goes on from now.
    pub(super) fn enter(&mut self, stage: &str) {
        if self.current.as_ref().is_some_and(|(name, _)| name == stage) {
            return;
        }
        self.end();
        self.current = Some((stage.to_owned(), Instant::now()));
    }

    /// The last stage has ended.
    pub(super) fn end(&mut self) {
        if let Some((stage, since)) = self.current.take() {
            self.done.push(Wall { stage, since: since.duration_since(self.began), took: since.elapsed() });
        }
    }

    /// Since the render's start.
    pub(super) fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// Milliseconds of a stage.
    pub(super) fn ms(&self, stage: &str) -> f64 {
        self.done.iter().filter(|wall| wall.stage == stage).map(|wall| wall.took.as_secs_f64() * 1000.0).sum()
    }
}

/// A row of the table.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub(super) struct StageTime {
    /// Its name.
    pub stage: &'static str,
    /// Whose time it is.
    pub of: Whose,
    /// Milliseconds in all.
    pub ms: f64,
    /// Milliseconds a frame of the output.
    pub ms_per_frame: f64,
}

/// Whose time a stage is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Whose {
    /// The render's: nothing else of it goes on meanwhile, but what is said to.
    Render,
    /// The slots', added up.
    Slots,
    /// The encoders' threads, added up; they run beside the slots.
    Encoders,
    /// Beside the capture.
    Beside,
}

impl Whose {
    fn text(self) -> &'static str {
        match self {
            Self::Render => "wall clock",
            Self::Slots => "sum of the slots",
            Self::Encoders => "sum of the encoders, beside the slots",
            Self::Beside => "beside the capture",
        }
    }
}

/// The stages of a render, in the order in which a frame comes through them.
pub(super) fn stages(manifest: &Manifest, walls: &Walls, total: Duration) -> Vec<StageTime> {
    let frames = manifest.output.frames.max(1) as f64;
    let chunks = |of: fn(&ChunkTimings) -> f64| manifest.segments.iter().map(|segment| of(&segment.timings)).sum();
    let row = |stage, of, ms: f64| StageTime { stage, of, ms, ms_per_frame: ms / frames };
    let mut rows = vec![
        row("set-up", Whose::Render, walls.ms("set-up")),
        row("plan", Whose::Render, walls.ms("plan")),
        row("start", Whose::Slots, chunks(|timings| timings.start_ms)),
        row("seek", Whose::Slots, chunks(|timings| timings.seek_ms)),
        row("draw", Whose::Slots, chunks(|timings| timings.draw_ms)),
        row("read", Whose::Encoders, chunks(|timings| timings.read_ms)),
        row("convert", Whose::Encoders, chunks(|timings| timings.convert_ms)),
        row("encode", Whose::Encoders, chunks(|timings| timings.encode_ms)),
        row("wait", Whose::Slots, chunks(|timings| timings.wait_ms)),
        row("commit", Whose::Slots, chunks(|timings| timings.commit_ms)),
    ];
    if let Some(audio) = &manifest.audio {
        rows.push(row("audio", Whose::Beside, audio.mix_ms));
    }
    rows.push(row("join", Whose::Render, manifest.output.stitch_ms));
    rows.push(row("clean-up", Whose::Render, walls.ms("clean-up")));
    rows.push(row("all", Whose::Render, total.as_secs_f64() * 1000.0));
    rows
}

/// The table, on standard error.
pub(super) fn print(stages: &[StageTime]) {
    eprintln!("  stage       ms/frame     seconds");
    for row in stages {
        eprintln!("  {:<8} {:>11.2} {:>11.3}   {}", row.stage, row.ms_per_frame, row.ms / 1000.0, row.of.text());
    }
}
