//! The font table: the embedded family that draws a family.

use crate::assets::FONTS;
use crate::compile::services::{FontFace, has_family};

/// Embedded families, with the system families that they replace.
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

/// Whether the farm has the family, or a replacement. `operator` are the faces of the operator's folder.
pub(super) fn is_known(family: &str, operator: &[FontFace]) -> bool {
    embedded_family(family).is_some() || has_family(operator, family)
}

/// The embedded family that draws this one.
pub(super) fn embedded_family(family: &str) -> Option<&'static str> {
    let known = FONTS.iter().find(|face| face.family.eq_ignore_ascii_case(family)).map(|face| face.family);
    known.or_else(|| {
        let substitute =
            SUBSTITUTES.iter().find(|(_, names)| names.iter().any(|name| name.eq_ignore_ascii_case(family)));
        substitute.map(|(embedded, _)| *embedded)
    })
}
