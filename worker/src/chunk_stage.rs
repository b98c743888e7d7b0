//! The chunk stage: a range of frames is captured after a fresh navigation, encoded, checked and stored. A page or a browser that
//! crashes costs the frames that it drew last, and not the chunk.

use std::collections::{BTreeSet, HashMap};
use std::convert::Infallible;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_backplane::objects::{Objects, hash_file};
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::id::{ContentHash, FrameHash};
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::ChunkStart;
use hyperfarm_proto::plan::{MediaTiming, Plan, PlanContent, RemoteAsset, VideoItem, Warning};
use hyperfarm_proto::record::{CapturePath, ChunkTimings, SegmentRecord, unix_ms};
use hyperfarm_proto::spec::Size;

use crate::blocking::blocking;
use crate::capture::{EncodedChunk, EncoderPermits, Encoding, FrameGrabber, GrabTimes, GrabbedFrame, Next};
use crate::context::{WorkerContext, to_json};
use crate::error::{CaptureError, WorkerError};
use crate::host::{ExpectedTimelines, OpenOptions, PageHost, ServedVideo, VideoLayer, VideoPicture};
use crate::plan_stage::{CONSOLE, bounded, warn_of_page};
use crate::runtimes::RuntimeScripts;
use crate::server::{Site, SiteFile};
use crate::slot::Slot;

/// Most warnings of a chunk.
const MAX_WARNINGS: usize = 20;

/// How often one attempt at a chunk goes on in another browser, after the page or the browser has crashed.
const MAX_RESUMES: u32 = 2;

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
    let objects = context.objects();
    let (plan, plan_hash) = worker.plan(objects, &lease.task.render, lease.attempt).await?;
    let range =
        plan.chunk(number).ok_or_else(|| WorkerError::Inconsistent(format!("the plan has no chunk {number}")))?;
    context.set_progress(0, range.count());
    let (begun_at_ms, started) = (unix_ms(), Instant::now());
    let files = fetch_files(worker, objects, &plan).await?;
    let runtime = worker.runtime(objects, &plan.content.runtime).await?;
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
    let Captured { chunk, timings, path: capture_path, after, resumes, warnings } =
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
        warnings,
    };
    let record_key = keys::segment_record(&key);
    let json = to_json(&record)?;
    let puts = [(&key, Some(bytes)), (&record_key, Some(json.len() as u64))].into_iter();
    let thumbnail = keys::segment_thumbnail(&key);
    let puts = puts.chain(chunk.thumbnail.as_ref().map(|jpeg| (&thumbnail, Some(jpeg.len() as u64))));
    let log = keys::task_log(&lease.task.render, lease.task.step, lease.attempt);
    let puts = puts.chain([(&log, None)]).map(|(key, bytes)| Want::Put { key: key.clone(), bytes });
    objects.expect(puts.collect()).await?;
    let store = async {
        // The record is stored first: a segment that exists has its record, so the ledger can be rebuilt from a
        // listing.
        objects.put(&record_key, Bytes::from(json)).await?;
        objects.put_file(&key, &path).await
    };
    let (stored, ()) = tokio::join!(store, store_thumbnail(objects, &key, chunk.thumbnail));
    stored?;
    record.timings.commit_ms = millis(committing.elapsed());
    worker.backplane.metrics.chunk_captured(capture_path, range.count(), &record.timings);
    worker.backplane.metrics.chunks_resumed(resumes);
    to_json(&record)
}

/// Stores the thumbnail of a chunk. An error is logged only, because the render does not need it.
async fn store_thumbnail(objects: &Objects, segment: &str, jpeg: Option<Vec<u8>>) {
    let Some(jpeg) = jpeg else { return };
    if let Err(error) = objects.put(&keys::segment_thumbnail(segment), Bytes::from(jpeg)).await {
        tracing::warn!(segment, %error, "the thumbnail of a chunk cannot be stored");
    }
}

