//! Bounds of a compile: depth, nodes, bytes and time. Beyond each is a [`ProjectError::TooComplex`] that names the file
//! and the limit.
//!
//! **A page is measured before its tree is built.** The HTML parser feeds a sink that stores only parents and depths,
//! tag by tag, and stops at the first excess, so that no tree of a deeper page is built or walked. Style sheets are
//! measured by the parser that later rewrites them. Recursive walks of either are at most as deep as these limits.

use std::borrow::Cow;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::{Duration, Instant};

use cssparser::{ParseError, Parser};
use dom_query::Document;
use html5ever::interface::{ElementFlags, NodeOrText, QuirksMode, TreeSink};
use html5ever::tendril::{StrTendril, TendrilSink};
use html5ever::{Attribute, ExpandedName, LocalName, ParseOpts, QualName, ns, parse_document};
use hyperfarm_proto::archive::ArchiveLimits;
use tokio_util::sync::CancellationToken;

use super::attributes::{AttributeCounter, MAX_ATTRIBUTES};
use super::css::opens_block;
use super::dom::{all, attr};
use crate::error::{ProjectError, WorkerError};
use crate::remote::RENDER_TIME;

/// Most levels of nested elements, as in Chrome's own HTML parser.
pub(super) const MAX_DEPTH: usize = 512;
/// Most elements and comments of the entry page with everything that is mounted in it.
pub(super) const MAX_NODES: usize = 200_000;
/// Most bytes of an element's `id` and `data-composition-id`: selectors and scripts of a mounted composition repeat
/// them.
const MAX_ID_BYTES: usize = 256;
/// Most bytes of the entry page with everything that is mounted in it.
pub(crate) const MAX_PAGE_BYTES: usize = 64 * 1024 * 1024;
/// Most levels of nested blocks, functions and brackets of a style sheet, as the CSS parser's own default.
pub(super) const MAX_CSS_DEPTH: u8 = 75;
/// Longest compile without the time for downloads.
pub(crate) const COMPUTE_TIME: Duration = Duration::from_secs(60);
/// Tags between two checks of the time.
const TAGS_PER_CHECK: usize = 1024;

/// The bounds of one compile, with what is used so far.
pub(crate) struct Bounds {
    archive: ArchiveLimits,
    cancelled: CancellationToken,
    deadline: Instant,
    nodes: Cell<usize>,
    bytes: Cell<usize>,
}

/// The size of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct PageSize {
    /// Elements and comments.
    pub(super) nodes: usize,
    /// Levels of nested elements.
    pub(super) depth: usize,
}

impl Bounds {
    /// Bounds of a compile that begins now and ends when `cancelled` is cancelled.
    pub(crate) fn new(cancelled: CancellationToken) -> Self {
        let deadline = Instant::now() + RENDER_TIME + COMPUTE_TIME;
        Self { archive: ArchiveLimits::DEFAULT, cancelled, deadline, nodes: Cell::new(0), bytes: Cell::new(0) }
    }

    /// The bounds with these limits of the project's archive.
    pub(crate) fn with_archive(self, archive: ArchiveLimits) -> Self {
        Self { archive, ..self }
    }

    /// Limits of the project's archive.
    pub(super) fn archive(&self) -> &ArchiveLimits {
        &self.archive
    }

    /// Fails where the compile was cancelled or its time is over. Every loop over parts of a project calls it.
    pub(crate) fn check_time(&self) -> Result<(), WorkerError> {
        if self.cancelled.is_cancelled() {
            return Err(WorkerError::Cancelled("compile"));
        }
        if Instant::now() > self.deadline {
            let seconds = (RENDER_TIME + COMPUTE_TIME).as_secs();
            return Err(too_complex(format!("the project takes longer than {seconds} s to compile")).into());
        }
        Ok(())
    }

    /// Measures the page `html` of `file`.
    pub(super) fn measure(&self, file: &str, html: &str) -> Result<PageSize, WorkerError> {
        if html.len() > MAX_PAGE_BYTES {
            let bytes = html.len();
            let text = format!(
                "{file} has {bytes} bytes; a page may have {MAX_PAGE_BYTES}. Put data and media into files of their own"
            );
            return Err(too_complex(text).into());
        }
        measure(html, &mut || self.check_time()).map_err(|stop| match stop {
            Stop::Interrupted(error) => error,
            Stop::Excess(excess) => too_complex(excess.text(file)).into(),
        })
    }

