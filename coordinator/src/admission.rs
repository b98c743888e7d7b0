//! The limits of an API key: renders in flight, submissions per minute, renders per day of its space, and spending.
//!
//! **Invariant: a place is reserved before anything is stored, and freed when the render has ended.** A hundred requests at once cannot
//! all get the last place, nor the last render of a day. After a restart the renders in flight are counted from the open marks, and the
//! renders of a day from the space's list of renders.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::{StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use parking_lot::Mutex;
use tokio::sync::OnceCell;

use crate::api_keys::Caller;
use crate::clock::{age_of, now_ms};
use crate::object_keys;
use crate::rate_limit::RateLimiter;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::Intake;
use crate::usage::UsageStore;

/// How long a client that has too many renders in flight is told to wait. Renders take longer, but requests are cheap.
const RETRY_AFTER: Duration = Duration::from_secs(5);

const DAY: Duration = Duration::from_secs(24 * 3600);

/// Why renders are not admitted.
#[derive(Debug, thiserror::Error)]
pub enum AdmissionError {
    /// The key has reached its spending cap.
    #[error("the key `{key}` has spent {spent:.2} of its {cap:.2} USD; let the farm's operator raise its cap")]
    CapReached {
        /// Name of the key.
        key: String,
        /// US dollars spent so far.
        spent: f64,
        /// US dollars that the key may spend.
        cap: f64,
    },
    /// The space has reached the number of renders that the key allows in a day.
    #[error(
        "the space `{space}` has made {renders} renders in 24 hours and may make {limit}; wait, or let the farm's operator raise it"
    )]
    DailyLimit {
        /// The space.
        space: Space,
        /// Renders of the last 24 hours.
        renders: usize,
        /// Renders that are allowed in 24 hours.
        limit: u32,
        /// Time until the oldest of them no longer counts.
        retry_after: Duration,
    },
    /// The key submits faster than it may.
    #[error("the key `{key}` may submit {per_minute} renders a minute")]
    RateLimit {
        /// Name of the key.
        key: String,
        /// Renders that are allowed in a minute.
        per_minute: u32,
        /// Time until the submission would be admitted.
        retry_after: Duration,
    },
    /// The key has as many renders in flight as it may.
    #[error("the key `{key}` has {renders} renders in flight and may have {limit}; wait for one to end")]
    ConcurrencyLimit {
        /// Name of the key.
        key: String,
        /// Renders in flight.
        renders: usize,
        /// Renders that may be in flight.
        limit: u32,
        /// Time after which another attempt makes sense.
        retry_after: Duration,
    },
    /// Storage did not answer.
    #[error(transparent)]
    Storage(#[from] ObjectsError),
}

/// Admits renders within the limits of their keys.
pub struct Admission {
    objects: Objects,
    usages: Arc<UsageStore>,
    /// Renders in flight for a key without a limit of its own.
    default_concurrent: u32,
    /// Set once the renders in flight before this process are counted.
    counted: OnceCell<()>,
    reserved: Mutex<Reserved>,
}

/// The places that are taken now.
#[derive(Default)]
struct Reserved {
    /// Renders in flight by key id.
    in_flight: HashMap<String, HashSet<RenderId>>,
    /// Renders that ended before those in flight were counted.
    ended_early: HashSet<RenderId>,
    /// Submissions by key id, by the number that a key may make in a minute.
    submissions: HashMap<NonZeroU32, RateLimiter<String>>,
    days: HashMap<Space, Day>,
}

/// The renders of a space in the last 24 hours.
#[derive(Default)]
struct Day {
    /// Whether renders from before this process are among them.
    is_counted: bool,
    renders: BTreeSet<RenderId>,
}

/// Reserved places. Those that are not kept are freed when this is dropped.
pub struct Reservation<'a> {
    admission: &'a Admission,
    space: Space,
    renders: Vec<RenderId>,
}

impl Reservation<'_> {
    /// Keeps the place of a render that is stored now. It is freed when the render ends.
    pub fn keep(&mut self, render: &RenderId) {
        self.renders.retain(|reserved| reserved != render);
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        for render in &self.renders {
            self.admission.free(render);
        }
        // Renders that were not made do not count for the day.
        let mut reserved = self.admission.reserved.lock();
        if let Some(day) = reserved.days.get_mut(&self.space) {
            day.renders.retain(|render| !self.renders.contains(render));
        }
    }
}

impl Admission {
    /// The limits of renders in `objects`. A key without a limit of its own may have `default_concurrent` renders in flight.
    pub fn new(objects: Objects, usages: Arc<UsageStore>, default_concurrent: u32) -> Self {
        Self { objects, usages, default_concurrent, counted: OnceCell::new(), reserved: Mutex::default() }
    }

