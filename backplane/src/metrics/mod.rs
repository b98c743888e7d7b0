//! The Prometheus registry and the metrics of every role.
//!
//! | module | what it is |
//! | --- | --- |
//! | [`families`] | the table of every metric |
//! | [`reference`](mod@reference) | `docs/metrics.md`, made of the table |
//!
//! Names and units follow Prometheus: `hyperfarm_` first, counters end in `_total`, durations are seconds. Every label
//! comes from an enum or from the operator's set-up, so that their number is bounded; no render, tenant or worker is
//! ever a label.

pub mod families;
pub mod reference;

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use hyperfarm_proto::FARM_VERSION;
use hyperfarm_proto::failure::{Failure, FailureCode, Owner};
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::record::{CapturePath, ChunkTimings};
use hyperfarm_proto::task::{Queue, Step};
use parking_lot::Mutex;
use prometheus::process_collector::ProcessCollector;
use prometheus::{Encoder, GaugeVec, Registry, TextEncoder};

use self::families::Counters;

/// What became of a second attempt at a chunk that ran for long.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpeculationOutcome {
    /// It was dispatched.
    Started,
    /// Its result counts.
    Won,
    /// The first attempt's result counts.
    Lost,
}

/// How an attempt at a task ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TaskOutcome {
    /// Its result counts.
    Committed,
    /// Another attempt's result counts, the lease was lost, or the render was cancelled.
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

/// How an attempt to deliver a webhook ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WebhookOutcome {
    /// The receiver has it, or the delivery is no longer needed.
    Delivered,
    /// The receiver says that its URL is gone for good.
    Gone,
    /// The attempt failed, and another follows.
    Retry,
    /// The attempt failed, and none follows.
    GivenUp,
}

/// The kinds of what the farm removes when the time for which it is kept is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expired {
    /// An ended render with all of its files.
    Render,
    /// The segments of one.
    Segments,
}

