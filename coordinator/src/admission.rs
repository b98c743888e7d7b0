//! The limits of an API key: renders in flight, submissions per minute, renders per day of its space, and spending.
//!
//! **Invariant: a place is reserved before anything is stored, and freed when the render has ended.** A hundred requests at once cannot
//! all get the last place, nor the last render of a day, through however many coordinators they come: places are taken
//! in the ledger. After it was emptied the renders in flight are counted from the open marks, and the renders of a day
//! from the space's list of renders. While the ledger does not answer, each coordinator counts those that it knows.
//! Submissions per minute each counts by itself.

use std::collections::{BTreeSet, HashMap, HashSet};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt, TryStreamExt, stream};
use hyperfarm_backplane::ledger::{Ledger, LedgerError, Quota, Reserved};
use hyperfarm_backplane::objects::{Objects, ObjectsError};
use hyperfarm_proto::id::{RenderId, Space};
use parking_lot::Mutex;
use tokio::sync::OnceCell;
use tracing::warn;

use crate::api_keys::Caller;
use crate::clock::{age_of, now_ms};
use crate::object_keys;
use crate::rate_limit::RateLimiter;
use crate::store::{self, MAX_CONCURRENT_REQUESTS, if_found};
use crate::submission::Intake;
use crate::usage::UsageStore;

/// How long a client that has too many renders in flight is told to wait. Renders take longer, but requests are cheap.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// Group of the quotas of renders in flight.
const IN_FLIGHT: &str = "in-flight";

/// Prefix of the name of a space's quota of renders a day.
const DAY_PREFIX: &str = "day:";

/// Age from which a render with a place is expected to have its open mark.
const OPEN_MARK_GRACE: Duration = Duration::from_secs(120);

/// Most places of ended renders that one submission frees.
const MAX_FREED: usize = 16;

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
    /// The ledger did not answer.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
}

/// Admits renders within the limits of their keys.
pub struct Admission {
    objects: Objects,
    ledger: Arc<dyn Ledger>,
    usages: Arc<UsageStore>,
    /// Renders in flight for a key without a limit of its own.
    default_concurrent: u32,
    /// Set once the renders in flight before this process are counted.
    counted: OnceCell<()>,
    reserved: Mutex<LocalPlaces>,
}

fn in_flight_quota(key: &str) -> String {
    format!("{IN_FLIGHT}:{key}")
}

fn day_quota(space: &Space) -> String {
    format!("{DAY_PREFIX}{space}")
}

/// The places that this coordinator knows to be taken.
#[derive(Default)]
struct LocalPlaces {
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
    /// Names of the ledger's quotas in which the renders have places.
    quotas: Vec<String>,
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
        if self.renders.is_empty() {
            return;
        }
        let (ledger, quotas) = (self.admission.ledger.clone(), std::mem::take(&mut self.quotas));
        let renders = std::mem::take(&mut self.renders);
        let unused = renders.clone();
        let mut free = Box::pin(async move {
            for quota in quotas {
                if let Err(error) = ledger.free(&quota, &renders).await {
                    warn!(quota, %error, "the ledger did not free the place of a render that was not made");
                }
            }
        });
        // The ledger in process answers at once.
        if (&mut free).now_or_never().is_none() {
            tokio::spawn(free);
        }
        // Renders that were not made do not count for the day.
        let mut reserved = self.admission.reserved.lock();
        if let Some(day) = reserved.days.get_mut(&self.space) {
            day.renders.retain(|render| !unused.contains(render));
        }
    }
}

impl Admission {
    /// The limits of renders in `objects`. A key without a limit of its own may have `default_concurrent` renders in flight.
    pub fn new(objects: Objects, ledger: Arc<dyn Ledger>, usages: Arc<UsageStore>, default_concurrent: u32) -> Self {
        Self { objects, ledger, usages, default_concurrent, counted: OnceCell::new(), reserved: Mutex::default() }
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
        // Those that it does not keep are freed when it is dropped, so also where a limit is reached below.
        let space = caller.rights.space.clone();
        let mut reservation = Reservation { admission: self, space, renders: Vec::new(), quotas: Vec::new() };
        let limit = caller.rights.limits.concurrent.or_else(|| (!caller.is_local).then_some(self.default_concurrent));
        let ledger_answered = self.reserve_in_ledger(caller, limit, &renders, &mut reservation).await?;
        let mut reserved = self.reserved.lock();
        if !ledger_answered {
            reserved.check_day(caller, &renders)?;
        }
        if let Some(per_minute) = caller.rights.limits.per_minute {
            for _ in &renders {
                reserved.check_rate(caller, per_minute)?;
            }
        }
        let in_flight = reserved.in_flight.entry(caller.id.clone()).or_default();
        let more = renders.iter().filter(|render| !in_flight.contains(render)).count();
        if let Some(limit) = limit.filter(|_| !ledger_answered)
            && in_flight.len() + more > limit as usize
        {
            let (key, renders) = (caller.name.clone(), in_flight.len());
            return Err(AdmissionError::ConcurrencyLimit { key, renders, limit, retry_after: RETRY_AFTER });
        }
        in_flight.extend(renders.iter().cloned());
        reserved.days.entry(caller.rights.space.clone()).or_default().renders.extend(renders.iter().cloned());
        reservation.renders = renders;
        drop(reserved);
        Ok(reservation)
    }

