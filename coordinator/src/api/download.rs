//! Files behind the URLs of requests.

use bytes::Bytes;
use hyperfarm_backplane::fetch::{Expected, FetchLimits, FetchReason};
use url::Url;

use super::Api;
use super::error::{ApiError, Code};

/// What is downloaded for a request.
pub(super) struct Download<'a> {
    /// What it is, for messages.
    pub(super) what: &'a str,
    /// The parameter that has the URL.
    pub(super) param: &'a str,
    /// Bytes at most.
    pub(super) bytes: u64,
    /// The error of a file with more.
    pub(super) too_large: Code,
}

impl Download<'_> {
    /// The file at `url`.
    ///
    /// # Errors
    ///
    /// `too_large`, or [`Code::DownloadFailed`] where it cannot be had.
    pub(super) async fn get(&self, api: &Api, url: &Url) -> Result<Bytes, ApiError> {
        let Self { what, param, bytes, too_large } = *self;
        let failed = |message: String| ApiError::new(Code::DownloadFailed, message).of(param);
        let Some(fetcher) = &api.config.fetcher else {
            return Err(failed(format!("this farm fetches nothing; upload the {what} as an asset")));
        };
        let file = tempfile::NamedTempFile::new().map_err(|error| ApiError::internal(&error))?;
        let limits = FetchLimits { bytes, time: api.config.download_within };
        match fetcher.to_file(url, file.path(), limits, Expected::File).await {
            Ok(_) => Ok(tokio::fs::read(file.path()).await.map_err(|error| ApiError::internal(&error))?.into()),
            Err(error) => Err(match &error.reason {
                FetchReason::Local(_) => ApiError::internal(&error),
                FetchReason::TooLarge(_) => ApiError::new(too_large, error.to_string()).of(param),
                _ => failed(format!("the {what} cannot be downloaded: {error}")),
            }),
        }
    }
}
