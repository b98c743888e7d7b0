//! Who may call.

use std::collections::HashSet;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hyperfarm_proto::id::ContentHash;

use super::error::{ApiError, Code};

/// Who may call the API.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everyone, with any key or none: one process on loopback.
    Open,
    /// Who has one of the keys with these SHA-256 hashes. The keys themselves are not kept.
    Keys(HashSet<ContentHash>),
}

impl Access {
    /// Access for these keys; blank ones are no keys.
    pub fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = keys.into_iter().map(str::trim).filter(|key| !key.is_empty());
        Self::Keys(keys.map(|key| ContentHash::of(key.as_bytes())).collect())
    }

    /// Lets a request pass that has a key it may have, in `x-api-key` or as a bearer token.
    pub fn check(&self, headers: &HeaderMap) -> Result<(), ApiError> {
        let Self::Keys(keys) = self else { return Ok(()) };
        let refused = |message: &str| Err(ApiError::new(Code::Unauthorized, message));
        // Looking a hash up tells nobody anything about the key, however long it takes.
        match key(headers) {
            Some(key) if keys.contains(&ContentHash::of(key.as_bytes())) => Ok(()),
            Some(_) => refused("the API key is not one of this farm's"),
            None => refused("an API key is needed: send it as `x-api-key`, or as `Authorization: Bearer`"),
        }
    }
}

fn key(headers: &HeaderMap) -> Option<&str> {
    if let Some(key) = headers.get("x-api-key") {
        return key.to_str().ok().map(str::trim);
    }
    let (scheme, key) = headers.get(AUTHORIZATION)?.to_str().ok()?.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| key.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn passes(access: &Access, name: &'static str, value: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        access.check(&headers).is_ok()
    }

    #[test]
    fn a_key_passes_in_either_header() {
        let access = Access::keys(["hf_one", " hf_two ", ""]);
        assert!(passes(&access, "x-api-key", "hf_one"));
        assert!(passes(&access, "authorization", "Bearer hf_two"));
        assert!(passes(&access, "authorization", "bearer hf_two"));
        assert!(!passes(&access, "authorization", "Basic hf_two"));
        assert!(!passes(&access, "x-api-key", "hf_three"));
        assert!(!passes(&access, "x-api-key", ""));
        assert!(access.check(&HeaderMap::new()).is_err());
        assert!(Access::Open.check(&HeaderMap::new()).is_ok());
    }
}
