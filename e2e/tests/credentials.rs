//! A cluster whose workers and stitcher hold no storage credential: coordinators grant each task what it may touch.

#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::path::PathBuf;
use std::time::Duration;

use hyperfarm_e2e::cluster::free_port;
use hyperfarm_e2e::proxy::{HttpFault, HttpProxy};
use hyperfarm_e2e::scene::descendants;
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene, page};
use hyperfarm_testing::wav;

const TOKEN: &str = "e2e-0123456789abcdef0123456789abcdef";
const ARGS: [&str; 4] = ["--chunk-frames", "10", "--quality", "draft"];
/// Chunks of the video.
const CHUNKS: f64 = 24.0;
const NODES: [&str; 3] = ["worker-1", "worker-2", "stitcher"];

/// A video of 8 s with sound.
fn project(scene: &Scene) -> PathBuf {
    let audio =
        "<div id=\"box\"></div><audio id=\"tone\" src=\"tone.wav\" data-start=\"0\" data-duration=\"7\"></audio>";
    let page = page(8.0).replace("<div id=\"box\"></div>", audio);
    let tone = (0..48_000 * 7).map(|sample| ((f64::from(sample) * 0.05).sin() * 8000.0) as i16);
    scene.write("p/tone.wav", wav(48_000, tone));
    scene.project("p", &page)
}

/// A cluster in which only the coordinator holds the credential.
fn cluster(services: Services, name: &str, storage: Option<&str>) -> Cluster {
    let mut cluster = Cluster::new(services, name, &[("HYPERFARM_WORKER_TOKEN", TOKEN)]);
    let listen = format!("127.0.0.1:{}", free_port());
    if let Some(storage) = storage {
        cluster.set("HYPERFARM_STORAGE_URL", storage);
    }
    without_credential(&mut cluster, &listen);
    start(&mut cluster, &listen);
    cluster
}

fn start(cluster: &mut Cluster, listen: &str) {
    cluster.start_coordinator_as("coordinator", listen);
    for worker in ["worker-1", "worker-2"] {
        cluster.start_worker(worker);
    }
    cluster.start_stitcher();
}

/// Takes the credential of the store, its address and the API keys from all but the coordinator.
fn without_credential(cluster: &mut Cluster, listen: &str) {
    for node in NODES {
        cluster.set_for(node, "HYPERFARM_STORAGE_URL", &format!("farm+http://{listen}"));
        for name in ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT", "HYPERFARM_API_KEYS"] {
            cluster.set_for(node, name, "");
        }
    }
}

/// The sum of a metric's series that have all of these labels.
fn metric(text: &str, name: &str, labels: &[&str]) -> f64 {
    let series = text
        .lines()
        .filter(|line| line.split(['{', ' ']).next() == Some(name) && labels.iter().all(|label| line.contains(label)));
    series.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn grant_requests(cluster: &Cluster) -> f64 {
    let of = |node: &&str| metric(&cluster.scrape(node), "hyperfarm_storage_grant_requests_total", &[]);
    NODES.iter().map(of).sum()
}

fn environment(pid: u32) -> String {
    String::from_utf8_lossy(&std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default()).into_owned()
}

#[test]
fn workers_without_a_credential_give_the_same_bytes() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = project(&scene);
    let (video, manifest) = scene.render(&project, "expected", &ARGS);
    let expected = std::fs::read(video).unwrap();
    assert_eq!(manifest.segments.len() as f64, CHUNKS);
    let secret = std::env::var("AWS_SECRET_ACCESS_KEY").unwrap();

    let cluster = cluster(services, "credentials", None);
    let (render, video) = cluster.start_render(&project, "video", &ARGS);
    cluster.wait_for_frames(60);
    for node in NODES {
        assert!(!environment(cluster.pid(node)).contains(&secret), "{node} holds the store's secret");
        for child in descendants(cluster.pid(node)) {
            let variables = environment(child);
            assert!(
                !variables.contains(TOKEN) && !variables.contains(&secret),
                "{node}'s process {child} has a secret"
            );
        }
    }
    cluster.finish(render);
    assert_eq!(std::fs::read(video).unwrap(), expected);
    for node in NODES {
        assert_eq!(metric(&cluster.scrape(node), "hyperfarm_storage_credential", &[]), 0.0, "{node}");
    }
    assert_eq!(metric(&cluster.scrape("coordinator"), "hyperfarm_storage_credential", &[]), 1.0);
    let asked = grant_requests(&cluster);
    let refused = ["worker-1", "worker-2", "stitcher"]
        .iter()
        .map(|node| metric(&cluster.scrape(node), "hyperfarm_storage_grant_requests_total", &["refused"]));
    assert_eq!(refused.sum::<f64>(), 0.0, "{}", cluster.logs());
    println!("{asked} grant requests for {CHUNKS} chunks, a plan, a sound and a stitch");
    assert!(asked <= 2.0 * CHUNKS, "{asked}");
    let bad = cluster.stop();
    assert!(bad.is_empty(), "{bad:?}");
}

