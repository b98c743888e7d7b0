//! The files of a project.

use std::collections::BTreeMap;

use hyperfarm_proto::id::ContentHash;

use super::bounds::Bounds;
use super::unpack::ProjectFile;
use crate::cache::Cache;
use crate::error::{DiskError, ProjectError, WorkerError};

/// The files of a project by path, with access to their bytes.
pub(super) struct Project<'a> {
    pub(super) files: BTreeMap<String, ProjectFile>,
    pub(super) cache: &'a Cache,
    pub(super) bounds: &'a Bounds,
}

/// Text files with more bytes are data, and not read as code.
const MAX_TEXT_BYTES: u64 = 8 * 1024 * 1024;

/// Most bytes of all text files that are read as code.
const MAX_TEXTS_BYTES: usize = 128 * 1024 * 1024;

impl Project<'_> {
    /// The text of a file, without a byte order mark.
    pub(super) fn text(&self, path: &str) -> Result<String, WorkerError> {
        let file = self
            .files
            .get(path)
            .ok_or_else(|| ProjectError::CompositionMissing(format!("the project has no {path}")))?;
        let cached = self.cache.path(&file.hash);
        let bytes = std::fs::read(&cached).map_err(DiskError::at(&cached, "cannot be read"))?;
        Ok(String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).into_owned())
    }

    /// The bytes of a file; `None` where the project has no such file.
    pub(super) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        std::fs::read(self.cache.path(&self.files.get(path)?.hash)).ok()
    }

    /// The texts of all pages, style sheets, scripts, JSON and SVG files up to [`MAX_TEXT_BYTES`], by path. It is an
    /// error where they have more than [`MAX_TEXTS_BYTES`] together.
    pub(super) fn texts(&self) -> Result<BTreeMap<String, String>, WorkerError> {
        let is_code = |(path, file): &(&String, &ProjectFile)| {
            let code = ["html", "htm", "css", "js", "mjs", "json", "svg"];
            let extension = path.rsplit_once('.').map(|(_, extension)| extension.to_ascii_lowercase());
            file.bytes <= MAX_TEXT_BYTES && extension.is_some_and(|extension| code.contains(&extension.as_str()))
        };
        let (mut texts, mut bytes) = (BTreeMap::new(), 0);
        for (path, _) in self.files.iter().filter(is_code) {
            self.bounds.check_time()?;
            let text = self.text(path)?;
            bytes += text.len();
            if bytes > MAX_TEXTS_BYTES {
                let text = format!(
                    "with {path} the project's pages, style sheets, scripts, JSON and SVG files have more than {MAX_TEXTS_BYTES} \
                     bytes; leave out what the page does not use"
                );
                return Err(ProjectError::TooComplex(text).into());
            }
            texts.insert(path.clone(), text);
        }
        Ok(texts)
    }

    /// Replaces the bytes of a file, or adds it.
    pub(super) fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), DiskError> {
        let hash = ContentHash::of(bytes);
        self.cache.insert(&hash, bytes)?;
        self.files.insert(path.to_owned(), ProjectFile { hash, bytes: bytes.len() as u64 });
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_of_a_project_are_bounded_together() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        let mut project = Project { files: BTreeMap::new(), cache: &cache, bounds: &bounds };
        project.replace("index.html", b"<p>").unwrap();
        assert_eq!(project.texts().unwrap().len(), 1);
        // A byte that is no UTF-8 becomes three.
        let noise = vec![0xff; 7 << 20];
        for number in 0..10 {
            project.replace(&format!("{number}.json"), &noise).unwrap();
        }
        let error = project.texts().unwrap_err();
        assert!(error.to_string().contains(".json the project's pages"), "{error}");
    }
}
