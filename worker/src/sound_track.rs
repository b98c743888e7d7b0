//! The sound track: a sound that the request adds to the whole render.

use hyperfarm_proto::plan::{AudioItem, CompiledFile, MediaTiming, Warning};
use hyperfarm_proto::spec::RenderSpec;

use crate::error::ProjectError;

/// Id of the sound track in the plan.
const ID: &str = "audio_url";

/// The path among `files` of the sound track that `spec` requests; `None` where it requests none. `fetched` returns the
/// path of a remote sound that was downloaded.
pub(crate) fn path_of(
    spec: &RenderSpec,
    files: &[CompiledFile],
    fetched: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<String>, ProjectError> {
    let Some(url) = spec.audio_url.as_deref() else { return Ok(None) };
    let is_remote = url.starts_with("http://") || url.starts_with("https://");
    let path = if is_remote { fetched(url) } else { Some(url.trim_start_matches("./").to_owned()) };
    match path.filter(|path| files.iter().any(|file| file.path == *path)) {
        Some(path) => Ok(Some(path)),
        None if is_remote => Err(ProjectError::Media(format!(
            "audio_url: {url} was not fetched; put the sound into the project and name its path instead"
        ))),
        None => Err(ProjectError::Media(format!("audio_url: the project has no {url}"))),
    }
}

/// The sound at `path`, over all of the render's `seconds`.
pub(crate) fn item(path: String, seconds: f64) -> AudioItem {
    let timing = MediaTiming { start: 0.0, end: seconds, media_start: 0.0, rate: 1.0, looped: false };
    AudioItem::plain(ID, &path, timing, Vec::new())
}

/// Removes all sounds where the output format has none, with a warning.
pub(crate) fn drop_if_silent(spec: &RenderSpec, sounds: &mut Vec<AudioItem>, warnings: &mut Vec<Warning>) {
    if spec.format.has_sound() || sounds.is_empty() {
        return;
    }
    warnings.push(Warning {
        code: "SOUND_DROPPED".to_owned(),
        message: format!("a {} has no sound: {} of the composition are left out", spec.format, count(sounds.len())),
    });
    sounds.clear();
}

fn count(sounds: usize) -> String {
    if sounds == 1 { "1 sound".to_owned() } else { format!("{sounds} sounds") }
}

#[cfg(test)]
mod tests {
    use hyperfarm_proto::id::ContentHash;
    use hyperfarm_proto::spec::Format;

    use super::*;

    #[test]
    fn the_sound_is_a_file_of_the_plan() {
        let files = [CompiledFile { path: "a/b.mp3".to_owned(), hash: ContentHash::of(b""), bytes: 0 }];
        let spec =
            |url: &str| RenderSpec { audio_url: hyperfarm_proto::bounded::Text::new(url), ..RenderSpec::default() };
        let none = |_: &str| None;
        assert_eq!(path_of(&RenderSpec::default(), &files, &none).unwrap(), None);
        assert_eq!(path_of(&spec("./a/b.mp3"), &files, &none).unwrap().as_deref(), Some("a/b.mp3"));
        assert!(path_of(&spec("lost.mp3"), &files, &none).unwrap_err().to_string().contains("lost.mp3"));
        let url = "https://x.example/s.mp3";
        assert!(path_of(&spec(url), &files, &none).unwrap_err().to_string().contains(url));
        let fetched = |asked: &str| (asked == url).then(|| "a/b.mp3".to_owned());
        assert_eq!(path_of(&spec(url), &files, &fetched).unwrap().as_deref(), Some("a/b.mp3"));
    }

    #[test]
    fn sounds_of_a_gif_are_dropped_with_a_warning() {
        let mut sounds = vec![item("s.mp3".to_owned(), 1.0)];
        let mut warnings = Vec::new();
        drop_if_silent(&RenderSpec::default(), &mut sounds, &mut warnings);
        assert_eq!((sounds.len(), warnings.len()), (1, 0));
        drop_if_silent(&RenderSpec { format: Format::Gif, ..RenderSpec::default() }, &mut sounds, &mut warnings);
        assert_eq!((sounds.len(), warnings[0].code.as_str()), (0, "SOUND_DROPPED"));
    }
}
