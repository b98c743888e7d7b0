//! Remote references: each one is found before the page is drawn, put among the project's files, and rewritten.
//!
//! What cannot be found is a warning and stays as it is; the page then asks in vain, at no cost. A reference that only a script
//! knows is found by the probe (see `plan_stage`), through [`RemoteAssets::fetch_requested`].

mod google_fonts;
mod html;
mod script;
mod sheet;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use dom_query::Document;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::plan::{CompiledFile, RemoteAsset, Warning};
use sha2::{Digest, Sha256};
use url::Url;

use crate::cache::Cache;
use crate::compile::bounds;
use crate::remote::{CachedFile, RENDER_TIME, Remote, RemoteFile, RemoteRequest};

/// Folder of the fetched files in the compiled project.
const FOLDER: &str = "__remote";
/// Style sheets, scripts and pages longer than this are served as they are.
const MAX_TEXT: u64 = 8 * 1024 * 1024;
/// Bytes of a font of the operator's.
const MAX_FONT: u64 = 64 * 1024 * 1024;
/// Style sheets in style sheets, modules in modules.
const MAX_DEPTH: usize = 12;
/// References of one render.
const MAX_REFERENCES: usize = 2000;

/// What a reference is used as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Use {
    /// A classic script, an image, a font, data: served as it comes.
    File,
    /// A video or a sound.
    Media,
    /// A style sheet.
    Sheet,
    /// An ES module.
    Module,
    /// A page in a frame.
    Page,
}

/// Finds and rewrites the remote references of one render. Blocking: it waits for the network.
pub(crate) struct RemoteAssets {
    remote: Arc<Remote>,
    cache: Arc<Cache>,
    runtime: Option<tokio::runtime::Handle>,
    deadline: Instant,
    /// By URL and use: URL path from the page's origin, or why not.
    done: HashMap<(String, bool), Result<String, String>>,
    found: HashMap<String, Result<RemoteFile, String>>,
    files: BTreeMap<String, CompiledFile>,
    report: BTreeMap<String, RemoteAsset>,
    warnings: Vec<Warning>,
    depth: usize,
    /// Specifiers that the page's import map resolves.
    mapped: Vec<String>,
    /// Families that fetched style sheets declare, in lower case.
    faces: BTreeSet<String>,
}

impl RemoteAssets {
    /// For a render that begins now.
    pub(crate) fn new(remote: Arc<Remote>, cache: Arc<Cache>) -> Self {
        Self {
            remote,
            cache,
            runtime: tokio::runtime::Handle::try_current().ok(),
            deadline: Instant::now() + RENDER_TIME,
            done: HashMap::new(),
            found: HashMap::new(),
            files: BTreeMap::new(),
            report: BTreeMap::new(),
            warnings: Vec::new(),
            depth: 0,
            mapped: Vec::new(),
            faces: BTreeSet::new(),
        }
    }

    /// Rewrites a page of the project.
    pub(super) fn document(&mut self, document: &Document) {
        html::localise(self, document, None);
    }

    /// A style sheet of the project, rewritten where it has remote references.
    pub(super) fn sheet(&mut self, css: &str) -> Option<String> {
        sheet::localise(self, css, None)
    }

    /// A script of the project, rewritten where it imports remote modules.
    pub(super) fn script(&mut self, text: &str) -> Option<String> {
        script::localise(self, text, None)
    }

    /// URLs that the page asked for while it was probed. Answers whether any of them is here now.
    pub(crate) fn fetch_requested(&mut self, urls: &[String]) -> bool {
        let parsed: Vec<Url> = urls.iter().filter_map(|url| Url::parse(url).ok()).collect();
        self.prefetch(&parsed.iter().map(|url| (url.clone(), used_as(url))).collect::<Vec<_>>());
        let mut any = false;
        for url in &parsed {
            let seen = self.report.contains_key(url.as_str());
            any |= self.local(url, used_as(url)).is_some() && !seen;
        }
        any
    }

    /// A sound that the request names; its path among the new files.
    pub(crate) fn sound(&mut self, url: &str) -> Option<String> {
        let path = self.local(&remote_url(url, None)?, Use::Media)?;
        Some(path.trim_start_matches('/').to_owned())
    }

    /// New files, the report, and what the person should know.
    pub(crate) fn take(&mut self) -> (Vec<CompiledFile>, Vec<RemoteAsset>, Vec<Warning>) {
        let files = self.files.values().cloned().collect();
        let report = self.report.values().cloned().collect();
        (files, report, std::mem::take(&mut self.warnings))
    }

