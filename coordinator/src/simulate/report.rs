//! The result of a simulation.

use std::fmt;

use serde::Serialize;

/// What a simulation has measured. Times without another unit are seconds of simulated time.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Report {
    /// Most slots at a time.
    pub slots: u64,
    /// Number of spaces.
    pub spaces: usize,
    /// Number of renders.
    pub renders: usize,
    /// Renders whose chunks are all committed.
    pub renders_completed: u64,
    /// Renders that failed.
    pub renders_failed: u64,
    /// Number of chunks.
    pub chunks: usize,
    /// Median time of a chunk on a worker of speed 1.
    pub chunk_median_seconds: f64,
    /// Share of the slots' time, from 0 to 1, in which they were at a task while chunks waited.
    pub utilisation: Option<f64>,
    /// When the last render ended.
    pub makespan_seconds: f64,
    /// A time before which no scheduler can have ended all of them; none where all workers leave before.
    pub makespan_bound_seconds: Option<f64>,
    /// The makespan in multiples of its bound.
    pub makespan_ratio: Option<f64>,
    /// Jain's index, from 0 to 1, of what the spaces had of what they were entitled to by their weights while they
    /// waited.
    pub jain_index: Option<f64>,
    /// How many spaces count in it: those that waited for ten median chunks in all.
    pub jain_spaces: usize,
    /// Time from the submission of a render to the start of its first chunk, by priority, the highest first.
    pub waits: Vec<Wait>,
    /// The attempts at chunks.
    pub attempts: AttemptCounts,
    /// What the scheduling loop has cost.
    pub scheduler: SchedulerCost,
    /// Operations of the ledger for each chunk.
    pub ledger_operations: LedgerOperations,
}

/// How long renders of one priority waited for their first chunk to start.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Wait {
    /// The priority.
    pub priority: i32,
    /// Number of renders that started.
    pub renders: usize,
    /// Half of them waited no longer.
    pub p50_seconds: f64,
    /// 99 of 100 waited no longer.
    pub p99_seconds: f64,
    /// The longest wait.
    pub max_seconds: f64,
}

/// Number of attempts by how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct AttemptCounts {
    /// Their result counts.
    pub committed: u64,
    /// They failed.
    pub failed: u64,
    /// They ended with their worker.
    pub lost: u64,
    /// They were begun beside another one; they count among the others too.
    pub speculative: u64,
    /// Another one was quicker.
    pub superseded: u64,
}

/// What the scheduling loop has cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct SchedulerCost {
    /// Passes of the loop.
    pub passes: u64,
    /// Microseconds of processor time for each chunk, including its reads of the ledger in process.
    pub cpu_us_per_chunk: f64,
}

/// Operations of the ledger for each chunk.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LedgerOperations {
    /// Claims, renewals, commits, failures and heartbeats of workers.
    pub of_workers_per_chunk: f64,
    /// Reads and writes of the scheduling loop.
    pub of_scheduler_per_chunk: f64,
}

/// A share as text, in percent.
fn percent(share: Option<f64>) -> String {
    share.map_or_else(|| "-".to_owned(), |share| format!("{:.1} %", share * 100.0))
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
        let Self { slots, spaces, renders, chunks, .. } = self;
        writeln!(f, "{slots} slots, {spaces} spaces, {renders} renders, {chunks} chunks")?;
        writeln!(f, "renders completed         {}", self.renders_completed)?;
        writeln!(f, "renders failed            {}", self.renders_failed)?;
        writeln!(f, "median chunk              {:.1} s", self.chunk_median_seconds)?;
        writeln!(f, "utilisation               {} while chunks wait", percent(self.utilisation))?;
        writeln!(f, "makespan                  {:.1} s", self.makespan_seconds)?;
        if let Some(bound) = self.makespan_bound_seconds {
            let ratio = optional(self.makespan_ratio);
            writeln!(f, "makespan, lower bound     {bound:.1} s, of which the makespan is {ratio} times")?;
        }
        writeln!(f, "Jain's index              {} of {} spaces", optional(self.jain_index), self.jain_spaces)?;
        for wait in &self.waits {
            let Wait { priority, renders, p50_seconds, p99_seconds, max_seconds } = wait;
            writeln!(
                f,
                "wait, priority {priority:>4}       p50 {p50_seconds:.1} s, p99 {p99_seconds:.1} s, \
                 max {max_seconds:.1} s of {renders} renders"
            )?;
        }
        let AttemptCounts { committed, failed, lost, speculative, superseded } = self.attempts;
        writeln!(
            f,
            "attempts                  {committed} committed, {failed} failed, {lost} lost, {speculative} speculative, \
             {superseded} superseded"
        )?;
        let SchedulerCost { passes, cpu_us_per_chunk } = self.scheduler;
        writeln!(f, "scheduler                 {cpu_us_per_chunk:.1} us of processor time a chunk, {passes} passes")?;
        let LedgerOperations { of_workers_per_chunk: workers, of_scheduler_per_chunk: scheduler } =
            self.ledger_operations;
        write!(f, "ledger operations a chunk {workers:.1} of workers, {scheduler:.1} of the scheduler")
    }
}
