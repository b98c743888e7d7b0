//! Signed URLs to download, upload and watch, which need no API key.
//!
//! S3, GCS and Azure sign URLs themselves. For a local folder the coordinator signs with HMAC-SHA256 over method, key and expiry time. The
//! secret is made once and kept in storage, so that it is the same after a restart and for several coordinators. Expiry time and
//! signature are one query parameter, because published examples pass URLs to a shell without quotes, where a `&` would end them.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::RenderId;
use sha2::Sha256;
use tokio::sync::OnceCell;
use url::Url;

use crate::clock::now_ms;

/// Where the signing secret is stored. No route signs or serves this object.
const SIGNING_SECRET_OBJECT: &str = "farm/link-secret";

/// The query parameter that contains the expiry time in Unix seconds, a dot, and the signature.
pub(crate) const PARAMETER: &str = "signature";

/// Signs and verifies URLs.
pub(crate) struct SignedUrls {
    objects: Objects,
    /// How long a download or preview URL is valid.
    valid_for: Duration,
    secret: OnceCell<Bytes>,
}

/// Why a URL cannot be signed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum SignedUrlError {
    /// Storage did not sign, or the secret cannot be read.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// The secret cannot be made.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// The base URL cannot have a path.
    #[error("`{0}` cannot be the start of a URL")]
    Base(String),
}

impl SignedUrls {
    /// URLs of objects in `objects`. Download and preview URLs are valid for `valid_for`.
    pub(crate) fn new(objects: Objects, valid_for: Duration) -> Self {
        Self { objects, valid_for, secret: OnceCell::new() }
    }

    /// A URL to download `key`. It starts with `base` where the farm itself serves it.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn sign(&self, key: &str, base: &Url) -> Result<Url, SignedUrlError> {
        if let Some(url) = self.objects.sign_get(key, self.valid_for).await? {
            return Ok(url);
        }
        self.sign_own("GET", "files", key, base, self.expires_at()).await
    }

    /// A URL to upload `key`, valid for `valid`.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn sign_put(&self, key: &str, base: &Url, valid: Duration) -> Result<Url, SignedUrlError> {
        if let Some(url) = self.objects.sign_put(key, valid).await? {
            return Ok(url);
        }
        self.sign_own("PUT", "uploads", key, base, now_ms() / 1000 + valid.as_secs()).await
    }

    /// A URL of the playlist `file` of a render's preview. The signature is part of the path, so the files beside the playlist are open
    /// to the same people.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn sign_preview(&self, render: &RenderId, file: &str, base: &Url) -> Result<Url, SignedUrlError> {
        let expires = self.expires_at();
        let signature = hex::encode(self.mac("GET", &preview_key(render), expires).await?.finalize().into_bytes());
        let mut url = base.clone();
        url.path_segments_mut().map_err(|()| SignedUrlError::Base(base.to_string()))?.pop_if_empty().extend([
            "preview",
            &expires.to_string(),
            &signature,
            render.as_str(),
            file,
        ]);
        Ok(url)
    }

    /// Whether `signature` allows to watch `render` until `expires` (Unix seconds), and that time has not come.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn verify_preview(
        &self,
        render: &RenderId,
        expires: u64,
        signature: &str,
    ) -> Result<bool, SignedUrlError> {
        self.verify("GET", &preview_key(render), &format!("{expires}.{signature}")).await
    }

    /// A URL of the preview of a voice. [`voice_preview_key`] is what it is signed for.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn sign_voice_preview(&self, voice: &str, base: &Url) -> Result<Url, SignedUrlError> {
        self.sign_own("GET", "previews", &voice_preview_key(voice), base, self.expires_at()).await
    }

    /// A URL below an unknown coordinator's: only its path and query count. `method` is a word of the signature.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn sign_object(
        &self,
        method: &str,
        folder: &str,
        key: &str,
        expires: u64,
    ) -> Result<Url, SignedUrlError> {
        let base = Url::parse("http://coordinator/").map_err(|error| SignedUrlError::Base(error.to_string()))?;
        self.sign_own(method, folder, key, &base, expires).await
    }

    /// Expiry time in Unix seconds of a URL that is made now. It is a whole hour, so that a client that polls sees the same URL again.
    fn expires_at(&self) -> u64 {
        let hour = 3600;
        (now_ms() / 1000 + self.valid_for.as_secs()).div_ceil(hour) * hour
    }

    /// Signs a URL that the farm itself serves.
    async fn sign_own(
        &self,
        method: &str,
        folder: &str,
        key: &str,
        base: &Url,
        expires: u64,
    ) -> Result<Url, SignedUrlError> {
        let mut url = base.clone();
        url.path_segments_mut()
            .map_err(|()| SignedUrlError::Base(base.to_string()))?
            .pop_if_empty()
            .extend(folder.split('/'))
            .extend(key.split('/'));
        let signature = hex::encode(self.mac(method, key, expires).await?.finalize().into_bytes());
        url.query_pairs_mut().append_pair(PARAMETER, &format!("{expires}.{signature}"));
        Ok(url)
    }

    /// Whether `signed`, the value of [`PARAMETER`], is valid for this method and key now.
    ///
    /// # Errors
    ///
    /// See [`SignedUrlError`].
    pub(crate) async fn verify(&self, method: &str, key: &str, signed: &str) -> Result<bool, SignedUrlError> {
        let Some((expires, signature)) = signed.split_once('.') else { return Ok(false) };
        let (Ok(expires), Ok(signature)) = (expires.parse(), hex::decode(signature)) else { return Ok(false) };
        // Compared in constant time.
        let is_valid = self.mac(method, key, expires).await?.verify_slice(&signature).is_ok();
        Ok(is_valid && now_ms() / 1000 < expires)
    }

    async fn mac(&self, method: &str, key: &str, expires: u64) -> Result<Hmac<Sha256>, SignedUrlError> {
        let secret = self.secret.get_or_try_init(|| self.load_secret()).await?;
        let mut mac = Hmac::new_from_slice(secret).map_err(|error| SignedUrlError::Base(error.to_string()))?;
        mac.update(format!("{method}\n{key}\n{expires}").as_bytes());
        Ok(mac)
    }

    async fn load_secret(&self) -> Result<Bytes, SignedUrlError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(SignedUrlError::Random)?;
        let secret = Bytes::from(hex::encode(secret));
        match self.objects.create(SIGNING_SECRET_OBJECT, secret.clone()).await? {
            Created::Yes => Ok(secret),
            Created::Existed => Ok(self.objects.get(SIGNING_SECRET_OBJECT).await?),
        }
    }
}

