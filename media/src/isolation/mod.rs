//! Decodes users' sources in processes of their own.
//!
//! A decoder's process is this program again, started with [`DECODER_COMMAND`]. It reads one source, with one purpose:
//! its headers, the pictures of a video, or the samples of a sound. It has no environment and no open files but its
//! socket, the source and the memory through which it returns pictures and samples; its memory is limited, and it may
//! neither open files nor use the network nor start programs ([`hyperfarm_isolation`]). A source that crashes it, or makes it
//! take too long, costs one task, with an error that names the source.
//!
//! | what | where |
//! | --- | --- |
//! | starts processes, asks them | here, `process` |
//! | what a decoder's process does | `child` |
//! | messages | `messages` |

mod child;
mod messages;
mod process;

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{MediaTiming, VideoHeaders};
use nix::sys::memfd::{MFdFlags, memfd_create};
use quick_cache::sync::Cache;

pub use self::child::serve_decoder;
use self::messages::{Answer, Job, Request};
use self::process::DecoderProcess;
use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::hdr::HdrPicture;
use crate::limits::MediaLimits;
use crate::probe::{MediaInfo, probe};
use crate::sound_source::SoundSource;
use crate::source::{VideoSource, VideoTimeline, check_timing, timeline_of};
use crate::timescale::SAMPLE_RATE;

/// The argument with which a program becomes a decoder's process: its `main` calls [`serve_decoder`] then.
pub const DECODER_COMMAND: &str = "decode-media";

/// Samples that are requested at once: a second of sound.
const SOUND_BLOCK: usize = SAMPLE_RATE as usize;

/// How users' sources are decoded.
#[derive(Debug, Clone)]
pub struct Decoders {
    /// The program of the decoders' processes; none where this process decodes itself.
    program: Option<Arc<Path>>,
    limits: MediaLimits,
    /// Headers that were read, so that each file has one process for them and not one a render.
    probed: Arc<Cache<FileVersion, MediaInfo>>,
}

/// Files whose headers are kept.
const PROBED: usize = 1024;

/// A file as it was at a moment: its path, length and time of the last change.
type FileVersion = (PathBuf, u64, SystemTime);

impl Decoders {
    /// Decodes in this process, for tests and tools: a source that crashes the decoder ends the process.
    pub fn in_process(limits: MediaLimits) -> Self {
        Self::new(None, limits)
    }

    /// Decodes in processes of `program`, which calls [`serve_decoder`] for [`DECODER_COMMAND`].
    pub fn isolated(program: impl Into<PathBuf>, limits: MediaLimits) -> Self {
        Self::new(Some(Arc::from(program.into())), limits)
    }

    fn new(program: Option<Arc<Path>>, limits: MediaLimits) -> Self {
        Self { program, limits, probed: Arc::new(Cache::new(PROBED)) }
    }

    /// Lets a process open a sound, and proves from `/proc` that it is confined. It blocks.
    ///
    /// # Errors
    /// The process cannot be started, does not answer, or has rights that it must not have.
    pub fn check_confinement(&self) -> Result<(), MediaError> {
        let Some(program) = &self.program else { return Ok(()) };
        let timing = MediaTiming { start: 0.0, end: 1.0, media_start: 0.0, rate: 1.0, looped: false };
        let file = memfd_create(c"silence", MFdFlags::MFD_CLOEXEC).map_err(io::Error::from).map(File::from);
        let name = "a second of silence";
        let unmade = |source| MediaError::Open { path: PathBuf::from(name), source };
        let file = file.map_err(unmade)?;
        file.write_all_at(&silence(), 0).map_err(unmade)?;
        let path = PathBuf::from(format!("/proc/{}/fd/{}", std::process::id(), file.as_raw_fd()));
        match DecoderProcess::start(program, &path, name, self.limits, Job::Sound { timing })? {
            (process, Answer::Open) => process.check_confinement(),
            (process, _) => Err(process.disorder()),
        }
    }

