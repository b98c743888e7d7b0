//! Presenter videos: a photo of a person who speaks.

use hyperfarm_proto::bounded::{Bounded, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatars::FileInput;
use crate::request::{Request, number};
use crate::voices::MAX_TEXT;

/// The slowest and the fastest speech of a presenter, as multiples of the voice's own speed.
pub const PRESENTER_SPEEDS: std::ops::RangeInclusive<f64> = 0.5..=1.5;

/// Asks for a video of a person who speaks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct VideoRequest {
    /// Who presents: a look, or a photo that is used once.
    #[serde(rename = "type")]
    pub kind: PresenterKind,
    /// The look. Required with the type `avatar`.
    #[serde(default)]
    pub avatar_id: Option<Text<64>>,
    /// The photo, a PNG or a JPEG file. Required with the type `image`.
    #[serde(default)]
    pub image: Option<FileInput>,
    /// Name to show to people.
    #[serde(default)]
    pub title: Option<Text<500>>,
    /// Height class; `1080p` by default.
    #[serde(default)]
    pub resolution: Option<VideoResolution>,
    /// Shape; `auto`, the default, is that of the photo.
    #[serde(default)]
    pub aspect_ratio: Option<VideoAspectRatio>,
    /// What is behind the person. Without one the photo fills the picture.
    #[serde(default)]
    pub background: Option<BackgroundSetting>,
    /// Leaves out what is behind the person. A PNG file with transparency keeps its own; of other photos the farm cuts the
    /// person out.
    #[serde(default)]
    pub remove_background: Option<bool>,
    /// An https URL to tell of the end.
    #[serde(default)]
    pub callback_url: Option<Text<2048>>,
    /// Echoed in events.
    #[serde(default)]
    pub callback_id: Option<Text<256>>,
    /// What the person says. Excludes `audio_url` and `audio_asset_id`.
    #[serde(default)]
    #[schemars(length(min = 1))]
    pub script: Option<Text<MAX_TEXT>>,
    /// Who speaks the script. Required with it.
    #[serde(default)]
    pub voice_id: Option<Text<100>>,
    /// URL of a WAV or MP3 file of at most 50 MB and 600 s that the person says.
    #[serde(default)]
    pub audio_url: Option<Text<2048>>,
    /// The same as an asset.
    #[serde(default)]
    pub audio_asset_id: Option<Text<64>>,
    /// How the script is spoken.
    #[serde(default)]
    pub voice_settings: Option<VoiceSettings>,
    /// The hosted service moves the body by a description. This farm refuses it.
    #[serde(default)]
    pub motion_prompt: Option<Text<2000>>,
    /// How much head and brows move; `low` by default. Only with the type `avatar`.
    #[serde(default)]
    pub expressiveness: Option<Expressiveness>,
    /// Container; `mp4` by default. `webm` keeps transparency.
    #[serde(default)]
    pub output_format: Option<VideoFormat>,
    /// Which engine animates; this farm has `avatar_iv`.
    #[serde(default)]
    pub engine: Option<EngineSetting>,
    /// Shows the words of the script in the picture. An extension.
    #[serde(default)]
    pub captions: Option<bool>,
}

impl Request for VideoRequest {
    const EXAMPLE: &str = r#"{
        "type": "avatar", "avatar_id": "look_0123456789", "script": "Welcome to our training.", "voice_id": "espeak_en-us_f2",
        "resolution": "720p", "aspect_ratio": "16:9", "expressiveness": "medium"
    }"#;
}

/// Who presents.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PresenterKind {
    /// A look.
    Avatar,
    /// A photo that is used once.
    Image,
    /// Of the hosted service. This farm refuses it.
    Cinematic,
}

/// The height class of a presenter video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum VideoResolution {
    /// Short side 720.
    #[serde(rename = "720p")]
    Hd,
    /// Short side 1080.
    #[serde(rename = "1080p")]
    FullHd,
    /// Short side 2160.
    #[serde(rename = "4k")]
    Uhd,
}

