//! The same render on a running farm, over its HTTP API.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use base64::Engine;
use bytes::Bytes;
use hyperfarm_api::render::{RenderCreated, RenderDetail, RenderStatus};
use hyperfarm_api::request::{AssetProject, Base64Project, Priority, Project, RenderRequest};
use hyperfarm_proto::bounded::Text;
use hyperfarm_proto::plan::Warning;
use hyperfarm_proto::spec::RenderSpec;
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use tokio::io::AsyncWriteExt;
use url::Url;

use super::output::Output;
use super::progress::{Bar, Progress};
use super::project::Bundle;
use super::summary::{FarmSummary, Report, Submitted};
use crate::args::RenderArgs;
use crate::client::renders::ROUTE;
use crate::client::{Api, typed};
use crate::exit::CliError;
use crate::roles::drain;

/// Pause between two looks at a render.
const POLL_EVERY: Duration = Duration::from_millis(500);
/// Where no end of waiting was given.
const FOR_EVER: Duration = Duration::from_secs(u32::MAX as u64);
/// A larger project is uploaded as an asset.
const INLINE_MOST: u64 = 4 * 1024 * 1024;
/// Polls that may fail one after another: a coordinator that restarts is back within this.
const FAILED_POLLS: u32 = 60;
/// For how long a farm that does not answer is asked again before anything was submitted: somebody may have mistyped.
const REACHED_WITHIN: Duration = Duration::from_secs(15);
/// How often a download is begun.
const DOWNLOADS: u32 = 5;

struct Farm {
    api: Api,
    url: Url,
}

/// Renders on the farm at `url`.
pub(super) async fn run(
    args: &RenderArgs,
    url: &Url,
    spec: RenderSpec,
    project: &Bundle,
    output: Output,
    mut warnings: Vec<Warning>,
) -> Result<Report, CliError> {
    let farm = Farm { api: Api::new(url)?, url: url.clone() };
    let started = Instant::now();
    let mut bar = Bar::new(args);
    // SIGINT and SIGTERM cancel the render. The second one ends the process at once.
    let interrupted = drain("the farm to cancel the render")?;
    let timeout = crate::client::renders::timeout(args.timeout.as_deref())?;
    let submitting = async {
        farm.reach().await?;
        farm.create(&spec, args.priority, project).await
    };
    let id = tokio::select! {
        id = submitting => id?,
        () = interrupted.started() => return Err(CliError::interrupted().after(warnings)),
    };
    if args.no_wait {
        return Ok(Report::Submitted(Submitted { render_id: id, status: RenderStatus::Queued, warnings }));
    }
    enum End {
        Ended(Box<Result<RenderDetail, CliError>>),
        TimedOut,
        Interrupted,
    }
    let end = tokio::select! {
        detail = farm.follow(&id, &mut bar) => End::Ended(Box::new(detail.and_then(|detail| completed(&id, detail)))),
        () = tokio::time::sleep(timeout.unwrap_or(FOR_EVER)), if timeout.is_some() => End::TimedOut,
        () = interrupted.started() => End::Interrupted,
    };
    let ended = match end {
        End::Ended(ended) => *ended,
        End::TimedOut => {
            let waiting = bar.waiting().map(|waiting| format!(" ({waiting})")).unwrap_or_default();
            Err(CliError::timed_out(format!("render {id} has not ended in time{waiting}; it goes on at {url}")))
        }
        End::Interrupted => {
            farm.cancel(&id).await;
            Err(CliError::interrupted())
        }
    };
    let ended = ended.map_err(|error| error.after(std::mem::take(&mut warnings)));
    bar.finish(&ended);
    let detail = ended?;
    warnings
        .extend(detail.warnings.into_iter().map(|warning| Warning { code: warning.code, message: warning.message }));
    for sidecar in &detail.sidecars {
        farm.fetch(&id, Some(sidecar.url.clone()), &output.sidecar(&sidecar.name)?, &|detail| {
            detail.sidecars.into_iter().find(|other| other.name == sidecar.name).map(|other| other.url)
        })
        .await?;
    }
    let bytes = farm.fetch(&id, detail.video_url, output.partial(), &|detail| detail.video_url).await?;
    let target = output.target().display().to_string();
    output.publish()?;
    let (frames, seconds) = (detail.progress.frames_total, started.elapsed().as_secs_f64());
    Ok(Report::Farm(FarmSummary {
        render_id: id,
        farm: url.clone(),
        output: target,
        frames,
        duration: detail.duration,
        bytes,
        seconds,
        frames_per_second: frames as f64 / seconds.max(1e-9),
        warnings,
    }))
}

