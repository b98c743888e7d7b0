//! Runs: from a stored request over what is heard and its translation to a render, or to a translation that can be read.
//!
//! A run waits for engines, so it is no task of the queue but of this process. A few go on at once. One whose process ends is
//! taken over by the leading coordinator, behind the last step that was stored.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_api::webhooks::{ProofreadEventData, TranslationEventData};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_media::{MixInput, MixPart, mix};
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, RenderId, Space};
use hyperfarm_proto::plan::{AudioItem, MediaTiming};
use hyperfarm_proto::spec::{AudioCodec, RenderSpec};
use hyperfarm_speech::{Script, Speech, SpeechRequest};
use serde::Serialize;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::{info, warn};
use url::Url;

use super::request::translator;
use crate::api::avatars::submit;
use crate::api::error::{ApiError, Code};
use crate::api::lipsyncs::{self, loudness};
use crate::api::media::Wanted;
use crate::api::{Api, voices};
use crate::api_keys::Caller;
use crate::clock::now_ms;
use crate::intake::Purpose;
use crate::lipsync::composition::{Dub, Piece};
use crate::lipsync::times::Times;
use crate::presenter::{MediaFile, SpokenWord};
use crate::translation::dubbing::{self, Dubbing};
use crate::translation::languages::{self, Target};
use crate::translation::records::{self, ClipRecord, Options, Stage, Step, TranslationRecord};
use crate::translation::subtitles::{self, Subtitle};
use crate::translation::{FAIL, PROOFREAD_FAIL, PROOFREAD_SUCCESS, RecognitionJob};
use crate::webhooks::Event;

/// Runs at once: each has a video and a sound in memory.
const AT_ONCE: usize = 2;

/// Runs that wait for a turn, in this process.
const WAITING: usize = 200;

/// Seconds of a sound that the speech recognition gets at once: services take files of some megabytes.
const HEARD_AT_ONCE: f64 = 600.0;

/// How long a run's lease is good, and when it is renewed.
const LEASE: Duration = Duration::from_secs(60);
const RENEWAL: Duration = Duration::from_secs(20);

/// Time between two looks for runs whose process has ended.
const TAKE_OVER: Duration = Duration::from_secs(15);

/// Pause before a run goes on that had to wait.
const AGAIN: Duration = Duration::from_secs(10);

/// How often a run begins: one that ends its process each time is not begun for ever.
const ATTEMPTS: u32 = 3;

/// Pauses before an engine that failed is asked again.
const PAUSES: [Duration; 2] = [Duration::from_secs(1), Duration::from_secs(4)];

/// The failure codes of translations that came to no render.
const ENGINE_FAILED: &str = "engine_failed";
const NO_SPEECH: &str = "no_speech";
const REFUSED: &str = "refused";

/// The turns of runs.
pub(crate) struct TranslationPermits {
    running: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
}

impl Default for TranslationPermits {
    fn default() -> Self {
        Self { running: Arc::new(Semaphore::new(AT_ONCE)), waiting: Arc::new(Semaphore::new(WAITING)) }
    }
}

/// Why a run came to nothing.
#[derive(Debug)]
enum RunError {
    /// For this reason, which the client is told of with its code.
    Failed(&'static str, String),
    /// Storage does not answer, or there is no room for the render: it goes on later, behind the last step that was stored.
    Again(String),
}

impl From<ObjectsError> for RunError {
    fn from(error: ObjectsError) -> Self {
        Self::Again(error.to_string())
    }
}

impl RunError {
    fn engine(error: impl ToString) -> Self {
        Self::Failed(ENGINE_FAILED, error.to_string())
    }

