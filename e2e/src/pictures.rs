//! Compares videos frame by frame.

use std::path::Path;

use hyperfarm_media::{Picture, compare, decode_video};

/// Every frame of a video.
///
/// # Panics
/// Panics if the video cannot be decoded.
pub fn pictures(path: &Path) -> Vec<Picture> {
    let mut pictures = Vec::new();
    decode_video(path, &mut |_, picture| {
        pictures.push(Picture { size: picture.size, bgra: picture.bgra.clone() });
        true
    })
    .expect("the video decodes");
    pictures
}

/// PSNR in dB of each frame of two videos of equal length. One video is in memory as a whole.
///
/// # Panics
/// Panics if a video cannot be decoded, or the lengths differ.
pub fn psnr_by_frame(a: &Path, b: &Path) -> Vec<f64> {
    let a = pictures(a);
    let mut values = Vec::new();
    let count = decode_video(b, &mut |frame, picture| {
        if let Some(other) = a.get(frame as usize) {
            values.push(compare::psnr(other, picture));
        }
        true
    })
    .expect("the video decodes");
    assert_eq!(a.len() as u64, count, "both videos have as many frames");
    values
}

/// Mean of all colour values of a picture, 0 to 255.
pub fn brightness(picture: &Picture) -> f64 {
    let sum: u64 =
        picture.bgra.chunks_exact(4).map(|pixel| pixel[..3].iter().map(|value| u64::from(*value)).sum::<u64>()).sum();
    sum as f64 / (picture.bgra.len() as f64 / 4.0 * 3.0)
}
