//! `hyperfarm translations`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::avatars::FileInput;
use hyperfarm_api::lipsyncs::LipsyncMode;
use hyperfarm_api::translations::{
    GenerateRequest, ProofreadGenerated, ProofreadRequest, ProofreadSrt, ProofreadSrtRequest, SrtRole,
    TranslationChange, TranslationLanguages, TranslationRequest, TranslationsCreated,
};
use hyperfarm_proto::bounded::Text;
use reqwest::Method;
use serde_json::Value;

use super::renders::{ListArgs, OneArgs};
use super::results::{DownloadArgs, WaitArgs, download, finish};
use super::{Api, FarmArgs, choice, show_list, show_one, typed};
use crate::client::assets;
use crate::exit::CliError;
use crate::stdout::print_line;

const ROUTE: &str = "/v3/video-translations";
const PROOFREADS: &str = "/v3/video-translations/proofreads";

/// What to do with translations: existing videos in other languages.
#[derive(Debug, Subcommand)]
pub(crate) enum TranslationsCommand {
    /// List the languages that videos can be translated into.
    Languages(FarmArgs),
    /// Translate a video into one or more languages.
    Create(Box<CreateArgs>),
    /// List translations, newest first.
    List(ListArgs),
    /// Show a translation, with the URLs of its files.
    Get(OneArgs),
    /// Change the title of a translation.
    Rename(RenameArgs),
    /// Download the video of a translation.
    Download(DownloadArgs),
    /// Delete a translation.
    Delete(OneArgs),
    /// Read and change a translation before it is spoken.
    #[command(subcommand)]
    Proofreads(ProofreadsCommand),
}

/// What to do with sessions in which a translation is read.
#[derive(Debug, Subcommand)]
pub(crate) enum ProofreadsCommand {
    /// Translate a video into one or more languages, to be read.
    Create(Box<ProofreadArgs>),
    /// Show a session.
    Get(OneArgs),
    /// Download the translation of a session as a SubRip file.
    Srt(SrtArgs),
    /// Replace the translation of a session by a SubRip file.
    Update(UpdateArgs),
    /// Make the video of a session.
    Generate(GenerateArgs),
}

/// `hyperfarm translations create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// The video, an MP4 or a WebM file.
    #[arg(long, value_name = "FILE")]
    pub video: PathBuf,
    /// A language to translate into, such as Spanish or es-419; may be given several times.
    #[arg(long = "to", value_name = "LANGUAGE", required = true)]
    pub to: Vec<Text<100>>,
    /// The language of the video [default: what is heard].
    #[arg(long, value_name = "LANGUAGE")]
    pub from: Option<Text<100>>,
    /// What is said, as a SubRip file: nothing is heard then.
    #[arg(long, value_name = "FILE")]
    pub srt: Option<PathBuf>,
    /// Whether --srt has the words of the video or their translation: input or output [default: input].
    #[arg(long, value_name = "WHICH", value_parser = choice::<SrtRole>, requires = "srt")]
    pub srt_role: Option<SrtRole>,
    /// The speech in the other language, a WAV or an MP3 file: nothing is heard, translated or spoken then.
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Keep the pictures as they are, mouth and length.
    #[arg(long)]
    pub audio_only: bool,
    /// Leave the sound of the video out where nobody speaks.
    #[arg(long)]
    pub no_music: bool,
    /// Write the translation beside the video.
    #[arg(long)]
    pub captions: bool,
    /// Second of the video before which nothing is translated [default: 0].
    #[arg(long, value_name = "SECONDS")]
    pub start_time: Option<f64>,
    /// Second of the video after which nothing is translated [default: the video's end].
    #[arg(long, value_name = "SECONDS")]
    pub end_time: Option<f64>,
    /// Keep the length of the video: the voice speaks faster where it has to.
    #[arg(long)]
    pub keep_duration: bool,
    /// Write `hyperfarm` into a corner of the picture.
    #[arg(long)]
    pub watermark: bool,
    /// Name to show to people.
    #[arg(long)]
    pub title: Option<Text<500>>,
    /// An https URL to tell of the end.
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<Text<2048>>,
    /// How it is made.
    #[command(flatten)]
    pub voice: VoiceArgs,
    /// Whether the command waits: for one language.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// What translations and sessions have in common.
