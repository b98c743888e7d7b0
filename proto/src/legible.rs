//! Texts of strangers, as people see them: in errors, warnings, logs and tables.

use std::borrow::Cow;

/// The first `most` characters of `text`, with the number of bytes that follow. Control characters other than line ends
/// and tabs are escaped, and so are separators of lines and changes of the direction: a terminal would obey them.
pub fn legible(text: &str, most: usize) -> Cow<'_, str> {
    let end = text.char_indices().nth(most).map_or(text.len(), |(end, _)| end);
    let shown = &text[..end];
    if end == text.len() && !shown.contains(is_escaped) {
        return Cow::Borrowed(text);
    }
    let mut out = String::with_capacity(shown.len());
    for c in shown.chars() {
        if is_escaped(c) { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    if end < text.len() {
        out.push_str(&format!("… ({} more bytes)", text.len() - end));
    }
    Cow::Owned(out)
}

fn is_escaped(c: char) -> bool {
    c.is_control() && !matches!(c, '\n' | '\t')
        || matches!(c, '\u{2028}' | '\u{2029}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn texts_are_short_and_without_control_characters() {
        assert!(matches!(legible("é\n\t", 3), Cow::Borrowed("é\n\t")));
        assert_eq!(legible("a\u{202e}b\u{1b}[31m\u{85}", 100), "a\\u{202e}b\\u{1b}[31m\\u{85}");
        assert_eq!(legible("éxyz", 2), "éx… (2 more bytes)");
    }
}
