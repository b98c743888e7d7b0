//! Which tasks the ledger in process has leased, in a file, so that the next process knows what the last one was at.
//!
//! A task that ends the process takes the ledger in it along, and would do so again at each start. So every claim and
//! every end of a lease is a line of the journal. What was claimed and has not ended when a process starts was lost
//! with the process before: it goes into the task's history as a lost worker, and the retry rule of that ends a render
//! that has taken down two processes. A process that ends in order has ended its leases before.
//!
//! A journal that cannot be written is a warning, and no error of the ledger's: what it guards against is rare.

use std::collections::{BTreeMap, HashMap};
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::{Path, PathBuf};

use hyperfarm_proto::failure::FailedAttempt;
use hyperfarm_proto::id::{RenderId, WorkerId};
use hyperfarm_proto::task::{Step, TaskId};
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use super::worker_lost;

/// Lines after which the file is written anew, with what is still of use.
const MAX_LINES: usize = 20_000;

/// Tasks whose lost attempts are kept.
const MAX_LOST: usize = 1000;

/// A line of the file.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "event")]
enum Line {
    /// A lease of the task was granted.
    Claimed { task: TaskId, attempt: u32, worker: WorkerId },
    /// The task's lease has ended.
    Ended { task: TaskId },
    /// The process before was lost with the task.
    Lost { task: TaskId, failed: FailedAttempt },
    /// The render was forgotten.
    Forgotten { render: RenderId },
}

/// The journal. See the [module](self).
pub(super) struct Journal {
    path: PathBuf,
    is_read: bool,
    /// Open from the first line that this process writes.
    file: Option<File>,
    lines: usize,
    claimed: BTreeMap<TaskId, (u32, WorkerId)>,
    lost: BTreeMap<TaskId, Vec<FailedAttempt>>,
}

impl Journal {
    /// The journal at `path`. It is read when something is asked of it or noted, and written at the first claim: a
    /// process that only looks at the farm leaves it alone.
    pub(super) fn new(path: &Path) -> Self {
        let (claimed, lost) = (BTreeMap::new(), BTreeMap::new());
        Self { path: path.to_owned(), is_read: false, file: None, lines: 0, claimed, lost }
    }

    fn read(&mut self) {
        if std::mem::replace(&mut self.is_read, true) {
            return;
        }
        let text = match std::fs::read_to_string(&self.path) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
            Err(error) => {
                return warn!(path = %self.path.display(), %error, "the ledger's journal cannot be read, it begins empty");
            }
        };
        for line in text.lines() {
            match serde_json::from_str(line) {
                Ok(line) => self.apply(line),
                // The last line of a process that was killed while it wrote.
                Err(error) => {
                    info!(path = %self.path.display(), %error, "a line of the ledger's journal cannot be read")
                }
            }
        }
        for (task, (attempt, worker)) in std::mem::take(&mut self.claimed) {
            let (step, chunk) = (task.step.kind(), task.step.chunk());
            warn!(render = %task.render, step, chunk, attempt, "the process before this one ended while it had the task");
            let earlier = self.lost.entry(task.clone()).or_default();
            let failure = worker_lost(task.step, worker.as_str(), attempt, earlier);
            earlier.push(FailedAttempt { attempt, worker: worker.to_string(), failure });
        }
        // The ids of renders grow with time, so the oldest go.
        while self.lost.len() > MAX_LOST {
            self.lost.pop_first();
        }
    }

    /// The attempts of `render` that were lost with the processes before, by step.
    pub(super) fn lost_of(&mut self, render: &RenderId) -> HashMap<Step, Vec<FailedAttempt>> {
        self.read();
        let of_render = self.lost.iter().filter(|(task, _)| &task.render == render);
        of_render.map(|(task, failed)| (task.step, failed.clone())).collect()
    }

    /// Notes that a lease was granted.
    pub(super) fn claimed(&mut self, task: &TaskId, attempt: u32, worker: &WorkerId) {
        self.add(Line::Claimed { task: task.clone(), attempt, worker: worker.clone() });
    }

    /// Notes that the task's lease has ended, if it had one.
    pub(super) fn ended(&mut self, task: &TaskId) {
        if self.claimed.contains_key(task) {
            self.add(Line::Ended { task: task.clone() });
        }
    }

    /// Notes that nothing of the render is of use any more, if anything was.
    pub(super) fn forgotten(&mut self, render: &RenderId) {
        let is_of_render = |task: &TaskId| &task.render == render;
        if self.claimed.keys().any(is_of_render) || self.lost.keys().any(is_of_render) {
            self.add(Line::Forgotten { render: render.clone() });
        }
    }

    fn apply(&mut self, line: Line) {
        match line {
            Line::Claimed { task, attempt, worker } => drop(self.claimed.insert(task, (attempt, worker))),
            Line::Ended { task } => drop(self.claimed.remove(&task)),
            Line::Lost { task, failed } => self.lost.entry(task).or_default().push(failed),
            Line::Forgotten { render } => {
                self.claimed.retain(|task, _| task.render != render);
                self.lost.retain(|task, _| task.render != render);
            }
        }
    }

    fn add(&mut self, line: Line) {
        self.read();
        let written = match &mut self.file {
            Some(file) if self.lines < MAX_LINES => write_line(file, &line),
            _ => self.write_anew().and_then(|mut file| {
                write_line(&mut file, &line)?;
                self.file = Some(file);
                Ok(())
            }),
        };
        self.lines += 1;
        if let Err(error) = written {
            warn!(path = %self.path.display(), %error, "the ledger's journal cannot be written");
        }
        self.apply(line);
    }

    /// Writes the file anew, with what is still of use.
    fn write_anew(&mut self) -> std::io::Result<File> {
        let beside = self.path.with_extension("new");
        let mut file = File::create(&beside)?;
        let lost = self.lost.iter().flat_map(|(task, failed)| failed.iter().map(move |failed| (task, failed)));
        let lost = lost.map(|(task, failed)| Line::Lost { task: task.clone(), failed: failed.clone() });
        let claimed = self.claimed.iter().map(|(task, (attempt, worker))| Line::Claimed {
            task: task.clone(),
            attempt: *attempt,
            worker: worker.clone(),
        });
        self.lines = 0;
        for line in lost.chain(claimed) {
            write_line(&mut file, &line)?;
            self.lines += 1;
        }
        std::fs::rename(&beside, &self.path)?;
        OpenOptions::new().append(true).open(&self.path)
    }
}

