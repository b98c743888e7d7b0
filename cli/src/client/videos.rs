//! `hyperfarm videos`.

use std::path::{Path, PathBuf};
use std::str::FromStr;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::videos::{
    BackgroundKind, BackgroundSetting, Expressiveness, PresenterKind, VideoAspectRatio, VideoCreated, VideoFormat,
    VideoRequest, VideoResolution, VoiceSettings,
};
use hyperfarm_api::voices::MAX_TEXT;
use hyperfarm_backplane::http::media_type;
use hyperfarm_proto::bounded::{Bounded, BoundsError, Text};
use reqwest::Method;
use url::form_urlencoded;

use super::renders::{ListArgs, OneArgs};
use super::results::{DownloadArgs, WaitArgs, download, finish};
use super::{Api, FarmArgs, choice, show_list, show_one, typed};
use crate::client::assets;
use crate::exit::CliError;

const ROUTE: &str = "/v3/videos";

/// What to do with presenter videos: a photo of a person who speaks.
#[derive(Debug, Subcommand)]
pub(crate) enum VideosCommand {
    /// Make a video of a look or of a photo, from a script or from a sound.
    Create(Box<CreateArgs>),
    /// List videos, newest first.
    List(VideosArgs),
    /// Show a video, with the URLs of its files.
    Get(OneArgs),
    /// Download a video.
    Download(DownloadArgs),
    /// Delete a video.
    Delete(OneArgs),
}

/// `hyperfarm videos create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// Id of the look that presents.
    #[arg(long, value_name = "ID", required_unless_present = "image", conflicts_with = "image")]
    pub avatar: Option<Text<64>>,
    /// Photo that presents, a PNG or a JPEG file. It is used once; `hyperfarm avatars create` keeps one.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
    /// What the person says: the text, or @FILE that holds it.
    #[arg(
        long,
        value_name = "TEXT|@FILE",
        required_unless_present = "audio",
        conflicts_with = "audio",
        requires = "voice"
    )]
    pub script: Option<String>,
    /// Id of the voice that speaks the script: `hyperfarm voices list`.
    #[arg(long, value_name = "ID", requires = "script")]
    pub voice: Option<Text<100>>,
    /// Sound that the person says instead of a script: a WAV or MP3 file.
    #[arg(long, value_name = "FILE")]
    pub audio: Option<PathBuf>,
    /// Multiple of the voice's own speed, from 0.5 to 1.5.
    #[arg(long, requires = "script")]
    pub speed: Option<f64>,
    /// Higher or lower than the voice's own pitch, from -50 to 50.
    #[arg(long, requires = "script", allow_negative_numbers = true)]
    pub pitch: Option<Bounded<i32, -50, 50>>,
    /// Language to speak, as a BCP-47 tag [default: the voice's own].
    #[arg(long, requires = "script")]
    pub locale: Option<Text<35>>,
    /// Show the words of the script in the picture.
    #[arg(long, requires = "script")]
    pub captions: bool,
    /// Name to show to people.
    #[arg(long)]
    pub title: Option<Text<500>>,
    /// Height class: 720p, 1080p or 4k [default: 1080p].
    #[arg(long, value_parser = choice::<VideoResolution>)]
    pub resolution: Option<VideoResolution>,
    /// Shape: auto (that of the photo), 16:9, 9:16, 4:5, 5:4 or 1:1 [default: auto].
    #[arg(long, value_name = "SHAPE", value_parser = choice::<VideoAspectRatio>)]
    pub aspect_ratio: Option<VideoAspectRatio>,
    /// What is behind the person: a colour such as #1a2b3c, a PNG or JPEG file, or an MP4 or WebM file, which begins again
    /// when it ends [default: the photo's own background].
    #[arg(long, value_name = "COLOR|FILE")]
    pub background: Option<String>,
    /// Leave out what is behind the person in the photo.
    #[arg(long)]
    pub remove_background: bool,
    /// How much head and brows move: low, medium or high [default: low].
    #[arg(long, value_name = "HOW", requires = "avatar", value_parser = choice::<Expressiveness>)]
    pub expressiveness: Option<Expressiveness>,
    /// Container: mp4, or webm, which keeps transparency [default: mp4].
    #[arg(long, value_parser = choice::<VideoFormat>)]
    pub format: Option<VideoFormat>,
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

