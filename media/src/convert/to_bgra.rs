//! Decoded frames to full-range BGRA with straight alpha, by swscale for all formats that `yuv420_to_bgra` does not
//! convert.
//!
//! Always on swscale's exact paths (`bitexact`, `accurate_rnd`), which give the same numbers on every processor, with
//! the matrix and range of the stream and full chroma interpolation.
#![allow(unsafe_code)] // ffmpeg-next has no call for swscale's matrix and range, nor for scaling into a plain buffer

use std::ffi::c_int;

use ffmpeg_next as ffmpeg;
use ffmpeg_next::format::Pixel;
use ffmpeg_next::software::scaling::Flags;
use ffmpeg_next::{ffi, frame};
use hyperfarm_proto::spec::Size;

use super::matrix::DefaultMatrix;
use super::rotate::{Rotation, rotate, rotated_pixels};
use super::{hdr, yuv420_to_bgra};
use crate::bitmap::Picture;
use crate::ffi::{PixelFormat, frame_tags};
use crate::hdr::HdrPicture;
use crate::tags;

/// swscale's number of full range.
const FULL: c_int = 1;

/// Parameters of a conversion. The context is created again when a stream changes one of them midway.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Conversion {
    pixel: PixelFormat,
    from: Size,
    to: Size,
    output: Pixel,
    matrix: c_int,
    full_range: bool,
}

/// Converts and scales decoded frames by swscale.
pub(crate) struct Scaler {
    context: *mut ffi::SwsContext,
    conversion: Option<Conversion>,
    default_matrix: DefaultMatrix,
}

// SAFETY: the context belongs to this value alone, and swscale's contexts may move between threads.
unsafe impl Send for Scaler {}

impl Scaler {
    pub(crate) fn new() -> Self {
        Self::with_default_matrix(DefaultMatrix::default())
    }

    /// A conversion of streams whose matrix is `default_matrix` where they are not tagged.
    fn with_default_matrix(default_matrix: DefaultMatrix) -> Self {
        Self { context: std::ptr::null_mut(), conversion: None, default_matrix }
    }

    fn prepare(&mut self, frame: &frame::Video, to: Size, output: Pixel) -> Result<(), ffmpeg::Error> {
        let from = Size { width: frame.width(), height: frame.height() };
        let conversion = Conversion {
            pixel: PixelFormat::of(frame),
            from,
            to,
            output,
            matrix: coefficients(self.default_matrix.matrix_of(frame)),
            full_range: full_range(frame),
        };
        if self.conversion == Some(conversion) {
            return Ok(());
        }
        let pixel = conversion.pixel.value().ok_or(ffmpeg::Error::InvalidData)?;
        self.free();
        let flags =
            Flags::BICUBIC | Flags::ACCURATE_RND | Flags::BITEXACT | Flags::FULL_CHR_H_INT | Flags::FULL_CHR_H_INP;
        // The output is full range: BGRA has no other, and thumbnails are JPEG. SAFETY: sizes are positive (a decoded
        // frame has pixels), formats are the library's own; the coefficient tables are static. The context is freed by
        // `free`.
        unsafe {
            self.context = ffi::sws_getContext(
                from.width as c_int,
                from.height as c_int,
                pixel,
                to.width as c_int,
                to.height as c_int,
                output.into(),
                flags.bits(),
                std::ptr::null_mut(),
                std::ptr::null_mut(),
                std::ptr::null(),
            );
            if self.context.is_null() {
                return Err(ffmpeg::Error::InvalidData);
            }
            // Fails for RGB on both sides, where there is nothing to set.
            ffi::sws_setColorspaceDetails(
                self.context,
                ffi::sws_getCoefficients(conversion.matrix),
                c_int::from(conversion.full_range),
                ffi::sws_getCoefficients(ffi::SWS_CS_ITU601 as c_int),
                FULL,
                0,
                1 << 16,
                1 << 16,
            );
        }
        self.conversion = Some(conversion);
        Ok(())
    }

    /// `frame` as BGRA of `to` pixels.
    pub(crate) fn bgra(&mut self, frame: &frame::Video, to: Size) -> Result<Picture, ffmpeg::Error> {
        let bgra = self.packed(frame, to, Pixel::BGRA, 4)?;
        Ok(Picture { size: to, bgra })
    }

    /// `frame` as full-range RGB of `to` pixels, three native 16-bit numbers each.
    fn rgb48(&mut self, frame: &frame::Video, to: Size) -> Result<Vec<u16>, ffmpeg::Error> {
        let bytes = self.packed(frame, to, Pixel::RGB48LE, 6)?;
        Ok(bytes.as_chunks::<2>().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect())
    }

