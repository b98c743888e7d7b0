//! sRGB to BT.709 limited-range planes, written straight into the encoder's frame.
//!
//! **Invariant: the result is the same on every machine.** Everything is integer arithmetic, so however the compiler
//! vectorises it the numbers agree; swscale's paths differ by processor unless its slow ones are chosen.
//!
//! The arithmetic is in 16 bits, eight of them a fraction: that is what SSE2's `pmulhuw` does in one instruction, and with
//! truncation below 3/256 of a level it rounds like the real numbers but for one value in a hundred.

use ffmpeg_next::format::Pixel;
use ffmpeg_next::frame;
use hyperfarm_proto::spec::Size;

use crate::bitmap::{Bitmap, PixelLayout};

/// Planes that encoders take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum YuvFormat {
    /// 8 bits, chroma of 2 by 2 pixels.
    Yuv420,
    /// The same with an alpha plane.
    Yuva420,
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
            Self::Yuva444Ten => Pixel::YUVA444P10LE,
            Self::Rgba => Pixel::RGBA,
        }
    }
}

/// Converts pictures of one size; keeps its row buffers.
pub(crate) struct YuvWriter {
    format: YuvFormat,
    size: Size,
    /// Two rows as 0xAARRGGBB.
    rows: [Vec<u32>; 2],
    /// Sums of two rows: red and blue in halves of a word, green alone.
    red_blue: Vec<u32>,
    green: Vec<u32>,
}

impl YuvWriter {
    pub(crate) fn new(format: YuvFormat, size: Size) -> Self {
        let width = size.width as usize;
        // An odd width repeats its last column for the chroma.
        let even = width.next_multiple_of(2);
        Self { format, size, rows: [vec![0; width], vec![0; width]], red_blue: vec![0; even], green: vec![0; even] }
    }

    /// Writes `bitmap` (checked to be of the writer's size) into the planes of `frame` (allocated in its format).
    pub(crate) fn write(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        match self.format {
            YuvFormat::Yuv420 => self.write_420(bitmap, frame, false),
            YuvFormat::Yuva420 => self.write_420(bitmap, frame, true),
            YuvFormat::Yuva444Ten => self.write_444(bitmap, frame),
            YuvFormat::Rgba => self.write_rgba(bitmap, frame),
        }
    }

    fn write_rgba(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let (width, stride) = (self.size.width as usize, frame.stride(0));
        for y in 0..self.size.height as usize {
            load(bitmap.layout, bitmap.row(y), &mut self.rows[0]);
            let out = &mut frame.data_mut(0)[y * stride..][..width * 4];
            for (out, pixel) in out.as_chunks_mut::<4>().0.iter_mut().zip(&self.rows[0]) {
                let [blue, green, red, alpha] = pixel.to_le_bytes();
                *out = [red, green, blue, alpha];
            }
        }
    }

    fn write_420(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video, alpha: bool) {
        let (width, height) = (self.size.width as usize, self.size.height as usize);
        let chroma = width.div_ceil(2);
        let strides = [frame.stride(0), frame.stride(1), frame.stride(2)];
        for y in (0..height).step_by(2) {
            let below = (y + 1).min(height - 1);
            for (row, at) in self.rows.iter_mut().zip([y, below]) {
                load(bitmap.layout, bitmap.row(at), row);
            }
            for (row, at) in self.rows.iter().zip([y, below]) {
                luma(row, &mut frame.data_mut(0)[at * strides[0]..][..width]);
                if alpha {
                    let stride = frame.stride(3);
                    alpha_eight(row, &mut frame.data_mut(3)[at * stride..][..width]);
                }
            }
            let [above, below] = &self.rows;
            sum_rows(above, below, &mut self.red_blue[..width], &mut self.green[..width]);
            if width % 2 == 1 {
                self.red_blue[width] = self.red_blue[width - 1];
                self.green[width] = self.green[width - 1];
            }
            let at = y / 2;
            blue_difference(&self.red_blue, &self.green, &mut frame.data_mut(1)[at * strides[1]..][..chroma]);
            red_difference(&self.red_blue, &self.green, &mut frame.data_mut(2)[at * strides[2]..][..chroma]);
        }
    }

    fn write_444(&mut self, bitmap: &Bitmap<'_>, frame: &mut frame::Video) {
        let width = self.size.width as usize;
        for y in 0..self.size.height as usize {
            load(bitmap.layout, bitmap.row(y), &mut self.rows[0]);
            for (plane, convert) in [luma_ten, blue_difference_ten, red_difference_ten, alpha_ten].iter().enumerate() {
                let stride = frame.stride(plane);
                convert(&self.rows[0], &mut frame.data_mut(plane)[y * stride..][..width * 2]);
            }
        }
    }
}

