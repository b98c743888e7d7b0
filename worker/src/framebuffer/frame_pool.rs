//! Memory for copies of frames, used again.

use std::sync::Arc;

use parking_lot::Mutex;

/// BGRA pixels, rows without gaps, top row first. When it is dropped, its memory goes back to its pool.
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

    /// The memory to write a frame into.
    pub(crate) fn memory(&mut self) -> &mut Vec<u8> {
        &mut self.bytes
    }
}

impl Drop for RawFrame {
    fn drop(&mut self) {
        self.pool.0.lock().push(std::mem::take(&mut self.bytes));
    }
}

/// Memory of frames, used again: a frame of 4K is 33 MB, and allocating as much for each costs more than copying it.
/// The pool holds as many frames as were ever in use at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct FramePool(Arc<Mutex<Vec<Vec<u8>>>>);

impl FramePool {
    /// Memory that a frame may be written into. It holds an earlier frame, or is empty.
    pub(crate) fn take(&self) -> RawFrame {
        let bytes = self.0.lock().pop().unwrap_or_default();
        RawFrame { bytes, pool: self.clone() }
    }

    /// Frees all memory that is not in use, except that of one frame.
    pub(super) fn trim(&self) {
        self.0.lock().truncate(1);
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
