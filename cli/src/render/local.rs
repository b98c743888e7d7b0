//! Embedded: every role in this process, over a folder that is removed at the end.

use std::time::Duration;

use hyperfarm_backplane::Backplane;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::intake::Limits;
use hyperfarm_coordinator::{Coordinator, CoordinatorConfig, IntakeError, RenderProgress, Stage};
use hyperfarm_proto::archive::ArchiveLimits;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{PlanDraft, Warning};
use hyperfarm_proto::record::{Manifest, Outcome};
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_worker::PageFacts;
use tokio::sync::watch;

use super::expected_page;
use super::output::Output;
use super::progress::{Bar, Progress};
use super::project::Bundle;
use super::summary::Summary;
use super::timings::{self, Walls};
use super::trace::trace;
use crate::args::RenderArgs;
use crate::exit::CliError;
use crate::machine;
use crate::roles::{self, Node};
use crate::settings::Settings;
use crate::temporary::render_folder;

/// Renders on this machine.
pub(super) async fn run(
    args: &RenderArgs,
    spec: RenderSpec,
    facts: Option<&PageFacts>,
    project: &Bundle,
    output: Output,
    warnings: Vec<Warning>,
) -> Result<Summary, CliError> {
    let mut walls = Walls::start("set-up");
    let folder = render_folder()?;
    let backplane = Backplane::in_process(&folder.path().join("storage")).map_err(CliError::system)?;
    let drain = roles::drain("the browsers to end and the temporary files to be removed")?;
    let mut bar = Bar::new(args);
    let slots = args.slots.or(args.workers.and_then(|workers| workers.0)).unwrap_or_else(machine::default_slots);
    let roles_drain = Drain::new();
    let node = Node::embedded(&backplane, slots, expected_page(&spec, facts), folder.path(), &roles_drain).await?;
    let coordinator = Coordinator::start(backplane.clone(), coordinator_config()?, roles_drain.clone());

    let mut submitted = None;
    let rendering = async {
        let render = coordinator.submit_file(&project.path(), spec).await.map_err(refused)?;
        let render = &*submitted.insert(render);
        let mut progress = coordinator.watch(render).await.map_err(CliError::system)?;
        let outcome = follow(&mut progress, &node, &mut bar, &mut walls).await?;
        walls.enter("clean-up");
        finish(&backplane, render, outcome, args, &output).await
    };
    let result = tokio::select! {
        result = rendering => result,
        () = drain.started() => Err(CliError::interrupted()),
    };
    bar.finish(&result);
    let found = match (&result, &submitted) {
        (Err(_), Some(render)) => warnings_so_far(&backplane.objects, render).await,
        _ => Vec::new(),
    };
    // Whatever the outcome: browsers end, then the folder goes.
    roles_drain.start();
    let stopped = tokio::time::timeout(Duration::from_secs(30), async {
        node.join().await;
        coordinator.join().await;
    });
    if stopped.await.is_err() {
        tracing::warn!("the roles did not stop within 30 s");
    }
    drop(folder);
    let manifest = match result {
        Ok(manifest) => manifest,
        Err(error) => return Err(error.after([warnings, found].concat())),
    };
    walls.end();
    let total = walls.elapsed();
    let mut summary = Summary::new(output.target(), &manifest, &walls, total, warnings);
    if args.timings {
        summary.timings = Some(timings::stages(&manifest, &walls, total));
    }
    output.publish()?;
    if let Some(path) = &args.trace {
        let text = trace(&manifest, &walls, total.as_secs_f64() * 1000.0).to_string();
        std::fs::write(path, text).map_err(|error| CliError::usage(format!("--trace {}: {error}", path.display())))?;
    }
    Ok(summary)
}

/// What was found of a render that has not ended well: the warnings of its plan, or those before the plan failed.
async fn warnings_so_far(objects: &Objects, render: &RenderId) -> Vec<Warning> {
    match objects.get_wire::<PlanDraft>(&keys::draft(render)).await {
        Ok(draft) => draft.warnings,
        Err(_) => objects.get_json(&keys::found_warnings(render)).await.unwrap_or_default(),
    }
}

/// A person's own project on their own machine may have any size.
fn coordinator_config() -> Result<CoordinatorConfig, CliError> {
    let limits = Limits { bundle_bytes: u64::MAX, archive: ArchiveLimits::LOCAL, ..Limits::default() };
    Ok(CoordinatorConfig { limits, ..Settings::from_env()?.coordinator })
}

fn stage_name(stage: Stage) -> &'static str {
    match stage {
        Stage::Queued | Stage::Plan => "plan",
        Stage::Capture => "capture",
        Stage::Stitch => "stitch",
        Stage::Done => "done",
    }
}

async fn follow(
    progress: &mut watch::Receiver<RenderProgress>,
    node: &Node,
    bar: &mut Bar,
    walls: &mut Walls,
) -> Result<Outcome, CliError> {
    loop {
        let now = progress.borrow_and_update().clone();
        let stage = stage_name(now.stage);
        walls.enter(stage);
        if let Some(end) = now.end {
            return Ok(end.outcome.clone());
        }
        if now.stage == Stage::Stitch {
            // The browsers end while the output is joined.
            node.close_idle_browsers();
        }
        bar.show(&Progress {
            stage: stage.to_owned(),
            done: now.frames_done,
            total: now.frames_total,
            eta: now.eta,
            waiting: now.waiting.map(|waiting| waiting.to_string()),
        });
        progress.changed().await.map_err(|_| CliError::system("the coordinator ended before the render"))?;
    }
}

fn refused(error: IntakeError) -> CliError {
    match error {
        IntakeError::Project(_) => CliError::user(error.to_string()),
        IntakeError::Invalid { .. } => CliError::usage(error.to_string()),
        other => CliError::system(other.to_string()),
    }
}

async fn finish(
    backplane: &Backplane,
    render: &RenderId,
    outcome: Outcome,
    args: &RenderArgs,
    output: &Output,
) -> Result<Manifest, CliError> {
    let made = match outcome {
        Outcome::Completed { output, .. } => output,
        Outcome::Failed { failure, history } => {
            for attempt in history.iter().rev().skip(1) {
                tracing::error!(attempt = attempt.attempt, worker = attempt.worker, failure = %attempt.failure, "earlier attempt");
            }
            return Err(failure.into());
        }
    };
    backplane.objects.get_file(&made.key, output.partial()).await.map_err(CliError::system)?;
    for sidecar in &made.sidecars {
        let path = output.sidecar(&sidecar.name)?;
        backplane.objects.get_file(&sidecar.key, &path).await.map_err(CliError::system)?;
    }
    let manifest: Manifest = backplane.objects.get_json(&keys::manifest(render)).await.map_err(CliError::system)?;
    if let Some(path) = &args.manifest {
        let text = serde_json::to_vec_pretty(&manifest).map_err(CliError::system)?;
        std::fs::write(path, text)
            .map_err(|error| CliError::usage(format!("--manifest {}: {error}", path.display())))?;
    }
    Ok(manifest)
}
