//! The same composition by the published HyperFrames CLI and by hyperfarm, compared as picture and as sound.
//!
//! | what | where |
//! | --- | --- |
//! | what a composition says about its own test (`parity.json`) | [`sidecar`] |
//! | the project as both sides get it: page, libraries, made media | [`stage`], [`media`] |
//! | both renders, theirs kept between runs | [`render`] |
//! | pictures frame by frame | [`picture`] |
//! | envelope, lag and level of the sound | [`sound`] |
//! | what is right whatever the other side does | [`known`] |
//! | targets, verdicts, the table | [`report`] |

pub mod known;
pub mod media;
pub mod picture;
pub mod render;
pub mod report;
pub mod sidecar;
pub mod sound;
pub mod stage;

use std::path::{Path, PathBuf};

/// The repository that this was built in.
pub fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    folder.parent().unwrap_or(folder).to_owned()
}

/// The folder of the suite's own compositions.
pub fn compositions() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("parity")
}
