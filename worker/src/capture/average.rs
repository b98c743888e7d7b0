//! Motion blur: the pictures of one frame are averaged, in linear light.

use std::sync::LazyLock;

use hyperfarm_media::{srgb_light, srgb_signal};
use hyperfarm_proto::spec::Size;

use super::frame::GrabbedFrame;
use crate::error::{CaptureError, WorkerError};
use crate::framebuffer::FramePool;
use crate::screenshot;

/// Bytes of a pixel.
const PIXEL: usize = 4;
/// Linear light of white.
const WHITE: u32 = 65_535;

/// Linear light of each value of sRGB.
static LINEAR: LazyLock<[u32; 256]> =
    LazyLock::new(|| std::array::from_fn(|value| (srgb_light(value as f64 / 255.0) * f64::from(WHITE)).round() as u32));

/// The nearest value of sRGB of each linear light.
static ENCODED: LazyLock<Vec<u8>> = LazyLock::new(|| {
    (0..=WHITE).map(|light| (srgb_signal(f64::from(light) / f64::from(WHITE)) * 255.0).round() as u8).collect()
});

/// The mean of the pictures of a frame. Rows that do not change from one picture to the next are not added up, and a
/// row that is the same in all of them is that row.
#[derive(Debug)]
pub(super) struct FrameAverage {
    size: Size,
    alpha: bool,
    pool: FramePool,
    /// The latest picture: BGRA with straight alpha.
    latest: Vec<u8>,
    decoded: Vec<u8>,
    /// For each row: pictures of this frame that had it as it is in `latest`, and that are not in the sums.
    held: Vec<u32>,
    /// For each row: pictures of this frame that are in the sums.
    summed: Vec<u32>,
    /// For each pixel: linear blue, green and red by their weight, and the weight. It is the alpha, or one a picture.
    sums: Vec<[u32; PIXEL]>,
    /// Pictures of this frame.
    pictures: u32,
    /// Whether any of them differed from the one before it.
    changed: bool,
    /// Whether the frame before this one was its last picture.
    was_still: bool,
}

impl FrameAverage {
    /// An average of pictures of `size`, which are opaque unless `alpha`.
    pub(super) fn new(size: Size, alpha: bool) -> Self {
        let (rows, pixels) = (size.height as usize, size.width as usize * size.height as usize);
        Self {
            size,
            alpha,
            pool: FramePool::default(),
            latest: vec![0; pixels * PIXEL],
            decoded: Vec::new(),
            held: vec![0; rows],
            summed: vec![0; rows],
            sums: vec![[0; PIXEL]; pixels],
            pictures: 0,
            changed: false,
            was_still: false,
        }
    }

    /// Adds the next picture of the frame.
    pub(super) fn add(&mut self, picture: &GrabbedFrame) -> Result<(), WorkerError> {
        match picture {
            GrabbedFrame::Same => self.held.iter_mut().for_each(|held| *held += 1),
            GrabbedFrame::Raw(frame) => self.add_pixels(frame.bytes())?,
            GrabbedFrame::Png(file) => {
                let mut decoded = std::mem::take(&mut self.decoded);
                screenshot::decode_into(file, self.size, &mut decoded)?;
                self.add_pixels(&decoded)?;
                self.decoded = decoded;
            }
            GrabbedFrame::Layered(_) => return Err(CaptureError::NoPicture.into()),
        }
        self.pictures += 1;
        Ok(())
    }

    fn add_pixels(&mut self, pixels: &[u8]) -> Result<(), CaptureError> {
        if pixels.len() != self.latest.len() {
            let (found, expected) = (pixels.len(), self.latest.len());
            return Err(CaptureError::FramebufferLost(format!("a picture has {found} bytes instead of {expected}")));
        }
        let bytes = self.size.width as usize * PIXEL;
        for (row, pixels) in pixels.chunks_exact(bytes).enumerate() {
            if self.latest.get(row * bytes..(row + 1) * bytes) != Some(pixels) {
                self.changed = true;
                self.sum_up(row);
                if let Some(latest) = self.latest.get_mut(row * bytes..(row + 1) * bytes) {
                    latest.copy_from_slice(pixels);
                }
            }
            if let Some(held) = self.held.get_mut(row) {
                *held += 1;
            }
        }
        Ok(())
    }

