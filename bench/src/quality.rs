//! Similarity of a video to the captured frames: PSNR and SSIM against a lossless sequence of PNG files.
//!
//! Both sides' videos are decoded by the same decoder and compared with the same files. PSNR is that of the whole clip
//! (from the mean of the squared errors of all compared frames), over red, green and blue, and over luma alone; SSIM is
//! the mean over luma, in windows of 8 by 8 pixels every 4 pixels. Transparent pixels are compared over middle grey.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::picture::over_grey;
use hyperfarm_media::{Picture, compare, decode_video};
use hyperfarm_proto::spec::Size;

/// Decibels that stand for "equal".
const EQUAL: f64 = 100.0;

/// Result of a comparison.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub(crate) struct Quality {
    /// Decibels over red, green and blue.
    pub(crate) psnr: f64,
    /// Decibels over luma.
    pub(crate) psnr_luma: f64,
    /// Structural similarity of luma, at most 1.
    pub(crate) ssim: f64,
    /// Frames that were compared.
    pub(crate) frames: u64,
}

/// The PNG files of `folder`, in order.
pub(crate) fn sequence(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).with_context(|| format!("reading {}", folder.display()))? {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "png") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

/// Compares `video` with `reference`, which must have as many frames, over at most `most` frames spread evenly.
pub(crate) fn of_video(video: &Path, reference: &[PathBuf], most: u64) -> anyhow::Result<Quality> {
    let mut tally = Tally::default();
    let every = stride(reference.len(), most);
    let mut error = None;
    let frames = decode_video(video, &mut |number, picture| {
        if number % every == 0
            && let Some(file) = reference.get(number as usize)
        {
            error = read(file).and_then(|other| tally.add(&other, picture)).err();
        }
        error.is_none()
    })?;
    if let Some(error) = error {
        return Err(error.context(video.display().to_string()));
    }
    if frames != reference.len() as u64 {
        bail!("{} has {frames} frames, and the lossless capture {}", video.display(), reference.len());
    }
    Ok(tally.quality())
}

/// Compares two sequences of PNG files, and answers the largest difference of a byte beside it.
pub(crate) fn of_sequences(a: &[PathBuf], b: &[PathBuf], most: u64) -> anyhow::Result<(Quality, u8)> {
    if a.len() != b.len() {
        bail!("one sequence has {} frames, the other {}", a.len(), b.len());
    }
    let mut tally = Tally::default();
    let mut largest = 0;
    for (a, b) in a.iter().zip(b).step_by(stride(a.len(), most) as usize) {
        let (a, b) = (over_grey(&read(a)?), over_grey(&read(b)?));
        tally.add(&a, &b)?;
        largest = largest.max(compare::largest_difference(&a, &b));
    }
    Ok((tally.quality(), largest))
}

fn stride(frames: usize, most: u64) -> u64 {
    (frames as u64).div_ceil(most.max(1)).max(1)
}

fn read(path: &Path) -> anyhow::Result<Picture> {
    let file = std::fs::File::open(path).with_context(|| format!("reading {}", path.display()))?;
    let mut decoder = png::Decoder::new(std::io::BufReader::new(file));
    decoder.set_transformations(png::Transformations::normalize_to_color8() | png::Transformations::ALPHA);
    let mut reader = decoder.read_info()?;
    let mut bytes = vec![0; reader.output_buffer_size().context("too large a picture")?];
    let info = reader.next_frame(&mut bytes)?;
    if info.color_type != png::ColorType::Rgba {
        bail!("{} is neither RGB nor RGBA", path.display());
    }
    bytes.truncate(info.buffer_size());
    for pixel in bytes.as_chunks_mut::<4>().0 {
        pixel.swap(0, 2);
    }
    Ok(Picture { size: Size { width: info.width, height: info.height }, bgra: bytes })
}

#[derive(Default)]
struct Tally {
    colour: (u64, u64),
    luma: (u64, u64),
    ssim: f64,
    frames: u64,
}

impl Tally {
    fn add(&mut self, a: &Picture, b: &Picture) -> anyhow::Result<()> {
        let opaque = |picture: &Picture| picture.bgra.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255);
        if !opaque(a) || !opaque(b) {
            return self.add_opaque(&over_grey(a), &over_grey(b));
        }
        self.add_opaque(a, b)
    }

    fn add_opaque(&mut self, a: &Picture, b: &Picture) -> anyhow::Result<()> {
        let pixels = a.bgra.len() as u64 / 4;
        let errors = compare::squared_error(a, b).zip(compare::squared_luma_error(a, b));
        let Some((colour, luma)) = errors else { bail!("{} and {} pixels", a.size, b.size) };
        self.colour = (self.colour.0 + colour, self.colour.1 + pixels * 3);
        self.luma = (self.luma.0 + luma, self.luma.1 + pixels);
        self.ssim += compare::ssim(a, b);
        self.frames += 1;
        Ok(())
    }

    fn quality(&self) -> Quality {
        let decibels = |(error, count): (u64, u64)| match error {
            0 => EQUAL,
            error => (10.0 * (255.0 * 255.0 * count as f64 / error as f64).log10()).min(EQUAL),
        };
        Quality {
            psnr: decibels(self.colour),
            psnr_luma: decibels(self.luma),
            ssim: self.ssim / self.frames.max(1) as f64,
            frames: self.frames,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(of: impl Fn(usize) -> u8) -> Picture {
        let bgra = (0..64 * 32).flat_map(|at| [of(at), of(at), of(at), 255]).collect();
        Picture { size: Size { width: 64, height: 32 }, bgra }
    }

    fn quality(a: &Picture, b: &Picture) -> Quality {
        let mut tally = Tally::default();
        tally.add(a, b).unwrap();
        tally.quality()
    }

    #[test]
    fn equal_pictures_are_equal_and_noise_is_not() {
        let ramp = picture(|at| (at % 64 * 3) as u8);
        let same = quality(&ramp, &ramp);
        assert_eq!((same.psnr, same.psnr_luma), (EQUAL, EQUAL));
        assert!((same.ssim - 1.0).abs() < 1e-9);
        let level = quality(&ramp, &picture(|at| (at % 64 * 3) as u8 + 1));
        assert!((level.psnr - 48.13).abs() < 0.01 && (level.psnr_luma - 48.13).abs() < 0.01, "{level:?}");
        assert!(level.ssim > 0.99 && level.ssim < 1.0, "{level:?}");
        let noise = quality(&ramp, &picture(|at| (at * 7919 % 251) as u8));
        assert!(noise.ssim < 0.3 && noise.psnr < 15.0, "{noise:?}");
    }

    #[test]
    fn frames_are_spread_evenly() {
        assert_eq!((stride(100, 240), stride(241, 240), stride(1800, 240), stride(5, 0)), (1, 2, 8, 5));
    }
}
