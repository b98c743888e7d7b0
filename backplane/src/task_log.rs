//! The log of one attempt at a task, for the person whose render it is.
//!
//! **Invariant: bounded.** An attempt keeps [`MAX_LINES`] lines of [`MAX_CHARACTERS`] characters; its last line counts
//! the omitted ones.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::{LogLevel, LogLine, LogSource};
use hyperfarm_proto::record::unix_ms;
use parking_lot::Mutex;
use tracing::warn;

use crate::ledger::Lease;
use crate::objects::Objects;

/// Lines that an attempt keeps: the first ones, because later ones mostly repeat them.
pub const MAX_LINES: usize = 200;

/// Characters of a line; the rest is cut off.
pub const MAX_CHARACTERS: usize = 2000;

/// Longest time for storing a log. After it the log is lost: the task matters more.
const STORE_TIMEOUT: Duration = Duration::from_secs(5);

#[derive(Debug)]
struct Entry {
    /// Unix time in seconds.
    at: f64,
    level: LogLevel,
    source: LogSource,
    frame: Option<u64>,
    message: String,
}

#[derive(Debug, Default)]
struct Inner {
    lines: Vec<Entry>,
    /// Lines that were not kept.
    omitted: u64,
}

/// See the [module](self). Clones are the same log; it may be written from any thread.
#[derive(Debug, Clone, Default)]
pub struct TaskLog(Arc<Mutex<Inner>>);

impl TaskLog {
    /// Adds a line of the page; `frame` is the one that it was at.
    pub fn page(&self, level: LogLevel, frame: Option<u64>, message: &str) {
        self.add(level, LogSource::Page, frame, message);
    }

    /// Adds a line of the farm itself.
    pub fn farm(&self, level: LogLevel, message: &str) {
        self.add(level, LogSource::Farm, None, message);
    }

    fn add(&self, level: LogLevel, source: LogSource, frame: Option<u64>, message: &str) {
        let mut inner = self.0.lock();
        // The farm's own lines are few and say how the attempt ended, so they are always kept.
        if inner.lines.len() >= MAX_LINES && source == LogSource::Page {
            inner.omitted += 1;
            return;
        }
        let message = message.chars().take(MAX_CHARACTERS).collect();
        inner.lines.push(Entry { at: unix_ms() / 1000.0, level, source, frame, message });
    }

    /// The lines so far, as lines of `lease`'s attempt.
    pub fn lines(&self, lease: &Lease) -> Vec<LogLine> {
        let inner = self.0.lock();
        let line = |at, level, source, frame, message: &str| LogLine {
            at,
            level,
            source,
            step: lease.task.step.kind().to_owned(),
            chunk: lease.task.step.chunk(),
            attempt: lease.attempt,
            frame,
            message: message.to_owned(),
        };
        let mut lines: Vec<LogLine> = inner
            .lines
            .iter()
            .map(|entry| line(entry.at, entry.level, entry.source, entry.frame, &entry.message))
            .collect();
        if inner.omitted > 0 {
            let message = format!("{} more lines of the page were left out", inner.omitted);
            lines.push(line(unix_ms() / 1000.0, LogLevel::Info, LogSource::Farm, None, &message));
        }
        lines
    }

    /// Stores what was said, if anything was. A log that cannot be stored is not worth a failure.
    pub async fn store(&self, objects: &Objects, lease: &Lease) {
        let lines = self.lines(lease);
        if lines.is_empty() {
            return;
        }
        let mut text = Vec::new();
        for line in &lines {
            if serde_json::to_writer(&mut text, line).is_ok() {
                text.push(b'\n');
            }
        }
        let key = keys::task_log(&lease.task.render, lease.task.step, lease.attempt);
        match tokio::time::timeout(STORE_TIMEOUT, objects.put(&key, Bytes::from(text))).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => warn!(%error, "the render's own log is not stored"),
            Err(_) => warn!("the render's own log is not stored in time"),
        }
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::task::{Step, TaskId};

    use super::*;

    fn lease() -> Lease {
        let task = TaskId { render: "r1".parse().unwrap(), step: Step::Chunk(12) };
        Lease { task, attempt: 2, worker: "w1".parse().unwrap(), grant: None }
    }

    #[tokio::test]
    async fn a_page_that_prints_without_end_is_cut_and_said_to_be() {
        let log = TaskLog::default();
        for number in 0..MAX_LINES + 7 {
            log.page(LogLevel::Info, Some(number as u64), &"x".repeat(MAX_CHARACTERS * 2));
        }
        log.farm(LogLevel::Error, "it failed");
        let objects = Objects::memory();
        log.store(&objects, &lease()).await;
        let text = objects.get("renders/r1/log/3-chunk-000012-0002.jsonl").await.unwrap();
        assert!(text.len() < MAX_LINES * (MAX_CHARACTERS + 200) + 1000);
        let lines: Vec<LogLine> =
            text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
        assert_eq!(lines.len(), MAX_LINES + 2);
        assert_eq!((lines[3].frame, lines[3].chunk, lines[3].attempt), (Some(3), Some(12), 2));
        assert_eq!(lines[MAX_LINES].message, "it failed");
        assert_eq!(lines[MAX_LINES + 1].message, "7 more lines of the page were left out");
    }

    #[tokio::test]
    async fn silence_is_not_stored() {
        let objects = Objects::memory();
        TaskLog::default().store(&objects, &lease()).await;
        assert!(objects.list("").await.unwrap().is_empty());
    }
}
