//! An index of the renders of each space, for lists, searches and counts.
//!
//! **Invariant: a cache of what is in storage.** The ids of a space are listed again every few seconds; a render that has ended is read
//! once. Renders that the registry has are answered from there, because it is always newer.

use std::cmp::Reverse;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::{StreamExt, stream};
use hyperfarm_api::request::RenderSort;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::RenderSpec;
use parking_lot::Mutex;
use tracing::warn;

use crate::registry::{Registry, RenderEntry};
use crate::status::Status;
use crate::store;
use crate::submission::{Intake, Purpose};

/// A listing is used for at least this long, and for [`LISTING_COST_FACTOR`] times as long as it took.
const LISTING_VALID_FOR: Duration = Duration::from_secs(2);
const LISTING_COST_FACTOR: u32 = 20;

/// Renders that are read from storage at once.
const MAX_CONCURRENT_READS: usize = 64;

/// A filter for a list of renders, and its order. The default lets every render pass, newest first.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Filter {
    /// The accepted statuses; all where empty.
    pub statuses: Vec<Status>,
    /// Text that the title, the id, the callback id or the owner has to contain, in lower case.
    pub search: Option<String>,
    /// The pool; any where `None`.
    pub pool: Option<String>,
    /// The order of the list.
    pub sort: RenderSort,
}

/// The place of a render in a sorted list: the smallest first.
type SortKey = (Reverse<i64>, String, Reverse<RenderId>);

impl Filter {
    /// Whether every render passes.
    pub fn is_empty(&self) -> bool {
        self.statuses.is_empty() && self.search.is_none() && self.pool.is_none()
    }

    fn passes(&self, render: &RenderId, texts: &ListedFields, status: Status) -> bool {
        if self.pool.as_ref().is_some_and(|pool| *pool != texts.pool) {
            return false;
        }
        if !self.statuses.is_empty() && !self.statuses.contains(&status) {
            return false;
        }
        let Some(search) = &self.search else { return true };
        [Some(render.as_str()), texts.title.as_deref(), texts.callback_id.as_deref(), texts.owner.as_deref()]
            .into_iter()
            .flatten()
            .any(|text| text.to_lowercase().contains(search.as_str()))
    }
}

/// What lists are filtered and sorted by, besides the id and the status.
#[derive(Debug, Clone, Default)]
struct ListedFields {
    title: Option<String>,
    callback_id: Option<String>,
    owner: Option<String>,
    pool: String,
    priority: i32,
    purpose: Purpose,
}

impl ListedFields {
    fn new(spec: &RenderSpec, intake: &Intake, priority: i32) -> Self {
        let text = |text: Option<&str>| text.map(str::to_owned);
        Self {
            title: text(spec.title.as_deref()),
            callback_id: text(spec.callback_id.as_deref()),
            owner: intake.owner.clone(),
            pool: spec.pool.to_string(),
            priority,
            purpose: intake.purpose.clone(),
        }
    }
}

/// One render in the index.
#[derive(Debug, Clone)]
pub(crate) struct IndexedRender {
    fields: ListedFields,
    /// How it ended, if it has.
    pub(crate) end: Option<Arc<TerminalState>>,
}

impl IndexedRender {
    /// Its title.
    pub(crate) fn title(&self) -> Option<&str> {
        self.fields.title.as_deref()
    }

    /// What it is made for.
    pub(crate) fn purpose(&self) -> &Purpose {
        &self.fields.purpose
    }

    fn of(entry: &RenderEntry) -> Self {
        let fields = ListedFields::new(&entry.request.spec, &entry.intake, entry.priority());
        Self { fields, end: entry.progress.borrow().end.clone() }
    }