/// Renders with the store behind a proxy with this fault. Returns the video, and the requests that the store has got.
fn through_proxy(services: Services, name: &str, is_granted: bool, fault: HttpFault) -> (Vec<u8>, u64) {
    let scene = Scene::new();
    let project = project(&scene);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let endpoint = std::env::var("HYPERFARM_TEST_S3_ENDPOINT").unwrap();
    let proxy = HttpProxy::start(&runtime, endpoint.trim_start_matches("http://").parse().unwrap(), 7);
    let mut cluster = Cluster::new(services, name, &[("HYPERFARM_WORKER_TOKEN", TOKEN)]);
    cluster.set("AWS_ENDPOINT", &format!("http://127.0.0.1:{}", proxy.port()));
    let listen = format!("127.0.0.1:{}", free_port());
    if is_granted {
        without_credential(&mut cluster, &listen);
    }
    start(&mut cluster, &listen);
    // What the processes ask at their start is no part of it.
    std::thread::sleep(Duration::from_secs(3));
    let before = proxy.requests();
    proxy.fail(fault);
    let video = cluster.render(&project, "video", &ARGS);
    let requests = proxy.requests() - before;
    proxy.fail(HttpFault::None);
    (std::fs::read(video).unwrap(), requests)
}

#[test]
fn grants_cost_no_requests_of_the_store_and_its_faults_no_render() {
    let Some(services) = Services::find() else { return };
    let (expected, plain) = through_proxy(services.clone(), "store-plain", false, HttpFault::None);
    let (video, granted) = through_proxy(services.clone(), "store-granted", true, HttpFault::None);
    println!("requests of the store: {plain} with the credential, {granted} with grants, for {CHUNKS} chunks");
    assert!(video == expected, "the bytes differ");
    // The coordinator reads the request and the plan once more; the rest is how often it looks.
    assert!((granted as f64) < plain as f64 + CHUNKS / 2.0, "{granted} {plain}");
    for fault in [HttpFault::Fail(0.1), HttpFault::Cut(0.1)] {
        let (video, _) = through_proxy(services.clone(), "store-faults", true, fault);
        assert!(video == expected, "the bytes differ under {fault:?}");
    }
}

#[test]
fn a_coordinator_that_is_away_costs_no_attempt() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = project(&scene);
    let (video, _) = scene.render(&project, "expected", &ARGS);
    let mut cluster = cluster(services, "grants-away", None);
    let (render, made) = cluster.start_render(&project, "video", &ARGS);
    cluster.wait_for_frames(40);
    // Longer than a request for grants is repeated, and not as long as the client of the render waits.
    cluster.without_coordinator(|_| std::thread::sleep(Duration::from_secs(20)));
    cluster.finish(render);
    assert_eq!(std::fs::read(made).unwrap(), std::fs::read(video).unwrap());
    let newest = cluster.get("/v3/hyperframes/renders?limit=1");
    let id = newest["data"][0]["render_id"].as_str().unwrap();
    let told = cluster.get(&format!("/v3/hyperframes/renders/{id}/timeline"));
    let spans = told["data"]["spans"].as_array().unwrap();
    let failed: Vec<_> = spans.iter().filter(|span| span["outcome"] == "failed").collect();
    println!("{} attempts failed for the outage: {}", failed.len(), serde_json::json!(failed));
    assert!(!failed.is_empty() && failed.iter().all(|span| span.to_string().contains("STORAGE")), "{failed:?}");
}

#[test]
fn workers_without_a_credential_render_from_a_folder_that_only_the_coordinator_has() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = project(&scene);
    let (video, _) = scene.render(&project, "expected", &ARGS);
    let storage = format!("file://{}", scene.path("storage").display());
    let cluster = cluster(services, "grants-folder", Some(&storage));
    let made = cluster.render(&project, "video", &ARGS);
    assert_eq!(std::fs::read(made).unwrap(), std::fs::read(video).unwrap());
}

#[test]
fn a_worker_with_a_wrong_token_says_so_and_a_coordinator_needs_the_store() {
    let Some(services) = Services::find() else { return };
    let cluster = cluster(services, "grants-wrong", None);
    let url = format!("farm+{}", cluster.url());
    let mut command = cluster.command(&["doctor", "--json"]);
    let wrong = TOKEN.replace('0', "1");
    command.env("HYPERFARM_STORAGE_URL", &url).env("HYPERFARM_WORKER_TOKEN", &wrong);
    let told = String::from_utf8_lossy(&command.output().unwrap().stdout).into_owned();
    assert!(told.contains("HYPERFARM_WORKER_TOKEN of this coordinator"), "{told}");
    assert!(told.contains("coordinators grant each task") && !told.contains(&wrong), "{told}");

    let mut command = cluster.command(&["coordinator", "--listen", "127.0.0.1:0"]);
    let ended = command.env("HYPERFARM_STORAGE_URL", &url).output().unwrap();
    let told = String::from_utf8_lossy(&ended.stderr).into_owned();
    assert!(!ended.status.success() && told.contains("the store itself"), "{told}");
}
