//! The document tree, with the content of `<template>` elements, which selectors do not match.

use dom_query::{Document, NodeRef, Selection};

/// All matching elements, those inside templates after those outside.
pub(super) fn all<'a>(document: &'a Document, selector: &str) -> Vec<NodeRef<'a>> {
    all_within(document.root(), selector)
}

/// Matching elements below `node`, without the content of templates.
pub(super) fn within<'a>(node: NodeRef<'a>, selector: &str) -> Vec<NodeRef<'a>> {
    Selection::from(node).select(selector).nodes().to_vec()
}

/// Matching elements below `node`, those inside templates after those outside.
pub(super) fn all_within<'a>(node: NodeRef<'a>, selector: &str) -> Vec<NodeRef<'a>> {
    let (mut found, mut waiting) = (Vec::new(), vec![node]);
    while let Some(root) = waiting.pop() {
        found.extend(within(root, selector));
        waiting.extend(within(root, "template").into_iter().rev().filter_map(template_content));
    }
    found
}

/// The content of a template, which is no child of the element.
pub(super) fn template_content(template: NodeRef<'_>) -> Option<NodeRef<'_>> {
    let content = template.element_ref().and_then(|element| element.template_contents);
    content.and_then(|id| template.tree.get(&id))
}

/// The value of an attribute.
pub(super) fn attr(node: NodeRef<'_>, name: &str) -> Option<String> {
    node.attr(name).map(|value| value.to_string())
}

/// The value of an attribute without white space around it; `None` where nothing is left.
pub(super) fn trimmed(node: NodeRef<'_>, name: &str) -> Option<String> {
    attr(node, name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Whether `node` is `other` or a descendant of it.
pub(super) fn is_inside(node: NodeRef<'_>, other: NodeRef<'_>) -> bool {
    // Node ids are unique only within a tree.
    std::ptr::eq(node.tree, other.tree)
        && (node.id == other.id || node.ancestors_it(None).any(|ancestor| ancestor.id == other.id))
}

/// A new element without a parent, with raw text inside, such as a script or a style.
pub(super) fn raw_element<'a>(document: &'a Document, name: &str, text: &str) -> NodeRef<'a> {
    let element = document.tree.new_element(name);
    if !text.is_empty() {
        element.set_text(text);
    }
    element
}

/// The head, which the parser creates for every page.
pub(super) fn head(document: &Document) -> Option<NodeRef<'_>> {
    within(document.root(), "head").into_iter().next()
}

/// The body, which the parser creates for every page.
pub(super) fn body(document: &Document) -> Option<NodeRef<'_>> {
    within(document.root(), "body").into_iter().next()
}

/// The text of a `style` or `script` element as it is.
pub(super) fn raw_text(node: &NodeRef<'_>) -> String {
    node.children().iter().filter(|child| child.is_text()).map(|child| child.text().to_string()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn templates_are_entered() {
        let document =
            Document::from("<body><i></i><template><b></b><template><u></u></template></template><s></s></body>");
        let names: Vec<String> =
            all(&document, "*").iter().filter_map(|node| node.node_name()).map(|name| name.to_string()).collect();
        for name in ["i", "b", "u", "s"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
        let style = Document::from("<style>a > b{c:'&amp;'}</style>");
        assert_eq!(raw_text(&style.select("style").nodes()[0]), "a > b{c:'&amp;'}");
        style.select("style").nodes()[0].set_text("x > y");
        assert!(style.html().contains("<style>x > y</style>"), "{}", style.html());
    }
}
