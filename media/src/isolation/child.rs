//! What a decoder's process does.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, RawFd};
use std::os::unix::fs::FileExt;
use std::os::unix::net::UnixStream;
use std::process::ExitCode;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::confinement;
use super::messages::{Answer, DecodeFailure, Job, Order, Request, receive, send};
use super::process::SAMPLE_BYTES;
use crate::error::MediaError;
use crate::mix::SourceReader;
use crate::source::VideoSource;
use crate::{demux, ffi, ffmpeg_log, probe};

/// The last of the standard files' numbers.
const STANDARD_ERROR: RawFd = 2;

/// Runs this process as a decoder: standard input is its socket, standard output the memory that it shares.
pub fn serve_decoder() -> ExitCode {
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        // The farm is gone, or sees that this process is.
        Err(_) => ExitCode::FAILURE,
    }
}

/// What the process answers requests from.
enum Source {
    Video(Box<VideoSource>),
    Sound(Box<SourceReader>),
}

fn serve() -> io::Result<()> {
    close_inherited()?;
    // The allocator keeps its blocks, unlike the farm's: the next picture has the size of the last.
    let mut farm = UnixStream::from(io::stdin().as_fd().try_clone_to_owned()?);
    let shared = File::from(io::stdout().as_fd().try_clone_to_owned()?);
    let order: Order = receive(&mut farm)?;
    if let Err(source) = demux::provide(&order.path) {
        let error = MediaError::Open { path: order.path.clone(), source };
        return send(&mut farm, &Answer::Failed(DecodeFailure::new(error, &order)));
    }
    ffmpeg_log::init();
    ffi::known_decoders();
    end_with(farm.try_clone()?);
    confinement::confine(&order.limits)?;

    let mut source = match open(&order) {
        Ok((source, answer)) => {
            send(&mut farm, &answer)?;
            match source {
                Some(source) => source,
                None => return Ok(()),
            }
        }
        Err(error) => return send(&mut farm, &Answer::Failed(DecodeFailure::new(error, &order))),
    };
    loop {
        let request = match receive(&mut farm) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let answer = match (&mut source, request) {
            (Source::Video(video), Request::Picture(number)) => video.numbered(number).map(|picture| {
                shared.write_all_at(&picture.bgra, 0)?;
                Ok::<_, io::Error>(Answer::Picture(picture.size))
            }),
            (Source::Sound(sound), Request::Samples(count)) => sound.peek(count).map(|samples| {
                let mut bytes = Vec::with_capacity(samples.len() * SAMPLE_BYTES);
                bytes.extend(samples.as_flattened().iter().flat_map(|level| level.to_le_bytes()));
                shared.write_all_at(&bytes, 0)?;
                Ok(Answer::Samples(samples.len()))
            }),
            _ => return Err(io::Error::other("the request does not fit the order")),
        };
        let answer = match answer {
            Ok(answer) => answer?,
            Err(error) => Answer::Failed(DecodeFailure::new(error, &order)),
        };
        if let (Source::Sound(sound), Answer::Samples(count)) = (&mut source, &answer) {
            sound.skip(*count);
        }
        send(&mut farm, &answer)?;
    }
}

/// Closes all files but the standard ones: the farm's own parent may have left some open.
fn close_inherited() -> io::Result<()> {
    let names: io::Result<Vec<_>> = fs::read_dir("/proc/self/fd")?.map(|entry| Ok(entry?.file_name())).collect();
    let files = names?.into_iter().filter_map(|name| name.to_str()?.parse::<RawFd>().ok());
    for file in files.filter(|file| *file > STANDARD_ERROR) {
        // Fails for the folder's own file only, which is closed already.
        let _ = nix::unistd::close(file);
    }
    Ok(())
}

/// Opens the source for the job of `order`; a probe leaves nothing to ask.
fn open(order: &Order) -> Result<(Option<Source>, Answer), MediaError> {
    let path = &order.path;
    match &order.job {
        Job::Probe => {
            let info = probe::probe(path)?;
            order.limits.check(path, &info)?;
            Ok((None, Answer::Info(Box::new(info))))
        }
        Job::Video { timing, rate } => {
            let video = VideoSource::open_within(path, timing, *rate, order.limits.pixels)?;
            Ok((Some(Source::Video(Box::new(video))), Answer::Open))
        }
        Job::Sound { timing } => {
            let sound = SourceReader::open(path, timing)?;
            Ok((Some(Source::Sound(Box::new(sound))), Answer::Open))
        }
    }
}

/// Ends this process when the farm's end of the socket is closed, also in the midst of decoding. `PR_SET_PDEATHSIG`
/// would end it with the thread of the farm that started it, which may be gone before the last picture is asked for.
fn end_with(farm: UnixStream) {
    std::thread::spawn(move || {
        loop {
            let mut ends = [PollFd::new(farm.as_fd(), PollFlags::empty())];
            match poll(&mut ends, PollTimeout::NONE) {
                Err(nix::errno::Errno::EINTR) | Ok(0) => {}
                Ok(_) | Err(_) => std::process::abort(),
            }
        }
    });
}
