//! Style sheets, rewritten token by token: what is not changed stays as it was written, whatever the browser makes of it.

use cssparser::{ParseError, Parser, Token};

/// At-rules whose block holds rules that select elements.
const GROUPS: &[&str] =
    &["media", "supports", "layer", "container", "scope", "starting-style", "document", "-moz-document"];

/// Rewrites each `url()`; `None` leaves it alone.
pub(super) fn rewrite_urls(css: &str, rewrite: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(css.len());
    copy(&mut Parser::new(css), false, &mut out, &mut |token, in_url| match token {
        Token::UnquotedUrl(url) => rewrite(url.trim()).map(|url| format!("url(\"{}\")", escaped(&url))),
        Token::QuotedString(url) if in_url => rewrite(url.trim()).map(|url| format!("\"{}\"", escaped(&url))),
        _ => None,
    });
    out
}

/// Rewrites the selector list of every rule outside keyframes, font faces and other rules.
pub(super) fn rewrite_selectors(css: &str, rewrite: &mut dyn FnMut(&str) -> String) -> String {
    let mut out = String::with_capacity(css.len());
    rules(&mut Parser::new(css), &mut out, rewrite);
    out
}

/// The sheet's `@import` rules and what remains. An import counts only at a sheet's beginning, so joined sheets need them first.
pub(super) fn split_imports(css: &str) -> (Vec<String>, String) {
    let (mut imports, mut rest) = (Vec::new(), String::with_capacity(css.len()));
    let mut input = Parser::new(css);
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { break };
        let is_import = matches!(&token, Token::AtKeyword(name) if name.eq_ignore_ascii_case("import"));
        if is_import {
            while let Ok(token) = input.next_including_whitespace_and_comments() {
                if matches!(token, Token::Semicolon) {
                    break;
                }
            }
            imports.push(input.slice_from(start).trim().to_owned());
        } else {
            if opens_block(&token) {
                skip(&mut input);
            }
            rest.push_str(input.slice_from(start));
        }
    }
    (imports, rest)
}

/// Whether a declaration of the custom property `name` (with its dashes) stands anywhere in the text.
pub(super) fn defines(css: &str, name: &str) -> bool {
    css.match_indices(name).any(|(at, _)| css[at + name.len()..].trim_start().starts_with(':'))
}

/// The text between double quotes of a CSS string or attribute selector.
pub(super) fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Whether a parser may descend after `token`.
pub(super) fn opens_block(token: &Token<'_>) -> bool {
    matches!(token, Token::Function(_) | Token::ParenthesisBlock | Token::SquareBracketBlock | Token::CurlyBracketBlock)
}

/// Runs `inside` on the block that has just been opened and appends what closes it.
pub(super) fn descend<'i>(input: &mut Parser<'i>, out: &mut String, inside: impl FnOnce(&mut Parser<'i>, &mut String)) {
    let mut end = None;
    let _: Result<(), ParseError<()>> = input.parse_nested_block(|block| {
        inside(block, out);
        end = Some(block.position());
        Ok(())
    });
    if let Some(end) = end {
        out.push_str(input.slice(end..input.position()));
    }
}

type Edit<'e> = &'e mut dyn FnMut(&Token<'_>, bool) -> Option<String>;

fn copy(input: &mut Parser<'_>, in_url: bool, out: &mut String, edit: Edit<'_>) {
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
        let edited = edit(&token, in_url);
        out.push_str(edited.as_deref().unwrap_or(input.slice_from(start)));
        if opens_block(&token) {
            let url = matches!(&token, Token::Function(name) if name.eq_ignore_ascii_case("url"));
            descend(input, out, |block, out| copy(block, url, out, edit));
        }
    }
}

fn skip(input: &mut Parser<'_>) {
    let _: Result<(), ParseError<()>> = input.parse_nested_block(|block| {
        while block.next_including_whitespace_and_comments().is_ok() {}
        Ok(())
    });
}

fn rules(input: &mut Parser<'_>, out: &mut String, rewrite: &mut dyn FnMut(&str) -> String) {
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
        match &token {
            Token::WhiteSpace(_) | Token::Comment(_) | Token::CDO | Token::CDC | Token::Semicolon => {
                out.push_str(input.slice_from(start));
            }
            Token::AtKeyword(name) => {
                let groups = GROUPS.iter().any(|group| name.eq_ignore_ascii_case(group));
                out.push_str(input.slice_from(start));
                at_rule(input, groups, out, rewrite);
            }
            _ => qualified_rule(input, start, &token, out, rewrite),
        }
    }
}

fn at_rule(input: &mut Parser<'_>, groups: bool, out: &mut String, rewrite: &mut dyn FnMut(&str) -> String) {
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
        let block = matches!(token, Token::CurlyBracketBlock);
        if block && groups {
            out.push_str(input.slice_from(start));
            descend(input, out, |block, out| rules(block, out, rewrite));
            return;
        }
        if opens_block(&token) {
            skip(input);
        }
        out.push_str(input.slice_from(start));
        if block || matches!(token, Token::Semicolon) {
            return;
        }
    }
}

fn qualified_rule(
    input: &mut Parser<'_>,
    start: cssparser::SourcePosition,
    first: &Token<'_>,
    out: &mut String,
    rewrite: &mut dyn FnMut(&str) -> String,
) {
    let mut token = first.clone();
    let mut before = start;
    loop {
        if matches!(token, Token::CurlyBracketBlock) {
            let prelude = input.slice(start..before);
            if prelude.trim().is_empty() {
                out.push_str(prelude);
            } else {
                out.push_str(&rewrite(prelude));
            }
            skip(input);
            out.push_str(input.slice_from(before));
            return;
        }
        if opens_block(&token) {
            skip(input);
        }
        if matches!(token, Token::Semicolon) {
            break;
        }
        before = input.position();
        match input.next_including_whitespace_and_comments().cloned() {
            Ok(next) => token = next,
            Err(_) => break,
        }
    }
    // A declaration of a group such as @page, or a rule that was never finished.
    out.push_str(input.slice_from(start));
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
}
