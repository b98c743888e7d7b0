//! Warnings of times that the runtime does not understand: it takes others in their place and says nothing.

use std::collections::{BTreeMap, BTreeSet};

use dom_query::{Document, NodeRef};
use hyperfarm_proto::plan::Warning;

use super::dom::{all, attr, trimmed};

/// What `data-start` says.
#[derive(Debug, PartialEq)]
enum Start<'a> {
    /// Seconds.
    Seconds(f64),
    /// The end of the clip with this id, and perhaps some time before or after it.
    After(&'a str),
}

/// Warns of each time of a clip that is none, and of each start after a clip that is not there. `texts` are the text files
/// of the project by path, to tell the line of an element without an id.
pub(super) fn check(document: &Document, texts: &BTreeMap<String, String>, warnings: &mut Vec<Warning>) {
    let mut names = BTreeSet::new();
    for element in all(document, "[id], [data-composition-id]") {
        names.extend(["id", "data-composition-id"].iter().filter_map(|name| trimmed(element, name)));
    }
    let mut warn = |code: &str, message: String| warnings.push(Warning { code: code.to_owned(), message });
    for element in all(document, "[data-start]") {
        let Some(text) = trimmed(element, "data-start") else { continue };
        match start(&text) {
            Some(Start::Seconds(_)) => {}
            Some(Start::After(id)) if names.contains(id) => {}
            Some(Start::After(id)) => {
                let name = name_of(element, "data-start", texts);
                let advice = match id.strip_suffix(['s', 'S']).is_some_and(|seconds| number(seconds).is_some()) {
                    true => "give seconds without a unit".to_owned(),
                    false => format!("give seconds, or the id of a clip; no element has the id `{id}`"),
                };
                warn(
                    "CLIP_NOT_FOUND",
                    format!("data-start=\"{text}\" of {name} names no clip of the page, and it starts at 0; {advice}"),
                );
            }
            None => {
                let name = name_of(element, "data-start", texts);
                let expected = "seconds, or the id of a clip, with or without seconds after it, such as `intro + 0.5`";
                warn(
                    "TIME_INVALID",
                    format!("data-start=\"{text}\" of {name} is no time, and is ignored; give {expected}"),
                );
            }
        }
    }
    for attribute in ["data-duration", "data-end"] {
        // On other elements the attribute is the page's own.
        let clips = ["[data-start]", "[data-composition-id]"].map(|clip| format!("{clip}[{attribute}]"));
        let media = ["video", "audio"].map(|kind| format!("{kind}[{attribute}]"));
        for element in all(document, &[clips, media].concat().join(", ")) {
            let Some(text) = trimmed(element, attribute) else { continue };
            if number(&text).is_some_and(|seconds| seconds >= 0.0) {
                continue;
            }
            let name = name_of(element, attribute, texts);
            warn(
                "TIME_INVALID",
                format!("{attribute}=\"{text}\" of {name} is no time, and is ignored; give seconds, such as 2.5"),
            );
        }
    }
}

/// The start that a text says, as the runtime reads it.
fn start(text: &str) -> Option<Start<'_>> {
    if let Some(seconds) = number(text) {
        return Some(Start::Seconds(seconds));
    }
    let is_id = |text: &str| !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || "_.:-".contains(c));
    if is_id(text) {
        return Some(Start::After(text));
    }
    let (id, seconds) = text.rsplit_once(['+', '-'])?;
    let is_plain = |text: &str| {
        text.ends_with(|c: char| c.is_ascii_digit()) && text.chars().all(|c| c.is_ascii_digit() || c == '.')
    };
    (is_id(id.trim()) && is_plain(seconds.trim()) && number(seconds).is_some()).then(|| Start::After(id.trim()))
}

/// A number as scripts read it.
fn number(text: &str) -> Option<f64> {
    let text = text.trim();
    let whole = |prefix: [&str; 2], base| {
        let digits = prefix.iter().find_map(|prefix| text.strip_prefix(prefix))?;
        u64::from_str_radix(digits, base).ok().map(|number| number as f64)
    };
    let prefixed = whole(["0x", "0X"], 16).or_else(|| whole(["0b", "0B"], 2)).or_else(|| whole(["0o", "0O"], 8));
    prefixed.or_else(|| text.parse().ok()).filter(|number: &f64| number.is_finite())
}