/// A row of any layout as 0xAARRGGBB.
fn load(layout: PixelLayout, bytes: &[u8], row: &mut [u32]) {
    match layout {
        PixelLayout::Bgra => {
            for (pixel, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
                *pixel = u32::from_le_bytes(*bytes);
            }
        }
        PixelLayout::Rgba => {
            for (pixel, bytes) in row.iter_mut().zip(bytes.as_chunks::<4>().0) {
                let rgba = u32::from_le_bytes(*bytes);
                *pixel = (rgba & 0xff00_ff00) | ((rgba >> 16) & 0xff) | ((rgba & 0xff) << 16);
            }
        }
        PixelLayout::Rgb => {
            for (pixel, [red, green, blue]) in row.iter_mut().zip(bytes.as_chunks::<3>().0) {
                *pixel = u32::from_le_bytes([*blue, *green, *red, 0xff]);
            }
        }
    }
}

/// The upper half of a 32-bit product.
#[inline(always)]
fn scaled(value: u16, factor: u16) -> u16 {
    ((u32::from(value) * u32::from(factor)) >> 16) as u16
}

// Factors of 65536ths. Luma's are (0.2126, 0.7152, 0.0722) * 219/255; those of a difference sum to zero, so that grey has
// exactly 128.
const LUMA: [u16; 3] = [11_966, 40_254, 4_064];
const DIFFERENCE: u16 = 28_784;
const BLUE_MINUS: [u16; 2] = [6_596, 22_188];
const RED_MINUS: [u16; 2] = [26_145, 2_639];

fn luma(row: &[u32], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(row) {
        let blue = (*pixel << 8) as u16;
        let green = (*pixel & 0xff00) as u16;
        let red = ((*pixel >> 8) & 0xff00) as u16;
        // 16 levels, half a level to round, and what three truncations lose on average.
        let level = scaled(red, LUMA[0]) + scaled(green, LUMA[1]) + scaled(blue, LUMA[2]) + (16 << 8) + 128 + 1;
        *out = (level >> 8) as u8;
    }
}

fn alpha_eight(row: &[u32], out: &mut [u8]) {
    for (out, pixel) in out.iter_mut().zip(row) {
        *out = (*pixel >> 24) as u8;
    }
}

fn sum_rows(above: &[u32], below: &[u32], red_blue: &mut [u32], green: &mut [u32]) {
    for (((above, below), red_blue), green) in above.iter().zip(below).zip(red_blue).zip(green) {
        *red_blue = (above & 0x00ff_00ff) + (below & 0x00ff_00ff);
        *green = ((above >> 8) & 0xff) + ((below >> 8) & 0xff);
    }
}

// Four pixels sum to at most 1020; times 64 that is 16 bits.
fn blue_difference(red_blue: &[u32], green: &[u32], out: &mut [u8]) {
    let pairs = red_blue.as_chunks::<2>().0.iter().zip(green.as_chunks::<2>().0);
    for (out, ([left, right], [green_left, green_right])) in out.iter_mut().zip(pairs) {
        let sum = left + right;
        let (blue, red) = ((sum << 6) as u16, (sum >> 10) as u16 & 0xffc0);
        let green = ((green_left + green_right) << 6) as u16;
        let level = ((128_u16 << 8) + 128)
            .wrapping_add(scaled(blue, DIFFERENCE))
            .wrapping_sub(scaled(red, BLUE_MINUS[0]))
            .wrapping_sub(scaled(green, BLUE_MINUS[1]));
        *out = (level >> 8) as u8;
    }
}

fn red_difference(red_blue: &[u32], green: &[u32], out: &mut [u8]) {
    let pairs = red_blue.as_chunks::<2>().0.iter().zip(green.as_chunks::<2>().0);
    for (out, ([left, right], [green_left, green_right])) in out.iter_mut().zip(pairs) {
        let sum = left + right;
        let (blue, red) = ((sum << 6) as u16, (sum >> 10) as u16 & 0xffc0);
        let green = ((green_left + green_right) << 6) as u16;
        let level = ((128_u16 << 8) + 128)
            .wrapping_add(scaled(red, DIFFERENCE))
            .wrapping_sub(scaled(green, RED_MINUS[0]))
            .wrapping_sub(scaled(blue, RED_MINUS[1]));
        *out = (level >> 8) as u8;
    }
}

