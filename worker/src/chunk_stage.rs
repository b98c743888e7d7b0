//! The chunk stage: capture a frame range from a fresh navigation, encode it, check it, store it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt};
use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_media::VideoSource;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::{FrameRange, FrameRate};
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::{Plan, PlanContent, VideoItem};
use hyperfarm_proto::record::{CapturePath, ChunkTimings, SegmentRecord, unix_ms};
use hyperfarm_proto::spec::Size;

use crate::capture::{CaptureError, EncodedChunk, EncoderPermits, Encoding, FrameGrabber, Next};
use crate::host::{OpenOptions, ServedVideo, VideoPicture, Wanted};
use crate::server::{Site, SiteFile};
use crate::worker::{WorkerContext, storage};

/// Files fetched at once.
const DOWNLOADS: usize = 8;

/// Frames by which a time may miss a frame's and still be it.
const SNAP_FRAMES: f64 = 1e-3;

/// Renders chunk `number` of the lease's render and answers its record as JSON.
pub(crate) async fn run(
    shop: &Arc<WorkerContext>,
    lease: &Lease,
    number: u32,
    context: &TaskContext,
) -> Result<Vec<u8>, Failure> {
    let (plan, plan_hash) = shop.plan(&lease.task.render).await?;
    let range = plan
        .chunk(number)
        .ok_or_else(|| Failure::new(FailureCode::Internal, format!("the plan has no chunk {number}")))?;
    context.set_progress(0, range.count());
    let (begun_at_ms, started) = (unix_ms(), Instant::now());
    let files = fetch_files(shop, &plan).await?;
    let site =
        Arc::new(Site::new(files.clone(), open_videos(&plan.content, files).await?).with_remote(&plan.content.remote));
    let folder = shop.scratch("chunk")?;
    let path = folder.path().join(format!("{number}.{}", plan.content.encoder.format.segment_extension()));
    let segment = Segment { path: &path, turns: &shop.turns };

    let mut slot = shop.slot(context.slot(), &lease.task.render).await?;
    let capturing = async {
        let captured = match capture(&mut slot, &plan, range, site.clone(), segment, context, started).await {
            Err(CaptureError::FramebufferLost(reason)) => {
                slot.distrust_framebuffer(&reason);
                let again = format!("the chunk is captured again with screenshots: {reason}");
                context.log().farm(LogLevel::Warning, &again);
                capture(&mut slot, &plan, range, site, segment, context, started).await
            }
            outcome => outcome,
        }?;
        slot.check_gpu().await?;
        Ok::<_, CaptureError>(captured)
    };
    let outcome = tokio::select! {
        outcome = capturing => outcome.map_err(Failure::from),
        () = context.cancelled().cancelled() => Err(Failure::new(FailureCode::Drained, "the chunk was given up")),
    };
    let (chunk, timings, capture_path) = slot.settle(outcome).await?;
    drop(slot);
    verify(&chunk, range)?;

    let committing = Instant::now();
    let (hash, bytes) = hash_file(&path).await.map_err(storage)?;
    let key = keys::segment(&lease.task.render, number, lease.attempt, &hash, plan.content.encoder.format);
    let mut record = SegmentRecord {
        chunk: number,
        attempt: lease.attempt,
        plan: Some(plan_hash),
        frames: range,
        key: key.clone(),
        hash,
        bytes,
        frame_hashes: chunk.hashes,
        path: capture_path,
        worker: lease.worker.to_string(),
        timings: ChunkTimings { begun_at_ms, ..timings },
        thumbnail: chunk.still.as_ref().map(|_| keys::segment_thumbnail(&key)),
    };
    let store = async {
        // The record first: a segment that exists has its record, so the ledger can be rebuilt from the listing.
        shop.objects().put_json(&keys::segment_record(&key), &record).await?;
        shop.objects().put_file(&key, &path).await
    };
    let (stored, ()) = tokio::join!(store, store_still(shop, &key, chunk.still));
    stored.map_err(storage)?;
    record.timings.commit_ms = millis(committing.elapsed());
    shop.backplane.metrics.chunk_captured(capture_path, range.count(), &record.timings);
    serde_json::to_vec(&record).map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))
}

