//! What requests for translations and for proofread sessions have in common.

use std::sync::Arc;

use hyperfarm_api::avatars::FileInput;
use hyperfarm_proto::bounded::Text;
use tokio::sync::OwnedSemaphorePermit;
use url::Url;

use super::run::{begin, lease_until};
use crate::api::error::{ApiError, Code};
use crate::api::lipsyncs::Clip;
use crate::api::media::{self, Wanted};
use crate::api::{Api, voices};
use crate::api_keys::Caller;
use crate::intake::Seed;
use crate::presenter::MediaFile;
use crate::translation::languages::{self, Target};
use crate::translation::records::{self, ClipRecord, Options, Stage, Step, TranslationRecord};
use crate::translation::subtitles::{self, Subtitle};
use crate::translation::{ModelTranslator, Translator};

/// Languages of a request at most.
const LANGUAGES: usize = 20;

/// Seconds of a video at most.
const LONGEST: f64 = 3600.0;

/// Bytes of a SubRip file at most.
const SRT_BYTES: usize = 2 * 1024 * 1024;

/// What a client gives beside the video.
#[derive(Default)]
pub(super) struct Given {
    pub(super) heard: Option<Vec<Subtitle>>,
    pub(super) translated: Option<Vec<Subtitle>>,
    pub(super) audio: Option<(MediaFile, f64)>,
}

/// What a request says of all its languages.
pub(super) struct Form {
    pub(super) origin: Option<Url>,
    pub(super) title: Option<String>,
    pub(super) callback_url: Option<String>,
    pub(super) callback_id: Option<String>,
    pub(super) input_language: Option<String>,
    pub(super) is_proofread: bool,
    pub(super) options: Options,
}

/// Id of the caller's key.
pub(super) fn key_of(caller: &Caller) -> Option<String> {
    (!caller.is_local).then(|| caller.id.clone())
}

/// A language with its name as asked.
pub(super) type AskedTarget = (String, Target);

/// Stores a translation for each language, and begins them.
pub(super) async fn begin_all(
    api: &Api,
    caller: &Caller,
    form: Form,
    (targets, turns): (Vec<AskedTarget>, Vec<OwnedSemaphorePermit>),
    clip: &Clip,
    given: Given,
    seed: Seed,
) -> Result<Vec<String>, ApiError> {
    let (objects, space) = (&api.coordinator.backplane().objects, &caller.rights.space);
    let mut ids = Vec::new();
    for (((output_language, target), turn), index) in targets.into_iter().zip(turns).zip(0..) {
        let seed = seed.nth(index);
        let id = seed.render();
        let record = TranslationRecord {
            seed,
            key: key_of(caller),
            origin: form.origin.clone(),
            title: form.title.clone(),
            callback_url: form.callback_url.clone(),
            callback_id: form.callback_id.clone(),
            is_proofread: form.is_proofread,
            input_language: form.input_language.clone(),
            output_language,
            target,
            options: form.options.clone(),
            clip: ClipRecord {
                extension: clip.file.extension.to_owned(),
                has_sound: clip.has_sound,
                size: clip.size,
                seconds: clip.seconds,
                frame_rate: clip.frame_rate,
            },
            audio: given.audio.as_ref().map(|(file, seconds)| (file.extension.to_owned(), *seconds)),
            attempts: 0,
            stage: Stage::Waiting,
        };
        objects.put(&records::file_key(space, &id, "video", clip.file.extension), clip.file.bytes.clone()).await?;
        if let Some((file, _)) = &given.audio {
            objects.put(&records::file_key(space, &id, "audio", file.extension), file.bytes.clone()).await?;
        }
        for (step, said) in [(Step::Heard, &given.heard), (Step::Translated, &given.translated)] {
            if let Some(said) = said {
                records::put_step(objects, space, &id, step, said).await?;
            }
        }
        records::create(objects, space, &record, lease_until()).await?;
        begin(api, space.clone(), record, Some(turn));
        ids.push(id.to_string());
    }
    Ok(ids)
}

