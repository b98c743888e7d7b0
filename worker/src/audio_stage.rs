//! The audio stage: mix the whole sound once, never per chunk.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::objects::hash_file;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_media::{MediaError, MixInput, SAMPLE_RATE, mix, mix_raw};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{AudioItem, EffectChain, GainPoint, MediaTiming, PlanContent};
use hyperfarm_proto::record::{AudioRecord, unix_ms};

use crate::effects;
use crate::worker::{WorkerContext, storage};

/// Mixes the sound of the lease's render and answers its record as JSON.
pub(crate) async fn run(shop: &Arc<WorkerContext>, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
    let render = &lease.task.render;
    let (plan, plan_hash) = shop.plan(render).await?;
    let (begun_at_ms, started) = (unix_ms(), Instant::now());
    let mut sources = Vec::new();
    for item in &plan.content.audio {
        let file = plan.content.files.iter().find(|file| file.path == item.path).ok_or_else(|| {
            Failure::new(FailureCode::Internal, format!("the plan has no file {} for a sound", item.path))
        })?;
        sources.push(shop.cache.fetch_blob(shop.objects(), &file.hash).await?);
    }
    let format = plan.content.encoder.format;
    let key = keys::audio(render, format);
    let folder = shop.scratch("audio")?;
    let path = folder.path().join(key.rsplit('/').next().unwrap_or("audio.m4a"));
    let tracks = Tracks { shop, render, content: &plan.content, folder: folder.path(), context };
    let tracks = tracks.prepare(sources).await?;
    let mixed = {
        let (plan, path, context) = (plan.clone(), path.clone(), context.clone());
        blocking(move || {
            let inputs: Vec<MixInput<'_>> = tracks.iter().map(Track::input).collect();
            let mut report = |share: f64| {
                context.set_progress((share.clamp(0.0, 1.0) * 1000.0) as u64, 1000);
                !context.cancelled().is_cancelled()
            };
            mix(&inputs, plan.content.frames, plan.content.frame_rate, format, &path, &mut report)
        })
    };
    let summary = mixed.await?;
    let wanted = plan.content.frame_rate.samples_of(plan.content.frames, summary.sample_rate);
    if summary.samples != wanted {
        return Err(Failure::new(
            FailureCode::VerifyFailed,
            format!("the sound has {} samples a channel and the video lasts {wanted}", summary.samples),
        ));
    }
    let (hash, _) = hash_file(&path).await.map_err(storage)?;
    let record = AudioRecord {
        plan: Some(plan_hash),
        key: key.clone(),
        hash,
        samples: summary.samples,
        sample_rate: summary.sample_rate,
        begun_at_ms,
        mix_ms: started.elapsed().as_secs_f64() * 1000.0,
    };
    shop.objects().put_file(&key, &path).await.map_err(storage)?;
    shop.objects().put_json(&keys::audio_record(render), &record).await.map_err(storage)?;
    serde_json::to_vec(&record).map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))
}

/// A sound on the way to the output: decoded and placed by the mixer, or rendered before.
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

/// Brings the plan's items through their effects, their groups and the master, so that one sum is left to do.
struct Tracks<'a> {
    shop: &'a WorkerContext,
    render: &'a RenderId,
    content: &'a PlanContent,
    folder: &'a Path,
    context: &'a TaskContext,
}

impl Tracks<'_> {
    async fn prepare(&self, sources: Vec<PathBuf>) -> Result<Vec<Track>, Failure> {
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
                    self.through(vec![dry], span, Some(effects), &name, &owner, item.gain.clone()).await?
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
            single.push(self.through(members, (0.0, self.end()), effects, &name, &owner, group.gain.clone()).await?);
        }
        if let Some(effects) = &self.content.buses.master {
            let owner = "the root composition";
            single = vec![self.through(single, (0.0, self.end()), Some(effects), "master", owner, Vec::new()).await?];
        }
        Ok(single)
    }

    /// Seconds of the output.
    fn end(&self) -> f64 {
        self.content.duration()
    }

    /// The sum of `tracks` over `span`, through `effects`, as one rendered track with `gain`.
    async fn through(
        &self,
        tracks: Vec<Track>,
        (start, end): (f64, f64),
        effects: Option<&EffectChain>,
        name: &str,
        owner: &str,
        gain: Vec<GainPoint>,
    ) -> Result<Track, Failure> {
        let dry = self.folder.join(format!("{name}.f32"));
        let mut samples = {
            let (dry, context) = (dry.clone(), self.context.clone());
            blocking(move || {
                let inputs: Vec<MixInput<'_>> = tracks.iter().map(Track::input).collect();
                mix_raw(&inputs, start, end, &dry, &mut |_| !context.cancelled().is_cancelled())
            })
            .await?
        };
        let mut path = dry;
        if let Some(effects) = effects {
            let wet = self.folder.join(format!("{name}-wet.f32"));
            let mut slot = self.shop.slot(self.context.slot(), self.render).await?;
            let applying = effects::apply(&mut slot, self.content.viewport, effects, owner, &path, &wet);
            let outcome = tokio::select! {
                outcome = applying => outcome,
                () = self.context.cancelled().cancelled() => {
                    Err(Failure::new(FailureCode::Drained, "the sound was given up"))
                }
            };
            samples = slot.settle(outcome).await?;
            // The dry samples are not needed any more, and a long render has many of them.
            let _ = tokio::fs::remove_file(&path).await;
            path = wet;
        }
        let end = start + samples as f64 / f64::from(SAMPLE_RATE);
        let timing = MediaTiming { start, end, media_start: 0.0, rate: 1.0, looped: false };
        Ok(Track { item: AudioItem::plain(name, name, timing, gain), path, rendered: true })
    }
}

/// Media work on a thread that may block.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, MediaError> + Send + 'static,
) -> Result<T, Failure> {
    let done = tokio::task::spawn_blocking(work).await;
    done.map_err(|panic| Failure::new(FailureCode::Internal, format!("the mixer broke: {panic}")))?.map_err(|error| {
        let code = if error.is_input() { FailureCode::MediaInvalid } else { FailureCode::EncodeFailed };
        Failure::new(code, error.to_string())
    })
}
