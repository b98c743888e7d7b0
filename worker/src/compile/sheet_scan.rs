//! What a style sheet says about fonts and URLs, with the places in its text, read by a real tokenizer.

use std::ops::Range;

use cssparser::{ParseError, Parser, SourcePosition, Token};

/// A URL in a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SheetUrl {
    /// The token or function in the text.
    pub(super) range: Range<usize>,
    /// The URL as written, unescaped.
    pub(super) url: String,
    /// Whether it is the style sheet of an `@import`.
    pub(super) import: bool,
    /// For an import the whole rule, semicolon included.
    pub(super) rule: Range<usize>,
    /// For an import what follows the URL: layer, conditions and media.
    pub(super) condition: String,
}

/// The value of a `font-family` or of a custom property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    /// `font-family` or `--name`.
    pub(super) property: String,
    /// The value as written, trimmed.
    pub(super) value: String,
    /// Where the value begins in the text.
    pub(super) at: usize,
}

/// A style sheet's fonts and URLs, in order.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) urls: Vec<SheetUrl>,
    /// `font-family` outside of `@font-face`, and every custom property.
    pub(super) declarations: Vec<Declaration>,
    /// Families that `@font-face` rules declare.
    pub(super) faces: Vec<String>,
}

/// Reads a whole style sheet, or the declarations of a `style` attribute.
pub(super) fn read(css: &str) -> Sheet {
    let mut sheet = Sheet::default();
    let mut input = Parser::new(css);
    let base = input.position();
    let mut reader = Reader { css, base, sheet: &mut sheet };
    reader.block(&mut input, false);
    sheet
}

/// `text` with each range replaced. The ranges do not overlap.
pub(super) fn splice(text: &str, mut changes: Vec<(Range<usize>, String)>) -> String {
    changes.sort_by_key(|(range, _)| range.start);
    let mut out = String::with_capacity(text.len());
    let mut from = 0;
    for (range, replacement) in changes {
        if range.start < from {
            continue;
        }
        out.push_str(&text[from..range.start]);
        out.push_str(&replacement);
        from = range.end;
    }
    out.push_str(&text[from..]);
    out
}

/// A CSS function that names this URL.
pub(super) fn url_function(url: &str) -> String {
    format!("url(\"{}\")", url.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', ""))
}

struct Reader<'a> {
    css: &'a str,
    base: SourcePosition,
    sheet: &'a mut Sheet,
}

impl Reader<'_> {
    fn offset(&self, position: SourcePosition) -> usize {
        position.byte_index() - self.base.byte_index()
    }

    /// Everything up to the end of a block, blocks inside included.
    fn block(&mut self, input: &mut Parser<'_>, in_face: bool) {
        let mut face_next = false;
        // The identifier before a colon, while no value has begun.
        let mut name: Option<String> = None;
        let mut fresh = true;
        loop {
            let before = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            match token {
                Token::WhiteSpace(_) | Token::Comment(_) => {}
                Token::Ident(ident) if fresh => {
                    name = Some(ident.to_string());
                    fresh = false;
                }
                // Of other properties only the URLs matter, and what looks like one may be a selector such as `a:hover`.
                Token::Colon => {
                    let property = name.take().unwrap_or_default();
                    if property.starts_with("--") || property.eq_ignore_ascii_case("font-family") {
                        self.value(input, &property, in_face);
                    }
                }
                Token::Semicolon => {
                    name = None;
                    fresh = true;
                }
                Token::AtKeyword(keyword) => {
                    face_next = keyword.eq_ignore_ascii_case("font-face");
                    name = None;
                    fresh = false;
                    if keyword.eq_ignore_ascii_case("import") {
                        self.import(input, self.offset(before));
                        fresh = true;
                    }
                }
                Token::CurlyBracketBlock => {
                    let _ = input.parse_nested_block(|inner| {
                        self.block(inner, face_next);
                        Ok::<(), ParseError<()>>(())
                    });
                    face_next = false;
                    name = None;
                    fresh = true;
                }
                other => {
                    self.url_token(input, before, &other);
                    name = None;
                    fresh = false;
                }
            }
        }
    }

    /// A declaration's value, up to its semicolon or the block's end.
    fn value(&mut self, input: &mut Parser<'_>, property: &str, in_face: bool) {
        let start = self.offset(input.position());
        let _ = input.parse_until_before(cssparser::Delimiter::Semicolon, |value| {
            self.urls_of(value);
            Ok::<(), ParseError<()>>(())
        });
        let end = self.offset(input.position());
        let text = &self.css[start..end];
        let at = start + (text.len() - text.trim_start().len());
        let text = text.trim();
        if in_face && !property.starts_with("--") {
            self.sheet.faces.extend(families(text).into_iter().next());
            return;
        }
        let property = if property.starts_with("--") { property.to_owned() } else { property.to_ascii_lowercase() };
        self.sheet.declarations.push(Declaration { property, value: text.to_owned(), at });
    }

    fn urls_of(&mut self, input: &mut Parser<'_>) {
        loop {
            let before = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            self.url_token(input, before, &token);
        }
    }

    /// Notes the URL that this token is or begins, and looks into blocks.
    fn url_token(&mut self, input: &mut Parser<'_>, before: SourcePosition, token: &Token<'_>) {
        match token {
            Token::UnquotedUrl(url) => {
                let range = self.offset(before)..self.offset(input.position());
                self.note(url, range);
            }
            Token::Function(name) if name.eq_ignore_ascii_case("url") || name.eq_ignore_ascii_case("src") => {
                let mut found = None;
                let _ = input.parse_nested_block(|inner| {
                    found = inner.expect_string().ok().map(|text| text.to_string());
                    while inner.next().is_ok() {}
                    Ok::<(), ParseError<()>>(())
                });
                if let Some(url) = found {
                    let range = self.offset(before)..self.offset(input.position());
                    self.note(&url, range);
                }
            }
            Token::Function(_) | Token::ParenthesisBlock | Token::SquareBracketBlock | Token::CurlyBracketBlock => {
                let _ = input.parse_nested_block(|inner| {
                    self.urls_of(inner);
                    Ok::<(), ParseError<()>>(())
                });
            }
            _ => {}
        }
    }

    fn note(&mut self, url: &str, range: Range<usize>) {
        let rule = range.clone();
        self.sheet.urls.push(SheetUrl { range, url: url.to_owned(), import: false, rule, condition: String::new() });
    }

    fn import(&mut self, input: &mut Parser<'_>, at: usize) {
        let mut found: Option<(String, Range<usize>)> = None;
        let _ = input.parse_until_before(cssparser::Delimiter::Semicolon, |rule| {
            rule.skip_whitespace();
            let before = rule.position();
            if let Ok(url) = rule.expect_url_or_string() {
                let range = self.offset(before)..self.offset(rule.position());
                found = Some((url.to_string(), range));
            }
            while rule.next().is_ok() {}
            Ok::<(), ParseError<()>>(())
        });
        let end = self.offset(input.position());
        let _ = input.try_parse(|input| input.expect_semicolon());
        let after = self.offset(input.position());
        if let Some((url, range)) = found {
            let condition = self.css[range.end..end].trim().to_owned();
            self.sheet.urls.push(SheetUrl { range, url, import: true, rule: at..after, condition });
        }
    }
}

