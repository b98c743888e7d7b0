//! Every metric of the farm: its name, type, labels and help, in one table. The counters and `docs/metrics.md` are made
//! of it.

use prometheus::{CounterVec, GaugeVec, HistogramOpts, HistogramVec, IntCounterVec, Opts, Registry};

/// What kind of metric it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only grows, by whole numbers.
    Count,
    /// Only grows.
    Sum,
    /// Goes up and down.
    Gauge,
    /// Observations in buckets.
    Histogram,
}

impl Kind {
    /// Prometheus's word for it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Count | Self::Sum => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// One row of the table.
#[derive(Debug, Clone, Copy)]
pub struct Family {
    /// Its name.
    pub name: &'static str,
    /// Its type.
    pub kind: Kind,
    /// Its labels.
    pub labels: &'static [&'static str],
    /// Which processes have it.
    pub roles: &'static str,
    /// What it says.
    pub help: &'static str,
}

/// What the labels' values are: each from a list that the code or the operator's set-up bounds.
pub const LABELS: &[(&str, &str)] = &[
    ("answer", "`granted` or `refused`; what is not answered counts as refused"),
    ("code", "a failure code of `proto/src/failure.rs`; empty where nothing failed"),
    ("direction", "`in` (written to storage) or `out` (read from it)"),
    ("folder", "`work` (caches, segments under way) or `storage` (a local storage folder)"),
    ("kind", "`render` (with all of its files) or `segments`"),
    (
        "layer",
        "of confinement `seccomp`, `no_new_privileges`, `unprivileged_user`, `pid_namespace`, `net_namespace`, `clean_environment`",
    ),
    ("method", "`get`, `post`, `put`, `patch`, `delete`; `other` where no route was found"),
    (
        "outcome",
        "of a task `committed`, `superseded`, `failed`; of a speculative attempt `started`, then `won` or `lost`; of a webhook `delivered`, `gone`, `retry`, `given_up`",
    ),
    ("owner", "whose failure it is: `user` or `system`; empty where nothing failed"),
    ("path", "`framebuffer` (the compositor's memory) or `png` (screenshots)"),
    ("pool", "a pool of workers, as the operator named it; `stitch` for stitchers; empty where a queue has none"),
    ("process", "of Chrome: `browser`, `gpu` or `renderer`"),
    ("queue", "`plan`, `chunk`, `stitch`, `events` or `dead`"),
    ("role", "`coordinator`, `worker` or `stitcher`"),
    ("route", "a path template of `docs/api.md`, never a path; `unmatched` where no route was found"),
    ("server", "`broker` or `ledger`"),
    (
        "stage",
        "of a chunk `start`, `seek`, `draw`, `read`, `convert`, `encode`, `wait`, `commit`; of a stitch `gather`, `join`, `verify`, `store`",
    ),
    ("state", "`active`, `draining` or `quarantined`"),
    (
        "status",
        "of a render `queued`, `rendering`, `paused`, `completed`, `failed`, `cancelled`; of an answer `1xx` to `5xx`",
    ),
    ("step", "`plan`, `audio`, `chunk` or `stitch`"),
    ("version", "of the binary"),
];

macro_rules! kind {
    (type Count) => {
        IntCounterVec
    };
    (type Sum) => {
        CounterVec
    };
    (type Gauge) => {
        GaugeVec
    };
    (type Histogram) => {
        HistogramVec
    };
}

/// Makes the table, the struct that holds a metric for each row, and its registration.
macro_rules! families {
    ($($field:ident: $kind:ident $name:literal [$($label:literal),*] $roles:ident $help:literal $($buckets:ident)?;)*) => {
        /// Every metric, by name.
        pub const FAMILIES: &[Family] = &[
            $(Family { name: $name, kind: Kind::$kind, labels: &[$($label),*], roles: $roles, help: $help },)*
        ];

        /// The metrics of one registry.
        pub(super) struct Counters {
            $(pub(super) $field: kind!(type $kind),)*
        }

        impl Counters {
            pub(super) fn new(registry: &Registry) -> Self {
                Self { $($field: Make::make(registry, $name, $help, &[$($label),*], &Vec::<&[f64]>::from([$($buckets)?]).concat()),)* }
            }
        }
    };
}

