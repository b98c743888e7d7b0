//! Languages that voices speak, as requests name them.

use hyperfarm_speech::Voice;
use hyperfarm_speech::catalogue::Listed;
use serde::{Deserialize, Serialize};

/// A language that a video is translated into.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Target {
    /// English name of the language, such as `Spanish`.
    pub(crate) name: String,
    /// BCP-47 tag of what the voice speaks, such as `es-419`.
    pub(crate) locale: String,
    /// Id of the voice.
    pub(crate) voice: String,
}

/// Regions by the names that requests have in brackets, with the last parts of their tags.
const REGIONS: &[(&str, &[&str])] = &[
    ("argentina", &["ar", "419"]),
    ("belgium", &["be"]),
    ("brazil", &["br"]),
    ("canada", &["ca"]),
    ("colombia", &["co", "419"]),
    ("france", &["fr"]),
    ("germany", &["de"]),
    ("latin america", &["419"]),
    ("mexico", &["mx", "419"]),
    ("portugal", &["pt"]),
    ("spain", &["es"]),
    ("switzerland", &["ch"]),
    ("uk", &["gb"]),
    ("united kingdom", &["gb"]),
    ("united states", &["us"]),
    ("usa", &["us"]),
];

/// What can be asked for: names of languages, then tags, each in the order of the alphabet.
pub(crate) fn listed(voices: &[Listed]) -> Vec<String> {
    let sorted = |mut texts: Vec<String>| {
        texts.sort();
        texts.dedup();
        texts
    };
    let names =
        sorted(voices.iter().map(|listed| listed.voice.language.clone()).filter(|name| !name.is_empty()).collect());
    let tags = sorted(voices.iter().map(|listed| listed.voice.locale.clone()).collect());
    names.into_iter().chain(tags).collect()
}

/// The language that `asked` names: by a tag, such as `es` or `es-419`, or by a name, such as `Spanish` or `Spanish (Mexico)`. Its
/// voice is `voice`, or the first one that speaks it.
pub(crate) fn find(voices: &[Listed], asked: &str, voice: Option<&Voice>) -> Option<Target> {
    let asked = asked.trim().to_lowercase();
    let (name, region) = match asked.split_once('(') {
        Some((name, region)) => (name.trim(), Some(region.trim_end_matches(')').trim())),
        None => (asked.as_str(), None),
    };
    let speaks = |voice: &Voice| {
        let rest = voice.locale.strip_prefix(name);
        voice.language.eq_ignore_ascii_case(name) || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
    };
    let ends = REGIONS.iter().find(|(known, _)| Some(*known) == region).map_or(&[][..], |(_, ends)| ends);
    let spoken = || voices.iter().map(|listed| &listed.voice).filter(|voice| speaks(voice));
    let of_region = |end: &&&str| spoken().find(|voice| voice.locale.rsplit('-').next() == Some(**end));
    let first = ends.iter().find_map(|end| of_region(&end)).or_else(|| spoken().next());
    let found = first?;
    let locale = match voice {
        // A voice of many languages is told which.
        Some(voice) if speaks(voice) => voice.locale.clone(),
        Some(voice) if !voice.takes_locale => return None,
        _ => found.locale.clone(),
    };
    let voice = voice.map_or_else(|| found.id.clone(), |voice| voice.id.clone());
    Some(Target { name: found.language.clone(), locale, voice })
}

/// The tag of a language for engines that hear and translate: `es` of `es-419`, and `zh` of every Chinese.
pub(crate) fn base(locale: &str) -> &str {
    match locale.split('-').next().unwrap_or_default() {
        "cmn" | "yue" | "hak" | "nan" => "zh",
        tag => tag,
    }
}

#[cfg(test)]
mod tests {
    use hyperfarm_speech::Gender;

    use super::*;

    fn voices() -> Vec<Listed> {
        let voice = |id: &str, language: &str, locale: &str, takes_locale: bool| Listed {
            engine: "a",
            voice: Voice {
                id: id.to_owned(),
                name: id.to_owned(),
                language: language.to_owned(),
                locale: locale.to_owned(),
                gender: Gender::Male,
                tags: Vec::new(),
                takes_ssml: false,
                takes_locale,
            },
        };
        vec![
            voice("a_en", "English", "en-gb", true),
            voice("a_es", "Spanish", "es", false),
            voice("a_mx", "Spanish", "es-419", false),
            voice("a_zh", "Chinese", "cmn", false),
        ]
    }

    #[test]
    fn a_language_is_named_by_its_tag_its_name_or_its_region() {
        for (asked, expected) in [
            ("Spanish", Some(("Spanish", "es", "a_es"))),
            ("es", Some(("Spanish", "es", "a_es"))),
            ("ES-419", Some(("Spanish", "es-419", "a_mx"))),
            ("Spanish (Mexico)", Some(("Spanish", "es-419", "a_mx"))),
            ("spanish (Spain)", Some(("Spanish", "es", "a_es"))),
            ("English (United States)", Some(("English", "en-gb", "a_en"))),
            ("Chinese (Mandarin, Simplified)", Some(("Chinese", "cmn", "a_zh"))),
            ("Klingon", None),
            ("e", None),
            ("", None),
        ] {
            let found = find(&voices(), asked, None);
            let found = found.as_ref().map(|found| (&*found.name, &*found.locale, &*found.voice));
            assert_eq!(found, expected, "{asked}");
        }
    }

    #[test]
    fn a_voice_speaks_what_it_can() {
        let voices = voices();
        let by = |asked: &str, voice: usize| {
            find(&voices, asked, Some(&voices[voice].voice)).map(|found| (found.locale, found.voice))
        };
        assert_eq!(by("es", 0), Some(("es".to_owned(), "a_en".to_owned())), "it takes a locale");
        assert_eq!(by("en", 1), None);
        assert_eq!(by("Spanish", 2), Some(("es-419".to_owned(), "a_mx".to_owned())));
    }

    #[test]
    fn names_come_before_tags() {
        assert_eq!(listed(&voices()), ["Chinese", "English", "Spanish", "cmn", "en-gb", "es", "es-419"]);
        assert_eq!((base("es-419"), base("cmn"), base("en")), ("es", "zh", "en"));
    }
}
