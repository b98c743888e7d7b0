//! The state of a node: whether it takes tasks, which tasks run, and its figures. Every heartbeat reports it, and the
//! answer may hold an operator's command.
//!
//! **A node that only fails quarantines itself.** After failures of
//! [`quarantine_after`](super::RunnerConfig::quarantine_after) renders in a row that may be the node's fault it takes
//! no tasks for [`cool_down`](super::RunnerConfig::cool_down), if another node of its role and pool can do the work.
//! One more failure after the quarantine starts the next one. A render counts once, a user's failure never.
//!
//! **A node of another capture class refuses a render once in 30 s.** Until then it leaves the render's tasks to nodes of
//! other classes.
//!
//! **A node whose servers do not answer waits.** It takes no tasks until storage, ledger and broker answer it again,
//! whether or not others are there: it would only fail what they could do. The pause before each question grows until
//! a task succeeds.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::failure::{Failure, FailureCode, Owner, RetryRule};
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::record::unix_ms;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tracing::{info, warn};

use super::{RunnerConfig, TaskContext};
use crate::drain::Drain;
use crate::ledger::{Lease, NodeCommand, NodeState, NodeTask, NodeView, Order, node_of_slot};
use crate::machine;
use crate::objects::Objects;
use crate::retry::RetryPolicy;

/// How long a failure is reported.
const FAILURE_WINDOW: Duration = Duration::from_secs(600);

/// Time over which frames a second are counted.
const FRAME_RATE_WINDOW: Duration = Duration::from_secs(10);

/// Longest pause before a node asks again whether its servers answer.
const LONGEST_OUTAGE_PAUSE: Duration = Duration::from_secs(30);

/// How long the tasks of a render that was refused for its capture class are left to nodes of other classes. The
/// coordinator may have planned it again since, for the class of this node.
const REFUSED_FOR: Duration = Duration::from_secs(30);

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
    /// Renders whose tasks have failed here since the last success.
    failed_renders: BTreeSet<RenderId>,
    /// Renders that are of another capture class, and when that was found.
    refused_renders: BTreeMap<RenderId, Instant>,
    /// Renders that count as failed beside those: all but one, after a quarantine.
    probation: u32,
    /// Whether it takes no tasks because a server does not answer.
    is_waiting: bool,
    /// Times that a server did not answer since the last success.
    outages: u32,
    /// When recent tasks failed.
    failures: VecDeque<Instant>,
    /// Captured frames so far, by time.
    frame_counts: VecDeque<(Instant, u64)>,
    /// Bytes of memory, and when they were measured.
    memory: Option<(Instant, u64)>,
}

impl NodeStatus {
    /// Renders in a row whose tasks have failed here.
    fn failed_count(&self) -> u32 {
        self.probation + self.failed_renders.len() as u32
    }
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
    pub(super) fn task_started(&self, slot: u32, lease: &Lease, objects: Objects) -> TaskContext {
        let frames = matches!(lease.task.step, hyperfarm_proto::task::Step::Chunk(_)).then(|| self.frames.clone());
        let context = TaskContext { frames, ..TaskContext::new(slot, objects) };
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
        let mut inner = self.inner.lock();
        inner.failed_renders.clear();
        (inner.probation, inner.outages) = (0, 0);
    }

    /// Notes that a task of `render` failed. Returns whether the node should be quarantined for it, if others can do
    /// its work.
    pub(super) fn failed(&self, render: &RenderId, failure: &Failure) -> bool {
        let code = failure.code;
        if code == FailureCode::VersionMismatch {
            let mut inner = self.inner.lock();
            inner.refused_renders.retain(|_, since| since.elapsed() < REFUSED_FOR);
            inner.refused_renders.insert(render.clone(), Instant::now());
        }
        let is_nodes = code.owner() == Owner::System && code.retry() == RetryRule::Elsewhere;
        if !is_nodes && !code.is_outage() {
            return false;
        }
        let mut inner = self.inner.lock();
        inner.failures.push_back(Instant::now());
        if !is_nodes {
            return false;
        }
        inner.failed_renders.insert(render.clone());
        let after = self.config.quarantine_after;
        after > 0 && inner.failed_count() >= after && self.is_open()
    }

    /// Whether `render` was refused a short time ago because of its capture class.
    pub(super) fn has_refused(&self, render: &RenderId) -> bool {
        self.inner.lock().refused_renders.get(render).is_some_and(|since| since.elapsed() < REFUSED_FOR)
    }

    /// Whether `nodes` holds another node of this role and pool that takes tasks and is of another capture class.
    pub(super) fn has_peers_of_another_class(&self, nodes: &[NodeView]) -> bool {
        nodes.iter().any(|node| self.is_peer(node) && node.class_id != self.view.class_id)
    }

    /// Whether `nodes` holds another node of this role and pool that takes tasks, other than those that the slots
    /// `except` belong to.
    pub(super) fn has_peers(&self, nodes: &[NodeView], except: &[String]) -> bool {
        let is_excepted = |node: &NodeView| except.iter().any(|worker| node_of_slot(worker) == node.id.as_str());
        nodes.iter().any(|node| self.is_peer(node) && !is_excepted(node))
    }

    fn is_peer(&self, node: &NodeView) -> bool {
        let ours = &self.view;
        node.id != ours.id && node.role == ours.role && node.pool == ours.pool && node.slots > 0
    }

    /// Takes no more tasks because a server did not answer, as `failure` says. Returns whether it has to be asked from
    /// now on, until [`Node::servers_answer`].
    pub(super) fn wait_for_servers(&self, failure: &Failure) -> bool {
        let mut inner = self.inner.lock();
        if inner.is_waiting || !self.is_open() {
            return false;
        }
        inner.is_waiting = true;
        inner.reason = Some(format!("it waits for its servers, {}: {}", failure.code, failure.message));
        warn!(worker = %self.view.id, code = %failure.code, reason = %failure.message, "no tasks are taken until the servers answer");
        drop(inner);
        self.set_state(NodeState::Quarantined);
        true
    }

