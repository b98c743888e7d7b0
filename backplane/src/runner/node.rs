//! The state of a node: whether it takes tasks, which tasks run, and its figures. Every heartbeat reports it, and the
//! answer may hold an operator's command.
//!
//! **A node that only fails quarantines itself.** After [`quarantine_after`](super::RunnerConfig::quarantine_after)
//! failures in a row that may be the node's fault it takes no tasks for [`cool_down`](super::RunnerConfig::cool_down),
//! if another node of its role and pool can do the work. One more failure after the quarantine starts the next one.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::failure::{Failure, FailureCode, Owner, RetryRule};
use hyperfarm_proto::record::unix_ms;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::{RunnerConfig, TaskContext};
use crate::drain::Drain;
use crate::ledger::{Lease, NodeCommand, NodeState, NodeTask, NodeView, Order};
use crate::machine;

/// How long a failure is reported.
const FAILURE_WINDOW: Duration = Duration::from_secs(600);

/// Time over which frames a second are counted.
const FRAME_RATE_WINDOW: Duration = Duration::from_secs(10);

/// How often memory is measured.
const MEMORY_INTERVAL: Duration = Duration::from_secs(5);

/// The state that all slots of a node share.
pub(super) struct Node {
    view: NodeView,
    config: RunnerConfig,
    /// Started by the process's drain, and by an operator's command.
    pub(super) drain: Drain,
    state: watch::Sender<NodeState>,
    /// Notified when the state changes in a way that is reported at once.
    pub(super) changed: Notify,
    frames: Arc<AtomicU64>,
    inner: Mutex<NodeStatus>,
}