    /// Reads the headers of `path`, which is `name` in its project.
    ///
    /// # Errors
    /// The file is missing, not media, beyond the limits, or its process did not answer.
    pub fn probe(&self, path: &Path, name: &str) -> Result<MediaInfo, MediaError> {
        let version = path.metadata().and_then(|file| Ok((path.to_owned(), file.len(), file.modified()?)));
        if let Some(known) = version.as_ref().ok().and_then(|version| self.probed.get(version)) {
            return Ok(known);
        }
        let info = self.read_headers(path, name)?;
        if let Ok(version) = version {
            self.probed.insert(version, info.clone());
        }
        Ok(info)
    }

    fn read_headers(&self, path: &Path, name: &str) -> Result<MediaInfo, MediaError> {
        let Some(program) = &self.program else {
            return probe(path)
                .and_then(|info| self.limits.check(path, &info).map(|()| info))
                .map_err(|error| error.named(path, name));
        };
        match DecoderProcess::start(program, path, name, self.limits, Job::Probe)? {
            (_, Answer::Info(info)) => Ok(*info),
            (process, _) => Err(process.disorder()),
        }
    }

    /// The decoder of the video `path`, which is `name` in its project and has `headers`, played with `timing` in an
    /// output of `rate`. The file is opened for the first picture.
    ///
    /// # Errors
    /// A time or rate is out of range.
    pub fn video(
        &self,
        path: &Path,
        name: &str,
        headers: &VideoHeaders,
        timing: &MediaTiming,
        rate: FrameRate,
    ) -> Result<VideoDecoder, MediaError> {
        check_timing(path, timing).map_err(|error| error.named(path, name))?;
        Ok(VideoDecoder {
            decoders: self.clone(),
            path: path.to_owned(),
            name: name.to_owned(),
            timeline: timeline_of(headers, timing, rate),
            headers: headers.clone(),
            timing: timing.clone(),
            rate,
            pictures: None,
        })
    }

    /// Opens the sound of `path`, which is `name` in its project, played with `timing`.
    pub(crate) fn sound(&self, path: &Path, name: &str, timing: &MediaTiming) -> Result<SoundDecoder, MediaError> {
        let samples = match &self.program {
            None => {
                let source = SoundSource::open(path, timing).map_err(|error| error.named(path, name))?;
                Samples::Own(Box::new(source), path.to_owned(), name.to_owned())
            }
            Some(program) => {
                let job = Job::Sound { timing: timing.clone() };
                match DecoderProcess::start(program, path, name, self.limits, job)? {
                    (process, Answer::Open) => Samples::Process { process, ready: Vec::new(), ended: false },
                    (process, _) => return Err(process.disorder()),
                }
            }
        };
        Ok(SoundDecoder(samples))
    }
}

/// A second of silence as a WAV file.
fn silence() -> Vec<u8> {
    const DATA: u32 = SAMPLE_RATE * 2;
    let sixteen = |value: u16| value.to_le_bytes().to_vec();
    let thirty_two = |value: u32| value.to_le_bytes().to_vec();
    // One channel of 16 bits.
    [
        b"RIFF".to_vec(),
        thirty_two(DATA + 36),
        b"WAVEfmt ".to_vec(),
        thirty_two(16),
        sixteen(1),
        sixteen(1),
        thirty_two(SAMPLE_RATE),
        thirty_two(SAMPLE_RATE * 2),
        sixteen(2),
        sixteen(16),
        b"data".to_vec(),
        thirty_two(DATA),
        vec![0; DATA as usize],
    ]
    .concat()
}

/// The pictures of one video of a project.
#[derive(Debug)]
pub struct VideoDecoder {
    decoders: Decoders,
    path: PathBuf,
    /// The source's name in the project.
    name: String,
    headers: VideoHeaders,
    timing: MediaTiming,
    rate: FrameRate,
    timeline: VideoTimeline,
    /// None while the source is closed.
    pictures: Option<Pictures>,
}

#[derive(Debug)]
enum Pictures {
    Own(Box<VideoSource>),
    Process(DecoderProcess),
}

impl VideoDecoder {
    /// The mapping from output frames to pictures.
    pub fn timeline(&self) -> &VideoTimeline {
        &self.timeline
    }