/// The shape of a presenter video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub enum VideoAspectRatio {
    /// That of the photo.
    #[serde(rename = "auto")]
    Auto,
    /// 16:9.
    #[serde(rename = "16:9")]
    Landscape,
    /// 9:16.
    #[serde(rename = "9:16")]
    Portrait,
    /// 4:5.
    #[serde(rename = "4:5")]
    Vertical,
    /// 5:4.
    #[serde(rename = "5:4")]
    Horizontal,
    /// 1:1.
    #[serde(rename = "1:1")]
    Square,
}

/// What is behind a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct BackgroundSetting {
    /// What it is.
    #[serde(rename = "type")]
    pub kind: BackgroundKind,
    /// The colour, such as `#1a2b3c`. Required with the type `color`.
    #[serde(default)]
    pub value: Option<Text<32>>,
    /// URL of a file of at most 50 MB: PNG or JPEG with the type `image`, MP4 or WebM with the type `video`. With these
    /// types this or `asset_id` is required.
    #[serde(default)]
    pub url: Option<Text<2048>>,
    /// The same as an asset.
    #[serde(default)]
    pub asset_id: Option<Text<64>>,
}

/// What a background is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum BackgroundKind {
    /// One colour.
    Color,
    /// A picture, which fills the output.
    Image,
    /// A video, which fills the output and begins again when it ends. It is not heard.
    Video,
}

/// How a script is spoken.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct VoiceSettings {
    /// Multiple of the voice's own speed; 1 is the default.
    #[schemars(range(min = 0.5, max = 1.5))]
    pub speed: Option<f64>,
    /// Higher or lower than the voice's own pitch; 0 is the default.
    pub pitch: Option<Bounded<i32, -50, 50>>,
    /// The language as a BCP-47 tag, for voices that speak several.
    pub locale: Option<Text<35>>,
}

/// How much head and brows move.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Expressiveness {
    /// Little.
    #[default]
    Low,
    /// As people do in a conversation.
    Medium,
    /// Much.
    High,
}

/// The container of a presenter video.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VideoFormat {
    /// H.264.
    #[default]
    Mp4,
    /// VP9, with transparency where there is no background.
    Webm,
}

/// Which engine animates.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct EngineSetting {
    /// One of a look's `supported_api_engines`.
    #[serde(rename = "type")]
    pub kind: Text<64>,
}

/// A presenter video that is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VideoCreated {
    /// The video. It is a render too, by this id.
    pub video_id: String,
    /// Always `pending`.
    pub status: VideoStatus,
    /// Container.
    pub output_format: VideoFormat,
}

/// The state of a presenter video.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VideoStatus {
    /// No worker has begun.
    Pending,
    /// Workers are at it.
    Processing,
    /// It can be downloaded.
    Completed,
    /// It failed, or it was cancelled.
    Failed,
}

/// A presenter video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Video {
    /// The video.
    pub id: String,
    /// As asked.
    pub title: Option<String>,
    /// Its state.
    pub status: VideoStatus,
    /// Signed, expiring URL of the video, once it is completed.
    pub video_url: Option<String>,
    /// Signed, expiring URL of a still.
    pub thumbnail_url: Option<String>,
    /// Always `null`.
    pub gif_url: Option<String>,
    /// The same as `video_url`, where captions in the picture were asked for.
    pub captioned_video_url: Option<String>,
    /// Signed, expiring URL of the words as a SubRip file, where the script's engine tells when they are spoken.
    pub subtitle_url: Option<String>,
    /// Seconds, once it is completed.
    pub duration: Option<f64>,
    /// Unix seconds of the request.
    pub created_at: u64,
    /// Unix seconds of its end.
    pub completed_at: Option<u64>,
    /// What went wrong, for programs.
    pub failure_code: Option<String>,
    /// What went wrong and what to do.
    pub failure_message: Option<String>,
    /// Always `null`.
    pub video_page_url: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// Container.
    pub output_format: VideoFormat,
    /// Always `null`: the farm has no folders.
    pub folder_id: Option<String>,
}

/// A page of videos.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct VideosQuery {
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 100>>,
    /// The next_token of the page before.
    pub token: Option<String>,
    /// Only those with this in their title.
    pub title: Option<Text<500>>,
    /// The farm has no folders: with one, the list is empty.
    pub folder_id: Option<Text<64>>,
}
