//! Helpers around the document tree. Selectors do not see what is inside `<template>`; the compile must.

use dom_query::{Document, NodeRef, Selection};

/// Every element that fits, those inside templates after those outside.
pub(super) fn all<'a>(document: &'a Document, selector: &str) -> Vec<NodeRef<'a>> {
    all_within(document.root(), selector)
}

/// Elements below `node` that fit, templates left out.
pub(super) fn within<'a>(node: NodeRef<'a>, selector: &str) -> Vec<NodeRef<'a>> {
    Selection::from(node).select(selector).nodes().to_vec()
}

/// Elements below `node` that fit, those inside templates after those outside.
pub(super) fn all_within<'a>(node: NodeRef<'a>, selector: &str) -> Vec<NodeRef<'a>> {
    let (mut found, mut waiting) = (Vec::new(), vec![node]);
    while let Some(root) = waiting.pop() {
        found.extend(within(root, selector));
        waiting.extend(within(root, "template").into_iter().rev().filter_map(template_content));
    }
    found
}

/// What a template holds: it is no child of the element.
pub(super) fn template_content(template: NodeRef<'_>) -> Option<NodeRef<'_>> {
    let content = template.element_ref().and_then(|element| element.template_contents);
    content.and_then(|id| template.tree.get(&id))
}

/// The attribute's value.
pub(super) fn attr(node: NodeRef<'_>, name: &str) -> Option<String> {
    node.attr(name).map(|value| value.to_string())
}

/// The attribute's value without white space around it, where anything is left.
pub(super) fn trimmed(node: NodeRef<'_>, name: &str) -> Option<String> {
    attr(node, name).map(|value| value.trim().to_owned()).filter(|value| !value.is_empty())
}

/// Whether `node` has the ancestor `other`, or is it.
pub(super) fn is_inside(node: NodeRef<'_>, other: NodeRef<'_>) -> bool {
    // Ids count within a tree.
    std::ptr::eq(node.tree, other.tree)
        && (node.id == other.id || node.ancestors_it(None).any(|ancestor| ancestor.id == other.id))
}

/// A new element with raw text inside, such as a script or a style, without a parent.
pub(super) fn raw_element<'a>(document: &'a Document, name: &str, text: &str) -> NodeRef<'a> {
    let element = document.tree.new_element(name);
    if !text.is_empty() {
        element.set_text(text);
    }
    element
}

/// The head and the body; the parser makes both for every page.
pub(super) fn head(document: &Document) -> Option<NodeRef<'_>> {
    within(document.root(), "head").into_iter().next()
}

/// See [`head`].
pub(super) fn body(document: &Document) -> Option<NodeRef<'_>> {
    within(document.root(), "body").into_iter().next()
}
