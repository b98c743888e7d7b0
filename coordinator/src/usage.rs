//! The usage of renders and speeches, and its price: one record for each of a key, from which bills, caps and the
//! dashboard are computed.

use std::collections::{BTreeMap, HashMap};
use std::str::FromStr;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::record::{Manifest, Outcome, OutputRecord, TerminalState};
use hyperfarm_proto::spec::RenderRequest;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};

use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::{Intake, Purpose};

/// Prices in US dollars per minute of output.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Prices {
    /// Up to 1920 × 1080 pixels, up to 30 frames per second.
    pub hd30: f64,
    /// Up to 1920 × 1080 pixels, more frames.
    pub hd60: f64,
    /// More pixels, up to 30 frames per second.
    pub uhd30: f64,
    /// More pixels, more frames.
    pub uhd60: f64,
    /// A minute of speech.
    pub speech: f64,
    /// A presenter video of a photo, up to 1920 × 1080 pixels.
    pub photo_hd: f64,
    /// The same with more pixels.
    pub photo_uhd: f64,
    /// An existing video with a new sound.
    pub lipsync_speed: f64,
    /// The same with a mouth that an engine has moved.
    pub lipsync_precision: f64,
    /// A minute of a video in another language.
    pub translation_speed: f64,
    /// The same with the mouth moved.
    pub translation_precision: f64,
    /// A minute of a video whose translation is to be read.
    pub proofread: f64,
}

impl Default for Prices {
    fn default() -> Self {
        Self {
            hd30: 0.10,
            hd60: 0.20,
            uhd30: 0.15,
            uhd60: 0.30,
            speech: 0.01,
            photo_hd: 3.0,
            photo_uhd: 4.0,
            lipsync_speed: 2.0,
            lipsync_precision: 4.0,
            translation_speed: 3.0,
            translation_precision: 6.0,
            proofread: 0.5,
        }
    }
}

impl FromStr for Prices {
    type Err = String;

    /// Reads `1080p30=0.10,1080p60=0.20,4k30=0.15,4k60=0.30,speech=0.01,photo1080p=3,photo4k=4,lipsync=2,lipsync_precision=4,
    /// translation=3,translation_precision=6,proofread=0.5`. A price that is left out has its default.
    fn from_str(text: &str) -> Result<Self, String> {
        let mut prices = Self::default();
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            let refused = || format!("`{part}` is not a price: give for example 1080p30=0.10");
            let (name, price) = part.split_once('=').ok_or_else(refused)?;
            let price: f64 =
                price.trim().parse().ok().filter(|price| (0.0..1e6).contains(price)).ok_or_else(refused)?;
            match name.trim() {
                "1080p30" => prices.hd30 = price,
                "1080p60" => prices.hd60 = price,
                "4k30" => prices.uhd30 = price,
                "4k60" => prices.uhd60 = price,
                "speech" => prices.speech = price,
                "photo1080p" => prices.photo_hd = price,
                "photo4k" => prices.photo_uhd = price,
                "lipsync" => prices.lipsync_speed = price,
                "lipsync_precision" => prices.lipsync_precision = price,
                "translation" => prices.translation_speed = price,
                "translation_precision" => prices.translation_precision = price,
                "proofread" => prices.proofread = price,
                _ => return Err(refused()),
            }
        }
        Ok(prices)
    }
}

