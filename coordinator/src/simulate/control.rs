//! The scheduling loop of a simulated farm: the coordinator's schedule, fed with what the ledger says, without storage,
//! plans, sound and stitches.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{LedgerError, ViewSince};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::task::TaskId;
use rustix::time::{ClockId, clock_gettime};

use super::ledger::CountedLedger;
use crate::progress::Stage;
use crate::scheduler::{
    Fleet, LedgerRead, PlanOutline, RenderAction, Schedule, SchedulePolicy, SharedView, Standing, Submitter,
};

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
    schedule: Schedule,
    /// Processor time of everything in here.
    pub(super) cpu: Duration,
    /// Number of passes.
    pub(super) passes: u64,
}

impl Control {
    pub(super) fn new(weights: BTreeMap<Space, NonZeroU32>) -> Self {
        let policy = SchedulePolicy { space_weights: weights, ..SchedulePolicy::default() };
        Self { schedule: Schedule::new(policy), cpu: Duration::ZERO, passes: 0 }
    }

    /// Takes in a render.
    pub(super) fn submit(
        &mut self,
        render: &RenderId,
        submitter: Submitter,
        priority: i32,
        outline: PlanOutline,
        now: Instant,
    ) {
        let started = thread_time();
        let standing = Standing { priority, ..Standing::default() };
        self.schedule.open(render, submitter, standing, SharedView::default(), now);
        self.schedule.change(render, now, |tasks, at| {
            tasks.set_plan(Some(outline), at);
            tasks.seams_are_proved();
        });
        self.cpu += thread_time().saturating_sub(started);
    }

    /// Asks for a check of a render.
    pub(super) fn changed(&mut self, render: &RenderId, now: Instant) {
        self.schedule.request_check(render, now);
    }

    /// What is done on a timer: the nodes are counted, and renders are due for a check.
    pub(super) fn tick(&mut self, ledger: &CountedLedger, now: Instant) -> Result<(), LedgerError> {
        let started = thread_time();
        self.schedule.set_fleet(Fleet::from_nodes(&ledger.nodes()?));
        self.schedule.tick(now);
        self.cpu += thread_time().saturating_sub(started);
        Ok(())
    }

    /// Whether every render that was taken in has ended.
    pub(super) fn is_idle(&self) -> bool {
        self.schedule.is_empty()
    }

    /// Checks the renders that are due, and dispatches tasks.
    pub(super) fn pass(&mut self, ledger: &CountedLedger, now: Instant) -> Result<Decisions, LedgerError> {
        let started = thread_time();
        let mut decisions = Decisions::default();
        for render in self.schedule.take_due(now) {
            self.check(&render, ledger, now, &mut decisions)?;
        }
        decisions.dispatched.extend(self.schedule.dispatch(now).into_iter().map(|dispatched| dispatched.task));
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
        let revision = self.schedule.tasks(render).and_then(|tasks| tasks.revision());
        let read = match ledger.view_since(render, revision)? {
            ViewSince::Unknown => {
                ledger.open(render)?;
                None
            }
            ViewSince::Unchanged => None,
            ViewSince::Changed { revision, is_whole, view } => Some(LedgerRead { revision, is_whole, view }),
        };
        self.schedule.change(render, now, |tasks, at| {
            if let Some(read) = read {
                tasks.take_over(read, at);
            }
            tasks.advance(at);
            tasks.take_decided();
        });
        let Some(tasks) = self.schedule.tasks(render) else { return Ok(()) };
        // The output would be stitched now; that is not simulated.
        let is_complete = tasks.stage() == Stage::Stitch;
        if is_complete || tasks.action() != RenderAction::Dispatch {
            ledger.forget(render)?;
            self.schedule.close(render);
            decisions.ended.push((render.clone(), is_complete));
        }
        Ok(())
    }

    fn speculate(
        &mut self,
        ledger: &CountedLedger,
        now: Instant,
        decisions: &mut Decisions,
    ) -> Result<(), LedgerError> {
        for (render, straggler) in self.schedule.speculate(now) {
            let task = TaskId { render, step: straggler.step };
            if !ledger.speculate(&task, straggler.attempt)? {
                continue;
            }
            self.schedule.change(&task.render, now, |tasks, at| tasks.speculated(task.step, straggler.attempt, at));
            decisions.speculated += 1;
            decisions.dispatched.push(task);
        }
        Ok(())
    }
}

/// Processor time of this thread.
fn thread_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or(0))
}
