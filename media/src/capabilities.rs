//! Versions of FFmpeg's libraries, and which of the needed encoders they have.

use ffmpeg_next as ffmpeg;

use crate::ffmpeg_log;

/// The encoders that the farm's formats need.
const ENCODERS: [&str; 8] = ["libx264", "libx265", "libvpx-vp9", "libvpx", "prores_ks", "png", "aac", "libopus"];

/// Versions of FFmpeg's libraries in one line; part of the capture class, because their bytes depend on them.
pub fn versions() -> String {
    let libraries = [
        ("libavcodec", ffmpeg::codec::version()),
        ("libavformat", ffmpeg::format::version()),
        ("libavutil", ffmpeg::util::version()),
        ("libswscale", ffmpeg::software::scaling::version()),
        ("libswresample", ffmpeg::software::resampling::version()),
        ("libavfilter", ffmpeg::filter::version()),
    ];
    let texts: Vec<String> = libraries
        .iter()
        .map(|(name, version)| format!("{name} {}.{}.{}", version >> 16, (version >> 8) & 0xff, version & 0xff))
        .collect();
    texts.join(", ")
}

/// Every encoder that the farm's formats need, and whether this machine has it.
pub fn encoders() -> Vec<(&'static str, bool)> {
    ffmpeg_log::init();
    ENCODERS.iter().map(|name| (*name, ffmpeg::encoder::find_by_name(name).is_some())).collect()
}
