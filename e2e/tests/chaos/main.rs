//! Renders under a seeded schedule of faults, on processes and real servers.
//!
//! `make chaos` goes on for `CHAOS_MINUTES` (60) with the schedule of `CHAOS_SEED` (by default a random one, which is
//! printed). `CHAOS_ONLY` names some faults, with `|` between them. It ends at the first violated promise, or with
//! `CHAOS_KEEP_GOING=1` at its end. The report, the logs and the state of each render are in the folder `CHAOS_OUT`
//! (`out/chaos`). A few faults run with the other tests.
//!
//! The promises: every render completes, the poisoned ones fail as their author's; bytes are those of the undisturbed
//! render; no task counts twice; each webhook comes at least once and its state is true; nothing is left behind.

#![allow(clippy::unwrap_used)]

mod compositions;
mod farm;
mod faults;
mod load;

use std::collections::BTreeSet;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use farm::Farm;
use faults::{Chaos, FAULTS, Fault, LONGEST_OUTAGE};
use hyperfarm_e2e::scene::{text, wait_until};
use hyperfarm_e2e::services::Services;
use hyperfarm_e2e::{Receiver, binary};
use load::{Api, Load};
use serde_json::Value;

/// Longest time without progress of any render once a fault has ended, until the renders that it met have ended.
const RECOVERY: Duration = Duration::from_secs(240);
/// How long something of an ended render may be left. A coordinator that takes over finds renders that its predecessor
/// has not cleaned up by its search of storage, once a minute.
const LEFT_FOR: Duration = Duration::from_secs(150);

/// A row of the report.
struct Row {
    fault: &'static str,
    note: String,
    /// Seconds that the fault lasted.
    lasted: f64,
    /// Renders that were under way when it began.
    renders: usize,
    /// Longest time without a committed chunk from its beginning to the end of those renders, in seconds.
    silence: f64,
    /// Seconds that the slowest of those renders took longer than without faults, under the same load.
    lost: f64,
    outcome: &'static str,
}

/// How a run goes.
struct Plan {
    seed: u64,
    faults: Vec<&'static Fault>,
    /// Ends after this time; in the short form, which is `None`, after each fault was there once.
    time: Option<Duration>,
    /// Renders under way at once.
    renders_at_once: usize,
    /// How long faults last, as a share of their full length.
    scale: f64,
    is_mixed: bool,
    keep_going: bool,
    out: PathBuf,
}

/// Undisturbed seconds of each composition under the load of the run.
fn undisturbed_seconds(load: &Load) -> impl Fn(&str) -> f64 + use<> {
    let known: Vec<_> = load.renders().into_iter().map(|render| (render.composition.name, render.seconds())).collect();
    move |name| known.iter().filter(|(known, _)| *known == name).map(|(_, seconds)| *seconds).fold(0.0, f64::max)
}

fn begin(services: Services, plan: &Plan, receiver: &Receiver) -> Chaos {
    let farm = Farm::start(services, plan.seed);
    let keys = vec![farm.key("alpha"), farm.key("beta")];
    let scene = farm.cluster.scene();
    let steady = compositions::steady(scene, plan.time.is_none());
    let (temporary, data) = (scene.path("client"), scene.path("data"));
    std::fs::create_dir(&temporary).unwrap();
    let command = move |arguments: &[&str]| {
        let mut command = Command::new(binary());
        command.args(arguments).env("TMPDIR", &temporary).env("HYPERFARM_DATA_DIR", &data);
        command
    };
    let callback = format!("{}/called", receiver.url());
    let renders = farm.storage().join("renders");
    let load = Load::new(Api::new(farm.urls()), keys, steady, callback, renders, command);
    Chaos { farm, load, random: fastrand::Rng::with_seed(plan.seed), scale: plan.scale, is_mixed: plan.is_mixed }
}

