//! sRGB bitmaps to BT.709 limited-range planes, written directly into the encoder's frame.
//!
//! **Invariant: the result is the same on every machine.** All arithmetic is on integers, so the numbers agree however
//! the compiler vectorises it; swscale's paths differ by processor unless its slow ones are chosen.
//!
//! The arithmetic has 16 bits, eight of them a fraction, which SSE2's `pmulhuw` multiplies in one instruction.
//! Truncation is below 3/256 of a level, so all but one value in a hundred are rounded as real numbers would be.
//!
//! The code is compiled twice: for every processor, and for those with AVX2, on which a 1080p frame takes less than a
//! millisecond.
#![allow(unsafe_code)] // the one call into what was compiled for AVX2

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::spec::Size;

use crate::bitmap::{Bitmap, PixelLayout};
use crate::ffi;

/// Pixel format that an encoder reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum YuvFormat {
    /// 8 bits, chroma of 2 by 2 pixels.
    Yuv420,
    /// 8 bits, chroma of 2 by 2 pixels, alpha.
    Yuva420,
    /// 10 bits, chroma of 2 by 2 pixels.
    Yuv420Ten,
    /// 8 bits, chroma of 2 pixels beside one another.
    Yuv422,
    /// 10 bits, chroma of 2 pixels beside one another.
    Yuv422Ten,
    /// 10 bits, chroma of every pixel, alpha.
    Yuva444Ten,
    /// No conversion: full-range red, green, blue and alpha in one plane.
    Rgba,
}

impl YuvFormat {
    pub(crate) fn pixel(self) -> Pixel {
        match self {
            Self::Yuv420 => Pixel::YUV420P,
            Self::Yuva420 => Pixel::YUVA420P,
            Self::Yuv420Ten => Pixel::YUV420P10LE,
            Self::Yuv422 => Pixel::YUV422P,
            Self::Yuv422Ten => Pixel::YUV422P10LE,
            Self::Yuva444Ten => Pixel::YUVA444P10LE,
            Self::Rgba => Pixel::RGBA,
        }
    }
}

/// Converts bitmaps of one size.
pub(crate) struct YuvWriter {
    format: YuvFormat,
    size: Size,
    /// Two rows as BGRA, for bitmaps of another layout.
    rows: [Vec<[u8; 4]>; 2],
}

impl YuvWriter {
    pub(crate) fn new(format: YuvFormat, size: Size) -> Self {
        Self { format, size, rows: [Vec::new(), Vec::new()] }
    }

    /// Writes `bitmap` (checked to be of the writer's size) into the planes of `frame` (allocated in its format).
    pub(crate) fn write(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        #[cfg(target_arch = "x86_64")]
        if std::arch::is_x86_feature_detected!("avx2") {
            // SAFETY: the processor has AVX2.
            return unsafe { self.write_avx2(bitmap, frame) };
        }
        self.write_anywhere(bitmap, frame);
    }

    /// The same code compiled for AVX2, which takes a third of the time.
    #[cfg(target_arch = "x86_64")]
    #[target_feature(enable = "avx2")]
    fn write_avx2(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        self.write_anywhere(bitmap, frame);
    }

    // Inlined always, like everything below, so that it is compiled with AVX2 in `write_avx2`.
    #[inline(always)]
    fn write_anywhere(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        match self.format {
            YuvFormat::Yuv420 => self.write_420(bitmap, frame, false),
            YuvFormat::Yuva420 => self.write_420(bitmap, frame, true),
            YuvFormat::Yuv420Ten => self.write_420_ten(bitmap, frame),
            YuvFormat::Yuv422 => self.write_422(bitmap, frame),
            YuvFormat::Yuv422Ten => self.write_422_ten(bitmap, frame),
            YuvFormat::Yuva444Ten => self.write_444(bitmap, frame),
            YuvFormat::Rgba => self.write_rgba(bitmap, frame),
        }
    }

    #[inline(always)]
    fn write_rgba(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let (width, stride) = (self.size.width as usize, frame.stride(0));
        for y in 0..self.size.height as usize {
            let row = bgra(bitmap, y, &mut self.rows[0]);
            let out = &mut frame.data_mut(0)[y * stride..][..width * 4];
            for (out, [blue, green, red, alpha]) in out.as_chunks_mut::<4>().0.iter_mut().zip(row) {
                *out = [*red, *green, *blue, *alpha];
            }
        }
    }

