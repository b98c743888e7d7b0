//! A network namespace for a program: all the network that it has is a loopback interface of its own.
//!
//! Only sockets that were made in the namespace reach its interface: [`NetworkSockets`], one that listens, and one that
//! can be connected to a port of the program. Root makes both on a thread, from which the program is started then
//! ([`NetworkSockets::make`]). For an ordinary user a process makes them, and becomes the program ([`serve_network`]).

use std::ffi::OsString;
use std::io::{self, IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};

use nix::sched::{CloneFlags, unshare};
use rustix::net::{
    AddressFamily, RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage,
    SendFlags, SocketFlags, SocketType, recv, recvmsg, send, sendmsg, socket_with,
};

/// The first argument of a process that starts the program in the arguments after it in a network namespace.
pub const NETWORK_COMMAND: &str = "network-namespace";

/// The port that the parent's socket listens on, on the namespace's loopback interface.
pub const NETWORK_PORT: u16 = 3128;

/// What the child sends with the sockets. Anything else that it sends is the text of an error.
const SOCKETS: &[u8] = b"\0";

/// Longest text of an error, in bytes.
const MAX_ERROR_BYTES: usize = 512;

/// Sockets in the network namespace of a program, for the process that starts it.
#[derive(Debug)]
pub struct NetworkSockets {
    /// Listens on [`NETWORK_PORT`].
    pub listener: TcpListener,
    /// Is not connected yet.
    pub client: TcpStream,
}

impl NetworkSockets {
    /// Moves this thread into a new network namespace and makes sockets in it. Programs that the thread starts from now on
    /// are in the namespace.
    ///
    /// # Errors
    /// This process has not the right to (`CAP_SYS_ADMIN`).
    pub fn make() -> io::Result<Self> {
        unshare(CloneFlags::CLONE_NEWNET)?;
        Self::in_namespace()
    }

    /// Starts the loopback interface of this thread's namespace and makes the sockets.
    fn in_namespace() -> io::Result<Self> {
        start_loopback()?;
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, NETWORK_PORT))?;
        let client = socket_with(AddressFamily::INET, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
        Ok(Self { listener, client: client.into() })
    }

    /// Waits for the sockets of the child that has the other end of `socket` as its standard input.
    ///
    /// # Errors
    /// The kernel gives the child no network namespace, or the child is gone.
    pub fn receive(socket: &UnixStream) -> io::Result<Self> {
        let mut bytes = [0; MAX_ERROR_BYTES];
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
        let mut control = RecvAncillaryBuffer::new(&mut space);
        let message = recvmsg(socket, &mut [IoSliceMut::new(&mut bytes)], &mut control, RecvFlags::CMSG_CLOEXEC)?;
        let mut sockets = control.drain().filter_map(|message| match message {
            RecvAncillaryMessage::ScmRights(sockets) => Some(sockets),
            _ => None,
        });
        match (sockets.next().map(Iterator::collect::<Vec<OwnedFd>>), &bytes[..message.bytes]) {
            (Some(sockets), SOCKETS) => {
                let [listener, client] =
                    <[OwnedFd; 2]>::try_from(sockets).map_err(|_| io::Error::from(io::ErrorKind::InvalidData))?;
                Ok(Self { listener: listener.into(), client: client.into() })
            }
            (_, []) => Err(io::ErrorKind::UnexpectedEof.into()),
            (_, text) => Err(io::Error::other(String::from_utf8_lossy(text).into_owned())),
        }
    }
}

/// Makes a network namespace for this process, as an ordinary user may, sends the parent its sockets over standard
/// input, and becomes the program that `command` names with its arguments. Returns only where that fails; the parent
/// gets the reason.
///
/// The process must have one thread.
#[must_use]
pub fn serve_network(command: impl IntoIterator<Item = OsString>) -> ExitCode {
    let error = match make_as_ordinary_user() {
        Ok(NetworkSockets { listener, client }) => {
            let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(2))];
            let mut control = SendAncillaryBuffer::new(&mut space);
            let sockets = [listener.as_fd(), client.as_fd()];
            control.push(SendAncillaryMessage::ScmRights(&sockets));
            match sendmsg(io::stdin(), &[IoSlice::new(SOCKETS)], &mut control, SendFlags::NOSIGNAL) {
                Ok(_) => {
                    let mut arguments = command.into_iter();
                    let program = arguments.next().unwrap_or_default();
                    Command::new(program).args(arguments).stdin(Stdio::null()).exec()
                }
                Err(error) => error.into(),
            }
        }
        Err(error) => error,
    };
    let text = error.to_string();
    // Fails only if the parent is gone.
    let _ = send(io::stdin(), &text.as_bytes()[..text.len().min(MAX_ERROR_BYTES)], SendFlags::NOSIGNAL);
    ExitCode::FAILURE
}

/// Moves this process into a network namespace, in a user namespace of its own, and makes the sockets.
fn make_as_ordinary_user() -> io::Result<NetworkSockets> {
    let (user, group) = (rustix::process::geteuid(), rustix::process::getegid());
    unshare(CloneFlags::CLONE_NEWUSER | CloneFlags::CLONE_NEWNET)?;
    std::fs::write("/proc/self/setgroups", "deny")?;
    std::fs::write("/proc/self/uid_map", format!("{0} {0} 1", user.as_raw()))?;
    std::fs::write("/proc/self/gid_map", format!("{0} {0} 1", group.as_raw()))?;
    NetworkSockets::in_namespace()
}

/// Starts the loopback interface of this thread's network namespace by a message of rtnetlink(7).
fn start_loopback() -> io::Result<()> {
    const RTM_SETLINK: u16 = 19;
    const REQUEST_AND_ACKNOWLEDGE: u16 = 1 | 4;
    const LENGTH: u32 = 32;
    /// The loopback interface is the first of its namespace.
    const LOOPBACK: i32 = 1;
    const UP: u32 = 1;
    let mut request = Vec::with_capacity(LENGTH as usize);
    // The header: length, type, flags, sequence number, sender.
    request.extend(LENGTH.to_ne_bytes());
    request.extend(RTM_SETLINK.to_ne_bytes());
    request.extend(REQUEST_AND_ACKNOWLEDGE.to_ne_bytes());
    request.extend([0; 8]);
    // The interface: family and type, which are not given; its index; its flags and which of them change.
    request.extend([0; 4]);
    request.extend(LOOPBACK.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    request.extend(UP.to_ne_bytes());
    let kernel = socket_with(AddressFamily::NETLINK, SocketType::RAW, SocketFlags::CLOEXEC, None)?;
    send(&kernel, &request, SendFlags::empty())?;
    let mut answer = [0; 64];
    recv(&kernel, &mut answer, RecvFlags::empty())?;
    // The answer's own header is followed by zero or a negative error number.
    let code = i32::from_ne_bytes([answer[16], answer[17], answer[18], answer[19]]);
    if code == 0 { Ok(()) } else { Err(io::Error::from_raw_os_error(-code)) }
}
