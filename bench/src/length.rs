//! `bench length`: cost a frame and memory by length of a render, with the same content for 1, 10 and 60 minutes.
//!
//! Whole renders run at a low frame rate, so that an hour is planned, rendered, joined and verified within minutes.
//! Single chunks at the full rate, from the start, the middle and the end, measure the cost of a frame and of a chunk's
//! start there.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Context;
use hyperfarm_e2e::parity::repository;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::record::Manifest;
use hyperfarm_proto::spec::{Quality, RenderSpec};
use serde::Serialize;

use crate::meter::{Meter, Usage};
use crate::stages::Stages;
use crate::{compare, pages, report};

/// Frame rate of single chunks.
const RATE: u64 = 30;

/// `bench length`.
#[derive(Debug, clap::Args)]
pub(crate) struct LengthArgs {
    /// Minutes of each composition.
    #[arg(long, value_delimiter = ',', default_value = "1,10,60")]
    minutes: Vec<u64>,
    /// Frames a second of the whole renders.
    #[arg(long, default_value_t = 1)]
    fps: u64,
    /// Frames of a single chunk.
    #[arg(long, default_value_t = 90)]
    frames: u64,
    /// Seconds until a render or a chunk is given up.
    #[arg(long, value_name = "SECONDS", default_value_t = 900)]
    limit: u64,
    /// Leave the whole renders out.
    #[arg(long)]
    no_renders: bool,
    /// Leave the single chunks out.
    #[arg(long)]
    no_chunks: bool,
    /// hyperfarm's binary [default: the one beside this].
    #[arg(long, value_name = "FILE")]
    hyperfarm: Option<PathBuf>,
    /// Write the figures into docs/performance.md.
    #[arg(long)]
    publish: bool,
}

/// Figures of a whole render.
#[derive(Debug, Serialize)]
struct RenderFigures {
    minutes: u64,
    frames: u64,
    chunks: usize,
    #[serde(flatten)]
    usage: Usage,
    join_ms: f64,
}

/// Figures of a single chunk.
#[derive(Debug, Serialize)]
struct ChunkFigures {
    minutes: u64,
    /// Number of the first frame.
    first: u64,
    frames: u64,
    /// Milliseconds from the claim to the first frame.
    start_ms: f64,
    /// Milliseconds a frame, on the wall clock.
    frame_ms: f64,
    seek_ms: f64,
    draw_ms: f64,
}

/// Measures every length and prints the figures.
///
/// # Errors
/// A render or a chunk fails.
pub(crate) fn run(args: &LengthArgs) -> anyhow::Result<()> {
    let work = compare::work()?.join("length");
    let (mut renders, mut chunk_figures) = (Vec::new(), Vec::new());
    let mut out = std::io::stdout();
    writeln!(out, "{}\n", report::machine())?;
    for minutes in &args.minutes {
        let project = work.join(format!("minutes-{minutes}"));
        write_project(&project, *minutes)?;
        if !args.no_renders {
            let whole = render(args, &project, &work, *minutes)?;
            writeln!(
                out,
                "{minutes:>3} min at {} fps: {} frames in {} chunks, {:.1} s ({:.1} ms a frame), processor {:.1} ms a frame, peak {} MB, \
                 join {:.1} s",
                args.fps,
                whole.frames,
                whole.chunks,
                whole.usage.wall_s,
                whole.usage.wall_s * 1000.0 / whole.frames as f64,
                whole.usage.cpu_s * 1000.0 / whole.frames as f64,
                whole.usage.peak_bytes / 1_000_000,
                whole.join_ms / 1000.0
            )?;
            renders.push(whole);
        }
        if !args.no_chunks {
            for piece in tokio::runtime::Runtime::new()?.block_on(chunks(args, &project, *minutes))? {
                writeln!(
                    out,
                    "{minutes:>3} min at {RATE} fps: chunk at frame {:>6}: start {:.1} s, {:.1} ms a frame (seek {:.1}, draw {:.1})",
                    piece.first,
                    piece.start_ms / 1000.0,
                    piece.frame_ms,
                    piece.seek_ms,
                    piece.draw_ms
                )?;
                chunk_figures.push(piece);
            }
        }
    }
    let found = serde_json::json!({"renders": renders, "chunks": chunk_figures});
    std::fs::write(work.join("length.json"), serde_json::to_vec_pretty(&found)?)?;
    if args.publish {
        pages::replace("length", &markdown(args, &renders, &chunk_figures))?;
    }
    Ok(())
}

fn markdown(args: &LengthArgs, renders: &[RenderFigures], chunk_figures: &[ChunkFigures]) -> String {
    let mut text = format!("{}. Pages of 640x360, quality draft.\n", report::machine());
    if !renders.is_empty() {
        let _ = write!(
            text,
            "\nWhole renders at {} frames a second:\n\n| minutes | frames | chunks | ms a frame | CPU ms a frame | peak MB | join s |\n\
             | ---: | ---: | ---: | ---: | ---: | ---: | ---: |\n",
            args.fps
        );
        for whole in renders {
            let each = |seconds: f64| seconds * 1000.0 / whole.frames as f64;
            let _ = writeln!(
                text,
                "| {} | {} | {} | {:.1} | {:.1} | {} | {:.2} |",
                whole.minutes,
                whole.frames,
                whole.chunks,
                each(whole.usage.wall_s),
                each(whole.usage.cpu_s),
                whole.usage.peak_bytes / 1_000_000,
                whole.join_ms / 1000.0
            );
        }
    }
    if !chunk_figures.is_empty() {
        let _ = write!(
            text,
            "\nChunks of {} frames at {RATE} frames a second, one after another in one slot:\n\n\
             | minutes | first frame | start s | ms a frame | seek | draw |\n| ---: | ---: | ---: | ---: | ---: | ---: |\n",
            args.frames
        );
        for piece in chunk_figures {
            let _ = writeln!(
                text,
                "| {} | {} | {:.2} | {:.1} | {:.1} | {:.1} |",
                piece.minutes,
                piece.first,
                piece.start_ms / 1000.0,
                piece.frame_ms,
                piece.seek_ms,
                piece.draw_ms
            );
        }
    }
    text
}

