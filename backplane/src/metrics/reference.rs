//! `docs/metrics.md`, made of the table of [families](super::families).

use super::families::{FAMILIES, Family, LABELS};

/// Text in which metrics are used: a dashboard, a file of alert rules.
#[derive(Debug, Clone, Copy)]
pub struct User<'a> {
    /// What it is called in the page.
    pub title: &'a str,
    /// Its text.
    pub text: &'a str,
}

/// Names of metrics in `text`: every word that begins with `hyperfarm_`, without what a histogram's series end with.
pub fn names_in(text: &str) -> Vec<String> {
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    let words = text.split(|c| !is_word(c)).filter(|word| word.starts_with("hyperfarm_"));
    let mut names: Vec<String> = words.map(family_name).collect();
    names.sort();
    names.dedup();
    names
}

/// The name of the family that a series belongs to.
fn family_name(series: &str) -> String {
    let is_known = |name: &str| FAMILIES.iter().any(|family| family.name == name);
    let ends = ["_bucket", "_sum", "_count"];
    let base = ends.iter().find_map(|end| series.strip_suffix(end)).filter(|base| is_known(base));
    base.unwrap_or(series).to_owned()
}

/// Names that `users` have and the code does not.
pub fn unknown(users: &[User<'_>]) -> Vec<String> {
    let all = users.iter().flat_map(|user| names_in(user.text));
    all.filter(|name| !FAMILIES.iter().any(|family| family.name == *name)).collect()
}

/// The page.
pub fn markdown(users: &[User<'_>]) -> String {
    let mut text = String::from(
        "# Metrics\n\nMade from `backplane/src/metrics/families.rs`, the dashboard and the alert rules by the test \
         `the_metrics_reference_is_what_the_code_says` with `HYPERFARM_BLESS=1`; change the code, not this file.\n\n\
         Every role serves them at `/metrics` of `--metrics-listen` (`HYPERFARM_METRICS_LISTEN`, off by default); the coordinator \
         also at `/metrics` of the API, to a key with the scope `admin`. Beside these there are Prometheus's usual `process_…` metrics. \
         Renders, tenants and workers are never labels: the logs and the API have them.\n",
    );
    let mut roles: Vec<&str> = FAMILIES.iter().map(|family| family.roles).collect();
    roles.dedup();
    for role in roles {
        text.push_str(&format!("\n## {}\n\n", title(role)));
        text.push_str("| metric | type | labels | meaning | shown in |\n| --- | --- | --- | --- | --- |\n");
        for family in FAMILIES.iter().filter(|family| family.roles == role) {
            text.push_str(&row(family, users));
        }
    }
    text.push_str("\n## Labels\n\n| label | values |\n| --- | --- |\n");
    for (label, values) in LABELS {
        text.push_str(&format!("| `{label}` | {values} |\n"));
    }
    text.push_str("\n## Not shown anywhere\n\n");
    let unused: Vec<String> = FAMILIES
        .iter()
        .filter(|family| shown_in(family, users).is_empty())
        .map(|family| format!("- `{}`\n", family.name))
        .collect();
    if unused.is_empty() {
        text.push_str("Every metric is in the dashboard or in an alert.\n");
    }
    text.push_str(&unused.concat());
    text
}

fn title(roles: &str) -> &str {
    match roles {
        "every" => "Every role",
        "worker, stitcher" => "Workers and stitchers",
        "worker" => "Workers",
        "stitcher" => "Stitchers",
        _ => "Coordinator",
    }
}

fn shown_in<'a>(family: &Family, users: &[User<'a>]) -> Vec<&'a str> {
    let has = |user: &&User<'a>| names_in(user.text).iter().any(|name| name == family.name);
    users.iter().filter(has).map(|user| user.title).collect()
}

fn row(family: &Family, users: &[User<'_>]) -> String {
    let labels: Vec<String> = family.labels.iter().map(|label| format!("`{label}`")).collect();
    format!(
        "| `{}` | {} | {} | {} | {} |\n",
        family.name,
        family.kind.as_str(),
        labels.join(", "),
        family.help,
        shown_in(family, users).join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_conventions() {
        for family in FAMILIES {
            let name = family.name;
            assert!(name.starts_with("hyperfarm_"), "{name}");
            assert_eq!(family.kind.as_str() == "counter", name.ends_with("_total"), "{name}");
            assert!(family.help.ends_with('.'), "{name}: a help text is a sentence");
            assert!(!name.contains("_ms") && !name.contains("minutes"), "{name}: seconds and bytes");
            for label in family.labels {
                assert!(LABELS.iter().any(|(known, _)| known == label), "{name}: the label {label} is not explained");
                assert!(!["render", "worker", "space", "key", "id"].contains(label), "{name}: {label} is not bounded");
            }
        }
        let mut names: Vec<&str> = FAMILIES.iter().map(|family| family.name).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), FAMILIES.len());
        for (label, _) in LABELS {
            assert!(FAMILIES.iter().any(|family| family.labels.contains(label)), "{label} is used nowhere");
        }
    }

    #[test]
    fn series_of_histograms_are_their_family() {
        let text = "rate(hyperfarm_task_duration_seconds_bucket{step=\"plan\"}[5m]) + hyperfarm_nope_count";
        assert_eq!(names_in(text), ["hyperfarm_nope_count", "hyperfarm_task_duration_seconds"]);
        assert_eq!(unknown(&[User { title: "x", text }]), ["hyperfarm_nope_count"]);
    }
}
