//! Who may call, and what for.

use std::collections::HashSet;

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hyperfarm_proto::id::{ContentHash, Pool, Space};

use super::error::{ApiError, Code};
use crate::api_keys::{Caller, KeyStore, Rights, Scope};

/// Who may call the API. Keys that `hyperfarm keys create` has stored may in every case.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everyone, with any key or none: one process on loopback.
    Open,
    /// Who has one of the keys with these SHA-256 hashes. The keys themselves are not kept.
    Keys(HashSet<ContentHash>),
}

impl Caller {
    fn everything(id: String, name: &str) -> Self {
        let rights = Rights::new(Space::default(), vec![Scope::Admin]);
        Self { id, name: name.to_owned(), rights, is_local: false }
    }

    /// Checks that the key has the scope `needed`.
    ///
    /// # Errors
    ///
    /// [`Code::Forbidden`] where none of its scopes covers it.
    pub fn check(&self, needed: Scope) -> Result<(), ApiError> {
        if self.rights.scopes.iter().any(|scope| scope.covers(needed)) {
            return Ok(());
        }
        let message = format!("the key `{}` has not the scope `{}` that this needs", self.name, needed.as_str());
        Err(ApiError::new(Code::Forbidden, message))
    }

    /// Checks that the key may render in `pool`.
    ///
    /// # Errors
    ///
    /// [`Code::AccessDenied`] where its record lists other pools.
    pub fn check_pool(&self, pool: &Pool) -> Result<(), ApiError> {
        match &self.rights.pools {
            Some(pools) if !pools.contains(pool) => {
                let message = format!("the key `{}` may not render in the pool `{pool}`", self.name);
                Err(ApiError::new(Code::AccessDenied, message).of("pool"))
            }
            _ => Ok(()),
        }
    }
}

impl Access {
    /// Access for these keys; blank ones are no keys.
    pub fn keys<'a>(keys: impl IntoIterator<Item = &'a str>) -> Self {
        let keys = keys.into_iter().map(str::trim).filter(|key| !key.is_empty());
        Self::Keys(keys.map(|key| ContentHash::of(key.as_bytes())).collect())
    }

    /// The caller of a request, by its key in `x-api-key` or as a bearer token.
    ///
    /// # Errors
    ///
    /// [`Code::Unauthorized`] without a key of the farm's; [`Code::Internal`] where the stored keys cannot be read.
    pub async fn caller(&self, stored: &KeyStore, headers: &HeaderMap) -> Result<Caller, ApiError> {
        let refused = |message: &str| Err(ApiError::new(Code::Unauthorized, message));
        let key = key(headers).filter(|key| !key.is_empty());
        if let (Self::Keys(keys), Some(key)) = (self, key) {
            // Looking a hash up tells nobody anything about the key, however long it takes.
            let hash = ContentHash::of(key.as_bytes());
            if keys.contains(&hash) {
                return Ok(Caller::everything(format!("env_{}", hash.short()), "environment"));
            }
        }
        if let Some(key) = key {
            match stored.find(key).await {
                Ok(Some(record)) => return Ok(Caller::from(&*record)),
                Ok(None) => {}
                Err(error) if matches!(self, Self::Keys(_)) => return Err(ApiError::internal(&error)),
                Err(_) => {}
            }
        }
        match (self, key) {
            (Self::Open, _) => Ok(Caller { is_local: true, ..Caller::everything("local".to_owned(), "local") }),
            (Self::Keys(_), Some(_)) => refused("the API key is not one of this farm's"),
            (Self::Keys(_), None) => {
                refused("an API key is needed: send it as `x-api-key`, or as `Authorization: Bearer`")
            }
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
    use hyperfarm_backplane::objects::Objects;

    use super::*;
    use crate::api_keys::KeyRecord;

    async fn caller(access: &Access, keys: &KeyStore, name: &'static str, value: &str) -> Option<Caller> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        access.caller(keys, &headers).await.ok()
    }

    #[tokio::test]
    async fn a_key_passes_in_either_header() {
        let stored = KeyStore::new(Objects::memory());
        let access = Access::keys(["hf_one", " hf_two ", ""]);
        for (name, value, passes) in [
            ("x-api-key", "hf_one", true),
            ("authorization", "Bearer hf_two", true),
            ("authorization", "bearer hf_two", true),
            ("authorization", "Basic hf_two", false),
            ("x-api-key", "hf_three", false),
            ("x-api-key", "", false),
        ] {
            assert_eq!(caller(&access, &stored, name, value).await.is_some(), passes, "{name}: {value}");
        }
        assert!(access.caller(&stored, &HeaderMap::new()).await.is_err());
        assert!(Access::Open.caller(&stored, &HeaderMap::new()).await.unwrap().is_local);
    }

    #[tokio::test]
    async fn a_stored_key_acts_for_its_space_even_where_everybody_may_call() {
        let stored = KeyStore::new(Objects::memory());
        let (key, _) = stored.create(KeyRecord::new("a", "team-a".parse().unwrap())).await.unwrap();
        for access in [Access::Open, Access::keys([])] {
            let found = caller(&access, &stored, "x-api-key", &key).await.unwrap();
            assert_eq!((found.rights.space.as_str(), found.is_local), ("team-a", false));
            assert!(found.check(Scope::Render).is_ok() && found.check(Scope::Admin).is_err());
        }
    }
}
