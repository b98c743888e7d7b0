//! Compile: from a project's zip to the files that the page loads.
//!
//! The entry page gets the runtime, the fonts that the machine must not decide, and the two rules that keep pixels equal over
//! machines and chunks. Everything else is served as it came. What the person should know is a [`Warning`]; what cannot become
//! a video is a [`Failure`] that names the file.

mod animated;
mod fonts;
mod html;
mod nested;
mod plain;
mod unpack;
mod variables;

use std::collections::BTreeMap;

use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CompiledFile, Warning};
use hyperfarm_proto::spec::{RenderSpec, Size};

use crate::cache::Cache;

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
    /// For the person.
    pub warnings: Vec<Warning>,
}

/// Compiles the project in `bundle`. Blocking: unpacks, hashes and parses.
pub fn compile(bundle: &std::path::Path, spec: &RenderSpec, cache: &Cache) -> Result<Compiled, Failure> {
    let files = unpack::unpack(bundle, cache)?;
    let entry = find_entry(&files, spec.composition.as_deref())?;
    let mut project = Project { files, cache };
    let mut page = project.text(&entry)?;
    if let Some(prepared) = plain::prepare(&page, spec) {
        project.replace(&entry, prepared.as_bytes())?;
        page = prepared;
    }
    let mut warnings = Vec::new();

    nested::check(&project, &entry, &page)?;
    let texts = project.texts()?;
    let compiled_page = html::compile_page(&page, &texts, &mut warnings)?;
    let variables = variables::check(spec, compiled_page.declared_variables.as_deref(), &mut warnings)?;
    let mentions_timelines = texts.values().any(|text| text.contains("__timelines"));
    let still = animated::replace(compiled_page.html, &entry, &|path| project.bytes(path), &mut warnings);
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
        authored_size: compiled_page.size,
        authored_fps: compiled_page.fps,
        variables,
        mentions_timelines,
        warnings,
    })
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

    fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), Failure> {
        let hash = ContentHash::of(bytes);
        self.cache.insert(&hash, bytes)?;
        self.files.insert(path.to_owned(), ProjectFile { hash, bytes: bytes.len() as u64 });
        Ok(())
    }
}
