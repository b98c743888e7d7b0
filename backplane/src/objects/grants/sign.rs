//! Signs the requests of grants with the store's own signatures.
//!
//! Where the key is the hash of its content, S3 compares the content with it: the checksum is part of the signature.
//! Google Cloud Storage compares the length. Azure's signatures have room for neither.

use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hyperfarm_proto::id::ContentHash;
use object_store::multipart::PartId;
use object_store::signer::{Method, SignedUrlOptions};
use reqwest::header::{HeaderName, HeaderValue};

use super::{Cloud, Grant, LARGEST_PUT, Objects, ObjectsError, SignedRequest, Want, content_hash_of};
use crate::objects::Signing;

/// Bytes of the largest object that one request can store: the least of the stores' limits.
const MOST_OF_ONE_PUT: u64 = 5_000_000_000;

/// Bytes of the smallest part of an upload by signed URLs, each of which is a request of its own.
const MIN_PART: u64 = 32 * 1024 * 1024;

/// Parts of an upload at most. S3 allows 10,000; some stores fewer by a little.
const MAX_PARTS: u64 = 9_000;

/// See [`Objects::grant`].
pub(super) async fn grant(objects: &Objects, want: &Want, valid: Duration) -> Result<Grant, ObjectsError> {
    if let Want::List { folder } = want {
        let listed = objects.list(folder).await?;
        return Ok(Grant::Listed { objects: listed.into_iter().map(|meta| (meta.key, meta.bytes)).collect() });
    }
    let Some(signing) = &objects.signing else {
        return Err(unsupported(want, "the store has no signed URLs"));
    };
    let signer = Signer { objects, signing, want, valid };
    // Parts cannot be compared with the hash of the whole that such a key names.
    if matches!(want, Want::Parts { .. } | Want::Complete { .. }) && content_hash_of(want.key()).is_some() {
        return Err(unsupported(want, "a file whose key names its content is stored by one request"));
    }
    let key = want.key().to_owned();
    match want {
        Want::Get { .. } => Ok(Grant::Get { key, request: signer.sign(Method::GET, Vec::new(), &[]).await? }),
        Want::Head { .. } => {
            // Azure signs what may be done, not the method; `object_store` knows it by the method.
            let method = if signing.cloud == Cloud::Azure { Method::GET } else { Method::HEAD };
            Ok(Grant::Head { key, request: signer.sign(method, Vec::new(), &[]).await? })
        }
        Want::Put { bytes, .. } => signer.put(key, *bytes).await,
        Want::Parts { bytes, upload, .. } => signer.parts(key, *bytes, upload.clone()).await,
        Want::Complete { upload, parts, .. } => {
            let parts = parts.iter().map(|id| PartId { content_id: id.clone() }).collect();
            let path = objects.path(&key)?;
            let completed = signing.multipart.complete_multipart(&path, upload, parts).await;
            completed.map_err(|error| ObjectsError::of("put", &key, error))?;
            Ok(Grant::Done { key })
        }
        Want::Abort { upload, .. } => {
            let aborted = signing.multipart.abort_multipart(&objects.path(&key)?, upload).await;
            aborted.map_err(|error| ObjectsError::of("put", &key, error))?;
            Ok(Grant::Done { key })
        }
        Want::List { folder } => Err(unsupported(want, &format!("{folder} is listed, not signed"))),
    }
}

struct Signer<'a> {
    objects: &'a Objects,
    signing: &'a Signing,
    want: &'a Want,
    valid: Duration,
}

