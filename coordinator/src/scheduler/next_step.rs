//! What one render wants next.

use std::cmp::Reverse;
use std::time::Instant;

use hyperfarm_backplane::ledger::RenderView;
use hyperfarm_proto::failure::FailedAttempt;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;

use super::{DispatchLog, SchedulePolicy, TaskStatus, task_status};
use crate::progress::Stage;

/// All that is known about one render.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// What was asked.
    pub spec: &'a RenderSpec,
    /// The plan, once it is stored.
    pub plan: Option<&'a Plan>,
    /// What the ledger says.
    pub view: &'a RenderView,
    /// What was dispatched.
    pub book: &'a DispatchLog,
}

/// What has to happen to a render before, or instead of, any dispatch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum RenderAction {
    /// Nothing: dispatch what it wants.
    GoOn,
    /// The draft is there: shard it and store the plan.
    WritePlan,
    /// The output is there: store the terminal state.
    Finish,
    /// It cannot succeed.
    Fail {
        /// The step that failed.
        step: Step,
        /// Its attempts; the last one is the reason.
        history: Vec<FailedAttempt>,
    },
}

/// The answer of [`next_step`](fn@assess).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assessment {
    /// What to do first.
    pub action: RenderAction,
    /// Where it is.
    pub stage: Stage,
    /// Plan tasks in flight: none or one.
    pub plans_in_flight: u32,
    /// Chunk and audio tasks in flight.
    pub chunks_in_flight: u32,
    /// Tasks to dispatch, the most urgent first, within the render's own cap.
    pub wanted: Vec<Step>,
}

impl Assessment {
    fn new(action: RenderAction, stage: Stage) -> Self {
        Self { action, stage, plans_in_flight: 0, chunks_in_flight: 0, wanted: Vec::new() }
    }
}

/// What the render wants next.
pub fn next_step(facts: &Facts<'_>, now: Instant, policy: &SchedulePolicy) -> Assessment {
    let Some(plan) = facts.plan else { return before_the_plan(facts, now, policy) };
    let of = |step| task_status(facts.view.tasks.get(&step), facts.book.sent(step), now, policy);

    // An output that is committed settles everything else.
    if of(Step::Stitch) == TaskStatus::Done {
        return Assessment::new(RenderAction::Finish, Stage::Stitch);
    }
    let mut assessment = Assessment::new(RenderAction::GoOn, Stage::Capture);
    let (mut due, mut chunks_flying, mut complete) = (Vec::new(), 0, true);
    let audio = plan.has_audio().then_some(Step::Audio);
    for step in audio.into_iter().chain((0..plan.chunks.len() as u32).map(Step::Chunk)) {
        match of(step) {
            TaskStatus::Done => continue,
            TaskStatus::InFlight => {
                assessment.chunks_in_flight += 1;
                chunks_flying += u32::from(step != Step::Audio);
            }
            TaskStatus::Due => due.push(step),
            TaskStatus::Waiting => {}
            TaskStatus::Broken(history) => return broken(step, history, Stage::Capture),
        }
        complete = false;
    }
    if !complete {
        assessment.wanted = within_cap(facts, due, chunks_flying, plan);
        return assessment;
    }

    // The set of commits is complete: this, and no event, starts the stitch.
    assessment.stage = Stage::Stitch;
    match of(Step::Stitch) {
        TaskStatus::Due => assessment.wanted.push(Step::Stitch),
        TaskStatus::Broken(history) => return broken(Step::Stitch, history, Stage::Stitch),
        TaskStatus::Done | TaskStatus::InFlight | TaskStatus::Waiting => {}
    }
    assessment
}

fn before_the_plan(facts: &Facts<'_>, now: Instant, policy: &SchedulePolicy) -> Assessment {
    let view = facts.view.tasks.get(&Step::Plan);
    let started = view.is_some_and(|task| task.attempt > 0);
    let mut assessment = Assessment::new(RenderAction::GoOn, if started { Stage::Plan } else { Stage::Queued });
    match task_status(view, facts.book.sent(Step::Plan), now, policy) {
        TaskStatus::Done => assessment.action = RenderAction::WritePlan,
        TaskStatus::InFlight => assessment.plans_in_flight = 1,
        TaskStatus::Due => assessment.wanted.push(Step::Plan),
        TaskStatus::Waiting => {}
        TaskStatus::Broken(history) => return broken(Step::Plan, history, assessment.stage),
    }
    assessment
}

fn broken(step: Step, history: &[FailedAttempt], stage: Stage) -> Assessment {
    Assessment::new(RenderAction::Fail { step, history: history.to_vec() }, stage)
}

