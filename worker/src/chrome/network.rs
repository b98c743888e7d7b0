//! The network of a browser: a network namespace, whose loopback interface leads to this worker and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use hyperfarm_isolation::{NETWORK_COMMAND, NetworkSockets};

/// Longest time until the sockets of a namespace come.
const START_TIME: Duration = Duration::from_secs(20);

/// Where the sockets of a namespace come from.
pub(super) struct NetworkStart(UnixStream);

impl NetworkStart {
    /// The standard input of a process that runs [`NETWORK_COMMAND`], and where its sockets come out.
    ///
    /// # Errors
    ///
    /// There are too many open files.
    pub(super) fn new() -> io::Result<(Stdio, Self)> {
        let (socket, theirs) = UnixStream::pair()?;
        socket.set_read_timeout(Some(START_TIME))?;
        Ok((Stdio::from(OwnedFd::from(theirs)), Self(socket)))
    }

    /// Waits for the sockets.
    ///
    /// # Errors
    ///
    /// Those of [`NetworkSockets::receive`].
    pub(super) fn finish(self) -> io::Result<NetworkSockets> {
        NetworkSockets::receive(&self.0)
    }
}

/// Runs a program in a network namespace, to see whether the kernel gives one.
///
/// # Errors
///
/// Why it does not, or `program` cannot be started.
pub(super) fn try_out(program: &Path) -> io::Result<()> {
    let (input, start) = NetworkStart::new()?;
    let mut child = std::process::Command::new(program)
        .args([NETWORK_COMMAND, "true"])
        .stdin(input)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let sockets = start.finish();
    child.wait()?;
    sockets.map(drop)
}
