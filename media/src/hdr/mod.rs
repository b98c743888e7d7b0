//! Output of high dynamic range: the page and videos of high dynamic range, composed in light.
//!
//! | what | where |
//! | --- | --- |
//! | light ↔ signals of PQ, HLG and sRGB | `curves` |
//! | pictures of videos at their own depth, and where they lie in the output | `picture` |
//! | pages and pictures → BT.2020 planes of 10 bits | `writer` |
//! | mastering display and light levels, in packets and in boxes | `metadata` |
//!
//! Light is linear, in units of SDR white, which is 203 cd/m² (ITU-R BT.2408). Arithmetic is in single precision, in the
//! order in which it is written, with tables for all powers, so the numbers are the same on every machine.
//!
//! The page is captured with a video painted black and painted white. The difference is how much of the video each
//! pixel and channel has: what lies above and below it, its corners, opacity and clipping, as the compositor has drawn
//! them. The page and the video are mixed by their sRGB signals, which go on above 1 for what is brighter than SDR white:
//! so a fade looks as that of an SDR video does, and as Chrome draws it on an HDR display.

pub(crate) mod curves;
pub(crate) mod metadata;
mod picture;
mod writer;

pub use picture::{HdrPicture, Placement};
pub(crate) use writer::HdrWriter;
pub use writer::{HdrLayer, sdr_preview};
