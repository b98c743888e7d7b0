//! How far a render is in being planned again.

use std::time::{Duration, Instant};

use hyperfarm_proto::plan::Warning;

/// Pause between two new plans of a render, doubled each time up to sixteenfold: a farm with old workers only would make the same plan
/// again.
const FIRST_PAUSE: Duration = Duration::from_secs(4);

/// How far a render is in being planned again.
#[derive(Debug, Default)]
pub(super) struct Replanning {
    /// Since when the pool has had workers, but none of the plan's capture class.
    pub(super) class_missing_since: Option<Instant>,
    /// Since when its leases are being ended, where it is about to be planned again.
    pub(super) ending_since: Option<Instant>,
    /// Number of times it was planned again.
    pub(super) count: u32,
    /// When it was planned again last.
    pub(super) last_at: Option<Instant>,
}

impl Replanning {
    /// Notes whether the pool has no worker of the plan's class now.
    pub(super) fn set_class_missing(&mut self, is_missing: bool) {
        self.class_missing_since = is_missing.then(|| self.class_missing_since.unwrap_or_else(Instant::now));
    }

    /// Whether the leases of the old plan are being ended.
    pub(super) fn is_ending(&self) -> bool {
        self.ending_since.is_some()
    }

    /// The warning for the render's owner, if it was planned again.
    pub(super) fn warning(&self) -> Option<Warning> {
        (self.count > 0).then(|| Warning {
            code: "REPLANNED".to_owned(),
            message: "the farm was upgraded while it rendered: it began again with the new version".to_owned(),
        })
    }

    /// Whether it was planned again too recently for another time.
    pub(super) fn is_pausing(&self) -> bool {
        let pause = FIRST_PAUSE * 2u32.pow(self.count.saturating_sub(1).min(4));
        self.last_at.is_some_and(|at| at.elapsed() < pause)
    }
}
