//! The version of the HyperFrames runtime that a project names.

use hyperfarm_backplane::runtimes::PACKAGES;
use serde_json::Value;

use super::project::Project;
use crate::runtimes::NamedRuntime;

/// Larger files are not read.
const MAX_BYTES: u64 = 1024 * 1024;

/// Lists of a `package.json` that can contain HyperFrames.
const DEPENDENCIES: [&str; 4] = ["dependencies", "devDependencies", "peerDependencies", "optionalDependencies"];

/// What the project names: `runtime` of `hyperframes.json`, else HyperFrames among the dependencies of `package.json`,
/// else the version that its scripts run (`npx hyperframes@0.8.170 render`). A file that is no JSON names nothing.
pub(super) fn named(project: &Project<'_>) -> Option<NamedRuntime> {
    let read = |path: &str| -> Option<Value> {
        project.files.get(path).filter(|file| file.bytes <= MAX_BYTES)?;
        serde_json::from_str(&project.text(path).ok()?).ok()
    };
    let by_config = read("hyperframes.json").and_then(|config| named_by_config(&config));
    by_config.or_else(|| named_by_package(&read("package.json")?))
}

fn named_by_config(config: &Value) -> Option<NamedRuntime> {
    let version = config["runtime"].as_str()?.to_owned();
    Some(NamedRuntime { version, place: "hyperframes.json (runtime)".to_owned() })
}

fn named_by_package(package: &Value) -> Option<NamedRuntime> {
    let of = |list: &str, name: &str| {
        let version = package[list][name].as_str()?.to_owned();
        Some(NamedRuntime { version, place: format!("package.json ({list}.{name})") })
    };
    let dependency = DEPENDENCIES.iter().find_map(|list| PACKAGES.iter().find_map(|name| of(list, name)));
    dependency.or_else(|| {
        let scripts = package["scripts"].as_object()?;
        let pin = |(name, script): (&String, &Value)| {
            let version = pinned(script.as_str()?)?.to_owned();
            Some(NamedRuntime { version, place: format!("package.json (scripts.{name})") })
        };
        let render = scripts.get_key_value("render").and_then(pin);
        render.or_else(|| scripts.iter().find_map(pin))
    })
}

/// The exact version in `hyperframes@0.8.170`, as the command of a script.
fn pinned(script: &str) -> Option<&str> {
    let version = script.split_whitespace().find_map(|word| word.strip_prefix("hyperframes@"))?;
    version.starts_with(|c: char| c.is_ascii_digit()).then_some(version)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn dependencies_come_before_pins_of_scripts() {
        let of = |package: Value| named_by_package(&package).map(|named| (named.version, named.place));
        let found = |version: &str, place: &str| Some((version.to_owned(), format!("package.json ({place})")));
        assert_eq!(
            of(json!({ "devDependencies": { "hyperframes": "^0.8.1" }, "scripts": { "a": "npx hyperframes@0.7.1" } })),
            found("^0.8.1", "devDependencies.hyperframes")
        );
        assert_eq!(
            of(json!({ "dependencies": { "@hyperframes/core": "0.8.60" } })),
            found("0.8.60", "dependencies.@hyperframes/core")
        );
        let scripts = json!({ "check": "npx hyperframes@0.8.1 check", "render": "npx --yes hyperframes@0.8.2 render" });
        assert_eq!(of(json!({ "scripts": scripts })), found("0.8.2", "scripts.render"));
        for nothing in [
            json!({ "scripts": { "render": "npx hyperframes@latest render", "x": "npx my-hyperframes@1.0.0" } }),
            json!({ "dependencies": { "hyperframes": 8, "gsap": "3" } }),
            json!([]),
        ] {
            assert_eq!(of(nothing), None);
        }
    }
}
