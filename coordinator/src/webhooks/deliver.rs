//! Sends pending deliveries, and repeats those that failed.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use hyperfarm_api::webhooks::DeliveryBody;
use hyperfarm_backplane::drain::Drain;
use hyperfarm_backplane::fetch::Fetcher;
use hyperfarm_backplane::metrics::{Metrics, WebhookOutcome};
use hyperfarm_backplane::objects::ObjectsError;
use hyperfarm_backplane::retry::RetryPolicy;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::{debug, info, warn};

use super::sign;
use super::storage::{Delivery, Event, Target, Webhooks};
use crate::clock::now_ms;
use crate::submission::CallbackForm;

/// The timing of deliveries.
#[derive(Debug, Clone)]
pub struct DeliveryPolicy {
    /// How long a receiver may take to answer.
    pub within: Duration,
    /// Delay before the second attempt. It doubles with each further one; what is waited is a random part of it, from half to
    /// all.
    pub first_delay: Duration,
    /// Longest delay between two attempts.
    pub longest_delay: Duration,
    /// Time from the creation of a delivery after which it is not attempted again.
    pub give_up_after: Duration,
    /// How often due deliveries are looked for.
    pub tick: Duration,
    /// How often the pending deliveries in storage are listed, to find those that this process does not know.
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
    /// The delay after attempt number `attempts`.
    fn delay_after(&self, attempts: u32) -> Duration {
        RetryPolicy::new(self.first_delay, self.longest_delay).delay_after(attempts)
    }
}

/// Attempts at once, of all receivers and of one. A slow receiver must not hold up the others.
const MAX_CONCURRENT: usize = 64;
const MAX_CONCURRENT_PER_RECEIVER: usize = 4;

/// Sends deliveries.
pub struct Deliverer {
    /// Endpoints, events and deliveries.
    pub webhooks: Webhooks,
    /// Sends requests, to allowed addresses only. Without one nothing is sent.
    pub fetcher: Option<Fetcher>,
    /// The secret that signs deliveries to a `callback_url`.
    pub callback_secret: Option<String>,
    /// The timing.
    pub policy: DeliveryPolicy,
    /// Counts the outcomes.
    pub metrics: Metrics,
}

/// The outcome of an attempt.
enum Attempt {
    /// The receiver has taken the event, or is no longer subscribed to it.
    Done,
    /// The receiver answered that it is gone for good.
    Gone,
    /// It failed, for this reason.
    Failed(String),
}

