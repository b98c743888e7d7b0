//! Decodes users' sources in processes of their own.
//!
//! A decoder's process is this program again, started with [`DECODER_COMMAND`]. It reads one source, with one purpose:
//! its headers, the pictures of a video, or the samples of a sound. It has no environment and no open files but its
//! socket, the source and the memory through which it returns pictures and samples; its memory is limited, and it may
//! neither open files nor use the network nor start programs (`confinement`). A source that crashes it, or makes it
//! take too long, costs one task, with an error that names the source.
//!
//! | what | where |
//! | --- | --- |
//! | starts processes, asks them | here, `process` |
//! | what a decoder's process does | `child` |
//! | limits and the system calls that are allowed | `confinement` |
//! | messages | `messages` |

mod child;
mod confinement;
mod messages;
mod process;

use std::path::{Path, PathBuf};
use std::sync::Arc;

use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::MediaTiming;
use hyperfarm_proto::spec::Size;

pub use self::child::serve_decoder;
use self::messages::{Answer, Job, Request};
use self::process::DecoderProcess;
use crate::bitmap::Picture;
use crate::error::MediaError;
use crate::limits::MediaLimits;
use crate::mix::SourceReader;
use crate::probe::{MediaInfo, probe};
use crate::source::{VideoSource, VideoTimeline};
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
}

impl Decoders {
    /// Decodes in this process, for tests and tools: a source that crashes the decoder ends the process.
    pub fn in_process(limits: MediaLimits) -> Self {
        Self { program: None, limits }
    }

    /// Decodes in processes of `program`, which calls [`serve_decoder`] for [`DECODER_COMMAND`].
    pub fn isolated(program: impl Into<PathBuf>, limits: MediaLimits) -> Self {
        Self { program: Some(Arc::from(program.into())), limits }
    }

    /// Reads the headers of `path`, which is `name` in its project.
    ///
    /// # Errors
    /// The file is missing, not media, beyond the limits, or its process did not answer.
    pub fn probe(&self, path: &Path, name: &str) -> Result<MediaInfo, MediaError> {
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

    /// Opens the video `path`, which is `name` in its project, played with `timing` in an output of `rate`.
    ///
    /// # Errors
    /// Those of [`VideoSource::open`], a picture beyond the limits, or the process did not answer.
    pub fn video(
        &self,
        path: &Path,
        name: &str,
        timing: &MediaTiming,
        rate: FrameRate,
    ) -> Result<VideoDecoder, MediaError> {
        let Some(program) = &self.program else {
            let source = VideoSource::open_within(path, timing, rate, self.limits.pixels)
                .map_err(|error| error.named(path, name))?;
            return Ok(VideoDecoder {
                timeline: source.timeline().clone(),
                display_size: source.display_size(),
                has_alpha: source.has_alpha(),
                pictures: Pictures::Own(Box::new(source), path.to_owned(), name.to_owned()),
            });
        };
        let job = Job::Video { timing: timing.clone(), rate };
        match DecoderProcess::start(program, path, name, self.limits, job)? {
            (process, Answer::Video(facts)) => Ok(VideoDecoder {
                timeline: facts.timeline(timing, rate),
                display_size: facts.display_size,
                has_alpha: facts.has_alpha,
                pictures: Pictures::Process(process),
            }),
            (process, _) => Err(process.disorder()),
        }
    }

    /// Opens the sound of `path`, which is `name` in its project, played with `timing`.
    pub(crate) fn sound(&self, path: &Path, name: &str, timing: &MediaTiming) -> Result<SoundDecoder, MediaError> {
        let samples = match &self.program {
            None => {
                let source = SourceReader::open(path, timing).map_err(|error| error.named(path, name))?;
                Samples::Own(Box::new(source), path.to_owned(), name.to_owned())
            }
            Some(program) => {
                let job = Job::Sound { timing: timing.clone() };
                match DecoderProcess::start(program, path, name, self.limits, job)? {
                    (process, Answer::Sound) => Samples::Process { process, ready: Vec::new(), ended: false },
                    (process, _) => return Err(process.disorder()),
                }
            }
        };
        Ok(SoundDecoder(samples))
    }
}

/// The pictures of one video of a project.
#[derive(Debug)]
pub struct VideoDecoder {
    timeline: VideoTimeline,
    display_size: Size,
    has_alpha: bool,
    pictures: Pictures,
}

#[derive(Debug)]
enum Pictures {
    /// The source, its path and its name.
    Own(Box<VideoSource>, PathBuf, String),
    Process(DecoderProcess),
}

impl VideoDecoder {
    /// The mapping from output frames to pictures.
    pub fn timeline(&self) -> &VideoTimeline {
        &self.timeline
    }

    /// Display size of the pictures by the file's headers: in square pixels, rotated.
    pub fn display_size(&self) -> Size {
        self.display_size
    }

    /// Whether pictures have transparency.
    pub fn has_alpha(&self) -> bool {
        self.has_alpha
    }

    /// Picture `number` of the resampled source, as counted by [`VideoTimeline::picture_at`].
    ///
    /// # Errors
    /// The file cannot be decoded, or its process did not answer.
    pub fn numbered(&mut self, number: u64) -> Result<Arc<Picture>, MediaError> {
        match &mut self.pictures {
            Pictures::Own(source, path, name) => source.numbered(number).map_err(|error| error.named(path, name)),
            Pictures::Process(process) => match process.ask(&Request::Picture(number))? {
                Answer::Picture(size) => process.picture(size),
                _ => Err(process.disorder()),
            },
        }
    }
}

/// The samples of one sound of a project.
pub(crate) struct SoundDecoder(Samples);

enum Samples {
    /// The source, its path and its name.
    Own(Box<SourceReader>, PathBuf, String),
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
