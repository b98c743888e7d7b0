//! Sends what is on its way, and sends it again.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::Fetcher;
use hyperfarm_backplane::metrics::{Metrics, WebhookOutcome};
use hyperfarm_backplane::objects::ObjectsError;
use serde_json::json;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::{Delivery, Target, Webhooks, sign};
use crate::store::now_ms;

/// The times of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryPolicy {
    /// How long a receiver may take.
    pub within: Duration,
    /// Until the second attempt.
    pub first_delay: Duration,
    /// Between attempts at most.
    pub longest_delay: Duration,
    /// From the first attempt until nobody tries any more.
    pub give_up_after: Duration,
    /// How often it is looked what is due.
    pub tick: Duration,
    /// How often storage is asked for deliveries that this process does not know.
    pub rescan_every: Duration,
}

impl Default for DeliveryPolicy {
    fn default() -> Self {
        Self {
            within: Duration::from_secs(10),
            first_delay: Duration::from_secs(5),
            longest_delay: Duration::from_secs(3600),
            give_up_after: Duration::from_secs(24 * 3600),
            tick: Duration::from_millis(250),
            rescan_every: Duration::from_secs(60),
        }
    }
}

impl DeliveryPolicy {
    /// The pause after attempt number `attempts`: it doubles, up to the longest, with a fifth of it left to chance so that what failed
    /// together does not come back together.
    fn pause(&self, attempts: u32) -> Duration {
        let full = self.first_delay.saturating_mul(1 << attempts.saturating_sub(1).min(20)).min(self.longest_delay);
        let chance = f64::from(getrandom::u32().unwrap_or(u32::MAX / 2)) / f64::from(u32::MAX);
        full.mul_f64(0.9 + 0.2 * chance)
    }
}

/// Attempts under way, of all and to one receiver: a slow one must not keep the others waiting.
const AT_ONCE: usize = 64;
const AT_ONE: usize = 4;

/// What the loop needs.
pub struct Deliverer {
    /// Endpoints, events and deliveries.
    pub webhooks: Webhooks,
    /// What may be reached, and how; nothing is sent without one.
    pub fetcher: Option<Fetcher>,
    /// Signs what goes to a `callback_url`.
    pub callback_secret: Option<String>,
    /// The times.
    pub policy: DeliveryPolicy,
    /// Where outcomes are counted.
    pub metrics: Metrics,
}

enum Fate {
    /// The receiver has it, or nobody wants it any more.
    Done,
    /// The receiver says that it is gone for good.
    Gone,
    /// Another attempt is due.
    Again(String),
}

impl Deliverer {
    /// Sends what storage and `fresh` bring, until the drain starts.
    pub async fn run(self, mut fresh: mpsc::UnboundedReceiver<Delivery>, drain: Drain) {
        let this = std::sync::Arc::new(self);
        let mut waiting: BTreeMap<String, Delivery> = BTreeMap::new();
        let mut busy: HashMap<String, String> = HashMap::new();
        let mut attempts: JoinSet<(Delivery, Option<Delivery>)> = JoinSet::new();
        let mut scanned: Option<Instant> = None;
        loop {
            if scanned.is_none_or(|at| at.elapsed() >= this.policy.rescan_every) {
                match this.webhooks.deliveries().await {
                    Ok(found) => {
                        for delivery in found.into_iter().filter(|delivery| !busy.contains_key(&delivery.id)) {
                            waiting.entry(delivery.id.clone()).or_insert(delivery);
                        }
                    }
                    Err(error) => warn!(%error, "deliveries cannot be read, they are read again later"),
                }
                scanned = Some(Instant::now());
            }
            let now = now_ms();
            let due: Vec<String> = waiting
                .values()
                .filter(|delivery| delivery.next_at_ms <= now)
                .map(|delivery| delivery.id.clone())
                .collect();
            for id in due {
                let Some(receiver) = waiting.get(&id).map(|delivery| receiver(&delivery.target)) else { continue };
                let at_it = busy.values().filter(|other| **other == receiver).count();
                if busy.len() >= AT_ONCE || at_it >= AT_ONE {
                    continue;
                }
                let Some(delivery) = waiting.remove(&id) else { continue };
                busy.insert(id, receiver);
                let this = this.clone();
                attempts.spawn(async move {
                    let next = this.attempt(delivery.clone()).await;
                    (delivery, next)
                });
            }
            tokio::select! {
                () = drain.started() => return,
                Some(delivery) = fresh.recv() => {
                    // Storage may have brought it before, and it may be over by now.
                    let is_known = busy.contains_key(&delivery.id) || waiting.contains_key(&delivery.id);
                    match if is_known { Ok(None) } else { this.webhooks.delivery(&delivery.id).await } {
                        Ok(Some(delivery)) => drop(waiting.insert(delivery.id.clone(), delivery)),
                        Ok(None) => {}
                        Err(error) => warn!(%error, "a delivery cannot be read, it is read again later"),
                    }
                }
                Some(done) = attempts.join_next(), if !attempts.is_empty() => match done {
                    Ok((before, next)) => {
                        busy.remove(&before.id);
                        if let Some(next) = next {
                            waiting.insert(next.id.clone(), next);
                        }
                    }
                    // Whose it was is not known; storage is, and has it.
                    Err(panic) => {
                        warn!(%panic, "an attempt at a delivery ended by itself");
                        scanned = None;
                    }
                },
                () = tokio::time::sleep(this.policy.tick) => {}
            }
        }
    }

