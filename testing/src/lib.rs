//! What the tests of several crates share.
//!
//! | what | where |
//! | --- | --- |
//! | a test that cannot run on this machine says so, or fails where it has to run | [`Requirement`] |
//! | a plan to start from | [`plan`], [`content`] |
//! | a sound | [`wav()`] |

mod plan;
mod requirement;
mod wav;

pub use plan::{class, content, plan};
pub use requirement::Requirement;
pub use wav::wav;
