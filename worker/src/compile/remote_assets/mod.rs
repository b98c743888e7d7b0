//! Remote references: before the page is drawn each is downloaded, added to the project's files, and replaced by the
//! path of the file.
//!
//! A reference whose file cannot be found stays as it is, with a warning; the slot's server refuses the page's request.
//! References that only scripts know are found by the probe of the plan stage, through
//! [`RemoteAssets::fetch_requested`].

mod google_fonts;
mod html;
mod references;
mod script;
mod sheet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use dom_query::Document;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CompiledFile, RemoteAsset, Warning};
use sha2::{Digest, Sha256};
use url::Url;

use self::references::{ReferenceKind, ReferenceResolver, remote_url};
use super::unpack::ProjectFile;
use crate::compile::bounds;
use crate::compile::services::{CompileServices, MAX_REFERENCES, insert};
use crate::remote::{CachedFile, RemoteFile, RemoteRequest};

/// Folder of the downloaded files in the compiled project.
const FOLDER: &str = "__remote";
/// Style sheets, scripts and pages with more bytes are served as they are.
const MAX_TEXT: u64 = 8 * 1024 * 1024;
/// Most levels of style sheets in style sheets, and of modules in modules.
const MAX_DEPTH: usize = 12;
/// Most bytes of a URL. Servers take no longer ones.
const MAX_URL_BYTES: usize = 8192;

/// Downloads the remote files of one render and replaces references to them. It blocks while it waits for the network.
pub(crate) struct RemoteAssets {
    services: Arc<dyn CompileServices>,
    /// URL path on the slot's server, or the reason why there is none, by URL and whether the file is rewritten.
    resolved: HashMap<(String, bool), Result<String, String>>,
    /// Files by URL, or the reason why there is none.
    found: HashMap<String, Result<RemoteFile, String>>,
    files: BTreeMap<String, CompiledFile>,
    report: BTreeMap<String, RemoteAsset>,
    warnings: Vec<Warning>,
    depth: usize,
    /// Specifiers that the page's import map resolves.
    import_map: Vec<String>,
    /// Font families that downloaded style sheets declare, in lower case.
    faces: BTreeSet<String>,
}

impl RemoteAssets {
    /// The remote files of a render.
    pub(crate) fn new(services: Arc<dyn CompileServices>) -> Self {
        Self {
            services,
            resolved: HashMap::new(),
            found: HashMap::new(),
            files: BTreeMap::new(),
            report: BTreeMap::new(),
            warnings: Vec::new(),
            depth: 0,
            import_map: Vec::new(),
            faces: BTreeSet::new(),
        }
    }

    /// Replaces the references of a page of the project.
    pub(super) fn document(&mut self, document: &Document) {
        html::localise(self, document, None);
    }

    /// A style sheet of the project with its references replaced; `None` without any.
    pub(super) fn sheet(&mut self, css: &str) -> Option<String> {
        sheet::localise(self, css, None)
    }

    /// A script of the project with its imports replaced; `None` without any.
    pub(super) fn script(&mut self, text: &str) -> Option<String> {
        script::localise(self, text, None)
    }

    /// Downloads URLs that the page requested while it was probed. Returns whether any new file was found.
    pub(crate) fn fetch_requested(&mut self, urls: &[String]) -> bool {
        let parsed: Vec<Url> = urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
        self.prefetch(&parsed.iter().map(|url| (url.clone(), kind_of(url))).collect::<Vec<_>>());
        let mut any = false;
        for url in &parsed {
            let seen = self.report.contains_key(url.as_str());
            any |= self.local(url, kind_of(url)).is_some() && !seen;
        }
        any
    }

    /// Downloads the sound that the request names, and returns its path among the new files.
    pub(crate) fn sound(&mut self, url: &str) -> Option<String> {
        let path = self.local(&remote_url(url, None)?, ReferenceKind::Media)?;
        Some(path.trim_start_matches('/').to_owned())
    }

    /// The new files, the report of all remote files, and the warnings since the last call.
    pub(crate) fn take(&mut self) -> (Vec<CompiledFile>, Vec<RemoteAsset>, Vec<Warning>) {
        let files = self.files.values().cloned().collect();
        let report = self.report.values().cloned().collect();
        (files, report, std::mem::take(&mut self.warnings))
    }

    /// Font families that downloaded style sheets declare, in lower case.
    pub(super) fn declared_faces(&self) -> &BTreeSet<String> {
        &self.faces
    }

    /// What the compile has from outside.
    pub(super) fn services(&self) -> Arc<dyn CompileServices> {
        self.services.clone()
    }

    /// Adds the operator's font of this number to the files and returns its URL path.
    pub(super) fn add_font(&mut self, number: usize) -> Option<String> {
        let ProjectFile { hash, bytes } = self.services.add_font(number)?;
        let extension = &self.services.fonts().get(number)?.extension;
        let path = format!("{FOLDER}/{hash}.{extension}");
        self.files.insert(path.clone(), CompiledFile { path: path.clone(), hash, bytes });
        Some(format!("/{path}"))
    }

