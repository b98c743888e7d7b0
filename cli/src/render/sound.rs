//! The sound that `--audio` puts under the whole render.

use std::fs::File;
use std::io::{self, BufReader};
use std::path::{Path, PathBuf};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use super::project::Bundle;
use crate::exit::CliError;

/// A file of this machine, which goes into the project, or something remote, which is named.
#[derive(Debug)]
pub(super) enum Sound {
    /// Where it lies, and what it is called in the project.
    File(PathBuf, String),
    /// An http(s) URL.
    Remote(String),
}

impl Sound {
    /// What the argument names.
    pub(super) fn of(argument: &str) -> Result<Self, CliError> {
        if argument.starts_with("https://") || argument.starts_with("http://") {
            return Ok(Self::Remote(argument.to_owned()));
        }
        let path = Path::new(argument);
        if !path.is_file() {
            return Err(CliError::usage(format!(
                "--audio {argument} is no file; give a file of sound, or an http(s) URL"
            )));
        }
        let extension = path.extension().and_then(|extension| extension.to_str()).unwrap_or("bin").to_ascii_lowercase();
        Ok(Self::File(path.to_owned(), format!("hyperfarm-audio.{extension}")))
    }

    /// How the request names it.
    pub(super) fn named(&self) -> String {
        match self {
            Self::File(_, name) => name.clone(),
            Self::Remote(url) => url.clone(),
        }
    }

    /// The project's zip with the file in it, beside the entry page's folder.
    pub(super) fn add_to(&self, project: Bundle, entry: Option<&str>) -> Result<Bundle, CliError> {
        let Self::File(path, name) = self else { return Ok(project) };
        let broken = |error: &dyn std::fmt::Display| CliError::usage(format!("--audio {}: {error}", path.display()));
        let mut sound = File::open(path).map_err(|error| broken(&error))?;
        let place = place(&project, entry.unwrap_or("index.html"), name);
        let mut writer = ZipWriter::new_append(project.into_own()?).map_err(|error| broken(&error))?;
        let options = SimpleFileOptions::default().compression_method(CompressionMethod::Stored).large_file(true);
        writer.start_file(place, options).map_err(|error| broken(&error))?;
        io::copy(&mut sound, &mut writer).map_err(|error| broken(&error))?;
        writer.finish().map(Bundle::own).map_err(|error| broken(&error))
    }
}

/// A project may lie in a single top-level folder of its archive; a file beside that folder would be outside of it.
fn place(project: &Bundle, entry: &str, name: &str) -> String {
    let archive = File::open(project.path()).ok().and_then(|file| ZipArchive::new(BufReader::new(file)).ok());
    let Some(archive) = archive else { return name.to_owned() };
    let names: Vec<String> = archive.file_names().flatten().map(|name| name.into_owned()).collect();
    if names.iter().any(|known| known == entry) {
        return name.to_owned();
    }
    let folder = names.iter().find_map(|known| known.strip_suffix(entry)?.strip_suffix('/'));
    folder.map_or_else(|| name.to_owned(), |folder| format!("{folder}/{name}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zip(names: &[&str]) -> Bundle {
        let mut writer = ZipWriter::new(tempfile::tempfile().unwrap());
        for name in names {
            writer.start_file(*name, SimpleFileOptions::default()).unwrap();
        }
        Bundle::own(writer.finish().unwrap())
    }

    #[test]
    fn a_file_goes_into_the_project() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("Song.MP3");
        std::fs::write(&file, b"sound").unwrap();
        let sound = Sound::of(file.to_str().unwrap()).unwrap();
        assert_eq!(sound.named(), "hyperfarm-audio.mp3");
        for (project, expected) in [
            (zip(&["index.html"]), "hyperfarm-audio.mp3"),
            (zip(&["top/a.css", "top/index.html"]), "top/hyperfarm-audio.mp3"),
        ] {
            let bundle = sound.add_to(project, None).unwrap();
            let archive = ZipArchive::new(File::open(bundle.path()).unwrap()).unwrap();
            assert!(archive.file_names().flatten().any(|name| name == expected), "{expected}");
        }
    }

    #[test]
    fn what_is_no_file_is_remote_or_refused() {
        assert_eq!(Sound::of("https://x.example/a.mp3").unwrap().named(), "https://x.example/a.mp3");
        assert!(Sound::of("/nonexistent/a.mp3").unwrap_err().message.contains("/nonexistent/a.mp3"));
    }
}
