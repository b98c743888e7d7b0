//! The ledger over a cluster of Redis servers, over the master that a Sentinel knows, and with the rights of each role.

use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use hyperfarm_backplane::ledger::{Claim, Commit, Ledger, NodeView, Quota, RedisLedger, Renewal};
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::Step;
use hyperfarm_testing::{RedisFailover, RedisServer, free_port, wait_until};

use crate::ledger::{LONG, keeps_every_promise, render, task, worker};
use crate::servers::unique;

/// Longest time until the ledger answers over another master.
const PATIENCE: Duration = Duration::from_secs(60);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_keeps_every_promise() {
    let node = || format!("cluster-enabled yes\ncluster-port {}\n", free_port());
    let started: Option<Vec<RedisServer>> = (0..3).map(|_| RedisServer::start(node)).collect();
    let Some(nodes) = started else { return };
    for node in &nodes {
        wait_until("a node answers", || node.ask("", &["PING"]) == "PONG");
    }
    let hosts: Vec<String> = nodes.iter().map(|node| format!("127.0.0.1:{}", node.port())).collect();
    let created = Command::new("redis-cli")
        .args(["--cluster", "create"])
        .args(&hosts)
        .args(["--cluster-replicas", "0", "--cluster-yes"])
        .output()
        .unwrap();
    assert!(created.status.success(), "{}", String::from_utf8_lossy(&created.stdout));
    for node in &nodes {
        wait_until("the cluster", || node.ask("", &["CLUSTER", "INFO"]).contains("cluster_state:ok"));
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
        assert!(node.ask("", &["DBSIZE"]).parse::<u64>().unwrap() > 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_master_takes_over_and_has_what_was_committed() {
    let Some(mut servers) = RedisFailover::start() else { return };
    let ledger = RedisLedger::connect(&servers.url(), &unique("sentinel")).await.unwrap();
    ledger.open(&render("r1")).await.unwrap();
    let claim = ledger.claim(&task(Step::Chunk(0)), &worker("w1"), LONG).await.unwrap();
    let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
    assert_eq!(ledger.commit(&lease, b"x").await.unwrap(), Commit::Accepted);
    servers.wait_for_replica();

    servers.master.kill();
    let claims = async {
        while !matches!(ledger.claim(&task(Step::Chunk(1)), &worker("w1"), LONG).await, Ok(Claim::Granted(_))) {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    tokio::time::timeout(PATIENCE, claims).await.expect("the ledger answers again");
    let view = ledger.view(&render("r1")).await.unwrap().unwrap();
    assert_eq!(view.tasks[&Step::Chunk(0)].committed.as_deref(), Some(&b"x"[..]));
    assert!(servers.has_failed_over());
}

/// The users that the operator's guide recommends: the coordinator's keeps every promise, and the workers' and
/// stitchers' can do their tasks and nothing else.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_role_has_the_rights_that_it_needs() {
    let users = include_str!("../../../deploy/redis/users.conf");
    let Some(server) = RedisServer::start(|| users.to_owned()) else { return };
    let url = |user: &str| format!("redis://hyperfarm-{user}:{user}-password@127.0.0.1:{}", server.port());
    let connect = async || {
        let prefix = format!("hyperfarm:{}", unique("users"));
        Arc::new(RedisLedger::connect(&url("coordinator"), &prefix).await.unwrap()) as Arc<dyn Ledger>
    };
    keeps_every_promise(connect).await;

    let coordinator = RedisLedger::connect(&url("coordinator"), "hyperfarm").await.unwrap();
    let ledger = RedisLedger::connect(&url("worker"), "hyperfarm").await.unwrap();
    coordinator.open(&render("r1")).await.unwrap();
    let claim = async |chunk: u32| match ledger.claim(&task(Step::Chunk(chunk)), &worker("w1"), LONG).await.unwrap() {
        Claim::Granted(lease) => lease,
        refused => panic!("{refused:?}"),
    };
    let leases = [claim(0).await, claim(1).await, claim(2).await];
    assert_eq!(ledger.renew(&leases[0], TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
    assert_eq!(ledger.commit(&leases[0], b"x").await.unwrap(), Commit::Accepted);
    let failure = Failure::new(FailureCode::ChromeCrashed, "as asked");
    assert_eq!(ledger.fail(&leases[1], &failure).await.unwrap(), Commit::Accepted);
    ledger.release(&leases[2]).await.unwrap();
    let elsewhere = ledger.claim_elsewhere(&task(Step::Chunk(1)), &worker("w1"), LONG).await.unwrap();
    assert!(matches!(elsewhere, Claim::Elsewhere { .. }), "{elsewhere:?}");
    let node = NodeView::new("n1".parse().unwrap(), "worker", "cpu", 1, "test");
    ledger.heartbeat(&node, LONG).await.unwrap();
    assert_eq!(ledger.nodes().await.unwrap().len(), 1);
    ledger.check().await.unwrap();

    let quota = Quota { group: "in-flight".to_owned(), name: "k".to_owned(), limit: 1, window: None };
    assert!(ledger.lead("n1", 0, LONG).await.is_err(), "a worker became the leader");
    assert!(ledger.reserve(&quota, &[render("r1")]).await.is_err(), "a worker took a place of a quota");
    assert!(ledger.forget(&render("r1")).await.is_err(), "a worker removed a render");
    let client = redis::Client::open(url("worker")).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    for command in [&["FLUSHALL"][..], &["KEYS", "*"], &["CONFIG", "GET", "*"], &["GET", "other"], &["ACL", "LIST"]] {
        let refused = redis::Cmd::new().arg(command).query_async::<redis::Value>(&mut connection).await;
        assert_eq!(refused.unwrap_err().code(), Some("NOPERM"), "{command:?}");
    }
}
