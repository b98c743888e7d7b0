//! The simulated farm: events in the order of their times, workers, and the queue between them and the loop.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::time::Duration;

use hyperfarm_backplane::ledger::{
    Claim, Commit, Lease, LedgerError, ManualClock, NodeState, NodeTask, NodeView, Renewal, node_of_slot, slot_id,
};
use hyperfarm_backplane::runner::RunnerConfig;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::id::{IdError, Pool, RenderId, WorkerId};
use hyperfarm_proto::task::{Step, TaskId};

use super::control::Control;
use super::ledger::CountedLedger;
use super::measures::{Change, Measures};
use super::scenario::Scenario;
use super::work::Work;
use crate::scheduler::{PlanOutline, Submitter};

/// How often a node sends a heartbeat, in microseconds.
const HEARTBEAT_US: u64 = 2_000_000;
/// How often a lease is renewed, in microseconds.
const RENEW_US: u64 = 1_000_000;
/// How often the loop checks every render, in microseconds.
const TICK_US: u64 = 1_000_000;
/// Time from one pass of the loop to the next, in microseconds: what comes in between is handled together.
const PASS_US: u64 = 5_000;
/// How long a slot waits after it left a task to another node, in microseconds.
const LEFT_US: u64 = 1_000_000;
/// Frames of a chunk. The scheduler does not know more of its cost.
const CHUNK_FRAMES: u64 = 450;

/// What happens at some time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The node of this index joins.
    Join(usize),
    /// It leaves.
    Leave(usize),
    /// It reports.
    Heartbeat(usize),
    /// The render of this index is submitted.
    Submit(usize),
    /// The attempt of this serial number ends, at the slot of this index.
    AttemptEnds(usize, u64),
    /// Its lease is renewed.
    Renew(usize, u64),
    /// The slot takes tasks again.
    Free(usize),
    /// The loop's timer.
    Tick,
    /// The loop wakes.
    Pass,
}

/// An attempt at a chunk.
#[derive(Debug)]
struct Attempt {
    lease: Lease,
    render: usize,
    chunk: usize,
    serial: u64,
    started_us: u64,
    /// Whether it fails at its end.
    fails: bool,
}

#[derive(Debug)]
struct Slot {
    id: WorkerId,
    node: usize,
    attempt: Option<Attempt>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Presence {
    /// It takes tasks.
    Active,
    /// It has not joined, or has left.
    Away,
    /// It finishes its tasks.
    Leaving,
}

#[derive(Debug)]
struct Node {
    view: NodeView,
    /// Index of its first slot.
    first_slot: usize,
    slots: u32,
    speed: f64,
    crashes: bool,
    presence: Presence,
}

/// Counts of attempts.
#[derive(Debug, Default)]
pub(super) struct Attempts {
    /// Attempts whose result counts.
    pub(super) committed: u64,
    /// Attempts that failed.
    pub(super) failed: u64,
    /// Attempts that ended with their worker.
    pub(super) lost: u64,
    /// Attempts that were begun beside another one.
    pub(super) speculative: u64,
    /// Attempts whose result did not count, because another one was quicker.
    pub(super) superseded: u64,
}

/// A farm that works.
pub(super) struct Farm<'a> {
    scenario: &'a Scenario,
    random: fastrand::Rng,
    /// Times of leases and heartbeats, as a worker's by default.
    times: RunnerConfig,
    pub(super) work: Work,
    by_id: HashMap<RenderId, usize>,
    clock: ManualClock,
    now_us: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    /// Number of the next event, by which those of one time are in order.
    next_event: u64,
    is_pass_due: bool,
    last_pass_us: u64,
    pub(super) ledger: CountedLedger,
    pub(super) control: Control,
    /// The tasks in the queue of the pool.
    queue: VecDeque<TaskId>,
    nodes: Vec<Node>,
    slots: Vec<Slot>,
    /// Slots that have no task, the one that has waited longest first.
    idle: VecDeque<usize>,
    next_serial: u64,
    submitted: usize,
    pub(super) measures: Measures,
    pub(super) attempts: Attempts,
    /// Most slots at a time.
    pub(super) most_slots: u64,
    pub(super) completed: u64,
    pub(super) failed: u64,
    /// When the last render ended.
    pub(super) ended_us: u64,
}

