//! Transitions by shaders: the runtime composites scenes inside the page where a flag is set before it starts.

/// Sets the flag for the runtime.
const SCRIPT: &str = "<script data-hyperfarm>window.__HF_PAGE_SIDE_COMPOSITING__=true</script>";

/// Tokens of calls and assignments that set up such transitions.
const SETUPS: [&[&str]; 2] = [&["HyperShader", ".", "init", "("], &["__hf", ".", "transitions", "="]];

/// The script that a page with `texts` needs before all others; empty for one without such transitions.
pub(super) fn script<'a>(mut texts: impl Iterator<Item = &'a String>) -> &'static str {
    if texts.any(|text| SETUPS.iter().any(|setup| has_tokens(text, setup))) { SCRIPT } else { "" }
}

/// Whether `text` contains `tokens` in sequence, with nothing but white space between them.
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
    fn both_setups_are_found_and_nothing_else() {
        let has = |text: &str| !script([text.to_owned()].iter()).is_empty();
        assert!(has("window.HyperShader\n  .init({ scenes: [] })"));
        assert!(has("window.__hf.transitions = [];"));
        assert!(!has("class HyperShader { init() {} }"));
        assert!(!has("__hf.seek(0)"));
    }
}
