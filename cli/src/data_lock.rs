//! One farm at a time over a folder: the ledger of `hyperfarm up` is in its memory, so a second one would give the same
//! tasks out again.
//!
//! The lock is one of the kernel on a file in the folder. It goes with its process, however that ends.

use std::fs::{File, TryLockError};
use std::io::{Read, Seek, Write};
use std::path::{Path, PathBuf};

use hyperfarm_backplane::config::{Config, DATA_DIR, STORAGE_URL};
use url::Url;

use crate::exit::CliError;

/// Name of the locked file.
const NAME: &str = ".up.lock";

/// The lock of a farm's storage in a folder. Dropping it releases the folder.
#[derive(Debug)]
pub(crate) struct DataLock {
    _file: Option<File>,
}

impl DataLock {
    /// Locks the folder of the storage of `config`. Storage elsewhere is not locked.
    ///
    /// # Errors
    ///
    /// Another process has it, or the folder cannot be written.
    pub(crate) fn take(config: &Config) -> Result<Self, CliError> {
        let (folder, setting): (PathBuf, _) = match config.storage_url.as_deref() {
            None => (config.data_dir.clone(), DATA_DIR),
            Some(url) => {
                match Url::parse(url).ok().filter(|url| url.scheme() == "file").map(|url| url.to_file_path()) {
                    Some(Ok(folder)) => (folder, STORAGE_URL),
                    _ => return Ok(Self { _file: None }),
                }
            }
        };
        Self::of(&folder, setting)
    }

    fn of(folder: &Path, setting: &str) -> Result<Self, CliError> {
        let broken = |error: std::io::Error| {
            CliError::system(format!(
                "{} cannot be locked: {error}; set {setting} to a folder that is yours",
                folder.display()
            ))
        };
        hyperfarm_backplane::private::folder(folder).map_err(broken)?;
        let options = File::options().read(true).write(true).create(true).truncate(false).clone();
        let mut file = options.open(folder.join(NAME)).map_err(broken)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let mut pid = String::new();
                let _ = file.read_to_string(&mut pid);
                let owner = match pid.trim() {
                    "" => "another process".to_owned(),
                    pid => format!("the process {pid}"),
                };
                return Err(CliError::system(format!(
                    "a farm runs over {} already, in {owner}; end it, or set {setting} to another folder",
                    folder.display()
                )));
            }
            Err(TryLockError::Error(error)) => return Err(broken(error)),
        }
        let written =
            file.set_len(0).and_then(|()| file.rewind()).and_then(|()| writeln!(file, "{}", std::process::id()));
        written.map_err(broken)?;
        Ok(Self { _file: Some(file) })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_has_one_owner_who_is_named() {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path().join("new/data");
        let first = DataLock::of(&folder, DATA_DIR).unwrap();
        let refused = DataLock::of(&folder, DATA_DIR).unwrap_err();
        let process = format!("the process {};", std::process::id());
        for named in [folder.to_str().unwrap(), &process, DATA_DIR] {
            assert!(refused.message.contains(named), "{}", refused.message);
        }
        drop(first);
        assert!(DataLock::of(&folder, DATA_DIR).is_ok());
    }
}
