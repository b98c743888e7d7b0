//! Compositions of the parity suite rendered by us alone, against what is right by their own arithmetic. The comparison
//! with the published CLI is `make parity`.
#![allow(clippy::unwrap_used)]

use hyperfarm_e2e::Scene;
use hyperfarm_e2e::parity::sidecar::Sidecar;
use hyperfarm_e2e::parity::{compositions, stage};

/// Of each kind one that needs no made media, which the `ffmpeg` command would have to make.
const QUICK: &[&str] = &[
    "clips-boundaries",
    "clips-relative-start",
    "fps-24",
    "gsap-not-loaded",
    "nested-relative-start",
    "nested-twice-variables",
    "no-timeline",
    "timers",
    "variables-partial",
];

#[test]
fn expectations_hold() {
    let scene = Scene::new();
    let mut wrong = Vec::new();
    for name in QUICK {
        let source = compositions().join(name);
        let sidecar = Sidecar::read(&source).unwrap();
        assert!(!sidecar.expected.is_empty(), "{name} has no expectations");
        let project = scene.path(name);
        stage::stage(&source, &project, &scene.path("media")).unwrap();
        let variables = sidecar.variables.as_ref().map(ToString::to_string);
        let args: Vec<&str> = variables.iter().flat_map(|json| ["--variables", json.as_str()]).collect();
        let (output, _) = scene.render_as(sidecar.extension(), &project, &format!("{name}-out"), &args);
        for sentence in sidecar.expected.check(&output).unwrap() {
            wrong.push(format!("{name}: {sentence}"));
        }
        std::fs::remove_dir_all(&project).unwrap();
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_sidecar_can_be_read() {
    let mut count = 0;
    for entry in std::fs::read_dir(compositions()).unwrap() {
        let folder = entry.unwrap().path();
        if folder.join("index.html").is_file() {
            Sidecar::read(&folder).unwrap();
            count += 1;
        }
    }
    assert!(count >= 60, "the suite has {count} compositions");
}
