//! How close two pictures are.

use crate::bitmap::Picture;

/// Peak signal-to-noise ratio over red, green and blue, in decibels: infinite where they are equal, 0 where the sizes
/// differ. Alpha does not count.
pub fn psnr(a: &Picture, b: &Picture) -> f64 {
    ratio(a, b, 0..3)
}

/// The same over alpha alone.
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
}
