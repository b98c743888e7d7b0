//! A render's own log, as its workers left it in storage: one object for each attempt that had something to say.
//!
//! The order is that of the steps, then of chunks, attempts and lines. An attempt's lines are there once it has ended.

use axum::Json;
use axum::extract::{Extension, Path, State};
use bytes::Bytes;
use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_api::Page;
use hyperfarm_api::request::ListQuery;
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_proto::keys;
use hyperfarm_proto::log::LogLine;

use super::error::ApiError;
use super::page::{self, PAGE_MAX, PageRange, Query};
use super::renders::find;
use super::{Api, List};
use crate::api_keys::Caller;
use crate::store::{MAX_CONCURRENT_REQUESTS, if_found};

/// Where a page ends: the object's name without its extension, and how many of its lines were read.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Position {
    name: String,
    lines: usize,
}

impl Position {
    fn parse(text: &str) -> Option<Self> {
        let (name, lines) = text.rsplit_once('_')?;
        Some(Self { name: name.to_owned(), lines: lines.parse().ok()? })
    }

    fn token(&self) -> String {
        page::token(&format!("{}_{}", self.name, self.lines))
    }
}

/// `GET /v3/hyperframes/renders/{render_id}/log?limit&token`.
pub(super) async fn read(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path(id): Path<String>,
    Query(query): Query<ListQuery<PAGE_MAX>>,
) -> List<LogLine> {
    let page = PageRange::of(&query, PAGE_MAX as usize)?;
    let after = page.after.as_deref().map(Position::parse);
    if after == Some(None) {
        return Err(ApiError::invalid("token", "token must be the next_token of an earlier page"));
    }
    let after = after.flatten();
    let render = find(&api, &caller, &id).await?.request.id.clone();
    let objects = &api.coordinator.backplane().objects;
    let listed = objects.list(&keys::log_prefix(&render)).await.map_err(|error| ApiError::internal(&error))?;
    let mut names: Vec<String> = listed.iter().filter_map(|meta| name_of(&meta.key)).collect();
    names.retain(|name| after.as_ref().is_none_or(|after| *name >= after.name));
    let prefix = keys::log_prefix(&render);
    let reads = names.into_iter().map(|name| {
        let key = format!("{prefix}/{name}.jsonl");
        async move { Ok::<_, ObjectsError>((name, if_found(objects.get(&key).await)?)) }
    });
    let mut reads = std::pin::pin!(stream::iter(reads).buffered(MAX_CONCURRENT_REQUESTS));
    let (mut data, mut position) = (Vec::new(), None);
    while let Some((name, text)) = reads.try_next().await.map_err(|error| ApiError::internal(&error))? {
        let skipped = after.as_ref().filter(|after| after.name == name).map_or(0, |after| after.lines);
        for (number, line) in lines(text).into_iter().enumerate().skip(skipped) {
            if data.len() == page.limit {
                let next = position.as_ref().map(Position::token);
                return Ok(Json(Page::new(data, next)));
            }
            data.push(line);
            position = Some(Position { name: name.clone(), lines: number + 1 });
        }
    }
    Ok(Json(Page::new(data, None)))
}

/// The name of an attempt's object.
fn name_of(key: &str) -> Option<String> {
    Some(key.rsplit('/').next()?.strip_suffix(".jsonl")?.to_owned())
}

/// Lines that can be read; one of a newer node that cannot hides only itself.
fn lines(text: Option<Bytes>) -> Vec<LogLine> {
    let text = text.unwrap_or_default();
    text.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_survive_their_token() {
        let position = Position { name: "3-chunk-000012-0002".to_owned(), lines: 7 };
        assert_eq!(Position::parse("3-chunk-000012-0002_7"), Some(position));
        assert_eq!(Position::parse("nonsense"), None);
    }
}
