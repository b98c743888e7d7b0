//! The OpenAPI 3.1 document, made of the table of routes, the table of error codes and the schemas of [`schemas`].

use axum::Json;
use serde_json::{Map, Value, json};

use super::error::Code;
use super::page::PAGE_MAX;
use super::routes::{Answers, ROUTES, Route};
use super::{render_events, workers};

pub mod schemas;
mod watching;

/// Codes that every route with a key can answer with.
const ALWAYS: [Code; 5] = [Code::Unauthorized, Code::Forbidden, Code::InvalidParameter, Code::Timeout, Code::Internal];

/// `GET /openapi.json`.
pub(super) async fn document() -> Json<Value> {
    Json(openapi())
}

/// The document.
pub fn openapi() -> Value {
    let mut paths = Map::new();
    for route in ROUTES {
        let path = route.path.replace("{*key}", "{key}");
        let methods = paths.entry(path).or_insert_with(|| json!({}));
        methods[route.method] = operation(route);
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "hyperfarm", "version": hyperfarm_proto::FARM_VERSION,
            "description": "Renders HyperFrames compositions to video. A drop-in for the hosted HyperFrames API, with extensions.",
            "license": { "name": "Apache-2.0", "identifier": "Apache-2.0" },
        },
        "servers": [{ "url": "/" }],
        "security": [{ "ApiKey": [] }, { "Bearer": [] }],
        "paths": paths,
        "components": {
            "schemas": schemas::all(),
            "securitySchemes": {
                "ApiKey": { "type": "apiKey", "in": "header", "name": "x-api-key" },
                "Bearer": { "type": "http", "scheme": "bearer" },
            },
        },
    })
}

fn reference(schema: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{schema}") })
}

fn operation(route: &Route) -> Value {
    let mut operation = json!({
        "operationId": operation_id(route), "summary": route.about, "tags": [tag(route.path)],
        "parameters": parameters(route), "responses": responses(route),
    });
    match route.needs {
        None => operation["security"] = json!([]),
        Some(scope) => operation["description"] = format!("The key needs the scope `{}`.", scope.as_str()).into(),
    }
    if let Some(body) = body(route) {
        operation["requestBody"] = body;
    }
    operation
}

fn operation_id(route: &Route) -> String {
    let words = route.path.split(['/', '-', '.']).filter(|word| !word.is_empty() && *word != "v3");
    let words = words.map(|word| word.trim_matches(['{', '}', '*']));
    std::iter::once(route.method).chain(words).collect::<Vec<_>>().join("_")
}

fn tag(path: &str) -> &'static str {
    match path {
        path if path.starts_with("/v3/hyperframes/farm") || path.starts_with("/v3/hyperframes/workers") => "farm",
        path if path.starts_with("/v3/hyperframes") => "renders",
        path if path.starts_with("/v3/assets") || path.starts_with("/uploads") || path.starts_with("/files") => {
            "assets"
        }
        path if path.starts_with("/v3/webhooks") => "webhooks",
        path if path.starts_with("/v3/users") => "account",
        _ => "farm",
    }
}

