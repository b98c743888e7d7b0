//! Colour conversion between full-range sRGB and the planes of video.
//!
//! | what | where |
//! | --- | --- |
//! | bitmaps → planes for encoders, BT.709 limited range | `to_yuv` |
//! | decoded frames → BGRA: any format by swscale; 8-bit 4:2:0 by our own code | `to_bgra`, `yuv420_to_bgra` |
//! | PQ and HLG → standard dynamic range | `hdr`; at their own depth they stay in [`crate::hdr`] |
//! | the matrix of untagged streams | `matrix` |
//! | rotation by a camera's metadata | `rotate` |

mod hdr;
mod matrix;
mod rotate;
pub(crate) mod to_bgra;
mod to_yuv;
mod yuv420_to_bgra;

pub(crate) use matrix::DefaultMatrix;
pub(crate) use rotate::Rotation;
pub(crate) use to_bgra::{ToBgra, in_square_pixels};
pub(crate) use to_yuv::{YuvFormat, YuvWriter};
