//! Tools for agents: the Model Context Protocol over streamable HTTP, at `/mcp`.
//!
//! The tools are made of the table of routes: every route that needs a key, takes JSON or no body, and answers with
//! JSON or events, is a tool. The routes for clients of inference.sh are none: they do what others do. Its name is the operation's id in the OpenAPI document. Its arguments are the parameters
//! of the path and the query, the fields of the body, and `idempotency_key`. A call is a request to the route with the
//! headers of the call, so that scopes, quotas, audit, metrics and errors are those of the route. There are no
//! sessions: each of several coordinators answers every request.

use std::convert::Infallible;
use std::sync::LazyLock;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::header::{ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, RETRY_AFTER, TRANSFER_ENCODING};
use axum::http::request::Parts;
use axum::http::{HeaderName, HeaderValue};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::{IntoResponse, Response};
use futures::StreamExt;
use hyperfarm_api::schema::Schemas;
use rmcp::model::{
    CallToolRequestParams, CallToolResponse, CallToolResult, ContentBlock, Implementation, JsonObject, ListToolsResult,
    PaginatedRequestParams, ProgressNotificationParam, ServerCapabilities, ServerConfig, Tool, ToolAnnotations,
};
use rmcp::service::RequestContext;
use rmcp::transport::streamable_http_server::session::never::NeverSessionManager;
use rmcp::transport::streamable_http_server::{StreamableHttpServerConfig, StreamableHttpService};
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde_json::{Map, Value, json};
use sse_stream::SseStream;
use tower::ServiceExt;
use url::form_urlencoded;

use super::Api;
use super::error::ApiError;
use super::idempotency::IDEMPOTENCY_KEY;
use super::middleware::Answered;
use super::openapi::{self, Parameter};
use super::renders::body_max;
use super::route::{Answers, Dialect, Route, Takes};
use super::routes::{ROUTES, caller_of};
use crate::api_keys::{Caller, Scope};

/// Where the tools are served.
const PATH: &str = "/mcp";

/// How long a tool follows events. Clients wait 60 s for the result of a tool, unless they are configured otherwise.
const FOLLOWED_FOR: Duration = Duration::from_secs(50);

/// Bytes of an answer at most.
const ANSWER_MAX: usize = 16 * 1024 * 1024;

/// What clients tell their model about all tools.
const INSTRUCTIONS: &str = "Renders HyperFrames compositions (HTML with a timeline) to video. Submit a render with \
    post_hyperframes_renders, follow it with get_hyperframes_renders_render_id_events until `ended` is true, \
    then read it with get_hyperframes_renders_render_id: `video_url` is the download, or `failure_message` \
    says what is wrong. Larger projects: begin an upload with post_assets_direct_uploads, PUT the zip to its \
    URL, complete it, and submit its asset_id.";

/// Headers of a call that are not those of the request it stands for.
const OWN_HEADERS: [HeaderName; 6] =
    [ACCEPT, CONTENT_LENGTH, CONTENT_TYPE, EXPECT, TRANSFER_ENCODING, HeaderName::from_static(IDEMPOTENCY_KEY)];

/// The router of `/mcp`. Tools call `routes`.
pub(super) fn router(api: &Api, routes: Router) -> Router {
    let config = StreamableHttpServerConfig::default()
        .with_legacy_session_mode(false)
        .with_json_response(true)
        .with_max_request_body_bytes(body_max(api))
        // The API checks hosts and origins itself.
        .disable_allowed_hosts();
    let service = StreamableHttpService::new(move || Ok(Server { routes: routes.clone() }), Default::default(), config);
    let service: StreamableHttpService<Server, NeverSessionManager> = service;
    Router::new().route_service(PATH, service).route_layer(from_fn_with_state(api.clone(), identify))
}

