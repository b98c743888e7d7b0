//! Decoders' processes of the real program: equal results, limits, crashes, confinement.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use hyperfarm_media::{
    Bitmap, Decoders, MediaError, MediaLimits, MixInput, MixPart, Picture, PixelLayout, SegmentEncoder, VideoSource,
    mix, probe,
};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{AudioItem, EncoderSettings, MediaTiming, VideoHeaders};
use hyperfarm_proto::spec::{Format, Quality, Size};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;

const PROGRAM: &str = env!("CARGO_BIN_EXE_hyperfarm");

fn decoders(limits: MediaLimits) -> Decoders {
    Decoders::isolated(PROGRAM, limits)
}

fn rate() -> FrameRate {
    FrameRate::new(30, 1).unwrap()
}

fn timing() -> MediaTiming {
    MediaTiming { start: 0.0, end: 1.0, media_start: 0.0, rate: 1.0, looped: false }
}

/// A video of `frames` pictures that differ.
fn video(path: PathBuf, size: Size, frames: u8) -> PathBuf {
    let settings = EncoderSettings::of(Format::Mp4, Quality::Draft, rate());
    let mut encoder = SegmentEncoder::create(&path, &settings, size, rate()).unwrap();
    for level in 0..frames {
        let data = vec![level.wrapping_mul(9); size.width as usize * size.height as usize * 4];
        encoder
            .push(&Bitmap { data: &data, stride: size.width as usize * 4, size, layout: PixelLayout::Bgra })
            .unwrap();
    }
    encoder.finish().unwrap();
    path
}

/// A stereo file of plain samples with the header fields given.
fn wav(path: PathBuf, sample_rate: u32, channels: u16, samples: usize) -> PathBuf {
    let data = samples * usize::from(channels) * 2;
    let mut bytes = b"RIFF".to_vec();
    bytes.extend((36 + data as u32).to_le_bytes());
    bytes.extend(b"WAVEfmt ");
    bytes.extend(16_u32.to_le_bytes());
    bytes.extend(1_u16.to_le_bytes());
    bytes.extend(channels.to_le_bytes());
    bytes.extend(sample_rate.to_le_bytes());
    bytes.extend(sample_rate.wrapping_mul(u32::from(channels) * 2).to_le_bytes());
    bytes.extend((channels * 2).to_le_bytes());
    bytes.extend(16_u16.to_le_bytes());
    bytes.extend(b"data");
    bytes.extend((data as u32).to_le_bytes());
    bytes.extend((0..data / 2).flat_map(|at| ((at % 200) as i16 * 100).to_le_bytes()));
    fs::write(&path, bytes).unwrap();
    path
}

/// Headers of a video, whose pictures begin at 0.
fn headers() -> VideoHeaders {
    VideoHeaders {
        time_base: (1, 15_360),
        origin: 0,
        duration: Some(1.0),
        has_variable_rate: false,
        display: Size { width: 64, height: 48 },
        has_alpha: false,
        hdr: None,
    }
}

/// The first picture of a video, with the headers above.
fn first_picture(decoders: &Decoders, path: &Path, name: &str) -> Result<Arc<Picture>, MediaError> {
    decoders.video(path, name, &headers(), &timing(), rate()).and_then(|mut video| video.numbered(0))
}

/// Every way in which a worker reads a source that is `name` in its project.
fn all_ways(decoders: &Decoders, path: &Path, name: &str) -> Vec<MediaError> {
    let item = AudioItem::plain("a", name, timing(), Vec::new());
    let folder = tempfile::tempdir().unwrap();
    let inputs = [MixInput { item: &item, path, rendered: false }];
    let output = folder.path().join("mix.m4a");
    [
        decoders.probe(path, name).err(),
        first_picture(decoders, path, name).err(),
        mix(Some(decoders), &inputs, &MixPart::whole(30, rate()), Format::Mp4, &output, &mut |_| true).err(),
    ]
    .into_iter()
    .flatten()
    .collect()
}

