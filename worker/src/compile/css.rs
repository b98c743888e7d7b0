//! The reader of style sheets: it finds URLs, imports, selectors and fonts with their places in the text, and edits
//! replace the text there. Everything else stays as it was written, also where it is not valid CSS.

use std::ops::Range;

use cssparser::{Delimiter, ParseError, Parser, SourcePosition, Token};

/// At-rules whose block contains style rules.
const CONDITIONAL_RULES: &[&str] =
    &["media", "supports", "layer", "container", "scope", "starting-style", "document", "-moz-document"];

/// A URL in a style sheet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SheetUrl {
    /// Range of the function, or of the string of an import.
    pub(super) range: Range<usize>,
    /// Range of the string inside the function `url()`, where it has one.
    string: Option<Range<usize>>,
    /// The URL, unescaped.
    pub(super) url: String,
    /// Range of the `@import` rule, with its semicolon, whose sheet the URL is.
    pub(super) import: Option<Range<usize>>,
}

/// A declaration of `font-family`, of `font`, or of a custom property.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Declaration {
    /// `font-family`, `font` or `--name`.
    pub(super) property: String,
    /// The value as written, trimmed.
    pub(super) value: String,
    /// Offset of the value in the text.
    pub(super) at: usize,
}

/// The URLs and fonts of a style sheet, in the order of the text.
#[derive(Debug, Default)]
pub(super) struct Sheet {
    pub(super) urls: Vec<SheetUrl>,
    /// Declarations of `font-family` and `font` outside of `@font-face`, and of all custom properties.
    pub(super) declarations: Vec<Declaration>,
    /// Families that `@font-face` rules declare.
    pub(super) faces: Vec<String>,
}

/// Reads a style sheet, or the declarations of a `style` attribute.
pub(super) fn read(css: &str) -> Sheet {
    let mut input = Parser::new(css);
    let mut reader = Reader { css, base: input.position(), sheet: Sheet::default() };
    reader.read_block(&mut input, Block { in_face: false, is_sheet: true });
    reader.sheet
}

/// `text` with each range replaced. A range that overlaps an earlier one is left alone.
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

/// The function `url()` with this URL.
pub(super) fn url_function(url: &str) -> String {
    format!("url(\"{}\")", escaped(&url.replace('\n', "")))
}

/// `css` with each URL of a function `url()` replaced by what `rewrite` returns; `None` leaves it alone.
pub(super) fn rewrite_urls(css: &str, rewrite: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut changes = Vec::new();
    for SheetUrl { range, string, url, .. } in read(css).urls {
        // An import may name its sheet by a string.
        if css[range.clone()].starts_with(['"', '\'']) {
            continue;
        }
        if let Some(url) = rewrite(url.trim()) {
            changes.push(match string {
                Some(string) => (string, format!("\"{}\"", escaped(&url))),
                None => (range, url_function(&url)),
            });
        }
    }
    splice(css, changes)
}

/// `css` with the selector list of each style rule replaced by what `rewrite` returns. Those of keyframes, font faces
/// and the like are no selectors.
pub(super) fn rewrite_selectors(css: &str, rewrite: &mut dyn FnMut(&str) -> String) -> String {
    let mut input = Parser::new(css);
    let mut selectors = Selectors { base: input.position(), ranges: Vec::new() };
    selectors.read_rules(&mut input);
    let changes = selectors.ranges.into_iter().map(|range| (range.clone(), rewrite(&css[range])));
    splice(css, changes.collect())
}

/// The sheet's `@import` rules and the rest of it. An import is valid only at the beginning of a sheet, so joined
/// sheets need them first.
pub(super) fn split_imports(css: &str) -> (Vec<String>, String) {
    let rules: Vec<Range<usize>> = read(css).urls.into_iter().filter_map(|url| url.import).collect();
    let imports = rules.iter().map(|rule| css[rule.clone()].trim().to_owned()).collect();
    (imports, splice(css, rules.into_iter().map(|rule| (rule, String::new())).collect()))
}

