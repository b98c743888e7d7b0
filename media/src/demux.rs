//! Opens media files that users have supplied.
//!
//! **Invariant: opening a file reads that file and nothing else.** A playlist that poses as a video would make FFmpeg
//! open other files or addresses; so only self-contained formats are tried, FFmpeg is given an open file, and it may
//! use no protocol of its own.

use std::fs::{File, Metadata};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::context::Input;
use ffmpeg_next::{Dictionary, Packet, Rational, media};

use crate::error::{MediaError, Reason};
use crate::ffi::FileInput;
use crate::{ffi, ffmpeg_log};

/// Self-contained formats: no playlists, no image sequences, no devices, nothing that names other files.
const FORMATS: &str = "mov,mp4,m4a,3gp,3g2,mj2,matroska,webm,ogg,wav,w64,mp3,aac,flac,aiff,caf,amr,ac3,eac3,avi,flv,asf,\
                       mpegts,mpeg,ivf,gif,apng,png_pipe";

/// Most streams of a file.
const MAX_STREAMS: &str = "128";

/// Name of no protocol, so that FFmpeg opens nothing.
const NO_PROTOCOL: &str = "none";

/// The one source of a process that may open no files, opened before.
static SOURCE: OnceLock<(PathBuf, OpenFile)> = OnceLock::new();

/// An open file, and what the system said of it when it was opened.
#[derive(Clone)]
struct OpenFile {
    file: Arc<File>,
    metadata: Metadata,
}

impl OpenFile {
    fn new(file: File) -> io::Result<Self> {
        let metadata = file.metadata()?;
        Ok(Self { file: Arc::new(file), metadata })
    }
}

/// Damaged packets in a row after which reading fails.
const MAX_DAMAGED: u32 = 1000;

/// An open media file.
pub(crate) struct Demuxer {
    pub(crate) input: Input,
    /// Dropped after the input, which reads through it.
    _file: FileInput,
    pub(crate) path: PathBuf,
}

/// Opens `path` for all later [`Demuxer::open`] of it, once a process.
pub(crate) fn provide(path: &Path) -> io::Result<()> {
    let file = File::open(path).and_then(OpenFile::new)?;
    SOURCE.get_or_init(|| (path.to_owned(), file));
    Ok(())
}

fn open_file(path: &Path) -> io::Result<OpenFile> {
    match SOURCE.get() {
        Some((provided, file)) if provided == path => Ok(file.clone()),
        _ => File::open(path).and_then(OpenFile::new),
    }
}

/// FFmpeg's name for a local file; the prefix keeps a colon in a name from being read as a protocol.
pub(crate) fn url(path: &Path) -> Result<String, MediaError> {
    match path.to_str() {
        Some(text) if !text.contains('\0') => Ok(format!("file:{text}")),
        _ => Err(MediaError::Open {
            path: path.to_owned(),
            source: io::Error::new(io::ErrorKind::InvalidInput, "the name is not UTF-8"),
        }),
    }
}

impl Demuxer {
    pub(crate) fn open(path: &Path) -> Result<Self, MediaError> {
        ffmpeg_log::init();
        let unopened = |source| MediaError::Open { path: path.to_owned(), source };
        let OpenFile { file, metadata } = open_file(path).map_err(unopened)?;
        if !metadata.is_file() {
            return Err(unopened(io::Error::new(io::ErrorKind::InvalidInput, "it is not a file")));
        }
        if metadata.len() == 0 {
            return Err(MediaError::Empty { path: path.to_owned() });
        }
        let mut head = [0_u8; 512];
        let read = file.read_at(&mut head, 0).map_err(unopened)?;
        let options = Dictionary::from_iter([
            ("protocol_whitelist", NO_PROTOCOL),
            ("format_whitelist", FORMATS),
            ("codec_whitelist", ffi::known_decoders()),
            ("max_streams", MAX_STREAMS),
        ]);
        ffmpeg_log::clear();
        let (mut input, file) =
            ffi::open_input(file, metadata.len(), &url(path)?, options).map_err(|error| MediaError::NotMedia {
                path: path.to_owned(),
                looks_like: looks_like(&head[..read]),
                reason: Reason::of(error),
            })?;
        if let Some(needed) = ffi::index_end(&mut input).filter(|needed| *needed > metadata.len()) {
            return Err(MediaError::Truncated { path: path.to_owned(), found: metadata.len(), needed });
        }
        Ok(Self { input, _file: file, path: path.to_owned() })
    }

    /// The video stream that a player shows; a cover picture does not count.
    pub(crate) fn video(&self) -> Result<usize, MediaError> {
        self.stream(media::Type::Video, "picture")
    }

