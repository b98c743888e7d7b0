//! The proof of the seams: a chunk draws the frame before its first one when it starts, and that picture must be the
//! last one of the chunk before. Where it is not, the chunk began in another state than a walk from the first frame has
//! there.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::record::SegmentRecord;

/// Most frames that the warning names.
const MAX_NAMED: usize = 8;

/// The seams of a render.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Seams {
    /// Number of seams whose two pictures were compared.
    pub(crate) compared: usize,
    /// First frames of the chunks behind seams that differ.
    pub(crate) different: Vec<u64>,
}

/// Compares the pictures at the seams between `segments`, which are in order.
pub(crate) fn compare(segments: &[SegmentRecord]) -> Seams {
    let mut seams = Seams { compared: 0, different: Vec::new() };
    for pair in segments.windows(2) {
        let [earlier, later] = pair else { continue };
        let (Some(last), Some(before)) = (earlier.frame_hashes.last(), later.before) else { continue };
        seams.compared += 1;
        if *last != before {
            seams.different.push(later.frames.start());
        }
    }
    seams
}

impl Seams {
    /// The warning that names the frames, at `rate` frames a second; `None` where no seam differs.
    pub(crate) fn warning(&self, rate: FrameRate) -> Option<Warning> {
        if self.different.is_empty() {
            return None;
        }
        let name = |frame: &u64| format!("{frame} ({:.3} s)", rate.seconds_of(*frame));
        let named: Vec<String> = self.different.iter().take(MAX_NAMED).map(name).collect();
        let more = self.different.len().saturating_sub(MAX_NAMED);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let message = format!(
            "at {} of {} seams between chunks the picture is not that of a render in one chunk: before frame {}{more}. Something in the \
             page depends on more than the composition's time; a render with one chunk has no seams",
            self.different.len(),
            self.compared,
            named.join(", ")
        );
        Some(Warning { code: "SEAM_DIFFERS".to_owned(), message })
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::frame::FrameRange;
    use hyperfarm_proto::id::{ContentHash, FrameHash};
    use hyperfarm_proto::record::{CapturePath, ChunkTimings};

    use super::*;

    fn segment(chunk: u32, start: u64, before: Option<u128>) -> SegmentRecord {
        SegmentRecord {
            chunk,
            attempt: 1,
            plan: None,
            frames: FrameRange::new(start, start + 2).unwrap(),
            key: String::new(),
            hash: ContentHash::of(b""),
            bytes: 0,
            before: before.map(FrameHash::from_u128),
            frame_hashes: [start, start + 1].map(|frame| FrameHash::from_u128(frame.into())).to_vec(),
            path: CapturePath::Png,
            worker: "w1".to_owned(),
            timings: ChunkTimings::default(),
            thumbnail: None,
        }
    }

    #[test]
    fn unequal_pictures_are_named_by_their_frames() {
        let segments = [
            segment(0, 0, None),
            segment(1, 2, Some(1)),
            segment(2, 4, Some(99)),
            segment(3, 6, None),
            segment(4, 8, Some(7)),
        ];
        let seams = compare(&segments);
        assert_eq!(seams, Seams { compared: 3, different: vec![4] });
        let warning = seams.warning(FrameRate::new(10, 1).unwrap()).unwrap();
        assert_eq!(warning.code, "SEAM_DIFFERS");
        assert!(
            warning.message.contains("1 of 3 seams") && warning.message.contains("frame 4 (0.400 s)"),
            "{}",
            warning.message
        );
        assert_eq!(compare(&segments[..2]).warning(FrameRate::DEFAULT), None);
    }
}
