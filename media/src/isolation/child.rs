//! What a decoder's process does.

use std::io;
use std::os::unix::fs::FileExt;
use std::process::ExitCode;
use std::time::Duration;

use hyperfarm_isolation::messages::{receive, send};
use hyperfarm_isolation::{ProcessLimits, confine, enter};

use super::messages::{Answer, DecodeFailure, Job, MAX_BYTES, Order, Request};
use super::process::{HDR_PIXEL_BYTES, SAMPLE_BYTES};
use crate::error::MediaError;
use crate::hdr::HdrPicture;
use crate::sound_source::SoundSource;
use crate::source::VideoSource;
use crate::{demux, ffi, ffmpeg_log, probe};

/// Processor time of a process: far more than a chunk of the longest kind takes.
const CPU_TIME: Duration = Duration::from_secs(3600);

/// Bytes of the shared memory for a second of samples, where that is more than a picture.
const SAMPLES: u64 = 1 << 20;

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
    Sound(Box<SoundSource>),
}

fn serve() -> io::Result<()> {
    // The allocator keeps its blocks, unlike the farm's: the next picture has the size of the last.
    let (mut farm, shared) = enter()?;
    let order: Order = receive(&mut farm, MAX_BYTES)?;
    if let Err(source) = demux::provide(&order.path) {
        let error = MediaError::Open { path: order.path.clone(), source };
        return send(&mut farm, &Answer::Failed(DecodeFailure::new(error, &order)), MAX_BYTES);
    }
    ffmpeg_log::init();
    ffi::known_decoders();
    let shared_bytes = order.limits.pixels.saturating_mul(HDR_PIXEL_BYTES as u64).max(SAMPLES);
    confine(&ProcessLimits { memory: order.limits.memory, cpu: CPU_TIME, file_bytes: shared_bytes })?;

    let mut source = match open(&order) {
        Ok((source, answer)) => {
            send(&mut farm, &answer, MAX_BYTES)?;
            match source {
                Some(source) => source,
                None => return Ok(()),
            }
        }
        Err(error) => return send(&mut farm, &Answer::Failed(DecodeFailure::new(error, &order)), MAX_BYTES),
    };
    loop {
        let request = match receive(&mut farm, MAX_BYTES) {
            Ok(request) => request,
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            Err(error) => return Err(error),
        };
        let answer = match (&mut source, request) {
            (Source::Video(video), Request::Picture(number)) => video.numbered(number).map(|picture| {
                shared.write_all_at(&picture.bgra, 0)?;
                Ok::<_, io::Error>(Answer::Picture(picture.size))
            }),
            (Source::Video(video), Request::HdrPicture(number)) => video.numbered_hdr(number).map(|picture| {
                let HdrPicture { size, rgb, transfer, wide } = picture;
                let bytes: Vec<u8> = rgb.as_flattened().iter().flat_map(|level| level.to_le_bytes()).collect();
                shared.write_all_at(&bytes, 0)?;
                Ok(Answer::HdrPicture { size, transfer, wide })
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
        send(&mut farm, &answer, MAX_BYTES)?;
    }
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
            let sound = SoundSource::open(path, timing)?;
            Ok((Some(Source::Sound(Box::new(sound))), Answer::Open))
        }
    }
}
