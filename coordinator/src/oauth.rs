//! Sign-ins by OAuth 2.0: tokens that stand for an API key.
//!
//! | object | what it is |
//! | --- | --- |
//! | `farm/oauth/devices/` | a device that waits for consent (RFC 8628), by the SHA-256 of its code |
//! | `farm/oauth/user-codes/` | the device of a user code |
//! | `farm/oauth/codes/` | an authorization code with its PKCE challenge (RFC 7636), by its SHA-256 |
//! | `farm/oauth/sessions/` | a sign-in with the SHA-256 of its tokens |
//!
//! **Invariant: a token opens what its API key opens, and nothing once the key is revoked.** A session has the SHA-256
//! of the key, not its rights. Whoever reads storage learns no code and no token.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::Bytes;
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::ContentHash;
use parking_lot::Mutex;
use serde::de::{DeserializeOwned, IgnoredAny};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::clock::now_ms;
use crate::store::if_found;

/// How long a device waits for consent.
pub(crate) const DEVICE_VALID: Duration = Duration::from_secs(600);

/// Time between two polls of a device.
pub(crate) const POLL_INTERVAL: Duration = Duration::from_secs(5);

/// How long an authorization code can be redeemed.
const CODE_VALID: Duration = Duration::from_secs(60);

/// How long an access token is good for.
const ACCESS_VALID: Duration = Duration::from_secs(3600);

/// How long a refresh token is good for.
const REFRESH_VALID: Duration = Duration::from_secs(30 * 24 * 3600);

/// How long a session is cached, which is how long an access token may still work after it was revoked.
const CACHED_FOR: Duration = Duration::from_secs(5);

/// Number of cached sessions at which the cache is emptied.
const MAX_CACHED: usize = 10_000;

const FOLDER: &str = "farm/oauth";

/// Start of every token.
const TOKEN_PREFIX: &str = "hfo_";

const DEVICES: &str = "devices";
const USER_CODES: &str = "user-codes";
const CODES: &str = "codes";
const SESSIONS: &str = "sessions";

/// Hexadecimal digits of a session's id.
const SESSION_ID_LENGTH: usize = 32;

/// Letters of a user code, without its hyphen.
const USER_CODE_LENGTH: usize = 8;

/// Letters of user codes: none is taken for another, and they form no words.
const USER_CODE_LETTERS: &[u8; 20] = b"BCDFGHJKLMNPQRSTVWXZ";

/// What is stored for a while.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Expiring<T> {
    #[serde(flatten)]
    record: T,
    expires_at_ms: u64,
}

impl<T> Expiring<T> {
    fn after(valid: Duration, record: T) -> Self {
        Self { record, expires_at_ms: now_ms() + valid.as_millis() as u64 }
    }

    fn is_over(&self) -> bool {
        self.expires_at_ms <= now_ms()
    }
}

/// A device that waits for consent.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct Device {
    client_id: String,
    user_code: String,
    consent: Option<Consent>,
}

/// What the user has answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Consent {
    /// The client may use the key with this SHA-256.
    Allowed(ContentHash),
    /// It may not.
    Denied,
}

/// The device of a user code.
#[derive(Debug, Clone, Serialize, Deserialize)]
struct UserCode {
    device: ContentHash,
}

/// What the redemption of an authorization code is checked against.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) struct Authorization {
    pub(crate) client_id: String,
    pub(crate) redirect_uri: String,
    /// The PKCE challenge: the SHA-256 of the verifier in base64, for URLs and without padding.
    pub(crate) challenge: String,
    /// SHA-256 of the key that the client may use.
    pub(crate) key: ContentHash,
}

/// A sign-in. It expires with its refresh token.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Session {
    client_id: String,
    key: ContentHash,
    access: ContentHash,
    access_expires_at_ms: u64,
    refresh: ContentHash,
}

