//! HTTP ranges, as media elements ask for them.

/// Bytes `[start, end)` of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) start: u64,
    pub(super) end: u64,
}

/// The one range of a `Range` header; `None` where it cannot be satisfied. Several ranges are answered with the first.
pub(super) fn span_of(header: &str, length: u64) -> Option<Span> {
    let first = header.strip_prefix("bytes=")?.split(',').next()?.trim();
    let (start, end) = first.split_once('-')?;
    let span = match (start.trim(), end.trim()) {
        ("", suffix) => Span { start: length.saturating_sub(suffix.parse().ok()?), end: length },
        (start, "") => Span { start: start.parse().ok()?, end: length },
        (start, end) => {
            Span { start: start.parse().ok()?, end: end.parse::<u64>().ok()?.saturating_add(1).min(length) }
        }
    };
    (span.start < span.end).then_some(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        assert_eq!(span_of("bytes=0-", 10), Some(Span { start: 0, end: 10 }));
        assert_eq!(span_of("bytes=2-3", 10), Some(Span { start: 2, end: 4 }));
        assert_eq!(span_of("bytes=2-99", 10), Some(Span { start: 2, end: 10 }));
        assert_eq!(span_of("bytes=-4", 10), Some(Span { start: 6, end: 10 }));
        assert_eq!(span_of("bytes=-40", 10), Some(Span { start: 0, end: 10 }));
        for bad in ["bytes=10-", "bytes=5-2", "bytes=x-", "items=0-1", "bytes=", "bytes=-0"] {
            assert_eq!(span_of(bad, 10), None, "{bad}");
        }
    }
}
