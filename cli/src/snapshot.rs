//! `hyperfarm snapshot`: single frames as PNG files, drawn and captured as those of a render are.

use std::num::NonZeroU32;
use std::path::Path;

use hyperfarm_media::{SegmentFile, png_frames};
use hyperfarm_proto::plan::PlanContent;
use hyperfarm_proto::spec::Format;
use serde_json::json;

use crate::args::{Moment, SnapshotArgs};
use crate::exit::CliError;
use crate::render::project::{self, Packed};
use crate::render::summary::print_warnings;
use crate::render::{expected_page, page_facts, project_spec};
use crate::stdout::print_line;
use crate::{machine, stages};

/// Writes the frames at the given moments.
///
/// # Errors
///
/// The composition cannot be rendered, a moment is after its end, or a file cannot be written.
pub(crate) async fn run(args: Box<SnapshotArgs>) -> Result<(), CliError> {
    let facts = page_facts(&args.project);
    let mut spec = project_spec(&args.project, facts.as_ref())?;
    spec.format = Format::PngSequence;
    // The page's background is a part of the picture, unless somebody asks for the elements alone.
    spec.transparent = spec.transparent.or(Some(false));
    spec.check_output().map_err(|error| CliError::user(error.message))?;
    let Packed { zip, mut warnings } = project::read(&args.project, &args.output)?;
    let count = NonZeroU32::new(args.at.len() as u32).unwrap_or(NonZeroU32::MIN);
    let slots = machine::default_slots().min(count);
    let page = expected_page(&spec, facts.as_ref());
    let written = stages::run(slots, page, async |stages| {
        let draft = stages.plan(zip.into(), spec).await?;
        warnings.extend(draft.warnings.iter().cloned());
        let files = files(&args.at, &draft.content)?;
        let (size, rate) = (draft.content.viewport.output(), draft.content.frame_rate);
        let mut frames: Vec<u64> = files.iter().map(|(_, frame)| *frame).collect();
        frames.sort_unstable();
        frames.dedup();
        let segments = stages.capture(draft, &frames).await?;
        let mut written = Vec::new();
        for (name, frame) in files {
            let at = frames.iter().position(|other| *other == frame).unwrap_or_default();
            let path = args.output.join(name);
            let segment = SegmentFile { path: segments[at].clone(), frames: 1 };
            let mut picture = Vec::new();
            png_frames(&[segment], size, rate, &mut |_, png| {
                picture = png.to_vec();
                true
            })
            .map_err(CliError::system)?;
            write(&path, &picture)?;
            written.push(json!({ "file": path, "frame": frame, "seconds": rate.seconds_of(frame) }));
        }
        Ok(written)
    })
    .await?;
    if args.json {
        print_line(&json!({ "snapshots": written, "warnings": warnings }).to_string());
    } else {
        print_warnings(&warnings);
        for snapshot in &written {
            print_line(snapshot["file"].as_str().unwrap_or_default());
        }
    }
    Ok(())
}

fn write(path: &Path, picture: &[u8]) -> Result<(), CliError> {
    std::fs::create_dir_all(project::folder_of(path))
        .and_then(|()| std::fs::write(path, picture))
        .map_err(|error| CliError::user(format!("--output {}: {error}", path.display())))
}

/// The file of each moment, with the frame that is shown then, in the order that was asked for.
fn files(moments: &[Moment], content: &PlanContent) -> Result<Vec<(String, u64)>, CliError> {
    let duration = content.duration();
    moments
        .iter()
        .map(|moment| {
            let seconds = match moment {
                Moment::Percent(percent) => duration * percent / 100.0,
                Moment::Seconds(seconds) if *seconds > duration => {
                    return Err(CliError::user(format!(
                        "--at {seconds}: the composition lasts {duration} s; give a moment up to its end"
                    )));
                }
                Moment::Seconds(seconds) => *seconds,
            };
            // A moment that is written with few digits lies a little before its frame.
            let frame = (seconds * content.frame_rate.as_f64() + 1e-3) as u64;
            Ok((format!("at-{}s.png", (seconds * 1000.0).round() / 1000.0), frame.min(content.frames - 1)))
        })
        .collect()
}
