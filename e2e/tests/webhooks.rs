//! Webhooks of the real process.

#![allow(clippy::unwrap_used)]

use std::time::Duration;

use hyperfarm_e2e::scene::wait_until;
use hyperfarm_e2e::{Receiver, Scene, Up};
use serde_json::{Value, json};

const LOCAL: [(&str, &str); 2] = [("HYPERFARM_HTTP_CALLBACKS", "on"), ("HYPERFARM_FETCH_ALLOW", "127.0.0.1")];

#[test]
fn a_process_that_is_killed_between_two_attempts_delivers_after_its_restart() {
    let scene = Scene::new();
    let receiver = Receiver::start(503, Vec::new());
    let up = Up::start(&scene, &LOCAL);
    let endpoint = json!({ "url": format!("{}/hook", receiver.url()) });
    let made = up.request("POST", "/v3/webhooks/endpoints", Some(&endpoint));
    assert!(made["data"]["secret"].is_string(), "{made}");
    let body = json!({ "html": "<p>", "callback_url": format!("{}/call", receiver.url()) });
    let created = up.request("POST", "/v3/hyperframes/renders", Some(&body));
    let render = created["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{created}")).to_owned();
    up.request("POST", &format!("/v3/hyperframes/renders/{render}/cancel"), None);
    // Both the endpoint and the callback_url have refused it once.
    assert!(wait_until(Duration::from_secs(30), || receiver.requests().len() >= 2), "nothing was sent");
    up.kill();
    let before = receiver.requests().len();
    receiver.answer_with(200);
    let up = Up::start(&scene, &LOCAL);
    assert!(wait_until(Duration::from_secs(60), || receiver.requests().len() >= before + 2), "it was lost");
    let got = receiver.requests();
    let first: Value = serde_json::from_slice(&got[0].body).unwrap();
    assert_eq!(first["event_data"]["render_id"], render.as_str());
    for delivery in &got {
        assert_eq!(delivery.body, got[0].body, "the same event");
        assert_eq!(delivery.headers["heygen-event-id"], first["event_id"].as_str().unwrap());
    }
    let listed = up.request("GET", "/v3/webhooks/events", None);
    assert_eq!(listed["data"].as_array().unwrap().len(), 1, "one end is one event: {listed}");
    // What was taken is over. A request that was on its way when the process was killed may be one of those counted
    // above; then the other delivery still waits for its next attempt. A write that was on its way has left a file
    // `NAME#1`, which is no delivery.
    let deliveries = scene.path("data").join("deliveries");
    let left = || -> Vec<_> {
        let entries = std::fs::read_dir(&deliveries).into_iter().flatten();
        let names = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap());
        names.filter(|name| !name.contains('#')).collect()
    };
    assert!(wait_until(Duration::from_secs(60), || left().is_empty()), "{:?} are left", left());
}
