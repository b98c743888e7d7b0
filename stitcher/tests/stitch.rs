//! Stitches over the in-process backplane, with real segments from the farm's own encoder.
#![allow(missing_docs, clippy::unwrap_used)]

use std::path::Path;
use std::time::Duration;

use bytes::Bytes;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::ledger::{Claim, Lease};
use hyperfarm_backplane::objects::Objects;
use hyperfarm_backplane::runner::{TaskContext, TaskHandler};
use hyperfarm_media::{Bitmap, MixInput, MixPart, PixelLayout, SAMPLE_RATE, SegmentEncoder, count_packets, mix};
use hyperfarm_proto::event::{Event, EventKind};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, Pool};
use hyperfarm_proto::plan::{Plan, Warning};
use hyperfarm_proto::record::{AudioRecord, Manifest, OutputRecord, SegmentRecord};
use hyperfarm_proto::spec::{Format, Size};
use hyperfarm_proto::task::{Queue, Step, TaskId, TaskMessage};
use hyperfarm_proto::{keys, wire};
use hyperfarm_stitcher::{StitchHandler, Stitcher, StitcherConfig};
use hyperfarm_testing::segment_record;
use tempfile::TempDir;

const SIZE: Size = Size { width: 64, height: 48 };

struct Scene {
    backplane: Backplane,
    plan: Plan,
    dir: TempDir,
}

impl Scene {
    /// A render whose chunks, of these lengths, and sound are committed.
    async fn new(format: Format, rate: FrameRate, lengths: &[u64], audio: bool) -> Self {
        let backplane = Backplane::ephemeral(Objects::memory());
        let plan = hyperfarm_testing::plan(format, rate, lengths, audio);
        let scene = Self { backplane, plan, dir: tempfile::tempdir().unwrap() };
        scene.backplane.objects.put_wire(&keys::plan(&scene.plan.render), &scene.plan).await.unwrap();
        scene.backplane.ledger.open(&scene.plan.render).await.unwrap();
        for chunk in 0..scene.plan.chunks.len() as u32 {
            let record = scene.store_segment(chunk, 1).await;
            scene.commit(Step::Chunk(chunk), &serde_json::to_vec(&record).unwrap()).await;
        }
        if audio {
            scene.store_audio().await;
        }
        scene
    }

    fn task(&self, step: Step) -> TaskId {
        TaskId { render: self.plan.render.clone(), step }
    }

    async fn commit(&self, step: Step, result: &[u8]) {
        let worker = "w1".parse().unwrap();
        let claim = self.backplane.ledger.claim(&self.task(step), &worker, Duration::from_secs(60)).await.unwrap();
        let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
        self.backplane.ledger.commit(&lease, result).await.unwrap();
    }

    async fn store_segment(&self, chunk: u32, attempt: u32) -> SegmentRecord {
        let content = &self.plan.content;
        let frames = self.plan.chunk(chunk).unwrap();
        let path = self.dir.path().join("segment");
        let mut encoder = SegmentEncoder::create(&path, &content.encoder, SIZE, content.frame_rate).unwrap();
        for frame in frames.frames() {
            let pixel = [(frame * 7 % 256) as u8, (frame * 13 % 256) as u8, 128, 255];
            let data: Vec<u8> = pixel.repeat((SIZE.width * SIZE.height) as usize);
            let bitmap = Bitmap { data: &data, stride: SIZE.width as usize * 4, size: SIZE, layout: PixelLayout::Bgra };
            encoder.push(&bitmap).unwrap();
        }
        encoder.finish().unwrap();
        let bytes = std::fs::read(&path).unwrap();
        let warnings =
            vec![warning("SCRIPT_EXCEPTION", "in each"), warning("CLOCK_NOT_HELD", &format!("in chunk {chunk}"))];
        let record = SegmentRecord { plan: None, warnings, ..segment_record(&self.plan, chunk, attempt, "w1", &bytes) };
        self.backplane.objects.put_json(&keys::segment_record(&record.key), &record).await.unwrap();
        self.backplane.objects.put(&record.key, bytes.into()).await.unwrap();
        record
    }