    /// Path of the style sheet of Google Fonts for a family that the page uses without a source. It is no warning that
    /// there is none.
    pub(super) fn google_sheet(&mut self, family: &str) -> Option<String> {
        let url = google_fonts::by_name(family)?;
        self.prefetch(&[(url.clone(), ReferenceKind::Sheet)]);
        self.found
            .get(url.as_str())
            .is_some_and(Result::is_ok)
            .then(|| self.resolve(&url, ReferenceKind::Sheet))
            .flatten()
    }

    fn resolve(&mut self, url: &Url, kind: ReferenceKind) -> Option<String> {
        let is_rewritten = matches!(kind, ReferenceKind::Sheet | ReferenceKind::Module | ReferenceKind::Page);
        let key = (url.to_string(), is_rewritten);
        if let Some(resolved) = self.resolved.get(&key) {
            return resolved.clone().ok();
        }
        if google_fonts::all_known(url, self.services.fonts()) {
            // The farm adds the rules of these families itself, so the page need not load the sheet.
            self.succeeded(url, "__hyperfarm/fonts", Some("the farm's own fonts".to_owned()));
            self.resolved.insert(key, Ok(google_fonts::EMPTY_SHEET.to_owned()));
            return Some(google_fonts::EMPTY_SHEET.to_owned());
        }
        self.prefetch(&[(url.clone(), kind)]);
        let found = match self.found.get(url.as_str()).cloned() {
            Some(Ok(found)) => found,
            Some(Err(reason)) => return self.failed(key, reason),
            None => return self.failed(key, "the page has too many remote references".to_owned()),
        };
        match found {
            RemoteFile::Asset { path, replaced_by } => {
                self.succeeded(url, &path, replaced_by);
                self.resolved.insert(key, Ok(path.clone()));
                Some(path)
            }
            RemoteFile::Cached(file) => {
                let name = if is_rewritten { rewritten_name(url, &file.hash) } else { file.hash.to_string() };
                let path = format!("{FOLDER}/{name}.{}", extension(url, file.media_type.as_deref(), kind));
                self.succeeded(url, &path, file.replaced_by.clone());
                // Before the file is rewritten: files that it refers to may refer back.
                self.resolved.insert(key, Ok(format!("/{path}")));
                let (hash, bytes) = self.rewritten(&file, kind).unwrap_or((file.hash, file.bytes));
                self.files.insert(path.clone(), CompiledFile { path: path.clone(), hash, bytes });
                Some(format!("/{path}"))
            }
        }
    }

    /// Hash and length of the file with its own references replaced; `None` without any.
    fn rewritten(&mut self, file: &CachedFile, kind: ReferenceKind) -> Option<(ContentHash, u64)> {
        if file.bytes > MAX_TEXT
            || self.depth >= MAX_DEPTH
            || matches!(kind, ReferenceKind::File | ReferenceKind::Media)
        {
            return None;
        }
        let text = self.services.read(&file.hash).ok()?;
        let text = String::from_utf8_lossy(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)).into_owned();
        self.depth += 1;
        let rewritten = match kind {
            ReferenceKind::Sheet => sheet::localise(self, &text, Some(&file.base)),
            ReferenceKind::Module => script::localise(self, &text, Some(&file.base)),
            ReferenceKind::Page if !bounds::fits(&text) => None,
            ReferenceKind::Page => {
                let document = Document::from(text.as_str());
                html::localise(self, &document, Some(&file.base));
                Some(document.html().to_string())
            }
            ReferenceKind::File | ReferenceKind::Media => None,
        };
        self.depth -= 1;
        let rewritten = rewritten?;
        let ProjectFile { hash, bytes } = insert(&*self.services, rewritten.as_bytes()).ok()?;
        Some((hash, bytes))
    }

    /// Reports that the file of `url` is at `path`.
    fn succeeded(&mut self, url: &Url, path: &str, replaced_by: Option<String>) {
        let path = path.trim_start_matches('/').to_owned();
        let asset = RemoteAsset { url: url.to_string(), path: Some(path), reason: None };
        if self.report.insert(url.to_string(), asset).is_none()
            && let Some(replacement) = replaced_by
        {
            self.warn("REMOTE_REPLACED", format!("{url} was replaced by {replacement}"));
        }
    }

    /// Reports that there is no file for a URL.
    fn failed(&mut self, key: (String, bool), reason: String) -> Option<String> {
        let url = key.0.clone();
        let asset = RemoteAsset { url: url.clone(), path: None, reason: Some(reason.clone()) };
        if self.report.insert(url.clone(), asset).is_none() {
            self.warn(
                "REMOTE_NOT_LOADED",
                format!(
                    "{url} is not loaded: {reason}. Put a copy into the project, or let the operator map the address"
                ),
            );
        }
        self.resolved.insert(key, Err(reason));
        None
    }

    fn warn(&mut self, code: &str, message: String) {
        self.warnings.push(Warning { code: code.to_owned(), message });
    }
}

