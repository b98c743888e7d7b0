//! Existing videos in other languages, and sessions in which a translation is read before it is spoken.

use hyperfarm_proto::bounded::{Bounded, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::avatars::FileInput;
use crate::lipsyncs::{FpsMode, LipsyncMode, LipsyncStatus};
use crate::request::Request;

/// Asks for a video in other languages.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationRequest {
    /// The video, an MP4 or a WebM file.
    pub video: FileInput,
    /// Languages to translate into: names or tags of `GET /v3/video-translations/languages`. Each becomes a video of its own.
    #[schemars(length(min = 1, max = 20))]
    pub output_languages: Vec<Text<100>>,
    /// Name to show to people.
    #[serde(default)]
    pub title: Option<Text<500>>,
    /// Language that is spoken in the video; heard by the speech recognition by default.
    #[serde(default)]
    pub input_language: Option<Text<100>>,
    /// What becomes of the mouth; `speed` by default.
    #[serde(default)]
    pub mode: Option<LipsyncMode>,
    /// The speech in the other language, a WAV or an MP3 file. Nothing is heard, translated or spoken then, and there is one
    /// language.
    #[serde(default)]
    pub audio: Option<FileInput>,
    /// What is said in the video, as a SubRip file. `srt_role` says in which language.
    #[serde(default)]
    pub srt: Option<FileInput>,
    /// Whether `srt` has the words of the video, which is the default, or their translation.
    #[serde(default)]
    pub srt_role: Option<SrtRole>,
    /// Voice of `GET /v3/voices` that speaks; the first one of the language by default.
    #[serde(default)]
    pub brand_voice_id: Option<Text<128>>,
    /// How many people speak in the video, for engines that tell them apart. One voice speaks for all.
    #[serde(default)]
    pub speaker_num: Option<Bounded<u32, 1, 100>>,
    /// Keeps the pictures of the video as they are, mouth and length.
    #[serde(default)]
    pub translate_audio_only: Option<bool>,
    /// Whether pictures may be played more slowly where the translation takes longer, which is the default; else the voice
    /// speaks faster.
    #[serde(default)]
    pub enable_dynamic_duration: Option<bool>,
    /// Leaves the sound of the video out where nobody speaks. It is left out where somebody speaks in any case.
    #[serde(default)]
    pub disable_music_track: Option<bool>,
    /// Cuts rumble below 80 Hz from the new sound, and brings the output to -16 LUFS.
    #[serde(default)]
    pub enable_speech_enhancement: Option<bool>,
    /// Writes the translation beside the video, as SubRip and WebVTT files.
    #[serde(default)]
    pub enable_caption: Option<bool>,
    /// Writes `hyperfarm` into a corner of the picture.
    #[serde(default)]
    pub enable_watermark: Option<bool>,
    /// Second of the video before which nothing is translated; 0 by default.
    #[serde(default)]
    #[schemars(range(min = 0))]
    pub start_time: Option<f64>,
    /// Second of the video after which nothing is translated; the video's end by default.
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

impl Request for TranslationRequest {
    const EXAMPLE: &str = r#"{
        "video": { "type": "url", "url": "https://example.com/video.mp4" },
        "output_languages": ["Spanish"], "mode": "speed", "title": "My Translated Video"
    }"#;
}

/// Which words a SubRip file has.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum SrtRole {
    /// Those of the video.
    #[default]
    Input,
    /// Their translation.
    Output,
}

/// Translations that are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationsCreated {
    /// One for each language, in the order of the request. The video of each is a render, by this id.
    pub video_translation_ids: Vec<String>,
}

/// Languages that videos can be translated into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationLanguages {
    /// English names of languages, then tags of those that voices speak. Either can be asked for.
    pub languages: Vec<String>,
}

/// A video in another language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct Translation {
    /// The translation.
    pub id: String,
    /// As asked, or as it was changed.
    pub title: Option<String>,
    /// Its state.
    pub status: LipsyncStatus,
    /// Language of the video, as asked or as heard, once it is known.
    pub input_language: Option<String>,
    /// Language that it is translated into, as asked.
    pub output_language: Option<String>,
    /// As asked.
    pub translate_audio_only: Option<bool>,
    /// Seconds, once it is completed.
    pub duration: Option<f64>,
    /// Signed, expiring URL of the video, once it is completed.
    pub video_url: Option<String>,
    /// Signed, expiring URL of its sound as a WAV file, once it is completed.
    pub audio_url: Option<String>,
    /// As asked.
    pub callback_id: Option<String>,
    /// Unix seconds of the request.
    pub created_at: Option<u64>,
    /// What went wrong and what to do, where it failed.
    pub failure_message: Option<String>,
}

/// Changes a translation.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationChange {
    /// Name to show to people.
    #[schemars(length(min = 1))]
    pub title: Text<500>,
}

impl Request for TranslationChange {
    const EXAMPLE: &str = r#"{ "title": "Updated Title" }"#;
}

