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

use hyperfarm_proto::bounded::{Bounded, Text};
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::{Codec, Format, RenderSpec};

use crate::args::{RenderArgs, format_of_output};
use crate::exit::CliError;

/// Folder of outputs that have no name.
const OUTPUTS: &str = "renders";

/// Renders what the arguments ask for.
pub(crate) async fn run(args: Box<RenderArgs>) -> Result<(), CliError> {
    if let Some(refusal) = args.foreign.refusal() {
        return Err(CliError::user(refusal));
    }
    let mut spec = spec(&args)?;
    let target = target(&args, spec.format)?;
    let sound = args.audio.as_deref().map(sound::Sound::of).transpose()?;
    spec.audio_url = sound.as_ref().and_then(|sound| Text::new(sound.named()));
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
    let codec = args.spec.codec;
    let by_name = args.output.as_deref().and_then(format_of_output);
    let format = args.format.or(codec.map(Codec::format)).or(by_name).unwrap_or_default();
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
    let mut spec = RenderSpec { quality, format, resolution, variables: variables_of(args)?, ..args.spec.clone() };
    let takes_crf = spec.video_bitrate.is_none() && spec.codec().has_rate_control();
    spec.crf = spec.crf.or(crf.filter(|_| takes_crf).and_then(Bounded::new));
    spec.aspect_ratio = spec.aspect_ratio.or(shape.flatten());
    spec.duration = spec.duration.filter(|duration| !duration.is_zero());
    let entry = spec.composition.filter(|name| &**name != ".");
    spec.composition = entry.or_else(|| project::entry_of(&args.path).and_then(Text::new));
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
