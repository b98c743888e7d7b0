//! The command line as people use it: outputs, projects, and the commands beside `render`.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::scene::{descendants, running, text, wait_until};
use hyperfarm_e2e::{Finished, Scene, Up, page};
use hyperfarm_testing::Requirement;
use serde_json::{Value, json};

/// More bytes than a farm takes as a project.
const LARGE: u64 = 210 * 1024 * 1024;

fn sparse_file(path: &Path, bytes: u64) {
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::File::create(path).unwrap().set_len(bytes).unwrap();
}

fn codes(warnings: &Value) -> Vec<&str> {
    warnings.as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

#[test]
fn outputs_are_no_part_of_the_project_and_footage_has_any_size() {
    let scene = Scene::new();
    let project = scene.project("sale", &page(0.2));
    sparse_file(&project.join("renders/earlier.mp4"), LARGE);
    sparse_file(&project.join("footage/large.mp4"), LARGE);
    let ended: Finished =
        scene.command(&["render", "--json", "-q", "draft"]).current_dir(&project).output().unwrap().into();
    assert_eq!(ended.json()["output"], "renders/sale.mp4");
    assert!(project.join("renders/sale.mp4").is_file());
    let named = project.join("new/folder/x.mp4");
    scene.run(&["render", text(&project), "-o", text(&named), "--json", "-q", "draft"]).json();
    assert!(named.is_file());
    scene.assert_clean("a render into its own project");
}

#[test]
fn a_name_that_no_format_has_is_refused_before_any_work() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    for name in ["clip.mkv", "out.xyz", "noext"] {
        let output = scene.path(name);
        let ended = scene.run(&["render", text(&project), "-o", text(&output)]);
        assert_eq!(ended.code, Some(2), "{name}: {}", ended.stderr);
        assert!(ended.stderr.contains(".mp4, .webm, .mov, .gif, .zip"), "{name}: {}", ended.stderr);
        assert!(!output.exists());
    }
}

#[test]
fn the_bar_of_a_failed_render_says_so() {
    let scene = Scene::new();
    let html = page(0.5).replace("<script>", "<script>throw new Error('scene two is missing');");
    let project = scene.project("p", &html);
    let render =
        format!("{} render {} -o {}", text(&hyperfarm_e2e::binary()), text(&project), text(&scene.path("x.mp4")));
    let mut command = Command::new("script");
    command.args(["-qec", &render, "/dev/null"]).env("TMPDIR", scene.path("tmp")).env("TERM", "xterm");
    let ended: Finished = command.output().unwrap().into();
    assert!(ended.stdout.contains("failed") && !ended.stdout.contains("done"), "{}", ended.stdout);
}

#[test]
fn a_gif_says_that_it_leaves_the_background_out() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    let output = scene.path("x.gif");
    let render = |more: &[&str]| {
        let args = ["render", text(&project), "-o", text(&output), "--json", "--fps", "10"];
        scene.run(&[&args[..], more].concat()).json()["warnings"].clone()
    };
    assert!(codes(&render(&[])).contains(&"BACKGROUND_DROPPED"));
    assert!(!codes(&render(&["--transparent=false"])).contains(&"BACKGROUND_DROPPED"));
}

#[test]
fn what_a_killed_render_leaves_is_removed_by_the_next() {
    let scene = Scene::new();
    let long = scene.project("long", &page(60.0));
    let short = scene.project("short", &page(0.2));
    let mut render = scene.spawn(&["render", text(&long), "-o", text(&scene.path("long.mp4"))]);
    assert!(wait_until(Duration::from_secs(60), || descendants(render.id()).len() > 5), "Chrome did not start");
    let helpers = descendants(render.id());
    render.kill().unwrap();
    render.wait().unwrap();
    assert!(!scene.left_behind().is_empty(), "a killed process cannot clean up");
    assert!(wait_until(Duration::from_secs(20), || running(&helpers).is_empty()), "browsers left");
    scene.run(&["render", text(&short), "-o", text(&scene.path("short.mp4")), "--json", "-q", "draft"]).json();
    scene.assert_clean("the render after a killed one");
}

