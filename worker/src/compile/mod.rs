//! Compile: from a project's zip to the files that the page loads.
//!
//! Nested compositions are put into the entry page, media elements get their times, scripts wait for fonts, all by the rules of the
//! HyperFrames compiler, so that the page is the one its own renders capture. Then the page gets the runtime, the fonts that the
//! machine must not decide, and the two rules that keep pixels equal over machines and chunks. Everything else is served as it
//! came. What the person should know is a [`Warning`]; what cannot become a video is a [`Failure`] that names the file.

mod animated;
pub(crate) mod bounds;
mod css;
mod dom;
mod edits;
mod fonts;
mod html;
mod identity;
mod mount;
mod nested;
mod paths;
mod plain;
pub(crate) mod remote_assets;
mod scripts;
mod selector;
mod sheet_scan;
mod svg_ids;
mod timing;
mod transitions;
mod unpack;
mod variables;
mod walk;

use std::collections::{BTreeMap, BTreeSet};

use dom_query::Document;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CompiledFile, RemoteAsset, Warning};
use hyperfarm_proto::spec::{RenderSpec, Size};
use serde_json::Value;

use crate::cache::Cache;
use bounds::Bounds;
use remote_assets::RemoteAssets;

pub use unpack::ProjectFile;

/// The entry page where a request names none.
const DEFAULT_ENTRY: &str = "index.html";

/// A compiled project.
#[derive(Debug)]
pub struct Compiled {
    /// Files by path; their bytes are in the worker's cache.
    pub files: Vec<CompiledFile>,
    /// Path of the entry page.
    pub entry: String,
    /// `data-width` and `data-height` of the root, where it has both.
    pub authored_size: Option<Size>,
    /// `data-fps` of the root.
    pub authored_fps: Option<FrameRate>,
    /// Variables as the text of one JSON object.
    pub variables: String,
    /// Whether any file speaks of timelines.
    pub mentions_timelines: bool,
    /// What the page asks of the network, as far as its text says it.
    pub remote: Vec<RemoteAsset>,
    /// For the person.
    pub warnings: Vec<Warning>,
}

/// Compiles the project in `bundle`. Blocking: unpacks, hashes, parses, and waits for what is remote.
///
/// `sized` hears the root's size as soon as it is known, for browsers to be started beside the rest.
pub(crate) fn compile(
    bundle: &std::path::Path,
    spec: &RenderSpec,
    cache: &Cache,
    localiser: &mut RemoteAssets,
    bounds: &Bounds,
    sized: &dyn Fn(Option<Size>),
) -> Result<Compiled, Failure> {
    let files = unpack::unpack(bundle, cache, bounds)?;
    let entry = find_entry(&files, spec.composition.as_deref())?;
    let mut project = Project { files, cache, bounds };
    let page = project.text(&entry)?;
    bounds.measure(&entry, &page)?;
    let mut page = html::whole(page);
    if let Some(prepared) = plain::prepare(&page, spec) {
        page = prepared;
    }
    // What was put around the page names fonts, too.
    project.replace(&entry, page.as_bytes())?;
    let mut warnings = Vec::new();

    let document = bounds.parse(&entry, &page)?;
    bounds.mount(&entry, &page, 0)?;
    let root = html::root(&document)?;
    sized(root.size);
    html::rebase(&document, &entry, &|path| project.files.contains_key(path));
    variables::warn_of_broken(&document, &entry, &mut warnings);
    let variables = variables::check(spec, &document, &entry, &mut warnings)?;
    let mut parts = nested::inline(&document, &project, &entry)?;
    svg_ids::separate(&document, &parts.mounts, &mut parts.styles);
    scripts::emit_links(&document, &parts.links);
    nested::emit_styles(&document, &parts.styles);
    scripts::emit(&document, &parts);
    variables::emit_styles(&document, &parts.variables, &variables);
    let given = Value::Object(variables.clone()).to_string();
    let faces = project.localise(&document, &entry, &given, localiser, &mut warnings)?;
    // From here on what was remote is a file like any other.
    let (fetched, remote, told) = localiser.take();
    let fetched = fetched.into_iter().map(|file| (file.path, ProjectFile { hash: file.hash, bytes: file.bytes }));
    project.files.extend(fetched);
    warnings.extend(told);
    bounds.check_time()?;
    timing::complete(&document, &project, &parts.variables, &variables, &mut warnings);
    html::join_styles(&document);
    edits::apply(&document);
    let texts = project.texts()?;
    let page = html::finish(&document, &entry, &texts, &faces, &mut warnings);
    bounds.measure(&entry, &page)?;
    let mentions_timelines = texts.values().any(|text| text.contains("__timelines"));
    let entry = compiled_path(&project, entry);
    let still = animated::replace(page, &entry, &|path| project.bytes(path), &mut warnings);
    for (path, bytes) in &still.files {
        project.replace(path, bytes)?;
    }
    project.replace(&entry, still.html.as_bytes())?;
    let files = project
        .files
        .into_iter()
        .map(|(path, file)| CompiledFile { path, hash: file.hash, bytes: file.bytes })
        .collect();
    Ok(Compiled {
        files,
        entry,
        authored_size: root.size,
        authored_fps: root.fps,
        variables: Value::Object(variables).to_string(),
        mentions_timelines,
        remote,
        warnings,
    })
}

