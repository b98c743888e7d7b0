//! The project: a folder, a page or an archive, as one zip.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;

use crate::args::RenderArgs;
use crate::exit::CliError;

/// Folders that belong to tools and not to the composition.
const SKIPPED: &[&str] = &[".git", ".hyperframes", ".svn", ".hg", "__MACOSX"];

/// Files that are packed already; packing them again only takes time.
const PACKED: &[&str] = &[
    "mp4", "m4v", "mov", "webm", "mkv", "mp3", "m4a", "aac", "ogg", "opus", "flac", "png", "jpg", "jpeg", "webp",
    "avif", "gif", "woff", "woff2", "zip",
];

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

/// The project's zip. Equal folders give equal bytes: entries are in order and carry no dates.
pub(super) fn read(args: &RenderArgs, output: &Path) -> Result<Vec<u8>, CliError> {
    let path = &args.path;
    let unreadable = |error: std::io::Error| CliError::user(format!("{}: {error}", path.display()));
    let kind = std::fs::metadata(path).map_err(unreadable)?;
    if kind.is_dir() {
        let entry = path.join(args.spec.composition.as_deref().filter(|name| *name != ".").unwrap_or("index.html"));
        if !entry.is_file() {
            return Err(CliError::user(format!(
                "{} has no {}; give the folder of a composition, or name its page with --composition",
                path.display(),
                args.spec.composition.as_deref().filter(|name| *name != ".").unwrap_or("index.html")
            )));
        }
        return pack(path, output);
    }
    if is_page(path) {
        let folder = match path.parent() {
            Some(folder) if !folder.as_os_str().is_empty() => folder,
            _ => Path::new("."),
        };
        return pack(folder, output);
    }
    let bytes = std::fs::read(path).map_err(unreadable)?;
    zip::ZipArchive::new(std::io::Cursor::new(&bytes)).map_err(|error| {
        CliError::user(format!(
            "{} is neither a folder nor an HTML file nor a zip that can be read: {error}",
            path.display()
        ))
    })?;
    Ok(bytes)
}

fn pack(folder: &Path, output: &Path) -> Result<Vec<u8>, CliError> {
    let mut files = Vec::new();
    collect(folder, &output.canonicalize().unwrap_or_default(), &mut files)
        .map_err(|error| CliError::user(format!("{}: {error}", folder.display())))?;
    files.sort();
    let mut writer = zip::ZipWriter::new(std::io::Cursor::new(Vec::new()));
    let broken = |path: &Path, error: &dyn std::fmt::Display| CliError::user(format!("{}: {error}", path.display()));
    for path in files {
        let name = path.strip_prefix(folder).unwrap_or(&path).to_string_lossy().replace('\\', "/");
        let method = match has_extension(&path, PACKED) {
            true => zip::CompressionMethod::Stored,
            false => zip::CompressionMethod::Deflated,
        };
        let options = SimpleFileOptions::default().compression_method(method).large_file(true);
        writer.start_file(name, options).map_err(|error| broken(&path, &error))?;
        let mut file = std::fs::File::open(&path).map_err(|error| broken(&path, &error))?;
        let mut buffer = vec![0; 256 * 1024];
        loop {
            let read = file.read(&mut buffer).map_err(|error| broken(&path, &error))?;
            if read == 0 {
                break;
            }
            writer.write_all(&buffer[..read]).map_err(|error| broken(&path, &error))?;
        }
    }
    writer.finish().map(std::io::Cursor::into_inner).map_err(|error| broken(folder, &error))
}

fn collect(folder: &Path, output: &Path, files: &mut Vec<PathBuf>) -> std::io::Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let path = entry?.path();
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if SKIPPED.contains(&name) || (name.starts_with(".hyperfarm-") && name.ends_with(".partial")) {
            continue;
        }
        // Links are followed: the project is what the person sees.
        let kind = std::fs::metadata(&path)?;
        if kind.is_dir() {
            // Only what a page can name is needed of a package folder, and a package is no part of a composition.
            if name != "node_modules" && path.canonicalize()? != *output {
                collect(&path, output, files)?;
            }
        } else if kind.is_file() && path.canonicalize()? != *output {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_folders_pack_equally_and_leave_tools_out() {
        let folder = tempfile::tempdir().unwrap();
        for (name, text) in [("index.html", "x"), ("a/b.css", "y"), (".git/HEAD", "z"), ("node_modules/p/i.js", "w")] {
            let path = folder.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let packed = pack(folder.path(), Path::new("none")).unwrap();
        assert_eq!(packed, pack(folder.path(), Path::new("none")).unwrap());
        let archive = zip::ZipArchive::new(std::io::Cursor::new(packed)).unwrap();
        let names: Vec<String> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
        assert_eq!(names, ["a/b.css", "index.html"]);
    }
}
