//! Values that are one of a few words.

use std::num::NonZeroU32;

use clap::ValueEnum;
use hyperfarm_proto::spec::{AspectRatio, Format, Quality, Resolution};

/// Encoder effort, with HyperFrames' names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum QualityArg {
    /// Fast, for looking at.
    Draft,
    /// Visually lossless at normal viewing distance.
    Standard,
    /// For masters.
    High,
    /// HyperFrames' name for standard with a constant rate factor of 16.
    Looks,
    /// HyperFrames' name for high.
    Delivery,
}

impl QualityArg {
    /// The quality, and the constant rate factor that belongs to its name.
    pub(crate) fn meaning(self) -> (Quality, Option<u32>) {
        match self {
            Self::Draft => (Quality::Draft, None),
            Self::Standard => (Quality::Standard, None),
            Self::High | Self::Delivery => (Quality::High, None),
            Self::Looks => (Quality::Standard, Some(16)),
        }
    }
}

/// Height class, and HyperFrames' presets of height and shape.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum ResolutionArg {
    /// Short side 1080.
    #[value(name = "1080p")]
    FullHd,
    /// Short side 2160.
    #[value(name = "4k", alias = "uhd")]
    Uhd,
    /// 1920x1080.
    Landscape,
    /// 1080x1920.
    Portrait,
    /// 1080x1080.
    #[value(alias = "1080p-square", alias = "square-1080p")]
    Square,
    /// 3840x2160.
    #[value(name = "landscape-4k")]
    LandscapeUhd,
    /// 2160x3840.
    #[value(name = "portrait-4k")]
    PortraitUhd,
    /// 2160x2160.
    #[value(name = "square-4k", alias = "4k-square")]
    SquareUhd,
}

impl ResolutionArg {
    /// The height class, and the shape where the name says one.
    pub(crate) fn meaning(self) -> (Resolution, Option<AspectRatio>) {
        match self {
            Self::FullHd => (Resolution::FullHd, None),
            Self::Uhd => (Resolution::Uhd, None),
            Self::Landscape => (Resolution::FullHd, Some(AspectRatio::Landscape)),
            Self::Portrait => (Resolution::FullHd, Some(AspectRatio::Portrait)),
            Self::Square => (Resolution::FullHd, Some(AspectRatio::Square)),
            Self::LandscapeUhd => (Resolution::Uhd, Some(AspectRatio::Landscape)),
            Self::PortraitUhd => (Resolution::Uhd, Some(AspectRatio::Portrait)),
            Self::SquareUhd => (Resolution::Uhd, Some(AspectRatio::Square)),
        }
    }
}

/// The format that a file name asks for by its extension.
pub(crate) fn format_of_output(path: &std::path::Path) -> Option<Format> {
    let extension = path.extension()?.to_str()?;
    Format::ALL.into_iter().find(|format| format.extension().eq_ignore_ascii_case(extension))
}

/// The extensions of the formats, for messages.
pub(crate) fn extensions() -> String {
    let mut extensions: Vec<String> = Vec::new();
    for format in Format::ALL {
        let extension = format!(".{}", format.extension());
        // A png-sequence and an hls package are both a zip.
        if !extensions.contains(&extension) {
            extensions.push(extension);
        }
    }
    extensions.join(", ")
}

/// A number of things.
pub(crate) fn count(text: &str) -> Result<NonZeroU32, String> {
    text.trim().parse().map_err(|_| "give a whole number from 1 up".to_owned())
}

/// Chunks at once, by HyperFrames' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct WorkersArg(pub Option<NonZeroU32>);

impl std::str::FromStr for WorkersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        text.parse().map(|count| Self(Some(count))).map_err(|_| "give a number from 1 up, or auto".to_owned())
    }
}

/// A moment of a composition.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Moment {
    /// Seconds from the start.
    Seconds(f64),
    /// Per cent of the length.
    Percent(f64),
}

impl std::str::FromStr for Moment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, of) = match text.strip_suffix('%') {
            Some(number) => (number, Self::Percent as fn(f64) -> Self),
            None => (text.strip_suffix('s').unwrap_or(text), Self::Seconds as fn(f64) -> Self),
        };
        let number: f64 = number.trim().parse().map_err(|_| "give seconds, or per cent such as 50%".to_owned())?;
        let is_percent = text.ends_with('%');
        match number.is_finite() && number >= 0.0 && !(is_percent && number > 100.0) {
            true => Ok(of(number)),
            false => Err("give seconds from 0 up, or per cent from 0 to 100".to_owned()),
        }
    }
}