impl ReferenceResolver for RemoteAssets {
    fn prefetch(&mut self, references: &[(Url, ReferenceKind)]) {
        let mut requests: Vec<RemoteRequest> = Vec::new();
        for (url, kind) in references {
            let mut url = url.clone();
            url.set_fragment(None);
            let is_new = !self.found.contains_key(url.as_str()) && !requests.iter().any(|request| request.url == url);
            if is_new
                && requests.len() + self.found.len() < MAX_REFERENCES
                && !google_fonts::all_known(&url, self.services.fonts())
            {
                requests.push(RemoteRequest {
                    url,
                    is_page: *kind == ReferenceKind::Page,
                    is_media: *kind == ReferenceKind::Media,
                });
            }
        }
        let (requests, too_long): (Vec<_>, Vec<_>) =
            requests.into_iter().partition(|request| request.url.as_str().len() <= MAX_URL_BYTES);
        let reason = || Err(format!("its address has more than {MAX_URL_BYTES} bytes"));
        self.found.extend(too_long.into_iter().map(|request| (request.url.to_string(), reason())));
        if requests.is_empty() {
            return;
        }
        let urls: Vec<String> = requests.iter().map(|request| request.url.to_string()).collect();
        let found = self.services.find(requests);
        self.found.extend(urls.into_iter().zip(found));
    }
    fn local(&mut self, url: &Url, kind: ReferenceKind) -> Option<String> {
        let mut bare = url.clone();
        bare.set_fragment(None);
        let path = self.resolve(&bare, kind)?;
        Some(match url.fragment() {
            Some(fragment) => format!("{path}#{fragment}"),
            None => path,
        })
    }

    fn add_declared_faces(&mut self, families: &[String]) {
        self.faces.extend(families.iter().map(|family| family.to_lowercase()));
    }

    fn add_to_import_map(&mut self, names: &mut dyn Iterator<Item = &String>) {
        self.import_map.extend(names.cloned());
    }

    fn is_in_import_map(&self, name: &str) -> bool {
        self.import_map.iter().any(|key| key == name || (key.ends_with('/') && name.starts_with(key.as_str())))
    }
}

/// The kind of a file by the extension of its URL.
fn kind_of(url: &Url) -> ReferenceKind {
    let extension =
        url.path().rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    match extension.as_str() {
        "css" => ReferenceKind::Sheet,
        "mjs" => ReferenceKind::Module,
        "mp4" | "m4v" | "mov" | "webm" | "mkv" | "mp3" | "wav" | "ogg" | "oga" | "opus" | "aac" | "m4a" | "flac" => {
            ReferenceKind::Media
        }
        _ => ReferenceKind::File,
    }
}

/// Name of a rewritten file. It is needed before the new bytes are known, so it is made of the URL and the hash of the
/// download.
fn rewritten_name(url: &Url, hash: &ContentHash) -> String {
    hex::encode(Sha256::new().chain_update(url.as_str()).chain_update(hash.to_string()).finalize())
}

/// The extension of a downloaded file, by which the slot's server finds its media type.
fn extension(url: &Url, media_type: Option<&str>, kind: ReferenceKind) -> String {
    match kind {
        ReferenceKind::Sheet => return "css".to_owned(),
        ReferenceKind::Module => return "mjs".to_owned(),
        ReferenceKind::Page => return "html".to_owned(),
        ReferenceKind::File | ReferenceKind::Media => {}
    }
    let by_type = match media_type.unwrap_or_default() {
        "text/javascript" | "application/javascript" | "application/x-javascript" => "js",
        "text/css" => "css",
        "application/json" => "json",
        "image/svg+xml" => "svg",
        "image/png" => "png",
        "image/jpeg" => "jpg",
        "image/gif" => "gif",
        "image/webp" => "webp",
        "image/avif" => "avif",
        "video/mp4" => "mp4",
        "video/webm" => "webm",
        "video/quicktime" => "mov",
        "audio/mpeg" => "mp3",
        "audio/wav" | "audio/x-wav" => "wav",
        "audio/ogg" => "ogg",
        "audio/mp4" => "m4a",
        "font/woff2" => "woff2",
        "font/woff" => "woff",
        "application/wasm" => "wasm",
        "model/gltf-binary" => "glb",
        _ => "",
    };
    if !by_type.is_empty() {
        return by_type.to_owned();
    }
    let name = url.path().rsplit('/').next().unwrap_or_default();
    let extension = name.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase()).unwrap_or_default();
    if (1..=8).contains(&extension.len()) && extension.chars().all(|c| c.is_ascii_alphanumeric()) {
        extension
    } else {
        "bin".to_owned()
    }
}
