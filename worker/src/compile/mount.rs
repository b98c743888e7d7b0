//! The parts of a nested file that are taken out before its elements are put into the host.

use dom_query::{Document, NodeRef};
use serde_json::{Map, Value};

use super::bounds::Bounds;
use super::dom::{attr, body, head, is_inside, template_content, trimmed, within};
use super::parts::{Parts, Script, Style};
use super::selector::Scope;
use super::{css, paths, scripts};
use crate::error::{ProjectError, WorkerError};

const LINKS: &str = "link[rel=\"stylesheet\"], link[rel=\"preconnect\"]";

/// The part of a nested file that is mounted: its first template, or its body.
pub(super) struct MountContent<'f> {
    pub(super) document: Document,
    /// Head of the file. Its styles and scripts are taken only where the content is not in a template.
    head: Option<NodeRef<'f>>,
    has_template: bool,
    /// Elements around the content that may declare variables.
    pub(super) declarers: Vec<NodeRef<'f>>,
}

/// The path of a nested file, and the files of the project.
pub(super) struct NestedFile<'p> {
    pub(super) source: &'p str,
    pub(super) exists: &'p dyn Fn(&str) -> bool,
}

impl NestedFile<'_> {
    fn rebase(&self, url: &str) -> String {
        paths::rebase(self.source, url.trim(), self.exists).unwrap_or_else(|| url.trim().to_owned())
    }
}

impl<'f> MountContent<'f> {
    pub(super) fn of(file: &'f Document, source: &str, bounds: &Bounds) -> Result<Self, WorkerError> {
        let template = within(file.root(), "template").into_iter().next();
        let html = match template.and_then(template_content).or_else(|| body(file)) {
            Some(holder) => holder.inner_html().to_string(),
            None => String::new(),
        };
        let document = bounds.parse(source, &html)?;
        if html.trim().is_empty() {
            let text = format!("the composition {source} is empty: it has no <template> and no <body> content");
            return Err(ProjectError::CompositionMissing(text).into());
        }
        if within(document.root(), "[data-composition-id]").is_empty() {
            let text = format!("the composition {source} has no element with data-composition-id");
            return Err(ProjectError::CompositionMissing(text).into());
        }
        let declarers = within(file.root(), "html").into_iter().chain(template).collect();
        Ok(Self { document, head: head(file), has_template: template.is_some(), declarers })
    }

    /// Matching elements of the head, if `with_head`, then of the content.
    fn select(&self, selector: &str, with_head: bool) -> Vec<NodeRef<'_>> {
        let of_head = self.head.filter(|_| with_head).map(|head| within(head, selector)).unwrap_or_default();
        of_head.into_iter().chain(within(self.document.root(), selector)).collect()
    }

    pub(super) fn body_html(&self) -> String {
        body(&self.document).map(|body| body.inner_html().to_string()).unwrap_or_default()
    }
}

/// Takes links to style sheets, which go into the page's head.
pub(super) fn take_links(content: &MountContent<'_>, files: &NestedFile<'_>, parts: &mut Parts<'_>) {
    for link in content.select(LINKS, true) {
        if let Some(href) = trimmed(link, "href") {
            link.set_attr("href", &files.rebase(&href));
            parts.links.push(link.html().to_string());
        }
        if is_inside(link, content.document.root()) {
            link.remove_from_parent();
        }
    }
}

/// Takes style sheets, with their selectors bound to the mount.
pub(super) fn take_styles(
    content: &MountContent<'_>,
    files: &NestedFile<'_>,
    scope: &Scope,
    bounds: &Bounds,
    parts: &mut Parts<'_>,
) -> Result<(), WorkerError> {
    for style in content.select("style", !content.has_template) {
        let kind = attr(style, "type").unwrap_or_default();
        if !kind.is_empty() && !kind.eq_ignore_ascii_case("text/css") {
            continue;
        }
        let text = style.text().to_string();
        bounds.count_bytes(files.source, scope.longest_growth(&text))?;
        let rebased = css::rewrite_urls(&text, &mut |url| paths::rebase(files.source, url, files.exists));
        let css = css::rewrite_selectors(&rebased, &mut |list| scope.bind(list));
        parts.styles.push(Style { css, media: attr(style, "media"), title: attr(style, "title") });
        style.remove_from_parent();
    }
    Ok(())
}

/// Takes scripts that run, each in the wrapper of its mount.
pub(super) fn take_scripts(
    content: &MountContent<'_>,
    files: &NestedFile<'_>,
    scope: &Scope,
    runtime: &str,
    bounds: &Bounds,
    parts: &mut Parts<'_>,
) -> Result<(), WorkerError> {
    for script in content.select("script", !content.has_template) {
        if !scripts::runs(script) {
            continue;
        }
        let kind = scripts::kind(script);
        let text = script.text().to_string();
        bounds.count_bytes(files.source, scripts::longest_wrapper(scope, runtime, files.source))?;
        let src = trimmed(script, "src").map(|src| files.rebase(&src));
        match (kind.as_str(), src) {
            ("importmap", _) => parts.import_maps.extend(import_map(&text, files)),
            ("module", None) => parts.scripts.push(Script::Module(scripts::wrap_module(&text, runtime, files.source))),
            (kind, Some(src)) => parts.scripts.push(Script::File { src, module: kind == "module" }),
            (_, None) => parts.scripts.push(Script::Inline(scripts::wrap(&text, scope, runtime, files.source))),
        }
        script.remove_from_parent();
    }
    Ok(())
}

/// HTML of script elements with data (JSON, shaders, templates) that are outside of the mounted root.
pub(super) fn inert_scripts_outside(content: &MountContent<'_>, inner: Option<NodeRef<'_>>) -> Vec<String> {
    let mut found = Vec::new();
    for script in content.select("script", !content.has_template) {
        let in_content = is_inside(script, content.document.root());
        let mounted = in_content && inner.is_none_or(|inner| is_inside(script, inner));
        if !scripts::runs(script) && !mounted {
            found.push(script.html().to_string());
        }
    }
    found
}

/// Rewrites the paths of the mounted elements.
pub(super) fn rebase_assets(root: NodeRef<'_>, files: &NestedFile<'_>) {
    for element in within(root, "[src], [href]") {
        for name in ["src", "href"] {
            if let Some(url) = trimmed(element, name)
                && let Some(rebased) = paths::rebase(files.source, &url, files.exists)
            {
                element.set_attr(name, &rebased);
            }
        }
    }
}

/// An import map with addresses relative to the page.
fn import_map(text: &str, files: &NestedFile<'_>) -> Option<Value> {
    let Ok(Value::Object(map)) = serde_json::from_str::<Value>(text) else { return None };
    let address = |value: &Value| match value.as_str() {
        Some(url) => {
            let rebased = files.rebase(url);
            let bare = rebased != url.trim() && !paths::is_absolute(&rebased);
            Value::String(if bare { format!("./{rebased}") } else { rebased })
        }
        None => value.clone(),
    };
    let entries = |value: Option<&Value>| -> Map<String, Value> {
        let object = value.and_then(Value::as_object).cloned().unwrap_or_default();
        object.into_iter().map(|(name, url)| (name, address(&url))).collect()
    };
    let mut out = Map::new();
    out.insert("imports".to_owned(), Value::Object(entries(map.get("imports"))));
    if let Some(scopes) = map.get("scopes").and_then(Value::as_object) {
        let scopes = scopes.iter().map(|(prefix, value)| (files.rebase(prefix), Value::Object(entries(Some(value)))));
        out.insert("scopes".to_owned(), Value::Object(scopes.collect()));
    }
    Some(Value::Object(out))
}