    /// Takes places for the renders in the ledger's quotas, which it notes in `reservation`. Answers whether the ledger
    /// has answered.
    async fn reserve_in_ledger(
        &self,
        caller: &Caller,
        limit: Option<u32>,
        renders: &[RenderId],
        reservation: &mut Reservation<'_>,
    ) -> Result<bool, AdmissionError> {
        let space = &caller.rights.space;
        let per_day = caller.rights.limits.per_day;
        let day = Quota {
            group: day_quota(space),
            name: day_quota(space),
            limit: per_day.unwrap_or(u32::MAX),
            window: Some(DAY),
        };
        let in_flight = Quota {
            group: IN_FLIGHT.to_owned(),
            name: in_flight_quota(&caller.id),
            limit: limit.unwrap_or(u32::MAX),
            window: None,
        };
        for quota in [day, in_flight] {
            // A space that nobody limits is not counted.
            let must_count = quota.window.is_none() || per_day.is_some();
            let reserved = match self.take_places(&quota, renders, must_count).await {
                Ok(reserved) => reserved,
                Err(AdmissionError::Ledger(error)) => {
                    warn!(%error, "the ledger did not count a quota, this coordinator counts what it knows");
                    return Ok(false);
                }
                Err(error) => return Err(error),
            };
            match reserved {
                Reserved::Full { taken, oldest } if quota.window.is_some() => {
                    let retry_after =
                        oldest.map_or(Duration::from_secs(3600), |oldest| DAY.saturating_sub(age_of(&oldest)));
                    let (space, limit) = (space.clone(), quota.limit);
                    return Err(AdmissionError::DailyLimit { space, renders: taken, limit, retry_after });
                }
                Reserved::Full { taken, .. } => {
                    let (key, limit) = (caller.name.clone(), quota.limit);
                    return Err(AdmissionError::ConcurrencyLimit {
                        key,
                        renders: taken,
                        limit,
                        retry_after: RETRY_AFTER,
                    });
                }
                Reserved::Granted => {
                    reservation.quotas.push(quota.name);
                    reservation.renders = renders.to_vec();
                }
                Reserved::Uncounted => {}
            }
        }
        Ok(true)
    }

    /// Takes places in one quota. If it is full, places of renders that have ended are freed first: of one whose
    /// coordinator died before it was stored, for example.
    async fn take_places(
        &self,
        quota: &Quota,
        renders: &[RenderId],
        must_count: bool,
    ) -> Result<Reserved, AdmissionError> {
        for _ in 0..MAX_FREED {
            match self.ledger.reserve(quota, renders).await? {
                Reserved::Uncounted if must_count => self.fill(&quota.group).await?,
                Reserved::Full { taken, oldest: Some(oldest) }
                    if quota.window.is_none() && age_of(&oldest) > OPEN_MARK_GRACE =>
                {
                    if self.objects.exists(&object_keys::open_mark(&oldest)).await? {
                        return Ok(Reserved::Full { taken, oldest: Some(oldest) });
                    }
                    self.ledger.free(&quota.name, &[oldest]).await?;
                }
                reserved => return Ok(reserved),
            }
        }
        Ok(self.ledger.reserve(quota, renders).await?)
    }

    /// Counts a group of quotas from storage, into the ledger.
    async fn fill(&self, group: &str) -> Result<(), AdmissionError> {
        let mut places: HashMap<String, Vec<RenderId>> = HashMap::new();
        if group == IN_FLIGHT {
            for (render, key) in self.open_by_key().await? {
                places.entry(in_flight_quota(&key)).or_default().push(render);
            }
        } else if let Some(space) = group.strip_prefix(DAY_PREFIX).and_then(|space| space.parse().ok()) {
            let since = RenderId::from_parts(now_ms().saturating_sub(DAY.as_millis() as u64), 0);
            let stored = store::space_renders(&self.objects, &space).await?;
            places.insert(group.to_owned(), stored.into_iter().filter(|render| *render >= since).collect());
        }
        let places: Vec<_> = places.into_iter().collect();
        Ok(self.ledger.fill(group, &places).await?)
    }

