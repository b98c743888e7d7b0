//! Frames on their way from Chrome to the encoder.

use std::sync::{Arc, Mutex};

/// A frame as it came out of Chrome.
#[derive(Debug)]
pub enum GrabbedFrame {
    /// A PNG file, not yet decoded.
    Png(Vec<u8>),
    /// Pixels.
    Raw(RawFrame),
    /// The frame before it once more: Chrome says that nothing changed.
    Same,
}

impl GrabbedFrame {
    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Png(file) => file.len(),
            Self::Raw(frame) => frame.bytes().len(),
            Self::Same => 0,
        }
    }
}

/// BGRA pixels, rows without gaps, top row first. Its memory goes back to its pool.
#[derive(Debug)]
pub struct RawFrame {
    bytes: Vec<u8>,
    pool: FramePool,
}

impl RawFrame {
    /// `width * height * 4` bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        let bytes = std::mem::take(&mut self.bytes);
        if let Ok(mut free) = self.pool.0.lock() {
            free.push(bytes);
        }
    }
}

/// Memory of frames, used again: a frame of 4K is 33 MB, and getting as much from the system for each costs more than copying it.
/// It holds as many frames as were ever on their way at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct FramePool(Arc<Mutex<Vec<Vec<u8>>>>);

impl FramePool {
    /// Memory that a frame may be written into; what is in it is some earlier frame.
    pub(crate) fn take(&self) -> RawFrame {
        let bytes = self.0.lock().ok().and_then(|mut free| free.pop()).unwrap_or_default();
        RawFrame { bytes, pool: self.clone() }
    }
}

impl FramePool {
    /// Gives back to the system what is not in use, but for one frame's.
    pub(crate) fn trim(&self) {
        if let Ok(mut free) = self.0.lock() {
            free.truncate(1);
        }
    }
}

impl RawFrame {
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_used_again() {
        let pool = FramePool::default();
        let mut first = pool.take();
        first.memory().resize(1000, 7);
        let address = first.bytes().as_ptr();
        let second = pool.take();
        assert!(second.bytes().is_empty());
        drop(first);
        assert_eq!(pool.take().bytes().as_ptr(), address);
    }
}
