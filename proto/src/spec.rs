//! What a person asked for.

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::de::Error;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::bounded::{Bounded, Text};
use crate::frame::{FrameRange, FrameRate};
pub use crate::hdr::Hdr;
use crate::id::{ContentHash, Pool, RenderId};
use crate::output;
pub use crate::output::{AudioCodec, Codec, Format, OutputError, Profile};
use crate::quantity::Loudness;
pub use crate::quantity::{Bitrate, KeepFor, Moment, Seconds, Timestamp};
use crate::shutter::Shutter;
pub use crate::size::Size;
pub use crate::timecode::Timecode;

/// How much time the encoder may spend and how much it may throw away.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum Resolution {
    /// Short side 1080.
    #[serde(rename = "1080p")]
    FullHd,
    /// Short side 2160.
    #[serde(rename = "4k")]
    Uhd,
}

/// The shape of the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
#[cfg_attr(feature = "cli", derive(clap::ValueEnum))]
pub enum AspectRatio {
    /// 16:9.
    #[serde(rename = "16:9")]
    #[cfg_attr(feature = "cli", value(name = "16:9"))]
    Landscape,
    /// 9:16.
    #[serde(rename = "9:16")]
    #[cfg_attr(feature = "cli", value(name = "9:16"))]
    Portrait,
    /// 1:1.
    #[serde(rename = "1:1")]
    #[cfg_attr(feature = "cli", value(name = "1:1"))]
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

/// Everything a person can ask of a render. What is absent is taken from the composition, then from the farm.
///
/// This is what the API takes, what is stored and what the command line offers: an option is a field here and where it is used. Its
/// first paragraph is what the API's document and `--help` say of it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize, JsonSchema)]
#[cfg_attr(feature = "cli", derive(clap::Args))]
#[serde(default)]
pub struct RenderSpec {
    /// Frames a second, 1 to 240, or a fraction such as `30000/1001`; else the composition's, else 30.
    #[serde(deserialize_with = "frame_rate")]
    #[schemars(schema_with = "frame_rate_schema")]
    #[cfg_attr(feature = "cli", arg(long, short, allow_negative_numbers = true))]
    pub fps: Option<FrameRate>,
    /// Effort of the encoder; `standard` by default.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub quality: Quality,
    /// Container; `mp4` by default. `gif`, `png-sequence` and `hls` are extensions.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub format: Format,
    /// Codec, else the format's usual one.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_enum, alias = "video-codec"))]
    pub codec: Option<Codec>,
    /// Profile of ProRes (`4444` by default) or DNxHR (`dnxhr-hqx`).
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub profile: Option<Profile>,
    /// Bits a sample of H.265 and AV1, 8 or 10; 8 by default.
    #[serde(deserialize_with = "bit_depth")]
    #[schemars(transform = extension, schema_with = "bit_depth_schema")]
    #[cfg_attr(feature = "cli", arg(long, value_name = "BITS", value_parser = parse_bit_depth, allow_negative_numbers = true))]
    pub bit_depth: Option<u32>,
    /// High dynamic range, in H.265 of 10 bits (mp4): `hdr10`, `hlg`, or `auto`, which is HDR10 where a video of the
    /// composition is PQ, else HLG. SDR white is 203 cd/m².
    #[schemars(transform = extension)]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_enum, num_args = 0..=1, require_equals = true, default_missing_value = "auto", value_name = "KIND")
    )]
    pub hdr: Option<Hdr>,
    /// Timecode of the composition's first frame in a mov's timecode track, such as `01:00:00:00`. Without it, masters
    /// (every profile but `4444`) begin with `00:00:00:00`.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIMECODE"))]
    pub timecode: Option<Timecode>,
    /// Constant rate factor, instead of the quality's.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, conflicts_with = "video_bitrate", allow_negative_numbers = true))]
    pub crf: Option<Bounded<u32, 0, 63>>,
    /// Bits a second, or text such as `10M`.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "BITS", allow_hyphen_values = true))]
    pub video_bitrate: Option<Bitrate>,
    /// Speed of the VP9 encoder, -8 (slow) to 8.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", allow_hyphen_values = true))]
    pub vp9_cpu_used: Option<Bounded<i32, -8, 8>>,
    /// Times a GIF repeats; 0 for ever.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", allow_negative_numbers = true))]
    pub gif_loop: Option<Bounded<u16, 0, 65_535>>,
    /// Keep the transparency; else as the format does.
    #[schemars(transform = extension)]
    #[cfg_attr(
        feature = "cli",
        arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "true", value_name = "BOOL")
    )]
    pub transparent: Option<bool>,
    /// Height class; else the composition's own size.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub resolution: Option<Resolution>,
    /// Shape; else the composition's own.
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub aspect_ratio: Option<AspectRatio>,
    /// Pixels across, with `height`.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, requires = "height", allow_negative_numbers = true))]
    pub width: Option<Bounded<u32, 16, 8192>>,
    /// Pixels down, with `width`.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, requires = "width", allow_negative_numbers = true))]
    pub height: Option<Bounded<u32, 16, 8192>>,
    /// Device pixels a pixel of the page, 1 to 4.
    #[schemars(transform = extension)]
    #[cfg_attr(
        feature = "cli",
        arg(long = "device-scale", value_name = "N", alias = "device-scale-factor", allow_negative_numbers = true)
    )]
    pub device_scale_factor: Option<Scale>,
    /// Seconds; 0 is the composition's own length.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SECONDS", allow_negative_numbers = true))]
    pub duration: Option<Seconds>,
    /// First moment of the output: seconds, or a frame such as `75f`; else the composition's start.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "MOMENT", allow_hyphen_values = true))]
    pub from: Option<Moment>,
    /// End of the output, which is not part of it: seconds, or a frame such as `150f`; else the composition's end.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "MOMENT", allow_hyphen_values = true))]
    pub to: Option<Moment>,
    /// What the page's clocks show in its first frame, in UTC, such as `2026-11-28T20:00:00Z`; else the moment of the
    /// submission. Renders of one composition have equal bytes where they have the same one.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "TIME"))]
    pub now: Option<Timestamp>,
    /// Motion blur: pictures that are averaged into each frame, 2 to 64; 0 for none. Else as the composition's root says.
    #[schemars(transform = extension)]
    #[cfg_attr(
        feature = "cli",
        arg(long, num_args = 0..=1, require_equals = true, default_missing_value = "16", value_name = "SAMPLES")
    )]
    pub motion_blur: Option<Bounded<u32, 0, 64>>,
    /// Degrees for which the shutter of the motion blur is open, 1 to 360, which is the time of a frame; 180 by default.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DEGREES", allow_negative_numbers = true))]
    pub shutter_angle: Option<Bounded<u32, 1, 360>>,
    /// Degrees from the moment of a frame to the opening of the shutter, -360 to 0; -90 by default. With 0 no frame
    /// shows what was before it, so that cuts stay sharp.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DEGREES", allow_hyphen_values = true))]
    pub shutter_phase: Option<Bounded<i32, -360, 0>>,
    /// A sound to put under everything, from the first frame on: a URL, or a file of the project.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub audio_url: Option<Text<2048>>,
    /// Codec of the sound; else PCM of 24 bits in masters (every profile but `4444`), Opus in webm, and AAC.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_enum))]
    pub audio_codec: Option<AudioCodec>,
    /// Loudness of the whole composition's sound in LUFS (EBU R 128), -31 to -9, such as -16; else as it is mixed.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "LUFS", allow_hyphen_values = true))]
    pub loudness: Option<Bounded<i32, -31, -9>>,
    /// Highest true peak in dBTP, -9 to 0, with `loudness`; -1 by default.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "DB", allow_hyphen_values = true, requires = "loudness"))]
    pub true_peak: Option<Bounded<i32, -9, 0>>,
    /// Write the sound beside the video as well, as a WAV file of 24 bits.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long))]
    pub wav: bool,
    /// Write the frame of this moment beside the video as a JPEG file: seconds, or a frame such as `75f`.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "MOMENT", allow_hyphen_values = true))]
    pub poster: Option<Moment>,
    /// Seconds between the pictures of a storyboard beside the video: JPEG sheets and a WebVTT file.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "SECONDS", allow_negative_numbers = true))]
    pub storyboard: Option<Seconds>,
    /// Write the captions of the composition beside the video, as a SubRip and a WebVTT file.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long))]
    pub captions: bool,
    /// Put the captions of the composition into the mp4 or mov as a text track that players can turn on.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long))]
    pub caption_track: bool,
    /// Short sides, in pixels, of an hls package's renditions beside the output's own size; else those of 1080, 720 and
    /// 480 that are smaller than it.
    #[schemars(transform = extension)]
    #[cfg_attr(
        feature = "cli",
        arg(long, value_name = "PIXELS", value_delimiter = ',', allow_negative_numbers = true)
    )]
    pub renditions: Option<Vec<Bounded<u32, 64, 4320>>>,
    /// Entry page in the project; `index.html` by default.
    #[cfg_attr(feature = "cli", arg(long, short, value_name = "PATH"))]
    pub composition: Option<Text<512>>,
    /// Version of the HyperFrames runtime, or a range such as `^0.8.100`; else the one that the project names, else the
    /// default one.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "VERSION"))]
    pub runtime: Option<Text<64>>,
    /// Values for the composition's variables.
    // Kept, and stored, as the text of the object: its order and numbers are the client's.
    #[serde(deserialize_with = "variables")]
    #[schemars(with = "Option<serde_json::Map<String, serde_json::Value>>")]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub variables: Option<String>,
    /// Unknown or mistyped variables are errors.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long))]
    pub strict_variables: bool,
    /// Open the page a few times first, and warn of what does not look the same each time.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long))]
    pub verify: bool,
    /// A name for people.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub title: Option<Text<500>>,
    /// An id of your own, given back in webhooks.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub callback_id: Option<Text<256>>,
    /// An https URL that is told of the end.
    #[cfg_attr(feature = "cli", arg(skip))]
    pub callback_url: Option<Text<2048>>,
    /// How long the render is kept after its end, such as `12h` or `30d`, if the farm keeps it that long; by default as long
    /// as the farm keeps renders.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub keep_for: Option<KeepFor>,
    /// Which workers take it.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub pool: Pool,
    /// Frames a chunk.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(long, value_name = "N", allow_negative_numbers = true))]
    pub chunk_frames: Option<Bounded<u32, 1, 1_000_000>>,
    /// Chunks at work at once.
    #[schemars(transform = extension)]
    #[cfg_attr(feature = "cli", arg(skip))]
    pub max_parallel_chunks: Option<Bounded<u32, 1, 100_000>>,
}