/// The render, if it is complete; else why it is not.
fn completed(id: &str, detail: RenderDetail) -> Result<RenderDetail, CliError> {
    if detail.status == RenderStatus::Completed {
        return Ok(detail);
    }
    let found = detail.warnings.into_iter().map(|found| Warning { code: found.code, message: found.message }).collect();
    let message = detail.failure_message.unwrap_or_else(|| "the farm gave no reason".to_owned());
    let code = detail.error_code.unwrap_or_default();
    let ours = hyperfarm_proto::failure::FailureCode::ALL.iter().find(|known| known.as_str() == code);
    let message = format!("render {id}: {message} [{code}]");
    let error = match ours.map(|code| code.owner()) {
        Some(hyperfarm_proto::failure::Owner::System) => CliError::system(message),
        _ => CliError::user(message),
    };
    Err(error.after(found))
}

impl Farm {
    /// Waits until something answers: a coordinator may be restarting.
    async fn reach(&self) -> Result<(), CliError> {
        let ask = || self.api.request(Method::GET, "/healthz").timeout(Duration::from_secs(10));
        self.patiently(&ask).await.map(drop)
    }

    /// Sends what `request` makes until it is answered by more than a proxy without its farm, or too much time has passed.
    async fn patiently(&self, request: &(dyn Fn() -> RequestBuilder + Sync)) -> Result<Response, CliError> {
        let deadline = Instant::now() + REACHED_WITHIN;
        let mut told = false;
        loop {
            let outcome = request().send().await;
            match outcome {
                Ok(answer) if !is_away(answer.status()) => return Ok(answer),
                outcome if Instant::now() < deadline => {
                    if !told {
                        let why = outcome.map_or_else(|error| error.to_string(), |answer| answer.status().to_string());
                        tracing::info!(%why, "{} does not answer; asking again for some seconds", self.url);
                        told = true;
                    }
                }
                Ok(answer) => return Ok(answer),
                Err(error) => return Err(self.unreachable(&error)),
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    async fn create(
        &self,
        spec: &RenderSpec,
        priority: Option<Priority>,
        project: &Bundle,
    ) -> Result<String, CliError> {
        let project = if project.bytes()? > INLINE_MOST {
            let asset = crate::client::assets::upload(&self.api, "project.zip", &project.path()).await?;
            Project::AssetId(AssetProject { asset_id: crate::client::assets::id_of(asset)? })
        } else {
            let project = std::fs::read(project.path()).map_err(CliError::system)?;
            let data = base64::engine::general_purpose::STANDARD.encode(project);
            Project::Base64(Base64Project { data, media_type: Text::new("application/zip") })
        };
        let request = RenderRequest { project: Some(project), html: None, priority, spec: spec.clone() };
        let body = request.body().map_err(CliError::system)?;
        let body = Bytes::from(body.to_string());
        // Asked twice with one key, the farm makes one render.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        let once = format!("cli-{}-{}", std::process::id(), since.as_nanos());
        let submission = || {
            let request = self.api.request(Method::POST, ROUTE).header("idempotency-key", &once);
            request.header("content-type", "application/json").body(body.clone())
        };
        let created: RenderCreated = typed(self.api.read(self.patiently(&submission).await?).await?)?;
        Ok(created.render_id)
    }

    async fn follow(&self, id: &str, bar: &mut Bar) -> Result<RenderDetail, CliError> {
        let mut failed = 0;
        loop {
            match self.look(id).send().await {
                Ok(answer)
                    if !answer.status().is_server_error() && answer.status() != StatusCode::TOO_MANY_REQUESTS =>
                {
                    failed = 0;
                    let detail = self.detail(answer).await?;
                    if matches!(detail.status, RenderStatus::Completed | RenderStatus::Failed) {
                        return Ok(detail);
                    }
                    bar.show(&Progress {
                        stage: detail.progress.stage.as_str().to_owned(),
                        done: detail.progress.frames_done,
                        total: detail.progress.frames_total,
                        eta: detail.progress.eta_seconds.map(Duration::from_secs),
                        waiting: detail.waiting.map(|waiting| waiting.message),
                    });
                }
                outcome => {
                    failed += 1;
                    if failed > FAILED_POLLS {
                        let why = match outcome {
                            Ok(answer) => answer.status().to_string(),
                            Err(error) => error.to_string(),
                        };
                        return Err(CliError::system(format!(
                            "{} does not answer any more ({why}); render {id} may still be going on there",
                            self.url
                        )));
                    }
                }
            }
            tokio::time::sleep(POLL_EVERY).await;
        }
    }

    /// Asks for the render's detail.
    fn look(&self, id: &str) -> RequestBuilder {
        self.api.request(Method::GET, &format!("{ROUTE}/{id}")).timeout(Duration::from_secs(30))
    }

    async fn detail(&self, answer: Response) -> Result<RenderDetail, CliError> {
        typed(self.api.read(answer).await?)
    }

    /// Downloads the video of a completed render; begins again, with a fresh link, where that breaks.
    async fn fetch(
        &self,
        id: &str,
        mut link: Option<String>,
        path: &Path,
        link_of: &(dyn Fn(RenderDetail) -> Option<String> + Sync),
    ) -> Result<u64, CliError> {
        let mut tries = 0;
        loop {
            let url = link.ok_or_else(|| {
                CliError::system(format!("render {id} is complete and does not say where its file is"))
            })?;
            match self.download(&url, path).await {
                Err(error) if tries < DOWNLOADS => {
                    tracing::info!(error = error.message, render = id, "downloading again");
                    tries += 1;
                }
                outcome => return outcome,
            }
            tokio::time::sleep(POLL_EVERY * tries).await;
            link = link_of(self.detail(self.patiently(&|| self.look(id)).await?).await?);
        }
    }

    async fn cancel(&self, id: &str) {
        let request = self.api.request(Method::POST, &format!("{ROUTE}/{id}/cancel"));
        if let Err(error) = request.timeout(Duration::from_secs(10)).send().await {
            tracing::warn!(%error, render = id, "the render could not be cancelled");
        }
    }

    async fn download(&self, url: &str, path: &Path) -> Result<u64, CliError> {
        let broken =
            |error: &dyn std::fmt::Display| CliError::system(format!("the output cannot be downloaded: {error}"));
        let mut answer = self.api.download(url).send().await.map_err(|error| broken(&error))?;
        if !answer.status().is_success() {
            return Err(broken(&answer.status()));
        }
        let expected = answer.content_length();
        let mut file = tokio::fs::File::create(path).await.map_err(|error| broken(&error))?;
        let mut bytes = 0;
        while let Some(piece) = answer.chunk().await.map_err(|error| broken(&error))? {
            bytes += piece.len() as u64;
            file.write_all(&piece).await.map_err(|error| broken(&error))?;
        }
        file.flush().await.map_err(|error| broken(&error))?;
        match expected {
            Some(expected) if expected != bytes => Err(broken(&format!("{bytes} of {expected} bytes came"))),
            _ => Ok(bytes),
        }
    }

    fn unreachable(&self, error: &reqwest::Error) -> CliError {
        CliError::system(format!(
            "the farm at {} cannot be reached: {error}; check --farm and that the coordinator runs",
            self.url
        ))
    }
}

/// Whether an answer says that who should answer is not there.
fn is_away(status: StatusCode) -> bool {
    matches!(status, StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE | StatusCode::GATEWAY_TIMEOUT)
}
