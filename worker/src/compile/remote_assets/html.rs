//! Remote references of pages.

use dom_query::{Document, NodeRef};
use serde_json::Value;
use url::Url;

use super::script::{is_bare, specifiers};
use super::{RemoteAssets, Use, remote_url, script, sheet};
use crate::compile::walk::{elements, raw_text};

/// Rewrites what `document` refers to. With a `base` it is a fetched page.
pub(super) fn localise(localiser: &mut RemoteAssets, document: &Document, base: Option<&Url>) {
    let elements = elements(document);
    let mut wanted = Vec::new();
    for element in &elements {
        for (_, text, used) in references(element) {
            wanted.extend(remote_url(&text, base).map(|url| (url, used)));
        }
        if let Some(set) = element.attr("srcset") {
            wanted
                .extend(candidates(&set).into_iter().filter_map(|(url, _)| Some((remote_url(&url, base)?, Use::File))));
        }
    }
    localiser.prefetch(&wanted);
    for element in &elements {
        if element.has_name("link") {
            link(localiser, element, base);
            continue;
        }
        attributes(localiser, element, base);
        style(localiser, element, base);
    }
    let scripts: Vec<&NodeRef<'_>> = elements.iter().filter(|element| element.has_name("script")).collect();
    import_maps(localiser, &scripts, base);
    for element in scripts.iter().filter(|element| is_type(element, "module") || element.attr("src").is_none()) {
        let text = raw_text(element);
        if !is_type(element, "importmap")
            && text.contains("import")
            && let Some(text) = script::localise(localiser, &text, None)
        {
            element.set_text(text.as_str());
        }
    }
}

fn is_type(element: &NodeRef<'_>, kind: &str) -> bool {
    element.attr("type").is_some_and(|value| value.trim().eq_ignore_ascii_case(kind))
}

/// Attributes with one URL each: name, value, use.
fn references(element: &NodeRef<'_>) -> Vec<(&'static str, String, Use)> {
    let name = element.node_name().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let attributes: &[(&'static str, Use)] = match name.as_str() {
        "script" if is_type(element, "module") => &[("src", Use::Module)],
        "script" => &[("src", Use::File)],
        "img" | "track" | "embed" | "input" => &[("src", Use::File)],
        "source" => &[("src", Use::Media)],
        "video" => &[("src", Use::Media), ("poster", Use::File)],
        "audio" => &[("src", Use::Media)],
        "image" | "use" | "feimage" => &[("href", Use::File), ("xlink:href", Use::File)],
        "iframe" => &[("src", Use::Page)],
        "object" => &[("data", Use::File)],
        "link" if is_sheet(element) => &[("href", Use::Sheet)],
        "lottie-player" | "dotlottie-player" | "dotlottie-wc" => &[("src", Use::File)],
        _ => &[],
    };
    attributes.iter().filter_map(|(name, used)| Some((*name, element.attr(name)?.to_string(), *used))).collect()
}

fn attributes(localiser: &mut RemoteAssets, element: &NodeRef<'_>, base: Option<&Url>) {
    for (name, text, used) in references(element) {
        let Some(url) = remote_url(&text, base) else { continue };
        match localiser.local(&url, used) {
            Some(path) => {
                element.set_attr(name, &path);
                // They are about the server that it came from.
                element.remove_attrs(&["integrity", "crossorigin"]);
            }
            None if base.is_some() => element.set_attr(name, url.as_str()),
            None => {}
        }
    }
    let Some(set) = element.attr("srcset") else { return };
    let mut changed = false;
    let parts: Vec<String> = candidates(&set)
        .into_iter()
        .map(|(text, descriptor)| {
            let path = remote_url(&text, base).and_then(|url| localiser.local(&url, Use::File));
            changed |= path.is_some();
            format!("{} {descriptor}", path.unwrap_or(text)).trim_end().to_owned()
        })
        .collect();
    if changed {
        element.set_attr("srcset", &parts.join(", "));
    }
}

/// URLs and descriptors of a `srcset`.
fn candidates(set: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut rest = set.trim_start_matches([' ', '\n', '\t', ',']);
    while !rest.is_empty() {
        let end = rest.find(char::is_whitespace).unwrap_or(rest.len());
        let (mut url, after) = rest.split_at(end);
        let (mut descriptor, mut next) = ("", after);
        if let Some(bare) = url.strip_suffix(',') {
            url = bare;
        } else {
            let end = after.find(',').unwrap_or(after.len());
            descriptor = after[..end].trim();
            next = &after[end..];
        }
        found.push((url.to_owned(), descriptor.to_owned()));
        rest = next.trim_start_matches([' ', '\n', '\t', '\r', ',']);
    }
    found
}

fn style(localiser: &mut RemoteAssets, element: &NodeRef<'_>, base: Option<&Url>) {
    if let Some(text) = element.attr("style").filter(|text| text.contains("url"))
        && let Some(text) = sheet::localise(localiser, &text, base)
    {
        element.set_attr("style", &text);
    }
    if element.has_name("style")
        && let Some(text) = sheet::localise(localiser, &raw_text(element), base)
    {
        element.set_text(text.as_str());
    }
}

fn rel(element: &NodeRef<'_>, kind: &str) -> bool {
    element.attr("rel").is_some_and(|rel| rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(kind)))
}

