//! The binary as a client of a farm's HTTP API.

pub(crate) mod assets;
pub(crate) mod avatars;
pub(crate) mod lipsyncs;
pub(crate) mod renders;
mod results;
pub(crate) mod translations;
pub(crate) mod videos;
pub(crate) mod voices;
pub(crate) mod webhooks;
pub(crate) mod workers;

use std::io::{IsTerminal, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use clap::Args as ClapArgs;
use hyperfarm_api::ErrorBody;
use hyperfarm_api::assets::UploadBegun;
use hyperfarm_proto::legible::legible;
use reqwest::header::CONTENT_LENGTH;
use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use url::Url;

use crate::exit::CliError;
use crate::render::project::folder_of;
use crate::stdout::print_line;

/// Pause between two looks at what is waited for.
const POLL_EVERY: Duration = Duration::from_millis(500);

/// Where the farm is, and how results are printed.
#[derive(Debug, Clone, ClapArgs)]
pub(crate) struct FarmArgs {
    /// The farm. The key comes from HYPERFARM_API_KEY.
    #[arg(long, value_name = "URL", env = "HYPERFARM_URL", default_value = "http://127.0.0.1:8080", value_parser = farm_url)]
    pub farm: Url,
    /// Print JSON; the default where standard output is no terminal.
    #[arg(long)]
    pub json: bool,
}

/// The URL of a farm, as people give it.
///
/// # Errors
/// It is none, or not one of HTTP.
pub(crate) fn farm_url(text: &str) -> Result<Url, String> {
    let url = Url::parse(text).ok().filter(|url| matches!(url.scheme(), "http" | "https"));
    url.ok_or_else(|| "give a URL that begins with http:// or https://, such as http://127.0.0.1:8080".to_owned())
}

/// A farm's API.
pub(crate) struct Api {
    client: Client,
    url: Url,
    key: Option<String>,
}

impl Api {
    /// The farm at `url`, with the key of the environment.
    pub(crate) fn new(url: &Url) -> Result<Self, CliError> {
        let client = Client::builder()
            .connect_timeout(Duration::from_secs(10))
            .build()
            .map_err(|error| CliError::system(format!("the HTTP client cannot be made: {error}")))?;
        let key = std::env::var("HYPERFARM_API_KEY").ok().filter(|key| !key.is_empty());
        Ok(Self { client, url: url.clone(), key })
    }

    /// A request with the key. A path may have a query.
    pub(crate) fn request(&self, method: Method, path: &str) -> RequestBuilder {
        let mut url = self.url.clone();
        let (path, query) = path.split_once('?').map_or((path, None), |(path, query)| (path, Some(query)));
        url.set_path(&format!("{}{path}", self.url.path().trim_end_matches('/')));
        url.set_query(query);
        let request = self.client.request(method, url);
        match &self.key {
            Some(key) => request.header("x-api-key", key),
            None => request,
        }
    }

    /// The whole answer to a request with a JSON body, or none.
    async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        let mut request = self.request(method, path).timeout(Duration::from_secs(120));
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.map_err(|error| {
            CliError::system(format!("the farm at {} cannot be reached: {error}; check --farm", self.url))
        })?;
        self.body(answer).await
    }

    /// The body of a success; else the farm's error.
    async fn body(&self, answer: Response) -> Result<Value, CliError> {
        let status = answer.status();
        let body: Value = answer.json().await.map_err(|error| {
            CliError::system(format!("{} answered {status} and no JSON: {error}; is it a hyperfarm?", self.url))
        })?;
        if status.is_success() {
            return Ok(body);
        }
        Err(refusal(&self.url, status, body))
    }

    /// The `data` of an answer to [`request`](Self::request).
    pub(crate) async fn read(&self, answer: Response) -> Result<Value, CliError> {
        Ok(self.body(answer).await?["data"].take())
    }

    /// A request for the file behind a signed URL.
    pub(crate) fn download(&self, url: &str) -> RequestBuilder {
        self.client.get(url)
    }

    /// The `data` of the answer to a request of the API.
    pub(crate) async fn send(&self, method: Method, path: &str, body: &impl Serialize) -> Result<Value, CliError> {
        let body = serde_json::to_value(body).map_err(CliError::system)?;
        self.data(method, path, Some(&body)).await
    }

    /// The `data` of an answer.
    pub(crate) async fn data(&self, method: Method, path: &str, body: Option<&Value>) -> Result<Value, CliError> {
        Ok(self.call(method, path, body).await?["data"].take())
    }

    /// Items of a list, whose path may have a query: the first `limit`, or all.
    pub(crate) async fn list(&self, path: &str, limit: usize, all: bool) -> Result<Vec<Value>, CliError> {
        self.list_by(path, limit, all, 100).await
    }

    /// The same, of a list whose pages have `most` items at most.
    pub(crate) async fn list_by(
        &self,
        path: &str,
        limit: usize,
        all: bool,
        most: usize,
    ) -> Result<Vec<Value>, CliError> {
        let (mut items, mut token) = (Vec::new(), None::<String>);
        loop {
            let size = if all { most } else { most.min(limit - items.len()) };
            let next = token.take().map(|token| format!("&token={token}")).unwrap_or_default();
            let join = if path.contains('?') { '&' } else { '?' };
            let page = self.call(Method::GET, &format!("{path}{join}limit={size}{next}"), None).await?;
            items.extend(page["data"].as_array().cloned().unwrap_or_default());
            match page["next_token"].as_str().filter(|_| all || items.len() < limit) {
                Some(next) => token = Some(next.to_owned()),
                None => return Ok(items),
            }
        }
    }

    /// PUTs a file of this length to a signed URL.
    pub(crate) async fn put(&self, begun: &UploadBegun, file: &Path, bytes: u64) -> Result<(), CliError> {
        let file = tokio::fs::File::open(file).await.map_err(CliError::system)?;
        // Storage takes no body whose length it is not told.
        let mut request = self.client.put(&begun.upload_url).header(CONTENT_LENGTH, bytes);
        let others = begun.upload_headers.iter().filter(|(name, _)| !name.eq_ignore_ascii_case("content-length"));
        for (name, value) in others {
            request = request.header(name, value);
        }
        let answer = request.body(file).send().await.map_err(CliError::system)?;
        if answer.status().is_success() {
            return Ok(());
        }
        Err(CliError::system(format!("the upload was answered with {}", answer.status())))
    }

    /// The bytes behind a signed URL.
    pub(crate) async fn get(&self, url: &str) -> Result<Vec<u8>, CliError> {
        let broken = |error: reqwest::Error| CliError::system(format!("the file cannot be downloaded: {error}"));
        let answer = self.download(url).send().await.map_err(broken)?;
        let answer = answer.error_for_status().map_err(broken)?;
        Ok(answer.bytes().await.map_err(broken)?.to_vec())
    }

    /// Writes the bytes behind a signed URL to a file, and makes the folders above it.
    pub(crate) async fn save(&self, url: &str, file: &Path) -> Result<(), CliError> {
        let unwritable =
            |error: std::io::Error| CliError::usage(format!("{} cannot be written: {error}", file.display()));
        std::fs::create_dir_all(folder_of(file)).map_err(unwritable)?;
        let bytes = self.get(url).await?;
        std::fs::write(file, bytes).map_err(unwritable)
    }
}

