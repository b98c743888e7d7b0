//! Files and folders that only this user may open: bundles, videos, the secret that signs links. Chrome runs as another
//! user, so that a page that escapes from it cannot read them.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Takes the rights of everybody else away from all that this process makes from now on, whatever mask it was started
/// with.
pub fn files_of_this_user() {
    rustix::process::umask(rustix::fs::Mode::from_bits_retain(0o077));
}

/// Makes the folder `path` and the folders above it. An existing one that is this user's becomes private too, unless its
/// group may write to it: then it is shared on purpose.
///
/// # Errors
///
/// The system's error where the folder cannot be made or changed.
pub fn folder(path: &Path) -> io::Result<()> {
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    let found = std::fs::metadata(path)?;
    let mode = found.mode() & 0o7777;
    let own = found.uid() == rustix::process::geteuid().as_raw();
    if own && mode & 0o077 != 0 && mode & 0o1022 == 0 {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode & !0o077))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        std::fs::metadata(path).unwrap().mode() & 0o7777
    }

    #[test]
    fn folders_become_private_unless_they_are_shared_on_purpose() {
        let parent = tempfile::tempdir().unwrap();
        let made = parent.path().join("a/b");
        folder(&made).unwrap();
        assert_eq!(mode(&made), 0o700);
        for (before, after) in [(0o755, 0o700), (0o750, 0o700), (0o770, 0o770), (0o2775, 0o2775), (0o1777, 0o1777)] {
            std::fs::set_permissions(&made, std::fs::Permissions::from_mode(before)).unwrap();
            folder(&made).unwrap();
            assert_eq!(mode(&made), after, "{before:o}");
        }
    }
}
