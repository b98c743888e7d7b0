//! `hyperfarm render` in one process: what it makes, what it says, what it leaves.

use std::os::unix::process::ExitStatusExt;
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::pictures::{brightness, pictures};
use hyperfarm_e2e::scene::{descendants, running, text, wait_until};
use hyperfarm_e2e::{Finished, Scene, example, page};

#[test]
fn a_render_has_its_frames_and_leaves_nothing() {
    let scene = Scene::new();
    let project = scene.project("p", &page(1.5));
    let output = scene.path("out.mp4");
    let result = scene.run(&["render", text(&project), "-o", text(&output), "--json"]).json();
    assert_eq!(
        (result["frames"].as_u64(), result["width"].as_u64(), result["height"].as_u64()),
        (Some(45), Some(640), Some(360))
    );
    assert_eq!(result["has_audio"], false);
    let info = hyperfarm_media::probe(&output).unwrap();
    assert!((info.duration.unwrap() - 1.5).abs() < 1e-3);
    let frames = pictures(&output);
    assert_eq!(frames.len(), 45);
    assert!(frames.iter().all(|picture| brightness(picture) > 20.0), "no black frame");
    scene.assert_clean("a render");
}

#[test]
fn sound_is_as_long_as_the_picture() {
    let scene = Scene::new();
    let (output, manifest) = scene.render(&example("video-duck"), "duck", &["--fps", "10", "--quality", "draft"]);
    assert_eq!(manifest.output.frames, 80);
    assert!(manifest.output.has_audio);
    let samples = hyperfarm_media::decode_audio(&output).unwrap();
    assert_eq!(samples.len(), 8 * 48_000);
    let level = |from: f64, to: f64| {
        let part = &samples[(from * 48_000.0) as usize..(to * 48_000.0) as usize];
        (part.iter().map(|[l, r]| l * l + r * r).sum::<f32>() / part.len() as f32).sqrt()
    };
    assert!(level(0.2, 1.2) > 0.01, "the music sounds before it is ducked");
    scene.assert_clean("a render with sound");
}

#[test]
fn equal_plans_give_equal_bytes() {
    let scene = Scene::new();
    let project = scene.project("p", &page(2.0));
    let chunks = ["--chunk-frames", "17", "--now", "2026-11-28T20:00:00Z"];
    let (_, first) = scene.render(&project, "one-slot", &[&chunks[..], &["--slots", "1"]].concat());
    let (_, again) = scene.render(&project, "again", &[&chunks[..], &["--slots", "1"]].concat());
    let (_, two) = scene.render(&project, "two-slots", &[&chunks[..], &["--slots", "2"]].concat());
    assert_eq!(first.segments.len(), 4);
    assert_eq!(first.plan, two.plan);
    for other in [&again, &two] {
        assert_eq!(first.output.hash, other.output.hash);
        let hashes = |manifest: &hyperfarm_proto::record::Manifest| {
            manifest.segments.iter().map(|segment| segment.hash).collect::<Vec<_>>()
        };
        assert_eq!(hashes(&first), hashes(other));
    }
    assert_eq!(std::fs::read(scene.path("one-slot.mp4")).unwrap(), std::fs::read(scene.path("two-slots.mp4")).unwrap());
}

#[test]
fn formats_and_sizes() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.5));
    for (name, args, frames) in [
        ("a.webm", vec![], 15),
        ("b.mov", vec![], 15),
        ("c.mp4", vec!["--fps", "30000/1001"], 15),
        ("d.mp4", vec!["--width", "1280", "--height", "720"], 15),
    ] {
        let output = scene.path(name);
        let mut all = vec!["render", text(&project), "-o", text(&output), "--json", "--quality", "draft"];
        all.extend(args);
        let result = scene.run(&all).json();
        assert_eq!(result["frames"].as_u64(), Some(frames), "{name}");
        let info = hyperfarm_media::probe(&output).unwrap().video.unwrap();
        assert_eq!(info.size.width, if name == "d.mp4" { 1280 } else { 640 }, "{name}");
    }
}