impl Signer<'_> {
    async fn put(&self, key: String, bytes: Option<u64>) -> Result<Grant, ObjectsError> {
        let hash = content_hash_of(&key);
        match bytes {
            Some(bytes) if bytes > LARGEST_PUT && hash.is_none() && self.signing.cloud != Cloud::Azure => {
                let path = self.objects.path(&key)?;
                let created = self.signing.multipart.create_multipart(&path).await;
                let upload = created.map_err(|error| ObjectsError::of("put", &key, error))?;
                let granted = self.parts(key, bytes, upload.clone()).await;
                if granted.is_err()
                    && let Err(error) = self.signing.multipart.abort_multipart(&path, &upload).await
                {
                    tracing::warn!(%error, "an upload that was not granted could not be aborted");
                }
                granted
            }
            Some(bytes) if bytes > MOST_OF_ONE_PUT => {
                let reason = "a file above 5 GB cannot be stored here without the store's credential";
                Err(unsupported(self.want, reason))
            }
            _ => {
                let headers = self.headers(hash, bytes);
                Ok(Grant::Put { key, request: self.sign(Method::PUT, headers, &[]).await? })
            }
        }
    }

    /// Headers that bind what is stored.
    fn headers(&self, hash: Option<ContentHash>, bytes: Option<u64>) -> Vec<(&'static str, String)> {
        match self.signing.cloud {
            Cloud::S3 => {
                let checksum = hash.and_then(|hash| hex::decode(hash.to_string()).ok());
                checksum.map(|digest| ("x-amz-checksum-sha256", STANDARD.encode(digest))).into_iter().collect()
            }
            Cloud::Google => {
                bytes.map(|bytes| ("x-goog-content-length-range", format!("{bytes},{bytes}"))).into_iter().collect()
            }
            Cloud::Azure => Vec::new(),
        }
    }

    async fn parts(&self, key: String, bytes: u64, upload: String) -> Result<Grant, ObjectsError> {
        let part_bytes = part_bytes(bytes);
        let mut requests = Vec::new();
        for number in 1..=bytes.div_ceil(part_bytes).max(1) {
            let query = [("partNumber", number.to_string()), ("uploadId", upload.clone())];
            requests.push(self.sign(Method::PUT, Vec::new(), &query).await?);
        }
        Ok(Grant::Parts { key, upload, part_bytes, requests })
    }

    async fn sign(
        &self,
        method: Method,
        headers: Vec<(&'static str, String)>,
        query: &[(&'static str, String)],
    ) -> Result<SignedRequest, ObjectsError> {
        let key = self.want.key();
        let path = self.objects.path(key)?;
        let mut options = SignedUrlOptions::new().with_query(query.iter().map(|(name, value)| (*name, value.clone())));
        for (name, value) in &headers {
            let value = HeaderValue::from_str(value).map_err(|error| unsupported(self.want, &error.to_string()))?;
            options = options.with_signed_header(HeaderName::from_static(name), value);
        }
        let is_put = method == Method::PUT;
        let signed = self.signing.signer.signed_url_opts(method, &path, self.valid, &options).await;
        let url = signed.map_err(|error| ObjectsError::of("sign", key, error))?;
        let mut headers: std::collections::BTreeMap<String, String> =
            headers.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
        if is_put && self.signing.cloud == Cloud::Azure {
            headers.insert("x-ms-blob-type".to_owned(), "BlockBlob".to_owned());
        }
        Ok(SignedRequest { url: url.into(), headers })
    }
}

/// Bytes of the parts of a file of `bytes`: a whole number of MiB.
fn part_bytes(bytes: u64) -> u64 {
    const MIB: u64 = 1024 * 1024;
    bytes.div_ceil(MAX_PARTS).div_ceil(MIB).saturating_mul(MIB).max(MIN_PART)
}

fn unsupported(want: &Want, reason: &str) -> ObjectsError {
    let source = object_store::Error::NotSupported { source: reason.to_owned().into() };
    ObjectsError::Store { operation: want.operation(), key: want.key().to_owned(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_has_no_more_parts_than_stores_take() {
        for bytes in [1, LARGEST_PUT + 1, 5 << 40] {
            assert!(bytes.div_ceil(part_bytes(bytes)) <= MAX_PARTS, "{bytes}");
        }
    }

    #[tokio::test]
    async fn a_store_without_signed_urls_says_so() {
        let want = Want::Get { key: "a".to_owned() };
        let error = Objects::memory().grant(&want, Duration::from_secs(1)).await.unwrap_err();
        assert!(error.to_string().contains("no signed URLs"), "{error}");
    }
}
