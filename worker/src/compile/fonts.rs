//! Fonts: known families are drawn with the same files on every machine.
//!
//! Families are read from the page's own styles: `font-family` and `font` in `<style>` and `style`, through custom
//! properties, and `data-font-family`; and those that the farm has from style sheets and scripts too. HyperFrames' own
//! compiler reads neither the `font` shorthand nor sheets and scripts, whose families the machine draws. A family that
//! the page declares by `@font-face` or `FontFace` is not changed. Common system families are drawn with the nearest
//! embedded one, under their own name, with a warning. A list that begins with a generic family gets Inter before it.

use std::collections::{BTreeMap, BTreeSet};

use dom_query::Document;
use hyperfarm_proto::plan::Warning;
use serde_json::Value;

use super::css::{self, Declaration, families};
use super::dom::{all, raw_text};
use super::font_table::{embedded_family, is_known};
use super::remote_assets::RemoteAssets;
use super::services::{FontFace, has_family};
use crate::assets::{FONTS, OWN_PREFIX};

/// Generic families.
const GENERIC: &[&str] = &[
    "sans-serif",
    "serif",
    "monospace",
    "cursive",
    "fantasy",
    "system-ui",
    "ui-sans-serif",
    "ui-serif",
    "ui-monospace",
    "emoji",
    "math",
    "fangsong",
    "-apple-system",
    "blinkmacsystemfont",
];

/// Keywords of `font-family`, which are no families.
const KEYWORDS: &[&str] = &["inherit", "initial", "unset", "revert", "revert-layer"];

/// The family before a list that begins with a generic family.
const PRIMARY: &str = "Inter";

/// Characters of the embedded fonts. Others are drawn with the next family of a list.
const SUBSET: &str = "U+0000-00FF,U+0131,U+0152-0153,U+02BB-02BC,U+02C6,U+02DA,U+02DC,U+0304,U+0308,U+0329,U+2000-206F,U+2074,\
                      U+20AC,U+2122,U+2191,U+2193,U+2212,U+2215,U+FEFF,U+FFFD";

/// Most custom properties that are resolved one through the other.
const MAX_DEPTH: usize = 8;

type Properties = BTreeMap<String, String>;

/// Adds Inter before every list of families that begins with a generic one, as HyperFrames' compiler does.
pub(super) fn normalise(document: &Document) {
    let properties = properties(&[document]);
    let rewrite = |text: &str| {
        let declarations =
            css::read(text).declarations.into_iter().filter(|declaration| declaration.property != "font");
        let changes = declarations.filter_map(|declaration| {
            let value = with_primary(&declaration.value, &properties)?;
            Some((declaration.at..declaration.at + declaration.value.len(), value))
        });
        let changes: Vec<_> = changes.collect();
        (!changes.is_empty()).then(|| css::splice(text, changes))
    };
    for element in all(document, "*") {
        if element.has_name("style")
            && let Some(text) = rewrite(&raw_text(&element))
        {
            element.set_text(text.as_str());
        }
        if let Some(text) = element.attr("style").and_then(|style| rewrite(&style)) {
            element.set_attr("style", &text);
        }
        if let Some(text) = element.attr("data-font-family").and_then(|list| with_primary(&list, &properties)) {
            element.set_attr("data-font-family", &text);
        }
    }
}

/// The value with Inter before it, if it begins with a generic family.
fn with_primary(value: &str, properties: &Properties) -> Option<String> {
    if let Some(variable) = variable(value) {
        if properties.get(variable.name).is_some_and(|value| !value.is_empty()) {
            return None;
        }
        let fallback = with_primary(variable.fallback?, properties)?;
        return Some(format!("var({}, {fallback}){}", variable.name, variable.rest));
    }
    let first = families(value).into_iter().next()?.to_lowercase();
    GENERIC.contains(&first.as_str()).then(|| format!("{PRIMARY}, {}", value.trim()))
}

/// A value that begins with `var()`.
struct Variable<'a> {
    name: &'a str,
    fallback: Option<&'a str>,
    rest: &'a str,
}

