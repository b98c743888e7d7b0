//! The farm at a glance, and as it happens.
//!
//! Pools, slots and frames are the whole farm's; renders, their cost and their failures are those of the caller's space. A pool
//! of workers without any is there because somebody has named it: it is shown to those whose renders name it, and to operators.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::{Duration, Instant};

use axum::Json;
use axum::extract::{Extension, State};
use axum::http::HeaderMap;
use axum::response::Response;
use axum::response::sse::Event;
use futures::{StreamExt, stream};
use hyperfarm_api::events::{FarmEvent, Workers};
use hyperfarm_api::farm::{AuditEntry, Farm, LoadSample, PoolLoad, RecentFailure, RenderCounts, Today, Worker};
use hyperfarm_api::render::{RenderDeleted, RenderStatus};
use hyperfarm_api::request::ListQuery;
use hyperfarm_api::{Data, Page, seconds};
use hyperfarm_backplane::ledger::NodeView;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::Outcome;
use hyperfarm_proto::task::Step;
use parking_lot::Mutex;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::sync::mpsc;
use tracing::warn;

use super::base_url::base_url;
use super::error::ApiError;
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::render_events::{KEEP_ALIVE, event_stream, sent};
use super::renders::shown_from;
use super::{Answer, Api, List, workers};
use crate::api_keys::Caller;
use crate::api_keys::Scope;
use crate::clock::now_ms;
use crate::intake::Intake;
use crate::registry::RenderEntry;
use crate::status::{Status, error_code};
use crate::waiting::Waiting;
use crate::{audit, object_keys, store};

/// How often the farm is looked at for its history, and how many looks are kept: a quarter of an hour.
const SAMPLE_EVERY: Duration = Duration::from_secs(10);
const SAMPLES: usize = 90;

/// How often a client is told of the farm, of its renders, and of the farm although nothing changed.
const TELL_RENDERS: Duration = Duration::from_secs(1);
const TELL_FARM: Duration = Duration::from_secs(2);

/// How long the renders of today are waited for.
const PATIENCE: Duration = Duration::from_millis(1500);

/// Failures that are told of.
const FAILURES: usize = 10;

/// Entries of the audit log on a page, where the client does not say.
const AUDIT_PAGE: usize = 50;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// What of the farm is remembered.
pub struct Memory {
    started_at_ms: u64,
    history: Mutex<VecDeque<LoadSample>>,
    /// Seconds of work of renders that have ended, by render.
    worked: Mutex<HashMap<RenderId, f64>>,
}

impl Default for Memory {
    fn default() -> Self {
        Self { started_at_ms: now_ms(), history: Mutex::default(), worked: Mutex::default() }
    }
}

impl Memory {
    fn note(&self, sample: LoadSample) {
        let mut history = self.history.lock();
        if history.len() == SAMPLES {
            history.pop_front();
        }
        history.push_back(sample);
    }
}

/// The farm's numbers that are the same for everybody.
struct Load {
    pools: Vec<PoolLoad>,
    frames_per_second: f64,
    slots: u32,
    slots_busy: u64,
    queue_depth: u64,
}

impl Load {
    fn sample(&self) -> LoadSample {
        LoadSample {
            at: seconds(now_ms()),
            frames_per_second: self.frames_per_second,
            slots_busy: self.slots_busy,
            slots: self.slots,
            queue_depth: self.queue_depth,
        }
    }
}

/// Looks at the farm now and then, until the drain starts.
pub(super) async fn remember(api: Api) {
    let drain = api.coordinator.drain().clone();
    loop {
        api.memory.note(load(&api).await.sample());
        tokio::select! { () = drain.started() => return, () = tokio::time::sleep(SAMPLE_EVERY) => {} }
    }
}

async fn load(api: &Api) -> Load {
    let nodes = api.nodes.all(api).await;
    let mut backlog: BTreeMap<String, _> =
        api.coordinator.registry().backlog().into_iter().map(|(pool, waiting)| (pool.to_string(), waiting)).collect();
    let mut by_pool: BTreeMap<&str, Vec<&NodeView>> = BTreeMap::new();
    for node in &nodes {
        by_pool.entry(&node.pool).or_default().push(node);
    }
    let mut pools: Vec<PoolLoad> = Vec::new();
    let (mut queue_depth, now) = (0, now_ms());
    let names: Vec<String> = by_pool.keys().map(|pool| (*pool).to_owned()).chain(backlog.keys().cloned()).collect();
    for name in names {
        if pools.iter().any(|pool| pool.pool == name) {
            continue;
        }
        let nodes = by_pool.remove(name.as_str()).unwrap_or_default();
        let waiting = backlog.remove(&name).unwrap_or_default();
        queue_depth += waiting.tasks;
        pools.push(PoolLoad {
            pool: name,
            workers: nodes.len(),
            slots: nodes.iter().map(|node| node.slots).sum(),
            slots_busy: nodes.iter().map(|node| node.tasks.len()).sum(),
            queue_depth: waiting.tasks,
            queue_oldest_seconds: waiting.since_ms.map(|since| seconds(now.saturating_sub(since))),
        });
    }
    let workers = || nodes.iter().filter(|node| node.role == "worker");
    Load {
        pools,
        frames_per_second: workers().map(|node| node.frames_per_second).sum(),
        slots: workers().map(|node| node.slots).sum(),
        slots_busy: workers().map(|node| node.tasks.len() as u64).sum(),
        queue_depth,
    }
}

