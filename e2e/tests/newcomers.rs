//! What people meet who type something wrong, interrupt, or look for why nothing happens.

#![allow(clippy::unwrap_used)]

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command};
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::scene::{descendants, running, text, wait_until};
use hyperfarm_e2e::{Finished, Scene, Up, page};
use serde_json::{Value, json};

/// A page of two seconds with a mistyped start, whose script does `action` in the last frames.
fn mistyped(action: &str) -> String {
    let script = format!("<script>window.late = (time) => {{ if (time > 1.8) {{ {action} }} }};");
    let html = page(2.0).replacen("<script>", &script, 1);
    html.replace("<div id=\"box\">", "<div id=\"note\" data-start=\"intor\" data-duration=\"1\"></div><div id=\"box\">")
        .replace(
            "document.getElementById(\"count\")",
            "window.late(counter.value / 30); document.getElementById(\"count\")",
        )
}

fn codes(warnings: &Value) -> Vec<&str> {
    warnings.as_array().unwrap().iter().map(|warning| warning["code"].as_str().unwrap()).collect()
}

fn signal(process: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &process.id().to_string()]).status().unwrap().success());
}

/// The status of a request of `up`, with this key or none.
fn status(up: &Up, key: Option<&str>) -> String {
    let url = format!("{}/v3/hyperframes/renders", up.url());
    let mut curl = Command::new("curl");
    curl.args(["-s", "-o", "/dev/null", "-w", "%{http_code}", &url]);
    if let Some(key) = key {
        curl.args(["-H", &format!("x-api-key: {key}")]);
    }
    String::from_utf8(curl.output().unwrap().stdout).unwrap()
}

#[test]
fn a_failed_render_says_what_was_found_before() {
    let scene = Scene::new();
    let output = scene.path("x.mp4");
    let in_capture = scene.project("capture", &mistyped("location.href = 'other.html'"));
    let in_plan = scene.project("plan", &mistyped("").replace("gsap.timeline", "nothing.timeline"));
    for project in [&in_capture, &in_plan] {
        let args = ["render", text(project), "-o", text(&output), "-q", "draft"];
        let ended = scene.run(&args);
        assert_eq!(ended.code, Some(1), "{}", ended.stderr);
        for named in ["warning: data-start=\"intor\" of <div id=\"note\">", "[CLIP_NOT_FOUND]"] {
            assert_eq!(ended.stderr.matches(named).count(), 1, "{}", ended.stderr);
        }
        let ended = scene.run(&[&args[..], &["--json"]].concat());
        let result: Value = serde_json::from_str(&ended.stdout).unwrap();
        assert_eq!((ended.code, &result["ok"]), (Some(1), &json!(false)), "{result}");
        assert!(codes(&result["warnings"]).contains(&"CLIP_NOT_FOUND"), "{result}");
        assert!(ended.stderr.contains(result["error"].as_str().unwrap()), "{}", ended.stderr);
    }
    let checked = scene.run(&["check", text(&in_plan), "--json"]);
    let result: Value = serde_json::from_str(&checked.stdout).unwrap();
    assert!(codes(&result["warnings"]).contains(&"CLIP_NOT_FOUND"), "{result}");
    let rows = scene.write("rows.json", "[{}]");
    let each = scene.path("{index}.mp4");
    let args = ["render", text(&in_capture), "--batch", text(&rows), "-o", text(&each), "--json"];
    let batch: Value = serde_json::from_str(&scene.run(&args).stdout).unwrap();
    assert!(codes(&batch["rows"][0]["warnings"]).contains(&"CLIP_NOT_FOUND"), "{batch}");
    let up = Up::start(&scene, &[]);
    let args = ["render", text(&in_capture), "-o", text(&output), "--farm", up.url()];
    let ended: Finished = scene.command(&args).env("HYPERFARM_API_KEY", KEY).output().unwrap().into();
    assert!(ended.code == Some(1) && ended.stderr.contains("[CLIP_NOT_FOUND]"), "{}", ended.stderr);
}

