//! The routes of inference.sh's clients: renders as tasks, with the keys, quotas and idempotency of every route.

use crate::common::client::{Answer, RENDERS, ask};
use crate::common::{Farm, patient, quick};
use axum::Router;
use axum::http::Method;
use hyperfarm_backplane::objects::Objects;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use hyperfarm_coordinator::submission::CallbackForm;
use serde_json::{Value, json};

const APP: &str = "infsh/hyperframes-render";

async fn call(router: &Router, key: &str, method: Method, uri: &str, body: &Value) -> Answer {
    let headers = [("authorization", &*format!("Bearer {key}")), ("content-type", "application/json")];
    ask(router, method, uri, &headers, &body.to_string()).await
}

/// Status, code and param of a problem. Checks that it is one.
fn problem(answer: &Answer) -> (u16, String, Option<String>) {
    let problem = answer.json();
    let (status, error) = (answer.status.as_u16(), &problem["error"]);
    assert_eq!(answer.header("content-type"), "application/problem+json", "{problem}");
    assert_eq!((&problem["status"], &problem["detail"]), (&json!(status), &error["message"]), "{problem}");
    let reason = answer.status.canonical_reason();
    assert_eq!((problem["title"].as_str(), &problem["type"]), (reason, &error["doc_url"]), "{problem}");
    assert!(problem["type"].as_str().unwrap().starts_with("http://localhost:8080/docs/errors#"), "{problem}");
    (status, error["code"].as_str().unwrap().to_owned(), error["param"].as_str().map(str::to_owned))
}

fn expected(status: u16, code: &str, param: &str) -> (u16, String, Option<String>) {
    (status, code.to_owned(), (!param.is_empty()).then(|| param.to_owned()))
}

async fn key(farm: &Farm, change: impl FnOnce(&mut KeyRecord)) -> String {
    let mut record = KeyRecord::new("sdk", "team".parse().unwrap());
    change(&mut record);
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

#[tokio::test]
async fn a_task_is_a_render_under_the_key_of_the_request() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() });
    let run = json!({ "app": APP, "input": { "html": "<p>", "title": "by an SDK" }, "webhook": "https://x.example/h" });
    let owner = key(&farm, |_| {}).await;
    let task = call(&router, &owner, Method::POST, "/apps/run", &run).await.json();
    assert_eq!((&task["data"]["status"], &task["messages"]), (&json!(2), &json!([])), "{task}");
    assert_eq!((&task["data"]["output"], &task["data"]["session_id"]), (&Value::Null, &Value::Null));
    let id = task["data"]["id"].as_str().unwrap();
    let render = call(&router, &owner, Method::GET, &format!("{RENDERS}/{id}"), &Value::Null).await.json();
    assert_eq!((&render["data"]["title"], &render["data"]["owner"]), (&json!("by an SDK"), &json!("sdk")), "{render}");
    for uri in [format!("/tasks/{id}"), format!("/tasks/{id}/status")] {
        assert_eq!(call(&router, &owner, Method::GET, &uri, &Value::Null).await.json()["data"]["id"], id);
    }

    // The same rights as everywhere: keys, scopes, pools, caps and limits.
    let wrong = call(&router, "hf_wrong", Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&wrong), expected(401, "unauthorized", ""));
    let reader = key(&farm, |record| record.rights.scopes = vec![Scope::Read]).await;
    for (method, uri) in [
        (Method::POST, "/apps/run".to_owned()),
        (Method::POST, "/files".to_owned()),
        (Method::POST, format!("/tasks/{id}/cancel")),
        (Method::DELETE, format!("/tasks/{id}")),
    ] {
        assert_eq!(problem(&call(&router, &reader, method, &uri, &run).await), expected(403, "forbidden", ""));
    }
    let pooled = key(&farm, |record| record.rights.pools = Some(vec!["gpu".parse().unwrap()])).await;
    let denied = call(&router, &pooled, Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&denied), expected(403, "resource_access_denied", "pool"));
    let broke = key(&farm, |record| record.rights.cap_usd = Some(0.0)).await;
    let denied = call(&router, &broke, Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&denied), expected(402, "insufficient_credit", ""));
    let single = key(&farm, |record| record.rights.limits.concurrent = Some(1)).await;
    assert_eq!(call(&router, &single, Method::POST, "/apps/run", &run).await.status.as_u16(), 200);
    let limited = call(&router, &single, Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&limited), expected(429, "rate_limit_exceeded", ""));
    assert!(!limited.header("retry-after").is_empty());

    // A retry tells the webhook in the form that it was asked for.
    call(&router, &owner, Method::POST, &format!("/tasks/{id}/cancel"), &Value::Null).await;
    let ended = call(&router, &owner, Method::GET, &format!("/tasks/{id}"), &Value::Null).await.json();
    assert_eq!((&ended["data"]["status"], &ended["data"]["output"]), (&json!(12), &Value::Null), "{ended}");
    let retry = call(&router, &owner, Method::POST, &format!("{RENDERS}/{id}/retry"), &Value::Null).await.json();
    for id in [id, retry["data"]["render_id"].as_str().unwrap()] {
        let detail = farm.coordinator.detail(&id.parse().unwrap()).await.unwrap();
        assert_eq!(detail.intake.callback_form, CallbackForm::Task);
        assert_eq!(detail.request.spec.callback_url.as_deref(), Some("https://x.example/h"));
    }
    assert_eq!(
        call(&router, &owner, Method::DELETE, &format!("/tasks/{id}"), &Value::Null).await.json()["data"],
        json!({})
    );
    let gone = call(&router, &owner, Method::GET, &format!("/tasks/{id}/stream"), &Value::Null).await;
    assert_eq!(problem(&gone), expected(404, "hyperframes_render_not_found", ""));
    let admin = key(&farm, |record| record.rights.scopes = vec![Scope::Admin]).await;
    let log = call(&router, &admin, Method::GET, "/v3/hyperframes/audit", &Value::Null).await.json();
    let acts: Vec<&str> = log["data"].as_array().unwrap().iter().map(|act| act["action"].as_str().unwrap()).collect();
    assert!(acts.contains(&"render.cancel") && acts.contains(&"render.delete"), "{acts:?}");
}