/// `hyperfarm videos list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct VideosArgs {
    /// Only videos with this in their title.
    #[arg(long, value_name = "TEXT")]
    pub title: Option<String>,
    /// How many, and of which farm.
    #[command(flatten)]
    pub list: ListArgs,
}

/// `hyperfarm videos`.
pub(crate) async fn run(command: VideosCommand) -> Result<(), CliError> {
    let (args, method) = match command {
        VideosCommand::Create(args) => return create(*args).await,
        VideosCommand::List(args) => {
            let filter = args.title.map(|title| {
                let mut query = form_urlencoded::Serializer::new(String::new());
                format!("?{}", query.append_pair("title", &title).finish())
            });
            let ListArgs { farm, limit, all } = args.list;
            let route = format!("{ROUTE}{}", filter.unwrap_or_default());
            let items = Api::new(&farm.farm)?.list(&route, limit.into(), all).await?;
            show_list(&items, &["id", "title", "status", "duration", "failure_message"], farm.json);
            return Ok(());
        }
        VideosCommand::Download(args) => return download("video", ROUTE, args).await,
        VideosCommand::Get(args) => (args, Method::GET),
        VideosCommand::Delete(args) => (args, Method::DELETE),
    };
    let data = Api::new(&args.farm.farm)?.data(method, &format!("{ROUTE}/{}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let (api, farm, wait) = (Api::new(&args.farm.farm)?, args.farm.clone(), args.wait.clone());
    let bound = wait.bound()?;
    let body = request(&api, args).await?;
    let made = api.send(Method::POST, ROUTE, &body).await?;
    let VideoCreated { video_id: id, .. } = typed(made.clone())?;
    match bound {
        Some(bound) => finish(&api, ("video", ROUTE, &id), bound, wait.output.as_deref(), farm.json).await,
        None => {
            show_one(&made, farm.json);
            Ok(())
        }
    }
}

/// The request that the arguments ask for; their files are uploaded.
async fn request(api: &Api, args: CreateArgs) -> Result<VideoRequest, CliError> {
    let image = match &args.image {
        Some(image) => Some(assets::upload_file(api, image).await?),
        None => None,
    };
    let audio_asset_id = match &args.audio {
        Some(audio) => Some(assets::upload_id(api, audio).await?),
        None => None,
    };
    let background = match &args.background {
        Some(background) => Some(behind(api, background).await?),
        None => None,
    };
    let voice = VoiceSettings { speed: args.speed, pitch: args.pitch, locale: args.locale };
    Ok(VideoRequest {
        kind: if image.is_some() { PresenterKind::Image } else { PresenterKind::Avatar },
        avatar_id: args.avatar,
        image,
        title: args.title,
        resolution: args.resolution,
        aspect_ratio: args.aspect_ratio,
        background,
        remove_background: args.remove_background.then_some(true),
        callback_url: args.callback_url,
        callback_id: None,
        script: args.script.as_deref().map(script).transpose()?,
        voice_id: args.voice,
        audio_url: None,
        audio_asset_id,
        voice_settings: (voice != VoiceSettings::default()).then_some(voice),
        motion_prompt: None,
        expressiveness: args.expressiveness,
        output_format: args.format,
        engine: None,
        captions: args.captions.then_some(true),
    })
}

/// The text of `--script`.
fn script(text: &str) -> Result<Text<MAX_TEXT>, CliError> {
    let text = match text.strip_prefix('@') {
        Some(file) => {
            std::fs::read_to_string(file).map_err(|error| CliError::usage(format!("--script {file}: {error}")))?
        }
        None => text.to_owned(),
    };
    text.parse().map_err(|error: BoundsError| CliError::usage(format!("--script: {error}")))
}

/// What `--background` asks for.
async fn behind(api: &Api, background: &str) -> Result<BackgroundSetting, CliError> {
    let none = BackgroundSetting { kind: BackgroundKind::Color, value: None, url: None, asset_id: None };
    if background.starts_with('#') {
        let value = Text::from_str(background).map_err(|error| CliError::usage(format!("--background: {error}")))?;
        return Ok(BackgroundSetting { value: Some(value), ..none });
    }
    let asset_id = Some(assets::upload_id(api, Path::new(background)).await?);
    let is_video = media_type(background).starts_with("video/");
    let kind = if is_video { BackgroundKind::Video } else { BackgroundKind::Image };
    Ok(BackgroundSetting { kind, asset_id, ..none })
}