    /// The tree of the page `html` of `file`, within every bound.
    pub(super) fn parse(&self, file: &str, html: &str) -> Result<Document, WorkerError> {
        self.measure(file, html)?;
        let document = Document::from(html);
        for style in all(&document, "style") {
            self.check_sheet(&format!("a <style> of {file}"), &style.text())?;
        }
        for element in all(&document, "[id], [data-composition-id]") {
            for name in ["id", "data-composition-id"] {
                let bytes = attr(element, name).unwrap_or_default().len();
                if bytes > MAX_ID_BYTES {
                    let text =
                        format!("{file} has an element whose {name} has {bytes} bytes; {name} may have {MAX_ID_BYTES}");
                    return Err(too_complex(text).into());
                }
            }
        }
        for element in all(&document, "[style]") {
            self.check_sheet(&format!("a style attribute of {file}"), &attr(element, "style").unwrap_or_default())?;
        }
        Ok(document)
    }

    /// Counts a page that is mounted in the entry page with `ancestors` elements above it.
    pub(super) fn count_mount(&self, file: &str, html: &str, ancestors: usize) -> Result<(), WorkerError> {
        let size = self.measure(file, html)?;
        self.nodes.set(self.nodes.get() + size.nodes);
        if self.nodes.get() > MAX_NODES {
            let nodes = self.nodes.get();
            let text = format!(
                "with {file} the page has {nodes} elements; with everything mounted in it a page may have {MAX_NODES}"
            );
            return Err(too_complex(text).into());
        }
        self.count_bytes(file, html.len())?;
        if ancestors + size.depth > MAX_DEPTH {
            let depth = size.depth;
            let text = format!(
                "{file} is mounted {ancestors} elements deep and is {depth} deep itself; a page may be {MAX_DEPTH} deep"
            );
            return Err(too_complex(text).into());
        }
        Ok(())
    }

    /// Counts bytes that the compile is about to add to the page for what is mounted of `file`.
    pub(super) fn count_bytes(&self, file: &str, more: usize) -> Result<(), WorkerError> {
        self.check_time()?;
        let bytes = self.bytes.get().saturating_add(more);
        self.bytes.set(bytes);
        if bytes > MAX_PAGE_BYTES {
            let text = format!(
                "with {file} the page has {bytes} bytes; with everything mounted in it a page may have {MAX_PAGE_BYTES}"
            );
            return Err(too_complex(text).into());
        }
        Ok(())
    }

    /// Checks the depth of a style sheet. `name` is its name in messages.
    pub(super) fn check_sheet(&self, name: &str, css: &str) -> Result<(), WorkerError> {
        self.check_time()?;
        let mut parser = Parser::new(css);
        parser.set_nested_block_limit(MAX_CSS_DEPTH);
        if is_shallow(&mut parser) {
            return Ok(());
        }
        let text = format!("{name} nests blocks, functions or brackets more than {MAX_CSS_DEPTH} deep; nest fewer");
        Err(too_complex(text).into())
    }
}

/// The tree of a page; `None` where the page is beyond the bounds of a compile.
pub(crate) fn parse_page(html: &str) -> Option<Document> {
    fits(html).then(|| Document::from(html))
}

/// Whether a page is within the bounds.
pub(super) fn fits(html: &str) -> bool {
    html.len() <= MAX_PAGE_BYTES && measure(html, &mut || Ok(())).is_ok()
}

fn too_complex(text: String) -> ProjectError {
    ProjectError::TooComplex(text)
}

/// Whether every block can be entered: the parser itself enters none that is deeper than [`MAX_CSS_DEPTH`].
fn is_shallow(input: &mut Parser<'_>) -> bool {
    while let Ok(token) = input.next_including_whitespace_and_comments() {
        if opens_block(token) {
            let inside: Result<bool, ParseError<()>> = input.parse_nested_block(|block| Ok(is_shallow(block)));
            if !matches!(inside, Ok(true)) {
                return false;
            }
        }
    }
    true
}

/// Why measuring stopped.
enum Stop {
    Excess(Excess),
    Interrupted(WorkerError),
}

