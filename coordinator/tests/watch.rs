//! What people watch: the farm, its nodes, and renders from within, through HTTP.

use std::time::{Duration, Instant};

use crate::common::client::{RENDERS, ask, error, get, invalid, post};
use crate::common::{Farm, SOON, chunks_of, draft, patient, quick};
use axum::Router;
use axum::body::Body;
use axum::http::{Method, Request};
use bytes::Bytes;
use futures::StreamExt;
use hyperfarm_backplane::ledger::{NodeState, NodeTask, NodeView, Order};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_media::{Bitmap, PixelLayout, SegmentEncoder};
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::event::EventKind;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::id::{ContentHash, RenderId};
use hyperfarm_proto::keys;
use hyperfarm_proto::plan::{EncoderSettings, Plan};
use hyperfarm_proto::record::SegmentRecord;
use hyperfarm_proto::spec::{Format, Quality, RenderSpec, Size};
use hyperfarm_proto::task::Step;
use serde_json::{Value, json};
use tower::ServiceExt;

const FARM: &str = "/v3/hyperframes/farm";
const WORKERS: &str = "/v3/hyperframes/workers";

fn open(farm: &Farm) -> Router {
    farm.coordinator.router(ApiConfig::default())
}

async fn json_of(router: &Router, uri: &str) -> Value {
    get(router, uri).await.json()["data"].clone()
}

async fn submit(farm: &Farm, title: &str, spec: RenderSpec) -> RenderId {
    // Ids sort by the millisecond.
    tokio::time::sleep(Duration::from_millis(3)).await;
    farm.submit(RenderSpec { title: Text::new(title), callback_id: Text::new(format!("job-{title}")), ..spec }).await
}

/// Fails the first attempt at chunk 0, loses nothing else, and finishes.
async fn one_failure(farm: &Farm, render: &RenderId) {
    let draft = draft(60, true);
    let mut worker = farm.worker("n1-s0").await;
    worker.do_next(&draft).await;
    let mut has_failed = false;
    loop {
        let lease = worker.claim().await;
        if lease.task.step == Step::Chunk(0) && !has_failed {
            has_failed = true;
            worker.fail(&lease, FailureCode::ChromeCrashed).await;
            continue;
        }
        let result = worker.leave(&lease, &draft).await;
        worker.commit(&lease, &result).await;
        if lease.task.step == Step::Stitch {
            break;
        }
    }
    farm.end(render).await;
}

