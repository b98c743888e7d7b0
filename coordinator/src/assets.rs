//! Assets: uploaded files of a space, each with a record and the bytes.
//!
//! **Invariant: the bytes of a complete asset do not change.** A signed URL can only write to `incoming/`. On completion the bytes are
//! copied to a key that contains their hash. An upload that is not complete has a mark in `unfinished/` until it is completed or expires.

use bytes::Bytes;
use hyperfarm_api::assets::AssetKind;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{ContentHash, Space};
use serde::{Deserialize, Serialize};

use crate::presenter::SpokenWord;
use crate::store::if_found;

/// The accepted media types and their kinds.
pub(crate) const ACCEPTED_TYPES: [(&str, AssetKind); 9] = [
    ("image/png", AssetKind::Image),
    ("image/jpeg", AssetKind::Image),
    ("video/mp4", AssetKind::Video),
    ("video/webm", AssetKind::Video),
    ("audio/mpeg", AssetKind::Audio),
    ("audio/wav", AssetKind::Audio),
    ("application/pdf", AssetKind::Document),
    ("application/x-subrip", AssetKind::Document),
    ("application/zip", AssetKind::Document),
];

/// The kind of a media type.
pub(crate) fn kind_of(mime_type: &str) -> AssetKind {
    ACCEPTED_TYPES.iter().find(|(known, _)| *known == mime_type).map_or(AssetKind::Document, |(_, kind)| *kind)
}

/// The media type as this farm names it, of one that clients announce.
pub(crate) fn canonical(mime_type: &str) -> &str {
    match mime_type {
        "application/x-zip-compressed" => "application/zip",
        "audio/mp3" => "audio/mpeg",
        "audio/x-wav" => "audio/wav",
        "text/plain" => "application/x-subrip",
        other => other,
    }
}

/// The file extension of an accepted media type, with its dot.
pub(crate) fn extension_of(mime_type: &str) -> &'static str {
    match mime_type {
        "image/png" => ".png",
        "image/jpeg" => ".jpg",
        "video/mp4" => ".mp4",
        "video/webm" => ".webm",
        "audio/mpeg" => ".mp3",
        "audio/wav" => ".wav",
        "application/pdf" => ".pdf",
        "application/x-subrip" => ".srt",
        "application/zip" => ".zip",
        _ => "",
    }
}

/// The stored record of an asset.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct AssetRecord {
    /// Id of the asset.
    pub(crate) id: String,
    /// The tenant it belongs to.
    pub(crate) space: Space,
    /// Name of the file.
    pub(crate) name: String,
    /// Media type: the announced one until the upload is complete, then the one that the bytes have.
    pub(crate) mime_type: String,
    /// The ending of the object key of the bytes, with its dot: URLs then say what the file is. Empty in records of
    /// older farms.
    #[serde(default)]
    pub(crate) extension: String,
    /// Length in bytes. Until the upload is complete it is the announced one, 0 if none.
    pub(crate) bytes: u64,
    /// SHA-256 of the bytes. Until the upload is complete it is the announced one, if any.
    pub(crate) checksum: Option<ContentHash>,
    /// Name of the API key that created it.
    pub(crate) owner: String,
    /// Unix milliseconds of its creation.
    pub(crate) created_at_ms: u64,
    /// Whether the bytes are stored and were checked.
    pub(crate) is_complete: bool,
}

impl AssetRecord {
    /// Object key of the bytes; `None` until the upload is complete.
    pub(crate) fn data_key(&self) -> Option<String> {
        let hash = self.checksum.filter(|_| self.is_complete)?;
        Some(format!("assets/{}/{}-{hash}{}", self.space, self.id, self.extension))
    }

    /// The length that was announced for the upload; `None` where the client did not know it.
    pub(crate) fn announced_bytes(&self) -> Option<u64> {
        (self.bytes > 0).then_some(self.bytes)
    }

    /// Object key to which a direct upload is written.
    pub(crate) fn incoming_key(&self) -> String {
        format!("{INCOMING}/{}/{}", self.space, self.id)
    }

    fn unfinished_mark(&self) -> String {
        format!("{UNFINISHED}/{}/{}", self.space, self.id)
    }
}

/// Folder that signed URLs can write to.
const INCOMING: &str = "incoming";

/// Folder of the marks of unfinished uploads.
const UNFINISHED: &str = "unfinished";

fn record_key(space: &Space, id: &str) -> String {
    format!("spaces/{space}/assets/{id}.json")
}

/// Whether the text can be the id of an asset, and so part of an object key.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Stores a record.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn put(objects: &Objects, record: &AssetRecord) -> Result<(), ObjectsError> {
    // The mark is stored before the record of an unfinished upload, and removed after that of a complete one.
    if !record.is_complete {
        objects.put(&record.unfinished_mark(), Bytes::from_static(b"{}")).await?;
    }
    objects.put_json(&record_key(&record.space, &record.id), record).await?;
    if record.is_complete {
        objects.delete(&record.unfinished_mark()).await?;
        objects.delete(&record.incoming_key()).await?;
    }
    Ok(())
}

/// Removes uploads that began before `before_ms` (Unix milliseconds) and are not complete. Answers their number.
///
/// # Errors
///
/// Storage did not answer, or a record cannot be read.
pub(crate) async fn remove_unfinished(objects: &Objects, before_ms: u64) -> Result<u64, ObjectsError> {
    let mut removed = 0;
    // Bytes that were uploaded after the asset was completed or deleted have no mark.
    for folder in [UNFINISHED, INCOMING] {
        for meta in objects.list(folder).await? {
            let [_, space, id] = meta.key.split('/').collect::<Vec<_>>()[..] else { continue };
            let Ok(space) = space.parse::<Space>() else { continue };
            if begun_at(id).is_none_or(|begun| begun >= before_ms) {
                continue;
            }
            if let Some(record) = get(objects, &space, id).await?.filter(|record| !record.is_complete) {
                delete(objects, &record).await?;
                removed += 1;
            }
            objects.delete(&meta.key).await?;
        }
    }
    Ok(removed)
}

