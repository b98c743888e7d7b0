//! Remote references of style sheets.

use url::Url;

use super::{RemoteAssets, Use, remote_url};
use crate::compile::sheet_scan;

/// The sheet with its references rewritten; `None` if it has none that could be found.
pub(super) fn localise(localiser: &mut RemoteAssets, text: &str, base: Option<&Url>) -> Option<String> {
    let sheet = sheet_scan::read(text);
    if base.is_some() {
        localiser.faces.extend(sheet.faces.iter().map(|family| family.to_lowercase()));
    }
    let wanted: Vec<_> = sheet
        .urls
        .iter()
        .filter(|url| !url.url.starts_with('#') && !url.url.trim().is_empty())
        .filter_map(|url| Some((url, remote_url(&url.url, base)?, if url.import { Use::Sheet } else { Use::File })))
        .collect();
    localiser.prefetch(&wanted.iter().map(|(_, url, used)| (url.clone(), *used)).collect::<Vec<_>>());
    let mut changes = Vec::new();
    for (reference, url, used) in wanted {
        match localiser.local(&url, used) {
            Some(path) => changes.push((reference.range.clone(), sheet_scan::url_function(&path))),
            // An import that cannot be found holds the page up and gives nothing.
            None if reference.import => changes.push((reference.rule.clone(), String::new())),
            // In a fetched sheet a relative reference would lead somewhere else.
            None if base.is_some() => changes.push((reference.range.clone(), sheet_scan::url_function(url.as_str()))),
            None => {}
        }
    }
    (!changes.is_empty()).then(|| sheet_scan::splice(text, changes))
}
