//! FFmpeg's ids of pixel formats, sample formats and codecs, as plain numbers.
//!
//! **Invariant: an id that FFmpeg reports becomes a Rust enum only after a range check.** The enums are generated from
//! the headers of the build. The libraries of the machine may be newer and report ids that the enums lack, and a Rust
//! enum with such a value is undefined behaviour. ffmpeg-next's own `format()`, `id()` and `kind()` do not check.

use std::ffi::{CStr, c_char, c_int};
use std::sync::LazyLock;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::codec::Parameters;
use ffmpeg_next::packet::SideData;
use ffmpeg_next::{ffi, frame};

/// One of FFmpeg's enums as its number, whatever number it is.
///
/// # Safety
/// `field` points into a live structure.
pub(super) unsafe fn number<T>(field: *const T) -> i32 {
    const { assert!(size_of::<T>() == size_of::<i32>()) };
    // SAFETY: FFmpeg's enums are four bytes, and any four bytes are an `i32`; no `T` is created.
    unsafe { field.cast::<i32>().read() }
}

/// A static text of FFmpeg's; `None` where it has none.
///
/// # Safety
/// `text` is null or a zero-terminated text that lives as long as the process.
unsafe fn static_text(text: *const c_char) -> Option<&'static str> {
    // SAFETY: as this function requires.
    if text.is_null() { None } else { unsafe { CStr::from_ptr(text) }.to_str().ok() }
}

/// Layout of a picture's pixels: libavutil's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PixelFormat(i32);

impl PixelFormat {
    pub(crate) const YUV420P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUV420P as i32);
    pub(crate) const YUVA420P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVA420P as i32);
    pub(crate) const YUVJ411P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ411P as i32);
    pub(crate) const YUVJ420P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ420P as i32);
    pub(crate) const YUVJ422P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ422P as i32);
    pub(crate) const YUVJ440P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ440P as i32);
    pub(crate) const YUVJ444P: Self = Self(ffi::AVPixelFormat::AV_PIX_FMT_YUVJ444P as i32);

    /// The format with libavutil's number `number`.
    pub(super) fn of_number(number: c_int) -> Self {
        Self(number)
    }

    /// The format of a frame.
    pub(crate) fn of(frame: &frame::Video) -> Self {
        // SAFETY: a number of a live frame is read.
        Self(unsafe { (*frame.as_ptr()).format })
    }

    /// The enum's value; `None` where the headers of the build have no such number.
    pub(crate) fn value(self) -> Option<ffi::AVPixelFormat> {
        let range = ffi::AVPixelFormat::AV_PIX_FMT_NONE as i32..ffi::AVPixelFormat::AV_PIX_FMT_NB as i32;
        // SAFETY: the values of the enum follow each other without gaps from NONE to NB.
        range.contains(&self.0).then(|| unsafe { std::mem::transmute::<c_int, ffi::AVPixelFormat>(self.0) })
    }

    fn descriptor(self) -> Option<&'static ffi::AVPixFmtDescriptor> {
        // SAFETY: the library answers null for formats without a description, and descriptions are static.
        unsafe { ffi::av_pix_fmt_desc_get(self.value()?).as_ref() }
    }

    /// FFmpeg's name, for example `yuv420p`.
    pub(crate) fn name(self) -> Option<&'static str> {
        // SAFETY: names of descriptions are static texts.
        self.descriptor().and_then(|descriptor| unsafe { static_text(descriptor.name) })
    }

    /// Whether pictures of this format have an alpha plane or an alpha in their palette.
    pub(crate) fn has_alpha(self) -> bool {
        self.descriptor().is_some_and(|descriptor| descriptor.flags & ffi::AV_PIX_FMT_FLAG_ALPHA as u64 != 0)
    }

    /// libavutil's number, for messages.
    pub(crate) fn number(self) -> i32 {
        self.0
    }
}

/// Type and layout of sound samples: libavutil's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SampleFormat(i32);

impl SampleFormat {
    /// 32-bit floats, channels by turns.
    pub(crate) const PACKED_FLOATS: Self = Self(ffi::AVSampleFormat::AV_SAMPLE_FMT_FLT as i32);
    /// 32-bit floats, a plane for each channel.
    pub(crate) const PLANAR_FLOATS: Self = Self(ffi::AVSampleFormat::AV_SAMPLE_FMT_FLTP as i32);

    /// The format of a frame.
    pub(crate) fn of(frame: &frame::Audio) -> Self {
        // SAFETY: a number of a live frame is read.
        Self(unsafe { (*frame.as_ptr()).format })
    }

