//! What storage has of a lipsync beside its render: a changed title, and the job of the engine before there is a render.
//!
//! **Invariant: a lipsync is its render, as soon as there is one.** A job is stored before the engine is asked, and removed once
//! its render is stored.

use bytes::Bytes;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use serde::{Deserialize, Serialize};
use tracing::warn;

use crate::clock::created_at_ms;
use crate::object_keys;
use crate::retention::Retention;
use crate::store::{if_found, newest_marks};

/// A lipsync that has no render: the engine is at it, or has failed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct JobRecord {
    pub(crate) title: Option<String>,
    pub(crate) callback_id: Option<String>,
    /// Unix milliseconds of the request.
    pub(crate) created_at_ms: u64,
    pub(crate) stage: JobStage,
}

/// What the engine does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum JobStage {
    /// It is at work. After this time, in Unix milliseconds, it is no more: its process has ended.
    Running(u64),
    /// It made nothing, for this reason.
    Failed(String),
}

fn folder(space: &Space, render: &RenderId) -> String {
    format!("lipsyncs/{space}/{render}")
}

fn job_key(space: &Space, render: &RenderId) -> String {
    format!("{}/job.json", folder(space, render))
}

fn title_key(space: &Space, render: &RenderId) -> String {
    format!("{}/title.json", folder(space, render))
}

/// Stores the job of a lipsync, which exists once this returns.
pub(crate) async fn put_job(
    objects: &Objects,
    space: &Space,
    render: &RenderId,
    job: &JobRecord,
) -> Result<(), ObjectsError> {
    objects.put_json(&job_key(space, render), job).await?;
    objects.put(&object_keys::space_lipsync(space, render), Bytes::from_static(b"{}")).await
}

/// The job of a lipsync without a render.
pub(crate) async fn job(
    objects: &Objects,
    space: &Space,
    render: &RenderId,
) -> Result<Option<JobRecord>, ObjectsError> {
    if_found(objects.get_json(&job_key(space, render)).await)
}

/// Removes a job whose render is stored.
pub(crate) async fn end_job(objects: &Objects, space: &Space, render: &RenderId) -> Result<(), ObjectsError> {
    objects.delete(&job_key(space, render)).await
}

/// Changes the title of a lipsync.
pub(crate) async fn put_title(
    objects: &Objects,
    space: &Space,
    render: &RenderId,
    title: &str,
) -> Result<(), ObjectsError> {
    objects.put_json(&title_key(space, render), &title).await
}

/// The title of a lipsync, where it was changed.
pub(crate) async fn title(objects: &Objects, space: &Space, render: &RenderId) -> Result<Option<String>, ObjectsError> {
    if_found(objects.get_json(&title_key(space, render)).await)
}

/// The ids of the lipsyncs of the space, newest first.
pub(crate) async fn ids(objects: &Objects, space: &Space) -> Result<Vec<String>, ObjectsError> {
    newest_marks(objects, &object_keys::space_lipsyncs(space)).await
}

/// Removes all of a lipsync but its render.
pub(crate) async fn delete(objects: &Objects, space: &Space, render: &RenderId) -> Result<(), ObjectsError> {
    objects.delete(&object_keys::space_lipsync(space, render)).await?;
    objects.delete_prefix(&folder(space, render)).await.map(drop)
}

/// Removes the lipsyncs that came to no render and are older than the renders that `retention` keeps in their space. Answers
/// their number.
pub(crate) async fn remove_expired(objects: &Objects, retention: &Retention, now_ms: u64) -> Result<u64, ObjectsError> {
    let mut removed = 0;
    for space in objects.list_dirs("lipsyncs").await? {
        let Ok(space) = space.trim_end_matches('/').parse::<Space>() else { continue };
        let Some(kept) = retention.renders.of(&space) else { continue };
        let before = now_ms.saturating_sub(kept.duration().as_millis() as u64);
        for render in objects.list_dirs(&format!("lipsyncs/{space}")).await? {
            let Ok(render) = render.trim_end_matches('/').parse::<RenderId>() else { continue };
            if created_at_ms(&render).is_none_or(|created| created >= before) {
                continue;
            }
            // What has a render goes with it.
            let has_job = match job(objects, &space, &render).await {
                Ok(job) => job.is_some(),
                Err(error @ ObjectsError::Corrupt { .. }) => {
                    warn!(%render, %error, "the job of a lipsync cannot be read, and is kept");
                    continue;
                }
                Err(error) => return Err(error),
            };
            if has_job && !objects.exists(&keys::request(&render)).await? {
                delete(objects, &space, &render).await?;
                removed += 1;
            }
        }
    }
    Ok(removed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const DAY: u64 = 24 * 3600 * 1000;

    #[tokio::test]
    async fn a_job_that_came_to_no_render_goes_once_it_is_old() {
        let objects = Objects::memory();
        let (alpha, beta): (Space, Space) = ("alpha".parse().unwrap(), "beta".parse().unwrap());
        let stored = async |space: &Space, at_ms: u64, has_render: bool| {
            let render = RenderId::from_parts(at_ms, at_ms);
            let stage = JobStage::Failed("it has no face".to_owned());
            let job = JobRecord { title: None, callback_id: None, created_at_ms: at_ms, stage };
            put_job(&objects, space, &render, &job).await.unwrap();
            put_title(&objects, space, &render, "Film").await.unwrap();
            if has_render {
                objects.put(&keys::request(&render), Bytes::from_static(b"{}")).await.unwrap();
            }
            render
        };
        let old = stored(&alpha, DAY, false).await;
        let rendered = stored(&alpha, DAY + 1, true).await;
        let new = stored(&alpha, 9 * DAY, false).await;
        let kept = stored(&beta, DAY, false).await;
        let retention = Retention { renders: "7d,beta=forever".parse().unwrap(), ..Retention::default() };
        assert_eq!(remove_expired(&objects, &retention, 8 * DAY).await.unwrap(), 0);
        assert_eq!(remove_expired(&objects, &retention, 10 * DAY).await.unwrap(), 1);
        let left = async |space: &Space| ids(&objects, space).await.unwrap();
        assert_eq!(left(&alpha).await, [new.to_string(), rendered.to_string()]);
        assert_eq!(left(&beta).await, [kept.to_string()]);
        assert_eq!(job(&objects, &alpha, &old).await.unwrap(), None);
        assert_eq!(title(&objects, &alpha, &old).await.unwrap(), None);
        assert_eq!(title(&objects, &alpha, &new).await.unwrap().as_deref(), Some("Film"));
    }
}
