//! The compiler: from a project's zip to the files that its page loads.
//!
//! Nested compositions are put into the entry page, media elements get their times, scripts wait for fonts, all by the
//! rules of the HyperFrames compiler, so that the page is the one that HyperFrames' own renders capture. Then the page
//! gets the runtime, fonts that do not depend on the machine, and two style rules that keep pixels equal on all
//! machines and in all chunks. All other files are served unchanged. What the author should know is a [`Warning`]; what
//! cannot become a video is an error that names the file.

mod animated;
mod attributes;
pub(crate) mod bounds;
mod css;
mod dom;
mod edits;
mod font_table;
pub(crate) mod fonts;
#[cfg(test)]
mod fuzz;
pub(crate) mod html;
mod identity;
mod mount;
mod nested;
mod parts;
mod paths;
mod plain;
mod project;
pub(crate) mod remote_assets;
pub(crate) mod runtime;
pub(crate) mod scripts;
mod selector;
pub(crate) mod services;
mod svg_ids;
mod times;
mod timing;
mod transitions;
pub(crate) mod unpack;
mod variables;

use std::collections::BTreeMap;
use std::fs::File;
use std::sync::Arc;

use dom_query::Document;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{CompiledFile, RemoteAsset, RuntimeVersion, Warning};
use hyperfarm_proto::shutter::Shutter;
use hyperfarm_proto::spec::{RenderSpec, Size};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use self::bounds::Bounds;
use self::project::Project;
use self::remote_assets::RemoteAssets;
use self::services::{CompileServices, RuntimeOfPage};
use self::unpack::ProjectFile;
use crate::error::{ProjectError, WorkerError};

/// The entry page where a request names none.
const DEFAULT_ENTRY: &str = "index.html";

/// A compiled project.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Compiled {
    /// Files; their bytes are in the worker's cache.
    pub(crate) files: Vec<CompiledFile>,
    /// Path of the entry page.
    pub(crate) entry: String,
    /// `data-width` and `data-height` of the root, where it has both.
    pub(crate) authored_size: Option<Size>,
    /// Whether `data-duration` of the root is 0.
    pub(crate) has_zero_duration: bool,
    /// `data-fps` of the root.
    pub(crate) authored_fps: Option<FrameRate>,
    /// The motion blur of the root.
    pub(crate) authored_shutter: Shutter,
    /// Variables as a JSON object.
    pub(crate) variables: String,
    /// Whether any file mentions timelines.
    pub(crate) mentions_timelines: bool,
    /// The runtime of the page.
    pub(crate) runtime: RuntimeVersion,
    /// Remote files that the project's text refers to.
    pub(crate) remote: Vec<RemoteAsset>,
    /// Warnings for the author.
    pub(crate) warnings: Vec<Warning>,
}

/// Compiles the project in `bundle`. It blocks: it unpacks, hashes, parses, and waits for downloads.
fn compile(
    bundle: &File,
    spec: &RenderSpec,
    services: &dyn CompileServices,
    remote_assets: &mut RemoteAssets,
    bounds: &Bounds,
) -> Result<Compiled, WorkerError> {
    let files = unpack::unpack(bundle, services, bounds)?;
    let entry = find_entry(&files, spec.composition.as_deref())?;
    let mut project = Project { files, services, bounds };
    let page = project.text(&entry)?;
    bounds.measure(&entry, &page)?;
    let mut page = html::complete_document(page);
    if let Some(prepared) = plain::prepare(&page, spec) {
        page = prepared;
    }
    // The document around a fragment names fonts, too.
    project.replace(&entry, page.as_bytes())?;
    let mut warnings = Vec::new();

    let document = bounds.parse(&entry, &page)?;
    bounds.count_mount(&entry, &page, 0)?;
    let root = html::root(&document)?;
    services.set_page(root.page);
    let RuntimeOfPage { runtime, runs_deferred_scripts, warning } =
        services.choose_runtime(runtime::named(&project))?;
    warnings.extend(warning);
    html::rebase(&document, &entry, &|path| project.files.contains_key(path));
    variables::warn_of_invalid_json(&document, &entry, &mut warnings);
    let variables = variables::check(spec, &document, &entry, &mut warnings)?;
    let mut parts = nested::inline(&document, &project, &entry)?;
    svg_ids::separate(&document, &parts.mounts, &mut parts.styles, bounds)?;
    times::check(&document, &project.texts()?, &mut warnings);
    scripts::emit_links(&document, &parts.links);
    nested::emit_styles(&document, &parts.styles);
    scripts::emit(&document, &parts);
    variables::emit_styles(&document, &parts.variables, &variables);
    let given = Value::Object(variables.clone()).to_string();
    let faces = localise(&mut project, &document, &entry, &given, remote_assets, &mut warnings)?;
    let (fetched, remote, fetch_warnings) = remote_assets.take();
    let fetched = fetched.into_iter().map(|file| (file.path, ProjectFile { hash: file.hash, bytes: file.bytes }));
    project.files.extend(fetched);
    warnings.extend(fetch_warnings);
    bounds.check_time()?;
    timing::complete(&document, &project, &parts.variables, &variables, &mut warnings);
    html::join_styles(&document);
    edits::apply(&document);
    let texts = project.texts()?;
    let page = html::finish(&document, &entry, &texts, &faces, runs_deferred_scripts, &mut warnings);
    bounds.measure(&entry, &page)?;
    let mentions_timelines = texts.values().any(|text| text.contains("__timelines"));
    let entry = compiled_path(&project, entry);
    let page = animated::replace(page, &entry, &|path| project.bytes(path))?;
    for (path, bytes) in &page.files {
        project.replace(path, bytes)?;
    }
    project.replace(&entry, page.html.as_bytes())?;
    let files = project
        .files
        .into_iter()
        .map(|(path, file)| CompiledFile { path, hash: file.hash, bytes: file.bytes })
        .collect();
    Ok(Compiled {
        files,
        entry,
        authored_size: root.page.size,
        has_zero_duration: root.has_zero_duration,
        authored_fps: root.fps,
        authored_shutter: root.shutter,
        variables: Value::Object(variables).to_string(),
        mentions_timelines,
        runtime,
        remote,
        warnings,
    })
}

