//! Selectors of a nested composition, bound to one of its mounts by the rules of the HyperFrames compiler.

use cssparser::{Parser, Token};

use super::css::{descend, escaped, opens_block};

/// Attribute of the root of a nested composition inside its host.
pub(super) const INNER_ROOT: &str = "data-hf-inner-root";
/// Attribute with the authored id of that root: several mounts cannot have one id.
pub(super) const AUTHORED_ID: &str = "data-hf-authored-id";

/// The scope of one mount.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Selector of the host.
    pub(super) selector: String,
    /// `data-composition-id` as the author wrote it.
    pub(super) composition: String,
    /// `id` of the nested root.
    pub(super) root_id: Option<String>,
}

/// The selector of a host by its `data-composition-id`.
pub(super) fn of_composition(id: &str) -> String {
    format!("[data-composition-id=\"{}\"]", escaped(id))
}

impl Scope {
    /// Binds a selector list to the mount.
    pub(super) fn bind(&self, list: &str) -> String {
        let tokens = parse(list, self);
        let mut bound: Vec<String> = Vec::new();
        for selector in tokens.split(|token| matches!(token, SelectorToken::Comma)) {
            bound.push(self.bind_one(selector));
        }
        let trailing = &list[list.trim_end().len()..];
        format!("{}{trailing}", bound.join(","))
    }

    /// Most bytes by which [`bind`](Self::bind) makes a style sheet longer: each selector gets the scope up to twice.
    pub(super) fn longest_growth(&self, css: &str) -> usize {
        let places = css.bytes().filter(|byte| b",{[".contains(byte)).count() + 1;
        places.saturating_mul(2 * self.selector.len() + 64)
    }

    fn bind_one(&self, tokens: &[SelectorToken]) -> String {
        let tokens = self.without_timing(tokens);
        let text: String = tokens.iter().map(|token| token.text(self)).collect();
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed == "*" {
            return text;
        }
        let names_own_id = tokens.iter().any(|token| matches!(token, SelectorToken::Composition));
        let is_only_id = tokens.iter().all(|token| match token {
            SelectorToken::Composition => true,
            SelectorToken::Text(text) => text.trim().is_empty(),
            _ => false,
        });
        let is_page = ["html", "body", ":root"].iter().any(|name| trimmed.eq_ignore_ascii_case(name));
        if is_page || names_own_id && is_only_id {
            // The box of a composition is its nested root, or the host where it has none.
            let scope = &self.selector;
            return format!("{scope}:not(:has([{INNER_ROOT}])), {scope} > [{INNER_ROOT}]");
        }
        if names_own_id { trimmed.to_owned() } else { format!("{} {trimmed}", self.selector) }
    }

    /// The tokens without start and duration beside the composition's id: mounting removes these attributes from the
    /// root.
    fn without_timing<'p>(&self, tokens: &'p [SelectorToken]) -> Vec<&'p SelectorToken> {
        let is_beside_id = |at: usize, step: isize| {
            let mut at = at as isize + step;
            loop {
                match usize::try_from(at).ok().and_then(|at| tokens.get(at)) {
                    Some(SelectorToken::Timing(_)) => at += step,
                    Some(SelectorToken::Composition) => return true,
                    _ => return false,
                }
            }
        };
        let keep = |(at, token): (usize, &'p SelectorToken)| {
            let is_dropped = matches!(token, SelectorToken::Timing(_)) && (is_beside_id(at, 1) || is_beside_id(at, -1));
            (!is_dropped).then_some(token)
        };
        tokens.iter().enumerate().filter_map(keep).collect()
    }
}

/// The selector list with each id selector replaced by what `replace` returns; `None` leaves it alone.
pub(super) fn replace_ids(list: &str, replace: &mut dyn FnMut(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(list.len());
    fn walk(input: &mut Parser<'_>, out: &mut String, replace: &mut dyn FnMut(&str) -> Option<String>) {
        loop {
            let start = input.position();
            let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { return };
            let replaced = match &token {
                Token::IDHash(id) => replace(id),
                _ => None,
            };
            out.push_str(replaced.as_deref().unwrap_or(input.slice_from(start)));
            if opens_block(&token) {
                descend(input, out, |block, out| walk(block, out, replace));
            }
        }
    }
    walk(&mut Parser::new(list), &mut out, replace);
    out
}

/// A part of a selector.
#[derive(Debug)]
enum SelectorToken {
    Text(String),
    /// `[data-composition-id="…"]` of the composition itself.
    Composition,
    /// `[data-start="…"]` or `[data-duration="…"]`.
    Timing(String),
    Comma,
}

impl SelectorToken {
    fn text<'p>(&'p self, scope: &'p Scope) -> &'p str {
        match self {
            SelectorToken::Text(text) | SelectorToken::Timing(text) => text,
            SelectorToken::Composition => &scope.selector,
            SelectorToken::Comma => ",",
        }
    }
}

fn parse(list: &str, scope: &Scope) -> Vec<SelectorToken> {
    let mut found = Vec::new();
    let mut input = Parser::new(list);
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { break };
        if matches!(token, Token::Comma) {
            found.push(SelectorToken::Comma);
            continue;
        }
        found.push(parse_token(&mut input, start, &token, scope));
    }
    found
}

