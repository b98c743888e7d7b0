//! Video encoders: every setting that their bytes depend on.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::encoder::video;
use ffmpeg_next::{Dictionary, Rational, color};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::plan::{EncoderSettings, VideoCodec};
use hyperfarm_proto::spec::Size;

use crate::convert::YuvFormat;
use crate::error::MediaError;
use crate::ffmpeg_log;

/// x264's presets. It answers another name on standard error, so it is not asked.
const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// The planes that the encoder of `codec` takes.
pub(crate) fn yuv_format(codec: &VideoCodec) -> YuvFormat {
    match codec {
        VideoCodec::H264 { .. } => YuvFormat::Yuv420,
        VideoCodec::Vp9 { .. } => YuvFormat::Yuva420,
        VideoCodec::ProRes4444 { .. } => YuvFormat::Yuva444Ten,
    }
}

/// FFmpeg's name of the encoder of `codec`.
pub(crate) fn encoder_name(codec: &VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 { .. } => "libx264",
        VideoCodec::Vp9 { .. } => "libvpx-vp9",
        VideoCodec::ProRes4444 { .. } => "prores_ks",
    }
}

/// An open encoder whose time base is one frame.
pub(crate) fn open(
    path: &Path,
    settings: &EncoderSettings,
    size: Size,
    rate: FrameRate,
) -> Result<video::Encoder, MediaError> {
    ffmpeg_log::init();
    let name = encoder_name(&settings.codec);
    let codec =
        ffmpeg::encoder::find_by_name(name).ok_or_else(|| MediaError::Missing { name: format!("encoder {name}") })?;
    if let VideoCodec::H264 { preset, .. } = &settings.codec
        && !PRESETS.contains(&preset.as_str())
    {
        return Err(MediaError::Missing { name: format!("x264 preset {preset}") });
    }
    let failed = MediaError::make(path, "opening the encoder");
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    context.set_threading(ffmpeg::threading::Config {
        count: settings.threads.max(1) as usize,
        ..ffmpeg::threading::Config::default()
    });
    // Headers in the container, once, and equal in every segment; closed groups, so that nothing crosses a seam.
    context.set_flags(
        ffmpeg::codec::Flags::GLOBAL_HEADER
            | ffmpeg::codec::Flags::CLOSED_GOP
            | ffmpeg::codec::Flags::BITEXACT
            // The default that assigning the flags would take away.
            | ffmpeg::codec::Flags::LOOP_FILTER,
    );
    let mut encoder = context.encoder().video().map_err(&failed)?;
    encoder.set_width(size.width);
    encoder.set_height(size.height);
    encoder.set_format(yuv_format(&settings.codec).pixel());
    encoder.set_aspect_ratio(Rational::new(1, 1));
    encoder.set_time_base(Rational::new(rate.den() as i32, rate.num() as i32));
    encoder.set_frame_rate(Some(Rational::new(rate.num() as i32, rate.den() as i32)));
    encoder.set_gop(settings.keyframe_interval.max(1));
    encoder.set_colorspace(color::Space::BT709);
    encoder.set_color_primaries(color::Primaries::BT709);
    encoder.set_color_transfer_characteristic(color::TransferCharacteristic::BT709);
    encoder.set_color_range(color::Range::MPEG);
    ffmpeg_log::forget();
    encoder.open_with(options(settings)).map_err(&failed)
}

fn options(settings: &EncoderSettings) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    match &settings.codec {
        VideoCodec::H264 { preset, crf } => {
            options.set("preset", preset);
            options.set("crf", &crf.to_string());
            // Without `cpu-independent` x264 chooses by processor features; a lookahead thread of its own length or slices
            // by thread would tie the bytes to the machine as well.
            options.set(
                "x264-params",
                "cpu-independent=1:sliced-threads=0:sync-lookahead=0:lookahead-threads=1:open-gop=0",
            );
        }
        VideoCodec::Vp9 { crf, cpu_used } => {
            options.set("crf", &crf.to_string());
            // Constant quality: no bit rate at all.
            options.set("b", "0");
            // Speeds above 5 exist in libvpx's real-time mode only; its good mode would silently take 5.
            options.set("deadline", if *cpu_used > 5 { "realtime" } else { "good" });
            options.set("cpu-used", &cpu_used.to_string());
            options.set("row-mt", "0");
            // libvpx refuses alternate references beside an alpha plane, and hidden frames have no place at a seam.
            options.set("auto-alt-ref", "0");
            options.set("lag-in-frames", "0");
            options.set("tile-columns", "0");
            options.set("tile-rows", "0");
            options.set("frame-parallel", "0");
        }
        VideoCodec::ProRes4444 { bits_per_mb } => {
            options.set("profile", "4444");
            options.set("alpha_bits", "16");
            options.set("vendor", "apl0");
            options.set("bits_per_mb", &bits_per_mb.to_string());
        }
    }
    options
}