/// Short sides of the renditions of an hls package where none are named.
const RENDITIONS: [u32; 3] = [1080, 720, 480];

/// Pictures of a storyboard at most.
const STORYBOARD_MAX: u64 = 10_000;

/// Bytes of variables at most, as JSON.
const VARIABLES_MAX: usize = 1024 * 1024;

/// Says in the API's document that the hosted service has no such field. The help of the command line does not say it.
fn extension(schema: &mut Schema) {
    let about = schema.get("description").and_then(Value::as_str).unwrap_or_default();
    let about = format!("{about} An extension.");
    schema.insert("description".to_owned(), about.into());
}

/// A rate as clients write it (an integer, or a fraction as text), or as it is stored.
fn frame_rate<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<FrameRate>, D::Error> {
    let rate = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        // 30.0 is an integer to those who write JSON with floating-point numbers only.
        Value::Number(number) => number
            .as_f64()
            .filter(|number| number.fract() == 0.0 && *number >= 0.0)
            .and_then(|number| FrameRate::new(number as u32, 1).ok()),
        Value::String(text) => text.parse().ok(),
        stored @ Value::Object(_) => FrameRate::deserialize(stored).ok(),
        _ => None,
    };
    let refused = || {
        let most = FrameRate::MAX;
        D::Error::custom(format!("give an integer from 1 to {most}, or a fraction such as \"30000/1001\""))
    };
    rate.map(Some).ok_or_else(refused)
}