// Ten bits: factors of 65536ths over 876/255 and 896/255.
fn ten(row: &[u32], out: &mut [u8], [red, green, blue]: [i32; 3], offset: i32) {
    for (out, pixel) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        let level = |shift: u32| ((*pixel >> shift) & 0xff) as i32;
        let sum = level(16) * red + level(8) * green + level(0) * blue + (offset << 16) + (1 << 15);
        *out = ((sum >> 16) as u16).to_le_bytes();
    }
}

fn luma_ten(row: &[u32], out: &mut [u8]) {
    ten(row, out, [47_864, 161_018, 16_255], 64);
}

fn blue_difference_ten(row: &[u32], out: &mut [u8]) {
    ten(row, out, [-26_384, -88_754, 115_138], 512);
}

fn red_difference_ten(row: &[u32], out: &mut [u8]) {
    ten(row, out, [115_138, -104_580, -10_558], 512);
}

fn alpha_ten(row: &[u32], out: &mut [u8]) {
    for (out, pixel) in out.as_chunks_mut::<2>().0.iter_mut().zip(row) {
        let alpha = (*pixel >> 24) as u16;
        // 255 becomes 1023; and whether a reader cuts two bits, rounds them or scales, it gets the eight bits back.
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
                    let pixel = u32::from_le_bytes([blue, green, red, 255]);
                    let want = exact(f64::from(red) / 255.0, f64::from(green) / 255.0, f64::from(blue) / 255.0);
                    let (mut sums, mut greens) = ([0; 2], [0; 2]);
                    sum_rows(&[pixel; 2], &[pixel; 2], &mut sums, &mut greens);
                    let mut got = [[0_u8; 1]; 3];
                    luma(&[pixel], &mut got[0]);
                    blue_difference(&sums, &greens, &mut got[1]);
                    red_difference(&sums, &greens, &mut got[2]);
                    let mut long = [[0_u8; 2]; 3];
                    luma_ten(&[pixel], &mut long[0]);
                    blue_difference_ten(&[pixel], &mut long[1]);
                    red_difference_ten(&[pixel], &mut long[2]);
                    for plane in 0..3 {
                        assert!((f64::from(got[plane][0]) - want[plane]).abs() < 0.52, "{pixel:08x} {plane}");
                        let ten = f64::from(u16::from_le_bytes(long[plane]));
                        assert!((ten - want[plane] * 4.0).abs() < 0.51, "{pixel:08x} {plane} {ten}");
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
            let pixel = u32::from_le_bytes([level, level, level, 255]);
            let (mut sums, mut greens) = ([0; 2], [0; 2]);
            sum_rows(&[pixel; 2], &[pixel; 2], &mut sums, &mut greens);
            let mut out = [0_u8; 2];
            blue_difference(&sums, &greens, &mut out[..1]);
            red_difference(&sums, &greens, &mut out[1..]);
            assert_eq!(out, [128, 128], "{level}");
        }
    }

    #[test]
    fn layouts_agree() {
        let (mut bgra, mut rgba, mut rgb) = ([0; 2], [0; 2], [0; 2]);
        load(PixelLayout::Bgra, &[1, 2, 3, 255, 4, 5, 6, 255], &mut bgra);
        load(PixelLayout::Rgba, &[3, 2, 1, 255, 6, 5, 4, 255], &mut rgba);
        load(PixelLayout::Rgb, &[3, 2, 1, 6, 5, 4], &mut rgb);
        assert_eq!(bgra, rgba);
        assert_eq!(bgra, rgb);
    }

    #[test]
    #[ignore = "measures"]
    fn speed() {
        let size = Size { width: 1920, height: 1080 };
        let data: Vec<u8> = (0..1920 * 1080 * 4).map(|at| (at * 7 % 251) as u8).collect();
        let bitmap = Bitmap { data: &data, stride: 1920 * 4, size, layout: PixelLayout::Bgra };
        for format in [YuvFormat::Yuv420, YuvFormat::Yuva420, YuvFormat::Yuva444Ten] {
            let mut frame = frame::Video::new(format.pixel(), size.width, size.height);
            let mut writer = YuvWriter::new(format, size);
            let begun = std::time::Instant::now();
            for _ in 0..50 {
                writer.write(&bitmap, &mut frame);
            }
            println!("convert {format:?}: {:.2} ms", begun.elapsed().as_secs_f64() * 20.0);
        }
    }
}
