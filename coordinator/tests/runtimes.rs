//! Versions of the HyperFrames runtime over the API of two coordinators.

use crate::common::client::{Answer, RENDERS, ask, error, get, invalid, page, post};
use crate::common::{Farm, draft, quick};
use axum::Router;
use axum::http::Method;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_coordinator::Coordinator;
use hyperfarm_coordinator::api::{Access, ApiConfig};
use hyperfarm_coordinator::api_keys::{KeyRecord, KeyStore, Scope};
use serde_json::{Value, json};

const ROUTE: &str = "/v3/hyperframes/runtimes";
const BUILT_IN: &str = "0.8.170";

fn config() -> ApiConfig {
    ApiConfig { built_in_runtime: BUILT_IN.to_owned(), ..ApiConfig::default() }
}

fn package(version: &str, script: &str) -> Value {
    let script = format!("window.__player = {script};");
    json!({ "name": "hyperframes", "version": version, "license": "Apache-2.0", "script": script })
}

async fn delete(router: &Router, version: &str) -> Answer {
    ask(router, Method::DELETE, &format!("{ROUTE}/{version}"), &[], "").await
}

async fn versions(router: &Router) -> Vec<(String, bool)> {
    let listed = get(router, ROUTE).await.json();
    let of = |item: &Value| (item["version"].as_str().unwrap().to_owned(), item["is_default"].as_bool().unwrap());
    listed["data"].as_array().unwrap().iter().map(of).collect()
}

fn listed(versions: &[(&str, bool)]) -> Vec<(String, bool)> {
    versions.iter().map(|(version, is_default)| ((*version).to_owned(), *is_default)).collect()
}

#[tokio::test]
async fn two_coordinators_have_the_same_versions() {
    let farm = Farm::with(quick());
    let standby = Coordinator::start(farm.backplane.clone(), quick(), Drain::new());
    let (one, other) = (farm.coordinator.router(config()), standby.router(config()));
    assert_eq!(versions(&other).await, listed(&[(BUILT_IN, true)]));
    let added = post(&one, ROUTE, &package("0.8.60", "1")).await.json()["data"].clone();
    assert_eq!((&added["name"], &added["license"]), (&json!("hyperframes"), &json!("Apache-2.0")));
    assert_eq!(post(&other, ROUTE, &package("0.8.60", "1")).await.json()["data"], added, "the same again");
    assert_eq!(post(&other, ROUTE, &package("0.8.60", "2")).await.error(), error(409, "conflict"));
    assert_eq!(post(&other, ROUTE, &package(BUILT_IN, "1")).await.error(), error(409, "conflict"));
    post(&other, ROUTE, &package("0.9.0", "1")).await;
    let made = post(&other, &format!("{ROUTE}/0.8.60/default"), &Value::Null).await.json();
    assert_eq!(made["data"]["is_default"], true);
    assert_eq!(versions(&one).await, listed(&[(BUILT_IN, false), ("0.9.0", false), ("0.8.60", true)]));
    assert_eq!(delete(&one, "0.8.60").await.error(), error(409, "conflict"), "the default");
    assert_eq!(delete(&one, BUILT_IN).await.error(), error(409, "conflict"), "the built-in one");
    assert_eq!(delete(&one, "0.9.0").await.json()["data"]["version"], "0.9.0");
    assert_eq!(delete(&other, "0.9.0").await.error(), error(404, "resource_not_found"));
    let missing = post(&one, &format!("{ROUTE}/0.9.0/default"), &Value::Null).await;
    assert_eq!(missing.error(), error(404, "resource_not_found"));
    assert!(missing.json()["error"]["message"].as_str().unwrap().contains("0.8.170 (built in), 0.8.60"));
    assert_eq!(post(&one, &format!("{ROUTE}/{BUILT_IN}/default"), &Value::Null).await.status.as_u16(), 200);
    assert_eq!(versions(&other).await, listed(&[(BUILT_IN, true), ("0.8.60", false)]));
    for (wrong, reason) in [
        (json!({ "name": "left-pad", "version": "1.0.0", "license": "", "script": "window.__player = 1" }), "left-pad"),
        (package("../keys", "1"), "version"),
        (json!({ "name": "hyperframes", "version": "1.0.0", "license": "MIT", "script": "1" }), "__player"),
    ] {
        let refused = post(&one, ROUTE, &wrong).await;
        assert_eq!(refused.error(), error(400, "invalid_parameter"));
        assert!(refused.json()["error"]["message"].as_str().unwrap().contains(reason));
    }
}