    /// `frame` in the packed format `output` of `bytes` bytes a pixel, rows without gaps.
    fn packed(
        &mut self,
        frame: &frame::Video,
        to: Size,
        output: Pixel,
        bytes: usize,
    ) -> Result<Vec<u8>, ffmpeg::Error> {
        self.prepare(frame, to, output)?;
        let stride = to.width as usize * bytes;
        let mut packed = vec![0_u8; stride * to.height as usize];
        let planes: [*mut u8; 4] =
            [packed.as_mut_ptr(), std::ptr::null_mut(), std::ptr::null_mut(), std::ptr::null_mut()];
        let strides: [c_int; 4] = [stride as c_int, 0, 0, 0];
        // SAFETY: the context was made for this frame's format and size; the output has `to.height` rows of `stride`
        // bytes.
        let rows = unsafe { self.scale(frame, planes.as_ptr(), strides.as_ptr()) };
        if rows != to.height as c_int {
            return Err(ffmpeg::Error::InvalidData);
        }
        Ok(packed)
    }

    /// `frame` scaled into `output`, whose format and size decide.
    pub(crate) fn fill(&mut self, frame: &frame::Video, output: &mut frame::Video) -> Result<(), ffmpeg::Error> {
        let to = Size { width: output.width(), height: output.height() };
        self.prepare(frame, to, output.format())?;
        // SAFETY: the context was made for both frames' formats and sizes, and both are allocated.
        let rows = unsafe {
            let raw = output.as_mut_ptr();
            self.scale(frame, (*raw).data.as_ptr(), (*raw).linesize.as_ptr())
        };
        if rows == to.height as c_int { Ok(()) } else { Err(ffmpeg::Error::InvalidData) }
    }

    /// # Safety
    /// `planes` and `strides` describe a buffer of the prepared output format and size; `frame` is of the prepared
    /// kind.
    unsafe fn scale(&mut self, frame: &frame::Video, planes: *const *mut u8, strides: *const c_int) -> c_int {
        // SAFETY: as this function asks.
        unsafe {
            let raw = frame.as_ptr();
            ffi::sws_scale(
                self.context,
                (&raw const (*raw).data).cast::<*const u8>(),
                (&raw const (*raw).linesize).cast::<c_int>(),
                0,
                (*raw).height,
                planes,
                strides,
            )
        }
    }

    fn free(&mut self) {
        // SAFETY: the context is ours or null, and is not used again.
        unsafe { ffi::sws_freeContext(self.context) };
        self.context = std::ptr::null_mut();
        self.conversion = None;
    }
}

impl Drop for Scaler {
    fn drop(&mut self) {
        self.free();
    }
}

/// swscale's number of a matrix.
fn coefficients(matrix: i32) -> c_int {
    let number = match matrix {
        tags::MATRIX_BT709 => ffi::SWS_CS_ITU709,
        tags::MATRIX_FCC => ffi::SWS_CS_FCC,
        tags::MATRIX_SMPTE240M => ffi::SWS_CS_SMPTE240M,
        tags::MATRIX_BT2020_NCL | tags::MATRIX_BT2020_CL => ffi::SWS_CS_BT2020,
        _ => ffi::SWS_CS_ITU601,
    };
    number as c_int
}

fn full_range(frame: &frame::Video) -> bool {
    let jpeg = matches!(
        PixelFormat::of(frame),
        PixelFormat::YUVJ420P
            | PixelFormat::YUVJ422P
            | PixelFormat::YUVJ444P
            | PixelFormat::YUVJ440P
            | PixelFormat::YUVJ411P
    );
    jpeg || frame_tags(frame).range == tags::RANGE_FULL
}

/// Converts decoded frames to pictures for display: in square pixels, rotated, and in standard dynamic range.
pub(crate) struct ToBgra {
    scaler: Scaler,
    default_matrix: DefaultMatrix,
    rotation: Rotation,
}

impl ToBgra {
    pub(crate) fn new(rotation: Rotation, default_matrix: DefaultMatrix) -> Self {
        Self { scaler: Scaler::with_default_matrix(default_matrix), default_matrix, rotation }
    }

    /// Size of `frame` in square pixels, before rotation.
    pub(crate) fn size_of(&self, frame: &frame::Video) -> Size {
        let aspect = frame.aspect_ratio();
        let coded = Size { width: frame.width(), height: frame.height() };
        in_square_pixels(coded, (aspect.numerator(), aspect.denominator()))
    }

