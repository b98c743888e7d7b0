//! Writes containers. Equal packets give equal bytes.

use std::fs;
use std::path::{Path, PathBuf};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::format::context::Output;
use ffmpeg_next::{Dictionary, Packet, Rational};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::spec::{Format, Size, Timecode};

use crate::error::MediaError;
use crate::ffi::{self, CodecId};
use crate::hdr::metadata;
use crate::timescale::SAMPLE_RATE;
use crate::{demux, ffmpeg_log};

/// Ticks a second of a caption track.
pub(crate) const CAPTION_TICKS: u32 = 1000;

/// The last libavformat whose WebM muxer declares the codec delay of sound without adding it to the times: readers then
/// take it off, and to keep times from being negative the muxer would move the pictures as well, by 7 ms.
const LAST_WITHOUT_CODEC_DELAY: u32 = (59 << 16) | (30 << 8) | 100;

/// A kind of container that the farm writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Container {
    Mp4,
    Mov,
    Webm,
    /// mp4 with sound only.
    M4a,
    /// Plain samples.
    Wav,
    /// The header of an mp4 whose packets come in fragments.
    Fragments,
}

impl Container {
    /// The container of a segment.
    pub(crate) fn of_segment(format: Format) -> Self {
        match format {
            Format::Mp4 | Format::Hls => Self::Mp4,
            Format::Webm => Self::Webm,
            // Lossless frames from which the stitcher makes the output.
            Format::Mov | Format::Gif | Format::PngSequence => Self::Mov,
        }
    }

    fn muxer(self) -> &'static str {
        match self {
            Self::Mp4 | Self::Fragments => "mp4",
            Self::Mov => "mov",
            Self::Webm => "webm",
            Self::M4a => "ipod",
            Self::Wav => "wav",
        }
    }
}

/// An output file. It is removed unless [`Muxer::finish`] succeeds.
pub(crate) struct Muxer {
    // Dropped, and so closed, before the file is removed.
    output: Option<Output>,
    path: PathBuf,
    container: Container,
    /// Audio stream, and ticks that are added to the times of its packets.
    delayed: Option<(usize, i64)>,
    finished: bool,
}

impl Muxer {
    pub(crate) fn create(path: &Path, container: Container) -> Result<Self, MediaError> {
        ffmpeg_log::init();
        if !ffi::has_muxer(container.muxer()) {
            return Err(MediaError::Missing { name: format!("muxer {}", container.muxer()) });
        }
        // Created here first, because the system's error says more than FFmpeg's.
        fs::File::create(path).map_err(|source| MediaError::Write { path: path.to_owned(), source })?;
        // From here on the file is removed if anything fails.
        let mut muxer = Self { output: None, path: path.to_owned(), container, delayed: None, finished: false };
        let mut output = ffmpeg::format::output_as(&demux::url(path)?, container.muxer())
            .map_err(MediaError::make(path, "opening the file"))?;
        // No date, no version, no random ids.
        ffi::set_bit_exact(&mut output);
        muxer.output = Some(output);
        Ok(muxer)
    }

    /// The open output, and its path for errors.
    fn output(&mut self) -> Result<(&mut Output, &Path), MediaError> {
        match &mut self.output {
            Some(output) => Ok((output, &self.path)),
            None => Err(MediaError::Missing { name: "open output".to_owned() }),
        }
    }

    /// Adds a video stream and returns its index.
    pub(crate) fn add_video(
        &mut self,
        mut parameters: Parameters,
        rate: FrameRate,
        timescale: u32,
        alpha: bool,
    ) -> Result<usize, MediaError> {
        if matches!(self.container, Container::Mp4 | Container::Fragments) && CodecId::of(&parameters) == CodecId::HEVC
        {
            // With `hev1`, FFmpeg's choice, Apple's players show nothing.
            ffi::set_codec_tag(&mut parameters, *b"hvc1");
        }
        let (output, path) = self.output()?;
        let failed = MediaError::make(path, "adding the video stream");
        let mut stream = output.add_stream(None::<ffmpeg::Codec>).map_err(failed)?;
        stream.set_parameters(parameters);
        let frames = Rational::new(rate.num() as i32, rate.den() as i32);
        stream.set_time_base(Rational::new(1, timescale as i32));
        stream.set_avg_frame_rate(frames);
        stream.set_rate(frames);
        if alpha {
            // Readers look for an alpha plane only where the track declares one.
            stream.set_metadata(Dictionary::from_iter([("alpha_mode", "1")]));
        }
        Ok(stream.index())
    }

    /// Gives video stream `index` of an mp4 the data of a mastering display, and `light`.
    pub(crate) fn add_light(&mut self, index: usize, light: LightLevels) -> Result<(), MediaError> {
        let (output, path) = self.output()?;
        ffi::add_light(output, index, &metadata::display_structure(light), &metadata::light_structure(light))
            .map_err(MediaError::make(path, "adding the light of the pictures"))
    }

