//! The memory that pictures of videos hold in the browser.

use std::collections::HashMap;

use super::options::{ServedVideo, VideoPicture};

/// Bytes of decoded pictures that a browser may hold before it is told to free them. That takes some milliseconds, and
/// pictures that are still visible are decoded again.
const MAX_BYTES: u64 = 96 << 20;

/// Counts the bytes of the pictures that a page has shown since its browser last freed them. Chrome itself would keep
/// decoded pictures until they fill half a gigabyte.
#[derive(Debug, Default)]
pub(super) struct PictureMemory {
    /// Bytes of a picture and path of the last one, by the video's id.
    videos: HashMap<String, (u64, String)>,
    bytes: u64,
}

impl PictureMemory {
    pub(super) fn new(videos: &[ServedVideo]) -> Self {
        let sized = |video: &ServedVideo| {
            (video.id.clone(), (u64::from(video.width) * u64::from(video.height) * 4, String::new()))
        };
        Self { videos: videos.iter().map(sized).collect(), bytes: 0 }
    }

    /// Counts the pictures that are shown next. Returns whether the browser should free earlier ones first; the count
    /// is then reset.
    pub(super) fn is_full_before(&mut self, next: &[VideoPicture]) -> bool {
        let full = self.bytes >= MAX_BYTES;
        if full {
            self.bytes = 0;
        }
        for picture in next {
            // A picture of one colour is no decoded picture.
            if let Some((bytes, last)) = self.videos.get_mut(&picture.id)
                && !picture.src.starts_with("data:")
                && *last != picture.src
            {
                self.bytes += *bytes;
                last.clone_from(&picture.src);
            }
        }
        full
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_count_when_they_change() {
        let video = ServedVideo {
            id: "v".to_owned(),
            width: 4096,
            height: 2048,
            start: 0.0,
            end: 1.0,
            media_start: 0.0,
            rate: 1.0,
            looped: false,
            duration: None,
            index: None,
        };
        let picture = |number: u32| [VideoPicture { id: "v".to_owned(), src: format!("{number}.bmp"), drawn: None }];
        let mut shown = PictureMemory::new(&[video]);
        // 32 MB each: the third fills it, and the next seek is the one that says so.
        assert!([1, 1, 1, 2, 2, 3].into_iter().all(|number| !shown.is_full_before(&picture(number))));
        assert!(shown.is_full_before(&picture(4)));
        assert!(!shown.is_full_before(&picture(5)));
        assert!(!shown.is_full_before(&picture(6)));
        assert!(shown.is_full_before(&[]));
        assert!(!shown.is_full_before(&[VideoPicture {
            id: "unknown".to_owned(),
            src: "1.bmp".to_owned(),
            drawn: None
        }]));
    }
}