    async fn store_audio(&self) {
        let content = &self.plan.content;
        let (source, mixed) = (self.dir.path().join("a.wav"), self.dir.path().join("mixed"));
        std::fs::write(&source, tone()).unwrap();
        let inputs = [MixInput { item: &content.audio[0], path: &source, rendered: false }];
        let format = content.encoder.format;
        let summary = mix(None, &inputs, &MixPart::of(content), format, &mixed, &mut |_| true).unwrap();
        let bytes = std::fs::read(&mixed).unwrap();
        let key = keys::audio(&self.plan.render, format);
        let record = AudioRecord {
            plan: None,
            key: key.clone(),
            hash: ContentHash::of(&bytes),
            wav: None,
            samples: summary.samples,
            sample_rate: summary.sample_rate,
            begun_at_ms: 0.0,
            mix_ms: 1.0,
        };
        self.backplane.objects.put(&key, bytes.into()).await.unwrap();
        self.backplane.objects.put_json(&keys::audio_record(&self.plan.render), &record).await.unwrap();
        self.commit(Step::Audio, &serde_json::to_vec(&record).unwrap()).await;
    }

    fn config(&self) -> StitcherConfig {
        StitcherConfig::new("s1".parse().unwrap(), self.dir.path().join("work"))
    }

    /// One stitch, without a runner.
    async fn stitch(&self) -> Result<OutputRecord, Failure> {
        let handler = StitchHandler::new(self.backplane.clone(), self.config());
        let lease = Lease { task: self.task(Step::Stitch), attempt: 1, worker: "s1".parse().unwrap(), grant: None };
        let result = handler.handle(&lease, &TaskContext::new(0, self.backplane.objects.clone())).await;
        assert!(is_empty(&self.dir.path().join("work")).await, "nothing is left on disk");
        Ok(serde_json::from_slice(&result?).unwrap())
    }

    async fn output(&self, record: &OutputRecord) -> Bytes {
        self.backplane.objects.get(&record.key).await.unwrap()
    }
}

/// Whether nothing is in `dir`, or soon: a write that was stopped half way is outlived.
async fn is_empty(dir: &Path) -> bool {
    for _ in 0..200 {
        if std::fs::read_dir(dir).map_or(0, Iterator::count) == 0 {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    false
}

fn warning(code: &str, message: &str) -> Warning {
    Warning { code: code.to_owned(), message: message.to_owned() }
}

/// Half a second of a tone, as a WAV file.
fn tone() -> Vec<u8> {
    let samples = SAMPLE_RATE / 2;
    let mut wav = Vec::new();
    wav.extend(b"RIFF");
    wav.extend((36 + samples * 2).to_le_bytes());
    wav.extend(b"WAVEfmt ");
    wav.extend(16u32.to_le_bytes());
    wav.extend([1, 0, 1, 0]);
    wav.extend(SAMPLE_RATE.to_le_bytes());
    wav.extend((SAMPLE_RATE * 2).to_le_bytes());
    wav.extend([2, 0, 16, 0]);
    wav.extend(b"data");
    wav.extend((samples * 2).to_le_bytes());
    for sample in 0..samples {
        let level = (f64::from(sample) * 440.0 * std::f64::consts::TAU / f64::from(SAMPLE_RATE)).sin();
        wav.extend(((level * 8000.0) as i16).to_le_bytes());
    }
    wav
}

fn rate(num: u32, den: u32) -> FrameRate {
    FrameRate::new(num, den).unwrap()
}

#[tokio::test]
async fn every_format_and_rate_is_joined_and_verified() {
    for format in [Format::Mp4, Format::Webm, Format::Mov] {
        for (rate, lengths) in
            [(rate(30, 1), vec![10, 12, 7]), (rate(30_000, 1001), vec![31, 30]), (rate(24, 1), vec![1])]
        {
            for audio in [true, false] {
                let scene = Scene::new(format, rate, &lengths, audio).await;
                let record =
                    scene.stitch().await.unwrap_or_else(|failure| panic!("{format} {rate} {audio}: {failure}"));
                let bytes = scene.output(&record).await;
                assert_eq!((record.hash, record.bytes), (ContentHash::of(&bytes), bytes.len() as u64));
                let file = scene.dir.path().join("output");
                std::fs::write(&file, &bytes).unwrap();
                let found = count_packets(&file).unwrap();
                assert_eq!(found.video, lengths.iter().sum::<u64>());
                assert_eq!(found.audio > 0, audio);
                let thumbnail = scene.backplane.objects.get(&record.thumbnail).await.unwrap();
                assert_eq!(&thumbnail[..2], [0xff, 0xd8], "a JPEG");
                let manifest: Manifest =
                    scene.backplane.objects.get_json(&keys::manifest(&scene.plan.render)).await.unwrap();
                assert_eq!((manifest.output, manifest.segments.len()), (record, lengths.len()));
                assert_eq!(manifest.audio.is_some(), audio);
            }
        }
    }
}

#[tokio::test]
async fn warnings_of_chunks_are_the_renders() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[2, 2, 2], false).await;
    scene.stitch().await.unwrap();
    let manifest: Manifest = scene.backplane.objects.get_json(&keys::manifest(&scene.plan.render)).await.unwrap();
    let of_chunks = [
        warning("SCRIPT_EXCEPTION", "in each"),
        warning("CLOCK_NOT_HELD", "in chunk 0"),
        warning("CLOCK_NOT_HELD", "in chunk 1"),
        warning("CLOCK_NOT_HELD", "in chunk 2"),
    ];
    assert_eq!(manifest.warnings, [scene.plan.warnings.as_slice(), &of_chunks].concat());
}