/// A metric of a row. Names and labels are literals, so an error here is a mistake in this file that its test finds.
trait Make {
    fn make(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Self;
}

macro_rules! make {
    ($($type:ty),*) => {$(
        impl Make for $type {
            #[allow(clippy::expect_used)]
            fn make(registry: &Registry, name: &str, help: &str, labels: &[&str], _: &[f64]) -> Self {
                let made = Self::new(Opts::new(name, help), labels).expect("a valid name");
                registry.register(Box::new(made.clone())).expect("a name of its own");
                if labels.is_empty() {
                    made.with_label_values::<&str>(&[]);
                }
                made
            }
        }
    )*};
}

make!(IntCounterVec, CounterVec, GaugeVec);

impl Make for HistogramVec {
    #[allow(clippy::expect_used)]
    fn make(registry: &Registry, name: &str, help: &str, labels: &[&str], buckets: &[f64]) -> Self {
        let options = HistogramOpts::new(name, help).buckets(buckets.to_vec());
        let made = Self::new(options, labels).expect("a valid name");
        registry.register(Box::new(made.clone())).expect("a name of its own");
        made
    }
}

/// Tasks: from a short sound to a long chunk.
const TASK: &[f64] = &[0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0];
/// Frames: from a still page to a heavy one at 4K.
const FRAME: &[f64] = &[0.002, 0.004, 0.006, 0.008, 0.012, 0.016, 0.024, 0.033, 0.05, 0.075, 0.1, 0.2, 0.5, 1.0, 2.0];
/// Renders: from seconds to a working day.
const RENDER: &[f64] = &[5.0, 10.0, 20.0, 40.0, 80.0, 160.0, 320.0, 640.0, 1280.0, 2560.0, 5120.0, 10240.0, 28800.0];
/// Answers of the API.
const ANSWER: &[f64] = &[0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

const EVERY: &str = "every";
const NODE: &str = "worker, stitcher";
const WORKER: &str = "worker";
const STITCHER: &str = "stitcher";
const COORDINATOR: &str = "coordinator";

families! {
    build: Gauge "hyperfarm_build_info" ["role", "version"] EVERY "Always 1; the labels say what runs.";
    disk_free: Gauge "hyperfarm_disk_free_bytes" ["folder"] EVERY "Bytes that an unprivileged process can still write to the file system of a folder.";
    disk_size: Gauge "hyperfarm_disk_size_bytes" ["folder"] EVERY "Size of the file system of a folder.";
    storage_bytes: Count "hyperfarm_storage_bytes_total" ["direction"] EVERY "Bytes written to and read from object storage.";
    storage_credential: Gauge "hyperfarm_storage_credential" [] EVERY "1 where the process holds what opens the whole object storage, 0 where coordinators grant it what its tasks may touch.";
    redeliveries: Count "hyperfarm_redeliveries_total" ["queue"] EVERY "Deliveries that had gone back to their queue before.";
    reconnects: Count "hyperfarm_reconnects_total" ["server"] EVERY "Lost connections that were made again.";

    tasks: Count "hyperfarm_tasks_total" ["step", "outcome", "code"] NODE "Attempts at tasks that ended.";
    task_duration: Histogram "hyperfarm_task_duration_seconds" ["step"] NODE "From the claim of a task to its end." TASK;
    retries: Count "hyperfarm_task_retries_total" ["step"] NODE "Attempts that were not the first at their task.";
    lease_losses: Count "hyperfarm_lease_losses_total" ["step"] NODE "Attempts that were stopped because their lease was lost or their render cancelled.";
    grants_asked: Count "hyperfarm_storage_grant_requests_total" ["answer"] NODE "Requests for grants that a process without a storage credential has made of coordinators.";
    slots: Gauge "hyperfarm_slots" ["role", "pool"] NODE "Tasks that the node can do at once; 0 while it drains.";
    slots_busy: Gauge "hyperfarm_slots_busy" ["role", "pool"] NODE "Tasks that the node does now.";

    frames: Count "hyperfarm_frames_captured_total" ["path"] WORKER "Frames captured and encoded, in segments that were stored.";
    visited: Count "hyperfarm_frames_visited_total" [] WORKER "Earlier frames that were sought and not drawn, to bring a page into the state of a walk.";
    frame_duration: Histogram "hyperfarm_frame_duration_seconds" ["path"] WORKER "Mean time of a frame in a chunk, from the first seek to the end of the encoder; one observation a chunk." FRAME;
    chunk_stages: Sum "hyperfarm_chunk_stage_seconds_total" ["stage"] WORKER "Seconds that stored chunks spent by stage. Seek and draw run beside read, convert and encode. Divided by the frames it is the time a frame.";
    browsers: Gauge "hyperfarm_browsers" [] WORKER "Browsers that run.";
    browser_memory: Gauge "hyperfarm_browser_memory_bytes" [] WORKER "Anonymous and shared memory of all processes of all browsers, files left out, measured every ten seconds. A worker's heartbeat says the same with the worker's own beside it.";

    resumed: Count "hyperfarm_chunks_resumed_total" [] WORKER "Times that a chunk went on in another browser, because the page or the browser had crashed.";
    confined: Gauge "hyperfarm_chrome_confined" ["process", "layer"] WORKER "Whether a layer of confinement holds for all of Chrome's processes of a kind, as /proc shows it at the first browser of a slot: 1 or 0. What the worker may not read is missing.";

    stitch_stages: Sum "hyperfarm_stitch_stage_seconds_total" ["stage"] STITCHER "Seconds that stitches spent by stage.";
    seams: Count "hyperfarm_seams_total" [] STITCHER "Seams between chunks that were compared: the first frame of a chunk, with the same frame at the end of the walk of the chunk before.";
    seams_different: Count "hyperfarm_seams_different_total" [] STITCHER "Seams whose two pictures differ.";

    redrawn: Count "hyperfarm_chunks_redrawn_total" [] COORDINATOR "Chunks that were drawn again with a longer start, because the picture at their seam was not that of the chunk before.";
    leading: Gauge "hyperfarm_coordinator_leading" [] COORDINATOR "1 on the coordinator that schedules, 0 on a standby. Gauges of the farm come from the leader alone.";
    queue_depth: Gauge "hyperfarm_queue_depth" ["queue", "pool"] COORDINATOR "Messages that wait in a queue, those in flight not counted. The coordinator sends out a short window only.";
    queue_age: Gauge "hyperfarm_queue_oldest_age_seconds" ["queue", "pool"] COORDINATOR "How long the oldest task has been waiting to be claimed; 0 where none waits.";
    nodes: Gauge "hyperfarm_nodes" ["role", "pool", "state"] COORDINATOR "Nodes that are alive, by what they say.";
    live_slots: Gauge "hyperfarm_live_slots" ["role", "pool"] COORDINATOR "Slots of the nodes that are alive and take tasks.";
    renders: Gauge "hyperfarm_renders" ["status"] COORDINATOR "Renders that have not ended.";
    speculations: Count "hyperfarm_speculative_attempts_total" ["outcome"] COORDINATOR "Second attempts at chunks that ran for long on another node.";
    segments_different: Count "hyperfarm_segments_different_total" [] COORDINATOR "Chunks of completed renders of which two attempts stored different bytes.";
    stall: Gauge "hyperfarm_render_stall_seconds" [] COORDINATOR "Longest time for which a render that has begun and is not paused has made no progress.";
    accepted: Count "hyperfarm_renders_accepted_total" [] COORDINATOR "Renders taken in.";
    ended: Count "hyperfarm_renders_ended_total" ["status", "owner", "code"] COORDINATOR "Renders that ended.";
    render_duration: Histogram "hyperfarm_render_duration_seconds" [] COORDINATOR "From taking a render in to its completion." RENDER;
    output: Sum "hyperfarm_usage_output_seconds_total" [] COORDINATOR "Seconds of video in completed renders.";
    worker_seconds: Sum "hyperfarm_usage_worker_seconds_total" ["pool"] COORDINATOR "Seconds of work that are in completed renders.";
    api_requests: Count "hyperfarm_api_requests_total" ["method", "route", "status"] COORDINATOR "Requests answered.";
    api_duration: Histogram "hyperfarm_api_request_duration_seconds" ["method", "route"] COORDINATOR "From a request's arrival to the head of its answer." ANSWER;
    expired: Count "hyperfarm_expired_total" ["kind"] COORDINATOR "Ended renders, and segments of them, that were removed when their time was over.";
    webhooks: Count "hyperfarm_webhook_attempts_total" ["outcome"] COORDINATOR "Attempts at deliveries of webhooks that ended.";
}
