//! Fonts: known families are drawn with the same embedded files everywhere, whatever the machine has.
//!
//! A family that the project declares itself by `@font-face` is left alone. Common system families are drawn with the nearest
//! embedded one, under their own name, and the person is told.

use std::collections::{BTreeMap, BTreeSet};

use hyperfarm_proto::plan::Warning;

use crate::assets::FONTS;
use crate::server::OWN_PREFIX;

/// System families and what draws them.
const SUBSTITUTES: &[(&str, &[&str])] = &[
    (
        "Inter",
        &[
            "Helvetica",
            "Helvetica Neue",
            "Helvetica Bold",
            "Arial",
            "SF Pro",
            "SF Pro Display",
            "SF Pro Text",
            "SF Pro Rounded",
            "Avenir",
            "Avenir Next",
            "Lucida Grande",
            "Geneva",
            "Optima",
            "Verdana",
            "Tahoma",
            "Trebuchet MS",
            "Calibri",
            "Candara",
            "Corbel",
            "Lucida Sans",
            "Lucida Sans Unicode",
            "Noto Sans",
            "DejaVu Sans",
            "Liberation Sans",
        ],
    ),
    ("Montserrat", &["Futura", "DIN Alternate", "Arial Black"]),
    ("League Gothic", &["Bebas Neue"]),
    ("Roboto", &["Segoe UI"]),
    ("Noto Sans JP", &["Noto Sans Japanese"]),
    (
        "JetBrains Mono",
        &[
            "Courier",
            "Courier New",
            "SF Mono",
            "Menlo",
            "Monaco",
            "Consolas",
            "Lucida Console",
            "Lucida Sans Typewriter",
            "Andale Mono",
            "DejaVu Sans Mono",
            "Liberation Mono",
        ],
    ),
    (
        "EB Garamond",
        &[
            "Garamond",
            "Georgia",
            "Palatino",
            "Palatino Linotype",
            "Book Antiqua",
            "Cambria",
            "Times",
            "Times New Roman",
            "DejaVu Serif",
            "Liberation Serif",
        ],
    ),
];

/// Families that name a kind and not a font.
const GENERIC: &[&str] = &[
    "serif",
    "sans-serif",
    "monospace",
    "cursive",
    "fantasy",
    "system-ui",
    "ui-serif",
    "ui-sans-serif",
    "ui-monospace",
    "ui-rounded",
    "-apple-system",
    "blinkmacsystemfont",
    "emoji",
    "math",
    "inherit",
    "initial",
    "unset",
    "revert",
];

/// `@font-face` rules for every known family that the project uses and does not declare.
pub(super) fn rules_for(texts: &BTreeMap<String, String>, warnings: &mut Vec<Warning>) -> String {
    let mut used = BTreeSet::new();
    let mut declared = BTreeSet::new();
    for text in texts.values() {
        collect(text, &mut used, &mut declared);
    }
    let mut rules = String::new();
    for family in used.iter().filter(|family| !declared.contains(&family.to_lowercase())) {
        let lower = family.to_lowercase();
        if GENERIC.contains(&lower.as_str()) {
            continue;
        }
        let known = FONTS.iter().find(|face| face.family.eq_ignore_ascii_case(family)).map(|face| face.family);
        let substitute = SUBSTITUTES
            .iter()
            .find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(family)))
            .map(|(drawn_with, _)| *drawn_with);
        match known.or(substitute) {
            Some(drawn_with) => {
                if known.is_none() {
                    warnings.push(Warning {
                        code: "FONT_SUBSTITUTED".to_owned(),
                        message: format!("the font \"{family}\" is drawn with {drawn_with}"),
                    });
                }
                rules.push_str(&faces(family, drawn_with));
            }
            None => warnings.push(Warning {
                code: "FONT_UNKNOWN".to_owned(),
                message: format!(
                    "the font \"{family}\" is neither in the project nor in the farm; the next family of its list is used. \
                     Add it by @font-face to be sure of the glyphs"
                ),
            }),
        }
    }
    rules
}

fn faces(family: &str, drawn_with: &str) -> String {
    FONTS
        .iter()
        .filter(|face| face.family == drawn_with)
        .map(|face| {
            format!(
                "@font-face{{font-family:\"{family}\";font-style:normal;font-weight:{};font-display:block;\
                 src:url({OWN_PREFIX}fonts/{}) format(\"woff2\")}}",
                face.weight, face.file
            )
        })
        .collect()
}

