//! Downloads a render's committed segments and its sound to local disk, and checks their hashes.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_backplane::objects::grants::Want;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{AudioRecord, SegmentRecord};
use hyperfarm_proto::task::Step;
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::error::{AudioError, SegmentError, StitchError};

/// A segment on local disk.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) record: SegmentRecord,
    pub(crate) path: PathBuf,
}

/// Downloads the inputs of one stitch.
pub(crate) struct InputFetcher<'a> {
    /// The storage of the stitch.
    pub(crate) objects: &'a Objects,
    pub(crate) plan: &'a Plan,
    /// Hash of the plan's content.
    pub(crate) plan_hash: &'a ContentHash,
    /// Folder to download into.
    pub(crate) folder: &'a Path,
    /// Segments downloaded at once.
    pub(crate) downloads: usize,
}

impl InputFetcher<'_> {
    /// Downloads a segment of every chunk and returns them in order. Calls `on_segment` after each one.
    ///
    /// The segment of a chunk is the committed one. Where the ledger has no commit, or the segment is lost or damaged,
    /// another attempt's segment is used: all attempts give equal bytes.
    pub(crate) async fn segments(&self, view: &RenderView, on_segment: impl Fn()) -> Result<Vec<Segment>, StitchError> {
        let stored = self.stored().await?;
        let chunks = (0..self.plan.chunks.len() as u32).map(|chunk| {
            let committed = view.tasks.get(&Step::Chunk(chunk)).and_then(|task| task.committed.as_deref());
            let committed = committed.and_then(|record| serde_json::from_slice::<SegmentRecord>(record).ok());
            let others = stored.get(&chunk).cloned().unwrap_or_default();
            let on_segment = &on_segment;
            async move { self.segment(chunk, committed, others).await.inspect(|_| on_segment()) }
        });
        // Collected first: a lazy iterator of futures borrows in a way that is not `Send`.
        let chunks: Vec<_> = chunks.collect();
        let keys = stored.values().filter_map(|attempts| attempts.last());
        self.objects.expect(keys.map(|key| Want::Get { key: key.clone() }).collect()).await?;
        stream::iter(chunks).buffered(self.downloads.max(1)).try_collect().await
    }

    /// Segment keys in storage by chunk, each in the order of the attempts.
    async fn stored(&self) -> Result<BTreeMap<u32, Vec<String>>, StitchError> {
        let mut stored: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
        for meta in self.objects.list(&keys::segments_prefix(&self.plan.render)).await? {
            if let Some((chunk, attempt)) = keys::parse_segment(&meta.key) {
                stored.entry(chunk).or_default().insert(attempt, meta.key);
            }
        }
        Ok(stored.into_iter().map(|(chunk, attempts)| (chunk, attempts.into_values().collect())).collect())
    }

    async fn segment(
        &self,
        chunk: u32,
        committed: Option<SegmentRecord>,
        others: Vec<String>,
    ) -> Result<Segment, StitchError> {
        let mut reason = SegmentError::Missing;
        let path =
            self.folder.join(format!("segment-{chunk}.{}", self.plan.content.encoder.format.segment_extension()));
        let first = committed.as_ref().map(|record| record.key.clone());
        if let Some(record) = committed {
            match self.fetch(chunk, record, &path).await? {
                Ok(segment) => return Ok(segment),
                Err(refused) => reason = refused,
            }
        }
        for key in others.into_iter().filter(|key| first.as_ref() != Some(key)) {
            let record = self.objects.get_json::<SegmentRecord>(&keys::segment_record(&key)).await;
            let fetched = match record {
                Ok(record) => self.fetch(chunk, record, &path).await?,
                Err(error) if is_lost(&error) => Err(error.into()),
                Err(error) => return Err(error.into()),
            };
            match fetched {
                Ok(segment) => return Ok(segment),
                Err(refused) => reason = refused,
            }
        }
        Err(StitchError::Segment { chunk, reason })
    }

    /// Downloads and checks one segment. The inner error is why this segment cannot be used and another attempt's is
    /// tried.
    async fn fetch(
        &self,
        chunk: u32,
        record: SegmentRecord,
        path: &Path,
    ) -> Result<Result<Segment, SegmentError>, StitchError> {
        if record.chunk != chunk || Some(record.frames) != self.plan.chunk(chunk) {
            let SegmentRecord { key, frames, chunk, .. } = record;
            return Ok(Err(SegmentError::OtherFrames { key, frames, chunk }));
        }
        if self.is_of_another_plan(record.plan.as_ref()) {
            return Ok(Err(SegmentError::OtherPlan { key: record.key }));
        }
        if record.start != self.plan.start(chunk) {
            return Ok(Err(SegmentError::OtherStart { key: record.key }));
        }
        let refused = match self.download(&record.key, path).await {
            Ok((hash, bytes)) if hash == record.hash && bytes == record.bytes => {
                debug!(chunk, key = %record.key, bytes, "a segment was downloaded");
                return Ok(Ok(Segment { record, path: path.to_owned() }));
            }
            Ok((hash, bytes)) => SegmentError::OtherBytes {
                key: record.key,
                bytes,
                hash,
                committed_bytes: record.bytes,
                committed_hash: record.hash,
            },
            Err(StitchError::Storage(error)) if is_lost(&error) => error.into(),
            Err(error) => return Err(error),
        };
        warn!(chunk, error = %refused, "a segment cannot be used, another attempt's is tried");
        Ok(Err(refused))
    }

    /// Whether a record names another plan than the one that is stitched: the render was planned anew after it.
    fn is_of_another_plan(&self, named: Option<&ContentHash>) -> bool {
        named.is_some_and(|named| named != self.plan_hash)
    }

    /// Downloads the mixed sound, if the plan has any.
    pub(crate) async fn audio(&self, view: &RenderView) -> Result<Option<(AudioRecord, PathBuf)>, StitchError> {
        if !self.plan.has_audio() {
            return Ok(None);
        }
        let committed = view.tasks.get(&Step::Audio).and_then(|task| task.committed.as_deref());
        let record = match committed.and_then(|record| serde_json::from_slice::<AudioRecord>(record).ok()) {
            Some(record) => record,
            None => self.objects.get_json(&keys::audio_record(&self.plan.render)).await?,
        };
        let extension = record.key.rsplit_once('.').map_or("m4a", |(_, extension)| extension);
        let path = self.folder.join(format!("audio.{extension}"));
        let (hash, _) = self.download(&record.key, &path).await?;
        if hash != record.hash {
            return Err(AudioError::OtherBytes { hash, committed: record.hash }.into());
        }
        if self.is_of_another_plan(record.plan.as_ref()) {
            return Err(AudioError::OtherPlan.into());
        }
        let content = &self.plan.content;
        let expected = content.frame_rate.samples_of(content.frames, record.sample_rate);
        if record.samples != expected {
            return Err(AudioError::Length { samples: record.samples, expected }.into());
        }
        Ok(Some((record, path)))
    }

    async fn download(&self, key: &str, path: &Path) -> Result<(ContentHash, u64), StitchError> {
        self.objects.get_file(key, path).await?;
        hash_file(path.to_owned()).await
    }
}

/// Whether the object is lost or damaged, so that trying it again does not help, as opposed to a store that does not
/// answer.
fn is_lost(error: &ObjectsError) -> bool {
    matches!(error, ObjectsError::NotFound { .. } | ObjectsError::Corrupt { .. })
}

/// Hash and length of a local file.
pub(crate) async fn hash_file(path: PathBuf) -> Result<(ContentHash, u64), StitchError> {
    tokio::task::spawn_blocking(move || {
        let failed = |source| StitchError::Disk { path: path.display().to_string(), source };
        let mut file = File::open(&path).map_err(failed)?;
        let (mut hasher, mut bytes, mut buffer) = (Sha256::new(), 0u64, vec![0; 1 << 18]);
        loop {
            let read = file.read(&mut buffer).map_err(failed)?;
            if read == 0 {
                return Ok((ContentHash::from_digest(hasher.finalize().into()), bytes));
            }
            hasher.update(&buffer[..read]);
            bytes += read as u64;
        }
    })
    .await?
}
