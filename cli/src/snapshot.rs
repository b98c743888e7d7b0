//! `hyperfarm snapshot`: single frames as PNG files, drawn and captured as those of a render are.

use std::num::NonZeroU32;
use std::path::{Path, PathBuf};

use hyperfarm_media::{SegmentFile, png_frames};
use hyperfarm_proto::plan::PlanContent;
use hyperfarm_proto::spec::{Format, RenderSpec};
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
    check_flags(&args.project.spec)?;
    let file = file_of(&args)?;
    let facts = page_facts(&args.project);
    let mut spec = project_spec(&args.project, facts.as_ref())?;
    spec.format = Format::PngSequence;
    // The page's background is a part of the picture, unless somebody asks for the elements alone.
    spec.transparent = spec.transparent.or(Some(false));
    spec.check_output().map_err(|error| CliError::usage(error.message))?;
    let Packed { bundle, warnings: mut found } = project::read(&args.project, &args.output)?;
    let count = NonZeroU32::new(args.at.len() as u32).unwrap_or(NonZeroU32::MIN);
    let slots = machine::default_slots().min(count);
    let page = expected_page(&spec, facts.as_ref());
    let written = stages::run(slots, page, async |stages| {
        let draft = stages.plan(&bundle, spec).await?;
        found.extend(draft.warnings.iter().cloned());
        let files = files(&args.at, &draft.content)?;
        let (size, rate) = (draft.content.viewport.output(), draft.content.frame_rate);
        let mut frames: Vec<u64> = files.iter().map(|(_, frame)| *frame).collect();
        frames.sort_unstable();
        frames.dedup();
        let segments = stages.capture(draft, &frames).await?;
        let mut written = Vec::new();
        for (name, frame) in files {
            let at = frames.iter().position(|other| *other == frame).unwrap_or_default();
            let path = file.clone().unwrap_or_else(|| args.output.join(name));
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
    .await;
    let warnings = found;
    let written = match written {
        Ok(written) => written,
        Err(error) => return Err(error.after(warnings)),
    };
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
        .map_err(|error| CliError::usage(format!("--output {}: {error}", path.display())))
}

/// The file that the output names: a PNG file of one moment. Else it is a folder.
fn file_of(args: &SnapshotArgs) -> Result<Option<PathBuf>, CliError> {
    let output = &args.output;
    let is_png = output.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    match args.at.len() {
        _ if !is_png || output.is_dir() => Ok(None),
        1 => Ok(Some(output.clone())),
        count => Err(CliError::usage(format!(
            "--output {} names one file, and --at {count} moments; name a folder, or give one moment",
            output.display()
        ))),
    }
}

/// Refuses flags of a render that change no single frame.
fn check_flags(spec: &RenderSpec) -> Result<(), CliError> {
    let flags = [
        ("--codec", spec.codec.is_some()),
        ("--profile", spec.profile.is_some()),
        ("--bit-depth", spec.bit_depth.is_some()),
        ("--hdr", spec.hdr.is_some()),
        ("--timecode", spec.timecode.is_some()),
        ("--crf", spec.crf.is_some()),
        ("--video-bitrate", spec.video_bitrate.is_some()),
        ("--vp9-cpu-used", spec.vp9_cpu_used.is_some()),
        ("--gif-loop", spec.gif_loop.is_some()),
        ("--from", spec.from.is_some()),
        ("--to", spec.to.is_some()),
        ("--audio-codec", spec.audio_codec.is_some()),
        ("--loudness", spec.loudness.is_some()),
        ("--true-peak", spec.true_peak.is_some()),
        ("--wav", spec.wav),
        ("--poster", spec.poster.is_some()),
        ("--storyboard", spec.storyboard.is_some()),
        ("--captions", spec.captions),
        ("--caption-track", spec.caption_track),
        ("--renditions", spec.renditions.is_some()),
        ("--chunk-frames", spec.chunk_frames.is_some()),
    ];
    match flags.into_iter().find(|(_, given)| *given) {
        None => Ok(()),
        Some((flag, _)) => Err(CliError::usage(format!(
            "{flag} changes nothing in the single frames that `hyperfarm snapshot` writes; leave it out"
        ))),
    }
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
