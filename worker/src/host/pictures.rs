//! How much memory the pictures of videos hold in the browser.

use std::collections::HashMap;

use super::{ServedVideo, VideoPicture};

/// Bytes of decoded pictures that a browser may hold before it is told to give them up. Telling it takes some milliseconds, and what
/// is still shown is decoded anew.
const KEPT_BYTES: u64 = 96 << 20;

/// The pictures that a page was given since its browser last gave up old ones. Each is an image of its own to Chrome, which keeps a
/// decoded one until the memory of all of them is full: half a gigabyte a browser.
#[derive(Debug, Default)]
pub(super) struct ShownPictures {
    /// Bytes of a picture and the address of the last one, by the video's id.
    videos: HashMap<String, (u64, String)>,
    bytes: u64,
}

impl ShownPictures {
    pub(super) fn of(videos: &[ServedVideo]) -> Self {
        let sized = |video: &ServedVideo| {
            (video.id.clone(), (u64::from(video.width) * u64::from(video.height) * 4, String::new()))
        };
        Self { videos: videos.iter().map(sized).collect(), bytes: 0 }
    }

    /// Notes what is shown next. Answers whether the browser is to give up what it decoded before; counting begins anew then.
    pub(super) fn are_too_many(&mut self, next: &[VideoPicture]) -> bool {
        let full = self.bytes >= KEPT_BYTES;
        if full {
            self.bytes = 0;
        }
        for picture in next {
            if let Some((bytes, last)) = self.videos.get_mut(&picture.id)
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
        let video = ServedVideo { id: "v".to_owned(), width: 4096, height: 2048 };
        let picture = |number: u32| [VideoPicture { id: "v".to_owned(), src: format!("{number}.bmp") }];
        let mut shown = ShownPictures::of(&[video]);
        // 32 MB each: the third fills it, and the next seek is the one that says so.
        assert!([1, 1, 1, 2, 2, 3].into_iter().all(|number| !shown.are_too_many(&picture(number))));
        assert!(shown.are_too_many(&picture(4)));
        assert!(!shown.are_too_many(&picture(5)));
        assert!(!shown.are_too_many(&picture(6)));
        assert!(shown.are_too_many(&[]));
        assert!(!shown.are_too_many(&[VideoPicture { id: "unknown".to_owned(), src: "1.bmp".to_owned() }]));
    }
}