    fn refused(error: ApiError) -> Self {
        Self::Failed(REFUSED, error.message)
    }
}

pub(super) fn lease_until() -> u64 {
    now_ms() + LEASE.as_millis() as u64
}

/// A place among those that wait for each run.
pub(super) fn turns(api: &Api, count: usize) -> Result<Vec<OwnedSemaphorePermit>, ApiError> {
    let turn = || api.translations.waiting.clone().try_acquire_owned();
    (0..count).map(|_| turn()).collect::<Result<_, _>>().map_err(|_| {
        let message = format!("{WAITING} translations wait at this coordinator already; try again");
        ApiError::new(Code::RateLimited, message).retry_after(30)
    })
}

/// Begins a run in this process, once it is its turn.
pub(super) fn begin(api: &Api, space: Space, mut record: TranslationRecord, turn: Option<OwnedSemaphorePermit>) {
    let api = api.clone();
    record.attempts += 1;
    tokio::spawn(async move {
        let id = record.seed.render();
        let lease = tokio::spawn(keep_lease(api.clone(), space.clone(), id.clone()));
        let mut run = Run { api: &api, space: &space, record };
        while let Err(reason) = run.turn().await {
            info!(%id, reason, "a translation waits");
            tokio::select! {
                // The lease ends by itself, and another process goes on.
                () = api.coordinator.drain().started() => return lease.abort(),
                () = tokio::time::sleep(AGAIN) => {}
            }
        }
        drop(turn);
        lease.abort();
        if let Err(error) = records::end_lease(&api.coordinator.backplane().objects, &space, &id).await {
            warn!(%id, %error, "the lease of a translation could not be ended");
        }
    });
}

/// Renews the lease of a run until it is aborted.
async fn keep_lease(api: Api, space: Space, id: RenderId) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        if let Err(error) = records::renew(&api.coordinator.backplane().objects, &space, &id, lease_until()).await {
            warn!(%id, %error, "the lease of a translation could not be renewed");
        }
    }
}

/// Takes over runs whose process has ended, while this coordinator leads.
pub(crate) async fn take_over(api: Api) {
    let drain = api.coordinator.drain().clone();
    loop {
        tokio::select! {
            () = drain.started() => return,
            () = tokio::time::sleep(TAKE_OVER) => {}
        }
        if !api.coordinator.is_leading() {
            continue;
        }
        if let Err(error) = take_over_now(&api).await {
            warn!(%error, "translations that nobody is at could not be found");
        }
    }
}

async fn take_over_now(api: &Api) -> Result<(), ObjectsError> {
    let objects = &api.coordinator.backplane().objects;
    for (space, id) in records::abandoned(objects, now_ms()).await? {
        let Ok(turns) = turns(api, 1) else { return Ok(()) };
        match records::get(objects, &space, &id).await? {
            Some(record) if matches!(record.stage, Stage::Waiting | Stage::Running) => {
                info!(%id, "a translation that nobody is at is taken over");
                records::renew(objects, &space, &id, lease_until()).await?;
                begin(api, space, record, turns.into_iter().next());
            }
            _ => records::end_lease(objects, &space, &id).await?,
        }
    }
    Ok(())
}

/// A run: from a stored request to a render, or to a translation that can be read.
struct Run<'a> {
    api: &'a Api,
    space: &'a Space,
    record: TranslationRecord,
}

