//! What the model is asked for, and the check of what it answers.

use serde::{Deserialize, Serialize};

/// Scenes of a storyboard at most.
const MAX_SCENES: usize = 30;
/// Characters of a title, of a scene's heading or of one of its lines at most.
const MAX_LINE: usize = 200;
/// Lines of a scene at most.
const MAX_LINES: usize = 6;
/// Characters of what is said in a scene at most.
const MAX_NARRATION: usize = 1500;

/// What a model answers.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub(crate) struct ModelAnswer {
    /// What it says to the client.
    pub(crate) reply: String,
    /// Whether the client has approved the storyboard that is there.
    #[serde(default)]
    pub(crate) approved: bool,
    /// A new storyboard.
    #[serde(default)]
    pub(crate) storyboard: Option<Storyboard>,
}

/// A film in words.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Storyboard {
    pub(crate) title: String,
    pub(crate) scenes: Vec<Scene>,
}

/// A scene.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Scene {
    /// How it is laid out.
    pub(crate) layout: Layout,
    /// The largest words of the picture.
    pub(crate) heading: String,
    /// Smaller words: points, a subtitle, or who said a quote.
    #[serde(default)]
    pub(crate) lines: Vec<String>,
    /// What is said meanwhile.
    #[serde(default)]
    pub(crate) narration: String,
    /// Number of the client's file that it shows, from 0.
    #[serde(default)]
    pub(crate) file: Option<usize>,
}

/// The layout of a scene.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Layout {
    /// A heading in the middle.
    Title,
    /// A heading with points.
    Points,
    /// A number or a word as large as it goes.
    Number,
    /// Words that somebody has said.
    Quote,
    /// A picture or a video of the client's beside the words.
    Media,
}

/// What the model is for. `files` describes the client's files.
pub(crate) fn instructions(files: &str, is_portrait: bool) -> String {
    let shape = if is_portrait { "portrait, 9:16" } else { "landscape, 16:9" };
    format!(
        "You write storyboards of short explanatory videos ({shape}), which a program renders: words in motion, with a narrator. \
         Answer with one JSON object and nothing else: {{\"reply\": text to the client in the client's language, \"approved\": true \
         only if the client approves the storyboard that you have shown, \"storyboard\": null or {{\"title\": text, \"scenes\": \
         [{{\"layout\": \"title\", \"points\", \"number\", \"quote\" or \"media\", \"heading\": at most {MAX_LINE} characters, better \
         under 50, \"lines\": at most {MAX_LINES} texts, \"narration\": what the narrator says, at most {MAX_NARRATION} characters, \
         \"file\": number of a file of the client's, only with the layout \"media\"}}]}}}}. At most {MAX_SCENES} scenes. 2.5 words of \
         narration last a second: keep to the length that the client wants. Give a whole storyboard whenever it changes. Without \
         a storyboard your reply must ask the client for what is missing. {files}"
    )
}

/// What is wrong with an answer, as the model is told.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct AnswerError(String);

impl ModelAnswer {
    /// Reads an answer. `files` is the number of the client's files.
    pub(crate) fn parse(text: &str, files: usize) -> Result<Self, AnswerError> {
        // Models like to put JSON into a fence.
        let start = text.find('{').unwrap_or(0);
        let end = text.rfind('}').map_or(text.len(), |at| at + 1);
        let answer: Self = serde_json::from_str(text.get(start..end).unwrap_or_default())
            .map_err(|error| AnswerError(format!("the answer is not the JSON object that was asked for: {error}")))?;
        if let Some(storyboard) = &answer.storyboard {
            storyboard.check(files)?;
        }
        Ok(answer)
    }
}