#[test]
fn processes_give_what_this_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path().join("v.mp4"), Size { width: 64, height: 48 }, 20);
    let decoders = decoders(MediaLimits::default());
    let info = decoders.probe(&path, "v.mp4").unwrap();
    assert_eq!(info, probe(&path).unwrap());
    let headers = info.video.unwrap().headers();
    let mut own = VideoSource::open(&path, &timing(), rate()).unwrap();
    let mut isolated = decoders.video(&path, "v.mp4", &headers, &timing(), rate()).unwrap();
    let held = isolated.numbered(5).unwrap();
    assert_eq!((headers.display, headers.has_alpha), (own.display_size(), own.has_alpha()));
    for frame in [0, 1, 2, 19, 3, 300] {
        let number = isolated.timeline().picture_at(frame);
        assert_eq!(number, own.timeline().picture_at(frame));
        let (isolated, own) = (isolated.numbered(number).unwrap(), own.numbered(number).unwrap());
        assert!(isolated.size == own.size && isolated.bgra == own.bgra, "{frame}");
    }
    isolated.close();
    assert!(isolated.numbered(7).unwrap().bgra == own.numbered(7).unwrap().bgra, "after it was closed");
    assert!(held.bgra == own.numbered(5).unwrap().bgra, "a picture that is held was overwritten");

    let sound = wav(folder.path().join("a.wav"), 44_100, 2, 100_000);
    let looped = MediaTiming { end: 4.0, rate: 1.3, looped: true, ..timing() };
    let item = AudioItem::plain("a", "a.wav", looped, Vec::new());
    let inputs = [MixInput { item: &item, path: &sound, rendered: false }];
    let (first, second) = (folder.path().join("first.m4a"), folder.path().join("second.m4a"));
    mix(None, &inputs, &MixPart::whole(150, rate()), Format::Mp4, &first, &mut |_| true).unwrap();
    mix(Some(&decoders), &inputs, &MixPart::whole(150, rate()), Format::Mp4, &second, &mut |_| true).unwrap();
    assert!(fs::read(first).unwrap() == fs::read(second).unwrap());
}

#[test]
fn sources_beyond_the_limits_are_refused_by_their_own_name() {
    let folder = tempfile::tempdir().unwrap();
    let large = video(folder.path().join("blob-of-a-video"), Size { width: 256, height: 128 }, 3);
    let limits = MediaLimits { pixels: 256 * 128 - 1, ..MediaLimits::default() };
    let channels = wav(folder.path().join("blob-of-channels"), 48_000, 200, 100);
    let slow = wav(folder.path().join("blob-of-slow"), 1, 2, 500);
    let rates = wav(folder.path().join("blob-of-rates"), 2_000_000, 1, 100);
    for decoders in [decoders(limits), Decoders::in_process(limits)] {
        for (path, name, says) in [
            (&large, "media/large.mp4", "256x128 pixels"),
            (&channels, "channels.wav", "200 channels"),
            (&slow, "slow.wav", "1 samples a second"),
            (&rates, "rates.wav", "2000000 samples a second"),
        ] {
            let errors = all_ways(&decoders, path, name);
            assert!(errors.len() >= 2, "{name}: {errors:?}");
            for text in errors.iter().map(|error| error.to_string()) {
                assert!(text.contains(name) && !text.contains("blob-of"), "{text}");
            }
            assert!(errors.iter().all(MediaError::is_input), "{errors:?}");
            assert!(errors.iter().any(|error| error.to_string().contains(says)), "{name}: {errors:?}");
        }
    }
}

#[test]
fn a_process_without_memory_costs_an_error_of_the_source() {
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path().join("blob"), Size { width: 2048, height: 2048 }, 2);
    let decoders = decoders(MediaLimits { memory: 8 << 20, ..MediaLimits::default() });
    let error = first_picture(&decoders, &path, "big.mp4").expect_err("a picture takes 16 MiB");
    assert!(error.is_input(), "{error:?}");
    assert!(error.to_string().contains("big.mp4") && error.to_string().contains("8 MiB"), "{error}");
}

#[test]
fn a_process_that_does_not_answer_is_ended() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("sleeper");
    fs::write(&program, "#!/bin/sh\nexec sleep 60\n").unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let started = Instant::now();
    let limits = MediaLimits { answer: Duration::from_secs(1), ..MediaLimits::default() };
    let error = Decoders::isolated(program, limits).probe(&folder.path().join("x"), "slow.mp4").unwrap_err();
    assert!(error.is_input() && error.to_string().contains("longer than 1 s"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(20));
}

