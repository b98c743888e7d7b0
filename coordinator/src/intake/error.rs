//! Why a render is not taken in.

use hyperfarm_backplane::objects::ObjectsError;

use super::project::ProjectError;

/// Why a render is not taken in.
#[derive(Debug, thiserror::Error)]
pub enum IntakeError {
    /// The project is refused.
    #[error(transparent)]
    Project(#[from] ProjectError),
    /// A field of the request is refused.
    #[error("{message}")]
    Invalid {
        /// Name of the field.
        param: &'static str,
        /// What is wrong with it, and what to do.
        message: String,
    },
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The operating system gave no random numbers.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}