    /// The video stream of track `track` of a segment; 0 is the first one.
    pub(crate) fn video_track(&self, track: usize) -> Result<usize, MediaError> {
        let mut videos = self.input.streams().filter(|stream| stream.parameters().medium() == media::Type::Video);
        let found = videos.nth(track).map(|stream| stream.index());
        found.ok_or_else(|| MediaError::NoStream { path: self.path.clone(), kind: "picture of that rendition" })
    }

    /// The audio stream that a player plays.
    pub(crate) fn audio(&self) -> Result<usize, MediaError> {
        self.stream(media::Type::Audio, "sound")
    }

    fn stream(&self, kind: media::Type, name: &'static str) -> Result<usize, MediaError> {
        self.input
            .streams()
            .best(kind)
            .filter(|stream| !stream.disposition().contains(ffmpeg::format::stream::Disposition::ATTACHED_PIC))
            .map(|stream| stream.index())
            .ok_or_else(|| MediaError::NoStream { path: self.path.clone(), kind: name })
    }

    pub(crate) fn time_base(&self, stream: usize) -> Rational {
        self.input.stream(stream).map_or(Rational::new(1, 1), |stream| stream.time_base())
    }

    pub(crate) fn parameters(&self, stream: usize) -> ffmpeg::codec::Parameters {
        self.input.stream(stream).map_or_else(ffmpeg::codec::Parameters::new, |stream| stream.parameters())
    }

    /// Seconds that the file lasts, where it says.
    pub(crate) fn duration(&self) -> Option<f64> {
        ffi::duration(&self.input).map(|microseconds| microseconds as f64 / 1e6)
    }

    /// Where the file's timeline starts, in ticks of `time_base`.
    pub(crate) fn origin(&self, time_base: Rational) -> i64 {
        use ffmpeg::Rescale;
        ffi::start_time(&self.input).rescale(Rational::new(1, 1_000_000), time_base)
    }

    /// The next packet of any stream; `None` at the end. Damaged stretches are skipped as players do.
    pub(crate) fn packet(&mut self) -> Result<Option<Packet>, MediaError> {
        let mut packet = Packet::empty();
        for _ in 0..MAX_DAMAGED {
            match packet.read(&mut self.input) {
                Ok(()) => return Ok(Some(packet)),
                Err(ffmpeg::Error::Eof) => return Ok(None),
                Err(ffmpeg::Error::InvalidData) => continue,
                Err(error) => return Err(MediaError::undecodable(&self.path, "reading packets")(error)),
            }
        }
        Err(MediaError::undecodable(&self.path, "reading packets")(ffmpeg::Error::InvalidData))
    }

    /// The next packet of `stream`; `None` at the end.
    pub(crate) fn packet_of(&mut self, stream: usize) -> Result<Option<Packet>, MediaError> {
        while let Some(packet) = self.packet()? {
            if packet.stream() == stream {
                return Ok(Some(packet));
            }
        }
        Ok(None)
    }
}

/// A guess of what a file is, from its first bytes, for an error message.
fn looks_like(head: &[u8]) -> &'static str {
    let text = String::from_utf8_lossy(head).trim_start_matches('\u{feff}').trim_start().to_lowercase();
    if text.starts_with("<!doctype html") || text.starts_with("<html") || text.contains("<html") {
        return "an HTML page, as servers send in place of a missing file";
    }
    if text.starts_with("<?xml") || text.starts_with("<svg") {
        return "an XML document";
    }
    if text.starts_with('{') || text.starts_with('[') {
        return "JSON";
    }
    if text.starts_with("#extm3u") {
        return "a playlist, which names media and holds none";
    }
    if text.starts_with("version https://git-lfs") {
        return "a Git LFS pointer";
    }
    match head {
        [_, _, _, _, b'f', b't', b'y', b'p', ..] => "an mp4 that is damaged or was cut off",
        [0x1a, 0x45, 0xdf, 0xa3, ..] => "a WebM or Matroska file that is damaged or was cut off",
        [b'P', b'K', 3, 4, ..] => "a zip archive",
        [0x89, b'P', b'N', b'G', ..] | [0xff, 0xd8, 0xff, ..] => "a still picture",
        _ if head.iter().all(|byte| *byte == 0) => "nothing but zeros",
        _ => "no format that is known",
    }
}

#[cfg(test)]
mod tests {
    use super::looks_like;

    #[test]
    fn first_bytes_name_common_mistakes() {
        assert!(looks_like(b"\n <!DOCTYPE html><title>404").contains("HTML"));
        assert!(looks_like(b"{\"error\":1}").contains("JSON"));
        assert!(looks_like(b"#EXTM3U\n").contains("playlist"));
        assert!(looks_like(b"\0\0\0\x20ftypisom").contains("mp4"));
        assert!(looks_like(b"abc").contains("known"));
    }
}