#[derive(Default)]
struct NodeStatus {
    /// By slot.
    tasks: BTreeMap<u32, Running>,
    /// Why no tasks are taken.
    reason: Option<String>,
    /// When an automatic quarantine ends.
    until: Option<Instant>,
    /// Number of the newest command that was applied.
    applied: Option<u64>,
    failed_in_a_row: u32,
    /// When recent tasks failed.
    failures: VecDeque<Instant>,
    /// Captured frames so far, by time.
    frame_counts: VecDeque<(Instant, u64)>,
    /// Bytes of memory, and when they were measured.
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
            changed: Notify::new(),
            frames: Arc::default(),
            inner: Mutex::default(),
        }
    }

    /// Whether tasks are taken.
    pub(super) fn is_open(&self) -> bool {
        *self.state.borrow() == NodeState::Active
    }

    /// Resolves once tasks are taken, for `true`, or are not, for `false`.
    pub(super) async fn until_open(&self, wanted: bool) {
        let mut state = self.state.subscribe();
        // The sender lives as long as the node.
        let _ = state.wait_for(|state| (*state == NodeState::Active) == wanted).await;
    }

    /// Notes that a slot starts a task, and makes the task's context.
    pub(super) fn task_started(&self, slot: u32, lease: &Lease) -> TaskContext {
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
        self.inner.lock().tasks.insert(slot, Running { task, context: context.clone() });
        self.changed.notify_one();
        context
    }

    /// Notes that the slot's task has ended.
    pub(super) fn task_ended(&self, slot: u32) {
        self.inner.lock().tasks.remove(&slot);
        self.changed.notify_one();
    }

    /// Notes that a task succeeded.
    pub(super) fn succeeded(&self) {
        self.inner.lock().failed_in_a_row = 0;
    }

    /// Notes that a task failed. Returns whether the node should be quarantined for it, if others can do its work.
    pub(super) fn failed(&self, failure: &Failure) -> bool {
        let code = failure.code;
        if code.owner() == Owner::User || code.retry() != RetryRule::Elsewhere {
            return false;
        }
        let mut inner = self.inner.lock();
        inner.failures.push_back(Instant::now());
        // Servers that are down are down for every node.
        if matches!(code, FailureCode::Storage | FailureCode::Backplane) {
            return false;
        }
        inner.failed_in_a_row += 1;
        let after = self.config.quarantine_after;
        after > 0 && inner.failed_in_a_row >= after && self.is_open()
    }

    /// Whether `nodes` holds another node of this role and pool that takes tasks.
    pub(super) fn has_peers(&self, nodes: &[NodeView]) -> bool {
        let ours = &self.view;
        nodes
            .iter()
            .any(|node| node.id != ours.id && node.role == ours.role && node.pool == ours.pool && node.slots > 0)
    }

    /// Quarantines the node after failures, the last of which is `failure`.
    pub(super) fn quarantine(&self, failure: &Failure) {
        let mut inner = self.inner.lock();
        let reason = format!(
            "{} tasks in a row failed here, the last one with {}: {}",
            inner.failed_in_a_row, failure.code, failure.message
        );
        warn!(worker = %self.view.id, reason, "quarantined for {:?}", self.config.cool_down);
        inner.reason = Some(reason);
        inner.until = Some(Instant::now() + self.config.cool_down);
        drop(inner);
        self.set_state(NodeState::Quarantined);
    }

    fn set_state(&self, state: NodeState) {
        self.state.send_replace(state);
        self.changed.notify_one();
    }

    /// Ends an automatic quarantine whose time is over.
    pub(super) fn end_quarantine_if_over(&self) {
        let mut inner = self.inner.lock();
        if inner.until.is_none_or(|until| Instant::now() < until) || *self.state.borrow() != NodeState::Quarantined {
            return;
        }
        (inner.until, inner.reason) = (None, None);
        inner.failed_in_a_row = self.config.quarantine_after.saturating_sub(1);
        drop(inner);
        info!(worker = %self.view.id, "the quarantine is over");
        self.set_state(NodeState::Active);
    }

    /// Applies an operator's command, unless it was applied before.
    pub(super) fn apply(&self, command: &NodeCommand) {
        let state = *self.state.borrow();
        let mut inner = self.inner.lock();
        if inner.applied.replace(command.number) == Some(command.number) {
            return;
        }
        info!(worker = %self.view.id, order = ?command.order, "applying an operator's command");
        match &command.order {
            Order::Drain => {
                inner.reason = Some("an operator asked for it".to_owned());
                drop(inner);
                self.drain.start();
                self.set_state(NodeState::Draining);
            }
            Order::Quarantine { reason } if state != NodeState::Draining => {
                (inner.reason, inner.until) = (Some(reason.clone()), None);
                drop(inner);
                self.set_state(NodeState::Quarantined);
            }
            Order::Resume if state == NodeState::Quarantined => {
                (inner.reason, inner.until, inner.failed_in_a_row) = (None, None, 0);
                drop(inner);
                self.set_state(NodeState::Active);
            }
            Order::Quarantine { .. } | Order::Resume => {}
        }
    }

    /// The node's state and figures now.
    pub(super) fn view(&self) -> NodeView {
        let now = Instant::now();
        let state = if self.drain.is_started() { NodeState::Draining } else { *self.state.borrow() };
        let mut inner = self.inner.lock();
        let frames = self.frames.load(Ordering::Relaxed);
        inner.frame_counts.push_back((now, frames));
        while inner.frame_counts.len() > 2
            && inner.frame_counts.front().is_some_and(|(at, _)| now - *at > FRAME_RATE_WINDOW)
        {
            inner.frame_counts.pop_front();
        }
        let frames_per_second = inner
            .frame_counts
            .front()
            .map_or(0.0, |(since, before)| (frames - before) as f64 / (now - *since).as_secs_f64().max(1.0));
        while inner.failures.front().is_some_and(|at| now - *at > FAILURE_WINDOW) {
            inner.failures.pop_front();
        }
        let memory = match inner.memory {
            Some((at, bytes)) if now - at < MEMORY_INTERVAL => bytes,
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
    fn three_failures_in_a_row_that_may_be_its_own_quarantine_a_node() {
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
        node.quarantine(&failure(FailureCode::CaptureStalled));
        let view = node.view();
        assert_eq!((view.state, view.slots, view.all_slots()), (NodeState::Quarantined, 0, 2));
        assert!(view.reason.unwrap().contains("CAPTURE_STALLED"));
        node.end_quarantine_if_over();
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
    fn a_command_is_applied_once() {
        let node = node();
        let quarantine = NodeCommand::new(Order::Quarantine { reason: "new disk".to_owned() });
        node.apply(&quarantine);
        assert_eq!(node.view().reason.as_deref(), Some("new disk"));
        node.apply(&NodeCommand::new(Order::Resume));
        assert!(node.is_open());
        node.apply(&NodeCommand::new(Order::Drain));
        node.apply(&NodeCommand::new(Order::Resume));
        assert_eq!(node.view().state, NodeState::Draining);
        assert!(node.drain.is_started());
    }
}
