//! The selectors of a nested composition, bound to one place where it is mounted, by the rules of the HyperFrames compiler.

use cssparser::{Parser, Token};

use super::css::{descend, escaped, opens_block};

/// Marks the root of a nested composition inside its host.
pub(super) const INNER_ROOT: &str = "data-hf-inner-root";
/// Keeps the id of that root: several mounts cannot share one.
pub(super) const AUTHORED_ID: &str = "data-hf-authored-id";

/// One mount.
#[derive(Debug, Clone)]
pub(super) struct Scope {
    /// Selects the host.
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
    /// Binds a selector list.
    pub(super) fn bind(&self, list: &str) -> String {
        let pieces = pieces(list, self);
        let mut bound: Vec<String> = Vec::new();
        for selector in pieces.split(|piece| matches!(piece, Piece::Comma)) {
            bound.push(self.bind_one(selector));
        }
        let trailing = &list[list.trim_end().len()..];
        format!("{}{trailing}", bound.join(","))
    }

    fn bind_one(&self, pieces: &[Piece]) -> String {
        let pieces = self.without_timing(pieces);
        let text: String = pieces.iter().map(|piece| piece.text(self)).collect();
        let trimmed = text.trim();
        if trimmed.is_empty() || trimmed == "*" {
            return text;
        }
        let names_itself = pieces.iter().any(|piece| matches!(piece, Piece::Composition));
        let nothing_else = pieces.iter().all(|piece| match piece {
            Piece::Composition => true,
            Piece::Text(text) => text.trim().is_empty(),
            _ => false,
        });
        let page = ["html", "body", ":root"].iter().any(|name| trimmed.eq_ignore_ascii_case(name));
        if page || names_itself && nothing_else {
            // The box of a composition is its nested root, or the host where it has none.
            let scope = &self.selector;
            return format!("{scope}:not(:has([{INNER_ROOT}])), {scope} > [{INNER_ROOT}]");
        }
        if names_itself { trimmed.to_owned() } else { format!("{} {trimmed}", self.selector) }
    }

    /// Mounting takes start and duration off the root, so a selector must not ask for them beside its id.
    fn without_timing<'p>(&self, pieces: &'p [Piece]) -> Vec<&'p Piece> {
        let timed = |at: usize, step: isize| {
            let mut at = at as isize + step;
            loop {
                match usize::try_from(at).ok().and_then(|at| pieces.get(at)) {
                    Some(Piece::Timing(_)) => at += step,
                    Some(Piece::Composition) => return true,
                    _ => return false,
                }
            }
        };
        let keep = |(at, piece): (usize, &'p Piece)| {
            let dropped = matches!(piece, Piece::Timing(_)) && (timed(at, 1) || timed(at, -1));
            (!dropped).then_some(piece)
        };
        pieces.iter().enumerate().filter_map(keep).collect()
    }
}

/// Puts `replace`'s answer for the places of id selectors in a list.
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

#[derive(Debug)]
enum Piece {
    Text(String),
    /// `[data-composition-id="…"]` of the composition itself.
    Composition,
    /// `[data-start="…"]` or `[data-duration="…"]`.
    Timing(String),
    Comma,
}

impl Piece {
    fn text<'p>(&'p self, scope: &'p Scope) -> &'p str {
        match self {
            Piece::Text(text) | Piece::Timing(text) => text,
            Piece::Composition => &scope.selector,
            Piece::Comma => ",",
        }
    }
}

fn pieces(list: &str, scope: &Scope) -> Vec<Piece> {
    let mut found = Vec::new();
    let mut input = Parser::new(list);
    loop {
        let start = input.position();
        let Ok(token) = input.next_including_whitespace_and_comments().cloned() else { break };
        if matches!(token, Token::Comma) {
            found.push(Piece::Comma);
            continue;
        }
        found.push(piece(&mut input, start, &token, scope));
    }
    found
}

fn piece(input: &mut Parser<'_>, start: cssparser::SourcePosition, token: &Token<'_>, scope: &Scope) -> Piece {
    match token {
        Token::Comment(_) => Piece::Text(String::new()),
        Token::IDHash(id) if scope.root_id.as_deref() == Some(id) => {
            Piece::Text(format!("[{AUTHORED_ID}=\"{}\"]", escaped(id)))
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
                Some(("data-composition-id", value)) if value == scope.composition => Piece::Composition,
                Some(("data-start" | "data-duration", _)) => Piece::Timing(text),
                _ => Piece::Text(text),
            }
        }
        token if opens_block(token) => {
            let mut text = input.slice_from(start).to_owned();
            descend(input, &mut text, |block, text| {
                loop {
                    let start = block.position();
                    let Ok(token) = block.next_including_whitespace_and_comments().cloned() else { return };
                    let inner = piece(block, start, &token, scope);
                    text.push_str(inner.text(scope));
                }
            });
            Piece::Text(text)
        }
        _ => Piece::Text(input.slice_from(start).to_owned()),
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
