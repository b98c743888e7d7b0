//! `hyperfarm lipsyncs`.

use std::path::PathBuf;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::lipsyncs::{FpsMode, LipsyncChange, LipsyncCreated, LipsyncMode, LipsyncRequest};
use hyperfarm_proto::bounded::Text;
use reqwest::Method;

use super::renders::{ListArgs, OneArgs};
use super::results::{DownloadArgs, WaitArgs, download, finish};
use super::{Api, FarmArgs, choice, show_list, show_one, typed};
use crate::client::assets;
use crate::exit::CliError;

const ROUTE: &str = "/v3/lipsyncs";

/// What to do with lipsyncs: existing videos with a new sound.
#[derive(Debug, Subcommand)]
pub(crate) enum LipsyncsCommand {
    /// Give a video a new sound.
    Create(Box<CreateArgs>),
    /// List lipsyncs, newest first.
    List(ListArgs),
    /// Show a lipsync, with the URLs of its files.
    Get(OneArgs),
    /// Change the title of a lipsync.
    Rename(RenameArgs),
    /// Download the video of a lipsync.
    Download(DownloadArgs),
    /// Delete a lipsync.
    Delete(OneArgs),
}

/// `hyperfarm lipsyncs create`.
#[derive(Debug, ClapArgs)]
pub(crate) struct CreateArgs {
    /// The video, an MP4 or a WebM file.
    #[arg(long, value_name = "FILE")]
    pub video: PathBuf,
    /// Its new sound, a WAV or an MP3 file.
    #[arg(long, value_name = "FILE")]
    pub audio: PathBuf,
    /// What becomes of the mouth: speed leaves it as it is, precision has the farm's engine move it [default: speed].
    #[arg(long, value_parser = choice::<LipsyncMode>)]
    pub mode: Option<LipsyncMode>,
    /// Second of the video at which the new sound begins [default: 0].
    #[arg(long, value_name = "SECONDS")]
    pub start_time: Option<f64>,
    /// Second of the video at which the part with the new sound ends [default: the video's end].
    #[arg(long, value_name = "SECONDS")]
    pub end_time: Option<f64>,
    /// Keep the length of the video; else the output is as long as the new sound.
    #[arg(long)]
    pub keep_duration: bool,
    /// Write the words of the new sound beside the video, where the farm knows them.
    #[arg(long)]
    pub captions: bool,
    /// Cut rumble from the new sound, and bring the output to -16 LUFS.
    #[arg(long)]
    pub enhance_speech: bool,
    /// Write `hyperfarm` into a corner of the picture.
    #[arg(long)]
    pub watermark: bool,
    /// Aim at the bit rate of the video's file.
    #[arg(long)]
    pub keep_format: bool,
    /// How frames follow each other: vfr, cfr or passthrough [default: cfr].
    #[arg(long, value_name = "HOW", value_parser = choice::<FpsMode>)]
    pub fps_mode: Option<FpsMode>,
    /// Name to show to people.
    #[arg(long)]
    pub title: Option<Text<500>>,
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

/// `hyperfarm lipsyncs rename`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RenameArgs {
    /// The lipsync.
    pub id: String,
    /// Its new title.
    pub title: Text<500>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm lipsyncs`.
pub(crate) async fn run(command: LipsyncsCommand) -> Result<(), CliError> {
    let (args, method) = match command {
        LipsyncsCommand::Create(args) => return create(*args).await,
        LipsyncsCommand::List(ListArgs { farm, limit, all }) => {
            let items = Api::new(&farm.farm)?.list(ROUTE, limit.into(), all).await?;
            show_list(&items, &["id", "title", "status", "duration", "failure_message"], farm.json);
            return Ok(());
        }
        LipsyncsCommand::Rename(RenameArgs { id, title, farm }) => {
            let changed =
                Api::new(&farm.farm)?.send(Method::PATCH, &format!("{ROUTE}/{id}"), &LipsyncChange { title }).await?;
            show_one(&changed, farm.json);
            return Ok(());
        }
        LipsyncsCommand::Download(args) => return download("lipsync", ROUTE, args).await,
        LipsyncsCommand::Get(args) => (args, Method::GET),
        LipsyncsCommand::Delete(args) => (args, Method::DELETE),
    };
    let data = Api::new(&args.farm.farm)?.data(method, &format!("{ROUTE}/{}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

async fn create(args: CreateArgs) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let bound = args.wait.bound()?;
    let asked = |is_asked: bool| is_asked.then_some(true);
    let body = LipsyncRequest {
        video: assets::upload_file(&api, &args.video).await?,
        audio: assets::upload_file(&api, &args.audio).await?,
        mode: args.mode,
        title: args.title,
        enable_caption: asked(args.captions),
        enable_dynamic_duration: args.keep_duration.then_some(false),
        disable_music_track: None,
        enable_speech_enhancement: asked(args.enhance_speech),
        enable_watermark: asked(args.watermark),
        start_time: args.start_time,
        end_time: args.end_time,
        keep_the_same_format: asked(args.keep_format),
        fps_mode: args.fps_mode,
        callback_url: args.callback_url,
        callback_id: None,
        folder_id: None,
    };
    let made = api.send(Method::POST, ROUTE, &body).await?;
    let LipsyncCreated { lipsync_id: id } = typed(made.clone())?;
    match bound {
        Some(bound) => finish(&api, ("lipsync", ROUTE, &id), bound, args.wait.output.as_deref(), args.farm.json).await,
        None => {
            show_one(&made, args.farm.json);
            Ok(())
        }
    }
}