/// Stores the picture of a chunk. People miss one that is not there, and the render does not.
async fn store_still(shop: &WorkerContext, segment: &str, still: Option<Vec<u8>>) {
    let Some(jpeg) = still else { return };
    if let Err(error) = shop.objects().put(&keys::segment_thumbnail(segment), Bytes::from(jpeg)).await {
        tracing::warn!(segment, %error, "the chunk's still cannot be stored");
    }
}

async fn fetch_files(shop: &Arc<WorkerContext>, plan: &Plan) -> Result<HashMap<String, SiteFile>, Failure> {
    futures::stream::iter(plan.content.files.clone())
        .map(|file| {
            let shop = shop.clone();
            async move {
                let path = shop.cache.fetch_blob(shop.objects(), &file.hash).await?;
                Ok::<_, Failure>((file.path, SiteFile { path, bytes: file.bytes }))
            }
        })
        .buffer_unordered(DOWNLOADS)
        .try_collect()
        .await
}

/// Opens the videos of a plan among its files.
pub(crate) async fn open_videos(
    content: &PlanContent,
    files: HashMap<String, SiteFile>,
) -> Result<Vec<VideoSource>, Failure> {
    let (videos, rate) = (content.videos.clone(), content.frame_rate);
    let opening = tokio::task::spawn_blocking(move || {
        videos
            .iter()
            .map(|video| {
                let file = files.get(&video.path).ok_or_else(|| {
                    Failure::new(FailureCode::Internal, format!("the plan has no file {} for a video", video.path))
                })?;
                VideoSource::open(&file.path, &video.timing, rate).map_err(|error| {
                    let code = if error.is_input() { FailureCode::MediaInvalid } else { FailureCode::EncodeFailed };
                    Failure::new(code, format!("video \"{}\" ({}): {error}", video.id, video.path))
                })
            })
            .collect()
    });
    opening.await.map_err(|panic| Failure::new(FailureCode::Internal, format!("the decoder broke: {panic}")))?
}

/// Where a segment goes, and when it may be made.
#[derive(Clone, Copy)]
struct Segment<'a> {
    path: &'a std::path::Path,
    turns: &'a EncoderPermits,
}

async fn capture(
    slot: &mut crate::slot::Slot,
    plan: &Plan,
    range: FrameRange,
    site: Arc<Site>,
    segment: Segment<'_>,
    context: &TaskContext,
    started: Instant,
) -> Result<(EncodedChunk, ChunkTimings, CapturePath), CaptureError> {
    let content = &plan.content;
    let alpha = content.encoder.alpha;
    let options = options(&site, content);
    let mut host = slot.open(site.clone(), content.viewport, &options).await?;
    let mut grabber = FrameGrabber::new(&host, alpha);
    let pictures = |frame: u64| pictures(&site, &content.videos, content.frame_rate, frame);
    let going_on = || !context.cancelled().is_cancelled();
    let visited = grabber.start_up(&mut host, range.start(), &pictures, &going_on).await?;
    let start_ms = millis(started.elapsed());
    let mut timings = ChunkTimings { start_ms, visited_frames: visited, ..ChunkTimings::default() };
    let capturing = Instant::now();

    let output = content.viewport.output();
    let (path, turns) = (segment.path.to_owned(), Some(segment.turns));
    let mut encoding = Encoding::start(path, content.encoder.clone(), output, content.frame_rate, turns);
    let frame = range.start();
    grabber.seek(&mut host, &Next { frame, pictures: pictures(frame) }).await?;
    for frame in range.frames() {
        let next = frame + 1;
        // The next pictures are decoded while this frame is drawn.
        for index in shown(&content.videos, content.frame_rate, next) {
            site.prepare(index, next);
        }
        let next = (next < range.end()).then(|| Next { frame: next, pictures: pictures(next) });
        let grabbed = grabber.grab(&mut host, next.as_ref()).await?;
        if encoding.push(grabbed).await.is_err() {
            break;
        }
        context.set_progress(frame + 1 - range.start(), range.count());
    }
    let waited = encoding.waited();
    // The encoder works off what it holds back while the page is checked.
    let finishing = async {
        let chunk = encoding.finish().await;
        (chunk, Instant::now())
    };
    let checking = async {
        let checked = grabber.check(&mut host, output).await;
        (checked, Instant::now())
    };
    let ((chunk, encoded), (checked, closing)) = tokio::join!(finishing, checking);
    checked?;
    let chunk = chunk?;
    let times = grabber.times();
    timings.seek_ms = millis(times.seek);
    timings.draw_ms = millis(times.draw);
    timings.read_ms = millis(times.read + chunk.read);
    timings.convert_ms = millis(chunk.convert);
    timings.encode_ms = millis(chunk.encode);
    timings.wait_ms = millis(waited + encoded.saturating_duration_since(closing));
    timings.capture_ms = millis(capturing.elapsed());
    Ok((chunk, timings, grabber.path()))
}

