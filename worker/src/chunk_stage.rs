//! The chunk stage: a range of frames is captured after a fresh navigation, encoded, checked and stored.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::{ContentHash, FrameHash};
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::plan::{MediaTiming, Plan, PlanContent, VideoItem};
use hyperfarm_proto::record::{CapturePath, ChunkTimings, SegmentRecord, unix_ms};
use hyperfarm_proto::spec::Size;

use crate::blocking::blocking;
use crate::capture::{EncodedChunk, EncoderPermits, Encoding, FrameGrabber, GrabbedFrame, Next};
use crate::context::{WorkerContext, to_json};
use crate::error::{CaptureError, WorkerError};
use crate::host::{ExpectedTimelines, OpenOptions, ServedVideo, VideoLayer, VideoPicture};
use crate::runtimes::RuntimeScripts;
use crate::server::{Site, SiteFile};
use crate::slot::Slot;

/// Files that are downloaded at once.
const DOWNLOADS: usize = 8;

/// Largest distance, in frames, at which a time counts as the time of a frame.
const SNAP_FRAMES: f64 = 1e-3;

/// Captures chunk `number` of the lease's render, stores its segment, and returns its record as JSON.
pub(crate) async fn run(
    worker: &Arc<WorkerContext>,
    lease: &Lease,
    number: u32,
    context: &TaskContext,
) -> Result<Vec<u8>, WorkerError> {
    let (plan, plan_hash) = worker.plan(&lease.task.render, lease.attempt).await?;
    let range =
        plan.chunk(number).ok_or_else(|| WorkerError::Inconsistent(format!("the plan has no chunk {number}")))?;
    context.set_progress(0, range.count());
    let (begun_at_ms, started) = (unix_ms(), Instant::now());
    let files = fetch_files(worker, &plan).await?;
    let runtime = worker.runtime(&plan.content.runtime).await?;
    let site = Arc::new(site(worker, &plan.content, &plan_hash, files, runtime)?);
    let folder = worker.task_folder("chunk")?;
    let path = folder.path().join(format!("{number}.{}", plan.content.encoder.format.segment_extension()));
    let target = SegmentTarget { path: &path, permits: &worker.encoder_permits };
    let start = plan.start(number);

    let mut slot = worker.slots.assign(context.slot(), &lease.task.render).await?;
    let capturing = async {
        let captured = match capture(&mut slot, &plan, (range, start), site.clone(), target, context, started).await {
            Err(WorkerError::Capture(CaptureError::FramebufferLost(reason))) => {
                slot.distrust_framebuffer(&reason);
                let text = format!("the chunk is captured again with screenshots: {reason}");
                context.log().farm(LogLevel::Warning, &text);
                capture(&mut slot, &plan, (range, start), site.clone(), target, context, started).await
            }
            outcome => outcome,
        }?;
        slot.check_gpu().await?;
        Ok::<_, WorkerError>(captured)
    };
    let outcome = tokio::select! {
        outcome = capturing => outcome,
        () = context.cancelled().cancelled() => Err(WorkerError::Cancelled("chunk")),
    };
    let Captured { chunk, timings, path: capture_path, after } =
        slot.settle(outcome.map_err(|error| site.cause_of(error))).await?;
    drop(slot);
    check_frame_count(&chunk, range)?;

    let committing = Instant::now();
    let (hash, bytes) = hash_file(&path).await?;
    let key = keys::segment(&lease.task.render, number, lease.attempt, &hash, plan.content.encoder.format);
    let mut record = SegmentRecord {
        chunk: number,
        attempt: lease.attempt,
        plan: Some(plan_hash),
        frames: range,
        key: key.clone(),
        hash,
        bytes,
        start,
        after,
        frame_hashes: chunk.hashes,
        path: capture_path,
        worker: lease.worker.to_string(),
        timings: ChunkTimings { begun_at_ms, ..timings },
        thumbnail: chunk.thumbnail.as_ref().map(|_| keys::segment_thumbnail(&key)),
        light: chunk.light,
    };
    let store = async {
        // The record is stored first: a segment that exists has its record, so the ledger can be rebuilt from a
        // listing.
        worker.objects().put_json(&keys::segment_record(&key), &record).await?;
        worker.objects().put_file(&key, &path).await
    };
    let (stored, ()) = tokio::join!(store, store_thumbnail(worker, &key, chunk.thumbnail));
    stored?;
    record.timings.commit_ms = millis(committing.elapsed());
    worker.backplane.metrics.chunk_captured(capture_path, range.count(), &record.timings);
    to_json(&record)
}