/// The languages of a request, each with its voice.
pub(super) async fn targets(api: &Api, asked: &[Text<100>], voice: Option<&str>) -> Result<Vec<AskedTarget>, ApiError> {
    if !(1..=LANGUAGES).contains(&asked.len()) {
        let message = format!("output_languages must have 1 to {LANGUAGES} languages");
        return Err(ApiError::invalid("output_languages", message));
    }
    let catalogue = voices::catalogue(api)?;
    let listed = catalogue.voices().await.map_err(voices::refusal)?;
    let voice = match voice {
        Some(id) => {
            let found = catalogue.find(id).await;
            Some(found.map_err(|error| voices::refusal(error).of("brand_voice_id"))?.voice)
        }
        None => None,
    };
    let target = |(index, language): (usize, &Text<100>)| {
        let found = languages::find(&listed, language, voice.as_ref()).ok_or_else(|| {
            let who = voice
                .as_ref()
                .map_or("no voice of this farm".to_owned(), |voice| format!("the voice {} does not", voice.id));
            let verb = if voice.is_some() { "speak" } else { "speaks" };
            let message = format!(
                "{who} {verb} `{}`; GET /v3/video-translations/languages lists the languages",
                language.escape_debug()
            );
            ApiError::invalid(format!("output_languages[{index}]"), message)
        });
        found.map(|target| (language.to_string(), target))
    };
    asked.iter().enumerate().map(target).collect()
}

/// The language of a sound that the client gives.
pub(super) fn spoken_by_client(asked: &Text<100>) -> AskedTarget {
    let name = asked.to_string();
    (name.clone(), Target { locale: name.clone(), name, voice: String::new() })
}

pub(super) fn check_engines(api: &Api, needs_recognition: bool, needs_translator: bool) -> Result<(), ApiError> {
    let missing = |message: &str| ApiError::new(Code::EngineNotConfigured, message);
    if needs_recognition && api.config.recognition.is_none() {
        return Err(missing(
            "this farm has no speech recognition; its operator names an OpenAI-compatible service by \
             HYPERFARM_RECOGNITION_URL. Without one, give the words of the video as srt",
        )
        .of("video"));
    }
    if needs_translator && translator(api).is_none() {
        return Err(missing(
            "this farm has no translator; its operator names a LibreTranslate-compatible service by HYPERFARM_TRANSLATION_URL, \
             or a language model by HYPERFARM_LANGUAGE_MODEL_URL. Without one, give the translation as srt, with srt_role `output`",
        )
        .of("output_languages"));
    }
    Ok(())
}

pub(super) fn translator(api: &Api) -> Option<Arc<dyn Translator>> {
    let model =
        || api.config.language_model.clone().map(|model| Arc::new(ModelTranslator(model)) as Arc<dyn Translator>);
    api.config.translator.clone().or_else(model)
}

pub(super) fn check_clip(clip: &Clip, needs_sound: bool) -> Result<(), ApiError> {
    if clip.seconds > LONGEST {
        return Err(ApiError::invalid("video", format!("the video may last {LONGEST} s")));
    }
    if needs_sound && !clip.has_sound {
        let message = "the video has no sound, so nobody is heard in it; give its words as srt";
        return Err(ApiError::invalid("video", message));
    }
    Ok(())
}

/// The subtitles of a SubRip file of a request.
pub(super) async fn srt(api: &Api, caller: &Caller, input: &FileInput) -> Result<Vec<Subtitle>, ApiError> {
    let file = media::file(api, caller, input, "srt", Wanted::Subtitles).await?;
    let refused = |message: String| ApiError::invalid("srt", message);
    if file.bytes.len() > SRT_BYTES {
        return Err(refused(format!("the file may have {SRT_BYTES} bytes")));
    }
    let text = std::str::from_utf8(&file.bytes).map_err(|_| refused("the file must be text in UTF-8".to_owned()))?;
    subtitles::parse(text).map_err(|error| refused(error.to_string()))
}