/// An element for people: by its id, else by its tag and the line of its attribute.
fn name_of(element: NodeRef<'_>, attribute: &str, texts: &BTreeMap<String, String>) -> String {
    let tag = element.node_name().map(|name| name.to_string()).unwrap_or_default();
    if let Some(id) = trimmed(element, "id") {
        return format!("<{tag} id=\"{id}\">");
    }
    let value = attr(element, attribute).unwrap_or_default();
    let forms = ["\"", "'", ""].map(|quote| format!("{attribute}={quote}{value}{quote}"));
    let place = texts.iter().find_map(|(path, text)| {
        let number = text.lines().position(|line| forms.iter().any(|form| line.contains(form)))?;
        Some(format!(" in line {} of {path}", number + 1))
    });
    format!("<{tag}>{}", place.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn warnings(page: &str) -> Vec<String> {
        let texts = BTreeMap::from([("index.html".to_owned(), page.to_owned())]);
        let mut found = Vec::new();
        check(&Document::from(page), &texts, &mut found);
        found.into_iter().map(|Warning { code, message }| format!("{code}: {message}")).collect()
    }

    #[test]
    fn starts_are_read_as_the_runtime_reads_them() {
        for (text, expected) in [
            ("1.5", Some(Start::Seconds(1.5))),
            ("-2", Some(Start::Seconds(-2.0))),
            ("1e1", Some(Start::Seconds(10.0))),
            ("0x10", Some(Start::Seconds(16.0))),
            ("intro", Some(Start::After("intro"))),
            ("a-b.c:d", Some(Start::After("a-b.c:d"))),
            ("2s", Some(Start::After("2s"))),
            ("intro + 2", Some(Start::After("intro"))),
            ("a-b - .5", Some(Start::After("a-b"))),
            ("intro+2s", None),
            ("after intro", None),
            ("#intro", None),
            ("Infinity", Some(Start::After("Infinity"))),
        ] {
            assert_eq!(start(text), expected, "{text}");
        }
    }

    #[test]
    fn mistyped_times_are_named_and_good_ones_are_not() {
        let good = "<div data-composition-id=main data-start=0 data-duration=4><p id=a class=clip data-start=0 \
                    data-duration=1.5></p><p data-start='a + 0.5' data-duration='1'></p><p data-start=\"main\"></p>\
                    <template><p id=inside></p></template><p data-start=inside></p><p data-start=''></p>\
                    <button data-duration=slow></button><video data-duration=2 data-end=3></video></div>";
        assert_eq!(warnings(good), Vec::<String>::new());
        let bad = "<div data-composition-id=main data-duration=4>\n<p id=a data-start=intor></p>\n<p\n data-start='2s'></p>\n\
                   <i id=b data-start=\"0 s\" data-duration=\"1,5\"></i>\n<video data-duration=-1></video></div>";
        let found = warnings(bad);
        for (code, parts) in [
            ("CLIP_NOT_FOUND", ["data-start=\"intor\" of <p id=\"a\">", "no element has the id `intor`"]),
            ("CLIP_NOT_FOUND", ["data-start=\"2s\" of <p> in line 4 of index.html", "without a unit"]),
            ("TIME_INVALID", ["data-start=\"0 s\" of <i id=\"b\">", "is ignored"]),
            ("TIME_INVALID", ["data-duration=\"1,5\" of <i id=\"b\">", "give seconds"]),
            ("TIME_INVALID", ["data-duration=\"-1\" of <video> in line 6 of index.html", "give seconds"]),
        ] {
            let is_named = found.iter().any(|warning| {
                warning.starts_with(&format!("{code}: ")) && parts.iter().all(|part| warning.contains(part))
            });
            assert!(is_named, "{parts:?} is not in {found:#?}");
        }
        assert_eq!(found.len(), 5, "{found:#?}");
    }
}
