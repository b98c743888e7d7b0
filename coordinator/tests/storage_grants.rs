//! Storage of tasks without a credential: what coordinators grant, and to whom.

use std::future::IntoFuture;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::Path;
use axum::http::header::{CONTENT_LENGTH, CONTENT_RANGE, ETAG, IF_MATCH, RANGE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::IntoResponse;
use axum::routing::{get, post, put};
use axum::{Json, Router};
use bytes::Bytes;
use futures::StreamExt;
use hyperfarm_backplane::ledger::{Claim, Lease};
use hyperfarm_backplane::objects::grants::{
    Grant, GrantAnswer, GrantRequest, HeldLease, LARGEST_PUT, SignedRequest, Want,
};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::spec::{AudioCodec, Format, RenderRequest};
use hyperfarm_proto::task::{Step, TaskId};
use hyperfarm_testing::Requirement;
use serde_json::json;
use tokio::net::TcpListener;

use crate::common::client::{ask, error};
use crate::common::{Farm, chunks_of, draft, patient, quick};

const TOKEN: &str = "0123456789abcdef0123456789abcdef";
const OTHER_TOKEN: &str = "fedcba9876543210fedcba9876543210";

/// The S3 server of the test run; `None` where the test is skipped.
fn s3() -> Option<Objects> {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let Some(bucket) = std::env::var("HYPERFARM_TEST_S3_BUCKET").ok().filter(|name| !name.is_empty()) else {
        Requirement::Servers.skip("there is no S3 server: run through `make test`");
        return None;
    };
    let next = NEXT.fetch_add(1, Ordering::Relaxed);
    Some(Objects::open(&format!("s3://{bucket}/grants-{}-{next}", std::process::id())).unwrap())
}

async fn serve(router: Router) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(axum::serve(listener, router).into_future());
    address
}

fn config() -> ApiConfig {
    ApiConfig {
        access: Access::keys(["hf_admin"]),
        worker_tokens: format!("{TOKEN},{OTHER_TOKEN}").parse().unwrap(),
        ..ApiConfig::default()
    }
}

/// Storage of workers that ask the coordinator at `address`.
fn asking(address: SocketAddr, token: &str) -> Objects {
    Objects::of_coordinator(&format!("farm+http://{address}"), token).unwrap()
}

/// Whether an error says all of this.
fn says(error: &ObjectsError, parts: &[&str]) -> bool {
    let text = error.to_string();
    let has_all = parts.iter().all(|part| text.contains(part));
    assert!(has_all, "{parts:?} are not all in: {text}");
    assert!(!text.contains(TOKEN) && !text.contains("X-Amz-Signature"), "a secret is in: {text}");
    has_all
}

/// A farm with a render whose plan is being made, and the lease of that.
async fn planning(objects: Objects) -> (Farm, Lease, SocketAddr) {
    let farm = Farm::over(objects, patient());
    let address = serve(farm.coordinator.router(config())).await;
    let render = farm.submit(chunks_of(30)).await;
    let lease = claim(&farm, render, Step::Plan).await;
    (farm, lease, address)
}

/// Claims a task of a render for long.
async fn claim(farm: &Farm, render: RenderId, step: Step) -> Lease {
    let (ledger, task) = (&farm.backplane.ledger, TaskId { render, step });
    ledger.open(&task.render).await.unwrap();
    let claim = ledger.claim(&task, &"w1".parse().unwrap(), Duration::from_secs(600)).await.unwrap();
    let Claim::Granted(lease) = claim else { panic!("{claim:?}") };
    lease
}

