//! The project: a folder, a page or an archive, as one zip, which is a file and never in memory as a whole.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{self, BufWriter, ErrorKind};
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};

use hyperfarm_coordinator::intake::project::DEFAULT_ENTRY;
use hyperfarm_proto::plan::Warning;
use zip::write::SimpleFileOptions;

use super::OUTPUTS;
use super::ignored::Rules;
use super::output::{PARTIAL_PREFIX, PARTIAL_SUFFIX};
use crate::args::ProjectArgs;
use crate::exit::CliError;

/// Folders that belong to tools and not to the composition, wherever they lie.
const SKIPPED: &[&str] = &[".git", ".hyperframes", ".svn", ".hg", "__MACOSX", "node_modules"];

/// The project's own list of files that do not belong to the composition, in the syntax of `.gitignore`. Its rules win
/// over those of `.gitignore`.
const IGNORE_FILE: &str = ".hyperframesignore";

/// Files that are packed already; packing them again only takes time.
const PACKED: &[&str] = &[
    "mp4", "m4v", "mov", "webm", "mkv", "mp3", "m4a", "aac", "ogg", "opus", "flac", "png", "jpg", "jpeg", "webp",
    "avif", "gif", "woff", "woff2", "zip",
];

/// Extensions of further media, which compress: where Git ignores a file of them or of [`PACKED`], the person is told.
const MEDIA: &[&str] = &["wav", "aif", "aiff"];

/// The entry page where the path names one.
pub(super) fn entry_of(path: &Path) -> Option<String> {
    is_page(path).then(|| path.file_name().and_then(|name| name.to_str()).map(str::to_owned)).flatten()
}

fn is_page(path: &Path) -> bool {
    has_extension(path, &["html", "htm"])
}

fn has_extension(path: &Path, extensions: &[&str]) -> bool {
    path.extension()
        .and_then(|found| found.to_str())
        .is_some_and(|found| extensions.contains(&found.to_ascii_lowercase().as_str()))
}

/// A project as it is sent to a worker.
#[derive(Debug)]
pub(crate) struct Packed {
    /// The zip.
    pub bundle: Bundle,
    /// Media that `.gitignore` leaves out.
    pub warnings: Vec<Warning>,
}

/// A project's zip: the person's own file, or one without a name in the temporary folder, which goes with the process
/// however that ends.
#[derive(Debug)]
pub(crate) struct Bundle {
    file: File,
    /// Whether the file is this process's.
    is_own: bool,
}

impl Bundle {
    /// A path at which this process can open the file.
    pub(crate) fn path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }

    /// Its length in bytes.
    pub(crate) fn bytes(&self) -> Result<u64, CliError> {
        self.file.metadata().map(|meta| meta.len()).map_err(|error| unpacked(&error))
    }

    /// A file of this process with the same bytes.
    pub(super) fn into_own(self) -> Result<File, CliError> {
        if self.is_own {
            return Ok(self.file);
        }
        let mut own = temporary_file()?;
        let mut source = File::open(self.path()).map_err(|error| unpacked(&error))?;
        io::copy(&mut source, &mut own).map_err(|error| unpacked(&error))?;
        Ok(own)
    }

    /// An archive of this process.
    pub(super) fn own(file: File) -> Self {
        Self { file, is_own: true }
    }
}

/// A file without a name in the temporary folder.
fn temporary_file() -> Result<File, CliError> {
    tempfile::tempfile_in(std::env::temp_dir()).map_err(|error| unpacked(&error))
}

/// The error of an archive that cannot be written to the temporary folder, or read there.
fn unpacked(error: &io::Error) -> CliError {
    let folder = std::env::temp_dir();
    CliError::system(format!(
        "the project cannot be packed in {}: {error}; set TMPDIR to a folder that is yours and has room",
        folder.display()
    ))
}

/// The page of a project's folder that is rendered.
fn entry(args: &ProjectArgs) -> &str {
    args.spec.composition.as_deref().filter(|name| *name != ".").unwrap_or(DEFAULT_ENTRY)
}

/// The file of the page that is rendered; `None` where it is in a zip.
pub(super) fn page(args: &ProjectArgs) -> Option<PathBuf> {
    let path = &args.path;
    if path.is_dir() { Some(path.join(entry(args))) } else { is_page(path).then(|| path.clone()) }
}

