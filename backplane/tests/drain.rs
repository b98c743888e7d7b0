//! Signals, in a process of their own.
#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use hyperfarm_backplane::drain::{Drain, INTERRUPTED};

/// Makes this test binary the process that is signalled.
const ROLE: &str = "HYPERFARM_TEST_DRAIN_CHILD";

#[test]
#[ignore = "the process that the other tests start and signal"]
fn child() {
    assert!(std::env::var_os(ROLE).is_some(), "the other tests start this one");
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let drain = Drain::new();
        drain.on_signals(|| say("last words")).unwrap();
        say("ready");
        drain.started().await;
        say("draining");
        tokio::time::sleep(Duration::from_secs(30)).await;
    });
}

fn say(text: &str) {
    let mut out = std::io::stdout().lock();
    writeln!(out, "\n@{text}").unwrap();
    out.flush().unwrap();
}

fn start() -> (Child, impl FnMut() -> String) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--ignored", "--exact", "child", "--nocapture", "--test-threads=1"])
        .env(ROLE, "1")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    // The test harness writes to the same pipe.
    let next = move || loop {
        let line = lines.next().expect("a line").unwrap();
        if let Some(text) = line.strip_prefix('@') {
            return text.to_owned();
        }
    };
    (child, next)
}

fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args(["-s", name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

#[test]
fn the_first_signal_drains_and_the_second_ends() {
    for (first, second) in [("TERM", "INT"), ("INT", "TERM"), ("TERM", "TERM")] {
        let (mut child, mut next) = start();
        assert_eq!(next(), "ready");
        signal(&child, first);
        assert_eq!(next(), "draining");
        assert!(child.try_wait().unwrap().is_none(), "the first signal lets it finish");
        let begin = Instant::now();
        signal(&child, second);
        assert_eq!(next(), "last words");
        assert_eq!(child.wait().unwrap().code(), Some(INTERRUPTED));
        assert!(begin.elapsed() < Duration::from_secs(10));
    }
}
