//! Ids of gradients, clip paths, filters and symbols. Where several mounts have one id, it is made unique, because a
//! reference finds only the first element with an id, and that may be in a mount that is not visible.

use std::collections::{BTreeMap, BTreeSet};

use dom_query::{Document, NodeId, NodeRef};

use super::bounds::Bounds;
use super::css;
use super::dom::{all, attr, trimmed, within};
use super::parts::{Mount, Style};
use super::selector::{AUTHORED_ID, replace_ids};
use crate::error::WorkerError;

/// Renames ids that several mounts have, with all references to them.
///
/// # Errors
///
/// The new ids make the page longer than it may be, or the compile was stopped.
pub(super) fn separate(
    document: &Document,
    mounts: &[Mount<'_>],
    styles: &mut [Style],
    bounds: &Bounds,
) -> Result<(), WorkerError> {
    let elements_of: Vec<Vec<NodeRef<'_>>> = mounts.iter().map(|mount| own_elements(mount, mounts)).collect();
    let mut scope_of: BTreeMap<NodeId, usize> = BTreeMap::new();
    for (index, elements) in elements_of.iter().enumerate() {
        let sheets = styles.get(mounts[index].styles.clone()).unwrap_or_default();
        for element in referenced(elements, sheets) {
            scope_of.insert(element.id, index);
        }
    }
    let mut by_id: BTreeMap<String, Vec<NodeRef<'_>>> = BTreeMap::new();
    for element in all(document, "[id]") {
        by_id.entry(attr(element, "id").unwrap_or_default()).or_default().push(element);
    }
    let mut taken: BTreeSet<String> = by_id.keys().cloned().collect();
    let mut renames: Vec<BTreeMap<String, String>> = vec![BTreeMap::new(); mounts.len()];
    for (id, elements) in by_id.iter().filter(|(id, elements)| !id.is_empty() && elements.len() > 1) {
        let keeper = elements.iter().find(|element| !scope_of.contains_key(&element.id)).or(elements.first());
        for element in elements.iter().filter(|element| keeper.is_none_or(|keeper| keeper.id != element.id)) {
            let Some(index) = scope_of.get(&element.id).copied() else { continue };
            let name =
                renames[index].entry(id.clone()).or_insert_with(|| unique_id(&mounts[index].namespace, id, &mut taken));
            element.set_attr(AUTHORED_ID, id);
            element.set_attr("id", name);
        }
    }
    for (index, renames) in renames.iter().enumerate().filter(|(_, renames)| !renames.is_empty()) {
        let namespace = &mounts[index].namespace;
        let longest = renames.values().map(String::len).max().unwrap_or(0);
        for element in &elements_of[index] {
            let places: usize = element.attrs().iter().map(|attribute| attribute.value.matches('#').count()).sum();
            bounds.count_bytes(namespace, places * longest)?;
            rewrite_attributes(*element, renames);
        }
        for style in styles.get_mut(mounts[index].styles.clone()).unwrap_or_default() {
            // A selector keeps the old id beside the new one; characters may be escaped.
            bounds.count_bytes(namespace, style.css.matches('#').count() * (4 * longest + 16))?;
            style.css = rewrite_sheet(&style.css, renames);
        }
    }
    Ok(())
}

/// Elements of the mount, without those of mounts inside it.
fn own_elements<'a>(mount: &Mount<'a>, mounts: &[Mount<'a>]) -> Vec<NodeRef<'a>> {
    let inner: BTreeSet<NodeId> = mounts.iter().map(|other| other.host.id).filter(|id| *id != mount.host.id).collect();
    within(mount.host, "*")
        .into_iter()
        .filter(|element| {
            !inner.contains(&element.id)
                && !element
                    .ancestors_it(None)
                    .take_while(|parent| parent.id != mount.host.id)
                    .any(|parent| inner.contains(&parent.id))
        })
        .collect()
}

/// Elements in SVG pictures to whose ids the mount refers.
fn referenced<'a>(elements: &[NodeRef<'a>], sheets: &[Style]) -> Vec<NodeRef<'a>> {
    let mut names = BTreeSet::new();
    for element in elements {
        for attribute in element.attrs() {
            let value = attribute.value.to_string();
            if &*attribute.name.local == "href" {
                names.extend(value.strip_prefix('#').map(str::to_owned));
            }
            if value.contains("url(") {
                css::rewrite_urls(&value, &mut |url| {
                    names.extend(url.strip_prefix('#').map(str::to_owned));
                    None
                });
            }
        }
    }
    for sheet in sheets {
        css::rewrite_urls(&sheet.css, &mut |url| {
            names.extend(url.strip_prefix('#').map(str::to_owned));
            None
        });
    }
    let in_svg = |element: &NodeRef<'_>| {
        element.has_name("svg") || element.ancestors_it(None).any(|parent| parent.has_name("svg"))
    };
    elements
        .iter()
        .copied()
        .filter(|element| trimmed(*element, "id").is_some_and(|id| names.contains(&id)) && in_svg(element))
        .collect()
}

