//! Each output of a video: codec, profile, depth, tags, exact frames and samples, and bytes that do not depend on chunks.

use std::fs;
use std::path::{Path, PathBuf};

use hyperfarm_media::{
    MixInput, MixOutput, MixPart, SegmentEncoder, SegmentFile, count_packets, decode_audio, join, mix, poster, probe,
    storyboard,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use hyperfarm_proto::spec::{AudioCodec, Codec, Format, Profile, Quality, RenderSpec, Size, Timecode};

use crate::common::*;

/// The smallest size that every codec takes is 256 by 120.
const SIZE: Size = Size { width: 256, height: 128 };

const FRAMES: u64 = 12;

/// An output and what its file says of it.
struct Output {
    format: Format,
    codec: Codec,
    profile: Option<Profile>,
    bit_depth: Option<u32>,
    /// FFmpeg's name of the codec.
    name: &'static str,
    pixels: &'static str,
    /// Code of the sample entry in an mp4 or a mov, by which editors know codec and profile.
    entry: &'static [u8],
}

const fn master(profile: Profile, name: &'static str, pixels: &'static str, entry: &'static [u8]) -> Output {
    let codec = match profile {
        Profile::DnxHrHq | Profile::DnxHrHqx => Codec::DnxHr,
        _ => Codec::ProRes,
    };
    Output { format: Format::Mov, codec, profile: Some(profile), bit_depth: None, name, pixels, entry }
}

const fn compressed(
    format: Format,
    codec: Codec,
    bit_depth: u32,
    name: &'static str,
    pixels: &'static str,
    entry: &'static [u8],
) -> Output {
    Output { format, codec, profile: None, bit_depth: Some(bit_depth), name, pixels, entry }
}

const MASTERS: [Output; 7] = [
    master(Profile::ProRes422Lt, "prores", "yuv422p10le", b"apcs"),
    master(Profile::ProRes422, "prores", "yuv422p10le", b"apcn"),
    master(Profile::ProRes422Hq, "prores", "yuv422p10le", b"apch"),
    master(Profile::ProRes4444, "prores", "yuva444p12le", b"ap4h"),
    master(Profile::ProRes4444Xq, "prores", "yuva444p12le", b"ap4x"),
    master(Profile::DnxHrHq, "dnxhd", "yuv422p", b"AVdh"),
    master(Profile::DnxHrHqx, "dnxhd", "yuv422p10le", b"AVdh"),
];

const COMPRESSED: [Output; 6] = [
    compressed(Format::Mp4, Codec::H265, 8, "hevc", "yuv420p", b"hvc1"),
    compressed(Format::Mp4, Codec::H265, 10, "hevc", "yuv420p10le", b"hvc1"),
    compressed(Format::Mp4, Codec::Av1, 8, "av1", "yuv420p", b"av01"),
    compressed(Format::Mp4, Codec::Av1, 10, "av1", "yuv420p10le", b"av01"),
    compressed(Format::Webm, Codec::Av1, 8, "av1", "yuv420p", b"V_AV1"),
    compressed(Format::Webm, Codec::Av1, 10, "av1", "yuv420p10le", b"V_AV1"),
];

impl Output {
    fn spec(&self, quality: Quality) -> RenderSpec {
        RenderSpec {
            format: self.format,
            codec: Some(self.codec),
            profile: self.profile,
            bit_depth: self.bit_depth,
            quality,
            ..RenderSpec::default()
        }
    }

    fn settings(&self, quality: Quality, rate: FrameRate) -> EncoderSettings {
        self.spec(quality).check_output().unwrap();
        EncoderSettings { keyframe_interval: 12, ..EncoderSettings::for_spec(&self.spec(quality), rate) }
    }

    fn label(&self) -> String {
        format!("{} {} {:?} {:?}", self.format, self.codec, self.profile, self.bit_depth)
    }
}

/// The output of segments of `lengths` frames, with `sound`.
fn joined(
    folder: &Path,
    name: &str,
    settings: &EncoderSettings,
    rate: FrameRate,
    lengths: &[u64],
    sound: Option<&Path>,
) -> PathBuf {
    let mut first = 0;
    let mut files = Vec::new();
    for (at, length) in lengths.iter().enumerate() {
        let path = folder.join(format!("{name}-{at}"));
        let mut encoder = SegmentEncoder::create(&path, settings, SIZE, rate).unwrap();
        for number in first..first + length {
            encoder.push(&numbered(number, SIZE).as_bitmap()).unwrap();
        }
        files.push(SegmentFile { path, frames: encoder.finish().unwrap().frames });
        first += length;
    }
    let output = folder.join(format!("{name}.{}", settings.format));
    join(&files, sound, &output, settings, SIZE, rate, &|| true).unwrap();
    output
}

/// Sound of as many frames as the outputs have.
fn sound(folder: &Path, codec: AudioCodec, rate: FrameRate) -> PathBuf {
    let source = wav(folder, "tone.wav", 48_000, 1, &sine(48_000, 1.0, 440.0, 0.5));
    let item = crate::common::sound(timing(0.0, 1.0), &[]);
    let inputs = [MixInput { path: &source, item: &item, rendered: false }];
    let path = folder.join(format!("mix-{codec}"));
    mix(None, &inputs, &MixPart::whole(FRAMES, rate), codec, &path, &mut |_| true).unwrap();
    path
}

fn contains(path: &Path, bytes: &[u8]) -> bool {
    fs::read(path).unwrap().windows(bytes.len()).any(|found| found == bytes)
}

fn check(output: &Output, rate: FrameRate) {
    let (folder, label) = (folder(), output.label());
    let settings = output.settings(Quality::Draft, rate);
    let sound = sound(folder.path(), settings.audio_codec, rate);
    let several = joined(folder.path(), "several", &settings, rate, &[5, 1, 6], Some(&sound));
    assert_eq!(numbers_in(&several), (0..FRAMES).collect::<Vec<_>>(), "{label}");
    let video = probe(&several).unwrap().video.unwrap();
    assert_eq!((video.codec.as_str(), video.pixel_format.as_str()), (output.name, output.pixels), "{label}");
    assert_eq!((video.size, video.frame_rate), (SIZE, Some(rate)), "{label}");
    let tags = [&video.color.primaries, &video.color.transfer, &video.color.matrix, &video.color.range];
    assert_eq!(tags, ["bt709", "bt709", "bt709", "tv"], "{label}");
    assert!(contains(&several, output.entry), "{label}");
    assert_eq!(contains(&several, b"tmcd"), settings.timecode.is_some(), "{label}");
    let count = count_packets(&several).unwrap();
    assert_eq!((count.video, count.frames_contiguous, count.dts_increase), (FRAMES, true, true), "{label}");
    assert_eq!(count.first_video_pts, Some(0.0), "{label}");
    let samples = (48_000.0 * rate.seconds_of(FRAMES)).round() as usize;
    assert_eq!((count.audio_samples, decode_audio(&several).unwrap().len()), (samples as u64, samples), "{label}");
    let audio = probe(&several).unwrap().audio.unwrap();
    let is_master = output.profile.is_some_and(|profile| profile != Profile::ProRes4444);
    assert_eq!(audio.codec == "pcm_s24le", is_master, "{label}: {}", audio.codec);
    if is_master {
        let samples = decode_audio(&several).unwrap();
        for (at, [left, right]) in samples.iter().enumerate() {
            let level = (at as f64 / 48_000.0 * 440.0 * std::f64::consts::TAU).sin() * 0.5;
            assert!((f64::from(*left) - level).abs() < 1e-4 && left == right, "{label}: {at} {left} {level}");
        }
    }
    if output.format == Format::Mov {
        // Every picture stands for itself, so chunks leave no trace.
        let whole = joined(folder.path(), "whole", &settings, rate, &[FRAMES], Some(&sound));
        assert!(fs::read(&whole).unwrap() == fs::read(&several).unwrap(), "{label}");
    } else {
        assert!([0, 5, 6].iter().all(|seam| count.key_frames.contains(seam)), "{label}: {:?}", count.key_frames);
        for threads in [1, 4] {
            let settings = EncoderSettings { threads, ..settings.clone() };
            // x265's bytes depend on no thread either, because it is given no pool.
            let again = joined(folder.path(), "again", &settings, rate, &[5, 1, 6], Some(&sound));
            assert!(fs::read(&again).unwrap() == fs::read(&several).unwrap(), "{label} of {threads} threads");
        }
    }
}

#[test]
fn masters_have_their_profile_exact_frames_and_samples() {
    for output in &MASTERS {
        for rate in [rate(25, 1), rate(24_000, 1001)] {
            check(output, rate);
        }
    }
}

#[test]
fn compressed_outputs_have_their_depth_exact_frames_and_samples() {
    for output in &COMPRESSED {
        for rate in [rate(25, 1), rate(30_000, 1001)] {
            check(output, rate);
        }
    }
}

#[test]
fn av1_is_the_same_every_time_at_every_quality_and_bit_rate() {
    let folder = folder();
    for quality in [Quality::Draft, Quality::Standard, Quality::High] {
        for bits in [None, hyperfarm_proto::spec::Bitrate::new(300_000)] {
            let output = &COMPRESSED[3];
            let spec = RenderSpec { video_bitrate: bits, ..output.spec(quality) };
            let settings = EncoderSettings::for_spec(&spec, rate(30, 1));
            let of = |name: &str, threads: u32| {
                let settings = EncoderSettings { threads, ..settings.clone() };
                fs::read(joined(folder.path(), name, &settings, rate(30, 1), &[40, 20], None)).unwrap()
            };
            let one = of("one", 1);
            // Its tiles and rows are one thread's work, so more threads change nothing.
            let threads: &[u32] = &[1, 2, 8];
            for threads in threads {
                assert!(one == of("other", *threads), "{quality:?} {bits:?} {threads} threads");
            }
        }
    }
}

#[test]
fn a_timecode_track_says_the_first_frame_and_what_was_there_keeps_its_bytes() {
    let folder = folder();
    let output = |timecode: Option<&str>, profile: Option<Profile>, rate: FrameRate| {
        let spec = RenderSpec {
            format: Format::Mov,
            profile,
            timecode: timecode.map(|timecode| timecode.parse().unwrap()),
            ..RenderSpec::default()
        };
        let settings = EncoderSettings::for_spec(&spec, rate);
        (settings.timecode, joined(folder.path(), "timecode", &settings, rate, &[2, 2], None))
    };
    // The track has one sample: the number of the first frame, after the media data of the pictures.
    let (ntsc, pal) = (rate(30_000, 1001), rate(25, 1));
    for (timecode, rate, frame) in
        [("01:00:00:00", pal, 90_000_u32), ("01:00:00;00", ntsc, 107_892), ("01:00:00:00", ntsc, 108_000)]
    {
        let (_, path) = output(Some(timecode), Some(Profile::ProRes422), rate);
        assert!(contains(&path, b"tmcd") && contains(&path, &frame.to_be_bytes()), "{timecode} {rate}");
        assert_eq!(count_packets(&path).unwrap().video, 4);
    }
    assert_eq!(output(None, Some(Profile::ProRes422), pal).0, Some(Timecode::ZERO));
    let (timecode, path) = output(None, None, pal);
    assert!(timecode.is_none() && !contains(&path, b"tmcd"));
    assert!(output(Some("10:00:00:00"), None, pal).0.is_some());
}

#[test]
fn a_profile_decides_how_many_bytes_a_frame_has() {
    let folder = folder();
    let bytes = |profile| {
        let spec = RenderSpec { format: Format::Mov, profile: Some(profile), ..RenderSpec::default() };
        let settings = EncoderSettings::for_spec(&spec, rate(30, 1));
        assert!(matches!(settings.codec, VideoCodec::ProRes { .. } | VideoCodec::DnxHr { .. }));
        fs::metadata(joined(folder.path(), "bytes", &settings, rate(30, 1), &[4], None)).unwrap().len()
    };
    for [smaller, larger] in [
        [Profile::ProRes422Lt, Profile::ProRes422],
        [Profile::ProRes422, Profile::ProRes422Hq],
        [Profile::ProRes422Hq, Profile::ProRes4444Xq],
        [Profile::ProRes4444, Profile::ProRes4444Xq],
    ] {
        assert!(bytes(smaller) < bytes(larger), "{smaller} and {larger}");
    }
}

#[test]
fn a_wav_file_beside_the_sound_has_its_samples_before_they_are_encoded() {
    let folder = folder();
    let rate = rate(30_000, 1001);
    let levels = sine(48_000, 1.0, 440.0, 0.5);
    let source = wav(folder.path(), "tone.wav", 48_000, 1, &levels);
    let item = crate::common::sound(timing(0.0, 1.0), &[]);
    let inputs = [MixInput { path: &source, item: &item, rendered: false }];
    let (path, beside) = (folder.path().join("mix"), folder.path().join("beside.wav"));
    let output = MixOutput { path: &path, wav: Some(&beside) };
    for part in [MixPart::whole(FRAMES, rate), MixPart { first_frame: 5, frames: 4, composition_frames: FRAMES, rate }]
    {
        for format in [Format::Mp4, Format::Webm] {
            let summary = mix(None, &inputs, &part, format, output, &mut |_| true).unwrap();
            let first = rate.samples_of(part.first_frame, 48_000) as usize;
            let samples = decode_audio(&beside).unwrap();
            assert_eq!(samples.len() as u64, summary.samples);
            for (at, sample) in samples.iter().enumerate() {
                let level = (levels[first + at] * 32_767.0).round() / 32_768.0;
                assert!(sample.iter().all(|side| (f64::from(*side) - level).abs() < 1e-6), "{at}: {sample:?}, {level}");
            }
            let audio = probe(&beside).unwrap().audio.unwrap();
            assert_eq!((audio.codec.as_str(), audio.sample_rate), ("pcm_s24le", 48_000));
            let bytes = fs::read(&beside).unwrap();
            mix(None, &inputs, &part, format, output, &mut |_| true).unwrap();
            assert!(fs::read(&beside).unwrap() == bytes, "{format}");
        }
    }
}

#[test]
fn a_poster_is_the_frame_that_was_asked_for() {
    let folder = folder();
    for format in [Format::Mp4, Format::Webm, Format::Mov, Format::Gif] {
        let rate = rate(30_000, 1001);
        let file = segment(folder.path(), "poster", &quick(format), rate, 0..9);
        for frame in [0, 4, 8] {
            let path = folder.path().join("poster.jpg");
            poster(&file.path, frame, rate, &path).unwrap();
            let stills = numbers_in(&as_video(&path, SMALL));
            assert_eq!(stills, [frame], "{format}");
        }
    }
}

#[test]
fn a_storyboard_has_a_picture_of_each_interval_whatever_the_chunks() {
    let folder = folder();
    let rate = rate(30, 1);
    let boards: Vec<_> = [&[220_u64][..], &[7, 100, 1, 112]]
        .iter()
        .enumerate()
        .map(|(number, lengths)| {
            let mut first = 0;
            let mut files = Vec::new();
            for length in *lengths {
                let name = format!("board-{number}-{first}");
                files.push(segment(folder.path(), &name, &quick(Format::Mov), rate, first..first + length));
                first += length;
            }
            let to = folder.path().join(format!("{number}"));
            fs::create_dir(&to).unwrap();
            let paths = storyboard(&files, rate, 2, &to, &|| true).unwrap();
            let stopped = storyboard(&files, rate, 2, &to, &|| false);
            assert!(matches!(stopped, Err(hyperfarm_media::MediaError::Stopped)));
            paths
        })
        .collect();
    let [one, several] = boards.as_slice() else { panic!("two") };
    for (one, other) in one.iter().zip(several) {
        assert!(fs::read(one).unwrap() == fs::read(other).unwrap(), "{}", one.display());
    }
    let names: Vec<_> = one.iter().map(|path| path.file_name().unwrap().to_str().unwrap()).collect();
    assert_eq!(names, ["storyboard-001.jpg", "storyboard-002.jpg", "storyboard.vtt"]);
    let index = fs::read_to_string(&one[2]).unwrap();
    let cues: Vec<&str> = index.split("\n\n").skip(1).collect();
    assert_eq!(cues.len(), 110);
    assert_eq!(cues[0], "00:00:00.000 --> 00:00:00.067\nstoryboard-001.jpg#xywh=0,0,128,64");
    assert_eq!(cues[109].trim(), "00:00:07.267 --> 00:00:07.333\nstoryboard-002.jpg#xywh=1152,0,128,64");
    for (sheet, first, count) in [(0, 0, 100), (1, 100, 10)] {
        let size = Size { width: SMALL.width * 10, height: SMALL.height * (count / 10) };
        let mut found = Vec::new();
        hyperfarm_media::decode_video(&as_video(&one[sheet], size), &mut |_, shown| {
            found.push(shown.clone());
            true
        })
        .unwrap();
        for cell in 0..count {
            let (left, top) = ((cell % 10 * SMALL.width) as usize, (cell / 10 * SMALL.height) as usize);
            let rows = found[0].bgra.chunks(size.width as usize * 4).skip(top).take(SMALL.height as usize);
            let bgra = rows.flat_map(|row| &row[left * 4..][..SMALL.width as usize * 4]).copied().collect();
            let picture = hyperfarm_media::Picture { size: SMALL, bgra };
            assert_eq!(number_of(&picture), u64::from(first + cell) * 2, "cell {cell} of sheet {sheet}");
        }
    }
}

/// A JPEG file of `size` as a video of one frame: the decoder of JPEG is open to files of AVI only, whose packets are JPEG files.
fn as_video(jpeg: &Path, size: Size) -> PathBuf {
    let data = fs::read(jpeg).unwrap();
    let chunk = |name: &[u8], content: &[u8]| {
        let mut bytes = name.to_vec();
        bytes.extend((content.len() as u32).to_le_bytes());
        bytes.extend(content);
        bytes.resize(bytes.len().next_multiple_of(2), 0);
        bytes
    };
    let list = |name: &[u8], content: &[u8]| chunk(b"LIST", &[name, content].concat());
    let words = |words: &[u32]| words.iter().flat_map(|word| word.to_le_bytes()).collect::<Vec<u8>>();
    let main = words(&[33_333, 0, 0, 0x10, 1, 0, 1, 0, size.width, size.height, 0, 0, 0, 0]);
    let stream = [b"vidsMJPG".to_vec(), words(&[0, 0, 0, 1, 30, 0, 1, 0, u32::MAX, 0, 0, 0])].concat();
    let picture = [words(&[40, size.width, size.height, 0x0018_0001]), b"MJPG".to_vec(), words(&[0; 5])].concat();
    let streams = list(b"strl", &[chunk(b"strh", &stream), chunk(b"strf", &picture)].concat());
    let header = list(b"hdrl", &[chunk(b"avih", &main), streams].concat());
    let movie = list(b"movi", &chunk(b"00dc", &data));
    let path = jpeg.with_extension("avi");
    fs::write(&path, chunk(b"RIFF", &[b"AVI ".to_vec(), header, movie].concat())).unwrap();
    path
}
