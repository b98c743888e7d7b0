//! Who Chrome runs as.

use std::path::Path;

use hyperfarm_proto::failure::{Failure, FailureCode};

/// An unprivileged user by number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ChromeUser {
    /// User id.
    pub uid: u32,
    /// Group id.
    pub gid: u32,
}

/// Preferred first: a user of the farm's own shares nothing with other services.
const USERS: &[&str] = &["hyperfarm", "nobody"];

impl ChromeUser {
    /// The user to drop to, if this process is root.
    pub fn for_this_process() -> Result<Option<Self>, Failure> {
        if !rustix::process::geteuid().is_root() {
            return Ok(None);
        }
        let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
        USERS.iter().find_map(|name| find(&passwd, name)).map(Some).ok_or_else(|| {
            Failure::new(
                FailureCode::ChromeLaunch,
                "the worker is root and there is neither a user `hyperfarm` nor a user `nobody` to run Chrome as; \
                 make one with: useradd --system hyperfarm",
            )
        })
    }

    /// Gives a file or folder to this user.
    pub fn own(&self, path: &Path) -> std::io::Result<()> {
        std::os::unix::fs::chown(path, Some(self.uid), Some(self.gid))
    }
}

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
    fn users_are_read_from_passwd() {
        let passwd = "root:x:0:0:root:/root:/bin/bash\nnobody:x:65534:65533:nobody:/:/usr/sbin/nologin\n";
        assert_eq!(find(passwd, "nobody"), Some(ChromeUser { uid: 65534, gid: 65533 }));
        assert_eq!(find(passwd, "hyperfarm"), None);
    }
}