    /// Gives video stream `index` of a mov a timecode track. `first` is the timecode of the first frame.
    pub(crate) fn add_timecode(&mut self, index: usize, first: Timecode) -> Result<(), MediaError> {
        let (output, _) = self.output()?;
        if let Some(mut stream) = output.stream_mut(index) {
            stream.set_metadata(Dictionary::from_iter([("timecode", first.to_string().as_str())]));
        }
        Ok(())
    }

    /// Adds an audio stream and returns its index.
    pub(crate) fn add_audio(&mut self, mut parameters: Parameters, time_base: Rational) -> Result<usize, MediaError> {
        let padding = ffi::audio_parameters(&parameters).initial_padding;
        let webm = self.container == Container::Webm;
        if self.container == Container::Mov {
            // The code that a WAV file has for plain samples means nothing in a mov; the muxer knows its own.
            ffi::set_codec_tag(&mut parameters, [0; 4]);
        }
        let (output, path) = self.output()?;
        let failed = MediaError::make(path, "adding the audio stream");
        let mut stream = output.add_stream(None::<ffmpeg::Codec>).map_err(failed)?;
        stream.set_parameters(parameters);
        stream.set_time_base(time_base);
        let index = stream.index();
        if webm && ffmpeg::format::version() <= LAST_WITHOUT_CODEC_DELAY {
            let delay = (padding * 1000 + u64::from(SAMPLE_RATE) / 2) / u64::from(SAMPLE_RATE);
            self.delayed = Some((index, delay as i64));
        }
        Ok(index)
    }

    /// Adds a text track of captions over pictures of `size`, with ticks of a millisecond, and returns its index.
    pub(crate) fn add_captions(&mut self, size: Size) -> Result<usize, MediaError> {
        let (output, path) = self.output()?;
        let failed = MediaError::make(path, "adding the caption track");
        let parameters = ffi::caption_parameters(size).map_err(&failed)?;
        let mut stream = output.add_stream(None::<ffmpeg::Codec>).map_err(failed)?;
        stream.set_parameters(parameters);
        stream.set_time_base(Rational::new(1, CAPTION_TICKS as i32));
        Ok(stream.index())
    }

    /// Writes the header. `movie_timescale` and `track_timescale` are for mp4 and mov, in ticks a second.
    pub(crate) fn start(
        &mut self,
        movie_timescale: u32,
        track_timescale: u32,
        fast_start: bool,
    ) -> Result<(), MediaError> {
        let mut options = Dictionary::new();
        // Times are final: shifting them to start at zero would move video and audio apart by the priming.
        options.set("avoid_negative_ts", "disabled");
        if self.container == Container::Wav {
            // Sizes of 32 bits end at 4 GiB, which are four hours of sound.
            options.set("rf64", "auto");
        } else if self.container != Container::Webm {
            // Edit lists are in the movie's ticks: at the default of 1000 they would round every duration to 1 ms.
            options.set("movie_timescale", &movie_timescale.to_string());
            options.set("video_track_timescale", &track_timescale.to_string());
            if fast_start {
                options.set("movflags", "+faststart");
            }
            if self.container == Container::Fragments {
                options.set("movflags", "+empty_moov+default_base_moof+frag_custom");
            }
        }
        let (output, path) = self.output()?;
        output.write_header_with(options).map(drop).map_err(MediaError::make(path, "writing the header"))
    }

    /// The time base in which stream `index` is written, known after [`Muxer::start`].
    pub(crate) fn time_base(&self, index: usize) -> Rational {
        let stream = self.output.as_ref().and_then(|output| output.stream(index));
        stream.map_or(Rational::new(1, 1), |stream| stream.time_base())
    }

    /// Writes `packet`, whose times are in the stream's ticks.
    pub(crate) fn write(&mut self, packet: &mut Packet) -> Result<(), MediaError> {
        if let Some((stream, delay)) = self.delayed
            && packet.stream() == stream
        {
            packet.set_pts(packet.pts().map(|pts| pts + delay));
            packet.set_dts(packet.dts().map(|dts| dts + delay));
        }
        let (output, path) = self.output()?;
        packet.write_interleaved(output).map_err(MediaError::make(path, "writing a packet"))
    }

    /// Writes the trailer, closes the file and returns its length in bytes.
    pub(crate) fn finish(mut self) -> Result<u64, MediaError> {
        let (output, path) = self.output()?;
        output.write_trailer().map_err(MediaError::make(path, "writing the trailer"))?;
        self.output = None;
        let bytes =
            fs::metadata(&self.path).map_err(|source| MediaError::Write { path: self.path.clone(), source })?.len();
        self.finished = true;
        Ok(bytes)
    }
}

impl Drop for Muxer {
    fn drop(&mut self) {
        self.output = None;
        if self.finished {
            return;
        }
        if let Err(error) = fs::remove_file(&self.path) {
            tracing::warn!(path = %self.path.display(), %error, "an unfinished file could not be removed");
        }
    }
}