impl Deliverer {
    /// Sends the deliveries from `new` and those in storage, until the drain starts.
    pub async fn run(self, mut new: mpsc::UnboundedReceiver<Delivery>, drain: Drain) {
        let this = std::sync::Arc::new(self);
        let mut waiting: BTreeMap<String, Delivery> = BTreeMap::new();
        // Receivers by id of the delivery.
        let mut in_flight: HashMap<String, String> = HashMap::new();
        let mut attempts: JoinSet<(Delivery, Option<Delivery>)> = JoinSet::new();
        let mut scanned: Option<Instant> = None;
        loop {
            if scanned.is_none_or(|at| at.elapsed() >= this.policy.rescan_every) {
                match this.webhooks.deliveries().await {
                    Ok(found) => {
                        for delivery in found.into_iter().filter(|delivery| !in_flight.contains_key(&delivery.id)) {
                            waiting.entry(delivery.id.clone()).or_insert(delivery);
                        }
                    }
                    Err(error) => warn!(%error, "pending deliveries could not be read, they are read again later"),
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
                let to_receiver = in_flight.values().filter(|other| **other == receiver).count();
                if in_flight.len() >= MAX_CONCURRENT || to_receiver >= MAX_CONCURRENT_PER_RECEIVER {
                    continue;
                }
                let Some(delivery) = waiting.remove(&id) else { continue };
                in_flight.insert(id, receiver);
                let this = this.clone();
                attempts.spawn(async move {
                    let next = this.attempt(delivery.clone()).await;
                    (delivery, next)
                });
            }
            tokio::select! {
                () = drain.started() => return,
                Some(delivery) = new.recv() => {
                    // It may have been found in storage before, and be finished by now.
                    let is_known = in_flight.contains_key(&delivery.id) || waiting.contains_key(&delivery.id);
                    match if is_known { Ok(None) } else { this.webhooks.delivery(&delivery.id).await } {
                        Ok(Some(delivery)) => drop(waiting.insert(delivery.id.clone(), delivery)),
                        Ok(None) => {}
                        Err(error) => warn!(%error, "a delivery could not be read, it is read again later"),
                    }
                }
                Some(done) = attempts.join_next(), if !attempts.is_empty() => match done {
                    Ok((before, next)) => {
                        in_flight.remove(&before.id);
                        if let Some(next) = next {
                            waiting.insert(next.id.clone(), next);
                        }
                    }
                    // The panic does not say which delivery it was. The next listing finds it in storage.
                    Err(panic) => {
                        warn!(%panic, "an attempt at a delivery has panicked");
                        scanned = None;
                    }
                },
                () = tokio::time::sleep(this.policy.tick) => {}
            }
        }
    }

    /// Makes one attempt. Returns the delivery if it is to be attempted again.
    async fn attempt(&self, mut delivery: Delivery) -> Option<Delivery> {
        let outcome = match self.send(&delivery).await {
            Ok(outcome) => outcome,
            Err(error) => Attempt::Failed(error.to_string()),
        };
        let now = now_ms();
        let reason = match outcome {
            Attempt::Done => {
                self.metrics.webhook(WebhookOutcome::Delivered);
                debug!(delivery = delivery.id, attempts = delivery.attempts + 1, "the delivery was taken");
                return self.finish(delivery, now).await;
            }
            Attempt::Gone => {
                self.metrics.webhook(WebhookOutcome::Gone);
                info!(delivery = delivery.id, "the receiver answered that it is gone for good");
                if let Err(error) = self.disable(&delivery).await {
                    warn!(%error, "an endpoint whose receiver is gone could not be disabled");
                }
                return self.finish(delivery, now).await;
            }
            Attempt::Failed(reason) => reason,
        };
        delivery.attempts += 1;
        let age = Duration::from_millis(now.saturating_sub(delivery.begun_at_ms));
        let delay = self.policy.delay_after(delivery.attempts);
        if age + delay > self.policy.give_up_after {
            self.metrics.webhook(WebhookOutcome::GivenUp);
            warn!(delivery = delivery.id, attempts = delivery.attempts, reason, "the delivery was given up");
            return self.finish(delivery, now).await;
        }
        self.metrics.webhook(WebhookOutcome::Retry);
        debug!(delivery = delivery.id, attempts = delivery.attempts, reason, "an attempt at a delivery failed");
        delivery.last = Some(reason);
        delivery.next_at_ms = now + delay.as_millis() as u64;
        if let Err(error) = self.webhooks.put_delivery(&delivery).await {
            // Storage has its earlier state. After a restart it is only attempted sooner.
            warn!(%error, "the state of a delivery could not be stored");
        }
        Some(delivery)
    }

    /// Removes a finished delivery from storage. Returns it if that failed.
    async fn finish(&self, mut delivery: Delivery, now: u64) -> Option<Delivery> {
        match self.webhooks.delete_delivery(&delivery).await {
            Ok(()) => None,
            Err(error) => {
                // It will be sent once more: deliveries are made at least once, not exactly once.
                warn!(%error, "a finished delivery could not be removed, it is repeated");
                delivery.next_at_ms = now + self.policy.delay_after(1).as_millis() as u64;
                Some(delivery)
            }
        }
    }

    async fn send(&self, delivery: &Delivery) -> Result<Attempt, ObjectsError> {
        let Some(event) = self.webhooks.event(&delivery.space, &delivery.event_id).await? else {
            return Ok(Attempt::Done);
        };
        let (url, secret) = match &delivery.target {
            Target::Callback(url) => (url.clone(), self.callback_secret.clone()),
            Target::Endpoint(id) => match self.webhooks.endpoint(&delivery.space, id).await? {
                Some(endpoint) if !endpoint.is_disabled => (endpoint.url, Some(endpoint.secret)),
                _ => return Ok(Attempt::Done),
            },
        };
        let Some(fetcher) = &self.fetcher else {
            return Ok(Attempt::Failed("this farm sends no webhooks".to_owned()));
        };
        let bytes = match delivery.form {
            CallbackForm::Event => {
                let Event { event_id, event_type, event_data, .. } = event;
                serde_json::to_vec(&DeliveryBody { event_id, event_type, event_data })
            }
            CallbackForm::Task => event.task_result().and_then(|task| serde_json::to_vec(&task)),
        };
        let bytes = match bytes {
            Ok(bytes) => bytes,
            Err(error) => return Ok(Attempt::Failed(error.to_string())),
        };
        let headers = sign::headers(secret.as_deref(), &delivery.event_id, now_ms() / 1000, &bytes);
        // The fetcher reaches private addresses only where that is allowed, and follows no redirect of a POST.
        Ok(match fetcher.post_json(&url, &headers, bytes, self.policy.within).await {
            Ok(200..=299) => Attempt::Done,
            Ok(410) => Attempt::Gone,
            Ok(status) => Attempt::Failed(format!("the receiver answered {status}")),
            Err(error) => Attempt::Failed(error.to_string()),
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

/// What attempts at once are counted by: the endpoint, or the host of a callback URL.
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
    fn delays_double_up_to_the_longest() {
        let policy = DeliveryPolicy::default();
        for (attempts, seconds) in [(1, 5.0), (2, 10.0), (5, 80.0), (40, 3600.0)] {
            let delay = policy.delay_after(attempts).as_secs_f64();
            assert!((seconds * 0.5..=seconds).contains(&delay), "{attempts}: {delay}");
        }
    }
}
