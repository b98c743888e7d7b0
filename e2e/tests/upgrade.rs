//! A rolling upgrade with real processes: old and new side by side, and no render is lost.

#![allow(clippy::unwrap_used)]

use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene, page};

const CHUNKS: [&str; 4] = ["--chunk-frames", "40", "--quality", "draft"];

/// Workers of two capture classes stand for two releases; the classes differ in a label only, so that the pictures must
/// be equal.
const LABEL: &str = "HYPERFARM_CAPTURE_LABEL";

#[test]
fn a_rolling_upgrade_finishes_with_the_old_class_while_it_is_there() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(12.0));
    let (video, _) = scene.render(&project, "expected", &CHUNKS);
    let mut cluster = Cluster::start_with(services, "roll", &[(LABEL, "old")]);
    let (render, rendered) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(60);
    // The order of the operator's guide: coordinator, then workers one by one.
    cluster.replace_coordinator();
    cluster.stop_process("worker-1");
    cluster.set(LABEL, "new");
    cluster.start_worker("worker-3");
    cluster.finish(render);
    assert_eq!(std::fs::read(rendered).unwrap(), std::fs::read(video).unwrap());
    let newest = cluster.get("/v3/hyperframes/renders?limit=1");
    assert!(!newest.to_string().contains("REPLANNED"), "{newest}");
}

#[test]
fn a_render_whose_class_has_left_the_farm_begins_again_with_the_new_one() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let project = scene.project("p", &page(16.0));
    let (video, _) = scene.render(&project, "expected", &CHUNKS);
    let mut cluster = Cluster::start_with(services, "leave", &[(LABEL, "old"), ("HYPERFARM_REPLAN_AFTER", "2s")]);
    let (render, rendered) = cluster.start_render(&project, "video", &CHUNKS);
    cluster.wait_for_frames(60);
    cluster.stop_process("worker-1");
    cluster.stop_process("worker-2");
    cluster.set(LABEL, "new");
    cluster.start_worker("worker-3");
    cluster.finish(render);
    assert_eq!(std::fs::read(rendered).unwrap(), std::fs::read(video).unwrap());
    let newest = cluster.get("/v3/hyperframes/renders?limit=1");
    assert!(newest.to_string().contains("REPLANNED"), "{newest}\n{}", cluster.logs());
}