    fn value(self) -> Option<ffi::AVSampleFormat> {
        let range = ffi::AVSampleFormat::AV_SAMPLE_FMT_NONE as i32..ffi::AVSampleFormat::AV_SAMPLE_FMT_NB as i32;
        // SAFETY: the values of the enum follow each other without gaps from NONE to NB.
        range.contains(&self.0).then(|| unsafe { std::mem::transmute::<c_int, ffi::AVSampleFormat>(self.0) })
    }

    /// FFmpeg's name, for example `fltp`; `None` where the headers of the build have no such format.
    pub(crate) fn name(self) -> Option<&'static str> {
        // SAFETY: names of sample formats are static texts.
        self.value().and_then(|value| unsafe { static_text(ffi::av_get_sample_fmt_name(value)) })
    }

    /// libavutil's number, for messages.
    pub(crate) fn number(self) -> i32 {
        self.0
    }
}

/// A codec: libavcodec's number for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct CodecId(i32);

impl CodecId {
    pub(crate) const APNG: Self = Self(ffi::AVCodecID::AV_CODEC_ID_APNG as i32);
    pub(crate) const AV1: Self = Self(ffi::AVCodecID::AV_CODEC_ID_AV1 as i32);
    pub(crate) const GIF: Self = Self(ffi::AVCodecID::AV_CODEC_ID_GIF as i32);
    pub(crate) const HEVC: Self = Self(ffi::AVCodecID::AV_CODEC_ID_HEVC as i32);
    pub(crate) const OPUS: Self = Self(ffi::AVCodecID::AV_CODEC_ID_OPUS as i32);
    pub(crate) const VP8: Self = Self(ffi::AVCodecID::AV_CODEC_ID_VP8 as i32);
    pub(crate) const VP9: Self = Self(ffi::AVCodecID::AV_CODEC_ID_VP9 as i32);

    /// The codec of a stream.
    pub(crate) fn of(parameters: &Parameters) -> Self {
        // SAFETY: the wrapper keeps the structure alive.
        Self(unsafe { number(&raw const (*parameters.as_ptr()).codec_id) })
    }

    /// FFmpeg's name, for example `h264`; `unknown` where the libraries have none.
    pub(crate) fn name(self) -> &'static str {
        let mut descriptor = std::ptr::null();
        // The call that looks a number up takes the enum. Descriptors can be listed without one.
        loop {
            // SAFETY: the list begins after null and each answer continues it; descriptors and their names are static.
            unsafe {
                descriptor = ffi::avcodec_descriptor_next(descriptor);
                if descriptor.is_null() {
                    return "unknown";
                }
                if number(&raw const (*descriptor).id) == self.0 {
                    return static_text((*descriptor).name).unwrap_or("unknown");
                }
            }
        }
    }

    /// The decoder that FFmpeg prefers: the first one listed that is not experimental. Codecs that players do not play
    /// have none: their decoders are the least tried.
    pub(crate) fn decoder(self) -> Option<ffmpeg::Codec> {
        if !is_common(self.name()) {
            return None;
        }
        let mut position = std::ptr::null_mut();
        loop {
            // SAFETY: the list begins at null and the library advances the position; codecs are static.
            unsafe {
                let codec = ffi::av_codec_iterate(&raw mut position);
                if codec.is_null() {
                    return None;
                }
                if ffi::av_codec_is_decoder(codec) == 0 || number(&raw const (*codec).id) != self.0 {
                    continue;
                }
                if (*codec).capabilities & ffi::AV_CODEC_CAP_EXPERIMENTAL as c_int == 0 {
                    return Some(ffmpeg::Codec::wrap(codec));
                }
            }
        }
    }
}

/// Codecs of pictures that sources may have.
const PICTURE_CODECS: [&str; 28] = [
    "apng",
    "av1",
    "dnxhd",
    "dvvideo",
    "ffv1",
    "flv1",
    "gif",
    "h263",
    "h264",
    "hevc",
    "huffyuv",
    "mjpeg",
    "mpeg1video",
    "mpeg2video",
    "mpeg4",
    "msmpeg4v2",
    "msmpeg4v3",
    "png",
    "prores",
    "qtrle",
    "rawvideo",
    "theora",
    "utvideo",
    "vc1",
    "vp8",
    "vp9",
    "wmv2",
    "wmv3",
];

