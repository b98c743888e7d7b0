//! Remote modules that scripts import.

use std::ops::Range;

use url::Url;

use super::references::{ReferenceKind, ReferenceResolver, remote_url};
use crate::compile::css::splice;

/// A module specifier in a script.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Specifier {
    /// Range of the text between its quotes.
    pub(super) range: Range<usize>,
    pub(super) text: String,
}

/// The script with its remote imports replaced by local files; `None` if none was found. With a `base` it is a
/// downloaded module, whose relative imports and bare names are remote too.
pub(super) fn localise(assets: &mut dyn ReferenceResolver, text: &str, base: Option<&Url>) -> Option<String> {
    let remote: Vec<(Specifier, Url)> = specifiers(text)
        .into_iter()
        .filter_map(|specifier| {
            let url = match base {
                Some(_) if is_bare(&specifier.text) => {
                    if assets.is_in_import_map(&specifier.text) {
                        return None;
                    }
                    Url::parse(&format!("https://cdn.jsdelivr.net/npm/{}/+esm", specifier.text)).ok()?
                }
                _ => remote_url(&specifier.text, base)?,
            };
            Some((specifier, url))
        })
        .collect();
    assets.prefetch(&remote.iter().map(|(_, url)| (url.clone(), ReferenceKind::Module)).collect::<Vec<_>>());
    let mut changes = Vec::new();
    for (specifier, url) in remote {
        match assets.local(&url, ReferenceKind::Module) {
            Some(path) => changes.push((specifier.range, path)),
            None if base.is_some() => changes.push((specifier.range, url.to_string())),
            None => {}
        }
    }
    (!changes.is_empty()).then(|| splice(text, changes))
}

/// Whether the specifier is neither a URL nor a path.
pub(super) fn is_bare(specifier: &str) -> bool {
    !specifier.starts_with(['.', '/']) && !specifier.contains("://") && !specifier.starts_with("data:")
}

/// The specifiers after `from`, `import` and `import(`, in order.
pub(super) fn specifiers(text: &str) -> Vec<Specifier> {
    let mut found = Vec::new();
    for keyword in ["from", "import"] {
        for (at, _) in text.match_indices(keyword) {
            let before = text[..at].chars().next_back();
            if before.is_some_and(|c| c.is_alphanumeric() || ['_', '$', '.', '-'].contains(&c)) {
                continue;
            }
            let rest = &text[at + keyword.len()..];
            let mut inner = rest.trim_start();
            if keyword == "import" {
                inner = inner.strip_prefix('(').unwrap_or(inner).trim_start();
            }
            let Some(quote) = inner.chars().next().filter(|c| ['"', '\''].contains(c)) else { continue };
            let start = at + keyword.len() + (rest.len() - inner.len()) + 1;
            let Some(length) = text[start..].find(quote) else { continue };
            let specifier = &text[start..start + length];
            if !specifier.is_empty() && !specifier.contains(['\n', ' ', '<', '\\']) {
                found.push(Specifier { range: start..start + length, text: specifier.to_owned() });
            }
        }
    }
    found.sort_by_key(|specifier| specifier.range.start);
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn specifiers_of_every_kind_of_import_are_found() {
        let text = "import a from 'x';import\"https://b.test/m.js\";export*from\"./c.js\";const d=await import( 'd' );\
                    fromage('no'); a.from('no2'); import {\n e,\n} from \"e\"; import(name); Array.from(\"x y\")";
        let found: Vec<String> = specifiers(text).into_iter().map(|specifier| specifier.text).collect();
        assert_eq!(found, ["x", "https://b.test/m.js", "./c.js", "d", "e"]);
    }
}
