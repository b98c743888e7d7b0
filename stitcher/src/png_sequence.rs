//! A PNG sequence as a zip: one file a frame, and the sound.
//!
//! Names are those of HyperFrames: `frame_000001.png` and so on, and `audio.m4a`.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::Path;

use hyperfarm_media::{MediaError, SegmentFile, png_frames};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::spec::Size;
use zip::ZipArchive;

use crate::archive::{Archive, disk_error};
use crate::error::{StitchError, VerifyError};

/// Name of the sound in the zip.
const AUDIO: &str = "audio.m4a";

/// Bytes of a PNG file up to the end of its width and height.
const HEAD: usize = 24;

fn frame_name(frame: u64) -> String {
    format!("frame_{:06}.png", frame + 1)
}

/// Writes the zip. Stops with an error when `going_on` answers false.
pub(crate) fn write(
    segments: &[SegmentFile],
    audio: Option<&Path>,
    output: &Path,
    size: Size,
    rate: FrameRate,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let mut archive = Archive::create(output)?;
    let mut write_error = None;
    png_frames(segments, size, rate, &mut |frame, png| {
        write_error = archive.add(&frame_name(frame), png).err();
        write_error.is_none() && going_on()
    })?;
    if let Some(error) = write_error {
        return Err(error);
    }
    if !going_on() {
        return Err(MediaError::Stopped.into());
    }
    if let Some(audio) = audio {
        archive.add_file(AUDIO, audio)?;
    }
    archive.finish()
}

/// Fails unless the zip has exactly the frames and the sound of `plan`.
pub(crate) fn verify(plan: &Plan, audio: bool, output: &Path) -> Result<(), StitchError> {
    let content = &plan.content;
    let file = File::open(output).map_err(|source| disk_error(output, source))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(VerifyError::Zip)?;
    let entries = content.frames + u64::from(audio);
    if archive.len() as u64 != entries {
        return Err(VerifyError::Files { found: archive.len() as u64, expected: entries }.into());
    }
    if audio && archive.by_name(AUDIO).is_err() {
        return Err(VerifyError::NoAudio { name: AUDIO }.into());
    }
    let size = content.viewport.output();
    for frame in 0..content.frames {
        let name = frame_name(frame);
        let unreadable = |reason: String| VerifyError::Entry { name: name.clone(), reason };
        let mut file = archive.by_name(&name).map_err(|error| unreadable(error.to_string()))?;
        let mut head = [0; HEAD];
        file.read_exact(&mut head).map_err(|error| unreadable(error.to_string()))?;
        let side = |at: usize| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]);
        let found = Size { width: side(16), height: side(20) };
        if found != size {
            return Err(VerifyError::FrameSize { name, found, expected: size }.into());
        }
    }
    Ok(())
}