#[derive(Debug, ClapArgs)]
pub(crate) struct VoiceArgs {
    /// What becomes of the mouth: speed leaves it as it is, precision has the farm's engine move it [default: speed].
    #[arg(long, value_parser = choice::<LipsyncMode>)]
    pub mode: Option<LipsyncMode>,
    /// Id of the voice that speaks [default: the first one of the language].
    #[arg(long, value_name = "VOICE")]
    pub voice: Option<Text<128>>,
    /// Cut rumble from the new sound, and bring the output to -16 LUFS.
    #[arg(long)]
    pub enhance_speech: bool,
    /// Aim at the bit rate of the video's file.
    #[arg(long)]
    pub keep_format: bool,
}

/// `hyperfarm translations rename`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RenameArgs {
    /// The translation.
    pub id: String,
    /// Its new title.
    pub title: Text<500>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm translations proofreads create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ProofreadArgs {
    /// The video, an MP4 or a WebM file.
    #[arg(long, value_name = "FILE")]
    pub video: PathBuf,
    /// A language to translate into, such as Spanish or es-419; may be given several times.
    #[arg(long = "to", value_name = "LANGUAGE", required = true)]
    pub to: Vec<Text<100>>,
    /// Name to show to people.
    #[arg(long)]
    pub title: Text<500>,
    /// What is said in the video, as a SubRip file: nothing is heard then.
    #[arg(long, value_name = "FILE")]
    pub srt: Option<PathBuf>,
    /// Play pictures more slowly where the translation takes longer.
    #[arg(long)]
    pub stretch: bool,
    /// Leave the sound of the video out where nobody speaks.
    #[arg(long)]
    pub no_music: bool,
    /// How it is made.
    #[command(flatten)]
    pub voice: VoiceArgs,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm translations proofreads srt`.
#[derive(Debug, ClapArgs)]
pub(crate) struct SrtArgs {
    /// The session.
    pub id: String,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The words of the video and not their translation.
    #[arg(long)]
    pub original: bool,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm translations proofreads update`.
#[derive(Debug, ClapArgs)]
pub(crate) struct UpdateArgs {
    /// The session.
    pub id: String,
    /// The translation, a SubRip file.
    pub srt: PathBuf,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm translations proofreads generate`.
#[derive(Debug, ClapArgs)]
pub(crate) struct GenerateArgs {
    /// The session.
    pub id: String,
    /// Write the translation beside the video.
    #[arg(long)]
    pub captions: bool,
    /// Keep the pictures as they are, mouth and length.
    #[arg(long)]
    pub audio_only: bool,
    /// An https URL to tell of the end.
    #[arg(long, value_name = "URL")]
    pub callback_url: Option<Text<2048>>,
    /// Whether the command waits.
    #[command(flatten)]
    pub wait: WaitArgs,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm translations`.
pub(crate) async fn run(command: TranslationsCommand) -> Result<(), CliError> {
    let (args, method) = match command {
        TranslationsCommand::Languages(farm) => return languages(farm).await,
        TranslationsCommand::Create(args) => return create(*args).await,
        TranslationsCommand::Proofreads(command) => return proofreads(command).await,
        TranslationsCommand::List(ListArgs { farm, limit, all }) => {
            let items = Api::new(&farm.farm)?.list(ROUTE, limit.into(), all).await?;
            show_list(&items, &["id", "title", "status", "output_language", "duration", "failure_message"], farm.json);
            return Ok(());
        }
        TranslationsCommand::Rename(RenameArgs { id, title, farm }) => {
            let change = TranslationChange { title };
            let changed = Api::new(&farm.farm)?.send(Method::PATCH, &format!("{ROUTE}/{id}"), &change).await?;
            show_one(&changed, farm.json);
            return Ok(());
        }
        TranslationsCommand::Download(args) => return download("translation", ROUTE, args).await,
        TranslationsCommand::Get(args) => (args, Method::GET),
        TranslationsCommand::Delete(args) => (args, Method::DELETE),
    };
    let data = Api::new(&args.farm.farm)?.data(method, &format!("{ROUTE}/{}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

async fn languages(farm: FarmArgs) -> Result<(), CliError> {
    let found = Api::new(&farm.farm)?.data(Method::GET, &format!("{ROUTE}/languages"), None).await?;
    if farm.json {
        show_one(&found, true);
        return Ok(());
    }
    let TranslationLanguages { languages } = typed(found)?;
    for language in languages {
        print_line(&language);
    }
    Ok(())
}

async fn uploaded(api: &Api, file: Option<&PathBuf>) -> Result<Option<FileInput>, CliError> {
    match file {
        Some(file) => assets::upload_file(api, file).await.map(Some),
        None => Ok(None),
    }
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let bound = args.wait.bound()?;
    if bound.is_some() && args.to.len() > 1 {
        return Err(CliError::usage(
            "--wait and --output are for one language; give --to once, or wait for each by its id",
        ));
    }
    let asked = |is_asked: bool| is_asked.then_some(true);
    let body = TranslationRequest {
        video: assets::upload_file(&api, &args.video).await?,
        output_languages: args.to,
        title: args.title,
        input_language: args.from,
        mode: args.voice.mode,
        audio: uploaded(&api, args.audio.as_ref()).await?,
        srt: uploaded(&api, args.srt.as_ref()).await?,
        srt_role: args.srt_role,
        brand_voice_id: args.voice.voice,
        speaker_num: None,
        translate_audio_only: asked(args.audio_only),
        enable_dynamic_duration: args.keep_duration.then_some(false),
        disable_music_track: asked(args.no_music),
        enable_speech_enhancement: asked(args.voice.enhance_speech),
        enable_caption: asked(args.captions),
        enable_watermark: asked(args.watermark),
        start_time: args.start_time,
        end_time: args.end_time,
        keep_the_same_format: asked(args.voice.keep_format),
        fps_mode: None,
        callback_url: args.callback_url,
        callback_id: None,
        folder_id: None,
    };
    let made = api.send(Method::POST, ROUTE, &body).await?;
    let TranslationsCreated { video_translation_ids: ids } = typed(made.clone())?;
    match (bound, ids.first()) {
        (Some(bound), Some(id)) => {
            let output = args.wait.output.as_deref();
            finish(&api, ("translation", ROUTE, id), bound, output, args.farm.json).await
        }
        _ => {
            show_one(&made, args.farm.json);
            Ok(())
        }
    }
}

async fn proofreads(command: ProofreadsCommand) -> Result<(), CliError> {
    let (farm, shown) = match command {
        ProofreadsCommand::Create(args) => {
            let api = Api::new(&args.farm.farm)?;
            let asked = |is_asked: bool| is_asked.then_some(true);
            let body = ProofreadRequest {
                video: assets::upload_file(&api, &args.video).await?,
                output_languages: args.to,
                title: args.title,
                mode: args.voice.mode,
                srt: uploaded(&api, args.srt.as_ref()).await?,
                brand_voice_id: args.voice.voice,
                speaker_num: None,
                enable_video_stretching: asked(args.stretch),
                disable_music_track: asked(args.no_music),
                enable_speech_enhancement: asked(args.voice.enhance_speech),
                keep_the_same_format: asked(args.voice.keep_format),
                folder_id: None,
            };
            let made = api.send(Method::POST, PROOFREADS, &body).await?;
            (args.farm, made)
        }
        ProofreadsCommand::Get(args) => {
            let found =
                Api::new(&args.farm.farm)?.data(Method::GET, &format!("{PROOFREADS}/{}", args.id), None).await?;
            (args.farm, found)
        }
        ProofreadsCommand::Srt(args) => {
            let api = Api::new(&args.farm.farm)?;
            let found = api.data(Method::GET, &format!("{PROOFREADS}/{}/srt", args.id), None).await?;
            let ProofreadSrt { srt_url, original_srt_url } = typed(found)?;
            let missing = || CliError::user("the session has no words of the video".to_owned());
            let url = if args.original { original_srt_url.ok_or_else(missing)? } else { srt_url };
            return api.save(&url, &args.output).await;
        }
        ProofreadsCommand::Update(args) => {
            let api = Api::new(&args.farm.farm)?;
            let body = ProofreadSrtRequest { srt: assets::upload_file(&api, &args.srt).await? };
            let changed = api.send(Method::PUT, &format!("{PROOFREADS}/{}/srt", args.id), &body).await?;
            (args.farm, changed)
        }
        ProofreadsCommand::Generate(args) => return generate(args).await,
    };
    show_one(&shown, farm.json);
    Ok(())
}

async fn generate(args: GenerateArgs) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let bound = args.wait.bound()?;
    let body = GenerateRequest {
        captions: args.captions.then_some(true),
        translate_audio_only: args.audio_only.then_some(true),
        callback_url: args.callback_url,
        callback_id: None,
    };
    let made: Value = api.send(Method::POST, &format!("{PROOFREADS}/{}/generate", args.id), &body).await?;
    let ProofreadGenerated { video_translation_id: id, .. } = typed(made.clone())?;
    match bound {
        Some(bound) => {
            finish(&api, ("translation", ROUTE, &id), bound, args.wait.output.as_deref(), args.farm.json).await
        }
        None => {
            show_one(&made, args.farm.json);
            Ok(())
        }
    }
}
