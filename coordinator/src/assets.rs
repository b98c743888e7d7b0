//! Uploaded files: a record and the bytes, both of a space.

use bytes::Bytes;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, Space};
use serde::{Deserialize, Serialize};

use crate::store::if_found;

/// Kinds of files that are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A picture.
    Image,
    /// A video.
    Video,
    /// A sound.
    Audio,
    /// Anything else.
    Document,
}

/// Media types that are taken, and what they are.
pub const TYPES: [(&str, Kind); 9] = [
    ("image/png", Kind::Image),
    ("image/jpeg", Kind::Image),
    ("video/mp4", Kind::Video),
    ("video/webm", Kind::Video),
    ("audio/mpeg", Kind::Audio),
    ("audio/wav", Kind::Audio),
    ("application/pdf", Kind::Document),
    ("application/x-subrip", Kind::Document),
    ("application/zip", Kind::Document),
];

impl Kind {
    /// The word for a media type.
    pub fn of(mime_type: &str) -> &'static str {
        match TYPES.iter().find(|(known, _)| *known == mime_type).map(|(_, kind)| kind) {
            Some(Self::Image) => "image",
            Some(Self::Video) => "video",
            Some(Self::Audio) => "audio",
            _ => "document",
        }
    }
}

/// What is stored of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AssetRecord {
    /// Its id.
    pub id: String,
    /// The tenant it belongs to.
    pub space: Space,
    /// The file's name.
    pub name: String,
    /// Media type: as announced until the bytes are there, then as the bytes say.
    pub mime_type: String,
    /// Length in bytes.
    pub bytes: u64,
    /// SHA-256 of the bytes, where it was announced.
    pub checksum: Option<ContentHash>,
    /// Name of the key that made it.
    pub owner: String,
    /// Unix milliseconds.
    pub created_at_ms: u64,
    /// Whether the bytes are there and were checked.
    pub is_complete: bool,
}

impl AssetRecord {
    /// Object key of the bytes.
    pub fn data_key(&self) -> String {
        format!("assets/{}/{}", self.space, self.id)
    }
}

fn record_key(space: &Space, id: &str) -> String {
    format!("spaces/{space}/assets/{id}.json")
}

/// Whether the text can be an asset's id, and so a part of a key.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Stores a record.
pub async fn put(objects: &Objects, record: &AssetRecord) -> Result<(), ObjectsError> {
    objects.put_json(&record_key(&record.space, &record.id), record).await
}

/// The space's asset, if there is one.
pub async fn get(objects: &Objects, space: &Space, id: &str) -> Result<Option<AssetRecord>, ObjectsError> {
    if !is_id(id) {
        return Ok(None);
    }
    if_found(objects.get_json(&record_key(space, id)).await)
}

/// Ids of the space's assets, newest first.
pub async fn ids(objects: &Objects, space: &Space) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(&format!("spaces/{space}/assets")).await?;
    let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
    let mut ids: Vec<String> = listed.iter().filter_map(|meta| name(&meta.key)).collect();
    ids.sort();
    ids.reverse();
    Ok(ids)
}

/// Removes an asset. The record first: without it nobody finds the bytes.
pub async fn delete(objects: &Objects, record: &AssetRecord) -> Result<(), ObjectsError> {
    objects.delete(&record_key(&record.space, &record.id)).await?;
    objects.delete(&record.data_key()).await
}

/// The first bytes of an asset, as many as [`sniff`] looks at.
pub async fn head(objects: &Objects, key: &str) -> Result<Bytes, ObjectsError> {
    use futures::TryStreamExt;
    let (_, stream) = objects.stream(key, Some(0..512)).await?;
    let parts: Vec<Bytes> = stream.try_collect().await?;
    Ok(parts.concat().into())
}

/// What the bytes are, by their beginning; `name` decides only where text has no mark of its own.
pub fn sniff(start: &[u8], name: &str) -> Option<&'static str> {
    let at = |offset: usize, mark: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(mark));
    if at(0, b"\x89PNG\r\n\x1a\n") {
        return Some("image/png");
    }
    if at(0, b"\xff\xd8\xff") {
        return Some("image/jpeg");
    }
    if at(4, b"ftyp") {
        return Some("video/mp4");
    }
    if at(0, b"\x1a\x45\xdf\xa3") {
        return Some("video/webm");
    }
    if at(0, b"RIFF") && at(8, b"WAVE") {
        return Some("audio/wav");
    }
    // A tag, or the eleven set bits of a frame with a layer that is not reserved.
    let is_frame = matches!(start, [0xff, second, ..] if second & 0xe0 == 0xe0 && second & 0x06 != 0);
    if at(0, b"ID3") || is_frame {
        return Some("audio/mpeg");
    }
    if at(0, b"%PDF-") {
        return Some("application/pdf");
    }
    if at(0, b"PK\x03\x04") || at(0, b"PK\x05\x06") {
        return Some("application/zip");
    }
    let text = std::str::from_utf8(start).unwrap_or_default();
    let is_subtitle = text.trim_start_matches('\u{feff}').lines().take(3).any(|line| line.contains("-->"));
    (is_subtitle || (name.to_ascii_lowercase().ends_with(".srt") && !text.is_empty())).then_some("application/x-subrip")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_say_what_they_are() {
        for (start, name, expected) in [
            (&b"\x89PNG\r\n\x1a\n...."[..], "a", Some("image/png")),
            (b"\xff\xd8\xff\xe0", "a", Some("image/jpeg")),
            (b"\0\0\0\x20ftypisom", "a", Some("video/mp4")),
            (b"\x1a\x45\xdf\xa3", "a", Some("video/webm")),
            (b"RIFF\0\0\0\0WAVEfmt ", "a", Some("audio/wav")),
            (b"RIFF\0\0\0\0WEBPVP8 ", "a", None),
            (b"ID3\x04", "a", Some("audio/mpeg")),
            (b"\xff\xfb\x90", "a", Some("audio/mpeg")),
            (b"%PDF-1.7", "a", Some("application/pdf")),
            (b"PK\x03\x04", "a", Some("application/zip")),
            (b"1\n00:00:01,000 --> 00:00:02,000\nHi", "a", Some("application/x-subrip")),
            (b"<html>", "x.zip", None),
            (b"MZ\x90", "a.png", None),
            (b"", "a.srt", None),
        ] {
            assert_eq!(sniff(start, name), expected, "{start:?}");
        }
    }

    #[tokio::test]
    async fn an_id_is_not_a_path() {
        for id in ["", "..", "a/b", "../renders/x"] {
            assert_eq!(get(&Objects::memory(), &Space::default(), id).await.unwrap(), None, "{id}");
        }
    }
}