    /// Families that fetched style sheets declare, in lower case.
    pub(super) fn declared_faces(&self) -> &BTreeSet<String> {
        &self.faces
    }

    /// The fonts beside the embedded ones.
    pub(super) fn fonts(&self) -> Arc<Remote> {
        self.remote.clone()
    }

    /// Puts a font of the operator's among the files and answers its URL path.
    pub(super) fn keep_font(&mut self, file: &Path) -> Option<String> {
        let mut opened = std::fs::File::open(file).ok()?;
        let (hash, bytes) = self.cache.insert_from(&mut opened, MAX_FONT).ok()??;
        let ending = file.extension().and_then(|ending| ending.to_str()).unwrap_or("bin").to_ascii_lowercase();
        let path = format!("{FOLDER}/{hash}.{ending}");
        self.files.insert(path.clone(), CompiledFile { path: path.clone(), hash, bytes });
        Some(format!("/{path}"))
    }

    /// The style sheet of Google Fonts for a family that the page uses without naming a source. That there is none is no
    /// failure of a reference.
    pub(super) fn google_sheet(&mut self, family: &str) -> Option<String> {
        let url = google_fonts::by_name(family)?;
        self.prefetch(&[(url.clone(), Use::Sheet)]);
        self.found.get(url.as_str()).is_some_and(Result::is_ok).then(|| self.resolve(&url, Use::Sheet)).flatten()
    }

    /// Fetches many at once, so that the walk that follows does not wait for each.
    fn prefetch(&mut self, wanted: &[(Url, Use)]) {
        let mut asked: Vec<RemoteRequest> = Vec::new();
        for (url, used) in wanted {
            let mut url = url.clone();
            url.set_fragment(None);
            let new = !self.found.contains_key(url.as_str()) && !asked.iter().any(|ask| ask.url == url);
            if new
                && asked.len() + self.found.len() < MAX_REFERENCES
                && !google_fonts::all_known(&url, &self.remote.fonts)
            {
                asked.push(RemoteRequest { url, is_page: *used == Use::Page, is_media: *used == Use::Media });
            }
        }
        let Some(runtime) = self.runtime.clone().filter(|_| !asked.is_empty()) else { return };
        let urls: Vec<String> = asked.iter().map(|ask| ask.url.to_string()).collect();
        let found = runtime.block_on(self.remote.find(&self.cache, asked, self.deadline));
        self.found.extend(urls.into_iter().zip(found));
    }

    /// The URL path under which `url` is served, if it could be found.
    fn local(&mut self, url: &Url, used: Use) -> Option<String> {
        let mut bare = url.clone();
        bare.set_fragment(None);
        let path = self.resolve(&bare, used)?;
        Some(match url.fragment() {
            Some(fragment) => format!("{path}#{fragment}"),
            None => path,
        })
    }

    fn resolve(&mut self, url: &Url, used: Use) -> Option<String> {
        let rewritten = matches!(used, Use::Sheet | Use::Module | Use::Page);
        let key = (url.to_string(), rewritten);
        if let Some(done) = self.done.get(&key) {
            return done.clone().ok();
        }
        if google_fonts::all_known(url, &self.remote.fonts) {
            // The rules for families that are used come from the farm itself; the page need not wait for these.
            self.succeeded(url, "__hyperfarm/fonts", Some("the farm's own fonts".to_owned()));
            self.done.insert(key, Ok(google_fonts::NOTHING.to_owned()));
            return Some(google_fonts::NOTHING.to_owned());
        }
        self.prefetch(&[(url.clone(), used)]);
        let found = match self.found.get(url.as_str()).cloned() {
            Some(Ok(found)) => found,
            Some(Err(reason)) => return self.failed(key, reason),
            None => return self.failed(key, "the page has too many remote references".to_owned()),
        };
        match found {
            RemoteFile::Asset { path, replaced_by } => {
                self.succeeded(url, &path, replaced_by);
                self.done.insert(key, Ok(path.clone()));
                Some(path)
            }
            RemoteFile::Cached(kept) => {
                let name = if rewritten { rewritten_name(url, &kept.hash) } else { kept.hash.to_string() };
                let path = format!("{FOLDER}/{name}.{}", extension(url, kept.media_type.as_deref(), used));
                self.succeeded(url, &path, kept.replaced_by.clone());
                // Before what it refers to, which may refer back.
                self.done.insert(key, Ok(format!("/{path}")));
                let (hash, bytes) = self.rewritten(&kept, used).unwrap_or((kept.hash, kept.bytes));
                self.files.insert(path.clone(), CompiledFile { path: path.clone(), hash, bytes });
                Some(format!("/{path}"))
            }
        }
    }

