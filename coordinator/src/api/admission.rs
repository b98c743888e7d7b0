//! How many and how fast: renders in flight a key, submissions a minute, renders a day, spending.
//!
//! **Invariant: a place is taken before anything is stored and given back when the render has ended**, so a hundred requests at once
//! cannot all find the last place free, nor the last render of a day. After a restart the places are counted from the marks of open
//! renders, and a space's day from its list of renders.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
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
    days: HashMap<Space, Day>,
}

/// What a space made in the last 24 hours.
#[derive(Default)]
struct Day {
    /// Whether what was there before this process is among them.
    is_counted: bool,
    renders: BTreeSet<RenderId>,
}

/// Places that were taken. Dropped before they are kept, they are given back.
pub struct Taken<'a> {
    admission: &'a Admission,
    space: Space,
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
        // What did not come to be counts for no day.
        let mut places = self.admission.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(day) = places.days.get_mut(&self.space) {
            day.renders.retain(|render| !self.renders.contains(render));
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
        if let Some(cap) = caller.rights.cap_usd {
            let spent = self.usages.spent(&caller.id).await?;
            if spent >= cap {
                let message = format!(
                    "the key `{}` has spent {spent:.2} of its {cap:.2} USD; let the farm's operator raise its cap",
                    caller.name
                );
                return Err(ApiError::new(Code::InsufficientCredit, message));
            }
        }
        if caller.rights.limits.per_day.is_some() {
            self.count_day(&caller.rights.space).await?;
        }
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        places.check_day(caller, &renders)?;
        if let Some(most) = caller.rights.limits.per_minute {
            places.check_rate(caller, f64::from(most), renders.len() as f64)?;
        }
        let most = caller.rights.limits.concurrent.or_else(|| (!caller.is_local).then_some(self.concurrent));
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
        places.days.entry(caller.rights.space.clone()).or_default().renders.extend(renders.iter().cloned());
        Ok(Taken { admission: self, space: caller.rights.space.clone(), renders })
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

    /// Counts what the space made before this process, once.
    async fn count_day(&self, space: &Space) -> Result<(), ObjectsError> {
        let is_counted = |places: &Places| places.days.get(space).is_some_and(|day| day.is_counted);
        if is_counted(&self.places.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(());
        }
        let stored = store::space_renders(&self.objects, space).await?;
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let day = places.days.entry(space.clone()).or_default();
        day.renders.extend(stored);
        day.is_counted = true;
        Ok(())
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
    /// Whether the caller's space may make these renders today.
    fn check_day(&mut self, caller: &Caller, wanted: &[RenderId]) -> Result<(), ApiError> {
        let day = self.days.entry(caller.rights.space.clone()).or_default();
        let since = RenderId::from_parts(now_ms().saturating_sub(DAY_MS), 0);
        day.renders = day.renders.split_off(&since);
        let Some(most) = caller.rights.limits.per_day else { return Ok(()) };
        let more = wanted.iter().filter(|render| !day.renders.contains(render)).count();
        if day.renders.len() + more <= most as usize {
            return Ok(());
        }
        let message = format!(
            "the space `{}` has made {} renders in 24 hours and may make {most}; wait, or let the farm's operator raise it",
            caller.rights.space,
            day.renders.len()
        );
        let oldest = day.renders.first().and_then(|id| u64::from_str_radix(id.as_str().get(1..13)?, 16).ok());
        let wait = oldest.map_or(3600, |oldest| (oldest + DAY_MS).saturating_sub(now_ms()) / 1000);
        Err(ApiError::new(Code::QuotaExceeded, message).retry_after(wait))
    }

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
