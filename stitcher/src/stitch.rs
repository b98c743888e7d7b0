//! One stitch: from the plan in storage to the manifest in storage.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use async_trait::async_trait;
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::Lease;
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_backplane::runner::{TaskContext, TaskHandler};
use hyperfarm_media::SegmentFile;
use hyperfarm_proto::failure::Failure;
use hyperfarm_proto::hdr::LightLevels;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLevel;
use hyperfarm_proto::plan::{Plan, Warning};
use hyperfarm_proto::record::{AudioRecord, Manifest, OutputRecord, SegmentRecord, Sidecar, unix_ms};
use hyperfarm_proto::seam::Seams;
use hyperfarm_proto::task::Step;
use tracing::info;

use crate::config::StitcherConfig;
use crate::error::StitchError;
use crate::fetch::{InputFetcher, Segment, hash_file};
use crate::folder::Folder;
use crate::{output, seams};

/// Progress after each stage, in thousandths.
const FETCHED: u64 = 500;
const JOINED: u64 = 750;
const VERIFIED: u64 = 850;
const STORED: u64 = 1000;

/// Runs stitch tasks.
pub struct StitchHandler {
    backplane: Backplane,
    config: StitcherConfig,
}

impl StitchHandler {
    /// A handler with the settings `config`.
    pub fn new(backplane: Backplane, config: StitcherConfig) -> Self {
        Self { backplane, config }
    }
}

#[async_trait]
impl TaskHandler for StitchHandler {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        if lease.task.step != Step::Stitch {
            return Err(StitchError::WrongTask(lease.task.clone()).into());
        }
        // Dropping the future drops its folder. Work on another thread holds the folder until it has ended.
        tokio::select! {
            output = self.stitch(&lease.task.render, context) => Ok(serde_json::to_vec(&output?).map_err(StitchError::from)?),
            () = context.cancelled().cancelled() => Err(StitchError::Stopped.into()),
        }
    }
}

impl StitchHandler {
    async fn stitch(&self, render: &RenderId, context: &TaskContext) -> Result<OutputRecord, StitchError> {
        let (begun_at_ms, started) = (unix_ms(), Instant::now());
        let objects = context.objects();
        let plan: Arc<Plan> = Arc::new(objects.get_wire(&keys::plan(render)).await?);
        let folder = Arc::new(Folder::create(self.config.work_dir.clone(), render).await?);

        let plan_hash = plan.content.hash()?;
        let fetcher = InputFetcher {
            objects,
            plan: &plan,
            plan_hash: &plan_hash,
            folder: folder.path(),
            downloads: self.config.downloads,
        };
        // An emptied ledger has no commits; the segments are then found in storage.
        let view = self.backplane.ledger.view(render).await?.unwrap_or_default();
        let (count, total) = (AtomicU64::new(0), plan.chunks.len() as u64);
        let segments = fetcher.segments(&view, || {
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            context.set_progress(count * FETCHED / total, STORED);
        });
        let (segments, audio) = futures::try_join!(segments, fetcher.audio(&view))?;
        info!(
            segments = segments.len(),
            audio = audio.is_some(),
            elapsed_ms = elapsed_ms(started),
            "segments and sound were downloaded"
        );
        let mut timer = StageTimer { metrics: &self.backplane.metrics, last: started };
        timer.end_stage("gather");

        let (audio, audio_path) = audio.unzip();
        let output_path = folder.path().join(format!("output.{}", plan.content.encoder.format.extension()));
        let files = segment_files(&segments);
        let light = light_of(&segments);
        self.join(&folder, &plan, files.clone(), (audio_path, light), &output_path, context).await?;
        context.set_progress(JOINED, STORED);
        timer.end_stage("join");

        let thumbnail_path = self.verify(&folder, &plan, files.clone(), audio.clone(), &output_path, context).await?;
        let sidecars = self.sidecars(render, &folder, &plan, files, audio.as_ref(), context).await?;
        let (hash, bytes) = hash_file(output_path.clone()).await?;
        context.set_progress(VERIFIED, STORED);
        info!(bytes, elapsed_ms = elapsed_ms(started), "the output was joined and verified");
        timer.end_stage("verify");

        let record = OutputRecord {
            key: keys::output(render, plan.content.encoder.format),
            hash,
            bytes,
            frames: plan.content.frames,
            size: plan.content.encoder.codec.coded_size(plan.content.viewport.output()),
            frame_rate: plan.content.frame_rate,
            format: plan.content.encoder.format,
            has_audio: audio.is_some(),
            thumbnail: keys::thumbnail(render),
            sidecars,
            begun_at_ms,
            stitch_ms: started.elapsed().as_secs_f64() * 1000.0,
        };
        // The manifest is stored last: its existence means that the output is complete.
        let put_thumbnail = async {
            match self.config.thumbnail_width {
                Some(_) => objects.put_file(&record.thumbnail, &thumbnail_path).await,
                None => Ok(()),
            }
        };
        futures::try_join!(objects.put_file(&record.key, &output_path), put_thumbnail)?;
        let segments: Vec<SegmentRecord> = segments.into_iter().map(|segment| segment.record).collect();
        let seams = Seams::compare(&segments);
        self.backplane.metrics.seams_compared(seams.compared, seams.different.len());
        let mut warnings = plan.warnings.clone();
        add_warnings_of_chunks(&mut warnings, &segments);
        if let Some(warning) = seams::warning(&seams, &segments, plan.content.frame_rate) {
            context.log().farm(LogLevel::Warning, &format!("[{}] {}", warning.code, warning.message));
            warnings.push(warning);
        }
        let manifest = Manifest {
            render: render.clone(),
            plan: plan_hash,
            class: plan.content.class.clone(),
            runtime: Some(plan.content.runtime.clone()),
            output: record.clone(),
            segments,
            audio,
            warnings,
        };
        objects.put_json(&keys::manifest(render), &manifest).await?;
        context.set_progress(STORED, STORED);
        timer.end_stage("store");
        Ok(record)
    }