#[test]
fn an_interrupted_command_says_what_it_waits_for_and_a_second_signal_ends_it() {
    let scene = Scene::new();
    let project = scene.project("p", &page(600.0));
    let output = scene.path("x.mp4");
    let begun = |args: &[&str]| {
        let process = scene.spawn(args);
        assert!(wait_until(Duration::from_secs(60), || descendants(process.id()).len() > 5), "Chrome did not start");
        process
    };
    let render = begun(&["render", text(&project), "-o", text(&output), "--chunk-frames", "9000"]);
    signal(&render, "-INT");
    let ended: Finished = render.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    for named in ["waiting for the browsers to end", "a second Ctrl-C ends at once", "nothing was left behind"] {
        assert!(ended.stderr.contains(named), "{}", ended.stderr);
    }
    scene.assert_clean("Ctrl-C");

    // Its task may go on for an hour; the first signal alone would end it with 0 then.
    let listen = ["up", "--listen", "127.0.0.1:0"];
    let mut up = scene.command(&listen);
    up.env("HYPERFARM_DRAIN_GRACE", "1h").stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped());
    let mut up = up.spawn().unwrap();
    let mut first = String::new();
    let mut stdout = std::io::BufReader::new(up.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut first).unwrap();
    let url = first.trim().rsplit(' ').next().unwrap().to_owned();
    let submit = ["render", text(&project), "--farm", &url, "--no-wait", "--chunk-frames", "9000"];
    let made = Finished::from(scene.command(&submit).env("HYPERFARM_API_KEY", KEY).output().unwrap()).json();
    let of_render = format!("{url}/v3/hyperframes/renders/{}", made["render_id"].as_str().unwrap());
    let is_capturing = || {
        let answer = Command::new("curl").args(["-s", &of_render, "-H", "x-api-key: any"]).output().unwrap().stdout;
        let answer: Value = serde_json::from_slice(&answer).unwrap_or_default();
        answer["data"]["progress"]["frames_done"].as_u64().is_some_and(|frames| frames > 0)
    };
    assert!(wait_until(Duration::from_secs(120), is_capturing), "no frame was captured");
    let helpers = descendants(up.id());
    signal(&up, "-INT");
    assert!(wait_until(Duration::from_secs(20), || status_of(&url).is_empty()), "the API still answers");
    assert_eq!(up.try_wait().unwrap(), None, "it waits for its task");
    signal(&up, "-INT");
    let ended: Finished = up.wait_with_output().unwrap().into();
    assert_eq!(ended.code, Some(130), "{}", ended.stderr);
    assert!(ended.stderr.contains("HYPERFARM_DRAIN_GRACE"), "{}", ended.stderr);
    assert!(wait_until(Duration::from_secs(20), || running(&helpers).is_empty()), "browsers left");
}

/// What the farm at `url` says of its health; nothing where nobody listens.
fn status_of(url: &str) -> String {
    let curl = Command::new("curl").args(["-s", &format!("{url}/healthz")]).output().unwrap();
    String::from_utf8_lossy(&curl.stdout).into_owned()
}

#[test]
fn a_second_farm_over_a_folder_is_refused() {
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let data = scene.path("data");
    let owner = std::fs::read_to_string(data.join(".up.lock")).unwrap();
    let second = scene.run(&["up", "--listen", "127.0.0.1:0"]);
    assert_eq!(second.code, Some(3), "{}", second.stderr);
    for named in [text(&data), &format!("the process {};", owner.trim()), "HYPERFARM_DATA_DIR"] {
        assert!(second.stderr.contains(named), "{}", second.stderr);
    }
    // A farm elsewhere is none of its business, and neither is a process that was killed.
    drop(Up::start(&scene, &[("HYPERFARM_DATA_DIR", text(&scene.path("other")))]));
    up.kill();
    drop(Up::start(&scene, &[]));
}

