//! 8-bit 4:2:0 frames to BGRA without swscale. Most sources have that format, and swscale's exact path takes six times
//! as long.
//!
//! All arithmetic is on integers, so the result is the same on every machine. Chroma lies in the middle of its 2 by 2
//! pixels and is interpolated in both directions, the inverse of `convert::to_yuv` as far as there is one. 16-bit
//! arithmetic leaves five bits of fraction: the error is below a tenth of a level.
#![allow(unsafe_code)] // the one call into what was compiled for AVX2

use ffmpeg_next::frame;
use hyperfarm_proto::spec::Size;

use crate::bitmap::Picture;
use crate::ffi::{self, PixelFormat};
use crate::tags;

/// Factors of the conversion, scaled so that the upper half of a 16-bit product is a level in 32nds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Factors {
    luma: u16,
    /// Luma of black, with half a level to round taken off.
    black: i16,
    red: i16,
    green: [i16; 2],
    blue: i16,
}

impl Factors {
    fn new(kr: f64, kb: f64, full_range: bool) -> Self {
        let kg = 1.0 - kr - kb;
        let (luma, chroma, black) = if full_range { (1.0, 1.0, 0.0) } else { (255.0 / 219.0, 255.0 / 224.0, 16.0) };
        let factor = |value: f64| (value * 32.0 * 256.0).round() as i16;
        Self {
            luma: factor(luma) as u16,
            black: (black * luma * 32.0).round() as i16 - 17,
            red: factor(2.0 * (1.0 - kr) * chroma),
            green: [factor(2.0 * (1.0 - kb) * kb / kg * chroma), factor(2.0 * (1.0 - kr) * kr / kg * chroma)],
            blue: factor(2.0 * (1.0 - kb) * chroma),
        }
    }

    fn of(matrix: i32, full_range: bool) -> Option<Self> {
        let (kr, kb) = match matrix {
            tags::MATRIX_BT709 => (0.2126, 0.0722),
            tags::MATRIX_BT470BG | tags::MATRIX_SMPTE170M => (0.299, 0.114),
            tags::MATRIX_BT2020_NCL => (0.2627, 0.0593),
            _ => return None,
        };
        Some(Self::new(kr, kb, full_range))
    }
}

/// `frame` as BGRA; `None` where its format or matrix is not supported here.
pub(crate) fn convert(frame: &frame::Video, matrix: i32, full_range: bool) -> Option<Picture> {
    let alpha = match PixelFormat::of(frame) {
        PixelFormat::YUV420P | PixelFormat::YUVJ420P => false,
        PixelFormat::YUVA420P => true,
        _ => return None,
    };
    let size = Size { width: frame.width(), height: frame.height() };
    let factors = Factors::of(matrix, full_range)?;
    let (width, height) = (size.width as usize, size.height as usize);
    if width == 0 || height == 0 || !ffi::rows_go_down(frame) {
        return None;
    }
    let mut bgra = vec![0_u8; width * height * 4];
    fill(frame, width, alpha, factors, &mut bgra);
    Some(Picture { size, bgra })
}

/// Writes the pixels of `frame`, which is `width` pixels wide, into `bgra`.
fn fill(frame: &frame::Video, width: usize, alpha: bool, factors: Factors, bgra: &mut [u8]) {
    #[cfg(target_arch = "x86_64")]
    if std::arch::is_x86_feature_detected!("avx2") {
        // SAFETY: the processor has AVX2.
        return unsafe { fill_avx2(frame, width, alpha, factors, bgra) };
    }
    fill_anywhere(frame, width, alpha, factors, bgra);
}

/// The same code compiled for AVX2.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn fill_avx2(frame: &frame::Video, width: usize, alpha: bool, factors: Factors, bgra: &mut [u8]) {
    fill_anywhere(frame, width, alpha, factors, bgra);
}

// Inlined always, like everything below, so that it is compiled with AVX2 in `fill_avx2`. No sum overflows; sums that wrap
// need no checks, with which the compiler would take the pixels one by one.
#[inline(always)]
fn fill_anywhere(frame: &frame::Video, width: usize, alpha: bool, factors: Factors, bgra: &mut [u8]) {
    let row = |plane: usize, y: usize, length: usize| &frame.data(plane)[y * frame.stride(plane)..][..length];
    let (across, down) = (width.div_ceil(2), (frame.height() as usize).div_ceil(2));
    let (mut blended, mut u, mut v) = (vec![0_u16; across], vec![0_i16; across * 2], vec![0_i16; across * 2]);
    let opaque = vec![255_u8; width];
    for (y, out) in bgra.chunks_exact_mut(width * 4).enumerate() {
        let near = y / 2;
        let far = if y % 2 == 1 { (near + 1).min(down - 1) } else { near.saturating_sub(1) };
        for (plane, chroma) in [(1, &mut u), (2, &mut v)] {
            blend(row(plane, near, across), row(plane, far, across), &mut blended);
            spread(&blended, chroma);
        }
        let alphas = if alpha { row(3, y, width) } else { &opaque };
        pixels(row(0, y, width), &u, &v, alphas, factors, out);
    }
}

