//! Processes of a cluster that are killed or slow while they have a task: what that costs.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::process::Command;
use std::time::{Instant, SystemTime, UNIX_EPOCH};

use hyperfarm_e2e::cluster::free_port;
use hyperfarm_e2e::scene::descendants;
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene, page};
use hyperfarm_testing::{RabbitCluster, RedisFailover, RedisServer};
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

#[test]
fn another_master_of_redis_takes_over_and_the_video_is_the_same() {
    let (Some(services), Some(mut servers)) = (Services::find(), RedisFailover::start()) else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(24.0));
    let cluster = Cluster::start_with(services, "failover", &[("HYPERFARM_REDIS_URL", &servers.url())]);
    let args = ["--chunk-frames", "60", "--quality", "draft"];
    let undisturbed = cluster.render(&project, "undisturbed", &args);
    let (render, disturbed) = cluster.start_render(&project, "disturbed", &args);
    cluster.wait_for_frames(120);
    servers.master.kill();
    let killed_at = Instant::now();
    cluster.wait_until("the other master", |_| servers.has_failed_over());
    println!("another master after {:.1} s", killed_at.elapsed().as_secs_f64());
    cluster.finish(render);
    assert!(std::fs::read(undisturbed).unwrap() == std::fs::read(disturbed).unwrap(), "the videos differ");
}

#[test]
fn a_cluster_of_rabbitmq_loses_a_node_and_the_video_is_the_same() {
    let (Some(services), Some(mut rabbit)) = (Services::find(), RabbitCluster::start()) else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(24.0));
    let cluster = Cluster::start_with(services, "nodes", &[("HYPERFARM_AMQP_URL", &rabbit.urls())]);
    let args = ["--chunk-frames", "60", "--quality", "draft"];
    let undisturbed = cluster.render(&project, "undisturbed", &args);
    let (render, disturbed) = cluster.start_render(&project, "disturbed", &args);
    cluster.wait_for_frames(120);
    // The one that every process is connected to.
    rabbit.kill(0);
    cluster.finish(render);
    assert!(std::fs::read(undisturbed).unwrap() == std::fs::read(disturbed).unwrap(), "the videos differ");
}

/// A farm whose roles have users of Redis with the rights that the operator's guide recommends.
#[test]
fn roles_with_few_rights_in_redis_make_a_video() {
    let Some(services) = Services::find() else { return };
    let mut cluster = Cluster::new(services, "rights", &[]);
    let users = include_str!("../../deploy/redis/users.conf");
    let users = || users.replace("~hyperfarm:", &format!("~{}:", cluster.namespace()));
    let Some(server) = RedisServer::start(users) else { return };
    for (process, user) in [("coordinator", "coordinator"), ("worker-1", "worker"), ("stitcher", "worker")] {
        let url = format!("redis://hyperfarm-{user}:{user}-password@127.0.0.1:{}", server.port());
        cluster.set_for(process, "HYPERFARM_REDIS_URL", &url);
    }
    cluster.start_coordinator_as("coordinator", &format!("127.0.0.1:{}", free_port()));
    cluster.start_worker("worker-1");
    cluster.start_stitcher();
    let scene = Scene::new();
    let project = scene.project("p", &page(2.0));
    let args = ["--chunk-frames", "20", "--quality", "draft"];
    cluster.render(&project, "video", &args);
    // What people do to renders goes through the ledger too.
    let (mut render, _) = cluster.start_render(&scene.project("q", &page(60.0)), "other", &args);
    let newest = |cluster: &Cluster| cluster.get("/v3/hyperframes/renders?limit=1")["data"][0].clone();
    cluster.wait_until("the other render", |cluster| newest(cluster)["status"] == "rendering");
    let newest = newest(&cluster);
    let id = newest["render_id"].as_str().unwrap();
    for act in ["pause", "resume", "cancel"] {
        cluster.post(&format!("/v3/hyperframes/renders/{id}/{act}"), &serde_json::json!({}));
    }
    assert!(!render.wait().unwrap().success(), "it was cancelled");
    for process in ["coordinator", "worker-1", "stitcher"] {
        let log = std::fs::read_to_string(cluster.scene().path(&format!("{process}.log"))).unwrap();
        assert!(!log.to_lowercase().contains("no permissions") && !log.contains("NOPERM"), "{process}: {log}");
    }
    assert_eq!(cluster.stop(), [""; 0]);
}
