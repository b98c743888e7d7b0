//! A decoder's process, seen from the farm.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_isolation::{ConfinedProcess, Ended, Messages};
use hyperfarm_proto::spec::Size;
use nix::sys::memfd::{MFdFlags, memfd_create};
use serde::Serialize;

use super::DECODER_COMMAND;
use super::messages::{Answer, Job, MAX_BYTES, Order};
use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::limits::{MediaLimits, check_pixels};

/// Bytes of a stereo sample of floats.
pub(super) const SAMPLE_BYTES: usize = 8;

/// Bytes of a pixel at its own depth.
pub(super) const HDR_PIXEL_BYTES: usize = 6;

/// A running process. It ends when this value is dropped.
#[derive(Debug)]
pub(super) struct DecoderProcess {
    process: ConfinedProcess,
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
        let answer = process.ask(&order)?;
        Ok((process, answer))
    }

    fn spawn(program: &Path, name: &str, limits: MediaLimits) -> io::Result<Self> {
        let shared = File::from(memfd_create(c"decoded", MFdFlags::MFD_CLOEXEC)?);
        let theirs = OwnedFd::from(shared.try_clone()?);
        let process = ConfinedProcess::start(program, DECODER_COMMAND, theirs, Messages::Dropped)?;
        Ok(Self { process, shared, name: name.to_owned(), limits, returned: Vec::new() })
    }

    /// The answer to the order or to a [`Request`](super::messages::Request).
    pub(super) fn ask(&mut self, message: &impl Serialize) -> Result<Answer, MediaError> {
        self.process.set_deadline(Instant::now() + self.limits.answer);
        let answer = self.process.send(message, MAX_BYTES).and_then(|()| self.process.receive(MAX_BYTES));
        match answer {
            Ok(Answer::Failed(failure)) => Err(failure.into_error()),
            Ok(answer) => Ok(answer),
            Err(error) => Err(self.lost(&error)),
        }
    }

    /// Fails unless `/proc` shows that the process is confined.
    pub(super) fn check_confinement(&self) -> Result<(), MediaError> {
        self.process.check_confinement().map_err(|excess| MediaError::Source {
            message: format!("a decoder's process has {excess}"),
            is_input: false,
            source: None,
        })
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

    /// The pixels of a picture of `size` at its own depth in the shared memory.
    pub(super) fn hdr_pixels(&self, size: Size) -> Result<Vec<[u16; 3]>, MediaError> {
        check_pixels(Path::new(&self.name), size, self.limits.pixels)?;
        let mut bytes = vec![0; size.width as usize * size.height as usize * HDR_PIXEL_BYTES];
        self.shared.read_exact_at(&mut bytes, 0).map_err(|_| self.disorder())?;
        let pixels = bytes.as_chunks::<HDR_PIXEL_BYTES>().0.iter();
        Ok(pixels.map(|[a, b, c, d, e, f]| [[*a, *b], [*c, *d], [*e, *f]].map(u16::from_le_bytes)).collect())
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
    fn lost(&mut self, error: &io::Error) -> MediaError {
        match self.process.end(error) {
            Ended::TooSlow => {
                let seconds = self.limits.answer.as_secs();
                self.failed(&format!("decoding takes longer than {seconds} s for one picture or second"), true)
            }
            Ended::Disorder | Ended::GivenUp => self.disorder(),
            Ended::Aborted => {
                let mebibytes = self.limits.memory >> 20;
                self.failed(&format!("its decoder gave up, or takes more than {mebibytes} MiB of memory"), true)
            }
            Ended::CpuTime => self.failed("decoding takes too much processor time", true),
            Ended::Outside(signal) => {
                self.failed(&format!("its decoder was ended from outside by signal {signal}"), false)
            }
            Ended::Crashed(signal) => self.failed(&format!("it crashes its decoder (signal {signal})"), true),
            Ended::Panicked => self.failed("it crashes its decoder", true),
            Ended::Exited(status) => self.failed(&format!("its decoder ended too early ({status})"), false),
            Ended::Unknown(error) => self.failed(&format!("its decoder cannot be waited for: {error}"), false),
        }
    }

    fn failed(&self, reason: &str, is_input: bool) -> MediaError {
        let message = format!("{} cannot be decoded: {reason}; convert it to H.264, VP9, AAC or Opus", self.name);
        MediaError::Source { message, is_input, source: None }
    }
}