impl Prices {
    /// The price in US dollars of `seconds` of this output, which was made for `purpose`. The faces of looks are free.
    pub fn of(&self, output: &OutputRecord, seconds: f64, purpose: &Purpose) -> f64 {
        let is_large = u64::from(output.size.width) * u64::from(output.size.height) > 1920 * 1080;
        let is_fast = output.frame_rate.num() > 30 * output.frame_rate.den();
        let per_minute = match (purpose, is_large, is_fast) {
            (Purpose::Render | Purpose::Agent(_), false, false) => self.hd30,
            (Purpose::Render | Purpose::Agent(_), false, true) => self.hd60,
            (Purpose::Render | Purpose::Agent(_), true, false) => self.uhd30,
            (Purpose::Render | Purpose::Agent(_), true, true) => self.uhd60,
            (Purpose::Video { .. }, false, _) => self.photo_hd,
            (Purpose::Video { .. }, true, _) => self.photo_uhd,
            (Purpose::Lipsync(LipsyncMode::Speed), ..) => self.lipsync_speed,
            (Purpose::Lipsync(LipsyncMode::Precision), ..) => self.lipsync_precision,
            (Purpose::Translation(LipsyncMode::Speed), ..) => self.translation_speed,
            (Purpose::Translation(LipsyncMode::Precision), ..) => self.translation_precision,
            (Purpose::Look(_), _, _) => 0.0,
        };
        per_minute * seconds / 60.0
    }
}

/// The usage of one render or speech.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Usage {
    /// The render, or the speech: their ids have one form.
    pub render: RenderId,
    /// The tenant it belongs to.
    pub space: Space,
    /// Unix milliseconds of its end.
    pub ended_at_ms: u64,
    /// Seconds of slots whose work is in the output, by pool. Two slots that are busy for one second count two.
    pub worker_seconds: BTreeMap<String, f64>,
    /// Minutes of video, or of speech.
    pub output_minutes: f64,
    /// Price in US dollars.
    pub usd: f64,
}

/// The stored usage records, and a cache of the total of each key.
pub struct UsageStore {
    objects: Objects,
    prices: Prices,
    /// US dollars by key id.
    spent: Mutex<HashMap<String, f64>>,
}

fn folder(key: &str) -> String {
    format!("usage/{key}")
}

impl UsageStore {
    /// The records in `objects`. New ones are priced with `prices`.
    pub fn new(objects: Objects, prices: Prices) -> Self {
        Self { objects, prices, spent: Mutex::default() }
    }

    /// Computes the usage of an ended render, and stores it for the render's key. Only a completed render has a usage. Recording it
    /// again changes nothing.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or the manifest cannot be read.
    pub async fn record(
        &self,
        request: &RenderRequest,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<Option<Usage>, ObjectsError> {
        let Outcome::Completed { duration, output } = &state.outcome else { return Ok(None) };
        let manifest = if_found(self.objects.get_json::<Manifest>(&keys::manifest(&request.id)).await)?;
        let usage = Usage {
            render: request.id.clone(),
            space: intake.space.clone(),
            ended_at_ms: state.ended_at_ms,
            worker_seconds: manifest.map(|manifest| worker_seconds(&manifest, request)).unwrap_or_default(),
            output_minutes: duration / 60.0,
            usd: self.prices.of(output, *duration, &intake.purpose),
        };
        if let Some(key) = &intake.key {
            self.put(key, &usage).await?;
        }
        Ok(Some(usage))
    }

    /// Stores the usage of a speech of `seconds` for the key. Recording it again changes nothing.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn record_speech(
        &self,
        key: &str,
        space: &Space,
        id: RenderId,
        at_ms: u64,
        seconds: f64,
    ) -> Result<(), ObjectsError> {
        self.record_minutes(key, space, id, at_ms, (seconds / 60.0, self.prices.speech)).await
    }

