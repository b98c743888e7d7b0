//! `hyperfarm render`: one composition to one file, on this machine or on a farm.

mod farm;
mod local;
mod output;
mod progress;
mod project;
mod sound;
mod summary;
mod timings;
mod trace;
mod unpack;

use std::path::{Path, PathBuf};

use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::{Codec, Format, RenderSpec};

use crate::args::{FormatArg, RenderArgs};
use crate::exit::CliError;

/// Folder of outputs that have no name.
const OUTPUTS: &str = "renders";

/// Renders what the arguments ask for.
pub async fn run(args: Box<RenderArgs>) -> Result<(), CliError> {
    if let Some(refusal) = args.foreign.refusal() {
        return Err(CliError::user(refusal));
    }
    let mut spec = spec(&args)?;
    let target = target(&args, spec.format)?;
    let sound = args.audio.as_deref().map(sound::Sound::of).transpose()?;
    spec.audio_url = sound.as_ref().map(sound::Sound::named);
    let mut project = project::read(&args, &target)?;
    if let Some(sound) = &sound {
        project = sound.add_to(project, spec.composition.as_deref())?;
    }
    let output = output::Output::claim(&target, spec.format)?;
    let ignored = args.foreign.ignored().into_iter().map(|(flag, reason)| Warning {
        code: "FLAG_IGNORED".to_owned(),
        message: format!("{flag} changes nothing here: {reason}"),
    });
    match &args.farm {
        None => local::run(&args, spec, project, output, ignored.collect()).await,
        Some(url) => farm::run(&args, url, spec, project, output, ignored.collect()).await,
    }
}

fn spec(args: &RenderArgs) -> Result<RenderSpec, CliError> {
    let variables = variables_of(args)?;
    let codec = args.codec.map(Codec::from);
    let by_name = args.output.as_deref().and_then(FormatArg::of_output).map(Format::from);
    let format = args.format.map(Format::from).or(codec.map(Codec::format)).or(by_name).unwrap_or_default();
    if let (Some(by_name), Some(output)) = (by_name, &args.output)
        && by_name != format
    {
        let extension = format.extension();
        let output = output.display();
        return Err(CliError::user(format!(
            "a {format} would be written to {output}; let its name end with .{extension}"
        )));
    }
    let (quality, crf) = args.quality.meaning();
    let (resolution, shape) = args.resolution.map(|resolution| resolution.meaning()).unzip();
    let spec = RenderSpec {
        fps: args.fps,
        quality,
        format,
        codec,
        crf: args
            .crf
            .or(crf.filter(|_| args.video_bitrate.is_none() && codec.unwrap_or(format.codec()).has_rate_control())),
        video_bitrate: args.video_bitrate,
        vp9_cpu_used: args.vp9_cpu_used,
        gif_loop: args.gif_loop,
        transparent: args.transparent,
        resolution,
        aspect_ratio: args.aspect_ratio.map(Into::into).or(shape.flatten()),
        width: args.width,
        height: args.height,
        device_scale_factor: args.device_scale,
        duration: args.duration.filter(|duration| !duration.is_zero()),
        composition: args.composition.clone().filter(|name| name != ".").or_else(|| project::entry_of(&args.path)),
        variables,
        strict_variables: args.strict_variables,
        verify: args.verify,
        chunk_frames: args.chunk_frames.map(std::num::NonZero::get),
        ..RenderSpec::default()
    };
    spec.check_output().map_err(|error| CliError::user(error.message))?;
    Ok(spec)
}

/// Where the output goes. One without a name is named after the project, as HyperFrames does it.
fn target(args: &RenderArgs, format: Format) -> Result<PathBuf, CliError> {
    if let Some(output) = &args.output {
        return Ok(output.clone());
    }
    let path = args.path.canonicalize().unwrap_or_else(|_| args.path.clone());
    let name = path.file_stem().map_or_else(|| "render".into(), |name| name.to_string_lossy().into_owned());
    let folder = Path::new(OUTPUTS);
    std::fs::create_dir_all(folder)
        .map_err(|error| CliError::user(format!("{OUTPUTS} cannot be made here: {error}; name the output with -o")))?;
    Ok(match format {
        Format::PngSequence => folder.join(name),
        other => folder.join(format!("{name}.{}", other.extension())),
    })
}

fn variables_of(args: &RenderArgs) -> Result<Option<String>, CliError> {
    match (&args.variables, &args.variables_file) {
        (Some(given), _) => variables(given).map(Some),
        (None, Some(file)) => variables(&format!("@{}", file.display())).map(Some),
        (None, None) => Ok(None),
    }
}

/// The text of a JSON object, given itself or as a file.
fn variables(given: &str) -> Result<String, CliError> {
    let (text, place) = match given.strip_prefix('@') {
        None => (given.to_owned(), "--variables".to_owned()),
        Some(file) => {
            let text = std::fs::read_to_string(Path::new(file))
                .map_err(|error| CliError::user(format!("--variables @{file}: {error}")))?;
            (text, format!("--variables @{file}"))
        }
    };
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(other) => Err(CliError::user(format!(
            "{place}: the variables must be one JSON object such as {{\"title\":\"Hello\"}}, not {other}"
        ))),
        Err(error) => Err(CliError::user(format!("{place}: no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn variables_must_be_an_object() {
        assert_eq!(variables("{\"a\":1}").unwrap(), "{\"a\":1}");
        for (bad, named) in
            [("{\"a\"", "no JSON"), ("[1]", "one JSON object"), ("@/nonexistent.json", "/nonexistent.json")]
        {
            let error = variables(bad).unwrap_err();
            assert_eq!(error.code, 1);
            assert!(error.message.contains(named), "{}", error.message);
        }
    }
}