    fn sort_key(&self, render: &RenderId, sort: RenderSort) -> SortKey {
        let (number, text) = match sort {
            RenderSort::Priority => (i64::from(self.fields.priority), String::new()),
            // After every title.
            RenderSort::Title => (0, self.title().map_or_else(|| char::MAX.to_string(), str::to_lowercase)),
            RenderSort::Ended => (
                self.end.as_ref().map_or(i64::MAX, |end| end.ended_at_ms.try_into().unwrap_or(i64::MAX)),
                String::new(),
            ),
            RenderSort::Newest | RenderSort::Oldest => (0, String::new()),
        };
        (Reverse(number), text, Reverse(render.clone()))
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

    /// Ids of all renders of `space` that storage or `registry` has, newest first.
    ///
    /// # Errors
    ///
    /// Storage did not list the space.
    pub(crate) async fn ids(
        &self,
        objects: &Objects,
        registry: &Registry,
        space: &Space,
    ) -> Result<Vec<RenderId>, ObjectsError> {
        let index = self.space(space);
        let mut index = index.lock().await;
        index.list(objects, space).await?;
        let mut ids: Vec<RenderId> = index.renders.keys().cloned().collect();
        drop(index);
        ids.extend(registry.of_space(space).into_iter().map(|entry| entry.request.id.clone()));
        ids.sort_unstable_by(|a, b| b.cmp(a));
        ids.dedup();
        Ok(ids)
    }

    /// Those of [`ids`](Self::ids) that pass `filter`, in its order, from the one after `after` on. A render that
    /// cannot be read is left out.
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
        let mut ids = self.ids(objects, registry, space).await?;
        if filter.sort == RenderSort::Oldest {
            ids.reverse();
        }
        let is_by_time = matches!(filter.sort, RenderSort::Newest | RenderSort::Oldest);
        if is_by_time && let Some(after) = after {
            ids.retain(|id| if filter.sort == RenderSort::Newest { id < after } else { id > after });
        }
        if filter.is_empty() && is_by_time {
            return Ok(ids);
        }
        self.read(objects, registry, space).await;
        let live: HashMap<RenderId, RenderEntry> =
            registry.of_space(space).into_iter().map(|entry| (entry.request.id.clone(), entry)).collect();
        let index = self.space(space);
        let index = index.lock().await;
        let found = |id: &RenderId| -> Option<Arc<IndexedRender>> {
            if let Some(entry) = live.get(id) {
                return Some(Arc::new(IndexedRender::of(entry)));
            }
            index.renders.get(id)?.clone()
        };
        let mut listed: Vec<(RenderId, Arc<IndexedRender>)> = ids
            .into_iter()
            .filter_map(|id| {
                let indexed = found(&id)?;
                let status = match live.get(&id) {
                    Some(entry) => Status::of(&entry.progress.borrow()),
                    // A render that has not ended and is not in the registry yet is about to be tracked.
                    None => indexed.end.as_deref().map_or(Status::Queued, Status::of_end),
                };
                filter.passes(&id, &indexed.fields, status).then_some((id, indexed))
            })
            .collect();
        if !is_by_time {
            listed.sort_by_cached_key(|(id, indexed)| indexed.sort_key(id, filter.sort));
            if let Some(after) = after {
                // The list ends early where that render was deleted since.
                let place = listed.iter().position(|(id, _)| id == after).map_or(listed.len(), |place| place + 1);
                listed.drain(..place);
            }
        }
        Ok(listed.into_iter().map(|(id, _)| id).collect())
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
    let (is_deleted, request, intake, state) = futures::try_join!(
        store::is_deleted(objects, render),
        store::request(objects, render),
        store::intake(objects, render),
        store::state(objects, render)
    )?;
    let Some(request) = request.filter(|_| !is_deleted) else { return Ok(None) };
    let intake = intake.unwrap_or_default();
    let fields = ListedFields::new(&request.spec, &intake, intake.priority);
    Ok(Some(IndexedRender { fields, end: state.map(Arc::new) }))
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::FailureCode;
    use hyperfarm_proto::record::Outcome;

    use super::*;

    #[test]
    fn a_filter_looks_at_texts_pool_and_status() {
        let fields = ListedFields {
            title: Some("Spring Sale".to_owned()),
            callback_id: Some("Job-7".to_owned()),
            owner: Some("Studio North".to_owned()),
            pool: "gpu".to_owned(),
            ..ListedFields::default()
        };
        let id: RenderId = "r0ab".parse().unwrap();
        let by = |search: &str| Filter { search: Some(search.to_owned()), ..Filter::default() };
        for (search, passes) in [("sale", true), ("job-7", true), ("0ab", true), ("north", true), ("autumn", false)] {
            assert_eq!(by(search).passes(&id, &fields, Status::Failed), passes, "{search}");
        }
        let failed = Filter { statuses: vec![Status::Failed, Status::Cancelled], ..by("sale") };
        assert!(failed.passes(&id, &fields, Status::Cancelled) && !failed.passes(&id, &fields, Status::Completed));
        assert!(Filter::default().passes(&id, &ListedFields::default(), Status::Queued));
        let of_pool = |pool: &str| Filter { pool: Some(pool.to_owned()), ..Filter::default() };
        assert!(of_pool("gpu").passes(&id, &fields, Status::Queued));
        assert!(!of_pool("default").passes(&id, &fields, Status::Queued));
    }

    #[test]
    fn a_list_is_sorted_by_priority_title_or_end_and_newest_first_among_equals() {
        let render = |title: Option<&str>, priority, ended_at_ms: Option<u64>| IndexedRender {
            fields: ListedFields { title: title.map(str::to_owned), priority, ..ListedFields::default() },
            end: ended_at_ms.map(|ended_at_ms| {
                let failure = hyperfarm_proto::failure::Failure::new(FailureCode::Cancelled, "by request");
                Arc::new(TerminalState { ended_at_ms, outcome: Outcome::Failed { failure, history: Vec::new() } })
            }),
        };
        let renders = [
            ("r01", render(Some("beta"), 0, Some(20))),
            ("r02", render(Some("Alpha"), 5, None)),
            ("r03", render(None, 0, Some(30))),
        ];
        let order = |sort| {
            let mut ids: Vec<_> =
                renders.iter().map(|(id, render)| (id.parse::<RenderId>().unwrap(), render)).collect();
            ids.sort_by_cached_key(|(id, render)| render.sort_key(id, sort));
            ids.iter().map(|(id, _)| id.to_string()).collect::<Vec<_>>()
        };
        assert_eq!(order(RenderSort::Priority), ["r02", "r03", "r01"]);
        assert_eq!(order(RenderSort::Title), ["r02", "r01", "r03"]);
        assert_eq!(order(RenderSort::Ended), ["r02", "r03", "r01"]);
    }
}
