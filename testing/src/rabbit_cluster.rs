//! A cluster of RabbitMQ nodes of one test, for what the test run's own node is not: one that is lost.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::{Requirement, free_port};

/// Longest time until the nodes are a cluster.
const PATIENCE: Duration = Duration::from_secs(180);

/// Time between two looks at a node's log.
const PAUSE: Duration = Duration::from_millis(200);

/// Where Debian's package has the server, without the wrapper that changes the user.
const PROGRAM: &str = "/usr/lib/rabbitmq/bin/rabbitmq-server";

/// A node.
struct Node {
    child: Child,
    port: u16,
}

/// Three nodes on ports of their own, which end with the test.
pub struct RabbitCluster {
    nodes: Vec<Node>,
    epmd: Child,
    _folder: TempDir,
}

impl RabbitCluster {
    /// Starts the nodes, and waits until they are one cluster. `None` where RabbitMQ is not installed and need not be.
    ///
    /// # Panics
    /// Panics if a node ends at its start, or is not there in time.
    pub fn start() -> Option<Self> {
        let folder = TempDir::new().expect("a folder");
        let Some(epmd) = find_epmd().filter(|_| Path::new(PROGRAM).exists()) else {
            Requirement::Servers.skip("rabbitmq-server is not installed");
            return None;
        };
        // The secret that lets nodes join each other.
        let cookie = folder.path().join(".erlang.cookie");
        fs::write(&cookie, "HYPERFARMTEST")
            .and_then(|()| fs::set_permissions(&cookie, Permissions::from_mode(0o400)))
            .expect("a cookie");
        let epmd_port = free_port().to_string();
        let epmd = Command::new(epmd)
            .args(["-port", &epmd_port, "-address", "127.0.0.1", "-relaxed_command_check"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("epmd starts");
        let names = ["one", "two", "three"];
        let nodes = names.iter().map(|name| start_node(folder.path(), name, &names, &epmd_port)).collect();
        let mut cluster = Self { nodes, epmd, _folder: folder };
        let begun = Instant::now();
        for (node, name) in cluster.nodes.iter_mut().zip(names) {
            let log = cluster._folder.path().join(name).join("out");
            let read = || fs::read_to_string(&log).unwrap_or_default();
            while !read().contains("completed with") {
                assert!(begun.elapsed() < PATIENCE, "{name} is not there in time: {}", read());
                assert!(node.child.try_wait().expect("it is a child").is_none(), "{name} ended: {}", read());
                std::thread::sleep(PAUSE);
            }
        }
        Some(cluster)
    }

    /// The URLs of all nodes, as a farm is given them.
    pub fn urls(&self) -> String {
        let urls: Vec<String> =
            self.nodes.iter().map(|node| format!("amqp://guest:guest@127.0.0.1:{}/%2f", node.port)).collect();
        urls.join(",")
    }

    /// Kills a node.
    ///
    /// # Panics
    /// Panics where there is none of this number.
    pub fn kill(&mut self, number: usize) {
        kill_group(&mut self.nodes[number].child);
    }
}

impl Drop for RabbitCluster {
    fn drop(&mut self) {
        self.nodes.iter_mut().for_each(|node| kill_group(&mut node.child));
        // Errors say that it has ended before.
        let _ = self.epmd.kill();
        let _ = self.epmd.wait();
    }
}

/// Kills a process and those that it has started, which are of its group.
fn kill_group(child: &mut Child) {
    // Errors say that they have ended before.
    let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", child.id())]).stderr(Stdio::null()).status();
    let _ = child.wait();
}

/// The program by which nodes find each other. Erlang keeps it beside its machine.
fn find_epmd() -> Option<PathBuf> {
    let root = "io:put_chars(code:root_dir()), halt().";
    let root = Command::new("erl").args(["-noshell", "-eval", root]).output().ok()?;
    let root = PathBuf::from(String::from_utf8(root.stdout).ok()?);
    let mut parts = fs::read_dir(root).ok()?.flatten().map(|entry| entry.path().join("bin/epmd"));
    parts.find(|program| program.exists())
}

fn start_node(folder: &Path, name: &str, names: &[&str], epmd_port: &str) -> Node {
    let (home, port) = (folder.join(name), free_port());
    fs::create_dir(&home).expect("a folder");
    let mut lines = format!(
        "listeners.tcp.1 = 127.0.0.1:{port}\nlog.console = false\ndisk_free_limit.absolute = 64MB\n\
         cluster_formation.peer_discovery_backend = classic_config\n"
    );
    for (number, name) in names.iter().enumerate() {
        lines.push_str(&format!("cluster_formation.classic_config.nodes.{} = {name}@localhost\n", number + 1));
    }
    let write = |file: &str, text: &str| fs::write(home.join(file), text).expect("its configuration can be written");
    write("rabbitmq.conf", &lines);
    write("enabled_plugins", "[].\n");
    write("env.conf", "");
    let out = fs::File::create(home.join("out")).expect("a file");
    let child = Command::new(PROGRAM)
        .env_clear()
        .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
        .env("HOME", folder)
        .envs([("LANG", "C.UTF-8"), ("ERL_EPMD_PORT", epmd_port), ("ERL_EPMD_ADDRESS", "127.0.0.1")])
        .envs([("ERL_CRASH_DUMP_BYTES", "0"), ("RABBITMQ_NODE_IP_ADDRESS", "127.0.0.1")])
        .env("RABBITMQ_NODENAME", format!("{name}@localhost"))
        .env("RABBITMQ_NODE_PORT", port.to_string())
        .env("RABBITMQ_DIST_PORT", free_port().to_string())
        .env("RABBITMQ_CONF_ENV_FILE", home.join("env.conf"))
        .env("RABBITMQ_CONFIG_FILE", home.join("rabbitmq.conf"))
        .env("RABBITMQ_ADVANCED_CONFIG_FILE", home.join("none.config"))
        .env("RABBITMQ_ENABLED_PLUGINS_FILE", home.join("enabled_plugins"))
        .env("RABBITMQ_GENERATED_CONFIG_DIR", home.join("generated"))
        .env("RABBITMQ_SCHEMA_DIR", home.join("schema"))
        .env("RABBITMQ_MNESIA_BASE", home.join("mnesia"))
        .env("RABBITMQ_MNESIA_DIR", home.join("mnesia/node"))
        .env("RABBITMQ_LOG_BASE", home.join("log"))
        .env("RABBITMQ_PLUGINS_EXPAND_DIR", home.join("plugins"))
        .env("RABBITMQ_PID_FILE", home.join("pid"))
        .env(
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS",
            "-kernel inet_dist_use_interface {127,0,0,1} +sbwt none +sbwtdcpu none +sbwtdio none",
        )
        .stdin(Stdio::null())
        .stdout(out.try_clone().expect("a file"))
        .stderr(out)
        .process_group(0)
        .spawn()
        .expect("rabbitmq-server starts");
    Node { child, port }
}
