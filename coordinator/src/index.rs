//! An index of the renders of each space, for lists, searches and counts.
//!
//! **Invariant: a cache of what is in storage.** The ids of a space are listed again every few seconds; a render that has ended is read
//! once. Renders that the registry has are answered from there, because it is always newer.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderSpec;
use parking_lot::Mutex;
use tracing::warn;

use crate::registry::{Registry, RenderEntry};
use crate::status::Status;
use crate::store;

/// A listing is used for at least this long, and for [`LISTING_COST_FACTOR`] times as long as it took.
const LISTING_VALID_FOR: Duration = Duration::from_secs(2);
const LISTING_COST_FACTOR: u32 = 20;

/// Renders that are read from storage at once.
const MAX_CONCURRENT_READS: usize = 64;

/// A filter for a list of renders. The default lets every render pass.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The accepted statuses; all where empty.
    pub statuses: Vec<Status>,
    /// Text that the title, the id or the callback id has to contain, in lower case.
    pub search: Option<String>,
}

impl Filter {
    /// Whether every render passes.
    pub fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.search.is_none()
    }

    fn passes(&self, render: &RenderId, texts: &SearchTexts, status: Status) -> bool {
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            return false;
        }
        let Some(search) = &self.search else { return true };
        [Some(render.as_str()), texts.title.as_deref(), texts.callback_id.as_deref()]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(search.as_str()))
    }
}

/// The texts of a render that a search looks at, besides its id.
#[derive(Debug, Clone, Default)]
struct SearchTexts {
    title: Option<String>,
    callback_id: Option<String>,
}

impl From<&RenderSpec> for SearchTexts {
    fn from(spec: &RenderSpec) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self { title: text(spec.title.as_deref()), callback_id: text(spec.callback_id.as_deref()) }
    }
}

/// One render in the index.
#[derive(Debug, Clone)]
pub(crate) struct IndexedRender {
    texts: SearchTexts,
    /// How it ended, if it has.
    pub(crate) end: Option<Arc<TerminalState>>,
}

impl IndexedRender {
    /// Its title.
    pub(crate) fn title(&self) -> Option<&str> {
        self.texts.title.as_deref()
    }

    fn of(entry: &RenderEntry) -> Self {
        Self { texts: SearchTexts::from(&entry.request.spec), end: entry.progress.borrow().end.clone() }
    }
}

/// The index of one space.
#[derive(Debug, Default)]
struct SpaceIndex {
    /// `None` for a render that was listed and is not read yet.
    renders: BTreeMap<RenderId, Option<Arc<IndexedRender>>>,
    listing_valid_until: Option<Instant>,
}

/// The index of all spaces. See the [module](self).
#[derive(Debug, Default)]
pub(crate) struct Index {
    spaces: Mutex<HashMap<Space, Arc<tokio::sync::Mutex<SpaceIndex>>>>,
    /// Spaces whose renders are being read.
    reading: Mutex<HashSet<Space>>,
    /// Spaces whose renders were all read once. Callers do not wait for newer ones.
    read_once: Mutex<HashSet<Space>>,
}

impl Index {
    fn space(&self, space: &Space) -> Arc<tokio::sync::Mutex<SpaceIndex>> {
        self.spaces.lock().entry(space.clone()).or_default().clone()
    }

    /// Ids of all renders of `space` older than `after` that storage or `registry` has, newest first.
    ///
    /// # Errors
    ///
    /// Storage did not list the space.
    pub(crate) async fn ids(
        &self,
        objects: &Objects,
        registry: &Registry,
        space: &Space,
        after: Option<&RenderId>,
    ) -> Result<Vec<RenderId>, ObjectsError> {
        let index = self.space(space);
        let mut index = index.lock().await;
        index.list(objects, space).await?;
        let mut ids: Vec<RenderId> = index.renders.keys().cloned().collect();
        drop(index);
        ids.extend(registry.of_space(space).into_iter().map(|entry| entry.request.id.clone()));
        ids.retain(|id| after.is_none_or(|after| id < after));
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(ids)
    }

    /// Those of [`ids`](Self::ids) that pass `filter`. A render that cannot be read is left out.
    ///
    /// # Errors
    ///
    /// Storage did not list the space.
    pub(crate) async fn find(
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
        let live: HashMap<RenderId, RenderEntry> =
            registry.of_space(space).into_iter().map(|entry| (entry.request.id.clone(), entry)).collect();
        let index = self.space(space);
        let index = index.lock().await;
        let passes = |id: &RenderId| {
            if let Some(entry) = live.get(id) {
                return filter.passes(
                    id,
                    &SearchTexts::from(&entry.request.spec),
                    Status::of(&entry.progress.borrow()),
                );
            }
            let Some(Some(indexed)) = index.renders.get(id) else { return false };
            // A render that has not ended and is not in the registry yet is about to be tracked.
            let status = indexed.end.as_deref().map_or(Status::Queued, Status::of_end);
            filter.passes(id, &indexed.texts, status)
        };
        Ok(ids.into_iter().filter(passes).collect())
    }

