//! The attempts at a task: by whom, when, and how each ended. They are shown to people; no decision is made from them.

use hyperfarm_proto::id::WorkerId;

/// Attempts of one task that are kept.
pub(super) const MAX_ATTEMPTS: usize = 512;

/// How an attempt ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AttemptEnd {
    /// Its result counts.
    Committed,
    /// It failed; the failure is in the task's history.
    Failed,
    /// Its lease was released.
    Released,
}

impl AttemptEnd {
    fn of(text: &str) -> Option<Self> {
        match text {
            "committed" => Some(Self::Committed),
            "failed" => Some(Self::Failed),
            "released" => Some(Self::Released),
            _ => None,
        }
    }
}

/// One attempt at a task, by the ledger's clock.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttemptView {
    /// Its number.
    pub attempt: u32,
    /// The slot that claimed it.
    pub worker: WorkerId,
    /// Unix milliseconds of the claim.
    pub claimed_at_ms: u64,
    /// How it ended, and when in Unix milliseconds; `None` while it runs, and for ever where its worker was lost.
    pub end: Option<(AttemptEnd, u64)>,
}

/// The attempts at one task, oldest first.
#[derive(Debug, Default)]
pub(super) struct Attempts(pub(super) Vec<AttemptView>);

impl Attempts {
    pub(super) fn claimed(&mut self, attempt: u32, worker: WorkerId, at_ms: u64) {
        if self.0.len() < MAX_ATTEMPTS {
            self.0.push(AttemptView { attempt, worker, claimed_at_ms: at_ms, end: None });
        }
    }

    /// Sets the end of an attempt. The first end stays, unless a later one is a commit.
    pub(super) fn ended(&mut self, attempt: u32, end: AttemptEnd, at_ms: u64) {
        let known = self.0.iter_mut().rev().find(|known| known.attempt == attempt);
        if let Some(known) = known
            && (known.end.is_none() || end == AttemptEnd::Committed)
        {
            known.end = Some((end, at_ms));
        }
    }

    /// Reads the lines that `redis.lua` writes.
    pub(super) fn read(lines: &str) -> Option<Self> {
        let mut attempts = Self::default();
        for line in lines.lines() {
            let mut words = line.split(' ');
            let kind = words.next()?;
            let (attempt, at_ms) = (words.next()?.parse().ok()?, words.next()?.parse().ok()?);
            let last = words.next()?;
            match kind {
                "claimed" => attempts.claimed(attempt, last.parse().ok()?, at_ms),
                "ended" => attempts.ended(attempt, AttemptEnd::of(last)?, at_ms),
                _ => return None,
            }
        }
        Some(attempts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_read_as_attempts() {
        let lines = "claimed 1 1000 w1\nended 1 1500 failed\nclaimed 2 2000 w2\nended 1 2500 released\n";
        let read = Attempts::read(lines).unwrap().0;
        assert_eq!(read.len(), 2);
        assert_eq!((read[0].end, read[1].end), (Some((AttemptEnd::Failed, 1500)), None));
        assert_eq!((read[1].attempt, read[1].worker.as_str(), read[1].claimed_at_ms), (2, "w2", 2000));
        let late = Attempts::read(&format!("{lines}ended 1 3000 committed\n")).unwrap().0;
        assert_eq!(late[0].end, Some((AttemptEnd::Committed, 3000)));
        assert!(Attempts::read("claimed 1 x w").is_none());
    }
}