#[tokio::test]
async fn what_the_farm_cannot_do_is_refused_with_its_field() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let run = async |body: Value| call(&router, "", Method::POST, "/apps/run", &body).await;
    let html = json!({ "html": "<p>" });
    for (body, refusal) in [
        (json!({}), expected(400, "invalid_parameter", "app")),
        (json!({ "app": "okaris/flux@abc1", "input": html }), expected(404, "resource_not_found", "app")),
        (json!({ "app": APP, "function": "tts" }), expected(404, "resource_not_found", "function")),
        (json!({ "app": APP, "input": html, "session": "new" }), expected(400, "invalid_parameter", "session")),
        (json!({ "app": APP, "input": html, "run_at": "2030" }), expected(400, "invalid_parameter", "run_at")),
        (json!({ "app": APP, "input": html, "webhook": "http://x/" }), expected(400, "invalid_parameter", "webhook")),
        (json!({ "app": APP, "input": [] }), expected(400, "invalid_parameter", "input")),
        (json!({ "app": APP }), expected(400, "invalid_parameter", "input.project")),
        (json!({ "app": APP, "input": { "html": "<p>", "crf": 64 } }), expected(400, "invalid_parameter", "input.crf")),
        (
            json!({ "app": APP, "input": { "html": "https://x.example/page.html" } }),
            expected(400, "invalid_parameter", "input.html"),
        ),
        (
            json!({ "app": APP, "webhook": "https://x/", "input": { "html": "", "callback_url": "https://x/" } }),
            expected(400, "invalid_parameter", "webhook"),
        ),
        (
            json!({ "app": APP, "input": { "html": "http://localhost:8080/v3/assets/asset_0" } }),
            expected(404, "asset_not_found", "input.html"),
        ),
        (
            json!({ "app": APP, "input": { "project": "http://localhost:8080/v3/assets/asset_0" } }),
            expected(404, "asset_not_found", "input.project"),
        ),
        (
            json!({ "app": APP, "input": { "project": "ftp://x.example/a.zip" } }),
            expected(400, "invalid_parameter", "input.project.url.url"),
        ),
    ] {
        assert_eq!(problem(&run(body.clone()).await), refusal, "{body}");
    }
    let nonsense = run(json!({ "app": APP, "input": { "html": "<p>", "nonsense": 1 } })).await.json();
    assert_eq!(nonsense["messages"][0]["level"], "warning", "{nonsense}");
    let refused = call(&router, "", Method::GET, "/apps/other", &Value::Null).await;
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("this farm has no apps"));
}