fn variable(value: &str) -> Option<Variable<'_>> {
    let value = value.trim();
    if !value.get(..4)?.eq_ignore_ascii_case("var(") {
        return None;
    }
    let mut depth = 0usize;
    for (index, c) in value.char_indices() {
        match c {
            '(' => depth += 1,
            ')' => depth = depth.saturating_sub(1),
            _ => continue,
        }
        if depth == 0 {
            let inner = &value[4..index];
            let (name, fallback) = inner.split_once(',').map_or((inner, None), |(name, rest)| (name, Some(rest)));
            let name = name.trim();
            return name.starts_with("--").then_some(Variable { name, fallback, rest: &value[index + 1..] });
        }
    }
    None
}

/// `style` elements and attributes of the documents.
fn styles(documents: &[&Document]) -> Vec<String> {
    let mut found = Vec::new();
    for element in documents.iter().flat_map(|document| all(document, "*")) {
        if element.has_name("style") {
            found.push(raw_text(&element));
        }
        found.extend(element.attr("style").map(|text| text.to_string()));
    }
    found
}

/// The custom properties of the documents.
fn properties(documents: &[&Document]) -> Properties {
    let declarations = styles(documents).into_iter().flat_map(|text| css::read(&text).declarations);
    declarations
        .filter(|d| d.property.starts_with("--"))
        .map(|Declaration { property, value, .. }| (property, value))
        .collect()
}

/// The families of a value, with a custom property at its beginning resolved.
fn resolved(value: &str, properties: &Properties, depth: usize) -> Vec<String> {
    let listed = families(value);
    let Some(variable) = variable(value).filter(|_| depth < MAX_DEPTH) else { return listed };
    let source = properties.get(variable.name).map(String::as_str).filter(|value| !value.is_empty());
    let Some(source) = source.or(variable.fallback) else { return listed };
    let mut found = resolved(source, properties, depth + 1);
    if !found.is_empty() {
        found.extend(listed.into_iter().skip(1));
    }
    found
}

/// Values of variables of the type `font`: the declared defaults and those of the render.
fn of_variables(documents: &[&Document], variables: &str) -> Vec<String> {
    let given: Value = serde_json::from_str(variables).unwrap_or_default();
    let mut found = Vec::new();
    for element in documents.iter().flat_map(|document| all(document, "*")) {
        let Some(text) = element.attr("data-composition-variables") else { continue };
        let Ok(Value::Array(declared)) = serde_json::from_str::<Value>(&text) else { continue };
        for variable in declared.iter().filter(|variable| variable.get("type").and_then(Value::as_str) == Some("font"))
        {
            let id = variable.get("id").and_then(Value::as_str).unwrap_or_default();
            for value in [variable.get("default"), given.get(id)].into_iter().flatten() {
                let name = value.as_str().or_else(|| value.get("family").or_else(|| value.get("name"))?.as_str());
                found.extend(name.map(families).unwrap_or_default());
            }
        }
    }
    found
}

/// Families that style sheets and scripts of a project name.
#[derive(Debug, Default)]
pub(super) struct NamedFamilies {
    /// Those that they declare, in lower case.
    declared: BTreeSet<String>,
    /// Those that sheets use.
    of_sheets: Vec<String>,
    /// Those that texts in scripts seem to use.
    of_scripts: Vec<String>,
}

impl NamedFamilies {
    /// Adds those of a style sheet.
    pub(super) fn add_sheet(&mut self, text: &str) {
        let sheet = css::read(text);
        self.declared.extend(sheet.faces.iter().map(|family| family.to_lowercase()));
        let properties: Properties = sheet
            .declarations
            .iter()
            .filter(|declaration| declaration.property.starts_with("--"))
            .map(|declaration| (declaration.property.clone(), declaration.value.clone()))
            .collect();
        self.of_sheets.extend(sheet.declarations.iter().flat_map(|declaration| used_by(declaration, &properties)));
    }