/// Injects a fault and waits until the renders that it met have ended.
fn inject(chaos: &mut Chaos, fault: &'static Fault, undisturbed: &impl Fn(&str) -> f64) -> Row {
    std::thread::sleep(Duration::from_millis(chaos.random.u64(0..3000)));
    let is_rendering = |render: &load::Render| render.detail["status"] == "rendering";
    wait_until(Duration::from_secs(60), || chaos.load.under_way().iter().any(is_rendering));
    let violations = chaos.load.violations().len();
    let met = chaos.load.under_way();
    let began = Instant::now();
    let note = (fault.run)(chaos);
    let lasted = began.elapsed().as_secs_f64();
    for ended in chaos.farm.start_missing() {
        chaos.load.violated(format!("ended by itself: {ended}"));
    }
    let ids: Vec<String> = met.iter().map(|render| render.id.clone()).collect();
    for render in chaos.load.wait_for(&ids, RECOVERY) {
        chaos.load.violated(format!("{}: it did not end", render.line()));
    }
    let silence = chaos.load.longest_silence(began);
    let renders = chaos.load.renders();
    let lost = |render: &load::Render| (render.seconds() - undisturbed(render.composition.name)).max(0.0);
    let lost = renders.iter().filter(|render| ids.contains(&render.id)).map(lost).fold(0.0, f64::max);
    let outcome = match &note {
        None => "skipped",
        Some(_) if chaos.load.violations().len() > violations => "VIOLATED",
        Some(_) => "kept",
    };
    let row =
        Row { fault: fault.name, note: note.unwrap_or_default(), lasted, renders: met.len(), silence, lost, outcome };
    eprintln!("{}", row.line());
    row
}

impl Row {
    fn line(&self) -> String {
        let Self { fault, note, lasted, renders, silence, lost, outcome } = self;
        format!("| {fault} | {note} | {lasted:.1} | {renders} | {silence:.1} | {lost:.1} | {outcome} |")
    }
}

const HEAD: &str =
    "| fault | what it met | lasted, s | renders | longest silence, s | lost by the slowest, s | outcome |
| --- | --- | --- | --- | --- | --- | --- |";

/// Checks what can be checked only when every render has ended.
fn check_ends(chaos: &Chaos, receiver: &Receiver) {
    let load = &chaos.load;
    load.check_timelines();
    let ids: BTreeSet<String> = load.renders().into_iter().map(|render| render.id).collect();
    let received = || {
        let events = receiver.requests();
        let events = events.iter().filter_map(|request| serde_json::from_slice::<Value>(&request.body).ok());
        events.map(|event| event["event_data"].clone()).collect::<Vec<_>>()
    };
    let missing = || {
        let mut missing = ids.clone();
        for event in received() {
            missing.remove(event["render_id"].as_str().unwrap_or(""));
        }
        missing
    };
    if !wait_until(Duration::from_secs(120), || missing().is_empty()) {
        load.violated(format!("no webhook: {:?}", missing()));
    }
    for render in load.renders() {
        let id = render.id.as_str();
        for event in received().iter().filter(|event| event["render_id"] == id) {
            if event["status"] != render.detail["status"] {
                load.violated(format!("{}: its webhook says {}", render.line(), event["status"]));
            }
        }
    }
    let pattern = format!("KEYS *{}*:render:*", chaos.farm.cluster.namespace());
    // The leader keeps entries of cancelled renders for a while; those of a killed one expire.
    let lasting = || {
        let mut entries = chaos.farm.redis(&pattern);
        entries.retain(|entry| chaos.farm.redis(&format!("TTL {entry}")) == ["-1"]);
        entries
    };
    if !wait_until(LEFT_FOR, || lasting().is_empty()) {
        load.violated(format!("entries are left in the ledger for ever: {:?}", lasting()));
    }
    if !wait_until(LEFT_FOR, || chaos.farm.messages() == 0) {
        load.violated(format!("{} messages are left in the queues", chaos.farm.messages()));
    }
    for folder in ["open", "deliveries"] {
        let left = || {
            let entries = std::fs::read_dir(chaos.farm.storage().join(folder)).into_iter().flatten();
            entries.map(|entry| entry.unwrap().file_name()).collect::<Vec<_>>()
        };
        if !wait_until(LEFT_FOR, || left().is_empty()) {
            load.violated(format!("left in `{folder}`: {:?}", left()));
        }
    }
}

/// Keeps the logs and the states of all renders.
fn keep_evidence(chaos: &Chaos, out: &Path) {
    for name in farm::names() {
        let log = format!("{name}.log");
        let _ = std::fs::copy(chaos.farm.cluster.scene().path(&log), out.join(&log));
    }
    let mut states = Vec::new();
    for render in chaos.load.renders() {
        let path = format!("/v3/hyperframes/renders/{}/timeline", render.id);
        let timeline = chaos.load.api().get(&render.key, &path);
        states.push(serde_json::json!({ "detail": render.detail, "timeline": timeline, "seconds": render.seconds() }));
    }
    let _ = std::fs::write(out.join("renders.json"), serde_json::to_vec_pretty(&states).unwrap());
}

