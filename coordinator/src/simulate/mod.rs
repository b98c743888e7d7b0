//! Simulates a farm: the real scheduler and the real ledger in process, with synthetic workers, on a clock that no one
//! waits for.
//!
//! | module | what it holds |
//! | --- | --- |
//! | [`scenario`] | what is simulated, read from a TOML file |
//! | [`work`] | the renders and chunks of a scenario, drawn by its seed |
//! | [`farm`] | events, workers and the queue |
//! | [`control`] | the scheduling loop |
//! | [`ledger`] | the ledger, with a count of its operations |
//! | [`measures`] | what is measured while it runs |
//! | [`report`] | the result |
//!
//! Simulated are: claims, leases and their renewals, heartbeats, failures, stragglers, workers that join, leave and
//! crash, the window of the queue, fair shares, priorities and speculative attempts. Not simulated are: plans, sound,
//! stitches, storage, the time of a message or a call, and quarantine.
//!
//! ```
//! use hyperfarm_coordinator::simulate::{Scenario, simulate};
//!
//! # fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let scenario = Scenario::parse(
//!     "nodes = [{ count = 2, slots = 4 }]
//!      [[spaces]]
//!      renders = [{ count = 3, chunks = 16, chunk_seconds = 15 }]",
//! )?;
//! let report = simulate(&scenario)?;
//! assert_eq!(report.renders_completed, 3);
//! // 48 chunks of 15 s on eight slots, and what passes between a chunk and the next.
//! assert!((90.0..91.0).contains(&report.makespan_seconds), "{}", report.makespan_seconds);
//! # Ok(())
//! # }
//! ```

mod control;
mod farm;
mod ledger;
mod measures;
mod report;
mod scenario;
mod work;

use std::cmp::Reverse;
use std::collections::BTreeMap;

use hyperfarm_backplane::ledger::LedgerError;
use hyperfarm_proto::id::IdError;

use farm::Farm;
use measures::quantile;
pub use report::{AttemptCounts, LedgerOperations, Report, SchedulerCost, Wait};
pub use scenario::{NodeGroup, RenderGroup, Scenario, ScenarioError, SpaceGroup};
use work::Work;

/// Median chunks for which a space has to wait in all to count in Jain's index.
const JAIN_CHUNKS: f64 = 10.0;

/// Why a simulation failed. Both are errors of the simulation itself.
#[derive(Debug, thiserror::Error)]
pub enum SimulationError {
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// A made-up name is no name.
    #[error(transparent)]
    Name(#[from] IdError),
}

/// Simulates `scenario` until every render has ended, or its time is over.
///
/// # Errors
///
/// The simulation itself is at fault.
pub fn simulate(scenario: &Scenario) -> Result<Report, SimulationError> {
    let mut farm = Farm::new(scenario, Work::draw(scenario)?)?;
    farm.run()?;
    Ok(report(scenario, &farm))
}

fn report(scenario: &Scenario, farm: &Farm<'_>) -> Report {
    let work = &farm.work;
    let chunks = work.chunks();
    let a_chunk = |count: f64| count / chunks.max(1) as f64;
    let median = work.median_seconds();
    let (jain_index, jain_spaces) = farm.measures.jain(JAIN_CHUNKS * median);
    let makespan = farm.ended_us as f64 / 1e6;
    let bound = Some(work.lower_bound(scenario)).filter(|bound| bound.is_finite());
    Report {
        slots: farm.most_slots,
        spaces: work.spaces.len(),
        renders: work.renders.len(),
        renders_completed: farm.completed,
        renders_failed: farm.failed,
        chunks,
        chunk_median_seconds: median,
        utilisation: farm.measures.utilisation(),
        makespan_seconds: makespan,
        makespan_bound_seconds: bound,
        makespan_ratio: bound.map(|bound| makespan / bound),
        jain_index,
        jain_spaces,
        waits: waits(work),
        attempts: AttemptCounts {
            committed: farm.attempts.committed,
            failed: farm.attempts.failed,
            lost: farm.attempts.lost,
            speculative: farm.attempts.speculative,
            superseded: farm.attempts.superseded,
        },
        scheduler: SchedulerCost {
            passes: farm.control.passes,
            cpu_us_per_chunk: a_chunk(farm.control.cpu.as_secs_f64() * 1e6),
        },
        ledger_operations: LedgerOperations {
            of_workers_per_chunk: a_chunk(farm.ledger.of_workers.get() as f64),
            of_scheduler_per_chunk: a_chunk(farm.ledger.of_loop.get() as f64),
        },
    }
}

fn waits(work: &Work) -> Vec<Wait> {
    let mut by_priority: BTreeMap<Reverse<i32>, Vec<f64>> = BTreeMap::new();
    for render in &work.renders {
        if let Some(started_us) = render.started_us {
            let waited = (started_us - render.submitted_us) as f64 / 1e6;
            by_priority.entry(Reverse(render.priority)).or_default().push(waited);
        }
    }
    let of = |(Reverse(priority), mut waited): (Reverse<i32>, Vec<f64>)| {
        waited.sort_by(f64::total_cmp);
        Wait {
            priority,
            renders: waited.len(),
            p50_seconds: quantile(&waited, 0.5),
            p99_seconds: quantile(&waited, 0.99),
            max_seconds: quantile(&waited, 1.0),
        }
    };
    by_priority.into_iter().map(of).collect()
}

#[cfg(test)]
mod tests;
