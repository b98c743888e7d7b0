//! A child, seen from its parent.

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::Shutdown;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::messages;

/// The variable that a program may need to find its libraries. The child gets no other one.
pub const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Exit code of a Rust program whose main thread panicked.
const PANICKED: i32 = 101;

/// How long a child may take to end after it has closed its socket.
const END_TIME: Duration = Duration::from_secs(5);

/// Most bytes that are read of what a child printed.
const PRINTED_BYTES: usize = 4096;

/// A running child. It ends when this value is dropped.
#[derive(Debug)]
pub struct ConfinedProcess {
    child: Child,
    socket: UnixStream,
    /// What the child prints to standard error.
    printed: Option<File>,
    /// Moment until which the child must have read or sent the rest of what is in progress.
    deadline: Instant,
    /// Whether an [`EndOnDrop`] of this child was dropped.
    given_up: Arc<AtomicBool>,
}

/// What becomes of what a child prints to standard error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// It is dropped.
    Dropped,
    /// It is kept in memory, as far as the child's limit of written bytes allows.
    Kept,
}

/// Why a child does not answer.
#[derive(Debug)]
pub enum Ended {
    /// Its [`EndOnDrop`] was dropped.
    GivenUp,
    /// It took longer than its parent waited.
    TooSlow,
    /// It sent something that is no message, or closed its socket and went on.
    Disorder,
    /// It ended itself by `abort`: Rust and C++ do so where there is no memory, and Rust where a stack overflows.
    Aborted,
    /// It used up its processor time.
    CpuTime,
    /// It was ended from outside by this signal: the system ran out of memory, or somebody ended it.
    Outside(i32),
    /// It crashed with this signal.
    Crashed(i32),
    /// Its main thread panicked.
    Panicked,
    /// It ended with this status.
    Exited(ExitStatus),
    /// The system does not say how it ended.
    Unknown(io::Error),
}

impl ConfinedProcess {
    /// Starts `program` with the argument `command`, and with `file` as the one file that it gets.
    ///
    /// # Errors
    /// The program cannot be started.
    pub fn start(program: &Path, command: &str, file: OwnedFd, messages: Messages) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let printed = match messages {
            Messages::Dropped => None,
            Messages::Kept => Some(File::from(memfd_create(c"printed", MFdFlags::MFD_CLOEXEC)?)),
        };
        let standard_error = match &printed {
            Some(file) => Stdio::from(file.try_clone()?),
            None => Stdio::null(),
        };
        let mut process = Command::new(program);
        process.arg(command).env_clear();
        if let Some(libraries) = std::env::var_os(LIBRARY_PATH) {
            process.env(LIBRARY_PATH, libraries);
        }
        let child = process.stdin(OwnedFd::from(theirs)).stdout(file).stderr(standard_error).spawn()?;
        Ok(Self { child, socket, printed, deadline: Instant::now(), given_up: Arc::default() })
    }

    /// Sets the moment until which messages and files that follow must be complete, however slowly their bytes come.
    pub fn set_deadline(&mut self, deadline: Instant) {
        self.deadline = deadline;
    }

    /// Sends a message; see [`messages::send`].
    ///
    /// # Errors
    /// The message is too long, or the child is gone or does not read it in time.
    pub fn send(&mut self, message: &impl Serialize, longest: u32) -> io::Result<()> {
        messages::send(self, message, longest)
    }

    /// The next message of the child; see [`messages::receive`].
    ///
    /// # Errors
    /// The child sends no message, or not in time, or is gone.
    pub fn receive<T: DeserializeOwned>(&mut self, longest: u32) -> io::Result<T> {
        messages::receive(self, longest)
    }

    /// What ends this child as soon as it is dropped, also while another thread waits for the child.
    ///
    /// # Errors
    /// There are too many open files.
    pub fn end_on_drop(&self) -> io::Result<EndOnDrop> {
        Ok(EndOnDrop { socket: self.socket.try_clone()?, given_up: self.given_up.clone() })
    }

    /// The number of the process.
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// Proves from `/proc` that a child that has answered is confined.
    ///
    /// # Errors
    /// What the child has and must not have, or why that cannot be read.
    pub fn check_confinement(&self) -> Result<(), String> {
        let read = |name: &str| {
            let path = format!("/proc/{}/{name}", self.child.id());
            std::fs::read_to_string(&path).map_err(|error| format!("a {path} that cannot be read: {error}"))
        };
        let (status, environment) = (read("status")?, read("environ")?);
        let excess = if !status.contains("Seccomp:\t2\n") {
            "no filter of system calls"
        } else if !status.contains("NoNewPrivs:\t1\n") {
            "new privileges"
        } else if environment.split_terminator('\0').any(|variable| !variable.starts_with(LIBRARY_PATH)) {
            "environment variables"
        } else {
            return Ok(());
        };
        Err(excess.to_owned())
    }

    /// Ends the child after `error` of its socket, and says why it does not answer.
    pub fn end(&mut self, error: &io::Error) -> Ended {
        if self.given_up.load(Ordering::Acquire) {
            let _ = self.child.kill();
            return Ended::GivenUp;
        }
        match error.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                // A late answer would be taken for that to the next request.
                let _ = self.child.kill();
                return Ended::TooSlow;
            }
            io::ErrorKind::InvalidData => {
                let _ = self.child.kill();
                return Ended::Disorder;
            }
            _ => {}
        }
        let status = match self.wait_for_end() {
            Ok(Some(status)) => status,
            Ok(None) => {
                let _ = self.child.kill();
                return Ended::Disorder;
            }
            Err(error) => return Ended::Unknown(error),
        };
        match status.signal() {
            Some(libc::SIGABRT) => Ended::Aborted,
            Some(libc::SIGXCPU) => Ended::CpuTime,
            Some(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => Ended::Outside(signal),
            Some(signal) => Ended::Crashed(signal),
            None if status.code() == Some(PANICKED) => Ended::Panicked,
            None => Ended::Exited(status),
        }
    }

    /// The status of a child that has closed its socket; `None` where it goes on.
    fn wait_for_end(&mut self) -> io::Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if started.elapsed() > END_TIME {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// The beginning of what the child printed to standard error.
    pub fn printed(&self) -> String {
        let mut bytes = vec![0; PRINTED_BYTES];
        let read = self.printed.as_ref().and_then(|file| file.read_at(&mut bytes, 0).ok());
        String::from_utf8_lossy(&bytes[..read.unwrap_or(0)]).into_owned()
    }

    /// The time until the deadline.
    fn time_left(&self) -> io::Result<Duration> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(io::ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

impl Read for ConfinedProcess {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.socket.set_read_timeout(Some(self.time_left()?))?;
        self.socket.read(buffer)
    }
}

impl Write for ConfinedProcess {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.socket.set_write_timeout(Some(self.time_left()?))?;
        self.socket.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Drop for ConfinedProcess {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Ends a child when it is dropped: the child sees that its socket is closed, and so does the thread that waits for it.
#[derive(Debug)]
pub struct EndOnDrop {
    socket: UnixStream,
    given_up: Arc<AtomicBool>,
}

impl Drop for EndOnDrop {
    fn drop(&mut self) {
        self.given_up.store(true, Ordering::Release);
        // Fails only if the socket is closed.
        let _ = self.socket.shutdown(Shutdown::Both);
    }
}
