//! The failure of a task whose worker was lost.

use hyperfarm_proto::failure::{FailedAttempt, Failure, FailureCode};
use hyperfarm_proto::task::Step;

/// The failure of attempt `attempt` of the slot `worker`, whose process ended, or was cut off, while it had the task.
/// `earlier` is the task's history so far: the failure of the last of several names all the workers that were lost.
pub fn worker_lost(step: Step, worker: &str, attempt: u32, earlier: &[FailedAttempt]) -> Failure {
    let lost = earlier.iter().filter(|failed| failed.failure.code == FailureCode::WorkerLost);
    let mut workers: Vec<String> = lost.map(|failed| described(&failed.worker, failed.attempt)).collect();
    workers.push(described(worker, attempt));
    let message = match &workers[..] {
        [only] => format!("{only} ended, or was cut off, while it had {step}"),
        all => format!(
            "{step} has lost {} workers, which ended or were cut off while they had it: {}; the page may need more \
             memory than a worker has",
            all.len(),
            all.join(", ")
        ),
    };
    Failure::new(FailureCode::WorkerLost, message)
}

fn described(worker: &str, attempt: u32) -> String {
    format!("{worker} (attempt {attempt})")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_failure_names_every_worker_that_was_lost() {
        let first = worker_lost(Step::Chunk(3), "w1-s0", 1, &[]);
        assert_eq!(first.message, "w1-s0 (attempt 1) ended, or was cut off, while it had chunk-3");
        let failed = |attempt, failure| FailedAttempt { attempt, worker: format!("w{attempt}-s0"), failure };
        let earlier = [failed(1, first), failed(2, Failure::new(FailureCode::Storage, "500"))];
        let last = worker_lost(Step::Chunk(3), "w3-s1", 3, &earlier);
        assert_eq!(last.code, FailureCode::WorkerLost);
        assert!(last.message.contains("2 workers") && last.message.contains("w1-s0 (attempt 1), w3-s1 (attempt 3)"));
    }
}