/// Stores the thumbnail of a chunk. An error is logged only, because the render does not need it.
async fn store_thumbnail(worker: &WorkerContext, segment: &str, jpeg: Option<Vec<u8>>) {
    let Some(jpeg) = jpeg else { return };
    if let Err(error) = worker.objects().put(&keys::segment_thumbnail(segment), Bytes::from(jpeg)).await {
        tracing::warn!(segment, %error, "the thumbnail of a chunk cannot be stored");
    }
}

/// Downloads the files of a plan. Returns them by their path in the project.
async fn fetch_files(worker: &Arc<WorkerContext>, plan: &Plan) -> Result<HashMap<String, SiteFile>, WorkerError> {
    futures::stream::iter(plan.content.files.clone())
        .map(|file| {
            let worker = worker.clone();
            async move {
                let path = worker.cache.fetch_blob(worker.objects(), &file.hash).await?;
                Ok::<_, WorkerError>((file.path, SiteFile { path, bytes: file.bytes }))
            }
        })
        .buffer_unordered(DOWNLOADS)
        .try_collect()
        .await
}

/// The site of a plan whose content has the hash `hash` and whose files are at `files` on this machine's disk, with the
/// scripts of its runtime.
pub(crate) fn site(
    worker: &WorkerContext,
    content: &PlanContent,
    hash: &ContentHash,
    files: HashMap<String, SiteFile>,
    runtime: Arc<RuntimeScripts>,
) -> Result<Site, WorkerError> {
    let decoder = |video: &VideoItem| {
        let VideoItem { id, path, timing, headers, .. } = video;
        let missing = || WorkerError::Inconsistent(format!("the plan has no file {path} for a video"));
        let file = files.get(path).ok_or_else(missing)?;
        let decoder = worker.decoders.video(&file.path, path, headers, timing, content.frame_rate);
        decoder.map_err(|error| WorkerError::from(error).about(format!("video \"{id}\" ({path})")))
    };
    let videos = content.videos.iter().map(decoder).collect::<Result<_, _>>()?;
    Ok(Site::new(files, videos).with_name(hash).with_remote(&content.remote).with_runtime(runtime))
}

/// Where a segment is written, and the permits of its encoder.
#[derive(Clone, Copy)]
struct SegmentTarget<'a> {
    path: &'a std::path::Path,
    permits: &'a EncoderPermits,
}

/// The captured and encoded frames of a chunk.
struct Captured {
    chunk: EncodedChunk,
    timings: ChunkTimings,
    path: CapturePath,
    /// Hash of the frame after the last, if there is a next chunk.
    after: Option<FrameHash>,
}

