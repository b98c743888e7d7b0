//! `bench capture`: frames a second that are sought, drawn and read without an encoder, and the same walk without
//! reading.

use std::collections::BTreeSet;
use std::io::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::bail;
use hyperfarm_proto::frame::FrameRange;
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::plan::PlanDraft;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_worker::Slot;
use hyperfarm_worker::capture::{FrameGrabber, Next};
use hyperfarm_worker::chrome::FrameKind;
use hyperfarm_worker::host::{ExpectedTimelines, OpenOptions, VideoPicture};
use hyperfarm_worker::server::Site;
use serde::Serialize;

use crate::stages::{self, Stages};
use crate::{compare, compositions, pages, report};

/// `bench capture`.
#[derive(Debug, clap::Args)]
pub(crate) struct CaptureArgs {
    /// Compositions without videos.
    #[arg(default_value = "light")]
    names: Vec<String>,
    /// Walks of each kind; the quickest counts.
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Frames of a walk at most.
    #[arg(long, default_value_t = 300)]
    frames: u64,
    /// Write the figures into docs/performance.md.
    #[arg(long)]
    publish: bool,
}

/// Figures of a composition: the quickest walk of each kind.
#[derive(Debug, Serialize)]
struct CaptureFigures {
    name: String,
    frames: u64,
    /// The path by which frames were read.
    path: CapturePath,
    /// Frames a second of seek and begin-frame alone.
    floor_fps: f64,
    /// Frames a second of seek, begin-frame and reading the pixels; with screenshots the PNG file, not decoded.
    capture_fps: f64,
    /// Frames a second by screenshots, where the framebuffer is read by default.
    screenshots_fps: Option<f64>,
    /// Milliseconds a frame of the capture's walk.
    seek_ms: f64,
    draw_ms: f64,
    read_ms: f64,
}

/// What a walk reads of each frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Walk {
    Floor,
    Capture,
    Screenshots,
}

/// Measures the chosen compositions and prints the figures.
///
/// # Errors
/// A composition is unknown or has videos, or a walk fails.
pub(crate) fn run(args: &CaptureArgs) -> anyhow::Result<()> {
    let chosen = compositions::chosen(&args.names)?;
    let work = compare::work()?;
    let mut out = std::io::stdout();
    writeln!(out, "{}\n", report::machine())?;
    let mut text = format!("{}. The quickest of {} walks of each kind.\n\n", report::machine(), args.rounds);
    text.push_str("| composition | frames | way | floor frames/s | capture frames/s | share of the floor | seek | draw | read ms |\n");
    text.push_str("| --- | ---: | --- | ---: | ---: | ---: | ---: | ---: | ---: |\n");
    let mut all = Vec::new();
    for composition in &chosen {
        let project = work.join(&composition.name).join("capture");
        composition.stage(&project, &work.join("media"))?;
        let runtime = tokio::runtime::Runtime::new()?;
        let found = runtime.block_on(measure(&composition.name, &project, args))?;
        let way = match found.path {
            CapturePath::Png => "screenshots",
            CapturePath::Framebuffer => "framebuffer",
        };
        let share = found.capture_fps / found.floor_fps;
        writeln!(
            out,
            "{:<14} {:>4} frames by {way}: floor {:.1} frames/s, capture {:.1} frames/s ({:.0} % of the floor){}; seek {:.2}, draw {:.2}, \
             read {:.2} ms",
            found.name,
            found.frames,
            found.floor_fps,
            found.capture_fps,
            share * 100.0,
            found.screenshots_fps.map_or_else(String::new, |fps| format!(", screenshots {fps:.1} frames/s")),
            found.seek_ms,
            found.draw_ms,
            found.read_ms
        )?;
        text.push_str(&format!(
            "| {} | {} | {way} | {:.1} | {:.1} | {:.0} % | {:.2} | {:.2} | {:.2} |\n",
            found.name,
            found.frames,
            found.floor_fps,
            found.capture_fps,
            share * 100.0,
            found.seek_ms,
            found.draw_ms,
            found.read_ms
        ));
        all.push(found);
    }
    std::fs::write(work.join("capture.json"), serde_json::to_vec_pretty(&all)?)?;
    if args.publish {
        pages::replace("capture", &text)?;
    }
    Ok(())
}