/// The compile of one render, with its state between the requests of the plan stage.
pub(crate) struct Compilation {
    services: Arc<dyn CompileServices>,
    remote_assets: RemoteAssets,
}

/// The result of a compile.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct CompileOutput {
    pub(crate) compiled: Compiled,
    /// Path of the sound that the request names, where it is a remote file that was found.
    pub(crate) sound: Option<String>,
}

/// Remote files after some were fetched that only the page's scripts name.
#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct FetchedFiles {
    /// Whether any of those that were requested is new and was found.
    pub(crate) any_new: bool,
    /// All fetched files of the render.
    pub(crate) files: Vec<CompiledFile>,
    /// All remote files of the render, found or not.
    pub(crate) report: Vec<RemoteAsset>,
    /// Warnings for the author.
    pub(crate) warnings: Vec<Warning>,
}

impl Compilation {
    pub(crate) fn new(services: Arc<dyn CompileServices>) -> Self {
        Self { remote_assets: RemoteAssets::new(services.clone()), services }
    }

    /// Compiles the project in `bundle`, and fetches the sound that the request names. It blocks.
    pub(crate) fn compile(
        &mut self,
        bundle: &File,
        spec: &RenderSpec,
        bounds: &Bounds,
    ) -> Result<CompileOutput, WorkerError> {
        let sound = spec.audio_url.as_deref().and_then(|url| self.remote_assets.sound(url));
        let compiled = compile(bundle, spec, &*self.services, &mut self.remote_assets, bounds)?;
        Ok(CompileOutput { compiled, sound })
    }

    /// Fetches URLs that the page requested while it was probed. It blocks.
    pub(crate) fn fetch_requested(&mut self, urls: &[String]) -> FetchedFiles {
        let any_new = self.remote_assets.fetch_requested(urls);
        let (files, report, warnings) = self.remote_assets.take();
        FetchedFiles { any_new, files, report, warnings }
    }
}

/// Path of the compiled page. It is at the root whatever folder its source is in, because paths in compositions are
/// from the root.
fn compiled_path(project: &Project<'_>, entry: String) -> String {
    if !entry.contains('/') {
        return entry;
    }
    let mut path = DEFAULT_ENTRY.to_owned();
    while project.files.contains_key(&path) {
        path.insert(0, '_');
    }
    path
}

/// Path of the entry page.
fn find_entry(files: &BTreeMap<String, ProjectFile>, requested: Option<&str>) -> Result<String, ProjectError> {
    let entry = requested.unwrap_or(DEFAULT_ENTRY).trim_start_matches("./").trim_start_matches('/');
    if files.contains_key(entry) {
        return Ok(entry.to_owned());
    }
    let pages: Vec<&str> = files.keys().map(String::as_str).filter(|path| path.ends_with(".html")).take(5).collect();
    let found = if pages.is_empty() { "no HTML file at all".to_owned() } else { pages.join(", ") };
    Err(ProjectError::EntryMissing(format!(
        "the project has no {entry}; it has {found}. Put {entry} at the root of the project, or name the entry page with \
         `composition`"
    )))
}

/// Replaces the remote references of the page, of style sheets, scripts and pages in frames by local files, and returns
/// the fonts for the page's head.
fn localise(
    project: &mut Project<'_>,
    document: &Document,
    entry: &str,
    variables: &str,
    remote_assets: &mut RemoteAssets,
    warnings: &mut Vec<Warning>,
) -> Result<String, WorkerError> {
    let mut named = fonts::NamedFamilies::default();
    for (path, text) in project.texts()?.iter().filter(|(path, _)| path.as_str() != entry) {
        let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
        project.bounds.check_time()?;
        let changed = match extension.as_str() {
            "css" => {
                project.bounds.check_sheet(path, text)?;
                named.add_sheet(text);
                remote_assets.sheet(text)
            }
            "js" | "mjs" => {
                named.add_script(text);
                remote_assets.script(text)
            }
            // Compositions have been put into the page.
            "html" | "htm" if text.contains("//") && !text.contains("data-composition-id") => {
                let page = project.bounds.parse(path, text)?;
                remote_assets.document(&page);
                Some(page.html().to_string())
            }
            _ => None,
        };
        if let Some(changed) = changed {
            project.replace(path, changed.as_bytes())?;
        }
    }
    remote_assets.document(document);
    fonts::normalise(document);
    Ok(fonts::head_for(&[document], named, variables, remote_assets, warnings))
}
