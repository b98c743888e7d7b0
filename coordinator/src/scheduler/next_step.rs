//! The next step of one render.

use std::cmp::Reverse;
use std::time::Instant;

use hyperfarm_backplane::ledger::{RenderView, TaskView};
use hyperfarm_proto::failure::{FailedAttempt, FailureCode};
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;

use super::outline::PlanOutline;
use super::policy::SchedulePolicy;
use super::speculation::{Stragglers, stragglers};
use super::task_status::{DispatchLog, TaskStatus, task_status};
use crate::progress::Stage;

/// What a decision about one render follows from.
#[derive(Debug, Clone, Copy)]
pub struct RenderFacts<'a> {
    /// What was asked.
    pub spec: &'a RenderSpec,
    /// The outline of the plan, once it is stored.
    pub plan: Option<&'a PlanOutline>,
    /// What the ledger says.
    pub view: &'a RenderView,
    /// What this coordinator has dispatched.
    pub dispatch_log: &'a DispatchLog,
    /// Whether the seams between its chunks were compared, and no chunk has to be drawn again.
    pub are_seams_proved: bool,
}

/// What has to be done about a render before, or instead of, dispatching its tasks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderAction {
    /// Nothing: its due tasks can be dispatched.
    Dispatch,
    /// The draft is committed: cut it into chunks and store the plan.
    WritePlan,
    /// All chunks are committed: compare the pictures at their seams, and draw chunks again whose start was another one
    /// than in a walk.
    ProveSeams,
    /// The output is committed: store the terminal state.
    Finish,
    /// A task has failed for good: end the render.
    Fail {
        /// The step of the task.
        step: Step,
        /// Its failed attempts. The last one is the render's failure.
        history: Vec<FailedAttempt>,
    },
}

/// What to do about a render next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NextStep {
    /// What has to be done first.
    pub action: RenderAction,
    /// The stage that the render is in.
    pub stage: Stage,
    /// Number of plan tasks in flight: 0 or 1.
    pub plans_in_flight: u32,
    /// Number of chunk and audio tasks in flight; one that is begun twice counts twice.
    pub chunks_in_flight: u32,
    /// Those tasks, due or in flight, that have lost a worker. They may be what ended it.
    pub suspects: Vec<Step>,
    /// Number of suspects in flight.
    pub suspects_in_flight: u32,
    /// The tasks to dispatch, all of one stage, the most urgent first, within the render's own cap on chunks.
    pub due: Vec<Step>,
    /// Running chunks that an idle node may begin as well.
    pub stragglers: Stragglers,
}

impl NextStep {
    pub(super) fn new(action: RenderAction, stage: Stage) -> Self {
        let (suspects, due, stragglers) = Default::default();
        Self {
            action,
            stage,
            plans_in_flight: 0,
            chunks_in_flight: 0,
            suspects,
            suspects_in_flight: 0,
            due,
            stragglers,
        }
    }

    /// Notes a task that is due or in flight, if it has lost a worker.
    fn note_suspect(&mut self, facts: &RenderFacts<'_>, step: Step, is_in_flight: bool) {
        let has_lost_one =
            |task: &TaskView| task.failures.iter().any(|failed| failed.failure.code == FailureCode::WorkerLost);
        if facts.view.tasks.get(&step).is_some_and(has_lost_one) {
            self.suspects.push(step);
            self.suspects_in_flight += u32::from(is_in_flight);
        }
    }
}

