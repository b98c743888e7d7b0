//! `hyperfarm renders`.

use std::path::PathBuf;
use std::time::Duration;

use clap::{Args as ClapArgs, Subcommand};
use hyperfarm_api::render::RenderDetail;
use hyperfarm_backplane::config::parse_duration;
use hyperfarm_proto::record::unix_ms;
use reqwest::Method;
use serde_json::Value;
use url::form_urlencoded;

use super::{Api, FarmArgs, show_list, show_one, typed, wait_for};
use crate::exit::CliError;
use crate::stdout::print_line;

/// Path of the renders in the API.
pub(crate) const ROUTE: &str = "/v3/hyperframes/renders";

/// What to do with renders on a farm.
#[derive(Debug, Subcommand)]
pub(crate) enum RendersCommand {
    /// List renders.
    List(ListRendersArgs),
    /// Show a render.
    Get(OneArgs),
    /// Wait for a render's end, showing how far it is.
    Watch(WatchArgs),
    /// Download a render's video.
    Download(DownloadArgs),
    /// Show a render's chunks.
    Chunks(OneArgs),
    /// Cancel a render.
    Cancel(OneArgs),
    /// Send out no more of a render.
    Pause(OneArgs),
    /// Go on with a paused render.
    Resume(OneArgs),
    /// Change the priority of an open render.
    Priority(PriorityArgs),
    /// Submit an ended render again, as a new one.
    Retry(RetryArgs),
    /// Delete a render, or those that ended some time ago.
    Delete(DeleteArgs),
}

/// A list.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListArgs {
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
    /// Items to list.
    #[arg(long, default_value = "20", value_parser = clap::value_parser!(u8).range(1..=100))]
    pub limit: u8,
    /// List all of them.
    #[arg(long, conflicts_with = "limit")]
    pub all: bool,
}

/// `hyperfarm renders list`.
#[derive(Debug, ClapArgs)]
pub(crate) struct ListRendersArgs {
    /// The order: newest, oldest, priority, title or ended; newest by default.
    #[arg(long, value_name = "ORDER")]
    pub sort: Option<String>,
    /// Only renders of this pool.
    #[arg(long)]
    pub pool: Option<String>,
    /// Only renders that are queued, rendering, completed, failed or cancelled; several with commas between them.
    #[arg(long)]
    pub status: Option<String>,
    /// Only renders with this in their title, id, callback id or owner.
    #[arg(long, value_name = "TEXT")]
    pub search: Option<String>,
    /// How many, and of which farm.
    #[command(flatten)]
    pub list: ListArgs,
}

impl ListRendersArgs {
    /// Path and query of the list.
    fn route(&self) -> String {
        let filters = [("sort", &self.sort), ("pool", &self.pool), ("status", &self.status), ("search", &self.search)];
        let mut query = form_urlencoded::Serializer::new(String::new());
        query.extend_pairs(filters.into_iter().filter_map(|(name, value)| Some((name, value.as_ref()?))));
        let query = query.finish();
        if query.is_empty() { ROUTE.to_owned() } else { format!("{ROUTE}?{query}") }
    }
}

