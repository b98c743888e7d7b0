//! The farm under test: its processes, each with proxies of its own in front of S3, Redis and RabbitMQ.

use std::collections::BTreeMap;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::free_port;
use hyperfarm_e2e::proxy::{HttpFault, HttpProxy, TcpProxy};
use hyperfarm_e2e::scene::{descendants, text};
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Scene};
use hyperfarm_testing::{RedisServer, ask_redis, wait_for_copy};
use serde_json::Value;

/// Processes that schedule and serve the API, of which one leads.
pub(crate) const COORDINATORS: [&str; 2] = ["coordinator-a", "coordinator-b"];
/// Processes with one slot each.
pub(crate) const WORKERS: [&str; 2] = ["worker-1", "worker-2"];
/// Stitchers.
pub(crate) const STITCHERS: [&str; 2] = ["stitcher-1", "stitcher-2"];
/// The worker whose temporary folder can be filled.
pub(crate) const WORKER_OF_SMALL_DISK: &str = WORKERS[1];
/// Size of its temporary folder.
const SMALL_DISK: &str = "size=192m";

/// The proxies of a process.
struct Proxies {
    s3: HttpProxy,
    redis: TcpProxy,
    rabbit: TcpProxy,
}

/// A mounted folder. Dropping it unmounts it, also while a process uses it.
struct SmallDisk(PathBuf);

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("--lazy").arg(&self.0).status();
    }
}

/// Processes and proxies.
pub(crate) struct Farm {
    /// The temporary folder of [`WORKER_OF_SMALL_DISK`]; `None` if it cannot be mounted. Dropped before the folder of
    /// the cluster, which could not be removed otherwise.
    small_disk: Option<SmallDisk>,
    pub(crate) cluster: Cluster,
    pub(crate) services: Services,
    listen: BTreeMap<&'static str, String>,
    proxies: BTreeMap<&'static str, Proxies>,
    runtime: tokio::runtime::Runtime,
}

/// Every process, in the order of their start.
pub(crate) fn names() -> impl Iterator<Item = &'static str> {
    COORDINATORS.into_iter().chain(WORKERS).chain(STITCHERS)
}

/// Host and port of a URL.
fn address(url: &str) -> SocketAddr {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    let rest = rest.rsplit_once('@').map_or(rest, |(_, rest)| rest);
    rest.split('/').next().and_then(|address| address.parse().ok()).expect("a URL with an address of loopback")
}

impl Farm {
    /// Starts the processes.
    pub(crate) fn start(services: Services, seed: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
        let s3 = std::env::var("AWS_ENDPOINT").expect("scripts/services.sh sets it");
        let environment = [
            ("HYPERFARM_HTTP_CALLBACKS", "on"),
            ("HYPERFARM_FETCH_ALLOW", "127.0.0.1"),
            ("HYPERFARM_PAGE_MEMORY_MB", "1200"),
            ("HYPERFARM_DRAIN_GRACE", "20s"),
        ];
        let mut cluster = Cluster::new(services.clone(), "chaos", &environment);
        let small_disk = mount_small_disk(cluster.scene());
        let (mut listen, mut proxies) = (BTreeMap::new(), BTreeMap::new());
        for (number, name) in names().enumerate() {
            let own = Proxies {
                s3: HttpProxy::start(&runtime, address(&s3), seed.wrapping_add(number as u64)),
                redis: TcpProxy::start(&runtime, address(&services.redis_url)),
                rabbit: TcpProxy::start(&runtime, address(&services.amqp_url)),
            };
            let through = |url: &str, port: u16| url.replace(&address(url).to_string(), &format!("127.0.0.1:{port}"));
            cluster.set_for(name, "AWS_ENDPOINT", &format!("http://127.0.0.1:{}", own.s3.port()));
            cluster.set_for(name, "HYPERFARM_REDIS_URL", &through(&services.redis_url, own.redis.port()));
            cluster.set_for(name, "HYPERFARM_AMQP_URL", &through(&services.amqp_url, own.rabbit.port()));
            proxies.insert(name, own);
        }
        if let Some(SmallDisk(folder)) = &small_disk {
            cluster.set_for(WORKER_OF_SMALL_DISK, "TMPDIR", text(folder));
        }
        for name in COORDINATORS {
            listen.insert(name, format!("127.0.0.1:{}", free_port()));
        }
        let mut farm = Self { small_disk, cluster, services, listen, proxies, runtime };
        farm.start_missing();
        farm
    }

