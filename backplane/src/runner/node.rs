//! A node as it sees itself: whether it takes tasks, what it is at, and how it fares. It says so with every heartbeat, and follows
//! what the answer wishes.
//!
//! **A node that only fails puts itself aside.** After [`quarantine_after`](super::RunnerConfig::quarantine_after) failures in a row
//! that may be the node's fault it rests for [`cool_down`](super::RunnerConfig::cool_down), if somebody else of its kind is there to do
//! the work. One more failure after the rest is enough for the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::failure::{Failure, FailureCode, Owner, RetryRule};
use hyperfarm_proto::record::unix_ms;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::{RunnerConfig, TaskContext};
use crate::drain::Drain;
use crate::ledger::{Lease, NodeCommand, NodeState, NodeTask, NodeView, Order};
use crate::machine;

/// Failures older than this are no longer told of.
const RECENT: Duration = Duration::from_secs(600);

/// Time over which frames a second are counted.
const PACE: Duration = Duration::from_secs(10);

/// How often memory is looked at.
const MEMORY_EVERY: Duration = Duration::from_secs(5);

/// What all slots of a node share.
pub(super) struct Node {
    view: NodeView,
    config: RunnerConfig,
    /// Started by the process's drain, and by a wish.
    pub(super) drain: Drain,
    state: watch::Sender<NodeState>,
    /// Something happened that is worth a heartbeat.
    pub(super) news: Notify,
    frames: Arc<AtomicU64>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    tasks: BTreeMap<u32, Running>,
    reason: Option<String>,
    /// When an automatic quarantine ends.
    until: Option<Instant>,
    followed: Option<u64>,
    failed_in_a_row: u32,
    failures: VecDeque<Instant>,
    pace: VecDeque<(Instant, u64)>,
    memory: Option<(Instant, u64)>,
}

struct Running {
    task: NodeTask,
    context: TaskContext,
}

