//! A frame on its way from Chrome to the encoder.

use hyperfarm_proto::id::FrameHash;
use hyperfarm_proto::spec::Size;

use super::layers::{LayeredFrame, layered_hash};
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
    /// Pixels with videos of high dynamic range in them.
    Layered(Box<LayeredFrame>),
}

/// The hash of a frame's pixels.
pub(super) fn hash_of(pixels: &[u8]) -> FrameHash {
    FrameHash::from_u128(xxhash_rust::xxh3::xxh3_128(pixels))
}

impl GrabbedFrame {
    /// The hash of its pixels, `size` of them.
    pub(crate) fn hash(self, size: Size) -> Result<FrameHash, WorkerError> {
        match self {
            Self::Layered(frame) => {
                let LayeredFrame { page, layers } = *frame;
                let layers = layers.into_iter().map(|layer| layer.decoded(size)).collect::<Result<Vec<_>, _>>()?;
                let mut decoded = Vec::new();
                page.decode_into(size, &mut decoded)?;
                Ok(layered_hash(page.raw().unwrap_or(&decoded), &layers))
            }
            Self::Png(_) | Self::Raw(_) => {
                let mut decoded = Vec::new();
                self.decode_into(size, &mut decoded)?;
                Ok(hash_of(self.raw().unwrap_or(&decoded)))
            }
            Self::Same => Err(CaptureError::NoPicture.into()),
        }
    }

    /// Decodes a PNG file, which must be of `size`, into `pixels`; what is pixels already stays where it is.
    pub(super) fn decode_into(&self, size: Size, pixels: &mut Vec<u8>) -> Result<(), WorkerError> {
        match self {
            Self::Png(file) => screenshot::decode_into(file, size, pixels),
            Self::Raw(_) => Ok(()),
            Self::Same | Self::Layered(_) => Err(CaptureError::NoPicture.into()),
        }
    }

    fn raw(&self) -> Option<&[u8]> {
        match self {
            Self::Raw(frame) => Some(frame.bytes()),
            _ => None,
        }
    }

    /// Bytes of memory that it holds.
    pub fn bytes(&self) -> usize {
        match self {
            Self::Png(file) => file.len(),
            Self::Raw(frame) => frame.bytes().len(),
            Self::Same => 0,
            Self::Layered(frame) => {
                frame.page.bytes() + frame.layers.iter().map(|layer| layer.white.bytes()).sum::<usize>()
            }
        }
    }
}
