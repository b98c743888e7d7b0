//! The HTTP contract, route by route and code by code.

use crate::common::client::{RENDERS, ask, error, get, invalid, page, post};
use crate::common::{Farm, chunks_of, draft, patient};
use axum::http::{Method, StatusCode};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::CoordinatorConfig;
use hyperfarm_coordinator::api::routes::ROUTES;
use hyperfarm_coordinator::api::systems::{SYSTEMS, Support};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::intake::{Limits, from_html};
use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::keys;
use hyperfarm_proto::spec::RenderSpec;
use serde_json::{Value, json};

#[tokio::test]
async fn a_render_is_taken_in_read_listed_and_downloaded() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    let bundle = STANDARD.encode(from_html("<p>", None).unwrap());
    let body = json!({
        "project": { "type": "base64", "media_type": "application/zip", "data": bundle },
        "title": "A title", "callback_id": "c1", "fps": 30, "quality": "draft",
    });
    let created = post(&router, RENDERS, &body).await;
    assert_eq!(created.status, StatusCode::ACCEPTED);
    let data = created.json()["data"].clone();
    assert_eq!((data["status"].as_str(), data.as_object().unwrap().len()), (Some("queued"), 2));
    let id = data["render_id"].as_str().unwrap().to_owned();
    let uri = format!("{RENDERS}/{id}");

    let queued = get(&router, &uri).await.json()["data"].clone();
    assert_eq!((&queued["status"], &queued["format"], &queued["fps"]), (&json!("queued"), &json!("mp4"), &json!(30)));
    assert_eq!(queued["composition"], "index.html");
    assert_eq!((&queued["resolution"], &queued["aspect_ratio"]), (&json!("1080p"), &json!("16:9")));
    for absent in ["video_url", "thumbnail_url", "failure_message"] {
        assert!(queued[absent].is_null() && queued.as_object().unwrap().contains_key(absent), "{absent}");
    }
    assert_eq!(queued["progress"]["stage"], "queued");

    farm.worker("w1").await.finish(&draft(90, true)).await;
    farm.end(&id.parse().unwrap()).await;
    let done = get(&router, &uri).await.json()["data"].clone();
    let expected = json!({
        "render_id": id, "status": "completed", "format": "mp4", "title": "A title", "callback_id": "c1", "fps": 30,
        "quality": "draft", "resolution": null, "aspect_ratio": "16:9", "composition": "index.html",
        "runtime": "0.8",
        "created_at": done["created_at"], "completed_at": done["completed_at"], "duration": 3.0,
        "video_url": done["video_url"], "thumbnail_url": done["thumbnail_url"], "preview_url": done["preview_url"],
        "sidecars": [{ "name": "sound.wav", "bytes": 7, "url": done["sidecars"][0]["url"] }],
        "failure_message": null, "width": 1280, "height": 720, "pool": "cpu", "owner": null,
        "frame_count": 90, "warnings": [{ "code": "ASSET_NOT_FOUND", "message": "x.png is missing" }],
        "progress": {
            "stage": "done", "frames_done": 90, "frames_total": 90, "percent": 100.0, "eta_seconds": null,
            "chunks_done": done["progress"]["chunks_done"], "chunks_total": done["progress"]["chunks_done"],
        },
    });
    let mut done_ = done.clone();
    // Noted a moment after the end.
    done_.as_object_mut().unwrap().remove("usage");
    assert_eq!(done_, expected);
    assert!(done["created_at"].as_u64().unwrap() > 1_700_000_000 && done["completed_at"].is_u64());

    let listed = get(&router, &format!("{RENDERS}?limit=5")).await.json();
    assert_eq!((&listed["data"][0]["render_id"], &listed["has_more"]), (&json!(id), &json!(false)));
    assert_eq!(listed["next_token"], Value::Null);

    let url = done["video_url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    let file = get(&router, url).await;
    assert_eq!((file.status, &file.bytes[..]), (StatusCode::OK, &b"0123456789"[..]));
    assert_eq!((file.header("content-length"), file.header("content-type")), ("10", "video/mp4"));
    let part = ask(&router, Method::GET, url, &[("range", "bytes=2-4")], "").await;
    assert_eq!((part.status, &part.bytes[..]), (StatusCode::PARTIAL_CONTENT, &b"234"[..]));
    assert_eq!((part.header("content-range"), part.header("content-length")), ("bytes 2-4/10", "3"));
    let outside = ask(&router, Method::GET, url, &[("range", "bytes=10-")], "").await;
    assert_eq!((outside.status.as_u16(), outside.header("content-range")), (416, "bytes */10"));
    let head = ask(&router, Method::HEAD, url, &[], "").await;
    assert_eq!((head.header("content-length"), head.bytes.len()), ("10", 0));
    let still = get(&router, done["thumbnail_url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap());
    assert_eq!(still.await.headers["content-type"], "image/jpeg");
    let sound = done["sidecars"][0]["url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    let sound = get(&router, sound).await;
    assert_eq!((&sound.bytes[..], sound.header("content-type")), (&b"samples"[..], "audio/wav"));

    assert_eq!(get(&router, &url.replace("output.mp4", "plan.bin")).await.error(), error(403, "forbidden"));
    let secret = url.replacen(url.split('?').next().unwrap(), "/files/farm/link-secret", 1);
    assert_eq!(get(&router, &secret).await.error(), error(403, "forbidden"));
    assert_eq!(get(&router, "/files/renders/x").await.error(), error(403, "forbidden"));

    let deleted = ask(&router, Method::DELETE, &uri, &[], "").await;
    assert_eq!(deleted.json(), json!({ "data": { "render_id": id } }));
    assert_eq!(get(&router, &uri).await.error(), error(404, "hyperframes_render_not_found"));
    assert_eq!(get(&router, url).await.error(), error(404, "resource_not_found"), "signed URLs stop");
    assert_eq!(get(&router, RENDERS).await.json(), json!({ "data": [], "has_more": false, "next_token": null }));
}

#[tokio::test]
async fn a_failure_is_told_with_its_code_and_its_words() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    let render = farm.submit(chunks_of(30)).await;
    let mut worker = farm.worker("w1").await;
    let lease = worker.claim().await;
    let found = json!([{ "code": "FONT_UNKNOWN", "message": "the page has no face of Foo" }]);
    farm.backplane.objects.put_json(&keys::found_warnings(&render), &found).await.unwrap();
    worker.fail(&lease, FailureCode::EntryNotFound).await;
    farm.end(&render).await;
    let data = get(&router, &format!("{RENDERS}/{render}")).await.json()["data"].clone();
    assert_eq!((&data["status"], &data["error_code"]), (&json!("failed"), &json!("ENTRY_NOT_FOUND")));
    assert_eq!(data["failure_message"], "ENTRY_NOT_FOUND happened");
    assert_eq!(data["warnings"][0]["code"], "FONT_UNKNOWN");
    assert!(data["completed_at"].is_u64() && data["video_url"].is_null());
    let conflict = post(&router, &format!("{RENDERS}/{render}/cancel"), &json!({})).await;
    assert_eq!(conflict.error(), error(409, "conflict"));
}

#[tokio::test]
async fn a_cancelled_render_is_a_failure_to_old_clients() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    let render = farm.submit(chunks_of(30)).await;
    for _ in 0..2 {
        let answer = post(&router, &format!("{RENDERS}/{render}/cancel"), &json!({})).await;
        let data = &answer.json()["data"];
        assert_eq!((answer.status.as_u16(), &data["status"]), (200, &json!("failed")));
        assert_eq!(data["error_code"], "cancelled");
    }
}

#[tokio::test]
async fn keys_open_every_route_of_the_api_and_nothing_else_needs_one() {
    let farm = Farm::new();
    let access = Access::keys(["hf_secret"]);
    let router = farm.coordinator.router(ApiConfig { access, ..ApiConfig::default() });
    let render = farm.submit(RenderSpec::default()).await;
    for (method, uri) in [
        (Method::GET, RENDERS.to_owned()),
        (Method::POST, RENDERS.to_owned()),
        (Method::GET, format!("{RENDERS}/{render}")),
        (Method::DELETE, format!("{RENDERS}/{render}")),
        (Method::POST, format!("{RENDERS}/{render}/cancel")),
        (Method::GET, "/metrics".to_owned()),
        (Method::GET, "/openapi.json".to_owned()),
        (Method::GET, "/v3/users/me".to_owned()),
        (Method::GET, "/v3/assets".to_owned()),
        (Method::GET, "/v3/webhooks/events".to_owned()),
    ] {
        for headers in [&[][..], &[("x-api-key", "hf_other")], &[("authorization", "Bearer hf_other")]] {
            let answer = ask(&router, method.clone(), &uri, headers, "").await;
            assert_eq!(answer.error(), error(401, "unauthorized"), "{method} {uri}");
        }
    }
    for headers in [("x-api-key", "hf_secret"), ("authorization", "Bearer hf_secret")] {
        assert_eq!(ask(&router, Method::GET, RENDERS, &[headers], "").await.status, StatusCode::OK);
    }
    for open in ["/healthz", "/readyz", "/", "/assets/dashboard/licences.txt"] {
        assert_eq!(get(&router, open).await.status, StatusCode::OK);
    }
    let policy = get(&router, "/").await.headers["content-security-policy"].clone();
    assert!(policy.to_str().unwrap().starts_with("default-src 'none'; script-src 'self';"), "{policy:?}");
}

#[tokio::test]
async fn what_there_is_not_is_told_in_the_one_shape() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    for uri in [
        "/index.html",
        "/assets/dashboard/none.js",
        "/v1/hyperframes/renders",
        "/v3/hyperframes/nothing",
        "/v3/hyperframes/renders/a/b/c",
    ] {
        assert_eq!(get(&router, uri).await.error(), error(404, "resource_not_found"), "{uri}");
    }
    for id in ["rnone", "a.b", "%2e%2e", &"x".repeat(200)] {
        let missing = error(404, "hyperframes_render_not_found");
        let uri = format!("{RENDERS}/{id}");
        assert_eq!(get(&router, &uri).await.error(), missing, "{id}");
        assert_eq!(ask(&router, Method::DELETE, &uri, &[], "").await.error(), missing);
        assert_eq!(post(&router, &format!("{uri}/cancel"), &json!({})).await.error(), missing);
    }
    for (method, uri) in [
        (Method::PUT, RENDERS),
        (Method::POST, "/healthz"),
        (Method::PATCH, "/v3/hyperframes/renders/r1"),
        (Method::GET, "/apps/run"),
        (Method::POST, "/v1/user/me"),
    ] {
        let answer = ask(&router, method, uri, &[], "").await;
        assert_eq!(answer.error(), error(405, "method_not_allowed"), "{uri}");
        assert!(answer.headers.contains_key("allow"));
    }
}

