//! Video encoders: the settings of a plan, and those that are the same in all plans.

use std::path::Path;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::encoder::video;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::{Dictionary, Rational, color};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::hdr::HdrTransfer;
use hyperfarm_proto::plan::{EncoderSettings, Rate, VideoCodec};
use hyperfarm_proto::spec::{Profile, Size};

use crate::convert::YuvFormat;
use crate::error::{MediaError, Reason};
use crate::ffmpeg_log;
use crate::upload::Upload;

/// Presets of x264 and x265. For an unknown name they write to standard error, so names are checked here.
const PRESETS: [&str; 10] =
    ["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow", "placebo"];

/// Pixel format that the encoder of `settings` reads.
pub(crate) fn yuv_format(settings: &EncoderSettings) -> YuvFormat {
    match settings.codec {
        VideoCodec::H265 { bit_depth: 10, .. } | VideoCodec::Av1 { bit_depth: 10, .. } => YuvFormat::Yuv420Ten,
        VideoCodec::H264 { .. } | VideoCodec::H265 { .. } | VideoCodec::Av1 { .. } | VideoCodec::Device { .. } => {
            YuvFormat::Yuv420
        }
        VideoCodec::Vp9 { .. } | VideoCodec::Vp8 { .. } if settings.alpha => YuvFormat::Yuva420,
        VideoCodec::Vp9 { .. } | VideoCodec::Vp8 { .. } => YuvFormat::Yuv420,
        VideoCodec::ProRes { profile, .. } if profile.has_alpha() => YuvFormat::Yuva444Ten,
        VideoCodec::DnxHr { profile: Profile::DnxHrHq } => YuvFormat::Yuv422,
        VideoCodec::ProRes { .. } | VideoCodec::DnxHr { .. } => YuvFormat::Yuv422Ten,
        VideoCodec::Png { .. } => YuvFormat::Rgba,
    }
}

/// Whether the container has to declare an alpha plane that the codec's headers do not.
pub(crate) fn declares_alpha(settings: &EncoderSettings) -> bool {
    settings.alpha && matches!(settings.codec, VideoCodec::Vp9 { .. } | VideoCodec::Vp8 { .. })
}

/// FFmpeg's name of the encoder of `codec`.
pub(crate) fn encoder_name(codec: &VideoCodec) -> &'static str {
    match codec {
        VideoCodec::H264 { .. } => "libx264",
        VideoCodec::H265 { .. } => "libx265",
        VideoCodec::Vp9 { .. } => "libvpx-vp9",
        VideoCodec::Vp8 { .. } => "libvpx",
        VideoCodec::Av1 { .. } => "libaom-av1",
        VideoCodec::ProRes { .. } => "prores_ks",
        VideoCodec::DnxHr { .. } => "dnxhd",
        VideoCodec::Png { .. } => "png",
        VideoCodec::Device { encoder, .. } => encoder.name(),
    }
}

/// Colour tags of encoded frames, equal for every frame.
pub(crate) struct Colour {
    pub(crate) space: color::Space,
    pub(crate) primaries: color::Primaries,
    pub(crate) transfer: color::TransferCharacteristic,
    pub(crate) range: color::Range,
}

impl Colour {
    pub(crate) fn of(settings: &EncoderSettings) -> Self {
        use color::{Primaries, Range, Space, TransferCharacteristic};
        let primaries = Primaries::BT709;
        if let Some(hdr) = settings.hdr {
            let transfer = match hdr {
                HdrTransfer::Pq => TransferCharacteristic::SMPTE2084,
                HdrTransfer::Hlg => TransferCharacteristic::ARIB_STD_B67,
            };
            return Self { space: Space::BT2020NCL, primaries: Primaries::BT2020, transfer, range: Range::MPEG };
        }
        match settings.codec {
            // With these a PNG file says that it is sRGB.
            VideoCodec::Png { .. } => Self {
                space: Space::RGB,
                primaries,
                transfer: TransferCharacteristic::IEC61966_2_1,
                range: Range::JPEG,
            },
            _ => Self { space: Space::BT709, primaries, transfer: TransferCharacteristic::BT709, range: Range::MPEG },
        }
    }
}