/// Codecs of sound that sources may have, beside those of plain samples.
const SOUND_CODECS: [&str; 16] = [
    "aac",
    "ac3",
    "adpcm_ima_qt",
    "adpcm_ima_wav",
    "adpcm_ms",
    "alac",
    "amr_nb",
    "amr_wb",
    "eac3",
    "flac",
    "mp2",
    "mp3",
    "opus",
    "vorbis",
    "wmav1",
    "wmav2",
];

/// Whether sources may have the codec of this name.
fn is_common(codec: &str) -> bool {
    PICTURE_CODECS.contains(&codec) || SOUND_CODECS.contains(&codec) || codec.starts_with("pcm_")
}

/// FFmpeg's names of the decoders of the codecs that sources may have, with commas between them. FFmpeg itself opens
/// no other one when it reads headers.
pub(crate) fn known_decoders() -> &'static str {
    static NAMES: LazyLock<String> = LazyLock::new(|| {
        let mut names = Vec::new();
        let mut position = std::ptr::null_mut();
        loop {
            // SAFETY: the list begins at null and the library advances the position; codecs and names are static.
            unsafe {
                let codec = ffi::av_codec_iterate(&raw mut position);
                if codec.is_null() {
                    return names.join(",");
                }
                if ffi::av_codec_is_decoder(codec) != 0 && is_common(CodecId(number(&raw const (*codec).id)).name()) {
                    names.extend(static_text((*codec).name));
                }
            }
        }
    });
    &NAMES
}

/// Whether the side data of a packet or a stream is of `kind`.
pub(crate) fn is_side_data(data: &SideData<'_>, kind: ffi::AVPacketSideDataType) -> bool {
    // SAFETY: the wrapper keeps the structure alive.
    unsafe { number(&raw const (*data.as_ptr()).type_) == kind as i32 }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::format::Pixel;

    use super::*;

    const ABSURD: c_int = 1_000_000;

    #[test]
    fn formats_of_the_build_have_names_and_absurd_ones_have_none() {
        assert_eq!((PixelFormat::YUVA420P.name(), PixelFormat::YUVA420P.has_alpha()), (Some("yuva420p"), true));
        assert_eq!(SampleFormat::PLANAR_FLOATS.name(), Some("fltp"));
        for absurd in [ABSURD, ffi::AVPixelFormat::AV_PIX_FMT_NB as c_int, -2, c_int::MAX, c_int::MIN] {
            let (pixel, sample) = (PixelFormat(absurd), SampleFormat(absurd));
            assert_eq!((pixel.value(), pixel.name(), pixel.has_alpha()), (None, None, false), "{absurd}");
            assert_eq!(sample.name(), None, "{absurd}");
        }
    }

    #[test]
    fn frames_with_an_absurd_format_can_be_asked_for_it() {
        let mut picture = frame::Video::new(Pixel::YUV420P, 2, 2);
        assert_eq!(PixelFormat::of(&picture), PixelFormat::YUV420P);
        let mut sound = frame::Audio::empty();
        // SAFETY: both frames are ours, and their formats are plain numbers.
        unsafe {
            (*picture.as_mut_ptr()).format = ABSURD;
            (*sound.as_mut_ptr()).format = ABSURD;
        }
        assert_eq!((PixelFormat::of(&picture).value(), PixelFormat::of(&picture).number()), (None, ABSURD));
        assert_eq!((SampleFormat::of(&sound).name(), SampleFormat::of(&sound).number()), (None, ABSURD));
    }

    #[test]
    fn every_codec_of_the_machine_has_the_decoder_that_ffmpeg_finds() {
        for (id, known) in [
            (CodecId::VP9, ffmpeg::codec::Id::VP9),
            (CodecId::AV1, ffmpeg::codec::Id::AV1),
            (CodecId::OPUS, ffmpeg::codec::Id::OPUS),
            (CodecId::GIF, ffmpeg::codec::Id::GIF),
            (CodecId::HEVC, ffmpeg::codec::Id::HEVC),
        ] {
            let name = |codec: Option<ffmpeg::Codec>| codec.map(|codec| codec.name().to_owned());
            assert_eq!(id.name(), known.name());
            assert_eq!(name(id.decoder()), name(ffmpeg::decoder::find(known)), "{}", id.name());
        }
    }

    #[test]
    fn a_stream_with_an_absurd_codec_is_unknown_and_has_no_decoder() {
        let mut parameters = Parameters::new();
        // SAFETY: the structure is ours; the number is written without creating an enum.
        unsafe { (&raw mut (*parameters.as_mut_ptr()).codec_id).cast::<c_int>().write(ABSURD) };
        let id = CodecId::of(&parameters);
        assert_eq!((id.name(), id.decoder().is_none()), ("unknown", true));
    }
}
