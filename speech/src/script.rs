//! A text or SSML as words with marks between them.

use quick_xml::Reader;
use quick_xml::events::{BytesStart, Event};

/// What is to be spoken: parts that are left as they are, with a mark before each word.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Script {
    parts: Vec<Part>,
    is_ssml: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Text, or markup with its text escaped.
    Source(String),
    /// The place before a word. Carries the word as it is written.
    Word(String),
}

/// Elements of SSML that are taken, with their attributes.
const ELEMENTS: [(&str, &[&str]); 8] = [
    ("speak", &["version", "xml:lang"]),
    ("p", &[]),
    ("s", &[]),
    ("break", &["time", "strength"]),
    ("emphasis", &["level"]),
    ("prosody", &["rate", "pitch", "range", "volume"]),
    ("say-as", &["interpret-as", "format"]),
    ("sub", &["alias"]),
];

/// The root element, which a script has once, whether the text has it or not.
const ROOT: &str = "speak";

/// Elements whose content is one word to the engine: no mark may be inside.
const ATOMS: [&str; 2] = ["say-as", "sub"];

/// Why a text is no SSML that is taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SsmlError {
    /// It is no XML.
    #[error("the SSML is not well-formed: {0}")]
    Syntax(String),
    /// An element that is not taken.
    #[error("the SSML element `{0}` is not taken; there are speak, p, s, break, emphasis, prosody, say-as and sub")]
    Element(String),
    /// An attribute that is not taken.
    #[error("the SSML element `{element}` takes no attribute `{attribute}`")]
    Attribute {
        /// The element.
        element: String,
        /// The attribute.
        attribute: String,
    },
    /// A document type, a processing instruction or an entity of its own.
    #[error("the SSML may have no {0}")]
    Other(&'static str),
}

impl Script {
    /// A plain text. Control characters are spaces.
    pub fn text(text: &str) -> Self {
        let mut script = Self { parts: Vec::new(), is_ssml: false };
        // Engines take `[[` for phonemes.
        script.push_text(&without_controls(text).replace("[[", "[ ["), str::to_owned);
        script
    }

    /// SSML, with or without its `speak` element. Only elements that change how the text is spoken are taken.
    ///
    /// # Errors
    ///
    /// See [`SsmlError`].
    pub fn ssml(ssml: &str) -> Result<Self, SsmlError> {
        let ssml = without_controls(ssml);
        let mut reader = Reader::from_str(&ssml);
        let mut script = Self { parts: vec![Part::Source("<speak>".to_owned())], is_ssml: true };
        let mut open: Vec<String> = Vec::new();
        // The markup and the text of an element of [`ATOMS`] that is open at this depth.
        let mut atom: Option<(usize, String, String)> = None;
        // Text and entities between two tags.
        let mut text = String::new();
        loop {
            let event = reader.read_event().map_err(|error| SsmlError::Syntax(error.to_string()))?;
            match &event {
                Event::Text(part) => {
                    text.push_str(&part.decode().map_err(|error| SsmlError::Syntax(error.to_string()))?);
                    continue;
                }
                Event::CData(part) => {
                    text.push_str(&part.decode().map_err(|error| SsmlError::Syntax(error.to_string()))?);
                    continue;
                }
                Event::GeneralRef(entity) => {
                    let name = entity.decode().map_err(|error| SsmlError::Syntax(error.to_string()))?;
                    let character = match entity.resolve_char_ref() {
                        Ok(Some(character)) => Some(character),
                        Ok(None) => named(&name),
                        Err(error) => return Err(SsmlError::Syntax(error.to_string())),
                    };
                    let character = character.ok_or(SsmlError::Other("entity but amp, lt, gt, quot and apos"))?;
                    text.push(if character.is_control() { ' ' } else { character });
                    continue;
                }
                Event::Comment(_) => continue,
                _ => {}
            }
            let text = std::mem::take(&mut text);
            match &mut atom {
                Some((_, markup, word)) => {
                    markup.push_str(&escaped(&text));
                    word.push_str(&text);
                }
                None => script.push_text(&text, escaped),
            }
            match event {
                Event::Start(tag) => {
                    let (name, markup) = element(&tag)?;
                    open.push(name.clone());
                    let markup = format!("<{markup}>");
                    match &mut atom {
                        Some((_, within, _)) => within.push_str(&markup),
                        None if ATOMS.contains(&name.as_str()) => atom = Some((open.len(), markup, String::new())),
                        None if name == ROOT => {}
                        None => script.push(&markup),
                    }
                }
                Event::Empty(tag) => {
                    let (_, markup) = element(&tag)?;
                    match &mut atom {
                        Some((_, within, _)) => within.push_str(&format!("<{markup}/>")),
                        None => script.push(&format!("<{markup}/>")),
                    }
                }
                Event::End(_) => {
                    let name = open.pop().unwrap_or_default();
                    match atom.take() {
                        Some((depth, markup, word)) => {
                            let markup = format!("{markup}</{name}>");
                            if open.len() < depth {
                                script.push_word(word.trim(), &markup);
                            } else {
                                atom = Some((depth, markup, word));
                            }
                        }
                        None if name == ROOT => {}
                        None => script.push(&format!("</{name}>")),
                    }
                }
                Event::Eof => break,
                Event::Decl(_) => {}
                Event::DocType(_) => return Err(SsmlError::Other("document type")),
                Event::PI(_) => return Err(SsmlError::Other("processing instruction")),
                Event::Text(_) | Event::CData(_) | Event::GeneralRef(_) | Event::Comment(_) => {}
            }
        }
        if let Some(name) = open.pop() {
            return Err(SsmlError::Syntax(format!("`{name}` is not closed")));
        }
        script.push("</speak>");
        Ok(script)
    }

