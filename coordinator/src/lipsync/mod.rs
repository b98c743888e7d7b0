//! Existing videos with a new sound: composed by the farm, and rendered as any other project.
//!
//! | module | what it is |
//! | --- | --- |
//! | `composition` | a video with a new sound as a project |
//! | `times` | which second of the video is shown when |
//! | `engine` | the operator's engine that moves mouths: the trait, and the one behind HTTP |
//! | `records` | what storage has of a lipsync beside its render |

pub(crate) mod composition;
mod engine;
pub(crate) mod records;
pub(crate) mod times;

pub(crate) use engine::ANSWER_WITHIN;
pub use engine::{HttpLipsync, LipsyncConfig, LipsyncEngine, LipsyncError, LipsyncJob};

/// The event of a lipsync that completed.
pub(crate) const SUCCESS: &str = "lipsync.success";

/// The event of a lipsync that failed.
pub(crate) const FAIL: &str = "lipsync.fail";