#[tokio::test]
async fn systems_that_the_farm_has_not_are_refused_by_name() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    for system in SYSTEMS {
        let (file, function) = system.test;
        let text = std::fs::read_to_string(format!("{}/../{file}", env!("CARGO_MANIFEST_DIR"))).unwrap();
        assert!(text.contains(&format!("fn {function}()")), "{}: there is no {function} in {file}", system.name);
        for path in system.paths {
            if system.support != Support::Refused {
                let has_router = ["/mcp", "/v1/oauth", "/oauth"].contains(path);
                let is_route = has_router || ROUTES.iter().any(|route| route.path.starts_with(path));
                assert!(is_route, "{}: {path}", system.name);
                continue;
            }
            for uri in [(*path).to_owned(), format!("{path}/some_id/part")] {
                let answer = post(&router, &uri, &json!({})).await;
                assert_eq!(answer.error(), error(404, "resource_not_found"), "{uri}");
                let message = answer.json()["error"]["message"].as_str().unwrap().to_owned();
                assert!(message.contains("this farm has no"), "{uri}: {message}");
            }
        }
    }
    let refusal = post(&router, "/v3/voices/clone", &json!({})).await.json();
    let message = "there is no POST /v3/voices/clone, for this farm has no cloning of voices";
    assert_eq!(refusal["error"]["message"], message);
    assert_eq!(get(&router, "/v3/voices-2").await.json()["error"]["message"], "there is no GET /v3/voices-2");
}

