//! The output file of each format: written, checked against the plan, and its thumbnail.

use std::fs;
use std::path::{Path, PathBuf};

use hyperfarm_media::{
    GifOptions, MediaError, SegmentFile, SideTracks, count_gif, count_packets_while, gif, join, poster, srt,
    storyboard, thumbnail, webvtt,
};
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::plan::{EncoderSettings, Plan, PlanContent};
use hyperfarm_proto::record::{AudioRecord, Sidecar};
use hyperfarm_proto::spec::Format;

use crate::error::{StitchError, VerifyError};
use crate::verify::{verify, verify_gif};
use crate::{hls, png_sequence};

/// Position of the thumbnail as a part of the video's length: after title cards and before credits.
const THUMBNAIL_AT: f64 = 0.4;

/// Writes `output` from the segments, the sound, and the light of the pictures. Stops with an error when `going_on` answers false.
pub(crate) fn write(
    content: &PlanContent,
    segments: &[SegmentFile],
    audio: Option<&Path>,
    light: Option<LightLevels>,
    output: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let (size, rate, encoder) = (content.viewport.output(), content.frame_rate, &content.encoder);
    match encoder.format {
        Format::Mp4 | Format::Webm | Format::Mov => {
            // A part of a composition has the timecodes of the whole.
            let timecode = encoder.timecode.map(|timecode| timecode.after(content.first_frame, rate));
            let captions = if encoder.caption_track { content.captions.as_slice() } else { &[] };
            let settings = EncoderSettings { timecode, ..encoder.clone() };
            join(segments, SideTracks { audio, captions, light }, output, &settings, size, rate, going_on)?;
        }
        Format::Gif => {
            let options = GifOptions { size, rate, alpha: encoder.alpha, repeat: encoder.gif_loop };
            gif(segments, output, &options, going_on)?;
        }
        Format::PngSequence => png_sequence::write(segments, audio, output, size, rate, going_on)?,
        Format::Hls => hls::write(content, segments, audio, output, going_on)?,
    }
    Ok(())
}

/// Fails unless the output is exactly what the plan says. Stops with an error when `going_on` answers false.
pub(crate) fn check(
    plan: &Plan,
    audio: Option<&AudioRecord>,
    output: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    match plan.content.encoder.format {
        Format::Mp4 | Format::Webm | Format::Mov => verify(plan, audio, &count_packets_while(output, going_on)?)?,
        Format::Gif => verify_gif(plan, count_gif(output)?)?,
        Format::PngSequence => png_sequence::verify(plan, audio.is_some(), output)?,
        Format::Hls => hls::verify(plan, audio, output, going_on)?,
    }
    Ok(())
}

/// Writes poster, storyboard and captions, where they were asked for, into `folder` and returns their files.
pub(crate) fn write_sidecars(
    content: &PlanContent,
    segments: &[SegmentFile],
    folder: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<Vec<PathBuf>, StitchError> {
    let mut paths = Vec::new();
    if let Some(frame) = content.encoder.poster.filter(|_| going_on()) {
        let path = folder.join(Sidecar::POSTER);
        let (segment, frame) = find_frame(segments, frame.saturating_sub(content.first_frame), "poster")?;
        poster(&segment.path, frame, content.frame_rate, &path)?;
        paths.push(path);
    }
    if let Some(interval) = content.encoder.storyboard {
        paths.extend(storyboard(segments, content.frame_rate, interval, folder, going_on)?);
    }
    if content.encoder.captions {
        for (name, text) in [(Sidecar::SUBRIP, srt(&content.captions)), (Sidecar::WEBVTT, webvtt(&content.captions))] {
            let path = folder.join(name);
            fs::write(&path, text).map_err(|source| MediaError::Write { path: path.clone(), source })?;
            paths.push(path);
        }
    }
    Ok(paths)
}

/// The segment with frame `frame` of the output, and the number of that frame in it.
fn find_frame<'a>(
    segments: &'a [SegmentFile],
    mut frame: u64,
    what: &'static str,
) -> Result<(&'a SegmentFile, u64), VerifyError> {
    for segment in segments {
        if frame < segment.frames {
            return Ok((segment, frame));
        }
        frame -= segment.frames;
    }
    Err(VerifyError::NoStillFrame { what })
}

/// Writes the thumbnail of `output` to `thumbnail_path`, at most `width` pixels wide.
pub(crate) fn write_thumbnail(
    content: &PlanContent,
    segments: &[SegmentFile],
    output: &Path,
    width: u32,
    thumbnail_path: &Path,
) -> Result<(), StitchError> {
    let at = content.duration() * THUMBNAIL_AT;
    if !content.encoder.format.is_archive() {
        return Ok(thumbnail(output, at, width, thumbnail_path)?);
    }
    // A zip is no video, so the frame is taken from its segment.
    let frame = ((content.frames as f64 * THUMBNAIL_AT) as u64).min(content.frames.saturating_sub(1));
    let (segment, frame) = find_frame(segments, frame, "thumbnail")?;
    // The middle of the frame, whatever a container rounds.
    let seconds = content.frame_rate.seconds_of(frame) + content.frame_rate.seconds_of(1) / 2.0;
    Ok(thumbnail(&segment.path, seconds, width, thumbnail_path)?)
}
