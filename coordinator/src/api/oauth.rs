//! Sign-in by OAuth 2.0, for programs that ask for no API key: authorization codes with PKCE (RFC 6749, 7636, 8252),
//! device codes (RFC 8628), refresh and revocation (RFC 7009).
//!
//! The farm knows no users. Whoever consents types an API key on a page of the farm's; the program gets tokens that
//! stand for it and can be revoked without it. The key goes to the farm alone.

use std::net::IpAddr;

use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::header::{
    CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, LOCATION, REFERRER_POLICY, X_FRAME_OPTIONS,
};
use axum::http::{Extensions, HeaderMap, HeaderName, HeaderValue, StatusCode};
use axum::middleware::map_response;
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use axum::{Json, Router};
use hyperfarm_api::oauth::{AccessToken, DeviceAuthorization, OAuthError};
use hyperfarm_api::request;
use hyperfarm_proto::id::ContentHash;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use url::{Host, Url};

use super::base_url::base_url;
use super::error::{ApiError, Code};
use super::middleware::Answered;
use super::route::Dialect;
use super::server::PeerAddress;
use super::{Api, read_body};
use crate::api_keys::Caller;
use crate::audit::{self, Act};
use crate::html::escaped;
use crate::oauth::{Authorization, Consent, DEVICE_VALID, GrantError, OAuth, POLL_INTERVAL, Tokens};

/// Path of the page on which a user code is entered.
const DEVICE_PATH: &str = "/oauth/device";

const DEVICE_GRANT: &str = "urn:ietf:params:oauth:grant-type:device_code";

/// Characters of a client's id, a state or a redirect at most.
const TEXT_MAX: usize = 2048;

/// The routes, which are no part of the table of the API: their forms, answers and errors are those of OAuth.
pub(super) fn routes() -> Router<Api> {
    let routes: [(&'static str, &'static str, MethodRouter<Api>); 7] = [
        ("get", "/oauth/authorize", get(authorize)),
        ("post", "/oauth/authorize", post(answer_authorize)),
        ("get", DEVICE_PATH, get(device)),
        ("post", DEVICE_PATH, post(answer_device)),
        ("post", "/v1/oauth/device_authorization", post(begin_device)),
        ("post", "/v1/oauth/token", post(token)),
        ("post", "/v1/oauth/revoke", post(revoke)),
    ];
    routes.into_iter().fold(Router::new(), |router, (method, template, handler)| {
        let answered = Answered { method, template, dialect: Dialect::HyperFrames };
        let mark = map_response(move |mut response: Response| async move {
            response.extensions_mut().insert(answered);
            response
        });
        router.route(template, handler.layer(mark))
    })
}

/// What a client asks of `/oauth/authorize`.
#[derive(Debug, Clone, Deserialize)]
struct AuthorizeRequest {
    response_type: String,
    client_id: String,
    redirect_uri: String,
    #[serde(default)]
    state: String,
    code_challenge: String,
    code_challenge_method: String,
}

/// The fields that the page of consent adds.
#[derive(Debug, Clone, Deserialize)]
struct Answer {
    #[serde(default)]
    key: String,
    /// `allow` or `deny`.
    decision: String,
}