/// 8 or 10.
fn bit_depth<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<u32>, D::Error> {
    let bits = match Value::deserialize(deserializer)? {
        Value::Null => return Ok(None),
        value => value.as_f64().filter(|bits| BIT_DEPTHS.contains(bits)).map(|bits| bits as u32),
    };
    bits.map(Some).ok_or_else(|| D::Error::custom("give 8 or 10"))
}

/// Bits a sample that an encoder can have.
const BIT_DEPTHS: [f64; 2] = [8.0, 10.0];

fn bit_depth_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "integer", "enum": [8, 10] })
}

#[cfg(feature = "cli")]
fn parse_bit_depth(text: &str) -> Result<u32, &'static str> {
    text.parse().ok().filter(|bits| matches!(bits, 8 | 10)).ok_or("give 8 or 10")
}

fn frame_rate_schema(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": ["integer", "string"], "minimum": 1, "maximum": 240 })
}

/// An object as clients write it, or its text as it is stored.
fn variables<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    match Value::deserialize(deserializer)? {
        Value::Null => Ok(None),
        Value::String(stored) => Ok(Some(stored)),
        object @ Value::Object(_) => {
            let text = object.to_string();
            if text.len() > VARIABLES_MAX {
                return Err(D::Error::custom(format!("give at most {VARIABLES_MAX} bytes of JSON")));
            }
            Ok(Some(text))
        }
        _ => Err(D::Error::custom("give an object")),
    }
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
    /// Smaller than the codec's pictures can be.
    #[error(
        "codec: the output would be {found}, and {codec} needs {min} or more; ask for another codec or a larger size"
    )]
    TooSmall {
        /// What was asked.
        codec: Codec,
        /// Its smallest width and height.
        min: Size,
        /// The output's size.
        found: Size,
    },
    /// As large as the output, or larger.
    #[error(
        "renditions: {side} is not smaller than the output's short side, which is {short} and has a rendition of its own; leave it out"
    )]
    Rendition {
        /// Short side that was asked for.
        side: u32,
        /// Short side of the output.
        short: u32,
    },
    /// Outside what can be drawn.
    #[error("the output would be {0}; sides from 16 to 8192 pixels, and {MAX_PIXELS} pixels in all, can be rendered")]
    Bounds(Size),
}

