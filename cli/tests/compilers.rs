//! Compilers' processes of the real program: what a page says, limits, confinement.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use hyperfarm_proto::spec::Size;
use hyperfarm_worker::{AuthoredPage, COMPILER_COMMAND, CompileLimits, Compilers};

const PROGRAM: &str = env!("CARGO_BIN_EXE_hyperfarm");

fn page(folder: &Path, html: &str) -> PathBuf {
    let page = folder.join("index.html");
    fs::write(&page, html).unwrap();
    page
}

/// Bytes of memory that this process has had at most.
fn peak() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    peak.trim().trim_end_matches(" kB").parse::<u64>().unwrap() << 10
}

#[test]
fn a_process_reads_what_this_process_does() {
    let folder = tempfile::tempdir().unwrap();
    let page = page(
        folder.path(),
        "<html data-composition-variables='[{\"id\":\"size\",\"type\":\"number\"},{\"id\":1},7]'>\
         <head><title>Spring &amp;\n Sale</title></head><svg><title>x</title></svg>\
         <div data-composition-id=main data-width=640 data-height=360px data-duration=2.5s></div></html>",
    );
    let isolated = Compilers::isolated(PROGRAM, CompileLimits::default()).read_page(&page).unwrap();
    assert_eq!(isolated.title.as_deref(), Some("Spring & Sale"));
    assert_eq!(isolated.variable_types, [("size".to_owned(), "number".to_owned())]);
    let size = Some(Size { width: 640, height: 360 });
    assert_eq!(isolated.page, AuthoredPage { size, seconds: Some(2.5) });
    assert_eq!(Some(isolated), Compilers::in_process().read_page(&page));
    assert_eq!(Compilers::isolated("/nonexistent", CompileLimits::default()).read_page(&page), None);
    Compilers::isolated(PROGRAM, CompileLimits::default()).check_confinement().unwrap();
    assert!(Compilers::isolated("/bin/true", CompileLimits::default()).check_confinement().is_err());
}

#[test]
fn a_page_beyond_the_memory_of_its_process_costs_this_process_none() {
    let folder = tempfile::tempdir().unwrap();
    let large = page(folder.path(), &"<i id=a class=b></i>".repeat(150_000));
    let before = peak();
    let small = Compilers::isolated(PROGRAM, CompileLimits { memory: 16 << 20 });
    let other = tempfile::tempdir().unwrap();
    let short = page(other.path(), "<title>short</title>");
    // The limit is the same whenever the threads of the process begin.
    for _ in 0..20 {
        assert_eq!(small.read_page(&large), None);
        assert!(small.read_page(&short).is_some());
    }
    assert!(Compilers::isolated(PROGRAM, CompileLimits::default()).read_page(&large).is_some());
    let grown = peak() - before;
    assert!(grown < 16 << 20, "{grown} bytes more");
}

#[test]
fn a_process_is_confined_without_secrets_and_ends_with_its_farm() {
    let folder = tempfile::tempdir().unwrap();
    let page = page(folder.path(), "<title>x</title>");
    let (farm, theirs) = UnixStream::pair().unwrap();
    let mut child = Command::new(PROGRAM)
        .arg(COMPILER_COMMAND)
        .env_clear()
        .envs(std::env::var_os("LD_LIBRARY_PATH").map(|path| ("LD_LIBRARY_PATH", path)))
        .stdin(OwnedFd::from(theirs))
        .stdout(fs::File::open(&page).unwrap())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = format!("{{\"memory\":{},\"fonts\":[]}}", 64 << 20);
    std::io::Write::write_all(&mut &farm, &(start.len() as u32).to_le_bytes()).unwrap();
    std::io::Write::write_all(&mut &farm, start.as_bytes()).unwrap();
    let process = PathBuf::from(format!("/proc/{}", child.id()));
    let deadline = Instant::now() + Duration::from_secs(60);
    let status = loop {
        let status = fs::read_to_string(process.join("status")).unwrap();
        if status.contains("Seccomp:\t2\n") {
            break status;
        }
        assert!(Instant::now() < deadline, "it is not confined: {status}");
        std::thread::sleep(Duration::from_millis(10));
    };
    assert!(status.contains("NoNewPrivs:\t1\n"), "{status}");
    let environment = fs::read(process.join("environ")).unwrap();
    let environment = String::from_utf8_lossy(&environment);
    assert!(environment.is_empty() || environment.starts_with("LD_LIBRARY_PATH="), "{environment}");
    let files = fs::read_dir(process.join("fd")).unwrap().map(|entry| fs::read_link(entry.unwrap().path()).unwrap());
    for file in files.map(|file| file.display().to_string()) {
        let own = file.starts_with("socket:") || file == "/dev/null" || file == page.display().to_string();
        assert!(own, "{file}");
    }
    let limits = fs::read_to_string(process.join("limits")).unwrap();
    for name in ["Max cpu time", "Max address space", "Max file size"] {
        let limit = limits.lines().find(|line| line.starts_with(name)).unwrap();
        assert!(!limit.contains("unlimited"), "{limit}");
    }
    drop(farm);
    child.wait().unwrap();
}