/// Families in `font-family` declarations, attributes and properties of scripts; those inside `@font-face` are declared ones.
fn collect(text: &str, used: &mut BTreeSet<String>, declared: &mut BTreeSet<String>) {
    let lower = text.to_ascii_lowercase();
    let mut faces = Vec::new();
    let mut from = 0;
    while let Some(at) = lower[from..].find("@font-face").map(|at| at + from) {
        let end = lower[at..].find('}').map_or(lower.len(), |end| at + end);
        faces.push(at..end);
        from = end;
    }
    for name in ["font-family", "fontfamily"] {
        for (at, _) in lower.match_indices(name) {
            let inside_face = faces.iter().any(|face| face.contains(&at));
            for family in families(&text[at + name.len()..]) {
                if inside_face {
                    declared.insert(family.to_lowercase());
                } else {
                    used.insert(family);
                }
            }
        }
    }
}

/// The families of a list that begins after `:` or `=`: bare or quoted names between commas, up to the first thing that is neither.
/// Where the whole list is quoted, as in an attribute or a script, the quotes inside are of the other kind.
fn families(text: &str) -> Vec<String> {
    let text = text.trim_start().trim_start_matches(['"', '\'']).trim_start();
    let Some(list) = text.strip_prefix(':').or_else(|| text.strip_prefix('=')) else { return Vec::new() };
    let mut rest = list.trim_start();
    if let Some(quote) = rest.chars().next().filter(|first| ['"', '\'', '`'].contains(first)) {
        let inner = &rest[1..];
        let quoted = &inner[..inner.find(quote).unwrap_or(inner.len())];
        if quoted.contains(',') || quoted.contains(['"', '\'']) {
            rest = quoted;
        }
    }
    let mut found = Vec::new();
    loop {
        rest = rest.trim_start();
        let name;
        if let Some(quote) = rest.chars().next().filter(|first| ['"', '\'', '`'].contains(first)) {
            let inner = &rest[1..];
            let Some(end) = inner.find(quote) else { break };
            name = &inner[..end];
            rest = inner[end + 1..].trim_start();
        } else {
            let end = rest
                .find(|c: char| !(c.is_alphanumeric() || [' ', '-', '_', '.', '+'].contains(&c)))
                .unwrap_or(rest.len());
            name = &rest[..end];
            rest = &rest[end..];
            // A function such as var(--font) is not a name.
            if rest.starts_with('(') {
                break;
            }
        }
        let name = name.trim();
        if !name.is_empty() && name.len() <= 60 && !name.contains(['$', '{', '<', ';', ':']) {
            found.push(name.to_owned());
        }
        match rest.strip_prefix(',') {
            Some(after) => rest = after,
            None => break,
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules(text: &str) -> (String, Vec<Warning>) {
        let mut warnings = Vec::new();
        let rules = rules_for(&BTreeMap::from([("a.css".to_owned(), text.to_owned())]), &mut warnings);
        (rules, warnings)
    }

    #[test]
    fn families_are_read_from_every_usual_form() {
        assert_eq!(families(": \"Inter\", sans-serif;"), ["Inter", "sans-serif"]);
        assert_eq!(families(":Inter}"), ["Inter"]);
        assert_eq!(families("=\"Open Sans, Arial\">"), ["Open Sans", "Arial"]);
        assert_eq!(families(": 'Space Mono', monospace\""), ["Space Mono", "monospace"]);
        assert_eq!(families(": \"'Lato', serif\" }"), ["Lato", "serif"]);
        assert_eq!(families(":Zapfino\">x</p>"), ["Zapfino"]);
        assert_eq!(families(": Lato !important;"), ["Lato"]);
        assert_eq!(families(": var(--font);"), Vec::<String>::new());
    }

    #[test]
    fn known_families_get_their_faces() {
        let (rules, warnings) = rules("p{font-family:Inter,sans-serif}");
        assert_eq!(rules.matches("@font-face").count(), 3);
        assert!(rules.contains("inter-latin-900-normal.woff2"));
        assert!(warnings.is_empty());
    }

    #[test]
    fn system_families_are_substituted_under_their_own_name() {
        let (rules, warnings) = rules("p{font-family:'Helvetica Neue', Arial}");
        assert!(rules.contains("\"Helvetica Neue\"") && rules.contains("inter-latin"));
        assert!(warnings.iter().any(|warning| warning.message.contains("Helvetica Neue")));
    }

    #[test]
    fn what_the_project_declares_is_left_alone() {
        let (rules, warnings) = rules("@font-face{font-family:Inter;src:url(i.woff2)} p{font-family:Inter}");
        assert!(rules.is_empty() && warnings.is_empty());
    }

    #[test]
    fn unknown_families_are_named() {
        let (rules, warnings) = rules("p{font-family: Zapfino}");
        assert!(rules.is_empty());
        assert!(warnings[0].message.contains("Zapfino"));
    }
}