    /// How long to wait before the servers are asked, each time longer; `None` once the node no longer waits for them.
    pub(super) fn next_outage_pause(&self) -> Option<Duration> {
        let mut inner = self.inner.lock();
        inner.outages = inner.outages.saturating_add(1);
        let retry = RetryPolicy::new(self.config.pause, LONGEST_OUTAGE_PAUSE);
        inner.is_waiting.then(|| retry.delay_after(inner.outages))
    }

    /// Takes tasks again, where it waited for its servers.
    pub(super) fn servers_answer(&self) {
        let mut inner = self.inner.lock();
        if !std::mem::take(&mut inner.is_waiting) {
            return;
        }
        inner.reason = None;
        drop(inner);
        info!(worker = %self.view.id, "the servers answer, tasks are taken again");
        self.set_state(NodeState::Active);
    }

    /// Quarantines the node after failures, the last of which is `failure`.
    pub(super) fn quarantine(&self, failure: &Failure) {
        let mut inner = self.inner.lock();
        let reason = format!(
            "tasks of {} renders in a row failed here, the last one with {}: {}",
            inner.failed_count(),
            failure.code,
            failure.message
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
        inner.failed_renders.clear();
        inner.probation = self.config.quarantine_after.saturating_sub(1);
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
        inner.is_waiting = false;
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
                (inner.reason, inner.until, inner.probation) = (None, None, 0);
                inner.failed_renders.clear();
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

    fn render(number: u32) -> RenderId {
        format!("r{number}").parse().unwrap()
    }

    #[test]
    fn failures_of_three_renders_in_a_row_that_may_be_its_own_quarantine_a_node() {
        let node = node();
        let fails = |number, code| node.failed(&render(number), &failure(code));
        assert_eq!([fails(1, FailureCode::ChromeCrashed), fails(2, FailureCode::ChromeLaunch)], [false, false]);
        node.succeeded();
        for code in [FailureCode::ChromeCrashed, FailureCode::ScriptError, FailureCode::Storage, FailureCode::Drained] {
            assert!(!fails(1, code), "{code}");
        }
        assert!(!fails(2, FailureCode::ChromeCrashed));
        assert!(fails(3, FailureCode::CaptureStalled));
        assert_eq!(node.view().failures_recent, 6, "those of users and of drains are not the farm's");
        node.quarantine(&failure(FailureCode::CaptureStalled));
        let view = node.view();
        assert_eq!((view.state, view.slots, view.all_slots()), (NodeState::Quarantined, 0, 2));
        assert!(view.reason.unwrap().contains("CAPTURE_STALLED"));
        node.end_quarantine_if_over();
        assert!(node.is_open() && node.failed(&render(1), &failure(FailureCode::Internal)), "on probation");
    }

    #[test]
    fn a_render_counts_once_against_a_node_and_a_users_failure_never() {
        let node = node();
        for _ in 0..20 {
            assert!(!node.failed(&render(1), &failure(FailureCode::ChromeCrashed)));
        }
        for number in 2..20 {
            assert!(!node.failed(&render(number), &failure(FailureCode::PageUnresponsive)));
            assert!(!node.failed(&render(number), &failure(FailureCode::PageCrashed)));
        }
        assert!(!node.failed(&render(2), &failure(FailureCode::ChromeCrashed)));
        assert!(node.failed(&render(3), &failure(FailureCode::ChromeCrashed)));
    }

    #[test]
    fn a_node_without_servers_waits_longer_each_time_and_a_success_ends_that() {
        let node = node();
        assert_eq!(node.next_outage_pause(), None, "nothing to wait for");
        let outage = failure(FailureCode::Storage);
        assert!(node.wait_for_servers(&outage));
        assert!(!node.wait_for_servers(&outage), "the other slots of the node find it waiting");
        let view = node.view();
        assert_eq!((view.state, view.slots), (NodeState::Quarantined, 0));
        assert!(view.reason.unwrap().contains("STORAGE"));
        let pauses: Vec<Duration> = (0..12).filter_map(|_| node.next_outage_pause()).collect();
        assert!(pauses[0] <= node.config.pause * 2 && pauses[11] > pauses[0], "{pauses:?}");
        assert!(pauses.iter().all(|pause| *pause <= LONGEST_OUTAGE_PAUSE));
        node.servers_answer();
        assert!(node.is_open());
        node.succeeded();
        assert!(node.wait_for_servers(&outage) && node.next_outage_pause().is_some_and(|pause| pause <= pauses[1]));
        node.apply(&NodeCommand::new(Order::Resume));
        assert!(node.is_open() && node.next_outage_pause().is_none(), "an operator's command ends the wait");
    }

    #[test]
    fn only_another_node_of_its_kind_can_stand_in() {
        let node = node();
        let other = |id: &str, role: &str, pool: &str, slots| NodeView::new(id.parse().unwrap(), role, pool, slots, "");
        let rest = [other("w1", "worker", "cpu", 9), other("w2", "worker", "gpu", 1), other("s", "stitcher", "cpu", 1)];
        assert!(!node.has_peers(&rest, &[]) && !node.has_peers(&[other("w3", "worker", "cpu", 0)], &[]));
        let peer = [other("w3", "worker", "cpu", 1)];
        assert!(node.has_peers(&peer, &[]) && node.has_peers(&peer, &["w1-s0".to_owned()]));
        assert!(!node.has_peers(&peer, &["w3-s12".to_owned()]), "it has failed the task as well");
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
