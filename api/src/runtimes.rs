//! Versions of the HyperFrames runtime.

pub use hyperfarm_proto::runtime::RuntimePackage;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::Request;

impl Request for RuntimePackage {
    const EXAMPLE: &str = r#"{
        "name": "hyperframes", "version": "0.8.60", "license": "Apache-2.0", "script": "window.__player = …"
    }"#;
}

/// A version of the HyperFrames runtime that renders can have.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Runtime {
    /// The version, such as `0.8.170`.
    pub version: String,
    /// Whether a render has this version when neither its request nor its project names one.
    pub is_default: bool,
    /// Whether the farm has this version built in. `name` and all further fields are `null` then.
    pub is_built_in: bool,
    /// Name of the published package.
    pub name: Option<String>,
    /// Licence of the package, as its `package.json` names it.
    pub license: Option<String>,
    /// SHA-256 of the stored package.
    pub sha256: Option<String>,
    /// Bytes of the stored package.
    pub size_bytes: Option<u64>,
    /// Unix seconds.
    pub added_at: Option<f64>,
}
