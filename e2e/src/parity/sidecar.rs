//! `parity.json` beside a page: how it is rendered, and what is known about the result.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// What a composition says about its own test. Every field may be absent, and so may the file.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sidecar {
    /// Container to render to; `mp4` where absent.
    pub format: Option<String>,
    /// Frame rate asked for, such as `30000/1001`.
    pub fps: Option<String>,
    /// Variables of the render, as a JSON object.
    pub variables: Option<serde_json::Value>,
    /// Where the published CLI is wrong by the specification, so that it is not the measure.
    pub upstream: Option<Exception>,
    /// What is right, by the page's own arithmetic.
    pub known: Known,
}

/// A named exception from the comparison.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// What it does wrong, and by which sentence of the specification.
    pub wrong: String,
    /// What is therefore not compared.
    pub not_compared: Vec<Aspect>,
}

/// A part of the comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Aspect {
    /// PSNR of the frames.
    Picture,
    /// Envelope, lag and level.
    Sound,
    /// Number of frames and duration.
    Length,
}

/// What is right whatever anybody renders.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Known {
    /// Number of frames.
    pub frames: Option<u64>,
    /// By frame number, colours at points: `[x, y, "#rrggbb"]`.
    pub colours: BTreeMap<u64, Vec<(u32, u32, String)>>,
    /// How far red, green and blue may each be from that; 10 where absent (4:2:0 and a lossy encoder).
    pub tolerance: Option<u8>,
    /// Loudness of stretches of the sound: `[from seconds, to seconds, RMS over both channels]`.
    pub levels: Vec<(f64, f64, f64)>,
}

impl Sidecar {
    /// Reads `parity.json` of `folder`; the default where there is none.
    pub fn read(folder: &Path) -> anyhow::Result<Self> {
        let path = folder.join("parity.json");
        if !path.is_file() {
            return Ok(Self::default());
        }
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        serde_json::from_str(&text).with_context(|| format!("{} is not what a sidecar is", path.display()))
    }

    /// Extension of the output.
    pub fn extension(&self) -> &str {
        self.format.as_deref().unwrap_or("mp4")
    }

    /// Whether `aspect` is compared with the published CLI.
    pub fn compares(&self, aspect: Aspect) -> bool {
        !self.upstream.as_ref().is_some_and(|exception| exception.not_compared.contains(&aspect))
    }
}