/// The first node beyond a limit.
#[derive(Debug, Clone)]
struct Excess {
    element: String,
    line: u64,
    limit: Limit,
}

/// A limit of a page.
#[derive(Debug, Clone, Copy)]
enum Limit {
    Depth,
    Nodes,
    Attributes,
}

impl Excess {
    fn text(&self, file: &str) -> String {
        let Self { element, line, limit } = self;
        match limit {
            Limit::Depth => {
                format!("{file} nests elements more than {MAX_DEPTH} deep: <{element}> in line {line}; nest fewer")
            }
            Limit::Nodes => {
                format!("{file} has more than {MAX_NODES} elements: <{element}> in line {line} is one too many")
            }
            Limit::Attributes => {
                format!("{file} has a tag with more than {MAX_ATTRIBUTES} attributes: <{element}> in line {line}")
            }
        }
    }
}

fn measure(html: &str, check: &mut dyn FnMut() -> Result<(), WorkerError>) -> Result<PageSize, Stop> {
    let mut parser = parse_document(Outline::default(), ParseOpts::default());
    let mut attributes = AttributeCounter::default();
    for (number, tag) in html.split_inclusive('>').enumerate() {
        let sink = &parser.tokenizer.sink.sink;
        // The parser compares each attribute of a tag with all before it, so they are counted before it sees them.
        if let Some(element) = attributes.count(tag, sink.raw_text.borrow().as_deref()) {
            return Err(Stop::Excess(Excess { element, line: sink.line.get(), limit: Limit::Attributes }));
        }
        parser.process(StrTendril::from_slice(tag));
        if let Some(excess) = parser.tokenizer.sink.sink.excess.borrow_mut().take() {
            return Err(Stop::Excess(excess));
        }
        if number % TAGS_PER_CHECK == 0 {
            check().map_err(Stop::Interrupted)?;
        }
    }
    parser.finish().map_err(Stop::Excess)
}

/// HTML elements whose content is text up to their end tag.
const RAW_TEXT: [&str; 8] = ["script", "style", "title", "textarea", "xmp", "iframe", "noembed", "noframes"];

/// A handle of the parser: a node of the outline, and its tag.
#[derive(Clone)]
struct Node {
    index: usize,
    name: Rc<QualName>,
}

#[derive(Clone, Copy)]
struct Position {
    /// List of children that the node is in.
    siblings: Option<usize>,
    /// List of the node's own children.
    children: usize,
    /// Depth at the time when the node was placed.
    depth: usize,
    /// Node that contains the content of a template.
    contents: Option<usize>,
}

/// The outline of a tree: the parent and the depth of each node.
struct Outline {
    positions: RefCell<Vec<Position>>,
    /// The parent by list of children: a list changes its parent as a whole.
    parents: RefCell<Vec<usize>>,
    unnamed: Rc<QualName>,
    /// The open element whose content is no markup, if one is.
    raw_text: RefCell<Option<String>>,
    excess: RefCell<Option<Excess>>,
    line: Cell<u64>,
}

impl Default for Outline {
    fn default() -> Self {
        Self {
            positions: RefCell::new(vec![Position { siblings: None, children: 0, depth: 0, contents: None }]),
            parents: RefCell::new(vec![0]),
            unnamed: Rc::new(QualName::new(None, ns!(), LocalName::from("!"))),
            raw_text: RefCell::default(),
            excess: RefCell::default(),
            line: Cell::new(1),
        }
    }
}

impl Outline {
    fn add(&self, name: Rc<QualName>) -> Node {
        let mut positions = self.positions.borrow_mut();
        let index = positions.len();
        positions.push(Position { siblings: None, children: self.list_of(index), depth: 0, contents: None });
        let node = Node { index, name };
        if index > MAX_NODES {
            self.exceed(&node, Limit::Nodes);
        }
        node
    }

    /// A new list of children of `parent`.
    fn list_of(&self, parent: usize) -> usize {
        let mut parents = self.parents.borrow_mut();
        parents.push(parent);
        parents.len() - 1
    }

    fn parent(&self, index: usize) -> Option<usize> {
        let siblings = self.positions.borrow()[index].siblings?;
        Some(self.parents.borrow()[siblings])
    }