#[tokio::test]
async fn gifs_and_sequences_are_made_of_lossless_segments() {
    for (format, audio) in [(Format::Gif, false), (Format::PngSequence, true)] {
        let scene = Scene::new(format, rate(30, 1), &[3, 1, 2], audio).await;
        let record = scene.stitch().await.unwrap();
        assert_eq!((record.frames, record.has_audio, record.format), (6, audio, format));
        let bytes = scene.output(&record).await;
        let again = scene.stitch().await.unwrap();
        assert_eq!(record.hash, again.hash, "{format}");
        if format == Format::Gif {
            assert!(bytes.starts_with(b"GIF89a") && record.key.ends_with("output.gif"));
            continue;
        }
        let mut archive = zip::ZipArchive::new(std::io::Cursor::new(bytes)).unwrap();
        assert_eq!(archive.len(), 7);
        let mut png = Vec::new();
        std::io::Read::read_to_end(&mut archive.by_name("frame_000006.png").unwrap(), &mut png).unwrap();
        assert!(png.starts_with(b"\x89PNG"));
        assert!(archive.by_name("audio.m4a").unwrap().size() > 500);
        let still = scene.backplane.objects.get(&record.thumbnail).await.unwrap();
        assert!(still.starts_with(&[0xff, 0xd8]));
    }
}

#[tokio::test]
async fn a_second_attempt_writes_the_same_bytes() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], true).await;
    let first = scene.stitch().await.unwrap();
    let second = scene.stitch().await.unwrap();
    assert_eq!(first.hash, second.hash);
}

#[tokio::test]
async fn an_emptied_ledger_is_no_obstacle() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], true).await;
    let before = scene.stitch().await.unwrap();
    scene.backplane.ledger.forget(&scene.plan.render).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap().hash, before.hash);
}

#[tokio::test]
async fn a_damaged_segment_is_replaced_by_another_attempts() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], false).await;
    let before = scene.stitch().await.unwrap();
    let first = scene.store_segment(1, 1).await;
    scene.store_segment(1, 2).await;
    scene.backplane.objects.put(&first.key, Bytes::from_static(b"damaged")).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap().hash, before.hash);
    scene.backplane.objects.delete(&first.key).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap().hash, before.hash);
}

