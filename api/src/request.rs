//! Bodies of requests, and how they are read.
//!
//! `null` is the same as absent, fields that are not known change nothing, and a refusal names its field with its path.

use std::collections::BTreeSet;
use std::str::FromStr;
use std::sync::LazyLock;

use hyperfarm_proto::bounded::{Bounded, BoundsError, Text};
use hyperfarm_proto::spec::{Profile, RenderSpec};
use schemars::JsonSchema;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::{Map, Value};

use crate::error::FieldError;
use crate::fps::Fps;
use crate::schema::Schemas;

/// A body of a request.
pub trait Request: JsonSchema {
    /// A body that could be sent.
    const EXAMPLE: &str;

    /// Whether the body may not be left out.
    const IS_REQUIRED: bool = true;
}

/// A body that is one JSON object.
///
/// # Errors
///
/// Where the body is no JSON, or no object.
pub fn object(body: &[u8]) -> Result<Map<String, Value>, FieldError> {
    let refused = |message| FieldError { param: None, message };
    match serde_json::from_slice(body).map_err(|error| refused(format!("the body is not JSON: {error}")))? {
        Value::Object(fields) => Ok(fields),
        _ => Err(refused("the body must be a JSON object".to_owned())),
    }
}

/// What the fields of an object say.
///
/// # Errors
///
/// [`FieldError`] for a field of a wrong type or out of its range.
pub fn parse<T: DeserializeOwned>(fields: Map<String, Value>) -> Result<T, FieldError> {
    parse_under("", fields)
}

fn parse_under<T: DeserializeOwned>(path: &str, mut fields: Map<String, Value>) -> Result<T, FieldError> {
    fields.retain(|_, value| !value.is_null());
    serde_path_to_error::deserialize(Value::Object(fields)).map_err(|error| refusal(path, &error))
}

/// What a query string says.
///
/// # Errors
///
/// Where a parameter is not what it must be.
pub fn parse_query<T: DeserializeOwned>(query: Option<&str>) -> Result<T, FieldError> {
    let pairs = form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    serde_path_to_error::deserialize(serde_urlencoded::Deserializer::new(pairs)).map_err(|error| refusal("", &error))
}

/// A refusal of serde's in the words of the API: `crf must be an integer from 0 to 63`.
fn refusal<E: std::error::Error>(path: &str, error: &serde_path_to_error::Error<E>) -> FieldError {
    let reason = error.inner().to_string();
    let missing = reason.strip_prefix("missing field `").and_then(|rest| rest.split('`').next());
    let within = error.path().to_string();
    let within = match (within.as_str(), missing) {
        (".", Some(field)) => field.to_owned(),
        (within, Some(field)) => format!("{within}.{field}"),
        (within, None) => within.to_owned(),
    };
    let name = within.rsplit('.').next().unwrap_or(&within);
    // Types with bounds of their own say `give …`.
    let expected = reason.rsplit_once(", expected ").map(|(_, expected)| expected).or(reason.strip_prefix("give "));
    let message = match (missing, expected) {
        (Some(_), _) => format!("{name} is required"),
        (None, Some(expected)) => format!("{name} must be {expected}"),
        (None, None) => format!("{name}: {reason}"),
    };
    let param = [path, &within].concat();
    FieldError { param: (param != ".").then_some(param), message }
}

/// Asks for a render.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct RenderRequest {
    /// The project: a zip, or one page. Required, unless `html` is given.
    pub project: Option<Project>,
    /// One page, instead of `project`. An extension.
    pub html: Option<String>,
    /// Higher goes first; 0 is usual. An extension.
    pub priority: Option<Priority>,
    /// What is asked of the render.
    #[serde(flatten)]
    pub spec: RenderSpec,
}

/// How early a render's tasks are sent out.
pub type Priority = Bounded<i32, -100, 100>;

