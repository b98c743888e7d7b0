//! The scheduling loop of a simulated farm: what the reconciling loop does of scheduling, without storage, plans,
//! sound and stitches.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{LedgerError, RenderView, ViewSince};
use hyperfarm_proto::id::{Pool, RenderId, Space};
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::TaskId;
use rustix::time::{ClockId, clock_gettime};

use super::ledger::CountedLedger;
use crate::progress::Stage;
use crate::scheduler::{
    Demand, DispatchLog, Fleet, NextStep, PlanOutline, RenderAction, RenderFacts, SchedulePolicy, next_step, share,
    speculate,
};

/// A render that the loop brings to its end.
struct OpenRender {
    space: Space,
    priority: i32,
    created_at_ms: u64,
    outline: PlanOutline,
    view: RenderView,
    revision: Option<u64>,
    dispatch_log: DispatchLog,
    next: Option<NextStep>,
}

/// What a pass of the loop has decided.
#[derive(Debug, Default)]
pub(super) struct Decisions {
    /// Tasks to queue, in order.
    pub(super) dispatched: Vec<TaskId>,
    /// Renders that have ended, and whether all of their chunks are committed.
    pub(super) ended: Vec<(RenderId, bool)>,
    /// Number of tasks that are begun a second time.
    pub(super) speculated: u64,
}

/// The scheduling loop.
pub(super) struct Control {
    policy: SchedulePolicy,
    pool: Pool,
    spec: RenderSpec,
    fleet: Fleet,
    renders: BTreeMap<RenderId, OpenRender>,
    /// Renders that are due for a check.
    due: BTreeSet<RenderId>,
    dispatched: u64,
    served: BTreeMap<Space, u64>,
    /// Processor time of its passes.
    pub(super) cpu: Duration,
    /// Number of passes.
    pub(super) passes: u64,
}

impl Control {
    pub(super) fn new(weights: BTreeMap<Space, NonZeroU32>) -> Self {
        Self {
            policy: SchedulePolicy { space_weights: weights, ..SchedulePolicy::default() },
            pool: Pool::default(),
            spec: RenderSpec::default(),
            fleet: Fleet::default(),
            renders: BTreeMap::new(),
            due: BTreeSet::new(),
            dispatched: 0,
            served: BTreeMap::new(),
            cpu: Duration::ZERO,
            passes: 0,
        }
    }

    /// Takes in a render.
    pub(super) fn submit(&mut self, render: RenderId, space: Space, priority: i32, at_ms: u64, outline: PlanOutline) {
        self.due.insert(render.clone());
        let open = OpenRender {
            space,
            priority,
            created_at_ms: at_ms,
            outline,
            view: RenderView::default(),
            revision: None,
            dispatch_log: DispatchLog::default(),
            next: None,
        };
        self.renders.insert(render, open);
    }

    /// Asks for a check of a render.
    pub(super) fn changed(&mut self, render: &RenderId) {
        if self.renders.contains_key(render) {
            self.due.insert(render.clone());
        }
    }

    /// What is done on a timer: the nodes are counted, and every render is due for a check.
    pub(super) fn tick(&mut self, ledger: &CountedLedger) -> Result<(), LedgerError> {
        let started = thread_time();
        self.fleet = Fleet::from_nodes(&ledger.nodes()?);
        self.due = self.renders.keys().cloned().collect();
        self.cpu += thread_time().saturating_sub(started);
        Ok(())
    }

    /// Whether every render that was taken in has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.renders.is_empty()
    }

    /// Checks the renders that are due, and dispatches tasks.
    pub(super) fn pass(&mut self, ledger: &CountedLedger, now: Instant) -> Result<Decisions, LedgerError> {
        let started = thread_time();
        let mut decisions = Decisions::default();
        for render in std::mem::take(&mut self.due) {
            self.check(&render, ledger, now, &mut decisions)?;
        }
        self.dispatch(now, &mut decisions);
        self.speculate(ledger, now, &mut decisions)?;
        self.passes += 1;
        self.cpu += thread_time().saturating_sub(started);
        Ok(decisions)
    }

    fn check(
        &mut self,
        render: &RenderId,
        ledger: &CountedLedger,
        now: Instant,
        decisions: &mut Decisions,
    ) -> Result<(), LedgerError> {
        let Some(open) = self.renders.get_mut(render) else { return Ok(()) };
        let is_leased = open.view.tasks.values().any(|task| task.lease.is_some());
        match ledger.view_since(render, open.revision.filter(|_| !is_leased))? {
            ViewSince::Unknown => ledger.open(render)?,
            ViewSince::Unchanged => {}
            ViewSince::Changed { revision, view } => (open.revision, open.view) = (revision, view),
        }
        open.dispatch_log.take_decided(&open.view);
        open.decide(&self.spec, now, &self.policy);
        let Some(next) = &open.next else { return Ok(()) };
        // The output would be stitched now; that is not simulated.
        let is_complete = next.stage == Stage::Stitch;
        if is_complete || next.action != RenderAction::Dispatch {
            ledger.forget(render)?;
            self.renders.remove(render);
            decisions.ended.push((render.clone(), is_complete));
        }
        Ok(())
    }

    fn demands(&self) -> impl Iterator<Item = Demand<'_>> {
        self.renders.iter().filter_map(|(render, open)| {
            Some(Demand {
                render,
                space: &open.space,
                pool: &self.pool,
                priority: open.priority,
                created_at_ms: open.created_at_ms,
                last_served: self.served.get(&open.space).copied().unwrap_or(0),
                next: open.next.as_ref()?,
            })
        })
    }

    fn dispatch(&mut self, now: Instant, decisions: &mut Decisions) {
        let mut changed = BTreeSet::new();
        for (task, _) in share(self.demands(), &self.fleet, &self.policy) {
            let Some(open) = self.renders.get_mut(&task.render) else { continue };
            open.dispatch_log.record(task.step, open.view.tasks.get(&task.step), now);
            self.dispatched += 1;
            self.served.insert(open.space.clone(), self.dispatched);
            changed.insert(task.render.clone());
            decisions.dispatched.push(task);
        }
        for render in changed {
            if let Some(open) = self.renders.get_mut(&render) {
                open.decide(&self.spec, now, &self.policy);
            }
        }
    }

    fn speculate(
        &mut self,
        ledger: &CountedLedger,
        now: Instant,
        decisions: &mut Decisions,
    ) -> Result<(), LedgerError> {
        let begun = speculate(self.demands(), &self.fleet).into_iter();
        let begun: Vec<_> = begun.map(|(render, straggler)| (render.clone(), straggler.clone())).collect();
        for (render, straggler) in begun {
            let task = TaskId { render, step: straggler.step };
            if !ledger.speculate(&task, straggler.attempt)? {
                continue;
            }
            let Some(open) = self.renders.get_mut(&task.render) else { continue };
            open.dispatch_log.record_speculation(task.step, straggler.attempt, now);
            open.decide(&self.spec, now, &self.policy);
            decisions.speculated += 1;
            decisions.dispatched.push(task);
        }
        Ok(())
    }
}

impl OpenRender {
    fn decide(&mut self, spec: &RenderSpec, now: Instant, policy: &SchedulePolicy) {
        let (plan, view, dispatch_log) = (Some(&self.outline), &self.view, &self.dispatch_log);
        let facts = RenderFacts { spec, plan, view, dispatch_log, are_seams_proved: true };
        self.next = Some(next_step(&facts, now, policy));
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
