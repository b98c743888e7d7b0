//! Who may call, and what for.

use std::collections::{HashMap, HashSet};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::time::{Duration, Instant};

use axum::http::HeaderMap;
use axum::http::header::AUTHORIZATION;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::id::{ContentHash, Pool, Space};
use parking_lot::Mutex;

use super::error::{ApiError, Code};
use crate::api_keys::{Caller, KeyStore, Rights, Scope};
use crate::oauth::OAuth;
use crate::rate_limit::RateLimiter;

/// Wrong keys that an address may send in a minute.
const WRONG_KEYS_PER_MINUTE: NonZeroU32 = NonZeroU32::new(30).unwrap();

/// Who may call the API. Keys that `hyperfarm keys create` has stored may in every case.
#[derive(Debug, Clone)]
pub enum Access {
    /// Everyone, with any key or none, until a key is made for the farm: one process on loopback.
    Open,
    /// Who has one of the keys with these SHA-256 hashes. The keys themselves are not kept.
    Keys(HashSet<ContentHash>),
}

/// The addresses that send wrong keys. One that has sent too many has no further key looked up for a while; keys that
/// were right before pass nevertheless, for several clients may share the address of a proxy.
pub(crate) struct WrongKeys {
    rates: RateLimiter<IpAddr>,
    /// Until when no key is looked up, by address.
    blocked: Mutex<HashMap<IpAddr, Instant>>,
}

impl Default for WrongKeys {
    fn default() -> Self {
        Self { rates: RateLimiter::per_minute(WRONG_KEYS_PER_MINUTE), blocked: Mutex::default() }
    }
}

impl WrongKeys {
    /// How long the address still has to wait.
    fn wait(&self, address: IpAddr) -> Option<Duration> {
        let mut blocked = self.blocked.lock();
        let now = Instant::now();
        blocked.retain(|_, until| *until > now);
        blocked.get(&address).map(|until| *until - now)
    }

    /// Counts a wrong token of `address`.
    ///
    /// # Errors
    ///
    /// [`Code::RateLimited`] where it has sent too many.
    pub(super) fn check(&self, address: IpAddr) -> Result<(), ApiError> {
        if let Some(wait) = self.wait(address) {
            let message = "this address has sent too many tokens that are not the farm's";
            return Err(ApiError::new(Code::RateLimited, message).retry_after(wait.as_secs() + 1));
        }
        self.note(address);
        Ok(())
    }

    fn note(&self, address: IpAddr) {
        if let Err(wait) = self.rates.check(&address) {
            self.blocked.lock().insert(address, Instant::now() + wait);
        }
    }
}

impl Caller {
    fn everything(id: String, name: &str) -> Self {
        let rights = Rights::new(Space::default(), vec![Scope::Admin]);
        Self { id, name: name.to_owned(), rights, is_local: false }
    }

    fn of_environment(hash: &ContentHash) -> Self {
        Self::everything(format!("env_{}", hash.short()), "environment")
    }

    /// The user of a farm that asks for no keys.
    fn local() -> Self {
        Self { is_local: true, ..Self::everything("local".to_owned(), "local") }
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

    /// The caller of a request from `address`, by its key in `x-api-key` or as a bearer token, or by a token that stands
    /// for a key.
    ///
    /// # Errors
    ///
    /// [`Code::Unauthorized`] without a key of the farm's; [`Code::RateLimited`] for an address that has sent many
    /// wrong ones; [`Code::Internal`] where the stored keys cannot be read.
    pub(super) async fn caller(
        &self,
        stored: &KeyStore,
        oauth: &OAuth,
        wrong_keys: &WrongKeys,
        address: Option<IpAddr>,
        headers: &HeaderMap,
    ) -> Result<Caller, ApiError> {
        let refused = |message: &str| Err(ApiError::new(Code::Unauthorized, message));
        let key = key(headers).filter(|key| !key.is_empty());
        let token = key.filter(|key| OAuth::is_token(key));
        // Looking a hash up tells nobody anything about the key, however long it takes.
        let mut hash = key.filter(|_| token.is_none()).map(|key| ContentHash::of(key.as_bytes()));
        if let Some(caller) = hash.and_then(|hash| self.environment_caller(&hash)) {
            return Ok(caller);
        }
        // Storage that has never answered opens nothing to nobody.
        let is_open =
            matches!(self, Self::Open) && !stored.has_any().await.map_err(|error| ApiError::internal(&error))?;
        let was_found =
            token.is_some_and(|token| oauth.is_cached(token)) || hash.is_some_and(|hash| stored.is_cached(&hash));
        let is_guess = !is_open && key.is_some() && !was_found;
        let address = address.filter(|_| is_guess);
        if let Some(wait) = address.and_then(|address| wrong_keys.wait(address)) {
            let message = "this address has sent too many keys that are not the farm's";
            return Err(ApiError::new(Code::RateLimited, message).retry_after(wait.as_secs() + 1));
        }
        let found = async {
            if let Some(token) = token {
                hash = oauth.key_of(token).await?;
            }
            match hash {
                Some(hash) => self.caller_by_hash(stored, hash).await,
                None => Ok(None),
            }
        };
        match found.await {
            Ok(Some(caller)) => return Ok(caller),
            Ok(None) => {}
            Err(error) if !is_open => return Err(ApiError::internal(&error)),
            Err(_) => {}
        }
        match key {
            _ if is_open => Ok(Caller::local()),
            Some(_) => {
                if let Some(address) = address {
                    wrong_keys.note(address);
                }
                refused(match token {
                    Some(_) => "the token is not one of this farm's, has expired or was revoked",
                    None => "the API key is not one of this farm's",
                })
            }
            None => refused("an API key is needed: send it as `x-api-key`, or as `Authorization: Bearer`"),
        }
    }

    /// The caller with the key that has this SHA-256; `None` where it is not, or not any more, one of the farm's.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub(super) async fn caller_by_hash(
        &self,
        stored: &KeyStore,
        hash: ContentHash,
    ) -> Result<Option<Caller>, ObjectsError> {
        if let Some(caller) = self.environment_caller(&hash) {
            return Ok(Some(caller));
        }
        Ok(stored.find_by_hash(hash).await?.map(|record| Caller::from(&*record)))
    }

