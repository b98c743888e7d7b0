//! Voices, and text to speech.

use hyperfarm_proto::bounded::{Bounded, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{Request, number};

/// Characters of a text to speak at most.
pub const MAX_TEXT: usize = 5000;

/// The slowest and the fastest speech, as multiples of the voice's own speed.
pub const SPEEDS: std::ops::RangeInclusive<f64> = 0.5..=2.0;

/// A voice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Voice {
    /// The voice.
    pub voice_id: String,
    /// Name to show to people.
    pub name: String,
    /// English name of its language.
    pub language: String,
    /// Male or female.
    pub gender: Gender,
    /// Signed, expiring URL of a short sound, which is made when it is first asked for; `null` where the farm does not
    /// know how it is reached.
    pub preview_audio_url: Option<String>,
    /// Whether the voice speaks SSML, which includes pauses.
    pub support_pause: bool,
    /// Whether the voice speaks other languages as well, chosen by `language` or `locale`.
    pub support_locale: bool,
    /// Who has it.
    #[serde(rename = "type")]
    pub kind: VoiceKind,
    /// The speech engine: `espeak`, `openai` or `piper`. An extension.
    pub engine: String,
    /// BCP-47 tag of its language, in lower case. An extension.
    pub locale: String,
}

/// Male or female.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Gender {
    /// Male.
    Male,
    /// Female.
    Female,
}

/// Who has a voice.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum VoiceKind {
    /// Everybody: it is in the farm's catalogue.
    #[default]
    Public,
    /// One client of the hosted service, who has cloned it. This farm clones none.
    Private,
}

/// A page of voices.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct VoicesQuery {
    /// Public voices, which is the default, or private ones, of which there are none.
    #[serde(rename = "type")]
    pub kind: Option<VoiceKind>,
    /// Only voices of this engine: `espeak`, `openai` or `piper`; `starfish` is every one.
    pub engine: Option<Text<64>>,
    /// Only voices of this language: its English name, or a BCP-47 tag.
    pub language: Option<Text<64>>,
    /// Only male or female voices.
    pub gender: Option<Gender>,
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 100>>,
    /// The next_token of the page before.
    pub token: Option<String>,
}

/// Describes a voice.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct DesignRequest {
    /// How it should sound: gender, age, accent, tone, pace, use.
    #[schemars(length(min = 1))]
    pub prompt: Text<1000>,
    /// Only male or female voices.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub gender: Option<Gender>,
    /// Only voices of this language, as a BCP-47 tag.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Text<35>>,
    /// Which batch: 0, the default, has the best matches, 1 the next.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<Bounded<u32, 0, 1_000_000>>,
}

impl Request for DesignRequest {
    const EXAMPLE: &str =
        r#"{ "prompt": "A warm, confident male voice with a slight British accent", "gender": "male" }"#;
}

/// The voices that suit a description.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct VoicesDesigned {
    /// At most three, the best first.
    pub voices: Vec<Voice>,
    /// The batch.
    pub seed: u32,
}

/// Asks for speech.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpeechRequest {
    /// What to speak.
    #[schemars(length(min = 1))]
    pub text: Text<MAX_TEXT>,
    /// Who speaks.
    pub voice_id: Text<100>,
    /// Whether the text is plain, which is the default, or SSML.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub input_type: Option<InputType>,
    /// Multiple of the voice's own speed; 1 is the default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = 0.5, max = 2.0))]
    pub speed: Option<f64>,
    /// The language, such as `en`; the voice's own is the default. Voices without `support_locale` ignore it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub language: Option<Text<35>>,
    /// The language as a BCP-47 tag, such as `en-US`, instead of `language`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub locale: Option<Text<35>>,
}

impl Request for SpeechRequest {
    const EXAMPLE: &str = r#"{ "text": "Hello from the farm!", "voice_id": "espeak_en-us", "speed": 1.0 }"#;
}

/// What a text is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum InputType {
    /// Plain text.
    #[default]
    Text,
    /// SSML.
    Ssml,
}

/// A text that was spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct SpeechCreated {
    /// Signed, expiring URL of the sound, a WAV file.
    pub audio_url: String,
    /// Length of the sound in seconds.
    pub duration: f64,
    /// The request, as usage names it.
    pub request_id: Option<String>,
    /// When each word is spoken; `null` where the engine does not tell.
    pub word_timestamps: Option<Vec<WordTimestamp>>,
    /// The asset that is the sound. An extension.
    pub asset_id: String,
}

/// When a word is spoken.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct WordTimestamp {
    /// The word as it is written, punctuation included.
    pub word: String,
    /// Its start in seconds.
    pub start: f64,
    /// Its end in seconds.
    pub end: f64,
}