/// Lets a request pass that has a key of the farm's.
async fn identify(State(api): State<Api>, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    let mut response = match caller_of(&api, &parts.extensions, &parts.headers).await {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(error) => error.into_response(),
    };
    response.extensions_mut().insert(Answered { method: "post", template: PATH, dialect: Dialect::HyperFrames });
    response
}

/// A route as a tool.
struct RouteTool {
    tool: Tool,
    route: &'static Route,
    scope: Scope,
    parameters: Vec<Parameter>,
}

static TOOLS: LazyLock<Vec<RouteTool>> = LazyLock::new(|| ROUTES.iter().filter_map(RouteTool::of).collect());

impl RouteTool {
    /// The tool of a route; `None` where a route takes or answers with something else than JSON and events, or is for
    /// clients of inference.sh.
    fn of(route: &'static Route) -> Option<Self> {
        let takes_json = matches!(route.body, None | Some(Takes::Json { .. }));
        let answers_json = !matches!(route.answers, Answers::Raw(_)) || follows_events(route);
        let is_own = route.dialect == Dialect::HyperFrames;
        let scope = route.needs.filter(|_| takes_json && answers_json && is_own)?;
        let mut schemas = Schemas::default();
        let parameters = openapi::parameters(route, &mut schemas);
        let schema = input_schema(route, &parameters, schemas);
        let mut description = format!("{} Scope `{}`.", route.about, scope.as_str());
        if follows_events(route) {
            description.push_str(&format!(
                " Answers with the last event of each kind, after {} s at most; `ended` says whether more will come. \
                 Each event is a progress notification too.",
                FOLLOWED_FOR.as_secs()
            ));
        }
        let annotations = ToolAnnotations::new().read_only(!route.is_change());
        // A change of what a path names may take something away.
        let annotations = annotations.destructive(route.is_change() && route.path.contains('{'));
        let tool = Tool::new(openapi::operation_id(route), description, schema).with_annotations(annotations);
        Some(Self { tool, route, scope, parameters })
    }

    /// The request that a call stands for.
    fn request(&self, call: &Parts, mut arguments: JsonObject) -> Result<Request, ApiError> {
        let mut headers = call.headers.clone();
        for name in OWN_HEADERS {
            headers.remove(name);
        }
        let (mut path, mut query) = (self.route.path.to_owned(), form_urlencoded::Serializer::new(String::new()));
        for parameter in &self.parameters {
            let argument = argument_name(parameter);
            let text = match arguments.remove(&argument) {
                Some(Value::String(text)) if !text.is_empty() => text,
                None | Some(Value::Null | Value::String(_)) if parameter.required => {
                    return Err(ApiError::invalid(&argument, format!("{argument} is required")));
                }
                None | Some(Value::Null) => continue,
                Some(Value::String(text)) => text,
                Some(other) => other.to_string(),
            };
            match parameter.r#in {
                "path" => {
                    let encoded: String = form_urlencoded::byte_serialize(text.as_bytes()).collect();
                    path = path.replace(&format!("{{{}}}", parameter.name), &encoded);
                }
                "query" => drop(query.append_pair(&parameter.name, &text)),
                _ => {
                    let refused = |_| ApiError::invalid(&argument, format!("{argument} is not a header's value"));
                    headers.insert(HeaderName::from_static(IDEMPOTENCY_KEY), text.parse().map_err(refused)?);
                }
            }
        }
        let body = if self.route.body.is_some() {
            headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            Body::from(Value::Object(arguments).to_string())
        } else {
            Body::empty()
        };
        let request = Request::builder()
            .method(self.route.method.to_ascii_uppercase().as_str())
            .uri(format!("{path}?{}", query.finish()))
            .body(body);
        let mut request = request.map_err(|error| ApiError::internal(&error))?;
        *request.headers_mut() = headers;
        *request.extensions_mut() = call.extensions.clone();
        Ok(request)
    }
}

fn follows_events(route: &Route) -> bool {
    matches!(route.answers, Answers::Raw("text/event-stream"))
}