impl Storyboard {
    fn check(&self, files: usize) -> Result<(), AnswerError> {
        let refused = |message: String| Err(AnswerError(message));
        let is_long = |text: &str, most: usize| text.chars().count() > most;
        if self.scenes.is_empty() || self.scenes.len() > MAX_SCENES {
            return refused(format!("the storyboard has {} scenes, and may have 1 to {MAX_SCENES}", self.scenes.len()));
        }
        if is_long(&self.title, MAX_LINE) {
            return refused(format!("the title has more than {MAX_LINE} characters"));
        }
        for (number, scene) in self.scenes.iter().enumerate() {
            let what = match scene {
                Scene { heading, .. } if heading.trim().is_empty() => "no heading".to_owned(),
                Scene { heading, lines, .. } if lines.iter().chain([heading]).any(|line| is_long(line, MAX_LINE)) => {
                    format!("a line of more than {MAX_LINE} characters")
                }
                Scene { lines, .. } if lines.len() > MAX_LINES => format!("more than {MAX_LINES} lines"),
                Scene { narration, .. } if is_long(narration, MAX_NARRATION) => {
                    format!("more than {MAX_NARRATION} characters of narration")
                }
                Scene { layout: Layout::Media, file: None, .. } => "the layout media and no file".to_owned(),
                Scene { file: Some(file), .. } if *file >= files => {
                    format!("the file {file}, and the client has given {files}, numbered from 0")
                }
                _ => continue,
            };
            return refused(format!("scene {} has {what}", number + 1));
        }
        Ok(())
    }

    /// The storyboard as people read it.
    pub(crate) fn text(&self) -> String {
        let scene = |(number, scene): (usize, &Scene)| {
            let lines = scene.lines.iter().map(|line| format!("\n   - {line}")).collect::<String>();
            let narration =
                if scene.narration.is_empty() { String::new() } else { format!("\n   “{}”", scene.narration) };
            format!("{}. {}{lines}{narration}", number + 1, scene.heading)
        };
        self.scenes.iter().enumerate().map(scene).collect::<Vec<_>>().join("\n")
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn answer(scene: &Value) -> Result<ModelAnswer, AnswerError> {
        let storyboard = json!({ "title": "Tools", "scenes": [{ "layout": "title", "heading": "Hello" }, scene] });
        ModelAnswer::parse(&format!("```json\n{}\n```", json!({ "reply": "Here.", "storyboard": storyboard })), 2)
    }

    #[test]
    fn answers_are_read_in_a_fence_too() {
        let scene = json!({ "layout": "media", "heading": "Look", "lines": ["a"], "narration": "See.", "file": 1 });
        let storyboard = answer(&scene).unwrap().storyboard.unwrap();
        assert_eq!((storyboard.scenes.len(), storyboard.scenes[1].file), (2, Some(1)));
        assert_eq!(storyboard.text(), "1. Hello\n2. Look\n   - a\n   “See.”");
        let question = ModelAnswer::parse(r#"{ "reply": "How long?" }"#, 0).unwrap();
        assert!(question.storyboard.is_none() && !question.approved);
    }

    #[test]
    fn answers_that_cannot_be_filmed_say_why() {
        for (scene, reason) in [
            (json!({ "layout": "dance", "heading": "a" }), "unknown variant `dance`"),
            (json!({ "layout": "title", "heading": " " }), "scene 2 has no heading"),
            (json!({ "layout": "title", "heading": "a".repeat(201) }), "more than 200 characters"),
            (json!({ "layout": "points", "heading": "a", "lines": vec!["x"; 7] }), "more than 6 lines"),
            (json!({ "layout": "title", "heading": "a", "narration": "a".repeat(1501) }), "1500 characters"),
            (json!({ "layout": "media", "heading": "a" }), "and no file"),
            (json!({ "layout": "media", "heading": "a", "file": 2 }), "the file 2"),
        ] {
            let error = answer(&scene).unwrap_err().to_string();
            assert!(error.contains(reason), "{scene}: {error}");
        }
        assert!(ModelAnswer::parse("I would love to!", 0).is_err());
        assert!(ModelAnswer::parse(r#"{ "reply": "a", "storyboard": { "title": "a", "scenes": [] } }"#, 0).is_err());
    }
}
