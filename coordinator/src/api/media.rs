//! Files that requests name: uploaded before, behind a URL, or in the request.

use base64::Engine;
use bytes::Bytes;
use hyperfarm_api::avatars::FileInput;
use url::Url;

use super::create::BASE64;
use super::download::Download;
use super::error::{ApiError, Code};
use super::{Api, assets};
use crate::api_keys::Caller;
use crate::assets::sniff;
use crate::presenter::MediaFile;

/// Bytes of a photo, a sound or a video at most.
pub(super) const MAX_BYTES: u64 = 50 * 1024 * 1024;

/// Which kind of file is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wanted {
    /// A PNG or a JPEG file.
    Image,
    /// A WAV or an MP3 file.
    Sound,
    /// An MP4 or a WebM file.
    Video,
    /// An image or a video.
    Picture,
    /// A SubRip file.
    Subtitles,
}

impl Wanted {
    fn types(self) -> &'static [(&'static str, &'static str)] {
        match self {
            Self::Image => &[("image/png", ".png"), ("image/jpeg", ".jpg")],
            Self::Sound => &[("audio/wav", ".wav"), ("audio/mpeg", ".mp3")],
            Self::Video => &[("video/mp4", ".mp4"), ("video/webm", ".webm")],
            Self::Subtitles => &[("application/x-subrip", ".srt")],
            Self::Picture => {
                &[("image/png", ".png"), ("image/jpeg", ".jpg"), ("video/mp4", ".mp4"), ("video/webm", ".webm")]
            }
        }
    }

    /// The ending of a file's name, with the dot, if it is that of such a file.
    pub(super) fn extension(self, ending: &str) -> Option<&'static str> {
        self.types().iter().map(|(_, extension)| *extension).find(|extension| *extension == ending)
    }

    /// The ending of the name of such a file, with the dot, by its bytes.
    fn found_in(self, bytes: &[u8]) -> Option<&'static str> {
        let found = sniff(&bytes[..bytes.len().min(512)], "");
        self.types().iter().find(|(kind, _)| found == Some(*kind)).map(|(_, extension)| *extension)
    }

    fn name(self) -> &'static str {
        match self {
            Self::Image => "a PNG or a JPEG file",
            Self::Sound => "a WAV or an MP3 file",
            Self::Video => "an MP4 or a WebM file",
            Self::Subtitles => "a SubRip file",
            Self::Picture => "a PNG, JPEG, MP4 or WebM file",
        }
    }
}

/// The file that the field `param` names.
pub(super) async fn file(
    api: &Api,
    caller: &Caller,
    input: &FileInput,
    param: &str,
    wanted: Wanted,
) -> Result<MediaFile, ApiError> {
    let bytes = match input {
        FileInput::Url { url } => fetched(api, url, &format!("{param}.url")).await?,
        FileInput::AssetId { asset_id } => {
            return asset(api, caller, asset_id, &format!("{param}.asset_id"), wanted).await;
        }
        FileInput::Base64 { data, .. } => {
            let decoded = BASE64.decode(data.as_bytes());
            decoded
                .map_err(|error| ApiError::invalid(format!("{param}.data"), format!("data is not base64: {error}")))?
                .into()
        }
    };
    checked(bytes, param, wanted)
}

/// The file behind a URL.
pub(super) async fn behind(api: &Api, url: &str, param: &str, wanted: Wanted) -> Result<MediaFile, ApiError> {
    checked(fetched(api, url, param).await?, param, wanted)
}

/// The file of an asset.
pub(super) async fn asset(
    api: &Api,
    caller: &Caller,
    id: &str,
    param: &str,
    wanted: Wanted,
) -> Result<MediaFile, ApiError> {
    let record = assets::complete_upload(api, caller, id).await.map_err(|error| error.of(param))?;
    let key = record.data_key().filter(|_| record.bytes <= MAX_BYTES).ok_or_else(|| too_large(param))?;
    checked(api.coordinator.backplane().objects.get(&key).await?, param, wanted)
}

/// The video that an engine has answered with, if it is one.
pub(super) fn checked_answer(bytes: Bytes, wanted: Wanted) -> Option<MediaFile> {
    let extension = wanted.found_in(&bytes)?;
    Some(MediaFile { extension, bytes })
}

fn too_large(param: &str) -> ApiError {
    ApiError::new(Code::TooLarge, format!("the file may have {MAX_BYTES} bytes")).of(param)
}

fn checked(bytes: Bytes, param: &str, wanted: Wanted) -> Result<MediaFile, ApiError> {
    if bytes.len() as u64 > MAX_BYTES {
        return Err(too_large(param));
    }
    let extension = wanted.found_in(&bytes).ok_or_else(|| {
        ApiError::invalid(param, format!("the file must be {}, and by its bytes it is none", wanted.name()))
    })?;
    Ok(MediaFile { extension, bytes })
}

async fn fetched(api: &Api, url: &str, param: &str) -> Result<Bytes, ApiError> {
    let url = Url::parse(url).ok().filter(|url| url.has_host() && matches!(url.scheme(), "http" | "https"));
    let url = url.ok_or_else(|| ApiError::invalid(param, "the URL must be an https URL of a file"))?;
    Download { what: "file", param, bytes: MAX_BYTES, too_large: Code::TooLarge }.get(api, &url).await
}
