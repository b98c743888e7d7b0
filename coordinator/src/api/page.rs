//! Pages of lists: `limit` and `token` in, `has_more` and `next_token` out.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::error::ApiError;

/// Items on a page at most.
pub const PAGE_MAX: usize = 100;

/// What a query asks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Page {
    /// Items wanted.
    pub limit: usize,
    /// The id after which the page begins.
    pub after: Option<String>,
}

impl Page {
    /// The page that `query` asks for, with `usual` items where it does not say.
    pub fn of(query: Option<&str>, usual: usize) -> Result<Self, ApiError> {
        Self::within(query, usual, PAGE_MAX)
    }

    /// The same with `most` items at most.
    pub fn within(query: Option<&str>, usual: usize, most: usize) -> Result<Self, ApiError> {
        let mut page = Self { limit: usual, after: None };
        for (name, value) in url::form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            match &*name {
                "limit" => {
                    page.limit = value.parse().ok().filter(|limit| (1..=most).contains(limit)).ok_or_else(|| {
                        ApiError::invalid("limit", format!("limit must be an integer from 1 to {most}"))
                    })?;
                }
                "token" if !value.is_empty() => {
                    let id = URL_SAFE_NO_PAD.decode(&*value).ok().and_then(|bytes| String::from_utf8(bytes).ok());
                    let id = id.filter(|id| id.chars().all(|c| c.is_ascii_alphanumeric() || c == '-' || c == '_'));
                    page.after = Some(id.ok_or_else(|| {
                        ApiError::invalid("token", "token must be the next_token of an earlier page")
                    })?);
                }
                _ => {}
            }
        }
        Ok(page)
    }
}

/// The value of one name in a query.
pub fn query(query: Option<&str>, name: &str) -> Option<String> {
    let mut pairs = url::form_urlencoded::parse(query.unwrap_or_default().as_bytes());
    pairs.find(|(found, value)| found == name && !value.is_empty()).map(|(_, value)| value.into_owned())
}

/// The token of the page after the item with this id.
pub fn token(id: &str) -> String {
    URL_SAFE_NO_PAD.encode(id)
}

/// A list as it is sent.
pub fn listed(data: Vec<Value>, next_token: Option<String>) -> Value {
    json!({ "data": data, "has_more": next_token.is_some(), "next_token": next_token })
}