    pub(crate) fn convert(&mut self, frame: &frame::Video) -> Result<Picture, ffmpeg::Error> {
        let coded = Size { width: frame.width(), height: frame.height() };
        let size = self.size_of(frame);
        if frame_tags(frame).is_hdr() {
            let rgb = self.scaler.rgb48(frame, size)?;
            return Ok(rotate(hdr::tone_map(&rgb, size, frame), self.rotation));
        }
        let square = size == coded;
        let matrix = self.default_matrix.matrix_of(frame);
        let direct = if square { yuv420_to_bgra::convert(frame, matrix, full_range(frame)) } else { None };
        let picture = match direct {
            Some(picture) => picture,
            None => self.scaler.bgra(frame, size)?,
        };
        Ok(rotate(picture, self.rotation))
    }
}

impl ToBgra {
    /// `frame` at its own depth, in square pixels and rotated.
    pub(crate) fn convert_hdr(&mut self, frame: &frame::Video) -> Result<HdrPicture, ffmpeg::Error> {
        let tags = frame_tags(frame);
        let size = self.size_of(frame);
        let mut rgb = self.scaler.rgb48(frame, size)?;
        // swscale's white is 255 in the upper byte and 0 in the lower one.
        rgb.iter_mut().for_each(|level| *level = level.saturating_add(*level >> 8));
        let mut picture = HdrPicture {
            size,
            rgb: rgb.as_chunks::<3>().0.to_vec(),
            transfer: tags.hdr(),
            wide: tags.is_hdr() && tags.primaries != tags::PRIMARIES_BT709,
        };
        if self.rotation != Rotation::None {
            (picture.rgb, picture.size) = rotated_pixels(&picture.rgb, size, self.rotation);
        }
        Ok(picture)
    }
}

/// `size` in square pixels, for pixels with the aspect ratio `aspect` (width, height).
pub(crate) fn in_square_pixels(size: Size, aspect: (i32, i32)) -> Size {
    let (num, den) = (i64::from(aspect.0), i64::from(aspect.1));
    if num <= 0 || den <= 0 || num == den {
        return size;
    }
    // As in browsers, the width changes and the height stays. An absurd ratio is ignored: it would need an absurd
    // allocation.
    let width = (i64::from(size.width) * num + den / 2) / den;
    match u32::try_from(width) {
        Ok(width) if (1..=16_384).contains(&width) => Size { width, ..size },
        _ => size,
    }
}

#[cfg(test)]
mod tests {
    use ffmpeg_next::color;

    use super::*;
    use crate::compare;

    fn smooth(pixel: Pixel) -> frame::Video {
        let mut source = frame::Video::new(pixel, 1920, 1080);
        for plane in 0..source.planes() {
            let stride = source.stride(plane);
            for (at, byte) in source.data_mut(plane).iter_mut().enumerate() {
                let (x, y) = (at % stride, at / stride);
                *byte = (40 + (x / 8 + y / 4 + plane * 30) % 160) as u8;
            }
        }
        source
    }

    #[test]
    fn both_conversions_agree() {
        for (pixel, range) in [(Pixel::YUV420P, color::Range::MPEG), (Pixel::YUVA420P, color::Range::JPEG)] {
            let mut source = smooth(pixel);
            source.set_color_range(range);
            source.set_color_space(color::Space::BT709);
            let exact = Scaler::new().bgra(&source, Size { width: 1920, height: 1080 }).unwrap();
            let direct = yuv420_to_bgra::convert(&source, tags::MATRIX_BT709, full_range(&source)).unwrap();
            assert!(compare::psnr(&exact, &direct) > 42.0, "{pixel:?}: {}", compare::psnr(&exact, &direct));
            assert_eq!(compare::alpha_psnr(&exact, &direct), f64::INFINITY);
        }
    }

    #[test]
    #[ignore = "measures"]
    fn speed() {
        for pixel in [Pixel::YUV420P, Pixel::YUVA420P, Pixel::YUVA444P12LE] {
            let source = smooth(pixel);
            let mut scaler = Scaler::new();
            let mut converter = ToBgra::new(Default::default(), DefaultMatrix::default());
            let begun = std::time::Instant::now();
            for _ in 0..20 {
                scaler.bgra(&source, Size { width: 1920, height: 1080 }).unwrap();
            }
            let swscale = begun.elapsed().as_secs_f64() * 50.0;
            let begun = std::time::Instant::now();
            for _ in 0..20 {
                converter.convert(&source).unwrap();
            }
            println!("to bgra {pixel:?}: {:.2} ms, swscale {swscale:.2}", begun.elapsed().as_secs_f64() * 50.0);
        }
    }
}
