//! The body of a new render, field by field.
//!
//! Written by hand rather than derived: every refusal names its field with its path, `null` is the same as absent, and fields
//! that are not known are nobody's business.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use bytes::Bytes;
use hyperfarm_proto::archive::is_plain_path;
use hyperfarm_proto::frame::FrameRate;
use hyperfarm_proto::spec::{Codec, Format, RenderSpec, Seconds, parse_bitrate};
use serde::de::DeserializeOwned;
use serde_json::{Map, Value};
use url::Url;

use super::ApiConfig;
use super::error::{ApiError, Code};
use crate::intake::{COMPOSITION_MAX, Limits, from_html};

const TITLE_MAX: usize = 500;
const CALLBACK_ID_MAX: usize = 256;
const URL_MAX: usize = 2048;
const VARIABLES_MAX: usize = 1024 * 1024;

/// Base64 with or without its padding.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// Every field that a body may have.
pub const FIELDS: [&str; 29] = [
    "project",
    "html",
    "fps",
    "quality",
    "format",
    "codec",
    "crf",
    "video_bitrate",
    "vp9_cpu_used",
    "gif_loop",
    "transparent",
    "resolution",
    "aspect_ratio",
    "width",
    "height",
    "device_scale_factor",
    "duration",
    "audio_url",
    "composition",
    "variables",
    "strict_variables",
    "verify",
    "title",
    "callback_id",
    "callback_url",
    "pool",
    "priority",
    "chunk_frames",
    "max_parallel_chunks",
];

/// Where the project is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Here: the archive.
    Bundle(Bytes),
    /// At a URL.
    Url(Url),
    /// Uploaded before.
    Asset(String),
}

/// A body that was understood.
#[derive(Debug)]
pub struct Asked {
    /// The project.
    pub source: Source,
    /// What to make of it.
    pub spec: RenderSpec,
    /// Higher goes first.
    pub priority: i32,
    /// Fields that nobody knows, and that changed nothing.
    pub unknown: Vec<String>,
}

/// A body that is one JSON object.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, ApiError> {
    let value: Value = serde_json::from_slice(body)
        .map_err(|error| ApiError::new(Code::InvalidParameter, format!("the body is not JSON: {error}")))?;
    match value {
        Value::Object(fields) => Ok(fields),
        _ => Err(ApiError::new(Code::InvalidParameter, "the body must be a JSON object")),
    }
}

/// What `body` asks for.
pub fn parse(body: &[u8], config: &ApiConfig, limits: &Limits) -> Result<Asked, ApiError> {
    parse_fields(&object(body)?, config, limits)
}

/// What the object `fields` asks for.
pub fn parse_fields(all: &Map<String, Value>, config: &ApiConfig, limits: &Limits) -> Result<Asked, ApiError> {
    let fields = Fields { fields: all, path: "" };
    let spec = spec(&fields, config)?;
    spec.check_output().map_err(|error| ApiError::invalid(error.param, error.message))?;
    let priority = fields.signed("priority", -100, 100)?.unwrap_or(0);
    let source = project(&fields, spec.composition.as_deref(), limits)?;
    let unknown = all.keys().filter(|name| !FIELDS.contains(&name.as_str())).cloned().collect();
    Ok(Asked { source, spec, priority, unknown })
}

