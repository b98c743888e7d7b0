//! Voices, and text to speech.
//!
//! The farm synthesises nothing itself: an engine is a program or an HTTP server beside it, and is used only where an
//! operator has it.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`engine`] | the trait of an engine, with what it takes and answers |
//! | [`catalogue`] | the voices of all engines, and the choice of one by a description |
//! | [`config`] | the settings |
//! | [`espeak`] | espeak-ng, as a program |
//! | [`openai`] | an OpenAI-compatible service: `POST /v1/audio/speech` |
//! | [`piper`] | Piper's HTTP server |
//! | [`script`] | a text or SSML as words with marks between them |
//! | `words` | the times of words, from three renditions of one script |
//! | [`wav`] | sounds as WAV files |
//! | `error`, `languages` | why an engine did not speak; the names of languages |
//! | `client` | bounded requests to an engine's HTTP server |
//!
//! # Example
//!
//! ```
//! use hyperfarm_speech::catalogue::Catalogue;
//! use hyperfarm_speech::config::SpeechConfig;
//!
//! let catalogue = Catalogue::new(&SpeechConfig::default()).unwrap();
//! assert!(catalogue.is_empty(), "no engine is configured");
//! ```

pub mod catalogue;
mod client;
pub mod config;
pub mod engine;
mod error;
pub mod espeak;
mod languages;
pub mod openai;
pub mod piper;
pub mod script;
pub mod wav;
mod words;

pub use catalogue::Catalogue;
pub use config::SpeechConfig;
pub use engine::{Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice, WordTime};
pub use languages::language_tag;
pub use script::Script;
