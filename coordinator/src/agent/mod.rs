//! The video agent: a language model of the operator's writes a storyboard, which becomes a composition of the farm's own
//! templates, which is rendered as any other project is.
//!
//! | module | what it is |
//! | --- | --- |
//! | `language_model` | the language model: the trait, and OpenAI-compatible services |
//! | `storyboard` | what the model is asked for, and the check of what it answers |
//! | `styles` | the templates |
//! | `film` | a storyboard with its narration and files as a project |
//! | `sessions` | sessions in storage |
//!
//! What a model says is a stranger's text: it is checked against limits, and in the page it is text and never markup.

pub(crate) mod film;
mod language_model;
pub(crate) mod sessions;
pub(crate) mod storyboard;
pub(crate) mod styles;

pub use language_model::{ChatMessage, ChatRole, LanguageModel, LanguageModelConfig, LanguageModelError, OpenAiChat};
