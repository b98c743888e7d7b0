//! Variables of compositions: they are checked against their declarations and passed to style sheets.

use std::collections::BTreeMap;

use dom_query::{Document, NodeRef};
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::RenderSpec;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::css;
use super::dom::{all, attr, head, raw_element, trimmed, within};
use super::selector;
use crate::error::ProjectError;

const DECLARATIONS: &str = "data-composition-variables";
const VALUES: &str = "data-variable-values";

/// A variable that `data-composition-variables` declares.
#[derive(Debug, Deserialize)]
struct Declaration {
    id: String,
    #[serde(rename = "type", default)]
    kind: String,
    #[serde(default)]
    options: Vec<Value>,
}

/// Default values that an element declares.
pub(super) fn defaults(element: NodeRef<'_>) -> Map<String, Value> {
    let Some(Ok(Value::Array(entries))) = attr(element, DECLARATIONS).map(|text| serde_json::from_str(&text)) else {
        return Map::new();
    };
    let entry = |entry: &Value| Some((entry.get("id")?.as_str()?.to_owned(), entry.get("default")?.clone()));
    entries.iter().filter_map(entry).collect()
}

/// Values that a host sets for the composition inside.
pub(super) fn host_values(host: NodeRef<'_>) -> Map<String, Value> {
    match attr(host, VALUES).map(|text| serde_json::from_str(&text)) {
        Some(Ok(Value::Object(values))) => values,
        _ => Map::new(),
    }
}

/// Warns of declarations and values that are not valid JSON of the right type. They are ignored.
pub(super) fn warn_of_invalid_json(document: &Document, file: &str, warnings: &mut Vec<Warning>) {
    for (name, shape) in [(DECLARATIONS, "a list of variables"), (VALUES, "an object of values")] {
        for element in all(document, &format!("[{name}]")) {
            let text = attr(element, name).unwrap_or_default();
            let parsed = serde_json::from_str::<Value>(&text);
            let fits =
                parsed.as_ref().is_ok_and(|value| if name == VALUES { value.is_object() } else { value.is_array() });
            if !fits {
                let problem = parsed.err().map(|error| format!(": {error}")).unwrap_or_default();
                warnings.push(Warning {
                    code: "VARIABLES_DECLARATION_INVALID".to_owned(),
                    message: format!("{name} in {file} is not {shape}, and was ignored{problem}"),
                });
            }
        }
    }
}

/// The variables of the request, checked against the declarations of the entry page, whose path is `composition`.
pub(super) fn check(
    spec: &RenderSpec,
    document: &Document,
    composition: &str,
    warnings: &mut Vec<Warning>,
) -> Result<Map<String, Value>, ProjectError> {
    let Some(text) = spec.variables.as_deref() else { return Ok(Map::new()) };
    let given: Value =
        serde_json::from_str(text).map_err(|error| invalid(format!("the variables are no JSON: {error}")))?;
    let Value::Object(given) = given else {
        return Err(invalid(format!(
            "the variables must be one JSON object such as {{\"title\":\"Hello\"}}, not {given}"
        )));
    };
    let declared: Vec<Declaration> = all(document, &format!("[{DECLARATIONS}]"))
        .into_iter()
        .filter_map(|element| serde_json::from_str::<Vec<Value>>(&attr(element, DECLARATIONS)?).ok())
        .flatten()
        .filter_map(|entry| serde_json::from_value(entry).ok())
        .collect();
    for (name, value) in &given {
        let problem = match declared.iter().find(|variable| &variable.id == name) {
            None => Some((
                "VARIABLE_UNDECLARED",
                format!("{composition} declares no variable `{name}` in data-composition-variables"),
            )),
            Some(variable) => mismatch(variable, value).map(|expected| {
                (
                    "VARIABLE_MISTYPED",
                    format!("variable `{name}` of {composition} should be {expected}, and {value} was given"),
                )
            }),
        };
        match problem {
            Some((_, message)) if spec.strict_variables => return Err(invalid(message)),
            Some((code, message)) => warnings.push(Warning { code: code.to_owned(), message }),
            None => {}
        }
    }
    Ok(given)
}

/// The type that the variable should have, where `value` does not have it.
fn mismatch(variable: &Declaration, value: &Value) -> Option<String> {
    let text_in = |name: &str| value.get(name).is_some_and(Value::is_string);
    let (fits, expected) = match variable.kind.as_str() {
        "string" => (value.is_string(), "a string"),
        "color" => (value.as_str().is_some_and(is_color), "a CSS colour such as \"#1e90ff\""),
        "number" => (value.is_number(), "a number"),
        "boolean" => (value.is_boolean(), "a boolean"),
        "font" => {
            (value.is_string() || text_in("name") && text_in("source"), "a font: a string, or {\"name\", \"source\"}")
        }
        "image" => (value.is_string() || text_in("url"), "an image: a string, or {\"url\"}"),
        "enum" => {
            let allowed = |option: &Value| option == value || option.get("value") == Some(value);
            if variable.options.is_empty() || variable.options.iter().any(allowed) {
                return None;
            }
            let values = variable.options.iter().map(|option| option.get("value").unwrap_or(option).to_string());
            return Some(format!("one of {}", values.collect::<Vec<_>>().join(", ")));
        }
        _ => (true, ""),
    };
    (!fits).then(|| expected.to_owned())
}

