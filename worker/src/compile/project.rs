//! The files of a project.

use std::collections::BTreeMap;

use super::bounds::Bounds;
use super::services::{CompileServices, insert};
use super::unpack::ProjectFile;
use crate::error::{ProjectError, WorkerError};

/// The files of a project by path, with access to their bytes.
pub(super) struct Project<'a> {
    pub(super) files: BTreeMap<String, ProjectFile>,
    pub(super) services: &'a dyn CompileServices,
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
        let bytes = self.services.read(&file.hash)?;
        Ok(String::from_utf8_lossy(bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes)).into_owned())
    }

    /// The bytes of a file; `None` where the project has no such file.
    pub(super) fn bytes(&self, path: &str) -> Option<Vec<u8>> {
        self.services.read(&self.files.get(path)?.hash).ok()
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
    pub(super) fn replace(&mut self, path: &str, bytes: &[u8]) -> Result<(), WorkerError> {
        let file = insert(self.services, bytes)?;
        self.files.insert(path.to_owned(), file);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::services::LocalServices;

    #[test]
    fn the_texts_of_a_project_are_bounded_together() {
        let folder = tempfile::tempdir().unwrap();
        let services = LocalServices::in_folder(folder.path());
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        let mut project = Project { files: BTreeMap::new(), services: &services, bounds: &bounds };
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
