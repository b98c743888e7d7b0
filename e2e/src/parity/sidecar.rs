//! `parity.json` beside a page: how it is rendered, and what is expected of the result.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Context;
use serde::Deserialize;

/// Settings and expectations of a composition. Every field and the file itself are optional.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Sidecar {
    /// Container; `mp4` where absent.
    pub format: Option<String>,
    /// Frame rate, for example `30000/1001`.
    pub fps: Option<String>,
    /// Variables of the render, as a JSON object.
    pub variables: Option<serde_json::Value>,
    /// Where the published CLI is wrong by the specification, so that it is not compared.
    pub upstream: Option<Exception>,
    /// Expectations that follow from the page.
    #[serde(rename = "known")]
    pub expected: Expected,
}

/// An exception from the comparison, with its reason.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Exception {
    /// The error of the published CLI, and the sentence of the specification.
    pub wrong: String,
    /// Aspects that are not compared.
    pub not_compared: Vec<Aspect>,
}

/// An aspect of the comparison.
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

/// Expectations of a render.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Expected {
    /// Number of frames.
    pub frames: Option<u64>,
    /// By frame number, colours at points: `[x, y, "#rrggbb"]`.
    pub colours: BTreeMap<u64, Vec<(u32, u32, String)>>,
    /// Largest difference of red, green and blue from these colours; 10 where absent (4:2:0 and a lossy encoder).
    pub tolerance: Option<u8>,
    /// Levels of parts of the sound: `[from seconds, to seconds, RMS over both channels]`.
    pub levels: Vec<(f64, f64, f64)>,
}

impl Sidecar {
    /// Reads `parity.json` of `folder`; the default where there is none.
    ///
    /// # Errors
    /// The file cannot be read or parsed.
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
