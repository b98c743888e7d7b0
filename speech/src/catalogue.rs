//! The voices of all engines, and the choice of one by a description.

use std::collections::HashSet;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;
use tracing::warn;

use crate::config::SpeechConfig;
use crate::engine::{Gender, Speech, SpeechEngine, SpeechError, SpeechRequest, Voice};
use crate::espeak::Espeak;
use crate::openai::OpenAi;
use crate::piper::Piper;

/// How long the engines' lists are kept before they are asked for again.
const LISTS_VALID: Duration = Duration::from_secs(60);

/// Voices of one answer to a description.
pub const MATCHES: usize = 3;

/// What a voice whose language a description names has before others.
const LANGUAGE_WEIGHT: usize = 8;

/// The voices of all engines.
pub struct Catalogue {
    engines: Vec<Arc<dyn SpeechEngine>>,
    listed: Mutex<Option<(Instant, Arc<Vec<Listed>>)>>,
}

/// A voice, and the engine that has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Name of the engine.
    pub engine: &'static str,
    /// The voice.
    pub voice: Voice,
}

/// Which voices are wanted. What is `None` is not asked for.
#[derive(Debug, Clone, Copy, Default)]
pub struct Filter<'a> {
    /// Name of an engine.
    pub engine: Option<&'a str>,
    /// English name of a language, or its tag, or the beginning of the tag.
    pub language: Option<&'a str>,
    /// Male or female.
    pub gender: Option<Gender>,
}

impl fmt::Debug for Catalogue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalogue").field("engines", &self.engines).finish_non_exhaustive()
    }
}

impl Filter<'_> {
    /// Whether it is a voice that is wanted.
    pub fn takes(&self, listed: &Listed) -> bool {
        let voice = &listed.voice;
        self.engine.is_none_or(|engine| listed.engine == engine)
            && self.language.is_none_or(|language| speaks(voice, language))
            && self.gender.is_none_or(|gender| voice.gender == gender)
    }
}

fn speaks(voice: &Voice, language: &str) -> bool {
    let tag = language.to_ascii_lowercase();
    let rest = voice.locale.strip_prefix(tag.as_str());
    voice.language.eq_ignore_ascii_case(language) || rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
}

impl Catalogue {
    /// The engines of the settings. Nothing is started or asked before it is needed.
    ///
    /// # Errors
    ///
    /// TLS cannot be set up.
    pub fn new(config: &SpeechConfig) -> Result<Self, SpeechError> {
        let mut engines: Vec<Arc<dyn SpeechEngine>> = Vec::new();
        // Engines that sound natural come first in lists.
        if let Some(url) = &config.piper {
            engines.push(Arc::new(Piper::new(url.clone())?));
        }
        if let Some(service) = &config.openai {
            engines.push(Arc::new(OpenAi::new(service.clone())?));
        }
        if let Some(program) = &config.espeak {
            engines.push(Arc::new(Espeak::new(program)));
        }
        Ok(Self::of(engines))
    }

    /// These engines.
    pub fn of(engines: Vec<Arc<dyn SpeechEngine>>) -> Self {
        Self { engines, listed: Mutex::default() }
    }

    /// Whether there is no engine.
    pub fn is_empty(&self) -> bool {
        self.engines.is_empty()
    }

    /// All voices: by engine, then in the engine's own order. An engine that does not answer has none, if another does.
    ///
    /// # Errors
    ///
    /// No engine answers.
    pub async fn voices(&self) -> Result<Arc<Vec<Listed>>, SpeechError> {
        let mut listed = self.listed.lock().await;
        if let Some((at, voices)) = &*listed
            && at.elapsed() < LISTS_VALID
        {
            return Ok(voices.clone());
        }
        let (mut all, mut failure) = (Vec::new(), None);
        for (engine, voices) in self.engines.iter().zip(self.ask().await) {
            match voices {
                Ok(voices) => all.extend(voices.into_iter().map(|voice| Listed { engine: engine.name(), voice })),
                Err(error) => {
                    warn!(engine = engine.name(), %error, "a speech engine does not list its voices");
                    failure = Some(error);
                }
            }
        }
        match failure {
            Some(error) if all.is_empty() => Err(error),
            Some(_) => Ok(Arc::new(all)),
            None => Ok(listed.insert((Instant::now(), Arc::new(all))).1.clone()),
        }
    }