/// The farm as `caller` sees it.
async fn farm(api: &Api, caller: &Caller) -> Farm {
    let space = &caller.rights.space;
    let mut load = load(api).await;
    let registry = api.coordinator.registry();
    let open = registry.of_space(space);
    let is_admin = caller.check(Scope::Admin).is_ok();
    let is_named = |pool: &PoolLoad| open.iter().any(|entry| entry.request.spec.pool.as_str() == pool.pool);
    let is_of_stitchers = |pool: &PoolLoad| pool.pool == Step::Stitch.kind();
    load.pools.retain(|pool| pool.workers > 0 || is_admin || is_of_stitchers(pool) || is_named(pool));
    let count = |status| open.iter().filter(|entry| Status::of(&entry.progress.borrow()) == status).count();
    let ended = api.coordinator.ended(space, PATIENCE).await;
    let (now, mut completed, mut failed, mut minutes, mut cost) = (now_ms(), 0, 0, 0.0, 0.0);
    let today = now - now % DAY_MS;
    let mut done = Vec::new();
    let mut failures = Vec::new();
    let mut by_status: HashMap<Status, u64> = HashMap::new();
    for (id, row) in &ended {
        let Some(end) = &row.end else { continue };
        *by_status.entry(Status::of_end(end)).or_default() += 1;
        let is_today = end.ended_at_ms >= today;
        match &end.outcome {
            Outcome::Completed { duration, output } if is_today => {
                completed += 1;
                minutes += duration / 60.0;
                cost += api.config.prices.of(output, *duration, row.purpose());
                done.push(id);
            }
            Outcome::Failed { failure, .. } if failure.code != hyperfarm_proto::failure::FailureCode::Cancelled => {
                failed += u64::from(is_today);
                failures.push((end.ended_at_ms, id, row.title(), failure));
            }
            _ => {}
        }
    }
    let kept = |status| by_status.get(&status).copied().unwrap_or(0);
    failures.sort_unstable_by_key(|failure| std::cmp::Reverse(failure.0));
    let recent = failures.iter().take(FAILURES).map(|(at, id, title, failure)| RecentFailure {
        render_id: id.to_string(),
        title: title.map(str::to_owned),
        error_code: error_code(failure),
        failure_message: failure.message.clone(),
        at: seconds(*at),
    });
    Farm {
        version: hyperfarm_proto::FARM_VERSION.to_owned(),
        started_at: seconds(api.memory.started_at_ms),
        now: seconds(now),
        active_coordinator: api.coordinator.leader(),
        pools: load.pools,
        frames_per_second: load.frames_per_second,
        slots: load.slots,
        slots_busy: load.slots_busy,
        queue_depth: load.queue_depth,
        renders: RenderCounts {
            queued: count(Status::Queued),
            rendering: count(Status::Rendering),
            completed_today: completed,
            failed_today: failed,
            completed: kept(Status::Completed),
            failed: kept(Status::Failed),
            cancelled: kept(Status::Cancelled),
        },
        today: Today { output_minutes: minutes, worker_seconds: api.worked(&done).await, cost_usd: cost },
        history: None,
        recent_failures: recent.collect(),
    }
}

impl Api {
    /// Seconds of work in these renders, as far as it is noted by now.
    async fn worked(&self, renders: &[&RenderId]) -> f64 {
        let known = || self.memory.worked.lock();
        let missing: Vec<RenderId> = {
            let mut known = known();
            // Yesterday's are not asked for again.
            let today: std::collections::HashSet<&RenderId> = renders.iter().copied().collect();
            known.retain(|id, _| today.contains(id));
            renders.iter().filter(|id| !known.contains_key(*id)).take(200).map(|id| (*id).clone()).collect()
        };
        let objects = &self.coordinator.backplane().objects;
        let looks = missing.into_iter().map(|id| async move {
            let intake = objects.get_json::<Intake>(&object_keys::intake(&id)).await.ok()?;
            // Without a key nothing is noted.
            let Some(key) = &intake.key else { return Some((id, 0.0)) };
            let usage = self.usages.of(key, &id).await.ok()??;
            Some((id, usage.worker_seconds.values().sum()))
        });
        let found: Vec<Option<(RenderId, f64)>> =
            stream::iter(looks).buffer_unordered(store::MAX_CONCURRENT_REQUESTS).collect().await;
        known().extend(found.into_iter().flatten());
        let known = known();
        renders.iter().filter_map(|id| known.get(*id)).sum()
    }
}

