//! How long ended renders and their segments are kept, and their removal.
//!
//! At its end a render gets a mark for each removal that is to come, in the folder of the hour in which it is due. A sweep
//! looks only into folders whose hour has begun, so its cost depends on what is due, and not on what is kept.
//!
//! **Invariant: only what ended then is removed.** A mark has the time of the end that it was made at. A render that is
//! open again, or ended again later, is left to the marks of its next end.

use std::collections::BTreeMap;
use std::str::FromStr;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::metrics::Expired;
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use hyperfarm_proto::keys;
use hyperfarm_proto::record::TerminalState;
use hyperfarm_proto::spec::KeepFor;
use serde::{Deserialize, Serialize};
use tracing::{info, warn};

use crate::coordinator::{Coordinator, RenderError};
use crate::lipsync::records;
use crate::object_keys;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::{Intake, Purpose};
use crate::translation;

const HOUR_MS: u64 = 3600 * 1000;

/// How long something is kept; `None` is for ever.
type Kept = Option<KeepFor>;

/// How long ended renders and their segments are kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// A render with all of its files, and a session of the agent after its last message.
    pub renders: KeptBySpace,
    /// The segments of a render, from which its video was joined. Those of a failed one are taken over by a retry.
    pub segments: KeptBySpace,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            renders: KeptBySpace::default(),
            segments: KeptBySpace { others: Some(KeepFor::WEEK), ..Default::default() },
        }
    }
}

/// A time for every space, and others for some. As text: `30d,alpha=7d,beta=forever`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct KeptBySpace {
    others: Kept,
    by_space: BTreeMap<Space, Kept>,
}

impl KeptBySpace {
    pub(crate) fn of(&self, space: &Space) -> Kept {
        self.by_space.get(space).copied().unwrap_or(self.others)
    }
}

fn kept(text: &str) -> Result<Kept, String> {
    if text == "forever" {
        return Ok(None);
    }
    text.parse().map(Some).map_err(|error| format!("{error}, or forever"))
}

impl FromStr for KeptBySpace {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let mut read = Self::default();
        let mut has_others = false;
        for part in text.split(',').map(str::trim).filter(|part| !part.is_empty()) {
            match part.split_once('=') {
                Some((space, time)) => {
                    let space = space.trim().parse().map_err(|error| format!("`{space}` is no space: {error}"))?;
                    read.by_space.insert(space, kept(time.trim())?);
                }
                None if has_others => {
                    return Err(format!("`{part}` is a second time for every space; write `space={part}`"));
                }
                None => (read.others, has_others) = (kept(part)?, true),
            }
        }
        Ok(read)
    }
}

/// What is removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Part {
    Render,
    Segments,
}

/// The mark of a removal that is to come.
#[derive(Debug, Serialize, Deserialize)]
struct Mark {
    render: RenderId,
    part: Part,
    /// Unix milliseconds of the end at which it was made.
    ended_at_ms: u64,
}

impl Mark {
    /// It is due in the first hour that begins after its time is over.
    fn key(&self, kept: KeepFor) -> String {
        let hour = self.ended_at_ms.saturating_add(kept.duration().as_millis() as u64).div_ceil(HOUR_MS);
        let part = match self.part {
            Part::Render => "render",
            Part::Segments => "segments",
        };
        object_keys::expiry_mark(hour, &self.render, part)
    }
}

impl Retention {
    /// Stores the marks of a render that has ended.
    ///
    /// # Errors
    ///
    /// Storage did not answer.
    pub(crate) async fn mark(
        &self,
        objects: &Objects,
        render: &RenderId,
        keep_for: Kept,
        intake: &Intake,
        state: &TerminalState,
    ) -> Result<(), ObjectsError> {
        let of_farm = self.renders.of(&intake.space);
        // A render may be kept for less than the farm keeps renders.
        let renders = of_farm.into_iter().chain(keep_for).min();
        let segments =
            self.segments.of(&intake.space).filter(|segments| renders.is_none_or(|renders| *segments < renders));
        for (part, kept) in [(Part::Render, renders), (Part::Segments, segments)] {
            let mark = Mark { render: render.clone(), part, ended_at_ms: state.ended_at_ms };
            if let Some(kept) = kept {
                objects.put_json(&mark.key(kept), &mark).await?;
            }
        }
        Ok(())
    }
}

/// Removes what is due at `now_ms` (Unix milliseconds). Answers the number of removals.
///
/// # Errors
///
/// Storage did not answer.
pub(crate) async fn remove_expired(coordinator: &Coordinator, now_ms: u64) -> Result<u64, ObjectsError> {
    let objects = &coordinator.backplane().objects;
    let mut removed = 0;
    for folder in objects.list_dirs(object_keys::EXPIRY_MARKS).await? {
        if !folder.parse::<u64>().is_ok_and(|hour| hour <= now_ms / HOUR_MS) {
            continue;
        }
        for meta in objects.list(&format!("{}/{folder}", object_keys::EXPIRY_MARKS)).await? {
            let Some(mark) = if_found(objects.get_json::<Mark>(&meta.key).await)? else { continue };
            match remove(coordinator, &mark).await {
                Ok(is_removed) => removed += u64::from(is_removed),
                Err(error) => {
                    warn!(render = %mark.render, part = ?mark.part, %error, "what has expired could not be removed, it is removed later");
                    continue;
                }
            }
            objects.delete(&meta.key).await?;
        }
    }
    Ok(removed)
}

