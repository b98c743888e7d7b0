//! Nested compositions: the files that hosts name with `data-composition-src` are put into their hosts, by the rules of
//! the HyperFrames compiler.

use std::collections::VecDeque;

use dom_query::{Document, NodeRef};
use serde_json::Map;

use super::dom::{all, all_within, attr, head, raw_element, trimmed, within};
use super::identity::{Identities, Identity};
use super::mount::{self, MountContent};
use super::parts::{Mount, Parts, Style};
use super::project::Project;
use super::selector::Scope;
use super::{paths, selector, variables};
use crate::error::{ProjectError, WorkerError};

/// Most levels of nesting.
const MAX_DEPTH: usize = 20;
const SOURCE: &str = "data-composition-src";

/// A host whose content is still to be put in.
struct PendingHost<'a> {
    host: NodeRef<'a>,
    /// Files from the entry page down to the one that contains this host.
    owners: Vec<String>,
    identity: Option<Identity>,
}

/// Puts every nested file into its host.
pub(super) fn inline<'a>(document: &'a Document, project: &Project<'_>, entry: &str) -> Result<Parts<'a>, WorkerError> {
    let hosts = all(document, "[data-composition-src]");
    let names = Identities::of_page(document, &hosts);
    let mut identities = Identities::default();
    let mut parts = Parts::default();
    let mut queue: VecDeque<PendingHost<'a>> = hosts
        .iter()
        .zip(names)
        .map(|(host, identity)| PendingHost { host: *host, owners: vec![entry.to_owned()], identity: Some(identity) })
        .collect();
    while let Some(pending) = queue.pop_front() {
        project.bounds.check_time()?;
        let Some(source) = trimmed(pending.host, SOURCE).filter(|source| !is_placeholder(source)) else { continue };
        let target = locate(project, &source, &pending.owners)?;
        let identity = pending.identity.unwrap_or_else(|| identities.of_nested(document, pending.host));
        fill(project, pending.host, &target, identity, &mut parts)?;
        let mut owners = pending.owners;
        owners.push(target);
        queue.extend(all_within(pending.host, "[data-composition-src]").into_iter().map(|host| PendingHost {
            host,
            owners: owners.clone(),
            identity: None,
        }));
    }
    for host in &hosts {
        add_size_to_style(*host);
    }
    Ok(parts)
}

/// Whether the source is a placeholder that a generator has not filled in.
fn is_placeholder(source: &str) -> bool {
    let named = source.strip_prefix("__").and_then(|rest| rest.strip_suffix("__"));
    let token = |open: &str, close: &str| source.find(open).is_some_and(|at| source[at..].contains(close));
    named.is_some_and(|name| !name.is_empty() && name.bytes().all(|byte| byte == b'_' || byte.is_ascii_uppercase()))
        || token("<<", ">>")
        || token("{{", "}}")
        || token("${", "}")
}

/// The file that a host's `source` names: from the project's root, or beside the file that contains the host.
fn locate(project: &Project<'_>, source: &str, owners: &[String]) -> Result<String, ProjectError> {
    let owner = owners.last().map(String::as_str).unwrap_or_default();
    let unusable = |reason: String| {
        let text = format!("{owner} names the composition {source} (data-composition-src), {reason}");
        Err(ProjectError::CompositionMissing(text))
    };
    if paths::is_remote(source) {
        return unusable("which is not in the project; put the file into the project and name its path".to_owned());
    }
    let from_root = paths::file_of(source);
    let target = if project.files.contains_key(&from_root) { from_root } else { paths::join(owner, source) };
    if !project.files.contains_key(&target) {
        return unusable("and the project has no such file; paths are from the project's root".to_owned());
    }
    if owners.contains(&target) {
        return unusable(format!("which is one of those that hold it: {}", owners.join(" → ")));
    }
    if owners.len() > MAX_DEPTH {
        return unusable(format!("and compositions may be nested {MAX_DEPTH} levels deep at most"));
    }
    Ok(target)
}