    #[inline(always)]
    fn write_420(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video, alpha: bool) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let across = width.div_ceil(2);
        let [first, second] = &mut self.rows;
        let [mut luma_plane, mut blue_plane, mut red_plane, mut alpha_plane] = ffi::planes_mut(frame);
        for y in (0..height).step_by(2) {
            let below = (y + 1).min(height - 1);
            let rows = [bgra(bitmap, y, first), bgra(bitmap, below, second)];
            for (row, at) in rows.into_iter().zip([y, below]) {
                luma(row, luma_plane.row(at, width));
                if alpha {
                    alpha_eight(row, alpha_plane.row(at, width));
                }
            }
            let (blue, red) = (blue_plane.row(y / 2, across), red_plane.row(y / 2, across));
            chroma(rows, blue, red);
            if let ([.., above], [.., below], 1) = (rows[0], rows[1], width % 2) {
                // An odd width repeats its last column.
                chroma([&[*above; 2], &[*below; 2]], &mut blue[across - 1..], &mut red[across - 1..]);
            }
        }
    }

    #[inline(always)]
    fn write_420_ten(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let across = width.div_ceil(2) * 2;
        let [first, second] = &mut self.rows;
        let [mut luma_plane, mut blue_plane, mut red_plane, _] = ffi::planes_mut(frame);
        for y in (0..height).step_by(2) {
            let below = (y + 1).min(height - 1);
            let rows = [bgra(bitmap, y, first), bgra(bitmap, below, second)];
            for (row, at) in rows.into_iter().zip([y, below]) {
                luma_ten(row, luma_plane.row(at, width * 2));
            }
            chroma_pairs_ten(rows, blue_plane.row(y / 2, across), red_plane.row(y / 2, across));
        }
    }

    #[inline(always)]
    fn write_422(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let width = self.size.width as usize;
        let across = width.div_ceil(2);
        let [mut luma_plane, mut blue_plane, mut red_plane, _] = ffi::planes_mut(frame);
        for y in 0..self.size.height as usize {
            let row = bgra(bitmap, y, &mut self.rows[0]);
            luma(row, luma_plane.row(y, width));
            let (blue, red) = (blue_plane.row(y, across), red_plane.row(y, across));
            chroma([row; 2], blue, red);
            if let ([.., last], 1) = (row, width % 2) {
                chroma([&[*last; 2]; 2], &mut blue[across - 1..], &mut red[across - 1..]);
            }
        }
    }

    #[inline(always)]
    fn write_422_ten(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let width = self.size.width as usize;
        let across = width.div_ceil(2) * 2;
        let [mut luma_plane, mut blue_plane, mut red_plane, _] = ffi::planes_mut(frame);
        for y in 0..self.size.height as usize {
            let row = bgra(bitmap, y, &mut self.rows[0]);
            luma_ten(row, luma_plane.row(y, width * 2));
            chroma_pairs_ten([row; 2], blue_plane.row(y, across), red_plane.row(y, across));
        }
    }

    #[inline(always)]
    fn write_444(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let width = self.size.width as usize;
        let [mut luma_plane, mut blue_plane, mut red_plane, mut alpha_plane] = ffi::planes_mut(frame);
        for y in 0..self.size.height as usize {
            let row = bgra(bitmap, y, &mut self.rows[0]);
            luma_ten(row, luma_plane.row(y, width * 2));
            blue_chroma_ten(row, blue_plane.row(y, width * 2));
            red_chroma_ten(row, red_plane.row(y, width * 2));
            alpha_ten(row, alpha_plane.row(y, width * 2));
        }
    }
}

