//! The same binary as a cluster over RabbitMQ, Redis and S3: the same bytes as one process, whatever dies meanwhile.

#![allow(clippy::unwrap_used)]

use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene, page};
use serde_json::{Value, json};

/// A cluster, the project's expected bytes from one process, and the arguments that pin the chunk table.
const CHUNKS: [&str; 4] = ["--chunk-frames", "40", "--quality", "draft"];

fn expected(scene: &Scene, seconds: f64) -> (std::path::PathBuf, Vec<u8>) {
    let project = scene.project("p", &page(seconds));
    let (video, manifest) = scene.render(&project, "expected", &CHUNKS);
    assert!(manifest.segments.len() > 3);
    (project, std::fs::read(video).unwrap())
}

#[test]
fn a_cluster_gives_the_bytes_of_one_process() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let (project, expected) = expected(&scene, 8.0);
    let mut cluster = Cluster::start(services, "same");
    let video = cluster.render(&project, "video", &CHUNKS);
    assert_eq!(std::fs::read(video).unwrap(), expected);
    // A client that comes while the coordinator is away waits for it, and its render is made once.
    let (late, video) = cluster.without_coordinator(|cluster| {
        let (mut late, video) = cluster.start_render(&project, "late", &CHUNKS);
        std::thread::sleep(std::time::Duration::from_secs(1));
        assert!(late.try_wait().unwrap().is_none(), "the client gave up");
        (late, video)
    });
    cluster.finish(late);
    assert_eq!(std::fs::read(video).unwrap(), expected);
    let listed = cluster.get("/v3/hyperframes/renders");
    assert_eq!(listed["data"].as_array().map(Vec::len), Some(2), "{listed}");
    let bad = cluster.stop();
    assert!(bad.is_empty(), "{bad:?}");
}

#[test]
fn a_worker_that_is_killed_costs_nothing_but_time() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let (project, expected) = expected(&scene, 12.0);
    let mut cluster = Cluster::start(services, "kill");
    let (render, video) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(60);
    cluster.kill("worker-1");
    cluster.start_worker("worker-3");
    cluster.finish(render);
    assert_eq!(std::fs::read(video).unwrap(), expected);
}

#[test]
fn of_two_coordinators_one_schedules_and_each_serves_all_of_the_api() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let (project, expected) = expected(&scene, 12.0);
    let mut cluster = Cluster::start(services, "two");
    cluster.wait_until("leads", |cluster| cluster.get("/readyz")["data"]["scheduler"] == "active");
    let first = cluster.url().to_owned();
    let second = cluster.start_second_coordinator();
    cluster.use_coordinator(&second);
    cluster.wait_until("standby", |cluster| cluster.get("/readyz")["data"]["scheduler"] == "standby");
    let leader = cluster.get("/v3/hyperframes/farm")["data"]["active_coordinator"].clone();

    // Submitted, watched and paused through the standby.
    let (render, video) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(60);
    let newest = cluster.get("/v3/hyperframes/renders?limit=1");
    let id = newest["data"][0]["render_id"].as_str().unwrap().to_owned();
    cluster.post(&format!("/v3/hyperframes/renders/{id}/pause"), &json!({}));
    cluster.use_coordinator(&first);
    let started = std::time::Instant::now();
    let path = format!("/v3/hyperframes/renders/{id}");
    cluster.wait_until("paused", |cluster| cluster.get(&path)["data"]["paused"] == true);
    assert!(started.elapsed() < std::time::Duration::from_secs(2), "{:?}", started.elapsed());

    // The leader dies while the render is paused. What was claimed is done by then.
    cluster.kill("coordinator");
    let died = std::time::Instant::now();
    cluster.use_coordinator(&second);
    cluster.wait_until("active", |cluster| cluster.get("/readyz")["data"]["scheduler"] == "active");
    assert!(died.elapsed() < std::time::Duration::from_secs(10), "{:?}", died.elapsed());
    assert_ne!(cluster.get("/v3/hyperframes/farm")["data"]["active_coordinator"], leader);
    assert_eq!(cluster.get(&path)["data"]["paused"], true, "the pause outlives the leader");
    cluster.post(&format!("{path}/resume"), &json!({}));
    cluster.finish(render);
    assert_eq!(std::fs::read(video).unwrap(), expected);
}

