//! Colour: full-range sRGB on one side, BT.709 limited-range planes on the other.

pub(crate) mod bgra;
mod fast;
mod hdr;
mod matrix;
mod rotate;
mod yuv;

pub(crate) use bgra::{ToBgra, in_square_pixels};
pub(crate) use matrix::Untagged;
pub(crate) use rotate::Rotation;
pub(crate) use yuv::{YuvFormat, YuvWriter};