impl Session {
    /// A session with new tokens.
    fn new(id: &str, client_id: String, key: ContentHash) -> Result<(Self, Tokens), getrandom::Error> {
        let token = || Ok::<_, getrandom::Error>(format!("{TOKEN_PREFIX}{id}_{}", secret()?));
        let tokens = Tokens { access: token()?, refresh: token()?, expires_in: ACCESS_VALID };
        let session = Self {
            client_id,
            key,
            access: ContentHash::of(tokens.access.as_bytes()),
            access_expires_at_ms: now_ms() + ACCESS_VALID.as_millis() as u64,
            refresh: ContentHash::of(tokens.refresh.as_bytes()),
        };
        Ok((session, tokens))
    }
}

/// A pair of tokens for a client.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Tokens {
    pub(crate) access: String,
    pub(crate) refresh: String,
    pub(crate) expires_in: Duration,
}

/// Why there are no tokens.
#[derive(Debug, thiserror::Error)]
pub(crate) enum GrantError {
    /// The user has not answered yet.
    #[error("the user has not answered yet")]
    Pending,
    /// The user has denied it.
    #[error("the user has denied it")]
    Denied,
    /// The device has waited too long.
    #[error("the code has expired; begin again")]
    Expired,
    /// The code or token is not the farm's, was used before, or is another client's.
    #[error("the code or token is not valid, was used before, or has expired; sign in again")]
    Invalid,
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// No secret can be made.
    #[error("the operating system gave no random numbers: {0}")]
    Random(#[from] getrandom::Error),
}

/// The sign-ins in object storage.
pub(crate) struct OAuth {
    objects: Objects,
    /// When sessions were read, by their ids.
    cache: Mutex<HashMap<String, (Instant, Session)>>,
}

impl OAuth {
    /// Those stored in `objects`.
    pub(crate) fn new(objects: Objects) -> Self {
        Self { objects, cache: Mutex::default() }
    }

    /// Whether the text has the form of a token.
    pub(crate) fn is_token(text: &str) -> bool {
        text.starts_with(TOKEN_PREFIX)
    }

    /// Begins a device's wait for consent. Returns its code and the user's.
    pub(crate) async fn begin_device(&self, client_id: String) -> Result<(String, String), GrantError> {
        let (code, user_code) = (secret()?, user_code()?);
        let hash = ContentHash::of(code.as_bytes());
        self.put(USER_CODES, &user_code, &Expiring::after(DEVICE_VALID, UserCode { device: hash })).await?;
        let device = Device { client_id, user_code: user_code.clone(), consent: None };
        self.put(DEVICES, &hash.to_string(), &Expiring::after(DEVICE_VALID, device)).await?;
        Ok((code, user_code))
    }

    /// The client whose device waits under this user code.
    pub(crate) async fn waiting_client(&self, user_code: &str) -> Result<Option<String>, ObjectsError> {
        Ok(self.waiting(user_code).await?.map(|(_, device)| device.record.client_id))
    }

    /// People type user codes in lower case and without the hyphen.
    async fn waiting(&self, user_code: &str) -> Result<Option<(String, Expiring<Device>)>, ObjectsError> {
        let letters = user_code.chars().filter(char::is_ascii_alphabetic).take(USER_CODE_LENGTH + 1);
        let letters: String = letters.map(|c| c.to_ascii_uppercase()).collect();
        if letters.len() != USER_CODE_LENGTH {
            return Ok(None);
        }
        let Some(mark) = self.get::<UserCode>(USER_CODES, &hyphenated(&letters)).await? else { return Ok(None) };
        let hash = mark.record.device.to_string();
        let device = self.get::<Device>(DEVICES, &hash).await?.filter(|device| device.record.consent.is_none());
        Ok(device.map(|device| (hash, device)))
    }

    /// Notes the user's answer. `false` where no device waits under this user code.
    pub(crate) async fn answer_device(&self, user_code: &str, consent: Consent) -> Result<bool, ObjectsError> {
        let Some((hash, mut device)) = self.waiting(user_code).await? else { return Ok(false) };
        self.objects.delete(&path(USER_CODES, &device.record.user_code)).await?;
        device.record.consent = Some(consent);
        self.put(DEVICES, &hash, &device).await?;
        Ok(true)
    }

