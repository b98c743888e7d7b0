//! The videos of a page: their decoders, opened when a picture is needed and closed when there are too many.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hyperfarm_media::{HdrPicture, MediaError, Picture, VideoDecoder, VideoTimeline};
use hyperfarm_proto::plan::VideoHeaders;
use parking_lot::Mutex;

use super::bmp;

/// Most open decoders of a page. A page that shows more videos at once is rendered too, but slowly, because decoders are
/// closed and opened again.
const MAX_OPEN: usize = 256;
/// Most bytes of one picture each of the open decoders of a page. A decoder and its last picture are closed together.
const MAX_OPEN_BYTES: u64 = 1 << 30;

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
    /// Number and pixels of the last picture at its own depth.
    last_hdr: Option<(u64, Arc<HdrPicture>)>,
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
            pictures: Mutex::new(Pictures { source, last: None, last_hdr: None, failure: None }),
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
        self.use_decoder(index).into_iter().for_each(|unused| self.close(unused));
        video.pictures.lock().file(number)
    }

    /// Picture `number` of video `index` at its own depth. Blocks while it is decoded.
    pub(super) fn hdr_picture(&self, index: usize, number: u64) -> Result<Arc<HdrPicture>, String> {
        let video = self.videos.get(index).ok_or("the page has no such video")?;
        self.use_decoder(index).into_iter().for_each(|unused| self.close(unused));
        video.pictures.lock().hdr(number)
    }

    /// Notes that the decoder of video `index` is used. Returns those to close where too many are open.
    fn use_decoder(&self, index: usize) -> Vec<usize> {
        let mut open = self.open.lock();
        open.retain(|other| *other != index);
        open.push_back(index);
        let mut bytes: u64 = open.iter().map(|index| self.picture_bytes(*index)).sum();
        let mut unused = Vec::new();
        while open.len() > 1 && (open.len() > MAX_OPEN || bytes > MAX_OPEN_BYTES) {
            let Some(first) = open.pop_front() else { break };
            bytes -= self.picture_bytes(first);
            unused.push(first);
        }
        unused
    }

    /// Bytes of a picture of video `index`.
    fn picture_bytes(&self, index: usize) -> u64 {
        let size = self.headers(index).map(|headers| headers.display);
        size.map_or(0, |size| u64::from(size.width) * u64::from(size.height) * 4)
    }

    /// Indices of the videos with an open decoder.
    pub(super) fn open(&self) -> Vec<usize> {
        self.open.lock().iter().copied().collect()
    }

    /// Closes the decoder of video `index` and forgets its last picture. Waits while it is at work.
    pub(super) fn close(&self, index: usize) {
        self.open.lock().retain(|other| *other != index);
        if let Some(video) = self.videos.get(index) {
            let mut pictures = video.pictures.lock();
            pictures.source.close();
            pictures.last = None;
            pictures.last_hdr = None;
        }
    }

    /// The failure of a decoder, if one has failed. A decoder that is at work has not.
    pub(super) fn take_failure(&self) -> Option<MediaError> {
        self.videos.iter().find_map(|video| video.pictures.try_lock()?.failure.take())
    }
}

impl Pictures {
    /// Picture `number` at its own depth.
    fn hdr(&mut self, number: u64) -> Result<Arc<HdrPicture>, String> {
        if let Some(failure) = &self.failure {
            return Err(failure.to_string());
        }
        if let Some((last, picture)) = &self.last_hdr
            && *last == number
        {
            return Ok(picture.clone());
        }
        let picture = self.source.numbered_hdr(number).map_err(|error| self.failure.insert(error).to_string())?;
        let picture = Arc::new(picture);
        self.last_hdr = Some((number, picture.clone()));
        Ok(picture)
    }

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

#[cfg(test)]
mod tests {
    use std::path::Path;

    use hyperfarm_media::{Decoders, MediaLimits};
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::plan::MediaTiming;
    use hyperfarm_proto::spec::Size;

    use super::*;

    /// A page with `count` videos of pictures of `width` by 4096 pixels. Their files do not exist.
    fn videos(count: usize, width: u32) -> Videos {
        let decoders = Decoders::in_process(MediaLimits::default());
        let headers = VideoHeaders {
            time_base: (1, 1000),
            origin: 0,
            duration: Some(1.0),
            has_variable_rate: false,
            display: Size { width, height: 4096 },
            has_alpha: false,
            hdr: None,
        };
        let timing = MediaTiming { start: 0.0, end: 1.0, media_start: 0.0, rate: 1.0, looped: false };
        let video = |_| decoders.video(Path::new("a.mp4"), "a.mp4", &headers, &timing, FrameRate::DEFAULT).unwrap();
        Videos::new((0..count).map(video).collect())
    }

    #[test]
    fn open_decoders_are_bounded_in_number_and_bytes() {
        // 64 MiB a picture: 16 fit.
        let large = videos(40, 4096);
        let closed: Vec<usize> = (0..40).flat_map(|index| large.use_decoder(index)).collect();
        assert_eq!(closed, (0..24).collect::<Vec<_>>());
        assert_eq!(large.use_decoder(24), [0; 0]);
        assert_eq!(large.use_decoder(0), [25]);
        let small = videos(300, 16);
        assert_eq!((0..300).flat_map(|index| small.use_decoder(index)).count(), 300 - MAX_OPEN);
        assert_eq!(small.open().len(), MAX_OPEN);
    }

    #[test]
    fn a_closed_decoder_keeps_no_picture() {
        let videos = videos(1, 16);
        let file = BitmapFile { header: Bytes::new(), pixels: Bytes::new() };
        videos.videos[0].pictures.lock().last = Some((0, file));
        assert!(videos.picture(0, 0).is_ok());
        videos.close(0);
        assert!(videos.videos[0].pictures.lock().last.is_none() && videos.open().is_empty());
    }
}
