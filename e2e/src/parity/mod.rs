//! The parity suite: compositions rendered by the published HyperFrames CLI and by hyperfarm, and compared frame by
//! frame and as sound.
//!
//! | what | where |
//! | --- | --- |
//! | settings and expectations of a composition (`parity.json`) | [`sidecar`] |
//! | staging: page, libraries, generated media | [`stage`], [`media`] |
//! | both renders; those of the published CLI are cached | [`render`] |
//! | comparison of frames | [`picture`] |
//! | comparison of sound: envelope, lag and level | [`sound`] |
//! | expected frames, colours and levels, without the other renderer | [`expected`] |
//! | targets, verdicts and the table | [`report`] |

pub mod expected;
pub mod media;
pub mod picture;
pub mod render;
pub mod report;
pub mod sidecar;
pub mod sound;
pub mod stage;

use std::path::{Path, PathBuf};

/// Root folder of the repository.
pub fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.parent().unwrap_or(folder).to_owned()
}

/// Folder of the suite's own compositions.
pub fn compositions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity")
}