/// What `path` answers once its status is `completed` or `failed`; `line` says how far it is. A farm that does not answer
/// for half a minute is an error.
async fn wait_for(
    api: &Api,
    path: &str,
    name: &str,
    timeout: Option<Duration>,
    line: impl Fn(&Value) -> String,
) -> Result<Value, CliError> {
    let started = Instant::now();
    let mut failed = 0;
    let (mut waiting, mut said) = (None, None);
    loop {
        match api.data(Method::GET, path, None).await {
            Ok(detail) => {
                failed = 0;
                if matches!(detail["status"].as_str(), Some("completed" | "failed")) {
                    progress("");
                    return Ok(detail);
                }
                progress(&line(&detail));
                waiting = detail["waiting"]["message"].as_str().map(str::to_owned);
                if waiting.is_some() && waiting != said && !std::io::stderr().is_terminal() {
                    eprintln!("waiting: {}", waiting.as_deref().unwrap_or_default());
                    said.clone_from(&waiting);
                }
            }
            Err(error) if error.code == 3 && failed < 60 => failed += 1,
            Err(error) => return Err(error),
        }
        if timeout.is_some_and(|timeout| started.elapsed() >= timeout) {
            progress("");
            let waiting = waiting.map(|waiting| format!(" ({waiting})")).unwrap_or_default();
            return Err(CliError::timed_out(format!("{name} has not ended in time{waiting}; it goes on")));
        }
        tokio::time::sleep(POLL_EVERY).await;
    }
}