impl SizeError {
    /// The request field at fault, if one is.
    pub fn param(&self) -> Option<&'static str> {
        match self {
            Self::Contradiction { param, .. } | Self::Shape { param, .. } | Self::Scale { param, .. } => Some(param),
            Self::TooSmall { .. } => Some("codec"),
            Self::Rendition { .. } => Some("renditions"),
            Self::Bounds(_) => None,
        }
    }
}

/// A part that a composition does not have.
#[derive(Debug, thiserror::Error, PartialEq)]
pub enum RangeError {
    /// It begins or ends after the composition's end.
    #[error("{param} {moment} is beyond the composition's end at {seconds} s (frame {frames}); give an earlier moment")]
    BeyondEnd {
        /// The option, `from` or `to`.
        param: &'static str,
        /// What was asked.
        moment: String,
        /// Frames of the composition.
        frames: u64,
        /// Its seconds.
        seconds: f64,
    },
    /// The storyboard has too many pictures.
    #[error(
        "storyboard: it would have {pictures} pictures; give more seconds between them, for at most {STORYBOARD_MAX}"
    )]
    Storyboard {
        /// Pictures of it.
        pictures: u64,
    },
    /// The poster is not in the part.
    #[error("poster (frame {frame}) is not in the part from frame {start} to {end}; give a moment of the part")]
    Poster {
        /// Frame of the poster.
        frame: u64,
        /// First frame.
        start: u64,
        /// Frame after the last.
        end: u64,
    },
    /// It ends where it begins, or before.
    #[error("from (frame {start}) and to (frame {end}) leave no frame; to has to be later than from")]
    Empty {
        /// First frame.
        start: u64,
        /// Frame after the last.
        end: u64,
    },
}

