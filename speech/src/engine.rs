//! The trait of an engine, with what it takes and answers.

use std::fmt::Debug;
use std::time::Duration;

use async_trait::async_trait;

pub use crate::error::SpeechError;
use crate::script::Script;
use crate::wav::Sound;

/// How long an engine may take for one speech.
pub const SPEECH_TIMEOUT: Duration = Duration::from_secs(120);

/// Something that speaks.
#[async_trait]
pub trait SpeechEngine: Debug + Send + Sync {
    /// Name of the engine: the first part of the ids of its voices.
    fn name(&self) -> &'static str;

    /// The voices, in a fixed order. Their ids begin with the engine's name and an underscore.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    async fn voices(&self) -> Result<Vec<Voice>, SpeechError>;

    /// Speaks a script.
    ///
    /// # Errors
    ///
    /// The engine does not answer, or cannot speak this.
    async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError>;

    /// The phonemes of each word in the language with this BCP-47 tag, in the International Phonetic Alphabet; `None`
    /// where the engine cannot tell them.
    ///
    /// # Errors
    ///
    /// The engine does not answer.
    async fn phonemes(&self, locale: &str, words: &[String]) -> Result<Option<Vec<String>>, SpeechError> {
        let _ = (locale, words);
        Ok(None)
    }
}

/// A voice.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Voice {
    /// Its id: letters, digits, `-` and `_`.
    pub id: String,
    /// Its name for people.
    pub name: String,
    /// English name of its language, such as `English`.
    pub language: String,
    /// BCP-47 tag of its language, in lower case.
    pub locale: String,
    /// Male or female.
    pub gender: Gender,
    /// Words that describe how it sounds, in lower case.
    pub tags: Vec<String>,
    /// Whether it speaks SSML, pauses among it.
    pub takes_ssml: bool,
    /// Whether it speaks other languages too, by [`SpeechRequest::locale`].
    pub takes_locale: bool,
}

/// Male or female.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Gender {
    /// Male.
    Male,
    /// Female.
    Female,
}

impl Gender {
    /// The gender's name.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Male => "male",
            Self::Female => "female",
        }
    }
}

/// What is to be spoken.
#[derive(Debug, Clone, PartialEq)]
pub struct SpeechRequest {
    /// The words.
    pub script: Script,
    /// Id of a voice of the engine.
    pub voice: String,
    /// 1 is the voice's own speed, 2 twice as fast. From 0.5 to 2.
    pub speed: f64,
    /// From -50, an octave lower or so, to 50, higher; 0 is the voice's own pitch.
    pub pitch: i32,
    /// BCP-47 tag of the language to speak, for voices that take one.
    pub locale: Option<String>,
}

/// A script that was spoken.
#[derive(Debug, Clone, PartialEq)]
pub struct Speech {
    /// The sound.
    pub sound: Sound,
    /// The times of the words; `None` where the engine does not tell them.
    pub words: Option<Vec<WordTime>>,
}

/// When a word is spoken.
#[derive(Debug, Clone, PartialEq)]
pub struct WordTime {
    /// The word as it is written, punctuation included.
    pub word: String,
    /// Its start in seconds.
    pub start: f64,
    /// Its end in seconds.
    pub end: f64,
}
