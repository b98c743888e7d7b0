//! How many and how fast: renders in flight a key, submissions a minute, renders a day, spending.
//!
//! **Invariant: a place is taken before anything is stored and given back when the render has ended**, so a hundred requests at once
//! cannot all find the last place free. After a restart the places are counted from the marks of open renders.

use std::collections::{HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::RenderId;
use tokio::sync::OnceCell;

use super::access::Caller;
use super::error::{ApiError, Code};
use crate::intake::Intake;
use crate::store::{self, PARALLEL, if_found, now_ms};
use crate::usage::Usages;

/// A client that is told to come back does so after this: renders take longer, but polls are cheap.
const RETRY_SECONDS: u64 = 5;

const DAY_MS: u64 = 24 * 3600 * 1000;

/// See the [module](self).
pub struct Admission {
    objects: Objects,
    usages: Arc<Usages>,
    /// Renders in flight of a key that has no number of its own.
    concurrent: u32,
    counted: OnceCell<()>,
    places: Mutex<Places>,
}

#[derive(Default)]
struct Places {
    taken: HashMap<String, HashSet<RenderId>>,
    /// Renders that ended before they were counted.
    ended: HashSet<RenderId>,
    buckets: HashMap<String, (f64, Instant)>,
}

/// Places that were taken. Dropped before they are kept, they are given back.
pub struct Taken<'a> {
    admission: &'a Admission,
    renders: Vec<RenderId>,
}

impl Taken<'_> {
    /// The render exists: its place is given back when it ends.
    pub fn keep(&mut self, render: &RenderId) {
        self.renders.retain(|taken| taken != render);
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        for render in &self.renders {
            self.admission.free(render);
        }
    }
}

impl Admission {
    /// Admission to renders in `objects`, `concurrent` at once for a key that says nothing else.
    pub fn new(objects: Objects, usages: Arc<Usages>, concurrent: u32) -> Self {
        Self { objects, usages, concurrent, counted: OnceCell::new(), places: Mutex::default() }
    }

    /// Takes places for renders that the caller wants to make, or says why not.
    pub async fn take(&self, caller: &Caller, renders: Vec<RenderId>) -> Result<Taken<'_>, ApiError> {
        self.counted.get_or_try_init(|| self.count()).await?;
        if let Some(cap) = caller.cap_usd {
            let spent = self.usages.spent(&caller.id).await?;
            if spent >= cap {
                let message = format!(
                    "the key `{}` has spent {spent:.2} of its {cap:.2} USD; let the farm's operator raise its cap",
                    caller.name
                );
                return Err(ApiError::new(Code::InsufficientCredit, message));
            }
        }
        if let Some(most) = caller.limits.per_day {
            self.check_day(caller, most, renders.len()).await?;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(most) = caller.limits.per_minute {
            places.check_rate(caller, f64::from(most), renders.len() as f64)?;
        }
        let most = caller.limits.concurrent.or_else(|| (!caller.is_local).then_some(self.concurrent));
        let taken = places.taken.entry(caller.id.clone()).or_default();
        // A render that is asked for again under its idempotency key has its place already.
        let more = renders.iter().filter(|render| !taken.contains(render)).count();
        if let Some(most) = most
            && taken.len() + more > most as usize
        {
            let message = format!(
                "the key `{}` has {} renders in flight and may have {most}; wait for one to end",
                caller.name,
                taken.len()
            );
            return Err(ApiError::new(Code::RateLimited, message).retry_after(RETRY_SECONDS));
        }
        taken.extend(renders.iter().cloned());
        Ok(Taken { admission: self, renders })
    }

    /// The render has ended.
    pub fn free(&self, render: &RenderId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for taken in places.taken.values_mut() {
            taken.remove(render);
        }
        if !self.counted.initialized() {
            places.ended.insert(render.clone());
        }
    }

    async fn check_day(&self, caller: &Caller, most: u32, more: usize) -> Result<(), ApiError> {
        let since = RenderId::from_parts(now_ms().saturating_sub(DAY_MS), 0);
        let ids = store::space_renders(&self.objects, &caller.space).await?;
        let today = ids.iter().rev().take_while(|id| **id >= since).count();
        if today + more <= most as usize {
            return Ok(());
        }
        let message = format!("the space `{}` has made {today} renders in 24 hours and may make {most}", caller.space);
        Err(ApiError::new(Code::QuotaExceeded, message))
    }

    async fn count(&self) -> Result<(), ObjectsError> {
        let listed = self.objects.list(store::OPEN).await?;
        let reads = listed.into_iter().map(|meta| async move {
            let render: Option<RenderId> = meta.key.rsplit('/').next().and_then(|id| id.parse().ok());
            let intake = if_found(self.objects.get_json::<Intake>(&meta.key).await)?;
            Ok::<_, ObjectsError>(render.zip(intake.and_then(|intake| intake.key)))
        });
        let open: Vec<Option<(RenderId, String)>> =
            stream::iter(reads).buffer_unordered(PARALLEL).try_collect().await?;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        for (render, key) in open.into_iter().flatten() {
            if !places.ended.contains(&render) {
                places.taken.entry(key).or_default().insert(render);
            }
        }
        places.ended.clear();
        Ok(())
    }
}

impl Places {
    /// A bucket that holds a minute's worth and fills evenly.
    fn check_rate(&mut self, caller: &Caller, a_minute: f64, wanted: f64) -> Result<(), ApiError> {
        let now = Instant::now();
        let (left, at) = self.buckets.entry(caller.id.clone()).or_insert((a_minute, now));
        let full = a_minute.max(wanted);
        *left = (*left + now.duration_since(*at).as_secs_f64() * a_minute / 60.0).min(full);
        *at = now;
        if *left >= wanted {
            *left -= wanted;
            return Ok(());
        }
        let wait = ((wanted - *left) * 60.0 / a_minute.max(1e-9)).ceil() as u64;
        let message = format!("the key `{}` may submit {a_minute} renders a minute", caller.name);
        Err(ApiError::new(Code::RateLimited, message).retry_after(wait))
    }
}