/// Whether the text contains a declaration of the custom property `name`, which includes the dashes.
pub(super) fn defines(css: &str, name: &str) -> bool {
    css.match_indices(name).any(|(at, _)| css[at + name.len()..].trim_start().starts_with(':'))
}

/// `value` as the text between the double quotes of a CSS string.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Whether `token` opens a block that the parser can enter.
pub(super) fn opens_block(token: &Token<'_>) -> bool {
    matches!(token, Token::Function(_) | Token::ParenthesisBlock | Token::SquareBracketBlock | Token::CurlyBracketBlock)
}

/// Runs `inside` on the block that was just opened and appends the text that closes it to `out`.
pub(super) fn descend<'i>(input: &mut Parser<'i>, out: &mut String, inside: impl FnOnce(&mut Parser<'i>, &mut String)) {
    let mut end = None;
    enter(input, |block| {
        inside(block, out);
        end = Some(block.position());
    });
    if let Some(end) = end {
        out.push_str(input.slice(end..input.position()));
    }
}

/// Runs `inside` on the block that was just opened.
fn enter<'i>(input: &mut Parser<'i>, inside: impl FnOnce(&mut Parser<'i>)) {
    let _: Result<(), ParseError<()>> = input.parse_nested_block(|block| {
        inside(block);
        Ok(())
    });
}

/// Skips the block that was just opened.
fn skip(input: &mut Parser<'_>) {
    enter(input, |block| while block.next_including_whitespace_and_comments().is_ok() {});
}

/// Collects the selector lists of style rules.
struct Selectors {
    base: SourcePosition,
    ranges: Vec<Range<usize>>,
}

impl Selectors {
    fn read_rules(&mut self, input: &mut Parser<'_>) {
        loop {
            let start = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            match &token {
                Token::WhiteSpace(_) | Token::Comment(_) | Token::CDO | Token::CDC | Token::Semicolon => {}
                Token::AtKeyword(name) => {
                    let is_conditional = CONDITIONAL_RULES.iter().any(|rule| name.eq_ignore_ascii_case(rule));
                    self.read_at_rule(input, is_conditional);
                }
                _ => self.read_style_rule(input, start, token),
            }
        }
    }

    fn read_at_rule(&mut self, input: &mut Parser<'_>, is_conditional: bool) {
        while let Ok(token) = input.next_including_whitespace_and_comments().cloned() {
            match token {
                Token::CurlyBracketBlock if is_conditional => return enter(input, |block| self.read_rules(block)),
                Token::CurlyBracketBlock => return skip(input),
                Token::Semicolon => return,
                token if opens_block(&token) => skip(input),
                _ => {}
            }
        }
    }

    /// Reads a rule whose first token is `token`, up to its block. Without a block it is a declaration, as in `@page`,
    /// or unfinished.
    fn read_style_rule<'i>(&mut self, input: &mut Parser<'i>, start: SourcePosition, mut token: Token<'i>) {
        let mut end = start;
        loop {
            match &token {
                Token::CurlyBracketBlock => {
                    if !input.slice(start..end).trim().is_empty() {
                        self.ranges.push(offset(self.base, start)..offset(self.base, end));
                    }
                    return skip(input);
                }
                Token::Semicolon => return,
                token if opens_block(token) => skip(input),
                _ => {}
            }
            end = input.position();
            match input.next_including_whitespace_and_comments() {
                Ok(next) => token = next.clone(),
                Err(_) => return,
            }
        }
    }
}

fn offset(base: SourcePosition, position: SourcePosition) -> usize {
    position.byte_index() - base.byte_index()
}

/// What kind of block is read.
#[derive(Clone, Copy)]
struct Block {
    /// Whether it is that of `@font-face`.
    in_face: bool,
    /// Whether it is the sheet itself, where imports are valid.
    is_sheet: bool,
}

/// Collects the URLs and fonts of a sheet.
struct Reader<'a> {
    css: &'a str,
    base: SourcePosition,
    sheet: Sheet,
}