#[tokio::test]
async fn the_edge_takes_doubled_slashes_and_gives_ids() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    assert_eq!(get(&router, "//v3/hyperframes/renders?limit=1").await.status, StatusCode::OK);
    let own = ask(&router, Method::GET, "/healthz", &[("x-request-id", "mine-1")], "").await;
    assert_eq!(own.headers["x-request-id"], "mine-1");
    let first = get(&router, "/healthz").await.headers["x-request-id"].clone();
    assert_ne!(first, get(&router, "/healthz").await.headers["x-request-id"]);
}

#[tokio::test]
async fn bodies_are_refused_by_field() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    let refused = |body: String| {
        let router = router.clone();
        async move { ask(&router, Method::POST, RENDERS, &[], &body).await.error() }
    };
    assert_eq!(refused("{".to_owned()).await, error(400, "invalid_parameter"));
    assert_eq!(refused("[]".to_owned()).await, error(400, "invalid_parameter"));
    assert_eq!(refused("{}".to_owned()).await, invalid("project"));
    for (name, value, param) in [
        ("fps", json!(500), "fps"),
        ("format", json!("avi"), "format"),
        ("composition", json!("../x.html"), "composition"),
        ("composition", json!("/x.html"), "composition"),
        ("width", json!(640), "height"),
        ("callback_url", json!("http://x.example"), "callback_url"),
        ("project", json!({ "type": "url", "url": "ftp://x.example/p.zip" }), "project.url.url"),
        ("project", json!({ "type": "asset_id" }), "project.asset_id.asset_id"),
        ("project", json!({ "type": "base64", "data": "%" }), "project.base64.data"),
    ] {
        let mut body = page();
        body[name] = value;
        assert_eq!(refused(body.to_string()).await, invalid(param));
    }
    let both = json!({ "width": 640, "height": 360, "resolution": "4k", "project": page()["project"] });
    assert_eq!(refused(both.to_string()).await, invalid("width"));

    let project_invalid = (400, "hyperframes_project_invalid".to_owned(), Some("project".to_owned()));
    let garbage = json!({ "project": { "type": "base64", "data": STANDARD.encode("not a zip") } });
    assert_eq!(refused(garbage.to_string()).await, project_invalid);
    let elsewhere = STANDARD.encode(from_html("<p>", Some("a/b/other.html")).unwrap());
    let no_entry = json!({ "project": { "type": "base64", "data": elsewhere } });
    assert_eq!(refused(no_entry.to_string()).await, project_invalid);
}