fn progress(line: &str) {
    let mut err = std::io::stderr().lock();
    if err.is_terminal() {
        let _ = write!(err, "\r\x1b[K{line}");
        let _ = err.flush();
    }
}

/// A word of the command line that the API has as one of several.
pub(crate) fn choice<T: DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_value(text.into()).map_err(|error| error.to_string())
}

/// An answer that is no success, as the farm said it.
fn refusal(url: &Url, status: StatusCode, body: Value) -> CliError {
    let error = serde_json::from_value(body).ok().map(|ErrorBody { error }| error);
    let message = error.as_ref().map_or("no reason given", |error| &error.message);
    let param = error.as_ref().and_then(|error| error.param.as_deref());
    let param = param.map(|param| format!(" ({param})")).unwrap_or_default();
    let hint = match status {
        StatusCode::UNAUTHORIZED => "; set HYPERFARM_API_KEY",
        StatusCode::PAYLOAD_TOO_LARGE => "; a project of this size has to be rendered on this machine",
        _ => "",
    };
    let message = format!("{url} says {status}: {message}{param}{hint}");
    if status.is_server_error() { CliError::system(message) } else { CliError::user(message) }
}

/// An answer of the API as one of its types.
pub(crate) fn typed<T: DeserializeOwned>(answer: Value) -> Result<T, CliError> {
    serde_json::from_value(answer)
        .map_err(|error| CliError::system(format!("the farm's answer is not understood: {error}")))
}

fn wants_json(asked: bool) -> bool {
    asked || !std::io::stdout().is_terminal()
}

fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => legible(text, usize::MAX).replace('\n', "\\n"),
        Value::Array(items) => items.iter().map(cell).collect::<Vec<_>>().join(","),
        other => other.to_string(),
    }
}

/// Prints one thing: JSON, or a line for each field.
pub(crate) fn show_one(value: &Value, json: bool) {
    if wants_json(json) {
        return print_line(&value.to_string());
    }
    for (name, field) in value.as_object().into_iter().flatten() {
        print_line(&format!("{name:<18} {}", cell(field)));
    }
}

/// Prints a list: JSON, or a table of some fields.
pub(crate) fn show_list(items: &[Value], columns: &[&str], json: bool) {
    if wants_json(json) {
        return print_line(&Value::from(items).to_string());
    }
    let rows: Vec<Vec<String>> = std::iter::once(columns.iter().map(|name| name.to_uppercase()).collect())
        .chain(items.iter().map(|item| columns.iter().map(|name| cell(&item[*name])).collect()))
        .collect();
    let widths: Vec<usize> = (0..columns.len())
        .map(|column| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0))
        .collect();
    for row in rows {
        let cells: Vec<String> = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}")).collect();
        print_line(cells.join("  ").trim_end());
    }
}
