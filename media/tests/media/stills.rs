//! Thumbnails.

use std::fs;

use hyperfarm_media::{SegmentEncoder, probe, thumbnail};
use hyperfarm_proto::spec::Format;

use crate::common::*;

/// Width and height in a JPEG's frame header.
fn jpeg_size(bytes: &[u8]) -> (u16, u16) {
    let at = bytes.windows(2).position(|two| two == [0xff, 0xc0]).unwrap();
    let number = |at: usize| u16::from_be_bytes([bytes[at], bytes[at + 1]]);
    (number(at + 7), number(at + 5))
}

#[test]
fn thumbnails_are_jpegs_of_the_right_size() {
    let folder = folder();
    let video = segment(folder.path(), "video", &thorough(), rate(30, 1), 0..30).path;
    let output = folder.path().join("still.jpg");
    for (at, width, want) in [(0.5, 64, (64, 32)), (0.0, 1000, (128, 64)), (99.0, 33, (33, 17)), (f64::NAN, 0, (1, 1))]
    {
        thumbnail(&video, at, width, &output).unwrap();
        let bytes = fs::read(&output).unwrap();
        assert!(bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]));
        assert_eq!(jpeg_size(&bytes), want);
        assert!(!String::from_utf8_lossy(&bytes).contains("Lavc"));
    }
    let first = fs::read(&output).unwrap();
    thumbnail(&video, 0.0, 0, &output).unwrap();
    assert_eq!(fs::read(&output).unwrap(), first);
}

#[test]
fn transparent_videos_have_thumbnails() {
    let folder = folder();
    let path = folder.path().join("clear.webm");
    let mut encoder = SegmentEncoder::create(&path, &quick(Format::Webm), SMALL, rate(30, 1)).unwrap();
    let mut picture = numbered(0, SMALL);
    picture.bgra.fill(0);
    encoder.push(&picture.as_bitmap()).unwrap();
    encoder.finish().unwrap();
    assert!(probe(&path).unwrap().video.unwrap().has_alpha);
    let output = folder.path().join("clear.jpg");
    thumbnail(&path, 0.0, 64, &output).unwrap();
    assert_eq!(jpeg_size(&fs::read(&output).unwrap()), (64, 32));
}
