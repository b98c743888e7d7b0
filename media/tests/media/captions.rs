//! Captions as files and as a track, read by FFmpeg's own readers and decoders.

use std::fs;
use std::path::Path;

use ffmpeg_next::codec;
use ffmpeg_next::codec::subtitle::{Rect, Subtitle};
use ffmpeg_next::{Rescale, format, media};
use hyperfarm_media::{SideTracks, count_packets, join, srt, webvtt};
use hyperfarm_proto::plan::Caption;
use hyperfarm_proto::spec::Format;

use crate::common::*;

fn captions() -> Vec<Caption> {
    [(33, 1_001, "a < b & <i>c</i>"), (500, 900, "two\nlines"), (1_500, 2_000, "{\\an8}éß 漢字")]
        .map(|(start_ms, end_ms, text)| Caption { start_ms, end_ms, text: text.to_owned() })
        .to_vec()
}

/// Start and end in milliseconds, and text, of each caption that FFmpeg finds in a file; without empty ones.
fn found(path: &Path) -> Vec<(i64, i64, String)> {
    let mut input = format::input(path).unwrap();
    let stream = input.streams().best(media::Type::Subtitle).unwrap();
    let (index, time_base) = (stream.index(), stream.time_base());
    let mut decoder = codec::Context::from_parameters(stream.parameters()).unwrap().decoder().subtitle().unwrap();
    let mut found = Vec::new();
    for (stream, packet) in input.packets() {
        if stream.index() != index {
            continue;
        }
        let mut subtitle = Subtitle::new();
        decoder.decode(&packet, &mut subtitle).unwrap();
        let text: String = subtitle
            .rects()
            .filter_map(|rect| match rect {
                // Nine fields with commas between them, the last of which is the text.
                Rect::Ass(rect) => rect.get().splitn(9, ',').last().map(|text| text.replace("\\N", "\n")),
                _ => None,
            })
            .collect();
        if !text.is_empty() {
            let ms = |ticks: i64| ticks.rescale(time_base, (1, 1000));
            let start = packet.pts().unwrap();
            found.push((ms(start), ms(start + packet.duration()), text.replace('\u{2060}', "")));
        }
    }
    found
}

#[test]
fn files_of_captions_have_the_times_and_texts_that_ffmpeg_reads() {
    let folder = folder();
    // FFmpeg's own form of texts escapes braces and backslashes.
    let plain = |text: &str| text.replace("\\{", "{").replace("\\}", "}").replace("\\\\", "\\");
    for (name, text) in [("captions.srt", srt(&captions())), ("captions.vtt", webvtt(&captions()))] {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        let found: Vec<_> = found(&path).into_iter().map(|(start, end, text)| (start, end, plain(&text))).collect();
        let expected: Vec<_> =
            captions().into_iter().map(|own| (own.start_ms as i64, own.end_ms as i64, own.text)).collect();
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn a_caption_track_has_exact_times_whatever_the_chunks() {
    let folder = folder();
    let rate = rate(30, 1);
    for format in [Format::Mp4, Format::Mov] {
        let settings = quick(format);
        let outputs = [&[63_u64][..], &[7, 50, 1, 5]].map(|lengths| {
            let mut first = 0;
            let segments: Vec<_> = lengths
                .iter()
                .map(|length| {
                    first += length;
                    segment(folder.path(), &format!("{first}"), &settings, rate, first - length..first)
                })
                .collect();
            let output = folder.path().join(format!("{}.{format}", lengths.len()));
            let beside = SideTracks { audio: None, captions: &captions(), light: None };
            let summary = join(&segments, beside, &output, &settings, SMALL, rate, &|| true).unwrap();
            assert_eq!((summary.video_packets, summary.duration_seconds), (63, 2.1));
            output
        });
        if format == Format::Mov {
            // Every picture stands for itself, so chunks leave no trace.
            assert!(fs::read(&outputs[0]).unwrap() == fs::read(&outputs[1]).unwrap());
        }
        assert_eq!(found(&outputs[0]), found(&outputs[1]), "{format}");
        let count = count_packets(&outputs[0]).unwrap();
        assert_eq!((count.video, count.frames_contiguous, count.video_end), (63, true, Some(2.1)), "{format}");
        assert_eq!(numbers_in(&outputs[0]).len(), 63);
        let first = "a < b & <i>c</i>";
        let texts: Vec<_> =
            found(&outputs[0]).into_iter().map(|(start, end, text)| (start, end, text.replace("\\{", "{"))).collect();
        let expected = [
            (33, 500, first.to_owned()),
            (500, 900, format!("{first}\ntwo\nlines")),
            (900, 1_001, first.to_owned()),
            (1_500, 2_000, "{\\an8}éß 漢字".to_owned()),
        ];
        assert_eq!(texts, expected, "{format}");
        let length = format::input(&outputs[0]).unwrap().duration();
        assert_eq!(length, 2_100_000, "{format}");
    }
}