impl<'a> Farm<'a> {
    pub(super) fn new(scenario: &'a Scenario, work: Work) -> Result<Self, IdError> {
        let clock = ManualClock::new();
        let measures = Measures::new(work.spaces.iter().map(|space| space.weight.get()));
        let mut farm = Self {
            scenario,
            random: fastrand::Rng::with_seed(scenario.seed ^ 0x5157_0ff5),
            times: RunnerConfig::default(),
            by_id: work.renders.iter().enumerate().map(|(index, render)| (render.id.clone(), index)).collect(),
            ledger: CountedLedger::new(clock.clone()),
            control: Control::new(work.weights()),
            work,
            clock,
            now_us: 0,
            events: BinaryHeap::new(),
            next_event: 0,
            is_pass_due: false,
            last_pass_us: 0,
            queue: VecDeque::new(),
            nodes: Vec::new(),
            slots: Vec::new(),
            idle: VecDeque::new(),
            next_serial: 0,
            submitted: 0,
            measures,
            attempts: Attempts::default(),
            most_slots: 0,
            completed: 0,
            failed: 0,
            ended_us: 0,
        };
        for group in &scenario.nodes {
            for _ in 0..group.count {
                let number = farm.nodes.len();
                let id: WorkerId = format!("node-{number}").parse()?;
                let first_slot = farm.slots.len();
                farm.slots.extend((0..group.slots).map(|slot| Slot {
                    id: slot_id(&id, slot),
                    node: number,
                    attempt: None,
                }));
                farm.nodes.push(Node {
                    view: NodeView::new(id, "worker", "cpu", group.slots, ""),
                    first_slot,
                    slots: group.slots,
                    speed: group.speed,
                    crashes: group.crash,
                    presence: Presence::Away,
                });
                farm.at((group.joins_seconds * 1e6) as u64, Event::Join(number));
                if let Some(leaves) = group.leaves_seconds {
                    farm.at((leaves * 1e6) as u64, Event::Leave(number));
                }
            }
        }
        for render in 0..farm.work.renders.len() {
            farm.at(farm.work.renders[render].submitted_us, Event::Submit(render));
        }
        farm.at(0, Event::Tick);
        Ok(farm)
    }

    /// Works until every render has ended, or the time of the scenario is over.
    pub(super) fn run(&mut self) -> Result<(), LedgerError> {
        let limit_us = (self.scenario.limit_seconds * 1e6) as u64;
        while let Some(Reverse((at, _, event))) = self.events.pop() {
            if at > limit_us || self.submitted == self.work.renders.len() && self.control.is_idle() {
                break;
            }
            self.now_us = at;
            self.clock.set(Duration::from_micros(at));
            self.measures.advance(at);
            self.handle(event)?;
        }
        Ok(())
    }

    fn at(&mut self, at_us: u64, event: Event) {
        self.events.push(Reverse((at_us, self.next_event, event)));
        self.next_event += 1;
    }

    /// Wakes the loop.
    fn wake(&mut self) {
        if !self.is_pass_due {
            self.is_pass_due = true;
            self.at(self.now_us.max(self.last_pass_us + PASS_US), Event::Pass);
        }
    }

    fn handle(&mut self, event: Event) -> Result<(), LedgerError> {
        match event {
            Event::Join(node) => self.joins(node)?,
            Event::Leave(node) => self.leaves(node)?,
            Event::Heartbeat(node) => self.heartbeat(node)?,
            Event::Submit(render) => self.submit(render),
            Event::AttemptEnds(slot, serial) => self.attempt_ends(slot, serial)?,
            Event::Renew(slot, serial) => self.renew(slot, serial)?,
            Event::Free(slot) => self.free(slot)?,
            Event::Tick => {
                self.control.tick(&self.ledger, self.clock.instant())?;
                self.at(self.now_us + TICK_US, Event::Tick);
                self.wake();
            }
            Event::Pass => self.pass()?,
        }
        Ok(())
    }

    fn submit(&mut self, index: usize) {
        let render = &self.work.renders[index];
        let chunks = render.chunks.len();
        let outline =
            PlanOutline { chunk_frames: vec![CHUNK_FRAMES; chunks], has_audio: false, class_id: String::new() };
        let submitter = Submitter {
            space: self.work.spaces[render.space].name.clone(),
            pool: Pool::default(),
            created_at_ms: render.submitted_us / 1000,
            max_parallel_chunks: None,
        };
        self.control.submit(&render.id, submitter, render.priority, outline, self.clock.instant());
        self.measures.space_changed(render.space, Change { waiting: chunks as i64, ..Change::default() });
        self.submitted += 1;
        self.wake();
    }

