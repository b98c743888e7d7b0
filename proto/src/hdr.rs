//! High dynamic range: what a person asks for, what a plan has, and what is measured of an output.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Luminance of SDR white in an HDR output, in cd/m² (ITU-R BT.2408).
pub const SDR_WHITE: f64 = 203.0;

/// High dynamic range, as it is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Hdr {
    /// HDR10 where a video of the composition is PQ, else HLG.
    Auto,
    /// HDR10: PQ, with the data of a mastering display and of the light level.
    Hdr10,
    /// HLG.
    Hlg,
}

/// The transfer characteristic of a picture of high dynamic range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum HdrTransfer {
    /// SMPTE ST 2084.
    Pq,
    /// ARIB STD-B67.
    Hlg,
}

impl Hdr {
    /// The transfer characteristic of an output whose composition shows videos of `sources`.
    pub fn transfer(self, mut sources: impl Iterator<Item = HdrTransfer>) -> HdrTransfer {
        match self {
            Self::Hdr10 => HdrTransfer::Pq,
            Self::Hlg => HdrTransfer::Hlg,
            Self::Auto if sources.any(|source| source == HdrTransfer::Pq) => HdrTransfer::Pq,
            Self::Auto => HdrTransfer::Hlg,
        }
    }
}

/// The light of an output in whole cd/m² (CTA-861): of a pixel the brightest of its three components counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LightLevels {
    /// The brightest pixel (MaxCLL).
    pub pixel: u16,
    /// The mean of the brightest frame (MaxFALL).
    pub frame: u16,
}

impl LightLevels {
    /// The levels of two parts together.
    pub fn max(self, other: Self) -> Self {
        Self { pixel: self.pixel.max(other.pixel), frame: self.frame.max(other.frame) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sources_decide_where_nothing_is_named() {
        let of = |sources: &[HdrTransfer]| Hdr::Auto.transfer(sources.iter().copied());
        assert_eq!([of(&[]), of(&[HdrTransfer::Hlg])], [HdrTransfer::Hlg; 2]);
        assert_eq!(of(&[HdrTransfer::Hlg, HdrTransfer::Pq]), HdrTransfer::Pq);
        assert_eq!(Hdr::Hlg.transfer([HdrTransfer::Pq].into_iter()), HdrTransfer::Hlg);
        assert_eq!(Hdr::Hdr10.transfer(std::iter::empty()), HdrTransfer::Pq);
    }
}
