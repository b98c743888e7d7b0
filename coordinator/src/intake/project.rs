//! Projects: zip archives from strangers.
//!
//! Only the directory of the archive is read here; who unpacks it counts what really comes out against the same limits.

use std::collections::BTreeSet;
use std::io::{Cursor, Read, Seek, SeekFrom, Write};

use bytes::Bytes;
use hyperfarm_proto::archive::ArchiveLimits;
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

/// The entry page, where the request does not say.
pub const DEFAULT_ENTRY: &str = "index.html";

/// What a project may be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Bytes of the archive.
    pub bundle_bytes: u64,
    /// Bytes of a project inside the request itself.
    pub inline_bytes: u64,
    /// Bytes of a project behind a URL, and of an asset that comes in one request.
    pub upload_bytes: u64,
    /// Entries, names and bytes of the archive.
    pub archive: ArchiveLimits,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bundle_bytes: 200 * 1024 * 1024,
            inline_bytes: 25 * 1024 * 1024,
            upload_bytes: 32 * 1024 * 1024,
            archive: ArchiveLimits::DEFAULT,
        }
    }
}

/// Why a project is refused.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum ProjectError {
    /// It cannot be rendered.
    #[error("{0}")]
    Invalid(String),
    /// It is over a limit of size.
    #[error("{0}")]
    TooLarge(String),
}

impl ProjectError {
    pub(crate) fn unreadable(reason: &dyn std::fmt::Display) -> Self {
        Self::Invalid(format!("the project is not a zip archive that can be read: {reason}"))
    }
}

/// Checks a project's archive by its directory.
///
/// # Errors
///
/// [`ProjectError`] for an archive that cannot be read, is over a limit, has an entry with a dangerous path, or lacks the
/// entry page.
pub fn check(bundle: &[u8], entry: Option<&str>, limits: &Limits) -> Result<(), ProjectError> {
    check_archive(Cursor::new(bundle), entry, limits)
}

/// The same for an archive that is read as it is needed.
///
/// # Errors
///
/// As for [`check`].
pub fn check_archive(mut bundle: impl Read + Seek, entry: Option<&str>, limits: &Limits) -> Result<(), ProjectError> {
    let invalid = |message: String| Err(ProjectError::Invalid(message));
    let bytes = bundle.seek(SeekFrom::End(0)).map_err(|error| ProjectError::unreadable(&error))?;
    if bytes > limits.bundle_bytes {
        return Err(ProjectError::TooLarge(format!(
            "the project's archive has {bytes} bytes, more than the {} that are taken",
            limits.bundle_bytes
        )));
    }
    let archive = ZipArchive::new(&mut bundle).map_err(|error| ProjectError::unreadable(&error))?;
    let limits = limits.archive;
    if archive.len() > limits.entries {
        return Err(ProjectError::TooLarge(format!(
            "the project's archive has {} entries, more than the {} that are taken",
            archive.len(),
            limits.entries
        )));
    }
    let start = archive.central_directory_start();
    let mut directory = Vec::new();
    bundle
        .seek(SeekFrom::Start(start))
        .and_then(|_| bundle.read_to_end(&mut directory))
        .map_err(|error| ProjectError::unreadable(&error))?;
    hyperfarm_proto::archive::check_names(&directory, &limits).map_err(ProjectError::Invalid)?;
    let mut archive = ZipArchive::new(bundle).map_err(|error| ProjectError::unreadable(&error))?;
    let mut files = BTreeSet::new();
    let mut unpacked = 0u64;
    for index in 0..archive.len() {
        let file = archive.by_index_raw(index).map_err(|error| ProjectError::unreadable(&error))?;
        let name = file.name().map_err(|error| ProjectError::unreadable(&error))?.into_owned();
        let shown = name.escape_debug();
        // Type bits of a Unix mode: only folders, files, and archives that say nothing are taken.
        let kind = file.unix_mode().map_or(0, |mode| mode & 0o170_000);
        if file.is_symlink() || !matches!(kind, 0 | 0o040_000 | 0o100_000) {
            return invalid(format!("the archive's entry `{shown}` is a link or a device; put the file itself there"));
        }
        if file.encrypted() {
            return invalid(format!("the archive's entry `{shown}` is encrypted"));
        }
        if !matches!(file.compression(), CompressionMethod::Stored | CompressionMethod::Deflated) {
            return invalid(format!(
                "the archive's entry `{shown}` is neither stored nor deflated; zip it the usual way"
            ));
        }
        unpacked = unpacked.saturating_add(file.size());
        if !file.is_dir() {
            files.insert(name);
        }
    }
    if unpacked > limits.unpacked_bytes {
        return Err(ProjectError::TooLarge(format!(
            "the project has {unpacked} bytes unpacked, more than the {} that are taken",
            limits.unpacked_bytes
        )));
    }
    if unpacked > limits.ratio_from && unpacked / limits.ratio.max(1) > bytes {
        return invalid(format!("the archive unpacks to {unpacked} bytes, more than {} times its size", limits.ratio));
    }
    find_entry(&files, entry.unwrap_or(DEFAULT_ENTRY)).map(drop)
}

