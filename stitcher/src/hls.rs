//! A package for HTTP Live Streaming (CMAF) as a zip: playlists, and fragments of each rendition and of the sound.
//!
//! `index.m3u8` names the playlists, the largest rendition first. A rendition is named by its short side: `1080p.m3u8`
//! plays `1080p-init.mp4` and `1080p-00001.m4s` and so on. Fragments of all renditions begin at the same frames. The sound
//! is `sound.m3u8`, which is the same for all of them.

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, Write};
use std::path::Path;

use hyperfarm_media::{
    AudioFragments, MediaError, PlaylistKind, SegmentFile, SegmentPosition, VideoFragment, audio_fragments, codec_name,
    count_packets_while, media_playlist, video_fragments, video_header,
};
use hyperfarm_proto::plan::{Plan, PlanContent};
use hyperfarm_proto::record::AudioRecord;
use hyperfarm_proto::spec::Size;
use zip::ZipArchive;

use crate::archive::{Archive, disk_error};
use crate::error::{StitchError, VerifyError};
use crate::verify::verify as verify_count;

/// Seconds of a fragment, to the next key frame. Players fetch one at a time.
const FRAGMENT_SECONDS: f64 = 6.0;

/// Samples of a packet of sound. FFmpeg reads the last one of fragments whole, whatever duration they give it.
const AAC_PACKET: u64 = 1024;

/// Name of the list of all renditions.
const INDEX: &str = "index.m3u8";

/// Name of the sound's files.
const SOUND: &str = "sound";

/// The sizes of a package's renditions, that of the output first.
fn sizes(content: &PlanContent) -> impl Iterator<Item = Size> {
    std::iter::once(content.encoder.codec.coded_size(content.viewport.output()))
        .chain(content.encoder.renditions.iter().copied())
}

/// The name of a rendition.
fn name_of(size: Size) -> String {
    format!("{}p", size.short_side())
}

fn header_name(name: &str) -> String {
    format!("{name}-init.mp4")
}

fn fragment_name(name: &str, index: usize) -> String {
    format!("{name}-{:05}.m4s", index + 1)
}

/// A rendition's fragments as a player sees them.
#[derive(Default)]
struct Track {
    /// Seconds and bytes of each fragment.
    fragments: Vec<(f64, usize)>,
}

impl Track {
    /// Bits a second of the fragment that needs most.
    fn peak(&self) -> f64 {
        self.fragments.iter().map(|(seconds, bytes)| *bytes as f64 * 8.0 / seconds.max(1e-3)).fold(0.0, f64::max)
    }

    /// Bits a second of all fragments together.
    fn average(&self) -> f64 {
        let bytes: usize = self.fragments.iter().map(|(_, bytes)| bytes).sum();
        let seconds: f64 = self.fragments.iter().map(|(seconds, _)| seconds).sum();
        bytes as f64 * 8.0 / seconds.max(1e-3)
    }

    fn playlist(&self, name: &str) -> String {
        let longest = self.fragments.iter().map(|(seconds, _)| *seconds).fold(0.0, f64::max);
        let fragments = self.fragments.iter().enumerate();
        let fragments = fragments.map(|(index, (seconds, _))| (*seconds, fragment_name(name, index)));
        media_playlist(&header_name(name), longest, fragments, PlaylistKind::Final)
    }
}

/// Writes the zip. Stops with an error when `going_on` answers false.
pub(crate) fn write(
    content: &PlanContent,
    segments: &[SegmentFile],
    audio: Option<&Path>,
    output: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let scratch = output.parent().unwrap_or(output);
    let mut package = Archive::create(output)?;

    let mut index = String::from("#EXTM3U\n#EXT-X-VERSION:7\n#EXT-X-INDEPENDENT-SEGMENTS\n");
    let sound = audio.map(|path| audio_fragments(path, FRAGMENT_SECONDS, scratch)).transpose()?;
    let sound = sound.map(|sound| write_sound(&mut package, sound)).transpose()?;
    if sound.is_some() {
        index.push_str(&format!(
            "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"{SOUND}\",NAME=\"{SOUND}\",DEFAULT=YES,AUTOSELECT=YES,URI=\"{SOUND}.m3u8\"\n"
        ));
    }
    for (number, size) in sizes(content).enumerate() {
        let name = name_of(size);
        let (track, codec) = write_rendition(&mut package, content, segments, number, &name, going_on)?;
        let of_sound = |bits: fn(&Track) -> f64| sound.as_ref().map_or(0.0, |(track, _)| bits(track));
        index.push_str(&format!(
            "#EXT-X-STREAM-INF:BANDWIDTH={:.0},AVERAGE-BANDWIDTH={:.0},RESOLUTION={}x{},FRAME-RATE={:.3}",
            (track.peak() + of_sound(Track::peak)).ceil(),
            (track.average() + of_sound(Track::average)).ceil(),
            size.width,
            size.height,
            content.frame_rate.as_f64()
        ));
        let codecs: Vec<&str> = codec.as_deref().into_iter().chain(sound.as_ref().map(|(_, codec)| *codec)).collect();
        index.push_str(&format!(",CODECS=\"{}\"", codecs.join(",")));
        if sound.is_some() {
            index.push_str(&format!(",AUDIO=\"{SOUND}\""));
        }
        index.push_str(&format!("\n{name}.m3u8\n"));
    }
    package.add(INDEX, index.as_bytes())?;
    package.finish()
}

