//! The renders of a space, to look for some of them and to count them.
//!
//! **Invariant: a cache of what is in storage.** Which renders there are is listed anew every few seconds; what an ended one was is read
//! once. Renders that this process knows are answered from the registry, which is always newer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::record::{Outcome, TerminalState};
use hyperfarm_proto::spec::RenderSpec;
use tracing::warn;

use crate::progress::{RenderProgress, Stage};
use crate::registry::{Entry, Registry};
use crate::store;

/// A listing is believed for at least this long, and for [`PATIENCE`] times as long as it took.
const FRESH: Duration = Duration::from_secs(2);
const PATIENCE: u32 = 20;

/// Renders read at once.
const READS: usize = 64;

/// Where a render is, as people look for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Status {
    /// Nobody has begun.
    Queued,
    /// Somebody has.
    Rendering,
    /// The output is there.
    Completed,
    /// It never will be.
    Failed,
    /// Nor will it here, as somebody wished.
    Cancelled,
}

impl Status {
    /// All of them by name.
    pub const NAMES: [(&'static str, Self); 5] = [
        ("queued", Self::Queued),
        ("rendering", Self::Rendering),
        ("completed", Self::Completed),
        ("failed", Self::Failed),
        ("cancelled", Self::Cancelled),
    ];

    /// The status of a render that has come this far.
    pub fn of(progress: &RenderProgress) -> Self {
        match (&progress.end, progress.stage) {
            (Some(end), _) => Self::of_end(end),
            (None, Stage::Queued) => Self::Queued,
            (None, _) => Self::Rendering,
        }
    }

    fn of_end(end: &TerminalState) -> Self {
        match &end.outcome {
            Outcome::Completed { .. } => Self::Completed,
            Outcome::Failed { failure, .. } if failure.code == FailureCode::Cancelled => Self::Cancelled,
            Outcome::Failed { .. } => Self::Failed,
        }
    }
}

/// What people look for renders by. Everything where nothing is said.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// One of these.
    pub statuses: Vec<Status>,
    /// Part of the title, the id or the callback id, in lower case.
    pub search: Option<String>,
}

impl Filter {
    /// Whether everything passes.
    pub fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.search.is_none()
    }

    fn passes(&self, render: &RenderId, spec: &Words, status: Status) -> bool {
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            return false;
        }
        let Some(search) = &self.search else { return true };
        [Some(render.as_str()), spec.title.as_deref(), spec.callback_id.as_deref()]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(search.as_str()))
    }
}

/// The words of a render.
#[derive(Debug, Clone, Default)]
struct Words {
    title: Option<String>,
    callback_id: Option<String>,
}

impl From<&RenderSpec> for Words {
    fn from(spec: &RenderSpec) -> Self {
        Self { title: spec.title.clone(), callback_id: spec.callback_id.clone() }
    }
}

/// One render as it is remembered.
#[derive(Debug, Clone)]
pub struct Row {
    words: Words,
    /// How it ended.
    pub end: Option<Arc<TerminalState>>,
}

impl Row {
    /// Its title.
    pub fn title(&self) -> Option<&str> {
        self.words.title.as_deref()
    }

    fn of(entry: &Entry) -> Self {
        Self { words: Words::from(&entry.request.spec), end: entry.progress.borrow().end.clone() }
    }
}

/// What is remembered of a space. `None` is a render of which only the id is known.
#[derive(Debug, Default)]
struct Known {
    rows: BTreeMap<RenderId, Option<Arc<Row>>>,
    believed_until: Option<Instant>,
}

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Index {
    spaces: Mutex<HashMap<Space, Arc<tokio::sync::Mutex<Known>>>>,
    /// Spaces that are being read.
    reading: Mutex<HashSet<Space>>,
    /// Spaces that were read once: what is new in them since then need not be waited for.
    read_once: Mutex<HashSet<Space>>,
}

impl Index {
    fn space(&self, space: &Space) -> Arc<tokio::sync::Mutex<Known>> {
        self.spaces.lock().unwrap_or_else(PoisonError::into_inner).entry(space.clone()).or_default().clone()
    }

    /// Ids of all renders of `space` older than `after` that storage or `registry` knows, newest first.
    pub async fn ids(
        &self,
        objects: &Objects,
        registry: &Registry,
        space: &Space,
        after: Option<&RenderId>,
    ) -> Result<Vec<RenderId>, ObjectsError> {
        let known = self.space(space);
        let mut known = known.lock().await;
        known.list(objects, space).await?;
        let mut ids: Vec<RenderId> = known.rows.keys().cloned().collect();
        drop(known);
        ids.extend(registry.of_space(space).into_iter().map(|entry| entry.request.id.clone()));
        ids.retain(|id| after.is_none_or(|after| id < after));
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(ids)
    }

    /// Those of [`ids`](Self::ids) that pass `filter`.
    pub async fn find(
        &self,
        objects: &Objects,
        registry: &Registry,
        space: &Space,
        after: Option<&RenderId>,
        filter: &Filter,
    ) -> Result<Vec<RenderId>, ObjectsError> {
        let ids = self.ids(objects, registry, space, after).await?;
        if filter.is_empty() {
            return Ok(ids);
        }
        self.read(objects, registry, space).await;
        let live: HashMap<RenderId, Entry> =
            registry.of_space(space).into_iter().map(|entry| (entry.request.id.clone(), entry)).collect();
        let known = self.space(space);
        let known = known.lock().await;
        let passes = |id: &RenderId| {
            if let Some(entry) = live.get(id) {
                return filter.passes(id, &Words::from(&entry.request.spec), Status::of(&entry.progress.borrow()));
            }
            let Some(Some(row)) = known.rows.get(id) else { return false };
            // One that has not ended and that this process does not know yet: it is about to.
            let status = row.end.as_deref().map_or(Status::Queued, Status::of_end);
            filter.passes(id, &row.words, status)
        };
        Ok(ids.into_iter().filter(passes).collect())
    }

