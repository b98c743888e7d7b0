//! The registry and what every role counts.
//!
//! Names and units follow Prometheus: `hyperfarm_` first, counters end in `_total`, durations are seconds. Every label comes from
//! an enum, so that their number is bounded; no render, tenant or worker is ever a label.

use std::sync::Arc;
use std::time::Duration;

use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::task::{Queue, Step};
use prometheus::{Encoder, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry, TextEncoder};

/// How an attempt at a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutcome {
    /// Its result counts.
    Committed,
    /// Somebody else's result counts, the lease was lost, or the render was cancelled.
    Superseded,
    /// It failed.
    Failed(FailureCode),
}

impl TaskOutcome {
    fn labels(self) -> (&'static str, &'static str) {
        match self {
            Self::Committed => ("committed", ""),
            Self::Superseded => ("superseded", ""),
            Self::Failed(code) => ("failed", code.as_str()),
        }
    }
}

/// A server that a node connects to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    /// RabbitMQ.
    Broker,
    /// Redis.
    Ledger,
}

/// What a node counts. Clones share the counters; each [`Metrics::new`] is a registry of its own.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    counters: Arc<Counters>,
}

struct Counters {
    tasks: IntCounterVec,
    task_duration: HistogramVec,
    frames: IntCounterVec,
    redeliveries: IntCounterVec,
    reconnects: IntCounterVec,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with everything at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = Counters {
            tasks: counter(&registry, "hyperfarm_tasks_total", "Attempts that ended.", &["step", "outcome", "code"]),
            task_duration: histogram(
                &registry,
                "hyperfarm_task_duration_seconds",
                "From the claim of a task to its end.",
                &["step"],
                &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0],
            ),
            frames: counter(&registry, "hyperfarm_frames_captured_total", "Frames read out of Chrome.", &["path"]),
            redeliveries: counter(
                &registry,
                "hyperfarm_redeliveries_total",
                "Deliveries that had gone back to their queue before.",
                &["queue"],
            ),
            reconnects: counter(
                &registry,
                "hyperfarm_reconnects_total",
                "Connections that were made again after a loss.",
                &["server"],
            ),
        };
        Self { registry, counters: Arc::new(counters) }
    }

    /// The registry, for what a role counts beyond this.
    pub fn registry(&self) -> &Registry {
        &self.registry
    }

    /// An attempt at a task ended, `after` its claim.
    pub fn task_ended(&self, step: Step, outcome: TaskOutcome, after: Duration) {
        let (outcome, code) = outcome.labels();
        let kind = step_label(step);
        self.counters.tasks.with_label_values(&[kind, outcome, code]).inc();
        self.counters.task_duration.with_label_values(&[kind]).observe(after.as_secs_f64());
    }

    /// Frames were captured.
    pub fn frames_captured(&self, path: CapturePath, frames: u64) {
        let path = match path {
            CapturePath::Png => "png",
            CapturePath::Framebuffer => "framebuffer",
        };
        self.counters.frames.with_label_values(&[path]).inc_by(frames);
    }

    /// A delivery had gone back to its queue before.
    pub fn redelivered(&self, queue: &Queue) {
        let label = match queue {
            Queue::Plan(_) => "plan",
            Queue::Chunk(_) => "chunk",
            Queue::Stitch => "stitch",
            Queue::Events => "events",
            Queue::Dead => "dead",
        };
        self.counters.redeliveries.with_label_values(&[label]).inc();
    }

    /// A lost connection was made again.
    pub fn reconnected(&self, server: Server) {
        let label = match server {
            Server::Broker => "broker",
            Server::Ledger => "ledger",
        };
        self.counters.reconnects.with_label_values(&[label]).inc();
    }

    /// Everything in Prometheus's text format.
    pub fn encode(&self) -> String {
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }
}

/// The kind of a step: the number of a chunk is no label.
fn step_label(step: Step) -> &'static str {
    match step {
        Step::Plan => "plan",
        Step::Audio => "audio",
        Step::Chunk(_) => "chunk",
        Step::Stitch => "stitch",
    }
}

/// Makes and registers a counter. Names and labels are literals, so an error here is a mistake in this file that its test finds.
#[allow(clippy::expect_used)]
fn counter(registry: &Registry, name: &str, help: &str, labels: &[&str]) -> IntCounterVec {
    let counter = IntCounterVec::new(Opts::new(name, help), labels).expect("a valid name");
    registry.register(Box::new(counter.clone())).expect("a name of its own");
    counter
}

#[allow(clippy::expect_used)]
fn histogram(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> HistogramVec {
    let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
    let histogram = HistogramVec::new(options, labels).expect("a valid name");
    registry.register(Box::new(histogram.clone())).expect("a name of its own");
    histogram
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_can_be_read() {
        let metrics = Metrics::new();
        metrics.task_ended(Step::Chunk(7), TaskOutcome::Committed, Duration::from_secs(3));
        metrics.task_ended(Step::Chunk(8), TaskOutcome::Failed(FailureCode::ChromeCrashed), Duration::from_secs(1));
        metrics.clone().frames_captured(CapturePath::Framebuffer, 30);
        metrics.redelivered(&Queue::Stitch);
        metrics.reconnected(Server::Ledger);
        let text = metrics.encode();
        for line in [
            "hyperfarm_tasks_total{code=\"\",outcome=\"committed\",step=\"chunk\"} 1",
            "hyperfarm_tasks_total{code=\"CHROME_CRASHED\",outcome=\"failed\",step=\"chunk\"} 1",
            "hyperfarm_task_duration_seconds_sum{step=\"chunk\"} 4",
            "hyperfarm_frames_captured_total{path=\"framebuffer\"} 30",
            "hyperfarm_redeliveries_total{queue=\"stitch\"} 1",
            "hyperfarm_reconnects_total{server=\"ledger\"} 1",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
    }

    #[test]
    fn registries_are_apart() {
        let first = Metrics::new();
        first.reconnected(Server::Broker);
        assert!(!Metrics::new().encode().contains("hyperfarm_reconnects_total{"));
    }
}
