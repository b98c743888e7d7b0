//! The audio stage: mix the whole sound once, never per chunk.

use std::sync::Arc;
use std::time::Instant;

use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::runner::TaskContext;
use hyperfarm_media::{MixInput, mix};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::record::AudioRecord;

use crate::worker::{Shop, storage};

/// Mixes the sound of the lease's render and answers its record as JSON.
pub(crate) async fn run(shop: &Arc<Shop>, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
    let render = &lease.task.render;
    let plan = shop.plan(render).await?;
    let started = Instant::now();
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
    let mixing = {
        let (plan, path, context) = (plan.clone(), path.clone(), context.clone());
        tokio::task::spawn_blocking(move || {
            let inputs: Vec<MixInput<'_>> =
                plan.content.audio.iter().zip(&sources).map(|(item, path)| MixInput { item, path }).collect();
            let mut report = |share: f64| {
                context.set_progress((share.clamp(0.0, 1.0) * 1000.0) as u64, 1000);
                !context.cancelled().is_cancelled()
            };
            mix(&inputs, plan.content.frames, plan.content.frame_rate, format, &path, &mut report)
        })
    };
    let mixed =
        mixing.await.map_err(|panic| Failure::new(FailureCode::Internal, format!("the mixer broke: {panic}")))?;
    let summary = mixed.map_err(|error| {
        let code = if error.is_input() { FailureCode::MediaInvalid } else { FailureCode::EncodeFailed };
        Failure::new(code, error.to_string())
    })?;
    let wanted = plan.content.frame_rate.samples_of(plan.content.frames, summary.sample_rate);
    if summary.samples != wanted {
        return Err(Failure::new(
            FailureCode::VerifyFailed,
            format!("the sound has {} samples a channel and the video lasts {wanted}", summary.samples),
        ));
    }
    let bytes = tokio::fs::read(&path).await.map_err(|error| {
        Failure::new(FailureCode::Internal, format!("the sound is gone from {}: {error}", path.display()))
    })?;
    let record = AudioRecord {
        key: key.clone(),
        hash: ContentHash::of(&bytes),
        samples: summary.samples,
        sample_rate: summary.sample_rate,
        mix_ms: started.elapsed().as_secs_f64() * 1000.0,
    };
    shop.objects().put(&key, bytes.into()).await.map_err(storage)?;
    shop.objects().put_json(&keys::audio_record(render), &record).await.map_err(storage)?;
    serde_json::to_vec(&record).map_err(|error| Failure::new(FailureCode::Internal, error.to_string()))
}
