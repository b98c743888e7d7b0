//! Existing videos in other languages: heard, translated and spoken by the operator's engines, composed by the farm, and rendered
//! as any other project.
//!
//! | module | what it is |
//! | --- | --- |
//! | `subtitles` | what is said when, and SubRip files of it |
//! | `recognition` | the operator's speech recognition: the trait, and the one behind HTTP |
//! | `translator` | what translates texts: the trait, a service behind HTTP, and the language model |
//! | `languages` | languages that voices speak, as requests name them |
//! | `dubbing` | which part of the video is shown when beside the new speech, and the speech as one sound |
//! | `records` | what storage has of a translation beside its render |

pub(crate) mod dubbing;
pub(crate) mod languages;
mod recognition;
pub(crate) mod records;
pub(crate) mod subtitles;
mod translator;

pub use recognition::{
    HttpRecognition, RecognitionConfig, RecognitionError, RecognitionJob, Recognized, SpeechRecognition,
};
pub use subtitles::Subtitle;
pub(crate) use translator::ModelTranslator;
pub use translator::{HttpTranslator, TranslationConfig, TranslationError, Translator};

/// The event of a translation that completed.
pub(crate) const SUCCESS: &str = "video_translate.success";

/// The event of a translation that failed.
pub(crate) const FAIL: &str = "video_translate.fail";

/// The event of a proofread session whose translation can be read.
pub(crate) const PROOFREAD_SUCCESS: &str = "proofread_creation.success";

/// The event of a proofread session without a translation.
pub(crate) const PROOFREAD_FAIL: &str = "proofread_creation.fail";
