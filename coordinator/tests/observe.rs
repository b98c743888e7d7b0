//! The farm's metrics, and the log of a render.

use std::time::Duration;

use crate::common::client::{RENDERS, error, get, invalid};
use crate::common::{Farm, SOON, chunks_of, draft};
use bytes::Bytes;
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::{LogLevel, LogLine, LogSource};
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;
use serde_json::{Value, json};

/// Waits until a line of the metrics begins with `line`.
async fn shows(farm: &Farm, line: &str) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let text = farm.backplane.metrics.encode();
        if text.lines().any(|found| found.starts_with(line)) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{line} is not in\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Waits until the value of a series satisfies `test`.
async fn reaches(farm: &Farm, series: &str, test: impl Fn(f64) -> bool) {
    let deadline = tokio::time::Instant::now() + SOON;
    loop {
        let text = farm.backplane.metrics.encode();
        let value = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok());
        if value.is_some_and(&test) {
            return;
        }
        assert!(tokio::time::Instant::now() < deadline, "{series} is {value:?} in\n{text}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn the_farm_is_in_the_metrics() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    farm.slots(3).await;
    let render = farm.submit(chunks_of(30)).await;
    shows(&farm, "hyperfarm_live_slots{pool=\"cpu\",role=\"worker\"} 3").await;
    shows(&farm, "hyperfarm_nodes{pool=\"cpu\",role=\"worker\",state=\"active\"} 1").await;
    shows(&farm, "hyperfarm_renders{status=\"queued\"} 1").await;
    shows(&farm, "hyperfarm_queue_oldest_age_seconds{pool=\"cpu\",queue=\"plan\"}").await;
    // What nobody claims is sent again, so that there may be more than one.
    reaches(&farm, "hyperfarm_queue_depth{pool=\"cpu\",queue=\"plan\"}", |depth| depth >= 1.0).await;
    reaches(&farm, "hyperfarm_queue_depth{pool=\"\",queue=\"dead\"}", |depth| depth == 0.0).await;

    let mut worker = farm.worker("w1").await;
    worker.do_next(&draft(60, false)).await;
    let chunk = worker.claim().await;
    shows(&farm, "hyperfarm_renders{status=\"rendering\"} 1").await;
    // The worker makes no progress meanwhile.
    reaches(&farm, "hyperfarm_render_stall_seconds", |stall| stall > 0.2).await;
    let result = worker.leave(&chunk, &draft(60, false)).await;
    worker.commit(&chunk, &result).await;
    worker.finish(&draft(60, false)).await;
    farm.end(&render).await;
    shows(&farm, "hyperfarm_renders_ended_total{code=\"\",owner=\"\",status=\"completed\"} 1").await;
    shows(&farm, "hyperfarm_render_duration_seconds_count 1").await;
    shows(&farm, "hyperfarm_usage_output_seconds_total 2").await;
    shows(&farm, "hyperfarm_usage_worker_seconds_total{pool=\"stitch\"} 0.001").await;
    shows(&farm, "hyperfarm_renders_accepted_total 1").await;
    reaches(&farm, "hyperfarm_render_stall_seconds", |stall| stall == 0.0).await;
    shows(&farm, "hyperfarm_renders{status=\"rendering\"} 0").await;

    let lost = farm.submit(RenderSpec::default()).await;
    let lease = worker.claim().await;
    worker.fail(&lease, FailureCode::ScriptError).await;
    farm.end(&lost).await;
    let failed = "hyperfarm_renders_ended_total{code=\"SCRIPT_ERROR\",owner=\"user\",status=\"failed\"} 1";
    shows(&farm, failed).await;

    assert!(get(&router, &format!("{RENDERS}/{render}")).await.status.is_success());
    get(&router, &format!("{RENDERS}/nothing-of-that-name")).await;
    get(&router, "/no/such/route").await;
    let route = "route=\"/v3/hyperframes/renders/{render_id}\"";
    shows(&farm, &format!("hyperfarm_api_requests_total{{method=\"get\",{route},status=\"2xx\"}} 1")).await;
    shows(&farm, &format!("hyperfarm_api_requests_total{{method=\"get\",{route},status=\"4xx\"}} 1")).await;
    shows(&farm, "hyperfarm_api_requests_total{method=\"other\",route=\"unmatched\",status=\"4xx\"} 1").await;
    let text = farm.backplane.metrics.encode();
    assert!(!text.contains(render.as_str()), "no render is a label");
}

fn line(step: &str, chunk: Option<u32>, message: &str) -> LogLine {
    LogLine {
        at: 1_700_000_000.5,
        level: LogLevel::Info,
        source: LogSource::Page,
        step: step.to_owned(),
        chunk,
        attempt: 1,
        frame: chunk.map(u64::from),
        message: message.to_owned(),
    }
}

async fn leave(farm: &Farm, key: &str, lines: &[LogLine]) {
    let mut text: Vec<u8> = b"a line of a newer version\n".to_vec();
    for line in lines {
        text.extend(serde_json::to_vec(line).unwrap());
        text.push(b'\n');
    }
    farm.backplane.objects.put(key, Bytes::from(text)).await.unwrap();
}

#[tokio::test]
async fn a_renders_log_is_read_page_by_page() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    let render = farm.submit(RenderSpec::default()).await;
    let uri = format!("{RENDERS}/{render}/log");
    assert_eq!(get(&router, &uri).await.json(), json!({ "data": [], "has_more": false, "next_token": null }));
    for chunk in [10, 2] {
        let lines = [line("chunk", Some(chunk), "one"), line("chunk", Some(chunk), "two")];
        leave(&farm, &keys::task_log(&render, Step::Chunk(chunk), 1), &lines).await;
    }
    leave(&farm, &keys::task_log(&render, Step::Plan, 1), &[line("plan", None, "planned")]).await;

    let whole = get(&router, &uri).await.json()["data"].clone();
    let lines: Vec<String> = whole
        .as_array()
        .unwrap()
        .iter()
        .map(|line| {
            format!("{} {} {}", line["step"].as_str().unwrap(), line["chunk"], line["message"].as_str().unwrap())
        })
        .collect();
    assert_eq!(lines, ["plan null planned", "chunk 2 one", "chunk 2 two", "chunk 10 one", "chunk 10 two"]);
    assert_eq!(
        whole[1],
        json!({
            "at": 1_700_000_000.5, "level": "info", "source": "page", "step": "chunk", "chunk": 2, "attempt": 1,
            "frame": 2, "message": "one",
        })
    );
    for limit in 1..=6 {
        let (mut all, mut token, mut pages) = (Vec::new(), String::new(), 0);
        loop {
            let page = get(&router, &format!("{uri}?limit={limit}&token={token}")).await.json();
            all.extend(page["data"].as_array().unwrap().clone());
            assert_eq!(page["has_more"], page["next_token"] != Value::Null);
            pages += 1;
            let Some(next) = page["next_token"].as_str() else { break };
            token = next.to_owned();
        }
        assert_eq!((Value::from(all), pages), (whole.clone(), 5usize.div_ceil(limit)), "pages of {limit}");
    }
    assert_eq!(get(&router, &format!("{uri}?token=bm9uc2Vuc2U")).await.error(), invalid("token"));
    assert_eq!(get(&router, &format!("{uri}?limit=0")).await.error(), invalid("limit"));
    let missing = get(&router, &format!("{RENDERS}/nothing/log")).await;
    assert_eq!(missing.error(), error(404, "hyperframes_render_not_found"));
}
