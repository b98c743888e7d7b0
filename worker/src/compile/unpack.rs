//! Unpacking: the files of a project's zip are added to the cache, within limits.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::unix::fs::FileExt;

use hyperfarm_proto::archive::{ArchiveLimits, check_name, check_names};
use hyperfarm_proto::id::ContentHash;
use serde::{Deserialize, Serialize};

use super::bounds::Bounds;
use super::services::CompileServices;
use crate::cache::InsertError;
use crate::error::{ProjectError, WorkerError};

/// A file of a project, in the cache.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ProjectFile {
    /// SHA-256 of its bytes.
    pub(crate) hash: ContentHash,
    /// Length in bytes.
    pub(crate) bytes: u64,
}

/// Unpacks the zip at `bundle` and returns its files by path. A single top-level folder is removed from the paths.
pub(super) fn unpack(
    bundle: &File,
    services: &dyn CompileServices,
    bounds: &Bounds,
) -> Result<BTreeMap<String, ProjectFile>, WorkerError> {
    let limits = bounds.archive();
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(bundle))
        .map_err(|error| invalid(format!("the project is no zip archive that can be read: {error}")))?;
    let directory = directory(bundle, archive.central_directory_start(), limits)
        .map_err(|error| invalid(format!("the directory of the archive cannot be read: {error}")))?;
    check_names(&directory, limits).map_err(invalid)?;
    let mut files = BTreeMap::new();
    let mut total = 0u64;
    for index in 0..archive.len() {
        bounds.check_time()?;
        let mut entry =
            archive.by_index(index).map_err(|error| invalid(format!("entry {index} of the archive: {error}")))?;
        let name = entry
            .name()
            .map_err(|error| invalid(format!("entry {index} of the archive has no name that can be read: {error}")))?
            .into_owned();
        if entry.is_symlink() {
            let name = name.escape_debug();
            let text = format!("the archive's entry `{name}` is a link; put the file itself into the archive");
            return Err(invalid(text).into());
        }
        check_name(&name, limits).map_err(invalid)?;
        let path = name;
        if entry.is_dir() || is_clutter(&path) {
            continue;
        }
        let packed = entry.compressed_size();
        let limit = (limits.unpacked_bytes - total).min(limits.ratio_from.max(packed.saturating_mul(limits.ratio)));
        let (hash, length) = match services.insert_from(&mut entry, limit) {
            Ok(Some(inserted)) => inserted,
            Ok(None) => {
                let text = format!("{path} unpacks to more than {limit} bytes, which is more than is allowed");
                return Err(invalid(text).into());
            }
            Err(InsertError::Source(error)) => {
                return Err(invalid(format!("{path} cannot be unpacked: {error}")).into());
            }
            Err(InsertError::Cache(error)) => return Err(error.into()),
        };
        total += length;
        files.insert(path, ProjectFile { hash, bytes: length });
    }
    if files.is_empty() {
        return Err(invalid("the archive is empty".to_owned()).into());
    }
    Ok(without_top_folder(files))
}

fn invalid(text: String) -> ProjectError {
    ProjectError::Archive(text)
}

/// The directory of the archive, which begins at `start`, up to the end of the file.
fn directory(bundle: &File, start: u64, limits: &ArchiveLimits) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut block = vec![0; 256 * 1024];
    // The archive's own reader keeps its position in the file.
    while let read @ 1.. = bundle.read_at(&mut block, start + bytes.len() as u64)? {
        bytes.extend(&block[..read]);
        if bytes.len() as u64 > limits.directory_bytes {
            return Err(std::io::Error::other(format!("it has more than {} bytes", limits.directory_bytes)));
        }
    }
    Ok(bytes)
}

/// Whether archivers or editors have added the file.
fn is_clutter(path: &str) -> bool {
    path.starts_with("__MACOSX/") || path.ends_with(".DS_Store") || path.starts_with(".git/") || path.contains("/.git/")
}

/// The files without the folder that all their paths begin with, if there is one.
fn without_top_folder(files: BTreeMap<String, ProjectFile>) -> BTreeMap<String, ProjectFile> {
    let mut tops = files.keys().map(|path| path.split_once('/').map(|(top, _)| top.to_owned()));
    let Some(Some(top)) = tops.next() else { return files };
    if !tops.all(|other| other.as_deref() == Some(&top)) {
        return files;
    }
    files.into_iter().map(|(path, file)| (path[top.len() + 1..].to_owned(), file)).collect()
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use hyperfarm_proto::failure::FailureCode;
    use zip::write::SimpleFileOptions;

    use super::*;
    use crate::compile::services::LocalServices;

    fn unbounded() -> Bounds {
        Bounds::new(tokio_util::sync::CancellationToken::new())
    }

    fn archive(entries: &[(&str, &[u8])]) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut writer = zip::ZipWriter::new(file.reopen().unwrap());
        for (name, bytes) in entries {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        file
    }

    fn paths(entries: &[(&str, &[u8])]) -> Result<Vec<String>, WorkerError> {
        let folder = tempfile::tempdir().unwrap();
        let services = LocalServices::in_folder(folder.path());
        unpack(archive(entries).as_file(), &services, &unbounded()).map(|files| files.into_keys().collect())
    }

    #[test]
    fn one_top_folder_is_removed() {
        assert_eq!(paths(&[("p/index.html", b"x"), ("p/a/b.js", b"y")]).unwrap(), ["a/b.js", "index.html"]);
        assert_eq!(paths(&[("index.html", b"x"), ("a/b.js", b"y")]).unwrap(), ["a/b.js", "index.html"]);
        assert_eq!(paths(&[("p/index.html", b"x"), ("__MACOSX/p/._i", b"y")]).unwrap(), ["index.html"]);
    }

    #[test]
    fn paths_that_climb_are_refused_by_name() {
        for name in ["../x", "/etc/passwd", "a/../../x", "C:/x", "..\\x"] {
            let error = paths(&[(name, b"x")]).unwrap_err();
            assert_eq!(error.code(), FailureCode::ProjectInvalid, "{name}");
            assert!(error.to_string().contains(&name.escape_debug().to_string()), "{error}");
        }
    }

    #[test]
    fn names_that_hide_each_other_are_refused() {
        for names in [["a.js", "A.js"], ["a/b.js", "A/b.js"]] {
            let error = paths(&[("index.html", b"x"), (names[0], b""), (names[1], b"")]).unwrap_err();
            assert_eq!(error.code(), FailureCode::ProjectInvalid);
            assert!(error.to_string().contains(names[1]), "{error}");
        }
        let error = paths(&[("index.html", b"x"), (&"a".repeat(60_000), b"")]).unwrap_err();
        assert!(error.to_string().contains("`aaaa") && error.to_string().len() < 300, "{error}");
    }

    #[test]
    fn a_broken_archive_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let services = LocalServices::in_folder(folder.path());
        let broken = tempfile::NamedTempFile::new().unwrap();
        broken.as_file().write_all(b"PK\x03\x04 this is no zip").unwrap();
        let error = unpack(broken.as_file(), &services, &unbounded()).unwrap_err();
        assert!(error.to_string().contains("no zip archive"), "{error}");
        assert!(paths(&[]).unwrap_err().to_string().contains("empty"));
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 80 * 1024 * 1024];
        let error = paths(&[("index.html", &zeros)]).unwrap_err();
        assert!(error.to_string().contains("index.html unpacks to more"), "{error}");
    }
}
