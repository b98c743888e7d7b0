//! What an encoder's settings cost and bring, beside a file that somebody else made of the same frames.
//!
//! ```text
//! cargo run --release --workspace --example encoder_curve -- SETTINGS OUT CASE...
//!
//! SETTINGS   a file with a line for each setting:  LABEL | CODEC PRESET RATE KEYFRAMES THREADS [OPTIONS]
//!            CODEC is h264, h265, vp9, vp8 or prores; PRESET is x264's or x265's, libvpx's cpu-used, or -;
//!            RATE is the rate factor, or ProRes' bits a macroblock. Lines that start with # are left out.
//! OUT        where OUT.json, OUT.svg and, while it runs, frames and videos are written
//! CASE       NAME=FRAMES=RATE=PEER: a folder of PNG files, frames a second, a video of these frames
//!
//! CURVE_FRAMES=90    only the first frames of each case; of the peer's file, too, which must not reorder its pictures then
//! CURVE_EVERY=1      compare only every so manieth frame
//! ```
//!
//! Prints for each case and setting: milliseconds of processor time a frame, bytes beside the peer's, decibels of PSNR (red,
//! green and blue, over the whole clip) and SSIM (luma) beside the peer's. A setting that costs no quality and no bytes in a
//! case is marked there.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};

use hyperfarm_media::{Picture, SegmentEncoder, compare, decode_video};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, Rate, VideoCodec};
use hyperfarm_proto::spec::{Format, Profile, Quality, Size};

struct Setting {
    label: String,
    settings: EncoderSettings,
}

struct Case {
    name: String,
    rate: FrameRate,
    /// All frames as BGRA, one after another.
    raw: PathBuf,
    size: Size,
    frames: u64,
    /// Of how many frames one is compared.
    every: u64,
    peer: Outcome,
}

#[derive(Clone, Copy)]
struct Outcome {
    /// Processor milliseconds a frame; 0 where it was not measured.
    cost: f64,
    bytes: u64,
    psnr: f64,
    ssim: f64,
}

impl Outcome {
    fn is_no_worse_than(&self, peer: &Self) -> bool {
        self.bytes <= peer.bytes && self.psnr >= peer.psnr && self.ssim >= peer.ssim
    }
}

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [settings, out, cases @ ..] = arguments.as_slice() else { panic!("SETTINGS OUT CASE...") };
    let settings: Vec<Setting> = fs::read_to_string(settings).unwrap().lines().filter_map(setting).collect();
    let work = PathBuf::from(format!("{out}.work"));
    fs::create_dir_all(&work).unwrap();
    let mut rows = Vec::new();
    for case in cases {
        let case = prepare(case, &work);
        let peer = case.peer;
        println!(
            "\n{}: {} frames, {}; the peer: {} kB, {:.2} dB, {:.5}",
            case.name,
            case.frames,
            case.size,
            peer.bytes / 1000,
            peer.psnr,
            peer.ssim
        );
        println!("    {:>8} {:>7} {:>8} {:>10}", "ms/frame", "bytes", "PSNR", "1 - SSIM");
        for setting in &settings {
            let found = measure(&case, setting, &work);
            println!(
                "{} {:8.2} {:7.3} {:+8.2} {:10.3}  {}",
                if found.is_no_worse_than(&peer) { "ok " } else { "   " },
                found.cost,
                found.bytes as f64 / peer.bytes as f64,
                found.psnr - peer.psnr,
                (1.0 - found.ssim) / (1.0 - peer.ssim).max(1e-9),
                setting.label
            );
            std::io::stdout().flush().unwrap();
            rows.push((case.name.clone(), setting.label.clone(), found, peer));
        }
        fs::remove_file(&case.raw).unwrap();
    }
    fs::remove_dir_all(&work).unwrap();
    fs::write(format!("{out}.json"), json(&rows)).unwrap();
    let summary = summary(&settings, &rows);
    fs::write(format!("{out}.svg"), chart(&summary)).unwrap();
}

fn setting(line: &str) -> Option<Setting> {
    let (label, rest) = line.split_once('|').filter(|_| !line.starts_with('#'))?;
    let words: Vec<&str> = rest.split_whitespace().collect();
    let [codec, preset, number, keyframes, threads, options @ ..] = words.as_slice() else { panic!("{line}") };
    let rate = Rate::Crf(number.parse().unwrap());
    let options = options.concat();
    let (format, codec) = match *codec {
        "h264" => (Format::Mp4, VideoCodec::H264 { preset: (*preset).to_owned(), rate, options }),
        "h265" => (Format::Mp4, VideoCodec::H265 { preset: (*preset).to_owned(), rate, options, bit_depth: 8 }),
        "vp9" => (Format::Webm, VideoCodec::Vp9 { rate, cpu_used: preset.parse().unwrap() }),
        "vp8" => (Format::Webm, VideoCodec::Vp8 { rate, cpu_used: preset.parse().unwrap() }),
        "prores" => {
            (Format::Mov, VideoCodec::ProRes { profile: Profile::ProRes4444, bits_per_mb: number.parse().unwrap() })
        }
        other => panic!("no codec {other}"),
    };
    let settings = EncoderSettings {
        codec,
        alpha: false,
        threads: threads.parse().unwrap(),
        keyframe_interval: keyframes.parse().unwrap(),
        ..EncoderSettings::of(format, Quality::Standard, FrameRate::DEFAULT)
    };
    Some(Setting { label: label.trim().to_owned(), settings })
}

