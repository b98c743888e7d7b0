//! A PNG sequence: one file a frame, and the sound beside them, in a zip.
//!
//! Names are those that HyperFrames gives: `frame_000001.png` and so on, and `audio.m4a`.

use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Write};
use std::path::Path;

use hyperfarm_media::{MediaError, SegmentFile, stills};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::spec::Size;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::error::StitchError;

/// Name of the sound.
const AUDIO: &str = "audio.m4a";

/// Bytes of a PNG file that tell what it is and how large.
const HEAD: usize = 24;

fn frame_name(frame: u64) -> String {
    format!("frame_{:06}.png", frame + 1)
}

/// Writes the zip. Nothing is packed again: PNG and AAC are packed already.
pub(crate) fn write(
    segments: &[SegmentFile],
    audio: Option<&Path>,
    output: &Path,
    size: Size,
    rate: FrameRate,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let disk = |source: std::io::Error| StitchError::Disk { path: output.display().to_string(), source };
    let zipped = |error: zip::result::ZipError| disk(std::io::Error::other(error.to_string()));
    // No dates: equal frames give equal bytes.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let mut archive = ZipWriter::new(BufWriter::new(File::create(output).map_err(disk)?));
    let mut broken = None;
    stills(segments, size, rate, &mut |frame, png| {
        let written = archive
            .start_file(frame_name(frame), options)
            .map_err(zipped)
            .and_then(|()| archive.write_all(png).map_err(disk));
        broken = written.err();
        broken.is_none() && going_on()
    })?;
    if let Some(error) = broken {
        return Err(error);
    }
    if !going_on() {
        return Err(MediaError::Stopped.into());
    }
    if let Some(audio) = audio {
        archive.start_file(AUDIO, options.large_file(true)).map_err(zipped)?;
        let mut file = File::open(audio).map_err(disk)?;
        std::io::copy(&mut file, &mut archive).map_err(disk)?;
    }
    let mut file = archive.finish().map_err(zipped)?;
    file.flush().map_err(disk)
}

/// Refuses a zip that has not exactly the frames and the sound of `plan`.
pub(crate) fn verify(plan: &Plan, audio: bool, output: &Path) -> Result<(), StitchError> {
    let content = &plan.content;
    let wrong = |what: String| StitchError::Verify(what);
    let disk = |source: std::io::Error| StitchError::Disk { path: output.display().to_string(), source };
    let file = File::open(output).map_err(disk)?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(|error| wrong(error.to_string()))?;
    let entries = content.frames + u64::from(audio);
    if archive.len() as u64 != entries {
        return Err(wrong(format!("it has {} files instead of {entries}", archive.len())));
    }
    if audio && archive.by_name(AUDIO).is_err() {
        return Err(wrong(format!("it has no {AUDIO}")));
    }
    let size = content.viewport.output();
    for frame in 0..content.frames {
        let name = frame_name(frame);
        let mut file = archive.by_name(&name).map_err(|error| wrong(format!("{name}: {error}")))?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).map_err(|error| wrong(format!("{name}: {error}")))?;
        let side = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        if (side(16), side(20)) != (size.width, size.height) {
            return Err(wrong(format!("{name} is {}x{} instead of {size}", side(16), side(20))));
        }
    }
    Ok(())
}