#[test]
fn variables_reach_the_page() {
    let scene = Scene::new();
    let html = page(0.2).replace("<html>", "<html data-composition-variables='[{\"id\":\"ground\",\"type\":\"color\",\"default\":\"#10243d\"}]'>").replace(
        "<script>",
        "<script>document.body.style.background = (window.__hfVariables && window.__hfVariables.ground) || '#10243d';",
    );
    let project = scene.project("p", &html);
    let file = scene.write("variables.json", r##"{"ground":"#ffffff"}"##);
    let from_file = format!("@{}", text(&file));
    let (dark, _) = scene.render(&project, "dark", &[]);
    let (light, _) = scene.render(&project, "light", &["--variables", r##"{"ground":"#ffffff"}"##]);
    let (same, _) = scene.render(&project, "same", &["--variables", &from_file]);
    let mean = |path: &std::path::Path| brightness(&pictures(path)[3]);
    assert!(mean(&light) > mean(&dark) + 100.0);
    assert_eq!(std::fs::read(light).unwrap(), std::fs::read(same).unwrap());
}

/// Renders what must be refused; answers how.
fn refused(scene: &Scene, args: &[&str]) -> Finished {
    let output = scene.path("refused.mp4");
    let mut all = vec!["render"];
    all.extend_from_slice(args);
    all.extend_from_slice(&["-o", text(&output)]);
    let ended = scene.run(&all);
    assert!(!output.exists(), "{args:?} wrote an output");
    ended
}

#[test]
fn bad_input_says_what_to_do() {
    let scene = Scene::new();
    let good = scene.project("good", &page(0.5));
    let good = text(&good);
    let empty = scene.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let broken = scene.write("broken.zip", b"PK\x03\x04 not really");
    let root = |attributes: &str| {
        format!("<div data-composition-id=m data-width=640 data-height=360 data-no-timeline {attributes}>x</div>")
    };
    let project = |name: &str, html: &str| text(&scene.project(name, html)).to_owned();
    let nested = project(
        "nested",
        &root("data-duration=1").replace(">x<", "><p data-composition-src=\"scenes/lost.html\"></p><"),
    );
    let endless = project("endless", &root(""));
    let negative = project("negative", &root("data-duration=-1"));
    let long = project("long", &root("data-duration=36000"));
    let huge = project("huge", &root("data-duration=1").replace("640", "9000"));
    let throws = project(
        "throws",
        "<div data-composition-id=m data-width=640 data-height=360 data-duration=1></div><script>window.__timelines = {}; throw new Error('scene two is missing')</script>",
    );
    let lost = project(
        "lost",
        "<div data-composition-id=m data-width=640 data-height=360 data-duration=1></div><script src=\"lib/lost.js\"></script><script>window.__timelines ||= {}</script>",
    );
    let cases: Vec<(Vec<&str>, i32, &[&str])> = vec![
        (vec![text(&empty)], 1, &["index.html"]),
        (vec!["/nonexistent/project"], 2, &["/nonexistent/project"]),
        (vec![text(&broken)], 1, &["broken.zip", "zip"]),
        (vec![&nested], 1, &["scenes/lost.html", "COMPOSITION_NOT_FOUND"]),
        (vec![&endless], 1, &["data-duration", "DURATION_MISSING"]),
        (vec![&negative], 1, &["-1", "DURATION_INVALID"]),
        (vec![&long], 1, &["36000", "DURATION_INVALID"]),
        (vec![&huge], 1, &["9000x360", "SIZE_INVALID"]),
        (vec![&throws], 1, &["scene two is missing", "index.html"]),
        (vec![&lost], 1, &["lib/lost.js"]),
        (vec![good, "--variables", "{\"a\":"], 2, &["--variables", "JSON"]),
        (vec![good, "--variables", "[]"], 2, &["one JSON object"]),
        (vec![good, "--composition", "other.html"], 2, &["other.html"]),
        (vec![good, "--resolution", "4k"], 1, &["resolution", "640x360"]),
        (vec![good, "--fps", "0"], 2, &["--fps"]),
        (vec![good, "--strict-variables", "--variables", "{\"nobody\":1}"], 1, &["nobody", "VARIABLES_INVALID"]),
    ];
    for (args, code, named) in cases {
        let ended = refused(&scene, &args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        for name in named {
            assert!(ended.stderr.contains(name), "{args:?}: `{}` does not name {name}", ended.stderr);
        }
        scene.assert_clean(&format!("{args:?}"));
    }
    let unwritable = scene.run(&["render", good, "-o", "/dev/null/folder/x.mp4"]);
    assert_eq!(unwritable.code, Some(2));
    assert!(unwritable.stderr.contains("/dev/null/folder/x.mp4"), "{}", unwritable.stderr);
}

#[test]
fn a_missing_image_is_a_warning_that_names_it() {
    let scene = Scene::new();
    let project =
        scene.project("p", &page(0.2).replace("<div id=\"box\">", "<img src=\"pictures/lost.png\"><div id=\"box\">"));
    let output = scene.path("out.mp4");
    let ended = scene.run(&["render", text(&project), "-o", text(&output)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(ended.stderr.contains("pictures/lost.png"), "{}", ended.stderr);
}

#[test]
fn no_chrome_and_no_broker_say_what_to_do() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    let output = scene.path("x.mp4");
    let ended: Finished = scene
        .command(&["render", text(&project), "-o", text(&output)])
        .env("HYPERFARM_CHROME", "/nonexistent/chrome")
        .output()
        .unwrap()
        .into();
    assert_eq!(ended.code, Some(3));
    assert!(
        ended.stderr.contains("/nonexistent/chrome") && ended.stderr.contains("chromium-headless-shell"),
        "{}",
        ended.stderr
    );
    scene.assert_clean("a render without Chrome");

    let mut worker = scene.command(&["worker"]);
    worker
        .env("HYPERFARM_AMQP_URL", "amqp://127.0.0.1:1")
        .env("HYPERFARM_REDIS_URL", "redis://127.0.0.1:1")
        .env("HYPERFARM_STORAGE_URL", format!("file://{}", text(&scene.path("storage"))));
    let ended: Finished = worker.output().unwrap().into();
    assert_eq!(ended.code, Some(3), "{}", ended.stderr);
    assert!(
        ended.stderr.contains("HYPERFARM_AMQP_URL") || ended.stderr.contains("HYPERFARM_REDIS_URL"),
        "{}",
        ended.stderr
    );

    let partial: Finished =
        scene.command(&["worker"]).env("HYPERFARM_AMQP_URL", "amqp://127.0.0.1:1").output().unwrap().into();
    assert_eq!(partial.code, Some(2));
    assert!(partial.stderr.contains("HYPERFARM_REDIS_URL"), "{}", partial.stderr);
}

#[test]
fn ctrl_c_leaves_nothing() {
    let scene = Scene::new();
    let project = scene.project("p", &page(60.0));
    let output = scene.path("out.mp4");
    let mut render = scene.spawn(&["render", text(&project), "-o", text(&output), "--chunk-frames", "300"]);
    assert!(wait_until(Duration::from_secs(60), || descendants(render.id()).len() > 5), "Chrome did not start");
    // Long enough to be among the frames.
    std::thread::sleep(Duration::from_secs(4));
    let helpers = descendants(render.id());
    let killed = Command::new("kill").args(["-INT", &render.id().to_string()]).status().unwrap();
    assert!(killed.success());
    let status = render.wait().unwrap();
    assert_eq!((status.code(), status.signal()), (Some(130), None));
    assert!(!output.exists());
    assert!(
        wait_until(Duration::from_secs(10), || running(&helpers).is_empty()),
        "left: {:?} of {helpers:?}",
        running(&helpers)
    );
    scene.assert_clean("Ctrl-C");
}

#[test]
fn the_doctor_is_green_here_and_red_without_chrome() {
    let scene = Scene::new();
    let data = scene.path("data");
    let green: Finished = scene.command(&["doctor"]).env("HYPERFARM_DATA_DIR", &data).output().unwrap().into();
    assert_eq!(green.code, Some(0), "{}{}", green.stdout, green.stderr);
    for line in ["chrome", "begin-frame", "libx264", "broker", "ledger", "storage", "memory"] {
        assert!(green.stdout.contains(line), "{line}: {}", green.stdout);
    }
    let red: Finished = scene
        .command(&["doctor"])
        .env("HYPERFARM_DATA_DIR", &data)
        .env("HYPERFARM_CHROME", "/nonexistent")
        .output()
        .unwrap()
        .into();
    assert_eq!(red.code, Some(3));
    assert!(red.stdout.contains("NO  chrome") && red.stdout.contains("HYPERFARM_CHROME"), "{}", red.stdout);
}