impl AuthorizeRequest {
    /// The URL that the answer is sent to: a program on the user's own machine.
    fn redirect(&self) -> Result<Url, ApiError> {
        let texts = [&self.client_id, &self.redirect_uri, &self.state, &self.code_challenge];
        if self.client_id.is_empty() || texts.iter().any(|text| text.len() > TEXT_MAX) {
            return Err(ApiError::invalid("client_id", "client_id must be the name of the program"));
        }
        if self.response_type != "code" {
            return Err(ApiError::invalid("response_type", "response_type must be `code`"));
        }
        let is_hash = |c: char| c.is_ascii_alphanumeric() || c == '-' || c == '_';
        let is_challenge = self.code_challenge.len() == 43 && self.code_challenge.chars().all(is_hash);
        if self.code_challenge_method != "S256" || !is_challenge {
            let message = "code_challenge must be a SHA-256 in base64 for URLs, and code_challenge_method `S256`";
            return Err(ApiError::invalid("code_challenge", message));
        }
        let is_own_machine = |url: &Url| match url.host() {
            Some(Host::Domain(name)) => name == "localhost",
            Some(Host::Ipv4(address)) => address.is_loopback(),
            Some(Host::Ipv6(address)) => address.is_loopback(),
            None => false,
        };
        let url = Url::parse(&self.redirect_uri).ok();
        let url = url.filter(|url| url.scheme() == "http" && is_own_machine(url) && url.fragment().is_none());
        url.ok_or_else(|| {
            let message = "redirect_uri must lead to a program on the user's own machine: http://127.0.0.1:PORT/…";
            ApiError::invalid("redirect_uri", message)
        })
    }
}

/// `GET /oauth/authorize`: asks the user for consent.
async fn authorize(
    State(api): State<Api>,
    query: Result<Query<AuthorizeRequest>, axum::extract::rejection::QueryRejection>,
) -> Result<Response, ApiError> {
    let Query(asked) = query.map_err(|error| ApiError::new(Code::InvalidParameter, error.body_text()))?;
    asked.redirect()?;
    Ok(authorize_page(&api, &asked, None))
}

fn authorize_page(api: &Api, asked: &AuthorizeRequest, error: Option<&ApiError>) -> Response {
    let hidden: String = [
        ("response_type", &asked.response_type),
        ("client_id", &asked.client_id),
        ("redirect_uri", &asked.redirect_uri),
        ("state", &asked.state),
        ("code_challenge", &asked.code_challenge),
        ("code_challenge_method", &asked.code_challenge_method),
    ]
    .into_iter()
    .map(|(name, value)| format!("<input type=\"hidden\" name=\"{name}\" value=\"{}\">", escaped(value)))
    .collect();
    consent_page(api, &format!("{hidden}{}", client_text(&asked.client_id)), error)
}

/// `POST /oauth/authorize`: the user's answer.
async fn answer_authorize(
    State(api): State<Api>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let text = form(body).await?;
    let (asked, answer): (AuthorizeRequest, Answer) = (fields(&text)?, fields(&text)?);
    let mut redirect = asked.redirect()?;
    if answer.decision == "allow" {
        let key = match consent(&api, &extensions, &headers, &answer.key, &asked.client_id).await {
            Ok(key) => key,
            Err(error) => return Ok(authorize_page(&api, &asked, Some(&error))),
        };
        let authorization = Authorization {
            client_id: asked.client_id,
            redirect_uri: asked.redirect_uri,
            challenge: asked.code_challenge,
            key,
        };
        let code = api.oauth.issue_code(authorization).await.map_err(|error| ApiError::internal(&error))?;
        redirect.query_pairs_mut().append_pair("code", &code);
    } else {
        redirect.query_pairs_mut().append_pair("error", "access_denied");
    }
    if !asked.state.is_empty() {
        redirect.query_pairs_mut().append_pair("state", &asked.state);
    }
    let location = HeaderValue::from_str(redirect.as_str()).map_err(|error| ApiError::internal(&error))?;
    Ok((StatusCode::SEE_OTHER, [(LOCATION, location)], guarded(String::new())).into_response())
}

/// The code in the query of [`DEVICE_PATH`].
#[derive(Debug, Clone, Default, Deserialize)]
struct UserCode {
    #[serde(default)]
    user_code: String,
}

/// `GET /oauth/device`: asks the user for the code, and for consent.
async fn device(
    State(api): State<Api>,
    extensions: Extensions,
    Query(asked): Query<UserCode>,
) -> Result<Response, ApiError> {
    check_rate(&api, &extensions)?;
    if asked.user_code.is_empty() {
        return Ok(device_page(&api, &asked, None, None));
    }
    match api.oauth.waiting_client(&asked.user_code).await? {
        Some(client) => Ok(device_page(&api, &asked, Some(&client), None)),
        None => Ok(device_page(&api, &asked, None, Some(&unknown_user_code()))),
    }
}

