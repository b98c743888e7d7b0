//! Captions as SubRip and WebVTT files, and as the samples of a text track.

use std::fmt::Write as _;

use ffmpeg_next::Packet;
use ffmpeg_next::packet::Flags;
use hyperfarm_proto::plan::Caption;

use crate::error::MediaError;
use crate::mux::{CAPTION_TICKS, Muxer};

/// Bytes of a text sample at most: its length has two bytes.
const SAMPLE_MAX: usize = 0xffff;

/// `captions` as a SubRip file. SubRip has no escapes: a word joiner, which has no width, keeps players from reading
/// markup in a text.
pub fn srt(captions: &[Caption]) -> String {
    let mut file = String::new();
    for (number, Caption { start_ms, end_ms, text }) in captions.iter().enumerate() {
        let text = without_markup(text);
        let _ = write!(file, "{}\n{} --> {}\n{text}\n\n", number + 1, clock(*start_ms, ','), clock(*end_ms, ','));
    }
    file
}

/// `captions` as a WebVTT file.
pub fn webvtt(captions: &[Caption]) -> String {
    let mut file = "WEBVTT\n\n".to_owned();
    for Caption { start_ms, end_ms, text } in captions {
        let text = text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;");
        let _ = write!(file, "{} --> {}\n{text}\n\n", clock(*start_ms, '.'), clock(*end_ms, '.'));
    }
    file
}

/// `ms` milliseconds as hours, minutes, seconds and, after `separator`, milliseconds.
pub(crate) fn clock(ms: u64, separator: char) -> String {
    let seconds = ms / 1000;
    format!("{:02}:{:02}:{:02}{separator}{:03}", seconds / 3600, seconds / 60 % 60, seconds % 60, ms % 1000)
}

fn without_markup(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(char) = chars.next() {
        result.push(char);
        let is_markup = match char {
            '<' => chars.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '/'),
            '{' => chars.peek().is_some_and(|next| next.is_ascii_alphabetic() || *next == '\\'),
            _ => false,
        };
        if is_markup {
            result.push('\u{2060}');
        }
    }
    result.replace("-->", "--\u{2060}>")
}

/// The captions of an output as a text track. Samples of such a track follow one another without gaps and overlaps, so
/// captions that overlap share a sample, and gaps have empty ones.
pub(crate) struct CaptionTrack {
    stream: usize,
    /// Samples that are not written yet, the last one first: start and end in milliseconds, and text.
    pending: Vec<(u64, u64, String)>,
}

impl CaptionTrack {
    /// The samples of `captions` in stream `stream` of an output that lasts `duration` seconds.
    pub(crate) fn new(stream: usize, captions: &[Caption], duration: f64) -> Self {
        let mut pending = samples(captions, (duration * f64::from(CAPTION_TICKS)) as u64);
        pending.reverse();
        Self { stream, pending }
    }

    /// Writes the samples that start before `seconds`.
    pub(crate) fn write_until(&mut self, seconds: f64, muxer: &mut Muxer) -> Result<(), MediaError> {
        while let Some((start, end, text)) = self.pending.pop_if(|(start, ..)| (*start as f64) < seconds * 1000.0) {
            let mut packet = Packet::copy(&sample(&text));
            packet.set_stream(self.stream);
            packet.set_flags(Flags::KEY);
            packet.set_pts(Some(start as i64));
            packet.set_dts(Some(start as i64));
            packet.set_duration((end - start) as i64);
            muxer.write(&mut packet)?;
        }
        Ok(())
    }
}

/// Start, end and text of each sample of a track of `captions` that lasts `length` milliseconds.
fn samples(captions: &[Caption], length: u64) -> Vec<(u64, u64, String)> {
    let mut edges: Vec<u64> = captions.iter().flat_map(|caption| [caption.start_ms, caption.end_ms]).collect();
    edges.extend([0, length]);
    edges.retain(|edge| *edge <= length);
    edges.sort_unstable();
    edges.dedup();
    let text_at = |start| {
        let shown = captions.iter().filter(|caption| (caption.start_ms..caption.end_ms).contains(&start));
        shown.map(|caption| caption.text.as_str()).collect::<Vec<_>>().join("\n")
    };
    edges.iter().zip(edges.iter().skip(1)).map(|(start, end)| (*start, *end, text_at(*start))).collect()
}

/// A text sample: two bytes of length and the text in UTF-8.
fn sample(text: &str) -> Vec<u8> {
    let most = text.len().min(SAMPLE_MAX);
    let end = (0..=most).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
    let text = &text[..end];
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caption(start_ms: u64, end_ms: u64, text: &str) -> Caption {
        Caption { start_ms, end_ms, text: text.to_owned() }
    }

    #[test]
    fn files_have_exact_times_and_no_markup() {
        let captions = [caption(5, 1_999, "a < b & <b>c</b>\n{\\an8}d"), caption(3_600_000, 3_661_010, "x --> y")];
        assert_eq!(
            srt(&captions),
            "1\n00:00:00,005 --> 00:00:01,999\na < b & <\u{2060}b>c<\u{2060}/b>\n{\u{2060}\\an8}d\n\n\
             2\n01:00:00,000 --> 01:01:01,010\nx --\u{2060}> y\n\n"
        );
        assert_eq!(
            webvtt(&captions),
            "WEBVTT\n\n00:00:00.005 --> 00:00:01.999\na &lt; b &amp; &lt;b&gt;c&lt;/b&gt;\n{\\an8}d\n\n\
             01:00:00.000 --> 01:01:01.010\nx --&gt; y\n\n"
        );
    }

    #[test]
    fn a_track_has_no_gaps_and_no_overlaps() {
        let captions = [caption(100, 300, "a"), caption(200, 400, "b"), caption(900, 1_001, "c")];
        let found = samples(&captions, 1_000);
        let expected =
            [(0, 100, ""), (100, 200, "a"), (200, 300, "a\nb"), (300, 400, "b"), (400, 900, ""), (900, 1_000, "c")];
        assert_eq!(found, expected.map(|(start, end, text)| (start, end, text.to_owned())));
        assert_eq!(samples(&[], 1_000), [(0, 1_000, String::new())]);
        assert_eq!(sample("é"), [0, 2, 0xc3, 0xa9]);
        assert_eq!(sample(&"é".repeat(40_000)).len(), 2 + 0xfffe);
    }
}