    /// The tokens of a device to which the user has consented.
    pub(crate) async fn redeem_device(&self, code: &str, client_id: &str) -> Result<Tokens, GrantError> {
        let hash = ContentHash::of(code.as_bytes()).to_string();
        let place = path(DEVICES, &hash);
        let device = if_found(self.objects.get_json::<Expiring<Device>>(&place).await)?;
        let device = device.filter(|device| device.record.client_id == client_id).ok_or(GrantError::Invalid)?;
        if device.is_over() {
            return Err(GrantError::Expired);
        }
        match device.record.consent {
            None => Err(GrantError::Pending),
            Some(Consent::Denied) => Err(GrantError::Denied),
            Some(Consent::Allowed(key)) => self.begin_session(DEVICES, &hash, device.record.client_id, key).await,
        }
    }

    /// A code that the client redeems for tokens.
    pub(crate) async fn issue_code(&self, authorization: Authorization) -> Result<String, GrantError> {
        let code = secret()?;
        let hash = ContentHash::of(code.as_bytes()).to_string();
        self.put(CODES, &hash, &Expiring::after(CODE_VALID, authorization)).await?;
        Ok(code)
    }

    /// The tokens of an authorization code. `verifier` is what the PKCE challenge was made of.
    pub(crate) async fn redeem_code(
        &self,
        code: &str,
        client_id: &str,
        redirect_uri: &str,
        verifier: &str,
    ) -> Result<Tokens, GrantError> {
        let hash = ContentHash::of(code.as_bytes()).to_string();
        let code = self.get::<Authorization>(CODES, &hash).await?.ok_or(GrantError::Invalid)?.record;
        let is_verified = URL_SAFE_NO_PAD.encode(Sha256::digest(verifier.as_bytes())) == code.challenge;
        if !is_verified || code.client_id != client_id || code.redirect_uri != redirect_uri {
            return Err(GrantError::Invalid);
        }
        self.begin_session(CODES, &hash, code.client_id, code.key).await
    }

    /// The session of a code, of which there is one at most: its place is made of the code's hash, and only one of any
    /// number of requests creates it.
    async fn begin_session(
        &self,
        folder: &str,
        hash: &str,
        client_id: String,
        key: ContentHash,
    ) -> Result<Tokens, GrantError> {
        let id = &hash[..SESSION_ID_LENGTH];
        let (session, tokens) = Session::new(id, client_id, key)?;
        let place = path(SESSIONS, id);
        let bytes = serde_json::to_vec(&Expiring::after(REFRESH_VALID, session))
            .map_err(|error| ObjectsError::Corrupt { key: place.clone(), reason: error.to_string() })?;
        if self.objects.create(&place, Bytes::from(bytes)).await? != Created::Yes {
            return Err(GrantError::Invalid);
        }
        self.objects.delete(&path(folder, hash)).await?;
        Ok(tokens)
    }

    /// New tokens for a refresh token. The old ones end. An old refresh token that comes again ends the session: one of
    /// the two who have it has stolen it.
    pub(crate) async fn refresh(&self, token: &str, client_id: &str) -> Result<Tokens, GrantError> {
        let id = session_id(token).ok_or(GrantError::Invalid)?;
        let old = self.get::<Session>(SESSIONS, id).await?.ok_or(GrantError::Invalid)?.record;
        let hash = ContentHash::of(token.as_bytes());
        if old.client_id != client_id || hash == old.access {
            return Err(GrantError::Invalid);
        }
        if hash != old.refresh {
            self.end_session(id).await?;
            return Err(GrantError::Invalid);
        }
        let (session, tokens) = Session::new(id, old.client_id, old.key)?;
        self.put(SESSIONS, id, &Expiring::after(REFRESH_VALID, session)).await?;
        self.cache.lock().remove(id);
        Ok(tokens)
    }