/// What a plan stage does.
async fn plan_with(task: &Objects, lease: &Lease) {
    let render = &lease.task.render;
    let request: RenderRequest = task.get_json(&keys::request(render)).await.unwrap();
    let bundle = task.get(&keys::bundle(&request.bundle)).await.unwrap();
    assert_eq!(ContentHash::of(&bundle), request.bundle);
    assert!(task.list(keys::RUNTIME_VERSIONS).await.unwrap().is_empty());
    assert!(!task.exists(keys::RUNTIME_DEFAULT).await.unwrap());
    let (small, folder) = (Bytes::from_static(b"a file"), tempfile::tempdir().unwrap());
    let (large, path) = (vec![7u8; 9_000_000], folder.path().join("large"));
    std::fs::write(&path, &large).unwrap();
    let key = keys::blob(&ContentHash::of(&small));
    assert!(!task.exists(&key).await.unwrap());
    task.put(&key, small).await.unwrap();
    assert!(task.exists(&key).await.unwrap());
    task.put_file(&keys::blob(&ContentHash::of(&large)), &path).await.unwrap();
    task.put(&keys::draft(render), Bytes::from_static(b"a draft")).await.unwrap();
    task.put(&keys::task_log(render, Step::Plan, lease.attempt), Bytes::from_static(b"a line")).await.unwrap();
}

