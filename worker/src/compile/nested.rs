//! Nested compositions: each one that is named must exist and hold something, or the runtime would empty its host and go on.

use std::collections::BTreeSet;

use dom_query::Document;
use hyperfarm_proto::failure::{Failure, FailureCode};

use super::Project;

/// Nesting deeper than this is a loop that changes its name.
const MAX_DEPTH: usize = 16;

/// Checks every composition that the page at `path` names, and what those name in turn.
pub(super) fn check(project: &Project<'_>, path: &str, page: &str) -> Result<(), Failure> {
    let mut seen = BTreeSet::new();
    descend(project, path, page, &mut seen, 0)
}

fn descend(
    project: &Project<'_>,
    path: &str,
    page: &str,
    seen: &mut BTreeSet<String>,
    depth: usize,
) -> Result<(), Failure> {
    if depth > MAX_DEPTH {
        return Err(missing(format!("{path}: compositions are nested deeper than {MAX_DEPTH} levels")));
    }
    for source in sources(page) {
        if is_remote(&source) {
            continue;
        }
        let target =
            source.trim_start_matches("./").trim_start_matches('/').split(['?', '#']).next().unwrap_or_default();
        if !project.files.contains_key(target) {
            return Err(missing(format!(
                "{path} names the composition {source} (data-composition-src), and the project has no such file; paths are \
                 from the project's root"
            )));
        }
        let nested = project.text(target)?;
        if Document::from(nested.as_str()).select("[data-composition-id]").is_empty()
            && !nested.contains("data-composition-id")
        {
            return Err(missing(format!(
                "{path} names the composition {source}, and that file has no element with data-composition-id"
            )));
        }
        if seen.insert(target.to_owned()) {
            descend(project, target, &nested, seen, depth + 1)?;
        }
    }
    Ok(())
}

/// Values of `data-composition-src`, templates included: their content is no part of the tree that selectors see.
fn sources(page: &str) -> Vec<String> {
    let mut found = Vec::new();
    for part in page.split("data-composition-src").skip(1) {
        let rest = part.trim_start();
        let Some(rest) = rest.strip_prefix('=') else { continue };
        let rest = rest.trim_start();
        let value = match rest.chars().next() {
            Some(quote @ ('"' | '\'')) => rest[1..].split(quote).next(),
            _ => rest.split([' ', '>', '\n', '\t', '/']).next(),
        };
        if let Some(value) = value.filter(|value| !value.is_empty() && !value.contains(['$', '{', '`', '+'])) {
            found.push(value.to_owned());
        }
    }
    found
}

fn is_remote(source: &str) -> bool {
    source.starts_with("//") || source.contains("://") || source.starts_with("data:") || source.starts_with("blob:")
}

fn missing(message: String) -> Failure {
    Failure::new(FailureCode::CompositionNotFound, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_found_inside_templates_too() {
        let page = r#"<div data-composition-src="a.html"></div><template><p data-composition-src='b/c.html'></p></template>
            <script>document.querySelector("[data-composition-src]"); x = `data-composition-src="${y}"`</script>"#;
        assert_eq!(sources(page), ["a.html", "b/c.html"]);
    }
}