/// Adds the files of rendition `number`. Returns its fragments, and its codec as players name it.
fn write_rendition(
    package: &mut Archive<'_>,
    content: &PlanContent,
    segments: &[SegmentFile],
    number: usize,
    name: &str,
    going_on: &dyn Fn() -> bool,
) -> Result<(Track, Option<String>), StitchError> {
    let (rate, output) = (content.frame_rate, package.path());
    let least_frames = (rate.as_f64() * FRAGMENT_SECONDS).round().max(1.0) as u64;
    let (mut track, mut codec) = (Track::default(), None);
    let mut first_frame = 0;
    for segment in segments {
        let position = SegmentPosition { first_frame, frames: segment.frames, total_frames: content.frames, rate };
        if first_frame == 0 {
            let header = video_header(&segment.path, number, position, output.parent().unwrap_or(output))?;
            codec = codec_name(&header);
            package.add(&header_name(name), &header)?;
        }
        let first_number = track.fragments.len() as u32;
        video_fragments(&segment.path, number, first_number, position, least_frames, &mut |fragment| {
            if !going_on() {
                return Err(StitchError::from(MediaError::Stopped));
            }
            let VideoFragment { frames, bytes } = fragment;
            package.add(&fragment_name(name, track.fragments.len()), &bytes)?;
            track.fragments.push((rate.seconds_of(frames), bytes.len()));
            Ok(())
        })?;
        first_frame += segment.frames;
    }
    package.add(&format!("{name}.m3u8"), track.playlist(name).as_bytes())?;
    Ok((track, codec))
}

/// Adds the files of the sound. Returns its fragments, and its codec as players name it.
fn write_sound(package: &mut Archive<'_>, sound: AudioFragments) -> Result<(Track, &'static str), StitchError> {
    let mut track = Track::default();
    package.add(&header_name(SOUND), &sound.header)?;
    for (seconds, bytes) in sound.fragments {
        package.add(&fragment_name(SOUND, track.fragments.len()), &bytes)?;
        track.fragments.push((seconds, bytes.len()));
    }
    package.add(&format!("{SOUND}.m3u8"), track.playlist(SOUND).as_bytes())?;
    Ok((track, sound.codec))
}

/// Fails unless each rendition has exactly the frames of `plan`, and the sound its samples, as a player reads them: each
/// playlist's files in its order. Stops with an error when `going_on` answers false.
pub(crate) fn verify(
    plan: &Plan,
    audio: Option<&AudioRecord>,
    output: &Path,
    going_on: &dyn Fn() -> bool,
) -> Result<(), StitchError> {
    let file = File::open(output).map_err(|source| disk_error(output, source))?;
    let mut archive = ZipArchive::new(BufReader::new(file)).map_err(VerifyError::Zip)?;
    let played = output.with_extension("played.mp4");
    for size in sizes(&plan.content) {
        read_as_played(&mut archive, &name_of(size), &played)?;
        verify_count(plan, None, &count_packets_while(&played, going_on)?)?;
    }
    if let Some(audio) = audio {
        read_as_played(&mut archive, SOUND, &played)?;
        let (found, expected) = (count_packets_while(&played, going_on)?.audio_samples, audio.samples);
        if !(expected..expected + AAC_PACKET).contains(&found) {
            return Err(VerifyError::Samples { found, expected }.into());
        }
    }
    std::fs::remove_file(&played).map_err(|source| disk_error(&played, source))
}

/// Writes the files that playlist `name` names to `played`, one after another.
fn read_as_played<R: Read + Seek>(archive: &mut ZipArchive<R>, name: &str, played: &Path) -> Result<(), StitchError> {
    let copy = |archive: &mut ZipArchive<R>, name: &str, to: &mut dyn Write| {
        let unreadable = |reason: String| VerifyError::Entry { name: name.to_owned(), reason };
        let mut entry = archive.by_name(name).map_err(|error| unreadable(error.to_string()))?;
        io::copy(&mut entry, to).map_err(|error| unreadable(error.to_string()))
    };
    let mut playlist = Vec::new();
    copy(archive, &format!("{name}.m3u8"), &mut playlist)?;
    let playlist = String::from_utf8_lossy(&playlist).into_owned();
    let mut to = BufWriter::new(File::create(played).map_err(|source| disk_error(played, source))?);
    copy(archive, &header_name(name), &mut to)?;
    for fragment in playlist.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        copy(archive, fragment, &mut to)?;
    }
    to.flush().map_err(|source| disk_error(played, source))
}
