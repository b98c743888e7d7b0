//! `hyperfarm render`: one composition to one file, on this machine or on a farm.

mod batch;
mod farm;
mod ignored;
mod local;
mod output;
mod progress;
pub(crate) mod project;
mod sound;
pub(crate) mod summary;
mod timings;
mod title;
mod trace;
mod unpack;

use std::path::{Path, PathBuf};

use hyperfarm_proto::bounded::{Bounded, Text};
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::{Format, Profile, RenderSpec};
use hyperfarm_worker::{CompileLimits, ExpectedPage, PageFacts};
use serde_json::json;

use crate::args::{ProjectArgs, RenderArgs, extensions, format_of_output};
use crate::exit::CliError;
use crate::roles;
use crate::stdout::print_line;

use self::project::Bundle;
use self::summary::{Report, distinct};

/// Folder of outputs that have no name. A project's own is no part of the composition.
const OUTPUTS: &str = "renders";

/// Renders what the arguments ask for.
pub(crate) async fn run(args: Box<RenderArgs>) -> Result<(), CliError> {
    check_flags(&args)?;
    if let Some(rows) = &args.batch {
        let facts = page_facts(&args.project);
        let spec = spec(&args, facts.as_ref())?;
        return batch::run(&args, rows, spec, facts).await;
    }
    match render_one(&args).await {
        Ok(report) => report.print(&args),
        Err(error) => {
            if args.json {
                let warnings: Vec<&Warning> = distinct(&error.warnings).collect();
                print_line(&json!({ "ok": false, "error": error.message, "warnings": warnings }).to_string());
            }
            Err(error)
        }
    }
}

async fn render_one(args: &RenderArgs) -> Result<Report, CliError> {
    let facts = page_facts(&args.project);
    let spec = spec(args, facts.as_ref())?;
    let target = target(args, spec.format);
    let (project, warnings) = project(args, &spec, &target)?;
    render(args, spec, facts.as_ref(), &project, &target, warnings).await
}

/// Refuses flags that would change nothing beside others.
fn check_flags(args: &RenderArgs) -> Result<(), CliError> {
    // --json prints them all the same.
    if args.timings && args.quiet && !args.json {
        return Err(CliError::usage("--timings prints where the time went, and --quiet prints nothing; leave one out"));
    }
    if let Some(resolution) = args.project.resolution
        && let (_, Some(shape)) = resolution.meaning()
        && args.project.spec.aspect_ratio.is_some_and(|asked| asked != shape)
    {
        let message = "--resolution names another shape than --aspect-ratio; give 1080p or 4k, or leave one out";
        return Err(CliError::usage(message));
    }
    Ok(())
}

/// The project with its sound, and what there is to say of it.
fn project(args: &RenderArgs, spec: &RenderSpec, target: &Path) -> Result<(Bundle, Vec<Warning>), CliError> {
    let project::Packed { mut bundle, mut warnings } = project::read(&args.project, target)?;
    if let Some(argument) = &args.audio {
        bundle = sound::Sound::of(argument)?.add_to(bundle, spec.composition.as_deref())?;
    }
    warnings.extend(args.foreign.ignored().into_iter().map(|(flag, reason)| Warning {
        code: "FLAG_IGNORED".to_owned(),
        message: format!("{flag} changes nothing here: {reason}"),
    }));
    Ok((bundle, warnings))
}

/// Renders a project to `target`. The error of one that fails has the warnings of the project and of its plan.
async fn render(
    args: &RenderArgs,
    spec: RenderSpec,
    facts: Option<&PageFacts>,
    project: &Bundle,
    target: &Path,
    warnings: Vec<Warning>,
) -> Result<Report, CliError> {
    let output = output::Output::claim(target, spec.format)?;
    match &args.farm {
        None => local::run(args, spec, facts, project, output, warnings).await.map(Report::Local),
        Some(url) => farm::run(args, url, spec, project, output, warnings).await,
    }
}

/// The facts of a project's entry page. Of a zip no page is read.
pub(crate) fn page_facts(args: &ProjectArgs) -> Option<PageFacts> {
    roles::compilers(CompileLimits::default()).read_page(&project::page(args)?)
}

/// The page that a worker can expect of a project with these facts: its browsers are started before the page is
/// compiled.
pub(crate) fn expected_page(spec: &RenderSpec, facts: Option<&PageFacts>) -> Option<ExpectedPage> {
    ExpectedPage::of(spec, facts?.page)
}

/// What is asked of the pictures of a project.
pub(crate) fn project_spec(args: &ProjectArgs, facts: Option<&PageFacts>) -> Result<RenderSpec, CliError> {
    let (resolution, shape) = args.resolution.map(|resolution| resolution.meaning()).unzip();
    let mut spec = RenderSpec { resolution, variables: variables_of(args)?, ..args.spec.clone() };
    spec.aspect_ratio = spec.aspect_ratio.or(shape.flatten());
    spec.duration = spec.duration.filter(|duration| !duration.is_zero());
    let entry = spec.composition.filter(|name| &**name != ".");
    spec.title = title::of(&args.path, facts.and_then(|facts| facts.title.clone()));
    spec.composition = entry.or_else(|| project::entry_of(&args.path).and_then(Text::new));
    Ok(spec)
}

