//! The user that Chrome runs as.

use std::path::{Path, PathBuf};

use crate::error::ChromeError;

/// An unprivileged user by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChromeUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Names of users to run Chrome as, the preferred one first: a user of the farm's own shares nothing with other
/// services.
const USER_NAMES: &[&str] = &["hyperfarm", "nobody"];

impl ChromeUser {
    /// The user to run Chrome as, if this process is root.
    ///
    /// # Errors
    ///
    /// [`ChromeError::NoUser`] where there is none.
    pub fn for_this_process() -> Result<Option<Self>, ChromeError> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        USER_NAMES.iter().find_map(|name| find(&passwd, name)).map(Some).ok_or(ChromeError::NoUser)
    }

    /// The first folder on the way to `path`, from the root on, that this user may not enter.
    pub(super) fn shut_folder(&self, path: &Path) -> Option<PathBuf> {
        use std::os::unix::fs::MetadataExt;
        let mut folders: Vec<&Path> = path.ancestors().collect();
        folders.reverse();
        let is_shut = |folder: &&&Path| {
            std::fs::metadata(folder).is_ok_and(|meta| {
                let bit = if meta.uid() == self.uid {
                    0o100
                } else if meta.gid() == self.gid {
                    0o010
                } else {
                    0o001
                };
                meta.mode() & bit == 0
            })
        };
        folders.iter().find(is_shut).map(|folder| folder.to_path_buf())
    }

    /// Makes this user the owner of a file or folder.
    ///
    /// # Errors
    ///
    /// The system's, where this process may not change the owner.
    pub fn take_ownership(&self, path: &Path) -> std::io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}

/// Ids of the groups that own the device files of GPUs, where not everybody may use them. Chrome gets them when it
/// gives up root.
pub(super) fn device_groups() -> Vec<u32> {
    use std::os::unix::fs::{FileTypeExt, MetadataExt};
    let folders = ["/dev/dri", "/dev"].map(|folder| std::fs::read_dir(folder).into_iter().flatten().flatten());
    let mut groups: Vec<u32> = folders
        .into_iter()
        .flatten()
        .filter(|entry| {
            let name = entry.file_name();
            let name = name.to_string_lossy();
            name.starts_with("renderD") || name.starts_with("nvidia")
        })
        .filter_map(|entry| entry.metadata().ok())
        .filter(|meta| {
            meta.file_type().is_char_device() && meta.mode() & 0o006 != 0o006 && meta.mode() & 0o060 == 0o060
        })
        .map(|meta| meta.gid())
        // Root's group opens more than a device.
        .filter(|group| *group != 0)
        .collect();
    groups.sort_unstable();
    groups.dedup();
    groups
}

/// The user `name` in the text of `/etc/passwd`.
fn find(passwd: &str, name: &str) -> Option<ChromeUser> {
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next()? != name {
            return None;
        }
        let uid = fields.nth(1)?.parse().ok()?;
        let gid = fields.next()?.parse().ok()?;
        Some(ChromeUser { uid, gid })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_folder_that_chrome_may_not_enter_is_found() {
        use std::os::unix::fs::{MetadataExt, PermissionsExt};
        let temp = tempfile::tempdir().unwrap();
        let (outer, inner) = (temp.path().join("private"), temp.path().join("private/temp"));
        std::fs::create_dir_all(&inner).unwrap();
        let owner = std::fs::metadata(&outer).unwrap();
        let (own, other) = (ChromeUser { uid: owner.uid(), gid: owner.gid() }, ChromeUser { uid: 65_534, gid: 65_534 });
        let set = |path: &Path, mode| std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
        // An ACL or a mask of the machine's own may shut what is above.
        for path in [temp.path(), &outer, &inner] {
            set(path, 0o755);
        }
        if other.shut_folder(temp.path()).is_some() {
            return;
        }
        assert_eq!(other.shut_folder(&inner), None);
        set(&outer, 0o700);
        assert_eq!(other.shut_folder(&inner), Some(outer.clone()));
        assert_eq!(own.shut_folder(&inner), None);
        set(&outer, 0o711);
        assert_eq!(other.shut_folder(&inner), None);
    }

    #[test]
    fn users_are_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n";
        assert_eq!(find(passwd, "nobody"), Some(ChromeUser { uid: 65534, gid: 65533 }));
        assert_eq!(find(passwd, "hyperfarm"), None);
    }
}