    /// Whether the source is SSML.
    pub fn is_ssml(&self) -> bool {
        self.is_ssml
    }

    /// Whether there is no word in it.
    pub fn is_silent(&self) -> bool {
        self.words().next().is_none()
    }

    /// The words as they are written.
    pub fn words(&self) -> impl Iterator<Item = &str> {
        self.parts.iter().filter_map(|part| match part {
            Part::Word(word) => Some(word.as_str()),
            Part::Source(_) => None,
        })
    }

    /// The source, as it is spoken without marks.
    pub fn source(&self) -> String {
        self.marked(|_| String::new())
    }

    /// The source with the mark that `mark` makes before word number `index`, from 0 on.
    pub fn marked(&self, mark: impl Fn(usize) -> String) -> String {
        let mut index = 0;
        let mut source = String::new();
        for part in &self.parts {
            match part {
                Part::Source(text) => source.push_str(text),
                Part::Word(_) => {
                    source.push_str(&mark(index));
                    index += 1;
                }
            }
        }
        source
    }

    fn push(&mut self, source: &str) {
        if let Some(Part::Source(last)) = self.parts.last_mut() {
            last.push_str(source);
        } else if !source.is_empty() {
            self.parts.push(Part::Source(source.to_owned()));
        }
    }

    fn push_word(&mut self, word: &str, source: &str) {
        // A dash between spaces is not spoken, and a mark before it would end what is before.
        if word.chars().any(char::is_alphanumeric) {
            self.parts.push(Part::Word(word.to_owned()));
        }
        self.push(source);
    }

    fn push_text(&mut self, text: &str, write: impl Fn(&str) -> String) {
        for piece in text.split_inclusive(char::is_whitespace) {
            let word = piece.trim_end();
            self.push_word(word, &write(word));
            self.push(&piece[word.len()..]);
        }
    }
}

fn without_controls(text: &str) -> String {
    text.chars().map(|character| if character.is_control() && character != '\n' { ' ' } else { character }).collect()
}

fn named(entity: &str) -> Option<char> {
    Some(match entity {
        "amp" => '&',
        "lt" => '<',
        "gt" => '>',
        "quot" => '"',
        "apos" => '\'',
        _ => return None,
    })
}

fn escaped(text: &str) -> String {
    quick_xml::escape::escape(text).into_owned()
}