#[test]
fn a_key_that_is_made_while_the_farm_runs_closes_it() {
    let scene = Scene::new();
    let up = Up::start(&scene, &[("HYPERFARM_API_KEYS", "")]);
    assert_eq!((status(&up, None).as_str(), status(&up, Some("any")).as_str()), ("200", "200"));
    let made = scene.run(&["keys", "create", "first", "--json"]).json();
    assert!(wait_until(Duration::from_secs(60), || status(&up, None) == "401"), "it still asks for no key");
    assert_eq!(status(&up, Some("any")), "401");
    assert_eq!(status(&up, made["key"].as_str()), "200");
}

#[test]
fn why_a_render_waits_is_told_without_a_terminal_and_at_the_time_out() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    let up = Up::start(&scene, &[]);
    let client = |args: &[&str]| {
        let mut command = scene.command(&[args, &["--farm", up.url()]].concat());
        Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap())
    };
    let output = scene.path("x.mp4");
    let ended = client(&["render", text(&project), "-o", text(&output), "--pool", "gpu", "--timeout", "15s"]);
    assert_eq!(ended.code, Some(4), "{}", ended.stderr);
    let told: Vec<&str> = ended.stderr.lines().filter(|line| line.starts_with("waiting: ")).collect();
    assert!(told.len() == 1 && told[0].contains("gpu"), "{}", ended.stderr);
    let why = told[0].trim_start_matches("waiting: ");
    assert!(ended.stderr.contains(&format!("in time ({why});")), "{}", ended.stderr);
    let listed = client(&["renders", "list", "--json"]).json();
    let watched = client(&["renders", "watch", listed[0]["render_id"].as_str().unwrap(), "--timeout", "3s"]);
    assert_eq!(watched.code, Some(4), "{}", watched.stderr);
    assert_eq!(watched.stderr.matches(why).count(), 2, "{}", watched.stderr);
}