    /// The source's headers.
    pub fn headers(&self) -> &VideoHeaders {
        &self.headers
    }

    /// Picture `number` of the resampled source, as counted by [`VideoTimeline::picture_at`]. Opens the source if it is
    /// closed.
    ///
    /// # Errors
    /// Those of [`VideoSource::open`], a picture beyond the limits, the file cannot be decoded, or its process did not
    /// answer.
    pub fn numbered(&mut self, number: u64) -> Result<Arc<Picture>, MediaError> {
        let (path, name) = (self.path.clone(), self.name.clone());
        match self.opened()? {
            Pictures::Own(source) => source.numbered(number).map_err(|error| error.named(&path, &name)),
            Pictures::Process(process) => match process.ask(&Request::Picture(number))? {
                Answer::Picture(size) => process.picture(size),
                _ => Err(process.disorder()),
            },
        }
    }

    /// Picture `number` as [`VideoDecoder::numbered`], at its own depth.
    ///
    /// # Errors
    /// Those of [`VideoDecoder::numbered`].
    pub fn numbered_hdr(&mut self, number: u64) -> Result<HdrPicture, MediaError> {
        let (path, name) = (self.path.clone(), self.name.clone());
        match self.opened()? {
            Pictures::Own(source) => source.numbered_hdr(number).map_err(|error| error.named(&path, &name)),
            Pictures::Process(process) => match process.ask(&Request::HdrPicture(number))? {
                Answer::HdrPicture { size, transfer, wide } => {
                    Ok(HdrPicture { size, rgb: process.hdr_pixels(size)?, transfer, wide })
                }
                _ => Err(process.disorder()),
            },
        }
    }

    fn opened(&mut self) -> Result<&mut Pictures, MediaError> {
        let pictures = match self.pictures.take() {
            Some(pictures) => pictures,
            None => self.open()?,
        };
        Ok(self.pictures.insert(pictures))
    }

    /// Closes the source, and ends its process. The next picture opens it again.
    pub fn close(&mut self) {
        self.pictures = None;
    }

    fn open(&self) -> Result<Pictures, MediaError> {
        let Self { decoders: Decoders { program, limits, .. }, path, name, timing, rate, .. } = self;
        let Some(program) = program else {
            let source = VideoSource::open_within(path, timing, *rate, limits.pixels);
            return Ok(Pictures::Own(Box::new(source.map_err(|error| error.named(path, name))?)));
        };
        let job = Job::Video { timing: timing.clone(), rate: *rate };
        match DecoderProcess::start(program, path, name, *limits, job)? {
            (process, Answer::Open) => Ok(Pictures::Process(process)),
            (process, _) => Err(process.disorder()),
        }
    }
}

/// The samples of one sound of a project.
pub(crate) struct SoundDecoder(Samples);

enum Samples {
    /// The source, its path and its name.
    Own(Box<SoundSource>, PathBuf, String),
    Process {
        process: DecoderProcess,
        /// Samples that were not read yet.
        ready: Vec<[f32; 2]>,
        ended: bool,
    },
}

impl SoundDecoder {
    /// The next `length` samples, or fewer at the end.
    pub(crate) fn peek(&mut self, length: usize) -> Result<&[[f32; 2]], MediaError> {
        match &mut self.0 {
            Samples::Own(source, path, name) => source.peek(length).map_err(|error| error.named(path, name)),
            Samples::Process { process, ready, ended } => {
                while ready.len() < length && !*ended {
                    match process.ask(&Request::Samples(SOUND_BLOCK))? {
                        Answer::Samples(count) if count <= SOUND_BLOCK => {
                            process.samples(count, ready)?;
                            *ended = count < SOUND_BLOCK;
                        }
                        _ => return Err(process.disorder()),
                    }
                }
                Ok(&ready[..length.min(ready.len())])
            }
        }
    }

    /// Drops the first `length` samples.
    pub(crate) fn skip(&mut self, length: usize) {
        match &mut self.0 {
            Samples::Own(source, ..) => source.skip(length),
            Samples::Process { ready, .. } => drop(ready.drain(..length.min(ready.len()))),
        }
    }
}