fn spec(args: &RenderArgs, facts: Option<&PageFacts>) -> Result<RenderSpec, CliError> {
    let asked_of_project = &args.project.spec;
    let codec = asked_of_project.codec.or(asked_of_project.profile.map(Profile::codec));
    let by_name = args.output.as_deref().and_then(format_of_output);
    let by_codec =
        codec.map(|codec| by_name.filter(|format| codec.formats().contains(format)).unwrap_or(codec.format()));
    let asked = args.format.or(by_codec);
    let format = asked.or(by_name).unwrap_or_default();
    if let (Some(by_name), Some(output)) = (by_name, &args.output)
        && by_name.extension() != format.extension()
    {
        let extension = format.extension();
        let output = output.display();
        return Err(CliError::usage(format!(
            "a {format} would be written to {output}; let its name end with .{extension}"
        )));
    }
    if let (None, Some(output)) = (by_name, &args.output) {
        check_name(output, asked)?;
    }
    let (quality, crf) = args.quality.meaning();
    let sound = args.audio.as_deref().map(sound::Sound::of).transpose()?;
    let project = project_spec(&args.project, facts)?;
    let mut spec = RenderSpec {
        quality,
        format,
        title: args.title.clone().or(project.title.clone()),
        pool: args.pool.clone().unwrap_or_default(),
        callback_url: args.callback_url.clone(),
        callback_id: args.callback_id.clone(),
        keep_for: args.keep_for,
        audio_url: sound.as_ref().and_then(|sound| Text::new(sound.named())),
        ..project
    };
    let takes_crf = spec.video_bitrate.is_none() && spec.codec().has_rate_control();
    spec.crf = spec.crf.or(crf.filter(|_| takes_crf).and_then(Bounded::new));
    spec.check_output().map_err(|error| CliError::usage(error.message))?;
    Ok(spec)
}

/// Checks the name of an output that no format has as its extension: a player would be misled by another one.
fn check_name(output: &Path, asked: Option<Format>) -> Result<(), CliError> {
    // The output is a folder, which may have any name.
    if asked.is_some_and(Format::is_archive) {
        return Ok(());
    }
    let (shown, known) = (output.display(), extensions());
    match (output.extension(), asked) {
        (None, Some(_)) => Ok(()),
        (None, None) => Err(CliError::usage(format!(
            "--output {shown} has no extension, which would say the format; let it end with one of {known}, or give --format"
        ))),
        (Some(extension), _) => Err(CliError::usage(format!(
            "--output {shown}: .{} is not written; let the name end with one of {known}",
            extension.display()
        ))),
    }
}

/// Where the output goes. One without a name is named after the project, as HyperFrames does it.
fn target(args: &RenderArgs, format: Format) -> PathBuf {
    args.output.clone().unwrap_or_else(|| default_target(args, format, ""))
}

/// The output of a render without a name for it.
fn default_target(args: &RenderArgs, format: Format, suffix: &str) -> PathBuf {
    let path = args.project.path.canonicalize().unwrap_or_else(|_| args.project.path.clone());
    let name = path.file_stem().map_or_else(|| "render".into(), |name| name.to_string_lossy().into_owned());
    let extension = if format.is_archive() { String::new() } else { format!(".{}", format.extension()) };
    Path::new(OUTPUTS).join(format!("{name}{suffix}{extension}"))
}

fn variables_of(args: &ProjectArgs) -> Result<Option<String>, CliError> {
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
                .map_err(|error| CliError::usage(format!("--variables @{file}: {error}")))?;
            (text, format!("--variables @{file}"))
        }
    };
    match serde_json::from_str::<serde_json::Value>(&text) {
        Ok(serde_json::Value::Object(_)) => Ok(text),
        Ok(other) => Err(CliError::usage(format!(
            "{place}: the variables must be one JSON object such as {{\"title\":\"Hello\"}}, not {other}"
        ))),
        Err(error) => Err(CliError::usage(format!("{place}: no JSON: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_without_a_format_of_its_own_is_refused_with_the_list() {
        for (name, asked, accepted) in [
            ("clip.mkv", None, false),
            ("clip.mkv", Some(Format::Mp4), false),
            ("out.xyz", None, false),
            ("noext", None, false),
            ("noext", Some(Format::Mp4), true),
            ("frames.v2", Some(Format::PngSequence), true),
            ("package", Some(Format::Hls), true),
        ] {
            let checked = check_name(Path::new(name), asked);
            assert_eq!(checked.is_ok(), accepted, "{name}");
            assert!(
                checked.err().is_none_or(|error| error.message.contains(".mp4, .webm, .mov, .gif, .zip")),
                "{name}"
            );
        }
    }

    #[test]
    fn variables_must_be_an_object() {
        assert_eq!(variables("{\"a\":1}").unwrap(), "{\"a\":1}");
        for (bad, named) in
            [("{\"a\"", "no JSON"), ("[1]", "one JSON object"), ("@/nonexistent.json", "/nonexistent.json")]
        {
            let error = variables(bad).unwrap_err();
            assert_eq!(error.code, 2);
            assert!(error.message.contains(named), "{}", error.message);
        }
    }
}
