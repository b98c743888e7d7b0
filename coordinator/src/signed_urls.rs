//! Absolute, signed URLs.
//!
//! Storage that signs for itself (S3, GCS, Azure) does. For a local folder the coordinator signs: HMAC-SHA256 over method, key and the
//! moment it runs out, with a secret that is made once and kept in storage, so that restarts and several coordinators agree. Moment and
//! signature are one parameter of the query: published examples hand URLs to a shell without quotes, which must not find a `&` there.

use std::time::Duration;

use bytes::Bytes;
use hmac::{Hmac, Mac};
use hyperfarm_backplane::objects::{Created, Objects, ObjectsError};
use hyperfarm_proto::id::RenderId;
use sha2::Sha256;
use tokio::sync::OnceCell;
use url::Url;

use crate::store::now_ms;

/// Where the secret is kept. No route gives it out: only signed keys are served, and only outputs are signed.
const SECRET_KEY: &str = "farm/link-secret";

/// The parameter of the query that holds the moment at which a URL runs out, in Unix seconds, a dot, and the signature.
pub const PARAMETER: &str = "signature";

/// Signs and checks URLs to download from and to upload to.
pub struct SignedUrls {
    objects: Objects,
    valid: Duration,
    secret: OnceCell<Bytes>,
}

/// Why a URL cannot be signed.
#[derive(Debug, thiserror::Error)]
pub enum SignedUrlError {
    /// Storage did not sign, or did not give the secret.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
    /// No secret could be made.
    #[error("the operating system gave no random numbers: {0}")]
    Random(getrandom::Error),
    /// The base is no base.
    #[error("`{0}` cannot be the start of a URL")]
    Base(String),
}

impl SignedUrls {
    /// Links into `objects` that are good for `valid`.
    pub fn new(objects: Objects, valid: Duration) -> Self {
        Self { objects, valid, secret: OnceCell::new() }
    }

    /// A URL with which anybody can download `key`, starting with `base` where the farm itself serves it.
    pub async fn sign(&self, key: &str, base: &Url) -> Result<Url, SignedUrlError> {
        if let Some(url) = self.objects.sign_get(key, self.valid).await? {
            return Ok(url);
        }
        self.own("GET", "files", key, base, self.expiry()).await
    }

    /// A URL to which anybody can upload `key` for `valid`.
    pub async fn sign_put(&self, key: &str, base: &Url, valid: Duration) -> Result<Url, SignedUrlError> {
        if let Some(url) = self.objects.sign_put(key, valid).await? {
            return Ok(url);
        }
        self.own("PUT", "uploads", key, base, now_ms() / 1000 + valid.as_secs()).await
    }

    /// A URL at which anybody can watch `render`, beginning with `file`. What lies beside that file is open to the same people: the
    /// signature is a part of the path.
    pub async fn sign_preview(&self, render: &RenderId, file: &str, base: &Url) -> Result<Url, SignedUrlError> {
        let expires = self.expiry();
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

    /// Whether somebody may watch `render` until `expires`, and that moment is to come.
    pub async fn may_watch(&self, render: &RenderId, expires: u64, signature: &str) -> Result<bool, SignedUrlError> {
        self.is_good("GET", &preview_key(render), &format!("{expires}.{signature}")).await
    }

    /// When a URL that is made now runs out. Whole hours, so that a client that polls sees one URL and not a new one each second.
    fn expiry(&self) -> u64 {
        let hour = 3600;
        (now_ms() / 1000 + self.valid.as_secs()).div_ceil(hour) * hour
    }

    async fn own(
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
            .push(folder)
            .extend(key.split('/'));
        let signature = hex::encode(self.mac(method, key, expires).await?.finalize().into_bytes());
        url.query_pairs_mut().append_pair(PARAMETER, &format!("{expires}.{signature}"));
        Ok(url)
    }

    /// Whether `signed`, the value of [`PARAMETER`], was given for this method of `key`, and is still good.
    pub async fn is_good(&self, method: &str, key: &str, signed: &str) -> Result<bool, SignedUrlError> {
        let Some((expires, signature)) = signed.split_once('.') else { return Ok(false) };
        let (Ok(expires), Ok(signature)) = (expires.parse(), hex::decode(signature)) else { return Ok(false) };
        // In constant time.
        let is_ours = self.mac(method, key, expires).await?.verify_slice(&signature).is_ok();
        Ok(is_ours && now_ms() / 1000 < expires)
    }

    async fn mac(&self, method: &str, key: &str, expires: u64) -> Result<Hmac<Sha256>, SignedUrlError> {
        let secret = self.secret.get_or_try_init(|| self.load()).await?;
        let mut mac = Hmac::new_from_slice(secret).map_err(|error| SignedUrlError::Base(error.to_string()))?;
        mac.update(format!("{method}\n{key}\n{expires}").as_bytes());
        Ok(mac)
    }

    async fn load(&self) -> Result<Bytes, SignedUrlError> {
        let mut secret = [0; 32];
        getrandom::fill(&mut secret).map_err(SignedUrlError::Random)?;
        let secret = Bytes::from(hex::encode(secret));
        match self.objects.create(SECRET_KEY, secret.clone()).await? {
            Created::Yes => Ok(secret),
            Created::Existed => Ok(self.objects.get(SECRET_KEY).await?),
        }
    }
}

/// What a signature to watch a render is for. No object has such a key.
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
    async fn a_link_is_good_for_its_key_and_its_time_at_every_coordinator() {
        let objects = Objects::memory();
        let base = Url::parse("https://farm.example/under/").unwrap();
        let url = SignedUrls::new(objects.clone(), Duration::from_secs(60))
            .sign("renders/r1/output.mp4", &base)
            .await
            .unwrap();
        assert!(url.as_str().starts_with("https://farm.example/under/files/renders/r1/output.mp4?signature="), "{url}");
        assert!(!url.as_str().contains(['&', ';', '|', '(']), "a shell takes it as one word: {url}");
        let good = signed(&url);
        let (expires, signature) = good.split_once('.').unwrap();
        let later = format!("{}.{signature}", expires.parse::<u64>().unwrap() + 1);
        let other = SignedUrls::new(objects, Duration::from_secs(60));
        assert!(other.is_good("GET", "renders/r1/output.mp4", &good).await.unwrap());
        assert!(!other.is_good("GET", "farm/link-secret", &good).await.unwrap());
        assert!(!other.is_good("PUT", "renders/r1/output.mp4", &good).await.unwrap());
        for bad in [&later, "zz", "", ".", &format!("{expires}.zz"), signature] {
            assert!(!other.is_good("GET", "renders/r1/output.mp4", bad).await.unwrap(), "{bad}");
        }
    }

    #[tokio::test]
    async fn a_link_runs_out() {
        let links = SignedUrls::new(Objects::memory(), Duration::from_secs(60));
        let past = now_ms() / 1000 - 1;
        let signature = hex::encode(links.mac("GET", "k", past).await.unwrap().finalize().into_bytes());
        assert!(!links.is_good("GET", "k", &format!("{past}.{signature}")).await.unwrap());
    }
}
