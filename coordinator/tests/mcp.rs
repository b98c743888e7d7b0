//! The routes as tools for agents.

use crate::common::client::{Answer, RENDERS, ask, error};
use crate::common::{Farm, draft, patient, quick};
use axum::Router;
use axum::http::{Method, StatusCode};
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use serde_json::{Value, json};

const HEADERS: [(&str, &str); 3] = [
    ("content-type", "application/json"),
    ("accept", "application/json, text/event-stream"),
    ("mcp-protocol-version", "2025-06-18"),
];

async fn key(farm: &Farm, scope: Scope) -> String {
    let mut record = KeyRecord::new("agent", "team".parse().unwrap());
    record.rights.scopes = vec![scope];
    KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
}

fn router(farm: &Farm) -> Router {
    farm.coordinator.router(ApiConfig { access: Access::keys([]), ..ApiConfig::default() })
}

async fn send(router: &Router, key: &str, method: &str, params: Value) -> Answer {
    let body = json!({ "jsonrpc": "2.0", "id": 1, "method": method, "params": params });
    let headers = [&HEADERS[..], &[("x-api-key", key), ("x-request-id", "req-of-the-agent")]].concat();
    ask(router, Method::POST, "/mcp", &headers, &body.to_string()).await
}

/// The result of a tool, and whether it is an error.
async fn call(router: &Router, key: &str, tool: &str, arguments: Value) -> (Value, bool) {
    let answer = send(router, key, "tools/call", json!({ "name": tool, "arguments": arguments })).await.json();
    let result = &answer["result"];
    let text: Value =
        serde_json::from_str(result["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))).unwrap();
    assert_eq!(text, result["structuredContent"]);
    (text, result["isError"] == true)
}

async fn tool_names(router: &Router, key: &str) -> Vec<String> {
    let listed = send(router, key, "tools/list", json!({})).await.json();
    let tools = listed["result"]["tools"].as_array().unwrap_or_else(|| panic!("{listed}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn a_key_sees_the_tools_of_its_scopes() {
    let farm = Farm::with(patient());
    let router = router(&farm);
    let read = tool_names(&router, &key(&farm, Scope::Read).await).await;
    let render = tool_names(&router, &key(&farm, Scope::Render).await).await;
    let admin = tool_names(&router, &key(&farm, Scope::Admin).await).await;
    let has = |tools: &[String], name: &str| tools.iter().any(|tool| tool == name);
    for name in ["get_hyperframes_renders", "get_assets", "get_voices", "get_webhooks_endpoints", "get_users_me"] {
        assert!(has(&read, name), "{name}: {read:?}");
    }
    assert!(!has(&read, "post_hyperframes_renders") && has(&render, "post_hyperframes_renders"));
    assert!(!has(&render, "post_hyperframes_workers_worker_id_drain"));
    assert!(has(&admin, "post_hyperframes_workers_worker_id_drain"));
    let listed = send(&router, &key(&farm, Scope::Render).await, "tools/list", json!({})).await.json();
    let tools = listed["result"]["tools"].as_array().unwrap();
    let submit = tools.iter().find(|tool| tool["name"] == "post_hyperframes_renders").unwrap();
    let properties = &submit["inputSchema"]["properties"];
    assert!(properties["fps"].is_object() && properties["project"].is_object(), "{submit:#}");
    assert_eq!(properties["idempotency_key"]["type"], "string");
    assert_eq!(submit["annotations"]["readOnlyHint"], false);
    // The call is refused by the route, whatever was listed.
    let reader = key(&farm, Scope::Read).await;
    let (refused, is_error) = call(&router, &reader, "post_hyperframes_renders", json!({ "html": "<p>" })).await;
    assert!(is_error && refused["error"]["code"] == "forbidden", "{refused}");
}

#[tokio::test]
async fn an_agent_submits_a_render_follows_it_and_reads_its_result() {
    let farm = Farm::with(quick());
    let router = router(&farm);
    let key = key(&farm, Scope::Render).await;
    let page = json!({ "html": "<p>", "title": "by an agent", "idempotency_key": "once" });
    let (created, is_error) = call(&router, &key, "post_hyperframes_renders", page.clone()).await;
    assert!(!is_error, "{created}");
    assert_eq!(call(&router, &key, "post_hyperframes_renders", page).await, (created.clone(), false));
    let id = created["data"]["render_id"].as_str().unwrap();
    let params = json!({
        "name": "get_hyperframes_renders_render_id_events",
        "arguments": { "render_id": id },
        "_meta": { "progressToken": "token" },
    });
    let following = send(&router, &key, "tools/call", params);
    let rendering = async {
        let mut worker = farm.worker("w1").await;
        worker.finish(&draft(30, false)).await;
        farm.end(&id.parse().unwrap()).await;
    };
    let (followed, ()) = tokio::join!(following, rendering);
    assert!(followed.header("content-type").starts_with("text/event-stream"));
    let text = String::from_utf8(followed.bytes).unwrap();
    let messages: Vec<Value> =
        text.lines().filter_map(|line| serde_json::from_str(line.strip_prefix("data:")?.trim()).ok()).collect();
    let (result, progress) = messages.split_last().unwrap();
    assert!(!progress.is_empty(), "{text}");
    for message in progress {
        assert_eq!(message["method"], "notifications/progress");
        assert_eq!(message["params"]["progressToken"], "token");
    }
    let data = &result["result"]["structuredContent"]["data"];
    assert_eq!((&data["status"]["status"], &data["ended"]), (&json!("completed"), &json!(true)), "{text}");
    let (read, _) = call(&router, &key, "get_hyperframes_renders_render_id", json!({ "render_id": id })).await;
    assert!(read["data"]["video_url"].as_str().unwrap().starts_with("http://localhost:8080/files/"), "{read}");
    let (listed, _) = call(&router, &key, "get_hyperframes_renders", json!({ "limit": 1, "token": null })).await;
    assert_eq!(listed["data"][0]["title"], "by an agent");
}

#[tokio::test]
async fn errors_quotas_and_the_audit_are_those_of_the_routes() {
    let farm = Farm::with(patient());
    let router = router(&farm);
    let wrong = send(&router, "hf_wrong", "tools/list", json!({})).await;
    assert_eq!(wrong.error(), error(401, "unauthorized"));
    assert_eq!(wrong.header("x-request-id"), "req-of-the-agent");
    let key = key(&farm, Scope::Admin).await;
    let submit = "post_hyperframes_renders";
    let (refused, is_error) = call(&router, &key, submit, json!({ "html": "<p>", "crf": 64 })).await;
    assert!(is_error, "{refused}");
    let error = &refused["error"];
    assert_eq!((&error["code"], &error["param"]), (&json!("invalid_parameter"), &json!("crf")));
    assert!(error["doc_url"].as_str().unwrap().starts_with("http://localhost:8080/docs/errors#"), "{error}");
    let read = "get_hyperframes_renders_render_id";
    for (arguments, code) in [
        (json!({}), "invalid_parameter"),
        (json!({ "render_id": "../workers" }), "hyperframes_render_not_found"),
        (json!({ "render_id": 7 }), "hyperframes_render_not_found"),
    ] {
        let (refused, is_error) = call(&router, &key, read, arguments).await;
        assert!(is_error && refused["error"]["code"] == code, "{refused}");
    }
    let unknown = send(&router, &key, "tools/call", json!({ "name": "get_nothing" })).await.json();
    assert_eq!(unknown["error"]["code"], -32602, "{unknown}");
    let (created, _) = call(&router, &key, submit, json!({ "html": "<p>" })).await;
    let id = created["data"]["render_id"].as_str().unwrap();
    call(&router, &key, "post_hyperframes_renders_render_id_cancel", json!({ "render_id": id })).await;
    let (audit, _) = call(&router, &key, "get_hyperframes_audit", json!({})).await;
    let act = &audit["data"][0];
    assert_eq!((&act["action"], &act["target"]), (&json!("render.cancel"), &json!(id)), "{audit}");
    assert_eq!(act["request_id"], "req-of-the-agent");
    // The quota of the key.
    let mut record = KeyRecord::new("small", "team".parse().unwrap());
    record.rights.limits.concurrent = Some(1);
    let small = KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0;
    assert!(!call(&router, &small, submit, json!({ "html": "<p>" })).await.1);
    let (refused, is_error) = call(&router, &small, submit, json!({ "html": "<p>" })).await;
    assert!(is_error && refused["error"]["code"] == "rate_limit_exceeded", "{refused}");
}

#[tokio::test]
async fn other_methods_are_refused() {
    let farm = Farm::with(patient());
    let router = farm.coordinator.router(ApiConfig::default());
    let answer = ask(&router, Method::GET, "/mcp", &HEADERS, "").await;
    assert_eq!(answer.status, StatusCode::METHOD_NOT_ALLOWED);
    let answer = ask(&router, Method::POST, RENDERS, &HEADERS, r#"{"html":"<p>"}"#).await;
    assert_eq!(answer.status, StatusCode::ACCEPTED);
}
