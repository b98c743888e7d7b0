//! A running farm as its operators see it: Prometheus itself scrapes every role, a collector gets one trace a render,
//! the render has its own log.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::Write;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyperfarm_e2e::cluster::free_port;
use hyperfarm_e2e::collector::Collector;
use hyperfarm_e2e::scene::{text, wait_until};
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene};
use serde_json::Value;

/// A second that talks: three lines while it loads, one at each frame from the tenth on, and one throw that nobody
/// catches.
const PAGE: &str = r##"<!doctype html><html><head><style>body { margin: 0; background: #10243d }
#box { width: 40px; height: 40px; background: #ffb347 }</style></head><body>
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="1"><div id="box"></div></div>
<script>
console.log("loading", 1);
console.warn("careful");
setTimeout(() => { throw new Error("nobody catches this"); }, 0);
window.__timelines = { main: gsap.timeline({ paused: true }).to("#box", { x: 200, duration: 1, ease: "none",
  onUpdate() { if (this.progress() > 0.5) console.debug("at", this.progress().toFixed(2)); } }, 0) };
</script></body></html>"##;

const FRAMES: u64 = 30;

/// Ends with the test.
struct Prometheus(Child);

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn curl(url: &str) -> String {
    let answer = Command::new("curl").args(["-sS", "--max-time", "10", url]).output().unwrap();
    String::from_utf8_lossy(&answer.stdout).into_owned()
}

fn prometheus(scene: &Scene, cluster: &Cluster) -> (Prometheus, u16) {
    let port = free_port();
    let targets: Vec<String> = cluster.metrics().iter().map(|(_, port)| format!("'127.0.0.1:{port}'")).collect();
    let rules = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../deploy/prometheus/alerts.yml");
    let config = scene.write(
        "prometheus.yml",
        format!(
            "global: {{ scrape_interval: 1s, evaluation_interval: 1s }}\nrule_files: ['{}']\nscrape_configs:\n  - job_name: hyperfarm\n    static_configs: [{{ targets: [{}] }}]\n",
            rules.canonicalize().unwrap().display(),
            targets.join(", ")
        ),
    );
    let child = Command::new("prometheus")
        .arg(format!("--config.file={}", text(&config)))
        .arg(format!("--storage.tsdb.path={}", text(&scene.path("tsdb"))))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(std::fs::File::create(scene.path("prometheus.log")).unwrap())
        .spawn()
        .expect("Debian's prometheus is installed: scripts/setup.sh --test");
    (Prometheus(child), port)
}

/// The value of a query that has one.
fn query(port: u16, expression: &str) -> Option<f64> {
    let encoded: String = expression.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let answer: Value =
        serde_json::from_str(&curl(&format!("http://127.0.0.1:{port}/api/v1/query?query={encoded}"))).ok()?;
    answer["data"]["result"][0]["value"][1].as_str()?.parse().ok()
}