/// Captures and encodes a range of frames of the output, after a start of the page.
async fn capture(
    slot: &mut Slot,
    plan: &Plan,
    (range, start): (FrameRange, ChunkStart),
    site: Arc<Site>,
    target: SegmentTarget<'_>,
    context: &TaskContext,
    started: Instant,
) -> Result<Captured, WorkerError> {
    let content = &plan.content;
    let has_next = range.end() < content.frames;
    let range = content.in_composition(range);
    let (alpha, rate) = (content.encoder.alpha, content.frame_rate);
    let options = open_options(&site, content);
    let mut host = slot.open(site.clone(), content.viewport, &options).await?;
    let mut grabber = FrameGrabber::new(&host, alpha);
    let layers = |frame: u64| match content.encoder.hdr {
        Some(_) => layers_at(&site, &content.videos, rate, frame),
        None => Vec::new(),
    };
    let pictures = |frame: u64| with_layers(pictures_at(&site, &content.videos, rate, frame), &layers(frame));
    let is_active = || !context.cancelled().is_cancelled();
    let output = content.viewport.output();
    if content.shutter.is_some() {
        grabber.average(output);
    }
    if content.encoder.hdr.is_some() {
        grabber.compose(site.clone(), content.viewport.scale);
    }
    let start = ChunkStart { draws_from: start.draws_from.map(|frame| content.first_frame + frame), ..start };
    let visited_frames = grabber.start_up(&mut host, range, start, &pictures, &is_active).await?;
    let start_ms = millis(started.elapsed());
    let mut timings = ChunkTimings { start_ms, visited_frames, ..ChunkTimings::default() };
    let capturing = Instant::now();

    let (path, permits) = (target.path.to_owned(), Some(target.permits));
    let mut encoding = Encoding::start(path, content.encoder.clone(), output, content.frame_rate, permits);
    let frame = range.start();
    let at = |frame: u64| Next { frame, pictures: pictures(frame), layers: layers(frame) };
    grabber.seek(&mut host, &at(frame)).await?;
    // The walk ends with the first frame of the next chunk: the two pictures of it prove the seam.
    let walk_end = range.end() + u64::from(has_next);
    let mut after = None;
    for frame in range.start()..walk_end {
        let next = frame + 1;
        // The next pictures are decoded while this frame is drawn.
        let composed = layers(next);
        for index in visible(&content.videos, rate, next) {
            match composed.iter().find(|layer| layer.video == index) {
                Some(layer) => site.prepare_hdr(index, layer.number),
                None => site.prepare(index, next),
            }
        }
        let is_over = |index: usize| content.videos.get(index).is_some_and(|video| is_over(video, rate, frame));
        site.close_videos(is_over);
        let next = (next < walk_end).then(|| at(next));
        let grabbed = grabber.grab(&mut host, next.as_ref()).await?;
        if frame == range.end() {
            after = Some(grabbed);
            break;
        }
        if encoding.push(grabbed).await.is_err() {
            break;
        }
        context.set_progress(frame + 1 - range.start(), range.count());
    }
    let waited = encoding.waited();
    // The encoder finishes its last frames while the page is checked.
    let finishing = async {
        let chunk = encoding.finish().await;
        (chunk, Instant::now())
    };
    let checking = async {
        let checked = grabber.check(&mut host, output).await;
        (checked, Instant::now())
    };
    let ((chunk, encoded_at), (checked, checked_at)) = tokio::join!(finishing, checking);
    checked?;
    let chunk = chunk?;
    let after = match after {
        Some(GrabbedFrame::Same) => chunk.hashes.last().copied(),
        Some(frame) => Some(blocking("hashing a frame", move || frame.hash(output)).await??),
        None => None,
    };
    let times = grabber.times();
    timings.seek_ms = millis(times.seek);
    timings.draw_ms = millis(times.draw);
    timings.read_ms = millis(times.read + chunk.read);
    timings.convert_ms = millis(chunk.convert);
    timings.encode_ms = millis(chunk.encode);
    timings.wait_ms = millis(waited + encoded_at.saturating_duration_since(checked_at));
    timings.capture_ms = millis(capturing.elapsed());
    Ok(Captured { chunk, timings, path: grabber.path(), after })
}

/// The options with which the page of a plan is opened.
pub(crate) fn open_options(site: &Site, content: &PlanContent) -> OpenOptions {
    OpenOptions {
        entry: content.entry.clone(),
        frame_rate: content.frame_rate,
        shutter: content.shutter,
        variables: content.variables.clone(),
        transparent: content.encoder.alpha,
        timelines: ExpectedTimelines { any: true, except: content.unregistered_timelines.clone() },
        videos: served_videos(site, &content.videos),
        seed: 0,
        epoch_ms: content.epoch_ms,
        load_steps: Some(content.load_steps),
    }
}

/// The videos whose pictures the farm decodes.
fn served_videos(site: &Site, videos: &[VideoItem]) -> Vec<ServedVideo> {
    let served = |(index, video): (usize, &VideoItem)| {
        let Size { width, height } = site.video_headers(index)?.display;
        let MediaTiming { start, end, .. } = video.timing;
        Some(ServedVideo { id: video.id.clone(), width, height, start, end, index: video.scripted.then_some(index) })
    };
    videos.iter().enumerate().filter_map(served).collect()
}

