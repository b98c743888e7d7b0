//! What the page says about its sound: effects, groups, volumes that scripts move.

use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::plan::GainPoint;
use serde::Deserialize;
use serde_json::json;

use super::PageHost;
use crate::assets::SOUND_SCRIPT;

/// Moments sought in one call, so that a long composition does not look like a hanging page.
const SAMPLES_A_CALL: u64 = 300;

/// More about one `<video>` or `<audio>`.
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

/// An `<hf-audio-group>`.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct SoundGroup {
    /// Id that members name.
    pub id: String,
    /// Whether it has `data-hidden`.
    pub hidden: bool,
    /// `data-volume`, linear.
    pub volume: f64,
    /// `data-fx-chain` as text.
    pub effects: Option<String>,
    /// `data-automation` as text.
    pub automation: Option<String>,
}

/// The volume of an element that scripts move.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub struct MovedVolume {
    /// Render id.
    pub id: String,
    /// Gain over composition time, in order.
    pub points: Vec<GainPoint>,
}

/// All of it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct ProbedSound {
    /// Every media element.
    pub elements: Vec<SoundElement>,
    /// Every group element.
    pub groups: Vec<SoundGroup>,
    /// `data-fx-chain` of the root, as text.
    pub master: Option<String>,
    /// Volumes that scripts move.
    #[serde(default)]
    pub moved: Vec<MovedVolume>,
}

impl PageHost<'_> {
    /// What the page says about its sound. Where scripts may move volumes, the root timeline is sought at every frame, at most
    /// sixty times a second, over `duration` seconds; afterwards it stands at 0.
    pub async fn sound(&self, duration: f64) -> Result<ProbedSound, Failure> {
        self.page.evaluate::<()>(SOUND_SCRIPT.to_owned()).await?;
        let mut sound: ProbedSound = self.page.evaluate("window.__hyperfarmSound.describe()".to_owned()).await?;
        if sound.elements.is_empty() {
            return Ok(sound);
        }
        let step = 1.0 / self.frame_rate.as_f64().clamp(1.0, 60.0);
        let begin = format!("window.__hyperfarmSound.begin({}, {})", json!(duration), json!(step));
        let samples: u64 = self.page.evaluate(begin).await?;
        let mut taken = 0;
        while taken < samples {
            taken = self.page.evaluate(format!("window.__hyperfarmSound.sample({SAMPLES_A_CALL})")).await?;
        }
        if samples > 0 {
            sound.moved = self.page.evaluate("window.__hyperfarmSound.end()".to_owned()).await?;
        }
        Ok(sound)
    }
}