/// Puts the file `source` into `host`.
fn fill<'a>(
    project: &Project<'_>,
    host: NodeRef<'a>,
    source: &str,
    identity: Identity,
    parts: &mut Parts<'a>,
) -> Result<(), WorkerError> {
    let text = project.text(source)?;
    let file = project.bounds.parse(source, &text)?;
    project.bounds.count_mount(source, &text, host.ancestors_it(None).count())?;
    let content = MountContent::of(&file, source, project.bounds)?;
    let roots = within(content.document.root(), "[data-composition-id]");
    let inner = match &identity.authored {
        Some(id) => roots.iter().copied().find(|root| trimmed(*root, "data-composition-id").as_ref() == Some(id)),
        None => roots.first().copied(),
    };
    let declared = inner.or(roots.first().copied()).and_then(|root| trimmed(root, "data-composition-id"));
    let composition = identity.authored.clone().or_else(|| declared.clone()).unwrap_or_default();
    let runtime = identity.runtime.clone().unwrap_or_else(|| composition.clone());
    let scope = Scope {
        selector: selector::of_composition(&runtime),
        composition,
        root_id: inner.and_then(|root| trimmed(root, "id")),
    };
    if identity.runtime.is_some() {
        let mut values = Map::new();
        for carrier in content.declarers.iter().copied().chain(inner) {
            values.extend(variables::defaults(carrier));
        }
        values.extend(variables::host_values(host));
        if !values.is_empty() {
            parts.variables.insert(runtime.clone(), values);
        }
    }
    let exists = |path: &str| project.files.contains_key(path);
    let files = mount::NestedFile { source, exists: &exists };
    let first_style = parts.styles.len();
    mount::take_links(&content, &files, parts);
    mount::take_styles(&content, &files, &scope, project.bounds, parts)?;
    let script_scope = Scope { composition: declared.unwrap_or(scope.composition.clone()), ..scope.clone() };
    mount::take_scripts(&content, &files, &script_scope, &runtime, project.bounds, parts)?;
    let inert = mount::inert_scripts_outside(&content, inner);
    mount::rebase_assets(inner.unwrap_or(content.document.root()), &files);
    match inner {
        Some(root) => {
            copy_root_attributes(host, root);
            flatten(root);
            if identity.authored.is_none() {
                root.set_attr("data-composition-id", &scope.composition);
            }
            host.set_html(root.html());
        }
        None => host.set_html(content.body_html()),
    }
    for script in inert {
        host.append_html(script);
    }
    host.set_attr("data-composition-file", source);
    host.remove_attr(SOURCE);
    parts.mounts.push(Mount { host, namespace: runtime, styles: first_style..parts.styles.len() });
    Ok(())
}

/// Copies attributes of the nested root to its host.
fn copy_root_attributes(host: NodeRef<'_>, root: NodeRef<'_>) {
    for name in ["data-timeline-locked", "data-no-timeline"] {
        if root.has_attr(name) {
            host.set_attr(name, "");
        }
    }
    for name in ["data-width", "data-height"] {
        if let (Some(value), None) = (trimmed(root, name), trimmed(host, name)) {
            host.set_attr(name, &value);
        }
    }
}

/// Turns the nested root into a box inside its host, which has the identity and the timing now.
fn flatten(root: NodeRef<'_>) {
    root.remove_attrs(&[
        "data-composition-id",
        "data-composition-file",
        "data-start",
        "data-duration",
        "data-end",
        "data-track-index",
        "data-track",
        "data-composition-src",
        "data-hf-authored-duration",
        "data-hf-authored-end",
    ]);
    if let Some(id) = trimmed(root, "id") {
        root.remove_attr("id");
        root.set_attr(selector::AUTHORED_ID, &id);
    }
    root.set_attr(selector::INNER_ROOT, "true");
    let side = |name: &str| trimmed(root, name).map_or("100%".to_owned(), |side| format!("{side}px"));
    append_style(root, &format!("width:{};height:{}", side("data-width"), side("data-height")));
}

/// Adds the size of a host of the entry page to its style, where the style has none.
fn add_size_to_style(host: NodeRef<'_>) {
    let (Some(width), Some(height)) = (trimmed(host, "data-width"), trimmed(host, "data-height")) else { return };
    let style = attr(host, "style").unwrap_or_default();
    let mut missing = Vec::new();
    if !style.contains("width") {
        missing.push(format!("width:{width}px"));
    }
    if !style.contains("height") {
        missing.push(format!("height:{height}px"));
    }
    if !missing.is_empty() {
        append_style(host, &missing.join(";"));
    }
}

fn append_style(node: NodeRef<'_>, more: &str) {
    let style = attr(node, "style").unwrap_or_default();
    let style = style.trim();
    node.set_attr("style", &if style.is_empty() { more.to_owned() } else { format!("{style};{more}") });
}

