//! The ledger in process: it answers as Redis's does, for as long as the process lives. With a journal the next process
//! knows which tasks were lost with it.
//!
//! This is the state machine in its plainest form; `redis.lua` is the same one, and a property test holds the two
//! against each other.

use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_trait::async_trait;
use hyperfarm_proto::failure::{FailedAttempt, Failure};
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::{Step, TaskId};
use parking_lot::Mutex;
use tokio::time::Instant;

use super::history::Attempts;
use super::journal::Journal;
use super::{
    AttemptEnd, Claim, Commit, Held, Leader, Lease, Ledger, LedgerError, NodeCommand, NodeView, Quota, RenderView,
    Renewal, Reserved, RunningAttempt, TaskView, ViewSince, node_of_slot,
};

/// A clock that shows the time that it was set to last, for simulations. Clones share it.
#[derive(Debug, Clone)]
pub struct ManualClock {
    start: Instant,
    elapsed_us: Arc<AtomicU64>,
}

impl ManualClock {
    /// A clock that shows its start.
    pub fn new() -> Self {
        Self { start: Instant::now(), elapsed_us: Arc::default() }
    }

    /// Sets the time since its start.
    pub fn set(&self, elapsed: Duration) {
        self.elapsed_us.store(elapsed.as_micros() as u64, Ordering::Relaxed);
    }

    /// The time that this clock shows.
    pub fn instant(&self) -> std::time::Instant {
        self.now().at.into_std()
    }

    fn now(&self) -> Now {
        let elapsed = Duration::from_micros(self.elapsed_us.load(Ordering::Relaxed));
        Now { at: self.start + elapsed, unix_ms: elapsed.as_millis() as u64 }
    }
}

impl Default for ManualClock {
    fn default() -> Self {
        Self::new()
    }
}

/// The time of one operation.
#[derive(Debug, Clone, Copy)]
struct Now {
    at: Instant,
    unix_ms: u64,
}

/// A ledger in this process's memory.
#[derive(Default)]
pub struct MemoryLedger {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    renders: HashMap<RenderId, Render>,
    nodes: BTreeMap<WorkerId, Node>,
    journal: Option<Journal>,
    /// `None`: the machine's clock.
    clock: Option<ManualClock>,
    /// Writes to renders so far.
    writes: u64,
    /// The leader of the newest term, and when its lease ends.
    leader: Option<(Leader, Instant)>,
    /// Renders that have places, by quota.
    places: HashMap<String, BTreeSet<RenderId>>,
    /// Groups of quotas that were counted.
    counted: BTreeSet<String>,
}

struct Node {
    view: NodeView,
    /// When it stops counting as alive.
    until: Instant,
    command: Option<NodeCommand>,
}

impl State {
    fn now(&self) -> Now {
        match &self.clock {
            Some(clock) => clock.now(),
            None => Now { at: Instant::now(), unix_ms: unix_ms() },
        }
    }

    fn forget_dead_nodes(&mut self) {
        let now = self.now().at;
        self.nodes.retain(|_, node| node.until > now);
    }

    /// Gives the render a revision of its own, for a write to the render itself.
    fn revise(&mut self, render: &RenderId) {
        self.writes += 1;
        if let Some(render) = self.renders.get_mut(render) {
            render.revision = self.writes;
        }
    }

    /// The same, for a write to one of its tasks.
    fn revise_task(&mut self, task: &TaskId) {
        self.writes += 1;
        let Some(render) = self.renders.get_mut(&task.render) else { return };
        render.revision = self.writes;
        if let Some(before) = render.written.insert(task.step, self.writes) {
            render.writes.remove(&before);
        }
        render.writes.insert(self.writes, task.step);
    }