    /// The ended renders of `space`, newest first, as far as they are known by now. What is not is read in the meantime.
    pub async fn ended(
        self: &Arc<Self>,
        objects: &Objects,
        registry: &Arc<Registry>,
        space: &Space,
        patience: Duration,
    ) -> Vec<(RenderId, Arc<Row>)> {
        let is_idle = self.reading.lock().unwrap_or_else(PoisonError::into_inner).insert(space.clone());
        let reading = is_idle.then(|| {
            let (index, objects, registry, space) = (self.clone(), objects.clone(), registry.clone(), space.clone());
            tokio::spawn(async move {
                let known = index.space(&space);
                if let Err(error) = known.lock().await.list(&objects, &space).await {
                    warn!(%space, %error, "the renders of a space cannot be listed");
                }
                index.read(&objects, &registry, &space).await;
                index.read_once.lock().unwrap_or_else(PoisonError::into_inner).insert(space.clone());
                index.reading.lock().unwrap_or_else(PoisonError::into_inner).remove(&space);
            })
        });
        let was_read = self.read_once.lock().unwrap_or_else(PoisonError::into_inner).contains(space);
        if let Some(reading) = reading.filter(|_| !was_read) {
            // Dropping the handle leaves the task to itself.
            let _ = tokio::time::timeout(patience, reading).await;
        }
        let mut rows: BTreeMap<RenderId, Arc<Row>> = BTreeMap::new();
        let known = self.space(space);
        if let Ok(known) = tokio::time::timeout(patience, known.lock()).await {
            rows.extend(known.rows.iter().filter_map(|(id, row)| Some((id.clone(), row.clone()?))));
        }
        for entry in registry.of_space(space) {
            rows.insert(entry.request.id.clone(), Arc::new(Row::of(&entry)));
        }
        rows.into_iter().rev().filter(|(_, row)| row.end.is_some()).collect()
    }

    /// Reads what is not remembered of the renders of `space`.
    async fn read(&self, objects: &Objects, registry: &Registry, space: &Space) {
        let known = self.space(space);
        let missing: Vec<RenderId> = {
            let known = known.lock().await;
            let is_open = |row: &Option<Arc<Row>>| row.as_ref().is_none_or(|row| row.end.is_none());
            known.rows.iter().rev().filter(|(_, row)| is_open(row)).map(|(id, _)| id.clone()).collect()
        };
        let reads = missing.into_iter().map(|id| async move {
            if let Some(entry) = registry.get(&id) {
                return (id, Ok(Some(Row::of(&entry))));
            }
            let read = read_row(objects, &id).await;
            (id, read)
        });
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(READS));
        let mut failed = 0;
        while let Some((id, read)) = reads.next().await {
            let mut known = known.lock().await;
            match read {
                Ok(Some(row)) => drop(known.rows.insert(id, Some(Arc::new(row)))),
                Ok(None) => drop(known.rows.remove(&id)),
                Err(error) => {
                    failed += 1;
                    if failed == 1 {
                        warn!(render = %id, %error, "a render cannot be read and is left out");
                    }
                }
            }
        }
    }

    /// Forgets a render that was deleted.
    pub async fn remove(&self, space: &Space, render: &RenderId) {
        let known = self.space(space);
        known.lock().await.rows.remove(render);
    }
}

impl Known {
    /// Lists the space, unless the last listing is still believed.
    async fn list(&mut self, objects: &Objects, space: &Space) -> Result<(), ObjectsError> {
        let started = Instant::now();
        if self.believed_until.is_some_and(|until| started < until) {
            return Ok(());
        }
        for id in store::space_renders(objects, space).await? {
            self.rows.entry(id).or_default();
        }
        self.believed_until = Some(Instant::now() + FRESH.max(started.elapsed() * PATIENCE));
        Ok(())
    }
}

/// A render in storage; `None` for one that is deleted or on its way in.
async fn read_row(objects: &Objects, render: &RenderId) -> Result<Option<Row>, ObjectsError> {
    let (is_deleted, request, state) = futures::try_join!(
        store::is_deleted(objects, render),
        store::request(objects, render),
        store::state(objects, render)
    )?;
    let Some(request) = request.filter(|_| !is_deleted) else { return Ok(None) };
    Ok(Some(Row { words: Words::from(&request.spec), end: state.map(Arc::new) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_looks_at_words_and_status() {
        let words = Words { title: Some("Spring Sale".to_owned()), callback_id: Some("Job-7".to_owned()) };
        let id: RenderId = "r0ab".parse().unwrap();
        let by = |search: &str| Filter { search: Some(search.to_owned()), ..Filter::default() };
        for (search, passes) in [("sale", true), ("job-7", true), ("0ab", true), ("autumn", false)] {
            assert_eq!(by(search).passes(&id, &words, Status::Failed), passes, "{search}");
        }
        let failed = Filter { statuses: vec![Status::Failed, Status::Cancelled], search: Some("sale".to_owned()) };
        assert!(failed.passes(&id, &words, Status::Cancelled) && !failed.passes(&id, &words, Status::Completed));
        assert!(Filter::default().passes(&id, &Words::default(), Status::Queued));
    }
}
