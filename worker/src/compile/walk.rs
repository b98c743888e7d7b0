//! Walking a document, the content of templates included, which selectors do not see.

use dom_query::{Document, NodeRef};

/// Every element in document order.
pub(super) fn elements(document: &Document) -> Vec<NodeRef<'_>> {
    let mut found = Vec::new();
    let mut waiting = vec![document.root()];
    while let Some(node) = waiting.pop() {
        let mut children = node.children();
        children.reverse();
        waiting.extend(children);
        let template = node.element_ref().and_then(|element| element.template_contents);
        waiting.extend(template.and_then(|content| document.tree.get(&content)));
        if node.is_element() {
            found.push(node);
        }
    }
    found
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
            elements(&document).iter().filter_map(|node| node.node_name()).map(|name| name.to_string()).collect();
        for name in ["i", "b", "u", "s"] {
            assert!(names.iter().any(|found| found == name), "{name} in {names:?}");
        }
        let style = Document::from("<style>a > b{c:'&amp;'}</style>");
        assert_eq!(raw_text(&style.select("style").nodes()[0]), "a > b{c:'&amp;'}");
        style.select("style").nodes()[0].set_text("x > y");
        assert!(style.html().contains("<style>x > y</style>"), "{}", style.html());
    }
}
