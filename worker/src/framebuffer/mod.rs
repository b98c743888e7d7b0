//! The compositor's own picture: found in the memory of Chrome's GPU process, and read from there.
//!
//! Chrome's software compositor draws every frame into one bitmap and keeps it. Reading that costs a copy; asking Chrome for a
//! screenshot costs compressing, moving and decompressing it. Nobody promises that the bitmap is there, so nothing is taken on
//! trust:
//!
//! - it is found by what it shows: a page of random colours is drawn, and every place in memory that holds exactly its pixels
//!   is a candidate. Another such page is drawn, and the candidate that shows that one as well is the bitmap;
//! - before each chunk a new page of random colours must be found where the bitmap was ([`Framebuffer::shows`]);
//! - at the start and at the end of a chunk its pixels are compared with a screenshot of the same state.
//!
//! What fails any of it captures with screenshots, whole chunks at a time.

mod marker;
mod process;
mod search;

use std::sync::Arc;

use hyperfarm_proto::spec::Viewport;

use crate::capture::{FramePool, RawFrame};
use crate::chrome::{Page, Shot};
use hyperfarm_proto::failure::{Failure, FailureCode};

pub use marker::Marker;
pub use process::{GpuProcess, ReadError};

/// Searches before a browser counts as one whose bitmap cannot be found. Under load the first may come before the first drawing.
const SEARCHES: u32 = 4;

/// Milliseconds between two frames of marker pages.
const INTERVAL_MS: f64 = 16.0;

/// Pauses before a page that does not show yet is drawn again: on a busy machine the surface of a new document comes some time after it.
const PAUSES_MS: [u64; 4] = [10, 40, 160, 320];

/// The bitmap that the software compositor draws into: BGRA, rows without gaps, top row first, alpha 255.
#[derive(Debug, Clone)]
pub struct Framebuffer {
    process: Arc<GpuProcess>,
    address: usize,
    bytes: usize,
    /// Memory of copies, the same for all clones: getting it from the system for each costs more than copying.
    pool: FramePool,
}

impl Framebuffer {
    /// The bitmap at `address` of `process`, `width * height * 4` bytes for the output size of `viewport`.
    pub fn at(process: Arc<GpuProcess>, address: usize, viewport: Viewport) -> Self {
        Self { process, address, bytes: frame_bytes(viewport), pool: FramePool::default() }
    }

    /// Finds the bitmap of the page's compositor. The page shows something else afterwards.
    ///
    /// The inner error is a sentence that says why it was not found, the outer one what Chrome answered.
    pub async fn find(
        page: &mut Page,
        process: GpuProcess,
        viewport: Viewport,
    ) -> Result<Result<Self, String>, Failure> {
        let process = Arc::new(process);
        let mut reason = "it was not looked for".to_owned();
        for search in 0..SEARCHES {
            if search > 0 {
                tokio::time::sleep(std::time::Duration::from_millis(50 << search)).await;
            }
            let Some(first) = Marker::random(viewport) else {
                return Ok(Err("the page is too small to tell its bitmap apart".to_owned()));
            };
            show(page, &first).await?;
            for pause in PAUSES_MS.into_iter().take(search as usize) {
                draw_after(page, pause).await?;
            }
            // The first one nearly always is it. Where it is not, the next search is for all.
            let most = if search == 0 { 1 } else { usize::MAX };
            let searching = std::time::Instant::now();
            let (reader, looked) = (process.clone(), first.clone());
            let candidates = blocking(move || search::candidates(&reader, &looked, most)).await?;
            let candidates = match candidates {
                Ok(candidates) => candidates,
                Err(error) => return Ok(Err(error.to_string())),
            };
            tracing::debug!(
                took_ms = searching.elapsed().as_millis(),
                candidates = candidates.len(),
                "memory searched"
            );
            reason = format!("{} candidates for it", candidates.len());
            let Some(second) = Marker::random(viewport) else { continue };
            show(page, &second).await?;
            for pause in PAUSES_MS {
                for address in &candidates {
                    let found = Self::at(process.clone(), *address, viewport);
                    if found.holds(&second).await? {
                        return Ok(Ok(found));
                    }
                }
                if candidates.is_empty() {
                    break;
                }
                draw_after(page, pause).await?;
            }
        }
        Ok(Err(format!("Chrome's memory does not hold what it draws: {reason}")))
    }

    /// Where it is in the memory of its process.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Number of the process whose memory it is in.
    pub fn process_id(&self) -> i32 {
        self.process.id()
    }

