//! Who submitted a render, and the seed from which its id is made.

use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_proto::id::{RenderId, Space};
use serde::{Deserialize, Serialize};
use url::Url;

use crate::clock::now_ms;

/// Who submitted a render, and how. None of it changes what is rendered.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Intake {
    /// The tenant that the render belongs to.
    pub space: Space,
    /// Id of the API key of the request; `None` for a render of the farm's own process.
    pub key: Option<String>,
    /// Name of that key at the time of the request. Earlier farms did not store it.
    pub owner: Option<String>,
    /// Base URL under which the client reached the farm, for URLs in webhook events.
    pub origin: Option<Url>,
    /// Renders of a higher priority are dispatched first. The default is 0.
    pub priority: i32,
    /// Id of the batch it is part of.
    pub batch: Option<String>,
    /// The render that it is a retry of.
    pub retry_of: Option<RenderId>,
    /// What its `callback_url` gets.
    pub callback_form: CallbackForm,
    /// What it is made for.
    pub purpose: Purpose,
}

/// What a render is made for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Purpose {
    /// A render of a client's project.
    #[default]
    Render,
    /// A presenter video, which the farm has composed.
    Video {
        /// Whether words are shown in the picture.
        shows_captions: bool,
    },
    /// The face of a new look, whose id this is.
    Look(String),
    /// A video of the agent's, in the session with this id.
    Agent(String),
    /// An existing video with a new sound, whose mouth is as the mode says.
    Lipsync(LipsyncMode),
    /// An existing video in another language, whose mouth is as the mode says.
    Translation(LipsyncMode),
}

/// What a `callback_url` gets of the end of a render.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum CallbackForm {
    /// The webhook event, as endpoints get it.
    #[default]
    Event,
    /// The task, as clients of inference.sh know it.
    Task,
}

/// The time and the random number from which new ids are made. Equal seeds give equal ids, so a repeated request makes nothing twice.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seed {
    at_ms: u64,
    random: u64,
}

impl Seed {
    /// A seed of this moment.
    ///
    /// # Errors
    ///
    /// The operating system gave no random number.
    pub fn new() -> Result<Self, getrandom::Error> {
        Ok(Self { at_ms: now_ms(), random: getrandom::u64()? })
    }

    /// The seed for number `index` of several ids of one request.
    pub fn nth(self, index: u64) -> Self {
        Self { random: self.random.wrapping_add(index), ..self }
    }

    /// The id of a render.
    pub fn render(self) -> RenderId {
        RenderId::from_parts(self.at_ms, self.random)
    }

    /// The id of something else, such as an asset. Later ids sort after earlier ones.
    pub fn id(self, prefix: &str) -> String {
        format!("{}{:016x}", Self::id_at(prefix, self.at_ms), self.random)
    }

    /// The start of every id that is made at this time, in Unix milliseconds.
    pub(crate) fn id_at(prefix: &str, at_ms: u64) -> String {
        format!("{prefix}_{at_ms:012x}")
    }

    /// Unix milliseconds at which the seed was made.
    pub fn at_ms(self) -> u64 {
        self.at_ms
    }
}
