//! Segments with a track for each rendition, and what players fetch of them.

use std::fs;

use hyperfarm_media::{
    MediaError, Picture, RenditionsEncoder, SegmentPosition, count_packets, decode_video, video_fragments, video_header,
};
use hyperfarm_proto::plan::EncoderSettings;
use hyperfarm_proto::spec::{Format, RenderSpec, Size};

use crate::common::*;

/// Pictures of which the first three are equal.
fn shown(frame: u64) -> u64 {
    frame.max(2) * 777
}

#[test]
fn every_track_has_every_frame_and_key_frames_at_the_same_ones() {
    const FRAMES: u64 = 40;
    let folder = folder();
    let rate = rate(6, 1);
    let spec = RenderSpec { format: Format::Hls, ..RenderSpec::default() };
    let sizes = [Size { width: 96, height: 48 }, Size { width: 64, height: 32 }];
    let settings = EncoderSettings { renditions: sizes.to_vec(), ..EncoderSettings::for_spec(&spec, rate) };
    let path = folder.path().join("segment.mp4");
    let mut encoder = RenditionsEncoder::create(&path, &settings, SMALL, rate).unwrap();
    for frame in 0..FRAMES {
        if matches!(frame, 1 | 2) {
            encoder.repeat().unwrap();
        } else {
            encoder.push(&numbered(shown(frame), SMALL).as_bitmap()).unwrap();
        }
    }
    let summary = encoder.finish().unwrap();
    assert_eq!((summary.frames, summary.bytes), (FRAMES, fs::metadata(&path).unwrap().len()));
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1, "files of single tracks are removed");
    assert_eq!(count_packets(&path).unwrap().video, FRAMES, "the first track is the one that is read");

    let position = SegmentPosition { first_frame: 0, frames: FRAMES, total_frames: FRAMES, rate };
    for (track, size) in [SMALL, sizes[0], sizes[1]].into_iter().enumerate() {
        let mut bytes = video_header(&path, track, position, folder.path()).unwrap();
        let mut lengths = Vec::new();
        video_fragments(&path, track, 1, position, 13, &mut |fragment| {
            lengths.push(fragment.frames);
            bytes.extend(fragment.bytes);
            Ok::<_, MediaError>(())
        })
        .unwrap();
        // Key frames are at every twelfth frame: two seconds.
        assert_eq!(lengths, [24, 16], "track {track}");
        let played = folder.path().join("played.mp4");
        fs::write(&played, bytes).unwrap();
        let count = count_packets(&played).unwrap();
        assert_eq!((count.video, count.key_frames), (FRAMES, vec![0, 12, 24, 36]), "track {track}");
        let mut frame = 0;
        decode_video(&played, &mut |_, picture| {
            assert_eq!(picture.size, size, "track {track}");
            assert_eq!(number_of(&enlarged(picture)), shown(frame), "track {track}, frame {frame}");
            frame += 1;
            true
        })
        .unwrap();
        assert_eq!(frame, FRAMES);
    }
    assert!(video_header(&path, 3, position, folder.path()).is_err(), "there is no fourth track");
}

/// `picture` at the size of [`SMALL`], by its nearest pixels.
fn enlarged(picture: &Picture) -> Picture {
    let nearest = |at: u32, from: u32, to: u32| at * from / to;
    let pixels = (0..SMALL.height).flat_map(|y| (0..SMALL.width).map(move |x| (x, y)));
    let bgra = pixels.flat_map(|(x, y)| {
        let (x, y) = (nearest(x, picture.size.width, SMALL.width), nearest(y, picture.size.height, SMALL.height));
        picture.pixel(x, y).unwrap()
    });
    Picture { size: SMALL, bgra: bgra.collect() }
}