    /// Makes the render known, with the attempts at it that were lost with earlier processes.
    fn open(&mut self, id: &RenderId) -> &mut Render {
        let (journal, first) = (&mut self.journal, self.writes);
        self.renders.entry(id.clone()).or_insert_with(|| {
            let lost = journal.as_mut().map(|journal| journal.lost_of(id)).unwrap_or_default();
            let tasks = lost.into_iter().map(|(step, failures)| {
                let attempt = failures.iter().map(|failed| failed.attempt).max().unwrap_or(0);
                (step, Task { newest: Holder { attempt, ..Holder::default() }, failures, ..Task::default() })
            });
            Render { tasks: tasks.collect(), first, ..Render::default() }
        })
    }

    /// Notes in the journal that the lease of `task` has ended.
    fn lease_ended(&mut self, task: &TaskId) {
        if let Some(journal) = &mut self.journal {
            journal.ended(task);
        }
    }

    fn claim(&mut self, task: &TaskId, worker: &WorkerId, node: Option<&str>, ttl: Duration) -> Claim {
        self.revise_task(task);
        let now = self.now();
        let Some(render) = self.renders.get_mut(&task.render) else { return Claim::Unknown };
        if render.is_cancelled {
            return Claim::Cancelled;
        }
        let entry = render.tasks.entry(task.step).or_default();
        if entry.committed.is_some() {
            return Claim::Committed;
        }
        let running = match &entry.alive(now.at)[..] {
            [] => None,
            [only] if node.is_some() && entry.speculate_beside == Some(only.attempt) => Some((*only).clone()),
            _ => return Claim::Held,
        };
        let is_here = |slot: &str| node.is_some_and(|node| node_of_slot(slot) == node);
        if let Some(at_work) = running.as_ref().and_then(|running| running.worker.as_ref())
            && is_here(at_work.as_str())
        {
            return Claim::Elsewhere { workers: vec![at_work.to_string()] };
        }
        if entry.failures.iter().any(|failed| is_here(&failed.worker)) {
            return Claim::Elsewhere { workers: entry.failures.iter().map(|failed| failed.worker.clone()).collect() };
        }
        entry.older = running;
        entry.speculate_beside = None;
        let attempt = entry.newest.attempt + 1;
        let grant = Some(fastrand::u64(..));
        let until = Some(now.at + ttl);
        entry.newest = Holder { attempt, worker: Some(worker.clone()), grant, until, ..Holder::default() };
        entry.attempts.claimed(attempt, worker.clone(), now.unix_ms);
        let lease = Lease { task: task.clone(), attempt, worker: worker.clone(), grant };
        if let Some(journal) = &mut self.journal {
            journal.claimed(task, lease.attempt, worker);
        }
        Claim::Granted(lease)
    }

    /// Ends the lease of an attempt, which failed or was released. Returns whether it may still renew.
    fn end_attempt(&mut self, lease: &Lease, end: AttemptEnd, failure: Option<&Failure>) -> bool {
        let now = self.now();
        let Some(render) = self.renders.get_mut(&lease.task.render) else { return false };
        let entry = render.tasks.entry(lease.task.step);
        // Only a failure makes the task known.
        if failure.is_none() && matches!(entry, Entry::Vacant(_)) {
            return false;
        }
        let entry = entry.or_default();
        let holder = if failure.is_some() { entry.admit(lease, now, false) } else { entry.holder(lease) };
        let Some(holder) = holder else { return false };
        holder.until = None;
        entry.attempts.ended(lease.attempt, end, now.unix_ms);
        // An attempt is recorded once, however often it reports its failure.
        if let Some(failure) = failure
            && entry.failures.iter().all(|known| known.attempt != lease.attempt)
        {
            let worker = lease.worker.to_string();
            entry.failures.push(FailedAttempt { attempt: lease.attempt, worker, failure: failure.clone() });
        }
        if entry.alive(now.at).is_empty() {
            self.lease_ended(&lease.task);
        }
        true
    }
}

/// The oldest id that a render of the last `window` can have.
pub(super) fn oldest_within(window: Duration, now_ms: u64) -> RenderId {
    RenderId::from_parts(now_ms.saturating_sub(window.as_millis() as u64), 0)
}

pub(super) fn unix_ms() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_millis() as u64)
}

