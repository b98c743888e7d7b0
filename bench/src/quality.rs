//! How close a video is to what was captured: PSNR and SSIM against a lossless sequence of PNG files.
//!
//! Both sides' videos come through the same decoder and are held against the same files. PSNR is that of the whole clip (from the mean of
//! the squared errors of all compared frames), over red, green and blue, and over luma alone; SSIM is the mean over luma,
//! in windows of 8 by 8 pixels every 4 pixels. What is transparent is compared over middle grey.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use hyperfarm_e2e::parity::picture::over_grey;
use hyperfarm_media::{Picture, decode_video};
use hyperfarm_proto::spec::Size;

/// Decibels that stand for "equal".
const EQUAL: f64 = 100.0;

/// What a comparison found.
#[derive(Debug, Clone, Copy, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Quality {
    /// Decibels over red, green and blue.
    pub psnr: f64,
    /// Decibels over luma.
    pub psnr_luma: f64,
    /// Structural similarity of luma, at most 1.
    pub ssim: f64,
    /// Frames that were compared.
    pub frames: u64,
}

/// The PNG files of `folder`, in order.
pub fn sequence(folder: &Path) -> anyhow::Result<Vec<PathBuf>> {
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
pub fn of_video(video: &Path, reference: &[PathBuf], most: u64) -> anyhow::Result<Quality> {
    let mut tally = Tally::default();
    let every = stride(reference.len(), most);
    let mut broken = None;
    let frames = decode_video(video, &mut |number, picture| {
        if number % every == 0
            && let Some(file) = reference.get(number as usize)
        {
            broken = read(file).and_then(|other| tally.add(&other, picture)).err();
        }
        broken.is_none()
    })?;
    if let Some(error) = broken {
        return Err(error.context(video.display().to_string()));
    }
    if frames != reference.len() as u64 {
        bail!("{} has {frames} frames, and the lossless capture {}", video.display(), reference.len());
    }
    Ok(tally.quality())
}

/// Compares two sequences of PNG files, and answers the largest difference of a byte beside it.
pub fn of_sequences(a: &[PathBuf], b: &[PathBuf], most: u64) -> anyhow::Result<(Quality, u8)> {
    if a.len() != b.len() {
        bail!("one sequence has {} frames, the other {}", a.len(), b.len());
    }
    let mut tally = Tally::default();
    let mut largest = 0;
    for (a, b) in a.iter().zip(b).step_by(stride(a.len(), most) as usize) {
        let (a, b) = (over_grey(&read(a)?), over_grey(&read(b)?));
        tally.add(&a, &b)?;
        largest = largest.max(hyperfarm_media::compare::largest_difference(&a, &b));
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
        if a.size != b.size || a.bgra.len() != b.bgra.len() {
            bail!("{} and {} pixels", a.size, b.size);
        }
        let opaque = |picture: &Picture| picture.bgra.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255);
        if !opaque(a) || !opaque(b) {
            return self.add_opaque(&over_grey(a), &over_grey(b));
        }
        self.add_opaque(a, b)
    }

    fn add_opaque(&mut self, a: &Picture, b: &Picture) -> anyhow::Result<()> {
        let mut error = 0;
        for (a, b) in a.bgra.as_chunks::<4>().0.iter().zip(b.bgra.as_chunks::<4>().0) {
            error += (0..3).map(|at| u64::from(a[at].abs_diff(b[at])).pow(2)).sum::<u64>();
        }
        self.colour.0 += error;
        self.colour.1 += a.bgra.len() as u64 / 4 * 3;
        let (width, height) = (a.size.width as usize, a.size.height as usize);
        let (a, b) = (luma(a), luma(b));
        self.luma.0 += a.iter().zip(&b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum::<u64>();
        self.luma.1 += a.len() as u64;
        self.ssim += ssim(&a, &b, width, height);
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

/// BT.709 luma, full range.
fn luma(picture: &Picture) -> Vec<u8> {
    let pixels = picture.bgra.as_chunks::<4>().0.iter();
    pixels
        .map(|[blue, green, red, _]| {
            ((u32::from(*red) * 13933 + u32::from(*green) * 46871 + u32::from(*blue) * 4732 + 32768) >> 16) as u8
        })
        .collect()
}

/// Sums over a block of 4 by 4 pixels: of a, of b, of both squared, of the product.
type Block = [u32; 4];

fn ssim(a: &[u8], b: &[u8], width: usize, height: usize) -> f64 {
    let (columns, rows) = (width / 4, height / 4);
    if columns < 2 || rows < 2 {
        return if a == b { 1.0 } else { 0.0 };
    }
    let mut above = blocks(a, b, width, columns, 0);
    let mut sum = 0.0;
    for row in 1..rows {
        let below = blocks(a, b, width, columns, row);
        for (above, below) in above.windows(2).zip(below.windows(2)) {
            let at = |n: usize| f64::from(above[0][n] + above[1][n] + below[0][n] + below[1][n]) / 64.0;
            sum += similarity(at(0), at(1), at(2), at(3));
        }
        above = below;
    }
    sum / ((columns - 1) * (rows - 1)) as f64
}

fn blocks(a: &[u8], b: &[u8], width: usize, columns: usize, row: usize) -> Vec<Block> {
    let mut blocks = vec![[0; 4]; columns];
    for y in row * 4..row * 4 + 4 {
        let (a, b) = (&a[y * width..], &b[y * width..]);
        for ((block, a), b) in blocks.iter_mut().zip(a.as_chunks::<4>().0).zip(b.as_chunks::<4>().0) {
            for (a, b) in a.iter().zip(b) {
                let (a, b) = (u32::from(*a), u32::from(*b));
                block[0] += a;
                block[1] += b;
                block[2] += a * a + b * b;
                block[3] += a * b;
            }
        }
    }
    blocks
}

/// From the means of a window's values, of both squared together, and of the products.
fn similarity(a: f64, b: f64, squares: f64, products: f64) -> f64 {
    const C1: f64 = (0.01 * 255.0) * (0.01 * 255.0);
    const C2: f64 = (0.03 * 255.0) * (0.03 * 255.0);
    let (variance, covariance) = (squares - a * a - b * b, products - a * b);
    (2.0 * a * b + C1) * (2.0 * covariance + C2) / ((a * a + b * b + C1) * (variance + C2))
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