#[test]
fn a_farm_is_seen_by_prometheus_by_a_collector_and_in_its_renders_logs() {
    let Some(services) = Services::find() else { return };
    let collector = Collector::start();
    let cluster = Cluster::start_with(
        services,
        "observe",
        &[
            ("HYPERFARM_OTLP_ENDPOINT", &collector.url),
            ("HYPERFARM_LOG_FORMAT", "json"),
            // A chunk that is begun twice, as on a busy machine, has two spans.
            ("HYPERFARM_SPECULATION", "off"),
        ],
    );
    let scene = Scene::new();
    let (_prometheus, port) = prometheus(&scene, &cluster);
    let project = scene.project("p", PAGE);
    cluster.render(&project, "video", &["--chunk-frames", "15", "--quality", "draft"]);

    // Prometheus's own answer, which is the sum over both workers.
    let frames = "sum(hyperfarm_frames_captured_total)";
    assert!(
        wait_until(Duration::from_secs(60), || query(port, frames) == Some(FRAMES as f64)),
        "{:?}\n{}",
        query(port, frames),
        cluster.logs()
    );
    assert!(wait_until(Duration::from_secs(30), || query(port, "sum(up{job=\"hyperfarm\"})") == Some(4.0)));
    for (expression, value) in [
        ("sum(hyperfarm_tasks_total{step=\"chunk\",outcome=\"committed\"})", 2.0),
        ("count(hyperfarm_build_info{role=\"worker\"})", 2.0),
        ("sum(hyperfarm_live_slots{role=\"worker\",pool=\"cpu\"})", 2.0),
        ("sum(hyperfarm_nodes{state=\"active\"})", 3.0),
        ("sum(hyperfarm_renders_ended_total{status=\"completed\"})", 1.0),
        ("sum(hyperfarm_usage_output_seconds_total)", 1.0),
        ("count(hyperfarm_stitch_stage_seconds_total)", 4.0),
        ("sum(hyperfarm_api_requests_total{method=\"post\",route=\"/v3/hyperframes/renders\",status=\"2xx\"})", 1.0),
        ("sum(hyperfarm_queue_depth{queue=\"dead\"})", 0.0),
    ] {
        assert!(
            wait_until(Duration::from_secs(20), || query(port, expression) == Some(value)),
            "{expression}: {:?}",
            query(port, expression)
        );
    }
    assert_eq!(query(port, "count(ALERTS{alertstate=\"firing\",alertname!=\"HyperfarmNoCoordinator\"})"), None);

    for (name, port) in cluster.metrics() {
        let scrape = curl(&format!("http://127.0.0.1:{port}/metrics"));
        let mut promtool = Command::new("promtool")
            .args(["check", "metrics"])
            .stdin(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        promtool.stdin.take().unwrap().write_all(scrape.as_bytes()).unwrap();
        let checked = promtool.wait_with_output().unwrap();
        assert!(checked.status.success(), "{name}: {}", String::from_utf8_lossy(&checked.stderr));
        assert!(curl(&format!("http://127.0.0.1:{port}/readyz")).contains("ready"), "{name}");
    }

    let renders = cluster.get("/v3/hyperframes/renders");
    let id = renders["data"][0]["render_id"].as_str().unwrap().to_owned();
    own_log(&cluster, &id);
    json_lines(&cluster, &id);
    let bad = cluster.stop();
    assert!(bad.is_empty(), "{bad:?}");
    one_trace(&collector, &id);
}

/// What the page said, with where and when; page by page the same as at once.
fn own_log(cluster: &Cluster, id: &str) {
    let whole = cluster.get(&format!("/v3/hyperframes/renders/{id}/log?limit=100"));
    let lines = whole["data"].as_array().unwrap();
    let find = |message: &str| {
        let found = lines.iter().find(|line| line["message"].as_str().unwrap().contains(message));
        found.unwrap_or_else(|| panic!("{message} is not in {whole:#}"))
    };
    assert_eq!((&find("loading 1")["level"], &find("loading 1")["step"]), (&"info".into(), &"plan".into()));
    assert_eq!((&find("careful")["level"], &find("careful")["source"]), (&"warning".into(), &"page".into()));
    assert_eq!(find("nobody catches this")["level"], "error");
    let late =
        lines.iter().find(|line| line["chunk"] == 1 && line["level"] == "debug").expect("chunk 1 says where it is");
    assert!(late["frame"].as_u64().unwrap() >= 15 && late["at"].as_f64().unwrap() > 1.7e9, "{late}");
    let (mut paged, mut token) = (Vec::new(), String::new());
    loop {
        let page = cluster.get(&format!("/v3/hyperframes/renders/{id}/log?limit=7&token={token}"));
        paged.extend(page["data"].as_array().unwrap().clone());
        let Some(next) = page["next_token"].as_str() else { break };
        token = next.to_owned();
        assert!(paged.len() < 2000, "the pages have no end");
    }
    let whole_count = if whole["has_more"] == true { 100 } else { lines.len() };
    assert_eq!(&paged[..whole_count], &lines[..]);
}

/// Every line is one flat object, and those of the render's tasks say whose they are.
fn json_lines(cluster: &Cluster, id: &str) {
    let mut results = 0;
    for name in ["worker-1", "worker-2", "stitcher", "coordinator"] {
        let log = std::fs::read_to_string(cluster.scene().path(&format!("{name}.log"))).unwrap();
        let lines: Vec<Value> =
            log.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{name}: {line}"))).collect();
        assert!(lines.iter().all(|line| line["level"].is_string() && line["timestamp"].is_string()));
        for line in lines.iter().filter(|line| line["message"] == "the result is committed") {
            results += 1;
            assert_eq!(line["render"], id, "{line}");
            assert!(line["attempt"].is_u64() && line["step"].is_string() && line["worker"].is_string(), "{line}");
        }
        if name == "coordinator" {
            let submitted = lines.iter().find(|line| line["message"] == "a render was submitted").unwrap();
            assert!(submitted["request_id"].is_string() && submitted["render"] == id, "{submitted}");
        }
    }
    assert!(results > 2, "plan, chunks and stitch commit a result each, {results} were logged");
}

/// All spans of the render are one trace below one root.
fn one_trace(collector: &Collector, id: &str) {
    // The processes have ended, and each has sent its last spans before it did.
    let spans = collector.spans();
    let of: Vec<_> = spans.iter().filter(|span| span.attribute("render") == Some(id)).collect();
    let traces: BTreeSet<&str> = of.iter().map(|span| span.trace.as_str()).collect();
    assert_eq!(traces.len(), 1, "{of:#?}");
    let root = of.iter().find(|span| span.name == "render").unwrap_or_else(|| panic!("no root: {of:#?}"));
    assert_eq!(root.parent, "");
    for (name, count) in [("intake", 1), ("plan", 1), ("chunk", 2), ("stitch", 1)] {
        let found: Vec<_> = of.iter().filter(|span| span.name == name).collect();
        assert_eq!(found.len(), count, "{name}: {of:#?}");
        for span in found {
            assert_eq!(span.parent, root.id, "{span:#?}");
            assert!(span.end > span.start && span.end <= root.end + 60_000_000_000, "{span:#?}");
        }
    }
    let chunks: BTreeSet<_> = of.iter().filter_map(|span| span.attribute("chunk")).collect();
    assert_eq!(chunks, BTreeSet::from(["0", "1"]));
    assert!(spans.iter().any(|span| span.name == "request" && span.attribute("request_id").is_some()));
}