#[derive(Default)]
struct Render {
    is_cancelled: bool,
    is_paused: bool,
    /// The newest term that read it.
    term: u64,
    /// Number of the last write to it.
    revision: u64,
    /// Number of the last write to anything before it was opened.
    first: u64,
    /// The tasks by the number of the last write to each.
    writes: BTreeMap<u64, Step>,
    /// The same by task.
    written: HashMap<Step, u64>,
    tasks: BTreeMap<Step, Task>,
}

impl Render {
    /// The view of this render at `now`, with these of its tasks.
    fn view<'a>(&self, now: Now, tasks: impl Iterator<Item = (&'a Step, &'a Task)>) -> RenderView {
        RenderView {
            cancelled: self.is_cancelled,
            paused: self.is_paused,
            tasks: tasks.map(|(step, task)| (*step, task.view(now))).collect(),
        }
    }
}

#[derive(Default)]
struct Task {
    /// The newest attempt.
    newest: Holder,
    /// The attempt that ran when the newest one was claimed beside it.
    older: Option<Holder>,
    /// The attempt beside which one slot of another node may claim the task.
    speculate_beside: Option<u32>,
    committed: Option<Vec<u8>>,
    failures: Vec<FailedAttempt>,
    attempts: Attempts,
}

/// An attempt that may renew, fail and commit.
#[derive(Clone, Default)]
struct Holder {
    /// Its number; 0 before the first claim.
    attempt: u32,
    worker: Option<WorkerId>,
    /// Number of its claim, where it is known.
    grant: Option<u64>,
    /// End of the lease; `None` once it was ended by a result, a failure or a release.
    until: Option<Instant>,
    progress: TaskProgress,
}

impl Holder {
    fn is_of(&self, lease: &Lease) -> bool {
        let is_of_grant = self.grant.zip(lease.grant).is_none_or(|(own, of_lease)| own == of_lease);
        lease.attempt == self.attempt && self.worker.as_ref() == Some(&lease.worker) && is_of_grant
    }
}

impl Task {
    /// The holder of `lease`, if the attempt may still renew.
    fn holder(&mut self, lease: &Lease) -> Option<&mut Holder> {
        std::iter::once(&mut self.newest).chain(self.older.as_mut()).find(|holder| holder.is_of(lease))
    }

    /// The same. After the ledger was emptied a worker may come with an attempt it has never heard of: that one is the
    /// newest, and the fence rises to it, unless the lease of another attempt is alive, which ends only for a result. Of
    /// two workers with the same number, claimed before and after, the one in the ledger holds it.
    fn admit(&mut self, lease: &Lease, now: Now, has_result: bool) -> Option<&mut Holder> {
        if lease.attempt > self.newest.attempt && (has_result || self.alive(now.at).is_empty()) {
            let (worker, until) = (Some(lease.worker.clone()), Some(now.at));
            self.newest = Holder { attempt: lease.attempt, worker, grant: lease.grant, until, ..Holder::default() };
            self.older = None;
            self.attempts.claimed(lease.attempt, lease.worker.clone(), now.unix_ms);
        }
        self.holder(lease)
    }

    /// Ends every lease.
    fn end_leases(&mut self) {
        self.newest.until = None;
        if let Some(older) = &mut self.older {
            older.until = None;
        }
    }

    /// The attempts whose leases are alive, the newest first.
    fn alive(&self, now: Instant) -> Vec<&Holder> {
        let holders = std::iter::once(&self.newest).chain(&self.older);
        holders.filter(|holder| holder.until.is_some_and(|until| until > now)).collect()
    }