    /// Ends the session of a token. Returns the SHA-256 of its API key, where there was a session.
    pub(crate) async fn revoke(&self, token: &str) -> Result<Option<ContentHash>, ObjectsError> {
        let Some(id) = session_id(token) else { return Ok(None) };
        let hash = ContentHash::of(token.as_bytes());
        let Some(session) = self.get::<Session>(SESSIONS, id).await?.map(|session| session.record) else {
            return Ok(None);
        };
        if hash != session.access && hash != session.refresh {
            return Ok(None);
        }
        self.end_session(id).await?;
        Ok(Some(session.key))
    }

    async fn end_session(&self, id: &str) -> Result<(), ObjectsError> {
        self.objects.delete(&path(SESSIONS, id)).await?;
        self.cache.lock().remove(id);
        Ok(())
    }

    /// The SHA-256 of the API key that an access token stands for; `None` if the token is not good, or not any more.
    /// While storage does not answer, a cached session is used.
    ///
    /// # Errors
    ///
    /// Storage did not answer, and the session is not in the cache.
    pub(crate) async fn key_of(&self, token: &str) -> Result<Option<ContentHash>, ObjectsError> {
        let Some(id) = session_id(token) else { return Ok(None) };
        let hash = ContentHash::of(token.as_bytes());
        let is_good = |session: &Session| session.access == hash && session.access_expires_at_ms > now_ms();
        let cached = self.cache.lock().get(id).cloned().filter(|(_, session)| is_good(session));
        if let Some((_, session)) = cached.as_ref().filter(|(read_at, _)| read_at.elapsed() < CACHED_FOR) {
            return Ok(Some(session.key));
        }
        let session = match self.get::<Session>(SESSIONS, id).await {
            Ok(session) => session.map(|session| session.record).filter(is_good),
            Err(error) => return cached.map(|(_, session)| Some(session.key)).ok_or(error),
        };
        let key = session.as_ref().map(|session| session.key);
        let mut cache = self.cache.lock();
        if cache.len() >= MAX_CACHED {
            cache.clear();
        }
        match session {
            Some(session) => drop(cache.insert(id.to_owned(), (Instant::now(), session))),
            // A token that is not good says nothing of the session's own.
            None if cached.is_some() => drop(cache.remove(id)),
            None => {}
        }
        Ok(key)
    }

    /// Whether the token was good before, so that its next look-up costs at most one read of storage.
    pub(crate) fn is_cached(&self, token: &str) -> bool {
        let cache = self.cache.lock();
        let session = session_id(token).and_then(|id| cache.get(id));
        session.is_some_and(|(_, session)| session.access == ContentHash::of(token.as_bytes()))
    }

    /// A record that has not expired.
    async fn get<T: DeserializeOwned + Send>(
        &self,
        folder: &str,
        name: &str,
    ) -> Result<Option<Expiring<T>>, ObjectsError> {
        let found = if_found(self.objects.get_json::<Expiring<T>>(&path(folder, name)).await)?;
        Ok(found.filter(|found| !found.is_over()))
    }

    async fn put<T: Serialize + Sync>(
        &self,
        folder: &str,
        name: &str,
        record: &Expiring<T>,
    ) -> Result<(), ObjectsError> {
        self.objects.put_json(&path(folder, name), record).await
    }