impl Node {
    pub(super) fn new(view: NodeView, config: RunnerConfig, drain: &Drain) -> Self {
        let view = NodeView {
            slots_total: view.slots,
            version: FARM_VERSION.to_owned(),
            host: machine::host(),
            memory_limit_bytes: machine::memory_limit(),
            started_at_ms: unix_ms() as u64,
            ..view
        };
        Self {
            view,
            config,
            drain: drain.child(),
            state: watch::Sender::new(NodeState::Active),
            news: Notify::new(),
            frames: Arc::default(),
            inner: Mutex::default(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether tasks are taken.
    pub(super) fn is_open(&self) -> bool {
        *self.state.borrow() == NodeState::Active
    }

    /// Resolves while tasks are taken, or not.
    pub(super) async fn until_open(&self, wanted: bool) {
        let mut state = self.state.subscribe();
        // The sender lives as long as the node.
        let _ = state.wait_for(|state| (*state == NodeState::Active) == wanted).await;
    }

    /// A slot begins a task; what it answers is the context for it.
    pub(super) fn begin(&self, slot: u32, lease: &Lease) -> TaskContext {
        let frames = matches!(lease.task.step, hyperfarm_proto::task::Step::Chunk(_)).then(|| self.frames.clone());
        let context = TaskContext { frames, ..TaskContext::new(slot) };
        let task = NodeTask {
            render: lease.task.render.clone(),
            step: lease.task.step,
            attempt: lease.attempt,
            done: 0,
            total: 0,
            since_ms: unix_ms() as u64,
        };
        self.lock().tasks.insert(slot, Running { task, context: context.clone() });
        self.news.notify_one();
        context
    }

    /// The slot's task is over.
    pub(super) fn end(&self, slot: u32) {
        self.lock().tasks.remove(&slot);
        self.news.notify_one();
    }

    /// A task succeeded here.
    pub(super) fn succeeded(&self) {
        self.lock().failed_in_a_row = 0;
    }

    /// A task failed here. Answers whether the node is to be put aside for it, if others are there.
    pub(super) fn failed(&self, failure: &Failure) -> bool {
        let code = failure.code;
        if code.owner() == Owner::User || code.retry() != RetryRule::Elsewhere {
            return false;
        }
        let mut inner = self.lock();
        inner.failures.push_back(Instant::now());
        // Servers that are down are down for every node.
        if matches!(code, FailureCode::Storage | FailureCode::Backplane) {
            return false;
        }
        inner.failed_in_a_row += 1;
        let after = self.config.quarantine_after;
        after > 0 && inner.failed_in_a_row >= after && self.is_open()
    }

    /// Whether `nodes` has another one of this kind that takes tasks.
    pub(super) fn has_peers(&self, nodes: &[NodeView]) -> bool {
        let ours = &self.view;
        nodes
            .iter()
            .any(|node| node.id != ours.id && node.role == ours.role && node.pool == ours.pool && node.slots > 0)
    }

    /// Puts the node aside after failures, the last of which is `failure`.
    pub(super) fn set_aside(&self, failure: &Failure) {
        let mut inner = self.lock();
        let reason = format!(
            "{} tasks in a row failed here, the last one with {}: {}",
            inner.failed_in_a_row, failure.code, failure.message
        );
        warn!(worker = %self.view.id, reason, "quarantined for {:?}", self.config.cool_down);
        inner.reason = Some(reason);
        inner.until = Some(Instant::now() + self.config.cool_down);
        drop(inner);
        self.enter(NodeState::Quarantined);
    }

    fn enter(&self, state: NodeState) {
        self.state.send_replace(state);
        self.news.notify_one();
    }

    /// Ends an automatic quarantine whose time is over.
    pub(super) fn cool_down(&self) {
        let mut inner = self.lock();
        if inner.until.is_none_or(|until| Instant::now() < until) || *self.state.borrow() != NodeState::Quarantined {
            return;
        }
        (inner.until, inner.reason) = (None, None);
        inner.failed_in_a_row = self.config.quarantine_after.saturating_sub(1);
        drop(inner);
        info!(worker = %self.view.id, "the quarantine is over");
        self.enter(NodeState::Active);
    }

    /// Follows `wish`, once.
    pub(super) fn follow(&self, wish: &NodeCommand) {
        let state = *self.state.borrow();
        let mut inner = self.lock();
        if inner.followed.replace(wish.number) == Some(wish.number) {
            return;
        }
        info!(worker = %self.view.id, wish = ?wish.order, "an operator wishes");
        match &wish.order {
            Order::Drain => {
                inner.reason = Some("an operator asked for it".to_owned());
                drop(inner);
                self.drain.start();
                self.enter(NodeState::Draining);
            }
            Order::Quarantine { reason } if state != NodeState::Draining => {
                (inner.reason, inner.until) = (Some(reason.clone()), None);
                drop(inner);
                self.enter(NodeState::Quarantined);
            }
            Order::Resume if state == NodeState::Quarantined => {
                (inner.reason, inner.until, inner.failed_in_a_row) = (None, None, 0);
                drop(inner);
                self.enter(NodeState::Active);
            }
            Order::Quarantine { .. } | Order::Resume => {}
        }
    }

    /// What the node says of itself now.
    pub(super) fn view(&self) -> NodeView {
        let now = Instant::now();
        let state = if self.drain.is_started() { NodeState::Draining } else { *self.state.borrow() };
        let mut inner = self.lock();
        let frames = self.frames.load(Ordering::Relaxed);
        inner.pace.push_back((now, frames));
        while inner.pace.len() > 2 && inner.pace.front().is_some_and(|(at, _)| now - *at > PACE) {
            inner.pace.pop_front();
        }
        let frames_per_second = inner
            .pace
            .front()
            .map_or(0.0, |(since, before)| (frames - before) as f64 / (now - *since).as_secs_f64().max(1.0));
        while inner.failures.front().is_some_and(|at| now - *at > RECENT) {
            inner.failures.pop_front();
        }
        let memory = match inner.memory {
            Some((at, bytes)) if now - at < MEMORY_EVERY => bytes,
            _ => {
                let bytes = machine::memory().total();
                inner.memory = Some((now, bytes));
                bytes
            }
        };
        let tasks = inner.tasks.values().map(|running| {
            let progress = running.context.progress();
            NodeTask { done: progress.done, total: progress.total, ..running.task.clone() }
        });
        NodeView {
            slots: if state == NodeState::Active { self.view.slots_total } else { 0 },
            state,
            reason: inner.reason.clone(),
            tasks: tasks.collect(),
            frames_per_second,
            memory_bytes: memory,
            failures_recent: inner.failures.len() as u32,
            said_at_ms: unix_ms() as u64,
            ..self.view.clone()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node() -> Node {
        let view = NodeView::new("w1".parse().unwrap(), "worker", "cpu", 2, "");
        Node::new(view, RunnerConfig { cool_down: Duration::ZERO, ..RunnerConfig::default() }, &Drain::new())
    }

    fn failure(code: FailureCode) -> Failure {
        Failure::new(code, "it broke")
    }

    #[test]
    fn three_failures_in_a_row_that_may_be_its_own_put_a_node_aside() {
        let node = node();
        let fails = |code| node.failed(&failure(code));
        assert_eq!([fails(FailureCode::ChromeCrashed), fails(FailureCode::ChromeLaunch)], [false, false]);
        node.succeeded();
        for code in [FailureCode::ChromeCrashed, FailureCode::ScriptError, FailureCode::Storage, FailureCode::Drained] {
            assert!(!fails(code), "{code}");
        }
        assert!(!fails(FailureCode::ChromeCrashed));
        assert!(fails(FailureCode::CaptureStalled));
        assert_eq!(node.view().failures_recent, 6, "those of users and of drains are not the farm's");
        node.set_aside(&failure(FailureCode::CaptureStalled));
        let view = node.view();
        assert_eq!((view.state, view.slots, view.all_slots()), (NodeState::Quarantined, 0, 2));
        assert!(view.reason.unwrap().contains("CAPTURE_STALLED"));
        node.cool_down();
        assert!(node.is_open() && node.failed(&failure(FailureCode::Internal)), "on probation");
    }

    #[test]
    fn only_another_node_of_its_kind_can_stand_in() {
        let node = node();
        let other = |id: &str, role: &str, pool: &str, slots| NodeView::new(id.parse().unwrap(), role, pool, slots, "");
        let rest = [other("w1", "worker", "cpu", 9), other("w2", "worker", "gpu", 1), other("s", "stitcher", "cpu", 1)];
        assert!(!node.has_peers(&rest) && !node.has_peers(&[other("w3", "worker", "cpu", 0)]));
        assert!(node.has_peers(&[other("w3", "worker", "cpu", 1)]));
    }

    #[test]
    fn a_wish_is_followed_once() {
        let node = node();
        let quarantine = NodeCommand::new(Order::Quarantine { reason: "new disk".to_owned() });
        node.follow(&quarantine);
        assert_eq!(node.view().reason.as_deref(), Some("new disk"));
        node.follow(&NodeCommand::new(Order::Resume));
        assert!(node.is_open());
        node.follow(&NodeCommand::new(Order::Drain));
        node.follow(&NodeCommand::new(Order::Resume));
        assert_eq!(node.view().state, NodeState::Draining);
        assert!(node.drain.is_started());
    }
}