/// The name of an element that is taken, and the inside of its tag.
fn element(tag: &BytesStart<'_>) -> Result<(String, String), SsmlError> {
    let name = String::from_utf8_lossy(tag.name().as_ref()).into_owned();
    let known = ELEMENTS.iter().find(|(known, _)| *known == name);
    let Some((_, attributes)) = known else { return Err(SsmlError::Element(name)) };
    let mut markup = name.clone();
    for attribute in tag.attributes() {
        let attribute = attribute.map_err(|error| SsmlError::Syntax(error.to_string()))?;
        let key = String::from_utf8_lossy(attribute.key.as_ref()).into_owned();
        // A `speak` element of a whole document has namespaces, which say nothing.
        if name == ROOT && key.starts_with("xmlns") || key.starts_with("xsi:") {
            continue;
        }
        if !attributes.contains(&key.as_str()) {
            return Err(SsmlError::Attribute { element: name, attribute: key });
        }
        let value = String::from_utf8_lossy(&attribute.value).into_owned();
        let value = quick_xml::escape::unescape(&value).map_err(|error| SsmlError::Syntax(error.to_string()))?;
        markup.push_str(&format!(" {key}=\"{}\"", escaped(&without_controls(&value))));
    }
    Ok((name, markup))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn numbered(script: &Script) -> String {
        script.marked(|index| format!("#{index}#"))
    }

    #[test]
    fn a_text_has_a_mark_before_each_word() {
        let script = Script::text("Hello,  world \u{1}30A – it’s\n3 o'clock. [[x]]");
        assert_eq!(numbered(&script), "#0#Hello,  #1#world  #2#30A – #3#it’s\n#4#3 #5#o'clock. [ #6#[x]]");
        assert_eq!(script.words().collect::<Vec<_>>(), ["Hello,", "world", "30A", "it’s", "3", "o'clock.", "[x]]"]);
        assert_eq!(script.source(), "Hello,  world  30A – it’s\n3 o'clock. [ [x]]");
        assert!(Script::text(" \n – ! ").is_silent());
    }

    #[test]
    fn ssml_keeps_what_changes_the_speech() {
        let ssml = r#"<?xml version="1.0"?><speak version="1.0" xmlns="http://www.w3.org/2001/10/synthesis">Tom &amp; Ann<break time="1s"/>
            <prosody rate='slow'>go <sub alias="World Wide Web">WWW now</sub></prosody><!-- quiet --> A&#66;C</speak>"#;
        let script = Script::ssml(ssml).unwrap();
        let words: Vec<&str> = script.words().collect();
        assert_eq!(words, ["Tom", "Ann", "go", "WWW now", "ABC"]);
        let expected = "<speak>#0#Tom &amp; #1#Ann<break time=\"1s\"/>\n            \
                        <prosody rate=\"slow\">#2#go #3#<sub alias=\"World Wide Web\">WWW now</sub></prosody> #4#ABC</speak>";
        assert_eq!(numbered(&script), expected);
        assert_eq!(Script::ssml("no root, <s>one</s>").unwrap().words().count(), 3);
    }

    #[test]
    fn ssml_reaches_no_files_and_no_other_voices() {
        for (ssml, refused) in [
            ("<audio src='/etc/passwd'/>", SsmlError::Element("audio".to_owned())),
            ("<voice name='x'>a</voice>", SsmlError::Element("voice".to_owned())),
            (
                "<!DOCTYPE speak [<!ENTITY a SYSTEM '/etc/passwd'>]><speak>&a;</speak>",
                SsmlError::Other("document type"),
            ),
            ("a &b; c", SsmlError::Other("entity but amp, lt, gt, quot and apos")),
            ("<p onload='x'>a</p>", SsmlError::Attribute { element: "p".to_owned(), attribute: "onload".to_owned() }),
        ] {
            assert_eq!(Script::ssml(ssml), Err(refused), "{ssml}");
        }
        for broken in ["<p>a", "<p>a</s>", "a & b", "<p", "</p>"] {
            assert!(matches!(Script::ssml(broken), Err(SsmlError::Syntax(_))), "{broken}");
        }
    }
}
