//! `--timings` and `--trace`: where the time of a render went.

#![allow(clippy::unwrap_used)]

use hyperfarm_e2e::scene::text;
use hyperfarm_e2e::{Scene, page};

const STAGES: [&str; 11] =
    ["set-up", "plan", "start", "seek", "draw", "read", "convert", "encode", "wait", "commit", "join"];

#[test]
fn a_render_says_where_its_time_went() {
    let scene = Scene::new();
    let project = scene.project("p", &page(2.0));
    let (output, file) = (scene.path("out.mp4"), scene.path("trace.json"));
    let result = scene.run(&[
        "render",
        text(&project),
        "-o",
        text(&output),
        "--json",
        "--timings",
        "--trace",
        text(&file),
        "--fps",
        "10",
        "--slots",
        "2",
        "--chunk-frames",
        "7",
    ]);
    let result = result.json();
    let total_ms = result["seconds"].as_f64().unwrap() * 1000.0;

    let rows = result["timings"].as_array().unwrap();
    let ms = |stage: &str| {
        let row = rows.iter().find(|row| row["stage"] == stage).unwrap_or_else(|| panic!("no stage {stage}"));
        let (all, each) = (row["ms"].as_f64().unwrap(), row["ms_per_frame"].as_f64().unwrap());
        assert!(all.is_finite() && all >= 0.0 && (each * 20.0 - all).abs() < 1e-6, "{row}");
        all
    };
    for stage in STAGES {
        assert!(ms(stage) > 0.0 || stage == "wait", "{stage} took no time at all");
    }
    assert!((ms("all") - total_ms).abs() < 1.0);
    assert!(ms("set-up") + ms("plan") + ms("join") < total_ms, "they follow one another");
    let slots: f64 = ["start", "seek", "draw", "wait", "commit"].into_iter().map(ms).sum();
    assert!(slots < 2.0 * total_ms, "two slots have no more time than this: {slots}");

    let trace: serde_json::Value = serde_json::from_slice(&std::fs::read(&file).unwrap()).unwrap();
    let events = trace["traceEvents"].as_array().unwrap();
    let spans: Vec<(&str, u64, f64, f64)> = events
        .iter()
        .filter(|event| event["ph"] == "X")
        .map(|event| {
            let start = event["ts"].as_f64().unwrap() / 1000.0;
            let end = start + event["dur"].as_f64().unwrap() / 1000.0;
            (event["name"].as_str().unwrap(), event["tid"].as_u64().unwrap(), start, end)
        })
        .collect();
    for name in ["render", "plan", "chunk 0", "chunk 1", "chunk 2", "start", "capture", "commit", "join"] {
        assert!(spans.iter().any(|span| span.0 == name), "no span {name}");
    }
    for (name, _, start, end) in &spans {
        assert!(0.0 <= *start && start <= end && *end <= total_ms + 1.0, "{name}: {start} to {end} of {total_ms}");
    }
    // What a viewer needs: on a track, two spans are apart, or one is inside the other. A microsecond is rounding.
    for (at, a) in spans.iter().enumerate() {
        for b in spans[..at].iter().filter(|b| b.1 == a.1) {
            let apart = a.3 <= b.2 + 1e-3 || b.3 <= a.2 + 1e-3;
            let inside = (a.2 >= b.2 - 1e-3 && a.3 <= b.3 + 1e-3) || (b.2 >= a.2 - 1e-3 && b.3 <= a.3 + 1e-3);
            assert!(apart || inside, "{} and {} overlap: {a:?}, {b:?}", a.0, b.0);
        }
    }
    scene.assert_clean("a render with a trace");
}
