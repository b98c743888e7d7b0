//! Avatars: groups, which are people, and their looks.
//!
//! **Invariant: who changes a record does not race with who finds its face.** A look's face has an object of its own, which
//! the coordinator that leads writes once, when the render that finds the face has ended.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_api::voices::Gender;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::spec::Size;
use serde::{Deserialize, Serialize};

use crate::presenter::Face;
use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};

/// A person.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct GroupRecord {
    pub(crate) id: String,
    pub(crate) space: Space,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) gender: Option<Gender>,
    /// Unix milliseconds of its creation.
    pub(crate) created_at_ms: u64,
    #[serde(default)]
    pub(crate) consent: Option<Consent>,
}

/// What a person was asked, and has answered.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Consent {
    /// What the address of the person's page has in it.
    pub(crate) token: String,
    /// Where the person is sent afterwards.
    pub(crate) reroute_url: Option<String>,
    /// Unix milliseconds of the question.
    pub(crate) asked_at_ms: u64,
    /// Unix milliseconds of the person's consent.
    pub(crate) approved_at_ms: Option<u64>,
}

/// A look.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct LookRecord {
    pub(crate) id: String,
    pub(crate) group: String,
    pub(crate) space: Space,
    pub(crate) name: String,
    #[serde(default)]
    pub(crate) gender: Option<Gender>,
    #[serde(default)]
    pub(crate) tags: Vec<String>,
    /// Object key of the photo.
    pub(crate) photo: String,
    /// Pixels of the photo.
    pub(crate) size: Size,
    /// The render that finds the face.
    pub(crate) render: RenderId,
    /// Unix milliseconds of its creation.
    pub(crate) created_at_ms: u64,
}

/// What was found of the face of a look.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum FoundFace {
    /// The face.
    Found(Face),
    /// Why there is none.
    Missing(String),
}

impl LookRecord {
    /// Object key of the photo of a look.
    pub(crate) fn photo_key(space: &Space, id: &str, extension: &str) -> String {
        format!("looks/{space}/{id}{extension}")
    }
}

fn groups_folder(space: &Space) -> String {
    format!("spaces/{space}/avatars")
}

fn group_key(space: &Space, id: &str) -> String {
    format!("{}/{id}/group.json", groups_folder(space))
}

fn marks_folder(space: &Space, group: &str) -> String {
    format!("{}/{group}/looks", groups_folder(space))
}

fn look_mark(space: &Space, group: &str, look: &str) -> String {
    format!("{}/{look}", marks_folder(space, group))
}

fn looks_folder(space: &Space) -> String {
    format!("spaces/{space}/looks")
}

fn look_key(space: &Space, id: &str) -> String {
    format!("{}/{id}.json", looks_folder(space))
}

fn face_key(space: &Space, id: &str) -> String {
    format!("spaces/{space}/faces/{id}.json")
}

/// Whether the text can be part of an object key.
fn is_id(id: &str) -> bool {
    !id.is_empty() && id.len() <= 64 && id.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-')
}

/// Stores a group.
pub(crate) async fn put_group(objects: &Objects, group: &GroupRecord) -> Result<(), ObjectsError> {
    objects.put_json(&group_key(&group.space, &group.id), group).await
}

/// The group of the space with this id.
pub(crate) async fn group(objects: &Objects, space: &Space, id: &str) -> Result<Option<GroupRecord>, ObjectsError> {
    if !is_id(id) {
        return Ok(None);
    }
    if_found(objects.get_json(&group_key(space, id)).await)
}

/// The looks of each group of the space, oldest first, by the groups' ids.
pub(crate) async fn groups(objects: &Objects, space: &Space) -> Result<BTreeMap<String, Vec<String>>, ObjectsError> {
    let folder = format!("{}/", groups_folder(space));
    let mut groups: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for meta in objects.list(&groups_folder(space)).await? {
        let Some(path) = meta.key.strip_prefix(&folder) else { continue };
        match path.split('/').collect::<Vec<_>>()[..] {
            [group, "group.json"] => drop(groups.entry(group.to_owned()).or_default()),
            [group, "looks", look] => groups.entry(group.to_owned()).or_default().push(look.to_owned()),
            _ => {}
        }
    }
    groups.values_mut().for_each(|looks| looks.sort());
    Ok(groups)
}

/// The looks of a group, oldest first.
pub(crate) async fn looks_of(objects: &Objects, group: &GroupRecord) -> Result<Vec<String>, ObjectsError> {
    let listed = objects.list(&marks_folder(&group.space, &group.id)).await?;
    let mut looks: Vec<String> =
        listed.iter().filter_map(|meta| meta.key.rsplit('/').next().map(str::to_owned)).collect();
    looks.sort();
    Ok(looks)
}

