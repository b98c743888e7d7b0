//! One stitch from plan to manifest.

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
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{AudioRecord, Manifest, OutputRecord, unix_ms};
use hyperfarm_proto::task::Step;
use tracing::info;

use crate::StitcherConfig;
use crate::error::StitchError;
use crate::folder::Folder;
use crate::gather::{Gather, Segment, hash_file};
use crate::make;

/// Progress after gathering, joining and verifying, in thousandths.
const GATHERED: u64 = 500;
const JOINED: u64 = 750;
const VERIFIED: u64 = 850;
const STORED: u64 = 1000;

/// Does stitch tasks.
pub struct StitchHandler {
    backplane: Backplane,
    config: StitcherConfig,
}

impl StitchHandler {
    /// A handler that works as `config` says.
    pub fn new(backplane: Backplane, config: StitcherConfig) -> Self {
        Self { backplane, config }
    }
}

#[async_trait]
impl TaskHandler for StitchHandler {
    async fn handle(&self, lease: &Lease, context: &TaskContext) -> Result<Vec<u8>, Failure> {
        if lease.task.step != Step::Stitch {
            return Err(Failure::new(FailureCode::Internal, format!("a stitcher was given {}", lease.task)));
        }
        // Dropping the work drops its folder; what runs in a thread holds the folder until it has ended.
        tokio::select! {
            output = self.stitch(&lease.task.render, context) => Ok(serde_json::to_vec(&output?).map_err(StitchError::from)?),
            () = context.cancelled().cancelled() => Err(StitchError::Stopped.into()),
        }
    }
}

impl StitchHandler {
    async fn stitch(&self, render: &RenderId, context: &TaskContext) -> Result<OutputRecord, StitchError> {
        let (begun_at_ms, started) = (unix_ms(), Instant::now());
        let objects = &self.backplane.objects;
        let plan: Arc<Plan> = Arc::new(objects.get_wire(&keys::plan(render)).await?);
        let folder = Arc::new(Folder::create(self.config.work_dir.clone(), render).await?);

        let plan_hash = plan.content.hash()?;
        let gather = Gather {
            backplane: &self.backplane,
            plan: &plan,
            plan_hash: &plan_hash,
            dir: folder.path(),
            downloads: self.config.downloads,
        };
        // A ledger that was emptied knows nothing; storage does.
        let view = self.backplane.ledger.view(render).await?.unwrap_or_default();
        let (count, total) = (AtomicU64::new(0), plan.chunks.len() as u64);
        let segments = gather.segments(&view, || {
            let count = count.fetch_add(1, Ordering::Relaxed) + 1;
            context.set_progress(count * GATHERED / total, STORED);
        });
        let (segments, audio) = futures::try_join!(segments, gather.audio(&view))?;
        info!(segments = segments.len(), audio = audio.is_some(), elapsed_ms = elapsed_ms(started), "gathered");
        let mut clock = Clock { metrics: &self.backplane.metrics, last: started };
        clock.stage("gather");

        let (audio, audio_path) = audio.unzip();
        let output = folder.path().join(format!("output.{}", plan.content.encoder.format.extension()));
        let files = segment_files(&segments);
        self.join(&folder, &plan, files.clone(), audio_path, &output, context).await?;
        context.set_progress(JOINED, STORED);
        clock.stage("join");

        let still = folder.path().join("thumbnail.jpg");
        self.check(&folder, &plan, files, audio.clone(), &output, &still).await?;
        let (hash, bytes) = hash_file(output.clone()).await?;
        context.set_progress(VERIFIED, STORED);
        info!(bytes, elapsed_ms = elapsed_ms(started), "joined and verified");
        clock.stage("verify");

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
            begun_at_ms,
            stitch_ms: started.elapsed().as_secs_f64() * 1000.0,
        };
        // The manifest last: where it is, the output is complete.
        let picture = async {
            match self.config.thumbnail_width {
                Some(_) => objects.put_file(&record.thumbnail, &still).await,
                None => Ok(()),
            }
        };
        futures::try_join!(objects.put_file(&record.key, &output), picture)?;
        let manifest = Manifest {
            render: render.clone(),
            plan: plan_hash,
            class: plan.content.class.clone(),
            output: record.clone(),
            segments: segments.into_iter().map(|segment| segment.record).collect(),
            audio,
            warnings: plan.warnings.clone(),
        };
        objects.put_json(&keys::manifest(render), &manifest).await?;
        context.set_progress(STORED, STORED);
        clock.stage("store");
        Ok(record)
    }

    async fn join(
        &self,
        folder: &Arc<Folder>,
        plan: &Arc<Plan>,
        files: Vec<SegmentFile>,
        audio: Option<PathBuf>,
        output: &Path,
        context: &TaskContext,
    ) -> Result<(), StitchError> {
        let (folder, plan, output, context) = (folder.clone(), plan.clone(), output.to_owned(), context.clone());
        tokio::task::spawn_blocking(move || {
            let going_on = || !context.cancelled().is_cancelled();
            make::output(&plan.content, &files, audio.as_deref(), &output, &going_on)?;
            drop(folder);
            Ok(())
        })
        .await?
    }

    /// Verifies the output and takes its thumbnail.
    async fn check(
        &self,
        folder: &Arc<Folder>,
        plan: &Arc<Plan>,
        files: Vec<SegmentFile>,
        audio: Option<AudioRecord>,
        output: &Path,
        still: &Path,
    ) -> Result<(), StitchError> {
        let (folder, plan) = (folder.clone(), plan.clone());
        let (output, still, width) = (output.to_owned(), still.to_owned(), self.config.thumbnail_width);
        tokio::task::spawn_blocking(move || {
            make::check(&plan, audio.as_ref(), &output)?;
            if let Some(width) = width {
                make::still(&plan.content, &files, &output, width, &still)?;
            }
            drop(folder);
            Ok(())
        })
        .await?
    }
}

/// Counts the stages of a stitch, one after another.
struct Clock<'a> {
    metrics: &'a Metrics,
    last: Instant,
}

impl Clock<'_> {
    /// The stage that ends now.
    fn stage(&mut self, name: &'static str) {
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

fn elapsed_ms(started: Instant) -> u64 {
    started.elapsed().as_millis() as u64
}