fn parameters(route: &Route) -> Vec<Value> {
    let mut all = Vec::new();
    for part in route.path.split('/') {
        if let Some(name) = part.strip_prefix('{').and_then(|part| part.strip_suffix('}')) {
            let name = name.trim_start_matches('*');
            all.push(json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        }
    }
    for name in route.query {
        let (schema, description) = match *name {
            "limit" => (json!({ "type": "integer", "minimum": 1, "maximum": most(route) }), "Items on a page."),
            "token" => (json!({ "type": "string" }), "The next_token of the page before."),
            "status" => (
                json!({ "type": "string", "examples": ["failed,cancelled"] }),
                "Only renders that are queued, rendering, completed, failed or cancelled; several with commas between them.",
            ),
            "search" => (
                json!({ "type": "string", "maxLength": 200 }),
                "Only renders with this in their title, id or callback id, in whatever case.",
            ),
            "event_type" => (json!({ "type": "string" }), "Only events of this type."),
            "entity_id" => (json!({ "type": "string" }), "Only events of this render."),
            _ => (json!({ "type": "string" }), "As signed."),
        };
        all.push(json!({
            "name": name, "in": "query", "description": description, "schema": schema,
            "required": *name == "signature",
        }));
    }
    if route.is_once {
        all.push(json!({
            "name": "Idempotency-Key", "in": "header", "required": false,
            "description": "A request that is repeated with the same key within 24 hours gets the first one's answer.",
            "schema": { "type": "string", "pattern": "^[A-Za-z0-9_\\-:.]{1,255}$" },
        }));
    }
    all
}

/// Items on a page of `route` at most.
fn most(route: &Route) -> usize {
    match route.path {
        path if path.ends_with("/chunks") => render_events::CHUNKS,
        path if path.ends_with("/workers") => workers::WORKERS,
        _ => PAGE_MAX,
    }
}

fn body(route: &Route) -> Option<Value> {
    let content = match route.body? {
        "multipart" => json!({ "multipart/form-data": { "schema": {
            "type": "object", "required": ["file"],
            "properties": { "file": { "type": "string", "contentMediaType": "application/octet-stream" } },
        } } }),
        "bytes" => json!({ "application/octet-stream": {} }),
        schema => json!({ "application/json": { "schema": reference(schema), "example": schemas::example(schema) } }),
    };
    Some(
        json!({ "required": !matches!(route.body, Some("CompleteRequest" | "QuarantineRequest")), "content": content }),
    )
}

fn responses(route: &Route) -> Value {
    let identified = json!({ "X-Request-Id": { "description": "Names the request in the farm's log.", "schema": { "type": "string" } } });
    let content = match route.answers {
        Answers::One(schema) => json!({ "application/json": { "schema": {
            "type": "object", "required": ["data"], "properties": { "data": reference(schema) },
        } } }),
        Answers::Page(schema) => json!({ "application/json": { "schema": {
            "type": "object", "required": ["data", "has_more", "next_token"],
            "properties": {
                "data": { "type": "array", "items": reference(schema) }, "has_more": { "type": "boolean" },
                "next_token": { "type": ["string", "null"] },
            },
        } } }),
        Answers::Raw(media_type) => json!({ media_type: {} }),
    };
    let mut all = Map::new();
    all.insert(route.status.to_string(), json!({ "description": "Done.", "headers": identified, "content": content }));
    if route.path.starts_with("/files") {
        all.insert(
            "206".to_owned(),
            json!({ "description": "The part that was asked for.", "headers": identified, "content": content }),
        );
    }
    let mut codes: Vec<Code> = route.errors.to_vec();
    if route.needs.is_some() {
        codes.extend(ALWAYS);
    } else {
        codes.push(Code::Internal);
    }
    if route.is_once {
        codes.push(Code::InProgress);
    }
    if route.body.is_some() {
        codes.push(Code::ProjectTooLarge);
    }
    codes.sort_by_key(|code| (code.status().as_u16(), code.as_str()));
    codes.dedup();
    for code in codes {
        let status = code.status().as_u16().to_string();
        let line = format!("`{}`: {}", code.as_str(), code.meaning());
        match all.get_mut(&status) {
            Some(known) => {
                let known = &mut known["description"];
                *known = format!("{}\n\n{line}", known.as_str().unwrap_or_default()).into();
            }
            None => {
                let mut headers = identified.clone();
                if matches!(code, Code::RateLimited | Code::QuotaExceeded) {
                    headers["Retry-After"] = json!({ "description": "Seconds.", "schema": { "type": "integer" } });
                }
                all.insert(
                    status,
                    json!({
                        "description": line, "headers": headers,
                        "content": { "application/json": { "schema": reference("Error") } },
                    }),
                );
            }
        }
    }
    Value::Object(all)
}

/// The reference for people, in Markdown, made of the document.
pub fn markdown() -> String {
    let mut text = String::from(
        "# The HTTP API\n\nMade from the OpenAPI document (`GET /openapi.json`) by the test `the_reference_is_what_the_code_says` with `HYPERFARM_BLESS=1`; change the code, not this file.\n\n\
         Send the key as `x-api-key` or as `Authorization: Bearer`. Errors are `{\"error\":{\"code\",\"message\",\"param\"?}}`; every response \
         has an `X-Request-Id`.\n\n## Routes\n",
    );
    for route in ROUTES {
        let path = route.path.replace("{*key}", "{key}");
        text.push_str(&format!("\n### `{} {path}`\n\n{}", route.method.to_uppercase(), route.about));
        match route.needs {
            Some(scope) => text.push_str(&format!(" Scope `{}`.", scope.as_str())),
            None => text.push_str(" No key."),
        }
        if route.is_once {
            text.push_str(" Takes an `Idempotency-Key`.");
        }
        if !route.query.is_empty() {
            text.push_str(&format!(" Query: `{}`.", route.query.join("`, `")));
        }
        match route.body {
            None => {}
            Some("multipart") => text.push_str(" Body: a multipart form with the field `file`."),
            Some("bytes") => text.push_str(" Body: the bytes."),
            Some(schema) => text.push_str(&format!(" Body: [{schema}](#{}).", schema.to_lowercase())),
        }
        let answer = match route.answers {
            Answers::One(schema) => format!("`data` is [{schema}](#{})", schema.to_lowercase()),
            Answers::Page(schema) => format!("a page of [{schema}](#{})", schema.to_lowercase()),
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
    text.push_str("\n## Objects\n");
    if let Value::Object(all) = schemas::all() {
        for (name, schema) in all {
            text.push_str(&format!("\n### {name}\n\n"));
            let Some(properties) = schema["properties"].as_object() else { continue };
            text.push_str("| field | type | meaning |\n| --- | --- | --- |\n");
            for (field, property) in properties {
                let meaning = property["description"].as_str().unwrap_or_default().replace('|', "\\|");
                text.push_str(&format!("| `{field}` | {} | {meaning} |\n", type_name(property)));
            }
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
        Value::String(name) => name.clone(),
        Value::Array(names) => names.iter().filter_map(Value::as_str).collect::<Vec<_>>().join(" or "),
        _ => "any".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_leads_somewhere_and_every_schema_is_used() {
        let document = openapi();
        let text = document.to_string();
        let schemas = document["components"]["schemas"].as_object().unwrap();
        for part in text.split("\"#/components/schemas/").skip(1) {
            let name = part.split('"').next().unwrap();
            assert!(schemas.contains_key(name), "{name}");
        }
        for name in schemas.keys() {
            assert!(text.contains(&format!("schemas/{name}\"")), "{name} is used nowhere");
        }
    }

    #[test]
    fn the_fields_of_a_render_are_those_that_are_parsed() {
        let schemas = schemas::all();
        let documented: std::collections::BTreeSet<&str> =
            schemas["RenderRequest"]["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(documented, super::super::create::FIELDS.into_iter().collect());
    }

    #[test]
    fn operations_have_names_of_their_own() {
        let mut names: Vec<String> = ROUTES.iter().map(operation_id).collect();
        names.sort();
        let count = names.len();
        names.dedup();
        assert_eq!(names.len(), count);
    }
}
