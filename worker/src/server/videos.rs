//! The videos of a page: their decoders, opened when a picture is needed and closed when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hyperfarm_media::{MediaError, Picture, VideoDecoder, VideoTimeline};
use hyperfarm_proto::plan::VideoHeaders;
use parking_lot::Mutex;

use super::bmp;

/// Most open decoders of a page. A page that shows more videos at once is rendered too, but slowly, because decoders are
/// closed and opened again.
const MAX_OPEN: usize = 256;

/// The videos of a page, by index.
#[derive(Default)]
pub(super) struct Videos {
    videos: Vec<Video>,
    /// Indices of the videos with an open decoder, in the order of their last use.
    open: Mutex<VecDeque<usize>>,
}

struct Video {
    timeline: VideoTimeline,
    headers: VideoHeaders,
    pictures: Mutex<Pictures>,
}

/// The decoder of a video, and its last picture as a file.
struct Pictures {
    source: VideoDecoder,
    /// Number and file of the last picture.
    last: Option<(u64, BitmapFile)>,
    /// Why the decoder failed. It is not asked again.
    failure: Option<MediaError>,
}

/// A bitmap file in two parts: its pixels are those of the decoder, and not copied.
#[derive(Clone)]
pub(super) struct BitmapFile {
    pub(super) header: Bytes,
    pub(super) pixels: Bytes,
}

/// The pixels of a picture, for [`Bytes`] to share.
struct Pixels(Arc<Picture>);

impl AsRef<[u8]> for Pixels {
    fn as_ref(&self) -> &[u8] {
        &self.0.bgra
    }
}

impl Videos {
    pub(super) fn new(videos: Vec<VideoDecoder>) -> Self {
        let videos = videos.into_iter().map(|source| Video {
            timeline: source.timeline().clone(),
            headers: source.headers().clone(),
            pictures: Mutex::new(Pictures { source, last: None, failure: None }),
        });
        Self { videos: videos.collect(), open: Mutex::default() }
    }

    pub(super) fn headers(&self, index: usize) -> Option<&VideoHeaders> {
        Some(&self.videos.get(index)?.headers)
    }

    /// Number of the picture that video `index` shows at output frame `frame`.
    pub(super) fn picture_at(&self, index: usize, frame: u64) -> Option<u64> {
        Some(self.videos.get(index)?.timeline.picture_at(frame))
    }

    /// Picture `number` of video `index` as a file. Blocks while it is decoded.
    pub(super) fn picture(&self, index: usize, number: u64) -> Result<BitmapFile, String> {
        let video = self.videos.get(index).ok_or("the page has no such video")?;
        if let Some(unused) = self.use_decoder(index) {
            self.close(unused);
        }
        video.pictures.lock().file(number)
    }

    /// Notes that the decoder of video `index` is used. Returns the one to close where too many are open.
    fn use_decoder(&self, index: usize) -> Option<usize> {
        let mut open = self.open.lock();
        open.retain(|other| *other != index);
        open.push_back(index);
        if open.len() > MAX_OPEN { open.pop_front() } else { None }
    }

    /// Indices of the videos with an open decoder.
    pub(super) fn open(&self) -> Vec<usize> {
        self.open.lock().iter().copied().collect()
    }

    /// Closes the decoder of video `index`. Waits while it is at work.
    pub(super) fn close(&self, index: usize) {
        self.open.lock().retain(|other| *other != index);
        if let Some(video) = self.videos.get(index) {
            video.pictures.lock().source.close();
        }
    }

    /// The failure of a decoder, if one has failed. A decoder that is at work has not.
    pub(super) fn take_failure(&self) -> Option<MediaError> {
        self.videos.iter().find_map(|video| video.pictures.try_lock()?.failure.take())
    }
}

impl Pictures {
    /// Picture `number` as a file.
    fn file(&mut self, number: u64) -> Result<BitmapFile, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.to_string());
        }
        if let Some((last, file)) = &self.last
            && *last == number
        {
            return Ok(file.clone());
        }
        let alpha = self.source.headers().has_alpha;
        let picture = self.source.numbered(number).map_err(|error| self.failure.insert(error).to_string())?;
        let header = Bytes::from(bmp::header(&picture, alpha));
        let file = BitmapFile { header, pixels: Bytes::from_owner(Pixels(picture)) };
        self.last = Some((number, file.clone()));
        Ok(file)
    }
}