/// Row `y` as BGRA: the bitmap's own bytes where it has that layout, else converted into `buffer`.
#[inline(always)]
fn bgra<'a>(bitmap: &Bitmap<'a>, y: usize, buffer: &'a mut Vec<[u8; 4]>) -> &'a [[u8; 4]] {
    let bytes = bitmap.row(y);
    match bitmap.layout {
        PixelLayout::Bgra => return bytes.as_chunks::<4>().0,
        PixelLayout::Rgba => {
            buffer.resize(bytes.len() / 4, [0; 4]);
            for (pixel, [red, green, blue, alpha]) in buffer.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *pixel = [*blue, *green, *red, *alpha];
            }
        }
        PixelLayout::Rgb => {
            buffer.resize(bytes.len() / 3, [0; 4]);
            for (pixel, [red, green, blue]) in buffer.iter_mut().zip(bytes.as_chunks::<3>().0) {
                *pixel = [*blue, *green, *red, 0xff];
            }
        }
    }
    buffer
}

/// The upper half of a 32-bit product.
#[inline(always)]
fn scaled(value: u16, factor: u16) -> u16 {
    ((u32::from(value) * u32::from(factor)) >> 16) as u16
}

// Factors of 65536ths. Luma's are (0.2126, 0.7152, 0.0722) * 219/255; those of chroma sum to zero, so that grey
// is exactly 128.
const LUMA: [u16; 3] = [11_966, 40_254, 4_064];
const DIFFERENCE: u16 = 28_784;
const BLUE_MINUS: [u16; 2] = [6_596, 22_188];
const RED_MINUS: [u16; 2] = [26_145, 2_639];

#[inline(always)]
fn luma(row: &[[u8; 4]], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(row) {
        let pixel = u32::from_le_bytes(*pixel);
        let blue = (pixel << 8) as u16;
        let green = (pixel & 0xff00) as u16;
        let red = ((pixel >> 8) & 0xff00) as u16;
        // 16 levels of offset, half a level for rounding, and the mean loss of three truncations.
        let level = scaled(red, LUMA[0]) + scaled(green, LUMA[1]) + scaled(blue, LUMA[2]) + (16 << 8) + 128 + 1;
        *out = (level >> 8) as u8;
    }
}

#[inline(always)]
fn alpha_eight(row: &[[u8; 4]], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(row) {
        *out = pixel[3];
    }
}

/// Both chroma planes of two rows of pixels, two columns at a time.
#[inline(always)]
fn chroma([above, below]: [&[[u8; 4]]; 2], blue_out: &mut [u8], red_out: &mut [u8]) {
    // Sums are written out: as iterators they are not inlined and take seven times as long.
    const EVEN: u32 = 0x00ff_00ff;
    let pairs = above.as_chunks::<2>().0.iter().zip(below.as_chunks::<2>().0);
    for ((blue_out, red_out), (above, below)) in blue_out.iter_mut().zip(red_out).zip(pairs) {
        let (one, two) = (u32::from_le_bytes(above[0]), u32::from_le_bytes(above[1]));
        let (three, four) = (u32::from_le_bytes(below[0]), u32::from_le_bytes(below[1]));
        let red_blue = (one & EVEN) + (two & EVEN) + (three & EVEN) + (four & EVEN);
        let green = (one >> 8 & EVEN) + (two >> 8 & EVEN) + (three >> 8 & EVEN) + (four >> 8 & EVEN);
        // Four pixels sum to at most 1020; times 64 that is 16 bits.
        let (blue, green, red) = ((red_blue << 6) as u16, (green << 6) as u16, (red_blue >> 10) as u16 & 0xffc0);
        let middle = (128_u16 << 8) + 128;
        let level = middle
            .wrapping_add(scaled(blue, DIFFERENCE))
            .wrapping_sub(scaled(red, BLUE_MINUS[0]))
            .wrapping_sub(scaled(green, BLUE_MINUS[1]));
        *blue_out = (level >> 8) as u8;
        let level = middle
            .wrapping_add(scaled(red, DIFFERENCE))
            .wrapping_sub(scaled(green, RED_MINUS[0]))
            .wrapping_sub(scaled(blue, RED_MINUS[1]));
        *red_out = (level >> 8) as u8;
    }
}

// Ten bits: factors of 65536ths over 876/255 and 896/255.
#[inline(always)]
fn ten(row: &[[u8; 4]], out: &mut [u8], [red, green, blue]: [i32; 3], offset: i32) {
    for (out, pixel) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        let level = pixel.map(i32::from);
        let sum = level[2] * red + level[1] * green + level[0] * blue + (offset << 16) + (1 << 15);
        *out = ((sum >> 16) as u16).to_le_bytes();
    }
}

