//! What a person asked for.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::frame::FrameRate;
use crate::id::{ContentHash, Pool, RenderId};

/// Container and codec of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// H.264 and AAC.
    #[default]
    Mp4,
    /// VP9, with its alpha plane where the page is transparent, and Opus.
    Webm,
    /// ProRes 4444 with alpha, and AAC.
    Mov,
}

impl Format {
    /// File extension, without the dot.
    pub fn extension(self) -> &'static str {
        match self {
            Self::Mp4 => "mp4",
            Self::Webm => "webm",
            Self::Mov => "mov",
        }
    }

    /// Media type for downloads.
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Mp4 => "video/mp4",
            Self::Webm => "video/webm",
            Self::Mov => "video/quicktime",
        }
    }

    /// Whether the output has an alpha plane, and the page is therefore drawn on a transparent ground.
    pub fn has_alpha(self) -> bool {
        !matches!(self, Self::Mp4)
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.extension())
    }
}

/// How much time the encoder may spend and how much it may throw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Quality {
    /// Fast, for looking at.
    Draft,
    /// Visually lossless at normal viewing distance.
    #[default]
    Standard,
    /// For masters.
    High,
}

/// The height class of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Resolution {
    /// Short side 1080.
    #[serde(rename = "1080p")]
    FullHd,
    /// Short side 2160.
    #[serde(rename = "4k")]
    Uhd,
}

/// The shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum AspectRatio {
    /// 16:9.
    #[serde(rename = "16:9")]
    Landscape,
    /// 9:16.
    #[serde(rename = "9:16")]
    Portrait,
    /// 1:1.
    #[serde(rename = "1:1")]
    Square,
}

impl AspectRatio {
    /// Size in pixels at `resolution`.
    pub fn size_at(self, resolution: Resolution) -> Size {
        let (long, short) = match resolution {
            Resolution::FullHd => (1920, 1080),
            Resolution::Uhd => (3840, 2160),
        };
        match self {
            Self::Landscape => Size { width: long, height: short },
            Self::Portrait => Size { width: short, height: long },
            Self::Square => Size { width: short, height: short },
        }
    }

    /// The shape of `size`, where it is one of the three.
    pub fn of(size: Size) -> Option<Self> {
        [Self::Landscape, Self::Portrait, Self::Square]
            .into_iter()
            .find(|ratio| ratio.size_at(Resolution::FullHd).same_shape(size))
    }
}

/// Width and height in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Size {
    /// Pixels across.
    pub width: u32,
    /// Pixels down.
    pub height: u32,
}

impl Size {
    /// Whether the two have the same ratio of width to height.
    pub fn same_shape(self, other: Size) -> bool {
        u64::from(self.width) * u64::from(other.height) == u64::from(other.width) * u64::from(self.height)
    }
}

impl fmt::Display for Size {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}x{}", self.width, self.height)
    }
}

/// Everything a person can ask of a render. What is absent is taken from the composition, then from the farm.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct RenderSpec {
    /// Frames a second; else the composition's `data-fps`, else 30.
    pub fps: Option<FrameRate>,
    /// Encoder effort.
    pub quality: Quality,
    /// Container and codec.
    pub format: Format,
    /// Height class; else the composition's own size.
    pub resolution: Option<Resolution>,
    /// Shape; else the composition's own.
    pub aspect_ratio: Option<AspectRatio>,
    /// Output width in pixels, with `height`.
    pub width: Option<u32>,
    /// Output height in pixels, with `width`.
    pub height: Option<u32>,
    /// Entry file inside the project; `index.html` where absent.
    pub composition: Option<String>,
    /// Variables as the text of one JSON object.
    pub variables: Option<String>,
    /// Undeclared or mistyped variables are errors instead of warnings.
    pub strict_variables: bool,
    /// A name for people.
    pub title: Option<String>,
    /// An id of the client's own, given back to it.
    pub callback_id: Option<String>,
    /// Where to tell the end of the render.
    pub callback_url: Option<String>,
    /// Which workers take it.
    pub pool: Pool,
    /// Frames a chunk, instead of the farm's own choice.
    pub chunk_frames: Option<u32>,
    /// At most so many chunks of this render at work at once.
    pub max_parallel_chunks: Option<u32>,
}

