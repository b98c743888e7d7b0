//! Pages whose scenes are mixed by shaders: the runtime mixes them inside the page where it is told so before it starts.

/// What the runtime looks for when it starts.
const SCRIPT: &str = "<script data-hyperfarm>window.__HF_PAGE_SIDE_COMPOSITING__=true</script>";

/// Calls and assignments that announce such transitions, token by token.
const SIGNS: [&[&str]; 2] = [&["HyperShader", ".", "init", "("], &["__hf", ".", "transitions", "="]];

/// The script that a page with `texts` needs before all others; empty for one without such transitions.
pub(super) fn script<'a>(mut texts: impl Iterator<Item = &'a String>) -> &'static str {
    if texts.any(|text| SIGNS.iter().any(|sign| has_tokens(text, sign))) { SCRIPT } else { "" }
}

/// Whether `tokens` follow each other somewhere in `text`, with nothing but blanks between.
fn has_tokens(text: &str, tokens: &[&str]) -> bool {
    let Some((first, others)) = tokens.split_first() else { return true };
    text.match_indices(first).any(|(at, _)| {
        let mut rest = &text[at + first.len()..];
        others.iter().all(|token| match rest.trim_start().strip_prefix(token) {
            Some(after) => {
                rest = after;
                true
            }
            None => false,
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_signs_are_seen_and_nothing_else() {
        let has = |text: &str| !script([text.to_owned()].iter()).is_empty();
        assert!(has("window.HyperShader\n  .init({ scenes: [] })"));
        assert!(has("window.__hf.transitions = [];"));
        assert!(!has("class HyperShader { init() {} }"));
        assert!(!has("__hf.seek(0)"));
    }
}
