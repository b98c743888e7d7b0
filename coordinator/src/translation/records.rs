//! What storage has of a translation beside its render, and of a proofread session.
//!
//! A run goes from the video over what is heard and its translation to the speech. What each step makes is stored, so that a
//! process which takes a run over goes on behind the last one.
//!
//! **Invariant: a run that is not over has a lease.** It is renewed while a process is at it; the leading coordinator takes over
//! what has an expired one.

use bytes::Bytes;
use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::spec::Size;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tracing::warn;
use url::Url;

use super::languages::Target;
use super::subtitles::{Subtitle, srt};
use crate::clock::created_at_ms;
use crate::object_keys;
use crate::retention::Retention;
use crate::store::{if_found, newest_marks};
use crate::submission::Seed;

/// Folder of the leases of runs.
const LEASES: &str = "farm/translating";

/// A translation, or a session in which one is read.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct TranslationRecord {
    pub(crate) seed: Seed,
    /// Id of the API key of the request; `None` for the user of a farm without keys.
    pub(crate) key: Option<String>,
    /// How the client reached the farm.
    pub(crate) origin: Option<Url>,
    pub(crate) title: Option<String>,
    pub(crate) callback_url: Option<String>,
    pub(crate) callback_id: Option<String>,
    /// Whether it ends with a translation to be read, and not with a video.
    pub(crate) is_proofread: bool,
    /// The language of the video: as asked, then as heard.
    pub(crate) input_language: Option<String>,
    /// The other language, as asked.
    pub(crate) output_language: String,
    pub(crate) target: Target,
    pub(crate) options: Options,
    pub(crate) clip: ClipRecord,
    /// The ending of the name of the sound that the client gave, and its seconds.
    pub(crate) audio: Option<(String, f64)>,
    /// Runs that have begun.
    pub(crate) attempts: u32,
    pub(crate) stage: Stage,
}

/// How the video in the other language is made.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Options {
    pub(crate) mode: LipsyncMode,
    pub(crate) is_audio_only: bool,
    pub(crate) is_dynamic: bool,
    pub(crate) keeps_sound: bool,
    pub(crate) is_enhanced: bool,
    pub(crate) has_captions: bool,
    pub(crate) has_watermark: bool,
    pub(crate) keeps_bit_rate: bool,
    /// Seconds of the video that are translated.
    pub(crate) part: (f64, f64),
}

/// The client's video.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct ClipRecord {
    /// The ending of its name, with the dot.
    pub(crate) extension: String,
    pub(crate) has_sound: bool,
    pub(crate) size: Size,
    pub(crate) seconds: f64,
    pub(crate) frame_rate: Option<FrameRate>,
}

/// How far it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Stage {
    /// Its run has not begun.
    Waiting,
    /// It is heard, translated and spoken.
    Running,
    /// The translation can be read.
    Ready,
    /// It is a render.
    Rendered,
    /// It came to nothing, for this reason.
    Failed(String),
}

/// A step of a run whose result is stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    /// What is said in the video.
    Heard,
    /// Its translation.
    Translated,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Heard => "heard",
            Self::Translated => "translated",
        }
    }
}

fn folder(space: &Space, id: &RenderId) -> String {
    format!("translations/{space}/{id}")
}

fn record_key(space: &Space, id: &RenderId) -> String {
    format!("{}/translation.json", folder(space, id))
}

fn title_key(space: &Space, id: &RenderId) -> String {
    format!("{}/title.json", folder(space, id))
}

fn step_key(space: &Space, id: &RenderId, step: Step) -> String {
    format!("{}/{}.json", folder(space, id), step.name())
}

fn lease_key(space: &Space, id: &RenderId) -> String {
    format!("{LEASES}/{space}/{id}")
}

/// Key of a file of a translation: the video, or a sound.
pub(crate) fn file_key(space: &Space, id: &RenderId, name: &str, extension: &str) -> String {
    format!("{}/{name}{extension}", folder(space, id))
}

/// Key of the SubRip file of a step.
pub(crate) fn srt_key(space: &Space, id: &RenderId, step: Step) -> String {
    file_key(space, id, step.name(), ".srt")
}

/// Stores a new translation, which exists once this returns, and its lease.
pub(crate) async fn create(
    objects: &Objects,
    space: &Space,
    record: &TranslationRecord,
    lease_until_ms: u64,
) -> Result<(), ObjectsError> {
    let id = record.seed.render();
    renew(objects, space, &id, lease_until_ms).await?;
    put(objects, space, record).await?;
    if record.is_proofread {
        return Ok(());
    }
    objects.put(&object_keys::space_translation(space, &id), Bytes::from_static(b"{}")).await
}