#[test]
fn a_broker_and_a_ledger_that_restart_cost_nothing_but_time() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let (project, expected) = expected(&scene, 20.0);
    let cluster = Cluster::start(services.clone(), "restart");
    let (render, video) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(50);
    services.operate("redis-restart");
    cluster.wait_for_frames(150);
    services.operate("rabbit-restart");
    cluster.finish(render);
    assert_eq!(std::fs::read(video).unwrap(), expected);
}

#[test]
fn workers_are_put_aside_resumed_and_drained_from_outside() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(2.0));
    let mut cluster = Cluster::start(services, "operate");
    let id = |worker: &Value| worker["worker_id"].as_str().unwrap().to_owned();
    let (first, second) = (cluster.worker("worker-1", |_| true), cluster.worker("worker-2", |_| true));
    assert_eq!(
        (&first["slots"], &first["state"], &first["version"]),
        (&json!(1), &json!("active"), &second["version"])
    );
    let workers = "/v3/hyperframes/workers";
    let aside = cluster.post(&format!("{workers}/{}/quarantine", id(&first)), &json!({ "reason": "a test" }));
    assert_eq!(aside["data"]["state"], "quarantined", "{aside}");
    // What the farm shows at once is a wish; this is the node's own word.
    std::thread::sleep(std::time::Duration::from_secs(11));
    cluster.worker("worker-1", |worker| worker["state"] == "quarantined" && worker["state_reason"] == "a test");

    cluster.render(&project, "video", &["--chunk-frames", "15", "--quality", "draft"]);
    let listed = cluster.get("/v3/hyperframes/renders?limit=1&status=completed");
    let render = listed["data"][0]["render_id"].as_str().unwrap();
    let told = cluster.get(&format!("/v3/hyperframes/renders/{render}/timeline"));
    let spans = told["data"]["spans"].as_array().unwrap();
    assert_eq!(spans.iter().filter(|span| span["kind"] == "chunk").count(), 4, "{told}");
    for span in spans.iter().filter(|span| span["kind"] != "stitch") {
        assert_eq!(
            (span["worker_id"].as_str().unwrap(), &span["outcome"]),
            (id(&second).as_str(), &json!("committed"))
        );
    }
    let chunks = cluster.get(&format!("/v3/hyperframes/renders/{render}/chunks"));
    for chunk in chunks["data"].as_array().unwrap() {
        assert!(chunk["thumbnail_url"].is_string() && chunk["ms_per_frame"].as_f64() > Some(0.0), "{chunk}");
    }
    assert!(listed["data"][0]["preview_url"].as_str().unwrap().ends_with("/index.m3u8"));

    cluster.post(&format!("{workers}/{}/resume", id(&first)), &json!({}));
    cluster.post(&format!("{workers}/{}/drain", id(&second)), &json!({}));
    assert!(cluster.wait_for_end("worker-2"), "{}", cluster.logs());
    cluster.render(&project, "again", &["--chunk-frames", "15", "--quality", "draft"]);
}

#[test]
fn polls_answer_while_everything_but_the_coordinator_is_down() {
    /// Starts what it stopped, however the test ends.
    struct Stopped<'a>(&'a Services);
    impl Drop for Stopped<'_> {
        fn drop(&mut self) {
            self.0.operate("redis-start");
            self.0.operate("rabbit-start");
        }
    }
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(8.0));
    let mut cluster = Cluster::start(services.clone(), "down");
    let (render, _video) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(20);
    for name in ["worker-1", "worker-2", "stitcher"] {
        cluster.kill(name);
    }
    {
        let _stopped = Stopped(&services);
        services.operate("redis-stop");
        services.operate("rabbit-stop");
        let newest = cluster.get("/v3/hyperframes/renders?limit=1");
        let id = newest["data"][0]["render_id"].as_str().unwrap_or_else(|| panic!("{newest}")).to_owned();
        for _ in 0..50 {
            let detail = cluster.get(&format!("/v3/hyperframes/renders/{id}"));
            assert_eq!(detail["data"]["status"], "rendering", "{detail}");
        }
        assert!(cluster.get("/readyz")["error"].is_object(), "it is not ready, and says so");
    }
    // Workers come back, and it goes on: the client has polled all the while.
    cluster.start_worker("worker-3");
    cluster.start_stitcher();
    cluster.finish(render);
}