/// Decides the next step of a render.
pub fn next_step(facts: &RenderFacts<'_>, now: Instant, policy: &SchedulePolicy) -> NextStep {
    let Some(plan) = facts.plan else { return before_plan(facts, now, policy) };
    let status = |step| task_status(facts.view.tasks.get(&step), facts.dispatch_log.last(step), now, policy);

    // Once the output is committed no other task matters.
    if status(Step::Stitch) == TaskStatus::Done {
        return NextStep::new(RenderAction::Finish, Stage::Stitch);
    }
    let mut next = NextStep::new(RenderAction::Dispatch, Stage::Capture);
    let (mut due, mut chunks_in_flight, mut is_complete) = (Vec::new(), 0, true);
    let audio = plan.has_audio.then_some(Step::Audio);
    for step in audio.into_iter().chain((0..plan.chunk_frames.len() as u32).map(Step::Chunk)) {
        match status(step) {
            TaskStatus::Done => continue,
            TaskStatus::InFlight => {
                let running = facts.view.tasks.get(&step).map_or(0, |task| task.running.len());
                let is_speculated = running == 1 && facts.dispatch_log.is_speculated(step, now, policy);
                let count = 1 + u32::from(running > 1 || is_speculated);
                next.chunks_in_flight += count;
                chunks_in_flight += if step == Step::Audio { 0 } else { count };
                next.note_suspect(facts, step, true);
            }
            TaskStatus::Due => {
                next.note_suspect(facts, step, false);
                due.push(step);
            }
            TaskStatus::Waiting => {}
            TaskStatus::Failed(history) => return failed(step, history, Stage::Capture),
        }
        is_complete = false;
    }
    if !is_complete {
        next.due = within_cap(facts, due, chunks_in_flight, plan);
        next.stragglers = stragglers(plan, facts.view, policy);
        next.stragglers.now.retain(|straggler| !facts.dispatch_log.is_speculated(straggler.step, now, policy));
        if let Some(cap) = facts.spec.max_parallel_chunks {
            next.stragglers.now.truncate(cap.get().saturating_sub(chunks_in_flight) as usize);
        }
        return next;
    }

    // All chunks and the sound are committed. This condition, and no event, starts the stitch.
    next.stage = Stage::Stitch;
    match status(Step::Stitch) {
        TaskStatus::Due if !facts.are_seams_proved => next.action = RenderAction::ProveSeams,
        TaskStatus::Due => next.due.push(Step::Stitch),
        TaskStatus::Failed(history) => return failed(Step::Stitch, history, Stage::Stitch),
        TaskStatus::Done | TaskStatus::InFlight | TaskStatus::Waiting => {}
    }
    next
}

fn before_plan(facts: &RenderFacts<'_>, now: Instant, policy: &SchedulePolicy) -> NextStep {
    let view = facts.view.tasks.get(&Step::Plan);
    let started = view.is_some_and(|task| task.attempt > 0);
    let mut next = NextStep::new(RenderAction::Dispatch, if started { Stage::Plan } else { Stage::Queued });
    match task_status(view, facts.dispatch_log.last(Step::Plan), now, policy) {
        TaskStatus::Done => next.action = RenderAction::WritePlan,
        TaskStatus::InFlight => {
            next.plans_in_flight = 1;
            next.note_suspect(facts, Step::Plan, true);
        }
        TaskStatus::Due => {
            next.note_suspect(facts, Step::Plan, false);
            next.due.push(Step::Plan);
        }
        TaskStatus::Waiting => {}
        TaskStatus::Failed(history) => return failed(Step::Plan, history, next.stage),
    }
    next
}

fn failed(step: Step, history: &[FailedAttempt], stage: Stage) -> NextStep {
    NextStep::new(RenderAction::Fail { step, history: history.to_vec() }, stage)
}