    /// The ended renders of `space` that are in the index or the registry within `patience`, newest first. A task reads the others.
    pub(crate) async fn ended(
        self: &Arc<Self>,
        objects: &Objects,
        registry: &Arc<Registry>,
        space: &Space,
        patience: Duration,
    ) -> Vec<(RenderId, Arc<IndexedRender>)> {
        let is_idle = self.reading.lock().insert(space.clone());
        let reading = is_idle.then(|| {
            let (index, objects, registry, space) = (self.clone(), objects.clone(), registry.clone(), space.clone());
            tokio::spawn(async move {
                let listed = index.space(&space);
                if let Err(error) = listed.lock().await.list(&objects, &space).await {
                    warn!(%space, %error, "the renders of a space could not be listed");
                }
                index.read(&objects, &registry, &space).await;
                index.read_once.lock().insert(space.clone());
                index.reading.lock().remove(&space);
            })
        });
        let was_read = self.read_once.lock().contains(space);
        if let Some(reading) = reading.filter(|_| !was_read) {
            // Dropping the handle does not end the task.
            let _ = tokio::time::timeout(patience, reading).await;
        }
        let mut renders: BTreeMap<RenderId, Arc<IndexedRender>> = BTreeMap::new();
        let index = self.space(space);
        if let Ok(index) = tokio::time::timeout(patience, index.lock()).await {
            renders.extend(index.renders.iter().filter_map(|(id, indexed)| Some((id.clone(), indexed.clone()?))));
        }
        for entry in registry.of_space(space) {
            renders.insert(entry.request.id.clone(), Arc::new(IndexedRender::of(&entry)));
        }
        renders.into_iter().rev().filter(|(_, indexed)| indexed.end.is_some()).collect()
    }

    /// Reads the renders of `space` that are not in the index, or were open when they were read.
    async fn read(&self, objects: &Objects, registry: &Registry, space: &Space) {
        let index = self.space(space);
        let missing: Vec<RenderId> = {
            let index = index.lock().await;
            let is_open =
                |indexed: &Option<Arc<IndexedRender>>| indexed.as_ref().is_none_or(|indexed| indexed.end.is_none());
            index.renders.iter().rev().filter(|(_, indexed)| is_open(indexed)).map(|(id, _)| id.clone()).collect()
        };
        let reads = missing.into_iter().map(|id| async move {
            if let Some(entry) = registry.get(&id) {
                return (id, Ok(Some(IndexedRender::of(&entry))));
            }
            let read = read_render(objects, &id).await;
            (id, read)
        });
        let mut reads = std::pin::pin!(stream::iter(reads).buffer_unordered(MAX_CONCURRENT_READS));
        let mut failed = 0;
        while let Some((id, read)) = reads.next().await {
            let mut index = index.lock().await;
            match read {
                Ok(Some(indexed)) => drop(index.renders.insert(id, Some(Arc::new(indexed)))),
                Ok(None) => drop(index.renders.remove(&id)),
                Err(error) => {
                    failed += 1;
                    if failed == 1 {
                        warn!(render = %id, %error, "a render could not be read and is left out of lists");
                    }
                }
            }
        }
    }

    /// Removes a render that was deleted.
    pub(crate) async fn remove(&self, space: &Space, render: &RenderId) {
        let index = self.space(space);
        index.lock().await.renders.remove(render);
    }
}

impl SpaceIndex {
    /// Lists the ids of the space, unless the last listing is still valid.
    async fn list(&mut self, objects: &Objects, space: &Space) -> Result<(), ObjectsError> {
        let started = Instant::now();
        if self.listing_valid_until.is_some_and(|until| started < until) {
            return Ok(());
        }
        for id in store::space_renders(objects, space).await? {
            self.renders.entry(id).or_default();
        }
        self.listing_valid_until =
            Some(Instant::now() + LISTING_VALID_FOR.max(started.elapsed() * LISTING_COST_FACTOR));
        Ok(())
    }
}

/// Reads a render from storage; `None` for one that is deleted or being taken in.
async fn read_render(objects: &Objects, render: &RenderId) -> Result<Option<IndexedRender>, ObjectsError> {
    let (is_deleted, request, state) = futures::try_join!(
        store::is_deleted(objects, render),
        store::request(objects, render),
        store::state(objects, render)
    )?;
    let Some(request) = request.filter(|_| !is_deleted) else { return Ok(None) };
    Ok(Some(IndexedRender { texts: SearchTexts::from(&request.spec), end: state.map(Arc::new) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_looks_at_texts_and_status() {
        let texts = SearchTexts { title: Some("Spring Sale".to_owned()), callback_id: Some("Job-7".to_owned()) };
        let id: RenderId = "r0ab".parse().unwrap();
        let by = |search: &str| Filter { search: Some(search.to_owned()), ..Filter::default() };
        for (search, passes) in [("sale", true), ("job-7", true), ("0ab", true), ("autumn", false)] {
            assert_eq!(by(search).passes(&id, &texts, Status::Failed), passes, "{search}");
        }
        let failed = Filter { statuses: vec![Status::Failed, Status::Cancelled], search: Some("sale".to_owned()) };
        assert!(failed.passes(&id, &texts, Status::Cancelled) && !failed.passes(&id, &texts, Status::Completed));
        assert!(Filter::default().passes(&id, &SearchTexts::default(), Status::Queued));
    }
}
