//! Lines of a render's own log: what its pages printed or threw, and what the farm had to say. Stored as one JSON object a line.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogLevel {
    /// `console.debug`.
    Debug,
    /// `console.log` and `console.info`.
    Info,
    /// `console.warn`, and what the farm warns of.
    Warning,
    /// `console.error`, exceptions, failed attempts.
    Error,
}

/// Who says it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LogSource {
    /// A script of the composition, or Chrome about it.
    Page,
    /// The farm.
    Farm,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LogLine {
    /// Unix seconds.
    pub at: f64,
    /// How much it matters.
    pub level: LogLevel,
    /// A script of the composition, or the farm.
    pub source: LogSource,
    /// What was being done.
    #[schemars(extend("enum" = ["plan", "audio", "chunk", "stitch"]))]
    pub step: String,
    /// Number of the chunk, of a chunk.
    pub chunk: Option<u32>,
    /// The attempt that said it.
    pub attempt: u32,
    /// The frame that was sought last.
    pub frame: Option<u64>,
    /// The text, cut at 2,000 characters.
    pub message: String,
}
