//! A chain of FFmpeg's audio filters: frames in, packed stereo floats at 48 kHz out.

use ffmpeg_next as ffmpeg;
use ffmpeg_next::filter::Graph;
use ffmpeg_next::frame;

use crate::ffi;

/// A chain of filters from frames of one format to packed stereo floats at 48 kHz.
pub(crate) struct FilterChain {
    graph: Graph,
}

impl FilterChain {
    /// A chain for frames of `rate` samples a second, of format `sample` and channel layout `layout` by FFmpeg's names.
    pub(crate) fn new(rate: u32, sample: &str, layout: &str, filters: &str) -> Result<Self, ffmpeg::Error> {
        let find = |name| ffmpeg::filter::find(name).ok_or(ffmpeg::Error::FilterNotFound);
        let mut graph = Graph::new();
        let source = format!("time_base=1/{rate}:sample_rate={rate}:sample_fmt={sample}:channel_layout={layout}");
        graph.add(&find("abuffer")?, "in", &source)?;
        graph.add(&find("abuffersink")?, "out", "")?;
        graph.output("in", 0)?.input("out", 0)?.parse(filters)?;
        graph.validate()?;
        Ok(Self { graph })
    }

    /// Sends a frame.
    pub(crate) fn push(&mut self, frame: &frame::Audio) -> Result<(), ffmpeg::Error> {
        self.graph.get("in").ok_or(ffmpeg::Error::Bug)?.source().add(frame)
    }

    /// Ends the input: no frame follows.
    pub(crate) fn end(&mut self) -> Result<(), ffmpeg::Error> {
        self.graph.get("in").ok_or(ffmpeg::Error::Bug)?.source().flush()
    }

    /// Appends all samples that are ready to `out`.
    pub(crate) fn pull(&mut self, out: &mut Vec<[f32; 2]>) -> Result<(), ffmpeg::Error> {
        self.pull_frames(|frame| out.extend_from_slice(ffi::stereo_floats(frame)))
    }

    /// Calls `each` with every frame that is ready.
    pub(crate) fn pull_frames(&mut self, mut each: impl FnMut(&frame::Audio)) -> Result<(), ffmpeg::Error> {
        let mut sink = self.graph.get("out").ok_or(ffmpeg::Error::Bug)?;
        let mut frame = frame::Audio::empty();
        loop {
            match sink.sink().frame(&mut frame) {
                Ok(()) => each(&frame),
                Err(ffmpeg::Error::Eof) | Err(ffmpeg::Error::Other { errno: ffmpeg::error::EAGAIN }) => return Ok(()),
                Err(error) => return Err(error),
            }
        }
    }
}