/// Decodes the frames into one file: a PNG file takes longer than the encoders do.
fn prepare(case: &str, work: &Path) -> Case {
    let [name, folder, rate, peer] = case.split('=').collect::<Vec<_>>().try_into().unwrap();
    let mut files: Vec<PathBuf> = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "png"));
    files.sort();
    files.truncate(number("CURVE_FRAMES").unwrap_or(u64::MAX) as usize);
    let raw = work.join(format!("{name}.bgra"));
    let mut out = File::create(&raw).unwrap();
    let mut size = Size { width: 0, height: 0 };
    for file in &files {
        let picture = picture(file);
        size = picture.size;
        out.write_all(&picture.bgra).unwrap();
    }
    drop(out);
    let outcome = Outcome { cost: 0.0, bytes: 0, psnr: 0.0, ssim: 0.0 };
    let rate = FrameRate::new(rate.parse().unwrap(), 1).unwrap();
    let every = number("CURVE_EVERY").unwrap_or(1).max(1);
    let mut case = Case { name: name.to_owned(), rate, raw, size, frames: files.len() as u64, every, peer: outcome };
    case.peer = Outcome { bytes: picture_bytes(Path::new(peer), case.frames), ..compared(&case, Path::new(peer)) };
    case
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|text| text.parse().unwrap())
}

fn picture(path: &Path) -> Picture {
    let mut decoder = png::Decoder::new(BufReader::new(File::open(path).unwrap()));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info().unwrap();
    let mut bgra = vec![0; reader.output_buffer_size().unwrap()];
    let info = reader.next_frame(&mut bgra).unwrap();
    assert_eq!(info.color_type, png::ColorType::Rgba);
    for pixel in bgra.as_chunks_mut::<4>().0 {
        pixel.swap(0, 2);
    }
    Picture { size: Size { width: info.width, height: info.height }, bgra }
}

fn read(case: &Case) -> impl FnMut(&mut Picture) {
    let mut file = File::open(&case.raw).unwrap();
    move |picture| file.read_exact(&mut picture.bgra).unwrap()
}

fn empty(size: Size) -> Picture {
    Picture { size, bgra: vec![0; size.width as usize * size.height as usize * 4] }
}

fn measure(case: &Case, setting: &Setting, work: &Path) -> Outcome {
    let path = work.join(format!("video.{}", setting.settings.format.extension()));
    let mut picture = empty(case.size);
    let mut next = read(case);
    let mut encoder = SegmentEncoder::create(&path, &setting.settings, case.size, case.rate).unwrap();
    let mut last = empty(case.size);
    let begun = process_milliseconds();
    let mut reading = 0.0;
    for frame in 0..case.frames {
        let before = thread_milliseconds();
        next(&mut picture);
        let equal = frame > 0 && picture.bgra == last.bgra;
        last.bgra.copy_from_slice(&picture.bgra);
        reading += thread_milliseconds() - before;
        if equal { encoder.repeat().unwrap() } else { encoder.push(&picture.as_bitmap()).unwrap() }
    }
    encoder.finish().unwrap();
    let cost = (process_milliseconds() - begun - reading) / case.frames as f64;
    let outcome = Outcome { cost, bytes: picture_bytes(&path, case.frames), ..compared(case, &path) };
    fs::remove_file(&path).unwrap();
    outcome
}

/// Bytes of the pictures alone, as the peer may have a track of sound.
fn picture_bytes(path: &Path, frames: u64) -> u64 {
    let mut input = ffmpeg_next::format::input(path).unwrap();
    let video = input.streams().best(ffmpeg_next::media::Type::Video).unwrap().index();
    let sizes = input.packets().filter(|(stream, _)| stream.index() == video).map(|(_, packet)| packet.size() as u64);
    sizes.take(frames as usize).sum()
}

fn compared(case: &Case, video: &Path) -> Outcome {
    let (mut error, mut ssim, mut compared) = (0_u64, 0.0, 0_u64);
    let (mut picture, mut next) = (empty(case.size), read(case));
    let frames = decode_video(video, &mut |frame, decoded| {
        next(&mut picture);
        if frame % case.every == 0 {
            error += compare::squared_error(&picture, decoded).unwrap();
            ssim += compare::ssim(&picture, decoded);
            compared += 1;
        }
        frame + 1 < case.frames
    });
    assert_eq!(frames.unwrap(), case.frames, "{}", video.display());
    let values = compared * u64::from(case.size.width) * u64::from(case.size.height) * 3;
    let psnr = (10.0 * (255.0_f64.powi(2) * values as f64 / error.max(1) as f64).log10()).min(100.0);
    Outcome { cost: 0.0, bytes: 0, psnr, ssim: ssim / compared as f64 }
}

