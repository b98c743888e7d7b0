//! `docs/settings.md`, made of a table of every variable and of the command line's own.
//!
//! The tests hold the table to the code: it has the variables that the sections read and no others, and its defaults
//! are theirs.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use clap::CommandFactory;
use hyperfarm_backplane::config::{self, Env};

use crate::args::Args;
use crate::settings::{LogSettings, Settings};

/// What a variable is when it is not set.
enum Default {
    /// This value: to set it changes nothing.
    Value(&'static str),
    /// As the sentence says.
    Text(&'static str),
}

use Default::{Text, Value};

/// A variable: its name, what it means, its default.
type Setting = (&'static str, &'static str, Default);

/// The variables that the sections read, by who uses them.
const SETTINGS: &[(&str, &[Setting])] = &[
    (
        "Every role",
        &[
            (
                "HYPERFARM_AMQP_URL",
                "URL of RabbitMQ, `amqp://user:password@host:5672/%2f` or `amqps://…`; for the nodes of a cluster of RabbitMQ a URL each, with commas between them. The farm's three URLs of servers are set together.",
                Text("one process"),
            ),
            (
                "HYPERFARM_REDIS_URL",
                "URL of Redis, `redis://:password@host:6379/0` or `rediss://…`; `redis+sentinel://:password@host:26379,host:26379/NAME` for the master that Sentinels know by this name, `redis+cluster://:password@host:6379,host:6379` for a cluster.",
                Text("one process"),
            ),
            (
                "HYPERFARM_STORAGE_URL",
                "URL of the object storage: `s3://bucket/prefix`, `gs://…`, `az://…` or `file:///a/shared/folder`. Alone it is the storage of one process. A worker or stitcher that holds no credential of the store has `farm+https://coordinator:8080` (or `farm+http://…`) in its place: the coordinators grant it what its tasks may touch.",
                Text("the data folder"),
            ),
            (
                "HYPERFARM_WORKER_TOKEN",
                "Secret of 32 characters or more by which workers and stitchers without a storage credential ask coordinators for grants, the same for all of them. A coordinator accepts each of several, with commas between them; a worker sends the first.",
                Text("coordinators grant nothing"),
            ),
            (
                "HYPERFARM_DATA_DIR",
                "Folder of the local storage of one process.",
                Text("`$XDG_DATA_HOME/hyperfarm`, else `/var/lib/hyperfarm` as root, else `~/.local/share/hyperfarm`"),
            ),
            (
                "HYPERFARM_NAMESPACE",
                "First part of the names of queues and Redis keys, 1 to 64 letters, digits, `-`, `_` or `.`.",
                Value("hyperfarm"),
            ),
            (
                "HYPERFARM_LOG",
                "What is logged: a level, or `target=level,…`.",
                Text("`info` for services, `error` for commands"),
            ),
            ("HYPERFARM_LOG_FORMAT", "Form of a log line: `text`, or `json` for machines.", Value("text")),
            (
                "HYPERFARM_OTLP_ENDPOINT",
                "URL of an OpenTelemetry collector that takes traces by OTLP over HTTP with protobuf.",
                Text("`OTEL_EXPORTER_OTLP_ENDPOINT`, else no traces"),
            ),
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "The same by OpenTelemetry's own name.", Text("no traces")),
            ("OTEL_SERVICE_NAME", "Name of the service in traces.", Value("hyperfarm")),
        ],
    ),
    (
        "Workers and stitchers",
        &[
            ("HYPERFARM_POOL", "Pool that a worker serves.", Value("cpu")),
            ("HYPERFARM_SLOTS", "Tasks that a worker does at once.", Text("one for each core, as memory allows")),
            (
                "HYPERFARM_LEASE",
                "How long a worker or stitcher holds a task without an answer of the ledger: what a lost one costs. It ends its task shortly before that: after 6.25 s of 8 s, after 26.9 s of 30 s. From 4s to 2m, the same for all.",
                Value("8s"),
            ),
            (
                "HYPERFARM_DRAIN_GRACE",
                "How long a worker or stitcher that is told to stop may finish its tasks.",
                Value("60s"),
            ),
            (
                "HYPERFARM_QUARANTINE_AFTER",
                "Renders in a row that fail on a worker or stitcher before it takes no tasks, if another node can do its work; `0` is never.",
                Value("3"),
            ),
            ("HYPERFARM_QUARANTINE_FOR", "How long it then takes none.", Value("5m")),
        ],
    ),
    (
        "Workers",
        &[
            ("HYPERFARM_CHROME", "Path of Chrome's headless shell.", Text("the first headless shell on the `PATH`")),
            (
                "HYPERFARM_CHROME_SANDBOX",
                "Chrome's sandbox: `on`, or `off` where the kernel gives unprivileged users no namespaces.",
                Value("on"),
            ),
            (
                "HYPERFARM_PAGE_MEMORY_MB",
                "MiB of memory that the processes of a slot's browser may have together, 512 or more. A page that needs more fails.",
                Value("3072"),
            ),
            (
                "HYPERFARM_PAGE_PROCESSES",
                "Processes that a slot's browser may have, 12 or more. A page that needs more fails.",
                Value("40"),
            ),
            (
                "HYPERFARM_CAPTURE",
                "How frames are read: `auto` from the compositor's memory where that works, `png` always as screenshots.",
                Value("auto"),
            ),
            (
                "HYPERFARM_CAPTURE_LABEL",
                "Part of the worker's capture class: a word for what the farm cannot see, such as a driver.",
                Text("none"),
            ),
            (
                "HYPERFARM_GPU",
                "What a GPU draws: `off` nothing, `webgl` WebGL, `page` everything, `auto` WebGL where there is a GPU.",
                Value("off"),
            ),
            (
                "HYPERFARM_GPU_INTERFACE",
                "How the GPU is reached: `vulkan`, `egl`, or `auto` for whichever works.",
                Value("auto"),
            ),
            (
                "HYPERFARM_GPU_SOFTWARE",
                "`allow` accepts a driver that draws with the processor, for tests.",
                Value("off"),
            ),
            (
                "HYPERFARM_ENCODER",
                "What encodes H.264 and H.265: `software`, `hardware` for NVENC or VA-API, `auto` for hardware where there is some.",
                Value("software"),
            ),
            (
                "HYPERFARM_MEDIA_PIXELS",
                "Most pixels of a picture of a project's video; a larger one is an error of the project.",
                Value("35389440"),
            ),
            (
                "HYPERFARM_MEDIA_MEMORY_MIB",
                "Most memory in MiB of the process that decodes a video or a sound of a project.",
                Value("2048"),
            ),
            (
                "HYPERFARM_MEDIA_TIMEOUT",
                "How long that process may take for a file's headers, a picture, or a second of sound.",
                Value("60s"),
            ),
            (
                "HYPERFARM_COMPILE_MEMORY_MIB",
                "Most memory in MiB of the process that compiles a project; a project that takes more is refused.",
                Value("2048"),
            ),
            (
                "HYPERFARM_RUNTIME_MISSING",
                "What becomes of a project whose files name a version of the HyperFrames runtime that is not there: `default` gives it the default version and a warning, `error` fails its render.",
                Value("default"),
            ),
            (
                "HYPERFARM_URL_MAP",
                "URLs whose files are local: a JSON file `{\"https://cdn.example/lib/\": \"/srv/lib\"}`, or `prefix=folder` pairs with commas between them. The folder may be `npm:NAME`.",
                Text("none"),
            ),
            (
                "HYPERFARM_PACKAGES_DIR",
                "A `node_modules` folder that answers for jsDelivr, unpkg, esm.sh and cdnjs. GSAP with its plugins is built in.",
                Text("none"),
            ),
            (
                "HYPERFARM_FONTS_DIR",
                "Folder of font files. A family is looked for among the project's own faces, then here, then among the embedded fonts.",
                Text("none"),
            ),
        ],
    ),
    (
        "Workers and the coordinator",
        &[
            ("HYPERFARM_FETCH", "Whether anything is fetched from the network: `on` or `off`.", Value("on")),
            (
                "HYPERFARM_FETCH_HTTP",
                "`on` allows plain http everywhere, not only for the hosts of `HYPERFARM_FETCH_ALLOW`.",
                Value("off"),
            ),
            (
                "HYPERFARM_FETCH_ALLOW",
                "Hosts and networks that may be private, with commas between them.",
                Text("none"),
            ),
        ],
    ),
    (
        "The coordinator",
        &[
            (
                "HYPERFARM_API_KEYS",
                "API keys with every right, beside the stored ones, with commas between them.",
                Text("stored keys only; no key is needed on loopback in one process that has no stored key"),
            ),
            ("HYPERFARM_CONCURRENT_RENDERS", "Renders in flight of a key that has no number of its own.", Value("10")),
            (
                "HYPERFARM_PRICES",
                "US dollars for a minute of output.",
                Value(
                    "1080p30=0.10,1080p60=0.20,4k30=0.15,4k60=0.30,speech=0.01,photo1080p=3,photo4k=4,lipsync=2,lipsync_precision=4,translation=3,translation_precision=6,proofread=0.5",
                ),
            ),
            (
                "HYPERFARM_KEEP_RENDERS",
                "How long an ended render is kept with all of its files, and a session of the agent after its last message: a time from `1h`, or `forever`; by space as `30d,alpha=7d,beta=forever`.",
                Value("forever"),
            ),
            (
                "HYPERFARM_KEEP_SEGMENTS",
                "How long the segments of an ended render are kept, in the same form. A retry of a failed render takes them over.",
                Value("7d"),
            ),
            ("HYPERFARM_CALLBACK_SECRET", "Secret that signs requests to a `callback_url`.", Text("not signed")),
            (
                "HYPERFARM_SECRET_KEYS",
                "Keys of 64 hexadecimal digits, with commas between them, that seal secrets of webhook endpoints in storage: the first seals, every one opens.",
                Text("stored as they are"),
            ),
            (
                "HYPERFARM_HTTP_CALLBACKS",
                "`on` allows plain http for the receivers of callbacks and webhooks.",
                Value("off"),
            ),
            (
                "HYPERFARM_ESPEAK",
                "Path of the program espeak-ng, which speaks; `off` uses none.",
                Text("the first `espeak-ng` on the `PATH`"),
            ),
            (
                "HYPERFARM_SPEECH_URL",
                "Base URL of an OpenAI-compatible service that speaks: its `/v1/audio/speech` is used.",
                Text("none"),
            ),
            ("HYPERFARM_SPEECH_KEY", "API key of that service.", Text("none")),
            ("HYPERFARM_SPEECH_MODEL", "Model of that service.", Value("tts-1")),
            (
                "HYPERFARM_SPEECH_VOICES",
                "Voices of that service, as `name:gender:language` with commas between them, such as `alloy:female:en`.",
                Text("those of OpenAI"),
            ),
            ("HYPERFARM_PIPER_URL", "URL of Piper's HTTP server, which speaks.", Text("none")),
            (
                "HYPERFARM_LANGUAGE_MODEL_URL",
                "Base URL of an OpenAI-compatible service that writes storyboards for the video agent, and translates where no other service does: its `/v1/chat/completions` is used.",
                Text("none"),
            ),
            ("HYPERFARM_LANGUAGE_MODEL_KEY", "API key of that service.", Text("none")),
            ("HYPERFARM_LANGUAGE_MODEL", "Model of that service.", Value("gpt-4o-mini")),
            (
                "HYPERFARM_LIPSYNC_URL",
                "Base URL of an engine that moves the mouths of videos, for lipsyncs of the mode `precision`: its `/v1/lipsync` is used.",
                Text("none"),
            ),
            ("HYPERFARM_LIPSYNC_KEY", "API key of that engine.", Text("none")),
            (
                "HYPERFARM_RECOGNITION_URL",
                "Base URL of an OpenAI-compatible service that hears what is said in videos, for translations: its `/v1/audio/transcriptions` is used.",
                Text("none"),
            ),
            ("HYPERFARM_RECOGNITION_KEY", "API key of that service.", Text("none")),
            ("HYPERFARM_RECOGNITION_MODEL", "Model of that service.", Value("whisper-1")),
            (
                "HYPERFARM_TRANSLATION_URL",
                "Base URL of a LibreTranslate-compatible service, for translations: its `/translate` is used. Without one the language model translates.",
                Text("none"),
            ),
            ("HYPERFARM_TRANSLATION_KEY", "API key of that service.", Text("none")),
            (
                "HYPERFARM_SPACE_WEIGHTS",
                "Weights of spaces, as `name=weight` between commas: one of weight 3 gets three times the slots of one of weight 1 while both have work.",
                Text("1 each"),
            ),
            (
                "HYPERFARM_SPECULATION",
                "Whether an idle worker also begins a chunk that runs for more than one and a half times the median on another worker, towards the end of a render: `on` or `off`. The first of the two results counts.",
                Value("on"),
            ),
            (
                "HYPERFARM_SEAMS",
                "What is done where the picture at a seam between two chunks is not that of a render in one chunk: `heal` draws the later chunk again with a longer start, and warns where that does not help; `warn` warns only.",
                Value("heal"),
            ),
            (
                "HYPERFARM_REPLAN_AFTER",
                "How long a render waits for a worker of its capture class, while its pool has others, before it is planned anew.",
                Value("60s"),
            ),
        ],
    ),
];

/// Variables of commands that are no setting of a role and that the command line does not declare.
const COMMANDS: &[Setting] = &[("HYPERFARM_API_KEY", "API key that the commands send to a farm.", Text("none"))];

/// Variables that the sections read and that are not the farm's.
const FOREIGN: [&str; 3] = ["PATH", "HOME", "XDG_DATA_HOME"];

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn row(name: &str, meaning: &str, default: &str) -> String {
    format!("| `{name}` | {meaning} | {default} |\n")
}

fn rows(settings: &[Setting]) -> String {
    let of = |(name, meaning, default): &Setting| match default {
        Value(value) => row(name, meaning, &format!("`{value}`")),
        Text(text) => row(name, meaning, text),
    };
    settings.iter().map(of).collect()
}

/// The variables that stand for an option of the command line, as rows by name.
fn options(command: &clap::Command, rows: &mut BTreeMap<String, String>) {
    for option in command.get_arguments() {
        let Some(name) = option.get_env().and_then(|name| name.to_str()) else { continue };
        let help = option.get_help().map(ToString::to_string).unwrap_or_default();
        let (meaning, told) = match help.split_once(" [default: ") {
            Some((meaning, default)) => (meaning.to_owned(), default.trim_end_matches(']').to_owned()),
            None => (help, "none".to_owned()),
        };
        let values: Vec<_> = option.get_default_values().iter().map(|value| value.to_string_lossy()).collect();
        let default = if values.is_empty() { told } else { format!("`{}`", values.join(",")) };
        let meaning = format!(
            "{}. The same as `--{}`.",
            meaning.trim_end_matches('.'),
            option.get_id().as_str().replace('_', "-")
        );
        rows.insert(name.to_owned(), row(name, &meaning, &default));
    }
    command.get_subcommands().for_each(|command| options(command, rows));
}

fn all_options() -> BTreeMap<String, String> {
    let mut rows = BTreeMap::new();
    options(&Args::command(), &mut rows);
    rows
}

/// The page.
fn markdown() -> String {
    let head = "| variable | meaning | default |\n| --- | --- | --- |\n";
    let mut page = String::from(
        "# Settings\n\nMade from `cli/src/settings_table.rs` and the command line by the test `the_settings_reference_is_what_the_code_says` \
         with `HYPERFARM_BLESS=1`; change the code, not this file.\n\n\
         Every role reads its settings from environment variables, once, when it starts. An empty value counts as unset. A role that \
         finds values that it cannot use does not start and names every one of them. Durations are numbers with units, such as `500ms`, \
         `90s`, `15m` or `1h30m`.\n",
    );
    for (users, settings) in SETTINGS {
        page.push_str(&format!("\n## {users}\n\n{head}{}", rows(settings)));
    }
    page.push_str(&format!("\n## Options of the command line\n\n{head}"));
    all_options().values().for_each(|row| page.push_str(row));
    page.push_str(&rows(COMMANDS));
    page
}

/// Every section that reads variables.
fn read(env: &Env<'_>) -> (Settings, LogSettings) {
    (Settings::read(env), LogSettings::read(env))
}

fn table() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().flat_map(|(_, settings)| *settings)
}

