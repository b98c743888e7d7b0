//! The body of a new render: its project, and what of it only the farm can check.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyperfarm_api::request::{self, Base64Project, HtmlProject, Project, RenderRequest};
use hyperfarm_proto::spec::RenderSpec;
use serde_json::{Map, Value};
use url::Url;

use super::ApiConfig;
use super::error::{ApiError, Code};
use crate::intake::{Limits, from_html};

/// Base64 with or without its padding.
pub(super) const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Where the project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// In the request: the archive.
    Bundle(Bytes),
    /// Behind a URL.
    Url(Url),
    /// Uploaded before: the asset's id.
    Asset(String),
}

/// A request for a render, with its project found.
#[derive(Debug)]
pub struct Submission {
    /// The project.
    pub source: Source,
    /// What to make of it.
    pub spec: RenderSpec,
    /// Higher goes first.
    pub priority: i32,
    /// Names of fields that the farm does not know and ignores.
    pub unknown: Vec<String>,
}

/// Reads the body of a request for a render.
///
/// # Errors
///
/// Where the body is no JSON object, or a field is not what it must be.
pub fn parse(body: &[u8], config: &ApiConfig, limits: &Limits) -> Result<Submission, ApiError> {
    let fields = request::object(body)?;
    let unknown = unknown(&fields);
    submission(RenderRequest::parse(fields)?, unknown, config, limits)
}

/// The names of fields that a request for a render does not have.
pub(super) fn unknown(fields: &Map<String, Value>) -> Vec<String> {
    let known = RenderRequest::field_names();
    fields.keys().filter(|name| !known.contains(*name)).cloned().collect()
}

/// Finds the project of a request.
pub(super) fn submission(
    request: RenderRequest,
    unknown: Vec<String>,
    config: &ApiConfig,
    limits: &Limits,
) -> Result<Submission, ApiError> {
    let RenderRequest { project, html, priority, spec } = request;
    check_callback(&spec, config)?;
    let entry = spec.composition.as_deref();
    let source = match (project, html) {
        (Some(Project::Html(HtmlProject { html })), _) => page(&html, "project.html.html", entry, limits)?,
        (Some(Project::Base64(project)), _) => archive(&project, limits)?,
        (Some(Project::Url(project)), _) => {
            let url = Url::parse(&project.url).ok().filter(|url| url.has_host());
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            Source::Url(url.ok_or_else(|| ApiError::invalid("project.url.url", "url must be the https URL of a zip"))?)
        }
        (Some(Project::AssetId(project)), _) if project.asset_id.is_empty() => {
            let message = "asset_id must be the id of an uploaded asset";
            return Err(ApiError::invalid("project.asset_id.asset_id", message));
        }
        (Some(Project::AssetId(project)), _) => Source::Asset(project.asset_id.into()),
        // One page as text beside the other fields is the short form.
        (None, Some(html)) => page(&html, "html", entry, limits)?,
        (None, None) => return Err(RenderRequest::no_project().into()),
    };
    Ok(Submission { source, spec, priority: priority.map_or(0, |priority| priority.get()), unknown })
}

/// Checks the URL that is told of a render's end.
pub(super) fn check_callback(spec: &RenderSpec, config: &ApiConfig) -> Result<(), ApiError> {
    let url = spec.callback_url.as_deref().map(|url| receiver_url("callback_url", url, config));
    url.transpose().map(drop)
}

/// The URL of somebody who is told of ends: https, or also plain http where the farm allows that, and not in a private
/// network, as far as that is known without a look-up. Deliveries check it again.
pub(super) fn receiver_url(param: &str, text: &str, config: &ApiConfig) -> Result<Url, ApiError> {
    let url = Url::parse(text).ok().filter(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => url.has_host() && config.allow_http_callbacks,
        _ => false,
    });
    let url = url.ok_or_else(|| ApiError::invalid(param, format!("{param} must be the https URL of the receiver")))?;
    if let Some(fetcher) = &config.fetcher {
        fetcher.check_host(&url).map_err(|reason| ApiError::invalid(param, reason.to_string()))?;
    }
    Ok(url)
}

fn page(html: &str, param: &str, entry: Option<&str>, limits: &Limits) -> Result<Source, ApiError> {
    check_inline(html.len(), param, limits)?;
    let bundle = from_html(html, entry);
    bundle.map(Source::Bundle).map_err(|error| ApiError::new(Code::ProjectInvalid, error.to_string()).of("project"))
}

fn archive(project: &Base64Project, limits: &Limits) -> Result<Source, ApiError> {
    let param = "project.base64.data";
    let is_zip =
        |kind: &str| matches!(kind, "application/zip" | "application/x-zip-compressed" | "application/octet-stream");
    if project.media_type.as_deref().is_some_and(|kind| !is_zip(kind)) {
        return Err(ApiError::invalid("project.base64.media_type", "media_type must be `application/zip`"));
    }
    let data = &project.data;
    check_inline(data.len() / 4 * 3, param, limits)?;
    let decoded = if data.contains(|c: char| c.is_ascii_whitespace()) {
        BASE64.decode(data.split_ascii_whitespace().collect::<String>())
    } else {
        BASE64.decode(data)
    };
    let bytes = decoded.map_err(|error| ApiError::invalid(param, format!("data is not base64: {error}")))?;
    check_inline(bytes.len(), param, limits)?;
    Ok(Source::Bundle(bytes.into()))
}

fn check_inline(bytes: usize, param: &str, limits: &Limits) -> Result<(), ApiError> {
    // The length of base64 tells that of what it holds to within its padding.
    if bytes as u64 <= limits.inline_bytes + 3 {
        return Ok(());
    }
    let message = format!("a project inside the request may have {} bytes, this one has {bytes}", limits.inline_bytes);
    Err(ApiError::new(Code::ProjectTooLarge, message).of(param))
}