    /// Removes what has expired at `now_ms` (Unix milliseconds), and returns the number of objects.
    pub(crate) async fn remove_expired(&self, now_ms: u64) -> Result<u64, ObjectsError> {
        let mut removed = 0;
        for meta in self.objects.list(FOLDER).await? {
            let record = if_found(self.objects.get_json::<Expiring<IgnoredAny>>(&meta.key).await)?;
            if record.is_some_and(|record| record.expires_at_ms <= now_ms) {
                self.objects.delete(&meta.key).await?;
                removed += 1;
            }
        }
        Ok(removed)
    }
}

fn path(folder: &str, name: &str) -> String {
    format!("{FOLDER}/{folder}/{name}.json")
}

/// The session that a token is of, by its form.
fn session_id(token: &str) -> Option<&str> {
    let (id, _) = token.strip_prefix(TOKEN_PREFIX)?.split_once('_')?;
    (id.len() == SESSION_ID_LENGTH && id.bytes().all(|byte| byte.is_ascii_hexdigit())).then_some(id)
}

/// A text that nobody can guess: 256 random bits in hexadecimal digits.
pub(crate) fn secret() -> Result<String, getrandom::Error> {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes)?;
    Ok(hex::encode(bytes))
}

fn user_code() -> Result<String, getrandom::Error> {
    let letters = USER_CODE_LETTERS.len() as u8;
    // Bytes above the last multiple are left out, so that all letters are equally likely.
    let last = u8::MAX - u8::MAX % letters;
    let mut code = String::new();
    while code.len() < USER_CODE_LENGTH {
        let mut byte = [0];
        getrandom::fill(&mut byte)?;
        if byte[0] < last {
            code.push(char::from(USER_CODE_LETTERS[usize::from(byte[0] % letters)]));
        }
    }
    Ok(hyphenated(&code))
}

fn hyphenated(letters: &str) -> String {
    let (start, end) = letters.split_at(USER_CODE_LENGTH / 2);
    format!("{start}-{end}")
}

#[cfg(test)]
mod tests {
    use super::*;

    const CLIENT: &str = "client";

    fn oauth() -> OAuth {
        OAuth::new(Objects::memory())
    }

    fn key() -> ContentHash {
        ContentHash::of(b"hf_key")
    }

    async fn signed_in(oauth: &OAuth) -> Tokens {
        let (code, user_code) = oauth.begin_device(CLIENT.to_owned()).await.unwrap();
        assert!(oauth.answer_device(&user_code, Consent::Allowed(key())).await.unwrap());
        oauth.redeem_device(&code, CLIENT).await.unwrap()
    }

    #[tokio::test]
    async fn a_device_gets_tokens_once_the_user_has_consented_and_only_once() {
        let oauth = oauth();
        let (code, user_code) = oauth.begin_device(CLIENT.to_owned()).await.unwrap();
        assert!(matches!(oauth.redeem_device(&code, CLIENT).await, Err(GrantError::Pending)));
        let typed = user_code.replace('-', " ").to_lowercase();
        assert_eq!(oauth.waiting_client(&typed).await.unwrap().as_deref(), Some(CLIENT));
        for other in ["", "BCDF", "BCDF-BCDF", &format!("{user_code}B")] {
            assert!(!oauth.answer_device(other, Consent::Denied).await.unwrap(), "{other}");
        }
        assert!(oauth.answer_device(&typed, Consent::Allowed(key())).await.unwrap());
        assert!(!oauth.answer_device(&typed, Consent::Denied).await.unwrap(), "it was answered before");
        assert!(matches!(oauth.redeem_device(&code, "other").await, Err(GrantError::Invalid)));
        let tokens = oauth.redeem_device(&code, CLIENT).await.unwrap();
        assert_eq!(oauth.key_of(&tokens.access).await.unwrap(), Some(key()));
        assert_eq!(oauth.key_of(&tokens.refresh).await.unwrap(), None, "a refresh token opens nothing");
        assert!(matches!(oauth.redeem_device(&code, CLIENT).await, Err(GrantError::Invalid)));

        let (code, user_code) = oauth.begin_device(CLIENT.to_owned()).await.unwrap();
        assert!(oauth.answer_device(&user_code, Consent::Denied).await.unwrap());
        assert!(matches!(oauth.redeem_device(&code, CLIENT).await, Err(GrantError::Denied)));
        let stored = oauth.objects.list("").await.unwrap();
        for meta in stored {
            let text = String::from_utf8(oauth.objects.get(&meta.key).await.unwrap().into()).unwrap();
            for secret in [&code, &tokens.access, &tokens.refresh] {
                assert!(!text.contains(secret.as_str()) && !meta.key.contains(secret.as_str()), "{}", meta.key);
            }
        }
    }