/// The due tasks in order, with as many chunks as the render's cap leaves room for. The sound comes first, because it is one long task;
/// then what was dispatched before, because it has waited longest; then the longest chunks, so that no long one is left for the end.
fn within_cap(facts: &RenderFacts<'_>, mut due: Vec<Step>, chunks_in_flight: u32, plan: &PlanOutline) -> Vec<Step> {
    due.sort_by_key(|&step| match step {
        Step::Chunk(chunk) => {
            let frames = plan.frames_of(chunk);
            (1, Reverse(facts.dispatch_log.last(step).is_some()), Reverse(frames), chunk)
        }
        _ => (0, Reverse(true), Reverse(0), 0),
    });
    if let Some(cap) = facts.spec.max_parallel_chunks {
        let audio = usize::from(due.first() == Some(&Step::Audio));
        due.truncate(audio + cap.get().saturating_sub(chunks_in_flight) as usize);
    }
    due
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::Failure;
    use hyperfarm_proto::plan::Plan;

    use super::*;
    use crate::testing;

    fn done() -> TaskView {
        TaskView { attempt: 1, committed: Some(Vec::new()), ..TaskView::default() }
    }

    fn leased() -> TaskView {
        let lease = Some(("w".parse().unwrap(), std::time::Duration::from_secs(9)));
        TaskView { attempt: 1, lease, ..TaskView::default() }
    }

    fn decide(plan: Option<&Plan>, spec: &RenderSpec, tasks: &[(Step, TaskView)]) -> NextStep {
        let view = RenderView { tasks: tasks.iter().cloned().collect(), ..RenderView::default() };
        let outline = plan.map(PlanOutline::from);
        let facts = RenderFacts {
            spec,
            plan: outline.as_ref(),
            view: &view,
            dispatch_log: &DispatchLog::default(),
            are_seams_proved: true,
        };
        next_step(&facts, Instant::now(), &SchedulePolicy::default())
    }

    #[test]
    fn a_render_goes_from_plan_to_chunks_to_stitch_to_the_end() {
        let spec = RenderSpec::default();
        let plan = testing::plan(&[10, 12, 12], true);
        let queued = decide(None, &spec, &[]);
        assert_eq!((queued.stage, &queued.due[..]), (Stage::Queued, &[Step::Plan][..]));
        let planning = decide(None, &spec, &[(Step::Plan, leased())]);
        assert_eq!((planning.stage, planning.plans_in_flight), (Stage::Plan, 1));
        assert_eq!(decide(None, &spec, &[(Step::Plan, done())]).action, RenderAction::WritePlan);

        let fresh = decide(Some(&plan), &spec, &[(Step::Plan, done())]);
        assert_eq!(fresh.due, [Step::Audio, Step::Chunk(1), Step::Chunk(2), Step::Chunk(0)], "sound, then longest");

        let mut tasks = vec![(Step::Chunk(0), done()), (Step::Chunk(1), done()), (Step::Chunk(2), done())];
        assert_eq!(decide(Some(&plan), &spec, &tasks).due, [Step::Audio], "the stitch waits for the sound");
        tasks.push((Step::Audio, done()));
        let stitch = decide(Some(&plan), &spec, &tasks);
        assert_eq!((stitch.stage, &stitch.due[..]), (Stage::Stitch, &[Step::Stitch][..]));
        tasks.push((Step::Stitch, done()));
        assert_eq!(decide(Some(&plan), &spec, &tasks).action, RenderAction::Finish);
    }

    #[test]
    fn a_cap_counts_chunks_at_work_and_not_the_sound() {
        let spec =
            RenderSpec { max_parallel_chunks: hyperfarm_proto::bounded::Bounded::new(2), ..RenderSpec::default() };
        let plan = testing::plan(&[5, 5, 5, 5], true);
        assert_eq!(decide(Some(&plan), &spec, &[]).due, [Step::Audio, Step::Chunk(0), Step::Chunk(1)]);
        let busy = [(Step::Audio, leased()), (Step::Chunk(0), leased())];
        let next = decide(Some(&plan), &spec, &busy);
        assert_eq!((next.chunks_in_flight, &next.due[..]), (2, &[Step::Chunk(1)][..]));
    }

    #[test]
    fn a_failed_chunk_ends_the_render_with_its_history() {
        let plan = testing::plan(&[5, 5], false);
        let failure = Failure::new(FailureCode::ScriptError, "x is not defined");
        let history = vec![FailedAttempt { attempt: 1, worker: "w".to_owned(), failure }];
        let failed_task = TaskView { attempt: 1, failures: history.clone(), ..TaskView::default() };
        let next = decide(Some(&plan), &RenderSpec::default(), &[(Step::Chunk(1), failed_task)]);
        assert_eq!(next.action, RenderAction::Fail { step: Step::Chunk(1), history });
        assert!(next.due.is_empty());
    }

    #[test]
    fn a_committed_output_settles_everything_else() {
        let plan = testing::plan(&[5, 5], false);
        let tasks = [(Step::Stitch, done()), (Step::Chunk(0), leased())];
        assert_eq!(decide(Some(&plan), &RenderSpec::default(), &tasks).action, RenderAction::Finish);
    }
}
