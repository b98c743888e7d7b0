//! Avatars: people who can present. A group is a person, and has looks.

use hyperfarm_proto::bounded::{Bounded, Text};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::request::{Request, number};
use crate::voices::Gender;

/// A file of a request: behind a URL, uploaded as an asset, or in the request itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum FileInput {
    /// The file is behind a URL.
    Url {
        /// An https URL of at most 50 MB.
        url: Text<2048>,
    },
    /// The file was uploaded as an asset.
    AssetId {
        /// Id of the asset.
        asset_id: Text<64>,
    },
    /// The file is in the request.
    Base64 {
        /// Media type of the file. The farm reads the type from the bytes.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        media_type: Option<Text<200>>,
        /// Bytes of the file in base64.
        data: String,
    },
}

/// Asks for a new look of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AvatarRequest {
    /// The material of the look. This farm makes looks of photos only.
    #[serde(rename = "type")]
    pub kind: AvatarSource,
    /// Name to show to people.
    #[schemars(length(min = 1))]
    pub name: Text<200>,
    /// The photo: a PNG or a JPEG file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileInput>,
    /// The group to add the look to; a new one where there is none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub avatar_group_id: Option<Text<64>>,
}

impl Request for AvatarRequest {
    const EXAMPLE: &str = r#"{
        "type": "photo", "name": "My photo avatar", "file": { "type": "url", "url": "https://example.com/headshot.png" }
    }"#;
}

/// The material that a new look is made from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AvatarSource {
    /// A photo of a person.
    Photo,
    /// Footage of a person. The hosted service has it; this farm refuses it.
    DigitalTwin,
    /// A description. The hosted service has it; this farm refuses it.
    Prompt,
}

/// The look that a request has made, and the group that it belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AvatarCreated {
    /// The new look.
    pub avatar_item: AvatarLook,
    /// The group of the look.
    pub avatar_group: AvatarGroup,
}

/// A look: one picture of a person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AvatarLook {
    /// Id of the look: the `avatar_id` of a video.
    pub id: String,
    /// Name to show to people.
    pub name: String,
    /// The kind of the look.
    pub avatar_type: AvatarType,
    /// Id of the group that the look belongs to.
    pub group_id: Option<String>,
    /// Male or female; `null` where nobody has said.
    pub gender: Option<Gender>,
    /// Signed, expiring URL of the picture; `null` where the farm does not know how it is reached.
    pub preview_image_url: Option<String>,
    /// Always `null`.
    pub preview_video_url: Option<String>,
    /// Always `null`.
    pub default_voice_id: Option<String>,
    /// Words to find it by.
    pub tags: Vec<String>,
    /// Values of `engine` of a video.
    pub supported_api_engines: Vec<String>,
    /// Whether the look can present videos.
    pub status: Option<AvatarStatus>,
    /// Why the look cannot present; only if its status is `failed`. An extension.
    pub failure_message: Option<String>,
}

/// The kind of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AvatarType {
    /// A look that the hosted service has made in its studio.
    StudioAvatar,
    /// A look made from footage.
    DigitalTwin,
    /// A look made from a photo.
    PhotoAvatar,
}

/// Whether a look can present.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
#[schemars(inline)]
pub enum AvatarStatus {
    /// The farm is finding the face in the photo.
    Processing,
    /// The person has to consent first.
    PendingConsent,
    /// The look can present.
    Completed,
    /// The look cannot present.
    Failed,
}

/// A group: a person, with one or more looks.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AvatarGroup {
    /// Id of the group.
    pub id: String,
    /// Name to show to people.
    pub name: String,
    /// Male or female; `null` where nobody has said.
    pub gender: Option<Gender>,
    /// Signed, expiring URL of the picture of the group's first look.
    pub preview_image_url: Option<String>,
    /// Always `null`.
    pub preview_video_url: Option<String>,
    /// Number of looks in the group.
    pub looks_count: u32,
    /// Always `null`.
    pub default_voice_id: Option<String>,
    /// `pending` or `approved` once consent was asked for; `null` where it is not required.
    pub consent_status: Option<ConsentStatus>,
    /// Status of the group's newest look.
    pub status: Option<AvatarStatus>,
    /// Unix seconds of its creation.
    pub created_at: u64,
}

/// Whether a person has consented.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum ConsentStatus {
    /// The person has not answered yet.
    Pending,
    /// The person has consented.
    Approved,
}

/// Asks a person for consent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct ConsentRequest {
    /// Where the person is sent afterwards: an https URL.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reroute_url: Option<Text<2048>>,
}

impl Request for ConsentRequest {
    const EXAMPLE: &str = r#"{ "reroute_url": "https://example.com/consent-done" }"#;
    const IS_REQUIRED: bool = false;
}

/// A request for consent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ConsentBegun {
    /// The group of the person who is asked.
    pub avatar_group: AvatarGroup,
    /// The page for the person; it needs no key.
    pub url: String,
}

/// A page of groups.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct GroupsQuery {
    /// `private`: those of the caller's space. `public`: none, because this farm has no public ones.
    pub ownership: Option<Ownership>,
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 50>>,
    /// The next_token of the page before.
    pub token: Option<String>,
}

/// A page of looks.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(default)]
#[schemars(inline)]
pub struct LooksQuery {
    /// Only the looks of this group.
    pub group_id: Option<Text<64>>,
    /// Only the looks of this kind.
    pub avatar_type: Option<AvatarType>,
    /// `private`: those of the caller's space. `public`: none, because this farm has no public ones.
    pub ownership: Option<Ownership>,
    /// Items on a page.
    #[serde(deserialize_with = "number")]
    pub limit: Option<Bounded<u32, 1, 50>>,
    /// The next_token of the page before.
    pub token: Option<String>,
}

/// Whom an avatar belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
#[schemars(inline)]
pub enum Ownership {
    /// Everybody.
    Public,
    /// The caller's space.
    Private,
}

/// Changes a look or a group. What is absent stays.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default)]
pub struct AvatarChange {
    /// Name to show to people.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1))]
    pub name: Option<Text<200>>,
    /// Male or female.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gender: Option<Gender>,
    /// Words to find it by, at most 20; of looks only.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(length(max = 20))]
    pub tags: Option<Vec<Text<50>>>,
}

impl Request for AvatarChange {
    const EXAMPLE: &str = r#"{ "name": "Business casual", "tags": ["business"] }"#;
}

/// The answer to a deletion.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deleted {
    /// Id of what was deleted.
    pub id: String,
    /// Always true.
    pub deleted: bool,
}
