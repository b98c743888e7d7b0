//! How a browser's first process is started: with a filter of system calls, and in a network namespace whose loopback
//! interface leads to this worker and nowhere else.

use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::Stdio;
use std::sync::mpsc;
use std::time::Duration;

use hyperfarm_isolation::{NETWORK_COMMAND, NetworkSockets, refuse_administration};
use tokio::process::{Child, Command};
use tokio::runtime::Handle;
use tokio::sync::oneshot;

/// Longest time until the sockets of a process come.
const START_TIME: Duration = Duration::from_secs(20);

/// How browsers get a network of their own.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Network {
    /// They have the worker's.
    Shared,
    /// The thread that starts one makes it: this process is root.
    OfThread,
    /// A process of this program makes it, which calls [`serve_network`](crate::serve_network) for
    /// [`NETWORK_COMMAND`], and becomes the browser then.
    OfProgram(std::sync::Arc<Path>),
}

/// What was started.
pub(super) struct Started {
    pub(super) child: Child,
    /// Sockets in its network, where that is its own.
    pub(super) sockets: Option<NetworkSockets>,
    /// The thread that started it, which lives until this is dropped. The child may have asked the kernel to be killed with
    /// its parent, which is this thread.
    pub(super) thread: mpsc::Sender<()>,
}

impl Network {
    /// The kind that the kernel gives: one of a browser's own where it can, with the reason where it cannot.
    pub(super) fn detect(program: &Path) -> (Self, Option<io::Error>) {
        let network =
            if rustix::process::geteuid().is_root() { Self::OfThread } else { Self::OfProgram(program.into()) };
        match network.try_out() {
            Ok(()) => (network, None),
            Err(error) => (Self::Shared, Some(error)),
        }
    }

    /// Makes a network, and gives it up.
    fn try_out(&self) -> io::Result<()> {
        match self {
            Self::Shared => Ok(()),
            Self::OfThread => std::thread::spawn(|| NetworkSockets::make().map(drop))
                .join()
                .unwrap_or_else(|_| Err(io::Error::other("the thread panicked"))),
            Self::OfProgram(program) => {
                let (socket, input) = socket_pair()?;
                let mut command = std::process::Command::new(&**program);
                command.args([NETWORK_COMMAND, "true"]).stdin(input).stdout(Stdio::null()).stderr(Stdio::null());
                let mut child = command.spawn()?;
                drop(command);
                let sockets = NetworkSockets::receive(&socket);
                child.wait()?;
                sockets.map(drop)
            }
        }
    }

    /// The command that starts `program` in the network, its arguments to be added.
    pub(super) fn command(&self, program: &str) -> Command {
        match self {
            Self::Shared | Self::OfThread => Command::new(program),
            Self::OfProgram(own) => {
                let mut command = Command::new(&**own);
                command.args([NETWORK_COMMAND, program]);
                command
            }
        }
    }

    /// Starts `command`, which is one of [`Network::command`], on a thread of its own: the filter and the network are those
    /// of the thread.
    ///
    /// # Errors
    ///
    /// The kernel refuses the filter or the network, or the command cannot be started.
    pub(super) async fn start(&self, command: Command) -> io::Result<Started> {
        let (network, runtime) = (self.clone(), Handle::current());
        let (answer, started) = oneshot::channel();
        let (thread, end) = mpsc::channel();
        std::thread::Builder::new().name("chrome".to_owned()).spawn(move || {
            let _runtime = runtime.enter();
            // Fails only if the launch was given up; the child is killed then.
            let _ = answer.send(network.start_on_this_thread(command));
            // Nothing is sent: this waits until the other end is dropped.
            let _ = end.recv();
        })?;
        let (child, sockets) = started.await.map_err(|_| io::Error::other("the thread panicked"))??;
        Ok(Started { child, sockets, thread })
    }

    fn start_on_this_thread(&self, mut command: Command) -> io::Result<(Child, Option<NetworkSockets>)> {
        let own = matches!(self, Self::OfThread).then(NetworkSockets::make).transpose()?;
        refuse_administration()?;
        let Self::OfProgram(_) = self else { return Ok((command.spawn()?, own)) };
        let (socket, input) = socket_pair()?;
        let child = command.stdin(input).spawn()?;
        // It has this process's copy of the child's end of the socket.
        drop(command);
        Ok((child, Some(NetworkSockets::receive(&socket)?)))
    }
}

/// A socket, and the standard input of the process that sends its sockets to it.
fn socket_pair() -> io::Result<(UnixStream, Stdio)> {
    let (socket, theirs) = UnixStream::pair()?;
    socket.set_read_timeout(Some(START_TIME))?;
    Ok((socket, Stdio::from(OwnedFd::from(theirs))))
}
