//! The OpenAPI 3.1 document, made of the table of routes, the table of error codes and the types of [`hyperfarm_api`].

use std::collections::BTreeMap;

use hyperfarm_api::schema::Schemas;
use hyperfarm_api::{ErrorBody, Problem};
use schemars::{Schema, json_schema};
use serde::Serialize;
use serde_json::{Map, Value};

use super::error::Code;
use super::route::{Answers, Dialect, Route, Takes};
use super::systems;

/// Codes that every route with a key can answer with.
const ALWAYS: [Code; 6] =
    [Code::Unauthorized, Code::Forbidden, Code::InvalidParameter, Code::RateLimited, Code::Timeout, Code::Internal];

/// The document.
#[derive(Debug, Serialize)]
pub struct Document {
    openapi: &'static str,
    info: Info,
    servers: [Server; 1],
    security: Vec<BTreeMap<&'static str, [&'static str; 0]>>,
    paths: BTreeMap<String, BTreeMap<&'static str, Operation>>,
    components: Components,
}

#[derive(Debug, Serialize)]
struct Info {
    title: &'static str,
    version: &'static str,
    description: &'static str,
    license: License,
}

#[derive(Debug, Serialize)]
struct License {
    name: &'static str,
    identifier: &'static str,
}

#[derive(Debug, Serialize)]
struct Server {
    url: &'static str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Components {
    schemas: Map<String, Value>,
    security_schemes: BTreeMap<&'static str, SecurityScheme>,
}