/// A translation that is deleted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationDeleted {
    /// The translation.
    pub id: String,
}

/// Which file of captions is wanted.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct CaptionQuery {
    /// SubRip or WebVTT.
    pub format: CaptionFormat,
}

/// A format of captions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum CaptionFormat {
    /// SubRip.
    Srt,
    /// WebVTT.
    Vtt,
}

/// Where the captions of a translation are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct TranslationCaption {
    /// Signed, expiring URL of the file.
    pub caption_url: String,
}

/// Asks for translations to be read before they are spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofreadRequest {
    /// The video, an MP4 or a WebM file.
    pub video: FileInput,
    /// Languages to translate into, as of a translation. Each becomes a session of its own.
    #[schemars(length(min = 1, max = 20))]
    pub output_languages: Vec<Text<100>>,
    /// Name to show to people.
    #[schemars(length(min = 1))]
    pub title: Text<500>,
    /// What becomes of the mouth in the video; `speed` by default.
    #[serde(default)]
    pub mode: Option<LipsyncMode>,
    /// What is said in the video, as a SubRip file; heard by the speech recognition by default.
    #[serde(default)]
    pub srt: Option<FileInput>,
    /// Voice of `GET /v3/voices` that speaks; the first one of the language by default.
    #[serde(default)]
    pub brand_voice_id: Option<Text<128>>,
    /// How many people speak in the video, for engines that tell them apart. One voice speaks for all.
    #[serde(default)]
    pub speaker_num: Option<Bounded<u32, 1, 100>>,
    /// Whether pictures may be played more slowly where the translation takes longer; `false` by default.
    #[serde(default)]
    pub enable_video_stretching: Option<bool>,
    /// As of a translation.
    #[serde(default)]
    pub disable_music_track: Option<bool>,
    /// As of a translation.
    #[serde(default)]
    pub enable_speech_enhancement: Option<bool>,
    /// As of a translation.
    #[serde(default)]
    pub keep_the_same_format: Option<bool>,
    /// The farm has no folders: it changes nothing.
    #[serde(default)]
    pub folder_id: Option<Text<64>>,
}

impl Request for ProofreadRequest {
    const EXAMPLE: &str = r#"{
        "video": { "type": "url", "url": "https://example.com/video.mp4" },
        "output_languages": ["Spanish"], "title": "Review Before Publishing", "mode": "speed"
    }"#;
}

/// Sessions that are taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofreadsCreated {
    /// One for each language, in the order of the request.
    pub proofread_ids: Vec<String>,
    /// Their state.
    pub status: ProofreadStatus,
}

/// The state of a session in which a translation is read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ProofreadStatus {
    /// The video is heard and translated.
    Processing,
    /// The translation can be read, changed and made a video.
    Completed,
    /// There is no translation.
    Failed,
}

/// A session in which a translation is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Proofread {
    /// The session.
    pub id: String,
    /// As asked.
    pub title: Option<String>,
    /// Its state.
    pub status: ProofreadStatus,
    /// Language of the video, as heard, once it is known.
    pub input_language: Option<String>,
    /// Language that it is translated into, as asked.
    pub output_language: Option<String>,
    /// Always `false`: the farm has nobody to review it.
    pub submitted_for_review: Option<bool>,
    /// Unix seconds of the request.
    pub created_at: Option<u64>,
    /// What went wrong and what to do, where it failed.
    pub failure_message: Option<String>,
}

/// Where the words of a session are.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofreadSrt {
    /// Signed, expiring URL of the translation as a SubRip file, as it was changed last.
    pub srt_url: String,
    /// Signed, expiring URL of the words of the video as a SubRip file.
    pub original_srt_url: Option<String>,
}

/// Changes the translation of a session.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct ProofreadSrtRequest {
    /// The translation, as a SubRip file.
    pub srt: FileInput,
}

impl Request for ProofreadSrtRequest {
    const EXAMPLE: &str = r#"{ "srt": { "type": "url", "url": "https://example.com/edited.srt" } }"#;
}

/// Asks for the video of a session.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct GenerateRequest {
    /// Writes the translation beside the video, as SubRip and WebVTT files.
    #[serde(default)]
    pub captions: Option<bool>,
    /// Keeps the pictures of the video as they are, mouth and length.
    #[serde(default)]
    pub translate_audio_only: Option<bool>,
    /// An https URL to tell of the end.
    #[serde(default)]
    pub callback_url: Option<Text<2048>>,
    /// Echoed in events.
    #[serde(default)]
    pub callback_id: Option<Text<256>>,
}

impl Request for GenerateRequest {
    const EXAMPLE: &str = r#"{ "captions": true }"#;
    const IS_REQUIRED: bool = false;
}

/// A video of a session that is taken in.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ProofreadGenerated {
    /// The translation. Its video is a render, by this id.
    pub video_translation_id: String,
    /// Its state.
    pub status: ProofreadStatus,
}
