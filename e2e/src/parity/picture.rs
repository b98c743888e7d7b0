//! Compares two videos frame by frame. Both are decoded at the same time, so that only a few frames are in memory.

use std::path::Path;
use std::sync::mpsc::{Receiver, sync_channel};

use anyhow::{Context, anyhow};
use hyperfarm_media::{MediaError, Picture, compare, decode_video};
use hyperfarm_proto::spec::Size;

/// Decibels that stand for "equal".
pub const EQUAL: f64 = 100.0;

/// Result of a comparison.
#[derive(Debug, Clone, PartialEq, serde::Serialize)]
pub struct PictureResult {
    /// Frames of ours and of theirs.
    pub frames: (u64, u64),
    /// Width and height of ours and of theirs.
    pub sizes: ((u32, u32), (u32, u32)),
    /// PSNR of each frame that both have, in decibels, at most [`EQUAL`]. With transparency it is the lower of the
    /// colours over grey and of the alpha.
    pub psnr: Vec<f64>,
}

impl PictureResult {
    /// Mean of the frames.
    pub fn mean(&self) -> f64 {
        self.psnr.iter().sum::<f64>() / self.psnr.len().max(1) as f64
    }

    /// The worst frame and its PSNR.
    pub fn worst(&self) -> (u64, f64) {
        let found = self.psnr.iter().enumerate().min_by(|a, b| a.1.total_cmp(b.1));
        found.map_or((0, 0.0), |(frame, value)| (frame as u64, *value))
    }
}

/// The frame that differs most, of both videos.
pub struct Pair {
    ours: Picture,
    theirs: Picture,
}

/// Compares two videos. Also returns the frame that differs most.
///
/// # Errors
/// A video cannot be decoded.
pub fn compare_videos(ours: &Path, theirs: &Path) -> anyhow::Result<(PictureResult, Option<Pair>)> {
    let (sender, receiver) = sync_channel::<Picture>(4);
    let other = theirs.to_owned();
    let decoder = std::thread::spawn(move || -> Result<u64, MediaError> {
        decode_video(&other, &mut |_, picture| sender.send(copy(picture)).is_ok())
    });
    let mut comparison = Comparison { receiver, psnr: Vec::new(), sizes: None, worst: None };
    let mine = decode_video(ours, &mut |_, picture| {
        comparison.compare(picture);
        true
    });
    let Comparison { receiver, psnr, sizes, worst } = comparison;
    // The rest of theirs is only counted.
    while receiver.recv().is_ok() {}
    let count = decoder.join().map_err(|_| anyhow!("the decoder of {} panicked", theirs.display()))?;
    let mine = mine.with_context(|| format!("decoding {}", ours.display()))?;
    let count = count.with_context(|| format!("decoding {}", theirs.display()))?;
    let sizes = sizes.unwrap_or(((0, 0), (0, 0)));
    Ok((PictureResult { frames: (mine, count), sizes, psnr }, worst.map(|(_, pair)| pair)))
}

/// Comparison in progress.
struct Comparison {
    receiver: Receiver<Picture>,
    psnr: Vec<f64>,
    sizes: Option<((u32, u32), (u32, u32))>,
    worst: Option<(f64, Pair)>,
}

impl Comparison {
    fn compare(&mut self, ours: &Picture) {
        let Ok(theirs) = self.receiver.recv() else { return };
        let size = |size: Size| (size.width, size.height);
        self.sizes.get_or_insert((size(ours.size), size(theirs.size)));
        let value = similarity(ours, &theirs);
        self.psnr.push(value);
        if self.worst.as_ref().is_none_or(|(worst, _)| value < *worst) {
            self.worst = Some((value, Pair { ours: copy(ours), theirs }));
        }
    }
}

fn similarity(a: &Picture, b: &Picture) -> f64 {
    let opaque = |picture: &Picture| picture.bgra.as_chunks::<4>().0.iter().all(|pixel| pixel[3] == 255);
    let value = if opaque(a) && opaque(b) {
        compare::psnr(a, b)
    } else {
        compare::psnr(&over_grey(a), &over_grey(b)).min(compare::alpha_psnr(a, b))
    };
    value.min(EQUAL)
}

/// `picture` over middle grey, so that the colours of transparent pixels do not count.
pub fn over_grey(picture: &Picture) -> Picture {
    let mut result = copy(picture);
    for pixel in result.bgra.as_chunks_mut::<4>().0 {
        let alpha = u32::from(pixel[3]);
        for value in &mut pixel[..3] {
            *value = ((u32::from(*value) * alpha + 128 * (255 - alpha) + 127) / 255) as u8;
        }
        pixel[3] = 255;
    }
    result
}

fn copy(picture: &Picture) -> Picture {
    Picture { size: picture.size, bgra: picture.bgra.clone() }
}

impl Pair {
    /// Writes ours, theirs and four times their difference side by side.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn write_png(&self, path: &Path) -> anyhow::Result<()> {
        let (ours, theirs) = (over_grey(&self.ours), over_grey(&self.theirs));
        let width = ours.size.width.max(theirs.size.width);
        let height = ours.size.height.max(theirs.size.height);
        let mut rgb = Vec::with_capacity(width as usize * height as usize * 9);
        let black = [0; 4];
        for y in 0..height {
            let row = |picture: &Picture| -> Vec<[u8; 4]> {
                (0..width).map(|x| picture.pixel(x, y).unwrap_or(black)).collect()
            };
            let (a, b) = (row(&ours), row(&theirs));
            for pixel in a.iter().chain(&b) {
                rgb.extend([pixel[2], pixel[1], pixel[0]]);
            }
            for (a, b) in a.iter().zip(&b) {
                rgb.extend([2, 1, 0].map(|channel: usize| a[channel].abs_diff(b[channel]).saturating_mul(4)));
            }
        }
        let file = std::fs::File::create(path).with_context(|| format!("writing {}", path.display()))?;
        let mut encoder = png::Encoder::new(std::io::BufWriter::new(file), width * 3, height);
        encoder.set_color(png::ColorType::Rgb);
        encoder.set_depth(png::BitDepth::Eight);
        encoder.write_header()?.write_image_data(&rgb)?;
        Ok(())
    }
}