/// Processor time of all threads of this process, those that ended included, in steps of ten.
fn process_milliseconds() -> f64 {
    let stat = fs::read_to_string("/proc/self/stat").unwrap();
    let fields: Vec<&str> = stat.rsplit_once(')').unwrap().1.split_whitespace().collect();
    (fields[11].parse::<f64>().unwrap() + fields[12].parse::<f64>().unwrap()) * 10.0
}

/// Processor time of this thread.
fn thread_milliseconds() -> f64 {
    let text = fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split_whitespace().next().unwrap().parse::<f64>().unwrap() / 1e6
}

type Row = (String, String, Outcome, Outcome);

/// Geometric means over the cases: milliseconds and bytes; then how many of how many cases are no worse than the peer.
struct Point {
    label: String,
    cost: f64,
    bytes: f64,
    good: usize,
    cases: usize,
}

fn summary(settings: &[Setting], rows: &[Row]) -> Vec<Point> {
    println!("\n{:>8} {:>7} {:>8} {:>6}", "ms/frame", "bytes", "PSNR", "cases");
    let mut points = Vec::new();
    for setting in settings {
        let rows: Vec<&Row> = rows.iter().filter(|row| row.1 == setting.label).collect();
        let count = rows.len().max(1) as f64;
        let mean = |value: &dyn Fn(&Row) -> f64| (rows.iter().map(|row| value(row).ln()).sum::<f64>() / count).exp();
        let point = Point {
            label: setting.label.clone(),
            cost: mean(&|row| row.2.cost.max(0.01)),
            bytes: mean(&|row| row.2.bytes as f64 / row.3.bytes as f64),
            good: rows.iter().filter(|row| row.2.is_no_worse_than(&row.3)).count(),
            cases: rows.len(),
        };
        let psnr = rows.iter().map(|row| row.2.psnr - row.3.psnr).sum::<f64>() / count;
        println!(
            "{:8.2} {:7.3} {psnr:+8.2} {:3}/{:<3} {}",
            point.cost, point.bytes, point.good, point.cases, point.label
        );
        points.push(point);
    }
    points
}

fn json(rows: &[Row]) -> String {
    let outcome = |found: &Outcome| {
        format!(
            r#"{{"cpu_ms_per_frame":{:.3},"bytes":{},"psnr":{:.3},"ssim":{:.6}}}"#,
            found.cost, found.bytes, found.psnr, found.ssim
        )
    };
    let rows: Vec<String> = rows
        .iter()
        .map(|(case, label, found, peer)| {
            let (found, peer) = (outcome(found), outcome(peer));
            format!(r#"{{"case":"{case}","setting":"{label}","found":{found},"peer":{peer}}}"#)
        })
        .collect();
    format!("[\n{}\n]\n", rows.join(",\n"))
}

/// Milliseconds across, bytes upwards, both as logarithms.
fn chart(points: &[Point]) -> String {
    let (width, height, left, bottom) = (860.0, 460.0, 60.0, 50.0);
    let range = |values: &mut dyn Iterator<Item = f64>| {
        let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), value| (low.min(value), high.max(value)));
        (low / 1.1, high * 1.1)
    };
    let across = range(&mut points.iter().map(|point| point.cost));
    let up = range(&mut points.iter().map(|point| point.bytes).chain([1.0]));
    let place = |value: f64, (low, high): (f64, f64)| (value / low).ln() / (high / low).ln();
    let x = |cost: f64| left + place(cost, across) * (width - left - 190.0);
    let y = |bytes: f64| height - bottom - place(bytes, up) * (height - bottom - 30.0);
    let mut svg = format!(
        r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="11" fill="#333">
<rect width="{width}" height="{height}" fill="#fff"/>
<text x="{left}" y="18">Bytes beside the peer's (geometric mean of the cases) over processor milliseconds a frame; filled: no worse in every case</text>
<line x1="{left}" x2="{}" y1="{1}" y2="{1}" stroke="#bbb" stroke-dasharray="4 3"/><text x="14" y="{1}">1.00</text>
"##,
        width - 10.0,
        y(1.0),
    );
    for point in points {
        let (x, y) = (x(point.cost), y(point.bytes));
        let fill = if point.good == point.cases { "#2a7" } else { "none" };
        let _ = writeln!(
            svg,
            r##"<circle cx="{x:.1}" cy="{y:.1}" r="4" fill="{fill}" stroke="#2a7"/><text x="{:.1}" y="{:.1}">{} ({:.1} ms, {:.2})</text>"##,
            x + 7.0,
            y + 4.0,
            point.label,
            point.cost,
            point.bytes,
        );
    }
    svg.push_str("</svg>\n");
    svg
}
