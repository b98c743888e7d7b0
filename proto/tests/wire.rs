//! The wire format: golden bytes, so that a change of it is noticed, and arbitrary bytes, which must never panic.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode};
use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::{ContentHash, FrameHash, Pool, RenderId};
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::plan::{
    AudioItem, Buses, CaptureClass, CaptureKind, CompiledFile, EncoderSettings, GainPoint, MediaTiming, Plan,
    PlanContent, PlanDraft, RemoteAsset, RuntimeVersion, VideoHeaders, VideoItem, Warning,
};
use hyperfarm_proto::record::{CapturePath, ChunkTimings, SegmentRecord};
use hyperfarm_proto::spec::{Format, Quality, Size, Viewport};
use hyperfarm_proto::task::{Step, TaskId, TaskMessage};
use hyperfarm_proto::wire::{self, Wire, WireError};
use proptest::prelude::*;

fn render() -> RenderId {
    "r1".parse().unwrap()
}

fn plan() -> Plan {
    let frame_rate = FrameRate::new(30_000, 1001).unwrap();
    let timing = MediaTiming { start: 0.5, end: 2.0, media_start: 0.0, rate: 1.0, looped: true };
    Plan {
        render: render(),
        pool: Pool::default(),
        content: PlanContent {
            files: vec![CompiledFile { path: "index.html".to_owned(), hash: ContentHash::of(b"x"), bytes: 1 }],
            remote: vec![RemoteAsset {
                url: "https://a.test/b.js".to_owned(),
                path: None,
                reason: Some("r".to_owned()),
            }],
            entry: "index.html".to_owned(),
            viewport: Viewport { page: Size { width: 1920, height: 1080 }, scale: 2 },
            frame_rate,
            shutter: None,
            first_frame: 0,
            frames: 60,
            composition_frames: 60,
            variables: "{}".to_owned(),
            epoch_ms: 0,
            load_steps: 0,
            unregistered_timelines: Vec::new(),
            videos: vec![VideoItem {
                id: "v".to_owned(),
                path: "v.mp4".to_owned(),
                timing: timing.clone(),
                scripted: false,
                headers: VideoHeaders {
                    time_base: (1, 15_360),
                    origin: 0,
                    duration: Some(2.0),
                    has_variable_rate: false,
                    display: Size { width: 64, height: 36 },
                    has_alpha: false,
                    hdr: None,
                },
            }],
            audio: vec![AudioItem::plain("a", "a.mp3", timing, vec![GainPoint { time: 0.0, gain: 0.5 }])],
            buses: Buses::default(),
            captions: Vec::new(),
            encoder: EncoderSettings::of(Format::Mp4, Quality::Standard, frame_rate),
            runtime: RuntimeVersion { version: "0.8".to_owned(), hash: ContentHash::of(b"r") },
            class: CaptureClass {
                chrome: "156".to_owned(),
                ffmpeg: "59".to_owned(),
                runtime: "0.8".to_owned(),
                farm: "0.1".to_owned(),
                kind: CaptureKind::Cpu,
                device: String::new(),
                encoder: String::new(),
                fonts: ContentHash::of(b""),
                label: String::new(),
            },
        },
        frame_cost_ms: 30.0,
        chunks: vec![FrameRange::new(0, 30).unwrap(), FrameRange::new(30, 60).unwrap()],
        starts: BTreeMap::from([(1, ChunkStart { visits_all: true, draws_from: Some(0) })]),
        warnings: vec![Warning { code: "W".to_owned(), message: "m".to_owned() }],
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[test]
fn golden_task_message() {
    let message =
        TaskMessage { task: TaskId { render: render(), step: Step::Chunk(258) }, pool: "cpu".parse().unwrap() };
    let bytes = wire::encode(&message).unwrap();
    assert_eq!(
        hex(&bytes),
        concat!(
            "01", // wire version
            "0200000000000000",
            "7231", // render "r1"
            "02000000",
            "02010000", // step: chunk 258
            "0300000000000000",
            "637075", // pool "cpu"
        )
    );
    assert_eq!(wire::decode::<TaskMessage>(&bytes).unwrap(), message);
}

#[test]
fn golden_event() {
    let event = Event { task: TaskId { render: render(), step: Step::Stitch }, kind: EventKind::Failed };
    let bytes = wire::encode(&event).unwrap();
    assert_eq!(hex(&bytes), "0102000000000000007231".to_owned() + "03000000" + "01000000");
    assert_eq!(wire::decode::<Event>(&bytes).unwrap(), event);
}

#[test]
fn golden_plan_and_failure() {
    // The whole plan is long, so its golden value is a hash: of the encoded bytes, and of the content alone.
    let plan = plan();
    let bytes = wire::encode(&plan).unwrap();
    assert_eq!(wire::decode::<Plan>(&bytes).unwrap(), plan);
    assert_eq!(ContentHash::of(&bytes).short(), GOLDEN_PLAN, "the plan's wire format changed: raise its Wire::VERSION");
    assert_eq!(plan.content.hash().unwrap().short(), GOLDEN_CONTENT, "the content's wire format changed");

    let failed =
        FailedAttempt { attempt: 2, worker: "w".to_owned(), failure: Failure::new(FailureCode::ProjectInvalid, "x") };
    let bytes = wire::encode(&failed).unwrap();
    assert_eq!(hex(&bytes), "01020000000100000000000000770000000001000000000000007".to_owned() + "8");
    assert_eq!(wire::decode::<FailedAttempt>(&bytes).unwrap(), failed);
}

const GOLDEN_PLAN: &str = "3bdf87f15a2f";
const GOLDEN_CONTENT: &str = "ee932b285518";

#[test]
fn segment_records_survive_json() {
    let record = SegmentRecord {
        plan: None,
        chunk: 1,
        attempt: 2,
        frames: FrameRange::new(3, 5).unwrap(),
        key: "k".to_owned(),
        hash: ContentHash::of(b"s"),
        bytes: 9,
        start: ChunkStart::default(),
        after: None,
        frame_hashes: vec![FrameHash::from_u128(1), FrameHash::from_u128(u128::MAX)],
        path: CapturePath::Png,
        worker: "w".to_owned(),
        timings: ChunkTimings::default(),
        thumbnail: None,
        light: None,
        warnings: Vec::new(),
    };
    let json = serde_json::to_string(&record).unwrap();
    assert_eq!(serde_json::from_str::<SegmentRecord>(&json).unwrap(), record);
}

#[test]
fn refusals_say_why() {
    assert!(matches!(wire::decode::<Event>(&[]), Err(WireError::Empty)));
    let newer = wire::decode::<Event>(&[9, 0, 0]).unwrap_err();
    assert!(newer.to_string().contains("version 9"), "{newer}");
    let mut bytes = wire::encode(&plan()).unwrap();
    bytes.push(0);
    assert!(matches!(wire::decode::<Plan>(&bytes), Err(WireError::Trailing(1))));
    // A length of 2^60 must be refused, not allocated: the first field is a text.
    let mut huge = vec![Event::VERSION];
    huge.extend_from_slice(&(1u64 << 60).to_le_bytes());
    assert!(matches!(wire::decode::<Event>(&huge), Err(WireError::Decode(_))));
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(mut bytes in proptest::collection::vec(any::<u8>(), 0..512), version in any::<bool>()) {
        if version && !bytes.is_empty() {
            bytes[0] = [Event::VERSION, Plan::VERSION][usize::from(bytes.len() % 2 == 0)];
        }
        let _ = wire::decode::<TaskMessage>(&bytes);
        let _ = wire::decode::<Event>(&bytes);
        let _ = wire::decode::<Plan>(&bytes);
        let _ = wire::decode::<PlanDraft>(&bytes);
        let _ = wire::decode::<FailedAttempt>(&bytes);
    }

    #[test]
    fn damaged_plans_never_panic(position in 0usize..1024, value in any::<u8>(), cut in 0usize..1024) {
        let mut bytes = wire::encode(&plan()).unwrap();
        let length = bytes.len();
        bytes[position % length] = value;
        let _ = wire::decode::<Plan>(&bytes);
        bytes.truncate(cut % length);
        prop_assert!(wire::decode::<Plan>(&bytes).is_err());
    }
}