    fn pass(&mut self) -> Result<(), LedgerError> {
        (self.is_pass_due, self.last_pass_us) = (false, self.now_us);
        let decisions = self.control.pass(&self.ledger, self.clock.instant())?;
        self.attempts.speculative += decisions.speculated;
        for (render, is_complete) in decisions.ended {
            self.ended_us = self.now_us;
            if is_complete {
                self.completed += 1;
            } else {
                self.failed += 1;
                self.abandon(&render);
            }
        }
        self.queue.extend(decisions.dispatched);
        self.take_tasks()
    }

    /// Stops what is done for a render that has failed.
    fn abandon(&mut self, render: &RenderId) {
        let Some(&index) = self.by_id.get(render) else { return };
        let render = &mut self.work.renders[index];
        let waits = |chunk: &&mut super::work::Chunk| chunk.running == 0 && !chunk.is_committed;
        let mut waiting = 0;
        render.chunks.iter_mut().filter(waits).for_each(|chunk| {
            chunk.is_committed = true;
            waiting += 1;
        });
        self.measures.space_changed(render.space, Change { waiting: -waiting, ..Change::default() });
    }

    fn joins(&mut self, index: usize) -> Result<(), LedgerError> {
        let node = &mut self.nodes[index];
        node.presence = Presence::Active;
        self.idle.extend(node.first_slot..node.first_slot + node.slots as usize);
        self.measures.slots_changed(i64::from(node.slots));
        self.most_slots = self.most_slots.max(self.measures.slots());
        self.heartbeat(index)?;
        self.take_tasks()
    }

    fn leaves(&mut self, index: usize) -> Result<(), LedgerError> {
        let node = &mut self.nodes[index];
        node.presence = if node.crashes { Presence::Away } else { Presence::Leaving };
        let (slots, crashes) = (node.first_slot..node.first_slot + node.slots as usize, node.crashes);
        self.measures.slots_changed(-i64::from(node.slots));
        self.idle.retain(|slot| !slots.contains(slot));
        if !crashes {
            return self.heartbeat(index);
        }
        for slot in slots {
            if let Some(attempt) = self.slots[slot].attempt.take() {
                self.attempts.lost += 1;
                self.stopped(attempt.render, attempt.chunk, false);
            }
        }
        Ok(())
    }

    fn heartbeat(&mut self, index: usize) -> Result<(), LedgerError> {
        let node = &self.nodes[index];
        let slots = &self.slots[node.first_slot..node.first_slot + node.slots as usize];
        let is_done = node.presence == Presence::Leaving && slots.iter().all(|slot| slot.attempt.is_none());
        if node.presence == Presence::Away || is_done {
            return Ok(());
        }
        let tasks = slots.iter().filter_map(|slot| {
            let attempt = slot.attempt.as_ref()?;
            let TaskId { render, step } = attempt.lease.task.clone();
            let since_ms = attempt.started_us / 1000;
            Some(NodeTask { render, step, attempt: attempt.lease.attempt, done: 0, total: 0, since_ms })
        });
        let (state, slots) = match node.presence {
            Presence::Active => (NodeState::Active, node.slots),
            Presence::Away | Presence::Leaving => (NodeState::Draining, 0),
        };
        let view = NodeView { tasks: tasks.collect(), state, slots, ..node.view.clone() };
        self.ledger.heartbeat(&view, self.times.node_ttl)?;
        self.at(self.now_us + HEARTBEAT_US, Event::Heartbeat(index));
        Ok(())
    }

    /// Gives tasks of the queue to idle slots.
    fn take_tasks(&mut self) -> Result<(), LedgerError> {
        for _ in 0..self.idle.len() {
            if self.queue.is_empty() {
                break;
            }
            if let Some(slot) = self.idle.pop_front() {
                self.take_task(slot)?;
            }
        }
        Ok(())
    }

    /// Gives the slot the first task of the queue that it can claim. Without one it is idle.
    fn take_task(&mut self, slot: usize) -> Result<(), LedgerError> {
        while let Some(task) = self.queue.pop_front() {
            let worker = &self.slots[slot].id;
            let mut claim = self.ledger.claim(&task, worker, true, self.times.lease_ttl)?;
            // Where every other node has failed it too, it is tried here.
            if let Claim::Elsewhere { workers } = &claim
                && !self.has_node_besides(slot, workers)
            {
                claim = self.ledger.claim(&task, worker, false, self.times.lease_ttl)?;
            }
            match claim {
                Claim::Granted(lease) => {
                    self.begin(slot, lease);
                    return Ok(());
                }
                Claim::Elsewhere { .. } => {
                    self.queue.push_back(task);
                    self.at(self.now_us + LEFT_US, Event::Free(slot));
                    return Ok(());
                }
                Claim::Held | Claim::Committed | Claim::Cancelled | Claim::Unknown => {}
            }
        }
        self.idle.push_back(slot);
        Ok(())
    }