    async fn join(
        &self,
        folder: &Arc<Folder>,
        plan: &Arc<Plan>,
        files: Vec<SegmentFile>,
        (audio, light): (Option<PathBuf>, Option<LightLevels>),
        output_path: &Path,
        context: &TaskContext,
    ) -> Result<(), StitchError> {
        let (folder, plan, context) = (folder.clone(), plan.clone(), context.clone());
        let output_path = output_path.to_owned();
        tokio::task::spawn_blocking(move || {
            let going_on = || !context.cancelled().is_cancelled();
            output::write(&plan.content, &files, audio.as_deref(), light, &output_path, &going_on)?;
            drop(folder);
            Ok(())
        })
        .await?
    }

    /// The files beside the output. Poster, storyboard and captions are written and stored, the sound has been by its worker.
    async fn sidecars(
        &self,
        render: &RenderId,
        folder: &Arc<Folder>,
        plan: &Arc<Plan>,
        files: Vec<SegmentFile>,
        audio: Option<&AudioRecord>,
        context: &TaskContext,
    ) -> Result<Vec<Sidecar>, StitchError> {
        let mut sidecars: Vec<Sidecar> = audio.and_then(|audio| audio.wav.clone()).into_iter().collect();
        let (folder, plan, objects, context) =
            (folder.clone(), plan.clone(), context.objects().clone(), context.clone());
        let paths = tokio::task::spawn_blocking(move || {
            let going_on = || !context.cancelled().is_cancelled();
            let paths = output::write_sidecars(&plan.content, &files, folder.path(), &going_on);
            drop(folder);
            paths
        })
        .await??;
        for path in paths {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let (hash, bytes) = hash_file(path.clone()).await?;
            let key = keys::sidecar(render, &name);
            objects.put_file(&key, &path).await?;
            sidecars.push(Sidecar { name, key, hash, bytes });
        }
        Ok(sidecars)
    }

    /// Verifies the output and writes its thumbnail. Returns the path of the thumbnail.
    async fn verify(
        &self,
        folder: &Arc<Folder>,
        plan: &Arc<Plan>,
        files: Vec<SegmentFile>,
        audio: Option<AudioRecord>,
        output_path: &Path,
        context: &TaskContext,
    ) -> Result<PathBuf, StitchError> {
        let (folder, plan, context) = (folder.clone(), plan.clone(), context.clone());
        let (output_path, thumbnail_path) = (output_path.to_owned(), folder.path().join("thumbnail.jpg"));
        let width = self.config.thumbnail_width;
        tokio::task::spawn_blocking(move || {
            let going_on = || !context.cancelled().is_cancelled();
            output::check(&plan, audio.as_ref(), &output_path, &going_on)?;
            // A picture is decoded in far less than a second.
            if let Some(width) = width.filter(|_| going_on()) {
                output::write_thumbnail(&plan.content, &files, &output_path, width, &thumbnail_path)?;
            }
            drop(folder);
            Ok(thumbnail_path)
        })
        .await?
    }
}

/// Measures the stages of a stitch, one after another.
struct StageTimer<'a> {
    metrics: &'a Metrics,
    last: Instant,
}

impl StageTimer<'_> {
    /// Records the time since the stage before as that of stage `name`.
    fn end_stage(&mut self, name: &'static str) {
        let now = Instant::now();
        self.metrics.stitch_stage(name, now - self.last);
        self.last = now;
    }
}

fn segment_files(segments: &[Segment]) -> Vec<SegmentFile> {
    segments
        .iter()
        .map(|segment| SegmentFile { path: segment.path.clone(), frames: segment.record.frames.count() })
        .collect()
}

/// Most warnings of chunks that a render has.
const MAX_CHUNK_WARNINGS: usize = 50;

/// Adds what chunks warn of, each once.
fn add_warnings_of_chunks(warnings: &mut Vec<Warning>, segments: &[SegmentRecord]) {
    let most = warnings.len() + MAX_CHUNK_WARNINGS;
    for warning in segments.iter().flat_map(|segment| &segment.warnings) {
        if warnings.len() < most && !warnings.contains(warning) {
            warnings.push(warning.clone());
        }
    }
}

/// The light of all segments together, where the output has high dynamic range.
fn light_of(segments: &[Segment]) -> Option<LightLevels> {
    segments.iter().filter_map(|segment| segment.record.light).reduce(LightLevels::max)
}

fn elapsed_ms(started: Instant) -> u64 {
    started.elapsed().as_millis() as u64
}
