//! The number of attributes of a tag, before the HTML parser sees it: the parser compares each attribute with all before
//! it.

/// Most attributes of a tag.
pub(super) const MAX_ATTRIBUTES: usize = 2000;

/// Counts the attributes of tags, without the tree. A piece of a page ends with `>`, so no tag ends within one.
#[derive(Default)]
pub(super) struct AttributeCounter {
    inside: Inside,
    /// Name of the tag that is open.
    tag: String,
    attributes: usize,
}

/// Where the next character of a page stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum Inside {
    #[default]
    Text,
    Comment,
    /// Name of a tag.
    Tag,
    /// Between the attributes of a tag.
    Attributes,
    /// Name of an attribute.
    Name,
    /// White space after the name of an attribute.
    AfterName,
    /// After the `=` of an attribute.
    Equals,
    /// Value of an attribute, up to this quote.
    Quoted(char),
    Unquoted,
}

impl AttributeCounter {
    /// Counts in the next piece of a page; `raw_text` is the element whose text it begins in. Returns the name of a tag
    /// that has too many attributes.
    pub(super) fn count(&mut self, piece: &str, raw_text: Option<&str>) -> Option<String> {
        let mut rest = piece;
        if let (Inside::Text, Some(element)) = (self.inside, raw_text) {
            let end = format!("</{element}");
            rest = &piece[piece.to_ascii_lowercase().find(&end).unwrap_or(piece.len())..];
        }
        while let Some(next) = rest.chars().next() {
            let after = &rest[next.len_utf8()..];
            match self.inside {
                Inside::Text => {
                    let at = rest.find('<')?;
                    rest = &rest[at + 1..];
                    if let Some(comment) = rest.strip_prefix("!--") {
                        let is_empty = comment.starts_with('>') || comment.starts_with("->");
                        self.inside = if is_empty { Inside::Text } else { Inside::Comment };
                        rest = comment;
                    } else if rest.trim_start_matches('/').starts_with(|first: char| first.is_ascii_alphabetic()) {
                        (self.inside, self.attributes) = (Inside::Tag, 0);
                        self.tag.clear();
                    }
                    continue;
                }
                Inside::Comment => {
                    let is_end = rest.ends_with("-->") || rest.ends_with("--!>");
                    self.inside = if is_end { Inside::Text } else { Inside::Comment };
                    return None;
                }
                Inside::Quoted(quote) => {
                    let at = rest.find(quote)?;
                    (self.inside, rest) = (Inside::Attributes, &rest[at + 1..]);
                    continue;
                }
                _ if next == '>' => self.inside = Inside::Text,
                Inside::Tag if next.is_ascii_whitespace() || (next == '/' && !self.tag.is_empty()) => {
                    self.inside = Inside::Attributes;
                }
                Inside::Tag => {
                    if self.tag.len() < 40 && next != '/' {
                        self.tag.push(next.to_ascii_lowercase());
                    }
                }
                Inside::Equals if next.is_ascii_whitespace() => {}
                Inside::Equals => {
                    self.inside = if matches!(next, '"' | '\'') { Inside::Quoted(next) } else { Inside::Unquoted }
                }
                Inside::Name | Inside::AfterName if next == '=' => self.inside = Inside::Equals,
                Inside::Name | Inside::AfterName if next.is_ascii_whitespace() => self.inside = Inside::AfterName,
                Inside::Attributes | Inside::Unquoted if next.is_ascii_whitespace() => self.inside = Inside::Attributes,
                Inside::Attributes | Inside::Name | Inside::AfterName if next == '/' => {
                    self.inside = Inside::Attributes
                }
                Inside::Attributes | Inside::AfterName => {
                    (self.inside, self.attributes) = (Inside::Name, self.attributes + 1);
                    if self.attributes > MAX_ATTRIBUTES {
                        return Some(self.tag.clone());
                    }
                }
                Inside::Name | Inside::Unquoted => {}
            }
            rest = after;
        }
        None
    }
}
