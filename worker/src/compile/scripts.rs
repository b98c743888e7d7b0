//! Scripts: their types, the wrapper of those of a nested composition, and the deferral until fonts are loaded.

use dom_query::{Document, NodeRef};
use serde_json::{Map, Value, json};

use super::dom::{all, attr, body, head, raw_element, trimmed, within};
use super::parts::{Parts, Script};
use super::paths;
use super::selector::Scope;
use crate::runtimes::AFTER_FONTS;

/// Types of classic scripts.
const CLASSIC: &[&str] = &[
    "",
    "application/ecmascript",
    "application/javascript",
    "application/x-ecmascript",
    "application/x-javascript",
    "text/ecmascript",
    "text/javascript",
    "text/javascript1.0",
    "text/javascript1.1",
    "text/javascript1.2",
    "text/javascript1.3",
    "text/javascript1.4",
    "text/javascript1.5",
    "text/jscript",
    "text/livescript",
    "text/x-ecmascript",
    "text/x-javascript",
];

/// The script's type in lower case.
pub(super) fn kind(script: NodeRef<'_>) -> String {
    attr(script, "type").unwrap_or_default().trim().to_ascii_lowercase()
}

fn is_classic(script: NodeRef<'_>) -> bool {
    CLASSIC.contains(&kind(script).as_str()) && !script.has_attr("nomodule")
}

/// Whether the script is deferred until the page's fonts are loaded.
pub(super) fn is_deferred(script: NodeRef<'_>) -> bool {
    kind(script).starts_with(AFTER_FONTS)
}

/// Whether a browser runs the script, or uses it as an import map. Other scripts are data.
pub(super) fn runs(script: NodeRef<'_>) -> bool {
    matches!(kind(script).as_str(), "module" | "importmap") || is_classic(script)
}

/// The call that runs `source` with the document, the window, GSAP and the variables of one mount.
pub(super) fn wrap(source: &str, scope: &Scope, runtime: &str, file: &str) -> String {
    let options = json!({
        "composition": scope.composition,
        "runtime": runtime,
        "selector": scope.selector,
        "root": scope.root_id,
        "source": file,
    });
    format!(
        "__hyperfarmScope({}, function (document, gsap, window, __hyperframes) {{\n{}\n}});\n//# sourceURL={}",
        literal(&options),
        without_end_tag(source),
        source_url(file)
    )
}

/// Most bytes by which [`wrap`] and [`wrap_module`] make a script longer.
pub(super) fn longest_wrapper(scope: &Scope, runtime: &str, file: &str) -> usize {
    // Characters may be escaped, by up to six.
    let ids =
        scope.composition.len() + scope.selector.len() + runtime.len() + scope.root_id.as_ref().map_or(0, String::len);
    6 * (ids + 2 * file.len()) + 256
}

/// A module with the variables of one mount. A module cannot be wrapped in a function, so its document and window are
/// those of the page.
pub(super) fn wrap_module(source: &str, runtime: &str, file: &str) -> String {
    let options = json!({ "runtime": runtime, "source": file });
    format!("const __hyperframes = __hyperfarmScope.hyperframes({});\n{}", literal(&options), without_end_tag(source))
}

/// JSON that may be inside a script element.
pub(super) fn literal(value: &Value) -> String {
    value.to_string().replace('<', "\\u003c")
}

/// The source without text that would close its script element.
fn without_end_tag(source: &str) -> String {
    let lower = source.to_ascii_lowercase();
    let mut out = String::with_capacity(source.len());
    let mut from = 0;
    for (at, _) in lower.match_indices("</script") {
        out.push_str(&source[from..at]);
        out.push_str("<\\/");
        from = at + 2;
    }
    out.push_str(&source[from..]);
    out
}

fn source_url(file: &str) -> String {
    file.replace(|c: char| c.is_whitespace() || c == '<', "_")
}

