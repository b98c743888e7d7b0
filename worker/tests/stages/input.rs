//! What a project may have wrong, and how it is told.

use std::sync::Arc;

use hyperfarm_proto::failure::FailureCode;
use hyperfarm_proto::spec::RenderSpec;
use hyperfarm_proto::task::Step;

use crate::farm::{Farm, zip_files, zip_page};

/// The message of the failure that a plan of `bundle` ends with.
async fn refused(farm: &Farm, id: &str, bundle: Vec<u8>, spec: RenderSpec) -> (FailureCode, String) {
    let render = farm.submit(id, bundle, spec).await;
    let task = farm.run(&render, Step::Plan).await;
    let failed = task.failures.last().unwrap_or_else(|| panic!("{id} was planned")).clone();
    (failed.failure.code, failed.failure.message)
}

fn page(root: &str, script: &str) -> String {
    format!(
        "<!doctype html><html><body><div data-composition-id=\"main\" data-width=\"640\" data-height=\"360\" {root}>x</div>\
         <script>{script}</script></body></html>"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_input_is_the_users_failure_and_names_its_cause() {
    let farm = Arc::new(Farm::start(2).await);
    let spec = RenderSpec::default;
    type Case = (&'static str, Vec<u8>, RenderSpec, FailureCode, &'static [&'static str]);
    let cases: Vec<Case> = vec![
        ("no-zip", b"not a zip".to_vec(), spec(), FailureCode::ProjectInvalid, &["zip"]),
        (
            "no-entry",
            zip_files(&[("page.html", "x")]),
            spec(),
            FailureCode::EntryNotFound,
            &["index.html", "page.html"],
        ),
        (
            "nested",
            zip_page(
                "<div data-composition-id=m data-duration=1><div data-composition-src=\"scenes/a.html\"></div></div>",
            ),
            spec(),
            FailureCode::CompositionNotFound,
            &["scenes/a.html", "index.html"],
        ),
        (
            "no-duration",
            zip_page(&page("data-no-timeline", "")),
            spec(),
            FailureCode::DurationMissing,
            &["data-duration"],
        ),
        (
            "zero",
            zip_page(&page("data-no-timeline data-duration=\"0\"", "")),
            spec(),
            FailureCode::DurationMissing,
            &["data-duration"],
        ),
        (
            "negative",
            zip_page(&page("data-no-timeline data-duration=\"-3\"", "")),
            spec(),
            FailureCode::DurationInvalid,
            &["-3"],
        ),
        (
            "ten-hours",
            zip_page(&page("data-no-timeline data-duration=\"36000\"", "")),
            spec(),
            FailureCode::DurationInvalid,
            &["36000"],
        ),
        (
            "throws",
            zip_page(&page("data-duration=\"1\"", "window.__timelines = {}; throw new Error('no such scene');")),
            spec(),
            FailureCode::TimelineMissing,
            &["no such scene", "main", "index.html"],
        ),
        (
            "lost-script",
            zip_page(
                "<div data-composition-id=m data-width=640 data-height=360 data-duration=1></div><script src=lib/lost.js></script><script>window.__timelines</script>",
            ),
            spec(),
            FailureCode::TimelineMissing,
            &["lib/lost.js"],
        ),
        (
            "policy",
            zip_page(&page("data-duration=1", "window.__timelines = {}").replace(
                "<body>",
                "<head><meta http-equiv=\"Content-Security-Policy\" content=\"script-src 'none'\"></head><body>",
            )),
            spec(),
            FailureCode::ScriptError,
            &["Content-Security-Policy", "script-src 'none'"],
        ),
        (
            "size",
            zip_page(&page("data-duration=1", "").replace("640", "9000")),
            spec(),
            FailureCode::SizeInvalid,
            &["9000x360"],
        ),
        (
            "variables",
            zip_page(&page("data-no-timeline data-duration=1", "")),
            RenderSpec { variables: Some("{\"a\":".to_owned()), ..spec() },
            FailureCode::VariablesInvalid,
            &["JSON"],
        ),
    ];
    for (id, bundle, spec, code, named) in cases {
        let (found, message) = refused(&farm, id, bundle, spec).await;
        assert_eq!(found, code, "{id}: {message}");
        for name in named {
            assert!(message.contains(name), "{id}: `{message}` does not name {name}");
        }
    }
    Arc::into_inner(farm).unwrap().stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_missing_is_a_warning_that_names_it() {
    let farm = Farm::start(1).await;
    let html = page("data-no-timeline data-duration=\"1\"", "fetch('https://example.org/data.json').catch(() => {})")
        .replace(">x<", "><img src=\"pictures/lost.png\"><p style=\"font-family:Zapfino\">x</p><");
    let render = farm.submit("warn", zip_page(&html), RenderSpec::default()).await;
    let draft = farm.draft(&render).await;
    for name in ["pictures/lost.png", "example.org", "Zapfino"] {
        assert!(draft.warnings.iter().any(|warning| warning.message.contains(name)), "{name}: {:?}", draft.warnings);
    }
    assert_eq!(draft.content.frames, 30);
    farm.stop().await;
}

/// What `verify` says of a page: every element that is not the same each time, and none that is.
#[tokio::test(flavor = "multi_thread")]
async fn elements_that_are_not_the_same_each_time_are_named() {
    let farm = Farm::start(1).await;
    let page = |script: &str| {
        format!(
            "<!doctype html><style>body{{margin:0;font:16px Inter}}#main{{width:320px;height:180px;position:relative;background:#fff}}\
             #main>*{{position:absolute}}#lot,#still{{width:20px;height:20px;top:20px;background:#c00}}#stamp{{top:60px}}\
             #board{{top:90px;left:10px}}</style><div id=main data-composition-id=main data-width=320 data-height=180 data-duration=1>\
             <div id=still></div><div id=lot></div><p id=stamp>now</p><canvas id=board width=300 height=60></canvas></div>\
             <script>window.__timelines={{}};const tl=gsap.timeline({{paused:true}});\
             tl.to('#still',{{x:200,duration:1,ease:'none'}});window.__timelines.main=tl;{script}</script>"
        )
    };
    let spec = RenderSpec { verify: true, fps: Some("10".parse().unwrap()), ..RenderSpec::default() };
    let steady = page("document.getElementById('stamp').textContent = new Date().getTime();");
    let render = farm.submit("verify-steady", zip_page(&steady), spec.clone()).await;
    let said = farm.draft(&render).await.warnings;
    assert!(said.iter().all(|warning| warning.code != "NON_DETERMINISTIC"), "{said:?}");

    let unsteady = page(
        "document.getElementById('lot').style.left = Math.round(Math.random() * 290) + 'px';\
         document.getElementById('stamp').textContent = String(new File([], 'x').lastModified);\
         const pen = document.getElementById('board').getContext('2d');\
         pen.font = '30px Inter'; pen.fillText(String(new File([], 'x').lastModified), 0, 40);",
    );
    let render = farm.submit("verify-unsteady", zip_page(&unsteady), spec).await;
    let said = farm.draft(&render).await.warnings;
    let said: Vec<&str> = said
        .iter()
        .filter(|warning| warning.code == "NON_DETERMINISTIC")
        .map(|warning| warning.message.as_str())
        .collect();
    let of = |start: &str| said.iter().find(|message| message.starts_with(start)).copied().unwrap_or_default();
    assert!(of("#stamp (p) is not the same").contains("its text"), "{said:?}");
    assert!(of("#board (canvas) is not the same").contains("what is drawn on it"), "{said:?}");
    assert!(of("#lot (div) depends on random numbers").contains("its style left"), "{said:?}");
    assert!(of("#lot").contains("frames 0, 1, 2, 3, 5, 6, 7, 9 of 8 compared"), "{said:?}");
    assert_eq!(said.len(), 3, "{said:?}");
    farm.stop().await;
}