fn is_sheet(element: &NodeRef<'_>) -> bool {
    rel(element, "stylesheet")
}

/// Sheets are rewritten, and gone where they cannot be found: the page would wait for them. Hints have no use.
fn link(localiser: &mut RemoteAssets, element: &NodeRef<'_>, base: Option<&Url>) {
    let Some(url) = element.attr("href").and_then(|href| remote_url(&href, base)) else { return };
    if is_sheet(element) {
        match localiser.local(&url, Use::Sheet) {
            Some(path) => {
                element.set_attr("href", &path);
                element.remove_attrs(&["integrity", "crossorigin"]);
            }
            None => element.remove_from_parent(),
        }
    } else if ["preconnect", "dns-prefetch", "preload", "modulepreload", "prefetch"]
        .iter()
        .any(|kind| rel(element, kind))
    {
        element.remove_from_parent();
    }
}

/// Import maps lead to local modules. A prefix such as `three/addons/` is resolved for each name that the scripts import.
fn import_maps(localiser: &mut RemoteAssets, scripts: &[&NodeRef<'_>], base: Option<&Url>) {
    let used: Vec<String> = scripts
        .iter()
        .flat_map(|script| specifiers(&raw_text(script)))
        .map(|specifier| specifier.text)
        .filter(|specifier| is_bare(specifier))
        .collect();
    for element in scripts.iter().filter(|element| is_type(element, "importmap")) {
        let Ok(mut map) = serde_json::from_str::<Value>(&raw_text(element)) else { continue };
        let Some(imports) = map.get_mut("imports").and_then(Value::as_object_mut) else { continue };
        localiser.mapped.extend(imports.keys().cloned());
        let mut added = Vec::new();
        for (name, target) in imports.iter_mut() {
            let Some(text) = target.as_str().map(str::to_owned) else { continue };
            if name.ends_with('/') {
                for wanted in used.iter().filter(|used| used.len() > name.len() && used.starts_with(name.as_str())) {
                    let url = remote_url(&format!("{text}{}", &wanted[name.len()..]), base);
                    let path = url.and_then(|url| localiser.local(&url, Use::Module));
                    added.extend(path.map(|path| (wanted.clone(), Value::String(path))));
                }
            } else if let Some(path) = remote_url(&text, base).and_then(|url| localiser.local(&url, Use::Module)) {
                *target = Value::String(path);
            }
        }
        imports.extend(added);
        element.set_text(map.to_string().as_str());
    }
}

impl RemoteAssets {
    /// Whether the page's import map resolves this bare name.
    pub(super) fn resolves(&self, name: &str) -> bool {
        self.mapped.iter().any(|key| key == name || (key.ends_with('/') && name.starts_with(key.as_str())))
    }
}