/// Opens an encoder whose time base is one frame. With `upload` it reads frames from the device's memory.
pub(crate) fn open(
    path: &Path,
    settings: &EncoderSettings,
    size: Size,
    rate: FrameRate,
    upload: Option<&Upload>,
) -> Result<video::Encoder, MediaError> {
    ffmpeg_log::init();
    let name = encoder_name(&settings.codec);
    let codec =
        ffmpeg::encoder::find_by_name(name).ok_or_else(|| MediaError::Missing { name: format!("encoder {name}") })?;
    if let VideoCodec::H264 { preset, .. } | VideoCodec::H265 { preset, .. } = &settings.codec
        && !PRESETS.contains(&preset.as_str())
    {
        return Err(MediaError::Missing { name: format!("{name} preset {preset}") });
    }
    let failed = open_error(path, &settings.codec);
    let mut context = ffmpeg::codec::Context::new_with_codec(codec);
    context.set_threading(ffmpeg::threading::Config {
        count: settings.threads.max(1) as usize,
        ..ffmpeg::threading::Config::default()
    });
    // Headers are in the container, once, and equal in every segment. Groups are closed, so that nothing refers across
    // a seam.
    context.set_flags(
        ffmpeg::codec::Flags::GLOBAL_HEADER
            | ffmpeg::codec::Flags::CLOSED_GOP
            | ffmpeg::codec::Flags::BITEXACT
            // A default that assigning the flags would clear.
            | ffmpeg::codec::Flags::LOOP_FILTER,
    );
    let mut encoder = context.encoder().video().map_err(&failed)?;
    encoder.set_width(size.width);
    encoder.set_height(size.height);
    encoder.set_format(if upload.is_some() { Pixel::VAAPI } else { yuv_format(settings).pixel() });
    encoder.set_aspect_ratio(Rational::new(1, 1));
    encoder.set_time_base(Rational::new(rate.den() as i32, rate.num() as i32));
    encoder.set_frame_rate(Some(Rational::new(rate.num() as i32, rate.den() as i32)));
    encoder.set_gop(settings.keyframe_interval.max(1));
    let colour = Colour::of(settings);
    encoder.set_colorspace(colour.space);
    encoder.set_color_primaries(colour.primaries);
    encoder.set_color_transfer_characteristic(colour.transfer);
    encoder.set_color_range(colour.range);
    if matches!(settings.codec, VideoCodec::Device { .. }) {
        encoder.set_max_b_frames(0);
    }
    ffmpeg_log::clear();
    if let Some(upload) = upload {
        upload.attach_to(&mut encoder).map_err(&failed)?;
    }
    encoder.open_with(options(settings)).map_err(&failed)
}

/// For `map_err`: the encoder of `codec` does not open. An encoder of a device is named, for the machine may lack the
/// device.
fn open_error(path: &Path, codec: &VideoCodec) -> impl Fn(ffmpeg::Error) -> MediaError {
    let device = match codec {
        VideoCodec::Device { encoder, .. } => Some(encoder.name()),
        _ => None,
    };
    let other = MediaError::make(path, "opening the encoder");
    move |error| match device {
        Some(encoder) => MediaError::Device { encoder, reason: Reason::of(error) },
        None => other(error),
    }
}

/// The upload into a device's memory, for encoders that do not read frames from the processor's memory.
pub(crate) fn upload(path: &Path, codec: &VideoCodec, size: Size) -> Result<Option<Upload>, MediaError> {
    match codec {
        VideoCodec::Device { encoder, .. } if encoder.is_vaapi() => {
            ffmpeg_log::init();
            ffmpeg_log::clear();
            Upload::open(size).map(Some).map_err(open_error(path, codec))
        }
        _ => Ok(None),
    }
}

