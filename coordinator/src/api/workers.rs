//! The nodes of the farm, and what an operator can ask of them.
//!
//! A wish goes to the ledger and reaches its node with the answer to its next heartbeat, a few seconds later. Until the node says so
//! itself, it is shown as what it will be.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use axum::Json;
use axum::body::Body;
use axum::extract::{Extension, Path, State};
use hyperfarm_api::farm::{QuarantineRequest, Worker, WorkerRole, WorkerState, WorkerTask};
use hyperfarm_api::request::{self, ListQuery};
use hyperfarm_api::{Data, Page, seconds};
use hyperfarm_backplane::ledger::{NodeCommand, NodeState, NodeView, Order};
use hyperfarm_proto::id::WorkerId;
use parking_lot::Mutex;
use tracing::{info, warn};

use super::error::{ApiError, Code};
use super::page::{self, PageRange, Query};
use super::{Answer, Api, List, read_body};
use crate::api_keys::Caller;

/// Workers on a page at most, and where the client does not say.
pub(super) const WORKERS: i64 = 1000;

/// How long a list of nodes is believed.
const FRESH: Duration = Duration::from_millis(900);

/// How long the ledger is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

/// How long a node is shown as what it was asked to be.
const WISHED: Duration = Duration::from_secs(10);

/// What was wished of a node that has not said itself yet: when, which state, and why.
type PendingCommand = (Instant, NodeState, Option<String>);

/// The nodes, asked for at most once a second, however many look.
#[derive(Default)]
pub struct Nodes {
    last: tokio::sync::Mutex<Option<(Instant, Vec<NodeView>)>>,
    wished: Mutex<HashMap<WorkerId, PendingCommand>>,
}

impl Nodes {
    /// The nodes that are alive; those of before where the ledger does not answer.
    pub(super) async fn all(&self, api: &Api) -> Vec<NodeView> {
        let mut last = self.last.lock().await;
        if last.as_ref().is_none_or(|(at, _)| at.elapsed() >= FRESH) {
            let asked = api.coordinator.backplane().ledger.nodes();
            match tokio::time::timeout(PATIENCE, asked).await {
                Ok(Ok(nodes)) => *last = Some((Instant::now(), nodes)),
                Ok(Err(error)) => warn!(%error, "the live nodes cannot be read"),
                Err(_) => warn!("the ledger does not say which nodes are alive"),
            }
        }
        let nodes = last.as_ref().map(|(_, nodes)| nodes.clone()).unwrap_or_default();
        drop(last);
        nodes.into_iter().map(|node| self.as_wished(node)).collect()
    }

    fn as_wished(&self, node: NodeView) -> NodeView {
        let mut wished = self.wished.lock();
        wished.retain(|_, (at, ..)| at.elapsed() < WISHED);
        match wished.get(&node.id) {
            Some((_, state, reason)) if *state != node.state => {
                let slots = if *state == NodeState::Active { node.all_slots() } else { 0 };
                NodeView { state: *state, reason: reason.clone(), slots, ..node }
            }
            _ => node,
        }
    }
}

/// A node as clients read it.
pub(super) fn shown(node: &NodeView) -> Worker {
    let tasks = node.tasks.iter().map(|task| WorkerTask {
        render_id: task.render.to_string(),
        step: task.step.into(),
        chunk: task.step.chunk(),
        attempt: task.attempt,
        frames_done: task.done,
        frames_total: task.total,
        since: seconds(task.since_ms),
    });
    Worker {
        worker_id: node.id.to_string(),
        role: if node.role == "stitcher" { WorkerRole::Stitcher } else { WorkerRole::Worker },
        pool: node.pool.clone(),
        class: node.class.clone(),
        version: node.version.clone(),
        host: node.host.clone(),
        slots: node.all_slots(),
        slots_busy: node.tasks.len(),
        memory_bytes: node.memory_bytes,
        memory_limit_bytes: node.memory_limit_bytes,
        state: match node.state {
            NodeState::Active => WorkerState::Active,
            NodeState::Draining => WorkerState::Draining,
            NodeState::Quarantined => WorkerState::Quarantined,
        },
        state_reason: node.reason.clone(),
        tasks: tasks.collect(),
        frames_per_second: node.frames_per_second,
        started_at: seconds(node.started_at_ms),
        last_seen_at: seconds(node.said_at_ms),
        failures_recent: node.failures_recent,
    }
}

/// `GET /v3/hyperframes/workers?limit&token`.
pub(super) async fn list(State(api): State<Api>, Query(query): Query<ListQuery<WORKERS>>) -> List<Worker> {
    let page = PageRange::of(&query, WORKERS as usize)?;
    let nodes = api.nodes.all(&api).await;
    let mut rest = nodes.iter().filter(|node| page.after.as_deref().is_none_or(|after| node.id.as_str() > after));
    let shown_nodes: Vec<&NodeView> = rest.by_ref().take(page.limit).collect();
    let next = shown_nodes.last().filter(|_| rest.next().is_some()).map(|last| page::token(last.id.as_str()));
    Ok(Json(Page::new(shown_nodes.into_iter().map(shown).collect(), next)))
}

/// `POST /v3/hyperframes/workers/{worker_id}/drain`.
pub(super) async fn drain(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Worker> {
    wish(&api, &caller, &id, Order::Drain).await
}

/// `POST /v3/hyperframes/workers/{worker_id}/quarantine`.
pub(super) async fn quarantine(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    body: Body,
) -> Answer<Worker> {
    let reason = reason(&read_body(body).await?)?.unwrap_or_else(|| format!("asked for by {}", caller.name));
    wish(&api, &caller, &id, Order::Quarantine { reason }).await
}

fn reason(body: &[u8]) -> Result<Option<String>, ApiError> {
    if body.trim_ascii().is_empty() {
        return Ok(None);
    }
    let QuarantineRequest { reason } = request::parse(request::object(body)?)?;
    Ok(reason.map(|text| text.trim().to_owned()).filter(|text| !text.is_empty()))
}

/// `POST /v3/hyperframes/workers/{worker_id}/resume`.
pub(super) async fn resume(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
) -> Answer<Worker> {
    wish(&api, &caller, &id, Order::Resume).await
}

async fn wish(api: &Api, caller: &Caller, id: &str, order: Order) -> Answer<Worker> {
    let missing = || {
        let message = format!("there is no worker {}; it may have ended", id.escape_debug());
        ApiError::new(Code::WorkerNotFound, message)
    };
    let id: WorkerId = id.parse().map_err(|_| missing())?;
    let node = api.nodes.all(api).await.into_iter().find(|node| node.id == id).ok_or_else(missing)?;
    if node.state == NodeState::Draining && order != Order::Drain {
        let message = format!("the worker {id} drains and will end; nothing else can be asked of it");
        return Err(ApiError::new(Code::Conflict, message));
    }
    let is_alive = api.coordinator.backplane().ledger.send_command(&id, &NodeCommand::new(order.clone())).await;
    if !is_alive.map_err(|error| ApiError::internal(&error))? {
        return Err(missing());
    }
    info!(worker = %id, ?order, key = caller.id, "asked of a worker");
    let (state, reason) = match order {
        Order::Drain => (NodeState::Draining, Some("an operator asked for it".to_owned())),
        Order::Quarantine { reason } => (NodeState::Quarantined, Some(reason)),
        Order::Resume => (NodeState::Active, None),
    };
    let mut wished = api.nodes.wished.lock();
    wished.insert(id, (Instant::now(), state, reason));
    drop(wished);
    Ok(Json(Data { data: shown(&api.nodes.as_wished(node)) }))
}