impl Reader<'_> {
    fn range(&self, start: SourcePosition, input: &Parser<'_>) -> Range<usize> {
        offset(self.base, start)..offset(self.base, input.position())
    }

    /// Reads up to the end of a block, with the blocks inside.
    fn read_block(&mut self, input: &mut Parser<'_>, block: Block) {
        let mut is_face_next = false;
        // The identifier before a colon, while no value has begun.
        let mut name: Option<String> = None;
        let mut is_start = true;
        loop {
            let before = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            match token {
                Token::WhiteSpace(_) | Token::Comment(_) => {}
                Token::Ident(ident) if is_start => {
                    name = Some(ident.to_string());
                    is_start = false;
                }
                // Of other properties only URLs are read, because a colon may also be that of a selector such as
                // `a:hover`.
                Token::Colon => {
                    let property = name.take().unwrap_or_default();
                    if property.starts_with("--")
                        || ["font-family", "font"].iter().any(|name| property.eq_ignore_ascii_case(name))
                    {
                        self.read_value(input, &property, block.in_face);
                    }
                }
                Token::Semicolon => {
                    name = None;
                    is_start = true;
                }
                Token::AtKeyword(keyword) => {
                    is_face_next = keyword.eq_ignore_ascii_case("font-face");
                    name = None;
                    is_start = false;
                    if block.is_sheet && keyword.eq_ignore_ascii_case("import") {
                        self.read_import(input, before);
                        is_start = true;
                    }
                }
                Token::CurlyBracketBlock => {
                    enter(input, |inner| self.read_block(inner, Block { in_face: is_face_next, is_sheet: false }));
                    is_face_next = false;
                    name = None;
                    is_start = true;
                }
                other => {
                    self.read_url(input, before, &other);
                    name = None;
                    is_start = false;
                }
            }
        }
    }

    /// Reads the value of a declaration, up to its semicolon or the end of the block.
    fn read_value(&mut self, input: &mut Parser<'_>, property: &str, in_face: bool) {
        let start = input.position();
        let _ = input.parse_until_before(Delimiter::Semicolon, |value| {
            self.read_urls(value);
            Ok::<(), ParseError<()>>(())
        });
        let range = self.range(start, input);
        let text = &self.css[range.clone()];
        let at = range.start + (text.len() - text.trim_start().len());
        let text = text.trim();
        if in_face && !property.starts_with("--") {
            self.sheet.faces.extend(families(text).into_iter().next());
            return;
        }
        let property = if property.starts_with("--") { property.to_owned() } else { property.to_ascii_lowercase() };
        self.sheet.declarations.push(Declaration { property, value: text.to_owned(), at });
    }

    fn read_urls(&mut self, input: &mut Parser<'_>) {
        loop {
            let before = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            self.read_url(input, before, &token);
        }
    }

    /// Adds the URL that `token` is or opens, and reads the blocks that it opens.
    fn read_url(&mut self, input: &mut Parser<'_>, before: SourcePosition, token: &Token<'_>) {
        match token {
            Token::UnquotedUrl(url) => {
                let range = self.range(before, input);
                self.sheet.urls.push(SheetUrl { range, string: None, url: url.to_string(), import: None });
            }
            Token::Function(name) if name.eq_ignore_ascii_case("url") || name.eq_ignore_ascii_case("src") => {
                let mut found = None;
                enter(input, |inner| {
                    inner.skip_whitespace();
                    let start = inner.position();
                    if let Ok(url) = inner.expect_string().map(|url| url.to_string()) {
                        found = Some((url, self.range(start, inner)));
                    }
                    while inner.next().is_ok() {}
                });
                if let Some((url, string)) = found {
                    let range = self.range(before, input);
                    self.sheet.urls.push(SheetUrl { range, string: Some(string), url, import: None });
                }
            }
            token if opens_block(token) => enter(input, |inner| self.read_urls(inner)),
            _ => {}
        }
    }

    /// Reads the rest of an import, whose keyword is at `start`.
    fn read_import(&mut self, input: &mut Parser<'_>, start: SourcePosition) {
        let mut found: Option<(String, Range<usize>)> = None;
        let _ = input.parse_until_before(Delimiter::Semicolon, |rule| {
            rule.skip_whitespace();
            let before = rule.position();
            if let Ok(url) = rule.expect_url_or_string().map(|url| url.to_string()) {
                found = Some((url, self.range(before, rule)));
            }
            while rule.next().is_ok() {}
            Ok::<(), ParseError<()>>(())
        });
        let _ = input.try_parse(|input| input.expect_semicolon());
        if let Some((url, range)) = found {
            let import = Some(self.range(start, input));
            self.sheet.urls.push(SheetUrl { range, string: None, url, import });
        }
    }
}