    /// Records a translation of `seconds` of video that is to be read, and what it costs.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub async fn record_proofread(
        &self,
        key: &str,
        space: &Space,
        id: RenderId,
        at_ms: u64,
        seconds: f64,
    ) -> Result<(), ObjectsError> {
        self.record_minutes(key, space, id, at_ms, (seconds / 60.0, self.prices.proofread)).await
    }

    async fn record_minutes(
        &self,
        key: &str,
        space: &Space,
        id: RenderId,
        at_ms: u64,
        (minutes, price): (f64, f64),
    ) -> Result<(), ObjectsError> {
        let usage = Usage {
            render: id,
            space: space.clone(),
            ended_at_ms: at_ms,
            worker_seconds: BTreeMap::new(),
            output_minutes: minutes,
            usd: price * minutes,
        };
        self.put(key, &usage).await
    }

    async fn put(&self, key: &str, usage: &Usage) -> Result<(), ObjectsError> {
        self.objects.put_json(&format!("{}/{}", folder(key), usage.render), usage).await?;
        // The next reader computes the total anew. Adding here could count a render twice.
        self.spent.lock().remove(key);
        Ok(())
    }

    /// The recorded usage of a key's render; `None` before it is recorded.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or the record cannot be read.
    pub async fn of(&self, key: &str, render: &RenderId) -> Result<Option<Usage>, ObjectsError> {
        if_found(self.objects.get_json(&format!("{}/{render}", folder(key))).await)
    }

    /// US dollars of all recorded usage of a key.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or a record cannot be read.
    pub async fn spent(&self, key: &str) -> Result<f64, ObjectsError> {
        if let Some(spent) = self.spent.lock().get(key) {
            return Ok(*spent);
        }
        let listed = self.objects.list(&folder(key)).await?;
        let reads =
            listed.into_iter().map(|meta| async move { if_found(self.objects.get_json::<Usage>(&meta.key).await) });
        let all: Vec<Option<Usage>> =
            stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        // `sum` of no floats is -0.0.
        let spent = all.iter().flatten().fold(0.0, |sum, usage| sum + usage.usd);
        self.spent.lock().insert(key.to_owned(), spent);
        Ok(spent)
    }
}

/// The seconds for which the tasks of a render held their slots. Stages that overlap are not added up.
fn worker_seconds(manifest: &Manifest, request: &RenderRequest) -> BTreeMap<String, f64> {
    let segments: f64 = manifest.segments.iter().map(|segment| segment.timings.total_ms()).sum();
    let sound = manifest.audio.as_ref().map_or(0.0, |audio| audio.mix_ms);
    BTreeMap::from([
        (request.spec.pool.to_string(), (segments + sound) / 1000.0),
        ("stitch".to_owned(), manifest.output.stitch_ms / 1000.0),
    ])
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::frame::FrameRate;
    use hyperfarm_proto::id::ContentHash;
    use hyperfarm_proto::spec::{Format, Size};

    use super::*;

    #[tokio::test]
    async fn a_new_key_has_spent_a_zero_without_a_sign() {
        let spent = UsageStore::new(Objects::memory(), Prices::default()).spent("new").await.unwrap();
        assert!(spent == 0.0 && spent.is_sign_positive(), "{spent:?}");
    }

    #[test]
    fn the_price_follows_size_and_rate() {
        let prices: Prices = "4k60=0.6, 1080p30=0.05".parse().unwrap();
        let cost_for = |purpose: &Purpose, width, height, rate: &str| {
            let output = OutputRecord {
                key: String::new(),
                hash: ContentHash::of(b""),
                bytes: 0,
                frames: 0,
                size: Size { width, height },
                frame_rate: rate.parse::<FrameRate>().unwrap(),
                format: Format::Mp4,
                has_audio: false,
                sidecars: Vec::new(),
                thumbnail: String::new(),
                begun_at_ms: 0.0,
                stitch_ms: 0.0,
            };
            prices.of(&output, 120.0, purpose)
        };
        let cost = |width, height, rate| cost_for(&Purpose::Render, width, height, rate);
        assert_eq!([cost(1920, 1080, "30"), cost(1080, 1920, "60")], [0.1, 0.4]);
        assert_eq!([cost(3840, 2160, "30000/1001"), cost(3840, 2160, "60")], [0.3, 1.2]);
        let [hd, uhd] = [(1080, 1920), (3840, 2160)]
            .map(|(width, height)| cost_for(&Purpose::Video { shows_captions: false }, width, height, "25"));
        assert_eq!([hd, uhd, cost_for(&Purpose::Look("look_1".to_owned()), 1920, 1080, "25")], [6.0, 8.0, 0.0]);
        assert!("8k=1".parse::<Prices>().is_err() && "4k30=-1".parse::<Prices>().is_err());
    }
}