#[test]
fn a_check_finds_what_a_render_would_warn_of() {
    let scene = Scene::new();
    let html = page(2.0).replace("<div id=\"box\">", "<img src=\"lost.png\"><div id=\"box\">");
    let project = scene.project("p", &html);
    let found = scene.run(&["check", text(&project), "--json"]).json();
    assert_eq!((&found["frames"], &found["width"], &found["duration"]), (&json!(60), &json!(640), &json!(2.0)));
    assert_eq!(found["ok"], true);
    assert!(found["warnings"].to_string().contains("lost.png"), "{found}");
    assert_eq!(scene.run(&["check", text(&project), "--strict"]).code, Some(1));
    let broken = scene.project("broken", "<p data-composition-id=m data-width=640 data-height=360>x</p>");
    let ended = scene.run(&["check", text(&broken), "--json"]);
    assert_eq!(
        (ended.code, serde_json::from_str::<Value>(&ended.stdout).unwrap()["ok"].clone()),
        (Some(1), json!(false))
    );
    // The page's clocks show the time of the check.
    let html = page(1.0).replace(
        "<div id=\"box\">",
        "<script>if (new Date().getFullYear() < 2026) document.write('<img src=past.png>')</script><div id=\"box\">",
    );
    let dated = scene.project("dated", &html);
    let found = scene.run(&["check", text(&dated), "--json"]).json();
    assert!(!found["warnings"].to_string().contains("past.png"), "{found}");
    scene.assert_clean("checks");
}

#[test]
fn snapshots_are_the_frames_of_a_render() {
    let scene = Scene::new();
    let project = scene.project("p", &page(1.0));
    let (frames, stills) = (scene.path("frames"), scene.path("stills"));
    let sequence =
        ["render", text(&project), "-o", text(&frames), "--format", "png-sequence", "--transparent=false", "--json"];
    scene.run(&sequence).json();
    let taken = scene.run(&["snapshot", text(&project), "--at", "0,0.5,100%", "-o", text(&stills), "--json"]).json();
    let numbers: Vec<&Value> = taken["snapshots"].as_array().unwrap().iter().map(|one| &one["frame"]).collect();
    assert_eq!(numbers, [&json!(0), &json!(15), &json!(29)]);
    for (still, frame) in [("at-0s.png", 1), ("at-0.5s.png", 16), ("at-1s.png", 30)] {
        let frame = frames.join(format!("frame_{frame:06}.png"));
        assert!(std::fs::read(stills.join(still)).unwrap() == std::fs::read(frame).unwrap(), "{still}");
    }
    let late = scene.run(&["snapshot", text(&project), "--at", "7", "-o", text(&stills)]);
    assert_eq!(late.code, Some(1));
    assert!(late.stderr.contains("lasts 1 s"), "{}", late.stderr);
    scene.assert_clean("snapshots");
}

#[test]
fn a_batch_renders_each_row_here_and_on_a_farm() {
    let scene = Scene::new();
    let html = page(0.2).replace(
        "<html>",
        "<html data-composition-variables='[{\"id\":\"count\",\"type\":\"number\",\"default\":1}]'>",
    );
    let project = scene.project("p", &html);
    let rows = scene.write("rows.csv", "name,count\nfirst,2\nsecond,3\n");
    let up = Up::start(&scene, &[]);
    for (folder, farm) in [("here", &[][..]), ("farm", &["--farm", up.url()][..])] {
        let output = scene.path(folder).join("{index}-{name}.mp4");
        let args = ["render", text(&project), "--batch", text(&rows), "-o", text(&output), "--json", "-q", "draft"];
        let mut command = scene.command(&[&args[..], &["--composition", ".", "--poster", "0"], farm].concat());
        let result = Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap()).json();
        assert_eq!((&result["total"], &result["completed"]), (&json!(2), &json!(2)), "{result}");
        assert_eq!(result["rows"][1]["variables"], json!({"name": "second", "count": 3}));
        for file in ["0-first.mp4", "0-first.poster.jpg", "1-second.mp4", "1-second.poster.jpg", "manifest.json"] {
            assert!(scene.path(folder).join(file).is_file(), "{folder}/{file}");
        }
    }
    let bad = scene.write("bad.json", r#"[{"nobody":1},{"count":2}]"#);
    let output = scene.path("bad/{index}.mp4");
    let args = ["render", text(&project), "--batch", text(&bad), "-o", text(&output), "--json", "--strict-variables"];
    let ended = scene.run(&[&args[..], &["--batch-fail-fast"]].concat());
    let result: Value = serde_json::from_str(&ended.stdout).unwrap();
    assert_eq!((ended.code, &result["failed"], &result["skipped"]), (Some(1), &json!(1), &json!(1)), "{result}");
}

