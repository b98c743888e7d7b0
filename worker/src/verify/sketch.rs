//! A sketch of a page: its elements with their boxes and styles, as the page reports them.

use std::collections::BTreeMap;

use serde::Deserialize;

/// An element of a page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
pub(super) struct Element {
    /// CSS selector; ` >>> ` leads into a frame or a shadow tree.
    pub(super) name: String,
    /// Name of its tag.
    pub(super) tag: String,
    /// Index of its parent, −1 for the root.
    pub(super) parent: i64,
    /// Left, top, width and height in CSS pixels of the page.
    #[serde(rename = "box")]
    pub(super) area: [f64; 4],
    /// Whether it has a box and is not hidden.
    pub(super) shown: bool,
    /// Its own text, without that of its children.
    pub(super) text: String,
    /// Properties of its `style` attribute.
    pub(super) inline: BTreeMap<String, String>,
    /// Computed styles that are compared.
    #[serde(rename = "looks")]
    pub(super) computed: BTreeMap<String, String>,
    /// Attributes without `style` and `id`.
    pub(super) attributes: BTreeMap<String, String>,
}

impl Element {
    /// Index of its parent.
    pub(super) fn parent(&self) -> Option<usize> {
        usize::try_from(self.parent).ok()
    }
}

/// The elements of a page, parents before their children.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub(super) struct Sketch {
    /// Elements in document order.
    pub(super) elements: Vec<Element>,
    /// Number of random numbers that the page has used so far.
    #[serde(rename = "lots")]
    pub(super) random_numbers: u64,
}
