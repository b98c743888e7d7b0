//! Values that are one of a few words.

use std::num::NonZeroU32;

use clap::ValueEnum;
use hyperfarm_proto::spec::{AspectRatio, Codec, Format, Quality, Resolution};

macro_rules! value_enum {
    ($(#[$doc:meta])* $name:ident for $target:ident { $($variant:ident = $text:literal => $value:ident,)* }) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
        pub enum $name {
            $(#[doc = $text] #[value(name = $text)] $variant,)*
        }

        impl From<$name> for $target {
            fn from(arg: $name) -> Self {
                match arg { $($name::$variant => $target::$value,)* }
            }
        }
    };
}

value_enum! {
    /// Container and codec.
    FormatArg for Format {
        Mp4 = "mp4" => Mp4, Webm = "webm" => Webm, Mov = "mov" => Mov, Gif = "gif" => Gif,
        PngSequence = "png-sequence" => PngSequence,
    }
}
value_enum! {
    /// Codec of the pictures.
    CodecArg for Codec {
        H264 = "h264" => H264, H265 = "h265" => H265, Vp8 = "vp8" => Vp8, Vp9 = "vp9" => Vp9, ProRes = "prores" => ProRes,
        Gif = "gif" => Gif, PngSequence = "png-sequence" => PngSequence,
    }
}
value_enum! {
    /// Shape.
    AspectRatioArg for AspectRatio {
        Landscape = "16:9" => Landscape, Portrait = "9:16" => Portrait, Square = "1:1" => Square,
    }
}

/// Encoder effort, with HyperFrames' names for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum QualityArg {
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
    pub fn meaning(self) -> (Quality, Option<u32>) {
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
pub enum ResolutionArg {
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
    pub fn meaning(self) -> (Resolution, Option<AspectRatio>) {
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

impl FormatArg {
    /// The format that a file name asks for by its extension.
    pub fn of_output(path: &std::path::Path) -> Option<Self> {
        let extension = path.extension()?.to_str()?;
        Self::value_variants()
            .iter()
            .copied()
            .find(|format| Format::from(*format).extension().eq_ignore_ascii_case(extension))
    }
}

/// Chunks at once, by HyperFrames' name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WorkersArg(pub Option<NonZeroU32>);

impl std::str::FromStr for WorkersArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text == "auto" {
            return Ok(Self(None));
        }
        text.parse().map(|count| Self(Some(count))).map_err(|_| "give a number from 1 up, or auto".to_owned())
    }
}

/// Bits a second from text.
pub(super) fn bitrate(text: &str) -> Result<u64, String> {
    hyperfarm_proto::spec::parse_bitrate(text).ok_or_else(|| "give bits a second, such as 10M or 800k".to_owned())
}