    fn view(&self, now: Now) -> TaskView {
        let alive = self.alive(now.at);
        let running = |holder: &&Holder| {
            let claimed = self.attempts.0.iter().rev().find(|claimed| claimed.attempt == holder.attempt);
            let age_ms = claimed.map_or(0, |claimed| now.unix_ms.saturating_sub(claimed.claimed_at_ms));
            let age = Duration::from_millis(age_ms);
            let left = holder.until? - now.at;
            Some(RunningAttempt { attempt: holder.attempt, worker: holder.worker.clone()?, age, left })
        };
        let lease = alive.first().and_then(|holder| Some((holder.worker.clone()?, holder.until? - now.at)));
        let beside =
            alive.iter().map(|holder| holder.progress).find(|progress| progress.done > self.newest.progress.done);
        TaskView {
            attempt: self.newest.attempt,
            lease,
            running: alive.iter().filter_map(running).collect(),
            progress: beside.unwrap_or(self.newest.progress),
            committed: self.committed.clone(),
            failures: self.failures.clone(),
            attempts: self.attempts.0.clone(),
        }
    }
}

impl MemoryLedger {
    /// An empty ledger.
    pub fn new() -> Self {
        Self::default()
    }

    /// An empty ledger that writes its claims into a journal at `path`, from which the next process knows which tasks
    /// were lost with this one.
    pub fn with_journal(path: &Path) -> Self {
        let ledger = Self::new();
        ledger.state.lock().journal = Some(Journal::new(path));
        ledger
    }

    /// An empty ledger whose time is that of `clock`.
    pub fn with_clock(clock: ManualClock) -> Self {
        let ledger = Self::new();
        ledger.state.lock().clock = Some(clock);
        ledger
    }

    /// Forgets everything, as a Redis that lost its data does. For tests.
    pub fn clear(&self) {
        let mut state = self.state.lock();
        let (journal, clock) = (state.journal.take(), state.clock.take());
        // No revision comes again.
        *state = State { journal, clock, writes: state.writes, ..State::default() };
    }
}