/// Stores a look. It is part of its group once this returns.
pub(crate) async fn put_look(objects: &Objects, look: &LookRecord) -> Result<(), ObjectsError> {
    objects.put_json(&look_key(&look.space, &look.id), look).await?;
    objects.put(&look_mark(&look.space, &look.group, &look.id), Bytes::from_static(b"{}")).await
}

/// The look of the space with this id.
pub(crate) async fn look(objects: &Objects, space: &Space, id: &str) -> Result<Option<LookRecord>, ObjectsError> {
    if !is_id(id) {
        return Ok(None);
    }
    if_found(objects.get_json(&look_key(space, id)).await)
}

/// All looks of the space, newest first.
pub(crate) async fn looks(objects: &Objects, space: &Space) -> Result<Vec<LookRecord>, ObjectsError> {
    let listed = objects.list(&looks_folder(space)).await?;
    let reads = listed.into_iter().map(|meta| async move { if_found(objects.get_json::<LookRecord>(&meta.key).await) });
    let found: Vec<Option<LookRecord>> = stream::iter(reads).buffered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
    let mut looks: Vec<LookRecord> = found.into_iter().flatten().collect();
    looks.sort_by(|a, b| b.id.cmp(&a.id));
    Ok(looks)
}

/// What was found of the face of a look; `None` while it is looked for.
pub(crate) async fn face(objects: &Objects, space: &Space, look: &str) -> Result<Option<FoundFace>, ObjectsError> {
    if_found(objects.get_json(&face_key(space, look)).await)
}

/// Stores what was found of the face of a look.
pub(crate) async fn put_face(
    objects: &Objects,
    space: &Space,
    look: &str,
    found: &FoundFace,
) -> Result<(), ObjectsError> {
    objects.put_json(&face_key(space, look), found).await
}

/// Removes a look: its record first, so that nobody finds it any more.
pub(crate) async fn delete_look(objects: &Objects, look: &LookRecord) -> Result<(), ObjectsError> {
    objects.delete(&look_key(&look.space, &look.id)).await?;
    objects.delete(&look_mark(&look.space, &look.group, &look.id)).await?;
    objects.delete(&face_key(&look.space, &look.id)).await?;
    objects.delete(&look.photo).await
}

/// Removes a group with its looks.
pub(crate) async fn delete_group(objects: &Objects, group: &GroupRecord) -> Result<(), ObjectsError> {
    objects.delete(&group_key(&group.space, &group.id)).await?;
    for id in looks_of(objects, group).await? {
        match look(objects, &group.space, &id).await? {
            Some(look) => delete_look(objects, &look).await?,
            None => objects.delete(&look_mark(&group.space, &group.id, &id)).await?,
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_group_goes_with_its_looks() {
        let (objects, space) = (Objects::memory(), Space::default());
        let group_of = |id: &str| GroupRecord {
            id: id.to_owned(),
            space: space.clone(),
            name: "Ann".to_owned(),
            gender: None,
            created_at_ms: 1,
            consent: None,
        };
        let look_of = |id: &str, group: &str| LookRecord {
            id: id.to_owned(),
            group: group.to_owned(),
            space: space.clone(),
            name: "Suit".to_owned(),
            gender: None,
            tags: Vec::new(),
            photo: LookRecord::photo_key(&space, id, ".png"),
            size: Size { width: 1, height: 1 },
            render: "r1".parse().unwrap(),
            created_at_ms: 1,
        };
        for (id, group) in [("look_1", "group_1"), ("look_2", "group_1"), ("look_3", "group_2")] {
            put_group(&objects, &group_of(group)).await.unwrap();
            put_look(&objects, &look_of(id, group)).await.unwrap();
            objects.put(&look_of(id, group).photo, Bytes::from_static(b"x")).await.unwrap();
            put_face(&objects, &space, id, &FoundFace::Missing("no face".to_owned())).await.unwrap();
        }
        let listed = groups(&objects, &space).await.unwrap();
        assert_eq!(listed["group_1"], ["look_1", "look_2"]);
        let ids = |looks: Vec<LookRecord>| looks.into_iter().map(|look| look.id).collect::<Vec<_>>();
        assert_eq!(ids(looks(&objects, &space).await.unwrap()), ["look_3", "look_2", "look_1"]);
        delete_group(&objects, &group_of("group_1")).await.unwrap();
        assert_eq!(ids(looks(&objects, &space).await.unwrap()), ["look_3"]);
        let left: Vec<String> = objects.list("").await.unwrap().into_iter().map(|meta| meta.key).collect();
        assert_eq!(left.len(), 5, "the other group, its look with its mark, photo and face: {left:?}");
        assert_eq!(group(&objects, &space, "../x").await.unwrap(), None);
        assert_eq!(look(&objects, &space, "a/b").await.unwrap(), None);
    }
}