    /// Frees the place of a render that has ended in the ledger, for every coordinator.
    ///
    /// # Errors
    ///
    /// The ledger did not answer.
    pub async fn free_shared(&self, intake: &Intake, render: &RenderId) -> Result<(), LedgerError> {
        let Some(key) = &intake.key else { return Ok(()) };
        self.ledger.free(&in_flight_quota(key), std::slice::from_ref(render)).await
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
        let open = self.open_by_key().await?;
        let mut reserved = self.reserved.lock();
        for (render, key) in open {
            if !reserved.ended_early.contains(&render) {
                reserved.in_flight.entry(key).or_default().insert(render);
            }
        }
        reserved.ended_early.clear();
        Ok(())
    }

    /// The renders with an open mark, each with the id of its key.
    async fn open_by_key(&self) -> Result<Vec<(RenderId, String)>, ObjectsError> {
        let reads = store::open_renders(&self.objects).await?.into_iter().map(|render| async move {
            let intake = if_found(self.objects.get_json::<Intake>(&object_keys::open_mark(&render)).await)?;
            Ok::<_, ObjectsError>(intake.and_then(|intake| intake.key).map(|key| (render, key)))
        });
        let open: Vec<Option<(RenderId, String)>> =
            stream::iter(reads).buffer_unordered(MAX_CONCURRENT_REQUESTS).try_collect().await?;
        Ok(open.into_iter().flatten().collect())
    }
}

impl LocalPlaces {
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

#[cfg(test)]
mod tests {
    use hyperfarm_backplane::ledger::MemoryLedger;

    use super::*;
    use crate::api_keys::Rights;

    fn caller(concurrent: Option<u32>, per_day: Option<u32>) -> Caller {
        let mut rights = Rights::new(Space::default(), Vec::new());
        (rights.limits.concurrent, rights.limits.per_day) = (concurrent, per_day);
        Caller { id: "k1".to_owned(), name: "key".to_owned(), rights, is_local: false }
    }

    fn admission(objects: &Objects, ledger: Arc<dyn Ledger>) -> Admission {
        let usages = Arc::new(UsageStore::new(objects.clone(), Default::default()));
        Admission::new(objects.clone(), ledger, usages, 100)
    }

    fn render(age: Duration, number: u64) -> RenderId {
        RenderId::from_parts(now_ms() - age.as_millis() as u64, number)
    }

    async fn is_full(admission: &Admission, caller: &Caller) -> bool {
        match admission.reserve(caller, vec![render(Duration::ZERO, 99)]).await {
            Ok(_) => false,
            Err(AdmissionError::ConcurrencyLimit { .. } | AdmissionError::DailyLimit { .. }) => true,
            Err(error) => panic!("{error}"),
        }
    }

    #[tokio::test]
    async fn two_coordinators_count_the_same_places() {
        let (objects, ledger) = (Objects::memory(), Arc::new(MemoryLedger::new()));
        let (here, there) = (admission(&objects, ledger.clone()), admission(&objects, ledger));
        for caller in [caller(Some(2), None), Caller { id: "k2".to_owned(), ..caller(None, Some(2)) }] {
            let renders = vec![render(Duration::ZERO, 1), render(Duration::ZERO, 2)];
            let reservation = here.reserve(&caller, renders.clone()).await.unwrap();
            assert!(is_full(&there, &caller).await);
            drop(reservation);
            assert!(!is_full(&there, &caller).await, "the renders were not made");
            let mut reservation = here.reserve(&caller, renders.clone()).await.unwrap();
            renders.iter().for_each(|render| reservation.keep(render));
            drop(reservation);
            assert!(is_full(&there, &caller).await && is_full(&here, &caller).await);
            let intake = Intake { key: Some(caller.id.clone()), ..Intake::default() };
            there.free_shared(&intake, &renders[0]).await.unwrap();
            let is_daily = caller.rights.limits.per_day.is_some();
            assert_eq!(is_full(&here, &caller).await, is_daily, "a render of the day counts after its end");
        }
    }

    #[tokio::test]
    async fn an_emptied_ledger_is_filled_from_storage_and_places_of_nobody_are_freed() {
        let objects = Objects::memory();
        let old = render(OPEN_MARK_GRACE * 2, 1);
        let intake = Intake { key: Some("k1".to_owned()), ..Intake::default() };
        objects.put_json(&object_keys::open_mark(&old), &intake).await.unwrap();
        let (limited, ledger) = (caller(Some(1), None), Arc::new(MemoryLedger::new()));
        let admission = admission(&objects, ledger);
        assert!(is_full(&admission, &limited).await, "the open render counts");
        // It has ended, and the coordinator that was to free its place is gone.
        objects.delete(&object_keys::open_mark(&old)).await.unwrap();
        assert!(!is_full(&admission, &limited).await);
    }
}
