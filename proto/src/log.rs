//! Lines of a render's own log: what its pages printed or threw, and what the farm had to say. Stored as one JSON object a line.

use serde::{Deserialize, Serialize};

/// How much a line matters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSource {
    /// A script of the composition, or Chrome about it.
    Page,
    /// The farm.
    Farm,
}

/// One line.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LogLine {
    /// Unix time in seconds.
    pub at: f64,
    /// How much it matters.
    pub level: LogLevel,
    /// Who says it.
    pub source: LogSource,
    /// `plan`, `audio`, `chunk` or `stitch`.
    pub step: String,
    /// Number of the chunk, of a chunk.
    pub chunk: Option<u32>,
    /// The attempt that said it.
    pub attempt: u32,
    /// The frame that was sought last, where there is one.
    pub frame: Option<u64>,
    /// The text.
    pub message: String,
}