/// Adds the scripts of nested compositions: libraries with absolute URLs first, each once, then the others in order.
pub(super) fn emit(document: &Document, parts: &Parts<'_>) {
    merge_import_maps(document, &parts.import_maps);
    let Some(body) = body(document) else { return };
    for script in &parts.scripts {
        if let Script::File { src, module } = script
            && paths::is_absolute(src)
        {
            add_file_once(document, body, src, *module);
        }
    }
    if !parts.variables.is_empty() {
        let values: Map<String, Value> =
            parts.variables.iter().map(|(id, values)| (id.clone(), Value::Object(values.clone()))).collect();
        let text = format!(
            "window.__hfVariablesByComp = Object.assign({{}}, window.__hfVariablesByComp, {});",
            literal(&Value::Object(values))
        );
        body.append_child(&raw_element(document, "script", &text));
    }
    for script in &parts.scripts {
        match script {
            Script::Inline(text) => body.append_child(&raw_element(document, "script", text)),
            Script::File { src, module } if !paths::is_absolute(src) => add_file_once(document, body, src, *module),
            Script::File { .. } | Script::Module(_) => {}
        }
    }
    for script in &parts.scripts {
        if let Script::Module(text) = script {
            let element = raw_element(document, "script", text);
            element.set_attr("type", "module");
            body.append_child(&element);
        }
    }
}

/// Adds a script file, unless the page loads it.
fn add_file_once(document: &Document, body: NodeRef<'_>, src: &str, module: bool) {
    let is_loaded =
        within(document.root(), "script[src]").into_iter().any(|script| trimmed(script, "src").as_deref() == Some(src));
    if is_loaded {
        return;
    }
    let element = raw_element(document, "script", "");
    element.set_attr("src", src);
    if module {
        element.set_attr("type", "module");
    }
    body.append_child(&element);
}

/// Merges import maps into that of the page, whose own entries take precedence.
fn merge_import_maps(document: &Document, maps: &[Value]) {
    if maps.is_empty() {
        return;
    }
    let own = within(document.root(), "script[type=\"importmap\"]").into_iter().next();
    let mut page =
        own.and_then(|script| serde_json::from_str::<Value>(&script.text()).ok()).unwrap_or_else(|| json!({}));
    for map in maps {
        merge_missing(&mut page, map);
    }
    let script = raw_element(document, "script", &literal(&page));
    script.set_attr("type", "importmap");
    if let Some(own) = own {
        own.remove_from_parent();
    }
    if let Some(head) = head(document) {
        head.prepend_child(&script);
    }
}

fn merge_missing(into: &mut Value, from: &Value) {
    let (Value::Object(into), Value::Object(from)) = (into, from) else { return };
    for (name, value) in from {
        merge_missing(into.entry(name.clone()).or_insert_with(|| value.clone()), value);
    }
}

/// Adds linked style sheets of nested compositions, each once.
pub(super) fn emit_links(document: &Document, links: &[String]) {
    let Some(head) = head(document) else { return };
    let mut seen: Vec<String> =
        within(document.root(), "link[href]").into_iter().map(|link| link.html().to_string()).collect();
    for link in links {
        if !seen.contains(link) {
            head.append_html(link.as_str());
            seen.push(link.clone());
        }
    }
}

/// Most bytes that [`name_inline`] adds to the scripts of a page, and most of them that it looks for.
const MOST_LINES: usize = 1 << 20;
const MOST_SCRIPTS: usize = 500;
/// Scripts that are not found in the source, after which no more are looked for.
const MOST_MISSED: usize = 5;

/// Gives inline scripts the name of `entry`, and the lines that they have in its `source`, for their exceptions: the page
/// is changed around them, and the runtime inserts them without their position.
pub(super) fn name_inline(document: &Document, entry: &str, source: &str) {
    // The parser has made one character of the two that end a line.
    let source = &source.replace("\r\n", "\n");
    let (mut from, mut line, mut added, mut missed) = (0, 0, 0, 0);
    // A policy of the page may name its scripts by their hashes; those of the body are changed anyway.
    let has_policy = all(document, "meta[http-equiv]").into_iter().any(|meta| {
        trimmed(meta, "http-equiv").is_some_and(|name| name.eq_ignore_ascii_case("content-security-policy"))
    });
    let named = if has_policy { "body script:not([src])" } else { "script:not([src])" };
    for script in all(document, named).into_iter().take(MOST_SCRIPTS) {
        let text = script.text();
        if !is_classic(script) || text.trim().is_empty() || text.contains("# sourceURL=") {
            continue;
        }
        // They are in the order of the source. One that was changed keeps lines of its own.
        let element = format!(">{text}</");
        let found = source.get(from..).filter(|_| missed < MOST_MISSED).and_then(|rest| rest.find(&element));
        missed += usize::from(found.is_none());
        let lines = found.map_or(0, |at| {
            line += source[from..from + at].matches('\n').count();
            let lines = line;
            line += text.matches('\n').count();
            from += at + element.len();
            lines
        });
        let lines = if added + lines > MOST_LINES { 0 } else { lines };
        added += lines;
        script.set_text(format!("{}{text}\n//# sourceURL={}", "\n".repeat(lines), source_url(entry)));
    }
}