/// The part of a value of `font` that lists families: what follows the size and the height of lines. `None` where the
/// value has no size, as `inherit` or `caption`.
pub(super) fn families_of_shorthand(value: &str) -> Option<&str> {
    const UNITS: &[&str] = &[
        "px", "em", "rem", "ex", "ch", "pt", "pc", "cm", "mm", "in", "q", "vw", "vh", "vmin", "vmax", "cqw", "cqh", "%",
    ];
    const SIZES: &[&str] =
        &["xx-small", "x-small", "small", "medium", "large", "x-large", "xx-large", "xxx-large", "smaller", "larger"];
    const FUNCTIONS: &[&str] = &["calc(", "clamp(", "min(", "max(", "var("];
    let is_size = |word: &str| {
        let word = word.to_ascii_lowercase();
        let size = word.split('/').next().unwrap_or_default();
        let is_number = |text: &str| text.ends_with(|c: char| c.is_ascii_digit() || c == '.' || c == '}');
        SIZES.contains(&size)
            || FUNCTIONS.iter().any(|name| size.starts_with(name))
            || UNITS.iter().any(|unit| size.strip_suffix(unit).is_some_and(is_number))
    };
    let mut words = words(value).into_iter();
    let end = words.by_ref().find(|range| is_size(&value[range.clone()]))?.end;
    let mut rest = value[end..].trim_start();
    // The height of lines may stand apart: `12px / 1.5 X`.
    let is_open = value[..end].ends_with('/');
    if is_open || rest.starts_with('/') {
        rest = rest.trim_start_matches('/').trim_start();
        rest = rest.split_once(char::is_whitespace)?.1.trim_start();
    }
    (!rest.is_empty()).then_some(rest)
}

