//! Proves the seams of a render before it is stitched, and has chunks drawn again whose seam differs.
//!
//! **Invariants**
//! - *The plan says how a chunk starts*, in storage, before any chunk is drawn again. A segment that was made with another
//!   start does not count, wherever it is found; so the same facts lead to the same next step after an interruption.

use std::collections::BTreeMap;
use std::time::Instant;

use bytes::Bytes;
use hyperfarm_proto::id::RenderId;
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::Plan;
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::task::{Step, TaskId};
use hyperfarm_proto::wire;
use tracing::info;

use super::error::ReconcileError;
use super::state::Reconciler;
use crate::scheduler::longer_starts;

impl Reconciler {
    /// Compares the seams of a render whose chunks are all committed. Where some differ, it changes the starts of the
    /// chunks behind them in the plan and takes their results back.
    pub(super) async fn prove_seams(&mut self, render: &RenderId) -> Result<(), ReconcileError> {
        let Some(tracked) = self.renders.get(render) else { return Ok(()) };
        let Some(tasks) = self.schedule.tasks(render) else { return Ok(()) };
        let plan = tracked.plan.as_ref().filter(|plan| plan.chunks.len() > 1 && self.config.heals_seams);
        let Some(plan) = plan else {
            self.seams_are_proved(render);
            return Ok(());
        };
        let chunks = plan.chunks.len() as u32;
        let segments: Vec<SegmentRecord> = {
            let view = tasks.view().read();
            let result = |chunk| view.tasks.get(&Step::Chunk(chunk))?.committed.as_deref();
            (0..chunks).filter_map(result).map(serde_json::from_slice).collect::<Result<_, _>>()?
        };
        if segments.iter().all(|segment| segment.start == plan.start(segment.chunk))
            && longer_starts(plan, &segments).is_empty()
        {
            self.seams_are_proved(render);
            return Ok(());
        }
        let (ledger, objects) = (&self.backplane.ledger, &self.backplane.objects);
        // Another coordinator may have changed it.
        let mut plan: Plan = objects.get_wire(&keys::plan(render)).await?;
        let has_other_start = |segment: &&SegmentRecord| segment.start != plan.start(segment.chunk);
        let mut again: Vec<u32> = segments.iter().filter(has_other_start).map(|segment| segment.chunk).collect();
        if again.is_empty() {
            let starts: BTreeMap<_, _> = longer_starts(&plan, &segments);
            if starts.is_empty() {
                self.seams_are_proved(render);
                return Ok(());
            }
            for (chunk, start) in &starts {
                info!(
                    %render, chunk, first_frame = plan.chunk(*chunk).map(|range| range.start()),
                    visits_all = start.visits_all, draws_from = start.draws_from,
                    "a chunk is drawn again, because the picture at its seam is not that of the chunk before"
                );
            }
            self.backplane.metrics.chunks_redrawn(starts.len());
            again.extend(starts.keys());
            plan.starts.extend(starts);
            objects.put(&keys::plan(render), Bytes::from(wire::encode(&plan)?)).await?;
        }
        for chunk in again {
            ledger.reopen(&TaskId { render: render.clone(), step: Step::Chunk(chunk) }).await?;
        }
        self.set_plan(render, plan);
        self.read_again(render).await
    }

    fn seams_are_proved(&mut self, render: &RenderId) {
        self.schedule.change(render, Instant::now(), |tasks, _| tasks.seams_are_proved());
    }
}