/// What the coordinator stores before it answers 202 (`request.json`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RenderRequest {
    /// The render's id.
    pub id: RenderId,
    /// Unix time in milliseconds.
    pub created_at_ms: u64,
    /// Content hash of the project's zip, stored under `bundles/`.
    pub bundle: ContentHash,
    /// What was asked.
    pub spec: RenderSpec,
}

/// A page size with the device scale at which it fills the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Viewport {
    /// CSS pixels of the page.
    pub page: Size,
    /// Device pixels a CSS pixel.
    pub scale: u32,
}

impl Viewport {
    /// Pixels of a frame.
    pub fn output(&self) -> Size {
        Size { width: self.page.width * self.scale, height: self.page.height * self.scale }
    }
}

/// Why no viewport serves both the composition and the request.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum SizeError {
    /// Only one of the two was given, or they contradict the other fields.
    #[error("{param}: {reason}")]
    Contradiction {
        /// The field.
        param: &'static str,
        /// What is wrong with it and what to do.
        reason: String,
    },
    /// Asked and authored shapes differ.
    #[error(
        "{param}: the composition is authored at {authored}, which has not the shape of the {asked} that was asked for; \
         ask for its own shape, or author it at {asked}"
    )]
    Shape {
        /// The field.
        param: &'static str,
        /// Size on the composition's root.
        authored: Size,
        /// Size that was asked for.
        asked: Size,
    },
    /// The asked size is not a whole multiple of the authored one.
    #[error(
        "{param}: {asked} is not a whole multiple of the composition's {authored}; a page is enlarged by whole device \
         scales only, so ask for {authored} or a multiple, or author it at {asked}"
    )]
    Scale {
        /// The field.
        param: &'static str,
        /// Size on the composition's root.
        authored: Size,
        /// Size that was asked for.
        asked: Size,
    },
    /// Subsampled chroma needs even sides.
    #[error(
        "the output would be {0}, and {1} video needs an even width and height; \
         set data-width and data-height of the composition's root to even numbers"
    )]
    Odd(Size, Format),
    /// Outside what can be drawn.
    #[error("the output would be {0}; sides from 16 to 8192 pixels can be rendered")]
    Bounds(Size),
}

impl SizeError {
    /// The request field at fault, if one is.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Contradiction { param, .. } | Self::Shape { param, .. } | Self::Scale { param, .. } => Some(param),
            Self::Odd(..) | Self::Bounds(_) => None,
        }
    }
}

impl RenderSpec {
    /// The viewport for a composition whose root says `authored` pixels, or says none.
    pub fn viewport(&self, authored: Option<Size>) -> Result<Viewport, SizeError> {
        let asked = self.asked_size(authored)?;
        let viewport = match (asked, authored) {
            (None, None) => Viewport { page: AspectRatio::Landscape.size_at(Resolution::FullHd), scale: 1 },
            (None, Some(authored)) => Viewport { page: authored, scale: 1 },
            (Some((asked, _)), None) => Viewport { page: asked, scale: 1 },
            (Some((asked, param)), Some(authored)) => scaled(asked, authored, param)?,
        };
        check_output(viewport, self.format)?;
        Ok(viewport)
    }