    /// Adds those of a script: `new FontFace("X", …)`, and the texts that are values of `font` or `font-family`, as of
    /// a canvas.
    pub(super) fn add_script(&mut self, text: &str) {
        for (before, literal) in literals(text) {
            let before = before.trim_end();
            if before.ends_with("FontFace(") {
                self.declared.insert(literal.to_lowercase());
            } else if let Some(list) = css::families_of_shorthand(literal) {
                self.of_scripts.extend(families(list));
            } else if before.trim_end_matches([':', '=', ' ', '"', '\'']).ends_with("fontFamily") {
                self.of_scripts.extend(families(literal));
            }
        }
    }
}

/// The texts between quotes in a script that are no longer than a value of `font`, each with what stands before it.
fn literals(text: &str) -> Vec<(&str, &str)> {
    const LONGEST: usize = 120;
    let (mut found, mut from) = (Vec::new(), 0);
    while let Some(open) = text[from..].find(['"', '\'', '`']).map(|at| from + at) {
        let quote = &text[open..=open];
        let rest = &text[open + 1..];
        let end = rest.find(|c: char| c == '\n' || quote.starts_with(c));
        match end.filter(|end| *end <= LONGEST && rest[*end..].starts_with(quote)) {
            Some(end) => {
                found.push((&text[..open], &rest[..end]));
                from = open + end + 2;
            }
            // An apostrophe of a comment, or a long text: what is inside may be a text too.
            None => from = open + 1,
        }
    }
    found
}

/// The families that a declaration uses.
fn used_by(declaration: &Declaration, properties: &Properties) -> Vec<String> {
    match declaration.property.as_str() {
        "font-family" => resolved(&declaration.value, properties, 0),
        "font" => {
            css::families_of_shorthand(&declaration.value).map(|list| resolved(list, properties, 0)).unwrap_or_default()
        }
        _ => Vec::new(),
    }
}

/// Font rules for every family that the documents use and do not declare, as HTML for the head. `named` are the
/// families of style sheets and scripts; `variables` is the JSON object of the render's variables.
pub(super) fn head_for(
    documents: &[&Document],
    mut named: NamedFamilies,
    variables: &str,
    assets: &mut RemoteAssets,
    warnings: &mut Vec<Warning>,
) -> String {
    let properties = properties(documents);
    for script in documents.iter().flat_map(|document| all(document, "script:not([src])")) {
        named.add_script(&script.text());
    }
    let mut declared = named.declared;
    declared.extend(assets.declared_faces().iter().cloned());
    let mut used: BTreeMap<String, String> = BTreeMap::new();
    let mut add = |family: String| {
        used.entry(family.to_lowercase()).or_insert(family);
    };
    for text in styles(documents) {
        let sheet = css::read(&text);
        declared.extend(sheet.faces.iter().map(|family| family.to_lowercase()));
        for declaration in &sheet.declarations {
            used_by(declaration, &properties).into_iter().for_each(&mut add);
        }
    }
    for element in documents.iter().flat_map(|document| all(document, "*")) {
        if let Some(list) = element.attr("data-font-family") {
            resolved(&list, &properties, 0).into_iter().for_each(&mut add);
        }
    }
    of_variables(documents, variables).into_iter().for_each(&mut add);
    // Of sheets that may not be loaded, and of texts that may be no fonts, only those that the farm has.
    let services = assets.services();
    let is_known = |family: &String| is_known(family, services.fonts());
    let of_scripts: BTreeSet<String> = named.of_scripts.into_iter().filter(is_known).collect();
    named.of_sheets.into_iter().filter(is_known).chain(of_scripts.iter().cloned()).for_each(&mut add);
    let (mut rules, mut sheets) = (String::new(), String::new());
    for (lower, family) in used {
        let is_named =
            !lower.starts_with("var(") && !GENERIC.contains(&lower.as_str()) && !KEYWORDS.contains(&lower.as_str());
        if is_named && !declared.contains(&lower) {
            match source(&family, assets, warnings) {
                Some(Source::Rules(text)) => rules.push_str(&text),
                Some(Source::Sheet(path)) => sheets.push_str(&format!("<link rel=\"stylesheet\" href=\"{path}\">")),
                None => {}
            }
        }
    }
    if !rules.is_empty() {
        sheets.push_str(&format!("<style data-hyperfarm>{rules}</style>"));
    }
    if !of_scripts.is_empty() {
        // A canvas does not wait for its fonts, so they are loaded before the scripts of the body run.
        let names: Vec<String> = of_scripts.iter().map(|family| family.to_lowercase()).collect();
        let names = serde_json::json!(names).to_string().replace('<', "\\u003c");
        sheets.push_str(&format!(
            "<script data-hyperfarm>for(const face of document.fonts)if({names}.includes(face.family.replace(/[\"']/g,\"\")\
             .toLowerCase()))face.load().catch(()=>{{}})</script>"
        ));
    }
    sheets
}