/// Unix milliseconds at which the id was made, which is part of it.
fn begun_at(id: &str) -> Option<u64> {
    u64::from_str_radix(id.split_once('_')?.1.get(..12)?, 16).ok()
}

/// No longer counts an upload whose bytes have arrived and that will not be complete. They are removed with other old
/// uploads.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn has_arrived(objects: &Objects, record: &AssetRecord) -> Result<(), ObjectsError> {
    objects.delete(&record.unfinished_mark()).await
}

/// How many uploads of the space are announced and have not arrived.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn unfinished(objects: &Objects, space: &Space) -> Result<usize, ObjectsError> {
    Ok(objects.list(&format!("{UNFINISHED}/{space}")).await?.len())
}

/// The record of an asset of the space, if there is one.
///
/// # Errors
///
/// Storage did not answer, or the record cannot be read.
pub(crate) async fn get(objects: &Objects, space: &Space, id: &str) -> Result<Option<AssetRecord>, ObjectsError> {
    if !is_id(id) {
        return Ok(None);
    }
    if_found(objects.get_json(&record_key(space, id)).await)
}

/// Ids of the assets of the space, newest first.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn ids(objects: &Objects, space: &Space) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(&format!("spaces/{space}/assets")).await?;
    let name = |key: &str| Some(key.rsplit('/').next()?.strip_suffix(".json")?.to_owned());
    let mut ids: Vec<String> = listed.iter().filter_map(|meta| name(&meta.key)).collect();
    ids.sort();
    ids.reverse();
    Ok(ids)
}

fn words_key(space: &Space, id: &str) -> String {
    format!("words/{space}/{id}.json")
}

/// Stores the words of an asset that the farm has spoken.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn put_words(
    objects: &Objects,
    record: &AssetRecord,
    words: &[SpokenWord],
) -> Result<(), ObjectsError> {
    objects.put_json(&words_key(&record.space, &record.id), &words).await
}

/// The words of an asset of the space, where the farm has spoken it and knows when.
///
/// # Errors
///
/// Storage did not answer, or they cannot be read.
pub(crate) async fn words(objects: &Objects, space: &Space, id: &str) -> Result<Option<Vec<SpokenWord>>, ObjectsError> {
    if !is_id(id) {
        return Ok(None);
    }
    if_found(objects.get_json(&words_key(space, id)).await)
}

/// Removes an asset: first its record, so that nobody finds it any more, then its bytes.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn delete(objects: &Objects, record: &AssetRecord) -> Result<(), ObjectsError> {
    objects.delete(&record_key(&record.space, &record.id)).await?;
    if let Some(key) = record.data_key() {
        objects.delete(&key).await?;
    }
    objects.delete(&words_key(&record.space, &record.id)).await?;
    objects.delete(&record.incoming_key()).await?;
    objects.delete(&record.unfinished_mark()).await
}

/// The media type of a file that begins with `start`. Its `name` decides only for text that has no signature of its own.
pub(crate) fn sniff(start: &[u8], name: &str) -> Option<&'static str> {
    let at = |offset: usize, signature: &[u8]| start.get(offset..).is_some_and(|rest| rest.starts_with(signature));
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
    // An ID3 tag, or a frame header: eleven set bits and a layer that is not reserved.
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
    async fn an_upload_that_nobody_completed_is_removed_away_and_a_complete_one_is_not() {
        let objects = Objects::memory();
        let record = |at_ms: u64, is_complete: bool| AssetRecord {
            id: format!("asset_{at_ms:012x}0123456789abcdef"),
            space: Space::default(),
            name: "a.zip".to_owned(),
            mime_type: "application/zip".to_owned(),
            extension: ".zip".to_owned(),
            bytes: 2,
            checksum: Some(ContentHash::of(b"PK")),
            owner: "ci".to_owned(),
            created_at_ms: at_ms,
            is_complete,
        };
        for at_ms in [1000, 2000, 3000] {
            put(&objects, &record(at_ms, false)).await.unwrap();
            objects.put(&record(at_ms, false).incoming_key(), Bytes::from_static(b"PK")).await.unwrap();
        }
        objects.put(&record(2000, true).data_key().unwrap(), Bytes::from_static(b"PK")).await.unwrap();
        put(&objects, &record(2000, true)).await.unwrap();
        // Written by a URL that was still good.
        objects.put(&record(2000, true).incoming_key(), Bytes::from_static(b"XX")).await.unwrap();
        assert_eq!(remove_unfinished(&objects, 2500).await.unwrap(), 1);
        let mut left = ids(&objects, &Space::default()).await.unwrap();
        left.reverse();
        assert_eq!(left, [record(2000, true).id, record(3000, false).id]);
        let keys: Vec<String> = objects.list("").await.unwrap().into_iter().map(|meta| meta.key).collect();
        assert_eq!(keys.len(), 5, "one whole asset, and one upload that may still come: {keys:?}");
        assert_eq!(objects.get(&record(2000, true).data_key().unwrap()).await.unwrap(), "PK");
    }

    #[tokio::test]
    async fn an_id_is_not_a_path() {
        for id in ["", "..", "a/b", "../renders/x"] {
            assert_eq!(get(&Objects::memory(), &Space::default(), id).await.unwrap(), None, "{id}");
        }
    }
}