    /// Base URLs of the coordinators.
    pub(crate) fn urls(&self) -> Vec<String> {
        COORDINATORS.iter().map(|name| format!("http://{}", self.listen[name])).collect()
    }

    /// Starts the processes that are not there. Returns those that had ended by themselves.
    pub(crate) fn start_missing(&mut self) -> Vec<String> {
        let ended = self.cluster.take_ended();
        for name in names().filter(|name| !self.cluster.has(name)).collect::<Vec<_>>() {
            match name {
                name if COORDINATORS.contains(&name) => self.cluster.start_coordinator_as(name, &self.listen[name]),
                name if WORKERS.contains(&name) => self.cluster.start_worker(name),
                _ => self.cluster.start_stitcher_as(name),
            }
        }
        ended.into_iter().map(|(name, status)| format!("{name}: {status}")).collect()
    }

    /// Makes S3 fail for these processes.
    pub(crate) fn fail_s3(&self, names: &[&str], fault: HttpFault) {
        for name in names {
            self.proxies[name].s3.fail(fault);
        }
    }

    /// Cuts a process off from Redis, and from RabbitMQ too if `also_rabbit`, or lets it back.
    pub(crate) fn cut(&self, name: &str, is_cut: bool, also_rabbit: bool) {
        let own = &self.proxies[name];
        own.redis.cut(is_cut);
        if also_rabbit {
            own.rabbit.cut(is_cut);
        }
    }

    /// Loses the master of Redis to a replica, under the address that every process knows, and after `last` that one to
    /// the first server again. Answers what `last` does; `None` where there is no Redis to start.
    pub(crate) fn fail_redis_over<T>(&self, last: impl FnOnce() -> T) -> Option<T> {
        let first = address(&self.services.redis_url);
        let mut replica = RedisServer::start(|| format!("replicaof 127.0.0.1 {}\n", first.port()))?;
        wait_for_copy(replica.port());
        self.services.operate("redis-stop");
        replica.ask("", &["REPLICAOF", "NO", "ONE"]);
        self.lead_redis_to(SocketAddr::new(first.ip(), replica.port()));
        let lasted = last();
        self.services.operate("redis-start");
        self.redis(&format!("REPLICAOF 127.0.0.1 {}", replica.port()));
        wait_for_copy(first.port());
        replica.kill();
        self.redis("REPLICAOF NO ONE");
        self.lead_redis_to(first);
        Some(lasted)
    }

    fn lead_redis_to(&self, server: SocketAddr) {
        self.proxies.values().for_each(|own| own.redis.lead_to(server));
    }

    /// Sends a signal to a process and its descendants.
    pub(crate) fn signal_all(&self, name: &str, signal: &str) {
        let pid = self.cluster.pid(name);
        for pid in [vec![pid], descendants(pid)].concat() {
            send(pid, signal);
        }
    }