fn spec(fields: &Fields<'_>, config: &ApiConfig) -> Result<RenderSpec, ApiError> {
    let qualities = "`draft`, `standard` or `high`";
    let codecs = "`h264`, `h265`, `vp8`, `vp9`, `prores`, `gif` or `png-sequence`";
    let codec: Option<Codec> = fields.one_of("codec", codecs)?;
    let format: Option<Format> = fields.one_of("format", "`mp4`, `webm`, `mov`, `gif` or `png-sequence`")?;
    let format = format.or_else(|| codec.map(Codec::format)).unwrap_or_default();
    Ok(RenderSpec {
        fps: fps(fields)?,
        quality: fields.one_of("quality", qualities)?.unwrap_or_default(),
        format,
        codec,
        crf: fields.integer("crf", 0, 63)?,
        video_bitrate: video_bitrate(fields)?,
        vp9_cpu_used: fields.signed("vp9_cpu_used", -8, 8)?,
        gif_loop: fields.integer("gif_loop", 0, u16::MAX.into())?.and_then(|times| u16::try_from(times).ok()),
        transparent: fields.boolean("transparent")?,
        resolution: fields.one_of("resolution", "`1080p` or `4k`")?,
        aspect_ratio: fields.one_of("aspect_ratio", "`16:9`, `9:16` or `1:1`")?,
        width: fields.integer("width", 16, 8192)?,
        height: fields.integer("height", 16, 8192)?,
        device_scale_factor: fields.integer("device_scale_factor", 1, 4)?,
        duration: duration(fields)?,
        audio_url: audio_url(fields)?,
        composition: fields.text("composition", COMPOSITION_MAX)?.filter(|entry| !entry.is_empty()),
        variables: variables(fields)?,
        strict_variables: fields.boolean("strict_variables")?.unwrap_or(false),
        verify: fields.boolean("verify")?.unwrap_or(false),
        title: fields.text("title", TITLE_MAX)?,
        callback_id: fields.text("callback_id", CALLBACK_ID_MAX)?,
        callback_url: callback_url(fields, config)?,
        pool: fields.one_of("pool", "a pool's name: 1 to 64 letters, digits, `-` or `_`")?.unwrap_or_default(),
        chunk_frames: fields.integer("chunk_frames", 1, 1_000_000)?,
        max_parallel_chunks: fields.integer("max_parallel_chunks", 1, 100_000)?,
    })
}

fn fps(fields: &Fields<'_>) -> Result<Option<FrameRate>, ApiError> {
    let refused =
        || ApiError::invalid("fps", "fps must be an integer from 1 to 240, or a fraction such as \"30000/1001\"");
    let Some(value) = fields.get("fps") else { return Ok(None) };
    let rate = match value {
        // 30.0 is an integer to those who write JSON with floating-point numbers only.
        Value::Number(number) => {
            let whole = number.as_u64().or_else(|| number.as_f64().filter(|n| n.fract() == 0.0).map(|n| n as u64));
            whole.and_then(|whole| FrameRate::new(u32::try_from(whole).ok()?, 1).ok())
        }
        Value::String(text) => text.parse().ok(),
        _ => None,
    };
    rate.map(Some).ok_or_else(refused)
}

/// A number of bits a second, or text such as `10M`.
fn video_bitrate(fields: &Fields<'_>) -> Result<Option<u64>, ApiError> {
    let bits = match fields.get("video_bitrate") {
        None => return Ok(None),
        Some(Value::Number(number)) => number.as_u64(),
        Some(Value::String(text)) => parse_bitrate(text),
        Some(_) => None,
    };
    bits.map(Some).ok_or_else(|| fields.refused("video_bitrate", "bits a second, or text such as \"10M\""))
}

/// Seconds; 0 is the composition's own length.
fn duration(fields: &Fields<'_>) -> Result<Option<Seconds>, ApiError> {
    let Some(value) = fields.get("duration") else { return Ok(None) };
    let seconds = value.as_f64().and_then(|seconds| Seconds::try_from(seconds).ok());
    seconds
        .map(|seconds| (!seconds.is_zero()).then_some(seconds))
        .ok_or_else(|| fields.refused("duration", "seconds, 0 or more"))
}

/// An http(s) URL, or the path of a file of the project.
fn audio_url(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.text("audio_url", URL_MAX)?.filter(|text| !text.is_empty()) else { return Ok(None) };
    let is_good = match Url::parse(&text) {
        Ok(url) => matches!(url.scheme(), "http" | "https") && url.has_host(),
        Err(_) => is_plain_path(text.trim_start_matches("./")),
    };
    if is_good { Ok(Some(text)) } else { Err(fields.refused("audio_url", "an http(s) URL, or a file of the project")) }
}

fn variables(fields: &Fields<'_>) -> Result<Option<String>, ApiError> {
    match fields.get("variables") {
        None => Ok(None),
        Some(value @ Value::Object(_)) => {
            let text = value.to_string();
            if text.len() > VARIABLES_MAX {
                return Err(fields.refused("variables", &format!("at most {VARIABLES_MAX} bytes of JSON")));
            }
            Ok(Some(text))
        }
        Some(_) => Err(fields.refused("variables", "an object")),
    }
}

fn callback_url(fields: &Fields<'_>, config: &ApiConfig) -> Result<Option<String>, ApiError> {
    let Some(text) = fields.text("callback_url", URL_MAX)? else { return Ok(None) };
    let is_allowed = Url::parse(&text).is_ok_and(|url| match url.scheme() {
        "https" => url.has_host(),
        "http" => url.has_host() && config.allow_http_callbacks,
        _ => false,
    });
    if is_allowed { Ok(Some(text)) } else { Err(fields.refused("callback_url", "an https URL")) }
}