fn run(services: Services, plan: &Plan) {
    std::fs::create_dir_all(&plan.out).unwrap();
    eprintln!("CHAOS_SEED={}", plan.seed);
    let receiver = Receiver::start(200, Vec::new());
    let started = Instant::now();
    let mut chaos = begin(services, plan, &receiver);
    chaos.load.render_undisturbed();
    let mut rows = Vec::new();
    let is_over = |chaos: &Chaos| !plan.keep_going && !chaos.load.violations().is_empty();

    // As many renders as later, without faults.
    chaos.load.renders_at_once(plan.renders_at_once);
    if plan.time.is_some() {
        let enough = chaos.load.renders().len() + 3 * plan.renders_at_once;
        wait_until(Duration::from_secs(120), || chaos.load.renders().len() >= enough);
    }
    let undisturbed = undisturbed_seconds(&chaos.load);

    eprintln!("{HEAD}");
    let mut queue = Vec::new();
    loop {
        if queue.is_empty() {
            let is_done = plan.time.is_none_or(|time| started.elapsed() > time);
            if is_done && !rows.is_empty() {
                break;
            }
            queue.clone_from(&plan.faults);
            chaos.random.shuffle(&mut queue);
        }
        let Some(fault) = queue.pop() else { break };
        rows.push(inject(&mut chaos, fault, &undisturbed));
        if is_over(&chaos) || plan.time.is_some_and(|time| started.elapsed() > time) {
            break;
        }
    }

    chaos.load.renders_at_once(0);
    let ids: Vec<String> = chaos.load.under_way().into_iter().map(|render| render.id).collect();
    for render in chaos.load.wait_for(&ids, RECOVERY) {
        chaos.load.violated(format!("{}: it did not end", render.line()));
    }
    if !is_over(&chaos) {
        check_ends(&chaos, &receiver);
    }
    keep_evidence(&chaos, &plan.out);
    let (renders, mut violations) = (chaos.load.renders().len(), chaos.load.violations());
    let Chaos { farm, load, .. } = chaos;
    drop(load);
    violations.extend(farm.stop());

    let mut report = format!("# Renders under faults\n\nSeed {}, {renders} renders in ", plan.seed);
    let _ = writeln!(report, "{:.0} minutes.\n\n{HEAD}", started.elapsed().as_secs_f64() / 60.0);
    rows.iter().for_each(|row| report.push_str(&format!("{}\n", row.line())));
    let _ = writeln!(report, "\nViolated promises: {}.", violations.len());
    violations.iter().for_each(|violation| report.push_str(&format!("- {violation}\n")));
    std::fs::write(plan.out.join("report.md"), &report).unwrap();
    eprintln!("{report}\n{}", text(&plan.out));
    assert!(violations.is_empty(), "CHAOS_SEED={}: {violations:#?}", plan.seed);
}

fn number(name: &str) -> Option<u64> {
    std::env::var(name).ok().filter(|text| !text.is_empty()).map(|text| text.parse().expect("a number"))
}

#[test]
fn a_few_faults_cost_nothing_but_time() {
    let Some(services) = Services::find() else { return };
    let out = tempfile::tempdir().unwrap();
    let plan = Plan {
        seed: 13,
        faults: FAULTS.iter().filter(|fault| fault.is_short).collect(),
        time: None,
        renders_at_once: 2,
        scale: 0.15,
        is_mixed: false,
        keep_going: true,
        out: out.path().to_owned(),
    };
    run(services, &plan);
}

#[test]
#[ignore = "takes an hour; `make chaos` runs it"]
fn every_fault_costs_nothing_but_time() {
    let services = Services::find().expect("`make chaos` starts the servers");
    let minutes = number("CHAOS_MINUTES").unwrap_or(60);
    let only = std::env::var("CHAOS_ONLY").unwrap_or_default();
    let is_wanted = |fault: &Fault| only.is_empty() || only.split('|').any(|name| fault.name.contains(name));
    let mut faults: Vec<_> = FAULTS.iter().filter(|fault| is_wanted(fault)).collect();
    if minutes >= 60 && is_wanted(&LONGEST_OUTAGE) {
        faults.push(&LONGEST_OUTAGE);
    }
    let out = std::env::var_os("CHAOS_OUT").map(PathBuf::from);
    let plan = Plan {
        seed: number("CHAOS_SEED").unwrap_or_else(|| fastrand::u64(..1_000_000)),
        faults,
        time: Some(Duration::from_secs(60 * minutes)),
        renders_at_once: 4,
        scale: 1.0,
        is_mixed: only.is_empty(),
        keep_going: std::env::var_os("CHAOS_KEEP_GOING").is_some_and(|value| value == "1"),
        out: out.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../out/chaos")),
    };
    run(services, &plan);
}