fn unknown_user_code() -> ApiError {
    ApiError::invalid("user_code", "no program waits under this code: it was answered, or is older than ten minutes")
}

fn device_page(api: &Api, asked: &UserCode, client: Option<&str>, error: Option<&ApiError>) -> Response {
    let value = escaped(&asked.user_code);
    let code = format!(
        "<p><label>The code that the program shows<br>\
         <input name=\"user_code\" value=\"{value}\" autocomplete=\"off\" required></label></p>"
    );
    let client = client.map(client_text).unwrap_or_default();
    consent_page(api, &format!("{client}{code}"), error)
}

/// `POST /oauth/device`: the user's answer.
async fn answer_device(
    State(api): State<Api>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, ApiError> {
    let text = form(body).await?;
    let (asked, answer): (UserCode, Answer) = (fields(&text)?, fields(&text)?);
    check_rate(&api, &extensions)?;
    let Some(client) = api.oauth.waiting_client(&asked.user_code).await? else {
        return Ok(device_page(&api, &asked, None, Some(&unknown_user_code())));
    };
    let is_allowed = answer.decision == "allow";
    let decided = if is_allowed {
        match consent(&api, &extensions, &headers, &answer.key, &client).await {
            Ok(key) => Consent::Allowed(key),
            Err(error) => return Ok(device_page(&api, &asked, Some(&client), Some(&error))),
        }
    } else {
        Consent::Denied
    };
    if !api.oauth.answer_device(&asked.user_code, decided).await? {
        return Ok(device_page(&api, &asked, None, Some(&unknown_user_code())));
    }
    let said = if is_allowed { "The program is signed in." } else { "The program is not signed in." };
    Ok(guarded(document(&format!("<h1>{said}</h1><p>You can close this page.</p>"))))
}

/// The SHA-256 of the key with which somebody consents. Notes the act.
async fn consent(
    api: &Api,
    extensions: &Extensions,
    headers: &HeaderMap,
    key: &str,
    client: &str,
) -> Result<ContentHash, ApiError> {
    let key = key.trim();
    if OAuth::is_token(key) {
        return Err(ApiError::new(Code::Unauthorized, "this is a token of a program; give an API key"));
    }
    let mut typed = HeaderMap::new();
    let value = HeaderValue::from_str(key).map_err(|_| ApiError::new(Code::Unauthorized, "this is no API key"))?;
    typed.insert(HeaderName::from_static("x-api-key"), value);
    let address = address(extensions);
    let caller = api.config.access.caller(&api.keys, &api.oauth, &api.wrong_keys, address, &typed).await?;
    let request_id = headers.get("x-request-id").and_then(|id| id.to_str().ok()).map(str::to_owned);
    note(api, "oauth.allow", Some(client), &caller, address, request_id).await;
    Ok(ContentHash::of(key.as_bytes()))
}

async fn note(
    api: &Api,
    action: &'static str,
    target: Option<&str>,
    caller: &Caller,
    address: Option<IpAddr>,
    request_id: Option<String>,
) {
    let act = Act {
        action,
        target: target.map(str::to_owned),
        key_id: Some(caller.id.clone()),
        key_name: Some(caller.name.clone()),
        space: Some(caller.rights.space.to_string()),
        address: address.map(|address| address.to_string()),
        request_id,
    };
    audit::record_done(&api.coordinator.backplane().objects, act).await;
}

/// What `/v1/oauth/device_authorization` is asked.
#[derive(Debug, Clone, Deserialize)]
struct DeviceRequest {
    client_id: String,
}

/// `POST /v1/oauth/device_authorization`.
async fn begin_device(
    State(api): State<Api>,
    extensions: Extensions,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Refusal> {
    check_rate(&api, &extensions)?;
    let DeviceRequest { client_id } = fields(&form(body).await?)?;
    if client_id.is_empty() || client_id.len() > TEXT_MAX {
        return Err(ApiError::invalid("client_id", "client_id must be the name of the program").into());
    }
    let base = base_url(&api.config, &headers).ok_or_else(super::assets::no_base)?;
    let page = format!("{}{DEVICE_PATH}", base.as_str().trim_end_matches('/'));
    let (device_code, user_code) = api.oauth.begin_device(client_id).await?;
    Ok(unstored(DeviceAuthorization {
        device_code,
        verification_uri_complete: format!("{page}?user_code={user_code}"),
        user_code,
        verification_uri: page,
        expires_in: DEVICE_VALID.as_secs(),
        interval: POLL_INTERVAL.as_secs(),
    }))
}

/// What `/v1/oauth/token` is asked. Which fields are needed depends on `grant_type`.
#[derive(Debug, Clone, Deserialize)]
struct TokenRequest {
    grant_type: String,
    client_id: String,
    #[serde(default)]
    code: String,
    #[serde(default)]
    redirect_uri: String,
    #[serde(default)]
    code_verifier: String,
    #[serde(default)]
    device_code: String,
    #[serde(default)]
    refresh_token: String,
}

/// `POST /v1/oauth/token`.
async fn token(State(api): State<Api>, extensions: Extensions, body: Body) -> Result<Response, Refusal> {
    check_rate(&api, &extensions)?;
    let asked: TokenRequest = fields(&form(body).await?)?;
    let client = &asked.client_id;
    let Tokens { access, refresh, expires_in } = match asked.grant_type.as_str() {
        "authorization_code" => {
            api.oauth.redeem_code(&asked.code, client, &asked.redirect_uri, &asked.code_verifier).await?
        }
        DEVICE_GRANT => api.oauth.redeem_device(&asked.device_code, client).await?,
        "refresh_token" => api.oauth.refresh(&asked.refresh_token, client).await?,
        _ => {
            let message = "grant_type must be authorization_code, refresh_token or the one of device codes";
            return Err(Refusal::OAuth("unsupported_grant_type", message.to_owned()));
        }
    };
    Ok(unstored(AccessToken {
        access_token: access,
        token_type: "Bearer",
        expires_in: expires_in.as_secs(),
        refresh_token: refresh,
    }))
}

/// What `/v1/oauth/revoke` is asked.
#[derive(Debug, Clone, Deserialize)]
struct RevokeRequest {
    token: String,
}

/// `POST /v1/oauth/revoke`: a token that is not known is as good as revoked.
async fn revoke(State(api): State<Api>, extensions: Extensions, body: Body) -> Result<Response, Refusal> {
    check_rate(&api, &extensions)?;
    let RevokeRequest { token } = fields(&form(body).await?)?;
    if let Some(key) = api.oauth.revoke(&token).await.map_err(ApiError::from)?
        && let Some(caller) = api.config.access.caller_by_hash(&api.keys, key).await.map_err(ApiError::from)?
    {
        note(&api, "oauth.revoke", None, &caller, address(&extensions), None).await;
    }
    Ok(unstored(Value::Object(Map::new())))
}

/// A refusal of the routes that programs call.
enum Refusal {
    /// One of OAuth's codes, and why.
    OAuth(&'static str, String),
    /// One of the farm's own.
    Farm(ApiError),
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        match self {
            Self::OAuth(code, message) => {
                let body = OAuthError { error: code, error_description: message };
                (StatusCode::BAD_REQUEST, unstored(body)).into_response()
            }
            Self::Farm(error) => error.into_response(),
        }
    }
}

impl From<ApiError> for Refusal {
    fn from(error: ApiError) -> Self {
        match error.code {
            Code::InvalidParameter => Self::OAuth("invalid_request", error.message),
            _ => Self::Farm(error),
        }
    }
}

impl From<GrantError> for Refusal {
    fn from(error: GrantError) -> Self {
        let message = error.to_string();
        match error {
            GrantError::Pending => Self::OAuth("authorization_pending", message),
            GrantError::Denied => Self::OAuth("access_denied", message),
            GrantError::Expired => Self::OAuth("expired_token", message),
            GrantError::Invalid => Self::OAuth("invalid_grant", message),
            GrantError::Storage(_) | GrantError::Random(_) => Self::Farm(ApiError::internal(&error)),
        }
    }
}

fn address(extensions: &Extensions) -> Option<IpAddr> {
    extensions.get::<PeerAddress>().map(|peer| peer.0)
}

/// Holds an address to so many requests in a minute: no key is needed for them.
fn check_rate(api: &Api, extensions: &Extensions) -> Result<(), ApiError> {
    let Some(address) = address(extensions) else { return Ok(()) };
    api.sign_ins.check(&address).map_err(|wait| {
        let message = "this address has asked for too many sign-ins in a minute";
        ApiError::new(Code::RateLimited, message).retry_after(wait.as_secs())
    })
}

/// The text of a form.
pub(super) async fn form(body: Body) -> Result<String, ApiError> {
    let bytes = read_body(body).await?;
    String::from_utf8(bytes.into()).map_err(|_| ApiError::new(Code::InvalidParameter, "the form is not UTF-8"))
}

/// What the fields of a form say.
pub(super) fn fields<T: DeserializeOwned>(form: &str) -> Result<T, ApiError> {
    Ok(request::parse_query(Some(form))?)
}

/// JSON that nobody keeps.
fn unstored(body: impl Serialize) -> Response {
    ([(CACHE_CONTROL, "no-store")], Json(body)).into_response()
}

fn client_text(client: &str) -> String {
    format!(
        "<p>The program <code>{}</code> asks to use this farm in your name. It can do all that your API key can, until \
         it signs out or the key is revoked. It does not get the key.</p>",
        escaped(client)
    )
}

/// A page that asks for an API key and a decision.
fn consent_page(api: &Api, inside: &str, error: Option<&ApiError>) -> Response {
    let refusal = error.map(|error| format!("<p role=\"alert\"><b>{}</b></p>", escaped(&error.message)));
    let key = match api.config.access {
        super::Access::Open if !api.keys.has_known_keys() => "",
        _ => {
            "<p><label>Your API key<br>\
             <input type=\"password\" name=\"key\" autocomplete=\"off\" size=\"50\"></label></p>"
        }
    };
    let page = document(&format!(
        "<h1>Sign in to hyperfarm</h1>{}<form method=\"post\">{inside}{key}\
         <p><button name=\"decision\" value=\"allow\">Allow</button> \
         <button name=\"decision\" value=\"deny\">Deny</button></p></form>",
        refusal.unwrap_or_default()
    ));
    let status = if error.is_some() { StatusCode::BAD_REQUEST } else { StatusCode::OK };
    (status, guarded(page)).into_response()
}

pub(super) fn document(body: &str) -> String {
    format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>hyperfarm</title><style>body{{font:16px/1.5 system-ui;max-width:36em;margin:4em auto;padding:0 1em}}\
         input,button{{font:inherit;padding:.3em .6em}}</style><body>{body}</body></html>"
    )
}

/// A page that nobody frames, keeps or sends elsewhere.
pub(super) fn guarded(page: String) -> Response {
    let headers = [
        (CONTENT_TYPE, "text/html; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
        (X_FRAME_OPTIONS, "DENY"),
        // Browsers send no Origin with a form of a page without a referrer.
        (REFERRER_POLICY, "same-origin"),
        (
            CONTENT_SECURITY_POLICY,
            "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; base-uri 'none'",
        ),
    ];
    (headers, page).into_response()
}