/// The name of a parameter among the arguments of a tool.
fn argument_name(parameter: &Parameter) -> String {
    match parameter.r#in {
        "header" => parameter.name.to_ascii_lowercase().replace('-', "_"),
        _ => parameter.name.clone(),
    }
}

/// The arguments of a tool as one JSON Schema, which refers to nothing outside.
fn input_schema(route: &Route, parameters: &[Parameter], mut schemas: Schemas) -> JsonObject {
    let body = match route.body {
        Some(Takes::Json { schema, .. }) => schema(&mut schemas).to_value(),
        _ => Value::Object(Map::new()),
    };
    let mut definitions = schemas.into_components();
    let named = body["$ref"].as_str().and_then(|reference| reference.rsplit('/').next()).map(str::to_owned);
    let body = match named.and_then(|name| definitions.remove(&name)) {
        Some(schema) => schema,
        None => body,
    };
    let mut schema = match body {
        Value::Object(schema) => schema,
        _ => Map::new(),
    };
    schema.remove("description");
    schema.insert("type".to_owned(), "object".into());
    let mut required: Vec<Value> = schema.get("required").and_then(Value::as_array).cloned().unwrap_or_default();
    let properties = schema.entry("properties").or_insert_with(|| Value::Object(Map::new()));
    for parameter in parameters {
        let name = argument_name(parameter);
        let mut property = parameter.schema.as_value().clone();
        if let Some(description) = &parameter.description {
            property["description"] = description.clone().into();
        }
        if parameter.required {
            required.push(name.clone().into());
        }
        properties[name] = property;
    }
    if !required.is_empty() {
        schema.insert("required".to_owned(), required.into());
    }
    if !definitions.is_empty() {
        schema.insert("$defs".to_owned(), definitions.into());
    }
    let mut schema = Value::Object(schema);
    lead_references_inside(&mut schema);
    match schema {
        Value::Object(schema) => schema,
        _ => Map::new(),
    }
}

/// References to the document's schemas become references to the definitions of the schema itself.
fn lead_references_inside(schema: &mut Value) {
    match schema {
        Value::Object(fields) => {
            for (name, value) in fields {
                match value {
                    Value::String(text) if name == "$ref" => {
                        *text = text.replace("#/components/schemas/", "#/$defs/");
                    }
                    _ => lead_references_inside(value),
                }
            }
        }
        Value::Array(values) => values.iter_mut().for_each(lead_references_inside),
        _ => {}
    }
}

/// The server of one request.
struct Server {
    routes: Router,
}

impl ServerHandler for Server {
    fn get_info(&self) -> ServerConfig {
        ServerConfig::new(ServerCapabilities::builder().enable_tools().build())
            .with_server_info(Implementation::new("hyperfarm", hyperfarm_proto::FARM_VERSION))
            .with_instructions(INSTRUCTIONS)
    }

    /// The tools that the caller's key may use.
    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        context: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        let call = context.extensions.get::<Parts>();
        let caller = call.and_then(|call| call.extensions.get::<Caller>());
        let caller = caller.ok_or_else(|| ErrorData::internal_error("the request has no caller", None))?;
        let tools = TOOLS.iter().filter(|tool| caller.check(tool.scope).is_ok());
        Ok(ListToolsResult::with_all_items(tools.map(|tool| tool.tool.clone()).collect()))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        find(name).map(|tool| tool.tool.clone())
    }

    async fn call_tool(
        &self,
        params: CallToolRequestParams,
        context: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let Some(tool) = find(&params.name) else {
            return Err(ErrorData::invalid_params(format!("there is no tool `{}`", params.name), None));
        };
        let call = context.extensions.get::<Parts>();
        let call = call.ok_or_else(|| ErrorData::internal_error("the request has no head", None))?;
        let request = match tool.request(call, params.arguments.unwrap_or_default()) {
            Ok(request) => request,
            Err(error) => return Ok(CallToolResult::structured_error(json!(error.body())).into()),
        };
        let Ok::<Response, Infallible>(response) = self.routes.clone().oneshot(request).await;
        let result = if response.status().is_success() && follows_events(tool.route) {
            follow(response, &context).await
        } else {
            answer(response).await?
        };
        Ok(result.into())
    }
}