/// `GET /v3/hyperframes/farm`.
pub(super) async fn read(State(api): State<Api>, Extension(caller): Extension<Caller>) -> Answer<Farm> {
    let mut farm = farm(&api, &caller).await;
    let history = api.memory.history.lock();
    farm.history = Some(history.iter().cloned().collect());
    drop(history);
    Ok(Json(Data { data: farm }))
}

/// `GET /v3/hyperframes/audit?limit&token`.
pub(super) async fn audit(State(api): State<Api>, Query(query): Query<ListQuery<PAGE_MAX>>) -> List<AuditEntry> {
    let page = PageRange::of(&query, AUDIT_PAGE)?;
    let objects = &api.coordinator.backplane().objects;
    let (data, has_more) = audit::page(objects, page.limit, page.after.as_deref()).await?;
    let next = data.last().filter(|_| has_more).map(|last| page::token(&last.id));
    Ok(Json(Page::new(data, next)))
}

/// `GET /v3/hyperframes/farm/events`: server-sent events for as long as the client listens.
pub(super) async fn events(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    headers: HeaderMap,
) -> Result<Response, ApiError> {
    let place = api.streams.open(&caller)?;
    let (sender, receiver) = mpsc::channel::<Event>(16);
    let base = base_url(&api.config, &headers);
    let drain = api.coordinator.drain().started();
    let told = tell(api, caller, base, sender);
    tokio::spawn(async move {
        tokio::select! { () = drain => {} () = told => {} }
    });
    let events = stream::unfold(receiver, |mut receiver| async move { Some((receiver.recv().await?, receiver)) });
    Ok(event_stream(events, place))
}

/// What of a render is told to those who follow it when it changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Fingerprint {
    /// `None` once it has ended.
    status: Option<RenderStatus>,
    frames_done: u64,
    chunks_done: u32,
    has_sound: bool,
    is_paused: bool,
    priority: i32,
    /// Code of what it waits for.
    waiting: Option<&'static str>,
}

fn fingerprint(entry: &RenderEntry) -> Fingerprint {
    let progress = entry.progress.borrow();
    let status = progress.end.is_none().then(|| super::view::status(&progress));
    Fingerprint {
        status,
        frames_done: progress.frames_done,
        chunks_done: progress.chunks_done,
        has_sound: progress.has_sound,
        is_paused: entry.is_paused(),
        priority: entry.priority(),
        waiting: progress.waiting.as_ref().map(Waiting::code),
    }
}

/// Tells a client what changes, until it is gone.
async fn tell(api: Api, caller: Caller, base: Option<url::Url>, client: mpsc::Sender<Event>) {
    let mut deletions = api.coordinator.registry().deletions();
    let mut known: HashMap<RenderId, _> = HashMap::new();
    let is_admin = caller.check(Scope::Admin).is_ok();
    let (mut said_farm, mut said_workers) = (None::<Farm>, None::<Vec<Worker>>);
    let (mut farm_at, mut said_at) = (None::<Instant>, Instant::now());
    let mut is_first = true;
    let mut tick = tokio::time::interval(TELL_RENDERS);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tick.tick().await;
        let mut news = Vec::new();
        loop {
            match deletions.try_recv() {
                Ok((space, render)) if space == caller.rights.space => {
                    known.remove(&render);
                    news.push(FarmEvent::Deleted(RenderDeleted { render_id: render.into() }));
                }
                Ok(_) | Err(TryRecvError::Lagged(_)) => {}
                Err(_) => break,
            }
        }
        for entry in api.coordinator.registry().of_space(&caller.rights.space) {
            let (id, now) = (entry.request.id.clone(), fingerprint(&entry));
            // What had ended before the client came is no news.
            let is_old = is_first && now.status.is_none();
            if known.insert(id, now) == Some(now) || is_old {
                continue;
            }
            match shown_from(&api, base.clone(), &entry.detail()).await {
                Ok(shown) => news.push(FarmEvent::Render(Box::new(shown))),
                Err(error) => warn!(%error, "a render cannot be shown to those who follow it"),
            }
        }
        is_first = false;
        if farm_at.is_none_or(|at| at.elapsed() >= TELL_FARM) {
            farm_at = Some(Instant::now());
            let farm = farm(&api, &caller).await;
            // That time passes is no news.
            let bare = Farm { now: 0.0, ..farm.clone() };
            if said_farm.as_ref() != Some(&bare) || said_at.elapsed() >= KEEP_ALIVE {
                (said_farm, said_at) = (Some(bare), Instant::now());
                news.push(FarmEvent::Farm(Box::new(farm)));
            }
            if is_admin {
                let nodes: Vec<Worker> = api.nodes.all(&api).await.iter().map(workers::shown).collect();
                let bare: Vec<Worker> = nodes.iter().map(|node| Worker { last_seen_at: 0.0, ..node.clone() }).collect();
                if said_workers.as_ref() != Some(&bare) {
                    said_workers = Some(bare);
                    news.push(FarmEvent::Workers(Workers { data: nodes }));
                }
            }
        }
        for news in news {
            if client.send(sent(news.name(), &news)).await.is_err() {
                return;
            }
        }
        if client.is_closed() {
            return;
        }
    }
}