    /// Moves the pictures for which the latest state of a row stands into its sums.
    fn sum_up(&mut self, row: usize) {
        let width = self.size.width as usize;
        let (Some(held), Some(summed)) = (self.held.get_mut(row), self.summed.get_mut(row)) else { return };
        let (pictures, is_first) = (std::mem::take(held), *summed == 0);
        if pictures == 0 {
            return;
        }
        *summed += pictures;
        let (linear, alpha) = (&*LINEAR, self.alpha);
        let latest = self.latest.as_chunks::<PIXEL>().0.iter().skip(row * width).take(width);
        for (sums, [blue, green, red, opacity]) in self.sums.iter_mut().skip(row * width).zip(latest) {
            let weight = if alpha { pictures * u32::from(*opacity) } else { pictures };
            let light = |value: &u8| linear.get(usize::from(*value)).copied().unwrap_or_default() * weight;
            let more = [light(blue), light(green), light(red), weight];
            *sums = if is_first { more } else { std::array::from_fn(|part| sums[part] + more[part]) };
        }
    }

    /// The mean of the pictures since the last call; there was at least one.
    pub(super) fn finish(&mut self) -> GrabbedFrame {
        let is_still = self.summed.iter().all(|summed| *summed == 0);
        let repeats = is_still && self.was_still && !self.changed;
        let frame = if repeats { GrabbedFrame::Same } else { self.mean() };
        self.was_still = is_still;
        self.changed = false;
        self.pictures = 0;
        self.held.fill(0);
        self.summed.fill(0);
        frame
    }

    fn mean(&mut self) -> GrabbedFrame {
        let width = self.size.width as usize;
        for row in 0..self.summed.len() {
            if self.summed.get(row).is_some_and(|summed| *summed > 0) {
                self.sum_up(row);
            }
        }
        let mut frame = self.pool.take();
        let pixels = frame.memory();
        pixels.clear();
        pixels.extend_from_slice(&self.latest);
        let (encoded, pictures) = (&*ENCODED, self.pictures);
        let rows = pixels.as_chunks_mut::<PIXEL>().0.chunks_exact_mut(width).zip(self.sums.chunks_exact(width));
        for ((pixels, sums), _) in rows.zip(&self.summed).filter(|(_, summed)| **summed > 0) {
            for (pixel, [blue, green, red, weight]) in pixels.iter_mut().zip(sums) {
                let level = |light: &u32| {
                    let mean = (light + weight / 2) / (*weight).max(1);
                    encoded.get(mean as usize).copied().unwrap_or(u8::MAX)
                };
                // The fourth byte of an opaque picture is whatever Chrome has there.
                let opacity = if self.alpha { ((weight + pictures / 2) / pictures) as u8 } else { pixel[3] };
                *pixel = [level(blue), level(green), level(red), opacity];
            }
        }
        GrabbedFrame::Raw(frame)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(pool: &FramePool, pixels: &[[u8; 4]]) -> GrabbedFrame {
        let mut frame = pool.take();
        frame.memory().clear();
        frame.memory().extend(pixels.iter().flatten());
        GrabbedFrame::Raw(frame)
    }

    fn pixels(frame: &GrabbedFrame) -> Vec<[u8; 4]> {
        match frame {
            GrabbedFrame::Raw(frame) => frame.bytes().as_chunks().0.to_vec(),
            other => panic!("{other:?} has no pixels"),
        }
    }

    #[test]
    fn every_value_survives_linear_light() {
        for value in 0..=u8::MAX {
            assert_eq!(ENCODED[LINEAR[usize::from(value)] as usize], value);
        }
    }

    #[test]
    fn a_mean_is_of_light_and_a_still_row_stays_as_it_is() {
        let pool = FramePool::default();
        let mut average = FrameAverage::new(Size { width: 1, height: 2 }, false);
        let still = [9, 200, 77, 3];
        for value in [0, 255] {
            average.add(&picture(&pool, &[[value, value, 100, 3], still])).unwrap();
        }
        // Half of the light of white is 188, and not 128.
        assert_eq!(pixels(&average.finish()), [[188, 188, 100, 3], still]);
        // The next frame begins with the last picture of this one.
        average.add(&GrabbedFrame::Same).unwrap();
        average.add(&GrabbedFrame::Same).unwrap();
        assert_eq!(pixels(&average.finish()), [[255, 255, 100, 3], still]);
        average.add(&GrabbedFrame::Same).unwrap();
        assert!(matches!(average.finish(), GrabbedFrame::Same));
        average.add(&picture(&pool, &[[1, 2, 3, 3], still])).unwrap();
        assert_eq!(pixels(&average.finish()), [[1, 2, 3, 3], still]);
    }

    #[test]
    fn colours_count_by_their_opacity() {
        let pool = FramePool::default();
        let mut average = FrameAverage::new(Size { width: 2, height: 1 }, true);
        for pixels in [[[10, 20, 30, 255], [0; 4]], [[0; 4], [0; 4]], [[0; 4], [40, 50, 60, 0]]] {
            average.add(&picture(&pool, &pixels)).unwrap();
        }
        assert_eq!(pixels(&average.finish()), [[10, 20, 30, 85], [0; 4]]);
    }
}