    /// Whether a node takes tasks that is neither the slot's nor one of those of `workers`.
    fn has_node_besides(&self, slot: usize, workers: &[String]) -> bool {
        let own = self.slots[slot].node;
        let is_other = |(number, node): (usize, &Node)| {
            let has_slot = |worker: &String| node_of_slot(worker) == node.view.id.as_str();
            node.presence == Presence::Active && number != own && !workers.iter().any(has_slot)
        };
        self.nodes.iter().enumerate().any(is_other)
    }

    /// Lets the slot take tasks, if its node does.
    fn free(&mut self, slot: usize) -> Result<(), LedgerError> {
        if self.nodes[self.slots[slot].node].presence == Presence::Active && self.slots[slot].attempt.is_none() {
            self.take_task(slot)?;
        }
        Ok(())
    }

    fn begin(&mut self, slot: usize, lease: Lease) {
        let Step::Chunk(chunk) = lease.task.step else { return };
        let Some(&index) = self.by_id.get(&lease.task.render) else { return };
        let (chunk, serial) = (chunk as usize, self.next_serial);
        self.next_serial += 1;
        let render = &mut self.work.renders[index];
        render.started_us.get_or_insert(self.now_us);
        let work = &mut render.chunks[chunk];
        work.running += 1;
        let waited = i64::from(work.running == 1 && !work.is_committed);
        let mut seconds = work.seconds / self.nodes[self.slots[slot].node].speed;
        if self.random.f64() < self.scenario.straggler_rate {
            seconds *= self.scenario.straggler_factor;
        }
        let fails = self.random.f64() < self.scenario.failure_rate;
        if fails {
            seconds *= self.random.f64();
        }
        self.measures.space_changed(render.space, Change { running: 1, waiting: -waited });
        self.at(self.now_us + (seconds * 1e6) as u64, Event::AttemptEnds(slot, serial));
        self.at(self.now_us + RENEW_US, Event::Renew(slot, serial));
        let started_us = self.now_us;
        self.slots[slot].attempt = Some(Attempt { lease, render: index, chunk, serial, started_us, fails });
    }

    /// Notes that a slot is no longer at a chunk.
    fn stopped(&mut self, render: usize, chunk: usize, is_committed: bool) {
        let render = &mut self.work.renders[render];
        let work = &mut render.chunks[chunk];
        work.running -= 1;
        work.is_committed |= is_committed;
        let waits = i64::from(work.running == 0 && !work.is_committed);
        self.measures.space_changed(render.space, Change { running: -1, waiting: waits });
    }

    fn attempt_ends(&mut self, slot: usize, serial: u64) -> Result<(), LedgerError> {
        let is_this = |attempt: &mut Attempt| attempt.serial == serial;
        let Some(attempt) = self.slots[slot].attempt.take_if(is_this) else { return Ok(()) };
        let is_committed = if attempt.fails {
            self.attempts.failed += 1;
            self.ledger.fail(&attempt.lease, &Failure::new(FailureCode::ChromeCrashed, "a simulated failure"))?;
            false
        } else {
            let answer = self.ledger.commit(&attempt.lease)?;
            let counter = match answer {
                Commit::Accepted => &mut self.attempts.committed,
                Commit::Duplicate | Commit::Stale | Commit::Unknown => &mut self.attempts.superseded,
            };
            *counter += 1;
            true
        };
        self.stopped(attempt.render, attempt.chunk, is_committed);
        self.control.changed(&attempt.lease.task.render, self.clock.instant());
        self.wake();
        self.free(slot)
    }

    fn renew(&mut self, slot: usize, serial: u64) -> Result<(), LedgerError> {
        let is_this = |attempt: &mut Attempt| attempt.serial == serial;
        let Some(attempt) = self.slots[slot].attempt.take_if(is_this) else { return Ok(()) };
        let done = (self.now_us - attempt.started_us) / 100_000;
        if self.ledger.renew(&attempt.lease, done, self.times.lease_ttl)? == Renewal::Lost {
            self.attempts.superseded += 1;
            self.stopped(attempt.render, attempt.chunk, false);
            return self.free(slot);
        }
        self.slots[slot].attempt = Some(attempt);
        self.at(self.now_us + RENEW_US, Event::Renew(slot, serial));
        Ok(())
    }
}