    /// One attempt. Answers the delivery as it goes on, `None` where it is over.
    async fn attempt(&self, mut delivery: Delivery) -> Option<Delivery> {
        let fate = match self.send(&delivery).await {
            Ok(fate) => fate,
            Err(error) => Fate::Again(error.to_string()),
        };
        let now = now_ms();
        let reason = match fate {
            Fate::Done => {
                self.metrics.webhook(WebhookOutcome::Delivered);
                debug!(delivery = delivery.id, attempts = delivery.attempts + 1, "delivered");
                return self.over(delivery, now).await;
            }
            Fate::Gone => {
                self.metrics.webhook(WebhookOutcome::Gone);
                info!(delivery = delivery.id, "the receiver is gone for good");
                if let Err(error) = self.disable(&delivery).await {
                    warn!(%error, "an endpoint cannot be disabled yet");
                }
                return self.over(delivery, now).await;
            }
            Fate::Again(reason) => reason,
        };
        delivery.attempts += 1;
        let age = Duration::from_millis(now.saturating_sub(delivery.begun_at_ms));
        let pause = self.policy.pause(delivery.attempts);
        if age + pause > self.policy.give_up_after {
            self.metrics.webhook(WebhookOutcome::GivenUp);
            warn!(delivery = delivery.id, attempts = delivery.attempts, reason, "given up");
            return self.over(delivery, now).await;
        }
        self.metrics.webhook(WebhookOutcome::Retry);
        debug!(delivery = delivery.id, attempts = delivery.attempts, reason, "not delivered yet");
        delivery.last = Some(reason);
        delivery.next_at_ms = now + pause.as_millis() as u64;
        if let Err(error) = self.webhooks.put_delivery(&delivery).await {
            // It stays in storage as it was: after a restart it is only tried sooner.
            warn!(%error, "a delivery's state cannot be stored");
        }
        Some(delivery)
    }

    async fn over(&self, mut delivery: Delivery, now: u64) -> Option<Delivery> {
        match self.webhooks.delete_delivery(&delivery).await {
            Ok(()) => None,
            Err(error) => {
                // What is not known to be over is sent once more: at least once, and not exactly once.
                warn!(%error, "a delivery that is over cannot be removed yet");
                delivery.next_at_ms = now + self.policy.pause(1).as_millis() as u64;
                Some(delivery)
            }
        }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Fate, ObjectsError> {
        let Some(event) = self.webhooks.event(&delivery.space, &delivery.event_id).await? else {
            return Ok(Fate::Done);
        };
        let (url, secret) = match &delivery.target {
            Target::Callback(url) => (url.clone(), self.callback_secret.clone()),
            Target::Endpoint(id) => match self.webhooks.endpoint(&delivery.space, id).await? {
                Some(endpoint) if !endpoint.is_disabled => (endpoint.url, Some(endpoint.secret)),
                _ => return Ok(Fate::Done),
            },
        };
        let Some(fetcher) = &self.fetcher else {
            return Ok(Fate::Again("this farm sends nothing".to_owned()));
        };
        let body = json!({
            "event_id": event.event_id, "event_type": event.event_type, "event_data": event.event_data,
        });
        let body = body.to_string().into_bytes();
        let headers = sign::headers(secret.as_deref(), &event.event_id, now_ms() / 1000, &body);
        // The fetcher's rules hold here too: no private address unless allowed, and a redirect is not followed.
        Ok(match fetcher.post_json(&url, &headers, body, self.policy.within).await {
            Ok(200..=299) => Fate::Done,
            Ok(410) => Fate::Gone,
            Ok(status) => Fate::Again(format!("the receiver answered {status}")),
            Err(error) => Fate::Again(error.to_string()),
        })
    }

    async fn disable(&self, delivery: &Delivery) -> Result<(), ObjectsError> {
        let Target::Endpoint(id) = &delivery.target else { return Ok(()) };
        if let Some(mut endpoint) = self.webhooks.endpoint(&delivery.space, id).await? {
            endpoint.is_disabled = true;
            self.webhooks.put_endpoint(&endpoint).await?;
        }
        Ok(())
    }
}

fn receiver(target: &Target) -> String {
    match target {
        Target::Endpoint(id) => id.clone(),
        Target::Callback(url) => url.host_str().unwrap_or_default().to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_the_longest() {
        let policy = DeliveryPolicy::default();
        for (attempts, seconds) in [(1, 5.0), (2, 10.0), (5, 80.0), (40, 3600.0)] {
            let pause = policy.pause(attempts).as_secs_f64();
            assert!((seconds * 0.89..=seconds * 1.11).contains(&pause), "{attempts}: {pause}");
        }
    }
}
