//! The documentation is held to the program: the reference of the command line, the names of queues, and the commands
//! that the quick start and the operator's guide mark as runnable.

#![allow(clippy::unwrap_used)]

use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyperfarm_e2e::cluster::free_port;
use hyperfarm_e2e::scene::binary;
use hyperfarm_e2e::services::Services;
use hyperfarm_proto::id::Pool;
use hyperfarm_proto::task::{Queue, Step};

/// Longer than any of the documents takes on a slow machine.
const SECONDS: &str = "900";

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..").canonicalize().unwrap()
}

/// What the binary prints of itself, without what this environment sets.
fn help(path: &[&str]) -> String {
    let output =
        Command::new(binary()).args(path).arg("--help").env_clear().env("HOME", "/nonexistent").output().unwrap();
    assert!(output.status.success(), "{path:?} --help: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// The names below `Commands:`.
fn subcommands(help: &str) -> Vec<String> {
    let listed = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = listed.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help");
    names.map(str::to_owned).collect()
}

fn describe(path: &[&str], out: &mut String) {
    let text = help(path);
    let level = if path.is_empty() { "##" } else { &"#####"[..path.len() + 2] };
    let name = ["hyperfarm"].iter().chain(path).copied().collect::<Vec<_>>().join(" ");
    write!(out, "\n{level} {name}\n\n```text\n{text}\n```\n").unwrap();
    for name in subcommands(&text) {
        describe(&[path, &[name.as_str()]].concat(), out);
    }
}

#[test]
fn the_command_line_reference_is_what_the_binary_says() {
    let mut wanted = "# The command line\n\nWhat `hyperfarm --help` and its subcommands print; made by the test \
        `the_command_line_reference_is_what_the_binary_says` with `HYPERFARM_BLESS=1`. Change the code, not this file.\n\n\
        Exit codes: 0 done; 1 the composition or the request is at fault; 2 the command line or a setting: a value, flags that do not\n\
        go together, or a file or folder that they name and that cannot be used; 3 the farm or the machine; 4 a `--farm` render that\n\
        was not done within `--timeout`; 130 interrupted. Environment variables: [settings.md](settings.md).\n"
        .to_owned();
    describe(&[], &mut wanted);
    let path = repository().join("docs/cli.md");
    if std::env::var("HYPERFARM_BLESS").is_ok() {
        std::fs::write(&path, &wanted).unwrap();
    }
    let found = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        found == wanted,
        "docs/cli.md is not what the binary says; make it anew with HYPERFARM_BLESS=1 and this test"
    );
}

#[test]
fn the_queues_that_scalers_ask_for_are_those_of_the_code() {
    let pool: Pool = "pool".parse().unwrap();
    let mut names: Vec<String> = [Step::Plan, Step::Chunk(0), Step::Audio, Step::Stitch]
        .map(|step| Queue::of(step, &pool))
        .into_iter()
        .chain([Queue::Events, Queue::Dead])
        // The broker puts the namespace and a dot before the name (`backplane/src/broker/rabbit/topology.rs`).
        .map(|queue| format!("{{namespace}}.{}", queue.to_string().replace("pool", "{pool}")))
        .collect();
    names.dedup();
    let listed = std::fs::read_to_string(repository().join("deploy/queues.txt")).unwrap();
    assert_eq!(listed.lines().collect::<Vec<_>>(), names);
}

/// The blocks that a document marks as runnable, one after another.
fn runnable(document: &str) -> String {
    let text = std::fs::read_to_string(repository().join(document)).unwrap();
    let mut script = String::new();
    let mut inside = false;
    for line in text.lines() {
        match line {
            "```sh run" => inside = true,
            "```" => inside = false,
            line if inside => writeln!(script, "{line}").unwrap(),
            _ => {}
        }
    }
    assert!(!script.is_empty(), "{document} marks nothing as `sh run`");
    script
}

/// Runs a document's blocks in one shell, in a copy of the machine's environment with a home of its own.
fn run(document: &str, variables: &[(&str, String)]) {
    let home = tempfile::tempdir().unwrap();
    // What a document writes to /tmp goes to a folder that the test removes, and its port is one that is free.
    let port = free_port().to_string();
    let script = runnable(document)
        .replace("/tmp/", &format!("{}/", home.path().display()))
        .replace("127.0.0.1:8080", &format!("127.0.0.1:{port}"))
        .replace("127.0.0.1:8087", &format!("127.0.0.1:{port}"))
        .replace("$PWD/target/release", &binary().parent().unwrap().display().to_string());
    // What is still running when a command fails ends with the shell.
    let script = format!("set -euo pipefail\ntrap 'jobs -p | xargs -r kill' EXIT\n{script}");
    let output = Command::new("timeout")
        .args(["--kill-after=20", SECONDS, "bash", "-x", "-c", &script])
        .current_dir(repository())
        .env("HOME", home.path())
        .env("HYPERFARM_URL", format!("http://127.0.0.1:{port}"))
        .env("HYPERFARM_API_KEY", "any")
        .env("HYPERFARM_DATA_DIR", home.path().join("data"))
        .envs(variables.iter().map(|(name, value)| (*name, value.as_str())))
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{document}: {}\n{}\n{}",
        output.status,
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

#[test]
fn the_quick_start_runs() {
    run("docs/quickstart.md", &[]);
}

#[test]
fn the_operators_guide_runs() {
    let Some(services) = Services::find() else { return };
    let namespace = format!("guide-{}", std::process::id());
    // A database of its own: tests beside this one have ledgers, too.
    let redis_url = format!("{}/7", services.redis_url.trim_end_matches('/').trim_end_matches("/0"));
    let folder = tempfile::tempdir().unwrap();
    let empty = folder.path().join("empty-ledger");
    std::fs::write(&empty, format!("#!/bin/sh\nexec redis-cli -u '{redis_url}' flushdb\n")).unwrap();
    std::fs::set_permissions(&empty, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
    run(
        "docs/operators-guide.md",
        &[
            ("HYPERFARM_AMQP_URL", services.amqp_url.clone()),
            ("HYPERFARM_REDIS_URL", redis_url),
            ("HYPERFARM_STORAGE_URL", format!("s3://{}/{namespace}", services.bucket)),
            ("HYPERFARM_NAMESPACE", namespace),
            ("EMPTY_LEDGER", empty.display().to_string()),
        ],
    );
}