/// The archive's path of the entry page: at the root, or in the single top-level folder.
fn find_entry(files: &BTreeSet<String>, entry: &str) -> Result<String, ProjectError> {
    if files.contains(entry) {
        return Ok(entry.to_owned());
    }
    // What Finder adds is not part of the project.
    let tops: BTreeSet<&str> =
        files.iter().filter(|name| !is_litter(name)).map(|name| name.split('/').next().unwrap_or(name)).collect();
    if let (1, Some(top)) = (tops.len(), tops.first()) {
        let inside = format!("{top}/{entry}");
        if files.contains(&inside) {
            return Ok(inside);
        }
    }
    Err(ProjectError::Invalid(format!(
        "the project has no `{entry}`, neither at its root nor in its single top-level folder; \
         put it there, or name another entry page in `composition`"
    )))
}

fn is_litter(name: &str) -> bool {
    name.starts_with("__MACOSX/") || name.ends_with(".DS_Store")
}

/// A project of one page, as an archive. Equal pages give equal archives.
///
/// # Errors
///
/// [`ProjectError::Invalid`] where `entry` cannot be the name of a file in an archive.
pub fn from_html(html: &str, entry: Option<&str>) -> Result<Bytes, ProjectError> {
    from_files(&[(entry.unwrap_or(DEFAULT_ENTRY), html.as_bytes())])
}