fn find(name: &str) -> Option<&'static RouteTool> {
    TOOLS.iter().find(|tool| tool.tool.name == name)
}

/// The answer of a route as the result of a tool.
async fn answer(response: Response) -> Result<CallToolResult, ErrorData> {
    let is_success = response.status().is_success();
    let retry_after = response.headers().get(RETRY_AFTER).and_then(|seconds| seconds.to_str().ok()).map(str::to_owned);
    let body = to_bytes(response.into_body(), ANSWER_MAX).await;
    let value = body.ok().and_then(|body| serde_json::from_slice::<Value>(&body).ok());
    let value = value.ok_or_else(|| ErrorData::internal_error("the answer of the route is not JSON", None))?;
    if is_success {
        return Ok(CallToolResult::structured(value));
    }
    let mut result = CallToolResult::structured_error(value);
    if let Some(seconds) = retry_after {
        result.content.push(ContentBlock::text(format!("Try again after {seconds} s.")));
    }
    Ok(result)
}

/// The last event of each kind until the stream ends, or until [`FOLLOWED_FOR`] has passed.
async fn follow(response: Response, context: &RequestContext<RoleServer>) -> CallToolResult {
    let token = context.meta.get_progress_token();
    let mut last = Map::new();
    let following = async {
        let mut events = SseStream::from_bytes_stream(response.into_body().into_data_stream());
        let mut count = 0.0;
        while let Some(Ok(event)) = events.next().await {
            let (Some(name), Some(data)) = (event.event, event.data) else { continue };
            count += 1.0;
            if let Some(token) = &token {
                let progress = ProgressNotificationParam::new(token.clone(), count);
                let progress = progress.with_message(format!("{name} {data}"));
                // A client that is gone is noticed by the service.
                drop(context.peer.notify_progress(progress).await);
            }
            last.insert(name, serde_json::from_str(&data).unwrap_or(Value::String(data)));
        }
    };
    let has_ended = tokio::time::timeout(FOLLOWED_FOR, following).await.is_ok();
    last.insert("ended".to_owned(), has_ended.into());
    CallToolResult::structured(json!({ "data": last }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_route_of_a_key_with_json_is_a_tool() {
        let left_out: Vec<&str> = ROUTES
            .iter()
            .filter(|route| route.needs.is_some() && route.dialect == Dialect::HyperFrames)
            .filter(|route| find(&openapi::operation_id(route)).is_none())
            .map(|route| route.path)
            .collect();
        assert_eq!(left_out, ["/v3/assets", "/metrics", "/openapi.json"]);
    }

    #[test]
    fn arguments_have_names_of_their_own_and_schemas_refer_to_themselves() {
        for tool in TOOLS.iter() {
            let name = &tool.tool.name;
            assert!(name.len() <= 64 && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_'), "{name}");
            let schema = Value::Object((*tool.tool.input_schema).clone());
            let text = schema.to_string();
            for part in text.split("\"#/").skip(1) {
                let reference = part.split('"').next().unwrap();
                assert!(schema.pointer(&format!("/{reference}")).is_some(), "{name}: {reference}");
            }
            let mut schemas = Schemas::default();
            let body = match tool.route.body {
                Some(Takes::Json { schema, .. }) => schema(&mut schemas).to_value(),
                _ => continue,
            };
            let components = schemas.into_components();
            let body = body["$ref"].as_str().map_or(&body, |name| &components[name.rsplit('/').next().unwrap()]);
            for parameter in &tool.parameters {
                assert!(body["properties"].get(argument_name(parameter)).is_none(), "{name}: {}", parameter.name);
            }
        }
    }
}