fn options(settings: &EncoderSettings) -> Dictionary<'static> {
    let mut options = Dictionary::new();
    match &settings.codec {
        VideoCodec::H264 { preset, rate, options: own } => {
            options.set("preset", preset);
            set_rate(&mut options, *rate);
            // Without `cpu-independent` x264 chooses by processor features; a lookahead thread of its own length or
            // slices by thread would tie the bytes to the machine as well.
            let fixed = "cpu-independent=1:sliced-threads=0:sync-lookahead=0:lookahead-threads=1:open-gop=0";
            options.set("x264-params", &merged(own, fixed));
        }
        VideoCodec::H265 { preset, rate, options: own, .. } => {
            options.set("preset", preset);
            set_rate(&mut options, *rate);
            // x265 gives the same bytes with every instruction set, but not with every number of threads, and its
            // wavefronts depend on there being a pool; `info` would write the processor's features into each segment's
            // headers.
            let fixed = "pools=none:frame-threads=1:wpp=0:pmode=0:pme=0:open-gop=0:info=0:repeat-headers=0:hrd=0:log-level=none";
            options.set("x265-params", &merged(own, fixed));
        }
        VideoCodec::Vp9 { rate, cpu_used } => {
            set_rate(&mut options, *rate);
            if matches!(rate, Rate::Crf(_)) {
                // Constant quality: no bit rate at all.
                options.set("b", "0");
            }
            // Speeds above 5 exist in libvpx's real-time mode only; its good mode would silently take 5.
            options.set("deadline", if *cpu_used > 5 { "realtime" } else { "good" });
            options.set("cpu-used", &cpu_used.to_string());
            options.set("row-mt", "0");
            options.set("tile-columns", "0");
            options.set("tile-rows", "0");
            options.set("frame-parallel", "0");
            without_hidden_frames(&mut options);
        }
        VideoCodec::Vp8 { rate, cpu_used } => {
            match rate {
                // VP8 keeps to a quality only below a bit rate; this one is never reached.
                Rate::Crf(crf) => {
                    options.set("crf", &crf.clamp(&4, &63).to_string());
                    options.set("b", VP8_CEILING);
                }
                Rate::Bits(_) => set_rate(&mut options, *rate),
            }
            options.set("deadline", "good");
            options.set("cpu-used", &cpu_used.to_string());
            without_hidden_frames(&mut options);
        }
        VideoCodec::Av1 { rate, cpu_used, .. } => {
            set_rate(&mut options, *rate);
            // Speeds above 6 exist in libaom's real-time mode only, which looks at no later frame.
            if *cpu_used > 6 {
                options.set("usage", "realtime");
                options.set("lag-in-frames", "0");
            }
            options.set("cpu-used", &cpu_used.to_string());
            options.set("row-mt", "0");
            options.set("tiles", "1x1");
        }
        VideoCodec::ProRes { profile, bits_per_mb } => {
            options.set("profile", profile_name(*profile));
            if profile.has_alpha() {
                options.set("alpha_bits", "16");
            }
            options.set("vendor", "apl0");
            options.set("bits_per_mb", &bits_per_mb.to_string());
        }
        VideoCodec::DnxHr { profile } => options.set("profile", profile_name(*profile)),
        VideoCodec::Png { level } => {
            options.set("compression_level", &level.clamp(&1, &9).to_string());
            options.set("pred", if *level > 6 { "mixed" } else { "up" });
        }
        VideoCodec::Device { encoder, rate, .. } if encoder.is_vaapi() => match rate {
            // A constant quantiser is the one mode that every driver has; drivers have no common scale of effort.
            Rate::Crf(crf) => {
                options.set("rc_mode", "CQP");
                options.set("qp", &crf.clamp(&1, &51).to_string());
            }
            Rate::Bits(bits) => {
                options.set("rc_mode", "VBR");
                options.set("b", &bits.to_string());
            }
        },
        VideoCodec::Device { effort, rate, .. } => {
            options.set("preset", &format!("p{}", effort.clamp(&1, &7)));
            options.set("tune", "hq");
            options.set("rc", "vbr");
            match rate {
                Rate::Crf(crf) => {
                    options.set("cq", &crf.clamp(&1, &51).to_string());
                    options.set("b", "0");
                }
                Rate::Bits(bits) => options.set("b", &bits.to_string()),
            }
            // A segment starts with an IDR frame, and no frame waits for a later one.
            options.set("forced-idr", "1");
            options.set("rc-lookahead", "0");
            options.set("b_ref_mode", "disabled");
            options.set("strict_gop", "1");
        }
    }
    options
}

/// FFmpeg's name of `profile`.
fn profile_name(profile: Profile) -> &'static str {
    match profile {
        Profile::ProRes422Lt => "lt",
        Profile::ProRes422 => "standard",
        Profile::ProRes422Hq => "hq",
        Profile::ProRes4444 => "4444",
        Profile::ProRes4444Xq => "4444xq",
        Profile::DnxHrHq => "dnxhr_hq",
        Profile::DnxHrHqx => "dnxhr_hqx",
    }
}

/// Two lists of options in one. An option in both has the value of the second.
fn merged(own: &str, fixed: &str) -> String {
    if own.is_empty() { fixed.to_owned() } else { format!("{own}:{fixed}") }
}

/// Bit rate in bits a second that no frame needs.
const VP8_CEILING: &str = "800000000";

/// Sets the constant quality or the bit rate of `rate`.
fn set_rate(options: &mut Dictionary<'_>, rate: Rate) {
    match rate {
        Rate::Crf(crf) => options.set("crf", &crf.to_string()),
        Rate::Bits(bits) => options.set("b", &bits.to_string()),
    }
}

/// No hidden frames: libvpx refuses alternate references beside an alpha plane, and a hidden frame at a seam would be
/// lost.
fn without_hidden_frames(options: &mut Dictionary<'_>) {
    options.set("auto-alt-ref", "0");
    options.set("lag-in-frames", "0");
}