#[test]
fn the_settings_reference_is_what_the_code_says() {
    let page = markdown();
    let path = repository().join("docs/settings.md");
    if std::env::var("HYPERFARM_BLESS").is_ok() {
        std::fs::write(&path, &page).unwrap();
    }
    assert!(
        std::fs::read_to_string(path).unwrap_or_default() == page,
        "docs/settings.md is not what the code says; make it anew with HYPERFARM_BLESS=1 and this test"
    );
}

#[test]
fn the_table_has_what_is_read_and_nothing_else() {
    let asked = RefCell::new(BTreeSet::new());
    let variables = |name: &str| {
        asked.borrow_mut().insert(name.to_owned());
        None
    };
    read(&Env::new(&variables));
    let mut names: BTreeSet<String> = table().map(|(name, ..)| (*name).to_owned()).collect();
    assert_eq!(names.len(), table().count(), "a variable is in the table twice");
    names.extend(FOREIGN.map(str::to_owned));
    // Asked for only by a user who has no folder of their own.
    asked.borrow_mut().insert("HOME".to_owned());
    assert_eq!(asked.into_inner(), names);
}

#[test]
fn the_tables_defaults_are_the_codes() {
    let of = |set: Option<(&'static str, &'static str)>| {
        let variables = move |name: &str| match set {
            Some((asked, value)) if asked == name => Some(value.to_owned()),
            _ => (name == "HOME").then(|| "/home/ada".to_owned()),
        };
        format!("{:?}", config::read(&variables, read).unwrap())
    };
    for (name, _, default) in table() {
        // Without a name of its own the service's is put in later.
        if let Value(value) = default
            && *name != "OTEL_SERVICE_NAME"
        {
            assert_eq!(of(Some((name, value))), of(None), "{name}={value}");
        }
    }
}

/// What people are told to set exists.
#[test]
fn documents_name_no_other_settings() {
    let mut known: BTreeSet<String> = table().chain(COMMANDS).map(|(name, ..)| (*name).to_owned()).collect();
    known.extend(all_options().into_keys());
    let mut files = vec![repository().join("README.md")];
    let mut folders: Vec<PathBuf> = ["docs", "deploy", "helm"].map(|folder| repository().join(folder)).into();
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() { folders.push(path) } else { files.push(path) }
        }
    }
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    for file in files {
        let Ok(text) = std::fs::read_to_string(&file) else { continue };
        for name in text.split(|c| !is_part(c)).filter(|word| word.starts_with("HYPERFARM_")) {
            let is_for_developers = name.starts_with("HYPERFARM_TEST_") || name == "HYPERFARM_BLESS";
            // `HYPERFARM_FETCH_…` names several.
            let is_known =
                known.contains(name) || (name.ends_with('_') && known.iter().any(|one| one.starts_with(name)));
            assert!(is_known || is_for_developers, "{}: there is no setting {name}", file.display());
        }
    }
}
