//! The words of a speech as captions: lines that are read at a glance.

use super::SpokenWord;
use crate::html::escaped;

/// Characters of a caption at most, unless one word is longer.
const CHARACTERS: usize = 42;

/// Seconds of silence after which a caption ends.
const PAUSE: f64 = 0.5;

/// Seconds that a caption stays after its last word, if the next one is later.
const HOLD: f64 = 0.3;

/// Elements for the page, each a clip with its words in `data-caption`. Where `are_shown`, the words are in the picture too.
pub(crate) fn elements(words: &[SpokenWord], are_shown: bool) -> String {
    let lines = lines(words);
    let mut html = String::new();
    for (index, line) in lines.iter().enumerate() {
        let start = line.first().map_or(0.0, |word| word.start);
        let end = line.last().map_or(0.0, |word| word.end) + HOLD;
        let end = lines.get(index + 1).and_then(|next| next.first()).map_or(end, |next| end.min(next.start));
        let text = escaped(&line.iter().map(|word| word.word.as_str()).collect::<Vec<_>>().join(" "));
        let shown = if are_shown { format!("<p>{text}</p>") } else { String::new() };
        let length = (end - start).max(0.04);
        html.push_str(&format!(
            "<div class=\"clip caption\" data-start=\"{start:.3}\" data-duration=\"{length:.3}\" data-track-index=\"2\" \
             data-caption=\"{text}\">{shown}</div>\n"
        ));
    }
    html
}

/// The words in lines: a sentence or a pause ends one, and so does its length.
fn lines(words: &[SpokenWord]) -> Vec<&[SpokenWord]> {
    let (mut lines, mut first, mut length) = (Vec::new(), 0, 0);
    for (index, word) in words.iter().enumerate() {
        let characters = word.word.chars().count();
        if index > first {
            let last = &words[index - 1];
            let is_over = last.word.ends_with(['.', '!', '?', '…', '。', '！', '？']);
            if is_over || word.start - last.end > PAUSE || length + 1 + characters > CHARACTERS {
                lines.push(&words[first..index]);
                (first, length) = (index, 0);
            }
        }
        length += characters + usize::from(length > 0);
    }
    if first < words.len() {
        lines.push(&words[first..]);
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_end_with_sentences_pauses_and_length() {
        let mut at = 0.0;
        let mut word = |word: &str, pause: f64| {
            let start = at;
            at += 0.3 + pause;
            SpokenWord { word: word.to_owned(), start, end: start + 0.3, phonemes: None }
        };
        let mut words = vec![word("Hello.", 0.1), word("Then", 0.0), word("wait", 0.9), word("now", 0.0)];
        words.extend((0..12).map(|_| word("again", 0.0)));
        let found: Vec<usize> = lines(&words).iter().map(|line| line.len()).collect();
        assert_eq!(found, [1, 2, 7, 6]);
        let html = elements(&words, false);
        assert!(html.starts_with("<div class=\"clip caption\" data-start=\"0.000\" data-duration=\"0.400\""), "{html}");
        assert!(html.contains("data-duration=\"0.900\""), "a caption stays a little: {html}");
        assert!(lines(&[]).is_empty());
    }
}
