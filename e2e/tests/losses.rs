//! Processes of a cluster that are killed or slow while they have a task: what that costs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyperfarm_e2e::scene::descendants;
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene, page};
use serde_json::Value;

/// Longest time from a kill to the next claim of the task, in seconds.
const LONGEST_LOSS: f64 = 10.0;

fn unix_seconds() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs_f64()
}

/// The attempts at tasks of a kind, of the newest render.
fn attempts(cluster: &Cluster, kind: &str) -> Vec<Value> {
    let newest = cluster.get("/v3/hyperframes/renders?limit=1");
    let Some(render) = newest["data"][0]["render_id"].as_str() else { return Vec::new() };
    let timeline = cluster.get(&format!("/v3/hyperframes/renders/{render}/timeline"));
    let spans = timeline["data"]["spans"].as_array().cloned().unwrap_or_default();
    spans.into_iter().filter(|span| span["kind"] == kind).collect()
}

/// When the second attempt at a task began, once there is one.
fn second_attempt(cluster: &Cluster, kind: &str) -> Option<f64> {
    attempts(cluster, kind).iter().find(|span| span["attempt"] == 2)?["started_at"].as_f64()
}

/// Waits until a process is at work on a task of a kind.
fn wait_for_work(cluster: &Cluster, process: &str, kind: &str) {
    let worker = cluster.worker(process, |_| true)["worker_id"].as_str().unwrap().to_owned();
    let is_at_it = |span: &Value| span["outcome"] == "running" && span["worker_id"].as_str() == Some(worker.as_str());
    cluster.wait_until("it has a task", |cluster| attempts(cluster, kind).iter().any(is_at_it));
}

fn assert_quickly_repeated(cluster: &Cluster, kind: &str, killed_at: f64) {
    cluster.wait_until("a second attempt", |cluster| second_attempt(cluster, kind).is_some());
    let took = second_attempt(cluster, kind).unwrap() - killed_at;
    println!("{kind}: claimed again {took:.2} s after the kill");
    assert!(took < LONGEST_LOSS, "{took} s\n{}", cluster.logs());
}

#[test]
fn a_killed_worker_costs_less_than_ten_seconds() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    // Two chunks of seconds each, whatever the machine.
    let project = scene.project("p", &page(40.0));
    let mut cluster = Cluster::start(services, "lost-worker");
    let (render, _) = cluster.start_render(&project, "video", &["--chunk-frames", "600", "--quality", "draft"]);
    wait_for_work(&cluster, "worker-1", "chunk");
    cluster.kill("worker-1");
    let killed_at = unix_seconds();
    cluster.start_worker("worker-3");
    assert_quickly_repeated(&cluster, "chunk", killed_at);
    cluster.finish(render);
}

#[test]
fn a_killed_stitcher_costs_less_than_ten_seconds() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(10.0));
    let mut cluster = Cluster::start(services, "lost-stitcher");
    // A GIF is encoded by the stitcher, which takes seconds.
    let output = cluster.scene().path("video.gif");
    let url = cluster.url().to_owned();
    let args = ["render", project.to_str().unwrap(), "-o", output.to_str().unwrap(), "--farm", &url, "--json"];
    let mut render = cluster.scene().command(&args);
    let mut render = render.env("HYPERFARM_API_KEY", hyperfarm_e2e::cluster::KEY).spawn().unwrap();
    wait_for_work(&cluster, "stitcher", "stitch");
    cluster.kill("stitcher");
    let killed_at = unix_seconds();
    cluster.start_stitcher();
    assert_quickly_repeated(&cluster, "stitch", killed_at);
    assert!(render.wait().unwrap().success(), "{}", cluster.logs());
}

/// How many times longer than without a straggler a render with one may take.
const LONGEST_STRAGGLE: f64 = 1.5;

/// Stops the browsers of a worker, whose own process goes on: to the farm its chunk takes for ever.
fn stop_browsers(cluster: &Cluster, name: &str) {
    for pid in descendants(cluster.pid(name)) {
        let _ = Command::new("kill").args(["-STOP", &pid.to_string()]).status();
    }
}

#[test]
fn a_straggler_is_begun_on_an_idle_worker_and_costs_less_than_half_of_the_render() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(24.0));
    let cluster = Cluster::start(services, "straggler");
    let args = ["--chunk-frames", "60", "--quality", "draft"];
    let begin = Instant::now();
    let undisturbed = cluster.render(&project, "undisturbed", &args);
    let without = begin.elapsed().as_secs_f64();

    let begin = Instant::now();
    let (render, video) = cluster.start_render(&project, "disturbed", &args);
    cluster.wait_until("8 of 12 chunks", |cluster| {
        let newest = cluster.get("/v3/hyperframes/renders?limit=1");
        newest["data"][0]["status"] != "completed" && newest["data"][0]["progress"]["chunks_done"].as_u64() >= Some(8)
    });
    // It has a chunk, or takes the next one of those that are left.
    stop_browsers(&cluster, "worker-1");
    cluster.finish(render);
    let with = begin.elapsed().as_secs_f64();

    println!("{without:.1} s without a straggler, {with:.1} s with one");
    // On a busy machine a chunk of the first render may have been begun twice as well.
    let metrics = cluster.scrape("coordinator");
    let counted = |outcome: &str| {
        let sample = format!("hyperfarm_speculative_attempts_total{{outcome=\"{outcome}\"}} ");
        metrics.lines().find_map(|line| line.strip_prefix(&sample)?.parse::<u64>().ok()).unwrap_or(0)
    };
    assert!(counted("started") >= 1 && counted("won") >= 1, "{metrics}\n{}", cluster.logs());
    assert_eq!(std::fs::read(undisturbed).unwrap(), std::fs::read(video).unwrap());
    assert!(with <= without * LONGEST_STRAGGLE, "{with} s, {without} s\n{}", cluster.logs());
    // The slower attempt was stopped, and its worker takes tasks.
    cluster.worker("worker-1", |worker| {
        worker["tasks"].as_array().is_some_and(Vec::is_empty) && worker["state"] == "active"
    });
}
