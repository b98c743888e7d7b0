//! The PID namespace of a browser. When the first process of a namespace ends, the kernel ends every other process in
//! it, whoever its parent is by then. So no process of Chrome outlives its browser, or the worker.

use std::process::Stdio;

use super::user::ChromeUser;

/// How a browser gets a PID namespace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PidNamespace {
    /// The kernel gives this process none: Chrome's processes are in the worker's namespace.
    None,
    /// A namespace with a `/proc` of its own.
    WithProc,
    /// A namespace that sees the worker's `/proc`, as in a container that masks parts of it.
    WithoutProc,
}

impl PidNamespace {
    /// The first kind that the kernel gives. `user` is the user of Chrome where the worker is root.
    pub(super) fn detect(user: Option<ChromeUser>) -> Self {
        for namespace in [Self::WithProc, Self::WithoutProc] {
            let mut command = std::process::Command::new("unshare");
            command.args(namespace.arguments(user)).arg("true").stdin(Stdio::null()).stdout(Stdio::null());
            let status = command.stderr(Stdio::null()).status();
            if status.is_ok_and(|status| status.success()) {
                return namespace;
            }
        }
        Self::None
    }

    /// Arguments of `unshare`, up to the command. The worker is the parent of `unshare`, and `unshare` that of the
    /// namespace's first process; each is killed with its parent.
    pub(super) fn arguments(self, user: Option<ChromeUser>) -> Vec<&'static str> {
        let mut arguments = Vec::new();
        if user.is_none() {
            // An ordinary user may make a PID namespace in a user namespace of its own only.
            arguments.extend(["--user", "--map-current-user"]);
        }
        arguments.extend(["--pid", "--fork", "--kill-child=KILL"]);
        if self == Self::WithProc {
            arguments.push("--mount-proc");
        }
        arguments.push("--");
        arguments
    }
}
