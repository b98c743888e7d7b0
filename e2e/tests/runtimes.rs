//! Two published versions of the HyperFrames runtime side by side, on one machine and on a farm.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::pictures::{brightness, pictures};
use hyperfarm_e2e::scene::text;
use hyperfarm_e2e::up::{Up, published_runtime};
use hyperfarm_e2e::{Finished, Scene};
use serde_json::{Value, json};

/// The version that is added beside the built-in one.
const OTHER: &str = "0.8.60";

/// The version that is built in.
static BUILT_IN: LazyLock<String> = LazyLock::new(|| {
    let assets: Value = serde_json::from_str(include_str!("../../worker/browser/package.json")).unwrap();
    assets["dependencies"]["hyperframes"].as_str().unwrap().to_owned()
});

/// Hash of its archive, as the registry states it.
const PACKAGES: &str = include_str!("../runtimes/packages.txt");

/// A page that is white where its runtime defines a function that [`OTHER`] does not have, else dark.
const PAGE: &str = r##"<!doctype html><html><head><style>body { margin: 0 }</style></head><body>
<div data-composition-id="main" data-width="320" data-height="180" data-start="0" data-duration="0.2">
<div id="ground" style="position: absolute; width: 320px; height: 180px; background: #202020"></div></div>
<script>
const timeline = gsap.timeline({ paused: true });
timeline.to({}, { duration: 0.2, onUpdate() {
  const ground = document.getElementById("ground");
  ground.style.background = "__hfHasFrameSources" in window ? "#ffffff" : "#202020";
} }, 0);
window.__timelines = { main: timeline };
</script></body></html>"##;

/// Which of the two versions drew a video.
fn version_in(video: &Path) -> &'static str {
    let frames = pictures(video);
    assert_eq!(frames.len(), 6);
    if brightness(&frames[4]) > 128.0 { BUILT_IN.as_str() } else { OTHER }
}

/// A project that names `version` in its `package.json`; none where it is empty.
fn project(scene: &Scene, name: &str, version: &str) -> std::path::PathBuf {
    let package = json!({ "name": name, "devDependencies": { "hyperframes": version } });
    if !version.is_empty() {
        scene.write(&format!("{name}/package.json"), package.to_string());
    }
    scene.project(name, PAGE)
}

/// A folder with an `npm` that knows one package, and states `integrity` for it.
fn npm(scene: &Scene, archive: &Path, integrity: &str) -> String {
    let name = format!("hyperframes-{OTHER}.tgz");
    let script = format!(
        "#!/bin/sh\ncase \"$1 $2\" in\n\
         \"pack hyperframes@{OTHER}\") while [ $# -gt 1 ]; do shift; done; cp '{}' \"$1/\";\n\
         echo '[{{\"filename\":\"{name}\",\"version\":\"{OTHER}\"}}]' ;;\n\
         \"view hyperframes@{OTHER}\") echo '\"{integrity}\"' ;;\n\
         *) echo 'npm error code E404' >&2; exit 1 ;;\nesac\n",
        archive.display()
    );
    let program = scene.write("bin/npm", script);
    std::fs::set_permissions(&program, PermissionsExt::from_mode(0o755)).unwrap();
    format!("{}:{}", text(program.parent().unwrap()), std::env::var("PATH").unwrap())
}