#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "camelCase")]
enum SecurityScheme {
    ApiKey { r#in: &'static str, name: &'static str },
    Http { scheme: &'static str },
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Operation {
    operation_id: String,
    summary: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    description: Option<String>,
    tags: [&'static str; 1],
    parameters: Vec<Parameter>,
    #[serde(skip_serializing_if = "Option::is_none")]
    request_body: Option<RequestBody>,
    responses: BTreeMap<String, ResponseDoc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    security: Option<[&'static str; 0]>,
}

#[derive(Debug, Serialize)]
pub(super) struct Parameter {
    pub(super) name: String,
    pub(super) r#in: &'static str,
    pub(super) required: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) description: Option<String>,
    pub(super) schema: Schema,
}

#[derive(Debug, Serialize)]
struct RequestBody {
    required: bool,
    content: BTreeMap<&'static str, Media>,
}

#[derive(Debug, Clone, Default, Serialize)]
struct Media {
    #[serde(skip_serializing_if = "Option::is_none")]
    schema: Option<Schema>,
    #[serde(skip_serializing_if = "Option::is_none")]
    example: Option<Value>,
}

impl Media {
    fn of(schema: Schema) -> Self {
        Self { schema: Some(schema), example: None }
    }
}

#[derive(Debug, Clone, Serialize)]
struct ResponseDoc {
    description: String,
    headers: BTreeMap<&'static str, Header>,
    content: BTreeMap<&'static str, Media>,
}

#[derive(Debug, Clone, Serialize)]
struct Header {
    description: &'static str,
    schema: Schema,
}

/// The document of these routes.
pub fn document(routes: &[Route]) -> Document {
    let mut schemas = Schemas::default();
    let mut paths: BTreeMap<String, BTreeMap<&'static str, Operation>> = BTreeMap::new();
    for route in routes {
        paths.entry(plain_path(route)).or_default().insert(route.method, operation(route, &mut schemas));
    }
    Document {
        openapi: "3.1.0",
        info: Info {
            title: "hyperfarm",
            version: hyperfarm_proto::FARM_VERSION,
            description: "Renders HyperFrames compositions to video. A drop-in for the hosted HyperFrames API, with extensions.",
            license: License { name: "Apache-2.0", identifier: "Apache-2.0" },
        },
        servers: [Server { url: "/" }],
        security: vec![BTreeMap::from([("ApiKey", [])]), BTreeMap::from([("Bearer", [])])],
        paths,
        components: Components {
            schemas: schemas.into_components(),
            security_schemes: BTreeMap::from([
                ("ApiKey", SecurityScheme::ApiKey { r#in: "header", name: "x-api-key" }),
                ("Bearer", SecurityScheme::Http { scheme: "bearer" }),
            ]),
        },
    }
}

/// The path as OpenAPI has it: a parameter of several segments is a plain one.
fn plain_path(route: &Route) -> String {
    route.path.replace("{*key}", "{key}")
}

fn operation(route: &Route, schemas: &mut Schemas) -> Operation {
    Operation {
        operation_id: operation_id(route),
        summary: route.about,
        description: route.needs.map(|scope| format!("The key needs the scope `{}`.", scope.as_str())),
        tags: [tag(route.path)],
        parameters: parameters(route, schemas),
        request_body: route.body.map(|body| request_body(body, schemas)),
        responses: responses(route, schemas),
        security: route.needs.is_none().then_some([]),
    }
}

pub(super) fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '-', '.']).filter(|word| !word.is_empty() && *word != "v3");
    let words = words.map(|word| word.trim_matches(['{', '}', '*']));
    std::iter::once(route.method).chain(words).collect::<Vec<_>>().join("_")
}

fn tag(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/v3/hyperframes/farm") || path.starts_with("/v3/hyperframes/workers") => "farm",
        path if path.starts_with("/v3/hyperframes") => "renders",
        path if path.starts_with("/apps") || path.starts_with("/tasks") || path == "/files" => "tasks",
        path if path.starts_with("/v3/assets") || path.starts_with("/uploads") || path.starts_with("/files") => {
            "assets"
        }
        path if path.starts_with("/v3/voices") || path.starts_with("/previews") => "voices",
        path if path.starts_with("/v3/webhooks") => "webhooks",
        path if path.starts_with("/v3/users") || path.starts_with("/v1/user") => "account",
        _ => "farm",
    }
}

pub(super) fn parameters(route: &Route, schemas: &mut Schemas) -> Vec<Parameter> {
    let of_path = route.path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'));
    let mut all: Vec<Parameter> = of_path
        .map(|name| Parameter {
            name: name.trim_start_matches('*').to_owned(),
            r#in: "path",
            required: true,
            description: None,
            schema: json_schema!({ "type": "string" }),
        })
        .collect();
    all.extend(query(route, schemas));
    if route.is_change() {
        all.push(Parameter {
            name: "Idempotency-Key".to_owned(),
            r#in: "header",
            required: false,
            description: Some(
                "A request that is repeated with the same key within 24 hours gets the first one's answer.".to_owned(),
            ),
            schema: json_schema!({ "type": "string", "pattern": "^[A-Za-z0-9_\\-:.]{1,255}$" }),
        });
    }
    all
}

fn query(route: &Route, schemas: &mut Schemas) -> Vec<Parameter> {
    let Some(schema) = route.query.map(|query| query(schemas)) else { return Vec::new() };
    let required: Vec<&str> = list(schema.get("required")).filter_map(Value::as_str).collect();
    let properties = schema.get("properties").and_then(Value::as_object);
    let parameter = |(name, property): (&String, &Value)| {
        let mut schema = Schema::try_from(property.clone()).unwrap_or_default();
        let description = schema.remove("description").and_then(|text| text.as_str().map(str::to_owned));
        Parameter {
            name: name.clone(),
            r#in: "query",
            required: required.contains(&name.as_str()),
            description,
            schema,
        }
    };
    properties.into_iter().flatten().map(parameter).collect()
}

fn list(value: Option<&Value>) -> impl Iterator<Item = &Value> {
    value.and_then(Value::as_array).into_iter().flatten()
}

fn request_body(body: Takes, schemas: &mut Schemas) -> RequestBody {
    let (kind, media, required) = match body {
        Takes::Json { schema, example, is_required } => {
            let example = serde_json::from_str(example).ok();
            ("application/json", Media { schema: Some(schema(schemas)), example }, is_required)
        }
        Takes::Form(schema) => ("multipart/form-data", Media::of(schema(schemas)), true),
        Takes::Bytes => ("application/octet-stream", Media::default(), true),
    };
    RequestBody { required, content: BTreeMap::from([(kind, media)]) }
}

fn responses(route: &Route, schemas: &mut Schemas) -> BTreeMap<String, ResponseDoc> {
    let request_id =
        Header { description: "Names the request in the farm's log.", schema: json_schema!({ "type": "string" }) };
    let headers = BTreeMap::from([("X-Request-Id", request_id)]);
    let (kind, media) = match route.answers {
        Answers::One(schema) | Answers::Page(schema) | Answers::Whole(schema) => {
            ("application/json", Media::of(schema(schemas)))
        }
        Answers::Raw(kind) => (kind, Media::default()),
    };
    let success = |description: &str| ResponseDoc {
        description: description.to_owned(),
        headers: headers.clone(),
        content: BTreeMap::from([(kind, media.clone())]),
    };
    let mut all = BTreeMap::from([(route.status.to_string(), success("Done."))]);
    if route.path.starts_with("/files/") {
        all.insert("206".to_owned(), success("The part that was asked for."));
    }
    let mut codes: Vec<Code> = route.errors.to_vec();
    if route.needs.is_some() {
        codes.extend(ALWAYS);
    } else {
        codes.push(Code::Internal);
    }
    if route.is_change() {
        codes.push(Code::InProgress);
    }
    if route.body.is_some() {
        codes.push(Code::TooLarge);
    }
    if matches!(route.body, Some(Takes::Json { .. })) {
        codes.push(Code::MediaTypeInvalid);
    }
    codes.sort_by_key(|code| (code.status().as_u16(), code.as_str()));
    codes.dedup();
    let (error_kind, error) = match route.dialect {
        Dialect::HyperFrames => ("application/json", schemas.answer::<ErrorBody>()),
        Dialect::Inference => (Problem::MEDIA_TYPE, schemas.answer::<Problem>()),
    };
    let error = Media::of(error);
    for code in codes {
        let line = format!("`{}`: {}", code.as_str(), code.meaning());
        if let Some(known) = all.get_mut(code.status().as_str()) {
            known.description = format!("{}\n\n{line}", known.description);
            continue;
        }
        let mut headers = headers.clone();
        if matches!(code, Code::RateLimited | Code::QuotaExceeded) {
            let retry_after = Header { description: "Seconds.", schema: json_schema!({ "type": "integer" }) };
            headers.insert("Retry-After", retry_after);
        }
        let content = BTreeMap::from([(error_kind, error.clone())]);
        all.insert(code.status().as_str().to_owned(), ResponseDoc { description: line, headers, content });
    }
    all
}

/// The reference for people, in Markdown.
pub fn markdown(routes: &[Route]) -> String {
    let mut schemas = Schemas::default();
    let mut text = String::from(
        "# The HTTP API\n\nMade from the OpenAPI document (`GET /openapi.json`) by the test `the_reference_is_what_the_code_says` with `HYPERFARM_BLESS=1`; change the code, not this file.\n\n\
         Send the key as `x-api-key` or as `Authorization: Bearer`. Errors are `{\"error\":{\"code\",\"message\",\"param\"?,\"doc_url\"}}`; every response \
         has an `X-Request-Id`. Errors of the routes for clients of inference.sh (`/apps`, `/tasks`, `POST /files`) are [problems](#problem). Agents call the same routes as [tools](mcp.md) at `POST /mcp`.\n\n## Routes\n",
    );
    for route in routes {
        let path = plain_path(route);
        text.push_str(&format!("\n### `{} {path}`\n\n{}", route.method.to_uppercase(), route.about));
        match route.needs {
            Some(scope) => text.push_str(&format!(" Scope `{}`.", scope.as_str())),
            None => text.push_str(" No key."),
        }
        if route.is_change() {
            text.push_str(" Takes an `Idempotency-Key`.");
        }
        let query: Vec<String> = query(route, &mut schemas).into_iter().map(|parameter| parameter.name).collect();
        if !query.is_empty() {
            text.push_str(&format!(" Query: `{}`.", query.join("`, `")));
        }
        match route.body {
            None => {}
            Some(Takes::Form(_)) => text.push_str(" Body: a multipart form with the field `file`."),
            Some(Takes::Bytes) => text.push_str(" Body: the bytes."),
            Some(Takes::Json { schema, .. }) => {
                text.push_str(&format!(" Body: {}.", type_name(schema(&mut schemas).as_value())));
            }
        }
        let data = |schema: Schema| schema.pointer("/properties/data").cloned().unwrap_or_default();
        let answer = match route.answers {
            Answers::One(schema) => format!("`data` is {}", type_name(&data(schema(&mut schemas)))),
            Answers::Page(schema) => format!("a page of {}", type_name(&data(schema(&mut schemas))["items"])),
            Answers::Whole(schema) => {
                format!("`code` and `message`, and `data` is {}", type_name(&data(schema(&mut schemas))))
            }
            Answers::Raw(media_type) => format!("`{media_type}`"),
        };
        text.push_str(&format!(" Answers {}: {answer}.", route.status));
        if !route.errors.is_empty() {
            let mut codes: Vec<&str> = Vec::new();
            for code in route.errors {
                // Two of them may be one to clients, with different statuses.
                if !codes.contains(&code.as_str()) {
                    codes.push(code.as_str());
                }
            }
            text.push_str(&format!(" Errors: `{}`.", codes.join("`, `")));
        }
        text.push('\n');
    }
    text.push_str("\n## Systems of the published documents\n\n");
    text.push_str(&systems::markdown());
    schemas.answer::<ErrorBody>();
    schemas.answer::<Problem>();
    text.push_str("\n## Objects\n");
    for (name, schema) in schemas.into_components() {
        let about = schema["description"].as_str().map(|about| format!("{about}\n\n")).unwrap_or_default();
        text.push_str(&format!("\n### {name}\n\n{about}"));
        let Some(properties) = schema["properties"].as_object() else { continue };
        text.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
        for (field, property) in properties {
            let meaning = property["description"].as_str().unwrap_or_default().replace('|', "\\|").replace('\n', " ");
            text.push_str(&format!("| `{field}` | {} | {meaning} |\n", type_name(property)));
        }
    }
    text.push_str("\n## Errors\n\n| code | HTTP | meaning |\n| --- | --- | --- |\n");
    for code in Code::ALL {
        text.push_str(&format!("| `{}` | {} | {} |\n", code.as_str(), code.status().as_u16(), code.meaning()));
    }
    text
}

fn type_name(property: &Value) -> String {
    if let Some(choices) = property["enum"].as_array() {
        let choices: Vec<String> =
            choices.iter().map(|choice| format!("`{}`", choice.as_str().unwrap_or("null"))).collect();
        return choices.join(", ");
    }
    if let Some(name) = property["$ref"].as_str().and_then(|name| name.rsplit('/').next()) {
        return format!("[{name}](#{})", name.to_lowercase());
    }
    match &property["type"] {
        Value::String(name) if name == "array" && !property["items"]["$ref"].is_null() => {
            format!("array of {}", type_name(&property["items"]))
        }
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::super::routes::ROUTES;
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = document(ROUTES);
        let schemas = &document.components.schemas;
        let text = serde_json::to_string(&document).unwrap();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        for name in schemas.keys() {
            assert!(text.contains(&format!("schemas/{name}\"")), "{name} is used nowhere");
        }
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<String> = ROUTES.iter().map(operation_id).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }

    #[test]
    fn examples_are_json() {
        for route in ROUTES {
            if let Some(Takes::Json { example, .. }) = route.body {
                assert!(serde_json::from_str::<Value>(example).is_ok(), "{}", route.path);
            }
        }
    }
}