/// Whether the text has the form of a CSS colour. Arguments of functions are not checked.
fn is_color(text: &str) -> bool {
    const FUNCTIONS: &[&str] = &[
        "rgb",
        "rgba",
        "hsl",
        "hsla",
        "hwb",
        "lab",
        "lch",
        "oklab",
        "oklch",
        "color",
        "color-mix",
        "light-dark",
        "var",
    ];
    let text = text.trim();
    if let Some(digits) = text.strip_prefix('#') {
        return cssparser::color::parse_hash_color(digits.as_bytes()).is_ok();
    }
    if let Some((name, rest)) = text.split_once('(') {
        return rest.ends_with(')') && FUNCTIONS.iter().any(|function| name.eq_ignore_ascii_case(function));
    }
    cssparser::color::parse_named_color(text).is_ok()
        || text.eq_ignore_ascii_case("transparent")
        || text.eq_ignore_ascii_case("currentcolor")
}

/// Adds a style sheet in which variables are custom properties, to be read as `var(--id)`: those of a mount on its
/// host, those of the page on the elements that declare them. A property that a sheet of the author defines keeps that
/// value unless the request sets one.
pub(super) fn emit_styles(
    document: &Document,
    mounts: &BTreeMap<String, Map<String, Value>>,
    overrides: &Map<String, Value>,
) {
    let sheets: String = all(document, "style").into_iter().map(|style| style.text().to_string() + "\n").collect();
    let authored = |id: &str| css::defines(&sheets, &property(id));
    let mut rules = Vec::new();
    for (id, values) in mounts {
        let mut properties: Map<String, Value> =
            values.iter().filter(|(id, _)| !authored(id)).map(|(id, value)| (id.clone(), value.clone())).collect();
        properties.extend(
            overrides.iter().filter(|(id, _)| values.contains_key(*id)).map(|(id, value)| (id.clone(), value.clone())),
        );
        rules.extend(rule(&selector::of_composition(id), &properties));
    }
    let layer = |declared: &Map<String, Value>, given: &Map<String, Value>| {
        let mut properties: Map<String, Value> =
            declared.iter().filter(|(id, _)| !authored(id)).map(|(id, value)| (id.clone(), value.clone())).collect();
        for (values, also) in [(given, None), (overrides, Some(given))] {
            let known = |id: &String| declared.contains_key(id) || also.is_some_and(|also| also.contains_key(id));
            properties.extend(values.iter().filter(|(id, _)| known(id)).map(|(id, value)| (id.clone(), value.clone())));
        }
        properties
    };
    if let Some(html) = within(document.root(), "html").into_iter().next() {
        rules.extend(rule(":root", &layer(&defaults(html), &Map::new())));
    }
    let mut number = 0;
    for element in all(document, &format!("[{DECLARATIONS}]")) {
        let host = element.ancestors_it(None).find(|parent| parent.has_attr(VALUES));
        let properties = layer(&defaults(element), &host.map(host_values).unwrap_or_default());
        if properties.is_empty() {
            continue;
        }
        number += 1;
        element.set_attr("data-hf-var-scope", &number.to_string());
        rules.extend(rule(&format!("[data-hf-var-scope=\"{number}\"]"), &properties));
    }
    if rules.is_empty() {
        return;
    }
    if let Some(head) = head(document) {
        let style = raw_element(document, "style", &rules.join("\n"));
        style.set_attr("data-hf-composition-variables", "");
        head.append_child(&style);
    }
}

