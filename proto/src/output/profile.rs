//! Profiles of the codecs of masters.

use std::fmt;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::Codec;

/// Profile of a ProRes or DNxHR codec.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum Profile {
    /// ProRes 422 LT: 4:2:2 of 10 bits.
    #[serde(rename = "422-lt")]
    #[cfg_attr(feature = "cli", value(name = "422-lt"))]
    ProRes422Lt,
    /// ProRes 422: 4:2:2 of 10 bits.
    #[serde(rename = "422")]
    #[cfg_attr(feature = "cli", value(name = "422"))]
    ProRes422,
    /// ProRes 422 HQ: 4:2:2 of 10 bits.
    #[serde(rename = "422-hq")]
    #[cfg_attr(feature = "cli", value(name = "422-hq"))]
    ProRes422Hq,
    /// ProRes 4444: 4:4:4 of 10 bits, with alpha; the default of ProRes.
    #[serde(rename = "4444")]
    #[cfg_attr(feature = "cli", value(name = "4444"))]
    ProRes4444,
    /// ProRes 4444 XQ: 4:4:4 of 10 bits, with alpha.
    #[serde(rename = "4444-xq")]
    #[cfg_attr(feature = "cli", value(name = "4444-xq"))]
    ProRes4444Xq,
    /// DNxHR HQ: 4:2:2 of 8 bits.
    #[serde(rename = "dnxhr-hq")]
    #[cfg_attr(feature = "cli", value(name = "dnxhr-hq"))]
    DnxHrHq,
    /// DNxHR HQX: 4:2:2 of 10 bits; the default of DNxHR.
    #[serde(rename = "dnxhr-hqx")]
    #[cfg_attr(feature = "cli", value(name = "dnxhr-hqx"))]
    DnxHrHqx,
}

impl Profile {
    /// Every profile, in the order of the documentation.
    pub const ALL: [Self; 7] = [
        Self::ProRes422Lt,
        Self::ProRes422,
        Self::ProRes422Hq,
        Self::ProRes4444,
        Self::ProRes4444Xq,
        Self::DnxHrHq,
        Self::DnxHrHqx,
    ];

    /// The name by which it is asked for.
    pub fn name(self) -> &'static str {
        match self {
            Self::ProRes422Lt => "422-lt",
            Self::ProRes422 => "422",
            Self::ProRes422Hq => "422-hq",
            Self::ProRes4444 => "4444",
            Self::ProRes4444Xq => "4444-xq",
            Self::DnxHrHq => "dnxhr-hq",
            Self::DnxHrHqx => "dnxhr-hqx",
        }
    }

    /// The codec that has it.
    pub fn codec(self) -> Codec {
        match self {
            Self::DnxHrHq | Self::DnxHrHqx => Codec::DnxHr,
            _ => Codec::ProRes,
        }
    }

    /// Whether it has an alpha plane.
    pub fn has_alpha(self) -> bool {
        matches!(self, Self::ProRes4444 | Self::ProRes4444Xq)
    }
}

impl fmt::Display for Profile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}
