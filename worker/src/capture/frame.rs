//! A frame on its way from Chrome to the encoder.

use crate::framebuffer::RawFrame;

/// A frame as it was read from Chrome.
#[derive(Debug)]
pub enum GrabbedFrame {
    /// A PNG file, not yet decoded.
    Png(Vec<u8>),
    /// Pixels.
    Raw(RawFrame),
    /// The frame before it once more: Chrome reports that nothing changed.
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
