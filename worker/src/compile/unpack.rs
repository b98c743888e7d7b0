//! Unpacking a project's zip into the cache, by content, within limits.

use std::collections::BTreeMap;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use hyperfarm_proto::archive::{ArchiveLimits, check_name, check_names};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;

use super::bounds::Bounds;
use crate::cache::{Cache, InsertError};

/// What the intake's limits are too.
const LIMITS: ArchiveLimits = ArchiveLimits::DEFAULT;

/// One file of a project.
#[derive(Debug, Clone)]
pub struct ProjectFile {
    /// SHA-256 of its bytes.
    pub hash: ContentHash,
    /// Length in bytes.
    pub bytes: u64,
}

/// The files of the zip at `bundle` by path. A single top-level folder is taken away.
pub(super) fn unpack(bundle: &Path, cache: &Cache, bounds: &Bounds) -> Result<BTreeMap<String, ProjectFile>, Failure> {
    let opened = std::fs::File::open(bundle)
        .map_err(|error| Failure::new(FailureCode::Storage, format!("the bundle is gone from the cache: {error}")))?;
    let mut archive = zip::ZipArchive::new(std::io::BufReader::new(opened))
        .map_err(|error| invalid(format!("the project is no zip archive that can be read: {error}")))?;
    let directory = directory(bundle, archive.central_directory_start())
        .map_err(|error| invalid(format!("the directory of the archive cannot be read: {error}")))?;
    check_names(&directory, &LIMITS).map_err(invalid)?;
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
            return Err(invalid(format!(
                "the archive's entry `{}` is a link; put the file itself into the archive",
                name.escape_debug()
            )));
        }
        check_name(&name, &LIMITS).map_err(invalid)?;
        let path = name;
        if entry.is_dir() || is_clutter(&path) {
            continue;
        }
        let packed = entry.compressed_size();
        let limit = (LIMITS.unpacked_bytes - total).min(LIMITS.ratio_from.max(packed.saturating_mul(LIMITS.ratio)));
        let (hash, length) = match cache.insert_from(&mut entry, limit) {
            Ok(Some(kept)) => kept,
            Ok(None) => {
                return Err(invalid(format!(
                    "{path} unpacks to more than {limit} bytes, which is more than is allowed"
                )));
            }
            Err(InsertError::Source(error)) => return Err(invalid(format!("{path} cannot be unpacked: {error}"))),
            Err(InsertError::Cache(failure)) => return Err(failure),
        };
        total += length;
        files.insert(path, ProjectFile { hash, bytes: length });
    }
    if files.is_empty() {
        return Err(invalid("the archive is empty".to_owned()));
    }
    Ok(without_top_folder(files))
}

fn invalid(message: String) -> Failure {
    Failure::new(FailureCode::ProjectInvalid, message)
}

/// The archive's directory, which begins at `start`, with what follows it.
fn directory(bundle: &Path, start: u64) -> std::io::Result<Vec<u8>> {
    let mut file = std::fs::File::open(bundle)?;
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    let read = file.take(LIMITS.directory_bytes + 1).read_to_end(&mut bytes)?;
    if read as u64 > LIMITS.directory_bytes {
        return Err(std::io::Error::other(format!("it has more than {} bytes", LIMITS.directory_bytes)));
    }
    Ok(bytes)
}

/// What archivers and editors add.
fn is_clutter(path: &str) -> bool {
    path.starts_with("__MACOSX/") || path.ends_with(".DS_Store") || path.starts_with(".git/") || path.contains("/.git/")
}

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

    use zip::write::SimpleFileOptions;

    use super::*;

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

    fn paths(entries: &[(&str, &[u8])]) -> Result<Vec<String>, Failure> {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let file = archive(entries);
        unpack(file.path(), &cache, &unbounded()).map(|files| files.into_keys().collect())
    }

    #[test]
    fn one_top_folder_is_taken_away() {
        assert_eq!(paths(&[("p/index.html", b"x"), ("p/a/b.js", b"y")]).unwrap(), ["a/b.js", "index.html"]);
        assert_eq!(paths(&[("index.html", b"x"), ("a/b.js", b"y")]).unwrap(), ["a/b.js", "index.html"]);
        assert_eq!(paths(&[("p/index.html", b"x"), ("__MACOSX/p/._i", b"y")]).unwrap(), ["index.html"]);
    }

    #[test]
    fn paths_that_climb_are_refused_by_name() {
        for name in ["../x", "/etc/passwd", "a/../../x", "C:/x", "..\\x"] {
            let failure = paths(&[(name, b"x")]).unwrap_err();
            assert_eq!(failure.code, FailureCode::ProjectInvalid, "{name}");
            assert!(failure.message.contains(&name.escape_debug().to_string()), "{failure}");
        }
    }

    #[test]
    fn names_that_hide_each_other_are_refused() {
        for names in [["a.js", "A.js"], ["a/b.js", "A/b.js"]] {
            let failure = paths(&[("index.html", b"x"), (names[0], b""), (names[1], b"")]).unwrap_err();
            assert_eq!(failure.code, FailureCode::ProjectInvalid);
            assert!(failure.message.contains(names[1]), "{failure}");
        }
        let failure = paths(&[("index.html", b"x"), (&"a".repeat(60_000), b"")]).unwrap_err();
        assert!(failure.message.contains("`aaaa") && failure.message.len() < 300, "{failure}");
    }

    #[test]
    fn a_broken_archive_says_so() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let broken = tempfile::NamedTempFile::new().unwrap();
        broken.as_file().write_all(b"PK\x03\x04 this is no zip").unwrap();
        let failure = unpack(broken.path(), &cache, &unbounded()).unwrap_err();
        assert!(failure.message.contains("no zip archive"), "{failure}");
        assert!(paths(&[]).unwrap_err().message.contains("empty"));
    }

    #[test]
    fn a_bomb_is_refused() {
        let zeros = vec![0; 80 * 1024 * 1024];
        let failure = paths(&[("index.html", &zeros)]).unwrap_err();
        assert!(failure.message.contains("index.html unpacks to more"), "{failure}");
    }
}