    /// The file with its own references rewritten, where there are any.
    fn rewritten(&mut self, kept: &CachedFile, used: Use) -> Option<(ContentHash, u64)> {
        if kept.bytes > MAX_TEXT || self.depth >= MAX_DEPTH || matches!(used, Use::File | Use::Media) {
            return None;
        }
        let text = std::fs::read(self.cache.path(&kept.hash)).ok()?;
        let text = String::from_utf8_lossy(text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&text)).into_owned();
        self.depth += 1;
        let rewritten = match used {
            Use::Sheet => sheet::localise(self, &text, Some(&kept.base)),
            Use::Module => script::localise(self, &text, Some(&kept.base)),
            Use::Page if !bounds::fits(&text) => None,
            Use::Page => {
                let document = Document::from(text.as_str());
                html::localise(self, &document, Some(&kept.base));
                Some(document.html().to_string())
            }
            Use::File | Use::Media => None,
        };
        self.depth -= 1;
        let rewritten = rewritten?;
        let hash = ContentHash::of(rewritten.as_bytes());
        self.cache.insert(&hash, rewritten.as_bytes()).ok()?;
        Some((hash, rewritten.len() as u64))
    }

    fn succeeded(&mut self, url: &Url, path: &str, replaced_by: Option<String>) {
        let path = path.trim_start_matches('/').to_owned();
        let asset = RemoteAsset { url: url.to_string(), path: Some(path), reason: None };
        if self.report.insert(url.to_string(), asset).is_none()
            && let Some(replacement) = replaced_by
        {
            self.warn("REMOTE_REPLACED", format!("{url} was replaced by {replacement}"));
        }
    }

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
        self.done.insert(key, Err(reason));
        None
    }

    fn warn(&mut self, code: &str, message: String) {
        self.warnings.push(Warning { code: code.to_owned(), message });
    }
}

/// `text` as a URL to be found: absolute, or relative to `base` where there is one. References of the project to itself are none.
fn remote_url(text: &str, base: Option<&Url>) -> Option<Url> {
    let text = text.trim();
    let url = match base {
        Some(base) => base.join(text).ok()?,
        None if text.starts_with("//") => Url::parse(&format!("https:{text}")).ok()?,
        None => {
            let scheme = text.split_once("://")?.0;
            if !scheme.eq_ignore_ascii_case("http") && !scheme.eq_ignore_ascii_case("https") {
                return None;
            }
            Url::parse(text).ok()?
        }
    };
    (matches!(url.scheme(), "http" | "https") && url.has_host()).then_some(url)
}

/// Something that cannot be told from the reference: by the ending of the URL.
fn used_as(url: &Url) -> Use {
    let ending = url.path().rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    match ending.as_str() {
        "css" => Use::Sheet,
        "mjs" => Use::Module,
        "mp4" | "m4v" | "mov" | "webm" | "mkv" | "mp3" | "wav" | "ogg" | "oga" | "opus" | "aac" | "m4a" | "flac" => {
            Use::Media
        }
        _ => Use::File,
    }
}

/// A rewritten file is named before its new bytes are known: by where it came from and what came.
fn rewritten_name(url: &Url, hash: &ContentHash) -> String {
    hex::encode(Sha256::new().chain_update(url.as_str()).chain_update(hash.to_string()).finalize())
}

/// The ending by which the slot's server names the type.
fn extension(url: &Url, media_type: Option<&str>, used: Use) -> String {
    match used {
        Use::Sheet => return "css".to_owned(),
        Use::Module => return "mjs".to_owned(),
        Use::Page => return "html".to_owned(),
        Use::File | Use::Media => {}
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
    let ending = name.rsplit_once('.').map(|(_, ending)| ending.to_ascii_lowercase()).unwrap_or_default();
    if (1..=8).contains(&ending.len()) && ending.chars().all(|c| c.is_ascii_alphanumeric()) {
        ending
    } else {
        "bin".to_owned()
    }
}