/// The project's zip. Equal folders give equal bytes: entries are in order and carry no dates.
pub(crate) fn read(args: &ProjectArgs, output: &Path) -> Result<Packed, CliError> {
    let path = &args.path;
    let unreadable = |error: std::io::Error| CliError::usage(format!("{}: {error}", path.display()));
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if kind.is_dir() {
        let entry = entry(args);
        if !path.join(entry).is_file() {
            let message = format!(
                "{} has no {entry}; give the folder of a composition, or name its page with --composition",
                path.display()
            );
            // Without --composition it is the project that lacks its page.
            return Err(match args.spec.composition {
                Some(_) => CliError::usage(message),
                None => CliError::user(message),
            });
        }
        return pack(path, output);
    }
    if is_page(path) {
        return pack(folder_of(path), output);
    }
    let file = File::open(path).map_err(unreadable)?;
    zip::ZipArchive::new(io::BufReader::new(&file)).map_err(|error| {
        CliError::user(format!(
            "{} is neither a folder nor an HTML file nor a zip that can be read: {error}",
            path.display()
        ))
    })?;
    Ok(Packed { bundle: Bundle { file, is_own: false }, warnings: Vec::new() })
}

/// The folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> &Path {
    path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

fn pack(folder: &Path, output: &Path) -> Result<Packed, CliError> {
    let Walk { files, ignored_media, .. } = files_of(folder, output)?;
    let mut writer = zip::ZipWriter::new(BufWriter::new(temporary_file()?));
    let broken = |path: &Path, error: io::Error| match error.kind() {
        // Only the archive is written.
        ErrorKind::StorageFull | ErrorKind::QuotaExceeded => unpacked(&error),
        _ => CliError::user(format!("{}: {error}", path.display())),
    };
    for path in &files {
        let name = path.strip_prefix(folder).unwrap_or(path).to_string_lossy().replace('\\', "/");
        let method = match has_extension(path, PACKED) {
            true => zip::CompressionMethod::Stored,
            false => zip::CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        writer.start_file(name, options).map_err(|error| broken(path, error.into()))?;
        let mut file = File::open(path).map_err(|error| broken(path, error))?;
        io::copy(&mut file, &mut writer).map_err(|error| broken(path, error))?;
    }
    let packed = writer.finish().map_err(|error| broken(folder, error.into()))?;
    let file = packed.into_inner().map_err(|error| broken(folder, error.into_error()))?;
    Ok(Packed { bundle: Bundle::own(file), warnings: warning_of_ignored(folder, &ignored_media).into_iter().collect() })
}

/// The walk through all files of a composition's folder.
fn files_of(folder: &Path, output: &Path) -> Result<Walk, CliError> {
    let (outputs, output) = (folder.join(OUTPUTS), output.canonicalize().ok());
    let mut walk = Walk { outputs, output, files: BTreeSet::new(), ignored_media: BTreeSet::new() };
    walk.collect(folder, &Rules::default(), &Rules::default(), false)?;
    Ok(walk)
}

/// A walk through a composition's folder.
struct Walk {
    outputs: PathBuf,
    output: Option<PathBuf>,
    /// Files that belong to the project.
    files: BTreeSet<PathBuf>,
    /// Media that only `.gitignore` leaves out.
    ignored_media: BTreeSet<PathBuf>,
}

impl Walk {
    /// Collects the files in `folder`, which is itself `left_out` by `.gitignore` or not.
    fn collect(&mut self, folder: &Path, git: &Rules, own: &Rules, left_out: bool) -> Result<(), CliError> {
        let broken = |path: &Path, error: std::io::Error| CliError::user(format!("{}: {error}", path.display()));
        let git = git.with(folder, ".gitignore");
        let own = own.with(folder, IGNORE_FILE);
        for entry in std::fs::read_dir(folder).map_err(|error| broken(folder, error))? {
            let path = entry.map_err(|error| broken(folder, error))?.path();
            if self.is_foreign(&path) {
                continue;
            }
            // Links are followed: the project is what the person sees.
            let kind = std::fs::metadata(&path).map_err(|error| match std::fs::read_link(&path) {
                Ok(target) => {
                    let (path, target) = (path.display(), target.display());
                    CliError::user(format!("{path} is a link to {target}, which is not there; mend or remove it"))
                }
                Err(_) => broken(&path, error),
            })?;
            let by_own = own.leave_out(&path, kind.is_dir());
            if by_own == Some(true) {
                continue;
            }
            let by_git = || by_own.is_none() && git.leave_out(&path, kind.is_dir()) == Some(true);
            let left_out = left_out || by_git();
            if kind.is_dir() {
                self.collect(&path, &git, &own, left_out)?;
            } else if kind.is_file() && !left_out {
                self.files.insert(path);
            } else if kind.is_file() && (has_extension(&path, PACKED) || has_extension(&path, MEDIA)) {
                self.ignored_media.insert(path);
            }
        }
        Ok(())
    }

    /// Whether the path belongs to a tool, or is an output.
    fn is_foreign(&self, path: &Path) -> bool {
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        let is_partial = name.starts_with(PARTIAL_PREFIX) && name.ends_with(PARTIAL_SUFFIX);
        let is_output = || self.output.is_some() && path.canonicalize().ok() == self.output;
        SKIPPED.contains(&name) || is_partial || path == self.outputs || is_output()
    }
}

/// A warning where `.gitignore` leaves out media: footage is often kept out of Git and belongs to the composition all
/// the same.
fn warning_of_ignored(folder: &Path, media: &BTreeSet<PathBuf>) -> Option<Warning> {
    let first = media.first()?;
    let first = first.strip_prefix(folder).unwrap_or(first).display();
    let message = format!(
        "{} media files are left out of the project because of .gitignore, such as {first}; \
         a line !PATTERN in {IGNORE_FILE} puts them in again",
        media.len()
    );
    Some(Warning { code: "MEDIA_IGNORED".to_owned(), message })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn project(files: &[(&str, &str)]) -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in files {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        folder
    }

    fn names(packed: Packed) -> Vec<String> {
        let archive = zip::ZipArchive::new(File::open(packed.bundle.path()).unwrap()).unwrap();
        archive.file_names().map(|name| name.unwrap().into_owned()).collect()
    }

    #[test]
    fn a_link_that_leads_nowhere_is_named() {
        let folder = project(&[("index.html", "x")]);
        std::os::unix::fs::symlink("nothing.png", folder.path().join("logo.png")).unwrap();
        let error = pack(folder.path(), Path::new("none")).err().unwrap().message;
        assert!(error.contains("logo.png is a link to nothing.png"), "{error}");
    }

    #[test]
    fn equal_folders_pack_equally_and_leave_tools_out() {
        let files = [("index.html", "x"), ("a/b.css", "y"), (".git/HEAD", "z"), ("node_modules/p/i.js", "w")];
        let folder = project(&files);
        let packed = pack(folder.path(), Path::new("none")).unwrap();
        let again = pack(folder.path(), Path::new("none")).unwrap();
        assert_eq!(std::fs::read(packed.bundle.path()).unwrap(), std::fs::read(again.bundle.path()).unwrap());
        assert_eq!(names(packed), ["a/b.css", "index.html"]);
    }

    #[test]
    fn outputs_and_what_the_project_ignores_are_left_out() {
        let folder = project(&[
            ("index.html", "x"),
            ("renders/index.mp4", "an earlier output"),
            ("scenes/renders/still.png", "a part of the composition"),
            ("out/new.mp4", "the output itself"),
            (".hyperfarm-1.partial/output", "half an output"),
            (".hyperframesignore", "drafts/\n!footage/kept.mp4\n"),
            (".gitignore", "*.mp4\nbuild/\n"),
            ("drafts/old.html", "x"),
            ("build/log.txt", "x"),
            ("footage/kept.mp4", "x"),
            ("footage/left-out.mp4", "x"),
        ]);
        let packed = pack(folder.path(), &folder.path().join("out/new.mp4")).unwrap();
        let message = packed.warnings[0].message.clone();
        assert!(message.starts_with("1 media files") && message.contains("footage/left-out.mp4"), "{message}");
        let expected =
            [".gitignore", ".hyperframesignore", "footage/kept.mp4", "index.html", "scenes/renders/still.png"];
        assert_eq!(names(packed), expected);
    }
}