/// Defers the scripts of the body until the page's fonts are loaded, as in HyperFrames' own renders.
pub(super) fn defer_until_fonts(document: &Document) {
    for script in all(document, "body script") {
        let is_excluded = script.ancestors_it(None).any(|parent| parent.has_name("noscript") || parent.has_name("svg"));
        if is_excluded {
            continue;
        }
        if is_classic(script) {
            script.set_attr("type", AFTER_FONTS);
        } else if kind(script) == "module" {
            script.set_attr("type", &format!("{AFTER_FONTS}+module"));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compile::selector::of_composition;

    #[test]
    fn no_text_closes_the_script_element() {
        let scope = Scope { selector: of_composition("a<b"), composition: "a".to_owned(), root_id: None };
        let text = wrap("x = '</script>'", &scope, "a<b", "s/a.html");
        assert!(text.contains("x = '<\\/script>'") && !text.contains("a<b") && text.contains("\"root\":null"));
    }

    #[test]
    fn inline_scripts_keep_the_lines_of_their_source() {
        let source = "<head>\n<script>a</script>\n\n<script src=x.js></script></head><body>\n<script>\nb\n</script>\n\
                      <script type=\"application/json\">1</script>\n<script>a</script></body>";
        let document = Document::from(source);
        let changed = all(&document, "script")[2];
        name_inline(&document, "index.html", source);
        let lines = |text: &str| source[..source.rfind(text).unwrap()].matches('\n').count();
        assert_eq!(&*changed.text(), format!("{}\nb\n\n//# sourceURL=index.html", "\n".repeat(lines("\nb\n"))));
        let texts: Vec<String> = all(&document, "script").iter().map(|script| script.text().to_string()).collect();
        assert_eq!(texts[0], "\na\n//# sourceURL=index.html");
        assert_eq!((texts[1].as_str(), texts[3].as_str()), ("", "1"));
        assert_eq!(texts[4], format!("{}a\n//# sourceURL=index.html", "\n".repeat(lines("a</script></body>"))));
    }

    #[test]
    fn only_running_scripts_of_the_body_are_deferred() {
        let document = Document::from(
            "<head><script id=h>a</script></head><body><script id=i>b</script><script id=j type=\"application/json\">1</script>\
             <script id=m type=module>c</script><svg><script id=s>d</script></svg><script id=n nomodule>e</script>\
             <script id=f src=x.js></script></body>",
        );
        defer_until_fonts(&document);
        let kinds: Vec<String> =
            ["h", "i", "j", "m", "s", "n", "f"].iter().map(|id| kind(all(&document, &format!("#{id}"))[0])).collect();
        let deferred = AFTER_FONTS;
        assert_eq!(kinds, ["", deferred, "application/json", &format!("{deferred}+module"), "", "", deferred]);
    }

    #[test]
    fn entries_of_the_pages_import_map_take_precedence() {
        let document = Document::from("<head><script type=\"importmap\">{\"imports\":{\"a\":\"1\"}}</script></head>");
        merge_import_maps(&document, &[json!({"imports": {"a": "2", "b": "3"}})]);
        let maps = all(&document, "script");
        assert_eq!(maps.len(), 1);
        assert_eq!(maps[0].text().to_string(), r#"{"imports":{"a":"1","b":"3"}}"#);
    }
}