    async fn ask(&self) -> Vec<Result<Vec<Voice>, SpeechError>> {
        futures::future::join_all(self.engines.iter().map(|engine| engine.voices())).await
    }

    /// The voice with this id.
    ///
    /// # Errors
    ///
    /// [`SpeechError::NoVoice`] where there is none; no engine answers.
    pub async fn find(&self, id: &str) -> Result<Listed, SpeechError> {
        let voices = self.voices().await?;
        let found = voices.iter().find(|listed| listed.voice.id == id).cloned();
        found.ok_or_else(|| SpeechError::NoVoice(id.to_owned()))
    }

    /// Speaks a script.
    ///
    /// # Errors
    ///
    /// The engine does not answer, or cannot speak this.
    pub async fn speak(&self, request: &SpeechRequest) -> Result<Speech, SpeechError> {
        if request.script.is_silent() {
            return Err(SpeechError::Silent);
        }
        let listed = self.find(&request.voice).await?;
        let engine = self.engines.iter().find(|engine| engine.name() == listed.engine);
        engine.ok_or_else(|| SpeechError::NoVoice(request.voice.clone()))?.speak(request).await
    }

    /// The phonemes of each word in the language with this BCP-47 tag, in the International Phonetic Alphabet; `None`
    /// where no engine can tell them.
    pub async fn phonemes(&self, locale: &str, words: &[String]) -> Option<Vec<String>> {
        for engine in &self.engines {
            match engine.phonemes(locale, words).await {
                Ok(None) => {}
                Ok(found) => return found,
                Err(error) => warn!(engine = engine.name(), %error, "a speech engine does not tell phonemes"),
            }
        }
        None
    }

    /// The voices that suit a description best, the best first: batch number `seed` of [`MATCHES`], from 0 on.
    ///
    /// A voice suits for each word of the description that is said of it, and most of all for its language or accent.
    /// Where the description names none, English is meant.
    ///
    /// # Errors
    ///
    /// No engine answers.
    pub async fn matches(&self, prompt: &str, filter: Filter<'_>, seed: u32) -> Result<Vec<Listed>, SpeechError> {
        let voices = self.voices().await?;
        let words: HashSet<String> = prompt
            .split(|character: char| !character.is_alphanumeric())
            .filter(|word| !word.is_empty())
            .flat_map(meanings)
            .collect();
        let is_named = |listed: &&Listed| words.contains(&listed.voice.language.to_lowercase());
        let has_language = filter.language.is_some() || voices.iter().any(|listed| is_named(&listed));
        let mut ranked: Vec<(usize, usize, &Listed)> = voices
            .iter()
            .enumerate()
            .filter(|(_, listed)| filter.takes(listed))
            .map(|(order, listed)| {
                let voice = &listed.voice;
                let tags = voice.tags.iter().filter(|tag| words.contains(*tag)).count();
                let gender = usize::from(words.contains(voice.gender.as_str())) * 4;
                let is_spoken = if has_language { is_named(&listed) } else { voice.language == "English" };
                let accent = 2 * usize::from(words.contains(&voice.locale));
                (tags + gender + LANGUAGE_WEIGHT * usize::from(is_spoken) + accent, order, listed)
            })
            .collect();
        ranked.sort_by_key(|(score, order, _)| (std::cmp::Reverse(*score), *order));
        let first = seed as usize * MATCHES;
        Ok(ranked.into_iter().skip(first).take(MATCHES).map(|(_, _, listed)| listed.clone()).collect())
    }
}