fn project(fields: &Fields<'_>, entry: Option<&str>, limits: &Limits) -> Result<Source, ApiError> {
    let kinds = "{\"type\":\"url\",…}, {\"type\":\"asset_id\",…}, {\"type\":\"base64\",…} or {\"type\":\"html\",…}";
    if fields.get("html").is_some_and(|html| !html.is_string()) {
        return Err(fields.refused("html", "text: one page"));
    }
    // One page as text beside the other fields is the short form.
    if let (None, Some(Value::String(html))) = (fields.get("project"), fields.get("html")) {
        return html_project(html, "html", entry, limits).map(Source::Bundle);
    }
    let Some(Value::Object(project)) = fields.get("project") else {
        return Err(ApiError::invalid("project", format!("project is required: {kinds}")));
    };
    let project = Fields { fields: project, path: "project." };
    match project.get("type").and_then(Value::as_str) {
        Some("base64") => base64_project(&Fields { path: "project.base64.", ..project }, limits).map(Source::Bundle),
        Some("html") => {
            let project = Fields { path: "project.html.", ..project };
            let Some(Value::String(html)) = project.get("html") else {
                return Err(project.refused("html", "the page"));
            };
            html_project(html, "project.html.html", entry, limits).map(Source::Bundle)
        }
        Some("url") => {
            let project = Fields { path: "project.url.", ..project };
            let text = project.text("url", URL_MAX)?;
            let url = text.and_then(|text| Url::parse(&text).ok()).filter(|url| url.has_host());
            let url = url.filter(|url| matches!(url.scheme(), "http" | "https"));
            url.map(Source::Url).ok_or_else(|| project.refused("url", "the https URL of a zip"))
        }
        Some("asset_id") => {
            let project = Fields { path: "project.asset_id.", ..project };
            match project.text("asset_id", 64)? {
                Some(id) if !id.is_empty() => Ok(Source::Asset(id)),
                _ => Err(project.refused("asset_id", "the id of an uploaded asset")),
            }
        }
        _ => Err(project.refused("type", "`url`, `asset_id`, `base64` or `html`")),
    }
}

fn html_project(html: &str, param: &str, entry: Option<&str>, limits: &Limits) -> Result<Bytes, ApiError> {
    check_inline(html.len(), param, limits)?;
    from_html(html, entry).map_err(|error| ApiError::new(Code::ProjectInvalid, error.to_string()).of("project"))
}

fn base64_project(project: &Fields<'_>, limits: &Limits) -> Result<Bytes, ApiError> {
    if let Some(media_type) = project.text("media_type", 200)?
        && !matches!(
            media_type.as_str(),
            "application/zip" | "application/x-zip-compressed" | "application/octet-stream"
        )
    {
        return Err(project.refused("media_type", "`application/zip`"));
    }
    let Some(Value::String(data)) = project.get("data") else {
        return Err(project.refused("data", "the zip in base64"));
    };
    check_inline(data.len() / 4 * 3, "project.base64.data", limits)?;
    let decoded = if data.contains(|c: char| c.is_ascii_whitespace()) {
        BASE64.decode(data.split_ascii_whitespace().collect::<String>())
    } else {
        BASE64.decode(data)
    };
    let bytes =
        decoded.map_err(|error| ApiError::invalid("project.base64.data", format!("data is not base64: {error}")))?;
    check_inline(bytes.len(), "project.base64.data", limits)?;
    Ok(bytes.into())
}

fn check_inline(bytes: usize, param: &str, limits: &Limits) -> Result<(), ApiError> {
    // The length of base64 tells that of what it holds to within its padding.
    if bytes as u64 <= limits.inline_bytes + 3 {
        return Ok(());
    }
    let message = format!("a project inside the request may have {} bytes, this one has {bytes}", limits.inline_bytes);
    Err(ApiError::new(Code::ProjectTooLarge, message).of(param))
}

/// The fields of an object, and the path that leads to it.
#[derive(Clone, Copy)]
pub(super) struct Fields<'a> {
    pub(super) fields: &'a Map<String, Value>,
    pub(super) path: &'static str,
}