async fn measure(name: &str, project: &std::path::Path, args: &CaptureArgs) -> anyhow::Result<CaptureFigures> {
    let stages = Stages::start(Duration::from_secs(120)).await?;
    let draft = stages.plan(&format!("capture-{name}"), project, RenderSpec::default()).await?;
    if !draft.content.videos.is_empty() {
        bail!("{name} has videos; their pictures are decoded beside the walk, which is no part of this measurement");
    }
    let site = stages.site(&draft).await?;
    let mut slot = Slot::new(stages::chrome()?.with_gpu().await?).await?;
    let range = FrameRange::new(0, draft.content.frames.min(args.frames))?;
    let frames = range.count() as f64;
    let mut best: [Option<WalkTimes>; 3] = [None, None, None];
    let mut kinds = vec![Walk::Floor, Walk::Capture, Walk::Screenshots];
    for _ in 0..args.rounds.max(1) {
        for kind in kinds.clone() {
            let walked = walk(&mut slot, &draft, site.clone(), range, kind).await?;
            // Without the framebuffer both kinds are the same walk.
            if kind == Walk::Capture && walked.path == CapturePath::Png {
                kinds.retain(|kind| *kind != Walk::Screenshots);
            }
            let quickest = &mut best[kind as usize];
            if quickest.as_ref().is_none_or(|best| walked.took < best.took) {
                *quickest = Some(walked);
            }
        }
    }
    slot.close().await;
    stages.stop().await;
    let [Some(floor), Some(capture), screenshots] = best else { bail!("no walk came to its end") };
    let ms = |duration: Duration| duration.as_secs_f64() * 1000.0 / frames;
    Ok(CaptureFigures {
        name: name.to_owned(),
        frames: range.count(),
        path: capture.path,
        floor_fps: frames / floor.took.as_secs_f64(),
        capture_fps: frames / capture.took.as_secs_f64(),
        screenshots_fps: screenshots.map(|walked| frames / walked.took.as_secs_f64()),
        seek_ms: ms(capture.seek),
        draw_ms: ms(capture.draw),
        read_ms: ms(capture.read),
    })
}

/// Times of one walk.
struct WalkTimes {
    took: Duration,
    path: CapturePath,
    seek: Duration,
    draw: Duration,
    read: Duration,
}

/// Walks over `range` from a fresh navigation, as a chunk is captured.
async fn walk(
    slot: &mut Slot,
    draft: &PlanDraft,
    site: Arc<Site>,
    range: FrameRange,
    kind: Walk,
) -> anyhow::Result<WalkTimes> {
    let content = &draft.content;
    let alpha = content.encoder.alpha;
    let options = OpenOptions {
        entry: content.entry.clone(),
        frame_rate: content.frame_rate,
        variables: content.variables.clone(),
        transparent: alpha,
        timelines: ExpectedTimelines { any: true, except: content.unregistered_timelines.clone() },
        shutter: None,
        seed: 0,
        epoch_ms: 0,
        load_steps: Some(0),
        videos: Vec::new(),
    };
    let mut host = slot.open(site, content.viewport, &options).await?;
    let mut grabber = match kind {
        Walk::Screenshots => FrameGrabber::of_screenshots(alpha),
        Walk::Floor | Walk::Capture => FrameGrabber::new(&host, alpha),
    };
    let pictures = |_: u64| Vec::<VideoPicture>::new();
    grabber.start_up(&mut host, range, ChunkStart::default(), &BTreeSet::new(), &pictures, &|| true).await?;
    let at = |frame: u64| Next { frame, pictures: Vec::new(), layers: Vec::new() };
    let started = Instant::now();
    let mut taken = None;
    if kind == Walk::Floor {
        for frame in range.frames() {
            host.seek(frame, &[]).await?;
            host.draw(FrameKind::Draw).await?;
        }
    } else {
        grabber.seek(&mut host, &at(range.start())).await?;
        for frame in range.frames() {
            let next = (frame + 1 < range.end()).then(|| at(frame + 1));
            // A frame is kept until the next one is read, as an encoder does.
            taken = Some(grabber.grab(&mut host, next.as_ref()).await?);
        }
    }
    let took = started.elapsed();
    drop(taken);
    let times = grabber.times();
    Ok(WalkTimes { took, path: grabber.path(), seek: times.seek, draw: times.draw, read: times.read })
}