/// The source of a font family.
enum Source {
    /// Font rules.
    Rules(String),
    /// Path of a style sheet.
    Sheet(String),
}

/// The source of a family: the operator's folder, the farm or Google Fonts, in this order; `None` for the machine's
/// fonts.
fn source(family: &str, assets: &mut RemoteAssets, warnings: &mut Vec<Warning>) -> Option<Source> {
    let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
    let services = assets.services();
    let faces = services.fonts();
    if has_family(faces, family) {
        let of_family = faces.iter().enumerate().filter(|(_, face)| face.family.eq_ignore_ascii_case(family));
        let rule = |(number, face): (usize, &FontFace)| {
            let path = assets.add_font(number)?;
            let style = if face.italic { "italic" } else { "normal" };
            Some(rule(family, style, &face.weight, &format!("url({path})"), ""))
        };
        return Some(Source::Rules(of_family.filter_map(rule).collect()));
    }
    if let Some(embedded) = embedded_family(family) {
        if !embedded.eq_ignore_ascii_case(family) {
            warn("FONT_SUBSTITUTED", format!("the font \"{family}\" is drawn with {embedded}"));
        }
        return Some(Source::Rules(embedded_rules(family, embedded)));
    }
    if let Some(path) = assets.google_sheet(family) {
        return Some(Source::Sheet(path));
    }
    let warning = missing_font(family, services.is_on_machine(family));
    warn(&warning.code, warning.message);
    None
}

/// The warning for a family that neither the project nor the farm has a face of. The machine may have one.
pub(crate) fn missing_font(family: &str, is_on_machine: bool) -> Warning {
    let (code, message) = if is_on_machine {
        (
            "FONT_OF_MACHINE",
            format!(
                "the font \"{family}\" is drawn with the worker's own file; add it by @font-face to be sure of the glyphs"
            ),
        )
    } else {
        (
            "FONT_UNKNOWN",
            format!(
                "the font \"{family}\" is neither in the project nor in the farm; the next family of its list is used. Add it by \
                 @font-face to be sure of the glyphs"
            ),
        )
    };
    Warning { code: code.to_owned(), message }
}

/// A `@font-face` rule.
fn rule(family: &str, style: &str, weight: &str, source: &str, range: &str) -> String {
    let family = family.replace(['"', '\\', '<'], "");
    format!(
        "@font-face{{font-family:\"{family}\";font-style:{style};font-weight:{weight};font-display:block;src:{source}{range}}}"
    )
}