fn parse_token(
    input: &mut Parser<'_>,
    start: cssparser::SourcePosition,
    token: &Token<'_>,
    scope: &Scope,
) -> SelectorToken {
    match token {
        Token::Comment(_) => SelectorToken::Text(String::new()),
        Token::IDHash(id) if scope.root_id.as_deref() == Some(id) => {
            SelectorToken::Text(format!("[{AUTHORED_ID}=\"{}\"]", escaped(id)))
        }
        Token::SquareBracketBlock => {
            let mut tokens = Vec::new();
            let mut inner = String::new();
            descend(input, &mut inner, |block, _| {
                while let Ok(token) = block.next() {
                    tokens.push(token.clone());
                }
            });
            let text = input.slice_from(start).to_owned();
            match attribute(&tokens) {
                Some(("data-composition-id", value)) if value == scope.composition => SelectorToken::Composition,
                Some(("data-start" | "data-duration", _)) => SelectorToken::Timing(text),
                _ => SelectorToken::Text(text),
            }
        }
        token if opens_block(token) => {
            let mut text = input.slice_from(start).to_owned();
            descend(input, &mut text, |block, text| {
                loop {
                    let start = block.position();
                    let Ok(token) = block.next_including_whitespace_and_comments().cloned() else { return };
                    let inner = parse_token(block, start, &token, scope);
                    text.push_str(inner.text(scope));
                }
            });
            SelectorToken::Text(text)
        }
        _ => SelectorToken::Text(input.slice_from(start).to_owned()),
    }
}

/// Name and value of `[name="value"]`, where the value is quoted and compared with `=`, `^=`, `$=` or `*=`.
fn attribute<'t>(tokens: &'t [Token<'_>]) -> Option<(&'t str, &'t str)> {
    let [Token::Ident(name), operator, Token::QuotedString(value)] = tokens else { return None };
    let compares =
        matches!(operator, Token::Delim('=') | Token::PrefixMatch | Token::SuffixMatch | Token::SubstringMatch);
    compares.then_some((name.as_ref(), value.as_ref()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bind(list: &str) -> String {
        let scope = Scope {
            selector: of_composition("card__hf2"),
            composition: "card".to_owned(),
            root_id: Some("root".to_owned()),
        };
        scope.bind(list).replace(&of_composition("card__hf2"), "§")
    }

    const BOX: &str = "§:not(:has([data-hf-inner-root])), § > [data-hf-inner-root]";

    #[test]
    fn selectors_are_bound_to_their_mount() {
        assert_eq!(bind(".a .b > c"), "§ .a .b > c");
        assert_eq!(bind(".a, #b:is(.c, .d) "), "§ .a,§ #b:is(.c, .d) ");
        assert_eq!(bind("*"), "*");
        assert_eq!(bind(".a:not(#root)"), "§ .a:not([data-hf-authored-id=\"root\"])");
        assert_eq!(bind("#root.wide .x"), "§ [data-hf-authored-id=\"root\"].wide .x");
        assert_eq!(bind("[title=\"a, b\"]"), "§ [title=\"a, b\"]");
    }

    #[test]
    fn the_page_becomes_the_compositions_box() {
        for page in ["html", "BODY", ":root", "[data-composition-id=\"card\"]"] {
            assert_eq!(bind(page), BOX);
        }
        assert_eq!(bind("[ data-composition-id = 'card' ][data-start=\"0\"]"), BOX);
        assert_eq!(bind("body .a"), "§ body .a");
    }

    #[test]
    fn its_own_id_becomes_the_mounts() {
        assert_eq!(bind("[data-composition-id=\"card\"] .a"), "§ .a");
        assert_eq!(bind(".x [data-composition-id=\"card\"] .a"), ".x § .a");
        assert_eq!(bind("[data-start=\"0\"][data-composition-id=\"card\"] .a"), "§ .a");
        assert_eq!(bind("[data-composition-id=\"other\"] .a"), "§ [data-composition-id=\"other\"] .a");
    }

    #[test]
    fn ids_are_replaced_outside_attributes() {
        let mut to = |id: &str| (id == "a").then(|| ":is(#a, #b)".to_owned());
        assert_eq!(replace_ids("#a:not(#a) [x='#a'] #c", &mut to), ":is(#a, #b):not(:is(#a, #b)) [x='#a'] #c");
    }
}