/// The archive of a project of these files, by their names.
///
/// # Errors
///
/// [`ProjectError::Invalid`] where a name cannot be that of a file in an archive.
pub fn from_files(files: &[(&str, &[u8])]) -> Result<Bytes, ProjectError> {
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored);
    let bytes: usize = files.iter().map(|(_, bytes)| bytes.len() + 256).sum();
    let mut archive = ZipWriter::new(Cursor::new(Vec::with_capacity(bytes)));
    let mut write = || {
        for (name, bytes) in files {
            archive.start_file(*name, options)?;
            archive.write_all(bytes)?;
        }
        Ok(())
    };
    let written: zip::result::ZipResult<()> = write();
    match written.and_then(|()| archive.finish()) {
        Ok(bytes) => Ok(bytes.into_inner().into()),
        Err(error) => Err(ProjectError::Invalid(format!("the page cannot be packed: {error}"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn archive(entries: &[(&str, &[u8])]) -> Vec<u8> {
        let mut archive = ZipWriter::new(Cursor::new(Vec::new()));
        for (name, bytes) in entries {
            if name.ends_with('/') {
                archive.add_directory(*name, SimpleFileOptions::default()).unwrap();
                continue;
            }
            archive.start_file(*name, SimpleFileOptions::default()).unwrap();
            archive.write_all(bytes).unwrap();
        }
        archive.finish().unwrap().into_inner()
    }

    /// The same archive with a name replaced by one of equal length that no writer would take.
    fn renamed(bytes: &[u8], from: &str, to: &str) -> Vec<u8> {
        assert_eq!(from.len(), to.len());
        let mut bytes = bytes.to_vec();
        for at in 0..bytes.len() - from.len() {
            if &bytes[at..at + from.len()] == from.as_bytes() {
                bytes[at..at + from.len()].copy_from_slice(to.as_bytes());
            }
        }
        bytes
    }

    fn refused(bytes: &[u8], entry: Option<&str>) -> String {
        match check(bytes, entry, &Limits::default()) {
            Err(ProjectError::Invalid(message)) => message,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn the_entry_may_be_at_the_root_or_in_a_single_folder() {
        let limits = Limits::default();
        assert_eq!(check(&archive(&[("index.html", b"x"), ("a/b.js", b"")]), None, &limits), Ok(()));
        let folder = archive(&[("site/", b""), ("site/index.html", b"x"), ("__MACOSX/site/._index.html", b"")]);
        assert_eq!(check(&folder, None, &limits), Ok(()));
        assert_eq!(check(&archive(&[("a.html", b"x")]), Some("a.html"), &limits), Ok(()));
        assert!(refused(&archive(&[("a/index.html", b""), ("b/x.html", b"")]), None).contains("`index.html`"));
        assert!(refused(&archive(&[("index.html", b"")]), Some("other.html")).contains("`other.html`"));
        assert!(refused(&archive(&[]), None).contains("index.html"));
    }

    #[test]
    fn what_is_no_archive_is_refused() {
        assert!(refused(b"", None).contains("not a zip"));
        assert!(refused(b"PK\x03\x04 and then nothing", None).contains("not a zip"));
    }

    #[test]
    fn dangerous_entries_are_refused_by_name() {
        let good = archive(&[("index.html", b"x"), ("abcdefgh.js", b"")]);
        for bad in ["/bcdefgh.js", "../defgh.js", "ab/../gh.js", "ab\\defgh.js", "C:/defgh.js", "ab//efgh.js"] {
            let message = refused(&renamed(&good, "abcdefgh.js", bad), None);
            assert!(message.contains(&bad.escape_debug().to_string()), "{bad}: {message}");
        }
        let mut linked = ZipWriter::new(Cursor::new(Vec::new()));
        linked.add_symlink("link", "/etc/passwd", SimpleFileOptions::default()).unwrap();
        assert!(refused(&linked.finish().unwrap().into_inner(), None).contains("`link` is a link"));
    }

    #[test]
    fn names_that_hide_each_other_are_refused() {
        let good = archive(&[("index.html", b"x"), ("index.htmx", b"y"), ("A.js", b"")]);
        let twice = refused(&renamed(&good, "index.htmx", "index.html"), None);
        assert!(twice.contains("two entries named `index.html`"), "{twice}");
        let cased = refused(&renamed(&good, "index.htmx", "INDEX.HTML"), None);
        assert!(cased.contains("`index.html` and `INDEX.HTML`"), "{cased}");
        assert!(refused(&renamed(&good, "A.js", "A\0js"), None).contains("control characters"));
        let long = refused(&archive(&[("index.html", b"x"), (&"a".repeat(60_000), b"")]), None);
        assert!(long.contains("`aaaa") && long.len() < 300, "{long}");
    }

    #[test]
    fn limits_hold() {
        let bytes = archive(&[("index.html", &[0; 100_000]), ("b", b"")]);
        let of = |archive: ArchiveLimits| Limits { archive, ..Limits::default() };
        let tight = |limits: Limits| check(&bytes, None, &limits).unwrap_err();
        assert!(matches!(tight(of(ArchiveLimits { entries: 1, ..ArchiveLimits::DEFAULT })), ProjectError::TooLarge(_)));
        assert!(matches!(
            tight(of(ArchiveLimits { unpacked_bytes: 99_999, ..ArchiveLimits::DEFAULT })),
            ProjectError::TooLarge(_)
        ));
        assert!(matches!(tight(Limits { bundle_bytes: 10, ..Limits::default() }), ProjectError::TooLarge(_)));
        let bomb = tight(of(ArchiveLimits { ratio: 10, ratio_from: 1000, ..ArchiveLimits::DEFAULT }));
        assert!(matches!(bomb, ProjectError::Invalid(message) if message.contains("10 times")));
        assert!(matches!(tight(of(ArchiveLimits { depth: 0, ..ArchiveLimits::DEFAULT })), ProjectError::Invalid(_)));
    }

    #[test]
    fn a_page_becomes_a_project_the_same_one_each_time() {
        let bundle = from_html("<p>", None).unwrap();
        assert_eq!(check(&bundle, None, &Limits::default()), Ok(()));
        assert_eq!(bundle, from_html("<p>", None).unwrap());
        assert_eq!(check(&from_html("<p>", Some("a.html")).unwrap(), Some("a.html"), &Limits::default()), Ok(()));
    }
}
