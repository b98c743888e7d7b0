//! Secrets of webhook endpoints are sealed in storage: encrypted with AES-256-GCM under a key of the operator's, and
//! bound to their endpoint.
//!
//! The first key seals, every key opens. To rotate, a new key is put first; once all secrets are sealed under it, which
//! a coordinator does at its start, the old one can go. Without any key secrets are stored as they are.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyperfarm_proto::id::ContentHash;

/// What a sealed secret begins with. The id of its key follows, a colon, and the nonce and the encrypted text in
/// base64.
const SEALED: &str = "sealed:v1:";

/// Bytes of a key.
const KEY_BYTES: usize = 32;

/// The operator's keys for secrets in storage.
#[derive(Clone, Default)]
pub struct SecretKeys(Arc<[SecretKey]>);

struct SecretKey {
    /// Public: the start of the key's hash.
    id: String,
    key: LessSafeKey,
}

/// Why a secret is not sealed or opened.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SealError {
    /// No key of the operator's is the one that it is sealed under.
    #[error("it is sealed under the key {0}, which HYPERFARM_SECRET_KEYS does not have")]
    NoKey(String),
    /// The text is not what was sealed, or was sealed for another endpoint.
    #[error("it is not what was sealed for this endpoint")]
    Altered,
    /// The system gave no random numbers.
    #[error("the operating system gave no random numbers")]
    Random,
}

impl fmt::Debug for SecretKeys {
    /// The ids, not the keys.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.0.iter().map(|key| &key.id)).finish()
    }
}

impl FromStr for SecretKeys {
    type Err = String;

    /// Keys of 64 hexadecimal digits, separated by commas.
    fn from_str(text: &str) -> Result<Self, String> {
        let keys = text.split(',').map(str::trim).filter(|key| !key.is_empty()).map(|text| {
            // The text is secret: the refusal does not repeat it.
            let refused = || "give keys of 64 hexadecimal digits, with commas between them".to_owned();
            let bytes = hex::decode(text).ok().filter(|bytes| bytes.len() == KEY_BYTES).ok_or_else(refused)?;
            let key = UnboundKey::new(&AES_256_GCM, &bytes).map_err(|_| refused())?;
            Ok(SecretKey { id: ContentHash::of(&bytes).short(), key: LessSafeKey::new(key) })
        });
        keys.collect::<Result<Vec<_>, String>>().map(|keys| Self(keys.into()))
    }
}

impl SecretKeys {
    /// Whether `stored` is not as [`SecretKeys::seal`] would store it now.
    pub(super) fn is_outdated(&self, stored: &str) -> bool {
        self.0.first().is_some_and(|first| sealed(stored).is_none_or(|(id, _)| id != first.id))
    }

    /// The secret as it is stored for the endpoint `context`.
    pub(super) fn seal(&self, secret: &str, context: &str) -> Result<String, SealError> {
        let Some(SecretKey { id, key }) = self.0.first() else { return Ok(secret.to_owned()) };
        let mut nonce = [0; NONCE_LEN];
        getrandom::fill(&mut nonce).map_err(|_| SealError::Random)?;
        let mut text = secret.as_bytes().to_vec();
        key.seal_in_place_append_tag(Nonce::assume_unique_for_key(nonce), Aad::from(context.as_bytes()), &mut text)
            .map_err(|_| SealError::Altered)?;
        Ok(format!("{SEALED}{id}:{}", STANDARD.encode([&nonce[..], &text].concat())))
    }

    /// The secret that is stored for the endpoint `context`. One that is not sealed is itself.
    pub(super) fn open(&self, stored: &str, context: &str) -> Result<String, SealError> {
        let Some((id, text)) = sealed(stored) else { return Ok(stored.to_owned()) };
        let key = self.0.iter().find(|key| key.id == id).ok_or_else(|| SealError::NoKey(id.to_owned()))?;
        let mut bytes = STANDARD.decode(text).map_err(|_| SealError::Altered)?;
        let (nonce, text) = bytes.split_at_mut_checked(NONCE_LEN).ok_or(SealError::Altered)?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(|_| SealError::Altered)?;
        let secret =
            key.key.open_in_place(nonce, Aad::from(context.as_bytes()), text).map_err(|_| SealError::Altered)?;
        String::from_utf8(secret.to_vec()).map_err(|_| SealError::Altered)
    }
}

/// The key's id and the rest of a sealed secret.
fn sealed(stored: &str) -> Option<(&str, &str)> {
    stored.strip_prefix(SEALED)?.split_once(':')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_opened_by_its_key_for_its_endpoint_only() {
        let (old, new) = ("a1".repeat(KEY_BYTES), "b2".repeat(KEY_BYTES));
        let keys = |text: &str| text.parse::<SecretKeys>().unwrap();
        let (first, rotated) = (keys(&old), keys(&format!("{new}, {old}")));
        let stored = first.seal("whsec_x", "team/ep_1").unwrap();
        assert!(!stored.contains("whsec_x"));
        assert_ne!(stored, first.seal("whsec_x", "team/ep_1").unwrap(), "the same text twice");
        assert_eq!(rotated.open(&stored, "team/ep_1").unwrap(), "whsec_x");
        assert_eq!(first.open(&stored, "team/ep_2"), Err(SealError::Altered));
        assert!(matches!(keys(&new).open(&stored, "team/ep_1"), Err(SealError::NoKey(_))));
        assert!(matches!(SecretKeys::default().open(&stored, "team/ep_1"), Err(SealError::NoKey(_))));
        for broken in [&stored[..stored.len() - 8], &format!("{SEALED}{}:AAAA", first.0[0].id)] {
            assert_eq!(first.open(broken, "team/ep_1"), Err(SealError::Altered), "{broken}");
        }
        assert!(rotated.is_outdated(&stored) && rotated.is_outdated("whsec_x") && !first.is_outdated(&stored));
        assert!(!SecretKeys::default().is_outdated("whsec_x"));
        assert_eq!(first.open("whsec_x", "team/ep_1").unwrap(), "whsec_x", "stored before there were keys");
        for bad in ["aa", "zz".repeat(KEY_BYTES).as_str()] {
            assert!(!bad.parse::<SecretKeys>().unwrap_err().contains(bad));
        }
        assert!(!format!("{rotated:?}").contains(&new));
    }
}