impl Run<'_> {
    /// Goes on once there is room for its render and it is its turn. Answers why it has to wait, if it does.
    async fn turn(&mut self) -> Result<(), String> {
        // A run that waits for room holds nothing in memory.
        if !self.record.is_proofread
            && let Ok(caller) = self.caller().await
            && let Err(error) = self.api.admission.reserve(&caller, vec![self.record.seed.render()]).await
        {
            let error = ApiError::from(error);
            if is_for_the_moment(&error) {
                return Err(error.message);
            }
        }
        let _running = self.api.translations.running.clone().acquire_owned().await;
        match self.go().await {
            Err(RunError::Again(reason) | RunError::Failed(_, reason)) => Err(reason),
            Ok(()) => Ok(()),
        }
    }

    /// Stores the record, unless it was deleted in the meantime. Answers whether it is stored.
    async fn keep(&self) -> Result<bool, ObjectsError> {
        let objects = &self.api.coordinator.backplane().objects;
        let is_there = records::get(objects, self.space, &self.record.seed.render()).await?.is_some();
        if is_there {
            records::put(objects, self.space, &self.record).await?;
        }
        Ok(is_there)
    }

    /// Goes as far as it can, and stores and tells how it ended.
    async fn go(&mut self) -> Result<(), RunError> {
        let id = self.record.seed.render();
        let objects = self.api.coordinator.backplane().objects.clone();
        self.record.stage = Stage::Running;
        if !self.keep().await? {
            return Ok(());
        }
        let ended = if self.record.attempts > ATTEMPTS {
            let message =
                "the farm's process ended each time that it was at work on this; ask its operator to look at the log";
            Err(RunError::Failed(ENGINE_FAILED, message.to_owned()))
        } else {
            self.work(&id).await
        };
        let (event_type, failure) = match ended {
            Ok(None) => return Ok(()),
            Ok(Some(event_type)) => (event_type, None),
            Err(again @ RunError::Again(_)) => return Err(again),
            Err(RunError::Failed(code, reason)) => {
                info!(%id, reason, "a translation failed before its render");
                (if self.record.is_proofread { PROOFREAD_FAIL } else { FAIL }, Some((code, reason)))
            }
        };
        if records::get(&objects, self.space, &id).await?.is_none() {
            return Ok(());
        }
        self.tell(&id, event_type, failure.clone()).await?;
        self.record.stage = failure.map_or(Stage::Ready, |(_, reason)| Stage::Failed(reason));
        if matches!(self.record.stage, Stage::Failed(_)) {
            records::remove_files(&objects, self.space, &self.record).await?;
        }
        self.keep().await?;
        Ok(())
    }

    /// The steps. Answers the event that there is to tell of; a render tells of its own end.
    async fn work(&mut self, id: &RenderId) -> Result<Option<&'static str>, RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        let caller = self.caller().await?;
        let extension = Wanted::Video.extension(&self.record.clip.extension).unwrap_or(".mp4");
        let bytes = objects.get(&records::file_key(self.space, id, "video", extension)).await?;
        let clip = MediaFile { extension, bytes };
        let dub = if self.record.audio.is_none() {
            let said = match records::step(&objects, self.space, id, Step::Translated).await? {
                Some(said) => said,
                None => self.translated(id, &clip).await?,
            };
            if self.record.is_proofread {
                let length = self.record.clip.seconds;
                let (key, at_ms) = (&caller.id, self.record.seed.at_ms());
                self.api.usages.record_proofread(key, self.space, id.clone(), at_ms, length).await?;
                return Ok(Some(PROOFREAD_SUCCESS));
            }
            self.dubbed(id, clip, said).await?
        } else {
            self.with_given_sound(id, clip).await?
        };
        self.submit(id, &caller, dub).await?;
        Ok(None)
    }

    /// Who asked for it.
    async fn caller(&self) -> Result<Caller, RunError> {
        let access = &self.api.config.access;
        let found = access.caller_by_id(&self.api.keys, self.record.key.as_deref()).await?;
        let revoked = || RunError::Failed(REFUSED, "the API key of the request was revoked".to_owned());
        found.ok_or_else(revoked)
    }

    /// What is said in the video, in the other language.
    async fn translated(&mut self, id: &RenderId, clip: &MediaFile) -> Result<Vec<Subtitle>, RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        let heard = match records::step(&objects, self.space, id, Step::Heard).await? {
            Some(heard) => heard,
            None => {
                let heard = self.heard(clip).await?;
                records::put_step(&objects, self.space, id, Step::Heard, &heard).await?;
                self.keep().await?;
                heard
            }
        };
        let Target { name, locale, .. } = &self.record.target;
        let from = self.record.input_language.as_deref().map(tag_of);
        let texts: Vec<String> = heard.iter().map(|said| said.text.clone()).collect();
        let is_same = from.as_deref() == Some(languages::base(locale));
        let translated = if is_same {
            texts
        } else {
            let translator =
                translator(self.api).ok_or_else(|| RunError::engine("the farm has no translator any more"))?;
            tried(|| translator.translate(&texts, from.as_deref(), (name, locale))).await?
        };
        let say = |(said, text): (Subtitle, String)| Subtitle { text: subtitles::plain(&text), ..said };
        let said: Vec<Subtitle> = heard.into_iter().zip(translated).map(say).collect();
        if let Some(long) = said.iter().find(|said| said.text.chars().count() > subtitles::CHARACTERS) {
            let message = format!("the translation at {:.3} s is longer than any speech", long.start);
            return Err(RunError::engine(message));
        }
        records::put_step(&objects, self.space, id, Step::Translated, &said).await?;
        Ok(said)
    }

    /// What the speech recognition hears in the video.
    async fn heard(&mut self, clip: &MediaFile) -> Result<Vec<Subtitle>, RunError> {
        let engine = self.api.config.recognition.clone();
        let engine = engine.ok_or_else(|| RunError::engine("the farm has no speech recognition any more"))?;
        let (mut from, end) = self.record.options.part;
        let mut heard = Vec::new();
        loop {
            let to = (from + HEARD_AT_ONCE).min(end);
            let audio = sound_of_clip(self.api, clip, (from, to)).await?;
            let language = self.record.input_language.as_deref().map(tag_of);
            let job = RecognitionJob { audio, language };
            let mut answer = tried(|| engine.recognize(job.clone())).await?;
            if self.record.input_language.is_none() {
                self.record.input_language = answer.language.take().filter(|language| language.len() <= 100);
            }
            let mut next = to;
            // The last words of a part may be cut in their middle.
            if to < end
                && answer.subtitles.len() > 1
                && let Some(cut) = answer.subtitles.pop()
            {
                next = (from + cut.start).max(from + 1.0);
            }
            heard.extend(answer.subtitles.into_iter().map(|said| Subtitle {
                start: from + said.start,
                end: from + said.end,
                ..said
            }));
            if to >= end {
                break;
            }
            from = next;
        }
        if heard.is_empty() {
            let message =
                "nobody is heard to speak in the video; give its words as srt, or its language as input_language";
            return Err(RunError::Failed(NO_SPEECH, message.to_owned()));
        }
        Ok(heard)
    }

    /// The video with the translation spoken.
    async fn dubbed(&self, id: &RenderId, clip: MediaFile, said: Vec<Subtitle>) -> Result<Dub, RunError> {
        let Options { mode, is_dynamic, keeps_sound, part, .. } = self.record.options;
        let is_moved = mode == LipsyncMode::Precision;
        let is_dynamic = is_dynamic && !is_moved;
        let length = self.record.clip.seconds;
        let said: Vec<Subtitle> =
            dubbing::within(said, part).into_iter().filter(|said| !Script::text(&said.text).is_silent()).collect();
        if said.is_empty() {
            let message = "nothing is said in the part of the video that is to be translated";
            return Err(RunError::Failed(NO_SPEECH, message.to_owned()));
        }
        let mut speeches = Vec::with_capacity(said.len());
        for (said, slot) in said.iter().zip(dubbing::slots(&said, part.1)) {
            let mut speech = self.spoken(&said.text, 1.0).await?;
            if let Some(speed) = dubbing::speed(speech.sound.duration().as_secs_f64(), slot, is_dynamic) {
                speech = self.spoken(&said.text, speed).await?;
            }
            speeches.push(speech);
        }
        let lengths = speeches.iter().map(|speech| speech.sound.duration().as_secs_f64());
        let timed: Vec<(Subtitle, f64)> = said.into_iter().zip(lengths).collect();
        let Dubbing { pieces, speeches: places } = Dubbing::new(length, part.1, &timed, keeps_sound, is_dynamic);
        let total: f64 = pieces.iter().map(|piece| piece.length).sum();
        let sound = dubbing::sound(&speeches, &places, total).map_err(RunError::engine)?;
        let sound = MediaFile { extension: ".wav", bytes: sound.wav().into() };
        let words: Vec<SpokenWord> = timed
            .iter()
            .zip(&speeches)
            .zip(&places)
            .flat_map(|(((said, _), speech), place)| dubbing::words(&said.text, speech, *place))
            .collect();
        let dub = self.dub(clip, sound, pieces, (0.0, total), words);
        if is_moved { self.moved(id, dub, Times::new(length, (0.0, length), length, false)).await } else { Ok(dub) }
    }

    /// The video with the sound that the client gave.
    async fn with_given_sound(&self, id: &RenderId, clip: MediaFile) -> Result<Dub, RunError> {
        let objects = &self.api.coordinator.backplane().objects;
        let (extension, lasts) = self.record.audio.clone().unwrap_or_default();
        let extension = Wanted::Sound.extension(&extension).unwrap_or(".wav");
        let bytes = objects.get(&records::file_key(self.space, id, "audio", extension)).await?;
        let Options { mode, is_dynamic, part, .. } = self.record.options;
        let times = Times::new(self.record.clip.seconds, part, lasts, is_dynamic);
        let words = match records::step(objects, self.space, id, Step::Translated).await? {
            Some(said) => words_of(&said),
            None => Vec::new(),
        };
        let sound = MediaFile { extension, bytes };
        let dub = self.dub(clip, sound, times.pieces(false), (part.0, lasts.min(times.length)), words);
        if mode == LipsyncMode::Precision { self.moved(id, dub, times).await } else { Ok(dub) }
    }

    fn dub(
        &self,
        clip: MediaFile,
        sound: MediaFile,
        pieces: Vec<Piece>,
        heard: (f64, f64),
        words: Vec<SpokenWord>,
    ) -> Dub {
        let TranslationRecord { clip: ClipRecord { has_sound, size, .. }, options, .. } = &self.record;
        Dub {
            clip,
            has_sound: *has_sound,
            moved: None,
            pieces,
            sound,
            heard,
            words: if options.has_captions { words } else { Vec::new() },
            size: *size,
            is_enhanced: options.is_enhanced,
            has_watermark: options.has_watermark,
        }
    }

    /// The same with the mouth moved by the engine.
    async fn moved(&self, id: &RenderId, dub: Dub, times: Times) -> Result<Dub, RunError> {
        let engine = self.api.config.lipsync.clone();
        let engine = engine.ok_or_else(|| RunError::engine("the farm has no lip-sync engine any more"))?;
        let _turn = self.api.lipsyncs.wait().await;
        info!(%id, "the lip-sync engine moves the mouth of a translation");
        let part = (times.start, times.end);
        let moved = lipsyncs::moved(self.api, &*engine, &dub.clip, &dub.sound, part, times.length).await;
        let moved = Some(moved.map_err(RunError::engine)?);
        Ok(Dub { moved, pieces: times.pieces(true), ..dub })
    }

    /// A text as the voice speaks it.
    async fn spoken(&self, text: &str, speed: f64) -> Result<Speech, RunError> {
        let Target { voice, locale, .. } = &self.record.target;
        let found = voices::catalogue(self.api).map_err(RunError::refused)?.find(voice).await;
        let takes_locale = found.map_err(RunError::engine)?.voice.takes_locale;
        let request = SpeechRequest {
            script: Script::text(text),
            voice: voice.clone(),
            speed,
            pitch: 0,
            locale: takes_locale.then(|| locale.clone()),
        };
        tried(|| voices::spoken(self.api, &request)).await
    }

    /// Submits the render.
    async fn submit(&mut self, id: &RenderId, caller: &Caller, dub: Dub) -> Result<(), RunError> {
        let objects = self.api.coordinator.backplane().objects.clone();
        // It was deleted in the meantime.
        if records::get(&objects, self.space, id).await?.is_none() {
            return Ok(());
        }
        let TranslationRecord { options, clip, .. } = &self.record;
        let bits = lipsyncs::bit_rate(dub.clip.bytes.len() as f64 * 8.0 / clip.seconds);
        let spec = RenderSpec {
            fps: clip.frame_rate,
            title: self.record.title.clone().and_then(Text::new),
            callback_url: self.record.callback_url.clone().and_then(Text::new),
            callback_id: self.record.callback_id.clone().and_then(Text::new),
            captions: options.has_captions && !dub.words.is_empty(),
            loudness: loudness(options.is_enhanced),
            video_bitrate: options.keeps_bit_rate.then_some(bits).flatten(),
            wav: true,
            ..RenderSpec::default()
        };
        let bundle = dub.bundle().map_err(RunError::engine)?;
        let purpose = Purpose::Translation(options.mode);
        let origin = self.record.origin.clone();
        let submitted = submit(self.api, caller, bundle, spec, purpose, origin, self.record.seed).await;
        submitted.map_err(|error| match is_for_the_moment(&error) {
            true => RunError::Again(error.message),
            false => RunError::refused(error),
        })?;
        self.record.stage = Stage::Rendered;
        self.keep().await?;
        Ok(records::remove_files(&objects, self.space, &self.record).await?)
    }

    /// Tells of the end of what has no render.
    async fn tell(
        &self,
        id: &RenderId,
        event_type: &str,
        failure: Option<(&'static str, String)>,
    ) -> Result<(), ObjectsError> {
        let objects = &self.api.coordinator.backplane().objects;
        let title = records::title(objects, self.space, id).await?.or_else(|| self.record.title.clone());
        let (failure_code, msg) = failure.map(|(code, reason)| (code.to_owned(), reason)).unzip();
        let output_language = self.record.output_language.clone();
        let data = if self.record.is_proofread {
            json(ProofreadEventData { proofread_id: id.to_string(), title, output_language, msg, failure_code })
        } else {
            json(TranslationEventData {
                video_translate_id: id.to_string(),
                title,
                output_language,
                translate_audio_only: self.record.options.is_audio_only,
                generate_caption: self.record.options.has_captions,
                url: None,
                callback_id: self.record.callback_id.clone(),
                msg,
                failure_code,
            })
        };
        let at_ms = now_ms();
        // A run that is taken over tells of the same event.
        let hash = ContentHash::of(format!("{id}\n{event_type}").as_bytes()).to_string();
        let event = Event {
            event_id: format!("evt_{:012x}{}", self.record.seed.at_ms(), &hash[..16]),
            event_type: event_type.to_owned(),
            event_data: data,
            entity_id: id.to_string(),
            space: self.space.clone(),
            created_at_ms: at_ms,
        };
        let callback = self.record.callback_url.as_deref().and_then(|url| Url::parse(url).ok());
        // The deliverer finds in storage what is to be sent.
        self.api.webhooks.publish(&event, callback.map(|url| (url, Default::default())), at_ms).await.map(drop)
    }
}

