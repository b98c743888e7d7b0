//! What a page shows, element by element, as the page itself says it.

use std::collections::BTreeMap;

use serde::Deserialize;

/// One element.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Element {
    /// CSS selector; ` >>> ` leads into a frame or a shadow tree.
    pub(super) name: String,
    /// Tag.
    pub(super) tag: String,
    /// Index of its parent, −1 for the root.
    pub(super) parent: i64,
    /// Left, top, width and height in CSS pixels of the page.
    #[serde(rename = "box")]
    pub(super) area: [f64; 4],
    /// Whether it has a box and is not hidden.
    pub(super) shown: bool,
    /// Text of its own.
    pub(super) text: String,
    /// Its `style`.
    pub(super) inline: BTreeMap<String, String>,
    /// Computed style, as far as it is looked at.
    pub(super) looks: BTreeMap<String, String>,
    /// Attributes without `style` and `id`.
    pub(super) attributes: BTreeMap<String, String>,
}

impl Element {
    /// Index of its parent.
    pub(super) fn parent(&self) -> Option<usize> {
        usize::try_from(self.parent).ok()
    }
}

/// All elements of a page, parents before their children.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Sketch {
    /// In document order.
    pub(super) elements: Vec<Element>,
    /// Random numbers that the page has drawn so far.
    pub(super) lots: u64,
}