/// Stores a translation.
pub(crate) async fn put(objects: &Objects, space: &Space, record: &TranslationRecord) -> Result<(), ObjectsError> {
    objects.put_json(&record_key(space, &record.seed.render()), record).await
}

/// The translation, or the session, with this id.
pub(crate) async fn get(
    objects: &Objects,
    space: &Space,
    id: &RenderId,
) -> Result<Option<TranslationRecord>, ObjectsError> {
    if_found(objects.get_json(&record_key(space, id)).await)
}

/// Stores what a step has made, for the next one and for people.
pub(crate) async fn put_step(
    objects: &Objects,
    space: &Space,
    id: &RenderId,
    step: Step,
    subtitles: &[Subtitle],
) -> Result<(), ObjectsError> {
    objects.put(&srt_key(space, id, step), srt(subtitles).into()).await?;
    objects.put_json(&step_key(space, id, step), &subtitles).await
}

/// What a step has made.
pub(crate) async fn step(
    objects: &Objects,
    space: &Space,
    id: &RenderId,
    step: Step,
) -> Result<Option<Vec<Subtitle>>, ObjectsError> {
    read(objects, &step_key(space, id, step)).await
}

async fn read<T: DeserializeOwned>(objects: &Objects, key: &str) -> Result<Option<T>, ObjectsError> {
    if_found(objects.get_json(key).await)
}

/// Changes the title of a translation.
pub(crate) async fn put_title(
    objects: &Objects,
    space: &Space,
    id: &RenderId,
    title: &str,
) -> Result<(), ObjectsError> {
    objects.put_json(&title_key(space, id), &title).await
}

/// The title of a translation, where it was changed.
pub(crate) async fn title(objects: &Objects, space: &Space, id: &RenderId) -> Result<Option<String>, ObjectsError> {
    read(objects, &title_key(space, id)).await
}

/// The ids of the translations of the space, newest first.
pub(crate) async fn ids(objects: &Objects, space: &Space) -> Result<Vec<String>, ObjectsError> {
    newest_marks(objects, &object_keys::space_translations(space)).await
}

/// Makes the lease of a run good until then, in Unix milliseconds.
pub(crate) async fn renew(objects: &Objects, space: &Space, id: &RenderId, until_ms: u64) -> Result<(), ObjectsError> {
    objects.put_json(&lease_key(space, id), &until_ms).await
}

/// Ends the lease of a run that is over.
pub(crate) async fn end_lease(objects: &Objects, space: &Space, id: &RenderId) -> Result<(), ObjectsError> {
    objects.delete(&lease_key(space, id)).await
}

/// The runs whose lease has expired.
pub(crate) async fn abandoned(objects: &Objects, now_ms: u64) -> Result<Vec<(Space, RenderId)>, ObjectsError> {
    let mut found = Vec::new();
    for meta in objects.list(LEASES).await? {
        let mut parts = meta.key.rsplit('/');
        let (id, space) = (parts.next().and_then(|id| id.parse().ok()), parts.next().and_then(|s| s.parse().ok()));
        let Some((space, id)) = space.zip(id) else { continue };
        match read::<u64>(objects, &meta.key).await {
            Ok(Some(until_ms)) if until_ms >= now_ms => {}
            Ok(None) => {}
            Ok(Some(_)) | Err(ObjectsError::Corrupt { .. }) => found.push((space, id)),
            Err(error) => return Err(error),
        }
    }
    Ok(found)
}

/// Removes the files that only a run needs.
pub(crate) async fn remove_files(
    objects: &Objects,
    space: &Space,
    record: &TranslationRecord,
) -> Result<(), ObjectsError> {
    let id = record.seed.render();
    if let Some((extension, _)) = &record.audio {
        objects.delete(&file_key(space, &id, "audio", extension)).await?;
    }
    objects.delete(&file_key(space, &id, "video", &record.clip.extension)).await
}

/// Removes all of a translation but its render.
pub(crate) async fn delete(objects: &Objects, space: &Space, id: &RenderId) -> Result<(), ObjectsError> {
    objects.delete(&object_keys::space_translation(space, id)).await?;
    end_lease(objects, space, id).await?;
    objects.delete_prefix(&folder(space, id)).await.map(drop)
}