#[tokio::test]
async fn what_is_too_large_is_413() {
    let limits = Limits { inline_bytes: 3000, ..Limits::default() };
    let farm = Farm::with(CoordinatorConfig { limits, ..patient() });
    let router = farm.coordinator.router(ApiConfig::default());
    let too_large = (413, "hyperframes_project_too_large".to_owned());
    for length in [5000, 5_000_000] {
        let body = json!({ "project": { "type": "base64", "data": "A".repeat(length) } });
        let (status, code, _) = post(&router, RENDERS, &body).await.error();
        assert_eq!((status, code), too_large);
    }
    let announced = ask(&router, Method::POST, RENDERS, &[("content-length", "999999999")], "{}").await.error();
    assert_eq!((announced.0, announced.1), too_large);
}

#[tokio::test]
async fn pages_are_newest_first_and_tokens_do_not_repeat() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let mut ids = Vec::new();
    for _ in 0..7 {
        ids.push(farm.submit(RenderSpec::default()).await.to_string());
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    farm.coordinator.delete(&ids[2].parse().unwrap()).await.unwrap();
    farm.coordinator.delete(&ids[0].parse().unwrap()).await.unwrap();
    let expected: Vec<String> = ids.iter().rev().filter(|id| **id != ids[2] && **id != ids[0]).cloned().collect();
    let (mut seen, mut tokens, mut query) = (Vec::new(), Vec::new(), "limit=2".to_owned());
    loop {
        let page = get(&router, &format!("{RENDERS}?{query}")).await.json();
        seen.extend(page["data"].as_array().unwrap().iter().map(|data| data["render_id"].as_str().unwrap().to_owned()));
        let Some(token) = page["next_token"].as_str() else {
            assert_eq!(page["has_more"], false);
            break;
        };
        assert_eq!(page["has_more"], true);
        assert!(!tokens.contains(&token.to_owned()));
        tokens.push(token.to_owned());
        query = format!("limit=2&token={token}");
    }
    assert_eq!(seen, expected);
    for (query, param) in [
        ("limit=0", "limit"),
        ("limit=101", "limit"),
        ("limit=x", "limit"),
        ("limit=", "limit"),
        ("token=%21", "token"),
    ] {
        assert_eq!(get(&router, &format!("{RENDERS}?{query}")).await.error(), invalid(param));
    }
}

