//! URLs of the slot's server, and percent coding of paths.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, utf8_percent_encode};

/// Bytes of a path that are percent-encoded: all but letters, digits and some marks.
const ENCODED: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'/').remove(b'-').remove(b'_').remove(b'.').remove(b'!').remove(b'~').remove(b'*');

/// A path from the project's root as the path of a URL, without a leading slash.
pub(crate) fn encode_path(path: &str) -> String {
    utf8_percent_encode(path, ENCODED).to_string()
}

/// The path of a URL as a path from the project's root; `None` where a percent sign is not followed by two hexadecimal
/// digits, or the bytes are not UTF-8.
pub(crate) fn decode_path(path: &str) -> Option<String> {
    let path = path.trim_start_matches('/');
    let is_encoded =
        |at: usize| path.as_bytes().get(at + 1..at + 3).is_some_and(|digits| digits.iter().all(u8::is_ascii_hexdigit));
    if !path.match_indices('%').all(|(at, _)| is_encoded(at)) {
        return None;
    }
    percent_decode_str(path).decode_utf8().ok().map(std::borrow::Cow::into_owned)
}

/// The end of the host in every origin of a slot's server.
pub(crate) const HOST_SUFFIX: &str = ".localhost";

/// A URL of a slot's server without scheme, authority and leading slash, for messages. Other URLs stay as they are.
pub(crate) fn without_origin(url: &str) -> &str {
    let is_own = |authority: &str| {
        let host = authority.rsplit_once(':').map_or(authority, |(host, _)| host);
        host == "127.0.0.1" || host.ends_with(HOST_SUFFIX)
    };
    let parts = url.strip_prefix("http://").and_then(|rest| rest.split_once('/'));
    parts.filter(|(authority, _)| is_own(authority)).map_or(url, |(_, path)| path)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_encoded() {
        assert_eq!(encode_path("a b/é#?.html"), "a%20b/%C3%A9%23%3F.html");
        assert_eq!(encode_path("-_.!~*/"), "-_.!~*/");
    }

    #[test]
    fn paths_are_decoded_once() {
        assert_eq!(decode_path("/a%20b/%C3%A9.png").as_deref(), Some("a b/é.png"));
        assert_eq!(decode_path("/%252e").as_deref(), Some("%2e"));
        for malformed in ["/%", "/%f", "/%zz", "/%ff"] {
            assert_eq!(decode_path(malformed), None, "{malformed}");
        }
    }

    #[test]
    fn messages_name_files_without_the_slots_address() {
        assert_eq!(without_origin("http://127.0.0.1:4711/lib/a.js"), "lib/a.js");
        assert_eq!(without_origin("http://0f3a.localhost/lib/a.js"), "lib/a.js");
        assert_eq!(without_origin("https://example.org/a.js"), "https://example.org/a.js");
    }
}