#[test]
fn headers_are_read_once_for_each_content() {
    let folder = tempfile::tempdir().unwrap();
    let (path, count) = (folder.path().join("v.mp4"), folder.path().join("count"));
    video(path.clone(), Size { width: 64, height: 48 }, 5);
    let program = folder.path().join("counting");
    let (log, decoder) = (count.display(), format!("exec {PROGRAM} \"$@\""));
    fs::write(&program, format!("#!/bin/sh\necho >> {log}\n{decoder}\n")).unwrap();
    fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    let decoders = Decoders::isolated(program, MediaLimits::default());
    let starts = || fs::read_to_string(&count).unwrap().lines().count();
    let seconds = |name| decoders.clone().probe(&path, name).unwrap().duration.unwrap();
    assert!(seconds("a.mp4") < 0.2 && seconds("b.mp4") < 0.2);
    assert_eq!(starts(), 1);
    video(path.clone(), Size { width: 64, height: 48 }, 50);
    assert!(seconds("a.mp4") > 1.0);
    assert_eq!(starts(), 2);
}

#[test]
fn a_crash_is_an_error_of_the_source_and_an_end_from_outside_is_not() {
    let folder = tempfile::tempdir().unwrap();
    for (signal, is_input) in [("SEGV", true), ("ABRT", true), ("KILL", false)] {
        let program = folder.path().join(signal);
        fs::write(&program, format!("#!/bin/sh\nhead -c 4 >/dev/null\nulimit -c 0\nkill -{signal} $$\n")).unwrap();
        fs::set_permissions(&program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        let decoders = Decoders::isolated(program, MediaLimits::default());
        let error = decoders.probe(&folder.path().join("x"), "bad.mp4").unwrap_err();
        assert_eq!(error.is_input(), is_input, "{signal}: {error}");
        assert!(error.to_string().contains("bad.mp4"), "{error}");
    }
}

#[test]
fn a_process_is_confined_without_secrets_and_ends_with_its_farm() {
    let folder = tempfile::tempdir().unwrap();
    let path = video(folder.path().join("v.mp4"), Size { width: 64, height: 48 }, 20);
    let mut isolated = decoders(MediaLimits::default()).video(&path, "v.mp4", &headers(), &timing(), rate()).unwrap();
    isolated.numbered(0).unwrap();
    let own = std::process::id();
    let process = fs::read_dir("/proc")
        .unwrap()
        .filter_map(|entry| Some(entry.ok()?.path()))
        .find(|process| {
            let status = fs::read_to_string(process.join("status")).unwrap_or_default();
            let command = fs::read(process.join("cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command);
            status.contains(&format!("PPid:\t{own}\n"))
                && command.contains("decode-media")
                && status.contains("Seccomp:\t2")
        })
        .expect("the process of the decoder");
    let status = fs::read_to_string(process.join("status")).unwrap();
    for line in ["NoNewPrivs:\t1\n", "Seccomp:\t2\n"] {
        assert!(status.contains(line), "{line}: {status}");
    }
    let environment = fs::read(process.join("environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    let files = fs::read_dir(process.join("fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
    for file in files.map(|file| file.display().to_string()) {
        let own = file.starts_with("socket:") || file.contains("memfd:decoded") || file == "/dev/null";
        assert!(own || file == path.display().to_string(), "{file}");
    }
    assert!(environment.is_empty() || environment.starts_with("LD_LIBRARY_PATH="), "{environment}");
    decoders(MediaLimits::default()).check_confinement().unwrap();
    drop(isolated);
    assert!(!process.exists());
}

#[test]
fn a_process_whose_farm_is_gone_ends() {
    use std::process::{Command, Stdio};
    let (farm, theirs) = std::os::unix::net::UnixStream::pair().unwrap();
    let mut child = Command::new(PROGRAM)
        .arg(hyperfarm_media::DECODER_COMMAND)
        .stdin(std::os::fd::OwnedFd::from(theirs))
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    drop(farm);
    let status = child.wait().unwrap();
    assert!(status.code().is_some() || status.signal().is_some());
}

/// Files of the kinds that projects have, small.
static FILES: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let folder = tempfile::tempdir().unwrap();
    let size = Size { width: 64, height: 48 };
    let mut files = Vec::new();
    for format in [Format::Mp4, Format::Webm, Format::Mov] {
        let path = folder.path().join(format!("{format:?}"));
        let settings = EncoderSettings::of(format, Quality::Draft, rate());
        let mut encoder = SegmentEncoder::create(&path, &settings, size, rate()).unwrap();
        for level in 0..6_u8 {
            let data = vec![level.wrapping_mul(40); size.width as usize * size.height as usize * 4];
            let stride = size.width as usize * 4;
            encoder.push(&Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra }).unwrap();
        }
        encoder.finish().unwrap();
        files.push(fs::read(path).unwrap());
    }
    let sound = wav(folder.path().join("a.wav"), 48_000, 2, 5000);
    let timing = MediaTiming { end: 0.1, ..timing() };
    let item = AudioItem::plain("a", "a.wav", timing, Vec::new());
    let inputs = [MixInput { item: &item, path: &sound, rendered: false }];
    for format in [Format::Mp4, Format::Webm] {
        let path = folder.path().join(format!("sound-{format:?}"));
        mix(None, &inputs, &MixPart::whole(3, rate()), format, &path, &mut |_| true).unwrap();
        files.push(fs::read(path).unwrap());
    }
    files.push(fs::read(sound).unwrap());
    // GIF with two pictures of one pixel.
    let picture = b"\x21\xf9\x04\0\x0a\0\0\0\x2c\0\0\0\0\x01\0\x01\0\0\x02\x02\x44\x01\0";
    files.push([b"GIF89a\x01\0\x01\0\x80\0\0\0\0\0\xff\xff\xff".as_slice(), picture, picture, b";"].concat());
    files
});

/// What happens to a file: bytes that are others, 32-bit fields with extreme values, a part that is missing or twice.
#[derive(Debug, Clone)]
enum Damage {
    Byte(Index, u8),
    Field(Index, u32),
    Cut(Index),
    Without(Index, usize),
    Twice(Index, usize),
}

fn damage() -> impl Strategy<Value = Damage> {
    let extreme = prop_oneof![Just(0), Just(1), Just(0x7fff_ffff), Just(0x8000_0000), Just(u32::MAX), any::<u32>()];
    prop_oneof![
        4 => (any::<Index>(), any::<u8>()).prop_map(|(at, byte)| Damage::Byte(at, byte)),
        4 => (any::<Index>(), extreme).prop_map(|(at, value)| Damage::Field(at, value)),
        1 => any::<Index>().prop_map(Damage::Cut),
        1 => (any::<Index>(), 1usize..200).prop_map(|(at, length)| Damage::Without(at, length)),
        1 => (any::<Index>(), 1usize..200).prop_map(|(at, length)| Damage::Twice(at, length)),
    ]
}

fn damaged(mut bytes: Vec<u8>, damages: Vec<Damage>) -> Vec<u8> {
    for damage in damages {
        let (length, end) = (bytes.len().max(1), bytes.len());
        let range = |at: Index, count: usize| at.index(length).min(end)..(at.index(length) + count).min(end);
        match damage {
            Damage::Byte(at, byte) => bytes[range(at, 1)].fill(byte),
            Damage::Field(at, value) => {
                let range = range(at, 4);
                let count = range.len();
                bytes[range].copy_from_slice(&value.to_be_bytes()[..count]);
            }
            Damage::Cut(at) => bytes.truncate(at.index(length)),
            Damage::Without(at, count) => drop(bytes.drain(range(at, count))),
            Damage::Twice(at, count) => {
                let range = range(at, count);
                let part = bytes[range.clone()].to_vec();
                bytes.splice(range.end..range.end, part);
            }
        }
    }
    bytes
}

proptest! {
    // A case starts up to three processes.
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases / 4,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn fuzz_media(file in any::<Index>(), damages in vec(damage(), 1..8)) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("blob");
        fs::write(&path, damaged(FILES[file.index(FILES.len())].clone(), damages)).unwrap();
        let limits = MediaLimits { memory: 512 << 20, answer: Duration::from_secs(10), ..MediaLimits::default() };
        for error in all_ways(&decoders(limits), &path, "media/a.mp4") {
            let message = error.to_string();
            prop_assert!(error.is_input(), "{}", message);
            prop_assert!(message.contains("media/a.mp4") && message.len() < 1000, "{}", message);
            prop_assert!(!message.contains(&*folder.path().to_string_lossy()), "{}", message);
            prop_assert!(!message.contains(char::is_control), "{:?}", message);
        }
    }
}