#[tokio::test]
async fn the_public_url_is_where_links_point_over_a_local_folder() {
    let dir = std::env::temp_dir().join(format!("hyperfarm-http-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    let farm = Farm::over(Objects::local(&dir).unwrap(), crate::common::quick());
    let public_url = Some(url::Url::parse("https://farm.example/base/").unwrap());
    let router = farm.coordinator.router(ApiConfig { public_url, ..ApiConfig::default() });
    let render = farm.submit(RenderSpec { fps: "30000/1001".parse().ok(), ..RenderSpec::default() }).await;
    farm.worker("w1").await.finish(&draft(30, false)).await;
    farm.end(&render).await;
    let data = get(&router, &format!("{RENDERS}/{render}")).await.json()["data"].clone();
    assert_eq!(data["fps"], "30000/1001");
    let url = data["video_url"].as_str().unwrap();
    let path = url.strip_prefix("https://farm.example/base").expect(url);
    assert_eq!(get(&router, path).await.bytes, b"0123456789");
    std::fs::remove_dir_all(&dir).unwrap();
}

#[tokio::test]
async fn operators_see_health_readiness_and_metrics() {
    let farm = Farm::new();
    let router = farm.coordinator.router(ApiConfig::default());
    assert_eq!(get(&router, "/healthz").await.json()["data"]["status"], "ok");
    farm.ticks(1).await;
    let ready = get(&router, "/readyz").await.json()["data"].clone();
    assert_eq!(ready, json!({ "status": "ready", "version": env!("CARGO_PKG_VERSION"), "scheduler": "active" }));
    assert!(get(&router, "/metrics").await.headers["content-type"].to_str().unwrap().starts_with("text/plain"));
    farm.backplane.broker.close().await;
    let down = get(&router, "/readyz").await;
    assert_eq!(down.error(), error(503, "internal_error"));
    let message = "no answer from the broker; the coordinator's log says why";
    assert_eq!(down.json()["error"]["message"], message, "no key is needed to read it: it names no address");
    assert_eq!(get(&router, "/healthz").await.status, StatusCode::OK);
    assert_eq!(get(&router, RENDERS).await.status, StatusCode::OK, "polls need no broker");
}
