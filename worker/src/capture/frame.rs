//! A frame on its way from Chrome to the encoder.

use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::spec::Size;

use crate::error::{CaptureError, WorkerError};
use crate::framebuffer::RawFrame;
use crate::screenshot;

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

/// The hash of a frame's pixels.
pub(super) fn hash_of(pixels: &[u8]) -> FrameHash {
    FrameHash::from_u128(xxhash_rust::xxh3::xxh3_128(pixels))
}

impl GrabbedFrame {
    /// The hash of its pixels, `size` of them.
    pub(crate) fn hash(&self, size: Size) -> Result<FrameHash, WorkerError> {
        match self {
            Self::Png(file) => {
                let mut pixels = Vec::new();
                screenshot::decode_into(file, size, &mut pixels)?;
                Ok(hash_of(&pixels))
            }
            Self::Raw(frame) => Ok(hash_of(frame.bytes())),
            Self::Same => Err(CaptureError::NoPicture.into()),
        }
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Png(file) => file.len(),
            Self::Raw(frame) => frame.bytes().len(),
            Self::Same => 0,
        }
    }
}
