//! The network of Chrome: the loopback interface of a namespace, made by a process of the real program.

#![allow(clippy::unwrap_used)]

#[path = "../../worker/tests/one_page/mod.rs"]
mod one_page;

use std::collections::BTreeSet;
use std::io::Write;
use std::net::{Ipv4Addr, TcpListener};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use hyperfarm_backplane::config;
use hyperfarm_isolation::{NETWORK_COMMAND, NETWORK_PORT, NetworkSockets};
use hyperfarm_proto::record::CapturePath;
use hyperfarm_proto::spec::{Size, Viewport};
use hyperfarm_worker::Slot;
use hyperfarm_worker::capture::FrameGrabber;
use hyperfarm_worker::chrome::{ChromeConfig, ChromeSettings, Layer, Network, ProcessKind};

use one_page::{options, site};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hyperfarm");

/// Starts `command` in a network namespace.
fn start(command: &[&str]) -> (std::process::Child, NetworkSockets) {
    let (socket, theirs) = UnixStream::pair().unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    let child = Command::new(PROGRAM)
        .arg(NETWORK_COMMAND)
        .args(command)
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    (child, NetworkSockets::receive(&socket).unwrap())
}

#[test]
fn a_program_reaches_its_parent_and_nothing_else() {
    let neighbour = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let port = neighbour.local_addr().unwrap().port();
    // The interfaces; a server of this machine; an address elsewhere; the parent.
    let script = format!(
        "sed 1,2d /proc/net/dev | cut -d: -f1 | tr -d ' '; (: </dev/tcp/127.0.0.1/{port}) 2>/dev/null && echo neighbour; \
         (: </dev/tcp/192.0.2.1/80) 2>/dev/null && echo elsewhere; cat </dev/tcp/127.0.0.1/{NETWORK_PORT}"
    );
    let (child, sockets) = start(&["bash", "-c", &script]);
    sockets.listener.accept().unwrap().0.write_all(b"parent").unwrap();
    let output = child.wait_with_output().unwrap();
    assert_eq!(String::from_utf8_lossy(&output.stdout), "lo\nparent");
    neighbour.set_nonblocking(true).unwrap();
    assert_eq!(neighbour.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock);
}

#[test]
fn a_parent_that_starts_no_program_is_told_why() {
    let (mut child, sockets) = start(&["/nonexistent/program"]);
    drop(sockets);
    assert!(!child.wait().unwrap().success());
    let (socket, theirs) = UnixStream::pair().unwrap();
    // A process whose network namespaces are used up gets none.
    let script = "echo 0 >/proc/sys/user/max_net_namespaces && exec \"$@\"";
    let mut child = Command::new("unshare")
        .args(["--user", "--map-root-user", "sh", "-c", script, "sh", PROGRAM, NETWORK_COMMAND, "true"])
        .stdin(OwnedFd::from(theirs))
        .spawn()
        .unwrap();
    let error = NetworkSockets::receive(&socket).unwrap_err();
    assert!(!child.wait().unwrap().success());
    assert!(error.to_string().contains("No space left on device"), "{error}");
}

/// Inodes of the TCP sockets that listen in the network of a process.
fn listening(process: &str) -> BTreeSet<u64> {
    let tables = ["tcp", "tcp6"].map(|name| std::fs::read_to_string(format!("/proc/{process}/net/{name}")).unwrap());
    let rows = tables.iter().flat_map(|table| table.lines().skip(1));
    let rows = rows.map(|row| row.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row[3] == "0A").map(|row| row[9].parse().unwrap()).collect()
}

/// Inodes of the sockets that a process has open.
fn sockets(process: &str) -> BTreeSet<u64> {
    let files = std::fs::read_dir(format!("/proc/{process}/fd")).unwrap().flatten();
    let names = files.filter_map(|file| std::fs::read_link(file.path()).ok());
    names.filter_map(|name| name.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nobody_else_reaches_a_browser_or_its_pages() {
    let settings = config::read(&|name| std::env::var(name).ok(), ChromeSettings::read).unwrap();
    let config = ChromeConfig::find(&settings).unwrap().with_own_network(PROGRAM);
    assert_ne!(config.network, Network::Shared, "the kernel gives no network namespace");
    let mut slot = Slot::new(config).await.unwrap();

    let folder = tempfile::tempdir().unwrap();
    let page =
        "<!doctype html><body style='background: #246'><script>window.__hf = { duration: 1, seek() {} }</script>";
    let viewport = Viewport { page: Size { width: 320, height: 180 }, scale: 1 };
    let mut host = slot.open(site(&folder, page), viewport, &options()).await.unwrap();
    host.seek(0, &[]).await.unwrap();
    let mut grabber = FrameGrabber::new(&host, false);
    grabber.grab(&mut host, None).await.unwrap();
    assert_eq!(grabber.path(), CapturePath::Framebuffer);
    drop(host);

    let measured = slot.confinement().get().cloned().unwrap();
    for kind in [ProcessKind::Browser, ProcessKind::Gpu, ProcessKind::Renderer] {
        for layer in [Layer::NetNamespace, Layer::Seccomp, Layer::NoNewPrivileges] {
            assert_eq!(measured.holds(kind, layer), Some(true), "{kind:?}: {layer}");
        }
    }
    // Neither the DevTools port nor the slot's server is among what listens on this machine.
    let here = listening("self");
    assert!(here.is_disjoint(&sockets("self")));
    let processes = std::fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.file_name());
    let chrome = processes.filter_map(|name| name.into_string().ok()).find(|process| {
        let command = std::fs::read(format!("/proc/{process}/cmdline")).unwrap_or_default();
        command.split(|byte| *byte == 0).any(|argument| argument == b"--headless") && in_tree(process)
    });
    let there = listening(&chrome.unwrap());
    assert_eq!(there.len(), 2, "the DevTools port and the slot's server");
    assert!(here.is_disjoint(&there));
    slot.close().await;
}

/// Whether a process is a descendant of this one.
fn in_tree(process: &str) -> bool {
    let own = std::process::id().to_string();
    let mut process = process.to_owned();
    for _ in 0..64 {
        let Ok(stat) = std::fs::read_to_string(format!("/proc/{process}/stat")) else { return false };
        let Some(parent) = stat.rsplit(')').next().and_then(|fields| fields.split_whitespace().nth(1)) else {
            return false;
        };
        if parent == own {
            return true;
        }
        process = parent.to_owned();
    }
    false
}