#[inline(always)]
fn luma_ten(row: &[[u8; 4]], out: &mut [u8]) {
    ten(row, out, [47_864, 161_018, 16_255], 64);
}

const BLUE_TEN: [i32; 3] = [-26_384, -88_754, 115_138];
const RED_TEN: [i32; 3] = [115_138, -104_580, -10_558];

#[inline(always)]
fn blue_chroma_ten(row: &[[u8; 4]], out: &mut [u8]) {
    ten(row, out, BLUE_TEN, 512);
}

#[inline(always)]
fn red_chroma_ten(row: &[[u8; 4]], out: &mut [u8]) {
    ten(row, out, RED_TEN, 512);
}

/// Both chroma planes of two rows of pixels, two columns at a time. An odd width repeats its last column.
#[inline(always)]
fn chroma_pairs_ten([above, below]: [&[[u8; 4]]; 2], blue_out: &mut [u8], red_out: &mut [u8]) {
    let outs = blue_out.as_chunks_mut::<2>().0.iter_mut().zip(red_out.as_chunks_mut::<2>().0);
    for ((blue_out, red_out), (above, below)) in outs.zip(above.chunks(2).zip(below.chunks(2))) {
        let ([one, ..], [.., two], [three, ..], [.., four]) = (above, above, below, below) else { continue };
        let sum = |channel: usize| {
            i32::from(one[channel]) + i32::from(two[channel]) + i32::from(three[channel]) + i32::from(four[channel])
        };
        let [blue, green, red] = [sum(0), sum(1), sum(2)];
        let level = |[from_red, from_green, from_blue]: [i32; 3]| {
            let sum = red * from_red + green * from_green + blue * from_blue + (512 << 18) + (1 << 17);
            ((sum >> 18) as u16).to_le_bytes()
        };
        *blue_out = level(BLUE_TEN);
        *red_out = level(RED_TEN);
    }
}

