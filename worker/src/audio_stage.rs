//! The audio stage: the sound of a render is mixed once, as a whole.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_backplane::task_log::TaskLog;
use hyperfarm_media::{
    Levelling, MixInput, MixOutput, MixPart, SAMPLE_RATE, SoundLevel, mix, mix_raw, mix_to_loudness,
};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::{AudioItem, CompiledFile, EffectChain, GainPoint, Loudness, MediaTiming, PlanContent};
use hyperfarm_proto::record::{AudioRecord, Sidecar, unix_ms};

use crate::blocking::blocking;
use crate::context::{WorkerContext, to_json};
use crate::effects;
use crate::error::{CaptureError, WorkerError};

/// Mixes the sound of the lease's render, stores it, and returns its record as JSON.
pub(crate) async fn run(
    worker: &Arc<WorkerContext>,
    lease: &Lease,
    context: &TaskContext,
) -> Result<Vec<u8>, WorkerError> {
    let render = &lease.task.render;
    let objects = context.objects();
    let (plan, plan_hash) = worker.plan(objects, render, lease.attempt).await?;
    let (begun_at_ms, started) = (unix_ms(), Instant::now());
    let mut sources = Vec::new();
    let files: HashMap<&str, &CompiledFile> =
        plan.content.files.iter().map(|file| (file.path.as_str(), file)).collect();
    let mut found = Vec::new();
    for item in &plan.content.audio {
        let file = files
            .get(item.path.as_str())
            .ok_or_else(|| WorkerError::Inconsistent(format!("the plan has no file {} for a sound", item.path)))?;
        found.push(file.hash);
    }
    worker.cache.expect_blobs(objects, found.iter()).await?;
    for hash in &found {
        sources.push(worker.cache.fetch_blob(objects, hash).await?);
    }
    let codec = plan.content.encoder.audio_codec;
    let key = keys::audio(render, codec);
    let folder = worker.task_folder("audio")?;
    let path = folder.path().join(key.rsplit('/').next().unwrap_or("audio.m4a"));
    let mixer = TrackMixer { worker, render, content: &plan.content, folder: folder.path(), context };
    let tracks = mixer.prepare(sources).await?;
    let wav_path = plan.content.encoder.wav.then(|| folder.path().join(Sidecar::SOUND));
    let mixed = {
        let wav_path = wav_path.clone();
        let (plan, path, context) = (plan.clone(), path.clone(), context.clone());
        let (decoders, scratch) = (worker.decoders.clone(), folder.path().to_owned());
        blocking(MIXER, move || {
            let inputs: Vec<MixInput<'_>> = tracks.iter().map(Track::input).collect();
            let mut report = |share: f64| {
                context.set_progress((share.clamp(0.0, 1.0) * 1000.0) as u64, 1000);
                !context.cancelled().is_cancelled()
            };
            let part = MixPart::of(&plan.content);
            let output = MixOutput { path: &path, wav: wav_path.as_deref() };
            let Some(target) = &plan.content.encoder.loudness else {
                return mix(Some(&decoders), &inputs, &part, codec, output, &mut report);
            };
            let levelling = Levelling { target, scratch: &scratch };
            let (summary, level) =
                mix_to_loudness(Some(&decoders), &inputs, &part, codec, levelling, output, &mut report)?;
            log_loudness(context.log(), target, &level);
            Ok(summary)
        })
    };
    let summary = mixed.await??;
    let expected = plan.content.frame_rate.samples_of(plan.content.frames, summary.sample_rate);
    if summary.samples != expected {
        return Err(CaptureError::SampleCount { samples: summary.samples, expected }.into());
    }
    let (hash, _) = hash_file(&path).await?;
    let wav = match &wav_path {
        Some(path) => {
            let (hash, bytes) = hash_file(path).await?;
            let key = keys::sidecar(render, Sidecar::SOUND);
            objects.put_file(&key, path).await?;
            Some(Sidecar { name: Sidecar::SOUND.to_owned(), key, hash, bytes })
        }
        None => None,
    };
    let record = AudioRecord {
        plan: Some(plan_hash),
        key: key.clone(),
        hash,
        wav,
        samples: summary.samples,
        sample_rate: summary.sample_rate,
        begun_at_ms,
        mix_ms: started.elapsed().as_secs_f64() * 1000.0,
    };
    objects.put_file(&key, &path).await?;
    objects.put_json(&keys::audio_record(render), &record).await?;
    to_json(&record)
}

/// Writes the loudness that was reached to the render's log, as a warning where it is not the one that was asked for.
fn log_loudness(log: &TaskLog, target: &Loudness, level: &SoundLevel) {
    let Some(lufs) = level.lufs else {
        return log.farm(LogLevel::Warning, "the sound has no loudness: it is silent, or shorter than 0.4 s");
    };
    let text = format!("the sound of the composition has {lufs:.1} LUFS of {} that were asked for", target.lufs);
    let is_reached = (lufs - f64::from(target.lufs)).abs() <= LOUDNESS_TOLERANCE;
    log.farm(if is_reached { LogLevel::Info } else { LogLevel::Warning }, &text);
}