/// Answers whether there was something to remove.
async fn remove(coordinator: &Coordinator, mark: &Mark) -> Result<bool, RenderError> {
    let Mark { render, part, ended_at_ms } = mark;
    let backplane = coordinator.backplane();
    let objects = &backplane.objects;
    let state = store::state(objects, render).await?;
    let is_of_this_end = state.is_some_and(|state| state.ended_at_ms == *ended_at_ms);
    if !is_of_this_end || store::is_deleted(objects, render).await? {
        return Ok(false);
    }
    match part {
        Part::Segments => {
            let listed = objects.list(&keys::segments_prefix(render)).await?;
            // The pictures of chunks are small, and people look at them.
            let segments = listed.into_iter().map(|meta| meta.key).filter(|key| keys::parse_segment(key).is_some());
            let expired: Vec<String> = segments.flat_map(|key| [keys::segment_record(&key), key]).collect();
            stream::iter(expired)
                .map(|key| async move { objects.delete(&key).await })
                .buffer_unordered(MAX_CONCURRENT_REQUESTS)
                .try_collect::<()>()
                .await?;
            info!(%render, "the segments of an ended render have expired and were removed");
            backplane.metrics.expired(Expired::Segments);
        }
        Part::Render => {
            let intake = store::intake(objects, render).await?;
            coordinator.delete(render).await?;
            if let Some(Intake { space, purpose, .. }) = intake {
                match purpose {
                    Purpose::Video { .. } | Purpose::Agent(_) => {
                        objects.delete(&object_keys::space_video(&space, render)).await?;
                    }
                    Purpose::Lipsync(_) => records::delete(objects, &space, render).await?,
                    Purpose::Translation(_) => translation::records::delete(objects, &space, render).await?,
                    Purpose::Render | Purpose::Look(_) => {}
                }
            }
            info!(%render, "an ended render has expired and was removed");
            backplane.metrics.expired(Expired::Render);
        }
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use bytes::Bytes;
    use hyperfarm_api::lipsyncs::LipsyncMode;
    use hyperfarm_backplane::Backplane;
    use hyperfarm_backplane::drain::Drain;
    use hyperfarm_proto::failure::{Failure, FailureCode};
    use hyperfarm_proto::id::ContentHash;
    use hyperfarm_proto::record::Outcome;
    use hyperfarm_proto::spec::{Format, RenderRequest, RenderSpec};

    use super::*;
    use crate::config::CoordinatorConfig;

    #[test]
    fn times_are_read_by_space() {
        let read: KeptBySpace = "30d, alpha=7d,beta=forever".parse().unwrap();
        let of = |space: &str| read.of(&space.parse().unwrap()).map(KeepFor::duration);
        let days = |days: u64| Some(Duration::from_secs(days * 24 * 3600));
        assert_eq!((of("alpha"), of("beta"), of("default")), (days(7), None, days(30)));
        assert_eq!("forever".parse(), Ok(KeptBySpace::default()));
        for (bad, reason) in
            [("7", "12h or 30d"), ("30d,7d", "a second time"), ("a b=7d", "is no space"), ("10m", "1h")]
        {
            let error = bad.parse::<KeptBySpace>().unwrap_err();
            assert!(error.contains(reason), "{bad}: {error}");
        }
    }

    /// Stores a render of the default space that has failed at this time, with a segment, and its marks.
    async fn ended(objects: &Objects, id: &str, ended_at_ms: u64, retention: &Retention, keep_for: Kept) -> RenderId {
        let render: RenderId = id.parse().unwrap();
        let (bundle, spec) = (ContentHash::of(b"x"), RenderSpec::default());
        let request = RenderRequest { id: render.clone(), created_at_ms: 1, bundle, spec };
        let (failure, history) = (Failure::new(FailureCode::ScriptError, "x is not defined"), Vec::new());
        let state = TerminalState { ended_at_ms, outcome: Outcome::Failed { failure, history } };
        let intake = Intake::default();
        objects.put_json(&keys::request(&render), &request).await.unwrap();
        objects.put_json(&object_keys::intake(&render), &intake).await.unwrap();
        objects.put_json(&keys::state(&render), &state).await.unwrap();
        let segment = segment(&render);
        for key in [keys::segment_record(&segment), keys::segment_thumbnail(&segment), segment] {
            objects.put(&key, Bytes::from_static(b"x")).await.unwrap();
        }
        retention.mark(objects, &render, keep_for, &intake, &state).await.unwrap();
        render
    }

    fn segment(render: &RenderId) -> String {
        keys::segment(render, 0, 1, &ContentHash::of(b"segment"), Format::Mp4)
    }

    #[tokio::test]
    async fn segments_go_before_their_render_and_an_end_has_its_own_times() {
        let backplane = Backplane::ephemeral(Objects::memory());
        let (objects, drain) = (backplane.objects.clone(), Drain::new());
        let coordinator = Coordinator::start(backplane, CoordinatorConfig::default(), drain.clone());
        let retention = Retention { renders: "4d".parse().unwrap(), segments: "1d".parse().unwrap() };
        let day = 24 * HOUR_MS;
        let usual = ended(&objects, "usual", 10 * day, &retention, None).await;
        let short = ended(&objects, "short", 10 * day, &retention, Some("2h".parse().unwrap())).await;
        let long = ended(&objects, "long", 10 * day, &retention, Some("90d".parse().unwrap())).await;
        let again = ended(&objects, "again", 10 * day, &retention, None).await;
        // It was open in between.
        ended(&objects, "again", 12 * day, &retention, None).await;
        let has_segment = async |render: &RenderId| objects.exists(&segment(render)).await.unwrap();
        let is_there = async |render: &RenderId| !store::is_deleted(&objects, render).await.unwrap();

        assert_eq!(remove_expired(&coordinator, 10 * day + 2 * HOUR_MS - 1).await.unwrap(), 0);
        assert_eq!(remove_expired(&coordinator, 10 * day + 2 * HOUR_MS).await.unwrap(), 1);
        assert!(!is_there(&short).await && !has_segment(&short).await, "it asked for less");
        assert_eq!(remove_expired(&coordinator, 11 * day).await.unwrap(), 2);
        for (render, has) in [(&usual, false), (&long, false), (&again, true)] {
            assert_eq!((has_segment(render).await, is_there(render).await), (has, true), "{render}");
            assert!(objects.exists(&keys::segment_thumbnail(&segment(render))).await.unwrap(), "{render}");
        }
        assert_eq!(remove_expired(&coordinator, 14 * day).await.unwrap(), 3);
        assert!(!is_there(&usual).await && !is_there(&long).await, "the farm keeps no render for longer");
        assert!(is_there(&again).await && !has_segment(&again).await);
        assert_eq!(remove_expired(&coordinator, 16 * day).await.unwrap(), 1);
        assert!(!is_there(&again).await);
        assert_eq!(objects.list(object_keys::EXPIRY_MARKS).await.unwrap(), []);
        let metrics = coordinator.backplane().metrics.encode();
        assert!(metrics.contains("hyperfarm_expired_total{kind=\"render\"} 4"), "{metrics}");
        assert!(metrics.contains("hyperfarm_expired_total{kind=\"segments\"} 3"), "{metrics}");
        drain.start();
        coordinator.join().await;
    }

    #[tokio::test]
    async fn a_lipsync_goes_with_its_render() {
        let backplane = Backplane::ephemeral(Objects::memory());
        let (objects, drain) = (backplane.objects.clone(), Drain::new());
        let coordinator = Coordinator::start(backplane, CoordinatorConfig::default(), drain.clone());
        let retention = Retention { renders: "4d".parse().unwrap(), segments: "1d".parse().unwrap() };
        let day = 24 * HOUR_MS;
        let render = ended(&objects, "dub", 10 * day, &retention, None).await;
        let intake = Intake { purpose: Purpose::Lipsync(LipsyncMode::Speed), ..Intake::default() };
        objects.put_json(&object_keys::intake(&render), &intake).await.unwrap();
        let mark = object_keys::space_lipsync(&intake.space, &render);
        objects.put(&mark, Bytes::from_static(b"{}")).await.unwrap();
        records::put_title(&objects, &intake.space, &render, "Film").await.unwrap();
        remove_expired(&coordinator, 13 * day).await.unwrap();
        assert!(objects.exists(&mark).await.unwrap(), "it is not due yet");
        remove_expired(&coordinator, 14 * day).await.unwrap();
        assert!(!objects.exists(&mark).await.unwrap());
        assert_eq!(records::title(&objects, &intake.space, &render).await.unwrap(), None);
        drain.start();
        coordinator.join().await;
    }

    #[test]
    fn a_removal_is_due_after_its_time() {
        let mark = Mark { render: "r1".parse().unwrap(), part: Part::Segments, ended_at_ms: 10 * HOUR_MS + 1 };
        assert_eq!(mark.key("2h".parse().unwrap()), "farm/expiring/0000000013/r1-segments");
        let mark = Mark { ended_at_ms: 10 * HOUR_MS, ..mark };
        assert_eq!(mark.key("2h".parse().unwrap()), "farm/expiring/0000000012/r1-segments");
    }
}