    fn asked_size(&self, authored: Option<Size>) -> Result<Option<(Size, &'static str)>, SizeError> {
        match (self.width, self.height) {
            (Some(width), Some(height)) => {
                if self.resolution.is_some() || self.aspect_ratio.is_some() {
                    return Err(SizeError::Contradiction {
                        param: "width",
                        reason: "give either width and height, or resolution and aspect_ratio".to_owned(),
                    });
                }
                return Ok(Some((Size { width, height }, "width")));
            }
            (None, None) => {}
            (Some(_), None) => return Err(missing_side("height")),
            (None, Some(_)) => return Err(missing_side("width")),
        }
        match (self.resolution, self.aspect_ratio) {
            (None, None) => Ok(None),
            (Some(resolution), None) => {
                let shape = match authored {
                    None => AspectRatio::Landscape,
                    Some(size) => AspectRatio::of(size).ok_or(SizeError::Shape {
                        param: "resolution",
                        authored: size,
                        asked: AspectRatio::Landscape.size_at(resolution),
                    })?,
                };
                Ok(Some((shape.size_at(resolution), "resolution")))
            }
            (resolution, Some(shape)) => {
                Ok(Some((shape.size_at(resolution.unwrap_or(Resolution::FullHd)), "aspect_ratio")))
            }
        }
    }
}

fn missing_side(param: &'static str) -> SizeError {
    SizeError::Contradiction { param, reason: "width and height are given together or not at all".to_owned() }
}

fn scaled(asked: Size, authored: Size, param: &'static str) -> Result<Viewport, SizeError> {
    if !asked.same_shape(authored) {
        return Err(SizeError::Shape { param, authored, asked });
    }
    let scale = asked.width / authored.width.max(1);
    if scale == 0 || authored.width * scale != asked.width || scale > 4 {
        return Err(SizeError::Scale { param, authored, asked });
    }
    Ok(Viewport { page: authored, scale })
}

fn check_output(viewport: Viewport, format: Format) -> Result<(), SizeError> {
    let page = viewport.page;
    if page.width == 0 || page.height == 0 || page.width > 8192 || page.height > 8192 {
        return Err(SizeError::Bounds(page));
    }
    let size = viewport.output();
    if [size.width, size.height].iter().any(|side| !(16..=8192).contains(side)) {
        return Err(SizeError::Bounds(size));
    }
    if format != Format::Mov && (!size.width.is_multiple_of(2) || !size.height.is_multiple_of(2)) {
        return Err(SizeError::Odd(size, format));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn size(width: u32, height: u32) -> Size {
        Size { width, height }
    }

    #[test]
    fn a_composition_keeps_its_own_size() {
        let viewport = RenderSpec::default().viewport(Some(size(1280, 720))).unwrap();
        assert_eq!((viewport.page, viewport.scale), (size(1280, 720), 1));
        assert_eq!(RenderSpec::default().viewport(None).unwrap().output(), size(1920, 1080));
    }

    #[test]
    fn a_1080p_page_asked_as_4k_is_drawn_at_scale_2() {
        let spec = RenderSpec { resolution: Some(Resolution::Uhd), ..RenderSpec::default() };
        let landscape = spec.viewport(Some(size(1920, 1080))).unwrap();
        assert_eq!((landscape.scale, landscape.output()), (2, size(3840, 2160)));
        let portrait = spec.viewport(Some(size(1080, 1920))).unwrap();
        assert_eq!(portrait.output(), size(2160, 3840));
    }

    #[test]
    fn other_shapes_are_refused_by_name() {
        let spec = RenderSpec { aspect_ratio: Some(AspectRatio::Portrait), ..RenderSpec::default() };
        let error = spec.viewport(Some(size(1920, 1080))).unwrap_err();
        assert_eq!(error.param(), Some("aspect_ratio"));
        assert!(error.to_string().contains("1920x1080") && error.to_string().contains("1080x1920"), "{error}");
    }

    #[test]
    fn fractions_and_odd_sizes_are_refused() {
        let spec = RenderSpec { resolution: Some(Resolution::FullHd), ..RenderSpec::default() };
        assert!(matches!(spec.viewport(Some(size(1280, 720))), Err(SizeError::Scale { .. })));
        assert!(matches!(RenderSpec::default().viewport(Some(size(641, 360))), Err(SizeError::Odd(..))));
        assert!(matches!(RenderSpec::default().viewport(Some(size(2, 2))), Err(SizeError::Bounds(_))));
        let half = RenderSpec { width: Some(640), ..RenderSpec::default() };
        assert!(matches!(half.viewport(None), Err(SizeError::Contradiction { param: "height", .. })));
    }
}