impl RenderSpec {
    /// Checks that format, codec, transparency, rate control and frame rate go together.
    ///
    /// # Errors
    ///
    /// [`OutputError`] names the field that does not go with the others.
    pub fn check_output(&self) -> Result<(), OutputError> {
        output::check(&output::Asked {
            format: self.format,
            codec: self.asked_codec(),
            profile: self.profile,
            bit_depth: self.bit_depth,
            hdr: self.hdr.is_some(),
            timecode: self.timecode,
            transparent: self.transparent,
            crf: self.crf.map(Bounded::get),
            bitrate: self.video_bitrate,
            rate: self.fps,
            audio_codec: self.audio_codec,
            wav: self.wav,
            caption_track: self.caption_track,
            loudness: self.loudness.is_some(),
            true_peak: self.true_peak.is_some(),
            renditions: self.renditions.as_ref().map(Vec::len),
        })
    }

    /// The sizes of the renditions beside that of the output, which is `size`, the largest first. Only an hls package has
    /// any.
    ///
    /// # Errors
    ///
    /// [`SizeError::Rendition`].
    pub fn renditions(&self, size: Size) -> Result<Vec<Size>, SizeError> {
        let short = size.short_side();
        let mut sides: Vec<u32> = match &self.renditions {
            _ if self.format != Format::Hls => Vec::new(),
            Some(sides) => sides.iter().map(|side| side.get()).collect(),
            None => RENDITIONS.into_iter().filter(|side| *side < short).collect(),
        };
        sides.sort_unstable_by(|a, b| b.cmp(a));
        if let Some(&side) = sides.first().filter(|side| **side >= short) {
            return Err(SizeError::Rendition { side, short });
        }
        let mut sizes: Vec<Size> = sides.into_iter().map(|side| size.with_short_side(side)).collect();
        sizes.dedup();
        Ok(sizes)
    }

    /// The loudness that the sound is brought to, if any.
    pub fn loudness(&self) -> Option<Loudness> {
        let true_peak_db = self.true_peak.map_or(Loudness::TRUE_PEAK_DB, Bounded::get);
        self.loudness.map(|lufs| Loudness { lufs: lufs.get(), true_peak_db })
    }

    /// The shutter of the motion blur, if there is any, where the composition's root has `authored`.
    pub fn shutter(&self, authored: Shutter) -> Option<Shutter> {
        let samples = self.motion_blur.map_or(authored.samples, Bounded::get);
        let angle = self.shutter_angle.map_or(authored.angle, |angle| angle.get().into());
        let phase = self.shutter_phase.map_or(authored.phase, |phase| phase.get().into());
        (samples > 1).then_some(Shutter { samples, angle, phase })
    }

    /// Checks that the format can have the frame rate `rate`, which may be the composition's own.
    ///
    /// # Errors
    ///
    /// [`OutputError`] where a GIF cannot have the rate, or the timecode does not exist at it.
    pub fn check_rate(&self, rate: FrameRate) -> Result<(), OutputError> {
        if let Some(timecode) = self.timecode {
            output::check_timecode(timecode, rate)?;
        }
        if self.format == Format::Gif { output::check_gif_rate(rate) } else { Ok(()) }
    }

    /// The codec of the pictures.
    pub fn codec(&self) -> Codec {
        output::codec_of(self.format, self.asked_codec(), self.profile)
    }

    /// The codec that is asked for: by name, or as the one that has high dynamic range.
    fn asked_codec(&self) -> Option<Codec> {
        self.codec.or((self.hdr.is_some() && self.profile.is_none()).then_some(Codec::H265))
    }

    /// The profile of ProRes and DNxHR.
    pub fn profile(&self) -> Option<Profile> {
        self.profile.or(self.codec().profile())
    }

    /// Whether the output is a master: every profile but the mov's usual one.
    fn is_master(&self) -> bool {
        self.profile().is_some_and(|profile| profile != Profile::ProRes4444)
    }

    /// The timecode of the composition's first frame, where the output has a timecode track.
    pub fn timecode(&self) -> Option<Timecode> {
        self.timecode.or(self.is_master().then_some(Timecode::ZERO))
    }

    /// The codec of the sound: the one asked for, else the one that editors expect in a master, else the format's.
    pub fn audio_codec(&self) -> AudioCodec {
        let usual = if self.is_master() { AudioCodec::Pcm } else { self.format.into() };
        self.audio_codec.unwrap_or(usual)
    }