/// Adds the style sheets to the head.
pub(super) fn emit_styles(document: &Document, styles: &[Style]) {
    let Some(head) = head(document) else { return };
    for style in styles {
        let element = raw_element(document, "style", &style.css);
        for (name, value) in [("media", &style.media), ("title", &style.title)] {
            if let Some(value) = value {
                element.set_attr(name, value);
            }
        }
        head.append_child(&element);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use hyperfarm_proto::failure::FailureCode;

    use super::*;
    use crate::compile::bounds::Bounds;
    use crate::compile::parts::Script;
    use crate::compile::services::LocalServices;

    fn inlined(entry: &str, files: &[(&str, &str)]) -> Result<(String, Vec<String>, Vec<String>), WorkerError> {
        let folder = tempfile::tempdir().unwrap();
        let services = LocalServices::in_folder(folder.path());
        let bounds = Bounds::new(tokio_util::sync::CancellationToken::new());
        let mut project = Project { files: BTreeMap::new(), services: &services, bounds: &bounds };
        for (path, text) in files {
            project.replace(path, text.as_bytes()).unwrap();
        }
        let document = Document::from(entry);
        let parts = inline(&document, &project, "index.html")?;
        let scripts = parts.scripts.iter().map(|script| match script {
            Script::File { src, .. } => src.clone(),
            Script::Inline(text) | Script::Module(text) => text.clone(),
        });
        let styles = parts.styles.iter().map(|style| style.css.clone());
        Ok((document.html().to_string(), styles.collect(), scripts.collect()))
    }

    const CARD: &str = "<template><div id=card class=c data-composition-id=card data-width=100 data-height=50 data-duration=3>\
         <style>#card .t{color:red}</style><link rel=stylesheet href=own.css><img src=a.png>\
         <div data-composition-id=dot data-composition-src=\"scenes/dot.html\" data-start=1></div></div>\
         <script src=lib.js></script><script>run()</script></template>";
    const DOT: &str = "<html><head><style>body{margin:0}.t{color:blue}</style></head>\
         <body><p data-composition-id=dot>x</p></body></html>";

    #[test]
    fn files_are_put_into_their_hosts_to_any_depth() {
        let entry = "<div data-composition-id=main>\
             <div id=a data-composition-id=card data-composition-src=\"scenes/card.html\"></div>\
             <div id=b data-composition-id=card data-composition-src=\"./scenes/card.html\" style=\"height:9px\"></div></div>";
        let files = [
            ("scenes/card.html", CARD),
            ("scenes/dot.html", DOT),
            ("scenes/a.png", ""),
            ("scenes/lib.js", ""),
            ("own.css", ""),
        ];
        let (html, styles, scripts) = inlined(entry, &files).unwrap();
        assert!(!html.contains("data-composition-src"), "{html}");
        for id in ["card__hf1", "card__hf2", "dot__hf1", "dot__hf2"] {
            assert!(html.contains(&format!("data-composition-id=\"{id}\"")), "{id}: {html}");
        }
        assert!(html.contains("style=\"width:100px;height:50px\""), "{html}");
        assert!(html.contains("style=\"height:9px;width:100px\""), "{html}");
        assert!(html.contains("data-hf-authored-id=\"card\" data-hf-inner-root=\"true\""), "{html}");
        assert!(html.contains("src=\"scenes/a.png\"") && !html.contains("<style") && !html.contains("run()"), "{html}");
        assert_eq!(styles[1], "[data-composition-id=\"card__hf2\"] [data-hf-authored-id=\"card\"] .t{color:red}");
        assert!(styles[2].ends_with("[data-composition-id=\"dot__hf1\"] .t{color:blue}"), "{styles:?}");
        assert!(styles[2].starts_with("[data-composition-id=\"dot__hf1\"]:not("), "{styles:?}");
        assert_eq!(scripts[0], "scenes/lib.js");
        assert!(scripts[1].contains("run()") && scripts[1].contains("\"runtime\":\"card__hf1\""), "{}", scripts[1]);
        let again = inlined(entry, &files).unwrap();
        assert_eq!((html, styles, scripts), again);
    }

    #[test]
    fn what_a_mount_adds_to_the_page_is_bounded() {
        let id = "x".repeat(200);
        let host = format!(
            "<div data-composition-id=m><p data-composition-id={id} data-composition-src=\"a.html\"></p></div>"
        );
        let sheet = |css: &str| format!("<div data-composition-id={id}><style>{}</style></div>", css.repeat(200_000));
        let selectors = sheet("a,");
        let rules = sheet("a{}");
        let own_id = sheet(&format!("[data-composition-id={id}]{{}}"));
        let scripts = format!("<div data-composition-id={id}>{}</div>", "<script></script>".repeat(30_000));
        for (what, file) in [("selectors", selectors), ("rules", rules), ("own id", own_id), ("scripts", scripts)] {
            let error = inlined(&host, &[("a.html", file.as_str())]).unwrap_err();
            assert_eq!(error.code(), FailureCode::ProjectTooComplex, "{what}");
            assert!(error.to_string().contains("with a.html the page has"), "{what}: {error}");
        }
    }

    #[test]
    fn a_file_that_cannot_be_mounted_is_named() {
        let host = |source: &str| format!("<div data-composition-id=m><p data-composition-src=\"{source}\"></p></div>");
        let nested = host("b.html");
        let back = host("a.html");
        let files = [
            ("a.html", nested.as_str()),
            ("b.html", back.as_str()),
            ("empty.html", " "),
            ("plain.html", "<p>no composition</p>"),
        ];
        for (source, named) in [
            ("lost.html", "no such file"),
            ("empty.html", "empty.html is empty"),
            ("plain.html", "no element with data-composition-id"),
            ("https://e.org/x.html", "not in the project"),
            ("a.html", "index.html → a.html → b.html"),
        ] {
            let error = inlined(&host(source), &files).unwrap_err();
            assert_eq!(error.code(), FailureCode::CompositionNotFound);
            assert!(error.to_string().contains(named), "{error}");
        }
        let (html, ..) = inlined(&host("__SCENE_FILE__"), &files).unwrap();
        assert!(html.contains("__SCENE_FILE__"));
    }
}
