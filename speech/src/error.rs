//! Why there is no speech.

use std::time::Duration;

/// Length of a speech at most.
pub(crate) const MAX_DURATION: Duration = Duration::from_secs(15 * 60);

/// Why nothing was spoken.
#[derive(Debug, thiserror::Error)]
pub enum SpeechError {
    /// No engine has this voice.
    #[error("there is no voice `{0}`")]
    NoVoice(String),
    /// The voice does not speak this language.
    #[error("the voice speaks no `{0}`")]
    NoLocale(String),
    /// The voice does not take SSML.
    #[error("the voice takes no SSML; send plain text")]
    NoSsml,
    /// The voice has one pitch only.
    #[error("the voice cannot be made higher or lower; leave the pitch at 0")]
    NoPitch,
    /// The sound is longer than [`MAX_DURATION`].
    #[error("the speech would be longer than {} minutes", MAX_DURATION.as_secs() / 60)]
    TooLong,
    /// The engine had nothing to say.
    #[error("the text has nothing to speak")]
    Silent,
    /// The engine did not do it.
    #[error("the speech engine {engine} failed: {reason}")]
    Engine {
        /// The engine.
        engine: &'static str,
        /// What it said.
        reason: String,
    },
}

impl SpeechError {
    /// The engine did not do it.
    pub(crate) fn engine(engine: &'static str, reason: impl ToString) -> Self {
        Self::Engine { engine, reason: reason.to_string() }
    }
}
