//! The settings of the scheduler.

use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::time::Duration;

use hyperfarm_backplane::config::Env;
use hyperfarm_proto::id::Space;

/// The settings of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePolicy {
    /// How long a dispatched task may stay unclaimed before it is dispatched again. Doubles each time, up to sixteenfold.
    pub unclaimed_after: Duration,
    /// Pause after a failure that does not count as an attempt. Doubles with each one in a row, up to 32-fold.
    pub free_retry_after: Duration,
    /// Tasks of a pool in the queues, for each live slot; fewer where the pool is large: see `window`.
    pub window_per_slot: u32,
    /// Tasks of a pool in the queues where it has few slots or none.
    pub window_min: u32,
    /// Shortest time that a chunk runs before another node begins it as well; `None` where no chunk is begun twice.
    pub speculate_after: Option<Duration>,
    /// Weights of spaces: one of weight 3 has three times the slots of one of weight 1, which is that of all others.
    pub space_weights: BTreeMap<Space, NonZeroU32>,
}

/// Tasks that a large pool has in its queues besides one for each slot, where a quarter of its slots is fewer.
const IN_ADVANCE: u32 = 64;

/// Weights of spaces, as `name=weight` between commas.
const SPACE_WEIGHTS: &str = "HYPERFARM_SPACE_WEIGHTS";

/// Whether an idle node begins a chunk that runs for long on another node as well.
const SPECULATION: &str = "HYPERFARM_SPECULATION";

impl SchedulePolicy {
    /// Reads the section.
    pub fn read(env: &Env<'_>) -> Self {
        let space_weights = env.parsed_by(SPACE_WEIGHTS, space_weights).unwrap_or_default();
        let default = Self::default();
        let speculate_after = default.speculate_after.filter(|_| env.switch(SPECULATION, true));
        Self { space_weights, speculate_after, ..default }
    }

    /// Tasks of a pool of `slots` live slots in the queues. Slots of a large pool end often, so a few tasks in advance
    /// keep all of them busy, and a task of high priority stands behind fewer.
    pub(super) fn window(&self, slots: u32) -> u32 {
        let in_advance = (slots / 4).max(IN_ADVANCE);
        slots.saturating_mul(self.window_per_slot).min(slots.saturating_add(in_advance)).max(self.window_min)
    }

    /// What `in_flight` tasks of `space` are for its weight. The space with the least is served next.
    pub(super) fn load_of(&self, space: &Space, in_flight: u32) -> u64 {
        let weight = self.space_weights.get(space).copied().unwrap_or(NonZeroU32::MIN);
        (u64::from(in_flight) << 20) / u64::from(weight.get())
    }
}

fn space_weights(text: &str) -> Result<BTreeMap<Space, NonZeroU32>, String> {
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    let of = |pair: &str| {
        let (space, weight) = pair.split_once('=')?;
        Some((space.trim().parse().ok()?, weight.trim().parse().ok()?))
    };
    let refused =
        |pair| format!("`{pair}` is not understood; give a space and a whole number from 1: `alpha=3,beta=1`");
    pairs.map(|pair| of(pair).ok_or_else(|| refused(pair))).collect()
}

impl Default for SchedulePolicy {
    fn default() -> Self {
        Self {
            unclaimed_after: Duration::from_secs(20),
            free_retry_after: Duration::from_secs(1),
            window_per_slot: 2,
            window_min: 4,
            speculate_after: Some(Duration::from_secs(2)),
            space_weights: BTreeMap::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_large_pool_has_a_window_of_a_quarter_more_than_its_slots() {
        let window = |slots| SchedulePolicy::default().window(slots);
        assert_eq!([0, 1, 40, 64, 100, 1_000].map(window), [4, 4, 80, 128, 164, 1_250]);
    }

    #[test]
    fn weights_are_named_whole_numbers_above_zero() {
        let weights = space_weights("alpha=3, beta=1,").unwrap();
        let read: Vec<_> = weights.iter().map(|(space, weight)| (space.as_str(), weight.get())).collect();
        assert_eq!(read, [("alpha", 3), ("beta", 1)]);
        for bad in ["alpha", "alpha=0", "alpha=x", "=2", "al pha=2"] {
            assert!(space_weights(bad).unwrap_err().contains("alpha=3"), "{bad}");
        }
    }
}