    fn exceed(&self, node: &Node, limit: Limit) {
        let element = node.name.local.to_string();
        self.excess.borrow_mut().get_or_insert(Excess { element, line: self.line.get(), limit });
    }

    fn place(&self, parent: usize, child: &NodeOrText<Node>) {
        let NodeOrText::AppendNode(child) = child else { return };
        let mut positions = self.positions.borrow_mut();
        let Position { children, depth, .. } = positions[parent];
        let position = &mut positions[child.index];
        (position.siblings, position.depth) = (Some(children), depth + 1);
        if position.depth > MAX_DEPTH {
            self.exceed(child, Limit::Depth);
        }
    }

    /// The greatest depth by the final parents: the depths of descendants of moved nodes have changed.
    fn depth(&self) -> usize {
        let count = self.positions.borrow().len();
        let mut depths: Vec<Option<usize>> = vec![None; count];
        let (mut deepest, mut path) = (0, Vec::new());
        for start in 0..count {
            let mut at = start;
            while depths[at].is_none()
                && let Some(parent) = self.parent(at)
            {
                path.push(at);
                at = parent;
            }
            let mut depth = *depths[at].get_or_insert(0);
            while let Some(node) = path.pop() {
                depth += 1;
                depths[node] = Some(depth);
            }
            deepest = deepest.max(depth);
        }
        deepest
    }
}

impl TreeSink for Outline {
    type Handle = Node;
    type Output = Result<PageSize, Excess>;
    type ElemName<'a> = ExpandedName<'a>;

    fn finish(self) -> Self::Output {
        if let Some(excess) = self.excess.borrow_mut().take() {
            return Err(excess);
        }
        let (nodes, depth) = (self.positions.borrow().len() - 1, self.depth());
        if depth > MAX_DEPTH {
            return Err(Excess { element: "html".to_owned(), line: 1, limit: Limit::Depth });
        }
        Ok(PageSize { nodes, depth })
    }