#[tokio::test]
async fn the_timeline_has_every_attempt_and_is_there_after_a_restart() {
    let mut farm = Farm::with(quick());
    let render = farm.submit(chunks_of(30)).await;
    one_failure(&farm, &render).await;
    let uri = format!("{RENDERS}/{render}/timeline");
    let told = json_of(&open(&farm), &uri).await;
    let spans = told["spans"].as_array().unwrap();
    let seen = |kind: &str, chunk: Value| {
        let of = spans.iter().filter(|span| span["kind"] == kind && span["chunk"] == chunk);
        of.map(|span| span["outcome"].as_str().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(seen("plan", Value::Null), ["committed"]);
    assert_eq!(seen("chunk", json!(0)), ["failed", "committed"]);
    assert_eq!(seen("chunk", json!(1)), ["committed"]);
    assert_eq!((seen("audio", Value::Null), seen("stitch", Value::Null)), (vec!["committed"], vec!["committed"]));
    let failed = spans.iter().find(|span| span["outcome"] == "failed").unwrap();
    assert_eq!(
        (&failed["error_code"], &failed["worker_id"], &failed["slot"]),
        (&json!("CHROME_CRASHED"), &json!("n1"), &json!(0))
    );
    for span in spans {
        assert!(span["started_at"].as_f64() <= span["ended_at"].as_f64(), "{span}");
    }
    let chunks = json_of(&open(&farm), &format!("{RENDERS}/{render}/chunks")).await;
    assert_eq!(
        (&chunks[0]["attempts"], &chunks[1]["attempts"], &chunks[0]["status"]),
        (&json!(2), &json!(1), &json!("completed"))
    );
    assert_eq!(
        (&chunks[0]["capture_path"], &chunks[0]["attempt"], &chunks[0]["worker"]),
        (&json!("png"), &json!(2), &json!("n1-s0"))
    );

    farm.ledger.clear();
    farm.restart().await;
    let mut again = json_of(&open(&farm), &uri).await;
    again["now"] = told["now"].clone();
    assert_eq!(again, told);

    // Without the record of its course a render is told from its manifest, as one of an older farm.
    farm.backplane.objects.delete(&format!("renders/{render}/timeline.json")).await.unwrap();
    farm.restart().await;
    let older = json_of(&open(&farm), &uri).await;
    assert!(older["spans"].as_array().unwrap().iter().any(|span| span["kind"] == "stitch"), "{older}");
}

#[tokio::test]
async fn a_render_under_way_and_a_cancelled_one_tell_their_attempts() {
    let farm = Farm::new();
    let router = open(&farm);
    let render = farm.submit(chunks_of(30)).await;
    let draft = draft(60, false);
    let mut worker = farm.worker("n1-s3").await;
    worker.do_next(&draft).await;
    let lease = worker.claim().await;
    let progress = hyperfarm_proto::record::TaskProgress { done: 7, total: 30 };
    farm.backplane.ledger.renew(&lease, progress, SOON).await.unwrap();
    worker.tell(&lease.task, EventKind::Failed).await;
    farm.until(&render, |progress| progress.frames_done == 7).await;
    let (timeline, chunks) = (format!("{RENDERS}/{render}/timeline"), format!("{RENDERS}/{render}/chunks"));
    let told = json_of(&router, &timeline).await;
    let running = told["spans"].as_array().unwrap().iter().find(|span| span["outcome"] == "running").unwrap().clone();
    assert_eq!((&running["frames"], &running["ended_at"], &told["ended_at"]), (&json!(7), &Value::Null, &Value::Null));
    let Step::Chunk(index) = lease.task.step else { panic!() };
    let chunk = &json_of(&router, &chunks).await[index as usize];
    assert_eq!(
        (&chunk["status"], &chunk["worker"], &chunk["frames_done"]),
        (&json!("rendering"), &json!("n1-s3"), &json!(7))
    );

    let first = get(&router, &format!("{chunks}?limit=1")).await.json();
    assert_eq!((first["data"].as_array().unwrap().len(), &first["has_more"]), (1, &json!(true)));
    let rest = get(&router, &format!("{chunks}?limit=1&token={}", first["next_token"].as_str().unwrap())).await.json();
    assert_eq!((&rest["data"][0]["index"], &rest["has_more"]), (&json!(1), &json!(false)));
    assert_eq!(get(&router, &format!("{chunks}?limit=2001")).await.error(), invalid("limit"));

    post(&router, &format!("{RENDERS}/{render}/cancel"), &json!({})).await;
    let told = json_of(&router, &timeline).await;
    assert_eq!(told["spans"].as_array().unwrap().last().unwrap()["outcome"], "superseded");
    assert!(told["ended_at"].is_f64());
}

#[tokio::test]
async fn renders_are_found_by_status_and_words_before_and_after_a_restart() {
    let mut farm = Farm::new();
    let done = submit(&farm, "Spring", chunks_of(60)).await;
    farm.worker("w").await.finish(&draft(30, false)).await;
    farm.end(&done).await;
    let cancelled = submit(&farm, "Summer", RenderSpec::default()).await;
    farm.coordinator.cancel(&cancelled).await.unwrap();
    let failed = submit(&farm, "Autumn", RenderSpec::default()).await;
    let mut worker = farm.worker("w").await;
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    farm.end(&failed).await;
    let queued = submit(&farm, "Winter", RenderSpec::default()).await;
    for _ in 0..2 {
        let router = open(&farm);
        let found = |query: &'static str| {
            let router = router.clone();
            async move {
                let listed = get(&router, &format!("{RENDERS}?{query}")).await.json();
                let ids = listed["data"].as_array().unwrap().iter();
                ids.map(|render| render["render_id"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
            }
        };
        assert_eq!(found("status=completed").await, [done.as_str()]);
        assert_eq!(found("status=cancelled,failed").await, [failed.as_str(), cancelled.as_str()]);
        assert_eq!(found("status=queued").await, [queued.as_str()]);
        assert_eq!(found("search=SUMM").await, [cancelled.as_str()]);
        assert_eq!(found("search=job-&status=failed,completed&limit=1").await, [failed.as_str()]);
        assert_eq!(found("search=nothing").await, Vec::<String>::new());
        assert_eq!(found("").await.len(), 4);
        farm.restart().await;
    }
    let router = open(&farm);
    assert_eq!(get(&router, &format!("{RENDERS}?status=done")).await.error(), invalid("status"));
    let first = get(&router, &format!("{RENDERS}?search=job&limit=3")).await.json();
    let next = first["next_token"].as_str().unwrap();
    let rest = get(&router, &format!("{RENDERS}?search=job&limit=3&token={next}")).await.json();
    assert_eq!((rest["data"][0]["render_id"].as_str(), &rest["has_more"]), (Some(done.as_str()), &json!(false)));
    farm.coordinator.delete(&done).await.unwrap();
    assert_eq!(get(&router, &format!("{RENDERS}?search=spring")).await.json()["data"], json!([]));
}

/// What `n1` says: one slot of two at a chunk.
fn busy(slots: u32) -> NodeView {
    let render: RenderId = "r1".parse().unwrap();
    let task = NodeTask { render, step: Step::Chunk(3), attempt: 1, done: 5, total: 30, since_ms: 1000 };
    NodeView {
        tasks: vec![task],
        frames_per_second: 2.5,
        ..NodeView::new("n1".parse().unwrap(), "worker", "cpu", slots, "Chrome 156")
    }
}

#[tokio::test]
async fn the_farm_is_told_at_a_glance() {
    let farm = Farm::new();
    farm.backplane.ledger.heartbeat(&busy(2), SOON * 100).await.unwrap();
    let router = open(&farm);
    let done = submit(&farm, "Done", chunks_of(60)).await;
    farm.worker("w").await.finish(&draft(90, false)).await;
    farm.end(&done).await;
    let failed = submit(&farm, "Broken", RenderSpec::default()).await;
    let mut worker = farm.worker("w").await;
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    farm.end(&failed).await;
    submit(&farm, "Waiting", RenderSpec::default()).await;
    assert!(crate::common::comes(async || json_of(&router, FARM).await["queue_depth"] == 1).await, "nothing waits");
    let told = json_of(&router, FARM).await;
    let renders = json!({
        "queued": 1, "rendering": 0, "completed": 1, "failed": 1, "cancelled": 0, "completed_today": 1, "failed_today": 1,
    });
    assert_eq!(told["renders"], renders);
    assert_eq!((&told["slots"], &told["slots_busy"], &told["queue_depth"]), (&json!(2), &json!(1), &json!(1)));
    assert_eq!(told["today"]["output_minutes"], json!(0.05));
    assert!((told["today"]["cost_usd"].as_f64().unwrap() - 0.005).abs() < 1e-9, "{told}");
    assert_eq!((&told["pools"][0]["pool"], &told["pools"][0]["workers"]), (&json!("cpu"), &json!(1)));
    assert!(told["pools"][0]["queue_oldest_seconds"].as_f64().unwrap() >= 0.0);
    assert_eq!(
        (&told["recent_failures"][0]["title"], &told["recent_failures"][0]["error_code"]),
        (&json!("Broken"), &json!("SCRIPT_ERROR"))
    );
    assert_eq!(told["recent_failures"].as_array().unwrap().len(), 1);
    assert_eq!(told["history"][0]["slots"], json!(2));
}

#[tokio::test]
async fn workers_are_listed_and_asked_by_admins() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig { access: Access::keys(["hf_admin"]), ..ApiConfig::default() });
    let key = [("x-api-key", "hf_admin")];
    assert_eq!(get(&router, WORKERS).await.status, 401);
    let ledger = &farm.backplane.ledger;
    ledger.heartbeat(&busy(2), SOON * 100).await.unwrap();
    let listed = ask(&router, Method::GET, WORKERS, &key, "").await.json();
    let worker = &listed["data"][0];
    assert_eq!(
        (&worker["worker_id"], &worker["slots"], &worker["slots_busy"], &worker["state"]),
        (&json!("n1"), &json!(2), &json!(1), &json!("active"))
    );
    assert_eq!(
        (&worker["tasks"][0]["step"], &worker["tasks"][0]["chunk"], &worker["tasks"][0]["frames_done"]),
        (&json!("chunk"), &json!(3), &json!(5))
    );
    let order = |what: &str, body: &'static str| {
        let (router, uri) = (router.clone(), format!("{WORKERS}/{what}"));
        async move { ask(&router, Method::POST, &uri, &key, body).await }
    };
    assert_eq!(order("n9/drain", "").await.error(), error(404, "worker_not_found"));
    assert_eq!(order("n1/quarantine", r#"{"reason":7}"#).await.error(), invalid("reason"));
    let aside = order("n1/quarantine", r#"{"reason":"new disk"}"#).await.json();
    assert_eq!((&aside["data"]["state"], &aside["data"]["state_reason"]), (&json!("quarantined"), &json!("new disk")));
    let wish = ledger.heartbeat(&busy(2), SOON * 100).await.unwrap().unwrap();
    assert_eq!(wish.order, Order::Quarantine { reason: "new disk".to_owned() });
    assert_eq!(order("n1/resume", "").await.json()["data"]["state"], "active");
    assert_eq!(order("n1/drain", "").await.json()["data"]["state"], "draining");
    assert_eq!(order("n1/resume", "").await.error(), error(409, "conflict"));
    let draining = NodeView { state: NodeState::Draining, slots: 0, ..busy(2) };
    assert_eq!(ledger.heartbeat(&draining, SOON * 100).await.unwrap().unwrap().order, Order::Drain);
}

/// Reads events of a stream until one of each of `first` has come, acts, and reads on until the `last` one comes.
async fn events(router: &Router, first: &[&str], act: impl Future<Output = ()>, last: &str) -> String {
    let request = Request::get(format!("{FARM}/events")).body(Body::empty()).unwrap();
    let mut stream = router.clone().oneshot(request).await.unwrap().into_body().into_data_stream();
    let mut text = String::new();
    let mut read = async |names: &[&str]| {
        let all = async {
            while !names.iter().all(|name| text.contains(&format!("event: {name}\n"))) {
                text.push_str(&String::from_utf8_lossy(&stream.next().await.unwrap().unwrap()));
            }
        };
        let is_late = tokio::time::timeout(SOON, all).await.is_err();
        assert!(!is_late, "not all of {names:?} came: {text}");
    };
    read(first).await;
    act.await;
    read(&[last]).await;
    text
}

#[tokio::test]
async fn a_client_follows_the_farm_and_its_own_renders() {
    let farm = Farm::new();
    let router = open(&farm);
    farm.backplane.ledger.heartbeat(&busy(2), SOON * 100).await.unwrap();
    let render = submit(&farm, "Followed", RenderSpec::default()).await;
    let act = async { farm.coordinator.delete(&render).await.unwrap() };
    let text = events(&router, &["farm", "render", "workers"], act, "deleted").await;
    assert!(text.contains("\"title\":\"Followed\"") && text.contains("\"worker_id\":\"n1\""), "{text}");
    assert!(!text.contains("\"history\""), "{text}");
}

/// Stores a real segment for the chunk and commits it.
async fn real_segment(
    farm: &Farm,
    worker: &crate::common::Worker,
    lease: &hyperfarm_backplane::ledger::Lease,
    plan: &Plan,
) {
    let Step::Chunk(chunk) = lease.task.step else { panic!("{:?}", lease.task) };
    let range = plan.chunk(chunk).unwrap();
    let size = plan.content.viewport.output();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("segment.mp4");
    let mut encoder = SegmentEncoder::create(&path, &plan.content.encoder, size, plan.content.frame_rate).unwrap();
    for frame in range.frames() {
        let data: Vec<u8> = (0..size.width * size.height).flat_map(|_| [frame as u8 * 3, 90, 10, 255]).collect();
        let stride = size.width as usize * 4;
        encoder.push(&Bitmap { data: &data, stride, size, layout: PixelLayout::Bgra }).unwrap();
    }
    encoder.finish().unwrap();
    let bytes = Bytes::from(std::fs::read(&path).unwrap());
    let hash = ContentHash::of(&bytes);
    let key = keys::segment(&plan.render, chunk, lease.attempt, &hash, Format::Mp4);
    let record = SegmentRecord {
        key: key.clone(),
        hash,
        bytes: bytes.len() as u64,
        thumbnail: Some(keys::segment_thumbnail(&key)),
        ..serde_json::from_slice(&worker.leave(lease, &draft(0, false)).await).unwrap()
    };
    farm.backplane.objects.put(&keys::segment_thumbnail(&key), Bytes::from_static(b"jpeg")).await.unwrap();
    farm.backplane.objects.put(&key, bytes).await.unwrap();
    worker.commit(lease, &serde_json::to_vec(&record).unwrap()).await;
}

#[tokio::test]
async fn a_segment_that_is_no_media_has_no_preview() {
    let farm = Farm::new();
    let router = open(&farm);
    let render = farm.submit(chunks_of(6)).await;
    let mut worker = farm.worker("n1-s0").await;
    // The worker of these tests leaves segments that are no media.
    let draft = draft(6, false);
    for _ in 0..3 {
        worker.do_next(&draft).await;
    }
    farm.end(&render).await;
    let url = json_of(&router, &format!("{RENDERS}/{render}")).await["preview_url"].as_str().unwrap().to_owned();
    let answer = get(&router, url.strip_prefix("http://localhost:8080").unwrap()).await;
    assert_eq!(answer.error(), error(404, "resource_not_found"));
}

#[tokio::test]
async fn a_preview_grows_with_the_leading_segments() {
    let farm = Farm::new();
    let router = open(&farm);
    let render = farm.submit(chunks_of(6)).await;
    let mut draft = draft(18, false);
    draft.content.viewport.page = Size { width: 64, height: 64 };
    draft.content.encoder = EncoderSettings::of(Format::Mp4, Quality::Standard, FrameRate::DEFAULT);
    let mut worker = farm.worker("n1-s0").await;
    worker.do_next(&draft).await;
    let mut leases = Vec::new();
    for _ in 0..3 {
        leases.push(worker.claim().await);
    }
    leases.sort_by_key(|lease| lease.task.step);
    let (plan, uri) = (farm.plan(&render).await, format!("{RENDERS}/{render}"));
    real_segment(&farm, &worker, &leases[1], &plan).await;
    farm.until(&render, |progress| progress.chunks_done == 1).await;
    assert_eq!(json_of(&router, &uri).await["preview_url"], Value::Null, "the first one is missing");
    real_segment(&farm, &worker, &leases[0], &plan).await;
    farm.until(&render, |progress| progress.chunks_leading == 2).await;

    let url = json_of(&router, &uri).await["preview_url"].as_str().unwrap().to_owned();
    let path = url.strip_prefix("http://localhost:8080").unwrap().to_owned();
    let beside = |name: &str| format!("{}/{name}", path.rsplit_once('/').unwrap().0);
    let text = |uri: String| {
        let router = router.clone();
        async move {
            let answer = get(&router, &uri).await;
            assert_eq!((answer.status.as_u16(), answer.header("content-type")), (200, "application/vnd.apple.mpegurl"));
            String::from_utf8(answer.bytes).unwrap()
        }
    };
    let master = text(path.clone()).await;
    assert!(
        master.contains("RESOLUTION=64x64,FRAME-RATE=30.000,CODECS=\"avc1.") && master.ends_with("video.m3u8\n"),
        "{master}"
    );
    let growing = text(beside("video.m3u8")).await;
    assert!(growing.contains("#EXTINF:0.200000,\n1.m4s\n") && !growing.contains("2.m4s"), "{growing}");
    assert!(!growing.contains("ENDLIST"));
    assert_eq!(get(&router, &beside("2.m4s")).await.error(), error(404, "resource_not_found"));
    let piece = get(&router, &beside("1.m4s")).await;
    assert!(piece.header("cache-control").contains("immutable") && piece.header("content-type") == "video/mp4");
    assert_eq!(&piece.bytes[4..8], b"moof");
    let forged = path.replace("/preview/", "/preview/1");
    assert_eq!(get(&router, &forged).await.error(), error(403, "forbidden"));
    let thumbnail = json_of(&router, &format!("{uri}/chunks")).await[0]["thumbnail_url"].as_str().unwrap().to_owned();
    let still = get(&router, thumbnail.strip_prefix("http://localhost:8080").unwrap()).await;
    assert_eq!((still.bytes, still.headers["content-type"].to_str().unwrap()), (b"jpeg".to_vec(), "image/jpeg"));

    real_segment(&farm, &worker, &leases[2], &plan).await;
    worker.do_next(&draft).await;
    farm.end(&render).await;
    let whole = text(beside("video.m3u8")).await;
    assert!(whole.starts_with(&growing) && whole.ends_with("2.m4s\n#EXT-X-ENDLIST\n"), "{whole}");
    assert_eq!(json_of(&router, &uri).await["preview_url"], url.as_str());
    // What a player would put together plays.
    let mut film = get(&router, &beside("init.mp4")).await.bytes;
    for chunk in 0..3 {
        film.extend(get(&router, &beside(&format!("{chunk}.m4s"))).await.bytes);
    }
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("film.mp4");
    std::fs::write(&file, film).unwrap();
    let count = hyperfarm_media::count_packets(&file).unwrap();
    assert_eq!((count.video, count.first_video_pts), (18, Some(0.0)));
    assert!(count.dts_increase);
    farm.coordinator.delete(&render).await.unwrap();
    assert_eq!(get(&router, &path).await.status, 404);
}

/// The slowest of a few answers.
async fn timed(router: &Router, uri: &str) -> Duration {
    let mut slowest = Duration::ZERO;
    for _ in 0..3 {
        let started = Instant::now();
        let answer = get(router, uri).await;
        assert_eq!(answer.status, 200, "{uri}");
        slowest = slowest.max(started.elapsed());
    }
    slowest
}

/// Ten thousand renders and a render of two thousand chunks, through the real store. The figures are printed; run it with
/// `--run-ignored only --no-capture` and `HYPERFARM_BENCH_FOLDER` for a folder to keep the renders in.
#[tokio::test(flavor = "multi_thread")]
#[ignore = "figures, not a test: a minute"]
#[allow(clippy::print_stdout)]
async fn figures_of_a_large_farm() {
    use hyperfarm_backplane::objects::Objects;
    let folder = tempfile::tempdir().unwrap();
    let farm = Farm::over(Objects::local(folder.path()).unwrap(), quick());
    let bundle = farm
        .coordinator
        .store_bundle(hyperfarm_coordinator::intake::from_html("<p>", None).unwrap(), None)
        .await
        .unwrap();
    let started = Instant::now();
    let mut large = farm.submit(chunks_of(10)).await;
    let template = draft(20_000, false);
    let mut worker = farm.worker("n1-s0").await;
    worker.finish(&template).await;
    farm.end(&large).await;
    println!("a render of 2000 chunks: {:?}", started.elapsed());
    let state = farm.backplane.objects.get(&keys::state(&large)).await.unwrap();
    let started = Instant::now();
    let submits = (0..10_000).map(|number| {
        let (farm, state) = (&farm, state.clone());
        async move {
            let seed = hyperfarm_coordinator::intake::Seed::new().unwrap();
            let spec = RenderSpec { title: Text::new(format!("Title {number}")), ..RenderSpec::default() };
            farm.backplane.objects.put(&keys::state(&seed.render()), state).await.unwrap();
            farm.coordinator.submit_stored(bundle, spec, Default::default(), seed).await.unwrap();
        }
    });
    futures::stream::iter(submits).buffer_unordered(32).collect::<Vec<()>>().await;
    println!("10000 renders stored: {:?}", started.elapsed());
    let mut farm = farm;
    farm.restart().await;
    let router = open(&farm);
    for uri in [
        RENDERS.to_owned(),
        format!("{RENDERS}?limit=100"),
        format!("{RENDERS}?limit=100&search=title%2099"),
        format!("{RENDERS}?limit=100&status=completed"),
        FARM.to_owned(),
        format!("{RENDERS}/{large}"),
        format!("{RENDERS}/{large}/chunks"),
        format!("{RENDERS}/{large}/timeline"),
    ] {
        let started = Instant::now();
        let first = get(&router, &uri).await;
        let (first_took, bytes) = (started.elapsed(), first.bytes.len());
        println!("{uri}: first {first_took:?}, then {:?}, {bytes} bytes", timed(&router, &uri).await);
    }
    // The same while it is under way.
    large = farm.submit(chunks_of(10)).await;
    let mut worker = farm.worker("n1-s0").await;
    for _ in 0..1500 {
        worker.do_next(&template).await;
    }
    for uri in [format!("{RENDERS}/{large}/chunks"), format!("{RENDERS}/{large}/timeline"), FARM.to_owned()] {
        println!("under way: {uri}: {:?}", timed(&router, &uri).await);
    }
}