/// The compiled page stands at the root, whatever folder its source is in: paths in compositions are from there.
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

fn find_entry(files: &BTreeMap<String, ProjectFile>, asked: Option<&str>) -> Result<String, Failure> {
    let entry = asked.unwrap_or(DEFAULT_ENTRY).trim_start_matches("./").trim_start_matches('/');
    if files.contains_key(entry) {
        return Ok(entry.to_owned());
    }
    let pages: Vec<&str> = files.keys().map(String::as_str).filter(|path| path.ends_with(".html")).take(5).collect();
    let found = if pages.is_empty() { "no HTML file at all".to_owned() } else { pages.join(", ") };
    Err(Failure::new(
        FailureCode::EntryNotFound,
        format!(
            "the project has no {entry}; it has {found}. Put {entry} at the root of the project, or name the entry page with \
             `composition`"
        ),
    ))
}

/// The project's files with access to their text.
struct Project<'a> {
    files: BTreeMap<String, ProjectFile>,
    cache: &'a Cache,
    bounds: &'a Bounds,
}

/// Text files longer than this are data, not code that names fonts or timelines.
const MAX_TEXT_BYTES: u64 = 8 * 1024 * 1024;

impl Project<'_> {
    fn text(&self, path: &str) -> Result<String, Failure> {
        let file = self
            .files
            .get(path)
            .ok_or_else(|| Failure::new(FailureCode::CompositionNotFound, format!("the project has no {path}")))?;
        let bytes = std::fs::read(self.cache.path(&file.hash))
            .map_err(|error| Failure::new(FailureCode::Internal, format!("{path} is gone from the cache: {error}")))?;
        Ok(String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).into_owned())
    }

    /// The bytes of a file that the project has.
    fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.cache.path(&self.files.get(path)?.hash)).ok()
    }

    /// Every page, style sheet and script of a reasonable length, by path.
    fn texts(&self) -> Result<BTreeMap<String, String>, Failure> {
        self.files
            .iter()
            .filter(|(path, file)| {
                let code = ["html", "htm", "css", "js", "mjs", "json", "svg"];
                let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
                file.bytes <= MAX_TEXT_BYTES && extension.is_some_and(|extension| code.contains(&extension.as_str()))
            })
            .map(|(path, _)| Ok((path.clone(), self.text(path)?)))
            .collect()
    }

    /// Rewrites what the page, the style sheets, the scripts and the pages in frames refer to on the network, and answers the fonts
    /// for the page's head.
    fn localise(
        &mut self,
        document: &Document,
        entry: &str,
        variables: &str,
        localiser: &mut RemoteAssets,
        warnings: &mut Vec<Warning>,
    ) -> Result<String, Failure> {
        let mut declared = BTreeSet::new();
        for (path, text) in self.texts()?.iter().filter(|(path, _)| path.as_str() != entry) {
            let ending = path.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
            self.bounds.check_time()?;
            let changed = match ending.as_str() {
                "css" => {
                    self.bounds.sheet(path, text)?;
                    declared.extend(sheet_scan::read(text).faces.into_iter().map(|family| family.to_lowercase()));
                    localiser.sheet(text)
                }
                "js" | "mjs" => localiser.script(text),
                // Compositions are in the page by now.
                "html" | "htm" if text.contains("//") && !text.contains("data-composition-id") => {
                    let page = self.bounds.parse(path, text)?;
                    localiser.document(&page);
                    Some(page.html().to_string())
                }
                _ => None,
            };
            if let Some(changed) = changed {
                self.replace(path, changed.as_bytes())?;
            }
        }
        localiser.document(document);
        fonts::normalise(document);
        Ok(fonts::head_for(&[document], &declared, variables, localiser, warnings))
    }

    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let hash = ContentHash::of(bytes);
        self.cache.insert(&hash, bytes)?;
        self.files.insert(path.to_owned(), ProjectFile { hash, bytes: bytes.len() as u64 });
        Ok(())
    }
}
