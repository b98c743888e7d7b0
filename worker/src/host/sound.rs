//! The sound of a page: effects, groups, and volumes that scripts change.

use hyperfarm_proto::plan::GainPoint;
use serde::Deserialize;
use serde_json::json;

use super::page_host::{PageHost, changed_answer};
use crate::assets::SOUND_SCRIPT;
use crate::error::WorkerError;

/// Times that are sought in one call of the page, so that no call of a long composition takes too long.
const SAMPLES_PER_CALL: u64 = 300;

/// The sound of a `<video>` or `<audio>` element.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SoundElement {
    /// Render id.
    pub id: String,
    /// Whether it or an ancestor has `data-hidden`.
    pub hidden: bool,
    /// `data-fx-chain` as text.
    pub effects: Option<String>,
    /// Id of its group.
    pub group: Option<String>,
}

/// An `<hf-audio-group>` element.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SoundGroup {
    /// Id by which members refer to it.
    pub id: String,
    /// Whether it has `data-hidden`.
    pub hidden: bool,
    /// `data-volume`, a linear gain.
    pub volume: f64,
    /// `data-fx-chain` as text.
    pub effects: Option<String>,
    /// `data-automation` as text.
    pub automation: Option<String>,
}

/// The volume of an element that scripts change.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct ScriptedVolume {
    /// Render id.
    pub id: String,
    /// Gain over seconds of the composition, in order.
    pub points: Vec<GainPoint>,
}

/// The sound of a page, as the page reports it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ProbedSound {
    /// Every media element.
    pub elements: Vec<SoundElement>,
    /// Every group element.
    pub groups: Vec<SoundGroup>,
    /// `data-fx-chain` of the root, as text.
    pub master: Option<String>,
    /// Volumes that scripts change.
    #[serde(default)]
    pub scripted: Vec<ScriptedVolume>,
}

impl PageHost<'_> {
    /// The sound of the page. Where scripts may change volumes, the root timeline is sought at every frame, at most
    /// sixty times a second, over `duration` seconds; afterwards it is at 0.
    ///
    /// # Errors
    ///
    /// Those of [`Page::evaluate`](crate::chrome::Page::evaluate).
    pub async fn sound(&self, duration: f64) -> Result<ProbedSound, WorkerError> {
        self.run(SOUND_SCRIPT).await?;
        let mut sound: ProbedSound = self.ask("window.__hyperfarmSound.describe()").await?;
        if sound.elements.is_empty() {
            return Ok(sound);
        }
        let step = 1.0 / self.frame_rate().as_f64().clamp(1.0, 60.0);
        let begin = format!("window.__hyperfarmSound.begin({}, {})", json!(duration), json!(step));
        let samples: u64 = self.ask(&begin).await?;
        // Elements may begin between two steps, each at a moment of its own.
        let most = (duration / step).ceil().max(1.0) as u64 + 1;
        if samples > most.saturating_mul(sound.elements.len() as u64) {
            return Err(changed_answer("has more moments at which volumes change than frames").into());
        }
        let mut taken = 0;
        while taken < samples {
            let before = taken;
            taken = self.ask(&format!("window.__hyperfarmSound.sample({SAMPLES_PER_CALL})")).await?;
            if taken < samples.min(before + SAMPLES_PER_CALL) {
                return Err(changed_answer("samples no volumes").into());
            }
        }
        if samples > 0 {
            sound.scripted = self.ask("window.__hyperfarmSound.end()").await?;
        }
        Ok(sound)
    }
}