#[async_trait]
impl Ledger for MemoryLedger {
    async fn open(&self, render: &RenderId) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        if !state.renders.contains_key(render) {
            state.open(render);
            state.revise(render);
        }
        Ok(())
    }

    async fn claim(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        Ok(self.state.lock().claim(task, worker, None, ttl))
    }

    async fn claim_elsewhere(&self, task: &TaskId, worker: &WorkerId, ttl: Duration) -> Result<Claim, LedgerError> {
        Ok(self.state.lock().claim(task, worker, Some(node_of_slot(worker.as_str())), ttl))
    }

    async fn renew(&self, lease: &Lease, progress: TaskProgress, ttl: Duration) -> Result<Renewal, LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(&lease.task);
        let now = state.now();
        let Some(render) = state.renders.get_mut(&lease.task.render) else { return Ok(Renewal::Unknown) };
        if render.is_cancelled {
            return Ok(Renewal::Lost);
        }
        let entry = render.tasks.entry(lease.task.step).or_default();
        if entry.committed.is_some() {
            return Ok(Renewal::Lost);
        }
        let Some(holder) = entry.admit(lease, now, false).filter(|holder| holder.until.is_some()) else {
            return Ok(Renewal::Lost);
        };
        holder.until = Some(now.at + ttl);
        holder.progress = progress;
        Ok(Renewal::Renewed)
    }

    async fn is_held(&self, lease: &Lease) -> Result<Held, LedgerError> {
        let state = self.state.lock();
        let now = state.now().at;
        let Some(render) = state.renders.get(&lease.task.render) else { return Ok(Held::Unknown) };
        let alive = render.tasks.get(&lease.task.step).map(|task| task.alive(now)).unwrap_or_default();
        let is_held = !render.is_cancelled && alive.iter().any(|holder| holder.is_of(lease));
        Ok(if is_held { Held::Yes } else { Held::No })
    }

    async fn commit(&self, lease: &Lease, result: &[u8]) -> Result<Commit, LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(&lease.task);
        let now = state.now();
        let Some(render) = state.renders.get_mut(&lease.task.render) else { return Ok(Commit::Unknown) };
        if render.is_cancelled {
            return Ok(Commit::Stale);
        }
        let entry = render.tasks.entry(lease.task.step).or_default();
        if entry.committed.is_some() {
            return Ok(Commit::Duplicate);
        }
        // A result is as good from a claim of before.
        if entry.admit(&Lease { grant: None, ..lease.clone() }, now, true).is_none() {
            return Ok(Commit::Stale);
        }
        entry.committed = Some(result.to_vec());
        entry.end_leases();
        entry.attempts.ended(lease.attempt, AttemptEnd::Committed, now.unix_ms);
        state.lease_ended(&lease.task);
        Ok(Commit::Accepted)
    }

    async fn fail(&self, lease: &Lease, failure: &Failure) -> Result<Commit, LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(&lease.task);
        let Some(render) = state.renders.get_mut(&lease.task.render) else { return Ok(Commit::Unknown) };
        if render.is_cancelled {
            return Ok(Commit::Stale);
        }
        let entry = render.tasks.entry(lease.task.step).or_default();
        if entry.committed.is_some() {
            return Ok(Commit::Duplicate);
        }
        let is_accepted = state.end_attempt(lease, AttemptEnd::Failed, Some(failure));
        Ok(if is_accepted { Commit::Accepted } else { Commit::Stale })
    }

    async fn release(&self, lease: &Lease) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(&lease.task);
        state.end_attempt(lease, AttemptEnd::Released, None);
        Ok(())
    }

    async fn speculate(&self, task: &TaskId, attempt: u32) -> Result<bool, LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(task);
        let now = state.now();
        let render = state.renders.get_mut(&task.render).filter(|render| !render.is_cancelled);
        let Some(entry) = render.and_then(|render| render.tasks.get_mut(&task.step)) else { return Ok(false) };
        let is_alone = matches!(entry.alive(now.at)[..], [only] if only.attempt == attempt);
        if is_alone {
            entry.speculate_beside = Some(attempt);
        }
        Ok(is_alone)
    }

    async fn restore(&self, task: &TaskId, attempt: u32, result: &[u8]) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(task);
        let Some(render) = state.renders.get_mut(&task.render) else { return Ok(()) };
        let entry = render.tasks.entry(task.step).or_default();
        if entry.committed.is_some() {
            return Ok(());
        }
        if attempt > entry.newest.attempt {
            entry.newest = Holder { attempt, ..Holder::default() };
        }
        entry.end_leases();
        entry.committed = Some(result.to_vec());
        state.lease_ended(task);
        Ok(())
    }

    async fn reopen(&self, task: &TaskId) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.revise_task(task);
        let render = state.renders.get_mut(&task.render);
        let Some(entry) = render.and_then(|render| render.tasks.get_mut(&task.step)) else { return Ok(()) };
        if entry.committed.take().is_some() {
            entry.newest = Holder { attempt: entry.newest.attempt + 1, ..Holder::default() };
            (entry.older, entry.speculate_beside) = (None, None);
        }
        Ok(())
    }

    async fn view(&self, render: &RenderId) -> Result<Option<RenderView>, LedgerError> {
        let state = self.state.lock();
        let now = state.now();
        Ok(state.renders.get(render).map(|render| render.view(now, render.tasks.iter())))
    }

    async fn view_since(
        &self,
        render: &RenderId,
        term: Option<u64>,
        revision: Option<u64>,
    ) -> Result<ViewSince, LedgerError> {
        let mut state = self.state.lock();
        let now = state.now();
        let Some(render) = state.renders.get_mut(render) else { return Ok(ViewSince::Unknown) };
        if let Some(term) = term {
            if render.term > term {
                return Err(LedgerError::Superseded { term, newest: render.term });
            }
            render.term = term;
        }
        let found = Some(render.revision);
        if revision == found {
            return Ok(ViewSince::Unchanged);
        }
        let known = revision.filter(|known| *known > render.first && *known <= render.revision);
        let view = match known {
            None => render.view(now, render.tasks.iter()),
            Some(known) => {
                let written = render.writes.range((Bound::Excluded(known), Bound::Unbounded));
                render.view(now, written.filter_map(|(_, step)| render.tasks.get_key_value(step)))
            }
        };
        Ok(ViewSince::Changed { revision: found, is_whole: known.is_none(), view })
    }

    async fn set_paused(&self, render: &RenderId, paused: bool) -> Result<bool, LedgerError> {
        let mut state = self.state.lock();
        state.revise(render);
        let Some(render) = state.renders.get_mut(render) else { return Ok(false) };
        render.is_paused = paused;
        Ok(true)
    }

    async fn cancel(&self, render: &RenderId) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.open(render).is_cancelled = true;
        state.revise(render);
        Ok(())
    }

    async fn forget(&self, render: &RenderId) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        state.renders.remove(render);
        if let Some(journal) = &mut state.journal {
            journal.forgotten(render);
        }
        Ok(())
    }

    async fn heartbeat(&self, node: &NodeView, ttl: Duration) -> Result<Option<NodeCommand>, LedgerError> {
        let mut state = self.state.lock();
        let until = state.now().at + ttl;
        state.forget_dead_nodes();
        let command = state.nodes.get(&node.id).and_then(|known| known.command.clone());
        state.nodes.insert(node.id.clone(), Node { view: node.clone(), until, command: command.clone() });
        Ok(command)
    }

    async fn send_command(&self, node: &WorkerId, command: &NodeCommand) -> Result<bool, LedgerError> {
        let mut state = self.state.lock();
        state.forget_dead_nodes();
        let Some(known) = state.nodes.get_mut(node) else { return Ok(false) };
        known.command = Some(command.clone());
        Ok(true)
    }

    async fn nodes(&self) -> Result<Vec<NodeView>, LedgerError> {
        let mut state = self.state.lock();
        state.forget_dead_nodes();
        Ok(state.nodes.values().map(|node| node.view.clone()).collect())
    }

    async fn lead(&self, candidate: &str, seen_term: u64, ttl: Duration) -> Result<Leader, LedgerError> {
        let mut state = self.state.lock();
        let now = state.now().at;
        let term = match &state.leader {
            Some((leader, until)) if leader.id != candidate && *until > now => return Ok(leader.clone()),
            Some((leader, _)) if leader.id == candidate && leader.term >= seen_term => leader.term,
            other => other.as_ref().map_or(0, |(leader, _)| leader.term).max(seen_term) + 1,
        };
        let leader = Leader { id: candidate.to_owned(), term };
        state.leader = Some((leader.clone(), now + ttl));
        Ok(leader)
    }

    async fn resign(&self, id: &str) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        let now = state.now().at;
        if let Some((leader, until)) = &mut state.leader
            && leader.id == id
        {
            *until = now;
        }
        Ok(())
    }

    async fn reserve(&self, quota: &Quota, renders: &[RenderId]) -> Result<Reserved, LedgerError> {
        let mut state = self.state.lock();
        let now = state.now();
        if !state.counted.contains(&quota.group) {
            return Ok(Reserved::Uncounted);
        }
        let places = state.places.entry(quota.name.clone()).or_default();
        if let Some(window) = quota.window {
            *places = places.split_off(&oldest_within(window, now.unix_ms));
        }
        let more = renders.iter().filter(|render| !places.contains(render)).count();
        if places.len() + more > quota.limit as usize {
            return Ok(Reserved::Full { taken: places.len(), oldest: places.first().cloned() });
        }
        places.extend(renders.iter().cloned());
        Ok(Reserved::Granted)
    }

    async fn free(&self, quota: &str, renders: &[RenderId]) -> Result<(), LedgerError> {
        if let Some(places) = self.state.lock().places.get_mut(quota) {
            places.retain(|render| !renders.contains(render));
        }
        Ok(())
    }

    async fn fill(&self, group: &str, places: &[(String, Vec<RenderId>)]) -> Result<(), LedgerError> {
        let mut state = self.state.lock();
        for (quota, renders) in places {
            state.places.entry(quota.clone()).or_default().extend(renders.iter().cloned());
        }
        state.counted.insert(group.to_owned());
        Ok(())
    }

    async fn check(&self) -> Result<(), LedgerError> {
        Ok(())
    }
}