/// Downloads the files of a plan from `objects`. Returns them by their path in the project.
async fn fetch_files(
    worker: &Arc<WorkerContext>,
    objects: &Objects,
    plan: &Plan,
) -> Result<HashMap<String, SiteFile>, WorkerError> {
    worker.cache.expect_blobs(objects, plan.content.files.iter().map(|file| &file.hash)).await?;
    futures::stream::iter(plan.content.files.clone())
        .map(|file| {
            let worker = worker.clone();
            async move {
                let path = worker.cache.fetch_blob(objects, &file.hash).await?;
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
    /// How often it went on in another browser.
    resumes: u32,
    warnings: Vec<Warning>,
}

/// Captures and encodes a range of frames of the output, after a start of the page. Where the page or its browser crashes,
/// another goes on.
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
    let start = ChunkStart { draws_from: start.draws_from.map(|frame| content.first_frame + frame), ..start };
    let has_next = range.end() < content.frames;
    let range = content.in_composition(range);
    let mut walk = ChunkWalk {
        content,
        options: open_options(&site, content),
        site,
        has_next,
        range,
        start,
        target,
        context,
        started,
        encoding: None,
        next: range.start(),
        timings: ChunkTimings::default(),
        times: GrabTimes::default(),
        path: None,
        read_visits: BTreeSet::new(),
        warnings: Vec::new(),
    };
    let mut resumes = 0;
    let mut last_crash = None;
    let after = loop {
        let begun_at = walk.next;
        let error = match walk.go_on(slot).await {
            Ok(after) => break after,
            Err(error) => error,
        };
        match &error {
            WorkerError::Capture(CaptureError::FramebufferLost(_)) if !slot.has_browser_ended().await => {
                walk.end_encoder().await;
                return Err(error);
            }
            WorkerError::Capture(CaptureError::ResumedElsewhere { .. }) => return Err(last_crash.unwrap_or(error)),
            _ => {}
        }
        let Err(crash) = slot.settle::<Infallible>(Err(walk.site.cause_of(error))).await;
        // A GPU that has failed may have drawn nothing for a while, and the next browser cannot tell.
        let may_go_on = crash.is_crash() && !slot.draws_with_gpu() && !context.cancelled().is_cancelled();
        if !may_go_on || resumes == MAX_RESUMES || walk.next == begun_at {
            return Err(crash);
        }
        resumes += 1;
        let frame = walk.next - content.first_frame;
        context
            .log()
            .farm(LogLevel::Warning, &format!("{crash}; the chunk goes on at frame {frame} in another browser"));
        last_crash = Some(crash);
    };
    walk.warnings.retain(|warning| !plan.warnings.contains(warning));
    walk.warnings.truncate(MAX_WARNINGS);
    walk.finish(after, resumes).await
}

/// The walk of a page through the frames of a chunk, from the first to the one after the last.
struct ChunkWalk<'a> {
    content: &'a PlanContent,
    site: Arc<Site>,
    options: OpenOptions,
    /// Frames of the composition, as are those of `start` and `next`.
    range: FrameRange,
    start: ChunkStart,
    has_next: bool,
    target: SegmentTarget<'a>,
    context: &'a TaskContext,
    /// When the task began.
    started: Instant,
    /// The encoder, once there is a first frame, and when that was.
    encoding: Option<(Encoding, Instant)>,
    /// The next frame that the encoder needs.
    next: u64,
    timings: ChunkTimings,
    times: GrabTimes,
    /// By which way frames were read.
    path: Option<CapturePath>,
    /// Numbers of the visits in which scripts that draw videos find their pictures.
    read_visits: BTreeSet<usize>,
    warnings: Vec<Warning>,
}

impl ChunkWalk<'_> {
    /// Opens a page and goes from the next frame to the end. Returns the frame after the last, if there is a next chunk.
    ///
    /// A page that goes on for one that has crashed draws the last frame of that one first. Where the two are not equal,
    /// a page that draws every frame of the chunk goes on.
    async fn go_on(&mut self, slot: &mut Slot) -> Result<Option<GrabbedFrame>, WorkerError> {
        match self.go_on_from(slot, self.start).await {
            Err(WorkerError::Capture(CaptureError::ResumedElsewhere { .. })) if self.start.draws_from.is_none() => {
                let draws_from = Some(self.range.start());
                self.go_on_from(slot, ChunkStart { draws_from, ..self.start }).await
            }
            outcome => outcome,
        }
    }

    /// Draws on a fresh page. Where scripts have drawn old pictures of videos that stay, another page reads those.
    async fn go_on_from(&mut self, slot: &mut Slot, start: ChunkStart) -> Result<Option<GrabbedFrame>, WorkerError> {
        match self.go_on_in_page(slot, start).await {
            Err(WorkerError::Capture(CaptureError::PicturesMissed { visits })) => {
                tracing::debug!(?visits, "the walk is repeated, because old pictures of videos stay in canvases");
                self.read_visits.extend(visits);
                self.go_on_in_page(slot, start).await
            }
            outcome => outcome,
        }
    }

    async fn go_on_in_page(&mut self, slot: &mut Slot, start: ChunkStart) -> Result<Option<GrabbedFrame>, WorkerError> {
        let content = self.content;
        let alpha = content.encoder.alpha;
        let mut host = slot.open(self.site.clone(), content.viewport, &self.options).await?;
        let mut grabber = match self.path {
            Some(CapturePath::Png) => FrameGrabber::of_screenshots(alpha),
            Some(CapturePath::Framebuffer) | None => FrameGrabber::new(&host, alpha),
        };
        if content.shutter.is_some() {
            grabber.average(content.viewport.output());
        }
        if content.encoder.hdr.is_some() {
            grabber.compose(self.site.clone(), content.viewport.scale);
        }
        if self.path.is_some_and(|path| path != grabber.path()) {
            let reason = "the page that goes on has no framebuffer".to_owned();
            return Err(CaptureError::FramebufferLost(reason).into());
        }
        self.path = Some(grabber.path());
        let after = self.draw(&mut host, &mut grabber, start).await;
        self.times += grabber.times();
        let after = after?;
        self.warnings.extend(warnings_of_frames(&host, &content.remote).await?);
        Ok(after)
    }

    /// Draws and encodes the frames, and checks that what was read is what the page shows.
    async fn draw(
        &mut self,
        host: &mut PageHost<'_>,
        grabber: &mut FrameGrabber,
        start: ChunkStart,
    ) -> Result<Option<GrabbedFrame>, WorkerError> {
        let (content, site, context, range) = (self.content, self.site.clone(), self.context, self.range);
        let (rate, output) = (content.frame_rate, content.viewport.output());
        let layers = |frame: u64| match content.encoder.hdr {
            Some(_) => layers_at(&site, &content.videos, rate, frame),
            None => Vec::new(),
        };
        let pictures = |frame: u64| with_layers(pictures_at(&site, &content.videos, rate, frame), &layers(frame));
        let is_active = || !context.cancelled().is_cancelled();
        let is_resumed = self.next > range.start();
        let first = if is_resumed { self.next - 1 } else { range.start() };
        // The walk ends with the first frame of the next chunk: the two pictures of it prove the seam.
        let end = range.end() + u64::from(self.has_next);
        // A start depends on the number of the chunk's frames.
        let drawn = range.shifted_by(first - range.start());
        self.timings.visited_frames +=
            grabber.start_up(host, drawn, start, &self.read_visits, &pictures, &is_active).await?;
        if self.encoding.is_none() {
            self.timings.start_ms = millis(self.started.elapsed());
            let (path, permits) = (self.target.path.to_owned(), Some(self.target.permits));
            let encoding = Encoding::start(path, content.encoder.clone(), output, rate, permits);
            self.encoding = Some((encoding, Instant::now()));
        }
        let Some((encoding, _)) = &mut self.encoding else { return Err(CaptureError::EncoderEnded.into()) };
        let at = |frame: u64| Next { frame, pictures: pictures(frame), layers: layers(frame) };
        grabber.seek(host, &at(first)).await?;
        let mut after = None;
        for frame in first..end {
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
            let next = (next < end).then(|| at(next));
            let grabbed = grabber.grab(host, next.as_ref()).await?;
            if is_resumed && frame == first {
                let hash = blocking("hashing a frame", move || grabbed.hash(output)).await??;
                if encoding.last_hash().await.is_some_and(|last| last != hash) {
                    return Err(CaptureError::ResumedElsewhere { frame }.into());
                }
                continue;
            }
            if frame == range.end() {
                after = Some(grabbed);
                break;
            }
            if encoding.push(grabbed).await.is_err() {
                break;
            }
            self.next = frame + 1;
            context.set_progress(self.next - range.start(), range.count());
        }
        // The encoder finishes its last frames while the page is checked.
        encoding.close();
        grabber.check(host, output).await?;
        Ok(after)
    }

    /// Waits until the encoder has let go of its file, which another may write next.
    async fn end_encoder(&mut self) {
        if let Some((encoding, _)) = self.encoding.take() {
            // What it has made is not used.
            let _ = encoding.finish().await;
        }
    }

    /// Waits for the encoder. `after` is the frame after the last.
    async fn finish(self, after: Option<GrabbedFrame>, resumes: u32) -> Result<Captured, WorkerError> {
        let Self { encoding: Some((encoding, begun)), path: Some(path), mut timings, times, content, warnings, .. } =
            self
        else {
            return Err(WorkerError::Inconsistent("a chunk ended before its first frame".to_owned()));
        };
        let (waited, finishing) = (encoding.waited(), Instant::now());
        let chunk = encoding.finish().await?;
        let waited = waited + finishing.elapsed();
        let output = content.viewport.output();
        let after = match after {
            Some(GrabbedFrame::Same) => chunk.hashes.last().copied(),
            Some(frame) => Some(blocking("hashing a frame", move || frame.hash(output)).await??),
            None => None,
        };
        timings.seek_ms = millis(times.seek);
        timings.draw_ms = millis(times.draw);
        timings.read_ms = millis(times.read + chunk.read);
        timings.convert_ms = millis(chunk.convert);
        timings.encode_ms = millis(chunk.encode);
        timings.wait_ms = millis(waited);
        timings.capture_ms = millis(begun.elapsed());
        Ok(Captured { chunk, timings, path, after, resumes, warnings })
    }
}

/// What a page that has drawn frames warns of. Console messages are in the render's log.
async fn warnings_of_frames(host: &PageHost<'_>, remote: &[RemoteAsset]) -> Result<Vec<Warning>, WorkerError> {
    let mut warnings = Vec::new();
    warn_of_page(host, remote, &mut warnings);
    warnings.retain(|warning| warning.code != CONSOLE);
    warnings.extend(host.notes().await?);
    Ok(bounded(warnings))
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
        let MediaTiming { start, end, media_start, rate, looped } = video.timing;
        let (id, duration) = (video.id.clone(), video.headers.duration);
        let index = video.scripted.then_some(index);
        Some(ServedVideo { id, width, height, start, end, media_start, rate, looped, duration, index })
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