    /// Reserves places for renders that the caller is about to make. A render that has its place already, because its request is
    /// repeated, needs no other.
    ///
    /// # Errors
    ///
    /// A limit of the key is reached, or storage did not answer.
    pub async fn reserve(&self, caller: &Caller, renders: Vec<RenderId>) -> Result<Reservation<'_>, AdmissionError> {
        self.counted.get_or_try_init(|| self.count_in_flight()).await?;
        self.check_spending(caller).await?;
        if caller.rights.limits.per_day.is_some() {
            self.count_day(&caller.rights.space).await?;
        }
        let mut reserved = self.reserved.lock();
        reserved.check_day(caller, &renders)?;
        if let Some(per_minute) = caller.rights.limits.per_minute {
            for _ in &renders {
                reserved.check_rate(caller, per_minute)?;
            }
        }
        let limit = caller.rights.limits.concurrent.or_else(|| (!caller.is_local).then_some(self.default_concurrent));
        let in_flight = reserved.in_flight.entry(caller.id.clone()).or_default();
        let more = renders.iter().filter(|render| !in_flight.contains(render)).count();
        if let Some(limit) = limit
            && in_flight.len() + more > limit as usize
        {
            let (key, renders) = (caller.name.clone(), in_flight.len());
            return Err(AdmissionError::ConcurrencyLimit { key, renders, limit, retry_after: RETRY_AFTER });
        }
        in_flight.extend(renders.iter().cloned());
        reserved.days.entry(caller.rights.space.clone()).or_default().renders.extend(renders.iter().cloned());
        Ok(Reservation { admission: self, space: caller.rights.space.clone(), renders })
    }

    /// Checks that the caller's key has not reached its spending cap.
    ///
    /// # Errors
    ///
    /// It has, or storage did not answer.
    pub async fn check_spending(&self, caller: &Caller) -> Result<(), AdmissionError> {
        let Some(cap) = caller.rights.cap_usd else { return Ok(()) };
        let spent = self.usages.spent(&caller.id).await?;
        if spent >= cap {
            return Err(AdmissionError::CapReached { key: caller.name.clone(), spent, cap });
        }
        Ok(())
    }

    /// Frees the place of a render that has ended.
    pub fn free(&self, render: &RenderId) {
        let mut reserved = self.reserved.lock();
        for in_flight in reserved.in_flight.values_mut() {
            in_flight.remove(render);
        }
        if !self.counted.initialized() {
            reserved.ended_early.insert(render.clone());
        }
    }

    /// Adds the space's renders from before this process to its day, once.
    async fn count_day(&self, space: &Space) -> Result<(), ObjectsError> {
        if self.reserved.lock().days.get(space).is_some_and(|day| day.is_counted) {
            return Ok(());
        }
        let stored = store::space_renders(&self.objects, space).await?;
        let mut reserved = self.reserved.lock();
        let day = reserved.days.entry(space.clone()).or_default();
        day.renders.extend(stored);
        day.is_counted = true;
        Ok(())
    }

    /// Counts the renders in flight from before this process.
    async fn count_in_flight(&self) -> Result<(), ObjectsError> {
        let reads = store::open_renders(&self.objects).await?.into_iter().map(|render| async move {
            let intake = if_found(self.objects.get_json::<Intake>(&object_keys::open_mark(&render)).await)?;
            Ok::<_, ObjectsError>(intake.and_then(|intake| intake.key).map(|key| (render, key)))
        });
        let open: Vec<Option<(RenderId, String)>> =
            stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        let mut reserved = self.reserved.lock();
        for (render, key) in open.into_iter().flatten() {
            if !reserved.ended_early.contains(&render) {
                reserved.in_flight.entry(key).or_default().insert(render);
            }
        }
        reserved.ended_early.clear();
        Ok(())
    }
}

impl Reserved {
    /// Checks whether the caller's space may make these renders today.
    fn check_day(&mut self, caller: &Caller, wanted: &[RenderId]) -> Result<(), AdmissionError> {
        let space = &caller.rights.space;
        let day = self.days.entry(space.clone()).or_default();
        let since = RenderId::from_parts(now_ms().saturating_sub(DAY.as_millis() as u64), 0);
        day.renders = day.renders.split_off(&since);
        let Some(limit) = caller.rights.limits.per_day else { return Ok(()) };
        let more = wanted.iter().filter(|render| !day.renders.contains(render)).count();
        if day.renders.len() + more <= limit as usize {
            return Ok(());
        }
        let oldest = day.renders.first();
        let retry_after = oldest.map_or(Duration::from_secs(3600), |oldest| DAY.saturating_sub(age_of(oldest)));
        Err(AdmissionError::DailyLimit { space: space.clone(), renders: day.renders.len(), limit, retry_after })
    }

    /// Takes a submission from the key's bucket, which holds those of a minute and fills evenly.
    fn check_rate(&mut self, caller: &Caller, per_minute: u32) -> Result<(), AdmissionError> {
        let refused = |retry_after| AdmissionError::RateLimit { key: caller.name.clone(), per_minute, retry_after };
        let Some(rate) = NonZeroU32::new(per_minute) else { return Err(refused(Duration::from_secs(3600))) };
        let limiter = self.submissions.entry(rate).or_insert_with(|| RateLimiter::per_minute(rate));
        limiter.check(&caller.id).map_err(refused)
    }
}
