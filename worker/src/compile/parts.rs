//! The parts of nested compositions that are collected while their elements are put into their hosts.

use std::collections::BTreeMap;

use dom_query::NodeRef;
use serde_json::{Map, Value};

/// A style sheet of a nested composition, with selectors bound to its mount.
#[derive(Debug)]
pub(super) struct Style {
    pub(super) css: String,
    pub(super) media: Option<String>,
    pub(super) title: Option<String>,
}

/// A script of a nested composition.
#[derive(Debug)]
pub(super) enum Script {
    /// A file, by its source.
    File { src: String, module: bool },
    /// A classic script in its wrapper.
    Inline(String),
    /// An inline module.
    Module(String),
}

/// A host with its content, and the range of its styles among [`Parts::styles`].
pub(super) struct Mount<'a> {
    pub(super) host: NodeRef<'a>,
    pub(super) namespace: String,
    pub(super) styles: std::ops::Range<usize>,
}

/// What nested files contain beside their elements.
#[derive(Default)]
pub(super) struct Parts<'a> {
    pub(super) styles: Vec<Style>,
    /// HTML of `<link>` elements, with paths from the root.
    pub(super) links: Vec<String>,
    pub(super) scripts: Vec<Script>,
    pub(super) import_maps: Vec<Value>,
    /// Variables, by the composition id of the mount.
    pub(super) variables: BTreeMap<String, Map<String, Value>>,
    pub(super) mounts: Vec<Mount<'a>>,
}