/// The words of a value, which spaces outside of brackets and quotes part.
fn words(value: &str) -> Vec<std::ops::Range<usize>> {
    let (mut found, mut start, mut depth, mut quote) = (Vec::new(), None, 0usize, None);
    for (index, c) in value.char_indices() {
        if c.is_whitespace() && depth == 0 && quote.is_none() {
            found.extend(start.take().map(|start| start..index));
            continue;
        }
        start.get_or_insert(index);
        match (quote, c) {
            (Some(open), c) if c == open => quote = None,
            (None, '"' | '\'') => quote = Some(c),
            (None, '(' | '{') => depth += 1,
            (None, ')' | '}') => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    found.extend(start.map(|start| start..value.len()));
    found
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

    fn marked(css: &str) -> String {
        rewrite_selectors(css, &mut |prelude| format!("«{}» ", prelude.trim()))
    }

    #[test]
    fn only_selectors_of_style_rules_are_seen() {
        assert_eq!(marked("a{b:c}"), "«a» {b:c}");
        assert_eq!(marked("@media (min-width:1px){a,b{c:d}}"), "@media (min-width:1px){«a,b» {c:d}}");
        assert_eq!(marked("@supports (display:grid){@layer x{a{}}}"), "@supports (display:grid){@layer x{«a» {}}}");
        for kept in [
            "@keyframes k{from{a:b}50%{a:c}}",
            "@-webkit-keyframes k{to{a:b}}",
            "@font-face{font-family:x;src:url(x.woff2)}",
            "@import \"a.css\";",
            "@property --x{syntax:\"<length>\"}",
            "@page{margin:0}",
            "@layer a, b;",
            "/* a{} */",
        ] {
            assert_eq!(marked(kept), kept);
        }
    }

    #[test]
    fn everything_else_stays_as_written() {
        let css = "a[b=\"}\"]{c:url( x;y.png );d:\"{\";/* } */ &:hover{e:f} @media x{g:h}}\nb{i:calc((1px + 2px))";
        assert_eq!(marked(css), css.replacen("a[b=\"}\"]", "«a[b=\"}\"]» ", 1).replacen("\nb{", "\n«b» {", 1));
    }

    #[test]
    fn urls_are_rewritten_in_every_form() {
        let mut to = |url: &str| (!url.starts_with('#')).then(|| format!("s/{url}"));
        let css = "a{b:url(x.png) url( 'y.png' ) url(\"z\\\".png\");c:url(#g);d:\"x.png\"}@font-face{src:URL(f.woff2)}";
        assert_eq!(
            rewrite_urls(css, &mut to),
            "a{b:url(\"s/x.png\") url( \"s/y.png\" ) url(\"s/z\\\".png\");c:url(#g);d:\"x.png\"}@font-face{src:url(\"s/f.woff2\")}"
        );
    }

    #[test]
    fn imports_are_taken_out() {
        let (imports, rest) = split_imports("@import url(\"a;b.css\") screen;\na{x:y}\n@import 'c.css';b{}");
        assert_eq!(imports, ["@import url(\"a;b.css\") screen;", "@import 'c.css';"]);
        assert_eq!(rest, "\na{x:y}\nb{}");
    }

    #[test]
    fn definitions_of_properties_are_found() {
        assert!(defines(":root{--ink : red}", "--ink") && !defines("a{color:var(--ink)}", "--ink"));
    }

    #[test]
    fn urls_are_found_where_css_has_them() {
        let css = "@import url(https://a.test/x.css) screen; @import 'b.css';\n/* url(no) */ a:hover{background:url( \"https://c.test/i.png\" ) \
                   no-repeat, image-set(url(d.png) 1x);content:'url(no)'} @media print{b{src:url('e')}}";
        let sheet = read(css);
        let urls: Vec<(&str, bool)> = sheet.urls.iter().map(|url| (url.url.as_str(), url.import.is_some())).collect();
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
        assert_eq!(css[sheet.urls[0].range.end..sheet.urls[0].import.clone().unwrap().end].trim(), "screen;");
        assert_eq!(&css[sheet.urls[0].import.clone().unwrap()], "@import url(https://a.test/x.css) screen;");
        let changes = sheet.urls.iter().filter(|url| url.import.is_none());
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
                ("font", "12px X"),
            ]
        );
        assert!(css[sheet.declarations[2].at..].starts_with("Inter ,"));
        let inline = read("color:red;font-family:sans-serif");
        assert_eq!(inline.declarations[0].value, "sans-serif");
    }

    #[test]
    fn families_of_a_shorthand_follow_its_size() {
        for (value, families) in [
            ("700 64px Inter", Some("Inter")),
            ("italic small-caps bold condensed 16px/2 'Space Mono', serif", Some("'Space Mono', serif")),
            ("oblique 10deg 1.5em / 1.2 Open Sans", Some("Open Sans")),
            ("calc(1px + 2vw)/1 Lato", Some("Lato")),
            ("900 ${size * 2}px Oswald", Some("Oswald")),
            ("larger/ 2 Nunito", Some("Nunito")),
            ("inherit", None),
            ("caption", None),
            ("12px", None),
        ] {
            assert_eq!(families_of_shorthand(value), families, "{value}");
        }
    }

    #[test]
    fn lists_are_cut_at_commas_outside_of_quotes_and_brackets() {
        assert_eq!(families("'A, B', var(--x, C, D) , E!important"), ["A, B", "var(--x, C, D)", "E"]);
    }
}