    /// Chrome's processes of a worker; the browser's own has no type.
    pub(crate) fn chrome(&self, worker: &str, kind: &str) -> Vec<u32> {
        let is_kind = |pid: &u32| {
            let command = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).into_owned();
            match kind {
                "browser" => command.contains("--remote-debugging") && !command.contains("--type="),
                kind => command.contains(&format!("--type={kind}")),
            }
        };
        descendants(self.cluster.pid(worker)).into_iter().filter(is_kind).collect()
    }

    /// Fills the small disk, or empties it. Returns whether there is one.
    pub(crate) fn fill_disk(&self, is_full: bool) -> bool {
        let Some(SmallDisk(folder)) = &self.small_disk else { return false };
        let filler = folder.join("filler");
        if is_full {
            let mut file = std::fs::File::create(&filler).expect("a file is made");
            while file.write_all(&[7; 1 << 16]).is_ok() {}
        } else {
            let _ = std::fs::remove_file(filler);
        }
        true
    }

    /// The lines of the answer of Redis to a command.
    pub(crate) fn redis(&self, command: &str) -> Vec<String> {
        let words: Vec<_> = command.split(' ').collect();
        ask_redis(address(&self.services.redis_url).port(), "", &words).lines().map(str::to_owned).collect()
    }

    /// Messages that are ready in the farm's queues, without the events and the dead letters.
    pub(crate) fn messages(&self) -> u32 {
        self.with_queues(false)
    }

    /// Removes every message that is ready in the farm's queues.
    pub(crate) fn purge(&self) {
        self.with_queues(true);
    }

    fn with_queues(&self, is_purged: bool) -> u32 {
        let work = async {
            let properties = lapin::ConnectionProperties::default();
            let connection = lapin::Connection::connect(&self.services.amqp_url, properties).await?;
            let mut messages = 0;
            for queue in ["plan.cpu", "chunk.cpu", "stitch"] {
                let channel = connection.create_channel().await?;
                let name = format!("{}.{queue}", self.cluster.namespace());
                let passive = lapin::options::QueueDeclareOptions { passive: true, ..Default::default() };
                let found = channel.queue_declare(name.clone().into(), passive, Default::default()).await?;
                messages += found.message_count();
                if is_purged {
                    channel.queue_purge(name.into(), Default::default()).await?;
                }
            }
            Ok::<_, lapin::Error>(messages)
        };
        self.runtime.block_on(work).expect("RabbitMQ answers")
    }

    /// Folder of the farm's objects in the folder of the S3 server.
    pub(crate) fn storage(&self) -> PathBuf {
        let services = std::env::var("HYPERFARM_TEST_SERVICES_DIR").expect("scripts/services.sh sets it");
        PathBuf::from(services).join("s3").join(&self.services.bucket).join(self.cluster.namespace())
    }

    /// Makes an API key for a space.
    pub(crate) fn key(&self, space: &str) -> String {
        let mut command = self.cluster.command(&["keys", "create", space, "--space", space, "--json"]);
        let made = command.args(["--max-concurrent", "100", "--max-per-minute", "1000"]).output().unwrap();
        let made: Value = serde_json::from_slice(&made.stdout).expect("a key is made");
        made["key"].as_str().expect("a key has a text").to_owned()
    }

    /// Ends every process by SIGTERM. Returns what was wrong about their ends, and what they left behind.
    pub(crate) fn stop(self) -> Vec<String> {
        let Self { mut cluster, small_disk, .. } = self;
        let mut wrong = Vec::new();
        let mut children = Vec::new();
        for name in names().filter(|name| cluster.has(name)).collect::<Vec<_>>() {
            children.extend(descendants(cluster.pid(name)));
            let ended = cluster.drain_process(name);
            if !ended.is_some_and(|status| status.success()) {
                wrong.push(format!("{name} ended with {ended:?}"));
            }
        }
        std::thread::sleep(Duration::from_secs(1));
        let left = hyperfarm_e2e::scene::running(&children);
        if !left.is_empty() {
            wrong.push(format!("processes {left:?} are left"));
        }
        let folders = [Some(cluster.scene().path("tmp")), small_disk.as_ref().map(|disk| disk.0.clone())];
        for entry in folders.into_iter().flatten().flat_map(|folder| std::fs::read_dir(folder).into_iter().flatten()) {
            let name = entry.unwrap().file_name().into_string().unwrap();
            if name != "small-disk" {
                wrong.push(format!("{name} is left in a temporary folder"));
            }
        }
        drop(small_disk);
        wrong
    }
}

/// Sends a signal to a process, which may have ended.
pub(crate) fn send(pid: u32, signal: &str) {
    let _ = Command::new("kill").args([&format!("-{signal}"), &pid.to_string()]).output();
}

/// Mounts a small file system; `None` without the right to.
fn mount_small_disk(scene: &Scene) -> Option<SmallDisk> {
    let folder = scene.path("tmp").join("small-disk");
    std::fs::create_dir(&folder).unwrap();
    let options = format!("{SMALL_DISK},mode=755");
    let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", &options, "none"]).arg(&folder).output();
    if mounted.is_ok_and(|output| output.status.success()) {
        return Some(SmallDisk(folder));
    }
    eprintln!("skipped: a full disk, because no file system can be mounted (run as root)");
    let _ = std::fs::remove_dir(folder);
    None
}