/// The pictures that videos show at `frame`.
pub(crate) fn pictures_at(site: &Site, videos: &[VideoItem], rate: FrameRate, frame: u64) -> Vec<VideoPicture> {
    visible(videos, rate, frame)
        .filter_map(|index| {
            let src = site.picture_path(index, frame)?;
            Some(VideoPicture { id: videos.get(index)?.id.clone(), src, drawn: None })
        })
        .collect()
}

/// The videos of high dynamic range that `frame` shows.
fn layers_at(site: &Site, videos: &[VideoItem], rate: FrameRate, frame: u64) -> Vec<VideoLayer> {
    visible(videos, rate, frame)
        .filter_map(|index| {
            let VideoItem { id, headers, .. } = videos.get(index).filter(|video| video.headers.hdr.is_some())?;
            let number = site.picture_number(index, frame)?;
            Some(VideoLayer { video: index, number, id: id.clone(), size: headers.display })
        })
        .collect()
}

/// `pictures` with those of `layers` black in the page, which they are composed with later. What scripts draw of them
/// is their picture in standard dynamic range.
fn with_layers(mut pictures: Vec<VideoPicture>, layers: &[VideoLayer]) -> Vec<VideoPicture> {
    for picture in &mut pictures {
        if let Some(layer) = layers.iter().find(|layer| layer.id == picture.id) {
            let drawn = std::mem::replace(picture, layer.solid("black")).src;
            picture.drawn = Some(drawn);
        }
    }
    pictures
}

/// Indices of the videos that are visible at `frame`, from their start up to their end.
fn visible(videos: &[VideoItem], rate: FrameRate, frame: u64) -> impl Iterator<Item = usize> {
    let is_visible = move |video: &VideoItem| {
        !video.scripted && is_reached(video.timing.start, rate, frame) && !is_over(video, rate, frame)
    };
    videos.iter().enumerate().filter(move |(_, video)| is_visible(video)).map(|(index, _)| index)
}

/// Whether a video is not visible any more at `frame`. Scripts may always show the one that they play.
fn is_over(video: &VideoItem, rate: FrameRate, frame: u64) -> bool {
    !video.scripted && is_reached(video.timing.end, rate, frame)
}

/// Whether `frame` is at composition second `seconds` or later. A time next to that of a frame counts as the frame's,
/// as in the HyperFrames runtime.
fn is_reached(seconds: f64, rate: FrameRate, frame: u64) -> bool {
    let position = seconds * rate.as_f64();
    let snapped = if (position - position.round()).abs() <= SNAP_FRAMES { position.round() } else { position };
    frame as f64 >= snapped - 1e-9
}

/// Checks the number of frames of a segment, before it is stored.
fn check_frame_count(chunk: &EncodedChunk, range: FrameRange) -> Result<(), CaptureError> {
    let hashes = chunk.hashes.len() as u64;
    if chunk.summary.frames != range.count() || hashes != range.count() {
        return Err(CaptureError::FrameCount { frames: chunk.summary.frames, hashes, expected: range.count() });
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::plan::VideoHeaders;

    use super::*;

    #[test]
    fn a_video_is_visible_from_its_start_up_to_its_end() {
        let rate = FrameRate::new(30, 1).unwrap();
        let shows = |start: f64, end: f64, frame: u64| {
            let timing = MediaTiming { start, end, media_start: 0.0, rate: 1.0, looped: false };
            let headers = VideoHeaders {
                time_base: (1, 30),
                origin: 0,
                duration: None,
                has_variable_rate: false,
                display: Size { width: 2, height: 2 },
                has_alpha: false,
                hdr: None,
            };
            let (id, path) = ("v".to_owned(), "v.mp4".to_owned());
            let videos = [VideoItem { id, path, timing, scripted: false, headers }];
            visible(&videos, rate, frame).count() == 1
        };
        assert_eq!([29, 30, 59, 60].map(|frame| shows(1.0, 2.0, frame)), [false, true, true, false]);
        // 1.33336 s is within a thousandth of frame 40, and 1.3335 s is not.
        assert_eq!([39, 40].map(|frame| shows(1.33336, 2.0, frame)), [false, true]);
        assert_eq!([40, 41].map(|frame| shows(1.3335, 2.0, frame)), [false, true]);
    }
}