    #[tokio::test]
    async fn an_authorization_code_is_good_with_its_verifier_for_its_client_once() {
        let oauth = oauth();
        // The example of RFC 7636.
        let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk";
        let redirect_uri = "http://127.0.0.1:1/oauth/callback";
        let code = oauth
            .issue_code(Authorization {
                client_id: CLIENT.to_owned(),
                redirect_uri: redirect_uri.to_owned(),
                challenge: "E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM".to_owned(),
                key: key(),
            })
            .await
            .unwrap();
        for (code, client, uri, verifier) in [
            ("other", CLIENT, redirect_uri, verifier),
            (&code, "other", redirect_uri, verifier),
            (&code, CLIENT, "http://127.0.0.1:2/oauth/callback", verifier),
            (&code, CLIENT, redirect_uri, "other"),
        ] {
            assert!(matches!(oauth.redeem_code(code, client, uri, verifier).await, Err(GrantError::Invalid)));
        }
        let (first, second) = futures::join!(
            oauth.redeem_code(&code, CLIENT, redirect_uri, verifier),
            oauth.redeem_code(&code, CLIENT, redirect_uri, verifier)
        );
        assert_eq!(usize::from(first.is_ok()) + usize::from(second.is_ok()), 1, "a code is redeemed once");
    }

    #[tokio::test]
    async fn refreshed_tokens_replace_the_old_ones_and_a_stolen_one_ends_the_session() {
        let oauth = oauth();
        let first = signed_in(&oauth).await;
        assert!(matches!(oauth.refresh(&first.refresh, "other").await, Err(GrantError::Invalid)));
        let second = oauth.refresh(&first.refresh, CLIENT).await.unwrap();
        assert_eq!(oauth.key_of(&first.access).await.unwrap(), None);
        assert_eq!(oauth.key_of(&second.access).await.unwrap(), Some(key()));
        assert!(matches!(oauth.refresh(&first.refresh, CLIENT).await, Err(GrantError::Invalid)));
        assert_eq!(oauth.key_of(&second.access).await.unwrap(), None);
        assert!(matches!(oauth.refresh(&second.refresh, CLIENT).await, Err(GrantError::Invalid)));
        for token in ["hfo_", "hfo_1_2", "hf_key", "hfo_../../farm/keys_1"] {
            assert_eq!(oauth.key_of(token).await.unwrap(), None);
        }
    }

    #[tokio::test]
    async fn a_revoked_session_is_over_and_what_has_expired_is_removed() {
        let oauth = oauth();
        let tokens = signed_in(&oauth).await;
        assert_eq!(oauth.revoke(&format!("{}0", tokens.access)).await.unwrap(), None);
        assert_eq!(oauth.key_of(&tokens.access).await.unwrap(), Some(key()));
        assert_eq!(oauth.revoke(&tokens.access).await.unwrap(), Some(key()));
        assert_eq!(oauth.key_of(&tokens.access).await.unwrap(), None);
        assert!(matches!(oauth.refresh(&tokens.refresh, CLIENT).await, Err(GrantError::Invalid)));

        signed_in(&oauth).await;
        oauth.begin_device(CLIENT.to_owned()).await.unwrap();
        assert_eq!(oauth.remove_expired(now_ms()).await.unwrap(), 0);
        let after = |valid: Duration| now_ms() + valid.as_millis() as u64;
        assert_eq!(oauth.remove_expired(after(DEVICE_VALID)).await.unwrap(), 2, "the device and its user code");
        assert_eq!(oauth.remove_expired(after(REFRESH_VALID)).await.unwrap(), 1, "the session");
    }
}