/// Whether a refusal may be none in a while: the limit of renders is reached, or storage does not answer.
fn is_for_the_moment(error: &ApiError) -> bool {
    matches!(error.code, Code::RateLimited | Code::Unavailable | Code::Internal)
}

fn json(data: impl Serialize) -> serde_json::Value {
    serde_json::to_value(data).unwrap_or_default()
}

/// The tag of a language that a request or an engine names: `en` of `English` and of `en-US`.
fn tag_of(language: &str) -> String {
    let language = language.trim().to_lowercase();
    let name = language.split('(').next().unwrap_or_default().trim();
    let tag = hyperfarm_speech::language_tag(name).unwrap_or(name);
    languages::base(tag).to_owned()
}

/// Subtitles as words.
fn words_of(said: &[Subtitle]) -> Vec<SpokenWord> {
    let words = said.iter().flat_map(|said| {
        let count = said.text.split_whitespace().count().max(1) as f64;
        let at = move |index: f64| said.start + (said.end - said.start) * index / count;
        said.text.split_whitespace().enumerate().map(move |(index, word)| SpokenWord {
            word: word.to_owned(),
            start: at(index as f64),
            end: at(index as f64 + 1.0),
            phonemes: None,
        })
    });
    words.collect()
}

/// What an engine answers, which may fail for a moment.
async fn tried<T, E: std::fmt::Display, F: Future<Output = Result<T, E>>>(ask: impl Fn() -> F) -> Result<T, RunError> {
    for pause in PAUSES {
        match ask().await {
            Ok(answer) => return Ok(answer),
            Err(error) => warn!(%error, "an engine failed, and is asked again"),
        }
        tokio::time::sleep(pause).await;
    }
    ask().await.map_err(RunError::engine)
}

