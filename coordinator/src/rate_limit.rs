//! Rates of requests, by API key or by address.

use std::hash::Hash;
use std::num::NonZeroU32;
use std::time::Duration;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota};

/// Number of buckets from which full ones, which nobody has used for a minute, are dropped.
const MANY_BUCKETS: usize = 10_000;

/// Limits the rate of requests by `K`. Each has a bucket that holds the requests of a minute and fills evenly.
pub(crate) struct RateLimiter<K: Hash + Eq + Clone> {
    buckets: DefaultKeyedRateLimiter<K>,
}

impl<K: Hash + Eq + Clone> RateLimiter<K> {
    /// At most `requests` at once, and as many in a minute.
    pub(crate) fn per_minute(requests: NonZeroU32) -> Self {
        Self { buckets: governor::RateLimiter::keyed(Quota::per_minute(requests)) }
    }

    /// Takes one request from the bucket of `key`.
    ///
    /// # Errors
    ///
    /// The bucket is empty. The error is the time until it holds a request again, in whole seconds.
    pub(crate) fn check(&self, key: &K) -> Result<(), Duration> {
        if self.buckets.len() >= MANY_BUCKETS {
            self.buckets.retain_recent();
        }
        self.buckets.check_key(key).map_err(|refused| {
            let wait = refused.wait_time_from(DefaultClock::default().now());
            Duration::from_secs(wait.as_secs() + 1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_key_has_a_bucket_of_its_own() {
        let limiter = RateLimiter::per_minute(NonZeroU32::new(2).unwrap());
        assert!(limiter.check(&"a").is_ok() && limiter.check(&"a").is_ok());
        let wait = limiter.check(&"a").unwrap_err();
        assert!((25..=31).contains(&wait.as_secs()), "{wait:?}");
        assert!(limiter.check(&"b").is_ok());
    }
}