impl Request for RenderRequest {
    const EXAMPLE: &str = r#"{
        "project": { "type": "html", "html": "<div data-composition-id=\"main\" data-duration=\"2\" data-width=\"640\" data-height=\"360\"><h1>Hi</h1></div>" },
        "fps": 30, "quality": "standard", "format": "mp4", "variables": { "headline": "Q2" }, "title": "Q2"
    }"#;
}

/// What of a [`RenderRequest`] is not part of what is rendered. Apart, because a flattened field loses its path in refusals.
#[derive(Deserialize)]
struct Envelope {
    html: Option<String>,
    priority: Option<Priority>,
    project: Option<Map<String, Value>>,
}

impl RenderRequest {
    /// The request that the fields of a JSON object describe. Where they name a codec or a profile and no format, the
    /// format is the codec's.
    ///
    /// # Errors
    ///
    /// [`FieldError`] for a field of a wrong type or out of its range. Which options go together is checked by the
    /// farm.
    pub fn parse(mut fields: Map<String, Value>) -> Result<Self, FieldError> {
        if fields.get("variables").is_some_and(Value::is_string) {
            return Err(FieldError::new("variables", "variables must be an object"));
        }
        let has_format = fields.get("format").is_some_and(|format| !format.is_null());
        if fields.get("project").is_some_and(|project| !project.is_object() && !project.is_null()) {
            return Err(Self::no_project());
        }
        let own = ["html", "priority", "project"];
        let own = own.into_iter().filter_map(|name| fields.remove_entry(name)).collect();
        let mut spec: RenderSpec = parse(fields)?;
        if let (false, Some(codec)) = (has_format, spec.codec.or(spec.profile.map(Profile::codec))) {
            spec.format = codec.format();
        }
        spec.duration = spec.duration.filter(|duration| !duration.is_zero());
        spec.audio_url = spec.audio_url.filter(|url| !url.is_empty());
        spec.runtime = spec.runtime.filter(|version| !version.is_empty());
        // The published command line sends the path as it was typed.
        let entry = spec.composition.as_deref().map(|entry| entry.trim_start_matches("./"));
        spec.composition = entry.filter(|entry| !entry.is_empty()).and_then(Text::new);
        let Envelope { html, priority, project } = parse(own)?;
        Ok(Self { project: project.map(Project::parse).transpose()?, html, priority, spec })
    }

    /// Says what a project can be, where none is given.
    pub fn no_project() -> FieldError {
        let kinds = "{\"type\":\"url\",…}, {\"type\":\"asset_id\",…}, {\"type\":\"base64\",…} or {\"type\":\"html\",…}";
        FieldError::new("project", format!("project is required: {kinds}"))
    }

    /// The names of all fields.
    pub fn field_names() -> &'static BTreeSet<String> {
        static NAMES: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
            let mut schemas = Schemas::default();
            schemas.request::<RenderRequest>();
            let components = schemas.into_components();
            let fields = components.get("RenderRequest").and_then(|schema| schema.get("properties")?.as_object());
            fields.into_iter().flat_map(|fields| fields.keys().cloned()).collect()
        });
        &NAMES
    }

    /// The body as it is sent: without what is absent.
    ///
    /// # Errors
    ///
    /// Where a value has no JSON.
    pub fn body(&self) -> Result<Value, serde_json::Error> {
        let mut body = serde_json::to_value(self)?;
        if let Value::Object(fields) = &mut body {
            fields.retain(|_, value| !value.is_null());
            // Stored as a rate and as text, sent as clients of the hosted service do.
            if let Some(rate) = self.spec.fps {
                fields.insert("fps".to_owned(), serde_json::to_value(Fps::from(rate))?);
            }
            if let Some(variables) = &self.spec.variables {
                fields.insert("variables".to_owned(), serde_json::from_str(variables)?);
            }
        }
        Ok(body)
    }
}

