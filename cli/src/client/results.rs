//! Videos that a farm makes on request: waiting for them, and their files.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args as ClapArgs;
use reqwest::Method;
use serde_json::Value;

use super::renders::timeout;
use super::{Api, FarmArgs, show_one, wait_for};
use crate::exit::CliError;
use crate::stdout::print_line;

/// Whether a command waits for the video that it asks for.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct WaitArgs {
    /// File to write once the video is there; waits for it.
    #[arg(short, long, value_name = "FILE")]
    pub output: Option<PathBuf>,
    /// Wait for the end.
    #[arg(long)]
    pub wait: bool,
    /// Give up waiting after this long, such as 90s or 1h; the video goes on and the exit code is 4.
    #[arg(long, value_name = "TIME")]
    pub timeout: Option<String>,
}

/// A video, and the file to write.
#[derive(Debug, ClapArgs)]
pub(crate) struct DownloadArgs {
    /// The video.
    pub id: String,
    /// File to write.
    #[arg(short, long, value_name = "FILE")]
    pub output: PathBuf,
    /// The farm.
    #[command(flatten)]
    pub farm: FarmArgs,
}

impl WaitArgs {
    /// Whether the command waits, and for how long at most.
    pub(super) fn bound(&self) -> Result<Option<Option<Duration>>, CliError> {
        if self.wait || self.output.is_some() {
            return timeout(self.timeout.as_deref()).map(Some);
        }
        match self.timeout {
            Some(_) => {
                Err(CliError::usage("--timeout bounds a wait, and nothing is waited for; add --wait or --output"))
            }
            None => Ok(None),
        }
    }
}

/// Waits for the `kind` of video at `route`, shows it and writes its file to `output`.
pub(super) async fn finish(
    api: &Api,
    (kind, route, id): (&str, &str, &str),
    bound: Option<Duration>,
    output: Option<&Path>,
    json: bool,
) -> Result<(), CliError> {
    let line = |video: &Value| video["status"].as_str().unwrap_or_default().to_owned();
    let video = wait_for(api, &format!("{route}/{id}"), &format!("{kind} {id}"), bound, line).await?;
    show_one(&video, json);
    if video["status"] != "completed" {
        let message = video["failure_message"].as_str().unwrap_or("the farm gave no reason");
        return Err(CliError::user(format!("{kind} {id} failed: {message}")));
    }
    match output {
        Some(output) => save(api, kind, &video, output).await,
        None => Ok(()),
    }
}

/// Downloads the `kind` of video at `route`.
pub(super) async fn download(kind: &str, route: &str, args: DownloadArgs) -> Result<(), CliError> {
    let api = Api::new(&args.farm.farm)?;
    let video = api.data(Method::GET, &format!("{route}/{}", args.id), None).await?;
    save(&api, kind, &video, &args.output).await?;
    print_line(&args.output.display().to_string());
    Ok(())
}

/// Writes the file of a completed video.
async fn save(api: &Api, kind: &str, video: &Value, output: &Path) -> Result<(), CliError> {
    let url = video["video_url"].as_str().ok_or_else(|| {
        let (id, status) = (video["id"].as_str().unwrap_or_default(), video["status"].as_str().unwrap_or_default());
        CliError::user(format!("{kind} {id} is {status}, it has no file"))
    })?;
    api.save(url, output).await
}
