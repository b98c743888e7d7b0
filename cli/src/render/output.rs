//! The output file: claimed before the work, complete or absent after it.

use std::path::{Path, PathBuf};

use hyperfarm_proto::spec::Format;

use super::project::folder_of;
use super::unpack;
use crate::exit::CliError;
use crate::temporary::TemporaryFolder;

/// Beginning of the name of a hidden folder beside an output.
pub(super) const PARTIAL_PREFIX: &str = ".hyperfarm-";
/// End of that name.
pub(super) const PARTIAL_SUFFIX: &str = ".partial";

/// A file to write to. The bytes go to a hidden folder beside it and are moved at the end; dropped before, the folder
/// is removed.
pub(super) struct Output {
    target: PathBuf,
    folder: TemporaryFolder,
    partial: PathBuf,
    /// Whether the bytes are a zip that becomes a folder.
    is_folder: bool,
}

impl Output {
    /// Makes sure that the output can be written, before any time is spent on it. A png-sequence is a folder, unless its name ends
    /// with `.zip`.
    pub(super) fn claim(target: &Path, format: Format) -> Result<Self, CliError> {
        let is_zip = target.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        let is_folder = format == Format::PngSequence && !is_zip;
        if target.is_dir() && !is_folder {
            return Err(CliError::user(format!("--output {} is a folder; name a file", target.display())));
        }
        if target.is_file() && is_folder {
            let message = "is a file; a png-sequence is written to a folder, or to a name that ends with .zip";
            return Err(CliError::user(format!("--output {} {message}", target.display())));
        }
        let beside = folder_of(target);
        let claimed = std::fs::create_dir_all(beside)
            .and_then(|()| TemporaryFolder::create(beside, PARTIAL_PREFIX, PARTIAL_SUFFIX));
        let folder = claimed.map_err(|error| {
            CliError::user(format!(
                "--output {} cannot be written: {error}; choose a folder that is yours",
                target.display()
            ))
        })?;
        let partial = folder.path().join("output");
        Ok(Self { target: target.to_owned(), folder, partial, is_folder })
    }

    /// Where to write meanwhile.
    pub(super) fn partial(&self) -> &Path {
        &self.partial
    }

    /// Where it will be.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the complete file its name.
    pub(super) fn publish(self) -> Result<(), CliError> {
        use std::os::unix::fs::PermissionsExt;
        if self.is_folder {
            return unpack::into_folder(&self.partial, self.folder.path(), &self.target)
                .map_err(|error| CliError::system(format!("{}: {error}", self.target.display())));
        }
        // Temporary files are private; an output has the rights that any new file has.
        let readable = std::fs::Permissions::from_mode(0o644);
        std::fs::set_permissions(&self.partial, readable)
            .and_then(|()| std::fs::rename(&self.partial, &self.target))
            .map_err(|error| CliError::system(format!("{}: {error}", self.target.display())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_unwritable_place_is_named_at_once() {
        let error = Output::claim(Path::new("/dev/null/folder/x.mp4"), Format::Mp4).err().unwrap();
        assert_eq!(error.code, 1);
        assert!(error.message.contains("/dev/null/folder/x.mp4"), "{}", error.message);
    }

    #[test]
    fn folders_of_the_output_are_made() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("new/folder/x.mp4");
        let output = Output::claim(&target, Format::Mp4).unwrap();
        std::fs::write(output.partial(), b"video").unwrap();
        output.publish().unwrap();
        assert_eq!(std::fs::read(target).unwrap(), b"video");
    }

    #[test]
    fn nothing_stays_of_an_output_that_was_given_up() {
        let folder = tempfile::tempdir().unwrap();
        drop(Output::claim(&folder.path().join("x.mp4"), Format::Mp4).unwrap());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
        let output = Output::claim(&folder.path().join("x.mp4"), Format::Mp4).unwrap();
        std::fs::write(output.partial(), b"video").unwrap();
        output.publish().unwrap();
        assert_eq!(std::fs::read(folder.path().join("x.mp4")).unwrap(), b"video");
    }
}
