//! Similarity of two pictures: PSNR, SSIM, largest difference.

use crate::bitmap::Picture;

/// Peak signal-to-noise ratio over red, green and blue, in decibels: infinite where they are equal, 0 where the sizes
/// differ. Alpha does not count.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    ratio(a, b, 0..3)
}

/// Peak signal-to-noise ratio over alpha alone, in decibels; see [`psnr`].
pub fn alpha_psnr(a: &Picture, b: &Picture) -> f64 {
    ratio(a, b, 3..4)
}

/// The largest difference of any byte, 255 where the sizes differ.
pub fn largest_difference(a: &Picture, b: &Picture) -> u8 {
    if a.size != b.size || a.bgra.len() != b.bgra.len() {
        return u8::MAX;
    }
    a.bgra.iter().zip(&b.bgra).map(|(a, b)| a.abs_diff(*b)).max().unwrap_or(0)
}

/// Sum of the squared differences of red, green and blue, for a PSNR over many pictures; `None` where the sizes differ.
pub fn squared_error(a: &Picture, b: &Picture) -> Option<u64> {
    if a.size != b.size || a.bgra.len() != b.bgra.len() {
        return None;
    }
    // A row at a time, so that 32 bits are enough and the loop vectorises.
    let row = a.size.width.max(1) as usize * 4;
    let rows = a.bgra.chunks(row).zip(b.bgra.chunks(row));
    let error = |(a, b): (&[u8], &[u8])| {
        let pixels = a.as_chunks::<4>().0.iter().zip(b.as_chunks::<4>().0);
        pixels.map(|(a, b)| (0..3).map(|at| u32::from(a[at].abs_diff(b[at])).pow(2)).sum::<u32>()).sum::<u32>()
    };
    Some(rows.map(|rows| u64::from(error(rows))).sum())
}

/// Sum of the squared differences of luma, in 256 levels; `None` where the sizes differ.
pub fn squared_luma_error(a: &Picture, b: &Picture) -> Option<u64> {
    if a.size != b.size || a.bgra.len() != b.bgra.len() {
        return None;
    }
    let pixels = a.bgra.as_chunks::<4>().0.iter().zip(b.bgra.as_chunks::<4>().0);
    Some(pixels.map(|(a, b)| u64::from(luma(a).abs_diff(luma(b))).pow(2)).sum())
}

/// Structural similarity of luma, at most 1: the mean over windows of 8 by 8 pixels, one every 4 pixels. 0 where the
/// sizes differ.
pub fn ssim(a: &Picture, b: &Picture) -> f64 {
    let (columns, rows) = (a.size.width as usize / 4, a.size.height as usize / 4);
    if a.size != b.size || a.bgra.len() != b.bgra.len() {
        return 0.0;
    }
    if columns < 2 || rows < 2 {
        return if a.bgra == b.bgra { 1.0 } else { 0.0 };
    }
    let mut above = blocks(a, b, columns, 0);
    let mut sum = 0.0;
    for row in 1..rows {
        let below = blocks(a, b, columns, row);
        for (above, below) in above.windows(2).zip(below.windows(2)) {
            let mean = |at: usize| f64::from(above[0][at] + above[1][at] + below[0][at] + below[1][at]) / 64.0;
            sum += similarity(mean(0), mean(1), mean(2), mean(3));
        }
        above = below;
    }
    sum / ((columns - 1) * (rows - 1)) as f64
}

/// Sums over each block of 4 by 4 pixels of a row of them: of a, of b, of both squared, of the product.
fn blocks(a: &Picture, b: &Picture, columns: usize, row: usize) -> Vec<[u32; 4]> {
    let stride = a.size.width as usize * 4;
    let mut blocks = vec![[0; 4]; columns];
    for y in row * 4..row * 4 + 4 {
        let line = |picture: &'_ Picture| -> Vec<u32> {
            picture.bgra[y * stride..][..columns * 16].as_chunks::<4>().0.iter().map(luma).collect()
        };
        let (a, b) = (line(a), line(b));
        for ((block, a), b) in blocks.iter_mut().zip(a.as_chunks::<4>().0).zip(b.as_chunks::<4>().0) {
            for (a, b) in a.iter().zip(b) {
                block[0] += a;
                block[1] += b;
                block[2] += a * a + b * b;
                block[3] += a * b;
            }
        }
    }
    blocks
}

/// BT.709 luma in 256 levels.
fn luma([blue, green, red, _]: &[u8; 4]) -> u32 {
    (u32::from(*red) * 13_933 + u32::from(*green) * 46_871 + u32::from(*blue) * 4_732 + 32_768) >> 16
}

/// SSIM of a window: from the means of both pictures' values, of their squares together, and of their products.
fn similarity(a: f64, b: f64, squares: f64, products: f64) -> f64 {
    let (luminance_constant, contrast_constant) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
    let (variances, covariance) = (squares - a * a - b * b, products - a * b);
    (2.0 * a * b + luminance_constant) * (2.0 * covariance + contrast_constant)
        / ((a * a + b * b + luminance_constant) * (variances + contrast_constant))
}

/// PSNR over these of a pixel's four bytes.
fn ratio(a: &Picture, b: &Picture, channels: std::ops::Range<usize>) -> f64 {
    if a.size != b.size || a.bgra.len() != b.bgra.len() {
        return 0.0;
    }
    let mut sum = 0_u64;
    for (a, b) in a.bgra.as_chunks::<4>().0.iter().zip(b.bgra.as_chunks::<4>().0) {
        for channel in channels.clone() {
            sum += u64::from(a[channel].abs_diff(b[channel])).pow(2);
        }
    }
    if sum == 0 {
        return f64::INFINITY;
    }
    let count = a.bgra.len() / 4 * channels.len();
    10.0 * (255.0 * 255.0 * count as f64 / sum as f64).log10()
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::spec::Size;

    use super::*;

    #[test]
    fn equal_is_infinite_and_one_level_is_48_decibels() {
        let a = Picture { size: Size { width: 2, height: 1 }, bgra: vec![10, 20, 30, 40, 50, 60, 70, 80] };
        let mut b = a.clone();
        assert_eq!(psnr(&a, &b), f64::INFINITY);
        b.bgra = a.bgra.iter().map(|byte| byte + 1).collect();
        assert!((psnr(&a, &b) - 48.13).abs() < 0.01);
        assert!((alpha_psnr(&a, &b) - 48.13).abs() < 0.01);
        assert_eq!(largest_difference(&a, &b), 1);
        b.size.width = 1;
        assert_eq!((psnr(&a, &b), largest_difference(&a, &b)), (0.0, 255));
    }

    #[test]
    fn structure_is_1_where_equal_and_little_in_noise() {
        let size = Size { width: 64, height: 32 };
        let noise = |seed: u32| Picture {
            size,
            bgra: (0..64 * 32 * 4_u32).map(|at| (at + seed).wrapping_mul(2_654_435_761).to_be_bytes()[0]).collect(),
        };
        let a = noise(1);
        assert!((ssim(&a, &a) - 1.0).abs() < 1e-9);
        assert_eq!(squared_error(&a, &a), Some(0));
        assert!(ssim(&a, &noise(777)) < 0.5);
        let mut b = a.clone();
        b.bgra[5] ^= 0x80;
        let step = u64::from(a.bgra[5].abs_diff(b.bgra[5]));
        assert_eq!(squared_error(&a, &b), Some(step * step));
        assert!(ssim(&a, &b) < 1.0);
        b.size.height = 31;
        assert_eq!((squared_error(&a, &b), squared_luma_error(&a, &b), ssim(&a, &b)), (None, None, 0.0));
    }
}
