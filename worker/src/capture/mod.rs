//! From a sought page to pixels and to a segment.
//!
//! [`FrameGrabber`] reads what was drawn, losslessly; how it does so is its own business ([`CapturePath`]), and one chunk uses one
//! way from its first frame to its last. [`Encoding`] turns what was read into pixels, hashes and packets on a thread of its own.

mod encoder_permits;
mod encoding;
mod frame;
mod grab;
mod png;

pub use encoder_permits::EncoderPermits;
pub use encoding::{EncodedChunk, Encoding};
pub(crate) use frame::FramePool;
pub use frame::{GrabbedFrame, RawFrame};
pub use grab::{CaptureError, FrameGrabber, GrabTimes, Next};
pub(crate) use grab::{differs, told};
pub(crate) use png::picture;
