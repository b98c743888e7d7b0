//! The compositor's bitmap: it is found in the memory of Chrome's GPU process, and read from there.
//!
//! Chrome's software compositor draws every frame into one bitmap and keeps it. Reading it costs a copy; a
//! screenshot costs compressing, moving and decompressing it. Chrome does not promise that the bitmap is there, so it
//! is checked:
//!
//! - it is found by its pixels: a page of random colours is drawn, and every address at which memory holds exactly its
//!   pixels is a candidate. Another such page is drawn, and the candidate that holds that one as well is the bitmap;
//! - before each chunk a new page of random colours must be found at the same address ([`Framebuffer::shows`]);
//! - at the start and at the end of a chunk its pixels are compared with a screenshot of the same state.
//!
//! A chunk for which any check fails is captured with screenshots as a whole.

mod bitmap;
mod finder;
mod frame_pool;
mod marker;
mod process;
mod search;

pub use bitmap::Framebuffer;
pub use finder::FramebufferFinder;
pub(crate) use frame_pool::FramePool;
pub use frame_pool::RawFrame;
pub use marker::Marker;
pub use process::{GpuProcess, ReadError};
