//! The committed segments and the sound, on local disk and checked.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::ContentHash;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::{AudioRecord, SegmentRecord};
use hyperfarm_proto::task::Step;
use sha2::{Digest, Sha256};
use tracing::{debug, warn};

use crate::error::StitchError;

/// A segment on local disk.
#[derive(Debug, Clone)]
pub(crate) struct Segment {
    pub(crate) record: SegmentRecord,
    pub(crate) path: PathBuf,
}

/// What to gather, and where.
pub(crate) struct Gather<'a> {
    pub(crate) backplane: &'a Backplane,
    pub(crate) plan: &'a Plan,
    /// Hash of its content.
    pub(crate) plan_hash: &'a ContentHash,
    pub(crate) dir: &'a Path,
    pub(crate) downloads: usize,
}

impl Gather<'_> {
    /// A segment of every chunk, in order. `done` hears of each one.
    ///
    /// Which segment of a chunk counts is what its commit says. Where the ledger says nothing, or the segment is lost or damaged,
    /// another attempt's does as well: all attempts give equal bytes.
    pub(crate) async fn segments(&self, view: &RenderView, done: impl Fn()) -> Result<Vec<Segment>, StitchError> {
        let stored = self.stored().await?;
        let chunks = (0..self.plan.chunks.len() as u32).map(|chunk| {
            let committed = view.tasks.get(&Step::Chunk(chunk)).and_then(|task| task.committed.as_deref());
            let committed = committed.and_then(|record| serde_json::from_slice::<SegmentRecord>(record).ok());
            let others = stored.get(&chunk).cloned().unwrap_or_default();
            let done = &done;
            async move { self.segment(chunk, committed, others).await.inspect(|_| done()) }
        });
        // The futures are made first: a lazy iterator of them would borrow in ways that no task may.
        let chunks: Vec<_> = chunks.collect();
        stream::iter(chunks).buffered(self.downloads.max(1)).try_collect().await
    }

    /// Segment keys in storage by chunk, each in the order of the attempts.
    async fn stored(&self) -> Result<BTreeMap<u32, Vec<String>>, StitchError> {
        let mut stored: BTreeMap<u32, BTreeMap<u32, String>> = BTreeMap::new();
        for meta in self.backplane.objects.list(&keys::segments_prefix(&self.plan.render)).await? {
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
        let mut reason = "storage has none".to_owned();
        let path = self.dir.join(format!("segment-{chunk}.{}", self.plan.content.encoder.format.segment_extension()));
        let first = committed.as_ref().map(|record| record.key.clone());
        if let Some(record) = committed {
            match self.fetch(chunk, record, &path).await? {
                Ok(segment) => return Ok(segment),
                Err(refused) => reason = refused,
            }
        }
        for key in others.into_iter().filter(|key| first.as_ref() != Some(key)) {
            let record = self.backplane.objects.get_json::<SegmentRecord>(&keys::segment_record(&key)).await;
            let fetched = match record {
                Ok(record) => self.fetch(chunk, record, &path).await?,
                Err(error) if is_useless(&error) => Err(error.to_string()),
                Err(error) => return Err(error.into()),
            };
            match fetched {
                Ok(segment) => return Ok(segment),
                Err(refused) => reason = refused,
            }
        }
        Err(StitchError::Segment { chunk, reason })
    }

    /// Downloads and checks one segment; the inner error says why another one is to be tried.
    async fn fetch(
        &self,
        chunk: u32,
        record: SegmentRecord,
        path: &Path,
    ) -> Result<Result<Segment, String>, StitchError> {
        if record.chunk != chunk || Some(record.frames) != self.plan.chunk(chunk) {
            return Ok(Err(format!("{} holds frames {} of chunk {}", record.key, record.frames, record.chunk)));
        }
        if self.is_of_another_plan(record.plan.as_ref()) {
            return Ok(Err(format!("{} was made from another plan of the render", record.key)));
        }
        let refused = match self.download(&record.key, path).await {
            Ok((hash, bytes)) if hash == record.hash && bytes == record.bytes => {
                debug!(chunk, key = %record.key, bytes, "segment");
                return Ok(Ok(Segment { record, path: path.to_owned() }));
            }
            Ok((hash, bytes)) => format!(
                "{} has {bytes} bytes with hash {} and was committed with {} bytes and hash {}",
                record.key,
                hash.short(),
                record.bytes,
                record.hash.short()
            ),
            Err(StitchError::Storage(error)) if is_useless(&error) => error.to_string(),
            Err(error) => return Err(error),
        };
        warn!(chunk, refused, "a segment cannot be used, another attempt's is tried");
        Ok(Err(refused))
    }

    /// Whether a record names another plan than the one that is stitched: the render was planned anew meanwhile.
    fn is_of_another_plan(&self, named: Option<&ContentHash>) -> bool {
        named.is_some_and(|named| named != self.plan_hash)
    }

    /// The sound, if the plan has any.
    pub(crate) async fn audio(&self, view: &RenderView) -> Result<Option<(AudioRecord, PathBuf)>, StitchError> {
        if !self.plan.has_audio() {
            return Ok(None);
        }
        let committed = view.tasks.get(&Step::Audio).and_then(|task| task.committed.as_deref());
        let record = match committed.and_then(|record| serde_json::from_slice::<AudioRecord>(record).ok()) {
            Some(record) => record,
            None => self.backplane.objects.get_json(&keys::audio_record(&self.plan.render)).await?,
        };
        let extension = record.key.rsplit_once('.').map_or("m4a", |(_, extension)| extension);
        let path = self.dir.join(format!("audio.{extension}"));
        let (hash, _) = self.download(&record.key, &path).await?;
        if hash != record.hash {
            let reason = format!("it has hash {} and was committed with {}", hash.short(), record.hash.short());
            return Err(StitchError::Audio(reason));
        }
        if self.is_of_another_plan(record.plan.as_ref()) {
            return Err(StitchError::Audio("it was mixed for another plan of the render".to_owned()));
        }
        let content = &self.plan.content;
        let expected = content.frame_rate.samples_of(content.frames, record.sample_rate);
        if record.samples != expected {
            return Err(StitchError::Audio(format!("it has {} samples instead of {expected}", record.samples)));
        }
        Ok(Some((record, path)))
    }

    async fn download(&self, key: &str, path: &Path) -> Result<(ContentHash, u64), StitchError> {
        self.backplane.objects.get_file(key, path).await?;
        hash_file(path.to_owned()).await
    }
}

/// Whether trying again cannot help: the object is lost or damaged, as opposed to a store that does not answer.
fn is_useless(error: &ObjectsError) -> bool {
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