#[tokio::test]
async fn a_run_and_an_upload_that_are_repeated_are_made_once() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let post = async |uri: &str, key: &str, body: &Value| {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        ask(&router, Method::POST, uri, &headers, &body.to_string()).await.json()
    };
    let run = json!({ "app": APP, "input": { "html": "<p>" } });
    assert_eq!(post("/apps/run", "a", &run).await, post("/apps/run", "a", &run).await);
    assert_ne!(post("/apps/run", "a", &run).await["data"]["id"], post("/apps/run", "b", &run).await["data"]["id"]);
    let page = "<p>an uploaded page";
    let files = json!({ "files": [
        { "uri": "", "filename": "p.html", "content_type": "text/html", "size": page.len(), "path": null },
        { "filename": null, "content_type": "application/octet-stream" },
    ] });
    let announced = post("/files", "c", &files).await;
    assert_eq!(announced, post("/files", "c", &files).await);
    let [page_file, other] = &announced["data"].as_array().unwrap()[..] else { panic!("{announced}") };
    assert_eq!((&page_file["content_type"], &other["filename"]), (&json!("text/html"), &json!("file")));
    assert_ne!(page_file["uri"], other["uri"]);

    // What has not arrived is not ready; what has is the page.
    let run = json!({ "app": APP, "input": { "html": page_file["uri"] } });
    let early = call(&router, "", Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&early), expected(409, "resource_not_ready", "input.html"));
    for (file, bytes, status) in [(page_file, "<p>short", 400), (page_file, page, 200), (other, "no zip", 200)] {
        let uri = file["upload_url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
        assert_eq!(ask(&router, Method::PUT, uri, &[], bytes).await.status.as_u16(), status, "{bytes}");
    }
    assert_eq!(call(&router, "", Method::POST, "/apps/run", &run).await.status.as_u16(), 200);
    let run = json!({ "app": APP, "input": { "project": other["uri"] } });
    let refused = call(&router, "", Method::POST, "/apps/run", &run).await;
    assert_eq!(problem(&refused), expected(400, "invalid_parameter", "input.project"));
    for (files, param) in [
        (json!([]), "files"),
        (json!([[null, null]]), "files"),
        (json!(vec![json!({}); 21]), "files"),
        (json!([{ "filename": "x".repeat(256) }]), "files[0].filename"),
    ] {
        let refused = call(&router, "", Method::POST, "/files", &json!({ "files": files })).await;
        assert_eq!(problem(&refused), expected(400, "invalid_parameter", param));
    }
    let large = json!({ "files": [{}, { "size": 1u64 << 40 }] });
    let refused = call(&router, "", Method::POST, "/files", &large).await;
    assert_eq!(problem(&refused), expected(413, "invalid_parameter", "files[1].size"));
}

#[tokio::test]
async fn tasks_that_start_at_once_share_an_upload() {
    let dir = tempfile::tempdir().unwrap();
    let farm = Farm::over(Objects::local(dir.path()).unwrap(), quick());
    let router = farm.coordinator.router(ApiConfig::default());
    let sound = json!({ "files": [{ "filename": "s.wav", "content_type": "audio/wav" }] });
    let file = call(&router, "", Method::POST, "/files", &sound).await.json()["data"][0].clone();
    let uri = file["upload_url"].as_str().unwrap().strip_prefix("http://localhost:8080").unwrap();
    let wav = "RIFF\0\0\0\0WAVEfmt ";
    assert_eq!(ask(&router, Method::PUT, uri, &[], wav).await.status.as_u16(), 200);
    let run = json!({ "app": APP, "input": { "html": "<p>", "audio_url": file["uri"] } });
    let runs = (0..8).map(|_| call(&router, "", Method::POST, "/apps/run", &run));
    for answer in futures::future::join_all(runs).await {
        assert_eq!(answer.status.as_u16(), 200, "{}", answer.json());
    }
}