#[test]
fn versions_render_side_by_side_on_one_machine() {
    let Some(archive) = published_runtime(OTHER) else { return };
    let scene = Scene::new();
    let runtime = |args: &[&str]| scene.run(&[&["runtime"], args].concat());

    // By npm, with the hash that the registry states.
    let add = |integrity: &str| -> Finished {
        let path = npm(&scene, &archive, integrity);
        scene.command(&["runtime", "add", OTHER, "--json"]).env("PATH", path).output().unwrap().into()
    };
    let tampered = add("sha512-AAAA");
    assert_eq!(tampered.code, Some(1), "{}", tampered.stderr);
    assert!(tampered.stderr.contains("states the integrity sha512-AAAA"), "{}", tampered.stderr);
    assert_eq!(runtime(&["list", "--json"]).json().as_array().unwrap().len(), 1);
    assert!(!scene.path("data").exists(), "to list versions makes no folder");
    let integrity = PACKAGES.split_whitespace().nth(2).unwrap();
    let added = add(integrity).json();
    assert_eq!((&added["version"], &added["license"]), (&json!(OTHER), &json!("Apache-2.0")));
    // The archive itself is the same package.
    assert_eq!(runtime(&["add", text(&archive), "--json"]).json(), added);
    let stored = scene.path(&format!("data/runtimes/packages/{}.json", added["sha256"].as_str().unwrap()));
    let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&stored), mode(stored.parent().unwrap())), (0o600, 0o700));
    for (wrong, reason) in [("no-such-thing", "is no file"), ("9.9.9", "E404"), ("Cargo.toml", "no package archive")] {
        let path = npm(&scene, &archive, integrity);
        let refused: Finished = scene.command(&["runtime", "add", wrong]).env("PATH", path).output().unwrap().into();
        assert_eq!(refused.code, Some(if reason == "E404" { 1 } else { 2 }), "{wrong}");
        assert!(refused.stderr.contains(reason), "{wrong}: {}", refused.stderr);
    }

    let plain = project(&scene, "plain", "");
    let dependent = project(&scene, "dependent", "~0.8.60 <0.8.100");
    let (video, manifest) = scene.render(&plain, "default", &[]);
    assert_eq!(
        (version_in(&video), manifest.runtime.unwrap().version.as_str()),
        (BUILT_IN.as_str(), BUILT_IN.as_str())
    );
    let (video, manifest) = scene.render(&dependent, "dependent", &["--chunk-frames", "3", "--slots", "2"]);
    assert_eq!((version_in(&video), manifest.runtime.unwrap().version.as_str()), (OTHER, OTHER));
    // The request comes before the project, and the default after it.
    assert_eq!(runtime(&["default", OTHER, "--json"]).json()["is_default"], true);
    let (video, _) = scene.render(&dependent, "asked", &["--runtime", BUILT_IN.as_str()]);
    assert_eq!(version_in(&video), BUILT_IN.as_str());
    let unknown = project(&scene, "unknown", "0.8.61");
    let output = scene.path("unknown.mp4");
    let rendered = scene.run(&["render", text(&unknown), "-o", text(&output), "--json"]).json();
    assert_eq!(version_in(&output), OTHER);
    let warning = |result: &Value| -> String {
        let warnings = result["warnings"].as_array().unwrap().clone();
        let found = warnings.into_iter().find(|warning| warning["code"] == "RUNTIME_SUBSTITUTED");
        found.map(|warning| warning["message"].as_str().unwrap().to_owned()).unwrap_or_default()
    };
    for part in ["package.json (devDependencies.hyperframes)", "0.8.61", BUILT_IN.as_str(), OTHER] {
        assert!(warning(&rendered).contains(part), "{rendered}");
    }

    // A version that is asked for and not there.
    assert_eq!(runtime(&["remove", OTHER]).code, Some(1), "the default");
    runtime(&["default", BUILT_IN.as_str(), "--json"]).json();
    runtime(&["remove", OTHER, "--json"]).json();
    assert!(!stored.exists());
    let refused = scene.run(&["check", text(&plain), "--runtime", OTHER]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    for part in ["`runtime` of the request", OTHER, &format!("runtime add {OTHER}")] {
        assert!(refused.stderr.contains(part), "{}", refused.stderr);
    }
}

#[test]
fn versions_render_side_by_side_on_a_farm() {
    let Some(archive) = published_runtime(OTHER) else { return };
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let farm = |args: &[&str]| -> Finished {
        let mut command: Command = scene.command(args);
        command.args(["--farm", up.url(), "--json"]).env("HYPERFARM_API_KEY", KEY);
        command.output().unwrap().into()
    };
    assert_eq!(farm(&["runtime", "add", text(&archive)]).json()["version"], OTHER);
    let listed = farm(&["runtime", "list"]).json();
    let versions: Vec<&Value> = listed.as_array().unwrap().iter().map(|item| &item["version"]).collect();
    assert_eq!(versions, [BUILT_IN.as_str(), OTHER]);
    let render = |name: &str, names: &str, more: &[&str]| {
        let (project, output) = (project(&scene, name, names), scene.path(&format!("{name}.mp4")));
        let result = farm(&[&["render", text(&project), "-o", text(&output)], more].concat()).json();
        let id = result["render_id"].as_str().unwrap().to_owned();
        let detail = up.request("GET", &format!("/v3/hyperframes/renders/{id}"), None);
        let timeline = up.request("GET", &format!("/v3/hyperframes/renders/{id}/timeline"), None);
        assert_eq!(detail["data"]["runtime"], timeline["data"]["runtime"]);
        assert_eq!(detail["data"]["runtime"], version_in(&output), "{name}");
        version_in(&output)
    };
    std::thread::scope(|scope| {
        let by_default = scope.spawn(|| render("default", "", &[]));
        let by_project = scope.spawn(|| render("project", OTHER, &[]));
        assert_eq!((by_default.join().unwrap(), by_project.join().unwrap()), (BUILT_IN.as_str(), OTHER));
    });
    let pinned = project(&scene, "pinned", OTHER);
    let refused = farm(&["render", text(&pinned), "--runtime", "^9.0.0", "-o", text(&scene.path("x.mp4"))]);
    assert_eq!(refused.code, Some(1));
    assert!(refused.stderr.contains("(runtime)") && refused.stderr.contains(OTHER), "{}", refused.stderr);
    assert_eq!(farm(&["runtime", "default", OTHER]).json()["is_default"], true);
    assert_eq!(render("new-default", "", &[]), OTHER);
}
