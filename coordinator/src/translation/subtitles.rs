//! What is said when, and SubRip files of it.

use hyperfarm_proto::plan::Caption;
use serde::{Deserialize, Serialize};

/// Subtitles of a video at most.
pub(crate) const MOST: usize = 5000;

/// Characters of a subtitle at most: what a voice speaks at once.
pub(crate) const CHARACTERS: usize = 2000;

/// What is said from one second of a video to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Subtitle {
    /// The second at which it begins.
    pub start: f64,
    /// The second at which it ends, after its start.
    pub end: f64,
    /// What is said, on one line.
    pub text: String,
}

/// What is wrong with a SubRip file.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum SubtitleError {
    #[error("line {line} of the file must have times such as 00:00:01,200 --> 00:00:04,800, and is `{text}`")]
    Times { line: usize, text: String },
    #[error("the subtitle in line {line} of the file must end after its start")]
    Order { line: usize },
    #[error("the subtitle in line {line} of the file may have {CHARACTERS} characters")]
    Long { line: usize },
    #[error("the file has no subtitle with words")]
    Empty,
    #[error("the file may have {MOST} subtitles")]
    Many,
}

/// The subtitles of a SubRip file, in the order of their times. Markup is left out, and lines of one subtitle are joined.
pub(crate) fn parse(file: &str) -> Result<Vec<Subtitle>, SubtitleError> {
    let mut subtitles = Vec::new();
    let mut lines = file.trim_start_matches('\u{feff}').lines().enumerate().peekable();
    while let Some((index, first)) = lines.next() {
        if first.trim().is_empty() {
            continue;
        }
        // The number may be missing.
        let is_number = first.trim().chars().all(|c| c.is_ascii_digit());
        let (index, times) = if is_number { lines.next().unwrap_or((index, first)) } else { (index, first) };
        let line = index + 1;
        let shown = || times.trim().chars().take(80).collect();
        let (start, end) = interval(times).ok_or_else(|| SubtitleError::Times { line, text: shown() })?;
        if end <= start {
            return Err(SubtitleError::Order { line });
        }
        let mut text = String::new();
        while let Some((_, next)) = lines.next_if(|(_, next)| !next.trim().is_empty()) {
            text.push_str(next);
            text.push(' ');
        }
        let text = plain(&text);
        if text.chars().count() > CHARACTERS {
            return Err(SubtitleError::Long { line });
        }
        if !text.is_empty() {
            subtitles.push(Subtitle { start, end, text });
        }
        if subtitles.len() > MOST {
            return Err(SubtitleError::Many);
        }
    }
    if subtitles.is_empty() {
        return Err(SubtitleError::Empty);
    }
    subtitles.sort_by(|a, b| a.start.total_cmp(&b.start));
    Ok(subtitles)
}

/// The seconds of a line such as `00:00:01,200 --> 00:00:04,800`. What follows is a position, which is left out.
fn interval(line: &str) -> Option<(f64, f64)> {
    let (start, end) = line.split_once("-->")?;
    Some((seconds(start.trim())?, seconds(end.split_whitespace().next()?)?))
}

/// The seconds of a time such as `00:00:01,200`, `00:01.2` or `01:02:03`.
fn seconds(time: &str) -> Option<f64> {
    let (whole, fraction) = time.split_once([',', '.']).unwrap_or((time, "0"));
    let is_digits =
        |text: &str, most: usize| !text.is_empty() && text.len() <= most && text.chars().all(|c| c.is_ascii_digit());
    let parts: Vec<&str> = whole.split(':').collect();
    if !(2..=3).contains(&parts.len()) || !parts.iter().all(|part| is_digits(part, 3)) || !is_digits(fraction, 9) {
        return None;
    }
    let whole = parts.iter().try_fold(0.0, |sum, part| Some(sum * 60.0 + part.parse::<f64>().ok()?))?;
    Some(whole + format!("0.{fraction}").parse::<f64>().ok()?)
}

/// A text without tags such as `<i>` and `{\an8}`, with single spaces.
pub(crate) fn plain(text: &str) -> String {
    let mut kept = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['<', '{']) {
        let (before, tag) = rest.split_at(at);
        kept.push_str(before);
        let is_tag = match tag.as_bytes() {
            [b'<', next, ..] => next.is_ascii_alphabetic() || *next == b'/',
            [b'{', next, ..] => *next == b'\\',
            _ => false,
        };
        let end = if tag.starts_with('<') { '>' } else { '}' };
        match tag.find(end).filter(|_| is_tag) {
            Some(end) => rest = &tag[end + 1..],
            None => {
                kept.push_str(&tag[..1]);
                rest = &tag[1..];
            }
        }
    }
    kept.push_str(rest);
    kept.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// Subtitles as a SubRip file.
pub(crate) fn srt(subtitles: &[Subtitle]) -> String {
    let captions: Vec<Caption> = subtitles
        .iter()
        .map(|Subtitle { start, end, text }| Caption {
            start_ms: (start * 1000.0).round() as u64,
            end_ms: (end * 1000.0).round() as u64,
            text: text.clone(),
        })
        .collect();
    hyperfarm_media::srt(&captions)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subtitle(start: f64, end: f64, text: &str) -> Subtitle {
        Subtitle { start, end, text: text.to_owned() }
    }

    #[test]
    fn a_file_is_read_as_it_was_written() {
        let subtitles = [subtitle(0.5, 1.25, "Hello there."), subtitle(3661.001, 3662.0, "Bye!")];
        assert_eq!(parse(&srt(&subtitles)), Ok(subtitles.to_vec()));
    }

    #[test]
    fn files_of_other_programs_are_read() {
        let file = "\u{feff}2\r\n00:00:05.5 --> 00:00:06,0 X1:100\r\n<i>Second</i>\r\n{\\an8}line \r\n\r\n\r\n\
                    1\r\n0:01,000 --> 0:02,000\r\n5 < 6 {ok}\r\n\r\n00:07,0 --> 00:08,0\r\n\r\n";
        assert_eq!(parse(file), Ok(vec![subtitle(1.0, 2.0, "5 < 6 {ok}"), subtitle(5.5, 6.0, "Second line")]));
        assert_eq!(parse("1\n00:00:01,000 --> 00:00:02,000\n10\n"), Ok(vec![subtitle(1.0, 2.0, "10")]));
    }

    #[test]
    fn a_refusal_names_the_line() {
        let times = |line, text: &str| Err(SubtitleError::Times { line, text: text.to_owned() });
        assert_eq!(parse("Hello"), times(1, "Hello"));
        assert_eq!(parse("1\n00:00:01,000 --> 00:00:02,000\nA\n\n2\n00:00:03 -> 4\nB"), times(6, "00:00:03 -> 4"));
        assert_eq!(parse("1\n1:-1 --> 0:02\nA"), times(2, "1:-1 --> 0:02"));
        assert_eq!(parse("7"), times(1, "7"));
        assert_eq!(parse("1\n00:02 --> 00:01\nA"), Err(SubtitleError::Order { line: 2 }));
        assert_eq!(parse("\n\n"), Err(SubtitleError::Empty));
        assert_eq!(parse("1\n00:01 --> 00:02\n<b></b>"), Err(SubtitleError::Empty));
        let long = format!("00:01 --> 00:02\n{}", "x".repeat(CHARACTERS + 1));
        assert_eq!(parse(&long), Err(SubtitleError::Long { line: 1 }));
        assert_eq!(parse(&"00:01 --> 00:02\nA\n\n".repeat(MOST + 1)), Err(SubtitleError::Many));
    }
}
