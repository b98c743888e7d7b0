//! Opens stores: a local folder, memory, or what a URL names.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::AmazonS3Builder;
use object_store::azure::MicrosoftAzureBuilder;
use object_store::gcp::GoogleCloudStorageBuilder;
use object_store::local::LocalFileSystem;
use object_store::memory::InMemory;
use object_store::multipart::MultipartStore;
use object_store::path::Path as StorePath;
use object_store::signer::Signer;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use super::{COORDINATOR_SCHEME, Cloud, Objects, ObjectsError, Signing};
use crate::redact::redact;

/// Retries of requests. A store that is down is reported well within a minute, so that it holds up no lease, request or
/// drain.
fn retries() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig {
            init_backoff: Duration::from_millis(100),
            max_backoff: Duration::from_secs(4),
            ..BackoffConfig::default()
        },
        max_retries: 6,
        retry_timeout: Duration::from_secs(25),
    }
}

/// Options of the HTTP client. A limit on a whole request would cut off a large download that is read slowly, so the
/// time between two reads is limited instead.
fn client_options(allow_http: bool) -> ClientOptions {
    ClientOptions::new()
        .with_allow_http(allow_http)
        .with_connect_timeout(Duration::from_secs(5))
        .with_timeout_disabled()
        .with_read_timeout(Duration::from_secs(30))
}

impl Objects {
    /// A local folder, made if it does not exist.
    ///
    /// A stored value is on disk (`fsync`) when the put returns; folders that become empty are removed.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::File`] where the folder cannot be made.
    pub fn local(dir: &Path) -> Result<Self, ObjectsError> {
        let failed = |source| ObjectsError::File { path: dir.display().to_string(), source };
        crate::private::folder(dir).map_err(failed)?;
        let root = dir.canonicalize().map_err(failed)?;
        let store = LocalFileSystem::new_with_prefix(&root)
            .map_err(|source| ObjectsError::Store { operation: "open", key: root.display().to_string(), source })?
            .with_automatic_cleanup(true)
            .with_fsync(true);
        Ok(Self {
            store: Arc::new(store),
            prefix: StorePath::ROOT,
            signing: None,
            granted: None,
            root: Some(Arc::new(root)),
            metrics: Arc::default(),
        })
    }

    /// A store in memory, for tests and for renders that leave nothing behind.
    pub fn memory() -> Self {
        Self::over(Arc::new(InMemory::new()))
    }

    /// Any store, without signed URLs of its own. Tests use it for stores that count requests or fail.
    pub fn over(store: Arc<dyn ObjectStore>) -> Self {
        Self { store, prefix: StorePath::ROOT, signing: None, granted: None, root: None, metrics: Arc::default() }
    }

    /// The store that a URL names: `file:///folder`, `s3://bucket/prefix`, `gs://bucket/prefix`,
    /// `az://container/prefix`.
    ///
    /// Credentials and endpoints come from the environment variables that each cloud's own tools read
    /// (`AWS_ACCESS_KEY_ID`, `AWS_ENDPOINT`, `AWS_ALLOW_HTTP`, `GOOGLE_SERVICE_ACCOUNT`, `AZURE_STORAGE_ACCOUNT_NAME`,
    /// …), or from the machine's role.
    ///
    /// # Errors
    ///
    /// [`ObjectsError::Url`] for a URL that names no store.
    pub fn open(url: &str) -> Result<Self, ObjectsError> {
        let refused = |reason: String| ObjectsError::Url { url: redact(url), reason };
        let parsed = Url::parse(url).map_err(|error| refused(error.to_string()))?;
        if url.starts_with(COORDINATOR_SCHEME) {
            let reason = "it names a coordinator, which grants storage to tasks of workers and stitchers only, and here the \
                          store itself is needed";
            return Err(refused(reason.to_owned()));
        }
        if parsed.scheme() == "file" {
            let dir =
                folder(&parsed).ok_or_else(|| refused("it is not an absolute folder of this machine".to_owned()))?;
            return Self::local(&dir);
        }
        if parsed.host_str().unwrap_or_default().is_empty() {
            return Err(refused("it names no bucket".to_owned()));
        }
        let prefix = StorePath::from_url_path(parsed.path()).map_err(|error| refused(error.to_string()))?;
        let unusable = |error: object_store::Error| refused(error.to_string());
        match parsed.scheme() {
            "s3" | "s3a" => {
                let store = AmazonS3Builder::from_env()
                    .with_url(url)
                    .with_retry(retries())
                    .with_client_options(client_options(env_flag("AWS_ALLOW_HTTP")))
                    .build()
                    .map_err(unusable)?;
                Ok(Self::signing(Arc::new(store), prefix, Cloud::S3))
            }
            "gs" => {
                let store = GoogleCloudStorageBuilder::from_env()
                    .with_url(url)
                    .with_retry(retries())
                    .with_client_options(client_options(env_flag("GOOGLE_ALLOW_HTTP")))
                    .build()
                    .map_err(unusable)?;
                Ok(Self::signing(Arc::new(store), prefix, Cloud::Google))
            }
            "az" | "azure" | "abfs" | "abfss" => {
                let store = MicrosoftAzureBuilder::from_env()
                    .with_url(url)
                    .with_retry(retries())
                    .with_client_options(client_options(env_flag("AZURE_ALLOW_HTTP")))
                    .build()
                    .map_err(unusable)?;
                Ok(Self::signing(Arc::new(store), prefix, Cloud::Azure))
            }
            other => Err(refused(format!("`{other}` is no scheme this build knows"))),
        }
    }

    fn signing<S: ObjectStore + Signer + MultipartStore>(store: Arc<S>, prefix: StorePath, cloud: Cloud) -> Self {
        let signing = Signing { signer: store.clone(), multipart: store.clone(), cloud };
        Self { store, prefix, signing: Some(Arc::new(signing)), granted: None, root: None, metrics: Arc::default() }
    }
}

fn folder(url: &Url) -> Option<PathBuf> {
    if url.host_str().is_some_and(|host| !host.is_empty()) {
        return None;
    }
    url.to_file_path().ok()
}

/// A flag of the cloud's own environment variables. Setting client options replaces those that the builder has read, so
/// this one is read again.
fn env_flag(name: &str) -> bool {
    std::env::var(name).is_ok_and(|value| matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_that_name_no_store_say_why() {
        for bad in ["", "bucket", "ftp://bucket/x", "file://host/x", "s3:///x", "s3://"] {
            let error = Objects::open(bad).err().unwrap();
            assert!(matches!(error, ObjectsError::Url { .. }), "{bad:?}: {error}");
            assert!(error.to_string().contains("s3://bucket/prefix"), "{error}");
        }
    }

    #[test]
    fn a_coordinator_is_no_store() {
        let error = Objects::open("farm+https://coordinator:8080").err().unwrap();
        assert!(error.to_string().contains("the store itself is needed"), "{error}");
        let token = "0123456789abcdef0123456789abcdef";
        for bad in ["farm+https://", "farm+https://user:hidden@host", "farm+ftp://host", "farm+x"] {
            let error = Objects::of_coordinator(bad, token).err().unwrap().to_string();
            assert!(!error.contains("hidden"), "{error}");
        }
        assert!(!Objects::of_coordinator("farm+https://host/below", token).unwrap().has_credential());
    }

    #[test]
    fn a_file_url_makes_its_folder() {
        let dir = tempfile::tempdir().unwrap();
        let url = Url::from_directory_path(dir.path().join("new folder")).unwrap();
        Objects::open(url.as_str()).unwrap();
        assert!(dir.path().join("new folder").is_dir());
    }
}
