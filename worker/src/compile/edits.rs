//! Edits of HyperFrames' studio, which are stored in attributes: offsets, sizes, rotations and motions of elements.

use dom_query::Document;

use super::dom::{all, body, raw_element};
use crate::assets::OWN_PREFIX;

const EDITED: &str = "[data-hf-studio-path-offset=\"true\"], [data-hf-studio-box-size=\"true\"], \
    [data-hf-studio-rotation=\"true\"], [data-hf-studio-motion]";

/// Adds the script that applies edits after each seek, because animations write to the same properties, to a page that
/// has any.
pub(super) fn apply(document: &Document) {
    if all(document, EDITED).is_empty() {
        return;
    }
    if let Some(body) = body(document) {
        let script = raw_element(document, "script", "");
        script.set_attr("src", &format!("{OWN_PREFIX}edits.js"));
        body.append_child(&script);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_edited_pages_get_the_script() {
        for (page, edited) in [("<p data-hf-studio-rotation=true>", true), ("<p data-hf-studio-rotation=false>", false)]
        {
            let document = Document::from(page);
            apply(&document);
            assert_eq!(document.html().contains("edits.js"), edited);
        }
    }
}