    fn parse_error(&self, _message: Cow<'static, str>) {}

    fn get_document(&self) -> Node {
        Node { index: 0, name: self.unnamed.clone() }
    }

    fn elem_name<'a>(&'a self, target: &'a Node) -> ExpandedName<'a> {
        target.name.expanded()
    }

    fn create_element(&self, name: QualName, _attributes: Vec<Attribute>, flags: ElementFlags) -> Node {
        if name.ns == ns!(html) && RAW_TEXT.contains(&name.local.as_ref()) {
            *self.raw_text.borrow_mut() = Some(name.local.to_string());
        }
        let node = self.add(Rc::new(name));
        if flags.template {
            let contents = self.add(self.unnamed.clone());
            let mut positions = self.positions.borrow_mut();
            positions[node.index].contents = Some(contents.index);
            positions[contents.index].siblings = Some(positions[node.index].children);
        }
        node
    }

    fn create_comment(&self, _text: StrTendril) -> Node {
        self.add(self.unnamed.clone())
    }

    fn create_pi(&self, _target: StrTendril, _data: StrTendril) -> Node {
        self.add(self.unnamed.clone())
    }

    fn append(&self, parent: &Node, child: NodeOrText<Node>) {
        self.place(parent.index, &child);
    }

    fn append_based_on_parent_node(&self, element: &Node, previous: &Node, child: NodeOrText<Node>) {
        self.place(self.parent(element.index).unwrap_or(previous.index), &child);
    }

    fn append_doctype_to_document(&self, _name: StrTendril, _public: StrTendril, _system: StrTendril) {}

    fn get_template_contents(&self, target: &Node) -> Node {
        let mut positions = self.positions.borrow_mut();
        let Position { depth, contents, .. } = positions[target.index];
        let index = contents.unwrap_or(target.index);
        positions[index].depth = depth + usize::from(contents.is_some());
        Node { index, name: self.unnamed.clone() }
    }

    fn same_node(&self, one: &Node, other: &Node) -> bool {
        one.index == other.index
    }

    fn set_quirks_mode(&self, _mode: QuirksMode) {}

    fn append_before_sibling(&self, sibling: &Node, node: NodeOrText<Node>) {
        self.place(self.parent(sibling.index).unwrap_or(sibling.index), &node);
    }

    fn add_attrs_if_missing(&self, _target: &Node, _attributes: Vec<Attribute>) {}

    fn remove_from_parent(&self, target: &Node) {
        self.positions.borrow_mut()[target.index].siblings = None;
    }

    fn reparent_children(&self, node: &Node, parent: &Node) {
        let mut positions = self.positions.borrow_mut();
        let list = std::mem::replace(&mut positions[node.index].children, self.list_of(node.index));
        self.parents.borrow_mut()[list] = parent.index;
    }

    fn pop(&self, node: &Node) {
        let mut raw_text = self.raw_text.borrow_mut();
        if raw_text.as_deref() == Some(node.name.local.as_ref()) {
            *raw_text = None;
        }
    }

    fn set_current_line(&self, line: u64) {
        self.line.set(line);
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::failure::FailureCode;

    use super::*;

    fn bounds() -> Bounds {
        Bounds::new(CancellationToken::new())
    }

    fn nested(open: &str, close: &str, count: usize) -> String {
        format!("<!doctype html><body>{}{}", open.repeat(count), close.repeat(count))
    }

    #[test]
    fn deep_pages_of_every_kind_are_refused_by_element_and_limit() {
        for (open, close, named) in [
            ("<template>", "</template>", "<template>"),
            ("<div>", "</div>", "<div>"),
            ("<svg><g>", "</g></svg>", "deep"),
            ("<svg><foreignObject><div>", "</div></foreignObject></svg>", "deep"),
            ("<math><mi>", "</mi></math>", "deep"),
            ("<table><tr><td>", "</td></tr></table>", "deep"),
        ] {
            for count in [600, 20_000, 200_000] {
                let error = bounds().parse("a/index.html", &nested(open, close, count)).err().unwrap();
                assert_eq!(error.code(), FailureCode::ProjectTooComplex, "{open}");
                let message = error.to_string();
                assert!(
                    message.contains("a/index.html") && message.contains("512") && message.contains(named),
                    "{message}"
                );
                assert!(message.len() < 200, "{message}");
            }
        }
        assert!(bounds().parse("index.html", &nested("<template>", "</template>", 250)).is_ok());
        assert!(bounds().parse("index.html", &nested("<div>", "</div>", 500)).is_ok());
    }

    #[test]
    fn formatting_elements_that_multiply_are_counted() {
        let open: String = (0..500).map(|number| format!("<p><b x={number}></p>")).collect();
        let page = format!("<body>{open}{}", "<p>x".repeat(20_000));
        let error = bounds().parse("index.html", &page).err().unwrap();
        assert_eq!(error.code(), FailureCode::ProjectTooComplex);
    }

    #[test]
    fn wide_pages_are_taken_up_to_the_limit() {
        let size = bounds().measure("index.html", &"<i></i>".repeat(60_000)).unwrap();
        assert_eq!(size.depth, 3);
        assert!((60_000..60_010).contains(&size.nodes), "{size:?}");
        let error = bounds().measure("index.html", &"<i></i>".repeat(MAX_NODES)).unwrap_err();
        assert!(error.to_string().contains("more than 200000 elements: <i>"), "{error}");
    }

    #[test]
    fn tags_with_very_many_attributes_are_refused_however_they_are_written() {
        let started = Instant::now();
        for attribute in ["a{}", "a{}=1", "a{}=\">\"", "a{} = '>'", "/a{}", "a{}=x/y", "a{}\n=\n\"b c\"", "=a{}"] {
            let attributes: String =
                (0..200_000).map(|number| format!("{} ", attribute.replace("{}", &number.to_string()))).collect();
            for (before, after) in [
                ("<div ", ">"),
                ("</div ", ">"),
                ("<svg><style><g ", "></g></style></svg>"),
                ("<svg><script><a ", "></script></svg>"),
                ("<script>a<b</script ", ">"),
                ("<!--><i ", ">"),
                ("<!-- x --!><i ", ">"),
                ("<title></title><i ", ""),
                ("<textarea><b></textarea><i ", ">"),
            ] {
                let page = format!("<!doctype html><body>{before}{attributes}{after}");
                let error = bounds().measure("a/index.html", &page).unwrap_err();
                let message = error.to_string();
                assert!(
                    message.contains("a/index.html") && message.contains("2000 attributes"),
                    "{before}{attribute}: {message}"
                );
            }
        }
        assert!(started.elapsed() < Duration::from_secs(60), "they are counted before they are parsed");
    }

    #[test]
    fn words_that_are_no_attributes_are_not_counted() {
        let words = "word 'x' = / ".repeat(20_000);
        for (before, after) in [
            ("<p>", "</p>"),
            ("<!-- <a ", "-->"),
            ("<script>for (i=0;i<n;i++) [", "]</script>"),
            ("<style>/* <a ", "*/</style>"),
            ("<textarea><a ", "</textarea>"),
            ("<title>a <b ", "</title>"),
        ] {
            let page = format!("<!doctype html><body>{before}{words}{after}<i a b=c></i>");
            bounds().measure("index.html", &page).unwrap();
        }
        for value in ["\"", "'"] {
            let page = format!("<path d={value}{}{value} style={value}a > b{value}>", "M 0 0 L 1 1 ".repeat(20_000));
            bounds().measure("index.html", &page).unwrap();
        }
    }

    #[test]
    fn moved_nodes_are_measured_where_they_end() {
        // The adoption agency moves what is inside the formatting elements.
        let page = format!("{}{}{}", "<a><div>".repeat(40), "</a>".repeat(40), "x");
        let size = bounds().measure("index.html", &page).unwrap();
        assert!(size.depth >= 40 && size.nodes >= 80, "{size:?}");
    }

    #[test]
    fn deep_style_sheets_are_refused_wherever_they_stand() {
        for open in ["a{", "@media all{", "calc(", "[", "(", "@supports (x){", ":is(", "a{b:url(\"x\") f("] {
            let css = open.repeat(100_000);
            let error = bounds().check_sheet("style.css", &css).unwrap_err();
            assert_eq!(error.code(), FailureCode::ProjectTooComplex, "{open}");
            assert!(error.to_string().contains("style.css") && error.to_string().contains("75"), "{error}");
            let page = format!("<style>{css}</style>");
            assert!(bounds().parse("p.html", &page).err().unwrap().to_string().contains("<style> of p.html"));
            // What rewrites sheets that were never measured does not overflow either.
            super::super::css::rewrite_urls(&css, &mut |_| None);
            super::super::css::rewrite_selectors(&css, &mut |list| list.to_owned());
            super::super::css::split_imports(&css);
            crate::compile::css::read(&css);
            super::super::selector::replace_ids(&css, &mut |_| None);
        }
        let page = format!("<p style=\"width:{}\">", "calc(".repeat(1000));
        assert!(bounds().parse("p.html", &page).err().unwrap().to_string().contains("style attribute of p.html"));
        assert!(bounds().check_sheet("style.css", &"@media all{".repeat(70)).is_ok());
        let brackets = format!("a::before{{content:\"{}\"}}/*{}*/", "(".repeat(1000), "{".repeat(1000));
        assert!(bounds().check_sheet("style.css", &brackets).is_ok());
    }

    #[test]
    fn long_ids_are_refused() {
        for name in ["id", "data-composition-id"] {
            let error = bounds().parse("a.html", &format!("<p {name}={}>", "x".repeat(150_000))).err().unwrap();
            assert_eq!(error.code(), FailureCode::ProjectTooComplex);
            assert!(
                error.to_string().contains(&format!("a.html has an element whose {name} has 150000 bytes")),
                "{error}"
            );
        }
    }

    #[test]
    fn mounts_are_counted_together() {
        let bounds = bounds();
        let page = "<i></i>".repeat(1000);
        let mounted = (0..1000).find_map(|_| bounds.count_mount("card.html", &page, 3).err()).unwrap();
        assert!(mounted.to_string().contains("card.html") && mounted.to_string().contains("200000"), "{mounted}");
        let deep = nested("<div>", "</div>", 300);
        let error = Bounds::new(CancellationToken::new()).count_mount("card.html", &deep, 300).unwrap_err();
        assert!(error.to_string().contains("mounted 300 elements deep"), "{error}");
    }

    #[test]
    fn a_cancel_stops_the_measuring() {
        let cancelled = CancellationToken::new();
        cancelled.cancel();
        let error = Bounds::new(cancelled).measure("index.html", &"<i></i>".repeat(1000)).unwrap_err();
        assert_eq!(error.code(), FailureCode::Drained);
    }
}