/// Vertical interpolation: three quarters of the near row and one of the far, in quarters.
#[inline(always)]
fn blend(near: &[u8], far: &[u8], out: &mut [u16]) {
    for ((near, far), out) in near.iter().zip(far).zip(out) {
        *out = 3 * u16::from(*near) + u16::from(*far);
    }
}

/// The same across, less 128, in 256ths of a level.
#[inline(always)]
fn spread(row: &[u16], out: &mut [i16]) {
    let last = row.len() - 1;
    let pairs = out.as_chunks_mut::<2>().0;
    pairs[0][0] = middle(row[0], row[0]);
    pairs[last][1] = middle(row[last], row[last]);
    for (pair, neighbours) in pairs.iter_mut().zip(row.windows(2)) {
        pair[1] = middle(neighbours[0], neighbours[1]);
    }
    for (pair, neighbours) in pairs.iter_mut().skip(1).zip(row.windows(2)) {
        pair[0] = middle(neighbours[1], neighbours[0]);
    }
}

#[inline(always)]
fn middle(near: u16, far: u16) -> i16 {
    (near.wrapping_mul(3).wrapping_add(far) as i16).wrapping_sub(2048) << 4
}

/// The upper half of a 32-bit product.
#[inline(always)]
fn scaled(value: i16, factor: i16) -> i16 {
    ((i32::from(value) * i32::from(factor)) >> 16) as i16
}

#[inline(always)]
fn level(value: i16) -> u32 {
    (value >> 5).clamp(0, 255) as u32
}

#[inline(always)]
fn pixels(luma: &[u8], u: &[i16], v: &[i16], alpha: &[u8], factors: Factors, out: &mut [u8]) {
    let inputs = luma.iter().zip(u).zip(v).zip(alpha);
    for (out, (((luma, u), v), alpha)) in out.as_chunks_mut::<4>().0.iter_mut().zip(inputs) {
        let bright = ((u32::from(*luma) << 8) * u32::from(factors.luma)) >> 16;
        let bright = (bright as i16).wrapping_sub(factors.black);
        let red = level(bright.wrapping_add(scaled(*v, factors.red)));
        let green = bright.wrapping_sub(scaled(*u, factors.green[0])).wrapping_sub(scaled(*v, factors.green[1]));
        let blue = level(bright.wrapping_add(scaled(*u, factors.blue)));
        *out = (blue | level(green) << 8 | red << 16 | u32::from(*alpha) << 24).to_le_bytes();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_triple_is_within_a_level_of_the_real_numbers() {
        for (kr, kb) in [(0.2126, 0.0722), (0.299, 0.114), (0.2627, 0.0593)] {
            for full in [false, true] {
                let factors = Factors::new(kr, kb, full);
                let (black, white, chroma) = if full { (0.0, 255.0, 255.0) } else { (16.0, 219.0, 224.0) };
                let kg = 1.0 - kr - kb;
                for y in (0..=255_u8).step_by(5) {
                    for u in (0..=255_u8).step_by(15) {
                        for v in (0..=255_u8).step_by(15) {
                            let luma = (f64::from(y) - black) / white;
                            let blue = luma + 2.0 * (1.0 - kb) * (f64::from(u) - 128.0) / chroma;
                            let red = luma + 2.0 * (1.0 - kr) * (f64::from(v) - 128.0) / chroma;
                            let green = (luma - kr * red - kb * blue) / kg;
                            let wide = |level: u8| [(i16::from(level) - 128) << 8];
                            let mut out = [0_u8; 4];
                            pixels(&[y], &wide(u), &wide(v), &[7], factors, &mut out);
                            for (got, want) in out.iter().zip([blue, green, red]) {
                                let want = (want * 255.0).clamp(0.0, 255.0);
                                assert!((f64::from(*got) - want).abs() < 0.65, "{y} {u} {v} {full}: {got} {want}");
                            }
                            assert_eq!(out[3], 7);
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn white_and_black_are_exact_and_grey_is_grey() {
        let factors = Factors::new(0.2126, 0.0722, false);
        for y in 0..=255_u8 {
            let mut out = [0_u8; 4];
            pixels(&[y], &[0], &[0], &[255], factors, &mut out);
            assert!(out[0] == out[1] && out[1] == out[2], "{y}: {out:?}");
            match y {
                0..=16 => assert_eq!(out[0], 0),
                235.. => assert_eq!(out[0], 255),
                _ => {}
            }
        }
    }

    #[test]
    fn chroma_is_interpolated_between_its_neighbours() {
        let mut blended = [0; 3];
        blend(&[128, 128, 228], &[128, 128, 228], &mut blended);
        let mut out = [0; 6];
        spread(&blended, &mut out);
        assert_eq!(out.map(|level| level >> 8), [0, 0, 0, 25, 75, 100]);
    }
}