/// Where the project is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
#[schemars(inline)]
pub enum Project {
    /// Behind a URL.
    Url(UrlProject),
    /// Uploaded before.
    AssetId(AssetProject),
    /// In the request: a zip.
    Base64(Base64Project),
    /// In the request: one page.
    Html(HtmlProject),
}

/// A project behind a URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct UrlProject {
    /// An https URL of a zip of at most 32 MB.
    pub url: Text<2048>,
}

/// A project that was uploaded before.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct AssetProject {
    /// An uploaded zip of at most 200 MB.
    pub asset_id: Text<64>,
}

/// A zip in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct Base64Project {
    /// A zip of at most 25 MB.
    pub data: String,
    /// `application/zip`
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub media_type: Option<Text<200>>,
}

/// One page in the request.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct HtmlProject {
    /// One page. An extension.
    pub html: String,
}

impl Project {
    /// What an object says. Paths of refusals have the type in them, as the hosted service's have: `project.url.url`.
    fn parse(fields: Map<String, Value>) -> Result<Self, FieldError> {
        match fields.get("type").and_then(Value::as_str) {
            Some("url") => parse_under("project.url.", fields).map(Self::Url),
            Some("asset_id") => parse_under("project.asset_id.", fields).map(Self::AssetId),
            Some("base64") => parse_under("project.base64.", fields).map(Self::Base64),
            Some("html") => parse_under("project.html.", fields).map(Self::Html),
            _ => Err(FieldError::new("project.type", "type must be `url`, `asset_id`, `base64` or `html`")),
        }
    }
}

/// The fields of a RenderRequest, with a list for each render.
#[derive(Debug, Clone, PartialEq, JsonSchema)]
pub struct BatchRequest {
    /// One object a render, 1 to 100; an entry that is none is refused by itself.
    #[serde(default)]
    pub variables: Vec<Value>,
    /// Instead: objects with `variables`, `title`, `callback_id`, `callback_url`, `priority`, `composition`.
    pub items: Option<Vec<Map<String, Value>>>,
    /// As in RenderRequest.
    #[schemars(rename = "project", with = "Option<Map<String, Value>>")]
    pub shared: RenderRequest,
}

impl Request for BatchRequest {
    const EXAMPLE: &str = r#"{
        "project": { "type": "html", "html": "<div data-composition-id=\"main\" data-duration=\"2\" data-width=\"640\" data-height=\"360\"><h1>Hi</h1></div>" },
        "variables": [{ "headline": "One" }, { "headline": "Two" }]
    }"#;
}

impl BatchRequest {
    /// Renders in one batch at most.
    pub const MAX_RENDERS: usize = 100;

    /// Fields that an item may have of its own.
    const ITEM_FIELDS: [&str; 6] = ["variables", "title", "callback_id", "callback_url", "priority", "composition"];

    /// The batch that the fields of a JSON object describe.
    ///
    /// # Errors
    ///
    /// [`FieldError`] for a field of a wrong type or out of its range. Entries of `items` are checked by
    /// [`BatchRequest::render`].
    pub fn parse(mut fields: Map<String, Value>) -> Result<Self, FieldError> {
        let (mut variables, mut items) = (Vec::new(), None);
        let (param, count) = match (fields.remove("items"), fields.remove("variables")) {
            (Some(Value::Array(list)), shared) => {
                let count = list.len();
                items = Some((0..).zip(list).map(|(index, item)| Self::item(index, item)).collect::<Result<_, _>>()?);
                fields.extend(shared.map(|shared| ("variables".to_owned(), shared)));
                ("items", count)
            }
            (None | Some(Value::Null), Some(Value::Array(list))) => {
                variables = list;
                ("variables", variables.len())
            }
            _ => {
                let message =
                    "a batch has `variables`, a list of objects, or `items`, a list of objects with `variables`";
                return Err(FieldError::new("variables", message));
            }
        };
        if !(1..=Self::MAX_RENDERS).contains(&count) {
            return Err(FieldError::new(param, format!("{param} must have 1 to {} entries", Self::MAX_RENDERS)));
        }
        Ok(Self { variables, items, shared: RenderRequest::parse(fields)? })
    }