/// Figures of the whole farm at one moment, as the coordinator knows them.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct FarmGauges {
    /// Live nodes by role, pool and state.
    pub nodes: Vec<(String, String, &'static str, u32)>,
    /// Slots of the nodes that take tasks, by role and pool.
    pub live_slots: Vec<(String, String, u32)>,
    /// Seconds for which the oldest unclaimed task has waited, by kind of queue and pool.
    pub oldest: Vec<(&'static str, String, f64)>,
    /// Open renders by status.
    pub renders: Vec<(&'static str, u64)>,
    /// Longest time that a render is without progress, in seconds.
    pub stall_seconds: f64,
}

/// The metrics of a process. Clones share the counters; each [`Metrics::new`] is a registry of its own.
#[derive(Clone)]
pub struct Metrics {
    registry: Registry,
    counters: Arc<Counters>,
    /// Folders whose file systems are measured. Its lock is also held while all metrics are read.
    folders: Arc<Mutex<Vec<(&'static str, PathBuf)>>>,
}

impl Default for Metrics {
    fn default() -> Self {
        Self::new()
    }
}

impl Metrics {
    /// A registry with every counter at zero.
    pub fn new() -> Self {
        let registry = Registry::new();
        let counters = Counters::new(&registry);
        // A counter whose rate is queried has to exist before it counts for the first time.
        for path in ["png", "framebuffer"] {
            counters.frames.with_label_values(&[path]);
        }
        for direction in ["in", "out"] {
            counters.storage_bytes.with_label_values(&[direction]);
        }
        Self { registry, counters: Arc::new(counters), folders: Arc::default() }
    }

    /// Adds a role of this process, which may have several. The first one also registers the process's own metrics.
    pub fn add_role(&self, role: &str) {
        self.counters.build.with_label_values(&[role, FARM_VERSION]).set(1.0);
        match role {
            "coordinator" => {
                for outcome in ["delivered", "gone", "retry", "given_up"] {
                    self.counters.webhooks.with_label_values(&[outcome]);
                }
                for owner in ["user", "system"] {
                    self.counters.ended.with_label_values(&["failed", owner, ""]);
                }
                self.counters.ended.with_label_values(&["completed", "", ""]);
            }
            "worker" => self.lease_losses(&["plan", "audio", "chunk"]),
            _ => self.lease_losses(&["stitch"]),
        }
        // It fails where an earlier role has registered it.
        drop(self.registry.register(Box::new(ProcessCollector::for_self())));
    }

    fn lease_losses(&self, steps: &[&str]) {
        for step in steps {
            self.counters.lease_losses.with_label_values(&[step]);
            self.counters.retries.with_label_values(&[step]);
        }
    }

    /// Measures the free space of the file system of `folder` whenever the metrics are read. `name` is a label: `work`
    /// or `storage`.
    pub fn watch_disk(&self, name: &'static str, folder: &Path) {
        let mut folders = self.folders.lock();
        folders.retain(|(known, _)| *known != name);
        folders.push((name, folder.to_owned()));
    }

    /// Counts an attempt that ended after `took`.
    pub fn task_ended(&self, step: Step, outcome: TaskOutcome, took: Duration) {
        let step = step.kind();
        let (outcome, code) = outcome.labels();
        self.counters.tasks.with_label_values(&[step, outcome, code]).inc();
        self.counters.task_duration.with_label_values(&[step]).observe(took.as_secs_f64());
    }

    /// Counts an attempt that was claimed.
    pub fn task_claimed(&self, step: Step, attempt: u32) {
        if attempt > 1 {
            self.counters.retries.with_label_values(&[step.kind()]).inc();
        }
    }

    /// Counts a lost lease.
    pub fn lease_lost(&self, step: Step) {
        self.counters.lease_losses.with_label_values(&[step.kind()]).inc();
    }

    /// Sets the number of slots of this node.
    pub fn set_slots(&self, role: &str, pool: &str, slots: u32) {
        self.counters.slots.with_label_values(&[role, pool]).set(f64::from(slots));
        self.counters.slots_busy.with_label_values(&[role, pool]);
    }

    /// Counts a slot as busy until the returned guard is dropped.
    #[must_use = "the slot counts as busy for as long as this lives"]
    pub fn busy(&self, role: &str, pool: &str) -> BusySlot {
        let gauge = self.counters.slots_busy.with_label_values(&[role, pool]);
        gauge.inc();
        BusySlot(gauge)
    }

    /// Counts the times that a stored chunk went on in another browser.
    pub fn chunks_resumed(&self, resumes: u32) {
        self.counters.resumed.with_label_values::<&str>(&[]).inc_by(resumes.into());
    }

    /// Counts a chunk of `frames` frames that was captured and stored.
    pub fn chunk_captured(&self, path: CapturePath, frames: u64, timings: &ChunkTimings) {
        let path = match path {
            CapturePath::Png => "png",
            CapturePath::Framebuffer => "framebuffer",
        };
        let counters = &self.counters;
        counters.frames.with_label_values(&[path]).inc_by(frames);
        counters.visited.with_label_values::<&str>(&[]).inc_by(timings.visited_frames);
        let mean = timings.capture_ms / 1000.0 / frames.max(1) as f64;
        counters.frame_duration.with_label_values(&[path]).observe(mean);
        for (stage, ms) in [
            ("start", timings.start_ms),
            ("seek", timings.seek_ms),
            ("draw", timings.draw_ms),
            ("read", timings.read_ms),
            ("convert", timings.convert_ms),
            ("encode", timings.encode_ms),
            ("wait", timings.wait_ms),
            ("commit", timings.commit_ms),
        ] {
            counters.chunk_stages.with_label_values(&[stage]).inc_by(ms.max(0.0) / 1000.0);
        }
    }

    /// A stage of a stitch took so long. `stage` is a label: `gather`, `join`, `verify` or `store`.
    pub fn stitch_stage(&self, stage: &'static str, took: Duration) {
        self.counters.stitch_stages.with_label_values(&[stage]).inc_by(took.as_secs_f64());
    }

    /// So many seams between chunks were compared, of which so many differ.
    pub fn seams_compared(&self, compared: usize, different: usize) {
        self.counters.seams.with_label_values::<&str>(&[]).inc_by(compared as u64);
        self.counters.seams_different.with_label_values::<&str>(&[]).inc_by(different as u64);
    }

    /// Counts a second attempt at a chunk.
    pub fn speculated(&self, outcome: SpeculationOutcome) {
        let outcome = match outcome {
            SpeculationOutcome::Started => "started",
            SpeculationOutcome::Won => "won",
            SpeculationOutcome::Lost => "lost",
        };
        self.counters.speculations.with_label_values(&[outcome]).inc();
    }

    /// Counts chunks of which two attempts stored different bytes.
    pub fn segments_differ(&self, chunks: usize) {
        self.counters.segments_different.with_label_values::<&str>(&[]).inc_by(chunks as u64);
    }

    /// So many chunks are drawn again because of their seams.
    pub fn chunks_redrawn(&self, chunks: usize) {
        self.counters.redrawn.with_label_values::<&str>(&[]).inc_by(chunks as u64);
    }

    /// So many browsers run, with so much memory.
    pub fn set_browsers(&self, browsers: usize, bytes: u64) {
        self.counters.browsers.with_label_values::<&str>(&[]).set(browsers as f64);
        self.counters.browser_memory.with_label_values::<&str>(&[]).set(bytes as f64);
    }

    /// Sets whether a layer of confinement holds for a kind of Chrome's processes.
    pub fn set_confined(&self, process: &'static str, layer: &'static str, holds: bool) {
        self.counters.confined.with_label_values(&[process, layer]).set(f64::from(u8::from(holds)));
    }

    /// Sets whether the process holds a credential of the object storage.
    pub fn set_storage_credential(&self, is_held: bool) {
        self.counters.storage_credential.with_label_values::<&str>(&[]).set(f64::from(u8::from(is_held)));
    }

    /// Counts a request for grants; `answer` is `granted` or `refused`.
    pub fn grants_asked(&self, answer: &'static str) {
        self.counters.grants_asked.with_label_values(&[answer]).inc();
    }

    /// Counts bytes that were written to storage.
    pub fn bytes_stored(&self, bytes: u64) {
        self.counters.storage_bytes.with_label_values(&["in"]).inc_by(bytes);
    }

    /// Counts bytes that were read from storage.
    pub fn bytes_loaded(&self, bytes: u64) {
        self.counters.storage_bytes.with_label_values(&["out"]).inc_by(bytes);
    }

    /// Counts a delivery that had gone back to its queue before.
    pub fn redelivered(&self, queue: &Queue) {
        self.counters.redeliveries.with_label_values(&[queue.kind()]).inc();
    }

    /// Counts a lost connection that was made again.
    pub fn reconnected(&self, server: Server) {
        let label = match server {
            Server::Broker => "broker",
            Server::Ledger => "ledger",
        };
        self.counters.reconnects.with_label_values(&[label]).inc();
    }

    /// Sets the number of messages that wait in each queue. Queues that are not listed are no longer reported.
    pub fn set_queue_depths(&self, depths: &[(Queue, u64)]) {
        let _reading = self.folders.lock();
        let gauge = &self.counters.queue_depth;
        gauge.reset();
        for (queue, depth) in depths {
            gauge.with_label_values(&[queue.kind(), queue.pool().map_or("", Pool::as_str)]).set(*depth as f64);
        }
    }

    /// Sets the figures of the farm. Label values that are not listed are no longer reported.
    pub fn set_farm(&self, farm: &FarmGauges) {
        let _reading = self.folders.lock();
        let counters = &self.counters;
        replace_values(
            &counters.nodes,
            farm.nodes.iter().map(|(role, pool, state, n)| ([&**role, &**pool, *state], *n)),
        );
        replace_values(
            &counters.live_slots,
            farm.live_slots.iter().map(|(role, pool, slots)| ([&**role, &**pool], *slots)),
        );
        replace_values(&counters.queue_age, farm.oldest.iter().map(|(queue, pool, age)| ([*queue, &**pool], *age)));
        replace_values(&counters.renders, farm.renders.iter().map(|(status, count)| ([*status], *count as f64)));
        counters.stall.with_label_values::<&str>(&[]).set(farm.stall_seconds);
    }

    /// Notes whether this coordinator schedules.
    pub fn set_leading(&self, is_leading: bool) {
        self.counters.leading.with_label_values::<&str>(&[]).set(f64::from(u8::from(is_leading)));
    }

    /// Counts a render that was accepted.
    pub fn render_accepted(&self) {
        self.counters.accepted.with_label_values::<&str>(&[]).inc();
    }

    /// Counts a render that failed or was cancelled.
    pub fn render_failed(&self, failure: &Failure) {
        let status = if failure.code == FailureCode::Cancelled { "cancelled" } else { "failed" };
        let owner = match failure.code.owner() {
            Owner::User => "user",
            Owner::System => "system",
        };
        self.counters.ended.with_label_values(&[status, owner, failure.code.as_str()]).inc();
    }

    /// Counts a completed render: the time since it was accepted, and the seconds of its output.
    pub fn render_completed(&self, took: Duration, output_seconds: f64) {
        self.counters.ended.with_label_values(&["completed", "", ""]).inc();
        self.counters.render_duration.with_label_values::<&str>(&[]).observe(took.as_secs_f64());
        self.counters.output.with_label_values::<&str>(&[]).inc_by(output_seconds.max(0.0));
    }

    /// Counts the seconds that a pool worked for a completed render.
    pub fn worker_seconds(&self, pool: &str, seconds: f64) {
        self.counters.worker_seconds.with_label_values(&[pool]).inc_by(seconds.max(0.0));
    }

    /// Counts an answered request. `route` is a template, never a path.
    pub fn request_answered(&self, method: &'static str, route: &'static str, status: u16, took: Duration) {
        let class = match status / 100 {
            1 => "1xx",
            2 => "2xx",
            3 => "3xx",
            4 => "4xx",
            _ => "5xx",
        };
        self.counters.api_requests.with_label_values(&[method, route, class]).inc();
        self.counters.api_duration.with_label_values(&[method, route]).observe(took.as_secs_f64());
    }

    /// Counts the removal of something whose time was over.
    pub fn expired(&self, what: Expired) {
        let label = match what {
            Expired::Render => "render",
            Expired::Segments => "segments",
        };
        self.counters.expired.with_label_values(&[label]).inc();
    }

    /// Counts an attempt to deliver a webhook.
    pub fn webhook(&self, outcome: WebhookOutcome) {
        let label = match outcome {
            WebhookOutcome::Delivered => "delivered",
            WebhookOutcome::Gone => "gone",
            WebhookOutcome::Retry => "retry",
            WebhookOutcome::GivenUp => "given_up",
        };
        self.counters.webhooks.with_label_values(&[label]).inc();
    }

    /// All metrics in Prometheus's text format.
    pub fn encode(&self) -> String {
        // Held so that no gauge is read after its reset and before its new values.
        let folders = self.folders.lock();
        self.measure_disks(&folders);
        let mut text = Vec::new();
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        String::from_utf8_lossy(&text).into_owned()
    }

    fn measure_disks(&self, folders: &[(&'static str, PathBuf)]) {
        for (name, folder) in folders {
            // A folder that does not exist yet is measured later.
            if let Ok(disk) = rustix::fs::statvfs(folder) {
                let bytes = |blocks: u64| blocks as f64 * disk.f_frsize as f64;
                self.counters.disk_free.with_label_values(&[name]).set(bytes(disk.f_bavail));
                self.counters.disk_size.with_label_values(&[name]).set(bytes(disk.f_blocks));
            }
        }
    }
}

/// Replaces all values of a gauge.
fn replace_values<'a, const N: usize>(gauge: &GaugeVec, values: impl Iterator<Item = ([&'a str; N], impl Into<f64>)>) {
    gauge.reset();
    for (labels, value) in values {
        gauge.with_label_values(&labels).set(value.into());
    }
}

/// Counts a slot as busy for as long as it lives.
#[derive(Debug)]
pub struct BusySlot(prometheus::Gauge);

impl Drop for BusySlot {
    fn drop(&mut self) {
        self.0.dec();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_counted_can_be_read() {
        let metrics = Metrics::new();
        metrics.task_ended(Step::Chunk(7), TaskOutcome::Committed, Duration::from_secs(3));
        metrics.task_ended(Step::Chunk(8), TaskOutcome::Failed(FailureCode::ChromeCrashed), Duration::from_secs(1));
        let timings =
            ChunkTimings { seek_ms: 1500.0, capture_ms: 3000.0, visited_frames: 4, ..ChunkTimings::default() };
        metrics.clone().chunk_captured(CapturePath::Framebuffer, 30, &timings);
        metrics.redelivered(&Queue::Stitch);
        metrics.reconnected(Server::Ledger);
        metrics.set_slots("worker", "cpu", 4);
        let busy = metrics.busy("worker", "cpu");
        drop(metrics.busy("worker", "cpu"));
        metrics.request_answered("get", "/v3/x/{id}", 204, Duration::from_millis(3));
        metrics.webhook(WebhookOutcome::GivenUp);
        metrics.render_failed(&Failure::new(FailureCode::Storage, "x"));
        metrics.watch_disk("work", Path::new("/"));
        let text = metrics.encode();
        for line in [
            "hyperfarm_tasks_total{code=\"\",outcome=\"committed\",step=\"chunk\"} 1",
            "hyperfarm_tasks_total{code=\"CHROME_CRASHED\",outcome=\"failed\",step=\"chunk\"} 1",
            "hyperfarm_task_duration_seconds_sum{step=\"chunk\"} 4",
            "hyperfarm_frames_captured_total{path=\"framebuffer\"} 30",
            "hyperfarm_frames_captured_total{path=\"png\"} 0",
            "hyperfarm_frames_visited_total 4",
            "hyperfarm_frame_duration_seconds_sum{path=\"framebuffer\"} 0.1",
            "hyperfarm_chunk_stage_seconds_total{stage=\"seek\"} 1.5",
            "hyperfarm_redeliveries_total{queue=\"stitch\"} 1",
            "hyperfarm_reconnects_total{server=\"ledger\"} 1",
            "hyperfarm_slots{pool=\"cpu\",role=\"worker\"} 4",
            "hyperfarm_slots_busy{pool=\"cpu\",role=\"worker\"} 1",
            "hyperfarm_api_requests_total{method=\"get\",route=\"/v3/x/{id}\",status=\"2xx\"} 1",
            "hyperfarm_webhook_attempts_total{outcome=\"given_up\"} 1",
            "hyperfarm_renders_ended_total{code=\"STORAGE\",owner=\"system\",status=\"failed\"} 1",
            "hyperfarm_disk_free_bytes{folder=\"work\"} ",
        ] {
            assert!(text.contains(line), "{line} is not in\n{text}");
        }
        drop(busy);
        assert!(metrics.encode().contains("hyperfarm_slots_busy{pool=\"cpu\",role=\"worker\"} 0"));
    }

    #[test]
    fn what_is_gone_is_no_longer_shown() {
        let metrics = Metrics::new();
        let node = ("worker".to_owned(), "gpu".to_owned(), "active", 2);
        metrics.set_farm(&FarmGauges { nodes: vec![node], ..FarmGauges::default() });
        let line = "hyperfarm_nodes{pool=\"gpu\",role=\"worker\",state=\"active\"} 2";
        assert!(metrics.encode().contains(line));
        metrics.set_farm(&FarmGauges::default());
        assert!(!metrics.encode().contains("hyperfarm_nodes{"));
    }

    #[test]
    fn registries_are_apart() {
        let first = Metrics::new();
        first.reconnected(Server::Broker);
        assert!(!Metrics::new().encode().contains("hyperfarm_reconnects_total{"));
    }

    #[test]
    fn a_process_may_play_several_roles() {
        let metrics = Metrics::new();
        metrics.add_role("worker");
        metrics.add_role("stitcher");
        let text = metrics.encode();
        assert!(text.contains("role=\"worker\"") && text.contains("role=\"stitcher\""), "{text}");
        assert_eq!(text.matches("\nprocess_open_fds ").count(), 1);
    }
}