fn write_line(file: &mut File, line: &Line) -> std::io::Result<()> {
    let mut text = serde_json::to_vec(line)?;
    text.push(b'\n');
    file.write_all(&text)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use hyperfarm_proto::failure::{Failure, FailureCode, may_retry};

    use super::*;
    use crate::ledger::{Claim, Lease, Ledger, MemoryLedger, TaskView};

    const LONG: Duration = Duration::from_secs(60);

    fn task(render: &str, step: Step) -> TaskId {
        TaskId { render: render.parse().unwrap(), step }
    }

    async fn claimed(ledger: &MemoryLedger, task: &TaskId, worker: &str) -> Lease {
        ledger.open(&task.render).await.unwrap();
        match ledger.claim(task, &worker.parse().unwrap(), LONG).await.unwrap() {
            Claim::Granted(lease) => lease,
            other => panic!("{other:?}"),
        }
    }

    async fn view(ledger: &MemoryLedger, task: &TaskId) -> TaskView {
        ledger.open(&task.render).await.unwrap();
        let view = ledger.view(&task.render).await.unwrap().unwrap();
        view.tasks.get(&task.step).cloned().unwrap_or_default()
    }

    #[tokio::test]
    async fn a_task_that_takes_down_two_processes_is_not_tried_again() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let killer = task("r1", Step::Plan);
        for process in 1..=2 {
            let ledger = MemoryLedger::with_journal(&path);
            assert!(may_retry(&view(&ledger, &killer).await.failures));
            let lease = claimed(&ledger, &killer, &format!("w{process}-s0")).await;
            assert_eq!(lease.attempt, process, "the fence goes on");
        }
        let failures = view(&MemoryLedger::with_journal(&path), &killer).await.failures;
        assert!(!may_retry(&failures));
        let last = failures.last().unwrap();
        assert!(last.failure.message.contains("w1-s0 (attempt 1), w2-s0 (attempt 2)"), "{last:?}");
    }

    #[tokio::test]
    async fn what_has_ended_in_any_way_is_not_lost_with_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let tasks = [1, 2, 3, 4].map(|chunk| task("r1", Step::Chunk(chunk)));
        let ledger = MemoryLedger::with_journal(&path);
        let mut leases = Vec::new();
        for task in &tasks {
            leases.push(claimed(&ledger, task, "w1-s0").await);
        }
        ledger.commit(&leases[0], b"x").await.unwrap();
        ledger.fail(&leases[1], &Failure::new(FailureCode::ChromeCrashed, "x")).await.unwrap();
        ledger.release(&leases[2]).await.unwrap();
        let ledger = MemoryLedger::with_journal(&path);
        let mut lost = Vec::new();
        for task in &tasks {
            lost.push(view(&ledger, task).await.failures.len());
        }
        assert_eq!(lost, [0, 0, 0, 1]);
        claimed(&ledger, &task("r2", Step::Plan), "w2-s0").await;
        ledger.forget(&tasks[3].render).await.unwrap();
        let ledger = MemoryLedger::with_journal(&path);
        assert!(view(&ledger, &tasks[3]).await.failures.is_empty(), "it was forgotten");
    }

    #[tokio::test]
    async fn the_file_stays_small_and_a_torn_line_costs_itself_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("ledger.jsonl");
        let open = task("r1", Step::Plan);
        let ledger = MemoryLedger::with_journal(&path);
        assert!(!path.exists(), "nothing was claimed");
        claimed(&ledger, &open, "w1-s0").await;
        let other = task("r2", Step::Chunk(1));
        for _ in 0..MAX_LINES {
            let lease = claimed(&ledger, &other, "w1-s1").await;
            ledger.release(&lease).await.unwrap();
        }
        let text = std::fs::read_to_string(&path).unwrap();
        assert!(text.lines().count() <= MAX_LINES);
        std::fs::write(&path, format!("{text}{{\"event\":\"cla")).unwrap();
        let ledger = MemoryLedger::with_journal(&path);
        assert_eq!(view(&ledger, &open).await.failures.len(), 1);
        assert!(view(&ledger, &other).await.failures.is_empty());
    }
}
