//! Capture: from a page at a frame to pixels and to a segment.
//!
//! [`FrameGrabber`] reads what was drawn, losslessly, by one of two ways
//! ([`CapturePath`](hyperfarm_proto::record::CapturePath)); one chunk uses one way from its first frame to its last.
//! [`Encoding`] turns what was read into pixels, hashes and packets on a thread of its own.

mod average;
mod encoder_permits;
mod encoding;
mod frame;
mod grab;
mod layers;

pub use encoder_permits::EncoderPermits;
pub use encoding::{EncodedChunk, Encoding};
pub use frame::GrabbedFrame;
pub use grab::{FrameGrabber, GrabTimes, Next};
pub use layers::LayeredFrame;
