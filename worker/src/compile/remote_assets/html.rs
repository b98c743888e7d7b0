//! Remote references of pages.

use dom_query::{Document, NodeRef};
use serde_json::Value;
use url::Url;

use super::references::{ReferenceKind, ReferenceResolver, remote_url};
use super::script::{is_bare, specifiers};
use super::{script, sheet};
use crate::compile::dom::{all, raw_text};

/// Replaces the remote references of `document` by local files. With a `base` it is a downloaded page.
pub(super) fn localise(assets: &mut dyn ReferenceResolver, document: &Document, base: Option<&Url>) {
    let elements = all(document, "*");
    let mut remote = Vec::new();
    for element in &elements {
        for (_, text, kind) in references(element) {
            remote.extend(remote_url(&text, base).map(|url| (url, kind)));
        }
        if let Some(set) = element.attr("srcset") {
            remote.extend(
                candidates(&set)
                    .into_iter()
                    .filter_map(|(url, _)| Some((remote_url(&url, base)?, ReferenceKind::File))),
            );
        }
    }
    assets.prefetch(&remote);
    for element in &elements {
        if element.has_name("link") {
            link(assets, element, base);
            continue;
        }
        attributes(assets, element, base);
        style(assets, element, base);
    }
    let scripts: Vec<&NodeRef<'_>> = elements.iter().filter(|element| element.has_name("script")).collect();
    import_maps(assets, &scripts, base);
    for element in scripts.iter().filter(|element| is_type(element, "module") || element.attr("src").is_none()) {
        let text = raw_text(element);
        if !is_type(element, "importmap")
            && text.contains("import")
            && let Some(text) = script::localise(assets, &text, None)
        {
            element.set_text(text.as_str());
        }
    }
}

fn is_type(element: &NodeRef<'_>, kind: &str) -> bool {
    element.attr("type").is_some_and(|value| value.trim().eq_ignore_ascii_case(kind))
}

/// Attributes of an element that contain one URL each: name, value, kind.
fn references(element: &NodeRef<'_>) -> Vec<(&'static str, String, ReferenceKind)> {
    let name = element.node_name().map(|name| name.to_ascii_lowercase()).unwrap_or_default();
    let attributes: &[(&'static str, ReferenceKind)] = match name.as_str() {
        "script" if is_type(element, "module") => &[("src", ReferenceKind::Module)],
        "script" => &[("src", ReferenceKind::File)],
        "img" | "track" | "embed" | "input" => &[("src", ReferenceKind::File)],
        "source" => &[("src", ReferenceKind::Media)],
        "video" => &[("src", ReferenceKind::Media), ("poster", ReferenceKind::File)],
        "audio" => &[("src", ReferenceKind::Media)],
        "image" | "use" | "feimage" => &[("href", ReferenceKind::File), ("xlink:href", ReferenceKind::File)],
        "iframe" => &[("src", ReferenceKind::Page)],
        "object" => &[("data", ReferenceKind::File)],
        "link" if is_sheet(element) => &[("href", ReferenceKind::Sheet)],
        "lottie-player" | "dotlottie-player" | "dotlottie-wc" => &[("src", ReferenceKind::File)],
        _ => &[],
    };
    attributes.iter().filter_map(|(name, kind)| Some((*name, element.attr(name)?.to_string(), *kind))).collect()
}

/// Replaces the URLs in attributes.
fn attributes(assets: &mut dyn ReferenceResolver, element: &NodeRef<'_>, base: Option<&Url>) {
    for (name, text, kind) in references(element) {
        let Some(url) = remote_url(&text, base) else { continue };
        match assets.local(&url, kind) {
            Some(path) => {
                element.set_attr(name, &path);
                // Both attributes refer to the remote server.
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
            let path = remote_url(&text, base).and_then(|url| assets.local(&url, ReferenceKind::File));
            changed |= path.is_some();
            format!("{} {descriptor}", path.unwrap_or(text)).trim_end().to_owned()
        })
        .collect();
    if changed {
        element.set_attr("srcset", &parts.join(", "));
    }
}

/// The URLs and descriptors of a `srcset`.
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

/// Replaces the URLs in a style attribute and in a style element.
fn style(assets: &mut dyn ReferenceResolver, element: &NodeRef<'_>, base: Option<&Url>) {
    if let Some(text) = element.attr("style").filter(|text| text.contains("url"))
        && let Some(text) = sheet::localise(assets, &text, base)
    {
        element.set_attr("style", &text);
    }
    if element.has_name("style")
        && let Some(text) = sheet::localise(assets, &raw_text(element), base)
    {
        element.set_text(text.as_str());
    }
}

/// Whether the `rel` attribute contains `kind`.
fn rel(element: &NodeRef<'_>, kind: &str) -> bool {
    element.attr("rel").is_some_and(|rel| rel.split_ascii_whitespace().any(|word| word.eq_ignore_ascii_case(kind)))
}

fn is_sheet(element: &NodeRef<'_>) -> bool {
    rel(element, "stylesheet")
}

/// Replaces the URL of a link to a style sheet. A sheet that cannot be found is removed, because the page would wait
/// for it; so are hints to the browser.
fn link(assets: &mut dyn ReferenceResolver, element: &NodeRef<'_>, base: Option<&Url>) {
    let Some(url) = element.attr("href").and_then(|href| remote_url(&href, base)) else { return };
    if is_sheet(element) {
        match assets.local(&url, ReferenceKind::Sheet) {
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

/// Replaces the URLs of import maps. A prefix such as `three/addons/` gets an entry for each name that the scripts
/// import.
fn import_maps(assets: &mut dyn ReferenceResolver, scripts: &[&NodeRef<'_>], base: Option<&Url>) {
    let bare_names: Vec<String> = scripts
        .iter()
        .flat_map(|script| specifiers(&raw_text(script)))
        .map(|specifier| specifier.text)
        .filter(|specifier| is_bare(specifier))
        .collect();
    for element in scripts.iter().filter(|element| is_type(element, "importmap")) {
        let Ok(mut map) = serde_json::from_str::<Value>(&raw_text(element)) else { continue };
        let Some(imports) = map.get_mut("imports").and_then(Value::as_object_mut) else { continue };
        assets.add_to_import_map(&mut imports.keys());
        let mut added = Vec::new();
        for (name, target) in imports.iter_mut() {
            let Some(text) = target.as_str().map(str::to_owned) else { continue };
            if name.ends_with('/') {
                for bare in bare_names.iter().filter(|bare| bare.len() > name.len() && bare.starts_with(name.as_str()))
                {
                    let url = remote_url(&format!("{text}{}", &bare[name.len()..]), base);
                    let path = url.and_then(|url| assets.local(&url, ReferenceKind::Module));
                    added.extend(path.map(|path| (bare.clone(), Value::String(path))));
                }
            } else if let Some(path) = remote_url(&text, base).and_then(|url| assets.local(&url, ReferenceKind::Module))
            {
                *target = Value::String(path);
            }
        }
        imports.extend(added);
        element.set_text(map.to_string().as_str());
    }
}