    fn item(index: usize, item: Value) -> Result<Map<String, Value>, FieldError> {
        let Value::Object(item) = item else {
            return Err(FieldError::new(format!("items[{index}]"), "an item must be an object"));
        };
        match item.keys().find(|name| !Self::ITEM_FIELDS.contains(&name.as_str())) {
            None => Ok(item),
            Some(other) => Err(FieldError::new(
                format!("items[{index}].{other}"),
                format!("an item may have {}; give `{other}` once for all", Self::ITEM_FIELDS.join(", ")),
            )),
        }
    }

    /// Number of renders.
    pub fn renders(&self) -> usize {
        self.items.as_ref().map_or(self.variables.len(), Vec::len)
    }

    /// The options and the priority of render number `index`, from 0 on.
    ///
    /// # Errors
    ///
    /// [`FieldError`] for a field of the entry of a wrong type or out of its range.
    pub fn render(&self, index: usize) -> Result<(RenderSpec, Option<Priority>), FieldError> {
        let own = match (&self.items, self.variables.get(index)) {
            (Some(items), _) => items.get(index).cloned().unwrap_or_default(),
            (None, Some(variables)) => Map::from_iter([("variables".to_owned(), variables.clone())]),
            (None, None) => Map::new(),
        };
        let RenderRequest { spec: own, priority, .. } = RenderRequest::parse(own)?;
        let shared = self.shared.spec.clone();
        let spec = RenderSpec {
            variables: own.variables.or(shared.variables),
            title: own.title.or(shared.title),
            callback_id: own.callback_id.or(shared.callback_id),
            callback_url: own.callback_url.or(shared.callback_url),
            composition: own.composition.or(shared.composition),
            ..shared
        };
        Ok((spec, priority.or(self.shared.priority)))
    }
}

/// A number in a query, which is text there.
pub(crate) fn number<'de, D: Deserializer<'de>, T: FromStr<Err = BoundsError>>(
    query: D,
) -> Result<Option<T>, D::Error> {
    String::deserialize(query)?.parse().map(Some).map_err(serde::de::Error::custom)
}

/// A page of a list of at most `MOST` items.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct ListQuery<const MOST: i64> {
    /// Items on a page.
    #[serde(default, deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, MOST>>,
    /// The next_token of the page before.
    #[serde(default)]
    pub token: Option<String>,
}

/// A page of renders.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct RendersQuery {
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 100>>,
    /// The next_token of the page before.
    pub token: Option<String>,
    /// Only renders that are queued, rendering, completed, failed or cancelled; several with commas between them.
    #[schemars(extend("examples" = ["failed,cancelled"]))]
    pub status: Option<String>,
    /// Only renders with this in their title, id, callback id or owner, in whatever case.
    pub search: Option<Text<200>>,
    /// Only renders of this pool.
    pub pool: Option<String>,
    /// The order of the list; newest first by default.
    pub sort: RenderSort,
}

/// The order of a list of renders.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum RenderSort {
    /// By the time of submission, the last one first.
    #[default]
    Newest,
    /// By the time of submission, the first one first.
    Oldest,
    /// By priority, the highest first.
    Priority,
    /// By title, without regard to case; renders without one last.
    Title,
    /// By the time of the end, the last one first; open renders first.
    Ended,
}

/// A page of webhook events.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct EventsQuery {
    /// Only events of this type.
    pub event_type: Option<String>,
    /// Only events of this render.
    pub entity_id: Option<String>,
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 100>>,
    /// The next_token of the page before.
    pub token: Option<String>,
}

/// The right to a signed URL.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[schemars(inline)]
pub struct SignedQuery {
    /// As signed.
    pub signature: String,
}
