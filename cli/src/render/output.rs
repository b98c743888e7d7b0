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

/// Folder in that one of the files that go beside the output.
const SIDECARS: &str = "sidecars";

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
    /// Makes sure that the output can be written, before any time is spent on it. A png-sequence and an hls package are a folder,
    /// unless its name ends with `.zip`.
    pub(super) fn claim(target: &Path, format: Format) -> Result<Self, CliError> {
        let is_zip = target.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("zip"));
        let is_folder = format.is_archive() && !is_zip;
        if target.is_dir() && !is_folder {
            return Err(CliError::usage(format!("--output {} is a folder; name a file", target.display())));
        }
        if target.is_file() && is_folder {
            let message = format!("is a file; {format} is written to a folder, or to a name that ends with .zip");
            return Err(CliError::usage(format!("--output {} {message}", target.display())));
        }
        let beside = folder_of(target);
        let claimed = std::fs::create_dir_all(beside)
            .and_then(|()| TemporaryFolder::create(beside, PARTIAL_PREFIX, PARTIAL_SUFFIX));
        let folder = claimed.map_err(|error| {
            CliError::usage(format!(
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

    /// Where to write meanwhile the file `name` that goes beside the output.
    pub(super) fn sidecar(&self, name: &str) -> Result<PathBuf, CliError> {
        let folder = self.folder.path().join(SIDECARS);
        if Path::new(name).file_name() != Some(name.as_ref()) {
            return Err(CliError::system(format!("{name:?} is no name of a file beside the output")));
        }
        std::fs::create_dir_all(&folder).map_err(|error| CliError::system(format!("{}: {error}", folder.display())))?;
        Ok(folder.join(name))
    }

    /// Moves the files that go beside the output: `clip.sound.wav` beside `clip.mp4`.
    fn publish_sidecars(&self) -> std::io::Result<()> {
        use std::os::unix::fs::PermissionsExt;
        let folder = self.folder.path().join(SIDECARS);
        if !folder.exists() {
            return Ok(());
        }
        for entry in std::fs::read_dir(folder)? {
            let entry = entry?;
            let mut name = self.target.file_stem().unwrap_or_default().to_owned();
            name.push(".");
            name.push(entry.file_name());
            if entry.file_name() == "storyboard.vtt" {
                // The index of a storyboard names its sheets, which get the output's name as well.
                let stem = self.target.file_stem().unwrap_or_default().to_string_lossy();
                let index = std::fs::read_to_string(entry.path())?;
                std::fs::write(entry.path(), index.replace("\nstoryboard-", &format!("\n{stem}.storyboard-")))?;
            }
            std::fs::set_permissions(entry.path(), std::fs::Permissions::from_mode(0o644))?;
            std::fs::rename(entry.path(), self.target.with_file_name(name))?;
        }
        Ok(())
    }

    /// Where it will be.
    pub(super) fn target(&self) -> &Path {
        &self.target
    }

    /// Gives the complete file and those beside it their names.
    pub(super) fn publish(self) -> Result<(), CliError> {
        use std::os::unix::fs::PermissionsExt;
        self.publish_sidecars()
            .map_err(|error| CliError::system(format!("a file beside {}: {error}", self.target.display())))?;
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
        assert_eq!(error.code, 2);
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
    fn sidecars_have_the_name_of_the_output() {
        let folder = tempfile::tempdir().unwrap();
        let output = Output::claim(&folder.path().join("clip.mp4"), Format::Mp4).unwrap();
        std::fs::write(output.partial(), b"video").unwrap();
        std::fs::write(output.sidecar("sound.wav").unwrap(), b"sound").unwrap();
        let cue = "00:00:00.000 --> 00:00:01.000";
        let index = format!("WEBVTT\n\n{cue}\nstoryboard-001.jpg#xywh=0,0,9,9\n");
        std::fs::write(output.sidecar("storyboard.vtt").unwrap(), index).unwrap();
        for bad in ["", "..", "a/b", "/etc/passwd"] {
            assert!(output.sidecar(bad).is_err(), "{bad}");
        }
        output.publish().unwrap();
        assert_eq!(std::fs::read(folder.path().join("clip.sound.wav")).unwrap(), b"sound");
        let index = std::fs::read_to_string(folder.path().join("clip.storyboard.vtt")).unwrap();
        assert_eq!(index, format!("WEBVTT\n\n{cue}\nclip.storyboard-001.jpg#xywh=0,0,9,9\n"));
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 3);
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
