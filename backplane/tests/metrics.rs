//! The metrics, their page, the dashboard and the alert rules belong together: a name in one that the others do not
//! know is an error.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use hyperfarm_backplane::metrics::families::FAMILIES;
use hyperfarm_backplane::metrics::reference::{User, markdown, names_in, unknown};
use hyperfarm_testing::Requirement;
use serde_json::Value;

fn repository() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn read(path: &str) -> String {
    std::fs::read_to_string(repository().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Every expression of the dashboard: only what is asked counts, not what is said.
fn asked(board: &Value) -> String {
    match board {
        Value::Object(fields) => {
            let own = fields.get("expr").or_else(|| fields.get("definition")).and_then(Value::as_str);
            let below = fields.values().map(asked);
            own.into_iter().map(str::to_owned).chain(below).collect::<Vec<_>>().join("\n")
        }
        Value::Array(items) => items.iter().map(asked).collect::<Vec<_>>().join("\n"),
        _ => String::new(),
    }
}

fn dashboard() -> String {
    asked(&serde_json::from_str(&read("deploy/grafana/hyperfarm.json")).unwrap())
}

/// Every expression of the alert rules.
fn alerts() -> String {
    let text = read("deploy/prometheus/alerts.yml");
    let is_asked = |line: &&str| {
        let line = line.trim_start();
        !line.starts_with('#') && !["summary:", "description:", "runbook_url:"].iter().any(|key| line.starts_with(key))
    };
    text.lines().filter(is_asked).collect::<Vec<_>>().join("\n")
}

#[test]
fn the_metrics_reference_is_what_the_code_says() {
    let (dashboard, alerts) = (dashboard(), alerts());
    let users = [User { title: "dashboard", text: &dashboard }, User { title: "alerts", text: &alerts }];
    assert!(names_in(&dashboard).len() > 25 && names_in(&alerts).len() > 10, "nothing was read");
    assert_eq!(unknown(&users), Vec::<String>::new(), "there are no such metrics");
    let made = markdown(&users);
    let path = repository().join("docs/metrics.md");
    if std::env::var("HYPERFARM_BLESS").is_ok() {
        std::fs::write(&path, &made).unwrap();
    }
    let written = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        written == made,
        "docs/metrics.md is not what the code says; make it anew with HYPERFARM_BLESS=1 and this test"
    );
}

/// Labels between the braces that follow a metric's name, and those of its family.
fn selectors(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("hyperfarm_") {
        let rest = &text[at..];
        let end = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(rest.len());
        let Some(inside) = rest[end..].strip_prefix('{').and_then(|inside| inside.split_once('}')) else { continue };
        for matcher in inside.0.split(',') {
            let label = matcher.split(['=', '!']).next().unwrap().trim();
            found.push((names_in(&rest[..end]).remove(0), label.to_owned()));
        }
    }
    found
}

#[test]
fn selectors_name_labels_that_their_metrics_have() {
    let text = format!("{}\n{}", dashboard(), alerts());
    let all = selectors(&text);
    assert!(all.len() > 40);
    for (name, label) in all {
        let family = FAMILIES.iter().find(|family| family.name == name).unwrap_or_else(|| panic!("{name}"));
        // `job` and `instance` are the scrape's.
        let is_known = family.labels.contains(&label.as_str()) || ["job", "instance"].contains(&label.as_str());
        assert!(is_known, "{name} has no label {label}");
    }
}

#[test]
fn every_alert_has_a_runbook() {
    let text = read("deploy/prometheus/alerts.yml");
    let of = |prefix: &str| -> Vec<String> {
        text.lines().filter_map(|line| line.trim().strip_prefix(prefix)).map(|rest| rest.trim().to_owned()).collect()
    };
    let (names, urls) = (of("- alert:"), of("runbook_url:"));
    assert!(names.len() > 10);
    assert_eq!(names.len(), urls.len());
    for (name, url) in names.iter().zip(&urls) {
        assert!(url.ends_with(&format!("docs/runbook.md#{}", name.to_lowercase())), "{name}: {url}");
    }
    assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len());
    let runbook = read("docs/runbook.md");
    let headings: BTreeSet<&str> =
        runbook.lines().filter(|line| line.starts_with('#')).map(|line| line.trim_start_matches('#').trim()).collect();
    for name in &names {
        assert!(headings.contains(name.as_str()), "docs/runbook.md has no heading {name}");
    }
}

#[test]
fn alerts_fire_when_they_should_and_not_when_they_should_not() {
    let rules = repository().join("deploy/prometheus");
    let promtool = |args: &[&str]| Command::new("promtool").args(args).current_dir(&rules).output();
    let Ok(checked) = promtool(&["check", "rules", "alerts.yml"]) else {
        return Requirement::Servers.skip("there is no promtool: run scripts/setup.sh --test");
    };
    assert!(checked.status.success(), "{}", String::from_utf8_lossy(&checked.stderr));
    let tested = promtool(&["test", "rules", "alerts.test.yml"]).unwrap();
    let said = String::from_utf8_lossy(&tested.stdout).into_owned() + &String::from_utf8_lossy(&tested.stderr);
    assert!(tested.status.success(), "{said}");
    // A rule that nobody tests would pass.
    let tests = read("deploy/prometheus/alerts.test.yml");
    for line in read("deploy/prometheus/alerts.yml").lines() {
        if let Some(name) = line.trim().strip_prefix("- alert:") {
            for end in ["fires", "stays quiet"] {
                assert!(tests.contains(&format!("name: {} {end}", name.trim())), "{} {end} is not tested", name.trim());
            }
        }
    }
}