#[test]
fn what_the_command_line_gets_wrong_has_its_own_exit_code() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    let (project, output) = (text(&project).to_owned(), text(&scene.path("x.mp4")).to_owned());
    let empty = scene.path("empty");
    std::fs::create_dir(&empty).unwrap();
    let zip = scene.write("broken.zip", b"PK\x03\x04 not really");
    let rows = scene.write("rows.txt", "no rows");
    let render = |more: &[&str]| {
        [&["render", &project, "-o", &output][..], more].concat().iter().map(|part| (*part).to_owned()).collect()
    };
    let line = |parts: &[&str]| parts.iter().map(|part| (*part).to_owned()).collect::<Vec<String>>();
    let farm = ["--farm", "http://127.0.0.1:9"];
    let on_farm = |more: &[&str]| -> Vec<String> { render(&[&farm[..], more].concat()) };
    let cases: Vec<(Vec<String>, i32, &[&str])> = vec![
        // Values.
        (render(&["--from", "-1"]), 2, &["--from", "-1", "seconds"]),
        (render(&["--to", "-5f"]), 2, &["--to", "-5f"]),
        (render(&["--duration", "-1"]), 2, &["--duration", "-1"]),
        (render(&["--crf", "-3"]), 2, &["--crf", "-3", "0 to 63"]),
        (render(&["--poster", "-1"]), 2, &["--poster", "-1"]),
        (render(&["--fps", "-30"]), 2, &["--fps", "-30"]),
        (render(&["--width", "-640", "--height", "360"]), 2, &["--width", "-640"]),
        (render(&["--slots", "0"]), 2, &["--slots", "from 1 up"]),
        (render(&["--slots", "-2"]), 2, &["--slots", "from 1 up"]),
        (render(&["--workers", "0"]), 2, &["--workers", "from 1 up"]),
        (render(&["--chunk-frames", "0"]), 2, &["--chunk-frames"]),
        (render(&["--variables", "{\"a\":"]), 2, &["--variables", "JSON"]),
        (render(&["--variables", "[]"]), 2, &["one JSON object"]),
        (render(&["--variables-file", "/nonexistent.json"]), 2, &["/nonexistent.json"]),
        (render(&["--audio", "/nonexistent.mp3"]), 2, &["--audio", "/nonexistent.mp3"]),
        (render(&["--batch", "/nonexistent.csv"]), 2, &["--batch", "/nonexistent.csv"]),
        (render(&["--batch", text(&rows)]), 2, &["--batch", "JSON"]),
        (render(&["--composition", "other.html"]), 2, &["other.html"]),
        (render(&["--hdr", "--codec", "h264"]), 2, &["hdr"]),
        (render(&["--format", "webm"]), 2, &[".webm"]),
        (line(&["render", &project, "-o", "clip.mkv"]), 2, &[".mp4, .webm, .mov, .gif, .zip\n"]),
        (line(&["render", &project, "-o", "noext"]), 2, &["--format"]),
        (line(&["render", &project, "-o", "/dev/null/folder/x.mp4"]), 2, &["/dev/null/folder/x.mp4"]),
        (line(&["render", &project, "-o", text(&empty)]), 2, &["--output"]),
        (line(&["render", "/nonexistent/project"]), 2, &["/nonexistent/project"]),
        (line(&["check", "/nonexistent/project"]), 2, &["/nonexistent/project"]),
        (line(&["snapshot", "/nonexistent/project"]), 2, &["/nonexistent/project"]),
        (line(&["simulate", "/nonexistent.toml"]), 2, &["/nonexistent.toml"]),
        (line(&["up", "--slots", "0"]), 2, &["--slots", "from 1 up"]),
        (line(&["worker"]), 2, &["HYPERFARM_AMQP_URL"]),
        (line(&["ledger", "rebuild"]), 2, &["HYPERFARM_REDIS_URL"]),
        (line(&["runtime", "add", "/nonexistent"]), 2, &["/nonexistent"]),
        (line(&["keys", "create", "a", "--cap", "-1"]), 2, &["--cap", "0 or more"]),
        (line(&["renders", "delete", "--older-than", "soon"]), 2, &["--older-than"]),
        (line(&["renders", "watch", "r", "--timeout", "soon"]), 2, &["--timeout"]),
        (line(&["assets", "upload", "/nonexistent.png"]), 2, &["/nonexistent.png"]),
        (
            line(&["videos", "create", "--avatar", "a", "--script", "Hi", "--voice", "v", "--timeout", "9s"]),
            2,
            &["--timeout", "--wait"],
        ),
        // Flags that would change nothing beside each other.
        (on_farm(&["--no-wait"]), 2, &["--no-wait", "--output"]),
        (
            line(&["render", &project, "--farm", "http://127.0.0.1:9", "--no-wait", "--timeout", "9s"]),
            2,
            &["--no-wait", "--timeout"],
        ),
        (on_farm(&["--slots", "2"]), 2, &["--slots", "--farm"]),
        (on_farm(&["--workers", "2"]), 2, &["--workers", "--farm"]),
        (on_farm(&["--manifest", "m.json"]), 2, &["--manifest", "--farm"]),
        (on_farm(&["--timings"]), 2, &["--timings", "--farm"]),
        (on_farm(&["--trace", "t.json"]), 2, &["--trace", "--farm"]),
        (on_farm(&["--timeout", "soon"]), 2, &["--timeout"]),
        (render(&["--title", "x"]), 2, &["--farm"]),
        (render(&["--batch-fail-fast"]), 2, &["--batch"]),
        (render(&["--timings", "--quiet"]), 2, &["--timings", "--quiet"]),
        (render(&["--resolution", "portrait", "--aspect-ratio", "16:9"]), 2, &["--resolution", "--aspect-ratio"]),
        (line(&["snapshot", &project, "--crf", "9"]), 2, &["--crf", "snapshot"]),
        (line(&["snapshot", &project, "--at", "0,1", "-o", "x.png"]), 2, &["x.png", "--at"]),
        (line(&["renders", "list", "--all", "--limit", "5"]), 2, &["--all", "--limit"]),
        // The composition or the request.
        (line(&["render", text(&empty)]), 1, &["index.html"]),
        (line(&["render", text(&zip)]), 1, &["broken.zip", "zip"]),
        (render(&["--resolution", "4k"]), 1, &["resolution", "640x360"]),
        (line(&["snapshot", &project, "--at", "7"]), 1, &["--at 7", "lasts 0.2 s"]),
        (line(&["keys", "revoke", "nobody"]), 1, &["nobody"]),
        // The farm or the machine.
        (line(&["renders", "list", "--farm", "http://127.0.0.1:9"]), 3, &["127.0.0.1:9"]),
    ];
    for (args, code, named) in cases {
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        let ended = scene.run(&args);
        assert_eq!(ended.code, Some(code), "{args:?}: {}", ended.stderr);
        for name in named {
            assert!(ended.stderr.contains(name), "{args:?}: `{}` does not name {name}", ended.stderr);
        }
        assert!(!Path::new(&output).exists(), "{args:?} wrote an output");
    }
    let setting = |name: &str, value: &str| {
        let ended = scene.command(&["render", &project, "-o", &output]).env(name, value).output().unwrap();
        Finished::from(ended)
    };
    let ended = setting("HYPERFARM_CHROME_SANDBOX", "perhaps");
    assert_eq!(ended.code, Some(2), "{}", ended.stderr);
    assert!(ended.stderr.contains("HYPERFARM_CHROME_SANDBOX"), "{}", ended.stderr);
}