/// The due tasks in order, as many chunks as the render's cap leaves room for: the sound, because it is one long task; then what
/// was dispatched before, because somebody waits for it; then the longest chunks, which shortens the tail.
fn within_cap(facts: &Facts<'_>, mut due: Vec<Step>, chunks_flying: u32, plan: &Plan) -> Vec<Step> {
    due.sort_by_key(|&step| match step {
        Step::Chunk(chunk) => {
            let frames = plan.chunk(chunk).map_or(0, |range| range.count());
            (1, Reverse(facts.book.sent(step).is_some()), Reverse(frames), chunk)
        }
        _ => (0, Reverse(true), Reverse(0), 0),
    });
    if let Some(cap) = facts.spec.max_parallel_chunks {
        let audio = usize::from(due.first() == Some(&Step::Audio));
        due.truncate(audio + cap.saturating_sub(chunks_flying) as usize);
    }
    due
}

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::TaskView;
    use hyperfarm_proto::failure::{Failure, FailureCode};

    use super::*;
    use crate::testing;

    fn done() -> TaskView {
        TaskView { attempt: 1, committed: Some(Vec::new()), ..TaskView::default() }
    }

    fn leased() -> TaskView {
        let lease = Some(("w".parse().unwrap(), std::time::Duration::from_secs(9)));
        TaskView { attempt: 1, lease, ..TaskView::default() }
    }

    fn assess_with(plan: Option<&Plan>, spec: &RenderSpec, tasks: &[(Step, TaskView)]) -> Assessment {
        let view = RenderView { cancelled: false, tasks: tasks.iter().cloned().collect() };
        let facts = Facts { spec, plan, view: &view, book: &DispatchLog::default() };
        next_step(&facts, Instant::now(), &SchedulePolicy::default())
    }

    #[test]
    fn a_render_goes_from_plan_to_chunks_to_stitch_to_the_end() {
        let spec = RenderSpec::default();
        let plan = testing::plan(&[10, 12, 12], true);
        let queued = assess_with(None, &spec, &[]);
        assert_eq!((queued.stage, &queued.wanted[..]), (Stage::Queued, &[Step::Plan][..]));
        let planning = assess_with(None, &spec, &[(Step::Plan, leased())]);
        assert_eq!((planning.stage, planning.plans_in_flight), (Stage::Plan, 1));
        assert_eq!(assess_with(None, &spec, &[(Step::Plan, done())]).action, RenderAction::WritePlan);

        let fresh = assess_with(Some(&plan), &spec, &[(Step::Plan, done())]);
        assert_eq!(fresh.wanted, [Step::Audio, Step::Chunk(1), Step::Chunk(2), Step::Chunk(0)], "sound, then longest");

        let mut tasks = vec![(Step::Chunk(0), done()), (Step::Chunk(1), done()), (Step::Chunk(2), done())];
        assert_eq!(assess_with(Some(&plan), &spec, &tasks).wanted, [Step::Audio], "the stitch waits for the sound");
        tasks.push((Step::Audio, done()));
        let stitch = assess_with(Some(&plan), &spec, &tasks);
        assert_eq!((stitch.stage, &stitch.wanted[..]), (Stage::Stitch, &[Step::Stitch][..]));
        tasks.push((Step::Stitch, done()));
        assert_eq!(assess_with(Some(&plan), &spec, &tasks).action, RenderAction::Finish);
    }

    #[test]
    fn a_cap_counts_chunks_at_work_and_not_the_sound() {
        let spec = RenderSpec { max_parallel_chunks: Some(2), ..RenderSpec::default() };
        let plan = testing::plan(&[5, 5, 5, 5], true);
        assert_eq!(assess_with(Some(&plan), &spec, &[]).wanted, [Step::Audio, Step::Chunk(0), Step::Chunk(1)]);
        let busy = [(Step::Audio, leased()), (Step::Chunk(0), leased())];
        let assessment = assess_with(Some(&plan), &spec, &busy);
        assert_eq!((assessment.chunks_in_flight, &assessment.wanted[..]), (2, &[Step::Chunk(1)][..]));
    }

    #[test]
    fn a_broken_chunk_ends_the_render_with_its_history() {
        let plan = testing::plan(&[5, 5], false);
        let failure = Failure::new(FailureCode::ScriptError, "x is not defined");
        let history = vec![FailedAttempt { attempt: 1, worker: "w".to_owned(), failure }];
        let broken = TaskView { attempt: 1, failures: history.clone(), ..TaskView::default() };
        let assessment = assess_with(Some(&plan), &RenderSpec::default(), &[(Step::Chunk(1), broken)]);
        assert_eq!(assessment.action, RenderAction::Fail { step: Step::Chunk(1), history });
        assert!(assessment.wanted.is_empty());
    }

    #[test]
    fn a_committed_output_settles_everything_else() {
        let plan = testing::plan(&[5, 5], false);
        let tasks = [(Step::Stitch, done()), (Step::Chunk(0), leased())];
        assert_eq!(assess_with(Some(&plan), &RenderSpec::default(), &tasks).action, RenderAction::Finish);
    }
}