impl<'a> Fields<'a> {
    /// The field, unless it is absent or `null`.
    pub(super) fn get(&self, name: &str) -> Option<&'a Value> {
        self.fields.get(name).filter(|value| !value.is_null())
    }

    pub(super) fn refused(&self, name: &str, expected: &str) -> ApiError {
        ApiError::invalid(format!("{}{name}", self.path), format!("{name} must be {expected}"))
    }

    pub(super) fn text(&self, name: &str, longest: usize) -> Result<Option<String>, ApiError> {
        match self.get(name) {
            None => Ok(None),
            Some(Value::String(text)) if text.chars().count() <= longest => Ok(Some(text.clone())),
            Some(_) => Err(self.refused(name, &format!("text of at most {longest} characters"))),
        }
    }

    pub(super) fn boolean(&self, name: &str) -> Result<Option<bool>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.refused(name, "true or false"))
    }

    pub(super) fn integer(&self, name: &str, least: u32, most: u32) -> Result<Option<u32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_u64().and_then(|number| u32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.refused(name, &format!("an integer from {least} to {most}")))
    }

    pub(super) fn signed(&self, name: &str, least: i32, most: i32) -> Result<Option<i32>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        let number = value.as_i64().and_then(|number| i32::try_from(number).ok());
        let number = number.filter(|number| (least..=most).contains(number));
        number.map(Some).ok_or_else(|| self.refused(name, &format!("an integer from {least} to {most}")))
    }

    /// A value that is one of a few texts, `choices` in words.
    fn one_of<T: DeserializeOwned>(&self, name: &str, choices: &str) -> Result<Option<T>, ApiError> {
        let Some(value) = self.get(name) else { return Ok(None) };
        T::deserialize(value).map(Some).map_err(|_| self.refused(name, choices))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn parsed(body: &Value) -> Result<RenderSpec, ApiError> {
        parse(body.to_string().as_bytes(), &ApiConfig::default(), &Limits::default()).map(|asked| asked.spec)
    }

    fn with(name: &str, value: Value) -> Value {
        let mut body = json!({ "project": { "type": "html", "html": "<p>" } });
        body[name] = value;
        body
    }

    #[test]
    fn every_field_is_taken_over() {
        let body = json!({
            "project": { "type": "html", "html": "<p>" }, "fps": "30000/1001", "quality": "draft", "format": "webm",
            "resolution": "4k", "aspect_ratio": "9:16", "composition": "a/b.html", "variables": { "x": [1] },
            "strict_variables": true, "verify": true, "title": "t", "callback_id": "c",
            "callback_url": "https://x.example/y", "pool": "gpu", "chunk_frames": 30, "max_parallel_chunks": 2, "something_else": { "a": 1 },
            "codec": "vp8", "video_bitrate": "4M", "vp9_cpu_used": -2, "gif_loop": 3, "transparent": true,
            "device_scale_factor": 2, "duration": 2.5, "audio_url": "https://x.example/s.mp3",
        });
        let spec = parsed(&body).unwrap();
        let expected = json!({
            "fps": { "num": 30000, "den": 1001 }, "quality": "draft", "format": "webm", "resolution": "4k",
            "aspect_ratio": "9:16", "width": null, "height": null, "composition": "a/b.html", "variables": "{\"x\":[1]}",
            "strict_variables": true, "verify": true, "title": "t", "callback_id": "c",
            "callback_url": "https://x.example/y", "pool": "gpu", "chunk_frames": 30, "max_parallel_chunks": 2,
            "codec": "vp8", "crf": null, "video_bitrate": 4_000_000, "vp9_cpu_used": -2, "gif_loop": 3, "transparent": true,
            "device_scale_factor": 2, "duration": 2.5, "audio_url": "https://x.example/s.mp3",
        });
        assert_eq!(serde_json::to_value(spec).unwrap(), expected);
    }

    #[test]
    fn one_page_as_text_is_a_whole_request() {
        let body = json!({
            "html": "<h1>Hi</h1>", "width": 540, "height": 960, "fps": 24, "duration": 0, "codec": "prores",
            "device_scale_factor": 2, "transparent": true, "audio_url": "",
        });
        let spec = parsed(&body).unwrap();
        assert_eq!((spec.format, spec.codec(), spec.duration), (Format::Mov, Codec::ProRes, None));
        assert!(spec.is_transparent() && spec.audio_url.is_none());
        let both = json!({ "html": "<h1>", "codec": "vp9", "format": "mp4" });
        assert!(parsed(&both).unwrap_err().to_string().contains("vp9"));
        for codec in Codec::ALL {
            assert_eq!(parsed(&json!({ "html": "<h1>", "codec": codec })).unwrap().format, codec.format());
        }
    }

    #[test]
    fn null_is_absent() {
        let names =
            ["fps", "quality", "format", "resolution", "aspect_ratio", "composition", "variables", "title", "pool"];
        for name in names {
            assert_eq!(parsed(&with(name, Value::Null)).unwrap(), RenderSpec::default(), "{name}");
        }
        assert_eq!(parsed(&with("fps", json!(25.0))).unwrap().fps, FrameRate::new(25, 1).ok());
    }

    #[test]
    fn refusals_name_the_field() {
        let long = |count: usize| json!("x".repeat(count));
        for (name, value) in [
            ("fps", json!(0)),
            ("fps", json!(241)),
            ("fps", json!(29.97)),
            ("fps", json!("fast")),
            ("fps", json!(true)),
            ("quality", json!("best")),
            ("quality", json!(1)),
            ("format", json!("avi")),
            ("codec", json!("av1")),
            ("crf", json!(64)),
            ("video_bitrate", json!("fast")),
            ("vp9_cpu_used", json!(9)),
            ("gif_loop", json!(65_536)),
            ("transparent", json!(true)),
            ("transparent", json!("yes")),
            ("device_scale_factor", json!(1.5)),
            ("duration", json!(-1)),
            ("duration", json!("long")),
            ("audio_url", json!("file:///etc/passwd")),
            ("audio_url", json!("../up.mp3")),
            ("resolution", json!("720p")),
            ("aspect_ratio", json!("4:3")),
            ("composition", long(513)),
            ("variables", json!([1])),
            ("variables", json!("{}")),
            ("title", long(501)),
            ("title", json!(5)),
            ("callback_id", long(257)),
            ("callback_url", json!("http://x.example/")),
            ("callback_url", json!("nonsense")),
            ("width", json!(0)),
            ("height", json!(8193)),
            ("pool", json!("a b")),
            ("chunk_frames", json!(0)),
            ("max_parallel_chunks", json!(-1)),
            ("strict_variables", json!("yes")),
            ("priority", json!(101)),
            ("project", json!("zip")),
            ("html", json!({})),
            ("project", Value::Null),
        ] {
            let error = parsed(&with(name, value.clone())).unwrap_err();
            assert_eq!((error.code, error.param.as_deref()), (Code::InvalidParameter, Some(name)), "{name} {value}");
        }
    }

    #[test]
    fn projects_are_refused_with_their_path() {
        for (project, param) in [
            (json!({}), "project.type"),
            (json!({ "type": "tar" }), "project.type"),
            (json!({ "type": "url", "url": "file:///etc/passwd" }), "project.url.url"),
            (json!({ "type": "url" }), "project.url.url"),
            (json!({ "type": "asset_id", "asset_id": "" }), "project.asset_id.asset_id"),
            (json!({ "type": "html" }), "project.html.html"),
            (json!({ "type": "base64" }), "project.base64.data"),
            (json!({ "type": "base64", "data": "!" }), "project.base64.data"),
            (json!({ "type": "base64", "data": "", "media_type": "text/html" }), "project.base64.media_type"),
        ] {
            let error = parsed(&json!({ "project": project })).unwrap_err();
            assert_eq!(error.param.as_deref(), Some(param), "{error}");
        }
    }

    #[test]
    fn base64_is_taken_with_and_without_padding_and_with_line_breaks() {
        for data in ["UEs=", "UEs", "UE\r\ns="] {
            let body = json!({ "project": { "type": "base64", "media_type": "application/zip", "data": data } });
            let asked = parse(body.to_string().as_bytes(), &ApiConfig::default(), &Limits::default()).unwrap();
            assert_eq!(asked.source, Source::Bundle(Bytes::from_static(b"PK")));
        }
    }

    #[test]
    fn what_is_too_large_says_so() {
        let limits = Limits { inline_bytes: 30, ..Limits::default() };
        for project in
            [json!({ "type": "base64", "data": "A".repeat(100) }), json!({ "type": "html", "html": "x".repeat(100) })]
        {
            let body = json!({ "project": project }).to_string();
            let error = parse(body.as_bytes(), &ApiConfig::default(), &limits).unwrap_err();
            assert_eq!(error.code, Code::ProjectTooLarge);
        }
    }
}