    /// The caller with this key of the farm's settings.
    fn environment_caller(&self, hash: &ContentHash) -> Option<Caller> {
        match self {
            Self::Keys(keys) if keys.contains(hash) => Some(Caller::of_environment(hash)),
            _ => None,
        }
    }

    /// The caller whose key has this id, for work that goes on after its request: one of the farm's settings, a stored one that is
    /// not revoked, or, for `None`, the user of a farm that asks for no keys.
    ///
    /// # Errors
    ///
    /// Storage did not answer, or a record cannot be read.
    pub(super) async fn caller_by_id(
        &self,
        stored: &KeyStore,
        id: Option<&str>,
    ) -> Result<Option<Caller>, ObjectsError> {
        let Some(id) = id else { return Ok(Some(Caller::local())) };
        let of_settings = match self {
            Self::Keys(keys) => keys.iter().map(Caller::of_environment).find(|caller| caller.id == id),
            _ => None,
        };
        if of_settings.is_some() {
            return Ok(of_settings);
        }
        let all = stored.list().await?;
        Ok(all.iter().find(|record| record.id == id && record.revoked_at_ms.is_none()).map(Caller::from))
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

    fn no_sign_ins() -> OAuth {
        OAuth::new(Objects::memory())
    }

    async fn caller(access: &Access, keys: &KeyStore, name: &'static str, value: &str) -> Option<Caller> {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        access.caller(keys, &no_sign_ins(), &WrongKeys::default(), None, &headers).await.ok()
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
        let (none, wrong) = (HeaderMap::new(), WrongKeys::default());
        assert!(access.caller(&stored, &no_sign_ins(), &wrong, None, &none).await.is_err());
        assert!(Access::Open.caller(&stored, &no_sign_ins(), &wrong, None, &none).await.unwrap().is_local);
    }

    #[tokio::test]
    async fn an_address_that_sends_wrong_keys_is_slowed_down_and_a_right_key_is_not() {
        let stored = KeyStore::new(Objects::memory());
        let (right, _) = stored.create(KeyRecord::new("a", Space::default())).await.unwrap();
        let (access, wrong_keys) = (Access::keys(["hf_environment"]), WrongKeys::default());
        let ask = async |address: &str, key: &str| {
            let headers = HeaderMap::from_iter([("x-api-key".parse().unwrap(), key.parse().unwrap())]);
            let answer = access.caller(&stored, &no_sign_ins(), &wrong_keys, address.parse().ok(), &headers).await;
            answer.map(drop).map_err(|error| (error.code, error.retry_after.is_some()))
        };
        assert_eq!(ask("192.0.2.1", &right).await, Ok(()));
        for number in 0..=WRONG_KEYS_PER_MINUTE.get() {
            assert_eq!(ask("192.0.2.1", &format!("hf_{number}")).await, Err((Code::Unauthorized, false)));
        }
        assert_eq!(ask("192.0.2.1", "hf_more").await, Err((Code::RateLimited, true)));
        assert_eq!(ask("192.0.2.1", &right).await, Ok(()), "it was right before");
        assert_eq!(ask("192.0.2.1", "hf_environment").await, Ok(()));
        assert_eq!(ask("192.0.2.2", "hf_more").await, Err((Code::Unauthorized, false)));
    }

    #[tokio::test]
    async fn a_farm_without_keys_is_closed_by_the_first_one_that_is_made() {
        let objects = Objects::memory();
        let stored = KeyStore::new(objects.clone());
        assert!(caller(&Access::Open, &stored, "x-api-key", "any").await.unwrap().is_local);
        // By another process, as `hyperfarm keys create` does it. The look before is forgotten, for time passes.
        let others = KeyStore::new(objects.clone());
        let (key, record) = others.create(KeyRecord::new("a", Space::default())).await.unwrap();
        for stored in [KeyStore::new(objects.clone()), others] {
            assert!(caller(&Access::Open, &stored, "x-api-key", "any").await.is_none());
            assert!(!caller(&Access::Open, &stored, "x-api-key", &key).await.unwrap().is_local);
        }
        stored.revoke(&record.id).await.unwrap();
        let stored = KeyStore::new(objects);
        assert!(
            caller(&Access::Open, &stored, "x-api-key", &key).await.is_none(),
            "a revoked key is one that was made"
        );
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