    /// Draws a page of random colours and says whether the bitmap shows it.
    pub async fn shows(&self, page: &mut Page, viewport: Viewport) -> Result<bool, Failure> {
        let Some(marker) = Marker::random(viewport) else { return Ok(false) };
        show(page, &marker).await?;
        for pause in PAUSES_MS {
            if self.holds(&marker).await? {
                return Ok(true);
            }
            draw_after(page, pause).await?;
        }
        self.holds(&marker).await
    }

    /// Copies the bitmap into `frame`, which gets its length.
    pub fn read(&self, frame: &mut Vec<u8>) -> Result<(), ReadError> {
        if frame.len() != self.bytes {
            frame.clear();
            frame.resize(self.bytes, 0);
        }
        self.process.read(self.address, frame)
    }

    /// A copy of the bitmap, in memory that is used again.
    pub(crate) fn copy(&self) -> Result<RawFrame, ReadError> {
        let mut frame = self.pool.take();
        self.read(frame.memory())?;
        Ok(frame)
    }

    /// Gives back to the system what earlier copies needed.
    pub(crate) fn trim(&self) {
        self.pool.trim();
    }

    async fn holds(&self, marker: &Marker) -> Result<bool, Failure> {
        let (this, marker) = (self.clone(), marker.clone());
        blocking(move || this.copy().is_ok_and(|frame| marker.is(frame.bytes()))).await
    }
}

/// Whether two BGRA pictures show the same colours; alpha is not looked at.
pub fn equal_colours(one: &[u8], other: &[u8]) -> bool {
    one.len() == other.len() && difference(one, other).is_none()
}

/// How two pictures differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Difference {
    /// Pixels that differ.
    pub pixels: usize,
    /// The largest difference of a colour, of 255.
    pub most: u8,
    /// Number of the first pixel that differs, row by row.
    pub first: usize,
}

/// How the colours of two BGRA pictures of one size differ; none where they do not. Alpha is not looked at.
pub fn difference(one: &[u8], other: &[u8]) -> Option<Difference> {
    let colours = |pixel: &[u8; 4]| u32::from_le_bytes(*pixel) & 0x00ff_ffff;
    let pairs = || one.as_chunks::<4>().0.iter().zip(other.as_chunks::<4>().0);
    let first = pairs().position(|(one, other)| colours(one) != colours(other))?;
    let mut difference = Difference { pixels: 0, most: 0, first };
    for (one, other) in pairs().skip(first).filter(|(one, other)| colours(one) != colours(other)) {
        difference.pixels += 1;
        let most = one.iter().zip(other).take(3).map(|(one, other)| one.abs_diff(*other)).max();
        difference.most = difference.most.max(most.unwrap_or(0));
    }
    Some(difference)
}

fn frame_bytes(viewport: Viewport) -> usize {
    let output = viewport.output();
    output.width as usize * output.height as usize * 4
}

/// Draws `marker`. Twice, because the first frame of a new document may still show the old one.
async fn show(page: &mut Page, marker: &Marker) -> Result<(), Failure> {
    page.navigate("about:blank").await?;
    page.evaluate::<()>(marker.script()).await?;
    for _ in 0..2 {
        page.begin_frame(INTERVAL_MS, Shot::None).await?;
    }
    Ok(())
}

/// Draws once more, some time later.
async fn draw_after(page: &mut Page, pause_ms: u64) -> Result<(), Failure> {
    tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
    page.begin_frame(INTERVAL_MS, Shot::None).await.map(drop)
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, Failure> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|panic| Failure::new(FailureCode::Internal, format!("reading Chrome's memory broke: {panic}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_compared_and_alpha_is_not() {
        assert!(equal_colours(&[1, 2, 3, 0, 4, 5, 6, 255], &[1, 2, 3, 255, 4, 5, 6, 255]));
        assert!(!equal_colours(&[1, 2, 3, 255], &[1, 2, 4, 255]));
        assert!(!equal_colours(&[1, 2, 3, 255], &[1, 2, 3, 255, 1, 2, 3, 255]));
        let found = difference(&[0, 0, 0, 9, 5, 5, 5, 0, 7, 7, 7, 7], &[0, 0, 0, 0, 5, 3, 6, 0, 7, 7, 8, 7]);
        assert_eq!(found, Some(Difference { pixels: 2, most: 2, first: 1 }));
    }
}
