//! The API against what its own document allows and forbids: thousands of generated requests over a socket.

use std::path::PathBuf;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::common::{Farm, Worker, draft, quick};
use axum::Router;
use axum::extract::{Request, State};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::Response;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyLimits, KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::intake::Limits;
use hyperfarm_proto::failure::FailureCode;

/// What the farm itself saw.
#[derive(Default)]
struct Seen {
    requests: AtomicU64,
    ours: AtomicU64,
}

async fn count(State(seen): State<Arc<Seen>>, request: Request, next: Next) -> Response {
    let about = format!("{} {}", request.method(), request.uri());
    let response = next.run(request).await;
    seen.requests.fetch_add(1, Ordering::Relaxed);
    if response.status().is_server_error() {
        seen.ours.fetch_add(1, Ordering::Relaxed);
        eprintln!("{} {about}", response.status());
    }
    response
}

/// Does whatever comes, one render in three badly, so that every state of a render is met.
async fn work(mut worker: Worker) {
    let draft = draft(30, false);
    let mut number = 0u32;
    loop {
        let Some(task) = worker.take_within(Duration::from_secs(3600)).await else { return };
        let hyperfarm_backplane::ledger::Claim::Granted(lease) = worker.claim_task(&task).await else { continue };
        number += 1;
        if number.is_multiple_of(7) {
            worker.fail(&lease, FailureCode::EntryNotFound).await;
            continue;
        }
        // A render that is deleted meanwhile has nothing to work on.
        let exists =
            worker.backplane.objects.exists(&hyperfarm_proto::keys::request(&lease.task.render)).await.unwrap();
        let has_plan = worker.backplane.objects.exists(&hyperfarm_proto::keys::plan(&lease.task.render)).await.unwrap();
        if exists && (has_plan || lease.task.step == hyperfarm_proto::task::Step::Plan) {
            let result = worker.leave(&lease, &draft).await;
            worker.commit(&lease, &result).await;
        }
    }
}

/// The fuzzer that `scripts/setup.sh --test` installs; `None` where it is neither there nor required.
fn fuzzer() -> Option<PathBuf> {
    let path = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/documented/.venv/bin/schemathesis"));
    let required = std::env::var("HYPERFARM_TEST_REQUIRE_SERVERS").is_ok_and(|value| value == "1");
    assert!(path.is_file() || !required, "schemathesis is required: run scripts/setup.sh --test");
    if !path.is_file() {
        eprintln!("skipped: no schemathesis; run scripts/setup.sh --test");
        return None;
    }
    Some(path)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn five_thousand_generated_requests_find_no_5xx_and_nothing_that_the_document_does_not_say() {
    let Some(fuzzer) = fuzzer() else { return };
    let dir = tempfile::tempdir().unwrap();
    let limits = Limits::default();
    let farm = Farm::over(Objects::local(dir.path()).unwrap(), CoordinatorConfig { limits, ..quick() });
    let mut record = KeyRecord::new("fuzz", "fuzz".parse().unwrap());
    record.rights.scopes = vec![Scope::Admin];
    record.rights.limits = KeyLimits { concurrent: Some(1_000_000), ..KeyLimits::default() };
    let (key, _) = KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap();
    let seen = Arc::new(Seen::default());
    let config = ApiConfig { access: Access::keys([]), ..ApiConfig::default() };
    let router = Router::new().fallback_service(farm.coordinator.router(config));
    let router = router.layer(from_fn_with_state(seen.clone(), count));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await });

    let folder = dir.path().join("fuzz");
    std::fs::create_dir(&folder).unwrap();
    // It writes where it runs, and looks there for what its settings name.
    let settings = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../e2e/documented"));
    for name in ["schemathesis.toml", "hooks.py"] {
        std::fs::copy(settings.join(name), folder.join(name)).unwrap();
    }
    let run = tokio::task::spawn_blocking(move || -> Output {
        Command::new(fuzzer)
            .args(["run", &format!("http://{address}/openapi.json")])
            .args(["-H", &format!("x-api-key: {key}"), "--no-color", "--seed", "20250921"])
            .current_dir(folder)
            .output()
            .unwrap()
    });
    let output = tokio::select! {
        output = tokio::time::timeout(Duration::from_secs(660), run) => output.expect("it took too long").unwrap(),
        () = work(farm.worker("w1").await) => panic!("nobody works any more"),
    };
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if let Ok(path) = std::env::var("HYPERFARM_FUZZ_REPORT") {
        std::fs::write(path, &said).unwrap();
    }
    let (requests, ours) = (seen.requests.load(Ordering::Relaxed), seen.ours.load(Ordering::Relaxed));
    eprintln!("{requests} requests, {ours} answered with 5xx");
    assert!(output.status.success(), "{said}");
    assert_eq!(ours, 0, "{said}");
    assert!(requests >= 5000, "only {requests} requests\n{said}");
}