/// Removes the translations that came to no render, and the sessions, that are older than the renders that `retention` keeps in
/// their space. Answers their number.
pub(crate) async fn remove_expired(objects: &Objects, retention: &Retention, now_ms: u64) -> Result<u64, ObjectsError> {
    let mut removed = 0;
    for space in objects.list_dirs("translations").await? {
        let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
        let Some(kept) = retention.renders.of(&space) else { continue };
        let before = now_ms.saturating_sub(kept.duration().as_millis() as u64);
        for id in objects.list_dirs(&format!("translations/{space}")).await? {
            let Ok(id) = id.trim_end_matches('/').parse::<RenderId>() else { continue };
            if created_at_ms(&id).is_none_or(|created| created >= before) {
                continue;
            }
            match get(objects, &space, &id).await {
                // What is not over is not old, and what has a render goes with it.
                Ok(Some(TranslationRecord { stage: Stage::Waiting | Stage::Running, .. })) => {}
                Ok(_) if objects.exists(&keys::request(&id)).await? => {}
                Ok(_) => {
                    delete(objects, &space, &id).await?;
                    removed += 1;
                }
                Err(error @ ObjectsError::Corrupt { .. }) => {
                    warn!(%id, %error, "a translation cannot be read, and is kept");
                }
                Err(error) => return Err(error),
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
pub(crate) fn record(seed: Seed, stage: Stage) -> TranslationRecord {
    TranslationRecord {
        seed,
        key: None,
        origin: None,
        title: None,
        callback_url: None,
        callback_id: None,
        is_proofread: false,
        input_language: None,
        output_language: "Spanish".to_owned(),
        target: Target { name: "Spanish".to_owned(), locale: "es".to_owned(), voice: "a_es".to_owned() },
        options: Options {
            mode: LipsyncMode::Speed,
            is_audio_only: false,
            is_dynamic: true,
            keeps_sound: true,
            is_enhanced: false,
            has_captions: false,
            has_watermark: false,
            keeps_bit_rate: false,
            part: (0.0, 2.0),
        },
        clip: ClipRecord {
            extension: ".mp4".to_owned(),
            has_sound: true,
            size: Size { width: 64, height: 48 },
            seconds: 2.0,
            frame_rate: None,
        },
        audio: None,
        attempts: 0,
        stage,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    fn seed(at_ms: u64) -> Seed {
        serde_json::from_value(serde_json::json!({ "at_ms": at_ms, "random": at_ms })).unwrap()
    }

    #[tokio::test]
    async fn what_came_to_no_render_goes_when_renders_do() {
        let (objects, alpha) = (Objects::memory(), "alpha".parse::<Space>().unwrap());
        let stored = async |at_ms: u64, stage: Stage| {
            let record = record(seed(at_ms), stage);
            create(&objects, &alpha, &record, 0).await.unwrap();
            record.seed.render()
        };
        let failed = stored(DAY, Stage::Failed("nobody speaks".to_owned())).await;
        let running = stored(DAY + 1, Stage::Running).await;
        let rendered = stored(DAY + 2, Stage::Rendered).await;
        objects.put(&keys::request(&rendered), Bytes::from_static(b"{}")).await.unwrap();
        let new = stored(9 * DAY, Stage::Ready).await;
        let retention = Retention { renders: "7d".parse().unwrap(), ..Retention::default() };
        assert_eq!(remove_expired(&objects, &retention, 10 * DAY).await.unwrap(), 1);
        let left = ids(&objects, &alpha).await.unwrap();
        assert_eq!(left, [new.to_string(), rendered.to_string(), running.to_string()]);
        assert_eq!(get(&objects, &alpha, &failed).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_run_whose_lease_has_expired_is_abandoned() {
        let (objects, space) = (Objects::memory(), Space::default());
        for (at_ms, until_ms) in [(1, 100), (2, 300)] {
            create(&objects, &space, &record(seed(at_ms), Stage::Running), until_ms).await.unwrap();
        }
        let first = seed(1).render();
        assert_eq!(abandoned(&objects, 200).await.unwrap(), [(space.clone(), first.clone())]);
        renew(&objects, &space, &first, 400).await.unwrap();
        assert_eq!(abandoned(&objects, 200).await.unwrap(), []);
        end_lease(&objects, &space, &first).await.unwrap();
        assert_eq!(abandoned(&objects, 500).await.unwrap(), [(space, seed(2).render())]);
    }

    #[tokio::test]
    async fn steps_are_stored_for_programs_and_for_people() {
        let (objects, space, id) = (Objects::memory(), Space::default(), seed(1).render());
        let said = vec![Subtitle { start: 0.5, end: 1.0, text: "Hola.".to_owned() }];
        put_step(&objects, &space, &id, Step::Translated, &said).await.unwrap();
        assert_eq!(step(&objects, &space, &id, Step::Translated).await.unwrap(), Some(said));
        assert_eq!(step(&objects, &space, &id, Step::Heard).await.unwrap(), None);
        let file = objects.get(&srt_key(&space, &id, Step::Translated)).await.unwrap();
        assert_eq!(file, "1\n00:00:00,500 --> 00:00:01,000\nHola.\n\n");
        delete(&objects, &space, &id).await.unwrap();
        assert_eq!(objects.list("translations").await.unwrap(), []);
    }
}