/// Rules that draw `family` with the embedded family `embedded`.
fn embedded_rules(family: &str, embedded: &str) -> String {
    let range = format!(";unicode-range:{SUBSET}");
    let faces = FONTS.iter().filter(|face| face.family == embedded);
    faces
        .map(|face| {
            let source = format!("url({OWN_PREFIX}fonts/{}) format(\"woff2\")", face.file);
            rule(family, "normal", &face.weight.to_string(), &source, &range)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::cache::Cache;
    use crate::compile::services::LocalServices;
    use crate::remote::{Remote, RemoteConfig};

    fn head(html: &str, variables: &str) -> (String, String, Vec<Warning>) {
        let folder = tempfile::tempdir().unwrap();
        let cache = Arc::new(Cache::open(folder.path()).unwrap());
        let remote = Arc::new(Remote::new(RemoteConfig::default()).unwrap());
        let mut assets = RemoteAssets::new(Arc::new(LocalServices::new(remote, cache)));
        let document = Document::from(html);
        normalise(&document);
        let mut warnings = Vec::new();
        let head = head_for(&[&document], NamedFamilies::default(), variables, &mut assets, &mut warnings);
        (head, document.html().to_string(), warnings)
    }

    #[test]
    fn known_families_get_their_faces() {
        let (head, _, warnings) = head("<style>p{font-family:inter,sans-serif}</style>", "{}");
        assert_eq!(head.matches("@font-face").count(), 3);
        assert!(head.contains("inter-latin-900-normal.woff2") && head.contains("unicode-range:U+0000-00FF"));
        assert!(warnings.is_empty());
    }

    #[test]
    fn families_come_from_styles_attributes_and_variables() {
        let html = "<div data-composition-variables='[{\"id\":\"f\",\"type\":\"font\",\"default\":\"Lato\"}]'></div><style>:root{--h: Oswald}\
                    a:hover{color:red;font-family:var(--h), x} b{font:12px Poppins}</style><p style='font-family:\"Space Mono\"'></p>\
                    <template><i data-font-family=\"Outfit\"></i></template><script>s.fontFamily = 'Nunito'</script>";
        let (head, _, _) = head(html, r#"{"f":"Montserrat"}"#);
        for family in ["Lato", "Oswald", "Space Mono", "Outfit", "Montserrat", "Poppins", "Nunito"] {
            assert!(head.contains(&format!("\"{family}\"")), "{family} in {head}");
        }
    }

    #[test]
    fn families_of_scripts_are_those_that_the_farm_has() {
        let html = "<style>p{font:700 64px Inter}</style><script>x.font = `${weight} 20px \"Roboto\", sans-serif`; border = '1px solid red';\
                    new FontFace('Oswald', 'url(o.woff2)'); y.font = '12px Oswald'; // it's\nz.font = \"bold 3em Lato\"</script>";
        let (head, _, warnings) = head(html, "{}");
        for family in ["Inter", "Roboto", "Lato"] {
            assert!(head.contains(&format!("font-family:\"{family}\"")), "{family} in {head}");
        }
        assert!(!head.contains("solid") && !head.contains("font-family:\"Oswald\""), "{head}");
        // Faces of the page's own sheets are loaded too, for its canvases.
        assert!(head.contains("[\"lato\",\"oswald\",\"roboto\"].includes"), "{head}");
        assert!(warnings.is_empty(), "{warnings:?}");
    }

    #[test]
    fn inter_comes_before_a_generic_family() {
        let (head, html, _) = head(
            "<style>:root{--g:monospace;--d:1}p{font-family:system-ui, Arial}q{font-family:var(--no, serif)}</style><b style=\"color:red;\
             font-family:cursive\"></b><i style='font-family:Lato, serif'></i>",
            "{}",
        );
        for text in [
            "--g:Inter, monospace",
            "p{font-family:Inter, system-ui, Arial}",
            "var(--no, Inter, serif)",
            "font-family:Inter, cursive",
            "Lato, serif",
        ] {
            assert!(html.contains(text), "{text} in {html}");
        }
        assert!(head.contains("font-family:\"Inter\"") && !html.contains("Inter, Lato"));
    }

    #[test]
    fn system_families_are_substituted_under_their_own_name() {
        let (head, _, warnings) = head("<style>p{font-family:'Helvetica Neue', Arial}</style>", "{}");
        assert!(head.contains("\"Helvetica Neue\"") && head.contains("inter-latin"));
        assert!(warnings.iter().any(|warning| warning.message.contains("Helvetica Neue")));
    }

    #[test]
    fn families_that_the_page_declares_are_not_changed() {
        let (head, _, warnings) =
            head("<style>@font-face{font-family:Inter;src:url(i.woff2)} p{font-family:Inter}</style>", "{}");
        assert!(head.is_empty() && warnings.is_empty(), "{head}");
    }

    #[test]
    fn unknown_families_are_named() {
        let (head, _, warnings) = head("<style>p{font-family: Zapfino}</style>", "{}");
        assert!(head.is_empty());
        assert!(warnings[0].code == "FONT_UNKNOWN" && warnings[0].message.contains("Zapfino"));
    }
}