/// The words that a word of a description stands for.
fn meanings(word: &str) -> Vec<String> {
    let word = word.to_lowercase();
    let also: &[&str] = match word.as_str() {
        "man" | "men" | "boy" | "gentleman" | "guy" | "masculine" => &["male"],
        "woman" | "women" | "girl" | "lady" | "feminine" => &["female"],
        "british" | "uk" | "england" => &["english", "en-gb"],
        "scottish" => &["english", "en-gb-scotland"],
        "american" | "us" | "usa" | "midwest" => &["english", "en-us"],
        "brazilian" => &["portuguese", "pt-br"],
        "mexican" | "latin" => &["spanish", "es-419"],
        "swiss" => &["fr-ch"],
        "mandarin" => &["chinese", "cmn"],
        "cantonese" => &["chinese", "yue"],
        "aged" | "grandmother" | "grandfather" => &["old"],
        "20s" | "teenage" | "youthful" => &["young"],
        "slow" | "steady" => &["measured", "calm"],
        "fast" | "lively" | "excited" | "cheerful" => &["energetic"],
        "corporate" | "instructional" | "explainer" => &["training"],
        "story" | "stories" | "audiobook" => &["storytelling"],
        "narrator" | "documentary" => &["narration"],
        _ => &[],
    };
    also.iter().map(|word| (*word).to_owned()).chain(std::iter::once(word.clone())).collect()
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;

    use super::*;

    #[derive(Debug)]
    struct Fixed(&'static str, Option<Vec<Voice>>);

    #[async_trait]
    impl SpeechEngine for Fixed {
        fn name(&self) -> &'static str {
            self.0
        }

        async fn voices(&self) -> Result<Vec<Voice>, SpeechError> {
            self.1.clone().ok_or_else(|| SpeechError::engine(self.0, "away"))
        }

        async fn speak(&self, _: &SpeechRequest) -> Result<Speech, SpeechError> {
            Err(SpeechError::engine(self.0, "mute"))
        }
    }

    fn voice(id: &str, language: &str, locale: &str, gender: Gender, tags: &[&str]) -> Voice {
        Voice {
            id: id.to_owned(),
            name: id.to_owned(),
            language: language.to_owned(),
            locale: locale.to_owned(),
            gender,
            tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
            takes_ssml: true,
            takes_locale: true,
        }
    }

    fn engine() -> Arc<dyn SpeechEngine> {
        Arc::new(Fixed(
            "a",
            Some(vec![
                voice("a_de", "German", "de", Gender::Male, &["deep"]),
                voice("a_gb", "English", "en-gb", Gender::Male, &["measured"]),
                voice("a_gb_deep", "English", "en-gb", Gender::Male, &["deep"]),
                voice("a_us_f", "English", "en-us", Gender::Female, &["young", "playful"]),
                voice("a_us", "English", "en-us", Gender::Male, &["measured"]),
            ]),
        ))
    }

    async fn matched(prompt: &str, filter: Filter<'_>, seed: u32) -> Vec<String> {
        let found = Catalogue::of(vec![engine()]).matches(prompt, filter, seed).await.unwrap();
        found.into_iter().map(|listed| listed.voice.id).collect()
    }

    #[tokio::test]
    async fn the_best_matches_come_first_and_more_by_seed() {
        let prompt = "A deep, confident man with a slight British accent";
        assert_eq!(matched(prompt, Filter::default(), 0).await, ["a_gb_deep", "a_gb", "a_us"]);
        assert_eq!(matched(prompt, Filter::default(), 1).await, ["a_us_f", "a_de"]);
        assert!(matched(prompt, Filter::default(), 2).await.is_empty());
        assert_eq!(matched("playful young woman", Filter::default(), 0).await[0], "a_us_f");
        assert_eq!(matched("deep German voice", Filter::default(), 0).await[0], "a_de");
        let german = Filter { language: Some("de"), ..Filter::default() };
        assert_eq!(matched("anyone", german, 0).await, ["a_de"]);
        let female = Filter { gender: Some(Gender::Female), ..Filter::default() };
        assert_eq!(matched("deep man", female, 0).await, ["a_us_f"]);
    }

    #[tokio::test]
    async fn an_engine_that_is_away_hides_no_other() {
        let away: Arc<dyn SpeechEngine> = Arc::new(Fixed("b", None));
        assert_eq!(Catalogue::of(vec![away.clone(), engine()]).voices().await.unwrap().len(), 5);
        assert!(Catalogue::of(vec![away]).voices().await.is_err());
        assert!(Catalogue::of(Vec::new()).voices().await.unwrap().is_empty());
        let missing = Catalogue::of(vec![engine()]).find("b_x").await;
        assert!(matches!(missing, Err(SpeechError::NoVoice(id)) if id == "b_x"));
    }

    #[test]
    fn a_language_is_asked_for_by_name_or_tag() {
        let voice = voice("x", "English", "en-gb", Gender::Male, &[]);
        for (language, expected) in
            [("english", true), ("en", true), ("EN-GB", true), ("en-us", false), ("e", false), ("German", false)]
        {
            assert_eq!(speaks(&voice, language), expected, "{language}");
        }
    }
}
