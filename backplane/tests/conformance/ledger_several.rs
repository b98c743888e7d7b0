//! The ledger over a cluster of Redis servers, and over the master that a Sentinel knows.

use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{Claim, Commit, Ledger, RedisLedger};
use hyperfarm_proto::task::Step;
use hyperfarm_testing::Requirement;
use tempfile::TempDir;

use crate::ledger::{LONG, keeps_every_promise, render, task, worker};
use crate::servers::unique;

/// Longest time until servers of a test have found each other, or another master.
const PATIENCE: Duration = Duration::from_secs(60);

/// A server of a test, which ends with it.
struct Server {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl Server {
    /// Starts `redis-server` with these lines of configuration. `None` where it is not installed.
    fn start(configuration: impl Fn() -> String) -> Option<Self> {
        // Another process may take a port that was free, before the server does.
        for _ in 0..10 {
            let (folder, port, lines) = (TempDir::new().unwrap(), free_port(), configuration());
            let file = folder.path().join("redis.conf");
            let common = format!("port {port}\nbind 127.0.0.1\nsave \"\"\ndir {}\n", folder.path().display());
            std::fs::write(&file, common + &lines).unwrap();
            let mut command = Command::new("redis-server");
            command.arg(&file).stdout(Stdio::null());
            if lines.contains("sentinel monitor") {
                command.arg("--sentinel");
            }
            let child = match command.spawn() {
                Ok(child) => child,
                Err(error) => {
                    Requirement::Servers.skip(format!("redis-server: {error}"));
                    return None;
                }
            };
            let mut server = Self { child, port, _folder: folder };
            if server.listens() {
                return Some(server);
            }
        }
        panic!("redis-server ends at its start");
    }

    /// Waits until it listens; false if it ends before.
    fn listens(&mut self) -> bool {
        let begun = Instant::now();
        while self.child.try_wait().unwrap().is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "redis-server does not listen");
            std::thread::sleep(Duration::from_millis(20));
        }
        false
    }

    /// Sends the server a command, again until it answers, and returns the answer.
    async fn ask<T: redis::FromRedisValue>(&self, words: &[&str]) -> T {
        let url = format!("redis://127.0.0.1:{}", self.port);
        let client = redis::Client::open(url).unwrap();
        let asked = async {
            loop {
                if let Ok(mut connection) = client.get_multiplexed_async_connection().await {
                    let mut command = redis::Cmd::new();
                    command.arg(words);
                    if let Ok(answer) = command.query_async(&mut connection).await {
                        return answer;
                    }
                }
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::time::timeout(PATIENCE, asked).await.unwrap_or_else(|_| panic!("{words:?} was not answered"))
    }

    fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // One that was killed has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// Waits until `test` holds.
async fn until(what: &str, test: impl AsyncFn() -> bool) {
    let waits = async {
        while !test().await {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, waits).await.unwrap_or_else(|_| panic!("{what}: not in time"));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise() {
    let node = || format!("cluster-enabled yes\ncluster-port {}\n", free_port());
    let started: Option<Vec<Server>> = (0..3).map(|_| Server::start(node)).collect();
    let Some(nodes) = started else { return };
    for node in &nodes {
        assert_eq!(node.ask::<String>(&["PING"]).await, "PONG");
    }
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&hosts)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    for node in &nodes {
        until("the cluster", async || node.ask::<String>(&["CLUSTER", "INFO"]).await.contains("cluster_state:ok"))
            .await;
    }
    // One node is enough to find the others.
    let url = format!("redis+cluster://{}", hosts[0]);
    let connect = async || {
        let ledger = RedisLedger::connect(&url, &unique("cluster")).await.unwrap();
        Arc::new(ledger) as Arc<dyn Ledger>
    };
    keeps_every_promise(connect).await;
    // Renders are spread over its nodes.
    let ledger = connect().await;
    for number in 0..50 {
        ledger.open(&render(&format!("r{number}"))).await.unwrap();
    }
    for node in &nodes {
        assert!(node.ask::<u64>(&["DBSIZE"]).await > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_takes_over_and_has_what_was_committed() {
    let password = "requirepass p@ss\nmasterauth p@ss\n";
    let Some(mut master) = Server::start(|| password.to_owned()) else { return };
    let of_master = format!("127.0.0.1 {}", master.port);
    let replica = Server::start(|| format!("{password}replicaof {of_master}\n")).unwrap();
    let sentinel = Server::start(|| {
        format!(
            "sentinel monitor main {of_master} 1\nsentinel auth-pass main p@ss\n\
             sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n"
        )
    })
    .unwrap();
    let knows_the_replica = async || {
        let found: Vec<Vec<String>> = sentinel.ask(&["SENTINEL", "replicas", "main"]).await;
        found.iter().any(|fields| fields.chunks(2).any(|pair| pair == ["master-link-status", "ok"]))
    };
    until("the Sentinel knows the replica", knows_the_replica).await;

    let url = format!("redis+sentinel://:p%40ss@127.0.0.1:{}/main", sentinel.port);
    let ledger = RedisLedger::connect(&url, &unique("sentinel")).await.unwrap();
    ledger.open(&render("r1")).await.unwrap();
    let claim = ledger.claim(&task(Step::Chunk(0)), &worker("w1"), LONG).await.unwrap();
    let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
    assert_eq!(ledger.commit(&lease, b"x").await.unwrap(), Commit::Accepted);
    let entries = async |server: &Server| {
        let client = redis::Client::open(format!("redis://:p%40ss@127.0.0.1:{}", server.port)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        redis::cmd("DBSIZE").query_async::<u64>(&mut connection).await.unwrap()
    };
    let written = entries(&master).await;
    until("the replica has what was written", async || entries(&replica).await == written).await;

    master.kill();
    let claims = async || {
        let claim = ledger.claim(&task(Step::Chunk(1)), &worker("w1"), LONG).await;
        matches!(claim, Ok(Claim::Granted(_)))
    };
    until("the ledger answers again", claims).await;
    let view = ledger.view(&render("r1")).await.unwrap().unwrap();
    assert_eq!(view.tasks[&Step::Chunk(0)].committed.as_deref(), Some(&b"x"[..]));
    let name: Vec<String> = sentinel.ask(&["SENTINEL", "get-master-addr-by-name", "main"]).await;
    assert_eq!(name[1], replica.port.to_string());
}
