//! The video agent over HTTP, with a scripted language model behind a real server. The tests play the workers.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post as route_post;
use axum::{Json, Router};
use hyperfarm_coordinator::api::ApiConfig;
use hyperfarm_coordinator::{LanguageModel, LanguageModelConfig, OpenAiChat};
use parking_lot::Mutex;
use serde_json::{Value, json};

use crate::common::client::{error, get, post};
use crate::common::{Farm, comes, draft, quick};
use crate::videos::{photo, project_file, speech, upload};

const AGENTS: &str = "/v3/video-agents";

/// What a model says next, and what it was asked.
#[derive(Default)]
pub(crate) struct Script {
    answers: VecDeque<String>,
    asked: Vec<Value>,
}

pub(crate) type Scripted = Arc<Mutex<Script>>;

async fn complete(
    State(script): State<Scripted>,
    headers: HeaderMap,
    Json(asked): Json<Value>,
) -> (StatusCode, Json<Value>) {
    assert_eq!(headers["authorization"], "Bearer sk-model");
    let mut script = script.lock();
    script.asked.push(asked);
    match script.answers.pop_front() {
        Some(content) => (StatusCode::OK, Json(json!({ "choices": [{ "message": { "content": content } }] }))),
        None => (StatusCode::PAYMENT_REQUIRED, Json(json!({ "error": { "message": "no credit is left" } }))),
    }
}

/// A model that answers so.
pub(crate) async fn model(answers: &[Value]) -> (Arc<dyn LanguageModel>, Scripted) {
    let answers = answers.iter().map(|answer| answer.as_str().map_or_else(|| answer.to_string(), str::to_owned));
    let script = Arc::new(Mutex::new(Script { answers: answers.collect(), asked: Vec::new() }));
    let router = Router::new().route("/proxy/v1/chat/completions", route_post(complete)).with_state(script.clone());
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/proxy/v1", listener.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
    let config = LanguageModelConfig { url, key: Some("sk-model".to_owned()), model: "story-1".to_owned() };
    (Arc::new(OpenAiChat::new(config).unwrap()), script)
}

/// A farm's API with such a model.
async fn with_model(farm: &Farm, answers: &[Value]) -> (Router, Scripted) {
    let (model, script) = model(answers).await;
    let config = ApiConfig { speech: speech(), language_model: Some(model), ..ApiConfig::default() };
    (farm.coordinator.router(config), script)
}

fn storyboard() -> Value {
    json!({
        "reply": "Here is a draft.",
        "storyboard": { "title": "Tools", "scenes": [
            { "layout": "title", "heading": "Fish & <b>chips</b>", "narration": "One two three four." },
            { "layout": "points", "heading": "Why", "lines": ["First", "Second"] },
            { "layout": "media", "heading": "Look", "file": 0 },
        ] },
    })
}

/// The session, once the agent does no longer think.
async fn rests(router: &Router, id: &str) -> Value {
    let read = async || get(router, &format!("{AGENTS}/{id}")).await.json()["data"].clone();
    assert!(comes(async || read().await["status"] != "thinking").await);
    read().await
}

async fn begin(router: &Router, asked: &Value) -> String {
    let made = post(router, AGENTS, asked).await;
    assert_eq!(made.status.as_u16(), 200, "{}", made.json());
    let made = made.json()["data"].clone();
    assert_eq!((&made["status"], &made["video_id"]), (&json!("thinking"), &Value::Null));
    made["session_id"].as_str().unwrap().to_owned()
}