/// `hyperfarm renders priority`.
#[derive(Debug, ClapArgs)]
pub(crate) struct PriorityArgs {
    /// The render.
    pub id: String,
    /// The new priority; renders of a higher one go first within their space.
    #[arg(allow_negative_numbers = true, value_parser = clap::value_parser!(i8).range(-100..=100))]
    pub priority: i8,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// One thing by its id.
#[derive(Debug, ClapArgs)]
pub(crate) struct OneArgs {
    /// Its id.
    pub id: String,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm renders delete`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DeleteArgs {
    /// Its id.
    #[arg(required_unless_present = "older_than", conflicts_with = "older_than")]
    pub id: Option<String>,
    /// Delete all renders that ended longer ago than this, such as 12h or 30d.
    #[arg(long, value_name = "TIME")]
    pub older_than: Option<String>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm renders watch`.
#[derive(Debug, ClapArgs)]
pub(crate) struct WatchArgs {
    /// The render.
    pub id: String,
    /// Give up waiting after this long, such as 90s or 1h; the render goes on and the exit code is 4.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm renders retry`.
#[derive(Debug, ClapArgs)]
pub(crate) struct RetryArgs {
    /// The render.
    pub id: String,
    /// Wait for the end of the new one.
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this long; the exit code is 4.
    #[arg(long, value_name = "TIME", requires = "wait")]
    pub timeout: Option<String>,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm renders download`.
#[derive(Debug, ClapArgs)]
pub(crate) struct DownloadArgs {
    /// The render.
    pub id: String,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

/// `hyperfarm renders`.
pub(crate) async fn run(command: RendersCommand) -> Result<(), CliError> {
    match command {
        RendersCommand::List(args) => {
            let ListArgs { farm, limit, all } = &args.list;
            let items = Api::new(&farm.farm)?.list(&args.route(), (*limit).into(), *all).await?;
            let columns = ["render_id", "status", "format", "title", "pool", "owner", "duration", "error_code"];
            show_list(&items, &columns, farm.json);
            Ok(())
        }
        RendersCommand::Priority(args) => {
            let body = serde_json::json!({ "priority": args.priority });
            let path = format!("{ROUTE}/{}/priority", args.id);
            let data = Api::new(&args.farm.farm)?.data(Method::POST, &path, Some(&body)).await?;
            show_one(&data, args.farm.json);
            Ok(())
        }
        RendersCommand::Get(args) => one(&args, Method::GET, "").await,
        RendersCommand::Cancel(args) => one(&args, Method::POST, "/cancel").await,
        RendersCommand::Pause(args) => one(&args, Method::POST, "/pause").await,
        RendersCommand::Resume(args) => one(&args, Method::POST, "/resume").await,
        RendersCommand::Delete(DeleteArgs { id: Some(id), farm, .. }) => {
            one(&OneArgs { id, farm }, Method::DELETE, "").await
        }
        RendersCommand::Delete(args) => delete_older(&args).await,
        RendersCommand::Chunks(args) => {
            let data =
                Api::new(&args.farm.farm)?.data(Method::GET, &format!("{ROUTE}/{}/chunks", args.id), None).await?;
            let items = data.as_array().cloned().unwrap_or_default();
            show_list(
                &items,
                &["index", "first_frame", "frame_count", "frames_done", "status", "worker"],
                args.farm.json,
            );
            Ok(())
        }
        RendersCommand::Watch(args) => {
            let api = Api::new(&args.farm.farm)?;
            let detail = wait(&api, &args.id, timeout(args.timeout.as_deref())?).await?;
            finish(&detail, args.farm.json)
        }
        RendersCommand::Retry(args) => {
            let api = Api::new(&args.farm.farm)?;
            let made = api.data(Method::POST, &format!("{ROUTE}/{}/retry", args.id), None).await?;
            if !args.wait {
                show_one(&made, args.farm.json);
                return Ok(());
            }
            let id = made["render_id"].as_str().unwrap_or_default();
            let detail = wait(&api, id, timeout(args.timeout.as_deref())?).await?;
            finish(&detail, args.farm.json)
        }
        RendersCommand::Download(args) => {
            let api = Api::new(&args.farm.farm)?;
            let detail = api.data(Method::GET, &format!("{ROUTE}/{}", args.id), None).await?;
            let url = detail["video_url"].as_str().ok_or_else(|| {
                CliError::user(format!("render {} is {}, it has no video", args.id, detail["status"]))
            })?;
            api.save(url, &args.output).await?;
            print_line(&args.output.display().to_string());
            Ok(())
        }
    }
}

async fn one(args: &OneArgs, method: Method, tail: &str) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let data = api.data(method, &format!("{ROUTE}/{}{tail}", args.id), None).await?;
    show_one(&data, args.farm.json);
    Ok(())
}

/// Deletes the renders that ended as long ago as was asked for, or longer; times are whole seconds.
async fn delete_older(args: &DeleteArgs) -> Result<(), CliError> {
    let text = args.older_than.as_deref().unwrap_or_default();
    let age = parse_duration(text).map_err(|error| CliError::usage(format!("--older-than: {error}")))?;
    let before = ((unix_ms() / 1000.0) as u64).saturating_sub(age.as_secs());
    let api = Api::new(&args.farm.farm)?;
    let renders: Vec<RenderDetail> = typed(api.list(ROUTE, 100, true).await?.into())?;
    let mut deleted = Vec::new();
    for render in renders {
        if render.completed_at.is_some_and(|ended| ended <= before) {
            deleted.push(api.data(Method::DELETE, &format!("{ROUTE}/{}", render.render_id), None).await?);
        }
    }
    show_list(&deleted, &["render_id"], args.farm.json);
    Ok(())
}

/// A duration of the command line.
pub(crate) fn timeout(text: Option<&str>) -> Result<Option<Duration>, CliError> {
    text.map(|text| parse_duration(text).map_err(|error| CliError::usage(format!("--timeout: {error}")))).transpose()
}

/// The render's detail after its end.
async fn wait(api: &Api, id: &str, timeout: Option<Duration>) -> Result<Value, CliError> {
    let line = |detail: &Value| {
        let p = &detail["progress"];
        let waiting = detail["waiting"]["message"].as_str().map(|message| format!(" · {message}"));
        let stage = p["stage"].as_str().unwrap_or("");
        format!("{stage} {} of {} frames{}", p["frames_done"], p["frames_total"], waiting.unwrap_or_default())
    };
    wait_for(api, &format!("{ROUTE}/{id}"), &format!("render {id}"), timeout, line).await
}

fn finish(detail: &Value, json: bool) -> Result<(), CliError> {
    show_one(detail, json);
    if detail["status"] == "completed" {
        return Ok(());
    }
    let message = detail["failure_message"].as_str().unwrap_or("the farm gave no reason");
    Err(CliError::user(format!("render {} failed: {message}", detail["render_id"].as_str().unwrap_or_default())))
}