/// A unique id for an element of a mount.
fn unique_id(namespace: &str, id: &str, taken: &mut BTreeSet<String>) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || c == '_' || c == '-' { c } else { '-' };
    let base = format!("{}--{id}", namespace.chars().map(plain).collect::<String>());
    let mut name = base.clone();
    let mut number = 2;
    while !taken.insert(name.clone()) {
        name = format!("{base}-{number}");
        number += 1;
    }
    name
}

fn rewrite_attributes(element: NodeRef<'_>, renames: &BTreeMap<String, String>) {
    let to = |url: &str| url.strip_prefix('#').and_then(|id| renames.get(id)).map(|name| format!("#{name}"));
    for attribute in element.attrs() {
        let (name, value) = (attribute.name.local.to_string(), attribute.value.to_string());
        if name == "href" {
            if let Some(rewritten) = to(&value) {
                element.set_attr(&name, &rewritten);
            }
        } else if value.contains("url(") {
            let rewritten = css::rewrite_urls(&value, &mut |url| to(url));
            if rewritten != value {
                element.set_attr(&name, &rewritten.replace('"', "'"));
            }
        }
    }
}

fn rewrite_sheet(sheet: &str, renames: &BTreeMap<String, String>) -> String {
    let sheet = css::rewrite_urls(sheet, &mut |url| {
        url.strip_prefix('#').and_then(|id| renames.get(id)).map(|name| format!("#{name}"))
    });
    css::rewrite_selectors(&sheet, &mut |list| {
        replace_ids(list, &mut |id| {
            let name = renames.get(id)?;
            let mut selector = ":is(#".to_owned();
            for (before, id) in [("", id), (", #", name.as_str())] {
                selector.push_str(before);
                cssparser::serialize_identifier(id, &mut selector).ok()?;
            }
            Some(selector + ")")
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::dom::all;

    #[test]
    fn ids_of_several_mounts_are_made_unique() {
        let picture = "<svg><defs><linearGradient id=g></linearGradient><path id=unused></path></defs>\
             <rect fill=\"url(#g)\"/><use xlink:href=\"#g\"/></svg>";
        let document = Document::from(format!("<div id=one>{picture}</div><div id=two>{picture}</div>"));
        let mount = |id: &str, at: usize| Mount {
            host: all(&document, &format!("#{id}"))[0],
            namespace: format!("c__hf{at}"),
            styles: at - 1..at,
        };
        let sheet = || Style { css: "#g{color:#fff}.x{mask:url(#g)}".to_owned(), media: None, title: None };
        let mut styles = [sheet(), sheet()];
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        separate(&document, &[mount("one", 1), mount("two", 2)], &mut styles, &bounds).unwrap();
        let html = document.html().to_string();
        assert!(html.contains("id=\"g\"") && html.contains("fill=\"url(#g)\""), "{html}");
        assert!(html.contains("id=\"c__hf2--g\"") && html.contains("data-hf-authored-id=\"g\""), "{html}");
        assert!(html.contains("url('#c__hf2--g')") && html.contains("href=\"#c__hf2--g\""), "{html}");
        assert_eq!(html.matches("id=\"unused\"").count(), 2);
        assert_eq!(styles[0].css, sheet().css);
        assert_eq!(styles[1].css, ":is(#g, #c__hf2--g){color:#fff}.x{mask:url(\"#c__hf2--g\")}");
    }

    #[test]
    fn what_new_ids_add_to_the_page_is_bounded() {
        let id = "g".repeat(250);
        let picture = format!("<svg><linearGradient id={id}></linearGradient><rect fill=\"url(#{id})\"/></svg>");
        let document = Document::from(format!("<div id=one>{picture}</div><div id=two>{picture}</div>"));
        let mount = |id: &str, at: usize| Mount {
            host: all(&document, &format!("#{id}"))[0],
            namespace: format!("c__hf{at}"),
            styles: at - 1..at,
        };
        let sheet = || Style { css: format!("#{id}{{}}").repeat(100_000), media: None, title: None };
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        let mounts = [mount("one", 1), mount("two", 2)];
        let error = separate(&document, &mounts, &mut [sheet(), sheet()], &bounds).unwrap_err();
        assert_eq!(error.code(), hyperfarm_proto::failure::FailureCode::ProjectTooComplex);
    }
}
