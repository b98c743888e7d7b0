//! The bitmap: how it is found, checked and copied.

use std::sync::Arc;

use hyperfarm_proto::spec::{Size, Viewport};

use super::frame_pool::{FramePool, RawFrame};
use super::marker::Marker;
use super::process::{GpuProcess, ReadError};
use super::search;
use crate::blocking::blocking;
use crate::chrome::{FrameKind, Page};
use crate::error::{CaptureError, WorkerError};
use crate::pixels::Difference;
use crate::screenshot;

/// What runs on threads here, for the message of a panic.
const READING: &str = "reading Chrome's memory";

/// Searches before the bitmap of a browser counts as not found. Under load the first search may come before the first
/// drawing.
const SEARCHES: u32 = 4;

/// Milliseconds between two frames of a marker page.
const INTERVAL_MS: f64 = 16.0;

/// Pauses in milliseconds before a page that is not visible yet is drawn again: on a busy machine the surface of a new
/// document exists only some time after the document.
const PAUSES_MS: [u64; 4] = [10, 40, 160, 320];

/// The bitmap that the software compositor draws into: BGRA, rows without gaps, top row first, alpha 255.
#[derive(Debug, Clone)]
pub struct Framebuffer {
    process: Arc<GpuProcess>,
    address: usize,
    bytes: usize,
    /// Memory of copies, shared by all clones.
    pool: FramePool,
}

impl Framebuffer {
    /// The bitmap at `address` of `process`, `width * height * 4` bytes for the output size of `viewport`.
    pub fn at(process: Arc<GpuProcess>, address: usize, viewport: Viewport) -> Self {
        Self { process, address, bytes: frame_bytes(viewport), pool: FramePool::default() }
    }

    /// Finds the bitmap of the page's compositor. The page is replaced by a marker. The inner error says why the bitmap
    /// was not found.
    ///
    /// # Errors
    ///
    /// The outer error is that of a call of the page.
    pub async fn find(
        page: &mut Page,
        process: GpuProcess,
        viewport: Viewport,
    ) -> Result<Result<Self, String>, WorkerError> {
        let process = Arc::new(process);
        let mut reason = "it was not searched for".to_owned();
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
            // The first candidate nearly always is the bitmap. Where it is not, the next search collects all.
            let limit = if search == 0 { 1 } else { usize::MAX };
            let searching = std::time::Instant::now();
            let (reader, marker) = (process.clone(), first.clone());
            let searching_memory = move || search::candidates(&reader, &marker, limit);
            let candidates = blocking(READING, searching_memory).await?;
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

    /// Its address in the memory of its process.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Id of the process whose memory it is in.
    pub fn process_id(&self) -> i32 {
        self.process.id()
    }

    /// Draws a page of random colours and returns whether the bitmap shows it. The page is replaced by a marker.
    ///
    /// # Errors
    ///
    /// Those of a call of the page.
    pub async fn shows(&self, page: &mut Page, viewport: Viewport) -> Result<bool, WorkerError> {
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

    /// Copies the bitmap into `frame`, whose length becomes that of the bitmap.
    ///
    /// # Errors
    ///
    /// [`ReadError`] where the kernel refuses, or the memory is gone.
    pub fn read(&self, frame: &mut Vec<u8>) -> Result<(), ReadError> {
        if frame.len() != self.bytes {
            frame.clear();
            frame.resize(self.bytes, 0);
        }
        self.process.read(self.address, frame)
    }

    /// A copy of the bitmap, in memory of the pool.
    pub(crate) fn copy(&self) -> Result<RawFrame, ReadError> {
        let mut frame = self.pool.take();
        self.read(frame.memory())?;
        Ok(frame)
    }

    /// Frees the memory of earlier copies.
    pub(crate) fn trim(&self) {
        self.pool.trim();
    }

    /// How the bitmap differs from `screenshot`, a PNG file of `size`; `None` where it does not.
    ///
    /// # Errors
    ///
    /// [`CaptureError::FramebufferLost`] where the bitmap cannot be read, and those of a screenshot that cannot be
    /// decoded.
    pub(crate) async fn difference(&self, screenshot: Vec<u8>, size: Size) -> Result<Option<Difference>, WorkerError> {
        let this = self.clone();
        blocking(READING, move || {
            let frame = this.copy().map_err(|error| CaptureError::FramebufferLost(error.to_string()))?;
            screenshot::difference(&screenshot, size, frame.bytes())
        })
        .await?
    }

    async fn holds(&self, marker: &Marker) -> Result<bool, WorkerError> {
        let (this, marker) = (self.clone(), marker.clone());
        blocking(READING, move || this.copy().is_ok_and(|frame| marker.matches(frame.bytes()))).await
    }
}

fn frame_bytes(viewport: Viewport) -> usize {
    let output = viewport.output();
    output.width as usize * output.height as usize * 4
}

/// Draws `marker`, twice, because the first frame of a new document may still show the old one.
async fn show(page: &mut Page, marker: &Marker) -> Result<(), WorkerError> {
    page.navigate("about:blank").await?;
    page.evaluate::<()>(marker.script()).await?;
    for _ in 0..2 {
        page.begin_frame(INTERVAL_MS, FrameKind::Draw).await?;
    }
    Ok(())
}

/// Draws once more after a pause.
async fn draw_after(page: &mut Page, pause_ms: u64) -> Result<(), WorkerError> {
    tokio::time::sleep(std::time::Duration::from_millis(pause_ms)).await;
    page.begin_frame(INTERVAL_MS, FrameKind::Draw).await.map(drop)
}
