//! Versions of the HyperFrames runtime, the script that seeks a composition in its page.
//!
//! Each worker has one version built in. Others are packages in storage, made of a published package of HyperFrames.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::bounded::Text;
use crate::id::ContentHash;

/// What the farm keeps of a published package of HyperFrames.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct RuntimePackage {
    /// Name in the package's own `package.json`.
    pub name: Text<100>,
    /// Version in the package's own `package.json`.
    pub version: Text<64>,
    /// Licence in the package's own `package.json`.
    pub license: Text<200>,
    /// Text of the package's licence files; empty where it has none.
    #[serde(default)]
    pub license_text: String,
    /// The runtime, a classic script.
    pub script: String,
    /// The script of sound effects. Without it, sounds have the effects of the built-in version.
    #[serde(default)]
    pub effects: Option<String>,
}

impl RuntimePackage {
    /// Most bytes of a package as JSON. Published ones have less than 1 MB.
    pub const MAX_BYTES: usize = 2 * 1024 * 1024;
}

/// The runtime of a render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RuntimeVersion {
    /// Version, such as `0.8.170`.
    pub version: String,
    /// Hash of its content: of the stored [`RuntimePackage`], or of the scripts that are built in.
    pub hash: ContentHash,
}