/// The source that `data-var-src` gets from its variable, by the rules of the runtime.
pub(super) fn bound_source(
    element: NodeRef<'_>,
    mounts: &BTreeMap<String, Map<String, Value>>,
    overrides: &Map<String, Value>,
) -> Option<String> {
    let name = trimmed(element, "data-var-src")?;
    let text = |value: &Value| {
        let value = value.get("url").unwrap_or(value);
        value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    for parent in element.ancestors_it(None) {
        let mount = trimmed(parent, "data-composition-id").and_then(|id| mounts.get(&id)?.get(&name).cloned());
        if let Some(value) = mount {
            return text(&value);
        }
        if let Some(value) = defaults(parent).get(&name) {
            return text(overrides.get(&name).unwrap_or(value));
        }
    }
    overrides.get(&name).and_then(text)
}

/// A style rule with `values` as custom properties; `None` without any.
fn rule(selector: &str, values: &Map<String, Value>) -> Option<String> {
    let lines: Vec<String> = values
        .iter()
        .filter_map(|(id, value)| {
            let text = match value {
                Value::String(text) if !text.is_empty() => text.clone(),
                Value::Number(number) => {
                    number.as_f64().map_or_else(|| number.to_string(), |number| number.to_string())
                }
                _ => return None,
            };
            // Without characters that could end the declaration or the style element.
            let text = text.replace([';', '{', '}', '<', '>', '\r', '\n'], "");
            Some(format!("{}:{text};", property(id)))
        })
        .collect();
    (!lines.is_empty()).then(|| format!("{selector}{{{}}}", lines.concat()))
}

/// The name of the custom property of a variable: `Brand Color` is `--brand-color`.
fn property(id: &str) -> String {
    let words = id.to_lowercase();
    let words: Vec<&str> = words.split(|c: char| !c.is_ascii_alphanumeric()).filter(|word| !word.is_empty()).collect();
    if words.is_empty() { "--node".to_owned() } else { format!("--{}", words.join("-")) }
}

fn invalid(text: String) -> ProjectError {
    ProjectError::Variables(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: &str = r##"<html data-composition-variables='[{"id":"title","type":"string","default":"Hi"},{"id":"n","type":"number"},
        {"id":"mood","type":"enum","options":["calm",{"value":"loud","label":"Loud"}]}]'><body>
        <div data-composition-variables='[{"id":"ink","type":"color","default":"#111"},{"id":"face","type":"font"},
        {"id":"logo","type":"image"},{"id":"on","type":"boolean"}]'></div></body></html>"##;

    fn run(variables: &str, strict: bool) -> Result<(String, Vec<Warning>), ProjectError> {
        let spec =
            RenderSpec { variables: Some(variables.to_owned()), strict_variables: strict, ..RenderSpec::default() };
        let mut warnings = Vec::new();
        let document = Document::from(PAGE);
        check(&spec, &document, "index.html", &mut warnings).map(|values| (Value::Object(values).to_string(), warnings))
    }

    #[test]
    fn valid_values_give_no_warning() {
        let (text, warnings) = run(r#"{"title":"x","n":1.5,"mood":"loud"}"#, true).unwrap();
        assert_eq!(text, r#"{"mood":"loud","n":1.5,"title":"x"}"#);
        assert!(warnings.is_empty());
        for fits in [
            r##"{"ink":"#1e90ffcc"}"##,
            r#"{"ink":"rebeccapurple"}"#,
            r#"{"ink":"oklch(60% 0.1 20)"}"#,
            r#"{"face":"Inter"}"#,
            r#"{"face":{"name":"Inter","source":"google"}}"#,
            r#"{"logo":{"url":"a.png"}}"#,
            r#"{"on":false}"#,
        ] {
            assert!(run(fits, true).unwrap().1.is_empty(), "{fits}");
        }
    }

    #[test]
    fn invalid_values_give_a_warning_or_in_strict_mode_an_error() {
        for (variables, named) in [
            (r#"{"other":1}"#, "other"),
            (r#"{"n":"1"}"#, "a number"),
            (r#"{"mood":"sad"}"#, "\"calm\", \"loud\""),
            (r##"{"ink":"#12"}"##, "a CSS colour"),
            (r#"{"ink":"bleu"}"#, "a CSS colour"),
            (r#"{"face":{"name":"x"}}"#, "a font"),
            (r#"{"logo":{}}"#, "an image"),
            (r#"{"on":"yes"}"#, "a boolean"),
            (r#"{"title":1}"#, "a string"),
        ] {
            let warned = run(variables, false).unwrap().1[0].message.clone();
            assert!(warned.contains(named) && warned.contains("index.html"), "{warned}");
            assert_eq!(run(variables, true).unwrap_err().to_string(), warned);
        }
        assert!(run("{broken", false).unwrap_err().to_string().contains("no JSON"));
        assert!(run("[1]", false).unwrap_err().to_string().contains("one JSON object"));
    }

    #[test]
    fn values_are_readable_by_style_sheets() {
        let document =
            Document::from(PAGE.replace("<body>", "<head><style>:root{--title: authored}</style></head><body>"));
        let mount =
            Map::from_iter([("Brand Color".to_owned(), Value::from("red;}")), ("n".to_owned(), Value::from(2.0))]);
        let mounts = BTreeMap::from([("card".to_owned(), mount)]);
        let overrides = Map::from_iter([("n".to_owned(), Value::from(7)), ("ink".to_owned(), Value::from("blue"))]);
        emit_styles(&document, &mounts, &overrides);
        let text = all(&document, "style[data-hf-composition-variables]")[0].text().to_string();
        assert_eq!(
            text,
            "[data-composition-id=\"card\"]{--brand-color:red;--n:7;}\n[data-hf-var-scope=\"1\"]{--ink:blue;}"
        );
    }
}
