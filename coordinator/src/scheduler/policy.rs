//! The settings of the scheduler.

use std::time::Duration;

/// The settings of the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct SchedulePolicy {
    /// How long a dispatched task may stay unclaimed before it is dispatched again. Doubles each time, up to sixteenfold.
    pub unclaimed_after: Duration,
    /// Pause after a failure that does not count as an attempt. Doubles with each one in a row, up to 32-fold.
    pub free_retry_after: Duration,
    /// Tasks of a pool in the queues, for each live slot.
    pub window_per_slot: u32,
    /// Tasks of a pool in the queues where it has few slots or none.
    pub window_min: u32,
}

impl Default for SchedulePolicy {
    fn default() -> Self {
        Self {
            unclaimed_after: Duration::from_secs(20),
            free_retry_after: Duration::from_secs(1),
            window_per_slot: 2,
            window_min: 4,
        }
    }
}
