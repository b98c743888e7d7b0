//! Measures in `/proc` how the processes of a browser are confined, whatever the settings say. The flags and namespaces
//! that confine them are in [`flags`](super::flags), [`namespace`](super::namespace) and [`user`](super::user).

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::ffi::OsStrExt;

use super::environment;
use super::processes::{Status, tree};

/// A kind of process of a browser.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ProcessKind {
    /// The browser itself.
    Browser,
    /// The one that draws, and compiles the shaders of pages.
    Gpu,
    /// One that runs the scripts of a page.
    Renderer,
}

impl ProcessKind {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Browser => "browser",
            Self::Gpu => "gpu",
            Self::Renderer => "renderer",
        }
    }

    /// The kind of a process; `None` for the helpers of Chrome, and for a process that has ended.
    pub(crate) fn of_process(process: u32) -> Option<Self> {
        Self::of(&fs::read(format!("/proc/{process}/cmdline")).ok()?)
    }

    /// The kind of a process with this command line; `None` for the helpers of Chrome.
    fn of(command: &[u8]) -> Option<Self> {
        // Chrome's children write their title over their arguments, with spaces between them.
        let arguments: Vec<&[u8]> = command.split(|byte| matches!(byte, 0 | b' ')).collect();
        let has = |wanted: &[u8]| arguments.contains(&wanted);
        if has(b"--type=gpu-process") {
            Some(Self::Gpu)
        } else if has(b"--type=renderer") {
            Some(Self::Renderer)
        } else {
            // The programs before Chrome have its arguments as well.
            let program = arguments.first().copied().unwrap_or_default();
            let is_wrapper = [&b"unshare"[..], b"setpriv", b"/bin/sh", b"sh"].contains(&program);
            (!is_wrapper && has(b"--headless") && !command.windows(7).any(|part| part == b"--type="))
                .then_some(Self::Browser)
        }
    }
}

/// A layer of confinement.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// A filter of system calls.
    Seccomp,
    /// It can gain no privileges.
    NoNewPrivileges,
    /// Its user is not root.
    UnprivilegedUser,
    /// It sees no process outside its PID namespace.
    PidNamespace,
    /// It has no network but that of its own namespace.
    NetNamespace,
    /// It has no variable of the worker's environment beyond those that Chrome needs.
    CleanEnvironment,
}

impl Layer {
    /// Its name in metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Seccomp => "seccomp",
            Self::NoNewPrivileges => "no_new_privileges",
            Self::UnprivilegedUser => "unprivileged_user",
            Self::PidNamespace => "pid_namespace",
            Self::NetNamespace => "net_namespace",
            Self::CleanEnvironment => "clean_environment",
        }
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Seccomp => "seccomp filter",
            Self::NoNewPrivileges => "no new privileges",
            Self::UnprivilegedUser => "unprivileged user",
            Self::PidNamespace => "own PID namespace",
            Self::NetNamespace => "own network namespace",
            Self::CleanEnvironment => "clean environment",
        })
    }
}

/// Which layers hold for each kind of process: for all processes of the kind. What this process may not read is
/// missing.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Confinement(BTreeMap<ProcessKind, BTreeMap<Layer, bool>>);

impl Confinement {
    /// Measures the browser whose first process is `root`.
    pub(super) fn measure(root: u32) -> Self {
        let own = Status::read(std::process::id()).unwrap_or_default();
        let secrets: Vec<Vec<u8>> = std::env::vars_os()
            .filter(|(name, value)| !value.is_empty() && !environment::is_listed(name))
            .map(|(name, value)| [name.as_bytes(), b"=", value.as_bytes()].concat())
            .collect();
        let mut confinement = Self::default();
        for process in tree(root) {
            let Some(kind) = ProcessKind::of_process(process) else { continue };
            let Some(status) = Status::read(process) else { continue };
            let namespace = |name: &str| fs::read_link(format!("/proc/{process}/ns/{name}")).ok();
            let own_net = fs::read_link("/proc/self/ns/net").ok();
            let net = namespace("net").zip(own_net).map(|(net, own)| net != own);
            let environment = fs::read(format!("/proc/{process}/environ")).ok();
            let is_clean = environment.map(|text| {
                let mut variables = text.split(|byte| *byte == 0);
                !variables.any(|variable| secrets.iter().any(|secret| secret == variable))
            });
            let layers = [
                (Layer::Seccomp, Some(status.seccomp == 2)),
                (Layer::NoNewPrivileges, Some(status.no_new_privileges)),
                (Layer::UnprivilegedUser, Some(status.user != 0)),
                (Layer::PidNamespace, Some(status.pid_namespaces > own.pid_namespaces)),
                (Layer::NetNamespace, net),
                (Layer::CleanEnvironment, is_clean),
            ];
            let of_kind = confinement.0.entry(kind).or_default();
            for (layer, holds) in layers.into_iter().filter_map(|(layer, holds)| Some((layer, holds?))) {
                of_kind.entry(layer).and_modify(|all| *all &= holds).or_insert(holds);
            }
        }
        confinement
    }

    /// Whether `layer` holds for the processes of `kind`; `None` where that was not measured.
    pub fn holds(&self, kind: ProcessKind, layer: Layer) -> Option<bool> {
        self.0.get(&kind)?.get(&layer).copied()
    }

    /// Everything that was measured.
    pub fn layers(&self) -> impl Iterator<Item = (ProcessKind, Layer, bool)> {
        self.0.iter().flat_map(|(kind, layers)| layers.iter().map(|(layer, holds)| (*kind, *layer, *holds)))
    }

    /// What holds for the processes of `kind`, and what does not, in words.
    pub fn summary(&self, kind: ProcessKind) -> String {
        let names = |wanted: bool| {
            let found = self.layers().filter(|(of, _, holds)| *of == kind && *holds == wanted);
            found.map(|(_, layer, _)| layer.to_string()).collect::<Vec<_>>().join(", ")
        };
        match (names(true), names(false)) {
            (with, without) if with.is_empty() && without.is_empty() => "not measured".to_owned(),
            (with, without) if without.is_empty() => with,
            (with, without) if with.is_empty() => format!("without {without}"),
            (with, without) => format!("{with}; without {without}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processes_are_told_apart_by_their_command_lines() {
        for (command, kind) in [
            (&b"/usr/lib/chromium/chromium-headless-shell\0--headless\0--lang=en-US\0"[..], Some(ProcessKind::Browser)),
            (b"unshare\0--pid\0--fork\0--\0chrome\0--headless\0", None),
            (b"/usr/lib/chromium/chromium-headless-shell --type=gpu-process --headless", Some(ProcessKind::Gpu)),
            (b"chrome --type=renderer --headless", Some(ProcessKind::Renderer)),
            (b"chrome\0--type=zygote\0--headless\0", None),
        ] {
            assert_eq!(ProcessKind::of(command), kind, "{}", String::from_utf8_lossy(command));
        }
    }

    #[test]
    fn a_kind_is_described_by_what_holds_and_what_does_not() {
        let layers = BTreeMap::from([(Layer::Seccomp, true), (Layer::NetNamespace, false)]);
        let confinement = Confinement(BTreeMap::from([(ProcessKind::Gpu, layers)]));
        assert_eq!(confinement.summary(ProcessKind::Gpu), "seccomp filter; without own network namespace");
        assert_eq!(confinement.summary(ProcessKind::Renderer), "not measured");
        assert_eq!(confinement.holds(ProcessKind::Gpu, Layer::Seccomp), Some(true));
        assert_eq!(confinement.holds(ProcessKind::Gpu, Layer::PidNamespace), None);
    }
}
