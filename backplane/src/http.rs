//! What the farm's HTTP servers share: ranges of bytes, and media types by file name.

use std::ops::Range;

/// What a `Range` header asks of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByteRange {
    /// The whole file: there is no header, or one that is malformed or asks for several parts, which a server may ignore (RFC 9110).
    Whole,
    /// These bytes, at least one.
    Part(Range<u64>),
    /// Bytes that the file does not have.
    Unsatisfiable,
}

impl ByteRange {
    /// Reads the value of a `Range` header, if there is one, for a file of `length` bytes.
    pub fn parse(header: Option<&str>, length: u64) -> Self {
        let part = header.and_then(|value| value.trim().strip_prefix("bytes=")).filter(|part| !part.contains(','));
        let Some((first, last)) = part.and_then(|part| part.trim().split_once('-')) else { return Self::Whole };
        let (first, last) = (first.trim(), last.trim());
        let range = match (first.parse::<u64>(), last.parse::<u64>()) {
            (Ok(first), Ok(last)) if first <= last => first..last.saturating_add(1).min(length),
            (Ok(first), Err(_)) if last.is_empty() => first..length,
            (Err(_), Ok(count)) if first.is_empty() => length.saturating_sub(count)..length,
            _ => return Self::Whole,
        };
        if range.start < range.end { Self::Part(range) } else { Self::Unsatisfiable }
    }
}

/// The media type of a file by its name's extension, for a `Content-Type` header; `application/octet-stream` where it is unknown.
pub fn media_type(name: &str) -> &'static str {
    let extension = name.rsplit_once('.').map_or("", |(_, extension)| extension).to_ascii_lowercase();
    match extension.as_str() {
        "html" | "htm" => "text/html; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "js" | "mjs" | "cjs" => "text/javascript; charset=utf-8",
        "json" | "map" => "application/json; charset=utf-8",
        "vtt" => "text/vtt; charset=utf-8",
        "txt" | "cube" => "text/plain; charset=utf-8",
        // What browsers play, by the name that they know.
        "m4v" => "video/mp4",
        "m4a" => "audio/mp4",
        "woff" => "font/woff",
        "otf" => "font/otf",
        other => mime_guess::from_ext(other).first_raw().unwrap_or("application/octet-stream"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_are_those_of_the_rfc() {
        use ByteRange::{Part, Unsatisfiable, Whole};
        for (value, expected) in [
            ("bytes=0-0", Part(0..1)),
            ("bytes=0-", Part(0..10)),
            ("bytes=3-5", Part(3..6)),
            ("bytes=2-99", Part(2..10)),
            ("bytes=3-500", Part(3..10)),
            ("bytes=-4", Part(6..10)),
            ("bytes=-40", Part(0..10)),
            ("bytes=10-", Unsatisfiable),
            ("bytes=-0", Unsatisfiable),
            ("bytes=5-3", Whole),
            ("bytes=0-1,3-4", Whole),
            ("lines=0-1", Whole),
            ("bytes=x-y", Whole),
            ("bytes=x-", Whole),
            ("bytes=", Whole),
        ] {
            assert_eq!(ByteRange::parse(Some(value), 10), expected, "{value}");
        }
        assert_eq!(ByteRange::parse(Some("bytes=0-"), 0), Unsatisfiable);
        assert_eq!(ByteRange::parse(None, 0), Whole);
    }

    #[test]
    fn media_types_are_those_that_browsers_expect() {
        for (path, expected) in [
            ("index.html", "text/html; charset=utf-8"),
            ("a/b.CSS", "text/css; charset=utf-8"),
            ("lib.js", "text/javascript; charset=utf-8"),
            ("lib.mjs", "text/javascript; charset=utf-8"),
            ("lib.cjs", "text/javascript; charset=utf-8"),
            ("data.json", "application/json; charset=utf-8"),
            ("lib.js.map", "application/json; charset=utf-8"),
            ("look.cube", "text/plain; charset=utf-8"),
            ("a.svg", "image/svg+xml"),
            ("a.png", "image/png"),
            ("a.jpg", "image/jpeg"),
            ("a.gif", "image/gif"),
            ("a.webp", "image/webp"),
            ("a.avif", "image/avif"),
            ("a.mp4", "video/mp4"),
            ("a.m4v", "video/mp4"),
            ("a.m4a", "audio/mp4"),
            ("a.vtt", "text/vtt; charset=utf-8"),
            ("a.mov", "video/quicktime"),
            ("a.webm", "video/webm"),
            ("a.mp3", "audio/mpeg"),
            ("a.wav", "audio/wav"),
            ("a.ogg", "audio/ogg"),
            ("a.opus", "audio/ogg"),
            ("a.flac", "audio/flac"),
            ("a.woff2", "font/woff2"),
            ("a.ttf", "font/ttf"),
            ("a.wasm", "application/wasm"),
            ("a.glb", "model/gltf-binary"),
            ("a.gltf", "model/gltf+json"),
            ("no-extension", "application/octet-stream"),
            ("output.zip", "application/zip"),
            ("a.srt", "application/x-subrip"),
            ("a.pdf", "application/pdf"),
            ("plan.bin", "application/octet-stream"),
        ] {
            assert_eq!(media_type(path), expected, "{path}");
        }
    }

    proptest! {
        #[test]
        fn fuzz_ranges(header in "(bytes=)?[0-9a-z ,+-]{0,45}|.{0,30}", length in prop_oneof![0u64..20, any::<u64>()]) {
            if let ByteRange::Part(range) = ByteRange::parse(Some(&header), length) {
                prop_assert!(range.start < range.end && range.end <= length, "{range:?} of {length}");
            }
        }
    }
}