fn render(args: &LengthArgs, project: &Path, work: &Path, minutes: u64) -> anyhow::Result<RenderFigures> {
    let (video, manifest) = (work.join("out.mp4"), work.join("manifest.json"));
    let mut command = Command::new("timeout");
    command.args(["--kill-after=10", &args.limit.to_string()]).arg(compare::binary(args.hyperfarm.as_deref())?);
    command.arg("render").arg(project).arg("-o").arg(&video).args(["--fps", &args.fps.to_string()]);
    command.args(["--quality", "draft", "--json"]).arg("--manifest").arg(&manifest);
    let usage = Meter::new().run(&command, &work.join("render.log"))?;
    let manifest: Manifest = serde_json::from_slice(&std::fs::read(&manifest)?)?;
    let (frames, join_ms) = (manifest.output.frames, manifest.output.stitch_ms);
    Ok(RenderFigures { minutes, frames, chunks: manifest.segments.len(), usage, join_ms })
}

async fn chunks(args: &LengthArgs, project: &Path, minutes: u64) -> anyhow::Result<Vec<ChunkFigures>> {
    let stages = Stages::start(Duration::from_secs(args.limit)).await?;
    let spec = RenderSpec {
        fps: Some(format!("{RATE}").parse().context("a rate")?),
        quality: Quality::Draft,
        ..RenderSpec::default()
    };
    let draft = stages.plan(&format!("length-{minutes}"), project, spec).await?;
    let (all, count) = (draft.content.frames, args.frames.min(draft.content.frames));
    let firsts = [0, (all - count) / 2, all - count];
    let ranges = firsts.iter().map(|first| FrameRange::new(*first, first + count)).collect::<Result<Vec<_>, _>>()?;
    let plan = stages.store_plan(draft, ranges).await?;
    let mut chunk_figures = Vec::new();
    // Rendered once without measuring, because the first chunk starts the browser.
    stages.chunk(&plan.render, 0).await?;
    for (number, first) in firsts.into_iter().enumerate() {
        let record = stages.chunk(&plan.render, number as u32).await?;
        let (timings, frames) = (record.timings, count as f64);
        chunk_figures.push(ChunkFigures {
            minutes,
            first,
            frames: count,
            start_ms: timings.start_ms,
            frame_ms: timings.capture_ms / frames,
            seek_ms: timings.seek_ms / frames,
            draw_ms: timings.draw_ms / frames,
        });
    }
    stages.stop().await;
    Ok(chunk_figures)
}

/// Writes a project of 640x360 pixels, `minutes` long: a card every three seconds, a bar and a clock.
fn write_project(folder: &Path, minutes: u64) -> anyhow::Result<()> {
    std::fs::create_dir_all(folder.join("lib"))?;
    let gsap = repository().join("worker/browser/node_modules/gsap/dist/gsap.min.js");
    std::fs::copy(&gsap, folder.join("lib/gsap.min.js")).with_context(|| format!("copying {}", gsap.display()))?;
    let page = PAGE.replace("SECONDS", &(minutes * 60).to_string());
    std::fs::write(folder.join("index.html"), page).context("writing a page")
}

const PAGE: &str = r##"<!doctype html>
<html lang="en"><head><meta charset="utf-8" /><script src="lib/gsap.min.js"></script><style>
html, body { margin: 0; width: 640px; height: 360px; overflow: hidden; background: #faf7f2; }
#root { position: relative; width: 640px; height: 360px; overflow: hidden; font-family: Inter, sans-serif; color: #1b2a49; }
.card { position: absolute; left: 80px; top: 70px; width: 420px; height: 150px; padding: 30px; border-radius: 14px; visibility: hidden; font-size: 40px; background: #ffe3d8; }
#clock { position: absolute; right: 40px; top: 20px; font-size: 24px; }
#bar { position: absolute; left: 80px; top: 310px; width: 480px; height: 8px; background: #d7263d; transform-origin: 0 50%; }
</style></head><body>
<div id="root" data-composition-id="main" data-width="640" data-height="360" data-start="0" data-duration="SECONDS">
<div id="cards"></div><div id="clock">0</div><div id="bar"></div></div>
<script>
window.__timelines = window.__timelines || {};
const tl = gsap.timeline({ paused: true });
const cards = document.getElementById("cards");
for (let i = 0; i * 3 < SECONDS; i++) {
  const card = document.createElement("div");
  card.className = "card";
  card.textContent = "Part " + (i + 1);
  cards.append(card);
  tl.set(card, { visibility: "visible" }, i * 3);
  tl.fromTo(card, { x: 60, opacity: 0 }, { x: 0, opacity: 1, duration: 0.6, ease: "power3.out" }, i * 3);
  tl.to(card, { x: -60, opacity: 0, duration: 0.4, ease: "power2.in" }, i * 3 + 2.6);
  tl.set(card, { visibility: "hidden" }, i * 3 + 3);
}
const state = { value: 0 }, clock = document.getElementById("clock");
tl.to(state, { value: SECONDS, duration: SECONDS, ease: "none", onUpdate() { clock.textContent = Math.floor(state.value) + " s"; } }, 0);
tl.fromTo("#bar", { scaleX: 0 }, { scaleX: 1, duration: SECONDS, ease: "none" }, 0);
window.__timelines["main"] = tl;
</script></body></html>
"##;