#[tokio::test]
async fn what_is_missing_or_wrong_is_refused_with_its_code_and_leaves_no_manifest() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], true).await;
    let objects = &scene.backplane.objects;
    let manifest = keys::manifest(&scene.plan.render);

    let audio = keys::audio(&scene.plan.render, Format::Mp4);
    let sound = objects.get(&audio).await.unwrap();
    objects.put(&audio, Bytes::from_static(b"noise")).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap_err().code, FailureCode::VerifyFailed);
    objects.delete(&audio).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap_err().code, FailureCode::ObjectMissing);
    objects.put(&audio, sound).await.unwrap();

    let segment = scene.store_segment(1, 1).await;
    objects.delete(&segment.key).await.unwrap();
    let failure = scene.stitch().await.unwrap_err();
    assert_eq!(failure.code, FailureCode::VerifyFailed);
    assert!(failure.message.contains("chunk 1"), "{failure}");

    // A segment with a frame too few that lies about it: record and hash agree, the packets do not.
    let short = Scene::new(Format::Mp4, rate(30, 1), &[9], false).await.store_segment(0, 1).await;
    let liar = Scene::new(Format::Mp4, rate(30, 1), &[9], false).await;
    let bytes = liar.backplane.objects.get(&short.key).await.unwrap();
    let record = SegmentRecord { chunk: 1, frames: segment.frames, key: segment.key.clone(), ..short };
    objects.put(&segment.key, bytes).await.unwrap();
    objects.put_json(&keys::segment_record(&segment.key), &record).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap_err().code, FailureCode::VerifyFailed);
    assert!(!objects.exists(&manifest).await.unwrap(), "nothing was committed");

    objects.delete(&keys::plan(&scene.plan.render)).await.unwrap();
    assert_eq!(scene.stitch().await.unwrap_err().code, FailureCode::ObjectMissing);
}

#[tokio::test]
async fn a_stopped_stitch_leaves_nothing() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], true).await;
    let handler = StitchHandler::new(scene.backplane.clone(), scene.config());
    let lease = Lease { task: scene.task(Step::Stitch), attempt: 1, worker: "s1".parse().unwrap(), grant: None };
    let context = TaskContext::new(0, scene.backplane.objects.clone());
    context.cancelled().cancel();
    let failure = handler.handle(&lease, &context).await;
    if let Err(failure) = failure {
        assert_eq!(failure.code, FailureCode::Drained);
    }
    assert!(is_empty(&scene.dir.path().join("work")).await);
}

#[tokio::test]
async fn a_stitcher_serves_its_queue_and_drains() {
    let scene = Scene::new(Format::Mp4, rate(30, 1), &[10, 10], true).await;
    let (drain, pool) = (Drain::new(), Pool::default());
    let stitcher = Stitcher::start(scene.backplane.clone(), scene.config(), drain.clone());
    let message = TaskMessage { task: scene.task(Step::Stitch), pool };
    let broker = &scene.backplane.broker;
    broker.publish(&Queue::Stitch, wire::encode(&message).unwrap().into()).await.unwrap();
    let mut events = broker.consume(&Queue::Events).await.unwrap();
    let delivery = tokio::time::timeout(Duration::from_secs(20), events.next()).await.unwrap().unwrap();
    let event: Event = wire::decode(&delivery.payload).unwrap();
    assert_eq!(event, Event { task: message.task, kind: EventKind::Committed });
    let view = scene.backplane.ledger.view(&scene.plan.render).await.unwrap().unwrap();
    let committed = view.tasks[&Step::Stitch].committed.as_ref().unwrap();
    let record: OutputRecord = serde_json::from_slice(committed).unwrap();
    assert_eq!(record.frames, 20);
    let nodes = scene.backplane.ledger.nodes().await.unwrap();
    assert!(nodes.iter().any(|node| node.role == "stitcher"));
    drain.start();
    tokio::time::timeout(Duration::from_secs(5), stitcher.join()).await.unwrap();
}
