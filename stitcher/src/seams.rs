//! The warning of seams between chunks that differ.

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::seam::Seams;

/// Most frames that the warning names.
const MAX_NAMED: usize = 8;

/// The warning that names the frames at seams that differ, at `rate` frames a second; `None` where no seam does.
pub(crate) fn warning(seams: &Seams, segments: &[SegmentRecord], rate: FrameRate) -> Option<Warning> {
    if seams.different.is_empty() {
        return None;
    }
    let first_frames = seams.different.iter().filter_map(|position| Some(segments.get(*position)?.frames.start()));
    let name = |frame: u64| format!("{frame} ({:.3} s)", rate.seconds_of(frame));
    let named: Vec<String> = first_frames.take(MAX_NAMED).map(name).collect();
    let more = seams.different.len().saturating_sub(MAX_NAMED);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let message = format!(
        "at {} of {} seams between chunks the picture is not that of a render in one chunk: before frame {}{more}. Something in the \
         page depends on more than the composition's time; a render with one chunk has no seams",
        seams.different.len(),
        seams.compared,
        named.join(", ")
    );
    Some(Warning { code: "SEAM_DIFFERS".to_owned(), message })
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::frame::FrameRange;
    use hyperfarm_proto::id::{ContentHash, FrameHash};
    use hyperfarm_proto::plan::ChunkStart;
    use hyperfarm_proto::record::{CapturePath, ChunkTimings};

    use super::*;

    fn segment(chunk: u32, start: u64, after: Option<u128>) -> SegmentRecord {
        SegmentRecord {
            chunk,
            attempt: 1,
            plan: None,
            frames: FrameRange::new(start, start + 2).unwrap(),
            key: String::new(),
            hash: ContentHash::of(b""),
            bytes: 0,
            start: ChunkStart::default(),
            after: after.map(FrameHash::from_u128),
            frame_hashes: [start, start + 1].map(|frame| FrameHash::from_u128(frame.into())).to_vec(),
            path: CapturePath::Png,
            worker: "w1".to_owned(),
            timings: ChunkTimings::default(),
            thumbnail: None,
            light: None,
            warnings: Vec::new(),
        }
    }

    #[test]
    fn unequal_pictures_are_named_by_their_frames() {
        let segments = [
            segment(0, 0, Some(2)),
            segment(1, 2, Some(99)),
            segment(2, 4, None),
            segment(3, 6, Some(8)),
            segment(4, 8, None),
        ];
        let seams = Seams::compare(&segments);
        assert_eq!(seams, Seams { compared: 3, different: vec![2] });
        let warning = warning(&seams, &segments, FrameRate::new(10, 1).unwrap()).unwrap();
        assert_eq!(warning.code, "SEAM_DIFFERS");
        assert!(
            warning.message.contains("1 of 3 seams") && warning.message.contains("frame 4 (0.400 s)"),
            "{}",
            warning.message
        );
        let equal = &segments[..2];
        assert_eq!(super::warning(&Seams::compare(equal), equal, FrameRate::DEFAULT), None);
    }
}
