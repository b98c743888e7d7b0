//! A decoder's process, seen from the farm.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_proto::spec::Size;
use nix::libc;
use nix::sys::memfd::{MFdFlags, memfd_create};

use super::DECODER_COMMAND;
use super::messages::{Answer, Job, Order, Request, receive, send};
use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::limits::{MediaLimits, check_pixels};

/// The variable that a program may need to find FFmpeg's libraries. The process gets no other one.
const LIBRARY_PATH: &str = "LD_LIBRARY_PATH";

/// Bytes of a stereo sample of floats.
pub(super) const SAMPLE_BYTES: usize = 8;

/// A running process. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct DecoderProcess {
    child: Child,
    socket: UnixStream,
    /// The memory in which the process leaves pictures and samples.
    shared: File,
    /// The source's name in the project.
    name: String,
    limits: MediaLimits,
    /// The last pictures that were returned. The memory of one that nobody holds any more takes the next picture.
    returned: Vec<Arc<Picture>>,
}

/// Most pictures whose memory is used again: one is shown while the next is decoded.
const REUSED: usize = 2;

/// Most bytes of a picture whose memory is used again: one of 3840x2160 pixels.
const REUSED_BYTES: usize = 32 << 20;

impl DecoderProcess {
    /// Starts a process of `program` that reads `path` for `job`, and returns its first answer.
    pub(super) fn start(
        program: &Path,
        path: &Path,
        name: &str,
        limits: MediaLimits,
        job: Job,
    ) -> Result<(Self, Answer), MediaError> {
        let order = Order { path: path.to_owned(), name: name.to_owned(), limits, job };
        let mut process = Self::spawn(program, name, limits).map_err(|error| MediaError::Source {
            message: format!("a process that decodes {name} cannot be started: {error}"),
            is_input: false,
            source: Some(error),
        })?;
        if let Err(error) = send(&mut process.socket, &order) {
            return Err(process.lost(error));
        }
        let answer = process.answer()?;
        Ok((process, answer))
    }

    fn spawn(program: &Path, name: &str, limits: MediaLimits) -> io::Result<Self> {
        let (socket, theirs) = UnixStream::pair()?;
        let shared = File::from(memfd_create(c"decoded", MFdFlags::MFD_CLOEXEC)?);
        let mut command = Command::new(program);
        command.arg(DECODER_COMMAND).env_clear();
        if let Some(libraries) = std::env::var_os(LIBRARY_PATH) {
            command.env(LIBRARY_PATH, libraries);
        }
        let child = command
            .stdin(OwnedFd::from(theirs))
            .stdout(OwnedFd::from(shared.try_clone()?))
            .stderr(Stdio::null())
            .spawn()?;
        Ok(Self { child, socket, shared, name: name.to_owned(), limits, returned: Vec::new() })
    }

    pub(super) fn ask(&mut self, request: &Request) -> Result<Answer, MediaError> {
        match send(&mut self.socket, request) {
            Ok(()) => self.answer(),
            Err(error) => Err(self.lost(error)),
        }
    }

    fn answer(&mut self) -> Result<Answer, MediaError> {
        let mut answer = UntilDeadline { socket: &self.socket, deadline: Instant::now() + self.limits.answer };
        match receive(&mut answer) {
            Ok(Answer::Failed(failure)) => Err(failure.into_error()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.lost(error)),
        }
    }

    /// The picture of `size` in the shared memory.
    pub(super) fn picture(&mut self, size: Size) -> Result<Arc<Picture>, MediaError> {
        check_pixels(Path::new(&self.name), size, self.limits.pixels)?;
        let free = self.returned.iter().position(|picture| Arc::strong_count(picture) == 1);
        let free = free.and_then(|free| Arc::into_inner(self.returned.swap_remove(free)));
        let mut bgra = free.map(|picture| picture.bgra).unwrap_or_default();
        bgra.resize(size.width as usize * size.height as usize * 4, 0);
        self.shared.read_exact_at(&mut bgra, 0).map_err(|_| self.disorder())?;
        let picture = Arc::new(Picture { size, bgra });
        if picture.bgra.len() <= REUSED_BYTES {
            self.returned.truncate(REUSED - 1);
            self.returned.push(Arc::clone(&picture));
        }
        Ok(picture)
    }

    /// Appends the `count` samples in the shared memory.
    pub(super) fn samples(&self, count: usize, samples: &mut Vec<[f32; 2]>) -> Result<(), MediaError> {
        let mut bytes = vec![0; count * SAMPLE_BYTES];
        self.shared.read_exact_at(&mut bytes, 0).map_err(|_| self.disorder())?;
        let float = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
        samples.extend(bytes.chunks_exact(SAMPLE_BYTES).map(|both| [float(both), float(&both[4..])]));
        Ok(())
    }

    /// The error of an answer that does not fit its request: the source has taken its decoder over.
    pub(super) fn disorder(&self) -> MediaError {
        self.failed("its decoder answers something else than was asked", true)
    }

    /// The error of a process that does not answer.
    fn lost(&mut self, error: io::Error) -> MediaError {
        if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut) {
            // A late answer would be taken for that to the next request.
            let _ = self.child.kill();
            let seconds = self.limits.answer.as_secs();
            return self.failed(&format!("decoding takes longer than {seconds} s for one picture or second"), true);
        }
        if error.kind() == io::ErrorKind::InvalidData {
            return self.disorder();
        }
        let status = match self.child.wait() {
            Ok(status) => status,
            Err(error) => return self.failed(&format!("its decoder cannot be waited for: {error}"), false),
        };
        let mebibytes = self.limits.memory >> 20;
        match status.signal() {
            // Rust and C++ end a process so that gets no memory.
            Some(libc::SIGABRT) => {
                let reason = format!("its decoder gave up, or takes more than {mebibytes} MiB of memory");
                self.failed(&reason, true)
            }
            // From outside: the system ran out of memory, or somebody ended it.
            Some(signal @ (libc::SIGKILL | libc::SIGTERM | libc::SIGINT | libc::SIGHUP)) => {
                self.failed(&format!("its decoder was ended from outside by signal {signal}"), false)
            }
            Some(signal) => self.failed(&format!("it crashes its decoder (signal {signal})"), true),
            None if status.code() == Some(PANICKED) => self.failed("it crashes its decoder", true),
            None => self.failed(&format!("its decoder ended too early ({status})"), false),
        }
    }

    fn failed(&self, reason: &str, is_input: bool) -> MediaError {
        let message = format!("{} cannot be decoded: {reason}; convert it to H.264, VP9, AAC or Opus", self.name);
        MediaError::Source { message, is_input, source: None }
    }
}

/// Reads from a socket up to a moment, however slowly the bytes come.
struct UntilDeadline<'a> {
    socket: &'a UnixStream,
    deadline: Instant,
}

impl Read for UntilDeadline<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        self.socket.set_read_timeout(Some(left))?;
        self.socket.read(buffer)
    }
}

/// Exit code of a Rust program whose main thread panicked.
const PANICKED: i32 = 101;

impl Drop for DecoderProcess {
    fn drop(&mut self) {
        // Fails only if the process has ended.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