#[tokio::test]
async fn a_render_that_asks_for_a_version_gets_it_or_is_refused_at_once() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(config());
    post(&router, ROUTE, &package("0.8.60", "1")).await;
    let asking = |version: &str| {
        let mut body = page();
        body["runtime"] = json!(version);
        body
    };
    for good in ["0.8.60", "^0.8.1", "latest", "", BUILT_IN] {
        assert_eq!(post(&router, RENDERS, &asking(good)).await.status.as_u16(), 202, "{good}");
    }
    let refused = post(&router, RENDERS, &asking("0.8.61")).await;
    assert_eq!(refused.error(), invalid("runtime"));
    let message = refused.json()["error"]["message"].as_str().unwrap().to_owned();
    for part in ["0.8.61", "0.8.170 (built in), 0.8.60", "hyperfarm runtime add 0.8.61"] {
        assert!(message.contains(part), "{message}");
    }
    let mut batch = asking("0.8.61");
    batch["variables"] = json!([{}]);
    assert_eq!(post(&router, &format!("{RENDERS}/batch"), &batch).await.error(), invalid("runtime"));
}

#[tokio::test]
async fn a_render_and_its_timeline_say_which_version_it_has() {
    let farm = Farm::with(quick());
    farm.slots(1).await;
    let router = farm.coordinator.router(config());
    let render = post(&router, RENDERS, &page()).await.json()["data"]["render_id"].as_str().unwrap().to_owned();
    let of =
        async |path: &str| get(&router, &format!("{RENDERS}/{render}{path}")).await.json()["data"]["runtime"].clone();
    assert_eq!((of("").await, of("/timeline").await), (Value::Null, Value::Null), "it is not planned");
    let planned = draft(30, false);
    farm.worker("w1").await.finish(&planned).await;
    farm.end(&render.parse().unwrap()).await;
    let version = json!(planned.content.runtime.version);
    assert_eq!((of("").await, of("/timeline").await), (version.clone(), version));
}

#[tokio::test]
async fn only_an_admin_adds_versions_and_the_audit_log_says_who_did() {
    let farm = Farm::with(quick());
    let router = farm.coordinator.router(ApiConfig { access: Access::keys([]), ..config() });
    let key = async |scope: Scope| {
        let mut record = KeyRecord::new(format!("{scope:?}"), "team".parse().unwrap());
        record.rights.scopes = vec![scope];
        KeyStore::new(farm.backplane.objects.clone()).create(record).await.unwrap().0
    };
    let (tenant, admin) = (key(Scope::Render).await, key(Scope::Admin).await);
    let call = async |key: &str, method: Method, path: &str, body: &Value| {
        let headers = [("x-api-key", key), ("content-type", "application/json")];
        ask(&router, method, &format!("{ROUTE}{path}"), &headers, &body.to_string()).await
    };
    let acts = [
        (Method::POST, "", package("0.8.60", "1")),
        (Method::POST, "/0.8.60/default", Value::Null),
        (Method::POST, "/0.8.170/default", Value::Null),
        (Method::DELETE, "/0.8.60", Value::Null),
    ];
    for (method, path, body) in acts {
        assert_eq!(call(&tenant, method.clone(), path, &body).await.error(), error(403, "forbidden"));
        // Ids of one millisecond have no order.
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
        assert_eq!(call(&admin, method, path, &body).await.status.as_u16(), 200, "{path}");
    }
    assert_eq!(call(&tenant, Method::GET, "", &Value::Null).await.status.as_u16(), 200);
    let log = ask(&router, Method::GET, "/v3/hyperframes/audit", &[("x-api-key", &admin)], "").await.json();
    let entry =
        |entry: &Value| (entry["action"].as_str().unwrap().to_owned(), entry["target"].as_str().unwrap().to_owned());
    let entries: Vec<_> = log["data"].as_array().unwrap().iter().map(entry).take(4).collect();
    let expected = [("remove", "0.8.60"), ("default", BUILT_IN), ("default", "0.8.60"), ("add", "0.8.60")];
    assert_eq!(entries, expected.map(|(act, target)| (format!("runtime.{act}"), target.to_owned())));
}
