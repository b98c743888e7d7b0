//! `hyperfarm render`: one composition to one file, on this machine or on a farm.

mod farm;
mod local;
mod output;
mod progress;
mod project;
mod summary;

use std::path::Path;

use hyperfarm_proto::spec::{Format, RenderSpec};

use crate::args::{FormatArg, RenderArgs};
use crate::exit::CliError;

/// Renders what the arguments ask for.
pub async fn run(args: Box<RenderArgs>) -> Result<(), CliError> {
    let spec = spec(&args)?;
    let project = project::read(&args)?;
    let output = output::Output::claim(&args.output)?;
    match &args.farm {
        None => local::run(&args, spec, project, output).await,
        Some(url) => farm::run(&args, url, spec, project, output).await,
    }
}

fn spec(args: &RenderArgs) -> Result<RenderSpec, CliError> {
    let variables = args.variables.as_deref().map(variables).transpose()?;
    let format = args.format.or_else(|| FormatArg::of_output(&args.output)).unwrap_or(FormatArg::Mp4);
    let format = Format::from(format);
    if let Some(extension) = args.output.extension().and_then(|extension| extension.to_str())
        && FormatArg::of_output(&args.output).is_some_and(|by_name| Format::from(by_name) != format)
    {
        return Err(CliError::user(format!(
            "--format {format} would be written to a file named .{extension}; name it .{format}"
        )));
    }
    Ok(RenderSpec {
        fps: args.fps,
        quality: args.quality.into(),
        format,
        resolution: args.resolution.map(Into::into),
        aspect_ratio: args.aspect_ratio.map(Into::into),
        width: args.width,
        height: args.height,
        composition: args.composition.clone().or_else(|| project::entry_of(&args.path)),
        variables,
        strict_variables: args.strict_variables,
        chunk_frames: args.chunk_frames.map(std::num::NonZero::get),
        ..RenderSpec::default()
    })
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