/// How the page of a plan is opened.
pub(crate) fn options(site: &Site, content: &PlanContent) -> OpenOptions {
    OpenOptions {
        entry: content.entry.clone(),
        frame_rate: content.frame_rate,
        variables: content.variables.clone(),
        transparent: content.encoder.alpha,
        wanted: Wanted { timelines: true, without_timeline: content.unregistered_timelines.clone() },
        videos: served(site, &content.videos),
        seed: 0,
    }
}

/// What the page must know of the videos.
fn served(site: &Site, videos: &[VideoItem]) -> Vec<ServedVideo> {
    let known = |(index, video): (usize, &VideoItem)| {
        let Size { width, height } = site.video_size(index)?;
        Some(ServedVideo { id: video.id.clone(), width, height })
    };
    videos.iter().enumerate().filter_map(known).collect()
}

/// The pictures that videos show at `frame`.
pub(crate) fn pictures(site: &Site, videos: &[VideoItem], rate: FrameRate, frame: u64) -> Vec<VideoPicture> {
    shown(videos, rate, frame)
        .filter_map(|index| {
            let src = site.picture_path(index, frame)?;
            Some(VideoPicture { id: videos.get(index)?.id.clone(), src })
        })
        .collect()
}

/// Indices of the videos that show at `frame`: half open, like every clip, with times next to a frame's taken for it, as the
/// HyperFrames runtime does.
fn shown(videos: &[VideoItem], rate: FrameRate, frame: u64) -> impl Iterator<Item = usize> {
    let snapped = move |seconds: f64| {
        let position = seconds * rate.as_f64();
        if (position - position.round()).abs() <= SNAP_FRAMES { position.round() } else { position }
    };
    let at = frame as f64;
    videos
        .iter()
        .enumerate()
        .filter(move |(_, video)| at >= snapped(video.timing.start) - 1e-9 && at < snapped(video.timing.end) - 1e-9)
        .map(|(index, _)| index)
}

/// What is counted is checked, before anything of it is stored.
fn verify(chunk: &EncodedChunk, range: FrameRange) -> Result<(), Failure> {
    let hashed = chunk.hashes.len() as u64;
    if chunk.summary.frames != range.count() || hashed != range.count() {
        return Err(Failure::new(
            FailureCode::VerifyFailed,
            format!(
                "the segment has {} frames and {hashed} hashes, and its chunk {}",
                chunk.summary.frames,
                range.count()
            ),
        ));
    }
    Ok(())
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1000.0
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::plan::MediaTiming;

    use super::*;

    #[test]
    fn a_video_shows_from_its_start_up_to_its_end() {
        let rate = FrameRate::new(30, 1).unwrap();
        let shows = |start: f64, end: f64, frame: u64| {
            let timing = MediaTiming { start, end, media_start: 0.0, rate: 1.0, looped: false };
            let videos = [VideoItem { id: "v".to_owned(), path: "v.mp4".to_owned(), timing }];
            shown(&videos, rate, frame).count() == 1
        };
        assert_eq!([29, 30, 59, 60].map(|frame| shows(1.0, 2.0, frame)), [false, true, true, false]);
        // 1.33336 s is within a thousandth of frame 40, and 1.3335 s is not.
        assert_eq!([39, 40].map(|frame| shows(1.33336, 2.0, frame)), [false, true]);
        assert_eq!([40, 41].map(|frame| shows(1.3335, 2.0, frame)), [false, true]);
    }
}
