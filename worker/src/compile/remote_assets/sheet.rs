//! Remote references of style sheets.

use url::Url;

use super::references::{ReferenceKind, ReferenceResolver, remote_url};
use crate::compile::css;

/// The sheet with its references replaced by local files; `None` if none was found.
pub(super) fn localise(assets: &mut dyn ReferenceResolver, text: &str, base: Option<&Url>) -> Option<String> {
    let sheet = css::read(text);
    if base.is_some() {
        assets.add_declared_faces(&sheet.faces);
    }
    let references: Vec<_> = sheet
        .urls
        .iter()
        .filter(|url| !url.url.starts_with('#') && !url.url.trim().is_empty())
        .filter_map(|url| {
            Some((
                url,
                remote_url(&url.url, base)?,
                if url.import.is_some() { ReferenceKind::Sheet } else { ReferenceKind::File },
            ))
        })
        .collect();
    assets.prefetch(&references.iter().map(|(_, url, kind)| (url.clone(), *kind)).collect::<Vec<_>>());
    let mut changes = Vec::new();
    for (reference, url, kind) in references {
        match assets.local(&url, kind) {
            Some(path) => changes.push((reference.range.clone(), css::url_function(&path))),
            None => match &reference.import {
                // The page would wait for an import that cannot be found.
                Some(rule) => changes.push((rule.clone(), String::new())),
                // A relative URL in a downloaded sheet would have another base.
                None if base.is_some() => changes.push((reference.range.clone(), css::url_function(url.as_str()))),
                None => {}
            },
        }
    }
    (!changes.is_empty()).then(|| css::splice(text, changes))
}
