//! New sound for existing videos.

use hyperfarm_proto::bounded::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatars::FileInput;
use crate::request::Request;

/// Asks for a video with a new sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct LipsyncRequest {
    /// The video, an MP4 or a WebM file.
    pub video: FileInput,
    /// The new sound, a WAV or an MP3 file.
    pub audio: FileInput,
    /// What becomes of the mouth; `speed` by default.
    #[serde(default)]
    pub mode: Option<LipsyncMode>,
    /// Name to show to people.
    #[serde(default)]
    pub title: Option<Text<500>>,
    /// Writes the words of the new sound beside the video. The farm knows them of sounds of `POST /v3/voices/speech` whose
    /// voice tells when its words are spoken.
    #[serde(default)]
    pub enable_caption: Option<bool>,
    /// Whether the output is as long as the new sound, which is the default; else as long as the video.
    #[serde(default)]
    pub enable_dynamic_duration: Option<bool>,
    /// Leaves the music of the video out. The new sound replaces the old one as a whole, so its music is left out in any case.
    #[serde(default)]
    pub disable_music_track: Option<bool>,
    /// Cuts rumble below 80 Hz from the new sound, and brings the output to -16 LUFS.
    #[serde(default)]
    pub enable_speech_enhancement: Option<bool>,
    /// Writes `hyperfarm` into a corner of the picture.
    #[serde(default)]
    pub enable_watermark: Option<bool>,
    /// Second of the video at which the new sound begins; 0 by default. What is before it keeps its own sound.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub start_time: Option<f64>,
    /// Second of the video at which the part with the new sound ends; the video's end by default. What is after it keeps its
    /// own sound.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub end_time: Option<f64>,
    /// Aims at the video's bit rate. Its size in pixels is kept in any case.
    #[serde(default)]
    pub keep_the_same_format: Option<bool>,
    /// How the frames follow each other. Outputs have a constant rate, that of the video on average.
    #[serde(default)]
    pub fps_mode: Option<FpsMode>,
    /// An https URL to tell of the end.
    #[serde(default)]
    pub callback_url: Option<Text<2048>>,
    /// Echoed in events.
    #[serde(default)]
    pub callback_id: Option<Text<256>>,
    /// The farm has no folders: it changes nothing.
    #[serde(default)]
    pub folder_id: Option<Text<64>>,
}

impl Request for LipsyncRequest {
    const EXAMPLE: &str = r#"{
        "video": { "type": "url", "url": "https://example.com/source.mp4" },
        "audio": { "type": "url", "url": "https://example.com/new-audio.mp3" },
        "mode": "speed", "title": "My Lipsync"
    }"#;
}

/// What becomes of the mouth.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LipsyncMode {
    /// It stays as it is: the video gets the new sound.
    #[default]
    Speed,
    /// An engine of the operator's moves it to the new sound.
    Precision,
}

/// How the frames of a video follow each other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum FpsMode {
    /// At a variable rate. Taken where the video's own rate is constant, which makes it `cfr`.
    Vfr,
    /// At a constant rate.
    Cfr,
    /// As in the video. Taken where the video's own rate is constant, which makes it `cfr`.
    Passthrough,
}

/// A video with a new sound that is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LipsyncCreated {
    /// The lipsync. Its video is a render, by this id.
    pub lipsync_id: String,
}

/// The state of a video with a new sound.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum LipsyncStatus {
    /// Nobody has begun.
    Pending,
    /// The engine or workers are at it.
    Running,
    /// It can be downloaded.
    Completed,
    /// It failed, or it was cancelled.
    Failed,
}

/// A video with a new sound.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Lipsync {
    /// The lipsync.
    pub id: String,
    /// As asked, or as it was changed.
    pub title: Option<String>,
    /// Its state.
    pub status: LipsyncStatus,
    /// Seconds, once it is completed.
    pub duration: Option<f64>,
    /// Signed, expiring URL of the video, once it is completed.
    pub video_url: Option<String>,
    /// Signed, expiring URL of the words as a SubRip file, where captions were asked for.
    pub caption_url: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// Unix seconds of the request.
    pub created_at: Option<u64>,
    /// What went wrong and what to do, where it failed.
    pub failure_message: Option<String>,
}

/// Changes a video with a new sound.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LipsyncChange {
    /// Name to show to people.
    #[schemars(length(min = 1))]
    pub title: Text<500>,
}

impl Request for LipsyncChange {
    const EXAMPLE: &str = r#"{ "title": "Updated Title" }"#;
}

/// A lipsync that is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LipsyncDeleted {
    /// The lipsync.
    pub id: String,
}