/// Loudness units that a sound may be off its target without a warning.
const LOUDNESS_TOLERANCE: f64 = 0.3;

/// What runs on threads here, for the message of a panic.
const MIXER: &str = "the mixer";

/// An input of the mixer: a source that the mixer decodes and places, or samples that were rendered before.
struct Track {
    item: AudioItem,
    path: PathBuf,
    rendered: bool,
}

impl Track {
    fn input(&self) -> MixInput<'_> {
        MixInput { item: &self.item, path: &self.path, rendered: self.rendered }
    }
}

/// Renders the plan's items through their effects, their groups and the master, up to the last sum.
struct TrackMixer<'a> {
    worker: &'a WorkerContext,
    render: &'a RenderId,
    content: &'a PlanContent,
    folder: &'a Path,
    context: &'a TaskContext,
}

impl TrackMixer<'_> {
    /// The tracks of the last sum. `sources` are the local files of the items, in the same order.
    async fn prepare(&self, sources: Vec<PathBuf>) -> Result<Vec<Track>, WorkerError> {
        let mut single = Vec::new();
        let mut members: Vec<Vec<Track>> = self.content.buses.groups.iter().map(|_| Vec::new()).collect();
        for (number, (item, path)) in self.content.audio.iter().zip(sources).enumerate() {
            let track = Track { item: item.clone(), path, rendered: false };
            let track = match &item.effects {
                None => track,
                Some(effects) => {
                    let name = format!("item{number}");
                    let dry = Track { item: AudioItem { gain: Vec::new(), ..track.item }, ..track };
                    let span = (item.timing.start.max(0.0), item.timing.end.min(self.end()));
                    let owner = format!("\"{}\"", item.id);
                    self.mix_track(vec![dry], span, Some(effects), &name, &owner, item.gain.clone()).await?
                }
            };
            match item.group.and_then(|group| members.get_mut(group as usize)) {
                Some(group) => group.push(track),
                None => single.push(track),
            }
        }
        for (number, (group, members)) in self.content.buses.groups.iter().zip(members).enumerate() {
            let (name, owner) = (format!("group{number}"), format!("the audio group \"{}\"", group.id));
            let effects = group.effects.as_ref();
            single.push(self.mix_track(members, (0.0, self.end()), effects, &name, &owner, group.gain.clone()).await?);
        }
        if let Some(effects) = &self.content.buses.master {
            let owner = "the root composition";
            single = vec![self.mix_track(single, (0.0, self.end()), Some(effects), "master", owner, Vec::new()).await?];
        }
        Ok(single)
    }

    /// Length of the composition in seconds.
    fn end(&self) -> f64 {
        self.content.frame_rate.seconds_of(self.content.composition_frames)
    }

    /// Mixes `tracks` from second `start` to `end` and runs the sum through `effects`: one rendered track with `gain`.
    /// `name` is the beginning of its file name, and `owner` names it in errors.
    async fn mix_track(
        &self,
        tracks: Vec<Track>,
        (start, end): (f64, f64),
        effects: Option<&EffectChain>,
        name: &str,
        owner: &str,
        gain: Vec<GainPoint>,
    ) -> Result<Track, WorkerError> {
        let dry = self.folder.join(format!("{name}.f32"));
        let mut samples = {
            let (dry, context) = (dry.clone(), self.context.clone());
            let decoders = self.worker.decoders.clone();
            blocking(MIXER, move || {
                let inputs: Vec<MixInput<'_>> = tracks.iter().map(Track::input).collect();
                mix_raw(Some(&decoders), &inputs, start, end, &dry, &mut |_| !context.cancelled().is_cancelled())
            })
            .await??
        };
        let mut path = dry;
        if let Some(effects) = effects {
            let wet = self.folder.join(format!("{name}-wet.f32"));
            let mut slot = self.worker.slots.assign(self.context.slot(), self.render).await?;
            let runtime = self.worker.runtime(self.context.objects(), &self.content.runtime).await?;
            let applying = effects::apply(&mut slot, self.content.viewport, runtime, effects, owner, &path, &wet);
            let outcome = tokio::select! {
                outcome = applying => outcome,
                () = self.context.cancelled().cancelled() => {
                    Err(WorkerError::Cancelled("sound"))
                }
            };
            samples = slot.settle(outcome).await?;
            // The dry samples of a long render are large, and not needed any more.
            let _ = tokio::fs::remove_file(&path).await;
            path = wet;
        }
        let end = start + samples as f64 / f64::from(SAMPLE_RATE);
        let timing = MediaTiming { start, end, media_start: 0.0, rate: 1.0, looped: false };
        Ok(Track { item: AudioItem::plain(name, name, timing, gain), path, rendered: true })
    }
}