    /// Whether the page is drawn on nothing and the output has transparency.
    pub fn is_transparent(&self) -> bool {
        output::has_alpha(self.format, self.codec(), self.profile) && self.transparent != Some(false)
    }

    /// Seconds asked for, if any.
    pub fn asked_duration(&self) -> Option<f64> {
        self.duration.filter(|duration| !duration.is_zero()).map(Seconds::as_f64)
    }

    /// The frames of a composition of `frames` frames at `rate` that the output shows.
    ///
    /// # Errors
    ///
    /// [`RangeError`] where `from` and `to` leave no frame, or are beyond the composition's end.
    pub fn range(&self, frames: u64, rate: FrameRate) -> Result<FrameRange, RangeError> {
        let start = self.from.map_or(0, |from| from.frame(rate));
        let end = self.to.map_or(frames, |to| to.frame(rate));
        let error = |param: &'static str, moment: Option<Moment>| RangeError::BeyondEnd {
            param,
            moment: moment.map_or_else(String::new, |moment| moment.to_string()),
            frames,
            seconds: rate.seconds_of(frames),
        };
        if start >= frames {
            return Err(error("from", self.from));
        }
        if end > frames {
            return Err(error("to", self.to));
        }
        let range = FrameRange::new(start, end).map_err(|_| RangeError::Empty { start, end })?;
        if let Some(interval) = self.storyboard_interval(rate) {
            let pictures = range.count().div_ceil(interval);
            if pictures > STORYBOARD_MAX {
                return Err(RangeError::Storyboard { pictures });
            }
        }
        match self.poster {
            Some(poster) if poster.frame(rate) >= frames => Err(error("poster", self.poster)),
            Some(poster) if !range.frames().contains(&poster.frame(rate)) => {
                Err(RangeError::Poster { frame: poster.frame(rate), start, end })
            }
            _ => Ok(range),
        }
    }

    /// Frames between the pictures of the storyboard, if one was asked for.
    pub fn storyboard_interval(&self, rate: FrameRate) -> Option<u64> {
        let interval = self.storyboard.filter(|interval| !interval.is_zero())?;
        Some(((interval.as_f64() * rate.as_f64()).round() as u64).max(1))
    }

    /// The viewport for a composition whose root says `authored` pixels, or says none.
    ///
    /// # Errors
    ///
    /// [`SizeError`] where the asked size contradicts itself or the composition's, or is out of bounds.
    pub fn viewport(&self, authored: Option<Size>) -> Result<Viewport, SizeError> {
        let asked = self.asked_size(authored)?;
        let viewport = match (self.device_scale_factor.map(Bounded::get), asked, authored) {
            (Some(scale), asked, authored) => by_scale(scale, asked, authored)?,
            (None, None, None) => Viewport { page: AspectRatio::Landscape.size_at(Resolution::FullHd), scale: 1 },
            (None, None, Some(authored)) => Viewport { page: authored, scale: 1 },
            (None, Some((asked, _)), None) => Viewport { page: asked, scale: 1 },
            (None, Some((asked, param)), Some(authored)) => match scaled(asked, authored, param) {
                // Only a shape was asked for, and it is the composition's own: clients send what they detect.
                Err(SizeError::Scale { .. }) if self.resolution.is_none() && param == "aspect_ratio" => {
                    Viewport { page: authored, scale: 1 }
                }
                viewport => viewport?,
            },
        };
        check_bounds(viewport)?;
        let (size, min) = (viewport.output(), self.codec().min_size());
        if size.width < min.width || size.height < min.height {
            return Err(SizeError::TooSmall { codec: self.codec(), min, found: size });
        }
        Ok(viewport)
    }

    fn asked_size(&self, authored: Option<Size>) -> Result<Option<(Size, &'static str)>, SizeError> {
        match (self.width.map(Bounded::get), self.height.map(Bounded::get)) {
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
    if scale == 0 || authored.width * scale != asked.width || Scale::new(scale).is_none() {
        return Err(SizeError::Scale { param, authored, asked });
    }
    Ok(Viewport { page: authored, scale })
}

/// Device scales that a page can be drawn at.
pub type Scale = Bounded<u32, 1, 4>;

/// A device scale was asked for: width and height are then those of the page, or already those of the output.
fn by_scale(scale: u32, asked: Option<(Size, &'static str)>, authored: Option<Size>) -> Result<Viewport, SizeError> {
    let Some((asked, param)) = asked else {
        let page = authored.unwrap_or_else(|| AspectRatio::Landscape.size_at(Resolution::FullHd));
        return Ok(Viewport { page, scale });
    };
    let by_page = param == "width";
    let is_output = |page: Size| {
        page.width.checked_mul(scale) == Some(asked.width) && page.height.checked_mul(scale) == Some(asked.height)
    };
    match authored {
        Some(page) if is_output(page) || (by_page && page == asked) => Ok(Viewport { page, scale }),
        Some(authored) => Err(SizeError::Scale { param: "device_scale_factor", authored, asked }),
        None if by_page => Ok(Viewport { page: asked, scale }),
        None if asked.width.is_multiple_of(scale) && asked.height.is_multiple_of(scale) => {
            Ok(Viewport { page: Size { width: asked.width / scale, height: asked.height / scale }, scale })
        }
        None => Err(SizeError::Scale { param: "device_scale_factor", authored: asked, asked }),
    }
}

/// Most pixels of an output: those of 8K in a cinema's shape. Encoders keep dozens of frames in memory.
const MAX_PIXELS: u64 = 8192 * 4320;

fn check_bounds(viewport: Viewport) -> Result<(), SizeError> {
    let page = viewport.page;
    if page.width == 0 || page.height == 0 || page.width > 8192 || page.height > 8192 {
        return Err(SizeError::Bounds(page));
    }
    let size = viewport.output();
    let pixels = u64::from(size.width) * u64::from(size.height);
    if [size.width, size.height].iter().any(|side| !(16..=8192).contains(side)) || pixels > MAX_PIXELS {
        return Err(SizeError::Bounds(size));
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
    fn the_pixels_of_an_output_are_bounded() {
        let viewport = |width, height| RenderSpec::default().viewport(Some(size(width, height)));
        assert!(viewport(8192, 4320).is_ok() && viewport(4320, 8192).is_ok());
        for (width, height) in [(8192, 8192), (8192, 4321), (8193, 16), (8192, 15)] {
            let message = viewport(width, height).unwrap_err().to_string();
            assert!(message.contains("35389440 pixels") && message.len() < 200, "{message}");
        }
    }

    #[test]
    fn renditions_are_smaller_than_the_output_and_differ() {
        let of = |format, sides: Option<&[u32]>| RenderSpec {
            format,
            renditions: sides.map(|sides| sides.iter().map(|side| Bounded::new(*side).unwrap()).collect()),
            ..RenderSpec::default()
        };
        let hls = |sides, output| of(Format::Hls, sides).renditions(output);
        let full = size(1920, 1080);
        assert_eq!(hls(None, full), Ok(vec![size(1280, 720), size(854, 480)]));
        assert_eq!(hls(None, size(360, 640)), Ok(vec![]));
        assert_eq!(hls(Some(&[360, 541, 540]), full), Ok(vec![size(960, 540), size(640, 360)]));
        assert_eq!(hls(Some(&[1080]), full), Err(SizeError::Rendition { side: 1080, short: 1080 }));
        assert_eq!(of(Format::Mp4, None).renditions(full), Ok(vec![]));
    }

    #[test]
    fn a_composition_keeps_its_own_size() {
        let viewport = RenderSpec::default().viewport(Some(size(1280, 720))).unwrap();
        assert_eq!((viewport.page, viewport.scale), (size(1280, 720), 1));
        assert_eq!(RenderSpec::default().viewport(None).unwrap().output(), size(1920, 1080));
    }

    #[test]
    fn a_composition_asked_for_its_own_shape_only_keeps_its_size_where_it_cannot_be_enlarged() {
        let spec = RenderSpec { aspect_ratio: Some(AspectRatio::Landscape), ..RenderSpec::default() };
        assert_eq!(spec.viewport(Some(size(1280, 720))).unwrap().output(), size(1280, 720));
        assert_eq!(spec.viewport(Some(size(640, 360))).unwrap().output(), size(1920, 1080));
        assert_eq!(spec.viewport(Some(size(3840, 2160))).unwrap().output(), size(3840, 2160));
        assert!(spec.viewport(Some(size(720, 1280))).is_err());
        let tall = RenderSpec { resolution: Some(Resolution::FullHd), ..spec };
        assert!(matches!(tall.viewport(Some(size(1280, 720))), Err(SizeError::Scale { .. })));
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
    fn a_device_scale_multiplies_the_page() {
        let spec = |width: Option<u32>, height: Option<u32>| RenderSpec {
            device_scale_factor: Bounded::new(2),
            width: width.and_then(Bounded::new),
            height: height.and_then(Bounded::new),
            ..RenderSpec::default()
        };
        for (spec, authored) in [
            (spec(None, None), Some(size(540, 960))),
            (spec(Some(540), Some(960)), Some(size(540, 960))),
            (spec(Some(1080), Some(1920)), Some(size(540, 960))),
            (spec(Some(540), Some(960)), None),
        ] {
            let viewport = spec.viewport(authored).unwrap();
            assert_eq!((viewport.page, viewport.output()), (size(540, 960), size(1080, 1920)));
        }
        assert!(matches!(spec(Some(700), Some(960)).viewport(Some(size(540, 960))), Err(SizeError::Scale { .. })));
        let uhd = RenderSpec {
            resolution: Some(Resolution::Uhd),
            device_scale_factor: Bounded::new(2),
            ..RenderSpec::default()
        };
        assert_eq!(uhd.viewport(None).unwrap().page, size(1920, 1080));
        let huge = serde_json::from_str::<RenderSpec>("{\"device_scale_factor\":5}").unwrap_err();
        assert!(huge.to_string().contains("an integer from 1 to 4"), "{huge}");
    }

    #[test]
    fn the_pictures_of_a_storyboard_are_bounded() {
        let spec = |seconds: &str| RenderSpec { storyboard: seconds.parse().ok(), ..RenderSpec::default() };
        let rate = FrameRate::DEFAULT;
        assert_eq!(["0.5", "0.001", "0"].map(|text| spec(text).storyboard_interval(rate)), [Some(15), Some(1), None]);
        assert!(spec("1").range(300_000, rate).is_ok());
        assert!(spec("1").range(300_001, rate).unwrap_err().to_string().contains("10001 pictures"));
    }

    #[test]
    fn a_poster_is_a_frame_of_the_part() {
        let rate = FrameRate::DEFAULT;
        let spec = |poster: &str| RenderSpec {
            from: "10f".parse().ok(),
            to: "20f".parse().ok(),
            poster: poster.parse().ok(),
            ..RenderSpec::default()
        };
        for (poster, is_frame) in
            [("10f", true), ("19f", true), ("0.5", true), ("9f", false), ("20f", false), ("9", false)]
        {
            let range = spec(poster).range(30, rate);
            assert_eq!(range.is_ok(), is_frame, "{poster}");
            assert!(range.err().is_none_or(|error| error.to_string().contains("poster")), "{poster}");
        }
    }

    #[test]
    fn dnxhr_has_a_smallest_size() {
        let spec = RenderSpec { format: Format::Mov, codec: Some(Codec::DnxHr), ..RenderSpec::default() };
        assert!(spec.viewport(Some(size(256, 120))).is_ok());
        for authored in [size(254, 120), size(256, 118)] {
            let error = spec.viewport(Some(authored)).unwrap_err();
            assert_eq!(error.param(), Some("codec"));
            assert!(error.to_string().contains("dnxhr needs 256x120"), "{error}");
        }
    }

    #[test]
    fn fractions_and_halves_are_refused() {
        let spec = RenderSpec { resolution: Some(Resolution::FullHd), ..RenderSpec::default() };
        assert!(matches!(spec.viewport(Some(size(1280, 720))), Err(SizeError::Scale { .. })));
        assert!(matches!(RenderSpec::default().viewport(Some(size(2, 2))), Err(SizeError::Bounds(_))));
        let half = RenderSpec { width: Bounded::new(640), ..RenderSpec::default() };
        assert!(matches!(half.viewport(None), Err(SizeError::Contradiction { param: "height", .. })));
    }
}
