//! Uploads.

use std::collections::BTreeMap;

use hyperfarm_proto::bounded::Text;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::Request;

/// Asks for a URL to upload a file to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadRequest {
    /// The file's name.
    pub filename: Text<255>,
    /// Its media type.
    pub content_type: Text<200>,
    /// Its exact length.
    #[schemars(range(min = 1, max = 209_715_200))]
    pub size_bytes: u64,
    /// SHA-256 of the file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub checksum_sha256: Option<String>,
}

impl Request for UploadRequest {
    const EXAMPLE: &str = r#"{ "filename": "project.zip", "content_type": "application/zip", "size_bytes": 1234 }"#;
}

/// A form with a file.
#[derive(Debug, Clone, PartialEq, Eq, JsonSchema)]
#[schemars(inline)]
pub struct UploadForm {
    /// The file.
    #[schemars(extend("contentMediaType" = "application/octet-stream"))]
    pub file: String,
}

/// Says that the bytes of an upload are there.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct CompleteRequest {
    /// SHA-256 of the file.
    #[schemars(regex(pattern = "^[0-9A-Fa-f]{64}$"))]
    pub checksum_sha256: Option<String>,
}

impl Request for CompleteRequest {
    const EXAMPLE: &str = "{}";
    const IS_REQUIRED: bool = false;
}

/// An asset that was uploaded.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetUploaded {
    /// The asset.
    pub asset_id: String,
    /// Signed, expiring; `null` where the farm does not know how it is reached.
    pub url: Option<String>,
    /// By the file's bytes.
    pub mime_type: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// After a direct upload.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub status: Option<UploadedStatus>,
}

/// What becomes of the bytes of a direct upload.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum UploadedStatus {
    /// The bytes are stored as an asset.
    Processing,
}

/// A URL to upload a file to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadBegun {
    /// The asset to be.
    pub asset_id: String,
    /// PUT the bytes here, without a key.
    pub upload_url: String,
    /// Send these as they are.
    pub upload_headers: BTreeMap<String, String>,
    /// How long the URL is good for, in seconds.
    pub expires_in_seconds: u64,
    /// Bytes that an upload may have, whatever `size_bytes` says.
    pub max_bytes: u64,
    /// The upload waits for its bytes.
    pub status: PendingStatus,
}

/// The state of an upload that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum PendingStatus {
    /// The bytes have not arrived.
    PendingUpload,
}

/// Bytes that came to a signed URL.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct UploadReceived {
    /// The asset to be.
    pub asset_id: String,
}

/// A file that was uploaded, or is to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Asset {
    /// The asset.
    pub id: String,
    /// The file's name.
    pub name: String,
    /// What it is.
    #[serde(rename = "type")]
    pub kind: AssetKind,
    /// Name of the key that made it.
    pub owner: String,
    /// Unix seconds.
    pub uploaded_at: u64,
    /// Signed, expiring; once complete.
    pub url: Option<String>,
    /// Media type.
    pub mime_type: String,
    /// Length in bytes.
    pub size_bytes: u64,
    /// Whether the bytes have arrived.
    pub status: AssetStatus,
}

/// What a file is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum AssetKind {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A sound.
    Audio,
    /// Anything else.
    Document,
}

/// Whether the bytes of an asset are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AssetStatus {
    /// The bytes have not arrived.
    PendingUpload,
    /// The bytes are stored and were checked.
    Completed,
}

/// An asset that is gone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AssetDeleted {
    /// The asset.
    pub id: String,
}
