//! A plan to start from: a small page without files, of any format and length.

use std::collections::BTreeMap;

use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::{ContentHash, Pool};
use hyperfarm_proto::plan::{
    AudioItem, CaptureClass, CaptureKind, EncoderSettings, MediaTiming, Plan, PlanContent, RuntimeVersion,
};
use hyperfarm_proto::spec::{Format, Quality, Size, Viewport};

/// A capture class of no real machine.
pub fn class() -> CaptureClass {
    CaptureClass {
        chrome: "1".to_owned(),
        ffmpeg: "1".to_owned(),
        runtime: "1".to_owned(),
        farm: "1".to_owned(),
        kind: CaptureKind::Cpu,
        device: String::new(),
        encoder: String::new(),
        fonts: ContentHash::of(b""),
        label: String::new(),
    }
}

/// A page of 64x48 pixels without files, `frames` frames long, at draft quality. With `audio` it has one looped sound.
pub fn content(format: Format, frame_rate: FrameRate, frames: u64, audio: bool) -> PlanContent {
    let timing = MediaTiming { start: 0.0, end: 1e9, media_start: 0.0, rate: 1.0, looped: true };
    PlanContent {
        files: Vec::new(),
        remote: Vec::new(),
        entry: "index.html".to_owned(),
        viewport: Viewport { page: Size { width: 64, height: 48 }, scale: 1 },
        frame_rate,
        shutter: None,
        first_frame: 0,
        frames,
        composition_frames: frames,
        variables: "{}".to_owned(),
        epoch_ms: 0,
        load_steps: 0,
        unregistered_timelines: Vec::new(),
        videos: Vec::new(),
        audio: if audio { vec![AudioItem::plain("a", "a.wav", timing, Vec::new())] } else { Vec::new() },
        buses: Default::default(),
        captions: Vec::new(),
        encoder: EncoderSettings::of(format, Quality::Draft, frame_rate),
        runtime: RuntimeVersion { version: "0.8".to_owned(), hash: ContentHash::of(b"runtime") },
        class: class(),
    }
}

/// Render `r1` of such a page, in chunks of these lengths in frames.
///
/// # Panics
/// Panics if a chunk has no frames.
pub fn plan(format: Format, frame_rate: FrameRate, chunk_lengths: &[u64], audio: bool) -> Plan {
    let (mut chunks, mut frames) = (Vec::new(), 0);
    for length in chunk_lengths {
        chunks.push(FrameRange::new(frames, frames + length).expect("a chunk has frames"));
        frames += length;
    }
    let content = content(format, frame_rate, frames, audio);
    let (render, pool) = ("r1".parse().expect("r1 is an id"), Pool::default());
    Plan { render, pool, content, frame_cost_ms: 1.0, chunks, starts: BTreeMap::new(), warnings: Vec::new() }
}