/// The sound of a part of a video, as AAC in MP4.
async fn sound_of_clip(api: &Api, clip: &MediaFile, (from, to): (f64, f64)) -> Result<Bytes, RunError> {
    /// Parts are cut to a hundredth of a second.
    const PARTS: u32 = 100;
    let (decoders, bytes, extension) = (api.config.decoders.clone(), clip.bytes.clone(), clip.extension);
    let made = tokio::task::spawn_blocking(move || {
        let local =
            |error: std::io::Error| RunError::engine(format!("the sound of the video could not be written: {error}"));
        let folder = tempfile::tempdir().map_err(local)?;
        let (source, output) = (folder.path().join(format!("video{extension}")), folder.path().join("speech.m4a"));
        std::fs::write(&source, &bytes).map_err(local)?;
        let length = to - from;
        let timing = MediaTiming { start: 0.0, end: length, media_start: from, rate: 1.0, looped: false };
        let item = AudioItem::plain("sound", "video", timing, Vec::new());
        let input = MixInput { item: &item, path: &source, rendered: false };
        let rate = FrameRate::new(PARTS, 1).map_err(RunError::engine)?;
        let frames = (length * f64::from(PARTS)).ceil() as u64;
        let codec = AudioCodec::Aac;
        mix(Some(&decoders), &[input], &MixPart::whole(frames.max(1), rate), codec, &output, &mut |_| true)
            .map_err(|error| RunError::Failed(REFUSED, format!("the sound of the video cannot be read: {error}")))?;
        std::fs::read(&output).map(Bytes::from).map_err(local)
    });
    made.await.map_err(RunError::engine)?
}