/// The families of a `font-family` value, without their quotes; `var(…)` and the like stay as they are.
pub(super) fn families(value: &str) -> Vec<String> {
    let mut pieces = Vec::new();
    let (mut start, mut depth, mut quote, mut escaped) = (0, 0usize, None, false);
    for (index, c) in value.char_indices() {
        match (quote, c) {
            _ if escaped => escaped = false,
            (_, '\\') => escaped = true,
            (Some(open), c) if c == open => quote = None,
            (Some(_), _) => {}
            (None, '"' | '\'') => quote = Some(c),
            (None, '(') => depth += 1,
            (None, ')') => depth = depth.saturating_sub(1),
            (None, ',') if depth == 0 => {
                pieces.push(&value[start..index]);
                start = index + 1;
            }
            _ => {}
        }
    }
    pieces.push(&value[start..]);
    let bare = |piece: &str| {
        let piece = piece.trim();
        let piece = piece.strip_suffix("!important").unwrap_or(piece).trim();
        piece.trim_start_matches(['"', '\'']).trim_end_matches(['"', '\'']).trim().to_owned()
    };
    pieces.into_iter().map(bare).filter(|piece| !piece.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_found_where_css_has_them() {
        let css = "@import url(https://a.test/x.css) screen; @import 'b.css';\n/* url(no) */ a:hover{background:url( \"https://c.test/i.png\" ) \
                   no-repeat, image-set(url(d.png) 1x);content:'url(no)'} @media print{b{src:url('e')}}";
        let sheet = read(css);
        let urls: Vec<(&str, bool)> = sheet.urls.iter().map(|url| (url.url.as_str(), url.import)).collect();
        assert_eq!(
            urls,
            [
                ("https://a.test/x.css", true),
                ("b.css", true),
                ("https://c.test/i.png", false),
                ("d.png", false),
                ("e", false)
            ]
        );
        assert_eq!(sheet.urls[0].condition, "screen");
        assert_eq!(&css[sheet.urls[0].rule.clone()], "@import url(https://a.test/x.css) screen;");
        let changes = sheet.urls.iter().filter(|url| !url.import);
        let out = splice(css, changes.map(|url| (url.range.clone(), url_function("/l"))).collect());
        assert!(out.contains("background:url(\"/l\") no-repeat, image-set(url(\"/l\") 1x)"), "{out}");
    }

    #[test]
    fn families_faces_and_custom_properties_are_told_apart() {
        let css = ":root{--f: 'Space Mono', monospace;--c:red} @font-face{font-family:\"My Font\";src:url(a.woff2)}\n\
                   a{font-family:Inter , \"Open Sans\"} @media all{b{FONT-FAMILY:var(--f, Lato) !important}} c{font:12px X}";
        let sheet = read(css);
        assert_eq!(sheet.faces, ["My Font"]);
        let found: Vec<(&str, &str)> =
            sheet.declarations.iter().map(|d| (d.property.as_str(), d.value.as_str())).collect();
        assert_eq!(
            found,
            [
                ("--f", "'Space Mono', monospace"),
                ("--c", "red"),
                ("font-family", "Inter , \"Open Sans\""),
                ("font-family", "var(--f, Lato) !important"),
            ]
        );
        assert!(css[sheet.declarations[2].at..].starts_with("Inter ,"));
        let inline = read("color:red;font-family:sans-serif");
        assert_eq!(inline.declarations[0].value, "sans-serif");
    }

    #[test]
    fn lists_are_cut_at_commas_outside_of_quotes_and_brackets() {
        assert_eq!(families("'A, B', var(--x, C, D) , E!important"), ["A, B", "var(--x, C, D)", "E"]);
    }
}
