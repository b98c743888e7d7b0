//! `hyperfarm check` compiles and probes a composition: its size, length and warnings, without rendering it.

use std::num::NonZeroU32;
use std::path::Path;

use hyperfarm_proto::plan::{PlanDraft, Warning};
use serde::Serialize;
use serde_json::json;

use crate::args::CheckArgs;
use crate::exit::CliError;
use crate::render::project::{self, Packed};
use crate::render::summary::{distinct, print_warnings};
use crate::render::{expected_page, page_facts, project_spec};
use crate::stages;
use crate::stdout::print_line;

/// What was found, as `--json` prints it.
#[derive(Debug, Serialize)]
struct Findings {
    /// Whether it can be rendered, and with `--strict` without a warning.
    ok: bool,
    title: Option<String>,
    composition: String,
    width: u32,
    height: u32,
    fps: String,
    frames: u64,
    duration: f64,
    has_audio: bool,
    files: usize,
    /// What the page loads from elsewhere.
    remote: Vec<Remote>,
    warnings: Vec<Warning>,
}

#[derive(Debug, Serialize)]
struct Remote {
    url: String,
    found: bool,
}

/// Checks a composition.
///
/// # Errors
///
/// It cannot be rendered, or there are warnings and `--strict` was given.
pub(crate) async fn run(args: Box<CheckArgs>) -> Result<(), CliError> {
    let result = check(&args).await;
    match (&result, args.json) {
        (Ok(findings), true) => {
            print_line(&serde_json::to_string_pretty(findings).map_err(CliError::system)?);
        }
        (Ok(findings), false) => findings.print(),
        (Err(error), true) => {
            let warnings: Vec<&Warning> = distinct(&error.warnings).collect();
            print_line(&json!({ "ok": false, "error": error.message, "warnings": warnings }).to_string());
        }
        (Err(_), false) => {}
    }
    match result? {
        Findings { ok: true, .. } => Ok(()),
        Findings { warnings, .. } => {
            Err(CliError::user(format!("{} warnings, and --strict was given", warnings.len())))
        }
    }
}

async fn check(args: &CheckArgs) -> Result<Findings, CliError> {
    let facts = page_facts(&args.project);
    let spec = project_spec(&args.project, facts.as_ref())?;
    spec.check_output().map_err(|error| CliError::usage(error.message))?;
    let title = spec.title.clone().map(String::from);
    let Packed { bundle, warnings } = project::read(&args.project, Path::new(""))?;
    let page = expected_page(&spec, facts.as_ref());
    let planned = stages::run(NonZeroU32::MIN, page, async |stages| stages.plan(&bundle, spec).await).await;
    let draft = match planned {
        Ok(draft) => draft,
        Err(error) => return Err(error.after(warnings)),
    };
    Ok(Findings::of(draft, title, warnings, args.strict))
}

impl Findings {
    fn of(draft: PlanDraft, title: Option<String>, mut warnings: Vec<Warning>, strict: bool) -> Self {
        let content = draft.content;
        let size = content.encoder.codec.coded_size(content.viewport.output());
        warnings.extend(draft.warnings);
        let warnings: Vec<Warning> = distinct(&warnings).cloned().collect();
        Self {
            ok: !strict || warnings.is_empty(),
            title,
            width: size.width,
            height: size.height,
            fps: content.frame_rate.to_string(),
            frames: content.frames,
            duration: content.duration(),
            has_audio: !content.audio.is_empty(),
            files: content.files.len(),
            remote: content
                .remote
                .iter()
                .map(|asset| Remote { url: asset.url.clone(), found: asset.path.is_some() })
                .collect(),
            composition: content.entry,
            warnings,
        }
    }

    fn print(&self) {
        let Self { composition, width, height, frames, fps, duration, files, .. } = self;
        let sound = if self.has_audio { "with sound" } else { "silent" };
        print_line(&format!("{composition}: {width}x{height}, {frames} frames at {fps} fps, {duration:.3} s, {sound}"));
        print_line(&format!("  {files} files, {} from elsewhere", self.remote.len()));
        for Remote { url, .. } in self.remote.iter().filter(|remote| !remote.found) {
            print_line(&format!("  not found: {url}"));
        }
        print_warnings(&self.warnings);
    }
}
