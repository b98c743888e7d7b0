//! Redis servers of one test, for what the test run's own server is not: a cluster, or a master that is lost.

use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use crate::Requirement;

/// Longest time until servers have found each other, or another master.
const PATIENCE: Duration = Duration::from_secs(60);

/// Time between two questions.
const PAUSE: Duration = Duration::from_millis(50);

/// A Redis server on a port of its own, which ends with the test.
pub struct RedisServer {
    child: Child,
    port: u16,
    _folder: TempDir,
}

impl RedisServer {
    /// Starts `redis-server` with these lines of configuration, which are asked for anew where its port was taken
    /// meanwhile. `None` where it is not installed and need not be.
    ///
    /// # Panics
    /// Panics if it ends at its start.
    pub fn start(configuration: impl Fn() -> String) -> Option<Self> {
        // Another process may take a port that was free, before the server does.
        for _ in 0..10 {
            let (folder, port, lines) = (TempDir::new().expect("a folder"), free_port(), configuration());
            let file = folder.path().join("redis.conf");
            let common = format!("port {port}\nbind 127.0.0.1\nsave \"\"\ndir {}\n", folder.path().display());
            std::fs::write(&file, common + &lines).expect("its configuration can be written");
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
        while self.child.try_wait().expect("it is a child").is_none() {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return true;
            }
            assert!(begun.elapsed() < PATIENCE, "redis-server does not listen");
            std::thread::sleep(PAUSE);
        }
        false
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The answer to a command: see [`ask_redis`].
    pub fn ask(&self, password: &str, words: &[&str]) -> String {
        ask_redis(self.port, password, words)
    }

    /// Kills it.
    pub fn kill(&mut self) {
        // An error says that it has ended before.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A master, its replica, and a Sentinel that makes the replica the master where the master is lost.
pub struct RedisFailover {
    /// The first master.
    pub master: RedisServer,
    /// Its replica.
    pub replica: RedisServer,
    sentinel: RedisServer,
}

impl RedisFailover {
    /// Password of the servers.
    pub const PASSWORD: &str = "p@ss";

    /// Starts the three, and waits until the Sentinel knows the replica. `None` where Redis is not installed and need
    /// not be.
    pub fn start() -> Option<Self> {
        let password = format!("requirepass {0}\nmasterauth {0}\n", Self::PASSWORD);
        let master = RedisServer::start(|| password.clone())?;
        let of_master = format!("127.0.0.1 {}", master.port);
        let replica = RedisServer::start(|| format!("{password}replicaof {of_master}\n"))?;
        let sentinel = RedisServer::start(|| {
            format!(
                "sentinel monitor main {of_master} 1\nsentinel auth-pass main {}\n\
                 sentinel down-after-milliseconds main 500\nsentinel failover-timeout main 2000\n",
                Self::PASSWORD
            )
        })?;
        let knows_the_replica = || {
            let replicas = sentinel.ask("", &["SENTINEL", "replicas", "main"]);
            replicas.contains("master-link-status\nok")
        };
        wait_until("the Sentinel knows the replica", knows_the_replica);
        Some(Self { master, replica, sentinel })
    }

    /// The URL by which a farm finds the master, whichever that is.
    pub fn url(&self) -> String {
        format!("redis+sentinel://:{}@127.0.0.1:{}/main", Self::PASSWORD.replace('@', "%40"), self.sentinel.port)
    }

    /// Waits until the replica has as many entries as the master.
    pub fn wait_for_replica(&self) {
        let entries = |server: &RedisServer| server.ask(Self::PASSWORD, &["DBSIZE"]);
        let written = entries(&self.master);
        wait_until("the replica has what was written", || entries(&self.replica) == written);
    }

    /// Whether the Sentinel names the replica as the master.
    pub fn has_failed_over(&self) -> bool {
        let address = self.sentinel.ask("", &["SENTINEL", "get-master-addr-by-name", "main"]);
        address.lines().nth(1) == Some(&self.replica.port.to_string())
    }
}

/// The answer of the Redis server on a port of 127.0.0.1 to a command, as `redis-cli` prints it: a line an item, empty
/// while the server does not answer. `password` may be empty.
///
/// # Panics
/// Panics where there is no `redis-cli`.
pub fn ask_redis(port: u16, password: &str, words: &[&str]) -> String {
    let port = port.to_string();
    let asked = Command::new("redis-cli").args(["-p", &port]).args(words).env("REDISCLI_AUTH", password).output();
    String::from_utf8_lossy(&asked.expect("redis-cli is installed with redis-server").stdout).trim().to_owned()
}

/// Waits until the Redis server on a port of 127.0.0.1, which needs no password, has copied what its master has.
///
/// # Panics
/// Panics if it has not within a minute.
pub fn wait_for_copy(port: u16) {
    wait_until("the replica has copied its master", || {
        ask_redis(port, "", &["INFO", "replication"]).contains("master_link_status:up")
    });
}

/// A port of 127.0.0.1 that nobody listens on now.
///
/// # Panics
/// Panics if there is none.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr());
    listener.expect("a free port").port()
}

/// Waits until `test` holds.
///
/// # Panics
/// Panics if it does not within a minute.
pub fn wait_until(what: &str, test: impl Fn() -> bool) {
    let begun = Instant::now();
    while !test() {
        assert!(begun.elapsed() < PATIENCE, "{what}: not in time");
        std::thread::sleep(PAUSE);
    }
}
