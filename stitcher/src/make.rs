//! The output of each format: made, verified, and its thumbnail.

use std::path::Path;

use hyperfarm_media::{SegmentFile, count_gif, count_packets, gif, join, thumbnail};
use hyperfarm_proto::plan::{Plan, PlanContent};
use hyperfarm_proto::record::AudioRecord;
use hyperfarm_proto::spec::Format;

use crate::error::StitchError;
use crate::sequence;
use crate::verify::{verify, verify_gif};

/// Where in the video the thumbnail is taken: title cards are over by then, and credits have not begun.
const THUMBNAIL_AT: f64 = 0.4;

/// Makes `output` of the segments and the sound.
pub(crate) fn output(
    content: &PlanContent,
    segments: &[SegmentFile],
    audio: Option<&Path>,
    output: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let (size, rate, encoder) = (content.viewport.output(), content.frame_rate, &content.encoder);
    match encoder.format {
        Format::Mp4 | Format::Webm | Format::Mov => {
            join(segments, audio, output, encoder, size, rate)?;
        }
        Format::Gif => {
            gif(segments, output, size, rate, encoder.alpha, encoder.gif_loop, going_on)?;
        }
        Format::PngSequence => sequence::write(segments, audio, output, size, rate, going_on)?,
    }
    Ok(())
}

/// Refuses an output that is not exactly what the plan says.
pub(crate) fn check(plan: &Plan, audio: Option<&AudioRecord>, output: &Path) -> Result<(), StitchError> {
    match plan.content.encoder.format {
        Format::Mp4 | Format::Webm | Format::Mov => verify(plan, audio, &count_packets(output)?),
        Format::Gif => verify_gif(plan, count_gif(output)?),
        Format::PngSequence => sequence::verify(plan, audio.is_some(), output),
    }
}

/// Writes the thumbnail.
pub(crate) fn still(
    content: &PlanContent,
    segments: &[SegmentFile],
    output: &Path,
    width: u32,
    still: &Path,
) -> Result<(), StitchError> {
    let at = content.duration() * THUMBNAIL_AT;
    if content.encoder.format != Format::PngSequence {
        return Ok(thumbnail(output, at, width, still)?);
    }
    // A zip plays nowhere: its segments do.
    let mut frame = ((content.frames as f64 * THUMBNAIL_AT) as u64).min(content.frames.saturating_sub(1));
    for segment in segments {
        if frame < segment.frames {
            // The middle of the frame, whatever a container rounds.
            let seconds = content.frame_rate.seconds_of(frame) + content.frame_rate.seconds_of(1) / 2.0;
            return Ok(thumbnail(&segment.path, seconds, width, still)?);
        }
        frame -= segment.frames;
    }
    Err(StitchError::Verify("no segment has the frame of its thumbnail".to_owned()))
}
