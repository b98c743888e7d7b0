//! What the unit tests of this crate share.

use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::{ContentHash, Pool};
use hyperfarm_proto::plan::{AudioItem, CaptureClass, CaptureKind, EncoderSettings, MediaTiming, Plan, PlanContent};
use hyperfarm_proto::spec::{Format, Quality, Size, Viewport};

/// A plan with chunks of these lengths.
pub(crate) fn plan(lengths: &[u64], audio: bool) -> Plan {
    let mut chunks = Vec::new();
    let mut frames = 0;
    for length in lengths {
        chunks.push(FrameRange::new(frames, frames + length).unwrap());
        frames += length;
    }
    let frame_rate = FrameRate::DEFAULT;
    let timing = MediaTiming { start: 0.0, end: 1.0, media_start: 0.0, rate: 1.0, looped: false };
    let item = AudioItem::plain("a", "a.mp3", timing, Vec::new());
    let content = PlanContent {
        files: Vec::new(),
        remote: Vec::new(),
        entry: "index.html".to_owned(),
        viewport: Viewport { page: Size { width: 320, height: 180 }, scale: 1 },
        frame_rate,
        frames,
        variables: "{}".to_owned(),
        epoch_ms: 0,
        load_steps: 0,
        unregistered_timelines: Vec::new(),
        videos: Vec::new(),
        audio: if audio { vec![item] } else { Vec::new() },
        buses: Default::default(),
        encoder: EncoderSettings::of(Format::Mp4, Quality::Draft, frame_rate),
        class: CaptureClass {
            chrome: "1".to_owned(),
            ffmpeg: "1".to_owned(),
            runtime: "1".to_owned(),
            farm: "1".to_owned(),
            kind: CaptureKind::Cpu,
            device: String::new(),
            encoder: String::new(),
            fonts: ContentHash::of(b""),
            label: String::new(),
        },
    };
    let render = "r1".parse().unwrap();
    Plan { render, pool: Pool::default(), content, frame_cost_ms: 10.0, chunks, warnings: Vec::new() }
}
