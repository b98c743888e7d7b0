//! What is measured while a simulated farm works.

/// Integrals over the simulated time, and the shares of the spaces.
#[derive(Debug)]
pub(super) struct Measures {
    now_us: u64,
    /// Slots of workers that take tasks.
    slots: u64,
    /// Slots that are at a task.
    busy: u64,
    /// Chunks that no slot is at, and whose render was submitted.
    waiting: u64,
    /// Slot microseconds while chunks wait.
    slot_us: f64,
    /// Those of them in which the slot was at a task.
    busy_us: f64,
    spaces: Vec<Share>,
    /// Sum of the weights of the spaces that wait.
    waiting_weight: f64,
    /// Slots that spaces which wait are at.
    waiting_busy: u64,
    /// Slot microseconds that a space of weight 1 which always waits was entitled to so far.
    entitled: f64,
}

/// The share of one space.
#[derive(Debug)]
struct Share {
    weight: f64,
    running: u64,
    waiting: u64,
    since_us: u64,
    /// Value of [`Measures::entitled`] at `since_us`.
    entitled_since: f64,
    /// Slot microseconds that it had while it waited.
    served: f64,
    /// Those that it was entitled to.
    entitled: f64,
    /// Microseconds for which it waited.
    waited_us: u64,
}

/// A change of what a space has.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Change {
    /// More slots, or fewer, that are at its tasks.
    pub(super) running: i64,
    /// More chunks, or fewer, that wait.
    pub(super) waiting: i64,
}

fn changed(value: u64, by: i64) -> u64 {
    value.saturating_add_signed(by)
}

impl Measures {
    /// Measures of spaces with these weights.
    pub(super) fn new(weights: impl Iterator<Item = u32>) -> Self {
        let share = |weight: u32| Share {
            weight: f64::from(weight),
            running: 0,
            waiting: 0,
            since_us: 0,
            entitled_since: 0.0,
            served: 0.0,
            entitled: 0.0,
            waited_us: 0,
        };
        Self {
            now_us: 0,
            slots: 0,
            busy: 0,
            waiting: 0,
            slot_us: 0.0,
            busy_us: 0.0,
            spaces: weights.map(share).collect(),
            waiting_weight: 0.0,
            waiting_busy: 0,
            entitled: 0.0,
        }
    }

    /// Advances the time.
    pub(super) fn advance(&mut self, now_us: u64) {
        let passed = (now_us - self.now_us) as f64;
        self.now_us = now_us;
        if self.waiting > 0 {
            self.slot_us += passed * self.slots.max(self.busy) as f64;
            self.busy_us += passed * self.busy as f64;
        }
        if self.waiting_weight > 0.0 {
            self.entitled += passed * self.waiting_busy as f64 / self.waiting_weight;
        }
    }

    /// Counts slots of workers that join or leave.
    pub(super) fn slots_changed(&mut self, by: i64) {
        self.slots = changed(self.slots, by);
    }

    /// Number of slots of workers that take tasks.
    pub(super) fn slots(&self) -> u64 {
        self.slots
    }

    /// Notes a change of what the space of this index has.
    pub(super) fn space_changed(&mut self, space: usize, change: Change) {
        self.busy = changed(self.busy, change.running);
        self.waiting = changed(self.waiting, change.waiting);
        let Some(share) = self.spaces.get_mut(space) else { return };
        if share.waiting > 0 {
            share.served += (self.now_us - share.since_us) as f64 * share.running as f64;
            share.entitled += share.weight * (self.entitled - share.entitled_since);
            share.waited_us += self.now_us - share.since_us;
            self.waiting_weight -= share.weight;
            self.waiting_busy -= share.running;
        }
        (share.since_us, share.entitled_since) = (self.now_us, self.entitled);
        share.running = changed(share.running, change.running);
        share.waiting = changed(share.waiting, change.waiting);
        if share.waiting > 0 {
            self.waiting_weight += share.weight;
            self.waiting_busy += share.running;
        }
    }

    /// Share of the slots' time, from 0 to 1, in which they were at a task while chunks waited.
    pub(super) fn utilisation(&self) -> Option<f64> {
        (self.slot_us > 0.0).then(|| self.busy_us / self.slot_us)
    }

    /// Jain's index, from 0 to 1, of what the spaces had of what they were entitled to, and how many spaces count in
    /// it: those that waited for `least_seconds` in all.
    pub(super) fn jain(&self, least_seconds: f64) -> (Option<f64>, usize) {
        let counts = |share: &&Share| share.waited_us as f64 / 1e6 >= least_seconds && share.entitled > 0.0;
        let shares: Vec<f64> = self.spaces.iter().filter(counts).map(|share| share.served / share.entitled).collect();
        let (sum, squares) = (shares.iter().sum::<f64>(), shares.iter().map(|share| share * share).sum::<f64>());
        ((squares > 0.0).then(|| sum * sum / (shares.len() as f64 * squares)), shares.len())
    }
}

/// The value below which this share of `sorted` is; 0 of nothing.
pub(super) fn quantile(sorted: &[f64], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1);
    sorted.get(((sorted.len() as f64 * share) as usize).min(last)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUNS: Change = Change { running: 1, waiting: -1 };

    #[test]
    fn idle_slots_count_only_while_chunks_wait() {
        let mut measures = Measures::new([1].into_iter());
        measures.slots_changed(2);
        measures.advance(10);
        measures.space_changed(0, Change { waiting: 2, ..Change::default() });
        measures.space_changed(0, RUNS);
        measures.advance(20);
        measures.space_changed(0, RUNS);
        measures.advance(99);
        assert_eq!(measures.utilisation(), Some(0.5), "one of two slots for as long as a chunk waited");
    }

    #[test]
    fn an_even_share_by_weight_has_the_index_one() {
        let jain = |first: i64, second: i64| {
            let mut measures = Measures::new([3, 1].into_iter());
            measures.space_changed(0, Change { running: first, waiting: 9 });
            measures.space_changed(1, Change { running: second, waiting: 9 });
            measures.advance(5_000_000);
            (0..2).for_each(|space| measures.space_changed(space, Change::default()));
            measures.jain(5.0)
        };
        assert_eq!(jain(6, 2), (Some(1.0), 2));
        let (uneven, _) = jain(0, 8);
        assert!((uneven.unwrap() - 0.5).abs() < 1e-9, "{uneven:?}");
    }

    #[test]
    fn quantiles_are_values() {
        let values: Vec<f64> = (1..=100).map(f64::from).collect();
        assert_eq!((quantile(&values, 0.5), quantile(&values, 0.99), quantile(&[], 0.5)), (51.0, 100.0, 0.0));
    }
}