/// Object key of the preview of a voice.
pub(crate) fn voice_preview_key(voice: &str) -> String {
    format!("voices/{voice}.wav")
}

/// The key that the signature of a preview URL is for. No object has it.
fn preview_key(render: &RenderId) -> String {
    format!("preview/{render}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signed(url: &Url) -> String {
        url.query().unwrap().strip_prefix("signature=").unwrap().to_owned()
    }

    #[tokio::test]
    async fn a_url_is_valid_for_its_key_and_its_time_at_every_coordinator() {
        let objects = Objects::memory();
        let base = Url::parse("https://farm.example/under/").unwrap();
        let url = SignedUrls::new(objects.clone(), Duration::from_secs(60))
            .sign("renders/r1/output.mp4", &base)
            .await
            .unwrap();
        assert!(url.as_str().starts_with("https://farm.example/under/files/renders/r1/output.mp4?signature="), "{url}");
        assert!(!url.as_str().contains(['&', ';', '|', '(']), "a shell takes it as one word: {url}");
        let valid = signed(&url);
        let (expires, signature) = valid.split_once('.').unwrap();
        let later = format!("{}.{signature}", expires.parse::<u64>().unwrap() + 1);
        let other = SignedUrls::new(objects, Duration::from_secs(60));
        assert!(other.verify("GET", "renders/r1/output.mp4", &valid).await.unwrap());
        assert!(!other.verify("GET", "farm/link-secret", &valid).await.unwrap());
        assert!(!other.verify("PUT", "renders/r1/output.mp4", &valid).await.unwrap());
        for bad in [&later, "zz", "", ".", &format!("{expires}.zz"), signature] {
            assert!(!other.verify("GET", "renders/r1/output.mp4", bad).await.unwrap(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_url_expires() {
        let urls = SignedUrls::new(Objects::memory(), Duration::from_secs(60));
        let past = now_ms() / 1000 - 1;
        let signature = hex::encode(urls.mac("GET", "k", past).await.unwrap().finalize().into_bytes());
        assert!(!urls.verify("GET", "k", &format!("{past}.{signature}")).await.unwrap());
    }
}