#[test]
fn one_snapshot_may_be_a_file_and_a_download_makes_its_folder() {
    let scene = Scene::new();
    let project = scene.project("p", &page(0.2));
    let file = scene.path("new/x.png");
    let taken = scene.run(&["snapshot", text(&project), "--at", "0", "-o", text(&file), "--json"]).json();
    assert_eq!(taken["snapshots"][0]["file"], text(&file));
    assert!(std::fs::read(&file).unwrap().starts_with(b"\x89PNG"));
    let up = Up::start(&scene, &[]);
    let client = |args: &[&str]| {
        let mut command = scene.command(&[args, &["--farm", up.url()]].concat());
        Finished::from(command.env("HYPERFARM_API_KEY", KEY).output().unwrap())
    };
    let made = client(&["render", text(&project), "--no-wait"]).json();
    let id = made["render_id"].as_str().unwrap();
    assert_eq!(client(&["renders", "watch", id]).code, Some(0));
    let video = scene.path("newer/folder/x.mp4");
    let ended = client(&["renders", "download", id, "-o", text(&video)]);
    assert_eq!(ended.code, Some(0), "{}", ended.stderr);
    assert!(video.is_file());
}

#[test]
fn the_doctor_names_the_setting_of_a_bad_chrome_and_of_a_private_temporary_folder() {
    let scene = Scene::new();
    let of = |name: &str, value: &Path| {
        let mut command = scene.command(&["doctor"]);
        Finished::from(command.env(name, value).output().unwrap())
    };
    for program in ["/bin/true", "/etc/passwd", "/nonexistent/chrome"] {
        let ended = of("HYPERFARM_CHROME", Path::new(program));
        assert_eq!(ended.code, Some(3), "{program}");
        let red: Vec<&str> = ended.stdout.lines().filter(|line| line.starts_with("NO")).collect();
        let is_named = |line: &&&str| line.contains(program) && line.contains("HYPERFARM_CHROME");
        assert!(red.iter().any(|line| is_named(&line)), "{}", ended.stdout);
    }
    let private = scene.path("private");
    std::fs::create_dir(&private).unwrap();
    // Root writes there, and Chrome's user may not enter; another user may not write.
    let is_root = std::fs::metadata("/proc/self").is_ok_and(|meta| std::os::unix::fs::MetadataExt::uid(&meta) == 0);
    let mode = if is_root { 0o700 } else { 0o500 };
    std::fs::set_permissions(&private, std::fs::Permissions::from_mode(mode)).unwrap();
    let ended = of("TMPDIR", &private);
    assert_eq!(ended.code, Some(3), "{}", ended.stdout);
    let red = ended.stdout.lines().find(|line| line.starts_with("NO  begin-frame")).unwrap_or_default();
    assert!(red.contains(text(&private)) && red.contains("set TMPDIR to a folder"), "{}", ended.stdout);
}