#[tokio::test]
async fn a_session_goes_from_a_prompt_over_a_review_to_a_video() {
    let farm = Farm::with(quick());
    let fenced = json!(format!("Sure!\n```json\n{}\n```", storyboard()));
    let answers = [json!("I would love to."), fenced, json!({ "reply": "Rendering.", "approved": true })];
    let (router, script) = with_model(&farm, &answers).await;
    farm.slots(1).await;
    let mut worker = farm.worker("w1").await;
    let file = upload(&router, "", "a.png", &crate::videos::png(64, 64, false)).await;
    let asked = json!({
        "prompt": "Explain our tools in 20 seconds.", "mode": "chat", "style_id": "style_poster", "orientation": "portrait",
        "files": [{ "type": "asset_id", "asset_id": file }], "voice_id": "metronome_untimed", "callback_id": "c1",
    });
    let id = begin(&router, &asked).await;
    let session = rests(&router, &id).await;
    assert_eq!(
        (&session["status"], &session["title"], &session["video_id"]),
        (&json!("reviewing"), &json!("Tools"), &Value::Null)
    );
    let (newest, first) = (&session["messages"][0], &session["messages"][1]);
    assert_eq!((&newest["role"], &newest["resource_ids"]), (&json!("model"), &json!(["storyboard_0"])));
    assert!(newest["content"].as_str().unwrap().contains("2. Why\n   - First"), "{newest}");
    assert_eq!((&first["role"], &first["resource_ids"]), (&json!("user"), &json!(["file_0"])));
    let resource = async |name: &str| get(&router, &format!("{AGENTS}/{id}/resources/{name}")).await;
    assert_eq!(resource("storyboard_0").await.json()["data"]["metadata"]["scenes"][1]["heading"], "Why");
    let file = resource("file_0").await.json()["data"].clone();
    assert_eq!((&file["resource_type"], &file["source_type"]), (&json!("image"), &json!("user_uploaded")));
    assert!(file["url"].as_str().unwrap().contains("0.png?"), "{file}");
    assert_eq!(resource("file_1").await.error(), error(404, "resource_not_found"));

    let sent = post(&router, &format!("{AGENTS}/{id}"), &json!({ "message": "Perfect, go." })).await.json();
    assert_eq!((&sent["data"]["session_id"], &sent["data"]["title"]), (&json!(id), &json!("Tools")));
    let session = rests(&router, &id).await;
    assert_eq!(session["status"], "generating", "{session}");
    let video = session["video_id"].as_str().unwrap().to_owned();
    let busy = post(&router, &format!("{AGENTS}/{id}"), &json!({ "message": "And?" })).await;
    assert_eq!(busy.error(), error(409, "conflict"));
    {
        let asked = &script.lock().asked;
        assert_eq!((asked.len(), &asked[0]["model"]), (3, &json!("story-1")));
        let told = asked[1]["messages"].as_array().unwrap();
        assert_eq!(told[1], json!({ "role": "user", "content": "Explain our tools in 20 seconds." }));
        assert!(told[3]["content"].as_str().unwrap().contains("not the JSON object"), "{told:?}");
        assert!(
            told[0]["content"].as_str().unwrap().contains("portrait") && told[0].to_string().contains("0: a picture")
        );
        assert!(asked[2]["messages"].to_string().contains("Fish & <b>chips"), "the model knows its own storyboard");
    }

    let page = project_file(&farm, &video, "index.html").await;
    for part in [
        "data-width=\"1080\" data-height=\"1920\"",
        "Fish &amp; &lt;b&gt;chips&lt;/b&gt;",
        "--ground: #ffd400",
        // Four words of half a second, with a pause before and after them.
        "id=\"scene-1\" data-start=\"3.000\" data-duration=\"3.000\"",
        "src=\"said-0.wav\" data-start=\"0.500\" data-duration=\"2.000\"",
        "<li class=\"in\">Second</li>",
        "src=\"media-0.png\"",
        "data-duration=\"9.000\" data-fps=\"30\"",
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    worker.finish(&draft(270, false)).await;
    assert!(
        comes(async || get(&router, &format!("{AGENTS}/{id}")).await.json()["data"]["status"] == "completed").await
    );
    let videos = get(&router, &format!("{AGENTS}/{id}/videos")).await.json()["data"].clone();
    assert_eq!((&videos[0]["id"], &videos[0]["title"], &videos[1]), (&json!(video), &json!("Tools"), &Value::Null));
    assert_eq!(get(&router, "/v3/videos").await.json()["data"][0]["id"], json!(video));
    let events =
        async || get(&router, "/v3/webhooks/events?event_type=video_agent.success").await.json()["data"].clone();
    assert!(comes(async || events().await.as_array().unwrap().len() == 1).await);
    let event = events().await[0]["event_data"].clone();
    assert_eq!(
        (&event["session_id"], &event["video_id"], &event["callback_id"]),
        (&json!(id), &json!(video), &json!("c1"))
    );
    let listed = get(&router, AGENTS).await.json()["data"].clone();
    assert_eq!((&listed[0]["session_id"], &listed[0]["messages"]), (&json!(id), &json!([])));
}

#[tokio::test]
async fn a_prompt_alone_becomes_a_video_and_a_failing_model_says_so() {
    let farm = Farm::with(quick());
    let question = json!({ "reply": "How long?" });
    let mut board = storyboard();
    board["storyboard"]["scenes"].as_array_mut().unwrap().pop();
    let (router, script) = with_model(&farm, &[question, board]).await;
    let id = begin(&router, &json!({ "prompt": "Our tools." })).await;
    let session = rests(&router, &id).await;
    assert_eq!(session["status"], "generating", "{session}");
    assert!(script.lock().asked[1].to_string().contains("decide yourself"));
    let page = project_file(&farm, session["video_id"].as_str().unwrap(), "index.html").await;
    assert!(page.contains("data-width=\"1920\"") && page.contains("said-0.wav"), "{page}");
    let stopped = post(&router, &format!("{AGENTS}/{id}/stop"), &json!({})).await;
    assert_eq!(stopped.json()["data"], json!({ "session_id": id }));
    assert!(comes(async || get(&router, &format!("{AGENTS}/{id}")).await.json()["data"]["status"] == "failed").await);

    // The model has nothing more to say.
    let broke = begin(&router, &json!({ "prompt": "More.", "callback_id": "c2" })).await;
    let session = rests(&router, &broke).await;
    let newest = &session["messages"][0];
    assert_eq!((&session["status"], &newest["type"]), (&json!("failed"), &json!("error")));
    assert!(newest["content"].as_str().unwrap().contains("402 Payment Required: no credit is left"), "{newest}");
    let events = get(&router, "/v3/webhooks/events?event_type=video_agent.fail").await.json()["data"].clone();
    let of_broke = events.as_array().unwrap().iter().find(|event| event["event_data"]["session_id"] == json!(broke));
    assert_eq!(of_broke.unwrap()["event_data"]["callback_id"], "c2", "{events}");
}

#[tokio::test]
async fn requests_are_refused_by_field_and_styles_are_listed() {
    let farm = Farm::with(quick());
    let without = farm.coordinator.router(ApiConfig::default());
    let refused = post(&without, AGENTS, &json!({ "prompt": "Hello" })).await;
    assert_eq!(refused.error(), error(409, "engine_not_configured"));
    assert!(refused.json()["error"]["message"].as_str().unwrap().contains("HYPERFARM_LANGUAGE_MODEL_URL"));

    let (router, script) = with_model(&farm, &[]).await;
    for (asked, param) in [
        (json!({}), "prompt"),
        (json!({ "prompt": " " }), "prompt"),
        (json!({ "prompt": "x".repeat(10_001) }), "prompt"),
        (json!({ "prompt": "a", "mode": "dream" }), "mode"),
        (json!({ "prompt": "a", "avatar_id": "look_1" }), "avatar_id"),
        (json!({ "prompt": "a", "voice_id": "nobody" }), "voice_id"),
        (json!({ "prompt": "a", "style_id": "style_x" }), "style_id"),
        (json!({ "prompt": "a", "orientation": "round" }), "orientation"),
        (json!({ "prompt": "a", "files": vec![photo(8, 8, false); 21] }), "files"),
        (json!({ "prompt": "a", "files": [{ "type": "base64", "data": "aGk=" }] }), "files[0]"),
        (json!({ "prompt": "a", "callback_url": "http://x.example/" }), "callback_url"),
    ] {
        assert_eq!(post(&router, AGENTS, &asked).await.json()["error"]["param"], param, "{asked}");
    }
    assert!(script.lock().asked.is_empty());
    assert_eq!(get(&router, &format!("{AGENTS}/sess_0")).await.error(), error(404, "resource_not_found"));
    let styles = get(&router, &format!("{AGENTS}/styles?tag=print&limit=1")).await.json();
    assert_eq!((&styles["data"][0]["style_id"], &styles["has_more"]), (&json!("style_clean"), &json!(true)));
    let token = styles["next_token"].as_str().unwrap();
    let rest = get(&router, &format!("{AGENTS}/styles?tag=print&token={token}")).await.json();
    assert_eq!((&rest["data"][0]["style_id"], &rest["has_more"]), (&json!("style_poster"), &json!(false)));
}
