//! Pages of lists: `limit` and `token` in, `has_more` and `next_token` out.

use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hyperfarm_api::request::{ListQuery, parse_query};
use hyperfarm_proto::bounded::Bounded;
use serde::de::DeserializeOwned;

use super::error::ApiError;

/// Items on a page at most, where a route does not say otherwise.
pub(super) const PAGE_MAX: i64 = 100;

/// The query of a request. A refusal names the parameter.
pub(super) struct Query<T>(pub(super) T);

impl<S: Sync, T: DeserializeOwned> FromRequestParts<S> for Query<T> {
    type Rejection = ApiError;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, ApiError> {
        Ok(Self(parse_query(parts.uri.query())?))
    }
}

/// Which items of a list are asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PageRange {
    /// Items wanted.
    pub(super) limit: usize,
    /// The id after which the page begins.
    pub(super) after: Option<String>,
}

impl PageRange {
    /// At most `limit` items, or `usual` where the client does not say, after the page that answered `token`.
    pub(super) fn new<const MOST: i64>(
        limit: Option<Bounded<u32, 1, MOST>>,
        usual: usize,
        token: Option<&str>,
    ) -> Result<Self, ApiError> {
        let limit = limit.map_or(usual, |limit| limit.get() as usize);
        let Some(token) = token.filter(|token| !token.is_empty()) else { return Ok(Self { limit, after: None }) };
        let id = URL_SAFE_NO_PAD.decode(token).ok().and_then(|bytes| String::from_utf8(bytes).ok());
        let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
        let after = id.ok_or_else(|| ApiError::invalid("token", "token must be the next_token of an earlier page"))?;
        Ok(Self { limit, after: Some(after) })
    }

    /// What a query asks for, with `usual` items where it does not say.
    pub(super) fn of<const MOST: i64>(query: &ListQuery<MOST>, usual: usize) -> Result<Self, ApiError> {
        Self::new(query.limit, usual, query.token.as_deref())
    }
}

/// The token of the page after the item with this id.
pub(super) fn token(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}