#[test]
fn a_render_on_a_farm_has_a_name_a_pool_and_a_priority() {
    let scene = Scene::new();
    let project = scene.project("spring-sale", &page(0.2));
    let up = Up::start(&scene, &[]);
    let submit = |more: &[&str]| {
        let args = ["render", text(&project), "--farm", up.url(), "--no-wait"];
        let mut command = scene.command(&[&args[..], more].concat());
        let made = Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap()).json();
        up.request("GET", &format!("/v3/hyperframes/renders/{}", made["render_id"].as_str().unwrap()), None)["data"]
            .clone()
    };
    assert_eq!(submit(&[])["title"], "spring-sale");
    let named =
        ["--title", "Sale", "--priority", "-5", "--callback-id", "job-7", "--callback-url", "https://x.example/"];
    let made = submit(&named);
    let shown = (&made["title"], &made["priority"], &made["callback_id"]);
    assert_eq!(shown, (&json!("Sale"), &json!(-5), &json!("job-7")));
    let elsewhere = submit(&["--pool", "gpu"]);
    assert_eq!(elsewhere["status"], "queued");
    let client = |args: &[&str]| {
        let mut command = scene.command(&[args, &["--farm", up.url(), "--json"]].concat());
        Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap())
    };
    let gpu = elsewhere["render_id"].as_str().unwrap();
    assert_eq!(client(&["renders", "priority", gpu, "40"]).json()["priority"], 40);
    let listed = client(&["renders", "list", "--pool", "gpu", "--sort", "priority", "--status", "queued"]).json();
    assert_eq!((listed.as_array().unwrap().len(), &listed[0]["render_id"]), (1, &json!(gpu)));
    let id = made["render_id"].as_str().unwrap();
    assert_eq!(client(&["renders", "watch", id]).code, Some(0));
    let workers = client(&["workers", "list"]).json();
    assert!(workers.as_array().unwrap().iter().any(|worker| worker["role"] == "worker"), "{workers}");
    assert_eq!(client(&["renders", "delete", "--older-than", "1h"]).json(), json!([]));
    let gone = client(&["renders", "delete", "--older-than", "0s"]).json();
    assert!(gone.to_string().contains(id), "{gone}");
}

#[test]
fn a_farm_with_espeak_speaks() {
    let espeak = Path::new("/usr/bin/espeak-ng");
    if !espeak.is_file() {
        return Requirement::Servers.skip("espeak-ng is not installed");
    }
    let scene = Scene::new();
    let up = Up::start(&scene, &[("HYPERFARM_ESPEAK", text(espeak))]);
    let client = |args: &[&str]| {
        let mut command = scene.command(&[args, &["--farm", up.url(), "--json"]].concat());
        Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap())
    };
    let listed = client(&["voices", "list", "--language", "German", "--gender", "female", "--all"]).json();
    let ids: Vec<&str> = listed.as_array().unwrap().iter().map(|voice| voice["voice_id"].as_str().unwrap()).collect();
    assert_eq!(ids, ["espeak_de_f1", "espeak_de_f2", "espeak_de_f5"]);
    assert!(client(&["voices", "list", "--all"]).json().as_array().unwrap().len() > 500);
    let deep = client(&["voices", "design", "a deep British man"]).json();
    assert_eq!(deep[0]["voice_id"], "espeak_en-gb_m8");
    let output = scene.path("hello.wav");
    let spoken = ["voices", "speak", "Hello from the farm.", "--voice", "espeak_en-gb_m8", "-o", text(&output)];
    let spoken = client(&spoken).json();
    assert_eq!(spoken["word_timestamps"].as_array().unwrap().len(), 4, "{spoken}");
    assert!(std::fs::read(&output).unwrap().starts_with(b"RIFF"));
    let refused = client(&["voices", "speak", "a", "--voice", "nobody", "-o", text(&output)]);
    assert_eq!(refused.code, Some(1), "{}", refused.stderr);
    // The preview needs no key.
    let voice = client(&["voices", "get", "espeak_de"]).json();
    let preview = scene.path("preview.wav");
    let curl = ["-sfL", "-o", text(&preview), voice["preview_audio_url"].as_str().unwrap()];
    assert!(Command::new("curl").args(curl).status().unwrap().success());
    assert!(std::fs::read(&preview).unwrap().starts_with(b"RIFF"));
}

#[test]
fn the_doctor_answers_programs() {
    let scene = Scene::new();
    let mut command = scene.command(&["doctor", "--json"]);
    let ended: Finished = command.env("HYPERFARM_DATA_DIR", scene.path("data")).output().unwrap().into();
    let checks = ended.json();
    assert_eq!(checks["ok"], true);
    let names: Vec<&str> =
        checks["checks"].as_array().unwrap().iter().map(|one| one["check"].as_str().unwrap()).collect();
    assert!(["chrome", "begin-frame", "libx264", "storage"].iter().all(|name| names.contains(name)), "{names:?}");
}
