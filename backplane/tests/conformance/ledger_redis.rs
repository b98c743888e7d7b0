//! What only a ledger behind a network has to promise: that it survives it, and the loss of everything in it.

use std::time::{Duration, Instant};

use hyperfarm_backplane::ledger::{Claim, Commit, Ledger, LedgerError, RedisLedger, Renewal};
use hyperfarm_backplane::metrics::Metrics;
use hyperfarm_proto::failure::{Failure, FailureCode};
use hyperfarm_proto::record::TaskProgress;
use hyperfarm_proto::task::Step;

use crate::ledger::{LONG, render, task, worker};
use crate::servers::{Proxy, REDIS, address, unique};

async fn raw(url: &str) -> redis::aio::MultiplexedConnection {
    redis::Client::open(url).unwrap().get_multiplexed_async_connection().await.unwrap()
}

async fn behind_a_proxy(url: &str) -> (Proxy, RedisLedger) {
    let (proxy, url) = Proxy::before_url(url).await;
    let ledger = RedisLedger::connect(&url, &unique("proxied")).await.unwrap();
    ledger.open(&render("r1")).await.unwrap();
    (proxy, ledger)
}

async fn granted(ledger: &RedisLedger, step: Step) -> hyperfarm_backplane::ledger::Lease {
    match ledger.claim(&task(step), &worker("w1"), LONG).await.unwrap() {
        Claim::Granted(lease) => lease,
        other => panic!("{other:?}"),
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_can_be_flushed_and_rebuilt() {
    let Some(url) = address(REDIS) else { return };
    // A database of its own: the others are used by other tests at this moment.
    let mut url = url::Url::parse(&url).unwrap();
    url.set_path("/9");
    let ledger = RedisLedger::connect(url.as_str(), &unique("flushed")).await.unwrap();
    ledger.open(&render("r1")).await.unwrap();
    let lease = granted(&ledger, Step::Chunk(1)).await;
    let done = granted(&ledger, Step::Chunk(0)).await;
    assert_eq!(ledger.commit(&done, b"stored").await.unwrap(), Commit::Accepted);

    let mut connection = raw(url.as_str()).await;
    redis::cmd("FLUSHDB").exec_async(&mut connection).await.unwrap();
    redis::cmd("SCRIPT").arg("FLUSH").exec_async(&mut connection).await.unwrap();

    assert_eq!(ledger.view(&render("r1")).await.unwrap(), None);
    assert_eq!(ledger.claim(&task(Step::Chunk(2)), &worker("w2"), LONG).await.unwrap(), Claim::Unknown);
    assert_eq!(ledger.renew(&lease, TaskProgress::default(), LONG).await.unwrap(), Renewal::Unknown);
    assert_eq!(ledger.commit(&lease, b"x").await.unwrap(), Commit::Unknown);

    ledger.open(&render("r1")).await.unwrap();
    ledger.restore(&done.task, done.attempt, b"stored").await.unwrap();
    assert_eq!(ledger.renew(&lease, TaskProgress::default(), LONG).await.unwrap(), Renewal::Renewed);
    assert_eq!(ledger.commit(&lease, b"x").await.unwrap(), Commit::Accepted);
    assert_eq!(ledger.commit(&done, b"again").await.unwrap(), Commit::Duplicate);
    let view = ledger.view(&render("r1")).await.unwrap().unwrap();
    assert!(view.tasks.values().all(|task| task.committed.is_some()));
    assert_eq!(view.tasks.len(), 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_connection_is_not_noticed_by_callers() {
    let Some(url) = address(REDIS) else { return };
    let (proxy, ledger) = behind_a_proxy(&url).await;
    for number in 0..5 {
        proxy.cut();
        granted(&ledger, Step::Chunk(number)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_outage_is_told_after_a_few_seconds_and_gets_over() {
    let Some(url) = address(REDIS) else { return };
    let (proxy, ledger) = behind_a_proxy(&url).await;
    let metrics = Metrics::new();
    let ledger = ledger.with_metrics(&metrics);
    proxy.refuse(true);
    let begin = Instant::now();
    let error = ledger.view(&render("r1")).await.unwrap_err();
    assert!(matches!(error, LedgerError::Unreachable { .. }), "{error}");
    let took = begin.elapsed();
    assert!(took > Duration::from_secs(2) && took < Duration::from_secs(7), "{took:?}");
    let outage = async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        proxy.refuse(false);
    };
    let render = render("r1");
    let (viewed, ()) = tokio::join!(ledger.view(&render), outage);
    assert!(viewed.unwrap().is_some());
    assert!(metrics.encode().contains("hyperfarm_reconnects_total{server=\"ledger\"} 1"), "{}", metrics.encode());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_answer_that_was_lost_is_given_again() {
    let Some(url) = address(REDIS) else { return };
    let (proxy, ledger) = behind_a_proxy(&url).await;
    // The scripts are known to the server, so that each call is one question.
    granted(&ledger, Step::Plan).await;
    for number in 0..3 {
        proxy.lose_next_answer();
        let lease = granted(&ledger, Step::Chunk(number)).await;
        assert_eq!(lease.attempt, 1, "the claim was made twice");
        proxy.lose_next_answer();
        assert_eq!(ledger.fail(&lease, &Failure::new(FailureCode::Storage, "x")).await.unwrap(), Commit::Accepted);
        let second = granted(&ledger, Step::Chunk(number)).await;
        proxy.lose_next_answer();
        assert_eq!(ledger.commit(&second, b"x").await.unwrap(), Commit::Accepted);
        let view = ledger.view(&render("r1")).await.unwrap().unwrap();
        assert_eq!(view.tasks[&Step::Chunk(number)].failures.len(), 1, "the failure was counted twice");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_not_the_ledgers_is_named() {
    let Some(url) = address(REDIS) else { return };
    let prefix = unique("foreign");
    let ledger = RedisLedger::connect(&url, &prefix).await.unwrap();
    let mut connection = raw(&url).await;
    let key = format!("{prefix}:render:{{r1}}");
    redis::cmd("SET").arg(&key).arg("x").exec_async(&mut connection).await.unwrap();
    let errors =
        [ledger.view(&render("r1")).await.map(drop).unwrap_err(), ledger.open(&render("r1")).await.unwrap_err()];
    for error in errors {
        assert!(matches!(&error, LedgerError::Corrupt { key: named, .. } if *named == key), "{error}");
    }
    redis::cmd("DEL").arg(&key).exec_async(&mut connection).await.unwrap();
    redis::cmd("HSET").arg(&key).arg("open").arg("1").arg("plan").arg("?").exec_async(&mut connection).await.unwrap();
    assert!(matches!(ledger.view(&render("r1")).await.unwrap_err(), LedgerError::Corrupt { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_abandoned_render_vanishes_in_the_end() {
    let Some(url) = address(REDIS) else { return };
    let prefix = unique("kept");
    let ledger = RedisLedger::connect(&url, &prefix).await.unwrap();
    ledger.open(&render("r1")).await.unwrap();
    let key = format!("{prefix}:render:{{r1}}");
    let mut connection = raw(&url).await;
    redis::cmd("PEXPIRE").arg(&key).arg(60_000).exec_async(&mut connection).await.unwrap();
    granted(&ledger, Step::Plan).await;
    let left: i64 = redis::cmd("PTTL").arg(&key).query_async(&mut connection).await.unwrap();
    assert!(left > 6 * 24 * 3600 * 1000, "every write puts it off: {left}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn namespaces_are_apart() {
    let Some(url) = address(REDIS) else { return };
    let one = RedisLedger::connect(&url, &unique("one")).await.unwrap();
    let other = RedisLedger::connect(&url, &unique("other")).await.unwrap();
    one.open(&render("r1")).await.unwrap();
    assert_eq!(other.view(&render("r1")).await.unwrap(), None);
}