/// What the holder of a plan may not do.
async fn refuse_what_a_plan_may_not(task: &Objects, lease: &Lease) {
    let render = &lease.task.render;
    let other = "r2".parse().unwrap();
    for key in [keys::request(&other), keys::plan(render), keys::state(render), "farm/link-secret".to_owned()] {
        says(&task.get(&key).await.unwrap_err(), &["403", "may not get", &key]);
        says(&task.put(&key, Bytes::new()).await.unwrap_err(), &["403", "may not put", &key]);
    }
    let blob = keys::blob(&ContentHash::of(b"a file"));
    says(&task.get(&blob).await.unwrap_err(), &["403", "may not get", &blob]);
    says(&task.list("renders").await.unwrap_err(), &["403", "may not list", "renders"]);
    says(&task.delete(&keys::draft(render)).await.unwrap_err(), &["a removal is not granted"]);
    says(&task.copy(&keys::draft(render), &keys::draft(render)).await.unwrap_err(), &["a copy is not granted"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_task_touches_its_own_objects_and_no_others() {
    let Some(objects) = s3() else { return };
    let (farm, lease, address) = planning(objects).await;
    let workers = asking(address, TOKEN);
    assert!(!workers.has_credential() && farm.backplane.objects.has_credential());
    let task = workers.for_task(&lease);
    plan_with(&task, &lease).await;
    refuse_what_a_plan_may_not(&task, &lease).await;

    // S3 compares what is stored with the hash in the key.
    let wrong = keys::blob(&ContentHash::of(b"right"));
    says(&task.put(&wrong, Bytes::from_static(b"wrong")).await.unwrap_err(), &["BadDigest"]);
    assert!(!farm.backplane.objects.exists(&wrong).await.unwrap());

    // Of a request with one forbidden key nothing is granted, and outside a task nothing is.
    let (own, foreign) = (keys::request(&lease.task.render), keys::state(&lease.task.render));
    let wants = [own.clone(), foreign].map(|key| Want::Get { key }).to_vec();
    says(&workers.for_task(&lease).expect(wants).await.unwrap_err(), &["403"]);
    says(&workers.get(&own).await.unwrap_err(), &["holds no storage credential", "outside a task"]);

    // Tokens: each of the coordinator's, and no other.
    workers.check().await.unwrap();
    asking(address, OTHER_TOKEN).for_task(&lease).get(&own).await.unwrap();
    let stranger = asking(address, &TOKEN.replace('0', "1"));
    says(&stranger.check().await.unwrap_err(), &["401", "HYPERFARM_WORKER_TOKEN"]);
    says(&stranger.for_task(&lease).get(&own).await.unwrap_err(), &["401", "HYPERFARM_WORKER_TOKEN"]);

    // Leases: of another attempt, another slot, another claim, another step, another render.
    let tasks = |step| TaskId { render: lease.task.render.clone(), step };
    for other in [
        Lease { attempt: 2, ..lease.clone() },
        Lease { worker: "w2".parse().unwrap(), ..lease.clone() },
        Lease { grant: lease.grant.map(|claim| claim + 1), ..lease.clone() },
        Lease { grant: None, ..lease.clone() },
        Lease { task: tasks(Step::Stitch), ..lease.clone() },
    ] {
        says(&workers.for_task(&other).get(&own).await.unwrap_err(), &["409", "does not hold attempt"]);
    }
    farm.backplane.ledger.release(&lease).await.unwrap();
    let key = keys::draft(&lease.task.render);
    let lost = workers.for_task(&lease).put(&key, Bytes::new()).await.unwrap_err();
    says(&lost, &["409", "does not hold attempt"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn coordinators_themselves_serve_a_local_storage() {
    let folder = tempfile::tempdir().unwrap();
    let (farm, lease, address) = planning(Objects::local(folder.path()).unwrap()).await;
    let task = asking(address, TOKEN).for_task(&lease);
    plan_with(&task, &lease).await;
    refuse_what_a_plan_may_not(&task, &lease).await;
    let wrong = keys::blob(&ContentHash::of(b"right"));
    let refused = task.put(&wrong, Bytes::from_static(b"wrong")).await.unwrap_err();
    says(&refused, &["the content is not that which", &wrong]);
    assert!(!farm.backplane.objects.exists(&wrong).await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_render_that_has_ended_is_closed_to_whoever_claims_its_tasks() {
    let folder = tempfile::tempdir().unwrap();
    let (farm, lease, address) = planning(Objects::local(folder.path()).unwrap()).await;
    let (task, key) = (asking(address, TOKEN).for_task(&lease), keys::request(&lease.task.render));
    task.get(&key).await.unwrap();
    farm.backplane.objects.delete(&format!("open/{}", lease.task.render)).await.unwrap();
    let stale = Instant::now();
    let other = claim(&farm, lease.task.render.clone(), Step::Stitch).await;
    let output = format!("renders/{}/output.mp4", lease.task.render);
    let refused = loop {
        match asking(address, TOKEN).for_task(&other).put(&output, Bytes::from_static(b"x")).await {
            Ok(()) if stale.elapsed() < Duration::from_secs(10) => tokio::time::sleep(Duration::from_millis(300)).await,
            Ok(()) => panic!("an ended render is written to"),
            Err(error) => break error,
        }
    };
    says(&refused, &["409", "is not open"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_would_be_many_urls_is_refused() {
    let (farm, lease, _) = planning(Objects::memory()).await;
    let router = farm.coordinator.router(config());
    let (token, key) = (format!("Bearer {TOKEN}"), keys::draft(&lease.task.render));
    let parts = |bytes: u64| Want::Parts { key: key.clone(), bytes, upload: "u".to_owned() };
    let put = || Want::Put { key: key.clone(), bytes: Some(LARGEST_PUT + 1) };
    for wants in [vec![parts(u64::MAX)], vec![parts(1), parts(1)], vec![put(), put()]] {
        let body = json!({ "lease": HeldLease::from(&lease), "wants": wants }).to_string();
        let headers = [("authorization", token.as_str())];
        let answer = ask(&router, axum::http::Method::POST, "/internal/v1/storage/grants", &headers, &body).await;
        assert_eq!(answer.error(), error(400, "invalid_parameter"), "{wants:?}");
        let message = answer.json()["error"]["message"].to_string();
        assert!(message.contains("one file in parts"), "{message}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_chunk_asks_twice_and_gets_its_plan_its_files_and_its_segment() {
    let Some(objects) = s3() else { return };
    let farm = Farm::over(objects, quick());
    let router = farm.coordinator.router(config());
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let counted = router.layer(axum::middleware::map_request(move |request: axum::extract::Request| {
        count.fetch_add(usize::from(request.uri().path().starts_with("/internal")), Ordering::Relaxed);
        std::future::ready(request)
    }));
    let address = serve(counted).await;
    let render = farm.submit(chunks_of(10)).await;
    let mut worker = farm.worker("w1").await;
    let mut draft = draft(30, false);
    let file = Bytes::from_static(b"a file of the plan");
    let hash = ContentHash::of(&file);
    draft.content.files.push(hyperfarm_proto::plan::CompiledFile { path: "x".to_owned(), hash, bytes: 18 });
    farm.backplane.objects.put(&keys::blob(&hash), file.clone()).await.unwrap();
    let strange = ContentHash::of(b"a file of another plan");
    farm.backplane.objects.put(&keys::blob(&strange), Bytes::from_static(b"a file of another plan")).await.unwrap();
    worker.do_next(&draft).await;
    let lease = worker.claim().await;
    let plan = farm.plan(&render).await;
    let Step::Chunk(chunk) = lease.task.step else { panic!("{:?}", lease.task) };

    let task = asking(address, TOKEN).for_task(&lease);
    let key = keys::plan(&render);
    task.expect_inputs(vec![Want::Get { key: key.clone() }]).await.unwrap();
    let read: hyperfarm_proto::plan::Plan = task.get_wire(&key).await.unwrap();
    assert_eq!(read.content.files, plan.content.files);
    assert_eq!(task.get(&keys::blob(&hash)).await.unwrap(), file);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let (meta, middle) = task.stream(&keys::blob(&hash), Some(2..6)).await.unwrap();
    let middle: Vec<Bytes> = middle.map(Result::unwrap).collect().await;
    assert_eq!((meta.bytes, middle.concat()), (18, b"file".to_vec()));
    asked.store(1, Ordering::Relaxed);
    assert_eq!(asked.load(Ordering::Relaxed), 1);
    let data = Bytes::from_static(b"frames");
    let segment = keys::segment(&render, chunk, lease.attempt, &ContentHash::of(&data), Format::Mp4);
    let keys_ = [segment.clone(), keys::segment_record(&segment), keys::segment_thumbnail(&segment)];
    let want = |key: &String| Want::Put { key: key.clone(), bytes: Some(6) };
    task.expect(keys_.iter().map(want).collect()).await.unwrap();
    for key in &keys_ {
        task.put(key, data.clone()).await.unwrap();
    }
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(farm.backplane.objects.get(&segment).await.unwrap(), data);

    let others = keys::segment(&render, chunk + 1, lease.attempt, &ContentHash::of(&data), Format::Mp4);
    says(&task.put(&others, data.clone()).await.unwrap_err(), &["403", "may not put"]);
    says(&task.get(&segment).await.unwrap_err(), &["403", "may not get"]);
    says(&task.get(&keys::blob(&strange)).await.unwrap_err(), &["403", "may not get"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_url_that_has_run_out_is_asked_for_anew() {
    let Some(objects) = s3() else { return };
    objects.put("a", Bytes::from_static(b"value")).await.unwrap();
    let asked = Arc::new(AtomicUsize::new(0));
    let (store, count) = (objects.clone(), asked.clone());
    // A coordinator whose first URLs have run out when they are used.
    let grants = move |Json(request): Json<GrantRequest>| {
        let (store, count) = (store.clone(), count.clone());
        async move {
            let is_first = count.fetch_add(1, Ordering::Relaxed) == 0;
            let mut grants = Vec::new();
            for want in &request.wants {
                grants.push(store.grant(want, Duration::from_secs(if is_first { 1 } else { 60 })).await.unwrap());
            }
            if is_first {
                tokio::time::sleep(Duration::from_millis(2100)).await;
            }
            Json(GrantAnswer { valid_s: 60, grants })
        }
    };
    let address = serve(Router::new().route("/internal/v1/storage/grants", post(grants))).await;
    let task = TaskId { render: "r1".parse().unwrap(), step: Step::Plan };
    let lease = Lease { task, attempt: 1, worker: "w1".parse().unwrap(), grant: Some(7) };
    let task = asking(address, TOKEN).for_task(&lease);
    assert_eq!(task.get("a").await.unwrap(), "value");
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    assert_eq!(task.get("a").await.unwrap(), "value");
    assert_eq!(asked.load(Ordering::Relaxed), 2, "the new one is kept");
    assert!(task.get("b").await.unwrap_err().is_not_found());
}

/// A server that is coordinator and store at once: it grants everything, at its own address.
async fn granting(store: Router) -> (Objects, SocketAddr) {
    let grants = async |Json(request): Json<GrantRequest>| {
        let signed = |key: &str| SignedRequest { url: format!("store/{key}"), headers: Default::default() };
        let grants = request.wants.iter().map(|want| match want {
            Want::Get { key } => Grant::Get { key: key.clone(), request: signed(key) },
            Want::Put { key, .. } => Grant::Put { key: key.clone(), request: signed(key) },
            other => panic!("{other:?}"),
        });
        Json(GrantAnswer { valid_s: 60, grants: grants.collect() })
    };
    let address = serve(store.route("/internal/v1/storage/grants", post(grants))).await;
    let task = TaskId { render: "r1".parse().unwrap(), step: Step::Plan };
    let lease = Lease { task, attempt: 1, worker: "w1".parse().unwrap(), grant: Some(7) };
    (asking(address, TOKEN).for_task(&lease), address)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_download_goes_on_where_it_broke_off_and_is_of_one_object() {
    let count = Arc::new(AtomicUsize::new(0));
    let answered = count.clone();
    let read = async move |Path(key): Path<String>, headers: HeaderMap| {
        let is_rest = headers.get(RANGE).is_some();
        let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).unwrap_or_default();
        // The head announces ten bytes, and the connection ends after four.
        let torn = futures::stream::iter([Ok(Bytes::from_static(b"0123"))]).chain(futures::stream::once(async {
            tokio::time::sleep(Duration::from_millis(200)).await;
            Err(std::io::Error::other("torn"))
        }));
        match answered.fetch_add(1, Ordering::Relaxed) {
            0 | 1 => StatusCode::SERVICE_UNAVAILABLE.into_response(),
            2 => ([(CONTENT_LENGTH, "10"), (ETAG, "\"one\"")], Body::from_stream(torn)).into_response(),
            _ if is_rest && key == "changed" => StatusCode::PRECONDITION_FAILED.into_response(),
            _ => {
                assert_eq!((text(RANGE), text(IF_MATCH)), ("bytes=4-9", "\"one\""));
                (StatusCode::PARTIAL_CONTENT, [(CONTENT_RANGE, "bytes 4-9/10")], "456789").into_response()
            }
        }
    };
    let (task, _) = granting(Router::new().route("/store/{*key}", get(read))).await;
    assert_eq!(task.get("same").await.unwrap(), "0123456789");
    assert_eq!(count.swap(0, Ordering::Relaxed), 4);
    assert!(task.get("changed").await.is_err(), "halves of two objects are none");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_upload_may_take_longer_than_an_answer() {
    // A store behind a link that takes half as long again as an answer may, whatever the pieces' sizes.
    const LENGTH: usize = 48 << 20;
    const LINK_TAKES: Duration = Duration::from_secs(36);
    let taken = Arc::new(AtomicUsize::new(0));
    let count = taken.clone();
    let write = async move |body: Body| {
        let began = tokio::time::Instant::now();
        let mut pieces = body.into_data_stream();
        let mut so_far = 0;
        while let Some(piece) = pieces.next().await {
            so_far += piece.unwrap().len();
            tokio::time::sleep_until(began + LINK_TAKES.mul_f64(so_far as f64 / LENGTH as f64)).await;
        }
        count.store(so_far, Ordering::Relaxed);
    };
    let (task, _) = granting(Router::new().route("/store/{*key}", put(write))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("video");
    std::fs::File::create(&path).unwrap().set_len(LENGTH as u64).unwrap();
    task.put_file("video", &path).await.unwrap();
    assert_eq!(taken.load(Ordering::Relaxed), LENGTH);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_large_file_goes_up_in_parts() {
    let Some(objects) = s3() else { return };
    let farm = Farm::over(objects, patient());
    let address = serve(farm.coordinator.router(config())).await;
    let render = farm.submit(chunks_of(30)).await;
    let lease = claim(&farm, render.clone(), Step::Audio).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("sound");
    let file = std::fs::File::create(&path).unwrap();
    file.set_len(LARGEST_PUT + 5).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"middle", 40_000_000).unwrap();
    std::os::unix::fs::FileExt::write_at(&file, b"end", LARGEST_PUT + 2).unwrap();
    let key = keys::audio(&render, AudioCodec::Pcm);
    asking(address, TOKEN).for_task(&lease).put_file(&key, &path).await.unwrap();
    let stored = folder.path().join("stored");
    farm.backplane.objects.get_file(&key, &stored).await.unwrap();
    let hash = |path| ContentHash::of_reader(std::fs::File::open(path).unwrap()).unwrap();
    assert_eq!(hash(&stored), hash(&path));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_coordinator_that_comes_late_is_waited_for() {
    let folder = tempfile::tempdir().unwrap();
    let farm = Farm::over(Objects::local(folder.path()).unwrap(), patient());
    let render = farm.submit(chunks_of(30)).await;
    let lease = claim(&farm, render, Step::Plan).await;
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let task = asking(address, TOKEN).for_task(&lease);
    let key = keys::request(&lease.task.render);
    let started = Instant::now();
    let router = farm.coordinator.router(config());
    let (read, ()) = tokio::join!(task.get(&key), async {
        tokio::time::sleep(Duration::from_millis(700)).await;
        let listener = TcpListener::bind(address).await.unwrap();
        tokio::spawn(axum::serve(listener, router).into_future());
    });
    read.unwrap();
    assert!(started.elapsed() > Duration::from_millis(700));
}

#[tokio::test]
async fn no_api_key_opens_the_route_and_without_tokens_there_is_none() {
    let farm = Farm::new();
    let (closed, open) = (
        farm.coordinator.router(ApiConfig { worker_tokens: Default::default(), ..config() }),
        farm.coordinator.router(config()),
    );
    let body = json!({ "lease": null, "wants": [] }).to_string();
    let call = async |router: &Router, headers: &[(&str, &str)]| {
        ask(router, axum::http::Method::POST, "/internal/v1/storage/grants", headers, &body).await
    };
    let token = format!("Bearer {TOKEN}");
    for headers in [&[][..], &[("authorization", token.as_str())], &[("x-api-key", "hf_admin")]] {
        assert_eq!(call(&closed, headers).await.error(), error(404, "resource_not_found"), "{headers:?}");
    }
    for headers in [&[][..], &[("x-api-key", "hf_admin")], &[("authorization", "Bearer hf_admin")]] {
        assert_eq!(call(&open, headers).await.error(), error(401, "unauthorized"), "{headers:?}");
    }
    assert_eq!(call(&open, &[("authorization", &token)]).await.status, 200);
    // The token is no API key.
    let headers = [("authorization", token.as_str())];
    let answer = ask(&open, axum::http::Method::GET, "/v3/hyperframes/renders", &headers, "").await;
    assert_eq!(answer.status, 401);
    // A signature of a download or of a client's upload stores no object.
    let uploads = "/internal/v1/storage/objects/renders/r1/state.json";
    for query in ["", "?signature=1.00", "?signature=99999999999.00"] {
        let answer = ask(&open, axum::http::Method::PUT, &format!("{uploads}{query}"), &headers, "x").await;
        assert_eq!(answer.error(), error(403, "forbidden"), "{query}");
    }
    let document = ask(&open, axum::http::Method::GET, "/openapi.json", &[("x-api-key", "hf_admin")], "").await;
    assert!(!document.json().to_string().contains("/internal"), "it is no part of the API");
}