#[inline(always)]
fn alpha_ten(row: &[[u8; 4]], out: &mut [u8]) {
    for (out, pixel) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        let alpha = u16::from(pixel[3]);
        // 255 becomes 1023. A reader gets the eight bits back whether it cuts two bits, rounds them or scales.
        *out = ((alpha << 2) + (alpha >> 7) + 2 * u16::from(alpha == 255)).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn exact(red: f64, green: f64, blue: f64) -> [f64; 3] {
        let luma = 0.2126 * red + 0.7152 * green + 0.0722 * blue;
        [16.0 + luma * 219.0, 128.0 + (blue - luma) / 1.8556 * 224.0, 128.0 + (red - luma) / 1.5748 * 224.0]
    }

    #[test]
    fn eight_and_ten_bits_follow_bt709() {
        let levels = [0_u8, 1, 2, 15, 16, 63, 100, 127, 128, 200, 235, 254, 255];
        let mut wrong = 0;
        let mut total = 0;
        for red in levels {
            for green in levels {
                for blue in levels {
                    let pixel = [blue, green, red, 255];
                    let want = exact(f64::from(red) / 255.0, f64::from(green) / 255.0, f64::from(blue) / 255.0);
                    let [mut bright, mut from_blue, mut from_red] = [[0_u8; 1]; 3];
                    luma(&[pixel], &mut bright);
                    chroma([&[pixel; 2]; 2], &mut from_blue, &mut from_red);
                    let got = [bright, from_blue, from_red];
                    let mut long = [[0_u8; 2]; 3];
                    luma_ten(&[pixel], &mut long[0]);
                    blue_chroma_ten(&[pixel], &mut long[1]);
                    red_chroma_ten(&[pixel], &mut long[2]);
                    for plane in 0..3 {
                        assert!((f64::from(got[plane][0]) - want[plane]).abs() < 0.52, "{pixel:?} {plane}");
                        let ten = f64::from(u16::from_le_bytes(long[plane]));
                        assert!((ten - want[plane] * 4.0).abs() < 0.51, "{pixel:?} {plane} {ten}");
                        wrong += u32::from(f64::from(got[plane][0]) != want[plane].round());
                        total += 1;
                    }
                }
            }
        }
        assert!(wrong * 50 < total, "{wrong} of {total} are not rounded to the nearest");
    }

    #[test]
    fn grey_has_no_colour() {
        for level in 0..=255_u8 {
            let (mut blue, mut red) = ([0_u8; 1], [0_u8; 1]);
            chroma([&[[level, level, level, 255]; 2]; 2], &mut blue, &mut red);
            assert_eq!([blue[0], red[0]], [128, 128], "{level}");
        }
    }

    /// All planes of a picture, row after row, without what lies between rows.
    fn planes(
        format: YuvFormat,
        bitmap: &Bitmap<'_>,
        write: fn(&mut YuvWriter, &Bitmap<'_>, &mut frame::Video),
    ) -> Vec<u8> {
        let mut frame = frame::Video::new(format.pixel(), bitmap.size.width, bitmap.size.height);
        write(&mut YuvWriter::new(format, bitmap.size), bitmap, &mut frame);
        let mut bytes = Vec::new();
        let ten = [YuvFormat::Yuv420Ten, YuvFormat::Yuv422Ten, YuvFormat::Yuva444Ten];
        let sample = if ten.contains(&format) { 2 } else { 1 };
        for plane in 0..frame.planes() {
            let (across, down) = (frame.plane_width(plane) as usize * sample, frame.plane_height(plane) as usize);
            let stride = frame.stride(plane);
            bytes.extend(frame.data(plane).chunks(stride).take(down).flat_map(|row| &row[..across]));
        }
        bytes
    }

    fn colourful(size: Size, bytes: usize, gap: usize) -> (Vec<u8>, usize) {
        let stride = size.width as usize * bytes + gap;
        let data =
            (0..stride * size.height as usize).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_be_bytes()[0]);
        (data.collect(), stride)
    }

    const FORMATS: [YuvFormat; 7] = [
        YuvFormat::Yuv420,
        YuvFormat::Yuva420,
        YuvFormat::Yuv420Ten,
        YuvFormat::Yuv422,
        YuvFormat::Yuv422Ten,
        YuvFormat::Yuva444Ten,
        YuvFormat::Rgba,
    ];

    /// Factor of the samples, pixels that share chroma across and down, and the largest error in samples.
    fn shape(format: YuvFormat) -> (f64, usize, usize, f64) {
        match format {
            YuvFormat::Yuv420Ten => (4.0, 2, 2, 0.51),
            YuvFormat::Yuv422 => (1.0, 2, 1, 0.52),
            YuvFormat::Yuv422Ten => (4.0, 2, 1, 0.51),
            _ => (1.0, 2, 2, 0.52),
        }
    }

    #[test]
    fn every_processor_gives_the_same_planes() {
        for (width, height) in [(1, 1), (7, 3), (66, 5), (131, 34)] {
            let size = Size { width, height };
            let (data, stride) = colourful(size, 4, 12);
            let bitmap = Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra };
            for format in FORMATS {
                let one = planes(format, &bitmap, YuvWriter::write);
                assert!(one == planes(format, &bitmap, YuvWriter::write_anywhere), "{format:?} {size}");
            }
        }
    }

    #[test]
    fn a_whole_picture_follows_the_real_numbers() {
        let size = Size { width: 67, height: 9 };
        let (data, stride) = colourful(size, 4, 8);
        let bitmap = Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra };
        for format in [YuvFormat::Yuv420Ten, YuvFormat::Yuv422, YuvFormat::Yuv422Ten] {
            follows_the_real_numbers(format, &bitmap);
        }
        let planes = planes(YuvFormat::Yuva420, &bitmap, YuvWriter::write);
        let (width, height) = (67, 9);
        let pixel = |x: usize, y: usize| &data[y.min(height - 1) * stride + x.min(width - 1) * 4..][..4];
        let real = |pixel: [f64; 3]| exact(pixel[2] / 255.0, pixel[1] / 255.0, pixel[0] / 255.0);
        let (across, down) = (34, 5);
        let [luma, blue, red] = [0, width * height, width * height + across * down];
        for y in 0..height {
            for x in 0..width {
                let want = real([0, 1, 2].map(|channel| f64::from(pixel(x, y)[channel])))[0];
                assert!((f64::from(planes[luma + y * width + x]) - want).abs() < 0.52, "{x} {y}");
                assert_eq!(planes[red + across * down + y * width + x], pixel(x, y)[3], "{x} {y}");
            }
        }
        for y in 0..down {
            for x in 0..across {
                let four = [(0, 0), (1, 0), (0, 1), (1, 1)].map(|(right, down)| pixel(2 * x + right, 2 * y + down));
                let want = real([0, 1, 2].map(|at| four.iter().map(|pixel| f64::from(pixel[at])).sum::<f64>() / 4.0));
                for (plane, want) in [(blue, want[1]), (red, want[2])] {
                    let got = f64::from(planes[plane + y * across + x]);
                    assert!((got - want).abs() < 0.52, "{x} {y}: {got} {want}");
                }
            }
        }
    }

    fn follows_the_real_numbers(format: YuvFormat, bitmap: &Bitmap<'_>) {
        let (factor, across, down, most) = shape(format);
        let planes = planes(format, bitmap, YuvWriter::write);
        let samples: Vec<f64> = match factor {
            1.0 => planes.iter().map(|sample| f64::from(*sample)).collect(),
            _ => planes.as_chunks::<2>().0.iter().map(|sample| f64::from(u16::from_le_bytes(*sample))).collect(),
        };
        let (width, height) = (bitmap.size.width as usize, bitmap.size.height as usize);
        let mean = |x: usize, y: usize, across: usize, down: usize| {
            let cells = (0..down).flat_map(|below| (0..across).map(move |right| (right, below)));
            let pixels: Vec<&[u8]> = cells
                .map(|(right, below)| ((x + right).min(width - 1), (y + below).min(height - 1)))
                .map(|(x, y)| &bitmap.row(y)[x * 4..][..4])
                .collect();
            let level = |channel: usize| {
                pixels.iter().map(|pixel| f64::from(pixel[channel])).sum::<f64>() / pixels.len() as f64 / 255.0
            };
            exact(level(2), level(1), level(0)).map(|level| level * factor)
        };
        let mut samples = samples.into_iter();
        for (plane, across, down) in [(0, 1, 1), (1, across, down), (2, across, down)] {
            for y in (0..height).step_by(down) {
                for x in (0..width).step_by(across) {
                    let (got, want) = (samples.next().unwrap(), mean(x, y, across, down)[plane]);
                    assert!((got - want).abs() < most, "{format:?} {plane} {x} {y}: {got} {want}");
                }
            }
        }
        assert_eq!(samples.next(), None);
    }

    #[test]
    fn layouts_agree() {
        let size = Size { width: 2, height: 1 };
        for format in FORMATS {
            let of = |data: &[u8], layout: PixelLayout| {
                planes(format, &Bitmap { data, stride: 2 * layout.bytes(), size, layout }, YuvWriter::write)
            };
            let bgra = of(&[1, 2, 3, 255, 4, 5, 6, 255], PixelLayout::Bgra);
            assert_eq!(bgra, of(&[3, 2, 1, 255, 6, 5, 4, 255], PixelLayout::Rgba));
            assert_eq!(bgra, of(&[3, 2, 1, 6, 5, 4], PixelLayout::Rgb));
        }
    }

    #[test]
    #[ignore = "measures"]
    fn speed() {
        for (width, height) in [(1920, 1080), (3840, 2160)] {
            let size = Size { width, height };
            let (data, stride) = colourful(size, 4, 0);
            let bitmap = Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra };
            for format in FORMATS {
                let mut frame = frame::Video::new(format.pixel(), size.width, size.height);
                let mut writer = YuvWriter::new(format, size);
                for (name, write) in [
                    ("anywhere", YuvWriter::write_anywhere as fn(&mut YuvWriter, &Bitmap<'_>, &mut frame::Video)),
                    ("here", YuvWriter::write),
                ] {
                    let best = (0..30).map(|_| {
                        let begun = std::time::Instant::now();
                        write(&mut writer, &bitmap, &mut frame);
                        begun.elapsed().as_secs_f64() * 1000.0
                    });
                    println!("convert {size} {format:?} {name}: {:.2} ms", best.fold(f64::INFINITY, f64::min));
                }
            }
        }
    }
}
